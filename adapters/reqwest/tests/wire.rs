//! What becomes of a request, told truthfully, against servers that are nothing but a socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use evergrant::{App, Ask, ClientSecret, Input, Keys, Provider, Received, Scopes, Session, Time};
use evergrant_reqwest::{Client, Failure, Options, Reply};
use tokio::runtime::Runtime;

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
    let http = request.write(&mut buffer).unwrap();
    wait(client.carry_out(&http))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

fn send(url: &str) -> Reply {
    exchange(&client(), url, ("", ""))
}

fn client() -> Client {
    let mut options = Options::default();
    options.connect = Duration::from_secs(5);
    options.call = Duration::from_secs(5);
    Client::new(options).unwrap()
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
    let reply = exchange(&Client::new(options).unwrap(), &url, ("", ""));
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
        assert!(matches!(wait(client().read(url)).received(), Received::NotSent), "{url}");
    }
    assert_eq!(wait(client().read("http://example.com/")).failure(), Some(Failure::PlainHttp));
}

/// All that this program's libraries log, at every level.
struct Logged(Mutex<String>);

static LOGGED: Logged = Logged(Mutex::new(String::new()));

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        *self.0.lock().unwrap() += &format!("{} {}\n", record.target(), record.args());
    }
    fn flush(&self) {}
}

/// I6: not even at the level at which reqwest tells most. The other tests' requests count as well, where they run beside it.
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
    assert!(logged.contains("reqwest"), "nothing was logged: {logged}");
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

/// A server whose certificate nobody vouches for: refused in the handshake, before anything was sent (RFC 6749 §10.9).
#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let own = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = rustls::ServerConnection::new(config.clone().into()).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut stream);
            let _ = stream.read_to_end(&mut seen);
        }
        seen
    });
    for host in ["localhost", "127.0.0.1"] {
        let reply = send(&format!("https://{host}:{port}/token"));
        assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
        assert_eq!(reply.failure(), Some(Failure::Tls));
    }
    assert!(server.join().unwrap().is_empty());
}

/// I1, I2: a call that is given up is not made again by anybody, and its connection is closed.
#[test]
fn a_dropped_call_is_sent_once_at_most() {
    let (url, requests) = server(|stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let client = client();
    wait(async {
        let call = client.read(&url);
        assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    });
    // The server's thread comes here only when the other side has closed.
    assert!(requests.recv_timeout(Duration::from_secs(5)).is_ok());
    assert!(requests.recv_timeout(Duration::from_millis(200)).is_err(), "it was sent again");
}

/// A call belongs into a task of its own: its future must be able to go there.
#[test]
fn a_call_can_be_moved_to_another_task() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let client = client();
    drop(is_send(client.read("https://localhost:1/")));
    let (url, _requests) = answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let task = async move { tokio::spawn(async move { client.read(&url).await.status() }).await.unwrap() };
    assert_eq!(wait(task), Some(200));
}

/// A handshake that never ends: no connection was made, so nothing was sent. The whole call's end proves less.
#[test]
fn a_connection_that_is_not_made_in_time_has_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/token", listener.local_addr().unwrap());
    let mut options = Options::default();
    options.connect = Duration::from_millis(150);
    let reply = exchange(&Client::new(options.clone()).unwrap(), &url, ("", ""));
    assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::ConnectTimeout));
    options.call = Duration::from_millis(100);
    let reply = exchange(&Client::new(options).unwrap(), &url, ("", ""));
    assert!(matches!(reply.received(), Received::NoAnswer), "in doubt it may have left: {reply:?}");
}
