//! Other nodes that have the log: what they send is taken only if it hashes to what is signed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::heads::Authority;
use super::judge::judge_tile;
use crate::batch::{self, Encoding};
use crate::client::{Answer, BATCH_ANSWER, BaseUrl, Client};
use crate::head::{HeadJson, SignedHead};
use crate::leaf::Leaf;
use crate::merkle::{Edge, Hash, TileId, TileNodes, TilePath, TreeRoot};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes that are asked, in order.
#[derive(Clone)]
pub struct Peers {
    client: Client,
    urls: Arc<dyn Fn() -> Vec<BaseUrl> + Send + Sync>,
}

/// Something that was verified, and the URL of who sent it.
pub(super) type Fetched<T> = Option<(T, String)>;

impl Peers {
    /// Asks the nodes that `urls` names at the moment.
    pub fn new(client: Client, urls: impl Fn() -> Vec<BaseUrl> + Send + Sync + 'static) -> Self {
        Self { client, urls: Arc::new(urls) }
    }

    /// Whether there is nobody to ask.
    pub(super) fn is_empty(&self) -> bool {
        (self.urls)().is_empty()
    }

    /// The entries after `after` with these leaf hashes.
    pub(super) async fn entries(&self, after: u64, hashes: &[Hash]) -> Fetched<Vec<Leaf>> {
        for url in (self.urls)() {
            match self.entries_of(&url, after, hashes).await {
                Ok(leaves) => return Some((leaves, url.to_string())),
                Err(error) => tracing::warn!(peer.url = %url, %error, "no help from a peer"),
            }
        }
        None
    }

    /// The complete tile with this root.
    pub(super) async fn tile(&self, id: TileId, root: Hash) -> Fetched<TileNodes> {
        let path = TilePath::complete(id)?;
        for url in (self.urls)() {
            let Ok(answer) = self.ask(&url, &format!("/{path}")).await else { continue };
            if let Some(tile) = judge_tile(&answer.body, root) {
                return Some((tile, url.to_string()));
            }
            tracing::warn!(peer.url = %url, "a peer sent another tile than the tree has");
        }
        None
    }

    /// The right edge of the tree with this root.
    pub(super) async fn edge(&self, tree: TreeRoot) -> Fetched<Edge> {
        for url in (self.urls)() {
            if let Some(edge) = self.edge_of(&url, tree).await {
                return Some((edge, url.to_string()));
            }
        }
        None
    }

    /// The newest head that the log's key signed.
    pub(super) async fn head(&self, authority: &Authority) -> Fetched<SignedHead> {
        for url in (self.urls)() {
            let Ok(answer) = self.ask(&url, "/api/v1/log/sth").await else { continue };
            let json = serde_json::from_slice::<HeadJson>(&answer.body).ok();
            let verified = json.map(|json| json.verify(&authority.operator, &authority.origin));
            if let Some(Ok(head)) = verified {
                return Some((head, url.to_string()));
            }
        }
        None
    }

    /// Entry 1, unverified.
    pub(super) async fn geneses(&self) -> Vec<Leaf> {
        let mut found = Vec::new();
        for url in (self.urls)() {
            let leaves = self.leaves(&url, 0, 1).await.unwrap_or_default();
            found.extend(leaves.into_iter().next().and_then(|leaf| Leaf::parse(leaf).ok()));
        }
        found
    }

    async fn entries_of(
        &self,
        url: &BaseUrl,
        after: u64,
        hashes: &[Hash],
    ) -> Result<Vec<Leaf>, NoHelp> {
        let mut proven: Vec<Leaf> = Vec::new();
        while proven.len() < hashes.len() {
            let at = after + proven.len() as u64;
            let rest = &hashes[proven.len()..];
            let leaves = self.leaves(url, at, rest.len()).await?;
            proven.extend(prove(at, &leaves, rest)?);
        }
        Ok(proven)
    }

    async fn leaves(
        &self,
        url: &BaseUrl,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, NoHelp> {
        let path = format!("/api/v1/log/replicate?after={after}&limit={limit}");
        let asking = self.client.get(url, &path).up_to(BATCH_ANSWER).within(PATIENCE).compressed();
        let takes = HeaderValue::from_static(Encoding::Binary.media_type());
        let answer = asking.header(ACCEPT, takes).send().await;
        let answer = answer.map_err(|error| NoHelp::Silent(error.to_string()))?;
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let encoding = kind.and_then(Encoding::from_media_type).ok_or(NoHelp::Unreadable)?;
        let batch = batch::decode(&answer.body, encoding).map_err(|_| NoHelp::Unreadable)?;
        Ok(batch.leaves)
    }

    async fn edge_of(&self, url: &BaseUrl, tree: TreeRoot) -> Option<Edge> {
        let mut levels: Vec<Vec<Hash>> = Vec::new();
        for (id, width) in TileId::incomplete(tree.size) {
            levels.resize(usize::from(id.level), Vec::new());
            let path = TilePath::new(id, u16::try_from(width).ok()?)?;
            let answer = self.ask(url, &format!("/{path}")).await.ok()?;
            levels.push(answer.body.chunks(32).map(Hash::from_slice).collect::<Option<_>>()?);
        }
        Edge::from_partial_tiles(tree.size, levels).filter(|edge| edge.root() == tree)
    }

    async fn ask(&self, url: &BaseUrl, path: &str) -> Result<Answer, NoHelp> {
        let asking = self.client.get(url, path).within(PATIENCE);
        asking.send().await.map_err(|error| NoHelp::Silent(error.to_string()))
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&(self.urls)()).finish()
    }
}

/// Why a peer's answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NoHelp {
    /// It did not send anything.
    #[error("{0}")]
    Silent(String),
    /// What it sent can't be read.
    #[error("its answer is no batch of entries")]
    Unreadable,
    /// It has fewer entries.
    #[error("it does not have entry {0}")]
    Short(u64),
    /// What it sent is not what was signed.
    #[error("its entry {0} is not the one under the signed root")]
    Other(u64),
}

/// The entries, if each has the leaf hash that the signed tree has for its place.
fn prove(after: u64, leaves: &[Vec<u8>], hashes: &[Hash]) -> Result<Vec<Leaf>, NoHelp> {
    if leaves.is_empty() {
        return Err(NoHelp::Short(after + 1));
    }
    let proven = (after + 1..).zip(leaves.iter().zip(hashes)).map(|(id, (bytes, hash))| {
        let is_signed = Hash::of_leaf(bytes) == *hash;
        let leaf = Leaf::parse(bytes.as_slice()).ok().filter(|leaf| is_signed && leaf.id() == id);
        leaf.ok_or(NoHelp::Other(id))
    });
    proven.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn leaf(id: u64, payload: &str) -> Leaf {
        let previous = (id > 1).then(|| Hash::of(&id.to_be_bytes()));
        let time = Timestamp::from_millis(1_768_473_000_000).unwrap();
        let kind = "x-test:a".parse().unwrap();
        Leaf::build(id, previous, time, &kind, payload.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_the_signed_tree_holds_is_taken() {
        let leaves: Vec<Leaf> = (4..=6).map(|id| leaf(id, "{}")).collect();
        let hashes: Vec<Hash> = leaves.iter().map(Leaf::leaf_hash).collect();
        let bytes = |leaves: &[Leaf]| -> Vec<Vec<u8>> {
            leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect()
        };
        assert_eq!(prove(3, &bytes(&leaves), &hashes).as_ref(), Ok(&leaves));
        assert_eq!(prove(3, &bytes(&leaves[..2]), &hashes).unwrap(), leaves[..2]);
        assert_eq!(prove(3, &[], &hashes), Err(NoHelp::Short(4)));

        let lie = [leaves[0].clone(), leaf(5, "{\"n\":1}"), leaves[2].clone()];
        assert_eq!(prove(3, &bytes(&lie), &hashes), Err(NoHelp::Other(5)));
        let swapped = [leaves[1].clone(), leaves[0].clone()];
        assert_eq!(prove(3, &bytes(&swapped), &hashes), Err(NoHelp::Other(4)));
        assert_eq!(prove(3, &[b"junk".to_vec()], &hashes), Err(NoHelp::Other(4)));
    }
}
