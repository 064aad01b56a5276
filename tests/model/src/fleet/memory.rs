//! What a worker has in memory: a real session.
//!
//! A session cannot be copied, and a search needs copies of everything. So a worker keeps the record that it read and what its
//! session has been told since, and makes the session anew wherever it goes on: each step goes through
//! [`Session::adopt`] and [`Session::handle`], with bytes. Two memories are one state where nothing that can be seen of
//! their sessions differs.

use std::sync::{Arc, LazyLock};

use evergrant::phase::Consent;
use evergrant::{
    App, Ask, Call, ClientSecret, Due, Effects, Error, Input, Keys, MergeError, Phase, Policy, Provider,
    Received, Record, Refused, Scopes, Session, Tell, Time,
};
use faq::bridge::{Letter, Reply};
use faq::world::{access_in, text, tokens_in};

/// Small buffers; the same code.
type Small = Session<32, 32, 32>;

pub(super) const REDIRECT: &str = "https://app.example/cb";
/// Fewer rounds of refusals, so that an end by them is within reach.
pub(super) const POLICY: Policy = Policy { refusals: 2, ..Provider::INTUIT_SANDBOX.policy };

const PROVIDER: Provider<'static> = Provider { policy: POLICY, ..Provider::INTUIT_SANDBOX };
const KEYS: Keys<'static> = Keys {
    client_id: "client",
    client_secret: ClientSecret::new("secret"),
    redirect_uris: &[REDIRECT],
    further_scopes: &[],
    state_key: None,
};

static APP: LazyLock<App<'static>> = LazyLock::new(|| App::new(&PROVIDER, KEYS).expect("good keys"));

/// What a session is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Refresh,
    Ask,
    Callback(Arc<str>),
    Saved(u32),
    NotSent(Call),
    NoAnswer(Call),
    Answer(Call, Arc<Reply>),
}

impl Told {
    fn tell(&self, session: &mut Small, now: Time) -> Result<Effects, Error> {
        let input = match self {
            Self::Refresh => Input::Refresh,
            Self::Ask => {
                Input::Ask(Ask { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, random: [7; 64] })
            }
            Self::Callback(text) => Input::Callback { text, binding: &[] },
            Self::Saved(revision) => Input::Saved(*revision),
            Self::NotSent(call) => Input::Answer(*call, Received::NotSent),
            Self::NoAnswer(call) => Input::Answer(*call, Received::NoAnswer),
            Self::Answer(call, reply) => {
                let Reply { status, body } = &**reply;
                let received =
                    Received::Answer { status: *status, retry_after: None, correlation: None, body };
                Input::Answer(*call, received)
            }
        };
        session.handle(&APP, now, input)
    }
}

/// All that can be seen of a session: two that show the same do the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    record: Arc<str>,
    /// A record does not say it.
    unsaved: bool,
    /// The request in flight, with the code in it, which is in no record.
    body: Option<String>,
}

impl Seen {
    fn of(session: &Small) -> Self {
        let body = session.phase().in_flight().and_then(|call| letter(session, call).ok());
        Self {
            record: text(&session.record(&APP)).into(),
            unsaved: session.phase().unsaved,
            body: body.map(|letter| letter.body),
        }
    }
}

fn letter(session: &Small, call: Call) -> Result<Letter, Error> {
    let request = session.request(&APP, call)?;
    let mut buffer = vec![0; request.length()];
    Ok(Letter::of(&request.write(&mut buffer)?))
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    read: Arc<str>,
    told: Vec<(u64, Told)>,
    /// The record that was read or written last.
    durable: Arc<str>,
    phase: Phase,
    seen: Seen,
    /// What the answer brought that the session took last: access token and refresh token.
    came: Option<(String, String)>,
}

impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        (&self.seen, &self.durable, &self.came) == (&other.seen, &other.durable, &other.came)
    }
}

impl Eq for Memory {}

impl std::hash::Hash for Memory {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        (&self.seen, &self.durable, &self.came).hash(hasher);
    }
}

/// What came of telling a session something, and what was found broken by it.
pub(super) struct Outcome {
    pub(super) effects: Result<Effects, Error>,
    pub(super) broken: Option<&'static str>,
}

impl Memory {
    /// A session before its first consent, in no store.
    pub(super) fn new() -> Self {
        let session = Small::new(&APP);
        let seen = Seen::of(&session);
        let (read, phase) = (seen.record.clone(), *session.phase());
        Self { durable: read.clone(), read, told: Vec::new(), phase, seen, came: None }
    }

    /// A session that adopts a stored record (REF-3).
    pub(super) fn read(record: &Arc<str>) -> Self {
        let session = adopted(record);
        let (seen, phase) = (Seen::of(&session), *session.phase());
        Self { read: record.clone(), told: Vec::new(), durable: record.clone(), phase, seen, came: None }
    }

    fn session(&self) -> Small {
        let mut session = adopted(&self.read);
        for (at, told) in &self.told {
            // What was refused is not among it.
            let _ = told.tell(&mut session, Time::from_unix(*at));
        }
        session
    }

    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(super) fn record(&self) -> &Arc<str> {
        &self.seen.record
    }

    /// The refresh tokens that it holds.
    pub(super) fn held(&self) -> Vec<String> {
        tokens_in(&self.seen.record)
    }

    /// The request of the call in flight.
    pub(super) fn letter(&self, call: Call) -> Option<Letter> {
        letter(&self.session(), call).ok()
    }

    /// Where the user is to be sent.
    pub(super) fn url(&self) -> Option<String> {
        self.session().authorization_url(&APP, &mut [0; 1_024]).ok().map(String::from)
    }

    pub(super) fn tell(&mut self, now: u64, told: Told) -> Outcome {
        let mut session = self.session();
        let effects = told.tell(&mut session, Time::from_unix(now));
        let seen = Seen::of(&session);
        let came = if let Told::Answer(_, reply) = &told { reply.tokens() } else { None };
        let mut broken = None;
        if effects.is_err() && seen != self.seen {
            broken = Some("I7: refused, and changed");
        }
        if effects.is_ok() {
            (self.seen, self.phase) = (seen, *session.phase());
            if came.is_some() {
                self.came.clone_from(&came);
            }
            if let Told::Saved(_) = told {
                self.durable = self.seen.record.clone();
            }
            self.told.push((now, told));
        }
        let broken = broken
            .or_else(|| came.and_then(|(_, refresh)| self.dropped(&refresh, &effects)))
            .or_else(|| self.handed_out_too_soon(&session, now))
            .or_else(|| dead_end(&mut session, now));
        Outcome { effects, broken }
    }

    /// I5: tokens that arrived are held, if not by this answer then from before.
    fn dropped(&self, refresh: &str, effects: &Result<Effects, Error>) -> Option<&'static str> {
        let again = matches!(effects, Err(Error::Refused(Refused::CandidatesFull)));
        let kept = again || self.held().iter().any(|held| held == refresh);
        (!kept).then_some("I5: tokens that arrived were dropped")
    }

    /// I3: what is handed out stands in the record that was read or written last, with its refresh token.
    fn handed_out_too_soon(&self, session: &Small, now: u64) -> Option<&'static str> {
        let token = session.access_token(Time::from_unix(now))?;
        let whole = |(access, refresh): &(String, String)| {
            access != token.expose() || tokens_in(&self.durable).contains(refresh)
        };
        let durable = access_in(&self.durable) == token.expose() && self.came.as_ref().is_none_or(whole);
        (!durable).then_some("I3: handed out before it was durable")
    }
}

/// I8: something is due that moves it, or the user is named and may be asked.
fn dead_end(session: &mut Small, now: u64) -> Option<&'static str> {
    let (before, now) = (Seen::of(session), Time::from_unix(now));
    let leads_on = match session.due(&APP) {
        Due::Store => true,
        Due::Tick(at) => {
            session.handle(&APP, at.max(Time::EARLIEST), Input::Tick).is_ok() && Seen::of(session) != before
        }
        Due::Consent => Told::Ask.tell(session, now).is_ok(),
    };
    (!leads_on).then_some("I8: a dead end")
}

fn adopted(record: &str) -> Small {
    let mut session = Small::new(&APP);
    let record = Record::read(record.as_bytes()).expect("what was written can be read");
    let _ = session.adopt(&APP, &record).expect("what was written can be adopted");
    session
}

/// What comes of bringing home what the store has not taken.
pub(super) enum Home {
    /// This is to be stored. Whether it says that what was stored may not be used any more.
    Record { record: Arc<str>, replaced: bool },
    /// It is known there already, or belongs to nothing any more.
    Nothing,
    /// There is no room for it now.
    NotNow,
    /// Something is broken.
    Broken(&'static str),
}

impl Memory {
    /// This session, merged with what is stored.
    pub(super) fn merged(&self, now: u64, stored: &Arc<str>) -> Home {
        bring(self.session(), now, stored)
    }
}

/// What stands in a spill file, merged with what is stored; where that has not moved on since, it is as it was spilled.
pub(super) fn from_file(file: &str, now: u64, stored: Option<&Arc<str>>) -> Home {
    let session = restored(file);
    match stored {
        Some(stored) => bring(session, now, stored),
        None => Home::Record { record: text(&session.record(&APP)).into(), replaced: true },
    }
}

fn restored(record: &str) -> Small {
    let record = Record::read(record.as_bytes()).expect("what was written can be read");
    Small::restore(&APP, &record).expect("what was written can be restored")
}

fn bring(mut session: Small, now: u64, stored: &Arc<str>) -> Home {
    let record = Record::read(stored.as_bytes()).expect("what was written can be read");
    let before = Seen::of(&session);
    let ours = tokens_in(&before.record);
    match session.merge(&APP, Time::from_unix(now), &record) {
        Ok(effects) if effects.send.is_some() => Home::Broken("a merge sends"),
        Ok(effects) => {
            let merged: Arc<str> = text(&session.record(&APP)).into();
            let held = tokens_in(&merged);
            let replaced = matches!(effects.tell, Some(Tell::Refreshed(_)));
            if session.phase().generation == record.generation() && !ours.iter().all(|own| held.contains(own))
            {
                return Home::Broken("I5: a merge dropped what the store has never seen");
            }
            if !replaced && !tokens_in(stored).iter().all(|own| held.contains(own)) {
                return Home::Broken("I5: a merge dropped what is stored");
            }
            if effects.store.is_none() { Home::Nothing } else { Home::Record { record: merged, replaced } }
        }
        Err(_) if Seen::of(&session) != before => Home::Broken("I7: refused, and changed"),
        Err(MergeError::Refused(Refused::CandidatesFull)) => Home::NotNow,
        Err(_) => Home::Nothing,
    }
}

/// Whether a record reads back as what was written, but for a call in flight, which counts as unanswered then, and for a code
/// that had not left.
pub(super) fn reads_back(text: &str) -> bool {
    let Ok(record) = Record::read(text.as_bytes()) else { return false };
    let Ok(session) = Small::restore(&APP, &record) else { return false };
    let back = faq::world::text(&session.record(&APP));
    let stored = record.phase();
    let rests = stored.in_flight().is_none() && !matches!(stored.consent, Consent::Unsent { .. });
    (back == text || !rests) && tokens_in(&back) == tokens_in(text) && access_in(&back) == access_in(text)
}

/// Where a record stands.
pub(super) fn phase_of(record: &str) -> Phase {
    *Record::read(record.as_bytes()).expect("what was written can be read").phase()
}
