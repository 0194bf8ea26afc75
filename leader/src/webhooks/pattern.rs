//! Which entries a webhook is told of.
//!
//! ```text
//! *                 every entry
//! attestation       one event type of the log
//! x-acme:build      one event type of a namespace
//! x-acme:*          every event type of a namespace
//! ```

use std::str::FromStr;

use diogenes_common::leaf::EventType;

/// The most patterns of one webhook.
pub(super) const MAX_PATTERNS: usize = 64;

/// The event types of the log itself.
const EVENT_TYPES: [&str; 21] = [
    "log_genesis",
    "leader_epoch",
    "key_registration",
    "key_succession",
    "key_revocation",
    "attestation",
    "endorsement_offer",
    "endorsement_acceptance",
    "endorsement_withdrawal",
    "endorsement_acceptance_revocation",
    "endorsement_revocation_alert",
    "trust_config",
    "trust_config_revocation",
    "encrypted_claim",
    "claim_reveal",
    "composite_document",
    "operator_endorsement",
    "operator_endorsement_revocation",
    "operator_profile",
    "witness_proof",
    "anchor",
];

/// One of the lines above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    All,
    Type(EventType),
    /// What stands before the colon.
    Namespace(Box<str>),
}

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events are event types of the log, x-<namespace>:<name>, x-<namespace>:*, or *")]
pub(super) struct NotAPattern;

impl Pattern {
    /// Whether entries of this type are told.
    pub(super) fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Type(wanted) => wanted == event_type,
            Self::Namespace(wanted) => event_type.namespace() == Some(wanted),
        }
    }
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(namespace) = text.strip_suffix(":*") {
            // Whatever has a name in it is a namespace.
            let some: EventType = format!("{namespace}:a").parse().map_err(|_| NotAPattern)?;
            return Ok(Self::Namespace(some.namespace().ok_or(NotAPattern)?.into()));
        }
        let wanted: EventType = text.parse().map_err(|_| NotAPattern)?;
        let is_known = wanted.is_namespaced() || EVENT_TYPES.contains(&text);
        if is_known { Ok(Self::Type(wanted)) } else { Err(NotAPattern) }
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::event::{Attestation, Genesis, KeyRegistration, Payload as _};

    use super::*;

    #[test]
    fn a_pattern_tells_of_what_it_names_and_of_nothing_else() {
        let types = ["attestation", "anchor", "x-acme:build", "x-acme:test", "x-acme2:build"];
        for (pattern, told) in [
            ("*", &types[..]),
            ("attestation", &["attestation"]),
            ("x-acme:build", &["x-acme:build"]),
            ("x-acme:*", &["x-acme:build", "x-acme:test"]),
            ("key_revocation", &[]),
        ] {
            let pattern: Pattern = pattern.parse().expect(pattern);
            let matches = |name: &&str| pattern.matches(&name.parse().expect("a type"));
            let found: Vec<_> = types.iter().copied().filter(|name| matches(name)).collect();
            assert_eq!(found, told, "{pattern:?}");
        }
    }

    #[test]
    fn what_no_entry_can_be_is_refused() {
        for text in ["", "attestations", "**", "x-acme", "x-acme:", "x-:*", "acme:*", ":*", "X:*"] {
            assert_eq!(text.parse::<Pattern>(), Err(NotAPattern), "{text}");
        }
    }

    #[test]
    fn the_event_types_of_this_version_are_among_those_that_can_be_named() {
        for known in [Genesis::EVENT_TYPE, KeyRegistration::EVENT_TYPE, Attestation::EVENT_TYPE] {
            assert!(EVENT_TYPES.contains(&known), "{known}");
        }
    }
}
