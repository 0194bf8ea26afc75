//! States in which a leader must not sign: another leader on the database, a database that is
//! deleted, swapped or older than what was signed.

use std::ffi::OsStr;
use std::fs;

use diogenes_tests::http::Node;
use diogenes_tests::process::{Ended, Machine, Process, copy_files, free_address};
use diogenes_tests::{postgres, stranger};
use serde_json::json;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Starts a leader in the directory of that name.
async fn serve(machine: &Machine, name: &str, variables: &[(&str, &str)]) -> (Process, Node) {
    let address = free_address();
    let listen = address.to_string();
    let mut leader = machine.start(name, "leader", &["serve", "--listen", &listen], variables);
    let node = Node::local(address);
    leader.ready(&node).await;
    let token = fs::read_to_string(machine.data(name).join("operator-token")).unwrap();
    (leader, node.with_token(Some(token.trim().to_owned())))
}

/// Starts a leader that must not come up.
fn refused(machine: &Machine, name: &str, variables: &[(&str, &str)]) -> Ended {
    let ended = machine.run(name, "leader", &["serve", "--listen", "127.0.0.1:0"], variables);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    ended
}

async fn grow(node: &Node, more: u64) {
    for n in 0..more {
        node.append("x-test:event", &json!({ "n": n })).await.unwrap();
    }
}

fn is_database(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("log.db")
}

fn delete_database(machine: &Machine, name: &str) {
    for file in fs::read_dir(machine.data(name)).unwrap() {
        let file = file.unwrap();
        if is_database(&file.file_name()) {
            fs::remove_file(file.path()).unwrap();
        }
    }
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
    copy_files(&machine.data("leader"), &machine.data("twin"), |name| name != "lock");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(machine.data("twin"), private).unwrap();

    let second = refused(&machine, "twin", &database);

    assert!(second.errors.contains("not_leader"), "{second:?}");
    grow(&node, 1).await;
    stranger::read_log(&node).await.unwrap();
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn a_deleted_database_is_not_made_anew() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve(&machine, "leader", &[]).await;
    grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
    delete_database(&machine, "leader");

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_not_served() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve(&machine, "leader", &[]).await;
    grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
    copy_files(&machine.data("leader"), &machine.data("copy"), is_database);
    let (leader, node) = serve(&machine, "leader", &[]).await;
    grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
    delete_database(&machine, "leader");
    copy_files(&machine.data("copy"), &machine.data("leader"), is_database);

    let ended = refused(&machine, "leader", &[]);

    assert!(ended.errors.contains("self_rolled_back"), "{ended:?}");
}

#[tokio::test]
async fn the_database_of_another_log_is_not_served() {
    let machine = Machine::new(NODE);
    for name in ["leader", "other"] {
        let (leader, node) = serve(&machine, name, &[]).await;
        grow(&node, 3).await;
        assert_eq!(leader.stop().await, Some(0));
    }
    delete_database(&machine, "leader");
    copy_files(&machine.data("other"), &machine.data("leader"), is_database);

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
