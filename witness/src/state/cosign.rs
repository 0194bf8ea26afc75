//! Cosignatures that a log asked for: durable first, signed second, and the same bytes again when
//! they are asked for again.

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::cosign;
use diogenes_common::note::{Note, SignatureLine};

use super::line::Fact;
use super::standing::{Cosigned, LogState};
use super::{Home, Moment, OriginLock, StateError};
use crate::add_checkpoint::Accepted;
use crate::log::LogKey;

impl OriginLock {
    /// Cosigns a checkpoint that extends the tree that the log stands at, or is that tree.
    ///
    /// A larger tree is a step like any other. At the same tree only the time is new, which is made
    /// durable too: a restart must not emit an earlier one.
    pub fn cosign(&self, accepted: &Accepted, now: Timestamp) -> Result<SignatureLine, StateError> {
        let state = self.standing()?;
        let checkpoint = accepted.checkpoint();
        let (old, new) = (accepted.old(), checkpoint.tree());
        if old != state.tree() || checkpoint.origin() != self.origin.as_str() {
            return Err(StateError::Stale { known: state.tree().size });
        }
        let time = if old == new {
            self.refresh(&state, accepted, now)?
        } else {
            let (checkpoint, origin) = (accepted.note().to_string(), self.origin.clone());
            let fact = |step| Fact::Cosign { checkpoint, origin, step };
            self.step(&state, [old, new], now, fact)?.1
        };
        let line = self.home.cosignature(checkpoint, time);
        self.home.interrupt.after(Moment::Cosigned)?;
        Ok(line)
    }

    /// Keeps the time of another cosignature over the same tree.
    ///
    /// A cosignature holds whole seconds: within one, the same note gets the same bytes, and
    /// nothing has to be written.
    fn refresh(
        &self,
        state: &LogState,
        accepted: &Accepted,
        now: Timestamp,
    ) -> Result<Timestamp, StateError> {
        let (checkpoint, time) = (accepted.note().to_string(), self.time(state, now));
        let is_same = |last: &&Cosigned| {
            last.checkpoint == checkpoint && last.time.seconds() == time.seconds()
        };
        if let Some(last) = state.cosigned().filter(is_same) {
            return Ok(last.time);
        }
        let tree_size = state.tree().size;
        let refreshed = Cosigned { checkpoint, time, tree_size };
        self.home.keep_refreshed(&self.origin, &refreshed)?;
        self.home.interrupt.after(Moment::TimeKept)?;
        Ok(time)
    }
}

impl Home {
    /// The newest checkpoint of a log as it was cosigned, if the witness stands at its tree; of a
    /// log of this kind the one that came with the head.
    ///
    /// What is signed here is durable and was signed before, to the same bytes.
    pub fn published(&self, state: &LogState) -> Option<Note> {
        if state.halted().is_some() {
            return None;
        }
        let (note, time) = newest(state)?;
        let checkpoint: Checkpoint = note.text().parse().ok()?;
        note.with(self.cosignature(&checkpoint, time)).ok()
    }

    fn cosignature(&self, checkpoint: &Checkpoint, time: Timestamp) -> SignatureLine {
        cosign(checkpoint, time, &self.cosigner, &self.key)
    }
}

/// The checkpoint of the tree that the log stands at, and the time in its newest signature.
fn newest(state: &LogState) -> Option<(Note, Timestamp)> {
    if let Some(Cosigned { checkpoint, time, .. }) = state.cosigned() {
        return Some((Note::parse(checkpoint.as_bytes()).ok()?, *time));
    }
    let signed = state.last_signed()?;
    let is_of_tree = state.head().is_some() && signed.step.new_tree() == state.tree();
    is_of_tree.then(|| note_of_head(state)).flatten().map(|note| (note, signed.time))
}

/// The checkpoint in a head, with the log's signature alone.
fn note_of_head(state: &LogState) -> Option<Note> {
    let head = state.head()?;
    let note = Note::parse(head.checkpoint.as_bytes()).ok()?;
    let said = Checkpoint::new(head.origin.as_str(), state.tree()).ok()?;
    if note.text() != said.to_string() {
        return None;
    }
    let known = [LogKey::of_operator(&head.origin, state.operator_key()?)?.vkey().clone()];
    let line = note.verify(&known).ok()?.first()?.line.clone();
    Note::new(note.text().to_owned(), line).ok()
}
