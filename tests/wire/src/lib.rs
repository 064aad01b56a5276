//! What becomes of a request, told truthfully: what each HTTP adapter owes the core, against servers that are nothing but a
//! socket. An adapter's tests say what it is ([`Adapter`]) and take over every case ([`every_case`]).

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use evergrant::{App, Ask, ClientSecret, Http, Input, Keys, Provider, Received, Scopes, Session, Time};
use evergrant_wire::{Failure, Reply};

/// An HTTP client of ours, in the words that the cases need.
pub trait Adapter: Debug {
    /// The library under it, by the name that its log targets begin with.
    const LIBRARY: &'static str;
    /// Targets of that library that dump, at `trace`, all that crosses the wire; the adapter's manual says so.
    const DUMPS: &'static [&'static str] = &[];

    /// One that gives a connection up after `connect`, and the whole call after `call`.
    fn new(connect: Duration, call: Duration) -> Self;
    /// Sends the request, once.
    fn carry_out(&self, http: &Http<'_>) -> Reply;
    /// Reads a public document.
    fn read(&self, url: &str) -> Reply;
}

/// Every case as a test of the adapter's own.
#[macro_export]
macro_rules! every_case {
    ($adapter:ty) => {
        $crate::every_case! { $adapter:
            an_answer_comes_with_all_that_the_core_wants_to_know
            what_never_left_is_told_from_what_may_have_left
            a_failed_handshake_has_sent_nothing
            a_body_that_breaks_off_gives_what_came
            a_body_is_read_to_the_bound_and_no_further
            no_redirect_is_followed
            a_slow_server_is_not_waited_for
            every_request_is_sent_once_on_a_connection_of_its_own
            nothing_can_be_smuggled_into_a_header_or_sent_in_the_clear
            nothing_is_logged_that_is_a_secret
            nothing_renders_a_secret
        }
    };
    ($adapter:ty: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                $crate::$case::<$adapter>();
            }
        )+
    };
}

const NOW: Time = Time::from_unix(1_800_000_000);
const REDIRECT: &str = "http://localhost:1/cb";
const WHILE: Duration = Duration::from_secs(5);

fn client<A: Adapter>() -> A {
    A::new(WHILE, WHILE)
}

fn send<A: Adapter>(url: &str) -> Reply {
    exchange(&client::<A>(), url, ("", ""))
}

/// Exchanges a code at `url`: a POST with a client secret and a code in it.
pub fn exchange<A: Adapter>(client: &A, url: &str, header: (&str, &str)) -> Reply {
    let provider = Provider {
        token_endpoint: url,
        token_request_header: header,
        loopback_http: true,
        ..Provider::INTUIT_SANDBOX
    };
    let keys = Keys {
        client_id: "client",
        client_secret: ClientSecret::new("canary-secret"),
        redirect_uris: &[REDIRECT],
        further_scopes: &[],
        state_key: None,
    };
    let app = App::new(&provider, keys).unwrap();
    let mut session: Box<Session> = Box::new(Session::new(&app));
    let ask = Ask { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, random: [7; 64] };
    let revision = session.handle(&app, NOW, Input::Ask(ask)).unwrap().store.unwrap();
    let _ = session.handle(&app, NOW, Input::Saved(revision)).unwrap();
    let mut buffer = [0; 600];
    let asked = session.authorization_url(&app, &mut buffer).unwrap();
    let state = asked.split("state=").nth(1).unwrap();
    let text = format!("code=canary-code&realmId=1234567890&state={state}");
    let effects = session.handle(&app, NOW, Input::Callback { text: &text, binding: &[] }).unwrap();
    let _ = session.handle(&app, NOW, Input::Saved(effects.store.unwrap())).unwrap();
    let mut buffer = [0; 2_000];
    let request = session.request(&app, effects.send.unwrap()).unwrap();
    client.carry_out(&request.write(&mut buffer).unwrap())
}

// --------------------------------------------------------------------------------------------------------- servers

/// A server that hands each connection to `serve`, and the whole requests that it saw to the test.
pub fn server(serve: impl Fn(&mut TcpStream) + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let (seen, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            serve(&mut stream);
            let _ = stream.shutdown(Shutdown::Both);
            if seen.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

/// A server that always says this.
pub fn answer(text: &'static str) -> (String, Receiver<String>) {
    server(move |stream| stream.write_all(text.as_bytes()).unwrap())
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&text).to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    text.extend(body);
    String::from_utf8(text).unwrap()
}

// ----------------------------------------------------------------------------------------------------------- cases

/// Status, the two headers that the core looks at, the date, the body; and what was sent is what the core wrote.
pub fn an_answer_comes_with_all_that_the_core_wants_to_know<A: Adapter>() {
    let (url, requests) = answer(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nintuit_tid: 1-abc\r\ncontent-length: 2\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}",
    );
    let reply = send::<A>(&url);
    let Received::Answer { status: 429, retry_after: Some("7"), correlation: Some("1-abc"), body: b"{}" } =
        reply.received()
    else {
        panic!("{reply:?}")
    };
    assert_eq!((reply.date().unwrap().unix(), reply.failure()), (784_111_777, None));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(
        "\r\n\r\ngrant_type=authorization_code&code=canary-code&redirect_uri=http%3A%2F%2Flocalhost%3A1%2Fcb"
    ));
    assert!(request.contains("authorization: Basic "), "{request}");
}

/// EXC-3: a code may be sent again only after the first kind.
pub fn what_never_left_is_told_from_what_may_have_left<A: Adapter>() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("http://127.0.0.1:{port}/token"), format!("https://127.0.0.1:{port}/token")] {
        let reply = send::<A>(&url);
        assert!(matches!(reply.received(), Received::NotSent), "{url}: {reply:?}");
        assert_eq!(reply.failure(), Some(Failure::NoConnection), "{url}");
    }
    // Which error a resolver gives differs; that nothing was sent does not.
    assert!(matches!(send::<A>("https://nobody.invalid/token").received(), Received::NotSent));
    // Read, and closed without a word: it may have been carried out.
    let (url, requests) = server(|_| {});
    let reply = send::<A>(&url);
    assert!(matches!(reply.received(), Received::NoAnswer), "{reply:?}");
    assert!(requests.recv().is_ok());
    let (url, _requests) = answer("SMTP ready\r\n\r\n");
    assert!(matches!(send::<A>(&url).received(), Received::NoAnswer));
}

/// A handshake that fails has carried nothing of the request.
pub fn a_failed_handshake_has_sent_nothing<A: Adapter>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 plain http here\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    let reply = send::<A>(&format!("https://127.0.0.1:{port}/token"));
    assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::Tls));
    let seen = server.join().unwrap();
    assert!(!String::from_utf8_lossy(&seen).contains("canary"));
}

/// I5: the tokens may be in what came.
pub fn a_body_that_breaks_off_gives_what_came<A: Adapter>() {
    let (url, _requests) =
        answer("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"refresh_token\":\"RT2\",");
    let reply = send::<A>(&url);
    assert_eq!((reply.status(), reply.body()), (Some(200), &b"{\"refresh_token\":\"RT2\","[..]));
    assert!(reply.failure().is_some());
}

/// A server that never ends costs no more than the bound.
pub fn a_body_is_read_to_the_bound_and_no_further<A: Adapter>() {
    let (url, _requests) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n");
        let piece = [b'x'; 65_536];
        while stream.write_all(&piece).is_ok() {}
    });
    let reply = send::<A>(&url);
    assert_eq!((reply.status(), reply.body().len()), (Some(200), 1 << 20));
    assert_eq!(reply.failure(), Some(Failure::TooLong));
}

/// RFC 6750 §5.3: credentials go where they were meant to go.
pub fn no_redirect_is_followed<A: Adapter>() {
    for status in ["301 a", "302 a", "303 a", "307 a", "308 a"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let to = elsewhere.local_addr().unwrap();
        let (url, _requests) = server(move |stream| {
            write!(stream, "HTTP/1.1 {status}\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        });
        let reply = send::<A>(&url);
        assert_eq!(reply.status().unwrap().to_string(), status[..3]);
        assert!(elsewhere.accept().is_err(), "{status}: somebody called the other host");
    }
}

/// The server holds the request until the call has come back.
pub fn a_slow_server_is_not_waited_for<A: Adapter>() {
    let (release, held) = channel::<()>();
    // Longer than any client should wait here: one that does is answered, and found.
    let (url, _requests) = server(move |stream| {
        let _ = held.recv_timeout(4 * WHILE);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let reply = exchange(&A::new(WHILE, Duration::from_millis(200)), &url, ("", ""));
    drop(release);
    assert!(matches!(reply.received(), Received::NoAnswer), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::Timeout));
}

/// A server that keeps a connection open and then drops it invites clients to send a second time on a new one.
pub fn every_request_is_sent_once_on_a_connection_of_its_own<A: Adapter>() {
    let client = client::<A>();
    let (url, requests) = answer("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}");
    for _ in 0..3 {
        assert_eq!(exchange(&client, &url, ("", "")).status(), Some(200));
        assert!(requests.recv().is_ok());
    }
    assert!(requests.try_recv().is_err(), "one too many");
    // Dropped after the request was read: not repeated either.
    let (url, requests) = server(|_| {});
    assert!(matches!(exchange(&client, &url, ("", "")).received(), Received::NoAnswer));
    assert!(requests.recv().is_ok());
    assert!(requests.recv_timeout(Duration::from_millis(300)).is_err(), "it was sent again");
}

/// Line breaks in a header's value, and plain http to anything that is not loopback.
pub fn nothing_can_be_smuggled_into_a_header_or_sent_in_the_clear<A: Adapter>() {
    let client = client::<A>();
    let (url, requests) = answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for value in ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\0"] {
        let reply = exchange(&client, &url, ("x-header", value));
        assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
        assert_eq!(reply.failure(), Some(Failure::Malformed));
    }
    assert!(requests.try_recv().is_err());
    for url in [
        "http://192.0.2.1/",
        "http://example.com/",
        "ftp://localhost/",
        "/token",
        "http://localhost.example/",
    ] {
        assert!(matches!(client.read(url).received(), Received::NotSent), "{url}");
    }
    assert_eq!(client.read("http://example.com/").failure(), Some(Failure::PlainHttp));
}

/// All that this program's libraries log, at every level.
struct Logged {
    text: Mutex<String>,
    dumps: Mutex<&'static [&'static str]>,
}

static LOGGED: Logged = Logged { text: Mutex::new(String::new()), dumps: Mutex::new(&[]) };

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let is_dump = record.level() == log::Level::Trace
            && self.dumps.lock().unwrap().iter().any(|target| record.target() == *target);
        if !is_dump {
            *self.text.lock().unwrap() += &format!("{} {}\n", record.target(), record.args());
        }
    }
    fn flush(&self) {}
}

/// I6: not even at the level at which the library tells most. The other cases' requests count as well, where they run beside it.
pub fn nothing_is_logged_that_is_a_secret<A: Adapter>() {
    *LOGGED.dumps.lock().unwrap() = A::DUMPS;
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let header = "HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n";
    let whole = format!("{header}{}", r#"{"access_token":"canary-access-1"}"#);
    let broken = whole[..whole.len() - 9].to_owned();
    for text in [whole, broken, "HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n".into(), String::new()] {
        let (url, _requests) = server(move |stream| stream.write_all(text.as_bytes()).unwrap());
        let _ = send::<A>(&url);
    }
    let _ = send::<A>("http://127.0.0.1:1/token");
    let logged = LOGGED.text.lock().unwrap().clone();
    assert!(logged.contains(A::LIBRARY), "nothing was logged: {logged}");
    // The client's secret is sent in Base64 of `client:canary-secret`.
    for secret in ["canary", "Y2xpZW50OmNhbmFyeS1zZWNyZXQ"] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

/// I6.
pub fn nothing_renders_a_secret<A: Adapter>() {
    let (url, _requests) = answer("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ncanary-token");
    let reply = send::<A>(&url);
    assert_eq!(reply.body(), b"canary-token");
    assert!(!format!("{reply:?} {:?} {:?}", client::<A>(), reply.received()).contains("canary"));
}
