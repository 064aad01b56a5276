//! How deep the calls go: what lies below the caller is painted, and later looked at.

use core::ptr;

const PAINT: u32 = 0x5aa5_c33c;
/// Bytes that are painted. Both machines have more free below.
const DEPTH: usize = 24 * 1_024;
/// Bytes that the painting itself may use.
const SPARED: usize = 512;

/// Where the caller's own memory ends.
pub(crate) struct Stack(usize);

impl Stack {
    /// Paints what lies below.
    #[inline(never)]
    pub(crate) fn paint() -> Self {
        let here = 0_u32;
        let top = ptr::from_ref(&here).addr() & !3;
        for at in (top - DEPTH..top - SPARED).step_by(4) {
            // SAFETY: this part of the stack is nobody's: it is deeper than any call that has not returned.
            unsafe { ptr::with_exposed_provenance_mut::<u32>(at).write_volatile(PAINT) };
        }
        Self(top)
    }

    /// Bytes that calls have used since.
    pub(crate) fn deepest(&self) -> usize {
        let mut at = self.0 - DEPTH;
        // SAFETY: as above; it is read only.
        while at < self.0 && unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() } == PAINT {
            at += 4;
        }
        self.0 - at
    }
}
