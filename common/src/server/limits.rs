//! How many requests an address may send: classes of routes, counted by `governor`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tower::{Layer, Service};

use super::Caller;
use super::problem::{Code, Problem};
use crate::config::{
    RATE_LIMIT_API_QUERY, RATE_LIMIT_ATTESTATION_EVENT, RATE_LIMIT_ENDORSEMENT_OFFER,
    RATE_LIMIT_FEDERATION, RATE_LIMIT_KEY_REGISTRATION, RATE_LIMIT_LOG_READ, Settings,
};
use crate::exit::Failure;
use crate::reload::{Prepared, Reloadable};

/// Which limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads of the log, per minute.
    Log,
    /// Proofs, reports and profiles, per minute.
    Federation,
    /// Everything else, per minute.
    Query,
    /// Key registrations, per event and hour.
    KeyRegistration,
    /// Endorsement offers, per event and day.
    EndorsementOffer,
    /// Attestations, per event and hour.
    AttestationEvent,
}

impl Class {
    const ALL: [Self; 6] = [
        Self::Log,
        Self::Federation,
        Self::Query,
        Self::KeyRegistration,
        Self::EndorsementOffer,
        Self::AttestationEvent,
    ];

    /// The class as headers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Federation => "federation",
            Self::Query => "query",
            Self::KeyRegistration => "key-registration",
            Self::EndorsementOffer => "endorsement-offer",
            Self::AttestationEvent => "attestation-event",
        }
    }

    const fn window(self) -> Duration {
        Duration::from_secs(match self {
            Self::Log | Self::Federation | Self::Query => 60,
            Self::KeyRegistration | Self::AttestationEvent => 3_600,
            Self::EndorsementOffer => 86_400,
        })
    }
}

/// Counts requests by class and client address. Clones share the counts.
#[derive(Clone)]
pub struct Limiter(Arc<Shared>);

/// Says whether a request is never limited: it carries the operator's token.
type Exempt = dyn Fn(&HeaderMap) -> bool + Send + Sync;

struct Shared {
    exempt: Box<Exempt>,
    classes: RwLock<Arc<Classes>>,
    room: usize,
}

/// The limits and what was counted under them: exchanged as a whole, because a counter knows times
/// only from its own beginning.
struct Classes {
    limits: [u32; 6],
    counters: [Option<Counter>; 6],
    store: Arc<Store>,
}

struct Counter {
    governor: RateLimiter<Key, Counted, DefaultClock, StateInformationMiddleware>,
    class: Class,
    limit: u32,
    told: Told,
}

/// What headers say of a limit whoever asks; clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    limit: HeaderValue,
    policy: HeaderValue,
}

/// What a limit says about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    class: Class,
    limit: u32,
    remaining: u32,
    reset: u64,
    allowed: bool,
    told: Told,
}

impl Limiter {
    /// The limits of the settings; `exempt` recognises the operator's token.
    pub fn from_settings(
        settings: &Settings,
        exempt: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(limits(settings), MAX_ADDRESSES, exempt)
    }

    /// No limits: for what only looks at the routes.
    pub fn unlimited() -> Self {
        Self::new([0; 6], 0, |_| true)
    }

    fn new(
        limits: [u32; 6],
        room: usize,
        exempt: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        let classes = RwLock::new(Arc::new(Classes::new(limits, room)));
        Self(Arc::new(Shared { exempt: Box::new(exempt), classes, room }))
    }

    fn classes(&self) -> Arc<Classes> {
        self.0.classes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A layer for the routes of one class: counts, refuses with 429, and adds the headers.
    pub fn layer(&self, class: Class) -> LimitLayer {
        LimitLayer { limiter: self.clone(), class }
    }

    /// Counts `events` of a class at once, all or none.
    ///
    /// For limits that count events, whichever route they come through; the caller decides who is
    /// exempt.
    pub fn take(&self, class: Class, client: IpAddr, events: u32) -> Result<(), Problem> {
        match self.count(class, client, events) {
            Some(verdict) if !verdict.allowed => Err(verdict.refusal()),
            _ => Ok(()),
        }
    }

    /// Counts events of a request, unless requests with such headers are never limited.
    pub fn take_unless_exempt(
        &self,
        class: Class,
        client: IpAddr,
        events: u32,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        if (self.0.exempt)(headers) { Ok(()) } else { self.take(class, client, events) }
    }

    fn count(&self, class: Class, client: IpAddr, events: u32) -> Option<Verdict> {
        let classes = self.classes();
        let counter = classes.counters.iter().flatten().find(|counter| counter.class == class)?;
        let verdict = counter.count(client, NonZeroU32::new(events)?);
        if classes.store.is_crowded.swap(false, Ordering::Relaxed) {
            counter.governor.retain_recent();
        }
        Some(verdict)
    }
}

/// The limit of each class, in their order.
fn limits(settings: &Settings) -> [u32; 6] {
    Class::ALL.map(|class| match class {
        Class::Log => settings.value(&RATE_LIMIT_LOG_READ),
        Class::Federation => settings.value(&RATE_LIMIT_FEDERATION),
        Class::Query => settings.value(&RATE_LIMIT_API_QUERY),
        Class::KeyRegistration => settings.value(&RATE_LIMIT_KEY_REGISTRATION),
        Class::EndorsementOffer => settings.value(&RATE_LIMIT_ENDORSEMENT_OFFER),
        Class::AttestationEvent => settings.value(&RATE_LIMIT_ATTESTATION_EVENT),
    })
}

impl Classes {
    fn new(limits: [u32; 6], room: usize) -> Self {
        let store = Arc::new(Store::with_room(room));
        let counters = std::array::from_fn(|i| {
            NonZeroU32::new(limits[i]).map(|limit| Counter::new(Class::ALL[i], limit, &store))
        });
        Self { limits, counters, store }
    }
}

impl Reloadable for Limiter {
    fn takes(&self) -> &'static [&'static str] {
        const {
            &[
                RATE_LIMIT_LOG_READ.row().name,
                RATE_LIMIT_FEDERATION.row().name,
                RATE_LIMIT_API_QUERY.row().name,
                RATE_LIMIT_KEY_REGISTRATION.row().name,
                RATE_LIMIT_ENDORSEMENT_OFFER.row().name,
                RATE_LIMIT_ATTESTATION_EVENT.row().name,
            ]
        }
    }

    fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure> {
        let (shared, limits) = (self.0.clone(), limits(settings));
        let is_same = self.classes().limits == limits;
        Ok(Prepared::new(move || {
            // Who reached a limit that stays must not be let in by a reload.
            if !is_same {
                let classes = Arc::new(Classes::new(limits, shared.room));
                *shared.classes.write().unwrap_or_else(PoisonError::into_inner) = classes;
            }
        }))
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Counter {
    fn new(class: Class, limit: NonZeroU32, store: &Arc<Store>) -> Self {
        let window = class.window();
        let quota = Quota::with_period(window / limit.get().max(1))
            .expect("the shortest window divided by the largest limit is 13 nanoseconds")
            .allow_burst(limit);
        let governor = RateLimiter::new(quota, Counted(store.clone()), DefaultClock::default());
        let policy = format!("\"{}\";q={limit};w={}", class.name(), window.as_secs());
        Self {
            governor,
            class,
            limit: limit.get(),
            told: Told {
                limit: HeaderValue::from(limit.get()),
                policy: HeaderValue::try_from(policy).expect("names and numbers are ASCII"),
            },
        }
    }

    fn count(&self, client: IpAddr, events: NonZeroU32) -> Verdict {
        let key = Key { class: self.class, network: Network::of(client) };
        let verdict = |remaining, reset, allowed| Verdict {
            class: self.class,
            limit: self.limit,
            remaining,
            reset,
            allowed,
            told: self.told.clone(),
        };
        match self.governor.check_key_n(&key, events) {
            Ok(Ok(state)) => {
                let remaining = state.remaining_burst_capacity().min(self.limit);
                let used = u64::from(self.limit - remaining);
                let reset = (used * self.class.window().as_secs()).div_ceil(self.limit.into());
                verdict(remaining, reset, true)
            }
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                verdict(0, (wait.as_secs() + 1).max(1), false)
            }
            // More events at once than the whole window allows: never, however long one waits.
            Err(_too_many) => verdict(0, self.class.window().as_secs(), false),
        }
    }
}

impl Verdict {
    fn add_headers(&self, headers: &mut HeaderMap) {
        let Self { class, remaining, reset, told, .. } = self;
        let state = format!("\"{}\";r={remaining};t={reset}", class.name());
        if let Ok(state) = HeaderValue::try_from(state) {
            headers.insert(RATE_LIMIT, state);
        }
        headers.insert(RATE_LIMIT_POLICY, told.policy.clone());
        headers.insert(X_LIMIT, told.limit.clone());
        headers.insert(X_REMAINING, HeaderValue::from(*remaining));
        headers.insert(X_RESET, HeaderValue::from(*reset));
    }

    /// 429 with the headers of the limit that was reached.
    fn refusal(&self) -> Problem {
        let mut headers = HeaderMap::new();
        self.add_headers(&mut headers);
        headers.into_iter().fold(self.problem(), |problem, (name, value)| match name {
            Some(name) => problem.header(name, value),
            None => problem,
        })
    }

    fn problem(&self) -> Problem {
        let Self { class, limit, reset, .. } = self;
        let seconds = class.window().as_secs();
        let detail = format!(
            "the limit `{}` is {limit} in {seconds} seconds for each address; wait {reset} seconds",
            class.name()
        );
        Problem::new(Code::RateLimited, detail).retry_after(Duration::from_secs(*reset))
    }
}

/// Limits the routes that it is put on.
#[derive(Clone)]
pub struct LimitLayer {
    limiter: Limiter,
    class: Class,
}

/// What [`LimitLayer`] makes of a route.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    layer: LimitLayer,
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, layer: self.clone() }
    }
}

impl<S> Service<Request> for Limited<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let LimitLayer { limiter, class } = self.layer.clone();
        let client = request.extensions().get::<Caller>().map(Caller::ip);
        let verdict = match client {
            Some(client) if !(limiter.0.exempt)(request.headers()) => {
                limiter.count(class, client, 1)
            }
            _ => None,
        };
        let Some(verdict) = verdict else { return Box::pin(self.inner.call(request)) };
        if !verdict.allowed {
            let refusal = axum::response::IntoResponse::into_response(verdict.refusal());
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // Of a route's limit and one of events, the one that was reached is told.
            if !response.headers().contains_key(RATE_LIMIT) {
                verdict.add_headers(response.headers_mut());
            }
            Ok(response)
        })
    }
}

/// Whom a limit counts: an IPv4 address, or the /64 of an IPv6 one, which is one customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    class: Class,
    network: Network,
}

/// The most pairs of class and address that are remembered.
const MAX_ADDRESSES: usize = 100_000;

const SHARDS: usize = 16;

/// The state behind all counters: bounded, so that strangers who do not fit share one count.
struct Store {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    room: usize,
    is_crowded: AtomicBool,
}

#[derive(Default)]
struct Shard {
    known: HashMap<Key, Nanos>,
    others: HashMap<Class, Nanos>,
}

#[derive(Clone)]
struct Counted(Arc<Store>);

impl Store {
    fn with_room(room: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            room: (room / SHARDS).max(1),
            is_crowded: AtomicBool::new(false),
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[index])
    }
}

/// A panic while the lock was held cannot leave a count half written.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for Counted {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.0.shard(key);
        if let Some(state) = shard.known.get_mut(key) {
            let (outcome, next) = decide(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        if shard.known.len() < self.0.room {
            let (outcome, next) = decide(None)?;
            shard.known.insert(*key, next);
            return Ok(outcome);
        }
        self.0.is_crowded.store(true, Ordering::Relaxed);
        let (outcome, next) = decide(shard.others.get(&key.class).copied())?;
        shard.others.insert(key.class, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Key> for Counted {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.0.shards {
            lock(shard).known.retain(|_, state| *state > drop_below);
        }
    }

    fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).known.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};
    use crate::files::Role;

    fn limiter(limits: [u32; 6], room: usize) -> Limiter {
        Limiter::new(limits, room, |headers| headers.contains_key("authorization"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_own_count_in_each_class() {
        let limits = limiter([2, 1, 0, 0, 0, 0], 1000);
        let allowed = |class, client| limits.count(class, ip(client), 1).unwrap().allowed;

        assert!(allowed(Class::Log, "192.0.2.1"));
        assert!(allowed(Class::Log, "192.0.2.1"));
        assert!(!allowed(Class::Log, "192.0.2.1"));
        assert!(allowed(Class::Log, "192.0.2.2"));
        assert!(allowed(Class::Federation, "192.0.2.1"));
        assert_eq!(limits.count(Class::Query, ip("192.0.2.1"), 1), None, "0 switches it off");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limits = limiter([1, 0, 0, 0, 0, 0], 1000);
        let allowed = |client| limits.count(Class::Log, ip(client), 1).unwrap().allowed;

        assert!(allowed("2001:db8:0:1::1"));
        assert!(!allowed("2001:db8:0:1:ffff::2"));
        assert!(allowed("2001:db8:0:2::1"));
        assert!(allowed("::ffff:192.0.2.1"));
        assert!(!allowed("192.0.2.1"));
    }

    #[test]
    fn events_are_taken_all_or_none() {
        let limits = limiter([0, 0, 0, 10, 0, 0], 1000);
        let take =
            |n| limits.take(Class::KeyRegistration, ip("192.0.2.1"), n).map_err(|p| p.code());

        assert_eq!(take(8), Ok(()));
        assert_eq!(take(3), Err(Code::RateLimited));
        assert_eq!(take(2), Ok(()));
        assert_eq!(take(1), Err(Code::RateLimited));
        assert_eq!(take(11), Err(Code::RateLimited));
        assert_eq!(take(0), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_strangers_who_do_not_fit_share_a_count() {
        let limits = limiter([1, 0, 0, 0, 0, 0], 64);
        let verdicts: Vec<bool> = (0..2000_u32)
            .map(|i| limits.count(Class::Log, IpAddr::from(i.to_be_bytes()), 1).unwrap().allowed)
            .collect();

        assert!(Counted(limits.classes().store.clone()).len() <= 64);
        assert!(verdicts[0]);
        assert!(verdicts[1000..].iter().filter(|allowed| !**allowed).count() > 900);
    }

    #[test]
    fn headers_say_what_is_left_and_when_it_is_whole_again() {
        let limits = limiter([60, 0, 0, 0, 0, 0], 1000);
        let mut headers = HeaderMap::new();

        let verdict = limits.count(Class::Log, ip("192.0.2.1"), 1).unwrap();
        verdict.add_headers(&mut headers);

        assert_eq!(headers[RATE_LIMIT], "\"log\";r=59;t=1");
        assert_eq!(headers[RATE_LIMIT_POLICY], "\"log\";q=60;w=60");
        assert_eq!(headers[X_LIMIT], "60");
        assert_eq!(headers[X_REMAINING], "59");
        assert_eq!(headers[X_RESET], "1");
    }

    #[test]
    fn new_limits_count_from_then_on_and_the_same_limits_change_nothing() {
        let settings = |limit: &'static str| {
            let pairs = [("HOME", "/h"), ("RATE_LIMIT_LOG_READ", limit)];
            Settings::load(Role::Leader, Flags::new(), &Environment::of(pairs)).unwrap()
        };
        let limits = Limiter::from_settings(&settings("1"), |_| false);
        let allowed = || limits.count(Class::Log, ip("192.0.2.1"), 1).unwrap().allowed;
        let take = |limit| limits.prepare(&settings(limit)).unwrap().take();
        assert!(allowed());

        take("1");
        assert!(!allowed());
        take("2");
        assert!([allowed(), allowed()].iter().all(|allowed| *allowed));
        assert!(!allowed());
        take("0");
        assert_eq!(limits.count(Class::Log, ip("192.0.2.1"), 1), None);
    }
}
