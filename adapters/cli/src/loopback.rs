//! The port that a redirect comes in at (RFC 8252 §7.3, §8.3): on loopback, open only while a consent is pending.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Result};

/// Longer requests are not read.
const REQUEST_BYTES: usize = 16 * 1024;
/// Where the browser ends up: an address with nothing in it (RFC 6749 §3.1.2.5).
const DONE: &str = "/evergrant/done";

/// Listens until it is dropped.
pub(crate) struct Loopback {
    path: String,
    requests: Receiver<Arrived>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A request that came in.
struct Arrived {
    stream: TcpStream,
    /// Path and query. A code may be in it.
    target: Zeroizing<String>,
}

/// A redirect, waiting for its page.
pub(crate) struct Redirected {
    stream: TcpStream,
    /// Its query.
    pub(crate) query: Zeroizing<String>,
}

/// Whether a redirect URI can be listened to here: its port and path.
pub(crate) fn port_and_path(redirect_uri: &str) -> Option<(u16, &str)> {
    let rest = redirect_uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    here.then_some((port, if path.is_empty() { "/" } else { path }))
}

impl Loopback {
    /// Opens the port, on both of loopback's addresses where there are both.
    pub(crate) fn listen(port: u16, path: &str) -> Result<Self> {
        let bind = |ip: IpAddr| TcpListener::bind(SocketAddr::new(ip, port));
        let first = bind(Ipv4Addr::LOCALHOST.into()).map_err(|error| {
            Failure::new(Exit::NotNow, format!("port {port} of this machine cannot be listened at: {error}"))
                .or("end the program that holds it, register another redirect URI, or use --no-browser")
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, requests) = channel();
        let listeners = [Some(first), bind(Ipv6Addr::LOCALHOST.into()).ok()];
        let mut threads = Vec::new();
        for listener in listeners.into_iter().flatten() {
            listener.set_nonblocking(true)?;
            let (sender, stop) = (sender.clone(), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || accept(&listener, &sender, &stop)));
        }
        Ok(Self { path: path.to_owned(), requests, stop, threads })
    }

    /// The next redirect; `None` where none comes before `until`. Whatever else asks is turned away.
    pub(crate) fn next(&self, until: Instant) -> Option<Redirected> {
        while let Some(Arrived { mut stream, target }) = self.receive(until) {
            match target.split_once('?') {
                Some((path, query)) if path == self.path => {
                    return Some(Redirected { stream, query: Zeroizing::new(query.to_owned()) });
                }
                _ => {
                    let _ = respond(&mut stream, "404 Not Found", "", "");
                }
            }
        }
        None
    }

    /// Answers the redirect: away from the address that has the code in it, to a page that says how it went.
    pub(crate) fn answer(&self, mut redirected: Redirected, title: &str, text: &str) {
        let location = format!("location: {DONE}\r\n");
        if respond(&mut redirected.stream, "303 See Other", &location, "").is_err() {
            return;
        }
        drop(redirected);
        let until = Instant::now() + Duration::from_secs(3);
        while let Some(Arrived { mut stream, target }) = self.receive(until) {
            if *target == DONE {
                let _ = respond(&mut stream, "200 OK", "", &page(title, text));
                return;
            }
            let _ = respond(&mut stream, "404 Not Found", "", "");
        }
    }

    fn receive(&self, until: Instant) -> Option<Arrived> {
        self.requests.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, sender: &Sender<Arrived>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            // Browsers open connections ahead of need and say nothing on them: each is read by itself.
            Ok((stream, _)) => {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    if let Some(arrived) = read(stream) {
                        let _ = sender.send(arrived);
                    }
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn read(mut stream: TcpStream) -> Option<Arrived> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut buffer = Zeroizing::new(vec![0; REQUEST_BYTES]);
    let mut length = 0;
    loop {
        let count = stream.read(buffer.get_mut(length..)?).ok().filter(|count| *count > 0)?;
        length += count;
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(buffer.get(..length)?).ok()?.is_complete() {
            let target = Zeroizing::new(request.path.filter(|_| request.method == Some("GET"))?.to_owned());
            return Some(Arrived { stream, target });
        }
    }
}

/// Nothing of it is kept, framed or told to other places.
fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\n\
         content-security-policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}

fn page(title: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:18px/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em;color:#222;\
         background:#fafafa}}h1{{font-weight:500}}p{{color:#555}}</style>\
         <h1>{title}</h1><p>{text}</p><p>You can close this window.</p></html>",
        title = escaped(title),
        text = escaped(text)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_can_be_listened_to() {
        assert_eq!(port_and_path("http://localhost:8000/callback"), Some((8_000, "/callback")));
        assert_eq!(port_and_path("http://127.0.0.1:81"), Some((81, "/")));
        assert_eq!(port_and_path("http://[::1]:82/a/b"), Some((82, "/a/b")));
        assert_eq!(port_and_path("http://[::1]/"), Some((80, "/")));
        for elsewhere in ["https://localhost/cb", "http://example.com/cb", "http://localhost.example/cb"] {
            assert_eq!(port_and_path(elsewhere), None, "{elsewhere}");
        }
    }

    fn get(port: u16, target: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_redirect_ends_at_a_clean_address_and_the_port_is_closed_after_it() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let loopback = Loopback::listen(port, "/cb").unwrap();
        // A browser's connection ahead of need holds nobody up.
        let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let browser = std::thread::spawn(move || {
            assert!(get(port, "/favicon.ico").starts_with("HTTP/1.1 404"));
            let first = get(port, "/cb?code=canary&state=s");
            assert!(first.starts_with("HTTP/1.1 303 See Other\r\nlocation: /evergrant/done\r\n"), "{first}");
            assert!(!first.contains("canary"));
            let page = get(port, DONE);
            assert!(page.contains("<h1>Well &amp; good</h1>") && !page.contains("canary"), "{page}");
        });
        let redirected = loopback.next(Instant::now() + Duration::from_secs(5)).unwrap();
        assert_eq!(*redirected.query, "code=canary&state=s");
        loopback.answer(redirected, "Well & good", "text");
        browser.join().unwrap();
        drop((loopback, silent));
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
