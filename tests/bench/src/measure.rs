//! One item, a number of times, for callgrind to count and for a clock to time.

use std::time::{Duration, Instant};

use crate::data::{self, Data};
use crate::{Contestant, Item, check};

/// The one function whose instructions are collected (`--toggle-collect`). Two counts of rounds are subtracted from each
/// other by whoever calls, and what [`Item::Nothing`] costs is taken off, so what is left is the item.
#[inline(never)]
pub fn measured(contestant: &mut dyn Contestant, item: Item) {
    contestant.run(item);
}

/// `rounds` times the item. The first is checked.
pub fn rounds(contestant: &mut dyn Contestant, item: Item, rounds: u32) {
    contestant.prepare(item);
    contestant.run(item);
    check(item, &Data::new(), &contestant.seen(item));
    for _ in 0..rounds {
        contestant.prepare(item);
        measured(contestant, item);
    }
}

/// The time of `rounds` rounds, without their preparation and without what reading the clock costs.
pub fn timed(contestant: &mut dyn Contestant, item: Item, rounds: u64, clock: Duration) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..rounds {
        contestant.prepare(item);
        let start = Instant::now();
        measured(contestant, item);
        sum += start.elapsed().saturating_sub(clock);
    }
    sum
}

/// What a pair of readings costs: the smallest of many.
#[must_use]
pub fn clock_cost() -> Duration {
    let once = || {
        let start = Instant::now();
        start.elapsed()
    };
    (0..10_000).map(|_| once()).min().unwrap_or_default()
}

/// The sample, for those that are not written in Rust.
fn sample() -> serde_json::Value {
    let data = Data::new();
    let answer = |answer: &data::Answer| serde_json::json!({ "body": answer.body, "access": answer.access, "refresh": answer.refresh });
    serde_json::json!({
        "client_id": data::CLIENT_ID,
        "client_secret": data::CLIENT_SECRET,
        "redirect_uri": data::REDIRECT,
        "authorize": data::AUTHORIZE,
        "token": data::TOKEN,
        "revoke": data::REVOKE,
        "issuer": data::ISSUER,
        "realm": data::REALM,
        "state": data.state,
        "callback": data.callback,
        "first": answer(&data.first),
        "second": answer(&data.second),
    })
}

/// The command line of a binary that holds contestants: `list`, `sample`, or `NAME ITEM ROUNDS`.
pub fn main(contestants: &mut [&mut dyn Contestant]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["list"] => {
            for contestant in contestants {
                for item in Item::ALL.into_iter().filter(|item| contestant.can(*item)) {
                    println!("{} {}", contestant.name(), item.name());
                }
            }
        }
        ["sample"] => println!("{}", sample()),
        [name, item, count] => {
            let item = Item::named(item).expect("an item that there is");
            let count = count.parse().expect("a number of rounds");
            let found = contestants.iter_mut().find(|contestant| contestant.name() == *name);
            rounds(*found.expect("a contestant that there is"), item, count);
        }
        _ => println!("list | sample | NAME ITEM ROUNDS"),
    }
}
