//! The reader, the writer and the check of canonical JSON agree with each other and with an
//! independent writer.

use diogenes_common::canonical::{JsonError, check, parse, to_vec};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Number, Value};

const MAX_DEPTH: usize = 6;

/// Characters at which orders, escapes and encodings change.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => proptest::char::range('a', 'c'),
        1 => proptest::sample::select(vec![
            '\u{1}', '\u{8}', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{1f}', ' ', '"', '/', '\\',
            '\u{7e}', '\u{7f}', '\u{80}', 'ö', '€', '\u{d7ff}', '\u{e000}', '\u{fb33}', '\u{ffff}',
            '\u{10000}', '\u{1f600}', '\u{10ffff}',
        ]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    vec(character(), 0..12).prop_map(String::from_iter)
}

fn number() -> impl Strategy<Value = Number> {
    const LIMIT: i64 = (1 << 53) - 1;
    let halfway = (0_i64..1 << 51, proptest::sample::select(vec![0.25, 0.5, 0.75]));
    prop_oneof![
        (-LIMIT..=LIMIT).prop_map(Number::from),
        (-20_i64..20).prop_map(Number::from),
        proptest::sample::select(vec![LIMIT, -LIMIT]).prop_map(Number::from),
        any::<u64>().prop_filter_map("in range", |bits| as_parsed(f64::from_bits(bits))),
        (-1e9..1e9).prop_filter_map("in range", as_parsed),
        (-1e-5..1e-5).prop_filter_map("in range", as_parsed),
        // Of two shortest spellings at the same distance the even one is right.
        halfway.prop_filter_map("in range", |(whole, part)| {
            let whole = i32::try_from(whole >> 20).ok()?;
            as_parsed(f64::from(whole) * 1_048_576.0 + part)
        }),
    ]
}

/// A double as the reader would return it, if it would.
fn as_parsed(double: f64) -> Option<Number> {
    (double.abs() < 9e15 && double.fract() != 0.0).then(|| Number::from_f64(double))?
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            btree_map(text(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

/// One small damage: what a careless or hostile writer does to canonical bytes.
#[derive(Clone, Debug)]
enum Damage {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, String),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let fragment = proptest::sample::select(vec![
        " ",
        "\n",
        "0",
        "1",
        "-",
        ".",
        "e1",
        "E",
        "e+",
        "00",
        ".0",
        "1e400",
        "9007199254740991",
        "9",
        "\"",
        "\\",
        "/",
        "\\/",
        "\\n",
        "\\u000a",
        "\\u0000",
        "\\u001f",
        "\\u001F",
        "\\ud83d",
        "\\ude00",
        "\\u0041",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        "{}",
        "[]",
        "null",
        "true",
        "\"a\":1,",
        "a",
        "\u{e000}",
        "\u{10000}",
        "\u{0}",
        "\u{feff}",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<prop::sample::Index>(), fragment)
            .prop_map(|(at, text)| Damage::Insert(at, text.to_owned())),
        (any::<prop::sample::Index>(), 1_usize..4)
            .prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<prop::sample::Index>(), 1_usize..9)
            .prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let index = |at: &prop::sample::Index| at.index(bytes.len() + 1);
    match damage {
        Damage::Replace(at, byte) => {
            let at = index(at);
            if let Some(place) = bytes.get_mut(at) {
                *place = *byte;
            }
        }
        Damage::Insert(at, text) => {
            let at = index(at);
            bytes.splice(at..at, text.bytes());
        }
        Damage::Remove(at, count) => {
            let at = index(at);
            let end = (at + count).min(bytes.len());
            bytes.drain(at..end);
        }
        Damage::Repeat(at, count) => {
            let at = index(at);
            let end = (at + count).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// The one definition of canonical bytes: reading and writing gives them back.
fn is_canonical(bytes: &[u8]) -> bool {
    parse(bytes, MAX_DEPTH).is_ok_and(|value| to_vec(&value) == bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_writer_agrees_with_an_independent_one(value in value()) {
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();

        prop_assert_eq!(
            String::from_utf8(to_vec(&value)).unwrap(),
            String::from_utf8(theirs).unwrap()
        );
    }

    #[test]
    fn what_was_written_is_canonical_and_reads_back(value in value()) {
        let bytes = to_vec(&value);

        prop_assert_eq!(check(&bytes, MAX_DEPTH), Ok(()));
        prop_assert_eq!(parse(&bytes, MAX_DEPTH), Ok(value));
    }

    #[test]
    fn other_spellings_read_as_the_same_value(value in value()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();

        prop_assert_eq!(parse(&pretty, MAX_DEPTH), Ok(value));
    }

    #[test]
    fn the_check_never_parts_from_reading_and_writing(
        value in value(),
        damages in vec(damage(), 1..4),
    ) {
        let mut bytes = to_vec(&value);
        for damage in &damages {
            apply(&mut bytes, damage);
        }

        let checked = check(&bytes, MAX_DEPTH);
        let shown = String::from_utf8_lossy(&bytes);
        prop_assert_eq!(checked.is_ok(), is_canonical(&bytes), "{:?} {}", checked, shown);
        if let Err(JsonError::Invalid { .. } | JsonError::TooDeep) = checked {
            prop_assert!(parse(&bytes, MAX_DEPTH).is_err(), "{:?} {}", checked, shown);
        }
    }

    #[test]
    fn the_reader_takes_nothing_that_serde_json_refuses(
        value in value(),
        damages in vec(damage(), 1..3),
    ) {
        let mut bytes = to_vec(&value);
        for damage in &damages {
            apply(&mut bytes, damage);
        }

        let theirs = serde_json::from_slice::<Value>(&bytes);
        match parse(&bytes, MAX_DEPTH) {
            Ok(_) => prop_assert!(theirs.is_ok()),
            Err(JsonError::Invalid { what, .. }) => prop_assert!(theirs.is_err(), "{}", what),
            Err(_) => {}
        }
    }

    #[test]
    fn text_made_of_json_fragments_is_judged_alike(
        bytes in proptest::string::bytes_regex(
            r#"([\[\]{},:]|"a"|"b"|"\\n"|"\\u00[01][af]"|-?[019](\.[05]{1,2})?([eE][+-]?[0-9]{1,2})?|null| ){0,9}"#
        ).unwrap()
    ) {
        prop_assert_eq!(check(&bytes, MAX_DEPTH).is_ok(), is_canonical(&bytes));
    }
}
