//! Challenges, passwords and the keys that sign in the newer form.

use diogenes_common::clock::Timestamp;
use diogenes_common::event::authorization::{ChallengeText, Purpose};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::store::ChallengeRow;
use tokio::task::JoinSet;

use super::harness::{Database, START, at, on_both};

on_both!(
    a_challenge_is_used_once_and_in_time,
    of_many_that_use_a_challenge_at_once_one_wins,
    a_challenge_is_forgotten_ten_minutes_after_it_expired,
    a_password_is_replaced_only_by_who_knew_the_last_one,
    a_key_that_signed_in_the_newer_form_is_remembered,
);

fn key(n: u8) -> Fingerprint {
    Fingerprint::new(Hash::of(&[n]))
}

fn text(text: &str) -> ChallengeText {
    text.to_owned().try_into().unwrap()
}

fn challenge(name: &str, expires_at: i64) -> ChallengeRow {
    ChallengeRow {
        challenge_id: text(name),
        nonce: text(&format!("nonce-of-{name}")),
        fingerprint: key(1),
        purpose: Purpose::Login,
        recovery: true,
        expires_at: at(expires_at),
        used_at: None,
    }
}

async fn a_challenge_is_used_once_and_in_time(database: Database) {
    let store = database.open().await;
    let (first, late) = (challenge("first", START + 1), challenge("late", START));
    store.put_challenge(&first).await.unwrap();
    store.put_challenge(&late).await.unwrap();

    assert_eq!(store.challenge(&text("first")).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.challenge(&text("other")).await, Ok(None));
    assert_eq!(store.use_challenge(&text("first"), at(START)).await, Ok(true));
    assert_eq!(store.use_challenge(&text("first"), at(START)).await, Ok(false));
    // Not even after the clock was set back.
    assert_eq!(store.use_challenge(&text("first"), at(0)).await, Ok(false));
    assert_eq!(store.use_challenge(&text("late"), at(START)).await, Ok(false));
    assert_eq!(store.use_challenge(&text("other"), at(START)).await, Ok(false));
    let used_at = |row: ChallengeRow| row.used_at;
    let used = store.challenge(&text("first")).await.unwrap().and_then(used_at);
    assert_eq!(used, Timestamp::from_millis(START));
    assert_eq!(store.challenge(&text("late")).await.unwrap().and_then(used_at), None);
}

async fn of_many_that_use_a_challenge_at_once_one_wins(database: Database) {
    let store = database.open().await;
    store.put_challenge(&challenge("one", START + 1)).await.unwrap();
    let mut uses = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        uses.spawn(async move { store.use_challenge(&text("one"), at(START)).await.unwrap() });
    }

    let won = uses.join_all().await.into_iter().filter(|won| *won).count();

    assert_eq!(won, 1);
}

async fn a_challenge_is_forgotten_ten_minutes_after_it_expired(database: Database) {
    const LATER: i64 = 600_000;
    let store = database.open().await;
    for (name, expires_at) in [("used", START), ("unused", START), ("later", START + 1)] {
        store.put_challenge(&challenge(name, expires_at)).await.unwrap();
    }
    assert_eq!(store.use_challenge(&text("used"), at(START - 1)).await, Ok(true));

    assert_eq!(store.expire_challenges(at(START + LATER - 1)).await, Ok(0));
    assert_eq!(store.challenges().await, Ok(3));
    assert_eq!(store.expire_challenges(at(START + LATER)).await, Ok(2));
    assert_eq!(store.challenges().await, Ok(1));
    assert!(store.challenge(&text("later")).await.unwrap().is_some());
}

async fn a_password_is_replaced_only_by_who_knew_the_last_one(database: Database) {
    let store = database.open().await;
    let set = async |n, hash, current| {
        store.set_password(&key(n), hash, current, at(START)).await.unwrap()
    };

    assert_eq!(store.password_hash(&key(1)).await, Ok(None));
    assert!(!set(1, "first", Some("none")).await);
    assert!(set(1, "first", None).await);
    assert!(!set(1, "second", None).await);
    assert!(!set(1, "second", Some("other")).await);
    assert_eq!(store.password_hash(&key(1)).await, Ok(Some("first".to_owned())));
    assert!(set(1, "second", Some("first")).await);
    assert!(!set(1, "third", Some("first")).await);
    assert_eq!(store.password_hash(&key(1)).await, Ok(Some("second".to_owned())));
    assert_eq!(store.password_hash(&key(2)).await, Ok(None));
}

async fn a_key_that_signed_in_the_newer_form_is_remembered(database: Database) {
    let store = database.open().await;

    assert_eq!(store.is_v1_key(&key(1)).await, Ok(false));
    store.note_v1_key(&key(1)).await.unwrap();
    store.note_v1_key(&key(1)).await.unwrap();
    assert_eq!(store.is_v1_key(&key(1)).await, Ok(true));
    assert_eq!(store.is_v1_key(&key(2)).await, Ok(false));
}
