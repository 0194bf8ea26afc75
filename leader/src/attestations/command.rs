//! The command that appends an attestation, after the registration of its key where that is new.

use std::convert::Infallible;

use diogenes_common::event::{Attestation, Event, KeyRegistration};
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::manifest::ShortId;
use diogenes_common::view::{self, Needs, Overlay};

use crate::idempotency::Idempotency;
use crate::sequencer::{Command, Context, Decision, LEAF_AROUND, NewEntry};

/// Appends an attestation.
pub(crate) struct Attest {
    id: ShortId,
    signer: Fingerprint,
    entry: NewEntry,
    registration: Option<NewEntry>,
    needs: Needs,
    bytes: usize,
    idempotency: Option<Idempotency>,
}

impl Attest {
    pub(super) fn new(
        event: Attestation,
        registration: Option<&KeyRegistration>,
        origin: &Origin,
    ) -> Self {
        let entry = NewEntry::checked(&event, origin);
        let registration = registration.map(|of| NewEntry::checked(of, origin));
        let entries = registration.iter().chain([&entry]);
        let bytes = entries.map(|entry| entry.payload().len() + LEAF_AROUND).sum();
        let (id, signer) = (event.attestation_id.short(), event.signer);
        let mut needs = Needs::default();
        view::needs(&Event::from(event), &mut needs);
        Self { id, signer, entry, registration, needs, bytes, idempotency: None }
    }

    /// The same, to be found again by repeats of the request.
    pub(super) fn remembered(self, idempotency: Option<Idempotency>) -> Self {
        Self { idempotency, ..self }
    }

    /// The entry that says the same already.
    pub(crate) fn known(&self, overlay: &Overlay) -> Option<u64> {
        overlay.attestations.find(&self.id).map(|row| row.entry_id)
    }

    /// Whose attestation it is.
    pub(crate) fn signer(&self) -> Fingerprint {
        self.signer
    }

    /// The entries to append; `is_new` is false if the same request registers the key before.
    pub(crate) fn entries(&self, overlay: &Overlay, is_new: bool) -> Vec<NewEntry> {
        let is_new = is_new && overlay.keys.find(&self.signer).is_none();
        let registration = self.registration.as_ref().filter(|_| is_new);
        registration.into_iter().chain([&self.entry]).cloned().collect()
    }
}

impl Command for Attest {
    type Refusal = Infallible;

    fn needs(&self, needs: &mut Needs) {
        needs.extend(&self.needs);
    }

    fn decide(&mut self, context: &Context<'_>, overlay: &Overlay) -> Result<Decision, Infallible> {
        if let Some(id) = self.known(overlay) {
            return Ok(Decision::Found { id });
        }
        let entries = self.entries(overlay, true);
        let note = |of: &Idempotency| of.note(context.size, entries.len(), context.now);
        let local = self.idempotency.iter().map(note).collect();
        Ok(Decision::Append { entries, local })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> usize {
        2
    }
}
