//! The verbs: a look, and a guarded statement that commits by itself.

use tokio_postgres::{Row as SqlRow, types::ToSql};

use super::{
    Clock, Postgres,
    connection::{Fail, Lent},
    parts, signed, unsigned,
};
use crate::{
    AsyncStore, Claim, Commit, Due, Error, Fingerprint, KeyId, KeyUse, Lease, Loaded, Name, Owner, Pending,
    Removal, Resealed, Row, Spend, Then, Write,
    seal::{self, Binding, Field},
    store::{LATEST, lease_end},
};

/// Carries an attempt out until it is answered, or patience is at its end.
macro_rules! patiently {
    ($self:ident, $doing:literal, $attempt:expr) => {
        Box::pin(async move {
            let mut patience = $self.patience();
            loop {
                let fail = match patience.within($attempt).await {
                    Ok(answer) => return Ok(answer),
                    Err(fail) => fail,
                };
                patience.after(fail).await.map_err(|fail| fail.named(&$self.place, $doing))?;
            }
        })
    };
}

impl AsyncStore for Postgres {
    fn clock(&self, now: u64) -> Pending<'_, u64> {
        patiently!(self, "read its clock", self.try_clock(now))
    }

    fn writer(&self) -> u64 {
        self.writer.cast_unsigned()
    }

    fn load<'a>(&'a self, name: &'a Name) -> Pending<'a, Option<Loaded>> {
        patiently!(self, "load a record", self.try_load(name))
    }

    fn claim<'a>(
        &'a self,
        now: u64,
        name: &'a Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'a>,
    ) -> Pending<'a, Claim> {
        let until = intent.check().and_then(|()| lease_end(now, lease_seconds));
        let until = match until {
            Ok(until) => until,
            Err(error) => return refused(error),
        };
        let wanted = Wanted { now, name, expected, lease_seconds, until, intent };
        Box::pin(async move {
            let mut drawn = Vec::new();
            let attempts: Pending<'_, Claim> = {
                let (wanted, drawn) = (&wanted, &mut drawn);
                patiently!(self, "claim a lease", self.try_claim(wanted, drawn))
            };
            attempts.await
        })
    }

    fn commit<'a>(&'a self, now: u64, lease: &'a Lease, write: Write<'a>, then: Then) -> Pending<'a, Commit> {
        let seconds = match then {
            Then::Release => None,
            Then::Hold { seconds } => Some(seconds),
        };
        if let Err(error) =
            write.check().and_then(|()| seconds.map_or(Ok(0), |length| lease_end(now, length)))
        {
            return refused(error);
        }
        Box::pin(async move {
            let mut drawn = Vec::new();
            let attempts: Pending<'_, Commit> = {
                let drawn = &mut drawn;
                patiently!(self, "commit a record", self.try_commit(now, lease, write, seconds, drawn))
            };
            attempts.await
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Pending<'a, ()> {
        patiently!(self, "release a lease", self.try_release(lease))
    }

    fn remove<'a>(&'a self, lease: &'a Lease) -> Pending<'a, Removal> {
        patiently!(self, "remove a record", self.try_remove(lease))
    }

    fn list<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Vec<Row>> {
        patiently!(self, "list its rows", self.try_list(after, limit))
    }

    fn due<'a>(&'a self, now: u64, owner: Owner<'a>, limit: usize) -> Pending<'a, Vec<Row>> {
        patiently!(self, "list what is due", self.try_due(now, owner, limit))
    }

    fn claim_due<'a>(
        &'a self,
        now: u64,
        owner: Owner<'a>,
        limit: usize,
        lease_seconds: u32,
    ) -> Pending<'a, Vec<Due>> {
        let until = match lease_end(now, lease_seconds) {
            Ok(until) => until,
            Err(error) => return refused(error),
        };
        patiently!(self, "claim what is due", self.try_claim_due(now, owner, limit, lease_seconds, until))
    }

    fn keys_in_use(&self) -> Pending<'_, Vec<KeyUse>> {
        patiently!(self, "count its keys", self.try_keys_in_use())
    }

    fn reseal<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Resealed> {
        patiently!(self, "seal rows again", self.try_reseal(after, limit))
    }

    fn spend<'a>(&'a self, now: u64, fingerprint: &'a Fingerprint, keep_until: u64) -> Pending<'a, Spend> {
        let mut mark = [0; 16];
        if let Err(source) = self.with_entropy(|entropy| entropy.fill(&mut mark)) {
            return refused(Error::Entropy { source });
        }
        patiently!(self, "mark a code as spent", self.try_spend(now, fingerprint, keep_until, mark))
    }
}

fn refused<'a, T: Send + 'a>(error: Error) -> Pending<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// The arguments of a claim.
struct Wanted<'a> {
    now: u64,
    name: &'a Name,
    expected: Option<u64>,
    lease_seconds: u32,
    until: u64,
    intent: Write<'a>,
}

/// What `claimable.sql` says of a row that is there.
struct Standing {
    epoch: u64,
    held_until: Option<u64>,
}

impl Postgres {
    async fn try_clock(&self, now: u64) -> Result<u64, Fail> {
        let lent = self.lend().await?;
        let rows = lent.query("SELECT moment($1) AS now", &[&self.said(now)]).await?;
        lent.give_back();
        number(the_one(&rows)?, "now")
    }

    async fn try_load(&self, name: &Name) -> Result<Option<Loaded>, Fail> {
        let lent = self.lend().await?;
        let found = self.find(&lent, name).await?;
        lent.give_back();
        Ok(found)
    }

    async fn try_claim(&self, wanted: &Wanted<'_>, drawn: &mut Vec<u64>) -> Result<Claim, Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(Some(wanted.name));
        let said = self.said(wanted.now);
        let expected = wanted.expected.map(signed);
        let look = include_str!("claimable.sql");
        let rows = lent.query(look, &[&app, &environment, &realm, &expected, &said]).await?;
        let row = the_one(&rows)?;
        let there = self.standing(&lent, wanted.now, row).await?;
        // An earlier attempt went through, and only its answer was lost: nobody else has that number.
        if let Some(epoch) = there.as_ref().map(|there| there.epoch).filter(|epoch| drawn.contains(epoch)) {
            lent.give_back();
            return Ok(Claim::Claimed(Lease::new(wanted.name.clone(), epoch, wanted.until)));
        }
        if let Some(until) = there.as_ref().and_then(|there| there.held_until) {
            lent.give_back();
            return Ok(Claim::Held { until });
        }
        let Some(epoch) = row.try_get::<_, Option<i64>>("number")?.map(unsigned) else {
            let current = there.map(|_| self.opened(wanted.name, row)).transpose()?;
            lent.give_back();
            return Ok(Claim::MovedOn(current));
        };
        drawn.push(epoch);
        if self.write_claim(&lent, wanted, epoch).await? == 0 {
            lent.give_back();
            return Err(Fail::Outrun);
        }
        lent.give_back();
        Ok(Claim::Claimed(Lease::new(wanted.name.clone(), epoch, wanted.until)))
    }

    async fn write_claim(&self, lent: &Lent, wanted: &Wanted<'_>, epoch: u64) -> Result<u64, Fail> {
        let [app, environment, realm] = parts(Some(wanted.name));
        let seconds = i32::try_from(wanted.lease_seconds).unwrap_or(i32::MAX);
        let due_at = wanted.intent.stored_due_at().map(signed);
        let revision = i64::from(wanted.intent.revision);
        let sealed = self.sealed(wanted.name, epoch, wanted.intent.revision, wanted.intent.record)?;
        let (epoch, said) = (signed(epoch), self.said(wanted.now));
        let holder = &self.holder;
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&app, &environment, &realm, &epoch, holder, &seconds];
        let ends_at = wanted.intent.stored_ends_at().map(signed);
        let further: [&(dyn ToSql + Sync); 6] = [&due_at, &said, &revision, &sealed, &ends_at, &self.writer];
        values.extend(further);
        let expected = wanted.expected.map(signed);
        match &expected {
            None => lent.execute(include_str!("claim_new.sql"), &values).await,
            Some(expected) => {
                values.push(expected);
                lent.execute(include_str!("claim_known.sql"), &values).await
            }
        }
    }

    /// A row that is there, and until when its lease must be waited for, by the caller's clock. A lease that seems to begin
    /// in the future, as after the server's clock was put back, is cut to its length from now.
    async fn standing(&self, lent: &Lent, now: u64, row: &SqlRow) -> Result<Option<Standing>, Fail> {
        let Some(slot) = row.try_get::<_, Option<i64>>("id")? else { return Ok(None) };
        let epoch: i64 = row.try_get("epoch")?;
        if !row.try_get::<_, bool>("held")? {
            return Ok(Some(Standing { epoch: unsigned(epoch), held_until: None }));
        }
        let mut until: i64 = row.try_get("lease_until")?;
        if row.try_get("from_the_future")? {
            until = row.try_get("longest")?;
            lent.execute(include_str!("shorten.sql"), &[&slot, &epoch, &until]).await?;
        }
        let left = unsigned(until).saturating_sub(number(row, "now")?);
        let held_until = Some(now.saturating_add(left).min(LATEST));
        Ok(Some(Standing { epoch: unsigned(epoch), held_until }))
    }

    async fn try_commit(
        &self,
        now: u64,
        lease: &Lease,
        write: Write<'_>,
        seconds: Option<u32>,
        drawn: &mut Vec<u64>,
    ) -> Result<Commit, Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(Some(&lease.name));
        let epoch = signed(lease.epoch);
        let rows = lent.query(include_str!("committable.sql"), &[&app, &environment, &realm, &epoch]).await?;
        let Some(row) = rows.first() else {
            lent.give_back();
            return Ok(Commit::FencedOut(None));
        };
        let Some(generation) = row.try_get::<_, Option<i64>>("number")?.map(unsigned) else {
            let current = self.opened(&lease.name, row)?;
            lent.give_back();
            return Ok(Commit::FencedOut(Some(current)));
        };
        // An earlier attempt went through, and only its answer was lost.
        let stands = number(row, "generation")?;
        if drawn.contains(&stands) {
            self.tell(&lent, &lease.name, Some(stands)).await;
            lent.give_back();
            return Ok(Commit::Committed { generation: stands });
        }
        drawn.push(generation);
        let sealed = self.sealed(&lease.name, generation, write.revision, write.record)?;
        let slot: i64 = row.try_get("id")?;
        let holder = seconds.map(|_| self.holder.as_str());
        let length = seconds.map_or(0, |length| i32::try_from(length).unwrap_or(i32::MAX));
        let due_at = write.stored_due_at().map(signed);
        let (said, revision, number) = (self.said(now), i64::from(write.revision), signed(generation));
        let ends_at = write.stored_ends_at().map(signed);
        let values: [&(dyn ToSql + Sync); 11] = [
            &slot,
            &epoch,
            &number,
            &holder,
            &length,
            &due_at,
            &said,
            &revision,
            &sealed,
            &ends_at,
            &self.writer,
        ];
        if lent.execute(include_str!("commit.sql"), &values).await? == 0 {
            lent.give_back();
            return Err(Fail::Outrun);
        }
        self.tell(&lent, &lease.name, Some(generation)).await;
        lent.give_back();
        Ok(Commit::Committed { generation })
    }

    async fn try_release(&self, lease: &Lease) -> Result<(), Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(Some(&lease.name));
        let values: [&(dyn ToSql + Sync); 4] = [&app, &environment, &realm, &signed(lease.epoch)];
        let rows = lent.query(include_str!("release.sql"), &values).await?;
        if let Some(row) = rows.first() {
            self.tell(&lent, &lease.name, Some(number(row, "generation")?)).await;
        }
        lent.give_back();
        Ok(())
    }

    async fn try_remove(&self, lease: &Lease) -> Result<Removal, Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(Some(&lease.name));
        let values: [&(dyn ToSql + Sync); 4] = [&app, &environment, &realm, &signed(lease.epoch)];
        let removed = lent.execute(include_str!("remove.sql"), &values).await? > 0;
        let answer = match removed {
            true => {
                self.tell(&lent, &lease.name, None).await;
                Removal::Removed
            }
            false => self.find(&lent, &lease.name).await?.map_or(Removal::Removed, Removal::FencedOut),
        };
        lent.give_back();
        Ok(answer)
    }

    async fn try_list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Row>, Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(after);
        let rows = lent.query(include_str!("list.sql"), &[&app, &environment, &realm, &count(limit)]).await?;
        lent.give_back();
        rows.iter().map(listed).collect()
    }

    async fn try_due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Fail> {
        let lent = self.lend().await?;
        let (said, most) = (self.said(now), count(limit));
        let values: [&(dyn ToSql + Sync); 4] = [&said, &most, &owner.app, &owner.environment];
        let rows = lent.query(include_str!("due.sql"), &values).await?;
        lent.give_back();
        rows.iter().map(listed).collect()
    }

    /// Two statements: the records are read once the leases are held, when nobody else can change them any more. If the
    /// connection is lost in between, the leases run out.
    async fn try_claim_due(
        &self,
        now: u64,
        owner: Owner<'_>,
        limit: usize,
        lease_seconds: u32,
        until: u64,
    ) -> Result<Vec<Due>, Fail> {
        let lent = self.lend().await?;
        let said = self.said(now);
        let seconds = i32::try_from(lease_seconds).unwrap_or(i32::MAX);
        let most = count(limit);
        let values: [&(dyn ToSql + Sync); 6] =
            [&said, &most, &self.holder, &seconds, &owner.app, &owner.environment];
        let taken = lent.query(include_str!("claim_due.sql"), &values).await?;
        let (mut slots, mut epochs) = (Vec::new(), Vec::new());
        for row in &taken {
            slots.push(row.try_get::<_, i64>("id")?);
            epochs.push(row.try_get::<_, i64>("epoch")?);
        }
        let rows = match slots.is_empty() {
            true => Vec::new(),
            false => lent.query(include_str!("claimed.sql"), &[&slots, &epochs]).await?,
        };
        lent.give_back();
        rows.iter().map(|row| self.due_row(row, until)).collect()
    }

    fn due_row(&self, row: &SqlRow, until: u64) -> Result<Due, Fail> {
        let name = name(row)?;
        let opened = match self.opened(&name, row) {
            Err(Fail::Ours(error)) => Err(error),
            other => Ok(other?),
        };
        Ok(Due { lease: Lease::new(name, number(row, "epoch")?, until), row: opened })
    }

    async fn try_keys_in_use(&self) -> Result<Vec<KeyUse>, Fail> {
        let lent = self.lend().await?;
        let rows = lent.query(include_str!("keys_in_use.sql"), &[]).await?;
        lent.give_back();
        let mut uses = Vec::new();
        for row in &rows {
            if let Ok(key) = row.try_get::<_, &[u8]>("sealed_under")?.try_into() {
                uses.push(KeyUse { key: KeyId(key), rows: number(row, "rows")? });
            }
        }
        Ok(uses)
    }

    async fn try_reseal(&self, after: Option<&Name>, limit: usize) -> Result<Resealed, Fail> {
        let lent = self.lend().await?;
        let [app, environment, realm] = parts(after);
        let newest = self.ring.newest().id;
        let stale = include_str!("stale.sql");
        let rows =
            lent.query(stale, &[&newest.as_bytes(), &app, &environment, &realm, &count(limit)]).await?;
        let mut done = Resealed::default();
        if rows.len() == limit {
            done.next = rows.last().map(name).transpose()?;
        }
        let (mut slots, mut generations, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let name = name(row)?;
            match self.opened(&name, row) {
                Ok(loaded) => {
                    let Loaded { record, generation, revision, .. } = loaded;
                    slots.push(row.try_get::<_, i64>("id")?);
                    generations.push(signed(generation));
                    sealed.push(self.sealed(&name, generation, revision, record.expose())?);
                }
                Err(Fail::Ours(error)) => done.stuck.push((name, error)),
                Err(fail) => return Err(fail),
            }
        }
        if !slots.is_empty() {
            done.resealed =
                lent.execute(include_str!("reseal.sql"), &[&slots, &generations, &sealed]).await?;
        }
        lent.give_back();
        Ok(done)
    }

    async fn try_spend(
        &self,
        now: u64,
        fingerprint: &Fingerprint,
        keep_until: u64,
        mark: [u8; 16],
    ) -> Result<Spend, Fail> {
        let lent = self.lend().await?;
        let said = self.said(now);
        // As long as the caller meant, should its clock be behind the server's.
        let span = match self.clock {
            Clock::Server => Some(signed(keep_until.saturating_sub(now)).min(i64::MAX / 2)),
            Clock::Caller => None,
        };
        let (code, keep) = (&fingerprint[..], signed(keep_until));
        let fresh =
            lent.execute(include_str!("spend.sql"), &[&code, &keep, &&mark[..], &said, &span]).await?;
        if fresh == 0 {
            lent.give_back();
            return Ok(Spend::SpentBefore);
        }
        // Clearing away can wait for another time; the mark is durable.
        if lent.execute(include_str!("forget_spent.sql"), &[&said, &code]).await.is_ok() {
            lent.give_back();
        }
        Ok(Spend::Fresh)
    }

    async fn find(&self, lent: &Lent, name: &Name) -> Result<Option<Loaded>, Fail> {
        let [app, environment, realm] = parts(Some(name));
        let rows = lent.query(include_str!("find.sql"), &[&app, &environment, &realm]).await?;
        rows.first().map(|row| self.opened(name, row)).transpose()
    }

    fn opened(&self, name: &Name, row: &SqlRow) -> Result<Loaded, Fail> {
        let (generation, revision) = (number(row, "generation")?, revision(row)?);
        let sealed: &[u8] = row.try_get("sealed")?;
        let record = seal::open_record(&self.ring, &self.place, name, generation, revision, sealed)?;
        let written_by = row.try_get::<_, Option<i64>>("writer")?.map(i64::cast_unsigned);
        Ok(Loaded { record, generation, revision, due_at: due_at(row)?, written_by })
    }

    fn sealed(&self, name: &Name, generation: u64, revision: u32, record: &[u8]) -> Result<Vec<u8>, Fail> {
        let binding = Binding { field: Field::Record(name), generation, revision };
        Ok(self.with_entropy(|entropy| seal::seal(&self.ring, entropy, binding, record))?)
    }
}

fn the_one(rows: &[SqlRow]) -> Result<&SqlRow, Fail> {
    rows.first().ok_or(Fail::Outrun)
}

fn number(row: &SqlRow, column: &str) -> Result<u64, Fail> {
    Ok(unsigned(row.try_get(column)?))
}

fn revision(row: &SqlRow) -> Result<u32, Fail> {
    Ok(u32::try_from(row.try_get::<_, i64>("revision")?).unwrap_or(u32::MAX))
}

fn due_at(row: &SqlRow) -> Result<Option<u64>, Fail> {
    Ok(row.try_get::<_, Option<i64>>("due_at")?.map(unsigned))
}

fn name(row: &SqlRow) -> Result<Name, Fail> {
    let part = |column: &str| row.try_get::<_, String>(column);
    Ok(Name::new(part("app")?, part("environment")?, part("realm")?)?)
}

fn listed(row: &SqlRow) -> Result<Row, Fail> {
    Ok(Row {
        name: name(row)?,
        generation: number(row, "generation")?,
        revision: revision(row)?,
        due_at: due_at(row)?,
        leased_until: row.try_get::<_, Option<i64>>("leased_until")?.map(unsigned),
    })
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
