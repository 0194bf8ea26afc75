//! The state file as this process last read or wrote it.

use std::io;
use std::path::Path;

use diogenes_common::disk::{self, File, Metadata, MetadataExt as _};

/// A file whose contents are known.
///
/// It is held open, so that no other file gets its inode: the state file is always replaced, and
/// so the same inode with the same times and length is the same file with the same contents.
#[derive(Debug)]
pub(super) struct Written {
    stamp: Stamp,
    _file: File,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Written {
    /// The file as it is now.
    pub(super) fn of(file: File) -> io::Result<Self> {
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Self { stamp, _file: file })
    }

    /// Says whether this file, unchanged, is still the one at `path`.
    pub(super) fn is_still(&self, path: &Path) -> bool {
        disk::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
