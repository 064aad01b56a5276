//! One grant from its consent to its end, by hand: what the crate manual promises, step by step.

use evergrant::phase::Grant;
use evergrant::{
    App, Ask, ClientSecret, Due, Effects, Error, Input, Keys, MergeError, Provider, Reason, Received, Record,
    Refused, Scopes, Session, Tell, Time,
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

/// What is stored of a session.
fn stored(session: &Session, app: &App<'_>) -> Vec<u8> {
    session.record(app).write(&mut [0; 2000]).unwrap().to_vec()
}

/// A session whose refresh is in flight, its intent stored; what another process makes of that record a day later, when it
/// holds the answer for lost; and the answer that came all the same.
fn parted(app: &App<'_>, body: &str) -> (Session, Vec<u8>, Time) {
    let mut ours = linked(app);
    let later = START.plus(4_000);
    let effects = ours.handle(app, later, Input::Demand).unwrap();
    let call = effects.send.unwrap();
    save(&mut ours, app, later, effects);
    let intent = stored(&ours, app);
    let mut theirs: Session = Session::restore(app, &Record::read(&intent).unwrap()).unwrap();
    let much_later = later.plus(90_000);
    let effects = theirs.handle(app, much_later, Input::Tick).unwrap();
    assert_eq!(effects.tell, Some(Tell::Closed(Reason::AnswerLost)));
    save(&mut theirs, app, much_later, effects);
    let _ = ours.handle(app, later, Input::Answer(call, answer(200, body))).unwrap();
    (ours, stored(&theirs, app), much_later)
}

/// I5: an answer that left the token as it was is an answer all the same. The process that had it knows better than the one
/// that held it for lost.
#[test]
fn a_grant_that_another_process_gave_up_lives_by_the_answer_that_came_here() {
    let app = app();
    let body = r#"{"token_type":"bearer","access_token":"AT2","refresh_token":"RT1","expires_in":3600}"#;
    let (mut ours, theirs, now) = parted(&app, body);
    let record = Record::read(&theirs).unwrap();
    let effects = ours.merge(&app, now, &record).unwrap();
    assert!(effects.store.is_some_and(|revision| revision > record.revision()));
    save(&mut ours, &app, now, effects);
    assert!(ours.handle(&app, now, Input::Demand).unwrap().send.is_some(), "{:?}", ours.phase());
}

/// I4: what the app has ended stays ended, whatever came elsewhere.
#[test]
fn a_grant_that_the_app_gave_up_does_not_live_again() {
    let app = app();
    let body = r#"{"token_type":"bearer","access_token":"AT2","refresh_token":"RT1","expires_in":3600}"#;
    let (mut ours, theirs, now) = parted(&app, body);
    let mut revoked: Session = Session::restore(&app, &Record::read(&theirs).unwrap()).unwrap();
    let effects = revoked.handle(&app, now, Input::Revoke).unwrap();
    let call = effects.send.unwrap();
    save(&mut revoked, &app, now, effects);
    let effects = revoked.handle(&app, now, Input::Answer(call, answer(200, ""))).unwrap();
    save(&mut revoked, &app, now, effects);
    let theirs = stored(&revoked, &app);
    let record = Record::read(&theirs).unwrap();
    let ended = MergeError::Refused(Refused::Ended(Reason::Revoked));
    assert_eq!(ours.merge(&app, now, &record), Err(ended));
    assert_eq!(ours.adopt(&app, &record), Ok(true));
    assert_eq!(ours.phase().grant, Grant::Closed { reason: Reason::Revoked });
}

/// REV-1: a revocation that no store has taken is not lost where another process has refreshed meanwhile: what that one
/// got is revoked in its turn, once the intent is stored (I2).
#[test]
fn a_revocation_that_was_never_stored_holds_for_the_stored_tokens_as_well() {
    let app = app();
    let now = START.plus(5_000);
    let body = r#"{"token_type":"bearer","access_token":"AT2","refresh_token":"RT2","expires_in":3600}"#;
    let refreshed = {
        let mut theirs = linked(&app);
        let call = theirs.handle(&app, now, Input::Refresh).unwrap().send.unwrap();
        let effects = theirs.handle(&app, now, Input::Answer(call, answer(200, body))).unwrap();
        save(&mut theirs, &app, now, effects);
        stored(&theirs, &app)
    };
    let record = Record::read(&refreshed).unwrap();
    for is_answered in [false, true] {
        let mut ours = linked(&app);
        let call = ours.handle(&app, now, Input::Revoke).unwrap().send.unwrap();
        if is_answered {
            let _ = ours.handle(&app, now, Input::Answer(call, answer(200, ""))).unwrap();
        }
        let effects = ours.merge(&app, now, &record).unwrap();
        assert!(matches!(ours.phase().grant, Grant::Unrevoked { .. }), "{:?}", ours.phase());
        assert_eq!((effects.send, ours.access_token(now).map(|_| ())), (None, None));
        assert_eq!(ours.due(&app), Due::Store);
        save(&mut ours, &app, now, effects);
        let effects = ours.handle(&app, now, Input::Tick).unwrap();
        let call = effects.send.expect("due at once");
        save(&mut ours, &app, now, effects);
        let mut sent = [0; 1_000];
        let sent = ours.request(&app, call).unwrap().write(&mut sent).unwrap();
        assert!(sent.body().contains("RT2"), "the token that works is revoked");
    }
    // Whoever was given up already, or connected again since, is not given up once more.
    let mut ours = linked(&app);
    let _ = ours.handle(&app, now, Input::Revoke).unwrap();
    let mut theirs: Session = Session::restore(&app, &record).unwrap();
    let given_up = theirs.handle(&app, now, Input::Revoke).unwrap();
    save(&mut theirs, &app, now, given_up);
    let given_up = stored(&theirs, &app);
    assert_eq!(ours.merge(&app, now, &Record::read(&given_up).unwrap()), Ok(Effects::default()));
    let mut ours = linked(&app);
    let mut again = linked(&app);
    let successor = again.succeed(&app, &record).unwrap();
    save(&mut again, &app, now, successor);
    let again = stored(&again, &app);
    let _ = ours.handle(&app, now, Input::Revoke).unwrap();
    assert_eq!(ours.merge(&app, now, &Record::read(&again).unwrap()), Ok(Effects::default()));
    assert!(ours.phase().usable().is_some(), "{:?}", ours.phase());
}

/// I5: each token that the store never saw is brought home, candidates among them; merging twice drops none.
#[test]
fn every_token_that_the_store_never_saw_is_kept() {
    let app = app();
    let body = r#"{"token_type":"bearer","access_token":"AT2","refresh_token":"RT2","expires_in":3600}"#;
    let (ours, _, now) = parted(&app, body);
    // Another process refreshed as well, and its write came first; and then a third one's.
    let other = |token: &str| {
        let body = body.replace("RT2", token);
        let (session, _, _) = parted(&app, &body);
        stored(&session, &app)
    };
    let (second, third) = (other("RT3"), other("RT4"));
    let mut ours = ours;
    for theirs in [&second, &third] {
        let effects = ours.merge(&app, now, &Record::read(theirs).unwrap()).unwrap();
        assert!(effects.store.is_some());
    }
    let text = String::from_utf8(stored(&ours, &app)).unwrap();
    assert!(["RT2", "RT3", "RT4"].iter().all(|token| text.contains(token)), "{text}");
    // There is no room for a fourth: it is said, and nothing is dropped on either side.
    let fourth = other("RT5");
    let record = Record::read(&fourth).unwrap();
    assert_eq!(ours.merge(&app, now, &record), Err(MergeError::Refused(Refused::CandidatesFull)));
    assert_eq!(String::from_utf8(stored(&ours, &app)).unwrap(), text, "bit for bit (I7)");
}

/// SCO-4: a session of a later consent follows the stored one, which knows nothing of it.
#[test]
fn a_later_consent_is_not_lost_to_an_older_record() {
    let app = app();
    let (ours, _, now) = parted(&app, "{}");
    let older = stored(&ours, &app);
    let mut again = ours;
    let effects = again.handle(&app, now, Input::Ask(ASK)).unwrap();
    save(&mut again, &app, now, effects);
    let mut buffer = [0; 600];
    let url = again.authorization_url(&app, &mut buffer).unwrap();
    let state = url.split("state=").nth(1).unwrap();
    let callback = format!("code=B&realmId=123456789&state={state}");
    let _ = again.handle(&app, now, Input::Tick);
    let effects = again.handle(&app, now, Input::Callback { text: &callback, binding: &[] });
    let effects = match effects {
        Ok(effects) => effects,
        Err(error) => panic!("{error:?} {:?}", again.phase()),
    };
    let call = effects.send.unwrap();
    save(&mut again, &app, now, effects);
    let body = r#"{"token_type":"bearer","access_token":"AT9","refresh_token":"RT9","expires_in":3600}"#;
    let _ = again.handle(&app, now, Input::Answer(call, answer(200, body))).unwrap();
    let effects = again.merge(&app, now, &Record::read(&older).unwrap()).unwrap();
    save(&mut again, &app, now, effects);
    assert_eq!(again.access_token(now).unwrap().expose(), "AT9");
}

/// The callback of the consent that is pending: its `state`, and whatever else comes with it.
fn callback(session: &Session, app: &App<'_>, with: &str) -> String {
    let mut buffer = [0; 800];
    let url = session.authorization_url(app, &mut buffer).unwrap();
    let state = url.split("state=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
    format!("{with}&state={state}")
}

/// A consent outlives the process that asked for it: its address, its `state` and its verifier are the stored ones (CSR-2,
/// RED-5, RFC 7636).
#[test]
fn a_consent_survives_a_restart() {
    const URIS: &[&str] = &["https://app.example/cb", "https://app.example/other"];
    let provider = Provider { pkce: true, ..Provider::INTUIT_SANDBOX };
    let app = App::new(&provider, Keys { redirect_uris: URIS, ..KEYS }).unwrap();
    let mut asked: Session = Session::new(&app);
    let random = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let ask = Ask { redirect_uri: URIS[1], scopes: Scopes::ACCOUNTING, random };
    let effects = asked.handle(&app, START, Input::Ask(ask)).unwrap();
    save(&mut asked, &app, START, effects);
    let text = stored(&asked, &app);
    let mut restored: Session = Session::restore(&app, &Record::read(&text).unwrap()).unwrap();
    let urls = [&asked, &restored].map(|session| {
        let mut buffer = [0; 800];
        session.authorization_url(&app, &mut buffer).unwrap().to_owned()
    });
    assert_eq!(urls[0], urls[1]);
    let bodies = [&mut asked, &mut restored].map(|session| {
        let query = callback(session, &app, "code=C&realmId=123456789");
        let effects = session.handle(&app, START, Input::Callback { text: &query, binding: &[] }).unwrap();
        save(session, &app, START, effects);
        let mut buffer = [0; 1_000];
        let call = effects.send.unwrap();
        session.request(&app, call).unwrap().write(&mut buffer).unwrap().body().to_owned()
    });
    assert_eq!(bodies[0], bodies[1]);
    assert!(bodies[0].contains("redirect_uri=https%3A%2F%2Fapp.example%2Fother"), "{}", bodies[0]);
    assert!(bodies[0].contains("&code_verifier="), "{}", bodies[0]);
}

/// CSR-2, CSR-5, SCO-4: a callback counts with its own `state` and this company alone, and a refusal by the user costs
/// nothing.
#[test]
fn what_comes_back_from_a_wider_consent_is_judged_and_costs_nothing() {
    let app = app();
    let mut session = linked(&app);
    let effects = session.handle(&app, START, Input::Ask(ASK)).unwrap();
    save(&mut session, &app, START, effects);
    let before = stored(&session, &app);
    let forged = format!("code=C&realmId=123456789&state={}", "A".repeat(43));
    let good = |with: &str| callback(&session, &app, with);
    let refused = [
        (forged, evergrant::CallbackError::StateMismatch),
        (good("code=C"), evergrant::CallbackError::Realm),
        (good("code=C&realmId=12x"), evergrant::CallbackError::Realm),
        (good("code=C&realmId=987654321"), evergrant::CallbackError::OtherRealm),
        (good("realmId=123456789"), evergrant::CallbackError::NeitherCodeNorError),
        (good("code=C&error=access_denied"), evergrant::CallbackError::NeitherCodeNorError),
    ];
    let declined = good("error=access_denied");
    for (text, why) in refused {
        let taken = session.handle(&app, START, Input::Callback { text: &text, binding: &[] });
        assert_eq!(taken, Err(Error::Callback(why)), "{text}");
        assert_eq!(stored(&session, &app), before, "bit for bit (I7)");
    }
    let effects = session.handle(&app, START, Input::Callback { text: &declined, binding: &[] }).unwrap();
    assert_eq!((effects.tell, effects.send), (Some(Tell::Declined), None));
    save(&mut session, &app, START, effects);
    assert_eq!(session.access_token(START).unwrap().expose(), "AT1");
    // No consent is pending now, so nothing fits it any more.
    let again = session.handle(&app, START, Input::Callback { text: &declined, binding: &[] });
    assert_eq!(again, Err(Error::Refused(Refused::NoConsent)));
}
