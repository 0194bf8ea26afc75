//! The whole log read again: every entry re-hashed, every link and every tile compared.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use prometheus::IntGauge;
use tokio::sync::watch;

use super::answer::{Freshness, accepts, json};
use super::reads::{Reads, Role};
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::leaf::Leaf;
use crate::merkle::{Edge, Hash, NodeId, TileId, TileNodes, TreeRoot, TreeSize};
use crate::server::body::{self, RawBody};
use crate::server::problem::Problem;
use crate::store::{NewIncident, Store, StoreError};
use crate::telemetry::Metrics;
use crate::wire::log::{VerifyError, VerifyProgress, VerifyReport, VerifyRequest};

/// The kind of the incident that damage opens.
pub const DAMAGE: &str = "entry_corrupt";

/// What the last verification found, as a role exports it.
#[derive(Clone, Debug)]
pub struct ChainMetrics {
    tree_size: IntGauge,
    timestamp: IntGauge,
    errors: IntGauge,
}

impl ChainMetrics {
    /// Registers the series.
    pub fn register(node: &Metrics) -> Self {
        Self {
            tree_size: node.gauge(
                "diogenes_chain_verified_tree_size_entries",
                "Entries that the last verification of the stored log covered; 0 before it.",
            ),
            timestamp: node.gauge(
                "diogenes_chain_verified_timestamp_seconds",
                "When the last verification of the stored log ended; 0 before it.",
            ),
            errors: node.gauge(
                "diogenes_chain_verification_errors",
                "Errors that the last verification of the stored log found.",
            ),
        }
    }

    /// Shows what was found.
    pub fn show(&self, verification: &Verification) {
        self.tree_size.set(verification.tree.size.to_sql());
        self.timestamp.set(verification.at.seconds());
        self.errors.set(i64::try_from(verification.errors).unwrap_or(i64::MAX));
    }
}

/// The last verification that came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The size and root that were verified.
    pub tree: TreeRoot,
    /// When it ended.
    pub at: Timestamp,
    /// How many errors it found.
    pub errors: u64,
}

/// Verifies that the stored log is what was signed: every entry is hashed again and compared with
/// its stored hash, its predecessor and the tree, up to the root of the newest head.
///
/// One run at a time; who comes later gets the result of the run under way. Anonymous callers
/// begin after what was verified within 24 hours, the operator at entry 1 or `since`. With
/// `Accept: application/x-ndjson` progress is answered line by line, the report last.
#[utoipa::path(
    post,
    path = "/api/v1/log/verify",
    tag = "log",
    security((), ("operator" = [])),
    extensions(("x-problems" = json!(["overloaded"]))),
    request_body(content = Option<VerifyRequest>, description = "May be empty"),
    responses(
        (status = 200, description = "What was found", content(
            (VerifyReport = "application/json"),
            (VerifyProgress = "application/x-ndjson"),
        )),
    )
)]
pub(super) async fn verify(
    State(reads): State<Reads>,
    State(role): State<Role>,
    headers: HeaderMap,
    bytes: RawBody<MAX_BODY>,
) -> Result<Response, Problem> {
    let request = read_request(&headers, &bytes)?;
    let since = request.since.unwrap_or(0);
    let snapshot = reads.snapshot()?;
    if since > snapshot.size().get() {
        let detail = format!("`since` is an entry of this log: at most {}", snapshot.size());
        return Err(Problem::invalid("#/since", detail));
    }
    let mut run = reads.join_verification(role.is_operator(&headers), since).await?;
    if accepts(&headers, NDJSON) {
        return Ok(streamed(NDJSON, lines(run)));
    }
    match tokio::time::timeout(PATIENCE, finished(&mut run)).await {
        Ok(result) => Ok(json(&*result?, Freshness::Never, &headers)),
        // Space before JSON means nothing, and keeps the connection alive on a long log.
        Err(_) => Ok(streamed("application/json", padded(run))),
    }
}

/// The most that a request needs.
const MAX_BODY: usize = 4096;

const NDJSON: &str = "application/x-ndjson";

/// For so long an answer is waited for in silence; then it begins.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far apart two lines of progress are at least.
const PROGRESS: Duration = Duration::from_millis(500);

/// What was verified counts for so long.
const DAY: i64 = 86_400_000;

/// How much is read at once.
const CHUNK_ENTRIES: u64 = 4096;
const CHUNK_BYTES: u64 = 1024 * 1024;

/// After so many errors a run stops.
const MAX_ERRORS: usize = 100;

/// How a run stands.
#[derive(Clone, Debug)]
enum Stage {
    Running(VerifyProgress),
    Done(Result<Arc<VerifyReport>, Problem>),
}

type Run = watch::Receiver<Stage>;

/// The run under way, and what earlier ones found.
#[derive(Debug, Default)]
pub(super) struct Verifier(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    running: Option<(Run, IsWhole)>,
    last: Option<Verification>,
    /// The newest run without errors that covers the log from its first entry.
    verified: Option<(TreeRoot, Timestamp)>,
}

type IsWhole = bool;

impl Reads {
    /// Verifies the log, or joins the run under way; `whole` reads it from its first entry on.
    pub async fn verify_log(&self, whole: bool) -> Result<VerifyReport, Problem> {
        let mut run = self.join_verification(whole, 0).await?;
        finished(&mut run).await.map(|report| (*report).clone())
    }

    /// The last verification that came to an end since the start of the process.
    pub fn last_verification(&self) -> Option<Verification> {
        self.known().last
    }

    /// Joins the run under way, or starts one. A whole run is not answered with a partial one's
    /// result: it waits its turn.
    async fn join_verification(&self, operator: bool, since: u64) -> Result<Run, Problem> {
        let is_whole = operator && since == 0;
        loop {
            let mut partial = {
                let mut known = self.known();
                let under_way = known.running.take_if(|(run, _)| is_over(run));
                drop(under_way);
                match &known.running {
                    None => return self.start(&mut known, operator, since),
                    Some((run, whole)) if *whole || !is_whole => return Ok(run.clone()),
                    Some((run, _)) => run.clone(),
                }
            };
            // Whatever became of it, the next turn is ours or somebody's who also reads it all.
            let _ = finished(&mut partial).await;
        }
    }

    fn start(&self, known: &mut Known, operator: bool, since: u64) -> Result<Run, Problem> {
        let snapshot = self.snapshot()?;
        let now = self.now();
        let recent = known
            .verified
            .filter(|(tree, at)| now.millis_since(*at) < DAY && tree.size <= snapshot.size());
        let begin = match recent {
            Some((tree, _)) if !operator && tree.size.get() >= since => Begin::Verified(tree),
            _ if since == 0 => Begin::Nothing,
            _ => Begin::Asked(since),
        };
        let of = snapshot.size().get();
        let (stage, run) = watch::channel(Stage::Running(VerifyProgress { verified: 0, of }));
        known.running = Some((run.clone(), begin == Begin::Nothing));
        let reads = self.clone();
        self.tasks().spawn(async move {
            let tasks = reads.tasks().clone();
            let result = tokio::select! {
                result = reads.run(&snapshot, begin, &stage) => result.map(Arc::new),
                () = tasks.stopping() => Err(Problem::overloaded("the node is shutting down")),
            };
            if let Ok(report) = &result {
                reads.note(report, begin);
                reads.tell_damage(report).await;
            }
            stage.send_replace(Stage::Done(result));
        });
        Ok(run)
    }

    async fn run(
        &self,
        snapshot: &Snapshot,
        begin: Begin,
        stage: &watch::Sender<Stage>,
    ) -> Result<VerifyReport, Problem> {
        let of = snapshot.size().get();
        let mut walk = Walk::begin(self.store(), snapshot, begin).await?;
        while walk.at() < of && walk.errors.len() < MAX_ERRORS {
            walk.step(of).await?;
            stage.send_replace(Stage::Running(VerifyProgress { verified: walk.at(), of }));
            tokio::task::yield_now().await;
        }
        Ok(walk.finish())
    }

    fn note(&self, report: &VerifyReport, begin: Begin) {
        let size = TreeSize::new(report.entry_count).unwrap_or_default();
        let tree = TreeRoot { size, hash: report.root_hash };
        let at = self.now();
        let mut known = self.known();
        known.last = Some(Verification { tree, at, errors: report.errors.len() as u64 });
        match (report.valid, begin) {
            // A run from the middle that somebody chose says nothing about what comes before.
            (true, Begin::Asked(_)) => {}
            // What was verified long ago does not become fresh by what was added to it.
            (true, Begin::Verified(_)) => {
                if let Some((verified, _)) = &mut known.verified {
                    *verified = tree;
                }
            }
            (true, Begin::Nothing) => known.verified = Some((tree, at)),
            (false, _) => {
                known.verified = None;
                tracing::error!(errors = report.errors.len(), "the stored log is damaged");
            }
        }
    }

    /// Opens an incident for the operator if the log is damaged; one for each first place.
    async fn tell_damage(&self, report: &VerifyReport) {
        let Some(first) = report.errors.first() else { return };
        let incident = NewIncident {
            kind: DAMAGE.to_owned(),
            subject: format!("entry {}", first.entry_id),
            class: "transient".to_owned(),
            reason: first.code.clone(),
            detail: format!("{} (the first of {} errors)", first.detail, report.errors.len()),
            opened_at: self.now(),
            evidence: None,
        };
        if let Err(error) = self.store().open_incident(&incident).await {
            tracing::warn!(%error, "the incident could not be kept");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.verifier().0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// At entry 1.
    Nothing,
    /// After a tree that an earlier run verified.
    Verified(TreeRoot),
    /// After the entry that the caller named.
    Asked(u64),
}

/// A walk through the log, entry by entry.
struct Walk<'a> {
    store: &'a Store,
    snapshot: &'a Snapshot,
    from: u64,
    edge: Edge,
    /// The entry before; `None` where it is damaged, so that nothing can be compared with it.
    last: Option<(Hash, Timestamp)>,
    errors: Vec<VerifyError>,
    /// The tree can't be followed any more.
    is_lost: bool,
}

impl<'a> Walk<'a> {
    async fn begin(
        store: &'a Store,
        snapshot: &'a Snapshot,
        begin: Begin,
    ) -> Result<Self, StoreError> {
        let (from, known) = match begin {
            Begin::Nothing => (0, None),
            Begin::Verified(tree) => (tree.size.get(), Some(tree)),
            Begin::Asked(since) => (since, None),
        };
        let mut walk = Self {
            store,
            snapshot,
            from,
            edge: Edge::empty(),
            last: None,
            errors: Vec::new(),
            is_lost: false,
        };
        if from == 0 {
            return Ok(walk);
        }
        let size = TreeSize::new(from).unwrap_or_default();
        match found(store.load_edge(size).await)? {
            Ok(edge) => walk.edge = edge,
            Err(damage) => {
                walk.edge = Edge::empty();
                walk.is_lost = true;
                walk.fault(0, "wrong_tile", damage.to_string());
                return Ok(walk);
            }
        }
        if known.is_some_and(|tree| tree != walk.edge.root()) {
            walk.fault(from, "wrong_root", "what was verified before has changed".to_owned());
        }
        if let Ok(last) = found(store.entry(from).await)? {
            walk.last = last.map(|leaf| (leaf.entry_hash(), leaf.timestamp()));
        }
        Ok(walk)
    }

    /// The newest entry that was looked at.
    fn at(&self) -> u64 {
        if self.is_lost { self.snapshot.size().get() } else { self.edge.size().get() }
    }

    /// Looks at the next chunk.
    async fn step(&mut self, size: u64) -> Result<(), StoreError> {
        let after = self.at();
        let mut upto = size.min(after + CHUNK_ENTRIES);
        let entries = loop {
            match found(self.store.entries(after, upto, CHUNK_BYTES).await)? {
                Ok(entries) => break entries,
                // What comes before the damaged entry is looked at first.
                Err(StoreError::Corrupt { id }) if id > after + 1 => upto = id - 1,
                Err(damage) => {
                    return self.pass_over(after + 1, "entry_corrupt", &damage.to_string()).await;
                }
            }
        };
        if entries.is_empty() {
            return self.pass_over(after + 1, "missing", "the entry is not there").await;
        }
        let mut completed = Vec::new();
        for entry in &entries {
            let expected = self.edge.size().get() + 1;
            if entry.id() != expected {
                self.compare(&completed).await?;
                return self.pass_over(expected, "missing", "the entry is not there").await;
            }
            self.look_at(entry, &mut completed);
        }
        self.compare(&completed).await
    }

    fn look_at(&mut self, entry: &Leaf, completed: &mut Vec<(TileId, Arc<TileNodes>)>) {
        if let Some((hash, timestamp)) = self.last {
            if entry.previous_hash() != Some(hash) {
                let detail = "its previous_hash is not the hash of the entry before it";
                self.fault(entry.id(), "wrong_previous", detail.to_owned());
            }
            if entry.timestamp() < timestamp {
                let detail = "its time is before that of the entry before it";
                self.fault(entry.id(), "time_runs_back", detail.to_owned());
            }
        }
        self.last = Some((entry.entry_hash(), entry.timestamp()));
        self.edge.push(entry.leaf_hash(), completed);
    }

    /// Goes on after an entry that can't be read, with the leaf hash that the tree has for it.
    async fn pass_over(&mut self, id: u64, code: &str, detail: &str) -> Result<(), StoreError> {
        self.fault(id, code, detail.to_owned());
        self.last = None;
        let leaf = NodeId { height: 0, index: id - 1 };
        let mut completed = Vec::new();
        match found(self.store.nodes(&[leaf], &self.snapshot.edge).await)? {
            Ok(hashes) => {
                for hash in hashes {
                    self.edge.push(hash, &mut completed);
                }
                self.compare(&completed).await
            }
            Err(damage) => {
                self.is_lost = true;
                self.fault(0, "wrong_tile", damage.to_string());
                Ok(())
            }
        }
    }

    /// Compares the tiles that the entries gave with the stored ones.
    async fn compare(&mut self, completed: &[(TileId, Arc<TileNodes>)]) -> Result<(), StoreError> {
        // Tiles that lie partly above the head are complete in memory before they are shown.
        let ids: Vec<TileId> = completed.iter().map(|(id, _)| *id).collect();
        match found(self.store.stored_tiles(&ids).await)? {
            Ok(stored) => {
                let stored: HashMap<TileId, Arc<TileNodes>> = stored.into_iter().collect();
                let differ = completed.iter().filter(|(id, own)| stored.get(id) != Some(own));
                let wrong: Vec<TileId> = differ.map(|(id, _)| *id).collect();
                for TileId { level, index } in wrong {
                    let detail =
                        format!("tile {index} of level {level} is not that of the entries");
                    self.fault(0, "wrong_tile", detail);
                }
            }
            Err(damage) => self.fault(0, "wrong_tile", damage.to_string()),
        }
        Ok(())
    }

    fn finish(mut self) -> VerifyReport {
        let head = self.snapshot.head.head().tree();
        let own = self.edge.root();
        let is_complete = !self.is_lost && own.size == head.size;
        if is_complete && own.hash != head.hash {
            let detail = "the entries do not give the root of the signed head".to_owned();
            self.fault(0, "wrong_root", detail);
        }
        VerifyReport {
            valid: is_complete && self.errors.is_empty(),
            entry_count: own.size.get(),
            errors: self.errors,
            root_hash: own.hash,
            verified_from: self.from,
        }
    }

    fn fault(&mut self, entry_id: u64, code: &str, detail: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(VerifyError { entry_id, code: code.to_owned(), detail });
        }
    }
}

/// Parts damage, which is what a run looks for, from a database that does not answer.
fn found<T>(result: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match result {
        Err(
            damage @ (StoreError::Corrupt { .. }
            | StoreError::CorruptTile { .. }
            | StoreError::Malformed { .. }),
        ) => Ok(Err(damage)),
        Err(other) => Err(other),
        Ok(value) => Ok(Ok(value)),
    }
}

/// No body asks for everything.
fn read_request(headers: &HeaderMap, bytes: &[u8]) -> Result<VerifyRequest, Problem> {
    if bytes.is_empty() {
        return Ok(VerifyRequest::default());
    }
    body::require_type(headers, &["application/json"])?;
    body::strict(bytes)
}

fn is_over(run: &Run) -> bool {
    matches!(*run.borrow(), Stage::Done(_)) || run.has_changed().is_err()
}

async fn finished(run: &mut Run) -> Result<Arc<VerifyReport>, Problem> {
    // The sender goes away without a result only if the task panicked.
    let stage = run.wait_for(|stage| matches!(stage, Stage::Done(_))).await;
    match stage.map(|stage| stage.clone()) {
        Ok(Stage::Done(result)) => result,
        Ok(Stage::Running(_)) | Err(_) => Err(Problem::internal()),
    }
}

fn line(value: &impl serde::Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).expect("a report is texts and numbers");
    text.push(b'\n');
    text.into()
}

fn last_line(result: &Result<Arc<VerifyReport>, Problem>) -> Bytes {
    match result {
        Ok(report) => line(&**report),
        Err(problem) => line(&problem.to_json("/requests/-")),
    }
}

/// A line for the progress every now and then, and the report.
fn lines(run: Run) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(Some(run), |run| async move {
        let mut run = run?;
        let waited = tokio::time::timeout(PROGRESS, finished(&mut run)).await;
        if let Ok(result) = waited {
            return Some((last_line(&result), None));
        }
        let stage = run.borrow().clone();
        match stage {
            Stage::Running(progress) => Some((line(&progress), Some(run))),
            Stage::Done(result) => Some((last_line(&result), None)),
        }
    })
}

/// A space every now and then, and the report.
fn padded(run: Run) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(Some(run), |run| async move {
        let mut run = run?;
        match tokio::time::timeout(PATIENCE, finished(&mut run)).await {
            Ok(result) => Some((last_line(&result), None)),
            Err(_) => Some((Bytes::from_static(b" "), Some(run))),
        }
    })
}

fn streamed(
    media_type: &'static str,
    parts: impl stream::Stream<Item = Bytes> + Send + 'static,
) -> Response {
    use futures_util::StreamExt as _;
    let mut response = Response::new(Body::from_stream(parts.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    const URL: &str = "/api/v1/log/verify";

    #[tokio::test]
    async fn an_honest_log_is_valid_and_is_read_once_a_day() {
        let node = TestNode::with_entries(600).await;
        let report: VerifyReport = node.post(URL, "", &[]).await;
        assert_eq!((report.valid, report.entry_count, report.verified_from), (true, 600, 0));
        assert_eq!(report.root_hash, node.tree_at(600).hash);
        assert_eq!(report.errors, []);

        let again: VerifyReport = node.post(URL, "{}", &[]).await;
        assert_eq!((again.valid, again.verified_from), (true, 600));
        let forced: VerifyReport = node.post(URL, "", &[node.operator()]).await;
        assert_eq!((forced.valid, forced.verified_from), (true, 0));
        let some: VerifyReport = node.post(URL, r#"{"since":300}"#, &[node.operator()]).await;
        assert_eq!((some.valid, some.verified_from, some.entry_count), (true, 300, 600));
    }

    #[tokio::test]
    async fn progress_comes_line_by_line_and_the_report_last() {
        let node = TestNode::with_entries(20).await;
        let response = node.send("POST", URL, "", &[(ACCEPT, "application/x-ndjson")]).await;
        let body = String::from_utf8(node.body(response).await).unwrap();
        let report: VerifyReport = serde_json::from_str(body.lines().last().unwrap()).unwrap();
        assert!(report.valid);
    }

    #[tokio::test]
    async fn a_damaged_entry_is_named_and_the_rest_is_still_read() {
        let node = TestNode::with_entries(300).await;
        node.damage_entry(120).await;
        let report: VerifyReport = node.post(URL, "", &[]).await;
        assert!(!report.valid);
        let found: Vec<_> = report.errors.iter().map(|e| (e.entry_id, e.code.as_str())).collect();
        assert_eq!(found, [(120, "entry_corrupt")]);
        assert_eq!(report.entry_count, 300);
        assert_eq!(node.refusal("/api/v1/log/120").await, Code::EntryCorrupt);
        assert_eq!(node.refusal("/api/v1/log/replicate?after=100").await, Code::EntryCorrupt);
        let after: crate::wire::log::LogPage = node.get("/api/v1/log?after=120&per_page=2").await;
        assert_eq!(after.entries.len(), 2, "what is whole is served");
    }

    #[tokio::test]
    async fn a_missing_entry_is_found() {
        let node = TestNode::with_entries(40).await;
        node.delete_entry(7).await;
        let report: VerifyReport = node.post(URL, "", &[]).await;
        let found: Vec<_> = report.errors.iter().map(|e| (e.entry_id, e.code.as_str())).collect();
        assert_eq!(found, [(7, "missing")]);
        assert_eq!(node.refusal("/api/v1/log/replicate").await, Code::EntryCorrupt);
    }

    #[tokio::test]
    async fn bad_bodies_are_refused() {
        let node = TestNode::with_entries(3).await;
        for (body, code) in [
            (r#"{"since":4}"#, Code::ValidationFailed),
            (r#"{"since":-1}"#, Code::ValidationFailed),
            (r#"{"other":1}"#, Code::UnknownField),
            ("{", Code::InvalidJson),
        ] {
            assert_eq!(node.post_refusal(URL, body).await, code, "{body}");
        }
    }
}
