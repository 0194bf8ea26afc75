//! Which logs may ask, and whose turn it is: the requests of one log are worked on one by one, and
//! wait for no other log.
//!
//! Kept in memory, so that strangers cost no look at the disk. What another process lists is read
//! now and then, and at most every five seconds when somebody asks who is not known.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::pace::Pace;
use diogenes_common::note::Vkey;
use tokio::sync::Mutex;

use crate::log::LogName;
use crate::state::LogState;

/// How often strangers cause a look at the state, at most.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What the requests of one log wait for: who holds it may see and change how often it grew.
pub(super) type Turn = Arc<Mutex<Pace>>;

/// The logs that may ask.
#[derive(Debug, Default)]
pub(super) struct Turns {
    logs: RwLock<HashMap<String, Asking>>,
    /// The most requests a day that a list named for each log since the start.
    quotas: RwLock<HashMap<LogName, u32>>,
    looked: std::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct Asking {
    keys: Arc<[Vkey]>,
    turn: Turn,
}

impl Turns {
    /// The keys of a log that may ask, and its turn.
    pub(super) fn of(&self, origin: &str) -> Option<(Arc<[Vkey]>, Turn)> {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.get(origin).map(|asking| (asking.keys.clone(), asking.turn.clone()))
    }

    /// A log may ask under these keys.
    pub(super) fn know(&self, origin: &str, keys: Vec<Vkey>) {
        let mut logs = self.logs.write().unwrap_or_else(PoisonError::into_inner);
        let turn = logs.get(origin).map(|asking| asking.turn.clone()).unwrap_or_default();
        logs.insert(origin.to_owned(), Asking { keys: keys.into(), turn });
    }

    /// These logs may ask and no others.
    pub(super) fn show(&self, known: &BTreeMap<LogName, LogState>) {
        for (log, state) in known {
            if let Some(keys) = state.trusted() {
                self.know(log.as_str(), keys);
            }
        }
        let is_served =
            |log: &String| known.get(log.as_str()).is_some_and(|state| state.trusted().is_some());
        let mut logs = self.logs.write().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|log, _| is_served(log));
    }

    /// Takes up how many requests a day a list grants its logs.
    pub(super) fn grant(&self, quotas: BTreeMap<LogName, u32>) {
        let mut known = self.quotas.write().unwrap_or_else(PoisonError::into_inner);
        for (log, quota) in quotas {
            let most = known.entry(log).or_insert(quota);
            *most = quota.max(*most);
        }
    }

    /// How many requests a day a list granted a log.
    pub(super) fn quota(&self, origin: &str) -> Option<u32> {
        self.quotas.read().unwrap_or_else(PoisonError::into_inner).get(origin).copied()
    }

    /// Says whether somebody who is not known may cause a look at the state now.
    pub(super) fn may_look(&self, now: Instant) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.is_none_or(|last| now.duration_since(last) >= LOOK_UP);
        if is_due {
            *looked = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Listed;

    #[test]
    fn a_log_waits_for_itself_and_for_no_other() {
        let turns = Turns::default();
        for number in 0..300 {
            turns.know(&format!("log {number}"), Vec::new());
        }
        let turn = |number| turns.of(&format!("log {number}")).unwrap().1;

        let held = turn(0).try_lock_owned().unwrap();

        turns.know("log 0", Vec::new());
        assert!(turn(0).try_lock_owned().is_err(), "a key was added meanwhile");
        assert!((1..300).all(|number| turn(number).try_lock_owned().is_ok()));
        drop(held);
        assert!(turn(0).try_lock_owned().is_ok());
    }

    #[test]
    fn logs_that_are_listed_no_longer_are_forgotten() {
        let listed = Listed::new();
        let (turns, home) = (Turns::default(), listed.open());
        let origin = listed.history.name();
        turns.know("a log of yesterday", Vec::new());

        turns.show(&home.logs().unwrap());
        assert!(turns.of("a log of yesterday").is_none());
        assert!(turns.of(origin.as_str()).is_some());

        home.delist(&origin, crate::testing::at(300)).unwrap();
        turns.show(&home.logs().unwrap());
        assert!(turns.of(origin.as_str()).is_none());
    }

    #[test]
    fn of_two_lists_the_one_that_grants_more_counts() {
        let turns = Turns::default();
        let log: LogName = "a log".parse().unwrap();
        for quota in [5, 9, 7] {
            turns.grant(BTreeMap::from([(log.clone(), quota)]));
        }

        assert_eq!((turns.quota("a log"), turns.quota("another")), (Some(9), None));
    }

    #[test]
    fn strangers_cause_few_looks() {
        let (turns, start) = (Turns::default(), Instant::now());
        let may = |millis| turns.may_look(start + Duration::from_millis(millis));

        assert_eq!(
            [0, 10, 4999, 5000, 5001, 10_000].map(may),
            [true, false, false, true, false, true]
        );
    }
}
