//! How many files a process may have open: connections must leave some for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many files as a node asks for; many systems start a process with far fewer.
const WANTED: u64 = 65_536;

/// Files that connections leave to databases, keys, state and outgoing requests.
const RESERVED: u64 = 512;

/// Raises the limit of open files as far as the system allows, and says what it is now; `None` if
/// there is none.
pub(super) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let now = current?;
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    let raised = Rlimit { current: Some(wanted), maximum };
    if wanted > now && setrlimit(Resource::Nofile, raised).is_ok() {
        return Some(wanted);
    }
    Some(now)
}

/// How many of the connections that a server would take fit under the limit: of a small one,
/// half.
pub(super) fn connections_within(asked: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return asked };
    let room = files.saturating_sub(RESERVED).max(files / 2).max(1);
    asked.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        for (asked, files, granted) in [
            (4096, None, 4096),
            (4096, Some(65_536), 4096),
            (4096, Some(4096), 3584),
            (4096, Some(1024), 512),
            (4096, Some(256), 128),
            (4096, Some(0), 1),
            (10, Some(1024), 10),
        ] {
            assert_eq!(connections_within(asked, files), granted, "{files:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_once_and_stays() {
        let raised = raise();

        assert_eq!(getrlimit(Resource::Nofile).current, raised);
        assert_eq!(raise(), raised);
    }
}
