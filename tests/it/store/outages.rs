//! Databases that fail, hang, or are not ours.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use diogenes_common::store::{
    CommitError, DatabaseUrl, MigrationStatus, OpenOptions, Schema, Store, StoreError,
};
use diogenes_tests::postgres::{Cluster, cluster};
use tokio::task::JoinSet;

use super::harness::{Database, Log, on_both};

on_both!(migrations_are_applied_once_and_newer_ones_refused);

const ANY: OpenOptions = OpenOptions { schema: Schema::Ignore, readers: 2, require_durable: false };

async fn migrations_are_applied_once_and_newer_ones_refused(database: Database) {
    let opened = async |schema| Store::open(&database.url, OpenOptions { schema, ..ANY }).await;
    if !database.is_postgres() {
        // A PostgreSQL database comes from a template that has the schema.
        let empty = opened(Schema::Ignore).await.unwrap().migrations().await.unwrap();
        assert!(empty.applied.is_empty());
        let refused = opened(Schema::Require).await.map(|_| ());
        assert_eq!(refused, Err(StoreError::Outdated { pending: empty.pending.len() }));
    }

    let store = opened(Schema::Migrate).await.unwrap();
    let MigrationStatus { applied, pending, unknown } = store.migrations().await.unwrap();
    assert_eq!((applied[0].version, applied[0].name.as_str()), (1, "initial"));
    assert_eq!((pending.len(), unknown.len()), (0, 0));
    store.migrate().await.unwrap();
    opened(Schema::Require).await.unwrap();

    let row = "SELECT 99, description, installed_on, success, checksum, execution_time";
    database
        .tamper(&format!(
            "INSERT INTO _sqlx_migrations {row} FROM _sqlx_migrations WHERE version = 1"
        ))
        .await;
    let newer = StoreError::Newer { version: 99 };
    assert_eq!(opened(Schema::Migrate).await.map(|_| ()), Err(newer.clone()));
    assert_eq!(opened(Schema::Require).await.map(|_| ()), Err(newer));
    let status = opened(Schema::Ignore).await.unwrap().migrations().await.unwrap();
    assert_eq!(status.unknown, [99]);

    database.tamper("UPDATE _sqlx_migrations SET checksum = NULL WHERE version = 0").await;
    let swap = "UPDATE _sqlx_migrations SET checksum = substr(checksum, 2) WHERE version = 1";
    database.tamper(swap).await;
    let altered = StoreError::Altered { version: 1 };
    assert_eq!(opened(Schema::Migrate).await.map(|_| ()), Err(altered));
}

#[tokio::test]
async fn an_sqlite_file_is_for_its_owner_alone() {
    let database = Database::sqlite();
    let mut log = Log::start(&database).await;
    log.append(1, "x-test:a").await;

    let directory = database.url.sqlite_path().unwrap().parent().unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
        files += 1;
    }
    assert_eq!(files, 3, "the file, its write-ahead log and its index");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_of_the_disk() {
    let database = Database::sqlite();
    std::fs::write(database.url.sqlite_path().unwrap(), vec![7; 8192]).unwrap();
    let missing = DatabaseUrl::sqlite("/nonexistent/log.db");

    assert!(matches!(Store::open(&database.url, ANY).await, Err(StoreError::Disk(_))));
    assert!(matches!(Store::open(&missing, ANY).await, Err(StoreError::Disk(_))));
}

#[tokio::test]
async fn a_second_process_waits_for_the_lock_in_vain() {
    let Some(database) = Database::postgres().await else { return };
    let (first, second) = (database.open().await, database.open().await);

    let mut held = first.lock_exclusive(Duration::from_secs(1)).await.unwrap();
    let refused = second.lock_exclusive(Duration::from_millis(300)).await;
    assert_eq!(refused.map(|_| ()), Err(StoreError::Locked));
    assert!(held.is_held().await);

    drop(held);
    second.lock_exclusive(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn who_takes_over_an_sqlite_database_writes_its_last_entries_again() {
    let database = Database::sqlite();
    let mut log = Log::start(&database).await;
    log.append(3, "x-test:a").await;
    let wal = format!("{}-wal", database.url.sqlite_path().unwrap().display());
    assert!(std::fs::metadata(&wal).unwrap().len() > 0, "that is where they are");

    let next = database.open().await;
    next.lock_exclusive(Duration::from_secs(1)).await.unwrap();

    assert_eq!(std::fs::metadata(&wal).unwrap().len(), 0);
    assert_eq!(next.count("x-test:a").await, Ok(3));
}

#[tokio::test]
async fn a_lock_is_lost_with_its_connection() {
    let Some(database) = Database::postgres().await else { return };
    let store = database.open().await;
    let mut held = store.lock_exclusive(Duration::from_secs(1)).await.unwrap();

    end_backends(&database, "query LIKE '%pg_try_advisory_lock%'").await;

    assert!(!held.is_held().await);
}

#[tokio::test]
async fn a_commit_whose_connection_dies_at_the_end_has_an_unknown_outcome() {
    let Some(database) = Database::postgres().await else { return };
    let mut log = Log::start(&database).await;
    log.append(1, "x-test:a").await;
    // The commit itself waits, and its backend is ended while it does.
    database
        .tamper(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON log_entries
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .await;
    let batch = log.batch(2, "x-test:a");
    let mut writer = log.clone();
    let mut commit = JoinSet::new();
    commit.spawn(async move { writer.commit(&batch).await });

    end_backends(&database, "query = 'COMMIT' AND state = 'active'").await;

    let outcome = commit.join_all().await.remove(0);
    assert!(matches!(outcome, Err(CommitError::OutcomeUnknown(_))), "{outcome:?}");
    // The start in place: raise the writer, read again, go on.
    database.tamper("DROP TRIGGER slow ON log_entries").await;
    log.guard.writer = log.store.raise_writer().await.unwrap();
    assert_eq!(log.store.state().await.unwrap().unwrap().tree, log.guard.tree);
    log.append(2, "x-test:a").await;
}

#[tokio::test]
async fn a_server_that_stopped_is_an_error_in_time() {
    let Some(_) = cluster() else { return };
    let own = tokio::task::spawn_blocking(Cluster::start_own).await.unwrap().unwrap();
    let url = own.database().unwrap();
    let store = Store::open(&url, OpenOptions { schema: Schema::Migrate, ..ANY }).await.unwrap();
    store.initialise().await.unwrap();
    store.ping().await.unwrap();
    let signal = |name: &str| {
        // The backends are processes of their own, in the server's group of children.
        let pids = own.pids().unwrap();
        assert!(Command::new("kill").arg(name).args(pids).status().unwrap().success());
    };

    signal("-STOP");
    let asked = Instant::now();
    let (read, written) = tokio::join!(store.count("x-test:a"), store.put_meta("a", "b"));
    let took = asked.elapsed();
    signal("-CONT");

    assert!(matches!(read, Err(StoreError::Unreachable(_))), "{read:?}");
    assert!(matches!(written, Err(StoreError::Unreachable(_))), "{written:?}");
    // It waits for 4 s; without a limit it would never end.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.put_meta("a", "c").await {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert_eq!(store.count("x-test:a").await, Ok(0));
}

#[tokio::test]
async fn a_server_that_forgets_is_refused() {
    let Some(database) = Database::postgres().await else { return };

    // The cluster of the tests runs without fsync.
    let refused = Store::open(&database.url, OpenOptions::default()).await.map(|_| ());

    assert_eq!(refused, Err(StoreError::NotDurable { setting: "fsync" }));
}

/// Ends the backends of a database whose state matches, as soon as there is one.
async fn end_backends(database: &Database, which: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = '{}' AND pid <> pg_backend_pid() AND {which}",
        database.name()
    );
    let cluster = cluster().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while cluster.sql("postgres", &sql).unwrap() == "0" {
            assert!(Instant::now() < deadline, "no such backend");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    ended.await.unwrap();
}
