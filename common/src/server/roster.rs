//! Who is connected, and who leaves when every place is taken and somebody else comes.
//!
//! A newcomer never waits behind those who fill the places: the address with the most connections
//! gives one up. Of those, the one that has waited the longest for a request goes first, and only
//! if none waits, the one that has been answered the longest. So who holds few connections keeps
//! them, however many others want all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::limits::Network;

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Roster {
    places: usize,
    seats: Mutex<Seats>,
}

/// How an address is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Its connections at once.
    pub(super) limit: usize,
    /// Whether it speaks for many, so that none of its requests is cut for somebody else's.
    pub(super) is_proxy: bool,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    roster: Arc<Roster>,
    network: Network,
    /// Since when it has been what it is: its place in one of the two lines of its group.
    since: AtomicU64,
    leave: CancellationToken,
}

/// A request is being answered as long as this lives.
#[derive(Debug)]
pub(super) struct Working(Arc<Seat>);

/// A clock that only orders: each change of a seat is later than the one before it.
#[derive(Debug, Default)]
struct Seats {
    now: u64,
    taken: usize,
    groups: HashMap<Network, Group>,
    ranking: BTreeSet<Rank>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Group {
    waiting: BTreeMap<u64, CancellationToken>,
    working: BTreeMap<u64, CancellationToken>,
    is_proxy: bool,
}

/// The highest is the first to give up a seat: the most seats, then the longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    seats: usize,
    waiting_since: Reverse<u64>,
    network: Network,
}

impl Roster {
    /// So many places.
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, seats: Mutex::default() })
    }

    /// Seats a connection, in somebody else's place if need be; `None` if it has to be refused.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, terms: Terms) -> Option<Arc<Seat>> {
        let network = Network::of(address);
        let leave = CancellationToken::new();
        let mut seats = self.seats();
        if seats.held_by(network) >= terms.limit {
            return None;
        }
        if seats.taken >= self.places {
            seats.make_room(network)?.cancel();
        }
        seats.taken += 1;
        let since = seats.tick();
        seats.change(network, |group| {
            group.is_proxy = terms.is_proxy;
            group.waiting.insert(since, leave.clone());
        });
        let since = AtomicU64::new(since);
        Some(Arc::new(Seat { roster: self.clone(), network, since, leave }))
    }

    /// A panic while the lock was held cannot leave a change half made.
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Cancelled when the seat is somebody else's: the connection has to end.
    pub(super) fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    /// Notes that a request is being answered.
    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.pass(|group, since| group.waiting.remove(&since), |group| &mut group.working);
        Working(self.clone())
    }

    /// Moves the seat to the end of another line of its group, unless it was given up.
    fn pass(
        &self,
        from: impl FnOnce(&mut Group, u64) -> Option<CancellationToken>,
        to: impl FnOnce(&mut Group) -> &mut BTreeMap<u64, CancellationToken>,
    ) {
        let mut seats = self.roster.seats();
        let now = seats.tick();
        seats.change(self.network, |group| {
            if let Some(leave) = from(group, self.since.load(Ordering::Relaxed)) {
                to(group).insert(now, leave);
                self.since.store(now, Ordering::Relaxed);
            }
        });
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.pass(|group, since| group.working.remove(&since), |group| &mut group.waiting);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.roster.seats();
        let since = self.since.load(Ordering::Relaxed);
        let left = seats.change(self.network, |group| {
            group.waiting.remove(&since).or_else(|| group.working.remove(&since))
        });
        if left.is_some() {
            seats.taken -= 1;
        }
    }
}

impl Seats {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn held_by(&self, network: Network) -> usize {
        self.groups.get(&network).map_or(0, Group::len)
    }

    /// Takes a seat from whoever has the most, for a newcomer of this address.
    fn make_room(&mut self, newcomer: Network) -> Option<CancellationToken> {
        let greediest = *self.ranking.last()?;
        let own = self.held_by(newcomer);
        let loser = if own >= greediest.seats { newcomer } else { greediest.network };
        // Nobody's request is cut so that somebody with as many may have it answered.
        let may_cut = loser != newcomer && own + 1 < greediest.seats;
        let left = self.change(loser, |group| {
            let waited_longest = group.waiting.pop_first();
            let cut = |group: &mut Group| {
                (may_cut && !group.is_proxy).then(|| group.working.pop_first()).flatten()
            };
            waited_longest.or_else(|| cut(group))
        });
        self.taken -= usize::from(left.is_some());
        left.map(|(_, leave)| leave)
    }

    /// Changes the group of an address, and its rank with it.
    fn change<T>(&mut self, network: Network, change: impl FnOnce(&mut Group) -> T) -> T {
        let group = self.groups.entry(network).or_default();
        self.ranking.remove(&group.rank(network));
        let outcome = change(group);
        if group.len() == 0 {
            self.groups.remove(&network);
        } else {
            self.ranking.insert(group.rank(network));
        }
        outcome
    }
}

impl Group {
    fn len(&self) -> usize {
        self.waiting.len() + self.working.len()
    }

    fn rank(&self, network: Network) -> Rank {
        let oldest = self.waiting.first_key_value().map_or(u64::MAX, |(since, _)| *since);
        Rank { seats: self.len(), waiting_since: Reverse(oldest), network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { limit: usize::MAX, is_proxy: false };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn enter(roster: &Arc<Roster>, address: &str) -> Option<Arc<Seat>> {
        roster.enter(ip(address), TERMS)
    }

    fn gone(seat: &Seat) -> bool {
        seat.leave().is_cancelled()
    }

    #[test]
    fn an_address_has_only_so_many_connections() {
        let roster = Roster::new(100);
        let one = Terms { limit: 1, is_proxy: false };

        let first = roster.enter(ip("2001:db8::1"), one).unwrap();
        assert!(roster.enter(ip("2001:db8::2"), one).is_none(), "the same network");
        assert!(roster.enter(ip("192.0.2.1"), one).is_some());
        drop(first);
        assert!(roster.enter(ip("2001:db8::2"), one).is_some());
        let seats = roster.seats();
        assert!(seats.groups.is_empty() && seats.ranking.is_empty() && seats.taken == 0);
    }

    #[test]
    fn who_has_the_most_gives_up_what_waited_the_longest() {
        let roster = Roster::new(4);
        let few = enter(&roster, "192.0.2.1").unwrap();
        let many = [(); 3].map(|()| enter(&roster, "192.0.2.2").unwrap());
        let answered = many[0].work();
        drop(answered);

        let newcomer = enter(&roster, "192.0.2.3").unwrap();

        assert_eq!(many.each_ref().map(|seat| gone(seat)), [false, true, false]);
        assert!(!gone(&few) && !gone(&newcomer));
        assert_eq!(roster.seats().taken, 4);
        drop(many);
        assert_eq!(roster.seats().taken, 2, "a seat that was given up is not given back twice");
    }

    #[test]
    fn a_request_is_cut_only_where_nothing_waits_and_for_who_has_fewer() {
        let roster = Roster::new(3);
        let many = [(); 3].map(|()| enter(&roster, "192.0.2.2").unwrap());
        let working = many.each_ref().map(Seat::work);

        assert!(enter(&roster, "192.0.2.2").is_none(), "it may not crowd out its own requests");
        let newcomer = enter(&roster, "192.0.2.3").unwrap();
        let work = newcomer.work();
        assert_eq!(many.each_ref().map(|seat| gone(seat)), [true, false, false]);
        assert!(enter(&roster, "192.0.2.3").is_none(), "that would be as many as the other has");
        drop((working, work));
        assert!(enter(&roster, "192.0.2.3").is_some(), "now one waits");
    }

    #[test]
    fn a_proxys_requests_are_not_cut_but_its_idle_connections_are() {
        let roster = Roster::new(2);
        let proxy = Terms { is_proxy: true, ..TERMS };
        let seats = [(); 2].map(|()| roster.enter(ip("192.0.2.9"), proxy).unwrap());
        let working = seats.each_ref().map(Seat::work);

        assert!(enter(&roster, "192.0.2.1").is_none());
        drop(working);
        assert!(enter(&roster, "192.0.2.1").is_some());
        assert!(gone(&seats[0]) || gone(&seats[1]));
    }

    #[test]
    fn of_equals_the_one_that_waited_the_longest_leaves() {
        let roster = Roster::new(3);
        let seats = ["192.0.2.3", "192.0.2.9", "192.0.2.6"].map(|it| enter(&roster, it).unwrap());
        drop(seats[0].work());

        let newcomer = enter(&roster, "192.0.2.1");

        assert!(newcomer.is_some());
        assert_eq!(seats.each_ref().map(|seat| gone(seat)), [false, true, false]);
    }
}
