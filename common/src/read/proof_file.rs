//! Proof files: an entry's place in the log, for verifiers without a network (C2SP tlog-proof).

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::answer::{Freshness, cached};
use super::entries::numbered;
use super::proofs::inclusion_proof;
use super::reads::Reads;
use crate::merkle::TreeSize;
use crate::note::Note;
use crate::proof::TlogProof;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};

/// When the next checkpoint may be there.
const SOON: Duration = Duration::from_secs(1);

/// The proof that an entry is in the log, under the newest published checkpoint.
#[utoipa::path(
    get,
    path = "/api/v1/log/{entry_id}/proof",
    tag = "log",
    extensions(("x-problems" = json!(["not_published"]))),
    params(("entry_id" = u64, Path, description = "The number of the entry, from 1")),
    responses(
        (status = 200, description = "A `.tlog-proof`: index, hashes and the cosigned checkpoint (C2SP tlog-proof)", body = String, content_type = "text/plain"),
        (status = 404, description = "No such entry"),
        (status = 503, description = "`not_published`: no published checkpoint covers the entry yet"),
    )
)]
pub(super) async fn proof(
    State(reads): State<Reads>,
    Path(entry_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (tree, checkpoint) = reads.checkpoint()?;
    let snapshot = reads.snapshot()?;
    let id = numbered(&entry_id, snapshot.size())?;
    if id > tree.size.get() {
        let detail = format!("entry {id} is not under the published checkpoint of {}", tree.size);
        return Err(Problem::new(Code::NotPublished, detail).retry_after(SOON));
    }
    let found = inclusion_proof(reads.store(), &snapshot, id, tree.size).await?;
    let file = Note::parse(checkpoint.as_bytes())
        .map_err(|error| error.to_string())
        .and_then(|note| {
            let index = TreeSize::new(id - 1).unwrap_or_default();
            TlogProof::new(index, found.hashes, note).map_err(|error| error.to_string())
        })
        .map_err(|error| {
            tracing::error!(error, "the published checkpoint is no signed note");
            Problem::internal()
        })?;
    let mut response = Response::new(Body::from(file.to_string()));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(cached(response, Freshness::Brief, &headers))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;

    use super::*;
    use crate::checkpoint::{Checkpoint, sign_checkpoint};
    use crate::keys::SigningKey;
    use crate::merkle::Hash;
    use crate::note::{KeyKind, KeyName, Vkey};
    use crate::policy::Policy;
    use crate::read::testing::TestNode;
    use crate::read::{CheckpointChoice, CosignedCheckpoint};

    const ORIGIN: &str = "log.example/test";

    fn policy() -> Policy {
        let name: KeyName = ORIGIN.parse().unwrap();
        let key = SigningKey::from_seed([7; 32]);
        let vkey = Vkey::new(name, KeyKind::Ed25519, key.public().clone());
        Policy::parse(format!("log {vkey}\nquorum none\n").as_bytes()).unwrap()
    }

    async fn file(node: &TestNode, id: u64) -> TlogProof {
        let response = node.request(&format!("/api/v1/log/{id}/proof"), &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        TlogProof::parse(&node.body(response).await).unwrap()
    }

    #[tokio::test]
    async fn every_entry_has_a_proof_file_that_verifies_offline() {
        let node = TestNode::with_entries(300).await;
        for id in [1, 2, 128, 256, 257, 300] {
            let proof = file(&node, id).await;
            assert_eq!(proof.index(), id - 1);
            let opened = proof.verify(&node.leaf(id).leaf_hash(), &policy()).unwrap();
            assert_eq!(opened.tree(), node.tree_at(300));
            assert!(proof.verify(&Hash::of(b"another"), &policy()).is_err());
        }
        for beyond in ["0", "301", "x", "-1", "1.5"] {
            let url = format!("/api/v1/log/{beyond}/proof");
            assert_eq!(node.refusal(&url).await, Code::NotFound, "{beyond}");
        }
    }

    #[tokio::test]
    async fn proofs_lead_to_the_published_checkpoint_and_wait_for_the_next() {
        let node = TestNode::with_entries(300).await;
        let tree = node.tree_at(290);
        let checkpoint = Checkpoint::new(ORIGIN, tree).unwrap();
        let name = ORIGIN.parse().unwrap();
        let text = sign_checkpoint(&checkpoint, &name, &SigningKey::from_seed([7; 32])).into();
        let cosigned = CosignedCheckpoint { tree, text };

        node.checkpoints().set(CheckpointChoice::Cosigned(Arc::new(cosigned)));

        let opened = file(&node, 290).await.verify(&node.leaf(290).leaf_hash(), &policy());
        assert_eq!(opened.unwrap().tree(), tree);
        assert_eq!(node.refusal("/api/v1/log/291/proof").await, Code::NotPublished);
    }
}
