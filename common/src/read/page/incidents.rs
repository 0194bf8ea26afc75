//! Incidents, and the files that show what happened.

use super::text::{ago, visible};
use crate::clock::Timestamp;
use crate::read::reads::Reads;
use crate::store::Incident;
use crate::wire::status::{Colour, in_words, seconds_since};

/// How many incidents that are over the page shows.
const OVER: usize = 5;

/// How many open incidents the page shows.
const OPEN: usize = 20;

/// The incidents that the page shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incidents {
    pub(super) open: usize,
    pub(super) rows: Vec<Row>,
    /// How many are not shown.
    pub(super) more: usize,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) colour: &'static str,
    pub(super) state: &'static str,
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) subject: String,
    pub(super) detail: String,
    pub(super) opened_at: String,
    pub(super) opened: String,
    pub(super) evidence: Option<i64>,
}

/// All incidents that are kept, the newest first.
pub(super) async fn all(reads: &Reads) -> Vec<Incident> {
    reads.store().incidents(false).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the status page shows no incidents");
        Vec::new()
    })
}

/// Those that are open, then the newest of those that are over.
pub(super) fn incidents(all: &[Incident], now: Timestamp) -> Incidents {
    let (open, over): (Vec<&Incident>, Vec<&Incident>) =
        all.iter().partition(|incident| incident.acked_at.is_none());
    let shown = open.iter().take(OPEN).chain(over.iter().take(OVER));
    let rows: Vec<Row> = shown.map(|incident| row(incident, now)).collect();
    Incidents { open: open.len(), more: all.len() - rows.len(), rows }
}

fn row(incident: &Incident, now: Timestamp) -> Row {
    let is_open = incident.acked_at.is_none();
    let colour = match (is_open, &*incident.class) {
        (false, _) => "quiet",
        (true, "latched") => Colour::Red.as_str(),
        (true, _) => Colour::Amber.as_str(),
    };
    Row {
        id: incident.id,
        colour,
        state: match (is_open, &*incident.class) {
            (false, _) => "over",
            (true, "latched") => "open, proven",
            (true, _) => "open",
        },
        kind: visible(&incident.kind),
        reason: visible(in_words(&incident.reason)),
        subject: visible(&incident.subject),
        detail: visible(&incident.detail),
        opened_at: incident.opened_at.to_string(),
        opened: ago(Some(seconds_since(now, incident.opened_at))),
        evidence: incident.evidence_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(id: i64, class: &str, acked: bool) -> Incident {
        let at = Timestamp::from_millis(0).unwrap();
        Incident {
            id,
            kind: "fork_prefix".to_owned(),
            subject: "log\u{202e}".to_owned(),
            class: class.to_owned(),
            reason: "fork_prefix".to_owned(),
            detail: String::new(),
            opened_at: at,
            acked_at: acked.then_some(at),
            evidence_id: Some(id),
        }
    }

    #[test]
    fn open_incidents_come_first_and_say_what_they_are() {
        let all = [incident(3, "transient", true), incident(2, "latched", false)];
        let shown = incidents(&all, Timestamp::from_millis(60_000).unwrap());
        assert_eq!((shown.open, shown.more), (1, 0));
        let [open, over] = &shown.rows[..] else { panic!("{shown:?}") };
        assert_eq!((open.id, open.colour, open.state), (2, "red", "open, proven"));
        assert_eq!((over.id, over.colour, over.state), (3, "quiet", "over"));
        assert_eq!((&*open.subject, &*open.opened), ("log\\u202e", "60 s ago"));
        assert!(open.reason.starts_with("the log key signed"));
    }

    #[test]
    fn only_so_many_are_shown() {
        let all: Vec<_> = (0..30).map(|id| incident(id, "transient", id < 9)).collect();
        let shown = incidents(&all, Timestamp::from_millis(0).unwrap());
        assert_eq!((shown.open, shown.rows.len(), shown.more), (21, 25, 5));
    }
}
