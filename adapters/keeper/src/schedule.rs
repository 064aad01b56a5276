//! When a grant asks for attention by itself, which goes first, and when somebody is warned. Pure, and cheap enough for a
//! simulation of millions.

use evergrant::phase::{Doubt, Grant, Held, Hint};
use evergrant::{Due, FOREVER, Phase, Policy, Time};

const DAY: u32 = 86_400;
/// A grant with less than this left goes before everything else.
const DYING: u32 = DAY;
/// Nothing is put off to later than this ahead of an end.
const LAST: u32 = 600;

/// Days ahead of the rolling end at which somebody is warned. Renewal begins weeks ahead: whoever comes here has failed for days.
pub const ROLLING_WARNINGS_DAYS: [u32; 4] = [10, 7, 3, 1];
/// Days ahead of the hard end at which somebody is warned: only a new consent helps, and that takes people.
pub const HARD_WARNINGS_DAYS: [u32; 5] = [180, 90, 30, 7, 1];

/// When the row asks for attention; `None` where it waits for the user.
///
/// The core's own moments, moved so that they do not fall together. A renewal comes earlier by up to a quarter of the token's life, drawn
/// anew for each token: a million grants that were connected in one day are spread over weeks (DUR-8). A repetition comes later by up
/// to half of its own wait, and never near an end. A warning is a moment as well.
#[must_use]
pub fn due_at(policy: &Policy, phase: &Phase, now: Time, seed: u64) -> Option<Time> {
    // Once it is stored, that is: until then every phase wants to be stored.
    let Due::Tick(at) = (Phase { unsaved: false, ..*phase }).due(policy) else { return None };
    let Some(held) = at_rest(phase) else { return Some(at) };
    let doubt = &phase.doubt;
    let draw = Draw(mix(seed ^ held.issued_at.unix().rotate_left(32) ^ at.unix()));
    let moved = if is_quiet(held, doubt) {
        if at >= held.end() { at } else { at.minus(draw.up_to(held.refresh_for / 4)) }
    } else {
        let last = last_moment(policy, held, doubt).minus(LAST);
        let room = last.since(at) / 2;
        at.plus(draw.up_to((at.since(now) / 2).min(room)))
    };
    Some(next_warning(held, now).map_or(moved, |warning| warning.min(moved)))
}

/// Whether a row that came up at `due_at` came for a warning alone: somebody is told, and nothing need be sent. The renewal is another
/// moment, and still to come.
#[must_use]
pub fn only_warns(policy: &Policy, phase: &Phase, due_at: Time, now: Time, seed: u64) -> bool {
    let warned_of = at_rest(phase).and_then(|held| next_warning(held, due_at.minus(1)));
    warned_of == Some(due_at) && self::due_at(policy, phase, now, seed).is_none_or(|next| next > now)
}

/// Nothing is open: its access token works, and no answer is missing.
fn is_quiet(held: &Held, doubt: &Doubt) -> bool {
    held.access_for > 0
        && doubt.lost_since() == Time::UNSET
        && doubt.refusals == 0
        && doubt.tries == 0
        && doubt.hint == Hint::None
        && !doubt.overtaken
}

/// What is held, where nothing is in flight.
fn at_rest(phase: &Phase) -> Option<&Held> {
    matches!(phase.grant, Grant::Linked | Grant::Uncertain | Grant::Suspect).then_some(&phase.held)
}

/// Whether the core would let a refresh go out now; a probe is not to be spent on one that must wait anyway.
pub(crate) fn may_ask(phase: &Phase, now: Time) -> bool {
    at_rest(phase).is_none() || phase.doubt.not_before <= now
}

/// When what the row holds is lost unless it is refreshed before: the nearest of the token's ends (DUR-3, DUR-6, STA-4). A request that
/// is under way may be one whose answer is lost. `None` where nothing can be lost.
#[must_use]
pub fn ends_at(policy: &Policy, phase: &Phase) -> Option<Time> {
    let held = phase.usable()?;
    let last = last_moment(policy, held, &phase.doubt);
    Some(match phase.grant {
        Grant::Refreshing { sent_at, .. } => last.min(sent_at.plus(policy.replay_for)),
        _ => last,
    })
}

/// After which the token that is held is worth nothing (DUR-6, STA-4).
fn last_moment(policy: &Policy, held: &Held, doubt: &Doubt) -> Time {
    match doubt.lost_since() {
        Time::UNSET => held.end(),
        first => held.end().min(first.plus(policy.replay_for)),
    }
}

/// Which of several goes first: the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// It ends within a day: the nearest end first.
    Dying(Time),
    /// Somebody waits for it.
    Demanded,
    /// Ahead of time: the nearest end first.
    Ahead(Time),
}

/// The urgency of a refresh.
#[must_use]
pub fn urgency(policy: &Policy, phase: &Phase, now: Time, demanded: bool) -> Urgency {
    let Some(last) = ends_at(policy, phase) else { return Urgency::Demanded };
    if last.since(now) <= DYING {
        Urgency::Dying(last)
    } else if demanded {
        Urgency::Demanded
    } else {
        Urgency::Ahead(last)
    }
}

/// An end that comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// Which end.
    pub end: End,
    /// The warning's own distance, in days; the smaller, the more pressing.
    pub days: u32,
}

/// The two ends of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The refresh token's age (DUR-3). Renewal has failed for days: look at what it is answered with.
    Rolling,
    /// The grant's own, years after the consent. Only a new consent helps.
    Hard,
}

/// The most pressing warning that is due for these tokens.
#[must_use]
pub fn warning(held: &Held, now: Time) -> Option<Warning> {
    let due = |end: End, days: &[u32], at: Time| {
        let reached = days.iter().rev().copied().find(|days| now >= at.minus(days.saturating_mul(DAY)));
        reached.map(|days| Warning { end, days })
    };
    let hard =
        (held.hard_for != FOREVER).then(|| due(End::Hard, &HARD_WARNINGS_DAYS, held.hard_end())).flatten();
    let rolling = (held.rolling_end() < held.hard_end())
        .then(|| due(End::Rolling, rolling_days(held), held.rolling_end()))
        .flatten();
    match (hard, rolling) {
        (Some(hard), Some(rolling)) if rolling.days < hard.days => Some(rolling),
        (hard, rolling) => hard.or(rolling),
    }
}

/// Days that are a small part of the token's life; else every new token would come with a warning.
fn rolling_days(held: &Held) -> &'static [u32] {
    let life = held.refresh_for / DAY / 4;
    let from =
        ROLLING_WARNINGS_DAYS.iter().position(|days| *days <= life).unwrap_or(ROLLING_WARNINGS_DAYS.len());
    ROLLING_WARNINGS_DAYS.get(from..).unwrap_or_default()
}

/// The next moment at which a new warning is due.
fn next_warning(held: &Held, now: Time) -> Option<Time> {
    let hard = HARD_WARNINGS_DAYS.iter().map(|days| held.hard_end().minus(days.saturating_mul(DAY)));
    let hard = hard.filter(|_| held.hard_for != FOREVER);
    let rolling = rolling_days(held).iter().map(|days| held.rolling_end().minus(days.saturating_mul(DAY)));
    hard.chain(rolling).filter(|at| *at > now).min()
}

/// A number drawn from a seed: the same seed, the same number.
#[derive(Clone, Copy)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// From 0 to `most`, both included.
    pub(crate) fn up_to(self, most: u32) -> u32 {
        let scaled = (self.0 >> 32) * (u64::from(most) + 1);
        u32::try_from(scaled >> 32).unwrap_or(most)
    }
}

/// SplitMix64's finisher: every bit of the seed moves every bit of the result.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use evergrant::Provider;
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::from_unix(1_800_000_000);
    const POLICY: Policy = Provider::INTUIT_PRODUCTION.policy;

    fn held() -> Held {
        Held {
            issued_at: NOW,
            access_for: 3_600,
            refresh_for: 8_640_000,
            hard_for: 157_680_000,
            serial: 1,
            candidates: 0,
        }
    }

    fn linked(held: Held, doubt: Doubt) -> Phase {
        Phase { grant: Grant::Linked, held, doubt, ..Phase::NEW }
    }

    #[test]
    fn a_day_of_connections_is_renewed_over_weeks_and_always_ahead() {
        let phase = linked(held(), Doubt::default());
        let dues: Vec<u32> =
            (0..10_000).map(|seed| due_at(&POLICY, &phase, NOW, seed).unwrap().since(NOW) / DAY).collect();
        assert!(dues.iter().all(|day| (61..=86).contains(day)));
        let mut days = [0_u32; 100];
        dues.iter().for_each(|day| days[*day as usize] += 1);
        assert!(days.iter().all(|count| *count < 700), "{days:?}");
    }

    #[test]
    fn a_warning_of_the_hard_end_is_a_moment_of_its_own() {
        let held = Held { hard_for: 185 * DAY, ..held() };
        let due = due_at(&POLICY, &linked(held, Doubt::default()), NOW, 1).unwrap();
        assert_eq!(due, NOW.plus(5 * DAY));
        assert_eq!(warning(&held, due.minus(1)), None);
        assert_eq!(warning(&held, due), Some(Warning { end: End::Hard, days: 180 }));
        assert_eq!(warning(&held, held.hard_end().minus(3)), Some(Warning { end: End::Hard, days: 1 }));
    }

    #[test]
    fn a_row_that_comes_up_for_a_warning_is_not_renewed_unless_that_is_due_as_well() {
        let held = Held { hard_for: 185 * DAY, ..held() };
        let (phase, seed) = (linked(held, Doubt::default()), 1);
        let warned = due_at(&POLICY, &phase, NOW, seed).unwrap();
        assert!(only_warns(&POLICY, &phase, warned, warned, seed));
        let renewed = due_at(&POLICY, &phase, warned, seed).unwrap();
        assert!(renewed > warned.plus(50 * DAY) && !only_warns(&POLICY, &phase, renewed, renewed, seed));
        assert!(!only_warns(&POLICY, &phase, warned, renewed, seed), "it was passed over for too long");
    }

    /// STA-4: a request that is under way may be one whose answer is lost.
    #[test]
    fn a_row_ends_with_its_token_or_a_day_after_the_first_answer_that_is_missing() {
        let end = |grant, doubt| {
            ends_at(&POLICY, &Phase { grant, held: held(), doubt, ..Phase::NEW }).map(|at| at.since(NOW))
        };
        assert_eq!(end(Grant::Linked, Doubt::default()), Some(100 * DAY));
        let lost = Doubt { lost: [NOW, Time::UNSET, Time::UNSET], ..Doubt::default() };
        assert_eq!(end(Grant::Uncertain, lost), Some(POLICY.replay_for));
        assert_eq!(ends_at(&POLICY, &Phase::NEW), None);
    }

    #[test]
    fn the_rolling_end_is_warned_of_where_renewal_fails_and_not_with_every_short_token() {
        assert_eq!(warning(&held(), NOW.plus(89 * DAY)), None);
        assert_eq!(warning(&held(), NOW.plus(95 * DAY)), Some(Warning { end: End::Rolling, days: 7 }));
        let short = Held { refresh_for: DAY, hard_for: FOREVER, ..held() };
        assert_eq!(warning(&short, NOW.plus(DAY - 1)), None);
    }

    #[test]
    fn the_nearest_death_goes_first_then_who_waits_then_the_rest() {
        let at = |refresh_for, demanded| {
            urgency(&POLICY, &linked(Held { refresh_for, ..held() }, Doubt::default()), NOW, demanded)
        };
        let order =
            [at(3_600, false), at(7_200, true), at(DAY * 50, true), at(DAY * 20, false), at(DAY * 30, false)];
        assert!(order.is_sorted() && order.windows(2).all(|two| two[0] != two[1]), "{order:?}");
    }

    proptest! {
        /// DUR-8: whatever went wrong, the row comes up again before the token's end, while it can still be sent.
        #[test]
        fn no_row_sleeps_past_its_end(
            seed in any::<u64>(), refresh_for in 3_600_u32..200_000_000, hard_for in 3_600_u32..,
            age in 0_u32..100_000_000, wait in 0_u32..100_000, tries in 0_u8..20, lost in any::<bool>(),
        ) {
            let held = Held { refresh_for, hard_for, ..held() };
            let now = NOW.plus(age % refresh_for.min(hard_for));
            let lost = [if lost { now } else { Time::UNSET }, Time::UNSET, Time::UNSET];
            let at = now.plus(wait).min(last_moment(&POLICY, &held, &Doubt { lost, ..Doubt::default() }));
            for doubt in [Doubt::default(), Doubt { tries, lost, not_before: at, ..Doubt::default() }] {
                let phase = linked(held, doubt);
                let core = match phase.due(&POLICY) { Due::Tick(at) => at, _ => unreachable!() };
                let due = due_at(&POLICY, &phase, now, seed).unwrap();
                prop_assert!(due <= core.max(last_moment(&POLICY, &held, &doubt).minus(LAST)), "{due:?} {core:?}");
                prop_assert!(due <= held.end());
            }
        }
    }
}
