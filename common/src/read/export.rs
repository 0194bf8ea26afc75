//! The audit trail as files: JSON, NDJSON or CSV, page by page.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use super::answer::{Freshness, cached, linked};
use super::entries::bounded;
use super::proofs::inclusion_paths;
use super::query::{Paging, Params};
use super::reads::Reads;
use super::snapshot::Snapshot;
use super::trail::{read_document_hash, read_fingerprint};
use super::turns::Kind;
use super::when::Period;
use crate::canonical::MAX_SAFE_INTEGER;
use crate::export::csv::{self, Guard};
use crate::export::{self, Exported, Format, MAX_PAGE_SIZE, Scope};
use crate::leaf::Leaf;
use crate::server::problem::Problem;
use crate::store::{MAX_FOUND, Matches, Order, Referent, Span, Store, StoreError};
use crate::wire::export::{ExportFilters, ExportHeader, ExportPage};

/// The audit trail as a file: everything that is asked for must hold for an entry of it.
///
/// With `proofs=true` the file verifies offline (`diogenes-witness export verify FILE`). Needs no
/// token.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export",
    tag = "audit",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("format" = Option<String>, Query, description = "`json` (default), `ndjson` or `csv`"),
        ("scope" = Option<String>, Query, description = "Only events of these types; `all` by default"),
        ("fingerprint" = Option<String>, Query, description = "Only entries that refer to this key, `sha256:` and 64 hex digits"),
        ("document_hash" = Option<String>, Query, description = "Only entries about the document with this content or manifest hash, 64 hex digits with or without `sha256:`"),
        ("start_date" = Option<String>, Query, description = "Only entries from this instant (RFC 3339) or the beginning of this day (`2026-01-15`, in UTC) on"),
        ("end_date" = Option<String>, Query, description = "Only entries up to this instant, or the end of this day, included"),
        ("after" = Option<u64>, Query, description = "Only entries after this id"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("page_size" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "From 1 to 1000, by default 100; the last page ends at row 10,000"),
        ("proofs" = Option<String>, Query, description = "Whether each entry carries its inclusion proof; `json` and `ndjson` only"),
        ("raw" = Option<String>, Query, description = "`csv` only: texts that a spreadsheet takes for formulas are shown without `'` in front"),
    ),
    responses(
        (status = 200, description = "The file; `Link` names the next one", content(
            (ExportPage = "application/json"),
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 422, description = "A filter can't be read, the page lies too deep, or has more than 16 MiB"),
    )
)]
pub(super) async fn export(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ask = Ask::of(&params)?;
    let (snapshot, store) = (reads.snapshot()?, reads.store());
    let found = ask.find(store, snapshot.size().get()).await?;
    let _turn = reads.turn(Kind::Export).await?;
    let entries = bounded(store, ask.paging.rows(&found.ids), "page_size").await?;
    let length = entries.iter().map(|entry| entry.bytes().len()).sum();
    let next = found.next(ask.paging, &params);
    let body = match ask.format {
        Format::Csv => reads.beside(length, move || csv::table(&entries, ask.guard)).await?,
        format => {
            let header = ask.header(&reads, &snapshot, &found, next.clone())?;
            let entries = ask.proven(store, &snapshot, entries).await?;
            let write = move || match format {
                Format::Ndjson => export::ndjson(&header, &entries),
                Format::Json | Format::Csv => export::json(&header, &entries),
            };
            reads.beside(length, write).await?
        }
    };
    let mut response = Response::new(body.into());
    let name = format!(
        "attachment; filename=\"audit-{}-{}.{}\"",
        ask.filters.scope,
        ask.paging.page,
        ask.format.as_str()
    );
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static(ask.format.media_type()));
    if let Ok(name) = HeaderValue::try_from(name) {
        own.insert(CONTENT_DISPOSITION, name);
    }
    Ok(linked(cached(response, Freshness::Brief, &headers), next))
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    filters: ExportFilters,
    period: Period,
    paging: Paging,
    format: Format,
    guard: Guard,
    proofs: bool,
}

impl Ask {
    fn of(params: &Params) -> Result<Self, Problem> {
        let period = Period::of(params)?;
        let (start_date, end_date) = period.bounds();
        let filters = ExportFilters {
            scope: params.choice("scope", Scope::ALL)?.unwrap_or_default(),
            fingerprint: params.text("fingerprint")?.map(read_fingerprint).transpose()?,
            document_hash: params.text("document_hash")?.map(read_document_hash).transpose()?,
            start_date,
            end_date,
            after: params.number("after", 0..=MAX_SAFE_INTEGER)?.unwrap_or(0),
        };
        let paging = params.file_paging(MAX_PAGE_SIZE)?;
        paging.file_not_too_deep()?;
        let format = params.choice("format", &Format::ALL)?.unwrap_or_default();
        let (proofs, raw) = (params.switch("proofs")?, params.switch("raw")?);
        if proofs && format == Format::Csv {
            let detail = "a table has no place for proofs: ask for format=json or format=ndjson";
            return Err(Problem::invalid("proofs", detail));
        }
        if raw && format != Format::Csv {
            return Err(Problem::invalid(
                "raw",
                "only format=csv guards anything: leave `raw` out",
            ));
        }
        let guard = if raw { Guard::Off } else { Guard::On };
        Ok(Self { filters, period, paging, format, guard, proofs })
    }

    /// The entries that match, as far as they are looked for.
    async fn find(&self, store: &Store, size: u64) -> Result<Found, StoreError> {
        let whole = Span { after: self.filters.after, upto: size, order: Order::Ascending };
        let span = self.period.within(store, whole).await?;
        let key = self.filters.fingerprint.as_ref().map(Referent::key);
        let document = self.filters.document_hash.as_ref().map(Referent::document);
        let types = self.filters.scope.event_types();
        let matches = match (document, key) {
            (None, None) => {
                return Ok(match types {
                    None => everything(span).into(),
                    Some(types) => store.of_types(types, span).await?.into(),
                });
            }
            (Some(one), None) | (None, Some(one)) => store.referring(&one, span).await?,
            (Some(document), Some(key)) => store.referring_to_both(&document, &key, span).await?,
        };
        let mut found = Found::from(matches);
        if let Some(types) = types {
            found.ids = store.of_those(&found.ids, types).await?;
        }
        Ok(found)
    }

    fn header(
        &self,
        reads: &Reads,
        snapshot: &Snapshot,
        found: &Found,
        next: Option<String>,
    ) -> Result<ExportHeader, Problem> {
        let facts = reads.facts();
        let log = facts.log.as_ref().ok_or_else(Problem::internal)?;
        Ok(ExportHeader {
            count: self.paging.rows(&found.ids).len() as u64,
            filters: self.filters,
            generated_at: reads.now(),
            next,
            operator_public_key: log.operator.clone(),
            page: self.paging.page,
            page_size: self.paging.per_page,
            proofs: self.proofs,
            total: found.ids.len() as u64,
            total_capped: found.more_after.is_some(),
            tree_head: serde_json::from_str(&snapshot.head_text)
                .map_err(|_| Problem::internal())?,
        })
    }

    async fn proven(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        entries: Vec<Leaf>,
    ) -> Result<Vec<Exported>, StoreError> {
        if !self.proofs {
            return Ok(entries.into_iter().map(|leaf| Exported { leaf, proof: None }).collect());
        }
        let paths = inclusion_paths(store, snapshot, &entries).await?;
        let proven = entries.into_iter().zip(paths);
        Ok(proven.map(|(leaf, path)| Exported { leaf, proof: Some(path) }).collect())
    }
}

/// The ids of entries that match.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    ids: Vec<u64>,
    /// After which entry there may be more, if not all of the log was looked at.
    more_after: Option<u64>,
}

impl From<Matches> for Found {
    fn from(matches: Matches) -> Self {
        let more_after = matches.ids.last().copied().filter(|_| matches.has_more);
        Self { ids: matches.ids, more_after }
    }
}

impl Found {
    /// Where the entries after this page are: who follows these links sees every match once.
    fn next(&self, paging: Paging, params: &Params) -> Option<String> {
        let total = self.ids.len() as u64;
        let query = if let Some(page) = paging.next(total, true) {
            params.with_page(page)
        } else if paging.offset() + paging.per_page < total {
            params.with_after(*paging.rows(&self.ids).last()?)
        } else {
            params.with_after(self.more_after?)
        };
        Some(format!("/api/v1/audit/export?{query}"))
    }
}

/// The first entries of a span, whose ids have no gaps.
fn everything(span: Span) -> Matches {
    let last = span.upto.min(span.after.saturating_add(MAX_FOUND as u64));
    Matches { ids: (span.after.saturating_add(1)..=last).collect(), has_more: last < span.upto }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, LINK};

    use super::*;
    use crate::export::verify::{Expected, verify};
    use crate::keys::SigningKey;
    use crate::read::testing::{TestEvent, TestNode};
    use crate::server::problem::Code;

    const URL: &str = "/api/v1/audit/export";

    /// The genesis and two keys, then two events of a namespace, one an hour from noon on.
    async fn node() -> TestNode {
        let event = |hours: i64| {
            TestEvent::new("x-test:event", b"{}".to_vec()).after_noon(hours * 3_600_000)
        };
        TestNode::with_events(vec![
            TestEvent::registration(8, "Alice", None).after_noon(3_600_000),
            TestEvent::registration(9, "=Bob", None).after_noon(2 * 3_600_000),
            event(3),
            event(13),
        ])
        .await
    }

    async fn ids(node: &TestNode, query: &str) -> Vec<u64> {
        let page: ExportPage = node.get(&format!("{URL}?{query}")).await;
        assert_eq!(page.header.count, page.entries.len() as u64);
        page.entries.iter().map(|entry| entry.id).collect()
    }

    #[tokio::test]
    async fn an_export_is_about_whatever_is_asked_for_together() {
        let node = node().await;
        let alice = SigningKey::from_seed([8; 32]).fingerprint();
        for (query, expected) in [
            (String::new(), vec![1, 2, 3, 4, 5]),
            ("scope=all&after=3".to_owned(), vec![4, 5]),
            ("scope=keys".to_owned(), vec![2, 3]),
            ("scope=federation".to_owned(), vec![1]),
            ("scope=claims".to_owned(), vec![]),
            ("scope=keys&after=2".to_owned(), vec![3]),
            (format!("fingerprint={alice}"), vec![2]),
            (format!("fingerprint={alice}&scope=keys"), vec![2]),
            (format!("fingerprint={alice}&scope=federation"), vec![]),
            ("end_date=2026-01-15".to_owned(), vec![1, 2, 3, 4]),
            (
                "start_date=2026-01-15T13:00:00Z&end_date=2026-01-15T14:00:00Z".to_owned(),
                vec![2, 3],
            ),
            ("scope=keys&start_date=2026-01-15T13:30:00Z".to_owned(), vec![3]),
            ("page_size=2&page=2".to_owned(), vec![3, 4]),
        ] {
            assert_eq!(ids(&node, &query).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn who_follows_the_links_sees_every_entry_once() {
        let node = TestNode::with_entries(12).await;
        let (mut url, mut seen) = (format!("{URL}?page_size=5&scope=all"), Vec::new());
        loop {
            let page: ExportPage = node.get(&url).await;
            seen.extend(page.entries.iter().map(|entry| entry.id));
            assert_eq!(page.header.total, 12);
            let Some(next) = page.header.next else { break };
            url = next;
        }
        assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
        let response = node.request(&format!("{URL}?format=csv&page_size=5"), &[]).await;
        let link = response.headers()[LINK].to_str().unwrap();
        assert_eq!(link, format!("<{URL}?format=csv&page_size=5&page=2>; rel=\"next\""));
    }

    #[test]
    fn links_lead_on_where_pages_end() {
        let params = Params::default();
        let found = |count, more_after| Found { ids: (1..=count).collect(), more_after };
        let next = |found: Found, page, per_page| found.next(Paging { page, per_page }, &params);
        let url = |query: &str| Some(format!("{URL}?{query}"));
        assert_eq!(next(found(10, None), 1, 5), url("page=2"));
        assert_eq!(next(found(10, None), 2, 5), None);
        assert_eq!(next(found(10, Some(77)), 2, 5), url("after=77&page=1"));
        assert_eq!(next(found(10_000, None), 33, 300), url("after=9900&page=1"), "300 do not fit");
        assert_eq!(next(found(10_000, Some(10_000)), 10, 1000), url("after=10000&page=1"));
        let span = |after, upto| Span { after, upto, order: Order::Ascending };
        let some = everything(span(5, 20_000));
        assert_eq!((some.ids.len(), some.ids[0], some.has_more), (MAX_FOUND, 6, true));
        assert!(everything(span(9, 5)).ids.is_empty() && !everything(span(9, 5)).has_more);
        assert!(everything(span(u64::MAX, 5)).ids.is_empty());
    }

    #[tokio::test]
    async fn a_file_with_proofs_verifies_by_itself() {
        let node = TestNode::with_entries(600).await;
        for query in ["format=json", "format=ndjson", "format=ndjson&after=250&page_size=1000"] {
            let url = format!("{URL}?proofs=true&{query}");
            let response = node.request(&url, &[]).await;
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=1");
            let file = node.body(response).await;
            let proven = verify(&file, &Expected::default()).unwrap();
            assert_eq!(proven.tree, node.tree_at(600));
            assert!(proven.is_gapless && proven.entries >= 100, "{url}");
        }
    }

    #[tokio::test]
    async fn a_table_holds_every_entry_as_it_was_logged() {
        let node = node().await;
        for (query, guard) in [("format=csv", Guard::On), ("format=csv&raw=true", Guard::Off)] {
            let response = node.request(&format!("{URL}?{query}"), &[]).await;
            let headers = response.headers().clone();
            let disposition = headers[CONTENT_DISPOSITION].to_str().unwrap();
            assert_eq!(disposition, "attachment; filename=\"audit-all-1.csv\"");
            assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/csv"));
            let table = String::from_utf8(node.body(response).await).unwrap();
            let leaves = csv::leaves(&table, guard).unwrap();
            for (leaf, id) in leaves.iter().zip(1..) {
                assert_eq!(leaf.bytes(), node.leaf(id).bytes());
            }
            assert_eq!(leaves.len(), 5);
        }
    }

    #[tokio::test]
    async fn damaged_entries_are_not_exported() {
        let node = TestNode::with_entries(5).await;
        node.damage_entry(3).await;
        assert_eq!(node.refusal(URL).await, Code::EntryCorrupt);
        assert_eq!(ids(&node, "after=3").await, [4, 5]);
    }

    #[tokio::test]
    async fn an_export_of_what_cannot_be_is_refused() {
        let node = TestNode::with_entries(2).await;
        for (query, code, name) in [
            ("format=xml", Code::ValidationFailed, "format"),
            ("scope=everything", Code::ValidationFailed, "scope"),
            ("fingerprint=abc", Code::ValidationFailed, "fingerprint"),
            ("document_hash=abc", Code::ValidationFailed, "document_hash"),
            ("start_date=2026-02-02&end_date=2026-02-01", Code::ValidationFailed, "start_date"),
            ("page=0", Code::ValidationFailed, "page"),
            ("page_size=0", Code::ValidationFailed, "page_size"),
            ("page_size=1001", Code::ValidationFailed, "page_size"),
            ("page=101", Code::PageTooDeep, "page"),
            ("page=11&page_size=1000", Code::PageTooDeep, "page"),
            ("after=9007199254740992", Code::ValidationFailed, "after"),
            ("format=csv&proofs=true", Code::ValidationFailed, "proofs"),
            ("raw=true", Code::ValidationFailed, "raw"),
            ("scope=%00", Code::NulCharacter, "scope"),
        ] {
            let response = node.request(&format!("{URL}?{query}"), &[]).await;
            let body: serde_json::Value =
                serde_json::from_slice(&node.body(response).await).unwrap();
            assert_eq!(body["error"]["code"], code.as_str(), "{query}");
            assert_eq!(body["errors"][0]["pointer"], name, "{query}");
        }
        assert!(ids(&node, "page=100").await.is_empty());
    }
}
