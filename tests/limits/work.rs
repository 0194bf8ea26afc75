//! Attacks that ask for work: signatures to check, logs to read, streams to keep.

use std::rc::Rc;
use std::time::Duration;

use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use serde_json::json;

use crate::wire::Field;

fn post(path: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: \
         {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends what `request` makes, one after the other, by so many attackers.
async fn repeat(field: Rc<Field>, attackers: usize, request: fn(u64) -> Vec<u8>) {
    let act = move |field: Rc<Field>| async move {
        let bytes = request(field.tally().requests);
        field.shoot(&bytes).await;
    };
    field.crowd(attackers, act).await;
}

/// A key that nobody else has.
fn key(number: u64) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_seed(seed)
}

/// Registrations whose proof of possession was made by another key.
pub(crate) async fn bad_signatures(field: Rc<Field>) {
    let request = |number| {
        let body = json!({ "payload": {
            "public_key": key(number).public().to_pem(),
            "pseudonym": format!("attacker {number}"),
            "key_algorithm": "ed25519",
            "proof": key(number + 1).sign(b"something else"),
        }});
        post("/api/v1/keys/register", "application/json", body.to_string().as_bytes())
    };
    repeat(field, 16, request).await;
}

/// Checkpoints of a log that the witness does not know, or that nobody signed.
pub(crate) async fn bad_checkpoints(field: Rc<Field>) {
    let request = |number| {
        let tree = TreeRoot { size: TreeSize::ZERO.plus(number + 1), hash: Hash::of(b"no log") };
        let note = Checkpoint::new("limits.example/log", tree)
            .ok()
            .zip("limits.example".parse().ok())
            .map(|(checkpoint, name)| sign_checkpoint(&checkpoint, &name, &key(number)));
        let body = format!("old 0\n\n{}", note.unwrap_or_default());
        post("/add-checkpoint", "text/plain", body.as_bytes())
    };
    repeat(field, 16, request).await;
}

/// The whole log, read again.
pub(crate) async fn verify(field: Rc<Field>) {
    let request = |number: u64| {
        let body = json!({ "since": number % 100 }).to_string();
        post("/api/v1/log/verify", "application/json", body.as_bytes())
    };
    repeat(field, 16, request).await;
}

/// What is nowhere.
pub(crate) async fn searches(field: Rc<Field>) {
    let request = |number: u64| {
        let path = if number.is_multiple_of(2) {
            format!("/api/v1/log?search=nobody{number}")
        } else {
            format!("/api/v1/keys/search?pseudonym=nobody{number}")
        };
        get(&path)
    };
    repeat(field, 32, request).await;
}

/// Walks from keys that are there or not.
pub(crate) async fn graphs(field: Rc<Field>) {
    let request = |number: u64| {
        get(&format!("/api/v1/graph/{}?max_depth=6", key(number % 1_000).public().fingerprint()))
    };
    repeat(field, 32, request).await;
}

/// As many entries as one answer holds.
pub(crate) async fn replications(field: Rc<Field>) {
    let request = |number: u64| {
        get(&format!("/api/v1/log/replicate?after={}&limit=10000", number * 97 % 5_000))
    };
    repeat(field, 16, request).await;
}

/// As many entries as one file holds, each with its proof.
pub(crate) async fn exports(field: Rc<Field>) {
    let request = |number: u64| {
        let page = 1 + number % 5;
        get(&format!("/api/v1/audit/export?page={page}&page_size=1000&proofs=true"))
    };
    repeat(field, 16, request).await;
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// Streams beyond those that are granted.
pub(crate) async fn event_streams(field: Rc<Field>) {
    let act = async |field: Rc<Field>| {
        let Ok(mut line) = field.open().await else { return field.breathe().await };
        field.asked();
        let asked = line.send(&get("/events")).await;
        match line.status().await.and(asked.map(|()| 200)) {
            Ok(_) => field.pause(Duration::from_secs(3600)).await,
            Err(error) => field.note(error.kind()),
        }
    };
    field.crowd(512, act).await;
}
