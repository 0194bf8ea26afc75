//! The life of a key: the one state machine, and what each of its states allows.
//!
//! ```text
//! active --(expiration date)--> expired --(recovery)--> succeeded
//!   |--(succession)--> succeeded
//!   `--(revocation)--> revoked
//! ```
//! A key that ended stays ended. Only what its holder signed can end it, so a registration that
//! anybody may have sent can be replaced by one that proves possession, and an end cannot.

use serde::{Deserialize, Serialize};

use super::apply::NoEffect;
use super::rows::KeyRow;
use crate::clock::Timestamp;
use crate::event::Authorization;
use crate::keys::Fingerprint;

/// Whether a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It counts.
    Active,
    /// Its expiry date has passed; its holder may recover it with a successor.
    Expired,
    /// Another key took its place.
    Succeeded,
    /// Its holder revoked it.
    Revoked,
}

impl KeyState {
    /// The state as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Succeeded => "succeeded",
            Self::Revoked => "revoked",
        }
    }

    /// Reads what [`KeyState::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Expired, Self::Succeeded, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// How a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its holder revoked it.
    Revoked,
    /// Its holder named another key in its place.
    Succeeded {
        /// That key.
        by: Fingerprint,
    },
}

/// The end of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub how: Ending,
    /// The entry that ended it.
    pub entry_id: u64,
    /// When that was logged.
    pub at: Timestamp,
    /// Whether only the leader says that the holder wanted it.
    pub leader_asserted: bool,
}

impl KeyRow {
    /// The state of the key at an instant. It is expired from its expiry date on.
    pub fn state_at(&self, as_of: Timestamp) -> KeyState {
        let ended = self.ended.filter(|ended| ended.at <= as_of);
        self.state_of(ended, as_of)
    }

    /// The state of the key for the entry of that id and time.
    pub fn state_before(&self, entry_id: u64, at: Timestamp) -> KeyState {
        self.state_of(self.ended.filter(|ended| ended.entry_id < entry_id), at)
    }

    fn state_of(&self, ended: Option<Ended>, at: Timestamp) -> KeyState {
        match ended.map(|ended| ended.how) {
            Some(Ending::Revoked) => KeyState::Revoked,
            Some(Ending::Succeeded { .. }) => KeyState::Succeeded,
            None if self.expires_at.is_some_and(|end| end <= at) => KeyState::Expired,
            None => KeyState::Active,
        }
    }

    /// The operator's key, which the genesis registered, signs the log for ever.
    pub const fn is_operator(&self) -> bool {
        self.first_entry_id == 1
    }
}

/// Whether a key may be registered: anybody may send a public key, so a registration that proves
/// possession replaces one that does not, unless its holder has ended the key.
pub(super) fn register(known: Option<&KeyRow>, is_proven: bool) -> Result<(), NoEffect> {
    match known {
        Some(known) if known.proven || known.ended.is_some() || !is_proven => {
            Err(NoEffect::KeyAlreadyRegistered)
        }
        _ => Ok(()),
    }
}

/// Whether a key may give way to another one; `recovery` is for expired keys and for no others.
pub(super) fn succeed(old: &KeyRow, recovery: bool, at: Timestamp) -> Result<(), NoEffect> {
    if old.is_operator() {
        return Err(NoEffect::KeyHasOtherRole);
    }
    match (old.state_at(at), recovery) {
        (KeyState::Active, false) | (KeyState::Expired, true) => Ok(()),
        (KeyState::Active, true) => Err(NoEffect::KeyNotExpired),
        _ => Err(NoEffect::KeyNotActive),
    }
}

/// Whether a key may be revoked.
pub(super) fn revoke(key: &KeyRow, at: Timestamp) -> Result<(), NoEffect> {
    if key.is_operator() {
        return Err(NoEffect::KeyHasOtherRole);
    }
    is_active(key, at)
}

/// Whether a key may sign at this time.
pub(super) fn is_active(key: &KeyRow, at: Timestamp) -> Result<(), NoEffect> {
    if key.state_at(at) == KeyState::Active { Ok(()) } else { Err(NoEffect::KeyNotActive) }
}

/// Whether an authorization counts for an entry of this time.
///
/// A bare nonce says nothing about the request, so a key that can do better, or that has a role,
/// is not believed to have meant it.
pub(super) fn authorize(
    key: &KeyRow,
    has_role: bool,
    by: &Authorization,
    at: Timestamp,
) -> Result<(), NoEffect> {
    match by {
        Authorization::Signed(signed) if at >= signed.expires_at => Err(NoEffect::ChallengeExpired),
        Authorization::Legacy {} if key.proven || key.used_v1 || has_role => {
            Err(NoEffect::LegacyRefused)
        }
        Authorization::Signed(_) | Authorization::Legacy {} | Authorization::Session {} => Ok(()),
    }
}
