//! The Merkle tree against published vectors and against a tree written by somebody else.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use diogenes_common::merkle::{
    Edge, Hash, MAX_PROOF_LEN, NodeId, ProofError, ProofPlan, Subtree, TileId, TileNodes, TreeRoot,
    TreeSize, verify_consistency, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use sha2::Sha256;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

fn extracted() -> Value {
    let text = fs::read(vectors().join("extracted.json")).expect("the vectors are in the tree");
    serde_json::from_slice(&text).expect("the vectors are JSON")
}

fn size(n: u64) -> TreeSize {
    TreeSize::new(n).expect("a small size")
}

fn leaf_hash(n: u64) -> Hash {
    Hash::of_leaf(&n.to_be_bytes())
}

/// A tree that keeps all its tiles, as the store does.
#[derive(Default)]
struct Log {
    edge: Edge,
    tiles: HashMap<TileId, Arc<TileNodes>>,
}

impl Log {
    fn of(leaves: u64) -> Self {
        let mut log = Self::default();
        let mut completed = Vec::new();
        for n in 0..leaves {
            log.edge.push(leaf_hash(n), &mut completed);
        }
        log.tiles.extend(completed);
        log
    }

    fn prove(&self, plan: Result<ProofPlan, ProofError>) -> Vec<Hash> {
        plan.expect("a possible proof")
            .read(&(&self.edge, &self.tiles))
            .expect("edge and tiles hold every node")
    }

    fn root_at(&self, n: u64) -> TreeRoot {
        let hash = self.prove(Ok(ProofPlan::root(size(n))))[0];
        TreeRoot { size: size(n), hash }
    }
}

fn oracle(leaves: u64) -> MemoryBackedTree<Sha256, [u8; 8]> {
    let mut tree = MemoryBackedTree::new();
    for n in 0..leaves {
        tree.push(n.to_be_bytes());
    }
    tree
}

fn bytes_of(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(Hash::as_bytes).copied().collect()
}

fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

/// What a vector file holds, if our types can say it at all.
struct Vector(Value);

impl Vector {
    fn number(&self, name: &str) -> Option<u64> {
        self.0[name].as_u64()
    }

    fn hash(&self, name: &str) -> Option<Hash> {
        decoded(&self.0[name])
    }

    fn root(&self, size: &str, hash: &str) -> Option<TreeRoot> {
        Some(TreeRoot { size: TreeSize::new(self.number(size)?)?, hash: self.any_root(hash)? })
    }

    /// Where roots decide nothing, the files hold short texts: zeros fill them up.
    fn any_root(&self, name: &str) -> Option<Hash> {
        let mut bytes = BASE64.decode(self.0[name].as_str()?).expect("base64");
        bytes.resize(32.max(bytes.len()), 0);
        Hash::from_slice(&bytes)
    }

    fn subtree(&self) -> Option<Subtree> {
        Subtree::new(self.number("start")?, self.number("end")?).ok()
    }

    fn proof(&self) -> Option<Vec<Hash>> {
        match &self.0["proof"] {
            Value::Array(hashes) => hashes.iter().map(decoded).collect(),
            _ => Some(Vec::new()),
        }
    }

    /// `None` where a hash has another length than 32 bytes or a size is out of bounds.
    fn verdict(&self, kind: &str) -> Option<Result<(), ProofError>> {
        let proof = self.proof()?;
        Some(match kind {
            "inclusion" => verify_inclusion(
                self.number("leafIdx")?,
                &self.hash("leafHash")?,
                &self.root("treeSize", "root")?,
                &proof,
            ),
            "consistency" => verify_consistency(
                &self.root("size1", "root1")?,
                &self.root("size2", "root2")?,
                &proof,
            ),
            "subtreeinclusion" => verify_subtree_inclusion(
                self.number("leafIdx")?,
                &self.hash("leafHash")?,
                self.subtree()?,
                &self.hash("root")?,
                &proof,
            ),
            "subtreeconsistency" => verify_subtree_consistency(
                self.subtree()?,
                &self.any_root("root1")?,
                &self.root("size", "root2")?,
                &proof,
            ),
            other => panic!("a kind of vector that no test knows: {other}"),
        })
    }
}

fn decoded(text: &Value) -> Option<Hash> {
    Hash::from_slice(&BASE64.decode(text.as_str()?).expect("base64"))
}

#[test]
fn every_published_proof_gets_its_verdict() {
    let base = vectors().join("merkle/testdata");
    let mut judged = 0;
    for kind in ["inclusion", "consistency", "subtreeinclusion", "subtreeconsistency"] {
        let mut files = Vec::new();
        files_under(&base.join(kind), &mut files);
        for file in files {
            let text = fs::read(&file).expect("a readable file");
            let vector = Vector(serde_json::from_slice(&text).expect("JSON"));
            let refused = vector.0["wantErr"].as_bool().expect("a verdict");

            let verdict = vector.verdict(kind);

            assert_eq!(verdict != Some(Ok(())), refused, "{}: {verdict:?}", file.display());
            judged += 1;
        }
    }
    assert_eq!(judged, 518);
}

#[test]
fn the_reference_tree_has_its_published_roots_and_nodes() {
    let reference = &extracted()["ct_reference_tree"];
    let parsed = |value: &Value| hex::decode(value.as_str().expect("text")).expect("hex");
    let mut edge = Edge::empty();
    let roots = reference["roots_by_size_hex"].as_array().expect("a list");
    assert_eq!(edge.root().hash.as_bytes()[..], parsed(&roots[0]));
    assert_eq!(edge.root(), TreeRoot::EMPTY);

    let leaves = reference["leaf_inputs_hex"].as_array().expect("a list");
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        edge.push(Hash::of_leaf(&parsed(leaf)), &mut Vec::new());
        assert_eq!(edge.root().hash.as_bytes()[..], parsed(root));
    }

    let rows = reference["node_hashes_hex"].as_array().expect("a list");
    assert_eq!((leaves.len(), rows.len()), (8, 4));
    for (height, row) in (0_u8..).zip(rows) {
        for (index, hash) in (0_u64..).zip(row.as_array().expect("a list")) {
            let node = edge.node(NodeId { height, index });
            assert_eq!(node.map(|node| node.as_bytes().to_vec()), Some(parsed(hash)));
        }
    }
}

#[test]
fn every_subtree_of_130_leaves_has_the_published_hash_and_proofs() {
    const LEAVES: u8 = 130;
    let published = &extracted()["mtc_subtree_accumulated"];
    let leaves: Vec<Hash> = (0..LEAVES).map(|n| Hash::of_leaf(&[n])).collect();
    let tree = |range: std::ops::Range<u64>| {
        let mut edge = Edge::empty();
        for n in range {
            edge.push(leaves[usize::try_from(n).expect("small")], &mut Vec::new());
        }
        edge
    };
    let line = |start: String, proof: Vec<Hash>| {
        proof.iter().fold(start, |line, hash| line + " " + &hash.to_hex()) + "\n"
    };
    let whole = tree(0..LEAVES.into());
    let mut subtrees = Vec::new();
    for end in 0..=u64::from(LEAVES) {
        subtrees.extend(
            (0..=end).filter_map(|start| Some((start, end, Subtree::new(start, end).ok()?))),
        );
    }

    let (mut hashes, mut inclusions, mut consistencies) =
        (String::new(), String::new(), String::new());
    for (start, end, subtree) in &subtrees {
        let edge = tree(*start..*end);
        writeln!(hashes, "[{start}, {end}) {}", edge.root().hash.to_hex()).expect("a string");
        for index in *start..*end {
            let plan = ProofPlan::inclusion(index - start, subtree.size()).expect("a leaf");
            let proof = plan.read(&edge).expect("an edge of one tile");
            inclusions += &line(format!("{index} [{start}, {end})"), proof);
        }
    }
    for size in (0..=u64::from(LEAVES)).filter_map(TreeSize::new) {
        for (start, end, subtree) in &subtrees {
            if let Ok(plan) = ProofPlan::subtree_consistency(*subtree, size) {
                let proof = plan.read(&whole).expect("an edge of one tile");
                consistencies += &line(format!("[{start}, {end}) {size}"), proof);
            }
        }
    }

    assert_eq!(Hash::of(hashes.as_bytes()).to_hex(), published["hash_sha256"]);
    assert_eq!(Hash::of(inclusions.as_bytes()).to_hex(), published["incl_sha256"]);
    assert_eq!(Hash::of(consistencies.as_bytes()).to_hex(), published["cons_sha256"]);
}

#[test]
fn a_tree_of_70000_leaves_has_the_published_tile_widths() {
    let published = &extracted()["tlog_tiles_70000"];
    let log = Log::of(70_000);

    let incomplete: Vec<_> = TileId::incomplete(log.edge.size()).map(|(_, width)| width).collect();
    let full = |level| log.tiles.keys().filter(|tile| tile.level == level).count();

    assert_eq!(published["size"], log.edge.size().get());
    assert_eq!(published["L0_full"], full(0));
    assert_eq!(published["L1_full"], full(1));
    assert_eq!(published["L0_partial"], incomplete[0]);
    assert_eq!(published["L1_partial"], incomplete[1]);
    assert_eq!(published["L2_partial"], incomplete[2]);
    assert_eq!(incomplete.len(), 3);
}

#[test]
fn proofs_across_three_tile_levels_are_those_of_the_oracle() {
    const LEAVES: u64 = 65_536 + 300;
    let log = Log::of(LEAVES);
    let oracle = oracle(LEAVES);
    let root = log.edge.root();

    assert_eq!(root.hash.as_bytes()[..], oracle.root().as_bytes()[..]);
    for index in [0, 255, 256, 40_000, 65_535, 65_536, 65_792, LEAVES - 1] {
        let proof = log.prove(ProofPlan::inclusion(index, root.size));
        let expected = oracle.prove_inclusion(usize::try_from(index).expect("small"));
        assert_eq!(bytes_of(&proof), expected.as_bytes());
        assert_eq!(verify_inclusion(index, &leaf_hash(index), &root, &proof), Ok(()));
    }
    for old in [1, 255, 256, 257, 65_535, 65_536, 65_537, 65_792, LEAVES - 1] {
        let proof = log.prove(ProofPlan::consistency(size(old), root.size));
        let expected = oracle.prove_consistency(usize::try_from(LEAVES - old).expect("small"));
        assert_eq!(bytes_of(&proof), expected.as_bytes());
        assert_eq!(verify_consistency(&log.root_at(old), &root, &proof), Ok(()));
    }
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let mut edge = Log::of(300).edge;
    let snapshot = edge.clone();
    let before = snapshot.root();

    for n in 300..600 {
        edge.push(leaf_hash(n), &mut Vec::new());
    }

    assert_eq!(snapshot.root(), before);
    assert_eq!(edge.root(), Log::of(600).edge.root());
}

#[test]
fn the_edge_and_what_a_batch_completed_prove_every_leaf_of_the_batch() {
    let mut edge = Log::of(700).edge;
    let mut completed = Vec::new();
    for n in 700..1_400 {
        edge.push(leaf_hash(n), &mut completed);
    }
    let root = edge.root();

    for index in 700..1_400 {
        let plan = ProofPlan::inclusion(index, root.size).expect("a leaf");
        let proof = plan.read(&(&edge, completed.as_slice())).expect("all nodes are at hand");
        assert_eq!(verify_inclusion(index, &leaf_hash(index), &root, &proof), Ok(()));
    }
    let old_leaf = ProofPlan::inclusion(0, root.size).expect("a leaf");
    assert_eq!(old_leaf.read(&(&edge, completed.as_slice())), None);
}

#[test]
fn a_resumed_edge_takes_exactly_the_hashes_of_its_size() {
    let hashes = |count: u64| (0..count).map(leaf_hash).collect::<Vec<_>>();

    assert_eq!(Edge::from_partial_tiles(TreeSize::ZERO, Vec::new()), Some(Edge::empty()));
    assert_eq!(Edge::from_partial_tiles(TreeSize::ZERO, vec![Vec::new()]), Some(Edge::empty()));
    assert!(Edge::from_partial_tiles(size(256), vec![hashes(0), hashes(1)]).is_some());
    for wrong in [
        vec![],
        vec![hashes(0)],
        vec![hashes(256)],
        vec![hashes(1), hashes(1)],
        vec![hashes(0), hashes(2)],
        vec![hashes(0), hashes(1), hashes(1)],
    ] {
        assert_eq!(Edge::from_partial_tiles(size(256), wrong), None);
    }
}

#[test]
fn a_plan_names_each_tile_once() {
    let plan = ProofPlan::inclusion(0, size(70_000)).expect("a leaf");

    let level = |level| TileId { level, index: 0 };
    let ends = [TileId { level: 0, index: 273 }, TileId { level: 1, index: 1 }];
    let mut expected = vec![level(0), ends[0], level(1), ends[1]];
    expected.sort();
    assert_eq!(plan.tiles(), expected);
}

#[test]
fn the_largest_trees_need_no_more_hashes_than_the_bound() {
    let sizes = [TreeSize::MAX, size(1 << 62), size((1 << 62) + 1)];
    for size in sizes {
        for index in [0, 1, size.get() / 2, size.get() - 1] {
            let plan = ProofPlan::inclusion(index, size).expect("a leaf");
            assert!(
                plan.assemble(&vec![Hash::EMPTY_TREE; plan.nodes().len()]).len() < MAX_PROOF_LEN
            );
        }
        for old in [1, 3, size.get() / 3, size.get() - 1, size.get()] {
            let old = TreeSize::new(old).expect("smaller");
            let plan = ProofPlan::consistency(old, size).expect("smaller");
            let proof = plan.assemble(&vec![Hash::EMPTY_TREE; plan.nodes().len()]);
            assert!(proof.len() <= MAX_PROOF_LEN);
        }
    }
}

#[test]
fn each_reason_has_its_error() {
    let log = Log::of(7);
    let (old, new) = (log.root_at(3), log.root_at(7));
    let proof = log.prove(ProofPlan::consistency(old.size, new.size));
    let other = leaf_hash(99);
    let with = |tree: TreeRoot, hash| TreeRoot { hash, ..tree };

    assert_eq!(verify_consistency(&TreeRoot::EMPTY, &new, &[]), Err(ProofError::OldTreeEmpty));
    assert_eq!(verify_consistency(&new, &old, &proof), Err(ProofError::OldTreeLarger));
    assert_eq!(
        verify_consistency(&old, &new, &proof[1..]),
        Err(ProofError::WrongLength { expected: 4, got: 3 })
    );
    assert_eq!(
        verify_consistency(&old, &new, &vec![other; 100_000]),
        Err(ProofError::WrongLength { expected: 4, got: 100_000 })
    );
    assert_eq!(
        verify_consistency(&new, &new, &[other]),
        Err(ProofError::WrongLength { expected: 0, got: 1 })
    );
    assert_eq!(verify_consistency(&new, &with(new, other), &[]), Err(ProofError::RootsDiffer));
    assert_eq!(verify_consistency(&with(old, other), &new, &proof), Err(ProofError::WrongOldRoot));
    assert_eq!(verify_consistency(&old, &with(new, other), &proof), Err(ProofError::WrongRoot));
    assert_eq!(verify_inclusion(7, &other, &new, &[]), Err(ProofError::IndexBeyondTree));
    assert_eq!(
        verify_inclusion(0, &other, &TreeRoot::EMPTY, &[]),
        Err(ProofError::IndexBeyondTree)
    );
    assert_eq!(Subtree::new(2, 6), Err(ProofError::NotASubtree));
    let subtree = Subtree::new(4, 8).expect("aligned");
    assert_eq!(
        verify_subtree_consistency(subtree, &other, &new, &[]),
        Err(ProofError::SubtreeBeyondTree)
    );
}

/// Sizes around the edges of tiles and of powers of two are where mistakes live.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..70, 250_u64..260, 510_u64..515, 1_u64..1_100]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6962),
        ..ProptestConfig::default()
    })]

    #[test]
    fn roots_and_proofs_are_those_of_the_oracle(leaves in sizes(), place in any::<Index>()) {
        let log = Log::of(leaves);
        let oracle = oracle(leaves);
        let chosen = place.index(usize::try_from(leaves).expect("small"));
        let root = log.edge.root();

        prop_assert_eq!(root.hash.as_bytes().to_vec(), oracle.root().as_bytes().to_vec());
        prop_assert_eq!(log.root_at(leaves), root);
        let inclusion = log.prove(ProofPlan::inclusion(chosen as u64, root.size));
        let expected = oracle.prove_inclusion(chosen);
        prop_assert_eq!(bytes_of(&inclusion), expected.as_bytes());
        let consistency = log.prove(ProofPlan::consistency(size(chosen as u64 + 1), root.size));
        let additions = usize::try_from(leaves).expect("small") - chosen - 1;
        if additions > 0 {
            prop_assert_eq!(bytes_of(&consistency), oracle.prove_consistency(additions).as_bytes().to_vec());
        } else {
            prop_assert_eq!(consistency, Vec::new());
        }
    }

    #[test]
    fn an_inclusion_proof_holds_for_nothing_else(
        leaves in sizes(), place in any::<Index>(), other in any::<Index>(), bit in any::<Index>(),
    ) {
        let log = Log::of(leaves);
        let count = usize::try_from(leaves).expect("small");
        let index = place.index(count) as u64;
        let root = log.edge.root();
        let leaf = leaf_hash(index);
        let proof = log.prove(ProofPlan::inclusion(index, root.size));

        prop_assert_eq!(verify_inclusion(index, &leaf, &root, &proof), Ok(()));
        let other_index = other.index(count) as u64;
        if other_index != index {
            prop_assert!(verify_inclusion(other_index, &leaf, &root, &proof).is_err());
            let leaf = leaf_hash(other_index);
            prop_assert_eq!(verify_inclusion(index, &leaf, &root, &proof), Err(ProofError::WrongRoot));
        }
        let longer = [&proof[..], &[leaf]].concat();
        prop_assert!(verify_inclusion(index, &leaf, &root, &longer).is_err());
        if !proof.is_empty() {
            prop_assert!(verify_inclusion(index, &leaf, &root, &proof[1..]).is_err());
            let flipped = flip(&proof, bit);
            prop_assert_eq!(verify_inclusion(index, &leaf, &root, &flipped), Err(ProofError::WrongRoot));
        }
    }

    #[test]
    fn a_consistency_proof_holds_for_nothing_else(
        leaves in sizes(), place in any::<Index>(), other in any::<Index>(), bit in any::<Index>(),
    ) {
        let log = Log::of(leaves);
        let count = usize::try_from(leaves).expect("small");
        let old = log.root_at(place.index(count) as u64 + 1);
        let new = log.edge.root();
        let proof = log.prove(ProofPlan::consistency(old.size, new.size));

        prop_assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
        let other_old = log.root_at(other.index(count) as u64 + 1);
        if other_old != old {
            prop_assert!(verify_consistency(&other_old, &new, &proof).is_err());
            prop_assert!(verify_consistency(&old, &other_old, &proof).is_err());
            let forged = TreeRoot { hash: other_old.hash, ..old };
            prop_assert!(verify_consistency(&forged, &new, &proof).is_err());
            let forged = TreeRoot { hash: other_old.hash, ..new };
            if old.size < new.size && forged != new {
                prop_assert!(verify_consistency(&old, &forged, &proof).is_err());
            }
        }
        if !proof.is_empty() {
            prop_assert!(verify_consistency(&old, &new, &flip(&proof, bit)).is_err());
            prop_assert!(verify_consistency(&old, &new, &proof[1..]).is_err());
        }
        let longer = [&proof[..], &[new.hash]].concat();
        prop_assert!(verify_consistency(&old, &new, &longer).is_err());
    }

    #[test]
    fn a_resumed_edge_grows_like_one_that_never_stopped(leaves in sizes(), more in 0_u64..600) {
        let log = Log::of(leaves);
        let mut levels = Vec::new();
        for (tile, width) in TileId::incomplete(log.edge.size()) {
            levels.resize(usize::from(tile.level), Vec::new());
            let first = tile.index * 256;
            let nodes = (first..first + width as u64)
                .map(|index| NodeId { height: tile.level * 8, index });
            levels.push(nodes.map(|id| log.edge.node(id).expect("on the edge")).collect());
        }

        let mut resumed = Edge::from_partial_tiles(log.edge.size(), levels).expect("right widths");

        prop_assert_eq!(&resumed, &log.edge);
        let mut completed = Vec::new();
        for n in leaves..leaves + more {
            resumed.push(leaf_hash(n), &mut completed);
        }
        let continuous = Log::of(leaves + more);
        prop_assert_eq!(resumed, continuous.edge);
        for (id, tile) in completed {
            prop_assert_eq!(Some(&tile), continuous.tiles.get(&id));
        }
    }
}

/// The proof with one bit of one hash turned over.
fn flip(proof: &[Hash], bit: Index) -> Vec<Hash> {
    let mut bytes = bytes_of(proof);
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.chunks(32).filter_map(Hash::from_slice).collect()
}
