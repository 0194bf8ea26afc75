//! Registered keys.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json};
use super::reads::Reads;
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::view::KeyRow;
use crate::wire::keys::{KeyRecord, KeyStatus};
use crate::wire::problem::ProblemBody;

/// What the log says about a key.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{fingerprint}",
    tag = "keys",
    params(("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits")),
    responses(
        (status = 200, description = "The key", body = KeyRecord),
        (status = 404, description = "No such key", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn record(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (key, as_of) = find(&reads, &fingerprint).await?;
    Ok(json(&KeyRecord::at(key, as_of), Freshness::Brief, &headers))
}

/// Whether a key counts.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{fingerprint}/status",
    tag = "keys",
    params(("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits")),
    responses(
        (status = 200, description = "Its status", body = KeyStatus),
        (status = 404, description = "No such key", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (key, as_of) = find(&reads, &fingerprint).await?;
    Ok(json(&KeyStatus::at(&key, as_of), Freshness::Brief, &headers))
}

async fn find(reads: &Reads, fingerprint: &str) -> Result<(KeyRow, Timestamp), Problem> {
    let snapshot = reads.snapshot()?;
    let fingerprint: Fingerprint = fingerprint.parse().map_err(|_| {
        Problem::new(Code::NotFound, "a key is named by `sha256:` and 64 lower-case hex digits")
    })?;
    let key = reads.store().key(&fingerprint).await?;
    // A registration above the served head is not shown yet.
    let key = key.filter(|key| key.entry_id <= snapshot.size().get());
    let key = key.ok_or_else(|| {
        Problem::new(Code::NotFound, "no key with this fingerprint is registered")
    })?;
    Ok((key, snapshot.head.head().timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::read::testing::TestNode;
    use crate::wire::keys::KeyState;

    #[tokio::test]
    async fn a_registered_key_is_found_and_another_is_not() {
        let node = TestNode::with_entries(2).await;
        let operator = SigningKey::from_seed([7; 32]).fingerprint();
        let record: KeyRecord = node.get(&format!("/api/v1/keys/{operator}")).await;
        assert_eq!((record.fingerprint, record.log_entry_id), (operator, 1));
        assert_eq!(record.pseudonym, "log.example/test");
        let status: KeyStatus = node.get(&format!("/api/v1/keys/{operator}/status")).await;
        assert_eq!((status.status, status.expires_at), (KeyState::Active, None));
        let other = SigningKey::from_seed([8; 32]).fingerprint();
        for name in [other.to_string(), "abc".to_owned()] {
            assert_eq!(node.refusal(&format!("/api/v1/keys/{name}")).await, Code::NotFound);
        }
    }
}
