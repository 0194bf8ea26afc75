//! What somebody with a thousand fresh keys and one careless endorser gains, against what
//! `docs/trust.md` says that it is at most.
//!
//! The model keeps the rules of the log in memory: who has room may endorse, levels are written down
//! when an endorsement is given, capacity counts endorsers of standing that are not endorsed back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use diogenes_common::keys::Fingerprint;
use diogenes_common::statement::Category;
use diogenes_common::trust::{
    Assessment, Edge, Level, MAX_CAPACITY, MIN_CAPACITY, Millionths, Policy, Side, Walk, assess,
    capacity, has_room, level, weight,
};
use serde_json::json;

const OPERATOR: usize = 0;
const ANCHOR: usize = 1;
const CARELESS: usize = 2;
/// Honest keys that the anchor endorses, as it endorses the careless one.
const FRIENDS: Range<usize> = 3..13;
const FRESH: Range<usize> = 1_000..2_000;

/// The endorsements that are active, each with the level that its endorser had.
#[derive(Default)]
struct Model {
    given: BTreeMap<usize, BTreeMap<usize, u64>>,
    received: BTreeMap<usize, BTreeMap<usize, Option<Level>>>,
    offers: u64,
}

impl Model {
    /// The operator, an anchor that it endorses, and whom that endorses: the careless key and ten
    /// friends, each of which endorses the careless one too.
    fn honest() -> Self {
        let mut model = Self::default();
        model.force(OPERATOR, ANCHOR);
        // Ten endorsers of standing, so that the anchor has room for eleven.
        for supporter in 20..30 {
            model.force(OPERATOR, supporter);
            assert!(model.endorse(supporter, ANCHOR));
        }
        assert!(model.endorse(ANCHOR, CARELESS));
        for friend in FRIENDS {
            assert!(model.endorse(ANCHOR, friend));
            assert!(model.endorse(friend, CARELESS));
        }
        model
    }

    fn level(&self, key: usize) -> Option<Level> {
        let received = self.received.get(&key);
        let by_operator = received.is_some_and(|received| received.contains_key(&OPERATOR));
        let recorded = received.into_iter().flat_map(|received| received.values().copied());
        level(key == OPERATOR, by_operator, recorded)
    }

    fn given(&self, key: usize) -> usize {
        self.given.get(&key).map_or(0, BTreeMap::len)
    }

    fn capacity(&self, key: usize) -> u32 {
        let given = self.given.get(&key);
        let counts = |(endorser, level): &(&usize, &Option<Level>)| {
            level.is_some() && given.is_none_or(|given| !given.contains_key(endorser))
        };
        let count = self.received.get(&key).into_iter().flatten().filter(counts).count();
        capacity(u32::try_from(count).expect("few"), false)
    }

    fn weight(&self, key: usize) -> Millionths {
        weight(self.capacity(key), u32::try_from(self.given(key)).expect("few"))
    }

    /// Gives an endorsement if the rules of the log allow it.
    fn endorse(&mut self, from: usize, to: usize) -> bool {
        let is_new =
            from != to && self.given.get(&from).is_none_or(|given| !given.contains_key(&to));
        let used = u32::try_from(self.given(from)).expect("few");
        let is_allowed = is_new && has_room(self.capacity(from), used);
        if is_allowed {
            self.force(from, to);
        }
        is_allowed
    }

    fn force(&mut self, from: usize, to: usize) {
        self.offers += 1;
        let level = self.level(from);
        self.given.entry(from).or_default().insert(to, self.offers);
        self.received.entry(to).or_default().insert(from, level);
    }

    fn withdraw(&mut self, from: usize, to: usize) {
        self.given.get_mut(&from).expect("it gave some").remove(&to);
        self.received.get_mut(&to).expect("it received some").remove(&from);
    }

    fn edges(&self) -> Vec<Edge> {
        let edge = |from: usize, to: usize, offer_entry_id: u64, weight| Edge {
            offer_entry_id,
            endorser: key(from),
            endorsed: key(to),
            category: Category::HumanAttestation,
            institution: None,
            weight,
        };
        let of = |(from, given): (&usize, &BTreeMap<usize, u64>)| {
            let weight = self.weight(*from);
            given.iter().map(|(to, offer)| edge(*from, *to, *offer, weight)).collect::<Vec<_>>()
        };
        self.given.iter().flat_map(of).collect()
    }

    /// The attacker makes the most of its keys: whoever has room endorses the next ones in a ring,
    /// so that nobody endorses back and every endorser counts, until nothing is left to give.
    fn exploit(&mut self) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for (from, at) in FRESH.zip(0..) {
                let ring = |distance| FRESH.start + (at + distance) % FRESH.len();
                let used = self.given(from);
                let room = (self.capacity(from) as usize).saturating_sub(used);
                for to in (1..=MAX_CAPACITY as usize).map(ring).skip(used).take(room) {
                    assert!(self.endorse(from, to));
                    is_moving = true;
                }
            }
        }
    }

    /// The careless key endorses as many fresh keys as it may, those at the end of the ring first.
    fn be_careless(&mut self) {
        for fresh in FRESH.rev() {
            self.endorse(CARELESS, fresh);
        }
    }
}

/// What a verifier who trusts the anchor thinks of every fresh key.
fn assessed(model: &Model, min_paths: u32) -> Vec<Assessment> {
    let policy = json!({"anchors": [key(ANCHOR)], "min_paths": min_paths});
    let policy = Policy::read(&policy).expect("a policy");
    let (mut given, mut received) = (BTreeMap::new(), BTreeMap::new());
    for edge in model.edges() {
        given.entry(edge.endorser).or_insert_with(Vec::new).push(edge.clone());
        received.entry(edge.endorsed).or_insert_with(Vec::new).push(edge);
    }
    let assess_one = |fresh| {
        let mut walk = Walk::new(&policy, key(fresh));
        while let Some(round) = walk.next_round() {
            let by_key = if round.side == Side::Given { &given } else { &received };
            let loaded: Vec<Edge> =
                round.keys.iter().filter_map(|key| by_key.get(key)).flatten().cloned().collect();
            walk.take(round, loaded);
        }
        assess(&policy, &key(fresh), &walk.finish())
    };
    let all: Vec<_> = FRESH.map(assess_one).collect();
    assert!(all.iter().all(|assessment| !assessment.is_truncated));
    all
}

fn count_meeting(assessed: &[Assessment]) -> usize {
    assessed.iter().filter(|assessment| assessment.meets()).count()
}

fn highest(assessed: &[Assessment]) -> u32 {
    assessed.iter().map(|assessment| assessment.score.get()).max().unwrap_or(0)
}

fn key(number: usize) -> Fingerprint {
    Fingerprint::of_der(&number.to_be_bytes())
}

#[test]
fn keys_that_nobody_of_standing_endorses_gain_nothing_by_endorsing_each_other() {
    let mut model = Model::honest();

    model.exploit();

    for fresh in FRESH {
        assert_eq!(model.level(fresh), None);
        assert_eq!(model.capacity(fresh), MIN_CAPACITY);
    }
    assert_eq!(highest(&assessed(&model, 1)), 0);
}

#[test]
fn a_careless_endorser_gives_no_more_than_its_own_capacity_and_score() {
    let mut model = Model::honest();
    let room = model.capacity(CARELESS);
    assert_eq!((room, model.level(CARELESS)), (27, Level::try_from(2).ok()));

    model.be_careless();
    model.exploit();

    // Its score is 0.5: half of that for whom it endorses, a quarter for whom those endorse.
    let seen = assessed(&model, 1);
    assert_eq!(highest(&seen), 250_000);
    assert_eq!(count_meeting(&seen), 27);
    let below = seen.iter().filter(|assessment| !assessment.meets());
    assert!(below.clone().count() > 900);
    assert_eq!(below.map(|assessment| assessment.score.get()).max(), Some(125_000));
    // Standing goes on for two levels, and there the attacker makes capacity of its own.
    let levels: BTreeSet<_> =
        FRESH.filter_map(|fresh| model.level(fresh)).map(Level::get).collect();
    assert_eq!(levels, BTreeSet::from([3, 4]));
    assert!(FRESH.map(|fresh| model.capacity(fresh)).max() > Some(room));
}

#[test]
fn two_disjoint_paths_do_not_lead_through_one_careless_endorser() {
    let mut model = Model::honest();
    model.be_careless();
    model.exploit();

    assert_eq!(count_meeting(&assessed(&model, 1)), 27);
    assert_eq!(count_meeting(&assessed(&model, 2)), 0);
}

#[test]
fn a_careless_key_that_accepts_what_it_made_possible_stops_at_the_largest_capacity() {
    let mut model = Model::honest();
    for _ in 0..3 {
        model.be_careless();
        model.exploit();
        for fresh in FRESH {
            if model.level(fresh).is_some() && !model.given[&CARELESS].contains_key(&fresh) {
                model.force(fresh, CARELESS);
            }
        }
    }

    assert_eq!(model.given(CARELESS), MAX_CAPACITY as usize);
    let seen = assessed(&model, 1);
    assert_eq!(count_meeting(&seen), MAX_CAPACITY as usize);
    assert_eq!(highest(&seen), 250_000);
}

#[test]
fn who_withdraws_from_a_careless_endorser_takes_what_it_gave_away() {
    let mut model = Model::honest();
    model.be_careless();

    FRIENDS.for_each(|friend| model.withdraw(friend, CARELESS));

    // Capacity 7 for 27 endorsements: 0.259259 each, no more than 7 in all.
    assert_eq!(model.weight(CARELESS), Millionths::new(259_259).expect("less than 1"));
    let given = u32::try_from(model.given(CARELESS)).expect("few");
    assert!(given * model.weight(CARELESS).get() <= model.capacity(CARELESS) * 1_000_000);
    let seen = assessed(&model, 1);
    assert_eq!(highest(&seen), 64_814);
    assert_eq!(count_meeting(&seen), 0);
}
