//! What should become of an attack, what became of it, and where the two part. Pure.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Who notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Leader,
    SecondLeader,
    Follower,
    Witness,
}

/// The state that a node is in once it noticed, and the reason that it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) standing: Standing,
    pub(crate) reason: Cow<'static, str>,
}

/// In which way a node reacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// ERROR, until the operator acknowledges it.
    Latched,
    /// ERROR, until the source is honest again.
    Transient,
    /// BEHIND.
    Behind,
    /// As it was.
    Unmoved,
    /// Serves reads, signs nothing.
    ReadOnly,
    /// Opens an incident and goes on.
    Incident,
    /// The process ended with this code.
    Exit(i32),
    /// The request was answered with this status.
    Answer(u16),
    /// The connection was cut.
    Cut,
}

/// What an attack leaves, as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// An evidence file that convinces a stranger.
    Proof,
    /// A file that shows what was seen and proves nothing.
    Observation,
    /// Nothing to keep.
    Nothing,
}

/// What should become of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) who: Who,
    pub(crate) state: State,
    pub(crate) leaves: Leaves,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) who: Who,
    /// How long it took from the attack until it was noticed.
    pub(crate) after: Duration,
    pub(crate) state: State,
    pub(crate) left: Left,
    /// Whether everything went on once the attack was over; `None` where it must not.
    pub(crate) healed: Option<bool>,
    /// What else has to hold, and whether it did.
    pub(crate) checks: Vec<(&'static str, bool)>,
}

/// What was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Proof(ProofTrial),
    Observation {
        /// Whether `evidence verify` says that the file proves nothing.
        proves_nothing: bool,
    },
}

/// What the verifier said about a file that should be proof.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProofTrial {
    /// The kind that the file was kept as.
    pub(crate) kind: String,
    /// It was accepted for the log that it is about.
    pub(crate) accepted: bool,
    /// It was refused for another log.
    pub(crate) bound: bool,
    /// How many changed copies were tried.
    pub(crate) changed: usize,
    /// How many of them were accepted although they say something else.
    pub(crate) slipped: usize,
}

/// One way in which the observed is not the expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("{0} noticed, not {1}")]
    Who(Who, Who),
    #[error("the state is {0}, not {1}")]
    State(State, State),
    #[error("it left {0}, not {1}")]
    Leaves(Leaves, Leaves),
    #[error("the proof is of the kind {0}")]
    Kind(String),
    #[error("evidence verify does not accept the proof")]
    NotAccepted,
    #[error("evidence verify accepts the proof for another log")]
    Unbound,
    #[error("no changed copy of the proof was tried")]
    Untried,
    #[error("{0} changed copies of the proof were accepted")]
    Slipped(usize),
    #[error("evidence verify takes an observation for proof")]
    CalledProof,
    #[error("it did not go on once the attack was over")]
    NotHealed,
    #[error("nobody looked whether it goes on once the attack is over")]
    HealingUntried,
    #[error("not so: {0}")]
    Check(&'static str),
}

/// Says everything in which the observed is not the expected; nothing if the verdict is right.
pub(crate) fn judge(expected: &Expected, observed: &Observed) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut unless = |holds: bool, what: Wrong| {
        if !holds {
            wrong.push(what);
        }
    };
    unless(observed.who == expected.who, Wrong::Who(observed.who, expected.who));
    unless(
        observed.state == expected.state,
        Wrong::State(observed.state.clone(), expected.state.clone()),
    );
    let leaves = observed.left.leaves();
    unless(leaves == expected.leaves, Wrong::Leaves(leaves, expected.leaves));
    match &observed.left {
        Left::Proof(trial) => {
            unless(trial.kind == observed.state.reason, Wrong::Kind(trial.kind.clone()));
            unless(trial.accepted, Wrong::NotAccepted);
            unless(trial.bound, Wrong::Unbound);
            unless(trial.changed > 0, Wrong::Untried);
            unless(trial.slipped == 0, Wrong::Slipped(trial.slipped));
        }
        Left::Observation { proves_nothing } => {
            unless(*proves_nothing, Wrong::CalledProof);
            unless(observed.healed.is_some(), Wrong::HealingUntried);
        }
        Left::Nothing => {}
    }
    unless(observed.healed != Some(false), Wrong::NotHealed);
    for (what, holds) in &observed.checks {
        unless(*holds, Wrong::Check(what));
    }
    wrong
}

impl Left {
    /// Which sort it is.
    pub(crate) fn leaves(&self) -> Leaves {
        match self {
            Self::Nothing => Leaves::Nothing,
            Self::Proof(_) => Leaves::Proof,
            Self::Observation { .. } => Leaves::Observation,
        }
    }

    /// Whether the verifier said of the file what it had to say; `None` where there is no file.
    pub(crate) fn is_verified(&self) -> Option<bool> {
        match self {
            Self::Nothing => None,
            Self::Proof(trial) => {
                Some(trial.accepted && trial.bound && trial.changed > 0 && trial.slipped == 0)
            }
            Self::Observation { proves_nothing } => Some(*proves_nothing),
        }
    }
}

impl State {
    /// A state of the table.
    pub(crate) const fn of(standing: Standing, reason: &'static str) -> Self {
        Self { standing, reason: Cow::Borrowed(reason) }
    }

    /// A state that a node named.
    pub(crate) fn named(standing: Standing, reason: impl Into<String>) -> Self {
        Self { standing, reason: Cow::Owned(reason.into()) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standing {
            Standing::Latched => f.write_str("ERROR latched"),
            Standing::Transient => f.write_str("ERROR transient"),
            Standing::Behind => f.write_str("BEHIND"),
            Standing::Unmoved => f.write_str("goes on"),
            Standing::ReadOnly => f.write_str("reads only"),
            Standing::Incident => f.write_str("incident"),
            Standing::Exit(code) => write!(f, "exit {code}"),
            Standing::Answer(status) => write!(f, "answer {status}"),
            Standing::Cut => f.write_str("connection cut"),
        }?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " {}", self.reason) }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::SecondLeader => "second leader",
            Self::Follower => "follower",
            Self::Witness => "witness",
        })
    }
}

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proof => "proof",
            Self::Observation => "observation",
            Self::Nothing => "-",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut ProofTrial);

    fn expected(standing: Standing, reason: &'static str, leaves: Leaves) -> Expected {
        Expected { who: Who::Follower, state: State::of(standing, reason), leaves }
    }

    fn proven() -> (Expected, Observed) {
        let trial = ProofTrial {
            kind: "truncated".to_owned(),
            accepted: true,
            bound: true,
            changed: 9,
            slipped: 0,
        };
        let observed = Observed {
            who: Who::Follower,
            after: Duration::from_millis(40),
            state: State::named(Standing::Latched, "truncated"),
            left: Left::Proof(trial),
            healed: None,
            checks: vec![("it is served on", true)],
        };
        (expected(Standing::Latched, "truncated", Leaves::Proof), observed)
    }

    fn observed_only() -> (Expected, Observed) {
        let (_, observed) = proven();
        let observed = Observed {
            state: State::named(Standing::Transient, "bad_batch"),
            left: Left::Observation { proves_nothing: true },
            healed: Some(true),
            ..observed
        };
        (expected(Standing::Transient, "bad_batch", Leaves::Observation), observed)
    }

    #[test]
    fn what_is_as_expected_is_right() {
        for (expected, observed) in [proven(), observed_only()] {
            assert_eq!(judge(&expected, &observed), []);
            assert_eq!(observed.left.is_verified(), Some(true));
        }
    }

    #[test]
    fn another_noticer_another_state_and_another_reason_are_wrong() {
        let (expected, observed) = proven();
        let witness = Observed { who: Who::Witness, ..observed.clone() };
        assert_eq!(judge(&expected, &witness), [Wrong::Who(Who::Witness, Who::Follower)]);
        for (standing, reason) in [(Standing::Transient, "truncated"), (Standing::Latched, "other")]
        {
            let state = State::of(standing, reason);
            let wrong = judge(&expected, &Observed { state: state.clone(), ..observed.clone() });
            assert!(wrong.contains(&Wrong::State(state, expected.state.clone())), "{wrong:?}");
        }
    }

    #[test]
    fn proof_counts_only_if_it_stands_and_no_changed_copy_does() {
        let (expected, observed) = proven();
        let spoilt: [(Spoil, Wrong); 5] = [
            (|trial| trial.accepted = false, Wrong::NotAccepted),
            (|trial| trial.bound = false, Wrong::Unbound),
            (|trial| trial.changed = 0, Wrong::Untried),
            (|trial| trial.slipped = 1, Wrong::Slipped(1)),
            (|trial| trial.kind.clear(), Wrong::Kind(String::new())),
        ];
        for (spoil, wrong) in spoilt {
            let mut observed = observed.clone();
            let Left::Proof(trial) = &mut observed.left else { panic!("it is proof") };
            spoil(trial);
            assert_eq!(judge(&expected, &observed), [wrong]);
        }
    }

    #[test]
    fn what_left_nothing_or_the_wrong_thing_is_wrong() {
        let (expected, observed) = proven();
        for left in [Left::Nothing, Left::Observation { proves_nothing: true }] {
            let found = left.leaves();
            let wrong = judge(&expected, &Observed { left, ..observed.clone() });
            assert!(wrong.contains(&Wrong::Leaves(found, Leaves::Proof)), "{wrong:?}");
        }
    }

    #[test]
    fn an_observation_must_prove_nothing_and_stop_nobody_for_ever() {
        let (expected, observed) = observed_only();
        let proof = Left::Observation { proves_nothing: false };
        let called_proof = Observed { left: proof, ..observed.clone() };
        assert_eq!(judge(&expected, &called_proof), [Wrong::CalledProof]);
        let stopped = Observed { healed: Some(false), ..observed.clone() };
        assert_eq!(judge(&expected, &stopped), [Wrong::NotHealed]);
        let untried = Observed { healed: None, ..observed };
        assert_eq!(judge(&expected, &untried), [Wrong::HealingUntried]);
    }

    #[test]
    fn every_check_has_to_hold() {
        let (expected, mut observed) = proven();
        observed.checks.push(("the witness refuses", false));
        assert_eq!(judge(&expected, &observed), [Wrong::Check("the witness refuses")]);
    }

    #[test]
    fn states_read_as_in_the_table() {
        let shown = |standing, reason| State::of(standing, reason).to_string();
        assert_eq!(shown(Standing::Latched, "fork_prefix"), "ERROR latched fork_prefix");
        assert_eq!(shown(Standing::Behind, "leader_stale"), "BEHIND leader_stale");
        assert_eq!(shown(Standing::Exit(78), "not_leader"), "exit 78 not_leader");
        assert_eq!(shown(Standing::Unmoved, ""), "goes on");
    }
}
