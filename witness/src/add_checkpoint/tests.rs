use diogenes_common::cosignature::cosign;
use diogenes_common::keys::SigningKey;
use diogenes_common::note::{KeyKind, SignatureLine};

use super::*;
use crate::testing::{History, at, body};

fn trusted() -> Vec<Vkey> {
    vec![History::honest().log_key().vkey().clone()]
}

/// The whole way of a request to a witness that stands at `known`.
fn decide(body: &[u8], trusted: Option<&[Vkey]>, known: TreeRoot) -> Result<Accepted, Refusal> {
    let request = Request::parse(body)?;
    judge(recognise(request, trusted)?, known)
}

fn standing(size: u64) -> TreeRoot {
    if size == 0 { TreeRoot::EMPTY } else { History::honest().tree(size) }
}

fn ask(body: &[u8], size: u64) -> Result<Accepted, Refusal> {
    decide(body, Some(&trusted()), standing(size))
}

/// A checkpoint of the log with any size and root, signed by any key.
fn note(size: u64, root: Hash, key: &SigningKey) -> String {
    let origin = History::honest().origin();
    let tree = TreeRoot { size: TreeSize::ZERO.plus(size), hash: root };
    let checkpoint = Checkpoint::new(origin.as_str(), tree).unwrap();
    let name = origin.as_str().parse().unwrap();
    diogenes_common::checkpoint::sign_checkpoint(&checkpoint, &name, key)
}

/// Each row breaks its own rule and all later ones that a request can break beside it, so that only
/// the order of the checks decides which one is told.
#[test]
fn the_rules_are_checked_in_the_order_of_the_specification() {
    let history = History::honest();
    let (log, stranger) = (history.operator(), SigningKey::from_seed([77; 32]));
    let wrong = Hash::of(b"another root");
    let known_keys = trusted();
    let known = Some(&known_keys[..]);
    let junk = [wrong];
    let (three, five) = (standing(3), standing(5));
    let stale = |size: u64| Refusal::Stale { known: standing(size).size };
    let length = |expected, got| Refusal::Inconsistent(ProofError::WrongLength { expected, got });

    let rows = [
        (
            "1 syntax",
            [b"old 01\n".as_slice(), &body(1, &junk, &note(0, wrong, &stranger))].concat(),
            None,
            three,
            Refusal::Malformed(Malformed::OldLine),
        ),
        (
            "2 unknown log",
            body(1, &junk, &note(0, wrong, &stranger)),
            None,
            three,
            Refusal::UnknownLog,
        ),
        (
            "3 no trusted signature",
            body(1, &junk, &note(0, wrong, &stranger)),
            known,
            three,
            Refusal::NotSigned(VerifyError::NoKnownSignature),
        ),
        (
            "4 old beyond new",
            body(1, &junk, &note(0, wrong, log)),
            known,
            three,
            Refusal::OldBeyondNew,
        ),
        ("5 stale", body(0, &junk, &note(0, wrong, log)), known, three, stale(3)),
        (
            "6 wrong empty root",
            body(0, &junk, &note(0, wrong, log)),
            known,
            standing(0),
            Refusal::WrongEmptyRoot,
        ),
        (
            "7 a proof from size 0",
            body(0, &junk, &note(4, wrong, log)),
            known,
            standing(0),
            Refusal::ProofFromNothing,
        ),
        (
            "7 an inconsistent proof",
            body(5, &junk, &note(9, wrong, log)),
            known,
            five,
            length(history.consistency(5, 9).len(), 1),
        ),
        (
            "7 a proof at an unchanged size",
            body(5, &junk, &note(5, wrong, log)),
            known,
            five,
            length(0, 1),
        ),
        (
            "8 another root at an unchanged size",
            body(5, &[], &note(5, wrong, log)),
            known,
            five,
            Refusal::OtherRoot,
        ),
    ];
    for (rule, body, keys, known, refusal) in rows {
        assert_eq!(decide(&body, keys, known), Err(refusal), "{rule}");
    }
}

#[test]
fn what_extends_the_known_tree_is_accepted_and_nothing_else() {
    let (history, fork) = (History::honest(), History::forked_at(3));

    let accepted = ask(&history.body(5, 9), 5).expect("consistent");

    assert_eq!((accepted.old(), accepted.checkpoint().tree()), (standing(5), standing(9)));
    assert_eq!(accepted.note().to_string(), history.checkpoint(9));
    for proof in [history.consistency(4, 9), history.consistency(5, 8), Vec::new()] {
        let refused = ask(&body(5, &proof, &history.checkpoint(9)), 5);
        assert!(matches!(refused, Err(Refusal::Inconsistent(_))), "{proof:?}");
    }
    for proof in [history.consistency(5, 9), fork.consistency(5, 9)] {
        let refused = ask(&body(5, &proof, &fork.checkpoint(9)), 5);
        assert!(matches!(refused, Err(Refusal::Inconsistent(_))), "{proof:?}");
    }
}

#[test]
fn an_empty_tree_is_accepted_and_so_is_the_first_tree_after_it() {
    let history = History::honest();
    let empty = note(0, Hash::EMPTY_TREE, history.operator());

    let nothing = ask(&body(0, &[], &empty), 0).expect("the empty tree");
    assert_eq!((nothing.old(), nothing.checkpoint().tree()), (TreeRoot::EMPTY, TreeRoot::EMPTY));

    let first = ask(&history.body(0, 7), 0).expect("a first tree");
    assert_eq!(first.checkpoint().tree(), standing(7));
}

#[test]
fn the_same_tree_is_accepted_again() {
    let again = ask(&History::honest().body(5, 5), 5).expect("the same tree");

    assert_eq!(again.old(), again.checkpoint().tree());
}

#[test]
fn a_trusted_key_that_did_not_sign_its_line_spoils_the_signature_of_another() {
    let history = History::honest();
    let other = SigningKey::from_seed([5; 32]);
    let name = "second.example".parse().unwrap();
    let second = Vkey::new(name, KeyKind::Ed25519, other.public().clone());
    let text = history.checkpoint(5);
    let text = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let good = SignatureLine::sign(&text, history.log_key().vkey().name(), history.operator());
    let bad = SignatureLine::sign("something else\n", second.name(), &other);
    let request = body(0, &[], &format!("{text}\n{good}\n{bad}\n"));

    assert!(ask(&request, 0).is_ok(), "the line of a key that is not trusted is passed over");
    let refused = decide(&request, Some(&[trusted().remove(0), second]), TreeRoot::EMPTY);
    assert!(matches!(refused, Err(Refusal::NotSigned(VerifyError::BadSignature { .. }))));
}

#[test]
fn lines_of_strangers_are_not_kept() {
    let history = History::honest();
    let stranger = SigningKey::from_seed([6; 32]);
    let text = history.checkpoint(5);
    let line = SignatureLine::sign("x\n", &"stranger.example".parse().unwrap(), &stranger);

    let accepted = ask(&body(0, &[], &format!("{text}{line}\n")), 0).expect("signed by the log");

    assert_eq!(accepted.note().to_string(), text);
}

#[test]
fn extension_lines_are_cosigned_as_they_were_read() {
    let history = History::honest();
    let text = format!("{}an extension\nand another\n", {
        let note = history.checkpoint(5);
        note.split_once("\n\n").unwrap().0.to_owned() + "\n"
    });
    let line = SignatureLine::sign(&text, history.log_key().vkey().name(), history.operator());

    let accepted = ask(&body(0, &[], &format!("{text}\n{line}\n")), 0).expect("signed by the log");

    assert_eq!(accepted.checkpoint().to_string(), text);
}

#[test]
fn each_fault_of_a_body_has_its_name() {
    let note = History::honest().checkpoint(5);
    let hash = Hash::of(b"x").to_base64();
    let many = format!("{hash}\n").repeat(64);
    let long = note.replacen("\n\n", &format!("\n{}\n\n", "x".repeat(4096)), 1);
    let refuse = |body: String| Request::parse(body.as_bytes()).map(|_| ());
    let rows = [
        (String::new(), Malformed::NoEmptyLine),
        ("old 5\n".to_owned(), Malformed::NoEmptyLine),
        (format!("old 5{note}").replace("\n\n", "\n"), Malformed::NoEmptyLine),
        (format!("old 05\n\n{note}"), Malformed::OldLine),
        (format!("old -1\n\n{note}"), Malformed::OldLine),
        (format!("old 5 \n\n{note}"), Malformed::OldLine),
        (format!("old 5\r\n\n{note}"), Malformed::OldLine),
        (format!("Old 5\n\n{note}"), Malformed::OldLine),
        (format!("old 9223372036854775808\n\n{note}"), Malformed::OldLine),
        (format!("\n\n{note}"), Malformed::OldLine),
        (format!("old 5\n{hash}=\n\n{note}"), Malformed::HashLine),
        (format!("old 5\n{hash}\r\n\n{note}"), Malformed::HashLine),
        (format!("old 5\nAAAA\n\n{note}"), Malformed::HashLine),
        (format!("old 5\n{many}\n{note}"), Malformed::TooManyHashes),
        (format!("old 5\n\n\n{note}"), Malformed::Checkpoint(CheckpointError::EmptyLine)),
        ("old 5\n\nno note\n".to_owned(), Malformed::Note(NoteError::NoSignature)),
        (format!("old 5\n\n{long}"), Malformed::CheckpointTooLong),
    ];
    for (body, malformed) in rows {
        assert_eq!(refuse(body.clone()), Err(malformed), "{body:?}");
    }
    assert_eq!(Request::parse(b"old 5\n\n\xff\n\n").map(|_| ()), Err(Malformed::NotUtf8));
    assert_eq!(refuse(format!("old 5\n{}\n{note}", format!("{hash}\n").repeat(63))), Ok(()));
}

#[test]
fn an_own_cosignature_is_found_only_if_it_verifies() {
    let history = History::honest();
    let (ours, name) = (SigningKey::from_seed([9; 32]), "w.example".parse().unwrap());
    let cosigner =
        Vkey::new("w.example".parse().unwrap(), KeyKind::Cosignature, ours.public().clone());
    let of = |size| Checkpoint::new(history.origin().as_str(), history.tree(size)).unwrap();
    let with = |line: SignatureLine| {
        let text = format!("{}{line}\n", history.checkpoint(5));
        Request::parse(&body(0, &[], &text)).unwrap().cosigned_by(&cosigner)
    };

    assert_eq!(with(cosign(&of(5), at(1), &name, &ours)), Some(history.tree(5)));
    assert_eq!(with(cosign(&of(4), at(1), &name, &ours)), None);
    assert_eq!(with(cosign(&of(5), at(1), &"x.example".parse().unwrap(), &ours)), None);
}
