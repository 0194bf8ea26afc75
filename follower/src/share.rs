//! Telling other nodes what is proven: a proof that one node keeps to itself protects only that node.
//!
//! Each source and each of `DIOGENES_PEERS` is sent every proof that this node keeps, in their order,
//! until it answers. The number of the last file that it answered for is in the database, so a
//! restart goes on from there; whoever knows the proof already says so, and nothing more happens.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::client::{Answer, BaseUrl, FetchError};
use diogenes_common::config::{PEERS, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::read::EVIDENCE;
use diogenes_common::retry::{LONGEST, Retry};
use diogenes_common::store::{Evidence, Kept, Store, StoreError};
use http::Method;

use crate::boot;
use crate::sync::Shared;
use crate::sync::source::Source;

/// The wait after a first failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Whom a proof is sent to: the sources, and the peers that are none of them.
pub(crate) fn listeners(
    settings: &Settings,
    sources: &[Arc<Source>],
) -> Result<Vec<Arc<Source>>, Failure> {
    let client = boot::client(settings)?;
    let mut listeners = sources.to_vec();
    for url in settings.value(&PEERS) {
        let url = BaseUrl::parse(url.as_str(), boot::reach(settings))?;
        if !listeners.iter().any(|known| known.base() == url) {
            listeners.push(Arc::new(Source::new(url, client.clone())));
        }
    }
    Ok(listeners)
}

/// Sends one node every proof, now and as they come.
pub(crate) async fn run(shared: Arc<Shared>, listener: Arc<Source>) -> Result<(), Failure> {
    let mut proven = shared.proven.subscribe();
    let mut retry = Retry::new(FIRST_RETRY);
    loop {
        proven.mark_unchanged();
        let pause = match tell(&shared, &listener, &mut retry).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "what is proven is not told: the database does not answer");
                Some(retry.next_delay())
            }
        };
        let Some(pause) = pause else { continue };
        tokio::select! {
            () = shared.tasks.stopping() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
            changed = proven.changed(), if retry.failures() == 0 => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Sends the next file that the node did not answer for; `None` if there may be more, else how long
/// to wait.
async fn tell(
    shared: &Shared,
    listener: &Source,
    retry: &mut Retry,
) -> Result<Option<Duration>, StoreError> {
    let url = listener.url();
    let Some(file) = untold(&shared.store, &url).await? else { return Ok(Some(LONGEST)) };
    let sending = listener.send(Method::POST, EVIDENCE, file.bytes);
    let outcome = tokio::select! {
        outcome = sending => outcome,
        () = shared.tasks.stopping() => return Ok(Some(LONGEST)),
    };
    let id = file.id;
    if !is_answer(&outcome) {
        let asked = outcome.as_ref().err().and_then(FetchError::retry_after);
        let pause = retry.next_delay_at_least(asked);
        tracing::debug!(listener.url = url, evidence.id = id, "a proof is not told yet");
        return Ok(Some(pause));
    }
    match outcome {
        Ok(_) => tracing::info!(listener.url = url, evidence.id = id, "a proof was told"),
        Err(error) => {
            tracing::warn!(listener.url = url, evidence.id = id, %error, "a proof was not taken");
        }
    }
    shared.store.put_meta(&mark(&url), &id.to_string()).await?;
    retry.reset();
    Ok(None)
}

/// The oldest proof that a node did not answer for.
async fn untold(store: &Store, url: &str) -> Result<Option<Evidence>, StoreError> {
    let told = store.meta(&mark(url)).await?.and_then(|id| id.parse().ok()).unwrap_or(0);
    let next = store.evidence_after(Kept::Proofs, told, 1).await?.pop();
    match next {
        Some(row) => store.evidence(row.id).await,
        None => Ok(None),
    }
}

/// The named value that says up to which file a node answered.
fn mark(url: &str) -> String {
    format!("evidence_told {url}")
}

/// Whether the node decided: it took the file, or refused it for good. One that is busy, down or
/// fails is asked again.
fn is_answer(outcome: &Result<Answer, FetchError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(FetchError::Status(fault)) => !matches!(fault.status, 408 | 429 | 500..),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::client::{NetworkFault, StatusFault};

    use super::*;

    #[test]
    fn a_node_that_may_still_take_a_proof_is_asked_again() {
        let refused = |status| {
            is_answer(&Err(FetchError::Status(Box::new(StatusFault {
                status,
                code: None,
                detail: None,
                retry_after: None,
                media_type: None,
                body: bytes::Bytes::new(),
            }))))
        };
        for (status, is_final) in [
            (400, true),
            (403, true),
            (404, true),
            (408, false),
            (413, true),
            (422, true),
            (429, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(refused(status), is_final, "{status}");
        }
        let lost = FetchError::Network { host: "a".to_owned(), kind: NetworkFault::Connect };
        assert!(!is_answer(&Err(lost)));
    }
}
