//! The attacks of the federation's rules, each with what must become of it.

use diogenes_tests::lies::LIES;
use diogenes_tests::process::Programs;

use crate::attacks::{accusations, floods, leaders, lies, silence, witnesses};
use crate::drill::{Drill, Play, Playing};
use crate::verdict::{Expected, Leaves, Standing, State, Who};

/// All of them.
pub(crate) fn drills() -> Vec<Drill> {
    let told = LIES.iter().filter_map(|lie| {
        let expected = lies::expected(lie)?;
        Some(Drill { name: lie.name, rule: lie.rule, expected, play: Play::Lie(lie) })
    });
    let stories = STORIES.iter().map(|story| Drill {
        name: story.name,
        rule: story.rule,
        expected: Expected {
            who: story.who,
            state: State::of(story.standing, story.reason),
            leaves: story.leaves,
        },
        play: Play::Story(story.play),
    });
    told.chain(stories).collect()
}

struct Story {
    name: &'static str,
    rule: &'static str,
    who: Who,
    standing: Standing,
    reason: &'static str,
    leaves: Leaves,
    play: fn(&Programs) -> Playing<'_>,
}

const STORIES: [Story; 26] = [
    Story {
        name: "promised-and-forked",
        rule: "a head that was kept must be passed",
        who: Who::Follower,
        standing: Standing::Latched,
        reason: "fork_prefix",
        leaves: Leaves::Proof,
        play: silence::promised_and_forked,
    },
    Story {
        name: "replayed-head",
        rule: "size and time both not above: ignored",
        who: Who::Follower,
        standing: Standing::Unmoved,
        reason: "leader_stale",
        leaves: Leaves::Nothing,
        play: silence::replayed_head,
    },
    Story {
        name: "bad-source-beside-a-good-one",
        rule: "quarantine the source",
        who: Who::Follower,
        standing: Standing::Unmoved,
        reason: "bad_batch",
        leaves: Leaves::Nothing,
        play: silence::bad_source_beside_a_good_one,
    },
    Story {
        name: "frozen-leader",
        rule: "a head within three heartbeats",
        who: Who::Follower,
        standing: Standing::Behind,
        reason: "leader_stale",
        leaves: Leaves::Nothing,
        play: silence::frozen_leader,
    },
    Story {
        name: "frozen-leader-witness",
        rule: "no head older than two hours is signed",
        who: Who::Witness,
        standing: Standing::Exit(1),
        reason: "leader_stale",
        leaves: Leaves::Observation,
        play: silence::frozen_leader_witness,
    },
    leader("leader-old-backup", "the guard", leaders::older_database),
    leader("leader-lost-database", "the guard", leaders::lost_database),
    leader("leader-swapped-database", "the guard", leaders::swapped_database),
    Story {
        name: "leader-restored",
        rule: "own-signed heads of peers",
        who: Who::Leader,
        standing: Standing::ReadOnly,
        reason: "self_rolled_back",
        leaves: Leaves::Nothing,
        play: leaders::restored_behind_a_follower,
    },
    Story {
        name: "two-leaders-one-directory",
        rule: "the directory's lock",
        who: Who::SecondLeader,
        standing: Standing::Exit(78),
        reason: "locked",
        leaves: Leaves::Nothing,
        play: leaders::second_in_one_directory,
    },
    Story {
        name: "two-leaders-one-database",
        rule: "the writer fence",
        who: Who::Leader,
        standing: Standing::Exit(78),
        reason: "not_leader",
        leaves: Leaves::Nothing,
        play: leaders::two_on_one_database,
    },
    witness("witness-rolled-back", "the amnesia check", witnesses::state_rolled_back),
    witness("witness-copied", "the amnesia check", witnesses::one_key_on_two_machines),
    Story {
        name: "witness-twice",
        rule: "the log's lock",
        who: Who::Witness,
        standing: Standing::Unmoved,
        reason: "",
        leaves: Leaves::Nothing,
        play: witnesses::two_processes,
    },
    accusation("hostile-follower", accusations::hostile_follower),
    accusation("hostile-witness", accusations::hostile_witness),
    refused(
        "report-of-a-stranger",
        "only those authorized are heard",
        (403, "follower_not_authorized"),
        accusations::stranger_reports,
    ),
    refused(
        "proof-of-a-stranger",
        "only those authorized are heard",
        (403, "witness_not_authorized"),
        accusations::stranger_witnesses,
    ),
    refused(
        "forged-head",
        "only own-signed heads count",
        (422, "invalid_signature"),
        accusations::forged_head,
    ),
    refused(
        "webhook-to-private-places",
        "public addresses alone",
        (422, "validation_failed"),
        floods::webhook_to_private_places,
    ),
    refused(
        "request-flood",
        "a rate for each address",
        (429, "rate_limited"),
        floods::request_flood,
    ),
    refused("endless-head", "16 KiB", (431, ""), floods::endless_head),
    refused("endless-body", "8 MiB", (413, "payload_too_large"), floods::endless_body),
    cut("slow-loris", "a head within 10 s", floods::slow_loris),
    cut("connection-flood", "a head within 10 s", floods::connection_flood),
    Story {
        name: "disk-full",
        rule: "MIN_FREE",
        who: Who::Leader,
        standing: Standing::Exit(74),
        reason: "disk_full",
        leaves: Leaves::Nothing,
        play: floods::disk_full,
    },
];

const fn leader(
    name: &'static str,
    rule: &'static str,
    play: fn(&Programs) -> Playing<'_>,
) -> Story {
    Story {
        name,
        rule,
        who: Who::Leader,
        standing: Standing::Exit(78),
        reason: "self_rolled_back",
        leaves: Leaves::Nothing,
        play,
    }
}

const fn witness(
    name: &'static str,
    rule: &'static str,
    play: fn(&Programs) -> Playing<'_>,
) -> Story {
    Story {
        name,
        rule,
        who: Who::Witness,
        standing: Standing::Exit(78),
        reason: "state_rolled_back",
        leaves: Leaves::Nothing,
        play,
    }
}

const fn accusation(name: &'static str, play: fn(&Programs) -> Playing<'_>) -> Story {
    Story {
        name,
        rule: "only own-signed heads count",
        who: Who::Leader,
        standing: Standing::Incident,
        reason: "peer_disagrees",
        leaves: Leaves::Observation,
        play,
    }
}

const fn refused(
    name: &'static str,
    rule: &'static str,
    (status, reason): (u16, &'static str),
    play: fn(&Programs) -> Playing<'_>,
) -> Story {
    Story {
        name,
        rule,
        who: Who::Leader,
        standing: Standing::Answer(status),
        reason,
        leaves: Leaves::Nothing,
        play,
    }
}

const fn cut(name: &'static str, rule: &'static str, play: fn(&Programs) -> Playing<'_>) -> Story {
    Story {
        name,
        rule,
        who: Who::Leader,
        standing: Standing::Cut,
        reason: "",
        leaves: Leaves::Nothing,
        play,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_attacks_have_one_name() {
        let names: Vec<_> = drills().iter().map(|drill| drill.name).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    /// docs/threat-model.md and the rules of the federation name these.
    #[test]
    fn every_reason_of_the_rules_is_provoked() {
        let provoked: BTreeSet<_> =
            drills().into_iter().map(|drill| drill.expected.state.reason).collect();
        for reason in [
            "fork_same_size",
            "fork_prefix",
            "inconsistent_unproven",
            "truncated",
            "timestamp_regressed",
            "chain_merkle_mismatch",
            "bad_entry",
            "leader_stale",
            "head_in_future",
            "bad_batch",
            "wrong_origin",
            "unauthorized_key",
            "wrong_epoch",
            "self_rolled_back",
            "not_leader",
            "state_rolled_back",
            "peer_disagrees",
            "disk_full",
        ] {
            assert!(provoked.contains(reason), "{reason}");
        }
    }

    #[test]
    fn what_latches_leaves_proof_and_nothing_else_does() {
        for drill in drills() {
            let latches = drill.expected.state.standing == Standing::Latched;
            assert_eq!(drill.expected.leaves == Leaves::Proof, latches, "{}", drill.name);
        }
    }
}
