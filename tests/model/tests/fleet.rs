//! Two workers, one row, and the authority under each of its policies: the slice that is small enough for every run.

use model::fleet::{self, Fleet, Promise};

#[test]
fn no_grant_is_lost_that_could_be_kept() {
    std::thread::scope(|scope| {
        for (name, model) in fleet::short() {
            scope.spawn(move || {
                println!("{}", fleet::search(name, &model).unwrap_or_else(|wrong| panic!("{wrong}")));
            });
        }
    });
}

/// The search sees: with a store that does not keep one of its promises, the invariant breaks that stands on it.
#[test]
fn each_promise_of_the_store_is_needed() {
    for (promise, breaks) in [
        (Promise::Intent, "I1, I2: sent before its intent was stored"),
        (Promise::Lease, "I2: two requests at a time"),
        (Promise::Epoch, "I5: the newest token was overwritten"),
    ] {
        let (name, model) = fleet::short().swap_remove(0);
        let found = fleet::search(name, &Fleet { without: Some(promise), ..model });
        assert!(found.as_ref().is_err_and(|way| way.contains(breaks)), "{promise:?}: {found:?}");
    }
}
