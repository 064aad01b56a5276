//! The whole client: the core, HTTP, the clock, the record in flash, the driver, in both faces.

use core::future::{Future, poll_fn};
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use embedded_storage::nor_flash::{self, NorFlash, NorFlashErrorKind, ReadNorFlash};
use evergrant::{App, Ask, Input, Provider, Scopes, Time};
use evergrant_embedded::{
    Board, Clock, News, SlotError, Slots, Store, Talk, Target, Trouble, asynch, blocking,
};

use crate::session::KEYS;
use crate::{any, show};

struct Line;

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        black_box(bytes);
        any(Ok(0))
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        any(Ok(()))
    }
}

impl Read for Line {
    fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        black_box(room);
        any(Ok(0))
    }
}

impl embedded_io_async::Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        wait().await;
        Write::write(self, bytes)
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        wait().await;
        Write::flush(self)
    }
}

impl embedded_io_async::Read for Line {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        wait().await;
        Read::read(self, room)
    }
}

impl blocking::Connect for Line {
    type Connection<'c> = &'c mut Self;
    type Error = ();
    fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<&'c mut Self, ()> {
        black_box((target.host(), target.port(), target.secure()));
        if any(true) { Ok(self) } else { Err(()) }
    }
}

impl asynch::Connect for Line {
    type Connection<'c> = &'c mut Self;
    type Error = ();
    async fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<&'c mut Self, ()> {
        black_box(target.host());
        wait().await;
        if any(true) { Ok(self) } else { Err(()) }
    }
}

#[derive(Debug)]
struct Flash;

impl nor_flash::ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        black_box((at, bytes));
        any(Ok(()))
    }
    fn capacity(&self) -> usize {
        any(65_536)
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4_096;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        black_box((from, to));
        any(Ok(()))
    }
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        black_box((at, bytes));
        any(Ok(()))
    }
}

impl embedded_storage_async::nor_flash::ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        wait().await;
        ReadNorFlash::read(self, at, bytes)
    }
    fn capacity(&self) -> usize {
        any(65_536)
    }
}

impl embedded_storage_async::nor_flash::NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4_096;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        wait().await;
        NorFlash::erase(self, from, to)
    }
    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        wait().await;
        NorFlash::write(self, at, bytes)
    }
}

struct Desk;

impl Board for Desk {
    fn ticks_ms(&mut self) -> u64 {
        any(0)
    }
    fn tell(&mut self, news: News) {
        black_box(news);
    }
}

fn input() -> Input<'static> {
    if any(false) {
        Input::Ask(Ask { redirect_uri: any("u"), scopes: any(Scopes::NONE), random: any([0; 64]) })
    } else if any(false) {
        Input::Callback { text: any("code=1"), binding: any(&[1]) }
    } else {
        any(Input::Tick)
    }
}

/// A device that blocks, from its record to the API: what a firmware links.
pub fn client() {
    let provider = any(Provider::INTUIT_SANDBOX);
    let Ok(app) = App::new(&provider, any(KEYS)) else { return };
    let Ok(slots) = Slots::new(Flash, any(0..8_192), any(2)) else { return };
    let mut buffer = any([0; 2_048]);
    let opened = blocking::Device::<_, _, _, 1280, 128, 128>::open(&app, Line, slots, Desk, &mut buffer);
    let Ok(mut device) = opened else { return };
    black_box(device.learn_time());
    let _ = black_box(device.drive(input()));
    let mut url = any([0; 64]);
    let _ = black_box(device.authorization_url(any(&mut url)));
    let _ = black_box(device.get(any("/v3"), |status, body| {
        let _ = black_box((status, body));
    }));
    black_box(device.due());
}

/// The async face: what a firmware links that waits for all it does.
pub fn asynchronous() {
    let provider = any(Provider::INTUIT_SANDBOX);
    let Ok(app) = App::new(&provider, any(KEYS)) else { return };
    let Ok(slots) = asynch::Slots::new(Flash, any(0..8_192), any(2)) else { return };
    let mut buffer = any([0; 2_048]);
    let opened = asynch::Device::<_, _, _, 1280, 128, 128>::open(&app, Line, slots, Desk, &mut buffer);
    let Some(Ok(mut device)) = poll(opened) else { return };
    poll(device.learn_time());
    poll(device.drive(input()));
    poll(device.get(any("/v3"), |status, body| {
        let _ = black_box((status, body));
    }));
}

/// The rest of the async face: what is used by itself.
pub fn asynchronous_rest() {
    let Ok(mut slots) = asynch::Slots::new(Flash, any(0..8_192), any(2)) else { return };
    black_box((poll(slots.revision()), poll(slots.wipe()), slots.capacity()));
    black_box(slots.flash_mut());
    let mut buffer = any([0; 2_048]);
    black_box(poll(asynch::Store::load(&mut slots, &mut buffer)));
    black_box(poll(asynch::Store::save(&mut slots, any(1), any(&[1]))));
    let _ = black_box(slots.release());
    let Ok(mut slots) = Slots::new(Flash, any(0..8_192), any(2)) else { return };
    black_box(poll(asynch::Store::save(&mut slots, any(1), any(&[1]))));
    black_box(poll(asynch::Store::load(&mut slots, &mut buffer)));
    if let Ok(mut talk) = Talk::time(any("https://a/"), any(true), &mut buffer) {
        poll(asynch::carry_out(&mut Line, &mut talk, || any(true)));
        black_box(talk.received());
    }
}

/// The rest of the adapter: what is used by itself, and the texts of its errors.
pub fn rest() {
    let provider = any(Provider::INTUIT_SANDBOX);
    let Ok(app) = App::new(&provider, any(KEYS)) else { return };
    let Ok(mut slots) = Slots::new(Flash, any(0..8_192), any(2)) else { return };
    let _ = black_box((slots.revision(), slots.capacity(), slots.wipe()));
    black_box(slots.flash_mut());
    let _ = black_box(slots.save(any(1), any(&[1])));
    let slots = Slots::new(slots.release(), any(0..8_192), any(2));
    let Ok(slots) = slots else { return };
    let mut buffer = any([0; 2_048]);
    let opened = blocking::Device::<_, _, _, 1280, 128, 128>::open(&app, Line, slots, Desk, &mut buffer);
    let Ok(mut device) = opened else { return };
    device.set_patience_ms(any(1));
    device.set_clock(any(Time::UNSET));
    black_box((device.now(), device.session().phase()));
    black_box(device.store().capacity());
    let _ = black_box(device.net().flush_now());
    drop(device);
    if let Ok(mut talk) = Talk::time(any("https://a/"), any(true), &mut buffer) {
        let _ = black_box(talk.step());
        talk.wrote(any(Ok(1)));
        talk.flushed(any(Ok(())));
        talk.read(any(Ok(1)));
        talk.give_up(any(Trouble::TimedOut));
        black_box((talk.received(), talk.body(), talk.status(), talk.date(), talk.trouble()));
        black_box(talk.keeps_alive());
    }
    let mut clock = Clock::unset();
    black_box(clock.learn(any(Time::UNSET), any(1)));
    clock.set(any(Time::UNSET), any(1));
    black_box(clock.now(any(2)));
    if let Ok(target) = black_box(Target::parse(any("https://a/"))) {
        black_box((target.authority(), target.path()));
    }
    show(&any(Trouble::TimedOut));
    show(&any(SlotError::<NorFlashErrorKind>::Layout));
}

impl Line {
    fn flush_now(&mut self) -> Result<(), ErrorKind> {
        Write::flush(self)
    }
}

/// Polls as often as it pleases, and drops what is unfinished then; never again after the end.
fn poll<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    while any(true) {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(black_box(value));
        }
    }
    None
}

/// Waits for nobody knows how long.
async fn wait() {
    poll_fn(|_| if any(true) { Poll::Ready(()) } else { Poll::Pending }).await;
}
