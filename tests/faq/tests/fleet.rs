//! Two processes and one record: what the lives of a fleet reach, and the cases that they were reduced to.

use std::collections::BTreeMap;

use evergrant::phase::Grant;
use evergrant::{Input, Scopes, Tell};
use evergrant_emulator::authority::Policy;
use faq::checks;
use faq::fleet::How;
use faq::script::Script;
use faq::world::{Clock, DAY, Entry, Fault, MINUTE, REDIRECT, World, approve, restore, tokens_in};

/// Bytes without end, the same ones each time.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap_or_default()
    };
    (0..length).map(|_| next()).collect()
}

/// What came of taking in records, and how often.
fn count(world: &World, seen: &mut BTreeMap<&'static str, u32>) {
    let mut add = |name| *seen.entry(name).or_default() += 1;
    for entry in &world.log {
        match entry {
            Entry::FencedOut => add("fenced out"),
            Entry::Spilled { .. } => add("spilled"),
            Entry::Merge(merge) => add(match (merge.how, &merge.outcome) {
                (How::Merged, Ok(_)) if merge.before.generation > merge.theirs.generation => "succeeded",
                (How::Merged, Ok(effects)) if effects.tell == Some(Tell::CandidateKept) => "candidate kept",
                (How::Merged, Ok(effects)) if effects.store.is_none() => "known already",
                (How::Merged, Ok(_)) => "took its place",
                (How::Merged, Err(_)) => "merge refused",
                (How::Adopted, _) if merge.before.revision < merge.after.revision => "adopted",
                (How::Adopted, _) => "nothing to adopt",
                (How::Loaded, _) => "loaded",
            }),
            _ => {}
        }
    }
}

/// A check that is never put to it proves nothing.
#[test]
fn the_lives_of_a_fleet_reach_all_that_can_come_of_a_record() {
    let mut seen = BTreeMap::new();
    for seed in 0..600 {
        // Without a clock that lies, with a consent at the beginning.
        let mut life = bytes(seed, 121);
        life[0] = 0x20 + u8::try_from(seed % 4).unwrap();
        let mut world = Script::from_bytes(&life).run();
        checks::judge(&mut world).unwrap_or_else(|wrong| panic!("{wrong}\n{life:?}"));
        count(&world, &mut seen);
    }
    let all = [
        "fenced out",
        "spilled",
        "candidate kept",
        "took its place",
        "known already",
        "merge refused",
        "adopted",
        "loaded",
    ];
    for name in all {
        assert!(seen.get(name).is_some_and(|times| *times >= 1), "{name}: {seen:?}");
    }
}

/// Two copies of one record, and the first to act has failed to store twice: its revision is above that of the other, which
/// has stored new tokens. A store that looks at revisions alone would take the old tokens for the newer ones.
#[test]
fn a_writer_that_failed_to_store_is_fenced_out_by_what_it_has_not_read() {
    let mut world = World::linked(Policy::HARD);
    world.fork();
    world.store.fail = 4;
    let _ = world.input("refresh", Input::Refresh);
    world.wait(MINUTE);
    let _ = world.tick();
    let ours = world.session.record(&world.app).revision();
    world.store.fail = 0;
    world.switch();
    let _ = world.input("refresh", Input::Refresh);
    let stored = world.store.text.clone().unwrap();
    let newest = tokens_in(&stored);
    let theirs = restore(&world.app, &stored).record(&world.app).revision();
    assert!(ours > theirs, "{ours} {theirs}: by its revision it would be the newer one");
    world.switch();
    world.settle();
    assert!(world.log.iter().any(|entry| matches!(entry, Entry::FencedOut)));
    assert_eq!(world.held(), newest);
    checks::judge(&mut world).unwrap();
}

/// SCO-4: a consent brought tokens that could not be stored, and meanwhile the older grant was refreshed elsewhere.
#[test]
fn a_later_consent_succeeds_what_was_stored_meanwhile() {
    let mut world = World::linked(Policy::GRACE);
    world.fork();
    let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
    let back = world.decide(&url, approve()).unwrap();
    world.faults.push_back(Fault::StoreFails(9));
    let _ = world.callback(&back).unwrap();
    let (newest, generation) = (world.refresh_token(), world.session.phase().generation);
    world.store.fail = 0;
    world.switch();
    world.wait(2 * MINUTE);
    world.read();
    let _ = world.input("refresh", Input::Refresh);
    world.switch();
    world.read();
    let mut seen = BTreeMap::new();
    count(&world, &mut seen);
    assert_eq!(seen.get("succeeded"), Some(&1), "{seen:?}");
    assert_eq!(world.held(), [newest]);
    assert!(world.session.phase().generation >= generation && !world.session.phase().unsaved);
    checks::judge(&mut world).unwrap();
}

/// I5: a session that a wrong clock has ended still holds tokens that no store has seen.
#[test]
fn a_session_that_has_ended_brings_its_tokens_too() {
    let mut world = World::linked(Policy::HARD);
    world.fork();
    world.faults.push_back(Fault::StoreFails(9));
    let _ = world.input("refresh", Input::Refresh);
    let newest = world.refresh_token();
    world.set_clock(Clock::Off(i64::try_from(200 * DAY).unwrap()));
    let _ = world.tick();
    assert!(matches!(world.session.phase().grant, Grant::Closed { .. }));
    world.set_clock(Clock::Right);
    world.store.fail = 0;
    world.switch();
    world.wait(2 * MINUTE);
    world.read();
    world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
    world.switch();
    world.read();
    assert!(world.held().contains(&newest), "the only token that works is gone");
}
