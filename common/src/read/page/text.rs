//! How numbers, times and the texts of strangers are written on pages.

use std::fmt::Write as _;

use crate::clock::Timestamp;
use crate::wire::status::spell;

/// What stands where nothing is known: unknown is not zero.
pub(super) const UNKNOWN: &str = "unknown";

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number, or that it is not known.
pub(super) fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), grouped)
}

/// A duration, or that it is not known.
pub(super) fn lasting(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| UNKNOWN.to_owned(), spell)
}

/// How long ago something was, or that it never was.
pub(super) fn ago(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", spell(seconds)))
}

/// How many entries a second; few of them with a fraction.
pub(super) fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => UNKNOWN.to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1} entries/s"),
        Some(rate) => format!("{rate:.0} entries/s"),
    }
}

/// A time as people read it: `2026-01-15 10:30:00 UTC`.
pub(super) fn spoken(time: Timestamp) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => text,
    }
}

/// A text with every character that shows as nothing, or changes how others are shown, written
/// as an escape of JSON.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(c, &mut shown);
    }
    shown
}

fn push_visible(c: char, shown: &mut String) {
    if !hides(c) {
        shown.push(c);
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string never fails.
        let _ = write!(shown, "\\u{unit:04x}");
    }
}

/// Whether a character is a control character, one of Unicode's format characters, or a separator
/// of lines: what may hide text, reorder it, or look like nothing.
const fn hides(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}'
        | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// JSON with a line for each member. What it says stays as it is: read again, it gives the same
/// value, so a browser can hash what it shows.
pub(super) fn indented(json: &str) -> String {
    let mut shown = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut characters = json.chars().peekable();
    while let Some(c) = characters.next() {
        if in_string {
            push_visible(c, &mut shown);
            in_string = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                shown.push(c);
            }
            '{' | '[' => {
                shown.push(c);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    shown.push(end);
                } else {
                    depth += 1;
                    new_line(depth, &mut shown);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(depth, &mut shown);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                new_line(depth, &mut shown);
            }
            ':' => shown.push_str(": "),
            _ => push_visible(c, &mut shown),
        }
    }
    shown
}

fn new_line(depth: usize, shown: &mut String) {
    shown.push('\n');
    shown.extend(std::iter::repeat_n("  ", depth));
}

/// The beginning of a text, at most so many characters of it, and whether that is all.
pub(super) fn beginning(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        None => (text, true),
        Some((end, _)) => (&text[..end], false),
    }
}

/// The beginning of a text in one line, for a table.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    let (start, is_all) = beginning(text, most);
    let mut shown = visible(start);
    if !is_all {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        let shown = [0, 7, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!((or_unknown(None), or_unknown(Some(0))), ("unknown".into(), "0".into()));
    }

    #[test]
    fn a_time_is_shown_without_its_milliseconds() {
        let time: Timestamp = "2026-01-15T10:30:00.123Z".parse().unwrap();
        assert_eq!(spoken(time), "2026-01-15 10:30:00 UTC");
        assert_eq!((ago(None), ago(Some(300))), ("never".to_owned(), "5 min ago".to_owned()));
        assert_eq!(
            (rate(Some(0.25)), rate(Some(1234.5))),
            ("0.2 entries/s".into(), "1234 entries/s".into())
        );
    }

    #[test]
    fn what_would_hide_or_turn_text_around_is_seen() {
        assert_eq!(visible("Zoë 日本 🦀"), "Zoë 日本 🦀");
        assert_eq!(visible("a\u{202e}b\u{200b}\u{0}"), "a\\u202eb\\u200b\\u0000");
        assert_eq!(visible("\u{e0041}"), "\\udb40\\udc41");
    }

    #[test]
    fn indented_json_is_the_same_json() {
        let json = r#"{"a":[],"b":{"c":[1,2.5e-7,"x,{\"y\\\":z"]},"d":{},"e":"\u202e"}"#
            .replace("\\u202e", "\u{202e}");
        let shown = indented(&json);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&shown), value(&json));
        assert!(
            shown.starts_with("{\n  \"a\": [],\n  \"b\": {\n    \"c\": [\n      1,\n"),
            "{shown}"
        );
        assert!(shown.contains(r#"{\"y\\\":z"#) && shown.contains(r"\u202e"), "{shown}");
    }

    #[test]
    fn a_beginning_ends_between_characters() {
        assert_eq!(beginning("äöü", 2), ("äö", false));
        assert_eq!(beginning("äöü", 3), ("äöü", true));
        assert_eq!(excerpt("äöü\n", 3), "äöü…");
    }
}
