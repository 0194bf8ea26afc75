//! The status page: complete without a script, live with one.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::entries::in_order;
use super::query::Params;
use super::reads::Reads;
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::leaf::Leaf;
use crate::merkle::TreeSize;
use crate::server::headers::PAGE_HEADERS;
use crate::statement::FollowerStatus;
use crate::store::{Filter, Order, Span, StoreError};
use crate::wire::node::NodeRole;
use crate::wire::status::{
    Colour, FollowerRow, MirrorStatus, QuorumState, ReplicationStatus, Verdict, WitnessFreshness,
    WitnessRow, in_words, seconds_since, spell,
};

/// How many entries the page shows.
const RECENT: usize = 20;

/// The longest payload that the page shows of an entry.
const EXCERPT: usize = 160;

/// The status of the log and of everybody who mirrors and watches it, for people.
#[utoipa::path(
    get,
    path = "/",
    tag = "node",
    params(("search" = Option<String>, Query, description = "What to look for among the entries")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn page(State(reads): State<Reads>, params: Params) -> Response {
    let search = params.text("search").ok().flatten().unwrap_or_default();
    let search: String = search.trim().chars().take(100).collect();
    let html = view(&reads, search).await.render().unwrap_or_else(|error| {
        tracing::error!(%error, "the status page cannot be shown");
        "The status page cannot be shown; see /api/v1/log/replication-status.".to_owned()
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, PAGE_HEADERS, html).into_response()
}

/// `GET /assets/style.css`.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../templates/style.css"))
}

/// `GET /assets/live.js`.
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../templates/live.js"))
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=300")], text).into_response()
}

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    role: &'static str,
    version: &'static str,
    origin: String,
    log_id: String,
    operator: String,
    leader_url: Option<String>,
    colour: &'static str,
    sentence: String,
    shown_at: String,
    numbers: Vec<Number>,
    ruler: Ruler,
    mirror: Option<Mirror>,
    followers: Vec<Follower>,
    is_leader: bool,
    witnesses: Vec<Witness>,
    quorum: String,
    incidents_open: u64,
    verified: String,
    search: String,
    /// `None` if the database did not answer, or has enough to search for already.
    entries: Option<Vec<EntryRow>>,
    tree_size: u64,
}

struct Number {
    value: String,
    label: &'static str,
    note: &'static str,
}

/// Sizes on one axis.
struct Ruler {
    ticks: Vec<Tick>,
    summary: String,
}

struct Tick {
    /// From 0 to 1000.
    x: u64,
    kind: &'static str,
    label: String,
}

struct Follower {
    name: String,
    fingerprint: String,
    server: String,
    colour: &'static str,
    status: &'static str,
    reason: String,
    verified: String,
    lag_entries: String,
    lag_time: String,
    last_report: String,
}

struct Witness {
    name: String,
    fingerprint: String,
    colour: &'static str,
    status: &'static str,
    size: String,
    age: String,
    proofs: String,
}

struct Mirror {
    status: &'static str,
    colour: &'static str,
    reason: String,
    next_action: String,
    rate: String,
    eta: String,
    last_contact: String,
    upstreams: Vec<Source>,
}

struct Source {
    url: String,
    last_contact: String,
    error: String,
}

struct EntryRow {
    id: u64,
    timestamp: String,
    event_type: String,
    entry_hash: String,
    excerpt: String,
}

async fn view(reads: &Reads, search: String) -> Page {
    let facts = reads.facts();
    let now = reads.now();
    let shown = reads.board().shown();
    let status = shown.as_ref().map(|shown| shown.status());
    let snapshot = reads.snapshot().ok();
    let rows = witness_rows(reads, status, snapshot.as_deref()).await;
    let verdict = status.map_or_else(|| starting(snapshot.is_some()), |s| s.verdict().clone());
    let (is_leader, role) = (facts.role == NodeRole::Leader, facts.role.as_str());
    let entries = match &snapshot {
        None => Some(Vec::new()),
        Some(snapshot) => recent(reads, snapshot.size().get(), &search).await.unwrap_or_default(),
    };
    let log = facts.log.as_ref();
    Page {
        role,
        version: facts.version,
        origin: log.map(|log| log.origin.to_string()).unwrap_or_default(),
        log_id: log.map(|log| log.log_id.to_string()).unwrap_or_default(),
        operator: log.map(|log| log.operator.fingerprint().to_string()).unwrap_or_default(),
        leader_url: facts.leader_url.clone(),
        colour: verdict.colour.as_str(),
        sentence: verdict.sentence,
        shown_at: now.to_string(),
        numbers: numbers(status, now),
        ruler: ruler(status, &rows),
        mirror: mirror(status, now),
        followers: followers(status),
        is_leader,
        witnesses: rows.iter().map(witness).collect(),
        quorum: quorum(status, &rows),
        incidents_open: match status {
            Some(ReplicationStatus::Leader(status)) => status.incidents_open,
            Some(ReplicationStatus::Follower(status)) => status.incidents_open,
            None => 0,
        },
        verified: verified(reads, now),
        search,
        entries,
        tree_size: snapshot.map_or(0, |snapshot| snapshot.size().get()),
    }
}

fn starting(has_head: bool) -> Verdict {
    let sentence = if has_head {
        "This node has just started; its status is not known yet."
    } else {
        "This node has no signed head yet."
    };
    Verdict { colour: Colour::Amber, sentence: sentence.to_owned() }
}

/// A leader's status has the witnesses; a follower asks its own copy of the log.
async fn witness_rows(
    reads: &Reads,
    status: Option<&ReplicationStatus>,
    snapshot: Option<&Snapshot>,
) -> Vec<WitnessRow> {
    if let Some(ReplicationStatus::Leader(status)) = status {
        return status.witnesses.clone();
    }
    let Some(snapshot) = snapshot else { return Vec::new() };
    match reads.witness_inputs(snapshot.size()).await {
        Ok(inputs) => inputs
            .into_iter()
            .map(|input| WitnessRow::new(input, snapshot.last_event_id, reads.now()))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the status page shows no witnesses");
            Vec::new()
        }
    }
}

fn numbers(status: Option<&ReplicationStatus>, now: Timestamp) -> Vec<Number> {
    match status {
        Some(ReplicationStatus::Leader(status)) => vec![
            Number {
                value: or_unknown(status.entries_at_risk),
                label: "entries at risk",
                note: "held by no follower yet",
            },
            Number {
                value: or_unknown(status.unwitnessed_entries),
                label: "unwitnessed events",
                note: "not signed by a quorum of witnesses",
            },
            Number {
                value: spell(status.head_age_seconds),
                label: "head age",
                note: "since the newest signed head",
            },
        ],
        Some(ReplicationStatus::Follower(status)) => vec![
            Number {
                value: status.tree_size.to_string(),
                label: "entries verified",
                note: "recomputed and stored here",
            },
            Number {
                value: or_unknown(status.lag_entries),
                label: "entries behind",
                note: "known of and not verified yet",
            },
            Number {
                value: status
                    .head_timestamp
                    .map_or_else(unknown, |head| spell(seconds_since(now, head))),
                label: "head age",
                note: "since the newest verified head",
            },
        ],
        None => Vec::new(),
    }
}

fn followers(status: Option<&ReplicationStatus>) -> Vec<Follower> {
    let Some(ReplicationStatus::Leader(status)) = status else { return Vec::new() };
    status.followers.iter().map(follower).collect()
}

fn follower(row: &FollowerRow) -> Follower {
    Follower {
        name: row.display_name.clone().unwrap_or_else(|| row.fingerprint.short().to_string()),
        fingerprint: row.fingerprint.to_string(),
        server: row.server.clone().unwrap_or_default(),
        colour: colour_of(row.status).as_str(),
        status: row.status.as_str(),
        reason: row.reason.as_deref().map(in_words).unwrap_or_default().to_owned(),
        verified: or_unknown(row.tree_size),
        lag_entries: or_unknown(row.lag_entries),
        lag_time: row.lag_seconds.map_or_else(unknown, spell),
        last_report: row.report_age_seconds.map_or_else(|| "never".to_owned(), ago),
    }
}

fn witness(row: &WitnessRow) -> Witness {
    let colour = match row.status {
        WitnessFreshness::Current => Colour::Green,
        WitnessFreshness::Stale => Colour::Red,
        WitnessFreshness::Never => Colour::Amber,
    };
    Witness {
        name: row.display_name.clone().unwrap_or_else(|| row.short_fingerprint.to_string()),
        fingerprint: row.fingerprint.to_string(),
        colour: colour.as_str(),
        status: row.status.as_str(),
        size: or_unknown(row.tree_size),
        age: row.age_seconds.map_or_else(|| "never".to_owned(), ago),
        proofs: or_unknown(row.proofs_24h),
    }
}

fn mirror(status: Option<&ReplicationStatus>, now: Timestamp) -> Option<Mirror> {
    let Some(ReplicationStatus::Follower(status)) = status else { return None };
    let status: &MirrorStatus = status;
    let contact = |at: Option<Timestamp>| {
        at.map_or_else(|| "never".to_owned(), |at| ago(seconds_since(now, at)))
    };
    let source = |upstream: &crate::wire::status::Upstream| Source {
        url: upstream.url.clone(),
        last_contact: contact(upstream.last_contact),
        error: upstream.error.clone().unwrap_or_default(),
    };
    Some(Mirror {
        status: status.status.as_str(),
        colour: colour_of(status.status).as_str(),
        reason: status.reason.as_deref().map(in_words).unwrap_or_default().to_owned(),
        next_action: status.next_action.clone().unwrap_or_default(),
        rate: status.entries_per_second.map_or_else(unknown, |rate| format!("{rate:.0} entries/s")),
        eta: status.eta_seconds.map_or_else(unknown, spell),
        last_contact: contact(status.last_contact),
        upstreams: status.upstreams.iter().map(source).collect(),
    })
}

fn quorum(status: Option<&ReplicationStatus>, rows: &[WitnessRow]) -> String {
    let of = rows.len();
    if let Some(ReplicationStatus::Leader(status)) = status {
        let QuorumState { required, current } = status.witness_quorum;
        return format!("{required} of {of} must sign a head; {current} are current.");
    }
    let current = rows.iter().filter(|row| row.status == WitnessFreshness::Current).count();
    format!("{current} of {of} are current.")
}

fn verified(reads: &Reads, now: Timestamp) -> String {
    match reads.last_verification() {
        None => "not since this process started".to_owned(),
        Some(run) => {
            let when = ago(seconds_since(now, run.at));
            match run.errors {
                0 => format!("{when}, {} entries, no error", run.tree.size),
                errors => format!("{when}, {} entries, {errors} errors", run.tree.size),
            }
        }
    }
}

fn ruler(status: Option<&ReplicationStatus>, witnesses: &[WitnessRow]) -> Ruler {
    let mut marks: Vec<(&'static str, String, TreeSize)> = Vec::new();
    match status {
        Some(ReplicationStatus::Leader(status)) => {
            marks.push(("leader", "leader".to_owned(), status.tree_size));
            for row in &status.followers {
                if let Some(size) = row.tree_size {
                    marks.push(("follower", follower(row).name, size));
                }
            }
        }
        Some(ReplicationStatus::Follower(status)) => {
            if let Some(size) = status.leader_tree_size {
                marks.push(("leader", "leader".to_owned(), size));
            }
            marks.push(("follower", "this mirror".to_owned(), status.tree_size));
        }
        None => {}
    }
    for row in witnesses {
        if let Some(size) = row.tree_size {
            marks.push(("witness", witness(row).name, size));
        }
    }
    let most = marks.iter().map(|(_, _, size)| size.get()).max().unwrap_or(0).max(1);
    let tick = |(kind, label, size): &(&'static str, String, TreeSize)| Tick {
        x: u64::try_from(u128::from(size.get()) * 1000 / u128::from(most)).unwrap_or(1000),
        kind,
        label: format!("{label}: {size}"),
    };
    let ticks: Vec<Tick> = marks.iter().map(tick).collect();
    let labels: Vec<&str> = ticks.iter().map(|tick| tick.label.as_str()).collect();
    let summary = format!("Sizes in entries. {}", labels.join(", "));
    Ruler { ticks, summary }
}

/// The newest entries, or the newest that match; `None` while too many others search.
async fn recent(
    reads: &Reads,
    size: u64,
    search: &str,
) -> Result<Option<Vec<EntryRow>>, StoreError> {
    let store = reads.store();
    let entries = if search.is_empty() {
        let filter = Filter { limit: RECENT as u64, order: Order::Descending, ..Filter::default() };
        store.list(filter, size).await?
    } else {
        // The page is not limited by address: so its searches are, all together.
        let Ok(_slot) = reads.searches().try_acquire() else { return Ok(None) };
        let newest = Span { after: 0, upto: size, order: Order::Descending };
        let mut ids = store.search(search, newest).await?.ids;
        ids.truncate(RECENT);
        in_order(store, &ids).await?
    };
    Ok(Some(entries.iter().map(entry_row).collect()))
}

fn entry_row(leaf: &Leaf) -> EntryRow {
    let payload = String::from_utf8_lossy(leaf.payload());
    let mut excerpt: String = payload.chars().take(EXCERPT).collect();
    if excerpt.len() < payload.len() {
        excerpt.push('…');
    }
    EntryRow {
        id: leaf.id(),
        timestamp: leaf.timestamp().to_string(),
        event_type: leaf.event_type().to_owned(),
        entry_hash: leaf.entry_hash().to_string(),
        excerpt,
    }
}

fn colour_of(status: FollowerStatus) -> Colour {
    match status {
        FollowerStatus::Synced => Colour::Green,
        FollowerStatus::Syncing | FollowerStatus::Behind => Colour::Amber,
        FollowerStatus::Error => Colour::Red,
    }
}

fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(unknown, |value| value.to_string())
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn ago(seconds: u64) -> String {
    format!("{} ago", spell(seconds))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::CONTENT_SECURITY_POLICY;

    use super::*;
    use crate::read::testing::TestNode;

    async fn html(node: &TestNode, url: &str) -> String {
        let response = node.request(url, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        String::from_utf8(node.body(response).await).unwrap()
    }

    #[tokio::test]
    async fn the_page_shows_recent_entries_and_nothing_of_them_is_markup() {
        let hostile = |_| r#"{"a":"<script>alert(1)</script>","b":"\"'&"}"#.to_owned();
        let node = TestNode::new(NodeRole::Leader, 4, hostile).await;
        let html = html(&node, "/").await;
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(html.contains("alert(1)"));
        assert!(html.contains("log.example/test"));
        assert!(html.contains("x-test:event"));
    }

    #[tokio::test]
    async fn what_is_searched_for_is_shown_as_text() {
        let node = TestNode::with_entries(2).await;
        let html = html(&node, "/?search=%22%3E%3Cimg%20src%3Dx%3E").await;
        assert!(!html.contains("<img"), "{html}");
    }

    #[tokio::test]
    async fn nothing_on_the_page_needs_a_looser_policy() {
        let node = TestNode::with_entries(2).await;
        let response = node.request("/", &[]).await;
        for (name, value) in PAGE_HEADERS {
            assert_eq!(response.headers().get(&name), Some(&value), "{name}");
        }
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let html = String::from_utf8(node.body(response).await).unwrap();
        for forbidden in [" style=", "<style", "onclick", "javascript:", "http://", "https://"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for asset in ["/assets/style.css", "/assets/live.js"] {
            assert!(html.contains(asset));
            assert_eq!(node.request(asset, &[]).await.status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn a_node_without_a_head_still_has_a_page() {
        let node = TestNode::new(NodeRole::Follower, 0, |_| String::new()).await;
        let html = html(&node, "/").await;
        assert!(html.contains("This node has no signed head yet."));
    }
}
