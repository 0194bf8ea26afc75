//! The command that appends an attestation, after the registration of its key where that is new.

use std::convert::Infallible;

use diogenes_common::event::{Attestation, Event, KeyRegistration};
use diogenes_common::keys::Fingerprint;
use diogenes_common::view::{self, Needs, Overlay};

use crate::sequencer::{Command, Context, Decision, LEAF_AROUND, NewEntry};

/// Appends an attestation.
pub(crate) struct Attest {
    event: Attestation,
    registration: Option<KeyRegistration>,
    needs: Needs,
    bytes: usize,
}

impl Attest {
    pub(super) fn new(event: Attestation, registration: Option<KeyRegistration>) -> Self {
        let mut needs = Needs::default();
        view::needs(&Event::from(event.clone()), &mut needs);
        let registers = if registration.is_some() { REGISTRATION_BYTES } else { 0 };
        let bytes = NewEntry::of(&event).payload.len() + LEAF_AROUND + registers;
        Self { event, registration, needs, bytes }
    }

    /// The entry that says the same already.
    pub(crate) fn known(&self, overlay: &Overlay) -> Option<u64> {
        overlay.attestations.find(&self.event.attestation_id.short()).map(|row| row.entry_id)
    }

    /// Whose attestation it is.
    pub(crate) fn signer(&self) -> Fingerprint {
        self.event.signer
    }

    /// The entries to append; `is_new` is false if the same request registers the key before.
    pub(crate) fn entries(&self, overlay: &Overlay, is_new: bool) -> Vec<NewEntry> {
        let is_new = is_new && overlay.keys.find(&self.event.signer).is_none();
        let registration = self.registration.as_ref().filter(|_| is_new);
        registration.map(NewEntry::of).into_iter().chain([NewEntry::of(&self.event)]).collect()
    }
}

/// A registration with the largest key, in a leaf.
const REGISTRATION_BYTES: usize = 4_096;

impl Command for Attest {
    type Refusal = Infallible;

    fn needs(&self, needs: &mut Needs) {
        needs.extend(&self.needs);
    }

    fn decide(&mut self, _: &Context<'_>, overlay: &Overlay) -> Result<Decision, Infallible> {
        Ok(match self.known(overlay) {
            Some(id) => Decision::Found { id },
            None => Decision::Append { entries: self.entries(overlay, true), local: Vec::new() },
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> usize {
        2
    }
}
