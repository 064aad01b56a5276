//! The one driver: session, vault and HTTP, in the order that keeps a grant alive.
//!
//! Read; let the session decide; claim the row, which makes the intent durable and proves that the store can be written;
//! send; commit the answer under the lease's epoch; only then say or hand out anything. Whoever does not get the lease
//! waits with a deadline and reads again (REF-2, REF-3). A crash at any moment leaves either what was there before, or a
//! record that says what was about to be sent.

mod slots;
#[cfg(test)]
mod tests;
mod users;

use std::time::Duration;

use evergrant::diagnosis::{Diagnosis, Surroundings};
use evergrant::phase::Grant as State;
use evergrant::{
    App, Call, Due, Effects, Error, Input, Phase, Purpose, Received, Record, Refused, Session, Tell, Time,
};
use evergrant_openid::{IdToken, IdTokenError};
use evergrant_ureq::{Client, Reply};
use evergrant_vault::{Claim, Commit, Fingerprint, Lease, Loaded, Name, Spend, Store, Then, Write};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::failure::{Exit, Failure, Result};
use crate::journal::Journal;
use crate::output;

pub(crate) use users::User;

/// Length of a lease. The HTTP client gives a call up after 30 s, the core after 60.
const LEASE_SECONDS: u32 = 90;
/// What must be left of it when a request goes out: the HTTP client's deadline.
const CALL_SECONDS: u32 = 30;
/// Tries to commit an answer. The vault itself waits up to 10 s in each.
const COMMIT_TRIES: u32 = 5;
/// The first pause between two of them; each further one is twice as long.
const COMMIT_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });

/// What the commands work with.
pub(crate) struct Driver<'a> {
    pub(crate) app: &'a App<'a>,
    pub(crate) vault: &'a dyn Store,
    pub(crate) http: &'a Client,
    pub(crate) clock: &'a dyn Clock,
    /// Where failures are noted, with what support asks for.
    pub(crate) journal: &'a Journal,
    /// Longest wait for a lease, or for the next try.
    pub(crate) patience_seconds: u32,
}

/// A grant, as it was read.
pub(crate) struct Grant {
    pub(crate) name: Name,
    /// Some kilobytes, so it does not travel on the stack.
    pub(crate) session: Box<Session>,
    /// The write that it was read from; `None` where there is no row yet.
    generation: Option<u64>,
    /// The code that is to be spent before it is sent (EXC-1).
    code: Option<Fingerprint>,
    /// What came with the tokens of a consent, as it came; `None` where no consent brought them just now. Not stored.
    pub(crate) id_token: Option<Result<IdToken, IdTokenError>>,
}

/// What a row is of, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// A grant, under its realm.
    Grants,
    /// A consent under way.
    Consents,
    /// Who signed in.
    Users,
}

impl Rows {
    pub(crate) fn of(name: &Name) -> Self {
        let realm = name.realm();
        match (realm.starts_with(slots::PREFIX), realm.starts_with(users::PREFIX)) {
            (true, _) => Self::Consents,
            (_, true) => Self::Users,
            _ => Self::Grants,
        }
    }
}

/// How the intent was taken in.
enum Begun {
    Claimed(Lease),
    Held { until: u64 },
    MovedOn(Option<Loaded>),
}

impl Driver<'_> {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    // ---------------------------------------------------------------------------------------------------- reading

    /// The row of a realm, or of a slot.
    pub(crate) fn name(&self, realm: &str) -> Result<Name> {
        let app = format!("{:08x}", self.app.fingerprint());
        Ok(Name::new(app, self.app.provider().name, realm)?)
    }

    /// The grant of a realm.
    ///
    /// Where there is none, the same realm under other keys is looked for: most likely the environments were mixed up.
    pub(crate) fn load(&self, realm: &str) -> Result<Grant> {
        let name = self.name(realm)?;
        match self.find(&name)? {
            Some(grant) => Ok(grant),
            None => Err(self.missing(realm)?),
        }
    }

    /// A row, where there is one.
    pub(crate) fn find(&self, name: &Name) -> Result<Option<Grant>> {
        let Some(loaded) = self.vault.load(name)? else { return Ok(None) };
        let session = self.restore(&loaded)?;
        let generation = Some(loaded.generation);
        Ok(Some(Grant { name: name.clone(), session, generation, code: None, id_token: None }))
    }

    fn missing(&self, realm: &str) -> Result<Failure> {
        let own = self.app.provider().name;
        let rows = self.all_rows()?;
        let elsewhere = rows.iter().find(|name| name.realm() == realm && name.environment() != own);
        // APP-3: both are named.
        if let Some(name) = elsewhere {
            let there = name.environment();
            let what = format!("company {realm} is connected in {there}, and these keys are those of {own}");
            return Ok(Failure::usage(
                what,
                format!("use the keys of {there}, or connect the company in {own} as well"),
            ));
        }
        if rows.iter().any(|name| name.realm() == realm) {
            return Ok(Failure::usage(
                format!("company {realm} is connected with another client ID"),
                "use the keys that it was connected with, or connect it again",
            ));
        }
        let what = format!("company {realm} is not connected in {own}");
        Ok(Failure::new(Exit::ConsentNeeded, what)
            .or("run `evergrant connect`, or look at `evergrant status`"))
    }

    /// The names of all rows, of whatever keys; consents under way are among them.
    pub(crate) fn all_rows(&self) -> Result<Vec<Name>> {
        let mut names: Vec<Name> = Vec::new();
        loop {
            let page = self.vault.list(names.last(), 100)?;
            if page.is_empty() {
                return Ok(names);
            }
            names.extend(page.into_iter().map(|row| row.name));
        }
    }

    /// The names of the rows of these keys in this environment that are of one kind.
    pub(crate) fn own_rows(&self, rows: Rows) -> Result<Vec<Name>> {
        let own = self.name("any")?;
        let mut names = self.all_rows()?;
        names.retain(|name| {
            name.app() == own.app() && name.environment() == own.environment() && Rows::of(name) == rows
        });
        Ok(names)
    }

    fn restore(&self, loaded: &Loaded) -> Result<Box<Session>> {
        let record = parse(loaded)?;
        Ok(Box::new(Session::restore(self.app, &record)?))
    }

    fn reload(&self, grant: &mut Grant) -> Result<()> {
        let loaded = self.vault.load(&grant.name)?;
        self.replace(grant, loaded)
    }

    /// What the store has, in the place of what is in memory (REF-3). Nothing in memory is newer here: whatever an
    /// answer brought was committed before this can be reached.
    fn replace(&self, grant: &mut Grant, loaded: Option<Loaded>) -> Result<()> {
        let Some(loaded) = loaded else {
            let what = format!("the row of {} was removed by another process", grant.name.realm());
            return Err(Failure::new(Exit::NotNow, what).or("look at `evergrant status`"));
        };
        grant.session = self.restore(&loaded)?;
        grant.generation = Some(loaded.generation);
        Ok(())
    }

    // ----------------------------------------------------------------------------------------------------- acting

    /// A new session, which has no row yet.
    pub(crate) fn begin(&self, name: Name) -> Grant {
        let session = Box::new(Session::new(self.app));
        Grant { name, session, generation: None, code: None, id_token: None }
    }

    /// Hands an input in and carries out all that follows from it. `input` looks at the session as it then is, after
    /// another process may have been at work, and may find that nothing is left to do.
    pub(crate) fn act<'i>(
        &self,
        grant: &mut Grant,
        input: impl Fn(&Session) -> Option<Input<'i>>,
    ) -> Result<Vec<Tell>> {
        let deadline = self.now().plus(self.patience_seconds.max(1));
        let mut waiting = false;
        loop {
            let Some(input) = input(&grant.session) else { return Ok(Vec::new()) };
            let effects = match grant.session.handle(self.app, self.now(), input) {
                Err(Error::Refused(Refused::Wait { until })) if until <= deadline => {
                    self.clock.wait_until(until);
                    self.reload(grant)?;
                    continue;
                }
                other => other?,
            };
            if effects.store.is_none() {
                return Ok(effects.tell.into_iter().collect());
            }
            match self.take_lease(grant, effects)? {
                Begun::Claimed(lease) => return self.carry_out(grant, &lease, effects),
                Begun::Held { until } => {
                    self.wait_for_lease(until, deadline, &mut waiting)?;
                    self.reload(grant)?;
                }
                Begun::MovedOn(current) => self.replace(grant, current)?,
            }
        }
    }

    /// As [`act`](Self::act), and again for as long as the next try is near.
    pub(crate) fn settle<'i>(
        &self,
        grant: &mut Grant,
        input: impl Fn(&Session) -> Option<Input<'i>>,
    ) -> Result<Vec<Tell>> {
        let deadline = self.now().plus(self.patience_seconds);
        let mut tells = self.act(grant, input)?;
        while let Some(retry_at) = tells.last().and_then(next_try).filter(|retry_at| *retry_at <= deadline) {
            if retry_at > self.now() {
                output::note(format_args!(
                    "{}; next try {}",
                    Told(tells.last()),
                    output::distance(self.now(), retry_at)
                ));
                self.clock.wait_until(retry_at);
            }
            tells.extend(self.act(grant, |_| Some(Input::Tick))?);
        }
        Ok(tells)
    }

    /// The code of a callback counts as spent, in the vault and for all processes, before anything is sent (EXC-1, I1).
    fn take_lease(&self, grant: &mut Grant, effects: Effects) -> Result<Begun> {
        let now = self.now().unix();
        let exchanges = effects.send.is_some_and(|call| call.purpose == Purpose::Exchange);
        if exchanges && let Some(code) = grant.code.take() {
            let keep_until = now.saturating_add(u64::from(self.app.provider().policy.consent_for) + 86_400);
            if self.vault.spend(now, &code, keep_until)? == Spend::SpentBefore {
                return Err(Refused::CodeSpent.into());
            }
        }
        let bytes = self.bytes(&grant.session)?;
        let intent = self.write(&grant.session, &bytes);
        Ok(match self.vault.claim(now, &grant.name, grant.generation, LEASE_SECONDS, intent)? {
            Claim::Claimed(lease) => {
                // A claim's number is that of its write and of its epoch.
                grant.generation = Some(lease.epoch());
                Begun::Claimed(lease)
            }
            Claim::Held { until } => Begun::Held { until },
            Claim::MovedOn(current) => Begun::MovedOn(current),
        })
    }

    fn wait_for_lease(&self, until: u64, deadline: Time, waiting: &mut bool) -> Result<()> {
        let now = self.now();
        if now >= deadline {
            let what = format!(
                "another process is at work on this grant, until {} at the latest",
                output::moment(Time::from_unix(until))
            );
            return Err(Failure::new(Exit::NotNow, what).or("try again then, or wait longer with --wait"));
        }
        if !std::mem::replace(waiting, true) && output::is_watched() {
            output::note("another process is at work on this grant: waiting for it");
        }
        // It is mostly given back long before its end.
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    /// The intent is durable and the lease is held: send, and commit what comes of it.
    fn carry_out(&self, grant: &mut Grant, lease: &Lease, effects: Effects) -> Result<Vec<Tell>> {
        self.saved(grant, effects)?;
        let mut tells: Vec<Tell> = effects.tell.into_iter().collect();
        let mut send = effects.send;
        if send.is_none() {
            self.vault.release(lease)?;
        }
        let mut lease_until = Time::from_unix(lease.until());
        while let Some(call) = send {
            // REF-2: a machine that slept since the claim may have been overtaken. A request that went out now would make the token
            // stale that another process has got meanwhile.
            let mut id_token = None;
            let effects = if self.now().plus(CALL_SECONDS) > lease_until {
                grant.session.handle(self.app, self.now(), Input::Answer(call, Received::NotSent))?
            } else {
                let reply = self.send(&grant.session, call)?;
                self.journal.note(self.now(), grant.name.realm(), asked(call.purpose), &reply);
                if call.purpose == Purpose::Exchange {
                    id_token = Some(IdToken::from_answer(reply.body()));
                }
                self.take_answer(grant, call, &reply)?
            };
            tells.extend(effects.tell);
            send = effects.send;
            let then = if send.is_some() { Then::Hold { seconds: LEASE_SECONDS } } else { Then::Release };
            if !self.commit(grant, lease, then)? {
                return Ok(tells);
            }
            lease_until = self.now().plus(LEASE_SECONDS);
            self.saved(grant, effects)?;
            // SCO-5: looked at later, and only now that the tokens are durable.
            grant.id_token = id_token.or(grant.id_token.take());
        }
        Ok(tells)
    }

    fn saved(&self, grant: &mut Grant, effects: Effects) -> Result<()> {
        if let Some(revision) = effects.store {
            let _ = grant.session.handle(self.app, self.now(), Input::Saved(revision))?;
        }
        Ok(())
    }

    fn send(&self, session: &Session, call: Call) -> Result<Reply> {
        let request = session.request(self.app, call)?;
        let mut buffer = Zeroizing::new(vec![0; request.length()]);
        let http = request.write(&mut buffer).map_err(Error::from)?;
        Ok(self.http.carry_out(&http))
    }

    /// An answer that does not fit counts as none: what was sent stays known to be sent.
    fn take_answer(&self, grant: &mut Grant, call: Call, reply: &Reply) -> Result<Effects> {
        match grant.session.handle(self.app, self.now(), Input::Answer(call, reply.received())) {
            Err(Error::TooLong(too_long)) => {
                output::warn(too_long);
                Ok(grant.session.handle(self.app, self.now(), Input::Answer(call, Received::NoAnswer))?)
            }
            other => Ok(other?),
        }
    }

    // ------------------------------------------------------------------------------------------------- committing

    /// Makes what came durable (REF-1). `false` where another process had taken the row over, and what came was merged.
    fn commit(&self, grant: &mut Grant, lease: &Lease, then: Then) -> Result<bool> {
        let bytes = self.bytes(&grant.session)?;
        let mut tries = 0;
        loop {
            let write = self.write(&grant.session, &bytes);
            match self.vault.commit(self.now().unix(), lease, write, then) {
                Ok(Commit::Committed { generation }) => {
                    grant.generation = Some(generation);
                    return Ok(true);
                }
                Ok(Commit::FencedOut(current)) => return self.merge(grant, current).map(|()| false),
                Err(error) => {
                    tries += 1;
                    if tries >= COMMIT_TRIES {
                        return Err(Failure::from(error)
                            .or("the answer could not be stored, so nothing of it is handed out; once the vault can be \
                                 written, run `evergrant refresh`: the intent is stored, and the token is sent again \
                                 within the provider's replay policy"));
                    }
                    output::warn(format_args!("{error}; trying again"));
                    std::thread::sleep(COMMIT_PAUSE * (1 << (tries - 1)));
                }
            }
        }
    }

    /// Fenced out: what came is neither written over the newer record nor dropped (I5).
    fn merge(&self, grant: &mut Grant, mut current: Option<Loaded>) -> Result<()> {
        loop {
            let Some(loaded) = current else {
                // The row is gone; the tokens go into a new one.
                grant.generation = None;
                return self.store(grant);
            };
            let record = parse(&loaded)?;
            let effects = grant.session.merge(self.app, self.now(), &record).map_err(|error| {
                Failure::new(
                    Exit::Store,
                    format!("what came could not be merged into the stored record: {error}"),
                )
            })?;
            grant.generation = Some(loaded.generation);
            if effects.store.is_none() {
                return Ok(());
            }
            match self.take_lease(grant, effects)? {
                Begun::Claimed(lease) => {
                    self.vault.release(&lease)?;
                    return self.saved(grant, effects);
                }
                Begun::Held { .. } => {
                    std::thread::sleep(Duration::from_millis(100));
                    current = self.vault.load(&grant.name)?;
                }
                Begun::MovedOn(newer) => current = newer,
            }
        }
    }

    /// Stores a session as it is, in a row that nobody is expected to be at work on.
    fn store(&self, grant: &mut Grant) -> Result<()> {
        let effects = slots::as_it_is(grant);
        match self.take_lease(grant, effects)? {
            Begun::Claimed(lease) => {
                self.vault.release(&lease)?;
                self.saved(grant, effects)
            }
            Begun::Held { .. } | Begun::MovedOn(_) => {
                Err(Failure::new(Exit::NotNow, "another process writes the same row: run the command again"))
            }
        }
    }

    fn bytes(&self, session: &Session) -> Result<Zeroizing<Vec<u8>>> {
        // Room for both tokens at their largest, so that nothing is left behind by growing.
        let mut bytes = Zeroizing::new(vec![0; 32 * 1024]);
        let length = session
            .record(self.app)
            .write(&mut bytes)
            .map_err(|error| {
                Failure::new(Exit::Unexpected, format!("the record cannot be written: {error}"))
            })?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn write<'b>(&self, session: &Session, bytes: &'b [u8]) -> Write<'b> {
        // Once it is stored, that is: until then every session wants to be stored.
        let phase = Phase { unsaved: false, ..*session.phase() };
        let due_at = match phase.due(&self.app.provider().policy) {
            Due::Tick(at) => Some(at.unix()),
            Due::Store | Due::Consent => None,
        };
        let ends_at = phase.usable().map(|held| held.end().unix());
        Write { record: bytes, revision: phase.revision, due_at, ends_at }
    }

    // --------------------------------------------------------------------------------------------------- diagnosis

    /// What is known of a refusal, with what the other grants tell (REF-5).
    pub(crate) fn diagnosis(&self, grant: &Grant) -> Result<Option<Diagnosis>> {
        let mut others = 0;
        let names = self.own_rows(Rows::Grants)?;
        let alone = names.len() <= 1;
        for name in names.iter().filter(|name| **name != grant.name) {
            let Some(other) = self.find(name)? else { continue };
            others += u32::from(matches!(other.session.phase().grant, State::Suspect));
        }
        let around = Surroundings { others_refused: (!alone).then_some(others), store_is_newer: Some(false) };
        Ok(grant.session.diagnosis(self.now(), around))
    }
}

/// The journal's word for it.
const fn asked(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Exchange => "exchange",
        Purpose::Refresh => "refresh",
        Purpose::Revoke => "revoke",
    }
}

fn parse(loaded: &Loaded) -> Result<Record<'_>> {
    Record::read(loaded.record.expose()).map_err(|_| {
        // The parser's own words could quote the record.
        Failure::new(Exit::Store, "a stored record is damaged, and nothing of it was taken")
            .or("restore the vault from a backup, or connect the company again")
    })
}

/// When the session will try again by itself, where waiting may help. Wrong keys stay wrong.
pub(crate) fn next_try(tell: &Tell) -> Option<Time> {
    match tell {
        Tell::NotSent { retry_at }
        | Tell::AnswerLost { retry_at }
        | Tell::NoVerdict { retry_at }
        | Tell::Suspect { retry_at }
        | Tell::RevokeUnanswered { retry_at } => Some(*retry_at),
        _ => None,
    }
}

/// What a session told, in words.
pub(crate) struct Told<'t>(pub(crate) Option<&'t Tell>);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Some(Tell::Linked) => "connected",
            Some(Tell::Refreshed(evergrant::phase::Rotation::New)) => "refreshed, with a new refresh token",
            Some(Tell::Refreshed(evergrant::phase::Rotation::Same)) => {
                "refreshed, with the same refresh token"
            }
            Some(Tell::Declined) => "the user declined",
            Some(Tell::ConsentExpired) => "no callback came in time",
            Some(Tell::ExchangeRefused(_)) => "the authority refused the code",
            Some(Tell::ExchangeLost) => "it is unknown what became of the exchange",
            Some(Tell::NotSent { .. }) => "the authority was not reached",
            Some(Tell::AnswerLost { .. }) => "the answer was lost",
            Some(Tell::NoVerdict { .. }) => "the authority answered, but not the question",
            Some(Tell::AppAtFault { .. }) => "the authority refuses the app itself",
            Some(Tell::Suspect { .. }) => {
                "the authority refuses the refresh token, which alone proves nothing"
            }
            Some(Tell::NextCandidate) => "another token is tried",
            Some(Tell::CandidateKept) => "a token that came late is kept",
            Some(Tell::Poisoned) => "the code was seen to be exchanged twice",
            Some(Tell::RevokeUnanswered { .. }) => "the revocation was not confirmed",
            Some(Tell::Revived) => "the clock was wrong: the grant lives",
            Some(Tell::Closed(_)) => "the grant has ended",
            None => "nothing to do",
        })
    }
}
