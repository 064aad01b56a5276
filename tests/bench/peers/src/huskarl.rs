//! huskarl, where its interface lets the same work be done. It draws its own `state`, nonce and PKCE verifier, so its URL
//! is that with PKCE, and its connect goes on from a pending state of the sample. A callback, an exchange and its answer
//! are one call of it. An ID token it would verify, so the answer with one is not its item.

use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use bench::data::{self, Data};
use bench::{Contestant, Item, Seen};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use huskarl::core::client_auth::ClientSecret;
use huskarl::core::http::{HttpClient, HttpResponse, Idempotency};
use huskarl::core::platform::MaybeSendBoxFuture;
use huskarl::core::secrets::{ProvidedSecret, SecretString};
use huskarl::core::time::Clock;
use huskarl::core::{EndpointUrl, Error, RetryAdvice};
use huskarl::grant::authorization_code::{AuthorizationCodeGrant, CompleteInput, PendingState, StartInput};
use huskarl::grant::core::{OAuth2ExchangeGrant, TokenResponse};
use huskarl::grant::refresh::{RefreshGrant, RefreshGrantParameters};
use huskarl::revocation::TokenRevocation;

use crate::stored::Stored;

/// The transport: what was sent, and what will be answered.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Exchanged>>);

type Exchanged = (Option<Request<Bytes>>, Option<HttpResponse>);

impl HttpClient for Wire {
    fn execute(
        &self,
        request: Request<Bytes>,
        _: Idempotency,
    ) -> MaybeSendBoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            let mut wire = self.0.lock().expect("nobody panics with it");
            wire.0 = Some(request);
            wire.1.take().ok_or_else(|| Error::new(RetryAdvice::No, crate::oauth2::Stop))
        })
    }
}

impl Wire {
    fn reset(&self, body: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json;charset=utf-8"));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = HttpResponse { status: StatusCode::OK, headers, body };
        *self.0.lock().expect("nobody panics with it") = (None, Some(answer));
    }
}

/// A clock that stands where it was put.
#[derive(Clone, Debug)]
struct Stood(Arc<Mutex<jiff::Timestamp>>);

impl Clock for Stood {
    fn now(&self) -> jiff::Timestamp {
        *self.0.lock().expect("nobody panics with it")
    }
}

impl Stood {
    fn set(&self, seconds: u64) {
        let moment = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default());
        *self.0.lock().expect("nobody panics with it") = moment.expect("it is a moment");
    }
}

/// Runs a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

pub(crate) struct Huskarl {
    data: Data,
    wire: Wire,
    clock: Stood,
    code: AuthorizationCodeGrant,
    refresh: RefreshGrant,
    revocation: TokenRevocation,
    pending: PendingState,
    url: String,
    tokens: Option<TokenResponse>,
    header: Option<HeaderValue>,
    record: Vec<u8>,
}

impl Huskarl {
    pub(crate) fn new() -> Self {
        let data = Data::new();
        let wire = Wire::default();
        wire.reset("");
        let clock = Stood(Arc::new(Mutex::new(jiff::Timestamp::UNIX_EPOCH)));
        clock.set(data::NOW);
        let secret = || {
            let secret = ProvidedSecret::new(SecretString::new(data::CLIENT_SECRET));
            ClientSecret::builder().client_secret(secret).prefer_basic_auth(true).build()
        };
        let basic = || vec!["client_secret_basic".to_owned()];
        let url = |url: &str| url.parse::<EndpointUrl>().expect("a URL");
        let grant = AuthorizationCodeGrant::builder()
            .clock(clock.clone())
            .authorization_endpoint(url(data::AUTHORIZE))
            .token_endpoint(url(data::TOKEN))
            .token_endpoint_auth_methods_supported(basic())
            .client_id(data::CLIENT_ID)
            .http_client(wire.clone())
            .client_auth(secret())
            .redirect_uri(data::REDIRECT)
            .oidc(false)
            .build();
        let code = now(grant).expect("the sample's keys are good");
        let revocation = TokenRevocation::builder()
            .clock(clock.clone())
            .client_id(data::CLIENT_ID)
            .client_auth(secret())
            .revocation_endpoint(url(data::REVOKE))
            .revocation_endpoint_auth_methods_supported(basic())
            .build();
        // As one that was stored when the user was sent away.
        let pending = serde_json::json!({
            "redirect_uri": data::REDIRECT, "pkce_verifier": data.verifier, "state": data.state,
            "nonce": null, "dpop_jkt": null,
        });
        Self {
            refresh: code.to_refresh_grant(),
            data,
            wire,
            clock,
            code,
            revocation,
            pending: serde_json::from_value(pending).expect("it is one"),
            url: String::new(),
            tokens: None,
            header: None,
            record: Vec::new(),
        }
    }

    fn url(&mut self) {
        let scopes = data::SCOPES.map(str::to_owned).to_vec();
        let started = now(self.code.start(StartInput::scope(scopes))).expect("it can be started");
        self.url = started.authorization_url.to_string();
        black_box(started.pending_state);
    }

    fn complete(&mut self) {
        let input: CompleteInput = black_box(&self.data.callback).parse().expect("it is a callback");
        let output = now(self.code.complete(&self.pending, input)).expect("it is answered");
        self.tokens = Some(output.token_response);
    }

    fn tokens(&self) -> &TokenResponse {
        self.tokens.as_ref().expect("tokens are held")
    }

    fn fresh(&mut self) {
        let token = self.tokens().access_token();
        let now = UNIX_EPOCH + Duration::from_secs(black_box(data::NOW));
        assert!(now < token.effective_expiry(Duration::ZERO, Duration::ZERO));
        self.header = token.expose_header_value().ok();
    }

    fn refresh(&mut self) {
        let token = self.tokens().refresh_token().expect("a token is held").clone();
        let call = self.refresh.exchange(RefreshGrantParameters::refresh_token(token));
        self.tokens = Some(now(call).expect("it is answered"));
        self.write_record();
    }

    fn write_record(&mut self) {
        let (access_until, refresh_until) = self.until();
        let tokens = self.tokens();
        let stored = Stored {
            access: tokens.access_token().token().expose_secret(),
            refresh: tokens.refresh_token().expect("a token is held").token().expose_secret(),
            realm: data::REALM,
            access_until,
            refresh_until,
        };
        self.record = serde_json::to_vec(&stored).expect("it can be written");
    }

    fn until(&self) -> (u64, u64) {
        let tokens = self.tokens();
        let received = u64::try_from(tokens.received_at().as_second()).unwrap_or_default();
        let access = tokens.access_token().effective_lifetime(Duration::ZERO).as_secs();
        let refresh = tokens.get_extra("x_refresh_token_expires_in").and_then(serde_json::Value::as_u64);
        (received + access, received + refresh.unwrap_or_default())
    }

    fn revoke(&mut self) {
        let token = self.tokens().refresh_token().expect("a token is held");
        now(self.revocation.revoke(&self.wire, token)).expect("it is revoked");
    }
}

impl Contestant for Huskarl {
    fn name(&self) -> &'static str {
        "huskarl"
    }

    fn can(&self, item: Item) -> bool {
        matches!(
            item,
            Item::Nothing
                | Item::UrlPkce
                | Item::Fresh
                | Item::Connect
                | Item::Refresh
                | Item::RecordWrite
                | Item::Revoke
        )
    }

    fn prepare(&mut self, item: Item) {
        self.tokens = None;
        self.header = None;
        self.record = Vec::new();
        self.clock.set(data::NOW);
        self.wire.reset(&self.data.first.body);
        match item {
            Item::Refresh | Item::Fresh | Item::RecordWrite | Item::Revoke => {
                self.complete();
                self.wire.reset(&self.data.second.body);
            }
            _ => {}
        }
        if item == Item::Refresh {
            self.clock.set(data::LATER);
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::UrlPkce => self.url(),
            Item::Fresh => self.fresh(),
            Item::Connect => {
                self.url();
                self.complete();
            }
            Item::Refresh => self.refresh(),
            Item::RecordWrite => self.write_record(),
            Item::Revoke => self.revoke(),
            _ => {}
        }
    }

    fn seen(&mut self, item: Item) -> Seen {
        let mut seen = Seen { url: self.url.clone(), record: self.record.clone(), ..Seen::default() };
        if matches!(item, Item::Connect | Item::UrlPkce) {
            // Its own random values stand where the sample's would: what else there is must be the same.
            let challenge = bench::challenge(&self.data.verifier);
            for (name, value) in [("state", &self.data.state), ("code_challenge", &challenge)] {
                seen.url = replaced(&seen.url, name, value);
            }
        }
        // It leaves the company to its user.
        seen.realm = data::REALM.to_owned();
        if let Some(header) = &self.header {
            seen.header = String::from_utf8_lossy(header.as_bytes()).into_owned();
        }
        if let Some(request) = &self.wire.0.lock().expect("nobody panics with it").0 {
            let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            seen.authorization = header.unwrap_or_default().to_owned();
            seen.body = String::from_utf8_lossy(request.body()).into_owned();
        }
        let code = bench::text::pairs(&seen.body).into_iter().find(|(name, _)| name == "code");
        seen.code = code.map(|(_, code)| code).unwrap_or_default();
        if let Some(tokens) = &self.tokens {
            seen.access = tokens.access_token().token().expose_secret().to_owned();
            let refresh = tokens.refresh_token().map(|token| token.token().expose_secret().to_owned());
            seen.refresh = refresh.unwrap_or_default();
            (seen.access_until, seen.refresh_until) = self.until();
        }
        seen
    }
}

/// A URL with another value for one of its parameters.
fn replaced(url: &str, name: &str, value: &str) -> String {
    let pairs = url.split_inclusive(['?', '&']).map(|part| match part.split_once('=') {
        Some((found, rest)) if found == name => {
            let end = if rest.ends_with('&') { "&" } else { "" };
            format!("{name}={value}{end}")
        }
        _ => part.to_owned(),
    });
    pairs.collect()
}
