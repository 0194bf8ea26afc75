//! The certificate and the key of the node's own TLS listener.

use super::{Check, Finding};
use crate::clock::Timestamp;
use crate::exit::Failure;

/// A certificate that ends sooner should have been renewed.
const SOON_MS: i64 = 14 * DAY_MS;

const DAY_MS: i64 = 86_400_000;

/// Judges what a start would make of `TLS_CERT` and `TLS_KEY`: until when they are valid.
pub(super) fn tls(found: &Result<Timestamp, Failure>, now: Timestamp) -> Finding {
    let check = Check::Tls;
    let expires = match found {
        Ok(expires) => *expires,
        Err(failure) => return Finding::fail(check, failure.what(), failure.what_to_do()),
    };
    let left = expires.millis_since(now);
    let days = left / DAY_MS;
    if left < SOON_MS {
        return Finding::warn(
            check,
            format!("the certificate ends in {days} days, at {expires}"),
            "renew it, then send the node SIGHUP; see why that did not happen by itself",
        );
    }
    Finding::ok(check, format!("the key fits, and the certificate is valid for {days} days"))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_a_start_refuses_is_a_failure_and_a_certificate_that_ends_soon_a_warning() {
        let now: Timestamp = "2026-01-15T10:30:00.000Z".parse().unwrap();
        let failure = Failure::unsafe_state("tls_unusable", "the key is another one's", "renew");
        for (found, expected) in [
            (Ok(now.plus_millis(SOON_MS)), Level::Ok),
            (Ok(now.plus_millis(SOON_MS - 1)), Level::Warn),
            (Err(failure), Level::Fail),
        ] {
            assert_eq!(tls(&found, now).level, expected, "{found:?}");
        }
    }
}
