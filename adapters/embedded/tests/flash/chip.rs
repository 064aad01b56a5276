//! NOR flash as it is, and the power that goes.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use embedded_storage_async::nor_flash as slow;

/// NOR flash as it is: a write only clears bits, of erased words alone; an erase takes whole pages; and at a set step the
/// power goes, leaving the word or the page that was at work in any state.
#[derive(Clone, Debug)]
pub(crate) struct Chip<const WRITE: usize, const ERASE: usize> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) steps_left: Option<usize>,
    pub(crate) steps: usize,
    pub(crate) erased: usize,
    pub(crate) noise: u64,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum ChipError {
    PowerIsGone,
    Misused(&'static str),
}

impl NorFlashError for ChipError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const W: usize, const E: usize> Chip<W, E> {
    pub(crate) fn new(pages: usize) -> Self {
        Self { bytes: vec![0xff; pages * E], steps_left: None, steps: 0, erased: 0, noise: 0x9e37_79b9 }
    }

    pub(crate) fn noise(&mut self) -> u8 {
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

    pub(crate) fn power_on(&mut self) {
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

/// The same chip behind a bus that is waited for once before each step.
#[derive(Debug)]
pub(crate) struct Slow<'c, const W: usize, const E: usize>(pub(crate) &'c mut Chip<W, E>);

async fn breath() {
    let mut taken = false;
    std::future::poll_fn(|_| {
        let ready = std::mem::replace(&mut taken, true);
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

impl<const W: usize, const E: usize> ErrorType for Slow<'_, W, E> {
    type Error = ChipError;
}

impl<const W: usize, const E: usize> slow::ReadNorFlash for Slow<'_, W, E> {
    const READ_SIZE: usize = 4;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ChipError> {
        breath().await;
        self.0.read(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.bytes.len()
    }
}

impl<const W: usize, const E: usize> slow::NorFlash for Slow<'_, W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), ChipError> {
        for page in (from..to).step_by(E) {
            breath().await;
            self.0.erase(page, page + u32::try_from(E).unwrap())?;
        }
        Ok(())
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), ChipError> {
        for (at, word) in (at..).step_by(W).zip(bytes.chunks(W)) {
            breath().await;
            self.0.write(at, word)?;
        }
        Ok(())
    }
}
