//! A record in NOR flash that survives a power cut at any moment of a write.
//!
//! The flash is divided into slots, two at least, each of whole erase pages. A record is written behind the place of its
//! header, then the header: revision, length and a CRC-32 over all of it. It counts only when the sum fits, so a write that
//! was cut short leaves the record before it in force, and one whole record is there at all times. Once the new one has
//! been read back, the slots with older ones are erased: they hold tokens that were replaced.
//!
//! [`Slots`] is for a driver that blocks, [`asynch::Slots`](crate::asynch::Slots) for one that is awaited; what the one has
//! written the other reads. A future of the latter may be dropped at any moment: it is a power cut in all but the power.
//!
//! Why not `sequential-storage`: it is async only, keeps replaced values (here: secrets) in the flash until their page is
//! needed, and brings more code than this whole client. One record with a revision needs no log.
//!
//! # Wear
//! A save costs one erase, in turn over all slots: `n` slots of flash that stands 10,000 erases take `n` × 10,000 saves. A
//! refresh is two saves. A device that refreshes each hour around the clock needs 48 a day; one that refreshes when it has
//! something to say, fewer.

use core::fmt;
use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use zeroize::Zeroizing;

/// Where a device keeps its record. [`Slots`] is one; another may be a file, an EEPROM or a chip that seals what it keeps.
pub trait Store {
    /// What can go wrong.
    type Error: fmt::Debug;

    /// The latest record that is whole, read into `buffer`; `None` where there never was one.
    ///
    /// # Errors
    /// It cannot be read, or the buffer is too small.
    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error>;

    /// Makes a record durable: it is there after a power cut that comes right after this returns. A record whose revision
    /// is not above the one that is there must be refused, but for that very record: a save that was cut short may have
    /// been durable all the same, and is tried again.
    ///
    /// # Errors
    /// It is not durable, or not known to be.
    fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error>;
}

/// Bytes of a header: a mark, the revision, the length, the check.
pub(crate) const HEADER: usize = 16;
pub(crate) const MARK: [u8; 4] = *b"egr1";
/// Flash is read, written and compared in pieces of this size, the header alone in the first; what it can read or write at
/// once must divide it.
pub(crate) const PIECE: usize = 64;

/// Why the flash did not do what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError<E> {
    /// The flash itself.
    Flash(E),
    /// The region is not of whole erase pages for each slot, has fewer than two slots, lies beyond the flash, or the
    /// flash reads or writes pieces that do not divide 64 bytes.
    Layout,
    /// The record does not fit a slot.
    TooLong {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that a slot has for it.
        capacity: usize,
    },
    /// The buffer does not hold the record that is stored.
    Buffer {
        /// Bytes that it needs.
        needed: usize,
    },
    /// A record of this revision is there, and the one to be saved is not newer.
    Stale {
        /// The revision that is there.
        stored: u32,
    },
    /// What was written does not read back. The record before it is still in force.
    Unreadable,
}

impl<E: fmt::Debug> fmt::Display for SlotError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the flash failed: {error:?}"),
            Self::Layout => f.write_str("the region cannot be divided into two slots of whole erase pages"),
            Self::TooLong { needed, capacity } => {
                write!(f, "the record needs {needed} bytes, and a slot has {capacity}")
            }
            Self::Buffer { needed } => write!(f, "the stored record needs a buffer of {needed} bytes"),
            Self::Stale { stored } => write!(f, "a record of revision {stored} is there already"),
            Self::Unreadable => f.write_str("what was written does not read back"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SlotError<E> {}

/// A record that was found whole.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: u32,
    pub(crate) revision: u32,
    pub(crate) length: usize,
}

/// What a flash can read, write and erase at once, and how much it has.
pub(crate) struct Sizes {
    pub(crate) read: usize,
    pub(crate) write: usize,
    pub(crate) erase: usize,
    pub(crate) capacity: usize,
}

/// Bytes of each of `count` slots in `region`; `None` where it cannot be divided so.
pub(crate) fn divided(region: &Range<u32>, count: u32, sizes: &Sizes) -> Option<u32> {
    let size = region.end.saturating_sub(region.start);
    let slot = size.checked_div(count).unwrap_or(0);
    let whole = |bytes: u32, of: usize| {
        usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_rem(of)) == Some(0)
    };
    let divides = |of: usize| PIECE.checked_rem(of) == Some(0);
    let fits = count >= 2
        && slot.checked_mul(count) == Some(size)
        && whole(slot, sizes.erase)
        && whole(region.start, sizes.erase)
        && slot > 0
        && whole(slot, PIECE)
        && usize::try_from(region.end).is_ok_and(|end| end <= sizes.capacity)
        && divides(sizes.write)
        && divides(sizes.read);
    fits.then_some(slot)
}

/// A record in slots, for one face: what the flash is, what it becomes, and the two words in which blocking and async
/// differ.
macro_rules! slots {
    ($flash:path, $store:path, [$($asynchronous:tt)?], [$($wait:tt)*]) => {
        /// One record in two slots of NOR flash or more. See the text of [`slots`](crate::slots).
        #[derive(Debug)]
        pub struct Slots<F> {
            flash: F,
            from: u32,
            slot: u32,
            count: u32,
        }

        impl<F: $flash> Slots<F> {
            /// Divides `region` of the flash, in bytes from its beginning, into `count` slots.
            ///
            /// # Errors
            /// [`SlotError::Layout`].
            pub fn new(flash: F, region: Range<u32>, count: u32) -> Result<Self, SlotError<F::Error>> {
                let sizes = Sizes {
                    read: F::READ_SIZE,
                    write: F::WRITE_SIZE,
                    erase: F::ERASE_SIZE,
                    capacity: flash.capacity(),
                };
                match divided(&region, count, &sizes) {
                    Some(slot) => Ok(Self { flash, from: region.start, slot, count }),
                    None => Err(SlotError::Layout),
                }
            }

            /// The longest record that a slot holds.
            #[must_use]
            pub fn capacity(&self) -> usize {
                usize::try_from(self.slot).unwrap_or(0).saturating_sub(PIECE)
            }

            /// The revision of the record that is there.
            ///
            /// # Errors
            /// The flash cannot be read.
            pub $($asynchronous)? fn revision(&mut self) -> Result<Option<u32>, SlotError<F::Error>> {
                Ok(self.newest()$($wait)*?.map(|found| found.revision))
            }

            /// Erases every slot: the device is given away, or the user wants nothing of it to stay.
            ///
            /// # Errors
            /// The flash failed; some slots may be left.
            pub $($asynchronous)? fn wipe(&mut self) -> Result<(), SlotError<F::Error>> {
                for slot in 0..self.count {
                    self.clear(slot)$($wait)*?;
                }
                Ok(())
            }

            /// The flash. Whoever writes to the region of the slots may lose the record.
            pub const fn flash_mut(&mut self) -> &mut F {
                &mut self.flash
            }

            /// The flash, back again.
            pub fn release(self) -> F {
                self.flash
            }

            fn start(&self, slot: u32) -> u32 {
                self.from.saturating_add(self.slot.saturating_mul(slot))
            }

            fn place(&self, slot: u32, offset: usize) -> u32 {
                self.start(slot).saturating_add(u32::try_from(offset).unwrap_or(u32::MAX))
            }

            $($asynchronous)? fn read(&mut self, slot: u32, offset: usize, piece: &mut [u8]) -> Result<(), SlotError<F::Error>> {
                let at = self.place(slot, offset);
                self.flash.read(at, piece)$($wait)*.map_err(SlotError::Flash)
            }

            $($asynchronous)? fn newest(&mut self) -> Result<Option<Found>, SlotError<F::Error>> {
                let mut newest: Option<Found> = None;
                for slot in 0..self.count {
                    if let Some(found) = self.found(slot)$($wait)*?
                        && newest.is_none_or(|newest| newest.revision < found.revision)
                    {
                        newest = Some(found);
                    }
                }
                Ok(newest)
            }

            /// The record in a slot, if it is whole.
            $($asynchronous)? fn found(&mut self, slot: u32) -> Result<Option<Found>, SlotError<F::Error>> {
                let mut piece = Zeroizing::new([0; PIECE]);
                self.read(slot, 0, &mut *piece)$($wait)*?;
                let Some((header, _)) = piece.split_first_chunk::<HEADER>() else { return Ok(None) };
                let Some((revision, length, check)) = parse(header) else { return Ok(None) };
                if length > self.capacity() {
                    return Ok(None);
                }
                let mut crc = opened(revision, length);
                let mut done = 0;
                while done < length {
                    self.read(slot, PIECE.saturating_add(done), &mut *piece)$($wait)*?;
                    let left = length.saturating_sub(done);
                    crc = piece.iter().take(left).fold(crc, |crc, byte| summed(crc, *byte));
                    done = done.saturating_add(PIECE);
                }
                let whole = !crc == check;
                Ok(whole.then_some(Found { slot, revision, length }))
            }

            /// Erases a slot where it is not blank already.
            $($asynchronous)? fn clear(&mut self, slot: u32) -> Result<(), SlotError<F::Error>> {
                let mut piece = Zeroizing::new([0; PIECE]);
                let mut at = 0;
                let size = usize::try_from(self.slot).unwrap_or(0);
                while at < size {
                    self.read(slot, at, &mut *piece)$($wait)*?;
                    let blank = piece.iter().all(|byte| *byte == 0xff);
                    if !blank {
                        let (from, to) = (self.start(slot), self.start(slot.saturating_add(1)));
                        return self.flash.erase(from, to)$($wait)*.map_err(SlotError::Flash);
                    }
                    at = at.saturating_add(PIECE);
                }
                Ok(())
            }

            /// Whether the record there is this one.
            $($asynchronous)? fn holds(&mut self, found: &Found, record: &[u8]) -> Result<bool, SlotError<F::Error>> {
                let mut piece = Zeroizing::new([0; PIECE]);
                let mut same = found.length == record.len();
                for (index, ours) in record.chunks(PIECE).enumerate() {
                    self.read(found.slot, behind_header(index), &mut *piece)$($wait)*?;
                    same &= piece.iter().zip(ours).all(|(theirs, ours)| theirs == ours);
                }
                Ok(same)
            }

            $($asynchronous)? fn write(&mut self, slot: u32, revision: u32, record: &[u8]) -> Result<(), SlotError<F::Error>> {
                let mut piece = Zeroizing::new([0; PIECE]);
                let mut crc = opened(revision, record.len());
                for (index, bytes) in record.chunks(PIECE).enumerate() {
                    // The last one is filled up with what erased flash shows.
                    piece.fill(0xff);
                    for (to, from) in piece.iter_mut().zip(bytes) {
                        *to = *from;
                        crc = summed(crc, *from);
                    }
                    let offset = behind_header(index);
                    self.program(slot, offset, &piece, bytes.len())$($wait)*?;
                }
                piece.fill(0xff);
                let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
                let words = [MARK, revision.to_le_bytes(), length.to_le_bytes(), (!crc).to_le_bytes()];
                for (to, from) in piece.iter_mut().zip(words.as_flattened()) {
                    *to = *from;
                }
                self.program(slot, 0, &piece, HEADER)$($wait)*
            }

            /// Writes the first `length` bytes of a piece, and as many more as make it whole writes.
            $($asynchronous)? fn program(
                &mut self,
                slot: u32,
                offset: usize,
                piece: &[u8; PIECE],
                length: usize,
            ) -> Result<(), SlotError<F::Error>> {
                let at = self.place(slot, offset);
                let whole = length.checked_next_multiple_of(F::WRITE_SIZE).unwrap_or(PIECE);
                self.flash.write(at, piece.get(..whole).unwrap_or(piece))$($wait)*.map_err(SlotError::Flash)
            }
        }

        impl<F: $flash> $store for Slots<F> {
            type Error = SlotError<F::Error>;

            $($asynchronous)? fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error> {
                let Some(found) = self.newest()$($wait)*? else { return Ok(None) };
                let too_small = SlotError::Buffer { needed: found.length };
                let place = buffer.get_mut(..found.length).ok_or(too_small)?;
                let mut piece = Zeroizing::new([0; PIECE]);
                for (index, to) in place.chunks_mut(PIECE).enumerate() {
                    self.read(found.slot, behind_header(index), &mut *piece)$($wait)*?;
                    to.iter_mut().zip(piece.iter()).for_each(|(to, from)| *to = *from);
                }
                Ok(Some(place))
            }

            $($asynchronous)? fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error> {
                let (needed, capacity) = (record.len(), self.capacity());
                if needed > capacity {
                    return Err(SlotError::TooLong { needed, capacity });
                }
                let newest = self.newest()$($wait)*?;
                if let Some(found) = newest
                    && found.revision >= revision
                {
                    // The same record again is no step back: an earlier try may have failed only in saying that it succeeded.
                    let same = found.revision == revision && self.holds(&found, record)$($wait)*?;
                    return if same { Ok(()) } else { Err(SlotError::Stale { stored: found.revision }) };
                }
                let next = newest.map_or(0, |found| found.slot.saturating_add(1));
                let next = if next < self.count { next } else { 0 };
                self.clear(next)$($wait)*?;
                self.write(next, revision, record)$($wait)*?;
                if self.found(next)$($wait)*?.is_none_or(|found| found.revision != revision) {
                    return Err(SlotError::Unreadable);
                }
                for slot in (0..self.count).filter(|slot| *slot != next) {
                    // It is durable now, come what may; an older one that could not be erased is tried again next time.
                    let _ = self.clear(slot)$($wait)*;
                }
                Ok(())
            }
        }
    };
}
pub(crate) use slots;

slots!(NorFlash, Store, [], []);

/// Where the record's piece of that index stands.
pub(crate) const fn behind_header(index: usize) -> usize {
    index.saturating_add(1).saturating_mul(PIECE)
}

pub(crate) fn parse(header: &[u8; HEADER]) -> Option<(u32, usize, u32)> {
    let (words, _) = header.as_chunks::<4>();
    let [mark, revision, length, check] = words else { return None };
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (*mark == MARK).then_some((u32::from_le_bytes(*revision), length, u32::from_le_bytes(*check)))
}

/// CRC-32 (IEEE 802.3) over the header's own words; the record follows.
pub(crate) fn opened(revision: u32, length: usize) -> u32 {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let words = [MARK, revision.to_le_bytes(), length.to_le_bytes()];
    words.as_flattened().iter().fold(u32::MAX, |crc, byte| summed(crc, *byte))
}

/// Bit by bit: a table would cost a KiB, and a record is summed in no time beside its writing.
pub(crate) fn summed(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_the_one_that_everybody_knows() {
        let crc = b"123456789".iter().fold(u32::MAX, |crc, byte| super::summed(crc, *byte));
        assert_eq!(!crc, 0xcbf4_3926);
    }
}
