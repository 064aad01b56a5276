//! Where everything is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Issuer, Options};
use crate::authority::{Environment, INTUIT_ISSUER};

/// Where everything is. This as one line of JSON is what a program prints that starts the emulator for others.
///
/// `userinfo`, `discovery` and `api` are those of the environment of the keys; of production where there are both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Addresses {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub base: String,
    /// The authorize endpoint, for the browser.
    pub authorize: String,
    /// The token endpoint.
    pub token: String,
    /// The revocation endpoint.
    pub revoke: String,
    /// Userinfo.
    pub userinfo: String,
    /// The public keys.
    pub jwks: String,
    /// The discovery document.
    pub discovery: String,
    /// What stands for `https://quickbooks.api.intuit.com`; `/v3/company/…` follows.
    pub api: String,
    /// The control path, `…/_emulator`.
    pub control: String,
    /// The issuer of ID tokens.
    pub issuer: String,
    /// What only the sandbox has.
    pub sandbox: Hosts,
    /// What only production has.
    pub production: Hosts,
}

/// The addresses in which the two environments differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hosts {
    /// Userinfo.
    pub userinfo: String,
    /// The discovery document.
    pub discovery: String,
    /// The base of the API.
    pub api: String,
}

impl Addresses {
    pub(super) fn new(address: SocketAddr, options: &Options) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let base = format!("http://{}", SocketAddr::new(host, address.port()));
        let hosts = |environment: &str, discovery: &str| Hosts {
            userinfo: format!("{base}/{environment}/v1/openid_connect/userinfo"),
            discovery: format!("{base}/.well-known/{discovery}"),
            api: format!("{base}/{environment}"),
        };
        let sandbox = hosts("sandbox", "openid_sandbox_configuration");
        let production = hosts("production", "openid_configuration");
        let own = match options.default_environment() {
            Environment::Sandbox => &sandbox,
            Environment::Production => &production,
        };
        Self {
            authorize: format!("{base}/connect/oauth2"),
            token: format!("{base}/oauth2/v1/tokens/bearer"),
            revoke: format!("{base}/v2/oauth2/tokens/revoke"),
            userinfo: format!("{base}/v1/openid_connect/userinfo"),
            jwks: format!("{base}/op/v1/jwks"),
            discovery: own.discovery.clone(),
            api: base.clone(),
            control: format!("{base}/_emulator"),
            issuer: match options.issuer {
                Issuer::Intuit => INTUIT_ISSUER.into(),
                Issuer::Own => format!("{base}/op/v1"),
            },
            sandbox,
            production,
            base,
        }
    }

    /// Those in which this environment differs.
    pub const fn hosts(&self, environment: Environment) -> &Hosts {
        match environment {
            Environment::Sandbox => &self.sandbox,
            Environment::Production => &self.production,
        }
    }
}
