//! What an authority is set up with: keys of apps, rotation policy, lifetimes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of Intuit's two worlds. A set of keys belongs to exactly one of them (APP-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Companies made for tests.
    Sandbox,
    /// Companies of customers.
    Production,
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        })
    }
}

/// One set of keys of an app: its environment, its client ID and secret, and where its users may be sent back to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Keys {
    /// The environment that these keys, and every code and token made with them, belong to (APP-2).
    pub environment: Environment,
    /// The client ID; unique among all keys of the authority.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// The registered redirect URIs, compared byte for byte (RED-2).
    pub redirect_uris: Vec<String>,
}

impl Keys {
    /// A set of keys. It is checked when an [`Authority`](super::Authority) is made of it.
    pub fn new(
        environment: Environment,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        redirect_uris: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            environment,
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            redirect_uris: redirect_uris.into_iter().map(Into::into).collect(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        // APP-1: nothing without a client ID and a secret.
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            return Err(ConfigError::EmptyKeys { environment: self.environment });
        }
        self.redirect_uris.iter().try_for_each(|uri| check_redirect_uri(self.environment, uri))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("environment", &self.environment)
            .field("client_id", &self.client_id)
            .field("redirect_uris", &self.redirect_uris)
            .finish_non_exhaustive()
    }
}

/// How often the value of a refresh token changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// At each refresh (wire-facts C1, the FAQ).
    EveryRefresh,
    /// At the first refresh that comes this many seconds or more after the value was issued; until then the same
    /// value comes back with what is left of its life (wire-facts C1 and C3).
    Sticky {
        /// Seconds for which the value stays.
        seconds: u64,
    },
}

/// What becomes of the previous refresh token when a new value is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Previous {
    /// It works this many seconds more, but never past its own end (STA-2).
    Grace {
        /// Seconds for which a stale token works.
        seconds: u64,
    },
    /// It is dead at once (wire-facts C2, the newer texts).
    DeadAtOnce,
}

/// A rotation policy: the two questions on which Intuit contradicts itself (wire-facts C1, C2), answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// How often the value changes.
    pub rotation: Rotation,
    /// What becomes of the one before.
    pub previous: Previous,
}

impl Policy {
    /// A new value at each refresh; the previous one works 24 hours more. This is what the FAQ says.
    pub const GRACE: Self =
        Self { rotation: Rotation::EveryRefresh, previous: Previous::Grace { seconds: 86_400 } };
    /// The same value for 24 hours; the one before it works 24 hours more.
    pub const STICKY: Self = Self {
        rotation: Rotation::Sticky { seconds: 86_400 },
        previous: Previous::Grace { seconds: 86_400 },
    };
    /// A new value at each refresh; the previous one is dead at once.
    pub const HARD: Self = Self { rotation: Rotation::EveryRefresh, previous: Previous::DeadAtOnce };
    /// The same value for 24 hours; the one before it is dead at once.
    pub const STICKY_HARD: Self =
        Self { rotation: Rotation::Sticky { seconds: 86_400 }, previous: Previous::DeadAtOnce };

    /// The preset of that name: `grace`, `sticky`, `hard` or `sticky-hard`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "grace" => Some(Self::GRACE),
            "sticky" => Some(Self::STICKY),
            "hard" => Some(Self::HARD),
            "sticky-hard" => Some(Self::STICKY_HARD),
            _ => None,
        }
    }
}

/// How long things live, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lifetimes {
    /// An authorization code. Intuit documents none; RFC 6749 section 4.1.2 recommends 600 at most.
    pub code: u64,
    /// An access token (DUR-1).
    pub access_token: u64,
    /// A refresh token that is not used (DUR-3; the figure is that of the wire, wire-facts C4).
    pub refresh_token: u64,
    /// A grant, however often it is refreshed (wire-facts C5).
    pub grant: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { code: 600, access_token: 3_600, refresh_token: 8_726_400, grant: 5 * 365 * 86_400 }
    }
}

/// How many characters the values have that the authority makes.
///
/// A model checker that holds many states wants them short; a client wants them as they are at Intuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lengths {
    /// An authorization code (at most 512 on the wire).
    pub code: usize,
    /// An access token (at most 4096 on the wire).
    pub access_token: usize,
    /// A refresh token (at most 512 on the wire).
    pub refresh_token: usize,
}

impl Lengths {
    /// The shortest that still tell the values of a long run apart: 16 characters each.
    pub const SHORT: Self = Self { code: 16, access_token: 16, refresh_token: 16 };
}

impl Default for Lengths {
    fn default() -> Self {
        Self { code: 50, access_token: 800, refresh_token: 50 }
    }
}

/// The person who consents: made up, the same for every consent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The subject identifier, `sub`.
    pub subject: String,
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// Mail address.
    pub email: String,
    /// Telephone number.
    pub phone_number: String,
}

impl Default for User {
    fn default() -> Self {
        Self {
            subject: "1182d6ec-60a6-4ba1-9e40-7a5f2c3d9b01".into(),
            given_name: "Ada".into(),
            family_name: "Sample".into(),
            email: "ada@example.com".into(),
            phone_number: "+1 555-0100".into(),
        }
    }
}

/// Everything that an [`Authority`](super::Authority) is set up with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    /// The sets of keys that exist. An app with both environments has two of them.
    pub keys: Vec<Keys>,
    /// The rotation policy.
    pub policy: Policy,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// Lengths of the values that are made.
    pub lengths: Lengths,
    /// Scopes that exist beside [`KNOWN_SCOPES`]; one that does not is answered `invalid_scope`.
    pub more_scopes: Vec<String>,
    /// API requests for one realm in a minute before the API answers 429 (wire-facts section 5); `None`: no limit.
    pub api_requests_per_minute: Option<u32>,
    /// The issuer, as it stands in ID tokens and discovery documents.
    pub issuer: String,
    /// Who consents.
    pub user: User,
}

/// Intuit's issuer (wire-facts section 2). Its npm SDK accepts no other.
pub const INTUIT_ISSUER: &str = "https://oauth.platform.intuit.com/op/v1";

/// The scopes that exist without being named in the configuration (SCO-1, and those that Intuit's SDKs list).
///
/// They are compared byte for byte: the wire is lower case (wire-facts C9).
pub const KNOWN_SCOPES: [&str; 14] = [
    "com.intuit.quickbooks.accounting",
    "com.intuit.quickbooks.payment",
    "openid",
    "profile",
    "email",
    "phone",
    "address",
    "payroll.compensation.read",
    "project-management.project",
    "app-foundations.custom-dimensions.read",
    "app-foundations.custom-field-definitions",
    "time-tracking.time-entry",
    "time-tracking.time-entry.read",
    "indirect-tax.tax-calculation.quickbooks",
];

/// The scopes of OpenID Connect: with these alone no company is chosen, and no `realmId` comes back.
pub const OPENID_SCOPES: [&str; 5] = ["openid", "profile", "email", "phone", "address"];

impl Config {
    /// Intuit as the FAQ describes it, for these keys: grace of 24 hours, lifetimes of the wire.
    pub fn new(keys: impl IntoIterator<Item = Keys>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            policy: Policy::GRACE,
            lifetimes: Lifetimes::default(),
            lengths: Lengths::default(),
            more_scopes: Vec::new(),
            api_requests_per_minute: Some(500),
            issuer: INTUIT_ISSUER.into(),
            user: User::default(),
        }
    }

    /// The same with another policy.
    #[must_use]
    pub const fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.keys.is_empty() {
            return Err(ConfigError::NoKeys);
        }
        for (index, keys) in self.keys.iter().enumerate() {
            keys.check()?;
            // APP-2: a set of keys belongs to exactly one environment.
            if self.keys[..index].iter().any(|other| other.client_id == keys.client_id) {
                return Err(ConfigError::ClientIdTwice { client_id: keys.client_id.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn keys_of(&self, client_id: &str) -> Option<(usize, &Keys)> {
        self.keys.iter().enumerate().find(|(_, keys)| keys.client_id == client_id)
    }

    pub(super) fn scope_exists(&self, scope: &str) -> bool {
        KNOWN_SCOPES.contains(&scope) || self.more_scopes.iter().any(|more| more == scope)
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// There are no keys at all.
    NoKeys,
    /// A client ID or a secret is empty (APP-1).
    EmptyKeys {
        /// Whose keys.
        environment: Environment,
    },
    /// Two sets of keys have one client ID (APP-2).
    ClientIdTwice {
        /// The client ID.
        client_id: String,
    },
    /// A redirect URI cannot be registered (RED-3, RED-4, wire-facts C8).
    RedirectUri {
        /// The URI.
        uri: String,
        /// What is wrong, and the way out.
        why: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys => f.write_str("no client ID and secret: give those of one environment at least"),
            Self::EmptyKeys { environment } => {
                write!(
                    f,
                    "the {environment} client ID or secret is empty: give both (any made-up text will do)"
                )
            }
            Self::ClientIdTwice { client_id } => {
                write!(f, "client ID `{client_id}` is there twice: each environment has keys of its own")
            }
            Self::RedirectUri { uri, why } => write!(f, "redirect URI `{uri}`: {why}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Whether Intuit's portal would let this redirect URI be registered.
///
/// # Errors
/// When it would not: it has a query or fragment (RED-4), is not https (RED-3; with sandbox keys
/// `http://localhost` is the one exception, wire-facts C8), has no host, or with production keys an IP literal.
pub fn check_redirect_uri(environment: Environment, uri: &str) -> Result<(), ConfigError> {
    match redirect_uri_fault(environment, uri) {
        Some(why) => Err(ConfigError::RedirectUri { uri: uri.into(), why }),
        None => Ok(()),
    }
}

fn redirect_uri_fault(environment: Environment, uri: &str) -> Option<&'static str> {
    if uri.contains('?') {
        return Some("it has a query; leave it out, what the app wants to carry goes into `state` (RED-4)");
    }
    if uri.contains('#') {
        return Some("it has a fragment; leave it out (RED-4)");
    }
    if uri.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Some("it has a blank or a character outside ASCII; percent-encode it");
    }
    if let Some(rest) = uri.strip_prefix("https://") {
        return match host_of(rest) {
            "" => Some("it has no host"),
            host if environment == Environment::Production && is_ip_literal(host) => {
                Some("production keys take no IP address; use a host name")
            }
            _ => None,
        };
    }
    match uri.strip_prefix("http://") {
        Some(rest) if environment == Environment::Sandbox && host_of(rest) == "localhost" => None,
        Some(_) if environment == Environment::Sandbox => {
            Some("it is not https; with sandbox keys http is allowed for the host `localhost` only (RED-3)")
        }
        _ => Some("it does not begin with https:// (RED-3)"),
    }
}

/// The host of what follows `//`, without user information and port.
fn host_of(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or("");
    let host_and_port = authority.rsplit('@').next().unwrap_or("");
    match host_and_port.find(']') {
        Some(end) => &host_and_port[..=end],
        None => host_and_port.split(':').next().unwrap_or(""),
    }
}

fn is_ip_literal(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(environment: Environment, uri: &str) -> bool {
        check_redirect_uri(environment, uri).is_err()
    }

    /// RED-3, RED-4, wire-facts C8.
    #[test]
    fn redirect_uris_as_the_portal_takes_them() {
        use Environment::{Production, Sandbox};
        for environment in [Sandbox, Production] {
            assert!(!refused(environment, "https://app.example.com/callback"));
            assert!(!refused(environment, "https://app.example.com:8443/"));
            for bad in [
                "https://app.example.com/callback?x=1",
                "https://app.example.com/callback#top",
                "https://",
                "https:///path",
                "app.example.com",
                "http://app.example.com/",
                "http://localhost.example.com/",
                "https://app.example.com/a b",
            ] {
                assert!(refused(environment, bad), "{environment}: {bad}");
            }
        }
        assert!(!refused(Sandbox, "http://localhost:8000/cb"));
        assert!(!refused(Sandbox, "http://localhost"));
        assert!(refused(Sandbox, "http://127.0.0.1:8000/cb"));
        assert!(refused(Production, "http://localhost:8000/cb"));
        assert!(refused(Production, "https://127.0.0.1/cb"));
        assert!(refused(Production, "https://[::1]:44/cb"));
        assert!(!refused(Sandbox, "https://127.0.0.1/cb"));
    }

    /// APP-1, APP-2.
    #[test]
    fn keys_are_whole_and_of_one_environment() {
        let keys = |id: &str, secret: &str, environment| Keys::new(environment, id, secret, [""; 0]);
        let check = |keys: &[Keys]| Config::new(keys.to_vec()).check();
        assert_eq!(check(&[]), Err(ConfigError::NoKeys));
        let whole = keys("id", "secret", Environment::Sandbox);
        assert_eq!(check(std::slice::from_ref(&whole)), Ok(()));
        assert!(matches!(check(&[keys("", "s", Environment::Sandbox)]), Err(ConfigError::EmptyKeys { .. })));
        assert!(matches!(check(&[keys("i", "", Environment::Sandbox)]), Err(ConfigError::EmptyKeys { .. })));
        let same_in_production = keys("id", "other", Environment::Production);
        assert!(matches!(check(&[whole, same_in_production]), Err(ConfigError::ClientIdTwice { .. })));
    }

    #[test]
    fn no_secret_in_debug() {
        let keys = Keys::new(Environment::Sandbox, "id", "canary-secret", ["https://a.example/"]);
        assert!(!format!("{:?}", Config::new([keys])).contains("canary"));
    }
}
