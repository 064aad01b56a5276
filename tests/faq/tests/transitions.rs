//! Every event on every phase, as a committed table, with the diagram that is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use evergrant::phase::{Bytes, Event, Grant, Step, step};
use evergrant::{Due, Phase, Policy, Provider, Time};
use faq::checks;
use faq::phases::{NOW, events, phases, places};
use faq::rules::committed;
use faq::world::START;

const POLICY: Policy = Provider::INTUIT_SANDBOX.policy;

fn moment(at: Time) -> String {
    let seconds = i128::from(at.unix()) - i128::from(START);
    if at == Time::UNSET { "at once".into() } else { format!("{seconds:+} s") }
}

/// Where a phase stands, in words: what it waits for included.
fn describe(phase: &Phase) -> String {
    let (consent, grant) = places(phase);
    let reason = match phase.grant {
        Grant::Closed { reason, .. } => format!("({reason:?})"),
        _ => String::new(),
    };
    let stored = Phase { unsaved: false, ..*phase };
    let due = match stored.due(&POLICY) {
        Due::Store => "store".into(),
        Due::Tick(at) => moment(at),
        Due::Consent => "the user".into(),
    };
    format!("{consent} + {grant}{reason}, due: {due}")
}

fn effects(taken: &Step) -> String {
    let mut said: Vec<String> = Vec::new();
    said.extend(taken.effects.store.map(|_| "store".into()));
    said.extend(taken.effects.send.map(|call| format!("send {:?}", call.purpose)));
    said.extend(taken.effects.tell.map(|tell| {
        let text = format!("{tell:?}");
        let name: String = text.split(" {").next().unwrap_or_default().into();
        format!("tell {name}")
    }));
    if taken.bytes != Bytes::Keep {
        said.push(format!("bytes {:?}", taken.bytes));
    }
    if said.is_empty() { "nothing".into() } else { said.join(", ") }
}

fn table() -> String {
    let mut out = String::from(
        "# Every event on every phase\n\nRead at one moment, under Intuit's policy; times are seconds from then. A phase \
         is its consent + its grant. Made by\n`tests/faq/tests/transitions.rs`.\n",
    );
    for (name, phase) in phases() {
        let _ = writeln!(
            out,
            "\n## {name}\n\n{}\n\n| Event | Then | Effects |\n| --- | --- | --- |",
            describe(&phase)
        );
        for (label, event) in events() {
            let row = match step(&POLICY, &phase, NOW, event) {
                Err(refused) => format!("refused: {refused} | "),
                Ok(taken) if taken.phase == phase => format!("as it was | {}", effects(&taken)),
                Ok(taken) => format!("{} | {}", describe(&taken.phase), effects(&taken)),
            };
            let row = row.replace(&START.to_string(), "now").replace(&(START + 55).to_string(), "+55 s");
            let row = row.replace(&(START + 600).to_string(), "+600 s");
            let _ = writeln!(out, "| {label} | {row} |");
        }
    }
    out
}

/// The edges of one part of the phase: from, to, by which events.
fn edges(part: impl Fn(&Phase) -> &'static str) -> BTreeMap<(&'static str, &'static str), BTreeSet<String>> {
    let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (_, phase) in phases() {
        for (label, event) in events() {
            let Ok(taken) = step(&POLICY, &phase, NOW, event) else { continue };
            let (from, to) = (part(&phase), part(&taken.phase));
            if from != to {
                let short = label.split(',').next().unwrap_or_default().replace(" answered:", "");
                found.entry((from, to)).or_default().insert(short);
            }
        }
    }
    found
}

fn diagram() -> String {
    let mut out = String::from(
        "# The two parts of a phase\n\nMade from the same cells as the table of transitions, by \
         `tests/faq/tests/transitions.rs`. An edge is an event that\nmoves the part; what leaves it where it is, is not \
         drawn.\n",
    );
    for (title, first, edges) in [
        ("The consent under way", "None", edges(|phase| places(phase).0)),
        ("The grant in place", "Unlinked", edges(|phase| places(phase).1)),
    ] {
        let _ = writeln!(out, "\n## {title}\n\n```mermaid\nstateDiagram-v2\n    [*] --> {first}");
        for ((from, to), labels) in edges {
            let labels: Vec<String> = labels.into_iter().collect();
            let _ = writeln!(out, "    {from} --> {to}: {}", labels.join(" · "));
        }
        out += "```\n";
    }
    out
}

#[test]
fn the_table_is_up_to_date() {
    committed("core/src/guide/transitions.md", &table()).unwrap();
}

#[test]
fn the_diagram_is_up_to_date() {
    committed("core/src/guide/diagram.md", &diagram()).unwrap();
}

/// I8 in every phase of the table, and in whatever follows from one event.
#[test]
fn every_phase_leads_on() {
    for (name, phase) in phases() {
        checks::leads_on(&POLICY, &phase, NOW).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        for (label, event) in events() {
            let Ok(taken) = step(&POLICY, &phase, NOW, event) else { continue };
            let stored = Phase { unsaved: false, ..taken.phase };
            checks::leads_on(&POLICY, &stored, NOW)
                .unwrap_or_else(|wrong| panic!("{name}, {label}: {wrong}"));
        }
    }
}

/// Whatever changes is stored, under a higher revision, before anything else happens (I1, I3).
#[test]
fn whatever_changes_is_stored() {
    for (name, phase) in phases() {
        for (label, event) in events() {
            let Ok(taken) = step(&POLICY, &phase, NOW, event) else { continue };
            if matches!(event, Event::Saved { .. }) {
                continue;
            }
            let changed = taken.phase != phase;
            assert_eq!(taken.effects.store.is_some(), changed || phase.unsaved, "{name}, {label}");
            assert!(taken.effects.send.is_none() || changed, "{name}, {label}: sent without an intent");
            assert!(!changed || taken.phase.revision == phase.revision + 1, "{name}, {label}");
            assert_eq!(
                taken.effects.send,
                taken.effects.send.and(taken.phase.in_flight()),
                "{name}, {label}"
            );
        }
    }
}

/// Without a clock nothing is decided, and what arrives is taken in all the same (I5).
#[test]
fn without_a_clock_only_what_arrives_counts() {
    for (name, phase) in phases() {
        for (label, event) in events() {
            let taken = step(&POLICY, &phase, Time::UNSET, event);
            let may = matches!(event, Event::Saved { .. } | Event::Answer { .. });
            assert!(may || taken.is_err(), "{name}, {label}: {taken:?}");
        }
    }
}
