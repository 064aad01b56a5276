//! The peers, at the same work.

mod glue;
mod huskarl;
mod oauth2;
mod openidconnect;
mod stored;

use bench::Contestant;

/// All of them.
#[must_use]
pub fn peers() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(oauth2::Oauth2::new()),
        Box::new(openidconnect::Openidconnect::new()),
        Box::new(huskarl::Huskarl::new()),
        Box::new(glue::Glue::default()),
    ]
}

/// One grant's tokens as `oauth2` holds them, on the heap, and the size of what holds them.
#[must_use]
pub fn held() -> (Box<dyn std::any::Any>, usize) {
    (Box::new(oauth2::Oauth2::held()), size_of::<oauth2::Tokens>())
}
