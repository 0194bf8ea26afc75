//! What is read is what was logged, or an error.

use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, NodeId, ProofPlan, TreeSize, verify_consistency};
use diogenes_common::merkle::{TreeRoot, verify_inclusion};
use diogenes_common::store::{Filter, Order, Span, StoreError};

use super::harness::{Database, Log, on_both};

on_both!(
    a_flipped_byte_is_never_served,
    a_damaged_tile_is_never_used,
    a_page_of_bytes_has_at_least_one_entry,
    lists_page_in_both_directions,
    proofs_of_any_past_size_come_from_tiles_and_edge,
    a_hash_prefix_is_found_in_runs_and_in_the_tail,
    ids_and_counts_answer_for_the_whole_log,
);

async fn a_flipped_byte_is_never_served(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(10, "x-test:a").await;
    let flip = if database.is_postgres() {
        "UPDATE log_entries SET leaf = set_byte(leaf, 20, get_byte(leaf, 20) # 1) WHERE id = 7"
    } else {
        "UPDATE log_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"n\":7', '\"n\":8')
         AS BLOB) WHERE id = 7"
    };
    database.tamper(flip).await;

    let damaged = StoreError::Corrupt { id: 7 };
    assert_eq!(log.store.entries(0, 10, u64::MAX).await.map(|_| ()), Err(damaged.clone()));
    assert_eq!(log.store.leaves(0, 10, u64::MAX).await, Err(damaged.clone()));
    assert_eq!(log.store.entry(7).await.map(|_| ()), Err(damaged.clone()));
    assert_eq!(log.store.load_edge(log.edge.size()).await, Err(damaged));
    assert_eq!(log.store.leaves(0, 6, u64::MAX).await.unwrap().len(), 6);
    assert_eq!(log.store.leaves(7, 10, u64::MAX).await.unwrap().len(), 3);
}

async fn a_damaged_tile_is_never_used(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(600, "x-test:a").await;
    database.tamper("DELETE FROM log_tiles WHERE idx = 1").await;

    let fresh = database.open().await;
    let missing = StoreError::CorruptTile { level: 0, index: 1 };
    assert_eq!(fresh.load_edge(TreeSize::new(600).unwrap()).await, Err(missing));
}

async fn a_page_of_bytes_has_at_least_one_entry(database: Database) {
    let mut log = Log::start(&database).await;
    let entries = log.append(10, "x-test:a").await;
    let two = (entries[3].bytes().len() + entries[4].bytes().len()) as u64;

    assert_eq!(log.store.leaves(3, 10, two).await.unwrap().len(), 2);
    assert_eq!(log.store.leaves(3, 10, two - 1).await.unwrap().len(), 1);
    assert_eq!(log.store.leaves(3, 10, 0).await.unwrap().len(), 1);
    assert_eq!(log.store.entries(3, 10, two).await.unwrap().len(), 2);
    assert_eq!(log.store.entries(3, 10, 0).await.unwrap().len(), 1);
    assert_eq!(log.store.leaves(10, 10, two).await.unwrap().len(), 0);
}

async fn lists_page_in_both_directions(database: Database) {
    let mut log = Log::start(&database).await;
    for _ in 0..5 {
        log.append(1, "x-test:a").await;
        log.append(1, "x-test:b").await;
    }
    let ids = async |filter: Filter<'_>, upto| -> Vec<u64> {
        log.store.list(filter, upto).await.unwrap().iter().map(Leaf::id).collect()
    };
    let all = Filter { limit: 4, ..Filter::default() };
    let some = Filter { event_type: Some("x-test:b"), limit: 2, ..Filter::default() };
    let order = Order::Descending;

    assert_eq!(ids(all, 10).await, [1, 2, 3, 4]);
    assert_eq!(ids(Filter { offset: 8, ..all }, 10).await, [9, 10]);
    assert_eq!(ids(Filter { after: 5, offset: 1, ..all }, 9).await, [7, 8, 9]);
    assert_eq!(ids(Filter { order, ..all }, 9).await, [9, 8, 7, 6]);
    assert_eq!(ids(Filter { order, offset: 4, ..all }, 10).await, [6, 5, 4, 3]);
    assert_eq!(ids(Filter { order, after: 8, ..all }, 10).await, [10, 9]);
    assert_eq!(ids(Filter { order, offset: 20, ..all }, 10).await, [0_u64; 0]);
    assert_eq!(ids(some, 10).await, [2, 4]);
    assert_eq!(ids(Filter { offset: 2, ..some }, 7).await, [6]);
    assert_eq!(ids(Filter { order, after: 4, ..some }, 10).await, [10, 8]);
}

async fn proofs_of_any_past_size_come_from_tiles_and_edge(database: Database) {
    let mut log = Log::start(&database).await;
    let mut roots = Vec::new();
    let mut leaves = Vec::new();
    for count in [1, 299, 400, 4000] {
        leaves.extend(log.append(count, "x-test:a").await);
        roots.push(log.edge.root());
    }
    let store = database.open().await;
    let edge = store.load_edge(log.edge.size()).await.unwrap();
    let proof = async |plan: ProofPlan| -> Vec<Hash> {
        plan.assemble(&store.nodes(plan.nodes(), &edge).await.unwrap())
    };

    for (older, newer) in [(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let (old, new): (TreeRoot, TreeRoot) = (roots[older], roots[newer]);
        let hashes = proof(ProofPlan::consistency(old.size, new.size).unwrap()).await;
        assert_eq!(verify_consistency(&old, &new, &hashes), Ok(()));
    }
    for (index, tree) in [(0, roots[3]), (4699, roots[3]), (299, roots[1]), (256, roots[2])] {
        let hashes = proof(ProofPlan::inclusion(index, tree.size).unwrap()).await;
        let leaf = leaves[usize::try_from(index).unwrap()].leaf_hash();
        assert_eq!(verify_inclusion(index, &leaf, &tree, &hashes), Ok(()));
    }
    let none: &[NodeId] = &[];
    assert_eq!(store.nodes(none, &edge).await, Ok(vec![]));
}

async fn a_hash_prefix_is_found_in_runs_and_in_the_tail(database: Database) {
    let mut log = Log::start(&database).await;
    let mut entries = log.append(3000, "x-test:a").await;
    // Completes two runs at once and ends within the third.
    entries.extend(log.append(4096, "x-test:a").await);
    entries.extend(log.append(1500, "x-test:a").await);
    let search = async |text: &str, upto| {
        log.store.search(text, Span { upto, ..Span::default() }).await.unwrap().ids
    };

    for id in [1, 2999, 4095, 4096, 4097, 8191, 8192, 8193, 8596_u64] {
        let hash = entries[usize::try_from(id - 1).unwrap()].entry_hash().to_hex();
        assert_eq!(search(&hash, 8596).await, [id], "{id}");
        assert_eq!(search(&format!("sha256:{}", &hash[..17]), 8596).await, [id], "{id}");
        assert!(search(&hash[..5], 8596).await.contains(&id), "{id}");
        // A reader of an older head does not see what came after it.
        assert_eq!(search(&hash, id - 1).await, [0_u64; 0], "{id}");
        assert_eq!(search(&hash, id).await, [id], "{id}");
    }
    let hash = entries[4096].entry_hash().to_hex();
    let other = format!("{}{}", &hash[..63], if hash.ends_with('0') { '1' } else { '0' });
    assert_eq!(search(&other, 8596).await, [0_u64; 0]);
}

async fn ids_and_counts_answer_for_the_whole_log(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(5, "x-test:a").await;
    log.append(2, "x-test:b").await;
    log.append(3, "x-test:a").await;
    let whole = Span { upto: 10, ..Span::default() };
    let search = async |text: &str| log.store.search(text, whole).await.unwrap().ids;

    assert_eq!(search("7").await, [7]);
    assert_eq!(search("11").await, [0_u64; 0]);
    assert_eq!(search("0").await, [0_u64; 0]);
    assert_eq!(log.store.count("x-test:a").await, Ok(8));
    assert_eq!(log.store.count("x-test:c").await, Ok(0));
    assert_eq!(
        log.store.counts().await,
        Ok(vec![("x-test:a".to_owned(), 8), ("x-test:b".to_owned(), 2)])
    );
    let ids: Vec<u64> =
        log.store.entries_of(&[9, 2, 40, 2]).await.unwrap().iter().map(Leaf::id).collect();
    assert_eq!(ids, [2, 9]);
}
