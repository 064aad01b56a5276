//! Opening: the schema and its migrations, the keys.

use std::{sync::Mutex, time::Duration};

use tokio_postgres::{Transaction, types::ToSql};

use super::{
    Postgres, PostgresOptions,
    address::Address,
    connection::{Fail, Patience, pool},
};
use crate::{
    Entropy, Error, KeyId, Keyring, Keys,
    key::{random_hex, random_number},
    seal,
};

/// Step n takes a vault from schema version n to n + 1. Steps are only ever added.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

const MOST_PATIENCE: Duration = Duration::from_secs(3_600);

/// What processes wait for each other under when they start: the hash of this text and the schema's name.
const STARTING: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('evergrant vault, starting: ' || $1, 0))";

impl Postgres {
    /// Opens the vault at `url` (`postgres://user@host:port/database`), and makes it where there is none.
    ///
    /// `sslmode` and `sslrootcert` in the address are honoured. Where `sslmode` is not said, the way is encrypted unless it
    /// stays on this machine. Certificates and names are checked in every mode but `disable`, against `sslrootcert` or
    /// the machine's own roots; `prefer` and `allow` are taken for `require`.
    ///
    /// [`Keys::File`] makes a key file only where the vault is new. In a fleet, bring the same file to every machine first: a
    /// second machine that made its own is refused.
    ///
    /// Returns [`Error::BadAddress`], [`Error::Unreachable`], [`Error::ReadOnly`], [`Error::Foreign`] (the schema holds
    /// somebody else's tables), [`Error::Newer`], [`Error::Database`] (a right is missing, for instance), and of the keys
    /// what [`Sqlite::open`](crate::Sqlite::open) returns.
    pub async fn open(url: &str, keys: Keys<'_>, options: PostgresOptions) -> Result<Self, Error> {
        let PostgresOptions { schema, password, connections, patience, holder, clock, mut entropy } = options;
        let patience = patience.min(MOST_PATIENCE);
        if !is_plain(&schema) {
            let why = "the schema's name is not made of a-z, 0-9 and _, or is longer than 40".into();
            return Err(Error::BadAddress { why });
        }
        let mut address = Address::parse(url, password.as_deref(), patience)?;
        address.place = format!("{} schema {schema}", address.place);
        let place = address.place.clone();
        let pool = pool(&address, &schema, connections, patience)?;
        let door = Door { pool: &pool, schema: &schema, place: &place };
        let known = door.prepare(Patience::new(patience)).await?;
        let ring = keys.resolve(&place, known.is_empty(), entropy.as_mut())?;
        door.admit(Patience::new(patience), &known, &ring, entropy.as_mut()).await?;
        let holder = if holder.is_empty() { random_hex(entropy.as_mut())? } else { holder };
        let writer = random_number(entropy.as_mut())?;
        let entropy = Mutex::new(entropy);
        Ok(Self { place, schema, holder, writer, ring, clock, patience, pool, address, entropy })
    }
}

type Canaries = Vec<(KeyId, Vec<u8>)>;

struct Door<'a> {
    pool: &'a deadpool_postgres::Pool,
    schema: &'a str,
    place: &'a str,
}

impl Door<'_> {
    /// Brings the schema to its newest version, and reads the canaries.
    async fn prepare(&self, mut patience: Patience) -> Result<Canaries, Error> {
        loop {
            let fail = match patience.within(self.try_prepare()).await {
                Ok(canaries) => return Ok(canaries),
                Err(fail) => fail,
            };
            let named = |fail: Fail| fail.named(self.place, "prepare the database");
            patience.after(fail).await.map_err(named)?;
        }
    }

    async fn try_prepare(&self) -> Result<Canaries, Fail> {
        let mut client = self.pool.get().await?;
        // A look without any right but to read: most starts find nothing to do.
        let look = client.transaction().await?;
        if self.version(&look).await? == newest_version() {
            return canaries(&look).await;
        }
        look.rollback().await?;
        let change = client.transaction().await?;
        let canaries = self.migrate(&change).await?;
        change.commit().await?;
        Ok(canaries)
    }

    /// Under the lock: one process takes the steps, wholly or not at all; the others wait and find them taken.
    async fn migrate(&self, change: &Transaction<'_>) -> Result<Canaries, Fail> {
        change.execute(STARTING, &[&self.schema]).await?;
        let version = self.version(change).await?;
        if version == 0 {
            change.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", self.schema)).await?;
        }
        for step in MIGRATIONS.iter().skip(version) {
            change.batch_execute(step).await?;
        }
        let newest = i32::try_from(newest_version()).unwrap_or(i32::MAX);
        change.execute("UPDATE vault SET version = $1", &[&newest]).await?;
        canaries(change).await
    }

    /// The schema version of a vault, 0 where there is none; refuses everything else.
    async fn version(&self, look: &Transaction<'_>) -> Result<usize, Fail> {
        let row = look.query_one(include_str!("is_vault.sql"), &[&self.schema]).await?;
        match (row.try_get("ours")?, row.try_get("used")?) {
            (true, _) => {}
            (false, true) => {
                let why = "the schema holds tables that are not ours".into();
                return Err(Error::Foreign { vault: self.place.to_owned(), why }.into());
            }
            (false, false) => return Ok(0),
        }
        let version: i32 = look.query_one("SELECT version FROM vault", &[]).await?.try_get(0)?;
        let found = usize::try_from(version).unwrap_or(0);
        if found > newest_version() {
            let (found, known) = (i64::from(version), MIGRATIONS.len() as i64);
            return Err(Error::Newer { vault: self.place.to_owned(), found, known }.into());
        }
        Ok(found)
    }

    /// Refuses a ring that does not know the vault's canary; adds a canary for a new sealing key.
    async fn admit(
        &self,
        mut patience: Patience,
        seen: &Canaries,
        ring: &Keyring,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let newest = ring.newest().id;
        if seen.iter().any(|(key, _)| *key == newest) {
            return seal::check_canaries(seen, self.place, ring);
        }
        let canary = seal::canary(ring, entropy)?;
        loop {
            let fail = match patience.within(self.try_admit(ring, &canary)).await {
                Ok(()) => return Ok(()),
                Err(fail) => fail,
            };
            patience.after(fail).await.map_err(|fail| fail.named(self.place, "check the key"))?;
        }
    }

    /// Under the lock, so that of two processes that bring two keys to a new vault the second is refused.
    async fn try_admit(&self, ring: &Keyring, canary: &[u8]) -> Result<(), Fail> {
        let mut client = self.pool.get().await?;
        let change = client.transaction().await?;
        change.execute(STARTING, &[&self.schema]).await?;
        seal::check_canaries(&canaries(&change).await?, self.place, ring)?;
        let values: [&(dyn ToSql + Sync); 2] = [&ring.newest().id.as_bytes(), &canary];
        let insert = "INSERT INTO canary (key, sealed) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
        change.execute(insert, &values).await?;
        Ok(change.commit().await?)
    }
}

fn newest_version() -> usize {
    MIGRATIONS.len()
}

/// A name that stands in SQL as it is.
fn is_plain(schema: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&schema.len())
        && schema.bytes().all(plain)
        && !schema.starts_with(|first: char| first.is_ascii_digit())
        && !schema.starts_with("pg_")
}

async fn canaries(look: &Transaction<'_>) -> Result<Canaries, Fail> {
    let rows = look.query("SELECT key, sealed FROM canary ORDER BY key", &[]).await?;
    let canary = |row: &tokio_postgres::Row| {
        let key: &[u8] = row.try_get(0)?;
        let sealed = row.try_get(1)?;
        Ok(key.try_into().ok().map(|key| (KeyId(key), sealed)))
    };
    let canaries: Vec<Option<_>> = rows.iter().map(canary).collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(canaries.into_iter().flatten().collect())
}
