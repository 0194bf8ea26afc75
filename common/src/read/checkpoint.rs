//! Which checkpoint readers see: the newest head's own, or an older one that witnesses cosigned.

use std::sync::Arc;

use tokio::sync::watch;

use crate::merkle::TreeRoot;

/// What `GET /checkpoint` and proofs show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The checkpoint of the newest head, under the log's signature alone.
    #[default]
    Newest,
    /// This one, however far the log has grown since.
    Cosigned(Arc<CosignedCheckpoint>),
    /// None: the quorum of witnesses is missing and nothing is shown without it.
    Withheld,
}

/// A checkpoint of this log with the signatures that it was published with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    /// Its size and root.
    pub tree: TreeRoot,
    /// The signed note: the log's line, then the cosignatures.
    pub text: Arc<str>,
}

/// Where the choice stands. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CheckpointBoard(Arc<watch::Sender<CheckpointChoice>>);

impl CheckpointBoard {
    /// Shows another checkpoint from now on.
    ///
    /// What it covers is durable and readable, and so are its cosignatures.
    pub fn set(&self, choice: CheckpointChoice) {
        self.0.send_if_modified(|shown| {
            let news = *shown != choice;
            if news {
                *shown = choice;
            }
            news
        });
    }

    /// What is shown now.
    pub fn choice(&self) -> CheckpointChoice {
        self.0.borrow().clone()
    }

    /// Waits for news.
    pub fn subscribe(&self) -> watch::Receiver<CheckpointChoice> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint;
    use crate::keys::SigningKey;
    use crate::merkle::{Hash, TreeSize};
    use crate::read::testing::TestNode;
    use crate::server::problem::Code;

    fn cosigned(size: u64) -> Arc<CosignedCheckpoint> {
        let tree = TreeRoot { size: TreeSize::ZERO.plus(size), hash: Hash::of(b"root") };
        Arc::new(CosignedCheckpoint { tree, text: "cosigned\n".into() })
    }

    #[tokio::test]
    async fn without_another_choice_the_newest_head_s_own_checkpoint_is_shown() {
        let node = TestNode::with_entries(9).await;
        let snapshot = node.reads().snapshot().unwrap();

        let (tree, text) = node.reads().checkpoint().unwrap();

        assert_eq!(tree, snapshot.head.head().tree());
        let origin = snapshot.head.head().origin.as_str();
        let key = SigningKey::from_seed([7; 32]);
        assert_eq!(checkpoint::open(&text, origin, key.public()).unwrap().tree(), tree);
    }

    #[tokio::test]
    async fn a_chosen_checkpoint_is_shown_until_another_is() {
        let node = TestNode::with_entries(9).await;
        let board = node.checkpoints();

        board.set(CheckpointChoice::Cosigned(cosigned(5)));

        let (tree, text) = node.reads().checkpoint().unwrap();
        assert_eq!((tree.size.get(), &*text), (5, "cosigned\n"));
        board.set(CheckpointChoice::Newest);
        assert_eq!(node.reads().checkpoint().unwrap().0.size.get(), 9);
    }

    #[tokio::test]
    async fn what_is_withheld_is_asked_for_again_later() {
        let node = TestNode::with_entries(9).await;

        node.checkpoints().set(CheckpointChoice::Withheld);

        let problem = node.reads().checkpoint().unwrap_err();
        assert_eq!(problem.code(), Code::SigningPaused);
    }

    #[test]
    fn the_same_choice_again_is_no_news() {
        let board = CheckpointBoard::default();
        let mut news = board.subscribe();

        board.set(CheckpointChoice::Cosigned(cosigned(5)));
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        board.set(CheckpointChoice::Cosigned(cosigned(5)));

        assert!(!news.has_changed().unwrap());
    }
}
