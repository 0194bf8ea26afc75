//! Making a backup of a node that may be running.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::error::BackupError;
use super::manifest::{FileEntry, Manifest};
use super::place::{self, PART};
use super::progress::Progress;
use super::verify::{Keys, Verified, verify};
use super::{ENTRIES, KEYS, MANIFEST, ROWS, entries, rows, secrets};
use crate::checkpoint::{Checkpoint, sign_checkpoint};
use crate::clock::{Clock, Timestamp};
use crate::event::{Event, Genesis};
use crate::files::{self, DataDir, FileError, FileLock, Role, sync_parent};
use crate::head::{HeadJson, SignedHead, TreeHead};
use crate::keys::SigningKey;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeSize};
use crate::store::{Frozen, LogState, Store, StoreError, TABLES};

/// A node that is backed up.
#[derive(Clone)]
pub struct Source {
    /// Its role.
    pub role: Role,
    /// The version of the program.
    pub version: &'static str,
    /// Where its keys are.
    pub data: DataDir,
    /// Its database.
    pub store: Store,
    /// The operator's key, if this leader may sign what it stored: the newest head is signed just
    /// after it is stored, and signing it twice gives the same bytes.
    pub signer: Option<Arc<SigningKey>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A backup that was made and verified.
#[derive(Debug)]
pub struct Made {
    /// The backup.
    pub verified: Verified,
    /// The older ones that were deleted.
    pub deleted: Vec<PathBuf>,
}

/// How long another backup into the same place is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often, and how far apart, a name is looked for.
const NAMES: usize = 10;
const NAME_PAUSE: Duration = Duration::from_millis(250);
/// How many entries, and how many bytes of them, are read at once.
const STEP: u64 = 4096;
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How much is written at once.
const BUFFER: usize = 256 * 1024;
/// The row in which the time of the last backup is kept.
const LAST_SUCCESS: &str = "last_backup";

/// Makes a backup in `place`, verifies it, names it, and then deletes all but the newest `keep`.
///
/// The node may be running: everything is of one moment, since the log only grows. Reads and
/// writes files on the thread that polls it.
pub async fn make(
    source: &Source,
    place: &Path,
    keep: Option<usize>,
    progress: &dyn Progress,
) -> Result<Made, BackupError> {
    private_directory(place)?;
    let _lock = FileLock::acquire(&place.join(".lock"), PATIENCE)?;
    place::sweep(place)?;
    let mut frozen = source.store.freeze().await?;
    let (head, genesis) = pin(source, &mut frozen).await?;
    let (made_at, name) = free_name(source, place, head.tree_size).await?;
    let (part, path) = (place.join(format!("{PART}{name}")), place.join(&name));
    private_directory(&part)?;
    let mut files = vec![write_rows(&part, frozen, head.tree_size).await?];
    files.insert(0, write_entries(&source.store, &part, head.tree_size, progress).await?);
    files.extend(write_keys(source, &part)?);
    let manifest = manifest(source, head, &genesis, made_at, files);
    files::create_private(&part.join(MANIFEST), manifest.print().as_bytes())?;
    let verified = verify(&part, None, progress)?;
    fs::rename(&part, &path).map_err(FileError::io("rename", &part))?;
    sync_parent(&path)?;
    let deleted = keep.map_or(Ok(Vec::new()), |keep| place::thin(&path, keep))?;
    source.store.put_meta(LAST_SUCCESS, &made_at.to_string()).await?;
    let keys = Keys::In(path.join(KEYS));
    Ok(Made { verified: Verified { path, keys, ..verified }, deleted })
}

/// A name that is not taken: two backups of one size within a second would have the same one.
async fn free_name(
    source: &Source,
    place: &Path,
    size: TreeSize,
) -> Result<(Timestamp, String), BackupError> {
    for _ in 0..NAMES {
        let made_at = source.clock.now();
        let name = place::name(size, made_at);
        if !place.join(&name).exists() {
            return Ok((made_at, name));
        }
        tokio::time::sleep(NAME_PAUSE).await;
    }
    Err(BackupError::Exists(place.join(place::name(size, source.clock.now()))))
}

/// When the last backup of this database was made, by whichever process.
pub async fn last_success(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    Ok(store.meta(LAST_SUCCESS).await?.and_then(|text| text.parse().ok()))
}

/// Chooses the head that the backup ends with: the newest that is signed, or can be.
async fn pin(source: &Source, frozen: &mut Frozen) -> Result<(HeadJson, Leaf), BackupError> {
    let state = frozen.state().await?.filter(|state| state.tree.size > TreeSize::ZERO);
    let state = state.ok_or(BackupError::Empty)?;
    let genesis = source.store.entry(1).await?.ok_or(StoreError::Corrupt { id: 1 })?;
    let row = frozen.head_at_most(state.tree.size).await?;
    let signed = row.and_then(|row| row.head_json);
    let signed = signed.and_then(|json| serde_json::from_str::<HeadJson>(&json).ok());
    let is_newest = signed
        .as_ref()
        .is_some_and(|head| (head.tree_size, head.timestamp) == (state.tree.size, state.timestamp));
    let head = match (signed, source.signer.as_deref()) {
        (Some(head), _) if is_newest => head,
        (_, Some(key)) => sign(&state, &genesis, key)?,
        (Some(head), None) => head,
        (None, None) => return Err(BackupError::Empty),
    };
    Ok((head, genesis))
}

/// The newest stored head under the signature that it has or would get.
fn sign(state: &LogState, genesis: &Leaf, key: &SigningKey) -> Result<HeadJson, BackupError> {
    let head = TreeHead {
        chain_head: state.chain_head,
        epoch: state.epoch,
        origin: genesis_of(genesis)?.origin,
        root_hash: state.tree.hash,
        timestamp: state.timestamp,
        tree_size: state.tree.size,
    };
    let signed = head.sign(key);
    let checkpoint = checkpoint(&signed, key);
    Ok(signed.to_json(checkpoint, state.last_event_id))
}

fn checkpoint(signed: &SignedHead, key: &SigningKey) -> String {
    let origin = signed.head().origin.as_str();
    let checkpoint = Checkpoint::new(origin, signed.head().tree())
        .expect("an origin is one line without control characters");
    sign_checkpoint(&checkpoint, &origin.parse().expect("an origin is a key name"), key)
}

fn genesis_of(leaf: &Leaf) -> Result<Genesis, StoreError> {
    match Event::parse(leaf.event_type(), leaf.payload()) {
        Ok(Event::Genesis(genesis)) => Ok(*genesis),
        _ => Err(StoreError::Corrupt { id: 1 }),
    }
}

fn manifest(
    source: &Source,
    head: HeadJson,
    genesis: &Leaf,
    made_at: Timestamp,
    files: Vec<FileEntry>,
) -> Manifest {
    Manifest {
        role: source.role,
        version: source.version.to_owned(),
        origin: head.origin.clone(),
        log_id: genesis.entry_hash(),
        operator: head.key_fingerprint,
        head,
        made_at,
        files,
    }
}

async fn write_rows(
    part: &Path,
    mut frozen: Frozen,
    size: TreeSize,
) -> Result<FileEntry, BackupError> {
    let mut file = HashedFile::create(part, ROWS)?;
    for table in TABLES {
        file.write(|to| rows::write_title(to, table))?;
        let mut last = None;
        loop {
            let mut page = frozen.rows(table, size, last.as_deref()).await?;
            for row in &page {
                file.write(|to| rows::write_row(to, row))?;
            }
            match page.pop() {
                Some(row) => last = Some(row),
                None => break,
            }
        }
    }
    file.finish()
}

async fn write_entries(
    store: &Store,
    part: &Path,
    size: TreeSize,
    progress: &dyn Progress,
) -> Result<FileEntry, BackupError> {
    let mut file = HashedFile::create(part, ENTRIES)?;
    progress.begin("reading", size.get());
    let mut after = 0;
    while after < size.get() {
        let upto = (after + STEP).min(size.get());
        let leaves = store.leaves(after, upto, STEP_BYTES).await?;
        if leaves.is_empty() {
            return Err(StoreError::Corrupt { id: after + 1 }.into());
        }
        for leaf in &leaves {
            file.write(|to| entries::write(to, leaf))?;
        }
        after += leaves.len() as u64;
        progress.at(after);
    }
    file.finish()
}

fn write_keys(source: &Source, part: &Path) -> Result<Vec<FileEntry>, BackupError> {
    private_directory(&part.join(KEYS))?;
    let mut written = Vec::new();
    for name in secrets(source.role) {
        let bytes = match files::read_private(&source.data.file(name)) {
            Err(error) if error.is_missing() => continue,
            other => other?,
        };
        let name = format!("{KEYS}/{name}");
        files::create_private(&part.join(&name), &bytes)?;
        let (length, sha256) = (bytes.len() as u64, Hash::of(&bytes));
        written.push(FileEntry { name, bytes: length, sha256 });
    }
    Ok(written)
}

/// A private file that is hashed while it is written.
struct HashedFile {
    path: PathBuf,
    name: &'static str,
    to: BufWriter<Hashing>,
}

struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl HashedFile {
    fn create(part: &Path, name: &'static str) -> Result<Self, FileError> {
        let path = part.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::io("make", &path))?;
        let to = Hashing { file, hash: Sha256::new(), bytes: 0 };
        Ok(Self { path, name, to: BufWriter::with_capacity(BUFFER, to) })
    }

    fn write(
        &mut self,
        work: impl FnOnce(&mut BufWriter<Hashing>) -> io::Result<()>,
    ) -> Result<(), FileError> {
        work(&mut self.to).map_err(FileError::io("write", &self.path))
    }

    /// Makes it durable.
    fn finish(self) -> Result<FileEntry, BackupError> {
        let Self { path, name, to } = self;
        let written = to.into_inner().map_err(io::IntoInnerError::into_error);
        let Hashing { file, hash, bytes } = written.map_err(FileError::io("write", &path))?;
        file.sync_all().map_err(FileError::io("write", &path))?;
        let sha256 = Hash::new(hash.finalize().into());
        Ok(FileEntry { name: name.to_owned(), bytes, sha256 })
    }
}

/// Makes a directory that only its owner may enter, unless it is there.
fn private_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io("make", path))?;
    sync_parent(path)
}
