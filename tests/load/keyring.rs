//! Keys to register: made from their numbers, so that no run needs a file of them.

use diogenes_common::event::text::{Name, NotAName};
use diogenes_common::event::{KeyRegistration, Payload as _};
use diogenes_common::head::Origin;
use diogenes_common::keys::{Fingerprint, KeyAlgorithm, SigningKey};
use diogenes_common::merkle::Hash;

/// A word that is in the name of every key.
pub(crate) const COMMON_WORD: &str = "Scholar";
/// How many events an array holds: the most that the log takes.
pub(crate) const ARRAY: u64 = 1_000;

/// A key and what registers it.
pub(crate) struct Person {
    pub(crate) fingerprint: Fingerprint,
    /// What `POST /keys/register` takes as `payload`.
    payload: serde_json::Value,
}

impl Person {
    /// The holder of key `number`, who proves possession if the log's name is given.
    pub(crate) fn new(number: u64, proves_to: Option<&Origin>) -> Result<Self, NotAName> {
        let key =
            SigningKey::from_seed(*Hash::of(format!("load key {number}").as_bytes()).as_bytes());
        let unproven = KeyRegistration {
            expiration_date: None,
            fingerprint: key.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: Name::try_from(name(number))?,
            public_key: key.public().into(),
        };
        let event = match proves_to {
            Some(origin) => unproven.proven(origin, &key),
            None => unproven,
        };
        Ok(Self { fingerprint: event.fingerprint, payload: request(&event) })
    }

    /// The body of `POST /keys/register`.
    pub(crate) fn body(&self) -> String {
        serde_json::json!({ "payload": self.payload }).to_string()
    }

    /// The event that `POST /log/entries` takes.
    pub(crate) fn event(&self) -> serde_json::Value {
        let event_type = KeyRegistration::EVENT_TYPE;
        serde_json::json!({ "event_type": event_type, "payload": self.payload })
    }
}

/// The name of key `number`, which no other key's name contains.
pub(crate) fn name(number: u64) -> String {
    format!("{COMMON_WORD} {number:09} of Sinope")
}

/// What the holder sends: the payload but for the fingerprint, which follows from the key.
fn request(event: &KeyRegistration) -> serde_json::Value {
    serde_json::json!({
        "key_algorithm": event.key_algorithm,
        "proof": event.proof,
        "pseudonym": event.pseudonym,
        "public_key": event.public_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_always_the_same_and_no_other_has_its_name() {
        let [one, again, other] = [7, 7, 8].map(|number| Person::new(number, None).unwrap());

        assert_eq!(one.fingerprint, again.fingerprint);
        assert_eq!(one.body(), again.body());
        assert_ne!(one.fingerprint, other.fingerprint);
        assert!(!name(70_000_000).contains(&name(7)));
    }

    #[test]
    fn a_proof_is_sent_where_the_log_is_known() {
        let origin: Origin = "log.example/log-1".parse().unwrap();
        let proof = |person: Person| person.event()["payload"]["proof"].clone();

        assert!(proof(Person::new(7, None).unwrap()).is_null());
        assert_eq!(proof(Person::new(7, Some(&origin)).unwrap()).as_str().map(str::len), Some(88));
    }
}
