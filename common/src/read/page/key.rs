//! One key: its state, whose place it took, what it did lately and who vouches for it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Fault, Frame, answer};
use super::recent::EntryRow;
use super::text::{grouped, spoken, visible};
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::read::endorsements;
use crate::read::entries::in_order;
use crate::read::keys;
use crate::read::query::Paging;
use crate::read::reads::Reads;
use crate::read::when::AsOf;
use crate::server::body::Path;
use crate::store::{EndorsementSide, Order, Referent, Span};
use crate::wire::endorsements::{EndorsementCounts, EndorsementState, EndorsementView};
use crate::wire::keys::{KeyRecord, KeyState};
use crate::wire::status::Colour;

/// How many entries of a key are shown, and how many endorsements of either side.
const ROWS: usize = 10;

/// `GET /keys/{fingerprint}`.
pub(super) async fn page(State(reads): State<Reads>, Path(fingerprint): Path<String>) -> Response {
    let key = view(&reads, &fingerprint).await;
    answer(&reads, key)
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    frame: Frame,
    pseudonym: String,
    fingerprint: String,
    algorithm: String,
    public_key: String,
    colour: &'static str,
    state: &'static str,
    what_it_means: &'static str,
    registered: Moment,
    registered_by: u64,
    is_proven: bool,
    expires: Option<Moment>,
    ended: Option<Moment>,
    ended_by: Option<u64>,
    succeeds: Option<String>,
    succeeded_by: Option<String>,
    leader_asserted: bool,
    alerts: u64,
    as_of: String,
    entries: Vec<EntryRow>,
    has_more: bool,
    received: Side,
    issued: Side,
}

/// An instant, for machines and for people.
struct Moment {
    at: String,
    spoken: String,
}

/// The endorsements that a key received, or those that it gave.
struct Side {
    counts: String,
    rows: Vec<Endorsement>,
    has_more: bool,
}

struct Endorsement {
    offer_id: u64,
    other: String,
    category: String,
    colour: &'static str,
    state: &'static str,
    offered: Moment,
}

async fn view(reads: &Reads, text: &str) -> Result<KeyPage, Fault> {
    let as_of = AsOf::newest(reads)?;
    let record = keys::record_of(reads, text, as_of).await?;
    let fingerprint = record.fingerprint;
    let span = Span { after: 0, upto: as_of.size, order: Order::Descending };
    let mut found = reads.store().referring(&Referent::key(&fingerprint), span).await?;
    let has_more = found.has_more || found.ids.len() > ROWS;
    found.ids.truncate(ROWS);
    let entries = in_order(reads.store(), &found.ids).await?;
    let (colour, state, what_it_means) = state_of(record.status);
    Ok(KeyPage {
        frame: Frame::of(reads, Some(&format!("Key {}", fingerprint.short()))),
        pseudonym: visible(&record.pseudonym),
        fingerprint: fingerprint.to_string(),
        algorithm: record.algorithm.clone(),
        public_key: record.public_key.clone(),
        colour,
        state,
        what_it_means,
        registered: moment(record.registered_at),
        registered_by: record.log_entry_id,
        is_proven: record.proof_of_possession,
        expires: record.expires_at.map(moment),
        ended: record.ended_at.map(moment),
        ended_by: record.ended_entry_id,
        succeeds: record.succeeds.map(|key| key.to_string()),
        succeeded_by: record.succeeded_by.map(|key| key.to_string()),
        leader_asserted: record.leader_asserted,
        alerts: record.alerts,
        as_of: spoken(as_of.at),
        entries: entries.iter().map(EntryRow::of).collect(),
        has_more,
        received: side(reads, &record, EndorsementSide::Received, as_of).await?,
        issued: side(reads, &record, EndorsementSide::Issued, as_of).await?,
    })
}

async fn side(
    reads: &Reads,
    key: &KeyRecord,
    side: EndorsementSide,
    as_of: AsOf,
) -> Result<Side, Fault> {
    let store = reads.store();
    let paging = Paging { page: 1, per_page: ROWS as u64 };
    let key = endorsements::known_key(store, &key.fingerprint.to_string(), as_of).await?;
    let list = endorsements::page(store, &key, side, paging, as_of).await?;
    let counts = endorsements::counts(store, &key.fingerprint, side, as_of).await?;
    let row = |view: &EndorsementView| {
        let other: Fingerprint = match side {
            EndorsementSide::Received => view.endorser_fingerprint,
            EndorsementSide::Issued => view.endorsed_fingerprint,
        };
        Endorsement {
            offer_id: view.offer_entry_id,
            other: other.to_string(),
            category: view.category.as_str().replace('_', " "),
            colour: colour_of(view.status),
            state: view.status.as_str(),
            offered: moment(view.offered_at),
        }
    };
    Ok(Side {
        counts: in_words(&counts),
        has_more: list.total > list.endorsements.len() as u64,
        rows: list.endorsements.iter().map(row).collect(),
    })
}

/// How many endorsements are in which state, those that are none left out.
fn in_words(counts: &EndorsementCounts) -> String {
    let states = [
        (counts.active, "active"),
        (counts.accepted, "accepted, not active yet"),
        (counts.offered, "offered"),
        (counts.withdrawn, "withdrawn"),
        (counts.acceptance_revoked, "no longer accepted"),
        (counts.expired, "expired"),
        (counts.void, "void"),
    ];
    let words = states.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> =
        words.map(|(count, state)| format!("{} {state}", grouped(*count))).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

const fn state_of(state: KeyState) -> (&'static str, &'static str, &'static str) {
    match state {
        KeyState::Active => (Colour::Green.as_str(), "active", "It may sign and be endorsed."),
        KeyState::Expired => (
            Colour::Amber.as_str(),
            "expired",
            "Its own date has passed; its holder may recover it.",
        ),
        KeyState::Succeeded => {
            (Colour::Amber.as_str(), "succeeded", "Another key has taken its place.")
        }
        KeyState::Revoked => {
            (Colour::Red.as_str(), "revoked", "Its holder ended it; it never comes back.")
        }
    }
}

const fn colour_of(state: EndorsementState) -> &'static str {
    match state {
        EndorsementState::Active => Colour::Green.as_str(),
        EndorsementState::Offered | EndorsementState::Accepted => Colour::Amber.as_str(),
        EndorsementState::Withdrawn
        | EndorsementState::AcceptanceRevoked
        | EndorsementState::Expired
        | EndorsementState::Void => "quiet",
    }
}

fn moment(at: Timestamp) -> Moment {
    Moment { at: at.to_string(), spoken: spoken(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_name_the_states_that_there_are() {
        let counts = EndorsementCounts { active: 1200, void: 1, ..EndorsementCounts::default() };
        assert_eq!(in_words(&counts), "1,200 active, 1 void");
        assert_eq!(in_words(&EndorsementCounts::default()), "none");
    }
}
