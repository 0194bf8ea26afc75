//! Work at the times that a cron expression names, in UTC.

use std::future::Future;

use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::config::Schedule;
use crate::exit::Failure;

/// A schedule that runs.
pub struct Ticks {
    scheduler: JobScheduler,
    due: watch::Receiver<u64>,
}

impl Ticks {
    /// Starts a schedule; `name` is the setting that it came from.
    pub async fn start(name: &str, schedule: &Schedule) -> Result<Self, Failure> {
        let (sender, due) = watch::channel(0);
        let scheduler = scheduled(schedule, sender).await.map_err(|error| {
            Failure::unsafe_state(
                "config_invalid",
                format!("{name} is no schedule: {error}"),
                "write it as seconds, minutes, hours, days, months and weekdays: 0 17 3 * * *",
            )
        })?;
        Ok(Self { scheduler, due })
    }

    /// Does the work whenever it is due, until `stop`. What becomes due meanwhile is done once,
    /// afterwards.
    pub async fn run<W>(
        mut self,
        stop: CancellationToken,
        mut work: impl FnMut() -> W,
    ) -> Result<(), Failure>
    where
        W: Future<Output = ()>,
    {
        loop {
            tokio::select! {
                due = self.due.changed() => {
                    if due.is_err() {
                        return Err(Failure::refused(
                            "task_ended",
                            "the scheduler ended",
                            "start the node again, and report what the log says before this line",
                        ));
                    }
                }
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = work() => {}
                () = stop.cancelled() => break,
            }
        }
        // The process ends in any case.
        let _stopped = self.scheduler.shutdown().await;
        Ok(())
    }
}

/// Runs a scheduler that counts up each time the schedule is due; it ends with its shutdown.
pub async fn scheduled(
    schedule: &Schedule,
    sender: watch::Sender<u64>,
) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let job = Job::new(schedule.as_str(), move |_, _| sender.send_modify(|tick| *tick += 1))?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::config::Value as _;

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_is_done_when_it_is_due_and_no_more_after_the_stop() {
        let ticks = Ticks::start("TEST", &schedule("* * * * * *")).await.unwrap();
        let (stop, done) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (seen, stopping) = (done.clone(), stop.clone());

        let work = || {
            if seen.fetch_add(1, Ordering::SeqCst) == 1 {
                stopping.cancel();
            }
            std::future::ready(())
        };

        assert_eq!(ticks.run(stop, work).await, Ok(()));
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_is_no_schedule_is_refused_at_the_start() {
        let refused = Ticks::start("BACKUP_SCHEDULE", &schedule("99 99 99 * * *")).await;

        let failure = refused.err().unwrap();
        assert_eq!(failure.reason(), "config_invalid");
        assert!(failure.what().contains("BACKUP_SCHEDULE"), "{failure}");
    }
}
