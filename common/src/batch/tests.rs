//! What a batch verifier accepts, what it refuses, and what it can prove.

use super::testlog::{TestLog, time};
use super::*;
use crate::clock::Timestamp;
use crate::event::{CarriedFault, KeyRegistration, SignerKnown};
use crate::evidence::{Kind, Observed, verify};
use crate::head::{HeadError, SignedHead};
use crate::keys::KeyAlgorithm;
use crate::keys::{Signature, SigningKey};
use crate::merkle::{Hash, TreeRoot, TreeSize};
use crate::statement::{
    Profile, ProfileClaim, ProfileType, StatementError, WitnessClaim, WitnessProof,
};

const LATE: u64 = 1_000_000;

fn observed() -> Observed {
    Observed { at: time(LATE), by: "mirror".to_owned() }
}

fn check(chain: &Chain, batch: Batch, kept: &[SignedHead]) -> Result<VerifiedBatch, BatchFault> {
    verify_batch(chain, batch, kept, time(LATE))
}

fn fault(chain: &Chain, batch: Batch, kept: &[SignedHead]) -> BatchFault {
    check(chain, batch, kept).map(|batch| batch.head).expect_err("a faulty batch")
}

/// Takes the proof out of a fault, completes it from the log, and checks it as a stranger would.
fn assert_proven(log: &TestLog, fault: BatchFault, kind: Kind) {
    assert_eq!((fault.class(), fault.reason()), (FaultClass::Provable, kind.as_str()));
    let BatchFault::Proven(mut proven) = fault else { panic!("not proven") };
    if let Some(missing) = proven.missing() {
        assert_eq!(proven.evidence(&observed()), None);
        let leaf = log.leaves[usize::try_from(missing.index).expect("a small index")].clone();
        assert!(proven.supply(leaf, log));
    }
    let evidence = proven.evidence(&observed()).expect("complete evidence").to_bytes();
    let (id, key) = (log.log().id(), log.operator.fingerprint());
    assert_eq!(verify(&evidence, Some(id), Some(key)).map(|proven| proven.kind), Ok(kind));
}

fn profile(signer: &SigningKey) -> Profile {
    ProfileClaim {
        display_name: "EU Mirror".to_owned().try_into().expect("a name"),
        fingerprint: signer.fingerprint(),
        origin: TestLog::origin(),
        server: None,
        timestamp: time(1),
        kind: ProfileType::Federation,
    }
    .into_profile(signer)
}

#[test]
fn a_log_is_verified_in_steps_of_any_length() {
    let mut log = TestLog::new(300);
    let mirror = log.endorse(5);
    log.say(&profile(&mirror));
    log.grow(400);
    let mut chain = log.new_chain();
    let mut tiles = 0;
    let mut kept = Vec::new();

    for until in [1, 2, 7, 256, 257, 600, log.size()] {
        let head = log.head((until + 50).min(log.size()));
        let after = chain.size().get();
        let batch = check(&chain, log.batch(after, until, &head), &kept).expect("honest");
        assert_eq!(batch.entries.len() as u64, until - after);
        assert_eq!(batch.chain.tree(), log.tree(until));
        tiles += batch.completed.len();
        kept.push(batch.head);
        chain = batch.chain;
    }

    assert_eq!(tiles, 2);
    assert_eq!(chain.roles().get(&mirror.fingerprint()).map(|role| role.entry_id), Some(302));
    assert_eq!(chain.log().map(Log::id), Some(Hash::of(&log.leaves[0])));
}

#[test]
fn a_stored_chain_goes_on_where_it_stopped() {
    let log = TestLog::new(300);
    let half = log.chain(150);
    let [genesis, last] =
        [0, 149].map(|i: usize| crate::leaf::Leaf::parse(log.leaves[i].clone()).expect("a leaf"));
    let stored = |last: &crate::leaf::Leaf| Stored {
        genesis: genesis.clone(),
        last: last.clone(),
        edge: half.edge().clone(),
        roles: half.roles().clone(),
    };

    let resumed = Chain::resume(half.trust(), stored(&last)).expect("resumable");
    let end = log.size();
    let verified = check(&resumed, log.batch(150, end, &log.head(end)), &[]).expect("honest");

    assert_eq!(verified.chain.tree(), log.tree(end));
    let stranger = Trust { operator: SigningKey::from_seed([9; 32]).fingerprint() };
    assert_eq!(Chain::resume(stranger, stored(&last)).map(|_| ()), Err(ResumeError::OtherOperator));
    assert_eq!(
        Chain::resume(half.trust(), stored(&genesis)).map(|_| ()),
        Err(ResumeError::OtherSize)
    );
}

#[test]
fn what_a_source_may_have_done_is_transient() {
    let log = TestLog::new(20);
    let chain = log.chain(5);
    let head = log.head(21);
    let honest = || log.batch(5, 15, &head);
    assert!(check(&chain, honest(), &[]).is_ok());
    let changed = |change: &dyn Fn(&mut Batch)| {
        let mut batch = honest();
        change(&mut batch);
        let fault = fault(&chain, batch, &[]);
        assert_eq!(fault.class(), FaultClass::Transient, "{fault}");
        (fault.reason(), fault)
    };

    let start = changed(&|b| b.header.after = 4).1;
    assert_eq!(start, BatchFault::WrongStart { expected: 5, got: 4 });
    assert_eq!(changed(&|b| b.header.next_after = 16).1, BatchFault::WrongCount);
    assert_eq!(changed(&|b| drop(b.leaves.pop())).1, BatchFault::WrongCount);
    assert_eq!(changed(&|b| b.leaves.swap(0, 1)).0, "bad_batch");
    assert_eq!(changed(&|b| b.leaves[3] = b.leaves[2].clone()).0, "bad_batch");
    assert_eq!(changed(&|b| b.leaves[9] = b"{}".to_vec()).0, "bad_batch");
    let proof = changed(&|b| b.header.consistency_proof[0] = Hash::EMPTY_TREE);
    assert_eq!(proof.0, "inconsistent_unproven");
    let signature = changed(&|b| b.header.tree_head.signature = Signature::new([1; 64])).1;
    assert_eq!(signature, BatchFault::Head(HeadError::BadSignature));
    let origin = changed(&|b| b.header.tree_head.origin = "x.example".parse().expect("an origin"));
    assert_eq!(origin.0, "wrong_origin");
    assert_eq!(changed(&|b| b.header.tree_head.epoch = 2).0, "wrong_epoch");
    let key = SigningKey::from_seed([9; 32]).fingerprint();
    let other_key = changed(&|b| b.header.tree_head.key_fingerprint = key);
    assert_eq!(other_key.0, "unauthorized_key");
    let replayed = changed(&|b| b.header.tree_head = TestLog::json(&log.head(14))).1;
    assert_eq!(replayed, BatchFault::HeadBehind { size: TreeSize::ZERO.plus(14) });
}

#[test]
fn the_first_entry_must_be_the_genesis_of_the_pinned_operator() {
    let log = TestLog::new(3);
    let head = log.head(4);
    let stranger = Chain::new(Trust { operator: SigningKey::from_seed([9; 32]).fingerprint() });
    assert_eq!(fault(&stranger, log.batch(0, 4, &head), &[]).reason(), "unauthorized_key");
    let empty = log.batch(0, 0, &head);
    assert_eq!(fault(&log.new_chain(), empty, &[]), BatchFault::NoGenesis);
    let mut headless = log.batch(0, 4, &head);
    headless.leaves[0] = log.leaves[1].clone();
    assert_eq!(fault(&log.new_chain(), headless, &[]).class(), FaultClass::Transient);
}

#[test]
fn a_head_from_the_future_waits() {
    let log = TestLog::new(3);
    let batch = || log.batch(0, 4, &log.head(4));
    let early = |millis: i64| time(4).plus_millis(-millis);
    let at = |now: Timestamp| verify_batch(&log.new_chain(), batch(), &[], now).map(|_| ());

    assert_eq!(at(early(120_000)), Ok(()));
    assert_eq!(at(early(120_001)), Err(BatchFault::HeadInFuture { ahead_millis: 120_001 }));
}

#[test]
fn a_head_is_not_older_than_what_it_covers() {
    let log = TestLog::new(3);
    let mut claim = log.claim(4);
    claim.timestamp = time(3);
    let batch = log.batch(0, 4, &claim.sign(&log.operator));
    assert_eq!(fault(&log.new_chain(), batch, &[]), BatchFault::HeadBeforeEntry);
}

#[test]
fn every_provable_bad_entry_is_proven_wherever_its_neighbour_lies() {
    let forgeries: [&dyn Fn(&mut TestLog); 5] = [
        &|log| {
            let id = log.size() + 1;
            log.forge(id, Some(Hash::of(b"other")), time(id), "x-test:event", b"{}");
        },
        &|log| {
            let (id, last) = (log.size() + 1, log.leaves.last().map(|leaf| Hash::of(leaf)));
            log.forge(id, last, time(id - 2), "x-test:event", b"{}");
        },
        &|log| {
            let (id, last) = (log.size() + 1, log.leaves.last().map(|leaf| Hash::of(leaf)));
            log.forge(id + 1, last, time(id), "x-test:event", b"{}");
        },
        &|log| log.push("log_genesis", &genesis_payload(log)),
        &|log| log.leaves.push(b"{\"not\": \"canonical\"}".to_vec()),
    ];
    for (number, forge) in forgeries.iter().enumerate() {
        for before in [255, 256, 300] {
            let mut log = TestLog::new(before - 1);
            forge(&mut log);
            let bad = log.size();
            log.leaves.extend(TestLog::new(20).leaves);
            let end = log.size();
            // The batch begins with the bad entry, before it, and ends under the head or below it.
            for (after, until) in [(bad - 1, bad), (bad - 1, end), (bad - 2, bad + 3), (3, end)] {
                let batch = log.batch(after, until, &log.head(end));
                let fault = fault(&log.chain(after), batch, &[]);
                assert!(matches!(fault, BatchFault::Proven(_)), "{number} {before}: {fault}");
                assert_proven(&log, fault, Kind::BadEntry);
            }
        }
    }
}

fn genesis_payload(log: &TestLog) -> Vec<u8> {
    crate::leaf::Leaf::parse(log.leaves[0].clone()).expect("a leaf").payload().to_vec()
}

#[test]
fn a_bad_entry_that_no_head_covers_proves_nothing() {
    let log = TestLog::new(20);
    let mut batch = log.batch(5, 15, &log.head(21));
    batch.leaves[4] = b"{\"not\": \"canonical\"}".to_vec();
    let fault = fault(&log.chain(5), batch, &[]);
    assert!(matches!(fault, BatchFault::Entry(EntryFault { id: 10, .. })), "{fault}");
}

#[test]
fn evidence_of_the_longest_bad_entry_is_readable_and_of_a_longer_one_there_is_none() {
    for (length, provable) in [(512 * 1024, true), (512 * 1024 + 1, false)] {
        let mut log = TestLog::new(5);
        log.leaves.push(vec![b' '; length]);
        let fault = fault(&log.chain(6), log.batch(6, 7, &log.head(7)), &[]);
        assert_eq!(fault.class() == FaultClass::Provable, provable);
        if provable {
            assert_proven(&log, fault, Kind::BadEntry);
        }
    }
}

#[test]
fn a_carried_signature_that_does_not_verify_is_proven() {
    let mut log = TestLog::new(300);
    let mirror = log.endorse(5);
    log.grow(10);
    let mut forged = profile(&mirror);
    forged.kind = ProfileType::Witness;
    log.say(&forged);
    let end = log.size();
    for after in [1, 301, 302, end - 1] {
        let batch = log.batch(after, end, &log.head(end));
        assert_proven(&log, fault(&log.chain(after), batch, &[]), Kind::BadEntry);
    }

    let mut log = TestLog::new(5);
    let key = SigningKey::from_seed([6; 32]);
    let registration = KeyRegistration {
        expiration_date: None,
        fingerprint: key.fingerprint(),
        key_algorithm: KeyAlgorithm::Ed25519,
        proof: None,
        pseudonym: "Alice".to_owned().try_into().expect("a name"),
        public_key: key.public().into(),
    };
    let elsewhere = "other.example".parse().expect("an origin");
    log.say(&registration.proven(&elsewhere, &key));
    let batch = log.batch(2, 7, &log.head(7));
    assert_proven(&log, fault(&log.chain(2), batch, &[]), Kind::BadEntry);
}

#[test]
fn an_unknown_signer_is_no_fault_and_is_told() {
    let mut log = TestLog::new(3);
    log.say(&profile(&SigningKey::from_seed([7; 32])));
    log.say(&profile(&log.operator.clone()));
    let batch = check(&log.new_chain(), log.batch(0, 6, &log.head(6)), &[]).expect("no fault");
    let signers: Vec<SignerKnown> = batch.entries.iter().map(|entry| entry.signer).collect();
    assert_eq!(signers[4..], [SignerKnown::No, SignerKnown::Yes]);
}

#[test]
fn a_statement_about_another_log_proves_nothing() {
    let mut log = TestLog::new(3);
    let mut elsewhere = profile(&log.operator);
    elsewhere.origin = "other.example".parse().expect("an origin");
    log.say(&elsewhere);
    let fault = fault(&log.new_chain(), log.batch(0, 5, &log.head(5)), &[]);
    let rule = BrokenRule::Carried(CarriedFault::OtherOrigin);
    assert_eq!(fault, BatchFault::Entry(EntryFault { id: 5, rule }));
    assert_eq!(fault.reason(), "wrong_origin");
}

#[test]
fn a_root_with_another_chain_head_is_proven() {
    let log = TestLog::new(299);
    let mut claim = log.claim(300);
    claim.chain_head = Some(Hash::of(b"other"));
    let head = claim.sign(&log.operator);
    let batch = log.batch(280, 300, &head);
    assert_proven(&log, fault(&log.chain(280), batch, &[]), Kind::ChainMerkleMismatch);

    // The same, when nothing came with the head and the last entry is in the store.
    let batch = log.batch(300, 300, &head);
    assert_proven(&log, fault(&log.chain(300), batch, &[]), Kind::ChainMerkleMismatch);

    // The same, found when the tree passes a head that was kept.
    let mut longer = log.clone();
    longer.grow(50);
    let batch = longer.batch(280, 320, &longer.head(350));
    assert_proven(&longer, fault(&log.chain(280), batch, &[head]), Kind::ChainMerkleMismatch);
}

#[test]
fn a_kept_head_that_the_tree_does_not_pass_through_is_proven() {
    let mut log = TestLog::new(600);
    let mut other = log.clone();
    other.leaves.truncate(500);
    other.push("x-test:event", b"{\"other\":true}");
    let kept = other.head(501);
    log.grow(10);
    let end = log.size();
    for (after, until) in [(499, 510), (500, 501), (300, end), (500, end)] {
        let batch = log.batch(after, until, &log.head(end));
        let fault = fault(&log.chain(after), batch, std::slice::from_ref(&kept));
        assert_proven(&log, fault, Kind::ForkPrefix);
    }
}

#[test]
fn a_kept_head_with_the_right_chain_head_and_another_root_is_proven() {
    let log = TestLog::new(50);
    let mut claim = log.claim(20);
    claim.root_hash = Hash::of(b"other");
    let batch = log.batch(10, 30, &log.head(40));
    let fault = fault(&log.chain(10), batch, &[claim.sign(&log.operator)]);
    assert_proven(&log, fault, Kind::ForkPrefix);
}

#[test]
fn a_witness_proof_holds_with_a_head_of_this_log_alone() {
    let witness = SigningKey::from_seed([8; 32]);
    let proof = |log: &TestLog, signer: &SigningKey| {
        let head = log.claim(5).sign(signer);
        let claim = WitnessClaim {
            new_root: head.head().root_hash,
            new_tree_size: head.head().tree_size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: TestLog::origin(),
            timestamp: time(6),
            witness: witness.fingerprint(),
        };
        let mut json = TestLog::json(&head);
        json.key_fingerprint = log.operator.fingerprint();
        claim.into_proof(&witness, json, Some("no cosignature".to_owned()))
    };
    let end_to_end = |signer: &SigningKey, change: &dyn Fn(&mut WitnessProof)| {
        let mut log = TestLog::new(5);
        let mut proof = proof(&log, signer);
        change(&mut proof);
        log.say(&proof);
        let verdict = check(&log.new_chain(), log.batch(0, 7, &log.head(7)), &[]);
        (log, verdict.map(|_| ()))
    };
    let operator = TestLog::new(0).operator;

    assert_eq!(end_to_end(&operator, &|_| {}).1, Ok(()));
    let (log, forged) = end_to_end(&SigningKey::from_seed([9; 32]), &|_| {});
    assert_proven(&log, forged.expect_err("a forged head"), Kind::BadEntry);
    let (log, forged) = end_to_end(&operator, &|proof| proof.timestamp = time(7));
    assert_proven(&log, forged.expect_err("a forged proof"), Kind::BadEntry);
    let (_, other) = end_to_end(&operator, &|proof| proof.new_root = Hash::of(b"other"));
    let rule = BrokenRule::Carried(CarriedFault::Statement(StatementError::OtherHead));
    assert_eq!(other, Err(BatchFault::Entry(EntryFault { id: 7, rule })));
}

#[test]
fn heads_that_contradict_each_other_are_proven() {
    let log = TestLog::new(30);
    let signed = |size: u64, at: u64, root: Option<Hash>| {
        let mut claim = log.claim(size);
        claim.timestamp = time(at);
        claim.root_hash = root.unwrap_or(claim.root_hash);
        claim.sign(&log.operator)
    };
    let against = |kept: SignedHead| fault(&log.chain(5), log.batch(5, 10, &log.head(20)), &[kept]);

    let forked = against(signed(20, 20, Some(Hash::of(b"root"))));
    assert_proven(&log, forked, Kind::ForkSameSize);
    assert_proven(&log, against(signed(25, 10, None)), Kind::Truncated);
    assert_proven(&log, against(signed(15, 25, None)), Kind::TimestampRegressed);
}

#[test]
fn a_refused_entry_changes_nothing() {
    let log = TestLog::new(10);
    let mut chain = log.chain(5);
    let before = (chain.tree(), chain.chain_head());
    let mut tiles = Vec::new();
    let fault = chain.extend(log.leaves[6].clone(), &mut tiles).expect_err("not the next");
    assert_eq!(fault, EntryFault { id: 6, rule: BrokenRule::WrongId });
    assert_eq!((chain.tree(), chain.chain_head()), before);
    assert!(tiles.is_empty());
    assert_eq!(log.new_chain().tree(), TreeRoot::EMPTY);
}

#[test]
fn json_that_was_written_anew_gives_the_same_leaves() {
    let log = TestLog::new(10);
    let batch = log.batch(2, 8, &log.head(11));
    let bytes = encode(&batch.header, &batch.leaves, Encoding::Json);
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    value["entries"][1]["ots_proof"] = "AAAA".into();
    let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(decode(&pretty, Encoding::Json).as_ref(), Ok(&batch));
    value["entries"][1]["id"] = 77.into();
    let wrong = serde_json::to_vec(&value).expect("JSON");
    assert_eq!(decode(&wrong, Encoding::Json), Err(DecodeError::EntryHash));
}

#[test]
fn a_batch_is_bounded() {
    let log = TestLog::new(3);
    let header = log.batch(0, 4, &log.head(4)).header;
    let many = |count| std::iter::repeat_n(b"{\"a\":1}", count);
    for encoding in [Encoding::Json, Encoding::Binary] {
        let bytes = encode(&header, many(MAX_ENTRIES + 1), encoding);
        let refused = decode(&bytes, encoding);
        assert_eq!(refused, Err(DecodeError::TooManyEntries), "{encoding:?}");
        assert_eq!(decode(&vec![b' '; MAX_BODY_BYTES + 1], encoding), Err(DecodeError::TooLong));
    }
    let binary = encode(&header, many(3), Encoding::Binary);
    assert_eq!(decode(&binary[..binary.len() - 1], Encoding::Binary), Err(DecodeError::Truncated));
    assert_eq!(decode(&[255; 12], Encoding::Binary), Err(DecodeError::Truncated));
}

#[test]
fn media_types_name_encodings() {
    let named = Encoding::from_media_type;
    assert_eq!(named("application/json; charset=utf-8"), Some(Encoding::Json));
    assert_eq!(named("application/vnd.diogenes.batch"), Some(Encoding::Binary));
    assert_eq!(named("text/html"), None);
}
