//! ureq's errors, as failures.

use evergrant_wire::Failure;
use ureq::Timeout;

/// Of a request that may have left.
pub(crate) fn failure_of(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Malformed,
        ureq::Error::RequireHttpsOnly(_) => Failure::PlainHttp,
        ureq::Error::HostNotFound | ureq::Error::Timeout(Timeout::Resolve) => Failure::NoSuchHost,
        ureq::Error::Timeout(Timeout::Connect) => Failure::ConnectTimeout,
        ureq::Error::Timeout(_) => Failure::Timeout,
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => Failure::Proxy,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => Failure::Tls,
        // rustls speaks through an io::Error while the handshake runs.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Failure::Tls,
        _ => Failure::Broken,
    }
}

/// The same, of a request that never left: what broke was the way to the server.
pub(crate) const fn before_it_left(failure: Failure) -> Failure {
    match failure {
        Failure::Broken => Failure::NoConnection,
        Failure::Timeout => Failure::ConnectTimeout,
        _ => failure,
    }
}
