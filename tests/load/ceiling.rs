//! `load ceiling`: the leader's own router before a sequencer that stores nothing.

use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context as _, anyhow};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Environment, Flags, LISTEN, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::Role;
use diogenes_common::shutdown::{self, Tasks};
use diogenes_leader::{Leader, Options as LeaderOptions};
use diogenes_tests::http::Node;

use crate::Options;
use crate::work::Mode;

/// Measures appends to such a leader in this process, whose threads are its own.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("leader");
    let flags =
        Flags::new().with(&DATA_DIR, Some(data.display())).with(&LISTEN, Some("127.0.0.1:0"));
    let settings = Settings::load(Role::Leader, flags, &Environment::default())?;
    let tasks = Tasks::new();
    let (up, listens) = mpsc::channel();
    let leader = thread::spawn({
        let tasks = tasks.clone();
        move || {
            shutdown::block_on(None, async move {
                let options = LeaderOptions::default();
                let clock = Arc::new(SystemClock);
                let leader = Leader::start(&settings, options, clock, tasks).await?;
                // Nobody listens any more when the measurement failed early.
                let _ = up.send(leader.address());
                leader.run_storing_nothing().await
            })
        }
    });
    let result = listens.recv().context("the leader does not start").and_then(|address| {
        let options = Options {
            server: Node::local(address),
            token_file: Some(data.join("operator-token")),
            verify: false,
            follower: None,
            ..options.clone()
        };
        crate::measure(&options, Mode::Append, 256)
    });
    tasks.stop();
    let ended: Result<(), Failure> = leader.join().map_err(|_| anyhow!("the leader panicked"))?;
    ended.map_err(|failure| anyhow!("{}", failure.what()))?;
    result
}
