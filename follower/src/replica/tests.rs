//! The rules of the status (docs/operating/follower.md), row by row, and what must never happen.

use proptest::prelude::*;

use super::testing::{at, head, head_of, now, tree};
use super::*;
use diogenes_common::merkle::Hash;

const PACE: Pace = Pace { poll: 1_000, heartbeat: 60_000 };

fn replica(sources: usize) -> Replica {
    Replica::new(PACE, sources, tree(0), None, now(0))
}

fn accept(replica: &mut Replica, source: usize, head: Arc<Accepted>, second: u64) {
    assert_eq!(replica.on(Event::Accepted { source, head }, now(second)), [Action::Store]);
}

fn stored(size: u64) -> Event {
    Event::Stored { tree: tree(size), head: None }
}

fn fail(
    replica: &mut Replica,
    source: usize,
    fault: Fault,
    second: u64,
    retry: u64,
) -> Vec<Action> {
    replica.on(Event::Failed { source, fault, retry_at: now(retry) }, now(second))
}

#[test]
fn good_heads_do_not_end_the_quarantine_of_bad_batches() {
    let mut replica = replica(2);
    fail(&mut replica, 0, Fault::Refused("bad_batch"), 1, 60);

    replica.on(Event::Shown { source: 0, head: head(5, 2) }, now(2));
    assert!(replica.is_refused(0));
    assert_eq!(replica.next(now(2)), Next::Ask(1));

    accept(&mut replica, 0, head(5, 3), 3);
    assert!(!replica.is_refused(0));
    assert_eq!(replica.next(now(3)), Next::Ask(0));
}

/// A replica that is in step with a head of this size, signed and stored at this second.
fn synced(size: u64, second: u64) -> Replica {
    let mut replica = replica(1);
    accept(&mut replica, 0, head(size, second), second);
    replica.on(Event::Stored { tree: tree(size), head: Some(head(size, second)) }, now(second));
    replica
}

fn verdict(replica: &mut Replica, second: u64) -> (FollowerStatus, Option<&'static str>) {
    replica.on(Event::Tick, now(second));
    let verdict = replica.status(now(second)).verdict;
    (verdict.status, verdict.reason)
}

#[test]
fn in_step_with_a_fresh_head_is_synced_and_the_lag_is_zero() {
    let mut replica = synced(5, 100);

    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Synced, None));
    let status = replica.status(now(101));
    assert_eq!((status.lag_entries, status.lag_seconds), (Some(0), Some(0)));
    assert_eq!(replica.served().map(|head| head.size().get()), Some(5));
}

#[test]
fn nothing_known_is_behind_and_the_lag_is_null() {
    let mut replica = replica(1);

    assert_eq!(verdict(&mut replica, 1), (FollowerStatus::Behind, Some("unreachable")));
    let status = replica.status(now(1));
    assert_eq!((status.lag_entries, status.lag_seconds), (None, None));
}

#[test]
fn a_larger_head_is_syncing_while_the_size_grows_and_behind_when_it_does_not() {
    let mut replica = replica(1);
    accept(&mut replica, 0, head(1000, 100), 100);
    replica.on(stored(100), now(100));

    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Syncing, None));
    let status = replica.status(now(103));
    assert_eq!((status.lag_entries, status.lag_seconds), (Some(900), Some(3)));
    assert!(replica.served().is_none(), "no checked head is at or below size 100");
    accept(&mut replica, 0, head(1000, 111), 111);
    assert_eq!(verdict(&mut replica, 111), (FollowerStatus::Behind, None));
}

#[test]
fn the_lag_counts_from_the_first_larger_head_that_is_not_reached_yet() {
    let mut replica = replica(1);
    accept(&mut replica, 0, head(10, 100), 100);
    accept(&mut replica, 0, head(20, 105), 105);
    assert_eq!(replica.status(now(107)).lag_seconds, Some(7));

    replica.on(stored(10), now(107));

    assert_eq!(replica.status(now(107)).lag_seconds, Some(2));
    assert_eq!(replica.served().map(|head| head.size().get()), Some(10));
    assert_eq!(replica.status(now(107)).behind_since, Some(at(105)));
}

#[test]
fn silence_is_behind_after_ten_seconds_and_then_the_lag_is_unknown() {
    let mut replica = synced(5, 100);

    assert_eq!(verdict(&mut replica, 109), (FollowerStatus::Synced, None));
    assert_eq!(verdict(&mut replica, 110), (FollowerStatus::Behind, Some("unreachable")));
    assert_eq!(replica.status(now(110)).lag_seconds, None);
    assert_eq!(replica.status(now(110)).since, at(110));
}

#[test]
fn an_old_head_is_leader_stale_however_often_it_is_sent() {
    let mut replica = synced(5, 100);
    accept(&mut replica, 0, head(5, 100), 279);
    assert_eq!(verdict(&mut replica, 279), (FollowerStatus::Synced, None));
    accept(&mut replica, 0, head(5, 100), 280);
    assert_eq!(verdict(&mut replica, 280), (FollowerStatus::Behind, Some("leader_stale")));
    assert_eq!(replica.status(now(280)).lag_seconds, None);
}

#[test]
fn a_source_that_shows_less_than_was_seen_is_leader_stale() {
    let mut replica = synced(5, 100);
    replica.on(Event::Shown { source: 0, head: head(8, 101) }, now(101));
    accept(&mut replica, 0, head(5, 100), 110);
    assert_eq!(verdict(&mut replica, 110), (FollowerStatus::Syncing, None));
    accept(&mut replica, 0, head(5, 100), 112);
    assert_eq!(verdict(&mut replica, 112), (FollowerStatus::Behind, Some("leader_stale")));

    accept(&mut replica, 0, head(8, 101), 113);
    replica.on(Event::Stored { tree: tree(8), head: Some(head(8, 101)) }, now(113));
    assert_eq!(verdict(&mut replica, 113), (FollowerStatus::Synced, None));
}

#[test]
fn each_fault_has_its_status() {
    let table = [
        (Fault::RateLimited, FollowerStatus::Behind, "rate_limited", None),
        (Fault::Unreachable, FollowerStatus::Behind, "unreachable", None),
        (Fault::Lagging, FollowerStatus::Behind, "leader_stale", None),
        (Fault::HeadInFuture, FollowerStatus::Behind, "head_in_future", None),
        (Fault::Refused("bad_batch"), FollowerStatus::Error, "bad_batch", Some(Class::Transient)),
        (
            Fault::Refused("wrong_epoch"),
            FollowerStatus::Error,
            "wrong_epoch",
            Some(Class::Transient),
        ),
    ];
    for (fault, status, reason, class) in table {
        let mut replica = replica(1);
        let actions = fail(&mut replica, 0, fault, 1, 31);
        let found = replica.status(now(2));
        assert_eq!(found.verdict, Verdict { status, reason: Some(reason), class }, "{fault:?}");
        assert_eq!(found.retry_at, Some(at(31)), "{fault:?}");
        assert!(found.next_action.is_some());
        assert_eq!(actions.first(), Some(&Action::Restart), "{fault:?}");
        let observed = matches!(fault, Fault::Refused(_) | Fault::HeadInFuture);
        assert_eq!(actions.contains(&Action::Observe), observed, "{fault:?}");
    }
}

#[test]
fn a_bad_source_is_left_alone_while_another_one_keeps_the_follower_synced() {
    let mut replica = replica(2);
    assert_eq!(replica.next(now(1)), Next::Ask(0));
    fail(&mut replica, 0, Fault::Refused("bad_batch"), 1, 31);

    assert_eq!(replica.next(now(1)), Next::Ask(1));
    accept(&mut replica, 1, head(5, 1), 1);
    replica.on(stored(5), now(1));

    assert_eq!(verdict(&mut replica, 2), (FollowerStatus::Synced, None));
    let errors: Vec<_> = replica.status(now(2)).upstreams.iter().map(|up| up.error).collect();
    assert_eq!(errors, [Some("bad_batch"), None]);
    assert!(replica.probes(now(30)).is_empty());
    assert_eq!(replica.probes(now(31)), [0]);
    accept(&mut replica, 0, head(5, 31), 31);
    assert_eq!(replica.next(now(31)), Next::Ask(0), "the first one again, once it is sound");
}

#[test]
fn when_every_source_is_left_alone_the_next_one_is_waited_for() {
    let mut replica = replica(2);
    fail(&mut replica, 0, Fault::Unreachable, 1, 31);
    fail(&mut replica, 1, Fault::Unreachable, 1, 11);

    assert_eq!(replica.next(now(5)), Next::Wait(6_000));
    assert_eq!(replica.status(now(5)).retry_at, Some(at(11)));
}

#[test]
fn proof_stops_storing_at_once_latches_with_its_evidence_and_ends_with_the_operators_word() {
    let mut replica = synced(5, 100);

    assert!(replica.on(Event::Proven(Kind::ForkPrefix), now(101)).contains(&Action::Prove));
    assert_eq!(replica.next(now(101)), Next::Halted);
    let accepted = Event::Accepted { source: 0, head: head(9, 101) };
    assert_eq!(replica.on(accepted, now(101)), []);
    assert!(!replica.is_latched(), "the evidence is not durable yet");
    let stored = Event::EvidenceStored { kind: Kind::ForkPrefix, evidence: 3 };
    assert_eq!(replica.on(stored, now(102)), [Action::Report]);

    let status = replica.status(now(102));
    assert_eq!(status.verdict, Verdict::latched(Kind::ForkPrefix));
    assert_eq!((status.evidence, status.retry_at), (Some(3), None));
    assert_eq!(replica.served().map(|head| head.size().get()), Some(5));
    fail(&mut replica, 0, Fault::Unreachable, 103, 104);
    assert!(replica.is_latched(), "only the operator ends it");

    assert!(replica.on(Event::Acknowledged, now(105)).contains(&Action::Restart));
    assert_eq!(replica.next(now(105)), Next::Ask(0));
    assert_eq!(replica.newest().map(|head| head.size().get()), Some(5));
}

#[test]
fn what_does_not_stand_up_as_evidence_is_only_a_fault() {
    let mut replica = synced(5, 100);
    replica.on(Event::Proven(Kind::BadEntry), now(101));

    replica.on(Event::Unproven { source: 0, retry_at: now(131) }, now(101));

    let verdict = replica.status(now(101)).verdict;
    assert_eq!(verdict, Verdict::error("inconsistent_unproven"));
    assert_eq!(replica.next(now(131)), Next::Ask(0));
}

#[test]
fn the_own_database_and_disk_are_named_when_they_are_the_reason() {
    let mut replica = synced(5, 100);
    replica.on(Event::Held(Some(Hold::StoreUnreachable)), now(101));
    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Error, Some("log_unreachable")));
    replica.on(Event::Held(Some(Hold::Damaged)), now(101));
    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Error, Some("damaged")));
    replica.on(Event::Held(Some(Hold::DiskFull)), now(101));
    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Behind, Some("paused")));
    replica.on(Event::Held(None), now(101));
    assert_eq!(verdict(&mut replica, 101), (FollowerStatus::Synced, None));
}

#[test]
fn a_new_head_is_held_against_every_head_that_was_seen() {
    let mut replica = synced(5, 100);
    accept(&mut replica, 0, head(50, 101), 101);
    accept(&mut replica, 0, head(80, 102), 102);

    let fork = head_of(TreeRoot { hash: Hash::of(b"fork"), ..tree(50) }, 103);
    let (found, known) = replica.contradiction(&fork.signed).expect("a fork");
    assert_eq!((found, known.head().tree_size.get()), (Contradiction::ForkSameSize, 50));
    let cut = head(60, 103);
    let (found, known) = replica.contradiction(&cut.signed).expect("a truncated log");
    assert_eq!((found, known.head().tree_size.get()), (Contradiction::Truncated, 80));
    let fork = head_of(TreeRoot { hash: Hash::of(b"fork"), ..tree(80) }, 103);
    let (found, _) = replica.contradiction(&fork.signed).expect("a fork");
    assert_eq!(found, Contradiction::ForkSameSize);
    assert!(replica.contradiction(&head(90, 104).signed).is_none());
    assert!(replica.contradiction(&head(50, 101).signed).is_none());
}

#[test]
fn no_source_can_stretch_the_heartbeat_until_silence_looks_fresh() {
    let mut replica = synced(5, 100);
    replica.set_heartbeat(u64::MAX);
    accept(&mut replica, 0, head(5, 100), 100 + 1800);

    let found = verdict(&mut replica, 100 + 1800);

    assert_eq!(found, (FollowerStatus::Behind, Some("leader_stale")));
}

#[test]
fn the_rate_tells_how_long_it_will_take() {
    let mut replica = replica(1);
    accept(&mut replica, 0, head(10_000, 0), 0);
    for second in 0..=5 {
        replica.on(stored(second * 1000), now(second));
    }

    let status = replica.status(now(5));

    assert_eq!((status.entries_per_second, status.eta_seconds), (Some(1000.0), Some(5)));
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Unreachable),
        Just(Fault::RateLimited),
        Just(Fault::Lagging),
        Just(Fault::HeadInFuture),
        Just(Fault::Refused("bad_batch")),
        Just(Fault::Refused("inconsistent_unproven")),
        Just(Fault::Refused("wrong_epoch")),
    ]
}

/// Everything that can happen without proof.
fn transient() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3_usize, 1..200_u64, 0..500_u64).prop_map(|(source, size, second)| {
            Event::Accepted { source, head: head(size, second) }
        }),
        (0..200_u64).prop_map(stored),
        (0..3_usize, fault(), 0..500_u64).prop_map(|(source, fault, second)| {
            Event::Failed { source, fault, retry_at: now(second) }
        }),
        (0..3_usize, 0..500_u64)
            .prop_map(|(source, second)| Event::Unproven { source, retry_at: now(second) }),
        Just(Event::Acknowledged),
        prop::option::of(prop_oneof![
            Just(Hold::DiskFull),
            Just(Hold::StoreUnreachable),
            Just(Hold::Damaged)
        ])
        .prop_map(Event::Held),
        Just(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_transient_faults_latches_or_stops_the_asking(
        events in prop::collection::vec((transient(), 0..20_u64), 0..100),
    ) {
        let mut replica = replica(3);
        let mut second = 0;
        for (event, later) in events {
            second += later;
            let actions = replica.on(event, now(second));
            // As whoever shows the status does: what was accepted is not judged before.
            replica.on(Event::Tick, now(second));
            let status = replica.status(now(second));
            prop_assert!(!actions.contains(&Action::Prove));
            prop_assert!(status.verdict.class != Some(Class::Latched));
            prop_assert!(replica.next(now(second)) != Next::Halted);
            prop_assert!(status.evidence.is_none());
            prop_assert!(replica.seen().len() <= kept::MAX_KEPT + 1);
            if status.verdict.status == FollowerStatus::Synced {
                prop_assert_eq!(status.lag_entries, Some(0));
                prop_assert_eq!(status.lag_seconds, Some(0));
            }
            if let Some(served) = replica.served() {
                prop_assert!(status.leader_tree_size >= Some(served.size()));
            }
        }
    }
}
