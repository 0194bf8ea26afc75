//! Reports: how far this follower verified, signed by its own key and sent to the leader.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::exit::Failure;
use diogenes_common::keys::SigningKey;
use diogenes_common::statement::{Reason, ReplicationReport, ReportClaim};
use http::Method;

use crate::replica::Now;
use crate::sync::Shared;
use crate::sync::source::Source;

/// So often without a change of state.
const EVERY: Duration = Duration::from_secs(10);
/// Changes in quick succession are one report.
const LEAST: Duration = Duration::from_millis(500);

/// Reports until the node stops: on a change of state, else every ten seconds.
pub(crate) async fn run(
    shared: Arc<Shared>,
    sources: Vec<Arc<Source>>,
    key: Arc<SigningKey>,
) -> Result<(), Failure> {
    let mut reporter = Reporter { shared, sources, key, last: None, notice: None };
    let tasks = reporter.shared.tasks.clone();
    loop {
        tokio::select! {
            () = tasks.stopping() => return Ok(()),
            () = reporter.shared.changed.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::select! {
            () = tasks.stopping() => return Ok(()),
            () = reporter.report() => {}
        }
        tokio::select! {
            () = tasks.stopping() => return Ok(()),
            () = tokio::time::sleep(LEAST) => {}
        }
    }
}

struct Reporter {
    shared: Arc<Shared>,
    sources: Vec<Arc<Source>>,
    key: Arc<SigningKey>,
    last: Option<Timestamp>,
    /// What the leader said last against the reports, so that it is logged once.
    notice: Option<String>,
}

impl Reporter {
    async fn report(&mut self) {
        let Some(report) = self.sign() else { return };
        let Ok(body) = serde_json::to_vec(&report) else { return };
        let path = "/api/v1/log/replication-report";
        let mut said = None;
        for source in &self.sources {
            match source.send(Method::POST, path, body.clone()).await {
                Ok(_) => {
                    self.notice = None;
                    return;
                }
                // Another follower: the leader is further down the list.
                Err(error) if error.code() == Some("read_only_follower") => {}
                Err(error) => {
                    said = said.or(Some((error.code().map(str::to_owned), error.to_string())));
                }
            }
        }
        let Some((code, text)) = said else { return };
        if self.notice.as_ref() == Some(&text) {
            return;
        }
        if code.as_deref() == Some("follower_not_authorized") {
            tracing::info!(
                key.fingerprint = %self.key.fingerprint(),
                "the leader does not list this follower yet: its operator authorises it with \
                 `diogenes operator authorize-federation`; mirroring goes on"
            );
        } else {
            tracing::warn!("the leader took no report: {text}");
        }
        self.notice = Some(text);
    }

    fn sign(&mut self) -> Option<ReplicationReport> {
        let origin = self.shared.log()?.origin().clone();
        let now = Now::of(&*self.shared.clock);
        let (status, newest) = {
            let replica = self.shared.replica();
            (replica.status(now), replica.newest().map(|head| head.json.clone()))
        };
        // Reports are ordered by their times; a clock that was set back must not silence them.
        let timestamp = self.last.map_or(now.wall, |last| now.wall.max(last.plus_millis(1)));
        self.last = Some(timestamp);
        let claim = ReportClaim {
            follower: self.key.fingerprint(),
            head_timestamp: status.head_timestamp,
            leader_tree_size: status.leader_tree_size,
            origin,
            reason: status.verdict.reason.and_then(|reason| Reason::try_from(reason).ok()),
            root_hash: status.tree.hash,
            status: status.verdict.status,
            timestamp,
            tree_size: status.tree.size,
        };
        Some(claim.into_report(&self.key, newest))
    }
}
