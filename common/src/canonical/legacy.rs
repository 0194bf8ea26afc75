//! The form that Python clients of the original system sign: what
//! `json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=True)` writes.
//!
//! ```text
//! members    by code point, where RFC 8785 sorts by UTF-16 code unit
//! strings    \" \\ \b \f \n \r \t, else \uXXXX for all that is not printable ASCII
//! numbers    integers in full; fractions with the shortest digits, in full from 0.0001 on and
//!            below with an exponent of two digits at least: 0.0001, 1e-05, 1.5e-07, 1e-100
//! ```
//!
//! Python tells `1` from `1.0` and `0` from `-0.0`, I-JSON does not: numbers of integral value are
//! written as integers, as every other reader hands them on. A float of integral value in a
//! manifest is the one thing that a Python client may sign and that does not verify.

use std::cmp::Ordering;
use std::io::Write as _;

use super::{EscapeBuffer, Form, shortest_digits, write_positional};

pub(super) struct Legacy;

impl Form for Legacy {
    fn order(a: &str, b: &str) -> Ordering {
        a.cmp(b)
    }

    fn string(text: &str, out: &mut Vec<u8>) {
        out.push(b'"');
        for character in text.chars() {
            if matches!(character, ' '..='~') && !matches!(character, '"' | '\\') {
                out.extend(u8::try_from(character));
            } else {
                out.extend_from_slice(EscapeBuffer::default().write(character));
            }
        }
        out.push(b'"');
    }

    /// Writes a double as Python's `float.__repr__` does.
    fn double(double: f64, out: &mut Vec<u8>) {
        let (digits, point) = shortest_digits(double);
        if digits.is_empty() {
            return out.extend_from_slice(b"0");
        }
        if double < 0.0 {
            out.push(b'-');
        }
        if (-3..=16).contains(&point) {
            return write_positional(&digits, point, out);
        }
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "e{sign}{:02}", exponent.unsigned_abs()).expect("a vector takes every byte");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::canonical::{MAX_DEPTH, parse, to_legacy};

    fn legacy(text: &str) -> String {
        String::from_utf8(to_legacy(&parse(text.as_bytes(), MAX_DEPTH).unwrap())).unwrap()
    }

    #[test]
    fn the_legacy_form_is_what_python_writes() {
        let value =
            json!({"\u{1f600}": "\u{7f}~", "\u{ff21}": "é\n\"\\/", "a": [1, true, null, 1.5]});

        let expected =
            r#"{"a":[1,true,null,1.5],"\uff21":"\u00e9\n\"\\/","\ud83d\ude00":"\u007f~"}"#;
        assert_eq!(String::from_utf8(to_legacy(&value)).unwrap(), expected);
    }

    /// Every expectation was printed by Python 3.
    #[test]
    fn members_are_in_the_order_of_code_points() {
        let text = "{\"\u{1f600}\":2,\"z\":1.5e-05,\"\u{ffff}\":3,\"\u{e000}\":1}";
        let expected = r#"{"z":1.5e-05,"\ue000":1,"\uffff":3,"\ud83d\ude00":2}"#;
        assert_eq!(legacy(text), expected);
    }

    #[test]
    fn all_but_printable_ascii_is_escaped() {
        let text = r#""\u007f\u0080\u0001\u001f\b\f\n\r\t\/<>\u2028 ~""#;
        let expected = r#""\u007f\u0080\u0001\u001f\b\f\n\r\t/<>\u2028 ~""#;
        assert_eq!(legacy(text), expected);
    }

    #[test]
    fn fractions_are_written_as_python_does() {
        for (text, expected) in [
            ("1.5", "1.5"),
            ("-2.25", "-2.25"),
            ("0.1", "0.1"),
            ("0.0001", "0.0001"),
            ("0.1e-3", "0.0001"),
            ("0.00012345", "0.00012345"),
            ("0.00001", "1e-05"),
            ("1.5e-5", "1.5e-05"),
            ("0.000001", "1e-06"),
            ("1e-7", "1e-07"),
            ("1.25e-7", "1.25e-07"),
            ("-3e-10", "-3e-10"),
            ("9.999999999999999e-5", "9.999999999999999e-05"),
            ("1e-100", "1e-100"),
            ("5e-324", "5e-324"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("4503599627370495.5", "4503599627370495.5"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("123456.789", "123456.789"),
            ("100.5", "100.5"),
        ] {
            assert_eq!(legacy(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_of_integral_value_are_integers() {
        for (text, expected) in
            [("1.0", "1"), ("-0.0", "0"), ("1e3", "1000"), ("9007199254740991", "9007199254740991")]
        {
            assert_eq!(legacy(text), expected, "{text}");
        }
    }
}
