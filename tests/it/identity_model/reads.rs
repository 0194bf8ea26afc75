//! What every node must answer about keys and documents when the sequence has ended.

use std::collections::BTreeSet;

use diogenes_common::canonical;
use diogenes_common::clock::Timestamp;
use diogenes_common::merkle::Hash;
use serde_json::{Value, json};

use super::command::{Form, PAPERS, PEOPLE, Who};
use super::driver::{People, paper};
use super::model::{Attested, Key, Model, OPERATOR, State};

/// A question to a node, and what it must answer, as far as the model knows.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) path: String,
    /// The body; none for GET.
    pub(super) body: Option<Value>,
    pub(super) status: u16,
    pub(super) expected: Value,
}

/// The log as it ended: what the model says, and when the leader logged it.
pub(super) struct End<'a> {
    pub(super) model: &'a Model,
    pub(super) people: &'a People<'a>,
    /// Of every entry.
    pub(super) times: Vec<Timestamp>,
    /// Of the head.
    pub(super) now: Timestamp,
}

/// The log as it was at an instant.
#[derive(Clone, Copy)]
struct Then {
    at: Timestamp,
    /// Its newest entry.
    upto: u64,
}

impl Question {
    fn get(path: String, expected: Value) -> Self {
        Self { path, body: None, status: 200, expected }
    }

    fn of_key(path: String, expected: Option<Value>) -> Self {
        match expected {
            Some(expected) => Self::get(path, expected),
            None => Self { status: 404, ..Self::get(path, Value::Null) },
        }
    }
}

impl End<'_> {
    pub(super) fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        let instants = self.instants();
        for then in &instants {
            let of_list = |path: &str| format!("/api/v1/keys{path}as_of={}", then.at);
            questions.push(Question::get(of_list("?"), self.list(*then, "")));
            let found = self.list(*then, "ALIC");
            questions.push(Question::get(of_list("/search?pseudonym=ALIC&"), found));
        }
        for who in OPERATOR..=PEOPLE {
            let url = format!("/api/v1/keys/{}", self.people.fingerprint(who));
            for then in self.instants_of(who) {
                let as_of = format!("as_of={}", then.at);
                questions.push(Question::of_key(format!("{url}?{as_of}"), self.record(who, then)));
                questions.push(Question::of_key(
                    format!("{url}/status?{as_of}"),
                    self.status(who, then),
                ));
            }
        }
        questions.extend(self.trails());
        questions.extend(self.documents());
        questions
    }

    fn time(&self, entry: u64) -> Timestamp {
        self.times[usize::try_from(entry).unwrap() - 1]
    }

    fn then(&self, at: Timestamp) -> Then {
        Then { at, upto: self.times.iter().filter(|time| **time <= at).count() as u64 }
    }

    /// The instants at which something begins or ends for a key, those just before them, and now.
    fn instants_of(&self, who: Who) -> Vec<Then> {
        let mut instants = BTreeSet::from([self.now]);
        if let Some(key) = self.model.keys.get(&who) {
            let ended = key.ended.map(|ended| ended.entry);
            let entries = [Some(key.first), Some(key.entry), ended].into_iter().flatten();
            instants.extend(entries.map(|entry| self.time(entry)));
            instants.extend(key.expires);
            for at in instants.clone() {
                instants.insert(at.plus_millis(-1));
            }
        }
        let instants = instants.into_iter().filter(|at| *at <= self.now);
        instants.map(|at| self.then(at)).collect()
    }

    /// A few of all.
    fn instants(&self) -> Vec<Then> {
        let entries = self.times.iter().step_by(7).copied();
        entries.chain([self.now]).map(|at| self.then(at)).collect()
    }

    /// What is shown of a key: name and expiry are those of the registration that counts, also
    /// where an unproven one was replaced after that instant.
    fn shown(&self, who: Who, then: Then) -> Option<(&Key, Value)> {
        let key = self.model.keys.get(&who).filter(|key| key.first <= then.upto)?;
        let is_replaced_later = then.upto < key.entry;
        let ended = key.ended.filter(|ended| ended.entry <= then.upto);
        let succeeded_by = ended.and_then(|ended| ended.by);
        let state = key.state(then.upto, then.at);
        let shown = json!({
            "fingerprint": self.people.fingerprint(who),
            "pseudonym": key.name,
            "algorithm": "ed25519",
            "status": text(state),
            "registered_at": self.time(key.entry),
            "expires_at": key.expires,
            "log_entry_id": key.entry,
            "first_entry_id": key.first,
            "proof_of_possession": key.proven && !is_replaced_later,
            "succeeded_by": succeeded_by.map(|by| self.people.fingerprint(by)),
            "leader_asserted": ended.is_some_and(|ended| ended.asserted),
        });
        Some((key, shown))
    }

    fn list(&self, then: Then, part: &str) -> Value {
        let mut keys: Vec<(u64, Value)> = (OPERATOR..=PEOPLE)
            .filter_map(|who| self.shown(who, then))
            .filter(|(key, _)| key.name.to_uppercase().contains(part))
            .map(|(key, shown)| (key.first, shown))
            .collect();
        keys.sort_by_key(|(first, _)| *first);
        let keys: Vec<Value> = keys.into_iter().map(|(_, shown)| shown).collect();
        let total = keys.len();
        json!({ "keys": keys, "page": 1, "per_page": 1000, "total": total, "as_of": then.at })
    }

    fn record(&self, who: Who, then: Then) -> Option<Value> {
        let (key, mut record) = self.shown(who, then)?;
        let ended = key.ended.filter(|ended| ended.entry <= then.upto);
        let ended_at = ended.map(|ended| self.time(ended.entry));
        let succeeds = key.succeeds.filter(|_| key.entry <= then.upto);
        let before = succeeds.and_then(|old| self.model.keys[&old].ended);
        record["public_key"] = json!(self.people.pem(who));
        record["succeeds"] = json!(succeeds.map(|old| self.people.fingerprint(old)));
        record["ended_at"] = json!(ended_at);
        record["ended_entry_id"] = json!(ended.map(|ended| ended.entry));
        record["revoked_at"] = json!(ended_at.filter(|_| ended.unwrap().by.is_none()));
        if before.is_some_and(|before| before.asserted) {
            record["leader_asserted"] = json!(true);
        }
        record["as_of"] = json!(then.at);
        Some(record)
    }

    fn status(&self, who: Who, then: Then) -> Option<Value> {
        let (_, shown) = self.shown(who, then)?;
        let members = ["fingerprint", "status", "expires_at", "succeeded_by", "leader_asserted"];
        let mut status = json!({ "as_of": then.at });
        for member in members {
            status[member] = shown[member].clone();
        }
        Some(status)
    }

    /// The entries about every key, every document, both, and between two times.
    fn trails(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        let trail = |path: String, is_about: &dyn Fn(u64) -> bool, per_page: u64| {
            let ids: Vec<u64> = (1..=self.model.size()).filter(|id| is_about(*id)).collect();
            let entries: Vec<Value> = ids.iter().map(|id| self.entry(*id)).collect();
            let total = entries.len();
            let expected =
                json!({ "entries": entries, "page": 1, "per_page": per_page, "total": total });
            Question::get(path, expected)
        };
        let of = |id: u64| &self.model.log[usize::try_from(id).unwrap() - 1];
        let audit = "/api/v1/log/audit-trail?per_page=200";
        questions.push(trail("/api/v1/log?per_page=200".to_owned(), &|_| true, 200));
        for who in OPERATOR..=PEOPLE {
            let (key, is_about) = (self.people.fingerprint(who), |id| of(id).keys.contains(&who));
            let path = format!("/api/v1/log/by-fingerprint/{key}");
            questions.push(trail(path, &is_about, 1000));
            questions.push(trail(format!("{audit}&fingerprint={key}"), &is_about, 200));
            let paper_hash = manifest_hash(0);
            let path = format!("{audit}&fingerprint={key}&document_hash={paper_hash}");
            let is_about_both = |id| is_about(id) && of(id).paper == Some(0);
            questions.push(trail(path, &is_about_both, 200));
        }
        for number in 0..PAPERS {
            let (manifest, content) = (manifest_hash(number), content_hash(number));
            let is_manifest = |id| of(id).paper == Some(number);
            let is_content = |id| of(id).paper.is_some_and(|of| content_hash(of) == content);
            questions.push(trail(format!("{audit}&document_hash={manifest}"), &is_manifest, 200));
            questions.push(trail(format!("{audit}&document_hash={content}"), &is_content, 200));
        }
        let half = self.time(self.model.size() / 2 + 1);
        let path = format!("{audit}&start_date={half}");
        questions.push(trail(path, &|id| self.time(id) >= half, 200));
        let path = format!("{audit}&end_date={half}");
        questions.push(trail(path, &|id| self.time(id) <= half, 200));
        questions
    }

    fn entry(&self, id: u64) -> Value {
        let entry = &self.model.log[usize::try_from(id).unwrap() - 1];
        json!({ "id": id, "event_type": entry.kind, "timestamp": self.time(id) })
    }

    /// Every document with all its attestations, in the order of the log; each one after those that
    /// its signer had before it; and one whose type somebody changed.
    fn documents(&self) -> Vec<Question> {
        let all = &self.model.attestations;
        let mut questions = Vec::new();
        for number in 0..PAPERS {
            let of: Vec<usize> = (0..all.len()).filter(|at| all[*at].paper == number).collect();
            questions.push(self.verify(number, &of, None));
        }
        for (at, of) in all.iter().enumerate() {
            let mut listed: Vec<usize> = match of.form {
                Form::Manifest => Vec::new(),
                Form::Parents | Form::All => of.parents.clone(),
            };
            listed.push(at);
            questions.push(self.verify(of.paper, &listed, None));
            questions.push(self.verify(of.paper, &listed, Some("publication")));
        }
        questions
    }

    /// The question about a manifest that lists these; the last one with another type, if one is
    /// given.
    fn verify(&self, number: usize, listed: &[usize], changed: Option<&str>) -> Question {
        let all = &self.model.attestations;
        let mut manifest = paper(number);
        let mut views: Vec<Value> =
            listed.iter().map(|at| self.people.views[*at].clone()).collect();
        if let (Some(kind), Some(last)) = (changed, views.last_mut()) {
            last["type"] = json!(kind);
        }
        manifest["attestations"] = Value::from(views);
        let now = self.then(self.now);
        let (mut first, mut second, mut worst) = (Vec::new(), Vec::new(), Vec::new());
        for (place, at) in listed.iter().enumerate() {
            let of = &all[*at];
            let is_changed = changed.is_some() && place + 1 == listed.len();
            // Who signed those before it did so in this order, without any between.
            let stands = of.form != Form::Parents || of.parents == listed[..place];
            let is_valid = stands && !is_changed;
            let layer1 = if is_valid { "valid" } else { "invalid" };
            first.push(json!({
                "attestation_id": self.people.id(of),
                "status": layer1,
                "type": if is_changed { changed.unwrap() } else { of.kind },
            }));
            second.push(self.finding(of, is_changed, now));
            worst.push(if is_valid { 0 } else { 2 });
            worst.push(usize::from(is_changed));
        }
        let overall = match worst.into_iter().max() {
            None => "no_attestations",
            Some(worst) => ["valid", "not_logged", "invalid"][worst],
        };
        let content = content_hash(number);
        Question {
            path: "/api/v1/verify".to_owned(),
            body: Some(json!({ "manifest": manifest, "source_hash": content })),
            status: 200,
            expected: json!({
                "layer1": { "content_hash_matches": true, "attestations": first },
                "layer2": { "attestations": second },
                "overall_status": overall,
                "manifest_hash": manifest_hash(number),
                "content_hash": content,
            }),
        }
    }

    /// What the log says about a logged attestation: its key was active, or it would not be there.
    fn finding(&self, of: &Attested, is_changed: bool, now: Then) -> Value {
        let key = &self.model.keys[&of.what.who];
        let (successors, confirmed) = self.successors(of.what.who);
        let entry = Some(of.entry).filter(|_| !is_changed);
        json!({
            "status": if is_changed { "not_logged" } else { "valid" },
            "signer_key_fingerprint": self.people.fingerprint(of.what.who),
            "binds": entry.map(|_| of.form.name()),
            "log_entry_id": entry,
            "logged_at": entry.map(|entry| self.time(entry)),
            "leader_asserted": of.asserted && !is_changed,
            "key_status_at_entry": entry.map(|_| "active"),
            "key_status_now": text(key.state(now.upto, now.at)),
            "succeeded_by": successors.first(),
            "successors": successors,
            "successors_confirmed": confirmed,
        })
    }

    /// Whoever took the place of a key, one after the other, and whether each of them says so.
    fn successors(&self, who: Who) -> (Vec<String>, Option<bool>) {
        let (mut chain, mut current, mut confirmed) = (Vec::new(), who, None);
        while let Some(by) = self.model.keys[&current].ended.and_then(|ended| ended.by) {
            chain.push(self.people.fingerprint(by));
            // Anybody's key can be named: only one that proved its possession then says so itself.
            let successor = &self.model.keys[&by];
            let says_so = successor.proven && successor.succeeds == Some(current);
            confirmed = Some(says_so);
            if !says_so {
                break;
            }
            current = by;
        }
        (chain, confirmed)
    }
}

const fn text(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Expired => "expired",
        State::Succeeded => "succeeded",
        State::Revoked => "revoked",
    }
}

fn manifest_hash(number: usize) -> String {
    Hash::of(&canonical::to_vec(&paper(number))).to_string()
}

fn content_hash(number: usize) -> String {
    paper(number)["document"]["content_hash"].as_str().unwrap().to_owned()
}

/// Whether an answer lacks something that is expected, or says otherwise; it may say more.
pub(super) fn differs(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .any(|(name, expected)| found.get(name).is_none_or(|found| differs(expected, found))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() != found.len()
                || expected.iter().zip(found).any(|(expected, found)| differs(expected, found))
        }
        _ => expected != found,
    }
}
