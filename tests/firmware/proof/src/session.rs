//! The core: everything that it offers.

use core::hint::black_box;

use evergrant::answer::Answer;
use evergrant::api::{fault_code, judge};
use evergrant::consent::{Signed, SignedAsk};
use evergrant::diagnosis::{Cause, Surroundings};
use evergrant::{
    AccessToken, App, AppError, Ask, Callback, CallbackError, ClientSecret, Error, Input, Keys, MergeError,
    Provider, Reason, Record, RecordError, Refused, Request, Scopes, Session, StateKey, Time, TooLong,
    signed_url,
};

use crate::{any, show};

type Small = Session<1280, 128, 128>;

pub(crate) const KEYS: Keys<'static> = Keys {
    client_id: "client",
    client_secret: ClientSecret::new("secret"),
    redirect_uris: &["https://app.example/cb"],
    further_scopes: &["a"],
    state_key: Some(StateKey::new(&[7; 32])),
};

/// Everything but the texts of the errors.
pub fn session() {
    let provider = any(Provider::INTUIT_SANDBOX);
    let secret = any(ClientSecret::new(any("secret")));
    let state_key = any(StateKey::new(any(&[7; 32])));
    let keys = any(Keys { client_secret: secret, state_key: Some(state_key), ..any(KEYS) });
    let app = match App::new(&provider, keys) {
        Ok(app) => any(app),
        Err(error) => {
            let _ = black_box(error);
            return;
        }
    };
    app_views(&app);
    parts();
    let mut session: Small = Small::new(&app);
    let now = any(Time::UNSET);
    // One input, of which nothing is known: it may be any of them.
    let ask = Ask { redirect_uri: any("u"), scopes: any(Scopes::NONE), random: any([0; 64]) };
    let input = if any(false) {
        Input::Ask(ask)
    } else if any(false) {
        Input::Callback { text: any("code=1"), binding: any(&[1]) }
    } else {
        any(Input::Tick)
    };
    if let Ok(effects) = black_box(session.handle(&app, now, input))
        && let Some(call) = any(effects).send
    {
        if let Ok(request) = session.request(&app, any(call)) {
            requests(request);
        }
    }
    views(&session, &app, now);
    stored(&mut session, &app, now);
    signed(&app, now);
}

fn app_views(app: &App<'_>) {
    black_box((app.provider(), app.client_id(), app.fingerprint(), app.redirect_uris()));
    let scopes = black_box(app.scopes(any(["a", "b"]))).unwrap_or(Scopes::NONE);
    for name in app.scope_names(any(scopes)) {
        black_box(name);
    }
    let both = scopes.with(any(Scopes::PAYMENT)).within(any(Scopes::ACCOUNTING));
    black_box((both.contains(scopes), both.is_empty(), both.concern_company()));
}

fn parts() {
    let body: &[u8] = any(b"{}");
    black_box((judge(any(401), body), fault_code(body)));
    let answer = black_box(Answer::scan(body, any("a"), any("b")));
    if let Some(text) = answer.access_token {
        black_box((text.length(), text.is(any("x"))));
        text.bytes().for_each(|byte| {
            let _ = black_box(byte);
        });
    }
    if let Ok(callback) = black_box(Callback::parse(any("a=b"), any("realmId")))
        && let Some(code) = callback.code
    {
        black_box(code.is(any("x")));
        code.decode().for_each(|byte| {
            let _ = black_box(byte);
        });
    }
    let time = Time::from_unix(any(0)).plus(any(1)).minus(any(2));
    black_box((time.unix(), time.is_set(), time.since(any(Time::EARLIEST))));
    black_box(Time::from_http_date(any("Sun, 06 Nov 1994 08:49:37 GMT")));
}

fn requests(request: Request<'_>) {
    let request = any(request);
    black_box((request.method(), request.length()));
    let mut buffer = any([0; 64]);
    if let Ok(http) = black_box(request.write(any(&mut buffer))) {
        black_box((http.method(), http.url(), http.body()));
        http.headers().for_each(|header| {
            let _ = black_box(header);
        });
    }
}

fn views(session: &Small, app: &App<'_>, now: Time) {
    let mut buffer = any([0; 64]);
    let _ = black_box(session.authorization_url(app, any(&mut buffer)));
    black_box((session.phase(), session.due(app), session.realm(), session.scopes(), session.correlation()));
    if let Some(token) = session.access_token(now) {
        let token: AccessToken<'_> = any(token);
        black_box((token.expose(), token.serial(), token.seconds_left()));
        let _ = black_box(token.authorization(any(&mut buffer)));
        if let Ok(request) = Request::api(app, token, any("/x")) {
            black_box(evergrant_embedded::Talk::needed(&request));
            requests(request);
        }
        if let Ok(request) = Request::userinfo(app, token) {
            requests(request);
        }
    }
    if let Some(held) = session.phase().usable() {
        black_box((
            held.access_end(),
            held.rolling_end(),
            held.hard_end(),
            held.end(),
            held.access_left(now),
        ));
    }
    let around = any(Surroundings::default());
    if let Some(diagnosis) = black_box(session.diagnosis(now, around)) {
        for cause in diagnosis.causes() {
            let Cause { kind, .. } = any(*cause);
            black_box(kind.way_out());
        }
    }
}

fn stored(session: &mut Small, app: &App<'_>, now: Time) {
    let mut text = any([0; 64]);
    let _ = black_box(session.record(app).write(any(&mut text)));
    if let Ok(record) = any(Record::read(any(&text))) {
        black_box((record.revision(), record.generation(), record.realm(), record.environment()));
        black_box(record.phase());
        if let Ok(restored) = Small::restore(app, &record) {
            *session = any(restored);
        }
        let _ = black_box(session.load(app, &record));
        let _ = black_box(session.adopt(app, &record));
        let _ = black_box(session.merge(app, now, &record));
        let _ = black_box(session.succeed(app, &record));
    }
}

fn signed(app: &App<'_>, now: Time) {
    let ask = SignedAsk {
        redirect_uri: any("u"),
        scopes: any(Scopes::NONE),
        random: any([1; 16]),
        carry: any(&[2]),
        binding: any(&[3]),
    };
    let mut buffer = any([0; 64]);
    let _ = black_box(signed_url(app, now, &ask, any(&mut buffer)));
    if let Ok(signed) = black_box(Signed::open(app, any("s"), any(&[4]))) {
        black_box((signed.carry(), signed.made_at()));
    }
}

/// The texts of the errors, and of what explains them.
pub fn displays() {
    let error: Error = any(Error::NotSaved);
    black_box(error.fault());
    show(&error);
    show(&any::<Refused>(Refused::ClockUnset));
    show(&any::<Reason>(Reason::Expired));
    show(&any::<CallbackError>(CallbackError::NoQuery));
    show(&any::<AppError>(AppError::NoClientId));
    show(&any::<RecordError<'_>>(RecordError::Damaged));
    show(&any::<TooLong>(TooLong { field: evergrant::Field::Code, needed: 1, capacity: 0 }));
    show(&any::<MergeError<'_>>(MergeError::Refused(Refused::ClockUnset)));
    use evergrant::diagnosis::{Fact, Kind};
    let kind: Kind = any(Kind::Outage);
    show(&kind);
    let _: Option<Fact> = None;
}
