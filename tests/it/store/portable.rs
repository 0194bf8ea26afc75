//! The rows that a backup keeps: every table, from either database into the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use diogenes_common::merkle::TreeSize;
use diogenes_common::store::{Cell, HeadRow, Kind, Store, TABLES};

use super::harness::{Database, Log, on_both};

on_both! {
    every_row_is_the_same_in_the_other_database,
    rows_beyond_the_size_are_left_out,
    what_happens_later_is_not_in_a_frozen_moment,
    numbers_go_on_after_rows_were_put_back,
}

type Rows = Vec<(&'static str, Vec<Vec<Cell>>)>;

/// Beyond all that is stored.
fn every() -> TreeSize {
    TreeSize::ZERO.plus(1_000)
}

/// Every kept row of a database.
async fn dump(store: &Store, size: TreeSize) -> Rows {
    let mut frozen = store.freeze().await.unwrap();
    let mut dump = Vec::new();
    for table in TABLES {
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        loop {
            let page = frozen.rows(table, size, rows.last().map(Vec::as_slice)).await.unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        dump.push((table.name, rows));
    }
    dump
}

/// Three rows for each table, the middle one with as few fields as the table allows.
async fn fill(database: &Database) {
    for table in TABLES {
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        for n in 1..=3 {
            let values: Vec<String> = table
                .columns
                .iter()
                .map(|(name, kind)| match kind {
                    _ if n == 2 && NULLABLE.contains(&(table.name, *name)) => "NULL".to_owned(),
                    Kind::Int => n.to_string(),
                    Kind::Text => format!("'{name} \"{n}\"'"),
                    Kind::Bytes if database.is_postgres() => format!("'\\x00ff0{n}'::bytea"),
                    Kind::Bytes => format!("x'00ff0{n}'"),
                })
                .collect();
            let (names, values) = (names.join(", "), values.join(", "));
            database
                .tamper(&format!("INSERT INTO {} ({names}) VALUES ({values})", table.name))
                .await;
        }
    }
}

const NULLABLE: [(&str, &str); 14] = [
    ("log_heads", "chain_head"),
    ("log_heads", "head_json"),
    ("log_pinned_heads", "chain_head"),
    ("log_pinned_heads", "head_json"),
    ("local_reserved_keys", "name"),
    ("local_incidents", "acked_at"),
    ("local_incidents", "evidence_id"),
    ("local_webhooks", "due_at"),
    ("local_webhooks", "failing_since"),
    ("local_webhook_messages", "due_at"),
    ("local_webhook_messages", "first_at"),
    ("local_webhook_messages", "last_at"),
    ("local_webhook_messages", "response_status"),
    ("local_webhook_messages", "fault"),
];

async fn refill(store: &Store, rows: &Rows) {
    let mut refill = store.refill().await.unwrap();
    for (name, rows) in rows {
        let table = TABLES.iter().find(|table| table.name == *name).unwrap();
        for row in rows {
            refill.put(table, row).await.unwrap();
        }
    }
    refill.commit(&head(9)).await.unwrap();
}

fn head(size: u64) -> HeadRow {
    use diogenes_common::merkle::{Hash, TreeRoot};
    HeadRow {
        tree: TreeRoot { size: TreeSize::ZERO.plus(size), hash: Hash::of(b"root") },
        chain_head: None,
        epoch: 1,
        timestamp: super::harness::at(9_000),
        head_json: Some("signed".to_owned()),
    }
}

async fn every_row_is_the_same_in_the_other_database(database: Database) {
    let other =
        if database.is_postgres() { Some(Database::sqlite()) } else { Database::postgres().await };
    let Some(other) = other else { return };
    let (from, to) = (database.open().await, other.open().await);
    fill(&database).await;
    let rows = dump(&from, every()).await;
    assert!(rows.iter().all(|(_, rows)| rows.len() == 3), "{rows:?}");

    refill(&to, &rows).await;

    let mut found = dump(&to, every()).await;
    let heads = &mut found.iter_mut().find(|(name, _)| *name == "log_heads").unwrap().1;
    assert_eq!(heads.pop().unwrap()[6], Cell::Text(Some("signed".to_owned())));
    assert_eq!(found, rows);
}

async fn rows_beyond_the_size_are_left_out(database: Database) {
    let store = database.open().await;
    fill(&database).await;

    let rows = dump(&store, TreeSize::ZERO.plus(2)).await;

    // The remembered answers are about entries 1, 2 to 3 and 3 to 5.
    let kept = |table: &str| rows.iter().find(|(name, _)| *name == table).unwrap().1.len();
    let counts =
        ["log_heads", "log_pinned_heads", "local_cosignatures", "local_idempotency"].map(kept);
    assert_eq!(counts, [2, 2, 2, 1]);
    assert_eq!(kept("local_meta"), 3);
}

async fn what_happens_later_is_not_in_a_frozen_moment(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(3, "x-a:b").await;
    log.store.put_meta("a", "1").await.unwrap();
    let mut frozen = log.store.freeze().await.unwrap();
    let before = frozen.state().await.unwrap().unwrap();

    log.append(2, "x-a:b").await;
    log.store.put_meta("a", "2").await.unwrap();

    assert_eq!(frozen.state().await.unwrap(), Some(before));
    assert_eq!(before.tree.size, TreeSize::ZERO.plus(3));
    let meta = TABLES.iter().find(|table| table.name == "local_meta").unwrap();
    let rows = frozen.rows(meta, every(), None).await.unwrap();
    assert_eq!(rows[0][1], Cell::Text(Some("1".to_owned())));
}

async fn numbers_go_on_after_rows_were_put_back(database: Database) {
    let store = database.open().await;
    fill(&database).await;
    let rows = dump(&store, every()).await;
    refill(&store, &rows).await;

    let incident = diogenes_common::store::NewIncident {
        kind: "a".to_owned(),
        subject: "b".to_owned(),
        class: "transient".to_owned(),
        reason: "c".to_owned(),
        detail: String::new(),
        opened_at: super::harness::at(1),
        evidence: None,
    };

    assert_eq!(store.open_incident(&incident).await.unwrap(), 4);
}

/// Whoever adds a table decides here whether a backup keeps its rows.
#[test]
fn every_table_is_kept_or_left_out_on_purpose() {
    let left_out = ["log_entries", "log_tiles", "log_state", "local_challenges"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/migrations/sqlite");
    let mut tables = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for rest in text.split("CREATE TABLE ").skip(1) {
            let name = rest.split_whitespace().next().unwrap().to_owned();
            if !name.starts_with("view_") && !left_out.contains(&&*name) {
                tables.insert(name);
            }
        }
    }

    let kept: BTreeSet<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    assert_eq!(kept, tables);
}
