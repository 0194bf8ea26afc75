//! The tasks of a node and how they end: together, on a signal, or because one of them failed.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::exit::Failure;

/// Everything that a node runs at once. Clones share one state.
///
/// A task that is spawned here is waited for when the node ends; it should end by itself soon
/// after [`stopping`](Self::stopping) resolves.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failure: Arc<OnceLock<Failure>>,
}

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task whose end does not end the node.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Starts a task without which the node is of no use: its failure, panic or early end stops
    /// the node, and the first failure is what [`finish`](Self::finish) answers.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let tasks = self.clone();
        // The inner task turns a panic into an answer instead of a silent end.
        let inner = self.tracker.spawn(task);
        self.tracker.spawn(async move {
            match inner.await {
                Ok(Ok(())) if tasks.is_stopping() => {}
                Ok(Ok(())) => tasks.fail(died(name, "ended")),
                Ok(Err(failure)) => tasks.fail(failure),
                Err(_panicked) => tasks.fail(died(name, "panicked")),
            }
        });
    }

    /// Runs blocking work on a thread of its own kind; it is waited for like a task.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tracker.spawn_blocking(work)
    }

    /// Asks every task to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks every task to end because of `failure`; the first one is kept.
    pub fn fail(&self, failure: Failure) {
        tracing::error!(reason = failure.reason(), "{}", failure.what());
        // A later failure is most often a consequence of the first.
        let _later = self.failure.set(failure);
        self.stop();
    }

    /// Says whether the node is ending.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the node begins to end.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }

    /// The token behind [`stopping`](Self::stopping), for what wants to own it.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops the node on SIGTERM or SIGINT; a second signal ends the process at once.
    pub fn stop_on_signals(&self) -> Result<(), Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::refused("signals", error, "run it where signals can be handled")
            })
        };
        let (mut term, mut int) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let stop = self.stop.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it outlives the tracked tasks, to hear the second signal"
        )]
        let _detached = tokio::task::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = term.recv() => 143, _ = int.recv() => 130 }
            };
            next().await;
            tracing::info!("stopping; a second signal ends the process at once");
            stop.cancel();
            std::process::exit(next().await);
        });
        Ok(())
    }

    /// Waits until the node is asked to stop, then up to `grace` for its tasks, and answers the
    /// failure that stopped it, if one did.
    pub async fn finish(self, grace: Duration) -> Result<(), Failure> {
        self.stopping().await;
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks did not end in time");
        }
        self.failure.get().cloned().map_or(Ok(()), Err)
    }
}

/// Runs `main` on a runtime with `workers` threads (by default one for each core).
///
/// What still blocks a thread five seconds after `main` returned is left behind.
pub fn block_on<T>(
    workers: Option<usize>,
    main: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers.max(1));
    }
    let runtime = builder.enable_all().thread_name("diogenes").build().map_err(|error| {
        Failure::refused("runtime", error, "raise the limit of threads and open files")
    })?;
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

fn died(name: &str, how: &str) -> Failure {
    Failure::refused(
        "task_ended",
        format!("the task `{name}` {how}, so the node stops"),
        "start it again, and report what the log says before this line",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &'static str) -> Failure {
        Failure::unsafe_state(reason, "a", "b")
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_node_and_is_its_answer() {
        let tasks = Tasks::new();
        let token = tasks.token();
        tasks.spawn_essential("writer", async { Err(failure("not_leader")) });
        let late = tasks.clone();
        tasks.spawn(async move {
            token.cancelled().await;
            late.fail(failure("late"));
        });

        let end = tasks.finish(Duration::from_secs(5)).await;

        assert_eq!(end, Err(failure("not_leader")));
    }

    #[tokio::test]
    async fn an_essential_task_may_neither_panic_nor_end_early() {
        for early in [false, true] {
            let tasks = Tasks::new();
            tasks.spawn_essential("poller", async move {
                assert!(early, "on purpose");
                Ok(())
            });

            let end = tasks.finish(Duration::from_secs(5)).await.map_err(|f| f.reason());

            assert_eq!(end, Err("task_ended"));
        }
    }

    #[tokio::test]
    async fn a_stop_waits_for_tasks_but_not_for_ever() {
        let tasks = Tasks::new();
        let token = tasks.token();
        tasks.spawn_essential("polite", async move {
            token.cancelled().await;
            Ok(())
        });
        tasks.spawn(std::future::pending::<()>());
        tasks.stop();

        let end = tasks.finish(Duration::from_millis(20)).await;

        assert_eq!(end, Ok(()));
    }
}
