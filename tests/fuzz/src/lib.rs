//! Fuzz targets: one function per format that arrives from strangers, and per state machine that
//! decides about it.
//!
//! A target panics when a promise breaks. `tests/mutations.rs` runs all of them over mutated golden
//! vectors on any toolchain; the binaries in `targets/` hand them to libFuzzer (see the README).

// The leader's own reader. Not all of it is needed here, and what is not changes with the leader.
#[path = "../../../leader/src/entries/parse.rs"]
#[allow(dead_code)]
mod parse;

mod manifest;
mod scripts;
mod tlog;
mod witness;

// The state machines of follower and witness.
#[path = "../../../follower/src"]
#[allow(dead_code, unused_imports)]
mod follower {
    pub(crate) mod replica;
}
#[path = "../../../witness/src/judge/mod.rs"]
#[allow(dead_code)]
mod judge;

// The witness's own readers, and the names that they use.
#[path = "../../../witness/src/add_checkpoint/mod.rs"]
#[allow(dead_code)]
mod add_checkpoint;
#[path = "../../../witness/src/log.rs"]
#[allow(dead_code)]
mod log;
#[path = "../../../witness/src/log_list.rs"]
#[allow(dead_code)]
mod log_list;

use std::path::PathBuf;
use std::sync::LazyLock;

use diogenes_common::batch::{self, Batch, Chain, Encoding, Trust, verify_batch};
use diogenes_common::canonical::{self, MAX_DEPTH};
use diogenes_common::checkpoint::{self, Checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::event::Event;
use diogenes_common::head::{HeadJson, Origin};
use diogenes_common::keys::PublicKey;
use diogenes_common::leaf::{EventType, Leaf, LeafError, MAX_LEAF_BYTES};
use diogenes_common::merkle::Hash;
use diogenes_common::note::{Note, SignatureLine, Vkey, parse_signature_lines};
use diogenes_common::statement::{
    Claim, OperatorStatement, Profile, ProfileClaim, Refusal, RefusalClaim, ReplicationReport,
    ReportClaim, WitnessClaim, WitnessProof,
};
use serde_json::Value;

pub use manifest::manifest;
use parse::{Submission, Submitted};
pub use scripts::{judge, replica};
pub use tlog::{bundle, policy, tile_path, tlog_proof};
pub use witness::{checkpoint_request, list_of_logs};

/// A target under its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 22] = [
    ("canonical", canonical),
    ("leaf", leaf),
    ("batch_json", batch_json),
    ("batch_binary", batch_binary),
    ("head", head),
    ("note", note),
    ("checkpoint", checkpoint),
    ("signature_line", signature_line),
    ("evidence", evidence),
    ("witness_proof", witness_proof),
    ("report", report),
    ("statements", statements),
    ("submission", submission),
    ("manifest", manifest),
    ("tile_path", tile_path),
    ("bundle", bundle),
    ("policy", policy),
    ("tlog_proof", tlog_proof),
    ("add_checkpoint", checkpoint_request),
    ("log_list", list_of_logs),
    ("replica", replica),
    ("judge", judge),
];

/// The check of finished bytes succeeds exactly where reading and writing gives them back.
pub fn canonical(data: &[u8]) {
    let parsed = canonical::parse(data, MAX_DEPTH);
    let unchanged = parsed.as_ref().is_ok_and(|value| canonical::to_vec(value) == data);
    assert_eq!(canonical::check(data, MAX_DEPTH).is_ok(), unchanged);
    if let Ok(value) = parsed {
        let written = canonical::to_vec(&value);
        assert_eq!(canonical::parse(&written, MAX_DEPTH).as_ref(), Ok(&value));
        let legacy = canonical::to_legacy(&value);
        assert!(legacy.is_ascii());
        assert_eq!(canonical::parse(&legacy, MAX_DEPTH).as_ref(), Ok(&value));
    }
}

/// A leaf is what its parts build, whatever its event says, and survives its JSON view.
pub fn leaf(data: &[u8]) {
    let Ok(leaf) = Leaf::parse(data) else { return };
    assert_eq!(leaf.bytes(), data);
    let event_type: EventType = leaf.event_type().parse().expect("a leaf has an event type");
    let (id, previous, time) = (leaf.id(), leaf.previous_hash(), leaf.timestamp());
    let built = Leaf::build(id, previous, time, &event_type, leaf.payload());
    assert_eq!(built.as_ref(), Ok(&leaf));
    assert!(serde_json::from_str::<Value>(&leaf.to_json()).is_ok());
    let mut chain = GOLDEN.after_five.clone();
    if let Ok(event) = Event::parse(leaf.event_type(), leaf.payload()) {
        let before = chain.tree();
        if chain.extend(data, &mut Vec::new()).is_err() {
            assert_eq!(chain.tree(), before, "a refused entry changes nothing");
        }
        drop(event);
    }
}

/// A batch in JSON that can be read is read the same after writing, and is judged without a panic.
pub fn batch_json(data: &[u8]) {
    batch(data, Encoding::Json);
}

/// The same of a batch in binary.
pub fn batch_binary(data: &[u8]) {
    batch(data, Encoding::Binary);
}

fn batch(data: &[u8], encoding: Encoding) {
    let Ok(read) = batch::decode(data, encoding) else { return };
    for other in [Encoding::Binary, Encoding::Json] {
        let written = batch::encode(&read.header, &read.leaves, other);
        // Leaves that are none have no JSON view.
        let is_batch = read.leaves.iter().all(|leaf| Leaf::parse(leaf.as_slice()).is_ok());
        if other == Encoding::Binary || is_batch {
            assert_eq!(batch::decode(&written, other).as_ref(), Ok(&read));
        }
    }
    for chain in [&GOLDEN.empty, &GOLDEN.after_five] {
        if let Ok(verified) = verify_batch(chain, read.clone(), &[], GOLDEN.now) {
            assert_eq!(verified.chain.size().get(), read.header.next_after);
            assert!(verified.head.head().tree_size >= verified.chain.size());
        }
    }
}

/// No head verifies but those that were signed.
pub fn head(data: &[u8]) {
    let Ok(json) = serde_json::from_slice::<HeadJson>(data) else { return };
    if let Ok(signed) = json.verify(&GOLDEN.operator, &GOLDEN.origin) {
        let bytes = signed.head().signed_bytes();
        assert!(GOLDEN.signed.contains(&bytes), "a head that nobody signed");
    }
}

/// A signed note is shown as the bytes it was read from.
pub fn note(data: &[u8]) {
    if let Ok(note) = Note::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data);
        let _ = note.verify(&GOLDEN.vkeys);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(vkey) = text.parse::<Vkey>() {
        assert_eq!(vkey.to_string().parse().as_ref(), Ok(&vkey));
    }
    if let Ok(lines) = parse_signature_lines(text) {
        assert!(!lines.is_empty());
    }
}

/// A checkpoint is shown as the text it was read from, and opens only if the log signed it.
pub fn checkpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(opened) = checkpoint::open(text, GOLDEN.origin.as_str(), &GOLDEN.operator) {
        assert!(
            GOLDEN.checkpoints.contains(&opened.to_string()),
            "a checkpoint that nobody signed"
        );
    }
}

/// A signature line is shown as it was read; no cosignature verifies but the one that was made.
pub fn signature_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(line) = text.parse::<SignatureLine>() else { return };
    assert_eq!(line.to_string(), text);
    for signed in &GOLDEN.checkpoints {
        let signed: Checkpoint = signed.parse().expect("a golden checkpoint");
        if verify_cosignature(&line, &signed, &GOLDEN.witness).is_ok() {
            assert!(GOLDEN.cosignatures.iter().any(|made| line.signature() == made.signature()));
        }
    }
}

/// Evidence proves nothing against a key that did not sign it.
pub fn evidence(data: &[u8]) {
    if let Ok(proven) = diogenes_common::evidence::verify(data, None, None) {
        let accused = [GOLDEN.operator.fingerprint(), GOLDEN.witness.fingerprint()];
        assert!(accused.contains(&proven.fingerprint));
    }
}

/// No witness proof holds but those that were signed.
pub fn witness_proof(data: &[u8]) {
    let Ok(proof) = serde_json::from_slice::<WitnessProof>(data) else { return };
    if proof.check().is_ok() {
        assert!(GOLDEN.signed.contains(&proof.claim().signed_bytes()), "nobody signed this");
    }
}

/// No report holds but those that were signed.
pub fn report(data: &[u8]) {
    let Ok(report) = serde_json::from_slice::<ReplicationReport>(data) else { return };
    if let Ok(verified) = report.verify(&GOLDEN.follower) {
        assert!(GOLDEN.signed.contains(&verified.claim().signed_bytes()), "nobody signed this");
    }
}

/// Signed bytes that can be read are exactly what the claim's signer signs.
pub fn statements(data: &[u8]) {
    fn check<T: Claim>(data: &[u8]) {
        if let Some(claim) = T::from_signed_bytes(data) {
            assert_eq!(claim.signed_bytes(), data);
        }
    }
    check::<OperatorStatement>(data);
    check::<ProfileClaim>(data);
    check::<RefusalClaim>(data);
    check::<ReportClaim>(data);
    check::<WitnessClaim>(data);
    if let Ok(profile) = serde_json::from_slice::<Profile>(data)
        && profile.check(&GOLDEN.witness).is_ok()
    {
        assert!(GOLDEN.signed.contains(&profile.claim().signed_bytes()), "nobody signed this");
    }
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(data) {
        let _ = refusal.verify();
    }
}

/// Nothing that the leader accepts is refused by a follower.
///
/// The body goes through the leader's own reader. What it reads as an event of an application is
/// accepted, unless it is too large; and whatever the leader's chain accepts, of any type, reaches
/// a follower in both encodings, verifies there and gives the same tree.
pub fn submission(data: &[u8]) {
    for submitted in [parse::json(data), parse::ndjson(data)].into_iter().flatten() {
        let events = match submitted {
            Submission::One(event) => vec![event],
            Submission::Many(events) => events,
        };
        replicate(&events);
    }
}

fn replicate(events: &[Submitted]) {
    let mut leader = GOLDEN.after_five.clone();
    let mut leaves = Vec::new();
    for event in events {
        let id = leader.size().get() + 1;
        let time = leader.last_timestamp().expect("the chain is not empty").plus_millis(1);
        let built = Leaf::build(id, leader.chain_head(), time, &event.event_type, &event.payload);
        let leaf = match built {
            Ok(leaf) => leaf,
            Err(LeafError::TooLarge { length }) => {
                assert!(length > MAX_LEAF_BYTES || event.payload.len() > MAX_LEAF_BYTES);
                return;
            }
            Err(error) => panic!("the reader let through what is no leaf: {error}"),
        };
        match leader.append(leaf.clone(), &mut Vec::new()) {
            Ok(_) => leaves.push(leaf.bytes().to_vec()),
            Err(fault) => {
                assert!(!event.event_type.is_namespaced(), "{fault}");
                return;
            }
        }
    }
    for encoding in [Encoding::Json, Encoding::Binary] {
        let header = GOLDEN.second_batch.header.clone();
        let bytes = batch::encode(&header, &leaves, encoding);
        let Batch { leaves: received, .. } =
            batch::decode(&bytes, encoding).expect("what a leader encodes can be decoded");
        let mut follower = GOLDEN.after_five.clone();
        for leaf in received {
            follower
                .extend(leaf, &mut Vec::new())
                .expect("a follower takes what a leader accepted");
        }
        assert_eq!(follower.tree(), leader.tree());
        assert_eq!(follower.chain_head(), leader.chain_head());
    }
}

/// Inputs to begin with: the golden vectors in the form that the target reads.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let file = |name: &str| std::fs::read(folder().join(name)).expect("a golden vector");
    let bodies = |names: &[&str]| -> Vec<Vec<u8>> {
        let all = golden("statements.json");
        let all = all.as_array().into_iter().flatten();
        all.filter(|case| names.iter().any(|name| case["name"] == *name))
            .map(|case| canonical::to_vec(&case["body"]))
            .collect()
    };
    if let Some(seeds) = tlog::seeds(target)
        .or_else(|| witness::seeds(target))
        .or_else(|| manifest::seeds(target))
        .or_else(|| scripts::seeds(target))
    {
        return seeds;
    }
    let notes = || texts(&golden("checkpoint.json"), &["note", "cosigned_note"]);
    match target {
        "canonical" => {
            let cases = golden("canonical.json");
            let cases = cases["accepted"].as_array().into_iter().chain(cases["refused"].as_array());
            cases.flatten().flat_map(|case| texts(case, &["input"])).collect()
        }
        "leaf" => GOLDEN.leaves.clone(),
        "batch_json" => vec![file("batch-1.json"), file("batch-2.json")],
        "batch_binary" => vec![file("batch-1.bin"), file("batch-2.bin")],
        "head" => {
            let heads = golden("tree-heads.json");
            let heads = heads.as_array().into_iter().flatten();
            heads.map(|head| canonical::to_vec(&head["json"])).collect()
        }
        "note" => {
            let vkeys = texts(&golden("checkpoint.json"), &["log_vkey", "witness_vkey"]);
            [notes(), vkeys].concat()
        }
        "checkpoint" => [notes(), texts(&golden("checkpoint.json"), &["text"])].concat(),
        "signature_line" => texts(&golden("checkpoint.json"), &["cosignature"]),
        "evidence" => {
            let cases = golden("evidence.json");
            let cases = cases.as_array().into_iter().flatten();
            cases.filter_map(|case| case["file"].as_str().map(file)).collect()
        }
        "witness_proof" => bodies(&["witness_proof"]),
        "report" => bodies(&["replication_report", "replication_report_before_the_first_head"]),
        "statements" => {
            let all = golden("statements.json");
            let all = all.as_array().into_iter().flatten();
            let signed: Vec<Vec<u8>> = all.flat_map(|case| texts(case, &["signed"])).collect();
            [signed, bodies(&["operator_profile", "witness_refusal"])].concat()
        }
        _ => submissions(),
    }
}

fn submissions() -> Vec<Vec<u8>> {
    let events: Vec<String> = GOLDEN
        .leaves
        .iter()
        .filter_map(|leaf| Leaf::parse(leaf.as_slice()).ok())
        .map(|leaf| {
            let payload = String::from_utf8_lossy(leaf.payload()).into_owned();
            format!("{{\"event_type\":\"{}\",\"payload\":{payload}}}", leaf.event_type())
        })
        .collect();
    let spelled = r#" { "payload" : {"\u0061":1.50,"b":[1e2,-0,"\ud83d\ude00"]},
        "event_type" : "x-a:b" } "#;
    let array = format!("[{}]", events.join(","));
    let lines = events.join("\n");
    events.into_iter().chain([spelled.to_owned(), array, lines]).map(String::into_bytes).collect()
}

/// What the golden vectors hold, read once.
struct Golden {
    empty: Chain,
    after_five: Chain,
    second_batch: Batch,
    leaves: Vec<Vec<u8>>,
    origin: Origin,
    now: Timestamp,
    operator: PublicKey,
    follower: PublicKey,
    witness: PublicKey,
    vkeys: Vec<Vkey>,
    checkpoints: Vec<String>,
    cosignatures: Vec<SignatureLine>,
    /// The signed bytes of everything that is signed in the vectors.
    signed: Vec<Vec<u8>>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(Golden::read);

impl Golden {
    fn read() -> Self {
        let log = golden("log.json");
        let leaves: Vec<Vec<u8>> = log["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|e| texts(e, &["leaf"]))
            .collect();
        let operator = key("operator");
        let empty = Chain::new(Trust { operator: operator.fingerprint() });
        let mut after_five = empty.clone();
        for leaf in &leaves[..5] {
            after_five.extend(leaf.clone(), &mut Vec::new()).expect("a golden leaf");
        }
        let second = std::fs::read(folder().join("batch-2.json")).expect("a golden vector");
        let (heads, said) = (golden("tree-heads.json"), golden("statements.json"));
        let all = heads.as_array().into_iter().chain(said.as_array()).flatten();
        let point = golden("checkpoint.json");
        let text = |name: &str| point[name].as_str().expect("a text").to_owned();
        let head_notes = heads.as_array().into_iter().flatten();
        let checkpoints = head_notes
            .filter_map(|head| head["json"]["checkpoint"].as_str())
            .filter_map(|note| Some(Note::parse(note.as_bytes()).ok()?.text().to_owned()))
            .chain([text("text")])
            .collect();
        let lines = said
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|case| case["body"]["cosignature"].as_str().map(str::to_owned))
            .chain([text("cosignature")]);
        Self {
            after_five,
            second_batch: batch::decode(&second, Encoding::Json).expect("a golden batch"),
            origin: serde_json::from_value(log["origin"].clone()).expect("an origin"),
            now: "2026-01-15T10:31:00.000Z".parse().expect("a time"),
            follower: key("follower"),
            witness: key("witness"),
            vkeys: ["log_vkey", "witness_vkey"]
                .map(|name| text(name).parse().expect("a vkey"))
                .to_vec(),
            checkpoints,
            cosignatures: lines.map(|line| line.parse().expect("a golden line")).collect(),
            signed: all.flat_map(|case| texts(case, &["signed"])).collect(),
            empty,
            leaves,
            operator,
        }
    }
}

fn key(role: &str) -> PublicKey {
    let keys = golden("keys.json");
    let found = keys.as_array().into_iter().flatten().find(|key| key["role"] == role);
    let pem = found.and_then(|key| key["public_key"].as_str()).expect("a golden key");
    PublicKey::from_pem(pem).expect("a golden key")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors/golden")
}

fn golden(name: &str) -> Value {
    let bytes = std::fs::read(folder().join(name)).expect("a golden vector");
    serde_json::from_slice(&bytes).expect("golden vectors are JSON")
}

fn texts(case: &Value, names: &[&str]) -> Vec<Vec<u8>> {
    names
        .iter()
        .filter_map(|name| case[*name].as_str())
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

/// Hashes an input, so that a failure can name it.
pub fn name_of(data: &[u8]) -> String {
    Hash::of(data).to_hex()
}
