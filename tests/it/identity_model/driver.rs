//! People with keys, who do to a real leader what the commands say.

use std::collections::BTreeMap;

use diogenes_common::canonical;
use diogenes_common::clock::{Clock as _, Timestamp};
use diogenes_common::merkle::Hash;
use serde_json::{Value, json};

use super::command::{Answer, Attest, By, Command, Fault, Form, How, Proof, Terms, Way, Who};
use super::model::{Attested, Model, OPERATOR, Outcome};
use crate::attestations;
use crate::people::{Ahead, Holder};
use crate::raw::{Answer as Response, Request};
use crate::site::{Running, Site};

const MINUTE: i64 = 60_000;

/// The people, and what they keep at home.
pub(super) struct People<'a> {
    leader: &'a Running,
    clock: Ahead,
    operator: (String, String),
    holders: BTreeMap<Who, Holder>,
    tokens: BTreeMap<Who, String>,
    /// The challenge that a key answered last.
    answered: BTreeMap<Who, Value>,
    /// What the log answered, in its order.
    pub(super) views: Vec<Value>,
}

/// A request that is ready to be sent, and what is to be kept if it goes well.
pub(super) struct Ready {
    request: Option<Request>,
    session: Option<Who>,
    challenge: Option<(Who, Value)>,
}

impl<'a> People<'a> {
    pub(super) fn of(site: &'a Site, clock: Ahead) -> Self {
        let seeds = 1..=u8::try_from(super::command::PEOPLE).unwrap();
        let holders = seeds.map(|seed| (Who::from(seed), Holder::new(seed))).collect();
        let operator = site.operator();
        Self {
            leader: &site.leader,
            clock,
            operator: (operator.to_pem(), operator.fingerprint().to_string()),
            holders,
            tokens: BTreeMap::new(),
            answered: BTreeMap::new(),
            views: Vec::new(),
        }
    }

    pub(super) fn pem(&self, who: Who) -> String {
        match who {
            OPERATOR => self.operator.0.clone(),
            _ => self.holders[&who].0.public().to_pem(),
        }
    }

    pub(super) fn fingerprint(&self, who: Who) -> String {
        match who {
            OPERATOR => self.operator.1.clone(),
            _ => self.holders[&who].fingerprint(),
        }
    }

    /// Writes the request of a command, with an answered challenge where it takes one.
    pub(super) async fn prepare(&self, command: &Command) -> Ready {
        let mut ready = Ready { request: None, session: None, challenge: None };
        ready.request = Some(match command {
            Command::Register { who, name, expires, proof, way } => {
                let payload = self.registration(*who, name, *expires, *proof);
                self.event(
                    *way,
                    "keys/register",
                    "key_registration",
                    &json!({ "payload": payload }),
                )
            }
            Command::Succeed { old, new, expires, proof, by, way } => {
                let payload = self.succession(*old, *new, *expires, *proof);
                let request = json!({ "payload": payload });
                self.end((*way, "succeed", "key_succession"), request, *by, &mut ready).await
            }
            Command::Revoke { who, by, way } => {
                let request = json!({ "payload": { "fingerprint": self.fingerprint(*who) } });
                self.end((*way, "revoke", "key_revocation"), request, *by, &mut ready).await
            }
            Command::Attest { what, session, way } => {
                let body = self.attestation(what);
                let request = match way {
                    Way::Own => self.leader.post("/api/v1/attestations", &body),
                    Way::Entries => {
                        let event = json!({ "event_type": "attestation", "payload": body });
                        self.leader.post("/api/v1/log/entries", &event)
                    }
                };
                self.in_session(request, *session)
            }
            Command::LogIn { who, answer } => {
                let challenge = self.challenge(*who, *answer).await;
                let body = self.login(*who, *answer, &challenge);
                (ready.session, ready.challenge) = (Some(*who), Some((*who, challenge)));
                self.leader.post("/api/v1/auth/login", &body)
            }
            Command::Append { session } => {
                let event = json!({ "event_type": "x-it:event", "payload": {} });
                self.in_session(self.leader.post("/api/v1/log/entries", &event), *session)
            }
            Command::Renew { session } => {
                ready.session = Some(*session);
                let request = self.leader.request("POST", "/api/v1/auth/renew");
                self.in_session(request, Some(*session))
            }
            Command::Pass { minutes } => {
                self.clock.pass(minutes * MINUTE);
                return ready;
            }
        });
        ready
    }

    /// Sends it and keeps what is to be kept; what the leader answered is compared with what it
    /// should have.
    pub(super) async fn send(
        &mut self,
        ready: Ready,
        expected: Outcome,
        model: &Model,
    ) -> Result<(), String> {
        let Ready { request: Some(request), session, challenge } = ready else { return Ok(()) };
        let answer = request.send().await;
        let got = outcome(&answer, expected);
        if got != Ok(expected) {
            return Err(format!("the model says {expected:?}, the leader {got:?}: {answer}"));
        }
        // Some answers are used up although what they are for is refused.
        self.answered.extend(challenge.filter(|(who, _)| model.has_answered_now(*who)));
        if matches!(expected, Outcome::Refused(..)) {
            return Ok(());
        }
        let body = answer.json();
        if let (Some(who), Some(token)) = (session, body["token"].as_str()) {
            self.tokens.insert(who, token.to_owned());
        }
        if let Some(new) = model.attestations.get(self.views.len()) {
            let view = self.view_of(new, model).await;
            self.views.push(view?);
        }
        Ok(())
    }

    fn in_session(&self, request: Request, session: Option<Who>) -> Request {
        match session {
            Some(who) => request.token(self.tokens.get(&who).map_or("a.b.c", String::as_str)),
            None => request,
        }
    }

    fn event(&self, way: Way, own: &str, event_type: &str, body: &Value) -> Request {
        if way == Way::Own {
            return self.leader.post(&format!("/api/v1/{own}"), body);
        }
        let mut event = body.clone();
        event["event_type"] = json!(event_type);
        self.leader.post("/api/v1/log/entries", &event)
    }

    fn registration(
        &self,
        who: Who,
        name: &str,
        expires: Option<Timestamp>,
        proof: Proof,
    ) -> Value {
        let mut payload = json!({
            "public_key": self.pem(who), "pseudonym": name, "key_algorithm": "ed25519",
            "expiration_date": expires,
        });
        if proof != Proof::None {
            let mut covered = payload.clone();
            covered["fingerprint"] = json!(self.fingerprint(who));
            covered["proof"] = Value::Null;
            payload["proof"] = self.proof(who, proof, json!({ "payload": covered }));
        }
        payload
    }

    fn succession(&self, old: Who, new: Who, expires: Option<Timestamp>, proof: Proof) -> Value {
        let mut payload = json!({
            "old_fingerprint": self.fingerprint(old), "new_public_key": self.pem(new),
            "new_algorithm": "ed25519", "expiration_date": expires,
        });
        if proof != Proof::None {
            let covered = json!({
                "expiration_date": expires, "fingerprint": self.fingerprint(new),
                "key_algorithm": "ed25519", "old_fingerprint": self.fingerprint(old),
                "proof": null, "public_key": self.pem(new),
            });
            let claim = json!({ "kind": "successor", "payload": covered });
            payload["new_key_proof"] = self.proof(new, proof, claim);
        }
        payload
    }

    fn proof(&self, who: Who, proof: Proof, mut claim: Value) -> Value {
        let is_right = proof == Proof::Right;
        claim["origin"] = json!(if is_right { "log.example/it" } else { "log.example/other" });
        self.holders[&who].sign_claim("diogenes-key-registration/v1\n", &claim)
    }

    async fn end(
        &self,
        (way, verb, event_type): (Way, &str, &str),
        request: Value,
        by: By,
        ready: &mut Ready,
    ) -> Request {
        let own = format!("keys/{verb}");
        let mut body = request.clone();
        match by {
            By::Nothing => self.event(way, &own, event_type, &body),
            By::Session(who) => {
                self.in_session(self.event(way, &own, event_type, &body), Some(who))
            }
            By::Answer(who, answer) => {
                let challenge = self.challenge(who, answer).await;
                let is_elsewhere = answer.how == How::Elsewhere;
                let action =
                    if is_elsewhere { "POST /auth/password" } else { &format!("POST /{own}") };
                body["auth"] = json!({
                    "challenge_id": challenge["challenge_id"],
                    "challenge_signature": self.signature(who, answer, &challenge, action, Some(&request)),
                    "recovery": answer.says_recovery,
                });
                ready.challenge = Some((who, challenge));
                self.event(way, &own, event_type, &body)
            }
        }
    }

    async fn challenge(&self, who: Who, answer: Answer) -> Value {
        if answer.how == How::Again {
            return self.answered[&who].clone();
        }
        let purpose = if answer.how == How::ForLogin { "login" } else { "general" };
        let asked = json!({ "purpose": purpose, "recovery": answer.asked_recovery });
        let challenge = self.holders[&who].challenge(self.leader, &asked).await;
        if answer.how == How::Late {
            self.clock.pass(5 * MINUTE);
        }
        challenge
    }

    fn signature(
        &self,
        who: Who,
        answer: Answer,
        challenge: &Value,
        action: &str,
        request: Option<&Value>,
    ) -> Value {
        let holder = &self.holders[&who];
        match answer.how {
            How::Bare => holder.sign(challenge["nonce"].as_str().unwrap().as_bytes()),
            _ => holder.answer(challenge, action, request),
        }
    }

    fn login(&self, who: Who, answer: Answer, challenge: &Value) -> Value {
        let is_elsewhere = answer.how == How::Elsewhere;
        let action = if is_elsewhere { "POST /keys/revoke" } else { "login" };
        json!({
            "challenge_id": challenge["challenge_id"],
            "challenge_signature": self.signature(who, answer, challenge, action, None),
        })
    }

    /// The manifest of an attestation, as its signer had it.
    fn manifest(&self, what: &Attest) -> Value {
        let mut manifest = paper(what.paper);
        let mut listed: Vec<Value> = what.listed.iter().map(|at| self.views[*at].clone()).collect();
        if what.lists_unknown {
            listed.push(json!({
                "id": "0".repeat(32), "type": "authorship", "signature": "AAAA",
                "signer_key_fingerprint": self.fingerprint(what.who),
            }));
        }
        manifest["attestations"] = Value::from(listed);
        manifest
    }

    fn attestation(&self, what: &Attest) -> Value {
        let Attest { who, form, signed, told, fault, .. } = what;
        let said = |Terms { kind, intent }: &Terms| json!({ "attestation_type": kind, "intent_statement": intent });
        let holder = &self.holders[who];
        let mut body = attestations::body(holder, &self.manifest(what), form.name(), &said(signed));
        body.as_object_mut().unwrap().extend(said(told).as_object().unwrap().clone());
        if let Some(name) = what.pseudonym {
            body["pseudonym"] = json!(name);
        }
        match fault {
            Some(Fault::Signature) => body["signature"] = holder.sign(b"something else"),
            Some(Fault::Kind) => body["attestation_type"] = json!("praise"),
            None => {}
        }
        body
    }

    /// The id of an attestation, worked out at home.
    pub(super) fn id(&self, of: &Attested) -> String {
        let without = canonical::to_vec(&paper(of.paper));
        let parents: Vec<&Value> = of.parents.iter().map(|at| &self.views[*at]["id"]).collect();
        let identity = json!({
            "form": of.form.name(), "manifest_hash": Hash::of(&without), "parents": parents,
            "signer": self.fingerprint(of.what.who), "type": of.kind,
        });
        Hash::of(&canonical::to_vec(&identity)).to_hex()[..32].to_owned()
    }

    /// What the log holds of a new attestation, as its holder keeps it: made from the entry, which
    /// must say what was signed and nothing more.
    async fn view_of(&self, of: &Attested, model: &Model) -> Result<Value, String> {
        let entry: Value = self.leader.json(&format!("/api/v1/log/{}", of.entry)).await;
        let payload = &entry["payload"];
        let (id, told) = (self.id(of), of.what.told);
        let is_signed = of.form == Form::All || of.asserted;
        let claims = told.intent.filter(|_| !is_signed);
        let parents: Vec<&Value> = of.parents.iter().map(|at| &self.views[*at]["id"]).collect();
        let expected = json!({
            "authorization": of.asserted.then(|| json!({ "form": "session" })),
            "binds": of.form.name(),
            "canonicalization": "jcs",
            "intent_statement": told.intent.filter(|_| is_signed),
            "parents": parents,
            "signer": self.fingerprint(of.what.who),
            "submitter_claims": claims.map(|intent| json!({ "intent_statement": intent })),
            "type": of.kind,
        });
        let has_id =
            payload["attestation_id"].as_str().is_some_and(|text| text[7..].starts_with(&id));
        if !has_id || super::reads::differs(&expected, payload) {
            return Err(format!(
                "not what was signed, {id} {expected}: {entry} ({})",
                model.size()
            ));
        }
        Ok(json!({
            "id": id,
            "type": of.kind,
            "scope": { "content_hash": payload["content_hash"] },
            "signer_key_fingerprint": payload["signer"],
            "signature_algorithm": payload["signature_algorithm"],
            "signature": payload["signature"],
            "timestamp": entry["timestamp"],
            "parents": parents,
            "intent_statement": payload["intent_statement"],
        }))
    }

    /// Moves the clock away from every instant at which something ends, so that what the model
    /// says of now holds until the request has arrived.
    pub(super) fn settle(&self, model: &mut Model) {
        const MARGIN: i64 = 15_000;
        loop {
            model.now = self.clock.now();
            let is_near = |at: Timestamp| at.millis_since(model.now).abs() <= MARGIN;
            if !model.boundaries().any(is_near) {
                return;
            }
            self.clock.pass(MARGIN);
        }
    }
}

/// A document without attestations; the first and the last are two manifests of one document.
pub(super) fn paper(number: usize) -> Value {
    let content = Hash::of(&[u8::try_from(number % (super::command::PAPERS - 1)).unwrap()]);
    json!({
        "document": { "title": "On lamps", "content_hash": content, "edition": number },
        "attestations": [],
    })
}

impl Form {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Parents => "manifest+parents",
            Self::All => "all",
        }
    }
}

/// Reads an answer in the model's words.
fn outcome(answer: &Response, expected: Outcome) -> Result<Outcome, String> {
    let body = answer.json();
    let id = body["log_entry_id"].as_u64().or(body["id"].as_u64());
    match (answer.status, id) {
        (201, Some(id)) => Ok(Outcome::Appended(id)),
        (200, Some(id)) => Ok(Outcome::Found(id)),
        (200, None) => Ok(Outcome::Well),
        (status, _) => match expected {
            Outcome::Refused(expected_status, code)
                if status == expected_status && answer.problem() == code =>
            {
                Ok(expected)
            }
            _ => Err(format!("{status} {}", body["error"]["code"])),
        },
    }
}
