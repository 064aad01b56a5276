//! The project's own commands: test, bench and what they install.

fn main() {}
