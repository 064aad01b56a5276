//! What most programs do: four ways to refresh with a row in a database.

use std::time::Duration;

use serde_json::Value;

use super::port::{Ask, Port};
use super::tables::{Place, Row, Tables};
use super::{Done, fingerprint_of};
use crate::app::{BASIC, REDIRECT_URI};

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Read, refresh, write.
    NoLock,
    /// The same under a lock that is its owner's for 30 seconds.
    TimedLock,
    /// No lock; what came is written only if the row still has the token that was sent.
    CompareAndSwap,
    /// Under the lock; and a row whose token is refused is deleted, since `invalid_grant` is said to mean a new consent.
    DeleteOnInvalidGrant,
}

const LOCK_SECONDS: i64 = 30;
/// Waits for the lock.
const LOCK_TRIES: u32 = 10;
/// Tries to store what came.
const PUT_TRIES: u64 = 4;

pub(super) struct Worker<'a> {
    port: &'a Port,
    tables: Tables,
    agent: ureq::Agent,
    authority: &'a str,
    way: Way,
    owner: String,
}

/// Why there are no tokens.
enum Refused {
    InvalidGrant,
    Other(String),
}

type Result<T> = std::result::Result<T, String>;

impl<'a> Worker<'a> {
    pub(super) fn new(port: &'a Port, authority: &'a str, place: &Place, way: Way) -> Result<Self> {
        let owner = std::process::id().to_string();
        Ok(Self { port, tables: Tables::open(place)?, agent: agent(), authority, way, owner })
    }

    pub(super) fn carry_out(&self, ask: &Ask) -> Done {
        let token = match ask {
            Ask::Use(realm) | Ask::Tick(realm) => self.token(realm),
            Ask::Callback { realm, query } => self.callback(realm, query),
        };
        Done { token, due: None }
    }

    fn verb<T>(&self, name: &str, verb: impl FnOnce(&Tables) -> Result<T>) -> Result<T> {
        self.port.verb(name, || format!("{name}: the store is down"), || verb(&self.tables))
    }

    fn now(&self) -> i64 {
        self.port.own() as i64
    }

    fn token(&self, realm: &str) -> Result<String> {
        let row = self.read(realm)?;
        if self.is_fresh(&row) {
            return Ok(fingerprint_of(&row.access));
        }
        match self.way {
            Way::NoLock | Way::CompareAndSwap => self.refresh(realm, &row),
            Way::TimedLock | Way::DeleteOnInvalidGrant => self.locked(realm),
        }
    }

    fn read(&self, realm: &str) -> Result<Row> {
        self.verb("get", |tables| tables.get(realm))?.ok_or_else(|| "not connected".into())
    }

    fn is_fresh(&self, row: &Row) -> bool {
        row.access_until > self.now() + 60
    }

    fn locked(&self, realm: &str) -> Result<String> {
        for _ in 0..LOCK_TRIES {
            let now = self.now();
            if self.verb("lock", |tables| tables.lock(realm, &self.owner, now, now + LOCK_SECONDS))? {
                let row = self.read(realm)?;
                let done = if self.is_fresh(&row) {
                    Ok(fingerprint_of(&row.access))
                } else {
                    self.refresh(realm, &row)
                };
                // It runs out by itself where this fails.
                let _ = self.verb("unlock", |tables| tables.unlock(realm, &self.owner));
                return done;
            }
            self.port.sleep(5);
        }
        Err("another process has the lock".into())
    }

    fn refresh(&self, realm: &str, row: &Row) -> Result<String> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", row.refresh.as_str())];
        match ask_for_tokens(&self.agent, self.authority, &form, self.now()) {
            Ok(new) => self.store(realm, row, &new),
            Err(Refused::InvalidGrant) if self.way == Way::DeleteOnInvalidGrant => {
                self.verb("delete", |tables| tables.delete(realm))?;
                Err("invalid_grant: connect again".into())
            }
            Err(Refused::InvalidGrant) => {
                // Somebody else may have been faster.
                let current = self.read(realm)?;
                if current.refresh != row.refresh && self.is_fresh(&current) {
                    return Ok(fingerprint_of(&current.access));
                }
                Err("invalid_grant".into())
            }
            Err(Refused::Other(why)) => Err(why),
        }
    }

    fn store(&self, realm: &str, before: &Row, new: &Row) -> Result<String> {
        let put = || match self.way {
            Way::CompareAndSwap => self.verb("replace", |tables| tables.replace(realm, &before.refresh, new)),
            _ => self.verb("put", |tables| tables.put(realm, new)).map(|()| true),
        };
        for wait in 1..=PUT_TRIES {
            match put() {
                Ok(true) => return Ok(fingerprint_of(&new.access)),
                Ok(false) => return Ok(fingerprint_of(&self.read(realm)?.access)),
                Err(why) if wait == PUT_TRIES => return Err(why),
                Err(_) => self.port.sleep(wait),
            }
        }
        Err("the store is down".into())
    }

    fn callback(&self, realm: &str, query: &str) -> Result<String> {
        let code = super::parameter(query, "code");
        let form =
            [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT_URI)];
        match ask_for_tokens(&self.agent, self.authority, &form, self.now()) {
            Ok(new) => {
                let mut stored = self.verb("put", |tables| tables.put(realm, &new));
                for wait in 1..PUT_TRIES {
                    if stored.is_ok() {
                        break;
                    }
                    self.port.sleep(wait);
                    stored = self.verb("put", |tables| tables.put(realm, &new));
                }
                stored.map(|()| fingerprint_of(&new.access))
            }
            Err(Refused::InvalidGrant) => Err("invalid_grant".into()),
            Err(Refused::Other(why)) => Err(why),
        }
    }
}

pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into()
}

fn ask_for_tokens(
    agent: &ureq::Agent,
    authority: &str,
    form: &[(&str, &str)],
    now: i64,
) -> std::result::Result<Row, Refused> {
    let other = |error: ureq::Error| Refused::Other(error.to_string());
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut answer = agent
        .post(authority)
        .header("authorization", BASIC)
        .header("content-type", "application/x-www-form-urlencoded")
        .send(body.as_str())
        .map_err(other)?;
    let text = answer.body_mut().read_to_string().map_err(other)?;
    let json: Value = serde_json::from_str(&text).map_err(|error| Refused::Other(error.to_string()))?;
    let member = |name: &str| json.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    match (answer.status().as_u16(), member("access_token"), member("refresh_token")) {
        (200, Some(access), Some(refresh)) => {
            let expires_in = json.get("expires_in").and_then(Value::as_i64).unwrap_or(3_600);
            Ok(Row { access, refresh, access_until: now + expires_in })
        }
        (400, _, _) if member("error").as_deref() == Some("invalid_grant") => Err(Refused::InvalidGrant),
        (status, _, _) => Err(Refused::Other(format!("HTTP {status}"))),
    }
}
