//! What a run came to: a row for each attack, and the bounds that it is held against.

use serde_json::{Value, json};

use crate::arena::Stage;
use crate::wire::Tally;

/// What must hold while an attack goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) p99_ms: f64,
    pub(crate) memory_mb: f64,
}

/// A node that takes longer until it is ready was not ready at once.
const READY_MS: f64 = 1_000.0;

/// What one attack came to.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) attack: &'static str,
    pub(crate) stage: Stage,
    pub(crate) tally: Tally,
    /// Those of the honest client that were answered.
    pub(crate) requests: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) failures: Vec<String>,
    pub(crate) peak_mb: f64,
    pub(crate) ready_ms: f64,
    pub(crate) files: u64,
    pub(crate) files_allowed: u64,
    pub(crate) threads: u64,
}

impl Row {
    /// The bounds that did not hold.
    pub(crate) fn breaks(&self, bounds: &Bounds) -> Vec<&'static str> {
        let broken = [
            (self.requests == 0, "nobody was served"),
            (!self.failures.is_empty(), "honest requests failed"),
            (self.p99_ms >= bounds.p99_ms, "p99"),
            (self.peak_mb >= bounds.memory_mb, "memory"),
            (self.ready_ms >= READY_MS, "not ready at once"),
            (self.files > self.files_allowed, "files left open"),
        ];
        broken.into_iter().filter_map(|(is_broken, what)| is_broken.then_some(what)).collect()
    }

    /// A line of the table, or an object.
    pub(crate) fn shown(&self, json: bool, bounds: &Bounds) -> String {
        if json { self.json(bounds).to_string() } else { self.line(bounds) }
    }

    fn line(&self, bounds: &Bounds) -> String {
        let Self { attack, stage, tally, requests, p50_ms, p99_ms, max_ms, .. } = self;
        let broken = self.breaks(bounds);
        let verdict = if broken.is_empty() { "held".to_owned() } else { broken.join(", ") };
        let failures = self.failures.len();
        let outcomes: Vec<String> =
            tally.outcomes.iter().map(|(what, count)| format!("{count} x {what}")).collect();
        format!(
            "| `{attack}` | {stage} | {} | {} | {requests} | {failures} | {p50_ms:.1} | {p99_ms:.1} \
             | {max_ms:.1} | {:.0} | {} | {:.0} | {verdict} | {} |",
            tally.opened,
            tally.requests,
            self.peak_mb,
            self.files,
            self.ready_ms,
            outcomes.join(", "),
        )
    }

    fn json(&self, bounds: &Bounds) -> Value {
        json!({
            "attack": self.attack,
            "on": self.stage.to_string(),
            "connections": self.tally.opened,
            "standing": self.tally.standing,
            "attack_requests": self.tally.requests,
            "outcomes": self.tally.outcomes,
            "honest_requests": self.requests,
            "honest_failures": self.failures,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "peak_rss_mb": self.peak_mb,
            "ready_after_ms": self.ready_ms,
            "open_files": self.files,
            "threads": self.threads,
            "broken": self.breaks(bounds),
        })
    }
}

/// What stands above the table.
pub(crate) fn heading(bounds: &Bounds, seconds: f64, connections: u64) -> String {
    format!(
        "Bounds: p99 of an honest client below {} ms, none of its requests failed, memory below {} \
         MB, ready again within {READY_MS} ms, no file left open.\n{seconds} s each; the attackers \
         have 250 addresses and may hold {connections} connections.\n\n| attack | on | connections \
         | requests | honest | failed | p50 ms | p99 ms | max ms | peak MB | files | ready ms | \
         bounds | answers |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        bounds.p99_ms, bounds.memory_mb,
    )
}

/// The last line.
pub(crate) fn verdict(json: bool, attacks: usize, broken: &[&str]) -> String {
    if json {
        return json!({ "attacks": attacks, "broken": broken, "held": broken.is_empty() })
            .to_string();
    }
    match broken {
        [] => format!("\nAll bounds held under {attacks} attacks."),
        _ => format!("\nBroken under {} of {attacks} attacks: {}", broken.len(), broken.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { p99_ms: 250.0, memory_mb: 500.0 };

    fn row() -> Row {
        Row {
            attack: "slow_heads",
            stage: Stage::Leader,
            tally: Tally::default(),
            requests: 300,
            p50_ms: 1.0,
            p99_ms: 249.0,
            max_ms: 900.0,
            failures: Vec::new(),
            peak_mb: 499.0,
            ready_ms: 3.0,
            files: 40,
            files_allowed: 40,
            threads: 9,
        }
    }

    #[test]
    fn each_bound_breaks_by_itself() {
        assert!(row().breaks(&BOUNDS).is_empty());
        for (row, what) in [
            (Row { requests: 0, ..row() }, "nobody was served"),
            (Row { failures: vec!["503".to_owned()], ..row() }, "honest requests failed"),
            (Row { p99_ms: 250.0, ..row() }, "p99"),
            (Row { peak_mb: 500.0, ..row() }, "memory"),
            (Row { ready_ms: 1_000.0, ..row() }, "not ready at once"),
            (Row { files: 41, ..row() }, "files left open"),
        ] {
            assert_eq!(row.breaks(&BOUNDS), [what]);
        }
    }

    #[test]
    fn the_verdict_names_what_broke() {
        assert!(verdict(false, 2, &["idle"]).contains("1 of 2 attacks: idle"));
        assert_eq!(verdict(true, 2, &[]), r#"{"attacks":2,"broken":[],"held":true}"#);
    }
}
