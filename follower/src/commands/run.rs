//! `serve`.

use std::sync::Arc;

use clap::Args;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{
    ALLOW_HTTP, DATABASE_URL, FEDERATION_OPERATORS, Flags, LISTEN, Loader, POLL, WORKERS,
};
use diogenes_common::exit::Failure;
use diogenes_common::shutdown::{self, Tasks};
use diogenes_common::telemetry::{self, LogTo};

use crate::serve::Follower;

/// `serve`.
#[derive(Args)]
pub(super) struct Serve {
    /// Listen here [default: 127.0.0.1:8001].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The sources of the log: [{"url":"https://...","fingerprint":"sha256:..."}].
    #[arg(long, value_name = "JSON")]
    federation_operators: Option<String>,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Ask the sources this often [default: 1s].
    #[arg(long, value_name = "DURATION")]
    poll: Option<String>,
    /// Dial other machines over plain http too.
    #[arg(long)]
    allow_http: bool,
}

impl Serve {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags
            .with(&LISTEN, self.listen.as_ref())
            .with(&FEDERATION_OPERATORS, self.federation_operators.as_ref())
            .with(&DATABASE_URL, self.database_url.as_ref())
            .with(&POLL, self.poll.as_ref())
            .with(&ALLOW_HTTP, self.allow_http.then_some(true))
    }

    #[expect(clippy::unused_self, reason = "every command has this shape")]
    pub(super) fn run(&self, loader: Loader) -> Result<(), Failure> {
        let settings = loader.load()?;
        let logging = telemetry::init_logging(&settings, LogTo::Stdout);
        settings.check_role()?;
        let workers = settings.value(&WORKERS).map(|workers| workers as usize);
        shutdown::block_on(workers, async move {
            let tasks = Tasks::new();
            tasks.stop_on_signals()?;
            let follower = Follower::start(&settings, Arc::new(SystemClock), tasks.clone()).await?;
            tracing::info!(
                key.fingerprint = %follower.fingerprint(),
                "the follower serves at {}",
                follower.url()
            );
            follower.attend(loader, logging)?;
            follower.run().await
        })
    }
}
