//! What a witness asks of a log's servers, and what it takes from their answers.
//!
//! Everything here is a claim: it was parsed and bounded, and nothing else.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use diogenes_common::canonical;
use diogenes_common::head::HeadJson;
use diogenes_common::keys::Fingerprint;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::TreeSize;
use diogenes_common::statement::{Profile, WitnessProof};
use diogenes_common::wire::log::{
    ConsistencyProof, EntryView, InclusionProof, LogPage, ReplicationBatch,
};
use diogenes_common::wire::node::WellKnown;
use diogenes_common::wire::witnesses::{ProofPage, WitnessRecord};
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Carries a request to one server and its answer back.
pub trait Transport: Send + Sync + 'static {
    /// The server, as its operator typed it.
    fn server(&self) -> &str;

    /// Sends a request with an optional JSON body.
    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<Reply, Unreachable>> + Send;
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, bounded by the transport.
    pub body: Bytes,
}

/// No whole answer came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Why a source did not give what was asked for. It may do so the next time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It could not be reached, or the answer broke off.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Which server.
        server: String,
        /// What the transport says.
        reason: String,
    },
    /// It answered with an error.
    #[error("{server} answered {status} {code}: {detail}")]
    Refused {
        /// Which server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The error's code, empty if the answer has none.
        code: String,
        /// What the server says about it.
        detail: String,
    },
    /// The answer is not what the interface promises.
    #[error("{server} did not answer with {expected}")]
    Malformed {
        /// Which server.
        server: String,
        /// What was asked for.
        expected: &'static str,
    },
}

/// What became of a proof that a server understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// This entry records it.
    Recorded {
        /// The entry's id.
        proof_id: u64,
    },
    /// It is valid and was not recorded; its cosignature is kept beside the log.
    Kept,
    /// A newer proof of this witness is recorded already.
    Stale,
    /// The operator has not authorised this witness.
    NotAuthorized,
    /// It was refused for good.
    Rejected {
        /// The error's code.
        code: String,
        /// What the server says about it.
        detail: String,
    },
}

/// What a server answered to a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It verified and kept it, or knew it.
    Taken,
    /// It does not want it: the log is another one, or the server an older one.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, empty if the answer has none.
        code: String,
    },
}

/// One server of a log.
#[derive(Debug)]
pub struct LogServer<T>(T);

impl<T: Transport> LogServer<T> {
    /// Speaks to a server.
    pub fn new(transport: T) -> Self {
        Self(transport)
    }

    /// The server, as its operator typed it.
    pub fn name(&self) -> &str {
        self.0.server()
    }

    /// What the server says about itself and its log.
    pub async fn well_known(&self) -> Result<WellKnown, SourceError> {
        self.get("/.well-known/diogenes", "the description of a log").await
    }

    /// The head that the log names for the current round of its witnesses.
    pub async fn round_head(&self) -> Result<HeadJson, SourceError> {
        self.get("/api/v1/log/sth?for=witness", "a tree head").await
    }

    /// The newest head.
    pub async fn newest_head(&self) -> Result<HeadJson, SourceError> {
        self.get("/api/v1/log/sth", "a tree head").await
    }

    /// Entry 1, as the bytes that were hashed.
    pub async fn genesis(&self) -> Result<Leaf, SourceError> {
        let expected = "the first entry of a log";
        let path = "/api/v1/log/replicate?after=0&limit=1";
        let batch: ReplicationBatch = self.get(path, expected).await?;
        let first = batch.entries.into_iter().next();
        first.and_then(|entry| leaf_of(&entry)).ok_or_else(|| self.malformed(expected))
    }

    /// An entry, as the bytes that were hashed.
    pub async fn entry(&self, id: u64) -> Result<Leaf, SourceError> {
        let expected = "a log entry";
        let entry: EntryView = self.get(&format!("/api/v1/log/{id}"), expected).await?;
        match leaf_of(&entry) {
            Some(leaf) if leaf.id() == id => Ok(leaf),
            _ => Err(self.malformed(expected)),
        }
    }

    /// The newest entries of a type that name a key, newest first; unreadable ones are left out.
    pub async fn entries_about(
        &self,
        key: Fingerprint,
        event_type: &str,
    ) -> Result<Vec<Leaf>, SourceError> {
        let path = format!(
            "/api/v1/log?event_type={event_type}&search={key}&order=desc&page=1&per_page=200"
        );
        let page: LogPage = self.get(&path, "a list of log entries").await?;
        Ok(page.entries.iter().filter_map(leaf_of).collect())
    }

    /// The proof that the tree of one size extends that of a smaller one.
    pub async fn consistency(
        &self,
        first: TreeSize,
        second: TreeSize,
    ) -> Result<ConsistencyProof, SourceError> {
        let expected = "a consistency proof";
        let path = format!("/api/v1/log/consistency-proof?first={first}&second={second}");
        let proof: ConsistencyProof = self.get(&path, expected).await?;
        let asked = proof.first == first && proof.second == second;
        if asked { Ok(proof) } else { Err(self.malformed(expected)) }
    }

    /// The proof that an entry is in the tree of this size.
    pub async fn inclusion(
        &self,
        entry: u64,
        size: TreeSize,
    ) -> Result<InclusionProof, SourceError> {
        let path = format!("/api/v1/log/inclusion-proof?entry_id={entry}&tree_size={size}");
        self.get(&path, "an inclusion proof").await
    }

    /// What the server knows about a witness.
    pub async fn witness(&self, witness: Fingerprint) -> Result<WitnessRecord, SourceError> {
        self.get(&format!("/api/v1/log/witnesses/{witness}"), "the record of a witness").await
    }

    /// One page of recorded proofs, newest first; of one witness if it is given.
    pub async fn proofs(
        &self,
        witness: Option<Fingerprint>,
        page: u64,
        per_page: u64,
    ) -> Result<ProofPage, SourceError> {
        let only = witness.map(|key| format!("&witness={key}")).unwrap_or_default();
        let path =
            format!("/api/v1/log/witnesses?order=desc&page={page}&per_page={per_page}{only}");
        self.get(&path, "a list of witness proofs").await
    }

    /// Hands in a proof. An error means that it has to be sent again.
    pub async fn submit(&self, body: &WitnessProof) -> Result<Submitted, SourceError> {
        #[derive(Deserialize)]
        struct Answer {
            proof_id: Option<u64>,
            recorded: bool,
        }
        let expected = "the fate of a proof";
        let body = serde_json::to_vec(body).map_err(|_| self.malformed(expected))?;
        let reply = self.send(Method::POST, "/api/v1/log/witness", Some(body)).await?;
        if (200..300).contains(&reply.status) {
            let answer: Answer =
                serde_json::from_slice(&reply.body).map_err(|_| self.malformed(expected))?;
            return match (answer.proof_id, answer.recorded) {
                (Some(proof_id), _) => Ok(Submitted::Recorded { proof_id }),
                (None, false) => Ok(Submitted::Kept),
                (None, true) => Err(self.malformed(expected)),
            };
        }
        let (code, detail) = problem(&reply.body);
        match (reply.status, code.as_str()) {
            (403, "witness_not_authorized") => Ok(Submitted::NotAuthorized),
            (409, "witness_stale") => Ok(Submitted::Stale),
            (400 | 409 | 413 | 422, _) => Ok(Submitted::Rejected { code, detail }),
            _ => Err(self.refused(reply.status, code, detail)),
        }
    }

    /// Sends a proof; an error means that it has to be sent again.
    pub async fn tell(&self, proof: Vec<u8>) -> Result<Told, SourceError> {
        let reply = self.send(Method::POST, "/api/v1/evidence", Some(proof)).await?;
        let (code, detail) = problem(&reply.body);
        match reply.status {
            200..300 => Ok(Told::Taken),
            status @ (408 | 429 | 500..) => Err(self.refused(status, code, detail)),
            status => Ok(Told::Refused { status, code }),
        }
    }

    /// Asks the log to show a witness under another name.
    pub async fn set_profile(&self, profile: &Profile) -> Result<(), SourceError> {
        let expected = "the fate of a profile";
        let path = format!("/api/v1/profiles/{}", profile.fingerprint);
        let body = serde_json::to_vec(profile).map_err(|_| self.malformed(expected))?;
        let reply = self.send(Method::PUT, &path, Some(body)).await?;
        if (200..300).contains(&reply.status) {
            return Ok(());
        }
        let (code, detail) = problem(&reply.body);
        Err(self.refused(reply.status, code, detail))
    }

    async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        expected: &'static str,
    ) -> Result<A, SourceError> {
        let reply = self.send(Method::GET, path, None).await?;
        if reply.status != 200 {
            let (code, detail) = problem(&reply.body);
            return Err(self.refused(reply.status, code, detail));
        }
        serde_json::from_slice(&reply.body).map_err(|_| self.malformed(expected))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, SourceError> {
        self.0.send(method, path, body).await.map_err(|Unreachable(reason)| {
            SourceError::Unreachable { server: self.name().to_owned(), reason }
        })
    }

    fn refused(&self, status: u16, code: String, detail: String) -> SourceError {
        SourceError::Refused { server: self.name().to_owned(), status, code, detail }
    }

    fn malformed(&self, expected: &'static str) -> SourceError {
        SourceError::Malformed { server: self.name().to_owned(), expected }
    }
}

impl SourceError {
    /// The error's code where the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded { proof_id } => write!(f, "recorded as entry {proof_id}"),
            Self::Kept => f.write_str("valid, not recorded: its cosignature is kept"),
            Self::Stale => f.write_str("a newer proof of this witness is recorded already"),
            Self::NotAuthorized => f.write_str("not authorized"),
            Self::Rejected { code, detail } => write!(f, "rejected ({code}): {detail}"),
        }
    }
}

/// Rebuilds the hashed bytes from an entry as it is shown.
fn leaf_of(entry: &EntryView) -> Option<Leaf> {
    let EntryView { event_type, id, payload, previous_hash, timestamp, .. } = entry;
    let members = serde_json::json!({
        "event_type": event_type,
        "id": id,
        "payload": payload,
        "previous_hash": previous_hash,
        "timestamp": timestamp,
    });
    Leaf::parse(canonical::to_vec(&members)).ok()
}

/// The code and the detail of `application/problem+json`, shortened.
fn problem(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Problem {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        code: String,
        message: String,
    }
    let shorten = |text: String, most| text.chars().take(most).collect::<String>();
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { error }) => (shorten(error.code, 64), shorten(error.message, 300)),
        Err(_) => (String::new(), "no explanation".to_owned()),
    }
}
