//! Whatever log an honest leader writes, a follower accepts it in any cut and either encoding, and
//! no change to a batch gets another log past it.

use diogenes_common::batch::{
    Batch, BatchHeader, Chain, Encoding, Trust, VerifiedBatch, decode, encode, verify_batch,
};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{Genesis, Payload as _};
use diogenes_common::head::{EPOCH, Origin, SignedHead, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::{EventType, Leaf};
use diogenes_common::merkle::{Edge, Hash, NodeId, Nodes, ProofPlan, TreeSize, verify_consistency};
use proptest::prelude::*;

struct Log {
    operator: SigningKey,
    origin: Origin,
    leaves: Vec<Leaf>,
}

/// What a generated entry says: a type of some namespace, a text, and the time since the last one.
type Said = (String, String, u32);

fn said() -> impl Strategy<Value = Said> {
    ("x-[a-z]{1,8}:[a-z][a-z0-9._-]{0,12}", "\\PC{0,40}", 0..100_000_u32)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a small length")
}

fn place(id: u64) -> usize {
    usize::try_from(id).expect("a small id")
}

impl Log {
    fn new(seed: u8, entries: &[Said]) -> Self {
        let operator = SigningKey::from_seed([seed; 32]);
        let origin: Origin = "log.example/props".parse().expect("an origin");
        let genesis = Genesis::new(operator.public(), origin.clone()).to_payload();
        let mut log = Self { operator, origin, leaves: Vec::new() };
        let start = "2026-01-15T10:30:00.000Z".parse().expect("a time");
        log.append("log_genesis", &genesis, start);
        for (event_type, text, delay) in entries {
            let time = log.last_time().plus_millis(i64::from(*delay));
            let value = serde_json::json!({ "text": text, "n": log.leaves.len() });
            log.append(event_type, &diogenes_common::canonical::to_vec(&value), time);
        }
        log
    }

    fn append(&mut self, event_type: &str, payload: &[u8], time: Timestamp) {
        let id = count(self.leaves.len()) + 1;
        let previous = self.leaves.last().map(Leaf::entry_hash);
        let event_type: EventType = event_type.parse().expect("an event type");
        let leaf = Leaf::build(id, previous, time, &event_type, payload).expect("a leaf");
        self.leaves.push(leaf);
    }

    fn last_time(&self) -> Timestamp {
        self.leaves.last().map(Leaf::timestamp).expect("a genesis")
    }

    fn size(&self) -> u64 {
        count(self.leaves.len())
    }

    fn head(&self, size: u64) -> SignedHead {
        let mut edge = Edge::empty();
        for leaf in &self.leaves[..place(size)] {
            edge.push(leaf.leaf_hash(), &mut Vec::new());
        }
        let last = &self.leaves[place(size - 1)];
        let head = TreeHead {
            chain_head: Some(last.entry_hash()),
            epoch: EPOCH,
            origin: self.origin.clone(),
            root_hash: edge.root().hash,
            timestamp: last.timestamp(),
            tree_size: edge.size(),
        };
        head.sign(&self.operator)
    }

    fn batch(&self, after: u64, until: u64, size: u64) -> Batch {
        let plan = ProofPlan::consistency(TreeSize::ZERO.plus(until), TreeSize::ZERO.plus(size));
        let header = BatchHeader {
            after,
            consistency_proof: plan.expect("sizes in order").read(self).expect("all nodes"),
            has_more: until < self.size(),
            next_after: until,
            tree_head: self.head(size).to_json(String::new(), size),
        };
        let leaves = &self.leaves[place(after)..place(until)];
        Batch { header, leaves: leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect() }
    }

    fn chain(&self, size: u64) -> Chain {
        let mut chain = Chain::new(Trust { operator: self.operator.fingerprint() });
        for leaf in &self.leaves[..place(size)] {
            chain.extend(leaf.bytes(), &mut Vec::new()).expect("an honest entry");
        }
        chain
    }

    /// What a follower that has `after` entries makes of a body.
    fn receive(&self, after: u64, body: &[u8], encoding: Encoding) -> Option<VerifiedBatch> {
        let batch = decode(body, encoding).ok()?;
        verify_batch(&self.chain(after), batch, &[], self.last_time()).ok()
    }

    /// Whether a verified batch leads to the log's own state.
    fn is_own(&self, verified: &VerifiedBatch) -> bool {
        let size = verified.chain.size().get();
        let own = self.head(size);
        verified.chain.tree() == own.head().tree()
            && verified.chain.chain_head() == own.head().chain_head
            && (0..self.size()).any(|n| *verified.head.head() == *self.head(n + 1).head())
    }
}

impl Nodes for Log {
    fn node(&self, id: NodeId) -> Option<Hash> {
        if id.height == 0 {
            return self.leaves.get(place(id.index)).map(Leaf::leaf_hash);
        }
        let child = |index| self.node(NodeId { height: id.height - 1, index });
        Some(Hash::of_node(&child(id.index * 2)?, &child(id.index * 2 + 1)?))
    }
}

fn encodings() -> [Encoding; 2] {
    [Encoding::Json, Encoding::Binary]
}

/// Three sizes in order within a log of this size, the middle one above the first.
fn cut(size: u64, [a, b, c]: [u16; 3]) -> (u64, u64, u64) {
    let after = u64::from(a) % size;
    let until = after + 1 + u64::from(b) % (size - after);
    (after, until, until + u64::from(c) % (size - until + 1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_honest_batch_is_accepted_in_any_cut_and_encoding(
        seed: u8,
        entries in prop::collection::vec(said(), 0..40),
        cuts: [u16; 3],
    ) {
        let log = Log::new(seed, &entries);
        let (after, until, size) = cut(log.size(), cuts);
        let batch = log.batch(after, until, size);
        for encoding in encodings() {
            let body = encode(&batch.header, &batch.leaves, encoding);
            prop_assert_eq!(decode(&body, encoding), Ok(batch.clone()));

            let verified = log.receive(after, &body, encoding).expect("an honest batch");

            prop_assert!(log.is_own(&verified));
            prop_assert_eq!(count(verified.entries.len()), until - after);
            let (own, head) = (verified.chain.tree(), verified.head.head().tree());
            prop_assert_eq!(verify_consistency(&own, &head, &batch.header.consistency_proof), Ok(()));
        }
    }

    #[test]
    fn a_flipped_bit_never_leads_to_another_log(
        entries in prop::collection::vec(said(), 1..12),
        cuts: [u16; 3],
        flips in prop::collection::vec((any::<u32>(), 0..8_u8), 40),
    ) {
        let log = Log::new(1, &entries);
        let (after, until, size) = cut(log.size(), cuts);
        let batch = log.batch(after, until, size);
        for encoding in encodings() {
            let body = encode(&batch.header, &batch.leaves, encoding);
            for (at, bit) in &flips {
                let mut body = body.clone();
                let at = usize::try_from(*at).expect("32 bits") % body.len();
                body[at] ^= 1 << bit;
                // What no signature covers may change; the log that comes out may not.
                if let Some(verified) = log.receive(after, &body, encoding) {
                    prop_assert!(log.is_own(&verified));
                    let got = decode(&body, encoding).expect("it was decoded");
                    prop_assert_eq!(got.leaves, batch.leaves.clone());
                    prop_assert_eq!(got.header.consistency_proof, batch.header.consistency_proof.clone());
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_within_an_entry_is_refused(
        entries in prop::collection::vec(said(), 1..12),
        which: u16,
        at: u32,
        bit in 0..8_u8,
    ) {
        let log = Log::new(1, &entries);
        let mut batch = log.batch(0, log.size(), log.size());
        let leaf = usize::from(which) % batch.leaves.len();
        let bytes = &mut batch.leaves[leaf];
        let at = usize::try_from(at).expect("32 bits") % bytes.len();
        bytes[at] ^= 1 << bit;
        for encoding in encodings() {
            let body = encode(&batch.header, &batch.leaves, encoding);
            prop_assert!(log.receive(0, &body, encoding).is_none());
        }
    }

    #[test]
    fn skipped_swapped_and_repeated_entries_are_refused(
        entries in prop::collection::vec(said(), 3..20),
        at: [u16; 2],
    ) {
        let log = Log::new(1, &entries);
        let honest = log.batch(0, log.size(), log.size());
        let count = honest.leaves.len();
        let (a, b) = (usize::from(at[0]) % count, usize::from(at[1]) % count);
        let mut skipped = honest.clone();
        skipped.leaves.remove(a);
        let mut counted = skipped.clone();
        counted.header.next_after -= 1;
        let mut repeated = honest.clone();
        repeated.leaves.insert(b, honest.leaves[a].clone());
        let mut replaced = honest.clone();
        replaced.leaves[a] = honest.leaves[(a + 1) % count].clone();
        let mut swapped = honest.clone();
        swapped.leaves.swap(a, (a + 1) % count);
        for batch in [skipped, counted, repeated, replaced, swapped] {
            for encoding in encodings() {
                let body = encode(&batch.header, &batch.leaves, encoding);
                prop_assert!(log.receive(0, &body, encoding).is_none());
            }
        }
    }

    #[test]
    fn a_cut_or_prolonged_body_is_refused(
        entries in prop::collection::vec(said(), 1..12),
        at: u32,
    ) {
        let log = Log::new(1, &entries);
        let batch = log.batch(0, log.size(), log.size());
        for encoding in encodings() {
            let body = encode(&batch.header, &batch.leaves, encoding);
            let at = usize::try_from(at).expect("32 bits") % body.len();
            prop_assert!(log.receive(0, &body[..at], encoding).is_none());
            prop_assert!(log.receive(0, &[&body[..], b"x"].concat(), encoding).is_none());
        }
    }
}
