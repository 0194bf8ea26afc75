//! What must hold after every blow.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use diogenes_common::checkpoint;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::verify_consistency;
use diogenes_common::note::parse_signature_lines;
use diogenes_common::store::DatabaseUrl;
use diogenes_common::wire::log::{ConsistencyProof, VerifyReport};
use diogenes_common::wire::node::WellKnown;
use diogenes_tests::http::Node;
use diogenes_tests::ledger::{Ledger, Sighting, Source, Violation};
use diogenes_tests::process::Machine;
use diogenes_tests::{stranger, view_rows};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::federation::{self, Federation, eventually};
use crate::plan::Role;

/// Everybody goes on by itself, and every promise is kept.
pub(crate) async fn check(federation: &mut Federation) -> anyhow::Result<()> {
    eventually(federation, "the leader appends again", async |of| {
        of.promises.append(&of.leader, &of.known).await.is_some()
    })
    .await?;
    federation.promises.unbroken()?;
    leader_keeps_everything(federation).await?;
    follower_agrees(federation).await?;
    witness_tells_one_history(federation)?;
    proofs_join_all_sizes(federation).await?;
    federation.promises.unbroken()?;
    federation.all_run()
}

/// The log verifies by itself and to a stranger, and holds what was acknowledged and signed.
async fn leader_keeps_everything(federation: &Federation) -> anyhow::Result<()> {
    let Federation { leader, known, promises, .. } = federation;
    let reply = leader.post("/api/v1/log/verify", &json!({})).await?;
    let report: VerifyReport = serde_json::from_slice(&reply.body).context("a report")?;
    ensure!(report.valid && report.verified_from == 0, "log verify: {reply}");
    let log = stranger::read_log(leader).await.context("the leader's log")?;
    promises.are_kept_by(&log)?;
    promises.note(|ledger| ledger.stands_at(Source::Leader, log.size()));
    // A checkpoint of the leader is signed apart from its heads.
    let note = leader.get("/checkpoint").await?;
    let note = String::from_utf8(note.body).context("a checkpoint is text")?;
    let shown = checkpoint::open(&note, known.origin.as_str(), &known.operator_public_key)?;
    promises.note(|ledger| ledger.see(Source::Leader, shown.tree()));
    Ok(promises.unbroken()?)
}

/// The follower gets as far as the leader is, and holds the same.
async fn follower_agrees(federation: &mut Federation) -> anyhow::Result<()> {
    let size = federation.leader.size().await?;
    // Before it waits: what is served right after a start must not be less than before.
    if let Ok(head) = federation.follower.head().await {
        note_follower(federation, &head)?;
    }
    eventually(federation, "the follower has everything", async |of| {
        of.follower.size().await.is_ok_and(|held| held >= size)
    })
    .await?;
    let head = federation.follower.head().await?;
    note_follower(federation, &head)?;
    let log = stranger::read_log(&federation.follower).await.context("the follower's log")?;
    federation.promises.note(|ledger| ledger.see(Source::Follower, log.head()));
    federation.promises.note(|ledger| ledger.is_kept_upto(log.size(), &log));
    Ok(federation.promises.unbroken()?)
}

fn note_follower(federation: &Federation, head: &HeadJson) -> anyhow::Result<()> {
    let head = verified(&federation.known, head)?;
    let size = head.head().tree_size.get();
    federation.promises.note(|ledger| ledger.see(Source::Follower, &head));
    federation.promises.note(|ledger| ledger.stands_at(Source::Follower, size));
    Ok(federation.promises.unbroken()?)
}

fn verified(known: &WellKnown, head: &HeadJson) -> anyhow::Result<SignedHead> {
    Ok(head.verify(&known.operator_public_key, &known.origin)?)
}

/// A line of the index that says what was signed.
#[derive(Deserialize)]
struct Advance {
    head: HeadJson,
    old_tree_size: u64,
    new_tree_size: u64,
}

/// The witness's index only grew, and what it says and what was cosigned is on one history.
fn witness_tells_one_history(federation: &mut Federation) -> anyhow::Result<()> {
    let data = federation.data(Role::Witness);
    let mut index = fs::read(data.join("index.jsonl"))?;
    index.truncate(index.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    ensure!(index.starts_with(&federation.index), "the witness's index was rewritten");
    let known = federation.index.len();
    for line in index[known..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).context("a line of the index")?;
        if line["kind"] == "advance" {
            let advance: Advance = serde_json::from_value(line)?;
            note_advance(federation, advance)?;
        }
    }
    federation.index = index;
    let state = fs::read(data.join("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&state).unwrap_or_default();
    for log in state["logs"].as_object().into_iter().flat_map(|logs| logs.values()) {
        if let Some(body) = log["submission"]["body"].as_object() {
            let body = Value::Object(body.clone());
            let seen = cosigned(&body, &federation.known, &federation.witness)?;
            federation.promises.note(|ledger| ledger.see(Source::Cosignature, seen));
        }
    }
    Ok(federation.promises.unbroken()?)
}

fn note_advance(federation: &Federation, advance: Advance) -> anyhow::Result<()> {
    let Advance { head, old_tree_size, new_tree_size } = advance;
    let head = verified(&federation.known, &head)?;
    ensure!(
        old_tree_size <= new_tree_size && head.head().tree_size.get() == new_tree_size,
        "the index goes from {old_tree_size} to {new_tree_size}"
    );
    federation.promises.note(|ledger| {
        ledger.stands_at(Source::WitnessIndex, old_tree_size)?;
        ledger.see(Source::WitnessIndex, &head)?;
        ledger.stands_at(Source::WitnessIndex, new_tree_size)
    });
    Ok(federation.promises.unbroken()?)
}

/// The tree that a witness signed in a body for the leader.
fn cosigned(body: &Value, known: &WellKnown, witness: &PublicKey) -> anyhow::Result<Sighting> {
    let head: HeadJson = serde_json::from_value(body["head"].clone())?;
    let head = verified(known, &head)?;
    let shown = body["head"]["checkpoint"].as_str().context("a checkpoint")?;
    let shown = checkpoint::open(shown, known.origin.as_str(), &known.operator_public_key)?;
    ensure!(shown.tree() == head.head().tree(), "head and checkpoint of a body differ");
    let line = body["cosignature"].as_str().context("a cosignature")?;
    for line in parse_signature_lines(&format!("{line}\n"))? {
        verify_cosignature(&line, &shown, witness)?;
    }
    Ok(Sighting::from(shown.tree()))
}

/// Consistency proofs verify between all neighbouring sizes that anybody was ever shown.
async fn proofs_join_all_sizes(federation: &Federation) -> anyhow::Result<()> {
    for (first, second) in federation.promises.look(Ledger::unproven) {
        let path = format!("/api/v1/log/consistency-proof?first={first}&second={second}");
        let proof: ConsistencyProof = federation.leader.read(&path).await?;
        let trees = federation.promises.look(|of| of.tree(first).zip(of.tree(second)));
        let (old, new) = trees.context("both sizes were seen")?;
        verify_consistency(&old, &new, &proof.hashes)
            .with_context(|| format!("from {first} to {second}"))?;
        federation.promises.note(|ledger| {
            ledger.proven((first, second));
            Ok::<_, Violation>(())
        });
    }
    Ok(())
}

/// The witness signs every event there is, by itself.
pub(crate) async fn witness_catches_up(federation: &mut Federation) -> anyhow::Result<()> {
    let last_event = federation.leader.head().await?.last_event_id;
    let path = format!("/api/v1/log/witnesses/{}", federation.witness.fingerprint());
    eventually(federation, "the witness signed every event", async |of| {
        let record: anyhow::Result<Value> = of.leader.read(&path).await;
        record
            .is_ok_and(|record| record["last_proof"]["new_tree_size"].as_u64() >= Some(last_event))
    })
    .await
}

/// A copy of a node as it lay there after a blow, whose views are made anew.
pub(crate) struct Rebuild {
    machine: Machine,
    role: Role,
    place: PathBuf,
    database: DatabaseUrl,
}

impl Rebuild {
    /// Copies a node that does not run; `None` for a witness, which has no views.
    pub(crate) fn copy(federation: &Federation, role: Role) -> anyhow::Result<Option<Self>> {
        if role == Role::Witness {
            return Ok(None);
        }
        let name = format!("copy-of-{}", role.name());
        let place = federation.machine().data(&name);
        federation::copy(federation, role, &place)?;
        let database = match (role, federation.database()) {
            (Role::Leader, Some((cluster, url))) => cluster.copy(url)?,
            _ => format!("sqlite://{}", place.join("log.db").display()).parse()?,
        };
        let machine = federation.machine().again();
        Ok(Some(Self { machine, role, place, database }))
    }

    /// The views are what the log makes of them.
    pub(crate) async fn check(self) -> anyhow::Result<()> {
        let before = view_rows::read(&self.database).await?;
        let (machine, role, database) = (self.machine, self.role, self.database.to_string());
        let name = format!("copy-of-{}", role.name());
        let run = move || {
            let variables = [("DATABASE_URL", database.as_str())];
            machine.run(&name, role.name(), &["rebuild-views"], &variables)
        };
        let rebuilt = tokio::task::spawn_blocking(run).await?;
        ensure!(rebuilt.code == Some(0), "rebuild-views: {}", rebuilt.errors);
        let after = view_rows::read(&self.database).await?;
        for (table, rows) in &before {
            ensure!(after.get(table) == Some(rows), "{table} of the {} differs", self.role.name());
        }
        ensure!(before.len() == after.len(), "tables came or went");
        fs::remove_dir_all(&self.place)?;
        Ok(())
    }
}

/// Reads of a node that appends nothing go on.
pub(crate) async fn reads_go_on(node: &Node) -> anyhow::Result<()> {
    node.head().await.context("reads go on")?;
    Ok(())
}
