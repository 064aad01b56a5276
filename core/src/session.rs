//! A phase with the bytes that it speaks of. It parses, decides, copies, moves, in that order, so an error leaves it as it
//! was (I7).

use core::cmp::Ordering;

use zeroize::Zeroize;

use crate::answer::{Answer, Text};
use crate::api::Meaning;
use crate::app::{App, Scopes};
use crate::callback::Callback;
use crate::consent::{Ask, Signed, checked, is_signed, is_state, write_url};
use crate::diagnosis::{Diagnosis, Surroundings};
use crate::error::{CallbackError, Error, Field, RecordError, TooLong};
use crate::phase::{
    Bytes, CANDIDATES, Call, Consent, Due, Effects, Event, Grant, Held, Issued, Outcome, Phase, Proof,
    Purpose, Refusal, Rotation, Tell, step,
};
use crate::provider::IssuerCheck;
use crate::record::{Key, Names, Record, Token, VERSION};
use crate::request::Request;
use crate::secret::{AccessToken, Secret};
use crate::time::Time;

/// One grant, in memory that is set aside for it: `A` bytes for the access token, `R` for each refresh token, `C` for the
/// authorization code. The defaults hold whatever Intuit documents.
///
/// Nothing in it does I/O or knows the time. [`handle`](Self::handle) takes in what happened and says what to do;
/// [`request`](Self::request), [`record`](Self::record) and [`access_token`](Self::access_token) are views of it.
pub struct Session<const A: usize = 4096, const R: usize = 512, const C: usize = 512> {
    phase: Phase,
    client: u32,
    scopes: Scopes,
    asked: Asked,
    realm: heapless::String<20, u8>,
    access: Secret<A>,
    refresh: Secret<R>,
    candidates: [Secret<R>; CANDIDATES as usize],
    code: Secret<C>,
    correlation: heapless::String<40, u8>,
}

/// Refresh tokens that a session holds at most.
const HELD: usize = 1 + CANDIDATES as usize;

/// What the consent under way was asked with.
#[derive(Clone, Default)]
struct Asked {
    scopes: Scopes,
    redirect: u32,
    state: [u8; 32],
    verifier: [u8; 32],
}

impl Asked {
    fn read<'r>(app: &App<'_>, record: &Record<'r>) -> Result<Self, RecordError<'r>> {
        let mut asked = Self::default();
        if let Some(names) = &record.asked {
            asked.scopes = names.scopes(app).ok_or(RecordError::UnknownScope)?;
            asked.redirect = record.redirect;
        }
        if let Some(state) = &record.state {
            asked.state = state.bytes().ok_or(RecordError::Damaged)?;
        }
        if let Some(verifier) = &record.verifier {
            asked.verifier = verifier.bytes().ok_or(RecordError::Damaged)?;
        }
        Ok(asked)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.state.zeroize();
        self.verifier.zeroize();
    }
}

/// What happened. Its `Debug` names it, and shows nothing of a callback.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Time has passed: do what is due.
    Tick,
    /// Somebody needs an access token: refresh if the one that is held does not last.
    Demand,
    /// Refresh now, whatever is left of the access token.
    Refresh,
    /// A consent is wanted; then [`Session::authorization_url`] is where to send the user.
    Ask(Ask<'a>),
    /// The redirect came.
    Callback {
        /// Its query, or the whole URL.
        text: &'a str,
        /// What a signed `state` was bound to; empty where it was bound to nothing.
        binding: &'a [u8],
    },
    /// What became of a call.
    Answer(Call, Received<'a>),
    /// An answer of the API, to a request with the access token of that serial.
    Api {
        /// [`AccessToken::serial`].
        serial: u32,
        /// What [`judge`](crate::api::judge) made of it.
        meaning: Meaning,
    },
    /// The disconnect redirect came for this realm (REV-2).
    Disconnected,
    /// The app gives the grant up (REV-1).
    Revoke,
    /// The record of this revision is durable.
    Saved(u32),
}

/// What became of a request that was to be sent.
#[derive(Clone, Copy)]
pub enum Received<'a> {
    /// It provably never left: no connection was made, or the store failed before.
    NotSent,
    /// It left, or may have, and no whole answer came back: reset, time-out, crash, cancelled.
    NoAnswer,
    /// An answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The header `Retry-After`, as it came: seconds, or a date.
        retry_after: Option<&'a str>,
        /// The provider's correlation header (Intuit: `intuit_tid`), as it came.
        correlation: Option<&'a str>,
        /// The body, as far as it came.
        body: &'a [u8],
    },
}

/// I6: a callback is a code and a state, and its binding may be a cookie.
impl core::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tick => f.write_str("Tick"),
            Self::Demand => f.write_str("Demand"),
            Self::Refresh => f.write_str("Refresh"),
            Self::Ask(ask) => f.debug_tuple("Ask").field(ask).finish(),
            Self::Callback { .. } => f.debug_struct("Callback").finish_non_exhaustive(),
            Self::Answer(call, received) => f.debug_tuple("Answer").field(call).field(received).finish(),
            Self::Api { serial, meaning } => {
                f.debug_struct("Api").field("serial", serial).field("meaning", meaning).finish()
            }
            Self::Disconnected => f.write_str("Disconnected"),
            Self::Revoke => f.write_str("Revoke"),
            Self::Saved(revision) => f.debug_tuple("Saved").field(revision).finish(),
        }
    }
}

impl core::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotSent => f.write_str("NotSent"),
            Self::NoAnswer => f.write_str("NoAnswer"),
            Self::Answer { status, .. } => {
                f.debug_struct("Answer").field("status", status).finish_non_exhaustive()
            }
        }
    }
}

/// Tokens that an event brought, still in the answer that they came in.
#[derive(Clone, Copy, Default)]
struct Incoming<'a> {
    access: Option<Text<'a>>,
    refresh: Option<Text<'a>>,
    scope: Option<Text<'a>>,
    linking: bool,
}

impl<const A: usize, const R: usize, const C: usize> Session<A, R, C> {
    /// A session before its first consent.
    #[must_use]
    pub fn new(app: &App<'_>) -> Self {
        Self {
            phase: Phase::NEW,
            client: app.fingerprint(),
            scopes: Scopes::NONE,
            asked: Asked::default(),
            realm: heapless::String::new(),
            access: Secret::new(),
            refresh: Secret::new(),
            candidates: [const { Secret::new() }; CANDIDATES as usize],
            code: Secret::new(),
            correlation: heapless::String::new(),
        }
    }

    /// A session read back. What was in flight when it was stored counts as sent and unanswered.
    ///
    /// # Errors
    /// The record is damaged, of another version, of other keys or another environment (APP-3), or too large for this
    /// session.
    pub fn restore<'r>(app: &App<'r>, record: &'r Record<'r>) -> Result<Self, RecordError<'r>> {
        let mut session = Self::new(app);
        session.load(app, record)?;
        Ok(session)
    }

    /// Takes what a record holds in the place of everything that is here: as [`restore`](Self::restore), in memory that is
    /// there already. What was in memory and never stored is lost with it: [`adopt`](Self::adopt) and
    /// [`merge`](Self::merge) ask first.
    ///
    /// # Errors
    /// As [`restore`](Self::restore); the session is then as it was.
    pub fn load<'r>(&mut self, app: &App<'r>, record: &'r Record<'r>) -> Result<(), RecordError<'r>> {
        record.verify(app)?;
        let scopes = record.scopes.scopes(app).ok_or(RecordError::UnknownScope)?;
        let asked = Asked::read(app, record)?;
        let capacity = self.realm.capacity();
        if record.realm.len() > capacity {
            let too_long = TooLong { field: Field::Realm, needed: record.realm.len(), capacity };
            return Err(RecordError::TooLong(too_long));
        }
        Secret::<A>::fits(record.access.length(), Field::AccessToken).map_err(RecordError::TooLong)?;
        for token in [Some(record.refresh), record.candidate, record.further_candidate].into_iter().flatten()
        {
            Secret::<R>::fits(token.length(), Field::RefreshToken).map_err(RecordError::TooLong)?;
        }
        // Nothing is refused from here on.
        (self.client, self.scopes, self.asked) = (record.client, scopes, asked);
        self.realm.clear();
        let _ = self.realm.push_str(record.realm);
        let [first, second] = &mut self.candidates;
        take(&mut self.access, Some(record.access));
        take(&mut self.refresh, Some(record.refresh));
        take(first, record.candidate);
        take(second, record.further_candidate);
        self.code.wipe();
        self.correlation.clear();
        self.phase = record.phase.restored();
        Ok(())
    }

    // ------------------------------------------------------------------------------------------- what happened

    /// Takes in what happened, and says what to do: store, send, tell, in that order.
    ///
    /// # Errors
    /// The input does not fit; the session is bit for bit as it was (I7).
    pub fn handle(&mut self, app: &App<'_>, now: Time, input: Input<'_>) -> Result<Effects, Error> {
        if self.client != app.fingerprint() {
            return Err(Error::OtherApp); // APP-3
        }
        match input {
            Input::Tick => self.advance(app, now, Event::Tick, Incoming::default()),
            Input::Demand => self.advance(app, now, Event::Demand, Incoming::default()),
            Input::Refresh => self.advance(app, now, Event::Refresh, Incoming::default()),
            Input::Ask(ask) => self.ask(app, now, &ask),
            Input::Callback { text, binding } => self.callback(app, now, text, binding),
            Input::Answer(call, received) => self.answer(app, now, call, received),
            Input::Api { serial, meaning } => match meaning {
                Meaning::TokenExpired => {
                    self.advance(app, now, Event::Unauthorized { serial }, Incoming::default())
                }
                Meaning::Fine
                | Meaning::WrongEnvironment
                | Meaning::Forbidden
                | Meaning::Throttled
                | Meaning::Outage => Ok(Effects::default()),
            },
            Input::Disconnected => self.advance(app, now, Event::Disconnected, Incoming::default()),
            Input::Revoke => self.revoke(app, now),
            Input::Saved(revision) => self.advance(app, now, Event::Saved { revision }, Incoming::default()),
        }
    }

    fn advance(
        &mut self,
        app: &App<'_>,
        now: Time,
        event: Event,
        incoming: Incoming<'_>,
    ) -> Result<Effects, Error> {
        let step = step(&app.provider().policy, &self.phase, now, event)?;
        self.follow(app, step.bytes, incoming);
        self.phase = step.phase;
        Ok(step.effects)
    }

    // Each input has a frame of its own: one for all would be as deep as the deepest, for a tick as well.
    #[inline(never)]
    fn ask(&mut self, app: &App<'_>, now: Time, ask: &Ask<'_>) -> Result<Effects, Error> {
        let redirect = checked(app, ask.redirect_uri, ask.scopes)?;
        let effects = self.advance(app, now, Event::Ask, Incoming::default())?;
        let (state, verifier) = ask.random.split_at(32);
        self.asked.scopes = ask.scopes;
        self.asked.redirect = redirect;
        self.asked.state.copy_from_slice(state);
        self.asked.verifier.copy_from_slice(verifier);
        Ok(effects)
    }

    fn revoke(&mut self, app: &App<'_>, now: Time) -> Result<Effects, Error> {
        if app.provider().revocation_endpoint.is_empty() {
            return Err(Error::NoEndpoint);
        }
        self.advance(app, now, Event::Revoke, Incoming::default())
    }

    #[inline(never)]
    fn callback(&mut self, app: &App<'_>, now: Time, text: &str, binding: &[u8]) -> Result<Effects, Error> {
        let callback = Callback::parse(text, app.provider().realm_parameter)?;
        let (proof, asked) = self.proved(app, &callback, binding)?;
        check_issuer(app, &callback)?;
        // Where the whole address was handed in, it must be the one that this consent named (RED-5).
        let uri = app.redirect_uri_by(asked.redirect).ok_or(Error::RedirectUriGone)?;
        if callback.address.is_some_and(|address| address != uri) {
            return Err(CallbackError::OtherRedirectUri.into());
        }
        match (callback.code, callback.error) {
            (Some(code), None) => {
                Secret::<C>::fits(code.length(), Field::Code)?;
                if !code.is_visible() {
                    return Err(CallbackError::Code.into());
                }
                let realm = self.realm_of(app, &callback, asked.scopes)?;
                let effects = self.advance(app, now, Event::Callback(proof), Incoming::default())?;
                match code.plain() {
                    Some(plain) => self.code.set(plain),
                    None => self.code.fill(code.decode()),
                }
                self.asked = asked;
                self.realm = realm;
                Ok(effects)
            }
            (None, Some(_)) => self.advance(app, now, Event::Declined(proof), Incoming::default()),
            _ => Err(CallbackError::NeitherCodeNorError.into()),
        }
    }

    /// CSR-2, CSR-5: before anything else is believed of a callback, its `state` must be ours.
    fn proved(
        &self,
        app: &App<'_>,
        callback: &Callback<'_>,
        binding: &[u8],
    ) -> Result<(Proof, Asked), Error> {
        let state = callback.state.ok_or(CallbackError::NoState)?;
        let mut buffer = [0; crate::consent::SIGNED_TEXT_MOST];
        let received = state.decode_into(&mut buffer).ok_or(CallbackError::StateMismatch)?;
        if is_signed(received) {
            let received = core::str::from_utf8(received).map_err(|_| CallbackError::StateMismatch)?;
            let signed = Signed::open(app, received, binding)?;
            let Signed { made_at, scopes, redirect, verifier, .. } = signed;
            return Ok((Proof::Signed { made_at }, Asked { scopes, redirect, state: [0; 32], verifier }));
        }
        // After the callback the state is kept, so that the same callback again is told from a forged one.
        let ours = !matches!(self.phase.consent, Consent::None) && is_state(&self.asked.state, received);
        if ours { Ok((Proof::Stored, self.asked.clone())) } else { Err(self.mismatch()) }
    }

    fn mismatch(&self) -> Error {
        if matches!(self.phase.consent, Consent::None) {
            crate::phase::Refused::NoConsent.into()
        } else {
            CallbackError::StateMismatch.into()
        }
    }

    /// The callback's realm, which must be the session's where that has one.
    fn realm_of(
        &self,
        app: &App<'_>,
        callback: &Callback<'_>,
        scopes: Scopes,
    ) -> Result<heapless::String<20, u8>, Error> {
        let mut realm = heapless::String::new();
        for byte in callback.realm.iter().flat_map(|realm| realm.decode()) {
            let digit = Some(char::from(byte)).filter(char::is_ascii_digit).ok_or(CallbackError::Realm)?;
            realm.push(digit).map_err(|_| CallbackError::Realm)?;
        }
        if realm.is_empty() && scopes.concern_company() && !app.provider().realm_parameter.is_empty() {
            return Err(CallbackError::Realm.into());
        }
        if !realm.is_empty() && !self.realm.is_empty() && realm != self.realm {
            return Err(CallbackError::OtherRealm.into());
        }
        Ok(if realm.is_empty() { self.realm.clone() } else { realm })
    }

    #[inline(never)]
    fn answer(
        &mut self,
        app: &App<'_>,
        now: Time,
        call: Call,
        received: Received<'_>,
    ) -> Result<Effects, Error> {
        let (outcome, incoming) = match received {
            Received::NotSent => (Outcome::NotSent, Incoming::default()),
            Received::NoAnswer => (Outcome::NoAnswer, Incoming::default()),
            Received::Answer { status, retry_after, body, .. } => {
                let wait = retry_after.map_or(0, |text| seconds_until(text, now));
                self.judge(app, call.purpose, status, wait, body)?
            }
        };
        let effects = self.advance(app, now, Event::Answer { call, outcome }, incoming)?;
        if let Received::Answer { correlation, .. } = received {
            self.keep_correlation(outcome, correlation.unwrap_or_default());
        }
        Ok(effects)
    }

    /// Sorts an answer into the four classes. Only a whole OAuth error of RFC 6749 §5.2, or tokens, are a verdict.
    fn judge<'b>(
        &self,
        app: &App<'_>,
        purpose: Purpose,
        status: u16,
        retry_after: u32,
        body: &'b [u8],
    ) -> Result<(Outcome, Incoming<'b>), Error> {
        let provider = app.provider();
        let answer = Answer::scan(body, provider.refresh_lifetime_member, provider.hard_lifetime_member);
        let nothing = Incoming::default();
        let outcome = match (status, purpose) {
            (200..=299, Purpose::Revoke) => Outcome::Revoked,
            (200..=299, _) => return self.judge_tokens(app, purpose, &answer),
            (429 | 500..=599, _) => Outcome::NoVerdict { retry_after },
            (400..=499, _) => match refusal(app, &answer) {
                Some(refusal) => Outcome::Refused(refusal),
                // Intuit answers 400 for a grant that is dead already (wire-facts section 6).
                None if status == 400 && purpose == Purpose::Revoke => {
                    Outcome::Refused(Refusal::InvalidGrant)
                }
                None => Outcome::NoVerdict { retry_after },
            },
            _ => Outcome::NoVerdict { retry_after },
        };
        Ok((outcome, nothing))
    }

    /// A success: its tokens are read first, and whatever else is unusable costs nothing (I5).
    fn judge_tokens<'b>(
        &self,
        app: &App<'_>,
        purpose: Purpose,
        answer: &Answer<'b>,
    ) -> Result<(Outcome, Incoming<'b>), Error> {
        let provider = app.provider();
        let bearer = answer.token_type.is_none_or(|kind| kind.is_ignoring_case("bearer"));
        let access = answer.access_token.filter(|token| bearer && token.is_visible());
        let refresh = answer.refresh_token.filter(|token| token.length() > 0);
        // Broken off before a refresh token was seen, one may have been lost: no answer. An exchange without one brings
        // nothing that could be kept alive.
        let keeps = purpose == Purpose::Refresh && answer.complete && answer.access_token.is_some();
        if refresh.is_none() && !keeps {
            return Ok((Outcome::NoAnswer, Incoming::default()));
        }
        Secret::<A>::fits(access.map_or(0, Text::length), Field::AccessToken)?;
        Secret::<R>::fits(refresh.map_or(0, Text::length), Field::RefreshToken)?;
        let linking = purpose == Purpose::Exchange;
        let known = refresh.is_none_or(|token| self.holds(token));
        let clamped = |given: Option<u64>, most: u32| given.map_or(0, |seconds| clamp(seconds, most));
        let access_for = match access {
            Some(_) => {
                answer.expires_in.map_or(provider.access_for, |seconds| clamp(seconds, provider.access_most))
            }
            None => 0,
        };
        let issued = Issued {
            access_for,
            refresh_for: clamped(answer.refresh_expires_in, provider.refresh_most),
            hard_for: clamped(answer.hard_expires_in, u32::MAX),
            refresh: if known && !linking { Rotation::Same } else { Rotation::New },
        };
        Ok((Outcome::Tokens(issued), Incoming { access, refresh, scope: answer.scope, linking }))
    }

    /// Whether this refresh token is held already.
    fn holds(&self, token: Text<'_>) -> bool {
        let held = self.candidates.iter().chain([&self.refresh]);
        held.into_iter().any(|held| !held.is_empty() && token.is_bytes(held.as_bytes()))
    }

    /// By it, support finds a failed request again.
    fn keep_correlation(&mut self, outcome: Outcome, correlation: &str) {
        let failed = !matches!(outcome, Outcome::Tokens(_) | Outcome::Revoked);
        self.correlation.clear();
        if failed {
            for char in correlation.chars().filter(char::is_ascii_graphic) {
                if self.correlation.push(char).is_err() {
                    break;
                }
            }
        }
    }

    /// Does with the bytes what the kernel decided.
    fn follow(&mut self, app: &App<'_>, bytes: Bytes, incoming: Incoming<'_>) {
        match bytes {
            // The code follows, once it is known that the event was not refused.
            Bytes::Keep | Bytes::TakeCode => {}
            Bytes::DropCode => self.code.wipe(),
            Bytes::TakeTokens => self.take(app, incoming),
            Bytes::TakeCandidate => self.push_candidate(incoming.refresh),
            Bytes::TakeFront => {
                let [first, second] = &mut self.candidates;
                let room = if first.is_empty() { first } else { second };
                core::mem::swap(room, &mut self.refresh);
                put(&mut self.refresh, incoming.refresh);
            }
            Bytes::NextCandidate { steps } => (0..steps).for_each(|_| self.next_candidate()),
            Bytes::DropAccess => self.access.wipe(),
            Bytes::KeepRefresh => {
                self.access.wipe();
                self.code.wipe();
            }
            Bytes::Forget => self.forget(),
        }
    }

    /// REF-1: both tokens, in one step; they are stored in one record before either is used.
    fn take(&mut self, app: &App<'_>, incoming: Incoming<'_>) {
        put(&mut self.access, incoming.access);
        if incoming.refresh.is_some_and(|token| !token.is_bytes(self.refresh.as_bytes())) {
            put(&mut self.refresh, incoming.refresh);
        }
        self.candidates.iter_mut().for_each(Secret::wipe);
        if incoming.linking {
            self.code.wipe();
            // SCO-3, SCO-4: what this consent named, or less where the authority says so (RFC 6749 §3.3), and never more.
            self.scopes = granted(app, self.asked.scopes, incoming.scope);
            self.asked = Asked::default();
        }
    }

    fn next_candidate(&mut self) {
        let [first, second] = &mut self.candidates;
        core::mem::swap(&mut self.refresh, first);
        if !second.is_empty() {
            core::mem::swap(first, second);
        }
    }

    fn push_candidate(&mut self, token: Option<Text<'_>>) {
        if let Some(room) = self.candidates.iter_mut().find(|candidate| candidate.is_empty()) {
            put(room, token);
        }
    }

    fn forget(&mut self) {
        self.access.wipe();
        self.refresh.wipe();
        self.code.wipe();
        self.candidates.iter_mut().for_each(Secret::wipe);
        self.asked = Asked::default();
    }

    // ------------------------------------------------------------------------------------------------- views

    /// Where the user is to be sent, written into `buffer`, while a consent with a random `state` is pending.
    ///
    /// # Errors
    /// No consent is pending, its record is not durable yet, or the buffer is too small.
    pub fn authorization_url<'b>(&self, app: &App<'_>, buffer: &'b mut [u8]) -> Result<&'b str, Error> {
        if !matches!(self.phase.consent, Consent::Pending { .. }) {
            return Err(crate::phase::Refused::NoConsent.into());
        }
        if self.phase.unsaved {
            return Err(Error::NotSaved);
        }
        let uri = app.redirect_uri_by(self.asked.redirect).ok_or(Error::RedirectUriGone)?;
        let mut text = [0; crate::consent::STATE_LEN];
        let state = crate::consent::state_text(&self.asked.state, &mut text);
        let verifier = app.provider().pkce.then_some(&self.asked.verifier);
        Ok(write_url(app, uri, self.asked.scopes, ("", state), verifier, buffer)?)
    }

    /// The request of the call that is in flight.
    ///
    /// # Errors
    /// Another call or none is in flight, or its intent is not durable yet (I1, I2).
    pub fn request<'a>(&'a self, app: &'a App<'a>, call: Call) -> Result<Request<'a>, Error> {
        if self.client != app.fingerprint() {
            return Err(Error::OtherApp);
        }
        if self.phase.in_flight() != Some(call) {
            return Err(Error::NotInFlight);
        }
        if self.phase.unsaved {
            return Err(Error::NotSaved);
        }
        match call.purpose {
            Purpose::Exchange => {
                let uri = app.redirect_uri_by(self.asked.redirect).ok_or(Error::RedirectUriGone)?;
                let verifier = app.provider().pkce.then_some(&self.asked.verifier);
                Ok(Request::exchange(app, self.code.as_bytes(), uri, verifier))
            }
            Purpose::Refresh => Ok(Request::refresh(app, self.refresh.as_bytes())),
            Purpose::Revoke => Ok(Request::revoke(app, self.refresh.as_bytes())),
        }
    }

    /// The access token, where one may be handed out now (USE-1, USE-3): alive by the clock (DUR-1), not rejected (DUR-2),
    /// and durable together with its refresh token (I3). `None`: hand in [`Input::Demand`], which says what to do.
    #[must_use]
    pub fn access_token(&self, now: Time) -> Option<AccessToken<'_>> {
        let held = self.phase.usable()?;
        let seconds_left = held.access_left(now);
        if seconds_left == 0 || self.phase.unsaved || self.access.is_empty() {
            return None;
        }
        let token = core::str::from_utf8(self.access.as_bytes()).ok()?;
        Some(AccessToken { token, serial: held.serial, seconds_left })
    }

    /// What is to be stored.
    #[must_use]
    pub fn record<'a>(&'a self, app: &'a App<'a>) -> Record<'a> {
        let [first, second] = &self.candidates;
        let held =
            |token: &'a Secret<R>| if token.is_empty() { None } else { Some(Token::Plain(token.as_bytes())) };
        let asking = !matches!(self.phase.consent, Consent::None);
        Record {
            version: VERSION,
            environment: app.provider().name,
            client: self.client,
            realm: &self.realm,
            scopes: Names::Of(app, self.scopes),
            phase: self.phase,
            asked: asking.then_some(Names::Of(app, self.asked.scopes)),
            redirect: self.asked.redirect,
            state: asking.then_some(Key::Of(&self.asked.state)),
            verifier: (asking && app.provider().pkce).then_some(Key::Of(&self.asked.verifier)),
            access: Token::Plain(self.access.as_bytes()),
            refresh: Token::Plain(self.refresh.as_bytes()),
            candidate: held(first),
            further_candidate: held(second),
            check: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What it waits for.
    #[must_use]
    pub fn due(&self, app: &App<'_>) -> Due {
        self.phase.due(&app.provider().policy)
    }

    /// The company; empty where there is none.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// What the tokens held may do: what their own consent named (SCO-3).
    #[must_use]
    pub const fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// The correlation id of the latest failure (Intuit: `intuit_tid`); empty where there was none.
    #[must_use]
    pub fn correlation(&self) -> &str {
        &self.correlation
    }

    /// Explains an `invalid_grant`, or the end that followed from it (EXC-4, REF-5). `None` before the first consent, and
    /// where the app gave the grant up itself.
    #[must_use]
    pub fn diagnosis(&self, now: Time, around: Surroundings) -> Option<Diagnosis> {
        match (self.phase.consent, self.phase.grant) {
            (Consent::Over { refused: true, .. }, _) => Some(Diagnosis::exchange()),
            (_, Grant::Unlinked) => None,
            _ if self.phase.is_given_up() => None,
            _ => Some(Diagnosis::refresh(&self.phase.held, &self.phase.doubt, now, around)),
        }
    }

    // ------------------------------------------------------------------------------------------ several writers

    /// Takes the stored record in the place of what is in memory, where it is newer (REF-3); says whether it was. Tokens
    /// that the store never saw are lost with it: where there may be any, use [`Session::merge`].
    ///
    /// # Errors
    /// As [`Session::restore`]; the session is then as it was.
    pub fn adopt<'r>(&mut self, app: &App<'r>, record: &'r Record<'r>) -> Result<bool, RecordError<'r>> {
        let newer = record.phase.revision > self.phase.revision;
        if newer {
            self.load(app, record)?;
        }
        Ok(newer)
    }

    /// After a write that was fenced out: takes the stored record, and brings to it what it lacks, each refresh token that
    /// the store never saw as a candidate (STA-3, I5). The effects are those of the merged session, which is to be stored
    /// anew, where anything was brought; what is then to be sent, a tick says.
    ///
    /// Where this session is of a later consent than the stored one, it is its successor, as after
    /// [`succeed`](Self::succeed). So it is where the stored one holds a call for lost whose answer came here, and nothing
    /// was sent since. Where the app gave the grant up here, the stored one is given up with all that it holds (REV-1).
    ///
    /// # Errors
    /// As [`Session::restore`], or the stored session has no room for each of the candidates; this session is then as it
    /// was.
    pub fn merge<'r>(
        &mut self,
        app: &App<'r>,
        now: Time,
        record: &'r Record<'r>,
    ) -> Result<Effects, MergeError<'r>> {
        record.verify(app).map_err(MergeError::Record)?;
        let theirs = record.phase.restored();
        match self.lead(&theirs, record) {
            Lead::None => {
                self.load(app, record).map_err(MergeError::Record)?;
                Ok(Effects::default())
            }
            Lead::Consent => self.succeed(app, record).map_err(MergeError::Record),
            Lead::Answer => {
                self.phase.supersede(&theirs);
                Ok(Effects { store: Some(self.phase.revision), ..Effects::default() })
            }
            Lead::Revocation => self.give_up(app, now, &theirs, record),
            Lead::Tokens => self.bring(app, now, theirs, record),
        }
    }

    /// What this session has that the stored one lacks.
    fn lead(&self, theirs: &Phase, record: &Record<'_>) -> Lead {
        let ours = &self.phase;
        match ours.generation.cmp(&theirs.generation) {
            _ if matches!(ours.grant, Grant::Unlinked) => Lead::None,
            Ordering::Less => Lead::None,
            Ordering::Greater => Lead::Consent,
            Ordering::Equal if ours.is_given_up() && theirs.is_given_up() => Lead::None,
            Ordering::Equal if ours.is_given_up() => Lead::Revocation,
            Ordering::Equal if ours.usable().is_some() && self.answered_since(theirs, record) => Lead::Answer,
            // An end that was only concluded here says nothing of tokens that the store never saw.
            Ordering::Equal => Lead::Tokens,
        }
    }

    /// The stored session, given up as the app has given this one up: its own tokens are revoked, with the next tick.
    fn give_up<'r>(
        &mut self,
        app: &App<'r>,
        now: Time,
        theirs: &Phase,
        record: &'r Record<'r>,
    ) -> Result<Effects, MergeError<'r>> {
        let step = step(&app.provider().policy, theirs, now, Event::Revoke).map_err(MergeError::Refused)?;
        self.load(app, record).map_err(MergeError::Record)?;
        self.follow(app, step.bytes, Incoming::default());
        self.phase = Phase { unsaved: true, ..step.phase.restored() };
        Ok(Effects { send: None, ..step.effects })
    }

    /// The stored session with each refresh token that it never saw, or none of them.
    fn bring<'r>(
        &mut self,
        app: &App<'r>,
        now: Time,
        mut theirs: Phase,
        record: &'r Record<'r>,
    ) -> Result<Effects, MergeError<'r>> {
        let unseen = self.unseen(record);
        let Held { issued_at, access_for, refresh_for, hard_for, .. } = self.phase.held;
        let issued = Issued { access_for, refresh_for, hard_for, refresh: Rotation::New };
        let mut effects = Effects::default();
        let mut moves = [Bytes::Keep; HELD];
        for ((unseen, lost_since), bytes) in unseen.iter().zip(self.phase.doubt.lost).zip(&mut moves) {
            if unseen.is_empty() {
                continue;
            }
            let event = Event::Candidate { issued_at, lost_since, issued };
            let step = step(&app.provider().policy, &theirs, now, event).map_err(MergeError::Refused)?;
            // That the first took the place of what is stored is more than that another was kept beside it.
            let tell = effects.tell.filter(|tell| matches!(tell, Tell::Refreshed(_))).or(step.effects.tell);
            effects = Effects { tell, ..step.effects };
            (theirs, *bytes) = (step.phase, step.bytes);
        }
        self.load(app, record).map_err(MergeError::Record)?;
        for (unseen, bytes) in unseen.iter().zip(moves) {
            let refresh = Some(Text::raw(unseen.as_bytes()));
            self.follow(app, bytes, Incoming { refresh, ..Incoming::default() });
        }
        self.phase = theirs;
        Ok(effects)
    }

    /// Whether the answer to the latest call that they know of came here, and left the tokens as they are there. That call
    /// was only sent with its intent stored, so theirs is what became of this one's own record, and nobody has sent since.
    fn answered_since(&self, theirs: &Phase, record: &Record<'_>) -> bool {
        let is_held = |token: Token<'_>| {
            let mut held = [&self.refresh].into_iter().chain(&self.candidates);
            held.any(|held| token.bytes().eq(held.as_bytes().iter().copied()))
        };
        theirs.generation == self.phase.generation
            && theirs.held.serial < self.phase.held.serial
            && theirs.calls <= self.phase.held.serial
            && matches!(theirs.consent, Consent::None | Consent::Over { .. })
            && !theirs.is_given_up()
            && record.refresh_tokens().all(is_held)
    }

    /// The refresh tokens held here that are not in a record, the current one first; nothing in the place of the others.
    fn unseen(&self, record: &Record<'_>) -> [Secret<R>; HELD] {
        let mut found = [const { Secret::new() }; HELD];
        for (held, unseen) in [&self.refresh].into_iter().chain(&self.candidates).zip(&mut found) {
            let is_it = |token: Token<'_>| token.bytes().eq(held.as_bytes().iter().copied());
            if !record.refresh_tokens().any(is_it) {
                unseen.set(held.as_bytes());
            }
        }
        found
    }

    /// Makes this session the successor of a stored one of the same realm, which a new consent has replaced: its record
    /// counts as newer, and its generation follows (SCO-4).
    ///
    /// # Errors
    /// The record is not one of this app's.
    pub fn succeed<'r>(&mut self, app: &App<'r>, record: &'r Record<'r>) -> Result<Effects, RecordError<'r>> {
        record.verify(app)?;
        self.phase.follow(&record.phase);
        Ok(Effects { store: Some(self.phase.revision), ..Effects::default() })
    }
}

/// What a session has that was fenced out, and the stored one lacks.
enum Lead {
    None,
    /// It is of a later consent.
    Consent,
    /// The answer to a call that the stored one holds for lost.
    Answer,
    /// The app gave the grant up.
    Revocation,
    /// Perhaps refresh tokens.
    Tokens,
}

/// Why two sessions could not be merged. Nothing of either is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeError<'a> {
    /// The stored record was refused.
    Record(RecordError<'a>),
    /// The stored session cannot take a candidate now.
    Refused(crate::phase::Refused),
}

impl core::fmt::Display for MergeError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl core::error::Error for MergeError<'_> {}

/// I6: where it stands, and nothing that it holds.
impl<const A: usize, const R: usize, const C: usize> core::fmt::Debug for Session<A, R, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("realm", &self.realm)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

fn put<const N: usize>(secret: &mut Secret<N>, token: Option<Text<'_>>) {
    match token {
        None => secret.wipe(),
        Some(token) => match token.plain() {
            Some(bytes) => secret.set(bytes),
            None => secret.fill(token.bytes()),
        },
    }
}

fn take<const N: usize>(secret: &mut Secret<N>, token: Option<Token<'_>>) {
    match token {
        None => secret.wipe(),
        Some(token) => match token.plain() {
            Some(bytes) => secret.set(bytes),
            None => secret.fill(token.bytes()),
        },
    }
}

fn clamp(seconds: u64, most: u32) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX).min(most)
}

/// An OAuth error of RFC 6749 §5.2; `None` for anything else, which is no verdict.
fn refusal(app: &App<'_>, answer: &Answer<'_>) -> Option<Refusal> {
    const OTHERS: [&str; 5] = [
        "invalid_client",
        "invalid_request",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let error = answer.error.filter(|_| answer.complete)?;
    let accuses_the_keys = || {
        answer
            .error_description
            .is_some_and(|text| app.provider().not_the_grant.iter().any(|known| text.is(known)))
    };
    if error.is("invalid_grant") {
        Some(if accuses_the_keys() { Refusal::AppAtFault } else { Refusal::InvalidGrant })
    } else if OTHERS.iter().any(|known| error.is(known)) {
        Some(Refusal::AppAtFault)
    } else {
        None
    }
}

fn check_issuer(app: &App<'_>, callback: &Callback<'_>) -> Result<(), CallbackError> {
    let right = match (app.provider().issuer_check, callback.issuer) {
        (IssuerCheck::Ignored, _) | (IssuerCheck::IfPresent, None) => true,
        (IssuerCheck::Required, None) => false,
        (IssuerCheck::IfPresent | IssuerCheck::Required, Some(issuer)) => issuer.is(app.provider().issuer),
    };
    if right { Ok(()) } else { Err(CallbackError::IssuerMismatch) }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. 0 where it is neither.
fn seconds_until(text: &str, now: Time) -> u32 {
    let text = text.trim_ascii();
    let seconds = || text.parse::<u64>().ok().map(|seconds| clamp(seconds, u32::MAX));
    seconds().or_else(|| Time::from_http_date(text).map(|date| date.since(now))).unwrap_or(0)
}

/// What of the scopes asked for was granted. An answer that names none of them names none that is known: it says nothing.
fn granted(app: &App<'_>, asked: Scopes, scope: Option<Text<'_>>) -> Scopes {
    let mut named = Scopes::NONE;
    let mut names = scope.and_then(Text::plain).unwrap_or_default();
    while !names.is_empty() {
        let end = memchr::memchr(b' ', names).unwrap_or(names.len());
        let (name, rest) = names.split_at_checked(end).unwrap_or((names, &[]));
        let known = core::str::from_utf8(name).ok().and_then(|name| app.scope(name));
        named = named.with(known.unwrap_or(Scopes::NONE));
        names = rest.get(1..).unwrap_or_default();
    }
    let both = asked.within(named);
    if both.is_empty() { asked } else { both }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;

    use super::Session;
    use crate::error::{Field, RecordError, TooLong};
    use crate::{App, ClientSecret, Keys, Provider, Record};

    /// What is refused is refused before anything is taken, at the first digit that has no room.
    #[test]
    fn a_realm_is_taken_up_to_its_room() {
        let keys = Keys {
            client_id: "client",
            client_secret: ClientSecret::new("secret"),
            redirect_uris: &["https://app.example/cb"],
            further_scopes: &[],
            state_key: None,
        };
        let app = App::new(&Provider::INTUIT_SANDBOX, keys).unwrap();
        let session: Session = Session::new(&app);
        for length in [1, 19, 20, 21, 40] {
            let realm: String = "1234567890".chars().cycle().take(length).collect();
            let mut buffer = [0; 1_000];
            let text = Record { realm: &realm, ..session.record(&app) }.write(&mut buffer).unwrap();
            let record = Record::read(text).unwrap();
            let restored = Session::<64, 64, 64>::restore(&app, &record);
            if length <= 20 {
                assert_eq!(restored.unwrap().realm(), realm);
            } else {
                let too_long = TooLong { field: Field::Realm, needed: length, capacity: 20 };
                assert_eq!(restored.err(), Some(RecordError::TooLong(too_long)));
            }
        }
    }
}
