// Intuit's npm SDK, unchanged but for its addresses, lives a grant's life against the emulator.
//
// EVERGRANT_EMULATOR holds the JSON line that the emulator prints. The keys are those that it was started with:
// EVERGRANT_CLIENT_ID, EVERGRANT_CLIENT_SECRET and EVERGRANT_REDIRECT_URI, or the defaults of the crate's example.
// It must have been started with --consent auto.

import assert from 'node:assert/strict';
import OAuthClient from 'intuit-oauth';

assert.ok(process.env.EVERGRANT_EMULATOR, 'set EVERGRANT_EMULATOR to the JSON line that the emulator prints');
const emulator = JSON.parse(process.env.EVERGRANT_EMULATOR);

const client = new OAuthClient({
  clientId: process.env.EVERGRANT_CLIENT_ID ?? 'ABemulatorClient',
  clientSecret: process.env.EVERGRANT_CLIENT_SECRET ?? 'emulator-secret',
  environment: 'sandbox',
  redirectUri: process.env.EVERGRANT_REDIRECT_URI ?? 'http://localhost:8000/callback',
  includeRefreshTokenHardExpiresIn: true,
});
client.setAuthorizeURLs({
  authorizeEndpoint: emulator.authorize,
  tokenEndpoint: emulator.token,
  revokeEndpoint: emulator.revoke,
  userInfoEndpoint: emulator.sandbox.userinfo,
});
OAuthClient.jwks_uri = emulator.jwks;
OAuthClient.environment.sandbox = `${emulator.sandbox.api}/`;

await connect();
await readUser();
await callApi();
const first = await refresh();
await forgetAnHour();
await revoke(first);
console.log('intuit-oauth for node: connect, ID token, userinfo, API, refresh, expiry and revoke are as they should be');

async function connect() {
  const { Accounting, OpenId, Profile, Email, Phone, Address } = OAuthClient.scopes;
  const state = 'a-state-of-more-than-thirty-characters';
  const uri = client.authorizeUri({ scope: [Accounting, OpenId, Profile, Email, Phone, Address], state });
  const consent = await fetch(uri, { redirect: 'manual' });
  assert.equal(consent.status, 302, await consent.text());
  const callback = consent.headers.get('location');
  assert.equal(new URL(callback).searchParams.get('state'), state);

  const { json } = await client.createToken(callback);
  assert.equal(json.expires_in, 3600);
  assert.equal(json.x_refresh_token_expires_in, 8726400);
  assert.equal(json.x_refresh_token_hard_expires_in, 5 * 365 * 86400);
  assert.match(client.getToken().realmId, /^\d{10,16}$/);
  assert.ok(client.isAccessTokenValid());
  assert.equal(await client.validateIdToken(), true);
}

async function readUser() {
  const { json } = await client.getUserInfo();
  assert.match(json.email, /@/);
  for (const member of ['sub', 'emailVerified', 'givenName', 'familyName', 'phoneNumber', 'address']) {
    assert.ok(member in json, `userinfo has no ${member}`);
  }
}

async function callApi() {
  const { realmId } = client.getToken();
  const { json } = await client.makeApiCall({ url: `v3/company/${realmId}/companyinfo/${realmId}` });
  assert.ok(json.CompanyInfo.CompanyName);
}

async function refresh() {
  // The SDK hands out its token itself, which the refresh changes.
  const before = { ...client.getToken() };
  const answer = await client.refresh();
  assert.ok(answer.getIntuitTid(), 'no intuit_tid');
  assert.notEqual(answer.json.access_token, before.access_token);
  assert.notEqual(answer.json.refresh_token, before.refresh_token);
  await callApi();
  return before;
}

async function forgetAnHour() {
  const moved = await fetch(`${emulator.control}/clock`, { method: 'POST', body: '{"advance_seconds":3600}' });
  assert.equal(moved.status, 200);
  await assert.rejects(callApi(), (error) => error.code === '401' || /401/.test(error.message));
  await fetch(`${emulator.control}/clock`, { method: 'POST', body: '{"advance_seconds":-3600}' });
}

async function revoke(first) {
  const { refresh_token } = client.getToken();
  const answer = await client.revoke({ refresh_token });
  assert.equal(answer.status(), 200);
  for (const dead of [refresh_token, first.refresh_token]) {
    await assert.rejects(client.refreshUsingToken(dead), (error) => error.error === 'invalid_grant');
  }
}
