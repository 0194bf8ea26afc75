//! Batches of entries for followers.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};

use super::answer::accepts;
use super::coding::{Coding, FOR_BATCHES};
use super::proofs::consistency_proof;
use super::query::Params;
use super::reads::Reads;
use super::turns::Kind;
use crate::batch::{BatchHeader, ENTRY_BUDGET, Encoding, MAX_ENTRIES, encode};
use crate::leaf::Leaf;
use crate::merkle::TreeSize;
use crate::server::problem::Problem;
use crate::store::StoreError;
use crate::wire::log::ReplicationBatch;

/// Entries in order, the newest head and the proof that leads from one to the other.
///
/// At most 8 MiB before compression, so perhaps fewer entries than asked for. Compressed with zstd
/// or gzip for those who take it.
#[utoipa::path(
    get,
    path = "/api/v1/log/replicate",
    tag = "log",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("after" = Option<u64>, Query, description = "The id after which to begin, by default 0"),
        ("limit" = Option<u64>, Query, maximum = 10000, description = "From 1 to 10,000, by default 100"),
    ),
    responses(
        (status = 200, description = "The batch", content(
            (ReplicationBatch = "application/json"),
            (Vec<u8> = "application/vnd.diogenes.batch"),
        )),
    )
)]
pub(super) async fn replicate(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = reads.snapshot()?;
    let size = snapshot.size();
    let after = params.number("after", 0..=size.get())?.unwrap_or(0);
    let limit = params.number("limit", 1..=MAX_ENTRIES as u64)?.unwrap_or(100);
    let binary = accepts(&headers, Encoding::Binary.media_type());
    let encoding = if binary { Encoding::Binary } else { Encoding::Json };
    // Only while it is made: what waits to be taken is bounded for all answers together, so that
    // nobody holds a turn by not reading.
    let _turn = reads.turn(Kind::Batch).await?;

    let upto = after.saturating_add(limit).min(size.get());
    let mut leaves = reads.store().leaves(after, upto, ENTRY_BUDGET as u64).await?;
    leaves.truncate(fitting(&leaves, encoding));
    check_ids(&leaves, after, upto)?;
    let next_after = after + leaves.len() as u64;
    let from = TreeSize::new(next_after).unwrap_or_default();
    let header = BatchHeader {
        after,
        consistency_proof: consistency_proof(reads.store(), &snapshot, from, size).await?,
        has_more: next_after < size.get(),
        next_after,
        tree_head: serde_json::from_str(&snapshot.head_text).map_err(|error| {
            tracing::error!(%error, "the published head is not the JSON of a head");
            Problem::internal()
        })?,
    };
    let coding = Coding::wanted(&headers, FOR_BATCHES);
    let length = leaves.iter().map(Vec::len).sum();
    let bytes = if coding == Coding::Identity {
        // A few milliseconds at most, and the memory comes back to the thread that it was given to.
        encode(&header, &leaves, encoding)
    } else {
        let encode = move || coding.encode(encode(&header, &leaves, encoding));
        reads.beside(length, encode).await??
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(coding) = coding.header() {
        headers.insert(CONTENT_ENCODING, coding);
    }
    Ok(response)
}

/// How many of the leaves fit into one answer; the first always does.
fn fitting(leaves: &[Vec<u8>], encoding: Encoding) -> usize {
    let mut room = ENTRY_BUDGET;
    let fits =
        leaves.iter().take_while(|leaf| match room.checked_sub(encoding.entry_len(leaf.len())) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        });
    fits.count()
}

/// The store compared every leaf with its hash; that none is missing shows in the last one's id.
pub(super) fn check_ids(leaves: &[Vec<u8>], after: u64, upto: u64) -> Result<(), StoreError> {
    let damaged = StoreError::Corrupt { id: after + leaves.len().max(1) as u64 };
    match leaves.last() {
        None if after == upto => Ok(()),
        None => Err(damaged),
        Some(last) => match Leaf::parse(last.as_slice()) {
            Ok(leaf) if leaf.id() == after + leaves.len() as u64 => Ok(()),
            _ => Err(damaged),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{ACCEPT, ACCEPT_ENCODING};

    use super::*;
    use crate::batch::{Batch, decode};
    use crate::merkle::verify_consistency;
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    async fn batch(node: &TestNode, query: &str, encoding: Encoding) -> Batch {
        let accept = [(ACCEPT, encoding.media_type())];
        let response = node.request(&format!("/api/v1/log/replicate?{query}"), &accept).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], encoding.media_type());
        decode(&node.body(response).await, encoding).unwrap()
    }

    #[tokio::test]
    async fn both_encodings_give_the_same_verifiable_batch() {
        let node = TestNode::with_entries(300).await;
        let binary = batch(&node, "after=10&limit=200", Encoding::Binary).await;
        assert_eq!(binary, batch(&node, "after=10&limit=200", Encoding::Json).await);
        assert_eq!((binary.header.after, binary.header.next_after), (10, 210));
        assert!(binary.header.has_more);
        assert_eq!(binary.leaves[0], node.leaf(11).bytes());
        assert_eq!(binary.leaves.len(), 200);
        let (old, new) = (node.tree_at(210), node.tree_at(300));
        assert_eq!(verify_consistency(&old, &new, &binary.header.consistency_proof), Ok(()));
    }

    #[tokio::test]
    async fn who_takes_a_coding_gets_the_same_batch_in_it() {
        let node = TestNode::with_entries(100).await;
        let url = "/api/v1/log/replicate";
        let plain = node.body(node.request(url, &[]).await).await;
        let coded = node.request(url, &[(ACCEPT_ENCODING, "gzip, zstd")]).await;
        assert_eq!(coded.headers()[CONTENT_ENCODING], "zstd");
        let coded = node.body(coded).await;
        assert!(coded.len() < plain.len() / 3);
        assert_eq!(zstd::bulk::decompress(&coded, plain.len()).unwrap(), plain);
    }

    #[tokio::test]
    async fn the_last_batch_ends_at_the_head() {
        let node = TestNode::with_entries(120).await;
        let last = batch(&node, "after=100", Encoding::Json).await;
        assert_eq!((last.leaves.len(), last.header.has_more), (20, false));
        assert!(last.header.consistency_proof.is_empty());
        let empty = batch(&node, "after=120", Encoding::Json).await;
        assert_eq!((empty.leaves.len(), empty.header.next_after), (0, 120));
        let first = batch(&node, "", Encoding::Json).await;
        assert_eq!((first.leaves.len(), first.header.has_more), (100, true));
    }

    #[tokio::test]
    async fn what_lies_beyond_the_head_cannot_be_asked_for() {
        let node = TestNode::with_entries(5).await;
        for query in ["after=6", "after=-1", "limit=0", "limit=10001", "limit=x"] {
            let code = node.refusal(&format!("/api/v1/log/replicate?{query}")).await;
            assert_eq!(code, Code::ValidationFailed, "{query}");
        }
    }

    #[test]
    fn entries_stop_where_the_answer_is_full() {
        let leaf = vec![b'x'; ENTRY_BUDGET / 4];
        let leaves = vec![leaf; 6];
        assert_eq!(fitting(&leaves, Encoding::Binary), 3);
        assert_eq!(fitting(&[], Encoding::Json), 0);
    }
}
