//! A power cut under SQLite: what was written and not yet synced when the power went is lost, in
//! whole or by sectors.
//!
//! A killed process leaves its writes in the page cache, so the kernel would keep what a dead
//! machine loses. strace notes each write and each sync of the database files; from the notes
//! follows which bytes no sync had covered, and those are then overwritten with zeros:
//!
//! ```text
//! 17842 pwrite64(15</home/log.db-wal>, ""..., 4096, 862736) = 4096
//! 17842 fsync(15</home/log.db-wal>)    = 0
//! 17865 fsync(21</home/log.db> <unfinished ...>
//! 17865 <... fsync resumed>)           = 0
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use diogenes_tests::random::Random;
use rustix::process::Pid;

/// What a disk writes as a whole.
const SECTOR: u64 = 512;

/// How long strace may take to note the end of a process.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of files that no sync has covered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsynced(BTreeMap<PathBuf, Vec<Range<u64>>>);

/// The words that start a node so that its writes are noted in `record`, after what is there.
pub(crate) fn wrapper(strace: &Path, data: &Path, record: &Path) -> Vec<String> {
    let mut words = vec![strace.display().to_string()];
    words.extend(
        ["-D", "-f", "-qq", "-y", "-s", "0", "--seccomp-bpf", "-A", "-o"].map(str::to_owned),
    );
    words.push(record.display().to_string());
    for file in ["log.db", "log.db-wal"] {
        words.extend(["-P".to_owned(), data.join(file).display().to_string()]);
    }
    words.extend(["-e", "trace=pwrite64,fsync,fdatasync"].map(str::to_owned));
    words
}

/// Waits until what a killed process wrote is noted to the end.
pub(crate) async fn wait_for_record(record: &Path, pid: Pid) -> anyhow::Result<()> {
    let noted = || fs::read_to_string(record).unwrap_or_default();
    let (before, deadline) = (noted().len(), Instant::now() + PATIENCE);
    while !is_complete(&noted(), pid.as_raw_nonzero().get()) {
        if Instant::now() > deadline {
            // One that was killed before strace had it wrote nothing.
            ensure!(noted().len() == before, "strace does not end");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Whether strace has noted the end of a process, after which it notes nothing more.
fn is_complete(record: &str, pid: i32) -> bool {
    let pid = pid.to_string();
    let ends = |(by, what): (&str, &str)| by == pid && what.trim_start().starts_with("+++ ");
    record.lines().filter_map(|line| line.split_once(' ')).any(ends)
}

impl Unsynced {
    /// Reads the notes. Pure.
    pub(crate) fn of(record: &str) -> Self {
        let mut unsynced = Self::default();
        // Syncs that have begun, and how many ranges of their file they cover.
        let mut begun: BTreeMap<&str, (PathBuf, usize)> = BTreeMap::new();
        for line in record.lines() {
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            let done = call.ends_with("= 0");
            if call.starts_with("pwrite64(") {
                if let Some((path, range)) = written(call) {
                    unsynced.0.entry(path).or_default().push(range);
                }
            } else if let Some(path) = path(call) {
                let covered = unsynced.0.get(&path).map_or(0, Vec::len);
                if done {
                    unsynced.sync(&path, covered);
                } else {
                    begun.insert(pid, (path, covered));
                }
            } else if call.contains("sync resumed>")
                && let Some((path, covered)) = begun.remove(pid)
                && done
            {
                unsynced.sync(&path, covered);
            }
        }
        unsynced
    }

    /// The first ranges of a file are durable. Later syncs that began before count fewer.
    fn sync(&mut self, path: &Path, covered: usize) {
        if let Some(ranges) = self.0.get_mut(path) {
            ranges.drain(..covered.min(ranges.len()));
        }
    }

    /// Loses so many percent of the sectors; answers how many bytes that were.
    pub(crate) fn lose(&self, percent: usize, random: &mut Random) -> std::io::Result<u64> {
        let mut lost = 0;
        for (path, ranges) in &self.0 {
            let file = OpenOptions::new().write(true).open(path)?;
            let end = fs::metadata(path)?.len();
            for sector in sectors(ranges) {
                let sector = sector.start..sector.end.min(end);
                if !sector.is_empty() && random.chance(percent) {
                    let length = usize::try_from(sector.end - sector.start).unwrap_or(0);
                    file.write_all_at(&vec![0; length], sector.start)?;
                    lost += sector.end - sector.start;
                }
            }
        }
        Ok(lost)
    }
}

/// The parts of the ranges that lie in one sector each: a disk spares the bytes beside a write.
fn sectors(ranges: &[Range<u64>]) -> BTreeSet<Sector> {
    let mut parts = BTreeSet::new();
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            let end = ((start / SECTOR + 1) * SECTOR).min(range.end);
            parts.insert(Sector { start, end });
            start = end;
        }
    }
    parts
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sector {
    start: u64,
    end: u64,
}

/// The file and the bytes of a write, whether or not its end was noted.
fn written(call: &str) -> Option<(PathBuf, Range<u64>)> {
    let path = path(call)?;
    let numbers = call.rsplit_once("\"..., ").or_else(|| call.rsplit_once("\", "))?.1;
    let (length, rest) = numbers.split_once(", ")?;
    let offset = rest.split([')', ' ']).next()?;
    let (length, offset): (u64, u64) = (length.parse().ok()?, offset.parse().ok()?);
    Some((path, offset..offset + length))
}

/// The file that a call names.
fn path(call: &str) -> Option<PathBuf> {
    let (_, rest) = call.split_once('(')?;
    let (_, rest) = rest.split_once('<')?;
    // `<... fsync resumed>)` names none.
    let path = rest.split_once('>')?.0;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAL: &str = "/home/log.db-wal";

    /// Where what is unsynced begins and ends.
    fn unsynced(lines: &[&str]) -> Vec<(u64, u64)> {
        let ranges = Unsynced::of(&lines.join("\n")).0.remove(Path::new(WAL)).unwrap_or_default();
        ranges.into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn a_write_is_unsynced_until_a_sync_of_its_file_succeeds() {
        let write = "1 pwrite64(15</home/log.db-wal>, \"\"..., 24, 8272) = 24";

        assert_eq!(unsynced(&[write]), [(8272, 8296)]);
        assert_eq!(unsynced(&[write, "1 fsync(15</home/log.db-wal>)    = 0"]), []);
        assert_eq!(unsynced(&[write, "1 fdatasync(9</home/log.db>)    = 0"]), [(8272, 8296)]);
        let failed = "1 fsync(15</home/log.db-wal>) = -1 EIO (Input/output error)";
        assert_eq!(unsynced(&[write, failed]), [(8272, 8296)]);
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let lines = [
            "1 pwrite64(15</home/log.db-wal>, \"\"..., 32, 0) = 32",
            "2 fsync(15</home/log.db-wal> <unfinished ...>",
            "1 pwrite64(15</home/log.db-wal>, \"\"..., 10, 32 <unfinished ...>",
            "1 <... pwrite64 resumed>) = 10",
            "2 <... fsync resumed>) = 0",
        ];

        assert_eq!(unsynced(&lines), [(32, 42)]);
        assert_eq!(unsynced(&lines[..4]), [(0, 32), (32, 42)]);
    }

    #[test]
    fn a_process_has_ended_when_strace_says_so() {
        assert!(is_complete("17 +++ killed by SIGKILL +++\n", 17));
        assert!(is_complete("17    +++ killed by SIGKILL +++\n", 17));
        assert!(!is_complete("18 +++ killed by SIGKILL +++\n17 fsync(1</a>) = 0\n", 17));
    }

    #[test]
    fn what_no_sync_covered_is_lost_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("log.db-wal");
        fs::write(&file, [7; 2000]).unwrap();
        let note = format!("1 pwrite64(15<{}>, \"\"..., 1000, 600) = 1000", file.display());

        let lost = Unsynced::of(&note).lose(100, &mut Random::new(1)).unwrap();

        let left = fs::read(&file).unwrap();
        assert_eq!(lost, 1000);
        assert!(left[..600].iter().chain(&left[1600..]).all(|byte| *byte == 7));
        assert!(left[600..1600].iter().all(|byte| *byte == 0));
    }
}
