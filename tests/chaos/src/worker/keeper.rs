//! `evergrant-keeper` as a worker: the keeper itself, with its carrier, its clock and its store on the harness's gates and time.
//!
//! It runs on one thread, on tokio's paused clock, so everything in it stands still while a gate is closed. When all of it waits, tokio
//! moves its clock on by itself; the harness is told so before the next thing that anybody outside could notice, and the other way
//! round tokio's clock follows where the harness let time pass. An operation ends when the keeper is at rest.
//!
//! Its scheduler looks once a minute, which over months of virtual time nobody could wait for. So it is asked to look when the row is
//! due, and when the process starts.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evergrant::{App, Http, Provider, Time};
use evergrant_keeper::{Carrier, Clock, Error, Keeper, Options};
use evergrant_ureq::{Client, Reply};
use evergrant_vault::{
    AsyncStore, Claim, Commit, Due, Error as StoreError, Fingerprint, KeyUse, Keyring, Keys, Lease, Loaded,
    Name, OnRuntime, Owner, Pending, Postgres, PostgresOptions, Removal, Resealed, Row, Spend, Spill, Sqlite,
    Store, Then, Write,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::port::{Ask, Port};
use super::{Done, Place, fingerprint_of};
use crate::app::{SEALING_KEY, keys, provider};
use crate::backdoor::{SPILL, VAULT};

/// The scheduler's longest sleep.
const WAKE_SECONDS: u64 = 60;
/// A row that is due, and of which nothing could be made, is looked at again so much later: the harness wakes nobody for ever.
const AGAIN_SECONDS: u64 = 300;
/// While something is under way, the worker looks so often at the least whether it has come to its end.
const PAUSE_MOST_SECONDS: u64 = 16;
/// More rows than a store has here.
const ROWS_MOST: usize = 100;
/// The harness is told of so much time in one piece, where nobody else asks before.
const PIECE_SECONDS: u64 = 60;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ring() -> Result<Keys<'static>, String> {
    Keyring::parse(SEALING_KEY).map(Keys::Ring).map_err(told)
}

pub(super) struct Worker {
    port: &'static Port,
    provider: &'static Provider<'static>,
    store: Arc<dyn Store>,
    /// The store's server has a clock of its own.
    has_clock: bool,
    /// Of this worker, in all its lives: what one of them has spilled the next one takes up.
    spill: PathBuf,
    number: u64,
    http: evergrant_reqwest::Client,
    life: Option<Life>,
}

/// A keeper. The store lives longer: the harness empties it between two episodes.
struct Life {
    /// All that it keeps, with commas between them.
    realms: String,
    runtime: Runtime,
    pace: Arc<Pace>,
    store: Arc<Gated>,
    keeper: Keeper,
    /// As the harness was told it.
    held_since: Cell<Option<Time>>,
}

impl Worker {
    pub(super) fn new(
        port: &'static Port,
        authority: &str,
        place: &Place,
        folder: &Path,
    ) -> Result<Self, String> {
        let provider = provider(Box::leak(authority.to_owned().into_boxed_str()));
        // …/w<worker>.<life>/token
        let number = authority.split("/w").last().and_then(|rest| rest.split('.').next()).unwrap_or("0");
        // It is asked for, and replaced by the carrier.
        let http = evergrant_reqwest::Client::new(evergrant_reqwest::Options::default()).map_err(told)?;
        let spill = folder.join(SPILL).join(number);
        let number = number.parse().unwrap_or(0);
        let has_clock = matches!(place, Place::Postgres { .. });
        let (store, provider) = (open(place)?, Box::leak(Box::new(provider)));
        Ok(Self { port, provider, store, has_clock, spill, number, http, life: None })
    }

    pub(super) fn carry_out(&mut self, ask: &Ask) -> Done {
        let (Ask::Use(realms) | Ask::Tick(realms) | Ask::Callback { realm: realms, .. }) = ask;
        if self.life.as_ref().is_none_or(|life| life.realms != *realms) {
            self.life = None;
            match self.begin(realms) {
                Ok(life) => self.life = Some(life),
                Err(why) => return Done { token: Err(why), due: None },
            }
        }
        match &self.life {
            Some(life) => life.carry_out(ask),
            None => Done { token: Err("no keeper".into()), due: None },
        }
    }

    fn begin(&self, realms: &str) -> Result<Life, String> {
        let app = App::new(self.provider, keys()).map_err(told)?;
        // There is nothing to hold where there is one grant, and gates are counted.
        let ungated = (!realms.contains(',')).then(|| format!("keeper-{:08x}", app.fingerprint()));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().map_err(told)?;
        let pace = runtime.block_on(async { Arc::new(Pace::new(self.port)) });
        let (store, has_clock) = (Arc::clone(&self.store), self.has_clock);
        let store = Arc::new(Gated { pace: Arc::clone(&pace), store, has_clock, ungated });
        let mut options = Options::default();
        options.seed = Some(self.number);
        let builder = Keeper::builder(app, Shared(Arc::clone(&store)), self.http.clone())
            .carrier(Wire { pace: Arc::clone(&pace), http: Client::new(evergrant_ureq::Options::default()) })
            .clock(Told(Arc::clone(&pace)))
            .spill(Spill::open(&self.spill, ring()?).map_err(told)?)
            .options(options);
        let keeper = runtime.block_on(async { builder.start() }).map_err(told)?;
        Ok(Life { realms: realms.to_owned(), runtime, pace, store, keeper, held_since: Cell::default() })
    }
}

fn open(place: &Place) -> Result<Arc<dyn Store>, String> {
    match place {
        Place::Sqlite { folder } => Ok(Arc::new(Sqlite::open(&folder.join(VAULT), ring()?).map_err(told)?)),
        Place::Postgres { url, schema } => {
            let mut options = PostgresOptions::default();
            options.schema = schema.clone();
            options.connections = 1;
            options.clock = evergrant_vault::Clock::Caller;
            Ok(Arc::new(OnRuntime::open(Postgres::open(url, ring()?, options)).map_err(told)?))
        }
    }
}

impl Life {
    fn carry_out(&self, ask: &Ask) -> Done {
        self.pace.ticks.store(matches!(ask, Ask::Tick(_)), Ordering::Relaxed);
        let token = self.runtime.block_on(async {
            self.pace.catch_up().await;
            match ask {
                Ask::Use(_) => self.tokens().await,
                Ask::Callback { query, .. } => self.callback(query).await,
                Ask::Tick(_) => {
                    self.look().await;
                    Ok("-".into())
                }
            }
        });
        self.tell_hold();
        Done { token, due: self.due() }
    }

    /// Of all grants at once.
    async fn tokens(&self) -> Result<String, String> {
        let realms: Vec<&str> = self.realms.split(',').collect();
        let [realm] = realms[..] else {
            let said = self.demand(&realms).await.into_iter().map(|token| match token {
                Ok(fingerprint) => fingerprint,
                Err(why) => format!("!{}", why.replace(',', ";").replace(' ', "_")),
            });
            return Ok(said.collect::<Vec<_>>().join(","));
        };
        self.token(realm).await
    }

    async fn token(&self, realm: &str) -> Result<String, String> {
        self.demand(&[realm]).await.pop().unwrap_or_else(|| Err("nothing came of it".into()))
    }

    async fn demand(&self, realms: &[&str]) -> Vec<Result<String, String>> {
        let mut said = self.demand_once(realms).await;
        // Some were told so while the keeper went on.
        if self.rest().await && said.iter().any(Result::is_err) {
            let again: Vec<&str> =
                realms.iter().zip(&said).filter(|(_, said)| said.is_err()).map(|(realm, _)| *realm).collect();
            let mut second = self.demand_once(&again).await.into_iter();
            said.iter_mut().filter(|said| said.is_err()).for_each(|said| {
                if let Some(second) = second.next() {
                    *said = second;
                }
            });
            self.rest().await;
        }
        said
    }

    async fn demand_once(&self, realms: &[&str]) -> Vec<Result<String, String>> {
        let asks = realms.iter().map(|realm| {
            let (keeper, realm) = (self.keeper.clone(), (*realm).to_owned());
            tokio::spawn(async move { keeper.access_token(&realm).await })
        });
        let mut said = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            let token = ask.await.map_err(told).and_then(|token| token.map_err(told));
            said.push(token.map(|token| fingerprint_of(token.expose())));
        }
        said
    }

    async fn callback(&self, query: &str) -> Result<String, String> {
        let linked = self.keeper.callback(query, b"").await;
        self.rest().await;
        let realm = super::parameter(query, "realmId");
        match linked {
            Ok(linked) if linked.realm != realm => Err("linked to another company".into()),
            Ok(_) => self.token(&realm).await,
            Err(error @ Error::NotStored(_)) => self.token(&realm).await.map_err(|_| told(error)),
            Err(error) => Err(told(error)),
        }
    }

    /// The harness counts holds.
    fn tell_hold(&self) {
        let since = self.keeper.status().held_since;
        if let (Some(since), true) = (since, self.held_since.replace(since) != since) {
            self.pace.port.say(&format!("hold {}", since.unix()));
        }
    }

    /// Lets the scheduler look once, and what it began come to its end.
    async fn look(&self) {
        let before = self.pace.looks.load(Ordering::Relaxed);
        for _ in 0..=WAKE_SECONDS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.pace.looks.load(Ordering::Relaxed) > before {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.rest().await;
    }

    /// Until nothing is under way. Says whether it had to wait.
    async fn rest(&self) -> bool {
        let mut waited = false;
        let mut pause = 1;
        loop {
            // Time passes only where nothing can run.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let status = self.keeper.status();
            if status.refreshing == 0 && status.unstored == 0 {
                return waited;
            }
            waited = true;
            if self.pace.debt() >= PIECE_SECONDS {
                self.pace.settle().await;
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
            pause = (pause * 2).min(PAUSE_MOST_SECONDS);
        }
    }

    /// When the scheduler is to find a row.
    fn due(&self) -> Option<u64> {
        let port = self.pace.port;
        match self.store.store.list(None, ROWS_MOST) {
            Ok(rows) => {
                let at = rows.iter().filter_map(|row| row.due_at).min()?;
                // By the true time: whatever this one's clock says, another one's scheduler looks every minute.
                let wait = match at.saturating_sub(port.truth()) {
                    0 => AGAIN_SECONDS,
                    ahead => ahead.max(WAKE_SECONDS),
                };
                Some(port.own() + wait)
            }
            Err(_) => Some(port.own() + AGAIN_SECONDS),
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- time

/// Tokio's paused clock, beside the harness's.
struct Pace {
    port: &'static Port,
    began: Instant,
    /// By the harness's clock.
    began_at: u64,
    /// Looks of the scheduler.
    looks: AtomicU64,
    /// What is asked is such a look: then it has gates as well.
    ticks: AtomicBool,
}

impl Pace {
    /// Within the runtime.
    fn new(port: &'static Port) -> Self {
        let (began, began_at) = (Instant::now(), port.truth());
        Self { port, began, began_at, looks: AtomicU64::default(), ticks: AtomicBool::default() }
    }

    fn reckoned(&self) -> u64 {
        self.began_at + self.began.elapsed().as_secs()
    }

    /// Seconds that have passed here, and that the harness has not been told of.
    fn debt(&self) -> u64 {
        self.reckoned().saturating_sub(self.port.truth())
    }

    /// Before anything that is seen from outside.
    async fn settle(&self) {
        let debt = self.debt();
        if debt > 0 {
            self.port.sleep(debt);
        }
        self.catch_up().await;
    }

    /// After the harness may have let time pass.
    async fn catch_up(&self) {
        let behind = self.port.truth().saturating_sub(self.reckoned());
        if behind > 0 {
            tokio::time::advance(Duration::from_secs(behind)).await;
        }
    }
}

struct Told(Arc<Pace>);

impl Clock for Told {
    fn now(&self) -> Time {
        Time::from_unix(self.0.port.own() + self.0.debt())
    }
}

struct Wire {
    pace: Arc<Pace>,
    http: Client,
}

impl Carrier for Wire {
    fn carry_out<'a>(&'a self, http: &'a Http<'a>) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(async move {
            self.pace.settle().await;
            // The whole process is one thread: it stands still until the answer is there, or its time is up. What has come is taken
            // before anything else goes on, as a process does that stood still with the answer in its socket.
            let reply = self.http.carry_out(http);
            if let Some(told) = reply.correlation() {
                self.pace.port.told_by(told);
            }
            reply
        })
    }
}

// ------------------------------------------------------------------------------------------------------------ store

/// A store with a gate on both sides of each verb.
struct Gated {
    pace: Arc<Pace>,
    store: Arc<dyn Store>,
    /// As the worker has it.
    has_clock: bool,
    /// Rows of this app have no gates.
    ungated: Option<String>,
}

impl Gated {
    fn now(&self, now: u64) -> u64 {
        if self.has_clock { self.pace.port.truth() } else { now }
    }

    async fn verb<T>(
        &self,
        what: &str,
        gated: bool,
        verb: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.pace.settle().await;
        let done = if gated {
            self.pace.port.verb(what, || StoreError::CutOff, || verb(self.store.as_ref()))
        } else {
            self.pace.port.verb_without_gates(|| StoreError::CutOff, || verb(self.store.as_ref()))
        };
        self.pace.catch_up().await;
        done
    }

    fn has_gates(&self, name: &Name) -> bool {
        self.ungated.as_deref() != Some(name.app())
    }
}

struct Shared(Arc<Gated>);

impl AsyncStore for Shared {
    fn clock(&self, now: u64) -> Pending<'_, u64> {
        let Gated { pace, has_clock, .. } = self.0.as_ref();
        Box::pin(async move {
            let read = || Ok(if *has_clock { pace.reckoned() } else { now });
            pace.port.verb_without_gates(|| StoreError::CutOff, read)
        })
    }

    fn writer(&self) -> u64 {
        self.0.store.writer()
    }

    fn load<'a>(&'a self, name: &'a Name) -> Pending<'a, Option<Loaded>> {
        Box::pin(self.0.verb("load", self.0.has_gates(name), move |store| store.load(name)))
    }

    fn claim<'a>(
        &'a self,
        now: u64,
        name: &'a Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'a>,
    ) -> Pending<'a, Claim> {
        Box::pin(self.0.verb("claim", self.0.has_gates(name), move |store| {
            store.claim(self.0.now(now), name, expected, lease_seconds, intent)
        }))
    }

    fn commit<'a>(&'a self, now: u64, lease: &'a Lease, write: Write<'a>, then: Then) -> Pending<'a, Commit> {
        Box::pin(self.0.verb("commit", self.0.has_gates(lease.name()), move |store| {
            store.commit(self.0.now(now), lease, write, then)
        }))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Pending<'a, ()> {
        Box::pin(self.0.verb("release", self.0.has_gates(lease.name()), move |store| store.release(lease)))
    }

    fn remove<'a>(&'a self, lease: &'a Lease) -> Pending<'a, Removal> {
        Box::pin(self.0.verb("remove", true, move |store| store.remove(lease)))
    }

    fn list<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Vec<Row>> {
        Box::pin(self.0.verb("list", false, move |store| store.list(after, limit)))
    }

    fn due<'a>(&'a self, now: u64, owner: Owner<'a>, limit: usize) -> Pending<'a, Vec<Row>> {
        Box::pin(self.0.verb("due", false, move |store| store.due(self.0.now(now), owner, limit)))
    }

    /// Within another operation it has no gates: what strikes there is to strike that operation.
    fn claim_due<'a>(
        &'a self,
        now: u64,
        owner: Owner<'a>,
        limit: usize,
        lease_seconds: u32,
    ) -> Pending<'a, Vec<Due>> {
        let gated = self.0.pace.ticks.load(Ordering::Relaxed);
        Box::pin(async move {
            let claim_due =
                move |store: &dyn Store| store.claim_due(self.0.now(now), owner, limit, lease_seconds);
            let found = self.0.verb("claim-due", gated, claim_due).await;
            self.0.pace.looks.fetch_add(1, Ordering::Relaxed);
            found
        })
    }

    fn keys_in_use(&self) -> Pending<'_, Vec<KeyUse>> {
        Box::pin(self.0.verb("keys", false, |store| store.keys_in_use()))
    }

    fn reseal<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Resealed> {
        Box::pin(self.0.verb("reseal", false, move |store| store.reseal(after, limit)))
    }

    fn spend<'a>(&'a self, now: u64, fingerprint: &'a Fingerprint, keep_until: u64) -> Pending<'a, Spend> {
        Box::pin(
            self.0.verb("spend", true, move |store| store.spend(self.0.now(now), fingerprint, keep_until)),
        )
    }
}
