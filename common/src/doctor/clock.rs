//! The own clock beside the clocks of other nodes and the time of the newest head.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{Check, Finding};
use crate::clock::Timestamp;

/// What another node's `Date` said, and the own time at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which node.
    pub node: String,
    /// Its time, in whole seconds.
    pub theirs: Timestamp,
    /// The own time when its answer came.
    pub ours: Timestamp,
}

/// Up to here a difference is a slow answer and the whole seconds of `Date`.
const NEAR_MS: i64 = 5_000;

/// Beyond this, heads count as made in the future, and a leader does not stamp.
const FAR_MS: i64 = 120_000;

/// How far apart two clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Apart {
    Near,
    Some,
    Far,
}

/// Reads a `Date` header.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
    Timestamp::from_millis(moment.unix_timestamp().checked_mul(1000)?)
}

/// Judges the own clock.
///
/// Where more of the others agree with it than not, the clock of those that do not is wrong.
pub fn clock(now: Timestamp, newest_head: Option<Timestamp>, samples: &[Sample]) -> Vec<Finding> {
    let mut findings = beside_others(samples);
    findings.extend(newest_head.and_then(|head| beside_head(now, head)));
    if !findings.is_empty() {
        return findings;
    }
    let message = match samples.len() {
        0 => "no other node could be compared with".to_owned(),
        1 => "it agrees with the clock of one other node".to_owned(),
        many => format!("it agrees with the clocks of {many} other nodes"),
    };
    vec![Finding::ok(Check::Clock, message)]
}

fn beside_others(samples: &[Sample]) -> Vec<Finding> {
    let offset = |sample: &Sample| sample.theirs.millis_since(sample.ours);
    let apart: Vec<_> = samples.iter().map(|sample| (sample, apart(offset(sample)))).collect();
    let near = apart.iter().filter(|(_, apart)| *apart == Apart::Near).count();
    let theirs_is_wrong = near > 0 && near * 2 >= samples.len();
    let judge = |(sample, apart): &(&Sample, Apart)| {
        let difference = difference(offset(sample));
        let message = format!("{}'s clock is {difference} this one", sample.node);
        let advice = if theirs_is_wrong {
            "others agree with this clock: tell that node's operator to start NTP"
        } else {
            "start NTP here (timedatectl set-ntp true), or there, whichever is wrong"
        };
        match apart {
            Apart::Near => None,
            Apart::Far if !theirs_is_wrong => Some(Finding::fail(Check::Clock, message, advice)),
            Apart::Far | Apart::Some => Some(Finding::warn(Check::Clock, message, advice)),
        }
    };
    apart.iter().filter_map(judge).collect()
}

fn beside_head(now: Timestamp, head: Timestamp) -> Option<Finding> {
    let ahead = head.millis_since(now);
    (ahead > FAR_MS).then(|| {
        Finding::fail(
            Check::Clock,
            format!("the newest head was signed {} this clock: it runs behind", difference(ahead)),
            "start NTP here: heads from the future are not used, and a leader signs none below them",
        )
    })
}

fn apart(offset_ms: i64) -> Apart {
    match offset_ms.saturating_abs() {
        difference if difference <= NEAR_MS => Apart::Near,
        difference if difference <= FAR_MS => Apart::Some,
        _ => Apart::Far,
    }
}

fn difference(offset_ms: i64) -> String {
    let seconds = offset_ms.saturating_abs() / 1000;
    let side = if offset_ms > 0 { "ahead of" } else { "behind" };
    match seconds {
        ..=300 => format!("{seconds} s {side}"),
        301..=7200 => format!("{} minutes {side}", seconds / 60),
        _ => format!("{} hours {side}", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn now() -> Timestamp {
        "2026-01-15T10:30:00.000Z".parse().unwrap()
    }

    fn levels(offsets: &[i64]) -> Vec<Level> {
        let samples = offsets.iter().map(|seconds| Sample {
            node: "https://peer.example".to_owned(),
            theirs: now().plus_millis(seconds * 1000),
            ours: now(),
        });
        clock(now(), None, &samples.collect::<Vec<_>>()).iter().map(|f| f.level).collect()
    }

    #[test]
    fn clocks_that_differ_are_told_by_how_much() {
        use Level::{Fail, Ok, Warn};
        for (offsets, expected) in [
            (&[][..], &[Ok][..]),
            (&[0], &[Ok]),
            (&[5], &[Ok]),
            (&[-6], &[Warn]),
            (&[120], &[Warn]),
            (&[121], &[Fail]),
            (&[-3600], &[Fail]),
            (&[0, 3600], &[Warn]),
            (&[3600, 3601], &[Fail, Fail]),
            (&[0, 3600, 3600], &[Fail, Fail]),
        ] {
            assert_eq!(levels(offsets), expected, "{offsets:?}");
        }
    }

    #[test]
    fn a_head_from_the_future_tells_of_a_slow_clock() {
        let level = |ahead| clock(now(), Some(now().plus_millis(ahead)), &[])[0].level;

        assert_eq!(level(-60_000), Level::Ok);
        assert_eq!(level(120_000), Level::Ok);
        assert_eq!(level(121_000), Level::Fail);
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let text = |date| http_date(date).map(|time| time.to_string());

        let expected = Some("1994-11-06T08:49:37.000Z".to_owned());
        assert_eq!(text("Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        assert_eq!(text("yesterday"), None);
        assert_eq!(text(""), None);
    }
}
