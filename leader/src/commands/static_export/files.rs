//! The files of an exported log: readable by all, named only when they are whole and durable.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use diogenes_common::files::{FileError, FileLock, sync_parent};
use diogenes_common::merkle::{BundlePath, TileId, TilePath, TreeSize};

/// Where files wait for their names.
const STAGING: &str = ".staging";

/// A directory that one process writes and any web server reads.
pub(super) struct PublicFiles {
    directory: PathBuf,
    _lock: FileLock,
}

impl PublicFiles {
    /// Opens the directory for writing, and makes it if there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, FileError> {
        fs::create_dir_all(directory).map_err(io_error("make", directory))?;
        let lock = FileLock::acquire(&directory.join(".lock"), Duration::ZERO)?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// A file's bytes, if it is there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.directory.join(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(io_error("read", &path)),
        }
    }

    /// The same as text; what is none is taken as it can be.
    pub(super) fn read_text(&self, name: &str) -> Result<Option<String>, FileError> {
        Ok(self.read(name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Replaces a file as a whole, durably.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let mut staging = self.stage()?;
        staging.write(name, bytes)?;
        staging.publish()
    }

    /// Begins a set of new files.
    pub(super) fn stage(&self) -> Result<Staging<'_>, FileError> {
        let place = self.directory.join(STAGING);
        remove_directory(&place)?;
        fs::create_dir(&place).map_err(io_error("make", &place))?;
        Ok(Staging { files: self, place, names: Vec::new() })
    }

    /// The directories of the incomplete tiles and bundles of a log of this size.
    pub(super) fn partial_at(
        &self,
        size: TreeSize,
    ) -> impl Iterator<Item = (PathBuf, TileId)> + use<> {
        let directory = self.directory.clone();
        TileId::incomplete(size).flat_map(move |(tile, _)| {
            let hashes = TilePath::in_tree(tile, size).map(|path| path.to_string());
            let entries = BundlePath::in_tree(tile.index, size).map(|path| path.to_string());
            let paths = [hashes, entries.filter(|_| tile.level == 0)];
            let directory = directory.clone();
            paths
                .into_iter()
                .flatten()
                .filter_map(move |path| Some((directory.join(path).parent()?.to_owned(), tile)))
        })
    }

    /// Those of earlier sizes, as far as they stand beside them.
    pub(super) fn partial_beside(&self, size: TreeSize) -> Vec<(PathBuf, TileId)> {
        let mut found = Vec::new();
        for (directory, newest) in self.partial_at(size) {
            let Some(group) = directory.parent() else { continue };
            let first = newest.index - newest.index % 1000;
            for index in first..=newest.index {
                let place = group.join(format!("{:03}.p", index % 1000));
                if place.exists() {
                    found.push((place, TileId { level: newest.level, index }));
                }
            }
        }
        found
    }
}

/// New files that have no names yet. Given up when dropped.
pub(super) struct Staging<'a> {
    files: &'a PublicFiles,
    place: PathBuf,
    names: Vec<String>,
}

impl Staging<'_> {
    /// Writes a file, durably.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.waiting(self.names.len());
        let write = |path: &Path| {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write(&path).map_err(io_error("write", &path))?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Gives all files their names, and makes the names durable.
    pub(super) fn publish(self) -> Result<(), FileError> {
        let mut named = BTreeSet::new();
        for (number, name) in self.names.iter().enumerate() {
            let path = self.files.directory.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io_error("make", parent))?;
            }
            let from = self.waiting(number);
            fs::rename(&from, &path).map_err(io_error("name", &path))?;
            named.extend(
                path.ancestors()
                    .take_while(|above| *above != self.files.directory)
                    .map(Path::to_owned),
            );
        }
        named.iter().try_for_each(|path| sync_parent(path))
    }

    fn waiting(&self, number: usize) -> PathBuf {
        self.place.join(number.to_string())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // What is left is removed by the next set.
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn remove_directory(directory: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |error| FileError::Io { doing, path: path.to_owned(), kind: error.kind() }
}
