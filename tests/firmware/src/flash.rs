//! NOR flash in a file of the host's: it outlives the machine, and it can be told to stop in the middle of its work.

use core::fmt::Write;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::host::{Console, File};

pub(crate) const SIZE: u32 = 16 * 1_024;
pub(crate) const SLOTS: u32 = 4;

pub(crate) struct Flash {
    file: File,
    pub(crate) hold: Option<Hold>,
}

/// When the power is to go.
pub(crate) struct Hold {
    /// Records that are still saved whole.
    pub(crate) saves: u32,
    /// Words that are still written of the one after them.
    pub(crate) words: u32,
    /// It has begun.
    pub(crate) begun: bool,
}

#[derive(Debug)]
pub(crate) struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Flash {
    pub(crate) fn open() -> Option<Self> {
        File::open(c"flash.bin").map(|file| Self { file, hold: None })
    }

    /// Each word passes here. Where the power is to go, nothing ever happens again.
    fn step(&mut self, at: u32) {
        let Some(hold) = &mut self.hold else { return };
        // A record begins behind the place of its header, which is written last.
        let begins = at % (SIZE / SLOTS) == 64;
        if begins && hold.saves > 0 {
            hold.saves -= 1;
        } else if begins || hold.begun {
            hold.begun = true;
            if hold.words == 0 {
                // Nobody is there to be told where this fails.
                let _ = writeln!(Console, "held");
                loop {
                    core::hint::spin_loop();
                }
            }
            hold.words -= 1;
        }
    }
}

impl ErrorType for Flash {
    type Error = Failed;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        if self.file.read(at, bytes) { Ok(()) } else { Err(Failed) }
    }

    fn capacity(&self) -> usize {
        16 * 1_024
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1_024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        for page in (from..to).step_by(Self::ERASE_SIZE) {
            for at in (page..page + 1_024).step_by(64) {
                if !self.file.write(at, &[0xff; 64]) {
                    return Err(Failed);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        for (at, word) in (at..).step_by(4).zip(bytes.chunks(4)) {
            self.step(at);
            let mut there = [0; 4];
            self.read(at, &mut there)?;
            there.iter_mut().zip(word).for_each(|(there, byte)| *there &= byte);
            if there != word || !self.file.write(at, word) {
                return Err(Failed);
            }
        }
        Ok(())
    }
}
