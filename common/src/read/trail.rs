//! What the log holds about a key, a document or a time.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, linked, text_json};
use super::entries::{Found, all_of, page_json, page_of};
use super::query::{Paging, Params};
use super::reads::Reads;
use super::turns::Kind;
use super::when::Period;
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::server::body::Path;
use crate::server::problem::Problem;
use crate::store::{Referent, Span, Store};
use crate::wire::log::LogPage;

/// The entries that refer to a key.
#[utoipa::path(
    get,
    path = "/api/v1/log/by-fingerprint/{fingerprint}",
    tag = "log",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc`"),
        ("after" = Option<u64>, Query, description = "Only entries after this id"),
    ),
    responses(
        (status = 200, description = "The page, empty if no entry refers to the key; `Link` names the next one", body = LogPage),
        (status = 422, description = "A parameter does not fit, or the page has more than 16 MiB"),
    )
)]
pub(super) async fn by_fingerprint(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let fingerprint = read_fingerprint(&fingerprint)?;
    let span = params.span(reads.snapshot()?.size().get())?;
    let paging = params.long_paging()?;
    paging.not_too_deep()?;
    let store = reads.store();
    let matches = store.referring(&Referent::key(&fingerprint), span).await?;
    let _turn = reads.turn(Kind::Page).await?;
    let found = page_of(store, matches, paging).await?;
    let next = paging.next(found.total, true);
    let body = page_json(&reads, found, paging).await?;
    let path = format!("/api/v1/log/by-fingerprint/{fingerprint}");
    let next = next.map(|page| format!("{path}?{}", params.with_page(page)));
    Ok(linked(text_json(body, Freshness::Brief, &headers), next))
}

/// The entries about a key, a document and a time: all that is asked for must hold.
#[utoipa::path(
    get,
    path = "/api/v1/log/audit-trail",
    tag = "log",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("fingerprint" = Option<String>, Query, description = "Only entries that refer to this key, `sha256:` and 64 hex digits"),
        ("document_hash" = Option<String>, Query, description = "Only entries about the document with this content or manifest hash, 64 hex digits with or without `sha256:`"),
        ("start_date" = Option<String>, Query, description = "Only entries from this instant (RFC 3339) or the beginning of this day (`2026-01-15`, in UTC) on"),
        ("end_date" = Option<String>, Query, description = "Only entries up to this instant, or the end of this day, included"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, description = "From 1 to 200, by default 50"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc`"),
        ("after" = Option<u64>, Query, description = "Only entries after this id"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = LogPage),
        (status = 422, description = "No filter is given, one cannot be read, or the page has more than 16 MiB"),
    )
)]
pub(super) async fn audit_trail(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filters = Filters::of(&params)?;
    let span = params.span(reads.snapshot()?.size().get())?;
    let paging = params.paging()?;
    let is_filtered = filters.referents().next().is_some();
    if is_filtered {
        paging.not_too_deep()?;
    }
    let store = reads.store();
    let _turn = reads.turn(Kind::Page).await?;
    let found = filters.page(store, span, paging).await?;
    let next = paging.next(found.total, is_filtered);
    let body = page_json(&reads, found, paging).await?;
    let next = next.map(|page| format!("/api/v1/log/audit-trail?{}", params.with_page(page)));
    Ok(linked(text_json(body, Freshness::Brief, &headers), next))
}

/// What an audit trail is about: at least one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filters {
    document: Option<Referent>,
    key: Option<Referent>,
    period: Period,
}

impl Filters {
    fn of(params: &Params) -> Result<Self, Problem> {
        let key = params.text("fingerprint")?.map(read_fingerprint).transpose()?;
        let document = params.text("document_hash")?.map(read_document_hash).transpose()?;
        let filters = Self {
            document: document.as_ref().map(Referent::document),
            key: key.as_ref().map(Referent::key),
            period: Period::of(params)?,
        };
        if filters.referents().next().is_none() && !filters.period.is_bounded() {
            let names = ["fingerprint", "document_hash", "start_date", "end_date"];
            let detail = format!("give at least one of {}", names.join(", "));
            return Err(Problem::invalid("fingerprint", detail));
        }
        Ok(filters)
    }

    /// The rarer ones first.
    fn referents(&self) -> impl Iterator<Item = &Referent> {
        self.document.iter().chain(&self.key)
    }

    async fn page(&self, store: &Store, span: Span, paging: Paging) -> Result<Found, Problem> {
        let span = self.period.within(store, span).await?;
        let matches = match (&self.document, &self.key) {
            (None, None) => return Ok(all_of(store, span, paging).await?),
            (Some(one), None) | (None, Some(one)) => store.referring(one, span).await?,
            (Some(document), Some(key)) => store.referring_to_both(document, key, span).await?,
        };
        page_of(store, matches, paging).await
    }
}

pub(super) fn read_fingerprint(text: &str) -> Result<Fingerprint, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("fingerprint", "a key is named by `sha256:` and 64 lower-case hex digits")
    })
}

/// A hash as people have it: with or without its prefix, in letters of either case.
pub(super) fn read_document_hash(text: &str) -> Result<Hash, Problem> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    format!("sha256:{digits}").parse().map_err(|_| {
        let detail = "a document is named by the 64 hex digits of its content or manifest hash";
        Problem::invalid("document_hash", detail)
    })
}

#[cfg(test)]
mod tests {
    use http::header::LINK;

    use super::*;
    use crate::keys::SigningKey;
    use crate::read::testing::{TestEvent, TestNode};
    use crate::server::problem::Code;

    const DOCUMENT: &str =
        "sha256:abababababababababababababababababababababababababababababababab";
    const HOUR: i64 = 3_600_000;

    fn ids(page: &LogPage) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.id).collect()
    }

    fn fingerprint(seed: u8) -> Fingerprint {
        SigningKey::from_seed([seed; 32]).fingerprint()
    }

    /// Two keys and a document, one entry an hour: the genesis at noon, entry 2 at one.
    async fn node() -> TestNode {
        let event = || TestEvent::new("x-test:event", b"{}".to_vec());
        let node = TestNode::with_events(vec![
            TestEvent::registration(8, "Alice", None).after_noon(HOUR),
            TestEvent::registration(9, "Bob", None).after_noon(2 * HOUR),
            event().after_noon(3 * HOUR),
            event().after_noon(13 * HOUR),
            event().after_noon(13 * HOUR),
        ])
        .await;
        for id in [4, 5, 6] {
            node.refer("document", DOCUMENT, id).await;
        }
        for id in [5, 6] {
            node.refer("fingerprint", &fingerprint(8).to_string(), id).await;
        }
        node
    }

    #[tokio::test]
    async fn a_keys_entries_are_listed_in_order_and_in_pages() {
        let node = node().await;
        let url = format!("/api/v1/log/by-fingerprint/{}", fingerprint(8));
        let page: LogPage = node.get(&url).await;
        assert_eq!((ids(&page), page.page, page.per_page), (vec![2, 5, 6], 1, 1000));
        assert_eq!((page.total, page.total_capped), (3, false));
        let page: LogPage = node.get(&format!("{url}?after=2&order=desc")).await;
        assert_eq!(ids(&page), [6, 5]);

        let first = node.request(&format!("{url}?per_page=2"), &[]).await;
        let link = first.headers()[LINK].to_str().unwrap();
        assert_eq!(link, format!("<{url}?per_page=2&page=2>; rel=\"next\""));
        let last: LogPage = node.get(&format!("{url}?per_page=2&page=2")).await;
        assert_eq!((ids(&last), last.total), (vec![6], 3));
    }

    #[tokio::test]
    async fn a_key_that_nothing_refers_to_has_an_empty_list_and_what_is_no_key_is_refused() {
        let node = node().await;
        let page: LogPage =
            node.get(&format!("/api/v1/log/by-fingerprint/{}", fingerprint(99))).await;
        assert_eq!((ids(&page), page.total), (vec![], 0));
        for bad in ["abc", "sha256:ab", &fingerprint(8).to_string()[7..]] {
            let code = node.refusal(&format!("/api/v1/log/by-fingerprint/{bad}")).await;
            assert_eq!(code, Code::ValidationFailed, "{bad}");
        }
        let deep = format!("/api/v1/log/by-fingerprint/{}?page=11", fingerprint(8));
        assert_eq!(node.refusal(&deep).await, Code::PageTooDeep);
    }

    #[tokio::test]
    async fn an_audit_trail_is_about_whatever_is_asked_for_together() {
        let node = node().await;
        let alice = format!("fingerprint={}", fingerprint(8));
        let document = format!("document_hash={DOCUMENT}");
        for (query, expected) in [
            (alice.clone(), vec![2, 5, 6]),
            (document.clone(), vec![4, 5, 6]),
            (format!("document_hash={}", DOCUMENT[7..].to_uppercase()), vec![4, 5, 6]),
            (format!("{alice}&{document}"), vec![5, 6]),
            (format!("{alice}&{document}&order=desc"), vec![6, 5]),
            (format!("{alice}&{document}&after=5"), vec![6]),
            (format!("{document}&end_date=2026-01-15"), vec![4]),
            (format!("{alice}&{document}&end_date=2026-01-15"), vec![]),
            (format!("fingerprint={}&{document}", fingerprint(9)), vec![]),
        ] {
            let page: LogPage = node.get(&format!("/api/v1/log/audit-trail?{query}")).await;
            assert_eq!(
                (ids(&page), page.total),
                (expected.clone(), expected.len() as u64),
                "{query}"
            );
        }
    }

    #[tokio::test]
    async fn dates_are_inclusive_and_days_are_whole() {
        let node = node().await;
        for (query, expected) in [
            ("start_date=2026-01-15", vec![1, 2, 3, 4, 5, 6]),
            ("end_date=2026-01-15", vec![1, 2, 3, 4]),
            ("start_date=2026-01-16", vec![5, 6]),
            ("start_date=2026-01-15T13:00:00Z&end_date=2026-01-15T15:00:00Z", vec![2, 3, 4]),
            ("start_date=2026-01-15T15:00:00+02:00&end_date=2026-01-15T14:00:00Z", vec![2, 3]),
            ("start_date=2026-01-15T13:00:00.001Z&end_date=2026-01-15T14:59:59.999Z", vec![3]),
            ("end_date=2026-01-14", vec![]),
            ("start_date=2026-01-17", vec![]),
            ("start_date=2026-01-15T13:30:00Z&end_date=2026-01-15T13:30:00Z", vec![]),
            ("start_date=2026-01-15&per_page=2&page=3", vec![5, 6]),
            ("end_date=2026-01-15&order=desc&per_page=3", vec![4, 3, 2]),
            ("start_date=2026-01-15&after=4", vec![5, 6]),
        ] {
            let page: LogPage = node.get(&format!("/api/v1/log/audit-trail?{query}")).await;
            assert_eq!(ids(&page), expected, "{query}");
            assert!(!page.total_capped);
        }
        let page: LogPage =
            node.get("/api/v1/log/audit-trail?start_date=2026-01-15&per_page=2&page=3").await;
        assert_eq!(page.total, 6);
        assert!(
            node.get::<LogPage>("/api/v1/log/audit-trail?end_date=2026-01-15&page=900")
                .await
                .entries
                .is_empty()
        );
    }

    #[tokio::test]
    async fn an_audit_trail_of_nothing_or_of_what_cannot_be_is_refused() {
        let node = node().await;
        for (query, code) in [
            (String::new(), Code::ValidationFailed),
            ("page=1".to_owned(), Code::ValidationFailed),
            ("fingerprint=abc".to_owned(), Code::ValidationFailed),
            ("document_hash=abc".to_owned(), Code::ValidationFailed),
            ("start_date=yesterday".to_owned(), Code::ValidationFailed),
            ("start_date=2026-01-16&end_date=2026-01-15".to_owned(), Code::ValidationFailed),
            ("end_date=2026-01-15&per_page=201".to_owned(), Code::ValidationFailed),
            (format!("document_hash={DOCUMENT}&per_page=200&page=51"), Code::PageTooDeep),
        ] {
            let url = format!("/api/v1/log/audit-trail?{query}");
            assert_eq!(node.refusal(&url).await, code, "{query}");
        }
    }
}
