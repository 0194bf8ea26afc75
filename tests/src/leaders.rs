//! Real leaders and the directories that they live in: started, refused, copied, robbed.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::http::Node;
use crate::process::{Ended, Machine, Process, copy_files, free_address};

/// Starts a leader in the directory of that name.
///
/// # Panics
/// When it does not come up.
pub async fn serve(machine: &Machine, name: &str, variables: &[(&str, &str)]) -> (Process, Node) {
    let (mut leader, node) = begin(machine, name, free_address(), variables);
    leader.ready(&node).await;
    (leader, node.with_token(token(machine, name)))
}

/// Starts a leader at an address and does not wait for it.
pub fn begin(
    machine: &Machine,
    name: &str,
    address: SocketAddr,
    variables: &[(&str, &str)],
) -> (Process, Node) {
    let listen = address.to_string();
    let leader = machine.start(name, "leader", &["serve", "--listen", &listen], variables);
    (leader, Node::local(address))
}

/// The operator's token of a leader that was up once.
pub fn token(machine: &Machine, name: &str) -> Option<String> {
    let token = fs::read_to_string(machine.data(name).join("operator-token")).ok()?;
    Some(token.trim().to_owned())
}

/// Starts a leader that must not come up, and waits until it gave up.
pub fn start_in_vain(machine: &Machine, name: &str, variables: &[(&str, &str)]) -> Ended {
    machine.run(name, "leader", &["serve", "--listen", "127.0.0.1:0"], variables)
}

/// Appends generic entries.
///
/// # Panics
/// When the leader does not take them.
pub async fn grow(node: &Node, more: u64) {
    for n in 0..more {
        node.append("x-test:event", &json!({ "n": n })).await.expect("an entry is taken");
    }
}

/// Copies a leader's directory, as somebody would who moves it to another machine.
///
/// # Panics
/// When that fails.
pub fn copy_directory(machine: &Machine, from: &str, to: &str) {
    copy_files(&machine.data(from), &machine.data(to), |name| name != "lock");
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(machine.data(to), private).expect("a directory becomes private");
}

/// Copies the database of a leader that stands still, over the one that is there.
pub fn copy_database(machine: &Machine, from: &str, to: &str) {
    copy_files(&machine.data(from), &machine.data(to), is_database);
}

/// Deletes the database of a leader that stands still.
///
/// # Panics
/// When that fails.
pub fn delete_database(machine: &Machine, name: &str) {
    for file in fs::read_dir(machine.data(name)).expect("a directory is read") {
        let file = file.expect("a directory is read");
        if is_database(&file.file_name()) {
            fs::remove_file(file.path()).expect("a file is removed");
        }
    }
}

fn is_database(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("log.db")
}
