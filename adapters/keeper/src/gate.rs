//! Waits for room under the limit; the most urgent one goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::limit::{Bounds, Limit, Load, Ticket};
use crate::schedule::Urgency;

#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<Inside>>);

struct Inside {
    limit: Limit,
    waiting: BTreeMap<(Urgency, u64), oneshot::Sender<Permit>>,
    next: u64,
}

/// The right to have one request under way. Dropped without a word, it says nothing of the authority's load.
pub(crate) struct Permit {
    gate: Gate,
    ticket: Option<Ticket>,
    load: Load,
}

impl Permit {
    pub(crate) const fn saw(&mut self, load: Load) {
        self.load = load;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.lock().limit.end(ticket, self.load);
            self.gate.let_in();
        }
    }
}

impl Gate {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let inside = Inside { limit: Limit::new(bounds), waiting: BTreeMap::new(), next: 0 };
        Self(Arc::new(Mutex::new(inside)))
    }

    /// Waits for room. Whoever gives up waiting leaves nothing behind.
    pub(crate) async fn enter(&self, urgency: Urgency) -> Permit {
        let receiver = {
            let mut inside = self.lock();
            let (sender, receiver) = oneshot::channel();
            inside.next += 1;
            let place = (urgency, inside.next);
            inside.waiting.insert(place, sender);
            receiver
        };
        self.let_in();
        match receiver.await {
            Ok(permit) => permit,
            // The gate outlives whoever waits at it, so this is not reached; without a ticket it would only count for nothing.
            Err(_) => Permit { gate: self.clone(), ticket: None, load: Load::Unknown },
        }
    }

    fn let_in(&self) {
        // One after the other and outside of the lock: a permit that nobody takes any more comes back through its drop.
        while let Some((sender, permit)) = self.next() {
            drop(sender.send(permit));
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let mut inside = self.lock();
        while inside.waiting.first_entry().is_some_and(|first| first.get().is_closed()) {
            inside.waiting.pop_first();
        }
        if inside.waiting.is_empty() {
            return None;
        }
        let ticket = inside.limit.begin()?;
        let (_, sender) = inside.waiting.pop_first()?;
        Some((sender, Permit { gate: self.clone(), ticket: Some(ticket), load: Load::Unknown }))
    }

    /// How many may be under way, how many are, and how many wait.
    pub(crate) fn counts(&self) -> (u32, u32, usize) {
        let inside = self.lock();
        (inside.limit.at_once(), inside.limit.under_way(), inside.waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use evergrant::Time;

    use super::*;

    #[tokio::test]
    async fn the_most_urgent_goes_first_and_who_gave_up_takes_no_room() {
        let gate = Gate::new(Bounds { least: 1, first: 1, most: 1 });
        let first = gate.enter(Urgency::Demanded).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let enter = |name: &'static str, urgency| {
            let (gate, order) = (gate.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                let _permit = gate.enter(urgency).await;
                order.lock().unwrap().push(name);
            })
        };
        let ahead = enter("ahead", Urgency::Ahead(Time::from_unix(1)));
        let given_up = enter("given up", Urgency::Demanded);
        let demanded = enter("demanded", Urgency::Demanded);
        let dying = enter("dying", Urgency::Dying(Time::from_unix(9)));
        while gate.counts().2 < 4 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        assert!(given_up.await.is_err());
        drop(first);
        for task in [dying, demanded, ahead] {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["dying", "demanded", "ahead"]);
        assert_eq!(gate.counts(), (1, 0, 0));
    }
}
