// Intuit's npm SDK as a worker: it keeps a company's refresh token in the store, and refreshes as the SDK's own guide does.
//
// It speaks the lines of src/worker/port.rs. The store's verbs are carried out by the harness at the gates: `gate get -` is answered
// with the refresh token, `gate put <token>` writes it. `put` is offered again until it is stored.

import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import OAuthClient from 'intuit-oauth';

const [authority] = process.argv.slice(2);
const client = new OAuthClient({
  clientId: 'client',
  clientSecret: 'secret',
  environment: 'sandbox',
  redirectUri: 'https://app.example/callback',
});
client.setAuthorizeURLs({
  authorizeEndpoint: authority,
  tokenEndpoint: authority,
  revokeEndpoint: authority,
  userInfoEndpoint: authority,
});

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let now = 0;
// The SDK judges by this machine's clock, which is the harness's.
Date.now = () => now * 1000;

// Each process holds what it last got, as the SDK's token object does.
let realm = null;
let until = 0;

console.log('ready');
for (let line = await next(); line; line = await next()) {
  const [verb, , own, , company, query] = line.split(' ');
  now = Number(own);
  if (company !== realm) {
    realm = company;
    until = 0;
  }
  try {
    const token = verb === 'callback' ? await connect(query) : await use();
    console.log(`ok ${fingerprint(token)} -`);
  } catch (error) {
    console.log(`err - ${String(error?.error ?? error?.message ?? error).replaceAll('\n', ' ')}`);
  }
}

async function next() {
  const { value, done } = await lines.next();
  return done ? null : value;
}

async function connect(query) {
  const { json } = await client.createToken(`https://app.example/callback?${query}`);
  return keep(json);
}

async function use() {
  if (client.isAccessTokenValid() && now < until) return client.getToken().access_token;
  const refresh_token = await gate('get -');
  if (!refresh_token) throw new Error('not connected');
  const { json } = await client.refreshUsingToken(refresh_token);
  return keep(json);
}

async function keep({ access_token, refresh_token, expires_in }) {
  for (let pause = 1; ; pause = Math.min(pause * 2, 300)) {
    try {
      await gate(`put ${refresh_token}`);
      break;
    } catch {
      await answered(`sleep ${pause}`);
    }
  }
  until = now + expires_in - 60;
  return access_token;
}

async function gate(what) {
  const [word, found] = await answered(`gate ${what}`);
  if (word !== 'go') throw new Error('the store is down');
  return found;
}

async function answered(line) {
  console.log(line);
  const [word, , own, , found] = (await next()).split(' ');
  now = Number(own);
  return [word, found];
}

function fingerprint(token) {
  return createHash('sha256').update(token).digest().subarray(0, 16).toString('base64url');
}
