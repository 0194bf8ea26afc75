//! How the rest of the leader reaches the sequencer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use diogenes_common::clock::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::QUEUE;
use super::command::{AppendError, Command, Job, NotSigning, Outcome, Pending};

/// Hands commands to the sequencer.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) jobs: mpsc::Sender<Box<dyn Job>>,
    pub(super) signing: watch::Sender<Option<NotSigning>>,
    /// No head is stamped below this, in milliseconds.
    pub(super) floor: Arc<AtomicI64>,
}

impl Handle {
    /// Appends what the command decides, and answers when it is durable and signed.
    pub(crate) async fn submit<C: Command>(
        &self,
        command: C,
    ) -> Result<Outcome, AppendError<C::Refusal>> {
        if let Some(reason) = *self.signing.borrow() {
            return Err(AppendError::NotSigning(reason));
        }
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Pending { command, refusal: None, answer });
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closing,
        })?;
        answered.await.unwrap_or(Err(AppendError::Closing))
    }

    /// How many commands wait.
    pub(crate) fn waiting(&self) -> usize {
        QUEUE.saturating_sub(self.jobs.capacity())
    }

    /// Why nothing is signed at the moment, if so.
    pub(crate) fn not_signing(&self) -> Option<NotSigning> {
        *self.signing.borrow()
    }

    /// Stops signing; a start that only waited for its peers learns the graver reason.
    pub(crate) fn stop_signing(&self, reason: NotSigning) {
        self.signing.send_if_modified(|now| {
            let waits = matches!(now, None | Some(NotSigning::Unconfirmed));
            let news = waits && *now != Some(reason);
            if news {
                *now = Some(reason);
            }
            news
        });
    }

    /// Signs from now on, if nothing but the peers' answers was waited for.
    pub(crate) fn start_signing(&self) {
        self.signing.send_if_modified(|now| {
            let news = *now == Some(NotSigning::Unconfirmed);
            if news {
                *now = None;
            }
            news
        });
    }

    /// Stamps no head below this: one of our own of that time was seen.
    pub(crate) fn raise_floor(&self, floor: Timestamp) {
        self.floor.fetch_max(floor.millis(), Ordering::AcqRel);
    }
}
