//! Sending what is proven to the servers of the log, until each answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::retry::Retry;

use super::{Agent, blocking};
use crate::share::{self, Untold};
use crate::source::{LogServer, SourceError, Told, Transport};
use crate::state::StateError;

/// The wait after a first failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Servers that did not answer, and when each is asked again, by the steady clock.
#[derive(Debug, Default)]
pub(super) struct Patience(BTreeMap<String, (Retry, i64)>);

impl Patience {
    fn is_due(&self, server: &str, now: i64) -> bool {
        self.0.get(server).is_none_or(|(_, at)| *at <= now)
    }

    fn failed(&mut self, server: &str, now: i64) {
        let fresh = || (Retry::new(FIRST_RETRY), now);
        let (retry, at) = self.0.entry(server.to_owned()).or_insert_with(fresh);
        let wait = i64::try_from(retry.next_delay().as_millis()).unwrap_or(i64::MAX);
        *at = now.saturating_add(wait);
    }
}

impl<T: Transport> Agent<T> {
    /// Sends the proofs against this log to its server and to the vantage points that have not
    /// answered for them. Whoever does not answer is asked again at a later round.
    pub(super) async fn tell(&mut self) {
        let Some(log) = &self.log else { return };
        let (log_id, now) = (log.log_id(), self.clock.steady_millis());
        for server in std::iter::once(&self.server).chain(&*self.vantages) {
            if !self.patience.is_due(server.name(), now) {
                continue;
            }
            let (home, name) = (Arc::clone(&self.home), server.name().to_owned());
            let untold = blocking(move || Ok(share::untold(home.path(), &name, log_id)?)).await;
            let told = match untold {
                Ok(untold) => self.tell_all(server, untold).await,
                Err(error) => {
                    tracing::warn!(%error, "the evidence that is kept cannot be read");
                    return;
                }
            };
            match told {
                Ok(()) => drop(self.patience.0.remove(server.name())),
                Err(Untellable::Server(error)) => {
                    tracing::debug!("a proof is not told yet: {error}");
                    self.patience.failed(server.name(), now);
                }
                Err(Untellable::Own(error)) => {
                    tracing::warn!(%error, "it cannot be noted who was told a proof");
                    self.patience.failed(server.name(), now);
                }
            }
        }
    }

    async fn tell_all(&self, server: &LogServer<T>, untold: Vec<Untold>) -> Result<(), Untellable> {
        for Untold { name, bytes } in untold {
            match server.tell(bytes).await? {
                Told::Taken => tracing::info!(server = server.name(), evidence = name, "told"),
                Told::Refused { status, code } => tracing::warn!(
                    server = server.name(),
                    evidence = name,
                    status,
                    code,
                    "a proof was not taken"
                ),
            }
            let (home, server) = (Arc::clone(&self.home), server.name().to_owned());
            blocking(move || Ok(share::mark(home.path(), &server, &name)?)).await?;
        }
        Ok(())
    }
}

/// Why a proof is not told.
#[derive(Debug, thiserror::Error)]
enum Untellable {
    #[error(transparent)]
    Server(#[from] SourceError),
    #[error(transparent)]
    Own(#[from] StateError),
}
