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

mod addresses;
mod clock;
mod control;
mod endpoint;
mod log;
mod options;
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
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use addresses::{Addresses, Hosts};
pub use clock::{Clock, ClockChoice};
pub use log::LogEntry;
pub use options::{Consent, Issuer, Options, StartError};

use crate::authority::Authority;
use crate::fault::{Fault, Faults, Harm};
use crate::rng::Rng;
use log::Log;
use plan::{BodyHarm, Loss, Plan};
use reply::Reply;
use request::{Call, Route};
use sign::KeyRing;

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
