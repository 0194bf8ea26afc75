//! Trust policies: what they say, what they believe, and what is no policy.

use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::cosign;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, Note, SignatureLine, VerifyError, Vkey, VkeyError};
use diogenes_common::policy::{
    Form, MAX_POLICY_BYTES, Policy, PolicyError, PolicyLineError, PolicyOpenError,
};

const ORIGIN: &str = "log.example/one";

fn key(seed: usize) -> SigningKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    SigningKey::from_seed(bytes)
}

fn vkey(name: &str, kind: KeyKind, seed: usize) -> Vkey {
    Vkey::new(name.parse().expect("a good name"), kind, key(seed).public().clone())
}

fn log(name: &str, seed: usize) -> String {
    format!("log {}\n", vkey(name, KeyKind::Ed25519, seed))
}

/// The witness `w<seed>`, whose key has another name.
fn witness(seed: usize) -> String {
    format!("witness w{seed} {}\n", witness_key(seed))
}

fn witness_key(seed: usize) -> Vkey {
    vkey(&format!("witness.example/{seed}"), KeyKind::Cosignature, seed)
}

fn witnesses(seeds: impl IntoIterator<Item = usize>) -> String {
    seeds.into_iter().map(witness).collect()
}

fn parse(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// The number and the fault of the line that is refused.
fn refused(text: &str) -> (usize, PolicyLineError) {
    match text.parse::<Policy>() {
        Err(PolicyError::Line { line, reason }) => (line, reason),
        other => panic!("{other:?} for\n{text}"),
    }
}

/// Whether the witnesses with these seeds are a quorum.
fn is_quorum(policy: &Policy, cosigned: &[usize]) -> bool {
    policy.has_quorum(|one| cosigned.iter().any(|seed| one.name() == format!("w{seed}")))
}

/// A checkpoint of [`ORIGIN`] by the log key `log_seed`, cosigned by the witnesses with these seeds.
fn checkpoint(log_seed: usize, cosigned: &[usize]) -> Note {
    let tree = TreeRoot { size: TreeSize::new(7).expect("small"), hash: Hash::of_leaf(b"root") };
    let checkpoint = Checkpoint::new(ORIGIN, tree).expect("a good origin");
    let name = ORIGIN.parse().expect("a good name");
    let signed = sign_checkpoint(&checkpoint, &name, &key(log_seed));
    let time = Timestamp::from_millis(1_700_000_000_000).expect("a time");
    let note = Note::parse(signed.as_bytes()).expect("a note");
    cosigned.iter().fold(note, |note, seed| {
        let line = cosign(&checkpoint, time, witness_key(*seed).name(), &key(*seed));
        note.with(line).expect("few signatures")
    })
}

/// The example of the specification: two of three, and one of three others.
fn nested() -> Policy {
    parse(&format!(
        "{}\n{}group X-witnesses 2 w1 w2 w3\n\n{}group Y-witnesses any w4 w5 w6\n\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log(ORIGIN, 100),
        witnesses(1..=3),
        witnesses(4..=6),
    ))
}

#[test]
fn groups_of_groups_make_the_quorum_of_the_specification() {
    let policy = nested();

    for enough in [&[1, 2, 4][..], &[2, 3, 6], &[1, 2, 3, 4, 5, 6]] {
        assert!(is_quorum(&policy, enough), "{enough:?}");
    }
    for too_few in [&[][..], &[1, 2], &[1, 2, 3], &[1, 4], &[4, 5, 6], &[1, 4, 5, 6]] {
        assert!(!is_quorum(&policy, too_few), "{too_few:?}");
    }
    assert_eq!(policy.required(), 3);
    assert!(!policy.quorum_is_none());
}

#[test]
fn the_fewest_witnesses_are_those_of_the_smallest_groups() {
    let required = |rest: &str| parse(&(witnesses(1..=9) + rest)).required();

    assert_eq!(required("quorum none\n"), 0);
    assert_eq!(required("quorum w9\n"), 1);
    assert_eq!(required("group g all w1 w2 w3\nquorum g\n"), 3);
    assert_eq!(required("group a all w1 w2 w3\ngroup g any w4 a\nquorum g\n"), 1);
    let three = "group a all w1 w2 w3\ngroup b 2 w4 w5 w6\ngroup c any w7 w8\n";
    assert_eq!(required(&format!("{three}group g 2 a b c\nquorum g\n")), 3);
    assert_eq!(required(&format!("{three}group g all a b c\nquorum a\n")), 3);
}

#[test]
fn without_a_quorum_no_cosignature_is_asked_for() {
    let policy = parse(&(log(ORIGIN, 100) + &witness(1) + "quorum none\n"));

    assert!(policy.quorum_is_none());
    assert!(is_quorum(&policy, &[]));
    assert!(policy.open(&checkpoint(100, &[])).is_ok());
    assert!(parse("quorum none\n").logs().is_empty());
}

#[test]
fn a_policy_is_read_as_it_is_written() {
    let text = format!(
        "# a comment\n \t # another \u{e9}\n\nlog\t{}  https://log.example/ \n  {}\
         witness \u{212a} {} http://127.0.0.1:7380/w\ngroup K  1\tw1 \u{212a}\nquorum K\n{}",
        vkey(ORIGIN, KeyKind::Ed25519, 100),
        witness(1),
        witness_key(2),
        log("log.example/two", 101),
    );

    let policy = parse(&text);

    assert_eq!(policy.logs()[0].url(), Some("https://log.example/"));
    assert_eq!(policy.logs()[1].url(), None);
    assert_eq!(policy.logs()[1].vkey(), &vkey("log.example/two", KeyKind::Ed25519, 101));
    assert_eq!(policy.witnesses()[0].name(), "w1");
    assert_eq!(policy.witnesses()[0].vkey(), &witness_key(1));
    assert_eq!(policy.witnesses()[0].url(), None);
    assert_eq!(policy.witnesses()[1].name(), "\u{212a}");
    assert_eq!(policy.witnesses()[1].url(), Some("http://127.0.0.1:7380/w"));
}

#[test]
fn comments_are_any_bytes_and_everything_else_is_utf8() {
    let parse = |text: &[u8]| Policy::parse(text);

    assert!(parse(b"# caf\xe9\nquorum none\n").is_ok());
    for line in [&b"witness caf\xe9 x\n"[..], b"quorum caf\xe9\n", b"\xff\n"] {
        let not_utf8 = PolicyError::Line { line: 1, reason: PolicyLineError::NotUtf8 };
        assert_eq!(parse(line), Err(not_utf8));
    }
}

#[test]
fn a_printed_policy_means_the_same() {
    let more = format!(
        "log {} https://log.example/\nquorum none\nwitness w1 {} http://w/\n",
        vkey(ORIGIN, KeyKind::Ed25519, 100),
        witness_key(1),
    );
    for policy in [nested(), parse(&more), parse("quorum none\n")] {
        assert_eq!(parse(&policy.to_string()), policy, "{policy}");
    }
    assert_eq!(
        nested().to_string().lines().skip(7).collect::<Vec<_>>(),
        [
            "group X-witnesses 2 w1 w2 w3",
            "group Y-witnesses 1 w4 w5 w6",
            "group X-and-Y 2 X-witnesses Y-witnesses",
            "quorum X-and-Y"
        ]
    );
}

#[test]
fn every_byte_that_no_policy_has_is_refused() {
    for byte in 0..=255_u8 {
        let text = [b"# ", &[byte][..], b"\nquorum none\n"].concat();
        let allowed = matches!(byte, 0x09 | 0x0a | 0x20..=0x7e | 0x80..=0xff);
        let expected = PolicyError::Line { line: 1, reason: PolicyLineError::ControlCharacter };
        assert_eq!(Policy::parse(&text).err(), (!allowed).then_some(expected), "{byte:#x}");
    }
    assert_eq!(refused("quorum none\r\n").1, PolicyLineError::ControlCharacter);
}

#[test]
fn a_policy_that_was_cut_short_is_refused() {
    let text = nested().to_string();

    for end in 0..text.len() {
        assert!(text[..end].parse::<Policy>().is_err(), "{}", &text[..end]);
    }
    assert_eq!(refused("quorum none"), (1, PolicyLineError::NotTerminated));
    assert_eq!(witness(1).parse::<Policy>(), Err(PolicyError::NoQuorum));
    assert_eq!("".parse::<Policy>(), Err(PolicyError::NoQuorum));
}

#[test]
fn lines_of_another_form_are_refused() {
    let after = |line: &str| {
        let (number, reason) = refused(&format!("{}{line}\nquorum none\n", witnesses(1..=3)));
        assert_eq!(number, 4, "{line}");
        reason
    };
    let log_key = vkey(ORIGIN, KeyKind::Ed25519, 100);

    assert_eq!(after("logs x"), PolicyLineError::UnknownKeyword("logs".to_owned()));
    assert_eq!(after("LOG x"), PolicyLineError::UnknownKeyword("LOG".to_owned()));
    assert_eq!(after("log"), PolicyLineError::MissingItem(Form::Log));
    assert_eq!(after(&format!("log {log_key} url x")), PolicyLineError::ExtraItem(Form::Log));
    assert_eq!(after(&format!("log {log_key} #x")), PolicyLineError::ExtraItem(Form::Log));
    assert_eq!(after("witness w"), PolicyLineError::MissingItem(Form::Witness));
    let extra = format!("witness w {} url # x", witness_key(9));
    assert_eq!(after(&extra), PolicyLineError::ExtraItem(Form::Witness));
    assert_eq!(after("group g"), PolicyLineError::MissingItem(Form::Group));
    assert_eq!(after("group g all"), PolicyLineError::MissingItem(Form::Group));
    assert_eq!(after("quorum"), PolicyLineError::MissingItem(Form::Quorum));
    assert_eq!(after("quorum w1 # x"), PolicyLineError::ExtraItem(Form::Quorum));
}

#[test]
fn there_is_one_quorum() {
    assert_eq!(refused("quorum none\nquorum none\n"), (2, PolicyLineError::SecondQuorum));
}

#[test]
fn keys_of_the_wrong_kind_are_refused() {
    let log_key = vkey("name", KeyKind::Ed25519, 1);
    let witness_key = witness_key(1);

    assert_eq!(refused(&format!("log {witness_key}\n")).1, PolicyLineError::NotALogKey);
    assert_eq!(refused(&format!("witness w {log_key}\n")).1, PolicyLineError::NotAWitnessKey);
    assert_eq!(refused("log x\n").1, PolicyLineError::Vkey(VkeyError::Malformed));
}

#[test]
fn a_key_is_listed_once_whatever_it_is_called() {
    let again = |line: &str, name: &str, kind| {
        let other = vkey(name, kind, 1);
        refused(&format!("{}{}{line} {other}\n", log("one", 1), witness(1)))
    };

    assert_eq!(again("log", "two", KeyKind::Ed25519), (3, PolicyLineError::DuplicateLog));
    let witness = again("witness w2", "two", KeyKind::Cosignature);
    assert_eq!(witness, (3, PolicyLineError::DuplicateWitness));
}

#[test]
fn a_name_is_given_once_and_above_the_lines_that_use_it() {
    let after = |line: &str| refused(&format!("{}{line}\nquorum none\n", witnesses(1..=4))).1;
    let unknown = |name: &str| PolicyLineError::UnknownName(name.to_owned());
    let taken = |name: &str| PolicyLineError::DuplicateName(name.to_owned());

    assert_eq!(after(&format!("witness w1 {}", witness_key(9))), taken("w1"));
    assert_eq!(after("group w1 any w2"), taken("w1"));
    assert_eq!(after("group g any w1\ngroup g any w2"), taken("g"));
    assert_eq!(after("group g any g"), unknown("g"));
    assert_eq!(after("group g any h\ngroup h any w1"), unknown("h"));
    assert_eq!(after("quorum g\ngroup g any w1"), unknown("g"));
    assert_eq!(after("quorum W1"), unknown("W1"));
    assert_eq!(after("quorum witness.example/1"), unknown("witness.example/1"));
}

#[test]
fn nobody_counts_twice() {
    let after = |lines: &str| refused(&format!("{}{lines}\nquorum none\n", witnesses(1..=4))).1;
    let counted = |name: &str| PolicyLineError::AlreadyMember(name.to_owned());

    assert_eq!(after("group g 2 w1 w1"), counted("w1"));
    assert_eq!(after("group g any w1 w2\ngroup h any w3 w2"), counted("w2"));
    assert_eq!(after("group a any w1\ngroup b any a\ngroup c any a"), counted("a"));
}

#[test]
fn the_name_none_is_the_quorum_alone() {
    let after = |line: &str| refused(&format!("{}{line}\nquorum none\n", witnesses(1..=2))).1;

    assert_eq!(after("group none any w1"), PolicyLineError::ReservedName);
    assert_eq!(after("group g any w1 none"), PolicyLineError::ReservedName);
    assert_eq!(after(&format!("witness none {}", witness_key(9))), PolicyLineError::ReservedName);
}

#[test]
fn a_group_needs_one_to_all_of_its_members() {
    let group = |threshold: &str| {
        let text = format!("{}group g {threshold} w1 w2 w3\nquorum g\n", witnesses(1..=3));
        text.parse::<Policy>().map(|policy| policy.required()).map_err(|error| match error {
            PolicyError::Line { reason, .. } => reason,
            other => panic!("{other}"),
        })
    };

    for (threshold, required) in [("any", 1), ("1", 1), ("2", 2), ("3", 3), ("all", 3)] {
        assert_eq!(group(threshold), Ok(required));
    }
    for threshold in ["0", "4", "18446744073709551615"] {
        assert_eq!(group(threshold), Err(PolicyLineError::ThresholdOutOfRange), "{threshold}");
    }
    for threshold in ["ALL", "02", "00", "+2", "-1", "2.0", "0x2", "18446744073709551616", "w1"] {
        assert_eq!(group(threshold), Err(PolicyLineError::BadThreshold), "{threshold}");
    }
}

#[test]
fn policies_are_large_but_bounded() {
    let logs = |count: usize| -> String {
        (0..count).map(|seed| log(&format!("log{seed}"), 1000 + seed)).collect()
    };
    let nest = |count: usize| -> String {
        let first = "group g0 any w0\n".to_owned();
        (1..count).fold(first, |text, n| text + &format!("group g{n} any g{}\n", n - 1))
    };
    let deep = format!("{}{}{}quorum g255\n", logs(256), witnesses(0..256), nest(256));

    let policy = parse(&deep);

    assert_eq!(policy.required(), 1);
    assert!(is_quorum(&policy, &[0]) && !is_quorum(&policy, &[1]));
    assert_eq!(refused(&logs(257)), (257, PolicyLineError::TooManyLogs));
    assert_eq!(refused(&witnesses(0..257)), (257, PolicyLineError::TooManyWitnesses));
    assert_eq!(refused(&(witness(0) + &nest(257))), (258, PolicyLineError::TooManyGroups));
    let comment = |length: usize| format!("#{}\nquorum none\n", "x".repeat(length - 14));
    assert!(comment(MAX_POLICY_BYTES).parse::<Policy>().is_ok());
    assert_eq!(comment(MAX_POLICY_BYTES + 1).parse::<Policy>(), Err(PolicyError::TooLong));
}

#[test]
fn a_checkpoint_needs_a_listed_log_and_a_quorum() {
    let policy = nested();

    let opened = policy.open(&checkpoint(100, &[1, 2, 4, 77])).expect("a quorum");

    assert_eq!(opened.origin(), ORIGIN);
    assert_eq!(
        policy.open(&checkpoint(101, &[1, 2, 4])),
        Err(PolicyOpenError::Log(VerifyError::NoKnownSignature))
    );
    assert_eq!(
        policy.open(&checkpoint(100, &[1, 2, 77])),
        Err(PolicyOpenError::NoQuorum { got: 2, required: 3 })
    );
    assert_eq!(
        policy.open(&checkpoint(100, &[])),
        Err(PolicyOpenError::NoQuorum { got: 0, required: 3 })
    );
    let names: Vec<_> = policy
        .cosigners(&checkpoint(100, &[4, 1, 77]))
        .expect("good cosignatures")
        .into_iter()
        .map(|witness| witness.name().to_owned())
        .collect();
    assert_eq!(names, ["w1", "w4"]);
}

#[test]
fn any_listed_log_will_do() {
    let policy = parse(&(log("other", 1) + &log(ORIGIN, 2) + &log(ORIGIN, 3) + "quorum none\n"));

    for seed in [2, 3] {
        assert!(policy.open(&checkpoint(seed, &[])).is_ok());
    }
    assert!(policy.open(&checkpoint(1, &[])).is_err());
}

#[test]
fn a_log_answers_for_its_own_origin_alone() {
    let policy = parse(&(log("other", 1) + &log(ORIGIN, 2) + "quorum none\n"));
    let other = "other".parse().expect("a good name");
    let foreign = Checkpoint::new(ORIGIN, TreeRoot::EMPTY).expect("a good origin");
    let signed = sign_checkpoint(&foreign, &other, &key(1));
    let note = Note::parse(signed.as_bytes()).expect("a note");

    assert_eq!(policy.open(&note), Err(PolicyOpenError::OtherOrigin));
}

#[test]
fn what_a_listed_log_signs_must_be_a_checkpoint() {
    let policy = parse(&(log("other", 1) + "quorum none\n"));
    let other = "other".parse().expect("a good name");
    let line = SignatureLine::sign("other\n", &other, &key(1));
    let note = Note::new("other\n".to_owned(), line).expect("a note");

    assert!(matches!(policy.open(&note), Err(PolicyOpenError::Checkpoint(_))));
}

#[test]
fn one_bad_line_of_a_listed_key_spoils_the_checkpoint() {
    let policy = nested();
    let good = checkpoint(100, &[1, 2, 3, 4]);
    let other = checkpoint(100, &[5]).signatures()[1].clone();
    let text = good.text().replace("\n7\n", "\n8\n");
    let bad_log = Note::new(text, good.signatures()[0].clone()).expect("a note");
    let time = Timestamp::from_millis(1_700_000_000_000).expect("a time");
    let elsewhere = Checkpoint::new("elsewhere", TreeRoot::EMPTY).expect("a good origin");
    let stray = cosign(&elsewhere, time, witness_key(5).name(), &key(5));

    assert!(policy.open(&good.clone().with(other).expect("a note")).is_ok());
    let bad = |vkey: &Vkey| VerifyError::BadSignature { name: vkey.name().clone(), id: vkey.id() };
    assert_eq!(
        policy.open(&good.with(stray).expect("a note")),
        Err(PolicyOpenError::Cosignature(bad(&witness_key(5))))
    );
    assert_eq!(policy.open(&bad_log), Err(PolicyOpenError::Log(bad(policy.logs()[0].vkey()))));
}

#[test]
fn the_key_of_a_log_makes_no_cosignature() {
    let policy = parse(&format!("{}{}quorum w1\n", log(ORIGIN, 100), witness(1)));
    let note = checkpoint(100, &[]);
    let plain = SignatureLine::sign(note.text(), witness_key(1).name(), &key(1));

    let refused = policy.open(&note.with(plain).expect("a note"));

    assert_eq!(refused, Err(PolicyOpenError::NoQuorum { got: 0, required: 1 }));
}
