//! Whether something is an endpoint.

use std::net::IpAddr;

/// https, or plain http on loopback where that is allowed; with a host, and without credentials or a fragment.
pub(crate) fn is_endpoint(url: &str, loopback_http: bool) -> bool {
    let plain = url.len() <= 2_048
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte));
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !plain || url.contains('#') || authority.contains('@') {
        return false;
    }
    let Some(host) = host(authority) else { return false };
    match scheme {
        "https" => true,
        "http" => loopback_http && is_loopback(host),
        _ => false,
    }
}

/// The host of `host`, `host:port`, `[address]` or `[address]:port`.
fn host(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = rest.strip_prefix(':').map(|digits| digits.parse::<u16>().is_ok());
    (!host.is_empty() && (rest.is_empty() || port == Some(true))).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_endpoint;

    #[test]
    fn endpoints_are_https_or_loopback() {
        for good in ["https://id.example", "https://id.example:8443/a?b=c", "https://[2001:db8::1]/x"] {
            assert!(is_endpoint(good, false), "{good}");
        }
        for local in ["http://127.0.0.1:8000/x", "http://localhost/x", "http://[::1]:1/"] {
            assert!(is_endpoint(local, true) && !is_endpoint(local, false), "{local}");
        }
        for bad in [
            "",
            "https://",
            "https:///x",
            "http://id.example/x",
            "http://127.0.0.1.evil.example/",
            "http://localhost@evil.example/",
            "https://user@id.example/",
            "https://id.example/#x",
            "https://id.example/ x",
            "https://id.example/\n",
            "https://id.example:port/",
            "https://id.example:99999/",
            "https://[::1/",
            "https://id.example\\.evil.example/",
            "HTTPS://id.example/",
            "ftp://id.example/",
            "//id.example",
            "id.example",
        ] {
            assert!(!is_endpoint(bad, true), "{bad}");
        }
    }
}
