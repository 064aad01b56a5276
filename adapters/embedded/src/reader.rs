//! An HTTP answer, read a byte at a time into a buffer of any size.
//!
//! A line of the head is looked at and forgotten, so the buffer needs to hold the longest line that matters or the body,
//! whichever is longer, and never the head as a whole. That, and the want of any slicing that could panic, is why this is
//! not `httparse`, which a test holds it against.

use evergrant::Time;

use crate::trouble::{Part, Trouble};

/// Bytes that an answer may spend beside its body: heads, interim answers, frames of chunks, trailers.
pub const HEAD_MOST: usize = 16_384;

/// What the head said and how far the body came. The buffer is handed in with each call, so that it can be lent elsewhere.
#[derive(Debug)]
pub(crate) struct Reader<'h> {
    state: State,
    /// Bytes kept at the front of the buffer: of the line, then of the body.
    kept: usize,
    spent: usize,
    bodyless: bool,
    correlation_header: &'h str,
    head: Head,
}

/// What is kept of a head.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    old: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    date: Option<Time>,
    retry_after: heapless::String<32, u8>,
    correlation: heapless::String<64, u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Status,
    Header,
    /// A header of no interest that is too long for the buffer.
    Skipped,
    /// So many bytes of the body are to come.
    Length(u64),
    UntilClose,
    Chunk(Chunk),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the size, of which this much is known.
    Size(Option<u64>),
    /// Behind the size: white space and extensions.
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// In a trailer line of so many bytes.
    Trailer(usize),
}

impl<'h> Reader<'h> {
    /// `bodyless`: it answers a `HEAD`.
    pub(crate) fn new(bodyless: bool, correlation_header: &'h str) -> Self {
        Self { state: State::Status, kept: 0, spent: 0, bodyless, correlation_header, head: Head::default() }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the head is whole, so that there is an answer, however far its body came.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(self.state, State::Status | State::Header | State::Skipped)
    }

    pub(crate) const fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) const fn kept(&self) -> usize {
        self.kept
    }

    pub(crate) const fn date(&self) -> Option<Time> {
        self.head.date
    }

    pub(crate) fn retry_after(&self) -> Option<&str> {
        Some(self.head.retry_after.as_str()).filter(|text| !text.is_empty())
    }

    pub(crate) fn correlation(&self) -> Option<&str> {
        Some(self.head.correlation.as_str()).filter(|text| !text.is_empty())
    }

    /// Whether the connection is good for another request, as far as the answer says.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.is_done() && !self.head.close && !self.head.old
    }

    /// Takes the next byte that arrived.
    ///
    /// # Errors
    /// The answer is malformed, or does not fit. What was kept of a body so far stays.
    pub(crate) fn byte(&mut self, buffer: &mut [u8], byte: u8) -> Result<(), Trouble> {
        match self.state {
            State::Status | State::Header => self.line_byte(buffer, byte),
            State::Skipped => {
                self.spend()?;
                if byte == b'\n' {
                    self.state = State::Header;
                }
                Ok(())
            }
            State::Length(left) => {
                self.keep_body(buffer, byte, left)?;
                self.state = match left.saturating_sub(1) {
                    0 => State::Done,
                    left => State::Length(left),
                };
                Ok(())
            }
            State::UntilClose => self.keep_body(buffer, byte, 1),
            State::Chunk(chunk) => self.chunk_byte(buffer, chunk, byte),
            State::Done => Ok(()),
        }
    }

    /// The other side has closed.
    ///
    /// # Errors
    /// It had more to say.
    pub(crate) fn end(&mut self) -> Result<(), Trouble> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Trouble::Closed),
        }
    }

    fn line_byte(&mut self, buffer: &mut [u8], byte: u8) -> Result<(), Trouble> {
        self.spend()?;
        if byte != b'\n' {
            return if self.keep(buffer, byte) { Ok(()) } else { self.line_overflow(buffer) };
        }
        let line = buffer.get(..self.kept).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.kept = 0;
        if !line.iter().all(|byte| is_visible(*byte)) {
            return Err(Trouble::Malformed);
        }
        match (self.state, line) {
            // Empty lines before the status line are left over from what came before it.
            (State::Status, []) => Ok(()),
            (State::Status, line) => {
                (self.head.status, self.head.old) = status_line(line).ok_or(Trouble::NotHttp)?;
                self.state = State::Header;
                Ok(())
            }
            (_, []) => self.end_of_head(),
            (_, line) => self.head.line(line, self.correlation_header),
        }
    }

    /// A line that is too long costs the answer only where it matters, or might.
    fn line_overflow(&mut self, buffer: &[u8]) -> Result<(), Trouble> {
        let name = buffer.split(|byte| *byte == b':').next().unwrap_or_default();
        let dull = name.len() < buffer.len()
            && is_name(name)
            && !self.head.wants(name, self.correlation_header)
            && self.state == State::Header;
        if !dull {
            let needed = buffer.len().saturating_add(1);
            return Err(Trouble::TooLarge { what: Part::Line, needed, capacity: buffer.len() });
        }
        self.kept = 0;
        self.state = State::Skipped;
        Ok(())
    }

    /// RFC 9112 §6.3.
    fn end_of_head(&mut self) -> Result<(), Trouble> {
        let head = &mut self.head;
        if (100..200).contains(&head.status) {
            // 101 would change the protocol, and nobody asked for that.
            if head.status == 101 {
                return Err(Trouble::NotHttp);
            }
            self.head = Head::default();
            self.state = State::Status;
            return Ok(());
        }
        if head.chunked && (head.length.is_some() || head.old) {
            return Err(Trouble::Malformed);
        }
        self.state = if self.bodyless || matches!(head.status, 204 | 304) {
            State::Done
        } else if head.chunked {
            State::Chunk(Chunk::Size(None))
        } else {
            match head.length {
                Some(0) => State::Done,
                Some(length) => State::Length(length),
                None => {
                    head.close = true;
                    State::UntilClose
                }
            }
        };
        Ok(())
    }

    /// RFC 9112 §7.1.
    fn chunk_byte(&mut self, buffer: &mut [u8], chunk: Chunk, byte: u8) -> Result<(), Trouble> {
        if !matches!(chunk, Chunk::Data(_)) {
            self.spend()?;
        }
        let next = match (chunk, byte) {
            (Chunk::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = size.unwrap_or(0);
                Chunk::Size(Some(size.checked_mul(16).ok_or(Trouble::Malformed)? | digit))
            }
            (Chunk::Size(Some(size)) | Chunk::Extension(size), b'\r') => Chunk::SizeEnd(size),
            (Chunk::Size(Some(size)), b';' | b' ' | b'\t') => Chunk::Extension(size),
            (Chunk::Extension(size), _) if is_visible(byte) => Chunk::Extension(size),
            (Chunk::SizeEnd(0), b'\n') => Chunk::Trailer(0),
            (Chunk::SizeEnd(size), b'\n') => Chunk::Data(size),
            (Chunk::Data(left), _) => {
                self.keep_body(buffer, byte, left)?;
                match left.saturating_sub(1) {
                    0 => Chunk::DataCr,
                    left => Chunk::Data(left),
                }
            }
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::Size(None),
            // Trailers are read over: nothing that matters may stand there.
            (Chunk::Trailer(0), b'\n') => {
                self.state = State::Done;
                return Ok(());
            }
            (Chunk::Trailer(_), b'\n') => Chunk::Trailer(0),
            (Chunk::Trailer(length), b'\r') => Chunk::Trailer(length),
            (Chunk::Trailer(length), _) => Chunk::Trailer(length.saturating_add(1)),
            _ => return Err(Trouble::Malformed),
        };
        self.state = State::Chunk(next);
        Ok(())
    }

    /// `left`: bytes that are known to come, this one among them.
    fn keep_body(&mut self, buffer: &mut [u8], byte: u8, left: u64) -> Result<(), Trouble> {
        if self.keep(buffer, byte) {
            return Ok(());
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let needed = self.kept.saturating_add(left);
        Err(Trouble::TooLarge { what: Part::Body, needed, capacity: buffer.len() })
    }

    fn keep(&mut self, buffer: &mut [u8], byte: u8) -> bool {
        let Some(place) = buffer.get_mut(self.kept) else { return false };
        *place = byte;
        self.kept = self.kept.saturating_add(1);
        true
    }

    fn spend(&mut self) -> Result<(), Trouble> {
        self.spent = self.spent.saturating_add(1);
        if self.spent > HEAD_MOST {
            return Err(Trouble::TooLarge { what: Part::Head, needed: self.spent, capacity: HEAD_MOST });
        }
        Ok(())
    }
}

impl Head {
    fn wants(&self, name: &[u8], correlation_header: &str) -> bool {
        const FRAMING: [&str; 6] =
            ["content-length", "transfer-encoding", "connection", "content-encoding", "retry-after", "date"];
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        FRAMING.into_iter().any(is) || is(correlation_header)
    }

    /// RFC 9112 §5: a name, a colon right behind it, a value.
    fn line(&mut self, line: &[u8], correlation_header: &str) -> Result<(), Trouble> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return self.folded();
        }
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().ok_or(Trouble::Malformed)?);
        if !is_name(name) {
            return Err(Trouble::Malformed);
        }
        let value = value.trim_ascii();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("content-length") {
            let length = number(value).ok_or(Trouble::Malformed)?;
            // RFC 9112 §6.3: the same length twice may pass, two different ones never.
            if self.length.is_some_and(|known| known != length) {
                return Err(Trouble::Malformed);
            }
            self.length = Some(length);
        } else if is("transfer-encoding") {
            // Only one coding is known, and it must be the last; a second one is a contradiction.
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Trouble::Malformed);
            }
            self.chunked = true;
        } else if is("content-encoding") {
            if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
                return Err(Trouble::Encoded);
            }
        } else if is("connection") {
            let mut words = value.split(|byte| *byte == b',');
            self.close |= words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if is("date") {
            self.date = core::str::from_utf8(value).ok().and_then(Time::from_http_date);
        } else if is("retry-after") {
            put(&mut self.retry_after, value);
        } else if is(correlation_header) {
            put(&mut self.correlation, value);
        }
        Ok(())
    }

    /// RFC 9112 §5.2: a folded line goes on with the value above. Those that matter are never folded by an honest sender,
    /// and a length must not depend on how one reads it.
    fn folded(&self) -> Result<(), Trouble> {
        if self.length.is_some() || self.chunked { Err(Trouble::Malformed) } else { Ok(()) }
    }
}

/// What stands there, as far as there is room and as far as it is text; a value that comes again takes the place of the
/// first.
fn put<const N: usize>(text: &mut heapless::String<N, u8>, value: &[u8]) {
    text.clear();
    for byte in value.iter().filter(|byte| (0x20..0x7f).contains(*byte)) {
        if text.push(char::from(*byte)).is_err() {
            return;
        }
    }
}

fn status_line(line: &[u8]) -> Option<(u16, bool)> {
    let (version, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
    let old = match version {
        b'0' => true,
        b'1' => false,
        _ => return None,
    };
    let (digits, rest) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let status = u16::try_from(number(digits)?).ok()?;
    (status >= 100 && matches!(rest.first(), None | Some(b' '))).then_some((status, old))
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut number: Option<u64> = None;
    for byte in digits {
        let digit = if byte.is_ascii_digit() { byte.saturating_sub(b'0') } else { return None };
        number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
    }
    number
}

/// RFC 9110 §5.6.2.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// What a line may have in it: no control character but the tab.
pub(crate) const fn is_visible(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}
