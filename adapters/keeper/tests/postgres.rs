//! A fleet on PostgreSQL: processes hear of each other at once.
#![cfg(all(feature = "postgres", feature = "tower"))]

mod emulated;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use emulated::*;
use evergrant_emulator::server::Running;
use evergrant_keeper::Keeper;
use evergrant_reqwest::{Client, Options as HttpOptions};
use evergrant_vault::{Clock as VaultClock, Keyring, Keys as VaultKeys, Postgres, PostgresOptions};

/// A server that the vault's own script starts and ends.
struct Database {
    script: Child,
    url: String,
}

impl Database {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vault/tests/postgres.sh");
        let mut script =
            Command::new("sh").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("postgres://"), "the server did not start: see above");
        Self { script, url }
    }

    async fn keeper(&self, emulator: &Arc<Running>) -> Keeper {
        let ring = Keyring::parse(&"5a31".repeat(16)).unwrap();
        let mut options = PostgresOptions::default();
        options.clock = VaultClock::Caller;
        let store = Postgres::open(&self.url, VaultKeys::Ring(ring), options).await.unwrap();
        let changes = store.changes().await.unwrap();
        let http = Client::new(HttpOptions::of(app(emulator).provider())).unwrap();
        let builder = Keeper::builder(app(emulator), store, http).clock(Emulated(Arc::clone(emulator)));
        builder.changes(changes).start().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The script ends its server when its input ends.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_exchanges_once_refreshes_once_and_hears_of_it() {
    let (database, emulator) = (Database::start(), emulator());
    let keepers = [database.keeper(&emulator).await, database.keeper(&emulator).await];
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
