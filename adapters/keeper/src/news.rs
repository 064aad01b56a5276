//! What other processes changed, heard at once.

use std::sync::Arc;

use evergrant_vault::{Change, Changes};

use crate::inner::{Inner, lock};

/// Runs until the keeper closes. News is a hint: every claim reads again all the same (REF-3).
pub(crate) async fn listen(inner: Arc<Inner>, mut changes: Changes) {
    let mut closing = inner.closing.subscribe();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        match change {
            Some(Change::Row { name, .. }) if name == *inner.fleet.row() => inner.fleet.look(&inner).await,
            Some(Change::Row { name, generation }) => {
                if name.app() != inner.app_text || name.environment() != inner.app.provider().name {
                    continue;
                }
                match generation {
                    Some(generation) => inner.memory.outdate(name.realm(), generation),
                    None => inner.memory.forget(name.realm()),
                }
                lock(&inner.quiet).remove(name.realm());
            }
            Some(_) => {
                inner.memory.clear();
                inner.fleet.look(&inner).await;
            }
            None => return,
        }
        inner.news.notify_waiters();
    }
}
