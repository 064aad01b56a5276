//! The driver against stores that fail, processes that die between two steps, and writers that come late.

use std::time::Duration;

use evergrant::phase::Grant as State;
use evergrant::{App, ClientSecret, Input, Keys, Provider, Scopes, Tell, Time};
use evergrant_emulator::authority::RefreshState;
use evergrant_emulator::fault::{ClockJump, Delay, Endpoint, Fault, Harm};
use evergrant_emulator::server::{ClockChoice, Consent, Options as EmulatorOptions, Running, Server};
use evergrant_openid::IdTokenError;
use evergrant_ureq::{Client, Options};
use evergrant_vault::{
    ExportKey, Fault as StoreFault, Keyring, Keys as SealingKeys, Memory, Sqlite, Store, SystemEntropy,
    export, import,
};

use super::{Begun, Driver, Grant, Rows};
use crate::clock::Clock;
use crate::commands;
use crate::connect::{self, Plan};
use crate::failure::Exit;
use crate::journal::Journal;
use crate::sign_in;

const REDIRECT_URI: &str = "http://localhost:8000/callback";
const REALM: &str = "9341453000000001";

struct Virtual<'r>(&'r Running);

impl Clock for Virtual<'_> {
    fn now(&self) -> Time {
        Time::from_unix(self.0.clock().now())
    }

    fn wait_until(&self, then: Time) {
        self.0.clock().advance(then.since(self.now()).into());
    }
}

/// Everything round a driver; each part lives as long as the test.
struct Bench {
    intuit: Running,
    vault: Memory,
    http: Client,
    journal: Journal,
}

impl Bench {
    fn new() -> Self {
        let options = EmulatorOptions::new()
            .sandbox("client", "secret", &[REDIRECT_URI])
            .consent(Consent::Auto)
            .clock(ClockChoice::Fixed(1_800_000_000));
        let intuit = Server::start(options).unwrap();
        let http = Client::new(Options::default());
        Self { intuit, vault: Memory::new(), http, journal: Journal::none() }
    }

    fn with<R>(&self, vault: &dyn Store, work: impl FnOnce(&Driver<'_>) -> R) -> R {
        let at = self.intuit.addresses();
        let provider = Provider {
            authorization_endpoint: &at.authorize,
            token_endpoint: &at.token,
            revocation_endpoint: &at.revoke,
            userinfo_endpoint: &at.userinfo,
            jwks_uri: &at.jwks,
            api: &at.api,
            loopback_http: true,
            ..Provider::INTUIT_SANDBOX
        };
        let keys = Keys {
            client_id: "client",
            client_secret: ClientSecret::new("secret"),
            redirect_uris: &[REDIRECT_URI],
            further_scopes: &[],
            state_key: None,
        };
        let app = App::new(&provider, keys).unwrap();
        let clock = Virtual(&self.intuit);
        work(&Driver {
            app: &app,
            vault,
            http: &self.http,
            clock: &clock,
            journal: &self.journal,
            patience_seconds: 30,
        })
    }

    fn run<R>(&self, work: impl FnOnce(&Driver<'_>) -> R) -> R {
        self.with(&self.vault, work)
    }

    fn sent(&self, endpoint: Endpoint) -> usize {
        self.intuit.log().iter().filter(|entry| entry.endpoint == Some(endpoint)).count()
    }

    /// Whether what is stored still opens the authority, by asking it.
    fn lives(&self) -> bool {
        self.intuit.clock().advance(3_600);
        self.run(|driver| {
            let mut grant = commands::fresh(driver, REALM).unwrap();
            let reply =
                commands::get(driver, &mut grant, &commands::path("companyinfo/{realm}", REALM)).unwrap();
            reply.status() == Some(200)
        })
    }
}

fn plan(scopes: Scopes) -> Plan<'static> {
    Plan { redirect_uri: REDIRECT_URI, scopes, realm: None, name: "default" }
}

/// A consent with its tokens stored, not yet moved in.
fn linked_slot(driver: &Driver<'_>, intuit: &Running, scopes: Scopes) -> Grant {
    let plan = plan(scopes);
    let (mut slot, url) = connect::begin(driver, &plan).unwrap();
    let callback = crate::demo::redirected(&url).unwrap();
    connect::take_callback(driver, &plan, &mut slot, &callback).unwrap();
    assert!(intuit.authority(|authority| authority.grants(0)).last().unwrap().is_alive());
    slot
}

fn connected(bench: &Bench) {
    bench.run(|driver| {
        let slot = linked_slot(driver, &bench.intuit, Scopes::ACCOUNTING);
        driver.move_in(slot).unwrap();
    });
}

/// REF-2, I2: a machine that slept between the claim and the send has lost its lease, and sends nothing any more.
#[test]
fn nothing_is_sent_at_a_leases_end() {
    let bench = Bench::new();
    connected(&bench);
    let before = bench.sent(Endpoint::Refresh);
    bench.run(|driver| {
        let mut grant = driver.load(REALM).unwrap();
        let effects = grant.session.handle(driver.app, driver.now(), Input::Refresh).unwrap();
        let Begun::Claimed(lease) = driver.take_lease(&mut grant, effects).unwrap() else { panic!("held") };
        bench.intuit.clock().advance(61);
        let tells = driver.carry_out(&mut grant, &lease, effects).unwrap();
        assert!(matches!(tells.as_slice(), [Tell::NotSent { .. }]), "{tells:?}");
    });
    assert_eq!(bench.sent(Endpoint::Refresh), before);
    assert!(bench.lives());
}

/// Nothing is sent where the intent cannot be stored.
#[test]
fn a_store_that_refuses_the_intent_keeps_the_token_at_home() {
    let bench = Bench::new();
    connected(&bench);
    let before = bench.sent(Endpoint::Refresh);
    bench.vault.fail_write(1, StoreFault::BeforeEffect);
    bench.run(|driver| {
        let mut grant = driver.load(REALM).unwrap();
        let failure = driver.act(&mut grant, |_| Some(Input::Refresh)).unwrap_err();
        assert_eq!(failure.exit, Exit::Store);
        assert!(
            grant.session.access_token(driver.now()).is_none(),
            "nothing is handed out of an unstored session"
        );
    });
    assert_eq!(bench.sent(Endpoint::Refresh), before);
    assert!(bench.lives());
}

/// REF-1: an answer that could not be stored at first is stored at last, and only then counts.
#[test]
fn a_store_that_fails_at_the_answer_is_asked_again() {
    for fault in [StoreFault::BeforeEffect, StoreFault::AfterEffect] {
        let bench = Bench::new();
        connected(&bench);
        bench.vault.fail_write(2, fault);
        bench.run(|driver| {
            let mut grant = driver.load(REALM).unwrap();
            let tells = driver.act(&mut grant, |_| Some(Input::Refresh)).unwrap();
            assert!(matches!(tells.last(), Some(Tell::Refreshed(_))));
        });
        assert!(bench.lives());
    }
}

/// STA-4: an answer that was never stored is asked for again with the token that is known to be sent.
#[test]
fn an_answer_that_was_never_stored_is_recovered_by_the_next_process() {
    let bench = Bench::new();
    connected(&bench);
    (2..7).for_each(|nth| bench.vault.fail_write(nth, StoreFault::BeforeEffect));
    bench.run(|driver| {
        let mut grant = driver.load(REALM).unwrap();
        let failure = driver.act(&mut grant, |_| Some(Input::Refresh)).unwrap_err();
        assert_eq!(failure.exit, Exit::Store);
        assert!(failure.to_string().contains("nothing of it is handed out"), "{failure}");
    });
    let other = bench.vault.another();
    bench.intuit.clock().advance(100);
    bench.with(&other, |driver| {
        let mut grant = driver.load(REALM).unwrap();
        let tells = commands::refresh_one(driver, &mut grant).unwrap();
        assert!(matches!(tells.last(), Some(Tell::Refreshed(_))));
    });
}

/// I5: whoever comes back after his lease was taken over neither overwrites nor drops.
#[test]
fn a_writer_that_was_fenced_out_merges() {
    let bench = Bench::new();
    connected(&bench);
    // The lease runs out while the answer is on its way.
    bench.intuit.arm(Fault::once(Endpoint::Refresh, Harm::ClockJump(ClockJump { seconds: 120 })));
    bench
        .intuit
        .arm(Fault::once(Endpoint::Refresh, Harm::Delay(Delay { milliseconds: 600, before_work: false })));
    let before = bench.sent(Endpoint::Refresh);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            bench.run(|driver| {
                let mut grant = driver.load(REALM).unwrap();
                driver.act(&mut grant, |_| Some(Input::Refresh)).unwrap();
            });
        });
        while bench.sent(Endpoint::Refresh) == before {
            std::thread::sleep(Duration::from_millis(5));
        }
        let other = bench.vault.another();
        bench.with(&other, |driver| {
            let mut grant = driver.load(REALM).unwrap();
            commands::refresh_one(driver, &mut grant).unwrap();
        });
        slow.join().unwrap();
    });
    let candidates =
        bench.run(|driver| driver.load(REALM).unwrap().session.phase().usable().unwrap().candidates);
    assert_eq!(candidates, 1, "the slow one's token is kept");
    assert!(bench.lives());
}

/// A crash after the tokens were stored with the slot, and before they were moved: the next command moves them.
#[test]
fn an_interrupted_connect_is_finished_once() {
    let bench = Bench::new();
    connected(&bench);
    let wider = Scopes::ACCOUNTING.with(Scopes::PAYMENT);
    bench.run(|driver| drop(linked_slot(driver, &bench.intuit, wider)));
    // The old grant lives on meanwhile, and its record changes (SCO-4).
    assert!(bench.lives());
    bench.run(|driver| {
        assert_eq!(driver.load(REALM).unwrap().session.scopes(), Scopes::ACCOUNTING);
        driver.sweep().unwrap();
        assert_eq!(driver.load(REALM).unwrap().session.scopes(), wider);
        assert!(driver.own_rows(Rows::Consents).unwrap().is_empty());
    });
    assert!(bench.lives());
}

/// A crash after the move, and before the slot was gone: what is in the slot is older by then, and stays out.
#[test]
fn a_slot_that_was_left_behind_replaces_nothing() {
    let bench = Bench::new();
    connected(&bench);
    bench.run(|driver| {
        let slot = linked_slot(driver, &bench.intuit, Scopes::ACCOUNTING);
        let mut left_behind = driver.find(&slot.name).unwrap().unwrap();
        left_behind.generation = None;
        driver.move_in(slot).unwrap();
        driver.store(&mut left_behind).unwrap();
        let mut grant = driver.load(REALM).unwrap();
        commands::refresh_one(driver, &mut grant).unwrap();
        let revision = grant.session.phase().revision;
        driver.sweep().unwrap();
        assert!(driver.own_rows(Rows::Consents).unwrap().is_empty());
        assert_eq!(driver.load(REALM).unwrap().session.phase().revision, revision);
    });
    assert!(bench.lives());
}

/// What never came to anything goes away; what is still pending stays.
#[test]
fn a_lapsed_consent_is_swept() {
    let bench = Bench::new();
    bench.run(|driver| {
        connect::begin(driver, &plan(Scopes::ACCOUNTING)).unwrap();
        driver.sweep().unwrap();
        assert_eq!(driver.own_rows(Rows::Consents).unwrap().len(), 1);
        bench.intuit.clock().advance(3_601);
        driver.sweep().unwrap();
        assert!(driver.own_rows(Rows::Consents).unwrap().is_empty());
    });
}

/// EXC-1, I1: two processes that were handed one callback, each with the consent as it was stored.
#[test]
fn of_two_processes_with_one_callback_one_exchanges() {
    let bench = Bench::new();
    bench.run(|driver| {
        let plan = plan(Scopes::ACCOUNTING);
        let (mut slot, url) = connect::begin(driver, &plan).unwrap();
        let mut copy = driver.find(&slot.name).unwrap().unwrap();
        let callback = crate::demo::redirected(&url).unwrap();
        connect::take_callback(driver, &plan, &mut slot, &callback).unwrap();
        let failure = connect::take_callback(driver, &plan, &mut copy, &callback).unwrap_err();
        assert_eq!(failure.exit, Exit::ConsentNeeded);
        driver.move_in(slot).unwrap();
    });
    assert_eq!(bench.sent(Endpoint::Exchange), 1);
    assert!(bench.lives());
}

/// I3, REF-1: what the store never saw is not handed out, and a suspect grant keeps its tokens (REF-4, I4).
#[test]
fn a_refusal_alone_ends_nothing() {
    let bench = Bench::new();
    connected(&bench);
    bench.intuit.arm(Fault::once(Endpoint::Refresh, Harm::InvalidGrant(Default::default())));
    bench.run(|driver| {
        let mut grant = driver.load(REALM).unwrap();
        driver.act(&mut grant, |_| Some(Input::Refresh)).unwrap();
        assert!(matches!(grant.session.phase().grant, State::Suspect));
        assert!(driver.diagnosis(&grant).unwrap().is_some());
    });
    let now = bench.intuit.clock().now();
    let believed = bench.intuit.authority(|authority| authority.grant(now, 0)).unwrap();
    assert!(matches!(believed.chain.last().unwrap().state, RefreshState::Current { .. }));
    assert!(bench.lives());
}

const SIGN_IN: Scopes = Scopes::ACCOUNTING.with(Scopes::OPENID);

fn signed_in(driver: &Driver<'_>, intuit: &Running) -> Grant {
    let grant = driver.move_in(linked_slot(driver, intuit, SIGN_IN)).unwrap();
    sign_in::finish(driver, &grant, SIGN_IN).unwrap();
    grant
}

/// SCO-5: whoever dies between the tokens and the ID token leaves nobody signed in, and not the user before.
#[test]
fn a_consent_that_was_not_verified_leaves_nobody_signed_in() {
    let bench = Bench::new();
    bench.run(|driver| {
        let first = signed_in(driver, &bench.intuit);
        assert!(driver.user(&first).unwrap().is_some());
        // Another connect is killed once its tokens are in the slot; the next command moves them.
        drop(linked_slot(driver, &bench.intuit, SIGN_IN));
        assert!(driver.user(&driver.load(REALM).unwrap()).unwrap().is_some(), "SCO-4");
        driver.sweep().unwrap();
        let second = driver.load(REALM).unwrap();
        assert!(driver.user(&second).unwrap().is_none());
        assert!(driver.own_rows(Rows::Users).unwrap().is_empty(), "wiped as well");
        // The row of the first, come late or put back, speaks of the first and of no other.
        sign_in::finish(driver, &first, SIGN_IN).unwrap();
        assert!(driver.user(&second).unwrap().is_none());
        let third = signed_in(driver, &bench.intuit);
        sign_in::finish(driver, &first, SIGN_IN).unwrap();
        assert!(driver.user(&third).unwrap().is_some(), "an older consent takes nothing back");
    });
    assert!(bench.lives());
}

/// A store that fails after the tokens are durable costs the sign-in alone.
#[test]
fn a_sign_in_that_cannot_be_stored_costs_no_grant() {
    let bench = Bench::new();
    bench.run(|driver| {
        let grant = driver.move_in(linked_slot(driver, &bench.intuit, SIGN_IN)).unwrap();
        bench.vault.fail_write(1, StoreFault::BeforeEffect);
        let failure = sign_in::finish(driver, &grant, SIGN_IN).unwrap_err();
        assert_eq!(failure.exit, Exit::Store);
        assert!(driver.user(&grant).unwrap().is_none());
    });
    assert!(bench.lives());
}

/// An ID token is good up to its end and the leeway, by the session's clock and no other.
#[test]
fn an_id_token_is_judged_by_the_clock_of_the_session() {
    let bench = Bench::new();
    bench.run(|driver| {
        let grant = driver.move_in(linked_slot(driver, &bench.intuit, SIGN_IN)).unwrap();
        let end = driver.now().plus(3_600);
        bench.intuit.clock().advance(3_600 + 119);
        sign_in::finish(driver, &grant, SIGN_IN).unwrap();
        bench.intuit.clock().advance(1);
        let failure = sign_in::finish(driver, &grant, SIGN_IN).unwrap_err();
        assert_eq!(failure.exit, Exit::NotSignedIn);
        assert!(failure.what.contains(&IdTokenError::Expired { at: end }.to_string()), "{failure}");
    });
}

/// DUR-2: a 401 from userinfo is cured by one refresh, and the user is who they were.
#[test]
fn a_401_from_userinfo_is_followed_by_one_refresh() {
    let bench = Bench::new();
    bench.run(|driver| {
        let mut grant = signed_in(driver, &bench.intuit);
        bench.intuit.clock().advance(600);
        bench.intuit.arm(Fault::once(Endpoint::Userinfo, Harm::InvalidGrant(Default::default())));
        let reply = commands::read(driver, &mut grant, commands::Resource::Userinfo).unwrap();
        assert_eq!(reply.status(), Some(200));
        assert!(driver.user(&grant).unwrap().is_some());
    });
    assert_eq!(bench.sent(Endpoint::Refresh), 1);
}

/// What is kept of a user is sealed again under a new key, and moves with the vault.
#[test]
fn who_signed_in_outlives_a_key_and_moves_with_the_vault() {
    const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeffe0e1e2e3e4e5e6e7e8e9eaebecedeeef";
    let ring = |text: &str| SealingKeys::Ring(Keyring::parse(text).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("vault.db"), folder.path().join("other.db"));
    let bench = Bench::new();
    let subject = |vault: &dyn Store| {
        bench.with(vault, |driver| {
            let user = driver.user(&driver.load(REALM).unwrap()).unwrap();
            user.map(|user| user.subject)
        })
    };
    let old = Sqlite::open(&file, ring(OLD)).unwrap();
    bench.with(&old, |driver| drop(signed_in(driver, &bench.intuit)));
    let before = subject(&old);
    assert!(before.is_some());
    drop(old);

    let both = Sqlite::open(&file, ring(&format!("{NEW}\n{OLD}"))).unwrap();
    assert_eq!(both.reseal(None, 10).unwrap().resealed, 2, "the grant, and who signed in");
    drop(both);
    let new = Sqlite::open(&file, ring(NEW)).unwrap();
    assert_eq!(subject(&new), before);

    let key = ExportKey::Passphrase("a passphrase of the tests");
    let mut bytes = Vec::new();
    let _ = export(&new, key, &mut SystemEntropy, &mut bytes).unwrap();
    let moved = Sqlite::open(&other, ring(OLD)).unwrap();
    let now = bench.intuit.clock().now();
    assert_eq!(import(&moved, now, key, &mut &bytes[..]).unwrap().written, 2);
    assert_eq!(subject(&moved), before);
}

/// Whoever forgets a grant keeps nothing of a person either.
#[test]
fn who_signed_in_is_forgotten_with_the_grant() {
    let bench = Bench::new();
    bench.run(|driver| {
        drop(signed_in(driver, &bench.intuit));
        assert_eq!(driver.own_rows(Rows::Users).unwrap().len(), 1);
        let arguments = crate::args::Disconnect { realm: REALM.into(), forget: true };
        commands::disconnect(driver, &arguments).unwrap();
        assert!(driver.all_rows().unwrap().is_empty());
    });
}
