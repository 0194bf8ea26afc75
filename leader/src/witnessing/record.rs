//! Recording a witness proof: the command and its rules (docs/protocol.md, section 9).

use diogenes_common::event::text::Name;
use diogenes_common::keys::HolderKey;
use diogenes_common::merkle::TreeSize;
use diogenes_common::statement::{Category, Verified, WitnessProof};
use diogenes_common::store::LocalWrite;
use diogenes_common::view::{self, Needs, Overlay};

use crate::operator::{Endorsement, STATEMENT_BYTES, endorsement};
use crate::sequencer::{Command, Context, Decision, NewEntry};

/// Records a proof whose signatures, head and roots were checked.
pub(super) struct Record {
    pub(super) proof: Verified<WitnessProof>,
    /// The newest event at or below the proof's size: a fact that never changes.
    pub(super) newest_event: u64,
    /// How long a witness may be silent before a proof is recorded without news.
    pub(super) max_quiet_ms: i64,
    /// The operator reserved a place for this key.
    pub(super) reserved: Option<Reserved>,
    /// What this node keeps beside the log when the proof is recorded: its head, its cosignature.
    pub(super) kept: Vec<LocalWrite>,
}

/// A place that the operator reserved for a key that was only named.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    pub(super) name: Option<Name>,
    /// Deletes the reservation with the entries that use it.
    pub(super) used: Vec<LocalWrite>,
}

/// Why a valid proof is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordRefusal {
    /// The operator did not authorise this witness.
    #[error("this witness is not authorised by the operator")]
    NotAuthorized,
    /// A proof that reaches further is recorded.
    #[error("a proof of this witness up to size {newest} is recorded already")]
    Stale {
        /// The size that it reaches.
        newest: TreeSize,
    },
    /// Nothing happened since the last recorded proof.
    #[error("no event lies between this proof and the last recorded one")]
    Quiet,
    /// The key has another role.
    #[error("this key has another role in this log")]
    KeyHasOtherRole,
}

impl Command for Record {
    type Refusal = RecordRefusal;

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.proof.witness);
        needs.witnesses.insert(self.proof.witness);
    }

    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, RecordRefusal> {
        let mut entries = Vec::with_capacity(2);
        let mut local = Vec::new();
        if !view::is_endorsed(overlay, self.proof.witness, Category::Witness) {
            let reserved = self.reserved.take().ok_or(RecordRefusal::NotAuthorized)?;
            let key = HolderKey::from(&self.proof.public_key);
            let endorsed = endorsement(context, overlay, &key, Category::Witness, reserved.name)
                .map_err(|_| RecordRefusal::KeyHasOtherRole)?;
            if let Endorsement::New(entry) = endorsed {
                entries.push(entry);
            }
            local = reserved.used;
        }
        if let Some(last) = overlay.witnesses.find(&self.proof.witness) {
            if self.proof.new_tree_size == last.tree_size {
                return Ok(Decision::Found { id: last.proof_id });
            }
            if self.proof.new_tree_size < last.tree_size {
                return Err(RecordRefusal::Stale { newest: last.tree_size });
            }
            let quiet = context.now.millis_since(last.recorded_at) < self.max_quiet_ms;
            if self.newest_event <= last.tree_size.get() && quiet {
                return Err(RecordRefusal::Quiet);
            }
        }
        let proof: &WitnessProof = &self.proof;
        entries.push(NewEntry::of(proof));
        local.append(&mut self.kept);
        Ok(Decision::Append { entries, local })
    }

    fn bytes(&self) -> usize {
        3 * STATEMENT_BYTES
    }

    fn entries(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::event::Event;
    use diogenes_common::head::{Origin, TreeHead};
    use diogenes_common::keys::{AnyFingerprint, SigningKey};
    use diogenes_common::merkle::Hash;
    use diogenes_common::statement::WitnessClaim;
    use diogenes_common::view::{EndorsedRow, WitnessRow};

    use super::*;

    const QUIET: i64 = 3_600_000;
    const NOW: i64 = 10_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).expect("a time")
    }

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn origin() -> Origin {
        "log.example/1".parse().expect("an origin")
    }

    fn witness() -> SigningKey {
        SigningKey::from_seed([2; 32])
    }

    fn record(upto: u64, newest_event: u64) -> Record {
        let head = TreeHead {
            chain_head: Some(Hash::of(b"leaf")),
            epoch: 1,
            origin: origin(),
            root_hash: Hash::of(b"root"),
            timestamp: at(1_000),
            tree_size: size(upto),
        };
        let claim = WitnessClaim {
            new_root: head.root_hash,
            new_tree_size: head.tree_size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: origin(),
            timestamp: at(1_000),
            witness: witness().fingerprint(),
        };
        let head = head.sign(&SigningKey::from_seed([1; 32])).to_json(String::new(), newest_event);
        let proof = claim.into_proof(&witness(), head, None).verify().expect("a proof");
        Record { proof, newest_event, max_quiet_ms: QUIET, reserved: None, kept: Vec::new() }
    }

    /// What is decided on a log of twenty entries, kept by key 1.
    fn decide(mut record: Record, overlay: &Overlay) -> Result<Decision, RecordRefusal> {
        let operator = SigningKey::from_seed([1; 32]);
        let origin = origin();
        let context =
            Context { now: at(NOW), size: size(20), origin: &origin, operator: &operator };
        record.decide(&context, overlay)
    }

    fn authorized() -> Overlay {
        let mut overlay = Overlay::new(20);
        overlay.endorsed.put(EndorsedRow {
            fingerprint: witness().fingerprint(),
            category: Category::Witness.as_str().to_owned(),
            public_key: witness().public().to_pem(),
            name: None,
            entry_id: 5,
            since: at(0),
            revoked_by: None,
            after: size(4),
        });
        overlay
    }

    fn with_last(upto: u64, recorded_millis: i64) -> Overlay {
        let mut overlay = authorized();
        overlay.witnesses.put(WitnessRow {
            fingerprint: witness().fingerprint(),
            proof_id: 11,
            tree_size: size(upto),
            root_hash: Hash::of(b"root"),
            signed_at: at(0),
            recorded_at: at(recorded_millis),
            cosigner: None,
        });
        overlay
    }

    fn types(decision: Result<Decision, RecordRefusal>) -> Vec<String> {
        match decision.expect("a decision") {
            Decision::Append { entries, .. } => entries
                .iter()
                .map(|entry| {
                    Event::parse(entry.event_type().as_str(), entry.payload()).expect("an event");
                    entry.event_type().as_str().to_owned()
                })
                .collect(),
            Decision::Found { id } => panic!("found in entry {id}"),
        }
    }

    #[test]
    fn a_proof_is_recorded_when_an_event_lies_between() {
        assert_eq!(types(decide(record(15, 15), &authorized())), ["witness_proof"]);
        assert_eq!(types(decide(record(15, 12), &with_last(11, NOW - 1))), ["witness_proof"]);
        let quiet = decide(record(15, 11), &with_last(11, NOW - 1)).err();
        assert_eq!(quiet, Some(RecordRefusal::Quiet));
    }

    #[test]
    fn after_a_long_quiet_a_proof_is_recorded_without_an_event() {
        let long = with_last(11, NOW - QUIET);

        assert_eq!(types(decide(record(15, 11), &long)), ["witness_proof"]);
    }

    #[test]
    fn a_repeat_is_found_and_an_older_proof_is_stale() {
        let last = with_last(15, NOW - QUIET);

        assert!(matches!(decide(record(15, 15), &last), Ok(Decision::Found { id: 11 })));
        let older = decide(record(14, 14), &last).err();
        assert_eq!(older, Some(RecordRefusal::Stale { newest: size(15) }));
    }

    #[test]
    fn a_stranger_is_refused_unless_a_place_is_reserved() {
        let stranger = decide(record(15, 15), &Overlay::new(20)).err();
        assert_eq!(stranger, Some(RecordRefusal::NotAuthorized));

        let used = vec![LocalWrite::DeleteReserved(AnyFingerprint::Short(
            witness().fingerprint().short(),
        ))];
        let reserved = Some(Reserved { name: None, used: used.clone() });
        let claim = Record { reserved, ..record(15, 15) };
        let Ok(Decision::Append { entries, local }) = decide(claim, &Overlay::new(20)) else {
            panic!("refused");
        };
        let types: Vec<_> = entries.iter().map(|entry| entry.event_type().as_str()).collect();
        assert_eq!((types, local), (vec!["operator_endorsement", "witness_proof"], used));
    }

    #[test]
    fn a_reservation_gives_no_second_role() {
        let mut overlay = Overlay::new(20);
        let endorsed = authorized().endorsed.rows().next().cloned().expect("a row");
        let category = Category::FederationOperator.as_str().to_owned();
        overlay.endorsed.put(EndorsedRow { category, ..endorsed });
        let reserved = Some(Reserved { name: None, used: Vec::new() });

        let claim = decide(Record { reserved, ..record(15, 15) }, &overlay).err();

        assert_eq!(claim, Some(RecordRefusal::KeyHasOtherRole));
    }

    #[test]
    fn what_is_kept_beside_the_log_goes_with_the_entry() {
        let kept = vec![LocalWrite::PutMeta("a".to_owned(), "b".to_owned())];
        let with_kept = Record { kept: kept.clone(), ..record(15, 15) };

        let Ok(Decision::Append { local, .. }) = decide(with_kept, &authorized()) else {
            panic!("refused");
        };

        assert_eq!(local, kept);
    }
}
