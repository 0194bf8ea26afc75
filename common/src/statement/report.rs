//! Replication reports: a follower tells the leader how far it verified.

use serde::{Deserialize, Serialize};

use super::{Claim, Reason, StatementError, Verified};
use crate::clock::Timestamp;
use crate::head::{HeadJson, Origin};
use crate::keys::{Fingerprint, PublicKey, Signature, SigningKey};
use crate::merkle::{Hash, TreeSize};

/// How a follower stands to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FollowerStatus {
    /// It verified everything that the newest head covers.
    Synced,
    /// It is behind and catching up.
    Syncing,
    /// It is behind without progress, or hears nothing fresh.
    Behind,
    /// It cannot go on.
    Error,
}

impl FollowerStatus {
    /// The status as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Syncing => "SYNCING",
            Self::Behind => "BEHIND",
            Self::Error => "ERROR",
        }
    }
}

/// What a follower signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportClaim {
    /// The follower's key.
    pub follower: Fingerprint,
    /// The time of the newest verified head; null before the first.
    pub head_timestamp: Option<Timestamp>,
    /// The size of the newest verified head; null before the first.
    pub leader_tree_size: Option<TreeSize>,
    /// The log.
    pub origin: Origin,
    /// Why the status is what it is; null when all is well.
    pub reason: Option<Reason>,
    /// The root that the follower itself computed at `tree_size`.
    pub root_hash: Hash,
    /// How the follower stands.
    pub status: FollowerStatus,
    /// When it signed.
    pub timestamp: Timestamp,
    /// The size that it verified and stored.
    pub tree_size: TreeSize,
}

impl Claim for ReportClaim {
    const FIRST_LINE: &'static str = "diogenes-replication-report/v1\n";
}

impl ReportClaim {
    /// Signs the claim and makes the body to send.
    pub fn into_report(self, key: &SigningKey, head: Option<HeadJson>) -> ReplicationReport {
        let signature = self.sign(key);
        ReplicationReport {
            follower: self.follower,
            head,
            head_timestamp: self.head_timestamp,
            leader_tree_size: self.leader_tree_size,
            origin: self.origin,
            reason: self.reason,
            root_hash: self.root_hash,
            signature,
            status: self.status,
            timestamp: self.timestamp,
            tree_size: self.tree_size,
        }
    }
}

/// The body of `POST /api/v1/log/replication-report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplicationReport {
    /// The follower's key.
    pub follower: Fingerprint,
    /// The newest head that the follower verified, verbatim; null before the first.
    pub head: Option<HeadJson>,
    /// The time of that head.
    pub head_timestamp: Option<Timestamp>,
    /// The size of that head.
    pub leader_tree_size: Option<TreeSize>,
    /// The log.
    pub origin: Origin,
    /// Why the status is what it is.
    pub reason: Option<Reason>,
    /// The root that the follower itself computed.
    pub root_hash: Hash,
    /// The follower's signature over the claim.
    pub signature: Signature,
    /// How the follower stands.
    pub status: FollowerStatus,
    /// When it signed.
    pub timestamp: Timestamp,
    /// The size that it verified and stored.
    pub tree_size: TreeSize,
}

impl ReplicationReport {
    /// The members that the signature covers.
    pub fn claim(&self) -> ReportClaim {
        ReportClaim {
            follower: self.follower,
            head_timestamp: self.head_timestamp,
            leader_tree_size: self.leader_tree_size,
            origin: self.origin.clone(),
            reason: self.reason.clone(),
            root_hash: self.root_hash,
            status: self.status,
            timestamp: self.timestamp,
            tree_size: self.tree_size,
        }
    }

    /// Checks the report under the follower's key, which the log knows; the attached head's own
    /// signature is checked by whoever uses the head.
    pub fn verify(self, key: &PublicKey) -> Result<Verified<Self>, StatementError> {
        if key.fingerprint() != self.follower {
            return Err(StatementError::OtherKey);
        }
        let about = self.head.as_ref().map(|head| (&head.origin, head.timestamp, head.tree_size));
        let said = self.head_timestamp.zip(self.leader_tree_size);
        if about != said.map(|(timestamp, size)| (&self.origin, timestamp, size))
            || self.head_timestamp.is_some() != self.leader_tree_size.is_some()
        {
            return Err(StatementError::OtherHead);
        }
        if self.tree_size == TreeSize::ZERO && self.root_hash != Hash::EMPTY_TREE {
            return Err(StatementError::EmptyTreeRoot);
        }
        self.claim().check(key, &self.signature)?;
        Ok(Verified(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ReplicationReport {
        let key = SigningKey::from_seed([5; 32]);
        ReportClaim {
            follower: key.fingerprint(),
            head_timestamp: None,
            leader_tree_size: None,
            origin: "log.example/log-1".parse().expect("an origin"),
            reason: Reason::try_from("unreachable").ok(),
            root_hash: Hash::EMPTY_TREE,
            status: FollowerStatus::Behind,
            timestamp: "2026-01-15T10:30:00.000Z".parse().expect("a time"),
            tree_size: TreeSize::ZERO,
        }
        .into_report(&key, None)
    }

    #[test]
    fn what_is_unknown_is_signed_as_null() {
        let text = String::from_utf8(report().claim().signed_bytes()).expect("text");

        assert!(text.starts_with("diogenes-replication-report/v1\n{\"follower\":\"sha256:"));
        assert!(text.contains("\"head_timestamp\":null,\"leader_tree_size\":null,"));
        assert!(text.contains("\"reason\":\"unreachable\""));
        assert!(text.contains("\"status\":\"BEHIND\""));
    }

    #[test]
    fn a_report_holds_only_as_it_was_signed() {
        let key = SigningKey::from_seed([5; 32]);
        assert!(report().verify(key.public()).is_ok());
        let mut better = report();
        better.status = FollowerStatus::Synced;
        assert_eq!(better.verify(key.public()), Err(StatementError::BadSignature));
        let stranger = SigningKey::from_seed([6; 32]);
        assert_eq!(report().verify(stranger.public()), Err(StatementError::OtherKey));
        let mut headless = report();
        headless.leader_tree_size = Some(TreeSize::ZERO);
        assert_eq!(headless.verify(key.public()), Err(StatementError::OtherHead));
    }
}
