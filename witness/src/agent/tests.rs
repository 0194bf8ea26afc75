use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diogenes_common::evidence;
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::head::Contradiction;
use diogenes_common::merkle::TreeSize;
use diogenes_common::statement::Refusal as SignedRefusal;
use tempfile::TempDir;

use super::fake::{FakeLog, record_of};
use super::*;
use crate::state::{Interrupt, Moment, Uninterrupted};
use crate::testing::{History, SetClock, StopAfter, at};

/// A witness on disk that is started again and again, and the log that it watches.
struct Bench {
    root: TempDir,
    log: FakeLog,
    vantages: Vec<FakeLog>,
    clock: Arc<SetClock>,
    pin: Option<Fingerprint>,
}

impl Bench {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            log: FakeLog::new(History::honest(), 5),
            vantages: Vec::new(),
            clock: Arc::new(SetClock::new(at(100))),
            pin: None,
        }
    }

    /// A witness that stands at size 5.
    async fn at_five() -> Self {
        let bench = Self::new();
        bench.start().round(Occasion::Scheduled).await.unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("witness")
    }

    fn start(&self) -> Agent<FakeLog> {
        self.start_with(Arc::new(Uninterrupted)).unwrap()
    }

    fn start_with(&self, interrupt: Arc<dyn Interrupt>) -> Result<Agent<FakeLog>, StateError> {
        let home = Home::open(&self.path(), None, || Ok([7; 32]), at(0), interrupt)?;
        let vantages = self.vantages.iter().map(FakeLog::server).collect();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Ok(Agent::new(Arc::new(home), clock, self.log.server(), vantages, self.pin))
    }

    fn size(&self) -> u64 {
        let state = self.start().home.log(History::honest().name().as_str()).unwrap();
        state.map_or(0, |state| state.tree().size.get())
    }

    fn refusals(&self) -> Vec<SignedRefusal> {
        let text = fs::read_to_string(self.path().join("refusals.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn sizes(delivery: Option<&Delivery>) -> Option<(u64, u64)> {
    delivery.map(|delivery| (delivery.old.size.get(), delivery.new.size.get()))
}

fn exit(error: &RoundError) -> (Exit, &'static str) {
    let failure = Failure::from(error.clone());
    (failure.exit(), failure.reason())
}

fn copy_directory(from: &Path, to: &Path) {
    diogenes_common::files::private_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn the_first_proof_begins_at_zero_and_each_next_one_where_the_last_ended() {
    let bench = Bench::new();
    let mut agent = bench.start();

    let first = agent.round(Occasion::Scheduled).await.unwrap();
    bench.log.grow(9, 110);
    let second = agent.round(Occasion::Scheduled).await.unwrap();

    assert!(first.first_contact && !second.first_contact);
    assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);
    assert_eq!(second.signed.unwrap().answer, Submitted::Recorded { proof_id: 1001 });
    bench.log.assert_one_history();
}

#[tokio::test]
async fn a_log_that_has_not_grown_is_left_alone() {
    let bench = Bench::at_five().await;

    for occasion in [Occasion::Scheduled, Occasion::Typed] {
        let round = bench.start().round(occasion).await.unwrap();
        assert_eq!((round.signed, round.tree.size.get()), (None, 5));
    }
    assert_eq!(bench.log.steps(), [(0, 5)]);
}

#[tokio::test]
async fn a_typed_submission_goes_beyond_the_round_and_a_scheduled_one_does_not() {
    let bench = Bench::at_five().await;
    bench.log.state().size = 9;

    let scheduled = bench.start().round(Occasion::Scheduled).await.unwrap();
    let typed = bench.start().round(Occasion::Typed).await.unwrap();

    assert_eq!(scheduled.signed, None);
    assert_eq!(sizes(typed.signed.as_ref()), Some((5, 9)));
    // The round is behind now, which is nobody's fault.
    let scheduled = bench.start().round(Occasion::Scheduled).await.unwrap();
    assert_eq!(scheduled.signed, None);
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_and_never_signs_two_histories() {
    // On the way to the second proof, lines are appended once, on the way to the first twice.
    let moments = [
        (Moment::LineAppended, 1),
        (Moment::LineProjected, 1),
        (Moment::LineAppended, 2),
        (Moment::LineProjected, 2),
        (Moment::Signed, 1),
        (Moment::BodyKept, 1),
        (Moment::Submitted, 1),
        (Moment::AnswerKept, 1),
    ];
    for (moment, nth) in moments {
        let bench = Bench::new();
        let stop = Arc::new(StopAfter::new(moment, nth));
        let interrupt = Arc::clone(&stop) as Arc<dyn Interrupt>;
        let mut agent = bench.start_with(interrupt).unwrap();
        let cut = agent.round(Occasion::Scheduled).await;
        assert!(cut.is_err() && stop.has_stopped(), "{moment:?}");
        drop(agent);

        // The log grows while the witness is down, and the clock has moved on.
        bench.log.grow(9, 110);
        bench.clock.set(at(130));
        let round = bench.start().round(Occasion::Scheduled).await.unwrap();

        assert_eq!(round.tree.size.get(), 9, "{moment:?}");
        let steps = bench.log.steps();
        let began_at_zero = matches!(steps[..], [(0, 9)] | [(0, 5), (5, 9)]);
        assert!(began_at_zero, "{moment:?}: {steps:?}");
        // Once its line was durable, the first step was signed and recorded.
        let durable = !matches!((moment, nth), (_, 1) if matches!(moment, Moment::LineAppended | Moment::LineProjected));
        assert_eq!(steps.len() == 2, durable, "{moment:?}");
        bench.log.assert_one_history();
    }
}

#[tokio::test]
async fn a_proof_whose_answer_was_lost_is_sent_again_byte_for_byte() {
    let bench = Bench::new();
    bench.log.state().deaf = true;
    let lost = bench.start().round(Occasion::Scheduled).await;
    assert!(matches!(lost, Err(RoundError::Source(_))), "{lost:?}");

    bench.log.state().deaf = false;
    bench.clock.set(at(150));
    let round = bench.start().round(Occasion::Scheduled).await.unwrap();

    assert_eq!(sizes(round.resent.as_ref()), Some((0, 5)));
    assert_eq!(bench.log.state().received.len(), 2);
    bench.log.assert_one_history();
    assert_eq!(bench.start().round(Occasion::Scheduled).await.unwrap().resent, None);
}

#[tokio::test]
async fn an_unauthorized_witness_says_what_the_operator_must_type_and_tries_again() {
    let bench = Bench::new();
    bench.log.state().authorized = false;

    let refused = bench.start().round(Occasion::Typed).await.unwrap_err();

    let short = bench.start().home.key().fingerprint().short();
    assert_eq!(exit(&refused), (Exit::Refused, "witness_not_authorized"));
    let help = Failure::from(refused).what_to_do().to_owned();
    assert!(help.contains(&format!("diogenes operator authorize-witness {short} ")), "{help}");
    bench.log.grow(9, 110);
    let again = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert!(matches!(again, RoundError::NotAuthorized { .. }));
    assert_eq!(bench.size(), 5);

    bench.log.state().authorized = true;
    bench.start().round(Occasion::Typed).await.unwrap();

    assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);
    bench.log.assert_one_history();
}

#[tokio::test]
async fn a_state_that_was_put_back_signs_nothing_until_it_is_recovered() {
    let bench = Bench::at_five().await;
    let backup = bench.root.path().join("backup");
    copy_directory(&bench.path(), &backup);
    bench.log.grow(9, 110);
    bench.start().round(Occasion::Scheduled).await.unwrap();
    fs::remove_dir_all(bench.path()).unwrap();
    copy_directory(&backup, &bench.path());
    bench.log.grow(12, 120);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Unsafe, "state_rolled_back"));
    assert!(refused.is_fatal());
    assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);

    let (old, new) = bench.start().recover().await.unwrap();
    assert_eq!((old.size.get(), new.size.get()), (5, 9));
    let recovered = bench.log.state().recorded.last().unwrap().timestamp;
    bench.clock.set(recovered.plus_millis(-1000));
    bench.start().round(Occasion::Scheduled).await.unwrap();
    assert_eq!(bench.log.steps(), [(0, 5), (5, 9), (9, 12)]);
    assert_eq!(bench.log.state().recorded.last().unwrap().timestamp, recovered);
    bench.log.assert_one_history();
}

#[tokio::test]
async fn a_signature_that_was_shown_once_stays_known_when_nobody_shows_it_any_more() {
    for log_line in [true, false] {
        let bench = Bench::new();
        if log_line {
            bench.start().round(Occasion::Scheduled).await.unwrap();
        } else {
            bench.start();
        }
        let backup = bench.root.path().join("backup");
        copy_directory(&bench.path(), &backup);
        bench.log.grow(9, 110);
        bench.start().round(Occasion::Scheduled).await.unwrap();
        fs::remove_dir_all(bench.path()).unwrap();
        copy_directory(&backup, &bench.path());
        bench.log.grow(12, 120);
        let steps = bench.log.steps();
        assert!(bench.start().round(Occasion::Scheduled).await.is_err());

        bench.log.state().claims_to_hold = Some(record_of(None));
        for _ in 0..2 {
            let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
            assert_eq!(exit(&refused), (Exit::Unsafe, "state_rolled_back"));
            assert!(refused.is_fatal());
        }
        assert_eq!(bench.log.steps(), steps);

        let (_, new) = bench.start().recover().await.unwrap();
        assert_eq!(new.size.get(), 9);
        bench.start().round(Occasion::Scheduled).await.unwrap();
        assert_eq!(bench.log.steps().last(), Some(&(9, 12)));
        bench.log.assert_one_history();
    }
}

#[tokio::test]
async fn whoever_only_serves_asks_too_what_was_forgotten_and_signs_nothing() {
    let bench = Bench::new();
    bench.start();
    let backup = bench.root.path().join("backup");
    copy_directory(&bench.path(), &backup);
    bench.start().round(Occasion::Scheduled).await.unwrap();
    bench.log.grow(9, 110);
    assert_eq!(bench.start().confirm().await, Ok(History::honest().name()));
    assert_eq!(bench.size(), 5);

    bench.log.state().down = true;
    let refused = bench.start().confirm().await.unwrap_err();
    assert!(!refused.is_fatal(), "{refused}");
    bench.log.state().down = false;
    fs::remove_dir_all(bench.path()).unwrap();
    copy_directory(&backup, &bench.path());
    let refused = bench.start().confirm().await.unwrap_err();

    assert_eq!(exit(&refused), (Exit::Unsafe, "state_rolled_back"));
    assert_eq!(bench.log.steps(), [(0, 5)]);
}

#[tokio::test]
async fn a_lost_log_line_is_a_rolled_back_state_too() {
    let bench = Bench::new();
    bench.start();
    let backup = bench.root.path().join("backup");
    copy_directory(&bench.path(), &backup);
    bench.start().round(Occasion::Scheduled).await.unwrap();
    fs::remove_dir_all(bench.path()).unwrap();
    copy_directory(&backup, &bench.path());

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Unsafe, "state_rolled_back"));

    bench.start().recover().await.unwrap();
    assert_eq!(bench.size(), 5);
}

#[tokio::test]
async fn a_recovery_needs_an_answer_from_every_source() {
    let mut bench = Bench::at_five().await;
    let vantage = FakeLog::new(History::honest(), 5);
    vantage.state().down = true;
    bench.vantages.push(vantage);

    let refused = bench.start().recover().await.unwrap_err();

    assert_eq!(exit(&refused), (Exit::Refused, "amnesia_check_incomplete"));
}

#[tokio::test]
async fn a_key_that_signed_another_history_never_signs_this_log_again() {
    let bench = Bench::at_five().await;
    // Somebody else used a copy of the key on a fork.
    let thief = Bench { log: FakeLog::new(History::forked_at(3), 5), ..Bench::new() };
    thief.start().round(Occasion::Scheduled).await.unwrap();
    let stolen = record_of(thief.log.state().recorded.last());
    bench.log.state().claims_to_hold = Some(stolen);
    bench.log.grow(9, 110);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Unsafe, "self_equivocated"));

    // For ever: also when nobody claims it any more.
    bench.log.state().claims_to_hold = None;
    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Unsafe, "self_equivocated"));
    assert_eq!(bench.log.steps(), [(0, 5)]);
}

#[tokio::test]
async fn a_claim_that_the_own_key_did_not_sign_is_no_answer() {
    let bench = Bench::at_five().await;
    let mut forged = record_of(bench.log.state().recorded.last());
    forged["last_proof"]["new_tree_size"] = serde_json::json!(7);
    bench.log.state().claims_to_hold = Some(forged);
    bench.log.grow(9, 110);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

    assert_eq!(exit(&refused), (Exit::Refused, "amnesia_check_incomplete"));
    assert!(!refused.is_fatal());
    assert_eq!(bench.log.steps(), [(0, 5)]);
}

#[tokio::test]
async fn a_fork_is_refused_and_its_own_proof_becomes_evidence() {
    let bench = Bench::at_five().await;
    bench.log.state().history = History::forked_at(3);
    bench.log.grow(9, 110);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

    let RoundError::Refused { refusal: Refusal::Inconsistent(_), evidence: Some(file) } = &refused
    else {
        panic!("{refused:?}");
    };
    let log_id = diogenes_common::merkle::Hash::of(History::honest().leaf_bytes(0));
    let proven = evidence::verify(&fs::read(file).unwrap(), Some(log_id), None).unwrap();
    assert_eq!(proven.kind, evidence::Kind::ForkPrefix);
    assert_eq!(bench.size(), 5);
    let refusals = bench.refusals();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason.as_str(), "fork_prefix");
    assert!(refusals[0].clone().verify().is_ok());
}

#[tokio::test]
async fn a_proof_is_told_until_it_is_answered_and_then_never_again() {
    let bench = Bench::at_five().await;
    bench.log.state().history = History::forked_at(3);
    bench.log.grow(9, 110);
    // The server answers whatever is asked, and loses what is told.
    bench.log.state().deaf = true;
    let mut agent = bench.start();
    agent.round(Occasion::Scheduled).await.unwrap_err();
    assert!(!bench.path().join("evidence-told.json").exists(), "nobody answered");
    drop(agent);

    bench.log.state().deaf = false;
    bench.log.state().told.clear();
    for _ in 0..3 {
        bench.start().round(Occasion::Scheduled).await.unwrap_err();
    }

    let told = bench.log.state().told.clone();
    assert_eq!(told.len(), 1, "once answered it is not told again, over starts too");
    assert_eq!(told[0]["kind"], "fork_prefix");
    let file = fs::read_dir(bench.path().join("evidence")).unwrap().next().unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(told[0], kept, "as it is kept");
}

#[tokio::test]
async fn a_fork_that_nobody_proves_is_refused_and_not_called_proof() {
    let bench = Bench::at_five().await;
    {
        let mut state = bench.log.state();
        state.history = History::forked_at(3);
        state.proves_for = Some(History::honest());
    }
    bench.log.grow(9, 110);

    let mut agent = bench.start();
    let refused = agent.round(Occasion::Scheduled).await.unwrap_err();
    let again = agent.round(Occasion::Scheduled).await.unwrap_err();

    assert_eq!(exit(&refused), (Exit::Refused, "inconsistent_unproven"));
    assert!(matches!(again, RoundError::Refused { evidence: None, .. }));
    assert!(!bench.path().join("evidence").exists());
    // The same refusal is kept once.
    assert_eq!(bench.refusals().len(), 1);

    // And the honest log is signed again as before.
    {
        let mut state = bench.log.state();
        (state.history, state.proves_for) = (History::honest(), None);
    }
    agent.round(Occasion::Scheduled).await.unwrap();
    assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);
}

#[tokio::test]
async fn a_truncated_log_is_proof() {
    let bench = Bench::at_five().await;
    bench.log.grow(4, 110);

    for occasion in [Occasion::Scheduled, Occasion::Typed] {
        let refused = bench.start().round(occasion).await.unwrap_err();

        let RoundError::Refused { refusal, evidence: Some(file) } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(refusal, Refusal::Contradicted(Contradiction::Truncated));
        assert!(evidence::verify(&fs::read(file).unwrap(), None, None).is_ok());
    }
}

#[tokio::test]
async fn two_views_of_the_log_are_proof_and_neither_is_signed() {
    let mut bench = Bench::at_five().await;
    bench.log.grow(9, 110);
    let other_view = FakeLog::new(History::forked_at(6), 9);
    other_view.state().head_time = at(111);
    bench.vantages.push(other_view);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

    let RoundError::Refused { refusal, evidence: Some(_) } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal, Refusal::Contradicted(Contradiction::ForkSameSize));
    assert_eq!(bench.log.steps(), [(0, 5)]);
}

#[tokio::test]
async fn a_view_of_another_size_is_proven_to_be_the_same_history() {
    for (size, time) in [(7, 105), (12, 115)] {
        let mut bench = Bench::at_five().await;
        bench.log.grow(9, 110);
        let vantage = FakeLog::new(History::honest(), size);
        vantage.state().head_time = at(time);
        bench.vantages.push(vantage);

        let round = bench.start().round(Occasion::Scheduled).await.unwrap();

        assert!(!round.single_vantage);
        assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);
    }
}

#[tokio::test]
async fn a_fork_of_another_size_at_a_vantage_point_is_proof() {
    let mut bench = Bench::at_five().await;
    bench.log.grow(9, 110);
    let vantage = FakeLog::new(History::forked_at(6), 12);
    vantage.state().head_time = at(115);
    bench.vantages.push(vantage);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

    let RoundError::Refused { evidence: Some(file), .. } = refused else {
        panic!("{refused:?}");
    };
    let proven = evidence::verify(&fs::read(file).unwrap(), None, None).unwrap();
    assert_eq!(proven.kind, evidence::Kind::ForkPrefix);
}

#[tokio::test]
async fn a_vantage_point_that_shows_a_shorter_or_an_earlier_log_is_proof() {
    let views =
        [(7, 115, evidence::Kind::Truncated), (12, 105, evidence::Kind::TimestampRegressed)];
    for (size, time, kind) in views {
        let mut bench = Bench::at_five().await;
        bench.log.grow(9, 110);
        let vantage = FakeLog::new(History::honest(), size);
        vantage.state().head_time = at(time);
        bench.vantages.push(vantage);

        let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

        let RoundError::Refused { evidence: Some(file), .. } = refused else {
            panic!("{refused:?}");
        };
        let proven = evidence::verify(&fs::read(file).unwrap(), None, None).unwrap();
        assert_eq!(proven.kind, kind);
    }
}

#[tokio::test]
async fn a_silent_vantage_point_stops_the_first_signature_and_only_worries_later() {
    let mut bench = Bench::new();
    let vantage = FakeLog::new(History::honest(), 5);
    bench.vantages.push(vantage.clone());
    vantage.state().down = true;
    let mut agent = bench.start();

    let refused = agent.round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Refused, "amnesia_check_incomplete"));
    assert_eq!(bench.log.steps(), []);

    vantage.state().down = false;
    agent.round(Occasion::Scheduled).await.unwrap();
    vantage.state().down = true;
    bench.log.grow(9, 110);
    let round = agent.round(Occasion::Scheduled).await.unwrap();
    assert!(round.single_vantage);
    assert_eq!(bench.log.steps(), [(0, 5), (5, 9)]);
}

#[tokio::test]
async fn only_the_pinned_operator_is_trusted() {
    let mut bench = Bench::new();
    let other = diogenes_common::keys::SigningKey::from_seed([1; 32]).fingerprint();
    bench.pin = Some(other);

    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Refused, "unauthorized_key"));

    bench.pin = Some(History::honest().operator().fingerprint());
    assert!(bench.start().round(Occasion::Scheduled).await.is_ok());
    bench.pin = Some(other);
    assert!(bench.start().round(Occasion::Scheduled).await.is_err());
}

#[tokio::test]
async fn a_description_that_the_genesis_does_not_bear_out_is_not_trusted() {
    let other = diogenes_common::keys::SigningKey::from_seed([1; 32]);
    let lies = [
        ("origin", serde_json::json!("other.example/log")),
        ("operator_public_key", serde_json::json!(other.public())),
        ("log_id", serde_json::json!(diogenes_common::merkle::Hash::EMPTY_TREE)),
    ];
    for (member, lie) in lies {
        let bench = Bench::new();
        bench.log.state().well_known[member] = lie;

        let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

        assert_eq!(exit(&refused), (Exit::Refused, "not_that_log"), "{member}");
        assert_eq!(bench.size(), 0);
    }
}

#[tokio::test]
async fn heads_of_the_wrong_time_are_refused_with_their_reason() {
    for (head, now, reason) in [(400, 100, "head_in_future"), (110, 9000, "leader_stale")] {
        let bench = Bench::at_five().await;
        bench.log.grow(9, head);
        bench.clock.set(at(now));

        let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();

        assert_eq!(exit(&refused), (Exit::Refused, reason));
        assert_eq!(bench.refusals()[0].reason.as_str(), reason);
        assert_eq!(bench.refusals()[0].old_tree_size, TreeSize::ZERO.plus(5));
    }
}

#[tokio::test]
async fn a_proof_that_the_server_rejects_is_not_sent_again() {
    let bench = Bench::new();
    let mut agent = bench.start();
    // The log changes its mind between the head and the proof.
    bench.log.state().claims_to_hold = Some(record_of(None));
    agent.identify().await.unwrap();
    let honest = {
        let mut state = bench.log.state();
        state.deaf = true;
        std::mem::replace(&mut state.history, History::forked_at(3))
    };
    agent.round(Occasion::Scheduled).await.unwrap_err();
    {
        let mut state = bench.log.state();
        (state.history, state.deaf) = (honest, false);
    }

    let rejected = agent.round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&rejected), (Exit::Refused, "proof_rejected"));

    let received = bench.log.state().received.len();
    let refused = agent.round(Occasion::Scheduled).await.unwrap_err();
    assert!(matches!(refused, RoundError::Refused { evidence: Some(_), .. }), "{refused:?}");
    assert_eq!(bench.log.state().received.len(), received);
}

#[tokio::test]
async fn a_log_that_was_cosigned_before_it_is_watched_must_begin_with_its_genesis() {
    let (history, mut bench) = (History::honest(), Bench::new());
    bench.log = FakeLog::new(History::honest(), 9);
    let home = Home::open(&bench.path(), None, || Ok([7; 32]), at(0), Arc::new(Uninterrupted));
    let home = Arc::new(home.unwrap());
    let log = crate::log_list::ListedLog { origin: history.name(), key: history.log_key() };
    home.enlist(&[log], crate::state::Asker::Operator, at(1)).unwrap();
    let request = crate::add_checkpoint::Request::parse(&history.body(0, 5)).unwrap();
    let trusted = home.log(history.name().as_str()).unwrap().unwrap().trusted();
    let signed = crate::add_checkpoint::recognise(request, trusted.as_deref()).unwrap();
    let accepted = crate::add_checkpoint::judge(signed, TreeRoot::EMPTY).unwrap();
    let lock = OriginLock::acquire(&home, &history.name(), Duration::ZERO).unwrap();
    lock.cosign(&accepted, at(50)).unwrap();
    drop(lock);

    // Proofs of another history do not lead from its genesis to what was cosigned.
    bench.log.state().proves_for = Some(History::forked_at(2));
    let refused = bench.start().round(Occasion::Scheduled).await.unwrap_err();
    assert_eq!(exit(&refused), (Exit::Refused, "inconsistent_unproven"));
    assert_eq!(bench.size(), 5);

    bench.log.state().proves_for = None;
    let round = bench.start().round(Occasion::Scheduled).await.unwrap();
    assert!(round.first_contact);
    assert_eq!(round.signed.map(|signed| signed.old), Some(history.tree(5)));
}
