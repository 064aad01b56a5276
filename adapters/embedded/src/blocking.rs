//! The blocking face: the same state machines, over `embedded_io`.

use embedded_io::{Error as _, Read, Write};

use evergrant::api::{Meaning, judge};
use evergrant::{App, Call, Due, Effects, Error, Input, Received, Request, Session, Time};

use crate::device::{
    Board, DriveError, GetError, Keeper, News, OpenError, Wiped, answered, device, news_of, restored,
};
use crate::slots::Store;
use crate::talk::{Step, Talk};
use crate::target::Target;
use crate::trouble::Trouble;

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
    fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Self::Connection<'c>, Self::Error>;

    /// The connection that was made last is needed no more. Unless it is `reusable` it must be closed. A future that was
    /// dropped never comes to this: what was not given back must be closed as well.
    fn finished(&mut self, reusable: bool) {
        let _ = reusable;
    }
}

/// Carries a request out over a connection that was made for it. `expired` is asked before every step whether to give up;
/// it cannot interrupt a transport that blocks, so the transport needs a time-out of its own, reported as an error.
///
/// What became of it stands in the talk. Unless it [keeps alive](Talk::keeps_alive), close the connection.
pub fn carry_out<C: Read + Write>(
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
                let written = connection.write(bytes).map_err(|error| error.kind());
                talk.wrote(written);
            }
            Step::Flush => {
                let flushed = connection.flush().map_err(|error| error.kind());
                talk.flushed(flushed);
            }
            Step::Read(room) => {
                let count = connection.read(room).map_err(|error| error.kind());
                talk.read(count);
            }
            Step::Done => return,
        }
    }
}

device!(carry_out, Connect, Store, [], []);
