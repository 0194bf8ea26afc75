//! Backups that a running node makes by itself, and when the last one was made.

use std::path::PathBuf;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::make::{Made, Source, last_success, make};
use crate::config::{BACKUP_DIR, BACKUP_KEEP, BACKUP_SCHEDULE, Settings};
use crate::exit::Failure;
use crate::schedule::Ticks;
use crate::shutdown::Tasks;
use crate::store::Store;
use crate::telemetry::Metrics;

/// How often it is looked up when the last backup was made: another process may have made it.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// When the last backup was made, as a role exports it.
#[derive(Clone, Debug)]
pub struct BackupMetrics(IntGauge);

impl BackupMetrics {
    /// Registers the series.
    pub fn register(node: &Metrics) -> Self {
        Self(node.gauge(
            "diogenes_backup_last_success_timestamp_seconds",
            "When the last backup of this database was made and verified; 0 before the first.",
        ))
    }

    /// Shows what the database says, until `stop`.
    pub async fn keep(self, store: Store, stop: CancellationToken) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            // What was last known stays: a database that is away has lost no backup.
            if let Ok(Some(at)) = last_success(&store).await {
                self.0.set(at.seconds());
            }
        }
    }
}

/// The backups that the settings ask for.
pub struct Scheduled {
    ticks: Ticks,
    place: PathBuf,
    keep: Option<usize>,
}

impl Scheduled {
    /// Reads the settings; `None` if no backups are asked for.
    pub async fn of(settings: &Settings) -> Result<Option<Self>, Failure> {
        let Some(schedule) = settings.value(&BACKUP_SCHEDULE) else { return Ok(None) };
        let Some(place) = settings.value(&BACKUP_DIR) else {
            return Err(Failure::unsafe_state(
                "config_invalid",
                "BACKUP_SCHEDULE is set, but BACKUP_DIR is not",
                "set BACKUP_DIR to a directory on another disk than the data directory's",
            ));
        };
        let keep = settings.value(&BACKUP_KEEP) as usize;
        let ticks = Ticks::start("BACKUP_SCHEDULE", &schedule).await?;
        Ok(Some(Self { ticks, place, keep: (keep > 0).then_some(keep) }))
    }

    /// Makes a backup of what `source` then names whenever it is due.
    pub async fn run(
        self,
        tasks: Tasks,
        source: impl Fn() -> Source + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let Self { ticks, place, keep } = self;
        let work = || backup(tasks.clone(), source(), place.clone(), keep);
        ticks.run(tasks.token(), work).await
    }
}

/// Makes a backup on a thread of its own: it reads and hashes for as long as the log is.
async fn backup(tasks: Tasks, source: Source, place: PathBuf, keep: Option<usize>) {
    let runtime = tokio::runtime::Handle::current();
    let making = tasks.spawn_blocking(move || runtime.block_on(make(&source, &place, keep, &())));
    match making.await {
        Ok(Ok(made)) => tell(&made),
        Ok(Err(error)) => {
            let failure = Failure::from(error);
            tracing::error!(
                reason = failure.reason(),
                help = failure.what_to_do(),
                "no backup was made: {}",
                failure.what()
            );
        }
        Err(error) => tracing::error!(
            %error,
            help = "report this as a bug, and make a backup by hand",
            "no backup was made"
        ),
    }
}

fn tell(made: &Made) {
    let manifest = made.verified.manifest();
    tracing::info!(
        path = %made.verified.path().display(),
        tree.size = manifest.tree_size().get(),
        bytes = manifest.bytes(),
        deleted = made.deleted.len(),
        "a backup was made and verified"
    );
}
