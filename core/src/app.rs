//! An app: the keys of one environment, its redirect URIs, its scopes.

use crate::error::AppError;
use crate::provider::{LocalRedirects, Provider};
use crate::secret::Borrowed;
use crate::write::{Writer, fingerprint};

/// What an app is made of, before it is checked.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The client ID.
    pub client_id: &'a str,
    /// The client secret.
    pub client_secret: ClientSecret<'a>,
    /// The redirect URIs that are registered for this environment.
    pub redirect_uris: &'a [&'a str],
    /// Scopes beside [`Scopes::NAMES`], by name; at most 24. Their order may change, their names not.
    pub further_scopes: &'a [&'a str],
    /// The key that signs a `state` (CSR-4), 32 bytes at least; it stays on the back end. `None`: random states only.
    pub state_key: Option<StateKey<'a>>,
}

/// A client secret; its `Debug` is redacted.
#[derive(Clone, Copy, Debug)]
pub struct ClientSecret<'a>(Borrowed<'a>);

impl<'a> ClientSecret<'a> {
    /// Wraps it.
    #[must_use]
    pub const fn new(secret: &'a str) -> Self {
        Self(Borrowed(secret.as_bytes()))
    }
}

/// A key that signs states; its `Debug` is redacted.
#[derive(Clone, Copy, Debug)]
pub struct StateKey<'a>(Borrowed<'a>);

impl<'a> StateKey<'a> {
    /// Wraps it.
    #[must_use]
    pub const fn new(key: &'a [u8]) -> Self {
        Self(Borrowed(key))
    }

    pub(crate) const fn expose(&self) -> &'a [u8] {
        self.0.0
    }
}

/// A registered app in one environment: a provider and one set of keys (APP-2), checked.
#[derive(Clone, Copy, Debug)]
pub struct App<'a> {
    provider: &'a Provider<'a>,
    keys: Keys<'a>,
    client: u32,
}

impl<'a> App<'a> {
    /// Checks a set of keys against what any authority asks of them.
    ///
    /// # Errors
    /// A key is missing (APP-1); a redirect URI is none (RED-3: `https`, RED-4: no query and no fragment, wire-facts C8:
    /// no IP address, and `http://localhost` in a sandbox alone); the signing key is short; the provider is unusable.
    pub fn new(provider: &'a Provider<'a>, keys: Keys<'a>) -> Result<Self, AppError> {
        check_provider(provider)?;
        if keys.client_id.trim_ascii().is_empty() {
            return Err(AppError::NoClientId); // APP-1
        }
        if keys.client_secret.0.0.trim_ascii().is_empty() {
            return Err(AppError::NoClientSecret); // APP-1
        }
        if keys.redirect_uris.is_empty() {
            return Err(AppError::NoRedirectUri);
        }
        for (index, uri) in keys.redirect_uris.iter().enumerate() {
            check_redirect_uri(provider, uri, index)?;
        }
        if keys.state_key.is_some_and(|key| key.expose().len() < 32) {
            return Err(AppError::WeakStateKey);
        }
        if keys.further_scopes.len() > Scopes::FURTHER
            || keys.further_scopes.iter().any(|name| !is_scope(name))
        {
            return Err(AppError::Scopes);
        }
        Ok(Self { provider, keys, client: fingerprint(&[provider.name, keys.client_id]) })
    }

    /// The provider.
    #[must_use]
    pub const fn provider(&self) -> &'a Provider<'a> {
        self.provider
    }

    /// The client ID.
    #[must_use]
    pub const fn client_id(&self) -> &'a str {
        self.keys.client_id
    }

    /// Tells this set of keys from any other, environment included (APP-2, APP-3); no secret is in it.
    #[must_use]
    pub const fn fingerprint(&self) -> u32 {
        self.client
    }

    /// The redirect URIs.
    #[must_use]
    pub const fn redirect_uris(&self) -> &'a [&'a str] {
        self.keys.redirect_uris
    }

    /// The scopes of these names: those of [`Scopes::NAMES`], as the FAQ or as Intuit's wire spells them (wire-facts C9),
    /// and the app's further ones. `Err` names the first that is not known.
    ///
    /// # Errors
    /// A name is none of them.
    pub fn scopes<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<Scopes, &'n str> {
        let mut scopes = Scopes::NONE;
        for name in names {
            scopes = scopes.with(self.scope(name).ok_or(name)?);
        }
        Ok(scopes)
    }

    pub(crate) fn scope(&self, name: &str) -> Option<Scopes> {
        let known = Scopes::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
        let further = || {
            let at = self.keys.further_scopes.iter().position(|further| *further == name)?;
            at.checked_add(Scopes::NAMES.len())
        };
        let bit = u32::try_from(known.or_else(further)?).ok()?;
        Some(Scopes(1_u32.checked_shl(bit)?))
    }

    /// The names of these scopes, as the wire spells them, in one order whatever order they were asked for in.
    pub fn scope_names(&self, scopes: Scopes) -> impl Iterator<Item = &'a str> {
        let names = Scopes::NAMES.iter().chain(self.keys.further_scopes.iter());
        names
            .zip(0_u32..)
            .filter(move |(_, bit)| scopes.0.checked_shr(*bit).unwrap_or(0) & 1 == 1)
            .map(|(name, _)| *name)
    }

    pub(crate) const fn state_key(&self) -> Option<StateKey<'a>> {
        self.keys.state_key
    }

    pub(crate) const fn client_secret(&self) -> &'a [u8] {
        self.keys.client_secret.0.0
    }

    pub(crate) fn redirect_uri_by(&self, print: u32) -> Option<&'a str> {
        self.keys.redirect_uris.iter().copied().find(|uri| fingerprint(&[uri]) == print)
    }
}

/// A set of scopes, of one app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(pub(crate) u32);

impl Scopes {
    /// Nothing: what is asked for by default (SCO-2).
    pub const NONE: Self = Self(0);
    /// The QuickBooks Online API.
    pub const ACCOUNTING: Self = Self(1);
    /// The QuickBooks Payments API.
    pub const PAYMENT: Self = Self(1 << 1);
    /// OpenID Connect.
    pub const OPENID: Self = Self(1 << 2);
    /// The user's given and family names.
    pub const PROFILE: Self = Self(1 << 3);
    /// The user's email address.
    pub const EMAIL: Self = Self(1 << 4);
    /// The user's phone number.
    pub const PHONE: Self = Self(1 << 5);
    /// The user's physical address.
    pub const ADDRESS: Self = Self(1 << 6);

    /// The supported scopes as the wire spells them (SCO-1, wire-facts C9), in the order of the constants.
    pub const NAMES: [&'static str; 7] = [
        "com.intuit.quickbooks.accounting",
        "com.intuit.quickbooks.payment",
        "openid",
        "profile",
        "email",
        "phone",
        "address",
    ];
    const FURTHER: usize = 24;
    /// All of [`Scopes::NAMES`].
    pub(crate) const KNOWN: Self = Self(127);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a company's data is in it, so that the callback names a realm (wire-facts section 3).
    #[must_use]
    pub const fn concern_company(self) -> bool {
        self.0 & (Self::ACCOUNTING.0 | Self::PAYMENT.0) != 0
    }

    /// These scopes, space-delimited (RFC 6749 §3.3).
    pub(crate) fn write(self, app: &App<'_>, out: &mut Writer<'_>, space: &str) {
        for (count, name) in app.scope_names(self).enumerate() {
            if count > 0 {
                out.text(space);
            }
            out.encoded(name.as_bytes());
        }
    }
}

/// RFC 6749 §3.3: visible, and neither quote nor backslash.
fn is_scope(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

fn check_provider(provider: &Provider<'_>) -> Result<(), AppError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if provider.name.is_empty() || provider.name.len() > 24 || !provider.name.bytes().all(plain) {
        return Err(AppError::ProviderName);
    }
    let must = [provider.authorization_endpoint, provider.token_endpoint];
    let may = [provider.revocation_endpoint, provider.userinfo_endpoint, provider.jwks_uri, provider.api];
    let safe = |url: &str| {
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('#');
        let (scheme, host) = split(url);
        visible
            && !host.is_empty()
            && (scheme == "https" || provider.loopback_http && scheme == "http" && is_loopback(host))
    };
    if must.into_iter().all(safe) && may.into_iter().all(|url| url.is_empty() || safe(url)) {
        Ok(())
    } else {
        Err(AppError::Endpoint)
    }
}

/// Scheme and host of a URL; empty where there is none.
fn split(url: &str) -> (&str, &str) {
    let Some((scheme, rest)) = url.split_once([':']) else { return ("", "") };
    let Some(rest) = rest.strip_prefix("//") else { return ("", "") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split([']']).next().unwrap_or_default(),
        None => authority.split([':']).next().unwrap_or_default(),
    };
    if authority.contains('@') { (scheme, "") } else { (scheme, host) }
}

fn is_ip_address(host: &str) -> bool {
    host.contains(':') || ipv4(host).is_some()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || matches!(ipv4(host), Some([127, ..]))
}

/// An IPv4 address in its one usual form. The standard library's parser would bring 2 KiB of code, and panics.
fn ipv4(host: &str) -> Option<[u8; 4]> {
    let mut parts = host.split(['.']);
    let mut address = [0; 4];
    for part in &mut address {
        let digits = parts.next()?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let usual = plain && (digits.len() == 1 || !digits.starts_with('0'));
        *part = if usual { digits.parse().ok()? } else { return None };
    }
    parts.next().is_none().then_some(address)
}

fn check_redirect_uri(provider: &Provider<'_>, uri: &str, index: usize) -> Result<(), AppError> {
    let (scheme, host) = split(uri);
    if uri.contains(['?', '#']) {
        return Err(AppError::HasQuery(index)); // RED-4
    }
    let local = scheme == "http"
        && match provider.local_redirects {
            LocalRedirects::None => false,
            LocalRedirects::Localhost => host == "localhost",
            LocalRedirects::Loopback => is_loopback(host),
        };
    if scheme != "https" && !local {
        return Err(AppError::NotHttps(index)); // RED-3
    }
    let allowed_host = !host.is_empty() && (local || !is_ip_address(host));
    let visible = uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if allowed_host && visible { Ok(()) } else { Err(AppError::Malformed(index)) }
}
