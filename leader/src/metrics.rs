//! The leader's metrics, documented one by one in `docs/metrics.md`.

use std::collections::BTreeMap;

use diogenes_common::backup::BackupMetrics;
use diogenes_common::head::TreeHead;
use diogenes_common::read::{ChainMetrics, Verification};
use diogenes_common::scrub::ScrubMetrics;
use diogenes_common::telemetry;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::auth::REFUSALS;
use crate::webhooks::WebhookMetrics;

/// Everything that a leader counts besides what every node counts.
pub(crate) struct Metrics {
    tree_size: IntGauge,
    head_timestamp: IntGauge,
    epoch: IntGauge,
    entries_appended: IntCounterVec,
    pub(crate) heads_signed: IntCounter,
    pub(crate) commit_duration: Histogram,
    pub(crate) batch_entries: Histogram,
    pub(crate) queue_entries: IntGauge,
    pub(crate) clock_refusals: IntCounter,
    pub(crate) last_event: IntGauge,
    pub(crate) witnessed_tree_size: IntGauge,
    pub(crate) quorum_required: IntGauge,
    pub(crate) quorum_current: IntGauge,
    pub(crate) witness_tree_size: IntGaugeVec,
    pub(crate) witness_last_proof: IntGaugeVec,
    pub(crate) witness_proofs: IntCounterVec,
    pub(crate) checkpoint_tree_size: IntGauge,
    pub(crate) cosign_requests: IntCounterVec,
    pub(crate) cosigner_tree_size: IntGaugeVec,
    pub(crate) follower_tree_size: IntGaugeVec,
    pub(crate) follower_last_seen: IntGaugeVec,
    pub(crate) follower_state: IntGaugeVec,
    pub(crate) unreplicated: IntGauge,
    pub(crate) unwitnessed: IntGauge,
    pub(crate) logins: IntCounter,
    pub(crate) auth_refusals: IntCounterVec,
    pub(crate) webhooks: WebhookMetrics,
    pub(crate) backups: BackupMetrics,
    pub(crate) scrub: ScrubMetrics,
    chain: ChainMetrics,
}

impl Metrics {
    /// Registers every series with those of the node.
    pub(crate) fn register(node: &telemetry::Metrics) -> Self {
        Self {
            tree_size: node.gauge("diogenes_tree_size_entries", "Entries under the newest head."),
            head_timestamp: node
                .gauge("diogenes_head_timestamp_seconds", "Time of the newest head."),
            epoch: node.gauge("diogenes_epoch", "Epoch of the newest head."),
            entries_appended: node.counters(
                "diogenes_entries_appended_total",
                "Entries appended by this process; all namespaced types count as x.",
                &["event_type"],
            ),
            heads_signed: node.counter("diogenes_heads_signed_total", "Tree heads signed."),
            commit_duration: node.seconds(
                "diogenes_commit_duration_seconds",
                "Time that one batch's transaction took.",
            ),
            batch_entries: node.histogram(
                "diogenes_batch_entries",
                "Entries in one batch.",
                &[0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0],
            ),
            queue_entries: node
                .gauge("diogenes_append_queue_entries", "Commands that wait for the sequencer."),
            clock_refusals: node.counter(
                "diogenes_clock_refusals_total",
                "Batches refused because the clock can't be trusted.",
            ),
            last_event: node.gauge(
                "diogenes_last_event_tree_size_entries",
                "The size with which the newest event came: what witnesses should have signed.",
            ),
            witnessed_tree_size: node.gauge(
                "diogenes_witnessed_tree_size_entries",
                "The largest size that the quorum of witnesses signed.",
            ),
            quorum_required: node.gauge(
                "diogenes_witness_quorum_required",
                "Witnesses that a size needs to count as witnessed.",
            ),
            quorum_current: node
                .gauge("diogenes_witness_quorum_current", "Witnesses that are current."),
            witness_tree_size: node.gauges(
                "diogenes_witness_tree_size_entries",
                "The newest size that each witness signed.",
                &["witness"],
            ),
            witness_last_proof: node.gauges(
                "diogenes_witness_last_proof_timestamp_seconds",
                "When each witness's newest proof was recorded; 0 before the first.",
                &["witness"],
            ),
            witness_proofs: node.counters(
                "diogenes_witness_proofs_total",
                "Proofs of authorised witnesses, by what became of them.",
                &["witness", "result"],
            ),
            checkpoint_tree_size: node.gauge(
                "diogenes_checkpoint_tree_size_entries",
                "The size of the checkpoint that is published; 0 while none is.",
            ),
            cosign_requests: node.counters(
                "diogenes_cosign_requests_total",
                "Checkpoints sent to the witnesses of the policy, by what they answered.",
                &["cosigner", "result"],
            ),
            cosigner_tree_size: node.gauges(
                "diogenes_cosigner_tree_size_entries",
                "The newest size that each witness of the policy cosigned.",
                &["cosigner"],
            ),
            follower_tree_size: node.gauges(
                "diogenes_follower_tree_size_entries",
                "The size that each follower says it verified.",
                &["follower"],
            ),
            follower_last_seen: node.gauges(
                "diogenes_follower_last_seen_timestamp_seconds",
                "When each follower's newest report arrived; 0 before the first.",
                &["follower"],
            ),
            follower_state: node.gauges(
                "diogenes_follower_state",
                "1 for the state that each follower is in, 0 for the others.",
                &["follower", "state"],
            ),
            unreplicated: node.gauge(
                "diogenes_unreplicated_entries",
                "Entries that no follower has verified yet.",
            ),
            unwitnessed: node.gauge(
                "diogenes_unwitnessed_entries",
                "Events beyond the largest size that the quorum signed.",
            ),
            logins: node.counter("diogenes_logins_total", "Sessions that were given to keys."),
            auth_refusals: auth_refusals(node),
            webhooks: WebhookMetrics::register(node),
            backups: BackupMetrics::register(node),
            scrub: ScrubMetrics::register(node),
            chain: ChainMetrics::register(node),
        }
    }

    /// Shows the newest head.
    pub(crate) fn show_head(&self, head: &TreeHead) {
        self.tree_size.set(head.tree_size.to_sql());
        self.head_timestamp.set(head.timestamp.seconds());
        self.epoch.set(i64::try_from(head.epoch).unwrap_or(i64::MAX));
    }

    /// Shows what the last verification of the stored log found.
    pub(crate) fn show_verification(&self, verification: &Verification) {
        self.chain.show(verification);
    }

    /// Counts what a batch appended.
    pub(crate) fn count_appended(&self, counts: &BTreeMap<String, u64>) {
        for (event_type, count) in counts {
            let label = if event_type.starts_with("x-") { "x" } else { event_type };
            self.entries_appended.with_label_values(&[label]).inc_by(*count);
        }
    }
}

/// Every reason shows from the start, so that the first refusal is seen as a change.
fn auth_refusals(node: &telemetry::Metrics) -> IntCounterVec {
    let refusals = node.counters(
        "diogenes_auth_refusals_total",
        "Challenges, logins and tokens refused, by the code that was answered.",
        &["code"],
    );
    for code in REFUSALS {
        refusals.with_label_values(&[code.as_str()]).reset();
    }
    refusals
}
