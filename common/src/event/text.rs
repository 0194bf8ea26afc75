//! Texts that people choose and other people read: names and URLs to show.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_normalization::is_nfc;

/// A pseudonym or display name: 1 to 100 characters in NFC, without control or bidi characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing, or more than [`Name::MAX_CHARS`].
    #[error("a name has 1 to 100 characters")]
    Length,
    /// A control character, or one that changes the direction of the text around it.
    #[error("a name has no control or bidi characters")]
    Character,
    /// The same name could be written in another way.
    #[error("a name is in Unicode's normalisation form C")]
    NotNormalised,
}

impl Name {
    /// How many characters (Unicode scalar values) a name has at most.
    pub const MAX_CHARS: usize = 100;

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        // The byte bound keeps the count below cheap: no character has more than four.
        if text.is_empty()
            || text.len() > Self::MAX_CHARS * 4
            || text.chars().count() > Self::MAX_CHARS
        {
            return Err(NotAName::Length);
        }
        if text.chars().any(|c| c.is_control() || is_bidi(c)) {
            return Err(NotAName::Character);
        }
        if !is_nfc(&text) {
            return Err(NotAName::NotNormalised);
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// A name as it is searched for: without regard to case, in any script.
///
/// Each character is brought to upper and then to lower case by itself, so that `ß` is found as
/// `SS` and a final sigma like any other, whatever stands around them.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// What somebody wrote: `MIN` to `MAX` characters, no control characters but line feed and tab.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Words<const MIN: usize, const MAX: usize>(String);

/// Why a text is none that somebody may write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWords {
    /// Too short or too long.
    #[error("{min} to {max} characters are needed here")]
    Length {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A control character.
    #[error("control characters other than line feed and tab can't stand here")]
    Character,
}

impl<const MIN: usize, const MAX: usize> Words<MIN, MAX> {
    /// The text as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for Words<MIN, MAX> {
    type Error = NotWords;

    fn try_from(text: String) -> Result<Self, NotWords> {
        let length = NotWords::Length { min: MIN, max: MAX };
        if text.len() > MAX * 4 || !(MIN..=MAX).contains(&text.chars().count()) {
            return Err(length);
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(NotWords::Character);
        }
        Ok(Self(text))
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Words<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Words<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// 1 to `MAX` bytes in padded base64, of which there is one spelling.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Base64Text<const MAX: usize>(String);

/// Why a text is not the base64 of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the padded base64 of 1 to {max} bytes is needed here")]
pub struct NotBase64 {
    max: usize,
}

impl<const MAX: usize> Base64Text<MAX> {
    /// The text as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Base64Text<MAX> {
    type Error = NotBase64;

    fn try_from(text: String) -> Result<Self, NotBase64> {
        let is_short = text.len() <= MAX.div_ceil(3) * 4;
        let bytes = if is_short { BASE64.decode(&text).ok() } else { None };
        match bytes {
            Some(bytes) if (1..=MAX).contains(&bytes.len()) => Ok(Self(text)),
            _ => Err(NotBase64 { max: MAX }),
        }
    }
}

impl<const MAX: usize> fmt::Debug for Base64Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64Text({} characters)", self.0.len())
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Base64Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// The URL of a node, to be shown and never dialled: http or https, at most 255 plain characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

/// Why a text is not a URL that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a server is an http:// or https:// URL of at most 255 characters, without spaces, quotes, brackets or userinfo"
)]
pub struct NotAServerUrl;

impl ServerUrl {
    /// The URL as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = NotAServerUrl;

    fn try_from(text: String) -> Result<Self, NotAServerUrl> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\`{}|^".contains(&b);
        let fits =
            !host.is_empty() && !host.contains('@') && text.len() <= 255 && text.bytes().all(plain);
        if fits { Ok(Self(text)) } else { Err(NotAServerUrl) }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// The characters of Unicode's `Bidi_Control` property.
const fn is_bidi(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_normalised_and_show_as_they_are() {
        let name = |text: &str| Name::try_from(text.to_owned()).map(|n| n.to_string());

        assert_eq!(name("Zoë 日本 🦀"), Ok("Zoë 日本 🦀".to_owned()));
        assert_eq!(name(&"🦀".repeat(100)), Ok("🦀".repeat(100)));
        assert_eq!(name(""), Err(NotAName::Length));
        assert_eq!(name(&"a".repeat(101)), Err(NotAName::Length));
        assert_eq!(name("Zoe\u{308}"), Err(NotAName::NotNormalised));
        for c in ['\0', '\n', '\u{7f}', '\u{85}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}'] {
            assert_eq!(name(&format!("a{c}b")), Err(NotAName::Character), "{c:?}");
        }
    }

    #[test]
    fn what_somebody_wrote_is_as_long_as_it_may_be_and_can_be_printed() {
        let words = |text: &str| Words::<1, 5>::try_from(text.to_owned()).map(|_| ());

        assert_eq!(words("a\n\tb🦀"), Ok(()));
        let length = Err(NotWords::Length { min: 1, max: 5 });
        for bad in ["", "abcdef", &"🦀".repeat(6)] {
            assert_eq!(words(bad), length, "{bad}");
        }
        for bad in ["\0", "a\r", "\u{7f}", "\u{9b}"] {
            assert_eq!(words(bad), Err(NotWords::Character), "{bad:?}");
        }
    }

    #[test]
    fn bytes_have_one_spelling_and_a_bound() {
        let bytes = |text: &str| Base64Text::<4>::try_from(text.to_owned()).is_ok();

        assert!(bytes("AA==") && bytes("AAAA") && bytes("AAAAAA=="));
        for bad in ["", "AA", "AB==", "AA==\n", "AAAAAAA=", "AAAAAAAA", "!!!!"] {
            assert!(!bytes(bad), "{bad}");
        }
    }

    #[test]
    fn only_web_urls_are_shown() {
        let url = |text: &str| ServerUrl::try_from(text.to_owned()).is_ok();

        assert!(url("https://mirror.example.com"));
        assert!(url("http://127.0.0.1:8080/base?x=1"));
        for bad in [
            "",
            "https://",
            "https:///path",
            "ftp://a.example",
            "javascript:alert(1)",
            "https://user@host.example",
            "https://a.example/\"onclick",
            "https://a b.example",
            &format!("https://{}", "a".repeat(300)),
        ] {
            assert!(!url(bad), "{bad}");
        }
    }
}
