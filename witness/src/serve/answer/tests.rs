use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::{cosign as sign, verify_cosignature};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::ProofError;
use diogenes_common::note::{KeyKind, Vkey};

use super::*;
use crate::add_checkpoint::Malformed;
use crate::judge::{Known, Verdict, judge as judge_head};
use crate::log::{LogIdentity, LogKey};
use crate::state::{Interrupted, Moment};
use crate::testing::{History, Listed, StopAfter, at, body};

fn ask_with(listed: &Listed, home: &Arc<Home>, body: &[u8]) -> Result<Cosignature, NotCosigned> {
    let confirmed = Confirmed::default();
    confirmed.confirm(listed.history.name());
    cosign(home, Request::parse(body).unwrap(), &confirmed, &*listed.clock)
}

impl Listed {
    fn ask(&self, old: u64, new: u64) -> Result<Cosignature, NotCosigned> {
        ask_with(self, &self.open(), &self.history.body(old, new))
    }

    /// The time of a cosignature over the honest tree of that size.
    fn time(&self, cosignature: &Cosignature, size: u64) -> u64 {
        let origin = self.history.origin();
        let said = Checkpoint::new(origin.as_str(), self.history.tree(size)).unwrap();
        let key = self.open().key().public().clone();
        verify_cosignature(&cosignature.line, &said, &key).unwrap()
    }

    /// A step as `run` makes it, on the history that it is shown.
    fn run(&self, home: &Arc<Home>, shown: &History, to: u64) -> Result<(), StateError> {
        let lock = OriginLock::acquire(home, &self.history.name(), Duration::from_secs(10))?;
        let log = LogIdentity::of_genesis(shown.leaf_bytes(0)).unwrap();
        if lock.state()?.is_none_or(|state| state.genesis().is_none()) {
            lock.begin(&log, at(150))?;
        }
        let state = lock.state()?.unwrap();
        let head = lock.head(&state)?;
        let known = Known { tree: state.tree(), head: head.as_ref(), genesis: shown.leaf(0) };
        let Ok(Verdict::Larger(candidate)) = judge_head(&known, shown.seen(to, at(199)), at(200))
        else {
            return Ok(());
        };
        let from = candidate.base().size.get();
        let Ok(extension) = candidate.prove(&shown.consistency(from, to)) else { return Ok(()) };
        lock.sign(lock.advance(&extension, at(200))?).map(drop)
    }
}

fn seconds(time: Timestamp) -> u64 {
    time.seconds().cast_unsigned()
}

fn stale(known: u64) -> NotCosigned {
    NotCosigned::Refused(Refusal::Stale { known: TreeSize::ZERO.plus(known) })
}

#[test]
fn what_is_cosigned_is_durable_and_verifies() {
    let listed = Listed::new();

    let first = listed.ask(0, 5).unwrap();
    let second = listed.ask(5, 9).unwrap();

    assert_eq!(listed.time(&first, 5), seconds(at(200)));
    assert_eq!(listed.time(&second, 9), seconds(at(200)));
    assert_eq!(listed.state().tree(), listed.history.tree(9));
    assert_eq!(listed.ask(5, 9), Err(stale(9)));
}

#[test]
fn a_log_that_is_only_its_name_away_from_one_of_the_list_is_not_known() {
    let listed = Listed::new();
    let other = SigningKey::from_seed([8; 32]);
    let tree = listed.history.tree(5);
    let said = Checkpoint::new("another log", tree).unwrap();
    let note = sign_checkpoint(&said, &"another".parse().unwrap(), &other);

    let refused = ask_with(&listed, &listed.open(), &body(0, &[], &note));

    assert_eq!(refused, Err(Refusal::UnknownLog.into()));
}

#[test]
fn a_foreign_log_with_spaces_in_its_name_and_another_name_for_its_key_is_cosigned() {
    let listed = Listed::new();
    let (key, origin) = (SigningKey::from_seed([8; 32]), "go.sum database tree");
    let name: diogenes_common::note::KeyName = "sum.example".parse().unwrap();
    let vkey = Vkey::new(name.clone(), KeyKind::Ed25519, key.public().clone());
    let trusted: LogKey = vkey.to_string().parse().unwrap();
    listed.list(&listed.open(), origin.parse().unwrap(), trusted);
    let said = |size| Checkpoint::new(origin, listed.history.tree(size)).unwrap();
    let ask = |old: u64, new: u64| {
        let note = sign_checkpoint(&said(new), &name, &key);
        let proof = if old == 0 { Vec::new() } else { listed.history.consistency(old, new) };
        ask_with(&listed, &listed.open(), &body(old, &proof, &note))
    };

    ask(0, 4).unwrap();
    let cosignature = ask(4, 7).unwrap();

    let ours = listed.open().key().public().clone();
    assert!(verify_cosignature(&cosignature.line, &said(7), &ours).is_ok());
    assert_eq!(ask(4, 9), Err(stale(7)));
}

#[test]
fn a_log_that_is_still_empty_is_cosigned_and_grows_from_there() {
    let listed = Listed::new();
    let origin = listed.history.origin();
    let empty = Checkpoint::new(origin.as_str(), TreeRoot::EMPTY).unwrap();
    let name = origin.as_str().parse().unwrap();
    let note = sign_checkpoint(&empty, &name, listed.history.operator());

    for _ in 0..2 {
        ask_with(&listed, &listed.open(), &body(0, &[], &note)).unwrap();
    }
    assert!(listed.open().published(&listed.state()).is_some());
    listed.ask(0, 7).unwrap();

    assert_eq!(listed.state().tree(), listed.history.tree(7));
    assert_eq!(ask_with(&listed, &listed.open(), &body(0, &[], &note)), Err(stale(7)));
}

#[test]
fn a_crash_between_the_disk_and_the_answer_never_yields_two_histories() {
    let fork = History::forked_at(3);
    for moment in [Moment::LineAppended, Moment::LineProjected, Moment::Cosigned] {
        let listed = Listed::new();
        let cut = listed.open_with(Arc::new(StopAfter::new(moment, 1)));
        let answer = ask_with(&listed, &cut, &listed.history.body(0, 5));
        assert_eq!(answer, Err(NotCosigned::State(Interrupted(moment).into())));

        // The same process goes on, or the next one: what was durable holds.
        for home in [cut, listed.open()] {
            for (old, new) in [(0, 5), (0, 9)] {
                assert_eq!(ask_with(&listed, &home, &fork.body(old, new)), Err(stale(5)));
            }
            let refused = ask_with(&listed, &home, &fork.body(5, 5));
            assert_eq!(refused, Err(Refusal::OtherRoot.into()), "{moment:?}");
            let refused = ask_with(&listed, &home, &fork.body(5, 9));
            let wrong = Refusal::Inconsistent(ProofError::WrongOldRoot);
            assert_eq!(refused, Err(wrong.into()), "{moment:?}");
            let repeated = ask_with(&listed, &home, &listed.history.body(5, 5)).unwrap();
            assert_eq!(listed.time(&repeated, 5), seconds(at(200)));
        }
        listed.ask(5, 9).unwrap();
    }
}

#[test]
fn a_refreshed_cosignature_has_a_later_time_and_no_restart_makes_it_earlier() {
    let listed = Listed::new();
    let time = |seconds| {
        listed.clock.set(at(seconds));
        listed.time(&listed.ask(5, 5).unwrap(), 5)
    };
    listed.ask(0, 5).unwrap();

    assert_eq!(time(300), seconds(at(300)));
    assert_eq!(time(250), seconds(at(300)), "the clock was put back");

    let cut = listed.open_with(Arc::new(StopAfter::new(Moment::TimeKept, 1)));
    listed.clock.set(at(400));
    assert!(ask_with(&listed, &cut, &listed.history.body(5, 5)).is_err());
    assert_eq!(time(350), seconds(at(400)), "the time was durable before the crash");

    listed.clock.set(at(100));
    let next = listed.ask(5, 9).unwrap();
    assert_eq!(listed.time(&next, 9), seconds(at(400)), "a larger tree is no earlier either");
}

#[test]
fn a_refresh_within_the_same_second_writes_nothing() {
    let listed = Listed::new();
    let first = listed.ask(0, 5).unwrap();
    let state = || std::fs::read(listed.path().join("state.json")).unwrap();
    let before = state();

    assert_eq!(listed.ask(5, 5), Ok(first.clone()));
    assert!(!listed.path().join("refreshed").exists());

    listed.clock.set(at(201));
    assert_ne!(listed.ask(5, 5), Ok(first));
    let log = listed.history.name().hash().to_hex();
    assert!(listed.path().join("refreshed").join(log).exists());
    assert_eq!(state(), before, "the file of all logs is not written for the time of one");
}

#[test]
fn a_refreshed_time_survives_a_state_that_is_one_line_behind() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    listed.clock.set(at(900));
    listed.ask(5, 5).unwrap();
    let cut = listed.open_with(Arc::new(StopAfter::new(Moment::LineAppended, 1)));
    let other = "another log".parse().unwrap();
    let log = crate::log_list::ListedLog { origin: other, key: listed.history.log_key() };
    assert!(cut.enlist(&[log], crate::state::Asker::List, at(901)).is_err());

    listed.clock.set(at(300));
    let refreshed = listed.ask(5, 5).unwrap();

    assert_eq!(listed.time(&refreshed, 5), seconds(at(900)));
}

#[test]
fn heads_that_run_signed_and_checkpoints_that_logs_sent_are_one_history() {
    let listed = Listed::new();
    let home = listed.open();

    listed.run(&home, &listed.history, 5).unwrap();
    assert_eq!(listed.ask(0, 9), Err(stale(5)));
    listed.ask(5, 9).unwrap();
    assert_eq!(listed.state().head(), None, "the head of the larger tree is not known");
    listed.run(&home, &History::forked_at(3), 12).unwrap();
    assert_eq!(listed.state().tree(), listed.history.tree(9), "a fork is not signed");
    listed.run(&home, &listed.history, 12).unwrap();
    assert_eq!(listed.ask(9, 14), Err(stale(12)));
    listed.ask(12, 12).unwrap();
    listed.ask(12, 14).unwrap();

    let stood = listed.open().stood_at(listed.history.name().as_str()).unwrap();
    assert_eq!(stood, [5, 9, 12, 14].map(|size| listed.history.tree(size)));
}

#[test]
fn run_and_serve_at_once_on_two_branches_of_a_log_sign_only_one() {
    let fork = History::forked_at(3);
    for _ in 0..4 {
        let listed = Listed::new();
        let (watching, serving) = (listed.open(), listed.open());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for to in (5..24).step_by(3) {
                    listed.run(&watching, &fork, to).unwrap();
                }
            });
            scope.spawn(|| {
                let mut old = 0;
                for new in (4..24).step_by(2) {
                    let asked = ask_with(&listed, &serving, &listed.history.body(old, new));
                    match asked {
                        Ok(_) => old = new,
                        Err(NotCosigned::Refused(Refusal::Stale { known })) => {
                            old = known.get();
                        }
                        Err(other) => {
                            assert!(matches!(other, NotCosigned::Refused(_)), "{other}");
                        }
                    }
                }
            });
        });

        let stood = listed.open().stood_at(listed.history.name().as_str()).unwrap();
        let on =
            |history: &History| stood.iter().all(|tree| *tree == history.tree(tree.size.get()));
        assert!(!stood.is_empty());
        assert!(on(&listed.history) || on(&fork), "{stood:?}");
    }
}

#[test]
fn a_log_that_was_removed_is_not_answered_and_goes_on_where_it_was() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    let home = listed.open();

    assert_eq!(home.delist(&listed.history.name(), at(210)), Ok(true));
    assert_eq!(home.delist(&listed.history.name(), at(211)), Ok(false));
    assert_eq!(listed.ask(5, 9), Err(Refusal::UnknownLog.into()));

    listed.list(&home, listed.history.name(), listed.history.log_key());
    assert_eq!(listed.ask(0, 9), Err(stale(5)));
    listed.ask(5, 9).unwrap();
}

/// A checkpoint of the log that already bears a cosignature of this witness's own key.
fn with_own(listed: &Listed, history: &History, old: u64, size: u64) -> Vec<u8> {
    let home = listed.open();
    let origin = listed.history.origin();
    let said = Checkpoint::new(origin.as_str(), history.tree(size)).unwrap();
    let line = sign(&said, at(190), home.cosigner(), home.key());
    let mut request = history.body(old, size);
    request.extend_from_slice(format!("{line}\n").as_bytes());
    request
}

#[test]
fn an_own_cosignature_that_the_state_knows_is_no_news() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();

    let asked = ask_with(&listed, &listed.open(), &with_own(&listed, &listed.history, 5, 5));

    assert!(asked.is_ok(), "{asked:?}");
    assert!(!asked.unwrap().note.unwrap().signatures().is_empty());
}

#[test]
fn an_own_cosignature_ahead_of_the_state_ends_the_process() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();

    let request = with_own(&listed, &listed.history, 5, 9);
    let refused = ask_with(&listed, &listed.open(), &request).unwrap_err();

    assert!(matches!(refused, NotCosigned::RolledBack { .. }), "{refused:?}");
    let failure = refused.fatal().expect("the state was lost");
    assert_eq!((failure.exit(), failure.reason()), (Exit::Unsafe, "state_rolled_back"));
    assert_eq!(listed.state().tree(), listed.history.tree(5));
}

#[test]
fn what_was_once_shown_to_be_forgotten_is_not_signed_past_by_the_next_start_either() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    let (known, signed) = (listed.history.tree(5).size, listed.history.tree(9));
    let rolled_back = NotCosigned::RolledBack { known, signed };
    let shown = with_own(&listed, &listed.history, 5, 9);
    assert_eq!(ask_with(&listed, &listed.open(), &shown), Err(rolled_back.clone()));

    // Nobody shows it again, and the log has another story now.
    let fork = History::forked_at(6);
    for (old, new) in [(5, 5), (5, 9), (5, 12)] {
        let asked = ask_with(&listed, &listed.open(), &fork.body(old, new));
        assert_eq!(asked, Err(rolled_back.clone()), "{old} -> {new}");
    }
    let home = listed.open();
    let run = listed.run(&home, &fork, 9);
    let origin = listed.history.name();
    assert_eq!(run, Err(StateError::Forgotten { origin: origin.clone(), known, signed }));

    // Shown again, it is not written again, and another root of that size proves something worse.
    let lines = || std::fs::read(listed.path().join("index.jsonl")).unwrap();
    let before = lines();
    assert_eq!(ask_with(&listed, &home, &shown), Err(rolled_back));
    assert_eq!(lines(), before);
    let refused = ask_with(&listed, &home, &with_own(&listed, &fork, 5, 9));
    assert_eq!(refused, Err(NotCosigned::Equivocated { signed: fork.tree(9) }));
}

#[test]
fn only_a_recovery_that_reaches_what_was_forgotten_lets_the_log_be_signed_again() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    let home = listed.open();
    let shown = with_own(&listed, &listed.history, 5, 9);
    assert!(ask_with(&listed, &home, &shown).is_err());
    let lock = || OriginLock::acquire(&home, &listed.history.name(), Duration::ZERO).unwrap();

    assert!(lock().recover(History::forked_at(6).tree(9), None, at(210)).is_err());
    lock().recover(listed.history.tree(7), None, at(210)).unwrap();
    assert!(matches!(listed.ask(7, 12), Err(NotCosigned::RolledBack { .. })));
    lock().recover(listed.history.tree(9), None, at(211)).unwrap();

    listed.ask(9, 12).unwrap();
}

#[test]
fn an_own_cosignature_that_contradicts_the_state_ends_the_signing_of_that_log() {
    let fork = History::forked_at(3);
    for old in [0, 9] {
        let listed = Listed::new();
        listed.ask(0, 5).unwrap();
        listed.ask(5, 9).unwrap();

        let request = with_own(&listed, &fork, old, 9);
        let refused = ask_with(&listed, &listed.open(), &request).unwrap_err();

        assert_eq!(refused, NotCosigned::Equivocated { signed: fork.tree(9) });
        assert_eq!(refused.fatal(), None, "other logs are signed on");
        let reason = Reason::try_from(SELF_EQUIVOCATED).unwrap();
        assert_eq!(listed.ask(9, 12), Err(NotCosigned::Halted(reason)));
        assert_eq!(listed.open().published(&listed.state()), None);
    }
}

#[test]
fn an_old_cosignature_that_is_shown_again_is_refused_without_reading_the_index() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    listed.ask(5, 9).unwrap();
    let replayed = with_own(&listed, &listed.history, 0, 5);
    let home = listed.open();
    // Whoever read the index from its start would fail here; what is appended is still read.
    let path = listed.path().join("index.jsonl");
    let index = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, index.replacen("\"kind\"", "\"dnik\"", 1)).unwrap();

    assert_eq!(ask_with(&listed, &home, &replayed), Err(stale(9)));
    assert!(home.stood_at(listed.history.name().as_str()).is_err());
}

#[test]
fn what_is_published_is_what_was_answered() {
    let listed = Listed::new();
    let home = listed.open();
    let published = || home.published(&listed.state());
    assert_eq!(published(), None);

    let first = listed.ask(0, 5).unwrap();
    assert_eq!(published(), first.note);

    listed.clock.set(at(250));
    let refreshed = listed.ask(5, 5).unwrap();
    assert_eq!(published(), refreshed.note);
    assert_ne!(first.note, refreshed.note);

    // Of a head that was signed by `run`, the checkpoint that came with it.
    listed.run(&home, &listed.history, 9).unwrap();
    let known = [listed.history.log_key().vkey().clone(), home.vkey()];
    let note = published().unwrap();
    assert_eq!(note.verify(&known).map(|lines| lines.len()), Ok(2));
    let said: Checkpoint = note.text().parse().unwrap();
    assert_eq!(said.tree(), listed.history.tree(9));
}

#[test]
fn a_size_that_the_index_cannot_hold_is_no_request_and_the_index_stays_readable() {
    let listed = Listed::new();
    let origin = listed.history.origin();
    let ask = |size| {
        let tree = TreeRoot { size: TreeSize::new(size).unwrap(), hash: listed.history.leaf(0) };
        let said = Checkpoint::new(origin.as_str(), tree).unwrap();
        let name = origin.as_str().parse().unwrap();
        let note = sign_checkpoint(&said, &name, listed.history.operator());
        let request = Request::parse(&body(0, &[], &note)).map_err(Refusal::from)?;
        cosign(&listed.open(), request, &Confirmed::default(), &*listed.clock)
    };

    for size in [1 << 53, (1 << 53) + 1, TreeSize::MAX.get()] {
        let refused = Err(Refusal::from(Malformed::SizeTooLarge).into());
        assert_eq!(ask(size), refused, "{size}");
        assert_eq!(listed.state().tree(), TreeRoot::EMPTY);
    }
    ask((1 << 53) - 1).unwrap();
    assert_eq!(listed.state().tree().size.get(), (1 << 53) - 1);
}

#[test]
fn a_damaged_time_ends_the_witness_rather_than_that_an_earlier_one_is_signed() {
    let listed = Listed::new();
    listed.ask(0, 5).unwrap();
    listed.clock.set(at(300));
    listed.ask(5, 5).unwrap();
    let log = listed.history.name().hash().to_hex();
    std::fs::write(listed.path().join("refreshed").join(log), "{").unwrap();

    let refused = listed.ask(5, 5).unwrap_err();

    let reason = refused.fatal().map(|failure| failure.reason());
    assert_eq!(reason, Some("state_inconsistent"), "{refused:?}");
}

#[test]
fn too_many_open_files_end_no_witness() {
    let error = FileError::TooManyOpen { doing: "open", path: "state.json".into() };

    let refused = NotCosigned::from(StateError::File(error));

    assert_eq!((refused.fatal(), refused), (None, NotCosigned::Busy));
}

#[test]
#[ignore = "measures, and asserts no time"]
fn how_long_a_hundred_cosignatures_take_among_four_thousand_logs() {
    let listed = Listed::new();
    let key = listed.history.log_key();
    let home = listed.open();
    let logs: Vec<_> = (0..4000)
        .map(|number| crate::log_list::ListedLog {
            origin: format!("log {number}").parse().unwrap(),
            key: key.clone(),
        })
        .collect();
    home.enlist(&logs, crate::state::Asker::List, at(1)).unwrap();
    let name = key.vkey().name().clone();
    let ask = |number: usize, old: u64, new: u64| {
        let tree = listed.history.tree(new);
        let said = Checkpoint::new(logs[number].origin.as_str(), tree).unwrap();
        let note = sign_checkpoint(&said, &name, listed.history.operator());
        let proof =
            if old == 0 || old == new { Vec::new() } else { listed.history.consistency(old, new) };
        ask_with(&listed, &home, &body(old, &proof, &note)).unwrap();
    };
    let took = |what: &str, work: &dyn Fn()| {
        let start = std::time::Instant::now();
        work();
        println!("{what}: {:?}", start.elapsed());
    };
    took("100 first steps", &|| (0..100).for_each(|number| ask(number, 0, 5)));
    took("100 steps", &|| (0..100).for_each(|number| ask(number, 5, 9)));
    listed.clock.set(at(400));
    took("100 refreshes", &|| (0..100).for_each(|number| ask(number, 9, 9)));
    took("100 unknown logs", &|| {
        for number in 0..100 {
            assert_eq!(home.log(&format!("stranger {number}")), Ok(None));
        }
    });
    took("100 steps at once", &|| {
        std::thread::scope(|scope| {
            for number in 0..100 {
                scope.spawn(move || ask(number, 9, 12));
            }
        });
    });
}

#[test]
fn a_log_that_run_watches_is_cosigned_only_after_a_check_of_the_own_memory() {
    let listed = Listed::new();
    let (home, confirmed) = (listed.open(), Confirmed::default());
    let ask = |old, new| {
        let request = Request::parse(&listed.history.body(old, new)).unwrap();
        cosign(&home, request, &confirmed, &*listed.clock)
    };
    ask(0, 4).unwrap();
    listed.run(&home, &listed.history, 5).unwrap();

    for (old, new) in [(5, 5), (5, 9)] {
        assert_eq!(ask(old, new), Err(NotCosigned::Unconfirmed), "{old} -> {new}");
    }
    assert_eq!(listed.state().tree(), listed.history.tree(5));

    confirmed.confirm(listed.history.name());
    ask(5, 9).unwrap();
}
