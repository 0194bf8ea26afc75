//! What stories share: looking at nodes until something is so, and reading what they said.

use std::time::{Duration, Instant};

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::{ErrorClass, MirrorStatus};
use diogenes_tests::book::Book;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::Ended;

use crate::verdict::{Standing, State};

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until something is so, for some seconds at most; whether it is.
pub(crate) async fn within(seconds: u64, holds: impl AsyncFn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a follower stands.
pub(crate) fn state_of(status: &MirrorStatus) -> State {
    let standing = match (status.status, status.class) {
        (FollowerStatus::Error, Some(ErrorClass::Latched)) => Standing::Latched,
        (FollowerStatus::Error, _) => Standing::Transient,
        (FollowerStatus::Behind, _) => Standing::Behind,
        (FollowerStatus::Synced | FollowerStatus::Syncing, _) => Standing::Unmoved,
    };
    State::named(standing, status.reason.clone().unwrap_or_default())
}

/// How a process ended that said why: the code, and the reason in brackets.
pub(crate) fn exit_of(code: Option<i32>, said: &str) -> State {
    State::named(Standing::Exit(code.unwrap_or_default()), reason_in(said))
}

/// The same of a command.
pub(crate) fn ending(ended: &Ended) -> State {
    exit_of(ended.code, &ended.errors)
}

/// The last reason that a program gave on standard error: `error[reason]: ...`.
fn reason_in(said: &str) -> &str {
    let last = said.rsplit_once("error[").map(|(_, rest)| rest);
    last.and_then(|rest| rest.split(']').next()).unwrap_or_default()
}

/// Tells a book honestly, under a head that is signed now.
pub(crate) fn tell_now(liar: &Liar, book: Book) {
    let mut claim = book.claim(book.size());
    claim.timestamp = SystemClock.now();
    let head = book.sign(claim);
    let mut story = liar.story();
    (story.book, story.head) = (book, head);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_one_in_brackets() {
        let said = "INFO error[early]: x\nerror[not_leader]: another leader\nhelp: stop it\n";
        assert_eq!(reason_in(said), "not_leader");
        assert_eq!(reason_in("nothing"), "");
        assert_eq!(exit_of(Some(78), said).to_string(), "exit 78 not_leader");
    }
}
