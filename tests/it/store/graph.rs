//! What walks through endorsements read: in order, up to a limit, and as the rules say.

use diogenes_common::clock::Timestamp;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::statement::Category;
use diogenes_common::store::{EdgeFilter, EdgeRow, Moment};
use diogenes_common::trust::Side;
use diogenes_common::view::{
    Acceptance, EndorsementEnd, EndorsementEnding, EndorsementRow, EndorsementState,
};

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    a_state_in_sql_is_what_the_row_says,
    edges_come_key_by_key_and_a_limit_cuts_their_end,
    every_filter_holds_on_both_sides,
    only_what_concerns_keys_and_endorsements_makes_a_graph_newer,
);

const SIZE: u64 = 400;

fn key(n: u64) -> Fingerprint {
    Fingerprint::new(Hash::of(&n.to_be_bytes()))
}

fn now() -> Timestamp {
    at(START + 1_000)
}

fn moment() -> Moment {
    Moment { size: SIZE, at: now() }
}

fn row(offer_id: u64, endorser: u64, endorsed: u64) -> EndorsementRow {
    EndorsementRow {
        offer_id,
        endorser: key(endorser),
        endorsed: key(endorsed),
        category: Category::HumanAttestation,
        institution: None,
        offered_at: at(START),
        valid_until: None,
        leader_asserted: false,
        accepted: None,
        ended: None,
    }
}

fn accepted(row: EndorsementRow, active_from: Timestamp) -> EndorsementRow {
    let entry_id = row.offer_id + 1;
    let accepted = Acceptance { entry_id, at: at(START), active_from, level: None };
    EndorsementRow { accepted: Some(accepted), ..row }
}

/// One row for every way in which acceptance, end and expiry meet, all of one pair of keys.
fn every_state() -> Vec<EndorsementRow> {
    let mut rows = Vec::new();
    let instants = [None, Some(now().plus_millis(-1)), Some(now()), Some(now().plus_millis(1))];
    let endings = [
        EndorsementEnding::Withdrawn,
        EndorsementEnding::AcceptanceRevoked,
        EndorsementEnding::Expired,
        EndorsementEnding::Void,
    ];
    for active_from in instants {
        for valid_until in instants {
            for how in endings.map(Some).into_iter().chain([None]) {
                let offered = row(1 + 3 * rows.len() as u64, 1, 2);
                let offered = EndorsementRow { valid_until, ..offered };
                let row = match active_from {
                    Some(active_from) => accepted(offered, active_from),
                    None => offered,
                };
                let end = |how| EndorsementEnd { how, entry_id: row.offer_id + 2, at: now() };
                rows.push(EndorsementRow { ended: how.map(end), ..row.clone() });
            }
        }
    }
    rows
}

async fn filled(database: &Database, rows: Vec<EndorsementRow>) -> Log {
    let mut log = Log::start(database).await;
    let mut batch = log.batch(SIZE, "x-test:a");
    batch.views.endorsements = rows;
    log.commit(&batch).await.unwrap();
    log
}

fn ids(edges: &[EdgeRow]) -> Vec<u64> {
    edges.iter().map(|edge| edge.offer_id).collect()
}

async fn a_state_in_sql_is_what_the_row_says(database: Database) {
    let rows = every_state();
    let log = filled(&database, rows.clone()).await;

    for (side, of) in [(Side::Given, key(1)), (Side::Received, key(2))] {
        let of = [of];
        let edges = log.store.endorsement_edges(side, &of, &EdgeFilter::ALL, moment(), 1_000);
        let edges = edges.await.unwrap();
        assert_eq!(edges.len(), rows.len());
        for (edge, row) in edges.iter().zip(&rows) {
            assert_eq!((edge.offer_id, edge.state), (row.offer_id, row.state_at(now())), "{row:?}");
            assert_eq!(edge.active_from, row.accepted.map(|accepted| accepted.active_from));
            assert_eq!(edge.valid_until, row.valid_until);
            assert_eq!((edge.endorser, edge.endorsed), (row.endorser, row.endorsed));
        }
        for state in EndorsementState::ALL {
            let filter = EdgeFilter { state: Some(state), ..EdgeFilter::ALL };
            let edges = log.store.endorsement_edges(side, &of, &filter, moment(), 1_000);
            let expected = rows.iter().filter(|row| row.state_at(now()) == state);
            let expected: Vec<u64> = expected.map(|row| row.offer_id).collect();
            assert_eq!(ids(&edges.await.unwrap()), expected, "{side:?} {state:?}");
        }
    }
}

async fn edges_come_key_by_key_and_a_limit_cuts_their_end(database: Database) {
    // Key n gives to all others, the highest number first.
    let pairs = (0..10u64).flat_map(|from| (0..10).rev().map(move |to| (from, to)));
    let pairs: Vec<_> = pairs.filter(|(from, to)| from != to).collect();
    let rows = (1..).zip(&pairs).map(|(id, (from, to))| row(id, *from, *to)).collect();
    let log = filled(&database, rows).await;
    let asked = [key(7), key(2), key(5), key(99)];

    for side in [Side::Given, Side::Received] {
        let mut expected: Vec<(usize, String, u64)> = Vec::new();
        for (id, (from, to)) in (1..).zip(&pairs) {
            let (near, far) = if side == Side::Given { (*from, *to) } else { (*to, *from) };
            if let Some(place) = asked.iter().position(|of| *of == key(near)) {
                let far = if side == Side::Given { key(far).to_string() } else { String::new() };
                expected.push((place, far, id));
            }
        }
        expected.sort();
        let expected: Vec<u64> = expected.into_iter().map(|(_, _, id)| id).collect();
        for limit in [0, 1, 9, 10, 14, 27, 28] {
            let edges =
                log.store.endorsement_edges(side, &asked, &EdgeFilter::ALL, moment(), limit);
            let edges = ids(&edges.await.unwrap());
            assert_eq!(edges, expected[..limit.min(27)], "{side:?} {limit}");
        }
    }
}

async fn every_filter_holds_on_both_sides(database: Database) {
    let institutional = EndorsementRow {
        category: Category::InstitutionalEndorsement,
        institution: Some("sinope".to_owned()),
        ..accepted(row(11, 1, 2), now())
    };
    let other = EndorsementRow { institution: Some("corinth".to_owned()), ..institutional.clone() };
    let other = EndorsementRow { offer_id: 15, ..other };
    let itself = row(17, 1, 1);
    let beyond = row(SIZE + 1, 1, 2);
    let rows = vec![accepted(row(7, 1, 2), now()), institutional, other, itself, beyond];
    let log = filled(&database, rows).await;
    let all = EdgeFilter::ALL;
    let sinope = || Some("sinope".to_owned());
    let active = Some(EndorsementState::Active);
    let later = Some(EndorsementState::Accepted);
    let cases = [
        (all.clone(), vec![7, 11, 15]),
        (EdgeFilter { category: Some(Category::HumanAttestation), ..all.clone() }, vec![7]),
        (EdgeFilter { institution: sinope(), ..all.clone() }, vec![11]),
        (EdgeFilter { institution: sinope(), state: active, ..all.clone() }, vec![11]),
        (EdgeFilter { state: active, ..all.clone() }, vec![7, 11, 15]),
        (EdgeFilter { state: later, ..all.clone() }, vec![]),
        (EdgeFilter { after: 7, upto: 11, ..all.clone() }, vec![11]),
        (EdgeFilter { after: 7, ..all }, vec![11, 15]),
    ];

    for (filter, expected) in cases {
        for (side, of) in [(Side::Given, key(1)), (Side::Received, key(2))] {
            let of = [of];
            let edges = log.store.endorsement_edges(side, &of, &filter, moment(), 100);
            assert_eq!(ids(&edges.await.unwrap()), expected, "{side:?} {filter:?}");
        }
    }
}

async fn only_what_concerns_keys_and_endorsements_makes_a_graph_newer(database: Database) {
    let mut log = Log::start(&database).await;
    for (event_type, newest) in [
        ("x-test:a", 0),
        ("key_registration", 2),
        ("attestation", 2),
        ("endorsement_offer", 4),
        ("x-test:a", 4),
        ("endorsement_revocation_alert", 6),
    ] {
        log.append(1, event_type).await;
        let size = log.edge.size().get();
        assert_eq!(log.store.newest_graph_entry(size).await, Ok(newest), "{event_type}");
    }
    assert_eq!(log.store.newest_graph_entry(5).await, Ok(4), "as of an earlier size");
}
