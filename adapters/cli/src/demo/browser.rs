//! The user's browser, as far as a redirect needs one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::failure::{Exit, Failure, Result};

/// What a visited address answered.
pub(super) struct Page {
    pub(super) location: Option<String>,
    pub(super) text: String,
}

/// Reads an address of this machine.
pub(super) fn visit(url: &str) -> Result<Page> {
    let bad =
        || Failure::new(Exit::Unexpected, "the demo's browser was sent to an address that it cannot read");
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
    // The listener is on IPv4 in any case.
    let address = if host == "localhost" { "127.0.0.1" } else { host };
    let mut stream = TcpStream::connect((address, port.parse::<u16>().map_err(|_| bad())?))?;
    stream.set_read_timeout(Some(Duration::from_secs(40)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let location = text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Ok(Page { location, text })
}

/// Consents: follows the redirects from the authorization URL to the page that says how it went. Gives the callback's
/// address, and the page.
pub(super) fn consent(url: &str) -> Result<(String, String)> {
    let refused = || Failure::new(Exit::Unexpected, "the offline Intuit did not redirect the browser");
    let callback = visit(url)?.location.ok_or_else(refused)?;
    let origin = crate::config::origin(&callback).to_owned();
    let landed = visit(&callback)?;
    let page = match landed.location {
        Some(path) => visit(&format!("{origin}{path}"))?.text,
        None => landed.text,
    };
    Ok((callback, page))
}
