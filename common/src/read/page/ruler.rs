//! The ruler: who has how much of the log, on one axis in entries.

use super::followers;
use super::text::grouped;
use super::witnesses;
use crate::merkle::TreeSize;
use crate::wire::status::{ReplicationStatus, WitnessRow};

/// One axis, and a lane for everybody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ruler {
    /// The sizes at the axis' start, middle and end.
    pub(super) scale: [String; 3],
    /// Whether the axis begins above zero.
    pub(super) is_zoomed: bool,
    pub(super) lanes: Vec<Lane>,
}

/// Where somebody stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// `leader`, `witnessed`, `follower` or `witness`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) size: String,
    /// From the axis' start, as a percentage.
    pub(super) place: String,
}

/// A lane before the axis is known.
struct Mark {
    kind: &'static str,
    name: String,
    size: TreeSize,
}

/// The ruler of all who have said where they stand; `None` before anybody has.
pub(super) fn ruler(
    status: Option<&ReplicationStatus>,
    witnesses: &[WitnessRow],
    quorum: u64,
) -> Option<Ruler> {
    let mut marks = Vec::new();
    let mut mark = |kind, name: String, size| marks.push(Mark { kind, name, size });
    match status {
        Some(ReplicationStatus::Leader(status)) => {
            mark("leader", "Leader".to_owned(), status.tree_size);
        }
        Some(ReplicationStatus::Follower(status)) => {
            if let Some(size) = status.leader_tree_size {
                mark("leader", "Leader".to_owned(), size);
            }
        }
        None => {}
    }
    if let Some(size) = signed_by(quorum, witnesses) {
        mark("witnessed", "Quorum".to_owned(), size);
    }
    match status {
        Some(ReplicationStatus::Leader(status)) => {
            for row in &status.followers {
                if let Some(size) = row.tree_size {
                    mark("follower", followers::name(row), size);
                }
            }
        }
        Some(ReplicationStatus::Follower(status)) => {
            mark("follower", "This mirror".to_owned(), status.tree_size);
        }
        None => {}
    }
    for row in witnesses {
        if let Some(size) = row.tree_size {
            mark("witness", witnesses::name(row), size);
        }
    }
    let (first, last) = axis(marks.iter().map(|mark| mark.size.get()))?;
    let lane = |mark: Mark| Lane {
        kind: mark.kind,
        name: mark.name,
        size: grouped(mark.size.get()),
        place: percentage(mark.size.get() - first, last - first),
    };
    Some(Ruler {
        scale: [first, first + (last - first) / 2, last].map(grouped),
        is_zoomed: first > 0,
        lanes: marks.into_iter().map(lane).collect(),
    })
}

/// The largest size that so many witnesses have signed; `None` if there are too few.
pub(super) fn signed_by(quorum: u64, witnesses: &[WitnessRow]) -> Option<TreeSize> {
    let last = usize::try_from(quorum.checked_sub(1)?).ok()?;
    let mut sizes: Vec<TreeSize> = witnesses.iter().filter_map(|row| row.tree_size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.get(last).copied()
}

/// From where to where the axis goes: from zero, unless the sizes lie so close together that
/// nobody could tell them apart.
fn axis(sizes: impl Iterator<Item = u64> + Clone) -> Option<(u64, u64)> {
    let last = sizes.clone().max()?.max(1);
    let spread = last - sizes.min()?;
    let shown = spread.saturating_mul(2).max(10);
    if spread == 0 || shown >= last / 2 {
        return Some((0, last));
    }
    // A round start, so that the axis does not change with every entry.
    let step = 10_u64.pow(shown.ilog10());
    Some(((last - shown) / step * step, last))
}

/// A part of a whole as a percentage with one digit after the point.
fn percentage(part: u64, whole: u64) -> String {
    let thousandths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::status::testing::some_status;

    #[test]
    fn the_axis_shows_differences_wherever_they_are() {
        let of = |sizes: &[u64]| axis(sizes.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0]), Some((0, 1)));
        assert_eq!(of(&[500, 500]), Some((0, 500)), "nothing to tell apart");
        assert_eq!(of(&[500, 100]), Some((0, 500)));
        assert_eq!(of(&[1_000_000, 999_900]), Some((999_800, 1_000_000)));
        assert_eq!(of(&[1_000_000, 999_999]), Some((999_990, 1_000_000)));
        assert_eq!(of(&[u64::MAX, 0]), Some((0, u64::MAX)));
    }

    #[test]
    fn places_are_percentages_of_the_axis() {
        assert_eq!(
            [(0, 10), (1, 3), (10, 10)].map(|(a, b)| percentage(a, b)),
            ["0.0%", "33.3%", "100.0%"]
        );
        assert_eq!(percentage(u64::MAX, u64::MAX), "100.0%");
    }

    #[test]
    fn a_mirror_stands_on_its_own_ruler() {
        let ruler = ruler(Some(&some_status(40)), &[], 0).unwrap();
        assert_eq!(
            ruler.lanes,
            [Lane {
                kind: "follower",
                name: "This mirror".to_owned(),
                size: "40".to_owned(),
                place: "100.0%".to_owned(),
            }]
        );
        assert_eq!(ruler.scale, ["0", "20", "40"]);
    }
}
