//! The record in flash, with the power cut at each word of a write and in the middle of each erase.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use evergrant_embedded::{SlotError, Slots, Store};
use proptest::prelude::*;

/// NOR flash as it is: a write only clears bits, of erased words alone; an erase takes whole pages; and at a set step the
/// power goes, leaving the word or the page that was at work in any state.
#[derive(Clone, Debug)]
struct Chip<const WRITE: usize, const ERASE: usize> {
    bytes: Vec<u8>,
    steps_left: Option<usize>,
    steps: usize,
    erased: usize,
    noise: u64,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum ChipError {
    PowerIsGone,
    Misused(&'static str),
}

impl NorFlashError for ChipError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const W: usize, const E: usize> Chip<W, E> {
    fn new(pages: usize) -> Self {
        Self { bytes: vec![0xff; pages * E], steps_left: None, steps: 0, erased: 0, noise: 0x9e37_79b9 }
    }

    fn noise(&mut self) -> u8 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise.to_le_bytes()[3]
    }

    /// Whether the power still holds for another step; `None`: it goes during this very step.
    fn step(&mut self) -> Result<bool, ChipError> {
        self.steps += 1;
        match &mut self.steps_left {
            None => Ok(true),
            Some(0) => Err(ChipError::PowerIsGone),
            Some(left) => {
                *left -= 1;
                Ok(*left > 0)
            }
        }
    }

    fn power_on(&mut self) {
        self.steps_left = None;
    }
}

impl<const W: usize, const E: usize> ErrorType for &mut Chip<W, E> {
    type Error = ChipError;
}

impl<const W: usize, const E: usize> ReadNorFlash for &mut Chip<W, E> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ChipError> {
        if self.steps_left == Some(0) {
            return Err(ChipError::PowerIsGone);
        }
        let at = at as usize;
        if !at.is_multiple_of(4) || !bytes.len().is_multiple_of(4) {
            return Err(ChipError::Misused("an unaligned read"));
        }
        let from = self.bytes.get(at..at + bytes.len()).ok_or(ChipError::Misused("a read beyond the end"))?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const W: usize, const E: usize> NorFlash for &mut Chip<W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), ChipError> {
        let (from, to) = (from as usize, to as usize);
        if !from.is_multiple_of(E) || !to.is_multiple_of(E) || from >= to || to > self.bytes.len() {
            return Err(ChipError::Misused("an erase of no whole pages"));
        }
        for page in (from..to).step_by(E) {
            let holds = self.step()?;
            self.erased += 1;
            for at in page..page + E {
                self.bytes[at] = if holds { 0xff } else { self.bytes[at] | self.noise() };
            }
            if !holds {
                return Err(ChipError::PowerIsGone);
            }
        }
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), ChipError> {
        let at = at as usize;
        if !at.is_multiple_of(W) || !bytes.len().is_multiple_of(W) {
            return Err(ChipError::Misused("an unaligned write"));
        }
        for (index, word) in bytes.chunks(W).enumerate() {
            let at = at + index * W;
            if !self.bytes[at..at + W].iter().all(|byte| *byte == 0xff) {
                return Err(ChipError::Misused("a write over what was not erased"));
            }
            let holds = self.step()?;
            for (offset, byte) in word.iter().enumerate() {
                let torn = if holds { 0 } else { self.noise() };
                self.bytes[at + offset] &= byte | torn;
            }
            if !holds {
                return Err(ChipError::PowerIsGone);
            }
        }
        Ok(())
    }
}

type Small = Chip<8, 512>;

fn slots<const W: usize, const E: usize>(chip: &mut Chip<W, E>, count: u32) -> Slots<&mut Chip<W, E>> {
    let size = u32::try_from(chip.bytes.len()).unwrap();
    Slots::new(chip, 0..size, count).unwrap()
}

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
