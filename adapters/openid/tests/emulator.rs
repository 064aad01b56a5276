//! SCO-5 against the offline Intuit, over HTTP: a user signs in; each wrong ID token is refused by its own name, after the
//! tokens are durable; and the grant is alive after each.

#[path = "common/http.rs"]
mod http;

use evergrant::{
    App, Ask, ClientSecret, Effects, Input, Provider, Received, Record, Request, Scopes, Session, Time,
};
use evergrant_emulator::fault::{Endpoint, Fault, Harm, IdTokenHarm, RotateKey};
use evergrant_emulator::server::{ClockChoice, Consent, Options, Running, Server};
use evergrant_openid::{
    Discovered, Discovery, DocumentError, Expected, IdToken, IdTokenError, Identity, JwksCache, Part,
    Userinfo, UserinfoError,
};

const START: u64 = 1_800_000_000;
const URI: &str = "http://localhost:8000/callback";
const REALM: &str = "9341453000000001";

/// Everything that one test needs: the authority, the app, and the keys that ID tokens are held against.
struct World<'a> {
    running: &'a Running,
    app: App<'a>,
    keys: JwksCache,
}

/// A user who has connected: the session, what was stored of it, and the answer that brought the tokens.
struct Connected {
    session: Session,
    stored: String,
    answer: Vec<u8>,
}

fn in_world(run: impl FnOnce(World<'_>)) {
    let options = Options::new()
        .sandbox("client", "secret", &[URI])
        .consent(Consent::Auto)
        .clock(ClockChoice::Fixed(START));
    let running = Server::start(options).unwrap();
    let addresses = running.addresses();
    let base = Provider {
        discovery: &addresses.sandbox.discovery,
        api: &addresses.api,
        loopback_http: true,
        ..Provider::INTUIT_SANDBOX
    };
    let found = discover(&base);
    let provider = found.provider(&base);
    let keys = evergrant::Keys {
        client_id: "client",
        client_secret: ClientSecret::new("secret"),
        redirect_uris: &[URI],
        further_scopes: &[],
        state_key: None,
    };
    let app = App::new(&provider, keys).unwrap();
    let keys = JwksCache::new(&provider).unwrap();
    run(World { running: &running, app, keys });
}

fn discover(base: &Provider<'_>) -> Discovered {
    let mut discovery = Discovery::new(base).unwrap();
    let now = Time::from_unix(START);
    let answer = http::get(discovery.wanted(now).unwrap());
    discovery.take(now, http::fetched(answer.as_ref())).unwrap();
    discovery.discovered().unwrap().clone()
}

impl World<'_> {
    fn now(&self) -> Time {
        Time::from_unix(self.running.clock().now())
    }

    fn connect(&self, scopes: Scopes) -> Connected {
        let mut session = Session::new(&self.app);
        let mut connected =
            Connected { session: Session::new(&self.app), stored: String::new(), answer: vec![] };
        let ask = Input::Ask(Ask { redirect_uri: URI, scopes, random: [7; 64] });
        self.drive(&mut session, ask, &mut connected);
        let mut buffer = [0; 1_024];
        let url = session.authorization_url(&self.app, &mut buffer).unwrap();
        let callback = http::follow_consent(url).unwrap();
        let input = Input::Callback { text: &callback, binding: &[] };
        self.drive(&mut session, input, &mut connected);
        Connected { session, ..connected }
    }

    /// The one driver: store, then send, then hand in what became of it.
    fn drive(&self, session: &mut Session, input: Input<'_>, kept: &mut Connected) {
        let mut effects = session.handle(&self.app, self.now(), input).unwrap();
        loop {
            self.store(session, effects, kept);
            let Some(call) = effects.send else { return };
            let mut buffer = [0; 4_096];
            let request = session.request(&self.app, call).unwrap();
            let answer = http::carry_out(&request.write(&mut buffer).unwrap());
            let received = answer.as_ref().map_or(Received::NoAnswer, |answer| Received::Answer {
                status: answer.status,
                retry_after: None,
                correlation: answer.header("intuit_tid"),
                body: &answer.body,
            });
            effects = session.handle(&self.app, self.now(), Input::Answer(call, received)).unwrap();
            kept.answer = answer.map(|answer| answer.body).unwrap_or_default();
        }
    }

    fn store(&self, session: &mut Session, effects: Effects, kept: &mut Connected) {
        let Some(revision) = effects.store else { return };
        let mut buffer = [0; 8_192];
        let text = session.record(&self.app).write(&mut buffer).unwrap();
        kept.stored = String::from_utf8(text.to_vec()).unwrap();
        let _ = session.handle(&self.app, self.now(), Input::Saved(revision)).unwrap();
    }

    fn refresh(&self, connected: Connected) -> Connected {
        let mut kept = Connected { session: Session::new(&self.app), stored: String::new(), answer: vec![] };
        let mut session = connected.session;
        self.drive(&mut session, Input::Refresh, &mut kept);
        Connected { session, ..kept }
    }

    /// Fetches keys as often as they are wanted, and says who signed in.
    fn who(&mut self, connected: &Connected) -> Result<Identity, IdTokenError> {
        let now = self.now();
        let token = IdToken::from_answer(&connected.answer)?;
        let app = self.app;
        let expected = Expected::new(&app, connected.session.realm());
        for _ in 0..2 {
            if let Some(url) = self.keys.wanted(now) {
                let answer = http::get(url);
                let _ = self.keys.take(now, http::fetched(answer.as_ref()));
            }
            let outcome = self.keys.verify(&token, &expected, now);
            let curable = outcome.as_ref().is_err_and(IdTokenError::wants_keys);
            if !curable || self.keys.wanted(now).is_none() {
                return outcome;
            }
        }
        panic!("keys are wanted again and again");
    }

    fn userinfo(&self, connected: &Connected, subject: &str) -> Result<Userinfo, UserinfoError> {
        let token = connected.session.access_token(self.now()).unwrap();
        let mut buffer = [0; 4_096];
        let request = Request::userinfo(&self.app, token).unwrap();
        let answer = http::carry_out(&request.write(&mut buffer).unwrap()).unwrap();
        Userinfo::read(answer.status, &answer.body, subject)
    }

    /// The grant is alive: what is stored holds it, the API takes its token, and it can be refreshed.
    fn assert_alive(&self, connected: Connected) {
        let record = Record::read(connected.stored.as_bytes()).unwrap();
        let restored: Session = Session::restore(&self.app, &record).unwrap();
        assert!(restored.access_token(self.now()).is_some(), "durable (I3)");
        assert_eq!(self.company(&connected), 200);
        let before = connected.session.access_token(self.now()).unwrap().expose().to_owned();
        let refreshed = self.refresh(connected);
        assert_ne!(refreshed.session.access_token(self.now()).unwrap().expose(), before);
        assert_eq!(self.company(&refreshed), 200);
    }

    fn company(&self, connected: &Connected) -> u16 {
        let path = format!("/sandbox/v3/company/{REALM}/companyinfo/{REALM}");
        let token = connected.session.access_token(self.now()).unwrap();
        let mut buffer = [0; 4_096];
        let request = Request::api(&self.app, token, &path).unwrap();
        http::carry_out(&request.write(&mut buffer).unwrap()).unwrap().status
    }

    fn key_fetches(&self) -> usize {
        self.running.log().iter().filter(|entry| entry.endpoint == Some(Endpoint::Jwks)).count()
    }
}

const SIGN_IN: Scopes = Scopes::ACCOUNTING.with(Scopes::OPENID);

#[test]
fn a_user_signs_in() {
    in_world(|mut world| {
        let scopes = SIGN_IN.with(Scopes::EMAIL).with(Scopes::PROFILE);
        let connected = world.connect(scopes);
        let identity = world.who(&connected).unwrap();
        assert_eq!(identity.realm.as_deref(), Some(REALM));
        let user = world.userinfo(&connected, &identity.subject).unwrap();
        assert_eq!((user.email.as_deref(), user.email_verified), (Some("ada@example.com"), Some(true)));
        assert_eq!(user.given_name.as_deref(), Some("Ada"));
        assert_eq!((user.phone_number, user.address), (None, None), "by scope");
        world.assert_alive(connected);
        assert_eq!(world.key_fetches(), 1);
    });
}

#[test]
fn all_claims_come_with_all_scopes() {
    in_world(|mut world| {
        let scopes = [Scopes::EMAIL, Scopes::PROFILE, Scopes::PHONE, Scopes::ADDRESS];
        let connected = world.connect(scopes.into_iter().fold(Scopes::OPENID, Scopes::with));
        let identity = world.who(&connected).unwrap();
        let user = world.userinfo(&connected, &identity.subject).unwrap();
        assert_eq!(user.phone_number.as_deref(), Some("+1 555-0100"));
        assert!(user.phone_number_verified.is_some() && user.family_name.is_some());
        assert!(user.address.unwrap().postal_code.is_some());
        let bare = world.connect(Scopes::OPENID);
        let user = world.userinfo(&bare, &identity.subject).unwrap();
        assert_eq!((user.email, user.email_verified, user.given_name), (None, None, None));
    });
}

/// The emulator's faults, each with the error that it must be called.
#[test]
fn each_wrong_id_token_is_refused_by_name_and_costs_no_grant() {
    let expired = IdTokenError::Expired { at: Time::from_unix(START - 3_600) };
    let attacks = [
        (IdTokenHarm::WrongAudience, IdTokenError::Audience),
        (IdTokenHarm::WrongIssuer, IdTokenError::Issuer),
        (IdTokenHarm::Expired, expired),
        (IdTokenHarm::WrongRealm, IdTokenError::OtherRealm),
        (IdTokenHarm::Unsigned, IdTokenError::Unsigned),
        (IdTokenHarm::SymmetricWithPublicKey, IdTokenError::Symmetric),
        (IdTokenHarm::UnknownKey, IdTokenError::UnknownKey),
        (IdTokenHarm::BrokenSignature, IdTokenError::Signature),
        (IdTokenHarm::Absent, IdTokenError::Absent),
        (IdTokenHarm::Garbage, IdTokenError::Malformed(Part::Header)),
    ];
    in_world(|mut world| {
        let good = world.connect(SIGN_IN);
        world.who(&good).unwrap();
        for (harm, error) in attacks {
            world.running.arm(Fault::once(Endpoint::Exchange, Harm::IdToken(harm)));
            let connected = world.connect(SIGN_IN);
            assert_eq!(world.who(&connected), Err(error), "{harm:?}");
            world.assert_alive(connected);
        }
        world.who(&good).unwrap();
        assert_eq!(world.key_fetches(), 2, "at first, and once for the unknown key");
    });
}

#[test]
fn a_rotated_key_is_fetched_and_the_old_one_stays_good() {
    for keep_old in [true, false] {
        in_world(|mut world| {
            let before = world.connect(SIGN_IN);
            world.who(&before).unwrap();
            let rotate = Harm::RotateKey(RotateKey { keep_old });
            world.running.arm(Fault::once(Endpoint::Exchange, rotate));
            let after = world.connect(SIGN_IN);
            world.who(&after).unwrap();
            world.who(&before).unwrap();
            assert_eq!(world.key_fetches(), 2);
            world.assert_alive(after);
        });
    }
}

/// A key that is withdrawn is not good for ever, though nobody names an unknown one.
#[test]
fn stale_keys_are_fetched_before_they_are_used() {
    in_world(|mut world| {
        let before = world.connect(SIGN_IN);
        world.who(&before).unwrap();
        world.running.rotate_key(false);
        // The emulator says no-store, which the keys take as the least that there is: five minutes.
        world.running.clock().advance(299);
        world.who(&before).unwrap();
        assert_eq!(world.key_fetches(), 1);
        world.running.clock().advance(1);
        world.who(&before).unwrap();
        assert_eq!(world.key_fetches(), 2);
        assert_eq!(world.keys.set().count(world.now()), 2, "the new one, and the old one for an hour");
        assert_eq!(world.keys.set().count(world.now().plus(3_600)), 1);
    });
}

#[test]
fn the_id_token_of_a_refresh_is_held_against_the_user_before() {
    in_world(|mut world| {
        let connected = world.connect(SIGN_IN);
        let identity = world.who(&connected).unwrap();
        let refreshed = world.refresh(connected);
        let again = world.who(&refreshed).unwrap();
        assert_eq!(again.subject, identity.subject);
        let token = IdToken::from_answer(&refreshed.answer).unwrap();
        let expected = Expected { subject: Some("another"), ..Expected::new(&world.app, REALM) };
        let now = world.now();
        assert_eq!(world.keys.verify(&token, &expected, now), Err(IdTokenError::OtherSubject));
    });
}

#[test]
fn userinfo_of_another_subject_is_refused_and_costs_no_grant() {
    in_world(|mut world| {
        let connected = world.connect(SIGN_IN);
        let identity = world.who(&connected).unwrap();
        world.running.arm(Fault::once(Endpoint::Userinfo, Harm::UserinfoOfAnotherSubject));
        assert_eq!(world.userinfo(&connected, &identity.subject), Err(UserinfoError::OtherSubject));
        assert!(world.userinfo(&connected, &identity.subject).is_ok());
        let without = world.connect(Scopes::ACCOUNTING);
        assert!(world.userinfo(&without, &identity.subject).is_err());
        world.assert_alive(connected);
    });
}

#[test]
fn a_key_set_that_does_not_come_is_fetched_later() {
    for harm in [Harm::Html503, Harm::EmptyBody, Harm::TruncatedBody, Harm::AnswerLostAfterWork] {
        in_world(|mut world| {
            world.running.arm(Fault::once(Endpoint::Jwks, harm.clone()));
            let connected = world.connect(SIGN_IN);
            assert_eq!(world.who(&connected), Err(IdTokenError::NoKeys), "{harm:?}");
            assert_eq!(world.key_fetches(), 1);
            world.running.clock().advance(60);
            world.who(&connected).unwrap();
            world.assert_alive(connected);
        });
    }
}

#[test]
fn a_discovery_document_that_does_not_come_changes_nothing() {
    in_world(|world| {
        let base = Provider { discovery: &world.running.addresses().discovery, ..*world.app.provider() };
        let mut discovery = Discovery::new(&base).unwrap();
        let now = world.now();
        world.running.arm(Fault::once(Endpoint::Discovery, Harm::Html503));
        let answer = http::get(discovery.wanted(now).unwrap());
        let taken = discovery.take(now, http::fetched(answer.as_ref()));
        assert_eq!(taken, Err(DocumentError::Status(503)));
        assert!(discovery.discovered().is_none() && discovery.wanted(now).is_none());
        let answer = http::get(discovery.wanted(now.plus(60)).unwrap());
        discovery.take(now.plus(60), http::fetched(answer.as_ref())).unwrap();
        assert_eq!(discovery.discovered().unwrap().issuer, base.issuer);
    });
}
