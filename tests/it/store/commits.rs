//! One history, whoever writes.

use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, TileId, TreeSize};
use diogenes_common::store::{CommitError, HeadRow, LogState};

use tokio::task::JoinSet;

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    what_was_committed_is_what_is_read,
    a_writer_that_believes_something_else_loses,
    of_racing_writers_exactly_one_wins,
    an_older_process_is_fenced,
    a_batch_that_leaves_a_gap_is_refused,
    a_failed_commit_leaves_nothing,
    the_edge_and_the_tiles_are_those_of_a_continuous_build,
    heads_are_kept_one_a_second_and_thinned_to_one_an_hour,
    a_commit_costs_few_statements,
);

async fn what_was_committed_is_what_is_read(database: Database) {
    let mut log = Log::start(&database).await;
    assert_eq!(log.store.state().await.unwrap().unwrap().tree.size, TreeSize::ZERO);

    let mut expected = log.append(1, "x-test:one").await;
    expected.extend(log.append(700, "x-test:many").await);
    log.store.close().await;

    let store = database.open().await;
    let entries = store.entries(0, 701, u64::MAX).await.unwrap();
    assert_eq!(entries.len(), 701);
    assert!(entries.iter().zip(&expected).all(|(read, written)| read.bytes() == written.bytes()));
    let state = LogState {
        writer: 1,
        tree: log.edge.root(),
        chain_head: expected.last().map(Leaf::entry_hash),
        timestamp: at(START + 10),
        epoch: 1,
        last_event_id: 701,
    };
    assert_eq!(store.state().await.unwrap(), Some(state));
}

async fn a_writer_that_believes_something_else_loses(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(3, "x-test:a").await;
    let good = log.batch(2, "x-test:a");

    let mut wrong_root = good.clone();
    wrong_root.guard.tree.hash = Hash::of(b"another history");
    let mut earlier_time = good.clone();
    earlier_time.guard.timestamp = at(START - 1);
    let mut time_runs_back = good.clone();
    time_runs_back.state.timestamp = at(START - 1);
    let mut wrong_writer = good.clone();
    wrong_writer.guard.writer += 1;
    let wrong_size = Log { edge: Edge::empty(), chain_head: None, ..log.clone() };
    let mut wrong_size = wrong_size.batch(2, "x-test:a");
    wrong_size.guard.tree = Edge::empty().root();

    for batch in [wrong_root, earlier_time, time_runs_back, wrong_writer, wrong_size] {
        assert_eq!(log.clone().commit(&batch).await, Err(CommitError::NotLeader));
    }
    assert_eq!(log.commit(&good).await, Ok(()));
}

async fn of_racing_writers_exactly_one_wins(database: Database) {
    let log = Log::start(&database).await;
    for round in 0..5 {
        let mut current = log.clone();
        if round > 0 {
            let state = log.store.state().await.unwrap().unwrap();
            current.edge = log.store.load_edge(state.tree.size).await.unwrap();
            current.chain_head = state.chain_head;
            current.guard.tree = state.tree;
            current.guard.timestamp = state.timestamp;
            current.now = state.timestamp.plus_millis(10);
        }
        let mut rivals = JoinSet::new();
        for rival in 0..4 {
            let mut log = current.clone();
            let batch = log.batch(5, &format!("x-test:rival-{rival}"));
            rivals.spawn(async move { log.commit(&batch).await });
        }
        let outcomes = rivals.join_all().await;

        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let lost = outcomes.iter().filter(|outcome| **outcome == Err(CommitError::NotLeader));
        assert_eq!(lost.count(), 3, "{outcomes:?}");
    }
}

async fn an_older_process_is_fenced(database: Database) {
    let mut older = Log::start(&database).await;
    older.append(2, "x-test:a").await;

    let mut newer = older.clone();
    newer.guard.writer = newer.store.raise_writer().await.unwrap();

    let batch = older.batch(1, "x-test:a");
    assert_eq!(older.commit(&batch).await, Err(CommitError::NotLeader));
    newer.append(1, "x-test:a").await;
}

async fn a_batch_that_leaves_a_gap_is_refused(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(2, "x-test:a").await;

    let mut missing = log.batch(3, "x-test:a");
    missing.entries.remove(1);
    let mut beyond = log.batch(3, "x-test:a");
    beyond.state.tree.size = beyond.state.tree.size.plus(1);

    assert_eq!(log.commit(&missing).await, Err(CommitError::Gap));
    assert_eq!(log.commit(&beyond).await, Err(CommitError::Gap));
    log.append(1, "x-test:a").await;
}

async fn a_failed_commit_leaves_nothing(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(250, "x-test:a").await;
    let before = log.store.state().await.unwrap();
    let batch = log.batch(10, "x-test:b");

    // A tile that is there already makes one of the later statements fail.
    database.tamper("INSERT INTO log_tiles VALUES (0, 0, '')").await;
    assert!(matches!(log.commit(&batch).await, Err(CommitError::Conflict(_))));

    assert_eq!(log.store.state().await.unwrap(), before);
    assert_eq!(log.store.entries(250, 260, u64::MAX).await.unwrap().len(), 0);
    assert_eq!(log.store.count("x-test:b").await.unwrap(), 0);
    database.tamper("DELETE FROM log_tiles").await;
    assert_eq!(log.commit(&batch).await, Ok(()));
}

async fn the_edge_and_the_tiles_are_those_of_a_continuous_build(database: Database) {
    let mut log = Log::start(&database).await;
    let mut tiles = Vec::new();
    for count in [1, 255, 256, 257, 4096, 1, 4095, 60_000 - 8961, 10_000] {
        let mut left = count;
        while left > 0 {
            let batch = log.batch(left.min(4096), "x-test:a");
            tiles.extend(batch.tiles.clone());
            log.commit(&batch).await.unwrap();
            left -= left.min(4096);
        }
        let reloaded = log.store.load_edge(log.edge.size()).await.unwrap();
        assert_eq!(reloaded.root(), log.edge.root());
        assert_eq!(reloaded, log.edge);
    }
    assert_eq!(log.edge.size().get(), 70_000);

    // Read by another store, whose cache is empty.
    let fresh = database.open().await;
    let ids: Vec<TileId> = tiles.iter().map(|(id, _)| *id).collect();
    let read = fresh.tiles(&ids, &log.edge).await.unwrap();
    assert_eq!(read.len(), 70_000 / 256 + 1);
    assert!(read.iter().zip(&tiles).all(|(read, (_, built))| read == built));
}

async fn heads_are_kept_one_a_second_and_thinned_to_one_an_hour(database: Database) {
    const HOUR: i64 = 3_600_000;
    let mut log = Log::start(&database).await;
    let store = log.store.clone();
    let mut sizes = Vec::new();
    for step in 0..30 {
        log.now = at(START + step * HOUR / 2);
        // Two in one second: the second one replaces the first.
        log.append(1, "x-test:a").await;
        log.append(1, "x-test:a").await;
        let size = log.edge.size();
        sizes.push(size);
        log.now = at(START + step * HOUR / 2 + 5_000);
        let mut heartbeat = log.batch(0, "x-test:a");
        let signed = format!(r#"{{"tree_size":{size}}}"#);
        heartbeat.sign_previous = Some((START / 1000 + step * 1800, size, signed));
        heartbeat.heads.clear();
        log.commit(&heartbeat).await.unwrap();
    }
    let head = store.head_at_most(sizes[4]).await.unwrap().unwrap();
    assert_eq!(head.tree.size, sizes[4]);
    assert_eq!(head.head_json, Some(format!(r#"{{"tree_size":{}}}"#, sizes[4])));
    assert_eq!(store.head_at_most(sizes[0]).await.unwrap().unwrap().tree.size, sizes[0]);
    assert_eq!(store.newest_signed_head().await.unwrap().unwrap().tree.size, sizes[29]);
    let first: HeadRow = store.head_at_most(sizes[0]).await.unwrap().unwrap();
    store.pin_head(&first).await.unwrap();

    let thinned = store.thin_heads(at(START + 24 * HOUR + 10 * HOUR / 2)).await.unwrap();

    // START is half past an hour: of steps 0..10 each whole hour keeps its later head.
    assert_eq!(thinned, 4);
    assert_eq!(store.head_at_most(sizes[9]).await.unwrap().unwrap().tree.size, sizes[9]);
    assert_eq!(store.heads_of(sizes[1]).await.unwrap(), []);
    assert_eq!(store.heads_of(sizes[2]).await.unwrap().len(), 1);
    assert_eq!(store.heads_of(sizes[0]).await.unwrap()[0], first);
    assert_eq!(store.thin_heads(at(START + 24 * HOUR + 10 * HOUR / 2)).await.unwrap(), 0);
}

async fn a_commit_costs_few_statements(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(1, "x-test:a").await;
    let before = log.store.commit_statements();

    log.append(4095, "x-test:a").await;

    // Guard, entries, tiles, heads, one run of hashes, counts; BEGIN and COMMIT.
    assert_eq!(log.store.commit_statements() - before, 8);
}
