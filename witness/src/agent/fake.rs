//! A log in memory, which keeps the rules or breaks one on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use diogenes_common::clock::Timestamp;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::statement::WitnessProof;
use diogenes_common::wire::log::ConsistencyProof;
use diogenes_common::wire::witnesses::{ProofRecord, WitnessRecord, WitnessState};
use http::Method;
use serde_json::{Value, json};

use crate::source::{LogServer, Reply, Transport, Unreachable};
use crate::testing::{History, at};

/// A handle to a fake log; clones are the same log.
#[derive(Clone)]
pub(super) struct FakeLog(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) history: History,
    /// The size of the newest head and of the round's.
    pub(super) size: u64,
    pub(super) round: u64,
    pub(super) head_time: Timestamp,
    pub(super) authorized: bool,
    /// Nothing answers.
    pub(super) down: bool,
    /// Proofs arrive, and their answers are lost.
    pub(super) deaf: bool,
    /// Answers consistency proofs of this history instead of the own one.
    pub(super) proves_for: Option<History>,
    /// What it says that it holds under the witness's key, instead of what it recorded.
    pub(super) claims_to_hold: Option<Value>,
    pub(super) well_known: Value,
    /// Every body that arrived, answered or not.
    pub(super) received: Vec<Value>,
    pub(super) recorded: Vec<WitnessProof>,
    /// The proofs that it was told.
    pub(super) told: Vec<Value>,
}

impl FakeLog {
    pub(super) fn new(history: History, size: u64) -> Self {
        let well_known = json!({
            "api": "/api/v1", "version": "0", "role": "leader", "origin": history.origin(),
            "log_id": Hash::of(history.leaf_bytes(0)), "epoch": 1,
            "operator_public_key": history.operator().public(),
            "operator_fingerprint": history.operator().fingerprint(),
            "leader_url": null, "heartbeat_seconds": 60,
            "witness_quorum": {"required": 1, "of": 1},
        });
        Self(Arc::new(Mutex::new(State {
            history,
            size,
            round: size,
            head_time: at(100),
            authorized: true,
            down: false,
            deaf: false,
            proves_for: None,
            claims_to_hold: None,
            well_known,
            received: Vec::new(),
            recorded: Vec::new(),
            told: Vec::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the log")
    }

    pub(super) fn server(&self) -> LogServer<Self> {
        LogServer::new(self.clone())
    }

    pub(super) fn grow(&self, size: u64, seconds: i64) {
        let mut state = self.state();
        (state.size, state.round, state.head_time) = (size, size, at(seconds));
    }

    /// The sizes of the recorded proofs: where each began and ended.
    pub(super) fn steps(&self) -> Vec<(u64, u64)> {
        let step = |proof: &WitnessProof| (proof.old_tree_size.get(), proof.new_tree_size.get());
        self.state().recorded.iter().map(step).collect()
    }

    /// Fails if the witness ever signed two statements that exclude each other.
    pub(super) fn assert_one_history(&self) {
        let mut by_size: BTreeMap<u64, Value> = BTreeMap::new();
        for body in &self.state().received {
            let size = body["new_tree_size"].as_u64().expect("a size");
            let earlier = by_size.entry(size).or_insert_with(|| body.clone());
            assert_eq!(earlier, body, "two bodies for one size");
        }
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: Option<&[u8]>) -> (u16, Value) {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            value.and_then(|text| text.parse::<u64>().ok()).expect("a number")
        };
        match (method.as_str(), route) {
            ("GET", "/.well-known/diogenes") => (200, self.well_known.clone()),
            ("GET", "/api/v1/log/sth") => {
                let size = if query == "for=witness" { self.round } else { self.size };
                (200, json!(self.history.seen(size, self.head_time).json()))
            }
            ("GET", "/api/v1/log/replicate") => (200, self.first_entry()),
            ("GET", "/api/v1/log/consistency-proof") => {
                (200, self.consistency(number("first"), number("second")))
            }
            ("POST", "/api/v1/evidence") => {
                let proof = body.and_then(|body| serde_json::from_slice(body).ok());
                self.told.push(proof.expect("evidence is JSON"));
                (204, Value::Null)
            }
            ("POST", "/api/v1/log/witness") => self.take(body.expect("a body")),
            ("GET", route) if route.starts_with("/api/v1/log/witnesses/") => {
                (200, self.claims_to_hold.clone().unwrap_or_else(|| self.record()))
            }
            _ => (404, json!({"error": {"code": "not_found", "message": path}})),
        }
    }

    fn first_entry(&self) -> Value {
        let leaf = self.history.leaf_bytes(0);
        let mut entry: Value = serde_json::from_slice(leaf).expect("a leaf is JSON");
        entry["entry_hash"] = json!(Hash::of(leaf));
        json!({
            "entries": [entry], "after": 0, "next_after": 1, "has_more": true,
            "tree_head": self.history.seen(self.size, self.head_time).json(),
            "consistency_proof": [],
        })
    }

    fn consistency(&self, first: u64, second: u64) -> Value {
        let history = self.proves_for.as_ref().unwrap_or(&self.history);
        json!(ConsistencyProof {
            first: TreeSize::ZERO.plus(first),
            second: TreeSize::ZERO.plus(second),
            first_root: history.tree(first).hash,
            second_root: history.tree(second).hash,
            hashes: history.consistency(first, second),
        })
    }

    fn take(&mut self, body: &[u8]) -> (u16, Value) {
        self.received.push(serde_json::from_slice(body).expect("a body is JSON"));
        let proof: WitnessProof = serde_json::from_slice(body).expect("a witness proof");
        proof.check().expect("a witness proof verifies");
        let refused = |status, code| (status, json!({"error": {"code": code, "message": "no"}}));
        let own = [proof.claim().old_tree(), proof.claim().new_tree()];
        let agrees = own
            .iter()
            .all(|tree| tree.size == TreeSize::ZERO || *tree == self.history.tree(tree.size.get()));
        if !agrees {
            return refused(409, "proof_disagrees");
        }
        let id = |index: usize| 1000 + index as u64;
        if let Some(known) = self.recorded.iter().position(|recorded| *recorded == proof) {
            return (200, json!({"proof_id": id(known), "recorded": true}));
        }
        if !self.authorized {
            return refused(403, "witness_not_authorized");
        }
        if self.recorded.last().is_some_and(|last| last.new_tree_size >= proof.new_tree_size) {
            return refused(409, "witness_stale");
        }
        self.recorded.push(proof);
        (201, json!({"proof_id": id(self.recorded.len() - 1), "recorded": true}))
    }

    fn record(&self) -> Value {
        let last = self.recorded.last();
        record_of(last)
    }
}

/// The record of a witness whose newest proof is this one.
pub(super) fn record_of(last: Option<&WitnessProof>) -> Value {
    json!(WitnessRecord {
        fingerprint: "sha256:".into(),
        state: WitnessState::Authorized,
        since: None,
        display_name: None,
        server: None,
        vkey: None,
        last_proof: last.map(|proof| ProofRecord::new(7, at(100), proof.clone(), None, true)),
        last_cosignature: None,
    })
}

impl Transport for FakeLog {
    fn server(&self) -> &'static str {
        "https://log.example"
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Unreachable> {
        let mut state = self.state();
        if state.down {
            return Err(Unreachable("down".into()));
        }
        let (status, answer) = state.answer(&method, path, body.as_deref());
        if state.deaf && method == Method::POST {
            return Err(Unreachable("cut off".into()));
        }
        Ok(Reply { status, body: Bytes::from(answer.to_string()) })
    }
}
