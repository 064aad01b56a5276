//! evergrant, as its manual says: store, send, tell; an adapter's part is not here.

use std::hint::black_box;

use evergrant::phase::{Event, Issued, Outcome, Phase, Rotation, step};
use evergrant::{
    App, Ask, Call, ClientSecret, Effects, Http, Input, Keys, Provider, Received, Record, Scopes, Session,
    Signed, SignedAsk, StateKey, Time, signed_url,
};

use crate::data::{self, Data};
use crate::{Contestant, Item, Seen};

const KEYS: Keys<'static> = Keys {
    client_id: data::CLIENT_ID,
    client_secret: ClientSecret::new(data::CLIENT_SECRET),
    redirect_uris: &[data::REDIRECT],
    further_scopes: &[],
    state_key: Some(StateKey::new(&data::STATE_KEY)),
};
const PKCE: Provider<'static> = Provider { pkce: true, ..Provider::INTUIT_SANDBOX };
const NOW: Time = Time::from_unix(data::NOW);
const LATER: Time = Time::from_unix(data::LATER);

/// evergrant.
#[derive(Debug)]
pub struct Evergrant {
    app: App<'static>,
    pkce: App<'static>,
    data: Data,
    /// The record of a linked session.
    linked: Vec<u8>,
    session: Session,
    call: Option<Call>,
    phase: Phase,
    out: Out,
}

/// Where the results go: memory of the caller's, as on a device. `length` is what of it was used.
#[derive(Debug)]
struct Out {
    url: ([u8; 1024], usize),
    request: [u8; 1024],
    authorization: usize,
    length: usize,
    header: ([u8; 4104], usize),
    record: ([u8; 6144], usize),
}

impl Default for Evergrant {
    fn default() -> Self {
        Self::new()
    }
}

impl Evergrant {
    /// At the beginning of [`Evergrant::connect`].
    #[must_use]
    pub fn new() -> Self {
        let made = |provider| App::new(provider, KEYS).expect("the sample's keys are good");
        let (app, pkce) = (made(&Provider::INTUIT_SANDBOX), made(&PKCE));
        let out = Out {
            url: ([0; 1024], 0),
            request: [0; 1024],
            authorization: 0,
            length: 0,
            header: ([0; 4104], 0),
            record: ([0; 6144], 0),
        };
        Self {
            session: Session::new(&app),
            app,
            pkce,
            data: Data::new(),
            linked: Vec::new(),
            call: None,
            phase: Phase::NEW,
            out,
        }
    }

    /// As if the record that the effects ask for had been stored, and the request that they ask for is next.
    fn saved(&mut self, now: Time, effects: Effects) {
        if let Some(revision) = effects.store {
            let _ = self.session.handle(&self.app, now, Input::Saved(revision)).expect("it was to be stored");
        }
        self.call = effects.send;
    }

    #[inline(never)]
    fn ask(&mut self, app: &App<'static>) {
        let scopes = Scopes::ACCOUNTING.with(Scopes::OPENID);
        let ask = Ask { redirect_uri: data::REDIRECT, scopes, random: black_box(data::RANDOM) };
        let effects = self.session.handle(app, NOW, Input::Ask(ask)).expect("a consent can be asked for");
        if let Some(revision) = effects.store {
            let _ = self.session.handle(app, NOW, Input::Saved(revision)).expect("it was to be stored");
        }
    }

    #[inline(never)]
    fn url(&mut self, app: &App<'static>) {
        self.ask(app);
        let url = self.session.authorization_url(app, &mut self.out.url.0).expect("it fits");
        self.out.url.1 = url.len();
    }

    #[inline(never)]
    fn url_signed(&mut self) {
        let mut random = [0; 16];
        random.copy_from_slice(&data::RANDOM[..16]);
        let ask = SignedAsk {
            redirect_uri: data::REDIRECT,
            scopes: Scopes::ACCOUNTING.with(Scopes::OPENID),
            random: black_box(random),
            carry: &[],
            binding: &[],
        };
        let url = signed_url(&self.app, NOW, &ask, &mut self.out.url.0).expect("it fits");
        self.out.url.1 = url.len();
    }

    #[inline(never)]
    fn callback(&mut self) -> Effects {
        let input = Input::Callback { text: black_box(&self.data.callback), binding: &[] };
        self.session.handle(&self.app, NOW, input).expect("the callback is ours")
    }

    #[inline(never)]
    fn request(&mut self) {
        let call = self.call.expect("a request is due");
        let request = self.session.request(&self.app, call).expect("it is in flight");
        let http: Http<'_> = request.write(&mut self.out.request).expect("it fits");
        let authorization = http.headers().find(|(name, _)| *name == "authorization");
        self.out.authorization = authorization.map_or(0, |(_, value)| value.len());
        self.out.length = self.out.authorization + http.body().len();
    }

    #[inline(never)]
    fn answer(&mut self, now: Time, body: fn(&Data) -> &str) -> Effects {
        let call = self.call.expect("a request is in flight");
        let received = Received::Answer {
            status: 200,
            retry_after: None,
            correlation: None,
            body: black_box(body(&self.data)).as_bytes(),
        };
        self.session.handle(&self.app, now, Input::Answer(call, received)).expect("the answer is good")
    }

    #[inline(never)]
    fn record(&mut self) {
        let record = self.session.record(&self.app);
        self.out.record.1 = record.write(&mut self.out.record.0).expect("it fits").len();
    }

    #[inline(never)]
    fn restore(&mut self) {
        let record = Record::read(&self.linked).expect("it is a record");
        self.session.load(&self.app, &record).expect("the record is ours");
    }

    #[inline(never)]
    fn fresh(&mut self) {
        let token = self.session.access_token(black_box(NOW)).expect("it is fresh");
        self.out.header.1 = token.authorization(&mut self.out.header.0).expect("it fits").len();
    }

    /// From nothing to tokens.
    pub fn connect(&mut self) {
        let app = self.app;
        self.url(&app);
        let effects = self.callback();
        self.saved(NOW, effects);
        self.request();
        let effects = self.answer(NOW, |data| &data.first.body);
        self.saved(NOW, effects);
    }

    /// From tokens to the next tokens.
    pub fn refresh(&mut self, with_intent: bool) {
        let effects = self.session.handle(&self.app, LATER, Input::Demand).expect("it can be asked for");
        if with_intent {
            self.record();
        }
        self.saved(LATER, effects);
        self.request();
        let effects = self.answer(LATER, |data| &data.second.body);
        self.record();
        self.saved(LATER, effects);
    }

    #[inline(never)]
    fn kernel(&mut self) {
        let policy = &Provider::INTUIT_SANDBOX.policy;
        let mut phase = black_box(self.phase);
        let mut call = None;
        for round in 0..4 {
            let event = match (round, call) {
                (0, _) => Event::Demand,
                (2, Some(call)) => {
                    let issued = Issued {
                        access_for: 3_600,
                        refresh_for: 8_726_400,
                        hard_for: 0,
                        refresh: Rotation::New,
                    };
                    Event::Answer { call, outcome: Outcome::Tokens(issued) }
                }
                _ => Event::Saved { revision: phase.revision },
            };
            let stepped = step(policy, &phase, LATER, event).expect("the step is one");
            phase = stepped.phase;
            call = stepped.effects.send.or(call);
        }
        self.phase = black_box(phase);
    }

    #[inline(never)]
    fn revoke(&mut self) {
        let effects = self.session.handle(&self.app, NOW, Input::Revoke).expect("it can be revoked");
        self.saved(NOW, effects);
        self.request();
        let effects = self.answer(NOW, |_| "");
        self.saved(NOW, effects);
    }

    /// A session with the first tokens, by its record.
    fn linked(&mut self) {
        if self.linked.is_empty() {
            self.session = Session::new(&self.app);
            self.connect();
            self.record();
            self.linked = self.out.record.0[..self.out.record.1].to_vec();
        }
        self.restore();
    }

    fn pending(&mut self) {
        let app = self.app;
        self.session = Session::new(&app);
        self.ask(&app);
    }

    fn exchanging(&mut self) {
        self.pending();
        let effects = self.callback();
        self.saved(NOW, effects);
    }

    /// The text of a record of a session that has been refreshed that often.
    pub fn aged(&mut self, refreshes: u32, mut each: impl FnMut(u32)) -> Vec<u8> {
        self.linked();
        let now = NOW;
        for round in 0..refreshes {
            let effects = self.session.handle(&self.app, now, Input::Refresh).expect("it can be asked for");
            self.saved(now, effects);
            self.request();
            let odd = round % 2 == 1;
            let effects =
                self.answer(now, if odd { |data| &data.first.body } else { |data| &data.second.body });
            self.record();
            self.saved(now, effects);
            each(round);
        }
        self.out.record.0[..self.out.record.1].to_vec()
    }

    /// Goes on from a record of [`Evergrant::aged`] instead of a young one.
    pub fn begin_from(&mut self, record: Vec<u8>) {
        self.linked = record;
    }
}

impl Contestant for Evergrant {
    fn name(&self) -> &'static str {
        "evergrant"
    }

    fn can(&self, _: Item) -> bool {
        true
    }

    fn prepare(&mut self, item: Item) {
        match item {
            Item::Nothing | Item::UrlSigned => {}
            Item::Url | Item::Connect => self.session = Session::new(&self.app),
            Item::UrlPkce => self.session = Session::new(&self.pkce),
            Item::Callback => self.pending(),
            Item::Exchange | Item::Answer | Item::AnswerOpenid => self.exchanging(),
            Item::RefreshRequest => {
                self.linked();
                let effects = self.session.handle(&self.app, LATER, Input::Demand).expect("it is due");
                self.saved(LATER, effects);
            }
            Item::Fresh
            | Item::Refresh
            | Item::RefreshIntent
            | Item::RecordWrite
            | Item::RecordRead
            | Item::Revoke => self.linked(),
            Item::Kernel => {
                self.linked();
                self.phase = *self.session.phase();
            }
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::Nothing => {}
            Item::Url => {
                let app = self.app;
                self.url(&app);
            }
            Item::UrlPkce => {
                let app = self.pkce;
                self.url(&app);
            }
            Item::UrlSigned => self.url_signed(),
            Item::Callback => {
                let effects = self.callback();
                self.call = effects.send;
            }
            Item::Exchange | Item::RefreshRequest => self.request(),
            Item::Answer => {
                let _ = self.answer(NOW, |data| &data.first.body);
            }
            Item::AnswerOpenid => {
                let _ = self.answer(NOW, |data| &data.openid.body);
            }
            Item::Fresh => self.fresh(),
            Item::Connect => self.connect(),
            Item::Refresh => self.refresh(false),
            Item::RefreshIntent => self.refresh(true),
            Item::RecordWrite => self.record(),
            Item::RecordRead => self.restore(),
            Item::Kernel => self.kernel(),
            Item::Revoke => self.revoke(),
        }
    }

    fn seen(&mut self, item: Item) -> Seen {
        if item == Item::Callback {
            // The code shows in the request that it is good for.
            let effects = Effects { store: Some(self.session.phase().revision), send: self.call, tell: None };
            self.saved(NOW, effects);
            self.request();
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut seen = Seen {
            url: text(&self.out.url.0[..self.out.url.1]),
            authorization: text(&self.out.request[..self.out.authorization]),
            body: text(&self.out.request[self.out.authorization..self.out.length]),
            header: text(&self.out.header.0[..self.out.header.1]),
            record: self.out.record.0[..self.out.record.1].to_vec(),
            realm: self.session.realm().to_owned(),
            ..Seen::default()
        };
        if let Some(state) = seen.url.split("state=").nth(1).filter(|state| state.starts_with("s.")) {
            seen.state_is_signed = Signed::open(&self.app, state, &[]).is_ok();
        }
        if let Some(held) = self.session.phase().usable() {
            let until = |seconds: u32| held.issued_at.plus(seconds).unix();
            (seen.access_until, seen.refresh_until) = (until(held.access_for), until(held.refresh_for));
        }
        let code = crate::text::pairs(&seen.body).into_iter().find(|(name, _)| name == "code");
        seen.code = code.map(|(_, code)| code).unwrap_or_default();
        show(&self.session, &self.app, &mut seen);
        seen
    }
}

/// What the session would store: it shows tokens only where they are due.
fn show(session: &Session, app: &App<'_>, seen: &mut Seen) {
    let mut buffer = [0; 6144];
    let record = session.record(app).write(&mut buffer).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_slice(record).expect("it is JSON");
    let member = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    (seen.access, seen.refresh) = (member("a"), member("t"));
}
