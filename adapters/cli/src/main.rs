//! The evergrant command.

fn main() {}
