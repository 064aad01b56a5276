//! The sample: keys, tokens and answers of the sizes that Intuit's have.

use crate::text::base64url;

pub const CLIENT_ID: &str = "ABp4kWq7ZxYt2LmN8vRcJh3sDf6GbEuTo1iQaKyHnVwXrPzM9C";
pub const CLIENT_SECRET: &str = "k2VnT8bQ4xLs7RwYp1ZcHj6MgFd3uEaN9iKoXtWr";
pub const REDIRECT: &str = "https://app.example.com/oauth/callback";
pub const SCOPES: [&str; 2] = ["com.intuit.quickbooks.accounting", "openid"];
pub const AUTHORIZE: &str = "https://appcenter.intuit.com/connect/oauth2";
pub const TOKEN: &str = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer";
pub const REVOKE: &str = "https://developer.api.intuit.com/v2/oauth2/tokens/revoke";
pub const ISSUER: &str = "https://oauth.platform.intuit.com/op/v1";
pub const CODE: &str = "XAB11763942871hTq8vNzR5cLw2KyJbGx7MpFs4DeUoY9iWa0k";
pub const REALM: &str = "9341453908312345";
/// 32 bytes for the state, 32 for the PKCE verifier.
pub const RANDOM: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = (at as u8).wrapping_mul(151).wrapping_add(83);
        at += 1;
    }
    bytes
};
pub const STATE_KEY: [u8; 32] = [0x5a; 32];
pub const NOW: u64 = 1_800_000_000;
/// When the access token that came at [`NOW`] is over.
pub const LATER: u64 = NOW + 3_600;
pub const ACCESS_FOR: u64 = 3_600;
pub const REFRESH_FOR: u64 = 8_726_400;

/// Everything that a contestant is given, made once and outside of what is measured.
#[derive(Clone, Debug)]
pub struct Data {
    /// The given state, as text, and the PKCE verifier.
    pub state: String,
    pub verifier: String,
    /// What the browser asks the app's server for.
    pub callback: String,
    /// The answer to the exchange, and to a refresh: other tokens of the same size.
    pub first: Answer,
    pub second: Answer,
    /// The answer to the exchange, with an ID token.
    pub openid: Answer,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub access: String,
    pub refresh: String,
    pub body: String,
}

impl Data {
    #[must_use]
    pub fn new() -> Self {
        let state = base64url(&RANDOM[..32]);
        let verifier = base64url(&RANDOM[32..]);
        let callback = format!("/oauth/callback?code={CODE}&state={state}&realmId={REALM}");
        let (first, second) = (Answer::new(1, ""), Answer::new(2, ""));
        let openid = Answer::new(1, &id_token());
        assert_eq!((first.body.len(), second.body.len(), openid.body.len()), (1_165, 1_165, 2_280));
        Self { state, verifier, callback, first, second, openid }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    fn new(seed: u64, id_token: &str) -> Self {
        let access = letters(seed, 1_000);
        let refresh = letters(seed + 100, 50);
        let id_token =
            if id_token.is_empty() { String::new() } else { format!("\"id_token\":\"{id_token}\",") };
        let body = format!(
            "{{\"x_refresh_token_expires_in\":{REFRESH_FOR},\"refresh_token\":\"{refresh}\",\
             \"access_token\":\"{access}\",{id_token}\"token_type\":\"bearer\",\"expires_in\":{ACCESS_FOR}}}"
        );
        Self { access, refresh, body }
    }
}

/// A JWT of the size that Intuit's have. Its signature is none: nobody here checks one.
fn id_token() -> String {
    let header = r#"{"kid":"r4p5SbL2qaFehFzhj8g","typ":"JWT","alg":"RS256"}"#;
    let head = format!(
        r#"{{"sub":"1182d6ec-60a1-4a90-b9b8-6f6c5d1c2b3a","aud":["{CLIENT_ID}"],"realmid":"{REALM}","auth_time":{NOW},"iss":"{ISSUER}","exp":{LATER},"iat":{NOW},"pad":""#
    );
    let signature = letters(7, 342);
    let length = 1_101 - signature.len() - 2 - base64url(header.as_bytes()).len();
    let pad = length * 3 / 4 - head.len() - 2;
    let payload = format!("{head}{}\"}}", "p".repeat(pad));
    let token = format!("{}.{}.{signature}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
    assert_eq!(token.len(), 1_101);
    token
}

/// Letters and digits that look like a token and repeat nowhere.
fn letters(seed: u64, length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(ALPHABET[(state >> 58) as usize])
    };
    (0..length).map(|_| next()).collect()
}
