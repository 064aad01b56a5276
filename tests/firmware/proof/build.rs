//! Tells the linker to start nowhere in particular: these programs are linked and measured, never run.

fn main() {
    println!("cargo::rustc-link-arg=-e_start");
    println!("cargo::rerun-if-changed=build.rs");
}
