//! Requests and answers over transports that follow a script: split anywhere, cut anywhere, hostile.

mod common;

use std::collections::VecDeque;

use common::{app, linked, poll_times};
use embedded_io::{ErrorKind, ErrorType, Read, Write};
use evergrant::{Received, Request, Time};
use evergrant_embedded::{Part, Step, Talk, TargetError, Trouble, asynch, blocking};
use proptest::prelude::*;

/// A transport that plays an answer in given pieces, takes so many bytes at a time, and fails where it is told to.
#[derive(Default)]
struct Script {
    sent: Vec<u8>,
    answer: VecDeque<Vec<u8>>,
    take: usize,
    fail_write_at: Option<(usize, Failure)>,
    fail_flush: bool,
    fail_read_at: Option<(usize, Failure)>,
    writes: usize,
    reads: usize,
    async_waits: bool,
    waited: bool,
}

#[derive(Clone, Copy)]
enum Failure {
    Zero,
    Error(ErrorKind),
}

impl Script {
    fn new<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Self {
        Self {
            answer: pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect(),
            take: usize::MAX,
            ..Self::default()
        }
    }
}

impl ErrorType for Script {
    type Error = ErrorKind;
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.writes += 1;
        if let Some((at, failure)) = self.fail_write_at
            && self.writes == at
        {
            return match failure {
                Failure::Zero => Ok(0),
                Failure::Error(kind) => Err(kind),
            };
        }
        let count = bytes.len().min(self.take);
        self.sent.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        if self.fail_flush { Err(ErrorKind::ConnectionReset) } else { Ok(()) }
    }
}

impl Read for Script {
    fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!room.is_empty(), "a read of nothing says nothing");
        self.reads += 1;
        if let Some((at, failure)) = self.fail_read_at
            && self.reads == at
        {
            return match failure {
                Failure::Zero => Ok(0),
                Failure::Error(kind) => Err(kind),
            };
        }
        let Some(mut piece) = self.answer.pop_front() else { return Ok(0) };
        let rest = piece.split_off(piece.len().min(room.len()));
        if !rest.is_empty() {
            self.answer.push_front(rest);
        }
        room[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

struct Waits<'s>(&'s mut Script);

impl Waits<'_> {
    /// Pending once before each step.
    async fn wait(&mut self) {
        self.0.waited = false;
        std::future::poll_fn(|_| {
            let ready = self.0.waited || !self.0.async_waits;
            self.0.waited = true;
            if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

impl ErrorType for Waits<'_> {
    type Error = ErrorKind;
}

impl embedded_io_async::Write for Waits<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.wait().await;
        Write::write(self.0, bytes)
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.wait().await;
        Write::flush(self.0)
    }
}

impl embedded_io_async::Read for Waits<'_> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        self.wait().await;
        Read::read(self.0, room)
    }
}

/// What a test looks at of an answer.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    outcome: Option<(u16, Vec<u8>)>,
    retry_after: Option<String>,
    correlation: Option<String>,
    date: Option<Time>,
    trouble: Option<Trouble>,
    keeps_alive: bool,
}

fn seen(talk: &Talk<'_>) -> Seen {
    let (outcome, retry_after, correlation) = match talk.received() {
        Received::NotSent => panic!("it was sent"),
        Received::NoAnswer => (None, None, None),
        Received::Answer { status, retry_after, correlation, body } => {
            (Some((status, body.to_vec())), retry_after.map(str::to_owned), correlation.map(str::to_owned))
        }
    };
    let (date, trouble, keeps_alive) = (talk.date(), talk.trouble(), talk.keeps_alive());
    Seen { outcome, retry_after, correlation, date, trouble, keeps_alive }
}

/// Asks the API for something with a buffer of that size, and says what came.
fn ask(buffer: usize, script: &mut Script) -> Seen {
    with_talk(buffer, |mut talk| {
        blocking::carry_out(script, &mut talk, || false);
        seen(&talk)
    })
}

fn with_talk<T>(buffer: usize, then: impl FnOnce(Talk<'_>) -> T) -> T {
    let app = app();
    let session = linked(&app);
    let token = session.access_token(common::NOW).unwrap();
    let request = Request::api(&app, token, "/v3/company/9130347/companyinfo/9130347").unwrap();
    then(Talk::new(&request, "intuit_tid", true, &mut vec![0; buffer]).unwrap())
}

const BUFFER: usize = 600;

fn answered(text: &str) -> Seen {
    ask(BUFFER, &mut Script::new([text.as_bytes()]))
}

fn trouble(text: &str) -> Option<Trouble> {
    let seen = answered(text);
    assert_eq!(seen.outcome, None, "{text:?}");
    seen.trouble
}

#[test]
fn a_request_is_one_write_and_what_http_wants() {
    let mut script = Script::new([&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]]);
    let seen = ask(BUFFER, &mut script);
    assert_eq!(seen.outcome, Some((200, b"ok".to_vec())));
    assert!(seen.keeps_alive);
    assert_eq!(script.writes, 1);
    let text = String::from_utf8(script.sent).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text,
        format!(
            "GET /v3/company/9130347/companyinfo/9130347 HTTP/1.1\r\n\
             host: sandbox-quickbooks.api.intuit.com\r\nuser-agent: evergrant/{version}\r\n\
             authorization: Bearer AT-1\r\naccept: application/json\r\n\r\n"
        )
    );
}

#[test]
fn time_is_asked_for_without_a_secret_and_whatever_answers_is_good() {
    let mut buffer = [0; 256];
    let mut talk = Talk::time("https://oauth.example:444/oauth2/token", false, &mut buffer).unwrap();
    let answer =
        "HTTP/1.1 404 Not Found\r\ncontent-length: 5000\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    let mut script = Script::new([answer.as_bytes()]);
    blocking::carry_out(&mut script, &mut talk, || false);
    assert_eq!(talk.date(), Some(Time::from_unix(784_111_777)));
    assert_eq!(talk.trouble(), None);
    let text = String::from_utf8(script.sent).unwrap();
    assert!(text.starts_with("HEAD / HTTP/1.1\r\nhost: oauth.example:444\r\n"), "{text}");
    assert!(text.contains("\r\nconnection: close\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    drop(talk);
    let refused = Talk::time("http://oauth.example/", false, &mut buffer);
    assert_eq!(refused.err(), Some(Trouble::Target(TargetError::PlainHttp)));
}

#[test]
fn a_buffer_too_small_for_the_request_says_what_it_needs() {
    let app = app();
    let session = linked(&app);
    let request = Request::api(&app, session.access_token(common::NOW).unwrap(), "/v3/x").unwrap();
    let mut fits = false;
    for size in 0..BUFFER {
        let mut buffer = vec![0; size];
        let refused = Talk::new(&request, "", false, &mut buffer).err();
        assert!(buffer.iter().all(|byte| *byte == 0), "the token is not left behind");
        match refused {
            None => fits = true,
            Some(Trouble::TooLarge { what: Part::Request, needed, capacity }) => {
                assert_eq!(capacity, size);
                assert!(needed > size && needed <= Talk::needed(&request) && !fits, "{needed} {size}");
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(fits);
}

/// Answers that are good, and what is seen of them.
const GOOD: &[(&str, u16, &str, bool)] = &[
    ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
    ("HTTP/1.1 200\r\nContent-Length:5\r\n\r\nhello", 200, "hello", true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
    ("\r\n\r\nHTTP/1.1 200 OK\r\nCONTENT-LENGTH: \t5 \r\n\r\nhello", 200, "hello", true),
    ("HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", 200, "hello", true),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nx: y\r\n\r\nHTTP/1.1 201 C\r\ncontent-length: 1\r\n\r\nx",
        201,
        "x",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 5\r\n\r\nhello",
        200,
        "hello",
        false,
    ),
    ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", false),
    ("HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello", false),
    ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
    ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, "", true),
    ("HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n", 302, "", true),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello", true),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n003 \r\nllo\r\n0;x\r\nt: 1\r\nu: 2\r\n\r\n",
        200,
        "hello",
        true,
    ),
    ("HTTP/1.1 200 OK\r\nset-cookie: a\r\n  folded\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
    ("HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
];

#[test]
fn good_answers_are_the_same_however_they_are_split() {
    for (text, status, body, keeps_alive) in GOOD {
        let whole = answered(text);
        assert_eq!(whole.outcome, Some((*status, body.as_bytes().to_vec())), "{text:?}");
        assert_eq!((whole.keeps_alive, whole.trouble), (*keeps_alive, None), "{text:?}");
        let bytes = text.as_bytes();
        assert_eq!(ask(BUFFER, &mut Script::new(bytes.chunks(1))), whole, "{text:?}");
        for at in 0..bytes.len() {
            let (one, other) = bytes.split_at(at);
            let mut script = Script::new([one, other]);
            assert_eq!(ask(BUFFER, &mut script), whole, "{text:?} at {at}");
            let mut script = Script { async_waits: true, take: 7, ..Script::new([one, other]) };
            let async_seen = with_talk(BUFFER, |mut talk| {
                let connection = &mut Waits(&mut script);
                common::block_on(asynch::carry_out(connection, &mut talk, || false));
                seen(&talk)
            });
            assert_eq!(async_seen, whole, "async, {text:?} at {at}");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_handed_in_as_far_as_it_came() {
    for (text, status, body, _) in GOOD {
        for length in 0..text.len() {
            let part = answered(&text[..length]);
            let Some((seen_status, seen_body)) = part.outcome else {
                assert_eq!(part.trouble, Some(Trouble::Closed), "{text:?} to {length}");
                continue;
            };
            assert_eq!(seen_status, *status);
            assert!(body.as_bytes().starts_with(&seen_body), "{text:?} to {length}");
            assert!(!part.keeps_alive || seen_body.len() == body.len(), "{text:?} to {length}");
        }
    }
    let seen = answered("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!((seen.outcome, seen.trouble), (Some((200, b"half".to_vec())), Some(Trouble::Closed)));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -1\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "content-length: 5\r\n folded\r\n",
        "content-length : 5\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "a\x00b: c\r\n",
        "a: b\x00c\r\n",
        "a: b\rc: d\r\n",
        "a b: c\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\nhello");
        assert_eq!(trouble(&text), Some(Trouble::Malformed), "{head:?}");
    }
    let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(trouble(old), Some(Trouble::Malformed));
    let zipped = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
    assert_eq!(trouble(zipped), Some(Trouble::Encoded));
}

#[test]
fn what_is_not_http_is_refused() {
    for text in [
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "<html>\n",
    ] {
        assert_eq!(trouble(text), Some(Trouble::NotHttp), "{text:?}");
    }
}

#[test]
fn broken_chunks_end_the_body_where_they_break() {
    for (chunks, body) in [
        ("x\r\n", ""),
        ("\r\n", ""),
        ("-1\r\n", ""),
        ("5\nhello\r\n", ""),
        ("fffffffffffffffff\r\n", ""),
        ("5;\x00\r\n", ""),
        ("2\r\nhello\r\n0\r\n\r\n", "he"),
        ("2\r\nhe\n0\r\n\r\n", "he"),
        ("2\r\nhe\r\n\r\n", "he"),
    ] {
        let seen = answered(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
        assert_eq!(seen.outcome, Some((200, body.as_bytes().to_vec())), "{chunks:?}");
        assert_eq!(seen.trouble, Some(Trouble::Malformed), "{chunks:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_with_what_it_needs() {
    let too_large = |what, needed, capacity| Some(Trouble::TooLarge { what, needed, capacity });
    let body = "x".repeat(BUFFER + 1);
    let seen = answered(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(seen.trouble, too_large(Part::Body, BUFFER + 1, BUFFER));
    assert_eq!(seen.outcome.unwrap().1.len(), BUFFER, "what fits is handed in");
    let huge = u64::MAX;
    let seen = answered(&format!("HTTP/1.1 200 OK\r\ncontent-length: {huge}\r\n\r\n{body}"));
    assert_eq!(seen.trouble, too_large(Part::Body, usize::MAX, BUFFER));
    let seen = answered(&format!("HTTP/1.1 200 OK\r\n\r\n{body}"));
    assert_eq!(seen.trouble, too_large(Part::Body, BUFFER + 1, BUFFER));
    let seen = answered(&format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    ));
    assert_eq!(seen.trouble, too_large(Part::Body, BUFFER + 1, BUFFER));

    // A body that fills the buffer to the last byte fits, framed in whichever way.
    let full = "y".repeat(BUFFER);
    for text in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {BUFFER}\r\n\r\n{full}"),
        format!("HTTP/1.1 200 OK\r\n\r\n{full}"),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{BUFFER:x}\r\n{full}\r\n0\r\nt: u\r\n\r\n"
        ),
    ] {
        let seen = answered(&text);
        assert_eq!((seen.outcome.unwrap().1.len(), seen.trouble), (BUFFER, None));
    }

    let long = "z".repeat(BUFFER);
    let line = format!("HTTP/1.1 200 OK\r\ncontent-length: 0{long}\r\n\r\n");
    assert_eq!(trouble(&line), too_large(Part::Line, BUFFER + 1, BUFFER));
    let line = format!("HTTP/1.1 200 {long}\r\n\r\n");
    assert_eq!(trouble(&line), too_large(Part::Line, BUFFER + 1, BUFFER));
    let line = format!("HTTP/1.1 200 OK\r\n{long}: a\r\n\r\n");
    assert_eq!(trouble(&line), too_large(Part::Line, BUFFER + 1, BUFFER));
    let dull = format!("HTTP/1.1 200 OK\r\nset-cookie: {long}\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(answered(&dull).outcome, Some((200, b"ok".to_vec())), "no cookie costs an answer");

    let most = evergrant_embedded::HEAD_MOST;
    let heads = "HTTP/1.1 100 Continue\r\n\r\n".repeat(most / 20);
    assert_eq!(trouble(&heads), too_large(Part::Head, most + 1, most), "interim answers without end");
    let heads = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(most / 6));
    assert_eq!(trouble(&heads), too_large(Part::Head, most + 1, most));
    let chunks = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{}\r\n", "e".repeat(most));
    assert_eq!(answered(&chunks).trouble, too_large(Part::Head, most + 1, most));
}

#[test]
fn headers_that_matter_are_kept_as_they_came() {
    let seen = answered(
        "HTTP/1.1 429 Too Many\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nIntuit_Tid: 1-abc\x7f\r\n\r\n",
    );
    assert_eq!(seen.trouble, Some(Trouble::Malformed), "a control character");
    let seen = answered(
        "HTTP/1.1 429 Too Many\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nIntuit_Tid:  1-abc \r\n\
         date: Sun, 06 Nov 1994 08:49:00 GMT\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(seen.retry_after.as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(seen.correlation.as_deref(), Some("1-abc"));
    assert_eq!(seen.date, Some(Time::from_unix(784_111_740)));
    // Those of an interim answer are not the answer's.
    let seen =
        answered("HTTP/1.1 100 C\r\nretry-after: 9\r\ncontent-length: 7\r\n\r\nHTTP/1.1 204 N\r\n\r\n");
    assert_eq!((seen.outcome.unwrap().0, seen.retry_after), (204, None));
}

#[test]
fn bytes_behind_the_answer_cost_the_connection_and_nothing_else() {
    let seen = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nforged");
    assert_eq!((seen.outcome, seen.keeps_alive), (Some((200, b"ok".to_vec())), false));
}

#[test]
fn a_transport_that_fails_is_told_truthfully() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let script = || Script { take: 50, ..Script::new(ANSWER.chunks(10)) };
    let mut whole = script();
    ask(BUFFER, &mut whole);
    for at in 1..=whole.writes {
        for (failure, expected) in [
            (Failure::Zero, Trouble::WriteZero),
            (Failure::Error(ErrorKind::BrokenPipe), Trouble::Write(ErrorKind::BrokenPipe)),
        ] {
            let seen = ask(BUFFER, &mut Script { fail_write_at: Some((at, failure)), ..script() });
            // Once the transport was handed a byte, nobody knows.
            assert_eq!((seen.outcome, seen.trouble, seen.keeps_alive), (None, Some(expected), false));
        }
        let interrupted = Failure::Error(ErrorKind::Interrupted);
        let seen = ask(BUFFER, &mut Script { fail_write_at: Some((at, interrupted)), ..script() });
        assert_eq!(seen.outcome, Some((200, b"hello".to_vec())));
    }
    let seen = ask(BUFFER, &mut Script { fail_flush: true, ..script() });
    assert_eq!((seen.outcome, seen.trouble), (None, Some(Trouble::Write(ErrorKind::ConnectionReset))));
    for at in 1..=whole.reads {
        for failure in [Failure::Zero, Failure::Error(ErrorKind::TimedOut)] {
            let seen = ask(BUFFER, &mut Script { fail_read_at: Some((at, failure)), ..script() });
            match seen.outcome {
                None => assert!(at <= 4),
                Some((status, body)) => assert!(status == 200 && at > 4 && b"hello".starts_with(&body)),
            }
            assert!(matches!(seen.trouble, Some(Trouble::Closed | Trouble::Read(ErrorKind::TimedOut))));
            assert!(!seen.keeps_alive);
        }
    }
}

#[test]
fn a_time_out_is_told_truthfully() {
    for steps in 0..6 {
        let mut left = steps;
        with_talk(BUFFER, |mut talk| {
            let mut script = Script::new(b"HTTP/1.1 200 OK\r\n\r\nhello".chunks(10));
            blocking::carry_out(&mut script, &mut talk, || {
                left -= 1;
                left < 0
            });
            assert_eq!(talk.trouble(), Some(Trouble::TimedOut));
            match (steps, talk.received()) {
                (0, Received::NotSent) | (1..=3, Received::NoAnswer) => {}
                (4.., Received::Answer { status: 200, body, .. }) => assert!(b"hello".starts_with(body)),
                (steps, received) => panic!("after {steps} steps: {received:?}"),
            }
        });
    }
}

#[test]
fn a_dropped_future_is_told_truthfully_and_cannot_be_taken_up_again() {
    for polls in 0..7 {
        with_talk(BUFFER, |mut talk| {
            let mut script =
                Script { async_waits: true, ..Script::new(b"HTTP/1.1 200 OK\r\n\r\nhello".chunks(10)) };
            let connection = &mut Waits(&mut script);
            let done = poll_times(asynch::carry_out(connection, &mut talk, || false), polls);
            assert!(done.is_none());
            assert!(!talk.keeps_alive());
            match (polls, talk.received()) {
                (0, Received::NotSent) | (1..=4, Received::NoAnswer) => {}
                (5.., Received::Answer { status: 200, body, .. }) => assert!(b"hello".starts_with(body)),
                (polls, received) => panic!("after {polls} polls: {received:?}"),
            }
            if polls > 0 {
                assert!(matches!(talk.step(), Step::Done));
                assert_eq!(talk.trouble(), Some(Trouble::Abandoned));
            }
        });
    }
}

#[test]
fn the_buffer_is_wiped() {
    let app = app();
    let session = linked(&app);
    let request = Request::api(&app, session.access_token(common::NOW).unwrap(), "/v3/x").unwrap();
    let mut buffer = [0; 600];
    let mut talk = Talk::new(&request, "", false, &mut buffer).unwrap();
    let mut script = Script::new([&b"HTTP/1.1 200 OK\r\n\r\nsecret"[..]]);
    blocking::carry_out(&mut script, &mut talk, || false);
    let shown = format!("{talk:?}");
    assert!(!shown.contains("secret") && !shown.contains("AT-1"), "{shown}");
    assert_eq!(talk.body(), b"secret");
    drop(talk);
    assert!(buffer.iter().all(|byte| *byte == 0));
}

proptest! {
    /// What `httparse` makes of a head, this makes of it too, where both take it.
    #[test]
    fn heads_are_read_as_httparse_reads_them(
        status in 200_u16..600,
        reason in "[ -~]{0,12}",
        headers in prop::collection::vec(("[a-zA-Z][a-zA-Z0-9_-]{0,14}", "[!-~]([ -~\t]{0,18}[!-~])?"), 0..8),
        tid in prop::option::of("[!-~]{1,20}"),
        noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut text = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
        for (name, value) in &headers {
            text.extend(format!("{name}: {value}\r\n").bytes());
        }
        if let Some(tid) = &tid {
            text.extend(format!("intuit_tid: {tid}\r\n").bytes());
        }
        text.extend(b"\r\n");
        if let Some((at, byte)) = noise {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut theirs = httparse::Response::new(&mut slots);
        let parsed = theirs.parse(&text);
        let ours = ask(4_096, &mut Script::new([text.as_slice()]));
        match (&ours.outcome, parsed) {
            (Some((status, _)), Ok(httparse::Status::Complete(_))) => {
                prop_assert_eq!(Some(*status), theirs.code);
                let tid = theirs.headers.iter().rfind(|header| header.name.eq_ignore_ascii_case("intuit_tid"));
                let tid = tid.map(|header| String::from_utf8_lossy(header.value).trim().to_owned());
                let tid = tid.filter(|tid| !tid.is_empty() && tid.is_ascii() && !tid.contains('\t'));
                if let Some(tid) = tid {
                    prop_assert_eq!(ours.correlation, Some(tid));
                }
            }
            // We refuse more: contradictions, what is encoded, odd versions and interim answers without end.
            (None, _) => {}
            // It refuses a fold, and so does it a status line that ends in a bare CR; nothing else may be ours alone.
            (Some(_), refused) => {
                let folded = text.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b' ' | b'\t'));
                prop_assert!(folded, "{:?} {:?}", refused, String::from_utf8_lossy(&text));
            }
        }
        if noise.is_none() && headers.iter().all(|(name, _)| name.len() < 4) {
            prop_assert!(ours.outcome.is_some());
        }
    }

    /// A body in any frame, cut into any pieces, is what went in.
    #[test]
    fn bodies_come_out_as_they_went_in(
        body in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(1_usize..60, 1..40),
        frame in 0_usize..3,
        chunk in 1_usize..50,
    ) {
        let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
        match frame {
            0 => text.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes()),
            1 => text.extend(b"transfer-encoding: chunked\r\n\r\n"),
            _ => text.extend(b"\r\n"),
        }
        if frame == 1 {
            for piece in body.chunks(chunk) {
                text.extend(format!("{:X};ext\r\n", piece.len()).bytes());
                text.extend(piece);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
        } else {
            text.extend(&body);
        }
        let mut pieces = Vec::new();
        let mut rest = text.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = after;
        }
        let seen = ask(BUFFER, &mut Script::new(pieces));
        prop_assert_eq!((seen.outcome, seen.trouble), (Some((200, body)), None));
    }

    /// Whatever comes, it comes to an end, and nothing panics.
    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..600), head in any::<bool>()) {
        let mut text = if head { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        text.extend(&noise);
        let seen = ask(BUFFER, &mut Script::new(text.chunks(37)));
        prop_assert!(seen.outcome.is_none_or(|(_, body)| body.len() <= BUFFER));
    }
}
