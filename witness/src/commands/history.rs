//! `history`: what this witness has signed.

use std::collections::{BTreeMap, VecDeque};

use diogenes_common::clock::Timestamp;
use diogenes_common::exit::Failure;
use diogenes_common::head::Origin;
use diogenes_common::merkle::Hash;
use diogenes_common::wire::witnesses::ProofRecord;
use serde::Serialize;

use super::{Bench, print_json};
use crate::agent::RoundError;
use crate::log::LogName;
use crate::source::{LogServer, SourceError, Transport};
use crate::state::{Fact, Home};

/// The largest page that a server answers.
const PAGE: u64 = 200;

#[derive(clap::Args)]
pub(super) struct History {
    /// Show so many signatures.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Compare with the proofs of this witness that a server lists.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// One signature, as this witness or a server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    origin: LogName,
    timestamp: Timestamp,
    old_tree_size: u64,
    new_tree_size: u64,
    new_root: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

/// How a signature here and there compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Same,
    OnlyHere,
    OnlyThere,
    Differs,
}

impl History {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let home = bench.existing_home()?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let rows = match &self.server {
            None => own_rows(&home, None, limit)?,
            Some(server) => {
                let mut agent = bench.agent(&home, server, &[])?;
                let key = home.key().fingerprint();
                let (origin, listed) = bench.block_on(async {
                    let origin = agent.identify().await?.origin().clone();
                    let listed = listed(agent.server(), key, self.limit).await;
                    Ok((origin, listed.map_err(RoundError::from)?))
                })?;
                let mut rows = compare(own_rows(&home, Some(&origin), limit)?, listed);
                rows.truncate(limit);
                rows
            }
        };
        if bench.json {
            print_json(&rows);
        } else if rows.is_empty() {
            println!("This witness has signed nothing yet.");
        }
        if !bench.json {
            for row in &rows {
                println!("{}", row.text());
            }
        }
        if rows.iter().any(|row| row.mark == Some(Mark::Differs)) {
            return Err(Failure::refused(
                "history_differs",
                "the server lists a signature of this key that this witness did not make",
                "somebody else may use this key: stop it, and tell the operator",
            ));
        }
        Ok(())
    }
}

/// The newest own signatures, newest first.
fn own_rows(home: &Home, only: Option<&Origin>, limit: usize) -> Result<Vec<Row>, Failure> {
    let mut newest = VecDeque::new();
    home.lines(|line| {
        let (step, origin) = match line.fact {
            Fact::Advance { step, origin, .. } => (step, LogName::from(&origin)),
            // The log knows nothing of these: they are no proofs, but cosignatures it asked for.
            Fact::Cosign { step, origin, .. } if only.is_none() => (step, origin),
            _ => return,
        };
        if only.is_some_and(|only| only.as_str() != origin.as_str()) {
            return;
        }
        if newest.len() == limit {
            newest.pop_back();
        }
        newest.push_front(Row {
            origin,
            timestamp: line.time,
            old_tree_size: step.old().size.get(),
            new_tree_size: step.new_tree().size.get(),
            new_root: step.new_tree().hash,
            proof_id: None,
            mark: None,
        });
    })?;
    Ok(newest.into())
}

/// The newest proofs of a witness that a server lists, newest first.
async fn listed<T: Transport>(
    server: &LogServer<T>,
    witness: diogenes_common::keys::Fingerprint,
    limit: u64,
) -> Result<Vec<ProofRecord>, SourceError> {
    let mut proofs = Vec::new();
    let per_page = limit.min(PAGE);
    for page in 1..=limit.div_ceil(per_page) {
        let answer = server.proofs(Some(witness), page, per_page).await?;
        let is_last = (answer.proofs.len() as u64) < per_page;
        proofs.extend(answer.proofs);
        if is_last {
            break;
        }
    }
    Ok(proofs)
}

/// Puts both lists into one, newest first, and marks how they differ.
///
/// A list that was cut short says nothing about what lies before its oldest row.
fn compare(own: Vec<Row>, listed: Vec<ProofRecord>) -> Vec<Row> {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    let oldest_listed = listed.last().map_or(0, |proof| proof.new_tree_size.get());
    let oldest_own = own.last().map_or(0, |row| row.new_tree_size);
    for row in own {
        let mark = (row.new_tree_size >= oldest_listed).then_some(Mark::OnlyHere);
        rows.insert(row.new_tree_size, Row { mark, ..row });
    }
    for proof in listed {
        let size = proof.new_tree_size.get();
        let there = Row {
            origin: LogName::from(&proof.origin),
            timestamp: proof.timestamp,
            old_tree_size: proof.old_tree_size.get(),
            new_tree_size: size,
            new_root: proof.new_root,
            proof_id: Some(proof.proof_id),
            mark: (size >= oldest_own).then_some(Mark::OnlyThere),
        };
        match rows.get_mut(&size) {
            Some(here) => {
                let same = here.new_root == there.new_root
                    && here.old_tree_size == there.old_tree_size
                    && here.timestamp == there.timestamp;
                here.proof_id = there.proof_id;
                here.mark = Some(if same { Mark::Same } else { Mark::Differs });
            }
            None => drop(rows.insert(size, there)),
        }
    }
    rows.into_values().rev().collect()
}

impl Row {
    fn text(&self) -> String {
        let entry = self.proof_id.map(|id| format!("  entry {id}")).unwrap_or_default();
        let mark = match self.mark {
            None | Some(Mark::Same) => "",
            Some(Mark::OnlyHere) => "  (not recorded there)",
            Some(Mark::OnlyThere) => "  (not known here)",
            Some(Mark::Differs) => "  (DIFFERS)",
        };
        format!(
            "{}  {}  {} -> {}{entry}{mark}",
            self.timestamp, self.origin, self.old_tree_size, self.new_tree_size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{History as Log, at};

    fn own(old: u64, new: u64) -> Row {
        Row {
            origin: Log::honest().name(),
            timestamp: at(1),
            old_tree_size: old,
            new_tree_size: new,
            new_root: Log::honest().tree(new).hash,
            proof_id: None,
            mark: None,
        }
    }

    fn listed(id: u64, old: u64, new: u64) -> ProofRecord {
        let log = Log::honest();
        let (key, head) = (log.operator(), log.seen(new, at(1)).json().clone());
        let claim = diogenes_common::statement::WitnessClaim {
            new_root: log.tree(new).hash,
            new_tree_size: log.tree(new).size,
            old_root: log.tree(old).hash,
            old_tree_size: log.tree(old).size,
            origin: log.origin(),
            timestamp: at(1),
            witness: key.fingerprint(),
        };
        ProofRecord::new(id, at(2), claim.into_proof(key, head, None), None, true)
    }

    fn marks(rows: &[Row]) -> Vec<(u64, Option<Mark>)> {
        rows.iter().map(|row| (row.new_tree_size, row.mark)).collect()
    }

    #[test]
    fn both_lists_are_one_with_their_differences_marked() {
        let here = vec![own(9, 12), own(5, 9), own(3, 5)];
        let there = vec![listed(40, 9, 12), listed(20, 4, 5), listed(10, 1, 4)];

        let rows = compare(here, there);

        assert_eq!(
            marks(&rows),
            [
                (12, Some(Mark::Same)),
                (9, Some(Mark::OnlyHere)),
                (5, Some(Mark::Differs)),
                // Older than the oldest own row that was asked for.
                (4, None),
            ]
        );
        assert_eq!(rows[0].proof_id, Some(40));
    }
}
