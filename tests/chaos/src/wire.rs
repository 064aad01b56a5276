//! The offline Intuit's token endpoint, a request at a time: so that each can be held, lost, torn or answered late, to the
//! virtual second. The mind behind it is [`evergrant_emulator::authority`].

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use evergrant_emulator::authority::{ClientAuth, TokenAnswer, TokenRequest};
use serde_json::json;

use crate::app::{BASIC, CLIENT_ID, CLIENT_SECRET};

/// A request that has arrived. Dropped without an answer, its connection is closed.
pub(crate) struct Request {
    stream: TcpStream,
    /// Whose it is, and of which life of that worker.
    pub(crate) worker: usize,
    pub(crate) life: u32,
    pub(crate) token: TokenRequest,
}

impl Request {
    /// Reads the next request of that listener. `None`: whoever sent it was gone before it was whole.
    pub(crate) fn accept(listener: &TcpListener) -> Option<Self> {
        let (mut stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let text = read(&mut stream)?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        // POST /w<worker>.<life>/…
        let address = head.split(' ').nth(1)?.strip_prefix("/w")?;
        let (worker, rest) = address.split_once('.')?;
        let life = rest.split('/').next()?;
        let token = token_request(head, body);
        Some(Self { stream, worker: worker.parse().ok()?, life: life.parse().ok()?, token })
    }

    /// Answers. `false` where the other side is gone.
    pub(crate) fn answer(mut self, answer: &TokenAnswer, told: &str) -> bool {
        self.write(&reply(answer, told))
    }

    /// Half of the answer.
    pub(crate) fn tear(mut self, answer: &TokenAnswer, told: &str) {
        let whole = reply(answer, told);
        let body = whole.find("\r\n\r\n").map_or(0, |at| at + 4);
        self.write(&whole[..body + (whole.len() - body) / 2]);
    }

    pub(crate) fn refuse(mut self, told: &str) {
        self.write(&with_head(400, "application/json", told, r#"{"error":"invalid_grant"}"#));
    }

    pub(crate) fn unavailable(mut self, told: &str) {
        self.write(&with_head(503, "text/html", told, "<html>Service Unavailable</html>"));
    }

    fn write(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush()).is_ok()
    }
}

fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = std::str::from_utf8(&bytes).ok()?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len()
                >= header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
        {
            return Some(text.to_owned());
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn token_request(head: &str, body: &str) -> TokenRequest {
    let field = |name: &str| {
        let mut pairs = form_urlencoded::parse(body.as_bytes());
        pairs.find(|(found, _)| found == name).map_or_else(String::new, |(_, value)| value.into_owned())
    };
    let client = match header(head, "authorization") {
        Some(BASIC) => ClientAuth::basic(CLIENT_ID, CLIENT_SECRET),
        _ => ClientAuth::basic(CLIENT_ID, "wrong"),
    };
    if field("grant_type") == "refresh_token" {
        TokenRequest::refresh(client, field("refresh_token"))
    } else {
        TokenRequest::exchange(client, field("code"), field("redirect_uri"))
    }
}

fn reply(answer: &TokenAnswer, told: &str) -> String {
    match answer {
        Ok(tokens) => {
            let body = json!({
                "token_type": "bearer", "access_token": tokens.access_token, "expires_in": tokens.expires_in,
                "refresh_token": tokens.refresh_token,
                "x_refresh_token_expires_in": tokens.refresh_token_expires_in,
            });
            with_head(200, "application/json;charset=UTF-8", told, &body.to_string())
        }
        Err(error) => {
            let status = error.code.status();
            with_head(status, "application/json", told, &json!({ "error": error.code.as_str() }).to_string())
        }
    }
}

/// `told` is the time, as a worker is told it.
fn with_head(status: u16, kind: &str, told: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nintuit_tid: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len(),
        told.replace(' ', "-")
    )
}
