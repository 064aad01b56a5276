//! Slots over flash that blocks.

pub(crate) use evergrant_embedded::Slots;

use crate::chip::Chip;

#[path = "cases.rs"]
mod cases;

pub(crate) fn slots<const W: usize, const E: usize>(
    chip: &mut Chip<W, E>,
    count: u32,
) -> Slots<&mut Chip<W, E>> {
    let size = u32::try_from(chip.bytes.len()).unwrap();
    Slots::new(chip, 0..size, count).unwrap()
}
