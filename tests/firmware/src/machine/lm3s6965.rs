//! Stellaris LM3S6965 (Cortex-M3), as QEMU's `lm3s6965evb` has it.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;

use super::Register;

pub(crate) const NAME: &str = "Cortex-M3";

// SAFETY: UART0 of the data sheet: data, flags, control.
const DATA: Register<u32> = unsafe { Register::at(0x4000_c000) };
const FLAGS: Register<u32> = unsafe { Register::at(0x4000_c018) };
const CONTROL: Register<u32> = unsafe { Register::at(0x4000_c030) };
const RECEIVE_EMPTY: u32 = 1 << 4;
const SEND_FULL: u32 = 1 << 5;
const ON: u32 = 1 | 1 << 8 | 1 << 9;

/// The processor's clock after a reset: a sixteenth of QEMU's 200 MHz.
const CLOCK_HZ: u32 = 12_500_000;
const TICK_MS: u32 = 10;

static TICKS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    TICKS.store(TICKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

pub(crate) fn start() {
    CONTROL.write(ON);
    if let Some(peripherals) = Peripherals::take() {
        let mut counter = peripherals.SYST;
        counter.set_clock_source(SystClkSource::Core);
        counter.set_reload(CLOCK_HZ / 1_000 * TICK_MS - 1);
        counter.clear_current();
        counter.enable_counter();
        counter.enable_interrupt();
    }
}

pub(crate) fn ticks_ms() -> u64 {
    u64::from(TICKS.load(Ordering::Relaxed)) * u64::from(TICK_MS)
}

pub(crate) fn send(byte: u8) {
    while FLAGS.read() & SEND_FULL != 0 {}
    DATA.write(u32::from(byte));
}

pub(crate) fn receive() -> Option<u8> {
    if FLAGS.read() & RECEIVE_EMPTY != 0 { None } else { DATA.read().to_le_bytes().first().copied() }
}

pub(crate) fn semihost(operation: usize, argument: usize) -> usize {
    let result;
    // SAFETY: the debugger reads and writes what the argument points to and nothing else; the callers see to that.
    unsafe { asm!("bkpt 0xab", inlateout("r0") operation => result, in("r1") argument) };
    result
}
