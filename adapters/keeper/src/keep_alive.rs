//! The scheduler: what is due is renewed with nobody asking (DUR-8), the nearest death of all that is due first.

use std::sync::Arc;

use evergrant_vault::{Due, Owner};
use tokio::task::JoinSet;

use crate::inner::{Inner, parse};
use crate::keeper::renew;

/// Most rows that this keeper cannot serve that are looked past.
const FOREIGN_MOST: usize = 4_096;

/// Runs until the keeper closes. It wakes once an hour at least: a clock that was ahead and is put right leaves deadlines years away.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut foreign = 0;
    loop {
        let busy = match pass(&inner, &mut foreign).await {
            Ok(busy) => busy,
            Err(error) => {
                inner.note_store(false);
                tracing::warn!(target: "evergrant", %error, "the scheduler cannot read the store");
                false
            }
        };
        if busy && !inner.is_closing() {
            continue;
        }
        inner.memory.sweep(inner.now());
        let wake = inner.options.wake_seconds;
        let drawn = wake - inner.draw().up_to(wake / 2);
        if !inner.sleep(drawn.max(1)).await {
            return;
        }
    }
}

/// One look at what is due; says whether there is more.
async fn pass(inner: &Arc<Inner>, foreign: &mut usize) -> Result<bool, crate::Error> {
    inner.ask_the_time().await?;
    inner.fleet.look(inner).await;
    if !inner.options.keep_alive {
        return Ok(false);
    }
    // Few enough to be through before their leases run out.
    let (at_once, _, _) = inner.gate.counts();
    let own = usize::try_from(at_once).unwrap_or(1).saturating_mul(2).max(16);
    let now = inner.now().unix();
    let owner = Owner { app: &inner.app_text, environment: inner.app.provider().name };
    let rows = inner.store.claim_due(now, owner, own + *foreign, inner.options.lease_seconds).await?;
    let more = rows.len() >= own + *foreign;
    let (ours, theirs): (Vec<Due>, Vec<Due>) = rows.into_iter().partition(is_ours);
    for due in &theirs {
        let _ = inner.store.release(&due.lease).await;
    }
    let mut passed_over = theirs.len();
    let mut batch = JoinSet::new();
    for due in ours {
        let task = Arc::clone(inner);
        batch.spawn_on(async move { renew(&task, due).await }, &inner.runtime);
    }
    let mut any = false;
    while let Some(renewed) = batch.join_next().await {
        let renewed = renewed.unwrap_or(false);
        any |= renewed;
        passed_over += usize::from(!renewed);
    }
    // Rows that this keeper cannot serve, or that are being served, must not stand in front of others for ever.
    *foreign = passed_over.min(FOREIGN_MOST);
    // While there is a hold, what is due stays due: looking again at once would only ask the store.
    Ok(any && more && inner.fleet.held_since().is_none())
}

/// A grant. Consents that the command keeps in slots of their own are the command's.
fn is_ours(due: &Due) -> bool {
    !due.lease.name().realm().starts_with("consent:") && opens(due)
}

/// A row that does not open stays leased, so that it does not come again at once.
fn opens(due: &Due) -> bool {
    match &due.row {
        Ok(row) => parse(row.record.expose()).is_ok(),
        Err(error) => {
            tracing::error!(target: "evergrant", %error, "a row that is due does not open");
            false
        }
    }
}
