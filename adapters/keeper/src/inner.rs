//! What all parts of a keeper share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant::{App, Phase, Record, Session, Time};
use evergrant_vault::{AsyncStore, Loaded, Name, Spill, Spilled, Write};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::carrier::Carrier;
use crate::clock::Clock;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::memory::{AccessToken, Memory};
use crate::options::Options;
use crate::refresh::Kind;
use crate::schedule::{self, Draw, Warning, mix};

/// What the callers of one refresh are told.
pub(crate) type Outcome = Result<AccessToken, Error>;
/// Where a refresh tells it; more than once where it goes on after its callers had to be told.
pub(crate) type Flight = watch::Sender<Option<Outcome>>;

/// A refresh under way, that whoever wants the same can join.
#[derive(Clone)]
pub(crate) struct InFlight {
    pub(crate) outcome: watch::Receiver<Option<Outcome>>,
    pub(crate) kind: Kind,
}

/// Seconds for which those who ask for a grant that has no token to give are told so from memory.
const QUIET_SECONDS: u32 = 5;
/// Warnings that are remembered as given. When there are more grants in trouble, some are warned of again.
const WARNED_MOST: usize = 100_000;

pub(crate) struct Inner {
    pub(crate) app: App<'static>,
    pub(crate) app_text: String,
    pub(crate) store: Arc<dyn AsyncStore>,
    pub(crate) http: Arc<dyn Carrier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) memory: Memory,
    pub(crate) gate: Gate,
    pub(crate) fleet: Fleet,
    pub(crate) spill: Option<Arc<Spill>>,
    pub(crate) flights: Mutex<HashMap<String, InFlight>>,
    pub(crate) quiet: Mutex<HashMap<String, (Time, Error)>>,
    pub(crate) warned: Mutex<HashMap<u64, u32>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) closing: watch::Sender<bool>,
    /// Somebody, perhaps another process, has given a lease back.
    pub(crate) news: Notify,
    /// The store's clock, less this process's, in seconds.
    pub(crate) offset_seconds: AtomicI64,
    pub(crate) unstored: AtomicU64,
    pub(crate) store_works: AtomicBool,
    pub(crate) draws: AtomicU64,
}

impl Inner {
    /// The time that all of a fleet live by.
    pub(crate) fn now(&self) -> Time {
        let now = self.clock.now().unix();
        Time::from_unix(now.saturating_add_signed(self.offset_seconds.load(Ordering::Relaxed)))
    }

    /// Asks the store for its time, and whether it works.
    pub(crate) async fn ask_the_time(&self) -> Result<(), Error> {
        let before = self.clock.now().unix();
        let asked = self.store.clock(before).await;
        self.note_store(asked.is_ok());
        let theirs = asked?;
        // It was read somewhere between asking and hearing.
        let ours = before.midpoint(self.clock.now().unix());
        let offset = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(ours);
        self.offset_seconds.store(offset, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn note_store(&self, works: bool) {
        self.store_works.store(works, Ordering::Relaxed);
        self.show_readiness();
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.store_works.load(Ordering::Relaxed)
            && self.unstored.load(Ordering::Relaxed) == 0
            && !self.is_closing()
    }

    pub(crate) fn show_readiness(&self) {
        metrics::gauge!("evergrant_ready").set(if self.is_ready() { 1.0 } else { 0.0 });
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits about so many milliseconds, or until somebody gave a lease back, or the keeper closes.
    pub(crate) async fn pause(&self, milliseconds: u32) {
        let drawn = milliseconds / 2 + self.draw().up_to(milliseconds);
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(drawn.into())) => {}
            () = self.news.notified() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// Waits about so many milliseconds, or until the keeper closes.
    pub(crate) async fn back_off(&self, milliseconds: u32) {
        let drawn = milliseconds / 2 + self.draw().up_to(milliseconds / 2);
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(drawn.into())) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// Waits so many seconds. `false` where the keeper closes meanwhile.
    pub(crate) async fn sleep(&self, seconds: u32) -> bool {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds.into())) => true,
            _ = closing.wait_for(|closing| *closing) => false,
        }
    }

    pub(crate) fn draw(&self) -> Draw {
        Draw(mix(self.draws.fetch_add(1, Ordering::Relaxed)))
    }

    // ---------------------------------------------------------------------------------------------------- records

    pub(crate) fn name(&self, realm: &str) -> Result<Name, Error> {
        Ok(Name::new(self.app_text.as_str(), self.app.provider().name, realm)?)
    }

    pub(crate) fn restore(&self, record: &[u8]) -> Result<Box<Session>, Error> {
        Ok(Box::new(Session::restore(&self.app, &parse(record)?)?))
    }

    pub(crate) fn bytes(&self, session: &Session) -> Result<Zeroizing<Vec<u8>>, Error> {
        let record = session.record(&self.app);
        let needed = match record.write(&mut []) {
            Ok(_) => 0,
            Err(too_long) => too_long.needed,
        };
        let mut bytes = Zeroizing::new(vec![0; needed]);
        let length = record.write(&mut bytes).map_err(evergrant::Error::from)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    pub(crate) fn write<'b>(&self, realm: &str, session: &Session, bytes: &'b [u8]) -> Write<'b> {
        let phase: &Phase = session.phase();
        let seed = self.memory.seed(realm);
        let policy = &self.app.provider().policy;
        let due_at = schedule::due_at(policy, phase, self.now(), seed).map(Time::unix);
        let ends_at = schedule::ends_at(policy, phase).map(Time::unix);
        Write { record: bytes, revision: phase.revision, due_at, ends_at }
    }

    /// Holds the session's access token ready, where it has one that may be handed out. It was read from, or written with, the row's
    /// write of that number.
    pub(crate) fn publish(&self, realm: &str, session: &Session, write: u64) -> Option<AccessToken> {
        let token = self.token(session)?;
        self.memory.put(realm, &token, write);
        Some(token)
    }

    pub(crate) fn token(&self, session: &Session) -> Option<AccessToken> {
        let alive = session.access_token(self.now())?;
        let held = session.phase().usable()?;
        let id = crate::memory::TokenId { generation: session.phase().generation, serial: held.serial };
        let seconds = held.access_end().min(held.end()).since(held.issued_at);
        Some(AccessToken::new(alive.expose(), id, held.issued_at, seconds))
    }

    // -------------------------------------------------------------------------------------------------- spilling

    pub(crate) async fn spill(&self, spilled: &Spilled) {
        self.unstored.fetch_add(1, Ordering::Relaxed);
        self.show_unstored();
        let Some(spill) = self.spill.clone() else {
            tracing::error!(
                target: "evergrant",
                realm = spilled.name.realm(),
                "the store did not take what came of a refresh, and there is no spill folder: it is in memory alone"
            );
            return;
        };
        let (copy, realm) = (spilled.clone(), spilled.name.realm().to_owned());
        match tokio::task::spawn_blocking(move || spill.put(&copy)).await {
            Ok(Ok(())) => tracing::error!(
                target: "evergrant",
                realm,
                "the store did not take what came of a refresh: it is in the spill folder until it does"
            ),
            Ok(Err(error)) => tracing::error!(
                target: "evergrant",
                realm,
                %error,
                "neither the store nor the spill folder took what came of a refresh: it is in memory alone"
            ),
            Err(_) => tracing::error!(target: "evergrant", realm, "the spill was cut off"),
        }
    }

    pub(crate) async fn unspill(&self, spilled: &Spilled) {
        if let Some(spill) = self.spill.clone() {
            let copy = spilled.clone();
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || spill.remove(&copy)).await {
                // At the next start it is merged once more, and found to be known.
                tracing::warn!(target: "evergrant", %error, "a spill file that has served could not be removed");
            }
        }
        self.unstored.fetch_sub(1, Ordering::Relaxed);
        self.show_unstored();
    }

    fn show_unstored(&self) {
        #[allow(clippy::cast_precision_loss)] // a gauge
        metrics::gauge!("evergrant_unstored").set(self.unstored.load(Ordering::Relaxed) as f64);
        self.show_readiness();
    }

    // ----------------------------------------------------------------------------------------------- small tables

    pub(crate) fn hush(&self, realm: &str, error: &Error) {
        let now = self.now();
        let until = match error {
            Error::NotNow { retry_at: at } | Error::Held { probe_at: at } => {
                (*at).min(now.plus(QUIET_SECONDS))
            }
            Error::NotConnected | Error::ConsentNeeded { .. } | Error::BeingRevoked | Error::Record(_) => {
                now.plus(QUIET_SECONDS)
            }
            _ => return,
        };
        let mut quiet = lock(&self.quiet);
        if quiet.len() > 1_024 {
            quiet.retain(|_, (until, _)| *until > now);
        }
        quiet.insert(realm.to_owned(), (until, error.clone()));
    }

    pub(crate) fn hushed(&self, realm: &str) -> Option<Error> {
        let (until, error) = lock(&self.quiet).get(realm)?.clone();
        let now = self.now();
        // A clock that was put back must not keep anybody quiet for longer.
        (now < until && until.since(now) <= QUIET_SECONDS).then_some(error)
    }

    /// Tells of an end that comes near, once for each of its distances.
    pub(crate) fn warn(&self, realm: &str, session: &Session) {
        let Some(held) = session.phase().usable() else { return };
        let Some(Warning { end, days }) = schedule::warning(held, self.now()) else { return };
        let code = days * 2 + u32::from(end == schedule::End::Hard);
        let mut warned = lock(&self.warned);
        if warned.len() >= WARNED_MOST {
            warned.clear();
        }
        if warned.insert(crate::fleet::grant_hash(realm), code) == Some(code) {
            return;
        }
        drop(warned);
        let end_text = if end == schedule::End::Hard { "hard" } else { "rolling" };
        metrics::counter!("evergrant_warnings_total", "end" => end_text).increment(1);
        tracing::warn!(
            target: "evergrant",
            realm,
            end = end_text,
            days,
            "a grant comes near its end: at the hard end only a new consent helps; at the rolling one, see why it is not renewed"
        );
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn parse(record: &[u8]) -> Result<Record<'_>, Error> {
    Record::read(record).map_err(|_| Error::Record("is damaged"))
}

/// A grant as it was read.
pub(crate) struct Grant {
    /// Some kilobytes, so it does not travel on the stack.
    pub(crate) session: Box<Session>,
    /// The write that it was read from; `None` where there is no row yet.
    pub(crate) generation: Option<u64>,
    /// When the row was to come up by itself.
    pub(crate) due_at: Option<Time>,
    /// When this process's lease ends; as long ago as can be where it has none.
    pub(crate) lease_until: Time,
}

impl Grant {
    pub(crate) fn of(inner: &Inner, loaded: &Loaded) -> Result<Self, Error> {
        let session = inner.restore(loaded.record.expose())?;
        let (generation, due_at) = (Some(loaded.generation), loaded.due_at.map(Time::from_unix));
        Ok(Self { session, generation, due_at, lease_until: Time::UNSET })
    }

    /// One that no row is of yet.
    pub(crate) fn new(inner: &Inner) -> Self {
        let session = Box::new(Session::new(&inner.app));
        Self { session, generation: None, due_at: None, lease_until: Time::UNSET }
    }
}
