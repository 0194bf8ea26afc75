//! The metrics of a witness, documented one by one in `docs/metrics.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::files::Role;
use diogenes_common::merkle::TreeSize;
use diogenes_common::telemetry;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::answer::SELF_EQUIVOCATED;
use crate::log::LogName;
use crate::state::LogState;

/// What refusals are counted under where the log is not one of the list: strangers make no series.
const UNKNOWN: &str = "unknown";

/// Refusals that deserve a look: named from the start, so that the first one is seen as a change.
const ALARMING: [&str; 2] = ["inconsistent", "other_root"];

/// Everything that a witness counts.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    node: telemetry::Metrics,
    cosigned_tree_size: IntGaugeVec,
    last_success: IntGaugeVec,
    refusals: IntCounterVec,
    clock_skew: IntGauge,
}

impl Metrics {
    /// Registers every series.
    pub(super) fn new() -> Self {
        let node = telemetry::Metrics::new(Role::Witness, env!("CARGO_PKG_VERSION"));
        let metrics = Self {
            cosigned_tree_size: node.gauges(
                "diogenes_cosigned_tree_size_entries",
                "The size at which the witness stands with each log.",
                &["origin"],
            ),
            last_success: node.gauges(
                "diogenes_last_success_timestamp_seconds",
                "The time in the newest signature over each log; 0 before the first.",
                &["origin"],
            ),
            refusals: node.counters(
                "diogenes_refusals_total",
                "Requests that were not answered with a cosignature, by log and reason.",
                &["origin", "reason"],
            ),
            clock_skew: node.gauge(
                "diogenes_clock_skew_seconds",
                "How far the clock is ahead of the server that gave the last list; 0 before.",
            ),
            node,
        };
        metrics.refusals.with_label_values(&[UNKNOWN, "unknown_log"]).inc_by(0);
        metrics.node.incidents_open(SELF_EQUIVOCATED).set(0);
        metrics
    }

    /// What every role measures.
    pub(super) fn node(&self) -> &telemetry::Metrics {
        &self.node
    }

    /// A cosignature was made.
    pub(super) fn cosigned(&self, log: &str, size: TreeSize, now: Timestamp, took: Duration) {
        self.cosigned_tree_size.with_label_values(&[log]).set(size.to_sql());
        self.last_success.with_label_values(&[log]).set(now.seconds());
        self.node.fsync_took(took);
    }

    /// A request was refused.
    pub(super) fn refused(&self, log: Option<&str>, reason: &str) {
        self.refusals.with_label_values(&[log.unwrap_or(UNKNOWN), reason]).inc();
    }

    /// The clock as compared with another machine's.
    pub(super) fn clock_skew(&self, seconds: i64) {
        self.clock_skew.set(seconds);
    }

    /// Shows where the witness stands.
    pub(super) fn show(&self, logs: &BTreeMap<LogName, LogState>) {
        for (log, state) in logs.iter().filter(|(_, state)| state.listing().is_some()) {
            let labels = [log.as_str()];
            self.cosigned_tree_size.with_label_values(&labels).set(state.tree().size.to_sql());
            let last = state.last_signed_at().map_or(0, Timestamp::seconds);
            self.last_success.with_label_values(&labels).set(last);
            for reason in ALARMING {
                self.refusals.with_label_values(&[log.as_str(), reason]).inc_by(0);
            }
        }
        let halted = logs.values().filter(|state| state.halted().is_some()).count();
        let halted = i64::try_from(halted).unwrap_or(i64::MAX);
        self.node.incidents_open(SELF_EQUIVOCATED).set(halted);
    }
}
