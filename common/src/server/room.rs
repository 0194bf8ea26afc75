//! Memory that strangers may fill: bounded, and never theirs for longer than somebody needs it.
//!
//! What is whole is kept until it is done with. What still depends on its sender or its reader
//! gives way when there is no more room, the oldest first: who takes his time pays for it, and who
//! comes quickly finds room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// So many bytes.
#[derive(Debug)]
pub(super) struct Room(Mutex<Ledger>);

#[derive(Debug)]
struct Ledger {
    free: usize,
    next: u64,
    /// What gives way, oldest first.
    yielding: BTreeMap<u64, Yielding>,
}

#[derive(Debug)]
struct Yielding {
    bytes: usize,
    give_up: CancellationToken,
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    bytes: usize,
    /// Its place among those that give way, if it does.
    place: Option<u64>,
}

/// There is no room, or the share was given to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Room {
    /// An empty one.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Ledger { free: bytes, next: 0, yielding: BTreeMap::new() })))
    }

    /// An empty share, to grow.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { room: self.clone(), bytes: 0, place: None }
    }

    /// The bytes that nobody holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.ledger().free
    }

    /// A panic while the lock was held cannot leave a sum half written.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Takes bytes, from those who give way if need be; all or nothing.
    fn take(&mut self, bytes: usize) -> Result<(), Full> {
        let lacking = bytes.saturating_sub(self.free);
        if lacking > 0 && self.yielding.values().map(|it| it.bytes).sum::<usize>() < lacking {
            return Err(Full);
        }
        while self.free < bytes {
            let (_, oldest) = self.yielding.pop_first().ok_or(Full)?;
            oldest.give_up.cancel();
            self.free += oldest.bytes;
        }
        self.free -= bytes;
        Ok(())
    }
}

impl Share {
    /// Grows to so many bytes in all, which are kept from now on.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), Full> {
        let room = self.room.clone();
        let mut ledger = room.ledger();
        self.firm(&mut ledger)?;
        self.grow(&mut ledger, bytes)
    }

    /// Grows to so many bytes in all, which give way when others need them: `give_up` is
    /// cancelled then.
    pub(super) fn lend(&mut self, bytes: usize, give_up: &CancellationToken) -> Result<(), Full> {
        let room = self.room.clone();
        let mut ledger = room.ledger();
        let place = self.place;
        self.firm(&mut ledger)?;
        self.grow(&mut ledger, bytes)?;
        // Growing makes nobody younger.
        let place = place.unwrap_or_else(|| {
            ledger.next += 1;
            ledger.next
        });
        self.place = Some(place);
        let give_up = give_up.clone();
        ledger.yielding.insert(place, Yielding { bytes: self.bytes, give_up });
        Ok(())
    }

    fn firm(&mut self, ledger: &mut Ledger) -> Result<(), Full> {
        let Some(place) = self.place.take() else { return Ok(()) };
        if ledger.yielding.remove(&place).is_none() {
            self.bytes = 0;
            return Err(Full);
        }
        Ok(())
    }

    fn grow(&mut self, ledger: &mut Ledger, bytes: usize) -> Result<(), Full> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            ledger.take(more)?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut ledger = self.room.ledger();
        let is_held = self.place.is_none_or(|place| ledger.yielding.remove(&place).is_some());
        if is_held {
            ledger.free += self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(room: &Arc<Room>, bytes: usize) -> (Share, CancellationToken) {
        let (mut share, token) = (room.share(), CancellationToken::new());
        share.lend(bytes, &token).unwrap();
        (share, token)
    }

    fn kept(room: &Arc<Room>, bytes: usize) -> Result<Share, Full> {
        let mut share = room.share();
        share.keep(bytes).map(|()| share)
    }

    #[test]
    fn what_is_kept_is_given_back_when_it_is_dropped() {
        let room = Room::new(10);

        let share = kept(&room, 6).unwrap();
        assert!(kept(&room, 5).is_err());
        assert_eq!(room.free(), 4, "all or nothing");
        drop(share);
        assert_eq!(room.free(), 10);
    }

    #[test]
    fn the_oldest_that_may_give_way_does() {
        let room = Room::new(10);
        let ((mut first, one), (second, two)) = (lent(&room, 4), lent(&room, 4));
        first.lend(5, &one).unwrap();

        let newcomer = kept(&room, 3).unwrap();

        assert!(one.is_cancelled() && !two.is_cancelled(), "growing made it no younger");
        assert_eq!(first.lend(6, &one), Err(Full), "it is somebody else's");
        drop((first, second, newcomer));
        assert_eq!(room.free(), 10);
    }

    #[test]
    fn what_became_whole_does_not_give_way_any_more() {
        let room = Room::new(10);
        let (mut share, token) = lent(&room, 6);
        share.keep(8).unwrap();

        assert!(kept(&room, 3).is_err());

        assert!(!token.is_cancelled());
        drop(share);
        assert_eq!(room.free(), 10);
    }

    #[test]
    fn nobody_gives_way_in_vain() {
        let room = Room::new(10);
        let (_share, token) = lent(&room, 4);

        assert!(kept(&room, 11).is_err());
        assert!(!token.is_cancelled());
    }
}
