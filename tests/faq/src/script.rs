//! Scripts of events with times, made from bytes: the same generator for property tests and for a fuzzer.

use evergrant::{Input, Scopes};
use evergrant_emulator::authority::{Decision, Policy};

use crate::fleet::LEASE;
use crate::world::{Clock, DAY, Fault, HOUR, MINUTE, Outage, REALM, REDIRECT, TOOL, World, approve};

/// How the authority may rotate in a life: as each of the three models has it, or with the same value for 24 hours and the
/// one before it dead at once.
const POLICIES: [Policy; 4] = [Policy::GRACE, Policy::STICKY, Policy::HARD, Policy::STICKY_HARD];

/// A life: a model of the authority, and what happens under it.
#[derive(Clone, Debug)]
pub struct Script {
    /// How the authority rotates.
    pub model: Policy,
    /// What happens.
    pub events: Vec<Event>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Time passes, and nobody looks.
    Wait(u64),
    /// Time passes, and the program wakes up for whatever is due.
    Live(u64),
    /// The program does what is due now.
    Settle,
    /// Somebody needs an access token.
    Demand,
    /// A refresh, whatever is left.
    Refresh,
    /// A consent is asked for.
    Ask(Scopes, &'static str),
    /// The user says yes on the page of the latest request, and the callback arrives.
    Approve,
    /// The user says no.
    Decline,
    /// The latest callback, or an older one, arrives again.
    Again(u8),
    /// Somebody sends a callback of his own making.
    Forge(u8),
    /// The next request meets this.
    Fault(Fault),
    /// The authority is in trouble, or out of it.
    Outage(Option<Outage>),
    /// The process dies now.
    Crash,
    /// The process dies at that seam.
    CrashAt(u32),
    /// So many writes fail.
    StoreFails(u32),
    /// The API is called.
    Api,
    /// An API answer of long ago arrives: a 401 of that serial.
    LateRejection(u32),
    /// The user disconnects at the authority.
    Disconnect,
    /// The disconnect redirect comes, rightly or not.
    DisconnectRedirect,
    /// The app revokes.
    Revoke,
    /// The client's clock.
    Clock(Clock),
    /// A second process begins, and sleeps.
    Fork,
    /// The other process acts from here on.
    Switch,
    /// The process reads the stored record.
    Read,
    /// The process is stopped at that seam, and the other one acts.
    StopAt(u32),
    /// Whether tokens that cannot be stored are spilled.
    Spills(bool),
    /// What was spilled by processes that died is brought home.
    BringHome,
}

const WAITS: [u64; 32] = [
    1,
    2,
    59,
    60,
    61,
    299,
    300,
    301,
    599,
    600,
    900,
    3_299,
    3_300,
    3_540,
    3_599,
    3_600,
    3_601,
    6 * HOUR,
    12 * HOUR,
    DAY - 61,
    DAY - 60,
    DAY - 1,
    DAY,
    DAY + 1,
    2 * DAY,
    7 * DAY,
    50 * DAY,
    86 * DAY,
    87 * DAY,
    100 * DAY,
    101 * DAY,
    400 * DAY,
];

impl Script {
    /// Reads a life from bytes. Every sequence of bytes is one; two bytes are an event.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let model = POLICIES[usize::from(*first) % POLICIES.len()];
        // Most lives begin with a consent; the others would be short.
        let mut events = if first & 0x80 == 0 {
            vec![Event::Ask(Scopes::ACCOUNTING, REDIRECT), Event::Approve]
        } else {
            Vec::new()
        };
        // A clock that lies is a world of its own.
        let may_lie = first & 0x40 != 0;
        // And so is a fleet.
        let fleet = first & 0x20 != 0;
        events.extend(rest.chunks_exact(2).map(|pair| match pair {
            [kind, value] if fleet && *kind >= 176 => fleet_event(*value),
            [kind, value, ..] => event(*kind, *value, may_lie),
            _ => Event::Settle,
        }));
        Self { model, events }
    }

    /// Lives it.
    #[must_use]
    pub fn run(&self) -> World {
        let mut world = World::new(self.model);
        for event in &self.events {
            apply(&mut world, *event);
        }
        world
    }
}

fn event(kind: u8, value: u8, may_lie: bool) -> Event {
    let pick = usize::from(value);
    let wait = WAITS[pick % WAITS.len()];
    match kind % 32 {
        0..=3 => Event::Wait(wait),
        4..=7 => Event::Live(wait),
        8 => Event::Settle,
        9..=12 => Event::Demand,
        13 | 14 => Event::Refresh,
        15 => Event::Ask(
            [Scopes::ACCOUNTING, Scopes::ACCOUNTING.with(Scopes::OPENID), Scopes::OPENID, Scopes::PAYMENT]
                [pick % 4],
            [REDIRECT, TOOL][pick / 4 % 2],
        ),
        16 | 17 => Event::Approve,
        18 if pick % 3 == 0 => Event::Decline,
        18 if pick % 3 == 1 => Event::Again(value / 3),
        18 => Event::Forge(value / 3),
        19..=23 => Event::Fault(fault(value)),
        24 => Event::Outage(
            [None, Some(Outage::Lost), Some(Outage::Unavailable), Some(Outage::InvalidGrant)][pick % 4],
        ),
        25 if pick % 4 == 0 => Event::Crash,
        25 => Event::CrashAt(u32::from(value) / 4 % 12),
        26 => Event::StoreFails(u32::from(value) % 4),
        27 => Event::Api,
        28 => Event::LateRejection(u32::from(value) % 8),
        29 if pick % 3 == 0 => Event::Disconnect,
        29 => Event::DisconnectRedirect,
        30 if pick % 4 == 0 => Event::Revoke,
        31 if may_lie => Event::Clock(clock(value)),
        _ => Event::Live(wait),
    }
}

fn fleet_event(value: u8) -> Event {
    match value % 16 {
        0..=4 => Event::Switch,
        5 | 6 => Event::Fork,
        7 => Event::Read,
        // The lease runs out.
        8 => Event::Wait(LEASE),
        // At the third seam of a refresh its tokens are in hand and not stored.
        9 | 10 => Event::StopAt(3),
        11 => Event::StopAt(u32::from(value) / 16 % 8),
        12 | 13 => Event::Fault(Fault::StoreFails(1 + u32::from(value) / 16 % 4)),
        14 => Event::Spills(value < 208),
        _ => Event::BringHome,
    }
}

fn fault(value: u8) -> Fault {
    let wait = WAITS[usize::from(value / 16) * 2 % WAITS.len()];
    match value % 16 {
        0 => Fault::NotSent,
        1 => Fault::LostBefore,
        2 | 3 => Fault::LostAfter,
        4 => Fault::Silent(false),
        5 => Fault::Silent(true),
        6 | 7 => Fault::Late(wait),
        8 => Fault::Slow(wait.min(10 * MINUTE)),
        9 => Fault::AnswerTwice,
        10 => Fault::RequestTwice,
        11 => Fault::RequestTwiceTurned,
        12 | 13 => Fault::Truncated(u16::from(value / 16) * 64),
        14 => Fault::Status([500, 503, 429, 502, 200, 404][usize::from(value / 16) % 6]),
        _ => Fault::InvalidGrant,
    }
}

fn clock(value: u8) -> Clock {
    let off = i64::try_from(WAITS[usize::from(value / 8) % WAITS.len()]).unwrap_or_default();
    match value % 8 {
        0 | 1 => Clock::Right,
        2 | 3 => Clock::Off(off),
        4 | 5 => Clock::Off(-off),
        6 => Clock::Unset,
        _ => Clock::Stopped(
            [0, 1, 1_577_836_799, 1_577_836_800, u64::MAX - 1, u64::MAX][usize::from(value / 8) % 6],
        ),
    }
}

/// Makes one event happen.
pub fn apply(world: &mut World, event: Event) {
    match event {
        Event::Wait(seconds) => world.wait(seconds),
        Event::Live(seconds) => world.live(seconds),
        Event::Settle => world.settle(),
        Event::Demand => drop(world.demand()),
        Event::Refresh => drop(world.input("refresh", Input::Refresh)),
        Event::Ask(scopes, redirect_uri) => drop(world.ask(redirect_uri, scopes)),
        Event::Approve => go(world, approve()),
        Event::Decline => go(world, Decision::Deny),
        Event::Again(which) => {
            let index = usize::from(which) % world.callbacks.len().max(1);
            if let Some(text) = world.callbacks.get(index).cloned() {
                let _ = world.callback(&text);
            }
        }
        Event::Forge(which) => forge(world, which),
        Event::Fault(fault) => world.faults.push_back(fault),
        Event::Outage(outage) => world.outage = outage,
        Event::Crash => world.crash(),
        Event::CrashAt(seam) => world.dies_in = Some(seam),
        Event::StoreFails(times) => world.store.fail = times,
        Event::Api => drop(world.call_api()),
        Event::LateRejection(serial) => {
            let meaning = evergrant::api::Meaning::TokenExpired;
            let _ = world.input("api", Input::Api { serial, meaning });
        }
        Event::Disconnect => world.disconnect(),
        Event::DisconnectRedirect => drop(world.input("disconnected", Input::Disconnected)),
        Event::Revoke => drop(world.input("revoke", Input::Revoke)),
        Event::Clock(clock) => world.set_clock(clock),
        Event::Fork => world.fork(),
        Event::Switch => world.switch(),
        Event::Read => world.read(),
        Event::StopAt(seam) => world.stop_at(seam),
        Event::Spills(spilling) => world.spills(spilling),
        Event::BringHome => world.bring_home(),
    }
    if world.sleeps() {
        world.switch();
    }
}

/// The user decides on the page that the session would send him to now.
fn go(world: &mut World, decision: Decision) {
    if let Ok(url) = world.url()
        && let Ok(back) = world.decide(&url, decision)
    {
        let _ = world.callback(&back);
    }
}

fn forge(world: &mut World, which: u8) {
    let state = "A".repeat(43);
    let text = match which % 5 {
        0 => format!("{REDIRECT}?code=theirs&state={state}&realmId={REALM}"),
        1 => format!("{REDIRECT}?code=theirs&realmId={REALM}"),
        2 => format!("{REDIRECT}?error=access_denied&state={state}"),
        3 => format!("{REDIRECT}?error=access_denied"),
        _ => format!("{REDIRECT}?code=theirs&state=s.{state}&realmId={REALM}"),
    };
    let _ = world.callback(&text);
}
