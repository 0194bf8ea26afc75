//! What an evidence file that somebody sent means for a node of a log.

use super::verify::{Signed, establish};
use super::{Evidence, EvidenceError, Kind, NotProven};
use crate::head::Origin;
use crate::keys::Fingerprint;
use crate::merkle::Hash;

/// The log of the node that weighs a file.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The log's id.
    pub id: Hash,
    /// The log's name.
    pub origin: &'a Origin,
    /// The key that signs it.
    pub operator: Fingerprint,
}

/// Whom a proof accuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The key of the node's own log.
    Log,
    /// A key that signed as a witness of that log. Whether the log ever knew such a witness, the
    /// caller has to see: anybody can make keys, and let them contradict themselves.
    Witness(Fingerprint),
}

/// A file that proves something about the node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// What it proves.
    pub kind: Kind,
    /// Against whom.
    pub against: Against,
    /// What makes another file the same proof.
    pub identity: Identity,
}

/// What a proof says, whoever wrote the file: files of one identity prove the same thing.
///
/// Of a log it is the kind and the contradicting statements, in any order; of a witness the key
/// alone, since one proof says all that there is to say about it. Times, names, explanations and
/// signatures of others, which anybody can change, are no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Hash);

impl Identity {
    /// The identity of a file that proves something about whatever log; `None` if it does not.
    pub fn of(file: &[u8]) -> Option<Self> {
        let file = Evidence::read(file).ok()?;
        let established = establish(&file, None, None).ok()?;
        Some(Self::new(file.kind, file.accused.fingerprint, &established.signed))
    }

    fn new(kind: Kind, accused: Fingerprint, signed: &[Signed]) -> Self {
        let against_log = kind.is_against_the_log();
        let mut said: Vec<String> =
            if against_log { signed.iter().map(line).collect() } else { Vec::new() };
        said.sort_unstable();
        Self(Hash::of(format!("{}\n{accused}\n{}", kind.as_str(), said.concat()).as_bytes()))
    }
}

/// One line for what one statement says.
fn line(signed: &Signed) -> String {
    let trees: Vec<_> =
        signed.trees.iter().map(|tree| format!("{} {}", tree.size, tree.hash)).collect();
    let head = signed.head.map(|(at, chain_head)| {
        format!(" {at} {}", chain_head.map_or_else(String::new, |hash| hash.to_string()))
    });
    format!("{} {}{}\n", signed.origin, trees.join(" "), head.unwrap_or_default())
}

/// Why a file changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is no evidence file at all.
    #[error("{}; send the file as it was downloaded", EvidenceError::Unreadable)]
    Unreadable,
    /// It is one, and does not prove what it says.
    #[error("not proven: {0}; `diogenes-witness evidence verify` says the same offline")]
    Unproven(#[source] NotProven),
    /// It is about another log, or about a key that is none of this log's.
    #[error("the file is about another log or key; send it to the nodes of that log")]
    Foreign,
}

/// Says what a file proves to a node of this log. It takes no statement on trust, and a file about
/// another log costs no signature check.
pub fn weigh(file: &[u8], log: &Watched<'_>) -> Result<Weighed, Rejected> {
    let file = Evidence::read(file).map_err(|_| Rejected::Unreadable)?;
    let kind = file.kind;
    let (log_id, operator) = if kind.is_against_the_log() {
        (Some(log.id), Some(log.operator))
    } else {
        // A witness may be accused without the genesis: then the statements name the log.
        (file.accused.genesis.as_ref().map(|_| log.id), None)
    };
    let established = establish(&file, log_id, operator).map_err(|why| match why {
        NotProven::OtherLog | NotProven::OtherKey => Rejected::Foreign,
        why => Rejected::Unproven(why),
    })?;
    if established.signed.iter().any(|signed| signed.origin != log.origin.as_str()) {
        return Err(Rejected::Foreign);
    }
    let accused = file.accused.fingerprint;
    let against = if kind.is_against_the_log() { Against::Log } else { Against::Witness(accused) };
    Ok(Weighed { kind, against, identity: Identity::new(kind, accused, &established.signed) })
}
