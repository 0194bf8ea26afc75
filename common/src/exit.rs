//! How a binary ends: a code, a reason for machines, and two lines for people.

use std::fmt;
use std::process::ExitCode;

/// The exit codes that all binaries share, apart from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// The check failed, or what was asked for was refused (1).
    Refused,
    /// The command line does not say what to do (2).
    Usage,
    /// The disk failed or is full (74).
    Disk,
    /// The configuration is wrong, or going on would be unsafe (78).
    Unsafe,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Disk => 74,
            Self::Unsafe => 78,
        }
    }
}

/// Why a command or a node ended, and what its operator can do about it.
///
/// Shown as exactly two lines: what is wrong with the reason in brackets, then what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    exit: Exit,
    reason: &'static str,
    what: String,
    what_to_do: String,
}

impl Failure {
    /// A failure with a stable reason such as `not_leader`, what is wrong, and what to do.
    pub fn new(
        exit: Exit,
        reason: &'static str,
        what: impl fmt::Display,
        what_to_do: impl fmt::Display,
    ) -> Self {
        let (what, what_to_do) = (one_line(&what.to_string()), one_line(&what_to_do.to_string()));
        Self(Box::new(Parts { exit, reason, what, what_to_do }))
    }

    /// The check failed or was refused (exit code 1).
    pub fn refused(
        reason: &'static str,
        what: impl fmt::Display,
        what_to_do: impl fmt::Display,
    ) -> Self {
        Self::new(Exit::Refused, reason, what, what_to_do)
    }

    /// The command line is wrong (exit code 2).
    pub fn usage(what: impl fmt::Display, what_to_do: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "usage", what, what_to_do)
    }

    /// The disk failed (exit code 74).
    pub fn disk(
        reason: &'static str,
        what: impl fmt::Display,
        what_to_do: impl fmt::Display,
    ) -> Self {
        Self::new(Exit::Disk, reason, what, what_to_do)
    }

    /// The configuration is wrong or the state unsafe (exit code 78).
    pub fn unsafe_state(
        reason: &'static str,
        what: impl fmt::Display,
        what_to_do: impl fmt::Display,
    ) -> Self {
        Self::new(Exit::Unsafe, reason, what, what_to_do)
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The reason as a stable code, like `self_rolled_back`.
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// What is wrong, in one line.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What to do about it, in one line.
    pub fn what_to_do(&self) -> &str {
        &self.0.what_to_do
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { reason, what, what_to_do, .. } = &*self.0;
        write!(f, "error[{reason}]: {what}\nhelp: {what_to_do}")
    }
}

impl std::error::Error for Failure {}

/// Runs what `main` is for, prints a failure on standard error and gives its exit code.
pub fn run(main: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit().code())
        }
    }
}

/// Line breaks and control characters become spaces: the second line must stay the second line,
/// and what a stranger sent must not steer a terminal.
fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_two_lines_whatever_it_quotes() {
        let failure = Failure::unsafe_state("not_leader", "lost\nthe \x1b[31mlock", "stop\r\nit");

        assert_eq!(failure.to_string(), "error[not_leader]: lost the  [31mlock\nhelp: stop  it");
    }

    #[test]
    fn codes_are_those_that_scripts_rely_on() {
        let codes = [Exit::Refused, Exit::Usage, Exit::Disk, Exit::Unsafe].map(Exit::code);

        assert_eq!(codes, [1, 2, 74, 78]);
        assert_eq!(run(|| Ok(())), ExitCode::SUCCESS);
        assert_eq!(run(|| Err(Failure::usage("x", "y"))), ExitCode::from(2));
    }
}
