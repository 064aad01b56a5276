//! A slice of the long run: the same seeds, fewer of them.
#![allow(missing_docs)]

use chaos::book::Verdict;
use chaos::run::{Plan, Report, all, one};
use chaos::script::Script;
use chaos::server::Ground;
use chaos::{Start, report};

const SEED: u64 = 1;

fn plan(ground: &Ground, client: &str, grants: usize, refreshes: u64) -> Plan {
    Plan {
        start: Start {
            program: env!("CARGO_BIN_EXE_chaos").into(),
            client: client.into(),
            store: ground.address.clone(),
            schema: format!("chaos_{}_{}", client.replace('-', "_"), std::process::id()),
            folder: ground.folder().into(),
            node: concat!(env!("CARGO_MANIFEST_DIR"), "/node").into(),
            links: None,
        },
        seed: SEED,
        refreshes,
        first: 0,
        workers: 3,
        grants,
        fleets: 2,
        reductions: 3,
        progress: false,
    }
}

fn loses_none(store: &str, grants: usize, refreshes: u64) -> Report {
    let ground = Ground::new(store).unwrap();
    let report = all(&plan(&ground, "keeper", grants, refreshes)).unwrap();
    assert_eq!(
        report.faults(),
        0,
        "{}\n{}",
        report::losses(&report),
        report::table(std::slice::from_ref(&report))
    );
    // It was harmed, and it was not spared by doing nothing.
    assert!(
        report.refreshes >= refreshes && report.struck > report.grants / grants as u64 && report.kills > 0,
        "{report:?}"
    );
    assert!(report.count(Verdict::Kept) > report.grants / 2, "{report:?}");
    report
}

/// L1, I1, I4, I5 (EXC-1, REF-1 to REF-4, STA-4): nothing that the harness can do to a fleet costs a grant that could have been kept.
#[test]
fn no_grant_is_lost_on_sqlite_that_could_have_been_kept() {
    loses_none("sqlite", 1, 5_000);
}

/// The same on a server. `cargo xtask test chaos` installs one where there is none, and says so here.
#[test]
fn no_grant_is_lost_on_postgres_that_could_have_been_kept() {
    if std::env::var_os("CHAOS_POSTGRES").is_some() {
        loses_none("postgres", 1, 1_500);
        loses_none("postgres", 4, 500);
    }
}

/// REF-4, I4: four grants in one store are refused together. Real processes hold all of them, by a row that they write and read in the
/// midst of harm, and let go when a probe of one of them brings tokens.
#[test]
fn no_grant_is_lost_in_a_hold_that_could_have_been_kept() {
    let report = loses_none("sqlite", 4, 3_000);
    assert!(report.holds * 4 * 2 > report.grants, "most episodes have one: {report:?}");
}

/// A harness that finds nothing in anybody proves nothing.
#[test]
fn the_same_seeds_cost_a_program_with_a_lock_its_grants() {
    let ground = Ground::new("sqlite").unwrap();
    let report = all(&plan(&ground, "timed-lock", 1, 1_500)).unwrap();
    assert!(report.faults() > 5, "{report:?}");
    assert!(report.losses.iter().all(|loss| !loss.script.harms.is_empty() && loss.script.harms.len() < 9));
    assert!(
        report.losses.iter().any(|loss| loss.again && loss.script.harms.len() <= 2),
        "{:?}",
        report.losses
    );
}

fn chaos(words: &[&str]) -> (bool, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_chaos")).args(words).output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (done.status.success(), said.concat())
}

/// A worker in a network namespace of its own, whose link goes down: nothing of it comes to the endpoint, and no grant is lost.
#[test]
fn a_link_that_goes_down_costs_no_grant() {
    let cut = ["--episode", "2", "--harms", "5 cut 200000"];
    let (_, said) = chaos(&[&cut[..], &["--cut", "endpoint"]].concat());
    assert!(said.contains("its request does not arrive") && said.ends_with("the grant: kept\n"), "{said}");
    let (_, said) = chaos(&[&cut[..], &["--cut", "namespaces"]].concat());
    if let Some(why) = said.lines().find(|line| line.contains("no network namespaces here")) {
        println!("not tried: {why}");
        return;
    }
    assert!(!said.contains("its request does not arrive") && said.ends_with("the grant: kept\n"), "{said}");
    assert!(said.contains("has none"), "whom it strikes has no token to give: {said}");
    let (is_kept, said) = chaos(&["--cut", "namespaces", "--refreshes", "600"]);
    assert!(is_kept && said.contains("the link of its network namespace goes down"), "{said}");
}

fn verdict(client: &str, episode: u64, harms: &str) -> Verdict {
    worst(client, 1, episode, harms)
}

fn worst(client: &str, grants: usize, episode: u64, harms: &str) -> Verdict {
    let ground = Ground::new("sqlite").unwrap();
    let plan = plan(&ground, client, grants, 1);
    let script = Script::new(SEED, episode, plan.workers, grants).with_harms(harms).unwrap();
    let outcome = one(&plan, &script, 1).unwrap();
    assert!(!outcome.trace.is_empty());
    outcome.verdict()
}

/// Episode 2: somebody asks once a day, and the authority gives a token that is replaced 24 hours more.
#[test]
fn an_answer_that_is_lost_costs_whoever_does_not_come_back_within_a_day() {
    assert_eq!(verdict("no-lock", 2, "25 answer-lost worked"), Verdict::LetDie);
    assert_eq!(verdict("keeper", 2, "25 answer-lost worked"), Verdict::Kept);
}

#[test]
fn without_harm_everybody_keeps_it() {
    let clients =
        ["keeper", "no-lock", "timed-lock", "compare-and-swap", "delete-on-invalid-grant", "huskarl"];
    for client in clients {
        assert_eq!(verdict(client, 2, ""), Verdict::Kept, "{client}");
    }
}

#[test]
fn a_callback_that_comes_twice_is_exchanged_once() {
    for gate in 0..9 {
        let harms = format!("0 callback-twice {gate}");
        assert_eq!(verdict("keeper", 2, &harms), Verdict::Kept, "{harms}");
    }
    assert_eq!(verdict("no-lock", 2, "0 callback-twice 1"), Verdict::CodeSentTwice);
}

#[test]
fn a_loss_that_nobody_could_have_avoided_is_told_apart() {
    // Episode 0: a token that is replaced is dead at once, and the answer with the new one does not come.
    assert_eq!(Script::new(SEED, 0, 3, 1).policy, "hard");
    assert_eq!(verdict("keeper", 0, "21 answer-lost worked"), Verdict::NobodysFault);
    // Nothing was worked on, and for two days nobody is there to try again: after that STA-4 forbids it.
    assert_eq!(verdict("keeper", 24, "24 kill 4 0 200000 fleet"), Verdict::Forbidden);
}

/// The token that came after a lost answer may be stale, where the authority has worked on the lost request since.
#[test]
fn a_request_that_is_worked_on_after_its_client_gave_it_up_costs_nothing() {
    assert_eq!(verdict("keeper", 6, "5 stall 4 50"), Verdict::Kept);
    assert_eq!(verdict("no-lock", 6, "5 stall 2 50"), Verdict::LetDie);
}

/// An intent that was written and not carried out, with the store down for longer than STA-4's 24 hours.
#[test]
fn whoever_knows_that_nothing_was_sent_says_so_when_the_store_is_back() {
    assert_eq!(verdict("keeper", 752, "26 store-down 3 237983"), Verdict::Kept);
}

/// The same, and all processes are killed while the store is away: what they knew lies in a spill folder.
#[test]
fn that_nothing_was_sent_outlives_whoever_knew_it() {
    let harms = "14 store-down 2 168175 done; 20 kill 1 0 3 fleet";
    assert_eq!(verdict("keeper", 9393, harms), Verdict::Kept);
}

/// STA-4: every probe of a hold goes out from the process that reaches nobody.
#[test]
fn a_hold_ends_no_grant_whose_answer_is_missing() {
    let harms = "11 answer-torn; 18 invalid-grant 7264; 18 cut 99915";
    assert_eq!(worst("keeper", 4, 891, harms), Verdict::Kept);
}

/// I5: tokens came when the lease had run out, and the process is killed before it has merged them.
#[test]
fn tokens_of_a_process_that_was_overtaken_outlive_it() {
    let harms = "11 kill 16 0 151 fleet; 11 stall 7 2231 race";
    assert_eq!(worst("keeper", 4, 889, harms), Verdict::Kept);
}

/// A process whose clock is behind by two hours does not keep the others from looking in time.
#[test]
fn a_clock_that_is_behind_delays_nobody_else() {
    assert_eq!(verdict("keeper", 25307, "4 skew -7140; 21 closed 84328"), Verdict::Kept);
}

/// A lease that ended while the process stood still between the claim and the send. What it would send makes the token stale that
/// another process has got meanwhile; and it dies before it can tell.
#[test]
fn whoever_stood_still_past_its_lease_sends_nothing() {
    assert_eq!(verdict("keeper", 7538, "15 stall 3 27633; 15 kill 5 0 179092"), Verdict::Kept);
}

/// The clock of the process that overtook the lost request is ahead. The other one takes its token for one of the future and renews it at
/// once; and only then does the authority work on the lost request.
#[test]
fn a_renewal_at_once_does_not_settle_what_became_of_a_lost_request() {
    assert_eq!(verdict("keeper", 4191, "5 skew 131; 27 stall 4 3079 race"), Verdict::Kept);
}
