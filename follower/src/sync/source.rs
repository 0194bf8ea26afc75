//! One source of the log: another node that answers the replication API.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use diogenes_common::batch::Batch;
use diogenes_common::client::{Answer, BaseUrl, Client, FetchError, NetworkFault, NoBatch};
use diogenes_common::head::HeadJson;
use diogenes_common::merkle::TreeSize;
use diogenes_common::wire::log::ConsistencyProof;
use diogenes_common::wire::node::WellKnown;
use http::Method;
use http::header::HeaderValue;

use crate::replica::Fault;

/// What a source answers about two sizes.
pub(super) type Consistency = ConsistencyProof;

/// How long a small answer may take as a whole.
const SMALL: Duration = Duration::from_secs(15);
/// How long a proof that a witness submits may take through here.
const RELAY: Duration = Duration::from_secs(30);

/// A node that is asked for the log.
#[derive(Debug)]
pub(crate) struct Source {
    url: RwLock<BaseUrl>,
    client: Client,
}

/// An answer as it came, to be kept if something is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Exhibit {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// Why a source gave nothing to verify.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// Nothing came back.
    #[error("{0}")]
    Unreachable(String),
    /// The answer broke off or took too long.
    #[error("{0}")]
    Cut(String),
    /// The source said no.
    #[error("it answered {status}{}", code.as_deref().map(|c| format!(" {c}")).unwrap_or_default())]
    Status {
        /// The status.
        status: u16,
        /// `error.code`, if it was a problem of ours.
        code: Option<String>,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer is too long, or is not what was asked for.
    #[error("{what}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// The answer.
        exhibit: Arc<Exhibit>,
    },
}

impl SourceError {
    /// What it means for the replica.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Status { status: 429, .. } => Fault::RateLimited,
            Self::Unusable { .. } => Fault::Refused("bad_batch"),
            Self::Unreachable(_) | Self::Cut(_) | Self::Status { .. } => Fault::Unreachable,
        }
    }

    /// The label of metrics.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "network",
            Self::Cut(_) => "cut",
            Self::Status { status: 429, .. } => "rate_limited",
            Self::Status { status: 500.., .. } => "server",
            Self::Status { .. } => "refused",
            Self::Unusable { .. } => "bad_answer",
        }
    }

    /// How long the source asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The answer, if it is worth keeping.
    pub(crate) fn exhibit(&self) -> Option<&Arc<Exhibit>> {
        match self {
            Self::Unusable { exhibit, .. } => Some(exhibit),
            _ => None,
        }
    }
}

impl Source {
    /// The node at this URL.
    pub(crate) fn new(url: BaseUrl, client: Client) -> Self {
        Self { url: RwLock::new(url), client }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.base().to_string()
    }

    /// Says that it is somewhere else from now on; true if that is news.
    pub(crate) fn moved_to(&self, url: BaseUrl) -> bool {
        let mut known = self.url.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != url;
        *known = url;
        is_news
    }

    pub(crate) fn base(&self) -> BaseUrl {
        self.url.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The entries after an id, decoded: binary unless the source knows only JSON.
    pub(crate) async fn batch(
        &self,
        after: u64,
        limit: u64,
        json_only: bool,
    ) -> Result<(Batch, Arc<Exhibit>), SourceError> {
        let asking = self.client.entries(&self.base(), after, limit, json_only);
        let answer = asking.send().await?;
        let exhibit = Arc::new(Exhibit::from(&answer));
        match answer.batch().await {
            Ok(batch) => Ok((batch, exhibit)),
            Err(NoBatch::GivenUp) => Err(SourceError::Unreachable("given up".to_owned())),
            Err(error) => Err(SourceError::Unusable { what: error.to_string(), exhibit }),
        }
    }

    /// The newest head, or the one that witnesses sign now.
    pub(crate) async fn head(
        &self,
        for_witness: bool,
    ) -> Result<(HeadJson, Arc<Exhibit>), SourceError> {
        let path = if for_witness { "/api/v1/log/sth?for=witness" } else { "/api/v1/log/sth" };
        let answer = self.client.get(&self.base(), path).within(SMALL).send().await?;
        let exhibit = Arc::new(Exhibit::from(&answer));
        match serde_json::from_slice(&answer.body) {
            Ok(head) => Ok((head, exhibit)),
            Err(error) => {
                Err(SourceError::Unusable { what: format!("not a tree head: {error}"), exhibit })
            }
        }
    }

    /// The proof that one size extends another.
    pub(crate) async fn consistency(
        &self,
        first: TreeSize,
        second: TreeSize,
    ) -> Result<Consistency, FetchError> {
        let path = format!("/api/v1/log/consistency-proof?first={first}&second={second}");
        self.client.get(&self.base(), &path).within(SMALL).json().await
    }

    /// The checkpoint that the node publishes, as text that nobody verified.
    pub(crate) async fn checkpoint(&self, limit: usize) -> Result<String, FetchError> {
        let asking = self.client.get(&self.base(), "/checkpoint").within(SMALL).up_to(limit);
        let answer = asking.send().await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// What the node says about itself: advice.
    pub(crate) async fn well_known(&self) -> Result<WellKnown, FetchError> {
        self.client.get(&self.base(), "/.well-known/diogenes").within(SMALL).json().await
    }

    /// Sends JSON that is written already.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, FetchError> {
        let asking = self.client.ask(method, &self.base(), path).within(RELAY);
        asking.with_body("application/json", body).send().await
    }
}

impl From<&Answer> for Exhibit {
    fn from(answer: &Answer) -> Self {
        let headers = answer.headers.iter().take(64);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            status: answer.status,
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: answer.body.clone(),
        }
    }
}

impl From<FetchError> for SourceError {
    fn from(error: FetchError) -> Self {
        let what = error.to_string();
        match error {
            FetchError::Network { kind: NetworkFault::Connect, .. } => Self::Unreachable(what),
            FetchError::Network { .. } => Self::Cut(what),
            FetchError::Status(fault) => Self::Status {
                status: fault.status,
                code: fault.code.clone(),
                retry_after: fault.retry_after,
            },
            FetchError::TooLarge { .. } | FetchError::BadBody(_) => {
                Self::Unusable { what, exhibit: Arc::default() }
            }
        }
    }
}
