//! What a scrub shows.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::{Finding, Place};
use crate::clock::Timestamp;
use crate::merkle::TreeSize;
use crate::telemetry::Metrics;

/// What the scrub of a node read, found and repaired.
#[derive(Clone, Debug)]
pub struct ScrubMetrics {
    tree_size: IntGauge,
    last_pass: IntGauge,
    bytes: IntCounter,
    damages: IntCounterVec,
    repairs: IntCounterVec,
}

impl ScrubMetrics {
    /// Registers the series; every place shows from the start, so that the first damage is seen as
    /// a change.
    pub fn register(node: &Metrics) -> Self {
        let damages = node.counters(
            "diogenes_scrub_damages_total",
            "Damaged places that the scrub found.",
            &["place"],
        );
        let repairs = node.counters(
            "diogenes_scrub_repairs_total",
            "Damaged places that the scrub made anew.",
            &["place"],
        );
        for place in Place::NAMES {
            damages.with_label_values(&[place]).reset();
            repairs.with_label_values(&[place]).reset();
        }
        Self {
            tree_size: node.gauge(
                "diogenes_scrub_tree_size_entries",
                "Entries that the scrub's pass has read so far; those of the last one between two.",
            ),
            last_pass: node.gauge(
                "diogenes_scrub_last_pass_timestamp_seconds",
                "When the scrub last came to the end of everything stored; 0 before it.",
            ),
            bytes: node.counter("diogenes_scrub_bytes_total", "Bytes that the scrub has read."),
            damages,
            repairs,
        }
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    pub(super) fn reached(&self, size: TreeSize) {
        self.tree_size.set(size.to_sql());
    }

    pub(super) fn passed(&self, at: Timestamp) {
        self.last_pass.set(at.seconds());
    }

    pub(super) fn found(&self, finding: &Finding) {
        let place = finding.damage.place.name();
        self.damages.with_label_values(&[place]).inc();
        if finding.is_repaired() {
            self.repairs.with_label_values(&[place]).inc();
        }
    }
}
