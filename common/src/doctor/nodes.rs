//! Other nodes: the sources of a follower, the servers of a witness, the peers of a leader.

use super::{Check, Finding, Sample};
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::merkle::Hash;

/// What another node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAnswer {
    /// Its URL, as it was configured.
    pub url: String,
    /// Its answer, or why there is none.
    pub answer: Result<Answered, String>,
}

/// A node that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its clock and the own one, if it said.
    pub date: Option<(Timestamp, Timestamp)>,
    /// The log that it serves, and its operator; a witness serves none.
    pub log: Option<(Hash, Fingerprint)>,
    /// Why its newest head is not signed by that operator, if it is not.
    pub bad_head: Option<String>,
}

impl NodeAnswer {
    /// Its clock, if it said.
    pub fn sample(&self) -> Option<Sample> {
        let (theirs, ours) = self.answer.as_ref().ok()?.date?;
        Some(Sample { node: self.url.clone(), theirs, ours })
    }
}

/// What a witness pins of a log that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The hash of its genesis.
    pub log_id: Hash,
    /// The key of its operator.
    pub operator: Fingerprint,
}

/// Judges the sources of a follower that pins this operator key.
pub fn sources(pinned: &Fingerprint, answers: &[NodeAnswer]) -> Vec<Finding> {
    let check = Check::Sources;
    let is_alone = answers.iter().all(|answer| answer.answer.is_err());
    answers
        .iter()
        .map(|NodeAnswer { url, answer }| {
            let answered = match answer {
                Ok(answered) => answered,
                Err(why) if is_alone => {
                    return Finding::fail(
                        check,
                        format!("{url} cannot be reached: {why}"),
                        "no source answers: check the URL, the network and the node there",
                    );
                }
                Err(why) => {
                    return Finding::warn(
                        check,
                        format!("{url} cannot be reached: {why}"),
                        "other sources answer; check the URL and the node there",
                    );
                }
            };
            match &answered.log {
                None => no_log(check, url),
                Some((_, operator)) if operator != pinned => Finding::fail(
                    check,
                    format!("{url} serves the log of {operator}, pinned is {pinned}"),
                    "compare with the operator by another way (diogenes-leader key fingerprint), \
                     then correct DIOGENES_FEDERATION_OPERATORS",
                ),
                Some(_) => signed(check, url, answered),
            }
        })
        .collect()
}

/// Judges the servers that a witness watches; `known` are the logs in its state, and `operator` is
/// the key that every log must have, if one was set.
pub fn log_servers(
    known: &[Pinned],
    operator: Option<&Fingerprint>,
    answers: &[NodeAnswer],
) -> Vec<Finding> {
    let check = Check::LogServers;
    if answers.is_empty() {
        return vec![Finding::ok(check, "none was named: give --server URL as for run")];
    }
    let judge = |NodeAnswer { url, answer }: &NodeAnswer| {
        let answered = match answer {
            Ok(answered) => answered,
            Err(why) => {
                return Finding::fail(
                    check,
                    format!("{url} cannot be reached: {why}"),
                    "check the URL, the network and the node there",
                );
            }
        };
        let Some((log_id, theirs)) = &answered.log else { return no_log(check, url) };
        let is_other = known.iter().any(|pin| pin.log_id == *log_id && pin.operator != *theirs);
        if is_other || operator.is_some_and(|operator| operator != theirs) {
            return Finding::fail(
                check,
                format!("{url} names the operator {theirs}, which is not the pinned one"),
                "ask the operator by another way; nothing is signed for another key",
            );
        }
        if !known.is_empty() && known.iter().all(|pin| pin.log_id != *log_id) {
            return Finding::warn(
                check,
                format!("{url} serves a log that this witness has never seen ({log_id})"),
                "if that is not meant, correct --server; else the first round pins it",
            );
        }
        signed(check, url, answered)
    };
    answers.iter().map(judge).collect()
}

/// Judges the nodes that a leader of this log asks at start.
pub fn peers(own: Option<Hash>, answers: &[NodeAnswer]) -> Vec<Finding> {
    let check = Check::Peers;
    if answers.is_empty() {
        return vec![Finding::warn(
            check,
            "DIOGENES_PEERS is empty: after a restore nobody can tell what was signed before",
            "name the URLs of a follower and of witnesses that serve",
        )];
    }
    let judge = |NodeAnswer { url, answer }: &NodeAnswer| match answer {
        Err(why) => Finding::warn(
            check,
            format!("{url} cannot be reached: {why}"),
            "check the URL and the node there; without its guard a leader waits for every peer",
        ),
        Ok(Answered { log: Some((log_id, _)), .. }) if own.is_some_and(|own| own != *log_id) => {
            Finding::fail(
                check,
                format!("{url} serves another log ({log_id})"),
                "correct DIOGENES_PEERS: only nodes of this log can confirm its newest head",
            )
        }
        Ok(answered) => signed(check, url, answered),
    };
    answers.iter().map(judge).collect()
}

fn no_log(check: Check, url: &str) -> Finding {
    Finding::fail(
        check,
        format!("{url} answers, but serves no log"),
        "give the URL of a leader or a follower, without a path behind it",
    )
}

fn signed(check: Check, url: &str, answered: &Answered) -> Finding {
    match &answered.bad_head {
        None => Finding::ok(check, format!("{url} answers")),
        Some(why) => Finding::fail(
            check,
            format!("{url} shows a head that its operator did not sign: {why}"),
            "do not use this node; keep what it answers, and tell the operator of the log",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::keys::SigningKey;

    fn key(n: u8) -> Fingerprint {
        SigningKey::from_seed([n; 32]).fingerprint()
    }

    fn log(n: u8) -> Hash {
        Hash::of(&[n])
    }

    fn of(log_id: Hash, operator: Fingerprint) -> NodeAnswer {
        let answered = Answered { date: None, log: Some((log_id, operator)), bad_head: None };
        NodeAnswer { url: "https://node.example".to_owned(), answer: Ok(answered) }
    }

    fn silent() -> NodeAnswer {
        NodeAnswer { url: "https://gone.example".to_owned(), answer: Err("refused".to_owned()) }
    }

    fn without_log() -> NodeAnswer {
        let answered = Answered { date: None, log: None, bad_head: None };
        NodeAnswer { url: "https://witness.example".to_owned(), answer: Ok(answered) }
    }

    fn forged() -> NodeAnswer {
        let bad_head = Some("the signature is wrong".to_owned());
        let answered = Answered { date: None, log: Some((log(1), key(1))), bad_head };
        NodeAnswer { url: "https://liar.example".to_owned(), answer: Ok(answered) }
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_source_must_serve_the_pinned_log() {
        use Level::{Fail, Ok, Warn};
        for (answers, expected) in [
            (vec![of(log(1), key(1))], vec![Ok]),
            (vec![of(log(1), key(2))], vec![Fail]),
            (vec![silent()], vec![Fail]),
            (vec![of(log(1), key(1)), silent()], vec![Ok, Warn]),
            (vec![without_log()], vec![Fail]),
            (vec![forged()], vec![Fail]),
        ] {
            assert_eq!(levels(&sources(&key(1), &answers)), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_witness_meets_the_logs_that_it_knows() {
        use Level::{Fail, Ok, Warn};
        let known = [Pinned { log_id: log(1), operator: key(1) }];
        for (known, operator, answers, expected) in [
            (&known[..], None, vec![of(log(1), key(1))], vec![Ok]),
            (&known, None, vec![of(log(1), key(2))], vec![Fail]),
            (&known, None, vec![of(log(2), key(1))], vec![Warn]),
            (&[], None, vec![of(log(2), key(1))], vec![Ok]),
            (&[], Some(key(1)), vec![of(log(2), key(2))], vec![Fail]),
            (&known, None, vec![silent(), without_log(), forged()], vec![Fail, Fail, Fail]),
            (&known, None, Vec::new(), vec![Ok]),
        ] {
            let found = log_servers(known, operator.as_ref(), &answers);

            assert_eq!(levels(&found), expected, "{answers:?}");
        }
    }

    #[test]
    fn peers_are_of_this_log_and_witnesses_need_none() {
        use Level::{Fail, Ok, Warn};
        for (answers, expected) in [
            (Vec::new(), vec![Warn]),
            (vec![of(log(1), key(1)), without_log()], vec![Ok, Ok]),
            (vec![of(log(2), key(2))], vec![Fail]),
            (vec![silent()], vec![Warn]),
            (vec![forged()], vec![Fail]),
        ] {
            assert_eq!(levels(&peers(Some(log(1)), &answers)), expected, "{answers:?}");
        }
    }
}
