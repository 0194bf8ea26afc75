//! The targets of what a witness reads from strangers.

use std::path::Path;

use diogenes_common::merkle::{TreeRoot, TreeSize};
use serde_json::Value;

use super::{GOLDEN, golden, texts};
use crate::add_checkpoint::{Request, judge, recognise};
use crate::log_list::LogList;

/// A witness cosigns only what the log signed, and only what extends the tree that it stands at.
pub fn checkpoint_request(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    let Ok(signed) = recognise(request, Some(&GOLDEN.vkeys[..1])) else { return };
    for known in trees() {
        let Ok(accepted) = judge(signed.clone(), known) else { continue };
        let text = accepted.checkpoint().to_string();
        assert!(GOLDEN.checkpoints.contains(&text), "a checkpoint that nobody signed");
        assert_eq!(accepted.note().text(), text);
        let new = accepted.checkpoint().tree();
        assert_eq!(accepted.old(), known);
        assert!(new == known || new.size > known.size, "back, or to another root");
        assert!(trees().contains(&new), "a tree that the log never had");
    }
}

/// A list that can be read is read the same when it is written anew.
pub fn list_of_logs(data: &[u8]) {
    let Ok(list) = LogList::parse(data) else { return };
    let mut written = "logs/v0\n".to_owned();
    for log in &list.logs {
        written += &format!("vkey {}\norigin {}\nqpd 1\ncontact x\n", log.key, log.origin);
    }
    let again = LogList::parse(written.as_bytes()).expect("what was written is a list");
    assert_eq!(again.logs, list.logs);
}

/// The trees that the golden log had, the empty one first.
fn trees() -> Vec<TreeRoot> {
    let log = golden("log.json");
    let all = log["trees"].as_array().into_iter().flatten();
    let tree = |tree: &Value| {
        let size = tree["tree_size"].as_u64().and_then(TreeSize::new)?;
        let hash = tree["root_hash"].as_str()?.parse().ok()?;
        Some(TreeRoot { size, hash })
    };
    all.filter_map(tree).collect()
}

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    match target {
        "add_checkpoint" => Some(requests()),
        "log_list" => Some(lists()),
        _ => None,
    }
}

/// The checkpoint of each golden head, from every size that a golden proof leads from.
fn requests() -> Vec<Vec<u8>> {
    let (heads, log) = (golden("tree-heads.json"), golden("log.json"));
    let heads: Vec<&Value> = heads.as_array().into_iter().flatten().collect();
    let mut requests = Vec::new();
    for head in &heads {
        let (size, note) = (&head["json"]["tree_size"], &head["json"]["checkpoint"]);
        let note = note.as_str().expect("a head has a checkpoint");
        requests.push(format!("old 0\n\n{note}"));
        requests.push(format!("old {size}\n\n{note}"));
        for proof in log["consistency_proofs"].as_array().into_iter().flatten() {
            let hashes = proof["hashes"].as_array().into_iter().flatten();
            let hashes: Vec<&str> = hashes.filter_map(Value::as_str).collect();
            if proof["second"] == *size {
                let (first, hashes) = (&proof["first"], hashes.join("\n"));
                requests.push(format!("old {first}\n{hashes}\n\n{note}"));
            }
        }
    }
    requests.into_iter().map(String::into_bytes).collect()
}

fn lists() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/witness-network");
    let list = |name| std::fs::read(folder.join(name)).expect("a list of logs");
    let key = texts(&golden("checkpoint.json"), &["log_vkey"]).concat();
    let key = String::from_utf8(key).expect("a vkey");
    let named = format!(
        "logs/v0\nvkey {key}\norigin a log\nqpd 1\ncontact a\nvkey {key}\nqpd 9\ncontact b\n"
    );
    let files = ["testing-log-list.1", "log-list-10qps-4klogs.1", "log-list-100qps-40klogs.1"];
    files.into_iter().map(list).chain([named.into_bytes()]).collect()
}
