//! What only this node knows.

use diogenes_common::keys::{AnyFingerprint, Fingerprint};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::store::{
    CommitError, Cosignature, KeptHead, LocalWrite, NewEvidence, NewIncident, PendingKey,
    PendingOutcome, Remembered, ReportRow, ReservedKey,
};
use diogenes_common::view::WitnessRow;

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    an_idempotency_key_is_remembered_for_a_day,
    pending_keys_are_few_and_far_between,
    a_reservation_waits_until_it_expires,
    an_incident_is_opened_once_and_keeps_its_evidence,
    an_incident_is_found_beneath_a_thousand_newer_ones,
    only_newer_reports_and_cosignatures_count,
    cosignatures_that_nobody_needs_any_more_are_forgotten,
    heads_are_kept_until_the_tree_passes_them,
    local_rows_are_written_with_the_batch_or_not_at_all,
);

const DAY: i64 = 86_400_000;

fn key(n: u8) -> Fingerprint {
    Fingerprint::new(Hash::of(&[n]))
}

fn size(size: u64) -> TreeSize {
    TreeSize::new(size).unwrap()
}

fn remembered(key: &str, created_at: i64) -> Remembered {
    Remembered {
        principal: "alice".to_owned(),
        key: key.to_owned(),
        body_hash: Hash::of(key.as_bytes()),
        first_id: 1,
        count: 2,
        created_at: at(created_at),
    }
}

fn incident(subject: &str) -> NewIncident {
    NewIncident {
        kind: "fork".to_owned(),
        subject: subject.to_owned(),
        class: "latched".to_owned(),
        reason: "fork_same_size".to_owned(),
        detail: "two roots".to_owned(),
        opened_at: at(START),
        evidence: Some(NewEvidence {
            kind: "fork_same_size".to_owned(),
            created_at: at(START),
            bytes: vec![0, 255, 39],
        }),
    }
}

fn cosignature(tree_size: u64, by: u8, millis: i64, line: &str) -> Cosignature {
    Cosignature {
        tree_size: size(tree_size),
        fingerprint: key(by),
        name: format!("witness-{by}"),
        line: line.to_owned(),
        timestamp: at(millis),
    }
}

async fn an_idempotency_key_is_remembered_for_a_day(database: Database) {
    let mut log = Log::start(&database).await;
    let requests = ["one", "two", "three"].map(|key| ("alice".to_owned(), key.to_owned()));
    let mut batch = log.batch(2, "x-test:a");
    let rows = [remembered("one", START), remembered("two", START + 1)];
    batch.local = rows.iter().cloned().map(LocalWrite::Remember).collect();
    log.commit(&batch).await.unwrap();

    let found = async |millis| {
        let mut found = log.store.remembered(&requests, at(millis)).await.unwrap();
        found.sort_by_key(|row| row.created_at);
        found
    };
    assert_eq!(found(START + 2).await, rows);
    assert_eq!(found(START + DAY).await, rows[1..]);
    let others = [("bob".to_owned(), "one".to_owned())];
    assert_eq!(log.store.remembered(&others, at(START)).await, Ok(vec![]));

    // The same key again: refused while it is remembered, taken after that.
    let mut writer = log.clone();
    let mut again = writer.batch(1, "x-test:a");
    again.local = vec![LocalWrite::Remember(remembered("one", START + DAY - 1))];
    assert!(matches!(writer.commit(&again).await, Err(CommitError::Conflict(_))));
    again.local = vec![LocalWrite::Remember(remembered("one", START + DAY))];
    writer.commit(&again).await.unwrap();
    assert_eq!(log.store.expire_remembered(at(START + DAY + 1)).await, Ok(1));
    assert_eq!(found(START + DAY).await, [remembered("one", START + DAY)]);
}

async fn pending_keys_are_few_and_far_between(database: Database) {
    let store = database.open().await;
    let pending = |n: u8, network: &str, millis| PendingKey {
        fingerprint: key(n),
        public_key: "PEM".to_owned(),
        network: network.to_owned(),
        first_seen: at(millis),
        body: "{}".to_owned(),
    };
    let add = async |n, network: &str, millis| {
        store.add_pending(&pending(n, network, millis)).await.unwrap()
    };

    assert_eq!(add(0, "net-0", START).await, PendingOutcome::Listed);
    assert_eq!(add(0, "net-9", START).await, PendingOutcome::Known);
    assert_eq!(add(1, "net-0", START + 59_999).await, PendingOutcome::TooSoon);
    assert_eq!(add(1, "net-0", START + 60_000).await, PendingOutcome::Listed);
    for n in 2..64 {
        assert_eq!(add(n, &format!("net-{n}"), START + 60_000).await, PendingOutcome::Listed);
    }
    assert_eq!(add(64, "net-64", START + 70_000).await, PendingOutcome::Full);
    assert_eq!(store.pending(at(START + 70_000)).await.unwrap().len(), 64);
    assert_eq!(store.pending(at(START)).await.unwrap()[0], pending(0, "net-0", START));

    // A day later the first one made room.
    assert_eq!(store.pending(at(START + DAY)).await.unwrap().len(), 63);
    assert_eq!(add(64, "net-64", START + DAY).await, PendingOutcome::Listed);
    assert_eq!(add(65, "net-65", START + DAY).await, PendingOutcome::Full);
}

async fn a_reservation_waits_until_it_expires(database: Database) {
    let store = database.open().await;
    let named = |n: u8| match n {
        1 => AnyFingerprint::Full(key(1)),
        _ => AnyFingerprint::Short(key(n).short()),
    };
    let reserved = |n: u8, name: Option<&str>| ReservedKey {
        key: named(n),
        name: name.map(str::to_owned),
        category: "x-diogenes:witness".to_owned(),
        expires_at: at(START + i64::from(n)),
    };
    store.reserve(&reserved(1, None)).await.unwrap();
    store.reserve(&reserved(2, Some("old"))).await.unwrap();
    store.reserve(&reserved(2, Some("new"))).await.unwrap();

    assert_eq!(store.reserved(at(START)).await.unwrap().len(), 2);
    assert_eq!(store.reserved(at(START + 1)).await, Ok(vec![reserved(2, Some("new"))]));
    assert_eq!(store.unreserve(&named(2)).await, Ok(true));
    assert_eq!(store.unreserve(&named(2)).await, Ok(false));
}

async fn an_incident_is_opened_once_and_keeps_its_evidence(database: Database) {
    let store = database.open().await;

    let first = store.open_incident(&incident("peer-1")).await.unwrap();
    let second = store.open_incident(&incident("peer-2")).await.unwrap();

    assert_ne!(first, second);
    assert_eq!(store.open_incident(&incident("peer-1")).await, Ok(first));
    let open = store.incidents(true).await.unwrap();
    assert_eq!(open.iter().map(|incident| incident.id).collect::<Vec<_>>(), [second, first]);
    let evidence = store.evidence(open[1].evidence_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(evidence.bytes, [0, 255, 39]);
    assert_eq!(store.evidence(999).await, Ok(None));

    assert_eq!(store.ack_incident(first, at(START + 1)).await, Ok(true));
    assert_eq!(store.ack_incident(first, at(START + 2)).await, Ok(false));
    assert_eq!(store.close_incidents("fork", "peer-2", at(START + 3)).await, Ok(1));
    assert_eq!(store.incidents(true).await, Ok(vec![]));
    let acked = store.incidents(false).await.unwrap()[1].acked_at;
    assert_eq!(acked, Some(at(START + 1)));
    assert!(store.open_incident(&incident("peer-1")).await.unwrap() > second);
}

async fn an_incident_is_found_beneath_a_thousand_newer_ones(database: Database) {
    let mut log = Log::start(&database).await;
    let id = log.store.open_incident(&incident("peer")).await.unwrap();
    let transient =
        |n: u32| NewIncident { class: "transient".to_owned(), ..incident(&n.to_string()) };
    let mut batch = log.batch(1, "x-test:a");
    batch.local = (0..1_001).map(transient).map(LocalWrite::OpenIncident).collect();
    log.commit(&batch).await.unwrap();
    let store = &log.store;

    let newest = store.incidents(true).await.unwrap();
    let found = store.incident(id).await.unwrap().unwrap();

    assert!(newest.iter().all(|incident| incident.id != id));
    assert_eq!((found.id, &*found.subject, found.acked_at), (id, "peer", None));
    assert_eq!(store.open_incident_of("latched").await, Ok(Some(found)));
    assert_eq!(store.open_incident_of("transient").await, Ok(newest.first().cloned()));
    assert_eq!(store.ack_incident(id, at(START + 1)).await, Ok(true));
    let acked = store.incident(id).await.unwrap().unwrap();
    assert_eq!(acked.acked_at, Some(at(START + 1)));
    assert_eq!(store.open_incident_of("latched").await, Ok(None));
    assert_eq!(store.incident(id - 1).await, Ok(None));
}

async fn only_newer_reports_and_cosignatures_count(database: Database) {
    let store = database.open().await;
    let report = |millis, body: &str| ReportRow {
        follower: key(1),
        body: body.to_owned(),
        received_at: at(START),
        timestamp: at(millis),
    };
    assert_eq!(store.put_report(&report(START, "first")).await, Ok(true));
    assert_eq!(store.put_report(&report(START, "same time")).await, Ok(false));
    assert_eq!(store.put_report(&report(START - 1, "older")).await, Ok(false));
    assert_eq!(store.put_report(&report(START + 1, "newer")).await, Ok(true));
    assert_eq!(store.reports().await, Ok(vec![report(START + 1, "newer")]));

    let rows = [
        cosignature(5, 1, START, "old"),
        cosignature(5, 1, START + 1, "new"),
        cosignature(7, 1, START, "later"),
        cosignature(5, 2, START, "other"),
    ];
    store.put_cosignatures(&rows).await.unwrap();
    store.put_cosignatures(&rows[..1]).await.unwrap();
    let renamed = Cosignature {
        name: "another".to_owned(),
        ..cosignature(5, 1, START + 2, "under another name")
    };
    store.put_cosignatures(&[renamed]).await.unwrap();
    let mut at_five = store.cosignatures(size(0), 10).await.unwrap().split_off(1);
    at_five.sort_by(|a, b| a.line.cmp(&b.line));
    assert_eq!(at_five, [rows[1].clone(), rows[3].clone()]);
    assert_eq!(store.cosignatures(size(6), 10).await, Ok(vec![rows[2].clone()]));
    assert_eq!(store.last_cosignature(&key(1)).await, Ok(Some(rows[2].clone())));
    assert_eq!(store.last_cosignature(&key(3)).await, Ok(None));
    let at = async |sizes: &[TreeSize], keys: &[Fingerprint]| {
        store.cosignatures_at(sizes, keys).await.unwrap()
    };
    assert_eq!(
        at(&[size(5), size(6), size(7)], &[key(1), key(3)]).await,
        [rows[2].clone(), rows[1].clone()]
    );
    assert_eq!(at(&[size(5)], &[key(2)]).await, [rows[3].clone()]);
    assert_eq!((at(&[], &[key(1)]).await, at(&[size(5)], &[]).await), (vec![], vec![]));
}

async fn cosignatures_that_nobody_needs_any_more_are_forgotten(database: Database) {
    let mut log = Log::start(&database).await;
    let proven = WitnessRow {
        fingerprint: key(1),
        proof_id: 1,
        tree_size: size(5),
        root_hash: Hash::of(b"root"),
        signed_at: at(START),
        recorded_at: at(START),
        cosigner: None,
    };
    let mut batch = log.batch(1, "x-test:a");
    batch.views.witnesses = vec![proven];
    log.commit(&batch).await.unwrap();
    let store = &log.store;
    let rows = [(9, 1), (8, 1), (7, 1), (6, 2), (5, 1), (5, 2), (4, 1)];
    let rows = rows.map(|(size, by)| cosignature(size, by, START, "line"));
    store.put_cosignatures(&rows).await.unwrap();

    assert_eq!(store.thin_cosignatures(size(0)).await, Ok(0));
    assert_eq!(store.thin_cosignatures(size(8)).await, Ok(3));

    let left = store.cosignatures(size(0), 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|row| (row.tree_size.get(), row.fingerprint)).collect();
    assert_eq!(left, [(9, key(1)), (8, key(1)), (6, key(2)), (5, key(1))]);
}

async fn heads_are_kept_until_the_tree_passes_them(database: Database) {
    let mut log = Log::start(&database).await;
    let head = |n: u64| KeptHead {
        tree_size: size(n),
        timestamp: at(START),
        head_json: format!("{{\"tree_size\":{n}}}"),
    };
    log.store.keep_heads(&[head(9), head(3), head(5), head(3)]).await.unwrap();
    assert_eq!(log.store.kept_heads().await, Ok(vec![head(3), head(5), head(9)]));
    assert_eq!(log.store.forget_head(size(9), at(START)).await, Ok(true));
    assert_eq!(log.store.forget_head(size(9), at(START)).await, Ok(false));

    let mut batch = log.batch(4, "x-test:a");
    batch.local = vec![LocalWrite::ForgetHeads(size(4)), LocalWrite::KeepHead(head(12))];
    log.commit(&batch).await.unwrap();

    assert_eq!(log.store.kept_heads().await, Ok(vec![head(5), head(12)]));
}

async fn local_rows_are_written_with_the_batch_or_not_at_all(database: Database) {
    let mut log = Log::start(&database).await;
    let pending = PendingKey {
        fingerprint: key(1),
        public_key: "PEM".to_owned(),
        network: "net".to_owned(),
        first_seen: at(START),
        body: "{}".to_owned(),
    };
    log.store.add_pending(&pending).await.unwrap();
    log.store.put_meta("round", "0").await.unwrap();
    let mut batch = log.batch(1, "x-test:a");
    batch.local = vec![
        LocalWrite::DeletePending(key(1)),
        LocalWrite::DeleteReserved(AnyFingerprint::Full(key(1))),
        LocalWrite::PutMeta("round".to_owned(), "1".to_owned()),
        LocalWrite::PutMeta("round".to_owned(), "2".to_owned()),
        LocalWrite::OpenIncident(incident("peer")),
        LocalWrite::Cosign(cosignature(1, 1, START, "line")),
        LocalWrite::PinHead(batch.heads[0].clone()),
    ];
    let mut lost = batch.clone();
    lost.guard.writer += 1;

    assert_eq!(log.commit(&lost).await, Err(CommitError::NotLeader));
    assert_eq!(log.store.meta("round").await, Ok(Some("0".to_owned())));
    assert_eq!(log.store.pending(at(START)).await.unwrap().len(), 1);
    log.commit(&batch).await.unwrap();

    let store = &log.store;
    assert_eq!(store.meta("round").await, Ok(Some("2".to_owned())));
    assert_eq!(store.meta("none").await, Ok(None));
    assert_eq!(store.pending(at(START)).await, Ok(vec![]));
    assert_eq!(store.incidents(true).await.unwrap().len(), 1);
    assert_eq!(store.cosignatures(size(0), 10).await.unwrap().len(), 1);
    assert_eq!(store.heads_of(size(1)).await.unwrap().len(), 1);
}
