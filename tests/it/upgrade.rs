//! A database of any earlier schema is brought up to date by a start: the log, what the node alone
//! knows, and every answer stay as they were.

use std::fs;
use std::path::Path;

use diogenes_common::store::{DatabaseUrl, OpenOptions, Schema, Store, StoreError};
use diogenes_tests::http::Node;
use diogenes_tests::stranger;
use serde_json::{Value, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr as _, SqliteConnection};

use crate::people::Holder;
use crate::site::{Place, Site, TOKEN, durable_database};
use crate::view_rows;

/// The schema that views have had their present form since: earlier ones are made anew.
const VIEWS_SINCE: i64 = 4;

/// The migrations of a dialect, as this program ships them.
fn migrations(dialect: &str) -> Vec<Migration> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/migrations").join(dialect);
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let migration = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (version, name) = name.split_once('_').unwrap();
        let (version, name) = (version.parse().unwrap(), name.to_owned().into());
        let sql = AssertSqlSafe(fs::read_to_string(path).unwrap()).into_sql_str();
        Migration::new(version, name, MigrationType::Simple, sql, false)
    };
    files.map(migration).collect()
}

/// The migrations up to one of them.
fn migrator(dialect: &str, upto: i64) -> Migrator {
    let all = migrations(dialect).into_iter();
    Migrator::with_migrations(all.filter(|migration| migration.version <= upto).collect())
}

/// Whether an older version had written rows into this table that are still good.
fn is_kept(table: &str, schema: i64) -> bool {
    !table.starts_with("view_") || schema >= VIEWS_SINCE
}

/// What an older version left in the views: good for nothing.
const STALE: &str = "INSERT INTO view_event_counts (event_type, count) VALUES ('x-old:view', 7);
                     INSERT INTO view_meta (name, version) VALUES ('views', 1)";

/// Makes a database as a version with that schema would have left it.
async fn old_sqlite(from: &Path, to: &Path, schema: i64) {
    const TABLES: &str = "SELECT name FROM main.sqlite_master
        WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_%' ESCAPE '\\'";
    let address = format!("sqlite://{}?mode=rwc", to.display());
    let mut db = SqliteConnection::connect(&address).await.unwrap();
    migrator("sqlite", schema).run(&mut db).await.unwrap();
    let attach = format!("ATTACH '{}' AS new", from.display());
    sqlx::raw_sql(AssertSqlSafe(attach)).execute(&mut db).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut db).await.unwrap();
    for table in tables.iter().filter(|table| is_kept(table, schema)) {
        let copy = format!("INSERT INTO main.{table} SELECT * FROM new.{table}");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut db).await.unwrap();
    }
    if schema < VIEWS_SINCE {
        sqlx::raw_sql(STALE).execute(&mut db).await.unwrap();
    }
    db.close().await.unwrap();
}

/// The same on PostgreSQL, row by row: two databases do not see each other there.
async fn old_postgres(from: &str, to: &str, schema: i64) {
    const TABLES: &str = "SELECT tablename::text FROM pg_tables
        WHERE schemaname = 'public' AND NOT starts_with(tablename, '_')";
    let mut source = PgConnection::connect(from).await.unwrap();
    let mut db = PgConnection::connect(to).await.unwrap();
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    sqlx::raw_sql(empty).execute(&mut db).await.unwrap();
    migrator("postgres", schema).run(&mut db).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut db).await.unwrap();
    for table in tables.iter().filter(|table| is_kept(table, schema)) {
        let read = format!("SELECT row_to_json(of)::text FROM {table} of");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(read)).fetch_all(&mut source).await.unwrap();
        for row in rows {
            let put = format!(
                "INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, $1::json)"
            );
            sqlx::query(AssertSqlSafe(put)).bind(row).execute(&mut db).await.unwrap();
        }
    }
    if schema < VIEWS_SINCE {
        sqlx::raw_sql(STALE).execute(&mut db).await.unwrap();
    }
    source.close().await.unwrap();
    db.close().await.unwrap();
}

/// What anybody may ask a leader and is answered alike for ever.
async fn answers(site: &Site, size: u64) -> Vec<Value> {
    let mut answers = Vec::new();
    for id in 1..=size {
        answers.push(site.leader.get(&format!("/api/v1/log/{id}")).await.json());
    }
    for seed in [1, 2] {
        let path = format!("/api/v1/keys/{}", Holder::new(seed).fingerprint());
        let mut key = site.leader.get(&path).await.json();
        // As of the newest head, which each start makes anew.
        key.as_object_mut().unwrap().remove("as_of");
        answers.push(key);
    }
    answers
}

/// A log with keys, a witness's authorisation and what a leader remembers.
async fn furnish(site: &Site) {
    Holder::registered(&site.leader, 1).await;
    Holder::registered(&site.leader, 2).await;
    site.grow(300).await;
    let witness = json!({ "public_key": Holder::new(3).0.public().to_pem(), "name": "W" });
    let answer = site.leader.post("/api/v1/operator/witnesses", &witness).token(TOKEN).send().await;
    assert!((200..300).contains(&answer.status), "{answer}");
    site.store().await.put_meta("a test", "was here").await.unwrap();
}

/// Stops a site and waits until its database is at rest.
async fn stopped(site: Site) -> Place {
    let (address, database) = (site.leader.address(), site.leader.database().clone());
    let place = site.stop();
    let node = Node::local(address);
    crate::site::eventually("the leader is gone", async || node.get("/healthz").await.is_err())
        .await;
    let open = OpenOptions { schema: Schema::Ignore, readers: 1, require_durable: false };
    let store = Store::open(&database, open).await.unwrap();
    drop(store.lock_exclusive(std::time::Duration::from_secs(20)).await.unwrap());
    store.close().await;
    place
}

/// Brings a database of an old schema up to date, and compares everything with the original.
async fn upgrade(schema: i64, on_postgres: bool) {
    let place = if on_postgres {
        let Some(place) = Place::postgres().await else { return };
        place
    } else {
        Place::sqlite()
    };
    let site = place.start().await;
    furnish(&site).await;
    let size = site.size().await;
    let before = answers(&site, size).await;
    let node = Node::local(site.leader.address());
    let root = stranger::read_log(&node).await.unwrap().root_at(size);
    let original = site.leader.database().clone();
    let views = view_rows::dump(&original).await;
    let place = stopped(site).await;

    let old = if on_postgres {
        let old = durable_database().await.unwrap();
        old_postgres(&original.to_string(), &old, schema).await;
        old
    } else {
        let path = original.sqlite_path().unwrap();
        let old = path.with_file_name("old.db");
        old_sqlite(path, &old, schema).await;
        format!("sqlite://{}", old.display())
    };
    let url: DatabaseUrl = old.parse().unwrap();
    let open = OpenOptions { schema: Schema::Require, readers: 1, require_durable: false };
    let pending = migrations("sqlite").len() - usize::try_from(schema).unwrap();
    if pending > 0 {
        let refused = Store::open(&url, open).await.err();
        assert_eq!(refused, Some(StoreError::Outdated { pending }));
    }
    let site = place.with_database(old).start().await;

    assert_eq!(answers(&site, size).await, before);
    let node = Node::local(site.leader.address());
    let log = stranger::read_log(&node).await.unwrap();
    assert_eq!(log.root_at(size), root);
    assert_eq!(view_rows::dump(&url).await, views);
    let store = Store::open(&url, open).await.unwrap();
    assert_eq!(store.meta("a test").await.unwrap().as_deref(), Some("was here"));
    store.close().await;
    site.grow(1).await;
    assert_eq!(site.size().await, size + 1);
}

macro_rules! from_every_schema {
    ($($name:ident $schema:literal),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::upgrade($schema, false).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::upgrade($schema, true).await;
            })+
        }

        #[test]
        fn no_schema_is_left_out() {
            let tested = [$($schema),+];
            let all: Vec<i64> = migrations("sqlite").iter().map(|one| one.version).collect();
            let all: std::collections::BTreeSet<i64> = all.into_iter().collect();
            let all: Vec<i64> = all.into_iter().collect();
            assert_eq!(tested[..], all[..]);
        }
    };
}

from_every_schema! {
    a_database_of_schema_1_is_brought_up_to_date 1,
    a_database_of_schema_2_is_brought_up_to_date 2,
    a_database_of_schema_3_is_brought_up_to_date 3,
    a_database_of_schema_4_is_brought_up_to_date 4,
    a_database_of_schema_5_goes_on_as_it_is 5,
}
