//! A world on tokio's paused clock: the pure authority behind a carrier, and stores that fail when they are told to.
#![allow(dead_code, unreachable_pub)] // each test program uses its own part

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evergrant::{App, ClientSecret, Http, Keys, Provider, Scopes, StateKey, Time};
use evergrant_emulator::authority::{
    Authority, Config, Decision, Environment, Keys as AuthorityKeys, Policy as Rotation,
};
use evergrant_keeper::{Builder, Carrier, Clock, Consent, Keeper, Options};
use evergrant_reqwest::Client;
use evergrant_vault::{
    AsyncStore, Claim, Commit, Due, Error as StoreError, Fingerprint, KeyUse, Lease, Loaded, Memory, Name,
    OnThreads, Owner, Pending, Removal, Resealed, Row, Spend, Then, Write,
};
use evergrant_wire::{Answer, Failure, Reply};
use faq::bridge::{Letter, browse, callback_url, carry_out};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub const BASE: u64 = 1_800_000_000;
pub const REDIRECT: &str = "https://app.example/callback";
pub const SECRET: &str = "canary-client-secret";
pub const DAY: u64 = 86_400;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    None,
    NotSent,
    LostBefore,
    LostAfter,
    Refused,
    Status(u16),
}

/// A request that left: when, what it is, and the secret in it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Time,
    pub kind: String,
    pub secret: String,
}

type Harming = Box<dyn FnMut(&Letter) -> Harm + Send>;

pub struct World {
    pub authority: Mutex<Authority>,
    pub sent: Mutex<Vec<Sent>>,
    /// Refresh tokens that are on the wire.
    flying: Mutex<Vec<String>>,
    /// What no client may do, and somebody did.
    pub wrongs: Mutex<Vec<String>>,
    harm: Mutex<Harming>,
    pub takes: Mutex<Duration>,
    started: Instant,
    pub jumped: AtomicI64,
}

impl World {
    pub fn new(policy: Rotation) -> Arc<Self> {
        let keys = AuthorityKeys::new(Environment::Sandbox, "client", SECRET, [REDIRECT]);
        let authority = Authority::new(Config::new([keys]).with_policy(policy), 1).unwrap();
        Arc::new(Self {
            authority: Mutex::new(authority),
            sent: Mutex::default(),
            flying: Mutex::default(),
            wrongs: Mutex::default(),
            harm: Mutex::new(Box::new(|_| Harm::None)),
            takes: Mutex::new(Duration::from_millis(300)),
            started: Instant::now(),
            jumped: AtomicI64::new(0),
        })
    }

    pub fn time(&self) -> Time {
        let now = BASE + self.started.elapsed().as_secs();
        Time::from_unix(now.saturating_add_signed(self.jumped.load(Ordering::SeqCst)))
    }

    /// From now on, until the next call.
    pub fn harm(&self, harm: impl FnMut(&Letter) -> Harm + Send + 'static) {
        *self.harm.lock().unwrap() = Box::new(harm);
    }

    pub fn refreshes(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().iter().filter(|sent| sent.kind == "refresh_token").cloned().collect()
    }

    pub fn exchanges(&self) -> usize {
        self.sent.lock().unwrap().iter().filter(|sent| sent.kind == "authorization_code").count()
    }

    pub fn works(&self, token: &str) -> bool {
        self.authority.lock().unwrap().access_token_works(self.time().unix(), token)
    }

    /// The user consents: the address that the browser comes back to.
    pub fn consent(&self, url: &str, realm: &str) -> String {
        let decision = Decision::Approve { realm: realm.into() };
        let callback = self.authority.lock().unwrap().authorize(self.time().unix(), &browse(url), decision);
        callback_url(&callback.unwrap())
    }

    pub fn wrong(&self, what: String) {
        self.wrongs.lock().unwrap().push(what);
    }

    /// I2.
    fn take_off(&self, letter: &Letter) {
        let mut flying = self.flying.lock().unwrap();
        if flying.contains(&letter.secret()) {
            self.wrong(format!("two requests with one secret at {}", self.time().unix()));
        }
        flying.push(letter.secret());
    }

    fn answer(&self, letter: &Letter) -> Reply {
        let whole = carry_out(&mut self.authority.lock().unwrap(), self.time().unix(), letter).unwrap();
        reply(whole.status, &whole.body)
    }
}

fn reply(status: u16, body: &[u8]) -> Reply {
    Reply::answer(Answer {
        status,
        retry_after: None,
        correlation: Some("1-tid".into()),
        date: None,
        content_type: None,
        body: Zeroizing::new(body.to_vec()),
        broken_off: None,
    })
}

/// The world as a carrier.
pub struct Stand(pub Arc<World>);

impl Carrier for Stand {
    fn carry_out<'a>(&'a self, http: &'a Http<'a>) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        let letter = Letter::of(http);
        Box::pin(async move {
            let harm = (self.0.harm.lock().unwrap())(&letter);
            if harm == Harm::NotSent {
                return Reply::not_sent(Failure::NoConnection);
            }
            let kind = letter.field("grant_type").unwrap_or_default();
            self.0.sent.lock().unwrap().push(Sent { at: self.0.time(), kind, secret: letter.secret() });
            let takes = *self.0.takes.lock().unwrap();
            self.0.take_off(&letter);
            tokio::time::sleep(takes).await;
            self.0.flying.lock().unwrap().retain(|secret| *secret != letter.secret());
            match harm {
                Harm::NotSent | Harm::None => self.0.answer(&letter),
                Harm::LostBefore => Reply::no_answer(Failure::Broken),
                Harm::LostAfter => {
                    drop(self.0.answer(&letter));
                    Reply::no_answer(Failure::Broken)
                }
                Harm::Refused => reply(400, br#"{"error":"invalid_grant"}"#),
                Harm::Status(status) => reply(status, b"<html>"),
            }
        })
    }
}

/// The world as a clock.
pub struct Virtual(pub Arc<World>);

impl Clock for Virtual {
    fn now(&self) -> Time {
        self.0.time()
    }
}

pub fn app() -> App<'static> {
    App::new(
        &Provider::INTUIT_SANDBOX,
        Keys {
            client_id: "client",
            client_secret: ClientSecret::new(SECRET),
            redirect_uris: &[REDIRECT],
            further_scopes: &[],
            state_key: Some(StateKey::new(&[7; 32])),
        },
    )
    .unwrap()
}

pub fn name(realm: &str) -> Name {
    Name::new(format!("{:08x}", app().fingerprint()), "intuit-sandbox", realm).unwrap()
}

pub fn builder(world: &Arc<World>, store: impl AsyncStore + 'static) -> Builder {
    let http = Client::new(evergrant_reqwest::Options::default()).unwrap();
    Keeper::builder(app(), store, http)
        .carrier(Stand(Arc::clone(world)))
        .clock(Virtual(Arc::clone(world)))
        .options(options())
}

pub fn options() -> Options {
    let mut options = Options::default();
    options.seed = Some(1);
    options
}

pub fn keeper(world: &Arc<World>, store: impl AsyncStore + 'static) -> Keeper {
    builder(world, store).start().unwrap()
}

pub const CONSENT: Consent<'static> =
    Consent { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, binding: b"cookie", name: "" };

pub async fn connect(world: &World, keeper: &Keeper, realm: &str) {
    let url = keeper.connect(&CONSENT).unwrap();
    let linked = keeper.callback(&world.consent(&url, realm), b"cookie").await.unwrap();
    assert_eq!(linked.realm, realm);
}

pub fn realm(number: u64) -> String {
    (9_341_453_000_000_000 + number).to_string()
}

pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A store that is down when it is told so, and can be shared by several keepers.
#[derive(Clone)]
pub struct Shaky {
    pub store: OnThreads<Memory>,
    /// Writes fail.
    pub down: Arc<AtomicBool>,
    pub reads: Arc<AtomicU64>,
    pub ahead: Arc<AtomicI64>,
    /// Called once a claim was carried out; `true`: its answer is lost.
    pub after_claim: Arc<Mutex<AfterClaim>>,
    /// Called before a claim; `true`: it does not get there.
    pub before_claim: Arc<Mutex<AfterClaim>>,
    /// Called before a commit.
    pub before_commit: Arc<Mutex<BeforeCommit>>,
    /// The latest records of each row that the store has said to be durable.
    pub durable: Arc<Mutex<HashMap<Name, VecDeque<Vec<u8>>>>>,
}

pub type AfterClaim = Box<dyn FnMut() -> bool + Send>;
pub type BeforeCommit = Box<dyn FnMut() + Send>;

impl Shaky {
    pub fn new() -> Self {
        Self {
            store: OnThreads::new(Memory::new()),
            down: Arc::default(),
            reads: Arc::default(),
            ahead: Arc::default(),
            before_commit: Arc::new(Mutex::new(Box::new(|| {}))),
            after_claim: Arc::new(Mutex::new(Box::new(|| false))),
            before_claim: Arc::new(Mutex::new(Box::new(|| false))),
            durable: Arc::default(),
        }
    }

    /// From now on, until the next call.
    pub fn after_claim(&self, called: impl FnMut() -> bool + Send + 'static) {
        *self.after_claim.lock().unwrap() = Box::new(called);
    }

    /// From now on, until the next call.
    pub fn before_claim(&self, called: impl FnMut() -> bool + Send + 'static) {
        *self.before_claim.lock().unwrap() = Box::new(called);
    }

    /// From now on, until the next call.
    pub fn before_commit(&self, called: impl FnMut() + Send + 'static) {
        *self.before_commit.lock().unwrap() = Box::new(called);
    }

    fn is_durable(&self, name: &Name, record: &[u8]) {
        let mut durable = self.durable.lock().unwrap();
        let records = durable.entry(name.clone()).or_default();
        records.push_back(record.to_vec());
        if records.len() > 40 {
            records.pop_front();
        }
    }

    /// Whether a record that was written, lately, holds that text.
    pub fn holds(&self, name: &Name, text: &str) -> bool {
        let durable = self.durable.lock().unwrap();
        let holds = |record: &Vec<u8>| record.windows(text.len()).any(|part| part == text.as_bytes());
        durable.get(name).is_some_and(|records| records.iter().rev().any(holds))
    }

    /// The same store, seen by another process.
    pub fn another(&self) -> Self {
        Self { store: OnThreads::new(self.store.inner().another()), ..self.clone() }
    }

    fn up<T>(
        &self,
        verb: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let down = Arc::clone(&self.down);
        async move { if down.load(Ordering::SeqCst) { Err(StoreError::CutOff) } else { verb.await } }
    }
}

impl AsyncStore for Shaky {
    fn clock(&self, now: u64) -> Pending<'_, u64> {
        let ahead = self.ahead.load(Ordering::SeqCst);
        Box::pin(self.up(async move { Ok(now.saturating_add_signed(ahead)) }))
    }
    fn writer(&self) -> u64 {
        self.store.writer()
    }
    fn load<'a>(&'a self, name: &'a Name) -> Pending<'a, Option<Loaded>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Box::pin(self.up(self.store.load(name)))
    }
    fn claim<'a>(
        &'a self,
        now: u64,
        name: &'a Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'a>,
    ) -> Pending<'a, Claim> {
        let claim = self.up(self.store.claim(now, name, expected, lease_seconds, intent));
        Box::pin(async move {
            if (self.before_claim.lock().unwrap())() {
                return Err(StoreError::CutOff);
            }
            let claimed = claim.await?;
            if matches!(claimed, Claim::Claimed(_)) {
                self.is_durable(name, intent.record);
            }
            if (self.after_claim.lock().unwrap())() { Err(StoreError::CutOff) } else { Ok(claimed) }
        })
    }
    fn commit<'a>(&'a self, now: u64, lease: &'a Lease, write: Write<'a>, then: Then) -> Pending<'a, Commit> {
        let commit = self.up(self.store.commit(now, lease, write, then));
        Box::pin(async move {
            (self.before_commit.lock().unwrap())();
            let committed = commit.await?;
            if matches!(committed, Commit::Committed { .. }) {
                self.is_durable(lease.name(), write.record);
            }
            Ok(committed)
        })
    }
    fn release<'a>(&'a self, lease: &'a Lease) -> Pending<'a, ()> {
        Box::pin(self.up(self.store.release(lease)))
    }
    fn remove<'a>(&'a self, lease: &'a Lease) -> Pending<'a, Removal> {
        Box::pin(self.up(self.store.remove(lease)))
    }
    fn list<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Vec<Row>> {
        Box::pin(self.up(self.store.list(after, limit)))
    }
    fn due<'a>(&'a self, now: u64, owner: Owner<'a>, limit: usize) -> Pending<'a, Vec<Row>> {
        Box::pin(self.up(self.store.due(now, owner, limit)))
    }
    fn claim_due<'a>(
        &'a self,
        now: u64,
        owner: Owner<'a>,
        limit: usize,
        lease_seconds: u32,
    ) -> Pending<'a, Vec<Due>> {
        Box::pin(self.up(self.store.claim_due(now, owner, limit, lease_seconds)))
    }
    fn keys_in_use(&self) -> Pending<'_, Vec<KeyUse>> {
        Box::pin(self.up(self.store.keys_in_use()))
    }
    fn reseal<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Resealed> {
        Box::pin(self.up(self.store.reseal(after, limit)))
    }
    fn spend<'a>(&'a self, now: u64, fingerprint: &'a Fingerprint, keep_until: u64) -> Pending<'a, Spend> {
        Box::pin(self.up(self.store.spend(now, fingerprint, keep_until)))
    }
}
