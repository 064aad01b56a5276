//! Whole lives from bytes: a session, the authority, a store and a clock, with everything between them that can go wrong.
//!
//! Two bytes an act. After each act the invariants are looked at from outside: by the authority's memory, by what the store
//! has, and by what the session shows.

use std::collections::BTreeMap;

use evergrant::phase::{Consent, Grant};
use evergrant::{
    App, Ask, Call, ClientSecret, Due, Effects, Input, Keys, Phase, Provider, Purpose, Reason, Received,
    Record, Scopes, Session, Tell, Time, api,
};
use evergrant_emulator::authority::{
    Authority, AuthorizeRequest, CallbackOutcome, ClientAuth, CodeState, Config, Decision, Environment,
    Keys as Registered, Lengths, Policy, TokenGrant, TokenRequest,
};

const REDIRECT: &str = "https://app.example/cb";
const REALM: &str = "9341453000000001";
const START: u64 = 1_800_000_000;
const KEYS: Keys<'static> = Keys {
    client_id: "client",
    client_secret: ClientSecret::new("secret"),
    redirect_uris: &[REDIRECT],
    further_scopes: &[],
    state_key: None,
};

type Small = Session<64, 64, 64>;

/// The app of every life.
pub(super) fn app() -> App<'static> {
    App::new(&Provider::INTUIT_SANDBOX, KEYS).expect("good keys")
}

/// A whole life, script by bytes.
pub fn life(data: &[u8]) {
    run(data);
}

/// A record of a linked session, as the store has it.
pub(super) fn a_record() -> String {
    run(&[0, 6, 0, 7, 0, 9, 0]).store.expect("a consent is stored")
}

fn run(data: &[u8]) -> World {
    let (policy, script) = data.split_first().unwrap_or((&0, &[]));
    let policies = [Policy::GRACE, Policy::STICKY, Policy::HARD, Policy::STICKY_HARD];
    let mut world = World::new(policies[usize::from(*policy % 4)]);
    for act in script.chunks_exact(2).take(400) {
        world.act(act[0], act[1]);
        world.check();
    }
    world
}

/// An answer on its way.
#[derive(Clone)]
struct Reply {
    call: Call,
    status: u16,
    body: String,
    /// Tokens that the authority has issued with it.
    tokens: Option<(String, String)>,
}

struct World {
    app: App<'static>,
    session: Small,
    authority: Authority,
    /// The true time.
    now: u64,
    /// What the client's clock is ahead by; `None` where it was never set.
    clock: Option<i64>,
    clock_was_wrong: bool,
    store: Option<String>,
    store_fails: u8,
    /// Calls that were written, so that none is written twice.
    sent: BTreeMap<u32, Purpose>,
    held_back: Vec<Reply>,
    callbacks: Vec<String>,
    asked: u16,
    /// Every token and code that was ever made: none may be shown (I6).
    secrets: Vec<String>,
    /// Refusals that the authority did not mean, since tokens came.
    false_refusals: u32,
    ended_by_user: bool,
    lost_since: Option<u64>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let keys = Registered::new(Environment::Sandbox, "client", "secret", [REDIRECT]);
        let mut config = Config::new([keys]).with_policy(policy);
        config.lengths = Lengths::SHORT;
        let app = app();
        Self {
            app,
            session: Small::new(&app),
            authority: Authority::new(config, 7).expect("a good configuration"),
            now: START,
            clock: Some(0),
            clock_was_wrong: false,
            store: None,
            store_fails: 0,
            sent: BTreeMap::new(),
            held_back: Vec::new(),
            callbacks: Vec::new(),
            asked: 0,
            secrets: Vec::new(),
            false_refusals: 0,
            ended_by_user: false,
            lost_since: None,
        }
    }

    fn time(&self) -> Time {
        match self.clock {
            Some(ahead) => Time::from_unix(self.now.saturating_add_signed(ahead)),
            None => Time::UNSET,
        }
    }

    fn act(&mut self, act: u8, arg: u8) {
        match act % 26 {
            0 => self.now += u64::from(arg),
            1 => self.wait(),
            2 => self.now += u64::from(arg) * 3_600,
            3 => self.now += u64::from(arg) * 86_400,
            4 => self.input(Input::Demand),
            5 => self.input(Input::Refresh),
            6 => self.ask(),
            7 => self.user(true),
            8 => self.user(false),
            9 => self.exchange_with(|_, reply| Some(reply)),
            10 => self.exchange_with(|world, reply| {
                world.held_back.push(reply);
                None
            }),
            11 => self.deliver(arg),
            12 => self.fails(Received::NotSent),
            13 => self.answer_lost(),
            14 => self.fails(Received::Answer {
                status: 503,
                retry_after: Some("7"),
                correlation: None,
                body: b"<html>busy</html>",
            }),
            15 => self.false_refusal(),
            16 => self.store_fails = arg % 4,
            17 => self.restart(),
            18 => self.rejected(),
            19 => {
                self.ended_by_user = true;
                self.authority.disconnect_all(self.now);
                if arg.is_multiple_of(2) {
                    self.input(Input::Disconnected);
                }
            }
            20 => {
                self.ended_by_user = true;
                self.input(Input::Revoke);
            }
            21 => self.input(Input::Tick),
            22 => {
                let ahead = [0, -3_600, 3_600, -100_000, 100_000, -20_000_000, 20_000_000, 200_000_000];
                self.clock = Some(ahead[usize::from(arg % 8)]);
                self.clock_was_wrong |= !arg.is_multiple_of(8);
            }
            23 => {
                self.clock = None;
                self.clock_was_wrong = true;
            }
            24 => self.exchange_with(|_, mut reply| {
                reply.body.truncate(usize::from(arg));
                Some(reply)
            }),
            _ => self.callback_again(),
        }
    }

    // ------------------------------------------------------------------------------------------------ the client

    /// Each consent has random bytes of its own (CSR-1).
    fn ask(&mut self) {
        self.asked = self.asked.wrapping_add(1);
        let mut random = [7; 64];
        random[..2].copy_from_slice(&self.asked.to_be_bytes());
        self.input(Input::Ask(Ask { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, random }));
    }

    fn input(&mut self, input: Input<'_>) {
        let before = self.record();
        match self.session.handle(&self.app, self.time(), input) {
            Ok(effects) => self.follow(&before.1, effects),
            Err(_) => assert_eq!(before, self.record(), "I7: refused, and changed"),
        }
    }

    fn record(&self) -> (String, Phase) {
        let text = serde_json::to_string(&self.session.record(&self.app)).expect("a record is written");
        (text, *self.session.phase())
    }

    fn follow(&mut self, before: &Phase, effects: Effects) {
        let after = *self.session.phase();
        let saved = |phase: Phase| Phase { unsaved: false, ..phase };
        if saved(after) != saved(*before) {
            assert_eq!(effects.store, Some(after.revision), "I3: a change without a store");
        }
        if effects.send.is_some() {
            assert!(effects.store.is_some(), "I1, I2: sent without a store");
        }
        if let (Grant::Refreshing { sent_at, .. }, Some(Tell::AnswerLost { .. })) =
            (before.grant, effects.tell)
        {
            self.lost_since.get_or_insert(sent_at.unix());
        }
        if let Grant::Closed { reason, .. } = after.grant
            && !matches!(before.grant, Grant::Closed { .. })
        {
            self.ended(reason);
        }
        if effects.store.is_some() {
            self.save();
        }
    }

    fn save(&mut self) {
        let revision = self.session.phase().revision;
        if self.store_fails > 0 {
            self.store_fails -= 1;
            return;
        }
        let text = self.record().0;
        let stored: Record<'_> = serde_json::from_str(&text).expect("a record is read");
        assert_eq!(stored.revision(), revision);
        Small::restore(&self.app, &stored).expect("what was written is taken");
        self.store = Some(text);
        let _ = self.session.handle(&self.app, self.time(), Input::Saved(revision)).expect("saved");
    }

    /// Sleeps until something is due, and does it.
    fn wait(&mut self) {
        let Some(ahead) = self.clock else { return };
        match self.session.due(&self.app) {
            Due::Store => self.save(),
            Due::Tick(at) => {
                let at = at.unix().saturating_add_signed(-ahead);
                // A grant without an end waits for one that never comes.
                self.now = self.now.max(at.min(self.now + 400 * 86_400));
                let before = *self.session.phase();
                self.input(Input::Tick);
                if let Due::Tick(next) = self.session.due(&self.app)
                    && next <= self.time()
                    && !self.session.phase().unsaved
                {
                    assert_ne!(before, *self.session.phase(), "I8: busy loop");
                }
            }
            Due::Consent => {}
        }
    }

    fn restart(&mut self) {
        let Some(text) = self.store.clone() else {
            self.session = Small::new(&self.app);
            return;
        };
        let record: Record<'_> = serde_json::from_str(&text).expect("a record is read");
        if let Grant::Refreshing { sent_at, .. } = record.phase().grant {
            self.lost_since.get_or_insert(sent_at.unix());
        }
        self.session = Small::restore(&self.app, &record).expect("what was written is taken");
    }

    /// The API says 401 to the token in hand, whether it is true or not.
    fn rejected(&mut self) {
        let Some(token) = self.session.access_token(self.time()) else { return };
        let serial = token.serial();
        self.input(Input::Api { serial, meaning: api::judge(401, b"") });
        assert!(self.session.access_token(self.time()).is_none(), "DUR-2: handed out after a 401");
    }

    // -------------------------------------------------------------------------------------------------- the wire

    /// The call that may be written now, once.
    fn call(&mut self) -> Option<(Call, String)> {
        let call = self.session.phase().in_flight()?;
        if self.sent.contains_key(&call.number) {
            return None;
        }
        let mut buffer = [0; 800];
        let request = self.session.request(&self.app, call).ok()?;
        let body = request.write(&mut buffer).expect("it fits").body().to_owned();
        let stored = self.store.as_ref().expect("I1, I2: nothing is stored");
        let record: Record<'_> = serde_json::from_str(stored).expect("a record is read");
        assert_eq!(record.phase().in_flight(), Some(call), "I1, I2: sent before its intent was stored");
        Some((call, body))
    }

    fn exchange_with(&mut self, way: impl FnOnce(&mut Self, Reply) -> Option<Reply>) {
        let Some((call, body)) = self.call() else { return };
        self.sent.insert(call.number, call.purpose);
        let reply = self.serve(call, &body);
        if let Some(reply) = way(self, reply) {
            self.answered(&reply);
        }
    }

    fn serve(&mut self, call: Call, body: &str) -> Reply {
        let client = ClientAuth::basic("client", "secret");
        if call.purpose == Purpose::Revoke {
            let token = body.trim_start_matches("{\"token\":\"").trim_end_matches("\"}");
            let status = self.authority.revoke(self.now, &client, token).map_or(400, |()| 200);
            return Reply { call, status, body: String::new(), tokens: None };
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let grant = match form.get("grant_type").map(String::as_str) {
            Some("authorization_code") => TokenGrant::AuthorizationCode {
                code: form["code"].clone(),
                redirect_uri: form["redirect_uri"].clone(),
                code_verifier: None,
            },
            _ => TokenGrant::RefreshToken { refresh_token: form["refresh_token"].clone() },
        };
        let request = TokenRequest { client, grant, include_hard_expiry: true };
        match self.authority.token(self.now, &request) {
            Ok(tokens) => {
                self.secrets.extend([tokens.access_token.clone(), tokens.refresh_token.clone()]);
                let body = serde_json::json!({
                    "token_type": "bearer",
                    "refresh_token": tokens.refresh_token,
                    "access_token": tokens.access_token,
                    "expires_in": tokens.expires_in,
                    "x_refresh_token_expires_in": tokens.refresh_token_expires_in,
                    "x_refresh_token_hard_expires_in": tokens.refresh_token_hard_expires_in,
                });
                let tokens = Some((tokens.access_token, tokens.refresh_token));
                Reply { call, status: 200, body: body.to_string(), tokens }
            }
            Err(error) => {
                let body = serde_json::json!({ "error": error.code.as_str() }).to_string();
                Reply { call, status: error.code.status(), body, tokens: None }
            }
        }
    }

    fn answered(&mut self, reply: &Reply) {
        let received = Received::Answer {
            status: reply.status,
            retry_after: None,
            correlation: Some("1-abc"),
            body: reply.body.as_bytes(),
        };
        let before = self.session.phase().generation;
        self.input(Input::Answer(reply.call, received));
        let Some((access, refresh)) = &reply.tokens else { return };
        let text = self.record().0;
        let kept = text.contains(refresh.as_str());
        if kept && text.contains(access.as_str()) {
            self.lost_since = None;
            self.false_refusals = 0;
            self.ended_by_user &= self.session.phase().generation == before;
        }
        // I5: whole tokens to the grant in place end as current or candidate.
        let phase = *self.session.phase();
        let whole = reply.body.contains(refresh.as_str()) && reply.body.ends_with('}');
        let room = phase.usable().is_some_and(|held| held.candidates < 2);
        let ours = reply.call.purpose == Purpose::Refresh && reply.call.generation == phase.generation;
        if whole && room && ours && !kept {
            // Unless a later answer has made it stale already.
            assert!(!self.is_newest(refresh), "I5: the newest token was dropped");
        }
    }

    fn is_newest(&self, refresh: &str) -> bool {
        use evergrant_emulator::authority::RefreshState;
        matches!(self.authority.refresh_token_state(self.now, refresh), Some(RefreshState::Current { .. }))
    }

    fn deliver(&mut self, arg: u8) {
        if self.held_back.is_empty() {
            return;
        }
        let at = usize::from(arg) % self.held_back.len();
        // An odd argument leaves it there: it arrives twice.
        let reply =
            if arg.is_multiple_of(2) { self.held_back.remove(at) } else { self.held_back[at].clone() };
        self.answered(&reply);
    }

    fn fails(&mut self, received: Received<'_>) {
        let Some((call, _)) = self.call() else { return };
        self.sent.insert(call.number, call.purpose);
        self.input(Input::Answer(call, received));
    }

    fn answer_lost(&mut self) {
        let Some((call, body)) = self.call() else { return };
        self.sent.insert(call.number, call.purpose);
        let _ = self.serve(call, &body);
        self.input(Input::Answer(call, Received::NoAnswer));
    }

    /// An outage that answers as if the token were dead.
    fn false_refusal(&mut self) {
        let Some((call, _)) = self.call() else { return };
        self.sent.insert(call.number, call.purpose);
        self.false_refusals += 1;
        let body = br#"{"error":"invalid_grant"}"#;
        self.input(Input::Answer(
            call,
            Received::Answer { status: 400, retry_after: None, correlation: None, body },
        ));
    }

    // -------------------------------------------------------------------------------------------------- the user

    fn user(&mut self, approves: bool) {
        let mut buffer = [0; 800];
        let Ok(url) = self.session.authorization_url(&self.app, &mut buffer) else { return };
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let form: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let request = AuthorizeRequest {
            client_id: form["client_id"].clone(),
            redirect_uri: form["redirect_uri"].clone(),
            response_type: form["response_type"].clone(),
            scope: form["scope"].clone(),
            state: form.get("state").cloned(),
            ..AuthorizeRequest::default()
        };
        let decision = if approves { Decision::Approve { realm: REALM.into() } } else { Decision::Deny };
        let callback = self.authority.authorize(self.now, &request, decision).expect("a good request");
        if let CallbackOutcome::Code { code, .. } = &callback.outcome {
            self.secrets.push(code.clone());
        }
        let query: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(callback.parameters()).finish();
        self.callbacks.push(query.clone());
        self.input(Input::Callback { text: &query, binding: &[] });
    }

    fn callback_again(&mut self) {
        if let Some(query) = self.callbacks.last().cloned() {
            self.input(Input::Callback { text: &query, binding: &[] });
        }
    }

    // ------------------------------------------------------------------------------------------------ the checks

    fn check(&self) {
        // I1: the authority has never seen a code twice.
        for grant in self.authority.grants(self.now) {
            assert_ne!(grant.code, CodeState::UsedTwice, "I1: a code was sent twice");
        }
        // I2: at most one call at a time.
        let phase = self.session.phase();
        let exchanging = matches!(phase.consent, Consent::Exchanging { .. });
        let other = matches!(phase.grant, Grant::Refreshing { .. } | Grant::Revoking { .. });
        assert!(!(exchanging && other), "I2: two calls in flight");
        // I3: what is handed out is stored, with its refresh token.
        if let Some(token) = self.session.access_token(self.time()) {
            let stored = self.store.as_ref().expect("I3: nothing is stored");
            let now = self.record().0;
            assert_eq!(tokens_of(stored), tokens_of(&now), "I3: handed out before its tokens were stored");
            assert!(stored.contains(token.expose()), "I3: the access token is not the stored one");
            if !self.clock_was_wrong && !self.ended_by_user {
                let dead = token.seconds_left() == 0;
                assert!(!dead, "DUR-1: a dead token is handed out");
            }
        }
        // I6: nothing that is shown has a secret in it.
        let shown = format!("{:?}", self.session);
        assert!(!self.secrets.iter().any(|secret| shown.contains(secret)), "I6: a secret is shown");
    }

    /// I4, L1: an end has its reason in the world, not in the session alone.
    fn ended(&self, reason: Reason) {
        if self.ended_by_user || self.clock_was_wrong {
            return;
        }
        let text = self.record().0;
        let usable =
            self.authority.grants(self.now).iter().flat_map(|grant| grant.chain.clone()).any(|link| {
                let held = |secret: &&String| {
                    evergrant_emulator::authority::Fingerprint::of(secret) == link.fingerprint
                        && text.contains(secret.as_str())
                };
                link.state.works() && self.secrets.iter().find(held).is_some()
            });
        match reason {
            // The client counts from the moment that it asked, so it may be early by the length of a call.
            Reason::Expired | Reason::HardEnd => {}
            Reason::Refused => {
                assert!(!usable || self.false_refusals >= 9, "L1: a grant that lives was given up");
            }
            Reason::AnswerLost => {
                let age = self.lost_since.map(|since| self.now.saturating_sub(since));
                let over = age.is_some_and(|age| age >= 86_400 - 60);
                assert!(
                    !usable || over || self.false_refusals >= 9,
                    "L1: a lost answer was given up after {age:?} s, refused {} times: {:?}",
                    self.false_refusals,
                    self.session.phase()
                );
            }
            Reason::Disconnected | Reason::Poisoned => {
                assert!(!usable || self.false_refusals >= 1, "L1: ended by a hint");
            }
            Reason::Revoked | Reason::RevokeUnanswered => panic!("I4: revoked, and nobody asked for it"),
        }
    }
}

/// The part of a record that holds the two tokens.
fn tokens_of(record: &str) -> Option<&str> {
    let (_, tokens) = record.split_once("\"a\":")?;
    let end = tokens.match_indices(",\"").nth(1).map_or(tokens.len(), |(at, _)| at);
    tokens.get(..end)
}
