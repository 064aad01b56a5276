//! The openidconnect crate, which stands on oauth2 and reads ID tokens. What it has no way of its own for is oauth2's.

use std::hint::black_box;

use bench::data::{self, Data};
use bench::{Contestant, Item, Seen};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreResponseType, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::url::Url;
use openidconnect::{
    AuthUrl, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyAdditionalClaims, EndpointNotSet, EndpointSet, ExtraTokenFields, IdTokenFields, IssuerUrl,
    JsonWebKeySet, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RevocationUrl, Scope, StandardErrorResponse, StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use crate::oauth2::Wire;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    x_refresh_token_expires_in: u64,
}
impl ExtraTokenFields for Extra {}

type Fields = IdTokenFields<
    EmptyAdditionalClaims,
    Extra,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type Oidc = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointSet,
    EndpointNotSet,
>;

pub(crate) struct Openidconnect {
    data: Data,
    client: Oidc,
    wire: Wire,
    url: String,
    state: Option<CsrfToken>,
    nonce: Option<Nonce>,
    code: Option<AuthorizationCode>,
    realm: String,
    tokens: Option<Tokens>,
    until: (u64, u64),
    record: Vec<u8>,
}

impl Openidconnect {
    pub(crate) fn new() -> Self {
        let issuer = IssuerUrl::new(data::ISSUER.into()).expect("a URL");
        let client =
            Client::new(ClientId::new(data::CLIENT_ID.into()), issuer, JsonWebKeySet::new(Vec::new()))
                .set_client_secret(ClientSecret::new(data::CLIENT_SECRET.into()))
                .set_auth_uri(AuthUrl::new(data::AUTHORIZE.into()).expect("a URL"))
                .set_token_uri(TokenUrl::new(data::TOKEN.into()).expect("a URL"))
                .set_revocation_url(RevocationUrl::new(data::REVOKE.into()).expect("a URL"))
                .set_redirect_uri(RedirectUrl::new(data::REDIRECT.into()).expect("a URL"));
        Self {
            data: Data::new(),
            client,
            wire: Wire::default(),
            url: String::new(),
            state: None,
            nonce: None,
            code: None,
            realm: String::new(),
            tokens: None,
            until: (0, 0),
            record: Vec::new(),
        }
    }

    fn url(&mut self, pkce: Option<PkceCodeChallenge>) {
        let state = black_box(self.data.state.clone());
        let nonce = black_box(self.data.verifier.clone());
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let request = self.client.authorize_url(flow, || CsrfToken::new(state), || Nonce::new(nonce));
        // It adds `openid` by itself.
        let mut request = request.add_scope(Scope::new(data::SCOPES[0].into()));
        if let Some(challenge) = pkce {
            request = request.set_pkce_challenge(challenge);
        }
        let (url, state, nonce) = request.url();
        self.url = url.into();
        (self.state, self.nonce) = (Some(state), Some(nonce));
    }

    fn url_pkce(&mut self) {
        let verifier = PkceCodeVerifier::new(black_box(self.data.verifier.clone()));
        self.url(Some(PkceCodeChallenge::from_code_verifier_sha256(&verifier)));
    }

    fn callback(&mut self) {
        let url = format!("https://app.example.com{}", black_box(&self.data.callback));
        let url = Url::parse(&url).expect("it is a URL");
        let find = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).expect("the parameter is there")
        };
        let code = AuthorizationCode::new(find("code"));
        let state = CsrfToken::new(find("state"));
        assert!(self.state.as_ref().is_some_and(|ours| ours.secret() == state.secret()));
        self.realm = find("realmId");
        self.code = Some(code);
    }

    fn exchange(&mut self) -> Option<Tokens> {
        let code = self.code.take().expect("a code is in hand");
        self.client.exchange_code(code).request(&|request| self.wire.call(request)).ok()
    }

    fn refresh_call(&mut self) -> Option<Tokens> {
        let token =
            self.tokens.as_ref().and_then(OAuth2TokenResponse::refresh_token).expect("a token is held");
        self.client.exchange_refresh_token(token).request(&|request| self.wire.call(request)).ok()
    }

    fn take(&mut self, now: u64, tokens: Tokens) {
        let access = tokens.expires_in().map_or(0, |duration| duration.as_secs());
        let refresh = tokens.extra_fields().extra_fields().x_refresh_token_expires_in;
        self.until = (now + access, now + refresh);
        self.tokens = Some(tokens);
    }

    fn answer(&mut self, body: fn(&Data) -> &str) {
        let body = black_box(body(&self.data));
        let tokens =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body.as_bytes()));
        self.take(data::NOW, tokens.expect("it is an answer"));
    }

    fn write_record(&mut self) {
        let tokens = self.tokens.as_ref().expect("tokens are held");
        let stored = crate::stored::Stored {
            access: tokens.access_token().secret().as_str(),
            refresh: tokens.refresh_token().expect("a token is held").secret().as_str(),
            realm: self.realm.as_str(),
            access_until: self.until.0,
            refresh_until: self.until.1,
        };
        self.record = serde_json::to_vec(&stored).expect("it can be written");
    }

    pub(crate) fn connect(&mut self) {
        self.url(None);
        self.callback();
        let tokens = self.exchange().expect("it is answered");
        self.take(data::NOW, tokens);
    }

    pub(crate) fn refresh(&mut self) {
        assert!(black_box(data::LATER) >= self.until.0);
        let tokens = self.refresh_call().expect("it is answered");
        self.take(data::LATER, tokens);
        self.write_record();
    }

    fn revoke(&mut self) {
        let token =
            self.tokens.as_ref().and_then(OAuth2TokenResponse::refresh_token).expect("a token is held");
        let request = self.client.revoke_token(token.clone().into()).expect("the endpoint is https");
        request.request(&|request| self.wire.call(request)).expect("it is revoked");
    }
}

impl Contestant for Openidconnect {
    fn name(&self) -> &'static str {
        "openidconnect"
    }

    fn can(&self, item: Item) -> bool {
        matches!(
            item,
            Item::Nothing
                | Item::Url
                | Item::UrlPkce
                | Item::Callback
                | Item::Exchange
                | Item::RefreshRequest
                | Item::Answer
                | Item::AnswerOpenid
                | Item::Connect
                | Item::Refresh
                | Item::Revoke
        )
    }

    fn prepare(&mut self, item: Item) {
        self.wire = Wire::default();
        self.tokens = None;
        self.record = Vec::new();
        self.url = String::new();
        self.state = Some(CsrfToken::new(self.data.state.clone()));
        match item {
            Item::Exchange => self.callback(),
            Item::Connect => self.wire.will_answer(&self.data.first.body),
            Item::RefreshRequest | Item::Refresh | Item::Revoke => {
                self.callback();
                self.answer(|data| &data.first.body);
                match item {
                    Item::Refresh => self.wire.will_answer(&self.data.second.body),
                    Item::Revoke => self.wire.will_answer(""),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::Url => self.url(None),
            Item::UrlPkce => self.url_pkce(),
            Item::Callback => self.callback(),
            Item::Exchange => drop(self.exchange()),
            Item::RefreshRequest => drop(self.refresh_call()),
            Item::Answer => self.answer(|data| &data.first.body),
            Item::AnswerOpenid => self.answer(|data| &data.openid.body),
            Item::Connect => self.connect(),
            Item::Refresh => self.refresh(),
            Item::Revoke => self.revoke(),
            _ => {}
        }
    }

    fn seen(&mut self, _: Item) -> Seen {
        let mut seen = Seen {
            url: self.url.clone(),
            realm: self.realm.clone(),
            access_until: self.until.0,
            refresh_until: self.until.1,
            record: self.record.clone(),
            ..Seen::default()
        };
        self.wire.show(&mut seen);
        let sent = bench::text::pairs(&seen.body).into_iter().find(|(name, _)| name == "code");
        let held = self.code.as_ref().map(|code| code.secret().clone());
        seen.code = held.or(sent.map(|(_, code)| code)).unwrap_or_default();
        if let Some(tokens) = &self.tokens {
            seen.access = tokens.access_token().secret().clone();
            seen.refresh = tokens.refresh_token().map(|token| token.secret().clone()).unwrap_or_default();
        }
        seen
    }
}
