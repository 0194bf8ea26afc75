//! Events that the holder of a key asks for, whatever they are about: their common shape.
//!
//! ```text
//! payload = the members of the request, and
//!           authorization   how its holder authorised it
//!           public_key      the holder's key, so that the entry can be checked by itself
//!           ...             what the leader decided, if anything
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::authorization::{Action, Authorization};
use super::{CarriedFault, Event, EventError, Payload};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey};

/// An event that the holder of a key asks for.
pub trait Asked: Payload + Into<Event> {
    /// What its holder signs to ask for it.
    const ACTION: Action;

    /// The request without `auth`.
    type Request: DeserializeOwned;

    /// Whose event it is.
    fn signer(&self) -> Fingerprint;

    /// The signer's key.
    fn public_key(&self) -> &HolderKey;

    /// How the signer authorised it.
    fn authorization(&self) -> &Authorization;

    /// Whether this is the event that the request asks for.
    fn follows_from(&self, request: Self::Request) -> bool;

    /// Checks the signature, and that the entry is what was asked for.
    fn check_signature(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let Authorization::Signed(signed) = self.authorization() else { return Ok(()) };
        signed.check(Self::ACTION, origin, self.public_key())?;
        let request: Option<Self::Request> = serde_json::from_value(signed.request.clone()).ok();
        if !signed.recovery && request.is_some_and(|request| self.follows_from(request)) {
            Ok(())
        } else {
            Err(CarriedFault::OtherRequest)
        }
    }

    /// Checks that the key is the signer's.
    fn check_key(&self) -> Result<(), EventError> {
        if self.public_key().fingerprint() == self.signer() {
            Ok(())
        } else {
            Err(EventError::OtherKey)
        }
    }
}

/// Reads an instant of a request, in any form of RFC 3339; null or nothing for none.
pub(super) fn instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| Timestamp::from_rfc3339(&text)).transpose().map_err(serde::de::Error::custom)
}

/// Gives an event what every [`Asked`] of it has: conversion, and the members of its signer.
macro_rules! asked {
    ($event:ident, $action:ident, $signer:ident, $request:ident { $($member:ident),* $(,)? }) => {
        impl Asked for $event {
            const ACTION: Action = Action::$action;
            type Request = $request;

            fn signer(&self) -> Fingerprint {
                self.$signer
            }

            fn public_key(&self) -> &HolderKey {
                &self.public_key
            }

            fn authorization(&self) -> &Authorization {
                &self.authorization
            }

            fn follows_from(&self, request: $request) -> bool {
                request == $request { $($member: self.$member.clone()),* }
            }
        }

        impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$event(Box::new(event))
            }
        }
    };
}
pub(super) use asked;
