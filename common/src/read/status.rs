//! The state of replication and witnessing, rendered once and shared.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::answer::{Freshness, text_json};
use super::reads::Reads;
use crate::server::problem::Problem;
use crate::wire::status::ReplicationStatus;

/// Where the newest status stands. Clones share it.
#[derive(Clone, Debug)]
pub struct StatusBoard {
    newest: Arc<watch::Sender<Option<Arc<Shown>>>>,
}

/// A status and its JSON.
#[derive(Clone, Debug)]
pub struct Shown {
    status: ReplicationStatus,
    json: Bytes,
}

impl Shown {
    /// The status.
    pub fn status(&self) -> &ReplicationStatus {
        &self.status
    }

    /// Its JSON.
    pub fn json(&self) -> &Bytes {
        &self.json
    }
}

/// How often the status is computed at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a request waits for the first status after a start.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

impl Default for StatusBoard {
    fn default() -> Self {
        Self { newest: Arc::new(watch::Sender::new(None)) }
    }
}

impl StatusBoard {
    /// Shows a status.
    pub fn set(&self, status: ReplicationStatus) {
        let json = serde_json::to_vec(&status).expect("a status is texts and finite numbers");
        self.newest.send_replace(Some(Arc::new(Shown { status, json: json.into() })));
    }

    /// What is shown now; `None` before the first.
    pub fn shown(&self) -> Option<Arc<Shown>> {
        self.newest.borrow().clone()
    }

    /// Waits for news.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Shown>>> {
        self.newest.subscribe()
    }

    /// Computes the status every second until `stop`: the one task that does. What `compute`
    /// cannot find out at the moment (`None`) leaves the old status in place.
    pub async fn keep<F, Fut>(self, stop: CancellationToken, compute: F)
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Option<ReplicationStatus>> + Send,
    {
        self.keep_every(INTERVAL, stop, compute).await;
    }

    async fn keep_every<F, Fut>(self, every: Duration, stop: CancellationToken, mut compute: F)
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Option<ReplicationStatus>> + Send,
    {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                status = compute() => {
                    if let Some(status) = status {
                        self.set(status);
                    }
                }
            }
        }
    }
}

/// How replication and witnessing stand, as this node sees it.
#[utoipa::path(
    get,
    path = "/api/v1/log/replication-status",
    tag = "log",
    responses(
        (status = 200, description = "The status, at most a second old", body = ReplicationStatus),
    )
)]
pub(super) async fn replication_status(
    State(reads): State<Reads>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut news = reads.board().subscribe();
    // The first one is on its way as soon as there is a head.
    let patience = if reads.has_snapshot() { FIRST_WITHIN } else { Duration::ZERO };
    let shown = match tokio::time::timeout(patience, news.wait_for(Option::is_some)).await {
        Ok(Ok(shown)) => shown.clone(),
        _ => None,
    };
    let shown = shown.ok_or_else(|| reads.nothing_yet())?;
    Ok(text_json(shown.json.clone(), Freshness::Brief, &headers))
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::merkle::{Hash, TreeSize};
    use crate::statement::FollowerStatus;
    use crate::wire::status::{Colour, MirrorStatus, Verdict};

    /// A follower's status at this size.
    pub(in crate::read) fn some_status(size: u64) -> ReplicationStatus {
        ReplicationStatus::Follower(Box::new(MirrorStatus {
            status: FollowerStatus::Synced,
            reason: None,
            class: None,
            since: None,
            retry_at: None,
            evidence: None,
            next_action: None,
            origin: None,
            fingerprint: None,
            display_name: None,
            tree_size: TreeSize::ZERO.plus(size),
            root_hash: Hash::EMPTY_TREE,
            leader_tree_size: None,
            head_timestamp: None,
            last_contact: None,
            lag_entries: None,
            lag_seconds: None,
            entries_per_second: None,
            eta_seconds: None,
            upstreams: Vec::new(),
            incidents_open: 0,
            verdict: Verdict { colour: Colour::Green, sentence: "Fine.".to_owned() },
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::testing::some_status;
    use super::*;
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    #[tokio::test]
    async fn a_status_stays_until_the_next_can_be_computed() {
        let (board, stop) = (StatusBoard::default(), CancellationToken::new());
        let computed = AtomicU64::new(0);
        let (ends, every) = (stop.clone(), Duration::from_millis(1));

        let compute = || async {
            let number = computed.fetch_add(1, Ordering::Relaxed);
            if number == 3 {
                ends.cancel();
            }
            (number < 2).then(|| some_status(number))
        };
        board.clone().keep_every(every, stop, compute).await;

        assert_eq!(computed.load(Ordering::Relaxed), 4);
        assert_eq!(board.shown().map(|shown| shown.status().clone()), Some(some_status(1)));
    }

    #[tokio::test]
    async fn the_shown_status_is_answered_byte_for_byte() {
        let node = TestNode::with_entries(1).await;
        let url = "/api/v1/log/replication-status";
        assert_eq!(node.refusal(url).await, Code::SigningPaused);

        let early = node.request(url, &[]);
        let first = async { node.board().set(some_status(4)) };
        let (answer, ()) = tokio::join!(early, first);
        assert_eq!(answer.status(), http::StatusCode::OK, "the first status is waited for");
        node.board().set(some_status(5));
        let answer = node.request(url, &[]).await;
        let shown = node.board().shown().unwrap();
        assert_eq!(node.body(answer).await, shown.json().to_vec());
    }
}
