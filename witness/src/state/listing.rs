//! Which logs may ask for cosignatures: lists only ever add, the operator may remove.

use std::collections::BTreeMap;
use std::fmt;

use diogenes_common::clock::Timestamp;

use super::line::Fact;
use super::standing::{Listing, LogState};
use super::{Home, StateError};
use crate::log::{LogKey, LogName};
use crate::log_list::ListedLog;

/// The most logs that are kept: the state is one file, and written whole at each step.
pub const MAX_LOGS: usize = 5000;

/// The most logs that one line of the index lists.
const MAX_PER_LINE: usize = 500;

/// Who asks that logs be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A list that somebody else keeps: it adds what is not known, and nothing else.
    List,
    /// The operator of this witness, who may also add a key and bring back a removed log.
    Operator,
}

/// What became of the logs of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The logs that may ask from now on, with all their keys.
    pub added: BTreeMap<LogName, Vec<LogKey>>,
    /// The logs for which the list was not followed.
    pub passed_over: Vec<Unlisted>,
}

/// A log for which a list was not followed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The list names another key than the one that is known: keys never change by a list.
    OtherKey(LogName),
    /// The log is watched already, and its pinned operator key is another one.
    OtherOperator(LogName),
    /// [`MAX_LOGS`] are kept already.
    NoRoom(LogName),
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKey(log) => {
                write!(f, "the list has another key for {log}, which keeps the one it had")
            }
            Self::OtherOperator(log) => {
                write!(f, "{log} is watched already, under another operator key")
            }
            Self::NoRoom(log) => write!(f, "{log} is not added: {MAX_LOGS} logs are kept already"),
        }
    }
}

/// Decides what of a list is followed.
pub(super) fn adopt(
    known: &BTreeMap<LogName, LogState>,
    listed: &[ListedLog],
    asker: Asker,
) -> Adoption {
    let mut adoption = Adoption::default();
    let mut count = known.len();
    for ListedLog { origin, key } in listed {
        let state = known.get(origin);
        let is_new = state.is_none() && !adoption.added.contains_key(origin);
        if is_new && count == MAX_LOGS {
            adoption.passed_over.push(Unlisted::NoRoom(origin.clone()));
            continue;
        }
        let before = adoption
            .added
            .get(origin)
            .or(state.and_then(LogState::listing).map(|listing| &listing.keys));
        match keys_after(state, before, key, asker) {
            Ok(None) => {}
            Ok(Some(keys)) => {
                count += usize::from(is_new);
                adoption.added.insert(origin.clone(), keys);
            }
            Err(Conflict::Key) => {
                adoption.passed_over.push(Unlisted::OtherKey(origin.clone()));
            }
            Err(Conflict::Operator) => {
                adoption.passed_over.push(Unlisted::OtherOperator(origin.clone()));
            }
        }
    }
    adoption
}

enum Conflict {
    Key,
    Operator,
}

/// The keys that a log has once this one is listed; `None` if nothing changes.
fn keys_after(
    state: Option<&LogState>,
    before: Option<&Vec<LogKey>>,
    key: &LogKey,
    asker: Asker,
) -> Result<Option<Vec<LogKey>>, Conflict> {
    let operator = state.and_then(LogState::operator_key);
    if operator.is_some_and(|operator| operator != key.vkey().key()) {
        return Err(Conflict::Operator);
    }
    let is_served = state.and_then(LogState::listing).is_none_or(|listing| listing.served);
    match before {
        None => Ok(Some(vec![key.clone()])),
        Some(keys) if keys.contains(key) => match asker {
            Asker::Operator if !is_served => Ok(Some(keys.clone())),
            _ => Ok(None),
        },
        Some(_) if asker == Asker::List || operator.is_some() => Err(Conflict::Key),
        Some(keys) => Ok(Some(keys.iter().chain([key]).cloned().collect())),
    }
}

impl Home {
    /// Lets logs ask for cosignatures.
    pub fn enlist(
        &self,
        listed: &[ListedLog],
        asker: Asker,
        now: Timestamp,
    ) -> Result<Adoption, StateError> {
        let mut whole = Adoption::default();
        for part in listed.chunks(MAX_PER_LINE) {
            self.append_if(now, |known| {
                let Adoption { added, passed_over } = adopt(known, part, asker);
                let fact = (!added.is_empty()).then(|| Fact::Listed { logs: added.clone() });
                whole.added.extend(added);
                whole.passed_over.extend(passed_over);
                fact
            })?;
        }
        Ok(whole)
    }

    /// Answers a log no longer; false if it was not answered. Its state stays for ever.
    pub fn delist(&self, log: &LogName, now: Timestamp) -> Result<bool, StateError> {
        let mut found = false;
        self.append_if(now, |known| {
            let listing = known.get(log).and_then(LogState::listing);
            found = listing.is_some_and(|listing: &Listing| listing.served);
            found.then(|| Fact::Delisted { origin: log.clone() })
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
