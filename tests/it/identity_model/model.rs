//! The rules of keys, sessions and attestations, written down once more and as plainly as can be.
//!
//! Where two things are wrong with a command, what is wrong with the command itself is told first,
//! then who sends it, then what the log holds.

use std::collections::BTreeMap;

use diogenes_common::clock::Timestamp;

use super::command::{Answer, Attest, By, Command, Fault, Form, How, Proof, Who};

/// The key that signs the log.
pub(super) const OPERATOR: Who = 0;

const MINUTE: i64 = 60_000;
const SESSION_SECONDS: i64 = 30 * 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Expired,
    Succeeded,
    Revoked,
}

/// What the log says about a key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) expires: Option<Timestamp>,
    /// The entry whose word counts.
    pub(super) entry: u64,
    /// The entry that first registered it.
    pub(super) first: u64,
    pub(super) proven: bool,
    pub(super) succeeds: Option<Who>,
    pub(super) ended: Option<Ended>,
    /// Whether it ever answered or attested with a signature that says all it is about.
    has_signed_whole: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// The successor; none if it was revoked.
    pub(super) by: Option<Who>,
    pub(super) entry: u64,
    /// Whether it rests on the leader's word.
    pub(super) asserted: bool,
}

/// An attestation in the log.
#[derive(Clone, Debug)]
pub(super) struct Attested {
    pub(super) what: Attest,
    pub(super) paper: usize,
    pub(super) form: Form,
    pub(super) kind: &'static str,
    /// What it stands on, by place in the log's order.
    pub(super) parents: Vec<usize>,
    pub(super) entry: u64,
    pub(super) asserted: bool,
}

/// An entry: its type, and what it refers to.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) keys: Vec<Who>,
    pub(super) paper: Option<usize>,
}

/// What a command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The log has grown, this is its new entry.
    Appended(u64),
    /// This entry says it already.
    Found(u64),
    /// Nothing is appended, and it is done.
    Well,
    /// The status and the code of the refusal.
    Refused(u16, &'static str),
}

type Verdict<T> = Result<T, (u16, &'static str)>;

const NOT_ACTIVE: (u16, &str) = (403, "key_not_active");
const REGISTERED: (u16, &str) = (409, "key_already_registered");
const INVALID: (u16, &str) = (422, "validation_failed");
const BAD_SIGNATURE: (u16, &str) = (422, "invalid_signature");
const UNAUTHORIZED: (u16, &str) = (401, "unauthorized");

/// What is known of everybody.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) keys: BTreeMap<Who, Key>,
    pub(super) attestations: Vec<Attested>,
    pub(super) log: Vec<Entry>,
    /// What was sent before and could be read.
    pub(super) posted: Vec<Attest>,
    /// The type that stands where the signature does not cover it.
    kinds: BTreeMap<(usize, Who, Form), &'static str>,
    /// Until when the newest session of a key lasts.
    sessions: BTreeMap<Who, Timestamp>,
    /// When a key last used a challenge up.
    answered: BTreeMap<Who, Timestamp>,
    wrong: u32,
}

impl Key {
    /// Its state for who knows the log up to an entry, at an instant.
    pub(super) fn state(&self, upto: u64, at: Timestamp) -> State {
        match self.ended.filter(|ended| ended.entry <= upto) {
            Some(Ended { by: Some(_), .. }) => State::Succeeded,
            Some(Ended { by: None, .. }) => State::Revoked,
            None if self.expires.is_some_and(|end| at >= end) => State::Expired,
            None => State::Active,
        }
    }
}

impl Model {
    /// A log that has just begun.
    pub(super) fn new(now: Timestamp) -> Self {
        let operator = Key {
            name: "log.example/it",
            expires: None,
            entry: 1,
            first: 1,
            proven: true,
            succeeds: None,
            ended: None,
            has_signed_whole: true,
        };
        let genesis = Entry { kind: "log_genesis", keys: vec![OPERATOR], paper: None };
        Self {
            now,
            keys: BTreeMap::from([(OPERATOR, operator)]),
            attestations: Vec::new(),
            log: vec![genesis],
            posted: Vec::new(),
            kinds: BTreeMap::new(),
            sessions: BTreeMap::new(),
            answered: BTreeMap::new(),
            wrong: 0,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.log.len() as u64
    }

    /// The state of a key now; `None` if it is not registered.
    pub(super) fn state(&self, who: Who) -> Option<State> {
        self.keys.get(&who).map(|key| key.state(u64::MAX, self.now))
    }

    pub(super) fn people_in(&self, state: Option<State>) -> Vec<Who> {
        (1..=super::command::PEOPLE).filter(|who| self.state(*who) == state).collect()
    }

    /// Those whose registration may be replaced.
    pub(super) fn unproven(&self) -> Vec<Who> {
        let weak = self.keys.iter().filter(|(_, key)| !key.proven && key.ended.is_none());
        weak.map(|(who, _)| *who).collect()
    }

    pub(super) fn with_session(&self) -> Vec<Who> {
        self.sessions.keys().copied().collect()
    }

    pub(super) fn answered_lately(&self, who: Who) -> bool {
        self.answered.get(&who).is_some_and(|at| self.now.millis_since(*at) < 4 * MINUTE)
    }

    /// Whether the last command used a challenge of this key up.
    pub(super) fn has_answered_now(&self, who: Who) -> bool {
        self.answered.get(&who) == Some(&self.now)
    }

    /// Who signs wrongly ten times within a quarter of an hour is not listened to.
    pub(super) fn must_wait(&self) -> bool {
        self.wrong >= 9
    }

    /// The instants at which something ends by itself.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = Timestamp> {
        let keys = self.keys.values().filter_map(|key| key.expires);
        keys.chain(self.sessions.values().copied())
    }

    /// What must come of a command; afterwards the model is where the log is.
    pub(super) fn judge(&mut self, command: &Command) -> Outcome {
        let verdict = match command {
            Command::Register { who, name, expires, proof, .. } => {
                self.register(*who, name, *expires, *proof)
            }
            Command::Succeed { old, new, expires, proof, by, .. } => {
                self.succeed(*old, *new, *expires, *proof, *by)
            }
            Command::Revoke { who, by, .. } => self.revoke(*who, *by),
            Command::Attest { what, session, .. } => self.attest(what, *session),
            Command::LogIn { who, answer } => self.log_in(*who, *answer),
            Command::Append { session } => self.append_by(*session),
            Command::Renew { session } => self.renew(*session),
            Command::Pass { minutes } => {
                self.wrong = if *minutes > 15 { 0 } else { self.wrong };
                Ok(Outcome::Well)
            }
        };
        verdict.unwrap_or_else(|(status, code)| Outcome::Refused(status, code))
    }

    fn register(
        &mut self,
        who: Who,
        name: &'static str,
        expires: Option<Timestamp>,
        proof: Proof,
    ) -> Verdict<Outcome> {
        self.must_be_sound(expires, proof)?;
        self.may_register(who, proof == Proof::Right)?;
        let id = self.append("key_registration", vec![who], None);
        self.put(who, id, name, expires, proof == Proof::Right);
        Ok(Outcome::Appended(id))
    }

    fn succeed(
        &mut self,
        old: Who,
        new: Who,
        expires: Option<Timestamp>,
        proof: Proof,
        by: By,
    ) -> Verdict<Outcome> {
        self.must_be_sound(expires, proof)?;
        let asserted = self.authorize(old, by, true)?;
        if old == new {
            return Err(REGISTERED);
        }
        self.may_register(new, proof == Proof::Right)?;
        let id = self.append("key_succession", vec![old, new], None);
        let name = self.keys[&old].name;
        self.put(new, id, name, expires, proof == Proof::Right);
        self.keys.get_mut(&new).unwrap().succeeds = Some(old);
        self.keys.get_mut(&old).unwrap().ended = Some(Ended { by: Some(new), entry: id, asserted });
        Ok(Outcome::Appended(id))
    }

    fn revoke(&mut self, who: Who, by: By) -> Verdict<Outcome> {
        let asserted = self.authorize(who, by, false)?;
        let id = self.append("key_revocation", vec![who], None);
        self.keys.get_mut(&who).unwrap().ended = Some(Ended { by: None, entry: id, asserted });
        Ok(Outcome::Appended(id))
    }

    fn attest(&mut self, what: &Attest, session: Option<Who>) -> Verdict<Outcome> {
        if what.fault == Some(Fault::Kind) {
            return Err(INVALID);
        }
        if what.fault == Some(Fault::Signature) || !what.is_covered() {
            return Err(BAD_SIGNATURE);
        }
        self.posted.push(what.clone());
        if let Some(who) = session {
            self.must_last(who)?;
        }
        let Attest { who, paper, .. } = *what;
        if !self.keys.contains_key(&who) && what.pseudonym.is_none() {
            return Err(INVALID);
        }
        let lists_any = what.lists_unknown || !what.listed.is_empty();
        // Without any before it, both forms are the same bytes.
        let form = match what.form {
            Form::Parents if !lists_any => Form::Manifest,
            form => form,
        };
        let parents = if form == Form::Manifest { Vec::new() } else { what.listed.clone() };
        let stands_on_unknown = form != Form::Manifest && what.lists_unknown;
        let is_same = |of: &&Attested| {
            let terms = (of.what.who, of.paper, of.form, of.kind);
            terms == (who, paper, form, what.told.kind) && of.parents == parents
        };
        if let Some(known) = self.attestations.iter().find(is_same).filter(|_| !stands_on_unknown) {
            return Ok(Outcome::Found(known.entry));
        }
        if !matches!(self.state(who), None | Some(State::Active)) {
            return Err(NOT_ACTIVE);
        }
        if stands_on_unknown || parents.iter().any(|at| self.attestations[*at].paper != paper) {
            return Err((422, "invalid_manifest"));
        }
        let asserted = form != Form::All && session == Some(who);
        if form != Form::All {
            let standing = self.kinds.get(&(paper, who, form));
            if !asserted && standing.is_some_and(|standing| *standing != what.told.kind) {
                return Err((409, "type_not_signed"));
            }
            self.kinds.insert((paper, who, form), what.told.kind);
        }
        if let (false, Some(name)) = (self.keys.contains_key(&who), what.pseudonym) {
            let id = self.append("key_registration", vec![who], None);
            self.put(who, id, name, None, false);
        }
        let entry = self.append("attestation", vec![who], Some(paper));
        self.keys.get_mut(&who).unwrap().has_signed_whole |= form == Form::All;
        let (what, kind) = (what.clone(), what.told.kind);
        let known = Attested { what, paper, form, kind, parents, entry, asserted };
        self.attestations.push(known);
        Ok(Outcome::Appended(entry))
    }

    fn log_in(&mut self, who: Who, answer: Answer) -> Verdict<Outcome> {
        self.answer(who, who, answer, answer.how != How::Elsewhere, true)?;
        let end = self.now.seconds() + SESSION_SECONDS;
        self.sessions.insert(who, Timestamp::from_millis(end * 1000).unwrap());
        Ok(Outcome::Well)
    }

    fn renew(&mut self, who: Who) -> Verdict<Outcome> {
        self.must_last(who)?;
        let end = self.now.seconds() + SESSION_SECONDS;
        self.sessions.insert(who, Timestamp::from_millis(end * 1000).unwrap());
        Ok(Outcome::Well)
    }

    fn append_by(&mut self, session: Option<Who>) -> Verdict<Outcome> {
        self.must_last(session.ok_or(UNAUTHORIZED)?)?;
        Ok(Outcome::Appended(self.append("x-it:event", Vec::new(), None)))
    }

    /// Whether the request itself is as it must be.
    fn must_be_sound(&self, expires: Option<Timestamp>, proof: Proof) -> Verdict<()> {
        match proof {
            Proof::Wrong => Err(BAD_SIGNATURE),
            _ if expires.is_some_and(|at| at <= self.now) => Err(INVALID),
            _ => Ok(()),
        }
    }

    /// A token dies with its time and with its key.
    fn must_last(&self, who: Who) -> Verdict<()> {
        let lasts = self.sessions.get(&who).is_some_and(|end| self.now < *end);
        if lasts && self.state(who) == Some(State::Active) { Ok(()) } else { Err(UNAUTHORIZED) }
    }

    fn may_register(&self, who: Who, proven: bool) -> Verdict<()> {
        match self.keys.get(&who) {
            None => Ok(()),
            Some(known) if proven && !known.proven && known.ended.is_none() => Ok(()),
            Some(_) => Err(REGISTERED),
        }
    }

    /// Whether the holder wants this; answers whether that is only what the leader says.
    fn authorize(&mut self, who: Who, by: By, may_recover: bool) -> Verdict<bool> {
        match by {
            By::Nothing => Err(UNAUTHORIZED),
            By::Session(of) => {
                self.must_last(of)?;
                if of == who { Ok(true) } else { Err((403, "forbidden")) }
            }
            By::Answer(of, answer) => {
                if answer.says_recovery && !may_recover {
                    return Err(INVALID);
                }
                let is_for_this = !matches!(answer.how, How::Elsewhere);
                self.answer(who, of, answer, is_for_this, false)?;
                Ok(answer.how == How::Bare)
            }
        }
    }

    fn answer(
        &mut self,
        who: Who,
        of: Who,
        Answer { how, asked_recovery, says_recovery }: Answer,
        is_for_this: bool,
        is_login: bool,
    ) -> Verdict<()> {
        match how {
            How::Again => return Err((409, "challenge_used")),
            How::Late => return Err((410, "challenge_expired")),
            How::ForLogin if !is_login => return Err(INVALID),
            _ if asked_recovery != says_recovery => return Err(INVALID),
            _ => {}
        }
        let key = self.keys.get_mut(&of).filter(|_| of == who && is_for_this);
        let key = key.filter(|key| how != How::Bare || !(key.proven || key.has_signed_whole));
        let Some(key) = key else {
            self.wrong += 1;
            return Err((403, "challenge_failed"));
        };
        let needed = if says_recovery { State::Expired } else { State::Active };
        if key.state(u64::MAX, self.now) != needed {
            return Err(NOT_ACTIVE);
        }
        key.has_signed_whole |= how != How::Bare;
        self.answered.insert(of, self.now);
        Ok(())
    }

    /// Registers a key, or replaces what an unproven registration said.
    fn put(
        &mut self,
        who: Who,
        entry: u64,
        name: &'static str,
        expires: Option<Timestamp>,
        proven: bool,
    ) {
        let known = self.keys.get(&who);
        let first = known.map_or(entry, |known| known.first);
        let has_signed_whole = known.is_some_and(|known| known.has_signed_whole);
        let (succeeds, ended) = (None, None);
        let key = Key { name, expires, entry, first, proven, succeeds, ended, has_signed_whole };
        self.keys.insert(who, key);
    }

    /// Appends an entry; answers its id.
    pub(super) fn append(
        &mut self,
        kind: &'static str,
        keys: Vec<Who>,
        paper: Option<usize>,
    ) -> u64 {
        self.log.push(Entry { kind, keys, paper });
        self.size()
    }
}
