//! The same plan with the whole keeper: its tasks on tokio's paused clock, a store in memory, the core's sessions, and the emulator's
//! authority behind real requests.
#![allow(dead_code, unreachable_pub)] // each program uses its own part

use std::sync::Arc;
use std::time::Duration;

use evergrant_emulator::authority::Policy as Rotation;
use tokio::time::Instant;

use crate::common::{BASE, Harm, Shaky, World, builder, connect, realm};
use crate::model::{DAY, Kind, Meter, Plan};

/// What was seen of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub all: Meter,
    pub in_outage: Meter,
    pub after: Meter,
    /// Grants that give a token that works, at the end.
    pub alive: u32,
    /// Access tokens that the keeper held at the end, before anybody had asked.
    pub in_memory: usize,
}

/// Lives it through. An outage's silence is cut short here: an answer is lost after the time that an answer takes.
pub fn run(plan: &Plan) -> Seen {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true);
    builder.build().expect("the system gives threads").block_on(live(plan))
}

async fn live(plan: &Plan) -> Seen {
    let (world, begun) = (World::new(Rotation::GRACE), Instant::now());
    *world.takes.lock().unwrap() = Duration::from_millis(plan.answer_ms.into());
    let mut options = plan.options.clone();
    options.seed = Some(plan.seed);
    let keeper = builder(&world, Shaky::new()).options(options).start().unwrap();
    for id in 0..plan.grants {
        let at = Duration::from_secs(plan.connected_within.into()) * id / plan.grants.max(1);
        tokio::time::sleep_until(begun + at).await;
        connect(&world, &keeper, &realm(id.into())).await;
    }
    // Connecting is not what is measured here.
    world.sent.lock().unwrap().retain(|sent| sent.kind == "refresh_token");
    let until = |second: u32| begun + Duration::from_secs(second.into());
    if let Some(outage) = plan.outage {
        tokio::time::sleep_until(until(outage.begins)).await;
        let harm = match outage.kind {
            Kind::Errors => Harm::Status(503),
            Kind::Silence => Harm::LostBefore,
            Kind::Refused => Harm::Refused,
        };
        world.harm(move |_| harm);
        tokio::time::sleep_until(until(outage.ends())).await;
        world.harm(|_| Harm::None);
    }
    tokio::time::sleep_until(until(plan.seconds)).await;
    let mut seen = Seen { in_memory: keeper.status().in_memory, ..count(plan, &world) };
    for id in 0..plan.grants {
        let token = keeper.access_token(&realm(id.into())).await;
        seen.alive += u32::from(token.is_ok_and(|token| world.works(token.expose())));
    }
    keeper.shutdown().await;
    seen
}

fn count(plan: &Plan, world: &Arc<World>) -> Seen {
    let mut seen = Seen::default();
    for sent in world.refreshes() {
        let second = u32::try_from(sent.at.unix() - BASE).unwrap_or(u32::MAX);
        seen.all.sent(second);
        let Some(outage) = plan.outage else { continue };
        if (outage.begins..outage.ends()).contains(&second) {
            seen.in_outage.sent(second);
        } else if (outage.ends()..outage.ends() + DAY).contains(&second) {
            seen.after.sent(second);
        }
    }
    seen
}
