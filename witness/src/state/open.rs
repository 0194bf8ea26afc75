//! The directory of a witness: how it is begun, read and brought up to date.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::files::{
    self, DataDir, FileError, FileLock, Role, create_private, read_private, sync_parent,
};
use diogenes_common::keys::{KeyError, SigningKey};
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, KeyName, Vkey};

use super::line::{Fact, Line, MAX_LINE_BYTES};
use super::projection::{BrokenLine, Mark, Projection, StateFile};
use super::standing::LogState;
use super::{Interrupt, Moment, StateError};
use crate::log::LogName;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest state file.
const MAX_STATE_BYTES: u64 = 64 * 1024 * 1024;

/// A witness's directory, with its key. The state in it is read afresh each time.
pub struct Home {
    pub(super) directory: DataDir,
    pub(super) key: SigningKey,
    pub(super) cosigner: KeyName,
    pub(super) interrupt: Arc<dyn Interrupt>,
    /// How much of the index this process has read and checked.
    read: Mutex<Reached>,
}

/// A place in the index, and what it says up to there.
#[derive(Clone, Debug, Default)]
struct Reached {
    mark: Mark,
    offset: u64,
    projection: Projection,
}

impl Home {
    /// Opens the directory, and makes it with a new key if there is none.
    ///
    /// A key that a crash left half made is finished, under the same name if one was written.
    pub fn open(
        path: &Path,
        name: Option<&KeyName>,
        seed: impl FnOnce() -> Result<[u8; 32], FileError>,
        now: Timestamp,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, StateError> {
        let directory = DataDir::open(path, Role::Witness)?;
        let lock = FileLock::acquire(&directory.file(LOCK), PATIENCE)?;
        let files = Files::of(&directory);
        let key = match files.begun()? {
            Begun::Whole => read_key(&files.key)?,
            Begun::Unnamed => {
                let key = read_key(&files.new_key)?;
                files.cosigner_of(&key)?;
                files.name_key(&*interrupt)?;
                key
            }
            Begun::Nothing => {
                let key = SigningKey::from_seed(seed()?);
                files.begin(&key, name, now, &*interrupt)?;
                key
            }
        };
        let home = Self::with_key(directory, key, name, interrupt)?;
        home.refresh(&lock)?;
        Ok(home)
    }

    /// Opens the directory if a witness lives there, and makes nothing.
    pub fn existing(
        path: &Path,
        name: Option<&KeyName>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, StateError> {
        let directory = DataDir::existing(path, Role::Witness)?;
        let lock = FileLock::acquire(&directory.file(LOCK), PATIENCE)?;
        let key = read_key(&Files::of(&directory).key)?;
        let home = Self::with_key(directory, key, name, interrupt)?;
        home.refresh(&lock)?;
        Ok(home)
    }

    fn with_key(
        directory: DataDir,
        key: SigningKey,
        name: Option<&KeyName>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, StateError> {
        let fixed = Files::of(&directory).cosigner_of(&key)?;
        if let Some(asked) = name.filter(|asked| **asked != fixed) {
            let (fixed, asked) = (fixed.to_string(), asked.to_string());
            return Err(StateError::NameFixed { fixed, asked });
        }
        let read = Mutex::default();
        Ok(Self { directory, key, cosigner: fixed, interrupt, read })
    }

    /// The witness's key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The name under which it cosigns.
    pub fn cosigner(&self) -> &KeyName {
        &self.cosigner
    }

    /// The key as C2SP policies name it.
    pub fn vkey(&self) -> Vkey {
        Vkey::new(self.cosigner.clone(), KeyKind::Cosignature, self.key.public().clone())
    }

    /// Where it all is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the witness stands with one log; `None` if it never saw it.
    pub fn log(&self, name: &str) -> Result<Option<LogState>, StateError> {
        Ok(self.read()?.logs.remove(name))
    }

    /// Where the witness stands with every log.
    pub fn logs(&self) -> Result<BTreeMap<LogName, LogState>, StateError> {
        Ok(self.read()?.logs)
    }

    /// Every tree that the witness has stood at, for one log and by size.
    pub fn stood_at(&self, name: &str) -> Result<Vec<TreeRoot>, StateError> {
        let mut trees = Vec::new();
        self.lines(|line| {
            if line.origin() == Some(name) {
                trees.extend(line.step().map(|step| step.new_tree()));
            }
        })?;
        Ok(trees)
    }

    /// Reads the whole index, oldest line first.
    pub fn lines(&self, mut each: impl FnMut(Line)) -> Result<(), StateError> {
        let lock = FileLock::acquire(&self.directory.file(LOCK), PATIENCE)?;
        self.refresh(&lock)?;
        let mut reader = Files::of(&self.directory).index_from(0)?;
        let mut number = 0;
        while let Some(bytes) = next_line(&mut reader, number)? {
            number += 1;
            let damaged = StateError::BrokenLine { line: number, broken: BrokenLine::Damaged };
            each(Line::parse(&bytes).ok_or(damaged)?);
        }
        Ok(())
    }

    fn read(&self) -> Result<StateFile, StateError> {
        let lock = FileLock::acquire(&self.directory.file(LOCK), PATIENCE)?;
        self.refresh(&lock)
    }

    /// Appends a line and shows it in the state file, each durable before the next step.
    pub(super) fn append(&self, fact: Fact, time: Timestamp) -> Result<(), StateError> {
        self.append_if(time, |_| Some(fact))
    }

    /// The same for a line that depends on what the lines before it say; there may be none.
    pub(super) fn append_if(
        &self,
        time: Timestamp,
        decide: impl FnOnce(&BTreeMap<LogName, LogState>) -> Option<Fact>,
    ) -> Result<(), StateError> {
        let lock = FileLock::acquire(&self.directory.file(LOCK), PATIENCE)?;
        let before = self.refresh(&lock)?;
        let mut reached = self.reached();
        let Some(fact) = decide(&reached.projection.logs) else { return Ok(()) };
        let line = Line { fact, previous: reached.mark.tail, time };
        let mut projection = reached.projection.clone();
        projection
            .apply(&line)
            .map_err(|broken| StateError::BrokenLine { line: reached.mark.lines + 1, broken })?;
        let bytes = line.to_readable_bytes().ok_or(StateError::Unwritable)?;
        let files = Files::of(&self.directory);
        files::append(&files.index, &bytes)?;
        self.interrupt.after(Moment::LineAppended)?;
        reached.step_over(&bytes, projection);
        let state = before.moved_to(reached.mark, &reached.projection);
        files::replace(&files.state, &state.to_bytes())?;
        self.interrupt.after(Moment::LineProjected)?;
        Ok(())
    }

    /// Changes what only the state file knows about a log.
    pub(super) fn amend(
        &self,
        name: &LogName,
        change: impl FnOnce(&mut LogState),
    ) -> Result<(), StateError> {
        let lock = FileLock::acquire(&self.directory.file(LOCK), PATIENCE)?;
        let mut state = self.refresh(&lock)?;
        if let Some(log) = state.logs.get_mut(name) {
            change(log);
        }
        files::replace(&Files::of(&self.directory).state, &state.to_bytes())?;
        Ok(())
    }

    /// Reads what is new in the index, checks the state file against it, and rolls the file
    /// forward by the one line that it may lack.
    fn refresh(&self, _held: &FileLock) -> Result<StateFile, StateError> {
        let files = Files::of(&self.directory);
        let mut state = files.state()?;
        let mut reached = self.reached();
        let known = reached.mark;
        let goes_back = known.lines > state.index.lines;
        if goes_back {
            // The file is one line behind this process, or it was put back: read from the start.
            *reached = Reached::default();
        }
        let mut reader = files.index_from(reached.offset)?;
        loop {
            if goes_back && reached.mark.lines == known.lines && reached.mark != known {
                *reached = Reached { mark: known, ..Reached::default() };
                return Err(StateError::WentBack { line: known.lines });
            }
            if reached.mark.lines == state.index.lines {
                let same = reached.mark == state.index && reached.projection.is_shown_by(&state);
                if !same {
                    return Err(StateError::StateDiffers { line: state.index.lines });
                }
            }
            let Some(bytes) = next_line(&mut reader, reached.mark.lines)? else { break };
            let mut projection = std::mem::take(&mut reached.projection);
            let number = reached.mark.lines + 1;
            let line = Line::parse(&bytes)
                .ok_or(BrokenLine::Damaged)
                .and_then(|line| {
                    let follows = line.previous == reached.mark.tail;
                    if follows { projection.apply(&line) } else { Err(BrokenLine::NotChained) }
                })
                .map_err(|broken| StateError::BrokenLine { line: number, broken });
            if let Err(error) = line {
                *reached = Reached::default();
                return Err(error);
            }
            reached.step_over(&[&bytes[..], b"\n"].concat(), projection);
        }
        if goes_back && reached.mark.lines < known.lines {
            *reached = Reached { mark: known, ..Reached::default() };
            return Err(StateError::WentBack { line: known.lines });
        }
        let (index, shown) = (reached.mark.lines, state.index.lines);
        match index.checked_sub(shown) {
            None => return Err(StateError::StateAhead { state: shown, index }),
            Some(0) => {}
            Some(1) => {
                state = state.moved_to(reached.mark, &reached.projection);
                files::replace(&files.state, &state.to_bytes())?;
            }
            Some(_) => return Err(StateError::StateBehind { state: shown, index }),
        }
        files.cut_index_to(reached.offset)?;
        Ok(state)
    }

    fn reached(&self) -> std::sync::MutexGuard<'_, Reached> {
        // A panic while reading leaves at worst a cache that the next reading finds wrong.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reached {
    fn step_over(&mut self, line: &[u8], projection: Projection) {
        let tail = Hash::of(line.strip_suffix(b"\n").unwrap_or(line));
        self.mark = Mark { lines: self.mark.lines + 1, tail: Some(tail) };
        self.offset += line.len() as u64;
        self.projection = projection;
    }
}

const LOCK: &str = "lock";

/// The paths of the files that belong together.
struct Files {
    key: PathBuf,
    new_key: PathBuf,
    index: PathBuf,
    state: PathBuf,
}

/// How far an earlier start came.
enum Begun {
    Nothing,
    Unnamed,
    Whole,
}

impl Files {
    fn of(directory: &DataDir) -> Self {
        Self {
            key: directory.file("witness.pem"),
            new_key: directory.file("witness.pem.new"),
            index: directory.file("index.jsonl"),
            state: directory.file("state.json"),
        }
    }

    fn begun(&self) -> Result<Begun, StateError> {
        let indexed = self.first_line()?.is_some();
        match (self.key.exists(), self.new_key.exists(), indexed) {
            (true, true, _) => Err(StateError::TwoKeys(self.new_key.clone())),
            (true, false, true) => Ok(Begun::Whole),
            (true, false, false) => Err(StateError::KeyWithoutIndex(self.key.clone())),
            (false, _, false) if self.state.exists() => {
                Err(StateError::StateAlone(self.state.clone()))
            }
            (false, true, true) if !self.state.exists() && self.has_one_line()? => {
                Ok(Begun::Unnamed)
            }
            (false, _, true) => Err(StateError::IndexWithoutKey(self.index.clone())),
            (false, _, false) => Ok(Begun::Nothing),
        }
    }

    /// Makes the key and its index. What an interrupted start left was never used for anything.
    fn begin(
        &self,
        key: &SigningKey,
        name: Option<&KeyName>,
        now: Timestamp,
        interrupt: &dyn Interrupt,
    ) -> Result<(), StateError> {
        for half_made in [&self.new_key, &self.index] {
            remove(half_made)?;
        }
        create_private(&self.new_key, key.to_pem().as_bytes())?;
        interrupt.after(Moment::KeyMade)?;
        let fingerprint = key.fingerprint();
        let cosigner =
            name.map_or_else(|| format!("witness-{}", fingerprint.short()), KeyName::to_string);
        let first = Line { fact: Fact::Key { cosigner, fingerprint }, previous: None, time: now };
        files::append(&self.index, &first.to_bytes())?;
        interrupt.after(Moment::IndexBegun)?;
        self.name_key(interrupt)
    }

    fn name_key(&self, interrupt: &dyn Interrupt) -> Result<(), StateError> {
        fs::rename(&self.new_key, &self.key).map_err(io_error("rename", &self.new_key))?;
        sync_parent(&self.key)?;
        Ok(interrupt.after(Moment::KeyNamed)?)
    }

    fn first_line(&self) -> Result<Option<Line>, StateError> {
        let damaged = StateError::BrokenLine { line: 1, broken: BrokenLine::Damaged };
        match self.index_from(0) {
            Err(StateError::File(error)) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
            Ok(mut reader) => match next_line(&mut reader, 0)? {
                None => Ok(None),
                Some(bytes) => Line::parse(&bytes).map(Some).ok_or(damaged),
            },
        }
    }

    fn has_one_line(&self) -> Result<bool, StateError> {
        let mut reader = self.index_from(0)?;
        Ok(next_line(&mut reader, 0)?.is_some() && next_line(&mut reader, 1)?.is_none())
    }

    /// The name that the index fixes for this key; it must be this key's index.
    fn cosigner_of(&self, key: &SigningKey) -> Result<KeyName, StateError> {
        let broken = |broken| StateError::BrokenLine { line: 1, broken };
        let first = self.first_line()?.ok_or(broken(BrokenLine::Damaged))?;
        let Fact::Key { cosigner, fingerprint } = first.fact else {
            return Err(broken(BrokenLine::Key));
        };
        if fingerprint != key.fingerprint() {
            return Err(StateError::OtherKey { key: key.fingerprint(), index: fingerprint });
        }
        cosigner.parse().map_err(|_| broken(BrokenLine::Key))
    }

    fn index_from(&self, offset: u64) -> Result<BufReader<File>, StateError> {
        let mut file = File::open(&self.index).map_err(io_error("open", &self.index))?;
        file.seek(SeekFrom::Start(offset)).map_err(io_error("read", &self.index))?;
        Ok(BufReader::new(file))
    }

    /// Cuts off what follows the last whole line: a crash tore it while it was written, so it was
    /// never acted upon.
    fn cut_index_to(&self, offset: u64) -> Result<(), StateError> {
        let file = OpenOptions::new()
            .write(true)
            .open(&self.index)
            .map_err(io_error("open", &self.index))?;
        let length = file.metadata().map_err(io_error("read", &self.index))?.len();
        if length > offset {
            file.set_len(offset)
                .and_then(|()| file.sync_all())
                .map_err(io_error("cut", &self.index))?;
        }
        Ok(())
    }

    fn state(&self) -> Result<StateFile, StateError> {
        let file = match File::open(&self.state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(StateFile::default());
            }
            other => other.map_err(io_error("open", &self.state))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_STATE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &self.state))?;
        serde_json::from_slice(&bytes).map_err(|_| StateError::StateDamaged)
    }
}

fn read_key(path: &Path) -> Result<SigningKey, StateError> {
    let pem = read_private(path)?;
    let unusable = |error| StateError::Key { path: path.to_owned(), error };
    let text = std::str::from_utf8(&pem).map_err(|_| unusable(KeyError::NotPem))?;
    SigningKey::from_pem(text).map_err(unusable)
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The next whole line without its line feed; what a crash tore is no line.
fn next_line(reader: &mut impl BufRead, before: u64) -> Result<Option<Vec<u8>>, StateError> {
    let mut bytes = Vec::new();
    let limit = MAX_LINE_BYTES as u64 + 1;
    reader
        .take(limit)
        .read_until(b'\n', &mut bytes)
        .map_err(io_error("read", Path::new("index.jsonl")))?;
    if bytes.pop() == Some(b'\n') {
        return Ok(Some(bytes));
    }
    if bytes.len() >= MAX_LINE_BYTES {
        return Err(StateError::BrokenLine { line: before + 1, broken: BrokenLine::Damaged });
    }
    Ok(None)
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |error| {
        let (path, kind) = (path.to_owned(), error.kind());
        StateError::File(FileError::Io { doing, path, kind })
    }
}

/// The root that the witness stood at with this size, if it stood there.
pub(crate) fn root_at(stood: &[TreeRoot], size: TreeSize) -> Option<Hash> {
    stood.binary_search_by_key(&size, |tree| tree.size).ok().map(|found| stood[found].hash)
}
