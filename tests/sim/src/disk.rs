//! The disk, under the names of `common/src/disk.rs`: what was not synced may be lost.
//!
//! ```text
//! file:       what was written after the last sync of the file may be there, in part, or not at all
//! directory:  a name that was made, moved or removed after the last sync of its directory may be as
//!             it was before, each for itself
//! ```
//!
//! A disk can be cut off at any operation: from then on every one fails, as for a process that dies
//! there, until [`power_cut`] says what is left.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::rng::Rng;

thread_local! {
    static DISK: RefCell<Disk> = RefCell::default();
}

#[derive(Default)]
struct Disk {
    files: Vec<Node>,
    /// The names as processes see them.
    names: BTreeMap<PathBuf, usize>,
    /// The names that survive whatever happens.
    durable: BTreeMap<PathBuf, usize>,
    /// What happened to names since, in order.
    moves: Vec<Move>,
    writes: u64,
    /// After so many more operations the disks below this path fail.
    cut: Option<(PathBuf, u64)>,
    dead: Option<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    is_directory: bool,
    bytes: Vec<u8>,
    synced: Vec<u8>,
    changed: u64,
}

#[derive(Clone, Debug)]
enum Move {
    Made(PathBuf, usize),
    Removed(PathBuf),
    /// The new name leads to the file itself, whatever became of the old one.
    Renamed(PathBuf, PathBuf, usize),
}

impl Move {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Made(path, _) | Self::Removed(path) | Self::Renamed(_, path, _) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Removed(path) => drop(names.remove(path)),
            Self::Renamed(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<usize> {
        self.alive(path)?;
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn alive(&self, path: &Path) -> io::Result<()> {
        let is_dead = self.dead.as_ref().is_some_and(|dead| path.starts_with(dead));
        if is_dead { Err(io::Error::other("the machine is off")) } else { Ok(()) }
    }

    /// Counts an operation that changes something; it may be the last one.
    fn change(&mut self, path: &Path) -> io::Result<()> {
        self.alive(path)?;
        if let Some((root, left)) = &mut self.cut
            && path.starts_with(&*root)
        {
            if *left == 0 {
                self.dead = Some(root.clone());
                self.cut = None;
                return self.alive(path);
            }
            *left -= 1;
        }
        self.writes += 1;
        Ok(())
    }

    fn make(&mut self, path: &Path, node: Node) -> usize {
        self.files.push(node);
        let file = self.files.len() - 1;
        self.names.insert(path.to_owned(), file);
        self.moves.push(Move::Made(path.to_owned(), file));
        file
    }

    fn sync_directory(&mut self, directory: &Path) {
        let moves = std::mem::take(&mut self.moves);
        for one in moves {
            if one.directory() == Some(directory) {
                one.apply(&mut self.durable);
            } else {
                self.moves.push(one);
            }
        }
    }

    /// What a power cut leaves below `root`: of everything that was not synced, whatever chance
    /// says.
    fn cut_off(&mut self, root: &Path, rng: &mut Rng) {
        let mut names = self.durable.clone();
        let (ours, others): (Vec<Move>, Vec<Move>) = std::mem::take(&mut self.moves)
            .into_iter()
            .partition(|one| one.directory().is_some_and(|directory| directory.starts_with(root)));
        self.moves = others;
        for one in ours {
            if rng.percent(50) {
                one.apply(&mut names);
            }
        }
        self.names.retain(|path, _| !path.starts_with(root));
        self.durable.retain(|path, _| !path.starts_with(root));
        for (path, file) in names.into_iter().filter(|(path, _)| path.starts_with(root)) {
            // What is in a directory goes with it.
            if path.parent().is_none_or(|parent| !self.names.contains_key(parent)) {
                continue;
            }
            let node = &mut self.files[file];
            node.bytes = left_of(&node.synced, &node.bytes, rng);
            node.synced = node.bytes.clone();
            self.names.insert(path.clone(), file);
            self.durable.insert(path, file);
        }
        self.dead = None;
        self.cut = None;
    }
}

/// What is left of a file whose last bytes were not synced.
fn left_of(synced: &[u8], written: &[u8], rng: &mut Rng) -> Vec<u8> {
    if synced == written {
        return synced.to_vec();
    }
    if written.starts_with(synced) {
        let torn = rng.between(synced.len() as u64, written.len() as u64);
        return written[..usize::try_from(torn).unwrap_or(synced.len())].to_vec();
    }
    if rng.percent(50) { synced.to_vec() } else { written.to_vec() }
}

/// Begins with an empty disk.
pub(crate) fn reset() {
    DISK.with_borrow_mut(|disk| *disk = Disk::default());
}

/// Lets the process below `root` die at its operation after so many others.
pub(crate) fn cut_after(root: &Path, operations: u64) {
    DISK.with_borrow_mut(|disk| disk.cut = Some((root.to_owned(), operations)));
}

/// Whether it died.
pub(crate) fn is_dead(root: &Path) -> bool {
    DISK.with_borrow(|disk| disk.dead.as_deref() == Some(root))
}

/// The machine loses power and comes back with what its disk kept.
pub(crate) fn power_cut(root: &Path, rng: &mut Rng) {
    DISK.with_borrow_mut(|disk| disk.cut_off(root, rng));
}

/// The process is killed; what it wrote is in the machine's memory and reaches the disk.
pub(crate) fn kill(root: &Path) {
    DISK.with_borrow_mut(|disk| {
        if disk.dead.as_deref() == Some(root) {
            disk.dead = None;
        }
        disk.cut = None;
    });
}

/// A copy of everything below `root`, as a backup takes it.
pub(crate) fn copy(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    DISK.with_borrow(|disk| {
        let below = disk.names.iter().filter(|(path, _)| path.starts_with(root));
        below
            .map(|(path, file)| {
                let node = &disk.files[*file];
                (path.clone(), (!node.is_directory).then(|| node.bytes.clone()))
            })
            .collect()
    })
}

/// Puts a copy back in the place of what is there, durably.
pub(crate) fn restore(root: &Path, copy: &BTreeMap<PathBuf, Option<Vec<u8>>>) {
    DISK.with_borrow_mut(|disk| {
        disk.names.retain(|path, _| !path.starts_with(root));
        disk.durable.retain(|path, _| !path.starts_with(root));
        disk.moves.retain(|one| !one.directory().is_some_and(|place| place.starts_with(root)));
        for (path, bytes) in copy {
            let is_directory = bytes.is_none();
            let bytes = bytes.clone().unwrap_or_default();
            disk.writes += 1;
            let changed = disk.writes;
            disk.files.push(Node { is_directory, synced: bytes.clone(), bytes, changed });
            let file = disk.files.len() - 1;
            disk.names.insert(path.clone(), file);
            disk.durable.insert(path.clone(), file);
        }
    });
}

/// What a file holds after the worst of power cuts; `None` if its name or its bytes may be lost.
pub(crate) fn durable(path: &Path) -> Option<Vec<u8>> {
    DISK.with_borrow(|disk| {
        let file = *disk.durable.get(path)?;
        let mut places = path.ancestors().filter(|place| place.parent().is_some());
        places
            .all(|place| disk.durable.contains_key(place))
            .then(|| disk.files[file].synced.clone())
    })
}

/// An open file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    file: usize,
    place: std::cell::Cell<usize>,
    appends: bool,
}

impl File {
    /// Opens a file or a directory to be read.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().open(path)
    }

    /// What is known of it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        DISK.with_borrow(|disk| {
            disk.alive(&self.path)?;
            Ok(Metadata::of(&disk.files[self.file], self.file))
        })
    }

    /// Makes bytes and length durable; of a directory, its names.
    pub fn sync_all(&self) -> io::Result<()> {
        DISK.with_borrow_mut(|disk| {
            disk.change(&self.path)?;
            if disk.files[self.file].is_directory {
                disk.sync_directory(&self.path);
            } else {
                let node = &mut disk.files[self.file];
                node.synced.clone_from(&node.bytes);
            }
            Ok(())
        })
    }

    /// The same.
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    /// Cuts it off, or fills it up.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        DISK.with_borrow_mut(|disk| {
            disk.change(&self.path)?;
            let changed = disk.writes;
            let node = &mut disk.files[self.file];
            node.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
            node.changed = changed;
            Ok(())
        })
    }

    fn read_at_place(&self, into: &mut [u8]) -> io::Result<usize> {
        DISK.with_borrow(|disk| {
            disk.alive(&self.path)?;
            let bytes = &disk.files[self.file].bytes;
            let rest = bytes.get(self.place.get()..).unwrap_or_default();
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            self.place.set(self.place.get() + count);
            Ok(count)
        })
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_at_place(into)
    }
}

impl Read for &File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_at_place(into)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        DISK.with_borrow_mut(|disk| {
            disk.change(&self.path)?;
            let changed = disk.writes;
            let node = &mut disk.files[self.file];
            if self.appends {
                self.place.set(node.bytes.len());
            }
            let end = self.place.get() + bytes.len();
            if node.bytes.len() < end {
                node.bytes.resize(end, 0);
            }
            node.bytes[self.place.get()..end].copy_from_slice(bytes);
            node.changed = changed;
            self.place.set(end);
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(place) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.place.set(usize::try_from(place).unwrap_or(usize::MAX));
        Ok(place)
    }
}

/// How a file is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    create: bool,
    create_new: bool,
    append: bool,
}

#[allow(missing_docs)]
impl OpenOptions {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    pub fn write(&mut self, _: bool) -> &mut Self {
        self
    }

    pub fn truncate(&mut self, _: bool) -> &mut Self {
        self
    }

    pub fn mode(&mut self, _: u32) -> &mut Self {
        self
    }

    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        DISK.with_borrow_mut(|disk| {
            let file = match disk.find(path) {
                Ok(_) if self.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
                Ok(file) => file,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(error) if !(self.create || self.create_new) => return Err(error),
                Err(_) => {
                    disk.change(path)?;
                    let changed = disk.writes;
                    disk.make(path, Node { changed, ..Node::default() })
                }
            };
            let path = path.to_owned();
            Ok(File { path, file, place: std::cell::Cell::new(0), appends: self.append })
        })
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    is_directory: bool,
    length: u64,
    file: u64,
    changed: i64,
}

#[allow(missing_docs)]
impl Metadata {
    fn of(node: &Node, file: usize) -> Self {
        Self {
            is_directory: node.is_directory,
            length: node.bytes.len() as u64,
            file: file as u64,
            changed: i64::try_from(node.changed).unwrap_or(i64::MAX),
        }
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_dir(&self) -> bool {
        self.is_directory
    }

    pub fn mode(&self) -> u32 {
        if self.is_directory { 0o700 } else { 0o600 }
    }

    pub fn dev(&self) -> u64 {
        1
    }

    pub fn ino(&self) -> u64 {
        self.file
    }

    pub fn mtime(&self) -> i64 {
        self.changed
    }

    pub fn mtime_nsec(&self) -> i64 {
        0
    }

    pub fn ctime(&self) -> i64 {
        self.changed
    }

    pub fn ctime_nsec(&self) -> i64 {
        0
    }
}

/// Permission bits, which nobody looks at here.
pub struct Permissions;

#[allow(missing_docs)]
impl Permissions {
    pub fn from_mode(_: u32) -> Self {
        Self
    }
}

/// Makes directories, with those above them.
pub struct DirBuilder;

#[allow(missing_docs)]
impl DirBuilder {
    pub fn new() -> Self {
        Self
    }

    pub fn recursive(&mut self, _: bool) -> &mut Self {
        self
    }

    pub fn mode(&mut self, _: u32) -> &mut Self {
        self
    }

    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let missing: Vec<_> = path.ancestors().take_while(|place| !exists(place)).collect();
        DISK.with_borrow_mut(|disk| {
            for place in missing.into_iter().rev() {
                disk.change(place)?;
                disk.make(place, Node { is_directory: true, ..Node::default() });
            }
            Ok(())
        })
    }
}

pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    DISK.with_borrow(|disk| {
        let file = disk.find(path.as_ref())?;
        Ok(Metadata::of(&disk.files[file], file))
    })
}

pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    DISK.with_borrow(|disk| Ok(disk.files[disk.find(path.as_ref())?].bytes.clone()))
}

pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(io::Error::other)
}

pub fn read_dir(path: impl AsRef<Path>) -> io::Result<std::vec::IntoIter<PathBuf>> {
    let path = path.as_ref();
    DISK.with_borrow(|disk| {
        let within = disk.names.keys().filter(|name| name.parent() == Some(path));
        Ok(within.cloned().collect::<Vec<_>>().into_iter())
    })
}

pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    DISK.with_borrow_mut(|disk| {
        disk.find(path)?;
        disk.change(path)?;
        disk.names.remove(path);
        disk.moves.push(Move::Removed(path.to_owned()));
        Ok(())
    })
}

pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    DISK.with_borrow_mut(|disk| {
        let file = disk.find(from)?;
        disk.change(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), file);
        disk.moves.push(Move::Renamed(from.to_owned(), to.to_owned(), file));
        Ok(())
    })
}

pub fn set_permissions(_: impl AsRef<Path>, _: Permissions) -> io::Result<()> {
    Ok(())
}

/// Whether there is something at this path.
pub fn exists(path: &Path) -> bool {
    metadata(path).is_ok()
}

/// One process has one directory here, so no lock is ever taken.
pub fn try_lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// What the traits of the standard library give; here they are plain functions.
pub trait DirBuilderExt {}
/// The same.
pub trait MetadataExt {}
/// The same.
pub trait OpenOptionsExt {}
/// The same.
pub trait PermissionsExt {}
