//! No secret comes out of a rendering (I6), and none stays in memory when it is replaced or gone; a refused input leaves
//! that memory bit for bit (I7).

#![allow(
    unsafe_code,
    reason = "the bytes of a session's memory are looked at from outside, which safe code cannot do"
)]

use std::fmt::Debug;
use std::mem::ManuallyDrop;

use evergrant::answer::Answer;
use evergrant::{
    App, Ask, Call, Callback, ClientSecret, Input, Keys, Provider, Received, Record, Request, Scopes,
    Session, Signed, SignedAsk, StateKey, Time, api,
};
use faq::world::{REALM, REDIRECT, START};

type Life = Session<96, 96, 96>;

const ACCESS: &str = "CANARY-access-4f1b";
const REFRESH: &str = "CANARY-refresh-9c2e";
const ROTATED: &str = "CANARY-rotated-77d0";
const CODE: &str = "CANARY-code-b3aa";
const NOW: Time = Time::from_unix(START);

fn app() -> App<'static> {
    of_client("client")
}

fn of_client(client_id: &'static str) -> App<'static> {
    let keys = Keys {
        client_id,
        client_secret: ClientSecret::new("CANARY-client-secret"),
        redirect_uris: &[REDIRECT],
        further_scopes: &[],
        state_key: Some(StateKey::new(b"CANARY-state-key-of-32-bytes-or-more")),
    };
    App::new(&Provider::INTUIT_SANDBOX, keys).unwrap()
}

/// Random bytes that can be found again: the state, and the PKCE verifier.
const RANDOM: [u8; 64] = *b"CANARY-state-random-32-bytes-aaaCANARY-verifier-rand-32-bytes-bb";

/// A session whose memory can be looked at, also after it was dropped.
struct Glass(Box<ManuallyDrop<Life>>);

impl Glass {
    /// In memory that was zero before: what a buffer does not use must not show what somebody else has left there.
    fn new(app: &App<'_>) -> Self {
        let mut room = Box::<ManuallyDrop<Life>>::new_zeroed();
        room.write(ManuallyDrop::new(Life::new(app)));
        // SAFETY: it was written just now.
        Self(unsafe { room.assume_init() })
    }

    /// All bytes of the session, padding included.
    fn bytes(&self) -> Vec<u8> {
        let at: *const u8 = (&raw const *self.0).cast();
        // SAFETY: the box owns that many bytes from there on, also after the value in them was dropped. Each is read by
        // itself and volatile, so that none is taken to be what it was before; they were zeroed when the box was made.
        (0..size_of::<Life>()).map(|index| unsafe { at.add(index).read_volatile() }).collect()
    }

    fn holds(&self, text: &[u8]) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text)
    }

    fn drop_in_place(&mut self) {
        // SAFETY: it is dropped once, and not used as a session afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }

    fn saved(&mut self, app: &App<'_>) {
        let revision = self.0.phase().revision;
        let _ = self.0.handle(app, NOW, Input::Saved(revision)).unwrap();
    }

    fn ask(&mut self, app: &App<'_>) {
        let ask = Ask { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, random: RANDOM };
        let _ = self.0.handle(app, NOW, Input::Ask(ask)).unwrap();
        self.saved(app);
    }

    fn call_back(&mut self, app: &App<'_>) -> Call {
        let mut buffer = [0; 600];
        let url = self.0.authorization_url(app, &mut buffer).unwrap();
        let state = url.split("state=").nth(1).unwrap();
        let text = format!("{REDIRECT}?code={CODE}&realmId={REALM}&state={state}");
        let effects = self.0.handle(app, NOW, Input::Callback { text: &text, binding: &[] }).unwrap();
        self.saved(app);
        effects.send.unwrap()
    }

    fn answer(&mut self, app: &App<'_>, now: Time, call: Call, refresh: &str) {
        let body = tokens(refresh);
        let received = Received::Answer {
            status: 200,
            retry_after: None,
            correlation: Some("1-tid"),
            body: body.as_bytes(),
        };
        let _ = self.0.handle(app, now, Input::Answer(call, received)).unwrap();
        self.saved(app);
    }

    fn linked(app: &App<'_>) -> Self {
        let mut glass = Self::new(app);
        glass.ask(app);
        let call = glass.call_back(app);
        glass.answer(app, NOW, call, REFRESH);
        glass
    }

    fn refreshing(app: &App<'_>) -> (Self, Call) {
        let mut glass = Self::linked(app);
        let effects = glass.0.handle(app, NOW.plus(3_600), Input::Refresh).unwrap();
        glass.saved(app);
        (glass, effects.send.unwrap())
    }
}

impl Drop for Glass {
    fn drop(&mut self) {
        let at: *mut u8 = (&raw mut *self.0).cast();
        // SAFETY: the box owns these bytes, and the session in it is not dropped by anybody after this.
        (0..size_of::<Life>()).for_each(|index| unsafe { at.add(index).write_volatile(0) });
    }
}

fn tokens(refresh: &str) -> String {
    format!(
        r#"{{"token_type":"bearer","access_token":"{ACCESS}","refresh_token":"{refresh}","expires_in":3600}}"#
    )
}

mod wiped {
    use super::*;

    /// The glass is clear: what is held can be seen, or the other tests would prove nothing.
    #[test]
    fn what_is_held_can_be_seen() {
        let app = app();
        let glass = Glass::linked(&app);
        assert!(glass.holds(ACCESS.as_bytes()) && glass.holds(REFRESH.as_bytes()));
        let mut glass = Glass::new(&app);
        glass.ask(&app);
        assert!(glass.holds(&RANDOM[..32]) && glass.holds(&RANDOM[32..]));
        let _ = glass.call_back(&app);
        assert!(glass.holds(CODE.as_bytes()));
    }

    #[test]
    fn the_code_and_what_was_asked_with_after_the_exchange() {
        let app = app();
        let glass = Glass::linked(&app);
        assert!(!glass.holds(b"CANARY-code"));
        assert!(!glass.holds(b"CANARY-state") && !glass.holds(b"CANARY-verifier"));
    }

    #[test]
    fn the_code_after_an_exchange_that_failed() {
        let app = app();
        for received in [
            Received::NoAnswer,
            Received::Answer {
                status: 400,
                retry_after: None,
                correlation: None,
                body: br#"{"error":"invalid_grant"}"#,
            },
        ] {
            let mut glass = Glass::new(&app);
            glass.ask(&app);
            let call = glass.call_back(&app);
            let _ = glass.0.handle(&app, NOW, Input::Answer(call, received)).unwrap();
            assert!(!glass.holds(b"CANARY-code"));
        }
    }

    #[test]
    fn the_old_tokens_after_a_rotation() {
        let app = app();
        for new in [ROTATED, "short", "CANARY-much-longer-than-the-one-that-was-there-before"] {
            let (mut glass, call) = Glass::refreshing(&app);
            glass.answer(&app, NOW.plus(3_600), call, new);
            assert!(glass.holds(new.as_bytes()));
            assert!(!glass.holds(REFRESH.as_bytes()));
            // Nor the end of it behind a shorter one.
            assert!(!glass.holds(&REFRESH.as_bytes()[8..]));
        }
    }

    #[test]
    fn the_access_token_after_a_rejection_and_at_the_end() {
        let app = app();
        let mut glass = Glass::linked(&app);
        let serial = glass.0.phase().usable().unwrap().serial;
        let meaning = api::Meaning::TokenExpired;
        let _ = glass.0.handle(&app, NOW.plus(90), Input::Api { serial, meaning }).unwrap();
        assert!(!glass.holds(b"CANARY-access"));
        let mut glass = Glass::linked(&app);
        let _ = glass.0.handle(&app, NOW.plus(8_640_000), Input::Tick).unwrap();
        assert!(!glass.holds(b"CANARY-access"));
        assert!(glass.holds(REFRESH.as_bytes()), "the refresh token stays until a consent or the user (I4)");
    }

    #[test]
    fn everything_after_a_revocation() {
        let app = app();
        let mut glass = Glass::linked(&app);
        glass.ask(&app);
        let call = glass.0.handle(&app, NOW, Input::Revoke).unwrap().send.unwrap();
        glass.saved(&app);
        assert!(!glass.holds(b"CANARY-access"));
        let done = Received::Answer { status: 200, retry_after: None, correlation: None, body: b"" };
        let _ = glass.0.handle(&app, NOW, Input::Answer(call, done)).unwrap();
        assert!(!glass.holds(b"CANARY"));
    }

    #[test]
    fn everything_when_it_is_dropped() {
        let app = app();
        let mut glass = Glass::linked(&app);
        glass.ask(&app);
        let _ = glass.call_back(&app);
        glass.drop_in_place();
        assert!(!glass.holds(b"CANARY"), "{:?}", String::from_utf8_lossy(&glass.bytes()));
    }

    /// A newer record in the place of what is in memory: what was there goes as well.
    #[test]
    fn what_a_newer_record_replaces() {
        let app = app();
        let (mut newer, call) = Glass::refreshing(&app);
        newer.answer(&app, NOW.plus(3_600), call, ROTATED);
        let text = faq::world::text(&newer.0.record(&app));
        let record = Record::read(text.as_bytes()).unwrap();
        let mut glass = Glass::linked(&app);
        assert_eq!(glass.0.adopt(&app, &record), Ok(true));
        assert!(glass.holds(ROTATED.as_bytes()) && !glass.holds(REFRESH.as_bytes()));
    }
}

mod refused {
    use super::*;

    fn inputs() -> Vec<Input<'static>> {
        let call = |number, generation, purpose| Call { number, generation, purpose };
        let mut all = vec![
            Input::Tick,
            Input::Demand,
            Input::Refresh,
            Input::Disconnected,
            Input::Revoke,
            Input::Callback { text: "?code=x&state=y&realmId=1", binding: &[] },
            Input::Callback { text: "?error=x", binding: &[] },
            Input::Callback { text: "", binding: &[] },
            Input::Ask(Ask {
                redirect_uri: "https://other.example/",
                scopes: Scopes::OPENID,
                random: [1; 64],
            }),
            Input::Ask(Ask { redirect_uri: REDIRECT, scopes: Scopes::NONE, random: [1; 64] }),
            Input::Ask(Ask { redirect_uri: REDIRECT, scopes: Scopes::OPENID, random: [1; 64] }),
            Input::Saved(0),
        ];
        for serial in 0..4 {
            all.push(Input::Api { serial, meaning: api::Meaning::TokenExpired });
        }
        const TOO_LONG: &str = concat!(
            r#"{"access_token":"a","refresh_token":"0123456789012345678901234567890123456789012345678901234567890"#,
            r#"1234567890123456789012345678901234567890123456789"}"#
        );
        for number in 0..4 {
            for generation in 0..2 {
                for purpose in
                    [evergrant::Purpose::Exchange, evergrant::Purpose::Refresh, evergrant::Purpose::Revoke]
                {
                    for (status, body) in
                        [(200, TOO_LONG), (200, ""), (400, r#"{"error":"invalid_grant"}"#), (503, "")]
                    {
                        let body = body.as_bytes();
                        let answer =
                            Received::Answer { status, retry_after: None, correlation: Some("t"), body };
                        all.push(Input::Answer(call(number, generation, purpose), answer));
                    }
                    all.push(Input::Answer(call(number, generation, purpose), Received::NotSent));
                    all.push(Input::Answer(call(number, generation, purpose), Received::NoAnswer));
                }
            }
        }
        all
    }

    /// A phase by name, and how a session comes into it.
    type Way = (&'static str, Box<dyn Fn() -> Glass>);

    fn sessions() -> Vec<Way> {
        let app = app();
        let asked = move || {
            let mut glass = Glass::new(&app);
            glass.ask(&app);
            glass
        };
        let exchanging = move || {
            let mut glass = asked();
            let _ = glass.call_back(&app);
            glass
        };
        let uncertain = move || {
            let (mut glass, call) = Glass::refreshing(&app);
            let _ = glass.0.handle(&app, NOW.plus(3_600), Input::Answer(call, Received::NoAnswer)).unwrap();
            glass
        };
        let over = move || {
            let mut glass = Glass::new(&app);
            glass.ask(&app);
            let call = glass.call_back(&app);
            let _ = glass.0.handle(&app, NOW, Input::Answer(call, Received::NoAnswer)).unwrap();
            glass
        };
        let unsent = move || {
            let mut glass = asked();
            let call = glass.call_back(&app);
            let _ = glass.0.handle(&app, NOW, Input::Answer(call, Received::NotSent)).unwrap();
            glass
        };
        let suspect = move || {
            let (mut glass, call) = Glass::refreshing(&app);
            let body = br#"{"error":"invalid_grant"}"#;
            let refused = Received::Answer { status: 400, retry_after: None, correlation: None, body };
            let _ = glass.0.handle(&app, NOW.plus(3_600), Input::Answer(call, refused)).unwrap();
            glass
        };
        let closed = move || {
            let mut glass = Glass::linked(&app);
            let _ = glass.0.handle(&app, NOW.plus(9_000_000), Input::Tick).unwrap();
            glass
        };
        let revoking = move || {
            let mut glass = Glass::linked(&app);
            let _ = glass.0.handle(&app, NOW, Input::Revoke).unwrap();
            glass
        };
        let unrevoked = move || {
            let mut glass = revoking();
            let call = glass.0.phase().in_flight().unwrap();
            let _ = glass.0.handle(&app, NOW, Input::Answer(call, Received::NoAnswer)).unwrap();
            glass
        };
        vec![
            ("new", Box::new(move || Glass::new(&app))),
            ("asked", Box::new(asked)),
            ("unsent", Box::new(unsent)),
            ("suspect", Box::new(suspect)),
            ("candidates", Box::new(move || full(&app))),
            ("unrevoked", Box::new(unrevoked)),
            ("exchanging", Box::new(exchanging)),
            ("over", Box::new(over)),
            ("linked", Box::new(move || Glass::linked(&app))),
            ("refreshing", Box::new(move || Glass::refreshing(&app).0)),
            ("uncertain", Box::new(uncertain)),
            ("revoking", Box::new(revoking)),
            ("closed", Box::new(closed)),
        ]
    }

    /// What another process has stored that got these tokens.
    fn elsewhere(app: &App<'_>, refresh: &str) -> String {
        let (mut glass, call) = Glass::refreshing(app);
        glass.answer(app, NOW.plus(3_600), call, refresh);
        faq::world::text(&glass.0.record(app))
    }

    /// With as many candidates as there is room for.
    fn full(app: &App<'_>) -> Glass {
        let (mut glass, call) = Glass::refreshing(app);
        glass.answer(app, NOW.plus(3_600), call, ROTATED);
        for token in ["CANARY-third", "CANARY-fourth"] {
            let text = elsewhere(app, token);
            let record = Record::read(text.as_bytes()).unwrap();
            let _ = glass.0.merge(app, NOW.plus(3_600), &record).unwrap();
            glass.saved(app);
        }
        glass
    }

    /// Records that cannot be taken, or not by every session: by one that has no room, for another client, with a letter
    /// that is another one now, with a token that does not fit.
    fn records(app: &App<'_>) -> Vec<String> {
        let other = of_client("other");
        let good = elsewhere(app, ROTATED);
        let long = elsewhere(app, &"r".repeat(90));
        vec![
            elsewhere(app, "CANARY-fifth"),
            elsewhere(&other, ROTATED),
            good.replacen("rotated", "rotates", 1),
            long.replace(&"r".repeat(90), &"r".repeat(97)),
        ]
    }

    /// I7, for records: what is not taken in by [`Session::load`], [`Session::adopt`] or [`Session::merge`].
    #[test]
    fn a_refused_record_leaves_every_byte() {
        let app = app();
        let ways: [fn(&mut Life, &App<'static>, &Record<'static>) -> bool; 3] = [
            |life, app, record| life.load(app, record).is_err(),
            |life, app, record| life.adopt(app, record).is_err(),
            |life, app, record| life.merge(app, NOW.plus(3_600), record).is_err(),
        ];
        for text in records(&app) {
            let record = Record::read(text.leak().as_bytes()).unwrap();
            let record: &'static Record<'static> = Box::leak(Box::new(record));
            let mut refused = 0;
            for (name, make) in sessions() {
                for way in ways {
                    let mut glass = make();
                    let before = glass.bytes();
                    if way(&mut glass.0, &app, record) {
                        refused += 1;
                        assert!(
                            glass.bytes() == before,
                            "{name}: a record was refused and changed something"
                        );
                    }
                }
            }
            assert!(refused > 0, "taken by all");
        }
    }

    /// I7, for every input in every phase that a session comes through: what is refused leaves its memory as it was.
    #[test]
    fn a_refused_input_leaves_every_byte() {
        let app = app();
        let mut refused = 0;
        for (name, make) in sessions() {
            for input in inputs() {
                for now in [NOW.plus(3_600), Time::UNSET] {
                    let mut glass = make();
                    let before = glass.bytes();
                    if glass.0.handle(&app, now, input).is_err() {
                        refused += 1;
                        assert!(
                            glass.bytes() == before,
                            "{name}: {input:?} was refused and changed something"
                        );
                    }
                }
            }
        }
        assert!(refused > 500, "{refused}");
    }
}

mod rendered {
    use super::*;

    fn clean(text: &str) {
        assert!(!text.contains("CANARY"), "{text}");
        // Nor as numbers, as a derived rendering of bytes would have it.
        assert!(!text.contains("67, 65, 78, 65, 82, 89"), "{text}");
    }

    fn shown(value: &impl Debug) {
        clean(&format!("{value:?} {value:#?}"));
    }

    /// Everything that has a `Debug`, in every phase that a session comes through.
    #[test]
    fn nothing_shows_a_secret() {
        let app = app();
        shown(&app);
        shown(&ClientSecret::new("CANARY"));
        shown(&StateKey::new(b"CANARY"));
        let mut glass = Glass::new(&app);
        show(&app, &glass);
        glass.ask(&app);
        show(&app, &glass);
        let call = glass.call_back(&app);
        show(&app, &glass);
        request(&app, &glass, call);
        glass.answer(&app, NOW, call, REFRESH);
        show(&app, &glass);
        let (mut glass, call) = Glass::refreshing(&app);
        show(&app, &glass);
        request(&app, &glass, call);
        let _ = glass.0.handle(&app, NOW.plus(3_600), Input::Answer(call, Received::NoAnswer)).unwrap();
        show(&app, &glass);
        glass.saved(&app);
        let call = glass.0.handle(&app, NOW.plus(3_600), Input::Revoke).unwrap().send.unwrap();
        glass.saved(&app);
        request(&app, &glass, call);
        show(&app, &glass);
    }

    fn show(app: &App<'_>, glass: &Glass) {
        shown(&*glass.0);
        shown(&glass.0.record(app));
        shown(&glass.0.phase());
        shown(&glass.0.access_token(NOW));
        shown(&glass.0.due(app));
        shown(&glass.0.diagnosis(NOW, evergrant::diagnosis::Surroundings::default()));
        let text = faq::world::text(&glass.0.record(app));
        let record = Record::read(text.as_bytes()).unwrap();
        shown(&record);
        if let Some(token) = glass.0.access_token(NOW) {
            let api = Request::api(app, token, "/v3").unwrap();
            shown(&api);
            let mut buffer = [0; 400];
            shown(&api.write(&mut buffer).unwrap());
        }
    }

    fn request(app: &App<'_>, glass: &Glass, call: Call) {
        let request = glass.0.request(app, call).unwrap();
        shown(&request);
        shown(&call);
        let mut buffer = [0; 800];
        shown(&request.write(&mut buffer).unwrap());
        let too_long = request.write(&mut buffer[..10]).unwrap_err();
        shown(&too_long);
        clean(&too_long.to_string());
    }

    #[test]
    fn neither_do_inputs_answers_and_errors() {
        let app = app();
        let body = tokens(REFRESH);
        let received =
            Received::Answer { status: 200, retry_after: None, correlation: None, body: body.as_bytes() };
        shown(&received);
        shown(&Input::Ask(Ask { redirect_uri: REDIRECT, scopes: Scopes::OPENID, random: RANDOM }));
        let answer = Answer::scan(body.as_bytes(), "", "");
        shown(&answer);
        shown(&answer.access_token);
        let text = format!("{REDIRECT}?code={CODE}&state=CANARY&realmId=1&error=CANARY&iss=CANARY");
        let callback = Callback::parse(&text, "realmId").unwrap();
        shown(&callback);
        shown(&callback.code);
        shown(&callback.code.unwrap().decode());
        for wrong in [
            text.as_str(),
            "?code=CANARY&code=CANARY",
            "?code=CANARY",
            "?code=CANARY&state=CANARY",
            "?error=CANARY&state=CANARY",
            "CANARY",
        ] {
            for glass in [Glass::new(&app), Glass::linked(&app), Glass::refreshing(&app).0] {
                let mut glass = glass;
                let error = glass.0.handle(&app, NOW, Input::Callback { text: wrong, binding: b"CANARY" });
                let error = error.unwrap_err();
                shown(&error);
                clean(&error.to_string());
            }
        }
    }

    /// Whoever logs inputs would log codes otherwise.
    #[test]
    fn an_input_with_a_callback_shows_nothing_of_it() {
        shown(&Input::Callback { text: "?code=CANARY-code&state=CANARY-state", binding: b"CANARY" });
    }

    #[test]
    fn signed_states_and_damaged_records() {
        let app = app();
        let ask = SignedAsk {
            redirect_uri: REDIRECT,
            scopes: Scopes::OPENID,
            random: *b"CANARY-random-16",
            carry: b"cart",
            binding: b"CANARY-cookie",
        };
        shown(&ask);
        let mut buffer = [0; 800];
        let url = evergrant::signed_url(&app, NOW, &ask, &mut buffer).unwrap();
        clean(url);
        let state = faq::bridge::browse(url).state.unwrap();
        let opened = Signed::open(&app, &state, b"CANARY-cookie").unwrap();
        shown(&opened);
        assert!(!format!("{opened:?}").contains("verifier"), "the PKCE verifier is a secret as well");
        shown(&Signed::open(&app, &state, b"CANARY-other").unwrap_err());
        let glass = Glass::linked(&app);
        let text = faq::world::text(&glass.0.record(&app));
        for at in (0..text.len()).step_by(3) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(damaged) = String::from_utf8(bytes) else { continue };
            let Ok(record) = Record::read(damaged.as_bytes()) else { continue };
            if let Err(error) = Life::restore(&app, &record) {
                shown(&error);
                clean(&error.to_string());
            }
        }
    }

    /// A session with too little room says how much it needs, and not for what.
    #[test]
    fn too_small_a_session() {
        let app = app();
        let glass = Glass::linked(&app);
        let text = faq::world::text(&glass.0.record(&app));
        let record = Record::read(text.as_bytes()).unwrap();
        let error = Session::<4, 4, 4>::restore(&app, &record).err().unwrap();
        shown(&error);
        clean(&error.to_string());
    }
}
