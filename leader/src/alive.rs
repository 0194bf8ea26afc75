//! Whether the leader lives: the sequencer answers, and the database is read.

use std::time::Duration;

use diogenes_common::store::StoreError;
use diogenes_common::view::{Needs, Overlay};

use crate::app::App;
use crate::sequencer::{AppendError, Command, Context, Decision};

/// When a sequencer is asked again whose queue is full.
const AGAIN: Duration = Duration::from_millis(50);

/// A command that appends nothing: its refusal shows that the sequencer came to it.
struct Ping;

/// The sequencer came to it.
struct Pong;

impl Command for Ping {
    type Refusal = Pong;

    fn needs(&self, _: &mut Needs) {}

    fn decide(&mut self, _: &Context<'_>, _: &Overlay) -> Result<Decision, Pong> {
        Err(Pong)
    }

    fn bytes(&self) -> usize {
        0
    }

    fn entries(&self) -> usize {
        0
    }
}

/// Says what is stuck, if something is; who asks sets the time after which silence means so too.
///
/// A leader that refuses to sign, and one that waits for a PostgreSQL that is down, live: neither
/// is helped by another start.
pub(crate) async fn alive(app: App) -> Result<(), String> {
    while let Err(error) = app.sequencer.submit(Ping).await {
        match error {
            AppendError::Closing => return Err("the sequencer has ended".to_owned()),
            AppendError::Overloaded => tokio::time::sleep(AGAIN).await,
            _answered => break,
        }
    }
    match app.store.ping().await {
        Ok(()) | Err(StoreError::Unreachable(_)) => Ok(()),
        Err(error) => Err(format!("the database can't be read: {error}")),
    }
}
