//! Between the session's requests and the authority's: text on one side, values on the other.
//!
//! What the session writes is read as a server would read it: method, address, headers, body. Nothing is handed across
//! that was not on the wire.

use base64ct::{Base64, Encoding};
use evergrant::{Http, Provider};
use evergrant_emulator::authority::{
    Authority, AuthorizeRequest, Callback, ClientAuth, Environment, TokenError, TokenGrant, TokenRequest,
    Tokens,
};
use serde_json::{Value, json};

/// A request as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Letter {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Letter {
    /// Copies what the session wrote.
    #[must_use]
    pub fn of(http: &Http<'_>) -> Self {
        let headers = http.headers().map(|(name, value)| (name.into(), value.into())).collect();
        Self { method: http.method(), url: http.url().into(), headers, body: http.body().into() }
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a form field of the body.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.body.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into())
    }

    /// The code or the refresh token that it carries.
    #[must_use]
    pub fn secret(&self) -> String {
        let json = || serde_json::from_str::<Value>(&self.body).ok()?["token"].as_str().map(String::from);
        self.field("code").or_else(|| self.field("refresh_token")).or_else(json).unwrap_or_default()
    }

    fn client(&self) -> ClientAuth {
        let basic = self.header("authorization").and_then(|value| value.strip_prefix("Basic "));
        let basic =
            basic.and_then(|text| Base64::decode_vec(text).ok()).and_then(|raw| String::from_utf8(raw).ok());
        let basic =
            basic.and_then(|text| text.split_once(':').map(|(id, secret)| (id.into(), secret.into())));
        ClientAuth {
            basic,
            body_client_id: self.field("client_id"),
            body_client_secret: self.field("client_secret"),
        }
    }
}

/// An answer as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer with this body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into() }
    }

    /// The tokens that a reader of a body finds that may break off behind them: access token and refresh token.
    #[must_use]
    pub fn tokens(&self) -> Option<(String, String)> {
        let text = std::str::from_utf8(&self.body).ok().filter(|_| self.status == 200)?;
        let member = |name: &str| {
            let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
            rest.split_once('"').map(|(token, _)| String::from(token))
        };
        Some((member("access_token").unwrap_or_default(), member("refresh_token")?))
    }

    /// A number in it.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        serde_json::from_slice::<Value>(&self.body).ok()?[name].as_u64()
    }
}

/// Has the authority answer.
///
/// # Errors
/// The letter is none that the authority knows; says what is wrong with it.
pub fn carry_out(intuit: &mut Authority, now: u64, letter: &Letter) -> Result<Reply, String> {
    let provider = &Provider::INTUIT_SANDBOX;
    if letter.method == "GET" {
        return Err(format!("a GET to {}", letter.url));
    }
    if letter.url == provider.revocation_endpoint {
        let token = letter.secret();
        let answer = intuit.revoke(now, &letter.client(), &token);
        return Ok(answer.map_or_else(|error| refusal(&error), |()| Reply::new(200, "")));
    }
    if letter.url != provider.token_endpoint {
        return Err(format!("a POST to {}", letter.url));
    }
    let field = |name| letter.field(name).ok_or(format!("no {name} in the body"));
    let grant = match field("grant_type")?.as_str() {
        "authorization_code" => TokenGrant::AuthorizationCode {
            code: field("code")?,
            redirect_uri: field("redirect_uri")?,
            code_verifier: letter.field("code_verifier"),
        },
        "refresh_token" => TokenGrant::RefreshToken { refresh_token: field("refresh_token")? },
        other => return Err(format!("grant_type {other}")),
    };
    let include_hard_expiry = letter.header("x-include-refresh-token-hard-expires-in") == Some("true");
    let request = TokenRequest { client: letter.client(), grant, include_hard_expiry };
    Ok(intuit.token(now, &request).map_or_else(|error| refusal(&error), |tokens| good(&tokens)))
}

fn refusal(error: &TokenError) -> Reply {
    let mut body = json!({ "error": error.code.as_str() });
    if let Some(description) = error.description() {
        body["error_description"] = description.into();
    }
    Reply::new(error.code.status(), body.to_string())
}

fn good(tokens: &Tokens) -> Reply {
    let mut body = json!({
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
        "refresh_token": tokens.refresh_token,
        "x_refresh_token_expires_in": tokens.refresh_token_expires_in,
        "access_token": tokens.access_token,
    });
    if let Some(seconds) = tokens.refresh_token_hard_expires_in {
        body["x_refresh_token_hard_expires_in"] = seconds.into();
    }
    if let Some(claims) = &tokens.id_token {
        // Unsigned: whoever verifies it is not in this room.
        body["id_token"] = format!("e30.{}.e30", Base64::encode_string(claims.sub.as_bytes())).into();
    }
    Reply::new(200, body.to_string())
}

/// What the browser asks of the authorize endpoint, read from the address that the user was sent to.
#[must_use]
pub fn browse(url: &str) -> AuthorizeRequest {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut request = AuthorizeRequest::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            "client_id" => request.client_id = value,
            "redirect_uri" => request.redirect_uri = value,
            "response_type" => request.response_type = value,
            "scope" => request.scope = value,
            "state" => request.state = Some(value),
            _ => {}
        }
    }
    request
}

/// Where the browser is sent back to.
#[must_use]
pub fn callback_url(callback: &Callback) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in callback.parameters() {
        query.append_pair(name, value);
    }
    format!("{}?{}", callback.redirect_uri, query.finish())
}

/// What the API says to a request with this access token: status and body.
#[must_use]
pub fn call_api(intuit: &mut Authority, now: u64, token: &str, realm: &str) -> Reply {
    match intuit.api(now, Environment::Sandbox, token, realm) {
        Ok(company) => Reply::new(200, json!({ "CompanyInfo": { "CompanyName": company.name } }).to_string()),
        Err(error) => {
            let fault = json!({ "Fault": { "Error": [{ "code": error.code() }] } });
            Reply::new(error.status(), fault.to_string())
        }
    }
}
