use diogenes_common::client::Refused;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + seconds * 1000).expect("a time")
}

fn answered(status: u16) -> Answered {
    Answered { status, retry_after: None }
}

fn asking(status: u16, seconds: u64) -> Answered {
    Answered { status, retry_after: Some(Duration::from_secs(seconds)) }
}

const NOBODY: Outcome = Err(Undelivered::Network(NetworkFault::Connect));

#[test]
fn only_2xx_is_a_delivery() {
    for (status, expected) in
        [(200, true), (204, true), (299, true), (199, false), (301, false), (307, false)]
    {
        let verdict = decide(&Ok(answered(status)), 0, at(0), at(0), 0);
        assert_eq!(verdict == Verdict::Delivered, expected, "{status}");
        assert_eq!(fault(&Ok(answered(status))).is_none(), expected, "{status}");
    }
    assert_eq!(decide(&NOBODY, 0, at(0), at(0), 0), Verdict::Again(at(5)));
}

#[test]
fn a_message_is_tried_for_five_days_ever_more_slowly() {
    let (mut now, mut waits) = (at(0), Vec::new());
    for attempts in 0.. {
        match decide(&NOBODY, attempts, at(0), now, 0) {
            Verdict::Again(next) => {
                waits.push(next.millis_since(now) / 1000);
                now = next;
            }
            Verdict::GivenUp => break,
            Verdict::Delivered => panic!("nobody took it"),
        }
    }

    let hours = |hours: i64| hours * 3600;
    let expected: Vec<_> =
        [5, 300, 1800].into_iter().chain([2, 5, 10, 14, 20, 24, 24].map(hours)).collect();
    assert_eq!(waits, expected);
    assert!(now.millis_since(at(0)) <= LONGEST_MILLIS);
}

#[test]
fn chance_makes_waits_longer_by_up_to_a_tenth() {
    let wait = |chance| match decide(&NOBODY, 1, at(0), at(0), chance) {
        Verdict::Again(next) => next.millis_since(at(0)),
        other => panic!("{other:?}"),
    };

    assert_eq!(wait(0), 300_000);
    assert!((314_900..=315_100).contains(&wait(u16::MAX / 2)), "{}", wait(u16::MAX / 2));
    assert_eq!(wait(u16::MAX), 330_000);
}

#[test]
fn one_success_ends_a_failure() {
    let failed = stand(None, &[NOBODY, Ok(answered(500))], at(0));
    assert_eq!(failed.failing_since, Some(at(0)));
    assert_eq!(stand(failed.failing_since, &[NOBODY], at(60)).failing_since, Some(at(0)));
    let mended = stand(failed.failing_since, &[NOBODY, Ok(answered(200))], at(60));
    let expected =
        Standing { state: WebhookState::Active, failing_since: None, paused_until: at(60) };
    assert_eq!(mended, expected);
}

#[test]
fn what_fails_is_probed_for_more_slowly_the_longer_it_lasts() {
    for (since, pause) in [(0, 5), (30, 5), (100, 10), (36_000, 3600), (400_000, 3600)] {
        let standing = stand(Some(at(0)), &[NOBODY], at(since));
        assert_eq!(standing.paused_until, at(since + pause), "after {since} s");
    }
}

#[test]
fn a_webhook_is_turned_off_by_410_and_after_five_days() {
    let state =
        |since: Option<Timestamp>, outcomes: &[Outcome], now| stand(since, outcomes, now).state;
    let five_days = LONGEST_MILLIS / 1000;

    assert_eq!(state(None, &[Ok(answered(410))], at(0)), WebhookState::Gone);
    assert_eq!(state(None, &[Ok(answered(200)), Ok(answered(410))], at(0)), WebhookState::Gone);
    assert_eq!(state(Some(at(0)), &[NOBODY], at(five_days - 1)), WebhookState::Active);
    assert_eq!(state(Some(at(0)), &[NOBODY], at(five_days)), WebhookState::Failing);
    assert_eq!(state(Some(at(0)), &[Ok(answered(200))], at(five_days)), WebhookState::Active);
}

#[test]
fn who_throttles_is_left_alone_within_reason() {
    for (outcome, pause) in [
        (Ok(asking(429, 90)), 90),
        (Ok(asking(502, 90)), 90),
        (Ok(asking(503, 90)), 90),
        (Ok(asking(504, 90)), 90),
        (Ok(asking(429, 1)), 5),
        (Ok(asking(429, 1 << 40)), 3600),
        (Ok(answered(429)), 60),
        // Only those four may ask for it.
        (Ok(asking(500, 90)), 5),
    ] {
        assert_eq!(stand(None, &[outcome], at(0)).paused_until, at(pause), "{outcome:?}");
    }
    // Also while others get through.
    assert_eq!(stand(None, &[Ok(answered(200)), Ok(asking(429, 90))], at(0)).paused_until, at(90));
    assert_eq!(stand(None, &[Ok(answered(200))], at(0)).paused_until, at(0));
}

#[test]
fn the_log_names_what_went_wrong() {
    for (outcome, expected) in [
        (Ok(answered(404)), DeliveryFault::Status),
        (Err(Undelivered::Refused(Refused::NotPublic)), DeliveryFault::AddressRefused),
        (NOBODY, DeliveryFault::Connect),
        (Err(Undelivered::Network(NetworkFault::Timeout)), DeliveryFault::Timeout),
        (Err(Undelivered::Network(NetworkFault::Broken)), DeliveryFault::Broken),
    ] {
        assert_eq!(fault(&outcome), Some(expected));
    }
}
