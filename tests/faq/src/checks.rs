//! The invariants of the design, each as a function over a world's log. Property tests call them, and whatever engine
//! comes later.
//!
//! They judge by what was on the wire and by what was handed out, not by the kernel's own view, wherever that says it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use evergrant::phase::{Consent, Event, Grant, Outcome, Refused, step};
use evergrant::{Call, Due, Error, Phase, Purpose, Reason, Tell, Time};

use crate::bridge::Reply;
use crate::world::{Entry, Sent, Step, World, access_in, tokens_in};

/// What a check says: what was violated, and how.
pub type Verdict = Result<(), String>;

/// A check of a log.
pub type Check = fn(&World) -> Verdict;

/// All that judge a log alone. [`l1`] lives on, and comes last.
pub const ALL: [(&str, Check); 8] =
    [("I1", i1), ("I2", i2), ("I3", i3), ("I4", i4), ("I5", i5), ("I6", i6), ("I7", i7), ("I8", i8)];

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
    let mut open: Option<&Sent> = None;
    let mut lost: BTreeMap<&str, Time> = BTreeMap::new();
    // A clock that was tampered with proves nothing about intervals.
    let mut trusted = true;
    for entry in &world.log {
        match entry {
            Entry::ClockSet => trusted = false,
            Entry::Died => {
                if let Some(sent) = open.take() {
                    lost.entry(&sent.secret).or_insert(sent.clock);
                }
            }
            Entry::Sent(sent) if sent.call.purpose == Purpose::Refresh => {
                // A consent that brings tokens meanwhile makes another grant.
                let same_grant = |open: &Sent| open.call.generation == sent.call.generation;
                require(!open.is_some_and(same_grant), || format!("two refreshes in flight at {}", sent.at))?;
                if let Some(first) = lost.get(sent.secret.as_str()).filter(|_| trusted) {
                    let since = sent.clock.since(*first);
                    require(since < policy.replay_for, || {
                        format!("a token was sent again {since} s after its answer was lost, at {}", sent.at)
                    })?;
                }
                open = Some(sent);
            }
            Entry::Step(step) => {
                let told = step.outcome.ok().and_then(|effects| effects.tell);
                if matches!(told, Some(Tell::Refreshed(_) | Tell::Linked)) {
                    lost.clear();
                }
                let Some(sent) = open else { continue };
                let answered = step.answers == Some(sent.call) && step.outcome.is_ok();
                let given_up = matches!(told, Some(Tell::AnswerLost { .. })) && step.name == "tick";
                if given_up && trusted {
                    require(step.clock.since(sent.clock) >= policy.call_for, || {
                        format!("a call was given up before its time, at {}", step.at)
                    })?;
                }
                if matches!(told, Some(Tell::AnswerLost { .. })) {
                    lost.entry(&sent.secret).or_insert(sent.clock);
                }
                if answered || given_up {
                    open = None;
                }
            }
            _ => {}
        }
    }
    Ok(())
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

struct Evidence {
    known: Known,
    /// What a process that dies leaves to the next one.
    durable: Known,
    sent: HashMap<Call, Time>,
    trusted: bool,
}

/// A grant ends only on a confirmed verdict, by the clock, or by the user. No error path deletes token bytes.
///
/// # Errors
/// It ended on less, or bytes were deleted.
pub fn i4(world: &World) -> Verdict {
    let policy = &world.app.provider().policy;
    let mut evidence =
        Evidence { known: Known::default(), durable: Known::default(), sent: HashMap::new(), trusted: true };
    let mut last: Option<&Reply> = None;
    for entry in &world.log {
        match entry {
            Entry::ClockSet => evidence.trusted = false,
            Entry::Died => {
                let latest = evidence.sent.values().copied().max();
                evidence.known = evidence.durable.clone();
                evidence.known.first_lost = evidence.known.first_lost.or(latest);
            }
            Entry::Sent(sent) => {
                evidence.sent.insert(sent.call, sent.clock);
            }
            Entry::Arrived { reply, .. } => last = Some(reply),
            Entry::Stored { .. } => evidence.durable = evidence.known.clone(),
            Entry::Step(step) => {
                collect(&mut evidence, step, last.take());
                let Evidence { known, trusted, .. } = &evidence;
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
/// # Errors
/// It was.
pub fn i5(world: &World) -> Verdict {
    let mut arrived: Option<(&Call, &str)> = None;
    // Whatever an answer brings in this generation must still be there, until a newer answer settles it.
    let mut newest: Option<(u32, String)> = None;
    for entry in &world.log {
        match entry {
            Entry::Arrived { call, tokens: Some((_, refresh)), .. } => arrived = Some((call, refresh)),
            // What was not durable dies with the process.
            Entry::Died => newest = None,
            Entry::Step(step) => {
                let told = step.outcome.ok().and_then(|effects| effects.tell);
                if let Some((call, refresh)) = arrived.take() {
                    require(is_kept(step, call, refresh), || {
                        format!("a token that arrived at {} was dropped ({:?})", step.at, step.outcome)
                    })?;
                    if matches!(told, Some(Tell::Linked | Tell::Refreshed(_))) {
                        newest = Some((step.after.generation, refresh.into()));
                    }
                }
                if let Some((generation, token)) = &newest
                    && step.after.generation == *generation
                    && !matches!(
                        step.after.grant,
                        Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. }
                    )
                {
                    require(step.held.contains(token), || {
                        format!("the newest token is gone at {}", step.at)
                    })?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a token that arrived may rightly not be held: the user or a new consent has put an end to its grant, it is one
/// that a refresh has replaced already, or the caller was told to hand it in again.
fn is_kept(step: &Step, call: &Call, refresh: &str) -> bool {
    if step.held.iter().any(|held| held == refresh) {
        return true;
    }
    let replaced = call.generation != step.after.generation;
    // An exchange that was superseded by a new consent request: that consent brings a grant of its own.
    let superseded = call.purpose == Purpose::Exchange
        && !matches!(step.before.consent, Consent::Over { call: number, .. } if number == call.number);
    let revoked = matches!(
        step.after.grant,
        Grant::Revoking { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. }
    );
    // The caller was told what is missing, and hands the answer in again then.
    let not_now = matches!(step.outcome, Err(Error::Refused(Refused::CandidatesFull | Refused::ClockUnset)));
    // It was answered before: this very value has been here, and a newer one has taken its place.
    let answered = step.outcome == Err(Error::Refused(Refused::Late)) && step.before.calls >= call.number;
    replaced || superseded || revoked || not_now || answered && was_here(step)
}

fn was_here(step: &Step) -> bool {
    // A late duplicate brings the value that is held, or an older one; the kernel says `Late` to nothing else in the
    // generation at hand.
    !step.held.is_empty()
}

/// No secret is ever rendered.
///
/// # Errors
/// One was.
pub fn i6(world: &World) -> Verdict {
    for step in steps(world) {
        require(step.leaked.is_none(), || format!("{} at {} rendered a secret", step.name, step.at))?;
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
/// How that is decided: everything is mended, the clock too. If then a refresh token that is held works at the
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
    world.live(if lied { 90_000 } else { 120 });
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
