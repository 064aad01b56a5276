//! The pure authority: the other side of every rule of the FAQ, without I/O, clock or source of entropy.
//!
//! Time is an argument of each call (Unix seconds). It may jump and even step back; a step back never panics, and
//! never brings back to life what was ended by an act (revocation, disconnect, a code used twice).
//! Random values come from a generator with a seed, so the same calls give the same answers.
//!
//! Decisions where Intuit's documents are silent or at odds:
//!
//! - A stale token that still works is answered with a **new** refresh token (under [`Rotation::EveryRefresh`]), and
//!   the one that was current becomes stale: of two racing refreshes the last one redeemed is the newest. Under
//!   [`Rotation::Sticky`] it is answered with the current value while that stays, else with a new one.
//!   Its own end is not moved by being used.
//! - The same value coming back keeps the end that it had (wire-facts C3); a new value starts anew (DUR-5).
//! - An exchange that is refused (wrong redirect URI, wrong verifier) does not use up its code.
//! - A second exchange of a used code ends the grant even after the code's ten minutes, and even if its redirect URI is
//!   wrong; but only its own client can do that.
//! - A new consent for the same company makes a new grant; the older one goes on until it ends by itself.
//! - A revocation with a dead or unknown token is answered 400.

mod config;
mod grant;
mod message;

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

pub use config::{
    Config, ConfigError, Environment, INTUIT_ISSUER, KNOWN_SCOPES, Keys, Lengths, Lifetimes, OPENID_SCOPES,
    Policy, Previous, Rotation, User, check_redirect_uri,
};
pub use grant::{AccessView, CodeState, End, EndReason, Fingerprint, GrantView, RefreshState, RefreshView};
pub use message::{
    Address, ApiError, AuthorizeError, AuthorizeRequest, Callback, CallbackOutcome, Cause, ClientAuth,
    Company, Decision, ErrorCode, IdClaims, TokenAnswer, TokenError, TokenGrant, TokenRequest, Tokens,
    UserInfo,
};

use crate::rng::Rng;
use grant::{Code, Grant};

/// Intuit's OAuth service as a value: it can be cloned (to fork a search), compared and hashed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    config: Config,
    rng: Rng,
    grants: Vec<Grant>,
    codes: BTreeMap<Fingerprint, usize>,
    refresh_tokens: BTreeMap<Fingerprint, usize>,
    access_tokens: BTreeMap<Fingerprint, (usize, u64)>,
    /// Requests seen by the API for a realm, and the minute in which they were.
    api_use: BTreeMap<String, (u64, u32)>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("config", &self.config)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

/// What a consent page has to show, after the request was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The environment of the client's keys.
    pub environment: Environment,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// Whether a company is to be chosen: not with OpenID-only scopes.
    pub needs_company: bool,
}

/// What the authorize endpoint thinks of a request before the user is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consideration {
    /// Ask the user.
    Ask(Proposal),
    /// Send the browser back with an `error` at once.
    Refuse(Callback),
}

impl Authority {
    /// An authority without grants.
    ///
    /// # Errors
    /// When the configuration contradicts itself or a rule (APP-1, APP-2, RED-3, RED-4).
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            rng: Rng::new(seed),
            grants: Vec::new(),
            codes: BTreeMap::new(),
            refresh_tokens: BTreeMap::new(),
            access_tokens: BTreeMap::new(),
            api_use: BTreeMap::new(),
        })
    }

    /// What it was set up with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the rotation policy from here on; what is stale already keeps the end that it got.
    pub const fn set_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
    }

    /// Changes the lifetimes of what is issued from here on.
    pub const fn set_lifetimes(&mut self, lifetimes: Lifetimes) {
        self.config.lifetimes = lifetimes;
    }

    // ---- authorize ----

    /// Judges a consent request without asking the user. Changes nothing.
    ///
    /// # Errors
    /// When the browser must not be sent back (unknown client, unregistered redirect URI): show an error page.
    pub fn consider(&self, request: &AuthorizeRequest) -> Result<Consideration, AuthorizeError> {
        let (_, keys) = self.config.keys_of(&request.client_id).ok_or(AuthorizeError::UnknownClient)?;
        // RED-1, RED-2, APP-3: one of this environment's, byte for byte. Never redirect elsewhere.
        if !keys.redirect_uris.contains(&request.redirect_uri) {
            return Err(AuthorizeError::RedirectUriNotRegistered);
        }
        Ok(match self.request_fault(request) {
            Some(error) => Consideration::Refuse(callback(request, CallbackOutcome::Error(error))),
            None => {
                let scopes = split_scopes(&request.scope);
                let needs_company = scopes.iter().any(|scope| !OPENID_SCOPES.contains(&scope.as_str()));
                Consideration::Ask(Proposal { environment: keys.environment, scopes, needs_company })
            }
        })
    }

    fn request_fault(&self, request: &AuthorizeRequest) -> Option<&'static str> {
        if request.response_type != "code" {
            return Some("unsupported_response_type");
        }
        // CSR-1 at Intuit: `state` is a required parameter (wire-facts section 3).
        if request.state.as_ref().is_none_or(String::is_empty) {
            return Some("invalid_request");
        }
        if request.code_challenge.is_some() && request.code_challenge_method.as_deref() != Some("S256") {
            return Some("invalid_request");
        }
        // SCO-1: at least one, and each of them must exist.
        let scopes = split_scopes(&request.scope);
        if scopes.is_empty() || !scopes.iter().all(|scope| self.config.scope_exists(scope)) {
            return Some("invalid_scope");
        }
        None
    }

    /// Carries out what the user decided, and says where the browser goes.
    ///
    /// # Errors
    /// As [`consider`](Self::consider), and when the realm is not 10 to 16 digits.
    pub fn authorize(
        &mut self,
        now: u64,
        request: &AuthorizeRequest,
        decision: Decision,
    ) -> Result<Callback, AuthorizeError> {
        let proposal = match self.consider(request)? {
            Consideration::Refuse(refusal) => return Ok(refusal),
            Consideration::Ask(proposal) => proposal,
        };
        let realm = match decision {
            Decision::Deny => return Ok(callback(request, CallbackOutcome::Error("access_denied"))),
            Decision::Approve { .. } if !proposal.needs_company => None,
            Decision::Approve { realm } if is_realm(&realm) => Some(realm),
            Decision::Approve { .. } => return Err(AuthorizeError::BadRealm),
        };
        let code = self.consent(now, request, proposal, realm.clone())?;
        Ok(callback(request, CallbackOutcome::Code { code, realm_id: realm }))
    }

    fn consent(
        &mut self,
        now: u64,
        request: &AuthorizeRequest,
        proposal: Proposal,
        realm: Option<String>,
    ) -> Result<String, AuthorizeError> {
        let (client, _) = self.config.keys_of(&request.client_id).ok_or(AuthorizeError::UnknownClient)?;
        let value = self.new_code();
        let code = Code {
            fingerprint: Fingerprint::of(&value),
            redirect_uri: request.redirect_uri.clone(),
            challenge: request.code_challenge.clone(),
            until: now.saturating_add(self.config.lifetimes.code),
            uses: 0,
        };
        let hard_end = now.saturating_add(self.config.lifetimes.grant);
        self.codes.insert(code.fingerprint, self.grants.len());
        self.grants.push(Grant::new(
            client,
            proposal.environment,
            realm,
            proposal.scopes,
            now,
            hard_end,
            code,
        ));
        Ok(value)
    }

    // ---- token ----

    /// The token endpoint.
    ///
    /// # Errors
    /// With what the wire says and with what really was the matter.
    pub fn token(&mut self, now: u64, request: &TokenRequest) -> TokenAnswer {
        let client = self.authenticate(&request.client)?;
        let grant = match &request.grant {
            TokenGrant::AuthorizationCode { code, redirect_uri, code_verifier } => {
                self.exchange(now, client, code, redirect_uri, code_verifier.as_deref())?
            }
            TokenGrant::RefreshToken { refresh_token } => self.refresh(now, client, refresh_token)?,
        };
        Ok(self.issue(now, grant, request.include_hard_expiry))
    }

    /// Finds the keys that a request speaks for.
    fn authenticate(&self, auth: &ClientAuth) -> Result<usize, TokenError> {
        let (client_id, secret) = match auth {
            // Wire-facts section 4: `client_id` in the body beside Basic is refused.
            ClientAuth { basic: Some(_), body_client_id: Some(_), .. } => {
                return Err(TokenError::invalid_client(Cause::ClientIdTwice));
            }
            ClientAuth { basic: Some((client_id, secret)), .. } => (client_id, secret),
            ClientAuth { body_client_id: Some(client_id), body_client_secret: Some(secret), .. } => {
                (client_id, secret)
            }
            _ => return Err(TokenError::invalid_client(Cause::WrongKeys)),
        };
        match self.config.keys_of(client_id) {
            Some((client, keys)) if keys.client_secret == *secret => Ok(client),
            _ => Err(TokenError::invalid_client(Cause::WrongKeys)),
        }
    }

    /// Whether these are the right keys of some app.
    pub fn recognises(&self, client: &ClientAuth) -> bool {
        self.authenticate(client).is_ok()
    }

    /// EXC-1 to EXC-4 from the other side. Returns the grant to issue tokens for.
    fn exchange(
        &mut self,
        now: u64,
        client: usize,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<usize, TokenError> {
        let refuse = |cause| Err(TokenError::invalid_grant(cause));
        let Some(&id) = self.codes.get(&Fingerprint::of(code)) else { return refuse(Cause::UnknownCode) };
        let grant = &mut self.grants[id];
        // APP-3: bound to the keys, and with them to the environment, that asked for it.
        if grant.client != client {
            return refuse(Cause::WrongClient);
        }
        // EXC-2: the second use is refused, and ends what the first one brought.
        if grant.code.uses > 0 {
            grant.code.uses = 2;
            grant.finish(now, EndReason::CodeUsedTwice);
            return refuse(Cause::CodeUsed);
        }
        if let Some(end) = grant.end {
            return refuse(if end.reason == EndReason::Disconnected {
                Cause::Disconnected
            } else {
                Cause::Revoked
            });
        }
        if now >= grant.code.until {
            return refuse(Cause::CodeExpired);
        }
        // RED-5: byte for byte the one of the consent request.
        if grant.code.redirect_uri != redirect_uri {
            return refuse(Cause::RedirectUriDiffers);
        }
        if !verifier_fits(grant.code.challenge.as_deref(), verifier) {
            return refuse(Cause::WrongVerifier);
        }
        grant.code.uses = 1;
        Ok(id)
    }

    /// DUR-3 to DUR-7 and STA-1 to STA-5 from the other side. Returns the grant to issue tokens for.
    fn refresh(&mut self, now: u64, client: usize, refresh_token: &str) -> Result<usize, TokenError> {
        let refuse = |cause| Err(TokenError::invalid_grant(cause));
        let fingerprint = Fingerprint::of(refresh_token);
        // Wire-facts section 4: an access token in the place of a refresh token; it survives.
        if self.access_tokens.contains_key(&fingerprint) {
            return refuse(Cause::WrongTokenType);
        }
        let Some(&id) = self.refresh_tokens.get(&fingerprint) else { return refuse(Cause::UnknownToken) };
        let grant = &self.grants[id];
        // APP-3: another app's, or the other environment's; it survives.
        if grant.client != client {
            return refuse(Cause::WrongClient);
        }
        match grant.refresh_state(now, fingerprint) {
            Some(RefreshState::Current { .. } | RefreshState::Stale { .. }) => Ok(id),
            Some(RefreshState::Dead { why }) => refuse(why),
            None => refuse(Cause::UnknownToken),
        }
    }

    fn issue(&mut self, now: u64, id: usize, include_hard_expiry: bool) -> Tokens {
        let (refresh_token, refresh_until) = self.issue_refresh_token(now, id);
        let (access_token, access_until) = self.issue_access_token(now, id);
        let hard_end = self.grants[id].hard_end;
        Tokens {
            access_token,
            refresh_token,
            expires_in: access_until.saturating_sub(now),
            refresh_token_expires_in: refresh_until.saturating_sub(now),
            refresh_token_hard_expires_in: include_hard_expiry.then(|| hard_end.saturating_sub(now)),
            id_token: self.id_claims(now, id),
        }
    }

    fn issue_refresh_token(&mut self, now: u64, id: usize) -> (String, u64) {
        let Config { policy, lifetimes, lengths, .. } = &self.config;
        let grant = &mut self.grants[id];
        if let Some(same) = grant.same_again(now, policy.rotation) {
            return same;
        }
        let mut value = String::from("RT1-");
        self.rng.push_token(&mut value, lengths.refresh_token.saturating_sub(4));
        self.refresh_tokens.insert(Fingerprint::of(&value), id);
        let (until, forgotten) = grant.rotate(now, value.clone(), *policy, lifetimes);
        for fingerprint in forgotten {
            self.refresh_tokens.remove(&fingerprint);
        }
        (value, until)
    }

    fn issue_access_token(&mut self, now: u64, id: usize) -> (String, u64) {
        let Config { lifetimes, lengths, .. } = &self.config;
        let mut value = String::from("eyJ");
        self.rng.push_token(&mut value, lengths.access_token.saturating_sub(3));
        let fingerprint = Fingerprint::of(&value);
        let grant = &mut self.grants[id];
        // DUR-1, and USE-3: access dies with the grant.
        let until = now.saturating_add(lifetimes.access_token).min(grant.hard_end);
        for over in grant.add_access(now, until, fingerprint) {
            self.access_tokens.remove(&over);
        }
        self.access_tokens.insert(fingerprint, (id, until));
        (value, until)
    }

    /// SCO-5: only where `openid` was consented to.
    fn id_claims(&self, now: u64, id: usize) -> Option<IdClaims> {
        let grant = &self.grants[id];
        grant.has_scope("openid").then(|| IdClaims {
            iss: self.config.issuer.clone(),
            aud: vec![self.config.keys[grant.client].client_id.clone()],
            exp: now.saturating_add(3_600),
            iat: now,
            auth_time: grant.consented_at,
            sub: self.config.user.subject.clone(),
            realmid: grant.realm.clone(),
        })
    }

    /// A code; some have a `/`, as Intuit's may (wire-facts section 3), so that a client that forgets to encode is found.
    fn new_code(&mut self) -> String {
        let mut value = String::from("AB");
        value.push(if self.rng.below(2) == 0 { '/' } else { '1' });
        self.rng.push_token(&mut value, self.config.lengths.code.saturating_sub(3));
        value
    }

    // ---- the end ----

    /// The revocation endpoint: either token ends the whole grant (REV-1, REF-6, USE-3).
    ///
    /// # Errors
    /// `invalid_client` for wrong keys; `invalid_grant` (400) for a token that is unknown, dead or another app's.
    pub fn revoke(&mut self, now: u64, client: &ClientAuth, token: &str) -> Result<(), TokenError> {
        let client = self.authenticate(client)?;
        let id = self.living_grant_of(now, token).map_err(TokenError::invalid_grant)?;
        if self.grants[id].client != client {
            return Err(TokenError::invalid_grant(Cause::WrongClient));
        }
        self.grants[id].finish(now, EndReason::Revoked);
        Ok(())
    }

    fn living_grant_of(&self, now: u64, token: &str) -> Result<usize, Cause> {
        let fingerprint = Fingerprint::of(token);
        if let Some(id) = self.access_grant(now, fingerprint) {
            return Ok(id);
        }
        let id = *self.refresh_tokens.get(&fingerprint).ok_or(Cause::UnknownToken)?;
        match self.grants[id].refresh_state(now, fingerprint) {
            Some(RefreshState::Dead { why }) => Err(why),
            Some(_) => Ok(id),
            None => Err(Cause::UnknownToken),
        }
    }

    /// The user disconnects a company from outside (REV-2): every grant for it ends. Says how many there were.
    pub fn disconnect(&mut self, now: u64, realm: &str) -> usize {
        let has_realm = |grant: &Grant| grant.end.is_none() && grant.realm.as_deref() == Some(realm);
        let ids: Vec<usize> = (0..self.grants.len()).filter(|&id| has_realm(&self.grants[id])).collect();
        for &id in &ids {
            self.grants[id].finish(now, EndReason::Disconnected);
        }
        ids.len()
    }

    /// The user disconnects every company.
    pub fn disconnect_all(&mut self, now: u64) {
        for grant in self.grants.iter_mut().filter(|grant| grant.realm.is_some()) {
            grant.finish(now, EndReason::Disconnected);
        }
    }

    // ---- what tokens are for ----

    /// Judges an API request for `realm` at the API host of `host`.
    ///
    /// # Errors
    /// As Intuit's API (wire-facts section 5): token not valid, wrong environment, wrong company or scope, throttled.
    pub fn api(
        &mut self,
        now: u64,
        host: Environment,
        access_token: &str,
        realm: &str,
    ) -> Result<Company, ApiError> {
        let grant = self.grant_for(now, host, access_token)?;
        let allowed =
            grant.realm.as_deref() == Some(realm) && grant.has_scope("com.intuit.quickbooks.accounting");
        if !allowed {
            return Err(ApiError::NotAuthorized);
        }
        if self.is_throttled(now, realm) {
            return Err(ApiError::Throttled);
        }
        Ok(Company { realm: realm.into(), name: company_name(realm) })
    }

    /// The userinfo endpoint of the accounts host of `host`: the claims that the scopes allow (SCO-5).
    ///
    /// # Errors
    /// When the token is not valid, is of the other environment, or came without `openid`.
    pub fn userinfo(&self, now: u64, host: Environment, access_token: &str) -> Result<UserInfo, ApiError> {
        let grant = self.grant_for(now, host, access_token)?;
        if !grant.has_scope("openid") {
            return Err(ApiError::NotAuthorized);
        }
        let user = &self.config.user;
        let with = |scope, value: &String| grant.has_scope(scope).then(|| value.clone());
        Ok(UserInfo {
            sub: user.subject.clone(),
            email: with("email", &user.email),
            email_verified: grant.has_scope("email").then_some(true),
            given_name: with("profile", &user.given_name),
            family_name: with("profile", &user.family_name),
            phone_number: with("phone", &user.phone_number),
            phone_number_verified: grant.has_scope("phone").then_some(false),
            address: grant.has_scope("address").then(made_up_address),
        })
    }

    fn grant_for(&self, now: u64, host: Environment, access_token: &str) -> Result<&Grant, ApiError> {
        let id = self.access_grant(now, Fingerprint::of(access_token)).ok_or(ApiError::TokenExpired)?;
        let grant = &self.grants[id];
        // APP-3: a token of one environment at the host of the other.
        if grant.environment != host {
            return Err(ApiError::WrongCluster { asked: host, belongs_to: grant.environment });
        }
        Ok(grant)
    }

    /// The living grant of a living access token (DUR-1, USE-3).
    fn access_grant(&self, now: u64, fingerprint: Fingerprint) -> Option<usize> {
        let &(id, until) = self.access_tokens.get(&fingerprint)?;
        (now < until && self.grants[id].end.is_none()).then_some(id)
    }

    fn is_throttled(&mut self, now: u64, realm: &str) -> bool {
        let Some(limit) = self.config.api_requests_per_minute else { return false };
        let used = self.api_use.entry(realm.into()).or_default();
        if used.0 != now / 60 {
            *used = (now / 60, 0);
        }
        used.1 = used.1.saturating_add(1);
        used.1 > limit
    }

    // ---- what it believes ----

    /// Each grant as the authority sees it at `now`: its code, its chain of refresh tokens, what works and why not.
    pub fn grants(&self, now: u64) -> Vec<GrantView> {
        self.grants
            .iter()
            .enumerate()
            .map(|(id, grant)| grant.view(now, id, &self.config.keys[grant.client].client_id))
            .collect()
    }

    /// The grant with that number (see [`GrantView::id`]), without building the views of all others.
    pub fn grant(&self, now: u64, id: usize) -> Option<GrantView> {
        let grant = self.grants.get(id)?;
        Some(grant.view(now, id, &self.config.keys[grant.client].client_id))
    }

    /// What a refresh token is worth at `now`; `None` if it was never issued, or is long dead and forgotten.
    pub fn refresh_token_state(&self, now: u64, refresh_token: &str) -> Option<RefreshState> {
        let fingerprint = Fingerprint::of(refresh_token);
        let &id = self.refresh_tokens.get(&fingerprint)?;
        self.grants[id].refresh_state(now, fingerprint)
    }

    /// Whether the API would take this access token at `now` for some company of its own environment.
    pub fn access_token_works(&self, now: u64, access_token: &str) -> bool {
        self.access_grant(now, Fingerprint::of(access_token)).is_some()
    }
}

fn callback(request: &AuthorizeRequest, outcome: CallbackOutcome) -> Callback {
    let state = request.state.clone().filter(|state| !state.is_empty());
    Callback { redirect_uri: request.redirect_uri.clone(), state, outcome }
}

/// The scopes in the order in which they stand, each once.
fn split_scopes(scope: &str) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for name in scope.split(' ').filter(|name| !name.is_empty()) {
        if !scopes.iter().any(|known| known == name) {
            scopes.push(name.into());
        }
    }
    scopes
}

/// Wire-facts section 3: decimal digits, 10 to 16 of them.
fn is_realm(realm: &str) -> bool {
    (10..=16).contains(&realm.len()) && realm.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 7636 section 4.6, and RFC 9700 section 4.8.2: a verifier without a challenge is refused as well.
fn verifier_fits(challenge: Option<&str>, verifier: Option<&str>) -> bool {
    match (challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => {
            Base64UrlUnpadded::encode_string(&Sha256::digest(verifier.as_bytes())) == challenge
        }
        _ => false,
    }
}

fn company_name(realm: &str) -> String {
    format!("Sample Company {}", realm.get(realm.len().saturating_sub(4)..).unwrap_or(realm))
}

fn made_up_address() -> Address {
    Address {
        street_address: "1 Sample Street".into(),
        locality: "Mountain View".into(),
        region: "CA".into(),
        postal_code: "94043".into(),
        country: "US".into(),
    }
}
