//! The client: one request, one connection, one answer.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use evergrant::{Http, Provider, Time};
use evergrant_wire::{Answer, Failure, Reply};
use ureq::http::{HeaderMap, Request, Response, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, Proxy};
use zeroize::Zeroizing;

use crate::failure::{before_it_left, failure_of};
use crate::witness::{self, WitnessedConnector};

/// Time-outs and bounds, as data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Longest wait for a connection: name, TCP and TLS together.
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

/// Carries out the core's requests. Cheap to share: all its methods take `&self`.
#[derive(Debug)]
pub struct Client {
    /// Through the proxy that the environment names, if it names one.
    proxied: Agent,
    /// To loopback: no proxy has any business there.
    direct: Agent,
    options: Options,
}

impl Client {
    /// A client with these bounds.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let proxied = agent(&options, Proxy::try_from_env());
        let direct = agent(&options, None);
        Self { proxied, direct, options }
    }

    /// Sends the request, once, and waits for what becomes of it.
    #[must_use]
    pub fn carry_out(&self, http: &Http<'_>) -> Reply {
        self.send(http.method(), http.url(), http.headers(), http.body())
    }

    /// Reads a document that anybody may read, such as a discovery document: no token and no secret goes with it.
    #[must_use]
    pub fn read(&self, url: &str) -> Reply {
        self.send("GET", url, [("accept", "application/json")].into_iter(), "")
    }

    fn send<'h>(
        &self,
        method: &str,
        url: &str,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        body: &str,
    ) -> Reply {
        let Ok(uri) = url.parse::<Uri>() else { return Reply::not_sent(Failure::Malformed) };
        let agent = match (uri.scheme_str(), is_loopback(&uri)) {
            (Some("https"), false) => &self.proxied,
            (Some("https" | "http"), true) => &self.direct,
            _ => return Reply::not_sent(Failure::PlainHttp),
        };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            // A value with a line break or another control character is refused here: nothing can be smuggled in.
            request = request.header(name, value);
        }
        witness::begin();
        let answered = if method == "GET" {
            request.body(()).map_err(Into::into).and_then(|request| agent.run(request))
        } else {
            request.body(body).map_err(Into::into).and_then(|request| agent.run(request))
        };
        match answered {
            Ok(response) => Reply::answer(self.read_answer(response)),
            Err(error) if witness::has_left() => Reply::no_answer(failure_of(&error)),
            Err(error) => Reply::not_sent(before_it_left(failure_of(&error))),
        }
    }

    /// A body that breaks off still gives what came: the tokens may be in it.
    fn read_answer(&self, response: Response<Body>) -> Answer {
        let (head, body) = response.into_parts();
        let mut read = Zeroizing::new(Vec::new());
        let broken_off = read_bounded(body.into_reader(), self.options.body_most, &mut read);
        let text = |name: &str| header(&head.headers, name).map(ToOwned::to_owned);
        let correlation = Some(self.options.correlation_header.as_str()).filter(|name| !name.is_empty());
        Answer {
            status: head.status.as_u16(),
            retry_after: text("retry-after"),
            correlation: correlation.and_then(text),
            date: header(&head.headers, "date").and_then(Time::from_http_date),
            content_type: text("content-type"),
            body: read,
            broken_off,
        }
    }
}

fn agent(options: &Options, proxy: Option<Proxy>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect is an answer like any other (RFC 6750 §5.3, RFC 9700 §4.11).
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        // No idle connections: a stale one would be an answer lost for nothing, or a reason to send again.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .timeout_connect(Some(options.connect))
        .timeout_resolve(Some(options.connect))
        .timeout_global(Some(options.call))
        .user_agent(concat!("evergrant/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, WitnessedConnector::default(), DefaultResolver::default())
}

/// Whether the URL's host is this machine.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn header<'m>(headers: &'m HeaderMap, name: &str) -> Option<&'m str> {
    headers.get(name)?.to_str().ok()
}

/// Reads until the end, the bound or an error, and says why where it was not the end.
///
/// The room is made in steps that are wiped when they are outgrown; `read_to_end` would leave copies behind.
fn read_bounded(mut from: impl Read, most: usize, into: &mut Zeroizing<Vec<u8>>) -> Option<Failure> {
    let mut piece = Zeroizing::new([0; 8_192]);
    loop {
        let count = match from.read(piece.as_mut()) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Some(broken(&error)),
        };
        let room = most.saturating_sub(into.len());
        append(into, piece.get(..count.min(room)).unwrap_or_default());
        if count > room {
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

fn broken(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(inner) => failure_of(inner),
        None if error.kind() == std::io::ErrorKind::TimedOut => Failure::Timeout,
        None => Failure::Broken,
    }
}
