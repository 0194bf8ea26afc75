//! The paths under which a log serves its tiles and its entries (C2SP tlog-tiles, at commit
//! 5ba5ee8).
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]          level 0 to 63
//! tile/entries/<N>[.p/<W>]      the entries below tile N of level 0
//! ```
//!
//! `N` is written in groups of three digits, all but the last after an `x`: tile 1234067 is
//! `x001/x234/067`. `W`, from 1 to 255, is the width of a tile that is not complete. No number has
//! a digit more than it needs.

use std::fmt;
use std::str::FromStr;

use super::tile::TileId;
use super::{TreeSize, tile};

/// The level above which no path names a tile.
const MAX_LEVEL: u8 = 63;

/// The width of a complete tile.
const FULL: u16 = 1 << tile::TILE_HEIGHT;

/// The path of a tile, complete or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    tile: TileId,
    width: u16,
}

/// The path of the entries below a tile of level 0, complete or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BundlePath {
    index: u64,
    width: u16,
}

/// Why a text is not the path of a tile or a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TilePathError {
    /// It does not begin with `tile/<L>/`, or with `tile/entries/` where a bundle is meant.
    #[error("a path begins with `tile/<level>/` or `tile/entries/`")]
    OtherPath,
    /// The level is beyond 63, or not a decimal number without leading zeros.
    #[error("the level is not a decimal number from 0 to 63 without leading zeros")]
    BadLevel,
    /// The index is not in its one form, or beyond 64 bits.
    #[error("the index is not in groups of three digits, `x` before all but the last")]
    BadIndex,
    /// The width is not one of an incomplete tile.
    #[error("the width is not a decimal number from 1 to 255 without leading zeros")]
    BadWidth,
}

impl TilePath {
    /// The path of a tile with this many hashes: 1 to 256.
    pub fn new(tile: TileId, width: u16) -> Option<Self> {
        let is_path = tile.level <= MAX_LEVEL && (1..=FULL).contains(&width);
        is_path.then_some(Self { tile, width })
    }

    /// The path of a tile with all its hashes.
    pub fn complete(tile: TileId) -> Option<Self> {
        Self::new(tile, FULL)
    }

    /// The path under which a log of this size serves the tile: with all hashes that it has, if
    /// it has any.
    pub fn in_tree(tile: TileId, size: TreeSize) -> Option<Self> {
        Self::new(tile, width_in(tile, size))
    }

    /// Which tile it is.
    pub const fn tile(self) -> TileId {
        self.tile
    }

    /// How many of its hashes are meant: 256 is the complete tile.
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Whether all hashes of it exist in the tree of this size.
    ///
    /// If so, a log of this size may have served it: incomplete tiles of every size so far stay
    /// right, since a tile only grows.
    pub fn is_in(self, size: TreeSize) -> bool {
        self.width <= width_in(self.tile, size)
    }
}

impl BundlePath {
    /// The path of a bundle with this many entries: 1 to 256.
    pub fn new(index: u64, width: u16) -> Option<Self> {
        (1..=FULL).contains(&width).then_some(Self { index, width })
    }

    /// The path of a bundle with all its entries.
    pub const fn complete(index: u64) -> Self {
        Self { index, width: FULL }
    }

    /// The path under which a log of this size serves the bundle: with all entries that it has,
    /// if it has any.
    pub fn in_tree(index: u64, size: TreeSize) -> Option<Self> {
        Self::new(index, width_in(TileId { level: 0, index }, size))
    }

    /// Which bundle it is: that of the entries from `256 * index`.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many of its entries are meant: 256 is the complete bundle.
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The tile of level 0 over the same entries.
    pub const fn tile(self) -> TilePath {
        TilePath { tile: TileId { level: 0, index: self.index }, width: self.width }
    }

    /// Whether all entries of it exist in the log of this size.
    pub fn is_in(self, size: TreeSize) -> bool {
        self.tile().is_in(size)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.tile.level)?;
        write_place(f, self.tile.index, self.width)
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let path = path.strip_prefix("tile/").ok_or(TilePathError::OtherPath)?;
        let (level, place) = path.split_once('/').ok_or(TilePathError::OtherPath)?;
        let level = parse_decimal(level).filter(|level| *level <= MAX_LEVEL.into());
        let level = level.and_then(|level| level.try_into().ok()).ok_or(TilePathError::BadLevel)?;
        let (index, width) = parse_place(place)?;
        Ok(Self { tile: TileId { level, index }, width })
    }
}

impl FromStr for BundlePath {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let place = path.strip_prefix("tile/entries/").ok_or(TilePathError::OtherPath)?;
        let (index, width) = parse_place(place)?;
        Ok(Self { index, width })
    }
}

/// How many hashes of a tile the tree of this size has.
fn width_in(tile: TileId, size: TreeSize) -> u16 {
    let hashes = size.get().checked_shr(u32::from(tile.level) * u32::from(tile::TILE_HEIGHT));
    let hashes = hashes.unwrap_or(0);
    let complete = hashes / u64::from(FULL);
    match tile.index {
        index if index < complete => FULL,
        index if index == complete => u16::try_from(hashes % u64::from(FULL)).unwrap_or(FULL),
        _ => 0,
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let digits = index.to_string();
    let digits = format!("{:0>1$}", digits, digits.len().next_multiple_of(3));
    let (first, last) = digits.split_at(digits.len() - 3);
    for group in first.as_bytes().chunks(3) {
        write!(f, "x{}/", String::from_utf8_lossy(group))?;
    }
    f.write_str(last)?;
    if width == FULL { Ok(()) } else { write!(f, ".p/{width}") }
}

fn parse_place(place: &str) -> Result<(u64, u16), TilePathError> {
    let Some((index, width)) = place.split_once(".p/") else {
        return Ok((parse_index(place)?, FULL));
    };
    let width = parse_decimal(width).filter(|width| (1..FULL).contains(width));
    Ok((parse_index(index)?, width.ok_or(TilePathError::BadWidth)?))
}

/// Reads groups of three digits, the first of several not `000`.
fn parse_index(text: &str) -> Result<u64, TilePathError> {
    let (first, last) = text.rsplit_once('/').map_or((None, text), |(a, b)| (Some(a), b));
    let groups = first.into_iter().flat_map(|first| first.split('/'));
    let mut index: u64 = 0;
    for group in groups.map(|group| group.strip_prefix('x')).chain([Some(last)]) {
        let group = group.and_then(parse_group).ok_or(TilePathError::BadIndex)?;
        let wider = index.checked_mul(1000).and_then(|index| index.checked_add(group));
        index = wider.ok_or(TilePathError::BadIndex)?;
    }
    let is_minimal = !text.starts_with("x000");
    if is_minimal { Ok(index) } else { Err(TilePathError::BadIndex) }
}

fn parse_group(digits: &str) -> Option<u64> {
    let is_group = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_group.then(|| digits.parse().ok()).flatten()
}

/// Reads a small number: no sign, no leading zeros.
fn parse_decimal(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(leaves: u64) -> TreeSize {
        TreeSize::new(leaves).expect("a size")
    }

    #[test]
    fn a_path_is_shown_as_it_is_read() {
        for (path, level, index, width) in [
            ("tile/0/000", 0, 0, 256),
            ("tile/0/999.p/1", 0, 999, 1),
            ("tile/1/x001/000", 1, 1000, 256),
            ("tile/63/x018/x446/x744/x073/x709/x551/615.p/255", 63, u64::MAX, 255),
        ] {
            let tile = TilePath::new(TileId { level, index }, width).expect("a tile");
            assert_eq!(path.parse(), Ok(tile));
            assert_eq!(tile.to_string(), path);
            let bundle = BundlePath::new(index, width).expect("a bundle");
            let path = path.replace(&format!("/{level}/"), "/entries/");
            assert_eq!(path.parse(), Ok(bundle));
            assert_eq!(bundle.to_string(), path);
        }
    }

    #[test]
    fn what_no_path_can_say_is_no_path() {
        let tile = TileId { level: 0, index: 0 };

        for width in [0, 257, u16::MAX] {
            assert_eq!(TilePath::new(tile, width), None);
            assert_eq!(BundlePath::new(0, width), None);
        }
        assert_eq!(TilePath::new(TileId { level: 64, ..tile }, 1), None);
    }

    #[test]
    fn each_reason_has_its_error() {
        let tile = |path: &str| path.parse::<TilePath>().expect_err(path);
        let bundle = |path: &str| path.parse::<BundlePath>().expect_err(path);

        for other in ["", "tile", "tile/", "tile/0", "/tile/0/000", "Tile/0/000"] {
            assert_eq!(tile(other), TilePathError::OtherPath);
        }
        assert_eq!(bundle("tile/0/000"), TilePathError::OtherPath);
        for level in ["64", "00", "", "+1", "-1", "entries", "256", "65536", "\u{661}"] {
            assert_eq!(tile(&format!("tile/{level}/000")), TilePathError::BadLevel);
        }
        for index in ["", "0", "0000", "x000/001", "x001", "x001/x002", "001/002", "x1/002"] {
            assert_eq!(tile(&format!("tile/0/{index}")), TilePathError::BadIndex);
            assert_eq!(bundle(&format!("tile/entries/{index}.p/1")), TilePathError::BadIndex);
        }
        for index in ["x018/x446/x744/x073/x709/x551/616", "000/", "/000", "x\u{660}/000", "+01"] {
            assert_eq!(tile(&format!("tile/0/{index}")), TilePathError::BadIndex);
        }
        for width in ["", "0", "00", "01", "256", "65537", "+1", "1/", "1.p/1", " 1"] {
            assert_eq!(tile(&format!("tile/0/000.p/{width}")), TilePathError::BadWidth);
            assert_eq!(bundle(&format!("tile/entries/000.p/{width}")), TilePathError::BadWidth);
        }
    }

    #[test]
    fn a_tree_has_the_tiles_of_all_its_earlier_sizes() {
        let has = |path: &str, leaves| path.parse::<TilePath>().expect(path).is_in(size(leaves));
        let counts = [(0, 273, 112), (1, 1, 17), (2, 0, 1)];

        for (level, full, partial) in counts {
            let at = |index: u64, width| {
                let tile = TilePath::new(TileId { level, index }, width).expect("a tile");
                tile.is_in(size(70_000))
            };
            assert!(full == 0 || at(full - 1, 256) && at(full - 1, 1));
            assert!(at(full, partial) && at(full, 1) && !at(full, partial + 1));
            assert!(!at(full, 256) && !at(full + 1, 1) && !at(u64::MAX, 1));
        }
        assert!(!has("tile/0/000.p/1", 0) && has("tile/0/000.p/1", 1));
        assert!(!has("tile/0/000", 255) && has("tile/0/000", 256));
        assert!(!has("tile/1/000.p/1", 255) && has("tile/1/000.p/1", 256));
        for level in 8..=63 {
            assert!(!has(&format!("tile/{level}/000.p/1"), TreeSize::MAX.get()));
        }
        assert!(has("tile/7/000.p/127", TreeSize::MAX.get()));
        assert!("tile/entries/001.p/44".parse::<BundlePath>().expect("a path").is_in(size(300)));
        assert!(!"tile/entries/001.p/45".parse::<BundlePath>().expect("a path").is_in(size(300)));
    }

    #[test]
    fn the_last_tile_of_a_tree_is_served_as_wide_as_it_is() {
        let path = |level, index, leaves| {
            let tile = TilePath::in_tree(TileId { level, index }, size(leaves));
            tile.map(|path| path.to_string())
        };

        assert_eq!(path(0, 1, 300).as_deref(), Some("tile/0/001.p/44"));
        assert_eq!(path(0, 0, 300).as_deref(), Some("tile/0/000"));
        assert_eq!(path(1, 0, 300).as_deref(), Some("tile/1/000.p/1"));
        assert_eq!(path(0, 1, 256), None);
        assert_eq!(path(64, 0, 256), None);
        let bundle = BundlePath::in_tree(1, size(300)).map(|path| path.to_string());
        assert_eq!(bundle.as_deref(), Some("tile/entries/001.p/44"));
        assert_eq!(BundlePath::in_tree(2, size(300)), None);
    }
}
