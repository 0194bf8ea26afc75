//! The followers as a leader sees them, and a follower as it sees itself.

use super::text::{ago, lasting, or_unknown, rate, visible};
use crate::clock::Timestamp;
use crate::statement::FollowerStatus;
use crate::wire::status::{
    Colour, ErrorClass, FollowerRow, MirrorStatus, ReplicationStatus, Upstream, in_words,
    seconds_since,
};

/// A row of the table of followers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Follower {
    pub(super) name: String,
    pub(super) fingerprint: String,
    pub(super) server: String,
    pub(super) colour: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: String,
    pub(super) verified: String,
    /// Whether it has this log's root at that size, in words.
    pub(super) root: &'static str,
    pub(super) lag_entries: String,
    pub(super) lag_time: String,
    pub(super) rate: String,
    pub(super) eta: String,
    pub(super) last_contact: String,
    pub(super) next_action: &'static str,
}

/// This node, which is a follower.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) name: String,
    pub(super) fingerprint: String,
    pub(super) status: &'static str,
    pub(super) colour: &'static str,
    pub(super) reason: String,
    pub(super) class: &'static str,
    pub(super) since: String,
    pub(super) verified: String,
    pub(super) lag_entries: String,
    pub(super) lag_time: String,
    pub(super) rate: String,
    pub(super) eta: String,
    pub(super) last_contact: String,
    pub(super) next_action: String,
    /// Where the evidence can be fetched.
    pub(super) evidence: String,
    pub(super) sources: Vec<Source>,
}

/// Where it reads from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) url: String,
    pub(super) last_contact: String,
    pub(super) error: String,
}

/// The rows of a leader's followers; a follower has none.
pub(super) fn followers(status: Option<&ReplicationStatus>) -> Vec<Follower> {
    let Some(ReplicationStatus::Leader(status)) = status else { return Vec::new() };
    status.followers.iter().map(follower).collect()
}

/// The name of a follower, or the beginning of its key's fingerprint.
pub(super) fn name(row: &FollowerRow) -> String {
    row.display_name.as_deref().map_or_else(|| row.fingerprint.short().to_string(), visible)
}

fn follower(row: &FollowerRow) -> Follower {
    let is_behind = row.lag_entries.is_some_and(|lag| lag > 0);
    let when_behind = |text: String| if is_behind { text } else { "–".to_owned() };
    Follower {
        name: name(row),
        fingerprint: row.fingerprint.to_string(),
        server: row.server.as_deref().map(visible).unwrap_or_default(),
        colour: colour(row.status).as_str(),
        status: row.status.as_str(),
        reason: row.reason.as_deref().map(in_words).unwrap_or_default().to_owned(),
        verified: or_unknown(row.tree_size.map(crate::merkle::TreeSize::get)),
        root: match row.root_matches {
            None => "",
            Some(true) => "same root",
            Some(false) => "another root",
        },
        lag_entries: or_unknown(row.lag_entries),
        lag_time: lasting(row.lag_seconds),
        rate: when_behind(rate(row.entries_per_second)),
        eta: when_behind(lasting(row.eta_seconds)),
        last_contact: ago(row.report_age_seconds),
        next_action: next_action(row.reason.as_deref()),
    }
}

/// What the operator of a leader can do about a follower.
fn next_action(reason: Option<&str>) -> &'static str {
    match reason {
        None => "",
        Some("never_reported") => "Start it with this leader's URL and operator key.",
        Some("not_reporting") => "Ask its operator whether it runs and reaches this leader.",
        Some("peer_disagrees") => "Compare the roots with its operator; read the incident below.",
        Some("unreachable") => "Check the network and the certificate between it and this leader.",
        Some("rate_limited") => "Raise RATE_LIMIT_LOG_READ, or let it poll less often.",
        Some("head_in_future") => "Compare both machines' clocks.",
        Some("leader_stale") => "Find out why this leader signs no new heads.",
        Some("paused") => "Wait for its operator, who paused it.",
        Some(
            "fork_same_size"
            | "fork_prefix"
            | "truncated"
            | "timestamp_regressed"
            | "chain_merkle_mismatch"
            | "bad_entry",
        ) => "Fetch the evidence from its page, and verify it.",
        Some(_) => "Read its own status page and log.",
    }
}

/// This node as a follower; `None` on a leader.
pub(super) fn mirror(status: Option<&ReplicationStatus>, now: Timestamp) -> Option<Mirror> {
    let Some(ReplicationStatus::Follower(status)) = status else { return None };
    let status: &MirrorStatus = status;
    let since = |at: Option<Timestamp>| ago(at.map(|at| seconds_since(now, at)));
    let is_syncing = status.status == FollowerStatus::Syncing;
    let source = |upstream: &Upstream| Source {
        url: upstream.url.clone(),
        last_contact: since(upstream.last_contact),
        error: upstream.error.as_deref().map(visible).unwrap_or_default(),
    };
    Some(Mirror {
        name: status.display_name.as_deref().map(visible).unwrap_or_default(),
        fingerprint: status.fingerprint.map(|key| key.to_string()).unwrap_or_default(),
        status: status.status.as_str(),
        colour: colour(status.status).as_str(),
        reason: status.reason.as_deref().map(in_words).unwrap_or_default().to_owned(),
        class: match status.class {
            None => "",
            Some(ErrorClass::Transient) => "passes by itself: it is tried again",
            Some(ErrorClass::Latched) => "stays until the operator acknowledges it",
        },
        since: since(status.since),
        verified: or_unknown(Some(status.tree_size.get())),
        lag_entries: or_unknown(status.lag_entries),
        lag_time: lasting(status.lag_seconds),
        rate: if is_syncing { rate(status.entries_per_second) } else { "–".to_owned() },
        eta: if is_syncing { lasting(status.eta_seconds) } else { "–".to_owned() },
        last_contact: since(status.last_contact),
        next_action: status.next_action.clone().unwrap_or_default(),
        evidence: status.evidence.clone().unwrap_or_default(),
        sources: status.upstreams.iter().map(source).collect(),
    })
}

const fn colour(status: FollowerStatus) -> Colour {
    match status {
        FollowerStatus::Synced => Colour::Green,
        FollowerStatus::Syncing | FollowerStatus::Behind => Colour::Amber,
        FollowerStatus::Error => Colour::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::status::testing::some_status;

    #[test]
    fn every_reason_for_concern_has_something_to_do() {
        for reason in ["never_reported", "not_reporting", "bad_batch", "fork_prefix", "anything"] {
            assert!(!next_action(Some(reason)).is_empty(), "{reason}");
        }
        assert_eq!(next_action(None), "");
    }

    #[test]
    fn a_mirror_shows_itself_and_a_leader_does_not() {
        let now = Timestamp::from_millis(0).unwrap();
        let status = some_status(5);
        let mirror = mirror(Some(&status), now).unwrap();
        assert_eq!((mirror.status, mirror.colour), ("SYNCED", "green"));
        assert_eq!((&*mirror.last_contact, &*mirror.rate), ("never", "–"));
        assert_eq!(followers(Some(&status)), []);
        assert_eq!(super::mirror(None, now), None);
    }
}
