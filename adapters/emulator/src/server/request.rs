//! A request as the endpoints read it: route, parameters, client authentication.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

use super::log::{shortened, shown};
use crate::authority::{ClientAuth, Environment};
use crate::fault::Endpoint;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Authorize,
    Token,
    Revoke,
    Userinfo(Environment),
    Jwks,
    Discovery(Environment),
    /// `/v3/company/{realm}/…`: the company and what follows it.
    Company(Environment, String, String),
    Control(String),
    Unknown,
}

impl Route {
    /// Reads a path. Without `/sandbox` or `/production` before it, it belongs to `default`.
    pub(super) fn of(path: &str, default: Environment) -> Self {
        let (environment, rest) = split_environment(path).unwrap_or((default, path));
        match rest {
            "/connect/oauth2" => Self::Authorize,
            "/oauth2/v1/tokens/bearer" => Self::Token,
            "/v2/oauth2/tokens/revoke" => Self::Revoke,
            "/v1/openid_connect/userinfo" => Self::Userinfo(environment),
            "/op/v1/jwks" => Self::Jwks,
            // Intuit's Python SDK asks for them with a slash at the end.
            "/.well-known/openid_configuration" | "/.well-known/openid_configuration/" => {
                Self::Discovery(Environment::Production)
            }
            "/.well-known/openid_sandbox_configuration" | "/.well-known/openid_sandbox_configuration/" => {
                Self::Discovery(Environment::Sandbox)
            }
            // Where clients look that know no more than the issuer (OpenID Connect Discovery 1.0, section 4).
            "/op/v1/.well-known/openid-configuration" => Self::Discovery(environment),
            _ => Self::company_or_control(environment, rest),
        }
    }

    fn company_or_control(environment: Environment, rest: &str) -> Self {
        if let Some(control) = rest.strip_prefix("/_emulator") {
            return Self::Control(control.trim_matches('/').into());
        }
        match rest.strip_prefix("/v3/company/").and_then(|rest| rest.split_once('/')) {
            Some((realm, resource)) => Self::Company(environment, realm.into(), resource.into()),
            None => Self::Unknown,
        }
    }
}

fn split_environment(path: &str) -> Option<(Environment, &str)> {
    let under = |prefix| path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'));
    under("/sandbox")
        .map(|rest| (Environment::Sandbox, rest))
        .or_else(|| under("/production").map(|rest| (Environment::Production, rest)))
}

/// A whole request.
pub(super) struct Call {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) query: Parameters,
    /// The body's parameters: a form, or the members of a JSON object that are strings.
    pub(super) form: Parameters,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn new(parts: Parts, body: Bytes, default: Environment) -> Self {
        let path = parts.uri.path().to_owned();
        let query = Parameters::parse(parts.uri.query().unwrap_or("").as_bytes());
        let form = match content_type(&parts.headers) {
            "application/json" => Parameters::of_json(&body),
            "application/x-www-form-urlencoded" => Parameters::parse(&body),
            _ => Parameters(Vec::new()),
        };
        Self {
            route: Route::of(&path, default),
            method: parts.method,
            path,
            headers: parts.headers,
            query,
            form,
            body,
        }
    }

    /// What it is counted as; `None` for paths that do not exist and for the control path.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        Some(match &self.route {
            Route::Authorize => Endpoint::Authorize,
            Route::Token if self.form.first("grant_type") == Some("authorization_code") => Endpoint::Exchange,
            Route::Token => Endpoint::Refresh,
            Route::Revoke => Endpoint::Revoke,
            Route::Userinfo(_) => Endpoint::Userinfo,
            Route::Jwks => Endpoint::Jwks,
            Route::Discovery(_) => Endpoint::Discovery,
            Route::Company(..) => Endpoint::Api,
            Route::Control(_) | Route::Unknown => return None,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn is_form(&self) -> bool {
        content_type(&self.headers) == "application/x-www-form-urlencoded"
    }

    /// The token of `Authorization: Bearer`.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.authorization("bearer")
    }

    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (found, rest) = self.header(header::AUTHORIZATION.as_str())?.split_once(' ')?;
        found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
    }

    /// Who asks, as header and body say it, ID and secret as they are.
    pub(super) fn client(&self) -> ClientAuth {
        let basic = self.authorization("basic").and_then(|encoded| {
            let text = String::from_utf8(Base64::decode_vec(encoded).ok()?).ok()?;
            let (client_id, secret) = text.split_once(':')?;
            Some((client_id.to_owned(), secret.to_owned()))
        });
        ClientAuth {
            basic,
            body_client_id: self.form.first("client_id").map(Into::into),
            body_client_secret: self.form.first("client_secret").map(Into::into),
        }
    }

    /// The same with ID and secret form-decoded, as RFC 6749 section 2.3.1 has it.
    pub(super) fn decoded_client(&self) -> ClientAuth {
        let client = self.client();
        let basic = client.basic.map(|(client_id, secret)| (form_decoded(&client_id), form_decoded(&secret)));
        ClientAuth { basic, ..client }
    }

    /// The parameters as the log shows them.
    pub(super) fn shown_parameters(&self) -> BTreeMap<String, String> {
        let all = self.query.0.iter().chain(&self.form.0);
        all.map(|(name, value)| (name.clone(), shown(name, value))).collect()
    }

    /// The `Authorization` header as the log shows it.
    pub(super) fn shown_authorization(&self) -> Option<String> {
        if let Some((client_id, _)) = self.client().basic {
            return Some(format!("Basic {client_id}:…"));
        }
        match self.bearer() {
            Some(token) => Some(format!("Bearer {}", shortened(token))),
            None => self.header("authorization").map(|_| "unreadable".into()),
        }
    }
}

fn form_decoded(text: &str) -> String {
    let with_blanks = text.replace('+', " ");
    percent_decode_str(&with_blanks).decode_utf8_lossy().into_owned()
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// Decoded parameters in the order in which they came.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

/// A parameter came more than once, which RFC 6749 section 3.1 forbids.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated(pub(super) &'static str);

impl Parameters {
    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    fn of_json(body: &[u8]) -> Self {
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(body).unwrap_or_default();
        let strings = members.into_iter().filter_map(|(name, value)| match value {
            serde_json::Value::String(value) => Some((name, value)),
            _ => None,
        });
        Self(strings.collect())
    }

    /// The first value that is not empty: an empty parameter counts as absent (RFC 6749 section 3.1).
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The value, which must not come twice.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Repeated> {
        if self.0.iter().filter(|(found, _)| found == name).count() > 1 {
            return Err(Repeated(name));
        }
        Ok(self.first(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        use Environment::{Production, Sandbox};
        let of = |path| Route::of(path, Sandbox);
        assert_eq!(of("/connect/oauth2"), Route::Authorize);
        assert_eq!(of("/v1/openid_connect/userinfo"), Route::Userinfo(Sandbox));
        assert_eq!(of("/production/v1/openid_connect/userinfo"), Route::Userinfo(Production));
        assert_eq!(
            of("/production/v3/company/12/companyinfo/12"),
            Route::Company(Production, "12".into(), "companyinfo/12".into())
        );
        assert_eq!(of("/_emulator/grants"), Route::Control("grants".into()));
        assert_eq!(of("/productions/x"), Route::Unknown);
        assert_eq!(of("/.well-known/openid_configuration/"), Route::Discovery(Production));
    }

    #[test]
    fn a_repeated_parameter_is_named() {
        let parameters = Parameters::parse(b"code=a&code=b&x=");
        assert_eq!(parameters.one("code"), Err(Repeated("code")));
        assert_eq!(parameters.one("x"), Ok(None));
    }
}
