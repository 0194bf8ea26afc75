//! The condition under which the log grows: the `WHERE` of the statement in
//! `common/src/store/commit.rs`, taken out of that file and evaluated here.
//!
//! ```text
//! WHERE id = 1 AND tree_size = $7 AND root_hash = $8 AND head_timestamp <= $9 AND ...
//! ```

use std::cmp::Ordering;

use super::table::{Guard, LogState, NewState};

const SOURCE: &str = include_str!("../../../../common/src/store/commit.rs");

/// Whether the statement finds its row.
///
/// # Panics
/// When the statement is not written as above: then this file has to learn of it.
pub(super) fn holds(row: &LogState, guard: &Guard, new: &NewState) -> bool {
    let statement = SOURCE.split("UPDATE log_state\n").nth(1).expect("the statement is there");
    let condition = statement.split("WHERE ").nth(1).and_then(|rest| rest.split('"').next());
    let condition = condition.expect("the statement has a condition");
    condition.split(" AND ").all(|one| {
        let words: Vec<&str> = one.split_whitespace().collect();
        let [column, comparison, value] = words[..] else { panic!("not understood: {one}") };
        let found = compare(row, column, value, guard, new);
        match comparison {
            "=" => found == Ordering::Equal,
            "<=" => found != Ordering::Greater,
            other => panic!("not understood: {other}"),
        }
    })
}

/// How the column compares with the parameter, as `values!` numbers them there.
fn compare(row: &LogState, column: &str, value: &str, guard: &Guard, new: &NewState) -> Ordering {
    match (column, value) {
        ("id", "1") => Ordering::Equal,
        ("tree_size", "$7") => row.tree.size.cmp(&guard.tree.size),
        ("root_hash", "$8") => row.tree.hash.cmp(&guard.tree.hash),
        ("head_timestamp", "$9") => row.timestamp.cmp(&guard.timestamp),
        ("head_timestamp", "$4") => row.timestamp.cmp(&new.timestamp),
        ("writer", "$10") => row.writer.cmp(&guard.writer),
        other => panic!("not understood: {other:?}"),
    }
}
