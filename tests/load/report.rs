//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::verify::Verified;

/// Counts while the run goes on.
#[derive(Default)]
pub(crate) struct Tally {
    entries: u64,
    /// How long each successful request took, in microseconds.
    micros: Vec<u32>,
    errors: BTreeMap<String, u64>,
}

/// The result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    clients: usize,
    seconds: f64,
    requests: usize,
    /// Entries appended or read; answers, where a request is not about entries.
    pub(crate) entries: u64,
    /// Of those, in a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// By status or kind of failure; what failed was asked again.
    errors: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<Verified>,
}

impl Tally {
    pub(crate) fn success(&mut self, entries: u64, took: Duration) {
        self.entries += entries;
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn error(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }

    pub(crate) fn report(
        &mut self,
        mode: &'static str,
        clients: usize,
        elapsed: Duration,
    ) -> Report {
        self.micros.sort_unstable();
        let seconds = elapsed.as_secs_f64();
        Report {
            mode,
            clients,
            seconds: round(seconds),
            requests: self.micros.len(),
            entries: self.entries,
            #[expect(clippy::cast_precision_loss, reason = "far fewer entries than 2^52")]
            rate: round(self.entries as f64 / seconds.max(1e-9)),
            p50_ms: self.percentile(500),
            p95_ms: self.percentile(950),
            p99_ms: self.percentile(990),
            p999_ms: self.percentile(999),
            max_ms: self.percentile(1_000),
            errors: std::mem::take(&mut self.errors),
            verified: None,
        }
    }

    /// Nearest rank, in milliseconds; of sorted times.
    fn percentile(&self, per_mille: usize) -> f64 {
        let rank = (self.micros.len() * per_mille).div_ceil(1_000).max(1);
        self.micros.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

impl Report {
    pub(crate) fn print(&self, json: bool) {
        if json {
            // A struct of numbers and texts always has a JSON form.
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        println!("{self}");
    }

    /// Whether no request failed, and at least one was sent.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.requests > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, rate, entries, requests, clients, seconds, .. } = self;
        write!(
            f,
            "{mode}: {rate:.0}/s ({entries} entries in {requests} requests by {clients} clients, \
             {seconds:.1} s); p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, \
             max {:.1} ms",
            self.p50_ms, self.p95_ms, self.p99_ms, self.p999_ms, self.max_ms,
        )?;
        for (what, count) in &self.errors {
            write!(f, "\nerrors: {count} x {what}")?;
        }
        match &self.verified {
            Some(verified) => write!(f, "\n{verified}"),
            None => Ok(()),
        }
    }
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut tally = Tally::default();
        for millis in (1..=200).rev() {
            tally.success(1, Duration::from_millis(millis));
        }

        let report = tally.report("append", 1, Duration::from_secs(2));

        let shown = [report.p50_ms, report.p95_ms, report.p99_ms, report.p999_ms, report.rate];
        assert_eq!(shown.map(|number| number.to_string()), ["100", "190", "198", "200", "100"]);
    }

    #[test]
    fn a_run_without_success_has_a_report() {
        let mut tally = Tally::default();
        tally.error("503".to_owned());
        let report = tally.report("append", 1, Duration::from_secs(1));
        assert_eq!((report.requests, report.p99_ms), (0, 0.0));
        assert_eq!(report.errors["503"], 1);
    }
}
