//! What is told: `tracing` events under the target `evergrant`, and counters of the `metrics` facade. No metric has a label for a grant;
//! events name its realm, and nothing names a token (I6).

use std::time::Duration;

use evergrant::phase::Rotation;
use evergrant::{Purpose, Tell};
use evergrant_wire::Reply;

/// A request and what became of it.
pub(crate) fn sent(purpose: Purpose, reply: &Reply, took: Duration) {
    let purpose = match purpose {
        Purpose::Exchange => "exchange",
        Purpose::Refresh => "refresh",
        Purpose::Revoke => "revoke",
    };
    let answer = match (reply.status(), reply.received()) {
        (Some(200..=299), _) => "2xx",
        (Some(429), _) => "429",
        (Some(400..=499), _) => "4xx",
        (Some(500..=599), _) => "5xx",
        (Some(_), _) => "other",
        (None, evergrant::Received::NotSent) => "not_sent",
        (None, _) => "no_answer",
    };
    metrics::counter!("evergrant_requests_total", "purpose" => purpose, "answer" => answer).increment(1);
    metrics::histogram!("evergrant_request_seconds", "purpose" => purpose).record(took.as_secs_f64());
    if answer != "2xx" {
        tracing::warn!(
            target: "evergrant",
            purpose,
            answer,
            status = reply.status(),
            failure = reply.failure().map(tracing::field::display),
            intuit_tid = reply.correlation(),
            "a request was not answered with what was asked for"
        );
    }
}

/// What a session told.
pub(crate) fn told(realm: &str, tell: Option<&Tell>) {
    let Some(tell) = tell else { return };
    let outcome = match tell {
        Tell::Linked => "linked",
        Tell::Refreshed(Rotation::New) => "rotated",
        Tell::Refreshed(Rotation::Same) => "refreshed",
        Tell::Declined => "declined",
        Tell::ConsentExpired => "consent_expired",
        Tell::ExchangeRefused(_) => "exchange_refused",
        Tell::ExchangeLost => "exchange_lost",
        Tell::NotSent { .. } => "not_sent",
        Tell::AnswerLost { .. } => "answer_lost",
        Tell::NoVerdict { .. } => "no_verdict",
        Tell::AppAtFault { .. } => "app_at_fault",
        Tell::Suspect { .. } => "suspect",
        Tell::NextCandidate => "next_candidate",
        Tell::CandidateKept => "candidate_kept",
        Tell::Poisoned => "poisoned",
        Tell::RevokeUnanswered { .. } => "revoke_unanswered",
        Tell::Revived => "revived",
        Tell::Closed(_) => "closed",
    };
    metrics::counter!("evergrant_outcomes_total", "outcome" => outcome).increment(1);
    match tell {
        Tell::Closed(reason) => {
            tracing::error!(target: "evergrant", realm, ?reason, "a grant has ended: its user must consent again");
        }
        Tell::AppAtFault { .. } => {
            tracing::error!(target: "evergrant", realm, "the authority refuses the app itself: compare its keys");
        }
        Tell::Linked | Tell::Refreshed(_) => tracing::debug!(target: "evergrant", realm, outcome, "told"),
        _ => tracing::info!(target: "evergrant", realm, outcome, "told"),
    }
}

/// A token was handed out.
pub(crate) fn served(from: &'static str) {
    metrics::counter!("evergrant_served_total", "from" => from).increment(1);
}
