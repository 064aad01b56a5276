"""Intuit's PyPI SDK, unchanged but for its addresses, lives a grant's life against the emulator.

EVERGRANT_EMULATOR holds the JSON line that the emulator prints. The keys are those that it was started with:
EVERGRANT_CLIENT_ID, EVERGRANT_CLIENT_SECRET and EVERGRANT_REDIRECT_URI, or the defaults of the crate's example.
It must have been started with --consent auto.
"""

import json
import os
import re
import sys
from urllib.parse import parse_qs, urlsplit

import requests
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError

SCOPES = [Scopes.ACCOUNTING, Scopes.OPENID, Scopes.PROFILE, Scopes.EMAIL, Scopes.PHONE, Scopes.ADDRESS]


def main():
    check("EVERGRANT_EMULATOR" in os.environ, "set EVERGRANT_EMULATOR to the JSON line that the emulator prints")
    emulator = json.loads(os.environ["EVERGRANT_EMULATOR"])
    client = AuthClient(
        client_id=os.environ.get("EVERGRANT_CLIENT_ID", "ABemulatorClient"),
        client_secret=os.environ.get("EVERGRANT_CLIENT_SECRET", "emulator-secret"),
        redirect_uri=os.environ.get("EVERGRANT_REDIRECT_URI", "http://localhost:8000/callback"),
        # Anything that is not an environment's name is taken as the address of a discovery document.
        environment=emulator["sandbox"]["discovery"],
    )
    client.include_refresh_token_hard_expires_in = True
    connect(client)
    read_user(client)
    call_api(client, emulator)
    first = client.refresh_token
    refresh(client, emulator)
    revoke(client, first)
    print("intuit-oauth for python: connect, ID token, userinfo, API, refresh and revoke are as they should be")


def connect(client):
    state = "a-state-of-more-than-thirty-characters"
    consent = requests.get(client.get_authorization_url(SCOPES, state_token=state), allow_redirects=False, timeout=10)
    check(consent.status_code == 302, f"the consent was answered {consent.status_code}: {consent.text}")
    callback = parse_qs(urlsplit(consent.headers["Location"]).query)
    check(callback["state"] == [state], "another state came back")
    client.get_bearer_token(callback["code"][0], realm_id=callback["realmId"][0])
    check(client.expires_in == 3600, "expires_in")
    check(client.x_refresh_token_expires_in == 8726400, "x_refresh_token_expires_in")
    check(client.x_refresh_token_hard_expires_in == 5 * 365 * 86400, "x_refresh_token_hard_expires_in")
    check(re.fullmatch(r"\d{10,16}", client.realm_id), "realmId")
    # The SDK keeps an ID token only after it has verified it.
    check(client.id_token, "the ID token was not accepted")


def read_user(client):
    user = client.get_user_info().json()
    for member in ("sub", "email", "emailVerified", "givenName", "familyName", "phoneNumber", "address"):
        check(member in user, f"userinfo has no {member}")


def call_api(client, emulator):
    url = f"{emulator['sandbox']['api']}/v3/company/{client.realm_id}/companyinfo/{client.realm_id}"
    headers = {"Authorization": f"Bearer {client.access_token}", "Accept": "application/json"}
    answer = requests.get(url, headers=headers, timeout=10)
    check(answer.status_code == 200, f"the API answered {answer.status_code}")
    check("CompanyName" in answer.json()["CompanyInfo"], "no company")


def refresh(client, emulator):
    access, refresh_token = client.access_token, client.refresh_token
    client.refresh()
    check(client.access_token != access, "the access token is the same")
    check(client.refresh_token != refresh_token, "the refresh token is the same")
    call_api(client, emulator)


def revoke(client, first):
    check(client.revoke() is True, "revoke")
    for dead in (client.refresh_token, first):
        try:
            client.refresh(refresh_token=dead)
        except AuthClientError as error:
            check(error.status_code == 400, f"a dead token was answered {error.status_code}")
            check("invalid_grant" in str(error.content), "not invalid_grant")
            check(error.intuit_tid, "no intuit_tid")
        else:
            check(False, "a dead token was refreshed")


def check(holds, what):
    if not holds:
        sys.exit(f"intuit-oauth for python: {what}")


main()
