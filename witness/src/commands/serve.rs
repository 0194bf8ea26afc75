//! `serve`: cosigns the checkpoints of every log of a list (C2SP tlog-witness).

use diogenes_common::config::{Flags, LISTEN, LOG_LISTS};
use diogenes_common::exit::Failure;
use diogenes_common::shutdown::Tasks;

use super::{Bench, TrustArgs};
use crate::serve::Witness;
use crate::state::LogState;

#[derive(clap::Args)]
pub(super) struct Serve {
    /// Listen here [default: 127.0.0.1:8002].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Follow this list of logs (logs/v0); may be given several times.
    #[arg(long, value_name = "FILE|URL")]
    log_list: Vec<String>,
    /// A server of a log that `run` watches too: asked at the start whether this witness has
    /// forgotten a signature, before that log is cosigned; may be given several times.
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Serve {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        let lists = (!self.log_list.is_empty()).then(|| self.log_list.join(","));
        let flags = self.trust.flags(flags);
        flags.with(&LISTEN, self.listen.as_ref()).with(&LOG_LISTS, lists)
    }

    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        bench.settings.check_role()?;
        let home = bench.home()?;
        let agents = self
            .server
            .iter()
            .map(|server| bench.agent(&home, server, &self.trust.vantage))
            .collect::<Result<Vec<_>, Failure>>()?;
        let (settings, clock) = (&bench.settings, bench.clock.clone());
        let (loader, logging) = (bench.loader.clone(), bench.logging.clone());
        bench.block_on(async move {
            let tasks = Tasks::new();
            tasks.stop_on_signals()?;
            let witness = Witness::start(settings, home.clone(), clock, tasks).await?;
            tracing::info!(
                witness.fingerprint = %home.key().fingerprint(),
                witness.vkey = %home.vkey(),
                "the witness serves at {}",
                witness.url()
            );
            witness.attend(loader, logging)?;
            let is_both = |state: &LogState| state.genesis().is_some() && state.trusted().is_some();
            if agents.is_empty() && home.logs()?.values().any(is_both) {
                tracing::warn!(
                    reason = "amnesia_check_incomplete",
                    help = "name their servers with --server URL",
                    "logs that `run` watches are not cosigned"
                );
            }
            for agent in agents {
                witness.confirm(agent);
            }
            witness.run().await
        })
    }
}
