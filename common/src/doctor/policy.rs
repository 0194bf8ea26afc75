//! Settings that work, and that an operator should have chosen knowingly.

use super::checklist::Limits;
use super::{Check, Finding};
use crate::config::{AppendPolicy, LogLevel};

/// Judges who may append.
pub(super) fn append_policy(policy: AppendPolicy) -> Finding {
    let check = Check::AppendPolicy;
    match policy {
        AppendPolicy::Open => Finding::warn(
            check,
            "APPEND_POLICY is open: anybody may append events, for ever",
            "set it to authenticated or operator, unless a public guest book is meant",
        ),
        AppendPolicy::Authenticated => Finding::ok(check, "whoever holds an active key may append"),
        AppendPolicy::Operator => Finding::ok(check, "the operator alone may append"),
    }
}

/// Judges whether bare nonces are accepted.
pub(super) fn legacy_challenge(is_accepted: bool) -> Finding {
    let check = Check::LegacyChallenge;
    if is_accepted {
        return Finding::warn(
            check,
            "bare nonces are accepted (LEGACY_CHALLENGE): a server in between could use such a \
             signature for something else",
            "set LEGACY_CHALLENGE=false as soon as your clients sign the newer form",
        );
    }
    Finding::ok(check, "only the newer form of challenges is accepted")
}

/// Judges how much is logged.
pub(super) fn log_level(level: LogLevel) -> Finding {
    let (check, name) = (Check::LogLevel, level.as_str());
    match level {
        LogLevel::Debug | LogLevel::Trace => Finding::warn(
            check,
            format!("LOG_LEVEL is {name}: many lines, which fill disks"),
            "set it to info when you have seen what you look for",
        ),
        LogLevel::Error => Finding::warn(
            check,
            "LOG_LEVEL is error: warnings, such as a source that lies, are not logged",
            "set it to info or warn",
        ),
        LogLevel::Warn | LogLevel::Info => Finding::ok(check, name),
    }
}

/// Says what was done about rate limits: each is its number and whether somebody set it.
pub(super) fn limits(limits: &[(u32, bool)]) -> Limits {
    if limits.iter().any(|(number, _)| *number == 0) {
        Limits::Off
    } else if limits.iter().any(|(_, is_set)| *is_set) {
        Limits::Chosen
    } else {
        Limits::Defaults
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn settings_that_open_a_log_to_everybody_or_hide_its_troubles_are_warned_of() {
        for (finding, expected) in [
            (append_policy(AppendPolicy::Open), Level::Warn),
            (append_policy(AppendPolicy::Authenticated), Level::Ok),
            (append_policy(AppendPolicy::Operator), Level::Ok),
            (legacy_challenge(true), Level::Warn),
            (legacy_challenge(false), Level::Ok),
            (log_level(LogLevel::Info), Level::Ok),
            (log_level(LogLevel::Warn), Level::Ok),
            (log_level(LogLevel::Trace), Level::Warn),
            (log_level(LogLevel::Debug), Level::Warn),
            (log_level(LogLevel::Error), Level::Warn),
        ] {
            assert_eq!(finding.level, expected, "{finding:?}");
        }
    }

    #[test]
    fn one_limit_that_is_off_counts_more_than_those_that_were_chosen() {
        assert_eq!(limits(&[(60, false), (10, false)]), Limits::Defaults);
        assert_eq!(limits(&[(60, false), (20, true)]), Limits::Chosen);
        assert_eq!(limits(&[(0, true), (20, true)]), Limits::Off);
    }
}
