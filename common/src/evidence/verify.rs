//! The check of an evidence file, from its bytes alone.

use serde::{Deserialize, Serialize};

use super::{Accused, Evidence, Kind, MAX_EVIDENCE_BYTES, Proof, Statement};
use crate::checkpoint::{self, Checkpoint};
use crate::clock::Timestamp;
use crate::cosignature::verify_cosignature;
use crate::event::{CarriedFault, Event, Genesis, Payload as _, RoleKey, RoleKeys, Signers};
use crate::head::Origin;
use crate::keys::Fingerprint;
use crate::leaf::Leaf;
use crate::merkle::{Hash, ProofError, TreeRoot, TreeSize, verify_consistency, verify_inclusion};
use crate::note::Note;
use crate::statement::{Claim, WitnessClaim};

/// How many statements and proofs a file has at most.
const MAX_PARTS: usize = 16;

/// What a file proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The id of the log that the file names. Anyone can make a genesis that names somebody's
    /// key, so it is to be compared with the id of the log that is meant. `None` in a file about
    /// a witness that names no log.
    pub log_id: Option<Hash>,
    /// The accused key.
    pub fingerprint: Fingerprint,
    /// What is proven against it.
    pub kind: Kind,
}

/// Why a file proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The file is no evidence file at all.
    #[error("this is not an evidence file (diogenes-evidence/v1, JSON, at most 1 MiB)")]
    Unreadable,
    /// It is one, and does not prove what it says.
    #[error("not proven: {0}")]
    NotProven(#[from] NotProven),
}

/// Why an evidence file does not prove what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The file's fingerprint is not that of its key.
    #[error("the accused fingerprint is that of another key")]
    Fingerprint,
    /// The genesis is none, is missing, or names another key.
    #[error("the genesis does not name the accused key")]
    Genesis,
    /// The caller asked about another log.
    #[error("the evidence is about another log, or names none")]
    OtherLog,
    /// The caller asked about another key.
    #[error("the evidence is about another key")]
    OtherKey,
    /// A statement is not of the kind that is needed there, or there are too many or too few.
    #[error("the statements are not those that this kind of evidence consists of")]
    Statements,
    /// A statement is not one that the accused key signed, or is about another log.
    #[error("statement {0} is not one that the accused key signed about this log")]
    Signature(usize),
    /// A Merkle proof does not hold.
    #[error("a Merkle proof does not hold: {0}")]
    Proof(#[source] ProofError),
    /// A Merkle proof leads to a tree that the accused key did not sign.
    #[error("a Merkle proof leads to a tree that is not known to be the accused key's")]
    UnknownTree,
    /// Everything holds, and nothing contradicts anything.
    #[error("the statements do not contradict each other or the log's bytes")]
    NoContradiction,
}

/// Checks an evidence file. With a log id or a fingerprint, it must be about that one.
pub fn verify(
    bytes: &[u8],
    log_id: Option<Hash>,
    fingerprint: Option<Fingerprint>,
) -> Result<Proven, EvidenceError> {
    let file = Evidence::read(bytes)?;
    Ok(establish(&file, log_id, fingerprint)?.proven)
}

impl Evidence {
    /// Reads a file; nothing that it says is checked.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(EvidenceError::Unreadable);
        }
        let file: Self = serde_json::from_slice(bytes).map_err(|_| EvidenceError::Unreadable)?;
        if file.statements.len() > MAX_PARTS || file.proofs.len() > MAX_PARTS {
            return Err(EvidenceError::Unreadable);
        }
        Ok(file)
    }
}

/// What a file proves, and the statements that it does so with.
pub(super) struct Established {
    pub(super) proven: Proven,
    pub(super) signed: Vec<Signed>,
}

/// Checks a file that was read.
pub(super) fn establish(
    file: &Evidence,
    log_id: Option<Hash>,
    fingerprint: Option<Fingerprint>,
) -> Result<Established, NotProven> {
    let case = Case::new(&file.accused, file.kind)?;
    if log_id.is_some() && log_id != case.log_id() {
        return Err(NotProven::OtherLog);
    }
    if fingerprint.is_some_and(|asked| asked != file.accused.fingerprint) {
        return Err(NotProven::OtherKey);
    }
    let signed = case.prove(file)?;
    let fingerprint = file.accused.fingerprint;
    Ok(Established {
        proven: Proven { log_id: case.log_id(), fingerprint, kind: file.kind },
        signed,
    })
}

/// What each statement of a file says; `None` where the accused key did not sign it.
pub(super) fn statements(file: &Evidence) -> Vec<Option<Signed>> {
    file.statements.iter().map(|statement| read_statement(&file.accused, statement)).collect()
}

/// The accused and the log that it is about.
struct Case<'a> {
    accused: &'a Accused,
    log: Option<(Hash, Origin)>,
    /// In which role the accused key signed.
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Log,
    Witness,
}

/// What a statement says.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) origin: String,
    pub(super) role: Role,
    /// The trees that it vouches for.
    pub(super) trees: Vec<TreeRoot>,
    /// What only a tree head says: its time and chain head.
    pub(super) head: Option<(Timestamp, Option<Hash>)>,
    /// When it was signed, as far as it says so.
    pub(super) at: Option<Timestamp>,
}

impl Signed {
    fn checkpoint(role: Role, checkpoint: &Checkpoint) -> Self {
        Self {
            origin: checkpoint.origin().to_owned(),
            role,
            trees: vec![checkpoint.tree()],
            head: None,
            at: None,
        }
    }
}

impl<'a> Case<'a> {
    fn new(accused: &'a Accused, kind: Kind) -> Result<Self, NotProven> {
        if accused.key.fingerprint() != accused.fingerprint {
            return Err(NotProven::Fingerprint);
        }
        let role = if kind == Kind::WitnessEquivocated { Role::Witness } else { Role::Log };
        let Some(genesis) = &accused.genesis else {
            let log = None;
            return if role == Role::Witness {
                Ok(Self { accused, log, role })
            } else {
                Err(NotProven::Genesis)
            };
        };
        let leaf = Leaf::parse(genesis.0.as_slice()).map_err(|_| NotProven::Genesis)?;
        let event = Event::parse(leaf.event_type(), leaf.payload());
        let (1, Ok(Event::Genesis(event))) = (leaf.id(), event) else {
            return Err(NotProven::Genesis);
        };
        if role == Role::Log && event.operator_public_key != accused.key {
            return Err(NotProven::Genesis);
        }
        Ok(Self { accused, log: Some((leaf.entry_hash(), event.origin)), role })
    }

    fn log_id(&self) -> Option<Hash> {
        self.log.as_ref().map(|(id, _)| *id)
    }

    fn prove(&self, file: &Evidence) -> Result<Vec<Signed>, NotProven> {
        let signed = self.read_statements(&file.statements)?;
        let contradicts = match (file.kind, signed.as_slice(), file.proofs.as_slice()) {
            (Kind::ForkSameSize, [a, b], []) => fork_same_size(a, b),
            (Kind::Truncated, [first, second], []) => smaller_and_later(second, first),
            (Kind::TimestampRegressed, [first, second], []) => smaller_and_later(first, second),
            (Kind::ForkPrefix, [smaller, larger], proofs) => {
                let (_, reached) = follow(&larger.trees, proofs)?;
                smaller.trees.iter().any(|tree| reached.iter().any(|other| fork(tree, other)))
            }
            (Kind::WitnessEquivocated, [a, b], proofs) => {
                let (_, reached) = follow(&b.trees, proofs)?;
                let mut others = b.trees.iter().chain(&reached);
                others.any(|other| a.trees.iter().any(|tree| fork(tree, other)))
            }
            (Kind::ChainMerkleMismatch, [head], proofs) => chain_mismatch(head, proofs)?,
            (Kind::BadEntry, [head], proofs) => self.bad_entry(head, proofs)?,
            _ => return Err(NotProven::Statements),
        };
        if contradicts { Ok(signed) } else { Err(NotProven::NoContradiction) }
    }

    fn read_statements(&self, statements: &[Statement]) -> Result<Vec<Signed>, NotProven> {
        let mut all: Vec<Signed> = Vec::new();
        for (place, statement) in statements.iter().enumerate() {
            let signed =
                read_statement(self.accused, statement).ok_or(NotProven::Signature(place))?;
            if signed.role != self.role {
                return Err(NotProven::Statements);
            }
            let named = self.log.as_ref().map(|(_, origin)| origin.as_str());
            let expected = named.or(all.first().map(|first| first.origin.as_str()));
            if expected.is_some_and(|origin| origin != signed.origin) {
                return Err(NotProven::Signature(place));
            }
            all.push(signed);
        }
        Ok(all)
    }

    /// Whether the first leaf that the proofs place under the head breaks a rule, alone or beside
    /// the others.
    fn bad_entry(&self, head: &Signed, proofs: &[Proof]) -> Result<bool, NotProven> {
        let (leaves, _) = follow(&head.trees, proofs)?;
        let Some((bad, others)) = leaves.split_first() else {
            return Err(NotProven::Statements);
        };
        let Ok(leaf) = Leaf::parse(bad.bytes) else {
            return Ok(true);
        };
        if leaf.id() != bad.index + 1 || (bad.index > 0 && leaf.event_type() == Genesis::EVENT_TYPE)
        {
            return Ok(true);
        }
        let before = others.iter().find(|other| other.index + 1 == bad.index);
        Ok(before.is_some_and(|before| follows_badly(&leaf, before))
            || self.carries_bad_signature(&leaf, others))
    }

    /// Whether a signature that the leaf carries does not verify, under the accused key, the one
    /// that the leaf itself names, or one that another entry before it endorsed.
    fn carries_bad_signature(&self, leaf: &Leaf, others: &[Included<'_>]) -> bool {
        let Some((_, origin)) = &self.log else { return false };
        let none = RoleKeys::new();
        let operator = &self.accused.key;
        let alone = Signers { origin, operator, roles: &none };
        let roles = others
            .iter()
            .filter(|other| other.index + 1 < leaf.id())
            .filter_map(|other| endorsed(other, &alone))
            .collect();
        let signers = Signers { origin, operator, roles: &roles };
        Event::parse(leaf.event_type(), leaf.payload())
            .is_ok_and(|e| e.check_signatures(&signers) == Err(CarriedFault::BadSignature))
    }
}

/// What a statement says, if the accused key signed it.
fn read_statement(accused: &Accused, statement: &Statement) -> Option<Signed> {
    let key = &accused.key;
    match statement {
        Statement::TreeHead { signature, signed } => {
            let head = HeadClaim::from_signed_bytes(&signed.0)?;
            head.check(key, signature).ok()?;
            Some(Signed {
                trees: vec![TreeRoot { size: head.tree_size, hash: head.root_hash }],
                head: Some((head.timestamp, head.chain_head)),
                at: Some(head.timestamp),
                origin: head.origin,
                role: Role::Log,
            })
        }
        Statement::Checkpoint { note } => {
            let said = read_checkpoint(&Note::parse(note.as_bytes()).ok()?)?;
            let opened = checkpoint::open(note, said.origin(), key).ok()?;
            Some(Signed::checkpoint(Role::Log, &opened))
        }
        Statement::WitnessProof { signature, signed } => {
            let claim = WitnessClaim::from_signed_bytes(&signed.0)?;
            claim.check(key, signature).ok()?;
            (claim.witness == key.fingerprint()).then(|| Signed {
                trees: vec![claim.old_tree(), claim.new_tree()],
                head: None,
                at: Some(claim.timestamp),
                origin: claim.origin.as_str().to_owned(),
                role: Role::Witness,
            })
        }
        Statement::Cosignature { note } => {
            let note = Note::parse(note.as_bytes()).ok()?;
            let said = read_checkpoint(&note)?;
            let mut lines = note.signatures().iter();
            let seconds = lines.find_map(|line| verify_cosignature(line, &said, key).ok())?;
            let millis = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000));
            let at = millis.and_then(Timestamp::from_millis);
            Some(Signed { at, ..Signed::checkpoint(Role::Witness, &said) })
        }
    }
}

fn fork(a: &TreeRoot, b: &TreeRoot) -> bool {
    a.size == b.size && a.hash != b.hash
}

fn fork_same_size(a: &Signed, b: &Signed) -> bool {
    let sizes = |signed: &Signed| signed.trees.first().map(|tree| tree.size);
    let chain_head = |signed: &Signed| signed.head.map(|(_, chain_head)| chain_head);
    let two_roots = a.trees.iter().zip(&b.trees).any(|(a, b)| fork(a, b));
    let two_chain_heads =
        chain_head(a).zip(chain_head(b)).is_some_and(|(a, b)| a != b) && sizes(a) == sizes(b);
    two_roots || two_chain_heads
}

fn smaller_and_later(a: &Signed, b: &Signed) -> bool {
    let ((Some((a_time, _)), Some((b_time, _))), [a], [b]) =
        ((a.head, b.head), a.trees.as_slice(), b.trees.as_slice())
    else {
        return false;
    };
    a.size < b.size && a_time > b_time
}

/// Whether the one leaf is the last of the head's tree and not the one that its chain head names.
fn chain_mismatch(head: &Signed, proofs: &[Proof]) -> Result<bool, NotProven> {
    let (leaves, _) = follow(&head.trees, proofs)?;
    let (Some((_, chain_head)), [tree], [last]) =
        (head.head, head.trees.as_slice(), leaves.as_slice())
    else {
        return Err(NotProven::Statements);
    };
    Ok(last.index + 1 == tree.size.get() && chain_head != Some(Hash::of(last.bytes)))
}

fn follows_badly(leaf: &Leaf, before: &Included<'_>) -> bool {
    leaf.previous_hash() != Some(Hash::of(before.bytes))
        || Leaf::parse(before.bytes).is_ok_and(|before| leaf.timestamp() < before.timestamp())
}

/// The key that an entry gave a role, if the operator signed that.
fn endorsed(entry: &Included<'_>, signers: &Signers<'_>) -> Option<(Fingerprint, RoleKey)> {
    let leaf = Leaf::parse(entry.bytes).ok()?;
    let event = Event::parse(leaf.event_type(), leaf.payload()).ok()?;
    event.check_signatures(signers).ok()?;
    match event {
        Event::OperatorEndorsement(event) if event.category.gives_role() => {
            let key = event.public_key.ed25519()?.clone();
            Some((event.fingerprint, RoleKey { key, entry_id: leaf.id() }))
        }
        _ => None,
    }
}

/// A leaf whose place is proven.
struct Included<'a> {
    bytes: &'a [u8],
    index: u64,
}

/// Checks proofs, each towards a signed tree or one that an earlier proof reached. Gives the
/// leaves and the trees that they reached.
fn follow<'a>(
    signed: &[TreeRoot],
    proofs: &'a [Proof],
) -> Result<(Vec<Included<'a>>, Vec<TreeRoot>), NotProven> {
    let (mut leaves, mut reached) = (Vec::new(), Vec::new());
    for proof in proofs {
        let towards = proof.towards();
        if !signed.contains(&towards) && !reached.contains(&towards) {
            return Err(NotProven::UnknownTree);
        }
        match proof {
            Proof::Consistency { first, first_root, hashes, .. } => {
                let from = TreeRoot { size: *first, hash: *first_root };
                verify_consistency(&from, &towards, hashes).map_err(NotProven::Proof)?;
                reached.push(from);
            }
            Proof::Inclusion { hashes, leaf, leaf_index, .. } => {
                let hash = Hash::of_leaf(&leaf.0);
                verify_inclusion(*leaf_index, &hash, &towards, hashes).map_err(NotProven::Proof)?;
                leaves.push(Included { bytes: &leaf.0, index: *leaf_index });
            }
        }
    }
    Ok((leaves, reached))
}

fn read_checkpoint(note: &Note) -> Option<Checkpoint> {
    note.text().parse().ok()
}

/// The members of a tree head as they are signed, of whatever epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadClaim {
    chain_head: Option<Hash>,
    epoch: u64,
    origin: String,
    root_hash: Hash,
    timestamp: Timestamp,
    tree_size: TreeSize,
}

impl Claim for HeadClaim {
    const FIRST_LINE: &'static str = "diogenes-tree-head/v1\n";
}
