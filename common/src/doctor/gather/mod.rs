//! Gathers the facts: reads files, looks at the database, asks other nodes. Changes nothing.

mod log;
pub(super) mod machine;
mod nodes;

use std::future::Future;
use std::time::Duration;

use super::{Check, Finding};

pub use log::{Opened, database, stored_chain};
pub use machine::{is_tls_configured, machine};
pub use nodes::{ask, public_url, urls};

/// How long files may take: a network file system that is gone answers never.
const FILES: Duration = Duration::from_secs(5);

/// How long the database may take as a whole.
const DATABASE: Duration = Duration::from_secs(15);

/// How long one other node may take as a whole.
const NODE: Duration = Duration::from_secs(10);

/// Takes findings as long as they come in time.
async fn within(
    check: Check,
    limit: Duration,
    findings: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    match tokio::time::timeout(limit, findings).await {
        Ok(findings) => findings,
        Err(_) => vec![too_slow(check, limit)],
    }
}

/// Runs work that blocks its thread; a thread that never comes back is left behind.
async fn on_thread(
    check: Check,
    work: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    within(check, FILES, async {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| vec![too_slow(check, FILES)])
    })
    .await
}

fn too_slow(check: Check, limit: Duration) -> Finding {
    Finding::fail(
        check,
        format!("no answer within {} s", limit.as_secs()),
        "look at the disk or network behind it, then run doctor again",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_is_a_finding_and_holds_up_nothing() {
        let found = within(Check::Database, Duration::from_millis(5), std::future::pending()).await;

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].check, found[0].level), (Check::Database, Level::Fail));
    }
}
