//! What is wrong with a stored head. Pure.

use crate::checkpoint;
use crate::clock::Timestamp;
use crate::head::{HeadJson, Origin};
use crate::keys::PublicKey;
use crate::merkle::{Hash, TreeRoot, TreeSize};
use crate::store::{HeadRow, HeadTable, RawHead};

/// What a stored head is held against.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// The key that signs heads.
    pub(super) operator: PublicKey,
    /// The log's name.
    pub(super) origin: Origin,
}

/// What becomes of a stored head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadVerdict {
    /// It is what was signed, or will be.
    Sound,
    /// Its signature holds, and says what the columns beside it should be.
    Rewrite(Box<HeadRow>),
    /// It is no head of this log: nothing says what it was.
    Drop,
}

/// The size that a head claims, if it is one.
pub(super) fn claimed_size(row: &RawHead) -> Option<TreeSize> {
    signed(row).map(|json| json.tree_size).or_else(|| TreeSize::from_sql(row.size))
}

/// Looks at a stored head; `tree` and `chain_head` are the own ones at [`claimed_size`].
pub(super) fn judge_head(
    row: &RawHead,
    table: HeadTable,
    authority: &Authority,
    tree: TreeRoot,
    chain_head: Option<Hash>,
) -> HeadVerdict {
    let Some(text) = &row.json else {
        let right = columns(row).filter(|head| (head.tree, head.chain_head) == (tree, chain_head));
        let in_place = right.is_some_and(|head| place(&head, table) == row.place);
        return if in_place { HeadVerdict::Sound } else { HeadVerdict::Drop };
    };
    let right = signed(row).filter(|json| holds(json, authority)).map(|json| HeadRow {
        head_json: String::from_utf8(text.clone()).ok(),
        ..HeadRow::unsigned(&json.claim())
    });
    match right {
        Some(right) if (right.tree, right.chain_head) == (tree, chain_head) => {
            let stored =
                columns(row).map(|head| HeadRow { head_json: right.head_json.clone(), ..head });
            if stored.as_ref() == Some(&right) && place(&right, table) == row.place {
                HeadVerdict::Sound
            } else {
                HeadVerdict::Rewrite(Box::new(right))
            }
        }
        _ => HeadVerdict::Drop,
    }
}

/// The tree of a stored head, if the operator signed it.
pub(super) fn verified(row: &RawHead, authority: &Authority) -> Option<TreeRoot> {
    signed(row).filter(|json| holds(json, authority)).map(|json| json.claim().tree())
}

/// The signature of a head, and that of the checkpoint that comes with it.
fn holds(json: &HeadJson, authority: &Authority) -> bool {
    let Authority { operator, origin } = authority;
    let note = || checkpoint::open(&json.checkpoint, origin.as_str(), operator);
    let is_noted = json.checkpoint.is_empty()
        || note().is_ok_and(|checkpoint| checkpoint.tree() == json.claim().tree());
    is_noted && json.last_event_id <= json.tree_size.get() && json.verify(operator, origin).is_ok()
}

fn signed(row: &RawHead) -> Option<HeadJson> {
    serde_json::from_slice(row.json.as_deref()?).ok()
}

fn columns(row: &RawHead) -> Option<HeadRow> {
    let chain_head = match row.chain_head.as_deref() {
        None => None,
        Some(hash) => Some(Hash::from_slice(hash)?),
    };
    Some(HeadRow {
        tree: TreeRoot { size: TreeSize::from_sql(row.size)?, hash: Hash::from_slice(&row.root)? },
        chain_head,
        epoch: u64::try_from(row.epoch).ok().filter(|epoch| *epoch == crate::head::EPOCH)?,
        timestamp: Timestamp::from_millis(row.timestamp)?,
        head_json: None,
    })
}

fn place(head: &HeadRow, table: HeadTable) -> i64 {
    match table {
        HeadTable::Recent => head.timestamp.seconds(),
        HeadTable::Pinned => head.tree.size.to_sql(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{EPOCH, TreeHead};
    use crate::keys::SigningKey;

    fn tree() -> TreeRoot {
        TreeRoot { size: TreeSize::ZERO.plus(7), hash: Hash::of(b"root") }
    }

    fn authority() -> Authority {
        let operator = SigningKey::from_seed([7; 32]).public().clone();
        Authority { operator, origin: "log.example/1".parse().unwrap() }
    }

    fn head() -> TreeHead {
        TreeHead {
            chain_head: Some(Hash::of(b"last")),
            epoch: EPOCH,
            origin: authority().origin,
            root_hash: tree().hash,
            timestamp: Timestamp::from_millis(1_768_473_000_123).unwrap(),
            tree_size: tree().size,
        }
    }

    fn row(table: HeadTable) -> RawHead {
        let signed = head().sign(&SigningKey::from_seed([7; 32]));
        let place = place(&HeadRow::unsigned(&head()), table);
        RawHead {
            place,
            size: 7,
            root: tree().hash.as_bytes().to_vec(),
            chain_head: Some(Hash::of(b"last").as_bytes().to_vec()),
            epoch: 1,
            timestamp: head().timestamp.millis(),
            json: serde_json::to_vec(&signed.to_json(String::new(), 7)).ok(),
        }
    }

    fn judged(row: &RawHead, table: HeadTable) -> HeadVerdict {
        judge_head(row, table, &authority(), tree(), Some(Hash::of(b"last")))
    }

    #[test]
    fn a_head_is_sound_with_its_signature_and_before_it_has_one() {
        for table in [HeadTable::Recent, HeadTable::Pinned] {
            assert_eq!(judged(&row(table), table), HeadVerdict::Sound);
            assert_eq!(judged(&RawHead { json: None, ..row(table) }, table), HeadVerdict::Sound);
        }
    }

    #[test]
    fn columns_that_are_not_what_was_signed_are_written_anew() {
        type Harm = fn(&mut RawHead);
        let table: [(&str, Harm); 7] = [
            ("place", |row| row.place += 1),
            ("size", |row| row.size ^= 2),
            ("root", |row| row.root[3] ^= 1),
            ("chain head", |row| row.chain_head.as_mut().unwrap()[3] ^= 1),
            ("no chain head", |row| row.chain_head = None),
            ("epoch", |row| row.epoch = 9),
            ("time", |row| row.timestamp ^= 64),
        ];
        let json = String::from_utf8(row(HeadTable::Recent).json.unwrap()).unwrap();
        let right = HeadRow { head_json: Some(json), ..HeadRow::unsigned(&head()) };
        for (what, harm) in table {
            let mut damaged = row(HeadTable::Recent);
            harm(&mut damaged);
            let verdict = judged(&damaged, HeadTable::Recent);
            assert_eq!(verdict, HeadVerdict::Rewrite(Box::new(right.clone())), "{what}");
            damaged.json = None;
            // Nobody signed the time and place of an unsigned head: any of one second will do.
            if what != "time" {
                assert_eq!(judged(&damaged, HeadTable::Recent), HeadVerdict::Drop, "{what}");
            }
        }
    }

    #[test]
    fn no_bit_of_a_signed_head_can_be_another() {
        let whole = row(HeadTable::Recent);
        let length = whole.json.as_ref().unwrap().len();
        for byte in 0..length {
            let mut damaged = whole.clone();
            damaged.json.as_mut().unwrap()[byte] ^= 1;
            let verdict = judged(&damaged, HeadTable::Recent);
            let is_event = std::str::from_utf8(&whole.json.as_ref().unwrap()[..byte])
                .unwrap()
                .ends_with("\"last_event_id\":");
            // The newest event is not signed; it can't lie beyond the size.
            assert_eq!(verdict == HeadVerdict::Drop, !is_event, "byte {byte}: {verdict:?}");
        }
    }

    #[test]
    fn a_head_of_another_history_is_none() {
        let other = TreeRoot { hash: Hash::of(b"fork"), ..tree() };
        let verdict = |chain| {
            judge_head(&row(HeadTable::Recent), HeadTable::Recent, &authority(), other, chain)
        };
        assert_eq!(verdict(Some(Hash::of(b"last"))), HeadVerdict::Drop);
    }
}
