//! `Idempotency-Key`: a repeat of a request finds what the first one appended
//! (draft-ietf-httpapi-idempotency-key).

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::read::Snapshot;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::store::{LocalWrite, Remembered, StoreError};
use http::HeaderMap;

use crate::app::{App, Claim};

/// What repeats of a request are recognised by.
pub(crate) struct Idempotency {
    principal: String,
    key: String,
    body_hash: Hash,
    /// Held until the command is done, also when its caller has hung up.
    #[expect(dead_code, reason = "its drop gives the key free")]
    claim: Claim,
}

/// What is known of a request that carries an idempotency key.
pub(crate) enum Recalled {
    /// The entries that it appended when it first came, and a log that shows them.
    Before {
        /// The entries.
        leaves: Vec<Leaf>,
        /// The log.
        snapshot: Arc<Snapshot>,
    },
    /// It is the first; while the claim lives, no other is.
    First(Idempotency),
}

/// Why a request with an idempotency key is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecallError {
    #[error("the request with this Idempotency-Key is still running")]
    StillRunning,
    #[error("this Idempotency-Key was used for another body")]
    OtherBody,
    #[error("what the first request stored is not shown yet")]
    NotShown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long a repeat waits until the head covers what the first request stored: after a commit whose
/// answer was lost, the log is looked up before it is shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);

impl Idempotency {
    /// The note for the transaction of the entries that the request appends after `size`.
    pub(crate) fn note(&self, size: TreeSize, count: usize, now: Timestamp) -> LocalWrite {
        LocalWrite::Remember(Remembered {
            principal: self.principal.clone(),
            key: self.key.clone(),
            body_hash: self.body_hash,
            first_id: size.get() + 1,
            count: count as u64,
            created_at: now,
        })
    }
}

/// Finds what an earlier request of this principal with this key appended, or claims the key.
pub(crate) async fn recall(
    app: &App,
    principal: String,
    key: String,
    body: &[u8],
) -> Result<Recalled, RecallError> {
    let claim = app.claim(&principal, &key).ok_or(RecallError::StillRunning)?;
    let body_hash = Hash::of(body);
    let name = [(principal.clone(), key.clone())];
    let Some(known) = app.store.remembered(&name, app.clock.now()).await?.pop() else {
        return Ok(Recalled::First(Idempotency { principal, key, body_hash, claim }));
    };
    if known.body_hash != body_hash {
        return Err(RecallError::OtherBody);
    }
    let after = known.first_id - 1;
    let upto = after + known.count;
    let snapshot = covering(app, upto).await.ok_or(RecallError::NotShown)?;
    let leaves = app.store.entries(after, upto, u64::MAX).await?;
    Ok(Recalled::Before { leaves, snapshot })
}

/// The log as soon as its head covers an entry.
pub(crate) async fn covering(app: &App, id: u64) -> Option<Arc<Snapshot>> {
    let mut news = app.published.subscribe();
    let covers = |shown: &Option<Arc<Snapshot>>| {
        shown.as_ref().is_some_and(|snapshot| snapshot.size().get() >= id)
    };
    let shown = tokio::time::timeout(SHOWN_WITHIN, news.wait_for(covers)).await.ok()?.ok()?;
    shown.clone()
}

/// The key of a request as a structured-field string or a bare token.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=255).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if fits {
        Ok(Some(key.to_owned()))
    } else {
        Err(Problem::new(
            Code::IdempotencyKeyInvalid,
            "an Idempotency-Key has 1 to 255 printable ASCII characters without spaces",
        ))
    }
}

impl From<RecallError> for Problem {
    fn from(error: RecallError) -> Self {
        let text = error.to_string();
        match error {
            RecallError::StillRunning => Self::new(Code::IdempotencyInProgress, text),
            RecallError::OtherBody => Self::new(Code::IdempotencyConflict, text),
            RecallError::NotShown => Self::log_unreachable(),
            RecallError::Store(error) => error.into(),
        }
    }
}
