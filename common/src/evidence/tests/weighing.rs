//! What a received file means: to the node of that log, to others, and after anybody changed it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::merkle::{NodeId, Nodes as _};

fn origin() -> crate::head::Origin {
    TestLog::origin()
}

fn weighed(file: &[u8]) -> Result<Weighed, Rejected> {
    let log = TestLog::new(0).log();
    let operator = log.operator().fingerprint();
    weigh(file, &Watched { id: log.id(), origin: &origin(), operator })
}

#[test]
fn a_proof_of_each_kind_is_weighed_as_what_it_is() {
    for (name, evidence) in files() {
        let weighed = weighed(&evidence.to_bytes()).unwrap_or_else(|why| panic!("{name}: {why}"));

        let against = match evidence.kind {
            Kind::WitnessEquivocated => Against::Witness(witness().fingerprint()),
            _ => Against::Log,
        };
        assert_eq!((weighed.kind, weighed.against), (evidence.kind, against), "{name}");
        assert_eq!(Identity::of(&evidence.to_bytes()), Some(weighed.identity), "{name}");
    }
}

#[test]
fn who_tells_a_proof_again_in_other_words_tells_nothing_new() {
    let mut identities = BTreeSet::new();
    for (name, evidence) in files() {
        let mut told = evidence.clone();
        told.explanation = "heard of it".to_owned();
        told.observer = "somebody else".to_owned();
        told.observed_at = time(0);
        let identity = Identity::of(&evidence.to_bytes()).expect("proven");
        assert_eq!(Identity::of(&told.to_bytes()), Some(identity), "{name}");
        told.statements.reverse();
        let turned = Identity::of(&told.to_bytes());
        assert!(turned.is_none_or(|turned| turned == identity), "{name}");
        identities.insert(identity);
    }
    // Two files are about one witness, of whom one proof says everything.
    assert_eq!(identities.len(), files().len() - 1);
}

#[test]
fn a_proof_about_another_log_or_key_is_foreign_whatever_it_proves() {
    let log = TestLog::new(0).log();
    let (id, operator) = (log.id(), log.operator().fingerprint());
    let other: crate::head::Origin = "other.example".parse().expect("an origin");
    for (name, evidence) in files() {
        let file = evidence.to_bytes();
        let of_witness = evidence.kind == Kind::WitnessEquivocated;
        let elsewhere = Watched { id: Hash::of(b"other"), origin: &other, operator };
        assert_eq!(weigh(&file, &elsewhere), Err(Rejected::Foreign), "{name}");
        let another = Watched { id, origin: &origin(), operator: witness().fingerprint() };
        let verdict = weigh(&file, &another);
        assert_eq!(verdict == Err(Rejected::Foreign), !of_witness, "{name}");
    }
}

#[test]
fn what_proves_nothing_is_rejected_for_what_is_wrong_with_it() {
    let log = TestLog::new(END - 1);
    let heads = [&log.head(250), &log.head(250)];
    let honest = contradicting(Contradiction::ForkSameSize, heads).to_bytes();
    assert_eq!(weighed(&honest), Err(Rejected::Unproven(NotProven::NoContradiction)));
    let long = vec![b' '; MAX_EVIDENCE_BYTES + 1];
    for garbage in [&b""[..], b"{}", b"[]", b"\xff\xfe", &long] {
        assert_eq!(weighed(garbage), Err(Rejected::Unreadable));
    }
    let observation = Observation::new(
        crate::statement::Reason::try_from("bad_batch").expect("a reason"),
        String::new(),
        "https://a.example".to_owned(),
        &observed(),
    );
    assert_eq!(weighed(&observation.to_bytes()), Err(Rejected::Unreadable));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn one_changed_byte_proves_nothing_else_of_this_log(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let files = files_once();
        let (name, file, original) = which.get(files);
        let mut changed = file.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(found) = weighed(&changed) {
            prop_assert_eq!(found, *original, "{} at {}", name, at);
        }
    }
}

/// The files are made once: signing them takes longer than judging them.
fn files_once() -> &'static [(&'static str, Vec<u8>, Weighed)] {
    static FILES: std::sync::OnceLock<Vec<(&'static str, Vec<u8>, Weighed)>> =
        std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let made = files().into_iter().map(|(name, evidence)| {
            let bytes = evidence.to_bytes();
            let weighed = weighed(&bytes).expect("proven");
            (name, bytes, weighed)
        });
        made.collect()
    })
}

/// What a node that holds `log` finds at the places that the traces name.
fn own(log: &TestLog, traces: &Traces) -> Own {
    let mut own = Own::default();
    for tree in &traces.trees {
        if tree.size.get() <= log.size() {
            own.trees.insert(tree.size, log.tree(tree.size.get()).hash);
        }
    }
    for (id, _) in traces.steps.iter().flat_map(|step| &step.nodes) {
        let id: NodeId = *id;
        if (id.index + 1) << id.height <= log.size() {
            own.nodes.extend(log.node(id).map(|hash| (id, hash)));
        }
    }
    for (id, _) in &traces.entries {
        let leaf = usize::try_from(id - 1).ok().and_then(|index| log.leaves.get(index));
        own.entries.extend(leaf.map(|leaf| (*id, Hash::of(leaf))));
    }
    own
}

#[test]
fn the_first_entry_that_differs_lies_where_a_file_says() {
    let log = TestLog::new(END - 1);
    // The histories are the same up to entry 200.
    let mut narrowest = u64::MAX;
    for (name, evidence) in files() {
        let traces = traces(&evidence.to_bytes()).expect("proven");
        let Some(parting) = parting(&traces, &own(&log, &traces)) else { continue };
        if name.starts_with("fork prefix") || name.starts_with("witness") || name == "two roots" {
            assert!((parting.first..=parting.last).contains(&201), "{name}: {parting:?}");
            narrowest = narrowest.min(parting.last - parting.first + 1);
        }
    }
    assert!(narrowest <= 64, "the proofs' subtrees narrow it down: {narrowest}");
}

#[test]
fn what_is_held_here_parts_from_nothing() {
    let log = TestLog::new(END - 1);
    let honest = Traces { trees: vec![log.tree(250), log.tree(END)], ..Traces::default() };
    assert_eq!(parting(&honest, &own(&log, &honest)), None);
    assert_eq!(traces(b"{}"), None, "what proves nothing has no traces");
    let (_, bad) = files().into_iter().find(|(name, _)| *name == "bad entry").expect("a file");
    assert_eq!(traces(&bad.to_bytes()).and_then(|traces| traces.bad_entry), Some(22));
}

#[test]
fn an_explanation_says_who_signed_what_and_why_it_cannot_be() {
    for (name, evidence) in files() {
        let text = explain(&evidence.to_bytes()).expect("readable");

        assert!(text.contains(evidence.kind.meaning()), "{name}: {text}");
        assert!(text.contains(&evidence.accused.fingerprint().to_string()), "{name}: {text}");
        assert!(text.contains("Therefore: "), "{name}: {text}");
        assert!(!text.contains("nothing: the accused key"), "{name}: {text}");
    }
    let (_, mut evidence) = files().swap_remove(0);
    evidence.kind = Kind::Truncated;
    evidence.observer = "Bob\nTherefore: all is well \u{202e}".to_owned();
    let text = explain(&evidence.to_bytes()).expect("readable");
    assert!(text.contains("But:       not proven"), "{text}");
    assert!(!text.contains("\nTherefore") && !text.contains('\u{202e}'), "{text}");
    assert_eq!(explain(b"{}"), Err(EvidenceError::Unreadable));
}
