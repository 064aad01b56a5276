//! The invariants of the design, each as a function over a world's log. Property tests call them, and whatever engine
//! comes later.
//!
//! They judge by what was on the wire and by what was handed out, not by the kernel's own view, wherever that says it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use evergrant::phase::{Consent, Event, Grant, Outcome, Refused, step};
use evergrant::{Call, Due, Error, Phase, Purpose, Reason, Tell, Time};

use crate::bridge::Reply;
use crate::fleet::{How, Merge};
use crate::world::{Entry, Sent, Step, World, access_in, tokens_in};

/// What a check says: what was violated, and how.
pub type Verdict = Result<(), String>;

/// A check of a log.
pub type Check = fn(&World) -> Verdict;

/// All that judge a log alone. [`l1`] lives on, and comes last.
pub const ALL: [(&str, Check); 9] = [
    ("I1", i1),
    ("I2", i2),
    ("I3", i3),
    ("I4", i4),
    ("I5", i5),
    ("I6", i6),
    ("I7", i7),
    ("I8", i8),
    ("REV-1", rev_1),
];

/// Judges a world by every invariant, and then by L1.
///
/// # Errors
/// The first that is violated, with how it came to that.
pub fn judge(world: &mut World) -> Verdict {
    for (name, check) in ALL {
        check(world).map_err(|wrong| format!("{name}: {wrong}"))?;
    }
    l1(world).map_err(|wrong| format!("L1: {wrong}"))?;
    // What L1 lived through is judged as well.
    for (name, check) in ALL {
        check(world).map_err(|wrong| format!("{name}, while it recovered: {wrong}"))?;
    }
    Ok(())
}

fn steps(world: &World) -> impl Iterator<Item = &Step> {
    world.log.iter().filter_map(|entry| if let Entry::Step(step) = entry { Some(&**step) } else { None })
}

fn merges(world: &World) -> impl Iterator<Item = &Merge> {
    world.log.iter().filter_map(|entry| if let Entry::Merge(merge) = entry { Some(&**merge) } else { None })
}

fn require(holds: bool, wrong: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(wrong()) }
}

/// No authorization code is sent twice, whatever crashes.
///
/// # Errors
/// One was.
pub fn i1(world: &World) -> Verdict {
    let mut seen = BTreeSet::new();
    for sent in world.sent(Purpose::Exchange) {
        require(seen.insert(sent.secret.clone()), || format!("a code was sent twice, again at {}", sent.at))?;
    }
    Ok(())
}

/// Never two refreshes in flight; no refresh token is sent again outside the provider's replay policy.
///
/// # Errors
/// There were, or one was.
pub fn i2(world: &World) -> Verdict {
    let policy = &world.app.provider().policy;
    // Of each process.
    let mut acts = 0;
    let mut in_flight: BTreeMap<u32, &Sent> = BTreeMap::new();
    let mut taken_over = BTreeSet::new();
    let mut lost: BTreeMap<&str, Time> = BTreeMap::new();
    // A clock that was tampered with proves nothing about intervals.
    let mut trusted = true;
    for entry in &world.log {
        match entry {
            Entry::ClockSet => trusted = false,
            Entry::Acts { process, .. } => acts = *process,
            // The other one has died, if there was one.
            Entry::Begins { .. } => {
                let gone: Vec<u32> = in_flight.keys().copied().filter(|process| *process != acts).collect();
                for process in gone {
                    // What another process has settled since is settled.
                    if let Some(sent) = in_flight.remove(&process)
                        && taken_over.insert((process, sent.call.number))
                    {
                        lost.entry(&sent.secret).or_insert(sent.decided);
                    }
                }
            }
            // A record that somebody else has written means that the lease is over, and the call with it.
            Entry::Merge(merge) if merge.after.in_flight().is_none() => {
                if let Some(sent) = in_flight.remove(&acts)
                    && taken_over.insert((acts, sent.call.number))
                {
                    lost.entry(&sent.secret).or_insert(sent.decided);
                }
                for (token, since) in brought(merge) {
                    lost.remove(token);
                    lost.extend((since != Time::UNSET).then_some((token, since)));
                }
            }
            // A value that an answer brings is issued anew, as far as anybody knows who keeps no list of old ones.
            Entry::Arrived { tokens: Some((_, refresh)), .. } => {
                lost.remove(refresh.as_str());
            }
            Entry::Died => {
                if let Some(sent) = in_flight.remove(&acts) {
                    lost.entry(&sent.secret).or_insert(sent.decided);
                }
            }
            Entry::Sent(sent) if sent.call.purpose == Purpose::Refresh => {
                // A consent that brings tokens meanwhile makes another grant; a call of another process is over with its
                // time, whether that process knows it yet or not.
                let counts = |(process, open): (&u32, &&Sent)| {
                    open.call.generation == sent.call.generation
                        && (*process == acts || sent.at < open.at + u64::from(policy.call_for))
                };
                require(!in_flight.iter().any(counts), || format!("two refreshes in flight at {}", sent.at))?;
                for (process, gone) in in_flight.iter().filter(|(process, _)| **process != acts) {
                    if taken_over.insert((*process, gone.call.number)) {
                        lost.entry(&gone.secret).or_insert(gone.decided);
                    }
                }
                if let Some(first) = lost.get(sent.secret.as_str()).filter(|_| trusted) {
                    let since = sent.decided.since(*first);
                    require(since < policy.replay_for, || {
                        format!("a token was sent again {since} s after its answer was lost, at {}", sent.at)
                    })?;
                }
                in_flight.insert(acts, sent);
            }
            Entry::Step(step) => {
                let told = step.outcome.ok().and_then(|effects| effects.tell);
                if matches!(told, Some(Tell::Refreshed(_) | Tell::Linked)) {
                    // What is held now is good; what is not held must not come back.
                    lost.retain(|token, _| !step.held.iter().any(|held| held == token));
                }
                let Some(sent) = in_flight.get(&acts).copied() else { continue };
                let answered = step.answers == Some(sent.call) && step.outcome.is_ok();
                let given_up = matches!(told, Some(Tell::AnswerLost { .. })) && step.name == "tick";
                if given_up && trusted {
                    require(step.clock.since(sent.decided) >= policy.call_for, || {
                        format!("a call was given up before its time, at {}", step.at)
                    })?;
                }
                if matches!(told, Some(Tell::AnswerLost { .. }))
                    && taken_over.insert((acts, sent.call.number))
                {
                    lost.entry(&sent.secret).or_insert(sent.decided);
                }
                if answered || given_up {
                    in_flight.remove(&acts);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The tokens that a merge brings to a record, and since when the one who brings them has no answer to each. What others
/// have lost of them meanwhile says nothing: of them and of what is stored none is known to be newer (STA-3).
fn brought(merge: &Merge) -> impl Iterator<Item = (&str, Time)> {
    let comes = |token: &&String| !merge.stored.contains(token) && merge.held.contains(token);
    let held = merge.held_before.iter().zip(merge.before.doubt.lost);
    held.filter(move |(token, _)| merge.how == How::Merged && comes(token))
        .map(|(token, since)| (token.as_str(), since))
}

/// No access token is handed out before the refresh token that came with it is durable.
///
/// # Errors
/// One was.
pub fn i3(world: &World) -> Verdict {
    let mut came_with: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &world.log {
        match entry {
            Entry::Arrived { tokens: Some((access, refresh)), .. } => {
                came_with.insert(access, refresh);
            }
            Entry::Handed { at, token, stored, .. } => {
                let stored = stored.as_deref().unwrap_or_default();
                let pair = came_with.get(token.as_str());
                let durable = access_in(stored) == *token
                    && pair.is_none_or(|refresh| tokens_in(stored).iter().any(|held| held == refresh));
                require(durable, || {
                    format!("an access token was handed out at {at} that no record holds whole")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn refusals(reply: &Reply) -> bool {
    reply.status == 400 && String::from_utf8_lossy(&reply.body).contains("invalid_grant")
}

type Newest = (Time, Option<u64>, Option<u64>);

/// What the log says for an end, as far as the process that judges can know it.
#[derive(Clone, Default)]
struct Known {
    refused: u32,
    first_lost: Option<Time>,
    signs: bool,
    revoked: bool,
    /// When the request left that brought the newest tokens, and their lifetimes as told.
    good: Option<Newest>,
}

#[derive(Default)]
struct Evidence {
    known: Known,
    /// What a process that dies leaves to the next one.
    durable: Known,
    /// What the processes know that do not act.
    others: BTreeMap<u32, Known>,
    acts: u32,
    sent: HashMap<Call, Time>,
    distrusted: bool,
}

impl Evidence {
    /// What the record tells. What was in flight when it was written counts as sent and unanswered.
    fn read(&self) -> Known {
        let mut known = self.durable.clone();
        known.first_lost = known.first_lost.or(self.sent.values().copied().max());
        known
    }

    fn switch(&mut self, process: u32) {
        if process == self.acts {
            return;
        }
        // One that is new brings home what another had read.
        let next = self.others.remove(&process).unwrap_or_else(|| self.read());
        let gone = std::mem::replace(&mut self.known, next);
        self.others.insert(self.acts, gone);
        self.acts = process;
    }

    fn merged(&mut self, merge: &Merge) {
        if merge.outcome.is_err() || merge.how == How::Adopted && merge.after == merge.before {
            return;
        }
        let next = self.read();
        let ours = std::mem::replace(&mut self.known, next);
        if merge.how == How::Merged {
            let known = &mut self.known;
            known.first_lost = match (known.first_lost, ours.first_lost) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            known.refused = known.refused.max(ours.refused);
            known.signs |= ours.signs;
            known.revoked |= ours.revoked;
            if merge.held.first() != merge.stored.first() {
                known.good = ours.good;
            }
        }
    }
}

/// A grant ends only on a confirmed verdict, by the clock, or by the user. No error path deletes token bytes.
///
/// # Errors
/// It ended on less, or bytes were deleted.
pub fn i4(world: &World) -> Verdict {
    let policy = &world.app.provider().policy;
    let mut evidence = Evidence::default();
    let mut last: Option<&Reply> = None;
    for entry in &world.log {
        match entry {
            Entry::ClockSet => evidence.distrusted = true,
            Entry::Died => evidence.known = evidence.read(),
            Entry::Begins { process } => {
                let known = evidence.read();
                evidence.others.insert(*process, known);
            }
            Entry::Acts { process, .. } => evidence.switch(*process),
            Entry::Merge(merge) => evidence.merged(merge),
            Entry::Sent(sent) => {
                evidence.sent.insert(sent.call, sent.clock);
            }
            Entry::Arrived { reply, .. } => last = Some(reply),
            Entry::Stored { .. } => evidence.durable = evidence.known.clone(),
            Entry::Step(step) => {
                collect(&mut evidence, step, last.take());
                let (known, trusted) = (&evidence.known, !evidence.distrusted);
                bytes_are_kept(step)?;
                let ended = match (step.before.grant, step.after.grant) {
                    (Grant::Closed { reason, .. }, Grant::Closed { reason: now, .. }) if reason == now => {
                        None
                    }
                    (_, Grant::Closed { reason, .. }) => Some(reason),
                    _ => None,
                };
                let Some(reason) = ended else { continue };
                // A token whose answer was lost may not be sent any more.
                let over = known.first_lost.is_some_and(|at| step.clock.since(at) >= policy.replay_for);
                let enough = match reason {
                    Reason::Expired | Reason::HardEnd => !trusted || by_the_clock(known, step, reason),
                    Reason::Refused => known.refused >= u32::from(policy.refusals),
                    Reason::Disconnected | Reason::Poisoned => {
                        known.signs && (known.refused >= 2 || known.refused == 1 && (over || !trusted))
                    }
                    Reason::AnswerLost => known.refused >= u32::from(policy.refusals) || !trusted || over,
                    Reason::Revoked | Reason::RevokeUnanswered => known.revoked,
                };
                require(enough, || format!("the grant ended at {} ({reason}) on too little", step.at))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn collect(evidence: &mut Evidence, step: &Step, reply: Option<&Reply>) {
    let Evidence { known, sent: sent_at, .. } = evidence;
    let told = step.outcome.ok().and_then(|effects| effects.tell);
    if step.outcome.is_ok() && reply.is_some_and(refusals) {
        known.refused += 1;
    }
    if matches!(told, Some(Tell::AnswerLost { .. } | Tell::ExchangeLost)) {
        let sent = step.answers.or(step.before.in_flight()).and_then(|call| sent_at.get(&call));
        known.first_lost = known.first_lost.or(sent.copied());
    }
    if matches!(told, Some(Tell::Linked | Tell::Refreshed(_))) {
        known.refused = 0;
        known.first_lost = None;
        known.signs = false;
        let number = |name| reply.and_then(|reply| reply.number(name));
        let sent = step.answers.and_then(|call| sent_at.get(&call)).copied().unwrap_or(step.clock);
        known.good =
            Some((sent, number("x_refresh_token_expires_in"), number("x_refresh_token_hard_expires_in")));
    }
    if matches!(step.name, "api" | "disconnected") && step.outcome.is_ok()
        || matches!(told, Some(Tell::Poisoned))
        || matches!(step.before.consent, Consent::Over { refused: true, .. })
    {
        known.signs = true;
    }
    known.revoked |= step.name == "revoke" && step.outcome.is_ok();
}

/// Judged by the answer that brought the newest tokens, and not by what the session made of it.
fn by_the_clock(known: &Known, step: &Step, reason: Reason) -> bool {
    let Some((sent, rolling, hard)) = known.good else { return false };
    let told = if reason == Reason::Expired { rolling } else { hard };
    // An answer that did not say leaves the session's own default, which other tests judge.
    told.is_none_or(|seconds| u64::from(step.clock.since(sent)) >= seconds)
}

fn bytes_are_kept(step: &Step) -> Verdict {
    let wiped =
        matches!(step.after.grant, Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. });
    let there_were = !matches!(step.before.grant, Grant::Unlinked);
    require(!there_were || wiped || !step.held.is_empty(), || {
        format!("{} at {} deleted the refresh token", step.name, step.at)
    })
}

/// The newest token is never overwritten by an older one; a token that arrived is never dropped.
///
/// A refresh token that arrived is, right after, held by the session that it came to, current or as a candidate; or it was
/// held before and a newer answer has replaced it. An answer with any other is excused where
///
/// - a consent has brought tokens since its call was sent: they replaced that grant whole (SCO-4; `Late`),
/// - it answers an exchange that was given up, and the user was asked anew since: that consent brings its own (`Late`),
/// - the app has given the grant up (REF-6; `Late`, `BeingRevoked`, `Ended`),
/// - it is refused with `CandidatesFull` or `ClockUnset`: then it is handed in again, and judged again.
///
/// A token that is held goes away by a newer answer, by the app's own end of the grant, or with a process that dies before
/// it is durable; in a fleet also by reading a record whose store has seen it, or which is of another grant.
///
/// # Errors
/// It was.
pub fn i5(world: &World) -> Verdict {
    let mut tokens = Tokens::default();
    let mut arrived: Option<(&Call, &str)> = None;
    for entry in &world.log {
        match entry {
            Entry::Arrived { call, tokens: Some((_, refresh)), .. } => arrived = Some((call, refresh)),
            Entry::Arrived { .. } => arrived = None,
            Entry::Acts { process, held } => {
                tokens.acts = *process;
                tokens.of.insert(*process, held.clone());
            }
            Entry::Died => {
                tokens.of.remove(&tokens.acts);
            }
            Entry::Stored { held, .. } => tokens.stored.extend(held.iter().cloned()),
            Entry::Spilled { held } => tokens.spilled.extend(held.iter().cloned()),
            Entry::Step(step) => {
                if let Some((call, refresh)) = arrived.take() {
                    require(tokens.has_a_place(step, call, refresh), || {
                        format!("a token that arrived at {} was dropped ({:?})", step.at, step.outcome)
                    })?;
                }
                tokens.step(step)?;
            }
            Entry::Merge(merge) => tokens.merge(merge)?,
            _ => {}
        }
    }
    Ok(())
}

/// Where refresh tokens are, and have been.
#[derive(Default)]
struct Tokens {
    acts: u32,
    /// Held by each process.
    of: BTreeMap<u32, Vec<String>>,
    /// Held by one of them at some time.
    been: BTreeSet<String>,
    /// Seen by the store.
    stored: BTreeSet<String>,
    /// Kept elsewhere, to be brought home.
    spilled: BTreeSet<String>,
}

impl Tokens {
    fn has_a_place(&self, step: &Step, call: &Call, refresh: &str) -> bool {
        if step.held.iter().any(|held| held == refresh) || self.been.contains(refresh) {
            return true;
        }
        let replaced = call.generation != step.after.generation;
        let superseded = call.purpose == Purpose::Exchange
            && !matches!(step.before.consent, Consent::Over { call: number, .. } if number == call.number);
        let again =
            matches!(step.outcome, Err(Error::Refused(Refused::CandidatesFull | Refused::ClockUnset)));
        replaced || superseded || again || by_the_app(&step.after)
    }

    fn step(&mut self, step: &Step) -> Verdict {
        let told = step.outcome.ok().and_then(|effects| effects.tell);
        let before = self.of.insert(self.acts, step.held.clone()).unwrap_or_default();
        self.been.extend(step.held.iter().cloned());
        let replaced = matches!(told, Some(Tell::Linked | Tell::Refreshed(_))) || by_the_app(&step.after);
        let gone = before.iter().find(|token| !step.held.contains(token));
        require(replaced || gone.is_none(), || format!("{} at {} dropped a token", step.name, step.at))
    }

    fn merge(&mut self, merge: &Merge) -> Verdict {
        self.of.insert(self.acts, merge.held.clone());
        let other_grant = merge.theirs.generation > merge.before.generation;
        let excused = other_grant || by_the_app(&merge.before) || by_the_app(&merge.theirs);
        let waits = |token: &String| merge.how == How::Loaded && self.spilled.contains(token);
        let lost =
            |token: &&String| !merge.held.contains(token) && !self.stored.contains(*token) && !waits(token);
        let gone = merge.held_before.iter().find(lost);
        require(excused || gone.is_none(), || {
            format!("{:?} at {} dropped a token that no store has seen", merge.how, merge.at)
        })?;
        // What the record held may not be sent any more, or is of an older grant.
        let told = merge.outcome.as_ref().ok().and_then(|effects| effects.tell);
        let replaced = matches!(told, Some(Tell::Refreshed(_)))
            || merge.before.generation > merge.theirs.generation
            || by_the_app(&merge.after);
        let theirs = merge.stored.iter().find(|token| !merge.held.contains(token));
        require(merge.outcome.is_err() || replaced || merge.after == merge.before || theirs.is_none(), || {
            format!("{:?} at {} dropped a token of the record", merge.how, merge.at)
        })
    }
}

/// The app has ended the grant, or is about to.
fn by_the_app(phase: &Phase) -> bool {
    matches!(
        phase.grant,
        Grant::Revoking { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. }
    )
}

/// No secret is ever rendered.
///
/// # Errors
/// One was.
pub fn i6(world: &World) -> Verdict {
    for step in steps(world) {
        require(step.leaked.is_none(), || format!("{} at {} rendered a secret", step.name, step.at))?;
    }
    for merge in merges(world) {
        require(merge.leaked.is_none(), || format!("{:?} at {} rendered a secret", merge.how, merge.at))?;
    }
    Ok(())
}

/// A refused input leaves the session bit for bit as it was.
///
/// # Errors
/// It did not.
pub fn i7(world: &World) -> Verdict {
    for step in steps(world) {
        require(!step.impure, || format!("{} at {} was refused and changed something", step.name, step.at))?;
    }
    for merge in merges(world) {
        require(!merge.impure, || {
            format!("{:?} at {} was refused and changed something", merge.how, merge.at)
        })?;
    }
    Ok(())
}

/// Whom the app has given up is given up in what it is merged with, unless a consent has come since (REV-1).
///
/// # Errors
/// A revocation was forgotten.
pub fn rev_1(world: &World) -> Verdict {
    for merge in merges(world).filter(|merge| merge.how == How::Merged && merge.outcome.is_ok()) {
        let holds = !by_the_app(&merge.before) || merge.theirs.generation > merge.before.generation;
        require(holds || by_the_app(&merge.after), || {
            format!("a merge at {} forgot a revocation", merge.at)
        })?;
    }
    Ok(())
}

/// From every phase something is due or someone is named; and what is due moves the phase.
///
/// # Errors
/// A dead end, or a busy loop.
pub fn i8(world: &World) -> Verdict {
    let policy = &world.app.provider().policy;
    for entry in &world.log {
        if let Entry::BusyLoop(phase) = entry {
            return Err(format!("woken, and nothing came of it: {phase:?}"));
        }
    }
    for taken in steps(world).filter(|step| step.clock.is_set()) {
        leads_on(policy, &taken.after, taken.clock).map_err(|wrong| format!("{wrong} at {}", taken.at))?;
    }
    for taken in merges(world).filter(|merge| merge.clock.is_set()) {
        leads_on(policy, &taken.after, taken.clock).map_err(|wrong| format!("{wrong} at {}", taken.at))?;
    }
    Ok(())
}

/// Whether a phase leads on: by its deadline, which moves it, or by a consent, which may be asked for.
///
/// # Errors
/// It is a dead end.
pub fn leads_on(policy: &evergrant::Policy, phase: &Phase, now: Time) -> Verdict {
    match phase.due(policy) {
        Due::Store => Ok(()),
        Due::Consent => step(policy, phase, now, Event::Ask)
            .map(drop)
            .map_err(|refused| format!("the user is named, and may not be asked: {refused:?} in {phase:?}")),
        Due::Tick(at) => {
            let then = at.max(Time::EARLIEST);
            let moved = step(policy, phase, then, Event::Tick);
            let moves = moved.is_ok_and(|step| step.phase != *phase);
            require(moves, || format!("due at {}, and nothing happens then: {phase:?}", at.unix()))
        }
    }
}

/// If store and authority both work at some moment while a token that is held could still be used, the grant survives.
///
/// How that is decided: everything is mended, the clock too; each process wakes up, reads what is stored and stores what it
/// has, and what was spilled comes home. If then a refresh token that is held works at the
/// authority, the grant was not closed, nothing is being revoked, and the provider's replay policy still allows it to be
/// sent, then within two days a demand is served with an access token that the API takes.
///
/// # Errors
/// The grant was lost.
pub fn l1(world: &mut World) -> Verdict {
    world.set_clock(crate::world::Clock::Right);
    world.outage = None;
    world.faults.clear();
    world.store.fail = 0;
    world.dies_in = None;
    // What is under way comes to its end first; and what a wrong clock has put off (it may be a day) comes up.
    let lied = world.log.iter().rev().skip(1).any(|entry| matches!(entry, Entry::ClockSet));
    world.muster();
    world.live(if lied { 90_000 } else { 120 });
    world.muster();
    let at_stake = world.session.phase().usable().is_some() && world.could_live() && may_be_sent(world);
    if !at_stake {
        return Ok(());
    }
    for _ in 0..8 {
        if let Some(token) = world.demand()
            && world.intuit.access_token_works(world.time, &token)
        {
            return Ok(());
        }
        // A token that the clock still calls good may have been ended by the authority: the API tells.
        let _ = world.call_api();
        world.live(6 * crate::world::HOUR);
    }
    if world.could_live() && may_be_sent(world) || world.session.phase().usable().is_none() {
        let phase = world.session.phase();
        return Err(format!("a token works, and the grant is lost: {phase:?}"));
    }
    Ok(())
}

fn may_be_sent(world: &World) -> bool {
    let policy = &world.app.provider().policy;
    let phase = world.session.phase();
    // Of each that is held, for it is not looked up which of them it is that works. With an hour to spare, so that the
    // verdict does not hang on the last second.
    let in_time = |since: Time| world.now().since(since).saturating_add(3_600) < policy.replay_for;
    phase.usable().is_some() && phase.doubt.lost.iter().all(|since| *since == Time::UNSET || in_time(*since))
}

/// The four classes of what can become of a request, for tests that walk through all of them.
pub const NO_VERDICT: [Outcome; 3] =
    [Outcome::NotSent, Outcome::NoAnswer, Outcome::NoVerdict { retry_after: 0 }];
