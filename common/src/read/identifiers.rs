//! The types of external identifiers that the log knows.

use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, text_json};
use crate::merkle::Hash;
use crate::wire::identifiers::IdentifierTypes;

/// The types of identifiers that endorsements may name, with an example of each.
#[utoipa::path(
    get,
    path = "/api/v1/identifier-types",
    tag = "endorsements",
    responses(
        (status = 200, description = "Every type; only a new version of the software changes it", body = IdentifierTypes, headers(("ETag"))),
    )
)]
pub(super) async fn types(headers: HeaderMap) -> Response {
    let body = serde_json::to_vec(&IdentifierTypes::known()).expect("texts alone are serialised");
    let tag = Hash::of(&body).to_hex();
    text_json(body, Freshness::Daily(tag), &headers)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};

    use super::*;
    use crate::identifiers::IdentifierType;
    use crate::read::testing::TestNode;

    #[tokio::test]
    async fn every_type_is_listed_with_an_example_that_is_one() {
        let node = TestNode::with_entries(1).await;

        let list: IdentifierTypes = node.get("/api/v1/identifier-types").await;

        let kinds: Vec<IdentifierType> = list.identifier_types.iter().map(|row| row.kind).collect();
        assert_eq!(kinds, IdentifierType::ALL);
        for row in &list.identifier_types {
            assert_eq!(row.kind.check(&row.example), Ok(()));
            assert!(!row.label.is_empty());
        }
    }

    #[tokio::test]
    async fn the_list_is_kept_for_a_day_and_then_only_asked_after() {
        let node = TestNode::with_entries(1).await;

        let first = node.request("/api/v1/identifier-types", &[]).await;

        assert_eq!(first.headers()[CACHE_CONTROL], "public, max-age=86400");
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = node.request("/api/v1/identifier-types", &[(IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}
