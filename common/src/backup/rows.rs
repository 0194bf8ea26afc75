//! The rows of a backup that do not follow from the entries: heads, and what this node alone knows.
//!
//! ```text
//! {"table":"local_meta","columns":["name","value"]}       begins a table
//! ["round_head","..."]                                    one row of it
//! ```
//!
//! One JSON text a line. Numbers are numbers, bytes are base64, absent is null. A table has its
//! rows under one such line, and a column that this version has and the line does not name is
//! absent: a backup of an earlier version can be read. What this version does not know is refused.

use std::io::{self, BufRead, Read as _, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Cell, Kind, Table};

/// The longest line: twice what the largest row needs.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// Why a line is not one of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It is longer than any row.
    #[error("it is too long")]
    TooLong,
    /// It is not JSON of that form.
    #[error("it is not readable")]
    Malformed,
    /// A table or a column that this version does not have.
    #[error("it names a table or a column that this version does not know")]
    Unknown,
    /// A row before the first table.
    #[error("it belongs to no table")]
    NoTable,
    /// Too many or too few fields, or one of another kind.
    #[error("its fields are not those of its table")]
    OtherFields,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Title<'a> {
    table: &'a str,
    #[serde(borrow)]
    columns: Vec<&'a str>,
}

/// Writes the line that begins a table.
pub(super) fn write_title(to: &mut impl Write, table: &Table) -> io::Result<()> {
    let columns = table.columns.iter().map(|(name, _)| *name).collect();
    serde_json::to_writer(&mut *to, &Title { table: table.name, columns })?;
    to.write_all(b"\n")
}

/// Writes one row.
pub(super) fn write_row(to: &mut impl Write, row: &[Cell]) -> io::Result<()> {
    let fields: Vec<Value> = row.iter().map(field).collect();
    serde_json::to_writer(&mut *to, &fields)?;
    to.write_all(b"\n")
}

fn field(cell: &Cell) -> Value {
    match cell {
        Cell::Int(value) => (*value).into(),
        Cell::Text(value) => value.clone().into(),
        Cell::Bytes(value) => value.as_ref().map(|bytes| STANDARD.encode(bytes)).into(),
    }
}

/// Reads rows one by one.
pub(super) struct RowReader<R> {
    from: R,
    line: u64,
    table: Option<Place>,
}

/// The table that is being read.
struct Place {
    table: &'static Table,
    /// For each column of the file, its place in the table.
    columns: Vec<usize>,
}

/// A row and its table.
pub(super) type Row = (&'static Table, Vec<Cell>);

impl<R: BufRead> RowReader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, line: 0, table: None }
    }

    /// Where it reads from.
    pub(super) fn into_inner(self) -> R {
        self.from
    }

    /// The number of the line that was read last.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Result<Option<Row>, RowError>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut self.from).take(MAX_LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(Ok(None));
            }
            self.line += 1;
            if line.last() != Some(&b'\n') {
                let is_long = line.len() as u64 == MAX_LINE;
                return Ok(Err(if is_long { RowError::TooLong } else { RowError::Malformed }));
            }
            if line[0] == b'[' {
                return Ok(self.row(&line).map(Some));
            }
            match title(&line) {
                Ok(table) => self.table = Some(table),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn row(&self, line: &[u8]) -> Result<Row, RowError> {
        let place = self.table.as_ref().ok_or(RowError::NoTable)?;
        let fields: Vec<Value> = serde_json::from_slice(line).map_err(|_| RowError::Malformed)?;
        if fields.len() != place.columns.len() {
            return Err(RowError::OtherFields);
        }
        let mut row: Vec<Cell> =
            place.table.columns.iter().map(|(_, kind)| absent(*kind)).collect();
        for (at, field) in place.columns.iter().zip(fields) {
            row[*at] = cell(place.table.columns[*at].1, field).ok_or(RowError::OtherFields)?;
        }
        Ok((place.table, row))
    }
}

fn title(line: &[u8]) -> Result<Place, RowError> {
    let title: Title<'_> = serde_json::from_slice(line).map_err(|_| RowError::Malformed)?;
    let table = Table::named(title.table).ok_or(RowError::Unknown)?;
    let place = |name: &&str| table.columns.iter().position(|(column, _)| column == name);
    let columns: Option<Vec<usize>> = title.columns.iter().map(place).collect();
    Ok(Place { table, columns: columns.ok_or(RowError::Unknown)? })
}

fn absent(kind: Kind) -> Cell {
    match kind {
        Kind::Int => Cell::Int(None),
        Kind::Text => Cell::Text(None),
        Kind::Bytes => Cell::Bytes(None),
    }
}

fn cell(kind: Kind, field: Value) -> Option<Cell> {
    Some(match (kind, field) {
        (kind, Value::Null) => absent(kind),
        (Kind::Int, Value::Number(number)) => Cell::Int(Some(number.as_i64()?)),
        (Kind::Text, Value::String(text)) => Cell::Text(Some(text)),
        (Kind::Bytes, Value::String(text)) => Cell::Bytes(Some(STANDARD.decode(text).ok()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>, RowError> {
        let mut reader = RowReader::new(text.as_bytes());
        let mut rows = Vec::new();
        while let Some(row) = reader.next().unwrap()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let evidence = Table::named("local_evidence").unwrap();
        let kind = || Cell::Text(Some("fork \"x\"\n".to_owned()));
        let rows = [
            vec![
                Cell::Int(Some(i64::MAX)),
                kind(),
                Cell::Int(Some(-1)),
                Cell::Bytes(Some(vec![0, 255])),
            ],
            vec![Cell::Int(Some(2)), kind(), Cell::Int(None), Cell::Bytes(None)],
        ];
        let mut file = Vec::new();
        write_title(&mut file, evidence).unwrap();
        for row in &rows {
            write_row(&mut file, row).unwrap();
        }

        let found = read(std::str::from_utf8(&file).unwrap()).unwrap();

        assert_eq!(
            found.iter().map(|(table, _)| table.name).collect::<Vec<_>>(),
            ["local_evidence"; 2]
        );
        assert_eq!(found.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn a_column_that_an_earlier_version_did_not_have_is_absent() {
        let rows = read("{\"table\":\"local_meta\",\"columns\":[\"value\"]}\n[\"v\"]\n").unwrap();

        assert_eq!(rows[0].1, [Cell::Text(None), Cell::Text(Some("v".to_owned()))]);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let title = "{\"table\":\"local_meta\",\"columns\":[\"name\",\"value\"]}\n";
        for (text, error) in [
            ("[\"a\",\"b\"]\n".to_owned(), RowError::NoTable),
            ("{\"table\":\"view_keys\",\"columns\":[]}\n".to_owned(), RowError::Unknown),
            ("{\"table\":\"local_meta\",\"columns\":[\"x\"]}\n".to_owned(), RowError::Unknown),
            (format!("{title}[\"a\"]\n"), RowError::OtherFields),
            (format!("{title}[\"a\",1]\n"), RowError::OtherFields),
            (format!("{title}[\"a\",\"b\"]"), RowError::Malformed),
            (format!("{title}nonsense\n"), RowError::Malformed),
        ] {
            assert_eq!(read(&text).err(), Some(error), "{text}");
        }
    }
}
