//! How a process is harmed: what its command line and surroundings become, and whether it happened.
//!
//! Refused calls are strace's; a file that can't grow is the kernel's own limit (`RLIMIT_FSIZE`),
//! so the write that hits it is truly cut short; the wall clock is moved by a library that stands
//! before the C library's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, ensure};
use diogenes_tests::process::Process;
use rustix::process::{Resource, Rlimit, prlimit};
use std::os::unix::process::ExitStatusExt as _;

use crate::plan::{Call, Errno, Fault, Role};

/// The exit code of a node whose disk failed.
const DISK: i32 = 74;
/// The signal of a process whose file can't grow.
const XFSZ: i32 = 25;

/// The machine's means.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) strace: Option<PathBuf>,
    /// The library that moves a clock.
    pub(crate) clock: Option<PathBuf>,
}

/// What a process is started in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dress {
    pub(crate) wrapper: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Tools {
    /// Looks for them, and makes what can be made in `place`.
    pub(crate) fn find(place: &Path) -> anyhow::Result<Self> {
        let strace = program("strace");
        let clock = program("cc").map(|cc| compile(&cc, place)).transpose()?;
        Ok(Self { strace, clock })
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

fn compile(cc: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (place.join("clock.c"), place.join("clock.so"));
    fs::write(&source, include_str!("clock.c"))?;
    let mut command = Command::new(cc);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
    ensure!(command.status()?.success(), "the library that moves a clock does not compile");
    Ok(library)
}

/// What a process is started in so that its disk will fail.
pub(crate) fn dress(fault: Fault, role: Role, data: &Path, strace: &Path) -> Dress {
    let wrapper = match fault {
        Fault::Refuses { call, error, number, lasting } => {
            let calls = match call {
                Call::Sync => "fsync,fdatasync",
                Call::Write => "write,pwrite64,ftruncate,fallocate",
            };
            let error = match error {
                Errno::Io => "EIO",
                Errno::NoSpace => "ENOSPC",
            };
            let on = if lasting { "+" } else { "" };
            let record = record(data);
            let mut words = vec![strace.display().to_string()];
            // The node stays this process's own child, so that it can be killed and waited for.
            words.extend(["-D", "-f", "-qq", "--seccomp-bpf", "-o"].map(str::to_owned));
            words.push(record.display().to_string());
            for file in files(role) {
                words.extend(["-P".to_owned(), data.join(file).display().to_string()]);
            }
            words.extend(["-e".to_owned(), format!("trace={calls}")]);
            words.extend([
                "-e".to_owned(),
                format!("inject={calls}:error={error}:when={number}{on}"),
            ]);
            words
        }
        Fault::Short { fatal: true, .. } => Vec::new(),
        Fault::Short { fatal: false, .. } => {
            ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(str::to_owned).to_vec()
        }
    };
    Dress { wrapper, variables: Vec::new() }
}

/// What a node must not lose, below its data directory, and the directory itself.
fn files(role: Role) -> &'static [&'static str] {
    match role {
        Role::Leader => &["", "log.db", "log.db-wal", "signed-guard.tmp"],
        Role::Follower => &["", "log.db", "log.db-wal"],
        Role::Witness => &["", "index.jsonl", "state.json.tmp", "state.json"],
    }
}

/// Takes from a running node the room to grow, where the fault is of that kind.
pub(crate) fn restrict(fault: Fault, role: Role, data: &Path, node: &Process) {
    let Fault::Short { room, .. } = fault else { return };
    let (file, room) = match role {
        Role::Witness => ("index.jsonl", room % 3_000),
        Role::Leader | Role::Follower => ("log.db-wal", room),
    };
    let size = fs::metadata(data.join(file)).map_or(0, |of| of.len());
    let limit = Rlimit { current: Some(size + room), maximum: Some(size + room) };
    // One that has ended by now is noticed by who waits for it.
    let _ended = node.pid().map(|pid| prlimit(Some(pid), Resource::Fsize, limit));
}

/// Whether the disk did fail, from what the process left.
pub(crate) fn happened(fault: Fault, data: &Path, ended: Option<ExitStatus>) -> bool {
    match fault {
        Fault::Refuses { .. } => {
            fs::read_to_string(record(data)).is_ok_and(|text| text.contains("(INJECTED)"))
        }
        Fault::Short { .. } => ended.is_some(),
    }
}

/// Whether a node whose disk failed may have ended like this.
pub(crate) fn may_end(fault: Fault, ended: ExitStatus) -> anyhow::Result<()> {
    let fatal = matches!(fault, Fault::Short { fatal: true, .. });
    let is_disk = ended.code() == Some(DISK) || (fatal && ended.signal() == Some(XFSZ));
    ensure!(is_disk, "a node whose disk failed ended with {ended}, not with {DISK}");
    Ok(())
}

fn record(data: &Path) -> PathBuf {
    data.with_extension("strace")
}

/// Moves the clock of a node that was started with this file as its offset.
pub(crate) fn move_clock(file: &Path, seconds: i64) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, seconds.to_string())?;
    fs::rename(&new, file).context("the offset of the clock is replaced")
}
