//! Entry bundles: the entries below one tile of level 0 (C2SP tlog-tiles, at commit 5ba5ee8).
//!
//! ```text
//! u16 length || entry      1 to 256 times, the length big-endian
//! ```
//!
//! A bundle proves nothing by itself: [`EntryBundle::authenticate`] compares each entry with the
//! hash that the log's root vouches for.

use crate::merkle::{AuthenticTiles, Hash, TileId};

/// The longest entry that a length of two bytes can say.
pub const MAX_BUNDLED_ENTRY_BYTES: usize = u16::MAX as usize;

/// The longest bundle.
pub const MAX_BUNDLE_BYTES: usize = TileId::WIDTH * (2 + MAX_BUNDLED_ENTRY_BYTES);

/// Some consecutive entries of a log, from a multiple of 256 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBundle {
    entries: Vec<Vec<u8>>,
}

/// Why bytes or entries are not a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A bundle of no entries, or of more than a tile has hashes.
    #[error("a bundle has 1 to 256 entries, not {0}")]
    WrongCount(usize),
    /// An entry that a length of two bytes cannot say.
    #[error("an entry of {0} bytes is too long for a bundle, which takes 65535")]
    EntryTooLong(usize),
    /// The bytes end before the last entry does.
    #[error("the bundle is cut short in entry {0}")]
    Truncated(usize),
    /// Something follows the last entry.
    #[error("{0} bytes follow the last entry of the bundle")]
    TrailingBytes(usize),
}

/// Why a bundle is not that of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignBundle {
    /// The tile above it is not among those that were read.
    #[error("tile {0} of level 0, which vouches for the bundle, was not read")]
    NoTile(u64),
    /// The tree has more entries there.
    #[error("the bundle has {got} entries where the tree has {expected}")]
    TooFew {
        /// How many hashes the tile has.
        expected: usize,
        /// How many entries the bundle has.
        got: usize,
    },
    /// An entry is not the one that was hashed.
    #[error("entry {0} is not the one in the tree")]
    WrongEntry(u64),
}

impl EntryBundle {
    /// Bundles 1 to 256 entries of at most 65,535 bytes.
    pub fn new(entries: Vec<Vec<u8>>) -> Result<Self, BundleError> {
        check_count(entries.len())?;
        match entries.iter().map(Vec::len).find(|length| *length > MAX_BUNDLED_ENTRY_BYTES) {
            Some(length) => Err(BundleError::EntryTooLong(length)),
            None => Ok(Self { entries }),
        }
    }

    /// Reads a bundle of exactly this many entries, as its path says.
    pub fn parse(bytes: &[u8], width: u16) -> Result<Self, BundleError> {
        check_count(width.into())?;
        let mut rest = bytes;
        let mut entries = Vec::with_capacity(width.into());
        for place in 0..width.into() {
            let (entry, after) = take_entry(rest).ok_or(BundleError::Truncated(place))?;
            entries.push(entry.to_vec());
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self { entries })
        } else {
            Err(BundleError::TrailingBytes(rest.len()))
        }
    }

    /// The bytes that are served.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = self.entries.iter().map(|entry| 2 + entry.len()).sum();
        let mut bytes = Vec::with_capacity(length);
        for entry in &self.entries {
            let length = u16::try_from(entry.len()).expect("no bundled entry is longer");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        bytes
    }

    /// The entries, which nothing vouches for yet.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Keeps the entries of a tree: each has the hash that stands at its place.
    ///
    /// A complete bundle in place of an incomplete one has more; the rest is dropped, since the
    /// root does not vouch for it.
    pub fn authenticate(
        self,
        index: u64,
        tiles: &AuthenticTiles,
    ) -> Result<Vec<Vec<u8>>, ForeignBundle> {
        let hashes =
            tiles.hashes(TileId { level: 0, index }).ok_or(ForeignBundle::NoTile(index))?;
        let (got, expected) = (self.entries.len(), hashes.len());
        if got < expected {
            return Err(ForeignBundle::TooFew { expected, got });
        }
        let first = index * TileId::WIDTH as u64;
        for ((entry, hash), number) in self.entries.iter().zip(hashes).zip(first..) {
            if Hash::of_leaf(entry) != *hash {
                return Err(ForeignBundle::WrongEntry(number));
            }
        }
        let mut entries = self.entries;
        entries.truncate(expected);
        Ok(entries)
    }
}

fn check_count(count: usize) -> Result<(), BundleError> {
    let fits = (1..=TileId::WIDTH).contains(&count);
    if fits { Ok(()) } else { Err(BundleError::WrongCount(count)) }
}

fn take_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Edge, NodeId, TilePlan};

    fn entries(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| vec![b'e'; n]).collect()
    }

    /// The first tile of a log of these entries, at most 255.
    fn tiles(entries: &[Vec<u8>]) -> AuthenticTiles {
        let mut edge = Edge::empty();
        let hashes: Vec<Hash> = entries.iter().map(|entry| Hash::of_leaf(entry)).collect();
        for hash in &hashes {
            edge.push(*hash, &mut Vec::new());
        }
        let bytes: Vec<u8> = hashes.iter().flat_map(Hash::as_bytes).copied().collect();
        let plan = TilePlan::new(edge.root(), &[NodeId { height: 0, index: 0 }]).unwrap();
        plan.authenticate(|_| Some(&bytes)).unwrap()
    }

    #[test]
    fn a_bundle_survives_its_bytes() {
        for entries in [vec![vec![]], entries(256), vec![vec![7; MAX_BUNDLED_ENTRY_BYTES]]] {
            let bundle = EntryBundle::new(entries.clone()).unwrap();

            let width = u16::try_from(entries.len()).unwrap();
            assert_eq!(EntryBundle::parse(&bundle.to_bytes(), width), Ok(bundle));
        }
        let two = EntryBundle::new(vec![b"one".to_vec(), b"".to_vec()]).unwrap();
        assert_eq!(two.to_bytes(), b"\0\x03one\0\0");
        assert_eq!(two.entries(), [b"one".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn only_the_exact_number_of_whole_entries_is_a_bundle() {
        let bytes = b"\0\x03one\0\0\0\x01x";
        let parse = |bytes: &[u8], width| EntryBundle::parse(bytes, width).map(|_| ());

        assert_eq!(parse(bytes, 3), Ok(()));
        for (end, place) in [(0, 0), (1, 0), (4, 0), (5, 1), (6, 1), (7, 2), (9, 2)] {
            assert_eq!(parse(&bytes[..end], 3), Err(BundleError::Truncated(place)), "{end}");
        }
        assert_eq!(parse(bytes, 4), Err(BundleError::Truncated(3)));
        assert_eq!(parse(bytes, 2), Err(BundleError::TrailingBytes(3)));
        assert_eq!(parse(b"\xff\xffshort", 1), Err(BundleError::Truncated(0)));
        assert_eq!(parse(b"", 0), Err(BundleError::WrongCount(0)));
        assert_eq!(parse(&[0; 514], 257), Err(BundleError::WrongCount(257)));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_bundled() {
        let long = vec![0; MAX_BUNDLED_ENTRY_BYTES + 1];

        assert_eq!(EntryBundle::new(Vec::new()), Err(BundleError::WrongCount(0)));
        assert_eq!(EntryBundle::new(entries(257)), Err(BundleError::WrongCount(257)));
        assert_eq!(EntryBundle::new(vec![long]), Err(BundleError::EntryTooLong(65_536)));
    }

    #[test]
    fn entries_are_those_that_the_tree_has() {
        let honest = entries(5);
        let tiles = tiles(&honest);
        let bundle = |entries| EntryBundle::new(entries).unwrap();

        assert_eq!(bundle(honest.clone()).authenticate(0, &tiles), Ok(honest.clone()));
        assert_eq!(bundle(entries(9)).authenticate(0, &tiles), Ok(honest.clone()));
        let few = ForeignBundle::TooFew { expected: 5, got: 4 };
        assert_eq!(bundle(entries(4)).authenticate(0, &tiles), Err(few));
        for wrong in 0..5 {
            let mut forged = honest.clone();
            forged[wrong].push(b'!');
            let refused = bundle(forged).authenticate(0, &tiles);
            assert_eq!(refused, Err(ForeignBundle::WrongEntry(wrong as u64)));
        }
        assert_eq!(bundle(honest).authenticate(1, &tiles), Err(ForeignBundle::NoTile(1)));
    }
}
