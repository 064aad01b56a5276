//! What the command is told: `evergrant.toml`, the environment, the command line; later ones win.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evergrant::{
    App, AppError, Authentication, ClientSecret, IssuerCheck, Keys, LocalRedirects, Provider, RevocationBody,
    Scopes,
};
use evergrant_vault::Sqlite;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::args::{EnvironmentName, Global};
use crate::discovery::Metadata;
use crate::failure::{Exit, Failure, Result};

/// The name of the configuration file.
pub(crate) const FILE: &str = "evergrant.toml";

/// `evergrant.toml`, as it stands there.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    environment: Option<EnvironmentName>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    redirect_uris: Option<Vec<String>>,
    scopes: Vec<String>,
    further_scopes: Vec<String>,
    discovery: Option<String>,
    issuer: Option<String>,
    api: Option<String>,
    allow_http_loopback: bool,
    provider: ProviderTable,
}

/// `[provider]`: what differs from a strict RFC 6749 server, for `environment = "custom"`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProviderTable {
    name: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    jwks_uri: Option<String>,
    pkce: Option<bool>,
    authentication: Option<AuthenticationName>,
    authorization_parameters: BTreeMap<String, String>,
    issuer_check: Option<IssuerCheckName>,
    refresh_lifetime_seconds: Option<u32>,
    replay_seconds: Option<u32>,
    refusals: Option<u8>,
}

impl ProviderTable {
    fn is_given(&self) -> bool {
        let texts = [
            &self.name,
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.revocation_endpoint,
            &self.userinfo_endpoint,
            &self.jwks_uri,
        ];
        texts.into_iter().any(Option::is_some)
            || self.pkce.is_some()
            || self.authentication.is_some()
            || !self.authorization_parameters.is_empty()
            || self.issuer_check.is_some()
            || self.refresh_lifetime_seconds.is_some()
            || self.replay_seconds.is_some()
            || self.refusals.is_some()
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AuthenticationName {
    Basic,
    BasicEncoded,
    Post,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum IssuerCheckName {
    Ignored,
    IfPresent,
    Required,
}

/// A secret as it was read; wiped on drop.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Everything that the command was told.
pub(crate) struct Config {
    pub(crate) environment: EnvironmentName,
    pub(crate) client_id: String,
    client_secret: Zeroizing<String>,
    pub(crate) redirect_uris: Vec<String>,
    /// Asked for where the command line names none.
    pub(crate) scopes: Vec<String>,
    further_scopes: Vec<String>,
    pub(crate) provider: OwnedProvider,
    /// The configuration file, where there is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) home: PathBuf,
}

/// A [`Provider`] that owns its texts.
pub(crate) struct OwnedProvider {
    base: Provider<'static>,
    name: String,
    pub(crate) issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    userinfo_endpoint: String,
    jwks_uri: String,
    /// The discovery document that was named; empty where the built-in endpoints are used.
    pub(crate) discovery: String,
    api: String,
    authorization_parameters: String,
}

impl Config {
    /// Reads all of it. Nothing is sent anywhere.
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let home = home(global)?;
        let path = find_file(global, &home)?;
        let file = path.as_deref().map_or_else(|| Ok(File::default()), read_file)?;
        let environment = global.environment.or(file.environment).unwrap_or(EnvironmentName::Sandbox);
        let provider = OwnedProvider::new(environment, global, &file)?;
        let secret = variable("EVERGRANT_CLIENT_SECRET").map(Zeroizing::new);
        let known: Vec<String> = file.scopes.iter().map(|scope| spelled_out(scope)).collect();
        let named = known.iter().chain(&file.further_scopes).filter(|scope| !is_built_in(scope));
        let mut further_scopes: Vec<String> = named.cloned().collect();
        further_scopes.dedup();
        Ok(Self {
            environment,
            client_id: variable("EVERGRANT_CLIENT_ID").or(file.client_id).unwrap_or_default(),
            client_secret: secret.or(file.client_secret.map(|secret| secret.0)).unwrap_or_default(),
            redirect_uris: redirect_uris(file.redirect_uris, environment),
            scopes: known,
            further_scopes,
            provider,
            file: path,
            home,
        })
    }

    /// The parts of an [`App`] that are lists.
    pub(crate) fn lists(&self) -> (Vec<&str>, Vec<&str>) {
        let redirect_uris = self.redirect_uris.iter().map(String::as_str).collect();
        (redirect_uris, self.further_scopes.iter().map(String::as_str).collect())
    }

    /// The app (APP-1, RED-1 to RED-4).
    pub(crate) fn app<'a>(
        &'a self,
        provider: &'a Provider<'a>,
        redirect_uris: &'a [&'a str],
        further_scopes: &'a [&'a str],
    ) -> Result<App<'a>> {
        let keys = Keys {
            client_id: &self.client_id,
            client_secret: ClientSecret::new(&self.client_secret),
            redirect_uris,
            further_scopes,
            state_key: None,
        };
        App::new(provider, keys).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: AppError) -> Failure {
        let place = self.file.as_ref().map_or_else(
            || format!("there is no {FILE} here or in {}: `evergrant --help` shows one", self.home.display()),
            |file| format!("look at {}", file.display()),
        );
        let failure = Failure::new(Exit::Usage, error.to_string());
        match error {
            AppError::NoClientId => failure.or("set EVERGRANT_CLIENT_ID, or client_id in the file").or(place),
            AppError::NoClientSecret => {
                failure.or("set EVERGRANT_CLIENT_SECRET, or client_secret in the file").or(place)
            }
            AppError::NotHttps(index) | AppError::HasQuery(index) | AppError::Malformed(index) => {
                let uri = self.redirect_uris.get(index).map_or("", String::as_str);
                failure.or(format!("it is {uri}, in the environment {}", self.environment)).or(place)
            }
            AppError::Endpoint => failure.or("for loopback: --allow-http-loopback").or(place),
            _ => failure.or(place),
        }
    }

    /// Opens the vault of this home, and makes it on first use.
    pub(crate) fn vault(&self) -> Result<Sqlite> {
        open_vault(&self.home)
    }

    /// The scopes of these names, short or long.
    pub(crate) fn scopes_of(&self, app: &App<'_>, names: &[String]) -> Result<Scopes> {
        let spelled: Vec<String> = names.iter().map(|name| spelled_out(name)).collect();
        app.scopes(spelled.iter().map(String::as_str)).map_err(|unknown| {
            Failure::usage(
                format!("the scope {unknown} is not known"),
                "known are accounting, payment, openid, profile, email, phone, address; name others in the file's scopes or \
                 further_scopes",
            )
        })
    }
}

/// The vault of a home: its key is in `EVERGRANT_VAULT_KEY`, or in a file beside it.
pub(crate) fn open_vault(home: &Path) -> Result<Sqlite> {
    let file = home.join("vault.db");
    let key = variable("EVERGRANT_VAULT_KEY").map(Zeroizing::new);
    let key_file = home.join("vault.key");
    let keys = match &key {
        Some(text) => evergrant_vault::Keys::Ring(evergrant_vault::Keyring::parse(text)?),
        None => evergrant_vault::Keys::File(&key_file),
    };
    Ok(Sqlite::open(&file, keys)?)
}

impl OwnedProvider {
    fn new(environment: EnvironmentName, global: &Global, file: &File) -> Result<Self> {
        let discovery = global.discovery.clone().or_else(|| file.discovery.clone()).unwrap_or_default();
        let base = base(environment, file, global.allow_http_loopback || file.allow_http_loopback);
        let table = &file.provider;
        if environment != EnvironmentName::Custom && table.is_given() {
            return Err(Failure::usage(
                format!("[provider] is there, and the environment is {environment}"),
                "say environment = \"custom\" for another server; for a stand-in of Intuit's, say discovery alone",
            ));
        }
        let or = |own: &Option<String>, base: &str| own.clone().unwrap_or_else(|| base.to_owned());
        let issuer = file.issuer.clone().unwrap_or_else(|| issuer_of(&base, &discovery));
        let discovered_elsewhere = !discovery.is_empty() && origin(&discovery) != origin(base.discovery);
        let api = match (&file.api, discovered_elsewhere) {
            (Some(api), _) => api.clone(),
            // A stand-in has its API where its discovery document is.
            (None, true) if environment != EnvironmentName::Custom => origin(&discovery).to_owned(),
            (None, _) => base.api.to_owned(),
        };
        Ok(Self {
            name: name(environment, &base, file, discovered_elsewhere.then_some(&*discovery)),
            authorization_endpoint: or(&table.authorization_endpoint, base.authorization_endpoint),
            token_endpoint: or(&table.token_endpoint, base.token_endpoint),
            revocation_endpoint: or(&table.revocation_endpoint, base.revocation_endpoint),
            userinfo_endpoint: or(&table.userinfo_endpoint, base.userinfo_endpoint),
            jwks_uri: or(&table.jwks_uri, base.jwks_uri),
            authorization_parameters: encoded(&table.authorization_parameters),
            issuer,
            discovery,
            api,
            base,
        })
    }

    /// As the core takes it.
    pub(crate) fn view(&self) -> Provider<'_> {
        Provider {
            name: &self.name,
            issuer: &self.issuer,
            authorization_endpoint: &self.authorization_endpoint,
            token_endpoint: &self.token_endpoint,
            revocation_endpoint: &self.revocation_endpoint,
            userinfo_endpoint: &self.userinfo_endpoint,
            jwks_uri: &self.jwks_uri,
            discovery: if self.discovery.is_empty() { self.base.discovery } else { &self.discovery },
            api: &self.api,
            authorization_parameters: &self.authorization_parameters,
            ..self.base
        }
    }

    /// Whether plain http to loopback was allowed.
    pub(crate) const fn allows_http_loopback(&self) -> bool {
        self.base.loopback_http
    }

    /// Takes the endpoints of a discovery document (RFC 9700 §2.6).
    pub(crate) fn take(&mut self, metadata: Metadata) {
        self.authorization_endpoint = metadata.authorization_endpoint;
        self.token_endpoint = metadata.token_endpoint;
        self.revocation_endpoint = metadata.revocation_endpoint.unwrap_or_default();
        self.userinfo_endpoint = metadata.userinfo_endpoint.unwrap_or_default();
        self.jwks_uri = metadata.jwks_uri.unwrap_or_default();
        // RFC 9207 §3: a server that says so always sends `iss`, and one that does not may send none.
        if self.base.issuer_check == IssuerCheck::Required
            && !metadata.authorization_response_iss_parameter_supported
        {
            self.base.issuer_check = IssuerCheck::IfPresent;
        }
    }
}

fn base(environment: EnvironmentName, file: &File, loopback_http: bool) -> Provider<'static> {
    let base = match environment {
        EnvironmentName::Sandbox => Provider::INTUIT_SANDBOX,
        EnvironmentName::Production => Provider::INTUIT_PRODUCTION,
        EnvironmentName::Custom => return custom(&file.provider, loopback_http),
    };
    Provider { loopback_http, ..base }
}

fn custom(table: &ProviderTable, loopback_http: bool) -> Provider<'static> {
    let strict = Provider::STRICT;
    let mut policy = strict.policy;
    policy.refresh_for = table.refresh_lifetime_seconds.unwrap_or(policy.refresh_for);
    policy.replay_for = table.replay_seconds.unwrap_or(policy.replay_for);
    policy.refusals = table.refusals.unwrap_or(policy.refusals);
    Provider {
        policy,
        loopback_http,
        pkce: table.pkce.unwrap_or(strict.pkce),
        authentication: match table.authentication {
            Some(AuthenticationName::Basic) => Authentication::Basic,
            Some(AuthenticationName::Post) => Authentication::Post,
            Some(AuthenticationName::BasicEncoded) | None => Authentication::BasicEncoded,
        },
        issuer_check: match table.issuer_check {
            Some(IssuerCheckName::Ignored) => IssuerCheck::Ignored,
            Some(IssuerCheckName::IfPresent) => IssuerCheck::IfPresent,
            Some(IssuerCheckName::Required) | None => IssuerCheck::Required,
        },
        revocation_body: RevocationBody::Form,
        local_redirects: LocalRedirects::Loopback,
        ..strict
    }
}

/// APP-3: the name stands in every record and every row, and everything that decides where tokens are sent goes into it.
/// So what was issued by one place is never sent to another, whatever a file that lies about says.
fn name(environment: EnvironmentName, base: &Provider<'_>, file: &File, discovery: Option<&str>) -> String {
    let api = file.api.as_deref().filter(|api| origin(api) != origin(base.api));
    if environment != EnvironmentName::Custom && discovery.is_none() && api.is_none() {
        return base.name.to_owned();
    }
    let table = &file.provider;
    let places = [
        discovery.map(origin),
        api.map(origin),
        table.token_endpoint.as_deref(),
        table.revocation_endpoint.as_deref(),
        table.userinfo_endpoint.as_deref(),
    ];
    let mut digest = Sha256::new();
    for place in places {
        digest.update(place.unwrap_or_default().as_bytes());
        digest.update([0]);
    }
    let short: String = digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let given = table.name.clone().unwrap_or_else(|| environment.to_string());
    // A record's environment has room for 24.
    let begin: String = given.chars().take(15).collect();
    format!("{begin}-{short}")
}

/// The issuer that a discovery document must name (RFC 8414 §3.3): Intuit's, whose document lies elsewhere, or what stands
/// before the well-known part.
fn issuer_of(base: &Provider<'_>, discovery: &str) -> String {
    if !base.issuer.is_empty() {
        return base.issuer.to_owned();
    }
    let before = discovery
        .strip_suffix("/.well-known/openid-configuration")
        .or_else(|| discovery.strip_suffix("/.well-known/oauth-authorization-server"));
    before.unwrap_or_default().to_owned()
}

/// Scheme, host and port of a URL.
pub(crate) fn origin(url: &str) -> &str {
    let Some(at) = url.find("://") else { return url };
    let rest = url.get(at + 3..).unwrap_or_default();
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..at + 3 + host).unwrap_or(url)
}

fn encoded(parameters: &BTreeMap<String, String>) -> String {
    let one = |text: &String| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", one(name), one(value))).collect();
    pairs.join("&")
}

/// `accounting` and `payment` stand for what the wire spells (wire-facts C9).
pub(crate) fn spelled_out(scope: &str) -> String {
    match scope {
        "accounting" | "payment" => format!("com.intuit.quickbooks.{scope}"),
        "payments" => "com.intuit.quickbooks.payment".into(),
        _ => scope.into(),
    }
}

fn is_built_in(scope: &str) -> bool {
    Scopes::NAMES.iter().any(|known| known.eq_ignore_ascii_case(scope))
}

fn redirect_uris(named: Option<Vec<String>>, environment: EnvironmentName) -> Vec<String> {
    match (named, variable("EVERGRANT_REDIRECT_URI")) {
        (_, Some(uri)) => vec![uri],
        (Some(uris), None) => uris,
        // What Intuit's own samples register.
        (None, None) if environment == EnvironmentName::Sandbox => {
            vec!["http://localhost:8000/callback".into()]
        }
        (None, None) => Vec::new(),
    }
}

/// A variable of the environment; an empty one counts as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn home(global: &Global) -> Result<PathBuf> {
    if let Some(home) = &global.home {
        return Ok(home.clone());
    }
    let data = variable("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| variable("LOCALAPPDATA").map(PathBuf::from));
    let data = data.or_else(|| std::env::home_dir().map(|home| home.join(".local").join("share")));
    data.map(|data| data.join("evergrant")).ok_or_else(|| {
        Failure::usage("there is no home folder", "set EVERGRANT_HOME to a folder for the vault")
    })
}

fn find_file(global: &Global, home: &Path) -> Result<Option<PathBuf>> {
    if let Some(file) = &global.config {
        return Ok(Some(file.clone()));
    }
    Ok([PathBuf::from(FILE), home.join(FILE)].into_iter().find(|file| file.is_file()))
}

fn read_file(path: &Path) -> Result<File> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()), "name another file with --config")
    })?;
    let file: File = toml::from_str(&text).map_err(|error| syntax(path, &text, &error))?;
    if file.client_secret.is_some() {
        refuse_open_file(path)?;
    }
    Ok(file)
}

/// The parser's own text would quote the line, which may be the secret's.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let shown = Zeroizing::new(error.message().to_owned());
    // Names of fields are safe to show; values are not.
    let why = if shown.starts_with("unknown field") || shown.starts_with("missing field") {
        shown.split(", expected").next().unwrap_or_default().to_owned()
    } else {
        "it is no TOML, or a value of the wrong kind".to_owned()
    };
    Failure::usage(format!("{}, line {line}: {why}", path.display()), "`evergrant --help` shows a whole file")
}

/// A file with a secret in it is for its owner alone.
fn refuse_open_file(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(Failure::usage(
                format!(
                    "others on this machine may read {path} (mode {mode:03o}), and it holds a client secret"
                ),
                format!("run `chmod 600 {path}`, or put the secret in EVERGRANT_CLIENT_SECRET"),
            ));
        }
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_issuers() {
        assert_eq!(origin("https://a.example:8443/b?c"), "https://a.example:8443");
        assert_eq!(
            issuer_of(&Provider::STRICT, "https://a.example/op/.well-known/openid-configuration"),
            "https://a.example/op"
        );
        assert_eq!(issuer_of(&Provider::STRICT, "https://a.example/else"), "");
        assert_eq!(
            issuer_of(&Provider::INTUIT_SANDBOX, "http://127.0.0.1:1/x"),
            Provider::INTUIT_SANDBOX.issuer
        );
    }

    #[test]
    fn parameters_are_encoded() {
        let parameters = BTreeMap::from([("prompt".into(), "consent".into()), ("a b".into(), "c&d".into())]);
        assert_eq!(encoded(&parameters), "a%20b=c%26d&prompt=consent");
    }

    /// APP-3: a stand-in is another environment, and its name fits into a record.
    #[test]
    fn names_tell_places_apart() {
        let at = |text: &str, discovery| {
            let file = toml::from_str(text).unwrap();
            name(EnvironmentName::Production, &Provider::INTUIT_PRODUCTION, &file, discovery)
        };
        assert_eq!(at("", None), "intuit-production");
        assert_eq!(at("api = \"https://quickbooks.api.intuit.com/\"", None), "intuit-production");
        let one = at("", Some("http://127.0.0.1:1/x"));
        assert_ne!(one, at("", Some("http://127.0.0.1:2/x")));
        assert_ne!(one, at("api = \"https://evil.example\"", Some("http://127.0.0.1:1/x")));
        assert_ne!(at("api = \"https://evil.example\"", None), "intuit-production");
        assert!(one.starts_with("production-") && one.len() <= 24);
        let named =
            at("[provider]\nname = \"intuit-production\"\ntoken_endpoint = \"https://evil.example\"", None);
        assert_eq!(named, "intuit-production", "refused before: it needs the environment custom");
        let custom = |text: &str| {
            name(EnvironmentName::Custom, &Provider::STRICT, &toml::from_str(text).unwrap(), None)
        };
        let mine = custom("[provider]\nname = \"mine\"\ntoken_endpoint = \"https://a.example/token\"");
        assert!(mine.starts_with("mine-"));
        assert_ne!(
            mine,
            custom("[provider]\nname = \"mine\"\ntoken_endpoint = \"https://evil.example/token\"")
        );
        assert!(custom("[provider]\nname = \"a-name-that-is-far-too-long-for-it\"").len() <= 24);
    }

    /// I6: what the parser would quote may be the secret.
    #[test]
    fn a_syntax_error_quotes_nothing() {
        let text = "client_id = \"a\"\nclient_secret = \"canary\" oops\n";
        let error = toml::from_str::<File>(text).err().unwrap();
        let shown = syntax(Path::new("evergrant.toml"), text, &error).to_string();
        assert!(shown.contains("line 2") && !shown.contains("canary"), "{shown}");
        let error = toml::from_str::<File>("client_secrt = \"canary\"").err().unwrap();
        let shown = syntax(Path::new("evergrant.toml"), "", &error).to_string();
        assert!(shown.contains("client_secrt") && !shown.contains("canary"), "{shown}");
    }
}
