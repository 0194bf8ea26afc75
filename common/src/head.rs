//! The signed tree head: what the operator's key says about the whole log at one size.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::MAX_SAFE_INTEGER;
use crate::clock::Timestamp;
use crate::keys::{BadSignature, Fingerprint, PublicKey, Signature, SigningKey};
use crate::merkle::{Hash, TreeRoot, TreeSize};

/// The first line of the bytes that are signed.
const DOMAIN: &str = "diogenes-tree-head/v1\n";

/// The only epoch that this version reads and writes.
pub const EPOCH: u64 = 1;

/// The name of a log, fixed for ever by its first entry.
///
/// It is `[A-Za-z0-9._~:/-]{1,255}` and does not start like the first line of a signed statement.
/// Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Arc<str>);

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin has 1 to 255 characters of A-Z a-z 0-9 . _ ~ : / - and does not start with \
     `diogenes-`, `cosignature/` or `subtree/`"
)]
pub struct NotAnOrigin;

impl Origin {
    /// The origin of a log whose operator chose none: `<hostname>/log-<8 hex digits>`.
    pub fn of_host(hostname: &str, operator: &Fingerprint) -> Result<Self, NotAnOrigin> {
        format!("{hostname}/log-{}", &operator.hash().to_hex()[..8]).parse()
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:/-".contains(&byte);
        let reserved = ["diogenes-", "cosignature/", "subtree/"];
        let valid = (1..=255).contains(&text.len())
            && text.bytes().all(allowed)
            && !reserved.iter().any(|prefix| text.starts_with(prefix));
        if valid { Ok(Self(text.into())) } else { Err(NotAnOrigin) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a head says, not yet or no longer bound to a signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeHead {
    /// The entry hash of the last entry; `None` for the empty log alone.
    pub chain_head: Option<Hash>,
    /// Which reign of the operator key this is.
    pub epoch: u64,
    /// Which log.
    pub origin: Origin,
    /// The RFC 6962 root over all leaves.
    pub root_hash: Hash,
    /// When the head was made, never before its last entry.
    pub timestamp: Timestamp,
    /// How many entries the log has.
    pub tree_size: TreeSize,
}

impl TreeHead {
    /// The size and the root.
    pub fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root_hash }
    }

    /// The bytes that the operator key signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let Self { chain_head, epoch, origin, root_hash, timestamp, tree_size } = self;
        let chain_head = chain_head.map_or_else(|| "null".into(), |hash| format!("\"{hash}\""));
        // Written by hand because every follower does this for every head; no member needs escapes.
        format!(
            "{DOMAIN}{{\"chain_head\":{chain_head},\"epoch\":{epoch},\"origin\":\"{origin}\",\
             \"root_hash\":\"{root_hash}\",\"timestamp\":\"{timestamp}\",\
             \"tree_size\":{tree_size}}}"
        )
        .into_bytes()
    }

    /// Signs with the operator key. What the head covers must already be durable.
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        let signature = key.sign(&self.signed_bytes());
        SignedHead { head: self, signature, key_fingerprint: key.fingerprint() }
    }

    /// Binds a signature that was kept apart, after checking it and every rule of a head but its
    /// origin.
    pub fn verify(self, signature: Signature, key: &PublicKey) -> Result<SignedHead, HeadError> {
        if self.epoch != EPOCH {
            return Err(HeadError::WrongEpoch { found: self.epoch });
        }
        key.verify(&self.signed_bytes(), &signature)?;
        self.check_size()?;
        Ok(SignedHead { head: self, signature, key_fingerprint: key.fingerprint() })
    }

    fn check_size(&self) -> Result<(), HeadError> {
        let empty = self.tree_size == TreeSize::ZERO;
        if empty != self.chain_head.is_none() || empty != (self.root_hash == Hash::EMPTY_TREE) {
            return Err(HeadError::EmptyTree);
        }
        if self.tree_size.get() > MAX_SAFE_INTEGER {
            return Err(HeadError::SizeTooLarge);
        }
        Ok(())
    }
}

/// A head whose signature verified, or that this process signed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: TreeHead,
    signature: Signature,
    key_fingerprint: Fingerprint,
}

impl SignedHead {
    /// What the head says.
    pub fn head(&self) -> &TreeHead {
        &self.head
    }

    /// The signature over [`TreeHead::signed_bytes`].
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Which key signed.
    pub fn key_fingerprint(&self) -> Fingerprint {
        self.key_fingerprint
    }

    /// The JSON form, together with what is served beside it.
    pub fn to_json(&self, checkpoint: String, last_event_id: u64) -> HeadJson {
        let TreeHead { chain_head, epoch, origin, root_hash, timestamp, tree_size } =
            self.head.clone();
        HeadJson {
            chain_head,
            checkpoint,
            epoch,
            key_fingerprint: self.key_fingerprint,
            last_event_id,
            origin,
            root_hash,
            signature: self.signature,
            timestamp,
            tree_size,
        }
    }
}

/// A head as JSON holds it: a claim until [`HeadJson::verify`] succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadJson {
    /// The entry hash of the last entry, null for the empty log.
    #[serde(deserialize_with = "Option::deserialize")]
    pub chain_head: Option<Hash>,
    /// The C2SP checkpoint of the same size by the same key, with its cosignatures. Not covered by
    /// the head's signature; it carries its own.
    #[serde(deserialize_with = "checkpoint")]
    pub checkpoint: String,
    /// Which reign of the operator key this is.
    pub epoch: u64,
    /// Which key is said to have signed.
    pub key_fingerprint: Fingerprint,
    /// The newest entry that is neither a witness proof nor an anchor, 0 if there is none. Unsigned.
    pub last_event_id: u64,
    /// Which log.
    pub origin: Origin,
    /// The RFC 6962 root over all leaves.
    pub root_hash: Hash,
    /// The signature by the operator key.
    pub signature: Signature,
    /// When the head was made.
    pub timestamp: Timestamp,
    /// How many entries the log has.
    pub tree_size: TreeSize,
}

/// The most bytes of a checkpoint that come with a head. Nobody signs how many lines it has, so
/// whoever passes a head on could make it too large for the next one to take.
pub const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

fn checkpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_CHECKPOINT_BYTES {
        return Err(D::Error::custom("a head's checkpoint has at most 16 KiB"));
    }
    Ok(text)
}

/// Which rule of a signed head is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The head is one of another log.
    #[error("the head is one of another log")]
    WrongOrigin,
    /// The log went into an epoch that this version cannot follow.
    #[error("the head is of epoch {found}, this version knows epoch 1 only: upgrade")]
    WrongEpoch {
        /// The epoch of the head.
        found: u64,
    },
    /// Another key than the operator's claims to have signed.
    #[error("the head names key {found}, which is not the operator key")]
    UnauthorizedKey {
        /// The key that it names.
        found: Fingerprint,
    },
    /// The operator key did not sign this.
    #[error("the signature of the head does not verify")]
    BadSignature,
    /// Size 0, the empty root and a missing chain head go together or not at all.
    #[error("size, root and chain head disagree about whether the log is empty")]
    EmptyTree,
    /// More entries than there are ids, or an entry beyond all ids.
    #[error("the size or the id of the last event is beyond 2^53 - 1")]
    SizeTooLarge,
}

impl From<BadSignature> for HeadError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::BadSignature
    }
}

impl HeadJson {
    /// Checks the head against the operator key and the origin that the caller expects.
    ///
    /// Nothing is said about `checkpoint`, and about `last_event_id` only that canonical JSON, in
    /// which heads are kept, can hold it.
    pub fn verify(&self, key: &PublicKey, origin: &Origin) -> Result<SignedHead, HeadError> {
        if self.origin != *origin {
            return Err(HeadError::WrongOrigin);
        }
        // Another epoch may have another key: say first that an upgrade is needed.
        if self.epoch != EPOCH {
            return Err(HeadError::WrongEpoch { found: self.epoch });
        }
        if self.key_fingerprint != key.fingerprint() {
            return Err(HeadError::UnauthorizedKey { found: self.key_fingerprint });
        }
        if self.last_event_id > MAX_SAFE_INTEGER {
            return Err(HeadError::SizeTooLarge);
        }
        self.claim().verify(self.signature, key)
    }

    /// What the head claims, unverified.
    pub fn claim(&self) -> TreeHead {
        TreeHead {
            chain_head: self.chain_head,
            epoch: self.epoch,
            origin: self.origin.clone(),
            root_hash: self.root_hash,
            timestamp: self.timestamp,
            tree_size: self.tree_size,
        }
    }
}

/// How two heads of one key prove that it did not tell one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// One size, two roots or two chain heads.
    ForkSameSize,
    /// A smaller size at a later time than before.
    Truncated,
    /// A larger size at an earlier time than before.
    TimestampRegressed,
}

impl Contradiction {
    /// The name that states, evidence files and metrics give it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForkSameSize => "fork_same_size",
            Self::Truncated => "truncated",
            Self::TimestampRegressed => "timestamp_regressed",
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says whether two heads alone prove misbehaviour: `known` was seen before `seen`.
///
/// Heads of different origins or keys never contradict each other; epochs don't excuse. The order
/// matters for the name alone: larger and earlier on the one hand is smaller and later on the
/// other. A replayed old head, neither larger nor later, is no contradiction.
pub fn contradiction(known: &SignedHead, seen: &SignedHead) -> Option<Contradiction> {
    if known.key_fingerprint != seen.key_fingerprint || known.head.origin != seen.head.origin {
        return None;
    }
    let (known, seen) = (&known.head, &seen.head);
    let forked = known.root_hash != seen.root_hash || known.chain_head != seen.chain_head;
    match seen.tree_size.cmp(&known.tree_size) {
        Ordering::Equal => forked.then_some(Contradiction::ForkSameSize),
        Ordering::Less => (seen.timestamp > known.timestamp).then_some(Contradiction::Truncated),
        Ordering::Greater => {
            (seen.timestamp < known.timestamp).then_some(Contradiction::TimestampRegressed)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canonical;

    fn key() -> SigningKey {
        SigningKey::from_seed([7; 32])
    }

    fn origin() -> Origin {
        "log.example/main".parse().unwrap()
    }

    fn head(size: u64, millis: i64) -> TreeHead {
        let named = |name: &str| Hash::of(format!("{name} {size}").as_bytes());
        TreeHead {
            chain_head: (size > 0).then(|| named("chain")),
            epoch: EPOCH,
            origin: origin(),
            root_hash: if size > 0 { named("root") } else { Hash::EMPTY_TREE },
            timestamp: Timestamp::from_millis(millis).unwrap(),
            tree_size: TreeSize::new(size).unwrap(),
        }
    }

    fn json_of(head: TreeHead) -> HeadJson {
        head.sign(&key()).to_json("checkpoint\n".to_owned(), 3)
    }

    fn verify(json: &HeadJson) -> Result<SignedHead, HeadError> {
        json.verify(key().public(), &origin())
    }

    #[test]
    fn a_head_with_a_checkpoint_that_was_blown_up_is_not_read() {
        let mut json = serde_json::to_value(json_of(head(5, 10))).unwrap();

        json["checkpoint"] = "x".repeat(MAX_CHECKPOINT_BYTES).into();
        assert!(serde_json::from_value::<HeadJson>(json.clone()).is_ok());
        json["checkpoint"] = "x".repeat(MAX_CHECKPOINT_BYTES + 1).into();
        assert!(serde_json::from_value::<HeadJson>(json).is_err());
    }

    #[test]
    fn the_signed_bytes_are_canonical_json_after_their_own_line() {
        for head in [head(0, 0), head(1, 1), head(12_345, 1_768_473_000_000)] {
            let members = json!({
                "chain_head": head.chain_head,
                "epoch": head.epoch,
                "origin": head.origin,
                "root_hash": head.root_hash,
                "timestamp": head.timestamp,
                "tree_size": head.tree_size,
            });

            let expected = [DOMAIN.as_bytes(), &canonical::to_vec(&members)].concat();
            assert_eq!(head.signed_bytes(), expected);
        }
    }

    #[test]
    fn a_signed_head_survives_json_and_verifies() {
        for head in [head(0, 5), head(9, 5)] {
            let json = json_of(head.clone());
            let text = serde_json::to_string(&json).unwrap();

            let read: HeadJson = serde_json::from_str(&text).unwrap();

            assert_eq!(read, json);
            assert_eq!(verify(&read).map(|signed| signed.head().clone()), Ok(head.clone()));
            assert_eq!(verify(&read), Ok(head.sign(&key())));
        }
    }

    #[test]
    fn each_broken_rule_has_its_name() {
        let other_key = SigningKey::from_seed([8; 32]);
        let good = json_of(head(9, 5));

        let other_log = "log.example/other".parse().unwrap();
        assert_eq!(good.verify(key().public(), &other_log), Err(HeadError::WrongOrigin));
        assert_eq!(
            good.verify(other_key.public(), &origin()),
            Err(HeadError::UnauthorizedKey { found: key().fingerprint() })
        );
        let stranger = head(9, 5).sign(&other_key).to_json(String::new(), 0);
        let claimed = HeadJson { key_fingerprint: key().fingerprint(), ..stranger };
        assert_eq!(verify(&claimed), Err(HeadError::BadSignature));
        assert_eq!(
            verify(&json_of(TreeHead { epoch: 2, ..head(9, 5) })),
            Err(HeadError::WrongEpoch { found: 2 })
        );
        let beyond = TreeSize::new(MAX_SAFE_INTEGER + 1).unwrap();
        assert_eq!(
            verify(&json_of(TreeHead { tree_size: beyond, ..head(9, 5) })),
            Err(HeadError::SizeTooLarge)
        );
        let beyond = HeadJson { last_event_id: MAX_SAFE_INTEGER + 1, ..good.clone() };
        assert_eq!(verify(&beyond), Err(HeadError::SizeTooLarge));
        let last = HeadJson { last_event_id: MAX_SAFE_INTEGER, ..good };
        assert!(verify(&last).is_ok());
        for half_empty in [
            TreeHead { chain_head: None, ..head(9, 5) },
            TreeHead { root_hash: Hash::EMPTY_TREE, ..head(9, 5) },
            TreeHead { tree_size: TreeSize::ZERO, ..head(9, 5) },
            TreeHead { root_hash: Hash::of(b"x"), ..head(0, 5) },
            TreeHead { chain_head: Some(Hash::of(b"x")), ..head(0, 5) },
        ] {
            assert_eq!(verify(&json_of(half_empty)), Err(HeadError::EmptyTree));
        }
    }

    #[test]
    fn every_signed_member_is_covered_by_the_signature() {
        let good = json_of(head(9, 5));
        let changed = [
            HeadJson { chain_head: Some(Hash::of(b"x")), ..good.clone() },
            HeadJson { root_hash: Hash::of(b"x"), ..good.clone() },
            HeadJson { timestamp: good.timestamp.plus_millis(1), ..good.clone() },
            HeadJson { tree_size: good.tree_size.plus(1), ..good.clone() },
        ];
        for json in changed {
            assert_eq!(verify(&json), Err(HeadError::BadSignature));
        }
        let unsigned = HeadJson { checkpoint: String::new(), last_event_id: 0, ..good };
        assert!(verify(&unsigned).is_ok());
    }

    #[test]
    fn a_member_that_is_left_out_is_not_taken_for_null() {
        let Value::Object(full) = serde_json::to_value(json_of(head(0, 5))).unwrap() else {
            panic!("a head is an object");
        };
        for name in full.keys() {
            let mut cut = full.clone();
            cut.remove(name);
            assert!(serde_json::from_value::<HeadJson>(Value::Object(cut)).is_err(), "{name}");
        }
    }

    #[test]
    fn two_heads_prove_a_fork_a_truncation_or_a_time_that_ran_back() {
        use Contradiction::{ForkSameSize, TimestampRegressed, Truncated};
        let signed = |head: TreeHead| head.sign(&key());
        let known = signed(head(10, 100));
        let other_root = TreeHead { root_hash: Hash::of(b"x"), ..head(10, 100) };
        let other_chain = TreeHead { chain_head: Some(Hash::of(b"x")), ..head(10, 90) };
        for (seen, expected) in [
            (head(10, 100), None),
            (head(10, 99), None),
            (head(10, 101), None),
            (other_root, Some(ForkSameSize)),
            (other_chain, Some(ForkSameSize)),
            (head(9, 101), Some(Truncated)),
            (head(9, 100), None),
            (head(9, 99), None),
            (head(0, 101), Some(Truncated)),
            (head(11, 99), Some(TimestampRegressed)),
            (head(11, 100), None),
            (head(11, 101), None),
        ] {
            assert_eq!(contradiction(&known, &signed(seen.clone())), expected, "{seen:?}");
        }
    }

    #[test]
    fn neither_another_key_nor_another_log_contradicts() {
        let known = head(10, 100).sign(&key());
        let fork = TreeHead { root_hash: Hash::of(b"x"), ..head(10, 100) };
        let elsewhere = TreeHead { origin: "other".parse().unwrap(), ..fork.clone() };
        let later_epoch = TreeHead { epoch: 2, ..fork.clone() };

        let other_key = SigningKey::from_seed([8; 32]);
        assert_eq!(contradiction(&known, &fork.sign(&other_key)), None);
        assert_eq!(contradiction(&known, &elsewhere.sign(&key())), None);
        assert_eq!(
            contradiction(&known, &later_epoch.sign(&key())),
            Some(Contradiction::ForkSameSize)
        );
    }

    #[test]
    fn a_contradiction_has_one_name_everywhere() {
        for kind in [
            Contradiction::ForkSameSize,
            Contradiction::Truncated,
            Contradiction::TimestampRegressed,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }

    #[test]
    fn an_origin_is_a_plain_name_that_no_statement_starts_with() {
        let longest = "a".repeat(255);
        for text in ["a", "log.example/log-0123abcd", "A~b:c_d-e/.", "my-diogenes-", &longest] {
            assert_eq!(text.parse::<Origin>().map(|origin| origin.to_string()), Ok(text.into()));
        }
        for text in [
            "",
            "a b",
            "a+b",
            "ä",
            "a\n",
            "a\"",
            "diogenes-x",
            "cosignature/v1",
            "subtree/v1",
            &"a".repeat(256),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(NotAnOrigin), "{text:?}");
        }
        let fingerprint = Fingerprint::new(Hash::EMPTY_TREE);
        assert_eq!(
            Origin::of_host("log.example", &fingerprint),
            "log.example/log-e3b0c442".parse()
        );
        assert_eq!(Origin::of_host("bad host", &fingerprint), Err(NotAnOrigin));
    }
}
