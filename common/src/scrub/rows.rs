//! Where a view is not what the log says: two lists of rows, in the order of their keys. Pure.

use std::cmp::Ordering;

use crate::store::{Cell, RowChange, Table};

/// Two lists that are compared page by page; each page begins where the one before ended.
#[derive(Debug, Default)]
pub(super) struct Differ {
    found: Vec<Vec<Cell>>,
    right: Vec<Vec<Cell>>,
}

impl Differ {
    /// Whether more stored rows are needed before more can be compared.
    pub(super) fn lacks_found(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether more right rows are needed before more can be compared.
    pub(super) fn lacks_right(&self) -> bool {
        self.right.is_empty()
    }

    /// Takes the next stored rows.
    pub(super) fn add_found(&mut self, page: Vec<Vec<Cell>>) {
        self.found = reversed(page);
    }

    /// Takes the next right rows.
    pub(super) fn add_right(&mut self, page: Vec<Vec<Cell>>) {
        self.right = reversed(page);
    }

    /// Compares as far as both lists reach; a list without rows has none any more.
    pub(super) fn compare(&mut self, table: &Table, changes: &mut Vec<RowChange>) {
        let is_last = self.found.is_empty() || self.right.is_empty();
        loop {
            let order = match (self.found.last(), self.right.last()) {
                (Some(found), Some(right)) => table.key(found).cmp(table.key(right)),
                (Some(_), None) if is_last => Ordering::Less,
                (None, Some(_)) if is_last => Ordering::Greater,
                (_, None) | (None, _) => return,
            };
            let found = if order.is_le() { self.found.pop() } else { None };
            let right = if order.is_ge() { self.right.pop() } else { None };
            if found != right {
                changes.push(RowChange { found, right });
            }
        }
    }
}

/// The first row last, to be popped.
fn reversed(mut page: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    page.reverse();
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, count: i64) -> Vec<Cell> {
        vec![Cell::Text(Some(key.to_owned())), Cell::Int(Some(count))]
    }

    /// What comes out for any size of the pages.
    fn changes(found: &[Vec<Cell>], right: &[Vec<Cell>]) -> Vec<RowChange> {
        let table = crate::store::VIEWS.iter().find(|t| t.name == "view_event_counts").unwrap();
        let by = |size: usize, other: usize| {
            let (mut differ, mut changes) = (Differ::default(), Vec::new());
            let (mut lefts, mut rights) = (found.chunks(size), right.chunks(other));
            loop {
                if differ.lacks_found() {
                    differ.add_found(lefts.next().unwrap_or_default().to_vec());
                }
                if differ.lacks_right() {
                    differ.add_right(rights.next().unwrap_or_default().to_vec());
                }
                if differ.lacks_found() && differ.lacks_right() {
                    return changes;
                }
                differ.compare(table, &mut changes);
            }
        };
        let whole = by(100, 100);
        for (size, other) in [(1, 1), (1, 3), (2, 1), (3, 2)] {
            assert_eq!(by(size, other), whole, "pages of {size} and {other}");
        }
        whole
    }

    #[test]
    fn rows_that_differ_are_missing_or_strange_are_found() {
        let right = [row("a", 1), row("b", 2), row("c", 3), row("d", 4)];
        assert_eq!(changes(&right, &right), []);
        assert_eq!(changes(&[], &[]), []);

        let change = |found: Option<Vec<Cell>>, right| RowChange { found, right };
        let mut counted = right.clone();
        counted[2] = row("c", 7);
        assert_eq!(changes(&counted, &right), [change(Some(row("c", 7)), Some(row("c", 3)))]);
        assert_eq!(changes(&right[1..], &right), [change(None, Some(row("a", 1)))]);
        assert_eq!(changes(&right, &right[..3]), [change(Some(row("d", 4)), None)]);
        let mut renamed = right.clone();
        renamed[1] = row("bb", 2);
        assert_eq!(
            changes(&renamed, &right),
            [change(None, Some(row("b", 2))), change(Some(row("bb", 2)), None)]
        );
    }
}
