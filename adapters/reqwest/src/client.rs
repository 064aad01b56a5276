//! The client: one request, one connection, one answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use evergrant::{Http, Provider, Time};
use evergrant_wire::{Answer, Failure, Reply};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url, redirect, retry};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use zeroize::{Zeroize, Zeroizing};

use crate::failure::{before_it_left, failure_of};

/// Time-outs and bounds, as data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Longest wait for a connection: name, TCP and TLS together. Keep it below `call`: a call that ends while it still
    /// connects counts as one that may have left.
    pub connect: Duration,
    /// Longest wait for the whole call. It must be well inside of [`Policy::call_for`](evergrant::Policy::call_for), after
    /// which the core takes the call for lost, and inside of the lease under which it is made.
    pub call: Duration,
    /// Longest body that is read, in bytes.
    pub body_most: usize,
    /// The answer header by which support finds a request again; empty where there is none.
    pub correlation_header: String,
}

impl Default for Options {
    /// Intuit's: 10 s to connect, 30 s in all, 1 MiB, `intuit_tid`.
    fn default() -> Self {
        Self::of(&Provider::INTUIT_PRODUCTION)
    }
}

impl Options {
    /// The same for another provider.
    #[must_use]
    pub fn of(provider: &Provider<'_>) -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(30),
            body_most: 1 << 20,
            correlation_header: provider.correlation_header.to_owned(),
        }
    }
}

/// Carries out the core's requests. Cheap to clone and to share: all its methods take `&self`.
#[derive(Clone, Debug)]
pub struct Client {
    /// Through the proxy that the environment names, if it names one.
    proxied: reqwest::Client,
    /// To loopback: no proxy has any business there.
    direct: reqwest::Client,
    options: Options,
}

impl Client {
    /// A client with these bounds.
    ///
    /// # Errors
    /// [`Failure::Tls`] where TLS cannot be set up on this system.
    pub fn new(options: Options) -> Result<Self, Failure> {
        let tls = verified()?;
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(|_| Failure::Tls);
        let proxied = build(builder(&options, tls.clone()))?;
        // Whatever a name server says of it, `localhost` is here.
        let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let here = here.map(|address| SocketAddr::new(address, 0));
        let direct = build(builder(&options, tls).no_proxy().resolve_to_addrs("localhost", &here))?;
        Ok(Self { proxied, direct, options })
    }

    /// Sends the request, once, and waits for what becomes of it.
    ///
    /// A future that is dropped must be taken for no answer: see [the crate's manual](crate#a-dropped-future-is-no-answer). It needs
    /// a tokio runtime.
    pub async fn carry_out(&self, http: &Http<'_>) -> Reply {
        let Some(headers) = headers(http.headers()) else { return Reply::not_sent(Failure::Malformed) };
        let body = wiped_later(http.body().as_bytes());
        self.send(http.method(), http.url(), headers, body).await
    }

    /// Reads a document that anybody may read, such as a discovery document: no token and no secret goes with it.
    pub async fn read(&self, url: &str) -> Reply {
        let accept = [("accept", "application/json")].into_iter();
        self.send("GET", url, headers(accept).unwrap_or_default(), Bytes::new()).await
    }

    async fn send(&self, method: &str, url: &str, headers: HeaderMap, body: Bytes) -> Reply {
        let (Ok(url), Ok(method)) = (Url::parse(url), Method::from_bytes(method.as_bytes())) else {
            return Reply::not_sent(Failure::Malformed);
        };
        let client = match (url.scheme(), is_loopback(&url)) {
            ("https", false) => &self.proxied,
            ("https" | "http", true) => &self.direct,
            _ => return Reply::not_sent(Failure::PlainHttp),
        };
        let mut request = client.request(method, url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        match request.send().await {
            Ok(response) => Reply::answer(self.read_answer(response).await),
            // The only failures that prove it: it was never written down, or there was never a connection to write it to. A
            // connection counts as made once its handshake is through.
            Err(error) if error.is_builder() || error.is_connect() => Reply::not_sent(before_it_left(&error)),
            Err(error) => Reply::no_answer(failure_of(&error)),
        }
    }

    /// A body that breaks off still gives what came: the tokens may be in it.
    async fn read_answer(&self, mut response: Response) -> Answer {
        let mut body = Zeroizing::new(Vec::new());
        let broken_off = read_bounded(&mut response, self.options.body_most, &mut body).await;
        let text = |name: &str| header(response.headers(), name).map(ToOwned::to_owned);
        let correlation = Some(self.options.correlation_header.as_str()).filter(|name| !name.is_empty());
        Answer {
            status: response.status().as_u16(),
            retry_after: text("retry-after"),
            correlation: correlation.and_then(text),
            date: header(response.headers(), "date").and_then(Time::from_http_date),
            content_type: text("content-type"),
            body,
            broken_off,
        }
    }
}

fn builder(options: &Options, tls: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect is an answer like any other (RFC 6750 §5.3, RFC 9700 §4.11).
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        // No idle connections: a stale one would be an answer lost for nothing, or a reason to send again.
        .pool_max_idle_per_host(0)
        .http1_only()
        .connect_timeout(options.connect)
        .timeout(options.call)
        .user_agent(concat!("evergrant/", env!("CARGO_PKG_VERSION")))
}

/// The web's roots, as they were when this was built; certificate and name are checked against them.
fn verified() -> Result<ClientConfig, Failure> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| Failure::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `None` where a value has a line break or another control character: nothing can be smuggled in.
fn headers<'h>(given: impl Iterator<Item = (&'h str, &'h str)>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let mut value = HeaderValue::from_maybe_shared(wiped_later(value.as_bytes())).ok()?;
        // Not rendered, and not kept in any table of a layer below (I6).
        value.set_sensitive(name == "authorization");
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(headers)
}

/// A copy that the layers below can share, and that is wiped when the last of them lets it go.
fn wiped_later(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes.to_vec()))
}

/// Whether the URL's host is this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn header<'m>(headers: &'m HeaderMap, name: &str) -> Option<&'m str> {
    headers.get(name)?.to_str().ok()
}

/// Reads until the end, the bound or an error, and says why where it was not the end.
///
/// The room is made in steps that are wiped when they are outgrown, and so are the pieces, where nobody else holds them.
async fn read_bounded(from: &mut Response, most: usize, into: &mut Zeroizing<Vec<u8>>) -> Option<Failure> {
    loop {
        let piece = match from.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return None,
            Err(error) => return Some(failure_of(&error)),
        };
        let room = most.saturating_sub(into.len());
        append(into, piece.get(..piece.len().min(room)).unwrap_or_default());
        let too_long = piece.len() > room;
        if let Ok(mut piece) = piece.try_into_mut() {
            BytesMut::as_mut(&mut piece).zeroize();
        }
        if too_long {
            return Some(Failure::TooLong);
        }
    }
}

fn append(into: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if into.len() + bytes.len() > into.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity((into.len() + bytes.len()) * 2));
        larger.extend_from_slice(into);
        *into = larger;
    }
    into.extend_from_slice(bytes);
}
