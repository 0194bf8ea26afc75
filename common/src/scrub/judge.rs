//! What is wrong with stored entries, tiles and the log's state. Pure.

use crate::clock::Timestamp;
use crate::head::EPOCH;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TileId, TileNodes, TreeRoot};
use crate::store::{LogEnd, NewState, RawEntry};

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryFault {
    /// Its bytes are not those of the tree, or there is no row.
    Bytes,
    /// Its bytes are those of the tree; what stands beside them is not theirs.
    Beside(Leaf),
}

/// Looks at the entries after `after`, one for each hash of the tree; answers the faults by id.
pub(super) fn judge_entries(
    after: u64,
    hashes: &[Hash],
    rows: &[RawEntry],
) -> Vec<(u64, EntryFault)> {
    let mut rows = rows.iter().peekable();
    let mut faults = Vec::new();
    for (id, hash) in (after + 1..).zip(hashes) {
        let row = rows.next_if(|row| row.id == id);
        if let Some(fault) = judge_entry(id, *hash, row) {
            faults.push((id, fault));
        }
    }
    faults
}

fn judge_entry(id: u64, hash: Hash, row: Option<&RawEntry>) -> Option<EntryFault> {
    let leaf = row
        .filter(|row| Hash::of_leaf(&row.leaf) == hash)
        .and_then(|row| Leaf::parse(row.leaf.as_slice()).ok().map(|leaf| (row, leaf)));
    let Some((row, leaf)) = leaf else { return Some(EntryFault::Bytes) };
    let is_right = leaf.id() == id
        && leaf.entry_hash().as_bytes()[..] == row.entry_hash[..]
        && leaf.event_type().as_bytes() == row.event_type
        && leaf.timestamp().millis() == row.timestamp;
    if is_right { None } else { Some(EntryFault::Beside(leaf)) }
}

/// The stored tile, if it is complete and has this root.
pub(super) fn judge_tile(stored: &[u8], root: Hash) -> Option<TileNodes> {
    let tile = TileNodes::from_bytes(stored).filter(|tile| tile.width() == TileId::WIDTH)?;
    (tile.root() == Some(root)).then_some(tile)
}

/// The tile over these hashes, if it is complete and has this root.
pub(super) fn tile_of(hashes: &[Hash], root: Hash) -> Option<TileNodes> {
    let tile = TileNodes::from_hashes(hashes).filter(|tile| tile.width() == TileId::WIDTH)?;
    (tile.root() == Some(root)).then_some(tile)
}

/// Neighbouring ids as ranges.
pub(super) fn ranges(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    ranges
}

/// The state that belongs to the end of the log, if the stored one is another.
///
/// `tree` and `chain_head` are those of all entries. The head's time is that of the newest head; a
/// node that also keeps heads of others (`is_exact` is false) may have seen a later one.
pub(super) fn judge_state(
    end: &LogEnd,
    tree: TreeRoot,
    chain_head: Hash,
    last_time: Timestamp,
    is_exact: bool,
) -> Option<(NewState, u64)> {
    let state = &end.state;
    let head_time = end.newest_head.and_then(|(size, time)| {
        let time = Timestamp::from_millis(time)?;
        (size <= tree.size.to_sql()).then_some((size, time))
    });
    let least = head_time.map_or(last_time, |(_, time)| time.max(last_time));
    let is_newest = head_time.is_some_and(|(size, _)| size == tree.size.to_sql());
    let stored = Timestamp::from_millis(state.timestamp);
    let time = match stored {
        Some(stored) if stored == least || (stored > least && !(is_exact && is_newest)) => stored,
        _ => least,
    };
    let right = NewState { tree, chain_head: Some(chain_head), timestamp: time, epoch: EPOCH };
    let is_right = state.size == tree.size.to_sql()
        && state.root[..] == tree.hash.as_bytes()[..]
        && state.chain_head.as_deref() == Some(&chain_head.as_bytes()[..])
        && stored == Some(time)
        && state.epoch.cast_unsigned() == EPOCH
        && state.last_event_id.cast_unsigned() == end.newest_event_id;
    (!is_right).then_some((right, end.newest_event_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::TreeSize;
    use crate::store::RawState;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_768_473_000_000 + millis).unwrap()
    }

    fn leaf(id: u64) -> Leaf {
        let previous = (id > 1).then(|| Hash::of(&id.to_be_bytes()));
        Leaf::build(id, previous, at(0), &"x-test:a".parse().unwrap(), b"{\"n\":1}").unwrap()
    }

    fn row(leaf: &Leaf) -> RawEntry {
        RawEntry {
            id: leaf.id(),
            leaf: leaf.bytes().to_vec(),
            entry_hash: leaf.entry_hash().as_bytes().to_vec(),
            event_type: leaf.event_type().as_bytes().to_vec(),
            timestamp: leaf.timestamp().millis(),
        }
    }

    /// Entries 5 to 8 and the hashes that the tree has for them.
    fn entries() -> (Vec<Hash>, Vec<RawEntry>) {
        let leaves: Vec<Leaf> = (5..=8).map(leaf).collect();
        (leaves.iter().map(Leaf::leaf_hash).collect(), leaves.iter().map(row).collect())
    }

    #[test]
    fn a_flipped_bit_of_any_column_of_an_entry_is_found() {
        type Harm = fn(&mut Vec<RawEntry>);
        let (hashes, whole) = entries();
        assert_eq!(judge_entries(4, &hashes, &whole), []);
        let beside = EntryFault::Beside(leaf(6));
        let table: [(&str, Harm, EntryFault); 8] = [
            ("leaf", |rows| rows[1].leaf[9] ^= 1, EntryFault::Bytes),
            ("shorter", |rows| rows[1].leaf.truncate(20), EntryFault::Bytes),
            ("leaf of another", |rows| rows[1].leaf = rows[2].leaf.clone(), EntryFault::Bytes),
            ("no row", |rows| drop(rows.remove(1)), EntryFault::Bytes),
            ("hash", |rows| rows[1].entry_hash[31] ^= 0x80, beside.clone()),
            ("no hash", |rows| rows[1].entry_hash.clear(), beside.clone()),
            ("type", |rows| rows[1].event_type[0] ^= 1, beside.clone()),
            ("time", |rows| rows[1].timestamp ^= 1, beside),
        ];
        for (what, harm, fault) in table {
            let mut rows = whole.clone();
            harm(&mut rows);
            assert_eq!(judge_entries(4, &hashes, &rows), [(6, fault)], "{what}");
        }
    }

    #[test]
    fn a_leaf_and_its_hash_that_were_changed_together_are_found() {
        let (hashes, mut rows) = entries();
        rows[3] =
            row(&Leaf::build(8, Some(Hash::of(b"x")), at(1), &"x-test:b".parse().unwrap(), b"{}")
                .unwrap());
        assert_eq!(judge_entries(4, &hashes, &rows), [(8, EntryFault::Bytes)]);
    }

    #[test]
    fn a_tile_is_sound_only_if_it_is_complete_and_has_the_root_above_it() {
        let hashes: Vec<Hash> = (0..256_u16).map(|n| Hash::of(&n.to_be_bytes())).collect();
        let tile = TileNodes::from_hashes(&hashes).unwrap();
        let (root, bytes) = (tile.root().unwrap(), tile.to_bytes());
        assert_eq!(judge_tile(&bytes, root), Some(tile));
        assert_eq!(judge_tile(&bytes[32..], root), None);
        assert_eq!(judge_tile(&bytes, Hash::of(b"another")), None);
        for byte in [0, 31, 4_000, 8_191] {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 4;
            assert_eq!(judge_tile(&damaged, root), None, "{byte}");
        }
        assert!(tile_of(&hashes, root).is_some());
        assert_eq!(tile_of(&hashes[1..], root), None);
    }

    #[test]
    fn neighbours_make_one_range() {
        assert_eq!(ranges([3, 4, 5, 9, 11, 12]), [(3, 5), (9, 9), (11, 12)]);
        assert_eq!(ranges([]), []);
    }

    fn end() -> (LogEnd, TreeRoot, Hash) {
        let tree = TreeRoot { size: TreeSize::ZERO.plus(9), hash: Hash::of(b"root") };
        let chain_head = Hash::of(b"last");
        let state = RawState {
            size: 9,
            root: tree.hash.as_bytes().to_vec(),
            chain_head: Some(chain_head.as_bytes().to_vec()),
            timestamp: at(50).millis(),
            epoch: 1,
            last_event_id: 7,
        };
        let newest_head = Some((9, at(50).millis()));
        let end = LogEnd { state, newest_id: 9, newest_event_id: 7, newest_head };
        (end, tree, chain_head)
    }

    #[test]
    fn each_field_of_the_state_is_held_against_the_entries() {
        type Harm = fn(&mut RawState);
        let (whole, tree, chain_head) = end();
        assert_eq!(judge_state(&whole, tree, chain_head, at(3), true), None);
        let right =
            NewState { tree, chain_head: Some(chain_head), timestamp: at(50), epoch: EPOCH };
        let table: [(&str, Harm); 8] = [
            ("size", |state| state.size ^= 1),
            ("root", |state| state.root[0] ^= 1),
            ("chain head", |state| state.chain_head.as_mut().unwrap()[5] ^= 1),
            ("no chain head", |state| state.chain_head = None),
            ("earlier", |state| state.timestamp -= 1),
            ("later", |state| state.timestamp += 1 << 40),
            ("epoch", |state| state.epoch = 3),
            ("last event", |state| state.last_event_id = 8),
        ];
        for (what, harm) in table {
            let mut damaged = whole.clone();
            harm(&mut damaged.state);
            let found = judge_state(&damaged, tree, chain_head, at(3), true);
            assert_eq!(found, Some((right, 7)), "{what}");
        }
    }

    #[test]
    fn a_node_that_saw_a_later_head_keeps_its_time() {
        let (mut later, tree, chain_head) = end();
        later.state.timestamp = at(900).millis();
        assert_eq!(judge_state(&later, tree, chain_head, at(3), false), None);
        later.newest_head = None;
        assert_eq!(judge_state(&later, tree, chain_head, at(3), true), None);
    }
}
