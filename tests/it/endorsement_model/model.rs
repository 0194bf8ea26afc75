//! The rules of endorsements once more, as simple as they can be said: everything is looked up by
//! going through all there is.

use std::collections::{BTreeMap, BTreeSet};

use diogenes_common::clock::Timestamp;

use super::command::{Category, Command, PEOPLE, Who};

const DAY: i64 = 24 * 60 * 60 * 1_000;

/// A key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) expires: Option<Timestamp>,
    pub(super) proven: bool,
    pub(super) succeeds: Option<Who>,
    pub(super) ended: bool,
    voice: Voice,
}

/// The best signature that a key ever gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Voice {
    /// None, or over a bare nonce.
    Bare,
    /// One that says all it is about, for something that came to nothing.
    Heard,
    /// One that an entry shows.
    Logged,
}

/// What one key says of another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) offer: u64,
    pub(super) by: Who,
    pub(super) of: Who,
    pub(super) category: Category,
    pub(super) until: Option<Timestamp>,
    pub(super) accepted: Option<Accepted>,
    pub(super) ended: Option<(&'static str, Timestamp)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) active_from: Timestamp,
    pub(super) level: Option<u8>,
}

/// What a command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Appended,
    Nothing,
    Refused(u16, &'static str),
}

type Verdict = Result<(), (u16, &'static str)>;

const NOT_ACTIVE: (u16, &str) = (403, "key_not_active");
const UNKNOWN: (u16, &str) = (404, "not_found");
const CONFLICT: (u16, &str) = (409, "endorsement_conflict");
const REGISTERED: (u16, &str) = (409, "key_already_registered");

/// What is known of everybody.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    /// How long after its acceptance an endorsement counts.
    delay: i64,
    pub(super) keys: BTreeMap<Who, Key>,
    pub(super) edges: Vec<Edge>,
    /// Who warns of whom, with the entry.
    pub(super) alerts: BTreeMap<(Who, Who), u64>,
    /// Whom the operator endorses.
    pub(super) operator: BTreeMap<Who, Category>,
    pub(super) size: u64,
    /// How many challenges were answered wrongly since somebody last waited.
    wrong: u32,
}

impl Model {
    pub(super) fn new(now: Timestamp, delay: i64) -> Self {
        let (keys, edges, alerts) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { now, delay, keys, edges, alerts, operator: BTreeMap::new(), size: 1, wrong: 0 }
    }

    pub(super) fn is_active(&self, who: Who) -> bool {
        let key = self.keys.get(&who);
        key.is_some_and(|key| !key.ended && key.expires.is_none_or(|end| self.now < end))
    }

    /// Who signs wrongly ten times within a quarter of an hour is not listened to.
    pub(super) const fn must_wait(&self) -> bool {
        self.wrong >= 9
    }

    /// The instants at which something begins or ends by itself.
    pub(super) fn boundaries(&self) -> Vec<Timestamp> {
        let mut instants: Vec<_> = self.keys.values().filter_map(|key| key.expires).collect();
        for edge in &self.edges {
            instants.extend(edge.until);
            instants.extend(edge.accepted.map(|accepted| accepted.active_from));
            let ends = [edge.until, edge.ended.map(|(_, at)| at)].into_iter().flatten();
            instants.extend(ends.map(|at| at.plus_millis(30 * DAY)));
        }
        instants
    }

    pub(super) fn state(&self, edge: &Edge) -> &'static str {
        match (edge.ended, edge.accepted) {
            (Some((how, _)), _) => how,
            _ if edge.until.is_some_and(|until| until <= self.now) => "expired",
            (None, Some(of)) if of.active_from <= self.now => "active",
            (None, Some(_)) => "accepted",
            (None, None) => "offered",
        }
    }

    fn is_live(&self, edge: &Edge) -> bool {
        ["offered", "accepted", "active"].contains(&self.state(edge))
    }

    /// The endorsements that take up a key's capacity.
    pub(super) fn given(&self, who: Who) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.by == who && self.is_live(edge))
    }

    fn active_for(&self, who: Who) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.of == who && self.state(edge) == "active")
    }

    /// An unproven successor holds nothing.
    fn holds(&self, who: Who) -> bool {
        let key = &self.keys[&who];
        key.succeeds.is_none() || key.proven || key.voice == Voice::Logged
    }

    pub(super) fn level(&self, who: Who) -> Option<u8> {
        if !self.holds(who) {
            return None;
        }
        if self.operator.contains_key(&who) {
            return Some(1);
        }
        let levels = self.active_for(who).filter_map(|edge| edge.accepted?.level);
        levels.min().map(|level| level + 1).filter(|level| *level <= 4)
    }

    pub(super) fn capacity(&self, who: Who) -> usize {
        if !self.holds(who) {
            return 5;
        }
        if self.operator.get(&who) == Some(&Category::Institution) {
            return 1_000;
        }
        let mut endorsers = BTreeSet::new();
        for edge in self.active_for(who) {
            let is_mutual = self.given(who).any(|given| given.of == edge.by);
            if edge.accepted.is_some_and(|of| of.level.is_some()) && !is_mutual {
                endorsers.insert(edge.by);
            }
        }
        let n = endorsers.len() + usize::from(self.operator.contains_key(&who));
        (5 + 2 * n).min(100)
    }

    /// Whether one endorsement of a key by another counted at some time in the last 30 days.
    fn counted_lately(&self, by: Who, of: Who) -> bool {
        let since = self.now.plus_millis(-30 * DAY);
        self.edges.iter().filter(|edge| (edge.by, edge.of) == (by, of)).any(|edge| {
            let Some(accepted) = edge.accepted else { return false };
            let ends = [edge.until, edge.ended.map(|(_, at)| at)];
            let end = ends.into_iter().flatten().min();
            let begins = accepted.active_from;
            begins <= self.now && end.is_none_or(|end| begins < end && since < end)
        })
    }

    /// What must come of a command; afterwards the model is where the log is.
    pub(super) fn judge(&mut self, command: &Command) -> Outcome {
        let done = match *command {
            Command::Pass { minutes } => {
                self.wrong = if minutes > 15 { 0 } else { self.wrong };
                return Outcome::Nothing;
            }
            Command::Register { who, expires, proven } => self.register(who, expires, proven),
            Command::Succeed { old, new, proven } => self.succeed(old, new, proven),
            Command::Revoke { who } => self.revoke(who),
            Command::Decide { who, category } => {
                if self.operator.remove(&who).is_none() {
                    self.operator.insert(who, category);
                }
                Ok(())
            }
            Command::Offer { by, of, category, until, bare } => {
                self.offer(by, of, category, until, bare)
            }
            Command::Accept { by, offer, bare } => self.accept(by, offer, bare),
            Command::Withdraw { by, of, offer, bare } => self.withdraw(by, of, offer, bare),
            Command::TakeBack { by, offer, bare } => self.take_back(by, offer, bare),
            Command::Alert { by, of, bare } => self.alert(by, of, bare),
        };
        match done {
            Ok(()) => {
                self.size += 1;
                Outcome::Appended
            }
            Err((status, code)) => Outcome::Refused(status, code),
        }
    }

    fn register(&mut self, who: Who, expires: Option<Timestamp>, proven: bool) -> Verdict {
        let known = self.keys.get(&who);
        if known.is_some_and(|known| !proven || known.proven || known.ended) {
            return Err(REGISTERED);
        }
        self.put(who, expires, proven, None);
        Ok(())
    }

    fn put(&mut self, who: Who, expires: Option<Timestamp>, proven: bool, succeeds: Option<Who>) {
        let voice = self.keys.get(&who).map_or(Voice::Bare, |key| key.voice);
        let key = Key { expires, proven, succeeds, ended: false, voice };
        self.keys.insert(who, key);
    }

    /// Whether the holder is heard: by a whole signature, or by a bare nonce from who never gave a
    /// better one.
    fn authorize(&mut self, who: Who, bare: bool) -> Verdict {
        let is_active = self.is_active(who);
        let Some(key) = self.keys.get_mut(&who) else {
            self.wrong += 1;
            return Err((403, "challenge_failed"));
        };
        if bare && (key.proven || key.voice > Voice::Bare) {
            self.wrong += 1;
            return Err((403, "challenge_failed"));
        }
        if !is_active {
            return Err(NOT_ACTIVE);
        }
        key.voice = key.voice.max(if bare { Voice::Bare } else { Voice::Heard });
        Ok(())
    }

    /// The entry shows how its author signed.
    fn note(&mut self, who: Who, bare: bool) {
        if !bare {
            self.keys.get_mut(&who).unwrap().voice = Voice::Logged;
        }
    }

    fn offer(
        &mut self,
        by: Who,
        of: Who,
        category: Category,
        until: Option<Timestamp>,
        bare: bool,
    ) -> Verdict {
        self.authorize(by, bare)?;
        if !self.is_active(of) {
            return Err(NOT_ACTIVE);
        }
        if self.given(by).any(|edge| (edge.of, edge.category) == (of, category)) {
            return Err(CONFLICT);
        }
        if self.given(by).count() >= self.capacity(by) {
            return Err((409, "endorsement_capacity_exceeded"));
        }
        let offer = self.size + 1;
        self.edges.push(Edge { offer, by, of, category, until, accepted: None, ended: None });
        self.note(by, bare);
        Ok(())
    }

    fn edge(&self, offer: u64) -> Option<(usize, Edge)> {
        let at = self.edges.iter().position(|edge| edge.offer == offer)?;
        Some((at, self.edges[at].clone()))
    }

    fn accept(&mut self, by: Who, offer: u64, bare: bool) -> Verdict {
        self.authorize(by, bare)?;
        let (at, edge) = self.edge(offer).filter(|(_, edge)| edge.of == by).ok_or(UNKNOWN)?;
        if self.state(&edge) != "offered" {
            return Err(CONFLICT);
        }
        if !self.is_active(edge.by) {
            return Err(NOT_ACTIVE);
        }
        let active_from = self.now.plus_millis(self.delay);
        self.edges[at].accepted = Some(Accepted { active_from, level: self.level(edge.by) });
        self.note(by, bare);
        Ok(())
    }

    fn withdraw(&mut self, by: Who, of: Who, offer: u64, bare: bool) -> Verdict {
        self.authorize(by, bare)?;
        let found = self.edge(offer).filter(|(_, edge)| (edge.by, edge.of) == (by, of));
        let (at, edge) = found.ok_or(UNKNOWN)?;
        if !self.is_live(&edge) {
            return Err(CONFLICT);
        }
        self.edges[at].ended = Some(("withdrawn", self.now));
        self.alerts.remove(&(by, of));
        self.note(by, bare);
        Ok(())
    }

    fn take_back(&mut self, by: Who, offer: u64, bare: bool) -> Verdict {
        self.authorize(by, bare)?;
        let (at, edge) = self.edge(offer).filter(|(_, edge)| edge.of == by).ok_or(UNKNOWN)?;
        if !["accepted", "active"].contains(&self.state(&edge)) {
            return Err(CONFLICT);
        }
        self.edges[at].ended = Some(("acceptance_revoked", self.now));
        self.note(by, bare);
        Ok(())
    }

    fn alert(&mut self, by: Who, of: Who, bare: bool) -> Verdict {
        self.authorize(by, bare)?;
        if !self.keys.contains_key(&of) {
            return Err(NOT_ACTIVE);
        }
        if self.alerts.contains_key(&(by, of)) {
            return Err(CONFLICT);
        }
        if !self.counted_lately(by, of) {
            return Err((403, "forbidden"));
        }
        self.alerts.insert((by, of), self.size + 1);
        self.note(by, bare);
        Ok(())
    }

    fn succeed(&mut self, old: Who, new: Who, proven: bool) -> Verdict {
        self.authorize(old, false)?;
        let known = self.keys.get(&new);
        if old == new || known.is_some_and(|known| !proven || known.proven || known.ended) {
            return Err(REGISTERED);
        }
        self.put(new, None, proven, Some(old));
        self.note(old, false);
        self.keys.get_mut(&old).unwrap().ended = true;
        let name = |who: Who| if who == old { new } else { who };
        for at in 0..self.edges.len() {
            let edge = self.edges[at].clone();
            // Offers that the old key never answered stay with it.
            let passes = edge.by == old || (edge.of == old && edge.accepted.is_some());
            if !passes || !self.is_live(&edge) {
                continue;
            }
            if name(edge.by) == name(edge.of) {
                self.edges[at].ended = Some(("void", self.now));
            } else {
                (self.edges[at].by, self.edges[at].of) = (name(edge.by), name(edge.of));
            }
        }
        let mut alerts = BTreeMap::new();
        for ((by, of), entry) in &self.alerts {
            let pair = (name(*by), name(*of));
            if pair.0 != pair.1 {
                let newest: &mut u64 = alerts.entry(pair).or_insert(*entry);
                *newest = (*newest).max(*entry);
            }
        }
        self.alerts = alerts;
        Ok(())
    }

    fn revoke(&mut self, who: Who) -> Verdict {
        self.authorize(who, false)?;
        self.note(who, false);
        self.keys.get_mut(&who).unwrap().ended = true;
        for at in 0..self.edges.len() {
            let edge = self.edges[at].clone();
            let ends = edge.by == who || (edge.of == who && edge.accepted.is_some());
            if ends && self.is_live(&edge) {
                self.edges[at].ended = Some(("void", self.now));
            }
        }
        Ok(())
    }

    /// What is shown of an endorsement: an offer to a key that is no more comes to nothing.
    pub(super) fn shown(&self, edge: &Edge) -> &'static str {
        match self.state(edge) {
            "offered" if self.keys[&edge.of].ended => "void",
            state => state,
        }
    }

    pub(super) fn registered(&self) -> Vec<Who> {
        (1..=PEOPLE).filter(|who| self.keys.contains_key(who)).collect()
    }
}
