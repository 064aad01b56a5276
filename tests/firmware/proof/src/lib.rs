//! Every public function of the core and of the adapter for devices, called with values that the optimiser cannot know.
//!
//! A program that has the macro [`program!`] in it names a function that does not exist in its panic handler. If any
//! panic is left in what it calls, the handler is linked, its function is missed, and there is no program.
#![no_std]

mod client;
mod kernel;
mod session;

use core::fmt::{self, Write};
use core::hint::black_box;

pub use client::{asynchronous, asynchronous_rest, client, rest};
pub use kernel::kernel;
pub use session::{displays, session};

/// A value that nothing is known of.
fn any<T>(value: T) -> T {
    black_box(value)
}

/// Takes what is written and shows nothing of it to the optimiser.
struct Sink;

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let _ = black_box(text);
        any(Ok(()))
    }
}

fn show(value: &dyn fmt::Display) {
    let _ = black_box(write!(Sink, "{}", black_box(value)));
}

/// What the compiler's own panic says, which it puts into each `async fn` for whoever polls it again after its end.
pub const POLLED_AGAIN: &str = "`async fn` resumed after completion";

/// A program that calls `$what`, and cannot panic, or does not link. With `await` before it, the one panic that is left in
/// each `async fn` is let be, and no other.
#[macro_export]
macro_rules! program {
    (await $($what:path),*) => {
        $crate::program!(@calls $($what),*);

        // Inlined, so that the optimiser compares the two texts: where none but that one is left, so is no call.
        #[inline(always)]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            if info.message().as_str() != Some($crate::POLLED_AGAIN) {
                // SAFETY: there is no such function, so there is no program in which it is called.
                unsafe { evergrant_can_panic() }
            }
            loop {
                core::hint::spin_loop();
            }
        }
    };
    (@calls $($what:path),*) => {
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            $($what();)*
            loop {
                core::hint::spin_loop();
            }
        }

        unsafe extern "C" {
            fn evergrant_can_panic() -> !;
        }
    };
    ($($what:path),*) => {
        $crate::program!(@calls $($what),*);

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            // SAFETY: there is no such function, so there is no program in which it is called.
            unsafe { evergrant_can_panic() }
        }
    };
}
