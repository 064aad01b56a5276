//! How the server is set up, and why it may refuse to start.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::ClockChoice;
use crate::authority::{Config, ConfigError, Environment, Keys, Lifetimes, Policy};

/// Who answers the consent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nobody: it approves at once, for the first company, or for the one that `emulator_realm` names.
    Auto,
    /// The user, on a page of HTML.
    #[default]
    Page,
    /// Nobody: it denies at once.
    Deny,
}

impl Consent {
    /// `auto`, `page` or `deny`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "page" => Some(Self::Page),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// Which issuer stands in ID tokens and discovery documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Issuer {
    /// Intuit's ([`INTUIT_ISSUER`](crate::authority::INTUIT_ISSUER)). Its npm SDK accepts no other.
    #[default]
    Intuit,
    /// This server's own address: for generic clients, which look for the discovery document under the issuer.
    Own,
}

/// How the server is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The first of two permissions to listen elsewhere than on loopback.
    pub allow_beyond_loopback: bool,
    /// The second: whoever reaches the port can control the emulator.
    pub anyone_may_control: bool,
    /// The sets of keys that exist.
    pub keys: Vec<Keys>,
    /// Who answers the consent page.
    pub consent: Consent,
    /// The rotation policy.
    pub policy: Policy,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// The seed of tokens, signing keys, and faults by probability.
    pub seed: u64,
    /// What the clock goes by.
    pub clock: ClockChoice,
    /// The companies that the consent page offers: realm IDs of 10 to 16 digits.
    pub companies: Vec<String>,
    /// API requests for one realm in a minute of the emulator's clock, which a fixed clock never ends; `None`: no limit.
    pub api_requests_per_minute: Option<u32>,
    /// Scopes that exist beside the known ones.
    pub more_scopes: Vec<String>,
    /// Which issuer it says it is.
    pub issuer: Issuer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            allow_beyond_loopback: false,
            anyone_may_control: false,
            keys: Vec::new(),
            consent: Consent::default(),
            policy: Policy::GRACE,
            lifetimes: Lifetimes::default(),
            seed: 1,
            clock: ClockChoice::default(),
            companies: ["9341453000000001", "9341453000000002", "9341453000000003"].map(Into::into).into(),
            api_requests_per_minute: Some(500),
            more_scopes: Vec::new(),
            issuer: Issuer::default(),
        }
    }
}

impl Options {
    /// Free loopback port, consent page, grace policy, real clock, no keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the sandbox keys of an app.
    #[must_use]
    pub fn sandbox(self, client_id: &str, client_secret: &str, redirect_uris: &[&str]) -> Self {
        self.keys(Keys::new(Environment::Sandbox, client_id, client_secret, redirect_uris.iter().copied()))
    }

    /// Adds the production keys of an app.
    #[must_use]
    pub fn production(self, client_id: &str, client_secret: &str, redirect_uris: &[&str]) -> Self {
        self.keys(Keys::new(Environment::Production, client_id, client_secret, redirect_uris.iter().copied()))
    }

    /// Adds a set of keys.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys.push(keys);
        self
    }

    /// Sets who answers the consent page.
    #[must_use]
    pub const fn consent(mut self, consent: Consent) -> Self {
        self.consent = consent;
        self
    }

    /// Sets the rotation policy.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub const fn clock(mut self, clock: ClockChoice) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The environment of paths without a prefix: see the [module](super)'s text.
    pub fn default_environment(&self) -> Environment {
        let only_sandbox = self.keys.iter().all(|keys| keys.environment == Environment::Sandbox);
        if only_sandbox { Environment::Sandbox } else { Environment::Production }
    }

    pub(super) fn config(&self, issuer: &str) -> Config {
        let mut config = Config::new(self.keys.clone()).with_policy(self.policy);
        config.lifetimes = self.lifetimes;
        config.api_requests_per_minute = self.api_requests_per_minute;
        config.more_scopes.clone_from(&self.more_scopes);
        config.issuer = issuer.into();
        config
    }

    pub(super) fn check(&self) -> Result<(), StartError> {
        let told_twice = self.allow_beyond_loopback && self.anyone_may_control;
        if !self.listen.ip().is_loopback() && !told_twice {
            return Err(StartError::NotLoopback { address: self.listen });
        }
        Ok(())
    }
}

/// Why the server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The keys or redirect URIs are not good.
    Config(ConfigError),
    /// The address is not a loopback address, and the two permissions were not given.
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The system gave no thread or no event queue.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotLoopback { address } => write!(
                f,
                "{address} is not a loopback address: anyone on the network could control the emulator. Listen on \
                 127.0.0.1, or say twice that this is wanted (allow_beyond_loopback and anyone_may_control)"
            ),
            Self::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}. Port 0 takes a free one")
            }
            Self::System(error) => write!(f, "cannot start the server's thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::NotLoopback { .. } => None,
            Self::Listen { error, .. } | Self::System(error) => Some(error),
        }
    }
}
