//! Secrets that somebody could guess.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use super::{Check, Finding, or_ok};

/// A secret, and where it came from.
pub(super) struct Held {
    /// `SECRET_KEY` or `OPERATOR_TOKEN`.
    pub(super) name: &'static str,
    /// Where it stands.
    pub(super) place: String,
    /// Itself, or why it cannot be read; `None` if it will be made.
    pub(super) secret: Option<Result<Zeroizing<String>, String>>,
}

/// The fewest bytes of a secret.
const LEAST_BYTES: usize = 32;

/// The fewest different bytes in them: random hexadecimal digits have more.
const LEAST_DIFFERENT: usize = 8;

/// Words of examples, which random text does not hold.
const EXAMPLES: [&str; 9] = [
    "change", "secret", "password", "passw0rd", "example", "diogenes", "replace", "your-", "qwerty",
];

/// Why a secret can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakness {
    Short(usize),
    FewDifferent(usize),
    Repeated,
    Sequence,
    Example(&'static str),
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(bytes) => write!(f, "has {bytes} bytes, fewer than {LEAST_BYTES}"),
            Self::FewDifferent(bytes) => write!(f, "has only {bytes} different characters"),
            Self::Repeated => f.write_str("is a shorter text, repeated"),
            Self::Sequence => f.write_str("is a row of neighbouring characters"),
            Self::Example(word) => write!(f, "contains `{word}`, as examples do"),
        }
    }
}

/// Judges the secrets of a node; says nothing that is in them.
pub(super) fn secrets(held: &[Held]) -> Vec<Finding> {
    let check = Check::Secrets;
    let mut findings: Vec<Finding> = held.iter().filter_map(weak).collect();
    let known: Vec<&Zeroizing<String>> =
        held.iter().filter_map(|held| held.secret.as_ref()?.as_ref().ok()).collect();
    if known.windows(2).any(|pair| pair[0] == pair[1]) {
        findings.push(Finding::fail(
            check,
            "SECRET_KEY and OPERATOR_TOKEN are the same",
            "give each its own: who has the token could make sessions for everybody",
        ));
    }
    let names: Vec<String> =
        held.iter().map(|held| format!("{} ({})", held.name, held.place)).collect();
    or_ok(findings, check, format!("random enough: {}", names.join(", ")))
}

fn weak(held: &Held) -> Option<Finding> {
    let Held { name, place, secret } = held;
    let advice = format!(
        "put 32 random bytes into {name} (openssl rand -base64 32), or leave it out: one is made"
    );
    match secret.as_ref()? {
        Err(why) => Some(Finding::fail(
            Check::Secrets,
            format!("{name} ({place}) cannot be read: {why}"),
            "restore the file from a backup, or remove it: a new one is made at the next start",
        )),
        Ok(secret) => weakness(secret).map(|weakness| {
            Finding::fail(Check::Secrets, format!("{name} ({place}) {weakness}"), advice)
        }),
    }
}

fn weakness(secret: &str) -> Option<Weakness> {
    let bytes = secret.as_bytes();
    if bytes.len() < LEAST_BYTES {
        return Some(Weakness::Short(bytes.len()));
    }
    let lower = secret.to_ascii_lowercase();
    if let Some(word) = EXAMPLES.into_iter().find(|word| lower.contains(word)) {
        return Some(Weakness::Example(word));
    }
    if is_repeated(bytes) {
        return Some(Weakness::Repeated);
    }
    let different = bytes.iter().collect::<BTreeSet<_>>().len();
    if different < LEAST_DIFFERENT {
        return Some(Weakness::FewDifferent(different));
    }
    is_sequence(bytes).then_some(Weakness::Sequence)
}

/// Whether it begins anew within its first half, and so goes on.
fn is_repeated(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| bytes[period..] == bytes[..bytes.len() - period])
}

/// Whether three of four characters follow the one before them.
fn is_sequence(bytes: &[u8]) -> bool {
    let near = bytes.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    near * 4 >= (bytes.len() - 1) * 3
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const RANDOM: &str = "q7YB2w8mJ0x_uTn4sKp9ZfV1cRd5eGh6";
    const OTHER: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c";

    fn held(name: &'static str, secret: &str) -> Held {
        let secret = Some(Ok(Zeroizing::new(secret.to_owned())));
        Held { name, place: "environment".to_owned(), secret }
    }

    #[test]
    fn random_secrets_of_the_usual_forms_are_strong() {
        for secret in [RANDOM, OTHER, "N2Q3MzE5YjEtYzQ0Mi00ZGE2LWI4ZWQtZjU="] {
            assert_eq!(weakness(secret), None, "{secret}");
        }
    }

    #[test]
    fn what_can_be_guessed_is_weak() {
        for (secret, expected) in [
            ("q7YB2w8mJ0x_uTn4sKp9ZfV1cRd5eGh", Weakness::Short(31)),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Weakness::Repeated),
            ("0123456789abcdef0123456789abcdef", Weakness::Repeated),
            ("aabacaadaaabbbacdadcbacbbadcabcdd", Weakness::FewDifferent(4)),
            ("abcdefghijklmnopqrstuvwxyz0123456789", Weakness::Sequence),
            ("ChangeMe-ChangeMe-please-1234567", Weakness::Example("change")),
            ("my-very-own-password-9173-4625-1", Weakness::Example("password")),
        ] {
            assert_eq!(weakness(secret), Some(expected), "{secret}");
        }
    }

    #[test]
    fn one_secret_for_two_purposes_is_a_failure() {
        let [key, token] = ["SECRET_KEY", "OPERATOR_TOKEN"];

        let apart = secrets(&[held(key, RANDOM), held(token, OTHER)]);
        let same = secrets(&[held(key, RANDOM), held(token, RANDOM)]);

        assert_eq!(apart.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Ok]);
        assert_eq!(same.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Fail]);
    }

    #[test]
    fn no_finding_shows_a_secret() {
        let weak = "hunter2-hunter2";

        let found = secrets(&[held("SECRET_KEY", weak), held("OPERATOR_TOKEN", RANDOM)]);

        assert!(found.iter().all(|f| !f.message.contains(weak) && f.level == Level::Fail));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_secret_that_is_not_made_yet_is_no_fault_and_one_that_cannot_be_read_is() {
        let level = |secret| {
            let held = Held { name: "SECRET_KEY", place: "secret-key".to_owned(), secret };
            secrets(&[held])[0].level
        };

        assert_eq!(level(None), Level::Ok);
        assert_eq!(level(Some(Err("open to others".to_owned()))), Level::Fail);
    }
}
