//! huskarl, as its guide wires it: a grant, a token source with a refresh token store, a cache for each company. The store is as
//! durable as its interface allows: `set` does not come back before the token is in the database, however long that takes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use huskarl::cache::{GrantTokenSource, InMemoryTokenCache, NoSource, RefreshTokenStore, TokenSource};
use huskarl::core::client_auth::ClientSecret;
use huskarl::core::http::{HttpClient, HttpResponse, Idempotency};
use huskarl::core::platform::MaybeSendBoxFuture;
use huskarl::core::secrets::{ProvidedSecret, SecretString};
use huskarl::core::time::Clock;
use huskarl::core::{EndpointUrl, Error, RetryAdvice};
use huskarl::grant::authorization_code::{AuthorizationCodeGrant, AuthorizationCodeGrantParameters};
use huskarl::grant::core::OAuth2ExchangeGrant;
use huskarl::token::RefreshToken;

use super::port::{Ask, Port};
use super::tables::{Place, Row, Tables};
use super::{Done, fingerprint_of};
use crate::app::{CLIENT_ID, CLIENT_SECRET, REDIRECT_URI};

type Source = GrantTokenSource<AuthorizationCodeGrant, Store>;

pub(super) struct Worker {
    port: &'static Port,
    tables: Arc<Mutex<Tables>>,
    grant: AuthorizationCodeGrant,
    /// Of the company that was last asked for.
    cache: Option<(String, InMemoryTokenCache<Arc<Source>>)>,
    runtime: tokio::runtime::Runtime,
}

fn told(error: impl fmt::Display) -> String {
    format!("{error:#}")
}

impl Worker {
    pub(super) fn new(port: &'static Port, authority: &str, place: &Place) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(told)?;
        let secret = ProvidedSecret::new(SecretString::new(CLIENT_SECRET));
        let url = |url: &str| url.parse::<EndpointUrl>().map_err(told);
        let grant = AuthorizationCodeGrant::builder()
            .clock(Told(port))
            .authorization_endpoint(url("https://authority.example/authorize")?)
            .token_endpoint(url(authority)?)
            .token_endpoint_auth_methods_supported(vec!["client_secret_basic".to_owned()])
            .client_id(CLIENT_ID)
            .http_client(Wire(super::plain::agent()))
            .client_auth(ClientSecret::builder().client_secret(secret).prefer_basic_auth(true).build())
            .redirect_uri(REDIRECT_URI)
            .oidc(false)
            .build();
        let grant = runtime.block_on(grant).map_err(told)?;
        Ok(Self { port, tables: Arc::new(Mutex::new(Tables::open(place)?)), grant, cache: None, runtime })
    }

    pub(super) fn carry_out(&mut self, ask: &Ask) -> Done {
        let token = match ask {
            Ask::Use(realm) | Ask::Tick(realm) => self.token(realm),
            Ask::Callback { realm, query } => self.callback(realm, query),
        };
        Done { token, due: None }
    }

    fn cache_of(&mut self, realm: &str) -> &InMemoryTokenCache<Arc<Source>> {
        let made = match self.cache.take() {
            Some((own, cache)) if own == realm => cache,
            _ => {
                let store = Store { port: self.port, tables: Arc::clone(&self.tables), realm: realm.into() };
                let source = GrantTokenSource::builder()
                    .grant(self.grant.clone())
                    .grant_parameters(NoSource)
                    .refresh_store(store)
                    .build();
                InMemoryTokenCache::builder().source(Arc::new(source)).build()
            }
        };
        &self.cache.insert((realm.to_owned(), made)).1
    }

    fn token(&mut self, realm: &str) -> Result<String, String> {
        self.cache_of(realm);
        let Some((_, cache)) = &self.cache else { return Err("no cache".into()) };
        let token = self.runtime.block_on(cache.token()).map_err(told)?;
        Ok(fingerprint_of(token.access_token().token().expose_secret()))
    }

    fn callback(&mut self, realm: &str, query: &str) -> Result<String, String> {
        let code = super::parameter(query, "code");
        let parameters = AuthorizationCodeGrantParameters::builder().code(code).build();
        let answer = self.runtime.block_on(self.grant.exchange(parameters)).map_err(told)?;
        self.cache_of(realm);
        let Some((_, cache)) = &self.cache else { return Err("no cache".into()) };
        self.runtime.block_on(cache.source().prime(answer)).map_err(told)?;
        self.token(realm)
    }
}

/// The harness's clock.
#[derive(Clone, Copy)]
struct Told(&'static Port);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl Clock for Told {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.0.own() as i64).unwrap_or_default()
    }
}

struct Wire(ureq::Agent);

impl HttpClient for Wire {
    fn execute(
        &self,
        request: Request<Bytes>,
        _: Idempotency,
    ) -> MaybeSendBoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            // One caller at a time in this process: blocking holds nobody up.
            let retry = |error: ureq::Error| Error::new(RetryAdvice::Retry { after: None }, error);
            let (head, body) = request.into_parts();
            let answer = self.0.run(Request::from_parts(head, body.to_vec())).map_err(retry)?;
            let (head, mut body) = answer.into_parts();
            let body = Bytes::from(body.read_to_vec().map_err(retry)?);
            Ok(HttpResponse { status: head.status, headers: head.headers, body })
        })
    }
}

struct Store {
    port: &'static Port,
    tables: Arc<Mutex<Tables>>,
    realm: String,
}

#[derive(Debug)]
struct Down(String);

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Down {}

impl Store {
    fn verb<T>(&self, name: &str, verb: impl FnOnce(&Tables) -> Result<T, String>) -> Result<T, Error> {
        let down = || format!("{name}: the store is down");
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.port.verb(name, down, || verb(&tables));
        done.map_err(|why| Error::new(RetryAdvice::Retry { after: None }, Down(why)))
    }
}

impl RefreshTokenStore for Store {
    fn get(&self) -> MaybeSendBoxFuture<'_, Result<Option<RefreshToken>, Error>> {
        Box::pin(async move {
            let row = self.verb("get", |tables| tables.get(&self.realm))?;
            Ok(row.map(|row| RefreshToken::new(SecretString::new(row.refresh), None)))
        })
    }

    fn set<'a>(&'a self, token: &'a RefreshToken) -> MaybeSendBoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let row = Row { refresh: token.token().expose_secret().to_owned(), ..Row::default() };
            let mut pause = 1;
            while self.verb("put", |tables| tables.put(&self.realm, &row)).is_err() {
                self.port.sleep(pause);
                pause = (pause * 2).min(300);
            }
            Ok(())
        })
    }

    fn clear(&self) -> MaybeSendBoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.verb("delete", |tables| tables.delete(&self.realm)) })
    }
}
