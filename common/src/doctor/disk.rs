//! Room on the disks.

use std::path::PathBuf;

use super::{Check, Finding};

/// The disk below a path.
pub(super) struct Disk {
    /// What is kept there.
    pub(super) what: &'static str,
    /// Where.
    pub(super) path: PathBuf,
    /// How many bytes are free, or why that is not known.
    pub(super) free: Result<u64, String>,
}

/// Judges the disks; below `floor` bytes the node stops.
pub(super) fn disks(disks: &[Disk], floor: u64) -> Vec<Finding> {
    disks.iter().map(|disk| judge(disk, floor)).collect()
}

fn judge(disk: &Disk, floor: u64) -> Finding {
    let (check, what, path) = (Check::DiskSpace, disk.what, disk.path.display());
    let free = match &disk.free {
        Ok(free) => *free,
        Err(why) => {
            return Finding::fail(
                check,
                format!("the disk of the {what} cannot be measured: {why}"),
                "check the path and its permissions",
            );
        }
    };
    let (shown, least) = (size(free), size(floor));
    if free < floor {
        return Finding::fail(
            check,
            format!("{shown} are free for the {what} ({path}), less than MIN_FREE ({least})"),
            "free some space, or lower MIN_FREE: the node stops here",
        );
    }
    if free / 2 < floor {
        return Finding::warn(
            check,
            format!("{shown} are free for the {what}; at MIN_FREE ({least}) the node stops"),
            "free some space soon",
        );
    }
    Finding::ok(check, format!("{shown} are free for the {what}"))
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (1..UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0);
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    if unit == 0 || tenths >= 1000 {
        return format!("{} {}", tenths / 10, UNITS[unit]);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn room_is_held_against_the_floor_at_which_a_node_stops() {
        let level = |free| {
            let disk = Disk { what: "data directory", path: "/d".into(), free };
            disks(&[disk], 1000)[0].level
        };

        assert_eq!(level(Ok(999)), Level::Fail);
        assert_eq!(level(Ok(1000)), Level::Warn);
        assert_eq!(level(Ok(2000)), Level::Ok);
        assert_eq!(level(Err("gone".to_owned())), Level::Fail);
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (150 << 30, "150 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
