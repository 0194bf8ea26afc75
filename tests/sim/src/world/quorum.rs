//! Who cosigned a checkpoint, as the production policy counts, and as it really was.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::truth::{Held, broken};
use super::witness::Witness;
use crate::merkle::TreeRoot;
use crate::note::{Note, SignatureLine, Vkey};
use crate::policy::Policy;
use crate::rng::Rng;
use crate::statement::WitnessProof;

/// The checkpoint of one size with the lines that arrived beside it.
pub(crate) struct Tally {
    note: Note,
    tree: TreeRoot,
}

impl Tally {
    /// Begins with the log's own signature.
    pub(crate) fn new(checkpoint: &str, tree: TreeRoot) -> Option<Self> {
        Some(Self { note: Note::parse(checkpoint.as_bytes()).ok()?, tree })
    }

    /// Somebody hands in a line for this tree.
    pub(crate) fn add(&mut self, proof: &WitnessProof) {
        let line = proof.cosignature.as_deref().and_then(|line| line.parse::<SignatureLine>().ok());
        if let Some(note) = line.and_then(|line| self.note.clone().with(line).ok()) {
            self.note = note;
        }
    }

    /// Somebody without the key hands in a line under a witness's name.
    pub(crate) fn forge(&mut self, vkey: &Vkey, rng: &mut Rng) {
        let mut signature = vec![0; 72];
        signature.iter_mut().for_each(|byte| *byte = u8::try_from(rng.below(256)).unwrap_or(0));
        // A time of this century, so that nothing but the signature is wrong.
        signature[..8].copy_from_slice(&1_800_000_000_u64.to_be_bytes());
        let bytes = [&vkey.id().as_bytes()[..], &signature].concat();
        let text = format!("\u{2014} {} {}", vkey.name(), BASE64.encode(bytes));
        let line: SignatureLine = text.parse().expect("a line of the right form");
        if let Ok(note) = self.note.clone().with(line) {
            self.note = note;
        }
    }

    /// The policy counts those who signed, and nobody else.
    pub(crate) fn only_real_signatures_count(&self, witnesses: &[Witness]) -> Held {
        let vkeys: Vec<(&Witness, Vkey)> = witnesses
            .iter()
            .filter_map(|witness| Some((witness, witness.home()?.vkey())))
            .collect();
        let mut text = String::new();
        for (number, (_, vkey)) in vkeys.iter().enumerate() {
            text += &format!("witness w{number} {vkey}\n");
        }
        text += "quorum none\n";
        let policy = Policy::parse(text.as_bytes()).expect("a policy");
        let Ok(counted) = policy.cosigners(&self.note) else { return Ok(()) };
        for one in counted {
            let really = vkeys.iter().any(|(witness, vkey)| {
                vkey == one.vkey() && witness.signed.iter().any(|(tree, _)| *tree == self.tree)
            });
            if !really {
                return broken!("only_real_signatures_count", "{} did not sign", one.vkey().name());
            }
        }
        Ok(())
    }
}
