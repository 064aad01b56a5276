//! What a suite needs and the machine may not have.

use std::path::PathBuf;
use std::process::Command;

use crate::shell::{run, say, succeeds, top};

/// A Debian package, for the command that it brings.
pub(crate) fn debian(command: &str, packages: &[&str]) -> Result<(), String> {
    if succeeds(command, &["--version"]) {
        return Ok(());
    }
    say(&format!("{command} is not there: installing {}", packages.join(", ")));
    let refused = |why| {
        format!(
            "{command} is needed and could not be installed ({why}): install {} by hand",
            packages.join(", ")
        )
    };
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"]).map_err(refused)?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()).map_err(refused)?;
    if succeeds(command, &["--version"]) { Ok(()) } else { Err(refused("it still does not run".into())) }
}

/// cargo-fuzz, and the nightly compiler that it works with.
pub(crate) fn fuzzer() -> Result<(), String> {
    debian("c++", &["g++"])?;
    if !succeeds("rustup", &["run", "nightly", "rustc", "--version"]) {
        say("no nightly compiler is there: installing it");
        run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))?;
    }
    if !succeeds("cargo", &["fuzz", "--version"]) {
        say("cargo-fuzz is not there: installing it");
        run(Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]))?;
    }
    Ok(())
}

/// cargo-mutants.
pub(crate) fn mutants() -> Result<(), String> {
    if !succeeds("cargo", &["mutants", "--version"]) {
        say("cargo-mutants is not there: installing it");
        run(Command::new("cargo").args(["install", "cargo-mutants", "--locked"]))?;
    }
    Ok(())
}

/// PostgreSQL's server, which Debian keeps outside of the path.
pub(crate) fn postgres() -> Result<(), String> {
    let in_its_folder = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
    };
    if in_its_folder() || succeeds("initdb", &["--version"]) {
        return Ok(());
    }
    // The package would start a server of its own, on a port and in a folder that are not ours to use.
    let quiet = std::path::Path::new("/etc/postgresql-common/createcluster.conf");
    if !quiet.exists() {
        let folder = quiet.parent().unwrap_or(quiet);
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(quiet, "create_main_cluster = false\n"));
        written.map_err(|why| format!("could not write {}: {why}", quiet.display()))?;
    }
    say("no PostgreSQL server is there: installing postgresql");
    let installed = |arguments: &[&str]| {
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    installed(&["update", "-qq"])?;
    installed(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"])?;
    if in_its_folder() { Ok(()) } else { Err("postgresql was installed, and its initdb is not there".into()) }
}

/// The packages that a folder's `package.json` names, installed beside it.
pub(crate) fn npm(folder: &str) -> Result<PathBuf, String> {
    debian("node", &["nodejs"])?;
    debian("npm", &["npm"])?;
    let folder = top().join(folder);
    let verb = if folder.join("package-lock.json").exists() { "ci" } else { "install" };
    run(Command::new("npm")
        .args([verb, "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder))?;
    Ok(folder)
}

/// A Python with the packages of a folder's `requirements.txt`, in an environment of its own under `target/`.
pub(crate) fn python(folder: &str) -> Result<PathBuf, String> {
    debian("python3", &["python3"])?;
    let requirements = top().join(folder).join("requirements.txt");
    let home = top().join("target/xtask").join(folder.replace('/', "-"));
    let python = home.join("bin/python");
    if !python.exists() {
        if !succeeds("python3", &["-c", "import ensurepip"]) {
            say("python3 cannot make an environment of its own: installing python3-venv");
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            run(Command::new("apt-get").args(["install", "-y", "-qq", "python3-venv"]))?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
}

/// Debian's toolchain, which has the source of the standard library beside it: for a target that rustup cannot bring.
pub(crate) struct Debian;

impl Debian {
    pub(crate) const CARGO: &str = "/usr/bin/cargo";
    const RUSTC: &str = "/usr/bin/rustc";
    /// rustc's own linker is not in Debian's packages; this is the same by another name.
    const LINKER: &str = "ld.lld";

    /// What its cargo must be told beside the command. `-Zbuild-std` is for nightly compilers unless a stable one is told
    /// that it may.
    pub(crate) fn prepare(command: &mut Command, target: &str) {
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        command.arg("-Zbuild-std=core").env("RUSTC_BOOTSTRAP", "1").env("RUSTC", Self::RUSTC);
        command.env(linker, Self::LINKER).env_remove("RUSTUP_TOOLCHAIN");
    }
}

/// A target of rustc's, by rustup; `Some` where only Debian's toolchain can build for it, or is to: `EVERGRANT_DEBIAN_TARGET=1`.
pub(crate) fn target(name: &str) -> Result<Option<Debian>, String> {
    let forced = std::env::var_os("EVERGRANT_DEBIAN_TARGET").is_some_and(|value| value == "1");
    if !forced && succeeds("rustup", &["target", "add", name]) {
        return Ok(None);
    }
    let why = if forced { "EVERGRANT_DEBIAN_TARGET=1" } else { "rustup cannot bring it" };
    say(&format!("{name}: core is built from Debian's source of the standard library ({why})"));
    debian(Debian::CARGO, &["rustc-web", "cargo-web", "rust-web-src"])?;
    debian(Debian::LINKER, &["lld"])?;
    Ok(Some(Debian))
}
