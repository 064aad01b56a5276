//! What holds for the record in flash, in either face; with the power cut at each word of a write and in the middle of each
//! erase.

use evergrant_embedded::{SlotError, Store as _};
use proptest::prelude::*;

use super::{Slots, slots};
use crate::chip::Chip;

type Small = Chip<8, 512>;

fn record(revision: u32, length: usize) -> Vec<u8> {
    let mut text = format!("token-of-revision-{revision}-").into_bytes();
    let filler = u8::try_from(revision % 26).unwrap() + b'a';
    text.resize(length.max(24), filler);
    text
}

fn load<const W: usize, const E: usize>(chip: &mut Chip<W, E>, count: u32) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_048];
    slots(chip, count).load(&mut buffer).unwrap().map(<[u8]>::to_vec)
}

#[test]
fn a_record_comes_back_and_older_ones_are_refused() {
    let mut chip = Small::new(4);
    assert_eq!(load(&mut chip, 2), None);
    for revision in [1, 2, 3, 9] {
        slots(&mut chip, 2).save(revision, &record(revision, 700)).unwrap();
        assert_eq!(load(&mut chip, 2), Some(record(revision, 700)));
    }
    for stale in [1, 8, 9] {
        let refused = slots(&mut chip, 2).save(stale, &record(stale, 701));
        assert_eq!(refused, Err(SlotError::Stale { stored: 9 }));
    }
    assert_eq!(slots(&mut chip, 2).save(9, &record(9, 700)), Ok(()), "the same again is no step back");
    assert_eq!(slots(&mut chip, 2).revision(), Ok(Some(9)));
    assert_eq!(load(&mut chip, 2), Some(record(9, 700)));
}

#[test]
fn one_record_alone_is_in_the_flash_and_a_wiped_flash_is_blank() {
    let mut chip = Small::new(6);
    for revision in 1..8 {
        slots(&mut chip, 3).save(revision, &record(revision, 300)).unwrap();
        let text = String::from_utf8_lossy(&chip.bytes).into_owned();
        assert_eq!(text.matches("token-of-revision-").count(), 1, "an old token is a secret all the same");
    }
    assert_eq!(chip.erased, 6 * 2, "a slot of two pages for each save but the first");
    slots(&mut chip, 3).wipe().unwrap();
    assert!(chip.bytes.iter().all(|byte| *byte == 0xff));
}

#[test]
fn sizes_are_checked() {
    let mut chip = Small::new(4);
    let capacity = slots(&mut chip, 2).capacity();
    assert_eq!(capacity, 1_024 - 64);
    let refused = slots(&mut chip, 2).save(1, &vec![1; capacity + 1]);
    assert_eq!(refused, Err(SlotError::TooLong { needed: capacity + 1, capacity }));
    slots(&mut chip, 2).save(1, &vec![1; capacity]).unwrap();
    slots(&mut chip, 2).save(2, &vec![2; capacity]).unwrap();
    assert_eq!(load(&mut chip, 2), Some(vec![2; capacity]));
    let mut small = [0; 100];
    let refused = slots(&mut chip, 2).load(&mut small);
    assert_eq!(refused, Err(SlotError::Buffer { needed: capacity }));
    for (region, count) in
        [(0..2_048, 1), (0..2_048, 0), (0..2_048, 3), (0..4_096, 2), (256..2_304, 2), (9..9, 2)]
    {
        assert_eq!(Slots::new(&mut chip, region, count).err(), Some(SlotError::Layout));
    }
    let mut odd = Chip::<128, 512>::new(4);
    assert_eq!(Slots::new(&mut odd, 0..2_048, 2).err(), Some(SlotError::Layout));
}

/// Cuts the power at each step of a save, and again at each step of the save after it.
fn cut_everywhere<const W: usize, const E: usize>(pages: usize, count: u32, length: usize) {
    let mut start = Chip::<W, E>::new(pages);
    for revision in 1..5 {
        slots(&mut start, count).save(revision, &record(revision, length)).unwrap();
    }
    let mut whole = start.clone();
    whole.steps = 0;
    slots(&mut whole, count).save(5, &record(5, length)).unwrap();
    for cut in 1..=whole.steps {
        let mut chip = start.clone();
        chip.steps_left = Some(cut);
        chip.noise += cut as u64;
        let saved = slots(&mut chip, count).save(5, &record(5, length));
        chip.power_on();
        let there = load(&mut chip, count).expect("a record is there at all times");
        if saved.is_ok() {
            assert_eq!(there, record(5, length), "what was said to be durable is there (cut at {cut})");
        } else {
            assert!(there == record(4, length) || there == record(5, length), "cut at {cut}");
        }
        let next = if there == record(5, length) { 6 } else { 5 };
        for second in 1..=whole.steps + pages {
            let mut again = chip.clone();
            again.steps_left = Some(second);
            let saved = slots(&mut again, count).save(next, &record(next, length));
            again.power_on();
            let now = load(&mut again, count).expect("a record is there at all times");
            assert!(
                now == record(next, length) || (saved.is_err() && now == there),
                "cut at {cut}, {second}"
            );
            slots(&mut again, count).save(next + 1, &record(next + 1, length)).unwrap();
            assert_eq!(load(&mut again, count), Some(record(next + 1, length)));
            let text = String::from_utf8_lossy(&again.bytes).into_owned();
            assert_eq!(text.matches("token-of-revision-").count(), 1, "cut at {cut}, {second}");
        }
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_one_whole_record() {
    cut_everywhere::<4, 256>(4, 2, 190);
    cut_everywhere::<8, 256>(2, 2, 150);
    cut_everywhere::<1, 256>(2, 2, 40);
    cut_everywhere::<32, 512>(6, 3, 500);
}

#[test]
fn rotten_bits_are_noticed() {
    let mut chip = Small::new(4);
    slots(&mut chip, 2).save(1, &record(1, 200)).unwrap();
    let whole = chip.clone();
    for at in 0..64 + 200 {
        // Behind the header's words nothing is written, and nothing is read.
        if (16..64).contains(&at) {
            continue;
        }
        for bit in 0..8 {
            chip.bytes[at] ^= 1 << bit;
            assert_eq!(load(&mut chip, 2), None, "bit {bit} of byte {at}");
            chip.bytes.clone_from(&whole.bytes);
        }
    }
}

proptest! {
    /// Whatever the flash held before, and wherever the power goes: what was said to be saved is there.
    #[test]
    fn any_life_of_a_flash(
        noise in prop::option::of(any::<u64>()),
        saves in prop::collection::vec((1_usize..900, prop::option::weighted(0.5, 1_usize..250)), 1..20),
    ) {
        let mut chip = Small::new(6);
        if let Some(noise) = noise {
            chip.noise = noise | 1;
            for at in 0..chip.bytes.len() {
                chip.bytes[at] = chip.noise();
            }
        }
        let mut durable: Option<Vec<u8>> = None;
        for (index, (length, cut)) in saves.into_iter().enumerate() {
            let revision = u32::try_from(index).unwrap() + 1;
            let text = record(revision, length);
            chip.steps_left = cut;
            let saved = slots(&mut chip, 3).save(revision, &text);
            chip.power_on();
            let there = load(&mut chip, 3);
            prop_assert!(there.as_ref() == Some(&text) || (saved.is_err() && there == durable));
            durable = there;
        }
    }
}
