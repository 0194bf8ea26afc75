//! Where each webhook stands in the log, and what it is to be told next: pure.
//!
//! Places are kept here and in the database. In the database one moves with each message that is
//! written down, and now and then besides: what is looked at again after a crash matches nothing, or
//! is written down already.

use std::collections::BTreeMap;

use diogenes_common::store::{Advance, Announcement, Subscription};
use diogenes_common::wire::webhooks::WebhookId;

use super::pattern::Pattern;

/// The most entries that are looked at in one go.
const CHUNK: u64 = 512;

/// A webhook that so many messages wait for is told of no further entries until some are settled:
/// the log keeps them.
const MAX_PENDING: u64 = 1_000;

/// After so many entries without a message a place is written down all the same.
const UNWRITTEN: u64 = 4_096;

/// The places of the active webhooks.
#[derive(Debug, Default)]
pub(super) struct Plan {
    places: BTreeMap<WebhookId, Place>,
    /// Where the last chunk ended.
    swept: u64,
}

#[derive(Debug)]
struct Place {
    patterns: Vec<Pattern>,
    generation: i64,
    /// The first entry that was not looked at.
    next_id: u64,
    /// The same as far as the database knows.
    written: u64,
    pending: u64,
}

/// Entries to look at: those after `after`, up to `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) after: u64,
    pub(super) upto: u64,
}

impl Plan {
    /// Takes the webhooks as they are in the database now.
    pub(super) fn load(&mut self, subscriptions: Vec<Subscription>) {
        let mut known = std::mem::take(&mut self.places);
        for subscription in subscriptions {
            let Subscription { id, events, next_id: written, generation, pending } = subscription;
            // A replay begins a generation, and goes back.
            let known = known.remove(&id).filter(|place| place.generation == generation);
            let next_id = known.map_or(written, |place| place.next_id.max(written));
            let patterns = events.iter().filter_map(|text| text.parse().ok()).collect();
            self.places.insert(id, Place { patterns, generation, next_id, written, pending });
        }
    }

    /// What to look at next, if the log has so many entries.
    ///
    /// Places have their turn from the first to the last and then again, so that whoever has the
    /// whole log told anew keeps nobody from the newest entries.
    pub(super) fn chunk(&self, size: u64) -> Option<Chunk> {
        let places =
            || self.open().map(|(_, place)| place.next_id).filter(move |next| *next <= size);
        let next = places().filter(|next| *next > self.swept).min().or_else(|| places().min())?;
        let upto = size.min(next.saturating_add(CHUNK - 1));
        Some(Chunk { after: next.saturating_sub(1), upto })
    }

    /// Who is told of which of the chunk's entries, and from where each goes on.
    pub(super) fn advances(&self, chunk: Chunk, entries: &[Announcement]) -> Vec<Advance> {
        let within = self.open().filter(|(_, place)| place.is_within(chunk));
        let advances = within.map(|(id, place)| {
            let is_told = |entry: &&Announcement| {
                entry.id >= place.next_id
                    && place.patterns.iter().any(|pattern| pattern.matches(&entry.event_type))
            };
            let told = entries.iter().filter(is_told).map(|entry| entry.id).collect();
            Advance { id: *id, generation: place.generation, next_id: chunk.upto + 1, told }
        });
        advances.collect()
    }

    /// Those of them that must be written down before anything goes on.
    pub(super) fn to_write(&self, advances: &[Advance]) -> Vec<Advance> {
        let is_due = |advance: &&Advance| {
            let written = self.places.get(&advance.id).map_or(0, |place| place.written);
            !advance.told.is_empty() || advance.next_id >= written.saturating_add(UNWRITTEN)
        };
        advances.iter().filter(is_due).cloned().collect()
    }

    /// Goes on, after what must be written down was.
    pub(super) fn advance(&mut self, advances: &[Advance], written: &[Advance]) {
        for advance in advances {
            self.swept = advance.next_id;
            if let Some(place) = self.places.get_mut(&advance.id) {
                place.next_id = advance.next_id;
                place.pending += advance.told.len() as u64;
            }
        }
        for advance in written {
            if let Some(place) = self.places.get_mut(&advance.id) {
                place.written = advance.next_id;
            }
        }
    }

    /// Notes that so many messages of a webhook wait no more.
    pub(super) fn settled(&mut self, id: WebhookId, messages: u64) {
        if let Some(place) = self.places.get_mut(&id) {
            place.pending = place.pending.saturating_sub(messages);
        }
    }

    /// Forgets a webhook that was turned off.
    pub(super) fn forget(&mut self, id: WebhookId) {
        self.places.remove(&id);
    }

    pub(super) fn len(&self) -> u64 {
        self.places.len() as u64
    }

    /// How many messages wait.
    pub(super) fn pending(&self) -> u64 {
        self.places.values().map(|place| place.pending).sum()
    }

    /// How many entries the last of them has not looked at.
    pub(super) fn lag(&self, size: u64) -> u64 {
        let last = self.places.values().map(|place| place.next_id).min();
        last.map_or(0, |next| (size + 1).saturating_sub(next))
    }

    fn open(&self) -> impl Iterator<Item = (&WebhookId, &Place)> {
        self.places.iter().filter(|(_, place)| place.pending < MAX_PENDING)
    }
}

impl Place {
    fn is_within(&self, chunk: Chunk) -> bool {
        self.next_id > chunk.after && self.next_id <= chunk.upto
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::merkle::Hash;

    use super::*;

    fn id(n: u8) -> WebhookId {
        WebhookId::new([n; 16])
    }

    fn of(n: u8, events: &[&str], next_id: u64) -> Subscription {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        Subscription { id: id(n), events, next_id, generation: 0, pending: 0 }
    }

    /// Entries of which every third is an attestation.
    fn entries(chunk: Chunk) -> Vec<Announcement> {
        let entry = |id: u64| Announcement {
            id,
            event_type: if id.is_multiple_of(3) { "attestation" } else { "x-a:b" }
                .parse()
                .expect("a type"),
            entry_hash: Hash::of(&id.to_be_bytes()),
            timestamp: Timestamp::from_millis(0).expect("a time"),
        };
        (chunk.after + 1..=chunk.upto).map(entry).collect()
    }

    /// Plans to the end of the log; answers what was written down.
    fn run(plan: &mut Plan, size: u64) -> Vec<Advance> {
        let mut all = Vec::new();
        while let Some(chunk) = plan.chunk(size) {
            let advances = plan.advances(chunk, &entries(chunk));
            assert!(!advances.is_empty(), "{chunk:?} moves nobody");
            let written = plan.to_write(&advances);
            plan.advance(&advances, &written);
            all.extend(written);
        }
        all
    }

    fn told(advances: &[Advance], n: u8) -> Vec<u64> {
        let of = advances.iter().filter(|advance| advance.id == id(n));
        of.flat_map(|advance| advance.told.iter().copied()).collect()
    }

    #[test]
    fn each_is_told_of_what_it_asked_for_from_its_own_place_and_once() {
        let mut plan = Plan::default();
        plan.load(vec![of(1, &["attestation"], 2), of(2, &["*"], 9), of(3, &["anchor"], 1)]);

        let first = run(&mut plan, 10);
        let second = run(&mut plan, 12);

        assert_eq!((told(&first, 1), told(&second, 1)), (vec![3, 6, 9], vec![12]));
        assert_eq!((told(&first, 2), told(&second, 2)), (vec![9, 10], vec![11, 12]));
        assert_eq!((told(&first, 3), told(&second, 3)), (vec![], vec![]));
        assert_eq!(run(&mut plan, 12), []);
        assert_eq!((plan.pending(), plan.lag(12), plan.lag(14)), (8, 0, 2));
    }

    #[test]
    fn a_place_without_messages_is_written_down_now_and_then() {
        let mut plan = Plan::default();
        plan.load(vec![of(1, &["anchor"], 1)]);

        let written = run(&mut plan, 10_000);

        let places: Vec<_> = written.iter().map(|advance| advance.next_id).collect();
        assert_eq!(places, [4_097, 8_193]);
    }

    #[test]
    fn who_is_behind_waits_in_the_log_and_holds_nobody_up() {
        let mut plan = Plan::default();
        plan.load(vec![of(1, &["*"], 1), of(2, &["attestation"], 1)]);

        let first = run(&mut plan, 3_000);

        let waiting = told(&first, 1).len() as u64;
        assert!((MAX_PENDING..MAX_PENDING + CHUNK).contains(&waiting), "{waiting}");
        assert_eq!(told(&first, 2).len(), 1_000);
        plan.settled(id(1), 600);
        let more = run(&mut plan, 3_000);
        assert_eq!(told(&more, 1).first(), Some(&(waiting + 1)));
    }

    #[test]
    fn a_replay_of_the_whole_log_keeps_nobody_from_the_newest_entries() {
        let mut plan = Plan::default();
        plan.load(vec![of(1, &["anchor"], 1), of(2, &["anchor"], 600), of(3, &["*"], 99_999)]);
        let mut upto = Vec::new();
        for _ in 0..4 {
            let chunk = plan.chunk(100_000).expect("all are behind");
            let advances = plan.advances(chunk, &[]);
            plan.advance(&advances, &[]);
            upto.push(chunk.upto);
        }
        assert_eq!(upto, [512, 1_111, 100_000, 1_024]);
    }

    #[test]
    fn a_reload_keeps_the_place_unless_there_was_a_replay() {
        let mut plan = Plan::default();
        plan.load(vec![of(1, &["attestation"], 1)]);
        run(&mut plan, 100);

        plan.load(vec![of(1, &["attestation"], 50)]);
        assert_eq!(plan.chunk(100), None);

        plan.load(vec![Subscription { generation: 1, ..of(1, &["attestation"], 50) }]);
        assert_eq!(plan.chunk(100), Some(Chunk { after: 49, upto: 100 }));
        plan.load(Vec::new());
        assert_eq!(plan.chunk(100), None);
    }
}
