//! Signed notes, checkpoints and cosignatures against published vectors.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::checkpoint::{
    Checkpoint, CheckpointError, OpenError, open, open_known, parse_size, sign_checkpoint,
};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::{CosignatureError, cosign, verify_cosignature};
use diogenes_common::keys::{KeyError, SigningKey};
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{
    BadKeyName, KeyKind, KeyName, LineError, Note, NoteError, SignatureLine, VerifyError, Vkey,
    VkeyError, parse_signature_lines,
};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/extracted.json");
    let text = fs::read(path).expect("the vectors are in the tree");
    let all: Value = serde_json::from_slice(&text).expect("the vectors are JSON");
    all[name].clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

fn vkey(value: &Value, name: &str) -> Vkey {
    text(value, name).parse().expect("a good vkey")
}

/// The seed at the end of a private key as Go writes it.
fn signing_key(skey: &str) -> SigningKey {
    let key = BASE64.decode(skey.splitn(5, '+').nth(4).expect("five parts")).expect("base64");
    SigningKey::from_seed(<[u8; 32]>::try_from(&key[1..]).expect("a seed"))
}

fn name(name: &str) -> KeyName {
    name.parse().expect("a good name")
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn checkpoint() -> Checkpoint {
    let tree = TreeRoot { size: TreeSize::new(5).expect("small"), hash: Hash::of_leaf(b"root") };
    Checkpoint::new("log.example/test", tree).expect("a good origin")
}

#[test]
fn the_example_of_the_specification_verifies() {
    let example = vectors("c2sp_signed_note_example");
    let known = [vkey(&example, "vkey")];
    let note = Note::parse(text(&example, "note").as_bytes()).expect("a note");

    let verified = note.verify(&known).expect("a good signature");

    assert_eq!(verified[0].key, &known[0]);
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), text(&example, "note"));
    assert_eq!(known[0].to_string(), text(&example, "vkey"));
}

#[test]
fn signing_makes_the_published_note() {
    let go = vectors("go_note");
    let peter = vkey(&go, "vkey");
    let key = signing_key(text(&go, "skey"));

    let line = SignatureLine::sign(text(&go, "text"), peter.name(), &key);
    let note = Note::new(text(&go, "text").to_owned(), line).expect("a note");

    assert_eq!(note.to_string(), text(&go, "signed"));
    assert_eq!(peter.key(), key.public());
}

#[test]
fn notes_get_the_verdicts_of_the_go_implementation() {
    let go = vectors("go_note");
    let keys = [vkey(&go, "vkey"), vkey(&go, "enoch_vkey")];
    let known = |names: &Value| -> Vec<Vkey> {
        let names = names.as_array().expect("a list");
        let listed = |key: &&Vkey| names.iter().any(|name| name == key.name().as_str());
        keys.iter().filter(listed).cloned().collect()
    };
    let cases = go["expect"].as_array().expect("a list");
    let mut judged = 0;
    for case in cases {
        match (case["msg"].as_str(), case["msg_repeat"].as_array()) {
            (Some(message), _) => {
                let note = Note::parse(message.as_bytes()).expect("a note");
                let known = known(&case["known"]);
                match note.verify(&known) {
                    Ok(verified) => {
                        let names: Vec<_> =
                            verified.iter().map(|one| one.line.name().as_str()).collect();
                        assert_eq!(case["verified"], serde_json::json!(names));
                    }
                    Err(error) => {
                        assert_eq!(error, VerifyError::NoKnownSignature);
                        assert!(case["error"].is_string(), "{case}");
                    }
                }
            }
            (None, Some(parts)) => {
                let lines = |count| parts[1].as_str().expect("a line").repeat(count);
                let note = |count| parts[0].as_str().expect("a text").to_owned() + &lines(count);
                assert_eq!(parts[2], 101);
                assert_eq!(Note::parse(note(101).as_bytes()), Err(NoteError::TooManySignatures));
                assert!(Note::parse(note(100).as_bytes()).is_ok());
            }
            (None, None) => {
                let mut line = text(&go, "peter_sig_line").to_owned();
                line.insert_str(60, "ABCD");
                let message = format!("{}\n{line}", text(&go, "text"));
                let note = Note::parse(message.as_bytes()).expect("a well-formed note");
                let peter = vkey(&go, "vkey");
                let refused = note.verify(std::slice::from_ref(&peter)).map(|_| ());
                let (name, id) = (peter.name().clone(), peter.id());
                assert_eq!(refused, Err(VerifyError::BadSignature { name, id }));
            }
        }
        judged += 1;
    }
    assert_eq!(judged, 5);
}

#[test]
fn two_known_keys_may_both_sign() {
    let go = vectors("go_note");
    let known = [vkey(&go, "vkey"), vkey(&go, "enoch_vkey")];
    let message = text(&go, "signed").to_owned() + text(&go, "enoch_sig_line");
    let note = Note::parse(message.as_bytes()).expect("a note");

    let verified = note.verify(&known).expect("both verify");

    let keys: Vec<_> = verified.iter().map(|one| one.key.clone()).collect();
    assert_eq!(keys, known);
}

#[test]
fn one_bad_signature_of_a_known_key_spoils_the_note() {
    let go = vectors("go_note");
    let known = [vkey(&go, "vkey"), vkey(&go, "enoch_vkey")];
    let altered = text(&go, "enoch_sig_line").replace("+eBzm", "+eBzn");
    let message = text(&go, "signed").to_owned() + &altered;
    let note = Note::parse(message.as_bytes()).expect("a note");

    let (name, id) = (known[1].name().clone(), known[1].id());
    let refused = note.verify(&known).map(|_| ());
    assert_eq!(refused, Err(VerifyError::BadSignature { name, id }));
    assert!(note.verify(&known[..1]).is_ok());
}

#[test]
fn of_the_lines_of_one_key_only_the_first_is_looked_at() {
    let go = vectors("go_note");
    let known = [vkey(&go, "vkey")];
    let good = text(&go, "peter_sig_line");
    let bad = good.replace("ZJku", "ZJkv");
    let note = |lines: &str| {
        Note::parse(format!("{}\n{lines}", text(&go, "text")).as_bytes()).expect("a note")
    };

    assert!(note(&(good.to_owned() + &bad)).verify(&known).is_ok());
    assert!(note(&(bad + good)).verify(&known).is_err());
}

#[test]
fn a_name_or_an_id_alone_makes_no_key_known() {
    let go = vectors("go_note");
    let peter = vkey(&go, "vkey");
    let known = [
        Vkey::new(name("PeterNeumann2"), KeyKind::Ed25519, peter.key().clone()),
        Vkey::new(name("PeterNeumann"), KeyKind::Cosignature, peter.key().clone()),
        Vkey::new(name("PeterNeumann"), KeyKind::Ed25519, key(1).public().clone()),
    ];
    let note = Note::parse(text(&go, "signed").as_bytes()).expect("a note");

    assert_eq!(note.verify(&known), Err(VerifyError::NoKnownSignature));
    assert_eq!(note.verify(&[]), Err(VerifyError::NoKnownSignature));
}

#[test]
fn malformed_notes_are_refused_with_their_reason() {
    let go = vectors("go_note");
    let malformed = go["malformed"].as_array().expect("a list");
    let expected = [
        NoteError::NoSignature,
        NoteError::NoSignature,
        NoteError::NotTerminated,
        NoteError::ControlCharacter,
        NoteError::NotTerminated,
        NoteError::Line(LineError::NoDash),
    ];
    assert_eq!(malformed.len(), expected.len());
    for (message, reason) in malformed.iter().zip(expected) {
        let message = message.as_str().expect("a text");
        assert_eq!(Note::parse(message.as_bytes()), Err(reason), "{message}");
    }
    for message in go["malformed_bytes_hex"].as_array().expect("a list") {
        let bytes = hex::decode(message.as_str().expect("a text")).expect("hex");
        assert_eq!(Note::parse(&bytes), Err(NoteError::NotUtf8));
    }
    let crlf = text(&go, "signed").replace('\n', "\r\n");
    assert_eq!(Note::parse(crlf.as_bytes()), Err(NoteError::ControlCharacter));
    assert_eq!(Note::parse(&vec![b'a'; (1 << 20) + 1]), Err(NoteError::TooLong));
}

#[test]
fn malformed_signature_lines_are_refused_with_their_reason() {
    let line = |text: &str| text.parse::<SignatureLine>().map(|line| line.to_string());
    let good = "\u{2014} name AAAAAAA=";

    assert_eq!(line(good), Ok(good.to_owned()));
    assert_eq!(line("- name AAAAAAA="), Err(LineError::NoDash));
    assert_eq!(line("\u{2014}  AAAAAAA="), Err(LineError::BadName(BadKeyName)));
    assert_eq!(line("\u{2014} a+b AAAAAAA="), Err(LineError::BadName(BadKeyName)));
    assert_eq!(line("\u{2014} a\u{a0}b AAAAAAA="), Err(LineError::BadName(BadKeyName)));
    assert_eq!(line("\u{2014} name  AAAAAAA="), Err(LineError::NotBase64));
    assert_eq!(line("\u{2014} name AAAAAAA"), Err(LineError::NotBase64));
    assert_eq!(line("\u{2014} name AAAAAAB="), Err(LineError::NotBase64));
    assert_eq!(line("\u{2014} name AAAAAA=="), Err(LineError::TooShort));
    assert_eq!(line("\u{2014} name "), Err(LineError::TooShort));
    assert_eq!(line("\u{2014} name"), Err(LineError::TooShort));
    assert_eq!(name(&"n".repeat(255)).as_str().len(), 255);
    assert_eq!("n".repeat(256).parse::<KeyName>(), Err(BadKeyName));
    assert_eq!(parse_signature_lines(&format!("{good}\n{good}\n")).map(|l| l.len()), Ok(2));
    assert_eq!(parse_signature_lines(""), Err(NoteError::NoSignature));
    assert_eq!(parse_signature_lines(good), Err(NoteError::NotTerminated));
    assert_eq!(
        parse_signature_lines(&format!("{good}\n\n")),
        Err(NoteError::Line(LineError::NoDash))
    );
}

#[test]
fn a_note_keeps_the_newest_line_of_each_key() {
    let (name, text) = (name("n"), "text\n");
    let old = SignatureLine::sign("other text\n", &name, &key(1));
    let new = SignatureLine::sign(text, &name, &key(1));
    let other = SignatureLine::sign(text, &name, &key(2));

    let note = Note::new(text.to_owned(), old)
        .and_then(|note| note.with(other.clone()))
        .and_then(|note| note.with(new.clone()))
        .expect("a note");

    assert_eq!(note.signatures(), [new, other]);
    assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
}

#[test]
fn a_note_that_could_not_be_read_again_is_not_made() {
    let line = SignatureLine::sign("text\n", &name("n"), &key(1));
    let made = |text: String| Note::new(text, line.clone()).map(|note| note.to_string());

    assert_eq!(made("text".to_owned()), Err(NoteError::NotTerminated));
    assert_eq!(made("te\txt\n".to_owned()), Err(NoteError::ControlCharacter));
    assert_eq!(made("a".repeat(1 << 20) + "\n"), Err(NoteError::TooLong));
    let paragraphs = "one\n\ntwo\n\n".to_owned();
    let note = made(paragraphs.clone()).expect("empty lines are text");
    assert_eq!(Note::parse(note.as_bytes()).map(|note| note.text().to_owned()), Ok(paragraphs));
}

#[test]
fn vkeys_survive_printing_and_nothing_near_them_is_a_vkey() {
    let go = vectors("go_note");
    for good in [text(&go, "vkey"), text(&go, "enoch_vkey")] {
        assert_eq!(good.parse::<Vkey>().map(|key| key.to_string()), Ok(good.to_owned()));
        for end in 0..good.len() {
            assert!(good[..end].parse::<Vkey>().is_err(), "{}", &good[..end]);
            assert!(end == 0 || good[end..].parse::<Vkey>().is_err(), "{}", &good[end..]);
        }
        for place in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[place] += 1;
            let altered = String::from_utf8(bytes).expect("still ASCII");
            assert!(altered.parse::<Vkey>().is_err(), "{altered}");
        }
    }
}

#[test]
fn bad_vkeys_are_refused_with_their_reason() {
    let go = vectors("go_note");
    let bad = |index: usize| go["bad_vkeys"][index].as_str().expect("a text").parse::<Vkey>();
    let good = text(&go, "vkey");
    let low_order = BASE64.encode([&[0x01][..], &[0; 32]].concat());

    assert_eq!(bad(0), Err(VkeyError::NotBase64));
    assert_eq!(bad(1), Err(VkeyError::UnknownType));
    assert_eq!("name+00000000".parse::<Vkey>(), Err(VkeyError::Malformed));
    assert_eq!("+c74f20a3+AQ==".parse::<Vkey>(), Err(VkeyError::BadName(BadKeyName)));
    assert_eq!(format!("{good}\n").parse::<Vkey>(), Err(VkeyError::NotBase64));
    assert_eq!(format!("{good}AAAA").parse::<Vkey>(), Err(VkeyError::Key(KeyError::Malformed)));
    assert_eq!(good.replace("c74f", "c74e").parse::<Vkey>(), Err(VkeyError::WrongId));
    assert_eq!(good.replace("c74f20a3", "C74F20A3").parse::<Vkey>(), Err(VkeyError::WrongId));
    assert_eq!(
        format!("name+00000000+{low_order}").parse::<Vkey>(),
        Err(VkeyError::Key(KeyError::LowOrder))
    );
}

#[test]
fn a_checkpoint_is_signed_and_opened_again() {
    let signed = sign_checkpoint(&checkpoint(), &name("log.example/test"), &key(1));

    let root = checkpoint().tree().hash.to_base64();
    assert!(signed.starts_with(&format!("log.example/test\n5\n{root}\n\n\u{2014} log.exam")));
    assert_eq!(open(&signed, "log.example/test", key(1).public()), Ok(checkpoint()));
}

#[test]
fn a_checkpoint_of_another_log_or_key_is_not_opened() {
    let origin = "log.example/test";
    let signed = sign_checkpoint(&checkpoint(), &name(origin), &key(1));
    let unknown = Err(OpenError::Unverified(VerifyError::NoKnownSignature));

    assert_eq!(open(&signed, origin, key(2).public()), unknown);
    assert_eq!(open(&signed, "log.example/other", key(1).public()), unknown);
    assert_eq!(
        open(&signed.replace("test\n5\n", "test\n6\n"), origin, key(1).public()).map_err(
            |error| matches!(error, OpenError::Unverified(VerifyError::BadSignature { .. }))
        ),
        Err(true)
    );
    assert_eq!(
        open(&signed, "go.sum database tree", key(1).public()),
        Err(OpenError::Name(BadKeyName))
    );
    let renamed = sign_checkpoint(&checkpoint(), &name("other"), &key(1));
    let known = [Vkey::new(name("other"), KeyKind::Ed25519, key(1).public().clone())];
    let note = Note::parse(renamed.as_bytes()).expect("a note");
    assert_eq!(open_known(&note, origin, &known), Ok(checkpoint()));
    assert_eq!(open_known(&note, "other", &known), Err(OpenError::OtherOrigin));
}

#[test]
fn only_the_exact_text_is_a_checkpoint() {
    let root = Hash::EMPTY_TREE.to_base64();
    let parse = |text: &str| text.parse::<Checkpoint>().map(|checkpoint| checkpoint.to_string());
    for good in [
        format!("origin\n0\n{root}\n"),
        format!("go.sum database tree\n9223372036854775807\n{root}\n"),
        format!("origin\n1\n{root}\nextension\n \n"),
    ] {
        assert_eq!(parse(&good), Ok(good.clone()));
    }
    for size in ["", "00", "01", "+1", "-1", " 1", "1 ", "0x1", "9223372036854775808", "1\u{660}"] {
        let reason =
            if size.is_empty() { CheckpointError::EmptyLine } else { CheckpointError::BadSize };
        assert_eq!(parse(&format!("origin\n{size}\n{root}\n")), Err(reason), "{size}");
        assert_eq!(parse_size(size), None);
    }
    let short = BASE64.encode([0; 31]);
    for (text, reason) in [
        (String::new(), CheckpointError::TooFewLines),
        ("origin\n1\n".to_owned(), CheckpointError::TooFewLines),
        (format!("origin\n1\n{root}"), CheckpointError::TooFewLines),
        (format!("\n1\n{root}\n"), CheckpointError::EmptyLine),
        (format!("origin\n1\n{root}\n\n"), CheckpointError::EmptyLine),
        (format!("origin\r\n1\n{root}\n"), CheckpointError::ControlCharacter),
        (format!("origin\n1\n{short}\n"), CheckpointError::BadRoot),
        (format!("origin\n1\n{}\n", root.trim_end_matches('=')), CheckpointError::BadRoot),
        (format!("origin\n1\n{root} \n"), CheckpointError::BadRoot),
    ] {
        assert_eq!(parse(&text), Err(reason), "{text}");
    }
    for origin in ["", "two\nlines", "tab\t"] {
        assert!(Checkpoint::new(origin, TreeRoot::EMPTY).is_err());
    }
}

#[test]
fn a_cosignature_is_the_published_line() {
    let vector = vectors("cosignature_v1_generated");
    let seed = hex::decode(text(&vector, "seed_hex")).expect("hex");
    let key = SigningKey::from_seed(<[u8; 32]>::try_from(seed).expect("a seed"));
    let witness = vkey(&vector, "vkey_type04");
    let checkpoint: Checkpoint = text(&vector, "checkpoint_body").parse().expect("a checkpoint");
    let seconds = vector["timestamp"].as_i64().expect("a number");
    let time = Timestamp::from_millis(seconds * 1000 + 999).expect("a time");

    let line = cosign(&checkpoint, time, witness.name(), &key);

    assert_eq!(format!("{line}\n"), text(&vector, "line"));
    assert_eq!(verify_cosignature(&line, &checkpoint, key.public()), Ok(seconds.unsigned_abs()));
    assert_eq!(Vkey::new(name("Wit1"), KeyKind::Cosignature, key.public().clone()), witness);
    assert_eq!(vkey(&vector, "vkey_type01").kind(), KeyKind::Ed25519);
    let note = Note::new(checkpoint.to_string(), line).expect("a note");
    assert_eq!(note.verify(&[witness]).map(|verified| verified.len()), Ok(1));
    let message = text(&vector, "signed_message").as_bytes();
    let signature = key.sign(message);
    assert_eq!(note.signatures()[0].signature()[8..], signature.as_bytes()[..]);
}

#[test]
fn a_cosignature_holds_for_nothing_else() {
    let time = Timestamp::from_millis(1_700_000_000_000).expect("a time");
    let line = cosign(&checkpoint(), time, &name("w"), &key(1));
    let other_tree = Checkpoint::new(checkpoint().origin(), TreeRoot::EMPTY).expect("good");
    let other_log = Checkpoint::new("other", checkpoint().tree()).expect("good");
    let plain = SignatureLine::sign(&checkpoint().to_string(), &name("w"), &key(1));
    let parts = |edit: fn(&mut Vec<u8>)| -> SignatureLine {
        let mut bytes = [&line.id().as_bytes()[..], line.signature()].concat();
        edit(&mut bytes);
        format!("\u{2014} w {}", BASE64.encode(bytes)).parse().expect("a line")
    };
    let verify = |line: &SignatureLine| verify_cosignature(line, &checkpoint(), key(1).public());

    assert_eq!(verify(&line), Ok(1_700_000_000));
    for other in [other_tree, other_log] {
        assert_eq!(
            verify_cosignature(&line, &other, key(1).public()),
            Err(CosignatureError::BadSignature)
        );
    }
    assert_eq!(
        verify_cosignature(&line, &checkpoint(), key(2).public()),
        Err(CosignatureError::OtherKey)
    );
    assert_eq!(verify(&plain), Err(CosignatureError::OtherKey));
    assert_eq!(verify(&parts(|bytes| bytes[11] ^= 1)), Err(CosignatureError::BadSignature));
    assert_eq!(verify(&parts(|bytes| bytes[4] ^= 0x80)), Err(CosignatureError::Malformed));
    assert_eq!(verify(&parts(|bytes| bytes.push(0))), Err(CosignatureError::Malformed));
    assert_eq!(verify(&parts(|bytes| bytes.truncate(9))), Err(CosignatureError::Malformed));
}

#[test]
fn a_cosignature_covers_extension_lines() {
    let time = Timestamp::from_millis(1_700_000_000_000).expect("a time");
    let extended: Checkpoint = format!("{}extension\n", checkpoint()).parse().expect("good");
    let line = cosign(&extended, time, &name("w"), &key(1));

    assert_eq!(extended.extensions(), ["extension"]);
    assert!(verify_cosignature(&line, &extended, key(1).public()).is_ok());
    assert!(verify_cosignature(&line, &checkpoint(), key(1).public()).is_err());
}

#[test]
fn signatures_of_unsupported_keys_are_passed_over() {
    let vector = vectors("mldsa44_cosignature_generated");
    let body = text(&vector, "checkpoint_body");
    let origin = "example.com/log/testdata";
    let log = sign_checkpoint(&body.parse().expect("a checkpoint"), &name(origin), &key(1));

    let message = log + text(&vector, "line");

    assert!(open(&message, origin, key(1).public()).is_ok());
    assert_eq!(text(&vector, "vkey").parse::<Vkey>(), Err(VkeyError::UnknownType));
}

#[test]
fn the_keys_of_a_published_log_are_read() {
    let testlog = vectors("tessera_testlog");
    let log = vkey(&testlog, "vkey");

    assert_eq!(signing_key(text(&testlog, "skey")).public(), log.key());
    assert_eq!(log.name().as_str(), "example.com/log/testdata");
}
