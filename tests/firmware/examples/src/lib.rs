//! evergrant on a device, twice: a loop that blocks, and a task of embassy's. Both are given what is the board's own:
//! network, flash, counter.
#![no_std]

pub mod blocking;
pub mod embassy;

use evergrant::{App, AppError, ClientSecret, Keys, Provider};

/// What the vendor's portal shows for the app.
pub const KEYS: Keys<'static> = Keys {
    client_id: "from the portal",
    client_secret: ClientSecret::new("from the portal, kept in the device's secure storage"),
    redirect_uris: &["https://app.example/callback"],
    further_scopes: &[],
    state_key: None,
};

/// Production; `INTUIT_SANDBOX` while it is tried out.
pub const PROVIDER: Provider<'static> = Provider::INTUIT_PRODUCTION;

/// Checks the keys.
///
/// # Errors
/// They are not good.
pub fn app() -> Result<App<'static>, AppError> {
    App::new(&PROVIDER, KEYS)
}
