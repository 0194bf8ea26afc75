//! What webhooks show, documented in `docs/metrics.md`.

use diogenes_common::telemetry;
use diogenes_common::wire::webhooks::DeliveryFault;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

/// The result of an attempt that got through.
const DELIVERED: &str = "delivered";

/// The series of webhooks.
pub(crate) struct WebhookMetrics {
    webhooks: IntGaugeVec,
    pending: IntGauge,
    lag: IntGauge,
    deliveries: IntCounterVec,
}

impl WebhookMetrics {
    /// Registers the series with those of the node.
    pub(crate) fn register(node: &telemetry::Metrics) -> Self {
        let deliveries = node.counters(
            "diogenes_webhook_deliveries_total",
            "Attempts to deliver messages, by what came of them.",
            &["result"],
        );
        // Every result shows from the start, so that the first failure is seen as a change.
        for result in DeliveryFault::ALL.map(DeliveryFault::as_str).into_iter().chain([DELIVERED]) {
            deliveries.with_label_values(&[result]).reset();
        }
        Self {
            webhooks: node.gauges(
                "diogenes_webhooks",
                "Webhooks that are told of entries, and those that were turned off.",
                &["state"],
            ),
            pending: node
                .gauge("diogenes_webhook_pending_messages", "Messages that wait to be delivered."),
            lag: node.gauge(
                "diogenes_webhook_lag_entries",
                "Entries that the slowest webhook has not been told of.",
            ),
            deliveries,
        }
    }

    /// Shows how many webhooks are told, and how many are off.
    pub(super) fn show_webhooks(&self, active: u64, off: u64) {
        for (state, count) in [("active", active), ("disabled", off)] {
            self.webhooks.with_label_values(&[state]).set(signed(count));
        }
    }

    /// Shows what waits.
    pub(super) fn show_waiting(&self, pending: u64, lag: u64) {
        self.pending.set(signed(pending));
        self.lag.set(signed(lag));
    }

    /// Counts an attempt at a message.
    pub(super) fn count_delivery(&self, fault: Option<DeliveryFault>) {
        let result = fault.map_or(DELIVERED, DeliveryFault::as_str);
        self.deliveries.with_label_values(&[result]).inc();
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
