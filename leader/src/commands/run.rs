//! `serve` and `init`.

use std::sync::Arc;

use clap::Args;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{
    DATA_DIR, DATABASE_URL, Flags, HEARTBEAT, LISTEN, Loader, ORIGIN, Settings, WORKERS,
};
use diogenes_common::exit::Failure;
use diogenes_common::shutdown::{self, Tasks};
use diogenes_common::telemetry::{self, LogTo};

use crate::boot;
use crate::serve::{Leader, Options};

/// `serve`.
#[derive(Args)]
pub(super) struct Serve {
    /// Listen here [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The log's name, fixed when it is made [default: <hostname>/log-<8 hex of the key>].
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Sign a head at least this often [default: 60s].
    #[arg(long, value_name = "DURATION")]
    heartbeat: Option<String>,
    /// Vouch that a database with this many entries is the newest, after a restore.
    #[arg(long, value_name = "ENTRIES")]
    accept_size: Option<u64>,
    /// Vouch for this machine's clock, after it was far off.
    #[arg(long)]
    accept_clock: bool,
}

impl Serve {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags
            .with(&LISTEN, self.listen.as_ref())
            .with(&ORIGIN, self.origin.as_ref())
            .with(&DATABASE_URL, self.database_url.as_ref())
            .with(&HEARTBEAT, self.heartbeat.as_ref())
    }

    pub(super) fn run(&self, loader: Loader) -> Result<(), Failure> {
        let settings = loader.load()?;
        let logging = telemetry::init_logging(&settings, LogTo::Stdout);
        settings.check_role()?;
        let options = Options { accept_size: self.accept_size, accept_clock: self.accept_clock };
        let workers = settings.value(&WORKERS).map(|workers| workers as usize);
        shutdown::block_on(workers, async move {
            let tasks = Tasks::new();
            let leader =
                Leader::start(&settings, options, Arc::new(SystemClock), tasks.clone()).await?;
            let data_dir = settings.value(&DATA_DIR);
            if leader.is_new() {
                tracing::info!(
                    origin = leader.origin(),
                    data_dir = %data_dir.display(),
                    "made a new log; keep a copy of operator.pem: it is the log"
                );
            }
            tracing::info!(origin = leader.origin(), "the leader serves at {}", leader.url());
            tasks.stop_on_signals()?;
            leader.attend(loader, logging)?;
            leader.run().await
        })
    }
}

/// `init`.
#[derive(Args)]
pub(super) struct Init {
    /// The log's name, fixed for ever [default: <hostname>/log-<8 hex of the key>].
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with(&ORIGIN, self.origin.as_ref()).with(&DATABASE_URL, self.database_url.as_ref())
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        shutdown::block_on(Some(1), async {
            let booted = boot::boot(settings, None, &SystemClock).await?;
            booted.data.secret("operator-token")?;
            let origin = booted.opened.head.origin.to_string();
            let log_id = booted.opened.log_id;
            let fingerprint = booted.operator.fingerprint();
            booted.store.close().await;
            if self.json {
                let summary = serde_json::json!({
                    "is_new": booted.is_new, "origin": origin, "log_id": log_id,
                    "operator_fingerprint": fingerprint,
                });
                println!("{summary}");
            } else {
                let what = if booted.is_new { "Made" } else { "There is" };
                println!("{what} the log {origin}");
                println!("Log id:               {log_id}");
                println!("Operator fingerprint: {fingerprint}");
                println!("Data directory:       {}", booted.data.path().display());
            }
            Ok(())
        })
    }
}
