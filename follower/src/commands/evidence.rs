//! `evidence explain`: what a file proves, and where its history leaves the one that is held here.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::evidence::{self, MAX_EVIDENCE_BYTES, Own, Parting, Traces};
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::files::{DataDir, Role};
use diogenes_common::merkle::{Edge, TreeSize};
use diogenes_common::shutdown;
use diogenes_common::store::{OpenOptions, Schema, Store, StoreError};

use crate::boot;
use crate::sync::{own_root, store_failure};

/// `evidence ...`.
#[derive(Subcommand)]
pub(super) enum Evidence {
    /// Say in plain words what a file of evidence proves, and which entry is the first that differs
    /// from what this follower verified, as far as the file tells.
    ///
    /// Example: diogenes-follower evidence explain fork.json --data-dir ~/.diogenes/follower
    Explain {
        /// The file.
        file: PathBuf,
    },
}

impl Evidence {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let Self::Explain { file } = self;
        let bytes = read(file)?;
        let text = evidence::explain(&bytes)
            .map_err(|error| unreadable(format!("{}: {error}", file.display())))?;
        print!("{text}");
        let Some(traces) = evidence::traces(&bytes) else {
            return Err(Failure::refused(
                "not_proven",
                "the file does not prove what it says",
                "it proves nothing against anybody; ask whoever gave it to you",
            ));
        };
        DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
        shutdown::block_on(Some(1), async {
            let options = OpenOptions { schema: Schema::Require, ..OpenOptions::default() };
            let store = boot::open_store_with(settings, options).await?;
            let said = compared(&store, &traces).await;
            store.close().await;
            println!("Held here: {}", said?);
            Ok(())
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_EVIDENCE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
}

fn unreadable(what: String) -> Failure {
    Failure::new(Exit::Usage, "unreadable", what, "give a file of evidence")
}

/// What this follower's own entries say about the file.
async fn compared(store: &Store, traces: &Traces) -> Result<String, Failure> {
    let state = store.state().await.map_err(store_failure)?;
    let size = state.map_or(TreeSize::ZERO, |state| state.tree.size);
    let edge = store.load_edge(size).await.map_err(store_failure)?;
    let own = own(store, &edge, traces).await?;
    if let Some(bad) = traces.bad_entry {
        return Ok(match entry(store, bad).await.map_err(store_failure)? {
            None => format!("entry {bad} was never stored; the {size} entries before it verify"),
            Some(entry) => format!("entry {bad} is another one: {entry}"),
        });
    }
    let Some(Parting { first, last }) = evidence::parting(traces, &own) else {
        return Ok(format!(
            "nothing in the file differs from the {size} entries that this follower verified"
        ));
    };
    let shown = entry(store, first).await.map_err(store_failure)?.unwrap_or_default();
    Ok(if first == last {
        format!("the first entry that differs is {first}; here it is {shown}")
    } else {
        format!(
            "the first entry that differs is one of {first} to {last}; entry {first} here is {shown}"
        )
    })
}

/// What is stored at the places that the file speaks of.
async fn own(store: &Store, edge: &Edge, traces: &Traces) -> Result<Own, Failure> {
    let size = edge.size().get();
    let mut own = Own::default();
    for tree in traces.trees.iter().filter(|tree| tree.size.get() <= size) {
        own.trees.insert(tree.size, own_root(store, edge, tree.size).await?);
    }
    let nodes = traces.steps.iter().flat_map(|step| &step.nodes).map(|(id, _)| *id);
    let held = |id: u64, height: u8| {
        id.checked_add(1)
            .and_then(|end| end.checked_shl(height.into()))
            .is_some_and(|end| end <= size)
    };
    let ids: Vec<_> = nodes.filter(|id| held(id.index, id.height)).collect();
    let hashes = store.nodes(&ids, edge).await.map_err(store_failure)?;
    own.nodes = ids.into_iter().zip(hashes).collect();
    for (id, _) in traces.entries.iter().filter(|(id, _)| (1..=size).contains(id)) {
        let leaf = store.entry(*id).await.map_err(store_failure)?;
        own.entries.extend(leaf.map(|leaf| (*id, leaf.entry_hash())));
    }
    Ok(own)
}

/// An entry of this follower in a few words.
async fn entry(store: &Store, id: u64) -> Result<Option<String>, StoreError> {
    let leaf = store.entry(id).await?;
    Ok(leaf.map(|leaf| {
        format!(
            "{} of {}, with the hash {}",
            leaf.event_type(),
            leaf.timestamp(),
            leaf.entry_hash()
        )
    }))
}
