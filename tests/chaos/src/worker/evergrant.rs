//! evergrant as a worker: session, vault and HTTP, in the order that keeps a grant alive.
//!
//! It is the driver of `adapters/cli` on the harness's clock. It is longer-lived, so it does two things that a command cannot. An
//! answer that the store does not take is kept in memory and offered again for as long as the process lives. And where it is
//! unknown whether a claim was written, the process remembers that it has sent nothing, and says so once the store works again:
//! or the intent would count as sent for ever (STA-4), and a store that is down for a day would cost the grant.

use evergrant::phase::{Grant as State, Reason};
use evergrant::{
    App, Call, ClientSecret, Due, Effects, Error, Input, Keys, Phase, Provider, Purpose, Received, Record,
    Refused, Session, StateKey, Tell, Time,
};
use evergrant_emulator::authority::Fingerprint as Print;
use evergrant_ureq::{Client, Options, Reply};
use evergrant_vault::{
    Claim, Commit, Error as StoreError, Fingerprint, Keyring, Lease, Loaded, Name, OnRuntime, Postgres,
    PostgresOptions, Spend, Sqlite, Store, Then, Write,
};

use super::Place;
use super::port::{Ask, Port};
use super::{Done, fingerprint_of};
use crate::app::{CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SEALING_KEY, STATE_KEY};

/// A call may take so long; the HTTP client gives it up before.
const CALL_SECONDS: u64 = 40;
const NOT_CONNECTED: &str = "not connected";
/// After an answer was lost and the token was sent again, it is refreshed once more this much later: the authority may have worked on
/// the lost request in the meantime, and then it is the second token that has been stale since, and dies 24 hours later (STA-2).
const ONCE_MORE_SECONDS: u64 = 6 * 3_600;
/// As in the command.
const LEASE_SECONDS: u32 = 90;
/// Longest wait for a lease, or for the next try, before the caller is told that there is no token now.
const PATIENCE_SECONDS: u32 = 120;

pub(super) struct Worker<'a> {
    port: &'a Port,
    app: App<'a>,
    vault: Vault<'a>,
    http: Client,
}

struct Grant {
    name: Name,
    session: Box<Session>,
    generation: Option<u64>,
    code: Option<Fingerprint>,
    /// When it was to be looked at, as the store has it.
    due_at: Option<u64>,
    /// When it is refreshed once more.
    once_more_at: Option<u64>,
}

enum Begun {
    Claimed(Lease),
    Held,
    MovedOn(Option<Loaded>),
}

type Result<T> = std::result::Result<T, String>;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The provider that the worker speaks to: Intuit's sandbox at another address.
pub(super) fn provider(authority: &str) -> Provider<'_> {
    Provider { token_endpoint: authority, loopback_http: true, ..Provider::INTUIT_SANDBOX }
}

/// The app's keys.
pub(crate) fn keys() -> Keys<'static> {
    Keys {
        client_id: CLIENT_ID,
        client_secret: ClientSecret::new(CLIENT_SECRET),
        redirect_uris: &[REDIRECT_URI],
        further_scopes: &[],
        state_key: Some(StateKey::new(STATE_KEY)),
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(port: &'a Port, provider: &'a Provider<'a>, place: &Place) -> Result<Self> {
        Ok(Self {
            port,
            app: App::new(provider, keys()).map_err(told)?,
            vault: Vault::open(port, place)?,
            http: Client::new(Options::default()),
        })
    }

    pub(super) fn carry_out(&self, ask: &Ask) -> Done {
        let (result, realm) = match ask {
            Ask::Use(realm) => (self.token(realm, Input::Demand), realm),
            Ask::Tick(realm) => (self.tick(realm), realm),
            Ask::Callback { realm, query } => (self.callback(realm, query), realm),
        };
        match result {
            Ok(done) => done,
            // The store knows when it is due, and is asked again by whoever lives.
            Err(why) => {
                let due = (why != NOT_CONNECTED).then(|| self.port.own() + 300);
                Done { token: Err(format!("{realm}: {why}")), due }
            }
        }
    }

    fn token(&self, realm: &str, first: Input<'_>) -> Result<Done> {
        let mut grant = self.load(realm)?;
        let why = self.settle(&mut grant, first).err();
        Ok(self.done(&grant, why))
    }

    fn tick(&self, realm: &str) -> Result<Done> {
        let mut grant = self.load(realm)?;
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= self.now().unix());
        // The store says that it is due, and the session does not: it is to be refreshed once more.
        let once_more = is_due(grant.due_at) && !is_due(due_at(&self.app, &grant.session));
        let why = self.settle(&mut grant, if once_more { Input::Refresh } else { Input::Tick }).err();
        Ok(self.done(&grant, why))
    }

    fn done(&self, grant: &Grant, why: Option<String>) -> Done {
        // What the row says holds for as long as nothing else was written.
        let due = self.due_of(grant).into_iter().chain(grant.due_at).min();
        let now = self.now();
        let token = match (grant.session.access_token(now), why) {
            (Some(token), _) => Ok(fingerprint_of(token.expose())),
            (None, Some(why)) => Err(why),
            (None, None) => Err(format!("no token now: {:?}", grant.session.phase().grant)),
        };
        Done { token, due: due.map(|at| self.port.own() + at.saturating_sub(now.unix())) }
    }

    /// The store's time where it has a clock: all of a fleet live by that.
    fn now(&self) -> Time {
        Time::from_unix(self.vault.now())
    }

    // ------------------------------------------------------------------------------------------------------ reading

    fn name(&self, realm: &str) -> Result<Name> {
        Name::new(format!("{:08x}", self.app.fingerprint()), self.app.provider().name, realm).map_err(told)
    }

    fn find(&self, realm: &str) -> Result<Grant> {
        let name = self.name(realm)?;
        let Some(loaded) = self.vault.load(&name)? else {
            let session = Box::new(Session::new(&self.app));
            return Ok(Grant {
                name,
                session,
                generation: None,
                code: None,
                due_at: None,
                once_more_at: None,
            });
        };
        let session = self.restore(&loaded)?;
        let (generation, due_at) = (Some(loaded.generation), loaded.due_at);
        let once_more_at = self.once_more_of(&session, due_at);
        Ok(Grant { name, session, generation, code: None, due_at, once_more_at })
    }

    fn load(&self, realm: &str) -> Result<Grant> {
        match self.find(realm)? {
            grant if grant.generation.is_some() => Ok(grant),
            _ => Err(NOT_CONNECTED.into()),
        }
    }

    fn restore(&self, loaded: &Loaded) -> Result<Box<Session>> {
        let record = parse(loaded)?;
        Session::restore(&self.app, &record).map(Box::new).map_err(told)
    }

    fn replace(&self, grant: &mut Grant, loaded: Option<Loaded>) -> Result<()> {
        let loaded = loaded.ok_or("the row was removed")?;
        grant.session = self.restore(&loaded)?;
        (grant.generation, grant.due_at) = (Some(loaded.generation), loaded.due_at);
        grant.once_more_at = self.once_more_of(&grant.session, loaded.due_at);
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------------- acting

    fn callback(&self, realm: &str, query: &str) -> Result<Done> {
        let mut grant = self.find(realm)?;
        grant.code = Some(code_of(query));
        let why = self.act(&mut grant, |_| Some(Input::Callback { text: query, binding: &[] })).err();
        Ok(self.done(&grant, why))
    }

    /// Acts, and again for as long as the next try is near.
    fn settle(&self, grant: &mut Grant, first: Input<'_>) -> Result<()> {
        let deadline = self.now().plus(PATIENCE_SECONDS);
        let mut last = self.act(grant, |_| Some(first))?;
        while let Some(retry_at) = last.as_ref().and_then(next_try).filter(|retry_at| *retry_at <= deadline) {
            self.sleep_until(retry_at);
            last = self.act(grant, |_| Some(Input::Tick))?;
        }
        Ok(())
    }

    fn sleep_until(&self, until: Time) {
        self.port.sleep(u64::from(until.since(self.now())));
    }

    /// Hands an input in and carries out all that follows; returns what was told last.
    fn act<'i>(
        &self,
        grant: &mut Grant,
        input: impl Fn(&Session) -> Option<Input<'i>>,
    ) -> Result<Option<Tell>> {
        let deadline = self.now().plus(PATIENCE_SECONDS);
        loop {
            let Some(input) = input(&grant.session) else { return Ok(None) };
            let effects = match grant.session.handle(&self.app, self.now(), input) {
                Err(Error::Refused(Refused::Wait { until })) if until <= deadline => {
                    self.sleep_until(until);
                    let loaded = self.vault.load(&grant.name)?;
                    self.replace(grant, loaded)?;
                    continue;
                }
                other => other.map_err(told)?,
            };
            if effects.store.is_none() {
                return Ok(effects.tell);
            }
            match self.take_lease(grant, effects)? {
                Begun::Claimed(lease) => return self.carry_out_effects(grant, &lease, effects),
                Begun::Held => {
                    if self.now() >= deadline {
                        return Err("another process is at work on this grant".into());
                    }
                    self.port.sleep(5);
                    let loaded = self.vault.load(&grant.name)?;
                    match loaded {
                        // A first consent that another process is just storing.
                        None if grant.generation.is_none() => {}
                        loaded => self.replace(grant, loaded)?,
                    }
                }
                Begun::MovedOn(current) => self.replace(grant, current)?,
            }
        }
    }

    fn take_lease(&self, grant: &mut Grant, effects: Effects) -> Result<Begun> {
        let exchanges = effects.send.is_some_and(|call| call.purpose == Purpose::Exchange);
        if exchanges && let Some(code) = grant.code.take() {
            let keep_until = self.vault.now() + 200_000;
            if self.vault.spend(&code, keep_until)? == Spend::SpentBefore {
                return Err(Refused::CodeSpent.to_string());
            }
        }
        let bytes = self.bytes(&grant.session)?;
        let claimed = self.vault.claim(&grant.name, grant.generation, self.write(grant, &bytes));
        let claimed = match (claimed, effects.send) {
            (Err(_), Some(call)) if call.purpose == Purpose::Refresh => {
                return self.take_back(grant, call, &bytes).map(|current| Begun::MovedOn(Some(current)));
            }
            (claimed, _) => claimed?,
        };
        Ok(match claimed {
            Claim::Claimed(lease) => {
                (grant.generation, grant.due_at) = (Some(lease.epoch()), None);
                Begun::Claimed(lease)
            }
            Claim::Held { .. } => Begun::Held,
            Claim::MovedOn(current) => Begun::MovedOn(current),
        })
    }

    /// Whether the intent was written is unknown, and it was not carried out: waits for the store, and takes back what it has.
    fn take_back(&self, grant: &mut Grant, call: Call, intent: &[u8]) -> Result<Loaded> {
        // The session is the intent's own, so what did not happen can be told to it.
        let answered = grant.session.handle(&self.app, self.now(), Input::Answer(call, Received::NotSent));
        let mut effects = answered.map_err(told)?;
        let mut found = self.patiently(|| self.vault.load(&grant.name)).ok_or("the row was removed")?;
        loop {
            if found.record.expose() != intent && !self.succeeds(grant, &found, &mut effects)? {
                return Ok(found);
            }
            let bytes = self.bytes(&grant.session)?;
            match self.vault.claim(&grant.name, Some(found.generation), self.write(grant, &bytes)) {
                Ok(Claim::Claimed(lease)) => {
                    grant.generation = Some(lease.epoch());
                    self.saved(grant, effects)?;
                    // It runs out by itself where this fails.
                    let _ = self.vault.release(&lease);
                    return Err("the store was down before anything was sent".into());
                }
                Ok(Claim::MovedOn(current)) => {
                    found = current.ok_or("the row was removed")?;
                    if found.record.expose() == bytes {
                        // Its answer was lost, too.
                        return Err("the store was down before anything was sent".into());
                    }
                }
                // The lease may be this process's own, of the claim that was not answered.
                Ok(Claim::Held { .. }) | Err(_) => self.port.sleep(30),
            }
        }
    }

    /// Another process has found the intent, and ended the grant because nobody could say what had become of it (STA-4). This one can,
    /// and no call was made since.
    fn succeeds(&self, grant: &mut Grant, found: &Loaded, effects: &mut Effects) -> Result<bool> {
        let theirs = self.restore(found)?;
        let ended = matches!(theirs.phase().grant, State::Closed { reason: Reason::AnswerLost, .. });
        if !ended || theirs.phase().calls != grant.session.phase().calls {
            return Ok(false);
        }
        let record = parse(found)?;
        *effects = grant.session.succeed(&self.app, &record).map_err(told)?;
        Ok(true)
    }

    /// Asks the store until it answers.
    fn patiently<T>(&self, verb: impl Fn() -> Result<T>) -> T {
        let mut pause = 1;
        loop {
            match verb() {
                Ok(done) => return done,
                Err(_) => self.port.sleep(pause),
            }
            pause = (pause * 2).min(300);
        }
    }

    fn carry_out_effects(&self, grant: &mut Grant, lease: &Lease, effects: Effects) -> Result<Option<Tell>> {
        self.saved(grant, effects)?;
        let mut tell = effects.tell;
        let mut send = effects.send;
        let mut lease_until = lease.until();
        if send.is_none() {
            self.vault.release(lease)?;
        }
        while let Some(call) = send {
            // Whoever stood still since the claim may have been overtaken: a request that goes out now would make the token stale that
            // another process has got.
            let effects = if self.now().unix() + CALL_SECONDS > lease_until {
                self.hand_in(grant, call, Received::NotSent)?
            } else {
                let reply = self.send(&grant.session, call)?;
                self.take_answer(grant, call, &reply)?
            };
            tell = effects.tell.or(tell);
            send = effects.send;
            let then = if send.is_some() { Then::Hold { seconds: LEASE_SECONDS } } else { Then::Release };
            if !self.commit(grant, lease, then)? {
                return Ok(tell);
            }
            lease_until = self.now().unix() + u64::from(LEASE_SECONDS);
            self.saved(grant, effects)?;
        }
        Ok(tell)
    }

    fn saved(&self, grant: &mut Grant, effects: Effects) -> Result<()> {
        if let Some(revision) = effects.store {
            let saved = grant.session.handle(&self.app, self.now(), Input::Saved(revision));
            let _ = saved.map_err(told)?;
        }
        Ok(())
    }

    fn send(&self, session: &Session, call: Call) -> Result<Reply> {
        let request = session.request(&self.app, call).map_err(told)?;
        let mut buffer = vec![0; request.length()];
        let http = request.write(&mut buffer).map_err(told)?;
        Ok(self.http.carry_out(&http))
    }

    fn take_answer(&self, grant: &mut Grant, call: Call, reply: &Reply) -> Result<Effects> {
        let was_lost = is_answer_missing(&grant.session);
        let effects = match self.hand_in(grant, call, reply.received()) {
            Err(_) => self.hand_in(grant, call, Received::NoAnswer)?,
            Ok(effects) => effects,
        };
        let came = matches!(effects.tell, Some(Tell::Refreshed(_)));
        if was_lost && came {
            grant.once_more_at = Some(self.now().unix() + ONCE_MORE_SECONDS);
        }
        Ok(effects)
    }

    /// What the row says of it, where it is not reached yet: a refresh on demand in between does not settle it.
    fn once_more_of(&self, session: &Session, due: Option<u64>) -> Option<u64> {
        due.filter(|at| *at > self.now().unix() && due_at(&self.app, session).is_none_or(|own| *at < own))
    }

    fn hand_in(&self, grant: &mut Grant, call: Call, received: Received<'_>) -> Result<Effects> {
        grant.session.handle(&self.app, self.now(), Input::Answer(call, received)).map_err(told)
    }

    // --------------------------------------------------------------------------------------------------- committing

    /// `false` where another process had taken the row over, and what came was merged.
    fn commit(&self, grant: &mut Grant, lease: &Lease, then: Then) -> Result<bool> {
        let bytes = self.bytes(&grant.session)?;
        let mut pause = 1;
        loop {
            match self.vault.commit(lease, self.write(grant, &bytes), then) {
                Ok(Commit::Committed { generation }) => {
                    grant.generation = Some(generation);
                    return Ok(true);
                }
                Ok(Commit::FencedOut(current)) => return self.merge(grant, current).map(|()| false),
                Err(_) => {
                    // What came is nowhere else: it is kept here until the store takes it.
                    self.port.sleep(pause);
                    pause = (pause * 2).min(300);
                }
            }
        }
    }

    /// Fenced out: what came is neither written over the newer record nor dropped (I5).
    fn merge(&self, grant: &mut Grant, mut current: Option<Loaded>) -> Result<()> {
        loop {
            let loaded = current.ok_or("the row was removed")?;
            let mut effects = Effects::default();
            if !self.succeeds(grant, &loaded, &mut effects)? {
                let record = parse(&loaded)?;
                effects = grant.session.merge(&self.app, self.now(), &record).map_err(told)?;
            }
            grant.generation = Some(loaded.generation);
            // Two requests were under way: which of them the authority has worked on last is not known.
            grant.once_more_at = Some(self.now().unix() + ONCE_MORE_SECONDS);
            if effects.store.is_none() {
                return Ok(());
            }
            // The session as it now is holds both. Until it is stored, that of the store and this one's tokens are kept apart
            // by doing the same again with whatever the store then has.
            match self.take_lease(grant, effects) {
                Ok(Begun::Claimed(lease)) => {
                    self.saved(grant, effects)?;
                    return self.vault.release(&lease).or(Ok(()));
                }
                Ok(Begun::MovedOn(newer)) => current = newer,
                Ok(Begun::Held) | Err(_) => {
                    self.port.sleep(5);
                    current = self.patiently(|| self.vault.load(&grant.name));
                }
            }
        }
    }

    fn bytes(&self, session: &Session) -> Result<Vec<u8>> {
        let record = session.record(&self.app);
        let needed = record.write(&mut []).map_or_else(|too_long| too_long.needed, <[u8]>::len);
        let mut bytes = vec![0; needed];
        let length = record.write(&mut bytes).map_err(told)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn write<'b>(&self, grant: &Grant, bytes: &'b [u8]) -> Write<'b> {
        let phase = grant.session.phase();
        let ends_at = phase.usable().map(|held| held.end().unix());
        Write { record: bytes, revision: phase.revision, due_at: self.due_of(grant), ends_at }
    }

    fn due_of(&self, grant: &Grant) -> Option<u64> {
        due_at(&self.app, &grant.session).into_iter().chain(grant.once_more_at).min()
    }
}

fn due_at(app: &App<'_>, session: &Session) -> Option<u64> {
    let phase = Phase { unsaved: false, ..*session.phase() };
    match phase.due(&app.provider().policy) {
        Due::Tick(at) => Some(at.unix()),
        Due::Store | Due::Consent => None,
    }
}

fn parse(loaded: &Loaded) -> Result<Record<'_>> {
    Record::read(loaded.record.expose()).map_err(|_| "a stored record is damaged".into())
}

/// A refresh was sent before this one, and it is not known what became of it.
fn is_answer_missing(session: &Session) -> bool {
    let phase = session.phase();
    matches!(phase.grant, State::Refreshing { .. }) && phase.doubt.lost_since() != Time::UNSET
}

fn next_try(tell: &Tell) -> Option<Time> {
    match tell {
        Tell::NotSent { retry_at }
        | Tell::AnswerLost { retry_at }
        | Tell::NoVerdict { retry_at }
        | Tell::Suspect { retry_at } => Some(*retry_at),
        _ => None,
    }
}

/// Enough to know the code again.
fn code_of(query: &str) -> Fingerprint {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let code = pairs.find(|(name, _)| name == "code").map_or_else(String::new, |(_, code)| code.into_owned());
    let print = Print::of(&code).to_string();
    let mut fingerprint = [0; 32];
    fingerprint.iter_mut().zip(print.bytes()).for_each(|(to, from)| *to = from);
    fingerprint
}

// ------------------------------------------------------------------------------------------------------------ the vault

/// The vault, with a gate on both sides of each verb.
struct Vault<'a> {
    port: &'a Port,
    store: Box<dyn Store>,
    /// The store's server has a clock of its own.
    has_clock: bool,
}

impl<'a> Vault<'a> {
    fn open(port: &'a Port, place: &Place) -> Result<Self> {
        let keys = || Keyring::parse(SEALING_KEY).map(evergrant_vault::Keys::Ring).map_err(told);
        let store: Box<dyn Store> = match place {
            Place::Sqlite { folder } => {
                Box::new(Sqlite::open(&folder.join("vault.db"), keys()?).map_err(told)?)
            }
            Place::Postgres { url, schema } => {
                let mut options = PostgresOptions::default();
                options.schema = format!("{schema}_vault");
                options.connections = 1;
                // The server's own clock, on the harness's time: each verb is given the time and not this process's clock.
                options.clock = evergrant_vault::Clock::Caller;
                Box::new(OnRuntime::open(Postgres::open(url, keys()?, options)).map_err(told)?)
            }
        };
        Ok(Self { port, store, has_clock: matches!(place, Place::Postgres { .. }) })
    }

    fn now(&self) -> u64 {
        if self.has_clock { self.port.truth() } else { self.port.own() }
    }

    fn verb<T>(
        &self,
        name: &str,
        verb: impl FnOnce(&dyn Store) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        let down = || format!("{name}: the store is down");
        self.port.verb(name, down, || verb(self.store.as_ref()).map_err(told))
    }

    fn load(&self, name: &Name) -> Result<Option<Loaded>> {
        self.verb("load", |store| store.load(name))
    }

    fn claim(&self, name: &Name, expected: Option<u64>, intent: Write<'_>) -> Result<Claim> {
        // The time is read when the verb begins: it may have stood still at the gate before.
        self.verb("claim", |store| store.claim(self.now(), name, expected, LEASE_SECONDS, intent))
    }

    fn commit(&self, lease: &Lease, write: Write<'_>, then: Then) -> Result<Commit> {
        self.verb("commit", |store| store.commit(self.now(), lease, write, then))
    }

    fn release(&self, lease: &Lease) -> Result<()> {
        self.verb("release", |store| store.release(lease))
    }

    fn spend(&self, code: &Fingerprint, keep_until: u64) -> Result<Spend> {
        self.verb("spend", |store| store.spend(self.now(), code, keep_until))
    }
}
