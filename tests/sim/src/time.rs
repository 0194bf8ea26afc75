//! Virtual time, under the names that production imports from `tokio::time`.
//!
//! Nothing passes while something can run; then the clock jumps to whatever is due next.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
}

#[derive(Default)]
struct Timers {
    now: u64,
    made: u64,
    waiting: BTreeMap<(u64, u64), Waker>,
}

/// Milliseconds since the run began.
pub(crate) fn elapsed() -> u64 {
    TIMERS.with_borrow(|timers| timers.now)
}

/// Begins a run.
pub(crate) fn reset() {
    TIMERS.with_borrow_mut(|timers| *timers = Timers::default());
}

/// When the next timer is due.
pub(crate) fn next_due() -> Option<u64> {
    TIMERS.with_borrow(|timers| timers.waiting.keys().next().map(|(due, _)| *due))
}

/// Moves the clock on and wakes who waited for that.
pub(crate) fn advance_to(now: u64) {
    let woken = TIMERS.with_borrow_mut(|timers| {
        timers.now = timers.now.max(now);
        let later = timers.waiting.split_off(&(timers.now + 1, 0));
        std::mem::replace(&mut timers.waiting, later)
    });
    woken.into_values().for_each(Waker::wake);
}

/// A moment of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(elapsed())
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self(self.0 + millis(delay))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

/// Waits until a moment.
pub(crate) struct Sleep {
    until: u64,
    place: Option<(u64, u64)>,
}

/// Waits for a while.
pub(crate) fn sleep(delay: Duration) -> Sleep {
    Sleep { until: elapsed() + millis(delay), place: None }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        TIMERS.with_borrow_mut(|timers| {
            if let Some(place) = self.place.take() {
                timers.waiting.remove(&place);
            }
            if timers.now >= self.until {
                return Poll::Ready(());
            }
            timers.made += 1;
            let place = (self.until, timers.made);
            timers.waiting.insert(place, context.waker().clone());
            self.place = Some(place);
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            TIMERS.with_borrow_mut(|timers| timers.waiting.remove(&place));
        }
    }
}

/// The time ran out.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Runs a future for at most so long.
pub(crate) async fn timeout<F: Future>(limit: Duration, work: F) -> Result<F::Output, Elapsed> {
    let mut work = std::pin::pin!(work);
    let mut end = sleep(limit);
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        Pin::new(&mut end).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// What an interval does about ticks that it missed; here always the same.
pub(crate) enum MissedTickBehavior {
    /// The next one comes a whole period after the late one.
    Delay,
}

/// Ticks.
pub(crate) struct Interval {
    period: Duration,
    next: Sleep,
}

pub(crate) fn interval(period: Duration) -> Interval {
    Interval { period, next: sleep(Duration::ZERO) }
}

pub(crate) fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval { period, next: Sleep { until: start.0, place: None } }
}

impl Interval {
    pub(crate) fn set_missed_tick_behavior(&mut self, _: MissedTickBehavior) {}

    pub(crate) fn reset(&mut self) {
        self.next = sleep(self.period);
    }

    pub(crate) async fn tick(&mut self) {
        let next = &mut self.next;
        Pin::new(next).await;
        self.next = sleep(self.period);
    }
}
