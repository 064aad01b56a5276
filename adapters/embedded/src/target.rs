//! Where a request goes: what a transport must know of a URL, and nothing more.

use core::fmt;

/// A URL taken apart. It is the transport's business to reach [`host`](Self::host) and [`port`](Self::port), with TLS where
/// [`secure`](Self::secure) says so: certificate chain and name verified, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    secure: bool,
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// It is neither `https` nor plain `http` to this very machine, has no host, a port that is none, user info, or
    /// characters that would have to be encoded.
    pub fn parse(url: &'a str) -> Result<Self, TargetError> {
        let (secure, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(TargetError::Scheme);
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(TargetError::Characters);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        // A path of none is `/`; a query right behind the host is not worth the code.
        let path = if path.is_empty() { "/" } else { path };
        if authority.contains('@') || path.starts_with('?') {
            return Err(TargetError::Characters);
        }
        let (host, port) = split_port(authority, if secure { 443 } else { 80 })?;
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        if !secure && !is_loopback(host) {
            return Err(TargetError::PlainHttp);
        }
        Ok(Self { secure, authority, host, port, path })
    }

    /// Whether it must go through TLS.
    #[must_use]
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// The name to look up, and to verify the certificate against; an IPv6 address without its brackets.
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What goes into the `Host` header.
    #[must_use]
    pub const fn authority(&self) -> &'a str {
        self.authority
    }

    /// Path and query, from the first `/` on.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The same host, at its root.
    pub(crate) const fn root(self) -> Self {
        Self { path: "/", ..self }
    }
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), TargetError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once([']']).ok_or(TargetError::NoHost)?;
            (host, after.strip_prefix(':').or(if after.is_empty() { Some("") } else { None }))
        }
        None => match authority.split_once([':']) {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    match port {
        Some("") => Ok((host, default)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((host, digits.parse().map_err(|_| TargetError::Port)?))
        }
        _ => Err(TargetError::Port),
    }
}

fn is_loopback(host: &str) -> bool {
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    host == "localhost" || host == "::1" || (numeric && host.starts_with("127."))
}

/// Why a URL cannot be spoken to. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// It begins with neither `https://` nor `http://`.
    Scheme,
    /// It has user info, a fragment, or characters that must be encoded.
    Characters,
    /// There is no host.
    NoHost,
    /// The port is no number up to 65535.
    Port,
    /// Plain `http` is for loopback alone.
    PlainHttp,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the URL begins with neither https:// nor http://",
            Self::Characters => {
                "the URL has user info, a fragment, or characters that must be percent-encoded"
            }
            Self::NoHost => "the URL has no host",
            Self::Port => "the URL's port is not a number up to 65535",
            Self::PlainHttp => "plain http is for loopback alone: use https",
        })
    }
}

impl core::error::Error for TargetError {}

#[cfg(test)]
mod tests {
    use super::{Target, TargetError};

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("https://oauth.example/oauth2/v1?a=b").unwrap();
        assert_eq!((target.secure(), target.host(), target.port()), (true, "oauth.example", 443));
        assert_eq!((target.authority(), target.path()), ("oauth.example", "/oauth2/v1?a=b"));
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((target.host(), target.port(), target.path()), ("::1", 8080, "/"));
        assert_eq!(target.authority(), "[::1]:8080");
        assert_eq!(Target::parse("http://127.0.0.1:99/").unwrap().port(), 99);
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused() {
        for (url, error) in [
            ("ftp://a/", TargetError::Scheme),
            ("https://", TargetError::NoHost),
            ("https://:443/", TargetError::NoHost),
            ("https://[::1/", TargetError::NoHost),
            ("https://a:65536/", TargetError::Port),
            ("https://a:+1/", TargetError::Port),
            ("https://[::1]x/", TargetError::Port),
            ("https://u@a/", TargetError::Characters),
            ("https://a/\r\nx", TargetError::Characters),
            ("https://a/#x", TargetError::Characters),
            ("https://a?x", TargetError::Characters),
            ("http://example.com/", TargetError::PlainHttp),
            ("http://127.evil.example/", TargetError::PlainHttp),
            ("http://localhost.example/", TargetError::PlainHttp),
        ] {
            assert_eq!(Target::parse(url), Err(error), "{url}");
        }
    }
}
