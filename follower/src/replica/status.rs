//! What a follower says about itself: unknown is null, never zero.

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Kind;
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::statement::FollowerStatus;

use super::{Fault, Halt, Now, Replica};

/// Whether an error may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is retried, and may pass.
    Transient,
    /// It is proven, and stays until the operator acknowledges it.
    Latched,
}

/// The status in three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How the follower stands.
    pub(crate) status: FollowerStatus,
    /// Why, unless all is well.
    pub(crate) reason: Option<&'static str>,
    /// Of an error: whether it may pass.
    pub(crate) class: Option<Class>,
}

impl Verdict {
    pub(super) const fn synced() -> Self {
        Self { status: FollowerStatus::Synced, reason: None, class: None }
    }

    pub(super) const fn syncing() -> Self {
        Self { status: FollowerStatus::Syncing, reason: None, class: None }
    }

    pub(super) const fn behind(reason: &'static str) -> Self {
        Self { status: FollowerStatus::Behind, reason: Some(reason), class: None }
    }

    pub(super) const fn error(reason: &'static str) -> Self {
        let (status, class) = (FollowerStatus::Error, Some(Class::Transient));
        Self { status, reason: Some(reason), class }
    }

    pub(super) const fn latched(kind: Kind) -> Self {
        let (status, class) = (FollowerStatus::Error, Some(Class::Latched));
        Self { status, reason: Some(kind.as_str()), class }
    }
}

/// Everything that a follower says about its replication.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    /// The status in three words.
    pub(crate) verdict: Verdict,
    /// Since when.
    pub(crate) since: Timestamp,
    /// When a source is asked again, if none is asked before.
    pub(crate) retry_at: Option<Timestamp>,
    /// The evidence of what latched.
    pub(crate) evidence: Option<i64>,
    /// What the operator can do.
    pub(crate) next_action: Option<&'static str>,
    /// The tree that is verified and stored.
    pub(crate) tree: TreeRoot,
    /// Size of the newest verified head.
    pub(crate) leader_tree_size: Option<TreeSize>,
    /// Time of that head.
    pub(crate) head_timestamp: Option<Timestamp>,
    /// When a source last sent something that holds.
    pub(crate) last_contact: Option<Timestamp>,
    /// Entries between the stored tree and that head.
    pub(crate) lag_entries: Option<u64>,
    /// Seconds since the log was first known to be larger.
    pub(crate) lag_seconds: Option<u64>,
    /// Since when the log is known to be larger.
    pub(crate) behind_since: Option<Timestamp>,
    /// How fast entries are stored.
    pub(crate) entries_per_second: Option<f64>,
    /// How long it will take at that rate.
    pub(crate) eta_seconds: Option<u64>,
    /// Each source in the configured order.
    pub(crate) upstreams: Vec<Upstream>,
}

/// How one source behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// When it last sent something that holds.
    pub(crate) last_contact: Option<Timestamp>,
    /// What it did wrong since.
    pub(crate) error: Option<&'static str>,
}

impl Replica {
    /// The status at this moment.
    pub(crate) fn status(&self, now: Now) -> Status {
        let size = self.tree.size;
        let newest = self.newest.as_ref();
        let lag_entries = newest.map(|newest| newest.size().get().saturating_sub(size.get()));
        let entries_per_second = self.rate();
        Status {
            verdict: self.verdict,
            since: self.since,
            retry_at: self.retry_at(),
            evidence: match self.halt {
                Some(Halt::Latched { evidence, .. }) => evidence,
                _ => None,
            },
            next_action: next_action(self.verdict),
            tree: self.tree,
            leader_tree_size: newest.map(|newest| newest.size()),
            head_timestamp: newest.map(|newest| newest.timestamp()),
            last_contact: self.contact.map(|contact| contact.wall),
            lag_entries,
            lag_seconds: self.lag_seconds(now),
            behind_since: self.kept.behind_since(),
            entries_per_second,
            eta_seconds: eta(lag_entries, entries_per_second),
            upstreams: self
                .sources
                .iter()
                .map(|source| Upstream {
                    last_contact: source.contact.map(|contact| contact.wall),
                    error: source.fault.map(Fault::reason),
                })
                .collect(),
        }
    }

    /// Zero only when the newest head is fresh, was heard lately and is reached.
    fn lag_seconds(&self, now: Now) -> Option<u64> {
        if let Some(since) = self.kept.behind_since() {
            return Some(now.wall.millis_since(since).max(0).unsigned_abs() / 1000);
        }
        let newest = self.newest.as_ref()?;
        let known = self.is_fresh(newest, now) && self.heard_lately(now);
        (known && newest.size() == self.tree.size).then_some(0)
    }

    fn retry_at(&self) -> Option<Timestamp> {
        if self.halt.is_some() || self.sources.iter().any(|source| source.retry_at.is_none()) {
            return None;
        }
        self.sources.iter().filter_map(|source| source.retry_at).map(|at| at.wall).min()
    }

    fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.growth.front()?, self.growth.back()?);
        let millis = to - from;
        if millis < 500 {
            return None;
        }
        let grown = last.get().saturating_sub(first.get());
        #[expect(clippy::cast_precision_loss, reason = "a rate to show, not to count with")]
        let rate = grown as f64 * 1000.0 / millis as f64;
        Some((rate * 10.0).round() / 10.0)
    }
}

fn eta(lag: Option<u64>, rate: Option<f64>) -> Option<u64> {
    let (lag, rate) = (lag?, rate?);
    if lag == 0 {
        return Some(0);
    }
    if rate <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate in whole seconds; both factors are positive"
    )]
    let seconds = (lag as f64 / rate).ceil() as u64;
    Some(seconds)
}

fn next_action(verdict: Verdict) -> Option<&'static str> {
    if verdict.class == Some(Class::Latched) {
        return Some(
            "keep the evidence, check it with `diogenes-witness evidence verify`, talk to the \
             operator of the log, then `diogenes-follower incident ack ID`",
        );
    }
    Some(match verdict.reason? {
        "unreachable" => "check the network and the source's URL; it is retried by itself",
        "rate_limited" => "wait, or ask the operator of the source for a higher limit",
        "leader_stale" => "ask the operator of the log why no new head is signed",
        "head_in_future" => "check the clock of this machine, then that of the leader",
        "paused" => "free some disk space; replication goes on by itself",
        "damaged" => "its scrub repairs it; if it can't: stop it, `log repair --from` a whole node",
        "log_unreachable" => "check this follower's own database; it is retried by itself",
        "wrong_epoch" => "upgrade diogenes-follower",
        "wrong_origin" | "unauthorized_key" => {
            "check url and fingerprint in DIOGENES_FEDERATION_OPERATORS"
        }
        _ => "look at the observation in `incident list`, and add a second source",
    })
}
