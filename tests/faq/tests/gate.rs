//! The gate: no rule without a place that obeys it, a module that tests it and a break that this module catches.

use std::collections::BTreeSet;

use faq::rules::{break_of, citations, committed, list, module, modules, root, table};

#[test]
fn the_list_is_whole() {
    let rules = list();
    assert_eq!(rules.len(), 49);
    let ids: BTreeSet<_> = rules.iter().map(|rule| &rule.id).collect();
    assert_eq!(ids.len(), 49, "each once");
    assert!(rules.iter().all(|rule| !rule.text.is_empty()));
}

#[test]
fn every_rule_has_a_module_of_tests() {
    let modules = modules();
    let rules: BTreeSet<String> = list().iter().map(|rule| module(&rule.id)).collect();
    let lacking: Vec<_> = rules.iter().filter(|name| !modules.contains_key(*name)).collect();
    assert!(lacking.is_empty(), "no tests for {lacking:?}");
    let unknown: Vec<_> = modules.keys().filter(|name| !rules.contains(*name)).collect();
    assert!(unknown.is_empty(), "no such rule: {unknown:?}");
}

#[test]
fn every_rule_is_cited_where_it_is_obeyed_and_no_other_is() {
    let citations = citations();
    let ids: BTreeSet<String> = list().into_iter().map(|rule| rule.id).collect();
    // What the authority does proves nothing for the client, but for the two rules that bind the authority.
    let by_the_client = |id: &&String| {
        let places = citations.get(*id).map(Vec::as_slice).unwrap_or_default();
        places.iter().any(|file| !file.starts_with("adapters/emulator/"))
    };
    let lacking: Vec<_> = ids.iter().filter(|id| !by_the_client(id)).collect();
    assert!(lacking.is_empty(), "cited nowhere: {lacking:?}");
    let unknown: Vec<_> = citations.keys().filter(|id| !ids.contains(*id)).collect();
    assert!(unknown.is_empty(), "cited, and no such rule: {unknown:?}");
}

#[test]
fn every_rule_has_a_break_that_still_applies() {
    for rule in list() {
        let broken = break_of(&rule.id).unwrap_or_else(|| panic!("{} has no break", rule.id));
        assert!(!broken.what.is_empty() && !broken.edits.is_empty(), "{}", rule.id);
        for (file, find, replace) in &broken.edits {
            let text =
                std::fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{}: {file}", rule.id));
            assert_eq!(
                text.matches(find.as_str()).count(),
                1,
                "{}: must be found once in {file}:\n{find}",
                rule.id
            );
            assert_ne!(find, replace);
        }
    }
}

#[test]
fn the_table_is_up_to_date() {
    committed("core/src/guide/rules.md", &table()).unwrap();
}
