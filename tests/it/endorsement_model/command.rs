//! What people may do with endorsements: the commands, and how a sequence is drawn from a seed.

use diogenes_common::clock::Timestamp;

use super::model::Model;
use crate::random::Random;

/// A key by its number.
pub(super) type Who = u8;

/// How many keys there are; their numbers begin with 1.
pub(super) const PEOPLE: Who = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Human,
    Institution,
}

impl Category {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Human => "x-diogenes:human_attestation",
            Self::Institution => "x-diogenes:institutional_endorsement",
        }
    }
}

/// One thing that somebody does; `bare` if they sign the bare nonce as old clients do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Register {
        who: Who,
        expires: Option<Timestamp>,
        proven: bool,
    },
    Succeed {
        old: Who,
        new: Who,
        proven: bool,
    },
    Revoke {
        who: Who,
    },
    /// The operator endorses, or takes that back.
    Decide {
        who: Who,
        category: Category,
    },
    Offer {
        by: Who,
        of: Who,
        category: Category,
        until: Option<Timestamp>,
        bare: bool,
    },
    Accept {
        by: Who,
        offer: u64,
        bare: bool,
    },
    Withdraw {
        by: Who,
        of: Who,
        offer: u64,
        bare: bool,
    },
    TakeBack {
        by: Who,
        offer: u64,
        bare: bool,
    },
    Alert {
        by: Who,
        of: Who,
        bare: bool,
    },
    Pass {
        minutes: i64,
    },
}

const HOUR: i64 = 60;

/// Draws the next command; what others did before makes some more likely.
pub(super) fn next(random: &mut Random, model: &Model) -> Command {
    let category = random.pick(&[Category::Human, Category::Human, Category::Institution]);
    let bare = random.chance(35);
    if model.must_wait() {
        return Command::Pass { minutes: 16 };
    }
    match random.below(100) {
        0..8 => register(random, model),
        8..14 => succeed(random, model),
        14..16 => Command::Revoke { who: active(random, model) },
        16..21 => {
            let known = model.registered();
            Command::Decide { who: random.pick(&known), category }
        }
        21..52 => offer(random, model, category, bare),
        52..72 => {
            let (offer, _, of) = edge(random, model, &["offered"]);
            Command::Accept { by: mostly(random, of), offer, bare }
        }
        72..77 => {
            let (offer, by, of) = edge(random, model, &["offered", "accepted", "active"]);
            Command::Withdraw { by: mostly(random, by), of: mostly(random, of), offer, bare }
        }
        77..81 => {
            let (offer, _, of) = edge(random, model, &["accepted", "active"]);
            Command::TakeBack { by: mostly(random, of), offer, bare }
        }
        81..88 => {
            let states = random.pick(&[&["active"], &["void"], &["withdrawn"], &["accepted"]]);
            let (_, by, of) = edge(random, model, states);
            let (by, of) = (mostly(random, by), mostly(random, of));
            if by == of { Command::Pass { minutes: 1 } } else { Command::Alert { by, of, bare } }
        }
        _ => {
            Command::Pass { minutes: random.pick(&[20, HOUR, 5 * HOUR, 48 * HOUR, 31 * 24 * HOUR]) }
        }
    }
}

fn anybody(random: &mut Random) -> Who {
    1 + Who::try_from(random.below(PEOPLE.into())).unwrap()
}

/// Mostly this one.
fn mostly(random: &mut Random, who: Who) -> Who {
    if random.chance(90) { who } else { anybody(random) }
}

/// Mostly somebody whose key is active.
fn active(random: &mut Random, model: &Model) -> Who {
    let active: Vec<Who> = (1..=PEOPLE).filter(|who| model.is_active(*who)).collect();
    if active.is_empty() || random.chance(7) { anybody(random) } else { random.pick(&active) }
}

fn register(random: &mut Random, model: &Model) -> Command {
    let new: Vec<Who> = (1..=PEOPLE).filter(|who| !model.keys.contains_key(who)).collect();
    let who = if new.is_empty() || random.chance(20) { anybody(random) } else { random.pick(&new) };
    let expires = random.pick(&[None, None, None, Some(100 * HOUR)]);
    let expires = expires.map(|minutes| model.now.plus_millis(minutes * 60_000 + 30_000));
    Command::Register { who, expires, proven: random.chance(40) }
}

fn succeed(random: &mut Random, model: &Model) -> Command {
    let weak = |who: &Who| model.keys.get(who).is_none_or(|key| !key.proven && !key.ended);
    let weak: Vec<Who> = (1..=PEOPLE).filter(weak).collect();
    let (old, proven) = (active(random, model), random.chance(60));
    let new =
        if weak.is_empty() || random.chance(10) { anybody(random) } else { random.pick(&weak) };
    Command::Succeed { old, new, proven }
}

fn offer(random: &mut Random, model: &Model, category: Category, bare: bool) -> Command {
    // A few give most, so that capacity ends.
    let mut by = active(random, model);
    let (of, again) = (active(random, model), active(random, model));
    let used = |who: Who| model.given(who).count();
    if used(again) > used(by) && random.chance(70) {
        by = again;
    }
    if by == of {
        return Command::Pass { minutes: 1 };
    }
    let until = random.pick(&[None, None, Some(3 * HOUR), Some(60 * HOUR)]);
    let until = until.map(|minutes| model.now.plus_millis(minutes * 60_000 + 30_000));
    Command::Offer { by, of, category, until, bare }
}

/// Mostly an endorsement in one of these states.
fn edge(random: &mut Random, model: &Model, states: &[&str]) -> (u64, Who, Who) {
    let all: Vec<_> = model.edges.iter().map(|edge| (edge.offer, edge.by, edge.of)).collect();
    let fits = model.edges.iter().filter(|edge| states.contains(&model.state(edge)));
    let fitting: Vec<_> = fits.map(|edge| (edge.offer, edge.by, edge.of)).collect();
    match (fitting.is_empty(), all.is_empty()) {
        (false, _) if random.chance(92) => random.pick(&fitting),
        (_, false) => random.pick(&all),
        (_, true) => (77, 1, 2),
    }
}
