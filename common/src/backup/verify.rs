//! Verifying a backup: every byte of it, in one pass of bounded memory.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::entries;
use super::error::{BackupError, Damage};
use super::manifest::{FileEntry, MAX_MANIFEST_BYTES, Manifest};
use super::progress::Progress;
use super::rows::{Row, RowReader};
use super::{ENTRIES, KEYS, MANIFEST, ROWS, secrets};
use crate::batch::{Chain, Entry, Trust};
use crate::files::{FileError, Role};
use crate::head::SignedHead;
use crate::keys::SigningKey;
use crate::merkle::{Hash, TileId, TileNodes};

/// How much of a file is read at once.
const BUFFER: usize = 256 * 1024;

/// The largest secret.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A backup that verified: only [`verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) head: SignedHead,
    pub(super) keys: Keys,
}

/// Where the private keys of a backup are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In this directory, each as it was written.
    In(PathBuf),
    /// Not here.
    Elsewhere,
}

impl Verified {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself, all of it true.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where its private keys are.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What it holds and where it is, for machines.
    pub fn to_json(&self) -> serde_json::Value {
        let manifest = &self.manifest;
        serde_json::json!({
            "path": self.path.display().to_string(),
            "role": manifest.role.name(),
            "version": manifest.version,
            "origin": manifest.origin,
            "log_id": manifest.log_id,
            "tree_size": manifest.tree_size(),
            "root_hash": manifest.head.root_hash,
            "made_at": manifest.made_at,
            "bytes": manifest.bytes(),
            "has_keys": self.keys != Keys::Elsewhere,
        })
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { head, made_at, .. } = &self.manifest;
        let (size, origin, root) = (head.tree_size, &head.origin, head.root_hash);
        writeln!(f, "{size} entries of {origin}, root {root}, made at {made_at}")?;
        write!(f, "Backup: {}", self.path.display())
    }
}

/// Verifies a backup; `keys` names the directory of its private keys if they are kept elsewhere.
///
/// Every leaf hash, the chain and the Merkle root are computed anew and compared with the signed
/// head, every rule of the log and every signature carried in it is checked, and each file must
/// have the hash that the sealed manifest gives. Blocks its thread.
pub fn verify(
    path: &Path,
    keys: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Verified, BackupError> {
    let manifest = read_manifest(path)?;
    check_list(&manifest)?;
    let mut reader = EntryFile::open(path, &manifest)?;
    progress.begin("verifying", manifest.tree_size().get());
    let mut completed = Vec::new();
    while reader.next(&mut completed)?.is_some() {
        completed.clear();
        progress.at(reader.chain.size().get());
    }
    let head = reader.finish()?;
    let mut rows = RowFile::open(path, &manifest)?;
    while rows.next()?.is_some() {}
    rows.finish()?;
    let keys = find_keys(path, keys, &manifest)?;
    Ok(Verified { path: path.to_owned(), manifest, head, keys })
}

/// Reads the manifest of a backup.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, BackupError> {
    let path = path.join(MANIFEST);
    let file = open(&path)?;
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(FileError::io("read", &path))?;
    let text = String::from_utf8_lossy(&text);
    Manifest::parse(&text).map_err(|error| BackupError::Manifest { path, error })
}

/// The files of a backup are those that its role has, and no name leads out of it.
fn check_list(manifest: &Manifest) -> Result<(), BackupError> {
    for name in [ENTRIES, ROWS] {
        if manifest.file(name).is_none() {
            return Err(BackupError::OtherFiles(name.to_owned()));
        }
    }
    let own = secrets(manifest.role);
    let is_known = |file: &&FileEntry| {
        let secret = file.name.strip_prefix(KEYS).and_then(|name| name.strip_prefix('/'));
        [ENTRIES, ROWS].contains(&&*file.name) || secret.is_some_and(|name| own.contains(&name))
    };
    match manifest.files.iter().find(|file| !is_known(file)) {
        Some(file) => Err(BackupError::OtherFiles(file.name.clone())),
        None => Ok(()),
    }
}

/// The entries of a backup, each checked by every rule of the log as it is read.
pub(super) struct EntryFile<'a> {
    file: HashedFile<'a>,
    manifest: &'a Manifest,
    pub(super) chain: Chain,
}

impl<'a> EntryFile<'a> {
    pub(super) fn open(path: &Path, manifest: &'a Manifest) -> Result<Self, BackupError> {
        let chain = Chain::new(Trust { operator: manifest.operator });
        Ok(Self { file: HashedFile::open(path, listed(manifest, ENTRIES)?)?, manifest, chain })
    }

    /// The next entry; `None` at the end of the file.
    pub(super) fn next(
        &mut self,
        completed: &mut Vec<(TileId, std::sync::Arc<TileNodes>)>,
    ) -> Result<Option<Entry>, BackupError> {
        let id = self.chain.size().get() + 1;
        let Some(leaf) = entries::read(&mut self.file)
            .map_err(|error| self.file.damaged(Damage::Frame { id, error }))?
        else {
            return Ok(None);
        };
        if id > self.manifest.tree_size().get() {
            return Err(self.file.damaged(Damage::Count(self.manifest.tree_size().plus(1))));
        }
        let entry = self.chain.extend(leaf, completed);
        entry.map(Some).map_err(|fault| self.file.damaged(fault.into()))
    }

    /// Holds what was read against the signed head.
    pub(super) fn finish(self) -> Result<SignedHead, BackupError> {
        let Self { file, manifest, chain } = self;
        let head = &manifest.head;
        let problem = match chain.log() {
            _ if chain.size() != head.tree_size => Err(Damage::Count(chain.size())),
            None => Err(Damage::Count(chain.size())),
            Some(log) if log.id() != manifest.log_id || *log.origin() != manifest.origin => {
                Err(Damage::OtherLog)
            }
            Some(_) if chain.tree().hash != head.root_hash => Err(Damage::Root),
            Some(_) if chain.chain_head() != head.chain_head => Err(Damage::Root),
            Some(log) => head.verify(log.operator(), log.origin()).map_err(Damage::Head),
        };
        let head = problem.map_err(|damage| file.damaged(damage))?;
        file.finish()?;
        Ok(head)
    }
}

/// The rows of a backup.
pub(super) struct RowFile<'a> {
    reader: RowReader<BufReader<HashedFile<'a>>>,
    path: PathBuf,
}

impl<'a> RowFile<'a> {
    pub(super) fn open(path: &Path, manifest: &'a Manifest) -> Result<Self, BackupError> {
        let file = HashedFile::open(path, listed(manifest, ROWS)?)?;
        let path = file.path.clone();
        Ok(Self { reader: RowReader::new(BufReader::with_capacity(BUFFER, file)), path })
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Row>, BackupError> {
        let row = self.reader.next().map_err(FileError::io("read", &self.path))?;
        row.map_err(|error| {
            let detail = Damage::Row { line: self.reader.line(), error };
            BackupError::Damaged { path: self.path.clone(), detail }
        })
    }

    /// Whether what was read is what was written.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        self.reader.into_inner().into_inner().finish()
    }
}

/// A file that is hashed while it is read.
pub(super) struct HashedFile<'a> {
    path: PathBuf,
    from: BufReader<File>,
    hash: Sha256,
    bytes: u64,
    listed: &'a FileEntry,
}

impl<'a> HashedFile<'a> {
    fn open(backup: &Path, listed: &'a FileEntry) -> Result<Self, BackupError> {
        let path = backup.join(&listed.name);
        let from = BufReader::with_capacity(BUFFER, open(&path)?);
        Ok(Self { path, from, hash: Sha256::new(), bytes: 0, listed })
    }

    fn damaged(&self, detail: Damage) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), detail }
    }

    /// Compares everything that was read with what the manifest says of the file.
    fn finish(self) -> Result<(), BackupError> {
        let hash = Hash::new(self.hash.clone().finalize().into());
        if self.bytes == self.listed.bytes && hash == self.listed.sha256 {
            return Ok(());
        }
        Err(self.damaged(Damage::Hash))
    }
}

impl Read for HashedFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn open(path: &Path) -> Result<File, BackupError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BackupError::Missing(path.to_owned()),
        _ => FileError::io("open", path)(error).into(),
    })
}

fn listed<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a FileEntry, BackupError> {
    manifest.file(name).ok_or_else(|| BackupError::OtherFiles(name.to_owned()))
}

/// The private keys are all there as they were written, or all of them are kept elsewhere.
fn find_keys(path: &Path, named: Option<&Path>, manifest: &Manifest) -> Result<Keys, BackupError> {
    let directory = named.map_or_else(|| path.join(KEYS), Path::to_owned);
    if named.is_none() && !directory.exists() {
        return Ok(Keys::Elsewhere);
    }
    for name in secrets(manifest.role) {
        if let Some(listed) = manifest.file(&format!("{KEYS}/{name}")) {
            read_secret(&directory.join(name), listed, manifest)?;
        }
    }
    Ok(Keys::In(directory))
}

/// Reads a key or secret that must be the one that was backed up.
pub(super) fn read_secret(
    path: &Path,
    listed: &FileEntry,
    manifest: &Manifest,
) -> Result<zeroize::Zeroizing<Vec<u8>>, BackupError> {
    // Room from the start, so that growing leaves no copy of a key behind.
    let room = usize::try_from(listed.bytes.min(MAX_SECRET_BYTES)).unwrap_or(0) + 1;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(room));
    let mut file = open(path)?.take(MAX_SECRET_BYTES);
    file.read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    let damaged = |detail| BackupError::Damaged { path: path.to_owned(), detail };
    if bytes.len() as u64 != listed.bytes || Hash::of(&bytes) != listed.sha256 {
        return Err(damaged(Damage::Hash));
    }
    if manifest.role == Role::Leader && path.ends_with(Role::Leader.key_file()) {
        let pem = std::str::from_utf8(&bytes).ok().and_then(|pem| SigningKey::from_pem(pem).ok());
        if pem.map(|key| key.fingerprint()) != Some(manifest.operator) {
            return Err(damaged(Damage::OtherKey));
        }
    }
    Ok(bytes)
}
