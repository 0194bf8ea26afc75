//! The scrub of a running node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::ScrubMetrics;
use super::pace::Pace;
use super::peers::Peers;
use super::scrubber::{Reference, Scrubber};
use crate::clock::Clock;
use crate::config::{DATA_DIR, SCRUB_BYTES_PER_SECOND, SCRUB_INTERVAL, Settings};
use crate::exit::Failure;
use crate::read::Reads;
use crate::store::StoreError;

/// The kind of the incident that damage opens.
pub const DAMAGED: &str = "damaged";

/// How soon is looked again for a first head.
const NO_HEAD: Duration = Duration::from_secs(1);

/// A scrub that goes on as long as its node.
pub struct ScrubTask {
    reads: Reads,
    scrubber: Scrubber,
    interval: Duration,
    is_on: bool,
}

/// What a scrub works with.
pub struct Parts {
    /// The log as readers see it.
    pub reads: Reads,
    /// Who is asked for what is damaged.
    pub peers: Peers,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where it shows what it does.
    pub metrics: ScrubMetrics,
    /// Whether the node signs heads: damage to the right edge ends it.
    pub is_leader: bool,
}

impl ScrubTask {
    /// The scrub of these settings.
    pub fn new(settings: &Settings, parts: Parts) -> Self {
        let Parts { reads, peers, clock, metrics, is_leader } = parts;
        let rate = settings.value(&SCRUB_BYTES_PER_SECOND).bytes();
        let (store, scratch) = (reads.store().clone(), settings.value(&DATA_DIR));
        let scrubber = Scrubber::new(store, peers, Pace::of(rate), clock, scratch, is_leader)
            .with_metrics(metrics);
        let scrubber = if is_leader { scrubber.until_the_edge() } else { scrubber };
        Self { reads, scrubber, interval: settings.value(&SCRUB_INTERVAL), is_on: rate > 0 }
    }

    /// Reads everything again and again until `stop`. A node that signs ends where the right edge
    /// is damaged, repaired or not: what it signs next would rest on a disk that lies.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Failure> {
        if !self.is_on {
            stop.cancelled().await;
            return Ok(());
        }
        loop {
            tokio::select! {
                result = self.turn() => result?,
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One pass, and the pause after it.
    async fn turn(&mut self) -> Result<(), Failure> {
        let due = Instant::now() + self.interval;
        let Some(reference) = self.reference() else {
            tokio::time::sleep(NO_HEAD).await;
            return Ok(());
        };
        let passed = self.scrubber.pass(&reference).await;
        self.judge(passed)?;
        let store = self.scrubber.store.clone();
        loop {
            let place = tokio::select! {
                place = store.suspected() => place,
                () = tokio::time::sleep_until(due) => return Ok(()),
            };
            if let Some(reference) = self.reference() {
                let examined = self.scrubber.examine(place, &reference).await;
                self.judge(examined)?;
            }
        }
    }

    /// What is published was verified, in memory: it is what the disk is held against.
    fn reference(&self) -> Option<Reference> {
        let snapshot = self.reads.snapshot().ok()?;
        let log = self.reads.facts().log.clone()?;
        Some(Reference { edge: snapshot.edge.clone(), operator: log.operator, origin: log.origin })
    }

    fn judge(&mut self, result: Result<(), StoreError>) -> Result<(), Failure> {
        // They are incidents by now.
        self.scrubber.take_findings();
        if let Some(finding) = self.scrubber.edge_finding() {
            return Err(Failure::disk(
                "edge_damaged",
                format!(
                    "the end of the log was damaged on the disk ({}): {}",
                    finding.damage,
                    finding.detail()
                ),
                "check the disk, run `log repair --from URL` with the URL of a follower, then start again",
            ));
        }
        if let Err(error) = result {
            tracing::warn!(%error, "the scrub broke off; it begins again later");
        }
        Ok(())
    }
}
