//! What the tests share: an app, a session with tokens, a store in memory, a future's driver.
#![allow(dead_code)] // Each test takes what it needs.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use evergrant::{App, Ask, ClientSecret, Input, Keys, Provider, Received, Scopes, Session, Time};

pub(crate) const KEYS: Keys<'static> = Keys {
    client_id: "ABemulatorClient",
    client_secret: ClientSecret::new("emulator-secret"),
    redirect_uris: &["http://localhost:8000/callback"],
    further_scopes: &[],
    state_key: None,
};
pub(crate) const NOW: Time = Time::from_unix(1_800_000_000);

pub(crate) fn app() -> App<'static> {
    App::new(&Provider::INTUIT_SANDBOX, KEYS).unwrap()
}

/// A session that holds the access token `AT-1`.
pub(crate) fn linked(app: &App<'_>) -> Session {
    let mut session: Session = Session::new(app);
    let ask = Ask { redirect_uri: KEYS.redirect_uris[0], scopes: Scopes::ACCOUNTING, random: [7; 64] };
    let effects = session.handle(app, NOW, Input::Ask(ask)).unwrap();
    let _ = session.handle(app, NOW, Input::Saved(effects.store.unwrap())).unwrap();
    let mut buffer = [0; 1024];
    let url = session.authorization_url(app, &mut buffer).unwrap();
    let query = format!("code=C1&realmId=9130347&state={}", url.split("state=").last().unwrap());
    let effects = session.handle(app, NOW, Input::Callback { text: &query, binding: &[] }).unwrap();
    let _ = session.handle(app, NOW, Input::Saved(effects.store.unwrap())).unwrap();
    let body = br#"{"token_type":"bearer","access_token":"AT-1","refresh_token":"RT-1","expires_in":3600}"#;
    let answer = Received::Answer { status: 200, retry_after: None, correlation: None, body };
    let effects = session.handle(app, NOW, Input::Answer(effects.send.unwrap(), answer)).unwrap();
    let _ = session.handle(app, NOW, Input::Saved(effects.store.unwrap())).unwrap();
    session
}

/// Runs a future that is only ever waiting for itself, for at most so many polls; `None`: dropped unfinished.
pub(crate) fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    poll_times(future, usize::MAX).unwrap()
}
