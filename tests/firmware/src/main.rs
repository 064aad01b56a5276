//! A device that keeps a grant: connects, refreshes, calls the API, and is cut off in the middle of it.
//!
//! Its network is a serial line that is joined to a TCP connection. Its console, which gives it commands and takes its log,
//! and its flash are the debugger's (semihosting): the flash is a file, so what was written is there when the machine is
//! not. With the feature `tls` it speaks TLS over that line, to Intuit's own addresses. The runner beside this plays the user, the browser and the power switch.
#![no_std]
#![no_main]

mod flash;
mod host;
mod life;
mod line;
mod machine;
mod stack;
#[cfg(feature = "tls")]
mod tls;

use core::fmt::Write;

#[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
#[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
fn main() -> ! {
    machine::start();
    let status = life::run();
    host::exit(status)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Nobody is there to be told where this fails.
    let _ = writeln!(host::Console, "PANIC {info}");
    host::exit(Err(()))
}
