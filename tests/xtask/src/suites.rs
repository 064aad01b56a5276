//! The suites of `cargo xtask test`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::device::{firmware, panic_free, size};
use crate::install::{self, Debian};
use crate::shell::{cargo, cargo_with, run, top};

/// A suite: what it is called, what it shows, and how it runs.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn() -> Result<(), String>,
}

pub(crate) const SUITES: &[Suite] = &[
    Suite { name: "faq", about: "the 49 rules, and the gate that finds one without a test", run: faq },
    Suite {
        name: "breaks",
        about: "five deliberate breaks, each caught by its rule's own test",
        run: breaks,
    },
    Suite { name: "rust", about: "the other tests of every crate", run: rust },
    Suite {
        name: "postgres",
        about: "vault and keeper on real PostgreSQL servers of their own",
        run: postgres,
    },
    Suite {
        name: "chaos",
        about: "a slice of the chaos run on SQLite and PostgreSQL: no grant lost that could have been kept",
        run: chaos,
    },
    Suite { name: "docs", about: "the examples in the docs", run: docs },
    Suite { name: "bare-metal", about: "core builds for a Cortex-M3", run: bare_metal },
    Suite {
        name: "panic-free",
        about: "nothing in core or on a device can panic: or it does not link",
        run: panic_free,
    },
    Suite { name: "size", about: "flash and RAM on a Cortex-M3 have not grown", run: || size(false) },
    Suite {
        name: "firmware",
        about: "a grant's life on a Cortex-M3 and a RISC-V under QEMU, over TLS as well",
        run: firmware,
    },
    Suite { name: "demo", about: "the command's demo holds all its checks", run: demo },
    Suite {
        name: "interop",
        about: "Intuit's SDKs against the emulator; the command against oidc-provider",
        run: interop,
    },
];

fn faq() -> Result<(), String> {
    cargo(&["test", "--quiet", "-p", "faq"])
}

/// A slice that changes from day to day would fail by chance; all 49 are a command of their own (see the guide's rules).
fn breaks() -> Result<(), String> {
    cargo(&[
        "run",
        "--quiet",
        "-p",
        "faq",
        "--bin",
        "breaks",
        "--",
        "--only",
        "DUR-4,EXC-1,REF-4,STA-4,CSR-2",
    ])
}

fn rust() -> Result<(), String> {
    cargo(&["test", "--quiet", "--workspace", "--exclude", "faq", "--lib", "--bins", "--tests", "--examples"])
}

/// Every test of the vault again, with all its features, and a fleet of keepers. Their servers are their own: started and ended by `tests/postgres.sh`.
fn postgres() -> Result<(), String> {
    install::postgres()?;
    cargo(&["test", "--quiet", "-p", "evergrant-vault", "--all-features"])?;
    cargo(&["test", "--quiet", "-p", "evergrant-keeper", "--all-features", "--test", "postgres"])
}

/// The long run is a command of its own (see `tests/chaos`).
fn chaos() -> Result<(), String> {
    install::postgres()?;
    cargo_with(&["test", "--quiet", "-p", "chaos"], &[("CHAOS_POSTGRES", "1")])
}

fn docs() -> Result<(), String> {
    cargo(&["test", "--quiet", "--workspace", "--doc"])
}

fn bare_metal() -> Result<(), String> {
    const TARGET: &str = "thumbv7m-none-eabi";
    match install::target(TARGET)? {
        None => cargo(&["build", "--quiet", "--release", "-p", "evergrant", "--target", TARGET]),
        Some(_) => {
            let mut command = Command::new(Debian::CARGO);
            command.args(["build", "--release", "-p", "evergrant", "--target", TARGET]);
            command.args(["--target-dir", "target/debian"]).current_dir(top());
            Debian::prepare(&mut command, TARGET);
            run(&mut command)
        }
    }
}

fn demo() -> Result<(), String> {
    cargo(&["run", "--quiet", "--release", "--", "demo"])
}

/// The keys that the SDKs' scripts use where nothing else is said.
const EMULATOR: [&str; 10] = [
    "emulator",
    "--listen",
    "127.0.0.1:0",
    "--client-id",
    "ABemulatorClient",
    "--client-secret",
    "emulator-secret",
    "--redirect-uri",
    "http://localhost:8000/callback",
    "--consent=auto",
];

fn interop() -> Result<(), String> {
    cargo(&["build", "--quiet", "-p", "evergrant-cli"])?;
    let node = install::npm("tests/interop/intuit-node")?;
    let python = install::python("tests/interop/intuit-python")?;
    install::npm("tests/interop/oidc-provider")?;
    {
        let emulator = Emulator::start()?;
        run(Command::new("node")
            .arg("life.mjs")
            .env("EVERGRANT_EMULATOR", &emulator.addresses)
            .current_dir(node))?;
    }
    {
        let emulator = Emulator::start()?;
        let script = top().join("tests/interop/intuit-python/life.py");
        run(Command::new(python).arg(script).env("EVERGRANT_EMULATOR", &emulator.addresses))?;
    }
    cargo_with(
        &["test", "--quiet", "-p", "evergrant-cli", "--test", "oidc_provider"],
        &[("EVERGRANT_INTEROP", "1")],
    )
}

/// The command's emulator as a child of ours, stopped when it goes.
struct Emulator {
    child: Child,
    addresses: String,
}

impl Emulator {
    fn start() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the emulator did not start: {error}");
        let command = top().join("target/debug/evergrant");
        let mut child =
            Command::new(command).args(EMULATOR).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut addresses = String::new();
        let out = child.stdout.take().ok_or("the emulator has no output")?;
        let read = BufReader::new(out).read_line(&mut addresses).map_err(failed);
        let emulator = Self { child, addresses };
        read?;
        if emulator.addresses.is_empty() {
            Err("the emulator ended before it was ready".into())
        } else {
            Ok(emulator)
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
