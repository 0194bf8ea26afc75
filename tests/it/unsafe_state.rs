//! States in which a leader must not sign: another leader on the database, a database that is
//! deleted, swapped or older than what was signed.

use std::fs;

use diogenes_tests::http::Node;
use diogenes_tests::leaders::{
    copy_database, copy_directory, delete_database, grow, serve, start_in_vain,
};
use diogenes_tests::process::{Ended, Machine, free_address};
use diogenes_tests::{postgres, stranger};
use serde_json::{Value, json};

use crate::site::now;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Starts a leader that must not come up.
fn refused(machine: &Machine, name: &str, variables: &[(&str, &str)]) -> Ended {
    let ended = start_in_vain(machine, name, variables);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    ended
}

/// Starts a leader, which is at rest again with three more entries.
async fn serve_a_while(machine: &Machine, name: &str) {
    let (leader, node) = serve(machine, name, &[]).await;
    grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_leader_in_the_same_directory_does_not_start() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve(&machine, "leader", &[]).await;

    let second = refused(&machine, "leader", &[]);

    assert!(second.errors.contains("lock") || second.errors.contains("not_leader"), "{second:?}");
    grow(&node, 1).await;
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_leader_on_the_same_database_does_not_start() {
    if tokio::task::spawn_blocking(postgres::cluster).await.unwrap().is_none() {
        return;
    }
    let machine = Machine::new(NODE);
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start_own).await.unwrap().unwrap();
    let url = cluster.database().unwrap().to_string();
    let database = [("DATABASE_URL", url.as_str())];
    let (leader, node) = serve(&machine, "leader", &database).await;
    copy_directory(&machine, "leader", "twin");

    let second = refused(&machine, "twin", &database);

    assert!(second.errors.contains("not_leader"), "{second:?}");
    grow(&node, 1).await;
    stranger::read_log(&node).await.unwrap();
    assert_eq!(leader.stop().await, Some(0));
}

/// Two directories, one SQLite file: no lock tells the two leaders of each other, the database does.
#[tokio::test]
async fn of_two_leaders_that_know_nothing_of_each_other_one_commits() {
    let machine = Machine::new(NODE);
    let url = format!("sqlite://{}", machine.home().join("shared.db").display());
    let database = [("DATABASE_URL", url.as_str())];
    let (mut first, old) = serve(&machine, "leader", &database).await;
    grow(&old, 3).await;
    copy_directory(&machine, "leader", "twin");
    let (second, new) = serve(&machine, "twin", &database).await;

    let event = json!({ "same": true });
    let (lost, kept) =
        tokio::join!(old.append("x-test:event", &event), new.append("x-test:event", &event));

    assert!(lost.is_err(), "{lost:?}");
    kept.unwrap();
    assert_eq!(first.ended().await.code(), Some(78));
    assert!(first.log().contains("not_leader"), "{}", first.log());
    grow(&new, 3).await;
    assert_eq!(stranger::read_log(&new).await.unwrap().size(), 1 + 3 + 1 + 3);
    assert_eq!(second.stop().await, Some(0));
}

#[tokio::test]
async fn a_deleted_database_is_not_made_anew() {
    let machine = Machine::new(NODE);
    serve_a_while(&machine, "leader").await;
    delete_database(&machine, "leader");

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}

#[tokio::test]
async fn without_its_guard_a_leader_signs_nothing_until_the_operator_vouches_for_the_size() {
    let machine = Machine::new(NODE);
    serve_a_while(&machine, "leader").await;
    fs::remove_file(machine.data("leader").join("signed-guard")).unwrap();

    let address = free_address();
    let listen = address.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &[]);
    let token = fs::read_to_string(machine.data("leader").join("operator-token")).unwrap();
    let restored = Node::local(address).with_token(Some(token.trim().to_owned()));
    leader.answers(&restored, "/api/v1/log/sth").await;
    let event = json!({ "event_type": "x-test:event", "payload": {} });
    let refused = restored.post("/api/v1/log/entries", &event).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "signing_paused"));
    assert_eq!(restored.get("/readyz").await.unwrap().status, 503);
    assert!(restored.get("/api/v1/log/1").await.unwrap().is_success(), "entries are served on");
    assert_eq!(leader.stop().await, Some(0));

    let wrong = ["serve", "--listen", &listen, "--accept-size", "5"];
    let wrong = machine.run("leader", "leader", &wrong, &[]);
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    let right = ["serve", "--listen", &listen, "--accept-size", "4"];
    let mut leader = machine.start("leader", "leader", &right, &[]);
    leader.ready(&restored).await;
    grow(&restored, 1).await;
    assert_eq!(stranger::read_log(&restored).await.unwrap().size(), 5);
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_not_served() {
    let machine = Machine::new(NODE);
    serve_a_while(&machine, "leader").await;
    copy_database(&machine, "leader", "copy");
    serve_a_while(&machine, "leader").await;
    delete_database(&machine, "leader");
    copy_database(&machine, "copy", "leader");

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}

#[tokio::test]
async fn no_head_is_older_than_the_newest_one_that_was_signed() {
    let machine = Machine::new(NODE);
    serve_a_while(&machine, "leader").await;
    // What a heartbeat signed and the copy of the database lacks; the clock was set back since.
    let file = machine.data("leader").join("signed-guard");
    let mut guard: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let signed = now().plus_millis(90_000);
    guard["timestamp"] = json!(signed);
    fs::write(&file, guard.to_string()).unwrap();

    // A start that signs nothing new does not forget it.
    let (leader, _) = serve(&machine, "leader", &[]).await;
    assert_eq!(leader.stop().await, Some(0));
    let (leader, node) = serve(&machine, "leader", &[]).await;
    grow(&node, 1).await;

    let head = node.head().await.unwrap();
    assert!(head.timestamp >= signed, "{} below {signed}", head.timestamp);
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn the_database_of_another_log_is_not_served() {
    let machine = Machine::new(NODE);
    for name in ["leader", "other"] {
        serve_a_while(&machine, name).await;
    }
    delete_database(&machine, "leader");
    copy_database(&machine, "other", "leader");

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}

#[tokio::test]
async fn a_database_without_its_key_is_not_served() {
    let machine = Machine::new(NODE);
    let (leader, _) = serve(&machine, "leader", &[]).await;
    assert_eq!(leader.stop().await, Some(0));
    fs::remove_file(machine.data("leader").join("operator.pem")).unwrap();

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}
