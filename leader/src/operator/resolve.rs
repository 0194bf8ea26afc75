//! Which key a fingerprint means that an operator typed. Pure.

use std::collections::BTreeMap;

use diogenes_common::keys::{AnyFingerprint, Fingerprint, HolderKey};

/// A short fingerprint that several keys begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} is the beginning of several fingerprints: give the full one of {}", list(.keys))]
pub(super) struct Ambiguous {
    /// What was given.
    pub(super) given: AnyFingerprint,
    /// The keys that it may mean.
    pub(super) keys: Vec<Fingerprint>,
}

/// The one key among the known ones that is meant; `None` if it is none of them.
pub(super) fn choose(
    given: AnyFingerprint,
    known: impl IntoIterator<Item = HolderKey>,
) -> Result<Option<HolderKey>, Ambiguous> {
    let mut meant: BTreeMap<Fingerprint, HolderKey> = known
        .into_iter()
        .map(|key| (key.fingerprint(), key))
        .filter(|(fingerprint, _)| given.names(fingerprint))
        .collect();
    if meant.len() > 1 {
        return Err(Ambiguous { given, keys: meant.into_keys().collect() });
    }
    Ok(meant.pop_first().map(|(_, key)| key))
}

fn list(keys: &[Fingerprint]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use diogenes_common::keys::SigningKey;

    use super::*;

    fn key(n: u8) -> HolderKey {
        SigningKey::from_seed([n; 32]).public().into()
    }

    #[test]
    fn a_full_fingerprint_means_one_key_or_none() {
        let given = AnyFingerprint::Full(key(1).fingerprint());

        assert_eq!(choose(given, [key(2), key(1), key(1)]), Ok(Some(key(1))));
        assert_eq!(choose(given, [key(2)]), Ok(None));
    }

    #[test]
    fn a_short_fingerprint_means_the_one_key_that_begins_so() {
        let given = AnyFingerprint::Short(key(1).fingerprint().short());

        assert_eq!(choose(given, [key(1), key(2)]), Ok(Some(key(1))));
        assert_eq!(choose(given, []), Ok(None));
    }

    #[test]
    fn a_refusal_names_every_key_that_may_be_meant() {
        let given = AnyFingerprint::Short(key(1).fingerprint().short());
        let keys = vec![key(1).fingerprint(), key(2).fingerprint()];

        let text = Ambiguous { given, keys: keys.clone() }.to_string();

        assert!(keys.iter().all(|key| text.contains(&key.to_string())), "{text}");
    }
}
