//! What a node does by itself at times: verifying its chain, making backups.

use super::{Check, Finding};
use crate::clock::Timestamp;

/// A setting that holds a cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// The setting.
    pub(super) setting: &'static str,
    /// What is done.
    pub(super) what: &'static str,
    /// The expression; `None` is never.
    pub(super) schedule: Option<String>,
    /// When it is due next, or why that cannot be said.
    pub(super) next: Result<Option<Timestamp>, String>,
}

/// Judges schedules.
pub(super) fn schedules(planned: &[Planned]) -> Vec<Finding> {
    planned.iter().map(judge).collect()
}

fn judge(planned: &Planned) -> Finding {
    let (check, Planned { setting, what, schedule, next }) = (Check::Schedules, planned);
    let Some(schedule) = schedule else {
        return Finding::warn(
            check,
            format!("{setting} is empty: {what} only when you do it"),
            format!("set {setting}, like \"0 17 3 * * *\" (seconds first)"),
        );
    };
    match next {
        Ok(Some(next)) => Finding::ok(check, format!("{what} next at {next} ({schedule})")),
        Ok(None) => Finding::fail(
            check,
            format!("{setting} is \"{schedule}\", which is never due"),
            "correct the day or the year; fields are: second minute hour day month weekday [year]",
        ),
        Err(why) => Finding::fail(
            check,
            format!("{setting} is \"{schedule}\", which is no schedule: {why}"),
            "fields are: second minute hour day month weekday [year], like \"0 17 3 * * *\"",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_schedule_says_when_it_is_due_or_what_is_wrong() {
        let next = Timestamp::from_millis(1_768_446_000_000);
        for (schedule, next, expected) in [
            (Some("0 17 3 * * *"), Ok(next), Level::Ok),
            (Some("0 0 0 31 2 *"), Ok(None), Level::Fail),
            (Some("0 99 3 * * *"), Err("minutes end at 59".to_owned()), Level::Fail),
            (None, Ok(None), Level::Warn),
        ] {
            let schedule = schedule.map(str::to_owned);
            let what = "the chain is verified";
            let planned = Planned { setting: "VERIFY_SCHEDULE", what, schedule, next };

            assert_eq!(schedules(std::slice::from_ref(&planned))[0].level, expected, "{planned:?}");
        }
    }
}
