//! Payloads that were checked before they had a place in the log.
//!
//! What a holder's event carries is signed over the log's name and the event, never over its
//! place. So the costly part of a follower's check may run where the event arrives, on many
//! threads at once, and the one thread that orders events is left with what depends on the place.

use super::{CarriedFault, Event, EventError, Payload};
use crate::head::Origin;
use crate::leaf::{EventType, Leaf};

/// A payload that a follower of this log takes wherever it stands: the follower's own parser read
/// these very bytes, and its own rules accepted every signature that they carry.
///
/// Only [`CheckedPayload::of`] makes one, and it vouches for nothing but its own bytes in its own
/// log: [`Chain::append_checked`](crate::batch::Chain::append_checked) checks anything else anew.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPayload {
    origin: Origin,
    event_type: EventType,
    payload: Vec<u8>,
    event: Event,
}

/// Why a payload cannot be vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Followers could not read it.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Followers would refuse it.
    #[error(transparent)]
    Carried(#[from] CarriedFault),
    /// Its signers are keys that the log gave a role, so it is judged where it stands.
    #[error("its check depends on the entries before it")]
    DependsOnPlace,
}

impl CheckedPayload {
    /// Checks a payload as every follower of this log will.
    pub fn of<P: Payload>(payload: &P, origin: &Origin) -> Result<Self, Unfit> {
        let event_type: EventType =
            P::EVENT_TYPE.parse().map_err(|_| Unfit::Event(EventError::Members))?;
        let payload = payload.to_payload();
        let event = Event::parse(event_type.as_str(), &payload)?;
        event.check_holders(origin).ok_or(Unfit::DependsOnPlace)??;
        Ok(Self { origin: origin.clone(), event_type, payload, event })
    }

    /// Its type.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// Its bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What it says.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// What a leaf of the log of this name says, if it holds these very bytes.
    pub(crate) fn vouch_for(self, leaf: &Leaf, origin: &Origin) -> Option<Event> {
        let same = self.origin == *origin
            && self.event_type.as_str() == leaf.event_type()
            && self.payload == leaf.payload();
        same.then_some(self.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BrokenRule, Chain, Trust};
    use crate::clock::Timestamp;
    use crate::event::text::Name;
    use crate::event::{Genesis, KeyRegistration};
    use crate::keys::{KeyAlgorithm, SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn origin(name: &str) -> Origin {
        name.parse().expect("an origin")
    }

    fn registration(name: &str, log: &Origin) -> KeyRegistration {
        let event = KeyRegistration {
            expiration_date: None,
            fingerprint: key(2).fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: Name::try_from(name.to_owned()).expect("a name"),
            public_key: key(2).public().into(),
        };
        event.proven(log, &key(2))
    }

    /// A log with its genesis.
    fn chain(log: &Origin) -> Chain {
        let mut chain = Chain::new(Trust { operator: key(1).fingerprint() });
        let leaf = leaf(&chain, &Genesis::new(key(1).public(), log.clone()));
        chain.append(leaf, &mut Vec::new()).expect("a genesis");
        chain
    }

    fn leaf<P: Payload>(chain: &Chain, payload: &P) -> Leaf {
        let event_type = P::EVENT_TYPE.parse().expect("a type");
        let at = Timestamp::from_millis(1_768_473_000_000).expect("a time");
        let id = chain.size().get() + 1;
        Leaf::build(id, chain.chain_head(), at, &event_type, &payload.to_payload()).expect("a leaf")
    }

    #[test]
    fn only_what_followers_take_is_vouched_for() {
        let (here, elsewhere) = (origin("log.example/log-1"), origin("other.example"));
        let alice = registration("Alice", &here);
        let bad = Unfit::Carried(CarriedFault::BadSignature);

        assert_eq!(CheckedPayload::of(&alice, &here).map(|of| of.event), Ok(alice.clone().into()));
        assert_eq!(CheckedPayload::of(&alice, &elsewhere), Err(bad));
        let renamed = KeyRegistration { pseudonym: registration("Bob", &here).pseudonym, ..alice };
        assert_eq!(CheckedPayload::of(&renamed, &here), Err(bad));
        let swapped = KeyRegistration { fingerprint: key(3).fingerprint(), ..renamed };
        assert_eq!(CheckedPayload::of(&swapped, &here), Err(Unfit::Event(EventError::OtherKey)));
        let genesis = Genesis::new(key(1).public(), here.clone());
        assert_eq!(CheckedPayload::of(&genesis, &here), Err(Unfit::DependsOnPlace));
    }

    #[test]
    fn who_is_vouched_for_comes_in_as_who_is_checked() {
        let here = origin("log.example/log-1");
        let (mut checked, mut full) = (chain(&here), chain(&here));
        let alice = registration("Alice", &here);
        let vouched = CheckedPayload::of(&alice, &here).expect("a good registration");

        let one = checked.append_checked(leaf(&checked, &alice), vouched, &mut Vec::new());
        let other = full.append(leaf(&full, &alice), &mut Vec::new());

        assert_eq!(one.map(|entry| entry.event), other.map(|entry| entry.event));
        assert_eq!(checked.tree(), full.tree());
    }

    #[test]
    fn nobody_is_vouched_for_by_what_was_checked_of_another_or_elsewhere() {
        let (here, elsewhere) = (origin("log.example/log-1"), origin("other.example"));
        let alice = registration("Alice", &here);
        let forged =
            KeyRegistration { pseudonym: registration("Bob", &here).pseudonym, ..alice.clone() };
        let foreign = registration("Alice", &elsewhere);
        let of_alice = CheckedPayload::of(&alice, &here).expect("a good registration");
        let of_foreign = CheckedPayload::of(&foreign, &elsewhere).expect("good elsewhere");

        let mut chain = chain(&here);
        let refused = BrokenRule::Carried(CarriedFault::BadSignature);
        for (payload, vouched) in [(&forged, &of_alice), (&foreign, &of_foreign)] {
            let leaf = leaf(&chain, payload);
            let result = chain.append_checked(leaf, vouched.clone(), &mut Vec::new());
            assert_eq!(result.map_err(|fault| fault.rule).err(), Some(refused));
        }
        let out_of_place = leaf(&Chain::new(chain.trust()), &alice);
        assert_eq!(out_of_place.id(), 1);
        let result = chain.append_checked(out_of_place, of_alice, &mut Vec::new());
        assert_eq!(result.map_err(|fault| fault.rule).err(), Some(BrokenRule::WrongId));
    }
}
