//! The parser of callbacks against `url` and `form_urlencoded`.

use evergrant::{Callback, CallbackError, Encoded};
use url::Url;

const NAMES: [&str; 6] = ["code", "state", "realmId", "error", "error_description", "iss"];

/// Each parameter that is there once is found, with the value that a browser's parser would give it; one that is there twice
/// is refused.
pub fn callback(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = Callback::parse(text, "realmId");
    if let Some(query) = query(text) {
        judge(&query, found);
    }
    // A whole address, as the WHATWG has it; it takes out line ends and tabs, which no browser sends.
    if text.contains("://")
        && !text.contains(['\t', '\n', '\r'])
        && let Ok(url) = Url::parse(text.trim_ascii())
        && let Some(query) = url.query()
        && text.split('#').next().is_some_and(|before| before.contains('?'))
    {
        judge(query, found);
    }
}

/// What is parsed as a query, where that is beyond doubt.
fn query(text: &str) -> Option<String> {
    let text = text.trim_ascii().split('#').next()?;
    match text.split_once('?') {
        Some((_, query)) => Some(query.into()),
        None if text.contains("://") => None,
        None => Some(text.into()),
    }
}

fn judge(query: &str, found: Result<Callback<'_>, CallbackError>) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| -> Vec<String> {
        pairs.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    };
    if NAMES.iter().any(|name| of(name).len() > 1) {
        assert!(matches!(found, Err(CallbackError::Duplicate(_))), "a parameter comes twice in {query:?}");
        return;
    }
    if ["code", "state", "realmId", "error"].iter().all(|name| of(name).len() == 0) {
        assert_eq!(found.err(), Some(CallbackError::NoQuery), "{query:?}");
        return;
    }
    let found = found.unwrap_or_else(|error| panic!("{error}: {query:?}"));
    let slots = [found.code, found.state, found.realm, found.error, found.error_description, found.issuer];
    for (name, slot) in NAMES.iter().zip(slots) {
        assert_eq!(slot.map(text_of), of(name).into_iter().next(), "{name} in {query:?}");
    }
}

fn text_of(value: Encoded<'_>) -> String {
    let bytes: Vec<u8> = value.decode().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
