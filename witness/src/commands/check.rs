//! `check`: what a consumer can know about a log without trusting anybody but its operator's key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use diogenes_common::config::{Flags, WITNESS_OPERATOR};
use diogenes_common::event::{
    Event, OperatorEndorsement, OperatorEndorsementRevocation, Payload as _, RoleKeys, Signers,
};
use diogenes_common::exit::Failure;
use diogenes_common::keys::Fingerprint;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{TreeRoot, TreeSize, verify_consistency, verify_inclusion};
use diogenes_common::statement::{Category, WitnessProof};
use diogenes_common::wire::witnesses::ProofRecord;
use serde::Serialize;

use super::{Bench, print_json};
use crate::agent::{RoundError, check_pin, introduce};
use crate::judge::{MAX_AGE_MILLIS, Refusal, Seen};
use crate::log::LogIdentity;
use crate::source::{LogServer, SourceError, Transport};

/// How many of the newest proofs are looked through for witnesses.
const PAGES: u64 = 5;
const PER_PAGE: u64 = 200;

#[derive(clap::Args)]
pub(super) struct Check {
    /// A server of the log.
    #[arg(long, value_name = "URL")]
    server: String,
    /// Fail unless so many authorized witnesses vouch for the log (or for --entry).
    #[arg(long, value_name = "K")]
    quorum: Option<usize>,
    /// Check that this entry is in the log, and count only who vouches for it.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    entry: Option<u64>,
    /// The fingerprint that the log's operator key must have.
    #[arg(long, value_name = "SHA256")]
    operator: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    origin: String,
    log_id: String,
    operator_fingerprint: Fingerprint,
    tree_size: TreeSize,
    root_hash: String,
    head_timestamp: String,
    head_is_old: bool,
    entry_hash: Option<String>,
    witnesses: Vec<Voucher>,
}

/// What one witness vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Voucher {
    fingerprint: Fingerprint,
    display_name: Option<String>,
    tree_size: TreeSize,
    proof_id: u64,
    timestamp: String,
    /// The entry by which the operator authorized it; none if it is not authorized.
    authorized_by: Option<u64>,
    /// Why nothing of this counts.
    problem: Option<String>,
}

impl Check {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with(&WITNESS_OPERATOR, self.operator.as_ref())
    }

    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let server = bench.server(&self.server)?;
        let pin = bench.pin()?;
        let now = bench.clock.now();
        let report = bench.block_on(async {
            let told = server.well_known().await.map_err(RoundError::from)?;
            let log = introduce(&server, told).await?;
            check_pin(pin, &log)?;
            let consumer = Consumer { server: &server, log: &log };
            Ok(consumer.examine(self.entry, now).await?)
        })?;
        if bench.json {
            print_json(&report);
        } else {
            print!("{}", report.text(self.entry, pin.is_some()));
        }
        report.verdict(self.entry, self.quorum)
    }
}

/// Somebody who checks everything that a server says.
struct Consumer<'a, T> {
    server: &'a LogServer<T>,
    log: &'a LogIdentity,
}

impl<T: Transport> Consumer<'_, T> {
    async fn examine(
        &self,
        entry: Option<u64>,
        now: diogenes_common::clock::Timestamp,
    ) -> Result<Report, RoundError> {
        let head = self.server.newest_head().await?;
        let seen = self.recognise(head)?;
        let tree = seen.tree();
        let genesis =
            TreeRoot { size: TreeSize::ZERO.plus(1), hash: self.log.genesis().leaf_hash() };
        self.prove(genesis, tree).await?;
        let entry_hash = match entry {
            None => None,
            Some(id) => {
                let leaf = self.server.entry(id).await?;
                self.include(&leaf, tree).await?;
                Some(leaf.entry_hash().to_string())
            }
        };
        let mut witnesses = Vec::new();
        for record in self.newest_proofs(tree).await?.into_values() {
            witnesses.push(self.examine_witness(&record, tree).await?);
        }
        witnesses.sort_by_key(|voucher| std::cmp::Reverse(voucher.tree_size));
        let age = now.millis_since(seen.timestamp());
        Ok(Report {
            origin: self.log.origin().to_string(),
            log_id: self.log.log_id().to_string(),
            operator_fingerprint: self.log.operator_fingerprint(),
            tree_size: tree.size,
            root_hash: tree.hash.to_string(),
            head_timestamp: seen.timestamp().to_string(),
            head_is_old: age > MAX_AGE_MILLIS,
            entry_hash,
            witnesses,
        })
    }

    /// The newest listed proof of each witness that this tree holds.
    async fn newest_proofs(
        &self,
        tree: TreeRoot,
    ) -> Result<BTreeMap<Fingerprint, ProofRecord>, SourceError> {
        let mut newest: BTreeMap<Fingerprint, ProofRecord> = BTreeMap::new();
        for page in 1..=PAGES {
            let listed = self.server.proofs(None, page, PER_PAGE).await?.proofs;
            let is_last = (listed.len() as u64) < PER_PAGE;
            // The log may have grown since its head was asked for; what is newer can't be proved.
            for record in listed.into_iter().filter(|listed| listed.proof_id <= tree.size.get()) {
                newest.entry(record.witness).or_insert(record);
            }
            if is_last {
                break;
            }
        }
        Ok(newest)
    }

    /// What a witness vouches for. A server that does not answer says nothing about it.
    async fn examine_witness(
        &self,
        record: &ProofRecord,
        tree: TreeRoot,
    ) -> Result<Voucher, SourceError> {
        let mut voucher = Voucher {
            fingerprint: record.witness,
            display_name: record.display_name.clone(),
            tree_size: record.new_tree_size,
            proof_id: record.proof_id,
            timestamp: record.timestamp.to_string(),
            authorized_by: None,
            problem: None,
        };
        let examined = match self.examine_proof(record, tree).await {
            Ok(()) => self.authorization(record.witness, tree).await,
            Err(error) => Err(error),
        };
        match examined {
            Ok(entry) => voucher.authorized_by = entry,
            Err(RoundError::Source(error)) => return Err(error),
            Err(error) => voucher.problem = Some(error.to_string()),
        }
        Ok(voucher)
    }

    /// Checks, from the logged bytes, that the witness signed what is listed, about this history.
    async fn examine_proof(&self, record: &ProofRecord, tree: TreeRoot) -> Result<(), RoundError> {
        let leaf = self.server.entry(record.proof_id).await?;
        let proof = self.event(&leaf).and_then(|event| match event {
            Event::WitnessProof(proof) => Some(*proof),
            _ => None,
        });
        let as_listed = |proof: &WitnessProof| {
            proof.witness == record.witness && proof.new_tree_size == record.new_tree_size
        };
        let proof = proof.filter(as_listed).ok_or_else(|| self.not_borne_out())?;
        self.include(&leaf, tree).await?;
        self.prove(proof.claim().new_tree(), tree).await
    }

    /// The entry by which the operator authorized this witness, unless a later one ended it.
    async fn authorization(
        &self,
        witness: Fingerprint,
        tree: TreeRoot,
    ) -> Result<Option<u64>, RoundError> {
        let ended = self
            .server
            .entries_about(witness, OperatorEndorsementRevocation::EVENT_TYPE)
            .await?
            .iter()
            .filter_map(|leaf| match self.event(leaf)? {
                Event::OperatorEndorsementRevocation(ended) if ended.fingerprint == witness => {
                    Some(ended.endorsement_id)
                }
                _ => None,
            })
            .collect::<Vec<_>>();
        let granted = self.server.entries_about(witness, OperatorEndorsement::EVENT_TYPE).await?;
        let valid = granted.into_iter().find(|leaf| {
            let names_it = matches!(
                self.event(leaf),
                Some(Event::OperatorEndorsement(granted))
                    if granted.fingerprint == witness && granted.category == Category::Witness
            );
            names_it && leaf.id() <= tree.size.get() && !ended.contains(&leaf.id())
        });
        match valid {
            None => Ok(None),
            Some(leaf) => {
                self.include(&leaf, tree).await?;
                Ok(Some(leaf.id()))
            }
        }
    }

    /// What a leaf says, if every signature that it carries verifies.
    fn event(&self, leaf: &Leaf) -> Option<Event> {
        let event = Event::parse(leaf.event_type(), leaf.payload()).ok()?;
        let (origin, operator) = (self.log.origin(), self.log.operator());
        let roles = RoleKeys::new();
        event.check_signatures(&Signers { origin, operator, roles: &roles }).ok()?;
        Some(event)
    }

    async fn include(&self, leaf: &Leaf, tree: TreeRoot) -> Result<(), RoundError> {
        let proof = self.server.inclusion(leaf.id(), tree.size).await?;
        verify_inclusion(leaf.id() - 1, &leaf.leaf_hash(), &tree, &proof.hashes)
            .map_err(|_| self.not_borne_out())
    }

    async fn prove(&self, old: TreeRoot, new: TreeRoot) -> Result<(), RoundError> {
        // No server has a proof towards a smaller tree: that fails below, with its reason.
        let proof = if old.size >= new.size {
            Vec::new()
        } else {
            self.server.consistency(old.size, new.size).await?.hashes
        };
        verify_consistency(&old, &new, &proof).map_err(|error| RoundError::Refused {
            refusal: Refusal::Inconsistent(error),
            evidence: None,
        })
    }

    fn recognise(&self, json: diogenes_common::head::HeadJson) -> Result<Seen, RoundError> {
        Seen::recognise(json, self.log.operator(), self.log.origin()).map_err(|error| {
            RoundError::NotItsHead { server: self.server.name().to_owned(), error }
        })
    }

    fn not_borne_out(&self) -> RoundError {
        RoundError::NotThatLog { server: self.server.name().to_owned() }
    }
}

impl Voucher {
    fn counts(&self, entry: Option<u64>) -> bool {
        self.problem.is_none()
            && self.authorized_by.is_some()
            && entry.is_none_or(|entry| self.tree_size.get() >= entry)
    }

    fn text(&self) -> String {
        let name = self.display_name.as_deref().unwrap_or("-");
        let standing = match (&self.problem, self.authorized_by) {
            (Some(problem), _) => format!("DOES NOT COUNT: {problem}"),
            (None, Some(entry)) => format!("authorized by entry {entry}"),
            (None, None) => "not authorized, does not count".to_owned(),
        };
        format!(
            "  {}  size {}  {}  entry {}  {}  {standing}\n",
            self.fingerprint.short(),
            self.tree_size,
            self.timestamp,
            self.proof_id,
            name
        )
    }
}

impl Report {
    fn text(&self, entry: Option<u64>, is_pinned: bool) -> String {
        let pinned = if is_pinned { "as pinned" } else { "as shown: compare it" };
        let mut text = format!(
            "Log:       {}\nLog id:    {}\nOperator:  {} ({pinned})\nHead:      size {} at {}{}\n\
             Root:      {}\n",
            self.origin,
            self.log_id,
            self.operator_fingerprint,
            self.tree_size,
            self.head_timestamp,
            if self.head_is_old { " (more than two hours old)" } else { "" },
            self.root_hash,
        );
        // Writing to a string cannot fail.
        if let (Some(id), Some(hash)) = (entry, &self.entry_hash) {
            let _ = writeln!(text, "Entry {id} is in the log: {hash}");
        }
        let _ = writeln!(text, "Witnesses: {}", self.witnesses.len());
        text.extend(self.witnesses.iter().map(Voucher::text));
        text
    }

    fn verdict(&self, entry: Option<u64>, quorum: Option<usize>) -> Result<(), Failure> {
        if let Some(bad) = self.witnesses.iter().find(|voucher| voucher.problem.is_some()) {
            return Err(Failure::refused(
                "witness_proof_invalid",
                format!("the listed proof of witness {} does not hold", bad.fingerprint.short()),
                "ask another server of the log, and tell the operator",
            ));
        }
        let count = self.witnesses.iter().filter(|voucher| voucher.counts(entry)).count();
        match quorum {
            Some(needed) if count < needed => Err(Failure::refused(
                "quorum_missing",
                format!("{count} authorized witnesses vouch for this, {needed} are asked for"),
                "wait for the next round of the witnesses, and check again",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use diogenes_common::statement::WitnessClaim;
    use diogenes_common::wire::witnesses::ProofPage;
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::{Reply, Unreachable};
    use crate::testing::{History, at};

    /// A server that answers any request for a path like this.
    struct Answers(fn(&str) -> (u16, Value));

    impl Transport for Answers {
        fn server(&self) -> &'static str {
            "https://log.example"
        }

        async fn send(
            &self,
            _: Method,
            path: &str,
            _: Option<Vec<u8>>,
        ) -> Result<Reply, Unreachable> {
            let (status, answer) = (self.0)(path);
            Ok(Reply { status, body: Bytes::from(answer.to_string()) })
        }
    }

    fn log() -> LogIdentity {
        LogIdentity::of_genesis(History::honest().leaf_bytes(0)).unwrap()
    }

    /// A proof for size 8, as entry `proof_id` is said to record it.
    fn listed(proof_id: u64) -> ProofRecord {
        let log = History::honest();
        let (key, head) = (log.operator(), log.seen(8, at(1)).json().clone());
        let claim = WitnessClaim {
            new_root: log.tree(8).hash,
            new_tree_size: log.tree(8).size,
            old_root: log.tree(5).hash,
            old_tree_size: log.tree(5).size,
            origin: log.origin(),
            timestamp: at(1),
            witness: key.fingerprint(),
        };
        ProofRecord::new(proof_id, at(2), claim.into_proof(key, head, None), None, true)
    }

    fn voucher(size: u64, authorized_by: Option<u64>, problem: Option<&str>) -> Voucher {
        Voucher {
            fingerprint: History::honest().operator().fingerprint(),
            display_name: None,
            tree_size: TreeSize::ZERO.plus(size),
            proof_id: 9,
            timestamp: String::new(),
            authorized_by,
            problem: problem.map(str::to_owned),
        }
    }

    fn report(witnesses: Vec<Voucher>) -> Report {
        Report {
            origin: String::new(),
            log_id: String::new(),
            operator_fingerprint: History::honest().operator().fingerprint(),
            tree_size: TreeSize::ZERO.plus(20),
            root_hash: String::new(),
            head_timestamp: String::new(),
            head_is_old: false,
            entry_hash: None,
            witnesses,
        }
    }

    fn reason(report: &Report, entry: Option<u64>, quorum: usize) -> Result<(), &'static str> {
        report.verdict(entry, Some(quorum)).map_err(|failure| failure.reason())
    }

    #[test]
    fn only_authorized_witnesses_that_signed_the_entry_count() {
        let report = report(vec![
            voucher(20, Some(2), None),
            voucher(10, Some(3), None),
            voucher(20, None, None),
        ]);

        assert_eq!(reason(&report, None, 2), Ok(()));
        assert_eq!(reason(&report, None, 3), Err("quorum_missing"));
        assert_eq!(reason(&report, Some(10), 2), Ok(()));
        assert_eq!(reason(&report, Some(11), 2), Err("quorum_missing"));
    }

    #[test]
    fn one_listed_proof_that_does_not_hold_fails_the_check() {
        let report = report(vec![voucher(20, Some(2), None), voucher(20, None, Some("bad"))]);

        assert_eq!(reason(&report, None, 1), Err("witness_proof_invalid"));
        assert_eq!(
            report.verdict(None, None).map_err(|f| f.reason()),
            Err("witness_proof_invalid")
        );
    }

    #[tokio::test]
    async fn a_server_that_refuses_to_answer_is_no_proof_against_a_witness() {
        let busy = |_: &str| (429, json!({"error": {"code": "rate_limited", "message": "later"}}));
        let (server, log) = (LogServer::new(Answers(busy)), log());
        let consumer = Consumer { server: &server, log: &log };

        let found = consumer.examine_witness(&listed(9), History::honest().tree(20)).await;

        assert!(matches!(found, Err(SourceError::Refused { status: 429, .. })), "{found:?}");
    }

    #[tokio::test]
    async fn an_entry_that_is_not_the_listed_proof_is_a_problem_of_that_witness() {
        let another = |_: &str| {
            let leaf = Leaf::parse(History::honest().leaf_bytes(8)).unwrap();
            let mut entry: Value = serde_json::from_slice(leaf.bytes()).unwrap();
            entry["entry_hash"] = json!(leaf.entry_hash());
            (200, entry)
        };
        let (server, log) = (LogServer::new(Answers(another)), log());
        let consumer = Consumer { server: &server, log: &log };

        let found = consumer.examine_witness(&listed(9), History::honest().tree(20)).await;

        assert!(found.as_ref().is_ok_and(|voucher| voucher.problem.is_some()), "{found:?}");
    }

    #[tokio::test]
    async fn a_proof_recorded_after_the_head_was_asked_for_is_left_for_the_next_check() {
        let grown = |_: &str| {
            let proofs = vec![listed(21), listed(9)];
            let page = ProofPage { proofs, page: 1, per_page: 200, total: 2, total_capped: false };
            (200, json!(page))
        };
        let (server, log) = (LogServer::new(Answers(grown)), log());
        let consumer = Consumer { server: &server, log: &log };

        let newest = consumer.newest_proofs(History::honest().tree(20)).await.unwrap();

        let ids: Vec<u64> = newest.values().map(|record| record.proof_id).collect();
        assert_eq!(ids, [9]);
    }
}
