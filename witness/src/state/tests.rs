use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::exit::{Exit, Failure};
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::statement::{Reason, WitnessProof};
use tempfile::TempDir;

use super::*;
use crate::judge::{Extension, Known, Verdict, judge};
use crate::log::LogIdentity;
use crate::testing::{History, StopAfter, at};

/// A witness's directory, and the log that it watches.
struct Bench {
    root: TempDir,
    history: History,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), history: History::honest() }
    }

    /// A witness that stands at size 5, with three lines in its index.
    fn standing_at_five() -> Self {
        let bench = Self::new();
        let lock = bench.lock();
        lock.begin(&bench.log(), at(1)).unwrap();
        bench.step(&lock, 5).unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("witness")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn try_open(&self) -> Result<Home, StateError> {
        Home::open(&self.path(), None, || Ok([9; 32]), at(0), Arc::new(Uninterrupted))
    }

    fn open(&self) -> Arc<Home> {
        Arc::new(self.try_open().unwrap())
    }

    fn lock(&self) -> OriginLock {
        OriginLock::acquire(&self.open(), &self.history.name(), Duration::ZERO).unwrap()
    }

    fn log(&self) -> LogIdentity {
        LogIdentity::of_genesis(self.history.leaf_bytes(0)).unwrap()
    }

    fn extension(&self, from: u64, to: u64) -> Extension {
        let old = if from == 0 { TreeRoot::EMPTY } else { self.history.tree(from) };
        let known = Known { tree: old, head: None, genesis: self.history.leaf(0) };
        let seen = self.history.seen(to, at(100));
        match judge(&known, seen, at(100)) {
            Ok(Verdict::Larger(candidate)) => {
                candidate.prove(&self.history.consistency(from.max(1), to)).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn step(&self, lock: &OriginLock, to: u64) -> Result<WitnessProof, StateError> {
        let from = lock.state().unwrap().map_or(0, |state| state.tree().size.get());
        let advanced = lock.advance(&self.extension(from, to), at(110))?;
        lock.sign(advanced)
    }

    fn size(&self) -> TreeSize {
        self.open()
            .log(self.history.name().as_str())
            .unwrap()
            .map_or(TreeSize::ZERO, |log| log.tree().size)
    }

    fn damage(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        fs::write(self.file(name), change(text)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.file(from), self.file(to)).unwrap();
    }

    /// Opening it fails with exit code 78 and makes or changes no file.
    fn is_refused(&self) -> StateError {
        let before = contents(&self.path());
        let error = self.try_open().map(|_| ()).unwrap_err();
        assert_eq!(contents(&self.path()), before, "{error}");
        assert_eq!(Failure::from(error.clone()).exit(), Exit::Unsafe, "{error}");
        error
    }
}

fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_key_is_made_once_and_named_in_the_first_line() {
    let bench = Bench::new();

    let first = bench.open();
    let again = Home::open(&bench.path(), None, || Ok([1; 32]), at(9), Arc::new(Uninterrupted));

    let short = first.key().fingerprint().short();
    assert_eq!(first.cosigner().as_str(), format!("witness-{short}"));
    assert_eq!(again.unwrap().key().public(), first.key().public());
    assert!(!bench.file("witness.pem.new").exists());
    assert_eq!(fs::read_to_string(bench.file("index.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn the_name_of_a_cosigner_is_fixed_at_the_first_start() {
    let bench = Bench::new();
    let named = |name: &str| {
        let name = name.parse().unwrap();
        Home::open(&bench.path(), Some(&name), || Ok([9; 32]), at(0), Arc::new(Uninterrupted))
    };

    assert_eq!(named("eu.example/w").unwrap().cosigner().as_str(), "eu.example/w");
    assert_eq!(bench.open().cosigner().as_str(), "eu.example/w");
    let refused = named("other").map(|_| ()).unwrap_err();
    let expected = StateError::NameFixed { fixed: "eu.example/w".into(), asked: "other".into() };
    assert_eq!(refused, expected);
}

#[test]
fn a_start_that_was_cut_off_anywhere_is_finished_by_the_next() {
    for moment in [Moment::KeyMade, Moment::IndexBegun, Moment::KeyNamed] {
        let bench = Bench::new();
        let stop = Arc::new(StopAfter::new(moment, 1));
        let cut = Home::open(&bench.path(), None, || Ok([3; 32]), at(0), stop);
        assert_eq!(cut.map(|_| ()).unwrap_err(), Interrupted(moment).into());

        let home = bench.open();

        // Once the index names a key, it is that key and no other.
        let kept =
            home.key().public() == diogenes_common::keys::SigningKey::from_seed([3; 32]).public();
        assert_eq!(kept, moment != Moment::KeyMade, "{moment:?}");
        assert!(bench.file("witness.pem").exists() && !bench.file("witness.pem.new").exists());
    }
}

#[test]
fn half_a_key_or_half_a_first_line_is_begun_anew() {
    let bench = Bench::new();
    bench.open();
    for name in ["witness.pem", "state.json"] {
        fs::remove_file(bench.file(name)).unwrap();
    }
    diogenes_common::files::create_private(&bench.file("witness.pem.new"), b"-----BEG").unwrap();
    bench.damage("index.jsonl", |text| text[..20].to_owned());

    assert!(bench.try_open().is_ok());
}

#[test]
fn a_step_survives_a_restart_and_its_signature_verifies() {
    let bench = Bench::standing_at_five();

    let body = bench.step(&bench.lock(), 9).unwrap();

    assert_eq!(bench.size(), bench.history.tree(9).size);
    assert_eq!(body.check(), Ok(()));
    assert_eq!((body.old_tree_size.get(), body.new_tree_size.get()), (5, 9));
    let line: diogenes_common::note::SignatureLine = body.cosignature.unwrap().parse().unwrap();
    let origin = bench.history.origin();
    let checkpoint =
        diogenes_common::checkpoint::Checkpoint::new(origin.as_str(), bench.history.tree(9));
    let verified = diogenes_common::cosignature::verify_cosignature(
        &line,
        &checkpoint.unwrap(),
        bench.open().key().public(),
    );
    assert_eq!(verified, Ok(at(110).seconds().cast_unsigned()));
}

#[test]
fn a_step_from_elsewhere_than_the_state_is_stale() {
    let bench = Bench::standing_at_five();
    let lock = bench.lock();

    let refused = lock.advance(&bench.extension(4, 9), at(110));

    assert_eq!(refused, Err(StateError::Stale { known: bench.history.tree(5).size }));
    assert_eq!(bench.size(), bench.history.tree(5).size);
}

#[test]
fn two_rounds_of_one_log_exclude_each_other_and_two_processes_see_one_state() {
    let bench = Bench::standing_at_five();
    let (one, other) = (bench.open(), bench.open());
    let origin = bench.history.name();
    let held = OriginLock::acquire(&one, &origin, Duration::ZERO).unwrap();

    let refused = OriginLock::acquire(&other, &origin, Duration::ZERO).map(|_| ());
    assert!(matches!(refused, Err(StateError::File(FileError::Locked { .. }))));
    bench.step(&held, 9).unwrap();
    drop(held);

    let other = OriginLock::acquire(&other, &origin, Duration::ZERO).unwrap();
    assert_eq!(other.state().unwrap().unwrap().tree(), bench.history.tree(9));
    bench.step(&other, 12).unwrap();
    assert_eq!(one.log(origin.as_str()).unwrap().unwrap().tree(), bench.history.tree(12));
}

#[test]
fn emitted_times_never_run_back() {
    let bench = Bench::standing_at_five();
    let lock = bench.lock();

    let advanced = lock.advance(&bench.extension(5, 9), at(10)).unwrap();

    assert_eq!(lock.sign(advanced).unwrap().timestamp, at(110));
}

#[test]
fn the_time_of_a_refusal_is_kept_and_no_later_one_runs_back() {
    let bench = Bench::standing_at_five();
    let refused = bench.history.seen(4, at(90));
    let reason = || Reason::try_from("truncated").unwrap();
    let refuse = |now| bench.lock().refuse(refused.signed(), reason(), now).unwrap().timestamp;

    assert_eq!(refuse(at(500)), at(500));
    assert_eq!(refuse(at(120)), at(500));

    let lock = bench.lock();
    let advanced = lock.advance(&bench.extension(5, 9), at(120)).unwrap();
    assert_eq!(lock.sign(advanced).unwrap().timestamp, at(500));
}

#[test]
fn an_index_one_line_ahead_is_rolled_forward_whatever_the_line_is() {
    // The first line, a log, a step and a halt.
    for lines in 1..=4 {
        let bench = Bench::standing_at_five();
        bench.lock().halt(Reason::try_from("self_equivocated").unwrap(), at(120)).unwrap();
        let index = fs::read_to_string(bench.file("index.jsonl")).unwrap();
        let whole: Vec<&str> = index.split_inclusive('\n').collect();
        // Play the lines one by one, and lose the last projection.
        let cut = |count: usize| whole[..count].concat();
        fs::remove_file(bench.file("state.json")).unwrap();
        for count in 1..lines {
            fs::write(bench.file("index.jsonl"), cut(count)).unwrap();
            bench.open();
        }
        fs::write(bench.file("index.jsonl"), cut(lines)).unwrap();

        let home = bench.open();

        let log = home.log(bench.history.name().as_str()).unwrap();
        assert_eq!(log.is_some(), lines >= 2);
        assert_eq!(bench.size().get(), if lines >= 3 { 5 } else { 0 });
        assert_eq!(log.is_some_and(|log| log.halted().is_some()), lines >= 4);
    }
}

#[test]
fn a_torn_last_line_was_never_acted_upon_and_is_cut_off() {
    let bench = Bench::standing_at_five();
    let whole = fs::read(bench.file("index.jsonl")).unwrap();
    bench.damage("index.jsonl", |text| format!("{text}{{\"kind\":\"adv"));

    assert_eq!(bench.size().get(), 5);
    assert_eq!(fs::read(bench.file("index.jsonl")).unwrap(), whole);
}

type Damage = fn(&Bench);
type Check = fn(&StateError) -> bool;

fn refuse_each(table: &[(&str, Damage, Check)]) {
    for (what, damage, check) in table {
        let bench = Bench::standing_at_five();
        damage(&bench);

        let error = bench.is_refused();

        assert!(check(&error), "{what}: {error:?}");
    }
}

#[test]
fn a_key_and_an_index_that_do_not_belong_together_are_refused_and_nothing_is_made_anew() {
    refuse_each(&[
        (
            "key without index",
            |b| fs::remove_file(b.file("index.jsonl")).unwrap(),
            |e| matches!(e, StateError::KeyWithoutIndex(_)),
        ),
        (
            "index without key",
            |b| fs::remove_file(b.file("witness.pem")).unwrap(),
            |e| matches!(e, StateError::IndexWithoutKey(_)),
        ),
        (
            "state alone",
            |b| {
                fs::remove_file(b.file("witness.pem")).unwrap();
                fs::remove_file(b.file("index.jsonl")).unwrap();
            },
            |e| matches!(e, StateError::StateAlone(_)),
        ),
        (
            "an unnamed key beside an index that went on",
            |b| fs::rename(b.file("witness.pem"), b.file("witness.pem.new")).unwrap(),
            |e| matches!(e, StateError::IndexWithoutKey(_)),
        ),
        (
            "the same without a state",
            |b| {
                fs::rename(b.file("witness.pem"), b.file("witness.pem.new")).unwrap();
                fs::remove_file(b.file("state.json")).unwrap();
            },
            |e| matches!(e, StateError::IndexWithoutKey(_)),
        ),
        (
            "an unnamed key beside the index of another one",
            |b| {
                let other = diogenes_common::keys::SigningKey::from_seed([8; 32]);
                let path = b.file("witness.pem.new");
                fs::rename(b.file("witness.pem"), &path).unwrap();
                fs::write(&path, other.to_pem().as_bytes()).unwrap();
                fs::remove_file(b.file("state.json")).unwrap();
                b.damage("index.jsonl", |text| {
                    text.split_inclusive('\n').take(1).collect::<String>()
                });
            },
            |e| matches!(e, StateError::OtherKey { .. }),
        ),
        (
            "two keys",
            |b| b.copy("witness.pem", "witness.pem.new"),
            |e| matches!(e, StateError::TwoKeys(_)),
        ),
        (
            "another key",
            |b| {
                let other = diogenes_common::keys::SigningKey::from_seed([8; 32]);
                fs::write(b.file("witness.pem"), other.to_pem().as_bytes()).unwrap();
            },
            |e| matches!(e, StateError::OtherKey { .. }),
        ),
        (
            "no key in the key's file",
            |b| fs::write(b.file("witness.pem"), "x").unwrap(),
            |e| matches!(e, StateError::Key { .. }),
        ),
    ]);
}

#[test]
fn a_state_and_an_index_that_disagree_are_refused_and_nothing_is_made_anew() {
    refuse_each(&[
        (
            "no state",
            |b| fs::remove_file(b.file("state.json")).unwrap(),
            |e| matches!(e, StateError::StateBehind { state: 0, index: 3 }),
        ),
        (
            "state ahead of the index",
            |b| {
                b.damage("index.jsonl", |text| {
                    text.split_inclusive('\n').take(2).collect::<String>()
                });
            },
            |e| matches!(e, StateError::StateAhead { state: 3, index: 2 }),
        ),
        (
            "state ahead of an index whose last line is torn",
            |b| b.damage("index.jsonl", |text| text.trim_end().to_owned()),
            |e| matches!(e, StateError::StateAhead { state: 3, index: 2 }),
        ),
        (
            "a log of the index that the state lacks",
            |b| {
                b.damage("state.json", |text| {
                    let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
                    state["logs"] = serde_json::json!({});
                    state.to_string()
                });
            },
            |e| matches!(e, StateError::StateDiffers { line: 3 }),
        ),
        (
            "a size that the index does not know",
            |b| b.damage("state.json", |text| text.replace("\"tree_size\": 5", "\"tree_size\": 4")),
            |e| matches!(e, StateError::StateDiffers { line: 3 }),
        ),
        (
            "a state that is not JSON",
            |b| b.damage("state.json", |text| text[..text.len() / 2].to_owned()),
            |e| matches!(e, StateError::StateDamaged),
        ),
        (
            "an earlier line changed",
            |b| b.damage("index.jsonl", |text| text.replacen("10:00:00", "10:00:01", 1)),
            |e| matches!(e, StateError::BrokenLine { line: 2, broken: BrokenLine::NotChained }),
        ),
        (
            "a line left out",
            |b| {
                b.damage("index.jsonl", |text| {
                    let lines: Vec<_> = text.split_inclusive('\n').collect();
                    [lines[0], lines[2]].concat()
                });
            },
            |e| matches!(e, StateError::BrokenLine { line: 2, broken: BrokenLine::NotChained }),
        ),
        (
            "a line that is none",
            |b| b.damage("index.jsonl", |text| text.replacen("{\"", "{ \"", 2)),
            |e| matches!(e, StateError::BrokenLine { line: 1, broken: BrokenLine::Damaged }),
        ),
    ]);
}

#[test]
fn a_state_that_was_put_back_is_refused() {
    let bench = Bench::standing_at_five();
    let old = fs::read(bench.file("state.json")).unwrap();
    let lock = bench.lock();
    bench.step(&lock, 9).unwrap();
    bench.step(&lock, 12).unwrap();
    drop(lock);

    fs::write(bench.file("state.json"), old).unwrap();

    assert_eq!(bench.is_refused(), StateError::StateBehind { state: 3, index: 5 });
}

#[test]
fn files_that_were_put_back_under_a_running_witness_are_refused() {
    let bench = Bench::standing_at_five();
    let running = bench.open();
    let lock = OriginLock::acquire(&running, &bench.history.name(), Duration::ZERO).unwrap();
    let old = ["index.jsonl", "state.json"].map(|name| (name, fs::read(bench.file(name)).unwrap()));
    bench.step(&lock, 9).unwrap();

    for (name, bytes) in old {
        fs::write(bench.file(name), bytes).unwrap();
    }

    for _ in 0..2 {
        let refused = lock.state().unwrap_err();
        assert!(matches!(refused, StateError::WentBack { line } if line > 3), "{refused:?}");
    }
}

#[test]
fn a_halted_log_is_never_signed_again() {
    let bench = Bench::standing_at_five();
    let lock = bench.lock();
    lock.halt(Reason::try_from("self_equivocated").unwrap(), at(120)).unwrap();

    let refused = bench.step(&lock, 9).unwrap_err();

    assert!(matches!(refused, StateError::Halted { .. }));
    assert_eq!(Failure::from(refused).reason(), "self_equivocated");
    assert!(lock.recover(bench.history.tree(9), None, at(130)).is_err());
}

#[test]
fn a_recovered_state_stands_further_on_and_signs_nothing_for_it() {
    let bench = Bench::standing_at_five();
    let lock = bench.lock();
    let head = bench.history.seen(9, at(100)).json().clone();

    lock.recover(bench.history.tree(9), Some(head), at(130)).unwrap();

    assert_eq!(bench.size().get(), 9);
    assert_eq!(lock.unsigned(), Ok(None));
    assert_eq!(bench.step(&lock, 12).unwrap().old_tree_size.get(), 9);
}

#[test]
fn a_step_that_was_not_signed_before_a_crash_is_signed_to_the_same_bytes() {
    let bench = Bench::standing_at_five();
    let lock = bench.lock();
    let advanced = lock.advance(&bench.extension(5, 9), at(110)).unwrap();
    drop(lock);

    let lock = bench.lock();
    let after_crash = lock.unsigned().unwrap().unwrap();

    assert_eq!(after_crash, advanced);
    let body = lock.sign(after_crash).unwrap();
    assert_eq!(lock.unsigned(), Ok(None));
    assert_eq!(lock.sign(advanced).unwrap(), body);
}

#[test]
fn a_log_that_is_only_watched_is_written_as_it_was_before_logs_could_be_listed() {
    let bench = Bench::standing_at_five();

    let text = fs::read_to_string(bench.file("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let log = &state["logs"][bench.history.origin().as_str()];

    let members: Vec<&str> = log.as_object().unwrap().keys().map(String::as_str).collect();
    let before = [
        "genesis",
        "halted",
        "head",
        "last_signed",
        "log_id",
        "operator_key",
        "root_hash",
        "submission",
        "tree_size",
    ];
    assert_eq!(members, before);
    let index = fs::read_to_string(bench.file("index.jsonl")).unwrap();
    let kinds: Vec<serde_json::Value> = index
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds, ["key", "log", "advance"]);
}

#[test]
fn a_line_that_was_rolled_forward_by_another_process_and_refreshed_times_are_seen() {
    let bench = Bench::standing_at_five();
    let (one, other) = (bench.open(), bench.open());
    let origin = bench.history.name();
    for size in 6..20 {
        let (writes, reads) = if size % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let lock = OriginLock::acquire(writes, &origin, Duration::ZERO).unwrap();
        let body = bench.step(&lock, size).unwrap();

        let seen = reads.log(origin.as_str()).unwrap().unwrap();

        assert_eq!(seen.tree(), bench.history.tree(size));
        assert_eq!(seen.submission().map(|kept| kept.answered), Some(false));
        lock.answered(body).unwrap();
        let seen = reads.log(origin.as_str()).unwrap().unwrap();
        assert_eq!(seen.submission().map(|kept| kept.answered), Some(true));
    }
}

#[test]
fn a_state_that_nobody_changed_is_not_read_again() {
    use std::os::unix::fs::MetadataExt as _;
    let bench = Bench::standing_at_five();
    let home = bench.open();
    let path = bench.file("state.json");
    let times = || {
        let metadata = fs::metadata(&path).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len())
    };
    let before = times();
    // What was read already cannot be damaged by a file that is the same in every other respect.
    for _ in 0..3 {
        home.log(bench.history.name().as_str()).unwrap();
    }
    assert_eq!(times(), before);
    bench.damage("state.json", |text| format!("{text} "));
    assert!(home.log(bench.history.name().as_str()).is_ok(), "white space is no damage");
    bench.damage("state.json", |text| text.replace("\"tree_size\": 5", "\"tree_size\": 4"));

    let refused = home.log(bench.history.name().as_str());

    assert_eq!(refused, Err(StateError::StateDiffers { line: 3 }));
}

#[test]
fn a_foreign_history_is_refused_each_time_it_is_looked_at() {
    let bench = Bench::standing_at_five();
    let running = bench.open();
    let origin = bench.history.name();
    let whole = |name| fs::read_to_string(bench.file(name)).unwrap();
    let (index, state) = (whole("index.jsonl"), whole("state.json"));
    // A second witness with the same key, which went on elsewhere.
    let other = Bench::new();
    let lock = other.lock();
    lock.begin(&other.log(), at(2)).unwrap();
    for size in [4, 9] {
        other.step(&lock, size).unwrap();
    }
    drop(lock);

    let foreign = |name| fs::read(other.file(name)).unwrap();
    // First a broken line, then the whole of the other history.
    fs::write(bench.file("index.jsonl"), format!("{index}{{}}\n")).unwrap();
    let broken = running.log(origin.as_str()).map(|_| ()).unwrap_err();
    assert!(matches!(broken, StateError::BrokenLine { line: 4, .. }), "{broken:?}");
    for name in ["index.jsonl", "state.json"] {
        fs::write(bench.file(name), foreign(name)).unwrap();
    }
    for _ in 0..3 {
        let refused = running.log(origin.as_str()).map(|_| ()).unwrap_err();
        assert_eq!(refused, StateError::WentBack { line: 3 });
    }

    // What this process read before is taken up again.
    fs::write(bench.file("index.jsonl"), index).unwrap();
    fs::write(bench.file("state.json"), state).unwrap();
    assert!(running.log(origin.as_str()).is_ok());
}

#[test]
fn an_index_that_became_shorter_is_refused_though_the_state_stayed() {
    let bench = Bench::standing_at_five();
    let running = bench.open();
    bench.damage("index.jsonl", |text| text.split_inclusive('\n').take(2).collect::<String>());

    for _ in 0..2 {
        let refused = running.log(bench.history.name().as_str()).map(|_| ()).unwrap_err();
        assert_eq!(refused, StateError::WentBack { line: 3 });
    }
}

#[test]
fn a_long_index_is_read_while_another_process_holds_the_lock() {
    let bench = Bench::standing_at_five();
    let home = bench.open();
    let _held = diogenes_common::files::FileLock::acquire(&bench.file("lock"), Duration::ZERO);

    home.forget();
    home.read_ahead();

    assert_eq!(home.lines_read(), 3);
}

#[test]
fn a_line_whose_state_would_be_too_long_to_be_read_again_is_not_written() {
    let bench = Bench::standing_at_five();
    bench.damage("state.json", |text| {
        let with = |checkpoint: &str| {
            let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
            state["logs"][bench.history.origin().as_str()]["refreshed"] = serde_json::json!({
                "checkpoint": checkpoint, "time": at(110), "tree_size": 5,
            });
            serde_json::to_string_pretty(&state).unwrap()
        };
        let room = open::MAX_STATE_BYTES - with("").len() as u64 - 100;
        with(&"x".repeat(usize::try_from(room).unwrap()))
    });
    let index = fs::read(bench.file("index.jsonl")).unwrap();
    let (home, key) = (bench.open(), bench.history.log_key());
    let log = crate::log_list::ListedLog { origin: "another log".parse().unwrap(), key };

    let refused = home.enlist(&[log], Asker::Operator, at(120));

    assert_eq!(refused, Err(StateError::Full));
    assert_eq!(fs::read(bench.file("index.jsonl")).unwrap(), index);
    assert_eq!(bench.size().get(), 5);
}
