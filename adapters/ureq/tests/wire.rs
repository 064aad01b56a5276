//! What becomes of a request, told truthfully, against servers that are nothing but a socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use evergrant::{App, Ask, ClientSecret, Input, Keys, Provider, Received, Scopes, Session, Time};
use evergrant_ureq::{Client, Failure, Options, Reply};

const NOW: Time = Time::from_unix(1_800_000_000);
const REDIRECT: &str = "http://localhost:1/cb";

/// Exchanges a code at `url`: a POST with a client secret and a code in it.
fn exchange(client: &Client, url: &str, header: (&str, &str)) -> Reply {
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

fn send(url: &str) -> Reply {
    exchange(&client(), url, ("", ""))
}

fn client() -> Client {
    let mut options = Options::default();
    options.connect = Duration::from_secs(5);
    options.call = Duration::from_secs(5);
    Client::new(options)
}

/// A server that hands each connection to `serve`, and the whole requests that it saw to the test.
fn server(serve: impl Fn(&mut TcpStream) + Send + 'static) -> (String, Receiver<String>) {
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

fn answer(text: &'static str) -> (String, Receiver<String>) {
    server(move |stream| stream.write_all(text.as_bytes()).unwrap())
}

#[test]
fn an_answer_comes_with_all_that_the_core_wants_to_know() {
    let (url, requests) = answer(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nintuit_tid: 1-abc\r\ncontent-length: 2\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}",
    );
    let reply = send(&url);
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

#[test]
fn what_never_left_is_told_from_what_may_have_left() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, why) in [
        (format!("http://127.0.0.1:{port}/token"), Failure::NoConnection),
        (format!("https://127.0.0.1:{port}/token"), Failure::NoConnection),
    ] {
        let reply = send(&url);
        assert!(matches!(reply.received(), Received::NotSent), "{url}: {reply:?}");
        assert_eq!(reply.failure(), Some(why), "{url}");
    }
    // Which error a resolver gives differs; that nothing was sent does not.
    assert!(matches!(send("https://nobody.invalid/token").received(), Received::NotSent));
    // Read, and closed without a word: it may have been carried out.
    let (url, requests) = server(|_| {});
    let reply = send(&url);
    assert!(matches!(reply.received(), Received::NoAnswer), "{reply:?}");
    assert!(requests.recv().is_ok());
    let (url, _requests) = answer("SMTP ready\r\n\r\n");
    assert!(matches!(send(&url).received(), Received::NoAnswer));
}

/// A handshake that fails has carried nothing of the request.
#[test]
fn a_failed_handshake_has_sent_nothing() {
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
    let reply = send(&format!("https://127.0.0.1:{port}/token"));
    assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::Tls));
    let seen = server.join().unwrap();
    assert!(!String::from_utf8_lossy(&seen).contains("canary"));
}

#[test]
fn a_body_that_breaks_off_gives_what_came() {
    let (url, _requests) =
        answer("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"refresh_token\":\"RT2\",");
    let reply = send(&url);
    assert_eq!((reply.status(), reply.body()), (Some(200), &b"{\"refresh_token\":\"RT2\","[..]));
    assert!(reply.failure().is_some());
}

#[test]
fn a_body_is_read_to_the_bound_and_no_further() {
    let (url, _requests) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n");
        let piece = [b'x'; 65_536];
        while stream.write_all(&piece).is_ok() {}
    });
    let reply = send(&url);
    assert_eq!((reply.status(), reply.body().len()), (Some(200), 1 << 20));
    assert_eq!(reply.failure(), Some(Failure::TooLong));
}

/// RFC 6750 §5.3: credentials go where they were meant to go.
#[test]
fn no_redirect_is_followed() {
    for status in ["301 a", "302 a", "303 a", "307 a", "308 a"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let to = elsewhere.local_addr().unwrap();
        let (url, _requests) = server(move |stream| {
            write!(stream, "HTTP/1.1 {status}\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        });
        let reply = send(&url);
        assert_eq!(reply.status().unwrap().to_string(), status[..3]);
        assert!(elsewhere.accept().is_err(), "{status}: somebody called the other host");
    }
}

#[test]
fn a_slow_server_is_not_waited_for() {
    let (url, _requests) = server(|_| std::thread::sleep(Duration::from_millis(1_500)));
    let mut options = Options::default();
    options.call = Duration::from_millis(200);
    let began = Instant::now();
    let reply = exchange(&Client::new(options), &url, ("", ""));
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(matches!(reply.received(), Received::NoAnswer), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::Timeout));
}

/// A server that keeps a connection open and then drops it invites clients to send a second time on a new one.
#[test]
fn every_request_is_sent_once_on_a_connection_of_its_own() {
    let client = client();
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

#[test]
fn nothing_can_be_smuggled_into_a_header_or_sent_in_the_clear() {
    let (url, requests) = answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for value in ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\0"] {
        let reply = exchange(&client(), &url, ("x-header", value));
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
        assert!(matches!(client().read(url).received(), Received::NotSent), "{url}");
    }
    assert_eq!(client().read("http://example.com/").failure(), Some(Failure::PlainHttp));
}

/// All that this program's libraries log, at every level.
struct Logged(Mutex<String>);

static LOGGED: Logged = Logged(Mutex::new(String::new()));

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        // At `trace` it dumps all that crosses the wire: the manual says to keep it below.
        if record.target() == "ureq_proto::util" && record.level() == log::Level::Trace {
            return;
        }
        *self.0.lock().unwrap() += &format!("{} {}\n", record.target(), record.args());
    }
    fn flush(&self) {}
}

/// I6: not even at the level at which ureq tells most, but for the dump that its manual names. The other tests' requests count as well, where they run beside it.
#[test]
fn nothing_is_logged_that_is_a_secret() {
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let header = "HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n";
    let whole = format!("{header}{}", r#"{"access_token":"canary-access-1"}"#);
    let broken = whole[..whole.len() - 9].to_owned();
    for text in [whole, broken, "HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n".into(), String::new()] {
        let (url, _requests) = server(move |stream| stream.write_all(text.as_bytes()).unwrap());
        let _ = send(&url);
    }
    let _ = send("http://127.0.0.1:1/token");
    let logged = LOGGED.0.lock().unwrap().clone();
    assert!(logged.contains("ureq"), "nothing was logged: {logged}");
    // The client's secret is sent in Base64 of `client:canary-secret`.
    for secret in ["canary", "Y2xpZW50OmNhbmFyeS1zZWNyZXQ"] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

/// I6.
#[test]
fn nothing_renders_a_secret() {
    let (url, _requests) = answer("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ncanary-token");
    let reply = send(&url);
    assert_eq!(reply.body(), b"canary-token");
    assert!(!format!("{reply:?} {:?} {:?}", client(), reply.received()).contains("canary"));
}
