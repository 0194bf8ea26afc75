use std::cell::Cell;
use std::convert::Infallible;
use std::fs;

use diogenes_common::checkpoint::sign_checkpoint;
use diogenes_common::keys::SigningKey;
use tempfile::TempDir;

use super::*;

const ORIGIN: &str = "log.example/export";

/// A log of numbers, as a node would serve it.
struct Node {
    entries: Vec<Vec<u8>>,
    asked: Cell<usize>,
}

impl Node {
    fn of(size: usize) -> Self {
        let entries = (0..size).map(|n| n.to_string().into_bytes()).collect();
        Self { entries, asked: Cell::new(0) }
    }

    fn tree(&self, size: usize) -> TreeRoot {
        let mut edge = Edge::empty();
        for entry in &self.entries[..size] {
            edge.push(Hash::of_leaf(entry), &mut Vec::new());
        }
        edge.root()
    }

    fn checkpoint(&self, size: usize) -> String {
        signed(self.tree(size))
    }
}

impl Bundles for Node {
    type Error = Infallible;

    async fn bundle(&self, path: BundlePath) -> Result<Vec<u8>, Infallible> {
        self.asked.set(self.asked.get() + 1);
        let first = usize::try_from(path.index()).unwrap() * TileId::WIDTH;
        let entries = &self.entries[first..first + usize::from(path.width())];
        Ok(EntryBundle::new(entries.to_vec()).unwrap().to_bytes())
    }
}

fn signed(tree: TreeRoot) -> String {
    let checkpoint = Checkpoint::new(ORIGIN, tree).unwrap();
    sign_checkpoint(&checkpoint, &ORIGIN.parse().unwrap(), &operator())
}

fn operator() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn log() -> Log {
    Log { origin: ORIGIN.to_owned(), key: operator().public().clone() }
}

fn open(directory: &TempDir) -> Result<Export, ExportError<Infallible>> {
    Export::open(directory.path(), log())
}

/// Every file with its bytes, in order.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_directory_grown_in_steps_holds_what_one_step_writes() {
    let node = Node::of(70_000);
    let (steps, once) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for size in [1, 2, 255, 256, 257, 600, 65_536, 70_000] {
        let mut export = open(&steps).unwrap();
        let grown = export.update(&node.checkpoint(size), &node).await.unwrap();
        assert_eq!(grown.map(|grown| grown.to), Some(node.tree(size)));
    }

    open(&once).unwrap().update(&node.checkpoint(70_000), &node).await.unwrap();

    let relative = |directory: &TempDir| {
        let all = files(directory.path()).into_iter();
        all.map(|(path, bytes)| (path.strip_prefix(directory.path()).unwrap().to_owned(), bytes))
            .collect::<Vec<_>>()
    };
    let (stepped, all) = (relative(&steps), relative(&once));
    assert!(all.iter().all(|file| stepped.contains(file)));
    let tile = fs::read(once.path().join("tile/1/000")).unwrap();
    assert_eq!(tile.len(), 8192);
    assert!(once.path().join("tile/2/000.p/1").exists());
    assert!(once.path().join("tile/entries/273.p/112").exists());
}

#[tokio::test]
async fn only_what_is_new_is_asked_for_and_nothing_twice() {
    let node = Node::of(1_000);
    let directory = TempDir::new().unwrap();
    let mut export = open(&directory).unwrap();
    export.update(&node.checkpoint(600), &node).await.unwrap();
    assert_eq!(node.asked.take(), 3);

    let grown = export.update(&node.checkpoint(700), &node).await.unwrap();

    assert_eq!(grown.unwrap().from.get(), 600);
    assert_eq!(node.asked.take(), 1);
    assert_eq!(export.update(&node.checkpoint(700), &node).await.unwrap(), None);
    assert_eq!(node.asked.take(), 0);
}

#[tokio::test]
async fn incomplete_tiles_stay_for_one_checkpoint_after_they_were_completed() {
    let node = Node::of(2_000);
    let directory = TempDir::new().unwrap();
    let partial = |place: &str| directory.path().join(place).exists();
    for (size, first_is_there) in [(100, true), (200, true), (300, true), (400, false)] {
        open(&directory).unwrap().update(&node.checkpoint(size), &node).await.unwrap();
        for place in ["tile/0/000.p", "tile/entries/000.p"] {
            assert_eq!(partial(place), first_is_there, "{place} at {size}");
        }
    }
    assert!(partial("tile/0/001.p/44") && partial("tile/0/001.p/144"));
}

#[tokio::test]
async fn entries_that_were_not_signed_leave_everything_as_it_was() {
    let node = Node::of(700);
    let directory = TempDir::new().unwrap();
    let mut export = open(&directory).unwrap();
    export.update(&node.checkpoint(300), &node).await.unwrap();
    let before = files(directory.path());
    for forged in [299, 300, 699] {
        let mut liar = Node::of(700);
        liar.entries[forged][0] ^= 1;

        let refused = export.update(&node.checkpoint(700), &liar).await;

        assert!(matches!(refused, Err(ExportError::WrongRoot(_))), "{forged}");
        assert_eq!(files(directory.path()), before);
    }
    assert!(export.update(&node.checkpoint(700), &node).await.is_ok());
}

#[tokio::test]
async fn checkpoints_of_others_and_of_less_are_refused() {
    let node = Node::of(700);
    let directory = TempDir::new().unwrap();
    let mut export = open(&directory).unwrap();
    export.update(&node.checkpoint(300), &node).await.unwrap();

    let shrunk = export.update(&node.checkpoint(299), &node).await;
    let fork = signed(TreeRoot { hash: Hash::of(b"x"), ..node.tree(300) });
    let fork = export.update(&fork, &node).await;
    let torn = export.update("no note", &node).await;

    assert!(matches!(shrunk, Err(ExportError::Shrunk { .. })));
    assert!(matches!(fork, Err(ExportError::WrongRoot(_))));
    assert!(matches!(torn, Err(ExportError::Checkpoint(_))));
    drop(export);
    let other = Log { key: SigningKey::from_seed([8; 32]).public().clone(), ..log() };
    let other = Export::open::<Infallible>(directory.path(), other).map(|_| ());
    assert!(matches!(other, Err(ExportError::OtherLog { .. })));
}

#[tokio::test]
async fn a_damaged_directory_is_not_built_upon() {
    let node = Node::of(700);
    let directory = TempDir::new().unwrap();
    open(&directory).unwrap().update(&node.checkpoint(700), &node).await.unwrap();
    let tile = directory.path().join("tile/0/002.p/188");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[5] ^= 1;
    fs::write(&tile, bytes).unwrap();

    assert!(matches!(open(&directory).map(|_| ()), Err(ExportError::Damaged(_))));

    fs::remove_file(tile).unwrap();
    assert!(matches!(open(&directory).map(|_| ()), Err(ExportError::Damaged(_))));
}

#[test]
fn two_processes_do_not_write_one_directory() {
    let directory = TempDir::new().unwrap();
    let _first = open(&directory).unwrap();

    assert!(matches!(open(&directory).map(|_| ()), Err(ExportError::File(_))));
}
