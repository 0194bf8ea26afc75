//! `serve`: cosigns the checkpoints of every log of a list (C2SP tlog-witness).

use diogenes_common::config::{Flags, LISTEN, LOG_LISTS};
use diogenes_common::exit::Failure;
use diogenes_common::shutdown::Tasks;

use super::Bench;
use crate::serve::Witness;

#[derive(clap::Args)]
pub(super) struct Serve {
    /// Listen here [default: 127.0.0.1:8002].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Follow this list of logs (logs/v0); may be given several times.
    #[arg(long, value_name = "FILE|URL")]
    log_list: Vec<String>,
}

impl Serve {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        let lists = (!self.log_list.is_empty()).then(|| self.log_list.join(","));
        flags.with(&LISTEN, self.listen.as_ref()).with(&LOG_LISTS, lists)
    }

    #[expect(clippy::unused_self, reason = "every command has this shape")]
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        bench.settings.check_role()?;
        let home = bench.home()?;
        let (settings, clock) = (&bench.settings, bench.clock.clone());
        bench.block_on(async move {
            let tasks = Tasks::new();
            tasks.stop_on_signals()?;
            let witness = Witness::start(settings, home.clone(), clock, tasks).await?;
            tracing::info!(
                witness.fingerprint = %home.key().fingerprint(),
                witness.vkey = %home.vkey(),
                "the witness serves at http://{}/",
                witness.address()
            );
            witness.run().await
        })
    }
}
