//! What refers to a key or document is found, however much there is, from either end.

use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::store::{MAX_FOUND, Order, Referent, Span};
use diogenes_common::view::Reference;

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    who_reads_on_after_the_last_match_sees_every_match_once,
    what_refers_to_both_is_found_from_both_ends,
    a_search_reaches_as_far_as_its_span,
    an_entry_says_when_it_was_appended,
    entries_are_found_by_their_types,
);

const SIZE: u64 = 10_050;

fn document() -> Hash {
    Hash::of(b"document")
}

fn key() -> Fingerprint {
    Fingerprint::new(Hash::of(b"key"))
}

/// A log in which every entry refers to one document, and every thousandth to one key, too.
async fn start(database: &Database) -> Log {
    let mut log = Log::start(database).await;
    let mut batch = log.batch(SIZE, "x-test:a");
    let document = document().to_string();
    let refer = |id| Reference { kind: "document", value: document.clone(), id };
    batch.views.references = (1..=SIZE).map(refer).collect();
    let refer = |id| Reference { kind: "fingerprint", value: key().to_string(), id };
    batch.views.references.extend((1..=SIZE).filter(|id| id % 1000 == 0).map(refer));
    log.commit(&batch).await.unwrap();
    log
}

async fn who_reads_on_after_the_last_match_sees_every_match_once(database: Database) {
    let log = start(&database).await;
    let text = document().to_hex();
    let span = Span { after: 0, upto: SIZE, order: Order::Ascending };

    let first = log.store.referring(&Referent::document(&document()), span).await.unwrap();
    let searched = log.store.search(&text[..20], span).await.unwrap();
    assert_eq!((&first, first.has_more), (&searched, true));
    assert_eq!(first.ids, (1..=10_000).collect::<Vec<u64>>());
    assert_eq!(first.ids.len(), MAX_FOUND);

    let rest = Span { after: 10_000, ..span };
    let second = log.store.referring(&Referent::document(&document()), rest).await.unwrap();
    let searched = log.store.search(&text[..20], rest).await.unwrap();
    assert_eq!((&second, second.has_more), (&searched, false));
    assert_eq!(second.ids, (10_001..=SIZE).collect::<Vec<u64>>());

    let newest = Span { order: Order::Descending, ..span };
    let last = log.store.referring(&Referent::document(&document()), newest).await.unwrap();
    let searched = log.store.search(&text[..20], newest).await.unwrap();
    assert_eq!((&last, last.has_more), (&searched, true));
    assert_eq!(last.ids, (51..=SIZE).rev().collect::<Vec<u64>>());
}

async fn what_refers_to_both_is_found_from_both_ends(database: Database) {
    let log = start(&database).await;
    let (document, key) = (Referent::document(&document()), Referent::key(&key()));
    let span = Span { after: 1000, upto: 4000, order: Order::Ascending };
    let ids =
        async |one, other, span| log.store.referring_to_both(one, other, span).await.unwrap().ids;

    assert_eq!(ids(&document, &key, span).await, [2000, 3000, 4000]);
    assert_eq!(ids(&key, &document, span).await, [2000, 3000, 4000]);
    let newest = Span { order: Order::Descending, ..span };
    assert_eq!(ids(&document, &key, newest).await, [4000, 3000, 2000]);
    let other = Referent::document(&Hash::of(b"other"));
    assert_eq!(ids(&other, &key, span).await, [0_u64; 0]);
}

async fn a_search_reaches_as_far_as_its_span(database: Database) {
    let log = start(&database).await;
    // Within a whole run, at the end of one and in the tail.
    for id in [5, 4096, 8193, 10_050] {
        let hash = log.store.entry(id).await.unwrap().unwrap().entry_hash().to_hex();
        let found = async |after, upto, order| {
            log.store.search(&hash, Span { after, upto, order }).await.unwrap().ids
        };
        for order in [Order::Ascending, Order::Descending] {
            assert_eq!(found(0, SIZE, order).await, [id]);
            assert_eq!(found(id - 1, id, order).await, [id]);
            assert_eq!(found(id, SIZE, order).await, [0_u64; 0]);
            assert_eq!(found(0, id - 1, order).await, [0_u64; 0]);
        }
        let numbered = async |after| {
            let span = Span { after, upto: SIZE, order: Order::Ascending };
            log.store.search(&id.to_string(), span).await.unwrap().ids.contains(&id)
        };
        assert!(numbered(id - 1).await);
        assert!(!numbered(id).await);
    }
}

async fn an_entry_says_when_it_was_appended(database: Database) {
    let mut log = Log::start(&database).await;
    log.append(2, "x-test:a").await;
    log.append(1, "x-test:a").await;

    assert_eq!(log.store.time_of(2).await, Ok(Some(at(START))));
    assert_eq!(log.store.time_of(3).await, Ok(Some(at(START + 10))));
    assert_eq!(log.store.time_of(4).await, Ok(None));
}

async fn entries_are_found_by_their_types(database: Database) {
    let mut log = Log::start(&database).await;
    for (count, event_type) in [(3, "x-test:a"), (2, "x-test:b"), (1, "x-test:c"), (2, "x-test:a")]
    {
        let batch = log.batch(count, event_type);
        log.commit(&batch).await.unwrap();
    }
    let span = Span { after: 0, upto: 8, order: Order::Ascending };
    let found = async |types: &[&str], span| log.store.of_types(types, span).await.unwrap().ids;

    assert_eq!(found(&["x-test:a"], span).await, [1, 2, 3, 7, 8]);
    assert_eq!(found(&["x-test:c", "x-test:b"], span).await, [4, 5, 6]);
    let part = Span { after: 2, upto: 7, order: Order::Descending };
    assert_eq!(found(&["x-test:a", "x-test:c"], part).await, [7, 6, 3]);
    assert_eq!(found(&["x-test:d"], span).await, [0_u64; 0]);
    let those = async |ids: &[u64], types: &[&str]| log.store.of_those(ids, types).await.unwrap();
    assert_eq!(those(&[8, 5, 3, 6], &["x-test:a", "x-test:c"]).await, [8, 3, 6]);
    assert_eq!(those(&[], &["x-test:a"]).await, [0_u64; 0]);
}
