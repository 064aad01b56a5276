//! What is shown of each type: enough to know what it is, and for an error the way out. That no secret is in it is looked
//! at in `tests/faq`.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use evergrant::answer::Answer;
use evergrant::diagnosis::{Cause, Fact, Kind, Weight};
use evergrant::{
    App, AppError, Ask, Call, Callback, CallbackError, ClientSecret, Error, Fault, Field, Input, Keys,
    MergeError, Provider, Purpose, Reason, Received, Record, RecordError, Refused, Request, Scopes, Session,
    Signed, SignedAsk, StateKey, Time, TooLong, signed_url,
};

const NOW: Time = Time::from_unix(1_800_000_000);
const URI: &str = "https://app.example/cb";
const CALL: Call = Call { number: 7, generation: 0, purpose: Purpose::Exchange };

fn app() -> App<'static> {
    let keys = Keys {
        client_id: "client",
        client_secret: ClientSecret::new("secret"),
        redirect_uris: &[URI],
        further_scopes: &[],
        state_key: Some(StateKey::new(&[9; 32])),
    };
    App::new(&Provider::INTUIT_SANDBOX, keys).unwrap()
}

fn names(value: &impl Debug, words: &[&str]) {
    let text = format!("{value:?}");
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
}

#[test]
fn an_input_says_what_it_is() {
    let ask = Ask { redirect_uri: URI, scopes: Scopes::OPENID, random: [7; 64] };
    let answered = |status| Received::Answer { status, retry_after: None, correlation: None, body: b"{}" };
    names(&Input::Tick, &["Tick"]);
    names(&Input::Demand, &["Demand"]);
    names(&Input::Refresh, &["Refresh"]);
    names(&Input::Ask(ask), &["Ask", URI, "scopes"]);
    names(&Input::Callback { text: "code=1", binding: &[] }, &["Callback"]);
    names(&Input::Answer(CALL, answered(503)), &["Answer", "number: 7", "503"]);
    names(&Input::Answer(CALL, Received::NotSent), &["NotSent"]);
    names(&Input::Answer(CALL, Received::NoAnswer), &["NoAnswer"]);
    names(&Input::Api { serial: 42, meaning: evergrant::api::judge(429, b"") }, &["Api", "42", "Throttled"]);
    names(&Input::Disconnected, &["Disconnected"]);
    names(&Input::Revoke, &["Revoke"]);
    names(&Input::Saved(43), &["Saved", "43"]);
}

#[test]
fn what_holds_secrets_says_what_it_is() {
    let app = app();
    names(&app, &["client", "[redacted]"]);
    let ask =
        SignedAsk { redirect_uri: URI, scopes: Scopes::OPENID, random: [1; 16], carry: b"", binding: b"" };
    names(&ask, &["SignedAsk", URI, "scopes"]);
    let mut buffer = [0; 1_000];
    let url = signed_url(&app, NOW, &ask, &mut buffer).unwrap();
    let state = url.rsplit_once("state=").unwrap().1;
    names(&Signed::open(&app, state, b"").unwrap(), &["Signed", "made_at", "1800000000"]);

    let callback = Callback::parse("code=%41&state=s", "realmId").unwrap();
    names(&callback, &["Callback", "code: true", "state: true", "realm: false", "error: false"]);
    let code = callback.code.unwrap();
    names(&code, &["[redacted]"]);
    names(&code.decode(), &["[redacted]"]);
    let answer = Answer::scan(br#"{"access_token":"a","expires_in":77}"#, "", "");
    names(&answer, &["Answer", "access_token: true", "refresh_token: false", "77", "complete: true"]);
    names(&answer.access_token.unwrap(), &["[redacted]"]);

    let mut session: Session = Session::new(&app);
    let ask = Ask { redirect_uri: URI, scopes: Scopes::ACCOUNTING, random: [7; 64] };
    let saved = session.handle(&app, NOW, Input::Ask(ask)).unwrap().store.unwrap();
    let _ = session.handle(&app, NOW, Input::Saved(saved)).unwrap();
    let mut buffer = [0; 1_000];
    let url = session.authorization_url(&app, &mut buffer).unwrap();
    let query = format!("code=C&realmId=123&state={}", url.rsplit_once("state=").unwrap().1);
    let effects = session.handle(&app, NOW, Input::Callback { text: &query, binding: b"" }).unwrap();
    let (call, saved) = (effects.send.unwrap(), effects.store.unwrap());
    let _ = session.handle(&app, NOW, Input::Saved(saved)).unwrap();
    names(&session, &["Session", "123", "Exchanging"]);
    names(&session.record(&app), &["Record", "123", "Exchanging"]);
    let request = session.request(&app, call).unwrap();
    names(&request, &["Request", "exchange"]);
    let mut buffer = [0; 1_000];
    names(&request.write(&mut buffer).unwrap(), &["Http", "POST", "body_length"]);

    let body = br#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#;
    let answer = Received::Answer { status: 200, retry_after: None, correlation: None, body };
    let saved = session.handle(&app, NOW, Input::Answer(call, answer)).unwrap().store.unwrap();
    let _ = session.handle(&app, NOW, Input::Saved(saved)).unwrap();
    let token = session.access_token(NOW.plus(600)).unwrap();
    names(&token, &["AccessToken", "serial: 1", "seconds_left: 3000"]);
    names(&Request::userinfo(&app, token).unwrap(), &["get"]);
    for (input, name) in [(Input::Refresh, "refresh"), (Input::Revoke, "revoke")] {
        let mut buffer = [0; 2_000];
        let text = session.record(&app).write(&mut buffer).unwrap();
        let mut session: Session = Session::restore(&app, &Record::read(text).unwrap()).unwrap();
        let effects = session.handle(&app, NOW, input).unwrap();
        let _ = session.handle(&app, NOW, Input::Saved(effects.store.unwrap())).unwrap();
        names(&session.request(&app, effects.send.unwrap()).unwrap(), &[name]);
    }
}

/// Each says something, and no two say the same.
fn tell_apart<T: Display + Debug>(all: &[T]) -> BTreeSet<String> {
    let texts: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len(), "{texts:?}");
    assert!(texts.iter().all(|text| text.len() > 8), "{texts:?}");
    texts
}

const FIELDS: [Field; 6] =
    [Field::AccessToken, Field::RefreshToken, Field::Code, Field::Realm, Field::Buffer, Field::Carry];
const REASONS: [Reason; 8] = [
    Reason::Expired,
    Reason::HardEnd,
    Reason::Refused,
    Reason::AnswerLost,
    Reason::Disconnected,
    Reason::Poisoned,
    Reason::Revoked,
    Reason::RevokeUnanswered,
];

/// Each refusal, and whose fault it is.
fn refusals() -> Vec<(Refused, Fault)> {
    let nobody = [
        Refused::Busy { until: NOW },
        Refused::Wait { until: NOW },
        Refused::BeingRevoked,
        Refused::OtherToken,
        Refused::CandidatesFull,
    ];
    let sender = [Refused::NoConsent, Refused::ConsentExpired, Refused::CodeSpent, Refused::Late];
    let caller = [Refused::ClockUnset, Refused::NotLinked];
    let with = |fault| move |refused| (refused, fault);
    let ended = REASONS.map(Refused::Ended);
    (nobody.into_iter().chain(ended).map(with(Fault::Nobody)))
        .chain(sender.map(with(Fault::Sender)))
        .chain(caller.map(with(Fault::Caller)))
        .collect()
}

#[test]
fn errors_tell_themselves_apart_and_say_whose_fault_they_are() {
    let too_long = FIELDS.map(|field| TooLong { field, needed: 4_321, capacity: 1_234 });
    for text in tell_apart(&too_long) {
        assert!(text.contains("4321") && text.contains("1234"), "{text}");
    }
    tell_apart(&REASONS);
    let callbacks = [
        CallbackError::NoQuery,
        CallbackError::Duplicate("code"),
        CallbackError::NeitherCodeNorError,
        CallbackError::NoState,
        CallbackError::StateMismatch,
        CallbackError::IssuerMismatch,
        CallbackError::OtherRedirectUri,
        CallbackError::Realm,
        CallbackError::OtherRealm,
        CallbackError::Code,
    ];
    let mut errors = vec![];
    errors.extend(refusals().into_iter().map(|(refused, fault)| (Error::from(refused), fault)));
    errors.extend(callbacks.map(|error| (Error::from(error), Fault::Sender)));
    errors.extend(too_long.map(|error| (Error::from(error), Fault::Capacity)));
    errors.extend(
        [
            Error::NotSaved,
            Error::NotInFlight,
            Error::OtherApp,
            Error::RedirectUriGone,
            Error::RedirectUriUnknown,
            Error::NoScope,
            Error::NoEndpoint,
            Error::NoStateKey,
        ]
        .map(|error| (error, Fault::Caller)),
    );
    errors.iter().for_each(|(error, fault)| assert_eq!(error.fault(), *fault, "{error}"));
    tell_apart(&errors.iter().map(|(error, _)| *error).collect::<Vec<_>>());
    tell_apart(&[
        AppError::NoClientId,
        AppError::NoClientSecret,
        AppError::NoRedirectUri,
        AppError::NotHttps(3),
        AppError::HasQuery(3),
        AppError::Malformed(3),
        AppError::WeakStateKey,
        AppError::Scopes,
        AppError::ProviderName,
        AppError::Endpoint,
    ]);
    let records = [
        RecordError::Version(2),
        RecordError::OtherEnvironment { record: "there", app: "here" },
        RecordError::OtherClient,
        RecordError::Damaged,
        RecordError::UnknownScope,
        RecordError::TooLong(too_long[0]),
    ];
    let merges = records.map(MergeError::Record).into_iter().chain([MergeError::Refused(Refused::Late)]);
    assert_eq!(tell_apart(&records).len() + 1, tell_apart(&merges.collect::<Vec<_>>()).len());
}

/// EXC-4, REF-5: each cause has its name, its fact and a way out of its own.
#[test]
fn causes_tell_themselves_apart_and_name_the_way_out() {
    let kinds = [
        Kind::RedirectUriDiffers,
        Kind::RedirectUriHasQuery,
        Kind::OtherCodeParameter,
        Kind::OtherEnvironment,
        Kind::CodeUsedBefore,
        Kind::CodeExpired,
        Kind::Expired,
        Kind::NotLatest,
        Kind::Outage,
        Kind::Cached,
        Kind::Revoked,
        Kind::ExchangedTwice,
    ];
    tell_apart(&kinds);
    assert_eq!(kinds.map(Kind::way_out).iter().collect::<BTreeSet<_>>().len(), kinds.len());
    tell_apart(&[
        Fact::ByConstruction,
        Fact::Unknown,
        Fact::SecondsLeft(11),
        Fact::SecondsOver(11),
        Fact::AnswerLost(11),
        Fact::Candidates(2),
        Fact::OthersRefused(0),
        Fact::OthersRefused(11),
        Fact::StoreIsSame,
        Fact::StoreIsNewer,
        Fact::Rejected,
        Fact::DisconnectRedirect,
        Fact::AnsweredTwice,
    ]);
    for weight in [Weight::Likely, Weight::Possible, Weight::Unlikely] {
        let cause = Cause { kind: Kind::Outage, weight, fact: Fact::OthersRefused(11) };
        let text = cause.to_string();
        let parts = [format!("{weight:?}").to_lowercase(), cause.fact.to_string(), Kind::Outage.to_string()];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(text.ends_with(Kind::Outage.way_out()), "{text}");
    }
}
