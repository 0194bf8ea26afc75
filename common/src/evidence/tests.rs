//! Every kind of evidence proves what it says, and nothing else does.

mod weighing;

use super::*;
use crate::batch::testlog::{TestLog, time};
use crate::checkpoint::{Checkpoint, sign_checkpoint};
use crate::cosignature::cosign;
use crate::head::TreeHead;
use crate::keys::SigningKey;
use crate::note::{KeyName, Note};
use crate::statement::{ProfileClaim, ProfileType, WitnessClaim};

const END: u64 = 300;

fn observed() -> Observed {
    Observed { at: time(999_999), by: "mirror".to_owned() }
}

fn accused(log: &TestLog) -> Accused {
    (&log.log()).into()
}

fn witness() -> SigningKey {
    SigningKey::from_seed([8; 32])
}

/// The history that `log` has up to size 200 and another one after it.
fn forked(log: &TestLog) -> TestLog {
    let mut other = log.clone();
    other.leaves.truncate(200);
    other.push("x-test:event", b"{\"other\":true}");
    other.grow(END - 201);
    other
}

fn head(log: &TestLog, size: u64, change: impl FnOnce(&mut TreeHead)) -> SignedHead {
    let mut claim = log.claim(size);
    change(&mut claim);
    claim.sign(&log.operator)
}

fn inclusion(log: &TestLog, index: u64, size: u64) -> Proof {
    let leaf = log.leaves[usize::try_from(index).expect("a small index")].clone();
    Proof::inclusion(leaf, index, log.tree(size), log.inclusion(index, size))
}

fn step(log: &TestLog, first: u64, second: u64) -> Proof {
    Proof::consistency(log.tree(first), log.tree(second), log.consistency(first, second))
}

fn witnessed(log: &TestLog, old: u64, new: u64) -> Statement {
    let claim = WitnessClaim {
        new_root: log.tree(new).hash,
        new_tree_size: TreeSize::ZERO.plus(new),
        old_root: log.tree(old).hash,
        old_tree_size: TreeSize::ZERO.plus(old),
        origin: TestLog::origin(),
        timestamp: time(new),
        witness: witness().fingerprint(),
    };
    (&claim.into_proof(&witness(), TestLog::json(&log.head(new)), None)).into()
}

fn checkpoint(log: &TestLog, size: u64) -> String {
    let checkpoint = Checkpoint::new(TestLog::origin().as_str(), log.tree(size)).expect("one");
    sign_checkpoint(&checkpoint, &TestLog::origin().as_str().parse().expect("one"), &log.operator)
}

fn cosigned(log: &TestLog, size: u64) -> Statement {
    let note = Note::parse(checkpoint(log, size).as_bytes()).expect("a note");
    let name: KeyName = "witness.example".parse().expect("a name");
    let line = cosign(&note.text().parse().expect("one"), time(size), &name, &witness());
    Statement::Cosignature { note: note.with(line).expect("room").to_string() }
}

fn contradicting(kind: Contradiction, heads: [&SignedHead; 2]) -> Evidence {
    contradiction(kind, accused(&TestLog::new(1)), heads, &observed())
}

/// A log whose last entry names another predecessor.
fn bad_log() -> TestLog {
    let mut log = TestLog::new(20);
    log.forge(22, Some(Hash::of(b"other")), time(22), "x-test:event", b"{}");
    log
}

/// One file of every kind, in each of its shapes.
fn files() -> Vec<(&'static str, Evidence)> {
    let log = TestLog::new(END - 1);
    let other = forked(&log);
    let (at, by) = (accused(&log), observed());
    let plain = |size| head(&log, size, |_| {});
    let two_roots = contradicting(Contradiction::ForkSameSize, [&plain(250), &other.head(250)]);
    let chain_only = head(&log, 9, |head| head.chain_head = Some(Hash::of(b"other")));
    let two_chains = contradicting(Contradiction::ForkSameSize, [&plain(9), &chain_only]);
    let late = head(&log, 250, |head| head.timestamp = time(500));
    let truncated = contradicting(Contradiction::Truncated, [&plain(290), &late]);
    let regressed = contradicting(Contradiction::TimestampRegressed, [&late, &plain(290)]);
    let notes = [Statement::Checkpoint { note: checkpoint(&log, 250) }, (&other.head(END)).into()];
    let heads = [(&plain(250)).into(), (&other.head(END)).into()];
    let direct = fork_prefix(at.clone(), heads, vec![step(&other, 250, END)], &by);
    let steps = vec![step(&other, 280, END), step(&other, 250, 280)];
    let chained = fork_prefix(at.clone(), notes, steps, &by);
    let mismatch = head(&log, 77, |head| head.chain_head = Some(Hash::of(b"other")));
    let mismatch = chain_merkle_mismatch(at.clone(), &mismatch, inclusion(&log, 76, 77), &by);
    let bad = bad_log();
    let proofs = vec![inclusion(&bad, 21, 22), inclusion(&bad, 20, 22)];
    let bad = bad_entry(at.clone(), &bad.head(22), proofs, "previous".into(), &by);
    let about =
        Accused { key: witness().public().clone(), fingerprint: witness().fingerprint(), ..at };
    let proofs = [witnessed(&log, 10, 250), witnessed(&other, 250, END)];
    let same_size = witness_equivocated(about.clone(), proofs, Vec::new(), &by);
    let pair = [cosigned(&log, 250), witnessed(&other, 10, END)];
    let steps = vec![step(&other, 250, END)];
    let stepped = witness_equivocated(Accused::witness(witness().public()), pair, steps, &by);
    vec![
        ("two roots", two_roots),
        ("two chain heads", two_chains),
        ("truncated", truncated),
        ("regressed", regressed),
        ("fork prefix", direct),
        ("fork prefix in steps, with a checkpoint", chained),
        ("chain head beside the tree", mismatch),
        ("bad entry", bad),
        ("witness, same size", same_size),
        ("witness, in steps, with a cosignature", stepped),
    ]
}

fn not_proven(evidence: &Evidence) -> NotProven {
    match verify(&evidence.to_bytes(), None, None) {
        Err(EvidenceError::NotProven(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_is_proven_from_its_bytes_alone() {
    let id = TestLog::new(0).log().id();
    for (name, evidence) in files() {
        let of_witness = evidence.kind == Kind::WitnessEquivocated;
        let key = if of_witness { witness() } else { TestLog::new(0).operator };
        let log_id = evidence.accused.genesis.is_some().then_some(id);

        let proven = verify(&evidence.to_bytes(), log_id, Some(key.fingerprint()));

        let kind = evidence.kind;
        assert_eq!(proven, Ok(Proven { log_id, fingerprint: key.fingerprint(), kind }), "{name}");
    }
}

#[test]
fn no_changed_byte_proves_anything_else() {
    for (name, evidence) in files() {
        let bytes = evidence.to_bytes();
        let original = verify(&bytes, None, None).expect("proven");
        for at in (0..bytes.len()).step_by(11).chain(bytes.len() - 200..bytes.len()) {
            for bit in [1, 0x20] {
                let mut tampered = bytes.clone();
                tampered[at] ^= bit;
                let Ok(proven) = verify(&tampered, None, None) else { continue };
                // A changed genesis is another log's, which the caller's comparison tells.
                assert_eq!(
                    (proven.kind, proven.fingerprint),
                    (original.kind, original.fingerprint)
                );
                let read: Evidence = serde_json::from_slice(&tampered).expect("readable");
                let same_log = read.accused == evidence.accused;
                assert_eq!(proven.log_id == original.log_id, same_log, "{name} at {at}");
                let claims = (&read.statements, &read.proofs);
                // Signature lines of other keys below a checkpoint are no part of the statement.
                let noted =
                    evidence.statements.iter().any(|s| matches!(s, Statement::Cosignature { .. }));
                assert!(noted || claims == (&evidence.statements, &evidence.proofs), "{name}");
            }
        }
    }
}

#[test]
fn what_anyone_can_write_changes_nothing() {
    for (_, evidence) in files() {
        let told = Evidence {
            explanation: "trust me".to_owned(),
            observer: "somebody".to_owned(),
            observed_at: time(0),
            ..evidence.clone()
        };
        let verdict = verify(&told.to_bytes(), None, None);
        assert_eq!(verdict, verify(&evidence.to_bytes(), None, None));
        assert!(verdict.is_ok());
    }
}

#[test]
fn evidence_is_about_the_log_and_the_key_that_were_asked_for() {
    let (_, evidence) = files().swap_remove(0);
    let bytes = evidence.to_bytes();
    let other_log = verify(&bytes, Some(Hash::of(b"other")), None);
    assert_eq!(other_log, Err(NotProven::OtherLog.into()));
    let other_key = verify(&bytes, None, Some(witness().fingerprint()));
    assert_eq!(other_key, Err(NotProven::OtherKey.into()));
}

#[test]
fn honest_statements_prove_nothing() {
    let log = TestLog::new(END - 1);
    let (at, by) = (accused(&log), observed());
    let heads = || [log.head(250), log.head(END)];
    for kind in
        [Contradiction::ForkSameSize, Contradiction::Truncated, Contradiction::TimestampRegressed]
    {
        let [a, b] = &heads();
        assert_eq!(not_proven(&contradicting(kind, [a, b])), NotProven::NoContradiction);
        assert_eq!(not_proven(&contradicting(kind, [b, a])), NotProven::NoContradiction);
        assert_eq!(not_proven(&contradicting(kind, [a, a])), NotProven::NoContradiction);
    }
    let honest = || heads().each_ref().map(Statement::from);
    let steps = vec![step(&log, 250, END)];
    let fork = fork_prefix(at.clone(), honest(), steps, &by);
    assert_eq!(not_proven(&fork), NotProven::NoContradiction);
    let fork = fork_prefix(at.clone(), honest(), Vec::new(), &by);
    assert_eq!(not_proven(&fork), NotProven::NoContradiction);
    let last = inclusion(&log, END - 1, END);
    let mismatch = chain_merkle_mismatch(at.clone(), &log.head(END), last, &by);
    assert_eq!(not_proven(&mismatch), NotProven::NoContradiction);
    // An entry that is not the last says nothing about the chain head.
    let middle = inclusion(&log, 5, END);
    let mismatch = chain_merkle_mismatch(at.clone(), &log.head(END), middle, &by);
    assert_eq!(not_proven(&mismatch), NotProven::NoContradiction);
    // Neither does a stranger's order of entries say anything about the log.
    for others in [[9, 8], [9, 9], [9, 10], [9, 0], [0, 9]] {
        let proofs = others.map(|index| inclusion(&log, index, END)).to_vec();
        let bad = bad_entry(at.clone(), &log.head(END), proofs, String::new(), &by);
        assert_eq!(not_proven(&bad), NotProven::NoContradiction, "{others:?}");
    }
    let pair = [witnessed(&log, 10, 250), witnessed(&log, 250, END)];
    let about = Accused::witness(witness().public());
    let twice = witness_equivocated(about, pair, vec![step(&log, 250, END)], &by);
    assert_eq!(not_proven(&twice), NotProven::NoContradiction);
}

#[test]
fn only_trees_that_the_key_signed_count() {
    let log = TestLog::new(END - 1);
    let other = forked(&log);
    let heads = [(&log.head(250)).into(), (&log.head(END)).into()];
    // The proof is right, towards a tree that nobody signed.
    let fork = fork_prefix(accused(&log), heads, vec![step(&other, 250, END)], &observed());
    assert_eq!(not_proven(&fork), NotProven::UnknownTree);
    let bad = bad_log();
    let proofs = vec![inclusion(&bad, 21, 22), inclusion(&bad, 20, 22)];
    let bad = bad_entry(accused(&log), &log.head(END), proofs, String::new(), &observed());
    assert_eq!(not_proven(&bad), NotProven::UnknownTree);
}

#[test]
fn nobody_is_accused_by_the_signatures_of_others() {
    let log = TestLog::new(END - 1);
    let mut impostor = forked(&log);
    impostor.operator = SigningKey::from_seed([66; 32]);
    let pair = [&log.head(250), &impostor.head(250)];
    let framed = contradiction(Contradiction::ForkSameSize, accused(&log), pair, &observed());
    assert_eq!(not_proven(&framed), NotProven::Signature(1));
    // A head of another log of the same operator.
    let elsewhere = head(&log, 250, |head| {
        head.origin = "other.example".parse().expect("an origin");
        head.root_hash = Hash::of(b"other");
    });
    let pair = [&log.head(250), &elsewhere];
    let framed = contradiction(Contradiction::ForkSameSize, accused(&log), pair, &observed());
    assert_eq!(not_proven(&framed), NotProven::Signature(1));
    // A witness is no log and a log no witness.
    let pair = [witnessed(&log, 10, 250), witnessed(&impostor, 10, 250)];
    let roles = Evidence::new(
        Kind::ForkSameSize,
        Accused { genesis: accused(&log).genesis, ..Accused::witness(witness().public()) },
        pair.to_vec(),
        Vec::new(),
        String::new(),
        &observed(),
    );
    assert_eq!(not_proven(&roles), NotProven::Genesis);
    let fork = [(&log.head(250)).into(), (&forked(&log).head(250)).into()];
    let roles = witness_equivocated(accused(&log), fork, Vec::new(), &observed());
    assert_eq!(not_proven(&roles), NotProven::Statements);
}

#[test]
fn a_bad_signature_needs_the_entry_that_gave_the_signer_its_role() {
    let mut log = TestLog::new(5);
    let mirror = log.endorse(5);
    let claim = ProfileClaim {
        display_name: "Mirror".to_owned().try_into().expect("a name"),
        fingerprint: mirror.fingerprint(),
        origin: TestLog::origin(),
        server: None,
        timestamp: time(1),
        kind: ProfileType::Witness,
    };
    let mut profile = claim.into_profile(&mirror);
    profile.kind = ProfileType::Federation;
    log.say(&profile);
    let end = log.size();
    let file =
        |proofs| bad_entry(accused(&log), &log.head(end), proofs, String::new(), &observed());
    let (bad, endorsed) = (inclusion(&log, end - 1, end), inclusion(&log, end - 2, end));

    assert_eq!(not_proven(&file(vec![bad.clone()])), NotProven::NoContradiction);
    assert!(verify(&file(vec![bad, endorsed]).to_bytes(), None, None).is_ok());
}

#[test]
fn what_is_no_evidence_file_is_unreadable() {
    let (_, evidence) = files().swap_remove(0);
    let text = String::from_utf8(evidence.to_bytes()).expect("text");
    let read = |text: &str| verify(text.as_bytes(), None, None);
    assert_eq!(read(""), Err(EvidenceError::Unreadable));
    assert_eq!(read("{}"), Err(EvidenceError::Unreadable));
    let other_version = text.replace("diogenes-evidence/v1", "diogenes-observation/v1");
    assert_eq!(read(&other_version), Err(EvidenceError::Unreadable));
    let smuggled = text.replacen('{', "{\"verdict\":\"guilty\",", 1);
    assert_eq!(read(&smuggled), Err(EvidenceError::Unreadable));
    let padded = format!("{text}{}", " ".repeat(MAX_EVIDENCE_BYTES));
    assert_eq!(read(&padded), Err(EvidenceError::Unreadable));
}
