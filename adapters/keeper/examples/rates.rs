//! What a keeper does in a second on this machine:
//!
//! ```text
//! cargo run --release -p evergrant-keeper --features postgres --example rates
//! ```
//!
//! Tokens served from memory; refreshes on SQLite and on PostgreSQL (with `fsync`, as shipped) with 1, 16 and 64 callers, before an
//! authority that answers at once and one that takes 300 ms; and what the bare database does for the two statements of a refresh, the
//! claim and the commit, with as many connections: the vault's own SQL on the vault's own rows, without sealing and without anything
//! read. SQLite has one writer at a time: more connections wait for each other.
//!
//! The authority is in this process: no HTTP is in the figures. Each refresh is of another grant, as in a fleet.

#![allow(clippy::print_stderr)] // what is measured just now, beside the table

use std::fmt;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evergrant::{App, ClientSecret, Http, Keys, Provider, Scopes, StateKey, Time};
use evergrant_keeper::{Bounds, Carrier, Clock, Consent, Keeper, Options};
use evergrant_reqwest::Client;
use evergrant_vault::{
    AsyncStore, Clock as VaultClock, Keyring, Keys as VaultKeys, OnThreads, Postgres, PostgresOptions, Sqlite,
};
use evergrant_wire::{Answer, Reply};
use zeroize::Zeroizing;

type Error = Box<dyn std::error::Error + Send + Sync>;

const REDIRECT: &str = "https://app.example/callback";
const GRANTS: u64 = 4_000;
const CALLERS: [u64; 3] = [1, 16, 64];
/// How long each figure is measured, unless all grants are refreshed before.
const SPAN: Duration = Duration::from_secs(3);
/// Rows of 2 KiB: an access token of 1,000 characters, and what stands beside it.
const ACCESS_TOKEN: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("vault.db");
    let mut table = Table::default();
    table.row("The disk: 4 KiB written in place and made durable", 1, disk(home.path())?);
    let world = Arc::new(World::default());
    let store = OnThreads::new(Sqlite::open(&path, keys()?)?);
    measure(&mut table, &world, "SQLite", store).await?;
    for callers in CALLERS {
        let path = path.clone();
        let bare = tokio::task::spawn_blocking(move || bare_sqlite(&path, callers)).await??;
        table.row("SQLite, bare: claim and commit", callers, bare);
    }
    table.row("The disk, once more", 1, disk(home.path())?);
    match Database::start() {
        Some(database) => measure_postgres(&mut table, &database).await?,
        None => {
            eprintln!("PostgreSQL is left out: there is none here (`cargo xtask test postgres` installs it)")
        }
    }
    print!("{table}");
    Ok(())
}

async fn measure_postgres(table: &mut Table, database: &Database) -> Result<(), Error> {
    let mut options = PostgresOptions::default();
    options.clock = VaultClock::Caller;
    let world = Arc::new(World::default());
    measure(table, &world, "PostgreSQL", Postgres::open(&database.url, keys()?, options).await?).await?;
    for callers in CALLERS {
        let bare = bare_postgres(&database.url, callers).await?;
        table.row("PostgreSQL, bare: claim and commit", callers, bare);
    }
    Ok(())
}

/// What was measured, by how many callers there were.
#[derive(Default)]
struct Table(Vec<(String, [Option<f64>; 3])>);

impl Table {
    fn row(&mut self, what: &str, callers: u64, rate: f64) {
        eprintln!("{what}, {callers} at once: {rate:.0} a second");
        let at = self.0.iter().position(|(named, _)| named == what).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push((what.to_owned(), [None; 3]));
        }
        let cells = self.0[at].1.iter_mut().zip(CALLERS);
        cells.filter(|(_, column)| *column == callers).for_each(|(cell, _)| *cell = Some(rate));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, some, many] = CALLERS;
        writeln!(
            f,
            "| A second | {one} caller | {some} callers | {many} callers |\n| --- | --- | --- | --- |"
        )?;
        for (what, rates) in &self.0 {
            let [one, some, many] = rates.map(|rate| rate.map_or(String::new(), |rate| format!("{rate:.0}")));
            writeln!(f, "| {what} | {one} | {some} | {many} |")?;
        }
        Ok(())
    }
}

/// Connects the grants, and then takes everything that is measured on one store.
async fn measure(
    table: &mut Table,
    world: &Arc<World>,
    name: &str,
    store: impl AsyncStore + 'static,
) -> Result<(), Error> {
    let keeper = world.keeper(store)?;
    spread(64, GRANTS, {
        let keeper = keeper.clone();
        move |grant| {
            let keeper = keeper.clone();
            async move { connect(&keeper, grant).await }
        }
    })
    .await?;
    for callers in CALLERS {
        let rate = served(&keeper, callers).await?;
        table.row(&format!("{name}: tokens served from memory"), callers, rate);
    }
    for takes in [Duration::ZERO, Duration::from_millis(300)] {
        for callers in CALLERS {
            world.takes_ms.store(takes.as_millis().try_into()?, Ordering::Relaxed);
            // All access tokens have ended.
            world.now.fetch_add(7_200, Ordering::Relaxed);
            let (begun, before) = (Instant::now(), world.refreshes.load(Ordering::Relaxed));
            let asked = Arc::new(AtomicU64::new(0));
            let keeper = keeper.clone();
            spread(callers, GRANTS, move |grant| {
                let (keeper, asked) = (keeper.clone(), Arc::clone(&asked));
                async move {
                    if begun.elapsed() < SPAN {
                        asked.fetch_add(1, Ordering::Relaxed);
                        keeper.access_token(&realm(grant)).await?;
                    }
                    Ok(())
                }
            })
            .await?;
            let refreshes = world.refreshes.load(Ordering::Relaxed) - before;
            let rate = refreshes as f64 / begun.elapsed().as_secs_f64();
            table.row(&format!("{name}: refreshes, answered in {} ms", takes.as_millis()), callers, rate);
        }
    }
    keeper.shutdown().await;
    Ok(())
}

/// Does each of `count` once, by so many callers.
async fn spread<F, D>(callers: u64, count: u64, each: F) -> Result<(), Error>
where
    F: Fn(u64) -> D + Clone + Send + 'static,
    D: Future<Output = Result<(), Error>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (next, each) = (Arc::clone(&next), each.clone());
        tasks.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return Ok::<(), Error>(());
                }
                each(at).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn realm(grant: u64) -> String {
    (9_341_453_000_000_000 + grant).to_string()
}

async fn connect(keeper: &Keeper, grant: u64) -> Result<(), Error> {
    let consent =
        Consent { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, binding: b"cookie", name: "" };
    let url = keeper.connect(&consent)?;
    let (_, state) = url.split_once("state=").ok_or("the address has no state")?;
    let state = state.split('&').next().unwrap_or_default();
    keeper.callback(&format!("code=c{grant}&state={state}&realmId={}", realm(grant)), b"cookie").await?;
    Ok(())
}

/// Fresh tokens, of all grants in turn.
async fn served(keeper: &Keeper, callers: u64) -> Result<f64, Error> {
    const TURNS: u64 = 100;
    let realms: Arc<Vec<String>> = Arc::new((0..GRANTS).map(realm).collect());
    let (begun, keeper) = (Instant::now(), keeper.clone());
    spread(callers, TURNS, move |_| {
        let (keeper, realms) = (keeper.clone(), Arc::clone(&realms));
        async move {
            for realm in realms.iter() {
                drop(keeper.access_token(realm).await?);
            }
            Ok(())
        }
    })
    .await?;
    Ok((TURNS * GRANTS) as f64 / begun.elapsed().as_secs_f64())
}

// --------------------------------------------------------------------------------------------------- the world

/// The authority, and the clock.
struct World {
    now: AtomicU64,
    takes_ms: AtomicU64,
    refreshes: AtomicU64,
    tokens: AtomicU64,
}

impl Default for World {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self { now: AtomicU64::new(1_800_000_000), takes_ms: zero(), refreshes: zero(), tokens: zero() }
    }
}

impl World {
    fn keeper(self: &Arc<Self>, store: impl AsyncStore + 'static) -> Result<Keeper, Error> {
        let app = App::new(
            &Provider::INTUIT_SANDBOX,
            Keys {
                client_id: "client",
                client_secret: ClientSecret::new("secret"),
                redirect_uris: &[REDIRECT],
                further_scopes: &[],
                state_key: Some(StateKey::new(&[7; 32])),
            },
        )
        .map_err(|error| format!("{error:?}"))?;
        let mut options = Options::default();
        options.keep_alive = false;
        // Where it grows to by itself.
        options.bounds = Bounds { first: 64, ..Bounds::default() };
        let http = Client::new(evergrant_reqwest::Options::default())?;
        let builder = Keeper::builder(app, store, http).options(options);
        Ok(builder.carrier(Authority(Arc::clone(self))).clock(Virtual(Arc::clone(self))).start()?)
    }
}

struct Virtual(Arc<World>);

impl Clock for Virtual {
    fn now(&self) -> Time {
        Time::from_unix(self.0.now.load(Ordering::Relaxed))
    }
}

struct Authority(Arc<World>);

impl Carrier for Authority {
    fn carry_out<'a>(&'a self, http: &'a Http<'a>) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(async move {
            let takes = self.0.takes_ms.load(Ordering::Relaxed);
            if takes > 0 {
                tokio::time::sleep(Duration::from_millis(takes)).await;
            }
            if http.body().contains("grant_type=refresh_token") {
                self.0.refreshes.fetch_add(1, Ordering::Relaxed);
            }
            let number = self.0.tokens.fetch_add(1, Ordering::Relaxed);
            let body = format!(
                r#"{{"token_type":"bearer","expires_in":3600,"x_refresh_token_expires_in":8726400,"refresh_token":"AB{number:048}","access_token":"{number:0ACCESS_TOKEN$}"}}"#
            );
            Reply::answer(Answer {
                status: 200,
                retry_after: None,
                correlation: None,
                date: None,
                content_type: None,
                body: Zeroizing::new(body.into_bytes()),
                broken_off: None,
            })
        })
    }
}

fn keys() -> Result<VaultKeys<'static>, Error> {
    Ok(VaultKeys::Ring(Keyring::parse(&"5a31".repeat(16))?))
}

// ----------------------------------------------------------------------------------------------- the bare database

/// What no database can be faster than, by itself.
fn disk(home: &Path) -> Result<f64, Error> {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = tempfile::tempfile_in(home)?;
    file.write_all(&[0; 1 << 20])?;
    file.sync_all()?;
    let (begun, mut writes) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(1) {
        file.seek(SeekFrom::Start((writes % 256) * 4_096))?;
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(writes as f64 / begun.elapsed().as_secs_f64())
}

/// Above whatever number the vault has given.
const NUMBERS: u64 = 1 << 40;
/// As long as a sealed record.
const SEALED: usize = 1_250;

/// So many connections, each with rows of its own and one transaction after the other.
fn bare_sqlite(path: &Path, callers: u64) -> Result<f64, Error> {
    let numbers = AtomicU64::new(NUMBERS);
    let begun = Instant::now();
    let pairs: u64 = std::thread::scope(|scope| {
        let work = |caller| bare_sqlite_work(path, caller, callers, begun + SPAN, &numbers);
        let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(move || work(caller))).collect();
        let done = threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread has panicked")?);
        done.sum::<Result<u64, Error>>()
    })?;
    Ok(pairs as f64 / begun.elapsed().as_secs_f64())
}

fn bare_sqlite_work(
    path: &Path,
    caller: u64,
    callers: u64,
    until: Instant,
    numbers: &AtomicU64,
) -> Result<u64, Error> {
    let database = rusqlite::Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(60))?;
    database.execute_batch(include_str!("../../vault/src/sqlite/connection.sql"))?;
    let slots: Vec<(i64, String, String, String)> = database
        .prepare("SELECT id, app, environment, realm FROM slot WHERE due_at IS NOT NULL AND id % ?1 = ?2")?
        .query_map([callers, caller].map(|number| number as i64), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let sealed = vec![7_u8; SEALED];
    // Each is prepared once: nothing is left but what the database itself does.
    let mut begin = database.prepare("BEGIN IMMEDIATE")?;
    let mut end = database.prepare("COMMIT")?;
    let mut claim = database.prepare(include_str!("../../vault/src/sqlite/claim_slot.sql"))?;
    let mut commit = database.prepare(include_str!("../../vault/src/sqlite/commit_slot.sql"))?;
    let mut write = database.prepare(include_str!("../../vault/src/sqlite/write_record.sql"))?;
    let (far, writer, mut pairs) = (1_900_000_000_i64, 7_i64, 0);
    for (id, app, environment, realm) in slots.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let number = i64::try_from(numbers.fetch_add(2, Ordering::Relaxed))?;
        begin.execute([])?;
        claim.query_row((app, environment, realm, number, "bare", 90, far, far, far, writer), |_| Ok(()))?;
        write.execute((id, number, 1, &sealed))?;
        end.execute([])?;
        begin.execute([])?;
        commit.execute((id, number, None::<&str>, 0, 0, far, far, writer))?;
        write.execute((id, number + 1, 1, &sealed))?;
        end.execute([])?;
        pairs += 1;
    }
    Ok(pairs)
}

async fn bare_postgres(url: &str, callers: u64) -> Result<f64, Error> {
    let numbers = Arc::new(AtomicU64::new(0));
    let pairs = Arc::new(AtomicU64::new(0));
    let begun = Arc::new(Mutex::new(Instant::now()));
    let ready = Arc::new(tokio::sync::Barrier::new(usize::try_from(callers)?));
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (url, numbers, pairs) = (url.to_owned(), Arc::clone(&numbers), Arc::clone(&pairs));
        let (begun, ready) = (Arc::clone(&begun), Arc::clone(&ready));
        tasks.spawn(async move {
            let database = Bare::open(&url, caller, callers, &numbers).await?;
            if ready.wait().await.is_leader() {
                *begun.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            ready.wait().await;
            let until = *begun.lock().unwrap_or_else(PoisonError::into_inner) + SPAN;
            pairs.fetch_add(database.work(until, &numbers).await?, Ordering::Relaxed);
            Ok::<(), Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = begun.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
    Ok(pairs.load(Ordering::Relaxed) as f64 / took.as_secs_f64())
}

/// A connection, and the rows that are its own.
struct Bare {
    client: tokio_postgres::Client,
    claim: tokio_postgres::Statement,
    commit: tokio_postgres::Statement,
    rows: Vec<(i64, String, String, String, i64)>,
}

impl Bare {
    async fn open(url: &str, caller: u64, callers: u64, numbers: &AtomicU64) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let schema = PostgresOptions::default().schema;
        client.batch_execute(&format!("SET search_path TO {schema}")).await?;
        let claim = client.prepare(include_str!("../../vault/src/postgres/claim_known.sql")).await?;
        let commit = client.prepare(include_str!("../../vault/src/postgres/commit.sql")).await?;
        let rows = client
            .query(
                "SELECT id, app, environment, realm, generation FROM slot \
                 WHERE due_at IS NOT NULL AND id % $1::bigint = $2::bigint",
                &[&i64::try_from(callers)?, &i64::try_from(caller)?],
            )
            .await?;
        let rows: Vec<_> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
        // Above whatever an earlier measurement has written.
        let highest = rows.iter().map(|row: &(i64, String, String, String, i64)| row.4).max();
        numbers.fetch_max(u64::try_from(highest.unwrap_or_default())?.max(NUMBERS), Ordering::Relaxed);
        Ok(Self { client, claim, commit, rows })
    }

    async fn work(mut self, until: Instant, numbers: &AtomicU64) -> Result<u64, Error> {
        let sealed = vec![7_u8; SEALED];
        let (now, due_at, seconds, revision) =
            (Some(1_800_000_000_i64), Some(1_900_000_000_i64), 90_i32, 1_i64);
        let writer = 7_i64;
        let (holder, nobody, none) = ("bare", None::<&str>, None::<i32>);
        let mut pairs = 0;
        loop {
            for (id, app, environment, realm, generation) in &mut self.rows {
                if Instant::now() >= until {
                    return Ok(pairs);
                }
                let number = i64::try_from(numbers.fetch_add(2, Ordering::Relaxed))? + 2;
                let claimed = self
                    .client
                    .execute(
                        &self.claim,
                        &[
                            app,
                            environment,
                            realm,
                            &number,
                            &holder,
                            &seconds,
                            &due_at,
                            &now,
                            &revision,
                            &sealed,
                            &due_at,
                            &writer,
                            generation,
                        ],
                    )
                    .await?;
                *generation = number + 1;
                let committed = self
                    .client
                    .execute(
                        &self.commit,
                        &[
                            id,
                            &number,
                            generation,
                            &nobody,
                            &none.unwrap_or_default(),
                            &due_at,
                            &now,
                            &revision,
                            &sealed,
                            &due_at,
                            &writer,
                        ],
                    )
                    .await?;
                if (claimed, committed) != (1, 1) {
                    return Err("a bare statement has changed nothing".into());
                }
                pairs += 1;
            }
        }
    }
}

/// A server that the vault's own script starts and ends.
struct Database {
    script: Child,
    url: String,
}

impl Database {
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vault/tests/postgres.sh");
        let mut script = Command::new("sh")
            .arg(script)
            .env("FSYNC", "on")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut url = String::new();
        BufReader::new(script.stdout.take()?).read_line(&mut url).ok()?;
        let url = url.trim().to_owned();
        let database = Self { script, url };
        database.url.starts_with("postgres://").then_some(database)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The script ends its server when its input ends.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
