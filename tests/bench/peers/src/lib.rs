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

/// The heap that one grant's tokens take in `oauth2`, to be dropped by who weighs it, and the size of what holds them.
#[must_use]
pub fn held() -> (Box<dyn std::any::Any>, usize) {
    let tokens = oauth2::Oauth2::held();
    (Box::new(tokens), size_of::<oauth2::Tokens>())
}
