//! QEMU's `virt` machine with a 32-bit RISC-V.

use core::arch::asm;

use super::Register;

pub(crate) const NAME: &str = "RISC-V";

// SAFETY: the 16550 of the machine's device tree: data, line status.
const DATA: Register<u8> = unsafe { Register::at(0x1000_0000) };
const STATUS: Register<u8> = unsafe { Register::at(0x1000_0005) };
const RECEIVED: u8 = 1;
const SEND_EMPTY: u8 = 1 << 5;

// SAFETY: the CLINT of the machine's device tree: its counter of 10 MHz, in two halves.
const TIME_LOW: Register<u32> = unsafe { Register::at(0x0200_bff8) };
const TIME_HIGH: Register<u32> = unsafe { Register::at(0x0200_bffc) };
const TICKS_PER_MS: u64 = 10_000;

pub(crate) fn start() {}

pub(crate) fn ticks_ms() -> u64 {
    loop {
        let (high, low) = (TIME_HIGH.read(), TIME_LOW.read());
        // The low half may have run over in between.
        if TIME_HIGH.read() == high {
            return (u64::from(high) << 32 | u64::from(low)) / TICKS_PER_MS;
        }
    }
}

pub(crate) fn send(byte: u8) {
    while STATUS.read() & SEND_EMPTY == 0 {}
    DATA.write(byte);
}

pub(crate) fn receive() -> Option<u8> {
    (STATUS.read() & RECEIVED != 0).then(|| DATA.read())
}

pub(crate) fn semihost(operation: usize, argument: usize) -> usize {
    let result;
    // The three instructions are known by their order, uncompressed, within one page.
    // SAFETY: the debugger reads and writes what the argument points to and nothing else; the callers see to that.
    unsafe {
        asm!(
            ".balign 16",
            ".option push",
            ".option norvc",
            "slli x0, x0, 0x1f",
            "ebreak",
            "srai x0, x0, 7",
            ".option pop",
            inlateout("a0") operation => result,
            in("a1") argument,
        );
    }
    result
}
