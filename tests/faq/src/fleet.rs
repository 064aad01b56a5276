//! A second process in the world, with a session of its own: at most one of the two acts, and the other sleeps, in the
//! middle of a call perhaps.
//!
//! The store promises what the vault does. A record is refused where something was written that its writer has not read; a
//! record that a request hangs on takes the lease, and while one process holds it nobody else writes. A writer that was
//! fenced out reads the stored record: by [`Session::merge`] where it has tokens that no store has seen, else in the place
//! of what it has. Tokens that could not be stored may be spilled, survive a crash so, and are brought home later.

use evergrant::{
    Call, Effects, Error, Input, MergeError, Phase, Received, Record, Refused, Session, Tell, Time,
};

use crate::bridge::Reply;
use crate::world::{Entry, Life, World, restore, tokens_in};

/// Seconds that the lease of a call lasts: longer than the call may take.
pub const LEASE: u64 = 90;

/// Where a process is stopped.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Before it stores.
    Store,
    /// Before it sends.
    Send,
    /// With what came back in hand.
    Answer(Call, Option<Reply>),
}

/// A process that was stopped in the middle of what it was about.
#[derive(Clone, Debug)]
pub(crate) struct Asleep {
    since: u64,
    effects: Effects,
    stage: Stage,
}

/// What a process of the fleet knows beside its session.
#[derive(Clone, Debug, Default)]
struct Knows {
    /// The record that it has read or written last.
    read: Option<String>,
    /// Tokens came that no store has taken.
    brought: bool,
}

/// A process that does not act now.
struct Other {
    number: u32,
    session: Life,
    knows: Knows,
    asleep: Option<Asleep>,
}

/// Tokens that could not be stored, kept elsewhere until they can be.
struct Spilled {
    /// Whose; `None` since it died.
    of: Option<u32>,
    record: String,
    knows: Knows,
}

/// The fleet's part of a [`World`].
#[derive(Default)]
pub(crate) struct Fleet {
    /// The process that acts.
    pub(crate) acts: u32,
    /// Where it was stopped.
    pub(crate) asleep: Option<Asleep>,
    /// There is, or was, more than one.
    many: bool,
    knows: Knows,
    other: Option<Box<Other>>,
    started: u32,
    /// Who holds the store's lease, and until when.
    lease: Option<(u32, u64)>,
    spilling: bool,
    spilled: Vec<Spilled>,
    stops_in: Option<u32>,
}

impl Fleet {
    /// Tokens came, and the store has not seen them yet.
    pub(crate) fn note(&mut self, outcome: &Result<Effects, Error>) {
        let told = outcome.as_ref().ok().and_then(|effects| effects.tell);
        self.knows.brought |= matches!(told, Some(Tell::Linked | Tell::Refreshed(_) | Tell::CandidateKept));
    }
}

/// In which way a session took in the stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// [`Session::merge`].
    Merged,
    /// [`Session::adopt`].
    Adopted,
    /// [`Session::load`]: in the place of what was there.
    Loaded,
}

/// A session took in the stored record, or was refused to.
#[derive(Clone, Debug)]
pub struct Merge {
    /// When.
    pub at: u64,
    /// What the client's clock showed.
    pub clock: Time,
    /// How.
    pub how: How,
    /// Before.
    pub before: Phase,
    /// After.
    pub after: Phase,
    /// What came of it; the refusal, where it was refused.
    pub outcome: Result<Effects, String>,
    /// The refresh tokens held before.
    pub held_before: Vec<String>,
    /// The refresh tokens held afterwards.
    pub held: Vec<String>,
    /// The refresh tokens in the stored record.
    pub stored: Vec<String>,
    /// The stored record's phase.
    pub theirs: Phase,
    /// It was refused and changed something all the same.
    pub impure: bool,
    /// A secret stood in something that was rendered.
    pub leaked: Option<String>,
}

impl World {
    // --------------------------------------------------------------------------------------------- what happens

    /// A second process begins, from the store, and sleeps. One that was there is gone, with all it had in memory.
    pub fn fork(&mut self) {
        self.fleet.many = true;
        self.fleet.started += 1;
        let number = self.fleet.started;
        if let Some(gone) = self.fleet.other.take() {
            self.end(gone.number);
        }
        self.log.push(Entry::Begins { process: number });
        let session = self.session_from(self.store.text.as_deref());
        let knows = Knows { read: self.store.text.clone(), brought: false };
        self.fleet.other = Some(Box::new(Other { number, session, knows, asleep: None }));
    }

    /// The other process wakes up, goes on where it was stopped, and acts from here on. The one that has acted sleeps.
    pub fn switch(&mut self) {
        self.swap();
        self.wake();
    }

    /// The process reads the stored record, as it should before it does anything.
    pub fn read(&mut self) {
        if self.fleet.knows.brought || self.session.phase().unsaved {
            return self.catch_up();
        }
        let Some(text) = self.store.text.clone() else { return };
        let taken = self.take_in(How::Adopted, &text);
        if taken.is_ok() {
            self.fleet.knows.read = Some(text);
        }
    }

    /// The process that acts is stopped at the so-manieth seam from here, and the other one acts.
    pub fn stop_at(&mut self, seam: u32) {
        self.fleet.stops_in = Some(seam);
    }

    /// Whether tokens that cannot be stored are spilled.
    pub fn spills(&mut self, spilling: bool) {
        self.fleet.spilling = spilling;
    }

    /// Whether the process that acts was stopped in the middle of something.
    #[must_use]
    pub(crate) const fn sleeps(&self) -> bool {
        self.fleet.asleep.is_some()
    }

    /// What processes that died have spilled is brought home.
    pub fn bring_home(&mut self) {
        let (orphans, others) =
            std::mem::take(&mut self.fleet.spilled).into_iter().partition(|spilled| spilled.of.is_none());
        self.fleet.spilled = others;
        let orphans: Vec<Spilled> = orphans;
        for Spilled { record, knows, .. } in orphans {
            let deaths = self.deaths;
            self.fleet.many = true;
            self.fleet.started += 1;
            let number = self.fleet.started;
            let session = restore(&self.app, &record);
            let bringer = Other { number, session, knows: knows.clone(), asleep: None };
            let waits = self.fleet.other.replace(Box::new(bringer));
            self.swap();
            if !self.write(false) {
                self.catch_up();
            }
            if self.fleet.knows.brought {
                self.force_spill();
            } else if self.deaths > deaths {
                self.fleet.spilled.push(Spilled { of: None, record, knows });
            }
            self.end(self.fleet.acts);
            self.swap();
            self.fleet.other = waits;
        }
    }

    /// All that is left to do is done: each process wakes up, reads, stores what it has, and what was spilled comes home.
    pub fn muster(&mut self) {
        self.fleet.stops_in = None;
        self.wake();
        if !self.fleet.many && self.fleet.spilled.is_empty() {
            return;
        }
        for _ in 0..6 {
            self.wake();
            self.live(LEASE);
            self.bring_home();
            self.read();
            self.settle();
            self.swap();
        }
    }

    // -------------------------------------------------------------------------------------- who acts, and sleeps

    fn swap(&mut self) -> bool {
        let Some(other) = self.fleet.other.as_mut() else { return false };
        std::mem::swap(&mut self.session, &mut other.session);
        std::mem::swap(&mut self.fleet.knows, &mut other.knows);
        std::mem::swap(&mut self.fleet.acts, &mut other.number);
        std::mem::swap(&mut self.fleet.asleep, &mut other.asleep);
        self.fleet.stops_in = None;
        self.log_who();
        true
    }

    fn log_who(&mut self) {
        let entry = Entry::Acts { process: self.fleet.acts, held: self.held() };
        self.log.push(entry);
    }

    pub(crate) fn fall_asleep(&mut self, effects: Effects, stage: Stage) {
        self.fleet.asleep = Some(Asleep { since: self.time, effects, stage });
    }

    fn wake(&mut self) {
        let Some(Asleep { since, effects, stage }) = self.fleet.asleep.take() else { return };
        let call_for = u64::from(self.app.provider().policy.call_for);
        let too_long = self.time > since.saturating_add(LEASE - call_for);
        match (&stage, effects.send) {
            // While it slept another of its threads has moved on.
            (Stage::Store, _) if !self.session.phase().unsaved => {}
            (Stage::Store | Stage::Send, Some(call)) if self.session.phase().in_flight() != Some(call) => {}
            // The call would outlast its lease. What was decided then must not be sent any more: somebody else may be at work,
            // and the time in which the token may be sent may be over.
            (Stage::Store | Stage::Send, Some(call)) if too_long => {
                let _ = self.input("answer", Input::Answer(call, Received::NotSent));
            }
            _ => self.carry_from(effects, stage),
        }
    }

    pub(crate) fn is_stopped(&mut self) -> bool {
        match self.fleet.stops_in {
            Some(0) => {
                self.fleet.stops_in = None;
                true
            }
            Some(seams) => {
                self.fleet.stops_in = Some(seams - 1);
                false
            }
            None => false,
        }
    }

    /// An answer that was under way comes to whoever it was meant for.
    pub(crate) fn deliver(&mut self, process: u32, call: Call, reply: &Reply) {
        if process == self.fleet.acts {
            self.arrive(call, reply);
        } else if self.fleet.other.as_ref().is_some_and(|other| other.number == process) && self.swap() {
            self.arrive(call, reply);
            self.swap();
        }
    }

    fn session_from(&self, text: Option<&str>) -> Life {
        text.map_or_else(|| Session::new(&self.app), |text| restore(&self.app, text))
    }

    /// A process has begun anew.
    pub(crate) fn began(&mut self) {
        self.fleet.asleep = None;
        self.fleet.stops_in = None;
        self.fleet.knows = Knows { read: self.store.text.clone(), brought: false };
        self.end(self.fleet.acts);
        self.log_who();
    }

    /// What a process leaves behind: a lease that its death gives back, and what it has spilled.
    fn end(&mut self, number: u32) {
        if self.fleet.lease.is_some_and(|(holder, _)| holder == number) {
            self.fleet.lease = None;
        }
        for spilled in self.fleet.spilled.iter_mut().filter(|spilled| spilled.of == Some(number)) {
            spilled.of = None;
        }
    }

    // ------------------------------------------------------------------------------------------------- the store

    /// Another process holds the lease.
    pub(crate) fn is_locked_out(&self) -> bool {
        self.fleet.lease.is_some_and(|(holder, until)| holder != self.fleet.acts && self.time < until)
    }

    /// Something was written that this process has not read.
    pub(crate) fn is_fenced_out(&self) -> bool {
        self.fleet.many && self.fleet.knows.read != self.store.text
    }

    /// The store took the record.
    pub(crate) fn wrote(&mut self, sends: bool) {
        let acts = self.fleet.acts;
        if sends {
            self.fleet.lease = Some((acts, self.time.saturating_add(LEASE)));
        } else if self.session.phase().in_flight().is_none() {
            // Nobody else's lease is given back: where another holds it, nothing is written.
            self.fleet.lease = None;
        }
        self.fleet.knows = Knows { read: self.store.text.clone(), brought: false };
        self.fleet.spilled.retain(|spilled| spilled.of != Some(acts));
    }

    /// The record that this process has read or written last.
    pub(crate) fn read_last(&self) -> Option<String> {
        if self.fleet.many { self.fleet.knows.read.clone() } else { self.store.text.clone() }
    }

    /// Tokens that could not be stored are kept elsewhere.
    pub(crate) fn spill(&mut self) {
        if self.fleet.spilling && self.fleet.knows.brought {
            self.force_spill();
        }
    }

    fn force_spill(&mut self) {
        let of = Some(self.fleet.acts);
        self.fleet.spilled.retain(|spilled| spilled.of != of);
        let spilled = Spilled { of, record: self.record(), knows: self.fleet.knows.clone() };
        let held = tokens_in(&spilled.record);
        self.log.push(Entry::Spilled { held });
        self.fleet.spilled.push(spilled);
    }

    /// What a process does that may have been fenced out: it reads the stored record, and keeps what it has beside it.
    pub(crate) fn catch_up(&mut self) {
        if self.is_locked_out() || !self.is_fenced_out() {
            return;
        }
        let Some(text) = self.store.text.clone() else { return };
        if !self.fleet.knows.brought {
            return self.start_over(&text);
        }
        match self.take_in(How::Merged, &text) {
            Ok(effects) => {
                self.fleet.knows.read = Some(text);
                if effects.store.is_some() {
                    self.write(false);
                } else {
                    self.fleet.knows.brought = false;
                    let acts = self.fleet.acts;
                    self.fleet.spilled.retain(|spilled| spilled.of != Some(acts));
                }
            }
            // The app gave the grant up, so what came for it belongs to nothing any more (REF-6).
            Err(Gone::GivenUp) => self.start_over(&text),
            // What the refusal asks for: a refresh makes room, and then it is brought again.
            Err(Gone::NotNow) => {
                self.force_spill();
                for spilled in &mut self.fleet.spilled {
                    spilled.of = spilled.of.filter(|of| *of != self.fleet.acts);
                }
                self.start_over(&text);
            }
        }
    }

    fn start_over(&mut self, text: &str) {
        let _ = self.take_in(How::Loaded, text);
        self.fleet.knows = Knows { read: Some(text.into()), brought: false };
    }

    fn take_in(&mut self, how: How, text: &str) -> Result<Effects, Gone> {
        let record = Record::read(text.as_bytes()).expect("what was written can be read");
        let (before, held_before) = (*self.session.phase(), self.held());
        let (fingerprint, now) = (self.fingerprint(), self.now());
        let outcome = match how {
            How::Merged => self.session.merge(&self.app, now, &record),
            How::Adopted => {
                self.session.adopt(&self.app, &record).map(|_| Effects::default()).map_err(MergeError::Record)
            }
            How::Loaded => {
                self.session.load(&self.app, &record).map(|()| Effects::default()).map_err(MergeError::Record)
            }
        };
        let merge = Merge {
            at: self.time,
            clock: now,
            how,
            before,
            after: *self.session.phase(),
            outcome: outcome.map_err(|error| error.to_string()),
            held_before,
            held: self.held(),
            stored: tokens_in(text),
            theirs: *record.phase(),
            impure: outcome.is_err() && fingerprint != self.fingerprint(),
            leaked: self.leak(&outcome),
        };
        self.log.push(Entry::Merge(Box::new(merge)));
        outcome.map_err(|error| match error {
            MergeError::Refused(Refused::CandidatesFull | Refused::ClockUnset) => Gone::NotNow,
            MergeError::Refused(_) => Gone::GivenUp,
            MergeError::Record(error) => panic!("what was written cannot be taken in: {error}"),
        })
    }
}

/// Why a merge was refused.
enum Gone {
    /// There is no room for it, or no clock.
    NotNow,
    /// The app has ended the grant.
    GivenUp,
}
