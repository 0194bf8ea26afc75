//! Views are written with the entries that change them and can be made anew.

use diogenes_common::keys::Fingerprint;
use diogenes_common::manifest::{AttestationId, Binds, Canonicalization};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::statement::Category;
use diogenes_common::store::Span;
use diogenes_common::trust::Level;
use diogenes_common::view::{
    self, Acceptance, AlertRow, AttestationRow, AttestedTypeRow, Changes, ClaimRow, Ended, Ending,
    EndorsedRow, EndorsementEnd, EndorsementEnding, EndorsementRow, KeyRow, Needs, Overlay,
    ProfileRow, Reference, Row as _, TrustConfigRow, WitnessRow,
};

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    an_overlay_loads_what_a_batch_wrote,
    a_later_batch_replaces_rows_and_adds_to_counts,
    keys_and_references_are_found,
    rebuilt_views_answer_as_before,
);

fn key(n: u8) -> Fingerprint {
    Fingerprint::new(Hash::of(&[n]))
}

fn key_row(n: u8, pseudonym: &str) -> KeyRow {
    KeyRow {
        fingerprint: key(n),
        public_key: format!("-----BEGIN PUBLIC KEY-----\n{n}\n-----END PUBLIC KEY-----\n"),
        algorithm: "ed25519".to_owned(),
        pseudonym: pseudonym.to_owned(),
        pseudonym_folded: pseudonym.to_lowercase(),
        registered_at: at(START),
        expires_at: n.is_multiple_of(2).then(|| at(START + 1)),
        entry_id: n.into(),
        proven: !n.is_multiple_of(2),
        first_entry_id: n.into(),
        used_v1: n.is_multiple_of(2),
        succeeds: n.is_multiple_of(2).then(|| key(9)),
        ended: None,
    }
}

fn attestation_row(n: u8, leader_asserted: bool) -> AttestationRow {
    AttestationRow {
        attestation_id: AttestationId::new(Hash::of(&[n])),
        manifest_hash: Hash::of(b"manifest"),
        content_hash: Hash::of(b"content"),
        signer: key(n),
        attestation_type: "x-a:b".to_owned(),
        binds: if leader_asserted { Binds::ManifestAndParents } else { Binds::All },
        canonicalization: Canonicalization::Legacy,
        entry_id: n.into(),
        at: at(START),
        leader_asserted,
    }
}

fn attested_type_row(n: u8) -> AttestedTypeRow {
    AttestedTypeRow {
        manifest_hash: Hash::of(b"manifest"),
        signer: key(n),
        binds: Binds::Manifest,
        attestation_type: "authorship".to_owned(),
    }
}

fn endorsed_row(n: u8, category: &str, name: Option<&str>) -> EndorsedRow {
    EndorsedRow {
        fingerprint: key(n),
        category: category.to_owned(),
        public_key: "PEM".to_owned(),
        name: name.map(str::to_owned),
        entry_id: n.into(),
        since: at(START),
        revoked_by: (n > 5).then_some(u64::from(n) + 1),
        after: TreeSize::new(n.into()).unwrap(),
    }
}

fn endorsement_row(offer_id: u64, is_over: bool) -> EndorsementRow {
    EndorsementRow {
        offer_id,
        endorser: key(1),
        endorsed: key(2),
        category: Category::InstitutionalEndorsement,
        institution: is_over.then(|| "\"agora\" 50%_".to_owned()),
        offered_at: at(START),
        valid_until: is_over.then(|| at(START + 9)),
        leader_asserted: is_over,
        accepted: is_over.then(|| Acceptance {
            entry_id: 7,
            at: at(START + 1),
            active_from: at(START + 2),
            level: Some(Level::LAST),
        }),
        ended: is_over.then(|| EndorsementEnd {
            how: EndorsementEnding::AcceptanceRevoked,
            entry_id: 8,
            at: at(START + 3),
        }),
    }
}

fn alert_row(n: u8, withdrawn_by: Option<u64>) -> AlertRow {
    let (endorser, compromised) = (key(n), key(4));
    AlertRow { endorser, compromised, entry_id: n.into(), at: at(START), withdrawn_by }
}

fn trust_config_row(n: u8, revoked_by: Option<u64>) -> TrustConfigRow {
    TrustConfigRow { fingerprint: key(n), entry_id: n.into(), at: at(START), revoked_by }
}

fn claim_row(n: u8, revealed_by: Option<u64>) -> ClaimRow {
    ClaimRow {
        commitment: Hash::of(&[n]),
        entry_id: n.into(),
        claimant: key(n),
        at: at(START),
        revealed_by,
    }
}

/// Rows with every optional column once set and once not, and text that needs escaping.
fn changes() -> Changes {
    let ended =
        |how, leader_asserted| Some(Ended { how, entry_id: 8, at: at(START + 3), leader_asserted });
    Changes {
        keys: vec![
            key_row(1, "Ünïcode \"quoted\" \\ 50%_"),
            KeyRow { ended: ended(Ending::Succeeded { by: key(1) }, false), ..key_row(2, "plain") },
            KeyRow { ended: ended(Ending::Revoked, true), ..key_row(4, "gone") },
        ],
        attestations: vec![attestation_row(1, false), attestation_row(2, true)],
        attested_types: vec![attested_type_row(1)],
        endorsements: vec![endorsement_row(5, false), endorsement_row(6, true)],
        alerts: vec![alert_row(1, None), alert_row(2, Some(8))],
        trust_configs: vec![trust_config_row(1, None), trust_config_row(2, Some(8))],
        claims: vec![claim_row(1, None), claim_row(2, Some(8))],
        new_keys: 3,
        endorsed: vec![
            endorsed_row(3, "x-diogenes:witness", Some("O'Brien; DROP TABLE view_keys")),
            endorsed_row(3, "x-diogenes:federation_operator", None),
            endorsed_row(6, "x-diogenes:witness", Some("12")),
        ],
        profiles: vec![ProfileRow {
            fingerprint: key(3),
            kind: "witness".to_owned(),
            display_name: "007".to_owned(),
            server: None,
            timestamp: at(START),
            entry_id: 3,
        }],
        witnesses: vec![WitnessRow {
            fingerprint: key(3),
            proof_id: 9,
            tree_size: TreeSize::new(8).unwrap(),
            root_hash: Hash::of(b"root"),
            signed_at: at(START - 5),
            recorded_at: at(START),
            cosigner: Some("witness-1".to_owned()),
        }],
        counts: [("x-test:a".to_owned(), 10)].into(),
        references: vec![
            Reference { kind: "fingerprint", value: key(1).to_string(), id: 1 },
            Reference { kind: "witness", value: key(3).to_string(), id: 4 },
            Reference { kind: "witness", value: key(3).to_string(), id: 9 },
        ],
        without_effect: vec![(5, "key_already_registered")],
        last_event_id: 8,
    }
}

/// Rows in the order of their keys.
fn sorted<R: view::Row>(rows: &[R]) -> Vec<R> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(view::Row::key);
    rows
}

async fn start_with_changes(database: &Database) -> Log {
    let mut log = Log::start(database).await;
    let mut batch = log.batch(10, "x-test:a");
    batch.views = changes();
    log.commit(&batch).await.unwrap();
    log
}

async fn an_overlay_loads_what_a_batch_wrote(database: Database) {
    let log = start_with_changes(&database).await;
    let mut needs = Needs::default();
    for row in [attestation_row(1, false), attestation_row(2, true), attestation_row(3, true)] {
        needs.attestations.insert(row.key());
    }
    needs.attested_types.extend([attested_type_row(1).key(), attested_type_row(2).key()]);
    for n in [1, 2, 3, 4, 6, 7] {
        needs.key(key(n));
        needs.profiles.insert(key(n));
        needs.witnesses.insert(key(n));
    }
    needs.offers.extend([5, 6, 7]);
    needs.alerts.extend([(key(1), key(4)), (key(2), key(4)), (key(3), key(4))]);
    needs.trust_configs.extend([key(1), key(2), key(3)]);
    needs.claims.extend([1, 2, 3].map(|n| claim_row(n, None).commitment));
    let mut overlay = Overlay::new(0);

    log.store.load_overlay(&needs, &mut overlay).await.unwrap();

    let expected = changes();
    for row in &expected.endorsements {
        assert_eq!(overlay.endorsements.find(row.offer_id), Some(row));
    }
    assert!(overlay.endorsements.find(7).is_none());
    assert_eq!(overlay.alerts.rows().cloned().collect::<Vec<_>>(), sorted(&expected.alerts));
    assert_eq!(overlay.trust_configs.rows().count(), 2);
    for row in &expected.trust_configs {
        assert_eq!(overlay.trust_configs.find(&row.fingerprint), Some(row));
    }
    assert_eq!(overlay.claims.rows().copied().collect::<Vec<_>>(), sorted(&expected.claims));
    assert_eq!(overlay.keys.rows().count(), 3);
    assert_eq!(log.store.count_keys().await.unwrap(), 3);
    let attestations: Vec<_> = overlay.attestations.rows().collect();
    assert_eq!(attestations.len(), 2);
    for row in &expected.attestations {
        assert_eq!(overlay.attestations.find(&row.key()), Some(row));
    }
    let types: Vec<_> = overlay.attested_types.rows().cloned().collect();
    assert_eq!(types, expected.attested_types);
    for row in &expected.keys {
        assert_eq!(overlay.keys.find(&row.fingerprint), Some(row));
    }
    for row in &expected.endorsed {
        let key = (row.fingerprint, row.category.clone());
        assert_eq!(overlay.endorsed.find(&key), Some(row));
    }
    assert_eq!(overlay.profiles.rows().collect::<Vec<_>>(), [&expected.profiles[0]]);
    assert_eq!(overlay.witnesses.rows().collect::<Vec<_>>(), [&expected.witnesses[0]]);
    // What is not there is known not to be there: nothing is asked for twice.
    assert!(overlay.missing(&needs).is_empty());
    assert_eq!(log.store.state().await.unwrap().unwrap().last_event_id, 8);
}

async fn a_later_batch_replaces_rows_and_adds_to_counts(database: Database) {
    let mut log = start_with_changes(&database).await;
    let mut batch = log.batch(2, "x-test:a");
    let renamed = KeyRow { proven: false, expires_at: None, ..key_row(1, "renamed") };
    let revoked =
        EndorsedRow { revoked_by: Some(12), ..endorsed_row(3, "x-diogenes:witness", None) };
    batch.views.keys = vec![renamed.clone()];
    batch.views.endorsed = vec![revoked.clone()];
    log.commit(&batch).await.unwrap();

    let store = &log.store;
    assert_eq!(store.key(&key(1)).await, Ok(Some(renamed)));
    assert_eq!(store.key(&key(9)).await, Ok(None));
    assert_eq!(store.count("x-test:a").await, Ok(12));
    let witnesses = store.endorsed("x-diogenes:witness").await.unwrap();
    assert_eq!(witnesses, [revoked, changes().endorsed[2].clone()]);
    let of_three = store.endorsements_of_short(key(3).short()).await.unwrap();
    assert_eq!(of_three.len(), 2);
    assert_eq!(store.endorsements_of_short(key(8).short()).await, Ok(vec![]));
    assert_eq!(store.keys_of_short(key(2).short()).await, Ok(vec![changes().keys[1].clone()]));
    assert_eq!(store.keys_of_short(key(8).short()).await, Ok(vec![]));
}

async fn keys_and_references_are_found(database: Database) {
    let log = start_with_changes(&database).await;
    let store = &log.store;
    let search = async |text: &str, upto| {
        store.search(text, Span { upto, ..Span::default() }).await.unwrap().ids
    };

    assert_eq!(search("ünïCODE", 10).await, [1]);
    assert_eq!(search("50%_", 10).await, [1]);
    assert_eq!(search("\\", 10).await, [1]);
    assert_eq!(search("%", 10).await, [1]);
    assert_eq!(search("_lain", 10).await, [0_u64; 0]);
    assert_eq!(search("plain", 1).await, [0_u64; 0]);
    assert_eq!(search(&key(3).to_string(), 10).await, [4, 9]);
    assert_eq!(search(&key(3).short().to_string(), 8).await, [4]);

    let witness = key(3).to_string();
    assert_eq!(store.refs("witness", &witness, 10, 0, 10).await, Ok(vec![9, 4]));
    assert_eq!(store.refs("witness", &witness, 8, 0, 10).await, Ok(vec![4]));
    assert_eq!(store.refs("witness", &witness, 10, 1, 1).await, Ok(vec![4]));
    assert_eq!(store.refs("fingerprint", &witness, 10, 0, 10).await, Ok(vec![]));
    assert_eq!(store.count_refs("witness", &witness, 4, 10).await, Ok(1));
    let reason = (5, "key_already_registered".to_owned());
    assert_eq!(store.without_effect(&[4, 5, 6]).await, Ok(vec![reason]));
}

async fn rebuilt_views_answer_as_before(database: Database) {
    let mut log = start_with_changes(&database).await;
    log.append(8300, "x-test:b").await;
    let store = &log.store;
    let hash = store.entry(5000).await.unwrap().unwrap().entry_hash().to_hex();
    let whole = Span { upto: 8310, ..Span::default() };
    let search = async |text: &str| store.search(text, whole).await.unwrap().ids;
    let before = store.counts().await;
    assert_eq!(search(&hash).await, [5000]);
    assert_eq!(store.view_version().await, Ok(Some(view::VERSION)));

    store.wipe_views().await.unwrap();
    assert_eq!(store.view_version().await, Ok(None));
    assert_eq!(store.counts().await, Ok(vec![]));
    assert_eq!(store.all_witnesses().await, Ok(vec![]));
    let size = |size| TreeSize::new(size).unwrap();
    store.rebuild_views(&changes(), size(0), size(10)).await.unwrap();
    let rest = Changes {
        counts: [("x-test:b".to_owned(), 8300)].into(),
        last_event_id: 8310,
        ..Changes::default()
    };
    store.rebuild_views(&rest, size(10), size(8310)).await.unwrap();
    store.views_rebuilt(view::VERSION + 1).await.unwrap();

    assert_eq!(store.view_version().await, Ok(Some(view::VERSION + 1)));
    assert_eq!(store.counts().await, before);
    assert_eq!(search(&hash).await, [5000]);
    assert_eq!(store.all_witnesses().await, Ok(changes().witnesses));
    assert_eq!(store.state().await.unwrap().unwrap().last_event_id, 8310);
}
