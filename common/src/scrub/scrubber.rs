//! One pass over everything that is stored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::metrics::ScrubMetrics;
use super::pace::Pace;
use super::peers::Peers;
use super::task::DAMAGED;
use super::{Damage, Finding, Outcome};
use crate::clock::Clock;
use crate::head::Origin;
use crate::keys::PublicKey;
use crate::merkle::{Edge, TileId, TileNodes, TreeSize};
use crate::store::{NewIncident, Store, StoreError};

/// What everything is held against.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The right edge of a tree whose root is that of a signed head, or was verified under one.
    pub edge: Edge,
    /// The key that signs heads.
    pub operator: PublicKey,
    /// The log's name.
    pub origin: Origin,
}

/// Reads everything that is stored, and makes anew what is damaged.
pub struct Scrubber {
    pub(super) store: Store,
    pub(super) peers: Peers,
    pub(super) pace: Pace,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Option<ScrubMetrics>,
    /// A directory for a database that lives as long as one comparison of the views.
    pub(super) scratch: PathBuf,
    /// The node writes every head itself, so that the state's time is that of the newest.
    pub(super) is_leader: bool,
    /// The verified tiles above the range that is looked at, by level.
    pub(super) above: BTreeMap<u8, (TileId, Arc<TileNodes>)>,
    pub(super) findings: Vec<Finding>,
    /// Whether a pass ends where the right edge is damaged, and what was found there.
    stops_at_edge: bool,
    edge_finding: Option<Finding>,
    /// When damage that a read named was last looked at.
    examined: BTreeMap<TileId, Instant>,
}

/// How many findings of a run are told one by one.
const MOST_FINDINGS: usize = 1_000;

/// How many ranges of entries make one run of hash prefixes.
const RANGES_PER_RUN: u64 = 16;

/// What a read named is not looked at again for so long.
const EXAMINED_FOR: Duration = Duration::from_secs(30);

impl Scrubber {
    /// Prepares a scrub of a node.
    pub fn new(
        store: Store,
        peers: Peers,
        pace: Pace,
        clock: Arc<dyn Clock>,
        scratch: PathBuf,
        is_leader: bool,
    ) -> Self {
        Self {
            store,
            peers,
            pace,
            clock,
            metrics: None,
            scratch,
            is_leader,
            above: BTreeMap::new(),
            findings: Vec::new(),
            stops_at_edge: false,
            edge_finding: None,
            examined: BTreeMap::new(),
        }
    }

    /// Shows what it does.
    #[must_use]
    pub fn with_metrics(mut self, metrics: ScrubMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Ends a pass where the right edge is damaged.
    #[must_use]
    pub(super) fn until_the_edge(mut self) -> Self {
        self.stops_at_edge = true;
        self
    }

    /// What ended a pass.
    pub(super) fn edge_finding(&self) -> Option<&Finding> {
        self.edge_finding.as_ref()
    }

    /// Looks at everything once.
    pub fn pass<'a>(
        &'a mut self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.above.clear();
            let size = reference.edge.size().get();
            let ranges = size.div_ceil(TileId::WIDTH as u64);
            for index in 0..ranges {
                self.rest(reference).await?;
                self.check_range(index, reference).await?;
                if self.edge_finding.is_some() {
                    return Ok(());
                }
                let reached = ((index + 1) * TileId::WIDTH as u64).min(size);
                if let Some(metrics) = &self.metrics {
                    metrics.reached(TreeSize::ZERO.plus(reached));
                }
                if (index + 1) % RANGES_PER_RUN == 0 {
                    self.check_run(index / RANGES_PER_RUN).await?;
                }
            }
            self.check_heads(reference).await?;
            self.check_end(reference).await?;
            if self.edge_finding.is_some() {
                return Ok(());
            }
            self.check_views(reference).await?;
            if let Some(metrics) = &self.metrics {
                metrics.passed(self.clock.now());
            }
            Ok(())
        })
    }

    /// Looks at what a read found damaged.
    pub(super) fn examine<'a>(
        &'a mut self,
        place: TileId,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let now = Instant::now();
            self.examined.retain(|_, at| now.duration_since(*at) < EXAMINED_FOR);
            let is_inside =
                (place.index << (8 * u32::from(place.level))) * 256 < reference.edge.size().get();
            if !is_inside || self.examined.insert(place, now).is_some() {
                return Ok(());
            }
            let before = self.findings.len();
            self.above.clear();
            match place.level {
                0 => self.check_range(place.index, reference).await?,
                _ => drop(self.sound_tile(place, reference).await?),
            }
            self.above.clear();
            if self.findings[before..].iter().all(Finding::is_repaired) {
                self.examined.remove(&place);
            }
            Ok(())
        })
    }

    /// Takes what was found since it was asked last.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Waits until more may be read; what a read finds damaged meanwhile is looked at at once.
    pub(super) async fn rest(&mut self, reference: &Reference) -> Result<(), StoreError> {
        let store = self.store.clone();
        loop {
            tokio::select! {
                place = store.suspected() => self.examine(place, reference).await?,
                () = tokio::time::sleep_until(self.pace.due()) => return Ok(()),
            }
        }
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        self.pace.spend(bytes);
        if let Some(metrics) = &self.metrics {
            metrics.read(bytes);
        }
    }

    /// Keeps a finding as an incident, closed if the damage is gone.
    pub(super) async fn note(
        &mut self,
        damage: Damage,
        reason: &'static str,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let finding = Finding { damage, reason, outcome };
        let (subject, now) = (damage.to_string(), self.clock.now());
        let incident = NewIncident {
            kind: DAMAGED.to_owned(),
            subject: subject.clone(),
            class: "transient".to_owned(),
            reason: reason.to_owned(),
            detail: finding.detail().to_owned(),
            opened_at: now,
            evidence: None,
        };
        let detail = finding.detail();
        if finding.is_repaired() {
            tracing::warn!(place = %damage, reason, detail, "stored bytes were damaged and are repaired");
        } else {
            tracing::error!(place = %damage, reason, detail, "stored bytes are damaged");
        }
        if let Some(metrics) = &self.metrics {
            metrics.found(&finding);
        }
        self.store.open_incident(&incident).await?;
        if finding.is_repaired() {
            self.store.settle_incidents(DAMAGED, &subject, detail, now).await?;
        }
        if self.stops_at_edge && damage.place.is_edge() {
            self.edge_finding = Some(finding.clone());
        }
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
        Ok(())
    }
}
