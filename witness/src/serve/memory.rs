//! Which logs of this kind may be cosigned: those of which somebody was asked, since this start, what
//! they hold under the own key.
//!
//! Nobody can be asked that about a foreign log. About one of this kind its servers can be, and a
//! state that was put back would sign a second history of it.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use diogenes_common::exit::Failure;
use diogenes_common::retry::Retry;

use super::App;
use crate::agent::{Agent, RoundError};
use crate::log::LogName;
use crate::source::Transport;
use crate::state::LogState;

/// The wait after the first failure of a server.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The logs about which the own memory was confirmed.
#[derive(Debug, Default)]
pub(super) struct Confirmed(RwLock<BTreeSet<LogName>>);

impl Confirmed {
    /// Takes a log as confirmed until the process ends.
    pub(super) fn confirm(&self, log: LogName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(log);
    }

    /// Says whether a log may be cosigned.
    pub(super) fn covers(&self, log: &LogName, state: &LogState) -> bool {
        state.genesis().is_none()
            || self.0.read().unwrap_or_else(PoisonError::into_inner).contains(log)
    }
}

/// Asks a server, until it answers, what it holds under this witness's key.
pub(super) async fn confirm<T: Transport>(app: App, mut agent: Agent<T>) {
    let mut retry = Retry::new(FIRST_RETRY);
    loop {
        match agent.confirm().await {
            Ok(log) => {
                tracing::info!(log.origin = log.as_str(), "nothing was forgotten of this log");
                return app.confirmed.confirm(log);
            }
            // That log is never signed again; the others are.
            Err(error @ RoundError::Equivocated { .. }) => return warn(&agent, error),
            Err(error) if error.is_fatal() => return app.tasks.fail(error.into()),
            Err(error) => warn(&agent, error),
        }
        tokio::select! {
            () = tokio::time::sleep(retry.next_delay()) => {}
            () = app.tasks.stopping() => return,
        }
    }
}

fn warn<T: Transport>(agent: &Agent<T>, error: RoundError) {
    let failure = Failure::from(error);
    let (server, reason) = (agent.server().name(), failure.reason());
    tracing::warn!(server, reason, help = failure.what_to_do(), "{}", failure.what());
}
