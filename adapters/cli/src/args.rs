//! The command line. No secret stands on it: everybody on the machine can read it.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::failure::EXIT_CODES;

const ABOUT: &str = "\
Keeps OAuth 2.0 grants to Intuit (QuickBooks) alive: from the user's consent through every rotation to the end.";

const EXAMPLES: &str = "\
Examples:
  evergrant demo                                  a grant's whole life, offline, in seconds
  evergrant connect --scope accounting            ask the user, keep the tokens
  curl -H \"$(evergrant token --format header 9130347957983546)\" …
  evergrant call 9130347957983546 companyinfo/{realm}
  evergrant refresh --due                         from cron: renew whatever asks for it
  evergrant whoami 9130347957983546               who signed in, if openid was among the scopes

Configuration, evergrant.toml (here, or in the home folder; mode 600 if a secret is in it):
  environment = \"sandbox\"            # or \"production\", \"custom\"
  client_id = \"AB…\"                  # or EVERGRANT_CLIENT_ID
  client_secret = \"…\"                # or EVERGRANT_CLIENT_SECRET
  redirect_uris = [\"http://localhost:8000/callback\"]
  scopes = [\"accounting\"]

  # Another server: discovery = \"https://…/.well-known/openid-configuration\", and
  # [provider]                        # what differs from a strict RFC 6749 server
  # pkce = true
  # authentication = \"basic-encoded\"  # or \"basic\", \"post\"
  # authorization_parameters = { prompt = \"consent\" }

Environment variables: EVERGRANT_HOME, EVERGRANT_CLIENT_ID, EVERGRANT_CLIENT_SECRET, EVERGRANT_REDIRECT_URI,
EVERGRANT_VAULT_KEY (instead of the key file), NO_COLOR.

";

#[derive(Parser)]
#[command(name = "evergrant", version, about = ABOUT, after_help = format!("{EXAMPLES}{EXIT_CODES}"))]
#[command(max_term_width = 110, propagate_version = true, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every subcommand can be told.
#[derive(Args)]
pub(crate) struct Global {
    /// Configuration file [default: evergrant.toml here, else in the home folder]
    #[arg(long, global = true, value_name = "FILE", env = "EVERGRANT_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the vault, its key and the configuration [default: the user's data folder]
    #[arg(long, global = true, value_name = "FOLDER", env = "EVERGRANT_HOME", hide_env = true)]
    pub(crate) home: Option<PathBuf>,
    /// Whose keys these are; wins over the file
    #[arg(long, global = true, value_name = "NAME", env = "EVERGRANT_ENVIRONMENT", hide_env = true)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Take the endpoints from this discovery document
    #[arg(long, global = true, value_name = "URL", env = "EVERGRANT_DISCOVERY", hide_env = true)]
    pub(crate) discovery: Option<String>,
    /// Allow plain http to a server on this machine, for the emulator and for tests
    #[arg(long, global = true)]
    pub(crate) allow_http_loopback: bool,
    /// Wait up to so many seconds for another process, or for a next try that is near
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u32,
}

/// Whose keys they are (APP-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EnvironmentName {
    /// Intuit, keys for sandbox companies
    Sandbox,
    /// Intuit, keys for production companies
    Production,
    /// Any other server, by its discovery document or by [provider]
    Custom,
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::Custom => "custom",
        })
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show a grant's whole life against the offline Intuit, and check every step
    Demo,
    /// Ask the user for consent, and keep the tokens that it brings
    Connect(Connect),
    /// Print an access token that is good now
    Token(Token),
    /// Read from the API with an access token that is good now
    Call(Call),
    /// Show each grant's clocks, what happens next, and when
    Status(Status),
    /// Refresh a grant now, or all that ask for it
    Refresh(Refresh),
    /// Show who signed in, and what they let be known of them
    Whoami(Whoami),
    /// Revoke a grant
    Disconnect(Disconnect),
    /// Look for what is wrong, and say why and what to do, by the FAQ
    Doctor(Doctor),
    /// Run the offline Intuit until it is interrupted
    Emulator(Emulator),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A grant's name.
#[derive(Args)]
pub(crate) struct Realm {
    /// The company's realm ID, or the grant's name; may be left out where there is one only
    pub(crate) realm: Option<String>,
}

#[derive(Args)]
#[command(after_help = "\
Where the redirect URI is on this machine, a port listens while the consent is pending. Otherwise paste the address that
the browser ends up at. For a company that is connected already, the old grant works until the new tokens are stored.

With openid among the scopes the ID token is verified after the tokens are stored. One that is refused costs the sign-in
and not the grant: it says that it is connected, then why nobody is signed in, and ends with 7.

Examples:
  evergrant connect --scope accounting
  evergrant connect --scope accounting,openid,profile,email
  evergrant connect --realm 9130347957983546 --scope accounting,payment
  evergrant connect --no-browser < callback-url.txt")]
pub(crate) struct Connect {
    /// Scopes, with commas or repeated [default: scopes in evergrant.toml]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) scope: Vec<String>,
    /// The company that must be chosen: for a wider consent, or after an end
    #[arg(long, value_name = "REALM")]
    pub(crate) realm: Option<String>,
    /// The grant's name, where the server has no companies [default: default]
    #[arg(long, value_name = "NAME", conflicts_with = "realm")]
    pub(crate) name: Option<String>,
    /// One of the app's redirect URIs [default: the first]
    #[arg(long, value_name = "URI")]
    pub(crate) redirect_uri: Option<String>,
    /// Print the URL, and take the callback's URL from standard input
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}

#[derive(Args)]
pub(crate) struct Token {
    #[command(flatten)]
    pub(crate) realm: Realm,
    /// How to print it
    #[arg(long, value_enum, default_value_t = TokenFormat::Raw)]
    pub(crate) format: TokenFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// The bare token
    Raw,
    /// `Authorization: Bearer …`
    Header,
    /// An object with the token, its realm, and when it ends
    Json,
}

#[derive(Args)]
#[command(after_help = "\
{realm} in the path stands for the company. A path without a slash in front is one below /v3/company/{realm}/.

Example:
  evergrant call 9130347957983546 companyinfo/{realm}")]
pub(crate) struct Call {
    /// The company's realm ID, or the grant's name
    pub(crate) realm: String,
    /// What to read, with its query
    pub(crate) path: String,
}

#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) realm: Realm,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "\
The user is who the ID token named when the grant was made: issuer and subject, never an email address. The claims are read
now, by scope (profile, email, phone, address), and count only if they are of that very subject.

Examples:
  evergrant connect --scope openid,profile,email
  evergrant whoami --json")]
pub(crate) struct Whoami {
    #[command(flatten)]
    pub(crate) realm: Realm,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    pub(crate) realm: Realm,
    /// All grants that ask for it by themselves: ahead of their end, or to be tried again
    #[arg(long, conflicts_with = "realm")]
    pub(crate) due: bool,
}

#[derive(Args)]
pub(crate) struct Disconnect {
    /// The company's realm ID, or the grant's name
    pub(crate) realm: String,
    /// Do away with the row as well, even where the authority has not confirmed
    #[arg(long)]
    pub(crate) forget: bool,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// Send nothing: look at what is here
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Args)]
#[command(after_help = "\
When it is ready it prints one line of JSON with its addresses, and runs until it is interrupted (SIGINT, SIGTERM).

Example:
  evergrant emulator --consent auto --redirect-uri http://localhost:8000/callback")]
pub(crate) struct Emulator {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// A made-up client ID
    #[arg(long, default_value = "ABemulatorClient")]
    pub(crate) client_id: String,
    /// A made-up client secret
    #[arg(long, default_value = "emulator-secret")]
    pub(crate) client_secret: String,
    /// Registered redirect URIs; may be repeated
    #[arg(long, value_name = "URI", default_value = "http://localhost:8000/callback")]
    pub(crate) redirect_uri: Vec<String>,
    /// Whose keys they are
    #[arg(long, value_enum, default_value_t = KeysOf::Sandbox)]
    pub(crate) keys: KeysOf,
    /// Who answers the consent page
    #[arg(long, value_enum, default_value_t = ConsentBy::Page)]
    pub(crate) consent: ConsentBy,
    /// When refresh tokens change, and how long the previous one works
    #[arg(long, value_enum, default_value_t = PolicyName::Grace)]
    pub(crate) policy: PolicyName,
    /// Seed of all that is made up
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The machine's clock, or one that is moved by hand only, by POST /_emulator/clock
    #[arg(long, value_enum, default_value_t = ClockKind::Real)]
    pub(crate) clock: ClockKind,
    /// The issuer: Intuit's, or the emulator's own address, for generic clients
    #[arg(long, value_enum, default_value_t = IssuerOf::Intuit)]
    pub(crate) issuer: IssuerOf,
    /// Companies to choose from, with commas or repeated
    #[arg(long, value_delimiter = ',', value_name = "REALM")]
    pub(crate) company: Vec<String>,
    /// The first of two permissions to listen elsewhere than on loopback
    #[arg(long)]
    pub(crate) allow_beyond_loopback: bool,
    /// The second: whoever reaches the port can control the emulator
    #[arg(long)]
    pub(crate) anyone_may_control: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KeysOf {
    /// Sandbox keys
    Sandbox,
    /// Production keys
    Production,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ConsentBy {
    /// Nobody: it approves at once
    Auto,
    /// The user, on a page
    Page,
    /// Nobody: it denies at once
    Deny,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum PolicyName {
    /// A new value each time, the previous one works 24 hours more
    Grace,
    /// The same value for 24 hours
    Sticky,
    /// A new value each time, the previous one is dead at once
    Hard,
    /// The same value for 24 hours, the one before it is dead at once
    StickyHard,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ClockKind {
    /// The machine's
    Real,
    /// Stands still until it is moved
    Fixed,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum IssuerOf {
    /// Intuit's
    Intuit,
    /// The emulator's own address
    Own,
}
