//! One request and its answer, as a state machine that says what to do with the transport next.

use embedded_io::ErrorKind;
use evergrant::{Http, Received, Request, Time};
use zeroize::Zeroize;

use crate::reader::{Reader, is_visible};
use crate::target::Target;
use crate::trouble::{Part, Trouble};

/// One request and its answer.
///
/// It does no I/O: [`step`](Self::step) says what to do, and [`wrote`](Self::wrote), [`flushed`](Self::flushed) and
/// [`read`](Self::read) take in what came of it. [`blocking::carry_out`](crate::blocking::carry_out) and
/// [`asynch::carry_out`](crate::asynch::carry_out) are that loop.
///
/// It knows at each moment what may truthfully be said of the request, and says so in [`received`](Self::received): so it
/// outlives the future that drives it, and a future that was dropped or timed out is no special case. The buffer is wiped
/// once the request is sent, and when this goes.
#[derive(Debug)]
pub struct Talk<'b> {
    buffer: Buffer<'b>,
    stage: Stage,
    /// A step was handed out, and its outcome has not come back.
    open: bool,
    begun: bool,
    keep_alive: bool,
    trouble: Option<Trouble>,
    reader: Reader<'b>,
    /// Where bytes go that there is no room for, so that it can be seen what they are.
    spill: [u8; 16],
}

struct Buffer<'b>(&'b mut [u8]);

impl core::fmt::Debug for Buffer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Send { from: usize, to: usize },
    Flush,
    Receive,
    Over,
}

/// What to do with the transport.
#[derive(Debug)]
pub enum Step<'t> {
    /// Write some of this, and say how much in [`Talk::wrote`].
    Write(&'t [u8]),
    /// Flush, and say so in [`Talk::flushed`].
    Flush,
    /// Read into this, and say how much in [`Talk::read`].
    Read(&'t mut [u8]),
    /// Nothing more: see [`Talk::received`].
    Done,
}

impl<'b> Talk<'b> {
    /// A request of the session or of the API. `buffer` holds first the request and then the answer's body: see
    /// [`needed`](Self::needed). `correlation_header` names a header of the answer to keep
    /// ([`Provider::correlation_header`](evergrant::Provider)); `keep_alive`: the connection is wanted for another
    /// request.
    ///
    /// # Errors
    /// The URL cannot be spoken to, a header is no header, or the buffer is too small. Nothing was sent, and nothing will
    /// be: hand in [`Received::NotSent`].
    pub fn new(
        request: &Request<'_>,
        correlation_header: &'b str,
        keep_alive: bool,
        buffer: &'b mut [u8],
    ) -> Result<Self, Trouble> {
        let capacity = buffer.len();
        let too_small = |needed| Trouble::TooLarge { what: Part::Request, needed, capacity };
        let length = request.length();
        let Some((parts, place)) = buffer.split_at_mut_checked(length) else {
            return Err(too_small(Self::needed(request)));
        };
        let written = request.write(parts).map_err(|_| too_small(length)).and_then(|http| {
            let target = Target::parse(http.url()).map_err(Trouble::Target)?;
            let mut out = Out { place, at: 0 };
            out.request(&http, &target, keep_alive)?;
            if out.at > out.place.len() { Err(too_small(length.saturating_add(out.at))) } else { Ok(out.at) }
        });
        match written {
            Ok(written) => {
                let to = length.saturating_add(written);
                Ok(Self::ready(
                    buffer,
                    Stage::Send { from: length, to },
                    keep_alive,
                    correlation_header,
                    false,
                ))
            }
            Err(trouble) => {
                buffer.zeroize();
                Err(trouble)
            }
        }
    }

    /// Asks the host of `url` for nothing but its `Date`: a `HEAD` of its root, without a secret in it. What it answers
    /// does not matter.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn time(url: &str, keep_alive: bool, buffer: &'b mut [u8]) -> Result<Self, Trouble> {
        let target = Target::parse(url).map_err(Trouble::Target)?.root();
        let capacity = buffer.len();
        let mut out = Out { place: buffer, at: 0 };
        out.line("HEAD", &target, keep_alive);
        out.text("\r\n");
        let to = out.at;
        if to > capacity {
            return Err(Trouble::TooLarge { what: Part::Request, needed: to, capacity });
        }
        Ok(Self::ready(buffer, Stage::Send { from: 0, to }, keep_alive, "", true))
    }

    fn ready(
        buffer: &'b mut [u8],
        stage: Stage,
        keep_alive: bool,
        correlation_header: &'b str,
        bodyless: bool,
    ) -> Self {
        Self {
            buffer: Buffer(buffer),
            stage,
            open: false,
            begun: false,
            keep_alive,
            trouble: None,
            reader: Reader::new(bodyless, correlation_header),
            spill: [0; 16],
        }
    }

    /// Bytes of buffer that a request needs to be sent. The answer's body needs as many as it has: 4 KiB hold any token
    /// answer of 1,280-byte tokens.
    #[must_use]
    pub fn needed(request: &Request<'_>) -> usize {
        // The head repeats what the parts hold, and adds a few fixed lines and the URL.
        request.length().saturating_mul(2).saturating_add(512)
    }

    /// What to do next. A step that was handed out before and never reported counts as given up.
    pub fn step(&mut self) -> Step<'_> {
        if self.open {
            self.give_up(Trouble::Abandoned);
        }
        if self.stage == Stage::Receive && self.reader.is_done() {
            self.stage = Stage::Over;
        }
        self.open = self.stage != Stage::Over;
        match self.stage {
            Stage::Send { from, to } => {
                self.begun = true;
                Step::Write(self.buffer.0.get(from..to).unwrap_or_default())
            }
            Stage::Flush => Step::Flush,
            Stage::Receive => Step::Read(self.room()),
            Stage::Over => Step::Done,
        }
    }

    fn room(&mut self) -> &mut [u8] {
        match self.buffer.0.get_mut(self.reader.kept()..) {
            Some(room) if !room.is_empty() => room,
            _ => &mut self.spill,
        }
    }

    /// So many bytes were taken of those to be written.
    pub fn wrote(&mut self, written: Result<usize, ErrorKind>) {
        self.open = false;
        let Stage::Send { from, to } = self.stage else { return };
        match written {
            Err(ErrorKind::Interrupted) => {}
            Err(kind) => self.give_up(Trouble::Write(kind)),
            Ok(0) => self.give_up(Trouble::WriteZero),
            Ok(count) => {
                let from = from.saturating_add(count);
                self.stage = if from < to { Stage::Send { from, to } } else { Stage::Flush };
            }
        }
    }

    /// The transport was flushed.
    pub fn flushed(&mut self, flushed: Result<(), ErrorKind>) {
        self.open = false;
        if self.stage != Stage::Flush {
            return;
        }
        match flushed {
            Err(ErrorKind::Interrupted) => {}
            Err(kind) => self.give_up(Trouble::Write(kind)),
            Ok(()) => {
                // The secrets in it are sent.
                self.buffer.0.zeroize();
                self.stage = Stage::Receive;
            }
        }
    }

    /// So many bytes were read; none: the other side has closed.
    pub fn read(&mut self, count: Result<usize, ErrorKind>) {
        self.open = false;
        if self.stage != Stage::Receive {
            return;
        }
        match count {
            Err(ErrorKind::Interrupted) => {}
            Err(kind) => self.give_up(Trouble::Read(kind)),
            Ok(0) => match self.reader.end() {
                Ok(()) => self.stage = Stage::Over,
                Err(trouble) => self.give_up(trouble),
            },
            Ok(count) => self.take(count),
        }
    }

    /// Bytes are moved to the front as they are understood, so none is overwritten before it was looked at.
    fn take(&mut self, count: usize) {
        let from = self.reader.kept();
        let spilled = from >= self.buffer.0.len();
        for offset in 0..count {
            let at = from.saturating_add(offset);
            let byte = if spilled { self.spill.get(offset) } else { self.buffer.0.get(at) };
            let Some(byte) = byte.copied() else { return };
            if self.reader.is_done() {
                // More than one answer to one request: whatever it is, the connection is not good for another.
                self.keep_alive = false;
                return;
            }
            if let Err(trouble) = self.reader.byte(self.buffer.0, byte) {
                return self.give_up(trouble);
            }
        }
    }

    /// Ends it here: time is up, say, or the connection could not be made. What may be said of it stays true.
    pub fn give_up(&mut self, trouble: Trouble) {
        self.open = false;
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            self.keep_alive = false;
            self.trouble = Some(trouble);
        }
    }

    /// What became of it, truthfully, at any moment: *not sent* before the transport was handed the first byte, *no
    /// answer* until the answer's head was whole, and then the answer, its body as far as it came.
    #[must_use]
    pub fn received(&self) -> Received<'_> {
        if !self.begun {
            return Received::NotSent;
        }
        if !self.reader.is_answer() {
            return Received::NoAnswer;
        }
        Received::Answer {
            status: self.reader.status(),
            retry_after: self.reader.retry_after(),
            correlation: self.reader.correlation(),
            body: self.body(),
        }
    }

    /// The answer's body as far as it came; empty where there is no answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        if !self.reader.is_answer() {
            return &[];
        }
        self.buffer.0.get(..self.reader.kept()).unwrap_or_default()
    }

    /// The answer's status; `None` where there is none.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.reader.is_answer().then(|| self.reader.status())
    }

    /// What the answer's `Date` says, for [`Clock::learn`](crate::Clock::learn).
    #[must_use]
    pub const fn date(&self) -> Option<Time> {
        self.reader.date()
    }

    /// What went wrong, if anything did.
    #[must_use]
    pub const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Whether the connection may serve another request. If not, it must be closed.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.open && self.reader.keeps_alive()
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.buffer.0.zeroize();
        self.spill.zeroize();
    }
}

/// Writes what fits and counts on, so that the error can say what would do.
struct Out<'b> {
    place: &'b mut [u8],
    at: usize,
}

impl Out<'_> {
    fn text(&mut self, text: &str) {
        let place = self.place.get_mut(self.at..).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        self.at = self.at.saturating_add(text.len());
    }

    fn decimal(&mut self, mut number: usize) {
        let mut digits: heapless::Vec<u8, 20> = heapless::Vec::new();
        loop {
            let digit = u8::try_from(number % 10).unwrap_or(0);
            // No number of 64 bits has more than twenty digits.
            let _ = digits.push(digit.saturating_add(b'0'));
            number /= 10;
            if number == 0 {
                break;
            }
        }
        for digit in digits.iter().rev() {
            self.text(core::str::from_utf8(&[*digit]).unwrap_or_default());
        }
    }

    fn header(&mut self, name: &str, value: &str) {
        self.text(name);
        self.text(": ");
        self.text(value);
        self.text("\r\n");
    }

    /// The request line and the headers that every request has.
    fn line(&mut self, method: &str, target: &Target<'_>, keep_alive: bool) {
        self.text(method);
        self.text(" ");
        self.text(target.path());
        self.text(" HTTP/1.1\r\n");
        self.header("host", target.authority());
        self.header("user-agent", concat!("evergrant/", env!("CARGO_PKG_VERSION")));
        if !keep_alive {
            self.header("connection", "close");
        }
    }

    fn request(&mut self, http: &Http<'_>, target: &Target<'_>, keep_alive: bool) -> Result<(), Trouble> {
        self.line(http.method(), target, keep_alive);
        for (name, value) in http.headers() {
            if !name.bytes().chain(value.bytes()).all(is_visible) {
                return Err(Trouble::Header);
            }
            self.header(name, value);
        }
        if http.method() != "GET" {
            self.text("content-length: ");
            self.decimal(http.body().len());
            self.text("\r\n");
        }
        self.text("\r\n");
        self.text(http.body());
        Ok(())
    }
}
