//! Appending entries whose rules of state need the views and nothing else.

use std::convert::Infallible;

use diogenes_common::event::Event;
use diogenes_common::view::{self, Needs, Overlay};

use super::command::{Command, Context, Decision, NewEntry};
use crate::idempotency::Idempotency;

/// One lifecycle event that was checked by itself: its rule of state is asked when it is applied.
pub(crate) struct Lifecycle {
    entry: Option<NewEntry>,
    needs: Needs,
    bytes: usize,
    idempotency: Option<Idempotency>,
}

impl Lifecycle {
    /// The command that appends this entry, which says what the event says.
    pub(crate) fn new(entry: NewEntry, event: &Event) -> Self {
        let mut needs = Needs::default();
        view::needs(event, &mut needs);
        let bytes = entry.payload().len() + LEAF_AROUND;
        Self { bytes, entry: Some(entry), needs, idempotency: None }
    }

    /// The same, to be found again by repeats of the request.
    pub(crate) fn remembered(self, idempotency: Option<Idempotency>) -> Self {
        Self { idempotency, ..self }
    }
}

/// The five members of a leaf take about 250 bytes around the payload.
pub(crate) const LEAF_AROUND: usize = 320;

impl Command for Lifecycle {
    type Refusal = Infallible;

    fn needs(&self, needs: &mut Needs) {
        needs.extend(&self.needs);
    }

    fn decide(&mut self, context: &Context<'_>, _: &Overlay) -> Result<Decision, Infallible> {
        let note = |of: &Idempotency| of.note(context.size, 1, context.now);
        Ok(Decision::Append {
            entries: self.entry.take().into_iter().collect(),
            local: self.idempotency.iter().map(note).collect(),
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
