"""Intuit's PyPI SDK at the same work.

Its HTTP library is replaced: by a method that answers from memory (its own share), or, with `--http`, by that library's
own in-memory transport (what a user pays). Prints `ITEM NANOSECONDS` lines. BENCH_SAMPLE holds the sample as JSON.
"""

import io
import json
import os
import sys
import time
from urllib.parse import parse_qs, urlsplit

import requests
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from requests.adapters import BaseAdapter

SAMPLE = json.loads(os.environ["BENCH_SAMPLE"])
DISCOVERY = {
    "authorization_endpoint": SAMPLE["authorize"],
    "token_endpoint": SAMPLE["token"],
    "revocation_endpoint": SAMPLE["revoke"],
    "issuer": SAMPLE["issuer"],
    "jwks_uri": SAMPLE["issuer"] + "/jwks",
    "userinfo_endpoint": SAMPLE["issuer"] + "/userinfo",
}


class Memory(BaseAdapter):
    """The library's transport: whatever is asked, the next answer."""

    def __init__(self):
        super().__init__()
        self.body = json.dumps(DISCOVERY)

    def send(self, request, **_):
        response = requests.Response()
        response.status_code = 200
        response.headers["content-type"] = "application/json;charset=utf-8"
        response.raw = io.BytesIO(self.body.encode())
        response.url = request.url
        response.request = request
        return response

    def close(self):
        pass


class Answer:
    """What the library would hand over, parsed already: that is the library's work."""

    status_code = 200
    headers = {}
    content = b"{}"

    def __init__(self, parsed):
        self.parsed = parsed
        self.text = ""

    def json(self):
        return self.parsed


def main():
    memory = Memory()
    requests.sessions.Session.get_adapter = lambda *_, **__: memory
    client = AuthClient(SAMPLE["client_id"], SAMPLE["client_secret"], SAMPLE["redirect_uri"], "sandbox")
    if "--http" not in sys.argv:
        answers = {name: Answer(json.loads(SAMPLE[name]["body"])) for name in ("first", "second")}
        client.request = lambda *_, **__: answers[memory.name]
    scopes = [Scopes.ACCOUNTING, Scopes.OPENID]

    def answers_with(name):
        memory.name, memory.body = name, SAMPLE[name]["body"]

    def url():
        return client.get_authorization_url(scopes, state_token=SAMPLE["state"])

    def connect():
        answers_with("first")
        url()
        # The SDK has nothing that reads a callback or checks its state, so its user must.
        query = parse_qs(urlsplit(SAMPLE["callback"]).query)
        assert query["state"] == [SAMPLE["state"]]
        client.get_bearer_token(query["code"][0], realm_id=query["realmId"][0])

    def refresh():
        answers_with("second")
        client.refresh()
        return json.dumps({
            "access": client.access_token,
            "refresh": client.refresh_token,
            "realm": client.realm_id,
            "access_until": time.time() + client.expires_in,
            "refresh_until": time.time() + client.x_refresh_token_expires_in,
        })

    connect()
    assert client.access_token == SAMPLE["first"]["access"]
    assert SAMPLE["second"]["refresh"] in refresh()
    for item in (url, connect, refresh):
        print(item.__name__, timed(item))


def timed(item, rounds=200):
    """The median of many runs of many rounds, warm."""
    runs = []
    for _ in range(15):
        start = time.perf_counter_ns()
        for _ in range(rounds):
            item()
        runs.append((time.perf_counter_ns() - start) // rounds)
    return sorted(runs)[7]


main()
