//! A set of phases and events that stands for all of them, for the transition table and for what walks through it.

use evergrant::phase::{
    Consent, Doubt, Event, Grant, Held, Hint, Issued, Lost, Outcome, Proof, Refusal, Rotation,
};
use evergrant::{Call, Phase, Purpose, Reason, Time};

use crate::world::START;

/// The moment at which the table is read.
pub const NOW: Time = Time::from_unix(START);

/// The tokens that the table's phases hold: issued a quarter of an hour ago.
pub const HELD: Held = Held {
    issued_at: Time::from_unix(START - 900),
    access_for: 3_600,
    refresh_for: 8_726_400,
    hard_for: 157_680_000,
    serial: 3,
    candidates: 0,
};

const CALM: Doubt =
    Doubt { lost: Lost::None, refusals: 0, tries: 0, hint: Hint::None, not_before: Time::UNSET };
const LOST: Doubt = Doubt { lost: Lost::Since(Time::from_unix(START - 600)), tries: 1, ..CALM };
const LOST_LONG_AGO: Doubt = Doubt { lost: Lost::Since(Time::from_unix(START - 86_400)), tries: 9, ..CALM };
const SUSPECT: Doubt = Doubt { refusals: 1, ..CALM };
const LAST_CHANCE: Doubt = Doubt { refusals: 9, ..CALM };
const WAITING: Doubt = Doubt { not_before: Time::from_unix(START + 600), ..SUSPECT };

const fn with(consent: Consent, grant: Grant) -> Phase {
    Phase { consent, grant, calls: 4, generation: 1, consumed: Time::UNSET, revision: 9, unsaved: false }
}

const fn grant(grant: Grant) -> Phase {
    with(Consent::None, grant)
}

const fn consent(consent: Consent) -> Phase {
    Phase { generation: 0, ..with(consent, Grant::Unlinked) }
}

const LINKED: Grant = Grant::Linked { held: HELD, doubt: CALM };
const EXCHANGING: Consent = Consent::Exchanging {
    call: 4,
    sent_at: Time::from_unix(START - 5),
    until: Time::from_unix(START + 595),
    tries: 0,
};

const fn refreshing(sent: u64, candidates: u8) -> Grant {
    Grant::Refreshing {
        held: Held { candidates, ..HELD },
        doubt: CALM,
        call: 4,
        sent_at: Time::from_unix(sent),
        untried: candidates,
    }
}

const fn closed(reason: Reason) -> Grant {
    let doubt = match reason {
        Reason::AnswerLost => LOST_LONG_AGO,
        Reason::Refused => LAST_CHANCE,
        _ => CALM,
    };
    Grant::Closed { reason, held: Held { access_for: 0, ..HELD }, doubt }
}

/// The phases, by name.
#[must_use]
pub fn phases() -> Vec<(&'static str, Phase)> {
    let until = Time::from_unix(START + 600);
    let past = Time::from_unix(START);
    vec![
        ("new", Phase::NEW),
        ("consent pending", consent(Consent::Pending { until })),
        ("consent pending, over", consent(Consent::Pending { until: past })),
        ("exchange unsent", consent(Consent::Unsent { until, retry_at: past, tries: 1 })),
        ("exchange unsent, code too old", consent(Consent::Unsent { until: past, retry_at: past, tries: 3 })),
        ("exchanging", consent(EXCHANGING)),
        ("exchange over", consent(Consent::Over { call: 4, refused: false })),
        ("exchange refused", consent(Consent::Over { call: 4, refused: true })),
        ("linked", grant(LINKED)),
        ("linked, access over", grant(Grant::Linked { held: Held { access_for: 600, ..HELD }, doubt: CALM })),
        (
            "linked, refresh over",
            grant(Grant::Linked { held: Held { refresh_for: 900, ..HELD }, doubt: CALM }),
        ),
        ("linked, hard end", grant(Grant::Linked { held: Held { hard_for: 900, ..HELD }, doubt: CALM })),
        (
            "linked, candidates full",
            grant(Grant::Linked { held: Held { candidates: 2, ..HELD }, doubt: CALM }),
        ),
        ("linked, consent pending", with(Consent::Pending { until }, LINKED)),
        ("linked, exchanging", with(EXCHANGING, LINKED)),
        ("linked, not stored", Phase { unsaved: true, ..grant(LINKED) }),
        ("refreshing", grant(refreshing(START - 5, 0))),
        ("refreshing, timed out", grant(refreshing(START - 60, 0))),
        ("refreshing, one candidate", grant(refreshing(START - 5, 1))),
        (
            "refreshing, exchange unsent",
            with(Consent::Unsent { until, retry_at: past, tries: 1 }, refreshing(START - 5, 0)),
        ),
        ("uncertain", grant(Grant::Uncertain { held: HELD, doubt: LOST })),
        ("uncertain, a day later", grant(Grant::Uncertain { held: HELD, doubt: LOST_LONG_AGO })),
        ("suspect", grant(Grant::Suspect { held: HELD, doubt: SUSPECT })),
        ("suspect, waiting", grant(Grant::Suspect { held: HELD, doubt: WAITING })),
        ("suspect, last chance", grant(Grant::Suspect { held: HELD, doubt: LAST_CHANCE })),
        ("revoking", grant(Grant::Revoking { call: 4, sent_at: Time::from_unix(START - 5), tries: 0 })),
        ("revocation unanswered", grant(Grant::Unrevoked { retry_at: past, tries: 1 })),
        (
            "closed: expired",
            grant(Grant::Closed {
                reason: Reason::Expired,
                held: Held { refresh_for: 900, ..HELD },
                doubt: CALM,
            }),
        ),
        ("closed: expired, clock put right", grant(closed(Reason::Expired))),
        ("closed: expired, clock put right, exchanging", with(EXCHANGING, closed(Reason::Expired))),
        (
            "closed: hard end",
            grant(Grant::Closed {
                reason: Reason::HardEnd,
                held: Held { hard_for: 900, ..HELD },
                doubt: CALM,
            }),
        ),
        ("closed: refused", grant(closed(Reason::Refused))),
        ("closed: answer lost", grant(closed(Reason::AnswerLost))),
        ("closed: disconnected", grant(closed(Reason::Disconnected))),
        ("closed: poisoned", grant(closed(Reason::Poisoned))),
        ("closed: revoked", grant(closed(Reason::Revoked))),
        ("closed: revoked, unanswered", grant(closed(Reason::RevokeUnanswered))),
    ]
}

/// Tokens as most answers bring them.
pub const ISSUED: Issued =
    Issued { access_for: 3_600, refresh_for: 8_726_400, hard_for: 0, refresh: Rotation::New };

/// The events, by name.
#[must_use]
pub fn events() -> Vec<(String, Event)> {
    let mut all: Vec<(String, Event)> = [
        ("saved", Event::Saved { revision: 9 }),
        ("tick", Event::Tick),
        ("demand", Event::Demand),
        ("refresh", Event::Refresh),
        ("ask", Event::Ask),
        ("callback", Event::Callback(Proof::Stored)),
        ("callback, signed", Event::Callback(Proof::Signed { made_at: Time::from_unix(START - 60) })),
        (
            "callback, signed too long ago",
            Event::Callback(Proof::Signed { made_at: Time::from_unix(START - 3_600) }),
        ),
        ("declined", Event::Declined(Proof::Stored)),
        ("401", Event::Unauthorized { serial: 3 }),
        ("401 of another token", Event::Unauthorized { serial: 2 }),
        ("disconnect redirect", Event::Disconnected),
        ("candidate", Event::Candidate { issued_at: Time::from_unix(START - 30), issued: ISSUED }),
        ("revoke", Event::Revoke),
    ]
    .into_iter()
    .map(|(name, event)| (name.into(), event))
    .collect();
    let outcomes = [
        ("not sent", Outcome::NotSent),
        ("no answer", Outcome::NoAnswer),
        ("no verdict", Outcome::NoVerdict { retry_after: 0 }),
        ("tokens", Outcome::Tokens(ISSUED)),
        ("tokens, same value", Outcome::Tokens(Issued { refresh: Rotation::Same, ..ISSUED })),
        ("revoked", Outcome::Revoked),
        ("invalid_grant", Outcome::Refused(Refusal::InvalidGrant)),
        ("app at fault", Outcome::Refused(Refusal::AppAtFault)),
    ];
    for purpose in [Purpose::Exchange, Purpose::Refresh, Purpose::Revoke] {
        for (name, outcome) in outcomes {
            let generation = u32::from(purpose != Purpose::Exchange);
            let call = Call { number: 4, generation, purpose };
            let label = format!("{purpose:?} answered: {name}").to_lowercase();
            all.push((label, Event::Answer { call, outcome }));
        }
    }
    all
}

/// The name of a phase's place in the diagram: that of the consent, and that of the grant.
#[must_use]
pub fn places(phase: &Phase) -> (&'static str, &'static str) {
    let consent = match phase.consent {
        Consent::None => "None",
        Consent::Pending { .. } => "Pending",
        Consent::Unsent { .. } => "Unsent",
        Consent::Exchanging { .. } => "Exchanging",
        Consent::Over { .. } => "Over",
    };
    let grant = match phase.grant {
        Grant::Unlinked => "Unlinked",
        Grant::Linked { .. } => "Linked",
        Grant::Refreshing { .. } => "Refreshing",
        Grant::Uncertain { .. } => "Uncertain",
        Grant::Suspect { .. } => "Suspect",
        Grant::Revoking { .. } => "Revoking",
        Grant::Unrevoked { .. } => "Unrevoked",
        Grant::Closed { .. } => "Closed",
    };
    (consent, grant)
}
