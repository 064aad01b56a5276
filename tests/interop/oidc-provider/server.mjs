// A certified OpenID provider on a free loopback port, for one client. Every refresh rotates, and a rotated token that
// comes again ends the grant. Whoever asks is logged in and consents at once: the redirects are followed with cookies,
// and no page is shown.
//
// EVERGRANT_CLIENT_ID, EVERGRANT_CLIENT_SECRET and EVERGRANT_REDIRECT_URI say whose it is. When it is ready it prints one
// line of JSON; it runs until it is killed, or until its standard input ends.

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { EVERGRANT_CLIENT_ID, EVERGRANT_CLIENT_SECRET, EVERGRANT_REDIRECT_URI } = process.env;

const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const counted = { codes: 0, refreshes: 0, reused: 0, revoked: 0 };

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: EVERGRANT_CLIENT_ID,
      client_secret: EVERGRANT_CLIENT_SECRET,
      redirect_uris: [EVERGRANT_REDIRECT_URI],
      application_type: 'native', // http on loopback is for these (RFC 8252)
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
  cookies: { keys: ['made up, for this run alone'] },
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'email'],
});

provider.on('grant.success', (context) => {
  counted[context.oidc.params.grant_type === 'refresh_token' ? 'refreshes' : 'codes'] += 1;
});
provider.on('grant.error', (_, error) => {
  if (/already used|consumed/.test(error.error_detail ?? '')) counted.reused += 1;
});
provider.on('grant.revoked', () => { counted.revoked += 1; });

const answer = provider.callback();
server.on('request', async (request, response) => {
  if (request.url === '/counted') {
    response.end(JSON.stringify(counted));
  } else if (request.url.startsWith('/interaction/')) {
    await consent(request, response);
  } else {
    answer(request, response);
  }
});

async function consent(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    await provider.interactionFinished(request, response, { login: { accountId: 'ada' } });
    return;
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const grantId = await grant.save();
  const merge = { mergeWithLastSubmission: true };
  await provider.interactionFinished(request, response, { consent: { grantId } }, merge);
}

process.stdin.on('end', () => process.exit()).resume();
console.log(JSON.stringify({ issuer, discovery: `${issuer}/.well-known/openid-configuration` }));
