//! The follower's metrics, documented one by one in `docs/metrics.md`.

use std::time::Duration;

use diogenes_common::backup::BackupMetrics;
use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Kind;
use diogenes_common::files::Role;
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::{ChainMetrics, DAMAGE, Verification};
use diogenes_common::scrub::{DAMAGED, ScrubMetrics};
use diogenes_common::store::Incident;
use diogenes_common::telemetry;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::replica::Status;
use crate::sync::prove::SOURCE_FAULT;

/// Everything that a follower measures. Clones share the series.
#[derive(Clone)]
pub(crate) struct Metrics {
    node: telemetry::Metrics,
    leader_tree_size: IntGauge,
    leader_head_timestamp: IntGauge,
    leader_last_contact: IntGauge,
    verified_tree_size: IntGauge,
    behind_since: IntGauge,
    entries_verified: IntCounter,
    fetch_bytes: IntCounter,
    fetch_errors: IntCounterVec,
    verification_failures: IntCounterVec,
    backups: BackupMetrics,
    scrub: ScrubMetrics,
    chain: ChainMetrics,
}

/// What may open an incident: named from the start, so that alerts see zero.
const KINDS: [&str; 11] = [
    Kind::ForkSameSize.as_str(),
    Kind::ForkPrefix.as_str(),
    Kind::Truncated.as_str(),
    Kind::TimestampRegressed.as_str(),
    Kind::ChainMerkleMismatch.as_str(),
    Kind::BadEntry.as_str(),
    Kind::WitnessEquivocated.as_str(),
    SOURCE_FAULT,
    "entry_without_effect",
    DAMAGE,
    DAMAGED,
];

/// What may not hold of what a source sent: named from the start, so that the first one is seen as
/// a change. What is proven has the name of its [`Kind`].
const CHECKS: [&str; 12] = [
    "bad_batch",
    "wrong_origin",
    "unauthorized_key",
    "wrong_epoch",
    "inconsistent_unproven",
    "head_in_future",
    Kind::ForkSameSize.as_str(),
    Kind::ForkPrefix.as_str(),
    Kind::Truncated.as_str(),
    Kind::TimestampRegressed.as_str(),
    Kind::ChainMerkleMismatch.as_str(),
    Kind::BadEntry.as_str(),
];

/// The classes of errors of sources.
const CLASSES: [&str; 6] = ["network", "cut", "rate_limited", "server", "refused", "bad_answer"];

impl Metrics {
    /// Registers every series.
    pub(crate) fn new() -> Self {
        let node = telemetry::Metrics::new(Role::Follower, env!("CARGO_PKG_VERSION"));
        let metrics = Self {
            leader_tree_size: node.gauge(
                "diogenes_leader_tree_size_entries",
                "Entries under the newest head that a source sent and that verified.",
            ),
            leader_head_timestamp: node.gauge(
                "diogenes_leader_head_timestamp_seconds",
                "Time of that head; 0 before the first.",
            ),
            leader_last_contact: node.gauge(
                "diogenes_leader_last_contact_timestamp_seconds",
                "When a source last sent something that holds; 0 before the first time.",
            ),
            verified_tree_size: node
                .gauge("diogenes_verified_tree_size_entries", "Entries verified and stored."),
            behind_since: node.gauge(
                "diogenes_behind_since_timestamp_seconds",
                "Since when the log is known to be larger than what is stored; 0 if it is not.",
            ),
            entries_verified: node
                .counter("diogenes_entries_verified_total", "Entries that verified."),
            fetch_bytes: node
                .counter("diogenes_fetch_bytes_total", "Bytes of batches that arrived."),
            fetch_errors: node.counters(
                "diogenes_fetch_errors_total",
                "Requests to sources that gave nothing to verify.",
                &["class"],
            ),
            verification_failures: node.counters(
                "diogenes_verification_failures_total",
                "What sources sent and what did not hold, by the check that failed.",
                &["check"],
            ),
            backups: BackupMetrics::register(&node),
            scrub: ScrubMetrics::register(&node),
            chain: ChainMetrics::register(&node),
            node,
        };
        for kind in KINDS {
            metrics.node.incidents_open(kind).set(0);
        }
        for class in CLASSES {
            metrics.fetch_errors.with_label_values(&[class]).inc_by(0);
        }
        for check in CHECKS {
            metrics.verification_failures.with_label_values(&[check]).inc_by(0);
        }
        metrics
    }

    /// What the scrub shows.
    pub(crate) fn scrub(&self) -> &ScrubMetrics {
        &self.scrub
    }

    /// What every role measures.
    pub(crate) fn node(&self) -> &telemetry::Metrics {
        &self.node
    }

    /// Bytes of a batch arrived.
    pub(crate) fn fetched(&self, bytes: usize) {
        self.fetch_bytes.inc_by(bytes as u64);
    }

    /// A source gave nothing to verify.
    pub(crate) fn fetch_failed(&self, class: &str) {
        self.fetch_errors.with_label_values(&[class]).inc();
    }

    /// A batch verified.
    pub(crate) fn verified(&self, entries: usize) {
        self.entries_verified.inc_by(entries as u64);
    }

    /// Something that a source sent does not hold.
    pub(crate) fn refused(&self, check: &str) {
        self.verification_failures.with_label_values(&[check]).inc();
    }

    /// A batch is durable.
    pub(crate) fn stored(&self, took: Duration) {
        self.node.fsync_took(took);
    }

    /// The stored size.
    pub(crate) fn tree_size(&self, size: TreeSize) {
        self.verified_tree_size.set(size.to_sql());
    }

    /// When the last backup was made.
    pub(crate) fn backups(&self) -> &BackupMetrics {
        &self.backups
    }

    /// What the last verification of the stored log found.
    pub(crate) fn chain(&self, verification: &Verification) {
        self.chain.show(verification);
    }

    /// How many incidents of each kind are open.
    pub(crate) fn incidents(&self, open: &[Incident]) {
        for kind in KINDS {
            let count = open.iter().filter(|incident| incident.kind == kind).count();
            self.node.incidents_open(kind).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Shows what the status says.
    pub(crate) fn show(&self, status: &Status) {
        let seconds = |time: Option<Timestamp>| time.map_or(0, Timestamp::seconds);
        self.leader_tree_size.set(status.leader_tree_size.map_or(0, TreeSize::to_sql));
        self.leader_head_timestamp.set(seconds(status.head_timestamp));
        self.leader_last_contact.set(seconds(status.last_contact));
        self.behind_since.set(seconds(status.behind_since));
    }
}
