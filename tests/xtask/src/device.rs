//! Devices: the firmware under QEMU, the proof that nothing panics, and the table of what it all costs.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::install::{self, Debian};
use crate::shell::{cargo, run, say, top};

const THUMB: &str = "thumbv7m-none-eabi";
const RISC_V: &str = "riscv32imac-unknown-none-elf";
const X86: &str = "x86_64-unknown-none";

/// The image with TLS: its features beside those of every image.
const TLS: [&str; 2] = ["--features", "tls"];

/// A grant's whole life on two machines, in the clear and over TLS.
pub(crate) fn firmware() -> Result<(), String> {
    cargo(&["build", "--quiet", "-p", "evergrant-firmware-runner"])?;
    let machines = [
        (THUMB, "qemu-system-arm", "qemu-system-arm", ["-M", "lm3s6965evb"].as_slice()),
        (RISC_V, "qemu-system-riscv32", "qemu-system-misc", ["-M", "virt", "-bios", "none"].as_slice()),
    ];
    for (target, qemu, package, arguments) in machines {
        install::debian(qemu, &[package])?;
        for (features, option) in [([].as_slice(), None), (TLS.as_slice(), Some("--tls"))] {
            let image = image(target, features)?;
            run(Command::new(top().join("target/debug/evergrant-firmware-runner"))
                .args(option)
                .arg(image)
                .arg(qemu)
                .args(arguments))?;
        }
    }
    Ok(())
}

/// Builds the firmware; where it is, until it is built with other features.
fn image(target: &str, features: &[&str]) -> Result<PathBuf, String> {
    let target_dir = build("tests/firmware", &[&["--release"], features].concat(), target, &[])?;
    Ok(target_dir.join(target).join("release/evergrant-firmware"))
}

/// Programs that call everything and do not link if any of it can panic; and the examples, which must build.
pub(crate) fn panic_free() -> Result<(), String> {
    every_function_is_called()?;
    for target in [X86, THUMB] {
        for program in ["kernel", "session", "displays", "client", "rest", "awaited"] {
            build(PROOF, &["--profile", "fast", "--bin", program], target, &[])
                .map_err(|error| format!("{program} can panic on {target}, or does not build: {error}"))?;
            say(&format!("   {program} cannot panic on {target}"));
        }
        does_not_link(target, "twin")?;
        does_not_link(target, "awaited_twin")?;
    }
    build("tests/firmware/examples", &["--release"], THUMB, &[]).map(|_| ())
}

/// A program that panics, beside those that cannot.
fn does_not_link(target: &str, twin: &str) -> Result<(), String> {
    let (mut command, _) = command(PROOF, &["--profile", "fast", "--bin", twin], target, &[])?;
    let output = command.output().map_err(|error| error.to_string())?;
    let missed = String::from_utf8_lossy(&output.stderr).contains("evergrant_can_panic");
    if output.status.success() || !missed {
        return Err(format!("{twin} panics and must miss its handler on {target}, or nothing is proven"));
    }
    say(&format!("   {twin}, which panics, does not link on {target}"));
    Ok(())
}

const PROOF: &str = "tests/firmware/proof";

/// A public function that the proof does not call is one that it says nothing of.
fn every_function_is_called() -> Result<(), String> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let sources = |folder: &str| -> Result<Vec<(String, String)>, String> {
        let folder = top().join(folder);
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        files.map(|path| Ok((path.display().to_string(), read(path)?))).collect()
    };
    let proof: String = sources("tests/firmware/proof/src")?.into_iter().map(|(_, text)| text).collect();
    let mut missing = String::new();
    for (file, text) in [sources("core/src")?, sources("adapters/embedded/src")?].concat() {
        for line in text.lines().map(str::trim_start) {
            let Some(name) = ["pub fn ", "pub const fn "].iter().find_map(|start| line.strip_prefix(start))
            else {
                continue;
            };
            let name: String =
                name.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            // The loop itself is reached through each device.
            if name != "carry_out"
                && !proof.contains(&format!("{name}("))
                && !proof.contains(&format!("{name}::<"))
            {
                let _ = write!(missing, "\n  {name} of {file}");
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("the proof does not call{missing}")) }
}

/// A figure: its name, the program that has it and the one without, what is counted, the aim.
struct Figure {
    name: &'static str,
    program: &'static str,
    without: &'static str,
    ram: bool,
    aim: u64,
}

const FIGURES: [Figure; 5] = [
    Figure { name: "flash, kernel alone", program: "kernel", without: "empty", ram: false, aim: 1_536 },
    Figure {
        name: "flash, core with SHA-256",
        program: "session",
        without: "empty",
        ram: false,
        aim: 12_288,
    },
    Figure { name: "flash, client, blocking", program: "client", without: "empty", ram: false, aim: 24_576 },
    Figure {
        name: "flash, client, async",
        program: "asynchronous",
        without: "empty",
        ram: false,
        aim: 24_576,
    },
    Figure { name: "RAM, session beyond tokens", program: "ram", without: "empty", ram: true, aim: 256 },
];

/// Growth that is not remarked on, in hundredths.
const TOLERANCE: u64 = 2;

/// What it costs on a Cortex-M3 at `opt-level = "z"`, held against the figures that are recorded. `record`: writes them
/// instead.
pub(crate) fn size(record: bool) -> Result<(), String> {
    let file = top().join("tests/firmware/figures.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    // The panics that are left at this level are the copies of slices whose lengths are equal: the proof is at the other.
    let nowhere = [("CARGO_ENCODED_RUSTFLAGS", DEFINED)];
    let mut recorded = String::new();
    let mut grown = String::new();
    println!("{:<28} {:>7} {:>7}", "Cortex-M3, opt-level z", "bytes", "aim");
    let target_dir = build(PROOF, &["--release", "--bins"], THUMB, &nowhere)?;
    let programs = |figure: &Figure| {
        let measure = |program: &str| measured(&target_dir.join(THUMB).join("release").join(program));
        let (all, without) = (measure(figure.program)?, measure(figure.without)?);
        Ok::<u64, String>(if figure.ram {
            all.1.saturating_sub(without.1)
        } else {
            all.0.saturating_sub(without.0)
        })
    };
    let mut figures = Vec::new();
    for figure in &FIGURES {
        figures.push((figure.name, programs(figure)?, Some(figure.aim)));
    }
    let plain = measured(&image(THUMB, &[])?)?;
    let secure = measured(&image(THUMB, &TLS)?)?;
    figures.push(("flash, TLS beside the client", secure.0.saturating_sub(plain.0), None));
    figures.push(("RAM, TLS records and anchor", secure.1.saturating_sub(plain.1), None));
    for (name, bytes, aim) in figures {
        let aim = aim.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        println!("{name:<28} {bytes:>7} {aim:>7}");
        let _ = writeln!(recorded, "{name}: {bytes}");
        let before = known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        if before.is_none_or(|before: u64| bytes > before + before * TOLERANCE / 100) {
            let _ = write!(grown, "\n  {name}: {bytes}, recorded {before:?}");
        }
    }
    println!("{:<28} {:>7} {:>7}", "heap", 0, 0);
    if record {
        return std::fs::write(&file, recorded).map_err(|error| format!("{}: {error}", file.display()));
    }
    if grown.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "larger than recorded in tests/firmware/figures.txt:{grown}\n`cargo xtask size record` records it"
        ))
    }
}

/// Bytes of flash and of RAM that a program takes.
fn measured(program: &Path) -> Result<(u64, u64), String> {
    let elf = std::fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    sections(&elf).ok_or_else(|| format!("{} is no ELF", program.display()))
}

/// The flags of `.cargo/config.toml`, which this variable replaces, and a panic handler that exists.
const DEFINED: &str =
    "--cfg\u{1f}sha2_backend_soft=\"compact\"\u{1f}-Clink-arg=--defsym=evergrant_can_panic=0";

/// Bytes that an ELF file of 32 bits, least byte first, puts into flash, and those that it needs in RAM.
fn sections(elf: &[u8]) -> Option<(u64, u64)> {
    let half = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    elf.strip_prefix(b"\x7fELF\x01\x01")?;
    let (first, size, count) = (word(32)?, half(46)?, half(48)?);
    let (mut flash, mut ram) = (0, 0);
    for index in 0..u32::from(count) {
        const ALLOCATED: u32 = 2;
        const WRITTEN: u32 = 1;
        const EMPTY: u32 = 8;
        let at = usize::try_from(first + index * u32::from(size)).ok()?;
        let (kind, flags, bytes) = (word(at + 4)?, word(at + 8)?, u64::from(word(at + 20)?));
        if flags & ALLOCATED != 0 {
            flash += if kind == EMPTY { 0 } else { bytes };
            ram += if flags & WRITTEN != 0 { bytes } else { 0 };
        }
    }
    Some((flash, ram))
}

/// Builds a package that is not of the workspace; where its target directory is.
fn build(
    folder: &str,
    arguments: &[&str],
    target: &str,
    variables: &[(&str, &str)],
) -> Result<PathBuf, String> {
    let (mut command, target_dir) = command(folder, arguments, target, variables)?;
    run(&mut command)?;
    Ok(target_dir)
}

/// The command that builds it, and the target directory.
fn command(
    folder: &str,
    arguments: &[&str],
    target: &str,
    variables: &[(&str, &str)],
) -> Result<(Command, PathBuf), String> {
    let target_dir = top().join("target/devices").join(folder.replace('/', "-"));
    let debian = install::target(target)?;
    // What one compiler has built is nothing to another.
    let target_dir = if debian.is_some() { target_dir.join("debian") } else { target_dir };
    let mut command = Command::new(debian.as_ref().map_or(env!("CARGO"), |_| Debian::CARGO));
    command.args(["build", "--quiet", "--locked", "--target", target]).args(arguments);
    command.arg("--target-dir").arg(&target_dir).current_dir(top().join(folder));
    command.envs(variables.iter().copied());
    if debian.is_some() {
        Debian::prepare(&mut command, target);
    }
    Ok((command, target_dir))
}
