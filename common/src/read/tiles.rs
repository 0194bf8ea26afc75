//! The log as static resources: `/checkpoint`, tiles and entry bundles (C2SP tlog-tiles), and the
//! proof files beside them.
//!
//! Whatever a log of this size, or of any smaller one, may be asked for is answered: a partial
//! resource is the beginning of what is there now. Everything else is exactly 404, since clients
//! take the full resource only after that.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::Response;
use bytes::Bytes;
use http::Uri;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap,
    HeaderValue, VARY,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Freshness, cached};
use super::coding::{Coding, FOR_BUNDLES};
use super::proof_file;
use super::reads::{Node, Reads};
use super::replicate::check_ids;
use super::turns::Kind;
use crate::bundle::EntryBundle;
use crate::merkle::{BundlePath, Hash, TileId, TilePath};
use crate::server::problem::{Code, Problem};
use crate::store::StoreError;

/// For ever: what a path names never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The routes. Pages of any origin may read them.
pub(super) fn router<N: Node>() -> OpenApiRouter<N> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(bundle))
        .routes(routes!(tile))
        .routes(routes!(proof_file::proof))
        .layer(map_response(async |mut response: Response| {
            let any = HeaderValue::from_static("*");
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
            response
        }))
}

/// The newest checkpoint that is published, as a signed note with its cosignatures.
#[utoipa::path(
    get,
    path = "/checkpoint",
    tag = "tiles",
    responses(
        (status = 200, description = "The checkpoint (C2SP tlog-checkpoint)", body = String, content_type = "text/plain", headers(("ETag"))),
    )
)]
async fn checkpoint(State(reads): State<Reads>, headers: HeaderMap) -> Result<Response, Problem> {
    let (_, text) = reads.checkpoint()?;
    let tag = Hash::of(text.as_bytes()).to_hex();
    let mut response = Response::new(Body::from(Bytes::from_owner(Text(text))));
    let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text_plain);
    Ok(cached(response, Freshness::Revalidated(tag), &headers))
}

/// Hashes of one level of the tree: 256 of 32 bytes, or as many as `.p/<W>` says.
#[utoipa::path(
    get,
    path = "/tile/{level}/{*index}",
    tag = "tiles",
    params(
        ("level" = u8, Path, description = "0 for leaf hashes, up to 63"),
        ("index" = String, Path, description = "Groups of three digits, all but the last after an `x`; `.p/<W>` for a partial tile of W hashes"),
    ),
    responses(
        (status = 200, description = "The tile (C2SP tlog-tiles)", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No checkpoint so far implies this tile"),
    )
)]
async fn tile(State(reads): State<Reads>, uri: Uri) -> Result<Response, Problem> {
    let path: TilePath = named(&uri)?;
    let bytes = tile_bytes(&reads, path).await?;
    Ok(immutable(bytes.into()))
}

/// Entries in order, each as `u16 length || leaf`: 256, or as many as `.p/<W>` says.
///
/// Compressed with gzip for those who take it.
#[utoipa::path(
    get,
    path = "/tile/entries/{*index}",
    tag = "tiles",
    extensions(("x-problems" = json!(["overloaded"]))),
    params(
        ("index" = String, Path, description = "Groups of three digits, all but the last after an `x`; `.p/<W>` for a partial bundle of W entries"),
    ),
    responses(
        (status = 200, description = "The entry bundle (C2SP tlog-tiles)", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No checkpoint so far implies this bundle"),
    )
)]
async fn bundle(
    State(reads): State<Reads>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path: BundlePath = named(&uri)?;
    let coding = Coding::wanted(&headers, FOR_BUNDLES);
    let bytes = {
        let _turn = reads.turn(Kind::Bundle).await?;
        let leaves = bundled(&reads, path).await?;
        let length = leaves.iter().map(Vec::len).sum();
        reads.beside(length, move || coding.encode(bundle_bytes(leaves)?)).await??
    };
    let mut response = immutable(Bytes::from(bytes));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding.header() {
        response.headers_mut().insert(CONTENT_ENCODING, coding);
    }
    Ok(response)
}

/// Reads a resource's name from the path as it was sent; another spelling is another resource.
fn named<T: std::str::FromStr>(uri: &Uri) -> Result<T, Problem> {
    uri.path().trim_start_matches('/').parse().map_err(|_| nothing_there())
}

/// The hashes, from the right edge or with one indexed read.
async fn tile_bytes(reads: &Reads, path: TilePath) -> Result<Vec<u8>, Problem> {
    let snapshot = reads.snapshot()?;
    if !path.is_in(snapshot.size()) {
        return Err(nothing_there());
    }
    let TileId { level, index } = path.tile();
    let damaged = StoreError::CorruptTile { level, index };
    let stored;
    let tile = if let Some(tile) = snapshot.edge.tile(path.tile()) {
        tile
    } else {
        stored = reads
            .store()
            .tiles(&[path.tile()], &snapshot.edge)
            .await?
            .pop()
            .ok_or(damaged.clone())?;
        &*stored
    };
    let hashes = tile.hashes().get(..usize::from(path.width())).ok_or(damaged)?;
    Ok(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
}

/// The entries, with one indexed read; each is hashed again.
async fn bundled(reads: &Reads, path: BundlePath) -> Result<Vec<Vec<u8>>, Problem> {
    if !path.is_in(reads.snapshot()?.size()) {
        return Err(nothing_there());
    }
    let after = path.index() * TileId::WIDTH as u64;
    let upto = after + u64::from(path.width());
    let leaves = reads.store().leaves(after, upto, u64::MAX).await?;
    if leaves.len() != usize::from(path.width()) {
        return Err(StoreError::Corrupt { id: after + leaves.len() as u64 + 1 }.into());
    }
    check_ids(&leaves, after, upto)?;
    Ok(leaves)
}

/// The entries with their lengths.
fn bundle_bytes(leaves: Vec<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    let bundle = EntryBundle::new(leaves).map_err(|error| {
        tracing::error!(%error, "stored entries make no bundle");
        Problem::internal()
    })?;
    Ok(bundle.to_bytes())
}

fn immutable(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, OCTETS);
    response.headers_mut().insert(CACHE_CONTROL, IMMUTABLE);
    response
}

fn nothing_there() -> Problem {
    Problem::new(Code::NotFound, "no checkpoint of this log so far implies this path")
}

/// A text that is shared by those who are sent it.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::StatusCode;
    use http::header::{ACCEPT_ENCODING, ETAG, IF_NONE_MATCH};

    use super::*;
    use crate::checkpoint;
    use crate::keys::SigningKey;
    use crate::merkle::{Edge, TreeSize};
    use crate::read::testing::TestNode;
    use crate::wire::node::NodeRole;

    async fn bytes(node: &TestNode, path: &str) -> Vec<u8> {
        let response = node.request(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream", "{path}");
        assert_eq!(response.headers()[CACHE_CONTROL], IMMUTABLE, "{path}");
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
        node.body(response).await
    }

    fn leaf_hashes(node: &TestNode, from: u64, to: u64) -> Vec<u8> {
        (from..to).flat_map(|index| *node.leaf(index + 1).leaf_hash().as_bytes()).collect()
    }

    #[tokio::test]
    async fn the_checkpoint_is_a_note_that_is_asked_for_again_each_time() {
        let node = TestNode::with_entries(9).await;

        let first = node.request("/checkpoint", &[]).await;

        assert_eq!(first.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(first.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let text = String::from_utf8(node.body(first).await).unwrap();
        let key = SigningKey::from_seed([7; 32]);
        let opened = checkpoint::open(&text, "log.example/test", key.public()).unwrap();
        assert_eq!(opened.tree(), node.tree_at(9));
        let again = node.request("/checkpoint", &[(IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn every_tile_of_every_size_so_far_is_served() {
        let node = TestNode::with_entries(600).await;
        let full = bytes(&node, "/tile/0/000").await;
        assert_eq!(full, leaf_hashes(&node, 0, 256));
        // Partial tiles of sizes that are long gone are the beginnings of full ones.
        for width in [1, 17, 255] {
            let partial = bytes(&node, &format!("/tile/0/000.p/{width}")).await;
            assert_eq!(partial, full[..width * 32]);
            let edge = format!("/tile/0/002.p/{}", width.min(88));
            assert_eq!(
                bytes(&node, &edge).await,
                leaf_hashes(&node, 512, 512 + width.min(88) as u64)
            );
        }
        let roots = bytes(&node, "/tile/1/000.p/2").await;
        assert_eq!(roots[..32], node.tree_at(256).hash.as_bytes()[..]);
        assert_eq!(bytes(&node, "/tile/1/000.p/1").await, roots[..32]);
    }

    #[tokio::test]
    async fn what_no_checkpoint_implies_is_404_and_not_kept() {
        let node = TestNode::with_entries(600).await;
        for path in [
            "/tile/0/002",
            "/tile/0/002.p/89",
            "/tile/0/003.p/1",
            "/tile/1/000",
            "/tile/1/000.p/3",
            "/tile/2/000.p/1",
            "/tile/63/000.p/1",
            "/tile/64/000",
            "/tile/0/000.p/0",
            "/tile/0/000.p/256",
            "/tile/0/0",
            "/tile/0/%30%30%30",
            "/tile/00/000",
            "/tile/0/x000/000",
            "/tile/8/0/000",
            "/tile/entries/002",
            "/tile/entries/002.p/89",
            "/tile/entries/x018/446/744/073/709/551",
            "/tile/data/000",
        ] {
            let response = node.request(path, &[]).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{path}");
        }
    }

    #[tokio::test]
    async fn bundles_hold_exactly_the_leaves_whose_hashes_the_tile_has() {
        let node = TestNode::with_entries(300).await;
        let mut edge = Edge::empty();
        for path in ["/tile/entries/000", "/tile/entries/001.p/44"] {
            let bundle = bytes(&node, path).await;
            let mut rest = &bundle[..];
            while let Some((length, after)) = rest.split_first_chunk() {
                let (leaf, after) = after.split_at(u16::from_be_bytes(*length).into());
                edge.push(Hash::of_leaf(leaf), &mut Vec::new());
                rest = after;
            }
        }
        assert_eq!(edge.root(), node.tree_at(300));
        assert_eq!(edge.size(), TreeSize::ZERO.plus(300));
    }

    #[tokio::test]
    async fn a_bundle_is_compressed_for_those_who_take_it() {
        let node = TestNode::with_entries(300).await;
        let plain = bytes(&node, "/tile/entries/000").await;

        let response = node.request("/tile/entries/000", &[(ACCEPT_ENCODING, "gzip")]).await;

        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(response.headers()[VARY], "accept-encoding");
        let gzip = node.body(response).await;
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }

    #[tokio::test]
    async fn a_damaged_entry_is_in_no_bundle() {
        let node = TestNode::with_entries(300).await;
        node.damage_entry(260).await;

        let refused = node.request("/tile/entries/001.p/44", &[]).await;

        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(bytes(&node, "/tile/entries/001.p/3").await.len(), {
            (257..=259).map(|id| node.leaf(id).bytes().len() + 2).sum::<usize>()
        });
    }

    #[tokio::test]
    async fn before_the_first_head_there_is_nothing_to_serve() {
        let node = TestNode::new(NodeRole::Follower, 0, |_| String::new()).await;
        for path in ["/checkpoint", "/tile/0/000", "/tile/entries/000.p/1"] {
            let response = node.request(path, &[]).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
    }
}
