//! The witnesses, on leader and follower alike.

use super::text::{ago, or_unknown, visible};
use crate::merkle::TreeSize;
use crate::read::reads::Reads;
use crate::read::snapshot::Snapshot;
use crate::store::Incident;
use crate::wire::status::{
    Colour, QuorumState, ReplicationStatus, WitnessFreshness, WitnessRow, majority,
};

/// The table of witnesses and what a quorum is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Witnesses {
    pub(super) rows: Vec<Witness>,
    pub(super) quorum: String,
    pub(super) colour: &'static str,
}

/// A row of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Witness {
    pub(super) name: String,
    pub(super) fingerprint: String,
    pub(super) server: String,
    pub(super) colour: &'static str,
    pub(super) status: &'static str,
    pub(super) size: String,
    pub(super) age: String,
    pub(super) proof_id: Option<u64>,
    pub(super) proofs: String,
    pub(super) refusals: String,
}

/// A leader's status has its witnesses; a follower asks its own copy of the log.
pub(super) async fn rows(
    reads: &Reads,
    status: Option<&ReplicationStatus>,
    snapshot: Option<&Snapshot>,
) -> Vec<WitnessRow> {
    if let Some(ReplicationStatus::Leader(status)) = status {
        return status.witnesses.clone();
    }
    let Some(snapshot) = snapshot else { return Vec::new() };
    match reads.witness_inputs(snapshot.size()).await {
        Ok(inputs) => inputs
            .into_iter()
            .map(|input| WitnessRow::new(input, snapshot.last_event_id, reads.now()))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the status page shows no witnesses");
            Vec::new()
        }
    }
}

/// How many must sign, and how many are current. A follower goes by what its leader says, else
/// by the majority of those that the log authorises.
pub(super) fn quorum(
    reads: &Reads,
    status: Option<&ReplicationStatus>,
    rows: &[WitnessRow],
) -> QuorumState {
    if let Some(ReplicationStatus::Leader(status)) = status {
        return status.witness_quorum;
    }
    let said = u64::from(reads.facts().witness_quorum.required);
    let required = if said > 0 { said } else { majority(rows.len() as u64) };
    let current = rows.iter().filter(|row| row.status == WitnessFreshness::Current).count();
    QuorumState { required, current: current as u64 }
}

/// The table; `incidents` are those that are open.
pub(super) fn witnesses(
    rows: &[WitnessRow],
    quorum: QuorumState,
    incidents: &[Incident],
) -> Witnesses {
    let QuorumState { required, current } = quorum;
    let of = (rows.len() as u64).max(required);
    let colour = match (current < required, current < rows.len() as u64) {
        (true, _) => Colour::Red,
        (false, true) => Colour::Amber,
        (false, false) => Colour::Green,
    };
    Witnesses {
        rows: rows.iter().map(|row| witness(row, incidents)).collect(),
        quorum: format!("Quorum: {required} of {of} must sign a head, {current} current."),
        colour: colour.as_str(),
    }
}

/// The name of a witness, or the beginning of its key's fingerprint.
pub(super) fn name(row: &WitnessRow) -> String {
    row.display_name.as_deref().map_or_else(|| row.short_fingerprint.to_string(), visible)
}

fn witness(row: &WitnessRow, incidents: &[Incident]) -> Witness {
    let colour = match row.status {
        WitnessFreshness::Current => Colour::Green,
        WitnessFreshness::Stale => Colour::Red,
        WitnessFreshness::Never => Colour::Amber,
    };
    let fingerprint = row.fingerprint.to_string();
    let refusals = incidents.iter().filter(|of| of.subject == fingerprint).count();
    Witness {
        name: name(row),
        fingerprint,
        server: row.server.as_deref().map(visible).unwrap_or_default(),
        colour: colour.as_str(),
        status: row.status.as_str(),
        size: or_unknown(row.tree_size.map(TreeSize::get)),
        age: ago(row.age_seconds),
        proof_id: row.last_proof_id,
        proofs: or_unknown(row.proofs_24h),
        refusals: if refusals == 0 { "none known".to_owned() } else { refusals.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quorum_is_red_when_it_is_lost_and_amber_when_somebody_is_missing() {
        let of = |required, current| witnesses(&[], QuorumState { required, current }, &[]).colour;
        assert_eq!((of(2, 1), of(2, 2), of(0, 0)), ("red", "green", "green"));
    }
}
