//! The report: a line for each finding, what to do below it, then the production checklist.
//!
//! ```text
//! [ ok ]   data_directory    /var/lib/diogenes/leader is its owner's alone (0700)
//! [ warn ] backups           no automated backups: BACKUP_DIR is not set
//!                            -> set BACKUP_SCHEDULE and BACKUP_DIR, on another disk
//!
//! 20 checks: 19 ok, 1 warning, 0 failures
//!
//! Production checklist
//! [x] Enable HTTPS enforcement - ENFORCE_HTTPS is true
//! ```

use std::fmt;

use serde_json::{Value, json};

use super::{Check, Checklist, Finding, Level};
use crate::exit::Failure;
use crate::files::Role;

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    title: String,
    findings: Vec<Finding>,
    checklist: Checklist,
}

impl Report {
    /// Puts findings into the order of their checks.
    pub fn new(
        role: Role,
        version: &str,
        mut findings: Vec<Finding>,
        checklist: Checklist,
    ) -> Self {
        findings.sort_by_key(|finding| finding.check);
        Self { title: format!("diogenes-{} {version}", role.name()), findings, checklist }
    }

    /// Whether nothing failed; warnings are possible.
    pub fn is_ok(&self) -> bool {
        self.count(Level::Fail) == 0
    }

    /// `{"ok", "findings": [{"check","level","message","advice"}], "checklist": [{"item","done","why"}]}`;
    /// `done` is null where doctor cannot know.
    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "check": finding.check.name(),
                "level": finding.level.name(),
                "message": finding.message,
                "advice": finding.advice,
            })
        });
        json!({
            "ok": self.is_ok(),
            "findings": findings.collect::<Vec<_>>(),
            "checklist": self.checklist.json(),
        })
    }

    /// Says how it went as the end of a command: nothing, or how much failed.
    pub fn verdict(&self) -> Result<(), Failure> {
        if self.is_ok() {
            return Ok(());
        }
        Err(Failure::refused(
            "unhealthy",
            counted(self.count(Level::Fail), "check failed", "checks failed"),
            "each [ fail ] says what to do; then run doctor again",
        ))
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = Check::ALL.map(|check| check.name().len()).into_iter().max().unwrap_or(0);
        writeln!(f, "{}\n", self.title)?;
        for finding in &self.findings {
            let level = format!("[ {} ]", finding.level.name());
            writeln!(f, "{level:<8} {:<width$}  {}", finding.check.name(), finding.message)?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "{:<8} {:<width$}  -> {advice}", "", "")?;
            }
        }
        let [ok, warn, fail] = [Level::Ok, Level::Warn, Level::Fail].map(|level| self.count(level));
        let warn = counted(warn, "warning", "warnings");
        let fail = counted(fail, "failure", "failures");
        writeln!(f, "\n{} findings: {ok} ok, {warn}, {fail}", self.findings.len())?;
        write!(f, "\n{}", self.checklist)
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let findings = vec![
            Finding::warn(Check::LegacyChallenge, "bare nonces are accepted", "set it to false"),
            Finding::ok(Check::Configuration, "valid"),
            Finding::fail(Check::Database, "it does not answer", "start it"),
        ];
        Report::new(
            Role::Leader,
            "1.2.3",
            findings,
            Checklist::unknown("the settings are not valid"),
        )
    }

    #[test]
    fn the_report_is_aligned_and_says_below_each_fault_what_to_do() {
        let text = report().to_string();

        let expected = "\
diogenes-leader 1.2.3

[ ok ]   configuration     valid
[ fail ] database          it does not answer
                           -> start it
[ warn ] legacy_challenge  bare nonces are accepted
                           -> set it to false

3 findings: 1 ok, 1 warning, 1 failure

Production checklist
[?] Enable HTTPS enforcement - the settings are not valid
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn the_same_is_said_to_machines() {
        let value = report().json();

        assert_eq!(value["ok"], false);
        assert_eq!(
            value["findings"][1],
            json!({"check": "database", "level": "fail", "message": "it does not answer",
                   "advice": "start it"})
        );
        assert_eq!(value["findings"][0]["advice"], Value::Null);
        assert_eq!(value["checklist"][0]["done"], Value::Null);
        assert_eq!(value["checklist"].as_array().map(Vec::len), Some(9));
    }

    #[test]
    fn only_failures_end_with_an_error() {
        assert_eq!(report().verdict().map_err(|failure| failure.reason()), Err("unhealthy"));
        let warned = vec![Finding::warn(Check::Backups, "none", "make some")];
        let warned = Report::new(Role::Leader, "1", warned, Checklist::unknown(""));

        assert_eq!(warned.verdict(), Ok(()));
    }
}
