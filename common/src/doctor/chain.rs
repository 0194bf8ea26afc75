//! The stored log: whether its parts fit together at the newest size.

use super::{Check, Finding, or_ok};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::Fingerprint;
use crate::merkle::{Hash, TreeRoot, TreeSize};

/// What a database holds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Nothing yet.
    Empty,
    /// A row that must be there is damaged or missing.
    Damaged(String),
    /// The database did not answer.
    Unreadable(String),
    /// Everything at the newest size could be read.
    Read(Box<Found>),
}

/// The newest state of a log, and what the rows beside it give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name in the genesis.
    pub origin: Origin,
    /// The hash of the genesis.
    pub log_id: Hash,
    /// The operator named in the genesis.
    pub operator: Fingerprint,
    /// The stored size and root.
    pub stored: TreeRoot,
    /// The stored chain head.
    pub chain_head: Option<Hash>,
    /// The root that the stored tiles and the newest leaves give.
    pub recomputed: Hash,
    /// The hash of the newest entry.
    pub last_entry: Hash,
    /// The newest head with a signature, if one is stored.
    pub head: Option<SignedHead>,
}

/// A stored head, and what the log says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// Its size.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
    /// Its time.
    pub timestamp: Timestamp,
    /// The root that the log has at that size.
    pub own_root: Option<Hash>,
    /// Why its signature does not hold, if it does not.
    pub refused: Option<String>,
}

/// Judges a stored log; `operator` is the key that it must have, where that is known.
pub fn chain(operator: Option<&Fingerprint>, found: &Chain) -> Vec<Finding> {
    let found = match found {
        Chain::Empty => return vec![Finding::ok(Check::Chain, "no log is stored yet")],
        Chain::Damaged(what) => return vec![broken(what)],
        Chain::Unreadable(why) => {
            return vec![Finding::fail(
                Check::Chain,
                format!("the stored log could not be read: {why}"),
                "see what keeps the database busy, then run doctor again",
            )];
        }
        Chain::Read(found) => found,
    };
    let mut findings = Vec::new();
    if operator.is_some_and(|operator| *operator != found.operator) {
        findings.push(Finding::fail(
            Check::Chain,
            format!("the stored log {} is that of another operator key", found.origin),
            "point DATABASE_URL at this node's own database; one database mirrors one log for ever",
        ));
    }
    if found.recomputed != found.stored.hash {
        findings.push(broken("its tiles and newest entries do not give the stored root"));
    }
    if found.chain_head != Some(found.last_entry) {
        findings.push(broken("its newest entry is not the stored chain head"));
    }
    if let Some(head) = &found.head {
        if let Some(why) = &head.refused {
            let size = head.size;
            findings
                .push(broken(&format!("its newest signed head (size {size}) is no head: {why}")));
        } else if head.own_root != Some(head.root) {
            let size = head.size;
            findings.push(broken(&format!("its signed head of size {size} has another root")));
        }
    }
    let size = found.stored.size;
    or_ok(
        findings,
        Check::Chain,
        format!("{} has {size} entries; right edge, chain head and signature agree", found.origin),
    )
}

fn broken(what: &str) -> Finding {
    Finding::fail(
        Check::Chain,
        format!("the stored log does not hold together: {what}"),
        "stop the node, keep the files, check the disk, and restore the database from a backup or \
         a follower; `log verify` names the first bad entry",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::keys::SigningKey;

    fn operator() -> Fingerprint {
        SigningKey::from_seed([1; 32]).fingerprint()
    }

    fn head() -> SignedHead {
        SignedHead {
            size: TreeSize::ZERO.plus(8),
            root: Hash::of(b"older root"),
            timestamp: Timestamp::from_millis(0).unwrap(),
            own_root: Some(Hash::of(b"older root")),
            refused: None,
        }
    }

    fn found() -> Found {
        Found {
            origin: "log.example".parse().unwrap(),
            log_id: Hash::of(b"genesis"),
            operator: operator(),
            stored: TreeRoot { size: TreeSize::ZERO.plus(9), hash: Hash::of(b"root") },
            chain_head: Some(Hash::of(b"last")),
            recomputed: Hash::of(b"root"),
            last_entry: Hash::of(b"last"),
            head: Some(head()),
        }
    }

    fn levels(found: &Chain) -> Vec<Level> {
        chain(Some(&operator()), found).iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_log_whose_parts_fit_together_is_well() {
        assert_eq!(levels(&Chain::Read(Box::new(found()))), [Level::Ok]);
        assert_eq!(levels(&Chain::Read(Box::new(Found { head: None, ..found() }))), [Level::Ok]);
        assert_eq!(levels(&Chain::Empty), [Level::Ok]);
    }

    #[test]
    fn each_part_that_does_not_fit_is_a_failure() {
        let other = Hash::of(b"other");
        let refused = Some("the signature is wrong".to_owned());
        let key = SigningKey::from_seed([2; 32]).fingerprint();
        for broken in [
            Found { operator: key, ..found() },
            Found { recomputed: other, ..found() },
            Found { last_entry: other, ..found() },
            Found { chain_head: None, ..found() },
            Found { head: Some(SignedHead { refused, ..head() }), ..found() },
            Found { head: Some(SignedHead { own_root: Some(other), ..head() }), ..found() },
            Found { head: Some(SignedHead { own_root: None, ..head() }), ..found() },
        ] {
            assert_eq!(levels(&Chain::Read(Box::new(broken.clone()))), [Level::Fail], "{broken:?}");
        }
        assert_eq!(levels(&Chain::Damaged("entry 7".to_owned())), [Level::Fail]);
        assert_eq!(levels(&Chain::Unreadable("busy".to_owned())), [Level::Fail]);
    }
}
