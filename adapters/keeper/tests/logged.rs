//! I6 over the whole program: keeper, HTTP, vault, database driver and the offline Intuit in one process, each telling all
//! that it ever tells, by `tracing` and by `log`. No token, no code, no client secret and no key is in it, as text or as bytes.
#![cfg(feature = "tower")]

#[allow(unreachable_pub)]
mod captured;
#[cfg(feature = "postgres")]
#[allow(unreachable_pub)]
mod database;
mod emulated;

use std::io::Write;
use std::sync::{Arc, LazyLock};

use base64ct::{Base64, Encoding};
use captured::Captured;
use emulated::*;
use evergrant_emulator::fault::{Endpoint, Fault, Harm, InvalidGrant, Reset};
use evergrant_emulator::server::Running;
use evergrant_keeper::Keeper;
use evergrant_reqwest::{Client, Options as HttpOptions};
use evergrant_vault::{AsyncStore, Keyring, Keys as VaultKeys, Name, OnThreads, Sqlite};

const KEY: &str = "5a31c7e05a31c7e05a31c7e05a31c7e05a31c7e05a31c7e05a31c7e05a31c7e0";
const OTHER_KEY: &str = "a513c7e0a513c7e0a513c7e0a513c7e0a513c7e0a513c7e0a513c7e0a513c7e0";

/// `log`'s side of it. Nothing is left out: no manual of these adapters asks for that.
struct Logged(Captured);

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        writeln!(self.0.clone(), "{} {}", record.target(), record.args()).unwrap();
    }
    fn flush(&self) {}
}

/// All that this program has told so far, from its first use on.
fn told() -> &'static Captured {
    static TOLD: LazyLock<Captured> = LazyLock::new(|| {
        let captured = Captured::default();
        tracing::subscriber::set_global_default(captured.subscriber()).unwrap();
        log::set_logger(Box::leak(Box::new(Logged(captured.clone())))).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        captured
    });
    &TOLD
}

fn ring(key: &str) -> VaultKeys<'static> {
    VaultKeys::Ring(Keyring::parse(key).unwrap())
}

/// A secret as it could be told: as it is, in Base64, in hexadecimal, and as Rust shows bytes.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{secret:?}");
    let mut forms = vec![Base64::encode_string(secret), hex, numbers[1..numbers.len() - 1].to_owned()];
    forms.extend(std::str::from_utf8(secret).map(str::to_owned));
    forms.extend(std::str::from_utf8(secret).map(|text| text.escape_debug().to_string()));
    forms
}

/// The tokens in a stored record, by the names of their members.
fn tokens(value: &serde_json::Value, secrets: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::String(text) if text.len() >= 20 && !text.starts_with("http") => {
            secrets.push(text.as_bytes().to_vec());
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| tokens(value, secrets)),
        serde_json::Value::Object(all) => all.values().for_each(|value| tokens(value, secrets)),
        _ => {}
    }
}

struct Life {
    emulator: Arc<Running>,
    keeper: Keeper,
    /// The vault again, beside the keeper.
    store: Box<dyn AsyncStore>,
    secrets: Vec<Vec<u8>>,
}

impl Life {
    fn new(
        emulator: Arc<Running>,
        store: impl AsyncStore + 'static,
        beside: impl AsyncStore + 'static,
    ) -> Self {
        let http = Client::new(HttpOptions::of(app(&emulator).provider())).unwrap();
        let builder = Keeper::builder(app(&emulator), store, http).clock(Emulated(Arc::clone(&emulator)));
        let key = (0..KEY.len()).step_by(2).map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).unwrap());
        let mut secrets = vec![SECRET.as_bytes().to_vec(), format!("client:{SECRET}").into_bytes()];
        secrets.extend([key.collect(), KEY.as_bytes().to_vec(), vec![9; 32]]);
        Self { emulator, keeper: builder.start().unwrap(), store: Box::new(beside), secrets }
    }

    async fn connect(&mut self) {
        let callback = browse(&self.keeper.connect(&CONSENT).unwrap());
        let code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap();
        self.secrets.push(code.as_bytes().to_vec());
        let told = format!("{:?}", self.keeper.callback(&callback, b"").await);
        // The same again is answered from the first; a damaged one is refused.
        let again = format!("{:?}", self.keeper.callback(&callback, b"").await);
        let damaged = format!("{:?}", self.keeper.callback(&format!("{callback}x"), b"").await);
        self.tell(&[told, again, damaged]).await;
    }

    /// Asks for a token an hour later, hands it back as refused, and remembers every secret that there is by then.
    async fn an_hour(&mut self) {
        self.emulator.clock().advance(3_700);
        let asked = self.keeper.access_token(REALM).await;
        let mut lines = vec![format!("{asked:?}")];
        match asked {
            Ok(token) => {
                self.secrets.push(token.expose().as_bytes().to_vec());
                lines.push(format!("{:?}", self.keeper.rejected(REALM, &token).await));
            }
            Err(error) => lines.push(error.to_string()),
        }
        self.tell(&lines).await;
    }

    /// What a program would write into its own log goes into the same.
    async fn tell(&mut self, lines: &[String]) {
        for line in lines {
            writeln!(told().clone(), "{line} {:?}", self.keeper).unwrap();
        }
        let name = Name::new(format!("{:08x}", app(&self.emulator).fingerprint()), "intuit-sandbox", REALM);
        if let Some(row) = self.store.load(&name.unwrap()).await.unwrap() {
            writeln!(told().clone(), "{row:?}").unwrap();
            tokens(&serde_json::from_slice(row.record.expose()).unwrap(), &mut self.secrets);
        }
    }

    async fn until_the_end(mut self, wanted: &[&str]) {
        self.connect().await;
        let harms = [
            None,
            Some(Harm::AnswerLostAfterWork),
            Some(Harm::Reset(Reset::default())),
            Some(Harm::Html503),
            Some(Harm::TruncatedBody),
            Some(Harm::InvalidGrant(InvalidGrant::default())),
            None,
        ];
        for harm in harms {
            if let Some(harm) = harm {
                self.emulator.arm(Fault::once(Endpoint::Refresh, harm));
            }
            self.an_hour().await;
            self.an_hour().await;
        }
        self.connect().await;
        self.keeper.shutdown().await;
        writeln!(told().clone(), "{:?}", self.emulator.log()).unwrap();
        let told = told().text();
        for word in wanted {
            assert!(told.contains(word), "{word} has told nothing");
        }
        self.secrets.sort();
        self.secrets.dedup();
        assert!(self.secrets.len() > 15, "{}", self.secrets.len());
        for secret in &self.secrets {
            for form in forms(secret) {
                assert!(!told.contains(&form), "{} bytes of a secret are told", secret.len());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_on_sqlite() {
    let (_, emulator, home) = (told(), emulator(), tempfile::tempdir().unwrap());
    let open = |key| Sqlite::open(&home.path().join("vault.db"), ring(key));
    let [store, beside] = [0, 1].map(|_| OnThreads::new(open(KEY).unwrap()));
    let refused = open(OTHER_KEY).err().unwrap();
    writeln!(told().clone(), "{refused:?} {refused}").unwrap();
    Life::new(emulator, store, beside).until_the_end(&["evergrant: told", "reqwest"]).await;
}

/// The driver logs each statement with its parameters: they are sealed.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_on_postgres() {
    use evergrant_vault::{Clock, Postgres, PostgresOptions};
    let (_, emulator, database) = (told(), emulator(), database::Database::start());
    let open = async |key, url: &str| {
        let mut options = PostgresOptions::default();
        options.clock = Clock::Caller;
        options.patience = std::time::Duration::from_secs(2);
        Postgres::open(url, ring(key), options).await
    };
    let (store, beside) = (open(KEY, &database.url).await.unwrap(), open(KEY, &database.url).await.unwrap());
    let locked_out = database.url.replace("evergrant-test", "canary-password");
    for (key, url) in [(OTHER_KEY, &database.url), (KEY, &locked_out)] {
        let refused = open(key, url).await.err().unwrap();
        writeln!(told().clone(), "{refused:?} {refused}").unwrap();
    }
    let mut life = Life::new(emulator, store, beside);
    life.secrets.extend([b"evergrant-test".to_vec(), b"canary-password".to_vec()]);
    life.until_the_end(&["evergrant: told", "reqwest", "tokio_postgres"]).await;
}
