//! The keeper: what a program sees of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use evergrant::{App, Time};
use evergrant_reqwest::Client;
use evergrant_vault::{AsyncStore, Due, Spill};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::carrier::Carrier;
use crate::clock::{Clock, SystemClock};
use crate::error::{BuildError, Error};
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::inner::{InFlight, Inner, Outcome, lock};
use crate::memory::{AccessToken, Age, Memory};
use crate::options::Options;
use crate::refresh::{self, Kind};
use crate::{keep_alive, telemetry, word};

/// Keeps the grants of one app alive, and hands out their access tokens. Cheap to clone; all clones are one keeper.
///
/// It works in tasks of the runtime that it was built in, until [`shutdown`](Self::shutdown), or until its last clone is dropped.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
    _last: Arc<Last>,
}

/// Dropped with the last clone.
struct Last(Arc<Inner>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.closing.send_replace(true);
    }
}

/// Makes a [`Keeper`]. See [`Keeper::builder`].
#[must_use]
pub struct Builder {
    app: App<'static>,
    store: Arc<dyn AsyncStore>,
    http: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    spill: Option<Spill>,
    options: Options,
    #[cfg(feature = "postgres")]
    changes: Option<evergrant_vault::Changes>,
}

impl Builder {
    /// Other numbers than the defaults.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Where tokens go that the store does not take. Without it they are in memory alone until it does.
    pub fn spill(mut self, spill: Spill) -> Self {
        self.spill = Some(spill);
        self
    }

    /// Another clock than the machine's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Another carrier than [`evergrant_reqwest::Client`].
    pub fn carrier(mut self, carrier: impl Carrier) -> Self {
        self.http = Arc::new(carrier);
        self
    }

    /// Hears at once what other processes changed: a waiter does not wait for its turn to look again, and a token that another process
    /// replaced is not served from memory.
    #[cfg(feature = "postgres")]
    pub fn changes(mut self, changes: evergrant_vault::Changes) -> Self {
        self.changes = Some(changes);
        self
    }

    /// Starts the keeper in the runtime that this is called in. What an earlier process has spilled is merged first of all, beside
    /// everything else.
    ///
    /// The store need not work yet: the keeper is then not [ready](Status::ready).
    ///
    /// # Errors
    /// The numbers contradict each other, there is no runtime, or the system gave no random bytes. [`Error::Store`] where the spill
    /// folder cannot be read, for what lies there may be the newest token of a grant.
    pub fn start(self) -> Result<Keeper, StartError> {
        self.options.check(&self.app.provider().policy)?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let app_text = format!("{:08x}", self.app.fingerprint());
        let fleet =
            Fleet::new(&app_text, self.app.provider().name, self.options.rule).map_err(Error::from)?;
        let seed = match self.options.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|_| BuildError::System)?,
        };
        let left = self.spill.as_ref().map(Spill::list).transpose().map_err(Error::from)?.unwrap_or_default();
        let inner = Arc::new(Inner {
            app: self.app,
            app_text,
            store: self.store,
            http: self.http,
            clock: self.clock,
            memory: Memory::new(self.options.thresholds),
            gate: Gate::new(self.options.bounds),
            fleet,
            spill: self.spill.map(Arc::new),
            options: self.options,
            flights: Mutex::new(HashMap::new()),
            quiet: Mutex::new(HashMap::new()),
            warned: Mutex::new(HashMap::new()),
            tasks: TaskTracker::new(),
            runtime,
            closing: watch::channel(false).0,
            news: Notify::new(),
            offset_seconds: AtomicI64::new(0),
            unstored: AtomicU64::new(0),
            store_works: AtomicBool::new(true),
            draws: AtomicU64::new(seed),
        });
        for spilled in left {
            take_up(&inner, spilled);
        }
        inner.show_readiness();
        inner.tasks.spawn_on(keep_alive::run(Arc::clone(&inner)), &inner.runtime);
        #[cfg(feature = "postgres")]
        if let Some(changes) = self.changes {
            inner.tasks.spawn_on(crate::news::listen(Arc::clone(&inner), changes), &inner.runtime);
        }
        Ok(Keeper { _last: Arc::new(Last(Arc::clone(&inner))), inner })
    }
}

/// What an earlier process has spilled. Another app's is left to its own keeper.
fn take_up(inner: &Arc<Inner>, spilled: Result<evergrant_vault::Spilled, evergrant_vault::Error>) {
    match spilled {
        Ok(spilled) => {
            let ours = (spilled.name.app() == inner.app_text || word::is_one(inner, &spilled))
                && spilled.name.environment() == inner.app.provider().name;
            if ours {
                inner.unstored.fetch_add(1, Ordering::Relaxed);
                let task = Arc::clone(inner);
                let recover = async move { refresh::recover(&task, spilled).await };
                inner.tasks.spawn_on(recover, &inner.runtime);
            }
        }
        Err(error) => tracing::error!(
            target: "evergrant",
            %error,
            "a spilled record does not open; it is left where it is, as it may hold the only copy of a token"
        ),
    }
}

/// Why a keeper did not start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot be built so.
    Build(BuildError),
    /// Something that it needs does not work.
    Keeper(Error),
}

impl From<BuildError> for StartError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Keeper(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Keeper(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// How a keeper is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The store works, everything that came is in it, and the keeper does not shut down. For a readiness probe.
    pub ready: bool,
    /// Whether the store answered when it was last asked.
    pub store_works: bool,
    /// Grants whose latest tokens the store has not taken yet.
    pub unstored: u64,
    /// Since when many refusals are taken for an outage.
    pub held_since: Option<Time>,
    /// How many requests may be under way.
    pub at_once: u32,
    /// How many are.
    pub under_way: u32,
    /// How many refreshes wait for room.
    pub waiting: usize,
    /// Grants that are being refreshed, wait for their turn, or for the store to take what came of it.
    pub refreshing: usize,
    /// Grants whose access tokens are held ready.
    pub in_memory: usize,
    /// The store's clock, less this machine's, in seconds.
    pub clock_offset_seconds: i64,
}

impl Keeper {
    /// Begins to make a keeper of the grants that `store` has for this app.
    ///
    /// The app's parts live as long as the program: constants, statics, or what was read at the start and leaked once
    /// (`String::leak`). The store is a `Postgres`, or a blocking one in
    /// [`OnThreads`](evergrant_vault::OnThreads).
    pub fn builder(app: App<'static>, store: impl AsyncStore + 'static, http: Client) -> Builder {
        Builder {
            app,
            store: Arc::new(store),
            http: Arc::new(http),
            clock: Arc::new(SystemClock),
            spill: None,
            options: Options::default(),
            #[cfg(feature = "postgres")]
            changes: None,
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// An access token that works, for the realm's API.
    ///
    /// Served from memory where it is fresh, with no lock on any store. Otherwise all callers share one refresh, which none of them can
    /// cancel: drop the future, or put a time-out round it, at will. While a refresh ahead of the end is under way, the token that it
    /// is to replace is still served.
    ///
    /// # Errors
    /// [`Error::NotConnected`] and [`Error::ConsentNeeded`]: the user is needed. [`Error::NotNow`], [`Error::Held`],
    /// [`Error::Busy`], [`Error::Store`], [`Error::NotStored`]: later; the keeper goes on by itself.
    pub async fn access_token(&self, realm: &str) -> Result<AccessToken, Error> {
        let inner = &self.inner;
        let found = inner.memory.look(realm, inner.now());
        match found {
            Some((token, Age::Fresh)) => {
                telemetry::served("memory");
                return Ok(token);
            }
            Some((token, Age::Ahead)) => {
                if inner.hushed(realm).is_none() {
                    drop(begin(inner, realm, Kind::Ahead, None));
                }
                telemetry::served("memory");
                return Ok(token);
            }
            _ => {}
        }
        let outcome = match inner.hushed(realm) {
            Some(error) => Err(error),
            None => fly(inner, realm, Kind::Demand).await,
        };
        // Near its end it is still better than none.
        let outcome = outcome.or_else(|error| {
            let left = inner.memory.look(realm, inner.now());
            left.map(|(token, _)| token).ok_or(error)
        });
        telemetry::served(if outcome.is_ok() { "refresh" } else { "nothing" });
        outcome
    }

    /// The API answered 401 (code 3200) to a request with this token: gives another one, after one refresh at most.
    ///
    /// A late 401 of a token that was replaced since costs nothing: the new one is given (DUR-2). Ask
    /// [`judge`](evergrant::api::judge) first where the body is at hand: a 401 with code 130 is cured by no refresh.
    ///
    /// # Errors
    /// As [`access_token`](Self::access_token). A token that was issued within the last minute is not replaced at once.
    pub async fn rejected(&self, realm: &str, token: &AccessToken) -> Result<AccessToken, Error> {
        let (inner, id) = (&self.inner, token.id());
        metrics::counter!("evergrant_rejected_total").increment(1);
        inner.memory.reject(realm, id);
        if let Some((other, Age::Fresh | Age::Ahead)) = inner.memory.look(realm, inner.now()) {
            return Ok(other);
        }
        let outcome = fly(inner, realm, Kind::Rejected(id)).await?;
        if outcome.id() != id {
            return Ok(outcome);
        }
        // The refresh that was under way had begun before the rejection, and read the same token.
        inner.memory.reject(realm, id);
        fly(inner, realm, Kind::Rejected(id)).await
    }

    /// The disconnect redirect came for this realm. Anyone can send it, so it only makes a refresh due, which will tell (REV-2).
    ///
    /// # Errors
    /// As [`access_token`](Self::access_token).
    pub async fn disconnected(&self, realm: &str) -> Result<(), Error> {
        fly(&self.inner, realm, Kind::Disconnected).await.map(|_| ())
    }

    /// Gives a grant up: nothing of it is handed out any more, and the authority is told until it has answered (REV-1).
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::Busy`] and those of the store. [`Error::NotNow`]: it is given up here, and the authority is
    /// told later.
    pub async fn revoke(&self, realm: &str) -> Result<(), Error> {
        self.inner.memory.forget(realm);
        let outcome = fly(&self.inner, realm, Kind::Revoke).await;
        // What a refresh that was under way has brought meanwhile.
        self.inner.memory.forget(realm);
        match outcome {
            Ok(_) | Err(Error::ConsentNeeded { .. }) => Ok(()),
            Err(Error::BeingRevoked) => Err(Error::NotNow { retry_at: self.inner.now() }),
            Err(error) => Err(error),
        }
    }

    /// How it is. Reads nothing but memory.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let (at_once, under_way, waiting) = inner.gate.counts();
        Status {
            ready: inner.is_ready(),
            store_works: inner.store_works.load(Ordering::Relaxed),
            unstored: inner.unstored.load(Ordering::Relaxed),
            held_since: inner.fleet.held_since(),
            at_once,
            under_way,
            waiting,
            refreshing: lock(&inner.flights).len(),
            in_memory: inner.memory.len(),
            clock_offset_seconds: inner.offset_seconds.load(Ordering::Relaxed),
        }
    }

    /// Ends the keeper: begins nothing new, and returns when what is under way has been answered and stored, or spilled. Tokens in memory
    /// are still served. Afterwards, and twice, it does nothing.
    ///
    /// Bounded by the request's deadline and the time for which a write is tried again.
    pub async fn shutdown(&self) {
        self.inner.closing.send_replace(true);
        self.inner.show_readiness();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Joins the refresh of that realm that is under way, or begins one, and waits for what comes of it.
async fn fly(inner: &Arc<Inner>, realm: &str, kind: Kind) -> Outcome {
    loop {
        let mut flight = begin(inner, realm, kind, None)?;
        let outcome = match flight.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Error::CutOff)),
            Err(_) => return Err(Error::CutOff),
        };
        // A flight that waits for the store has told so, and is the one that would be joined again.
        let stuck = matches!(outcome, Err(Error::NotStored(_) | Error::Store(_) | Error::ShuttingDown));
        let will_do = match kind {
            // One that nobody waited for gives up sooner than one that somebody waits for.
            Kind::Demand => !matches!(outcome, Err(Error::NotNow { .. })) || flight.kind.is_waited_for(),
            // Another's refresh does nothing of what was asked for.
            Kind::Revoke | Kind::Disconnected => flight.kind == kind,
            Kind::Ahead | Kind::Due | Kind::Rejected(_) => true,
        };
        if will_do || stuck {
            return outcome;
        }
    }
}

/// Joins the refresh of that realm that is under way, or begins one in a task of its own.
fn begin(inner: &Arc<Inner>, realm: &str, kind: Kind, due: Option<Due>) -> Result<InFlight, Error> {
    let mut flights = lock(&inner.flights);
    if let Some(flight) = flights.get(realm) {
        return Ok(flight.clone());
    }
    if inner.is_closing() {
        return Err(Error::ShuttingDown);
    }
    let (sender, outcome) = watch::channel(None);
    let flight = InFlight { outcome, kind };
    flights.insert(realm.to_owned(), flight.clone());
    drop(flights);
    let landing = Landing { inner: Arc::clone(inner), realm: realm.to_owned() };
    let task = async move {
        let outcome = refresh::run(&landing.inner, &landing.realm, kind, due, &sender).await;
        match &outcome {
            Ok(_) => landing.inner.news.notify_waiters(),
            // The scheduler's own looks say nothing to those who wait.
            Err(error) => {
                if matches!(error, Error::Store(_)) {
                    landing.inner.note_store(false);
                }
                if kind != Kind::Due {
                    landing.inner.hush(&landing.realm, error);
                }
            }
        }
        // Whoever comes from here on finds the token in memory, or begins anew.
        drop(landing);
        sender.send_replace(Some(outcome));
    };
    let span = tracing::debug_span!(target: "evergrant", "grant", realm, ?kind);
    inner.tasks.spawn_on(task.instrument(span), &inner.runtime);
    Ok(flight)
}

/// Takes a flight out of the table, however it ends.
struct Landing {
    inner: Arc<Inner>,
    realm: String,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.inner.flights).remove(&self.realm);
    }
}

/// For the scheduler: a row that is due, with its lease. `false` where a refresh of it is under way already: the lease is given back.
pub(crate) async fn renew(inner: &Arc<Inner>, due: Due) -> bool {
    let realm = due.lease.name().realm().to_owned();
    if lock(&inner.flights).contains_key(&realm) {
        let _ = inner.store.release(&due.lease).await;
        return false;
    }
    if let Ok(mut flight) = begin(inner, &realm, Kind::Due, Some(due)) {
        let _ = flight.outcome.wait_for(Option::is_some).await;
    }
    true
}
