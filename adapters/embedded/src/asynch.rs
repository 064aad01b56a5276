//! The async face: the same state machines, over `embedded_io_async`.

use core::fmt;
use core::ops::Range;

use embedded_io_async::{Error as _, Read, Write};
use embedded_storage_async::nor_flash::NorFlash;
use zeroize::Zeroizing;

use evergrant::api::{Meaning, judge};
use evergrant::{App, Call, Due, Effects, Error, Input, Received, Request, Session, Time};

use crate::device::{
    Board, DriveError, GetError, Keeper, News, OpenError, Wiped, answered, device, news_of, restored,
};
use crate::slots::{
    Found, HEADER, MARK, PIECE, Sizes, SlotError, behind_header, divided, opened, parse, slots, summed,
};
use crate::talk::{Step, Talk};
use crate::target::Target;
use crate::trouble::Trouble;

#[allow(async_fn_in_trait)] // Whoever spawns it is on the same thread: executors of devices ask for no `Send`.
/// How a device makes connections: TCP with TLS over it, a modem, a line to a gateway.
pub trait Connect {
    /// A connection. When it is dropped, it is closed, or goes back to where [`finished`](Self::finished) finds it.
    type Connection<'c>: Read + Write
    where
        Self: 'c;
    /// Why there is none.
    type Error;
    /// Whether connections are kept for a further request. If not, each request asks for the connection to be closed.
    const KEEP_ALIVE: bool = false;

    /// Connects. With TLS where [`Target::secure`] says so, certificate chain and name verified: without that, anyone on
    /// the way reads the tokens.
    ///
    /// A connection that was kept must not have been closed by the other side meanwhile, as far as one can tell; it is
    /// never this that sends a request again.
    ///
    /// # Errors
    /// No connection could be made; nothing was sent.
    async fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Self::Connection<'c>, Self::Error>;

    /// The connection that was made last is needed no more. Unless it is `reusable` it must be closed. A future that was
    /// dropped never comes to this: what was not given back must be closed as well.
    fn finished(&mut self, reusable: bool) {
        let _ = reusable;
    }
}

#[allow(async_fn_in_trait)] // As above.
/// Where a device keeps its record. [`Slots`] is one; so is every [blocking store](crate::Store), which then holds up the
/// other tasks for as long as it works.
///
/// A future of this may be dropped at any moment: what was stored before must still be there then, or the new record.
pub trait Store {
    /// What can go wrong.
    type Error: fmt::Debug;

    /// The latest record that is whole, read into `buffer`; `None` where there never was one.
    ///
    /// # Errors
    /// It cannot be read, or the buffer is too small.
    async fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error>;

    /// Makes a record durable: it is there after a power cut that comes right after this returns. A record whose revision
    /// is not above the one that is there must be refused, but for that very record: a save that was cut short may have
    /// been durable all the same, and is tried again.
    ///
    /// # Errors
    /// It is not durable, or not known to be.
    async fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error>;
}

impl<S: crate::Store> Store for S {
    type Error = S::Error;

    async fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error> {
        crate::Store::load(self, buffer)
    }

    async fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error> {
        crate::Store::save(self, revision, record)
    }
}

slots!(NorFlash, Store, [async], [.await]);

/// Carries a request out over a connection that was made for it. `expired` is asked before every step whether to give up;
/// it cannot interrupt a transport that blocks, so the transport needs a time-out of its own, reported as an error.
///
/// The future may be dropped at any moment, by a time-out say: what may truthfully be said stands in the talk all the same.
/// What became of it stands in the talk. Unless it [keeps alive](Talk::keeps_alive), close the connection.
pub async fn carry_out<C: Read + Write>(
    connection: &mut C,
    talk: &mut Talk<'_>,
    mut expired: impl FnMut() -> bool,
) {
    loop {
        if expired() {
            talk.give_up(Trouble::TimedOut);
        }
        match talk.step() {
            Step::Write(bytes) => {
                let written = connection.write(bytes).await.map_err(|error| error.kind());
                talk.wrote(written);
            }
            Step::Flush => {
                let flushed = connection.flush().await.map_err(|error| error.kind());
                talk.flushed(flushed);
            }
            Step::Read(room) => {
                let count = connection.read(room).await.map_err(|error| error.kind());
                talk.read(count);
            }
            Step::Done => return,
        }
    }
}

device!(carry_out, Connect, Store, [async], [.await]);
