//! People who hold keys, and the clock that they live by.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use diogenes_common::canonical;
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::Hash;
use serde_json::{Value, json};

use crate::raw::Answer;
use crate::site::Running;

/// The real clock, put ahead by a test.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicI64>);

impl Ahead {
    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }

    fn steady_millis(&self) -> i64 {
        SystemClock.steady_millis() + self.0.load(Ordering::SeqCst)
    }
}

/// The holder of a key.
pub(crate) struct Holder(pub(crate) SigningKey);

impl Holder {
    pub(crate) fn new(seed: u8) -> Self {
        Self(SigningKey::from_seed([seed; 32]))
    }

    /// One whose key the log knows, without proof of possession.
    pub(crate) async fn registered(leader: &Running, seed: u8) -> Self {
        let holder = Self::new(seed);
        holder.register(leader, None).await;
        holder
    }

    pub(crate) async fn register(&self, leader: &Running, expiration_date: Option<Timestamp>) {
        let payload = json!({
            "public_key": self.0.public().to_pem(),
            "pseudonym": "Alice",
            "key_algorithm": "ed25519",
            "expiration_date": expiration_date,
        });
        let body = json!({ "payload": payload });
        let answer = leader.post("/api/v1/keys/register", &body).send().await;
        assert_eq!(answer.status, 201, "{answer}");
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    pub(crate) async fn challenge(&self, leader: &Running, more: &Value) -> Value {
        let mut body = json!({ "fingerprint": self.fingerprint() });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = leader.post("/api/v1/auth/challenge", &body).send().await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Value {
        json!(self.0.sign(bytes))
    }

    /// The answer that covers what it is used for.
    pub(crate) fn answer(&self, challenge: &Value, action: &str, request: Option<&Value>) -> Value {
        let payload_hash = request.map(|request| Hash::of(&canonical::to_vec(request)));
        let claim = json!({
            "action": action,
            "challenge_id": challenge["challenge_id"],
            "expires_at": challenge["expires_at"],
            "fingerprint": self.fingerprint(),
            "nonce": challenge["nonce"],
            "origin": "log.example/it",
            "payload_hash": payload_hash,
            "purpose": challenge["purpose"],
            "recovery": challenge["recovery"],
        });
        let mut bytes = b"diogenes-challenge/v1\n".to_vec();
        bytes.extend(canonical::to_vec(&claim));
        self.sign(&bytes)
    }

    /// Registers with a proof of possession.
    pub(crate) async fn prove(&self, leader: &Running, pseudonym: &str) -> Answer {
        let payload = json!({
            "public_key": self.0.public().to_pem(),
            "pseudonym": pseudonym,
            "key_algorithm": "ed25519",
            "expiration_date": null,
        });
        let mut covered = payload.clone();
        covered["fingerprint"] = json!(self.fingerprint());
        covered["proof"] = Value::Null;
        let claim = json!({ "origin": "log.example/it", "payload": covered });
        let mut payload = payload;
        payload["proof"] = self.sign_claim("diogenes-key-registration/v1\n", &claim);
        let body = json!({ "payload": payload });
        leader.post("/api/v1/keys/register", &body).send().await
    }

    /// A signature over a first line and the canonical JSON of some members.
    pub(crate) fn sign_claim(&self, first_line: &str, claim: &Value) -> Value {
        let mut bytes = first_line.as_bytes().to_vec();
        bytes.extend(canonical::to_vec(claim));
        self.sign(&bytes)
    }

    /// The `auth` object for a request.
    pub(crate) async fn auth(&self, leader: &Running, action: &str, request: &Value) -> Value {
        let challenge = self.challenge(leader, &json!({})).await;
        let signature = self.answer(&challenge, action, Some(request));
        json!({ "challenge_id": challenge["challenge_id"], "challenge_signature": signature })
    }

    /// Sends a request of this holder, authorised by a signature that covers it; the path is the one
    /// below `/api/v1`.
    pub(crate) async fn ask(&self, leader: &Running, path: &str, request: &Value) -> Answer {
        let mut body = request.clone();
        body["auth"] = self.auth(leader, &format!("POST {path}"), request).await;
        leader.post(&format!("/api/v1{path}"), &body).send().await
    }

    /// The same by what the clients of the original send: the bare nonce, signed.
    pub(crate) async fn ask_barely(&self, leader: &Running, path: &str, request: &Value) -> Answer {
        let challenge = self.challenge(leader, &json!({})).await;
        let mut body = request.clone();
        body["auth"] = self.legacy_body(&challenge);
        leader.post(&format!("/api/v1{path}"), &body).send().await
    }

    /// What `POST /keys/succeed` takes, without `auth`; the successor proves itself or not.
    pub(crate) fn succession(&self, new: &Self, proven: bool) -> Value {
        let pem = new.0.public().to_pem();
        let claim = json!({
            "kind": "successor",
            "origin": "log.example/it",
            "payload": {
                "expiration_date": null,
                "fingerprint": new.fingerprint(),
                "key_algorithm": "ed25519",
                "old_fingerprint": self.fingerprint(),
                "proof": null,
                "public_key": pem,
            },
        });
        let mut payload = json!({
            "old_fingerprint": self.fingerprint(),
            "new_public_key": pem,
            "new_algorithm": "ed25519",
        });
        if proven {
            payload["new_key_proof"] = new.sign_claim("diogenes-key-registration/v1\n", &claim);
        }
        json!({ "payload": payload })
    }

    /// What `POST /keys/revoke` takes, without `auth`.
    pub(crate) fn revocation(&self) -> Value {
        json!({ "payload": { "fingerprint": self.fingerprint() } })
    }

    /// Sends a request to end the key, authorised by a signature that covers it.
    pub(crate) async fn end(&self, leader: &Running, verb: &str, request: &Value) -> Answer {
        let mut body = request.clone();
        body["auth"] = self.auth(leader, &format!("POST /keys/{verb}"), request).await;
        leader.post(&format!("/api/v1/keys/{verb}"), &body).send().await
    }

    pub(crate) fn login_body(&self, challenge: &Value) -> Value {
        let signature = self.answer(challenge, "login", None);
        json!({ "challenge_id": challenge["challenge_id"], "challenge_signature": signature })
    }

    /// What the clients of the original send.
    pub(crate) fn legacy_body(&self, challenge: &Value) -> Value {
        let signature = self.sign(challenge["nonce"].as_str().unwrap().as_bytes());
        json!({ "challenge_id": challenge["challenge_id"], "challenge_signature": signature })
    }

    pub(crate) async fn login(&self, leader: &Running) -> String {
        let challenge = self.challenge(leader, &json!({ "purpose": "login" })).await;
        let answer = login(leader, &self.login_body(&challenge)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn legacy_login(&self, leader: &Running) -> Answer {
        let challenge = self.challenge(leader, &json!({})).await;
        login(leader, &self.legacy_body(&challenge)).await
    }

    pub(crate) async fn set_password(&self, leader: &Running, request: &Value) -> Answer {
        let challenge = self.challenge(leader, &json!({})).await;
        let mut body = request.clone();
        body["challenge_id"] = challenge["challenge_id"].clone();
        body["challenge_signature"] = self.answer(&challenge, "POST /auth/password", Some(request));
        leader.post("/api/v1/auth/password", &body).send().await
    }
}

pub(crate) async fn login(leader: &Running, body: &Value) -> Answer {
    leader.post("/api/v1/auth/login", body).send().await
}

/// The status and the code of a refusal.
pub(crate) fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem())
}

/// The same of an answer that is expected.
pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
