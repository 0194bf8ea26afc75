//! Entries, alone and in pages.

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json, linked, text_json};
use super::query::{DEEPEST_ROW, Paging, Params};
use super::reads::Reads;
use super::turns::Kind;
use crate::export::MAX_LEAF_BYTES;
use crate::leaf::Leaf;
use crate::merkle::TreeSize;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::store::{Filter, Matches, Span, Store, StoreError};
use crate::wire::log::{EntryView, HeadEntry, LogHead, LogPage};

/// The longest text that is searched for.
const MAX_SEARCH: usize = 200;

/// How many entries are read at once to filter what a search found by type.
const FILTER_CHUNK: usize = 200;

/// How many entries are read at once where their bytes are counted.
const CHUNK: usize = 100;

/// A page of the log, filtered if asked for.
#[utoipa::path(
    get,
    path = "/api/v1/log",
    tag = "log",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, description = "From 1 to 200, by default 50"),
        ("event_type" = Option<String>, Query, description = "Only entries of this type"),
        ("search" = Option<String>, Query, description = "An id, the first 4 or more hex digits of an entry hash, fingerprint or document hash, or a part of a pseudonym"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc`"),
        ("after" = Option<u64>, Query, description = "Only entries after this id"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = LogPage),
    )
)]
pub(super) async fn list(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = reads.snapshot()?.size().get();
    let paging = params.paging()?;
    let span = params.span(size)?;
    let event_type = params.event_type()?;
    let search = params.bounded("search", MAX_SEARCH)?;
    let is_filtered = event_type.is_some() || search.is_some();
    if is_filtered {
        paging.not_too_deep()?;
    }
    let store = reads.store();
    let matches = match search {
        None => None,
        Some(text) => {
            let _turn = reads.turn(Kind::Search).await?;
            Some(store.search(text, span).await?)
        }
    };
    // Not before: who waits for a search keeps no page from others.
    let _turn = reads.turn(Kind::Page).await?;
    let found = match (matches, event_type) {
        (None, None) => all_of(store, span, paging).await?,
        (None, Some(_)) => list_of_type(store, paging.filter(event_type, span), size).await?,
        (Some(matches), None) => page_of(store, matches, paging).await?,
        (Some(matches), Some(wanted)) => page_of_type(store, matches, wanted, paging).await?,
    };
    let next = paging.next(found.total, is_filtered);
    let body = page_json(&reads, found, paging).await?;
    let next = next.map(|page| format!("/api/v1/log?{}", params.with_page(page)));
    Ok(linked(text_json(body, Freshness::Brief, &headers), next))
}

/// The newest entry under the newest head, and how many there are.
#[utoipa::path(
    get,
    path = "/api/v1/log/head",
    tag = "log",
    responses(
        (status = 200, description = "The newest entry", body = LogHead, headers(("ETag"))),
    )
)]
pub(super) async fn head(
    State(reads): State<Reads>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = reads.snapshot()?.size().get();
    let leaf = reads.store().entry(size).await?.ok_or(StoreError::Corrupt { id: size })?;
    let head = LogHead {
        head: HeadEntry {
            id: leaf.id(),
            entry_hash: leaf.entry_hash(),
            event_type: leaf.event_type().to_owned(),
            timestamp: leaf.timestamp(),
        },
        entry_count: size,
    };
    let tag = leaf.entry_hash().to_string();
    Ok(json(&head, Freshness::Newest(tag), &headers))
}

/// One entry.
#[utoipa::path(
    get,
    path = "/api/v1/log/{entry_id}",
    tag = "log",
    params(("entry_id" = u64, Path, description = "The number of the entry, from 1")),
    responses(
        (status = 200, description = "The entry, which never changes", body = EntryView, headers(("ETag"))),
        (status = 404, description = "No such entry"),
    )
)]
pub(super) async fn entry(
    State(reads): State<Reads>,
    Path(entry_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = numbered(&entry_id, reads.snapshot()?.size())?;
    let leaf = reads.store().entry(id).await?.ok_or(StoreError::Corrupt { id })?;
    let reasons = reads.store().without_effect(&[id]).await?;
    let reason = reasons.first().map(|(_, reason)| reason.as_str());
    let tag = leaf.entry_hash().to_string();
    Ok(text_json(entry_json(&leaf, reason), Freshness::Immutable(tag), &headers))
}

/// Reads the number of an entry that the log has.
pub(super) fn numbered(entry_id: &str, size: TreeSize) -> Result<u64, Problem> {
    let is_number = entry_id.bytes().all(|byte| byte.is_ascii_digit());
    let id = entry_id.parse().ok().filter(|id| is_number && (1..=size.get()).contains(id));
    id.ok_or_else(|| Problem::new(Code::NotFound, format!("entries are numbered from 1 to {size}")))
}

/// The JSON view of an entry: the logged bytes, with its hash and, if it changes nothing, why.
pub(super) fn entry_json(leaf: &Leaf, without_effect: Option<&str>) -> String {
    let view = leaf.to_json();
    let Some(reason) = without_effect else { return view };
    // Reasons are codes of our own: nothing in them needs escaping.
    format!(r#"{{"effect":"none","effect_reason":"{reason}",{}"#, &view[1..])
}

/// The rows of one page.
pub(super) struct Found {
    pub(super) entries: Vec<Leaf>,
    /// How many match, or a number that at least so many do.
    pub(super) total: u64,
    pub(super) is_capped: bool,
}

/// Entries of one type. They are counted as a whole; with `after`, only what was seen is counted.
pub(super) async fn list_of_type(
    store: &Store,
    filter: Filter<'_>,
    size: u64,
) -> Result<Found, StoreError> {
    let more = Filter { limit: filter.limit + 1, ..filter };
    let mut entries = store.list(more, size).await?;
    let seen = filter.offset + entries.len() as u64;
    let has_more = entries.len() as u64 > filter.limit;
    entries.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    let total = match (has_more, filter.after, filter.event_type) {
        // The last page, or one beyond it: what was passed over may be less than the offset.
        (false, 0, _) if !entries.is_empty() => seen,
        (_, 0, Some(event_type)) => store.count(event_type).await?,
        _ => seen,
    };
    let is_capped = total > DEEPEST_ROW || (has_more && filter.after > 0);
    Ok(Found { entries, total: total.min(DEEPEST_ROW), is_capped })
}

/// A page of everything in a span, whose ids have no gaps.
pub(super) async fn all_of(store: &Store, span: Span, paging: Paging) -> Result<Found, StoreError> {
    Ok(Found {
        entries: store.list(paging.filter(None, span), span.upto).await?,
        total: span.upto.saturating_sub(span.after),
        is_capped: false,
    })
}

/// A page of what matches.
pub(super) async fn page_of(
    store: &Store,
    matches: Matches,
    paging: Paging,
) -> Result<Found, Problem> {
    let page = paging.rows(&matches.ids);
    let entries = bounded(store, page, "per_page").await?;
    Ok(Found { entries, total: matches.ids.len() as u64, is_capped: matches.has_more })
}

/// A page of those that are of one type, too. They are counted as far as they were looked at.
async fn page_of_type(
    store: &Store,
    matches: Matches,
    event_type: &str,
    paging: Paging,
) -> Result<Found, StoreError> {
    let (mut entries, mut total) = (Vec::new(), 0);
    let page = paging.offset()..paging.offset() + paging.per_page;
    let mut is_capped = matches.has_more;
    for chunk in matches.ids.chunks(FILTER_CHUNK) {
        let read = in_order(store, chunk).await?;
        for entry in read.into_iter().filter(|entry| entry.event_type() == event_type) {
            if page.contains(&total) {
                entries.push(entry);
            }
            total += 1;
        }
        if total > page.end {
            is_capped = true;
            break;
        }
    }
    Ok(Found { entries, total, is_capped })
}

/// Reads entries in the order of their ids as given.
pub(super) async fn in_order(store: &Store, ids: &[u64]) -> Result<Vec<Leaf>, StoreError> {
    let entries = store.entries_of(ids).await?;
    let mut by_id: HashMap<u64, Leaf> =
        entries.into_iter().map(|entry| (entry.id(), entry)).collect();
    ids.iter().map(|id| by_id.remove(id).ok_or(StoreError::Corrupt { id: *id })).collect()
}

/// Reads entries in order, as many bytes of them as an answer may have; `parameter` asks for fewer.
pub(super) async fn bounded(
    store: &Store,
    ids: &[u64],
    parameter: &'static str,
) -> Result<Vec<Leaf>, Problem> {
    let (mut entries, mut bytes) = (Vec::with_capacity(ids.len()), 0);
    for chunk in ids.chunks(CHUNK) {
        let read = in_order(store, chunk).await?;
        bytes += read.iter().map(|leaf| leaf.bytes().len()).sum::<usize>();
        if bytes > MAX_LEAF_BYTES {
            let detail = format!(
                "these entries have more than 16 MiB together: ask for a smaller {parameter}"
            );
            return Err(Problem::invalid(parameter, detail));
        }
        entries.extend(read);
    }
    Ok(entries)
}

/// A page as JSON.
pub(super) async fn page_json(
    reads: &Reads,
    found: Found,
    paging: Paging,
) -> Result<String, Problem> {
    let ids: Vec<u64> = found.entries.iter().map(Leaf::id).collect();
    let reasons = reads.store().without_effect(&ids).await?.into_iter().collect();
    let length = found.entries.iter().map(|entry| entry.bytes().len() + 128).sum();
    reads.beside(length, move || written(&found, paging, &reasons, length)).await
}

fn written(found: &Found, paging: Paging, reasons: &HashMap<u64, String>, length: usize) -> String {
    let mut body = String::with_capacity(length + 128);
    body.push_str(r#"{"entries":["#);
    for (place, entry) in found.entries.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        body.push_str(&entry_json(entry, reasons.get(&entry.id()).map(String::as_str)));
    }
    let (page, per_page) = (paging.page, paging.per_page);
    // Writing to a string never fails.
    let _ = write!(body, r#"],"page":{page},"per_page":{per_page},"total":{}"#, found.total);
    body.push_str(if found.is_capped { r#","total_capped":true}"# } else { "}" });
    body
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, LINK};

    use super::*;
    use crate::read::testing::TestNode;

    fn ids(page: &LogPage) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.id).collect()
    }

    #[tokio::test]
    async fn an_entry_is_shown_as_it_was_hashed_and_never_changes() {
        let node = TestNode::with_entries(3).await;
        let response = node.request("/api/v1/log/2", &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let tag = response.headers()[ETAG].to_str().unwrap().to_owned();
        let leaf = node.leaf(2);
        assert_eq!(tag, format!("\"{}\"", leaf.entry_hash()));
        let body = node.body(response).await;
        assert_eq!(body, leaf.to_json().into_bytes());

        let again = node.request("/api/v1/log/2", &[(IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn what_is_not_an_entry_is_not_found() {
        let node = TestNode::with_entries(3).await;
        for id in ["0", "4", "abc", "+1", "1.0", "99999999999999999999"] {
            assert_eq!(node.refusal(&format!("/api/v1/log/{id}")).await, Code::NotFound, "{id}");
        }
    }

    #[tokio::test]
    async fn the_log_is_paged_in_both_directions() {
        let node = TestNode::with_entries(7).await;
        let page: LogPage = node.get("/api/v1/log?per_page=3&page=2").await;
        assert_eq!((ids(&page), page.total), (vec![4, 5, 6], 7));
        let page: LogPage = node.get("/api/v1/log?per_page=3&order=desc").await;
        assert_eq!(ids(&page), [7, 6, 5]);
        let page: LogPage = node.get("/api/v1/log?per_page=3&order=desc&page=3").await;
        assert_eq!(ids(&page), [1]);
        let page: LogPage = node.get("/api/v1/log?after=5").await;
        assert_eq!((ids(&page), page.total), (vec![6, 7], 2));
        let page: LogPage = node.get("/api/v1/log?page=9").await;
        assert!(page.entries.is_empty());

        let first = node.request("/api/v1/log?per_page=3", &[]).await;
        let link = first.headers()[LINK].to_str().unwrap();
        assert_eq!(link, "</api/v1/log?per_page=3&page=2>; rel=\"next\"");
        let last = node.request("/api/v1/log?per_page=3&page=3", &[]).await;
        assert!(!last.headers().contains_key(LINK));
    }

    #[tokio::test]
    async fn filters_and_searches_find_what_is_there() {
        let node = TestNode::with_entries(7).await;
        let page: LogPage = node.get("/api/v1/log?event_type=log_genesis").await;
        assert_eq!((ids(&page), page.total), (vec![1], 1));
        let page: LogPage = node.get("/api/v1/log?event_type=x-test:event&per_page=2&page=3").await;
        assert_eq!((ids(&page), page.total), (vec![6, 7], 6));
        let page: LogPage = node.get("/api/v1/log?event_type=x-test:event&after=5").await;
        assert_eq!(ids(&page), [6, 7]);
        let page: LogPage = node.get("/api/v1/log?event_type=x-test:none").await;
        assert_eq!((ids(&page), page.total), (vec![], 0));
        let hash = node.leaf(4).entry_hash().to_hex();
        let page: LogPage = node.get(&format!("/api/v1/log?search={}", &hash[..16])).await;
        assert_eq!((ids(&page), page.total), (vec![4], 1));
        let both = format!("/api/v1/log?search={}&event_type=log_genesis", &hash[..16]);
        assert!(node.get::<LogPage>(&both).await.entries.is_empty());
    }

    #[tokio::test]
    async fn bad_parameters_are_refused_with_their_name() {
        let node = TestNode::with_entries(2).await;
        for (query, code) in [
            ("per_page=201", Code::ValidationFailed),
            ("page=0", Code::ValidationFailed),
            ("order=up", Code::ValidationFailed),
            ("search=", Code::ValidationFailed),
            ("event_type=none", Code::ValidationFailed),
            ("event_type=x-test:event&per_page=200&page=51", Code::PageTooDeep),
        ] {
            assert_eq!(node.refusal(&format!("/api/v1/log?{query}")).await, code, "{query}");
        }
        let page: LogPage = node.get("/api/v1/log?unknown=1").await;
        assert_eq!(page.total, 2);
    }

    #[tokio::test]
    async fn the_head_is_the_newest_entry() {
        let node = TestNode::with_entries(4).await;
        let head: LogHead = node.get("/api/v1/log/head").await;
        assert_eq!((head.head.id, head.entry_count), (4, 4));
        assert_eq!(head.head.entry_hash, node.leaf(4).entry_hash());
    }

    #[test]
    fn an_entry_without_effect_says_why() {
        let leaf = Leaf::build(
            1,
            None,
            crate::clock::Timestamp::from_millis(0).unwrap(),
            &"x-a:b".parse().unwrap(),
            b"{}",
        )
        .unwrap();
        let shown: EntryView =
            serde_json::from_str(&entry_json(&leaf, Some("unknown_type"))).unwrap();
        assert_eq!(shown.effect.as_deref(), Some("none"));
        assert_eq!(shown.effect_reason.as_deref(), Some("unknown_type"));
        assert_eq!(shown.entry_hash, leaf.entry_hash());
    }
}
