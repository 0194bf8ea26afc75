//! A witness of the C2SP kind that does what a test tells it to.
//!
//! While it is honest it keeps to the protocol, and wants the log to: one signature line, less than
//! 10 KiB, and a proof from the size where it stands.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::{Clock as _, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::cosignature::cosign;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize, verify_consistency};
use diogenes_common::note::{KeyKind, Note, Vkey};
use diogenes_common::shutdown::Tasks;
use tokio::net::TcpListener;

/// The most that the smallest of the known witnesses reads.
const MAX_BODY: usize = 10 * 1024;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// What the protocol says.
    Honest,
    /// It has too much to do.
    Busy,
    /// It does not know the log.
    Stranger,
    /// It says something else.
    Garbage,
    /// It never answers.
    Silent,
    /// One bit of its signature is another.
    Flipped,
    /// It claims to have cosigned this size.
    At(u64),
    /// It sees a conflict and does not say at which size it stands.
    Conflict,
}

/// The witness; it ends when this is dropped.
pub struct Cosigner {
    address: SocketAddr,
    state: Shared,
    tasks: Tasks,
}

type Shared = Arc<Mutex<Inner>>;

struct Inner {
    key: SigningKey,
    mood: Mood,
    stands_at: TreeRoot,
    asked: u64,
    wrong: Vec<String>,
}

impl Cosigner {
    /// Starts one in this mood.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(seed: u8, mood: Mood) -> Self {
        let state: Shared = Arc::new(Mutex::new(Inner {
            key: SigningKey::from_seed([seed; 32]),
            mood,
            stands_at: TreeRoot::EMPTY,
            asked: 0,
            wrong: Vec::new(),
        }));
        let router = Router::new()
            .route("/w/add-checkpoint", post(add_checkpoint))
            .with_state(state.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let tasks = Tasks::new();
        let stop = tasks.token();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // A server on the loopback does not fail; if it did, the test would see no answers.
                _ = axum::serve(listener, router) => {}
            }
        });
        Self { address, state, tasks }
    }

    /// Its line in a policy, and its name there.
    ///
    /// # Panics
    /// Never: the name is one.
    pub fn line(&self) -> (String, String) {
        let state = lock(&self.state);
        let name = name_of(&state.key);
        let vkey = Vkey::new(
            name.parse().expect("a key name"),
            KeyKind::Cosignature,
            state.key.public().clone(),
        );
        (format!("witness {name} {vkey} http://{}/w\n", self.address), name)
    }

    /// Changes what it does.
    pub fn turn(&self, mood: Mood) {
        lock(&self.state).mood = mood;
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        lock(&self.state).asked
    }

    /// The size where it stands.
    pub fn size(&self) -> u64 {
        lock(&self.state).stands_at.size.get()
    }

    /// What the log did that it should not have.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.state).wrong.clone()
    }
}

impl Drop for Cosigner {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Inner> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(key: &SigningKey) -> String {
    format!("w-{}.example", key.fingerprint().short())
}

async fn add_checkpoint(State(state): State<Shared>, body: String) -> Response {
    let mood = {
        let mut state = lock(&state);
        state.asked += 1;
        state.mood
    };
    match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Busy => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Stranger => StatusCode::NOT_FOUND.into_response(),
        Mood::Garbage => "this is no signature line\n".into_response(),
        Mood::Conflict => StatusCode::CONFLICT.into_response(),
        Mood::At(size) => stands_at(size),
        Mood::Honest | Mood::Flipped => lock(&state).judge(&body, mood == Mood::Flipped),
    }
}

fn stands_at(size: u64) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/x.tlog.size")];
    (StatusCode::CONFLICT, headers, format!("{size}\n")).into_response()
}

impl Inner {
    fn judge(&mut self, body: &str, flip: bool) -> Response {
        match Asked::read(body) {
            Ok(asked) if asked.old != self.stands_at.size => stands_at(self.stands_at.size.get()),
            Ok(asked) if asked.extends(&self.stands_at) => {
                let line = self.cosign(&asked.checkpoint, SystemClock.now(), flip);
                if !flip {
                    self.stands_at = asked.checkpoint.tree();
                }
                line.into_response()
            }
            Ok(_) => {
                self.wrong.push("the proof does not verify".to_owned());
                StatusCode::UNPROCESSABLE_ENTITY.into_response()
            }
            Err(wrong) => {
                self.wrong.push(wrong.to_owned());
                StatusCode::BAD_REQUEST.into_response()
            }
        }
    }

    fn cosign(&self, checkpoint: &Checkpoint, time: Timestamp, flip: bool) -> String {
        let name = name_of(&self.key).parse().expect("a key name");
        let mut line = cosign(checkpoint, time, &name, &self.key).to_string();
        if flip {
            let at = line.len() - 6;
            let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
            line.replace_range(at..=at, other);
        }
        format!("{line}\n")
    }
}

struct Asked {
    old: TreeSize,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
}

impl Asked {
    fn read(body: &str) -> Result<Self, &'static str> {
        if body.len() > MAX_BODY {
            return Err("the body is too long");
        }
        let (head, note) = body.split_once("\n\n").ok_or("no empty line")?;
        let mut lines = head.lines();
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or("no old line")?;
        let old = old.parse().ok().and_then(TreeSize::new).ok_or("no size")?;
        let proof: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        let note = Note::parse(note.as_bytes()).map_err(|_| "no note")?;
        if note.signatures().len() != 1 {
            return Err("not the log's signature alone");
        }
        let checkpoint = note.text().parse().map_err(|_| "no checkpoint")?;
        Ok(Self { old, proof: proof.ok_or("no hash")?, checkpoint })
    }

    fn extends(&self, known: &TreeRoot) -> bool {
        if *known == TreeRoot::EMPTY {
            return self.proof.is_empty();
        }
        verify_consistency(known, &self.checkpoint.tree(), &self.proof).is_ok()
    }
}
