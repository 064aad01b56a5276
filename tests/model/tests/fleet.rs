//! Two workers, one row, and the authority under each of its policies: the slice that is small enough for every run.

use model::fleet;

#[test]
fn no_grant_is_lost_that_could_be_kept() {
    for (name, model) in fleet::short() {
        println!("{}", fleet::search(name, &model).unwrap_or_else(|wrong| panic!("{wrong}")));
    }
}
