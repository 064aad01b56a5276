//! The verbs, each one transaction.

use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow, Transaction, params};

use super::{Fail, Sqlite};
use crate::{
    Claim, Commit, Due, Entropy, Error, Fingerprint, KeyId, KeyUse, Lease, Loaded, Name, Owner, Removal,
    Resealed, Row, Spend, Store, Then, Write,
    seal::{self, Binding, Field},
    store::{LATEST, lease_end},
};

/// A row as it stands, still sealed.
struct Found {
    slot: i64,
    epoch: u64,
    holder: Option<String>,
    lease_seconds: u32,
    lease_until: u64,
    due_at: Option<u64>,
    writer: Option<i64>,
    generation: u64,
    revision: u32,
    sealed: Vec<u8>,
}

impl Store for Sqlite {
    fn clock(&self, now: u64) -> Result<u64, Error> {
        Ok(now)
    }

    fn writer(&self) -> u64 {
        self.writer.cast_unsigned()
    }

    fn load(&self, name: &Name) -> Result<Option<Loaded>, Error> {
        self.read("load a record", |connection| {
            find(connection, name)?.map(|found| self.opened(name, found)).transpose()
        })
    }

    fn claim(
        &self,
        now: u64,
        name: &Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'_>,
    ) -> Result<Claim, Error> {
        intent.check()?;
        let until = lease_end(now, lease_seconds)?;
        self.write("claim a lease", |transaction, entropy| {
            let found = find(transaction, name)?;
            let held = found.as_ref().map(|row| self.held_until(transaction, row, now)).transpose()?;
            if let Some(until) = held.flatten() {
                return Ok(Claim::Held { until });
            }
            if found.as_ref().map(|row| row.generation) != expected {
                let current = found.map(|row| self.opened(name, row)).transpose()?;
                return Ok(Claim::MovedOn(current));
            }
            let epoch = draw_number(transaction)?;
            let slot = transaction.query_row(
                include_str!("claim_slot.sql"),
                params![
                    name.app(),
                    name.environment(),
                    name.realm(),
                    signed(epoch),
                    self.holder.id(),
                    lease_seconds,
                    signed(until),
                    intent.stored_due_at().map(signed),
                    intent.stored_ends_at().map(signed),
                    self.writer
                ],
                |row| row.get(0),
            )?;
            self.write_record(transaction, entropy, slot, name, epoch, intent)?;
            Ok(Claim::Claimed(Lease::new(name.clone(), epoch, until)))
        })
    }

    fn commit(&self, now: u64, lease: &Lease, write: Write<'_>, then: Then) -> Result<Commit, Error> {
        write.check()?;
        let (holder, seconds, until) = match then {
            Then::Release => (None, 0, 0),
            Then::Hold { seconds } => (Some(self.holder.id()), seconds, lease_end(now, seconds)?),
        };
        self.write("commit a record", |transaction, entropy| {
            let found = match find(transaction, &lease.name)? {
                Some(found) if found.epoch == lease.epoch => found,
                other => {
                    let current = other.map(|row| self.opened(&lease.name, row)).transpose()?;
                    return Ok(Commit::FencedOut(current));
                }
            };
            let generation = draw_number(transaction)?;
            transaction.execute(
                include_str!("commit_slot.sql"),
                params![
                    found.slot,
                    signed(lease.epoch),
                    holder,
                    seconds,
                    signed(until),
                    write.stored_due_at().map(signed),
                    write.stored_ends_at().map(signed),
                    self.writer
                ],
            )?;
            self.write_record(transaction, entropy, found.slot, &lease.name, generation, write)?;
            Ok(Commit::Committed { generation })
        })
    }

    fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.write("release a lease", |transaction, _| {
            execute_on_lease(transaction, include_str!("release.sql"), lease)?;
            Ok(())
        })
    }

    fn remove(&self, lease: &Lease) -> Result<Removal, Error> {
        self.write("remove a record", |transaction, _| {
            if execute_on_lease(transaction, include_str!("remove.sql"), lease)? == 1 {
                return Ok(Removal::Removed);
            }
            match find(transaction, &lease.name)? {
                None => Ok(Removal::Removed),
                Some(found) => Ok(Removal::FencedOut(self.opened(&lease.name, found)?)),
            }
        })
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Row>, Error> {
        // No name has an empty part, so the empty parts stand before all names.
        let [app, environment, realm] =
            after.map_or([""; 3], |name| [name.app(), name.environment(), name.realm()]);
        self.read("list its rows", |connection| {
            rows(connection, include_str!("list.sql"), params![app, environment, realm, count(limit)])
        })
    }

    fn due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Error> {
        self.read("list what is due", |connection| due(connection, now, owner, limit))
    }

    fn claim_due(
        &self,
        now: u64,
        owner: Owner<'_>,
        limit: usize,
        lease_seconds: u32,
    ) -> Result<Vec<Due>, Error> {
        let until = lease_end(now, lease_seconds)?;
        self.write("claim what is due", |transaction, _| {
            let mut claimed = Vec::new();
            for Row { name, leased_until, .. } in due(transaction, now, owner, limit)? {
                if leased_until.is_some_and(|until| until > now) {
                    let key = params![name.app(), name.environment(), name.realm(), signed(now)];
                    transaction.execute(include_str!("cut.sql"), key)?;
                } else {
                    claimed.push(self.claim_one(transaction, name, lease_seconds, until)?);
                }
            }
            Ok(claimed)
        })
    }

    fn keys_in_use(&self) -> Result<Vec<KeyUse>, Error> {
        self.read("count its keys", |connection| {
            let mut statement = connection.prepare(include_str!("keys_in_use.sql"))?;
            let uses = statement
                .query_map([], |row| Ok(KeyUse { key: KeyId(row.get(0)?), rows: unsigned(row.get(1)?) }))?;
            Ok(uses.collect::<Result<_, _>>()?)
        })
    }

    fn reseal(&self, after: Option<&Name>, limit: usize) -> Result<Resealed, Error> {
        let [app, environment, realm] =
            after.map_or([""; 3], |name| [name.app(), name.environment(), name.realm()]);
        self.write("seal rows again", |transaction, entropy| {
            let newest = self.ring.newest().id;
            let values = params![newest.as_bytes(), app, environment, realm, count(limit)];
            let stale = rows(transaction, include_str!("stale.sql"), values)?;
            let mut done = Resealed::default();
            if stale.len() == limit {
                done.next = stale.last().map(|row| row.name.clone());
            }
            for Row { name, .. } in stale {
                match self.reseal_one(transaction, entropy, &name) {
                    Ok(()) => done.resealed += 1,
                    Err(Fail::Ours(error @ (Error::Altered { .. } | Error::KeyNotInRing { .. }))) => {
                        done.stuck.push((name, error));
                    }
                    Err(fail) => return Err(fail),
                }
            }
            Ok(done)
        })
    }

    fn spend(&self, now: u64, fingerprint: &Fingerprint, keep_until: u64) -> Result<Spend, Error> {
        self.write("mark a code as spent", |transaction, _| {
            let fresh =
                transaction.execute(include_str!("spend.sql"), params![fingerprint, signed(keep_until)])?;
            if fresh == 0 {
                return Ok(Spend::SpentBefore);
            }
            transaction.execute(include_str!("forget_spent.sql"), params![signed(now), fingerprint])?;
            Ok(Spend::Fresh)
        })
    }
}

impl Sqlite {
    /// When the row's lease ends, if a claim has to wait for it: it has not run out, and its holder lives.
    ///
    /// A lease that seems to begin in the future was taken before the clock was put back. It is cut to its own length
    /// from now, so that nobody waits for longer than that, and its holder has no less time than it asked for.
    fn held_until(&self, transaction: &Transaction<'_>, row: &Found, now: u64) -> Result<Option<u64>, Fail> {
        let Some(holder) = &row.holder else { return Ok(None) };
        if now >= row.lease_until || !self.holder.is_alive(holder) {
            return Ok(None);
        }
        let longest = now.saturating_add(u64::from(row.lease_seconds));
        if row.lease_until > longest {
            let values = params![row.slot, signed(row.epoch), signed(longest)];
            transaction.execute(include_str!("shorten.sql"), values)?;
        }
        Ok(Some(row.lease_until.min(longest)))
    }

    /// The lease of a row that is free, without a new record.
    fn claim_one(
        &self,
        transaction: &Transaction<'_>,
        name: Name,
        seconds: u32,
        until: u64,
    ) -> Result<Due, Fail> {
        let epoch = draw_number(transaction)?;
        let key = (name.app(), name.environment(), name.realm());
        transaction.execute(
            include_str!("claim_due.sql"),
            params![key.0, key.1, key.2, signed(epoch), self.holder.id(), seconds, signed(until)],
        )?;
        let found = find(transaction, &name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let row = self.opened(&name, found).map_err(|fail| fail.named(&self.place, "load a record"));
        Ok(Due { lease: Lease::new(name, epoch, until), row })
    }

    /// The same record for the same generation, under the newest key. The write lock keeps writers away.
    fn reseal_one(
        &self,
        transaction: &Transaction<'_>,
        entropy: &mut dyn Entropy,
        name: &Name,
    ) -> Result<(), Fail> {
        let Some(found) = find(transaction, name)? else { return Ok(()) };
        let slot = found.slot;
        let Loaded { record, generation, revision, due_at, .. } = self.opened(name, found)?;
        let write = Write { record: record.expose(), revision, due_at, ends_at: None };
        self.write_record(transaction, entropy, slot, name, generation, write)
    }

    fn opened(&self, name: &Name, row: Found) -> Result<Loaded, Fail> {
        let Found { generation, revision, due_at, writer, sealed, .. } = row;
        let record = seal::open_record(&self.ring, &self.place, name, generation, revision, &sealed)?;
        let written_by = writer.map(i64::cast_unsigned);
        Ok(Loaded { record, generation, revision, due_at, written_by })
    }

    fn write_record(
        &self,
        transaction: &Transaction<'_>,
        entropy: &mut dyn Entropy,
        slot: i64,
        name: &Name,
        generation: u64,
        write: Write<'_>,
    ) -> Result<(), Fail> {
        let binding = Binding { field: Field::Record(name), generation, revision: write.revision };
        let sealed = seal::seal(&self.ring, entropy, binding, write.record)?;
        let values = params![slot, signed(generation), write.revision, sealed];
        transaction.execute(include_str!("write_record.sql"), values)?;
        Ok(())
    }
}

fn find(connection: &Connection, name: &Name) -> Result<Option<Found>, Fail> {
    let key = params![name.app(), name.environment(), name.realm()];
    let found = connection.query_row(include_str!("find.sql"), key, |row| {
        Ok(Found {
            slot: row.get(0)?,
            epoch: unsigned(row.get(1)?),
            holder: row.get(2)?,
            lease_seconds: row.get(3)?,
            lease_until: unsigned(row.get(4)?),
            due_at: row.get::<_, Option<i64>>(5)?.map(unsigned),
            writer: row.get(6)?,
            generation: unsigned(row.get(7)?),
            revision: row.get(8)?,
            sealed: row.get(9)?,
        })
    });
    Ok(found.optional()?)
}

/// Up to so many rows that are due are sorted; more are taken from the index of ends.
const FEW: i64 = 1_000;

fn due(connection: &Connection, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Fail> {
    let Owner { app, environment } = owner;
    let counted = params![app, environment, signed(now), FEW + 1];
    let backlog: i64 = connection.query_row(include_str!("backlog.sql"), counted, |row| row.get(0))?;
    let sql = if backlog <= FEW { include_str!("due_few.sql") } else { include_str!("due_many.sql") };
    rows(connection, sql, params![app, environment, signed(now), count(limit)])
}

/// The next number of the vault, which no write had before.
fn draw_number(transaction: &Transaction<'_>) -> Result<u64, Fail> {
    Ok(unsigned(transaction.query_row(include_str!("draw_number.sql"), [], |row| row.get(0))?))
}

fn execute_on_lease(transaction: &Transaction<'_>, sql: &str, lease: &Lease) -> Result<usize, Fail> {
    let Lease { name, epoch, .. } = lease;
    Ok(transaction.execute(sql, params![name.app(), name.environment(), name.realm(), signed(*epoch)])?)
}

fn rows(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<Row>, Fail> {
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query(values)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(listed(row)?);
    }
    Ok(rows)
}

fn listed(row: &SqlRow<'_>) -> Result<Row, Fail> {
    let name = Name::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)?;
    Ok(Row {
        name,
        generation: unsigned(row.get(3)?),
        revision: row.get(4)?,
        due_at: row.get::<_, Option<i64>>(5)?.map(unsigned),
        leased_until: row.get::<_, Option<i64>>(6)?.map(unsigned),
    })
}

/// SQLite counts in `i64`. Numbers of writes never come near its end; moments beyond it are taken for its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number.min(LATEST)).unwrap_or(i64::MAX)
}

/// Nothing negative is ever written; what somebody else's hand made negative is taken for 0.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
