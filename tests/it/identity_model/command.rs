//! What people may do with keys: the commands, and how a sequence of them is drawn from a seed.

use diogenes_common::clock::Timestamp;

use super::model::{Model, OPERATOR, State};
use crate::random::Random;

/// A key by its number; [`OPERATOR`] is the log's own.
pub(super) type Who = usize;

/// How many people there are; their numbers begin with 1.
pub(super) const PEOPLE: usize = 9;
/// How many documents they attest.
pub(super) const PAPERS: usize = 3;

/// Parts of each other, so that searches find several.
const NAMES: [&str; 4] = ["Alice", "ALIce two", "Bob Alic", "Bob"];
const KINDS: [&str; 3] = ["authorship", "peer_review", "x-it:note"];
const INTENTS: [Option<&str>; 3] = [None, Some("mine"), Some("yours")];

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Register { who: Who, name: &'static str, expires: Option<Timestamp>, proof: Proof, way: Way },
    Succeed { old: Who, new: Who, expires: Option<Timestamp>, proof: Proof, by: By, way: Way },
    Revoke { who: Who, by: By, way: Way },
    Attest { what: Attest, session: Option<Who>, way: Way },
    LogIn { who: Who, answer: Answer },
    Append { session: Option<Who> },
    Renew { session: Who },
    Pass { minutes: i64 },
}

/// A proof of possession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    None,
    Right,
    /// Over other bytes.
    Wrong,
}

/// By which endpoint an event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Own,
    Entries,
}

/// What comes along to show that the holder of a key wants it.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Nothing,
    Session(Who),
    Answer(Who, Answer),
}

/// How somebody answers a challenge of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) how: How,
    /// Whether the challenge was asked for a recovery.
    pub(super) asked_recovery: bool,
    /// Whether the answer says that it is about one; a login can not.
    pub(super) says_recovery: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// All of it, as it should be.
    Whole,
    /// The bare nonce, as old clients do.
    Bare,
    /// For another action.
    Elsewhere,
    /// To a challenge for logins alone.
    ForLogin,
    /// To the challenge that this key answered last.
    Again,
    /// Five minutes after it was given.
    Late,
}

/// An attestation as it was signed, and what is said to come with it.
#[derive(Clone, Debug)]
pub(super) struct Attest {
    pub(super) who: Who,
    pub(super) paper: usize,
    /// What the manifest lists: logged attestations, by their place in the log's order.
    pub(super) listed: Vec<usize>,
    /// Whether it also lists one that the log does not hold.
    pub(super) lists_unknown: bool,
    pub(super) form: Form,
    pub(super) signed: Terms,
    pub(super) told: Terms,
    pub(super) pseudonym: Option<&'static str>,
    pub(super) fault: Option<Fault>,
}

/// What only a signature that binds all covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) kind: &'static str,
    pub(super) intent: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Manifest,
    Parents,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A signature over something else.
    Signature,
    /// A type that is none.
    Kind,
}

impl Attest {
    /// Whether the signature covers all that is told and that it could cover.
    pub(super) fn is_covered(&self) -> bool {
        self.form != Form::All || self.signed == self.told
    }
}

impl Answer {
    pub(super) const fn of(how: How) -> Self {
        Self { how, asked_recovery: false, says_recovery: false }
    }

    const fn recovery() -> Self {
        Self { how: How::Whole, asked_recovery: true, says_recovery: true }
    }
}

impl Random {
    fn anybody(&mut self) -> Who {
        1 + self.below(PEOPLE)
    }

    /// Mostly somebody whose key is in this state; `None` is not registered.
    fn somebody(&mut self, model: &Model, state: Option<State>) -> Who {
        let found = model.people_in(state);
        if found.is_empty() || self.chance(15) { self.anybody() } else { self.pick(&found) }
    }

    fn way(&mut self) -> Way {
        self.pick(&[Way::Own, Way::Own, Way::Entries])
    }

    /// The next command; what others did before makes some more likely.
    pub(super) fn command(&mut self, model: &Model) -> Command {
        if model.must_wait() {
            return Command::Pass { minutes: 16 };
        }
        match self.below(100) {
            0..16 => self.registration(model),
            16..30 => self.succession(model),
            30..38 => self.recovery(model),
            38..45 => {
                let who = self.somebody(model, Some(State::Active));
                Command::Revoke { who, by: self.by(model, who), way: self.way() }
            }
            45..74 => self.attestation(model),
            74..85 => {
                let who = self.somebody(model, Some(State::Active));
                let mut answer = self.answer(model, who);
                answer.says_recovery = false;
                Command::LogIn { who, answer }
            }
            85..90 => {
                let session = self.chance(80).then(|| self.holder_of_a_session(model));
                Command::Append { session }
            }
            90..94 => Command::Renew { session: self.holder_of_a_session(model) },
            _ => Command::Pass { minutes: self.pick(&[1, 4, 9, 31]) },
        }
    }

    fn registration(&mut self, model: &Model) -> Command {
        let unproven = model.unproven();
        let (mut who, mut proof) = (self.somebody(model, None), Proof::None);
        if self.chance(50) {
            proof = if self.chance(85) { Proof::Right } else { Proof::Wrong };
            if !unproven.is_empty() && self.chance(50) {
                who = self.pick(&unproven);
            }
        } else if self.chance(5) {
            who = OPERATOR;
        }
        let expires = self.expiry(model, proof);
        Command::Register { who, name: self.pick(&NAMES), expires, proof, way: self.way() }
    }

    /// Half a minute beside every step of time; a past one never with another fault.
    fn expiry(&mut self, model: &Model, proof: Proof) -> Option<Timestamp> {
        let minutes: i64 = match self.below(10) {
            0..5 => return None,
            9 if proof != Proof::Wrong => -1,
            _ => self.pick(&[2, 6, 20]),
        };
        Some(model.now.plus_millis(minutes * 60_000 + 30_000 * minutes.signum()))
    }

    fn succession(&mut self, model: &Model) -> Command {
        let old = self.somebody(model, Some(State::Active));
        let by = self.by(model, old);
        self.succession_of(model, old, by)
    }

    fn recovery(&mut self, model: &Model) -> Command {
        let old = self.somebody(model, Some(State::Expired));
        self.succession_of(model, old, By::Answer(old, Answer::recovery()))
    }

    fn succession_of(&mut self, model: &Model, old: Who, by: By) -> Command {
        let unproven = model.unproven();
        let new = match self.below(10) {
            0 => OPERATOR,
            1 => self.anybody(),
            2..5 if !unproven.is_empty() => self.pick(&unproven),
            _ => self.somebody(model, None),
        };
        let is_whole = matches!(by, By::Answer(_, Answer { how: How::Whole, .. }));
        let proof = match self.below(10) {
            _ if new == OPERATOR => Proof::None,
            0..3 => Proof::None,
            3 if is_whole => Proof::Wrong,
            _ => Proof::Right,
        };
        let expires = self.expiry(model, proof).filter(|at| is_whole || *at > model.now);
        Command::Succeed { old, new, expires, proof, by, way: self.way() }
    }

    fn holder_of_a_session(&mut self, model: &Model) -> Who {
        let known = model.with_session();
        if known.is_empty() || self.chance(10) { self.anybody() } else { self.pick(&known) }
    }

    fn by(&mut self, model: &Model, who: Who) -> By {
        match self.below(20) {
            0 => By::Nothing,
            1..4 => By::Session(self.holder_of_a_session(model)),
            4..6 => By::Session(who),
            6 => {
                let other = self.anybody();
                By::Answer(other, self.answer(model, other))
            }
            _ => By::Answer(who, self.answer(model, who)),
        }
    }

    fn answer(&mut self, model: &Model, who: Who) -> Answer {
        let how = match self.below(20) {
            0..4 => How::Bare,
            4 => How::Elsewhere,
            5 => How::ForLogin,
            6 => How::Late,
            7 | 8 if model.answered_lately(who) => How::Again,
            _ => How::Whole,
        };
        // One fault at a time: which of two is told first is nobody's promise.
        if how != How::Whole {
            return Answer::of(how);
        }
        let mixed_up = [(true, false), (false, true)];
        let (asked_recovery, says_recovery) =
            if self.chance(8) { self.pick(&mixed_up) } else { (false, false) };
        Answer { how, asked_recovery, says_recovery }
    }

    fn attestation(&mut self, model: &Model) -> Command {
        let way = self.way();
        let posted = model.posted.len();
        let mut what = if posted > 0 && self.chance(40) {
            let mut what = model.posted[self.below(posted)].clone();
            if self.chance(70) {
                what.told = self.terms();
                what.pseudonym = Some(self.pick(&NAMES));
            }
            what
        } else {
            self.new_attestation(model)
        };
        if what.form == Form::All && self.chance(60) {
            what.told = what.signed;
        }
        let is_good = what.fault.is_none() && what.is_covered();
        let session = match self.below(10) {
            0..3 if is_good => Some(what.who),
            3 if is_good => Some(self.holder_of_a_session(model)),
            _ => None,
        };
        Command::Attest { what, session, way }
    }

    fn terms(&mut self) -> Terms {
        Terms { kind: self.pick(&KINDS), intent: self.pick(&INTENTS) }
    }

    fn new_attestation(&mut self, model: &Model) -> Attest {
        let state = if self.chance(75) { Some(State::Active) } else { None };
        let paper = self.below(PAPERS);
        let mut listed = Vec::new();
        for (at, of) in model.attestations.iter().enumerate() {
            let percent = if of.paper == paper { 40 } else { 2 };
            if self.chance(percent) {
                listed.push(at);
            }
        }
        let signed = self.terms();
        let fault = match self.below(20) {
            0 => Some(Fault::Signature),
            1 => Some(Fault::Kind),
            _ => None,
        };
        Attest {
            who: self.somebody(model, state),
            paper,
            listed,
            lists_unknown: self.chance(4),
            form: self.pick(&[Form::Manifest, Form::Manifest, Form::Parents, Form::All]),
            signed,
            told: signed,
            pseudonym: if self.chance(70) { Some(self.pick(&NAMES)) } else { None },
            fault,
        }
    }
}
