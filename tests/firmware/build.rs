//! Hands the linker the memory of the machine that it builds for.

use std::path::PathBuf;

/// Stellaris LM3S6965: 256 KiB of flash, 64 KiB of RAM.
const LM3S6965: &str =
    "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 256K  RAM : ORIGIN = 0x20000000, LENGTH = 64K }\n";

/// QEMU's `virt` has RAM alone; as much of it is used as the other machine has.
const VIRT: &str = r#"
MEMORY { CODE : ORIGIN = 0x80000000, LENGTH = 256K  DATA : ORIGIN = 0x80040000, LENGTH = 64K }
REGION_ALIAS("REGION_TEXT", CODE);
REGION_ALIAS("REGION_RODATA", CODE);
REGION_ALIAS("REGION_DATA", DATA);
REGION_ALIAS("REGION_BSS", DATA);
REGION_ALIAS("REGION_HEAP", DATA);
REGION_ALIAS("REGION_STACK", DATA);
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let memory = match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "arm" => LM3S6965,
        _ => VIRT,
    };
    std::fs::write(out.join("memory.x"), memory)?;
    println!("cargo::rustc-link-search={}", out.display());
    if std::env::var("CARGO_CFG_TARGET_ARCH")? != "arm" {
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
