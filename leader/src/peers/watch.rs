//! Asking the peers at start, and those that did not answer again for as long as it takes.

use std::time::Duration;

use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::{Edge, TreeSize};
use diogenes_common::retry::Retry;
use diogenes_common::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::ask::{Answer, Peers};
use super::own_signed::Identity;
use super::verdict::{Standing, decide};
use crate::app::App;
use crate::boot::store_failure;
use crate::federation::{self, Notes};
use crate::sequencer::NotSigning;

/// How long after the start those who were silent are asked again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What a start has learnt from its peers, and goes on to learn.
#[derive(Debug)]
pub(crate) struct Confirmation {
    peers: Peers,
    standings: Vec<Standing>,
    /// Why nothing is signed, if so.
    pub(crate) not_signing: Option<NotSigning>,
    /// The time of the newest own head that a peer showed: no head is ever signed below it.
    pub(crate) floor: Option<Timestamp>,
}

/// Asks every peer once, before anything is signed, and notes what has to be noted.
///
/// `before` is what key, guard and database alone allow.
pub(crate) async fn confirm(
    peers: Peers,
    before: Option<NotSigning>,
    identity: &Identity,
    (store, edge): (&Store, &Edge),
    clock: &dyn Clock,
) -> Result<Confirmation, Failure> {
    let standings = vec![Standing::Silent; peers.urls().len()];
    let mut confirmation = Confirmation { peers, standings, not_signing: before, floor: None };
    let everybody: Vec<usize> = (0..confirmation.standings.len()).collect();
    let answers = confirmation.peers.ask(&everybody, identity).await;
    let notes = Notes { store, now: clock.now(), operator: identity.key.fingerprint() };
    confirmation.learn(&answers, store, edge).await.map_err(store_failure)?;
    confirmation.note(&answers, &notes, edge.size()).await.map_err(store_failure)?;
    let verdict = decide(before, &confirmation.standings);
    confirmation.not_signing = verdict.not_signing;
    if verdict.is_unconfirmed {
        tracing::warn!(
            reason = federation::START_UNCONFIRMED,
            "no peer answered: this start signs on the word of its own signed-guard"
        );
        notes.start_unconfirmed().await.map_err(store_failure)?;
    } else {
        notes.start_confirmed().await.map_err(store_failure)?;
    }
    Ok(confirmation)
}

impl Confirmation {
    /// A start that has nobody to ask.
    pub(crate) fn alone(peers: Peers, not_signing: Option<NotSigning>) -> Self {
        Self { peers, standings: Vec::new(), not_signing, floor: None }
    }

    /// Takes up answers: what our own key signed is compared with what is held.
    async fn learn(
        &mut self,
        answers: &[(usize, Answer)],
        store: &Store,
        edge: &Edge,
    ) -> Result<(), StoreError> {
        for (index, answer) in answers {
            self.standings[*index] = match answer {
                Answer::Own(own) => {
                    self.floor = self.floor.max(own.timestamp());
                    if own.is_held(store, edge).await? { Standing::Held } else { Standing::NotHeld }
                }
                Answer::NoneYet => Standing::NoneYet,
                Answer::Unusable { .. } => Standing::Unusable,
                Answer::Silent(_) => Standing::Silent,
            };
        }
        Ok(())
    }

    /// Tells the operator of what these answers mean.
    async fn note(
        &self,
        answers: &[(usize, Answer)],
        notes: &Notes<'_>,
        held: TreeSize,
    ) -> Result<(), StoreError> {
        for (index, answer) in answers {
            let url = self.peers.urls()[*index].as_str();
            match answer {
                Answer::Own(own) => {
                    notes.peer_agrees(url).await?;
                    if self.standings[*index] == Standing::NotHeld {
                        notes.self_rolled_back(own, held).await?;
                    }
                }
                Answer::NoneYet => notes.peer_agrees(url).await?,
                Answer::Unusable { what, body } => {
                    tracing::warn!(peer.url = url, "a peer shows no head of this log: {what}");
                    notes.peer_shows_something_else(url, what, body).await?;
                }
                Answer::Silent(why) => {
                    tracing::debug!(peer.url = url, "a peer does not answer: {why}");
                }
            }
        }
        Ok(())
    }

    /// Those who have not answered yet.
    fn pending(&self) -> Vec<usize> {
        let standings = self.standings.iter().enumerate();
        standings.filter(|(_, standing)| !standing.is_answer()).map(|(index, _)| index).collect()
    }
}

/// Asks again those who did not answer, until everybody has.
pub(crate) async fn watch(
    app: App,
    mut confirmation: Confirmation,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut retry = Retry::new(FIRST_RETRY);
    while !confirmation.pending().is_empty() {
        tokio::select! {
            () = tokio::time::sleep(retry.next_delay()) => {}
            () = stop.cancelled() => return Ok(()),
        }
        tokio::select! {
            asked = ask_again(&app, &mut confirmation) => {
                if let Err(error) = asked {
                    tracing::warn!(%error, "what peers show can't be compared with the log");
                }
            }
            () = stop.cancelled() => return Ok(()),
        }
    }
    stop.cancelled().await;
    Ok(())
}

async fn ask_again(app: &App, confirmation: &mut Confirmation) -> Result<(), StoreError> {
    let identity = Identity { key: app.operator.clone(), origin: app.origin.clone() };
    let answers = confirmation.peers.ask(&confirmation.pending(), &identity).await;
    // Read after the answers came: by then all that was ever shown is stored.
    let Some(state) = app.store.state().await? else { return Ok(()) };
    let edge = app.store.load_edge(state.tree.size).await?;
    confirmation.learn(&answers, &app.store, &edge).await?;
    if let Some(floor) = confirmation.floor {
        app.sequencer.raise_floor(floor);
    }
    let verdict = decide(app.sequencer.not_signing(), &confirmation.standings);
    match verdict.not_signing {
        Some(reason) => app.sequencer.stop_signing(reason),
        None => app.sequencer.start_signing(),
    }
    let notes = Notes::of(app);
    confirmation.note(&answers, &notes, edge.size()).await?;
    if !verdict.is_unconfirmed {
        notes.start_confirmed().await?;
    }
    Ok(())
}
