//! The targets of the C2SP formats: paths, bundles, policies and proof files.
//!
//! They are judged against the published log of `tests/vectors/tessera-testlog`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use diogenes_common::bundle::EntryBundle;
use diogenes_common::merkle::{
    AuthenticTiles, BundlePath, Hash, NodeId, TileId, TilePath, TilePlan, TreeRoot, TreeSize,
};
use diogenes_common::note::Note;
use diogenes_common::policy::Policy;
use diogenes_common::proof::TlogProof;
use serde_json::Value;

/// A path is shown as it was read, names one resource, and is of the trees that are large enough.
pub fn tile_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (tile, bundle) = (text.parse::<TilePath>(), text.parse::<BundlePath>());
    assert!(tile.is_err() || bundle.is_err());
    if let Ok(bundle) = bundle {
        assert_eq!(bundle.to_string(), text);
        assert_eq!(bundle.is_in(TreeSize::MAX), bundle.tile().is_in(TreeSize::MAX));
    }
    let Ok(path) = tile else { return };
    assert_eq!(path.to_string(), text);
    assert!(!path.is_in(TreeSize::ZERO));
    let largest = TilePath::in_tree(path.tile(), TreeSize::MAX);
    let fits = largest.is_some_and(|largest| path.width() <= largest.width());
    assert_eq!(path.is_in(TreeSize::MAX), fits);
}

/// A tile or bundle that is read for the published log is the one that the log serves.
///
/// The first byte says how many entries are expected.
pub fn bundle(data: &[u8]) {
    let tile = PUBLISHED.plan.authenticate(|_| Some(data));
    assert!(tile.is_err() || data.starts_with(&PUBLISHED.tile));
    let Some((width, bytes)) = data.split_first() else { return };
    let Ok(bundle) = EntryBundle::parse(bytes, u16::from(*width) + 1) else { return };
    assert_eq!(bundle.to_bytes(), bytes);
    assert_eq!(EntryBundle::new(bundle.entries().to_vec()).as_ref(), Ok(&bundle));
    if let Ok(entries) = bundle.authenticate(0, &PUBLISHED.tiles) {
        assert_eq!(entries, PUBLISHED.entries);
    }
}

/// A policy means the same when it is shown and read again, asks for no more witnesses than it
/// has, and believes nothing of a log that it does not list.
pub fn policy(data: &[u8]) {
    let Ok(policy) = Policy::parse(data) else { return };
    let shown = policy.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&policy));
    assert!(policy.required() <= policy.witnesses().len());
    assert!(policy.has_quorum(|_| true));
    assert_eq!(policy.has_quorum(|_| false), policy.quorum_is_none());
    assert_eq!(policy.required() == 0, policy.quorum_is_none());
    let opened = policy.open(&PUBLISHED.checkpoint);
    let listed = policy.logs().iter().any(|log| log.vkey().to_string() == PUBLISHED.vkey);
    assert_eq!(opened.is_ok(), listed && policy.quorum_is_none());
}

/// A proof file is shown as it was read, and proves nothing but what the published log has.
pub fn tlog_proof(data: &[u8]) {
    let Ok(proof) = TlogProof::parse(data) else { return };
    assert_eq!(proof.to_string().as_bytes(), data);
    for entry in &PUBLISHED.entries {
        let leaf = Hash::of_leaf(entry);
        let Ok(checkpoint) = proof.verify(&leaf, &PUBLISHED.policy) else { continue };
        let place = usize::try_from(proof.index()).expect("a small index");
        assert_eq!(PUBLISHED.entries.get(place), Some(entry));
        assert!(PUBLISHED.checkpoints.contains(&checkpoint.to_string()), "nobody signed this");
    }
}

/// Inputs to begin with; none if the target is of another module.
pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    let seeds = match target {
        "tile_path" => {
            let paths = &extracted()["tile_paths_c2sp"];
            let good = paths["ok"].as_array().into_iter().flatten().map(|case| &case[0]);
            let bad = paths["bad"].as_array().into_iter().flatten();
            good.chain(bad).map(|path| text(path).into_bytes()).collect()
        }
        "bundle" => {
            let bundle = |width: u8| {
                let path = BundlePath::new(0, width.into()).expect("a width");
                [&[width - 1][..], &published(&path.to_string())].concat()
            };
            vec![bundle(1), bundle(7), bundle(15), PUBLISHED.tile.clone()]
        }
        "policy" | "tlog_proof" => committed(target),
        _ => return None,
    };
    Some(seeds)
}

/// What the published log holds at its last size, read once.
struct Published {
    plan: TilePlan,
    tile: Vec<u8>,
    tiles: AuthenticTiles,
    entries: Vec<Vec<u8>>,
    vkey: String,
    policy: Policy,
    checkpoint: Note,
    checkpoints: BTreeSet<String>,
}

static PUBLISHED: LazyLock<Published> = LazyLock::new(Published::read);

impl Published {
    fn read() -> Self {
        let log = &extracted()["tessera_testlog"];
        let vkey = text(&log["vkey"]);
        let policy: Policy = format!("log {vkey}\nquorum none\n").parse().expect("a policy");
        let checkpoint = Note::parse(&published("checkpoint")).expect("a published checkpoint");
        let tree: TreeRoot = policy.open(&checkpoint).expect("a published signature").tree();
        let leaf = NodeId { height: 0, index: 0 };
        let plan = TilePlan::new(tree, &[leaf]).expect("the log is not empty");
        let tile = TilePath::in_tree(TileId { level: 0, index: 0 }, tree.size);
        let tile = published(&tile.expect("the log is not empty").to_string());
        let notes = (0..=15).map(|size| published(&format!("checkpoint.{size}")));
        let entries = log["leaves"].as_array().into_iter().flatten();
        Self {
            tiles: plan.authenticate(|_| Some(&tile)).expect("the published tile"),
            entries: entries.map(|entry| text(entry).into_bytes()).collect(),
            checkpoints: notes
                .map(|note| Note::parse(&note).expect("a published checkpoint").text().to_owned())
                .collect(),
            plan,
            tile,
            vkey,
            policy,
            checkpoint,
        }
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn published(path: &str) -> Vec<u8> {
    let log = folder("../vectors/tessera-testlog/log");
    std::fs::read(log.join(path)).expect("a published file")
}

fn extracted() -> Value {
    let bytes = std::fs::read(folder("../vectors/extracted.json")).expect("the vectors");
    serde_json::from_slice(&bytes).expect("the vectors are JSON")
}

/// The seeds of a format of which no golden vector is a whole file.
fn committed(target: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder("seeds").join(target)).expect("seeds");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a seed").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
