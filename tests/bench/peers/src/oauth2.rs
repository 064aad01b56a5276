//! The oauth2 crate, as its manual says. Its HTTP client is a closure: an answer that was made before is moved out of a
//! cell, and the request is moved into another, so the transport costs nothing.

use std::cell::Cell;
use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bench::data::{self, Data};
use bench::signed;
use bench::{Contestant, Item, Seen};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AccessToken, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RevocationUrl, Scope, StandardRevocableToken, StandardTokenResponse,
    TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use crate::stored::Stored;

/// Intuit's member beside the standard ones, and the ID token, which the crate leaves to others.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Extra {
    x_refresh_token_expires_in: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}
impl ExtraTokenFields for Extra {}

pub(crate) type Tokens = StandardTokenResponse<Extra, BasicTokenType>;
type Oauth = Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointSet,
>;

/// The call ends where it would be sent.
#[derive(Debug)]
pub(crate) struct Stop;
impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stop")
    }
}
impl std::error::Error for Stop {}

/// The transport: what was sent, and what will be answered.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) sent: Cell<Option<HttpRequest>>,
    pub(crate) answer: Cell<Option<HttpResponse>>,
}

impl Wire {
    pub(crate) fn call(&self, request: HttpRequest) -> Result<HttpResponse, Stop> {
        self.sent.set(Some(request));
        self.answer.take().ok_or(Stop)
    }

    pub(crate) fn will_answer(&self, body: &str) {
        let response = http::Response::builder()
            .header("content-type", "application/json;charset=utf-8")
            .body(body.as_bytes().to_vec());
        self.answer.set(response.ok());
    }

    pub(crate) fn show(&self, seen: &mut Seen) {
        let Some(request) = self.sent.take() else { return };
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        seen.authorization = header.unwrap_or_default().to_owned();
        seen.body = String::from_utf8_lossy(request.body()).into_owned();
        self.sent.set(Some(request));
    }
}

pub(crate) struct Oauth2 {
    data: Data,
    client: Oauth,
    wire: Wire,
    url: String,
    state: Option<CsrfToken>,
    code: Option<AuthorizationCode>,
    realm: String,
    tokens: Option<Tokens>,
    until: (u64, u64),
    read: Option<(AccessToken, RefreshToken)>,
    header: String,
    record: Vec<u8>,
}

impl Oauth2 {
    pub(crate) fn new() -> Self {
        let client = Client::new(ClientId::new(data::CLIENT_ID.into()))
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
            code: None,
            realm: String::new(),
            tokens: None,
            until: (0, 0),
            read: None,
            header: String::new(),
            record: Vec::new(),
        }
    }

    fn url(&mut self, state: String, pkce: Option<PkceCodeChallenge>) {
        let mut request = self.client.authorize_url(|| CsrfToken::new(state));
        for scope in data::SCOPES {
            request = request.add_scope(Scope::new(scope.into()));
        }
        if let Some(challenge) = pkce {
            request = request.set_pkce_challenge(challenge);
        }
        let (url, state) = request.url();
        self.url = url.into();
        self.state = Some(state);
    }

    fn url_given(&mut self) {
        let state = black_box(self.data.state.clone());
        self.url(state, None);
    }

    fn url_pkce(&mut self) {
        let verifier = PkceCodeVerifier::new(black_box(self.data.verifier.clone()));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let state = self.data.state.clone();
        self.url(state, Some(challenge));
    }

    fn url_signed(&mut self) {
        let state = URL_SAFE_NO_PAD.encode(signed::state());
        self.url(state, None);
    }

    /// As in the crate's examples: made a URL of, then looked through for each parameter.
    fn callback(&mut self) {
        let url = Url::parse(&format!("https://app.example.com{}", black_box(&self.data.callback)));
        let url = url.expect("it is a URL");
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
        let token = self.tokens.as_ref().and_then(TokenResponse::refresh_token).expect("a token is held");
        self.client.exchange_refresh_token(token).request(&|request| self.wire.call(request)).ok()
    }

    fn take(&mut self, now: u64, tokens: Tokens) {
        let access = tokens.expires_in().map_or(0, |duration| duration.as_secs());
        self.until = (now + access, now + tokens.extra_fields().x_refresh_token_expires_in);
        self.tokens = Some(tokens);
    }

    /// The part of a call that reads the answer, as the crate does it behind its doors. Its checks of status and content
    /// type are not here.
    fn answer(&mut self, body: fn(&Data) -> &str) {
        let body = black_box(body(&self.data));
        let tokens =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body.as_bytes()));
        self.take(data::NOW, tokens.expect("it is an answer"));
    }

    fn fresh(&mut self) {
        assert!(black_box(data::NOW) < self.until.0);
        let tokens = self.tokens.as_ref().expect("tokens are held");
        self.header = format!("Bearer {}", tokens.access_token().secret());
    }

    fn write_record(&mut self) {
        let tokens = self.tokens.as_ref().expect("tokens are held");
        let stored = Stored {
            access: tokens.access_token().secret().as_str(),
            refresh: tokens.refresh_token().expect("a token is held").secret().as_str(),
            realm: self.realm.as_str(),
            access_until: self.until.0,
            refresh_until: self.until.1,
        };
        self.record = serde_json::to_vec(&stored).expect("it can be written");
    }

    fn read_record(&mut self) {
        let stored: Stored<String> = serde_json::from_slice(&self.record).expect("it is a record");
        self.read = Some((AccessToken::new(stored.access), RefreshToken::new(stored.refresh)));
        self.realm = stored.realm;
        self.until = (stored.access_until, stored.refresh_until);
    }

    /// By RFC 7009, which is what the crate can: Intuit wants JSON.
    fn revoke(&mut self) {
        let token = self.tokens.as_ref().and_then(TokenResponse::refresh_token).expect("a token is held");
        let request = self.client.revoke_token(token.clone().into()).expect("the endpoint is https");
        request.request(&|request| self.wire.call(request)).expect("it is revoked");
    }

    pub(crate) fn connect(&mut self) {
        self.url_given();
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

    /// One response, to be weighed.
    pub(crate) fn held() -> Tokens {
        serde_json::from_str(&Data::new().first.body).expect("it is an answer")
    }
}

impl Contestant for Oauth2 {
    fn name(&self) -> &'static str {
        "oauth2"
    }

    fn can(&self, item: Item) -> bool {
        !matches!(item, Item::Kernel | Item::RefreshIntent)
    }

    fn prepare(&mut self, item: Item) {
        self.wire = Wire::default();
        (self.tokens, self.read) = (None, None);
        self.header = String::new();
        self.record = Vec::new();
        self.url = String::new();
        self.state = Some(CsrfToken::new(self.data.state.clone()));
        match item {
            Item::Exchange => self.callback(),
            Item::Connect => self.wire.will_answer(&self.data.first.body),
            Item::Fresh
            | Item::RefreshRequest
            | Item::Refresh
            | Item::RecordWrite
            | Item::RecordRead
            | Item::Revoke => {
                self.callback();
                self.answer(|data| &data.first.body);
                match item {
                    Item::Refresh => self.wire.will_answer(&self.data.second.body),
                    Item::Revoke => self.wire.will_answer(""),
                    Item::RecordRead => self.write_record(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::Nothing | Item::Kernel | Item::RefreshIntent => {}
            Item::Url => self.url_given(),
            Item::UrlSigned => self.url_signed(),
            Item::UrlPkce => self.url_pkce(),
            Item::Callback => self.callback(),
            Item::Exchange => drop(self.exchange()),
            Item::RefreshRequest => drop(self.refresh_call()),
            Item::Answer => self.answer(|data| &data.first.body),
            Item::AnswerOpenid => self.answer(|data| &data.openid.body),
            Item::Fresh => self.fresh(),
            Item::Connect => self.connect(),
            Item::Refresh => self.refresh(),
            Item::RecordWrite => self.write_record(),
            Item::RecordRead => self.read_record(),
            Item::Revoke => self.revoke(),
        }
    }

    fn seen(&mut self, item: Item) -> Seen {
        let mut seen = Seen {
            state_is_signed: signed::is_signed(&self.url),
            url: self.url.clone(),
            realm: self.realm.clone(),
            access_until: self.until.0,
            refresh_until: self.until.1,
            header: self.header.clone(),
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
        if let (Item::RecordRead, Some((access, refresh))) = (item, &self.read) {
            (seen.access, seen.refresh) = (access.secret().clone(), refresh.secret().clone());
        }
        seen
    }
}
