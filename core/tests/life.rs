//! One grant from its consent to its end, by hand: what the crate manual promises, step by step.

use evergrant::{
    App, Ask, ClientSecret, Due, Effects, Error, Input, Keys, Provider, Reason, Received, Record, Refused,
    Scopes, Session, Tell, Time,
};

const KEYS: Keys<'static> = Keys {
    client_id: "client",
    client_secret: ClientSecret::new("secret"),
    redirect_uris: &["https://app.example/cb"],
    further_scopes: &[],
    state_key: None,
};
const START: Time = Time::from_unix(1_800_000_000);
const ASK: Ask<'static> =
    Ask { redirect_uri: "https://app.example/cb", scopes: Scopes::ACCOUNTING, random: [7; 64] };

fn app() -> App<'static> {
    App::new(&Provider::INTUIT_SANDBOX, KEYS).unwrap()
}

/// Carries out a store: through the record's bytes, as a real one would.
fn save(session: &mut Session, app: &App<'_>, now: Time, effects: Effects) {
    let Some(revision) = effects.store else { return };
    let mut buffer = [0; 2000];
    let record = Record::read(session.record(app).write(&mut buffer).unwrap()).unwrap();
    assert_eq!(record.revision(), revision);
    Session::<4096, 512, 512>::restore(app, &record).unwrap();
    let _ = session.handle(app, now, Input::Saved(revision)).unwrap();
}

fn answer(status: u16, body: &str) -> Received<'_> {
    Received::Answer { status, retry_after: None, correlation: Some("1-abc"), body: body.as_bytes() }
}

fn linked(app: &App<'_>) -> Session {
    let mut session = Session::new(app);
    let effects = session.handle(app, START, Input::Ask(ASK)).unwrap();
    assert_eq!(session.authorization_url(app, &mut [0; 600]), Err(Error::NotSaved));
    save(&mut session, app, START, effects);
    let mut buffer = [0; 600];
    let url = session.authorization_url(app, &mut buffer).unwrap();
    let state = url.split("state=").nth(1).unwrap();
    assert_eq!(state.len(), 43);
    let callback = format!("https://app.example/cb?code=A%2FB&realmId=123456789&state={state}#_=_");
    let effects = session.handle(app, START, Input::Callback { text: &callback, binding: &[] }).unwrap();
    let call = effects.send.unwrap();
    assert_eq!(session.request(app, call).err(), Some(Error::NotSaved));
    save(&mut session, app, START, effects);
    let mut buffer = [0; 800];
    let request = session.request(app, call).unwrap();
    assert_eq!(request.write(&mut [0; 10]).unwrap_err().needed, request.length());
    let http = request.write(&mut buffer).unwrap();
    assert_eq!(
        http.body(),
        "grant_type=authorization_code&code=A%2FB&redirect_uri=https%3A%2F%2Fapp.example%2Fcb"
    );
    assert!(http.headers().any(|header| header == ("authorization", "Basic Y2xpZW50OnNlY3JldA==")));
    // The same callback again is known, and changes nothing.
    let again = session.handle(app, START, Input::Callback { text: &callback, binding: &[] });
    assert_eq!(again, Err(Error::Refused(Refused::CodeSpent)));
    let body = r#"{"token_type":"bearer","access_token":"AT1","refresh_token":"RT1","expires_in":3600,
        "x_refresh_token_expires_in":8726400}"#;
    let effects = session.handle(app, START, Input::Answer(call, answer(200, body))).unwrap();
    assert_eq!(effects.tell, Some(Tell::Linked));
    assert!(session.access_token(START).is_none(), "I3: not durable yet");
    save(&mut session, app, START, effects);
    assert_eq!(session.access_token(START).unwrap().expose(), "AT1");
    assert_eq!(session.realm(), "123456789");
    session
}

#[test]
fn a_grant_lives_and_ends() {
    let app = app();
    let mut session = linked(&app);
    let later = START.plus(3_600);
    assert!(session.access_token(later).is_none());
    let effects = session.handle(&app, later, Input::Demand).unwrap();
    let call = effects.send.unwrap();
    save(&mut session, &app, later, effects);
    let effects = session.handle(&app, later, Input::Answer(call, Received::NoAnswer)).unwrap();
    let Some(Tell::AnswerLost { retry_at }) = effects.tell else { panic!("{effects:?}") };
    save(&mut session, &app, later, effects);
    assert_eq!(session.due(&app), Due::Tick(retry_at));
    let effects = session.handle(&app, retry_at, Input::Tick).unwrap();
    let call = effects.send.unwrap();
    save(&mut session, &app, retry_at, effects);
    let mut buffer = [0; 800];
    assert_eq!(
        session.request(&app, call).unwrap().write(&mut buffer).unwrap().body(),
        "grant_type=refresh_token&refresh_token=RT1"
    );
    let body = r#"{"refresh_token":"RT2","access_token":"AT2","expires_in":"3600","odd":{"a":[1,2]}}"#;
    let effects = session.handle(&app, retry_at, Input::Answer(call, answer(200, body))).unwrap();
    save(&mut session, &app, retry_at, effects);
    assert_eq!(session.access_token(retry_at).unwrap().expose(), "AT2");

    let effects = session.handle(&app, retry_at, Input::Revoke).unwrap();
    let call = effects.send.unwrap();
    save(&mut session, &app, retry_at, effects);
    let mut buffer = [0; 800];
    assert_eq!(session.request(&app, call).unwrap().write(&mut buffer).unwrap().body(), r#"{"token":"RT2"}"#);
    let effects = session.handle(&app, retry_at, Input::Answer(call, answer(200, ""))).unwrap();
    assert_eq!(effects.tell, Some(Tell::Closed(Reason::Revoked)));
    save(&mut session, &app, retry_at, effects);
    assert_eq!(session.due(&app), Due::Consent);
}

/// Through serde it is the same, in one order of its members and in another.
#[test]
#[cfg(feature = "serde")]
fn the_record_is_the_same_from_all_that_write_it() {
    let app = app();
    let session = linked(&app);
    let text = serde_json::to_string(&session.record(&app)).unwrap();
    let mut buffer = [0; 1000];
    let length = serde_json_core::to_slice(&session.record(&app), &mut buffer).unwrap();
    assert_eq!(&buffer[..length], text.as_bytes());
    assert_eq!(session.record(&app).write(&mut [0; 1000]).unwrap(), text.as_bytes());
    let (record, _) = serde_json_core::from_slice::<Record<'_>>(&buffer[..length]).unwrap();
    let back = Session::<64, 64, 64>::restore(&app, &record).unwrap();
    assert_eq!(back.phase(), session.phase());
    println!("{text} {} {} {}", text.len() - 6, size_of::<Session<0, 0, 0>>(), size_of::<evergrant::Phase>());
}
