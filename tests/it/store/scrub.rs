//! Damage is read as it lies there, written anew in one step, and never used meanwhile.

use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, TileId, TreeSize};
use diogenes_common::store::{NewState, RowChange, StoreError, VIEWS};

use super::harness::{Database, Log, on_both};

on_both!(
    a_flipped_byte_of_a_tile_is_never_served_and_is_mended,
    entries_are_mended_with_what_stands_beside_them,
    a_state_is_mended_only_while_it_is_the_damaged_one,
    a_run_of_hashes_is_compared_and_mended,
    every_view_is_read_and_patched,
    a_list_by_type_shows_no_entry_of_another_type,
);

fn hex(bytes: &[u8], database: &Database) -> String {
    let digits = bytes.iter().fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
    if database.is_postgres() { format!("'\\x{digits}'::bytea") } else { format!("X'{digits}'") }
}

async fn a_flipped_byte_of_a_tile_is_never_served_and_is_mended(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(600, "x-test:a").await;
    let ids = [0, 1].map(|index| TileId { level: 0, index });
    let whole = log.store.tiles(&ids, &log.edge).await.unwrap();
    let mut bytes = whole[1].to_bytes();
    bytes[4_000] ^= 1;
    let bytes = hex(&bytes, &database);
    database.tamper(&format!("UPDATE log_tiles SET hashes = {bytes} WHERE idx = 1")).await;

    let fresh = database.open().await;
    let damaged = StoreError::CorruptTile { level: 0, index: 1 };
    assert_eq!(fresh.tiles(&ids[..1], &log.edge).await.unwrap(), whole[..1]);
    assert_eq!(fresh.tiles(&ids, &log.edge).await, Err(damaged));
    assert_eq!(fresh.suspected().await, ids[1]);

    fresh.mend_tiles(&[(ids[1], whole[1].clone())]).await.unwrap();
    assert_eq!(fresh.tiles(&ids, &log.edge).await.unwrap(), whole);
    assert_eq!(database.open().await.tiles(&ids, &log.edge).await.unwrap(), whole);
}

async fn entries_are_mended_with_what_stands_beside_them(database: Database) {
    let mut log = Log::start(&database).await;
    let leaves: Vec<Leaf> = log.append(10, "x-test:a").await;
    let whole = log.store.raw_entries(0, 10).await.unwrap();
    database
        .tamper("UPDATE log_entries SET event_type = 'x-test:b', timestamp = 7 WHERE id = 4")
        .await;
    database.tamper("DELETE FROM log_entries WHERE id = 5").await;
    let damaged = log.store.raw_entries(0, 10).await.unwrap();
    assert_eq!((damaged.len(), damaged[3].timestamp), (9, 7));
    assert_eq!(damaged[3].event_type, b"x-test:b");

    log.store.mend_entries(&leaves[3..5]).await.unwrap();

    assert_eq!(log.store.raw_entries(0, 10).await.unwrap(), whole);
}

async fn a_state_is_mended_only_while_it_is_the_damaged_one(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(10, "x-test:a").await;
    let right = log.store.log_end().await.unwrap().unwrap();
    assert_eq!((right.newest_id, right.newest_event_id), (10, 10));
    database.tamper("UPDATE log_state SET tree_size = 11, last_event_id = 3").await;
    let damaged = log.store.log_end().await.unwrap().unwrap().state;
    let timestamp = log.guard.timestamp;
    let (tree, chain_head) = (log.edge.root(), log.chain_head);
    let state = NewState { tree, chain_head, timestamp, epoch: 1 };

    assert!(!log.store.mend_state(&right.state, &state, 10).await.unwrap());
    assert!(log.store.mend_state(&damaged, &state, 10).await.unwrap());

    assert_eq!(log.store.log_end().await.unwrap().unwrap(), right);
    log.append(1, "x-test:a").await;
}

async fn a_run_of_hashes_is_compared_and_mended(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(4_000, "x-test:a").await;
    log.append(4_300, "x-test:a").await;
    assert_eq!(log.store.damaged_runs(0, 2).await.unwrap(), [0_u64; 0]);
    database.tamper("UPDATE view_entry_hashes SET id = id + 9000 WHERE id = 4200").await;
    assert_eq!(log.store.damaged_runs(0, 2).await.unwrap(), [1]);
    assert_eq!(log.store.damaged_runs(0, 1).await.unwrap(), [0_u64; 0]);

    log.store.mend_run(1).await.unwrap();

    assert_eq!(log.store.damaged_runs(0, 2).await.unwrap(), [0_u64; 0]);
}

async fn every_view_is_read_and_patched(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(3, "x-test:a").await;
    let size = TreeSize::ZERO.plus(3);
    for table in VIEWS {
        log.store.freeze().await.unwrap().rows(table, size, None).await.unwrap();
    }
    let counts = VIEWS.iter().find(|table| table.name == "view_event_counts").unwrap();
    let rows = log.store.freeze().await.unwrap().rows(counts, size, None).await.unwrap();
    database.tamper("UPDATE view_event_counts SET count = 9").await;
    let found = log.store.freeze().await.unwrap().rows(counts, size, None).await.unwrap();
    assert_ne!(found, rows);

    let change = RowChange { found: found.first().cloned(), right: rows.first().cloned() };
    log.store.mend_rows(counts, std::slice::from_ref(&change)).await.unwrap();
    assert_eq!(log.store.count("x-test:a").await.unwrap(), 3);
    log.append(1, "x-test:a").await;
    log.store.mend_rows(counts, &[change]).await.unwrap();
    assert_eq!(log.store.count("x-test:a").await.unwrap(), 4, "a row that moved on is left alone");
}

async fn a_list_by_type_shows_no_entry_of_another_type(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(3, "x-test:a").await;
    log.append(1, "x-test:b").await;
    database.tamper("UPDATE log_entries SET event_type = 'x-test:b' WHERE id = 2").await;

    let filter = diogenes_common::store::Filter {
        event_type: Some("x-test:b"),
        limit: 9,
        ..diogenes_common::store::Filter::default()
    };
    let listed = log.store.list(filter, 4).await;

    assert_eq!(listed.map(|_| ()), Err(StoreError::Corrupt { id: 2 }));
    assert_eq!(log.store.suspected().await, TileId { level: 0, index: 0 });
    assert_ne!(log.edge.root().hash, Hash::EMPTY_TREE);
}
