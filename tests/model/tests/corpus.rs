//! The fuzz targets on stable: their corpus, and what a small generator adds to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use model::fuzz::TARGETS;

/// What the fuzzer has kept, and every finding of the past, goes through without a panic.
#[test]
fn the_corpus_is_replayed() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let mut seeds = 0;
        for file in std::fs::read_dir(&folder).expect("a folder for each target") {
            let path = file.expect("a readable folder").path();
            let data = std::fs::read(&path).expect("a readable seed");
            let fine = catch_unwind(AssertUnwindSafe(|| target(&data)));
            assert!(fine.is_ok(), "{name}: {}", path.display());
            seeds += 1;
        }
        assert!(seeds >= 5, "{name} has lost its corpus");
    }
}

/// Random lives and random bytes: a few thousand of each, always the same.
#[test]
fn random_bytes_go_through() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (name, target) in TARGETS {
        for _ in 0..2_000 {
            let length = usize::try_from(random() % 120).unwrap_or(0);
            let data: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
            let fine = catch_unwind(AssertUnwindSafe(|| target(&data)));
            assert!(fine.is_ok(), "{name}: {data:?}");
        }
    }
}
