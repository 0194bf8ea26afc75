//! Identifiers that other registers gave to people and institutions.
//!
//! ```text
//! {"type":"orcid","value":"0000-0002-1825-0097"}
//! ```
//!
//! Pure. A value has one spelling, the one that its register prints, without the address of the
//! register in front: what is spelled otherwise is refused, never rewritten, since a signature
//! covers it as it was given. Only the spelling and the check digits are looked at; whether
//! somebody really has that identifier, nobody asks.

mod digits;
mod names;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters that a value has.
pub const MAX_VALUE_CHARS: usize = 512;

macro_rules! types {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:literal $label:literal, $check:path,
        $example:literal, $url:expr, $spelling:literal;
    )*) => {
        /// Which register an identifier is from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum IdentifierType {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl IdentifierType {
            /// Every type, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its name for people.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }

            /// A value that passes its check.
            pub const fn example(self) -> &'static str {
                match self { $(Self::$variant => $example),* }
            }

            /// Where to look an identifier up: `{value}` stands for its value, percent-encoded.
            /// `None` where no such address can be made.
            pub const fn url_template(self) -> Option<&'static str> {
                match self { $(Self::$variant => $url),* }
            }

            /// How its values are spelled, in words.
            pub const fn spelling(self) -> &'static str {
                match self { $(Self::$variant => $spelling),* }
            }

            fn judge(self, value: &str) -> Judgement {
                match self { $(Self::$variant => $check(value)),* }
            }
        }
    };
}

types! {
    /// A researcher's.
    Orcid "orcid" "ORCID iD", digits::orcid,
        "0000-0002-1825-0097", Some("https://orcid.org/{value}"),
        "16 digits in groups of four with hyphens between, of which the last may be X";
    /// A public identity's: of authors, performers, publishers.
    Isni "isni" "ISNI", digits::isni,
        "000000012146438X", Some("https://isni.org/isni/{value}"),
        "16 digits without spaces, of which the last may be X";
    /// A research organisation's.
    Ror "ror" "ROR ID", digits::ror,
        "05gq02987", Some("https://ror.org/{value}"),
        "0, six lower-case letters or digits (no i, l, o, u) and two digits, without an address";
    /// A document's or data set's.
    Doi "doi" "DOI", names::doi,
        "10.1000/182", Some("https://doi.org/{value}"),
        "`10.`, at least four digits, a slash and a suffix of printable ASCII, without an address";
    /// A name of the DNS.
    Domain "domain" "Domain name", names::domain,
        "example.org", Some("https://{value}"),
        "at least two labels in lower case, international ones as `xn--`, without a final dot";
    /// An account.
    Github "github" "GitHub account", names::github,
        "octocat", Some("https://github.com/{value}"),
        "up to 39 letters, digits, hyphens and underscores, without an `@`";
    /// An account or a group.
    Gitlab "gitlab" "GitLab account or group", names::gitlab,
        "gitlab-org", Some("https://gitlab.com/{value}"),
        "2 to 255 letters, digits, hyphens, dots and underscores, without an `@`";
    /// An account of any server that speaks `ActivityPub`.
    Mastodon "mastodon" "Mastodon account", names::mastodon,
        "@alice@social.example", None,
        "`@`, the account, `@` and the server's domain name in lower case";
    /// An item of the knowledge base.
    Wikidata "wikidata" "Wikidata item", digits::wikidata,
        "Q42", Some("https://www.wikidata.org/wiki/{value}"),
        "`Q` and a number of at most 12 digits";
    /// The hash of an address, which it does not tell.
    EmailSha256 "email_sha256" "SHA-256 of an e-mail address", digits::email_sha256,
        "ff8d9819fc0e12bf0d24892e45987e249a28dce836a85cad60e28eaaa8c6d976", None,
        "the 64 lower-case hex digits of the SHA-256 of the address in lower case, without spaces \
         around it";
    /// A page of the web.
    Url "url" "Web page", names::url,
        "https://example.org/people/alice", Some("{value}"),
        "`https://` or `http://`, a domain name in lower case and what follows, in printable ASCII \
         without a user name";
}

/// What a check says of a value.
type Judgement = Result<(), Flaw>;

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Shape,
    CheckDigits,
}

/// An identifier whose spelling and check digits are right.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Given")]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ExternalIdentifier {
    #[serde(rename = "type")]
    kind: IdentifierType,
    /// The identifier as its register prints it.
    #[cfg_attr(feature = "shell", schema(max_length = 512, examples("0000-0002-1825-0097")))]
    value: String,
}

/// An identifier as it arrives.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(rename = "type")]
    kind: IdentifierType,
    value: String,
}

/// Why a text is not an identifier of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentifier {
    /// Empty, or longer than [`MAX_VALUE_CHARS`].
    #[error("an identifier has from 1 to 512 characters")]
    Length,
    /// Not spelled as such identifiers are.
    #[error("`{kind}` is {}, such as {}", kind.spelling(), kind.example())]
    Spelling {
        /// The type that was claimed.
        kind: IdentifierType,
    },
    /// Spelled rightly, but its check digits belong to another one.
    #[error("the check digits of this `{kind}` do not fit the rest: it is mistyped")]
    CheckDigits {
        /// The type that was claimed.
        kind: IdentifierType,
    },
}

/// The text names no type of identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identifiers of this type are not known: see /api/v1/identifier-types")]
pub struct NotAnIdentifierType;

impl ExternalIdentifier {
    /// Takes a value for an identifier of a type, if it is spelled as one.
    pub fn new(kind: IdentifierType, value: impl Into<String>) -> Result<Self, NotAnIdentifier> {
        let value = value.into();
        kind.check(&value)?;
        Ok(Self { kind, value })
    }

    /// Which register it is from.
    pub const fn kind(&self) -> IdentifierType {
        self.kind
    }

    /// The identifier itself.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl IdentifierType {
    /// Says whether a value is spelled as an identifier of this type.
    pub fn check(self, value: &str) -> Result<(), NotAnIdentifier> {
        if value.is_empty() || value.chars().nth(MAX_VALUE_CHARS).is_some() {
            return Err(NotAnIdentifier::Length);
        }
        self.judge(value).map_err(|flaw| match flaw {
            Flaw::Shape => NotAnIdentifier::Spelling { kind: self },
            Flaw::CheckDigits => NotAnIdentifier::CheckDigits { kind: self },
        })
    }
}

impl TryFrom<Given> for ExternalIdentifier {
    type Error = NotAnIdentifier;

    fn try_from(given: Given) -> Result<Self, NotAnIdentifier> {
        Self::new(given.kind, given.value)
    }
}

impl fmt::Display for IdentifierType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for IdentifierType {
    type Err = NotAnIdentifierType;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifierType> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(NotAnIdentifierType)
    }
}

/// A rule as a judgement on the spelling.
fn spelled(is_right: bool) -> Judgement {
    if is_right { Ok(()) } else { Err(Flaw::Shape) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_example_passes_its_own_check() {
        for kind in IdentifierType::ALL {
            assert_eq!(kind.check(kind.example()), Ok(()), "{kind}");
        }
        assert_eq!(IdentifierType::ALL.len(), 11);
    }

    #[test]
    fn a_type_has_one_name_everywhere() {
        for kind in IdentifierType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert_eq!("ORCID".parse::<IdentifierType>(), Err(NotAnIdentifierType));
    }

    #[test]
    fn a_template_has_one_place_for_the_value() {
        for template in IdentifierType::ALL.iter().filter_map(|kind| kind.url_template()) {
            assert_eq!(template.matches("{value}").count(), 1, "{template}");
        }
    }

    #[test]
    fn an_identifier_survives_json_as_it_was_given() {
        let json = json!({"type": "isni", "value": "000000012146438X"});

        let read: ExternalIdentifier = serde_json::from_value(json.clone()).unwrap();

        assert_eq!((read.kind(), read.value()), (IdentifierType::Isni, "000000012146438X"));
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
    }

    #[test]
    fn what_is_not_an_identifier_is_not_read_and_the_error_says_what_would_be() {
        for (json, expected) in [
            (json!({"type": "orcid", "value": "0000-0002-1825-0098"}), "it is mistyped"),
            (json!({"type": "orcid", "value": "0000000218250097"}), "groups of four"),
            (json!({"type": "orcid", "value": ""}), "from 1 to 512"),
            (json!({"type": "passport", "value": "1"}), "unknown variant"),
            (json!({"type": "orcid"}), "missing field `value`"),
            (json!({"type": "wikidata", "value": "Q42", "name": "x"}), "unknown field `name`"),
            (json!({"type": "wikidata", "value": 42}), "invalid type"),
        ] {
            let error = serde_json::from_value::<ExternalIdentifier>(json.clone()).unwrap_err();
            assert!(error.to_string().contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn a_value_is_never_longer_than_the_bound() {
        let url = |chars: usize| format!("https://example.org/{}", "a".repeat(chars - 20));
        let check = |chars| IdentifierType::Url.check(&url(chars));

        assert_eq!(check(MAX_VALUE_CHARS), Ok(()));
        assert_eq!(check(MAX_VALUE_CHARS + 1), Err(NotAnIdentifier::Length));
    }
}
