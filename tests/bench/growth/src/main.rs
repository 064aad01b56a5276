//! What a claim and a commit cost as a vault grows: `fill FILE FROM TO` makes rows, and `ask FILE SIZE ROUNDS` claims and
//! commits some of them and prints the median, so that callgrind can look at the latter alone.

use std::path::Path;
use std::time::{Duration, Instant};

use evergrant_vault::{Claim, Commit, Keyring, Keys, Name, Sqlite, Store, Then, Write};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["fill", file, from, to] => fill(Path::new(file), from.parse()?, to.parse()?),
        ["ask", file, size, rounds] => ask(Path::new(file), size.parse()?, rounds.parse()?),
        _ => Err("fill FILE FROM TO | ask FILE SIZE ROUNDS".into()),
    }
}

fn open(file: &Path) -> Result<Sqlite, Box<dyn std::error::Error>> {
    Ok(Sqlite::open(file, Keys::Ring(Keyring::parse(KEY)?))?)
}

fn fill(file: &Path, from: u64, to: u64) -> Result<(), Box<dyn std::error::Error>> {
    let vault = open(file)?;
    for row in from..to {
        round(&vault, &name(row)?, None)?;
    }
    println!("vault-bytes-per-grant {}", std::fs::metadata(file)?.len() / to.max(1));
    Ok(())
}

fn ask(file: &Path, size: u64, rounds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let vault = open(file)?;
    let mut times = Vec::new();
    for number in 0..rounds {
        // Rows from all over the vault, in no order.
        let name = name(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size)?;
        let expected = vault.load(&name)?.map(|loaded| loaded.generation);
        times.push(round(&vault, &name, expected)?);
    }
    times.sort();
    println!("vault-{size} {}", times[times.len() / 2].as_nanos());
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
#[inline(never)]
fn round(vault: &Sqlite, name: &Name, expected: Option<u64>) -> Result<Duration, Box<dyn std::error::Error>> {
    let (record, now) = ([b'x'; 1_210], 1_800_000_000);
    let start = Instant::now();
    let write =
        Write { record: &record, revision: 1, due_at: Some(now + 3_000), ends_at: Some(now + 8_640_000) };
    let Claim::Claimed(lease) = vault.claim(now, name, expected, 60, write)? else {
        return Err("it is held".into());
    };
    let Commit::Committed { .. } = vault.commit(now, &lease, write, Then::Release)? else {
        return Err("it was fenced out".into());
    };
    Ok(start.elapsed())
}
