//! A drill: an attack, what must become of it, and how it is played in bounded time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use diogenes_tests::lies::Lie;
use diogenes_tests::process::Programs;

use crate::attacks::lies;
use crate::verdict::{Expected, Observed, Wrong, judge};

/// How long a drill may take: what must be noticed has its own limit, and so has what must heal.
const DEADLINE: Duration = Duration::from_secs(150);
/// How long what a drill started may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What becomes of an attack while it is played.
pub(crate) type Playing<'a> =
    std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Observed>> + 'a>>;

/// How an attack is played.
#[derive(Clone, Copy)]
pub(crate) enum Play {
    /// A leader that has the real key tells a lie.
    Lie(&'static Lie),
    /// A story of its own.
    Story(fn(&Programs) -> Playing<'_>),
}

/// An attack of the table.
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    /// The rule that notices it.
    pub(crate) rule: &'static str,
    pub(crate) expected: Expected,
    pub(crate) play: Play,
}

/// What came of a drill.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) expected: Expected,
    /// What was observed, or why the drill broke off.
    pub(crate) observed: anyhow::Result<Observed>,
}

impl Drill {
    /// The same drill, judged by another reason.
    pub(crate) fn expecting(mut self, reason: Option<&str>) -> Self {
        if let Some(reason) = reason {
            self.expected.state.reason = Cow::Owned(reason.to_owned());
        }
        self
    }

    /// Plays it, on a runtime of its own: a drill that hangs or panics harms no other.
    fn play(self, programs: &Programs) -> Outcome {
        let Self { name, rule, expected, play } = self;
        let played = panic::catch_unwind(AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("no runtime")?;
            let story = async {
                match play {
                    Play::Lie(lie) => lies::play(programs, lie).await,
                    Play::Story(story) => story(programs).await,
                }
            };
            let observed = runtime.block_on(async { tokio::time::timeout(DEADLINE, story).await });
            runtime.shutdown_timeout(FAREWELL);
            observed.map_err(|_| anyhow!("not over after {} s", DEADLINE.as_secs()))?
        }));
        let observed = played.unwrap_or_else(|panic| Err(anyhow!("{}", said(&*panic))));
        Outcome { name, rule, expected, observed }
    }
}

impl Outcome {
    /// In what it is not as expected; `None` if the drill broke off.
    pub(crate) fn wrong(&self) -> Option<Vec<Wrong>> {
        self.observed.as_ref().ok().map(|observed| judge(&self.expected, observed))
    }

    /// Whether everything was as expected.
    pub(crate) fn is_right(&self) -> bool {
        self.wrong().is_some_and(|wrong| wrong.is_empty())
    }
}

/// Plays drills, `jobs` at a time; shows each outcome when it is there, and answers all.
pub(crate) fn play(
    drills: impl IntoIterator<Item = Drill>,
    programs: &Programs,
    jobs: usize,
    show: impl Fn(&Outcome),
) -> Vec<Outcome> {
    let waiting: Mutex<VecDeque<Drill>> = Mutex::new(drills.into_iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (done, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(drill) = next() {
                    // The other end stays until all of these threads have ended.
                    let _ = done.send(drill.play(programs));
                }
            });
        }
        drop(done);
        outcomes.iter().inspect(|outcome| show(outcome)).collect()
    })
}

/// Measures a moment from the start of the attack.
pub(crate) struct Watch(Instant);

impl Watch {
    /// The attack begins.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it broke off")
}
