//! The benchmark's room: the work, the sample that it is done on, and the ways in which it is measured.
//!
//! Each contestant does an [`Item`] in three steps, of which the middle one is measured: [`prepare`](Contestant::prepare)
//! puts it where the item begins, [`run`](Contestant::run) does the work, and [`seen`](Contestant::seen) shows what came of
//! it, which must be the same for all. What goes in (random bytes, the time, the answer as the HTTP library would hand it
//! over) is made before, so that nobody pays for it.

pub mod data;
pub mod floor;
pub mod measure;
pub mod ours;
pub mod signed;
pub mod text;
pub mod weigh;

use data::{
    ACCESS_FOR, CLIENT_ID, CLIENT_SECRET, CODE, Data, LATER, NOW, REALM, REDIRECT, REFRESH_FOR, SCOPES,
};

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Nothing: what measuring itself costs, which is taken off the others.
    Nothing,
    /// The authorization URL, its state given.
    Url,
    /// The same, its state signed (HMAC-SHA-256), so that nothing need be kept until the callback.
    UrlSigned,
    /// The same with a given state, and PKCE's challenge (SHA-256).
    UrlPkce,
    /// The callback parsed, its state judged, code and realm taken.
    Callback,
    /// The request that turns a code into tokens, built.
    Exchange,
    /// The request that refreshes, built.
    RefreshRequest,
    /// The answer read, tokens and their deadlines held.
    Answer,
    /// The same with an ID token in it, which is kept by those that keep one.
    AnswerOpenid,
    /// Whether the access token is fresh, and the `Authorization` header with it.
    Fresh,
    /// URL, callback, exchange built, answer read.
    Connect,
    /// The need seen, request built, answer read, record written.
    Refresh,
    /// As [`Item::Refresh`], with the record that says what is about to be sent, which evergrant's contract asks for and
    /// nobody else has.
    RefreshIntent,
    /// The record written.
    RecordWrite,
    /// The record read back into what can be used.
    RecordRead,
    /// The four steps of the kernel that a refresh takes.
    Kernel,
    /// The grant revoked: request built, its answer taken.
    Revoke,
}

impl Item {
    pub const ALL: [Self; 17] = [
        Self::Nothing,
        Self::Url,
        Self::UrlSigned,
        Self::UrlPkce,
        Self::Callback,
        Self::Exchange,
        Self::RefreshRequest,
        Self::Answer,
        Self::AnswerOpenid,
        Self::Fresh,
        Self::Connect,
        Self::Refresh,
        Self::RefreshIntent,
        Self::RecordWrite,
        Self::RecordRead,
        Self::Kernel,
        Self::Revoke,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Url => "url",
            Self::UrlSigned => "url-signed",
            Self::UrlPkce => "url-pkce",
            Self::Callback => "callback",
            Self::Exchange => "exchange-request",
            Self::RefreshRequest => "refresh-request",
            Self::Answer => "answer",
            Self::AnswerOpenid => "answer-openid",
            Self::Fresh => "fresh",
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::RefreshIntent => "refresh-intent",
            Self::RecordWrite => "record-write",
            Self::RecordRead => "record-read",
            Self::Kernel => "kernel",
            Self::Revoke => "revoke",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }
}

/// Somebody who does the work.
pub trait Contestant {
    /// What it is called in the table.
    fn name(&self) -> &'static str;
    /// Which items it has an answer to.
    fn can(&self, item: Item) -> bool;
    /// Puts it where the item begins. Not measured.
    fn prepare(&mut self, item: Item);
    /// The work.
    fn run(&mut self, item: Item);
    /// What came of it. Not measured.
    fn seen(&mut self, item: Item) -> Seen;
}

/// What came of an item, in plain text. What the item does not make is empty.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub url: String,
    /// What the signed state's check found; only where it was checked.
    pub state_is_signed: bool,
    pub code: String,
    pub realm: String,
    pub authorization: String,
    pub body: String,
    pub access: String,
    pub refresh: String,
    pub access_until: u64,
    /// 0 where the contestant has no way to know it.
    pub refresh_until: u64,
    pub header: String,
    pub record: Vec<u8>,
}

/// Whether a contestant did an item, and not something cheaper.
///
/// # Panics
/// It did not.
pub fn check(item: Item, data: &Data, seen: &Seen) {
    match item {
        Item::Nothing | Item::Kernel => {}
        Item::Url => check_url(seen, &[("state", &data.state)]),
        Item::UrlSigned => {
            check_url(seen, &[]);
            assert!(seen.state_is_signed);
        }
        Item::UrlPkce => {
            // RFC 7636 §4.2, of the sample's verifier: made by another implementation.
            let challenge = challenge(&data.verifier);
            let more = [
                ("state", data.state.as_str()),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ];
            check_url(seen, &more);
        }
        Item::Callback => check_callback(seen),
        Item::Exchange => check_exchange(seen),
        Item::RefreshRequest => check_refresh_request(seen, &data.first.refresh),
        Item::Answer => check_tokens(seen, &data.first, NOW),
        Item::AnswerOpenid => check_tokens(seen, &data.openid, NOW),
        Item::Fresh => assert_eq!(seen.header, format!("Bearer {}", data.first.access)),
        Item::Connect => {
            check_url(seen, &[("state", &data.state)]);
            check_callback(seen);
            check_exchange(seen);
            check_tokens(seen, &data.first, NOW);
        }
        Item::Refresh | Item::RefreshIntent => {
            check_refresh_request(seen, &data.first.refresh);
            check_tokens(seen, &data.second, LATER);
            check_record(seen, &data.second);
        }
        Item::RecordWrite => check_record(seen, &data.first),
        Item::RecordRead => check_tokens(seen, &data.first, NOW),
        Item::Revoke => {
            check_authorization(seen);
            assert!(seen.body.contains(&data.first.refresh), "{}", seen.body);
        }
    }
}

fn check_url(seen: &Seen, more: &[(&str, &str)]) {
    let (endpoint, query) = seen.url.split_once('?').unwrap_or_default();
    assert_eq!(endpoint, data::AUTHORIZE);
    let found = text::pairs(query);
    let same = [("client_id", CLIENT_ID), ("redirect_uri", REDIRECT), ("response_type", "code")];
    for (name, value) in same.iter().chain(more) {
        let held = found.iter().any(|(found, has)| found == name && has == value);
        assert!(held, "{name}={value} is not in {}", seen.url);
    }
    assert!(found.iter().any(|(name, value)| name == "state" && value.len() >= 43));
    // Their order means nothing (RFC 6749 §3.3).
    let scope = found.iter().find(|(name, _)| name == "scope").map_or("", |(_, scope)| scope);
    let mut scopes: Vec<_> = scope.split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, SCOPES);
}

fn check_callback(seen: &Seen) {
    assert_eq!((seen.code.as_str(), seen.realm.as_str()), (CODE, REALM));
}

fn check_authorization(seen: &Seen) {
    let expected = format!("Basic {}", text::base64(format!("{CLIENT_ID}:{CLIENT_SECRET}").as_bytes()));
    assert_eq!(seen.authorization, expected);
}

fn check_exchange(seen: &Seen) {
    check_authorization(seen);
    let found = text::pairs(&seen.body);
    let same = [("code", CODE), ("grant_type", "authorization_code"), ("redirect_uri", REDIRECT)];
    for (name, value) in same {
        assert!(found.iter().any(|(found, has)| found == name && has == value), "{}", seen.body);
    }
}

fn check_refresh_request(seen: &Seen, token: &str) {
    check_authorization(seen);
    let same = [("grant_type", "refresh_token"), ("refresh_token", token)];
    assert_eq!(text::pairs(&seen.body), same.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

fn check_tokens(seen: &Seen, answer: &data::Answer, at: u64) {
    assert_eq!(seen.access, answer.access);
    assert_eq!(seen.refresh, answer.refresh);
    assert_eq!(seen.access_until, at + ACCESS_FOR);
    assert!(seen.refresh_until == 0 || seen.refresh_until == at + REFRESH_FOR);
}

fn check_record(seen: &Seen, answer: &data::Answer) {
    let text = String::from_utf8_lossy(&seen.record);
    assert!(
        text.contains(&answer.access) && text.contains(&answer.refresh) && text.contains(REALM),
        "{text}"
    );
}

/// RFC 7636 §4.2.
#[must_use]
pub fn challenge(verifier: &str) -> String {
    use sha2::Digest;
    text::base64url(&sha2::Sha256::digest(verifier))
}
