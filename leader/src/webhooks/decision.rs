//! What follows from an attempt: pure, with time and chance as arguments.
//!
//! ```text
//! 2xx                   delivered
//! 410                   the webhook is turned off
//! 429, 502, 503, 504    tried again, and the webhook is left alone for as long as Retry-After says
//! all else, 3xx too     tried again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, 24 h ..
//! 5 days of that        the message is given up; the webhook is turned off if nothing else got through
//! ```

use std::time::Duration;

use diogenes_common::client::{Answered, NetworkFault, Undelivered};
use diogenes_common::clock::Timestamp;
use diogenes_common::retry;
use diogenes_common::store::WebhookState;
use diogenes_common::wire::webhooks::DeliveryFault;

/// What came of a request.
pub(super) type Outcome = Result<Answered, Undelivered>;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// How long to wait after the first attempt, the second, and so on; the last is repeated.
const STEPS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];

/// How long anything is tried.
const LONGEST_MILLIS: i64 = 5 * 24 * 3_600_000;

/// How long a webhook is left alone that throttles without saying how long.
const USUAL_PAUSE: Duration = Duration::from_secs(MINUTE);

/// The shortest and the longest time for which one is left alone.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(HOUR)];

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    Again(Timestamp),
    GivenUp,
}

/// How a webhook stands after some attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: WebhookState,
    /// Since when nothing was delivered although something was tried.
    pub(super) failing_since: Option<Timestamp>,
    /// Until when it is left alone.
    pub(super) paused_until: Timestamp,
}

/// Decides about a message that was tried `attempts` times before, first at `first_at`.
pub(super) fn decide(
    outcome: &Outcome,
    attempts: u64,
    first_at: Timestamp,
    now: Timestamp,
    chance: u16,
) -> Verdict {
    if is_delivered(outcome) {
        return Verdict::Delivered;
    }
    let step = usize::try_from(attempts).unwrap_or(usize::MAX);
    let at = later(now, retry::stepped(&STEPS, step, chance));
    if at.millis_since(first_at) > LONGEST_MILLIS {
        return Verdict::GivenUp;
    }
    Verdict::Again(at)
}

/// Says how a webhook stands that was failing since `failing_since`, after these attempts at once.
pub(super) fn stand(
    failing_since: Option<Timestamp>,
    outcomes: &[Outcome],
    now: Timestamp,
) -> Standing {
    let failing_since = if outcomes.iter().any(is_delivered) || outcomes.is_empty() {
        None
    } else {
        Some(failing_since.unwrap_or(now))
    };
    let failing = failing_since.map(|since| now.millis_since(since));
    let state = if outcomes.iter().any(|outcome| status(outcome) == Some(410)) {
        WebhookState::Gone
    } else if failing.is_some_and(|millis| millis >= LONGEST_MILLIS) {
        WebhookState::Failing
    } else {
        WebhookState::Active
    };
    // A tenth of the time that it has lasted: an outage of a minute is probed for every 6 seconds.
    let probe = failing.map(|millis| Duration::from_millis(millis.max(0).unsigned_abs() / 10));
    let asked = outcomes.iter().filter_map(throttle).max();
    let pause = probe.max(asked).map(|pause| pause.clamp(PAUSES[0], PAUSES[1]));
    let paused_until = pause.map_or(now, |pause| later(now, pause));
    Standing { state, failing_since, paused_until }
}

/// What the delivery log says of an attempt.
pub(super) fn fault(outcome: &Outcome) -> Option<DeliveryFault> {
    match outcome {
        Ok(_) if is_delivered(outcome) => None,
        Ok(_) => Some(DeliveryFault::Status),
        Err(Undelivered::Refused(_)) => Some(DeliveryFault::AddressRefused),
        Err(Undelivered::Network(NetworkFault::Connect)) => Some(DeliveryFault::Connect),
        Err(Undelivered::Network(NetworkFault::Timeout)) => Some(DeliveryFault::Timeout),
        Err(Undelivered::Network(NetworkFault::Broken)) => Some(DeliveryFault::Broken),
    }
}

/// The status that was answered.
pub(super) fn status(outcome: &Outcome) -> Option<u16> {
    outcome.as_ref().ok().map(|answered| answered.status)
}

pub(super) fn is_delivered(outcome: &Outcome) -> bool {
    status(outcome).is_some_and(|status| (200..300).contains(&status))
}

/// How long the receiver wants to be left alone.
fn throttle(outcome: &Outcome) -> Option<Duration> {
    let answered = outcome.as_ref().ok()?;
    let throttles = matches!(answered.status, 429 | 502 | 503 | 504);
    throttles.then(|| answered.retry_after.unwrap_or(USUAL_PAUSE))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
