//! Where backups are kept: what they are called, which is the newest, which may go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::MANIFEST;
use super::error::BackupError;
use super::manifest::Manifest;
use super::verify::read_manifest;
use crate::clock::Timestamp;
use crate::files::{FileError, sync_parent};
use crate::merkle::TreeSize;

/// What is not whole is called so.
pub(super) const PART: &str = ".part-";

/// The name of a backup, which sorts as backups do.
pub(super) fn name(size: TreeSize, at: Timestamp) -> String {
    let (date, time) = (at.to_string(), at.to_string());
    let (date, time) = (date[..10].replace('-', ""), time[11..19].replace(':', ""));
    format!("{:012}-{date}T{time}Z", size.get())
}

/// The backup that is meant: `path` itself, or the newest one in it.
pub fn find(path: &Path) -> Result<PathBuf, BackupError> {
    if path.join(MANIFEST).is_file() {
        return Ok(path.to_owned());
    }
    let whole = list(path)?;
    let newest = whole.last().ok_or_else(|| BackupError::None(path.to_owned()))?;
    if whole.iter().any(|(_, manifest)| manifest.log_id != newest.1.log_id) {
        return Err(BackupError::SeveralLogs(path.to_owned()));
    }
    Ok(newest.0.clone())
}

/// Deletes what is older than the newest `keep` backups of the same node's log; answers what.
///
/// Those of other logs and roles stay, and so does what can't be read as a backup.
pub fn thin(newest: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let own = read_manifest(newest)?;
    let place = newest.parent().unwrap_or(Path::new("."));
    let mut same = list(place)?;
    same.retain(|(_, manifest)| (manifest.log_id, manifest.role) == (own.log_id, own.role));
    let old = same.len().saturating_sub(keep.max(1));
    let mut deleted = Vec::new();
    for (path, _) in same.into_iter().take(old).filter(|(path, _)| path != newest) {
        remove(&path)?;
        deleted.push(path);
    }
    Ok(deleted)
}

/// The backups in a directory whose manifest can be read, the oldest first.
fn list(place: &Path) -> Result<Vec<(PathBuf, Manifest)>, BackupError> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::None(place.to_owned()));
        }
        entries => entries.map_err(FileError::io("list", place))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::io("list", place))?.path();
        let is_whole = path.file_name().is_some_and(|name| !is_part(&name.to_string_lossy()));
        if is_whole
            && path.join(MANIFEST).is_file()
            && let Ok(manifest) = read_manifest(&path)
        {
            found.push((path, manifest));
        }
    }
    found.sort_by_key(|(path, manifest)| (manifest.tree_size(), manifest.made_at, path.clone()));
    Ok(found)
}

/// Removes what interrupted runs left. Only for who holds the place's lock.
pub(super) fn sweep(place: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(place).map_err(FileError::io("list", place))? {
        let path = entry.map_err(FileError::io("list", place))?.path();
        if path.file_name().is_some_and(|name| is_part(&name.to_string_lossy())) {
            fs::remove_dir_all(&path).map_err(FileError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn is_part(name: &str) -> bool {
    name.starts_with(PART)
}

/// Takes the name away first: what is half deleted must not look whole.
fn remove(path: &Path) -> Result<(), FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let part = path.with_file_name(format!("{PART}old-{name}"));
    fs::rename(path, &part).map_err(FileError::io("rename", path))?;
    sync_parent(path)?;
    fs::remove_dir_all(&part).map_err(FileError::io("remove", &part))
}

#[cfg(test)]
mod tests {
    use super::super::manifest::testing::manifest;
    use super::*;
    use crate::merkle::Hash;

    fn keep(place: &Path, manifest: &Manifest) -> PathBuf {
        let path = place.join(name(manifest.tree_size(), manifest.made_at));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(MANIFEST), manifest.print()).unwrap();
        path
    }

    #[test]
    fn a_name_tells_size_and_time() {
        let at = "2026-11-22T03:45:09.999Z".parse().unwrap();

        assert_eq!(name(TreeSize::ZERO.plus(1234), at), "000000001234-20261122T034509Z");
    }

    #[test]
    fn the_newest_backup_is_found_among_parts_and_strangers() {
        let place = tempfile::tempdir().unwrap();
        keep(place.path(), &manifest(3, 0));
        let newest = keep(place.path(), &manifest(9, 5));
        fs::create_dir(place.path().join(".part-000000000010-20260115T103000Z")).unwrap();
        fs::write(place.path().join("README"), "mine").unwrap();

        assert_eq!(find(place.path()).unwrap(), newest);
        assert_eq!(find(&newest).unwrap(), newest);
    }

    #[test]
    fn where_there_is_no_backup_or_no_single_log_nothing_is_guessed() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(find(place.path()), Err(BackupError::None(_))));
        assert!(matches!(find(&place.path().join("x")), Err(BackupError::None(_))));

        keep(place.path(), &manifest(3, 0));
        keep(place.path(), &Manifest { log_id: Hash::of(b"other"), ..manifest(4, 0) });

        assert!(matches!(find(place.path()), Err(BackupError::SeveralLogs(_))));
    }

    #[test]
    fn only_older_backups_of_the_same_node_go() {
        let place = tempfile::tempdir().unwrap();
        let old = keep(place.path(), &manifest(3, 0));
        let second = keep(place.path(), &manifest(4, 1));
        let follower = Manifest { role: crate::files::Role::Follower, ..manifest(2, 0) };
        let other = [
            keep(place.path(), &follower),
            keep(place.path(), &Manifest { log_id: Hash::of(b"other"), ..manifest(1, 0) }),
        ];
        let damaged = keep(place.path(), &manifest(2, 9));
        fs::write(damaged.join(MANIFEST), "{}").unwrap();
        let newest = keep(place.path(), &manifest(5, 2));

        assert_eq!(thin(&newest, 2).unwrap(), [old]);
        assert_eq!(thin(&newest, 0).unwrap(), [second]);

        assert!([&other[0], &other[1], &damaged, &newest].iter().all(|path| path.exists()));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4);
    }
}
