//! Where everything stands, and what each act makes of it.

use std::sync::Arc;

use evergrant::phase::{Grant, Purpose};
use evergrant::{Call, Error, Reason, Refused, Tell, Time};
use evergrant_emulator::authority::{Authority, RefreshState};
use faq::bridge::{Letter, Reply, carry_out};
use faq::world::tokens_in;

use super::memory::{Home, Memory, POLICY, Told, from_file, phase_of, reads_back};
use super::{Act, Promise};

/// Longer than a call may take.
const LEASE: u64 = 90;

/// Where everything stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The true time, which the authority goes by.
    pub(super) now: u64,
    /// What the clock of the store and of the workers is behind by.
    pub(super) behind: u64,
    pub(super) authority: Authority,
    pub(super) row: Row,
    pub(super) workers: Vec<Worker>,
    pub(super) faults: u8,
    pub(super) requests: u8,
    pub(super) moves: u8,
    /// Where the browser is sent back to, and how often it has come.
    pub(super) callback: Option<(Arc<str>, u8)>,
    pub(super) without: Option<Promise>,
    /// What an edge found broken.
    pub(super) broken: Option<&'static str>,
}

/// What the vault has of a grant, and what an onlooker remembers who trusts no phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) record: Arc<str>,
    pub(super) epoch: u32,
    /// Whose, and until when.
    lease: Option<(usize, u64)>,
    /// When the first request was claimed that no commit has answered.
    unanswered: Option<u64>,
    /// Refusals since tokens came.
    refused: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    /// The session in memory while the worker is at it.
    pub(super) at: Option<Memory>,
    /// The epoch of its claim.
    epoch: u32,
    /// Refusals since tokens came, as far as it knows.
    refused: u8,
    /// Its request, on its way.
    pub(super) letter: Option<(Call, Arc<Letter>)>,
    /// When its latest request left that it still waits for, or has died over.
    out: Option<u64>,
    /// An answer on its way to it, and whether a copy comes after it.
    pub(super) reply: Option<(Call, Arc<Reply>, bool)>,
    /// It has been waited for, and given up.
    pub(super) given_up: bool,
    /// The result has still to be committed.
    pub(super) uncommitted: bool,
    /// Tokens came with it.
    tokens: bool,
    /// A request on its way that nobody waits for.
    pub(super) straggler: Option<Arc<Letter>>,
    /// Records that the store has not taken, in a file, each with the epoch that it was claimed in.
    pub(super) spill: Vec<(Arc<str>, u32)>,
}

impl World {
    pub(super) fn new(authority: Authority, record: Arc<str>, workers: usize, now: u64) -> Self {
        Self {
            now,
            behind: 0,
            authority,
            row: Row { record, epoch: 1, lease: None, unanswered: None, refused: 0 },
            workers: vec![Worker::default(); workers],
            faults: 0,
            requests: 0,
            moves: 0,
            callback: None,
            without: None,
            broken: None,
        }
    }

    /// What the clock of the store and of the workers shows.
    const fn clock(&self) -> u64 {
        self.now - self.behind
    }

    pub(super) fn leased(&self) -> bool {
        self.promises(Promise::Lease) && self.row.lease.is_some_and(|(_, until)| self.clock() < until)
    }

    fn promises(&self, promise: Promise) -> bool {
        self.without != Some(promise)
    }

    pub(super) fn breaks(&mut self, what: &'static str) {
        self.broken.get_or_insert(what);
    }

    /// Does it; `None` where it cannot be done.
    pub(super) fn act(&mut self, act: Act) -> Option<()> {
        match act {
            Act::Claim(who) => self.claim(who, Told::Refresh).ok(),
            Act::Callback(who) => {
                let (text, times) = self.callback.as_mut()?;
                *times += 1;
                let text = text.clone();
                // Refused, it has come all the same.
                let _ = self.claim(who, Told::Callback(text));
                Some(())
            }
            Act::Sends(who) => self.sends(who),
            Act::NeverLeft(who) => {
                let call = self.workers[who].at.as_ref()?.phase().in_flight()?;
                self.told(who, Told::NotSent(call)).ok()
            }
            Act::Arrives(who) => self.arrives(who),
            Act::Straggles(who) => {
                let letter = self.workers[who].straggler.take()?;
                let _ = self.carried_out(&letter);
                Some(())
            }
            Act::GivesUp(who) => {
                let call = self.workers[who].at.as_ref()?.phase().in_flight()?;
                self.told(who, Told::NoAnswer(call)).ok()?;
                self.workers[who].given_up = true;
                Some(())
            }
            Act::Comes(who) => self.comes(who),
            Act::Copied(who) => {
                let (_, _, copied) = self.workers[who].reply.as_mut().filter(|(_, _, copied)| !copied)?;
                *copied = true;
                Some(())
            }
            Act::Lost(who) => self.lost(who),
            Act::Commit(who) => self.commit(who),
            Act::StoreFails(who) => self.store_fails(who),
            Act::Merge(who) => self.merge(who),
            Act::Dies(who) => {
                let gone = std::mem::take(&mut self.workers[who]);
                let straggler = gone.letter.map(|(_, letter)| letter).or(gone.straggler);
                self.workers[who] =
                    Worker { spill: gone.spill, out: gone.out, straggler, ..Worker::default() };
                Some(())
            }
            Act::Later(seconds) => {
                self.now += u64::from(seconds);
                self.moves += 1;
                Some(())
            }
            Act::Back => {
                self.behind += 3_600;
                self.moves += 1;
                Some(())
            }
        }
    }

    // ------------------------------------------------------------------------------------------------- a worker

    /// Steps 1 to 3 of the fleet protocol: judge what was read, then claim, with the intent, in one step.
    fn claim(&mut self, who: usize, told: Told) -> Result<(), Option<Error>> {
        let clock = self.clock();
        let mut memory = Memory::read(&self.row.record);
        let outcome = memory.tell(clock, told);
        outcome.broken.into_iter().for_each(|broken| self.breaks(broken));
        let effects = outcome.effects.map_err(Some)?;
        let revision = effects.store.ok_or(None)?;
        if self.promises(Promise::Intent) {
            self.write(&memory.record().clone(), self.row.refused, false);
        }
        self.row.epoch += 1;
        self.saved(&mut memory, revision);
        if let Some(call) = effects.send {
            self.row.lease = Some((who, clock + LEASE));
            if call.purpose == Purpose::Refresh {
                self.row.unanswered.get_or_insert(clock);
            }
            let worker = &mut self.workers[who];
            (worker.epoch, worker.refused) = (self.row.epoch, self.row.refused);
            worker.at = Some(memory);
        }
        Ok(())
    }

    fn saved(&mut self, memory: &mut Memory, revision: u32) {
        let outcome = memory.tell(self.clock(), Told::Saved(revision));
        outcome.broken.into_iter().for_each(|broken| self.breaks(broken));
    }

    /// Enough is left of its lease for the call, and what it has claimed is what stands there.
    pub(super) fn may_send(&self, who: usize) -> bool {
        let until = self.clock() + u64::from(POLICY.call_for);
        !self.promises(Promise::Lease)
            || self.workers[who].epoch == self.row.epoch
                && self.row.lease.is_some_and(|(holder, end)| holder == who && until <= end)
    }

    fn sends(&mut self, who: usize) -> Option<()> {
        let memory = self.workers[who].at.as_ref()?;
        let (phase, call) = (*memory.phase(), memory.phase().in_flight()?);
        let Some(letter) = memory.letter(call) else {
            self.breaks("a call whose intent is stored cannot be sent");
            return Some(());
        };
        if phase_of(&self.row.record).in_flight() != Some(call) {
            self.breaks("I1, I2: sent before its intent was stored");
        }
        let call_for = u64::from(POLICY.call_for);
        let others = self.workers.iter().enumerate().filter(|(other, _)| *other != who);
        if others.filter_map(|(_, other)| other.out).any(|left| self.now < left + call_for) {
            self.breaks("I2: two requests at a time");
        }
        if let Grant::Refreshing { sent_at, .. } = phase.grant
            && phase.held.candidates == 0
            && let Some(since) = self.row.unanswered
            && sent_at.since(Time::from_unix(since)) >= POLICY.replay_for
        {
            self.breaks("I2: sent again outside of the replay policy");
        }
        let (now, worker) = (self.now, &mut self.workers[who]);
        worker.letter = Some((call, Arc::new(letter)));
        worker.out = Some(now);
        self.requests += 1;
        Some(())
    }

    fn carried_out(&mut self, letter: &Letter) -> Option<Reply> {
        let reply = carry_out(&mut self.authority, self.now, letter);
        if reply.is_err() {
            self.breaks("a request that no authority knows");
        }
        reply.ok()
    }

    fn arrives(&mut self, who: usize) -> Option<()> {
        let (call, letter) = self.workers[who].letter.take()?;
        let reply = self.carried_out(&letter)?;
        self.workers[who].reply = Some((call, Arc::new(reply), false));
        Some(())
    }

    /// What became of a call meets the worker's session.
    fn told(&mut self, who: usize, told: Told) -> Result<(), Option<Error>> {
        let clock = self.clock();
        let refused = matches!(&told, Told::Answer(_, reply) if reply.status == 400);
        let worker = &mut self.workers[who];
        let memory = worker.at.as_mut().ok_or(None)?;
        worker.out = None;
        let outcome = memory.tell(clock, told);
        if let Ok(effects) = &outcome.effects {
            let fresh = matches!(effects.tell, Some(Tell::Linked | Tell::Refreshed(_)));
            worker.refused = if fresh { 0 } else { worker.refused + u8::from(refused) };
            worker.tokens |= fresh || effects.tell == Some(Tell::CandidateKept);
            worker.uncommitted |= effects.store.is_some();
        }
        outcome.broken.into_iter().for_each(|broken| self.breaks(broken));
        outcome.effects.map(drop).map_err(Some)
    }

    fn comes(&mut self, who: usize) -> Option<()> {
        let (call, reply, copied) = self.workers[who].reply.take()?;
        let told = self.told(who, Told::Answer(call, reply.clone()));
        let again = matches!(told, Err(Some(Error::Refused(Refused::CandidatesFull))));
        let worker = &mut self.workers[who];
        worker.given_up = false;
        // A copy comes after it; what there is no room for is handed in again.
        worker.reply = (copied || again).then_some((call, reply, again && copied));
        if !worker.uncommitted {
            self.finished(who);
        }
        Some(())
    }

    /// Request or answer is lost for good, and the worker is told so.
    fn lost(&mut self, who: usize) -> Option<()> {
        let worker = &mut self.workers[who];
        let letter = worker.letter.take().map(|(call, _)| call);
        let call = letter.or_else(|| worker.reply.take().map(|(call, _, _)| call))?;
        // One that was given up is told nothing new.
        let _ = self.told(who, Told::NoAnswer(call));
        if !self.workers[who].uncommitted {
            self.finished(who);
        }
        Some(())
    }

    /// A late answer may still come, so it is not taken from it.
    fn finished(&mut self, who: usize) {
        let worker = &mut self.workers[who];
        (worker.uncommitted, worker.tokens) = (false, false);
        if worker.reply.is_none() {
            worker.straggler = worker.letter.take().map(|(_, letter)| letter).or(worker.straggler.take());
            (worker.at, worker.given_up, worker.refused, worker.epoch) = (None, false, 0, 0);
        }
    }

    // ------------------------------------------------------------------------------------------------ the store

    /// Step 5: guarded by the epoch; who was fenced out merges.
    fn commit(&mut self, who: usize) -> Option<()> {
        let worker = &self.workers[who];
        let (epoch, tokens, refused) = (worker.epoch, worker.tokens, worker.refused);
        let mut memory = worker.at.clone()?;
        if epoch == self.row.epoch || !self.promises(Promise::Epoch) {
            self.write(&memory.record().clone(), refused, false);
            self.answered();
            let revision = memory.phase().revision;
            self.saved(&mut memory, revision);
            // A candidate that is to be sent next needs the lease still.
            let sends = memory.phase().in_flight().is_some();
            self.row.lease = sends.then_some((who, self.clock() + LEASE));
            let worker = &mut self.workers[who];
            worker.at = Some(memory);
            (worker.uncommitted, worker.tokens) = (false, false);
            if !sends {
                self.finished(who);
            }
        } else if tokens {
            if self.leased() {
                return None;
            }
            let home = memory.merged(self.clock(), &self.row.record);
            self.take_home(home)?;
            self.finished(who);
        } else {
            self.finished(who);
        }
        Some(())
    }

    /// Tokens are kept in a file; anything else is dropped with the process's memory of it, and counts as unanswered.
    fn store_fails(&mut self, who: usize) -> Option<()> {
        let worker = &mut self.workers[who];
        let memory = worker.at.take()?;
        if worker.tokens {
            worker.spill.push((memory.record().clone(), worker.epoch));
        }
        worker.reply = None;
        self.finished(who);
        Some(())
    }

    /// What is in the spill file comes home: as it is where nothing was written since, else by a merge.
    fn merge(&mut self, who: usize) -> Option<()> {
        let (file, epoch) = self.workers[who].spill.first()?.clone();
        let moved_on = (epoch != self.row.epoch).then_some(&self.row.record);
        let home = from_file(&file, self.clock(), moved_on);
        self.take_home(home)?;
        self.workers[who].spill.remove(0);
        Some(())
    }

    fn take_home(&mut self, home: Home) -> Option<()> {
        match home {
            Home::NotNow => None,
            Home::Nothing => Some(()),
            Home::Broken(what) => {
                self.breaks(what);
                Some(())
            }
            Home::Record { record, replaced } => {
                let refused = if replaced { 0 } else { self.row.refused };
                self.write(&record, refused, true);
                self.row.epoch += 1;
                self.row.lease = None;
                self.answered();
                Some(())
            }
        }
    }

    /// What stands there is answered, whatever it was; a refusal beside an answer that is still missing is none.
    fn answered(&mut self) {
        let phase = phase_of(&self.row.record);
        if let Grant::Linked | Grant::Suspect = phase.grant
            && phase.doubt.lost_since() == Time::UNSET
        {
            self.row.unanswered = None;
        }
    }

    /// A record takes the place of another.
    fn write(&mut self, record: &Arc<str>, refused: u8, home: bool) {
        let old = std::mem::replace(&mut self.row.record, record.clone());
        self.row.refused = refused;
        let held = tokens_in(record);
        if !reads_back(record) {
            return self.breaks("a record is read differently from what was written");
        }
        let overwritten = tokens_in(&old).iter().any(|token| self.is_newest(token) && !held.contains(token));
        // What no client may send any more makes room for what may be.
        if overwritten && !(home && self.is_over()) {
            self.breaks("I5: the newest token was overwritten");
        }
        if held.is_empty() && !tokens_in(&old).is_empty() {
            self.breaks("I4: token bytes were deleted");
        }
        let closed = |record: &str| match phase_of(record).grant {
            Grant::Closed { reason } => Some(reason),
            _ => None,
        };
        if let Some(reason) = closed(record).filter(|_| home || closed(&old).is_none()) {
            self.closes(reason);
        }
    }

    /// Whether it is the one that the authority issued last.
    fn is_newest(&self, token: &str) -> bool {
        matches!(self.authority.refresh_token_state(self.now, token), Some(RefreshState::Current { .. }))
    }

    /// A request has been unanswered for as long as the replay policy allows.
    fn is_over(&self) -> bool {
        let age = |since| self.clock().saturating_sub(since);
        self.row.unanswered.is_some_and(|since| age(since) >= POLICY.replay_for.into())
    }

    /// I4 and L1: see the text of [`super`].
    fn closes(&mut self, reason: Reason) {
        let (over, refused) = (self.is_over(), self.row.refused);
        let confirmed = match reason {
            Reason::Refused => refused >= POLICY.refusals,
            Reason::AnswerLost => over || refused >= POLICY.refusals,
            // Nobody is here a hundred days, nobody revokes, no user disconnects, no code is used twice.
            _ => false,
        };
        if !confirmed {
            self.breaks("I4: a grant ended on too little");
        }
        let works = |token: &String| {
            self.authority.refresh_token_state(self.now, token).is_some_and(|state| state.works())
        };
        if !over && tokens_in(&self.row.record).iter().any(works) {
            self.breaks("L1: a grant that could be kept was given up");
        }
    }
}
