//! A fleet on PostgreSQL: processes hear of each other at once.
#![cfg(all(feature = "postgres", feature = "tower"))]

#[allow(unreachable_pub)]
mod database;
mod emulated;

use std::sync::Arc;
use std::time::Duration;

use database::Database;
use emulated::*;
use evergrant_emulator::server::Running;
use evergrant_keeper::Keeper;
use evergrant_reqwest::{Client, Options as HttpOptions};
use evergrant_vault::{Clock as VaultClock, Keyring, Keys as VaultKeys, Postgres, PostgresOptions};

async fn keeper(database: &Database, emulator: &Arc<Running>) -> Keeper {
    let ring = Keyring::parse(&"5a31".repeat(16)).unwrap();
    let mut options = PostgresOptions::default();
    options.clock = VaultClock::Caller;
    let store = Postgres::open(&database.url, VaultKeys::Ring(ring), options).await.unwrap();
    let changes = store.changes().await.unwrap();
    let http = Client::new(HttpOptions::of(app(emulator).provider())).unwrap();
    let builder = Keeper::builder(app(emulator), store, http).clock(Emulated(Arc::clone(emulator)));
    builder.changes(changes).start().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_exchanges_once_refreshes_once_and_hears_of_it() {
    let (database, emulator) = (Database::start(), emulator());
    let keepers = [keeper(&database, &emulator).await, keeper(&database, &emulator).await];
    let callback = browse(&keepers[0].connect(&CONSENT).unwrap());
    let tasks: Vec<_> = (0..8)
        .map(|at| {
            let (keeper, callback) = (keepers[at % 2].clone(), callback.clone());
            tokio::spawn(async move { keeper.callback(&callback, b"").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().realm, REALM);
    }
    assert_eq!(exchanges(&emulator), 1);

    emulator.clock().advance(3_600);
    let tasks: Vec<_> = (0..100)
        .map(|at| {
            let keeper = keepers[at % 2].clone();
            tokio::spawn(async move { keeper.access_token(REALM).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(refreshes(&emulator), 1);

    // The one replaces a token that the other still holds and would serve for another hour.
    let old = keepers[1].access_token(REALM).await.unwrap();
    emulator.clock().advance(120);
    let new = keepers[0].rejected(REALM, &old).await.unwrap();
    assert_ne!(new.id(), old.id());
    let heard = async {
        while keepers[1].access_token(REALM).await.unwrap().id() != new.id() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("it is told of the rotation");
    assert_eq!(refreshes(&emulator), 2);
    for keeper in &keepers {
        keeper.shutdown().await;
    }
}
