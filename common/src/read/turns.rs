//! Answers that take much work or memory: few of each kind are made at once, and what they compute
//! is computed beside the tasks that answer others.

use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use tokio::sync::AcquireError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};

use crate::server::problem::Problem;
use crate::shutdown::Tasks;

/// What only a few callers may have made at once, whoever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A replication batch: 8 MiB, as often in memory as it is taken over.
    Batch,
    /// An entry bundle, of up to 16 MiB.
    Bundle,
    /// A page of entries, of up to 13 MiB.
    Page,
    /// An export, of up to 16 MiB beside its proofs.
    Export,
    /// A search, which may look at every name of the log.
    Search,
    /// A question of trust, which may take many looks at the database.
    Walk,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Batch, Self::Bundle, Self::Page, Self::Export, Self::Search, Self::Walk];

    const fn at_once(self) -> usize {
        match self {
            Self::Batch | Self::Page => 4,
            Self::Bundle | Self::Export | Self::Search | Self::Walk => 2,
        }
    }

    const fn busy(self) -> &'static str {
        match self {
            Self::Batch => "too many batches are being read at the moment; try again soon",
            Self::Bundle => "too many bundles are being made at the moment; try again soon",
            Self::Page => "too many pages are being read at the moment; try again soon",
            Self::Export => "too many exports are being made at the moment; try again soon",
            Self::Search => "too many searches are running; try again in a moment",
            Self::Walk => "too many questions of trust are being followed; try again in a moment",
        }
    }
}

/// How long a caller waits for a turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much is computed at once, on threads of its own.
const COMPUTING: usize = 2;

/// How long something waits to be computed.
const COMPUTING_PATIENCE: Duration = Duration::from_secs(5);

/// Up to so many bytes, computing takes less time than handing it over.
const SMALL: usize = 32 * 1024;

/// Whose turn it is.
pub(super) struct Turns {
    kinds: [Semaphore; Kind::ALL.len()],
    computing: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            kinds: Kind::ALL.map(|kind| Semaphore::new(kind.at_once())),
            computing: Arc::new(Semaphore::new(COMPUTING)),
        }
    }
}

impl Turns {
    /// Waits until one more may be made; not for long, while others do.
    pub(super) async fn turn(&self, kind: Kind) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.of(kind).acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Problem::overloaded(kind.busy()))
    }

    /// A turn if there is one at once.
    pub(super) fn turn_now(&self, kind: Kind) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.of(kind).try_acquire()
    }

    /// Every turn of a kind, so that nobody else has one.
    #[cfg(test)]
    pub(super) async fn all(&self, kind: Kind) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.of(kind).acquire_many(u32::try_from(kind.at_once()).unwrap_or(u32::MAX)).await
    }

    fn of(&self, kind: Kind) -> &Semaphore {
        &self.kinds[kind as usize]
    }

    /// Computes what is made of so many bytes: a little of it here, much of it on another thread.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        tasks: &Tasks,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= SMALL {
            return Ok(work());
        }
        let turn = self.computing_turn().await?;
        let computing = tasks.spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        computing.await.map_err(|_| Problem::internal())
    }

    async fn computing_turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = self.computing.clone().acquire_owned();
        let turn = tokio::time::timeout(COMPUTING_PATIENCE, turn).await;
        let busy = "too many large answers are being made at the moment; try again soon";
        turn.ok().and_then(Result::ok).ok_or_else(|| Problem::overloaded(busy))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::future::join_all;

    use super::*;
    use crate::server::problem::Code;

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_back() {
        let turns = Turns::default();
        let all = join_all(Kind::ALL.map(|kind| turns.all(kind))).await;
        for refused in join_all(Kind::ALL.map(|kind| turns.turn(kind))).await {
            assert_eq!(refused.unwrap_err().code(), Code::Overloaded);
        }
        assert!(Kind::ALL.iter().all(|kind| turns.turn_now(*kind).is_err()));

        drop(all);

        assert!(Kind::ALL.iter().all(|kind| turns.turn_now(*kind).is_ok()));
    }

    #[tokio::test]
    async fn a_turn_that_ends_is_given_to_who_waits() {
        let turns = Arc::new(Turns::default());
        let (tasks, all) = (Tasks::new(), turns.all(Kind::Batch).await.unwrap());
        let waiting = tasks.spawn({
            let turns = turns.clone();
            async move { turns.turn(Kind::Batch).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        drop(all);

        assert!(waiting.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_is_large_is_computed_on_another_thread_and_little_at_once() {
        let (turns, tasks) = (Turns::default(), Tasks::new());
        let here = thread::current().id();
        let thread = || thread::current().id();

        assert_eq!(turns.beside(&tasks, SMALL, thread).await.unwrap(), here);
        assert_ne!(turns.beside(&tasks, SMALL + 1, thread).await.unwrap(), here);

        let all = turns.computing.acquire_many(2).await.unwrap();
        assert!(turns.computing.try_acquire().is_err());
        assert!(turns.beside(&tasks, SMALL, thread).await.is_ok(), "little waits for nobody");
        drop(all);
    }
}
