//! The log as a directory of static files (C2SP tlog-tiles), for web servers, object stores and
//! content delivery networks.
//!
//! ```text
//! checkpoint                       replaced last, as a whole
//! tile/<L>/<N>[.p/<W>]             hashes
//! tile/entries/<N>[.p/<W>]         entries
//! ```
//!
//! The directory is grown from the bundles of a running node: their entries are hashed on top of
//! what the directory holds, and only if that gives the root of the signed checkpoint do the new
//! files get their names, and after them the checkpoint.

use std::path::{Path, PathBuf};

use diogenes_common::bundle::{BundleError, EntryBundle};
use diogenes_common::checkpoint::{self, Checkpoint, OpenError};
use diogenes_common::files::FileError;
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{BundlePath, Edge, Hash, TileId, TilePath, TreeRoot, TreeSize};

use super::files::{PublicFiles, Staging, remove_directory};

/// Where bundles come from.
pub(super) trait Bundles {
    /// Why there is none.
    type Error;

    /// The bytes of a bundle.
    async fn bundle(&self, path: BundlePath) -> Result<Vec<u8>, Self::Error>;
}

/// Whose log the directory holds.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) origin: String,
    pub(super) key: PublicKey,
}

/// A directory that holds a log, or nothing yet.
pub(super) struct Export {
    log: Log,
    files: PublicFiles,
    edge: Edge,
    checkpoint: Option<String>,
    /// Directories of incomplete tiles and bundles, each with what it will be complete as.
    partial: Vec<(PathBuf, TileId)>,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) from: TreeSize,
    pub(super) to: TreeRoot,
}

/// Why a directory was not brought up to date. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError<E> {
    /// The directory's own checkpoint is not one of this log.
    #[error("{} holds the checkpoint of another log, or a damaged one: {error}", path.display())]
    OtherLog { path: PathBuf, error: OpenError },
    /// The tiles of the directory do not give the root of its checkpoint.
    #[error("the tiles in {} do not give the root of its checkpoint", .0.display())]
    Damaged(PathBuf),
    /// What the node calls its checkpoint is none of this log.
    #[error("the node's checkpoint is not to be believed: {0}")]
    Checkpoint(#[from] OpenError),
    /// The node shows less than the directory holds.
    #[error("the node shows {shown} entries, the directory holds {held}")]
    Shrunk { held: TreeSize, shown: TreeSize },
    /// The log's key signed two histories, or the node sends other entries than were signed.
    #[error("the entries up to {0} do not give the root that the log signed")]
    WrongRoot(TreeSize),
    /// What the node sent is no bundle.
    #[error("{path}: {error}")]
    Bundle { path: BundlePath, error: BundleError },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node did not answer.
    #[error(transparent)]
    Source(E),
}

impl Export {
    /// Opens a directory, and makes it if there is none.
    pub(super) fn open<E>(directory: &Path, log: Log) -> Result<Self, ExportError<E>> {
        let files = PublicFiles::open(directory)?;
        let checkpoint = files.read_text(CHECKPOINT)?;
        let edge = match &checkpoint {
            None => Edge::empty(),
            Some(note) => {
                let opened = checkpoint::open(note, &log.origin, &log.key)
                    .map_err(|error| ExportError::OtherLog { path: directory.to_owned(), error })?;
                edge_of(&files, opened.tree())?
                    .ok_or_else(|| ExportError::Damaged(directory.to_owned()))?
            }
        };
        let partial = files.partial_beside(edge.size());
        Ok(Self { log, files, edge, checkpoint, partial })
    }

    /// Brings the directory to the node's checkpoint; `None` if it is there already.
    pub(super) async fn update<B: Bundles>(
        &mut self,
        note: &str,
        bundles: &B,
    ) -> Result<Option<Grown>, ExportError<B::Error>> {
        if self.checkpoint.as_deref() == Some(note) {
            return Ok(None);
        }
        let opened = checkpoint::open(note, &self.log.origin, &self.log.key)?;
        let from = self.edge.size();
        let to = self.grow(&opened, bundles).await?;
        self.files.replace(CHECKPOINT, note.as_bytes())?;
        self.checkpoint = Some(note.to_owned());
        self.drop_partial(from)?;
        Ok(Some(Grown { from, to }))
    }

    async fn grow<B: Bundles>(
        &mut self,
        checkpoint: &Checkpoint,
        bundles: &B,
    ) -> Result<TreeRoot, ExportError<B::Error>> {
        let tree = checkpoint.tree();
        let (held, shown) = (self.edge.size(), tree.size);
        if shown < held {
            return Err(ExportError::Shrunk { held, shown });
        }
        let mut staging = self.files.stage()?;
        let mut edge = self.edge.clone();
        let width = TileId::WIDTH as u64;
        if shown > held {
            for index in held.get() / width..shown.get().div_ceil(width) {
                let Some(path) = BundlePath::in_tree(index, shown) else { continue };
                let bytes = bundles.bundle(path).await.map_err(ExportError::Source)?;
                self.take_up(path, &bytes, &mut edge, &mut staging)?;
            }
        }
        if edge.root() != tree {
            return Err(ExportError::WrongRoot(shown));
        }
        for (tile, _) in TileId::incomplete(shown) {
            if let (Some(path), Some(hashes)) = (TilePath::in_tree(tile, shown), edge.tile(tile)) {
                staging.write(&path.to_string(), &hashes.to_bytes())?;
            }
        }
        staging.publish()?;
        self.edge = edge;
        Ok(tree)
    }

    /// Hashes the entries of a bundle on top of the tree; those that the tree has already must be
    /// the same.
    fn take_up<E>(
        &self,
        path: BundlePath,
        bytes: &[u8],
        edge: &mut Edge,
        staging: &mut Staging<'_>,
    ) -> Result<(), ExportError<E>> {
        let bundle = EntryBundle::parse(bytes, path.width())
            .map_err(|error| ExportError::Bundle { path, error })?;
        let held = self.edge.tile(path.tile().tile()).map_or(&[][..], |tile| tile.hashes());
        let mut completed = Vec::new();
        for (place, entry) in bundle.entries().iter().enumerate() {
            let hash = Hash::of_leaf(entry);
            match held.get(place) {
                None => edge.push(hash, &mut completed),
                Some(known) if *known == hash => {}
                Some(_) => return Err(ExportError::WrongRoot(edge.size())),
            }
        }
        staging.write(&path.to_string(), bytes)?;
        for (tile, nodes) in completed {
            if let Some(path) = TilePath::complete(tile) {
                staging.write(&path.to_string(), &nodes.to_bytes())?;
            }
        }
        Ok(())
    }

    /// Removes incomplete tiles and bundles that were complete one checkpoint ago: who reads by
    /// that one finds the complete ones.
    fn drop_partial<E>(&mut self, before: TreeSize) -> Result<(), ExportError<E>> {
        for place in self.files.partial_at(self.edge.size()) {
            if !self.partial.contains(&place) {
                self.partial.push(place);
            }
        }
        let is_complete =
            |tile: &TileId| TilePath::complete(*tile).is_some_and(|path| path.is_in(before));
        let (gone, kept) =
            std::mem::take(&mut self.partial).into_iter().partition(|(_, tile)| is_complete(tile));
        self.partial = kept;
        let gone: Vec<(PathBuf, TileId)> = gone;
        for (directory, _) in gone {
            remove_directory(&directory)?;
        }
        Ok(())
    }
}

/// The file whose replacement publishes all others.
const CHECKPOINT: &str = "checkpoint";

/// The right edge that the directory's incomplete tiles hold, if it has this root.
fn edge_of(files: &PublicFiles, tree: TreeRoot) -> Result<Option<Edge>, FileError> {
    let mut levels: Vec<Vec<Hash>> = Vec::new();
    for (tile, _) in TileId::incomplete(tree.size) {
        levels.resize(usize::from(tile.level), Vec::new());
        let Some(path) = TilePath::in_tree(tile, tree.size) else { return Ok(None) };
        let Some(bytes) = files.read(&path.to_string())? else { return Ok(None) };
        let (hashes, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Ok(None);
        }
        levels.push(hashes.iter().copied().map(Hash::new).collect());
    }
    let edge = Edge::from_partial_tiles(tree.size, levels);
    Ok(edge.filter(|edge| edge.root() == tree))
}

#[cfg(test)]
mod tests;
