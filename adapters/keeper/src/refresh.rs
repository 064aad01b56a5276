//! One refresh, from reading the row to handing out what came: the fleet protocol, in the order that keeps a grant alive.
//!
//! Read; let the session decide; take the row's lease with the intent in one durable write; send; commit under the lease's epoch; only
//! then hand anything out. Whoever does not get the lease waits with a deadline and reads again (REF-2, REF-3). Nothing here can be
//! cancelled by a caller: it runs in a task of its own.

use std::time::Duration;

use evergrant::answer::Answer;
use evergrant::api::Meaning;
use evergrant::phase::Grant as State;
use evergrant::{Call, Effects, Input, MergeError, Purpose, Reason, Received, Refused, Session, Tell, Time};
use evergrant_vault::{Claim, Commit, Due, Lease, Loaded, Name, Record, Spilled, Then};
use evergrant_wire::{Failure, Reply};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::gate::Permit;
use crate::inner::{Flight, Grant, Inner, Outcome, parse};
use crate::limit::Load;
use crate::memory::{Age, TokenId};
use crate::schedule;
use crate::telemetry;
use crate::word::{self, Intent};

/// The first pause between two tries to write, in milliseconds; each further one is twice as long.
const PAUSE_FIRST: u32 = 50;
const PAUSE_MOST: u32 = 30_000;

/// Why a grant is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody waits for a token.
    Demand,
    /// The token in memory comes near its end.
    Ahead,
    /// The row is due.
    Due,
    /// The API answered this token with a 401.
    Rejected(TokenId),
    /// The app gives it up (REV-1).
    Revoke,
    /// The disconnect redirect came (REV-2).
    Disconnected,
}

impl Kind {
    pub(crate) const fn is_waited_for(self) -> bool {
        matches!(self, Self::Demand | Self::Rejected(_))
    }
}

/// How the intent was taken in.
pub(crate) enum Begun {
    Claimed(Lease),
    Held { until: u64 },
    MovedOn,
}

/// Sees a grant through until there is a token to hand out, or a reason why not.
pub(crate) async fn run(
    inner: &Inner,
    realm: &str,
    kind: Kind,
    due: Option<Due>,
    flight: &Flight,
) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(inner.options.patience_seconds.into());
    let name = inner.name(realm)?;
    let (mut lease, mut loaded) = match due {
        Some(Due { lease, row }) => (Some(lease), Some(row?)),
        None => (None, inner.store.load(&name).await?),
    };
    loop {
        let Some(row) = loaded.take() else { return Err(Error::NotConnected) };
        let mut grant = Grant::of(inner, &row)?;
        let step = attempt(inner, realm, &name, kind, &mut grant, lease.take(), flight).await;
        let wait_until = match step {
            Ok(Step::Token(token)) => return Ok(token),
            Ok(Step::Again) => inner.now(),
            Ok(Step::Lease { until }) if Instant::now() >= deadline => return Err(Error::Busy { until }),
            Ok(Step::Lease { .. }) => {
                inner.pause(100).await;
                inner.now()
            }
            Err(Error::NotNow { retry_at }) if kind.is_waited_for() => {
                let seconds = retry_at.since(inner.now());
                if Instant::now() + Duration::from_secs(seconds.into()) > deadline {
                    return Err(Error::NotNow { retry_at });
                }
                retry_at
            }
            Err(error) => return Err(error),
        };
        let seconds = wait_until.since(inner.now());
        if inner.is_closing() || seconds > 0 && !inner.sleep(seconds).await {
            return Err(Error::ShuttingDown);
        }
        loaded = inner.store.load(&name).await?;
        let is_due = |row: &Loaded| row.due_at.is_some_and(|at| at <= inner.now().unix());
        if kind == Kind::Due && !loaded.as_ref().is_some_and(is_due) {
            return Err(Error::NotNow { retry_at: inner.now() });
        }
    }
}

/// What came of one attempt.
enum Step {
    Token(crate::AccessToken),
    /// The record moved on: read it.
    Again,
    /// Somebody else holds the lease.
    Lease {
        until: Time,
    },
}

async fn attempt(
    inner: &Inner,
    realm: &str,
    name: &Name,
    kind: Kind,
    grant: &mut Grant,
    lease: Option<Lease>,
    flight: &Flight,
) -> Result<Step, Error> {
    // REF-3: what another process has brought meanwhile is as good as what would be brought here.
    if let Some(token) = fresh(inner, realm, kind, grant) {
        give_back(inner, lease).await;
        return Ok(Step::Token(token));
    }
    let policy = &inner.app.provider().policy;
    if kind == Kind::Due && only_warns(inner, realm, grant) {
        set_aside(inner, realm, grant, lease).await;
        return alive(inner, kind, grant).map(Step::Token).ok_or(ended(&grant.session, inner.now()));
    }
    let urgency = schedule::urgency(policy, grant.session.phase(), inner.now(), kind.is_waited_for());
    let permit = inner.gate.enter(urgency).await;
    // What is under way is finished, and nothing new begun.
    if inner.is_closing() {
        give_back(inner, lease).await;
        return Err(Error::ShuttingDown);
    }
    // Its token's end, or sooner the last moment at which the token may be sent again.
    let end = schedule::ends_at(policy, grant.session.phase()).unwrap_or(Time::from_unix(u64::MAX));
    let sends = kind != Kind::Revoke && schedule::may_ask(grant.session.phase(), inner.now());
    if sends && let Err(probe_at) = inner.fleet.may_send(inner, realm, end).await {
        give_back(inner, lease).await;
        return alive(inner, kind, grant).map(Step::Token).ok_or(Error::Held { probe_at });
    }
    let effects = match decide(inner, kind, grant) {
        Ok(effects) => effects,
        Err(error) => {
            let error = Error::from(error);
            set_aside(inner, realm, grant, lease).await;
            return alive(inner, kind, grant).map(Step::Token).ok_or(error);
        }
    };
    if effects.store.is_none() {
        set_aside(inner, realm, grant, lease).await;
        return alive(inner, kind, grant).map(Step::Token).ok_or(ended(&grant.session, inner.now()));
    }
    let lease = match (intend(inner, realm, name, grant, lease).await, effects.send) {
        (Ok(Begun::Claimed(lease)), _) => lease,
        (Ok(Begun::Held { until }), _) => return Ok(Step::Lease { until: Time::from_unix(until) }),
        (Ok(Begun::MovedOn), _) => return Ok(Step::Again),
        (Err(error @ Error::Store(_)), Some(call)) if call.purpose == Purpose::Refresh => {
            drop(permit);
            take_back(inner, realm, name, grant, call, error, flight).await?;
            return Ok(Step::Again);
        }
        (Err(error), _) => return Err(error),
    };
    if !carry_out(inner, realm, grant, lease, effects, permit, flight).await? {
        return Ok(Step::Again);
    }
    // Only now, as it is durable (I3).
    let written = grant.generation.unwrap_or_default();
    let token = inner.publish(realm, &grant.session, written);
    token.map(Step::Token).ok_or(ended(&grant.session, inner.now()))
}

/// A token that will do, without a refresh.
fn fresh(inner: &Inner, realm: &str, kind: Kind, grant: &Grant) -> Option<crate::AccessToken> {
    let token = inner.token(&grant.session)?;
    let age = inner.memory.age(realm, &token, inner.now());
    let will_do = match kind {
        Kind::Demand => matches!(age, Age::Fresh | Age::Ahead),
        Kind::Ahead => age == Age::Fresh,
        Kind::Rejected(id) => token.id() != id && matches!(age, Age::Fresh | Age::Ahead),
        Kind::Due | Kind::Revoke | Kind::Disconnected => false,
    };
    will_do.then(|| inner.publish(realm, &grant.session, grant.generation.unwrap_or_default())).flatten()
}

/// The row came up so that somebody is warned, and for nothing else.
fn only_warns(inner: &Inner, realm: &str, grant: &Grant) -> bool {
    let (policy, phase, now) = (&inner.app.provider().policy, grant.session.phase(), inner.now());
    let seed = inner.memory.seed(realm);
    grant.due_at.is_some_and(|due_at| schedule::only_warns(policy, phase, due_at, now, seed))
}

/// A token that is near its end and works: better than none.
fn alive(inner: &Inner, kind: Kind, grant: &Grant) -> Option<crate::AccessToken> {
    let serves = !matches!(kind, Kind::Revoke | Kind::Disconnected);
    inner.token(&grant.session).filter(|token| serves && kind != Kind::Rejected(token.id()))
}

fn decide(inner: &Inner, kind: Kind, grant: &mut Grant) -> Result<Effects, evergrant::Error> {
    let now = inner.now();
    let (app, session) = (&inner.app, &mut grant.session);
    match kind {
        Kind::Demand => session.handle(app, now, Input::Demand),
        Kind::Ahead => session.handle(app, now, Input::Refresh),
        Kind::Revoke => session.handle(app, now, Input::Revoke),
        Kind::Disconnected => session.handle(app, now, Input::Disconnected),
        Kind::Rejected(TokenId { generation, serial }) => {
            if session.phase().generation != generation {
                return session.handle(app, now, Input::Demand);
            }
            let input = Input::Api { serial, meaning: Meaning::TokenExpired };
            match session.handle(app, now, input) {
                // A late 401 of a token that was replaced since: nothing is wrong with the new one.
                Err(evergrant::Error::Refused(Refused::OtherToken)) => {
                    session.handle(app, now, Input::Demand)
                }
                other => other,
            }
        }
        Kind::Due => {
            let effects = session.handle(app, now, Input::Tick)?;
            // The row comes up before the core's own moment, so that moments are spread: then this is the renewal (DUR-8).
            let idle = effects.store.is_none() && session.phase().usable().is_some();
            if idle { session.handle(app, now, Input::Refresh) } else { Ok(effects) }
        }
    }
}

/// Why there is no token, by where the session stands.
fn ended(session: &Session, now: Time) -> Error {
    match &session.phase().grant {
        State::Unlinked => Error::NotConnected,
        State::Closed { reason, .. } => Error::ConsentNeeded { reason: *reason },
        State::Revoking { .. } | State::Unrevoked { .. } => Error::BeingRevoked,
        State::Linked | State::Refreshing { .. } | State::Uncertain | State::Suspect => {
            Error::NotNow { retry_at: session.phase().doubt.not_before.max(now.plus(1)) }
        }
    }
}

async fn give_back(inner: &Inner, lease: Option<Lease>) {
    if let Some(lease) = lease {
        // Where it cannot be given back it runs out.
        let _ = inner.store.release(&lease).await;
    }
}

/// A row that came up and needs nothing now: its next moment is written, or it would come up again at once.
async fn set_aside(inner: &Inner, realm: &str, grant: &Grant, lease: Option<Lease>) {
    let Some(lease) = lease else { return };
    inner.warn(realm, &grant.session);
    let Ok(bytes) = inner.bytes(&grant.session) else { return give_back(inner, Some(lease)).await };
    let write = inner.write(realm, &grant.session, &bytes);
    let _ = inner.store.commit(inner.now().unix(), &lease, write, Then::Release).await;
}

/// The intent becomes durable, and with it the lease ours. Nothing is sent before (I1, I2).
pub(crate) async fn intend(
    inner: &Inner,
    realm: &str,
    name: &Name,
    grant: &mut Grant,
    lease: Option<Lease>,
) -> Result<Begun, Error> {
    let bytes = inner.bytes(&grant.session)?;
    let write = inner.write(realm, &grant.session, &bytes);
    let (now, seconds) = (inner.now().unix(), inner.options.lease_seconds);
    if let Some(lease) = lease {
        return match inner.store.commit(now, &lease, write, Then::Hold { seconds }).await? {
            Commit::Committed { generation } => {
                grant.generation = Some(generation);
                grant.lease_until = Time::from_unix(now).plus(seconds);
                Ok(Begun::Claimed(lease))
            }
            Commit::FencedOut(_) => Ok(Begun::MovedOn),
        };
    }
    Ok(match inner.store.claim(now, name, grant.generation, seconds, write).await? {
        Claim::Claimed(lease) => {
            // A claim's number is that of its write and of its epoch.
            grant.generation = Some(lease.epoch());
            grant.lease_until = Time::from_unix(lease.until());
            Begun::Claimed(lease)
        }
        Claim::Held { until } => Begun::Held { until },
        Claim::MovedOn(_) => Begun::MovedOn,
    })
}

/// The intent is durable and the lease is held: send, and commit what comes of it. `false` where another process had taken the row
/// over, and what came was merged into its record.
pub(crate) async fn carry_out(
    inner: &Inner,
    realm: &str,
    grant: &mut Grant,
    lease: Lease,
    effects: Effects,
    mut permit: Permit,
    flight: &Flight,
) -> Result<bool, Error> {
    saved(inner, grant, effects)?;
    telemetry::told(realm, effects.tell.as_ref());
    let mut send = effects.send;
    if send.is_none() {
        give_back(inner, Some(lease)).await;
        return Ok(true);
    }
    while let Some(call) = send {
        let (effects, came) = match send_call(inner, realm, grant, call).await? {
            Some(reply) => {
                permit.saw(load_of(&reply));
                let effects = take_answer(inner, realm, grant, call, &reply).await?;
                (effects, Came::of(call, effects, reply.received()))
            }
            None => {
                let input = Input::Answer(call, Received::NotSent);
                (
                    grant.session.handle(&inner.app, inner.now(), input)?,
                    Came::of(call, Effects::default(), Received::NotSent),
                )
            }
        };
        telemetry::told(realm, effects.tell.as_ref());
        send = effects.send;
        let then = match send {
            Some(_) => Then::Hold { seconds: inner.options.lease_seconds },
            None => Then::Release,
        };
        let before = inner.now();
        if !commit(inner, realm, grant, &lease, then, came, flight).await? {
            return Ok(false);
        }
        grant.lease_until = before.plus(inner.options.lease_seconds);
        saved(inner, grant, effects)?;
        if came == Came::Tokens && call.purpose == Purpose::Refresh {
            inner.fleet.good(inner).await;
        }
    }
    inner.warn(realm, &grant.session);
    Ok(true)
}

/// What a call brought, and so how much is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Nothing that the stored intent does not say as well.
    Nothing,
    /// That it was not sent, or was answered. Without it the call counts as lost, and that ends a grant after a day (STA-4).
    Word,
    /// Tokens, that nobody else has.
    Tokens,
}

impl Came {
    const fn of(call: Call, effects: Effects, received: Received<'_>) -> Self {
        match (effects.tell, call.purpose, received) {
            (Some(Tell::Linked | Tell::Refreshed(_) | Tell::CandidateKept), _, _) => Self::Tokens,
            (_, Purpose::Refresh, Received::NotSent | Received::Answer { .. }) => Self::Word,
            _ => Self::Nothing,
        }
    }
}

fn saved(inner: &Inner, grant: &mut Grant, effects: Effects) -> Result<(), Error> {
    if let Some(revision) = effects.store {
        let _ = grant.session.handle(&inner.app, inner.now(), Input::Saved(revision))?;
    }
    Ok(())
}

/// Sends, once, with a deadline well inside of the lease. A request that is given up counts as sent and unanswered.
///
/// `None`: too little is left of the lease, and nothing was sent. A process that stood still since its claim may have been overtaken,
/// and a request that went out now would make the token stale that another one has got meanwhile (REF-2).
async fn send_call(inner: &Inner, realm: &str, grant: &Grant, call: Call) -> Result<Option<Reply>, Error> {
    let request = grant.session.request(&inner.app, call)?;
    let mut buffer = Zeroizing::new(vec![0; request.length()]);
    let http = request.write(&mut buffer).map_err(evergrant::Error::from)?;
    if inner.now().plus(inner.options.least_lease_seconds()) > grant.lease_until {
        tracing::warn!(target: "evergrant", realm, "too little was left of the lease: nothing was sent");
        return Ok(None);
    }
    let begun = Instant::now();
    let reply = tokio::time::timeout(inner.options.call, inner.http.carry_out(&http)).await;
    let reply = reply.unwrap_or_else(|_| Reply::no_answer(Failure::Timeout));
    telemetry::sent(call.purpose, &reply, begun.elapsed());
    Ok(Some(reply))
}

fn load_of(reply: &Reply) -> Load {
    match (reply.status(), reply.failure()) {
        (Some(429 | 500..=599), _) => Load::Over,
        (Some(_), _) => Load::Fine,
        (None, Some(Failure::Timeout | Failure::ConnectTimeout | Failure::Broken)) => Load::Over,
        (None, _) => Load::Unknown,
    }
}

async fn take_answer(
    inner: &Inner,
    realm: &str,
    grant: &mut Grant,
    call: Call,
    reply: &Reply,
) -> Result<Effects, Error> {
    // REF-4: in an outage a refusal says nothing of the grant, and nobody concludes from it.
    if call.purpose == Purpose::Refresh
        && is_refusal(inner, reply)
        && let Some(probe_at) = inner.fleet.refused(inner, realm).await
    {
        let now = inner.now();
        let wait = probe_at.since(now).max(1).to_string();
        let held = Received::Answer {
            status: 503,
            retry_after: Some(&wait),
            correlation: reply.correlation(),
            body: b"",
        };
        return Ok(grant.session.handle(&inner.app, now, Input::Answer(call, held))?);
    }
    let now = inner.now();
    match grant.session.handle(&inner.app, now, Input::Answer(call, reply.received())) {
        // An answer that does not fit counts as none: what was sent stays known to be sent.
        Err(evergrant::Error::TooLong(too_long)) => {
            tracing::error!(target: "evergrant", realm, %too_long, "an answer does not fit");
            Ok(grant.session.handle(&inner.app, now, Input::Answer(call, Received::NoAnswer))?)
        }
        other => Ok(other?),
    }
}

/// Whether it is an `invalid_grant` that speaks of the grant, as the core sees it.
fn is_refusal(inner: &Inner, reply: &Reply) -> bool {
    let provider = inner.app.provider();
    if !reply.status().is_some_and(|status| (400..500).contains(&status) && status != 429) {
        return false;
    }
    let answer = Answer::scan(reply.body(), provider.refresh_lifetime_member, provider.hard_lifetime_member);
    let accuses_the_keys = answer
        .error_description
        .is_some_and(|text| provider.not_the_grant.iter().any(|known| text.is(known)));
    answer.complete && answer.error.is_some_and(|error| error.is("invalid_grant")) && !accuses_the_keys
}

// ------------------------------------------------------------------------------------------------------- committing

/// The session as its row is to have it, and has not.
fn unstored(inner: &Inner, name: &Name, grant: &Grant) -> Result<Spilled, Error> {
    let bytes = inner.bytes(&grant.session)?;
    Ok(Spilled {
        name: name.clone(),
        after: grant.generation.unwrap_or_default(),
        revision: grant.session.phase().revision,
        record: Record::from(&bytes[..]),
    })
}

/// Makes what came durable (REF-1). `false` where another process had taken the row over, and what came was merged.
///
/// A store that fails is tried again. What came, tokens or a word, is spilled before the callers are told, and this goes on until the
/// store has it, for as long as the process runs: the epoch guards the write, however late it is. A process that ends before leaves the
/// rest to the next one with its spill folder.
async fn commit(
    inner: &Inner,
    realm: &str,
    grant: &mut Grant,
    lease: &Lease,
    then: Then,
    came: Came,
    flight: &Flight,
) -> Result<bool, Error> {
    let ours = unstored(inner, lease.name(), grant)?;
    let patience = Instant::now() + inner.options.commit;
    let (mut pause, mut told, mut spilled) = (PAUSE_FIRST, false, None);
    // The lease has run out: where another process has taken the row over, these tokens are here alone until they are merged.
    if came == Came::Tokens && inner.now() > grant.lease_until {
        inner.spill(&ours).await;
        spilled = Some(ours.clone());
    }
    let kept = loop {
        let write = inner.write(realm, &grant.session, ours.record.expose());
        let error = match inner.store.commit(inner.now().unix(), lease, write, then).await {
            Ok(Commit::Committed { generation }) => {
                grant.generation = Some(generation);
                break true;
            }
            Ok(Commit::FencedOut(_)) => {
                // By another's clock it had.
                if came == Came::Tokens && spilled.is_none() {
                    inner.spill(&ours).await;
                    spilled = Some(ours.clone());
                }
                match come_after(inner, realm, grant, &ours, came).await {
                    Ok(()) => break false,
                    Err(error) => error,
                }
            }
            Err(error) => error.into(),
        };
        inner.note_store(!matches!(error, Error::Store(_)));
        let over = Instant::now() >= patience || inner.is_closing();
        if over && came == Came::Nothing {
            return Err(error);
        }
        let error = if came == Came::Tokens { not_stored(&error) } else { error };
        if over && !told {
            told = true;
            if spilled.is_none() {
                let copy =
                    if came == Came::Tokens { ours.clone() } else { word::spilled(inner, &ours, None)? };
                inner.spill(&copy).await;
                spilled = Some(copy);
            }
            flight.send_replace(Some(Err(error.clone())));
        }
        if inner.is_closing() {
            return Err(error);
        }
        inner.back_off(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    };
    inner.note_store(true);
    if let Some(spilled) = spilled {
        inner.unspill(&spilled).await;
        tracing::info!(target: "evergrant", realm, "what was spilled is stored");
    }
    Ok(kept)
}

/// Another process has taken the row over: what came goes to what it has made of it.
async fn come_after(
    inner: &Inner,
    realm: &str,
    grant: &mut Grant,
    ours: &Spilled,
    came: Came,
) -> Result<(), Error> {
    match came {
        Came::Nothing => Ok(()),
        Came::Word => put_right(inner, realm, &ours.name, grant, None).await,
        Came::Tokens => bring_home(inner, ours).await,
    }
}

/// The store failed in the middle of the claim: whether the intent stands there is not known, and nothing was sent. This goes on until
/// the store does not say otherwise, for as long as the process runs. Before the callers are told it is spilled, so that the next process
/// knows it as well: a store may be away for longer than one lives, and an intent that nobody takes back ends the grant (STA-4).
async fn take_back(
    inner: &Inner,
    realm: &str,
    name: &Name,
    grant: &mut Grant,
    call: Call,
    mut error: Error,
    flight: &Flight,
) -> Result<(), Error> {
    let intent = Intent { writer: inner.store.writer(), record: inner.bytes(&grant.session)? };
    let _ = grant.session.handle(&inner.app, inner.now(), Input::Answer(call, Received::NotSent))?;
    let patience = Instant::now() + inner.options.commit;
    let (mut pause, mut spilled) = (PAUSE_FIRST, None);
    loop {
        inner.note_store(!matches!(error, Error::Store(_)));
        if Instant::now() >= patience || inner.is_closing() {
            if spilled.is_none() {
                let ours = unstored(inner, name, grant)?;
                let copy = word::spilled(inner, &ours, Some(&intent))?;
                inner.spill(&copy).await;
                spilled = Some(copy);
            }
            flight.send_replace(Some(Err(error.clone())));
        }
        if inner.is_closing() {
            return Err(error);
        }
        inner.back_off(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
        match put_right(inner, realm, name, grant, Some(&intent)).await {
            Ok(()) => break,
            Err(other) => error = other,
        }
    }
    if let Some(spilled) = spilled {
        inner.unspill(&spilled).await;
    }
    Ok(())
}

/// Makes what is known of this session's call known to the store, where that still takes it for sent and unanswered: where the intent
/// stands there, or the grant was ended for it (STA-4) with no call made since. Whoever went on from the intent has sent the token once
/// more, and knows better.
///
/// `intent`: as it was written, if it was; another process may have written the same to the letter, in the same second, and sent it.
/// `None`: it was, so a call of that number is this session's.
async fn put_right(
    inner: &Inner,
    realm: &str,
    name: &Name,
    grant: &mut Grant,
    intent: Option<&Intent>,
) -> Result<(), Error> {
    loop {
        let Some(row) = inner.store.load(name).await? else { return Ok(()) };
        let theirs = parse(row.record.expose())?;
        let (ours, phase) = (grant.session.phase(), theirs.phase());
        let is_the_call = (phase.generation, phase.calls) == (ours.generation, ours.calls);
        match phase.grant {
            State::Closed { reason: Reason::AnswerLost } if is_the_call => {
                let _ = grant.session.succeed(&inner.app, &theirs)?;
            }
            State::Refreshing { .. } if is_the_call && intent.is_none_or(|intent| intent.is(&row)) => {}
            _ => return Ok(()),
        }
        let bytes = inner.bytes(&grant.session)?;
        let write = inner.write(realm, &grant.session, &bytes);
        let (now, seconds) = (inner.now().unix(), inner.options.lease_seconds);
        match inner.store.claim(now, name, Some(row.generation), seconds, write).await? {
            Claim::Claimed(lease) => {
                give_back(inner, Some(lease)).await;
                return Ok(());
            }
            // It may be this process's own, of the claim that was not answered: then it runs out.
            Claim::Held { .. } => inner.pause(1_000).await,
            Claim::MovedOn(_) => {}
        }
        if inner.is_closing() {
            return Err(Error::ShuttingDown);
        }
    }
}

fn not_stored(error: &Error) -> Error {
    match error {
        Error::Store(error) => Error::NotStored(error.clone()),
        other => other.clone(),
    }
}

/// Puts a record that its row did not take in its place: as it is, where nothing was written since; else as one more candidate, or as
/// the newer consent. It is neither written over a newer one nor dropped (I5).
pub(crate) async fn bring_home(inner: &Inner, ours: &Spilled) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(inner.options.patience_seconds.into());
    loop {
        let current = inner.store.load(&ours.name).await?;
        let mut session = inner.restore(ours.record.expose())?;
        if let Some(theirs) = current.as_ref().filter(|theirs| theirs.generation != ours.after) {
            let record = parse(theirs.record.expose())?;
            if session.phase().generation > record.generation() {
                let _ = session.succeed(&inner.app, &record)?;
            } else {
                match session.merge(&inner.app, inner.now(), &record) {
                    // It is known there already, or a new consent has replaced it.
                    Ok(effects) if effects.store.is_none() => return Ok(()),
                    Ok(_) => {}
                    Err(MergeError::Record(error)) => return Err(error.into()),
                    // The app gave it up meanwhile: what came late belongs to no grant any more (REF-6).
                    Err(MergeError::Refused(Refused::Ended(_) | Refused::BeingRevoked)) => return Ok(()),
                    Err(MergeError::Refused(refused)) => return Err(evergrant::Error::from(refused).into()),
                }
            }
        }
        let bytes = inner.bytes(&session)?;
        let write = inner.write(ours.name.realm(), &session, &bytes);
        let (now, seconds) = (inner.now().unix(), inner.options.lease_seconds);
        let expected = current.map(|current| current.generation);
        match inner.store.claim(now, &ours.name, expected, seconds, write).await? {
            Claim::Claimed(lease) => {
                give_back(inner, Some(lease)).await;
                return Ok(());
            }
            Claim::Held { until } if Instant::now() >= deadline => {
                return Err(Error::Busy { until: Time::from_unix(until) });
            }
            Claim::Held { .. } => inner.pause(100).await,
            Claim::MovedOn(_) => {}
        }
        if inner.is_closing() {
            return Err(Error::ShuttingDown);
        }
    }
}

/// What an earlier process knew of a call, and the store did not.
async fn put_right_by(inner: &Inner, spilled: &Spilled) -> Result<(), Error> {
    let Some((intent, record)) = word::read(spilled.record.expose()) else {
        return Err(Error::Record("is damaged"));
    };
    let realm = spilled.name.realm();
    let mut grant = Grant { session: inner.restore(record)?, ..Grant::new(inner) };
    put_right(inner, realm, &inner.name(realm)?, &mut grant, intent.as_ref()).await
}

/// What an earlier process has spilled goes home, however long that takes.
pub(crate) async fn recover(inner: &Inner, spilled: Spilled) {
    let mut pause = PAUSE_FIRST;
    while let Err(error) = if word::is_one(inner, &spilled) {
        put_right_by(inner, &spilled).await
    } else {
        bring_home(inner, &spilled).await
    } {
        tracing::warn!(target: "evergrant", realm = spilled.name.realm(), %error, "what was spilled is not stored yet");
        inner.back_off(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
        if inner.is_closing() {
            return;
        }
    }
    inner.unspill(&spilled).await;
    tracing::info!(target: "evergrant", realm = spilled.name.realm(), "what an earlier process spilled is stored");
}
