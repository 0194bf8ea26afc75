//! What happens to a log: decided by a seed and the log's number alone, so that it can be repeated.
//! Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use diogenes_tests::promises::Load;
use diogenes_tests::random::Random;

/// How many cycles a log lives.
pub(crate) const CYCLES: usize = 20;

/// What a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its nodes are killed, and clocks jump.
    Kills,
    /// Its disks fail.
    Faults,
}

/// A log of a run: what it is for, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogId {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

/// What happens to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// After how long the first starts of the leader, which make the log, are cut off.
    pub(crate) cut_starts: Vec<Duration>,
    pub(crate) cycles: Vec<Cycle>,
}

/// One blow, after which everything is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    pub(crate) load: Load,
    /// How long the load is on before.
    pub(crate) after: Duration,
    pub(crate) harm: Harm,
}

/// A role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Leader,
    Follower,
    Witness,
}

/// What is done to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// SIGKILL of some at once; their next starts are cut off after these times.
    Kill { victims: Vec<Role>, cut_starts: Vec<Duration> },
    /// The power of one is cut after it lived so long, several times as a process; of what was not
    /// synced so many percent is lost.
    Power { victim: Role, lives: Vec<Duration>, percent: usize, salt: u64 },
    /// The disk of one fails.
    Disk { victim: Role, fault: Fault },
    /// The leader's wall clock jumps by so many seconds; it may be killed while it is wrong.
    Clock { seconds: i64, killed: bool },
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The kernel refuses the call of this number of a thread, once or from then on.
    Refuses { call: Call, error: Errno, number: usize, lasting: bool },
    /// A file can't grow beyond its size now and so many bytes: the write that would is cut short,
    /// and the next one ends the process or fails.
    Short { room: u64, fatal: bool },
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Sync,
    Write,
}

/// With which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    Io,
    NoSpace,
}

impl Plan {
    /// The plan of a log.
    pub(crate) fn new(seed: u64, log: LogId) -> Self {
        // Neighbouring logs share nothing: their numbers are spread over the whole range.
        let salt = match log.kind {
            Kind::Kills => 0,
            Kind::Faults => 1 << 63,
        };
        let spread = log.number.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mut random = Random::new(seed ^ spread ^ salt);
        let cut_starts =
            (0..random.below(3)).map(|_| millis(&mut random, 0, FIRST_START_MS)).collect();
        let cycles = (0..CYCLES).map(|_| Cycle::draw(log.kind, &mut random)).collect();
        Self { cut_starts, cycles }
    }
}

/// About how long a first start takes.
const FIRST_START_MS: usize = 600;
/// About how long another start takes.
const START_MS: usize = 250;
/// A clock that jumps by more is not believed.
pub(crate) const TOLERATED_SECONDS: u64 = 60;

impl Cycle {
    fn draw(kind: Kind, random: &mut Random) -> Self {
        let pause = match kind {
            Kind::Kills => millis(random, 0, 25),
            // A disk fails when something is written.
            Kind::Faults => millis(random, 0, 5),
        };
        let load = Load { clients: 1 + random.below(4), pause };
        let harm = match kind {
            Kind::Kills if random.chance(6) => Harm::jump(random),
            Kind::Kills => Harm::kill(random),
            Kind::Faults if random.chance(25) => Harm::power(random),
            Kind::Faults => Harm::disk(random),
        };
        Self { load, after: millis(random, 20, 350), harm }
    }
}

impl Harm {
    fn kill(random: &mut Random) -> Self {
        const VICTIMS: [&[Role]; 10] = [
            &[Role::Leader],
            &[Role::Leader],
            &[Role::Leader],
            &[Role::Leader],
            &[Role::Follower],
            &[Role::Witness],
            &[Role::Leader, Role::Follower],
            &[Role::Leader, Role::Witness],
            &[Role::Follower, Role::Witness],
            &[Role::Leader, Role::Follower, Role::Witness],
        ];
        let victims = random.pick(&VICTIMS).to_vec();
        let cut = if random.chance(30) { 1 + random.below(2) } else { 0 };
        let cut_starts = (0..cut).map(|_| millis(random, 0, START_MS)).collect();
        Self::Kill { victims, cut_starts }
    }

    fn disk(random: &mut Random) -> Self {
        const VICTIMS: [Role; 5] =
            [Role::Leader, Role::Leader, Role::Leader, Role::Follower, Role::Witness];
        let victim = random.pick(&VICTIMS);
        let fault = if random.chance(20) {
            let room = u64::try_from(1 + random.below(24_000)).unwrap_or(1);
            Fault::Short { room, fatal: random.chance(50) }
        } else {
            let (call, error) = random.pick(&[
                (Call::Sync, Errno::Io),
                (Call::Sync, Errno::Io),
                (Call::Sync, Errno::NoSpace),
                (Call::Write, Errno::Io),
                (Call::Write, Errno::NoSpace),
                (Call::Write, Errno::NoSpace),
            ]);
            // The calls of a thread are counted; those of a witness are spread over many.
            let most = match (victim, call) {
                (Role::Witness, _) => 2,
                (_, Call::Sync) => 8,
                (_, Call::Write) => 40,
            };
            let number = 1 + random.below(most);
            Fault::Refuses { call, error, number, lasting: random.chance(50) }
        };
        Self::Disk { victim, fault }
    }

    fn power(random: &mut Random) -> Self {
        let victim = random.pick(&[Role::Leader, Role::Leader, Role::Follower]);
        let lives = 1 + random.below(2);
        let lives = (0..lives).map(|_| millis(random, 20, START_MS)).collect();
        let percent = random.pick(&[100, 100, 50, 10]);
        let salt = u64::try_from(random.below(1 << 30)).unwrap_or(0);
        Self::Power { victim, lives, percent, salt }
    }

    fn jump(random: &mut Random) -> Self {
        const DAY: i64 = 86_400;
        let size = random.pick(&[30, 300, 3_600, 90 * DAY, 500 * DAY]);
        let seconds = if random.chance(50) { size } else { -size };
        // A leader that starts up to 400 days ahead takes that for the time that it was off.
        let noticed = !(-120..=400 * DAY).contains(&seconds);
        Self::Clock { seconds, killed: noticed && random.chance(50) }
    }
}

fn millis(random: &mut Random, from: usize, to: usize) -> Duration {
    let drawn = from + random.below(to - from + 1);
    Duration::from_millis(u64::try_from(drawn).unwrap_or(0))
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Kills => "kills",
            Kind::Faults => "faults",
        };
        write!(f, "{kind}:{}", self.number)
    }
}

impl FromStr for LogId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (kind, number) = text.split_once(':').unwrap_or((text, ""));
        let kind = match kind {
            "kills" => Kind::Kills,
            "faults" => Kind::Faults,
            _ => anyhow::bail!("a log is kills:N or faults:N"),
        };
        Ok(Self { kind, number: number.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(kind: Kind) -> Vec<Plan> {
        (0..50).map(|number| Plan::new(7, LogId { kind, number })).collect()
    }

    fn harms(kind: Kind) -> Vec<Harm> {
        plans(kind).into_iter().flat_map(|plan| plan.cycles).map(|cycle| cycle.harm).collect()
    }

    #[test]
    fn a_plan_is_the_same_for_the_same_seed_and_log_and_differs_for_others() {
        let log = LogId { kind: Kind::Kills, number: 3 };
        let plan = Plan::new(7, log);

        assert_eq!(plan, Plan::new(7, log));
        assert_ne!(plan, Plan::new(8, log));
        assert_ne!(plan, Plan::new(7, LogId { number: 4, ..log }));
        assert_ne!(plan, Plan::new(7, LogId { kind: Kind::Faults, ..log }));
        assert_eq!(plan.cycles.len(), CYCLES);
    }

    #[test]
    fn every_role_is_killed_alone_and_with_others_also_while_it_starts() {
        let kills = harms(Kind::Kills).into_iter().filter_map(|harm| match harm {
            Harm::Kill { victims, cut_starts } => Some((victims, cut_starts)),
            _ => None,
        });
        let kills: Vec<_> = kills.collect();

        for role in [Role::Leader, Role::Follower, Role::Witness] {
            let of = || kills.iter().filter(|(victims, _)| victims.contains(&role));
            assert!(of().any(|(victims, _)| victims.len() == 1), "{role:?} alone");
            assert!(of().any(|(victims, _)| victims.len() > 1), "{role:?} with others");
            assert!(of().any(|(_, cut)| !cut.is_empty()), "{role:?} at start");
        }
        assert!(plans(Kind::Kills).iter().any(|plan| !plan.cut_starts.is_empty()));
    }

    #[test]
    fn every_disk_fails_in_every_way() {
        let faults = harms(Kind::Faults);
        let faults: Vec<_> = faults
            .into_iter()
            .filter_map(|harm| match harm {
                Harm::Disk { victim, fault } => Some((victim, fault)),
                _ => None,
            })
            .collect();

        for role in [Role::Leader, Role::Follower, Role::Witness] {
            let of = || faults.iter().filter(|(victim, _)| *victim == role).map(|(_, of)| *of);
            let refuses = |which: Call, with: Errno| {
                of().any(|fault| {
                    matches!(fault, Fault::Refuses { call, error, .. } if (call, error) == (which, with))
                })
            };
            assert!(refuses(Call::Sync, Errno::Io), "{role:?}");
            assert!(refuses(Call::Write, Errno::NoSpace), "{role:?}");
            for fatal in [false, true] {
                let short = |of| matches!(of, Fault::Short { fatal: is, .. } if is == fatal);
                assert!(of().any(short), "{role:?}");
            }
        }
    }

    #[test]
    fn a_leader_is_killed_under_a_wrong_clock_only_where_the_next_start_can_notice() {
        let jumps = harms(Kind::Kills).into_iter().filter_map(|harm| match harm {
            Harm::Clock { seconds, killed } => Some((seconds, killed)),
            _ => None,
        });
        let jumps: Vec<_> = jumps.collect();

        assert!(jumps.iter().any(|(seconds, killed)| *killed && *seconds < 0));
        assert!(jumps.iter().any(|(seconds, _)| *seconds > 60));
        assert!(
            jumps
                .iter()
                .all(|(seconds, killed)| !killed || *seconds < -120 || *seconds > 400 * 86_400)
        );
    }

    #[test]
    fn the_name_of_a_log_is_what_repeats_it() {
        for log in
            [LogId { kind: Kind::Kills, number: 12 }, LogId { kind: Kind::Faults, number: 0 }]
        {
            assert_eq!(log.to_string().parse::<LogId>().unwrap(), log);
        }
        assert!("other:1".parse::<LogId>().is_err());
        assert!("kills".parse::<LogId>().is_err());
    }
}
