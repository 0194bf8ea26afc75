//! Both rules of Ed25519 verification, pinned by published vectors.
//!
//! Every node must judge every signature alike, so what our two rules accept is counted, not only
//! sampled: a changed count means that a dependency changed its mind.

use std::collections::BTreeSet;

use diogenes_common::keys::{KeyError, PublicKey, Signature};
use serde::Deserialize;

const WYCHEPROOF: &str = include_str!("../../tests/vectors/wycheproof/ed25519_test.json");
const CCTV: &str = include_str!("../../tests/vectors/cctv-ed25519/ed25519vectors.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wycheproof {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key: GroupKey,
    public_key_der: String,
    public_key_pem: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct GroupKey {
    pk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    msg: String,
    sig: String,
    result: String,
}

#[derive(Deserialize)]
struct EdgeCase {
    number: u32,
    key: String,
    sig: String,
    msg: String,
    flags: Option<BTreeSet<String>>,
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let decoded = hex::decode(text).expect("vectors are hex");
    decoded.try_into().expect("keys and signatures have their length")
}

#[test]
fn wycheproof_verdicts_hold_under_both_rules() {
    let vectors: Wycheproof = serde_json::from_str(WYCHEPROOF).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &vectors.test_groups {
        let key = PublicKey::from_bytes(&bytes(&group.public_key.pk)).unwrap();
        let der = hex::decode(&group.public_key_der).unwrap();
        assert_eq!(PublicKey::from_der(&der).as_ref(), Ok(&key));
        assert_eq!(PublicKey::from_pem(&group.public_key_pem).as_ref(), Ok(&key));
        for case in &group.tests {
            let message = hex::decode(&case.msg).unwrap();
            let signature = Signature::from_slice(&hex::decode(&case.sig).unwrap());
            let strict = signature.is_some_and(|sig| key.verify(&message, &sig).is_ok());
            let lenient = signature.is_some_and(|sig| key.verify_lenient(&message, &sig).is_ok());
            let expected = case.result == "valid";
            assert_eq!((strict, lenient), (expected, expected), "case {}", case.tc_id);
            *(if expected { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!(valid + invalid, vectors.number_of_tests);
    assert_eq!((valid, invalid), (88, 63));
}

#[test]
fn edge_cases_of_keys_and_nonces_are_judged_by_their_flags() {
    let vectors: Vec<EdgeCase> = serde_json::from_str(CCTV).unwrap();
    let (mut weak, mut lenient_only, mut both, mut neither) = (0, 0, 0, 0);
    for case in vectors {
        let flags = case.flags.unwrap_or_default();
        let has = |flag: &str| flags.contains(flag);
        let key = match PublicKey::from_bytes(&bytes(&case.key)) {
            Err(KeyError::LowOrder) => {
                assert!(has("low_order_A"), "case {}", case.number);
                weak += 1;
                continue;
            }
            made => made.unwrap(),
        };
        assert!(!has("low_order_A"), "case {}", case.number);

        let signature = Signature::new(bytes(&case.sig));
        let strict = key.verify(case.msg.as_bytes(), &signature).is_ok();
        let lenient = key.verify_lenient(case.msg.as_bytes(), &signature).is_ok();

        let expected_lenient = !has("non_canonical_R") && !has("low_order_residue");
        let expected_strict = expected_lenient && !has("low_order_R");
        assert_eq!(lenient, expected_lenient, "case {} {flags:?}", case.number);
        assert_eq!(strict, expected_strict, "case {} {flags:?}", case.number);
        match (strict, lenient) {
            (true, _) => both += 1,
            (false, true) => lenient_only += 1,
            (false, false) => neither += 1,
        }
    }
    assert_eq!((weak, lenient_only, both, neither), (526, 43, 43, 302));
}
