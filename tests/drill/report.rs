//! What people and machines are shown.

use std::time::Duration;

use serde_json::{Value, json};

use crate::drill::{Drill, Outcome};

/// Shows outcomes as they come.
pub(crate) struct Report {
    json: bool,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn begin(json: bool) -> Self {
        if !json {
            println!(
                "{:<30} {:<14} {:>8}  {:<38} {:<12} {:<9} VERDICT",
                "ATTACK", "NOTICED BY", "AFTER", "STATE AND REASON", "LEFT", "VERIFIED"
            );
        }
        Self { json }
    }

    /// Prints what came of one drill.
    pub(crate) fn row(&self, outcome: &Outcome) {
        if self.json {
            println!("{}", to_json(outcome));
            return;
        }
        let verdict = if outcome.is_right() { "right" } else { "WRONG" };
        match &outcome.observed {
            Ok(observed) => {
                let verified = match observed.left.is_verified() {
                    None => "-",
                    Some(true) => "yes",
                    Some(false) => "NO",
                };
                println!(
                    "{:<30} {:<14} {:>6.1} s  {:<38} {:<12} {:<9} {verdict}",
                    outcome.name,
                    observed.who.to_string(),
                    observed.after.as_secs_f64(),
                    observed.state.to_string(),
                    observed.left.leaves().to_string(),
                    verified,
                );
            }
            Err(error) => println!("{:<30} broke off: {error:#}  {verdict}", outcome.name),
        }
        for wrong in outcome.wrong().unwrap_or_default() {
            println!("    {wrong}");
        }
    }

    /// Prints the summary.
    pub(crate) fn end(&self, outcomes: &[Outcome], took: Duration) {
        let wrong: Vec<_> =
            outcomes.iter().filter(|outcome| !outcome.is_right()).map(|one| one.name).collect();
        let right = outcomes.len() - wrong.len();
        if self.json {
            println!("{}", summary(outcomes.len(), &wrong, took));
            return;
        }
        println!("\n{right} of {} as they must be, in {:.0} s", outcomes.len(), took.as_secs_f64());
        if !wrong.is_empty() {
            println!("wrong: {}", wrong.join(", "));
        }
    }
}

/// Prints the attacks with what must become of them.
pub(crate) fn list(drills: &[Drill], json: bool) {
    for drill in drills {
        let expected = &drill.expected;
        if json {
            println!(
                "{}",
                json!({
                    "attack": drill.name,
                    "rule": drill.rule,
                    "noticed_by": expected.who.to_string(),
                    "state": expected.state.to_string(),
                    "leaves": expected.leaves.to_string(),
                })
            );
        } else {
            println!(
                "{:<30} {:<42} {:<14} {:<38} {}",
                drill.name,
                drill.rule,
                expected.who.to_string(),
                expected.state.to_string(),
                expected.leaves
            );
        }
    }
    if json {
        println!("{}", json!({ "attacks": drills.len() }));
    }
}

/// Prints the names alone, where one was not known.
pub(crate) fn names(drills: &[Drill]) {
    for drill in drills {
        eprintln!("  {}", drill.name);
    }
}

fn to_json(outcome: &Outcome) -> Value {
    let wrong = outcome.wrong().unwrap_or_default();
    let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    let observed = outcome.observed.as_ref();
    let seen = observed.ok();
    json!({
        "attack": outcome.name,
        "rule": outcome.rule,
        "expected": outcome.expected.state.to_string(),
        "noticed_by": seen.map(|seen| seen.who.to_string()),
        "after_seconds": seen.map(|seen| rounded(seen.after)),
        "state": seen.map(|seen| seen.state.to_string()),
        "left": seen.map(|seen| seen.left.leaves().to_string()),
        "verified": seen.and_then(|seen| seen.left.is_verified()),
        "verdict": if outcome.is_right() { "right" } else { "wrong" },
        "wrong": wrong,
        "error": observed.err().map(|error| format!("{error:#}")),
    })
}

fn summary(attacks: usize, wrong: &[&str], took: Duration) -> Value {
    json!({
        "attacks": attacks,
        "right": attacks - wrong.len(),
        "wrong": wrong,
        "seconds": rounded(took),
    })
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
