//! The scanner of token answers against `serde_json`.

use std::collections::BTreeMap;

use evergrant::answer::{Answer, DEPTH_MOST, Text};
use serde_json::value::RawValue;

const REFRESH_LIFETIME: &str = "x_refresh_token_expires_in";
const HARD_LIFETIME: &str = "x_refresh_token_hard_expires_in";

/// What `serde_json` takes for an object is read alike, last duplicate and all. What it does not take must not panic.
pub fn answer(data: &[u8]) {
    let answer = Answer::scan(data, REFRESH_LIFETIME, HARD_LIFETIME);
    let Ok(members) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(data) else { return };
    // A value that is nested too deeply counts as the end of the answer.
    if members.values().any(|value| depth(value.get()) > DEPTH_MOST) {
        return;
    }
    assert!(answer.complete, "whole for serde_json, and broken off for the scanner");
    let raw = |name: &str| members.get(name).map(|value| value.get());
    for (name, found) in [
        ("access_token", answer.access_token),
        ("refresh_token", answer.refresh_token),
        ("token_type", answer.token_type),
        ("scope", answer.scope),
        ("id_token", answer.id_token),
        ("error", answer.error),
        ("error_description", answer.error_description),
    ] {
        let expected = raw(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
        same_text(name, found, expected.as_deref());
    }
    for (name, found) in [
        ("expires_in", answer.expires_in),
        (REFRESH_LIFETIME, answer.refresh_expires_in),
        (HARD_LIFETIME, answer.hard_expires_in),
    ] {
        assert_eq!(found, raw(name).and_then(seconds), "{name}");
    }
}

fn same_text(name: &str, found: Option<Text<'_>>, expected: Option<&str>) {
    let bytes = found.map(|text| text.bytes().collect::<Vec<u8>>());
    assert_eq!(bytes.as_deref(), expected.map(str::as_bytes), "{name}");
    if let (Some(text), Some(expected)) = (found, expected) {
        assert!(text.is(expected) && text.length() == expected.len(), "{name}");
    }
}

/// A decimal number, as itself or in a string; its whole part, if that is above zero.
fn seconds(raw: &str) -> Option<u64> {
    let text = if raw.starts_with('"') { serde_json::from_str::<String>(raw).ok()? } else { raw.into() };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.is_empty() {
        return None;
    }
    Some(whole.parse().unwrap_or(u64::MAX))
}

/// How deep the brackets of a JSON value go.
pub(super) fn depth(json: &str) -> u32 {
    let (mut depth, mut most, mut text, mut escaped) = (0_u32, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}
