//! The discovery document: read, checked, kept for an hour (RFC 8414, RFC 9700 §2.6).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use evergrant_ureq::Client;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::failure::{Exit, Failure, Result};
use crate::output;

/// How long a document is used before it is read again.
const KEPT: Duration = Duration::from_secs(3_600);

/// What is taken from the document. Everything else in it is ignored.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) revocation_endpoint: Option<String>,
    pub(crate) userinfo_endpoint: Option<String>,
    pub(crate) jwks_uri: Option<String>,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// Sets the endpoints by the discovery document, where one was named.
pub(crate) fn apply(config: &mut Config, http: &Client) -> Result<()> {
    let url = config.provider.discovery.clone();
    if url.is_empty() {
        return Ok(());
    }
    check_address(config, &url)?;
    let kept = kept_at(config, &url);
    let of_the_issuer = |metadata: &Metadata| metadata.issuer == config.provider.issuer;
    let metadata = match fresh(&kept).filter(of_the_issuer) {
        Some(metadata) => metadata,
        None => match read(http, &url) {
            Ok((metadata, body)) => {
                check_issuer(&metadata, &config.provider.issuer, &url)?;
                keep(&kept, &body);
                metadata
            }
            Err(failure) => stale(&kept).ok_or(failure)?,
        },
    };
    check_issuer(&metadata, &config.provider.issuer, &url)?;
    config.provider.take(metadata);
    Ok(())
}

/// Reads a document and checks what can be checked without knowing whose it is.
pub(crate) fn read(http: &Client, url: &str) -> Result<(Metadata, Vec<u8>)> {
    let reply = http.read(url);
    if let Some(why) = reply.failure() {
        return Err(Failure::new(Exit::NotNow, format!("the discovery document {url} was not read: {why}")));
    }
    if reply.status() != Some(200) {
        let status = reply.status().unwrap_or_default();
        return Err(Failure::new(
            Exit::Authority,
            format!("the discovery document {url} was answered {status}"),
        )
        .or("look at the address (--discovery)"));
    }
    let metadata = serde_json::from_slice(reply.body()).map_err(|_| {
        Failure::new(Exit::Authority, format!("what {url} gives is no discovery document"))
            .or("look at the address (--discovery)")
    })?;
    Ok((metadata, reply.body().to_vec()))
}

/// RFC 8414 §3.3: the issuer is the one that was asked for, or nothing of the document is used.
fn check_issuer(metadata: &Metadata, expected: &str, url: &str) -> Result<()> {
    if expected.is_empty() {
        return Err(Failure::usage(
            format!("it is not known whose document {url} should be"),
            "set issuer in evergrant.toml, or use an address that ends in /.well-known/openid-configuration",
        ));
    }
    if metadata.issuer != expected {
        let named = output::printable(&metadata.issuer);
        return Err(Failure::new(
            Exit::Authority,
            format!("the document {url} names the issuer {named}, not {expected}: nothing of it is used"),
        )
        .or("look at the address (--discovery) and at issuer in evergrant.toml"));
    }
    Ok(())
}

/// https, or loopback where that was allowed.
fn check_address(config: &Config, url: &str) -> Result<()> {
    let plain = url.starts_with("http://");
    if plain && !config.provider.allows_http_loopback() {
        return Err(Failure::usage(
            format!("the discovery document {url} is not https"),
            "for a server on this machine say --allow-http-loopback (or allow_http_loopback = true)",
        ));
    }
    if !plain && !url.starts_with("https://") {
        return Err(Failure::usage(
            format!("{url} is no address of a discovery document"),
            "it begins with https://",
        ));
    }
    Ok(())
}

fn kept_at(config: &Config, url: &str) -> PathBuf {
    let digest = Sha256::digest(url.as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    config.home.join(format!("discovery-{short}.json"))
}

fn fresh(kept: &PathBuf) -> Option<Metadata> {
    let age = SystemTime::now().duration_since(fs::metadata(kept).ok()?.modified().ok()?).ok()?;
    if age < KEPT { parse(kept) } else { None }
}

/// An old document is better than none: endpoints hardly ever move.
fn stale(kept: &PathBuf) -> Option<Metadata> {
    let metadata = parse(kept)?;
    output::warn("the discovery document was not read; its last copy is used");
    Some(metadata)
}

fn parse(kept: &PathBuf) -> Option<Metadata> {
    serde_json::from_slice(&fs::read(kept).ok()?).ok()
}

/// Where it cannot be kept it is read again next time.
fn keep(kept: &PathBuf, body: &[u8]) {
    let draft = kept.with_extension(format!("{}.new", std::process::id()));
    if fs::write(&draft, body).is_ok() && fs::rename(&draft, kept).is_err() {
        let _ = fs::remove_file(&draft);
    }
}
