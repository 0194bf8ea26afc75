//! Asking a node for entries of its log, and reading the answer: what a follower and a leader that
//! recovers have in common. Nothing here is believed yet.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::{Answer, Asking, BATCH_ANSWER, BaseUrl, Client};
use crate::batch::{self, Batch, DecodeError, Encoding};

/// A longer body is decoded on a thread of its own: that takes milliseconds.
const LONG_BODY: usize = 256 * 1024;

/// Why an answer holds no batch.
#[derive(Debug, thiserror::Error)]
pub enum NoBatch {
    /// It is something else.
    #[error("the batch has another media type")]
    MediaType,
    /// It breaks off.
    #[error("the batch is cut off")]
    CutOff,
    /// It can't be read.
    #[error(transparent)]
    Decode(DecodeError),
    /// This process ends.
    #[error("given up")]
    GivenUp,
}

impl Client {
    /// Asks for the entries after an id: binary, unless the answer must be JSON.
    pub fn entries(&self, node: &BaseUrl, after: u64, limit: u64, json_only: bool) -> Asking {
        let path = format!("/api/v1/log/replicate?after={after}&limit={limit}");
        let takes = if json_only {
            "application/json"
        } else {
            "application/vnd.diogenes.batch, application/json;q=0.5"
        };
        let asking = self.get(node, &path).up_to(BATCH_ANSWER).compressed();
        asking.header(ACCEPT, HeaderValue::from_static(takes))
    }
}

impl Answer {
    /// The batch that it holds, decoded and not verified.
    pub async fn batch(&self) -> Result<Batch, NoBatch> {
        let media_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let encoding = media_type.and_then(Encoding::from_media_type).ok_or(NoBatch::MediaType)?;
        let decoded = if self.body.len() > LONG_BODY {
            let body = self.body.clone();
            let decoded = tokio::task::spawn_blocking(move || batch::decode(&body, encoding));
            decoded.await.map_err(|_| NoBatch::GivenUp)?
        } else {
            batch::decode(&self.body, encoding)
        };
        decoded.map_err(|error| match error {
            DecodeError::Truncated => NoBatch::CutOff,
            error => NoBatch::Decode(error),
        })
    }
}
