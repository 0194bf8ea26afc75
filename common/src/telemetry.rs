//! What a node says about itself: log lines and metrics.

mod log;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::files::Role;

pub use log::{LogTo, Logging, init_logging};

/// The metrics of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: Histogram,
    fsync_duration: Histogram,
    incidents_open: IntGaugeVec,
}

/// Seconds that requests and disks take.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// What every role measures, with the process itself.
    pub fn new(role: Role, version: &str) -> Self {
        let registry = Registry::new();
        let requests = in_registry(
            &registry,
            IntCounterVec::new(
                Opts::new(
                    "diogenes_http_requests_total",
                    "Requests answered, by matched route, method and status.",
                ),
                &["route", "method", "status"],
            ),
        );
        let histogram = |name, help| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            in_registry(&registry, Histogram::with_opts(options))
        };
        let request_duration = histogram(
            "diogenes_http_request_duration_seconds",
            "Time from a request's head to its answer's head.",
        );
        let fsync_duration =
            histogram("diogenes_fsync_duration_seconds", "Time that making data durable took.");
        let incidents_open = in_registry(
            &registry,
            IntGaugeVec::new(
                Opts::new("diogenes_incidents_open", "Incidents not acknowledged, by kind."),
                &["kind"],
            ),
        );
        let build_info = in_registry(
            &registry,
            IntGaugeVec::new(
                Opts::new("diogenes_build_info", "Always 1, with the version and the role."),
                &["version", "role"],
            ),
        );
        build_info.with_label_values(&[version, role.name()]).set(1);
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("each metric is registered once");
        let handles =
            Handles { registry, requests, request_duration, fsync_duration, incidents_open };
        Self(Arc::new(handles))
    }

    /// A gauge of the node's own.
    ///
    /// Like all of these: panics if the name is not valid or taken, which a start shows at once.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// A gauge with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    /// A counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A histogram of seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.histogram(name, help, &SECONDS)
    }

    /// A histogram with the given upper bounds.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
    }

    /// Counts an answer; `route` is a pattern of the router, never a path.
    pub fn request(&self, route: Option<&str>, method: &Method, status: &str, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::HEAD => "HEAD",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            Method::PATCH => "PATCH",
            _ => "other",
        };
        let route = route.unwrap_or("other");
        self.0.requests.with_label_values(&[route, method, status]).inc();
        self.0.request_duration.observe(took.as_secs_f64());
    }

    /// Counts how long making data durable took.
    pub fn fsync_took(&self, took: Duration) {
        self.0.fsync_duration.observe(took.as_secs_f64());
    }

    /// How many incidents of a kind are open; name every kind at start, so that alerts see zero.
    pub fn incidents_open(&self, kind: &str) -> IntGauge {
        self.0.incidents_open.with_label_values(&[kind])
    }

    /// Every metric in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::with_capacity(16 * 1024);
        // Fails only for names and values that registering has refused already.
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be shown");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// The answer of `/metrics`.
    pub fn respond(&self) -> axum::response::Response {
        let headers =
            [(http::header::CONTENT_TYPE, TEXT_FORMAT), (http::header::CACHE_CONTROL, "no-store")];
        axum::response::IntoResponse::into_response((headers, self.render()))
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        in_registry(&self.0.registry, made)
    }
}

fn in_registry<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("names and labels of metrics are constants that are valid");
    registry.register(Box::new(collector.clone())).expect("each metric is registered once");
    collector
}

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_role_measures_is_shown() {
        let metrics = Metrics::new(Role::Follower, "1.2.3");
        let took = Duration::from_millis(3);
        metrics.request(Some("/api/v1/log/{id}"), &Method::GET, "200", took);
        metrics.request(None, &Method::from_bytes(b"BREW").unwrap(), "404", took);
        metrics.fsync_took(took);
        metrics.incidents_open("fork_prefix").set(0);

        let text = metrics.render();

        for line in [
            "diogenes_build_info{role=\"follower\",version=\"1.2.3\"} 1",
            "diogenes_http_requests_total{method=\"GET\",route=\"/api/v1/log/{id}\",status=\"200\"} 1",
            "diogenes_http_requests_total{method=\"other\",route=\"other\",status=\"404\"} 1",
            "diogenes_http_request_duration_seconds_count 2",
            "diogenes_fsync_duration_seconds_count 1",
            "diogenes_incidents_open{kind=\"fork_prefix\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing from {text}");
        }
    }

    #[test]
    #[should_panic(expected = "each metric is registered once")]
    fn a_metric_has_one_owner() {
        let metrics = Metrics::new(Role::Leader, "1");
        metrics.gauge("diogenes_epoch", "The epoch.");
        metrics.gauge("diogenes_epoch", "The epoch.");
    }
}
