//! Tasks: polled in the order in which they were woken, until none can go on. Under the name that
//! production imports from `tokio::task`, blocking work is done at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of one process: dropped together when it dies.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Rc<RefCell<Vec<Option<Work>>>>, Arc<Ready>);

#[derive(Default)]
struct Ready(Mutex<VecDeque<usize>>);

struct Waking {
    task: usize,
    ready: Arc<Ready>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl Tasks {
    /// Adds a task, to be polled when the others wait.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.borrow_mut();
        tasks.push(Some(Box::pin(work)));
        Arc::new(Waking { task: tasks.len() - 1, ready: self.1.clone() }).wake();
    }

    /// Polls one task that was woken; false if all wait.
    pub(crate) fn step(&self) -> bool {
        let next = self.1.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(task) = next else { return false };
        let Some(mut work) = self.0.borrow_mut().get_mut(task).and_then(Option::take) else {
            return true;
        };
        let waker = Waker::from(Arc::new(Waking { task, ready: self.1.clone() }));
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            && let Some(place) = self.0.borrow_mut().get_mut(task)
        {
            *place = Some(work);
        }
        true
    }

    /// Ends all of them where they are.
    pub(crate) fn kill(&self) {
        self.0.borrow_mut().iter_mut().for_each(|task| drop(task.take()));
        self.0.borrow_mut().clear();
        self.1.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Runs work that never waits for time or for other tasks.
pub(crate) fn finish<F: Future>(work: F) -> Option<F::Output> {
    let mut work = std::pin::pin!(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A task that is done, as `tokio::task::JoinHandle` would tell of it.
pub(crate) async fn spawn_blocking<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    Ok(work())
}

/// A task that panicked: a panic ends the run.
#[derive(Debug, thiserror::Error)]
#[error("a task panicked")]
pub(crate) struct Panicked;
