//! The HTTP server round the authority: Intuit's paths on one loopback port.
//!
//! # Two environments on one port
//!
//! At Intuit the two environments share every endpoint but two: the API and userinfo have a host for each. Here a path
//! prefix stands for the host: `/sandbox/v3/company/…` and `/sandbox/v1/openid_connect/userinfo`, and the same with
//! `/production`. **Without a prefix** these paths belong to the environment whose keys were given; where both were
//! given, to production, as at Intuit the plain host names do. [`Addresses`] has all of them.
//!
//! # Beyond Intuit
//!
//! - `emulator_realm=…` in the authorization URL chooses the company with [`Consent::Auto`].
//! - `{issuer}/.well-known/openid-configuration` exists as well, for clients that know no more than the issuer.
//! - `/_emulator/…` is the control path: see [`Running`] for the same from within the program.

mod clock;
mod control;
mod endpoint;
mod log;
mod page;
mod plan;
mod reply;
mod request;
mod sign;
mod wire;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use clock::{Clock, ClockChoice};
pub use log::LogEntry;

use crate::authority::{Authority, Config, ConfigError, Environment, INTUIT_ISSUER, Keys, Lifetimes, Policy};
use crate::fault::{Fault, Faults, Harm};
use crate::rng::Rng;
use log::Log;
use plan::{BodyHarm, Loss, Plan};
use reply::Reply;
use request::{Call, Route};
use sign::KeyRing;

/// Who answers the consent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nobody: it approves at once, for the first company, or for the one that `emulator_realm` names.
    Auto,
    /// The user, on a page of HTML.
    #[default]
    Page,
    /// Nobody: it denies at once.
    Deny,
}

impl Consent {
    /// `auto`, `page` or `deny`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "page" => Some(Self::Page),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// Which issuer stands in ID tokens and discovery documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Issuer {
    /// Intuit's ([`INTUIT_ISSUER`]). Its npm SDK accepts no other.
    #[default]
    Intuit,
    /// This server's own address: for generic clients, which look for the discovery document under the issuer.
    Own,
}

/// How the server is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The first of two permissions to listen elsewhere than on loopback.
    pub allow_beyond_loopback: bool,
    /// The second: whoever reaches the port can control the emulator.
    pub anyone_may_control: bool,
    /// The sets of keys that exist.
    pub keys: Vec<Keys>,
    /// Who answers the consent page.
    pub consent: Consent,
    /// The rotation policy.
    pub policy: Policy,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// The seed of tokens, signing keys, and faults by probability.
    pub seed: u64,
    /// What the clock goes by.
    pub clock: ClockChoice,
    /// The companies that the consent page offers: realm IDs of 10 to 16 digits.
    pub companies: Vec<String>,
    /// API requests for one realm in a minute of the emulator's clock, which a fixed clock never ends; `None`: no limit.
    pub api_requests_per_minute: Option<u32>,
    /// Scopes that exist beside the known ones.
    pub more_scopes: Vec<String>,
    /// Which issuer it says it is.
    pub issuer: Issuer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            allow_beyond_loopback: false,
            anyone_may_control: false,
            keys: Vec::new(),
            consent: Consent::default(),
            policy: Policy::GRACE,
            lifetimes: Lifetimes::default(),
            seed: 1,
            clock: ClockChoice::default(),
            companies: ["9341453000000001", "9341453000000002", "9341453000000003"].map(Into::into).into(),
            api_requests_per_minute: Some(500),
            more_scopes: Vec::new(),
            issuer: Issuer::default(),
        }
    }
}

impl Options {
    /// Free loopback port, consent page, grace policy, real clock, no keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the sandbox keys of an app.
    #[must_use]
    pub fn sandbox(self, client_id: &str, client_secret: &str, redirect_uris: &[&str]) -> Self {
        self.keys(Keys::new(Environment::Sandbox, client_id, client_secret, redirect_uris.iter().copied()))
    }

    /// Adds the production keys of an app.
    #[must_use]
    pub fn production(self, client_id: &str, client_secret: &str, redirect_uris: &[&str]) -> Self {
        self.keys(Keys::new(Environment::Production, client_id, client_secret, redirect_uris.iter().copied()))
    }

    /// Adds a set of keys.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys.push(keys);
        self
    }

    /// Sets who answers the consent page.
    #[must_use]
    pub const fn consent(mut self, consent: Consent) -> Self {
        self.consent = consent;
        self
    }

    /// Sets the rotation policy.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub const fn clock(mut self, clock: ClockChoice) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The environment of paths without a prefix: see the module's text.
    pub fn default_environment(&self) -> Environment {
        let only_sandbox = self.keys.iter().all(|keys| keys.environment == Environment::Sandbox);
        if only_sandbox { Environment::Sandbox } else { Environment::Production }
    }

    fn config(&self, issuer: &str) -> Config {
        let mut config = Config::new(self.keys.clone()).with_policy(self.policy);
        config.lifetimes = self.lifetimes;
        config.api_requests_per_minute = self.api_requests_per_minute;
        config.more_scopes.clone_from(&self.more_scopes);
        config.issuer = issuer.into();
        config
    }

    fn check(&self) -> Result<(), StartError> {
        let told_twice = self.allow_beyond_loopback && self.anyone_may_control;
        if !self.listen.ip().is_loopback() && !told_twice {
            return Err(StartError::NotLoopback { address: self.listen });
        }
        Ok(())
    }
}

/// Why the server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The keys or redirect URIs are not good.
    Config(ConfigError),
    /// The address is not a loopback address, and the two permissions were not given.
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The system gave no thread or no event queue.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotLoopback { address } => write!(
                f,
                "{address} is not a loopback address: anyone on the network could control the emulator. Listen on \
                 127.0.0.1, or say twice that this is wanted (allow_beyond_loopback and anyone_may_control)"
            ),
            Self::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}. Port 0 takes a free one")
            }
            Self::System(error) => write!(f, "cannot start the server's thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::NotLoopback { .. } => None,
            Self::Listen { error, .. } | Self::System(error) => Some(error),
        }
    }
}

/// Where everything is. This as one line of JSON is what a program prints that starts the emulator for others.
///
/// `userinfo`, `discovery` and `api` are those of the environment of the keys; of production where there are both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Addresses {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub base: String,
    /// The authorize endpoint, for the browser.
    pub authorize: String,
    /// The token endpoint.
    pub token: String,
    /// The revocation endpoint.
    pub revoke: String,
    /// Userinfo.
    pub userinfo: String,
    /// The public keys.
    pub jwks: String,
    /// The discovery document.
    pub discovery: String,
    /// What stands for `https://quickbooks.api.intuit.com`; `/v3/company/…` follows.
    pub api: String,
    /// The control path, `…/_emulator`.
    pub control: String,
    /// The issuer of ID tokens.
    pub issuer: String,
    /// What only the sandbox has.
    pub sandbox: Hosts,
    /// What only production has.
    pub production: Hosts,
}

/// The addresses in which the two environments differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hosts {
    /// Userinfo.
    pub userinfo: String,
    /// The discovery document.
    pub discovery: String,
    /// The base of the API.
    pub api: String,
}

impl Addresses {
    fn new(address: SocketAddr, options: &Options) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let base = format!("http://{}", SocketAddr::new(host, address.port()));
        let hosts = |environment: &str, discovery: &str| Hosts {
            userinfo: format!("{base}/{environment}/v1/openid_connect/userinfo"),
            discovery: format!("{base}/.well-known/{discovery}"),
            api: format!("{base}/{environment}"),
        };
        let sandbox = hosts("sandbox", "openid_sandbox_configuration");
        let production = hosts("production", "openid_configuration");
        let own = match options.default_environment() {
            Environment::Sandbox => &sandbox,
            Environment::Production => &production,
        };
        Self {
            authorize: format!("{base}/connect/oauth2"),
            token: format!("{base}/oauth2/v1/tokens/bearer"),
            revoke: format!("{base}/v2/oauth2/tokens/revoke"),
            userinfo: format!("{base}/v1/openid_connect/userinfo"),
            jwks: format!("{base}/op/v1/jwks"),
            discovery: own.discovery.clone(),
            api: base.clone(),
            control: format!("{base}/_emulator"),
            issuer: match options.issuer {
                Issuer::Intuit => INTUIT_ISSUER.into(),
                Issuer::Own => format!("{base}/op/v1"),
            },
            sandbox,
            production,
            base,
        }
    }

    /// Those in which this environment differs.
    pub const fn hosts(&self, environment: Environment) -> &Hosts {
        match environment {
            Environment::Sandbox => &self.sandbox,
            Environment::Production => &self.production,
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    options: Options,
    addresses: Addresses,
    clock: Clock,
    authority: Mutex<Authority>,
    faults: Mutex<Faults>,
    log: Mutex<Log>,
    keys: Mutex<KeyRing>,
    consent: Mutex<Consent>,
    tids: Mutex<Rng>,
    warming: AtomicBool,
}

/// A thread that panicked while it held a lock has left a value that is whole: each verb checks before it changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn authority(&self) -> MutexGuard<'_, Authority> {
        lock(&self.authority)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    fn keys(&self) -> MutexGuard<'_, KeyRing> {
        lock(&self.keys)
    }

    fn consent(&self) -> Consent {
        *lock(&self.consent)
    }

    fn set_consent(&self, consent: Consent) {
        *lock(&self.consent) = consent;
    }

    /// Starts making the signing key, once, where OpenID is in the air: then it is there when it is needed.
    fn warm_key(&self) {
        if !self.warming.swap(true, Ordering::SeqCst)
            && let Some(key) = self.keys().current()
        {
            tokio::task::spawn_blocking(move || key.warm());
        }
    }

    /// Support asks for it; each answer has one (wire-facts section 4).
    fn new_intuit_tid(&self) -> String {
        let mut rng = lock(&self.tids);
        let (high, low) = (rng.next_u64(), rng.next_u64());
        format!("1-{:08x}-{:08x}{:016x}", high >> 32, high & 0xFFFF_FFFF, low)
    }

    /// Harms that change the emulator's state before a request is looked at.
    fn disturb(&self, harms: &[Harm]) {
        for harm in harms {
            match harm {
                Harm::ClockJump(jump) => self.clock.advance(jump.seconds),
                Harm::RotateKey(rotate) => self.keys().rotate(rotate.keep_old),
                Harm::Disconnect(disconnect) => self.disconnect(disconnect.realm.as_deref()),
                _ => {}
            }
        }
    }

    fn disconnect(&self, realm: Option<&str>) {
        let now = self.clock.now();
        let mut authority = self.authority();
        match realm {
            Some(realm) => _ = authority.disconnect(now, realm),
            None => authority.disconnect_all(now),
        }
    }
}

/// The server. See [`Server::start`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts the server on a thread of its own; when this returns it can be reached. It needs no async runtime.
    ///
    /// # Errors
    /// When the options contradict a rule, the address is not loopback, or it cannot be listened on.
    pub fn start(options: Options) -> Result<Running, StartError> {
        options.check()?;
        let address = options.listen;
        let listen = |error| StartError::Listen { address, error };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let addresses = Addresses::new(listener.local_addr().map_err(listen)?, &options);
        let authority =
            Authority::new(options.config(&addresses.issuer), options.seed).map_err(StartError::Config)?;
        let shared = Arc::new(Shared {
            clock: Clock::new(options.clock),
            authority: Mutex::new(authority),
            faults: Mutex::new(Faults::new(options.seed)),
            log: Mutex::default(),
            keys: Mutex::new(KeyRing::new(options.seed)),
            consent: Mutex::new(options.consent),
            tids: Mutex::new(Rng::new(options.seed)),
            warming: AtomicBool::new(false),
            addresses,
            options,
        });
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(Arc::clone(&shared), listener, stopped).map_err(StartError::System)?;
        Ok(Running { shared, stop: Some(stop), thread: Some(thread) })
    }
}

fn spawn(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    stopped: oneshot::Receiver<Infallible>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("evergrant-emulator".into()).spawn(move || {
        runtime.spawn(accept(shared, listener));
        // Nothing is ever sent: the sender's end is the signal.
        let _ = runtime.block_on(stopped);
        // A key that is still being made must not hold up the end.
        runtime.shutdown_background();
    })
}

/// A server that runs until this is dropped.
pub struct Running {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where everything is.
    pub fn addresses(&self) -> &Addresses {
        &self.shared.addresses
    }

    /// The clock, to read and to move.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Calls `ask` with the authority; no request is served meanwhile.
    pub fn authority<R>(&self, ask: impl FnOnce(&mut Authority) -> R) -> R {
        ask(&mut self.shared.authority())
    }

    /// Sets a fault.
    pub fn arm(&self, fault: Fault) {
        self.shared.faults().arm(self.shared.clock.now(), fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// Changes who answers the consent page.
    pub fn set_consent(&self, consent: Consent) {
        self.shared.set_consent(consent);
    }

    /// A new signing key takes the place of the old one; `keep_old`: the key set still lists those before.
    pub fn rotate_key(&self, keep_old: bool) {
        self.shared.keys().rotate(keep_old);
    }

    /// The latest requests (at most 2000), oldest first. Requests to the control path are not among them.
    pub fn log(&self) -> Vec<LogEntry> {
        self.shared.log().entries()
    }

    /// Blocks until the server ends, which it does only if its thread panics: for a program that is nothing else.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("base", &self.shared.addresses.base).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are short; waiting to fill a packet would only slow them down.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(Arc::clone(&shared), stream));
            }
            // Out of file descriptors, most likely: others will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: tokio::net::TcpStream) {
    let (wire, reset) = wire::Wire::new(stream);
    let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&reset), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // A device behind a serial line has this one connection and may think for long between two requests.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(wire), service);
    // An error here is a client that went away, or a fault that was asked for.
    let _ = connection.await;
}

/// The answer is lost: returned as an error to hyper, which then closes the connection without a word.
#[derive(Debug)]
struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lost by a fault")
    }
}

impl std::error::Error for Lost {}

type Body = BoxBody<Bytes, Lost>;

/// Longer requests than this are refused.
const REQUEST_BYTES: usize = 65_536;

async fn answer(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let tid = shared.new_intuit_tid();
    let Ok(body) = Limited::new(body, REQUEST_BYTES).collect().await else {
        let reply = Reply::oauth_error(413, "invalid_request", Some("the request is too long, or broke off"));
        return Ok(response(&shared, reply, &tid, BodyHarm::None));
    };
    let call = Call::new(parts, body.to_bytes(), shared.options.default_environment());
    if let Route::Control(path) = &call.route {
        let reply = control::control(&shared, &call, path);
        return Ok(response(&shared, reply, &tid, BodyHarm::None));
    }
    let harms =
        call.endpoint().map_or_else(Vec::new, |endpoint| shared.faults().draw(shared.clock.now(), endpoint));
    let plan = Plan::new(harms);
    match carry_out(&shared, &call, &plan, &tid).await {
        Ok(reply) => Ok(response(&shared, reply, &tid, plan.body)),
        Err(loss) => {
            reset.store(loss.reset, Ordering::SeqCst);
            Err(Lost)
        }
    }
}

async fn carry_out(shared: &Arc<Shared>, call: &Call, plan: &Plan, tid: &str) -> Result<Reply, Loss> {
    shared.disturb(&plan.harms);
    pause(plan.delay_before_milliseconds).await;
    if let Some(loss) = plan.loss.filter(|loss| !loss.after_work) {
        note(shared, call, plan, tid, None);
        return Err(loss);
    }
    let reply = match (&plan.instead, call.endpoint()) {
        (Some(instead), Some(endpoint)) => endpoint::instead(shared, call, endpoint, instead),
        _ => endpoint::work(shared, call, plan).await,
    };
    note(shared, call, plan, tid, Some(&reply));
    pause(plan.delay_after_milliseconds).await;
    plan.loss.map_or(Ok(reply), Err)
}

async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn note(shared: &Shared, call: &Call, plan: &Plan, tid: &str, reply: Option<&Reply>) {
    let entry = LogEntry {
        number: 0,
        at: shared.clock.now(),
        endpoint: call.endpoint(),
        method: call.method.to_string(),
        path: call.path.clone(),
        parameters: call.shown_parameters(),
        authorization: call.shown_authorization(),
        status: reply.map(|reply| reply.status),
        cause: reply.and_then(|reply| reply.cause.clone()),
        harms: plan.harms.clone(),
        intuit_tid: tid.into(),
    };
    shared.log().push(entry);
}

fn response(shared: &Shared, reply: Reply, tid: &str, harm: BodyHarm) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    response = response.header("intuit_tid", tid).header("date", shared.clock.http_date());
    if harm == BodyHarm::Truncated {
        response = response.header("content-length", reply.body.len());
    }
    // A header with a character that no header may have cannot be sent; what it came from was not good.
    response.body(body(reply.body, harm)).unwrap_or_else(|_| {
        let mut response = Response::new(body(Vec::new(), BodyHarm::None));
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
        response
    })
}

fn body(bytes: Vec<u8>, harm: BodyHarm) -> Body {
    let mut whole = Bytes::from(bytes);
    let steps = match harm {
        BodyHarm::None => return Full::new(whole).map_err(|never| match never {}).boxed(),
        BodyHarm::Empty => return Full::new(Bytes::new()).map_err(|never| match never {}).boxed(),
        BodyHarm::Truncated => [Ok(whole.split_to(whole.len() / 2)), Err(Lost)],
        BodyHarm::Chunked => [Ok(whole.split_to(whole.len() / 2)), Ok(whole)],
    };
    Steps { steps: steps.into(), rested: true }.boxed()
}

/// Pieces of a body. Between two of them it rests once, so that the first is on the wire before the second is known.
struct Steps {
    steps: VecDeque<Result<Bytes, Lost>>,
    rested: bool,
}

impl hyper::body::Body for Steps {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        if !self.rested {
            self.rested = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.rested = false;
        Poll::Ready(self.steps.pop_front().map(|step| step.map(Frame::data)))
    }
}
