//! Files that must be private, durable or held by one process at a time.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::disk::{
    self as fs, DirBuilder, DirBuilderExt as _, File, MetadataExt as _, OpenOptions,
    OpenOptionsExt as _, PermissionsExt as _,
};
use crate::exit::Failure;

/// The largest private file that is read: keys, secrets and state are all far smaller.
const MAX_PRIVATE: u64 = 16 * 1024 * 1024;

/// The fewest bytes of a key that signs sessions.
const LEAST_SECRET: usize = 32;

/// The three kinds of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The only writer.
    Leader,
    /// A read-only mirror.
    Follower,
    /// Checks that heads extend each other, and signs that.
    Witness,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Leader, Self::Follower, Self::Witness];

    /// The role's name, also that of its data directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Witness => "witness",
        }
    }

    /// The file with the role's own private key.
    pub const fn key_file(self) -> &'static str {
        match self {
            Self::Leader => "operator.pem",
            Self::Follower => "follower.pem",
            Self::Witness => "witness.pem",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {}", path.display(), io::Error::from(*kind))]
    Io {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        kind: io::ErrorKind,
    },
    /// This process or the machine has too many files open; the disk is well.
    #[error("cannot {doing} {}: too many files are open", path.display())]
    TooManyOpen {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// Somebody else could read what must be private.
    #[error("{} is open to others (mode {mode:04o})", path.display())]
    TooOpen {
        /// Which file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path names something that is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// Which path.
        path: PathBuf,
    },
    /// The data directory belongs to another role.
    #[error("{} holds the data of a {found}, not of a {}", path.display(), expected.name())]
    OtherRole {
        /// Which directory.
        path: PathBuf,
        /// Who is asking.
        expected: Role,
        /// Whose it is.
        found: String,
    },
    /// Another process holds the lock.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// The file is larger than any that belongs here.
    #[error("{} is too large", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file does not hold what its name promises.
    #[error("{} does not hold {expected}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The operating system has no randomness to give.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl FileError {
    /// The error that the operating system gave for an attempt on a file.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let path = path.to_owned();
            match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) => Self::TooManyOpen { doing, path },
                _ => Self::Io { doing, path, kind: error.kind() },
            }
        }
    }

    /// Says whether the file simply is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { kind: io::ErrorKind::NotFound, .. })
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        use io::ErrorKind as Kind;
        match &error {
            FileError::Io { kind: Kind::StorageFull | Kind::QuotaExceeded, .. } => {
                Self::disk("disk_full", &error, "free some space and start again")
            }
            FileError::Io { kind: Kind::PermissionDenied, path, .. } => Self::unsafe_state(
                "permission_denied",
                &error,
                format!("run as the owner of {}, or choose another --data-dir", path.display()),
            ),
            FileError::Io { kind: Kind::NotFound, .. } => {
                Self::unsafe_state("file_missing", &error, "check the path, or restore the file")
            }
            FileError::Io { .. } => Self::disk("disk_failed", &error, "check the disk"),
            FileError::TooManyOpen { .. } => Self::refused(
                "too_many_open_files",
                &error,
                "raise the limit of open files (LimitNOFILE=, ulimit -n) and start again",
            ),
            FileError::TooOpen { path, .. } => {
                let mode = if path.is_dir() { "700" } else { "600" };
                Self::unsafe_state(
                    "file_too_open",
                    &error,
                    format!("make sure that nobody read it, then: chmod {mode} {}", path.display()),
                )
            }
            FileError::OtherRole { .. } => {
                Self::unsafe_state("other_role", &error, "give each node a --data-dir of its own")
            }
            FileError::Locked { .. } => {
                Self::unsafe_state("locked", &error, "stop the other process first")
            }
            FileError::NotADirectory { .. } => {
                Self::unsafe_state("not_a_directory", &error, "choose another --data-dir")
            }
            FileError::TooLarge { .. } | FileError::Malformed { .. } => {
                Self::unsafe_state("file_malformed", &error, "restore the file from a backup")
            }
            FileError::NoRandomness => {
                Self::unsafe_state("no_randomness", &error, "check the operating system")
            }
        }
    }
}

/// The directory of one node: private to its owner, and marked with its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Opens the directory for `role`, and makes and marks it if it is missing or empty.
    ///
    /// A directory that others may enter is refused, and so is one that belongs to another role,
    /// by its marker or by another role's key.
    pub fn open(path: &Path, role: Role) -> Result<Self, FileError> {
        private_dir(path)?;
        match Self::existing(path, role) {
            Err(error) if error.is_missing() => {
                replace(&path.join(MARKER), format!("{}\n", role.name()).as_bytes())?;
                Ok(Self(path.to_owned()))
            }
            other => other,
        }
    }

    /// Opens the directory for `role` if it is there, and changes nothing.
    pub fn existing(path: &Path, role: Role) -> Result<Self, FileError> {
        check_private(path, &fs::metadata(path).map_err(FileError::io("open", path))?)?;
        let other = |found: &str| FileError::OtherRole {
            path: path.to_owned(),
            expected: role,
            found: found.to_owned(),
        };
        let foreign = Role::ALL
            .into_iter()
            .find(|other| *other != role && fs::exists(&path.join(other.key_file())));
        if let Some(foreign) = foreign {
            return Err(other(foreign.name()));
        }
        let marker = path.join(MARKER);
        match fs::read_to_string(&marker).map_err(FileError::io("read", &marker))?.trim() {
            found if found == role.name() => Ok(Self(path.to_owned())),
            found => Err(other(&found.chars().take(20).collect::<String>())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes the lock that keeps a second process out; waits up to `patience` for it.
    ///
    /// A process that was killed may have named files here and not come to making that durable: it
    /// is durable then, before anything is built upon it.
    pub fn lock(&self, patience: Duration) -> Result<FileLock, FileError> {
        let path = self.file("lock");
        let lock = FileLock::acquire(&path, patience)?;
        sync_parent(&path)?;
        Ok(lock)
    }

    /// The key of the node's own sessions: one that was given must be long enough; without one,
    /// `secret-key` is made at first use.
    pub fn session_key(&self, given: Option<&str>) -> Result<Zeroizing<String>, Failure> {
        match given {
            Some(secret) if secret.len() < LEAST_SECRET => Err(Failure::unsafe_state(
                "weak_secret",
                format!("SECRET_KEY has fewer than {LEAST_SECRET} bytes"),
                "use 32 random bytes, or leave it out: one is made in the data directory",
            )),
            Some(secret) => Ok(Zeroizing::new(secret.to_owned())),
            None => Ok(self.secret("secret-key")?),
        }
    }

    /// The secret of that name (`operator-token`, `secret-key`), made at first use: 32 random
    /// bytes in base64url.
    pub fn secret(&self, name: &str) -> Result<Zeroizing<String>, FileError> {
        let path = self.file(name);
        match read_private(&path) {
            Err(error) if error.is_missing() => {
                let bytes = Zeroizing::new(random::<32>()?);
                let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
                create_private(&path, text.as_bytes())?;
                Ok(text)
            }
            Err(error) => Err(error),
            Ok(bytes) => match std::str::from_utf8(&bytes).map(str::trim) {
                Ok(text) if !text.is_empty() => Ok(Zeroizing::new(text.to_owned())),
                _ => Err(FileError::Malformed { path, expected: "a secret in one line" }),
            },
        }
    }
}

/// The file that names the role of a data directory.
const MARKER: &str = "role";

/// A lock that other processes respect, until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Locks the file, which is made if needed; waits up to `patience`.
    ///
    /// Blocks its thread: call it before the runtime starts or on a blocking thread.
    pub fn acquire(path: &Path, patience: Duration) -> Result<Self, FileError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(FileError::io("open", path))?;
        let deadline = Instant::now() + patience;
        loop {
            match fs::try_lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(FileError::Locked { path: path.to_owned() });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("lock", path)(error)),
            }
        }
    }
}

/// Makes the directory for its owner alone (0700), durably, or checks that it is.
///
/// An empty directory that is open to others is closed: systemd and containers make them so, and
/// nothing in it could have been read.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_missing = |place: &&Path| place.parent().is_some() && !fs::exists(place);
            let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(FileError::io("make", path))?;
            missing.into_iter().try_for_each(sync_parent)?;
            fs::metadata(path).map_err(FileError::io("open", path))?
        }
        other => other.map_err(FileError::io("open", path))?,
    };
    let open = check_private(path, &metadata);
    if matches!(open, Err(FileError::TooOpen { .. })) {
        let mut entries = fs::read_dir(path).map_err(FileError::io("list", path))?;
        if entries.next().is_none() {
            return fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(FileError::io("close", path));
        }
    }
    open
}

/// Reads a file that must be its owner's alone.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_PRIVATE {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    // Room from the start, so that growing leaves no copy of a key behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_PRIVATE).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    Ok(bytes)
}

/// Makes a new private file (0600), durably; one that is already there is never overwritten.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("make", path))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a key would block the next start for good.
        let _best_effort = fs::remove_file(path);
        return Err(FileError::io("write", path)(error));
    }
    sync_parent(path)
}

/// Replaces a file so that after a power cut it holds either the old bytes or the new ones.
///
/// Returns when the new ones are durable. One writer per file at a time.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    // A left-over of a crash may have any mode; a new file has ours.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FileError::io("remove", &temporary)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(FileError::io("make", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(FileError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(FileError::io("replace", path))?;
    sync_parent(path)
}

/// Appends to a private file, which is made if needed, and returns when that is durable.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let is_new = !fs::exists(path);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("open", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(FileError::io("append to", path))?;
    if is_new { sync_parent(path) } else { Ok(()) }
}

/// Makes the names in the file's directory durable, after a rename or a removal.
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(FileError::io("sync", parent))
}

/// Bytes that an unprivileged process may still write on the disk that holds `path`.
pub fn free_space(path: &Path) -> Result<u64, FileError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| FileError::io("measure", path)(io::Error::from(error)))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| FileError::NoRandomness)?;
    Ok(bytes)
}

fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let mode = metadata.mode() & 0o777;
    if !metadata.is_dir() {
        return Err(FileError::NotADirectory { path: path.to_owned() });
    }
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn exit(error: FileError) -> Exit {
        Failure::from(error).exit()
    }

    #[test]
    fn too_many_open_files_are_no_fault_of_the_disk() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            let error = FileError::io("open", Path::new("x"))(io::Error::from(errno));

            assert_eq!(exit(error), Exit::Refused, "{errno}");
        }
        let broken = FileError::io("read", Path::new("x"))(io::Error::from(Errno::IO));
        assert_eq!(exit(broken), Exit::Disk);
    }

    #[test]
    fn a_data_directory_is_private_and_belongs_to_one_role() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/leader");

        let made = DataDir::open(&path, Role::Leader).unwrap();

        assert_eq!(mode(&path), 0o700);
        assert_eq!(DataDir::open(&path, Role::Leader), Ok(made));
        let refused = DataDir::open(&path, Role::Witness).unwrap_err();
        assert!(matches!(&refused, FileError::OtherRole { found, .. } if found == "leader"));
        assert_eq!(exit(refused), Exit::Unsafe);
    }

    #[test]
    fn a_key_marks_a_directory_as_well_as_the_marker_does() {
        let root = tempfile::tempdir().unwrap();
        private_dir(root.path()).unwrap();
        create_private(&root.path().join("operator.pem"), b"key").unwrap();

        let refused = DataDir::open(root.path(), Role::Follower);

        assert!(matches!(refused, Err(FileError::OtherRole { found, .. }) if found == "leader"));
        assert!(!root.path().join(MARKER).exists());
    }

    #[test]
    fn looking_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("none");

        assert!(DataDir::existing(&path, Role::Leader).is_err_and(|error| error.is_missing()));
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_others_could_read_is_refused_unless_it_is_empty() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();

        assert_eq!(private_dir(root.path()), Ok(()));
        assert_eq!(mode(root.path()), 0o700);

        create_private(&root.path().join("x"), b"").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let open = FileError::TooOpen { path: root.path().to_owned(), mode: 0o750 };
        assert_eq!(private_dir(root.path()), Err(open));
    }

    #[test]
    fn a_private_file_is_never_overwritten_and_never_read_when_others_could() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key.pem");
        create_private(&path, b"one").unwrap();

        assert_eq!(mode(&path), 0o600);
        assert!(create_private(&path, b"two").is_err());
        assert_eq!(read_private(&path).as_deref().map(Vec::as_slice), Ok(&b"one"[..]));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            read_private(&path).unwrap_err(),
            FileError::TooOpen { path: path.clone(), mode: 0o640 }
        );
    }

    #[test]
    fn a_secret_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(&root.path().join("d"), Role::Leader).unwrap();

        let first = data.secret("operator-token").unwrap();

        assert_eq!(URL_SAFE_NO_PAD.decode(first.as_bytes()).map(|b| b.len()), Ok(32));
        assert_eq!(data.secret("operator-token"), Ok(first.clone()));
        assert_ne!(data.secret("secret-key").unwrap(), first);
        assert_eq!(mode(&data.file("operator-token")), 0o600);

        std::fs::write(data.file("operator-token"), "\n").unwrap();
        assert!(matches!(data.secret("operator-token"), Err(FileError::Malformed { .. })));
    }

    #[test]
    fn a_session_key_is_made_unless_one_is_given_that_is_long_enough() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(&root.path().join("d"), Role::Leader).unwrap();
        let path = data.file("secret-key");

        let weak = data.session_key(Some("x".repeat(31).as_str())).unwrap_err();

        assert_eq!((weak.exit(), weak.reason()), (Exit::Unsafe, "weak_secret"));
        let given = "x".repeat(32);
        assert_eq!(*data.session_key(Some(&given)).unwrap(), given);
        assert!(!path.exists());
        let made = data.session_key(None).unwrap();
        assert_eq!((made.len(), mode(&path)), (43, 0o600));
        assert_eq!(data.session_key(None).unwrap(), made);
    }

    #[test]
    fn a_replacement_is_whole_and_survives_a_left_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state.json");
        std::fs::write(root.path().join("state.json.tmp"), "torn").unwrap();

        replace(&path, b"{}").unwrap();
        replace(&path, b"{\"a\":1}").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"{\"a\":1}");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn appended_lines_follow_each_other() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("index.jsonl");

        append(&path, b"1\n").unwrap();
        append(&path, b"2\n").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_lock_has_one_holder_and_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = FileLock::acquire(&path, Duration::ZERO).unwrap();

        let refused = FileLock::acquire(&path, Duration::from_millis(30)).unwrap_err();
        assert_eq!(refused, FileError::Locked { path: path.clone() });

        let waiting = std::thread::spawn(move || FileLock::acquire(&path, Duration::from_secs(10)));
        drop(held);
        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn free_space_is_measured() {
        assert!(free_space(Path::new("/")).is_ok());
        assert!(free_space(Path::new("/no/such/place")).is_err());
    }
}
