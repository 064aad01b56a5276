//! What differs between authorities, as data. Intuit's two environments, a strict RFC 6749 one, or one's own.

use crate::phase::{FOREVER, Policy};

/// An authority: its endpoints, its lifetimes and its habits.
///
/// Intuit's are [`Provider::INTUIT_SANDBOX`] and [`Provider::INTUIT_PRODUCTION`]; another begins with
/// [`Provider::STRICT`] and says what differs:
///
/// ```
/// use evergrant::Provider;
///
/// const MINE: Provider = Provider {
///     name: "example",
///     issuer: "https://id.example",
///     authorization_endpoint: "https://id.example/authorize",
///     token_endpoint: "https://id.example/token",
///     ..Provider::STRICT
/// };
/// assert!(MINE.pkce);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// The environment's name, at most 24 characters; it stands in every stored record, and a record of another one is
    /// refused (APP-3).
    pub name: &'a str,
    /// The issuer identifier (RFC 8414 §2).
    pub issuer: &'a str,
    /// Where the user's browser is sent.
    pub authorization_endpoint: &'a str,
    /// Where codes and refresh tokens are turned into tokens.
    pub token_endpoint: &'a str,
    /// Where a grant is revoked (RFC 7009); empty where there is no such endpoint.
    pub revocation_endpoint: &'a str,
    /// Where the user's claims are read; empty where there is no such endpoint.
    pub userinfo_endpoint: &'a str,
    /// The keys that sign ID tokens; empty where there are none.
    pub jwks_uri: &'a str,
    /// The discovery document; empty where there is none.
    pub discovery: &'a str,
    /// The API that access tokens are for, without a path.
    pub api: &'a str,
    /// Deadlines, replay and patience.
    pub policy: Policy,
    /// Lifetime of an access token whose answer does not say (DUR-1), seconds.
    pub access_for: u32,
    /// No access token is taken to live longer, whatever the answer says; seconds.
    pub access_most: u32,
    /// No refresh token is taken to live longer, whatever the answer says; seconds.
    pub refresh_most: u32,
    /// The answer's member that says how long the refresh token lives.
    pub refresh_lifetime_member: &'a str,
    /// The answer's member that says how far the hard end is.
    pub hard_lifetime_member: &'a str,
    /// How the app says who it is.
    pub authentication: Authentication,
    /// What a revocation looks like.
    pub revocation_body: RevocationBody,
    /// A further header of every token request, as (name, value); an empty name: none.
    pub token_request_header: (&'a str, &'a str),
    /// Further parameters of the authorization request, encoded already, such as `prompt=consent`; may be empty.
    pub authorization_parameters: &'a str,
    /// The callback's parameter that names the company; empty where there is none.
    pub realm_parameter: &'a str,
    /// The answer header by which support finds a request again; empty where there is none.
    pub correlation_header: &'a str,
    /// Texts of `error_description` beside `invalid_grant` that accuse the app's keys and not the grant.
    pub not_the_grant: &'a [&'a str],
    /// PKCE with S256 (RFC 7636).
    pub pkce: bool,
    /// What the callback's `iss` is held to (RFC 9207).
    pub issuer_check: IssuerCheck,
    /// The one exception to RED-3.
    pub local_redirects: LocalRedirects,
    /// Endpoints may be plain http where they are on loopback: for an offline stand-in, and for nothing else.
    pub loopback_http: bool,
}

/// How the app says who it is (RFC 6749 §2.3.1). Never both in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// `Authorization: Basic`, as Intuit wants it: the identifier and the secret as they are.
    Basic,
    /// `Authorization: Basic`, with both form-encoded first, as the RFC has it. The same where both are unreserved.
    BasicEncoded,
    /// `client_id` and `client_secret` in the body.
    Post,
}

/// What a revocation looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationBody {
    /// `{"token":"…"}` (Intuit; wire-facts C10).
    Json,
    /// `token=…&token_type_hint=refresh_token` (RFC 7009 §2.1).
    Form,
}

/// Which redirect URIs may be plain http, for a program on the user's own machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalRedirects {
    /// None: `https` alone (RED-3).
    None,
    /// `http://localhost[:port]/…`, as Intuit's sandbox keys allow (wire-facts C8).
    Localhost,
    /// That, and loopback addresses (RFC 8252 §7.3).
    Loopback,
}

/// What the callback's `iss` is held to (RFC 9207 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssuerCheck {
    /// The authority sends none: one that comes is ignored, as any unknown parameter.
    Ignored,
    /// It must be right where it comes.
    IfPresent,
    /// It must come, and be right.
    Required,
}

const INTUIT: Provider<'static> = Provider {
    name: "",
    issuer: "https://oauth.platform.intuit.com/op/v1",
    authorization_endpoint: "https://appcenter.intuit.com/connect/oauth2",
    token_endpoint: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    revocation_endpoint: "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
    userinfo_endpoint: "",
    jwks_uri: "https://oauth.platform.intuit.com/op/v1/jwks",
    discovery: "",
    api: "",
    policy: Policy {
        consent_for: 3_600,
        code_for: 600,
        call_for: 60,
        replay_for: 86_400,
        refusals: 10,
        renew_ahead: 14 * 86_400,
        access_margin: 300,
        revoke_tries: 8,
        refresh_for: 8_640_000,
        hard_for: 157_680_000,
    },
    access_for: 3_600,
    access_most: 86_400,
    refresh_most: 157_680_000,
    refresh_lifetime_member: "x_refresh_token_expires_in",
    hard_lifetime_member: "x_refresh_token_hard_expires_in",
    authentication: Authentication::Basic,
    revocation_body: RevocationBody::Json,
    token_request_header: ("x-include-refresh-token-hard-expires-in", "true"),
    authorization_parameters: "",
    realm_parameter: "realmId",
    correlation_header: "intuit_tid",
    not_the_grant: &["Incorrect Token type or clientID"],
    pkce: false,
    issuer_check: IssuerCheck::Ignored,
    local_redirects: LocalRedirects::None,
    loopback_http: false,
};

impl Provider<'static> {
    /// Intuit, with the keys for sandbox companies.
    pub const INTUIT_SANDBOX: Self = Self {
        name: "intuit-sandbox",
        userinfo_endpoint: "https://sandbox-accounts.platform.intuit.com/v1/openid_connect/userinfo",
        discovery: "https://developer.api.intuit.com/.well-known/openid_sandbox_configuration",
        api: "https://sandbox-quickbooks.api.intuit.com",
        local_redirects: LocalRedirects::Localhost,
        ..INTUIT
    };

    /// Intuit, with the keys for production companies.
    pub const INTUIT_PRODUCTION: Self = Self {
        name: "intuit-production",
        userinfo_endpoint: "https://accounts.platform.intuit.com/v1/openid_connect/userinfo",
        discovery: "https://developer.api.intuit.com/.well-known/openid_configuration",
        api: "https://quickbooks.api.intuit.com",
        ..INTUIT
    };

    /// An authority that does what the RFCs say and nothing else: one `invalid_grant` is final, a refresh token is never
    /// sent twice, PKCE, `iss` required. Its endpoints are empty: set them.
    pub const STRICT: Self = Self {
        name: "strict",
        issuer: "",
        authorization_endpoint: "",
        token_endpoint: "",
        revocation_endpoint: "",
        userinfo_endpoint: "",
        jwks_uri: "",
        discovery: "",
        api: "",
        policy: Policy {
            replay_for: 0,
            refusals: 1,
            refresh_for: 2_592_000,
            hard_for: FOREVER,
            ..INTUIT.policy
        },
        access_for: 3_600,
        access_most: 2_592_000,
        refresh_most: FOREVER,
        refresh_lifetime_member: "refresh_token_expires_in",
        hard_lifetime_member: "",
        authentication: Authentication::BasicEncoded,
        revocation_body: RevocationBody::Form,
        token_request_header: ("", ""),
        authorization_parameters: "",
        realm_parameter: "",
        correlation_header: "",
        not_the_grant: &[],
        pkce: true,
        issuer_check: IssuerCheck::Required,
        local_redirects: LocalRedirects::Loopback,
        loopback_http: false,
    };
}

#[cfg(test)]
mod tests {
    use super::{FOREVER, LocalRedirects, Policy, Provider};

    /// What one environment of Intuit's shares with the other, and what it must not (wire-facts section 2).
    #[test]
    fn intuits_environments_differ_in_their_hosts_alone() {
        let (sandbox, production) = (Provider::INTUIT_SANDBOX, Provider::INTUIT_PRODUCTION);
        assert_eq!((sandbox.name, production.name), ("intuit-sandbox", "intuit-production"));
        for (there, here) in [
            (sandbox.userinfo_endpoint, production.userinfo_endpoint),
            (sandbox.discovery, production.discovery),
            (sandbox.api, production.api),
        ] {
            assert!(there.starts_with("https://") && here.starts_with("https://"));
            assert!(there.contains("sandbox") && !here.contains("sandbox"), "{there} {here}");
        }
        assert_eq!(sandbox.local_redirects, LocalRedirects::Localhost);
        assert_eq!(production.local_redirects, LocalRedirects::None);
        assert_eq!(sandbox.policy, production.policy);
        // Two weeks.
        assert_eq!(sandbox.policy.renew_ahead, 1_209_600);
    }

    /// RFC 6749 alone: the first refusal is final, no token is sent twice, nothing is known of an end that no answer named.
    #[test]
    fn the_strict_one_believes_at_once_and_repeats_nothing() {
        let Policy { replay_for, refusals, refresh_for, hard_for, .. } = Provider::STRICT.policy;
        assert_eq!((replay_for, refusals, refresh_for, hard_for), (0, 1, 2_592_000, FOREVER));
    }
}
