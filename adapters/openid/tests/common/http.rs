// HTTP for tests: one request a connection, over plain TCP, to loopback. (No inner docs: the manual includes this file.)

use std::io::{Read, Write};
use std::net::TcpStream;

use evergrant_openid::Fetched;

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (header, value) = line.split_once(':')?;
            header.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Carries out a request of the core.
pub(crate) fn carry_out(http: &evergrant::Http<'_>) -> Option<Answer> {
    send(http.method(), http.url(), http.headers(), http.body())
}

/// A `GET` of what keys or discovery want; hand it in with [`fetched`].
pub(crate) fn get(url: &str) -> Option<Answer> {
    send("GET", url, [("accept", "application/json")].into_iter(), "")
}

/// What became of a `GET`.
pub(crate) fn fetched(answer: Option<&Answer>) -> Fetched<'_> {
    answer.map_or(Fetched::Failed, |answer| Fetched::Answer {
        status: answer.status,
        cache_control: answer.header("cache-control"),
        body: &answer.body,
    })
}

/// Where the user's browser is sent back to: the consent is given at once by the emulator.
pub(crate) fn follow_consent(authorization_url: &str) -> Option<String> {
    get(authorization_url)?.header("location").map(str::to_owned)
}

fn send<'a>(
    method: &str,
    url: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: &str,
) -> Option<Answer> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(host).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(answer.get(..end)?.to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: answer.get(end + 4..)?.to_vec() };
    let promised =
        answer.header("content-length").map_or(Some(answer.body.len()), |text| text.parse().ok())?;
    (promised == answer.body.len()).then_some(answer)
}
