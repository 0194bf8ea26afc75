//! The command behind `POST /log/entries`.

use std::collections::BTreeSet;

use diogenes_common::leaf::MAX_LEAF_BYTES;
use diogenes_common::merkle::Hash;
use diogenes_common::store::{LocalWrite, Remembered};
use diogenes_common::view::{Needs, Overlay};

use super::parse::Submitted;
use crate::app::Claim;
use crate::keys::{CheckedRegistration, KeyAlreadyRegistered};
use crate::sequencer::{Command, Context, Decision, NewEntry};

/// An event that passed every check that needs no view.
pub(super) enum Prepared {
    /// Any JSON under a namespaced type: no rule of state can refuse it.
    Generic(Submitted),
    /// The registration of a key, by the rules of its own endpoint.
    Registration(Box<CheckedRegistration>),
}

/// Appends one event, or several, all or none.
pub(super) struct Append {
    events: Vec<Prepared>,
    idempotency: Option<Idempotency>,
    bytes: usize,
}

/// What repeats of this request are recognised by.
pub(super) struct Idempotency {
    pub(super) principal: String,
    pub(super) key: String,
    pub(super) body_hash: Hash,
    /// Held until the command is done, also when its caller has hung up.
    #[expect(dead_code, reason = "its drop gives the key free")]
    pub(super) claim: Claim,
}

/// One of several events is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: {reason}")]
pub(super) struct Refused {
    pub(super) index: usize,
    #[source]
    pub(super) reason: KeyAlreadyRegistered,
}

impl Append {
    pub(super) fn new(events: Vec<Prepared>, idempotency: Option<Idempotency>) -> Self {
        let bytes = events
            .iter()
            .map(|event| match event {
                // The five members of a leaf around the payload take about 250 bytes.
                Prepared::Generic(event) => event.payload.len() + 320,
                Prepared::Registration(_) => 4_096,
            })
            .map(|bytes| bytes.min(MAX_LEAF_BYTES))
            .sum();
        Self { events, idempotency, bytes }
    }
}

impl Command for Append {
    type Refusal = Refused;

    fn needs(&self, needs: &mut Needs) {
        for event in &self.events {
            if let Prepared::Registration(registration) = event {
                needs.key(registration.event().fingerprint);
            }
        }
    }

    fn decide(&mut self, context: &Context<'_>, overlay: &Overlay) -> Result<Decision, Refused> {
        let mut registered = BTreeSet::new();
        let events = std::mem::take(&mut self.events);
        let count = events.len() as u64;
        let mut entries = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            entries.push(match event {
                Prepared::Generic(event) => {
                    NewEntry { event_type: event.event_type, payload: event.payload }
                }
                Prepared::Registration(registration) => {
                    let refused = |reason| Refused { index, reason };
                    if !registered.insert(registration.event().fingerprint) {
                        return Err(refused(KeyAlreadyRegistered));
                    }
                    registration.decide(overlay).map_err(refused)?
                }
            });
        }
        let local = self.idempotency.as_ref().map(|request| {
            LocalWrite::Remember(Remembered {
                principal: request.principal.clone(),
                key: request.key.clone(),
                body_hash: request.body_hash,
                first_id: context.size.get() + 1,
                count,
                created_at: context.now,
            })
        });
        Ok(Decision::Append { entries, local: local.into_iter().collect() })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> usize {
        self.events.len()
    }

    fn is_generic(&self) -> bool {
        self.events.iter().all(|event| matches!(event, Prepared::Generic(_)))
    }
}
