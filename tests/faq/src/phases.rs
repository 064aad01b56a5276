//! A set of phases and events that stands for all of them, for the transition table and for what walks through it.

use evergrant::phase::{Consent, Doubt, Event, Grant, Held, Issued, Outcome, Proof, Refusal, Rotation};
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

const CALM: Doubt = Doubt::NONE;
const LOST: Doubt = Doubt { lost: lost(START - 600), tries: 1, ..CALM };
const LOST_LONG_AGO: Doubt = Doubt { lost: lost(START - 86_400), tries: 9, ..CALM };
const SUSPECT: Doubt = Doubt { refusals: 1, ..CALM };
const LAST_CHANCE: Doubt = Doubt { refusals: 9, ..CALM };
const WAITING: Doubt = Doubt { not_before: Time::from_unix(START + 600), ..SUSPECT };

const fn lost(since: u64) -> [Time; 3] {
    [Time::from_unix(since), Time::UNSET, Time::UNSET]
}

const fn grant(grant: Grant, held: Held, doubt: Doubt) -> Phase {
    Phase { grant, held, doubt, calls: 4, generation: 1, revision: 9, ..Phase::NEW }
}

const fn without_tokens(grant: Grant) -> Phase {
    Phase { grant, calls: 4, generation: 1, revision: 9, ..Phase::NEW }
}

const fn consent(consent: Consent) -> Phase {
    Phase { consent, generation: 0, ..without_tokens(Grant::Unlinked) }
}

const LINKED: Phase = grant(Grant::Linked, HELD, CALM);
const EXCHANGING: Consent = Consent::Exchanging {
    call: 4,
    sent_at: Time::from_unix(START - 5),
    until: Time::from_unix(START + 595),
    tries: 0,
};

const fn linked(held: Held) -> Phase {
    grant(Grant::Linked, held, CALM)
}

const fn refreshing(sent: u64, candidates: u8) -> Phase {
    let sent_at = Time::from_unix(sent);
    let held = Held { candidates, ..HELD };
    grant(Grant::Refreshing { call: 4, sent_at, untried: candidates }, held, CALM)
}

const fn closed(reason: Reason) -> Phase {
    let doubt = match reason {
        Reason::AnswerLost => LOST_LONG_AGO,
        Reason::Refused => LAST_CHANCE,
        _ => CALM,
    };
    grant(Grant::Closed { reason }, Held { access_for: 0, ..HELD }, doubt)
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
        ("linked", LINKED),
        ("linked, access over", linked(Held { access_for: 600, ..HELD })),
        ("linked, refresh over", linked(Held { refresh_for: 900, ..HELD })),
        ("linked, hard end", linked(Held { hard_for: 900, ..HELD })),
        ("linked, candidates full", linked(Held { candidates: 2, ..HELD })),
        ("linked, consent pending", Phase { consent: Consent::Pending { until }, ..LINKED }),
        ("linked, exchanging", Phase { consent: EXCHANGING, ..LINKED }),
        ("linked, not stored", Phase { unsaved: true, ..LINKED }),
        ("refreshing", refreshing(START - 5, 0)),
        ("refreshing, timed out", refreshing(START - 60, 0)),
        ("refreshing, one candidate", refreshing(START - 5, 1)),
        (
            "refreshing, exchange unsent",
            Phase {
                consent: Consent::Unsent { until, retry_at: past, tries: 1 },
                ..refreshing(START - 5, 0)
            },
        ),
        ("uncertain", grant(Grant::Uncertain, HELD, LOST)),
        ("uncertain, a day later", grant(Grant::Uncertain, HELD, LOST_LONG_AGO)),
        ("suspect", grant(Grant::Suspect, HELD, SUSPECT)),
        ("suspect, waiting", grant(Grant::Suspect, HELD, WAITING)),
        ("suspect, last chance", grant(Grant::Suspect, HELD, LAST_CHANCE)),
        (
            "revoking",
            without_tokens(Grant::Revoking { call: 4, sent_at: Time::from_unix(START - 5), tries: 0 }),
        ),
        ("revocation unanswered", without_tokens(Grant::Unrevoked { retry_at: past, tries: 1 })),
        (
            "closed: expired",
            grant(Grant::Closed { reason: Reason::Expired }, Held { refresh_for: 900, ..HELD }, CALM),
        ),
        ("closed: expired, clock put right", closed(Reason::Expired)),
        (
            "closed: expired, clock put right, exchanging",
            Phase { consent: EXCHANGING, ..closed(Reason::Expired) },
        ),
        (
            "closed: hard end",
            grant(Grant::Closed { reason: Reason::HardEnd }, Held { hard_for: 900, ..HELD }, CALM),
        ),
        ("closed: refused", closed(Reason::Refused)),
        ("closed: answer lost", closed(Reason::AnswerLost)),
        ("closed: disconnected", closed(Reason::Disconnected)),
        ("closed: poisoned", closed(Reason::Poisoned)),
        ("closed: revoked", closed(Reason::Revoked)),
        ("closed: revoked, unanswered", closed(Reason::RevokeUnanswered)),
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
        (
            "candidate",
            Event::Candidate {
                issued_at: Time::from_unix(START - 30),
                lost_since: Time::UNSET,
                issued: ISSUED,
            },
        ),
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
        Grant::Linked => "Linked",
        Grant::Refreshing { .. } => "Refreshing",
        Grant::Uncertain => "Uncertain",
        Grant::Suspect => "Suspect",
        Grant::Revoking { .. } => "Revoking",
        Grant::Unrevoked { .. } => "Unrevoked",
        Grant::Closed { .. } => "Closed",
    };
    (consent, grant)
}
