//! The one app of a run. Its secrets are worth nothing.

use evergrant::{ClientSecret, Keys, Provider, StateKey};

pub(crate) const CLIENT_ID: &str = "client";
pub(crate) const CLIENT_SECRET: &str = "secret";
pub(crate) const REDIRECT_URI: &str = "https://app.example/callback";
const STATE_KEY: &[u8] = b"a key of thirty-two bytes, exactly";
pub(crate) const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(crate) const SCOPE: &str = "com.intuit.quickbooks.accounting";
/// `Authorization` of every token request.
pub(crate) const BASIC: &str = "Basic Y2xpZW50OnNlY3JldA==";

/// The app's keys.
pub(crate) fn keys() -> Keys<'static> {
    Keys {
        client_id: CLIENT_ID,
        client_secret: ClientSecret::new(CLIENT_SECRET),
        redirect_uris: &[REDIRECT_URI],
        further_scopes: &[],
        state_key: Some(StateKey::new(STATE_KEY)),
    }
}

/// The provider that a worker speaks to: Intuit's sandbox at another address.
pub(crate) fn provider(authority: &str) -> Provider<'_> {
    Provider { token_endpoint: authority, loopback_http: true, ..Provider::INTUIT_SANDBOX }
}
