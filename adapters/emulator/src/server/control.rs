//! The control path, `/_emulator`: for tests and for people, never for web pages.

use std::net::IpAddr;

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Call;
use super::{Consent, Shared};
use crate::authority::Policy;
use crate::fault::Fault;

pub(super) fn control(shared: &Shared, call: &Call, path: &str) -> Reply {
    if let Some(why) = refusal(shared, call) {
        return problem(403, why);
    }
    match (path, &call.method) {
        ("", &Method::GET) => Reply::json(200, &json!(shared.addresses)),
        ("clock", &Method::GET) => clock(shared),
        ("clock", &Method::POST) => move_clock(shared, call),
        ("faults", &Method::GET) => faults(shared),
        ("faults", &Method::POST) => arm(shared, call),
        ("faults", &Method::DELETE) => {
            shared.faults().clear();
            faults(shared)
        }
        ("grants", &Method::GET) => {
            let now = shared.clock.now();
            Reply::json(200, &json!({ "now": now, "grants": shared.authority().grants(now) }))
        }
        ("log", &Method::GET) => Reply::json(200, &json!(shared.log().entries())),
        ("log", &Method::DELETE) => {
            shared.log().clear();
            Reply::empty(204)
        }
        ("disconnect", &Method::POST) => disconnect(shared, call),
        ("policy", &Method::POST) => policy(shared, call),
        ("consent", &Method::POST) => consent(shared, call),
        ("" | "grants", _) => Reply::method_not_allowed("GET"),
        ("clock", _) => Reply::method_not_allowed("GET, POST"),
        ("faults", _) => Reply::method_not_allowed("GET, POST, DELETE"),
        ("log", _) => Reply::method_not_allowed("GET, DELETE"),
        ("disconnect" | "policy" | "consent", _) => Reply::method_not_allowed("POST"),
        _ => {
            problem(404, "no such control; there are clock, faults, grants, log, disconnect, policy, consent")
        }
    }
}

/// A page in a browser on this machine can send requests to loopback too. It says so in these headers, or, where it
/// came in by a name that was made to point here, in `Host`.
fn refusal(shared: &Shared, call: &Call) -> Option<&'static str> {
    if call.header("origin").is_some() {
        return Some(
            "a request with an Origin header comes from a web page; those may not control the emulator",
        );
    }
    if call.header("sec-fetch-site").is_some_and(|site| site != "none") {
        return Some("this request comes from a web page; those may not control the emulator");
    }
    let beyond_loopback = !shared.options.listen.ip().is_loopback();
    let host = call.header("host").unwrap_or("localhost");
    (!beyond_loopback && !is_loopback(host)).then_some("the Host header is not that of a loopback address")
}

fn is_loopback(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = without_port.trim_start_matches('[').trim_end_matches(']');
    address.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn problem(status: u16, why: impl Into<String>) -> Reply {
    Reply::json(status, &json!({ "error": why.into() }))
}

fn clock(shared: &Shared) -> Reply {
    Reply::json(200, &json!({ "now": shared.clock.now(), "offset_seconds": shared.clock.offset_seconds() }))
}

fn move_clock(shared: &Shared, call: &Call) -> Reply {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Move {
        advance_seconds: i64,
    }
    match serde_json::from_slice::<Move>(&call.body) {
        Ok(Move { advance_seconds }) => {
            shared.clock.advance(advance_seconds);
            clock(shared)
        }
        Err(error) => {
            problem(400, format!("send {{\"advance_seconds\": 3600}}; negative goes back ({error})"))
        }
    }
}

fn faults(shared: &Shared) -> Reply {
    Reply::json(200, &json!(shared.faults().armed()))
}

/// One fault or a list of them. All of them are set, or none.
fn arm(shared: &Shared, call: &Call) -> Reply {
    let list = match serde_json::from_slice::<Value>(&call.body) {
        Ok(Value::Array(list)) => list,
        Ok(one) => vec![one],
        Err(error) => return problem(400, format!("not JSON: {error}")),
    };
    let parsed: Result<Vec<Fault>, _> = list.into_iter().map(serde_json::from_value).collect();
    match parsed {
        Ok(new) => {
            let now = shared.clock.now();
            new.into_iter().for_each(|fault| shared.faults().arm(now, fault));
            faults(shared)
        }
        Err(error) => problem(
            400,
            format!(
                "{error}; a fault looks like \
                 {{\"at\":\"refresh\",\"when\":{{\"next\":1}},\"harm\":\"answer_lost_after_work\"}}"
            ),
        ),
    }
}

fn disconnect(shared: &Shared, call: &Call) -> Reply {
    match member(call, "realm") {
        Some(realm) => {
            let now = shared.clock.now();
            Reply::json(200, &json!({ "ended": shared.authority().disconnect(now, &realm) }))
        }
        None => problem(400, "send {\"realm\": \"…\"}"),
    }
}

fn policy(shared: &Shared, call: &Call) -> Reply {
    match member(call, "policy").as_deref().and_then(Policy::named) {
        Some(policy) => {
            shared.authority().set_policy(policy);
            Reply::json(200, &json!(policy))
        }
        None => problem(400, "send {\"policy\": \"grace\"} (or sticky, hard, sticky-hard)"),
    }
}

fn consent(shared: &Shared, call: &Call) -> Reply {
    match member(call, "consent").as_deref().and_then(Consent::named) {
        Some(consent) => {
            shared.set_consent(consent);
            Reply::json(200, &json!({ "consent": consent }))
        }
        None => problem(400, "send {\"consent\": \"auto\"} (or page, deny)"),
    }
}

/// A member of the body that is a string. The body is JSON, whatever its `Content-Type` says.
fn member(call: &Call, name: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    body.get(name)?.as_str().map(Into::into)
}
