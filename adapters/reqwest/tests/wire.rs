//! What becomes of a request, told truthfully: the cases of every adapter, and what an async one owes besides.

use std::io::Read;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::Duration;

use evergrant::{Http, Received};
use evergrant_reqwest::{Client, Failure, Options, Reply};
use tokio::runtime::Runtime;
use wire_cases::{Adapter, answer, every_case, exchange, server};

#[derive(Debug)]
struct Reqwest(Client);

impl Adapter for Reqwest {
    const LIBRARY: &'static str = "reqwest";

    fn new(connect: Duration, call: Duration) -> Self {
        let mut options = Options::default();
        (options.connect, options.call) = (connect, call);
        Self(Client::new(options).unwrap())
    }

    fn carry_out(&self, http: &Http<'_>) -> Reply {
        wait(self.0.carry_out(http))
    }

    fn read(&self, url: &str) -> Reply {
        wait(self.0.read(url))
    }
}

every_case!(Reqwest);

const WHILE: Duration = Duration::from_secs(5);

fn client() -> Client {
    Reqwest::new(WHILE, WHILE).0
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
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
        let url = format!("https://{host}:{port}/token");
        let reply = exchange(&Reqwest(client()), &url, ("", ""));
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
    let connect = Duration::from_millis(150);
    let reply = exchange(&Reqwest::new(connect, WHILE), &url, ("", ""));
    assert!(matches!(reply.received(), Received::NotSent), "{reply:?}");
    assert_eq!(reply.failure(), Some(Failure::ConnectTimeout));
    let reply = exchange(&Reqwest::new(connect, Duration::from_millis(100)), &url, ("", ""));
    assert!(matches!(reply.received(), Received::NoAnswer), "in doubt it may have left: {reply:?}");
}
