//! The space that is searched: how phases are folded into classes, and what can happen in each.

use evergrant::phase::{
    Consent, Doubt, Event, Grant, Held, Issued, Outcome, Proof, Purpose, Refusal, Rotation,
};
use evergrant::{Call, FOREVER, Phase, Policy, Time};

use super::{Act, Scenario, State, Wrong};

/// The moment that every folded phase counts from: far enough from both ends of time.
pub const NOW: Time = Time::from_unix(4_000_000_000);

const DAY: i64 = 86_400;
/// Seconds that the kernel keeps between two requests for one reason or another.
const PACE: i64 = 60;
const BACKOFF_MOST: i64 = 900;
const RETRY_AFTER_MOST: i64 = 86_400;
const CLOCK_SLACK: i64 = 3_600;
/// Call numbers and serials further behind the newest than this are all alike.
const BEHIND_MOST: u32 = 3;
const CALLS: u32 = 10;

/// A phase as seen at `now`, with its times counted from [`NOW`] and rounded down to the distances of its class.
pub fn fold(scenario: &Scenario, state: State, now: Time) -> State {
    let fold = Fold { policy: &scenario.policy, fine: scenario.fine, now };
    let Phase { consent, grant, held, doubt, calls, consumed, .. } = state.phase;
    let behind = |number: u32| CALLS - calls.saturating_sub(number).min(BEHIND_MOST);
    let consent = match consent {
        Consent::None => consent,
        Consent::Pending { until } => {
            Consent::Pending { until: fold.until(until, scenario.policy.consent_for) }
        }
        Consent::Unsent { until, retry_at, tries } => Consent::Unsent {
            until: fold.until(until, scenario.policy.code_for),
            retry_at: fold.until(retry_at, 900),
            tries: few(tries),
        },
        Consent::Exchanging { call, sent_at, until, tries } => Consent::Exchanging {
            call: behind(call),
            sent_at: fold.sent_at(sent_at),
            until: fold.until(until, scenario.policy.code_for),
            tries: few(tries),
        },
        Consent::Over { call, refused } => Consent::Over { call: behind(call), refused },
    };
    let held = match fold.held(held) {
        Held::NOTHING => Held::NOTHING,
        held => Held { serial: behind(held.serial), ..held },
    };
    let grant = match grant {
        Grant::Refreshing { call, sent_at, untried } => {
            Grant::Refreshing { call: behind(call), sent_at: fold.sent_at(sent_at), untried }
        }
        Grant::Revoking { call, sent_at, tries } => {
            Grant::Revoking { call: behind(call), sent_at: fold.sent_at(sent_at), tries }
        }
        Grant::Unrevoked { retry_at, tries } => {
            Grant::Unrevoked { retry_at: fold.until(retry_at, 86_400), tries }
        }
        Grant::Unlinked | Grant::Linked | Grant::Uncertain | Grant::Suspect | Grant::Closed { .. } => grant,
    };
    let mut seen = state.seen;
    seen.unanswered = seen.unanswered.map(|since| fold.lost(since));
    seen.others = seen.others.map(|since| since.map(|since| fold.lost(since)));
    let phase = Phase {
        consent,
        grant,
        held,
        doubt: fold.doubt(doubt),
        calls: CALLS,
        generation: 5,
        consumed: fold.consumed(consumed),
        revision: 100,
        unsaved: false,
    };
    State { phase, seen, ..state }
}

/// Tries, up to where the pauses grow no further.
const fn few(tries: u8) -> u8 {
    match tries {
        0 | 1 => tries,
        _ => 12,
    }
}

struct Fold<'a> {
    policy: &'a Policy,
    fine: bool,
    now: Time,
}

impl Fold<'_> {
    /// Moves a time so that it stands to [`NOW`] as it stood to now, its distance rounded down to one of `distances`.
    fn at(&self, time: Time, distances: &[i64]) -> Time {
        if time == Time::UNSET {
            return time;
        }
        let distance = signed(time) - signed(self.now);
        let mut best = None;
        for known in distances {
            if *known <= distance && best.is_none_or(|best| best < *known) {
                best = Some(*known);
            }
        }
        let best = best.or_else(|| distances.iter().min().copied()).unwrap_or(distance);
        moment(best)
    }

    fn until(&self, until: Time, most: u32) -> Time {
        let most = i64::from(most);
        self.at(until, &[-1, 0, 1, most, most + 1])
    }

    fn sent_at(&self, sent_at: Time) -> Time {
        let call = i64::from(self.policy.call_for);
        self.at(sent_at, &[-call - 1, -call, 1 - call, 0, 1, CLOCK_SLACK, CLOCK_SLACK + 1])
    }

    fn lost(&self, since: Time) -> Time {
        let replay = i64::from(self.policy.replay_for);
        self.at(since, &[-replay - 1, -replay, 1 - replay, 0, 1])
    }

    fn consumed(&self, made_at: Time) -> Time {
        let (call, consent) = (i64::from(self.policy.call_for), i64::from(self.policy.consent_for));
        self.at(made_at, &[-consent - 1, -1, 0, 1, call, call + 1])
    }

    fn held(&self, held: Held) -> Held {
        let ahead = i64::from(self.policy.renew_ahead);
        let life = i64::from(self.policy.refresh_for);
        let margin = i64::from(self.policy.access_margin);
        let mut ages = vec![
            -90_000,
            -1,
            0,
            1,
            PACE,
            i64::from(self.policy.replay_for / 4),
            3_600 - margin,
            3_600 - margin + 1,
            3_600,
            3_601,
            life,
        ];
        let mut ends = vec![-1, 0, 1, ahead, ahead + 1, life / 2, life];
        let mut hards = vec![-1, 0, 1, 20 * DAY, 200 * DAY];
        if self.fine {
            ages.extend([PACE - 1, PACE + 1, 3_600 - margin - 1, 3_599, life / 2, life - ahead, life + 1]);
            ends.push(ahead - 1);
            hards.push(1_000 * DAY);
        }
        let ages: Vec<i64> = ages.iter().map(|age| -age).collect();
        let issued_at = self.at(held.issued_at, &ages);
        let end = self.at(held.rolling_end(), &ends);
        let hard_for = match held.hard_for {
            FOREVER => FOREVER,
            _ => self.at(held.hard_end(), &hards).since(issued_at),
        };
        Held { issued_at, refresh_for: end.since(issued_at), hard_for, ..held }
    }

    fn doubt(&self, doubt: Doubt) -> Doubt {
        let lost = doubt.lost.map(|since| self.lost(since));
        let mut waits = vec![-1, 0, 1, RETRY_AFTER_MOST, RETRY_AFTER_MOST + 1];
        if self.fine {
            waits.push(PACE);
        }
        let not_before = self.at(doubt.not_before, &waits);
        Doubt { lost, tries: few(doubt.tries), not_before, ..doubt }
    }
}

fn signed(time: Time) -> i64 {
    i64::try_from(time.unix()).unwrap_or(i64::MAX / 4)
}

fn moment(distance: i64) -> Time {
    Time::from_unix(u64::try_from(signed(NOW) + distance).unwrap_or(0))
}

/// All that can happen in a state.
pub fn acts(scenario: &Scenario, state: &State, into: &mut Vec<Act>) {
    events(scenario, state, into);
    into.push(Act::Restart);
    if scenario.wrong_clock == Wrong::Far {
        into.push(Act::Switch);
    }
    if state.clock {
        clocks(scenario, state, into);
    }
}

fn events(scenario: &Scenario, state: &State, into: &mut Vec<Act>) {
    let mut push = |event| into.push(Act::Event(event));
    [Event::Tick, Event::Demand, Event::Refresh].into_iter().for_each(&mut push);
    push(Event::Saved { revision: state.phase.revision });
    if scenario.consents {
        push(Event::Ask);
        push(Event::Callback(Proof::Stored));
        push(Event::Declined(Proof::Stored));
    }
    if scenario.signed {
        let consent = scenario.policy.consent_for;
        for made_at in [
            NOW,
            NOW.plus(scenario.policy.call_for),
            NOW.plus(scenario.policy.call_for + 1),
            NOW.minus(consent - 1),
            NOW.minus(consent),
            state.phase.consumed,
            state.phase.consumed.plus(1),
        ] {
            push(Event::Callback(Proof::Signed { made_at }));
            push(Event::Declined(Proof::Signed { made_at }));
        }
    }
    if scenario.signs {
        let serial = state.phase.usable().map_or(0, |held| held.serial);
        push(Event::Unauthorized { serial });
        push(Event::Unauthorized { serial: serial.saturating_sub(1) });
        push(Event::Disconnected);
    }
    if scenario.revoke {
        push(Event::Revoke);
    }
    if scenario.candidates {
        for issued in issued(scenario).filter(|issued| issued.refresh == Rotation::New) {
            for lost_since in [Time::UNSET, NOW.minus(1)] {
                push(Event::Candidate { issued_at: NOW.minus(1), lost_since, issued });
            }
        }
    }
    let Phase { calls, generation, .. } = state.phase;
    for (number, sent) in [(calls, state.seen.last), (calls - 1, state.seen.before)] {
        let Some((purpose, replaced)) = sent else { continue };
        if number != calls && !scenario.late {
            continue;
        }
        let call = Call { number, generation: generation - u32::from(replaced), purpose };
        for outcome in outcomes(scenario, purpose) {
            push(Event::Answer { call, outcome });
        }
    }
}

fn issued(scenario: &Scenario) -> impl Iterator<Item = Issued> + '_ {
    scenario.lifetimes.iter().flat_map(|&(access_for, refresh_for, hard_for)| {
        [Rotation::New, Rotation::Same].map(|refresh| Issued { access_for, refresh_for, hard_for, refresh })
    })
}

fn outcomes(scenario: &Scenario, purpose: Purpose) -> Vec<Outcome> {
    let mut outcomes = vec![
        Outcome::NotSent,
        Outcome::NoAnswer,
        Outcome::NoVerdict { retry_after: 0 },
        Outcome::NoVerdict { retry_after: u32::MAX },
        Outcome::Refused(Refusal::InvalidGrant),
        Outcome::Refused(Refusal::AppAtFault),
    ];
    match purpose {
        Purpose::Revoke => outcomes.push(Outcome::Revoked),
        Purpose::Refresh => outcomes.extend(issued(scenario).map(Outcome::Tokens)),
        Purpose::Exchange => outcomes
            .extend(issued(scenario).filter(|issued| issued.refresh == Rotation::New).map(Outcome::Tokens)),
    }
    outcomes
}

/// The clock moves to one second before, at and after each boundary that the phase has, and where it should not.
fn clocks(scenario: &Scenario, state: &State, into: &mut Vec<Act>) {
    let policy = &scenario.policy;
    let mut moments: Vec<Time> = Vec::new();
    let mut boundary = |time: Time| {
        if time.is_set() && time < Time::from_unix(1 << 40) {
            moments.extend([time.minus(1), time, time.plus(1)]);
        }
    };
    match state.phase.consent {
        Consent::Pending { until } => boundary(until),
        Consent::Unsent { until, retry_at, .. } => {
            boundary(until);
            boundary(retry_at);
        }
        Consent::Exchanging { sent_at, .. } => boundary(sent_at.plus(policy.call_for)),
        Consent::None | Consent::Over { .. } => {}
    }
    match state.phase.grant {
        Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. } => {
            boundary(sent_at.plus(policy.call_for));
        }
        Grant::Unrevoked { retry_at, .. } => boundary(retry_at),
        _ => {}
    }
    let Phase { held, doubt, .. } = state.phase;
    for since in doubt.lost.into_iter().filter(|since| *since != Time::UNSET) {
        boundary(since.plus(policy.replay_for));
    }
    if state.phase.usable().is_some() {
        boundary(doubt.not_before);
        if doubt.overtaken {
            boundary(held.issued_at.plus(policy.replay_for / 4));
        }
        ends(policy, &held, &mut boundary);
    }
    if let Grant::Closed { .. } = state.phase.grant {
        boundary(held.end());
    }
    if scenario.signed {
        boundary(state.phase.consumed.plus(policy.consent_for));
    }
    match scenario.wrong_clock {
        Wrong::Never => moments.retain(|moment| *moment > NOW),
        Wrong::Little => {
            moments.retain(|moment| *moment > NOW);
            moments.extend([1, 3_600].map(|back| NOW.minus(back)));
        }
        Wrong::Far => {
            moments.extend([1, 3_600, 2 * 86_400, 400 * 86_400].map(|back| NOW.minus(back)));
            moments.push(NOW.plus(6 * 365 * 86_400));
        }
    }
    moments.push(NOW.plus(u32::try_from(BACKOFF_MOST).unwrap_or(0)));
    moments.sort_unstable();
    moments.dedup();
    into.extend(moments.into_iter().filter(|moment| *moment != NOW).map(Act::Clock));
}

fn ends(policy: &Policy, held: &Held, boundary: &mut impl FnMut(Time)) {
    boundary(held.access_end());
    boundary(held.access_end().minus(policy.access_margin));
    boundary(held.issued_at.plus(60));
    boundary(held.rolling_end());
    boundary(held.rolling_end().minus(policy.renew_ahead));
    boundary(held.issued_at.plus(held.refresh_for / 2));
    boundary(held.hard_end());
}
