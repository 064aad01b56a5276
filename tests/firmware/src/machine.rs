//! The two machines: a serial line, a counter, and the way to the debugger.

#[cfg(target_arch = "arm")]
mod lm3s6965;
#[cfg(target_arch = "riscv32")]
mod virt;

#[cfg(target_arch = "arm")]
pub(crate) use lm3s6965::{NAME, receive, semihost, send, start, ticks_ms};
#[cfg(target_arch = "riscv32")]
pub(crate) use virt::{NAME, receive, semihost, send, start, ticks_ms};

use core::ptr;

/// A register at a fixed address.
#[derive(Clone, Copy)]
struct Register<T>(usize, core::marker::PhantomData<T>);

impl<T: Copy> Register<T> {
    /// # Safety
    /// There is such a register on this machine, and reading and writing it harms no memory.
    const unsafe fn at(address: usize) -> Self {
        Self(address, core::marker::PhantomData)
    }

    fn read(self) -> T {
        // SAFETY: who made it said that this is a register.
        unsafe { ptr::with_exposed_provenance::<T>(self.0).read_volatile() }
    }

    fn write(self, value: T) {
        // SAFETY: who made it said that this is a register.
        unsafe { ptr::with_exposed_provenance_mut::<T>(self.0).write_volatile(value) }
    }
}
