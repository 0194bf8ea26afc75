//! Auditors take the trail home, as a table or as a file that verifies without the log.

use diogenes_common::export::csv::{self, Guard};
use diogenes_common::export::verify::{Expected, verify};
use diogenes_common::keys::PublicKey;
use diogenes_common::wire::export::{ExportEntry, ExportPage};
use diogenes_common::wire::node::WellKnown;
use diogenes_tests::process::Machine;
use serde_json::{Value, json};

use crate::attestations::{body, manifest};
use crate::people::{Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, on_both};

on_both!(
    leader_and_follower_export_the_same_trail_whatever_is_asked_for,
    a_table_is_taken_back_to_the_very_entries,
    an_export_with_proofs_verifies_on_a_machine_without_a_network,
    an_export_ends_at_its_last_row_and_says_how_to_go_on,
);

const EXPORT: &str = "/api/v1/audit/export";

/// A pseudonym that a spreadsheet would execute.
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\",\"a\")";

/// A leader with two keys, an attestation and some events of a namespace, and a level follower.
async fn start(place: Place) -> (Site, Running) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, mallory) = (Holder::registered(leader, 1).await, Holder::new(2));
    assert_eq!(mallory.prove(leader, FORMULA).await.status, 201);
    let paper = body(&alice, &manifest("On lamps", &[]), "all", &json!({}));
    assert_eq!(leader.post("/api/v1/attestations", &paper).send().await.status, 201);
    append(leader, 5).await;
    let follower = site.follower().await;
    site.level(&follower).await;
    (site, follower)
}

async fn append(leader: &Running, count: usize) {
    let event = json!({ "event_type": "x-test:event", "payload": { "text": "\t=1+1\r\n" } });
    let events = json!(vec![event; count]);
    let answer = leader.post("/api/v1/log/entries", &events).token(TOKEN).send().await;
    assert_eq!(answer.status, 201, "{answer}");
}

async fn export(node: &Running, query: &str) -> Answer {
    let answer = node.get(&format!("{EXPORT}?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer}");
    answer
}

/// The ids that a file shows, and the file without what differs between nodes of one log.
fn comparable(file: &Value) -> (Vec<u64>, Value) {
    let mut file = file.clone();
    file["generated_at"] = Value::Null;
    file["tree_head"]["checkpoint"] = Value::Null;
    let entries = file["entries"].as_array().unwrap();
    (entries.iter().map(|entry| entry["id"].as_u64().unwrap()).collect(), file)
}

async fn leader_and_follower_export_the_same_trail_whatever_is_asked_for(place: Place) {
    let (site, follower) = start(place).await;
    let alice = Holder::new(1).fingerprint();
    let paper = manifest("On lamps", &[])["document"]["content_hash"].clone();
    let paper = paper.as_str().unwrap();
    let day = "start_date=2020-01-01&end_date=2099-12-31";
    for (query, expected) in [
        (String::new(), (1..=9).collect()),
        ("scope=all&proofs=true".to_owned(), (1..=9).collect()),
        ("scope=keys".to_owned(), vec![2, 3]),
        ("scope=attestations".to_owned(), vec![4]),
        ("scope=endorsements".to_owned(), vec![]),
        ("scope=trust".to_owned(), vec![]),
        ("scope=claims".to_owned(), vec![]),
        ("scope=federation".to_owned(), vec![1]),
        ("scope=witnesses".to_owned(), vec![]),
        (format!("fingerprint={alice}"), vec![2, 4]),
        (format!("fingerprint={alice}&scope=keys&{day}"), vec![2]),
        (format!("document_hash={paper}"), vec![4]),
        (format!("document_hash={}&fingerprint={alice}", &paper[7..]), vec![4]),
        (format!("document_hash={paper}&scope=keys"), vec![]),
        (format!("{day}&after=7"), vec![8, 9]),
        ("end_date=2020-01-01".to_owned(), vec![]),
        ("page_size=4&page=2".to_owned(), vec![5, 6, 7, 8]),
        ("page_size=1000&scope=keys&after=2".to_owned(), vec![3]),
    ] {
        let (ours, theirs) = (export(&site.leader, &query).await, export(&follower, &query).await);
        let (ids, file) = comparable(&ours.json());
        assert_eq!(ids, expected, "{query}");
        assert_eq!(comparable(&theirs.json()), (ids, file), "{query}");
        let lines = export(&site.leader, &format!("{query}&format=ndjson")).await;
        let lines = String::from_utf8(lines.body).unwrap();
        assert_eq!(lines.lines().count(), expected.len() + 1, "{query}");
        assert_eq!(lines.lines().skip(1).map(id_of).collect::<Vec<_>>(), expected, "{query}");
    }
    site.check().await;
}

fn id_of(line: &str) -> u64 {
    serde_json::from_str::<ExportEntry>(line).unwrap().id
}

async fn a_table_is_taken_back_to_the_very_entries(place: Place) {
    let (site, follower) = start(place).await;
    for (query, guard) in [("format=csv", Guard::On), ("format=csv&raw=true", Guard::Off)] {
        let ours = export(&site.leader, query).await;
        assert_eq!(ours.body, export(&follower, query).await.body);
        let table = String::from_utf8(ours.body).unwrap();
        assert!(table.contains(r"=HYPERLINK(\"), "the formula is there, inside the payload");
        let leaves = csv::leaves(&table, guard).unwrap();
        assert_eq!(leaves.len(), 9);
        for leaf in &leaves {
            let shown = site.leader.get(&format!("/api/v1/log/{}", leaf.id())).await;
            assert_eq!(String::from_utf8(shown.body).unwrap(), leaf.to_json());
        }
        for cell in csv::rows(&table).unwrap().into_iter().flatten() {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{cell}");
        }
    }
    let answer = export(&site.leader, "format=csv&scope=keys&page_size=1").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    let name = "attachment; filename=\"audit-keys-1.csv\"";
    assert_eq!(answer.header("content-disposition"), name);
    let next = "</api/v1/audit/export?format=csv&scope=keys&page_size=1&page=2>; rel=\"next\"";
    assert_eq!(answer.header("link"), next);
}

async fn an_export_with_proofs_verifies_on_a_machine_without_a_network(place: Place) {
    let (site, follower) = start(place).await;
    let known: WellKnown = site.leader.json("/.well-known/diogenes").await;
    let (key, origin): (PublicKey, _) = (known.operator_public_key, known.origin);
    let expected = Expected { operator: Some(key.fingerprint()), origin: Some(origin) };
    let auditor = Machine::new(env!("CARGO_BIN_EXE_diogenes-node"));
    for (node, query) in
        [(&site.leader, "format=json"), (&follower, "format=ndjson&scope=keys&page_size=1")]
    {
        let file = export(node, &format!("proofs=true&{query}")).await.body;
        let proven = verify(&file, &expected).unwrap();
        assert_eq!(proven.tree.size.get(), 9);
        let path = auditor.home().join("export");
        std::fs::write(&path, &file).unwrap();
        let (path, operator) = (path.to_str().unwrap(), key.fingerprint().to_string());
        let command = ["export", "verify", path, "--operator", &operator];
        let ended = auditor.run("auditor", "witness", &command, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert!(ended.output.contains("Proven: "), "{}", ended.output);

        let text = String::from_utf8(file).unwrap();
        std::fs::write(path, text.replacen("key_registration", "key_registratiom", 1)).unwrap();
        let ended = auditor.run("auditor", "witness", &command, &[]);
        assert_eq!(ended.code, Some(1), "{}", ended.output);
    }
    let table = export(&site.leader, "format=csv").await;
    let path = auditor.home().join("table");
    std::fs::write(&path, table.body).unwrap();
    let command = ["export", "verify", path.to_str().unwrap()];
    let ended = auditor.run("auditor", "witness", &command, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    assert!(ended.errors.contains("format=json&proofs=true"), "{}", ended.errors);
}

async fn an_export_ends_at_its_last_row_and_says_how_to_go_on(place: Place) {
    let site = place.start().await;
    for _ in 0..11 {
        append(&site.leader, 950).await;
    }
    let size = 1 + 11 * 950;
    for query in ["page=11&page_size=1000", "page=101", "page=34&page_size=300"] {
        let answer = site.leader.get(&format!("{EXPORT}?{query}")).await;
        assert_eq!(told(&answer), refused(422, "page_too_deep"), "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("narrow it"), "{answer}");
    }
    let (mut url, mut last) = (format!("{EXPORT}?page_size=1000"), 0);
    loop {
        let page: ExportPage = site.leader.json(&url).await;
        for entry in &page.entries {
            assert_eq!(entry.id, last + 1);
            last = entry.id;
        }
        let Some(next) = page.header.next else { break };
        url = next;
    }
    assert_eq!(last, size);
    let page: ExportPage = site.leader.json(&format!("{EXPORT}?page_size=1")).await;
    assert_eq!((page.header.total, page.header.total_capped), (10_000, true));
}
