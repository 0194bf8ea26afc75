//! Leaders that would sign two histories: a second one, one with an old, lost or swapped database.

use std::fs;

use diogenes_tests::http::Node;
use diogenes_tests::leaders::{
    begin, copy_database, copy_directory, delete_database, grow, serve, start_in_vain, token,
};
use diogenes_tests::process::{Ended, Machine, Process, Programs, free_address};
use diogenes_tests::stranger;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::drill::{Playing, Watch};
use crate::stage::{ending, exit_of, within};
use crate::verdict::{Left, Observed, Standing, State, Who};

/// A second process is started in the directory of a leader that runs.
pub(crate) fn second_in_one_directory(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let machine = Machine::new(programs.clone());
        let (_leader, node) = serve(&machine, "leader", &[]).await;
        let watch = Watch::start();

        let second = refused(&machine, "leader");

        let goes_on = node.append("x-test:event", &json!({ "goes": "on" })).await.is_ok();
        Ok(ended(Who::SecondLeader, &watch, &second, vec![("the first one goes on", goes_on)]))
    })
}

/// A leader's directory was copied, and both copies run on one database.
pub(crate) fn two_on_one_database(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let machine = Machine::new(programs.clone());
        let url = format!("sqlite://{}", machine.home().join("shared.db").display());
        let database = [("DATABASE_URL", url.as_str())];
        let (mut first, old) = serve(&machine, "leader", &database).await;
        grow(&old, 3).await;
        copy_directory(&machine, "leader", "twin");
        let (_second, new) = serve(&machine, "twin", &database).await;
        let watch = Watch::start();

        let event = json!({ "same": true });
        let (lost, kept) =
            tokio::join!(old.append("x-test:event", &event), new.append("x-test:event", &event));

        let status = first.ended().await;
        let after = watch.elapsed();
        let log = stranger::read_log(&new).await?;
        Ok(Observed {
            who: Who::Leader,
            after,
            state: exit_of(status.code(), &first.log()),
            left: Left::Nothing,
            healed: None,
            checks: vec![
                ("one of the two entries is taken", lost.is_err() && kept.is_ok()),
                ("the log holds it once", log.size() == 5),
            ],
        })
    })
}

/// The database is replaced by the copy of an hour ago, as after a failover that lost commits.
pub(crate) fn older_database(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let machine = Machine::new(programs.clone());
        grown(&machine, "leader").await;
        copy_database(&machine, "leader", "copy");
        grown(&machine, "leader").await;
        delete_database(&machine, "leader");
        copy_database(&machine, "copy", "leader");
        Ok(does_not_start(&machine))
    })
}

/// The database is gone.
pub(crate) fn lost_database(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let machine = Machine::new(programs.clone());
        grown(&machine, "leader").await;
        delete_database(&machine, "leader");
        Ok(does_not_start(&machine))
    })
}

/// The database is that of another log.
pub(crate) fn swapped_database(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let machine = Machine::new(programs.clone());
        grown(&machine, "leader").await;
        grown(&machine, "other").await;
        delete_database(&machine, "leader");
        copy_database(&machine, "other", "leader");
        Ok(does_not_start(&machine))
    })
}

/// A leader is restored from an old backup, which has no guard; a follower has what it signed since.
pub(crate) fn restored_behind_a_follower(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let (machine, address) = (Machine::new(programs.clone()), free_address());
        let (mut leader, node) = begin(&machine, "leader", address, &[]);
        leader.ready(&node).await;
        let node = node.with_token(token(&machine, "leader"));
        grow(&node, 3).await;
        stop(leader).await;
        copy_database(&machine, "leader", "backup");
        let (mut leader, _) = begin(&machine, "leader", address, &[]);
        leader.ready(&node).await;
        let (_follower, mirror) = follow(&machine, &node).await?;
        grow(&node, 3).await;
        let signed = node.size().await?;
        let has_all = async || mirror.size().await.is_ok_and(|size| size == signed);
        anyhow::ensure!(within(10, has_all).await, "the follower does not follow");
        stop(leader).await;
        delete_database(&machine, "leader");
        copy_database(&machine, "backup", "leader");
        fs::remove_file(machine.data("leader").join("signed-guard"))?;
        let watch = Watch::start();

        let (mut leader, _) = begin(&machine, "leader", address, &[]);
        leader.answers(&node, "/api/v1/log/1").await;

        let noticed = within(20, async || !rolled_back(&node).await.is_null()).await;
        let after = watch.elapsed();
        // It serves what its newest stored signature covers, which may be little.
        let reads = node.get("/api/v1/log/1").await?.is_success();
        let event = json!({ "event_type": "x-test:event", "payload": {} });
        let append = node.post("/api/v1/log/entries", &event).await?;
        let is_paused = (append.status, append.code().as_str()) == (503, "signing_paused");
        let standing = if is_paused { Standing::ReadOnly } else { Standing::Unmoved };
        let reason = if noticed { "self_rolled_back" } else { "" };
        let keeps = mirror.size().await? == signed;
        Ok(Observed {
            who: Who::Leader,
            after,
            state: State::of(standing, reason),
            left: Left::Nothing,
            healed: None,
            checks: vec![
                ("reads go on", reads),
                ("the follower keeps what was signed", keeps),
                ("the leader still runs", leader.is_running()),
            ],
        })
    })
}

/// The incident that says that a head of the own key is not on the own history; null if none.
async fn rolled_back(node: &Node) -> Value {
    let listed: anyhow::Result<Value> = node.read("/api/v1/operator/incidents").await;
    let listed = listed.unwrap_or_default();
    let all = listed["incidents"].as_array();
    let ours = |incident: &&Value| incident["kind"] == "self_rolled_back";
    all.and_then(|all| all.iter().find(ours).cloned()).unwrap_or_default()
}

async fn follow(machine: &Machine, leader: &Node) -> anyhow::Result<(Process, Node)> {
    let fingerprint = leader.well_known().await?.operator_fingerprint;
    let sources = json!([{ "url": leader.to_string(), "fingerprint": fingerprint }]).to_string();
    let variables =
        [("DIOGENES_FEDERATION_OPERATORS", sources.as_str()), ("DIOGENES_POLL", "50ms")];
    let address = free_address();
    let listen = address.to_string();
    let words = ["serve", "--listen", listen.as_str()];
    let mut follower = machine.start("follower", "follower", &words, &variables);
    let mirror = Node::local(address);
    follower.ready(&mirror).await;
    Ok((follower, mirror))
}

/// A leader that ran, took three entries and was stopped.
async fn grown(machine: &Machine, name: &str) {
    let (leader, node) = serve(machine, name, &[]).await;
    grow(&node, 3).await;
    stop(leader).await;
}

async fn stop(leader: Process) {
    assert_eq!(leader.stop().await, Some(0), "a leader stops when it is asked to");
}

fn does_not_start(machine: &Machine) -> Observed {
    let watch = Watch::start();
    let refused = refused(machine, "leader");
    ended(Who::Leader, &watch, &refused, Vec::new())
}

fn refused(machine: &Machine, name: &str) -> Ended {
    block_in_place(|| start_in_vain(machine, name, &[]))
}

fn ended(who: Who, watch: &Watch, end: &Ended, checks: Vec<(&'static str, bool)>) -> Observed {
    let (after, state) = (watch.elapsed(), ending(end));
    Observed { who, after, state, left: Left::Nothing, healed: None, checks }
}
