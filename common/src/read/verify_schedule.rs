//! The stored log is read again on a schedule, whether or not somebody asks.

use tokio_util::sync::CancellationToken;

use super::reads::Reads;
use crate::config::{Settings, VERIFY_SCHEDULE};
use crate::exit::Failure;
use crate::schedule::Ticks;

/// The schedule of the settings; `None` if there is none.
pub async fn verify_schedule(settings: &Settings) -> Result<Option<Ticks>, Failure> {
    match settings.value(&VERIFY_SCHEDULE) {
        None => Ok(None),
        Some(schedule) => Ticks::start("VERIFY_SCHEDULE", &schedule).await.map(Some),
    }
}

impl Reads {
    /// Verifies the log from its first entry on whenever it is due, until `stop`.
    pub async fn verify_when_due(
        self,
        ticks: Option<Ticks>,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        if let Some(ticks) = ticks {
            return ticks.run(stop, || self.verify_once()).await;
        }
        stop.cancelled().await;
        Ok(())
    }

    async fn verify_once(&self) {
        if self.snapshot().is_err() {
            tracing::debug!("there is no log to verify yet");
            return;
        }
        match self.verify_log(true).await {
            Ok(report) if report.valid => {
                tracing::info!(tree.size = report.entry_count, "the stored log was verified");
            }
            Ok(report) => tracing::error!(
                tree.size = report.entry_count,
                errors = report.errors.len(),
                first = report.errors.first().map_or(0, |error| error.entry_id),
                help = "look at the disk, and restore the database from a backup or a follower",
                "the stored log is not what was signed"
            ),
            Err(problem) => tracing::error!(
                %problem,
                help = "look at the database; it is tried again when it is due",
                "the stored log could not be verified"
            ),
        }
    }
}
