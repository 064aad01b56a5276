// Intuit's npm SDK at the same work. Its HTTP library is replaced: by a function that answers from memory (its own share),
// or, with `--http`, by that library's own in-memory transport (what a user pays). Prints `ITEM NANOSECONDS` lines.
//
// BENCH_SAMPLE holds the sample as JSON.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const sample = JSON.parse(process.env.BENCH_SAMPLE);
const require = createRequire(import.meta.url);
const sdk = createRequire(require.resolve('intuit-oauth'));

let body = sample.first.body;
const headers = { 'content-type': 'application/json;charset=utf-8' };
if (process.argv.includes('--http')) {
  sdk('axios').defaults.adapter = async (config) => ({ status: 200, statusText: 'OK', headers, config, data: body });
} else {
  // Parsed already: that is the library's work.
  const parsed = new Map([sample.first, sample.second].map((answer) => [answer.body, JSON.parse(answer.body)]));
  const answer = async () => ({ status: 200, statusText: 'OK', headers, data: { ...parsed.get(body) } });
  const stub = Object.assign(answer, { create: () => answer, get: answer, defaults: {} });
  const path = sdk.resolve('axios');
  sdk.cache[path] = { id: path, filename: path, loaded: true, exports: stub };
}
const OAuthClient = require('intuit-oauth');

const client = new OAuthClient({
  clientId: sample.client_id,
  clientSecret: sample.client_secret,
  environment: 'sandbox',
  redirectUri: sample.redirect_uri,
});
const scope = [OAuthClient.scopes.Accounting, OAuthClient.scopes.OpenId];

function url() {
  return client.authorizeUri({ scope, state: sample.state });
}

async function connect() {
  body = sample.first.body;
  url();
  // The SDK does not check it, so its user must.
  assert.equal(new URL(sample.callback, sample.redirect_uri).searchParams.get('state'), sample.state);
  await client.createToken(sample.callback);
}

async function refresh() {
  body = sample.second.body;
  await client.refresh();
  return JSON.stringify(client.getToken());
}

function fresh() {
  return client.isAccessTokenValid() && `Bearer ${client.getToken().access_token}`;
}

await connect();
assert.equal(client.getToken().access_token, sample.first.access);
assert.equal(client.getToken().realmId, sample.realm);
assert.match(await refresh(), new RegExp(sample.second.refresh));
assert.equal(fresh(), `Bearer ${sample.second.access}`);

for (const item of [url, connect, refresh, fresh]) {
  console.log(`${item.name} ${await time(item)}`);
}

/** The median of many runs of many rounds, warm. */
async function time(item) {
  const rounds = 500;
  const runs = [];
  for (let run = 0; run < 15; run += 1) {
    const start = process.hrtime.bigint();
    for (let round = 0; round < rounds; round += 1) {
      await item();
    }
    runs.push(Number(process.hrtime.bigint() - start) / rounds);
  }
  return Math.round(runs.sort((one, other) => one - other)[7]);
}
