//! Tile paths, tiles, bundles, policies and proof files against published vectors.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use diogenes_common::bundle::EntryBundle;
use diogenes_common::merkle::{
    AuthenticTiles, BundlePath, Edge, Hash, NodeId, ProofPlan, TileId, TilePath, TilePathError,
    TilePlan, TileReadError, TreeRoot, TreeSize,
};
use diogenes_common::note::{KeyKind, Note, VkeyError};
use diogenes_common::policy::{Policy, PolicyError, PolicyLineError, PolicyOpenError};
use diogenes_common::proof::TlogProof;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name)
}

fn vectors(name: &str) -> Value {
    let text = fs::read(folder("extracted.json")).expect("the vectors are in the tree");
    let all: Value = serde_json::from_slice(&text).expect("the vectors are JSON");
    all[name].clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn size(leaves: u64) -> TreeSize {
    TreeSize::new(leaves).expect("a small size")
}

fn at(index: u64) -> NodeId {
    NodeId { height: 0, index }
}

/// What a file of the published log holds.
fn served(path: &str) -> Vec<u8> {
    fs::read(folder("tessera-testlog/log").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn published_note(leaves: u64) -> Note {
    Note::parse(&served(&format!("checkpoint.{leaves}"))).expect("a note")
}

fn published_policy(rest: &str) -> Policy {
    let vkey = vectors("tessera_testlog");
    format!("log {}\n{rest}", text(&vkey["vkey"])).parse().expect("a policy")
}

fn published_tree(leaves: u64) -> TreeRoot {
    let policy = published_policy("quorum none\n");
    policy.open(&published_note(leaves)).expect("the log signed it").tree()
}

/// All leaf hashes of the published log at a size, checked against its root.
fn published_tiles(leaves: u64) -> AuthenticTiles {
    let everything: Vec<NodeId> = (0..leaves).map(at).collect();
    let plan = TilePlan::new(published_tree(leaves), &everything).expect("nodes of the tree");
    plan.authenticate(|path| Some(served(&path.to_string()))).expect("the tiles of the tree")
}

fn published_bundle(leaves: u64) -> (BundlePath, Vec<u8>) {
    let path = BundlePath::in_tree(0, size(leaves)).expect("a tree of some leaves");
    (path, served(&path.to_string()))
}

/// Calls with every way to change one bit of one byte.
fn each_flip(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    let mut bytes = bytes.to_vec();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            bytes[place] ^= 1 << bit;
            check(place, &bytes);
            bytes[place] ^= 1 << bit;
        }
    }
}

#[test]
fn published_tile_paths_get_their_verdict() {
    let paths = vectors("tile_paths_c2sp");
    for case in list(&paths["ok"]) {
        let (path, index) = (text(&case[0]), case[2].as_u64().expect("an index"));
        let width = case[3].as_u64().unwrap_or(256);
        if case[1] == "entries" {
            let bundle: BundlePath = path.parse().expect(path);
            assert_eq!((bundle.index(), u64::from(bundle.width())), (index, width));
            assert_eq!(bundle.to_string(), path);
        } else {
            let tile: TilePath = path.parse().expect(path);
            let level = u8::try_from(case[1].as_u64().expect("a level")).expect("a small level");
            assert_eq!(tile.tile(), TileId { level, index });
            assert_eq!((u64::from(tile.width()), tile.to_string().as_str()), (width, path));
        }
    }
    for path in list(&paths["bad"]) {
        assert!(text(path).parse::<TilePath>().is_err(), "{path}");
        assert!(text(path).parse::<BundlePath>().is_err(), "{path}");
    }
}

#[test]
fn paths_of_the_go_checksum_database_are_none_of_ours() {
    let paths = vectors("tile_paths_go_sumdb_style");
    for case in list(&paths["cases"]) {
        assert!(text(&case[0]).parse::<TilePath>().is_err(), "{case}");
        assert!(text(&case[0]).parse::<BundlePath>().is_err(), "{case}");
    }
    assert_eq!("tile/8/0/000".parse::<TilePath>(), Err(TilePathError::BadIndex));
}

#[test]
fn a_tree_of_70000_leaves_has_the_published_paths() {
    let widths = vectors("tlog_tiles_70000");
    let leaves = size(widths["size"].as_u64().expect("a size"));
    for level in 0..3_u8 {
        let count = |kind| widths[format!("L{level}_{kind}")].as_u64().unwrap_or(0);
        let (full, partial) = (count("full"), count("partial"));

        let path = |index| TilePath::in_tree(TileId { level, index }, leaves);

        assert!(full == 0 || path(full - 1).is_some_and(|path| path.width() == 256));
        assert_eq!(path(full).map(|path| u64::from(path.width())), Some(partial));
        assert_eq!(path(full + 1), None);
    }
}

#[test]
fn the_published_log_has_the_roots_that_it_signed() {
    let published = vectors("tessera_testlog");
    let leaves = list(&published["leaves"]);
    let mut rest = leaves.iter();
    let mut edge = Edge::empty();
    for count in 0..=15_u64 {
        assert_eq!(edge.root(), published_tree(count), "size {count}");
        if count > 0 {
            let (path, bytes) = published_bundle(count);
            let bundle = EntryBundle::parse(&bytes, path.width()).expect("a bundle");
            assert_eq!(bundle.to_bytes(), bytes);
            let entries = bundle.authenticate(0, &published_tiles(count)).expect("of the tree");
            let expected: Vec<&[u8]> =
                leaves.iter().map(|leaf| text(leaf).as_bytes()).take(entries.len()).collect();
            assert_eq!(entries.len() as u64, count);
            assert_eq!(entries, expected);
        }
        if let Some(next) = rest.next() {
            edge.push(Hash::of_leaf(text(next).as_bytes()), &mut Vec::new());
        }
    }
    assert_eq!(served("checkpoint"), served("checkpoint.15"));
}

#[test]
fn a_later_bundle_and_tile_do_for_an_earlier_size() {
    let plan = TilePlan::new(published_tree(7), &[at(6)]).expect("a node of the tree");

    let tiles = plan.authenticate(|_| Some(served("tile/0/000.p/15"))).expect("seven of fifteen");

    let bundle = EntryBundle::parse(&published_bundle(15).1, 15).expect("a bundle");
    assert_eq!(bundle.authenticate(0, &tiles).map(|entries| entries.len()), Ok(7));
}

#[test]
fn no_bit_of_a_published_tile_can_be_changed() {
    let (tree, tile) = (published_tree(15), served("tile/0/000.p/15"));
    let plan = TilePlan::new(tree, &[at(0)]).expect("a node of the tree");
    each_flip(&tile, |place, bytes| {
        let read = plan.authenticate(|_| Some(bytes));
        assert_eq!(read, Err(TileReadError::WrongRoot), "byte {place}");
    });
}

#[test]
fn no_bit_of_a_published_bundle_can_be_changed() {
    let (path, bundle) = published_bundle(15);
    let tiles = published_tiles(15);
    each_flip(&bundle, |place, bytes| {
        let entries = EntryBundle::parse(bytes, path.width())
            .is_ok_and(|bundle| bundle.authenticate(0, &tiles).is_ok());
        assert!(!entries, "byte {place}");
    });
}

#[test]
fn no_bit_of_a_published_checkpoint_can_be_changed() {
    let policy = published_policy("quorum none\n");
    each_flip(&served("checkpoint.15"), |place, bytes| {
        let opened = Note::parse(bytes).is_ok_and(|note| policy.open(&note).is_ok());
        assert!(!opened, "byte {place}");
    });
}

/// The proof of a leaf of the published log, made from what it serves.
fn published_proof(index: u64) -> TlogProof {
    let leaves = published_tree(15).size;
    let plan = ProofPlan::inclusion(index, leaves).expect("a leaf of the tree");
    let hashes = plan.read(&published_tiles(15)).expect("all nodes were read");
    TlogProof::new(size(index), hashes, published_note(15)).expect("a short proof")
}

#[test]
fn every_published_leaf_has_a_proof_file() {
    let published = vectors("tessera_testlog");
    let policy = published_policy("quorum none\n");
    for (leaf, index) in list(&published["leaves"]).iter().zip(0..) {
        let file = published_proof(index).to_string();

        let proof: TlogProof = file.parse().expect("a proof file");

        let leaf = Hash::of_leaf(text(leaf).as_bytes());
        let opened = proof.verify(&leaf, &policy).expect("the leaf is in the log");
        assert_eq!(opened.tree(), published_tree(15));
        assert!(proof.verify(&Hash::of_leaf(b"another"), &policy).is_err());
    }
}

#[test]
fn no_bit_of_a_proof_file_can_be_changed() {
    let policy = published_policy("quorum none\n");
    let leaf = Hash::of_leaf(b"four");
    each_flip(published_proof(3).to_string().as_bytes(), |place, bytes| {
        let holds = TlogProof::parse(bytes).is_ok_and(|proof| proof.verify(&leaf, &policy).is_ok());
        assert!(!holds, "byte {place}");
    });
}

#[test]
fn a_published_cosignature_makes_a_quorum() {
    let cosigned = vectors("cosignature_v1_generated");
    let line = text(&cosigned["line"]).trim_end().parse().expect("a signature line");
    let note = published_note(15);
    assert_eq!(note.text(), text(&cosigned["checkpoint_body"]));
    let witness = format!("witness wit1 {}\n", text(&cosigned["vkey_type04"]));
    let policy = published_policy(&(witness + "quorum wit1\n"));

    let alone = policy.open(&note);
    let note = note.with(line).expect("a note");

    assert_eq!(alone, Err(PolicyOpenError::NoQuorum { got: 0, required: 1 }));
    assert_eq!(policy.open(&note).map(|checkpoint| checkpoint.tree()), Ok(published_tree(15)));
    assert_eq!(policy.cosigners(&note).map(|witnesses| witnesses.len()), Ok(1));
    let plain = published_policy("quorum none\n").to_string()
        + &format!("witness wit1 {}\n", text(&cosigned["vkey_type01"]));
    let refused = plain.parse::<Policy>();
    let reason = PolicyLineError::NotAWitnessKey;
    assert_eq!(refused, Err(PolicyError::Line { line: 3, reason }));
    assert_eq!(policy.logs()[0].vkey().kind(), KeyKind::Ed25519);
}

#[test]
fn a_policy_with_a_key_of_an_unsupported_kind_is_refused() {
    let cosigned = vectors("mldsa44_cosignature_generated");
    let witness = format!("witness w {}\nquorum w\n", text(&cosigned["vkey"]));

    let reason = PolicyLineError::Vkey(VkeyError::UnknownType);
    assert_eq!(witness.parse::<Policy>(), Err(PolicyError::Line { line: 1, reason }));
}

#[test]
fn policies_of_sigsum_are_refused_for_their_keys() {
    let mut judged = 0;
    for entry in fs::read_dir(folder("sigsum-policies")).expect("the vectors are in the tree") {
        let path = entry.expect("a file").path();
        if path.file_name().is_some_and(|name| name == "LICENSE") {
            continue;
        }
        let bytes = fs::read(&path).expect("a policy");
        let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
        let first = lines.filter(|(line, _)| line.starts_with(b"log ")).map(|(_, n)| n).next();

        let reason = PolicyLineError::Vkey(VkeyError::Malformed);
        let line = first.expect("a log comes first");
        assert_eq!(Policy::parse(&bytes), Err(PolicyError::Line { line, reason }), "{path:?}");
        judged += 1;
    }
    assert!(judged >= 2, "{judged} policies");
}

/// The tiles of the published recipe: leaf `i` is the text `leaf <i>`.
fn recipe(leaves: u64) -> (TreeRoot, HashMap<TileId, Vec<u8>>) {
    let mut edge = Edge::empty();
    let mut completed = Vec::new();
    for index in 0..leaves {
        edge.push(Hash::of_leaf(format!("leaf {index}").as_bytes()), &mut completed);
    }
    let mut tiles: HashMap<TileId, Vec<u8>> =
        completed.into_iter().map(|(id, nodes)| (id, nodes.to_bytes())).collect();
    for (tile, width) in TileId::incomplete(edge.size()) {
        let hash = |place: u64| {
            let index = (tile.index << 8) + place;
            *edge.node(NodeId { height: tile.level * 8, index }).expect("on the edge").as_bytes()
        };
        tiles.insert(tile, (0..width as u64).flat_map(hash).collect());
    }
    (edge.root(), tiles)
}

#[test]
fn the_forgery_of_cve_2026_56865_is_refused() {
    let recipe_of = vectors("tile_auth_cve_2026_56865");
    let observed = list(&recipe_of["vulnerable_sizes_observed_in_tlog_tiles_0_2_0"]);
    let others = list(&recipe_of["sizes_rejected_even_by_vulnerable_code"]);
    for leaves in observed.iter().chain(others) {
        let (tree, mut tiles) = recipe(leaves.as_u64().expect("a size"));
        let plan = TilePlan::new(tree, &[at(0)]).expect("a node of the tree");
        let honest = plan.authenticate(|path| tiles.get(&path.tile())).map(|_| ());
        assert_eq!(honest, Ok(()), "size {leaves}");

        tiles.get_mut(&TileId { level: 0, index: 0 }).expect("the first tile")[0] ^= 1;

        assert!(plan.authenticate(|path| tiles.get(&path.tile())).is_err(), "size {leaves}");
    }
}
