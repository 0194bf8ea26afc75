//! What reads found damaged, for whoever repairs it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Store;
use super::error::StoreError;
use crate::merkle::TileId;

/// How many places are remembered at once: a scrub finds the others by itself.
const MOST: usize = 64;

/// The parts of the tree in which a read found damage.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    places: Mutex<BTreeSet<TileId>>,
    noted: Notify,
}

impl Suspects {
    /// Remembers where an error says that the log is damaged, and passes it on.
    pub(super) fn noted(&self, error: StoreError) -> StoreError {
        let place = match error {
            StoreError::Corrupt { id } => {
                TileId { level: 0, index: id.saturating_sub(1) / TileId::WIDTH as u64 }
            }
            StoreError::CorruptTile { level, index } => TileId { level, index },
            _ => return error,
        };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() < MOST {
            places.insert(place);
        }
        drop(places);
        self.noted.notify_one();
        error
    }

    fn take(&self) -> Option<TileId> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }
}

impl Store {
    pub(super) fn suspects(&self) -> &Suspects {
        &self.0.suspects
    }

    /// Waits until a read finds damage; answers the tile that is damaged, or whose entries are.
    pub async fn suspected(&self) -> TileId {
        loop {
            let noted = self.0.suspects.noted.notified();
            if let Some(place) = self.0.suspects.take() {
                return place;
            }
            noted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_damaged_is_remembered_once_and_not_without_end() {
        let suspects = Suspects::default();
        for id in [257, 256, 300] {
            suspects.noted(StoreError::Corrupt { id });
        }
        suspects.noted(StoreError::CorruptTile { level: 1, index: 7 });
        suspects.noted(StoreError::Locked);
        let expected = [(0, 0), (0, 1), (1, 7)].map(|(level, index)| TileId { level, index });
        assert_eq!(std::iter::from_fn(|| suspects.take()).collect::<Vec<_>>(), expected);

        for index in 0..1_000 {
            suspects.noted(StoreError::CorruptTile { level: 0, index });
        }
        assert_eq!(std::iter::from_fn(|| suspects.take()).count(), MOST);
    }
}
