//! The rows that views hold about trust: endorsements, alerts, policies and claims.

use super::rows::Row;
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::statement::Category;
use crate::trust::Level;

/// An endorsement, from its offer on (`view_endorsements`).
///
/// ```text
/// offered --(acceptance)--> accepted --(active_from)--> active
///    |                         |                          |--(acceptance revoked)-->
///    `-------------------------+--------------------------+--(withdrawn, expired, void)-->
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementRow {
    /// The entry of the offer.
    pub offer_id: u64,
    /// The key that endorses: of a key that was succeeded, its successor.
    pub endorser: Fingerprint,
    /// The key that is endorsed: likewise.
    pub endorsed: Fingerprint,
    /// As what.
    pub category: Category,
    /// The name of the institution that stands behind it, folded.
    pub institution: Option<String>,
    /// When it was offered.
    pub offered_at: Timestamp,
    /// From when on it is expired.
    pub valid_until: Option<Timestamp>,
    /// Whether a part of it rests on the leader's word alone.
    pub leader_asserted: bool,
    /// The endorsed key's agreement.
    pub accepted: Option<Acceptance>,
    /// How it ended, if it did and the log says so. Expiry is written down late: ask
    /// [`EndorsementRow::state_at`].
    pub ended: Option<EndorsementEnd>,
}

/// The agreement of an endorsed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The entry.
    pub entry_id: u64,
    /// When it was logged.
    pub at: Timestamp,
    /// From when on the endorsement counts.
    pub active_from: Timestamp,
    /// The endorser's level of standing then, if it had one.
    pub level: Option<Level>,
}

/// How an endorsement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndorsementEnd {
    /// How.
    pub how: EndorsementEnding,
    /// The entry that ended it; of an expired one, the entry that noticed.
    pub entry_id: u64,
    /// From when on it is over.
    pub at: Timestamp,
}

/// The ways in which endorsements end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementEnding {
    /// The endorser withdrew it.
    Withdrawn,
    /// The endorsed key no longer accepts it.
    AcceptanceRevoked,
    /// Its time passed.
    Expired,
    /// One of the keys was revoked.
    Void,
}

impl EndorsementEnding {
    /// The way as views store it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::AcceptanceRevoked => "acceptance_revoked",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }

    /// Reads what [`EndorsementEnding::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Withdrawn, Self::AcceptanceRevoked, Self::Expired, Self::Void]
            .into_iter()
            .find(|how| how.as_str() == name)
    }
}

/// The state of an endorsement at an instant.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndorsementState {
    /// The endorsed key has not answered.
    Offered,
    /// It has, and the activation delay runs.
    Accepted,
    /// It counts.
    Active,
    /// The endorser withdrew it.
    Withdrawn,
    /// The endorsed key no longer accepts it.
    AcceptanceRevoked,
    /// Its time passed.
    Expired,
    /// One of the keys was revoked.
    Void,
}

impl EndorsementState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Offered,
        Self::Accepted,
        Self::Active,
        Self::Withdrawn,
        Self::AcceptanceRevoked,
        Self::Expired,
        Self::Void,
    ];

    /// The state as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Active => "active",
            Self::Withdrawn => "withdrawn",
            Self::AcceptanceRevoked => "acceptance_revoked",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }

    /// Reads what [`EndorsementState::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether it can still come to something, and so takes up capacity.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Offered | Self::Accepted | Self::Active)
    }
}

impl From<EndorsementEnding> for EndorsementState {
    fn from(how: EndorsementEnding) -> Self {
        match how {
            EndorsementEnding::Withdrawn => Self::Withdrawn,
            EndorsementEnding::AcceptanceRevoked => Self::AcceptanceRevoked,
            EndorsementEnding::Expired => Self::Expired,
            EndorsementEnding::Void => Self::Void,
        }
    }
}

impl EndorsementRow {
    /// The state at an instant that is not before the offer.
    pub fn state_at(&self, as_of: Timestamp) -> EndorsementState {
        if let Some(end) = self.ended.filter(|end| end.at <= as_of) {
            return end.how.into();
        }
        if self.valid_until.is_some_and(|end| end <= as_of) {
            return EndorsementState::Expired;
        }
        match self.accepted {
            Some(accepted) if accepted.active_from <= as_of => EndorsementState::Active,
            Some(accepted) if accepted.at <= as_of => EndorsementState::Accepted,
            _ => EndorsementState::Offered,
        }
    }

    /// Whether it was active at some instant from `since` on, up to `until`.
    pub fn was_active_within(&self, since: Timestamp, until: Timestamp) -> bool {
        let Some(accepted) = self.accepted else { return false };
        let over = [self.ended.map(|end| end.at), self.valid_until].into_iter().flatten().min();
        let begins = accepted.active_from.max(accepted.at);
        begins <= until && over.is_none_or(|over| over > begins && over > since)
    }
}

impl Row for EndorsementRow {
    type Key = u64;

    fn key(&self) -> u64 {
        self.offer_id
    }
}

/// The newest alert of one key about another (`view_alerts`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Who warns.
    pub endorser: Fingerprint,
    /// Of whom.
    pub compromised: Fingerprint,
    /// The entry.
    pub entry_id: u64,
    /// When it was logged.
    pub at: Timestamp,
    /// The entry that withdrew it.
    pub withdrawn_by: Option<u64>,
}

impl Row for AlertRow {
    type Key = (Fingerprint, Fingerprint);

    fn key(&self) -> Self::Key {
        (self.endorser, self.compromised)
    }
}

/// The trust policy of a key (`view_trust_configs`); the entry holds what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustConfigRow {
    /// Whose it is.
    pub fingerprint: Fingerprint,
    /// The entry that says it.
    pub entry_id: u64,
    /// When that was logged.
    pub at: Timestamp,
    /// The entry that ended it.
    pub revoked_by: Option<u64>,
}

impl Row for TrustConfigRow {
    type Key = Fingerprint;

    fn key(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// An encrypted claim (`view_claims`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// What its claimant committed to; no two claims have the same.
    pub commitment: Hash,
    /// The entry.
    pub entry_id: u64,
    /// Who claims.
    pub claimant: Fingerprint,
    /// When it was logged.
    pub at: Timestamp,
    /// The entry that revealed it.
    pub revealed_by: Option<u64>,
}

impl Row for ClaimRow {
    type Key = Hash;

    fn key(&self) -> Hash {
        self.commitment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn row(accepted: Option<(i64, i64)>, until: Option<i64>, ended: Option<i64>) -> EndorsementRow {
        let key = |n: u8| Fingerprint::new(Hash::of(&[n]));
        EndorsementRow {
            offer_id: 7,
            endorser: key(1),
            endorsed: key(2),
            category: Category::HumanAttestation,
            institution: None,
            offered_at: at(100),
            valid_until: until.map(at),
            leader_asserted: false,
            accepted: accepted.map(|(logged, active)| Acceptance {
                entry_id: 8,
                at: at(logged),
                active_from: at(active),
                level: None,
            }),
            ended: ended.map(|end| EndorsementEnd {
                how: EndorsementEnding::Withdrawn,
                entry_id: 9,
                at: at(end),
            }),
        }
    }

    #[test]
    fn an_endorsement_goes_through_its_states_at_their_very_instants() {
        use EndorsementState::{Accepted, Active, Expired, Offered, Withdrawn};
        let states = |row: &EndorsementRow| {
            [100, 199, 200, 299, 300, 399, 400].map(|instant| row.state_at(at(instant)))
        };

        let open = row(None, Some(300), None);
        assert_eq!(states(&open), [Offered, Offered, Offered, Offered, Expired, Expired, Expired]);
        let all = row(Some((200, 300)), Some(400), None);
        assert_eq!(states(&all), [Offered, Offered, Accepted, Accepted, Active, Active, Expired]);
        let ended = row(Some((200, 300)), None, Some(400));
        assert_eq!(
            states(&ended),
            [Offered, Offered, Accepted, Accepted, Active, Active, Withdrawn]
        );
    }

    #[test]
    fn what_never_counted_was_not_active() {
        let within = |row: &EndorsementRow| row.was_active_within(at(500), at(600));

        assert!(within(&row(Some((200, 300)), None, None)));
        assert!(within(&row(Some((200, 600)), None, None)));
        assert!(!within(&row(Some((200, 601)), None, None)));
        assert!(within(&row(Some((200, 300)), None, Some(501))));
        assert!(!within(&row(Some((200, 300)), None, Some(500))));
        assert!(!within(&row(Some((200, 300)), Some(500), None)));
        assert!(!within(&row(Some((200, 550)), None, Some(550))));
        assert!(!within(&row(None, None, None)));
    }
}
