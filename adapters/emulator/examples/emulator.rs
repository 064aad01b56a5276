//! Starts the offline Intuit and prints one line of JSON with its addresses.
//!
//! ```text
//! cargo run -p evergrant-emulator --example emulator -- \
//!     --consent auto --redirect-uri http://localhost:8000/callback
//! ```
//!
//! Options: `--listen ADDRESS`, `--client-id`, `--client-secret`, `--redirect-uri` (may come more than once),
//! `--consent auto|page|deny`, `--policy grace|sticky|hard|sticky-hard`, `--issuer intuit|own`, `--seed N`. The keys are
//! sandbox keys.

use std::error::Error;
use std::io::Write;

use evergrant_emulator::authority::{Environment, Keys, Policy};
use evergrant_emulator::server::{Consent, Issuer, Options, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let running = Server::start(options(std::env::args().skip(1))?)?;
    let mut out = std::io::stdout();
    serde_json::to_writer(&mut out, running.addresses())?;
    writeln!(out)?;
    out.flush()?;
    running.wait();
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options::new();
    let mut keys = Keys::new(Environment::Sandbox, "ABemulatorClient", "emulator-secret", [""; 0]);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => options.listen = value.parse()?,
            "--client-id" => keys.client_id = value,
            "--client-secret" => keys.client_secret = value,
            "--redirect-uri" => keys.redirect_uris.push(value),
            "--consent" => {
                options.consent = Consent::named(&value).ok_or("--consent is auto, page or deny")?
            }
            "--policy" => {
                options.policy =
                    Policy::named(&value).ok_or("--policy is grace, sticky, hard or sticky-hard")?;
            }
            "--issuer" => options.issuer = if value == "own" { Issuer::Own } else { Issuer::Intuit },
            "--seed" => options.seed = value.parse()?,
            _ => return Err(format!("{name} is not an option; the example's first lines list them").into()),
        }
    }
    if keys.redirect_uris.is_empty() {
        keys.redirect_uris.push("http://localhost:8000/callback".into());
    }
    Ok(options.keys(keys))
}
