//! What is told: no token, no code and no client secret (I6) in any event, error, metric or rendering; no metric with a label for a
//! grant; and each warning once.

#[allow(unreachable_pub)]
mod captured;
mod common;

use std::sync::{Arc, Mutex};

use captured::Captured;
use common::*;
use evergrant_emulator::authority::{Lifetimes, Policy as Rotation};
use evergrant_keeper::Error;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Counters by name and labels.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<std::collections::BTreeMap<String, u64>>>);

struct One(Counted, String);

impl CounterFn for One {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
    fn absolute(&self, _: u64) {}
}

impl Counted {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn seen(&self, key: &Key) -> String {
        let labels: String =
            key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        let name = format!("{}{labels}", key.name());
        self.0.lock().unwrap().entry(name.clone()).or_default();
        name
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(One(self.clone(), self.seen(key))))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.seen(key);
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.seen(key);
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn the_hard_end_is_warned_of_five_times_and_then_the_user_is_needed() {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    world.authority.lock().unwrap().set_lifetimes(Lifetimes { grant: 200 * DAY, ..Lifetimes::default() });
    let mut options = options();
    options.wake_seconds = 3_600;
    let keeper = builder(&world, store).options(options).start().unwrap();
    connect(&world, &keeper, &realm(1)).await;
    // Nobody asks at first, then somebody does by the hour: neither makes it more or fewer.
    seconds(21 * DAY).await;
    assert_eq!(counted.of("evergrant_warnings_total end=hard"), 1, "180 days");
    assert!(world.refreshes().is_empty(), "a warning is no refresh");
    seconds(79 * DAY).await;
    for _ in 0..90 * 24 {
        assert!(keeper.access_token(&realm(1)).await.is_ok());
        seconds(3_600).await;
    }
    assert_eq!(counted.of("evergrant_warnings_total end=hard"), 3, "180, 90, and 30 days");
    seconds(11 * DAY).await;
    assert_eq!(counted.of("evergrant_warnings_total end=hard"), 5);
    assert_eq!(counted.of("evergrant_warnings_total end=rolling"), 0);
    assert!(matches!(keeper.access_token(&realm(1)).await, Err(Error::ConsentNeeded { .. })));
    assert_eq!(counted.of("evergrant_outcomes_total outcome=closed"), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_told_holds_a_secret() {
    let captured = Captured::default();
    let _guard = tracing::subscriber::set_default(captured.subscriber());
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    let mut told = String::new();
    let mut secrets = vec![SECRET.to_owned()];
    for number in 0..4 {
        connect(&world, &keeper, &realm(number)).await;
    }
    let twice = world.consent(&keeper.connect(&CONSENT).unwrap(), &realm(1));
    told += &format!("{:?}", keeper.callback(&twice, b"no cookie").await);
    told += &format!("{:?} {CONSENT:?}", keeper.callback(&format!("{twice}x"), b"cookie").await);
    let harms =
        [Harm::LostAfter, Harm::NotSent, Harm::Status(503), Harm::Status(429), Harm::Refused, Harm::None];
    for harm in harms {
        world.harm(move |_| harm);
        seconds(3_700).await;
        for number in 0..4 {
            let asked = keeper.access_token(&realm(number)).await;
            told += &format!("{asked:?}");
            match asked {
                Ok(token) => {
                    told += &format!("{:?}", keeper.rejected(&realm(number), &token).await);
                    secrets.push(token.expose().to_owned());
                }
                Err(error) => told += &error.to_string(),
            }
        }
    }
    store.down.store(true, std::sync::atomic::Ordering::SeqCst);
    seconds(3_700).await;
    let error = keeper.access_token(&realm(0)).await.unwrap_err();
    told += &format!("{error:?} {error} {keeper:?} {:?}", keeper.status());
    secrets.extend(world.sent.lock().unwrap().iter().map(|sent| sent.secret.clone()));
    told += &captured.text();
    let metrics = format!("{:?}", counted.0.lock().unwrap());
    assert!(metrics.contains("evergrant_requests_total") && metrics.contains("evergrant_ready"), "{metrics}");
    assert!((0..4).all(|number| !metrics.contains(&realm(number))), "a label for a grant: {metrics}");
    told += &metrics;
    assert!(told.contains("answer_lost") && told.contains("taken for an outage"), "{told}");
    secrets.retain(|secret| !secret.is_empty());
    assert!(secrets.len() > 20);
    for secret in secrets {
        assert!(!told.contains(&secret), "{} bytes of a secret are told", secret.len());
    }
}
