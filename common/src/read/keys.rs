//! Registered keys, alone and in lists.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json, linked};
use super::query::{DEEPEST_ROW, Paging, Params};
use super::reads::Reads;
use super::turns::Kind;
use super::when::AsOf;
use crate::event::text::Name;
use crate::keys::Fingerprint;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::store::{Order, Span, Store, StoreError, Window};
use crate::view::KeyRow;
use crate::wire::keys::{KeyList, KeyRecord, KeyStatus, KeySummary, is_asserted};

/// All registered keys.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
        ("order" = Option<String>, Query, description = "By first entry: `asc` (default) or `desc`"),
        ("after" = Option<u64>, Query, description = "Only keys that were first registered after this entry; the list ends at row 10,000 and goes on with it"),
        ("as_of" = Option<String>, Query, description = "The instant (RFC 3339) that `status` is about, not later than the served head, whose time is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = KeyList),
    )
)]
pub(super) async fn list(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = Asked::of(&reads, &params).await?;
    let (store, paging) = (reads.store(), asked.paging);
    let page = store.key_entries(asked.span, paging.offset(), paging.per_page).await?;
    let total = count(store, &asked).await?;
    let list = asked.list(store, &page, total).await?;
    let next = paging.next(list.total, true);
    let next = next.map(|page| format!("/api/v1/keys?{}", params.with_page(page)));
    Ok(linked(json(&list, Freshness::Brief, &headers), next))
}

/// The keys whose pseudonym contains a text.
#[utoipa::path(
    get,
    path = "/api/v1/keys/search",
    tag = "keys",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("pseudonym" = String, Query, description = "A part of the pseudonym, whatever its case; `%` and `_` are themselves"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
        ("order" = Option<String>, Query, description = "By first entry: `asc` (default) or `desc`"),
        ("after" = Option<u64>, Query, description = "Only keys that were first registered after this entry; the list ends at row 10,000 and goes on with it"),
        ("as_of" = Option<String>, Query, description = "The instant (RFC 3339) that `status` is about, not later than the served head, whose time is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = KeyList),
        (status = 422, description = "`pseudonym` is missing"),
        (status = 503, description = "Too many searches are running"),
    )
)]
pub(super) async fn search(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let part = params.bounded("pseudonym", Name::MAX_CHARS * 4)?;
    let part = part.ok_or_else(|| Problem::invalid("pseudonym", "`pseudonym` is missing"))?;
    let asked = Asked::of(&reads, &params).await?;
    let (store, paging) = (reads.store(), asked.paging);
    let matches = {
        let _turn = reads.turn(Kind::Search).await?;
        store.search_keys(part, asked.span).await?
    };
    let total = (matches.ids.len() as u64, matches.has_more);
    let list = asked.list(store, paging.rows(&matches.ids), total).await?;
    let next = paging.next(list.total, true);
    let next = next.map(|page| format!("/api/v1/keys/search?{}", params.with_page(page)));
    Ok(linked(json(&list, Freshness::Brief, &headers), next))
}

/// What the log says about a key.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{fingerprint}",
    tag = "keys",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("as_of" = Option<String>, Query, description = "The instant (RFC 3339) that `status` is about, not later than the served head, whose time is the default"),
    ),
    responses(
        (status = 200, description = "The key", body = KeyRecord),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn record(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_of = AsOf::of(&reads, &params).await?;
    Ok(json(&record_of(&reads, &fingerprint, as_of).await?, Freshness::Brief, &headers))
}

/// What the log said about a key at an instant.
pub(super) async fn record_of(
    reads: &Reads,
    fingerprint: &str,
    as_of: AsOf,
) -> Result<KeyRecord, Problem> {
    let key = find(reads.store(), fingerprint, as_of).await?;
    let predecessor = match &key.succeeds {
        Some(old) => reads.store().key(old).await?,
        None => None,
    };
    let none = Window { offset: 0, limit: 0 };
    let (_, alerts) = reads.store().alerts_of(&key.fingerprint, none).await?;
    let asserted = predecessor.as_ref().is_some_and(is_asserted);
    Ok(KeyRecord { alerts, ..KeyRecord::at(key, as_of.at, asserted) })
}

/// Whether a key counts.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{fingerprint}/status",
    tag = "keys",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("as_of" = Option<String>, Query, description = "The instant (RFC 3339) that `status` is about, not later than the served head, whose time is the default"),
    ),
    responses(
        (status = 200, description = "Its status", body = KeyStatus),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn status(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_of = AsOf::of(&reads, &params).await?;
    let key = find(reads.store(), &fingerprint, as_of).await?;
    Ok(json(&KeyStatus::at(&key, as_of.at), Freshness::Brief, &headers))
}

async fn find(store: &Store, fingerprint: &str, as_of: AsOf) -> Result<KeyRow, Problem> {
    let fingerprint: Fingerprint = fingerprint.parse().map_err(|_| {
        Problem::new(Code::NotFound, "a key is named by `sha256:` and 64 lower-case hex digits")
    })?;
    let key = store.key(&fingerprint).await?;
    key.and_then(|key| seen(key, as_of)).ok_or_else(|| {
        let detail = format!("no key with this fingerprint was registered as of {}", as_of.at);
        Problem::new(Code::NotFound, detail)
    })
}

/// A key without what came after an instant, as far as its row tells: name and expiry are those of
/// the registration that counts. A row above the served head is not shown at all.
fn seen(key: KeyRow, as_of: AsOf) -> Option<KeyRow> {
    let is_there = key.first_entry_id <= as_of.upto && key.entry_id <= as_of.size;
    // Only a registration that proved nothing is ever replaced.
    let was_replaced = as_of.upto < key.entry_id;
    is_there.then_some(KeyRow {
        ended: key.ended.filter(|end| end.entry_id <= as_of.upto),
        proven: key.proven && !was_replaced,
        succeeds: key.succeeds.filter(|_| !was_replaced),
        ..key
    })
}

/// Which page of which keys is asked for, as of when.
#[derive(Clone, Copy)]
struct Asked {
    as_of: AsOf,
    span: Span,
    paging: Paging,
}

impl Asked {
    async fn of(reads: &Reads, params: &Params) -> Result<Self, Problem> {
        let paging = params.long_paging()?;
        paging.keys_not_too_deep()?;
        let as_of = AsOf::of(reads, params).await?;
        Ok(Self { as_of, span: params.span(as_of.upto)?, paging })
    }

    /// The keys that these entries were the first to register.
    async fn list(
        self,
        store: &Store,
        page: &[u64],
        (total, total_capped): (u64, bool),
    ) -> Result<KeyList, StoreError> {
        let mut keys = store.keys_of_entries(page).await?;
        if self.span.order == Order::Descending {
            keys.reverse();
        }
        let keys = keys.into_iter().filter_map(|key| seen(key, self.as_of));
        Ok(KeyList {
            keys: keys.map(|key| KeySummary::at(key, self.as_of.at)).collect(),
            page: self.paging.page,
            per_page: self.paging.per_page,
            total,
            total_capped,
            as_of: self.as_of.at,
        })
    }
}

/// How many keys there are; those of a part of the log are counted as far as the list goes.
async fn count(store: &Store, asked: &Asked) -> Result<(u64, bool), StoreError> {
    let (span, size) = (asked.span, asked.as_of.size);
    if span.after == 0 && span.upto == size {
        let unseen = Span { after: size, upto: u64::MAX, ..span };
        let unseen = store.count_keys_within(unseen).await?;
        return Ok((store.count_keys().await?.saturating_sub(unseen), false));
    }
    let count = store.count_keys_within(span).await?;
    Ok((count.min(DEEPEST_ROW), count > DEEPEST_ROW))
}

#[cfg(test)]
mod tests {
    use http::header::LINK;

    use super::*;
    use crate::clock::Timestamp;
    use crate::keys::SigningKey;
    use crate::read::testing::{TestEvent, TestNode, noon};
    use crate::view::{Ended, Ending};
    use crate::wire::keys::KeyState;

    const HOUR: i64 = 3_600_000;

    fn fingerprint(seed: u8) -> Fingerprint {
        SigningKey::from_seed([seed; 32]).fingerprint()
    }

    fn after_noon(hours: i64) -> Timestamp {
        noon().plus_millis(hours * HOUR)
    }

    /// The operator's key from noon on, then one key an hour, the last of which expires at five.
    async fn node() -> TestNode {
        TestNode::with_events(vec![
            TestEvent::registration(8, "Alice Scholar", None).after_noon(HOUR),
            TestEvent::registration(9, "Straße 100%_sure", None).after_noon(2 * HOUR),
            TestEvent::new("x-test:event", b"{}".to_vec()).after_noon(2 * HOUR),
            TestEvent::registration(10, "alice again", Some(after_noon(5))).after_noon(3 * HOUR),
            TestEvent::new("x-test:event", b"{}".to_vec()).after_noon(6 * HOUR),
        ])
        .await
    }

    fn names(list: &KeyList) -> Vec<&str> {
        list.keys.iter().map(|key| key.pseudonym.as_str()).collect()
    }

    #[tokio::test]
    async fn a_registered_key_is_found_and_another_is_not() {
        let node = TestNode::with_entries(2).await;
        let operator = SigningKey::from_seed([7; 32]).fingerprint();
        let record: KeyRecord = node.get(&format!("/api/v1/keys/{operator}")).await;
        assert_eq!((record.fingerprint, record.log_entry_id), (operator, 1));
        assert_eq!(record.pseudonym, "log.example/test");
        assert_eq!((record.succeeded_by, record.revoked_at, record.ended_at), (None, None, None));
        assert!(record.proof_of_possession && !record.leader_asserted);
        let status: KeyStatus = node.get(&format!("/api/v1/keys/{operator}/status")).await;
        assert_eq!((status.status, status.expires_at), (KeyState::Active, None));
        for name in [fingerprint(8).to_string(), "abc".to_owned()] {
            assert_eq!(node.refusal(&format!("/api/v1/keys/{name}")).await, Code::NotFound);
        }
    }

    #[tokio::test]
    async fn keys_are_listed_in_the_order_of_the_log_and_in_pages() {
        let node = node().await;
        let list: KeyList = node.get("/api/v1/keys").await;
        let all = ["log.example/test", "Alice Scholar", "Straße 100%_sure", "alice again"];
        assert_eq!((names(&list), list.total, list.per_page), (all.to_vec(), 4, 1000));
        let ids: Vec<u64> = list.keys.iter().map(|key| key.first_entry_id).collect();
        assert_eq!((ids, list.as_of), (vec![1, 2, 3, 5], after_noon(6)));
        assert_eq!(list.keys[3].status, KeyState::Expired);
        assert_eq!(list.keys[1].registered_at, after_noon(1));

        let second: KeyList = node.get("/api/v1/keys?per_page=3&page=2").await;
        assert_eq!((names(&second), second.total), (vec!["alice again"], 4));
        let newest: KeyList = node.get("/api/v1/keys?per_page=2&order=desc").await;
        assert_eq!(names(&newest), ["alice again", "Straße 100%_sure"]);
        let rest: KeyList = node.get("/api/v1/keys?after=2").await;
        assert_eq!((names(&rest), rest.total, rest.total_capped), (all[2..].to_vec(), 2, false));
        let first = node.request("/api/v1/keys?per_page=3", &[]).await;
        let link = first.headers()[LINK].to_str().unwrap();
        assert_eq!(link, "</api/v1/keys?per_page=3&page=2>; rel=\"next\"");
    }

    #[tokio::test]
    async fn a_part_of_a_name_finds_its_keys_whatever_its_case() {
        let node = node().await;
        for (part, expected) in [
            ("ALICE", vec!["Alice Scholar", "alice again"]),
            ("e%20s", vec!["Alice Scholar"]),
            ("STRASSE", vec!["Straße 100%_sure"]),
            ("0%25_S", vec!["Straße 100%_sure"]),
            ("1%25", vec![]),
            ("_lice", vec![]),
            ("%5C", vec![]),
        ] {
            let url = format!("/api/v1/keys/search?pseudonym={part}");
            let list: KeyList = node.get(&url).await;
            assert_eq!(names(&list), expected, "{part}");
            assert_eq!(list.total, expected.len() as u64);
        }
        let list: KeyList = node.get("/api/v1/keys/search?pseudonym=alice&per_page=1&page=2").await;
        assert_eq!((names(&list), list.total), (vec!["alice again"], 2));
        let list: KeyList = node.get("/api/v1/keys/search?pseudonym=alice&order=desc").await;
        assert_eq!(names(&list), ["alice again", "Alice Scholar"]);
        let list: KeyList = node.get("/api/v1/keys/search?pseudonym=alice&after=2").await;
        assert_eq!(names(&list), ["alice again"]);
    }

    #[tokio::test]
    async fn an_earlier_instant_is_answered_as_it_was() {
        let node = node().await;
        let url = format!("/api/v1/keys/{}", fingerprint(10));
        let status: KeyStatus = node.get(&format!("{url}/status")).await;
        assert_eq!((status.status, status.as_of), (KeyState::Expired, after_noon(6)));
        for (as_of, expected) in [
            ("2026-01-15T15:00:00Z", KeyState::Active),
            ("2026-01-15T18:59:59.999%2B02:00", KeyState::Active),
            ("2026-01-15T17:00:00Z", KeyState::Expired),
        ] {
            let status: KeyStatus = node.get(&format!("{url}/status?as_of={as_of}")).await;
            assert_eq!(status.status, expected, "{as_of}");
            let record: KeyRecord = node.get(&format!("{url}?as_of={as_of}")).await;
            assert_eq!((record.status, record.as_of), (expected, status.as_of));
        }
        let before = format!("{url}?as_of=2026-01-15T14:59:59.999Z");
        assert_eq!(node.refusal(&before).await, Code::NotFound);
        let list: KeyList = node.get("/api/v1/keys?as_of=2026-01-15T14:00:00Z").await;
        assert_eq!((list.keys.len(), list.total), (3, 3));
        let list: KeyList =
            node.get("/api/v1/keys/search?pseudonym=alice&as_of=2026-01-15T14:00:00Z").await;
        assert_eq!(names(&list), ["Alice Scholar"]);
        let list: KeyList = node.get("/api/v1/keys?as_of=2020-01-01T00:00:00Z").await;
        assert_eq!((list.keys.len(), list.total), (0, 0));
    }

    #[tokio::test]
    async fn a_key_that_ended_says_how_when_and_on_whose_word() {
        let node = TestNode::with_events(vec![
            TestEvent::registration(8, "Alice", None),
            TestEvent::registration(9, "Bob", None),
            TestEvent::succession(8, 10).after_noon(HOUR),
            TestEvent::revocation(9).after_noon(2 * HOUR),
        ])
        .await;
        let url = |seed| format!("/api/v1/keys/{}", fingerprint(seed));

        let old: KeyRecord = node.get(&url(8)).await;
        assert_eq!((old.status, old.succeeded_by), (KeyState::Succeeded, Some(fingerprint(10))));
        assert_eq!((old.ended_at, old.revoked_at), (Some(after_noon(1)), None));
        assert_eq!((old.ended_entry_id, old.leader_asserted), (Some(4), true));
        let new: KeyRecord = node.get(&url(10)).await;
        assert_eq!((new.status, new.succeeds), (KeyState::Active, Some(fingerprint(8))));
        assert_eq!((new.pseudonym.as_str(), new.log_entry_id), ("Alice", 4));
        assert!(new.leader_asserted, "that it took the place");
        let revoked: KeyRecord = node.get(&url(9)).await;
        assert_eq!((revoked.status, revoked.ended_entry_id), (KeyState::Revoked, Some(5)));
        assert_eq!((revoked.revoked_at, revoked.succeeded_by), (Some(after_noon(2)), None));
        let status: KeyStatus = node.get(&format!("{}/status", url(9))).await;
        assert_eq!((status.status, status.leader_asserted), (KeyState::Revoked, true));

        let before = "as_of=2026-01-15T12:59:59.999Z";
        let living: KeyRecord = node.get(&format!("{}?{before}", url(8))).await;
        assert_eq!((living.status, living.succeeded_by), (KeyState::Active, None));
        assert_eq!((living.ended_at, living.leader_asserted), (None, false));
        assert_eq!(node.refusal(&format!("{}?{before}", url(10))).await, Code::NotFound);
        let in_list = async |query: &str| -> Vec<KeyState> {
            let list: KeyList = node.get(&format!("/api/v1/keys?{query}")).await;
            list.keys.iter().map(|key| key.status).collect()
        };
        assert_eq!(in_list(before).await, [KeyState::Active; 3]);
        let (active, gone) = (KeyState::Active, KeyState::Succeeded);
        assert_eq!(in_list("").await, [active, gone, KeyState::Revoked, active]);
        let list: KeyList = node.get("/api/v1/keys/search?pseudonym=alice").await;
        assert_eq!(names(&list), ["Alice", "Alice"]);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_for_is_refused() {
        let node = node().await;
        for (url, code) in [
            ("keys?per_page=1001", Code::ValidationFailed),
            ("keys?page=11", Code::PageTooDeep),
            ("keys/search", Code::ValidationFailed),
            ("keys/search?pseudonym=", Code::ValidationFailed),
            ("keys/search?pseudonym=a%00", Code::NulCharacter),
            ("keys/search?pseudonym=a&page=11", Code::PageTooDeep),
            ("keys?as_of=2026-01-15T18:00:00.001Z", Code::ValidationFailed),
            ("keys?as_of=2026-01-15", Code::ValidationFailed),
        ] {
            assert_eq!(node.refusal(&format!("/api/v1/{url}")).await, code, "{url}");
        }
        let long = format!("/api/v1/keys/search?pseudonym={}", "a".repeat(401));
        assert_eq!(node.refusal(&long).await, Code::ValidationFailed);
        let deep = node.request("/api/v1/keys?page=11", &[]).await;
        let text = String::from_utf8(node.body(deep).await).unwrap();
        assert!(text.contains("after=<first_entry_id"), "{text}");
    }

    #[tokio::test]
    async fn only_so_many_search_at_once() {
        let node = node().await;
        let others = node.reads().turns().all(Kind::Search).await.unwrap();
        let (keys, log) = tokio::join!(
            node.refusal("/api/v1/keys/search?pseudonym=a"),
            node.refusal("/api/v1/log?search=a")
        );
        assert_eq!((keys, log), (Code::Overloaded, Code::Overloaded));
        drop(others);
        let list: KeyList = node.get("/api/v1/keys/search?pseudonym=alice").await;
        assert_eq!(list.total, 2);
    }

    #[test]
    fn what_came_after_an_instant_is_not_seen() {
        let ended = Ended {
            how: Ending::Succeeded { by: fingerprint(2) },
            entry_id: 30,
            at: noon(),
            leader_asserted: true,
        };
        let key = KeyRow {
            fingerprint: fingerprint(1),
            public_key: String::new(),
            algorithm: "ed25519".to_owned(),
            pseudonym: "Alice".to_owned(),
            pseudonym_folded: "alice".to_owned(),
            registered_at: noon(),
            expires_at: None,
            entry_id: 20,
            proven: true,
            first_entry_id: 10,
            used_v1: false,
            succeeds: Some(fingerprint(3)),
            ended: Some(ended),
        };
        let at = |upto, size| seen(key.clone(), AsOf { at: noon(), upto, size });

        assert_eq!(at(9, 40), None, "registered later");
        let first = KeyRow { ended: None, proven: false, succeeds: None, ..key.clone() };
        assert_eq!(at(19, 40), Some(first), "as anybody may have registered it");
        let living = KeyRow { ended: None, ..key.clone() };
        assert_eq!(at(29, 29), Some(living), "even if it ends in the same millisecond");
        assert_eq!(at(30, 30), Some(key.clone()));
        assert_eq!(at(19, 19), None, "above the served head");
    }
}
