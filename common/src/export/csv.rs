//! The CSV form of an export: a table that spreadsheets do not execute, and that can be taken back.
//!
//! ```text
//! file  = header row, then a row for each entry                          RFC 4180, UTF-8, CRLF
//! row   = cell *("," cell) CRLF
//! cell  = DQUOTE *(any character but DQUOTE / 2DQUOTE) DQUOTE            every cell is quoted
//!
//! guard   a text is shown with `'` in front if it begins with `'`, TAB, CR or LF, or if what
//!         comes after its leading white space, quotes and invisible characters is one of
//!         = + - @ or their full-width forms
//! inverse one leading `'` is taken away
//! ```
//!
//! Spreadsheets take a text for a formula by its first character that shows, so quoting alone does
//! not help. No guarded text is another one's guarded form: a text that begins with `'` is guarded
//! as well, and what is shown without a guard never begins with one.

use std::fmt::Write as _;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::leaf::{EventType, Leaf};
use crate::merkle::Hash;

/// The columns, in their order.
pub const COLUMNS: [&str; 9] = [
    "id",
    "timestamp",
    "event_type",
    "fingerprints",
    "document_hash",
    "manifest_hash",
    "previous_hash",
    "entry_hash",
    "payload",
];

/// Whether texts that a spreadsheet would take for formulas are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// They are shown with `'` in front.
    On,
    /// Everything is shown as it is.
    Off,
}

/// Why a text is not a table of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATable {
    /// A cell is not quoted, or its quotes are not closed.
    #[error("byte {at}: a cell is a text in double quotes, those within it doubled")]
    Cell {
        /// Where.
        at: usize,
    },
    /// Something else than a comma or the end of the line follows a cell.
    #[error("byte {at}: a cell is followed by a comma or by CR LF")]
    Separator {
        /// Where.
        at: usize,
    },
    /// The first row is another.
    #[error("the first row does not name the columns of an export")]
    Columns,
    /// A row has more or fewer cells than there are columns.
    #[error("row {row} does not have nine cells")]
    Width {
        /// Which one, from 1, the header not counted.
        row: usize,
    },
    /// A row does not show an entry with the hash that it shows.
    #[error("row {row} does not show the entry of its entry_hash")]
    Entry {
        /// Which one, from 1, the header not counted.
        row: usize,
    },
}

/// The table of some entries.
pub fn table<'a>(leaves: impl IntoIterator<Item = &'a Leaf>, guard: Guard) -> String {
    let mut out = String::new();
    write_row(&COLUMNS.map(str::to_owned), Guard::Off, &mut out);
    for leaf in leaves {
        write_row(&cells_of(leaf), guard, &mut out);
    }
    out
}

/// The entries of a table that was written with the same guard, each with the hash that it shows.
pub fn leaves(table: &str, guard: Guard) -> Result<Vec<Leaf>, NotATable> {
    let mut rows = rows(table)?.into_iter();
    if rows.next().is_none_or(|first| first != COLUMNS) {
        return Err(NotATable::Columns);
    }
    let leaf_of = |(index, cells): (usize, Vec<String>)| {
        let row = index + 1;
        let cells: Vec<&str> = cells.iter().map(|cell| shown_as(cell, guard)).collect();
        let cells = cells.try_into().map_err(|_| NotATable::Width { row })?;
        leaf_of(cells).ok_or(NotATable::Entry { row })
    };
    rows.enumerate().map(leaf_of).collect()
}

/// A text as a cell shows it under the guard.
pub fn guarded(text: &str) -> String {
    if needs_guard(text) { format!("'{text}") } else { text.to_owned() }
}

/// The text that [`guarded`] was given.
pub fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

/// The cells of every row, as they stand in it.
pub fn rows(table: &str) -> Result<Vec<Vec<String>>, NotATable> {
    let (mut rows, mut row, mut rest) = (Vec::new(), Vec::new(), table);
    while !rest.is_empty() {
        let (cell, after) =
            read_cell(rest).ok_or(NotATable::Cell { at: table.len() - rest.len() })?;
        row.push(cell);
        rest = if let Some(next) = after.strip_prefix("\r\n") {
            rows.push(std::mem::take(&mut row));
            next
        } else {
            let at = table.len() - after.len();
            // A comma promises another cell.
            after
                .strip_prefix(',')
                .filter(|it| !it.is_empty())
                .ok_or(NotATable::Separator { at })?
        };
    }
    Ok(rows)
}

fn shown_as(cell: &str, guard: Guard) -> &str {
    match guard {
        Guard::On => unguarded(cell),
        Guard::Off => cell,
    }
}

fn needs_guard(text: &str) -> bool {
    let is_passed_over = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '\u{ad}' | '\u{feff}' | '\u{2060}'..='\u{2064}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let begins = |c: char| matches!(c, '\'' | '\t' | '\r' | '\n');
    let is_sign = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    text.starts_with(begins) || text.trim_start_matches(is_passed_over).starts_with(is_sign)
}

fn write_row(cells: &[String; COLUMNS.len()], guard: Guard, out: &mut String) {
    for (place, cell) in cells.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let cell = match guard {
            Guard::On => guarded(cell),
            Guard::Off => cell.clone(),
        };
        // Writing to a string never fails.
        let _ = write!(out, "{comma}\"{}\"", cell.replace('"', "\"\""));
    }
    out.push_str("\r\n");
}

/// Reads one cell; answers it and what follows.
fn read_cell(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut cell = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        cell.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None => return Some((cell, after)),
        }
    }
}

fn cells_of(leaf: &Leaf) -> [String; COLUMNS.len()] {
    let payload: Value = serde_json::from_slice(leaf.payload()).unwrap_or_default();
    let hash = |name: &str| {
        let hash = payload[name].as_str().and_then(|text| text.parse::<Hash>().ok());
        hash.map(|hash| hash.to_string()).unwrap_or_default()
    };
    [
        leaf.id().to_string(),
        leaf.timestamp().to_string(),
        leaf.event_type().to_owned(),
        fingerprints(&payload),
        hash("content_hash"),
        hash("manifest_hash"),
        leaf.previous_hash().map(|hash| hash.to_string()).unwrap_or_default(),
        leaf.entry_hash().to_string(),
        String::from_utf8_lossy(leaf.payload()).into_owned(),
    ]
}

/// The keys that the members of a payload name, each once, in the order of the members.
fn fingerprints(payload: &Value) -> String {
    let names_a_key = |name: &str| {
        name.ends_with("fingerprint") || ["signer", "operator", "witness"].contains(&name)
    };
    let members = payload.as_object().into_iter().flatten();
    let texts = members.filter(|(name, _)| names_a_key(name)).filter_map(|(_, text)| text.as_str());
    let mut found: Vec<&str> = Vec::new();
    for text in texts.filter(|text| text.parse::<Fingerprint>().is_ok()) {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found.join(" ")
}

/// The entry that a row shows, if the row is what that entry's row would be.
fn leaf_of(cells: [&str; COLUMNS.len()]) -> Option<Leaf> {
    let [id, timestamp, event_type, _, _, _, previous, _, payload] = cells;
    let previous: Option<Hash> =
        Some(previous).filter(|it| !it.is_empty()).map(str::parse).transpose().ok()?;
    let timestamp: Timestamp = timestamp.parse().ok()?;
    let event_type: EventType = event_type.parse().ok()?;
    let leaf =
        Leaf::build(id.parse().ok()?, previous, timestamp, &event_type, payload.as_bytes()).ok()?;
    (cells_of(&leaf) == cells).then_some(leaf)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(payload: &str) -> Leaf {
        let time = "2026-01-15T10:30:00.000Z".parse().unwrap();
        let kind = "x-test:event".parse().unwrap();
        Leaf::build(7, Some(Hash::EMPTY_TREE), time, &kind, payload.as_bytes()).unwrap()
    }

    #[test]
    fn a_row_shows_what_an_entry_names() {
        let (key, other) = (Hash::of(b"key").to_string(), Hash::of(b"other").to_string());
        let payload = format!(
            r#"{{"content_hash":"{other}","fingerprint":"{key}","old_fingerprint":"{other}","signer":"{key}"}}"#
        );
        let table = table([&leaf(&payload)], Guard::On);

        let rows = rows(&table).unwrap();

        assert_eq!(rows[0], COLUMNS);
        assert_eq!(rows[1][0], "7");
        assert_eq!(rows[1][3], format!("{key} {other}"));
        assert_eq!((&rows[1][4], rows[1][5].as_str()), (&other, ""));
        assert_eq!(rows[1][8], payload);
        assert!(table.ends_with("}\"\r\n") && !table.contains("\n\n"));
    }

    #[test]
    fn a_table_gives_its_entries_back_and_notices_what_was_changed() {
        let entries = [leaf("{}"), leaf(r#"{"a":"=1+1\",\r\n'x"}"#)];
        let table = table(&entries, Guard::On);

        let read = leaves(&table, Guard::On).unwrap();

        assert_eq!(
            read.iter().map(Leaf::bytes).collect::<Vec<_>>(),
            entries.each_ref().map(Leaf::bytes)
        );
        let at = |text: &str, error| {
            assert_eq!(leaves(text, Guard::On).map(|_| ()), Err(error), "{text}");
        };
        at(&table.replace("=1+1", "=1+2"), NotATable::Entry { row: 2 });
        at(&table.replacen("\"7\"", "\"8\"", 1), NotATable::Entry { row: 1 });
        at(&table.replacen("\"id\"", "\"no\"", 1), NotATable::Columns);
        at("", NotATable::Columns);
        at(&format!("{table}\"1\"\r\n"), NotATable::Width { row: 3 });
        at("id,timestamp\r\n", NotATable::Cell { at: 0 });
        at("\"id\";\"b\"\r\n", NotATable::Separator { at: 4 });
        at("\"id", NotATable::Cell { at: 0 });
        at("\"id\",", NotATable::Separator { at: 4 });
    }

    #[test]
    fn what_a_spreadsheet_would_execute_is_guarded() {
        for text in [
            "=1",
            "+1",
            "-1",
            "@SUM(1)",
            "\t1",
            "\r1",
            "\n1",
            " =1",
            "\"=1",
            "'=1",
            "' \"=1",
            "＝1",
            "＋1",
            "－1",
            "＠1",
            "\u{feff}=1",
            "\u{200b}=1",
            "\u{a0}=1",
            "\u{0}=1",
            "'a",
        ] {
            assert_eq!(guarded(text), format!("'{text}"), "{text:?}");
        }
        for text in ["", "1", "a=1", "{\"a\":\"=1\"}", "sha256:00", " a", "\"a\""] {
            assert_eq!(guarded(text), text, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_guard_is_reversible_and_what_it_shows_is_safe(text in "[\t\r\n ='\"+@＝a\u{feff}]{0,6}|\\PC{0,20}") {
            let shown = guarded(&text);
            prop_assert_eq!(unguarded(&shown), &text);
            prop_assert!(shown.starts_with('\'') || !needs_guard(&shown));
        }

        #[test]
        fn rows_come_back_as_they_were_written(
            cells in proptest::array::uniform9("[\t\r\n ,='\"+@＝a]{0,8}|\\PC{0,20}"),
            is_on in any::<bool>(),
        ) {
            let guard = if is_on { Guard::On } else { Guard::Off };
            let mut text = String::new();
            write_row(&cells, guard, &mut text);

            let rows = rows(&text).unwrap();

            prop_assert_eq!(rows.len(), 1);
            let read: Vec<&str> = rows[0].iter().map(|cell| shown_as(cell, guard)).collect();
            prop_assert_eq!(read, cells.each_ref().map(String::as_str));
        }
    }
}
