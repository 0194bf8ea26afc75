//! Canonical JSON (RFC 8785): the strict reader, the writer, and the check of finished bytes.
//!
//! The reader takes I-JSON only, so that no two different inputs are silently read as one value:
//! repeated member names, lone surrogates and numbers that a double cannot hold apart are refused.
//! Reader and check share one lexer; `check(b)` succeeds exactly where `parse(b)` does and writing
//! its value gives `b` again.

mod legacy;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Write as _;

use serde_json::{Map, Number, Value};

use self::legacy::Legacy;

/// The largest integer that a double holds apart from its neighbours, 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Nesting is refused beyond this, whatever a caller allows: the reader is recursive.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are not the JSON that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not JSON, not UTF-8, or hold half a surrogate pair.
    #[error("not JSON at byte {offset}: {what}")]
    Invalid {
        /// Where it went wrong.
        offset: usize,
        /// What stands there or is missing.
        what: &'static str,
    },
    /// Objects and arrays are nested too deeply.
    #[error("objects and arrays are nested too deeply")]
    TooDeep,
    /// A string or a member name holds U+0000.
    #[error("a string or a member name holds U+0000")]
    NulCharacter,
    /// An object has two members of one name.
    #[error("a member name occurs twice, the second time at byte {offset}")]
    DuplicateMember {
        /// Where the second name starts.
        offset: usize,
    },
    /// A number, however spelled, is beyond 2^53 - 1 or below -(2^53 - 1).
    #[error("the number at byte {offset} is beyond 2^53 - 1: send it as a string")]
    NumberTooLarge {
        /// Where the number starts.
        offset: usize,
    },
    /// The bytes are JSON, but another spelling of it than the canonical one.
    #[error("not the canonical form (RFC 8785) at byte {offset}")]
    NotCanonical {
        /// Where the two forms part.
        offset: usize,
    },
}

/// Reads one I-JSON value that fills `bytes`, with whitespace around it at most.
///
/// An object or array that holds no other is nested to depth 1. Numbers of integral value become
/// integers however they were spelled, so that the value equals that of its canonical bytes.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let mut lexer = Lexer::new(utf8(bytes)?, max_depth);
    let value = lexer.value(0)?;
    lexer.space();
    match lexer.peek() {
        None => Ok(value),
        Some(_) => Err(lexer.invalid("something follows the value")),
    }
}

/// Says whether `bytes` are exactly the canonical form of one value, in one pass.
///
/// Allocates only where a member name holds an escape or a number is not a plain integer.
pub fn check(bytes: &[u8], max_depth: usize) -> Result<(), JsonError> {
    let length = check_prefix(utf8(bytes)?, max_depth)?;
    if length == bytes.len() {
        return Ok(());
    }
    let what = "something follows the value";
    Err(spelled_otherwise(bytes[length], length, what))
}

/// Checks the canonical value that `text` starts with and returns its length in bytes.
pub(crate) fn check_prefix(text: &str, max_depth: usize) -> Result<usize, JsonError> {
    let mut lexer = Lexer::new(text, max_depth);
    lexer.check_value(0)?;
    Ok(lexer.at)
}

/// Appends the canonical form of `value` to `out`.
///
/// Integers beyond 2^53, which [`parse`] never returns, are written as the doubles nearest to them.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    write_value::<Jcs>(value, out);
}

/// The canonical form of `value`.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

/// The form that Python clients of the original system sign: members by code point, all but
/// printable ASCII escaped as `\uXXXX`, fractions as Python prints them.
pub fn to_legacy(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value::<Legacy>(value, &mut out);
    out
}

/// Cuts validated text into tokens; the two descents, reading and checking, are methods of it.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
}

/// The inside of a string as it stands in the text; its escapes are valid.
#[derive(Clone, Copy)]
struct RawString<'a> {
    raw: &'a str,
    escaped: bool,
    offset: usize,
}

/// A number as it stands in the text.
struct RawNumber<'a> {
    raw: &'a str,
    /// No fraction, no exponent.
    plain: bool,
    offset: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, max_depth: usize) -> Self {
        Self { text, at: 0, max_depth: max_depth.min(MAX_DEPTH) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth)?).map(Value::Object),
            Some(b'[') => self.array(self.deeper(depth)?).map(Value::Array),
            Some(b'"') => Ok(Value::String(self.string()?.decode().into_owned())),
            Some(b'-' | b'0'..=b'9') => self.number()?.value().map(Value::Number),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, JsonError> {
        let mut members = Map::new();
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            self.space();
            let name = self.name()?;
            self.space();
            if !self.take(b':') {
                return Err(self.invalid("a colon is missing after the member name"));
            }
            let value = self.value(depth)?;
            if members.insert(name.decode().into_owned(), value).is_some() {
                return Err(JsonError::DuplicateMember { offset: name.offset });
            }
            self.space();
            if self.take(b'}') {
                return Ok(members);
            }
            if !self.take(b',') {
                return Err(self.invalid("a comma or } is missing after the member"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, JsonError> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Ok(items);
            }
            if !self.take(b',') {
                return Err(self.invalid("a comma or ] is missing after the item"));
            }
        }
    }

    fn check_value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.check_object(self.deeper(depth)?),
            Some(b'[') => self.check_array(self.deeper(depth)?),
            Some(b'"') => self.string()?.check(),
            Some(b'-' | b'0'..=b'9') => self.number()?.check(),
            Some(b't' | b'f' | b'n') => self.literal().map(drop),
            _ => Err(self.unexpected("a value is missing")),
        }
    }

    fn check_object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        let mut before: Option<RawString<'a>> = None;
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a member name is missing"));
            }
            let name = self.string()?;
            name.check()?;
            match before.map_or(Ordering::Less, |before| before.order(&name)) {
                Ordering::Less => before = Some(name),
                Ordering::Equal => return Err(JsonError::DuplicateMember { offset: name.offset }),
                Ordering::Greater => return Err(JsonError::NotCanonical { offset: name.offset }),
            }
            if !self.take(b':') {
                return Err(self.unexpected("a colon is missing after the member name"));
            }
            self.check_value(depth)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or } is missing after the member"));
            }
        }
    }

    fn check_array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.check_value(depth)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or ] is missing after the item"));
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, JsonError> {
        if depth < self.max_depth { Ok(depth + 1) } else { Err(JsonError::TooDeep) }
    }

    fn literal(&mut self) -> Result<Value, JsonError> {
        let rest = &self.text[self.at..];
        for (word, value) in
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.invalid("a value is missing"))
    }

    fn name(&mut self) -> Result<RawString<'a>, JsonError> {
        if self.peek() == Some(b'"') {
            self.string()
        } else {
            Err(self.invalid("a member name is missing"))
        }
    }

    /// Reads the string whose opening quote is next.
    fn string(&mut self) -> Result<RawString<'a>, JsonError> {
        let bytes = self.text.as_bytes();
        let offset = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = next_special(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[offset + 1..self.at];
                    self.at += 1;
                    return Ok(RawString { raw, escaped, offset });
                }
                Some(b'\\') => {
                    let (_, length) =
                        read_escape(&bytes[self.at..]).map_err(|fault| match fault {
                            BadEscape::Nul => JsonError::NulCharacter,
                            BadEscape::Unknown => self.invalid("an unknown escape"),
                            BadEscape::LoneSurrogate => self.invalid("half a surrogate pair"),
                        })?;
                    escaped = true;
                    self.at += length;
                }
                Some(_) => return Err(self.invalid("a control character in a string")),
                None => return Err(self.invalid("the string has no end")),
            }
        }
    }

    fn number(&mut self) -> Result<RawNumber<'a>, JsonError> {
        let offset = self.at;
        let mut plain = true;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            plain = false;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            plain = false;
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        Ok(RawNumber { raw: &self.text[offset..self.at], plain, offset })
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.invalid("a digit is missing")) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn invalid(&self, what: &'static str) -> JsonError {
        JsonError::Invalid { offset: self.at, what }
    }

    fn unexpected(&self, what: &'static str) -> JsonError {
        match self.peek() {
            Some(found) => spelled_otherwise(found, self.at, what),
            None => self.invalid(what),
        }
    }
}

impl<'a> RawString<'a> {
    fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut out = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            let (character, length) =
                read_escape(&rest.as_bytes()[at..]).expect("the lexer read every escape");
            out.push_str(&rest[..at]);
            out.push(character);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
        Cow::Owned(out)
    }

    /// Refuses escapes that the writer would not have made.
    fn check(&self) -> Result<(), JsonError> {
        if !self.escaped {
            return Ok(());
        }
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            let escape = &rest.as_bytes()[at..];
            let (character, length) = read_escape(escape).expect("the lexer read every escape");
            let needed = matches!(character, '"' | '\\' | '\0'..='\x1f');
            let mut spelled = EscapeBuffer::default();
            if !needed || spelled.write(character) != &escape[..length] {
                let offset = self.offset + 1 + self.raw.len() - rest.len() + at;
                return Err(JsonError::NotCanonical { offset });
            }
            rest = &rest[at + length..];
        }
        Ok(())
    }

    fn order(&self, other: &Self) -> Ordering {
        if self.escaped || other.escaped {
            utf16_order(&self.decode(), &other.decode())
        } else {
            utf16_order(self.raw, other.raw)
        }
    }
}

impl RawNumber<'_> {
    fn value(&self) -> Result<Number, JsonError> {
        let too_large = JsonError::NumberTooLarge { offset: self.offset };
        // Fifteen digits and a sign are always in range.
        if self.plain && self.raw.len() <= 15 {
            return self.raw.parse::<i64>().map(Number::from).map_err(|_| too_large);
        }
        let double: f64 = self.raw.parse().map_err(|_| too_large)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is a double")]
        let limit = MAX_SAFE_INTEGER as f64;
        if double.abs() > limit {
            return Err(too_large);
        }
        if double.fract() == 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "an integer within 2^53")]
            let integer = double as i64;
            return Ok(Number::from(integer));
        }
        Number::from_f64(double).ok_or(too_large)
    }

    fn check(&self) -> Result<(), JsonError> {
        let canonical = if self.plain {
            // The grammar leaves minus zero as the only other spelling of an integer.
            self.raw != "-0" && (self.raw.len() <= 15 || self.value().map(|_| true)?)
        } else {
            let mut written = Vec::with_capacity(32);
            write_number::<Jcs>(&self.value()?, &mut written);
            written == self.raw.as_bytes()
        };
        if canonical { Ok(()) } else { Err(JsonError::NotCanonical { offset: self.offset }) }
    }
}

#[derive(Debug)]
enum BadEscape {
    Nul,
    Unknown,
    LoneSurrogate,
}

/// Reads the escape that `bytes` start with: its character and its length.
fn read_escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let simple = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\x08',
        Some(b't') => '\t',
        Some(b'n') => '\n',
        Some(b'f') => '\x0c',
        Some(b'r') => '\r',
        Some(b'u') => return read_unicode_escape(bytes),
        _ => return Err(BadEscape::Unknown),
    };
    Ok((simple, 2))
}

fn read_unicode_escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
    };
    let first = unit(0).ok_or(BadEscape::Unknown)?;
    if first == 0 {
        return Err(BadEscape::Nul);
    }
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let second = unit(6).ok_or(BadEscape::LoneSurrogate)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return Err(BadEscape::LoneSurrogate);
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code).map(|character| (character, 12)).ok_or(BadEscape::LoneSurrogate)
}

/// The two spellings of a value: how members are ordered, strings and fractions written.
trait Form {
    fn order(a: &str, b: &str) -> Ordering;
    fn string(text: &str, out: &mut Vec<u8>);
    fn double(double: f64, out: &mut Vec<u8>);
}

struct Jcs;

impl Form for Jcs {
    fn order(a: &str, b: &str) -> Ordering {
        utf16_order(a, b)
    }

    fn string(text: &str, out: &mut Vec<u8>) {
        let bytes = text.as_bytes();
        out.push(b'"');
        let mut from = 0;
        loop {
            let to = next_special(bytes, from);
            out.extend_from_slice(&bytes[from..to]);
            let Some(special) = bytes.get(to) else { break };
            out.extend_from_slice(EscapeBuffer::default().write(char::from(*special)));
            from = to + 1;
        }
        out.push(b'"');
    }

    /// Writes a double as ECMAScript's `Number::toString` does (ECMA-262, 6.1.6.1.20).
    fn double(double: f64, out: &mut Vec<u8>) {
        let (digits, point) = shortest_digits(double);
        if digits.is_empty() {
            return out.push(b'0');
        }
        if double < 0.0 {
            out.push(b'-');
        }
        if (-5..=21).contains(&point) {
            return write_positional(&digits, point, out);
        }
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        write!(out, "e{:+}", point - 1).expect("a vector takes every byte");
    }
}

fn write_value<F: Form>(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number::<F>(number, out),
        Value::String(text) => F::string(text, out),
        Value::Array(items) => write_list(items, *b"[]", out, |item, out| {
            write_value::<F>(item, out);
        }),
        Value::Object(members) => {
            let write = |(name, value): (&String, &Value), out: &mut Vec<u8>| {
                F::string(name, out);
                out.push(b':');
                write_value::<F>(value, out);
            };
            // The map's own order is that of UTF-8, which nearly always is the wanted one.
            if members.keys().is_sorted_by(|a, b| F::order(a, b).is_lt()) {
                write_list(members, *b"{}", out, write);
            } else {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_unstable_by(|a, b| F::order(a.0, b.0));
                write_list(sorted, *b"{}", out, write);
            }
        }
    }
}

fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    brackets: [u8; 2],
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(brackets[0]);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(brackets[1]);
}

fn write_number<F: Form>(number: &Number, out: &mut Vec<u8>) {
    match number.as_i64().filter(|integer| integer.unsigned_abs() <= MAX_SAFE_INTEGER) {
        Some(integer) => write!(out, "{integer}").expect("a vector takes every byte"),
        None => F::double(number.as_f64().unwrap_or_default(), out),
    }
}

/// Writes digits in full; the decimal point is counted from before the first of them.
fn write_positional(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    let zeros = |count: usize| std::iter::repeat_n(b'0', count);
    match usize::try_from(point) {
        Ok(point @ 1..) if digits.len() <= point => {
            out.extend_from_slice(digits);
            out.extend(zeros(point - digits.len()));
        }
        Ok(point @ 1..) => {
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.extend(zeros(point.unsigned_abs() as usize));
            out.extend_from_slice(digits);
        }
    }
}

/// The shortest digits that read back as `double`, without zeros around them, and the place of
/// the decimal point counted from before the first of them.
///
/// They come from `serde_json`: of two shortest spellings that are equally close it takes the even
/// one, as RFC 8785 wants and `std` does not.
fn shortest_digits(double: f64) -> (Vec<u8>, i32) {
    let text = Number::from_f64(double.abs()).map(|number| number.to_string()).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole, fraction].concat().into_bytes();
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    digits.truncate(digits.len() - digits.iter().rev().take_while(|digit| **digit == b'0').count());
    let exponent: i32 = exponent.parse().expect("the exponent of a double is small");
    let place = |length: usize| i32::try_from(length).expect("a double has few digits");
    (digits, exponent + place(whole.len()) - place(leading))
}

/// Room for the longest escape, a surrogate pair.
#[derive(Default)]
struct EscapeBuffer([u8; 12]);

impl EscapeBuffer {
    /// The escape of `character`: the short form if it has one, else lower-case `\uXXXX`.
    fn write(&mut self, character: char) -> &[u8] {
        let short = match character {
            '"' => b'"',
            '\\' => b'\\',
            '\x08' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\x0c' => b'f',
            '\r' => b'r',
            _ => return self.write_units(character),
        };
        self.0[..2].copy_from_slice(&[b'\\', short]);
        &self.0[..2]
    }

    fn write_units(&mut self, character: char) -> &[u8] {
        let mut units = [0; 2];
        let mut length = 0;
        for unit in character.encode_utf16(&mut units) {
            let slot = &mut self.0[length..length + 6];
            slot[..2].copy_from_slice(b"\\u");
            hex::encode_to_slice(unit.to_be_bytes(), &mut slot[2..])
                .expect("two bytes are four digits");
            length += 6;
        }
        &self.0[..length]
    }
}

/// Orders texts by their UTF-16 code units.
///
/// It parts from the order of UTF-8 in one place: U+E000..U+FFFF (lead bytes EE and EF) come after
/// the characters that UTF-16 spells with surrogates (lead bytes F0 to F4).
fn utf16_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte | 0x10 } else { byte };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((x, y)) => rank(*x).cmp(&rank(*y)),
        None => a.len().cmp(&b.len()),
    }
}

/// The next quote, backslash or control character at or after `from`, or the end.
fn next_special(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = from.min(bytes.len());
    // Eight bytes at a time; a borrow can only spoil bytes above the lowest hit.
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = control
            | zero_bytes(word ^ (ONES * u64::from(b'"')))
            | zero_bytes(word ^ (ONES * u64::from(b'\\')));
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    bytes[at..].iter().position(special).map_or(bytes.len(), |found| at + found)
}

fn utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes)
        .map_err(|error| JsonError::Invalid { offset: error.valid_up_to(), what: "not UTF-8" })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn spelled_otherwise(found: u8, offset: usize, what: &'static str) -> JsonError {
    if is_space(found) {
        JsonError::NotCanonical { offset }
    } else {
        JsonError::Invalid { offset, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, JsonError> {
        parse(text.as_bytes(), 32).map(|value| String::from_utf8(to_vec(&value)).unwrap())
    }

    #[test]
    fn the_example_of_rfc_8785_has_its_bytes() {
        let input = r#"{"numbers": [333333333.33333329, 1E-3, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]}"#;

        let expected = "{\"literals\":[null,true,false],\
            \"numbers\":[333333333.3333333,0.001,4.5,0.002,1e-27],\
            \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(input).as_deref(), Ok(expected));
        assert_eq!(check(expected.as_bytes(), 32), Ok(()));
    }

    #[test]
    fn members_are_sorted_by_utf_16_units() {
        let input = "{\"\u{20ac}\":1,\"\\r\":2,\"\u{fb33}\":3,\"1\":4,\"\u{1f600}\":5,\
            \"\u{80}\":6,\"\u{f6}\":7,\"\\\"\":8,\"\\\\\":9,\"\":0,\"11\":10}";

        let expected = "{\"\":0,\"\\r\":2,\"\\\"\":8,\"1\":4,\"11\":10,\"\\\\\":9,\"\u{80}\":6,\
            \"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(canonical(input).as_deref(), Ok(expected));
        assert_eq!(check(expected.as_bytes(), 32), Ok(()));
        assert_eq!(check(input.as_bytes(), 32), Err(JsonError::NotCanonical { offset: 9 }));
    }

    #[test]
    fn doubles_are_written_as_ecmascript_writes_them() {
        // RFC 8785 appendix B, and the neighbours of each change of form.
        for (bits, text) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let mut out = Vec::new();
            Jcs::double(f64::from_bits(bits), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        assert_eq!(canonical("[1.0,1e2,-0,-0.0,-1e-400]").as_deref(), Ok("[1,100,0,0,0]"));
    }

    #[test]
    fn numbers_beyond_two_to_the_53_are_refused_however_spelled() {
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "1e20",
            "1E400",
            "9007199254740993.0",
            "90071992547409910000e-3",
            "123456789012345678901234567890",
        ] {
            let error = Err(JsonError::NumberTooLarge { offset: 0 });
            assert_eq!(canonical(text), error.map(|()| String::new()), "{text}");
            assert_eq!(check(text.as_bytes(), 32), error, "{text}");
        }
        for text in ["9007199254740991", "-9007199254740991", "9007199254740990"] {
            assert_eq!(canonical(text).as_deref(), Ok(text));
            assert_eq!(check(text.as_bytes(), 32), Ok(()));
        }
    }

    #[test]
    fn what_is_not_json_is_refused_by_both() {
        for text in [
            "",
            " ",
            "nul",
            "nullx",
            "truefalse",
            "NaN",
            "Infinity",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":}",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\t\"",
            "\"\0\"",
            "[",
            "{",
            "]",
            "[1}",
            "{\"a\":1]",
            "\u{feff}1",
            "1 1",
            "'a'",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\ud800\"",
            "\"\\ud800x\"",
            "\"\\udc00\\ud800\"",
        ] {
            assert!(matches!(canonical(text), Err(JsonError::Invalid { .. })), "{text}");
            assert!(check(text.as_bytes(), 32).is_err(), "{text}");
        }
        for bytes in [&b"\"\xff\""[..], b"\"\xed\xa0\x80\"", b"\"\xc0\x80\"", b"\xef\xbb\xbf{}"] {
            assert!(matches!(parse(bytes, 32), Err(JsonError::Invalid { .. })));
            assert!(matches!(check(bytes, 32), Err(JsonError::Invalid { .. })));
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let twice = r#"{"a":1,"\u0061":2}"#;
        assert_eq!(canonical(twice), Err(JsonError::DuplicateMember { offset: 7 }));
        assert_eq!(check(br#"{"a":1,"a":2}"#, 32), Err(JsonError::DuplicateMember { offset: 7 }));
        for nul in [r#""\u0000""#, r#"{"\u0000":1}"#, r#"{"a":["x\u0000y"]}"#] {
            assert_eq!(canonical(nul), Err(JsonError::NulCharacter));
            assert_eq!(check(nul.as_bytes(), 32), Err(JsonError::NulCharacter));
        }
    }

    #[test]
    fn depth_counts_objects_and_arrays() {
        for (text, max_depth, fits) in [
            ("1", 0, true),
            ("[]", 0, false),
            ("[[1],{}]", 2, true),
            ("[[1],{\"a\":{}}]", 2, false),
        ] {
            let expected = if fits { Ok(()) } else { Err(JsonError::TooDeep) };
            assert_eq!(parse(text.as_bytes(), max_depth).map(drop), expected, "{text}");
            assert_eq!(check(text.as_bytes(), max_depth), expected, "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(parse(deep.as_bytes(), usize::MAX), Err(JsonError::TooDeep));
        assert_eq!(check(deep.as_bytes(), usize::MAX), Err(JsonError::TooDeep));
    }

    #[test]
    fn other_spellings_of_json_are_not_canonical() {
        for (text, offset) in [
            (" 1", 0),
            ("1\n", 1),
            ("[1, 2]", 3),
            ("{\"a\": 1}", 5),
            ("{\"b\":1,\"a\":2}", 7),
            ("1.0", 0),
            ("-0", 0),
            ("1e2", 0),
            ("[0.10]", 1),
            ("1E-7", 0),
            ("\"\\/\"", 1),
            ("\"ab\\u0041\"", 3),
            ("\"\\u001F\"", 1),
            ("\"\\u000a\"", 1),
            ("\"\\u0022\"", 1),
            ("\"\\n\\ud83d\\ude00\"", 3),
        ] {
            assert_eq!(
                check(text.as_bytes(), 32),
                Err(JsonError::NotCanonical { offset }),
                "{text}"
            );
            assert!(canonical(text).is_ok(), "{text}");
        }
    }
}
