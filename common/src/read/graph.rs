//! `GET /graph/{fingerprint}`: the endorsements around a key.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use prometheus::{IntCounterVec, Opts};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{Freshness, text_json};
use super::kept::{Answer, Kept};
use super::query::Params;
use super::reads::Reads;
use super::walk::{Bounds, Direction, Step, Walk, Walked};
use super::when::Period;
use crate::config::{GRAPH_TRAVERSAL_CACHE_TTL_SECONDS, GRAPH_TRAVERSAL_TIMEOUT_SECONDS, Settings};
use crate::event::text::folded;
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::statement::Category;
use crate::store::{EdgeFilter, EdgeRow, Moment, NodeRow, Order, Span, Store, StoreError};
use crate::telemetry::Metrics;
use crate::trust::{MAX_EDGES, MAX_NODES, Side};
use crate::view::EndorsementState;
use crate::wire::graph::{EndorsementGraph, GraphEdge, GraphNode};

const MAX_DEPTH: u64 = 8;
const USUAL_DEPTH: u64 = 3;

/// No institution has a longer name: all that is said of one has at most so many bytes.
const MAX_INSTITUTION_BYTES: usize = 4096;

/// How many walks run at once, whoever asks: each may hold the endorsements of a whole answer.
const WALKS: usize = 2;

/// How long a walk waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of answers are kept.
const KEPT_BYTES: usize = 32 << 20;

const DIRECTIONS: [(&str, Direction); 3] =
    [("both", Direction::Both), ("in", Direction::In), ("out", Direction::Out)];

/// How a node answers about the graph.
#[derive(Clone, Debug)]
pub struct GraphSetup {
    patience: Duration,
    kept_for: Duration,
    answers: IntCounterVec,
}

impl GraphSetup {
    /// What the settings say; the answers are counted among the node's metrics.
    pub fn new(settings: &Settings, node: &Metrics) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let answers = node.counters(ANSWERS.0, ANSWERS.1, &[ANSWERS.2]);
        Self {
            patience: seconds(settings.value(&GRAPH_TRAVERSAL_TIMEOUT_SECONDS)),
            kept_for: seconds(settings.value(&GRAPH_TRAVERSAL_CACHE_TTL_SECONDS)),
            answers: counted_from_zero(answers),
        }
    }

    /// These times, and answers that nobody counts.
    pub fn uncounted(patience: Duration, kept_for: Duration) -> Self {
        let answers = IntCounterVec::new(Opts::new(ANSWERS.0, ANSWERS.1), &[ANSWERS.2])
            .expect("the name and the label are valid");
        Self { patience, kept_for, answers: counted_from_zero(answers) }
    }
}

/// Name, meaning and label of the counter of answers.
const ANSWERS: (&str, &str, &str) = (
    "diogenes_graph_answers_total",
    "Answers about the graph of endorsements: whole, truncated, or kept from before.",
    "result",
);

fn counted_from_zero(answers: IntCounterVec) -> IntCounterVec {
    for result in ["whole", "truncated", "kept"] {
        answers.with_label_values(&[result]).inc_by(0);
    }
    answers
}

/// What the handlers of the graph share.
#[derive(Debug)]
pub(super) struct Graphs {
    setup: GraphSetup,
    turns: Semaphore,
    /// By the question and the newest entry that can change the answer.
    kept: Kept<(Asked, u64)>,
}

impl Graphs {
    pub(super) fn new(setup: GraphSetup) -> Self {
        let ttl = i64::try_from(setup.kept_for.as_millis()).unwrap_or(i64::MAX);
        Self { setup, turns: Semaphore::new(WALKS), kept: Kept::new(ttl, KEPT_BYTES) }
    }

    /// Waits until the caller may walk; not for long, while others do.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            Problem::overloaded("too many graphs are being walked; try again in a moment")
        })
    }
}

/// The endorsements around a key, breadth first.
///
/// Without a filter endorsements in every state are shown, those that are over included. The
/// endorsements of a key `max_depth` steps away are not followed; nor are those of an answer that is
/// full, which then says `truncated`. Of what a key received, the oldest come first.
#[utoipa::path(
    get,
    path = "/api/v1/graph/{fingerprint}",
    tag = "graph",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("direction" = Option<String>, Query, description = "`both` (default), `in`: to those who endorse, or `out`: to those who are endorsed"),
        ("max_depth" = Option<u64>, Query, minimum = 1, maximum = 8, description = "How many steps to go, from 1 to 8; 3 is the default"),
        ("type" = Option<String>, Query, description = "Only endorsements of this category: `human_attestation` or `institutional_endorsement`, with or without `x-diogenes:`"),
        ("status" = Option<String>, Query, description = "Only endorsements in this state: `offered`, `accepted`, `active`, `withdrawn`, `acceptance_revoked`, `expired` or `void`. Anybody can offer: what both keys agreed to is found with `active`"),
        ("institution" = Option<String>, Query, description = "Only endorsements that name this institution in `institutional_metadata`, or by the operator under this name, whatever its case"),
        ("since" = Option<String>, Query, description = "Only endorsements offered from this day, or time of RFC 3339, on"),
        ("until" = Option<String>, Query, description = "Only endorsements offered up to this day or time, that included"),
    ),
    responses(
        (status = 200, description = "The graph; kept for GRAPH_TRAVERSAL_CACHE_TTL_SECONDS, unless a key or an endorsement changes. `ETag` names it", body = EndorsementGraph, headers(("ETag"))),
        (status = 404, description = "No such key"),
        (status = 422, description = "A parameter is not as described; `errors` names it"),
        (status = 503, description = "Too many graphs are being walked"),
    )
)]
pub(super) async fn graph(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = Asked::of(&fingerprint, &params)?;
    let snapshot = reads.snapshot()?;
    let moment = Moment { size: snapshot.size().get(), at: snapshot.head.head().timestamp };
    let newest = reads.store().newest_graph_entry(moment.size).await?;
    let graphs = reads.graphs();
    let mut result = "kept";
    let make = async {
        let _turn = graphs.turn().await?;
        let graph = asked.answer(&reads, moment).await?;
        result = if graph.truncated { "truncated" } else { "whole" };
        let body = serde_json::to_vec(&graph).expect("a graph is plain data");
        Ok::<_, Problem>(Answer { tag: Hash::of(&body).to_hex(), body: Bytes::from(body) })
    };
    let answer = graphs.kept.answer((asked.clone(), newest), reads.steady_millis(), make);
    let answer = Box::pin(answer).await?;
    graphs.setup.answers.with_label_values(&[result]).inc();
    Ok(text_json(answer.body, Freshness::Newest(answer.tag), &headers))
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    root: Fingerprint,
    direction: Direction,
    max_depth: u32,
    category: Option<Category>,
    state: Option<EndorsementState>,
    institution: Option<String>,
    period: Period,
}

impl Asked {
    fn of(fingerprint: &str, params: &Params) -> Result<Self, Problem> {
        let root = fingerprint.parse().map_err(|_| {
            Problem::new(Code::NotFound, "a key is named by `sha256:` and 64 lower-case hex digits")
        })?;
        let max_depth = params.number("max_depth", 1..=MAX_DEPTH)?.unwrap_or(USUAL_DEPTH);
        Ok(Self {
            root,
            // Who a key endorses says as much about it as who endorses it.
            direction: params.choice("direction", &DIRECTIONS)?.unwrap_or(Direction::Both),
            max_depth: u32::try_from(max_depth).unwrap_or(u32::MAX),
            category: category(params)?,
            state: params.choice("status", &states())?,
            institution: params.bounded("institution", MAX_INSTITUTION_BYTES)?.map(folded),
            period: Period::named(params, "since", "until")?,
        })
    }

    async fn answer(&self, reads: &Reads, moment: Moment) -> Result<EndorsementGraph, Problem> {
        let store = reads.store();
        if store.graph_nodes(&[self.root], moment).await?.is_empty() {
            let detail = format!("no key with this fingerprint was registered as of {}", moment.at);
            return Err(Problem::new(Code::NotFound, detail));
        }
        let walked = self.walk(reads, moment).await?;
        let keys: Vec<Fingerprint> = walked.nodes.iter().map(|(key, _)| *key).collect();
        // Two connections share what is the larger half of the work.
        let (near, far) = keys.split_at(keys.len() / 2);
        let (mut known, others, alerts) = tokio::try_join!(
            store.graph_nodes(near, moment),
            store.graph_nodes(far, moment),
            store.alert_counts(&keys, moment),
        )?;
        known.extend(others);
        Ok(shown(walked, known, &alerts, moment))
    }

    async fn walk(&self, reads: &Reads, moment: Moment) -> Result<Walked, StoreError> {
        let store = reads.store();
        let deadline = reads.steady_millis().saturating_add(
            i64::try_from(reads.graphs().setup.patience.as_millis()).unwrap_or(i64::MAX),
        );
        let left = || {
            let left = deadline.saturating_sub(reads.steady_millis());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        };
        let span = Span { after: 0, upto: moment.size, order: Order::Ascending };
        let span = self.period.within(store, span).await?;
        let filter = EdgeFilter {
            category: self.category,
            state: self.state,
            institution: self.institution.clone(),
            after: span.after,
            upto: span.upto,
        };
        let operator = reads.facts().log.as_ref().map(|log| log.operator.fingerprint());
        let bounds = Bounds { max_depth: self.max_depth, nodes: MAX_NODES, edges: MAX_EDGES };
        let walk = Walk::new(self.root, self.direction, bounds);
        explore(walk, left, &Edges { store, operator, filter, moment }).await
    }
}

fn category(params: &Params) -> Result<Option<Category>, Problem> {
    let Some(name) = params.text("type")? else { return Ok(None) };
    Category::of_trust(name).map(Some).ok_or_else(|| {
        Problem::invalid(
            "type",
            "`type` is x-diogenes:human_attestation or x-diogenes:institutional_endorsement",
        )
    })
}

fn states() -> [(&'static str, EndorsementState); 7] {
    EndorsementState::ALL.map(|state| (state.as_str(), state))
}

/// Walks until everything is found, nothing more fits or no time is left.
async fn explore(
    mut walk: Walk,
    left: impl Fn() -> Duration,
    source: &impl Source,
) -> Result<Walked, StoreError> {
    while let Some(step) = walk.next() {
        let left = left();
        if left.is_zero() {
            break;
        }
        let Ok(edges) = tokio::time::timeout(left, source.load(&step)).await else { break };
        walk.take(&step, edges?);
    }
    Ok(walk.finish())
}

/// Where the endorsements of a step come from.
trait Source {
    fn load(&self, step: &Step) -> impl Future<Output = Result<Vec<EdgeRow>, StoreError>> + Send;
}

/// Those in the views that pass a filter, the operator's first.
struct Edges<'a> {
    store: &'a Store,
    operator: Option<Fingerprint>,
    filter: EdgeFilter,
    moment: Moment,
}

impl Source for Edges<'_> {
    async fn load(&self, step: &Step) -> Result<Vec<EdgeRow>, StoreError> {
        let Self { store, operator, ref filter, moment } = *self;
        let (keys, limit) = (&step.keys, step.limit);
        let mut edges = match (step.side, operator) {
            (Side::Received, Some(operator)) => {
                store.edges_from_operator(operator, keys, filter, moment).await?
            }
            (Side::Given, Some(operator)) if keys.contains(&operator) => {
                store.edges_of_operator(operator, filter, moment, limit).await?
            }
            _ => Vec::new(),
        };
        edges.extend(store.endorsement_edges(step.side, keys, filter, moment, limit).await?);
        Ok(edges)
    }
}

fn shown(
    walked: Walked,
    known: Vec<NodeRow>,
    alerts: &HashMap<Fingerprint, u64>,
    moment: Moment,
) -> EndorsementGraph {
    let mut known: HashMap<Fingerprint, NodeRow> =
        known.into_iter().map(|node| (node.fingerprint, node)).collect();
    let (root, _) = walked.nodes[0];
    let nodes: Vec<GraphNode> = walked
        .nodes
        .into_iter()
        .map(|(fingerprint, depth)| {
            let node = known.remove(&fingerprint);
            GraphNode {
                fingerprint,
                status: node.as_ref().map(|node| node.state),
                pseudonym: node.map(|node| node.pseudonym),
                depth,
                alerts: alerts.get(&fingerprint).copied().unwrap_or(0),
            }
        })
        .collect();
    EndorsementGraph {
        root,
        depth: nodes.last().map_or(0, |node| node.depth),
        truncated: walked.is_truncated,
        as_of: moment.at,
        nodes,
        edges: walked.edges.into_iter().map(GraphEdge::from).collect(),
    }
}

impl From<EdgeRow> for GraphEdge {
    fn from(edge: EdgeRow) -> Self {
        Self {
            offer_entry_id: edge.offer_id,
            endorser_fingerprint: edge.endorser,
            endorsed_fingerprint: edge.endorsed,
            category: edge.category,
            status: edge.state,
            active_at: edge.active_from,
            valid_until: edge.valid_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::keys::SigningKey;
    use crate::read::testing::{TestEvent, TestNode, noon};

    const SECOND: Duration = Duration::from_secs(1);

    /// A chain without end: each key gave one endorsement, to the next one.
    struct Chain {
        /// At which step nothing comes any more.
        stuck_at: u32,
        asked: AtomicU32,
    }

    fn link(number: u32) -> Fingerprint {
        Fingerprint::of_der(&number.to_be_bytes())
    }

    impl Source for Chain {
        async fn load(&self, step: &Step) -> Result<Vec<EdgeRow>, StoreError> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(step.keys, [link(number)]);
            if number == self.stuck_at {
                std::future::pending::<()>().await;
            }
            Ok(vec![EdgeRow {
                offer_id: u64::from(number) + 1,
                endorser: link(number),
                endorsed: link(number + 1),
                category: Category::HumanAttestation,
                state: EndorsementState::Active,
                active_from: None,
                valid_until: None,
            }])
        }
    }

    fn walk() -> Walk {
        let bounds = Bounds { max_depth: 8, nodes: 100, edges: 100 };
        Walk::new(link(0), Direction::Out, bounds)
    }

    #[tokio::test]
    async fn at_the_deadline_what_was_found_is_shown() {
        let chain = Chain { stuck_at: u32::MAX, asked: AtomicU32::new(0) };
        let left = || if chain.asked.load(Ordering::SeqCst) < 3 { SECOND } else { Duration::ZERO };
        let walked = explore(walk(), left, &chain).await.unwrap();
        assert_eq!((walked.nodes.len(), walked.edges.len(), walked.is_truncated), (4, 3, true));
    }

    #[tokio::test]
    async fn a_database_that_takes_too_long_is_not_waited_for() {
        let chain = Chain { stuck_at: 2, asked: AtomicU32::new(0) };
        let left = || match chain.asked.load(Ordering::SeqCst) {
            2 => Duration::from_millis(1),
            _ => SECOND * 60,
        };
        let walked = explore(walk(), left, &chain).await.unwrap();
        assert_eq!((walked.nodes.len(), walked.edges.len(), walked.is_truncated), (3, 2, true));
    }

    /// The graph around a key that gave so many endorsements to so many keys, which nobody
    /// registered; the log is taken for a longer one.
    async fn star(edges: u64, receivers: u64) -> EndorsementGraph {
        let node = TestNode::with_events(vec![TestEvent::registration(8, "Alice", None)]).await;
        let root = SigningKey::from_seed([8; 32]).fingerprint().to_string();
        node.endorse(&root, edges, receivers).await;
        let asked = Asked::of(&root, &Params::default()).unwrap();
        asked.answer(node.reads(), Moment { size: edges, at: noon() }).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_holds_so_many_keys_and_no_more() {
        let graph = star(5_001, 5_001).await;
        assert_eq!((graph.nodes.len(), graph.truncated, graph.depth), (MAX_NODES, true, 1));
        assert_eq!((graph.nodes[0].pseudonym.as_deref(), graph.nodes[0].depth), (Some("Alice"), 0));
        assert_eq!((&graph.nodes[1].pseudonym, graph.nodes[1].status), (&None, None));
        let graph = star(4_999, 4_999).await;
        assert_eq!((graph.nodes.len(), graph.truncated), (MAX_NODES, false));
    }

    #[tokio::test]
    async fn an_answer_holds_so_many_endorsements_and_no_more() {
        let graph = star(20_001, 7).await;
        assert_eq!((graph.edges.len(), graph.nodes.len(), graph.truncated), (MAX_EDGES, 8, true));
        let graph = star(20_000, 7).await;
        assert_eq!((graph.edges.len(), graph.nodes.len(), graph.truncated), (MAX_EDGES, 8, false));
    }

    #[tokio::test]
    async fn only_so_many_graphs_are_walked_at_once() {
        let node = TestNode::with_entries(1).await;
        let operator = SigningKey::from_seed([7; 32]).fingerprint();
        let url = format!("/api/v1/graph/{operator}");
        let others = node.reads().graphs().turns.acquire_many(2).await.unwrap();
        assert_eq!(node.refusal(&url).await, Code::Overloaded);
        drop(others);
        let graph: EndorsementGraph = node.get(&url).await;
        assert_eq!((graph.nodes.len(), graph.truncated), (1, false));
    }
}
