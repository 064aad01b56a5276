//! What an API's answer says of the access token it was sent with (wire-facts section 5).

use crate::answer::{Scanner, Text, Value};

/// What an answer of the API means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Meaning {
    /// The request was served, or failed for reasons of its own: nothing to do with the token.
    Fine,
    /// 401: the access token has expired, or is good no more. A refresh follows (DUR-2).
    TokenExpired,
    /// 401 with code 130: keys of one environment on the other's host. A refresh cannot cure it (APP-3).
    WrongEnvironment,
    /// 403 (code 3100, or RFC 6750's `insufficient_scope`): another realm, host or scope than the grant's. A refresh cannot
    /// cure it.
    Forbidden,
    /// 429: too many requests. Wait; the token is good.
    Throttled,
    /// 5xx: trouble at the authority. The token is good.
    Outage,
}

/// Judges an answer by its status and, where it has one, its body: JSON or XML, in either of Intuit's spellings.
#[must_use]
pub fn judge(status: u16, body: &[u8]) -> Meaning {
    match status {
        401 => match fault_code(body) {
            Some(130) => Meaning::WrongEnvironment,
            _ => Meaning::TokenExpired,
        },
        403 => Meaning::Forbidden,
        429 => Meaning::Throttled,
        500..=599 => Meaning::Outage,
        _ => Meaning::Fine,
    }
}

/// The code of the first error in a fault: `{"Fault":{"Error":[{"code":"3200"}]}}`, `{"fault":{"error":[…]}}`, or
/// `<Error code="3200">`.
#[must_use]
pub fn fault_code(body: &[u8]) -> Option<u32> {
    let body = body.trim_ascii();
    if body.first() == Some(&b'<') { code_in_xml(body) } else { code_in_json(body) }
}

fn code_in_xml(body: &[u8]) -> Option<u32> {
    let error = behind(body, b"<Error").or_else(|| behind(body, b"<error"))?;
    let tag = error.get(..memchr::memchr(b'>', error)?)?;
    number(behind(tag, b"code=")?.get(1..)?)
}

/// What stands behind the first `mark`. A search of a few bytes, once: `memmem` would bring 6 KiB of code, and panics.
fn behind<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix(mark) {
            return Some(after);
        }
        rest = rest.get(1..)?;
    }
}

fn code_in_json(body: &[u8]) -> Option<u32> {
    let fault = member(body, ["Fault", "fault"])?;
    let errors = member(fault, ["Error", "error"])?;
    let first = errors.strip_prefix(b"[").unwrap_or(errors);
    let mut code = None;
    Scanner::new(first).object(|name, value| {
        if name.is("code") {
            code = match value {
                Value::Text(text) => text.plain().and_then(number),
                Value::Number(digits) => number(digits),
                Value::Other => None,
            };
        }
    });
    code
}

/// What stands behind a member of the object at the front, from its value on.
fn member<'a>(object: &'a [u8], names: [&str; 2]) -> Option<&'a [u8]> {
    let mut found = None;
    Scanner::new(object).walk(|name: Text<'a>, from: &'a [u8]| {
        if found.is_none() && names.iter().any(|wanted| name.is(wanted)) {
            found = Some(from.trim_ascii_start());
        }
    });
    found
}

/// The decimal number at the front.
fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        let value = u32::from(digit.saturating_sub(b'0'));
        number = Some(number.unwrap_or(0_u32).checked_mul(10)?.checked_add(value)?);
    }
    number
}
