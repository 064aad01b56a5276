//! A task of embassy's. Nothing here holds up another task, and a request that takes too long is dropped: the device knows
//! what may be said of it then.

use core::convert::Infallible;

use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use evergrant::Input;
use evergrant_embedded::asynch::{Connect, Device, Store};
use evergrant_embedded::{Board, News, Target};

/// The counter is embassy's.
pub struct Desk;

impl Board for Desk {
    fn ticks_ms(&mut self) -> u64 {
        Instant::now().as_millis()
    }

    fn tell(&mut self, _: News) {
        // A log, a light.
    }
}

/// Stands for TLS over the board's TCP socket.
pub struct Network;

/// A connection.
pub struct Connection;

impl Connect for Network {
    type Connection<'c> = Connection;
    type Error = ErrorKind;

    async fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Connection, ErrorKind> {
        // Look up `target.host()`, connect to `target.port()`, and verify the certificate for that host.
        if target.secure() { Err(ErrorKind::Unsupported) } else { Ok(Connection) }
    }
}

impl ErrorType for Connection {
    type Error = ErrorKind;
}

impl Read for Connection {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::NotConnected)
    }
}

impl Write for Connection {
    async fn write(&mut self, _: &[u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::NotConnected)
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Stands for [`asynch::Slots`](evergrant_embedded::asynch::Slots) over the board's flash, where that is waited for: behind
/// SPI, or shared with a radio. Where it is not, the blocking ones serve as well.
pub struct Flash;

impl Store for Flash {
    type Error = Infallible;
    async fn load<'b>(&mut self, _: &'b mut [u8]) -> Result<Option<&'b [u8]>, Infallible> {
        Ok(None)
    }
    async fn save(&mut self, _: u32, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The grant's own task.
#[embassy_executor::task]
pub async fn keep(mut device: Device<'static, Network, Flash, Desk, 1280, 128, 128>) {
    loop {
        if !device.now().is_set() {
            // A time-out drops the future, and with it the connection.
            let _ = with_timeout(Duration::from_secs(20), device.learn_time()).await;
        }
        // A refresh that was dropped half-way counts as sent and unanswered: the next call says so to the session.
        let _ = with_timeout(Duration::from_secs(30), device.drive(Input::Tick)).await;
        Timer::after_secs(60).await;
    }
}
