//! What our own key signed about trees of this log, as others show it to us.
//!
//! Only this can stop a leader from signing: whatever else a peer says is its own word.

use diogenes_common::checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::head::{HeadJson, Origin, SignedHead};
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{Edge, TreeRoot, TreeSize};
use diogenes_common::store::{Store, StoreError};

use crate::start;

/// The key and the name that a statement must carry to be our own.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The operator's key.
    pub(crate) key: PublicKey,
    /// The log's name.
    pub(crate) origin: Origin,
}

/// A statement of our own key about a tree; only a check of its signature makes one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnSigned {
    said: Said,
    /// The statement as it was shown.
    text: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
enum Said {
    Head(SignedHead),
    /// A checkpoint counts as a head that names no last entry and no time.
    Checkpoint(TreeRoot),
}

impl OwnSigned {
    /// A head whose signature was checked.
    pub(crate) fn head(head: &SignedHead) -> Self {
        let text = serde_json::to_vec(&head.to_json(String::new(), 0)).unwrap_or_default();
        Self { said: Said::Head(head.clone()), text }
    }

    /// Reads a tree head; the error says what is wrong with it.
    pub(crate) fn read_head(text: &[u8], identity: &Identity) -> Result<Self, String> {
        let json: HeadJson =
            serde_json::from_slice(text).map_err(|error| format!("no tree head: {error}"))?;
        let head =
            json.verify(&identity.key, &identity.origin).map_err(|error| error.to_string())?;
        Ok(Self { said: Said::Head(head), text: text.to_vec() })
    }

    /// Reads a checkpoint; the error says what is wrong with it.
    pub(crate) fn read_checkpoint(text: &[u8], identity: &Identity) -> Result<Self, String> {
        let note = std::str::from_utf8(text).map_err(|_| "the checkpoint is no text".to_owned())?;
        let opened = checkpoint::open(note, identity.origin.as_str(), &identity.key)
            .map_err(|error| error.to_string())?;
        Ok(Self { said: Said::Checkpoint(opened.tree()), text: text.to_vec() })
    }

    /// The tree.
    pub(crate) fn tree(&self) -> TreeRoot {
        match &self.said {
            Said::Head(head) => head.head().tree(),
            Said::Checkpoint(tree) => *tree,
        }
    }

    /// When it was signed, where it says so.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        match &self.said {
            Said::Head(head) => Some(head.head().timestamp),
            Said::Checkpoint(_) => None,
        }
    }

    /// The head, if it is one.
    pub(crate) fn signed_head(&self) -> Option<&SignedHead> {
        match &self.said {
            Said::Head(head) => Some(head),
            Said::Checkpoint(_) => None,
        }
    }

    /// The statement as it was shown.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it lies on the stored history: not above it, with its root, and with its last entry
    /// where it names one.
    pub(crate) async fn is_held(&self, store: &Store, edge: &Edge) -> Result<bool, StoreError> {
        let tree = self.tree();
        if tree.size > edge.size() || start::root_at(store, edge, tree.size).await? != tree.hash {
            return Ok(false);
        }
        let Said::Head(head) = &self.said else { return Ok(true) };
        let last = match tree.size {
            TreeSize::ZERO => None,
            size => store.entry(size.get()).await?.map(|leaf| leaf.entry_hash()),
        };
        Ok(last == head.head().chain_head)
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
    use diogenes_common::head::{EPOCH, TreeHead};
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::Hash;

    use super::*;

    fn signed_by(key: &SigningKey, origin: &str) -> (Vec<u8>, String) {
        let origin: Origin = origin.parse().expect("an origin");
        let head = TreeHead {
            chain_head: Some(Hash::of(b"last")),
            epoch: EPOCH,
            origin: origin.clone(),
            root_hash: Hash::of(b"root"),
            timestamp: Timestamp::from_millis(5).expect("a time"),
            tree_size: TreeSize::ZERO.plus(9),
        };
        let checkpoint = Checkpoint::new(origin.as_str(), head.tree()).expect("a checkpoint");
        let name = origin.as_str().parse().expect("a key name");
        let note = sign_checkpoint(&checkpoint, &name, key);
        let json = head.sign(key).to_json(note.clone(), 9);
        (serde_json::to_vec(&json).expect("a head"), note)
    }

    #[test]
    fn only_what_our_own_key_signed_for_this_log_is_ours() {
        let own = SigningKey::from_seed([1; 32]);
        let origin: Origin = "log.example".parse().expect("an origin");
        let identity = Identity { key: own.public().clone(), origin };
        let (head, note) = signed_by(&own, "log.example");

        let read = OwnSigned::read_head(&head, &identity).expect("our head");
        assert_eq!((read.tree().size.get(), read.text()), (9, &head[..]));
        assert!(read.timestamp().is_some() && read.signed_head().is_some());
        let read = OwnSigned::read_checkpoint(note.as_bytes(), &identity).expect("our checkpoint");
        assert_eq!((read.tree().size.get(), read.timestamp()), (9, None));

        let other = SigningKey::from_seed([2; 32]);
        for (key, name) in [(&other, "log.example"), (&own, "log.other")] {
            let (head, note) = signed_by(key, name);
            assert!(OwnSigned::read_head(&head, &identity).is_err());
            assert!(OwnSigned::read_checkpoint(note.as_bytes(), &identity).is_err());
        }
        for garbage in [&b""[..], b"{}", b"\xff\xfe", b"log.example\n9\nroot\n\n"] {
            assert!(OwnSigned::read_head(garbage, &identity).is_err());
            assert!(OwnSigned::read_checkpoint(garbage, &identity).is_err());
        }
    }

    #[test]
    fn a_changed_byte_of_a_head_makes_it_nobodys() {
        let own = SigningKey::from_seed([1; 32]);
        let origin: Origin = "log.example".parse().expect("an origin");
        let identity = Identity { key: own.public().clone(), origin };
        let (head, _) = signed_by(&own, "log.example");
        let text = String::from_utf8(head).expect("text");

        let grown = text.replace("\"tree_size\":9", "\"tree_size\":10");

        assert_ne!(grown, text);
        assert!(OwnSigned::read_head(grown.as_bytes(), &identity).is_err());
    }
}
