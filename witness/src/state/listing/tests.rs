use diogenes_common::keys::SigningKey;
use diogenes_common::note::{KeyKind, Vkey};

use super::*;
use crate::log::LogIdentity;
use crate::state::{OriginLock, StateError};
use crate::testing::{History, Listed, at};

fn key(seed: u8) -> LogKey {
    let key = SigningKey::from_seed([seed; 32]).public().clone();
    Vkey::new("k.example".parse().unwrap(), KeyKind::Ed25519, key).to_string().parse().unwrap()
}

fn log(origin: &str, seed: u8) -> ListedLog {
    ListedLog { origin: origin.parse().unwrap(), key: key(seed) }
}

fn keys(home: &Home, origin: &str) -> Vec<LogKey> {
    home.log(origin).unwrap().unwrap().listing().unwrap().keys.clone()
}

#[test]
fn a_list_adds_what_is_not_known_and_changes_nothing() {
    let listed = Listed::new();
    let home = listed.open();
    home.enlist(&[log("a", 1), log("b", 2)], Asker::List, at(1)).unwrap();

    let again = home.enlist(&[log("b", 2), log("c", 3)], Asker::List, at(2)).unwrap();
    let changed = home.enlist(&[log("a", 9)], Asker::List, at(3)).unwrap();

    let added: Vec<&str> = again.added.keys().map(LogName::as_str).collect();
    assert_eq!((added, again.passed_over), (vec!["c"], vec![]));
    assert!(changed.added.is_empty());
    assert_eq!(changed.passed_over, [Unlisted::OtherKey("a".parse().unwrap())]);
    // A list without a log removes nothing.
    for (origin, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(keys(&listed.open(), origin), [key(seed)]);
    }
}

#[test]
fn a_list_does_not_bring_back_what_the_operator_removed() {
    let listed = Listed::new();
    let home = listed.open();
    home.enlist(&[log("a", 1)], Asker::List, at(1)).unwrap();
    home.delist(&"a".parse().unwrap(), at(2)).unwrap();
    let is_served = || home.log("a").unwrap().unwrap().trusted().is_some();

    home.enlist(&[log("a", 1)], Asker::List, at(3)).unwrap();
    assert!(!is_served());

    home.enlist(&[log("a", 1)], Asker::Operator, at(4)).unwrap();
    assert!(is_served());
}

#[test]
fn the_operator_may_add_a_key_and_none_goes_away() {
    let listed = Listed::new();
    let home = listed.open();
    home.enlist(&[log("a", 1)], Asker::Operator, at(1)).unwrap();

    home.enlist(&[log("a", 2)], Asker::Operator, at(2)).unwrap();

    assert_eq!(keys(&home, "a"), [key(1), key(2)]);
    let nothing = home.enlist(&[log("a", 1)], Asker::Operator, at(3)).unwrap();
    assert_eq!(nothing, Adoption::default());
}

#[test]
fn a_log_that_is_watched_may_ask_under_its_operators_key_alone() {
    let listed = Listed::new();
    let (home, history) = (listed.open(), History::honest());
    let lock = OriginLock::acquire(&home, &history.name(), std::time::Duration::ZERO).unwrap();
    lock.begin(&LogIdentity::of_genesis(history.leaf_bytes(0)).unwrap(), at(1)).unwrap();

    let name = history.name();
    let other = ListedLog { origin: name.clone(), key: key(4) };
    let refused = home.enlist(&[other], Asker::Operator, at(2)).unwrap();

    assert_eq!(refused.passed_over, [Unlisted::OtherOperator(name.clone())]);
    assert_eq!(keys(&home, name.as_str()), [history.log_key()]);
}

#[test]
fn a_listed_log_is_watched_only_if_its_operator_has_the_listed_key() {
    let history = History::honest();
    let root = tempfile::tempdir().unwrap();
    let home = Home::open(
        &root.path().join("w"),
        None,
        || Ok([9; 32]),
        at(0),
        std::sync::Arc::new(crate::state::Uninterrupted),
    );
    let home = std::sync::Arc::new(home.unwrap());
    let other = ListedLog { origin: history.name(), key: key(4) };
    home.enlist(&[other], Asker::List, at(1)).unwrap();
    let lock = OriginLock::acquire(&home, &history.name(), std::time::Duration::ZERO).unwrap();

    let refused = lock.begin(&LogIdentity::of_genesis(history.leaf_bytes(0)).unwrap(), at(2));

    assert_eq!(refused, Err(StateError::OtherKeyListed { origin: history.name() }));
    assert!(home.log(history.name().as_str()).is_ok(), "the index is whole");
}

#[test]
fn a_name_that_a_list_took_is_free_for_the_log_once_the_operator_removed_the_listing() {
    let (history, root) = (History::honest(), tempfile::tempdir().unwrap());
    let open = || {
        let never_stops = std::sync::Arc::new(crate::state::Uninterrupted);
        let home = Home::open(&root.path().join("w"), None, || Ok([9; 32]), at(0), never_stops);
        std::sync::Arc::new(home.unwrap())
    };
    let (home, name) = (open(), history.name());
    let squatter = [ListedLog { origin: name.clone(), key: key(4) }];
    home.enlist(&squatter, Asker::List, at(1)).unwrap();
    home.delist(&name, at(2)).unwrap();
    let lock = OriginLock::acquire(&home, &name, std::time::Duration::ZERO).unwrap();

    lock.begin(&LogIdentity::of_genesis(history.leaf_bytes(0)).unwrap(), at(3)).unwrap();

    let state = open().log(name.as_str()).unwrap().unwrap();
    assert_eq!((state.operator_key(), state.listing()), (Some(history.operator().public()), None));
    for asker in [Asker::List, Asker::Operator] {
        let again = home.enlist(&squatter, asker, at(4)).unwrap();
        assert_eq!(again.passed_over, [Unlisted::OtherOperator(name.clone())]);
    }
}

#[test]
fn a_listing_under_which_something_was_signed_gives_way_to_nobody() {
    let listed = Listed::new();
    let (home, name) = (listed.open(), listed.history.name());
    listed.list(&home, name.clone(), key(4));
    let lock = OriginLock::acquire(&home, &name, std::time::Duration::ZERO).unwrap();
    let log = LogIdentity::of_genesis(listed.history.leaf_bytes(0)).unwrap();
    lock.recover(listed.history.tree(5), None, at(201)).unwrap();
    home.delist(&name, at(202)).unwrap();

    let refused = lock.begin(&log, at(203));

    assert_eq!(refused, Err(StateError::OtherKeyListed { origin: name }));
}

#[test]
fn a_long_list_is_a_few_lines_and_never_more_logs_than_there_is_room_for() {
    let listed = Listed::new();
    let home = listed.open();
    let logs: Vec<ListedLog> = (0..MAX_LOGS).map(|n| log(&format!("log {n}"), 1)).collect();

    let adoption = home.enlist(&logs, Asker::List, at(1)).unwrap();

    // One log was there before.
    assert_eq!(adoption.added.len(), MAX_LOGS - 1);
    assert_eq!(adoption.passed_over.len(), 1);
    assert!(matches!(adoption.passed_over[0], Unlisted::NoRoom(_)));
    let mut lines = 0;
    home.lines(|_| lines += 1).unwrap();
    assert!(lines <= 2 + MAX_LOGS / MAX_PER_LINE, "{lines}");
}
