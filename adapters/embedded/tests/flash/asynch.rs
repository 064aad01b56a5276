//! Slots over flash that is waited for.

use std::ops::Range;

use evergrant_embedded::asynch;
use evergrant_embedded::{SlotError, Store};

use crate::chip::{Chip, ChipError, Slow};
use crate::common::{block_on, poll_times};

#[path = "cases.rs"]
mod cases;

type Outcome<T> = Result<T, SlotError<ChipError>>;

/// Each call is run to its end, so that the cases need not know.
#[derive(Debug)]
pub(crate) struct Slots<'c, const W: usize, const E: usize>(asynch::Slots<Slow<'c, W, E>>);

impl<'c, const W: usize, const E: usize> Slots<'c, W, E> {
    fn new(chip: &'c mut Chip<W, E>, region: Range<u32>, count: u32) -> Outcome<Self> {
        asynch::Slots::new(Slow(chip), region, count).map(Self)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn revision(&mut self) -> Outcome<Option<u32>> {
        block_on(self.0.revision())
    }

    fn wipe(&mut self) -> Outcome<()> {
        block_on(self.0.wipe())
    }
}

impl<const W: usize, const E: usize> Store for Slots<'_, W, E> {
    type Error = SlotError<ChipError>;

    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Outcome<Option<&'b [u8]>> {
        block_on(asynch::Store::load(&mut self.0, buffer))
    }

    fn save(&mut self, revision: u32, record: &[u8]) -> Outcome<()> {
        block_on(asynch::Store::save(&mut self.0, revision, record))
    }
}

pub(crate) fn slots<const W: usize, const E: usize>(chip: &mut Chip<W, E>, count: u32) -> Slots<'_, W, E> {
    let size = u32::try_from(chip.bytes.len()).unwrap();
    Slots::new(chip, 0..size, count).unwrap()
}

/// The future of a save is dropped after each number of steps: one whole record is there, and the next save finds its way.
#[test]
fn a_save_may_be_dropped_at_any_step() {
    let text = |revision: u32| vec![b'a' + u8::try_from(revision).unwrap(); 150];
    let mut start = Chip::<8, 256>::new(4);
    for revision in 1..4 {
        slots(&mut start, 2).save(revision, &text(revision)).unwrap();
    }
    let mut unfinished = 0;
    for polls in 0.. {
        let mut chip = start.clone();
        let mut waited = slots(&mut chip, 2);
        let done = poll_times(asynch::Store::save(&mut waited.0, 4, &text(4)), polls);
        let mut buffer = [0; 512];
        let there = slots(&mut chip, 2).load(&mut buffer).unwrap().unwrap().to_vec();
        if done.is_some() {
            assert_eq!(there, text(4));
            break;
        }
        unfinished += 1;
        assert!(there == text(3) || there == text(4), "after {polls} polls");
        // The driver says it again, and then goes on.
        slots(&mut chip, 2).save(4, &text(4)).unwrap();
        slots(&mut chip, 2).save(5, &text(5)).unwrap();
        assert_eq!(slots(&mut chip, 2).load(&mut buffer).unwrap().unwrap(), text(5));
    }
    assert!(unfinished > 30, "{unfinished}");
}

/// What one face has written the other reads.
#[test]
fn the_two_faces_write_the_same() {
    let (mut one, mut other) = (Chip::<8, 256>::new(4), Chip::<8, 256>::new(4));
    for revision in 1..4 {
        slots(&mut one, 2).save(revision, b"the same record").unwrap();
        crate::blocking::slots(&mut other, 2).save(revision, b"the same record").unwrap();
        assert_eq!(one.bytes, other.bytes);
    }
}
