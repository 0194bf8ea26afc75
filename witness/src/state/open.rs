//! The directory of a witness: how it is begun, read and brought up to date.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::disk::{self as fs, File, OpenOptions};
use diogenes_common::files::{
    self, DataDir, FileError, FileLock, Role, create_private, read_private, sync_parent,
};
use diogenes_common::keys::{KeyError, SigningKey};
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, KeyName, Vkey};

use super::line::{Fact, Line, MAX_LINE_BYTES};
use super::projection::{BrokenLine, Mark, Projection, StateFile};
use super::standing::LogState;
use super::written::Written;
use super::{Interrupt, Moment, StateError};
use crate::log::LogName;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest state file.
pub(super) const MAX_STATE_BYTES: u64 = if cfg!(test) { 8 } else { 64 } * 1024 * 1024;

/// A witness's directory, with its key. The state in it is looked at each time, and read again when
/// another process changed it.
pub struct Home {
    pub(super) directory: DataDir,
    pub(super) key: SigningKey,
    pub(super) cosigner: KeyName,
    pub(super) interrupt: Arc<dyn Interrupt>,
    /// How much of the index this process has read and checked.
    read: Mutex<Reached>,
}

/// A place in the index, what it says up to there, and the state file.
#[derive(Debug, Default)]
pub(super) struct Reached {
    pub(super) mark: Mark,
    offset: u64,
    pub(super) projection: Projection,
    state: StateFile,
    /// The file that holds exactly this state; none if it must be read again.
    written: Option<Written>,
}

/// The state while no other thread or process can change it, as the files have it.
struct Held<'a> {
    reached: MutexGuard<'a, Reached>,
    _lock: FileLock,
}

impl Deref for Held<'_> {
    type Target = Reached;

    fn deref(&self) -> &Reached {
        &self.reached
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Reached {
        &mut self.reached
    }
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
        let lock = directory.lock(PATIENCE)?;
        let files = Files::of(&directory);
        let key = match files.begun()? {
            Begun::Whole => read_key(&files.key)?,
            Begun::Unnamed => {
                let key = read_key(&files.new_key)?;
                files.cosigner_of(&key)?;
                // Whoever wrote the line may not have come to making it durable.
                files.sync_index()?;
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
        drop(lock);
        home.read_all()
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
        drop(lock);
        home.read_all()
    }

    fn read_all(self) -> Result<Self, StateError> {
        self.read_ahead();
        self.hold()?;
        Ok(self)
    }

    /// Reads the lines that the state file shows, without the lock: they are durable and never
    /// change, and others need not wait until a long index is read.
    ///
    /// What is wrong with them is found again, and told, by whoever holds the lock.
    pub(super) fn read_ahead(&self) {
        let mut reached = self.reached();
        if Files::of(&self.directory).read_shown(&mut reached).is_err() {
            *reached = Reached::default();
        }
    }

    /// Knows as little as a process that has just started.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *self.reached() = Reached::default();
    }

    /// How many lines of the index were read.
    #[cfg(test)]
    pub(super) fn lines_read(&self) -> u64 {
        self.reached().mark.lines
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
        let found =
            self.hold()?.state.logs.get_key_value(name).map(|(n, s)| (n.clone(), s.clone()));
        let Some((name, mut state)) = found else { return Ok(None) };
        self.add_refreshed(&name, &mut state)?;
        Ok(Some(state))
    }

    /// Where the witness stands with every log.
    pub fn logs(&self) -> Result<BTreeMap<LogName, LogState>, StateError> {
        let mut logs = self.hold()?.state.logs.clone();
        for (name, state) in &mut logs {
            self.add_refreshed(name, state)?;
        }
        Ok(logs)
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
        // What was read once never changes: nobody has to wait while it is read again.
        let end = self.hold()?.offset;
        let mut reader = Files::of(&self.directory).index_from(0)?.take(end);
        let mut number = 0;
        while let Some(bytes) = next_line(&mut reader, number)? {
            number += 1;
            let damaged = StateError::BrokenLine { line: number, broken: BrokenLine::Damaged };
            each(Line::parse(&bytes).ok_or(damaged)?);
        }
        Ok(())
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
        let mut reached = self.hold()?;
        let Some(fact) = decide(&reached.projection.logs) else { return Ok(()) };
        let line = Line { fact, previous: reached.mark.tail, time };
        let change = reached
            .projection
            .change(&line)
            .map_err(|broken| StateError::BrokenLine { line: reached.mark.lines + 1, broken })?;
        let bytes = line.to_readable_bytes().ok_or(StateError::Unwritable)?;
        let files = Files::of(&self.directory);
        let mark = reached.mark.after(&bytes);
        let state = reached.unwritten();
        state.step_to(mark, &change);
        let shown = state.render();
        if shown.len() as u64 > MAX_STATE_BYTES {
            return Err(StateError::Full);
        }
        files::append(&files.index, &bytes)?;
        self.interrupt.after(Moment::LineAppended)?;
        reached.step_over(&bytes, change);
        reached.written = Some(files.show(&shown)?);
        self.interrupt.after(Moment::LineProjected)?;
        Ok(())
    }

    /// Changes what only the state file knows about a log.
    pub(super) fn amend(
        &self,
        name: &LogName,
        change: impl FnOnce(&mut LogState),
    ) -> Result<(), StateError> {
        let mut reached = self.hold()?;
        let state = reached.unwritten();
        state.amend(name, change);
        let shown = state.render();
        reached.written = Some(Files::of(&self.directory).show(&shown)?);
        Ok(())
    }

    /// Keeps everybody else out, and reads what is new.
    ///
    /// Threads wait for each other at the mutex, which wakes them, and processes at the file.
    fn hold(&self) -> Result<Held<'_>, StateError> {
        let reached = self.reached();
        let lock = FileLock::acquire(&self.directory.file(LOCK), PATIENCE)?;
        let mut held = Held { reached, _lock: lock };
        let (files, known) = (Files::of(&self.directory), held.mark);
        if let Err(error) = files.refresh(&mut held) {
            // A file that cannot be opened for a moment changes nothing about what was read.
            let is_whole = matches!(error, StateError::File(_)) && held.mark.lines >= known.lines;
            if !is_whole {
                *held = Reached { mark: known, ..Reached::default() };
            }
            held.written = None;
            return Err(error);
        }
        Ok(held)
    }

    fn reached(&self) -> MutexGuard<'_, Reached> {
        // A panic while reading leaves at worst a cache that the next reading finds wrong.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reached {
    /// The state, to be changed: until it is written, the file is to be read again.
    fn unwritten(&mut self) -> &mut StateFile {
        self.written = None;
        &mut self.state
    }

    /// Takes a line of the index into account, given without its line feed.
    fn read_line(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let number = self.mark.lines + 1;
        let change = Line::parse(bytes)
            .ok_or(BrokenLine::Damaged)
            .and_then(|line| {
                let follows = line.previous == self.mark.tail;
                if follows { self.projection.change(&line) } else { Err(BrokenLine::NotChained) }
            })
            .map_err(|broken| StateError::BrokenLine { line: number, broken })?;
        self.step_over(&[bytes, b"\n"].concat(), change);
        Ok(())
    }

    fn step_over(&mut self, line: &[u8], change: Projection) {
        self.mark = self.mark.after(line);
        self.offset += line.len() as u64;
        self.projection.take(change);
    }

    fn start_over(&mut self) {
        (self.mark, self.offset, self.projection) = Default::default();
    }
}

const LOCK: &str = "lock";

/// The paths of the files that belong together.
pub(super) struct Files {
    pub(super) key: PathBuf,
    new_key: PathBuf,
    index: PathBuf,
    state: PathBuf,
}

/// How far an earlier start came.
pub(super) enum Begun {
    Nothing,
    Unnamed,
    Whole,
}

impl Files {
    pub(super) fn of(directory: &DataDir) -> Self {
        Self {
            key: directory.file("witness.pem"),
            new_key: directory.file("witness.pem.new"),
            index: directory.file("index.jsonl"),
            state: directory.file("state.json"),
        }
    }

    /// Reads what is new in the index, checks the state file against it, and rolls the file
    /// forward by the one line that it may lack.
    fn refresh(&self, reached: &mut Reached) -> Result<(), StateError> {
        let length = self.index_length()?;
        let is_current = reached.written.as_ref().is_some_and(|last| last.is_still(&self.state));
        if is_current && length == reached.offset {
            return Ok(());
        }
        // Whoever wrote the state file may not have come to making its name durable: a power cut
        // after the next line would bring the one before it back.
        sync_parent(&self.state)?;
        if self.compare(reached)? {
            self.roll_forward(reached)?;
        }
        self.cut_index_to(reached.offset)
    }

    /// Reads what is new in the index and holds the state file against it; says whether the file
    /// lacks one line. Changes neither.
    pub(super) fn compare(&self, reached: &mut Reached) -> Result<bool, StateError> {
        let length = self.index_length()?;
        (reached.state, reached.written) = self.state()?;
        let (known, shown) = (reached.mark, reached.state.index.lines);
        // The file is one line behind this process, or something was put back, now or when it was
        // read the last time: read from the start.
        let starts_over = known.lines > shown || reached.offset == 0 || length < reached.offset;
        if starts_over {
            reached.start_over();
        }
        let mut reader = self.index_from(reached.offset)?;
        loop {
            if starts_over && reached.mark.lines == known.lines && reached.mark != known {
                return Err(StateError::WentBack { line: known.lines });
            }
            if reached.mark.lines == shown {
                let same = reached.mark == reached.state.index
                    && reached.projection.is_shown_by(&reached.state);
                if !same {
                    return Err(StateError::StateDiffers { line: shown });
                }
            }
            let Some(bytes) = next_line(&mut reader, reached.mark.lines)? else { break };
            reached.read_line(&bytes)?;
        }
        if reached.mark.lines < known.lines {
            return Err(StateError::WentBack { line: known.lines });
        }
        let index = reached.mark.lines;
        match index.checked_sub(shown) {
            None => Err(StateError::StateAhead { state: shown, index }),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(StateError::StateBehind { state: shown, index }),
        }
    }

    /// Shows the one line that the state file lacks.
    fn roll_forward(&self, reached: &mut Reached) -> Result<(), StateError> {
        // Whoever wrote the line may not have come to making it durable.
        self.sync_index()?;
        let mut state = reached.state.moved_to(reached.mark, &reached.projection);
        reached.written = Some(self.show(&state.render())?);
        reached.state = state;
        Ok(())
    }

    /// Reads as many lines of the index as the state file shows.
    fn read_shown(&self, reached: &mut Reached) -> Result<(), StateError> {
        let shown = self.state()?.0.index.lines;
        let mut reader = self.index_from(0)?;
        while reached.mark.lines < shown {
            let Some(bytes) = next_line(&mut reader, reached.mark.lines)? else { break };
            reached.read_line(&bytes)?;
        }
        Ok(())
    }

    fn index_length(&self) -> Result<u64, StateError> {
        let metadata = fs::metadata(&self.index).map_err(io_error("open", &self.index))?;
        Ok(metadata.len())
    }

    fn sync_index(&self) -> Result<(), StateError> {
        let file = File::open(&self.index).map_err(io_error("open", &self.index))?;
        file.sync_data().map_err(io_error("sync", &self.index))
    }

    /// Makes these bytes the state file.
    fn show(&self, state: &[u8]) -> Result<Written, StateError> {
        files::replace(&self.state, state)?;
        let file = File::open(&self.state).map_err(io_error("open", &self.state))?;
        Written::of(file).map_err(io_error("read", &self.state))
    }

    pub(super) fn begun(&self) -> Result<Begun, StateError> {
        let indexed = self.first_line()?.is_some();
        match (fs::exists(&self.key), fs::exists(&self.new_key), indexed) {
            (true, true, _) => Err(StateError::TwoKeys(self.new_key.clone())),
            (true, false, true) => Ok(Begun::Whole),
            (true, false, false) => Err(StateError::KeyWithoutIndex(self.key.clone())),
            (false, _, false) if fs::exists(&self.state) => {
                Err(StateError::StateAlone(self.state.clone()))
            }
            (false, true, true) if !fs::exists(&self.state) && self.has_one_line()? => {
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
    pub(super) fn cosigner_of(&self, key: &SigningKey) -> Result<KeyName, StateError> {
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

    fn state(&self) -> Result<(StateFile, Option<Written>), StateError> {
        let file = match File::open(&self.state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((StateFile::default(), None));
            }
            other => other.map_err(io_error("open", &self.state))?,
        };
        let mut bytes = Vec::new();
        (&file)
            .take(MAX_STATE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &self.state))?;
        let state = serde_json::from_slice(&bytes).map_err(|_| StateError::StateDamaged)?;
        let written = Written::of(file).map_err(io_error("read", &self.state))?;
        Ok((state, Some(written)))
    }
}

pub(super) fn read_key(path: &Path) -> Result<SigningKey, StateError> {
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

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |error| StateError::File(FileError::io(doing, path)(error))
}

/// The root that the witness stood at with this size, if it stood there.
pub(crate) fn root_at(stood: &[TreeRoot], size: TreeSize) -> Option<Hash> {
    stood.binary_search_by_key(&size, |tree| tree.size).ok().map(|found| stood[found].hash)
}
