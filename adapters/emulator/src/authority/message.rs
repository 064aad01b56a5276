//! What is asked of an authority, and what it answers, as values.

use std::fmt;

use serde::Serialize;

use super::config::Environment;

/// What the browser brings to the authorize endpoint (wire-facts section 3). Absent parameters are empty or `None`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct AuthorizeRequest {
    /// `client_id`.
    pub client_id: String,
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// `response_type`; only `code` exists.
    pub response_type: String,
    /// `scope`, separated by blanks.
    pub scope: String,
    /// `state`.
    pub state: Option<String>,
    /// `code_challenge` (RFC 7636); `None`: the exchange needs no verifier.
    pub code_challenge: Option<String>,
    /// `code_challenge_method`; only `S256` is taken.
    pub code_challenge_method: Option<String>,
}

impl fmt::Debug for AuthorizeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeRequest")
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .field("response_type", &self.response_type)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What the user says to the consent page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes, for this company. With OpenID-only scopes the company is not looked at.
    Approve {
        /// The company's realm ID.
        realm: String,
    },
    /// No.
    Deny,
}

/// Why the browser is shown an error page and is not sent back to the app (wire-facts section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// No keys with that client ID.
    UnknownClient,
    /// The redirect URI is not, byte for byte, one of those registered for the client's environment (RED-1, RED-2).
    RedirectUriNotRegistered,
    /// The realm ID that the user typed is not 10 to 16 digits.
    BadRealm,
}

impl fmt::Display for AuthorizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownClient => "The client_id parameter names no app. Use the client ID that the emulator was started with.",
            Self::RedirectUriNotRegistered => {
                "The redirect_uri parameter is not registered for these keys. It must be the same byte for byte \
                 (case, port, path, trailing slash); register it where the emulator is started."
            }
            Self::BadRealm => "A realm ID is 10 to 16 digits. Go back and choose a company, or type another.",
        })
    }
}

impl std::error::Error for AuthorizeError {}

/// Where the browser is sent back to, and with what.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Callback {
    /// The redirect URI of the request.
    pub redirect_uri: String,
    /// The request's `state`, if it had one.
    pub state: Option<String>,
    /// A code, or the refusal.
    pub outcome: CallbackOutcome,
}

/// The two kinds of callback.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum CallbackOutcome {
    /// The user approved.
    Code {
        /// `code`.
        code: String,
        /// `realmId`; absent with OpenID-only scopes.
        realm_id: Option<String>,
    },
    /// `error`: `access_denied`, `invalid_scope`, `invalid_request` or `unsupported_response_type`.
    Error(&'static str),
}

impl Callback {
    /// The authorization code, if the user approved.
    pub fn code(&self) -> Option<&str> {
        match &self.outcome {
            CallbackOutcome::Code { code, .. } => Some(code),
            CallbackOutcome::Error(_) => None,
        }
    }

    /// The callback's query parameters in the order in which they are sent, not yet percent-encoded.
    pub fn parameters(&self) -> Vec<(&'static str, &str)> {
        let mut parameters = Vec::with_capacity(3);
        match &self.outcome {
            CallbackOutcome::Code { code, .. } => parameters.push(("code", code.as_str())),
            CallbackOutcome::Error(error) => parameters.push(("error", *error)),
        }
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        if let CallbackOutcome::Code { realm_id: Some(realm_id), .. } = &self.outcome {
            parameters.push(("realmId", realm_id));
        }
        parameters
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("redirect_uri", &self.redirect_uri)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallbackOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { realm_id, .. } => {
                f.debug_struct("Code").field("realm_id", realm_id).finish_non_exhaustive()
            }
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
        }
    }
}

/// How a request to the token or revocation endpoint says which app it comes from.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ClientAuth {
    /// Client ID and secret of the `Authorization: Basic` header.
    pub basic: Option<(String, String)>,
    /// `client_id` of the body. Beside a Basic header it is refused (wire-facts section 4).
    pub body_client_id: Option<String>,
    /// `client_secret` of the body.
    pub body_client_secret: Option<String>,
}

impl ClientAuth {
    /// The usual way: a Basic header.
    pub fn basic(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self { basic: Some((client_id.into(), client_secret.into())), ..Self::default() }
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth")
            .field("basic_client_id", &self.basic.as_ref().map(|(client_id, _)| client_id))
            .field("body_client_id", &self.body_client_id)
            .finish_non_exhaustive()
    }
}

/// What is asked of the token endpoint.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TokenGrant {
    /// `grant_type=authorization_code`.
    AuthorizationCode {
        /// `code`.
        code: String,
        /// `redirect_uri`, which must be the one of the consent request, byte for byte (RED-5).
        redirect_uri: String,
        /// `code_verifier` (RFC 7636).
        code_verifier: Option<String>,
    },
    /// `grant_type=refresh_token`.
    RefreshToken {
        /// `refresh_token`.
        refresh_token: String,
    },
}

impl fmt::Debug for TokenGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorizationCode { .. } => "AuthorizationCode { .. }",
            Self::RefreshToken { .. } => "RefreshToken { .. }",
        })
    }
}

/// A request to the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// Which app asks.
    pub client: ClientAuth,
    /// For what.
    pub grant: TokenGrant,
    /// Whether the header `x-include-refresh-token-hard-expires-in: true` came with it.
    pub include_hard_expiry: bool,
}

impl TokenRequest {
    /// The exchange of a code, without a verifier.
    pub fn exchange(client: ClientAuth, code: impl Into<String>, redirect_uri: impl Into<String>) -> Self {
        let grant = TokenGrant::AuthorizationCode {
            code: code.into(),
            redirect_uri: redirect_uri.into(),
            code_verifier: None,
        };
        Self { client, grant, include_hard_expiry: false }
    }

    /// A refresh.
    pub fn refresh(client: ClientAuth, refresh_token: impl Into<String>) -> Self {
        let grant = TokenGrant::RefreshToken { refresh_token: refresh_token.into() };
        Self { client, grant, include_hard_expiry: false }
    }
}

/// The token endpoint's answer.
pub type TokenAnswer = Result<Tokens, TokenError>;

/// Tokens, as a good answer brings them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tokens {
    /// `access_token`.
    pub access_token: String,
    /// `refresh_token`.
    pub refresh_token: String,
    /// `expires_in`, seconds.
    pub expires_in: u64,
    /// `x_refresh_token_expires_in`, seconds.
    pub refresh_token_expires_in: u64,
    /// `x_refresh_token_hard_expires_in`, seconds; only if asked for.
    pub refresh_token_hard_expires_in: Option<u64>,
    /// What the ID token says, still to be signed; only with the scope `openid`.
    pub id_token: Option<IdClaims>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("expires_in", &self.expires_in)
            .field("refresh_token_expires_in", &self.refresh_token_expires_in)
            .field("refresh_token_hard_expires_in", &self.refresh_token_hard_expires_in)
            .field("id_token", &self.id_token)
            .finish_non_exhaustive()
    }
}

/// The claims of an ID token (wire-facts section 7). Times in Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct IdClaims {
    /// Issuer.
    pub iss: String,
    /// Audience: an array that holds the client ID.
    pub aud: Vec<String>,
    /// End; `iat` + 3600.
    pub exp: u64,
    /// Time of issue.
    pub iat: u64,
    /// When the user consented.
    pub auth_time: u64,
    /// Who.
    pub sub: String,
    /// The company; absent where none was chosen. Lower case here, unlike the callback's `realmId` (wire-facts C11).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realmid: Option<String>,
}

/// A refusal of the token endpoint or the revocation endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenError {
    /// What the wire says.
    pub code: ErrorCode,
    /// What really was the matter. It is never on the wire: there all of them look alike (wire-facts section 8).
    pub cause: Cause,
}

/// `error` of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 400 `invalid_grant`.
    InvalidGrant,
    /// 401 `invalid_client`.
    InvalidClient,
    /// 400 `invalid_request`.
    InvalidRequest,
}

impl ErrorCode {
    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::InvalidRequest => "invalid_request",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::InvalidGrant | Self::InvalidRequest => 400,
        }
    }
}

/// What really was the matter with a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// No client authentication, or unknown keys, or a wrong secret.
    WrongKeys,
    /// `client_id` in the body beside a Basic header.
    ClientIdTwice,
    /// A token that was never issued, or died so long ago that it is forgotten.
    UnknownToken,
    /// A code that was never issued.
    UnknownCode,
    /// An access token where a refresh token belongs, or the other way round.
    WrongTokenType,
    /// The token is another app's, or of the app's other environment (APP-3).
    WrongClient,
    /// The code was used before; with this the grant has ended (EXC-2).
    CodeUsed,
    /// The code's time was over.
    CodeExpired,
    /// The exchange's redirect URI is not the consent's (RED-5).
    RedirectUriDiffers,
    /// The PKCE verifier is absent or wrong, or one came without a challenge.
    WrongVerifier,
    /// Another refresh token took its place, and its grace is over (STA-2).
    Stale,
    /// It was not used for too long (DUR-3, DUR-6).
    Expired,
    /// The grant's last day has passed (wire-facts C5).
    HardEnd,
    /// Revoked by the app (REF-6).
    Revoked,
    /// Disconnected by the user (REV-2).
    Disconnected,
    /// Ended because its code was used twice (EXC-2, EXC-5).
    Poisoned,
}

impl TokenError {
    pub(super) const fn invalid_grant(cause: Cause) -> Self {
        Self { code: ErrorCode::InvalidGrant, cause }
    }

    pub(super) const fn invalid_client(cause: Cause) -> Self {
        Self { code: ErrorCode::InvalidClient, cause }
    }

    /// `error_description`, where Intuit has been seen to send one (wire-facts section 4).
    pub const fn description(&self) -> Option<&'static str> {
        match self.cause {
            Cause::WrongTokenType | Cause::WrongClient => Some("Incorrect Token type or clientID"),
            Cause::UnknownToken => Some("Incorrect or invalid refresh token"),
            _ => None,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.code.as_str(), self.cause)
    }
}

impl std::error::Error for TokenError {}

/// Why the API does not answer (wire-facts section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiError {
    /// 401, code 3200: the access token has expired, was revoked, or never was one.
    TokenExpired,
    /// 401, code 130: the access token belongs to the other environment.
    WrongCluster {
        /// The environment whose host was asked.
        asked: Environment,
        /// The environment that the token belongs to.
        belongs_to: Environment,
    },
    /// 403, code 3100: the token is not for this company, or its scopes do not allow this.
    NotAuthorized,
    /// 429, code 3001: too many requests for this company within a minute.
    Throttled,
}

impl ApiError {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::TokenExpired | Self::WrongCluster { .. } => 401,
            Self::NotAuthorized => 403,
            Self::Throttled => 429,
        }
    }

    /// Intuit's own number of the error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenExpired => "3200",
            Self::WrongCluster { .. } => "130",
            Self::NotAuthorized => "3100",
            Self::Throttled => "3001",
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenExpired => f.write_str("the access token is not, or no longer, valid"),
            Self::WrongCluster { asked, belongs_to } => {
                write!(f, "the {asked} host was asked with a token of {belongs_to}")
            }
            Self::NotAuthorized => f.write_str("the token does not cover this company or this scope"),
            Self::Throttled => f.write_str("too many requests for this company in this minute"),
        }
    }
}

impl std::error::Error for ApiError {}

/// A company, as its name card in the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Company {
    /// The realm ID.
    pub realm: String,
    /// Its made-up name.
    pub name: String,
}

/// What the userinfo endpoint says, by scope, in Intuit's camelCase (wire-facts section 7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserInfo {
    /// Who; the same as in the ID token.
    pub sub: String,
    /// With `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// With `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// With `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// With `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// With `phone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// With `phone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
    /// With `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

/// A postal address in Intuit's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Street and number.
    pub street_address: String,
    /// Town.
    pub locality: String,
    /// State or province.
    pub region: String,
    /// Postal code.
    pub postal_code: String,
    /// Country.
    pub country: String,
}
