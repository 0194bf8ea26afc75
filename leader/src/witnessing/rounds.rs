//! Rounds: one head that all witnesses are asked to sign, so that proofs, which are entries
//! themselves, don't chase each other, and so that their cosignatures meet on one checkpoint.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::exit::Failure;
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::Snapshot;
use diogenes_common::statement::Category;
use diogenes_common::store::{HeadRow, StoreError};
use diogenes_common::wire::status::majority;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cosigning::Publisher;

/// How long a round waits for its quorum before the next may open.
const PATIENCE_MILLIS: i64 = 10_000;
/// How often the rule is asked at most, and at least.
const PAUSE: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_secs(1);

/// The current round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    /// The size of its head.
    size: TreeSize,
    /// When it opened, by the steady clock.
    opened_millis: i64,
}

/// How far apart rounds are.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// At least so far while there is news.
    spacing_millis: i64,
    /// At most so far, even if nothing happens.
    max_quiet_millis: i64,
}

/// Whether the next round opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Now.
    Open,
    /// As soon as the current one has its quorum.
    AfterQuorum,
    /// Not yet.
    Wait,
}

/// Decides whether a round opens: when there is news, an event or a witness, beyond the last round's
/// size and that round has its quorum or is 10 s old, or after `max_quiet`. Pure.
fn next_round(last: Option<Round>, news: u64, now_millis: i64, pace: Pace) -> Next {
    let Some(last) = last else { return Next::Open };
    let age = now_millis - last.opened_millis;
    if age >= pace.max_quiet_millis {
        return Next::Open;
    }
    if news <= last.size.get() || age < pace.spacing_millis {
        return Next::Wait;
    }
    if age >= PATIENCE_MILLIS { Next::Open } else { Next::AfterQuorum }
}

/// Whether a majority of the authorised witnesses signed at least `size`; never while none is
/// authorised, so that rounds of such a log keep their distance.
fn has_quorum(signed: &[Option<TreeSize>], size: TreeSize) -> bool {
    let reached = signed.iter().filter(|signed| signed.is_some_and(|signed| signed >= size));
    !signed.is_empty() && reached.count() as u64 >= majority(signed.len() as u64)
}

/// Names one head after the other for the witnesses, and publishes what they cosigned, until `stop`
/// is cancelled.
pub(crate) async fn run(
    app: App,
    mut publisher: Publisher,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut news = app.published.subscribe();
    let mut last = None;
    loop {
        let snapshot = news.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            match advance(&app, &mut publisher, last, &snapshot).await {
                Ok(round) => last = round,
                Err(error) => tracing::warn!(%error, "no round of witnesses can be opened"),
            }
            match publisher.publish(app.clock.steady_millis()).await {
                Ok(size) => app.cosigning.reached(size),
                Err(error) => tracing::warn!(%error, "cosignatures can't be counted"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = news.changed() => {}
            () = app.cosigning.arrival() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Opens the next round if it is time; answers the current one.
async fn advance(
    app: &App,
    publisher: &mut Publisher,
    last: Option<Round>,
    snapshot: &Arc<Snapshot>,
) -> Result<Option<Round>, StoreError> {
    let now_millis = app.clock.steady_millis();
    let pace = Pace {
        spacing_millis: millis(app.cosigning.spacing()),
        max_quiet_millis: millis(app.max_quiet),
    };
    let news = snapshot.last_event_id.max(app.cosigning.witnessed().get());
    match (next_round(last, news, now_millis, pace), last) {
        (Next::Open, _) => {}
        (Next::AfterQuorum, Some(round)) if is_done(app, publisher, round.size).await? => {}
        (Next::AfterQuorum | Next::Wait, _) => return Ok(last),
    }
    let size = snapshot.size();
    // Witnesses name this head in entries that stay for ever, so it is kept for ever too.
    app.store.pin_head(&head_row(snapshot)).await?;
    app.round.send_replace(Some(snapshot.head_text.clone()));
    if let Some(round) = publisher.open(snapshot, now_millis) {
        app.cosigning.ask_for(round, snapshot.clone());
    }
    tracing::debug!(round.size = %size, "a round of witnesses opened");
    Ok(Some(Round { size, opened_millis: now_millis }))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a round has its quorum: the policy's, else that of the authorised witnesses.
async fn is_done(app: &App, publisher: &Publisher, size: TreeSize) -> Result<bool, StoreError> {
    match publisher.has_quorum(size) {
        Some(is_done) => Ok(is_done),
        None => Ok(has_quorum(&signed_sizes(app).await?, size)),
    }
}

/// The largest size that each authorised witness signed, recorded as a proof or not.
async fn signed_sizes(app: &App) -> Result<Vec<Option<TreeSize>>, StoreError> {
    let authorized: Vec<_> = app
        .store
        .endorsed(Category::Witness.as_str())
        .await?
        .into_iter()
        .filter(|row| row.revoked_by.is_none())
        .map(|row| row.fingerprint)
        .collect();
    let proofs = app.store.witnesses(&authorized).await?;
    let mut sizes = Vec::with_capacity(authorized.len());
    for witness in &authorized {
        let proven = proofs.iter().find(|row| row.fingerprint == *witness).map(|row| row.tree_size);
        let cosigned = app.store.last_cosignature(witness).await?.map(|row| row.tree_size);
        sizes.push(proven.max(cosigned));
    }
    Ok(sizes)
}

fn head_row(snapshot: &Snapshot) -> HeadRow {
    let head = snapshot.head.head();
    HeadRow {
        tree: head.tree(),
        chain_head: head.chain_head,
        epoch: head.epoch,
        timestamp: head.timestamp,
        head_json: Some(snapshot.head_text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: i64 = 3_600_000;

    const PACE: Pace = Pace { spacing_millis: 0, max_quiet_millis: QUIET };

    fn next_at(pace: Pace, round_size: u64, news: u64, age_millis: i64) -> Next {
        let round = Round { size: size(round_size), opened_millis: 5_000 };
        next_round(Some(round), news, 5_000 + age_millis, pace)
    }

    fn next(round_size: u64, news: u64, age_millis: i64) -> Next {
        next_at(PACE, round_size, news, age_millis)
    }

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    #[test]
    fn the_first_round_opens_at_once() {
        assert_eq!(next_round(None, 1, 0, PACE), Next::Open);
    }

    #[test]
    fn proofs_alone_open_no_round_until_the_quiet_is_too_long() {
        assert_eq!(next(10, 10, 60_000), Next::Wait);
        assert_eq!(next(10, 7, QUIET - 1), Next::Wait);
        assert_eq!(next(10, 7, QUIET), Next::Open);
    }

    #[test]
    fn an_event_opens_a_round_once_the_last_has_its_quorum_or_is_ten_seconds_old() {
        assert_eq!(next(10, 11, 9_999), Next::AfterQuorum);
        assert_eq!(next(10, 11, 10_000), Next::Open);
    }

    #[test]
    fn rounds_that_other_peoples_witnesses_are_asked_for_keep_their_distance() {
        let pace = |spacing_millis| Pace { spacing_millis, ..PACE };

        assert_eq!(next_at(pace(5_000), 10, 11, 4_999), Next::Wait);
        assert_eq!(next_at(pace(5_000), 10, 11, 5_000), Next::AfterQuorum);
        assert_eq!(next_at(pace(5_000), 10, 11, 10_000), Next::Open);
        assert_eq!(next_at(pace(60_000), 10, 11, 59_999), Next::Wait);
        assert_eq!(next_at(pace(60_000), 10, 11, 60_000), Next::Open);
    }

    #[test]
    fn a_majority_of_the_authorised_is_a_quorum() {
        let [ten, nine] = [Some(size(10)), Some(size(9))];

        assert!(has_quorum(&[ten], size(10)));
        assert!(has_quorum(&[ten, nine, ten], size(10)));
        assert!(!has_quorum(&[ten, None], size(10)));
        assert!(!has_quorum(&[ten, nine, nine], size(10)));
        assert!(!has_quorum(&[], size(10)));
    }
}
