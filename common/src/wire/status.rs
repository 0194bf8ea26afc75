//! The state of replication and witnessing, as leaders and followers show it.
//!
//! What is shown is computed here, from plain inputs and a clock reading, by the same rules on
//! every page, metric and answer. Unknown is `None` (null), never zero.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::head::{Origin, TreeHead};
use crate::keys::{Fingerprint, ShortFingerprint};
use crate::merkle::{Hash, TreeSize};
use crate::statement::FollowerStatus;

/// `GET /api/v1/log/replication-status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum ReplicationStatus {
    /// What a leader shows.
    Leader(Box<LeaderStatus>),
    /// What a follower shows.
    Follower(Box<MirrorStatus>),
}

impl ReplicationStatus {
    /// The sentence and its colour.
    pub fn verdict(&self) -> &Verdict {
        match self {
            Self::Leader(status) => &status.verdict,
            Self::Follower(status) => &status.verdict,
        }
    }
}

/// How a leader, its followers and its witnesses stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct LeaderStatus {
    /// The worst status of its followers; `SYNCED` when there are none.
    pub status: FollowerStatus,
    /// The log's name.
    pub origin: Origin,
    /// The size of the newest head.
    pub tree_size: TreeSize,
    /// The root of the newest head.
    pub root_hash: Hash,
    /// The time of the newest head.
    pub head_timestamp: Timestamp,
    /// How old that head is.
    pub head_age_seconds: u64,
    /// How many entries no follower has verified; null while none is authorised.
    pub entries_at_risk: Option<u64>,
    /// How many events no quorum of witnesses has signed; null while no witness is authorised.
    pub unwitnessed_entries: Option<u64>,
    /// How many witnesses are needed, and how many are current.
    pub witness_quorum: QuorumState,
    /// Every authorised follower, those that vanished included.
    pub followers: Vec<FollowerRow>,
    /// Every authorised witness, those that vanished included.
    pub witnesses: Vec<WitnessRow>,
    /// How many incidents nobody has acknowledged.
    pub incidents_open: u64,
    /// Why nothing is signed at the moment; null while heads are signed.
    pub not_signing: Option<String>,
    /// All of it in one sentence.
    pub verdict: Verdict,
}

/// How a follower stands to its leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct MirrorStatus {
    /// How it stands.
    pub status: FollowerStatus,
    /// Why, as a code; null when all is well.
    pub reason: Option<String>,
    /// Whether an error passes by itself (`transient`) or waits for the operator (`latched`).
    pub class: Option<ErrorClass>,
    /// Since when it stands so.
    pub since: Option<Timestamp>,
    /// When it tries again.
    pub retry_at: Option<Timestamp>,
    /// Where this node serves the evidence file that shows why, if there is one.
    pub evidence: Option<String>,
    /// What the operator should do.
    pub next_action: Option<String>,
    /// The log's name, once entry 1 is verified.
    pub origin: Option<Origin>,
    /// This follower's own key.
    pub fingerprint: Option<Fingerprint>,
    /// This follower's name.
    pub display_name: Option<String>,
    /// The size that it verified and stored.
    pub tree_size: TreeSize,
    /// The root that it computed there.
    pub root_hash: Hash,
    /// The size of the newest verified head.
    pub leader_tree_size: Option<TreeSize>,
    /// The time of the newest verified head.
    pub head_timestamp: Option<Timestamp>,
    /// When a source last answered.
    pub last_contact: Option<Timestamp>,
    /// How many entries are known of and not verified yet.
    pub lag_entries: Option<u64>,
    /// For how long there have been such entries.
    pub lag_seconds: Option<u64>,
    /// How fast it verifies at the moment.
    pub entries_per_second: Option<f64>,
    /// When it will have caught up at that rate.
    pub eta_seconds: Option<u64>,
    /// Where it reads from.
    pub upstreams: Vec<Upstream>,
    /// How many incidents nobody has acknowledged.
    pub incidents_open: u64,
    /// All of it in one sentence.
    pub verdict: Verdict,
}

/// Whether an error passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ErrorClass {
    /// It is tried again by itself, for ever.
    Transient,
    /// It is proven, and stays until the operator acknowledges it.
    Latched,
}

/// A source of a follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Upstream {
    /// Its URL.
    pub url: String,
    /// The operator key that it must answer for.
    pub fingerprint: Fingerprint,
    /// When it last answered.
    pub last_contact: Option<Timestamp>,
    /// What went wrong last, until something goes right.
    pub error: Option<String>,
}

/// How many witnesses are needed, and how many are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct QuorumState {
    /// So many must sign.
    pub required: u64,
    /// So many are current.
    pub current: u64,
}

/// A follower as its leader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct FollowerRow {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its name.
    pub display_name: Option<String>,
    /// Its URL, shown and never dialled.
    pub server: Option<String>,
    /// What it reported, or what its silence means.
    pub status: FollowerStatus,
    /// Why, as a code.
    pub reason: Option<String>,
    /// The size that it verified and stored.
    pub tree_size: Option<TreeSize>,
    /// The root that it computed there.
    pub root_hash: Option<Hash>,
    /// Whether that is this log's root at that size.
    pub root_matches: Option<bool>,
    /// How many entries it lacks.
    pub lag_entries: Option<u64>,
    /// For how long it has lacked some.
    pub lag_seconds: Option<u64>,
    /// How fast it verified between its newest two reports.
    #[serde(default)]
    pub entries_per_second: Option<f64>,
    /// When it will have caught up at that rate.
    #[serde(default)]
    pub eta_seconds: Option<u64>,
    /// When its newest report came.
    pub last_report: Option<Timestamp>,
    /// How long ago that was.
    pub report_age_seconds: Option<u64>,
}

/// Whether a witness keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WitnessFreshness {
    /// It signed every event, or did so a short while ago.
    Current,
    /// It does not.
    Stale,
    /// It never signed.
    Never,
}

impl WitnessFreshness {
    /// What follows from the largest size that a witness signed, and how long ago it last did.
    pub fn new(size: Option<TreeSize>, age_seconds: Option<u64>, last_event_id: u64) -> Self {
        let limit = match size {
            Some(size) if size.get() >= last_event_id => WITNESS_QUIET_SECONDS,
            _ => WITNESS_PATIENCE_SECONDS,
        };
        match age_seconds {
            None => Self::Never,
            Some(age) if age <= limit => Self::Current,
            Some(_) => Self::Stale,
        }
    }

    /// The word as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Never => "never",
        }
    }
}

/// An authorised witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WitnessRow {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// The first 16 hex digits of that.
    pub short_fingerprint: ShortFingerprint,
    /// Its name.
    pub display_name: Option<String>,
    /// Its URL, shown and never dialled.
    pub server: Option<String>,
    /// Whether it keeps up.
    pub status: WitnessFreshness,
    /// The largest size that it signed.
    pub tree_size: Option<TreeSize>,
    /// The root at that size.
    pub root_hash: Option<Hash>,
    /// The entry that records its newest proof.
    pub last_proof_id: Option<u64>,
    /// When the log recorded that.
    pub last_proof_at: Option<Timestamp>,
    /// How long ago that was.
    pub age_seconds: Option<u64>,
    /// How many of its proofs the log recorded within 24 hours.
    pub proofs_24h: Option<u64>,
}

/// Green, amber or red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// All is well.
    Green,
    /// Something deserves attention.
    Amber,
    /// Something is wrong.
    Red,
}

impl Colour {
    /// The word as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }
}

/// The state of a node in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// Its colour.
    pub colour: Colour,
    /// The sentence.
    pub sentence: String,
}

/// What a leader knows, from which its status follows.
#[derive(Clone, Debug)]
pub struct LeaderInput<'a> {
    /// The clock.
    pub now: Timestamp,
    /// The newest signed head.
    pub head: &'a TreeHead,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
    /// How often a head is due.
    pub heartbeat_seconds: u64,
    /// Why nothing is signed, in words that finish "nothing is signed: ...".
    pub not_signing: Option<String>,
    /// Every authorised follower.
    pub followers: Vec<FollowerInput>,
    /// Every authorised witness.
    pub witnesses: Vec<WitnessInput>,
    /// How many of the policy's witnesses must cosign and how many are current; `None` without a
    /// policy, when a [`majority`] of the authorised ones must sign.
    pub policy: Option<QuorumState>,
    /// How many events lie above the size that the quorum signed; `None` if that could not be read.
    pub events_unwitnessed: Option<u64>,
    /// Open incidents.
    pub incidents_open: u64,
}

/// What a leader knows about an authorised follower.
#[derive(Clone, Debug)]
pub struct FollowerInput {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its name.
    pub display_name: Option<String>,
    /// Its URL.
    pub server: Option<String>,
    /// Its newest accepted report.
    pub report: Option<ReportInput>,
}

/// A report, and what this node's own log says about it.
#[derive(Clone, Debug)]
pub struct ReportInput {
    /// What it says about itself.
    pub status: FollowerStatus,
    /// Why.
    pub reason: Option<String>,
    /// The size that it verified.
    pub tree_size: TreeSize,
    /// The root there.
    pub root_hash: Hash,
    /// Whether that root is ours; `None` if not compared.
    pub root_matches: Option<bool>,
    /// The time of the first entry that it lacks; `None` if it lacks none or that is not known.
    pub lacks_since: Option<Timestamp>,
    /// How fast it verified since the report before; `None` if there was none.
    pub entries_per_second: Option<f64>,
    /// When the report came.
    pub received_at: Timestamp,
}

/// What a node knows about an authorised witness.
#[derive(Clone, Debug)]
pub struct WitnessInput {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its name.
    pub display_name: Option<String>,
    /// Its URL.
    pub server: Option<String>,
    /// Its newest recorded proof.
    pub last_proof: Option<LastProof>,
    /// The largest size that it cosigned, recorded as a proof or not.
    pub cosigned: Option<TreeSize>,
    /// How many of its proofs were recorded within 24 hours.
    pub proofs_24h: Option<u64>,
}

/// The newest recorded proof of a witness.
#[derive(Clone, Copy, Debug)]
pub struct LastProof {
    /// The entry.
    pub proof_id: u64,
    /// The size that it reaches.
    pub tree_size: TreeSize,
    /// The root there.
    pub root_hash: Hash,
    /// When the log recorded it.
    pub recorded_at: Timestamp,
}

impl WitnessInput {
    /// The largest size that the witness signed.
    pub fn size(&self) -> Option<TreeSize> {
        self.last_proof.map(|proof| proof.tree_size).max(self.cosigned)
    }
}

/// A follower that has been silent for so long is lost. It reports at least every 10 s.
pub const REPORT_LOST_SECONDS: u64 = 60;

/// A witness has so long to sign a new event.
pub const WITNESS_PATIENCE_SECONDS: u64 = 600;

/// A witness signs at least so often even when nothing happens: twice the longest quiet of a
/// round.
pub const WITNESS_QUIET_SECONDS: u64 = 2 * 3600;

/// More than half of the authorised witnesses; 0 of none.
pub const fn majority(witnesses: u64) -> u64 {
    if witnesses == 0 { 0 } else { witnesses / 2 + 1 }
}

/// The largest size that `quorum` witnesses signed: 0 while too few signed anything, `None` while
/// no witness is authorised.
pub fn witnessed_size(witnesses: &[WitnessInput], quorum: u64) -> Option<TreeSize> {
    if witnesses.is_empty() {
        return None;
    }
    let mut sizes: Vec<TreeSize> = witnesses.iter().filter_map(WitnessInput::size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let last = usize::try_from(quorum.max(1) - 1).unwrap_or(usize::MAX);
    Some(sizes.get(last).copied().unwrap_or_default())
}

impl LeaderStatus {
    /// The status that follows from what a leader knows. Pure.
    pub fn new(input: LeaderInput<'_>) -> Self {
        let LeaderInput { now, head, .. } = input;
        let followers: Vec<FollowerRow> =
            input.followers.into_iter().map(|of| FollowerRow::new(of, head, now)).collect();
        let entries_at_risk = entries_at_risk(&followers, head.tree_size);
        let is_watched = input.policy.is_some() || !input.witnesses.is_empty();
        let unwitnessed_entries = input.events_unwitnessed.filter(|_| is_watched);
        let witnesses: Vec<WitnessRow> = input
            .witnesses
            .into_iter()
            .map(|of| WitnessRow::new(of, input.last_event_id, now))
            .collect();
        let current = witnesses.iter().filter(|w| w.status == WitnessFreshness::Current).count();
        let authorized =
            QuorumState { required: majority(witnesses.len() as u64), current: current as u64 };
        let mut status = Self {
            status: worst(followers.iter().map(|follower| follower.status)),
            origin: head.origin.clone(),
            tree_size: head.tree_size,
            root_hash: head.root_hash,
            head_timestamp: head.timestamp,
            head_age_seconds: seconds_since(now, head.timestamp),
            entries_at_risk,
            unwitnessed_entries,
            witness_quorum: input.policy.unwrap_or(authorized),
            followers,
            witnesses,
            incidents_open: input.incidents_open,
            not_signing: input.not_signing,
            verdict: Verdict { colour: Colour::Green, sentence: String::new() },
        };
        status.verdict = status.judge(input.heartbeat_seconds);
        status
    }

    /// The first of these rules that applies gives the sentence; the alerts follow the same ones.
    fn judge(&self, heartbeat_seconds: u64) -> Verdict {
        if let Some(reason) = &self.not_signing {
            return red(format!("This leader serves reads but nothing is signed: {reason}."));
        }
        if self.head_age_seconds > 3 * heartbeat_seconds {
            let age = spell(self.head_age_seconds);
            return red(format!("The newest tree head is {age} old: no new one is being signed."));
        }
        let failing = count(&self.followers, |row| row.status == FollowerStatus::Error);
        if failing > 0 {
            let all = self.followers.len();
            return red(format!("{failing} of {all} followers fail or have vanished."));
        }
        let QuorumState { required, current } = self.witness_quorum;
        if current < required {
            return red(format!(
                "Only {current} of the {required} witnesses that a quorum needs are current."
            ));
        }
        self.judge_coverage()
    }

    fn judge_coverage(&self) -> Verdict {
        let entries = entries(self.tree_size.get());
        let witnesses = self.signers();
        match (self.followers.len(), witnesses) {
            (0, 0) => {
                return amber(format!(
                    "No follower mirrors this log and no witness watches it: {entries} in one place."
                ));
            }
            (0, _) => {
                return amber(format!("No follower mirrors this log: {entries} in one place."));
            }
            (_, 0) => return amber("No witness watches this log.".to_owned()),
            _ => {}
        }
        let behind = count(&self.followers, |row| row.status != FollowerStatus::Synced);
        if behind > 0 {
            let all = self.followers.len();
            return amber(format!("{behind} of {all} followers are behind or catching up."));
        }
        let stale = count(&self.witnesses, |row| row.status != WitnessFreshness::Current);
        if stale > 0 {
            let all = self.witnesses.len();
            return amber(format!("{stale} of {all} witnesses are not current."));
        }
        if self.incidents_open > 0 {
            let open = self.incidents_open;
            return amber(format!("All nodes keep up, but {open} incidents are open."));
        }
        green(format!(
            "All is well: {entries}, mirrored by {} and signed by {}.",
            plural(self.followers.len(), "follower"),
            plural(self.signers(), "witness"),
        ))
    }

    /// How many witnesses there are: the authorised ones, else those of the policy that are current.
    fn signers(&self) -> usize {
        match self.witnesses.len() {
            0 => usize::try_from(self.witness_quorum.current).unwrap_or(usize::MAX),
            authorized => authorized,
        }
    }
}

impl FollowerRow {
    /// The row of a follower: its word about itself, as far as it is fresh and fits our log.
    pub fn new(input: FollowerInput, head: &TreeHead, now: Timestamp) -> Self {
        let FollowerInput { fingerprint, display_name, server, report } = input;
        let Some(report) = report else {
            return Self {
                fingerprint,
                display_name,
                server,
                status: FollowerStatus::Behind,
                reason: Some("never_reported".to_owned()),
                tree_size: None,
                root_hash: None,
                root_matches: None,
                lag_entries: None,
                lag_seconds: None,
                entries_per_second: None,
                eta_seconds: None,
                last_report: None,
                report_age_seconds: None,
            };
        };
        let age = seconds_since(now, report.received_at);
        let (status, reason) = if report.root_matches == Some(false) {
            (FollowerStatus::Error, Some("peer_disagrees".to_owned()))
        } else if age > REPORT_LOST_SECONDS {
            (FollowerStatus::Error, Some("not_reporting".to_owned()))
        } else {
            (report.status, report.reason)
        };
        let lag = head.tree_size.get().saturating_sub(report.tree_size.get());
        Self {
            fingerprint,
            display_name,
            server,
            status,
            reason,
            tree_size: Some(report.tree_size),
            root_hash: Some(report.root_hash),
            root_matches: report.root_matches,
            lag_entries: Some(lag),
            lag_seconds: match lag {
                0 => Some(0),
                _ => report.lacks_since.map(|since| seconds_since(now, since)),
            },
            entries_per_second: report.entries_per_second,
            eta_seconds: eta_seconds(lag, report.entries_per_second),
            last_report: Some(report.received_at),
            report_age_seconds: Some(age),
        }
    }
}

impl WitnessRow {
    /// The row of a witness; `last_event_id` is the newest entry that asks for a signature.
    pub fn new(input: WitnessInput, last_event_id: u64, now: Timestamp) -> Self {
        let size = input.size();
        let age = input.last_proof.map(|proof| seconds_since(now, proof.recorded_at));
        let status = WitnessFreshness::new(size, age, last_event_id);
        Self {
            fingerprint: input.fingerprint,
            short_fingerprint: input.fingerprint.short(),
            display_name: input.display_name,
            server: input.server,
            status,
            tree_size: size,
            // The root is that of the proof: a larger size that was only cosigned has another.
            root_hash: input
                .last_proof
                .filter(|proof| Some(proof.tree_size) == size)
                .map(|proof| proof.root_hash),
            last_proof_id: input.last_proof.map(|proof| proof.proof_id),
            last_proof_at: input.last_proof.map(|proof| proof.recorded_at),
            age_seconds: age,
            proofs_24h: input.proofs_24h,
        }
    }
}

impl MirrorStatus {
    /// Writes the sentence that follows from the other members.
    #[must_use]
    pub fn judged(mut self, now: Timestamp) -> Self {
        self.verdict = self.judge(now);
        self
    }

    fn judge(&self, now: Timestamp) -> Verdict {
        let reason = self.reason.as_deref().map_or("it makes no progress", in_words);
        match self.status {
            FollowerStatus::Error => {
                let what = match self.class {
                    Some(ErrorClass::Latched) => "stopped for good",
                    _ => "cannot go on and tries again",
                };
                let next = self.next_action.as_deref().unwrap_or_default();
                red(format!("This mirror {what}: {reason}. {next}").trim_end().to_owned())
            }
            FollowerStatus::Behind => amber(format!("This mirror is behind: {reason}.")),
            FollowerStatus::Syncing => {
                let left = match (self.lag_entries, self.eta_seconds) {
                    (Some(lag), Some(eta)) => {
                        format!("{} left, about {}", entries(lag), spell(eta))
                    }
                    (Some(lag), None) => format!("{} left", entries(lag)),
                    _ => "it is not known how many entries are left".to_owned(),
                };
                amber(format!("This mirror is catching up: {left}."))
            }
            FollowerStatus::Synced if self.incidents_open > 0 => {
                let open = self.incidents_open;
                amber(format!("This mirror keeps up, but {open} incidents are open."))
            }
            FollowerStatus::Synced => {
                let age = match self.head_timestamp {
                    Some(head) => {
                        format!("the newest head is {} old", spell(seconds_since(now, head)))
                    }
                    None => "no head is known".to_owned(),
                };
                green(format!(
                    "This mirror has verified {}; {age}.",
                    all_entries(self.tree_size.get())
                ))
            }
        }
    }
}

/// The lag of a follower in seconds: since when a head larger than its verified size is known; 0
/// if there is none and the newest is `fresh`; else unknown.
pub fn lag_seconds(now: Timestamp, larger_since: Option<Timestamp>, fresh: bool) -> Option<u64> {
    match larger_since {
        Some(since) => Some(seconds_since(now, since)),
        None if fresh => Some(0),
        None => None,
    }
}

/// The worst of these statuses; `SYNCED` of none.
pub fn worst(statuses: impl IntoIterator<Item = FollowerStatus>) -> FollowerStatus {
    let rank = |status: &FollowerStatus| match status {
        FollowerStatus::Synced => 0,
        FollowerStatus::Syncing => 1,
        FollowerStatus::Behind => 2,
        FollowerStatus::Error => 3,
    };
    statuses.into_iter().max_by_key(rank).unwrap_or(FollowerStatus::Synced)
}

/// How long so many entries take at a rate; `None` if they would take for ever.
fn eta_seconds(entries: u64, per_second: Option<f64>) -> Option<u64> {
    // Below this the answer is a guess that helps nobody.
    const SLOWEST: f64 = 0.01;
    if entries == 0 {
        return Some(0);
    }
    let rate = per_second.filter(|rate| *rate >= SLOWEST)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of something positive"
    )]
    let seconds = (entries as f64 / rate).ceil() as u64;
    Some(seconds)
}

/// Whole seconds from `then` to `now`; 0 if `then` lies ahead.
pub fn seconds_since(now: Timestamp, then: Timestamp) -> u64 {
    u64::try_from(now.millis_since(then) / 1000).unwrap_or(0)
}

/// A duration for people: `12 s`, `5 min`, `3 h`, `2 days`.
pub fn spell(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A reason's code in words.
pub fn in_words(reason: &str) -> &str {
    match reason {
        "leader_stale" => "the leader has signed no new head for a while",
        "unreachable" => "no source answers",
        "rate_limited" => "the source limits this mirror's requests",
        "paused" => "it is paused",
        "head_in_future" => "the newest head lies in the future; a clock is wrong",
        "bad_batch" => "a source sent a batch that does not verify",
        "wrong_origin" => "a source serves another log",
        "unauthorized_key" => "a source serves heads of another key",
        "wrong_epoch" => "the log is in an epoch that this version does not know",
        "inconsistent_unproven" => "a source's head does not extend this history",
        "fork_same_size" => "the log key signed two histories of one size",
        "fork_prefix" => "the log key signed a head that does not extend an earlier one",
        "truncated" => "the log key signed a smaller log later",
        "timestamp_regressed" => "the log key signed a larger log with an earlier time",
        "chain_merkle_mismatch" => "the signed tree and the signed hash chain differ",
        "bad_entry" => "an entry under a signed head breaks the log's rules",
        "peer_disagrees" => "its root is not this log's",
        "not_reporting" => "it has stopped reporting",
        "never_reported" => "it has never reported",
        other => other,
    }
}

fn entries_at_risk(followers: &[FollowerRow], size: TreeSize) -> Option<u64> {
    if followers.is_empty() {
        return None;
    }
    let agreeing = followers.iter().filter(|row| row.root_matches != Some(false));
    let safe = agreeing.filter_map(|row| row.tree_size).max().unwrap_or_default();
    Some(size.get().saturating_sub(safe.get()))
}

fn count<T>(rows: &[T], which: impl Fn(&T) -> bool) -> usize {
    rows.iter().filter(|row| which(row)).count()
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn all_entries(count: u64) -> String {
    if count == 1 { "the 1 entry".to_owned() } else { format!("all {count} entries") }
}

fn plural(count: usize, noun: &str) -> String {
    match (count, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

fn green(sentence: String) -> Verdict {
    Verdict { colour: Colour::Green, sentence }
}

fn amber(sentence: String) -> Verdict {
    Verdict { colour: Colour::Amber, sentence }
}

fn red(sentence: String) -> Verdict {
    Verdict { colour: Colour::Red, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn at(seconds_ago: i64) -> Timestamp {
        Timestamp::from_millis(NOW - seconds_ago * 1000).unwrap()
    }

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn head(n: u64, age: i64) -> TreeHead {
        TreeHead {
            chain_head: None,
            epoch: 1,
            origin: "log.example".parse().unwrap(),
            root_hash: Hash::EMPTY_TREE,
            timestamp: at(age),
            tree_size: size(n),
        }
    }

    fn follower(n: u8, report: Option<ReportInput>) -> FollowerInput {
        let fingerprint = Fingerprint::new(Hash::new([n; 32]));
        FollowerInput { fingerprint, display_name: None, server: None, report }
    }

    fn report(n: u64, age: i64) -> ReportInput {
        ReportInput {
            status: FollowerStatus::Synced,
            reason: None,
            tree_size: size(n),
            root_hash: Hash::EMPTY_TREE,
            root_matches: Some(true),
            lacks_since: None,
            entries_per_second: None,
            received_at: at(age),
        }
    }

    fn witness(n: u8, proof: Option<(u64, i64)>) -> WitnessInput {
        WitnessInput {
            fingerprint: Fingerprint::new(Hash::new([n; 32])),
            display_name: None,
            server: None,
            last_proof: proof.map(|(reached, age)| LastProof {
                proof_id: reached + 1,
                tree_size: size(reached),
                root_hash: Hash::EMPTY_TREE,
                recorded_at: at(age),
            }),
            cosigned: None,
            proofs_24h: Some(1),
        }
    }

    fn healthy(head: &TreeHead) -> LeaderInput<'_> {
        LeaderInput {
            now: at(0),
            head,
            last_event_id: 98,
            heartbeat_seconds: 60,
            not_signing: None,
            followers: vec![follower(1, Some(report(100, 5))), follower(2, Some(report(99, 5)))],
            witnesses: vec![witness(3, Some((98, 30))), witness(4, Some((99, 20)))],
            policy: None,
            events_unwitnessed: Some(0),
            incidents_open: 0,
        }
    }

    fn verdict(change: impl FnOnce(&mut LeaderInput<'_>)) -> Verdict {
        let head = head(100, 10);
        let mut input = healthy(&head);
        change(&mut input);
        LeaderStatus::new(input).verdict
    }

    #[test]
    fn a_healthy_log_is_green_and_says_why() {
        let head = head(100, 10);
        let status = LeaderStatus::new(healthy(&head));
        assert_eq!(
            status.verdict,
            green(
                "All is well: 100 entries, mirrored by 2 followers and signed by 2 witnesses."
                    .into()
            )
        );
        assert_eq!(status.status, FollowerStatus::Synced);
        assert_eq!(status.entries_at_risk, Some(0));
        assert_eq!(status.head_age_seconds, 10);
        assert_eq!(status.witness_quorum, QuorumState { required: 2, current: 2 });
    }

    #[test]
    fn unknown_is_null_and_not_zero() {
        let head = head(100, 10);
        let input = LeaderInput { followers: vec![], witnesses: vec![], ..healthy(&head) };
        let status = LeaderStatus::new(input);
        assert_eq!(status.entries_at_risk, None);
        assert_eq!(status.unwitnessed_entries, None);
        assert_eq!(status.verdict.colour, Colour::Amber);

        let silent = LeaderInput { followers: vec![follower(1, None)], ..healthy(&head) };
        let status = LeaderStatus::new(silent);
        assert_eq!(status.entries_at_risk, Some(100), "nobody verified anything");
        let row = &status.followers[0];
        assert_eq!(
            (row.status, row.reason.as_deref()),
            (FollowerStatus::Behind, Some("never_reported"))
        );
        assert_eq!((row.lag_entries, row.lag_seconds, row.tree_size), (None, None, None));
    }

    #[test]
    fn a_vanished_follower_turns_red_and_stays_listed() {
        let head = head(100, 10);
        let mut input = healthy(&head);
        input.followers[0] = follower(1, Some(report(100, 61)));
        let status = LeaderStatus::new(input);
        assert_eq!(status.followers[0].status, FollowerStatus::Error);
        assert_eq!(status.followers[0].reason.as_deref(), Some("not_reporting"));
        assert_eq!(status.status, FollowerStatus::Error);
        assert_eq!(status.verdict.colour, Colour::Red);
        assert_eq!(status.entries_at_risk, Some(0), "what it stored is still stored");
    }

    #[test]
    fn a_follower_with_another_root_protects_nothing() {
        let head = head(100, 10);
        let forked = ReportInput { root_matches: Some(false), ..report(100, 5) };
        let input = LeaderInput {
            followers: vec![follower(1, Some(forked)), follower(2, Some(report(60, 5)))],
            ..healthy(&head)
        };
        let status = LeaderStatus::new(input);
        assert_eq!(status.followers[0].reason.as_deref(), Some("peer_disagrees"));
        assert_eq!(status.entries_at_risk, Some(40));
    }

    #[test]
    fn lag_counts_from_the_first_entry_that_is_lacking() {
        let head = head(100, 10);
        let row = |report| FollowerRow::new(follower(1, Some(report)), &head, at(0));
        assert_eq!(row(report(100, 5)).lag_seconds, Some(0));
        let behind = row(ReportInput { lacks_since: Some(at(42)), ..report(90, 5) });
        assert_eq!((behind.lag_entries, behind.lag_seconds), (Some(10), Some(42)));
        assert_eq!(row(report(90, 5)).lag_seconds, None);
        assert_eq!(row(report(101, 5)).lag_entries, Some(0), "a report may overtake the status");
        assert_eq!(lag_seconds(at(0), None, true), Some(0));
        assert_eq!(lag_seconds(at(0), None, false), None);
        assert_eq!(lag_seconds(at(0), Some(at(3)), false), Some(3));
    }

    #[test]
    fn the_time_to_catch_up_follows_from_the_rate() {
        let head = head(100, 10);
        let row = |rate| {
            let report = ReportInput { entries_per_second: rate, ..report(90, 5) };
            FollowerRow::new(follower(1, Some(report)), &head, at(0)).eta_seconds
        };
        assert_eq!([row(Some(4.0)), row(Some(0.0)), row(None)], [Some(3), None, None]);
        let level = FollowerRow::new(follower(1, Some(report(100, 5))), &head, at(0));
        assert_eq!(level.eta_seconds, Some(0));
    }

    #[test]
    fn a_witness_is_current_while_it_keeps_up() {
        let status =
            |proof, last_event| WitnessRow::new(witness(1, proof), last_event, at(0)).status;
        assert_eq!(status(None, 1), WitnessFreshness::Never);
        assert_eq!(status(Some((98, 7200)), 98), WitnessFreshness::Current);
        assert_eq!(status(Some((98, 7201)), 98), WitnessFreshness::Stale);
        assert_eq!(status(Some((97, 600)), 98), WitnessFreshness::Current);
        assert_eq!(status(Some((97, 601)), 98), WitnessFreshness::Stale);
    }

    #[test]
    fn the_witnessed_size_is_that_of_the_quorum() {
        let some = [witness(1, Some((50, 1))), witness(2, Some((80, 1))), witness(3, None)];
        assert_eq!(witnessed_size(&some, 1), Some(size(80)));
        assert_eq!(witnessed_size(&some, 2), Some(size(50)));
        assert_eq!(witnessed_size(&some, 3), Some(TreeSize::ZERO));
        assert_eq!(witnessed_size(&[], 1), None);
        let cosigned = WitnessInput { cosigned: Some(size(90)), ..witness(1, Some((50, 1))) };
        assert_eq!(witnessed_size(&[cosigned], 1), Some(size(90)));
        assert_eq!([majority(0), majority(1), majority(2), majority(3)], [0, 1, 2, 2]);
    }

    #[test]
    fn what_is_wrong_decides_the_colour() {
        assert_eq!(verdict(|_| {}).colour, Colour::Green);
        assert_eq!(verdict(|i| i.not_signing = Some("why".into())).colour, Colour::Red);
        assert_eq!(verdict(|i| i.incidents_open = 1).colour, Colour::Amber);
        assert_eq!(verdict(|i| i.followers.clear()).colour, Colour::Amber);
        assert_eq!(verdict(|i| i.witnesses.clear()).colour, Colour::Amber);
        assert_eq!(verdict(|i| i.heartbeat_seconds = 3).colour, Colour::Red);
        assert_eq!(verdict(|i| i.witnesses[0] = witness(3, None)).colour, Colour::Red);
        let thin = verdict(|i| {
            i.witnesses[0] = witness(3, None);
            i.policy = Some(QuorumState { required: 1, current: 1 });
        });
        assert_eq!(thin, amber("1 of 2 witnesses are not current.".into()));
        let syncing = ReportInput { status: FollowerStatus::Syncing, ..report(50, 1) };
        let behind = verdict(|i| i.followers[0] = follower(1, Some(syncing)));
        assert_eq!(behind, amber("1 of 2 followers are behind or catching up.".into()));
    }

    #[test]
    fn a_policy_decides_who_must_sign_where_no_witness_is_authorised() {
        let head = head(100, 10);
        let with_policy = |current| {
            let policy = Some(QuorumState { required: 2, current });
            LeaderStatus::new(LeaderInput { witnesses: vec![], policy, ..healthy(&head) })
        };

        let (good, poor) = (with_policy(3), with_policy(1));

        assert_eq!(good.witness_quorum, QuorumState { required: 2, current: 3 });
        assert_eq!(good.unwitnessed_entries, Some(0));
        assert_eq!(good.verdict.colour, Colour::Green, "{}", good.verdict.sentence);
        assert!(good.verdict.sentence.ends_with("signed by 3 witnesses."));
        assert_eq!(poor.verdict.colour, Colour::Red);
    }

    fn mirror(status: FollowerStatus) -> MirrorStatus {
        MirrorStatus {
            status,
            reason: None,
            class: None,
            since: None,
            retry_at: None,
            evidence: None,
            next_action: None,
            origin: None,
            fingerprint: None,
            display_name: None,
            tree_size: size(100),
            root_hash: Hash::EMPTY_TREE,
            leader_tree_size: Some(size(100)),
            head_timestamp: Some(at(10)),
            last_contact: Some(at(1)),
            lag_entries: Some(0),
            lag_seconds: Some(0),
            entries_per_second: None,
            eta_seconds: None,
            upstreams: vec![],
            incidents_open: 0,
            verdict: green(String::new()),
        }
    }

    #[test]
    fn a_mirror_says_in_words_how_it_stands() {
        let says = |mirror: MirrorStatus| mirror.judged(at(0)).verdict;
        assert_eq!(
            says(mirror(FollowerStatus::Synced)),
            green("This mirror has verified all 100 entries; the newest head is 10 s old.".into())
        );
        let syncing = MirrorStatus {
            lag_entries: Some(5000),
            eta_seconds: Some(300),
            ..mirror(FollowerStatus::Syncing)
        };
        assert_eq!(
            says(syncing),
            amber("This mirror is catching up: 5000 entries left, about 5 min.".into())
        );
        let forked = MirrorStatus {
            reason: Some("fork_same_size".into()),
            class: Some(ErrorClass::Latched),
            next_action: Some("Publish the evidence.".into()),
            ..mirror(FollowerStatus::Error)
        };
        let verdict = says(forked);
        assert_eq!(verdict.colour, Colour::Red);
        assert_eq!(
            verdict.sentence,
            "This mirror stopped for good: the log key signed two histories of one size. \
             Publish the evidence."
        );
    }

    #[test]
    fn both_shapes_begin_with_their_role_and_show_null_for_unknown() {
        let status = ReplicationStatus::Follower(Box::new(mirror(FollowerStatus::Synced)));
        let text = serde_json::to_string(&status).unwrap();
        assert!(
            text.starts_with(r#"{"role":"follower","status":"SYNCED","reason":null,"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<ReplicationStatus>(&text).unwrap(), status);
        let head = head(100, 10);
        let leader = LeaderStatus::new(healthy(&head));
        let text = serde_json::to_string(&ReplicationStatus::Leader(Box::new(leader))).unwrap();
        assert!(text.starts_with(r#"{"role":"leader","status":"SYNCED","origin":"log.example","#));
    }
}
