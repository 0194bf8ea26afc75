//! The command behind `POST /log/entries`.

use std::collections::BTreeSet;
use std::convert::Infallible;

use diogenes_common::event::{CheckedPayload, Event, Payload};
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::leaf::MAX_LEAF_BYTES;
use diogenes_common::view::{self, Needs, Overlay};

use super::parse::Submitted;
use crate::attestations::Attest;
use crate::idempotency::Idempotency;
use crate::sequencer::{Command, Context, Decision, LEAF_AROUND, NewEntry};

/// An event that passed every check that needs no view.
pub(super) enum Prepared {
    /// Any JSON under a namespaced type: no rule of state can refuse it.
    Generic(Submitted),
    /// An event about a key, by the rules of its own endpoint.
    Lifecycle { entry: NewEntry, event: Event },
    /// An attestation, by those of its own.
    Attestation(Box<Attest>),
}

/// Appends one event, or several, all or none.
pub(super) struct Append {
    events: Vec<Prepared>,
    needs: Needs,
    idempotency: Option<Idempotency>,
    bytes: usize,
    entries: usize,
}

impl Prepared {
    /// An event about a key.
    pub(super) fn lifecycle<P: Payload + Into<Event>>(payload: P, origin: &Origin) -> Self {
        Self::Lifecycle { entry: NewEntry::checked(&payload, origin), event: payload.into() }
    }

    /// An event about a key that was checked as followers do.
    pub(super) fn checked(checked: CheckedPayload) -> Self {
        let event = checked.event().clone();
        Self::Lifecycle { entry: checked.into(), event }
    }

    /// The key that the event registers, if it does.
    fn registers(&self) -> Option<Fingerprint> {
        match self {
            Self::Lifecycle { event: Event::KeyRegistration(event), .. } => Some(event.fingerprint),
            Self::Lifecycle { event: Event::KeySuccession(event), .. } => {
                Some(event.new_fingerprint)
            }
            Self::Attestation(attest) => Some(attest.signer()),
            Self::Generic(_) | Self::Lifecycle { .. } => None,
        }
    }
}

impl Append {
    pub(super) fn new(events: Vec<Prepared>, idempotency: Option<Idempotency>) -> Self {
        let mut needs = Needs::default();
        let (mut bytes, mut entries) = (0, 0);
        for event in &events {
            let (of, leaves) = match event {
                Prepared::Generic(event) => (event.payload.len() + LEAF_AROUND, 1),
                Prepared::Lifecycle { entry, event } => {
                    view::needs(event, &mut needs);
                    (entry.payload().len() + LEAF_AROUND, 1)
                }
                Prepared::Attestation(attest) => {
                    attest.needs(&mut needs);
                    (attest.bytes(), Command::entries(&**attest))
                }
            };
            bytes += of.min(leaves * MAX_LEAF_BYTES);
            entries += leaves;
        }
        Self { events, needs, idempotency, bytes, entries }
    }
}

impl Command for Append {
    type Refusal = Infallible;

    fn needs(&self, needs: &mut Needs) {
        needs.extend(&self.needs);
    }

    fn decide(&mut self, context: &Context<'_>, overlay: &Overlay) -> Result<Decision, Infallible> {
        let events = std::mem::take(&mut self.events);
        // What one event alone says already is found; of several, none is written twice.
        if let [Prepared::Attestation(attest)] = &events[..]
            && let Some(id) = attest.known(overlay)
        {
            return Ok(Decision::Found { id });
        }
        let mut registered = BTreeSet::new();
        let mut entries = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let registers = event.registers();
            match event {
                Prepared::Generic(Submitted { event_type, payload, .. }) => {
                    entries.push(NewEntry::plain(event_type, payload).at(index));
                }
                Prepared::Lifecycle { entry, .. } => entries.push(entry.at(index)),
                Prepared::Attestation(attest) => {
                    let is_new = !registered.contains(&attest.signer());
                    let of = attest.entries(overlay, is_new);
                    entries.extend(of.into_iter().map(|entry| entry.at(index)));
                }
            }
            registered.extend(registers);
        }
        let note = |of: &Idempotency| of.note(context.size, entries.len(), context.now);
        let local = self.idempotency.as_ref().map(note);
        Ok(Decision::Append { entries, local: local.into_iter().collect() })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> usize {
        self.entries
    }

    fn is_generic(&self) -> bool {
        self.events.iter().all(|event| matches!(event, Prepared::Generic(_)))
    }
}
