//! What a claim and a commit cost as a vault grows. Prints `NAME VALUE` lines.

use std::time::{Duration, Instant};

use evergrant_vault::{Claim, Commit, Keyring, Keys, Name, Sqlite, Store, Then, Write};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In memory where there is such a folder: what a disk takes to be sure drowns what grows with the vault.
    let memory = std::path::PathBuf::from("/dev/shm");
    let home = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = home.join(format!("evergrant-growth-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = grow(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn grow(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let file = folder.join("vault.db");
    let vault = Sqlite::open(&file, Keys::Ring(Keyring::parse(KEY)?))?;
    let mut made = 0;
    for size in [1_000_u64, 10_000, 100_000] {
        while made < size {
            round(&vault, made, None)?;
            made += 1;
        }
        let mut times = Vec::new();
        for round_number in 0..ROUNDS {
            // Rows from all over the vault, in no order.
            let row = (round_number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
            let expected = vault.load(&name(row)?)?.map(|loaded| loaded.generation);
            times.push(round(&vault, row, expected)?);
        }
        times.sort();
        println!("vault-{size} {}", times[ROUNDS / 2].as_nanos());
    }
    println!("vault-bytes-per-grant {}", std::fs::metadata(&file)?.len() / made);
    Ok(())
}

fn name(row: u64) -> Result<Name, evergrant_vault::Error> {
    Name::new(
        "app-1f3a",
        "intuit-sandbox",
        format!("{:016}", row.wrapping_mul(7_919) % 10_000_000_000_000_000),
    )
}

/// A claim with its intent, and a commit: what a refresh asks of the store.
fn round(vault: &Sqlite, row: u64, expected: Option<u64>) -> Result<Duration, Box<dyn std::error::Error>> {
    let (name, record, now) = (name(row)?, [b'x'; 1_210], 1_800_000_000);
    let start = Instant::now();
    let write = Write { record: &record, revision: 1, due_at: Some(now + 3_000) };
    let Claim::Claimed(lease) = vault.claim(now, &name, expected, 60, write)? else {
        return Err("it is held".into());
    };
    let Commit::Committed { .. } = vault.commit(now, &lease, write, Then::Release)? else {
        return Err("it was fenced out".into());
    };
    Ok(start.elapsed())
}
