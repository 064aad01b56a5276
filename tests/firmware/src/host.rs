//! What the debugger does for the device (Arm's semihosting; RISC-V has taken it over): a log and files. Commands come
//! through a file as well, which grows by a line each: reading characters from the console hangs in QEMU 7.2.

use core::fmt;

use crate::machine::{semihost, ticks_ms};

const OPEN: usize = 0x01;
const WRITE: usize = 0x05;
const READ: usize = 0x06;
const SEEK: usize = 0x0a;
const EXIT: usize = 0x18;
const WRITE_TEXT: usize = 0x04;

/// The log.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A text ends with a zero, so it goes out in pieces.
        for piece in text.as_bytes().chunks(63) {
            let mut buffer = [0; 64];
            buffer.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            semihost(WRITE_TEXT, buffer.as_ptr().addr());
        }
        Ok(())
    }
}

/// The commands, a line each.
pub(crate) struct Commands {
    file: File,
    at: u32,
}

impl Commands {
    pub(crate) fn open() -> Option<Self> {
        File::open(c"commands").map(|file| Self { file, at: 0 })
    }

    /// The next line, without its end, once it is whole.
    pub(crate) fn next<'b>(&mut self, buffer: &'b mut [u8]) -> &'b str {
        loop {
            let count = self.file.read_some(self.at, buffer);
            let end = buffer.iter().take(count).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                self.at += u32::try_from(end).unwrap_or(0) + 1;
                let line = buffer.get(..end).unwrap_or_default();
                return core::str::from_utf8(line).unwrap_or_default().trim_ascii();
            }
            let started = ticks_ms();
            while ticks_ms() - started < 20 {
                core::hint::spin_loop();
            }
        }
    }
}

/// Ends the program that is the machine.
pub(crate) fn exit(status: Result<(), ()>) -> ! {
    const STOPPED: usize = 0x20026;
    const FAILED: usize = 0x20023;
    loop {
        semihost(EXIT, if status.is_ok() { STOPPED } else { FAILED });
    }
}

/// A file of the host's.
pub(crate) struct File(usize);

impl File {
    /// Opens a file that is there, to read and to write.
    pub(crate) fn open(name: &core::ffi::CStr) -> Option<Self> {
        const READ_AND_WRITE: usize = 3;
        let block = [name.as_ptr().addr(), READ_AND_WRITE, name.count_bytes()];
        let handle = semihost(OPEN, block.as_ptr().addr());
        (handle != usize::MAX).then_some(Self(handle))
    }

    pub(crate) fn read(&mut self, at: u32, bytes: &mut [u8]) -> bool {
        self.read_some(at, bytes) == bytes.len()
    }

    /// As much as there is; how much that was.
    pub(crate) fn read_some(&mut self, at: u32, bytes: &mut [u8]) -> usize {
        let block = [self.0, bytes.as_mut_ptr().addr(), bytes.len()];
        let missing = if self.seek(at) { semihost(READ, block.as_ptr().addr()) } else { bytes.len() };
        bytes.len().saturating_sub(missing)
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        self.seek(at) && semihost(WRITE, [self.0, bytes.as_ptr().addr(), bytes.len()].as_ptr().addr()) == 0
    }

    fn seek(&mut self, at: u32) -> bool {
        semihost(SEEK, [self.0, usize::try_from(at).unwrap_or(0)].as_ptr().addr()) == 0
    }
}
