//! The driver: the loop that the core's manual describes, with what a device brings. What both faces share stands in
//! [`Keeper`]; what only waits differently is written once, in [`device!`].

use core::fmt;

use evergrant::{App, Call, Effects, Error, Input, Purpose, Received, Record, RecordError};
use evergrant::{Session, Tell, Time, TooLong};
use zeroize::Zeroize;

use crate::clock::Clock;
use crate::talk::Talk;
use crate::trouble::Trouble;

/// What a device has of its own beside network and flash.
pub trait Board {
    /// Milliseconds of a counter that only goes up, from any start.
    fn ticks_ms(&mut self) -> u64;

    /// Something happened that a person might want to know. Carries no secret.
    fn tell(&mut self, news: News) {
        let _ = news;
    }
}

/// What is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// The session's own.
    Session(Tell),
    /// A request went wrong on its way.
    Trouble(Trouble),
    /// An answer came, and the session refused it: it counts as lost.
    Refused(Error),
    /// The record of this revision is durable.
    Stored(u32),
    /// The clock was set to this, by an answer.
    Clock(Time),
}

/// Why nothing, or not everything, was done.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError<S> {
    /// The session refused; it is as it was.
    Session(Error),
    /// The record is not durable. Nothing was sent; the next call tries again.
    Store(S),
    /// The buffer is too small for the record. Nothing was sent.
    Buffer(TooLong),
}

impl<S: fmt::Display> fmt::Display for DriveError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Buffer(too_long) => too_long.fmt(f),
        }
    }
}

impl<S: fmt::Debug + fmt::Display> core::error::Error for DriveError<S> {}

impl<S> From<Error> for DriveError<S> {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

/// Why a request to the API brought no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<S> {
    /// There is no access token now, and this is why.
    Drive(DriveError<S>),
    /// There is no access token now: the session tells what it waits for.
    NoToken,
    /// The request went wrong on its way. A `GET` may be repeated.
    Trouble(Trouble),
}

impl<S: fmt::Display> fmt::Display for GetError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(error) => error.fmt(f),
            Self::NoToken => f.write_str("there is no access token now"),
            Self::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

impl<S: fmt::Debug + fmt::Display> core::error::Error for GetError<S> {}

impl<S> From<DriveError<S>> for GetError<S> {
    fn from(error: DriveError<S>) -> Self {
        Self::Drive(error)
    }
}

impl<S> From<Error> for GetError<S> {
    fn from(error: Error) -> Self {
        Self::Drive(DriveError::Session(error))
    }
}

/// Why a device could not begin. The stored record is untouched.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError<S> {
    /// The store cannot be read.
    Store(S),
    /// What is stored is no record, is damaged, or has a scope that the app does not know.
    Damaged,
    /// The record has a version that this program does not know.
    Version(u32),
    /// The record was written for another environment or other keys (APP-3).
    OtherApp,
    /// Something does not fit this session.
    TooLong(TooLong),
}

impl<S: fmt::Display> fmt::Display for OpenError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Damaged => f.write_str("what is stored is damaged, or is no record of this app"),
            Self::Version(version) => {
                write!(f, "the record has version {version}, which this program does not know")
            }
            Self::OtherApp => f.write_str("the record belongs to another environment or other keys"),
            Self::TooLong(too_long) => too_long.fmt(f),
        }
    }
}

impl<S: fmt::Debug + fmt::Display> core::error::Error for OpenError<S> {}

impl<S> From<RecordError<'_>> for OpenError<S> {
    fn from(error: RecordError<'_>) -> Self {
        match error {
            RecordError::Version(version) => Self::Version(version),
            RecordError::OtherEnvironment { .. } | RecordError::OtherClient => Self::OtherApp,
            RecordError::TooLong(too_long) => Self::TooLong(too_long),
            _ => Self::Damaged,
        }
    }
}

/// All of a device but its network.
#[derive(Debug)]
pub(crate) struct Keeper<'a, S, B, const A: usize, const R: usize, const C: usize> {
    pub(crate) app: &'a App<'a>,
    pub(crate) session: Session<A, R, C>,
    pub(crate) store: S,
    pub(crate) board: B,
    pub(crate) clock: Clock,
    pub(crate) buffer: &'a mut [u8],
    /// The call in flight may have been handed to a transport. It outlives a future that is dropped.
    pub(crate) begun: bool,
}

impl<'a, S, B: Board, const A: usize, const R: usize, const C: usize> Keeper<'a, S, B, A, R, C> {
    pub(crate) const fn new(
        app: &'a App<'a>,
        session: Session<A, R, C>,
        store: S,
        board: B,
        buffer: &'a mut [u8],
    ) -> Self {
        Self { app, session, store, board, clock: Clock::unset(), buffer, begun: false }
    }

    pub(crate) fn now(&mut self) -> Time {
        self.clock.now(self.board.ticks_ms())
    }

    /// Hands in that nothing of a call left: its record could not be stored.
    pub(crate) fn not_sent(&mut self, call: Call) {
        let now = self.now();
        // Its own store is tried with the next call.
        let _ = self.session.handle(self.app, now, Input::Answer(call, Received::NotSent));
    }

    /// Where a call goes.
    pub(crate) const fn endpoint(&self, call: Call) -> &'a str {
        let provider = self.app.provider();
        match call.purpose {
            Purpose::Exchange | Purpose::Refresh => provider.token_endpoint,
            Purpose::Revoke => provider.revocation_endpoint,
        }
    }
}

/// A buffer with a record in it, wiped when it is needed no more, and when the future that needed it is dropped.
pub(crate) struct Wiped<'b>(pub(crate) &'b mut [u8]);

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Hands in what became of a call. An answer that is refused because it does not fit is an answer that is lost all the
/// same: the session must not wait for it, and the second value says what would have fitted.
pub(crate) fn answered<const A: usize, const R: usize, const C: usize>(
    session: &mut Session<A, R, C>,
    app: &App<'_>,
    now: Time,
    call: Call,
    received: Received<'_>,
) -> (Result<Effects, Error>, Option<Error>) {
    match session.handle(app, now, Input::Answer(call, received)) {
        Err(refused) => (session.handle(app, now, Input::Answer(call, Received::NoAnswer)), Some(refused)),
        taken => (taken, None),
    }
}

/// The session that a record describes.
pub(crate) fn restored<E, const A: usize, const R: usize, const C: usize>(
    app: &App<'_>,
    text: &[u8],
) -> Result<Session<A, R, C>, OpenError<E>> {
    let record = Record::read(text).map_err(OpenError::from)?;
    Session::restore(app, &record).map_err(OpenError::from)
}

/// The part that waits for network and store, for one face: how it carries a request out, what it connects with, where it
/// stores, and the two words in which blocking and async differ.
macro_rules! device {
    ($carry_out:path, $connect:path, $store:path, [$($asynchronous:tt)?], [$($wait:tt)*]) => {
        /// A grant on a device: the session, its record in the store, its clock and its network, driven as the core's
        /// manual says. The access token, `A` bytes, the refresh tokens, `R`, and the code, `C`, are
        /// [`Session`](evergrant::Session)'s parameters.
        ///
        /// One buffer serves for everything that is written or read: the record, each request and each answer. It is
        /// wiped after each.
        #[derive(Debug)]
        pub struct Device<'a, N, S, B, const A: usize = 4096, const R: usize = 512, const C: usize = 512> {
            keeper: Keeper<'a, S, B, A, R, C>,
            net: N,
            patience_ms: u64,
        }

        impl<'a, N, S, B, const A: usize, const R: usize, const C: usize> Device<'a, N, S, B, A, R, C>
        where
            N: $connect,
            S: $store,
            B: Board,
        {
            /// Begins where the store's record says it stood, or anew. What was in flight then counts as sent and
            /// unanswered.
            ///
            /// # Errors
            /// The store cannot be read, or its record is not this app's.
            pub $($asynchronous)? fn open(
                app: &'a App<'a>,
                net: N,
                mut store: S,
                board: B,
                buffer: &'a mut [u8],
            ) -> Result<Self, OpenError<S::Error>> {
                let session = {
                    let buffer = Wiped(buffer);
                    match store.load(buffer.0)$($wait)*.map_err(OpenError::Store)? {
                        Some(text) => restored(app, text)?,
                        None => Session::new(app),
                    }
                };
                Ok(Self { keeper: Keeper::new(app, session, store, board, buffer), net, patience_ms: 30_000 })
            }

            /// Milliseconds that a request may take, 30,000 at first. Keep it well inside
            /// [`call_for`](evergrant::Policy::call_for). It is looked at between two steps of the transport, which
            /// needs a time-out of its own.
            pub fn set_patience_ms(&mut self, patience_ms: u64) {
                self.patience_ms = patience_ms;
            }

            /// The session, to look at.
            pub fn session(&self) -> &Session<A, R, C> {
                &self.keeper.session
            }

            /// What it waits for.
            pub fn due(&self) -> Due {
                self.keeper.session.due(self.keeper.app)
            }

            /// The time, as far as it is known.
            pub fn now(&mut self) -> Time {
                self.keeper.now()
            }

            /// Sets the clock by other means than an answer's `Date`.
            pub fn set_clock(&mut self, time: Time) {
                let ticks_ms = self.keeper.board.ticks_ms();
                self.keeper.clock.set(time, ticks_ms);
            }

            /// The store.
            pub fn store(&mut self) -> &mut S {
                &mut self.keeper.store
            }

            /// The network.
            pub fn net(&mut self) -> &mut N {
                &mut self.net
            }

            /// Where the user is to be sent while a consent is pending, written into `buffer`.
            ///
            /// # Errors
            /// As [`Session::authorization_url`](evergrant::Session::authorization_url).
            pub fn authorization_url<'u>(&self, buffer: &'u mut [u8]) -> Result<&'u str, Error> {
                self.keeper.session.authorization_url(self.keeper.app, buffer)
            }

            /// Hands in what happened and carries out whatever follows: stores, sends, hands in the answer, until
            /// nothing is left to do. Call it with [`Input::Tick`](evergrant::Input::Tick) when [`due`](Self::due)
            /// says so.
            ///
            /// What an earlier call left undone comes first: a store that failed, a request whose future was dropped.
            /// A future of this may be dropped at any moment; its connection must be closed then, and what was in
            /// flight counts as sent and unanswered.
            ///
            /// # Errors
            /// The session refused the input, or the store failed.
            pub $($asynchronous)? fn drive(&mut self, input: Input<'_>) -> Result<(), DriveError<S::Error>> {
                self.settle()$($wait)*?;
                let now = self.keeper.now();
                let mut effects = self.keeper.session.handle(self.keeper.app, now, input)?;
                while let Some(call) = self.follow(effects)$($wait)*? {
                    effects = self.send(call)$($wait)*?;
                }
                Ok(())
            }

            /// What an earlier call left undone, because the store failed or its future was dropped.
            $($asynchronous)? fn settle(&mut self) -> Result<(), DriveError<S::Error>> {
                if self.keeper.session.due(self.keeper.app) == Due::Store {
                    let revision = self.keeper.session.phase().revision;
                    self.save(revision)$($wait)*?;
                }
                if let Some(call) = self.keeper.session.phase().in_flight() {
                    let received = if self.keeper.begun { Received::NoAnswer } else { Received::NotSent };
                    let now = self.keeper.now();
                    let effects = self.keeper.session.handle(self.keeper.app, now, Input::Answer(call, received))?;
                    // Neither of the two leads to a request at once.
                    let _ = self.follow(effects)$($wait)*?;
                }
                Ok(())
            }

            /// Store, then say what to send. Where the store fails, the call provably never left.
            $($asynchronous)? fn follow(&mut self, effects: Effects) -> Result<Option<Call>, DriveError<S::Error>> {
                if let Some(tell) = effects.tell {
                    self.keeper.board.tell(News::Session(tell));
                }
                self.keeper.begun = false;
                if let Some(revision) = effects.store
                    && let Err(error) = self.save(revision)$($wait)*
                {
                    if let Some(call) = effects.send {
                        self.keeper.not_sent(call);
                    }
                    return Err(error);
                }
                Ok(effects.send)
            }

            $($asynchronous)? fn save(&mut self, revision: u32) -> Result<(), DriveError<S::Error>> {
                let Keeper { app, session, store, buffer, .. } = &mut self.keeper;
                {
                    let buffer = Wiped(buffer);
                    let text = session.record(app).write(buffer.0).map_err(DriveError::Buffer)?;
                    store.save(revision, text)$($wait)*.map_err(DriveError::Store)?;
                }
                let now = self.keeper.now();
                // Nothing is to be done for it: what was to be sent is known already.
                let _ = self.keeper.session.handle(self.keeper.app, now, Input::Saved(revision))?;
                self.keeper.board.tell(News::Stored(revision));
                Ok(())
            }

            /// One call, from the connection to what the session makes of its answer.
            $($asynchronous)? fn send(&mut self, call: Call) -> Result<Effects, Error> {
                let endpoint = self.keeper.endpoint(call);
                let Keeper { app, session, board, clock, buffer, begun, .. } = &mut self.keeper;
                let request = session.request(app, call)?;
                let correlation = app.provider().correlation_header;
                let started = board.ticks_ms();
                let (result, refused) = match Talk::new(&request, correlation, N::KEEP_ALIVE, buffer) {
                    Err(trouble) => {
                        board.tell(News::Trouble(trouble));
                        answered(session, app, clock.now(started), call, Received::NotSent)
                    }
                    Ok(mut talk) => {
                        let patience = started.saturating_add(self.patience_ms);
                        talk_with(&mut self.net, endpoint, &mut talk, begun, || board.ticks_ms() > patience)$($wait)*;
                        news_of(&talk, clock, board);
                        answered(session, app, clock.now(board.ticks_ms()), call, talk.received())
                    }
                };
                self.keeper.begun = false;
                if let Some(refused) = refused {
                    self.keeper.board.tell(News::Refused(refused));
                }
                result
            }

            /// Learns the time from the `Date` of the token endpoint's host, with a request that carries no secret.
            /// Says whether the time is known now.
            pub $($asynchronous)? fn learn_time(&mut self) -> bool {
                let Keeper { app, board, clock, buffer, .. } = &mut self.keeper;
                let endpoint = app.provider().token_endpoint;
                let started = board.ticks_ms();
                match Talk::time(endpoint, N::KEEP_ALIVE, buffer) {
                    Err(trouble) => board.tell(News::Trouble(trouble)),
                    Ok(mut talk) => {
                        let patience = started.saturating_add(self.patience_ms);
                        talk_with(&mut self.net, endpoint, &mut talk, &mut false, || board.ticks_ms() > patience)$($wait)*;
                        news_of(&talk, clock, board);
                    }
                }
                self.keeper.now().is_set()
            }

            /// Reads from the provider's API, with a refresh before it where one is needed, and another, once, where
            /// the API says that the access token is good no more (DUR-2). `read` is handed the status and the body.
            ///
            /// # Errors
            /// There is no access token, or the request went wrong on its way.
            pub $($asynchronous)? fn get<T>(
                &mut self,
                path: &str,
                read: impl FnOnce(u16, &[u8]) -> T,
            ) -> Result<T, GetError<S::Error>> {
                let mut again = true;
                loop {
                    let now = self.keeper.now();
                    if self.keeper.session.access_token(now).is_none() {
                        self.drive(Input::Demand)$($wait)*?;
                    }
                    let now = self.keeper.now();
                    let Keeper { app, session, board, clock, buffer, .. } = &mut self.keeper;
                    let token = session.access_token(now).ok_or(GetError::NoToken)?;
                    let serial = token.serial();
                    let request = Request::api(app, token, path)?;
                    let correlation = app.provider().correlation_header;
                    let started = board.ticks_ms();
                    let mut talk = Talk::new(&request, correlation, N::KEEP_ALIVE, buffer)
                        .map_err(GetError::Trouble)?;
                    let patience = started.saturating_add(self.patience_ms);
                    let api = app.provider().api;
                    talk_with(&mut self.net, api, &mut talk, &mut false, || board.ticks_ms() > patience)$($wait)*;
                    news_of(&talk, clock, board);
                    let Some(status) = talk.status() else {
                        return Err(GetError::Trouble(talk.trouble().unwrap_or(Trouble::Closed)));
                    };
                    let meaning = judge(status, talk.body());
                    if meaning != Meaning::TokenExpired || !again {
                        return Ok(read(status, talk.body()));
                    }
                    drop(talk);
                    again = false;
                    self.drive(Input::Api { serial, meaning })$($wait)*?;
                }
            }
        }

        /// Connects, carries out, and gives the connection back.
        $($asynchronous)? fn talk_with<N: $connect>(
            net: &mut N,
            url: &str,
            talk: &mut Talk<'_>,
            begun: &mut bool,
            expired: impl FnMut() -> bool,
        ) {
            // The talk has looked at the same URL, or at one on the same host.
            let Ok(target) = Target::parse(url) else { return talk.give_up(Trouble::NotConnected) };
            {
                let Ok(mut connection) = net.connect(&target)$($wait)* else {
                    return talk.give_up(Trouble::NotConnected);
                };
                // From here on a dropped future may have left something behind.
                *begun = true;
                $carry_out(&mut connection, talk, expired)$($wait)*;
            }
            net.finished(talk.keeps_alive());
        }
    };
}
pub(crate) use device;

/// What an answer taught, told.
pub(crate) fn news_of<B: Board>(talk: &Talk<'_>, clock: &mut Clock, board: &mut B) {
    if let Some(trouble) = talk.trouble() {
        board.tell(News::Trouble(trouble));
    }
    if let Some(date) = talk.date()
        && clock.learn(date, board.ticks_ms())
    {
        board.tell(News::Clock(date));
    }
}
