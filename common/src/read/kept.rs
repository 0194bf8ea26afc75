//! Answers that are kept for a while, and that equal requests made at once share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

/// An answer as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// Its entity tag.
    pub(super) tag: String,
}

/// Answers by what was asked.
///
/// While one is being made, whoever asks the same waits for it; if its maker gives up, another one
/// makes it. What is too old goes first, and then the oldest until the rest fits.
#[derive(Debug)]
pub(super) struct Kept<K> {
    ttl_millis: i64,
    most_bytes: usize,
    slots: Mutex<HashMap<K, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    asked_at: i64,
    answer: OnceCell<Answer>,
}

impl Slot {
    /// Whether its answer is being made: who waits for it holds on to the slot.
    fn is_awaited(self: &Arc<Self>) -> bool {
        self.answer.get().is_none() && Arc::strong_count(self) > 1
    }

    fn bytes(&self) -> usize {
        self.answer.get().map_or(0, |answer| answer.body.len()) + OVERHEAD
    }
}

/// What a kept answer takes beside its text: the longest question above all.
const OVERHEAD: usize = 16 << 10;

impl<K: Clone + Eq + Hash> Kept<K> {
    pub(super) fn new(ttl_millis: i64, most_bytes: usize) -> Self {
        Self { ttl_millis, most_bytes, slots: Mutex::default() }
    }

    /// The answer to a question that is asked at an instant of the steady clock: a kept one, or one
    /// that is made now. Errors are not kept.
    pub(super) async fn answer<E>(
        &self,
        key: K,
        now: i64,
        make: impl Future<Output = Result<Answer, E>>,
    ) -> Result<Answer, E> {
        let slot = self.slot(&key, now);
        let made = slot.answer.get_or_try_init(|| make).await.cloned();
        let is_done = made.is_err() || self.ttl_millis == 0;
        let mut slots = self.slots();
        if is_done && slots.get(&key).is_some_and(|kept| Arc::ptr_eq(kept, &slot)) {
            slots.remove(&key);
        }
        drop(slot);
        self.shrink(&mut slots);
        made
    }

    fn slot(&self, key: &K, now: i64) -> Arc<Slot> {
        let mut slots = self.slots();
        slots.retain(|_, slot| now - slot.asked_at < self.ttl_millis || slot.is_awaited());
        let fresh = || Arc::new(Slot { asked_at: now, answer: OnceCell::new() });
        slots.entry(key.clone()).or_insert_with(fresh).clone()
    }

    fn shrink(&self, slots: &mut HashMap<K, Arc<Slot>>) {
        let mut bytes: usize = slots.values().map(|slot| slot.bytes()).sum();
        while bytes > self.most_bytes {
            let idle = slots.iter().filter(|(_, slot)| !slot.is_awaited());
            let Some((key, slot)) = idle.min_by_key(|(_, slot)| slot.asked_at) else { return };
            bytes -= slot.bytes();
            let key = key.clone();
            slots.remove(&key);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    fn answer(body: &'static [u8]) -> Answer {
        Answer { body: Bytes::from_static(body), tag: String::new() }
    }

    /// Says how often it was asked.
    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Counter {
        fn made(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }

        async fn ask(&self, kept: &Kept<&'static str>, key: &'static str, now: i64) -> Answer {
            let make = async {
                self.0.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(answer(&[7; 100]))
            };
            kept.answer(key, now, make).await.unwrap()
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_its_time_and_no_longer() {
        let (kept, counter) = (Kept::new(1_000, 1_000_000), Counter::default());
        for (now, made) in [(0, 1), (999, 1), (1_000, 2), (1_999, 2)] {
            counter.ask(&kept, "a", now).await;
            assert_eq!(counter.made(), made, "at {now}");
        }
        counter.ask(&kept, "b", 1_999).await;
        assert_eq!(counter.made(), 3, "another question");
    }

    #[tokio::test]
    async fn equal_questions_at_once_are_answered_once() {
        for ttl in [0, 1_000] {
            let (kept, counter) = (Kept::new(ttl, 1_000_000), Counter::default());
            let asked = (0..8).map(|_| counter.ask(&kept, "a", 0));
            let answers = futures_util::future::join_all(asked).await;
            assert_eq!((answers.len(), counter.made()), (8, 1));
        }
    }

    #[tokio::test]
    async fn without_time_nothing_is_kept() {
        let (kept, counter) = (Kept::new(0, 1_000_000), Counter::default());
        counter.ask(&kept, "a", 0).await;
        counter.ask(&kept, "a", 0).await;
        assert_eq!(counter.made(), 2);
        assert!(kept.slots().is_empty());
    }

    #[tokio::test]
    async fn beyond_its_bytes_the_oldest_answers_go() {
        let (kept, counter) = (Kept::new(1_000, 2 * (OVERHEAD + 100)), Counter::default());
        for (now, key) in [(0, "a"), (1, "b"), (2, "c")] {
            counter.ask(&kept, key, now).await;
        }
        counter.ask(&kept, "b", 3).await;
        counter.ask(&kept, "c", 3).await;
        assert_eq!(counter.made(), 3);
        counter.ask(&kept, "a", 3).await;
        assert_eq!(counter.made(), 4);

        let (small, counter) = (Kept::new(1_000, 100), Counter::default());
        assert_eq!(counter.ask(&small, "a", 0).await.body.len(), 100, "still an answer");
        assert!(small.slots().is_empty());
    }

    #[tokio::test]
    async fn errors_are_not_kept() {
        let kept = Kept::new(1_000, 1_000_000);
        let failed = kept.answer("a", 0, async { Err::<Answer, _>("no") }).await;
        assert_eq!(failed, Err("no"));
        let made = kept.answer("a", 0, async { Ok::<_, &str>(answer(b"x")) }).await;
        assert_eq!(made, Ok(answer(b"x")));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_question_to_others() {
        let (kept, counter) = (Kept::new(1_000, 1_000_000), Counter::default());
        let never = async {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(answer(b""))
        };
        let gone = Box::pin(kept.answer("a", 0, never));
        assert!(gone.now_or_never().is_none());
        counter.ask(&kept, "a", 1).await;
        assert_eq!(counter.made(), 1);
    }
}
