//! Glue connects and refreshes: url, serde_json and base64 by hand.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const REDIRECT: &str = "https://app.example.com/oauth/callback";

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
    x_refresh_token_expires_in: u64,
}

#[derive(Serialize)]
struct Stored<'a> {
    access: &'a str,
    refresh: &'a str,
    realm: &'a str,
    access_until: u64,
    refresh_until: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    if life(callback, first, second).is_err() {
        println!("refused");
    }
}

fn life(callback: &str, first: &str, second: &str) -> Result<(), Box<dyn std::error::Error>> {
    let url = Url::parse_with_params(
        "https://appcenter.intuit.com/connect/oauth2",
        [
            ("client_id", "client"),
            ("response_type", "code"),
            ("scope", "com.intuit.quickbooks.accounting openid"),
            ("redirect_uri", REDIRECT),
            ("state", STATE),
        ],
    )?;
    println!("{url}");
    let (_, query) = callback.split_once('?').ok_or("no query")?;
    let find = |wanted: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned()).ok_or("no such parameter")
    };
    if find("state")? != STATE {
        return Err("another state".into());
    }
    let (code, realm) = (find("code")?, find("realmId")?);
    let authorization = format!("Basic {}", STANDARD.encode("client:secret"));
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("redirect_uri", REDIRECT);
    println!("authorization: {authorization}\n{}", body.finish());
    let tokens: Answer = serde_json::from_str(first)?;
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &tokens.refresh_token);
    println!("authorization: {authorization}\n{}", body.finish());
    let tokens: Answer = serde_json::from_str(second)?;
    let now = 1_800_003_600;
    let stored = Stored {
        access: &tokens.access_token,
        refresh: &tokens.refresh_token,
        realm: &realm,
        access_until: now + tokens.expires_in,
        refresh_until: now + tokens.x_refresh_token_expires_in,
    };
    println!("{}", serde_json::to_string(&stored)?);
    Ok(())
}
