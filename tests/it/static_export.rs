//! The log as files: what `static export` writes is what the node serves.

use std::fs;
use std::path::{Path, PathBuf};

use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, eventually, free_address};
use serde_json::json;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// The files of an export, named from its top.
fn exported(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                places.push(path);
            } else if !name.starts_with('.') {
                found.push(name);
            }
        }
    }
    found
}

async fn append(leader: &Node, count: usize) {
    let line = |n| json!({ "event_type": "x-it:event", "payload": { "n": n } }).to_string();
    let lines: Vec<String> = (0..count).map(line).collect();
    leader.append_lines(lines.join("\n").into_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_files_are_what_the_node_serves_and_follow_it() {
    let machine = Machine::new(NODE);
    let address = free_address();
    let listen = address.to_string();
    let settings = [("RATE_LIMIT_LOG_READ", "0"), ("OPERATOR_TOKEN", "a-token-of-the-test")];
    let mut serving = machine.start("leader", "leader", &["serve", "--listen", &listen], &settings);
    let leader = Node::local(address).with_token(Some("a-token-of-the-test".to_owned()));
    serving.ready(&leader).await;
    append(&leader, 600).await;
    let url = format!("http://{address}");
    let directory = machine.home().join("www");
    let place = directory.to_str().unwrap();
    let export = ["static", "export", place, "--server", &url];

    let first = machine.run("leader", "leader", &export, &[]).succeeded();
    assert!(first.starts_with("0 -> 601 entries, root sha256:"), "{first}");
    assert_eq!(machine.run("leader", "leader", &export, &[]).succeeded(), "Nothing new.\n");
    let files = exported(&directory);
    assert_eq!(files.len(), 8, "{files:?}");
    for name in &files {
        let served = leader.get(&format!("/{name}")).await.unwrap();
        assert_eq!(served.body, fs::read(directory.join(name)).unwrap(), "{name}");
    }

    let watch = ["static", "export", place, "--server", &url, "--watch", "--interval", "50ms"];
    let mut watching = machine.start("leader", "leader", &watch, &[]);
    append(&leader, 300).await;
    eventually("the new entries are exported", async || {
        assert!(watching_runs(&directory));
        let served = leader.get("/checkpoint").await.unwrap().body;
        fs::read(directory.join("checkpoint")).is_ok_and(|exported| exported == served)
    })
    .await;
    assert!(directory.join("tile/entries/002").exists());
    assert!(watching.is_running());
    assert_eq!(watching.stop().await, Some(0));

    // A file that was changed is not built upon, and nothing is overwritten.
    let tile = directory.join("tile/0/003.p/133");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[0] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let refused = machine.run("leader", "leader", &export, &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.errors.contains("do not give the root"), "{}", refused.errors);
}

/// The checkpoint is replaced as a whole: at no moment is it missing or torn.
fn watching_runs(directory: &Path) -> bool {
    let text = fs::read_to_string(directory.join("checkpoint")).unwrap();
    text.ends_with('\n') && text.contains("\u{2014} ")
}
