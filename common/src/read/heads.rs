//! Signed tree heads.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, text_json};
use super::query::Params;
use super::reads::Reads;
use crate::head::HeadJson;
use crate::merkle::Hash;
use crate::server::problem::Problem;

/// The newest signed tree head, or the one that witnesses are to sign.
#[utoipa::path(
    get,
    path = "/api/v1/log/sth",
    tag = "log",
    params(("for" = Option<String>, Query, description = "`witness`: the head of the current witness round")),
    responses(
        (status = 200, description = "The head", body = HeadJson, headers(("ETag"))),
    )
)]
pub(super) async fn sth(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let head = match params.choice("for", &[("witness", ())])? {
        Some(()) => reads.round_head()?,
        None => reads.snapshot()?.head_text.clone(),
    };
    Ok(shown(&head, &headers))
}

/// The newest signed tree head.
#[utoipa::path(
    get,
    path = "/api/v1/log/tree-head",
    tag = "log",
    responses(
        (status = 200, description = "The head", body = HeadJson, headers(("ETag"))),
    )
)]
pub(super) async fn tree_head(
    State(reads): State<Reads>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(shown(&reads.snapshot()?.head_text, &headers))
}

fn shown(head: &Arc<str>, headers: &HeaderMap) -> Response {
    let tag = Hash::of(head.as_bytes()).to_hex();
    text_json(head.to_string(), Freshness::Newest(tag), headers)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{ETAG, IF_NONE_MATCH};

    use super::*;
    use crate::keys::SigningKey;
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    #[tokio::test]
    async fn the_head_verifies_and_is_the_same_everywhere() {
        let node = TestNode::with_entries(9).await;
        let head: HeadJson = node.get("/api/v1/log/sth").await;
        let key = SigningKey::from_seed([7; 32]);
        assert!(head.verify(key.public(), &head.origin).is_ok());
        assert_eq!(head.tree_size.get(), 9);
        assert_eq!(node.get::<HeadJson>("/api/v1/log/tree-head").await, head);
        assert_eq!(node.get::<HeadJson>("/api/v1/log/sth?for=witness").await, head);
        assert_eq!(node.refusal("/api/v1/log/sth?for=all").await, Code::ValidationFailed);
    }

    #[tokio::test]
    async fn who_polls_is_told_that_nothing_is_new() {
        let node = TestNode::with_entries(2).await;
        let first = node.request("/api/v1/log/sth", &[]).await;
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = node.request("/api/v1/log/sth", &[(IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}
