//! The server's address, and when the way there is encrypted.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Error, files};

/// Where the server is and how to speak to it. Its `Debug` and its place hold no password (I6).
pub(super) struct Address {
    pub(super) config: Config,
    /// `None`: in the clear.
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) place: String,
}

impl Address {
    /// Reads `postgres://…`, with `sslmode` and `sslrootcert` as `libpq` spells them.
    pub(super) fn parse(url: &str, password: Option<&str>, patience: Duration) -> Result<Self, Error> {
        let (head, said) = Said::split(url)?;
        // Its message names the option that is wrong, never a value.
        let mut config: Config = head.parse().map_err(|error| bad(with_source(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(bad("it names no host"));
        }
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("evergrant-vault");
        }
        config.connect_timeout(patience).tcp_user_timeout(patience).keepalives_idle(Duration::from_secs(30));
        let tls = match said.encrypted(&config)? {
            true => Some(MakeRustlsConnect::new(said.verified()?)),
            false => None,
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let place = place(&config);
        Ok(Self { config, tls, place })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("place", &self.place).field("tls", &self.tls.is_some()).finish()
    }
}

/// What the address says of encryption: options that the driver does not know.
#[derive(Default)]
struct Said {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

impl Said {
    /// The address without these options, and what they said.
    fn split(url: &str) -> Result<(String, Self), Error> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad("it does not begin with postgres://"));
        }
        let (head, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut said, mut rest) = (Self::default(), Vec::new());
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => said.mode = Some(value()),
                "sslrootcert" => said.roots = Some(PathBuf::from(value())),
                _ => rest.push(option),
            }
        }
        Ok((if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) }, said))
    }

    /// Where nothing is said: not on this machine, and everywhere else. What is said is never made weaker: `prefer` and
    /// `allow`, which would go on in the clear where somebody in between says so, are taken for `require`.
    fn encrypted(&self, config: &Config) -> Result<bool, Error> {
        match self.mode.as_deref() {
            None => Ok(!config.get_hosts().iter().all(is_here)),
            Some("disable") => Ok(false),
            Some("allow" | "prefer" | "require" | "verify-ca" | "verify-full") => Ok(true),
            Some(_) => Err(bad("its sslmode is none of disable, require, verify-full")),
        }
    }

    /// The certificate and its name are checked, always: against the file of roots that was named, or the machine's.
    fn verified(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(file) => {
                let unreadable = |why: &dyn fmt::Display| {
                    files::file_error(
                        file,
                        "read the certificates in",
                        std::io::Error::other(why.to_string()),
                    )
                };
                for root in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
                    let root = root.map_err(|error| unreadable(&error))?;
                    roots.add(root).map_err(|error| unreadable(&error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(bad(
                "no root certificates were found to check the server's by: name some with sslrootcert",
            ));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(bad)?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn bad(why: impl fmt::Display) -> Error {
    Error::BadAddress { why: why.to_string() }
}

fn with_source(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether a host is this machine: nobody can listen on the way there.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let host = |(index, host): (usize, &Host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    format!(
        "postgres://{}/{}",
        hosts.join(","),
        config.get_dbname().or(config.get_user()).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, Error> {
        Address::parse(url, None, Duration::from_secs(1))
    }

    #[test]
    fn the_way_is_encrypted_unless_it_stays_here_or_somebody_says_otherwise() {
        let tls = |url: &str| parse(url).unwrap().tls.is_some();
        for here in ["127.0.0.1:5", "localhost", "[::1]", "%2Frun%2Fpostgresql"] {
            assert!(!tls(&format!("postgres://u@{here}/d")), "{here}");
            assert!(tls(&format!("postgres://u@{here}/d?sslmode=require")), "{here}");
        }
        for mode in ["", "?sslmode=prefer", "?sslmode=allow", "?connect_timeout=3&sslmode=verify-full"] {
            assert!(tls(&format!("postgresql://u@db.example{mode}")), "{mode}");
        }
        assert!(!tls("postgres://u@db.example/d?sslmode=disable"));
        assert!(tls("postgres://u@127.0.0.1,db.example/d"), "one of them is elsewhere");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_without_showing_it() {
        for url in [
            "mysql://u:canary@h/d",
            "canary",
            "postgres://u:canary@h/d?sslmode=canary",
            "postgres://u:canary@h/d?nonsense=canary",
            "postgres://u:canary@h:canary/d",
            "postgres:///d?password=canary",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, Error::BadAddress { .. }), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        let shown = format!("{:?}", Address::parse("postgres://u:canary@localhost/d", None, Duration::ZERO));
        assert!(shown.contains("localhost:5432/d") && !shown.contains("canary"), "{shown}");
        let named = parse("postgres://u@db.example/?sslrootcert=/nowhere/root.pem").unwrap_err();
        assert!(matches!(named, Error::File { .. }), "{named}");
    }
}
