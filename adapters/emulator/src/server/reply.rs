//! An answer before it is put on the wire, and Intuit's forms of it.

use serde_json::{Value, json};

use crate::authority::{ApiError, TokenError};
use crate::fault::OddAnswer;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// What really was the matter; for the log only.
    pub(super) cause: Option<String>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", content_type.into()), ("cache-control", "no-store".into())];
        Self { status, headers, body: body.into(), cause: None }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cause: None }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json;charset=UTF-8", body.to_string())
    }

    pub(super) fn html(status: u16, body: String) -> Self {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
        Self::new(status, "text/html;charset=UTF-8", body).with("content-security-policy", policy)
    }

    pub(super) fn redirect(status: u16, location: String) -> Self {
        Self::empty(status).with("location", location).with("cache-control", "no-store")
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Another method than the endpoint has.
    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let text = format!("This address takes {allowed}.\n");
        Self::new(405, "text/plain;charset=UTF-8", text).with("allow", allowed)
    }

    /// `error` of RFC 6749 section 5.2, with a description if there is one.
    pub(super) fn oauth_error(status: u16, error: &str, description: Option<&str>) -> Self {
        let mut body = json!({ "error": error });
        if let (Some(description), Some(members)) = (description, body.as_object_mut()) {
            members.insert("error_description".into(), description.into());
        }
        let reply = Self::json(status, &body).with("pragma", "no-cache");
        if status == 401 { reply.with("www-authenticate", "Basic realm=\"Intuit\"") } else { reply }
    }

    pub(super) fn token_error(error: &TokenError) -> Self {
        Self::oauth_error(error.code.status(), error.code.as_str(), error.description())
            .because(format!("{:?}", error.cause))
    }

    /// A page of HTML where JSON was expected, as gateways send it.
    pub(super) fn html_503() -> Self {
        Self::html(503, "<html><head><title>503 Service Temporarily Unavailable</title></head><body><center><h1>503 Service Temporarily Unavailable</h1></center></body></html>\n".into())
    }

    pub(super) fn too_many_requests(retry_after_seconds: Option<u64>, as_xml: bool) -> Self {
        let reply = Self::api_error(ApiError::Throttled, 0, as_xml);
        match retry_after_seconds {
            Some(seconds) => reply.with("retry-after", seconds.to_string()),
            None => reply,
        }
    }

    /// An error of the API in Intuit's shape (wire-facts section 5): the lower-case spelling where the gateway says
    /// it, the upper-case one where the service does.
    pub(super) fn api_error(error: ApiError, now: u64, as_xml: bool) -> Self {
        let FaultText { kind, message, detail } = fault_text(error);
        let (status, code) = (error.status(), error.code());
        if as_xml {
            let detail = if detail.is_empty() { String::new() } else { format!("<Detail>{detail}</Detail>") };
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
                 <IntuitResponse time=\"{}\" xmlns=\"http://schema.intuit.com/finance/v3\"><Fault type=\"{kind}\">\
                 <Error code=\"{code}\"><Message>{message}</Message>{detail}</Error></Fault></IntuitResponse>",
                timestamp(now)
            );
            return Self::new(status, "application/xml", body).because(error.to_string());
        }
        let body = match error {
            ApiError::TokenExpired | ApiError::WrongCluster { .. } => json!({
                "warnings": null, "intuitObject": null,
                "fault": { "error": [{ "message": message, "detail": detail, "code": code, "element": null }], "type": kind },
                "report": null, "queryResponse": null, "batchItemResponse": [], "attachableResponse": [],
                "syncErrorResponse": null, "requestId": null, "time": now.saturating_mul(1_000), "status": null,
                "cdcresponse": [],
            }),
            ApiError::NotAuthorized | ApiError::Throttled => json!({
                "Fault": { "Error": [{ "Message": message, "Detail": detail, "code": code }], "type": kind },
                "time": timestamp(now),
            }),
        };
        let reply = Self::json(status, &body).because(error.to_string());
        match error {
            ApiError::TokenExpired => {
                reply.with("www-authenticate", "Bearer realm=\"Intuit\", error=\"invalid_token\"")
            }
            _ => reply,
        }
    }
}

struct FaultText {
    kind: &'static str,
    message: &'static str,
    detail: &'static str,
}

const fn fault_text(error: ApiError) -> FaultText {
    let (kind, message, detail) = match error {
        ApiError::TokenExpired => (
            "AUTHENTICATION",
            "message=AuthenticationFailed; errorCode=003200; statusCode=401",
            "Token expired: the access token is not, or no longer, valid",
        ),
        ApiError::WrongCluster { .. } => (
            "SystemFault",
            "Accessing Wrong Cluster",
            "Accessing Wrong Cluster: sandbox keys at the production host, or the other way round",
        ),
        ApiError::NotAuthorized => {
            ("AUTHORIZATION", "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403", "")
        }
        ApiError::Throttled => ("THROTTLE", "message=ThrottleExceeded; errorCode=003001; statusCode=429", ""),
    };
    FaultText { kind, message, detail }
}

/// The JSON of a token answer, or what the odd forms make of it.
pub(super) fn token_body(members: Vec<(&'static str, Value)>, odd: &[OddAnswer]) -> String {
    let mut members: Vec<(String, Value)> =
        members.into_iter().map(|(name, value)| (name.into(), value)).collect();
    for odd in odd {
        make_odd(&mut members, odd);
    }
    let separator = if odd.contains(&OddAnswer::Reordered) { " ,\r\n\t" } else { "," };
    let escaped = odd.contains(&OddAnswer::Escaped);
    let member = |(name, value): &(String, Value)| match value {
        Value::String(text) if escaped && name.ends_with("_token") => {
            format!("\"{name}\":\"{}\"", escape_all(text))
        }
        // No JSON value of serde_json holds this number.
        Value::String(text) if text == ABSURD => format!("\"{name}\":{ABSURD}"),
        _ => format!("{}:{value}", Value::String(name.clone())),
    };
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(separator))
}

const ABSURD: &str = "1000000000000000000000000000000";

fn make_odd(members: &mut Vec<(String, Value)>, odd: &OddAnswer) {
    let mut expiry = |new: &dyn Fn(&Value) -> Value| {
        for (_, value) in members.iter_mut().filter(|(name, _)| name.ends_with("expires_in")) {
            *value = new(value);
        }
    };
    match odd {
        OddAnswer::NumbersAsStrings => expiry(&|value| value.to_string().into()),
        OddAnswer::NegativeExpiry => expiry(&|_| (-1).into()),
        OddAnswer::AbsurdExpiry => expiry(&|_| ABSURD.into()),
        OddAnswer::NullExpiry => expiry(&|_| Value::Null),
        OddAnswer::FractionalExpiry => expiry(&|value| json!(value.as_f64().unwrap_or(0.0) + 0.5)),
        OddAnswer::WithoutExpiry => members.retain(|(name, _)| !name.ends_with("expires_in")),
        OddAnswer::WithoutRefreshToken => members.retain(|(name, _)| name != "refresh_token"),
        OddAnswer::WithoutAccessToken => members.retain(|(name, _)| name != "access_token"),
        OddAnswer::EmptyRefreshToken => {
            members
                .iter_mut()
                .filter(|(name, _)| name == "refresh_token")
                .for_each(|(_, value)| *value = "".into());
        }
        OddAnswer::ExtraMembers => {
            let nested =
                json!({ "refresh_token": "not-this-one", "list": [1, [true, null, { "a": "}]\\\"" }]] });
            members.insert(0, ("something_new".into(), nested));
            members.insert(1, ("note".into(), "\u{1F512} \"quoted\"".into()));
        }
        OddAnswer::Reordered => members.reverse(),
        OddAnswer::Escaped => {}
    }
}

fn escape_all(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Unix seconds as RFC 3339 in UTC, for instance `2026-11-23T08:00:00Z`.
pub(super) fn timestamp(now: u64) -> String {
    let (days, second) = (now / 86_400, now % 86_400);
    // The civil calendar, counted in eras of 400 years from the first of March of the year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_795_507_199), "2026-11-24T07:59:59Z");
        let _no_panic = timestamp(u64::MAX);
    }

    fn body(odd: &[OddAnswer]) -> String {
        let members = vec![
            ("access_token", json!("eyJ")),
            ("expires_in", json!(3_600)),
            ("refresh_token", json!("RT")),
        ];
        token_body(members, odd)
    }

    #[test]
    fn odd_answers() {
        assert_eq!(body(&[]), r#"{"access_token":"eyJ","expires_in":3600,"refresh_token":"RT"}"#);
        assert!(body(&[OddAnswer::NumbersAsStrings]).contains(r#""expires_in":"3600""#));
        assert!(
            body(&[OddAnswer::AbsurdExpiry]).contains(r#""expires_in":1000000000000000000000000000000,"#)
        );
        assert!(body(&[OddAnswer::Escaped]).contains(r#""refresh_token":"\u0052\u0054""#));
        assert!(body(&[OddAnswer::FractionalExpiry]).contains("3600.5"));
        assert!(!body(&[OddAnswer::WithoutRefreshToken]).contains("refresh"));
        for odd in [OddAnswer::ExtraMembers, OddAnswer::Reordered, OddAnswer::Escaped, OddAnswer::NullExpiry]
        {
            let value: Value = serde_json::from_str(&body(&[odd])).unwrap();
            assert_eq!(value["refresh_token"], "RT");
            assert_eq!(value["access_token"], "eyJ");
        }
    }
}
