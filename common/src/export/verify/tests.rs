use serde_json::json;

use super::*;
use crate::export::{Exported, Scope, json as json_file, ndjson};
use crate::head::TreeHead;
use crate::keys::SigningKey;
use crate::leaf::EventType;
use crate::merkle::{Edge, ProofPlan};

const COUNT: u64 = 5;

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn time(id: u64) -> Timestamp {
    Timestamp::from_millis(1_768_473_000_000 + 1000 * i64::try_from(id).unwrap()).unwrap()
}

/// A header and the entries of a small log, of which a file shows some.
fn export(shown: &[u64]) -> (ExportHeader, Vec<Exported>) {
    let (mut edge, mut leaves, mut previous) = (Edge::empty(), Vec::<Leaf>::new(), None);
    for id in 1..=COUNT {
        let name = if id == 2 { "key_revocation" } else { "x-test:event" };
        let payload = format!(r#"{{"é\"":[{id},null,"=1+1"]}}"#);
        let event_type: EventType = name.parse().unwrap();
        let leaf = Leaf::build(id, previous, time(id), &event_type, payload.as_bytes()).unwrap();
        previous = Some(leaf.entry_hash());
        edge.push(leaf.leaf_hash(), &mut Vec::new());
        leaves.push(leaf);
    }
    let head = TreeHead {
        chain_head: previous,
        epoch: 1,
        origin: "log.example/export".parse().unwrap(),
        root_hash: edge.root().hash,
        timestamp: time(COUNT),
        tree_size: edge.size(),
    };
    let filters = ExportFilters {
        scope: Scope::All,
        fingerprint: None,
        document_hash: None,
        start_date: None,
        end_date: None,
        after: 0,
    };
    let header = ExportHeader {
        count: shown.len() as u64,
        filters,
        generated_at: time(9),
        next: None,
        operator_public_key: key().public().clone(),
        page: 1,
        page_size: 100,
        proofs: true,
        total: shown.len() as u64,
        total_capped: false,
        tree_head: head.sign(&key()).to_json("checkpoint".to_owned(), 0),
    };
    let entry = |id: &u64| Exported {
        leaf: leaves[usize::try_from(id - 1).unwrap()].clone(),
        proof: ProofPlan::inclusion(id - 1, edge.size()).unwrap().read(&edge),
    };
    (header, shown.iter().map(entry).collect())
}

fn check(text: &str) -> Result<Proven, NotProven> {
    verify(text.as_bytes(), &Expected::default())
}

fn fault_of(text: &str) -> Option<EntryFault> {
    match check(text) {
        Err(NotProven::Entry { fault, .. }) => Some(fault),
        _ => None,
    }
}

#[test]
fn both_forms_of_an_export_prove_the_same() {
    let (header, entries) = export(&[2, 3, 5]);

    let proven = check(&json_file(&header, &entries)).unwrap();

    assert_eq!(check(&ndjson(&header, &entries)), Ok(proven.clone()));
    assert_eq!((proven.entries, proven.ids, proven.is_gapless), (3, Some((2, 5)), false));
    assert_eq!((proven.operator, proven.tree.size.get()), (key().fingerprint(), COUNT));
    let (header, entries) = export(&[2, 3, 4]);
    assert!(check(&ndjson(&header, &entries)).unwrap().is_gapless);
    let (header, entries) = export(&[]);
    for empty in [json_file(&header, &entries), ndjson(&header, &entries)] {
        assert_eq!(check(&empty).map(|proven| (proven.entries, proven.ids)), Ok((0, None)));
    }
}

#[test]
fn a_file_that_was_reformatted_still_verifies() {
    let (header, entries) = export(&[1, 2]);
    let value: Value = serde_json::from_str(&json_file(&header, &entries)).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(check(&pretty), check(&json_file(&header, &entries)));
    let lines = ndjson(&header, &entries).replace('\n', "\r\n\n");
    assert_eq!(check(&lines), check(&json_file(&header, &entries)));
}

#[test]
fn every_flipped_byte_is_noticed_or_changes_nothing_that_is_proven() {
    let (header, entries) = export(&[2, 3, 5]);
    for text in [json_file(&header, &entries), ndjson(&header, &entries)] {
        let proven = check(&text);
        assert!(proven.is_ok());
        for place in 0..text.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= flip;
                let verdict = verify(&bytes, &Expected::default());
                assert!(
                    verdict.is_err() || verdict == proven,
                    "byte {place} ^ {flip}: {verdict:?}"
                );
            }
        }
        let entries_from = text.find("\"entry_hash\"").unwrap();
        for place in entries_from..text.len() - 2 {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            let verdict = verify(&bytes, &Expected::default());
            assert!(verdict.is_err(), "byte {place} of an entry: {verdict:?}");
        }
    }
}

#[test]
fn an_entry_must_be_the_one_that_was_proven() {
    let (header, entries) = export(&[2, 3]);
    let text = json_file(&header, &entries);
    assert_eq!(fault_of(&text.replacen("[2,null", "[9,null", 1)), Some(EntryFault::OtherHash));
    let more = text.replacen("\"entry_hash\"", "\"effect\":\"none\",\"entry_hash\"", 1);
    assert_eq!(fault_of(&more), Some(EntryFault::OtherHash));
    let without = text.replacen("inclusion_proof", "exclusion_proof", 1);
    assert_eq!(fault_of(&without), Some(EntryFault::NoProof));
    let mut swapped = entries.clone();
    swapped[0].proof.clone_from(&entries[1].proof);
    let swapped = json_file(&header, &swapped);
    assert!(matches!(fault_of(&swapped), Some(EntryFault::Inclusion(_))));
    let (_, backwards) = export(&[3, 2]);
    assert_eq!(fault_of(&json_file(&header, &backwards)), Some(EntryFault::Order));
    let (_, twice) = export(&[2, 2]);
    assert_eq!(fault_of(&json_file(&header, &twice)), Some(EntryFault::Order));
}

#[test]
fn an_entry_must_fit_what_the_file_says_it_is_about() {
    let (header, entries) = export(&[2, 3]);
    let with = |change: fn(&mut ExportFilters)| {
        let mut header = header.clone();
        change(&mut header.filters);
        fault_of(&json_file(&header, &entries))
    };
    assert_eq!(with(|filters| filters.scope = Scope::Keys), Some(EntryFault::Filtered));
    assert_eq!(with(|filters| filters.start_date = Some(time(3))), Some(EntryFault::Filtered));
    assert_eq!(with(|filters| filters.end_date = Some(time(2))), Some(EntryFault::Filtered));
    assert_eq!(with(|filters| filters.after = 2), Some(EntryFault::Filtered));
    assert_eq!(with(|filters| filters.after = 1), None);
}

#[test]
fn a_file_is_of_the_log_that_was_named() {
    let (header, entries) = export(&[1]);
    let text = json_file(&header, &entries);
    let ask = |operator, origin: Option<&str>| {
        let origin = origin.map(|name| name.parse().unwrap());
        verify(text.as_bytes(), &Expected { operator, origin }).map(|_| ())
    };
    let (own, other) = (key().fingerprint(), SigningKey::from_seed([8; 32]).fingerprint());
    assert_eq!(ask(Some(own), Some("log.example/export")), Ok(()));
    assert_eq!(ask(Some(other), None), Err(NotProven::OtherKey { found: own }));
    let found = header.tree_head.origin.clone();
    assert_eq!(ask(None, Some("log.example/other")), Err(NotProven::OtherLog { found }));

    let stranger = SigningKey::from_seed([8; 32]);
    let forged = ExportHeader { operator_public_key: stranger.public().clone(), ..header };
    assert_eq!(
        check(&json_file(&forged, &entries)),
        Err(NotProven::Head(HeadError::UnauthorizedKey { found: own }))
    );
}

#[test]
fn what_cannot_be_checked_says_why() {
    let (header, entries) = export(&[1, 2]);
    let unreadable = |text: &str| match check(text) {
        Err(NotProven::Unreadable(reason)) => Some(reason),
        _ => None,
    };
    assert_eq!(unreadable("\"id\",\"timestamp\"\r\n"), Some(Unreadable::Csv));
    assert!(matches!(unreadable("{"), Some(Unreadable::Json { place: Place::File, .. })));
    assert!(matches!(unreadable("{}"), Some(Unreadable::Header(_))));
    assert!(matches!(unreadable("[]"), Some(Unreadable::Header(_))));
    let cut = ndjson(&header, &entries);
    let cut = &cut[..cut.len() - 20];
    let line = Place::Line(3);
    assert!(matches!(unreadable(cut), Some(Unreadable::Json { place, .. }) if place == line));
    let none = json_file(&ExportHeader { proofs: false, ..header.clone() }, &entries);
    assert_eq!(unreadable(&none), Some(Unreadable::NoProofs));
    let short = ndjson(&header, &entries[..1]);
    assert_eq!(check(&short), Err(NotProven::Count { found: 1, stated: 2 }));
    let odd = json!({ "entries": {} }).to_string();
    assert_eq!(unreadable(&odd), Some(Unreadable::Entries));
}
