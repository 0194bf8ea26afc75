//! `run`: rounds on a schedule, for as long as it is left to run.

use std::time::Duration;

use diogenes_common::config::{Schedule, Value};
use diogenes_common::exit::Failure;
use diogenes_common::reload::Reloader;
use diogenes_common::retry::Retry;
use diogenes_common::schedule::scheduled;
use diogenes_common::shutdown::Tasks;
use diogenes_common::supervisor::{Pulse, Supervisor};
use diogenes_common::trace::{Trace, Tracer};
use tokio::sync::watch;
use tokio_cron_scheduler::JobSchedulerError;

use super::{Bench, TrustArgs};
use crate::agent::{Agent, Occasion, Round, RoundError};
use crate::source::Transport;

/// The wait after the first of several failures of a server.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long a stop waits for rounds; what they leave is finished by the next start.
const GRACE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Run {
    /// A server to watch; may be given several times.
    #[arg(long, value_name = "URL", required = true)]
    server: Vec<String>,
    /// Make a round at these times: a cron expression with seconds, in UTC.
    #[arg(long, value_name = "CRON", conflicts_with = "interval")]
    schedule: Option<String>,
    /// Make a round this often [default: 60s].
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

impl Run {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        bench.settings.check_role()?;
        let interval = self.interval()?;
        let schedule = self.schedule()?;
        let home = bench.home()?;
        let agents = self
            .server
            .iter()
            .map(|server| bench.agent(&home, server, &self.trust.vantage))
            .collect::<Result<Vec<_>, Failure>>()?;
        tracing::info!(
            witness.fingerprint = %home.key().fingerprint(),
            "watching; the operator authorizes this witness with: diogenes operator \
             authorize-witness {}",
            home.key().fingerprint().short()
        );
        let tracer = Tracer::new()?;
        bench.block_on(async {
            let tasks = Tasks::new();
            tasks.stop_on_signals()?;
            let mut ticks = None;
            let mut scheduler = None;
            if let Some(schedule) = &schedule {
                let (sender, receiver) = watch::channel(0);
                scheduler =
                    Some(scheduled(schedule, sender).await.map_err(|e| not_a_schedule(&e))?);
                ticks = Some(receiver);
            }
            let pulses: Vec<_> = agents.iter().map(|_| Pulse::default()).collect();
            for (agent, pulse) in agents.into_iter().zip(&pulses) {
                let pace = ticks.clone().map_or(Pace::Every(interval), Pace::At);
                let watch = Watch { agent, pace, pulse: pulse.clone(), tracer: tracer.clone() };
                tasks.spawn_essential("witness", watch.run(tasks.clone()));
            }
            self.attend(bench, &tasks, pulses)?;
            let end = tasks.finish(GRACE).await;
            if let Some(mut scheduler) = scheduler {
                // The process ends in any case.
                let _stopped = scheduler.shutdown().await;
            }
            end
        })
    }

    fn attend(&self, bench: &Bench, tasks: &Tasks, pulses: Vec<Pulse>) -> Result<(), Failure> {
        let supervisor = Supervisor::from_environment(bench.loader.environment());
        let reloader =
            Reloader::new(bench.loader.clone(), &bench.settings).with(bench.logging.clone());
        let status = format!("watches {}", self.server.join(", "));
        supervisor.attend(tasks, reloader, status, move || {
            let felt = pulses.iter().map(|pulse| pulse.felt("the watching of a log"));
            std::future::ready(felt.collect::<Vec<_>>().into_iter().collect())
        })
    }

    fn interval(&self) -> Result<Duration, Failure> {
        let text = self.interval.as_deref().unwrap_or("60s");
        match Duration::parse(text) {
            Ok(interval) if !interval.is_zero() => Ok(interval),
            Ok(_) => Err(Failure::usage("--interval 0 never waits", "give a longer --interval")),
            Err(problem) => Err(Failure::usage(format!("--interval {problem}"), "like 60s or 5m")),
        }
    }

    fn schedule(&self) -> Result<Option<Schedule>, Failure> {
        let parse = |text: &String| {
            Schedule::parse(text).map_err(|problem| {
                Failure::usage(format!("--schedule {problem}"), "like \"0 */5 * * * *\"")
            })
        };
        self.schedule.as_ref().map(parse).transpose()
    }
}

/// When the next round is due.
enum Pace {
    Every(Duration),
    At(watch::Receiver<u64>),
}

impl Pace {
    async fn wait(&mut self) {
        match self {
            Self::Every(interval) => tokio::time::sleep(*interval).await,
            // The sender lives as long as the scheduler, which ends after this task.
            Self::At(ticks) => drop(ticks.changed().await),
        }
    }
}

fn not_a_schedule(error: &JobSchedulerError) -> Failure {
    Failure::usage(format!("--schedule: {error}"), "like \"0 */5 * * * *\"")
}

/// The watching of one log.
struct Watch<T> {
    agent: Agent<T>,
    pace: Pace,
    /// Shows that it goes on.
    pulse: Pulse,
    /// Begins a trace for each round.
    tracer: Tracer,
}

impl<T: Transport> Watch<T> {
    /// Makes rounds until the node stops or going on would be unsafe.
    async fn run(mut self, tasks: Tasks) -> Result<(), Failure> {
        let mut retry = Retry::new(FIRST_RETRY);
        let mut last_reason = None;
        let pulse = self.pulse.clone();
        loop {
            let trace = self.tracer.root();
            let round = trace.clone().scope(self.agent.round(Occasion::Scheduled));
            let outcome = tokio::select! {
                outcome = pulse.while_waiting(round) => outcome,
                () = tasks.stopping() => return Ok(()),
            };
            let mut pause = None;
            match outcome {
                Ok(round) => {
                    retry.reset();
                    last_reason = None;
                    Trace::carry(Some(trace), || report(&self.agent, &round));
                }
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => {
                    let reason = error.reason();
                    let is_news = last_reason.replace(reason) != Some(reason);
                    if matches!(error, RoundError::Source(_)) {
                        pause = Some(retry.next_delay());
                    }
                    Trace::carry(Some(trace), || complain(&self.agent, error, is_news));
                }
            }
            let wait = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.pace.wait().await,
                }
            };
            tokio::select! {
                () = pulse.while_waiting(wait) => {}
                () = tasks.stopping() => return Ok(()),
            }
        }
    }
}

/// Says what went wrong; the same trouble again is no news.
fn complain<T: Transport>(agent: &Agent<T>, error: RoundError, is_news: bool) {
    let (server, reason) = (agent.server().name(), error.reason());
    let failure = Failure::from(error);
    if is_news {
        tracing::warn!(server, reason, help = failure.what_to_do(), "{}", failure.what());
    } else {
        tracing::debug!(server, reason, "{}", failure.what());
    }
}

fn report<T: Transport>(agent: &Agent<T>, round: &Round) {
    let server = agent.server().name();
    for delivery in round.resent.iter().chain(&round.signed) {
        let (old, new) = (delivery.old.size, delivery.new.size);
        tracing::info!(server, "{old} -> {new}: {}", delivery.answer);
    }
    if round.signed.is_none() {
        tracing::debug!(server, size = round.tree.size.get(), "the log has not grown");
    }
    if round.single_vantage {
        let reason = "single_vantage";
        tracing::warn!(server, reason, "no vantage point could be compared with");
    }
}
