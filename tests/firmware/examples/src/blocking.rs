//! A loop that blocks.

use evergrant::{Due, Input};
use evergrant_embedded::blocking::{Connect, Device};
use evergrant_embedded::{Board, Store};

/// Keeps the grant, and reads the company's name once in a while. `sleep` waits for so many seconds at the most; whoever
/// brings a callback from the user wakes it and hands the callback in.
pub fn run<N: Connect, S: Store, B: Board>(
    device: &mut Device<'_, N, S, B, 1280, 128, 128>,
    mut sleep: impl FnMut(u32),
    mut report: impl FnMut(u16, &[u8]),
) -> ! {
    loop {
        if !device.now().is_set() && !device.learn_time() {
            sleep(10);
            continue;
        }
        // What is due is done first. A refusal says that it is not the time for it; a store that failed is tried again.
        let _ = device.drive(Input::Tick);
        let path = "/v3/company/9130347/companyinfo/9130347";
        let _ = device.get(path, |status, body| report(status, body));
        let now = device.now();
        sleep(match device.due() {
            Due::Store => 1,
            Due::Tick(at) => at.since(now).clamp(1, 600),
            _ => 600,
        });
    }
}
