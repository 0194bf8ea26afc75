//! The file operations that durable state is made of, under one name.
//!
//! They are those of the standard library. What must survive a power cut is written through here, so
//! that the simulation can put a disk in their place that loses whatever was not synced.

use std::io;
use std::path::Path;

pub use std::fs::{
    DirBuilder, File, Metadata, OpenOptions, Permissions, metadata, read, read_dir, read_to_string,
    remove_file, rename, set_permissions,
};
pub use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use rustix::fs::{FlockOperation, flock};

/// Whether there is something at this path.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Locks a file for this process, if no other holds it.
pub fn try_lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
}
