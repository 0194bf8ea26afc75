//! The status as a stream of events, for pages and consoles that watch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::reads::Reads;
use super::status::Shown;
use crate::server::problem::Problem;

/// A comment is sent after so much silence, so that nothing between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The status of replication and witnessing whenever it changes, at most once a second, as
/// server-sent events named `status`.
#[utoipa::path(
    get,
    path = "/events",
    tag = "node",
    extensions(("x-problems" = json!(["overloaded"]))),
    responses(
        (status = 200, description = "Events whose data is the body of /api/v1/log/replication-status", content_type = "text/event-stream", body = String),
    )
)]
pub(super) async fn events(State(reads): State<Reads>) -> Result<Response, Problem> {
    let slot = reads.streams().clone().try_acquire_owned();
    let slot = slot.map_err(|_| Problem::overloaded("256 event streams are open; poll instead"))?;
    let watcher = Watcher {
        board: reads.board().subscribe(),
        stop: reads.tasks().token(),
        is_first: true,
        _slot: slot,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let shown = watcher.next().await?;
        let data = std::str::from_utf8(shown.json()).unwrap_or_default();
        Some((Ok::<_, Infallible>(Event::default().event("status").data(data)), watcher))
    });
    let mut response =
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Asks proxies to pass events on as they come.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

struct Watcher {
    board: watch::Receiver<Option<Arc<Shown>>>,
    stop: CancellationToken,
    is_first: bool,
    _slot: OwnedSemaphorePermit,
}

impl Watcher {
    /// The status at once, then each new one; ends when the node stops.
    async fn next(&mut self) -> Option<Arc<Shown>> {
        loop {
            if !self.is_first {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    changed = self.board.changed() => changed.ok()?,
                }
            }
            self.is_first = false;
            if let Some(shown) = self.board.borrow_and_update().clone() {
                return Some(shown);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http::StatusCode;

    use crate::read::status::testing::some_status;
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    #[tokio::test]
    async fn a_watcher_gets_the_status_at_once_and_every_news() {
        let node = TestNode::with_entries(1).await;
        node.board().set(some_status(1));
        let response = node.request("/events", &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut events = response.into_body().into_data_stream();
        let mut next =
            async || String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
        let first = next().await;
        assert!(first.starts_with("event: status\ndata: {\"role\":\"follower\""), "{first}");
        assert!(first.contains("\"tree_size\":1,"));
        node.board().set(some_status(2));
        assert!(next().await.contains("\"tree_size\":2,"));

        node.reads().tasks().stop();
        assert!(events.next().await.is_none(), "a node that stops closes its streams");
    }

    #[tokio::test]
    async fn only_so_many_may_watch() {
        let node = TestNode::with_entries(1).await;
        let mut open = Vec::new();
        for _ in 0..256 {
            open.push(node.request("/events", &[]).await);
        }
        assert_eq!(node.refusal("/events").await, Code::Overloaded);
        open.pop();
        assert_eq!(node.request("/events", &[]).await.status(), StatusCode::OK);
    }
}
