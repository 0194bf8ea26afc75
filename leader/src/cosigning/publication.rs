//! Which checkpoint is published: the newest that a quorum of the policy's witnesses cosigned, or,
//! if the operator wants that, one without. Pure.

use std::sync::Arc;

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::config::WitnessMode;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::TreeSize;
use diogenes_common::note::{Note, SignatureLine, Vkey};
use diogenes_common::policy::{Policy, PolicyWitness};
use diogenes_common::read::{CheckpointChoice, CosignedCheckpoint};
use diogenes_common::store::Cosignature;

use super::answer::names;

/// How long a round may lack its quorum before a checkpoint is published without.
const PATIENCE_MILLIS: i64 = 60_000;

/// The most rounds whose cosignatures are counted at once.
const MAX_ROUNDS: usize = 16;

/// A head that witnesses are asked to cosign.
#[derive(Debug)]
pub(crate) struct Round {
    /// What they cosign.
    checkpoint: Checkpoint,
    /// The same under the log's signature alone.
    note: Note,
    /// When the round opened, by the steady clock.
    opened_millis: i64,
}

impl Round {
    /// The round of a checkpoint that the log's key signed; other signatures are left out.
    pub(super) fn of(note: &str, log: &Vkey, opened_millis: i64) -> Option<Self> {
        let signed = Note::parse(note.as_bytes()).ok()?;
        let own = signed.verify(std::slice::from_ref(log)).ok()?.first()?.line.clone();
        let checkpoint: Checkpoint = signed.text().parse().ok()?;
        let note = Note::new(signed.text().to_owned(), own).ok()?;
        let is_ours = checkpoint.origin() == log.name().as_str();
        is_ours.then_some(Self { checkpoint, note, opened_millis })
    }

    /// What witnesses cosign.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint under the log's signature alone.
    pub(super) fn note(&self) -> &Note {
        &self.note
    }

    /// The size of its head.
    pub(super) fn size(&self) -> TreeSize {
        self.checkpoint.tree().size
    }
}

/// A round and the cosignatures that came in so far.
#[derive(Debug)]
struct Tallied {
    round: Arc<Round>,
    /// What was counted, to count only what is new.
    rows: Vec<Cosignature>,
    has_quorum: bool,
    /// The checkpoint with the cosignatures that verified.
    signed: Arc<CosignedCheckpoint>,
}

/// The rounds from which the published checkpoint is chosen.
#[derive(Debug)]
pub(crate) struct Publication {
    policy: Arc<Policy>,
    mode: WitnessMode,
    /// The largest size that was ever published: nothing smaller is.
    floor: TreeSize,
    /// In the order of their sizes. Where one has its quorum it is the first, because nothing older
    /// matters any more.
    rounds: Vec<Tallied>,
}

impl Publication {
    pub(super) fn new(policy: Arc<Policy>, mode: WitnessMode, floor: TreeSize) -> Self {
        Self { policy, mode, floor, rounds: Vec::new() }
    }

    /// Counts with a round from now on, unless there is one of that size already.
    pub(super) fn open(&mut self, round: Arc<Round>) {
        if self.rounds.last().is_some_and(|last| last.round.size() >= round.size()) {
            return;
        }
        self.rounds.push(tally(&self.policy, round, Vec::new()));
        if self.rounds.len() > MAX_ROUNDS {
            // The first may be the one that is published, as may the one at the floor, and the
            // second says since when a quorum is waited for.
            let floor = self.floor;
            let spare = self.rounds.iter().skip(2).position(|one| one.round.size() != floor);
            self.rounds.remove(2 + spare.unwrap_or_default());
        }
    }

    /// Goes on from a round of an earlier process, if it has its quorum.
    pub(super) fn resume(&mut self, round: Arc<Round>, rows: &[Cosignature]) -> bool {
        let tallied = tally(&self.policy, round, rows.to_vec());
        let has_quorum = tallied.has_quorum;
        if has_quorum {
            self.rounds = vec![tallied];
        }
        has_quorum
    }

    /// The sizes whose cosignatures matter.
    pub(super) fn sizes(&self) -> Vec<TreeSize> {
        self.rounds.iter().map(|tallied| tallied.round.size()).collect()
    }

    /// The keys whose cosignatures matter.
    pub(super) fn keys(&self) -> Vec<Fingerprint> {
        let witnesses = self.policy.witnesses().iter();
        witnesses.map(|witness| witness.vkey().key().fingerprint()).collect()
    }

    /// Counts the cosignatures of these rows, of which those of other sizes are passed over.
    ///
    /// A round that had its quorum keeps it, whatever becomes of the rows.
    pub(super) fn count(&mut self, rows: &[Cosignature]) {
        for tallied in &mut self.rounds {
            let size = tallied.round.size();
            let rows: Vec<_> = rows.iter().filter(|row| row.tree_size == size).cloned().collect();
            if rows != tallied.rows {
                let counted = tally(&self.policy, tallied.round.clone(), rows);
                if counted.has_quorum || !tallied.has_quorum {
                    *tallied = counted;
                }
            }
        }
        if let Some(newest) = self.rounds.iter().rposition(|tallied| tallied.has_quorum) {
            self.rounds.drain(..newest);
        }
    }

    /// Whether the round of this size has its quorum, or a larger one.
    pub(crate) fn has_quorum(&self, size: TreeSize) -> bool {
        self.quorum_size().is_some_and(|reached| reached >= size)
    }

    /// The largest size that a quorum cosigned.
    pub(super) fn quorum_size(&self) -> Option<TreeSize> {
        self.cosigned().map(|tallied| tallied.round.size())
    }

    /// Chooses what is published; the caller makes the new [`floor`](Self::floor) durable first.
    ///
    /// Nothing below the floor; of the rest `fail_closed` takes the newest with a quorum.
    /// `fail_open` takes the newest round if there was never a quorum or a round has lacked its own
    /// for over 60 s; else the first round, which is the one with a quorum unless that lies below
    /// the floor. It then stays there until the quorum has caught up: were it to go on with each
    /// round, a quorum that takes longer than a round would be below the floor for ever.
    pub(super) fn choose(&mut self, now_millis: i64) -> CheckpointChoice {
        let mut shown = self.rounds.iter().filter(|tallied| tallied.round.size() >= self.floor);
        let chosen = match self.mode {
            WitnessMode::FailClosed => shown.find(|tallied| tallied.has_quorum),
            WitnessMode::FailOpen if self.cosigned().is_none() || self.is_late(now_millis) => {
                shown.next_back()
            }
            WitnessMode::FailOpen => shown.next(),
        };
        let Some(chosen) = chosen else { return CheckpointChoice::Withheld };
        let signed = chosen.signed.clone();
        self.floor = self.floor.max(signed.tree.size);
        CheckpointChoice::Cosigned(signed)
    }

    /// The largest size that was ever chosen.
    pub(super) fn floor(&self) -> TreeSize {
        self.floor
    }

    fn cosigned(&self) -> Option<&Tallied> {
        self.rounds.first().filter(|tallied| tallied.has_quorum)
    }

    /// Whether a quorum has been waited for too long.
    fn is_late(&self, now_millis: i64) -> bool {
        let waits = self.rounds.iter().find(|tallied| !tallied.has_quorum);
        waits.is_some_and(|tallied| now_millis - tallied.round.opened_millis > PATIENCE_MILLIS)
    }
}

/// Counts the cosignatures of a round and puts those that verify under its checkpoint, in the
/// order of the policy.
fn tally(policy: &Policy, round: Arc<Round>, rows: Vec<Cosignature>) -> Tallied {
    let mut note = round.note.clone();
    let mut cosigners = Vec::new();
    for witness in policy.witnesses() {
        let Some(line) = line_of(witness, &round.checkpoint, &rows) else { continue };
        // A note has no room for more than 100: what is not shown does not count.
        let Ok(longer) = note.clone().with(line) else { break };
        note = longer;
        cosigners.push(witness);
    }
    let has_quorum = policy.has_quorum(|witness| cosigners.contains(&witness));
    let tree = round.checkpoint.tree();
    let signed = Arc::new(CosignedCheckpoint { tree, text: note.to_string().into() });
    Tallied { round, rows, has_quorum, signed }
}

/// The line of a witness among these, if it is one under the name and key of the policy and
/// verifies.
fn line_of(
    witness: &PolicyWitness,
    checkpoint: &Checkpoint,
    rows: &[Cosignature],
) -> Option<SignatureLine> {
    let vkey = witness.vkey();
    let by = vkey.key().fingerprint();
    let row = rows.iter().find(|row| row.fingerprint == by)?;
    let line: SignatureLine = row.line.parse().ok()?;
    let verifies = names(vkey, &line) && verify_cosignature(&line, checkpoint, vkey.key()).is_ok();
    verifies.then_some(line)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use diogenes_common::checkpoint::sign_checkpoint;
    use diogenes_common::clock::Timestamp;
    use diogenes_common::cosignature::cosign;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::{Hash, TreeRoot};
    use diogenes_common::note::KeyKind;

    use super::*;

    const ORIGIN: &str = "log.example/1";

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn log() -> Vkey {
        Vkey::new(ORIGIN.parse().expect("a name"), KeyKind::Ed25519, key(1).public().clone())
    }

    /// Two of the witnesses 2, 3 and 4.
    fn policy() -> Arc<Policy> {
        let mut text = format!("log {}\n", log());
        for n in 2..=4 {
            let name = format!("w{n}.example").parse().expect("a name");
            let vkey = Vkey::new(name, KeyKind::Cosignature, key(n).public().clone());
            writeln!(text, "witness w{n} {vkey}").expect("a String takes everything");
        }
        text.push_str("group g 2 w2 w3 w4\nquorum g\n");
        Arc::new(text.parse().expect("a policy"))
    }

    fn publication(mode: WitnessMode, floor: u64) -> Publication {
        Publication::new(policy(), mode, size(floor))
    }

    fn round(n: u64, opened_millis: i64) -> Arc<Round> {
        let tree = TreeRoot { size: size(n), hash: Hash::of(b"root") };
        let checkpoint = Checkpoint::new(ORIGIN, tree).expect("a checkpoint");
        let note = sign_checkpoint(&checkpoint, &ORIGIN.parse().expect("a name"), &key(1));
        Arc::new(Round::of(&note, &log(), opened_millis).expect("a round"))
    }

    /// The cosignature of a witness at a size, under a name.
    fn row_as(name: &str, witness: u8, n: u64) -> Cosignature {
        let time = Timestamp::from_millis(5_000).expect("a time");
        let line =
            cosign(round(n, 0).checkpoint(), time, &name.parse().expect("a name"), &key(witness));
        Cosignature {
            tree_size: size(n),
            fingerprint: key(witness).fingerprint(),
            name: name.to_owned(),
            line: line.to_string(),
            timestamp: time,
        }
    }

    fn row(witness: u8, n: u64) -> Cosignature {
        row_as(&format!("w{witness}.example"), witness, n)
    }

    /// The size that is published; `None` if nothing is.
    fn chosen(publication: &mut Publication, now_millis: i64) -> Option<u64> {
        match publication.choose(now_millis) {
            CheckpointChoice::Cosigned(shown) => Some(shown.tree.size.get()),
            CheckpointChoice::Withheld => None,
            CheckpointChoice::Newest => panic!("a policy publishes no other head"),
        }
    }

    #[test]
    fn a_checkpoint_with_its_quorum_is_one_that_a_stranger_believes() {
        let mut publication = publication(WitnessMode::FailClosed, 0);
        publication.open(round(8, 0));

        publication.count(&[row(2, 8)]);
        assert_eq!(chosen(&mut publication, 0), None);
        publication.count(&[row(2, 8), row(4, 8)]);

        let CheckpointChoice::Cosigned(shown) = publication.choose(0) else {
            panic!("nothing is published");
        };
        let note = Note::parse(shown.text.as_bytes()).expect("a note");
        let opened = policy().open(&note).expect("the policy believes it");
        assert_eq!((opened.tree(), note.signatures().len()), (shown.tree, 3));
        assert!(publication.has_quorum(size(8)) && !publication.has_quorum(size(9)));
    }

    #[test]
    fn only_verified_lines_under_the_policy_s_names_and_at_the_very_size_count() {
        let flipped = |mut row: Cosignature| {
            // The last bytes of the line are the end of the signature.
            let at = row.line.len() - 6;
            let other = if &row.line[at..=at] == "A" { "B" } else { "A" };
            row.line.replace_range(at..=at, other);
            row
        };
        let borrowed = Cosignature { line: row(2, 8).line, ..row(3, 8) };
        for bad in [
            flipped(row(3, 8)),
            row_as("other.example", 3, 8),
            row(3, 9),
            row(5, 8),
            borrowed,
            row(2, 8),
        ] {
            let mut publication = publication(WitnessMode::FailClosed, 0);
            publication.open(round(8, 0));

            publication.count(&[row(2, 8), bad.clone()]);

            assert_eq!(chosen(&mut publication, 0), None, "{bad:?}");
        }
    }

    #[test]
    fn the_newest_checkpoint_with_a_quorum_is_published() {
        let mut publication = publication(WitnessMode::FailClosed, 0);
        for n in [8, 10, 12] {
            publication.open(round(n, 0));
        }

        publication.count(&[row(2, 12), row(2, 10), row(3, 10), row(2, 8), row(3, 8)]);

        assert_eq!(chosen(&mut publication, 0), Some(10));
        assert_eq!(
            (publication.sizes(), publication.quorum_size()),
            (vec![size(10), size(12)], Some(size(10)))
        );
        publication.count(&[row(2, 12), row(4, 12)]);
        assert_eq!(chosen(&mut publication, 0), Some(12));
    }

    #[test]
    fn an_uncosigned_one_is_published_at_once_or_when_the_quorum_is_late() {
        let mut open = publication(WitnessMode::FailOpen, 0);
        assert_eq!(chosen(&mut open, 0), None, "there is no round yet");

        open.open(round(8, 0));
        assert_eq!(chosen(&mut open, 0), Some(8), "there is none with a quorum");
        open.count(&[row(2, 8), row(3, 8)]);
        assert_eq!(chosen(&mut open, 100_000), Some(8), "nobody waits for another");
        open.open(round(10, 100_000));
        open.open(round(12, 110_000));
        assert_eq!(chosen(&mut open, 160_000), Some(8));
        assert_eq!(chosen(&mut open, 160_001), Some(12));
    }

    #[test]
    fn a_quorum_that_was_counted_stays_one() {
        let mut closed = publication(WitnessMode::FailClosed, 0);
        closed.open(round(8, 0));
        closed.count(&[row(2, 8), row(3, 8)]);

        for rows in [vec![], vec![row(2, 8), row_as("other.example", 3, 8)]] {
            closed.count(&rows);
            assert_eq!(chosen(&mut closed, 0), Some(8), "{rows:?}");
        }
    }

    #[test]
    fn what_is_withheld_stays_so_however_late_it_is() {
        let mut closed = publication(WitnessMode::FailClosed, 0);
        closed.open(round(8, 0));
        assert_eq!(chosen(&mut closed, 1_000_000), None);

        closed.count(&[row(2, 8), row(3, 8)]);
        closed.open(round(10, 1_000_000));

        assert_eq!(chosen(&mut closed, 2_000_000), Some(8));
    }

    #[test]
    fn nothing_smaller_is_published_than_ever_before() {
        let mut open = publication(WitnessMode::FailOpen, 0);
        open.open(round(8, 0));
        open.open(round(10, 5_000));
        assert_eq!((chosen(&mut open, 60_001), open.floor()), (Some(10), size(10)));

        open.count(&[row(2, 8), row(3, 8)]);
        assert_eq!(chosen(&mut open, 60_002), Some(10), "8 has its quorum, too late");
        open.open(round(12, 60_003));
        open.count(&[row(2, 10), row(3, 10)]);
        assert_eq!(chosen(&mut open, 60_004), Some(10), "it has caught up");
    }

    #[test]
    fn a_quorum_that_takes_longer_than_a_round_catches_up_with_what_was_published_without() {
        let mut open = publication(WitnessMode::FailOpen, 10);
        assert!(open.resume(round(8, 0), &[row(2, 8), row(3, 8)]));
        open.open(round(9, 0));
        open.open(round(10, 0));
        assert_eq!(chosen(&mut open, 0), Some(10), "8 is below what was published");

        for n in 11..40 {
            open.open(round(n, 5_000));
            assert_eq!(chosen(&mut open, 5_000), Some(10), "{n}: nobody is late");
        }
        open.count(&[row(2, 10), row(3, 10)]);
        open.count(&[row(2, 39), row(3, 39)]);
        assert_eq!(chosen(&mut open, 5_000), Some(39), "it has caught up");
    }

    #[test]
    fn a_start_goes_on_from_a_quorum_that_is_not_below_what_was_published() {
        for (floor, mode, expected) in [
            (8, WitnessMode::FailOpen, Some(8)),
            (8, WitnessMode::FailClosed, Some(8)),
            (9, WitnessMode::FailClosed, None),
            (9, WitnessMode::FailOpen, None),
        ] {
            let mut started = publication(mode, floor);

            assert!(started.resume(round(8, 0), &[row(2, 8), row(3, 8)]));

            assert_eq!(chosen(&mut started, 0), expected, "{floor} {mode:?}");
        }
        let mut started = publication(WitnessMode::FailOpen, 0);
        assert!(!started.resume(round(8, 0), &[row(2, 8)]));
        assert!(started.sizes().is_empty());
    }

    #[test]
    fn of_many_rounds_the_first_and_the_newest_are_kept() {
        let mut open = publication(WitnessMode::FailOpen, 0);
        for n in 1..=100 {
            open.open(round(n, i64::try_from(n).expect("small")));
        }
        open.open(round(100, 200));

        assert_eq!(open.rounds.len(), MAX_ROUNDS);
        assert_eq!(open.sizes()[..2], [size(1), size(2)]);
        assert_eq!(chosen(&mut open, 0), Some(100));
    }

    #[test]
    fn a_round_is_of_this_log_alone_and_under_its_signature_alone() {
        let note = round(8, 0).note().to_string();
        let cosigned = format!("{note}{}\n", row(2, 8).line);
        let other = Vkey::new(log().name().clone(), KeyKind::Ed25519, key(9).public().clone());

        let of = |text: &str, log: &Vkey| Round::of(text, log, 0).map(|r| r.note().to_string());

        assert_eq!(of(&cosigned, &log()), Some(note.clone()));
        assert_eq!(of(&note, &other), None);
        assert_eq!(of("", &log()), None);
    }
}
