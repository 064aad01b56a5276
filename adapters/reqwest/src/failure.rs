//! reqwest's errors, as failures.

use std::io;

use evergrant_wire::Failure;

/// Of a request that may have left.
pub(crate) fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::Timeout } else { Failure::Broken }
}

/// Of a request that never left: what broke was the way to the server.
pub(crate) fn before_it_left(error: &reqwest::Error) -> Failure {
    match error {
        _ if error.is_builder() => Failure::Malformed,
        _ if is_of_tls(error) => Failure::Tls,
        _ if error.is_dns() => Failure::NoSuchHost,
        _ if error.is_timeout() => Failure::ConnectTimeout,
        _ => Failure::NoConnection,
    }
}

/// Whether rustls stands behind it. It speaks through an `io::Error` while the handshake runs, which hides what it holds from
/// `source`, and which may hold another one.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || held.is_some_and(|held| is_of_tls(held))
        || error.source().is_some_and(is_of_tls)
}
