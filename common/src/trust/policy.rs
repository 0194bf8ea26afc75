//! What a verifier wants of a signer: the `config` of a `trust_config`.
//!
//! ```text
//! {"anchors": ["sha256:…"], "decay": 0.5, "max_depth": 3, "min_score": 0.25, "min_paths": 1,
//!  "categories": null, "institutions": null, "require_binds": null}
//! ```
//!
//! All but `anchors` may be left out or null, and then are as above. A policy is written as it was
//! given, member by member, since its holder signed it so; what was left out is filled in by whoever
//! reads, never in the log.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Edge, Millionths};
use crate::event::text::folded;
use crate::keys::Fingerprint;
use crate::manifest::Binds;
use crate::shape::{self, Misfit};
use crate::statement::Category;

/// The most anchors of a policy.
pub const MAX_ANCHORS: usize = 64;

/// The most steps from an anchor to a signer.
pub const MAX_DEPTH: u32 = 8;

/// The most steps where several disjoint paths are wanted.
pub const MAX_DEPTH_OF_DISJOINT: u32 = 3;

/// The most disjoint paths that can be wanted.
pub const MAX_PATHS: u32 = 8;

/// The most institutions that a policy names.
pub const MAX_INSTITUTIONS: usize = 64;

/// The longest name of an institution, in characters.
pub const MAX_INSTITUTION_CHARS: usize = 200;

/// A verifier's policy, within its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct Policy {
    members: Members,
    /// The institutions as they are compared.
    institutions: Option<BTreeSet<String>>,
}

/// Why a policy is none; each says which member to change, and to what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not an object of these members with values of these kinds.
    #[error(transparent)]
    Shape(#[from] Misfit),
    /// Nobody to start from, or too many.
    #[error("`anchors`: name 1 to 64 keys")]
    Anchors,
    /// One anchor twice.
    #[error("`anchors`: name each key once")]
    RepeatedAnchor,
    /// A decay that leaves nothing of any score.
    #[error("`decay`: give more than 0 (and 1 at most)")]
    Decay,
    /// No step at all, or more than the search takes.
    #[error("`max_depth`: give 1 to 8 steps")]
    MaxDepth,
    /// A score that everybody has.
    #[error("`min_score`: give more than 0 (and 1 at most)")]
    MinScore,
    /// No path at all, or more than the search takes.
    #[error("`min_paths`: give 1 to 8 paths")]
    MinPaths,
    /// Several disjoint paths, and long ones.
    #[error("`max_depth`: give 1 to 3 steps, or 1 for `min_paths`")]
    DepthOfDisjoint,
    /// An empty list, which nothing would fit.
    #[error("`{0}`: name at least one, or give null for any")]
    Empty(&'static str),
    /// Something twice in a list.
    #[error("`{0}`: name each of them once")]
    Repeated(&'static str),
    /// Too many institutions.
    #[error("`institutions`: name 64 at most")]
    Institutions,
    /// A name that no institution has.
    #[error("`institutions`: give names of 1 to 200 characters, none of them a control character")]
    Institution,
}

impl PolicyError {
    /// The pointer of the member at fault, of a policy that stands at `base`.
    pub fn pointer(&self, base: &str) -> String {
        let member = match self {
            Self::Shape(misfit) => return misfit.pointer(base),
            Self::Anchors | Self::RepeatedAnchor => "anchors",
            Self::Decay => "decay",
            Self::MaxDepth | Self::DepthOfDisjoint => "max_depth",
            Self::MinScore => "min_score",
            Self::MinPaths => "min_paths",
            Self::Empty(member) | Self::Repeated(member) => member,
            Self::Institutions | Self::Institution => "institutions",
        };
        format!("{base}/{member}")
    }
}

impl Policy {
    /// The policy of a verifier who gave none: it trusts itself.
    pub fn of_anchor(verifier: Fingerprint) -> Self {
        let members = Members { anchors: vec![verifier], ..Members::default() };
        Self { members, institutions: None }
    }

    /// Reads a policy; serde reads the same ones, but tells less of what is wrong.
    pub fn read(value: &Value) -> Result<Self, PolicyError> {
        shape::read::<Members>(value)?.try_into()
    }

    /// The same policy with other anchors, for where they have successors.
    #[must_use]
    pub fn with_anchors(&self, anchors: Vec<Fingerprint>) -> Self {
        Self { members: Members { anchors, ..self.members.clone() }, ..self.clone() }
    }

    /// The keys that are trusted fully.
    pub fn anchors(&self) -> &[Fingerprint] {
        &self.members.anchors
    }

    /// What is left of a score after each step: 0.5.
    pub fn decay(&self) -> Millionths {
        self.members.decay()
    }

    /// The most steps from an anchor to a signer: 3.
    pub fn max_depth(&self) -> u32 {
        narrow(self.members.max_depth())
    }

    /// The least score that is enough: 0.25.
    pub fn min_score(&self) -> Millionths {
        self.members.min_score()
    }

    /// How many disjoint paths are wanted: 1.
    pub fn min_paths(&self) -> u32 {
        narrow(self.members.min_paths())
    }

    /// The forms of signature of which an attestation must have one; none: any will do.
    pub fn require_binds(&self) -> Option<&[Binds]> {
        self.members.require_binds.value().map(Vec::as_slice)
    }

    /// Whether an endorsement is of a category, and of an institution, that the verifier regards.
    pub fn regards(&self, edge: &Edge) -> bool {
        let categories = self.members.categories.value();
        let of_category = categories.is_none_or(|categories| {
            categories.iter().any(|named| named.category == edge.category)
        });
        let of_institution = self.institutions.as_ref().is_none_or(|institutions| {
            edge.institution.as_ref().is_some_and(|name| institutions.contains(name))
        });
        of_category && of_institution
    }

    /// What is left of a score after a step over an endorsement of this weight.
    pub(super) fn step(&self, weight: Millionths) -> Millionths {
        self.decay().times(weight)
    }
}

/// The members as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    anchors: Vec<Fingerprint>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    categories: Given<Vec<NamedCategory>>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    decay: Given<Millionths>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    institutions: Given<Vec<String>>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    max_depth: Given<i64>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    min_paths: Given<i64>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    min_score: Given<Millionths>,
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    require_binds: Given<Vec<Binds>>,
}

impl Members {
    const DECAY: u32 = 500_000;
    const MAX_DEPTH: i64 = 3;
    const MIN_PATHS: i64 = 1;
    const MIN_SCORE: u32 = 250_000;

    fn decay(&self) -> Millionths {
        let default = Millionths::new(Self::DECAY).expect("less than a million");
        *self.decay.value().unwrap_or(&default)
    }

    fn min_score(&self) -> Millionths {
        let default = Millionths::new(Self::MIN_SCORE).expect("less than a million");
        *self.min_score.value().unwrap_or(&default)
    }

    fn max_depth(&self) -> i64 {
        *self.max_depth.value().unwrap_or(&Self::MAX_DEPTH)
    }

    fn min_paths(&self) -> i64 {
        *self.min_paths.value().unwrap_or(&Self::MIN_PATHS)
    }

    fn check_anchors(&self) -> Result<(), PolicyError> {
        if self.anchors.is_empty() || self.anchors.len() > MAX_ANCHORS {
            return Err(PolicyError::Anchors);
        }
        if has_repeats(&self.anchors) {
            return Err(PolicyError::RepeatedAnchor);
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), PolicyError> {
        if self.decay() == Millionths::ZERO {
            return Err(PolicyError::Decay);
        }
        if self.min_score() == Millionths::ZERO {
            return Err(PolicyError::MinScore);
        }
        if !(1..=i64::from(MAX_DEPTH)).contains(&self.max_depth()) {
            return Err(PolicyError::MaxDepth);
        }
        if !(1..=i64::from(MAX_PATHS)).contains(&self.min_paths()) {
            return Err(PolicyError::MinPaths);
        }
        if self.min_paths() > 1 && self.max_depth() > i64::from(MAX_DEPTH_OF_DISJOINT) {
            return Err(PolicyError::DepthOfDisjoint);
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), PolicyError> {
        let categories: Option<Vec<_>> =
            self.categories.value().map(|names| names.iter().map(|name| name.category).collect());
        check_list("categories", categories.as_deref())?;
        check_list("require_binds", self.require_binds.value().map(Vec::as_slice))
    }

    fn folded_institutions(&self) -> Result<Option<BTreeSet<String>>, PolicyError> {
        let Some(names) = self.institutions.value() else { return Ok(None) };
        if names.len() > MAX_INSTITUTIONS {
            return Err(PolicyError::Institutions);
        }
        if !names.iter().all(|name| is_name(name)) {
            return Err(PolicyError::Institution);
        }
        let folded: Vec<String> = names.iter().map(|name| folded(name)).collect();
        check_list("institutions", Some(&folded))?;
        Ok(Some(folded.into_iter().collect()))
    }
}

impl TryFrom<Members> for Policy {
    type Error = PolicyError;

    fn try_from(members: Members) -> Result<Self, PolicyError> {
        members.check_anchors()?;
        members.check_numbers()?;
        members.check_lists()?;
        Ok(Self { institutions: members.folded_institutions()?, members })
    }
}

impl From<Policy> for Members {
    fn from(policy: Policy) -> Self {
        policy.members
    }
}

/// An optional member: left out, null and a value are three different signed texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Given<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    const fn value(&self) -> Option<&T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A category of trust, and whether it was written without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamedCategory {
    category: Category,
    is_short: bool,
}

impl NamedCategory {
    const PREFIX: &str = "x-diogenes:";

    fn as_str(self) -> &'static str {
        let full = self.category.as_str();
        if self.is_short { full.strip_prefix(Self::PREFIX).unwrap_or(full) } else { full }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Category::HumanAttestation, Category::InstitutionalEndorsement]
            .into_iter()
            .flat_map(|category| [true, false].map(|is_short| Self { category, is_short }))
            .find(|named| named.as_str() == name)
    }
}

impl Serialize for NamedCategory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NamedCategory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NEEDED: &str =
            "a category of trust is `human_attestation` or `institutional_endorsement`";
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(NEEDED))
    }
}

fn check_list<T: Ord>(member: &'static str, list: Option<&[T]>) -> Result<(), PolicyError> {
    match list {
        Some([]) => Err(PolicyError::Empty(member)),
        Some(list) if has_repeats(list) => Err(PolicyError::Repeated(member)),
        _ => Ok(()),
    }
}

fn has_repeats<T: Ord>(list: &[T]) -> bool {
    list.iter().collect::<BTreeSet<_>>().len() < list.len()
}

fn is_name(text: &str) -> bool {
    let count = text.chars().take(MAX_INSTITUTION_CHARS + 1).count();
    (1..=MAX_INSTITUTION_CHARS).contains(&count) && !text.chars().any(char::is_control)
}

/// A number of steps or paths of a checked policy.
fn narrow(number: i64) -> u32 {
    u32::try_from(number).expect("checked to be within 1 and 8")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canonical;

    fn key(seed: u8) -> Fingerprint {
        Fingerprint::of_der(&[seed])
    }

    fn with(member: &str, value: Value) -> Value {
        let mut policy = json!({"anchors": [key(1)]});
        policy[member] = value;
        policy
    }

    fn institutions(count: usize) -> Value {
        (0..count).map(|number| format!("Institute {number}")).collect()
    }

    #[test]
    fn what_is_left_out_or_null_is_the_default() {
        let left_out = Policy::read(&json!({"anchors": [key(1)]})).unwrap();
        let null = Policy::read(&json!({
            "anchors": [key(1)], "categories": null, "decay": null, "institutions": null,
            "max_depth": null, "min_paths": null, "min_score": null, "require_binds": null,
        }))
        .unwrap();

        assert_eq!(left_out, Policy::of_anchor(key(1)));
        for policy in [left_out, null] {
            assert_eq!(policy.anchors(), [key(1)]);
            assert_eq!(policy.decay().to_string(), "0.5");
            assert_eq!(policy.max_depth(), 3);
            assert_eq!(policy.min_score().to_string(), "0.25");
            assert_eq!(policy.min_paths(), 1);
            assert_eq!(policy.require_binds(), None);
        }
    }

    #[test]
    fn a_policy_is_written_as_it_was_given() {
        for given in [
            json!({"anchors": [key(2), key(1)]}),
            json!({"anchors": [key(1)], "decay": null, "categories": null, "min_paths": 2}),
            json!({
                "anchors": [key(1)],
                "categories": ["human_attestation", "x-diogenes:institutional_endorsement"],
                "decay": 0.7, "institutions": ["ÉCOLE", "Straße 1"], "max_depth": 8,
                "min_paths": 1, "min_score": 0.000_001,
                "require_binds": ["all", "manifest+parents"],
            }),
            json!({"anchors": [key(1)], "decay": 1, "min_score": 1}),
        ] {
            let bytes = canonical::to_vec(&given);
            let read = Policy::read(&canonical::parse(&bytes, 8).unwrap()).unwrap();
            let written = serde_json::to_value(&read).unwrap();

            assert_eq!(canonical::to_vec(&written), bytes);
            assert_eq!(serde_json::from_value::<Policy>(written).unwrap(), read);
        }
    }

    #[test]
    fn each_bound_is_refused_by_its_name() {
        let anchors = |count: u8| (0..count).map(key).collect::<Vec<_>>();
        for (member, value, error) in [
            ("anchors", json!([]), PolicyError::Anchors),
            ("anchors", json!(anchors(65)), PolicyError::Anchors),
            ("anchors", json!([key(1), key(2), key(1)]), PolicyError::RepeatedAnchor),
            ("decay", json!(0), PolicyError::Decay),
            ("max_depth", json!(0), PolicyError::MaxDepth),
            ("max_depth", json!(9), PolicyError::MaxDepth),
            ("max_depth", json!(-1), PolicyError::MaxDepth),
            ("min_score", json!(0.0), PolicyError::MinScore),
            ("min_paths", json!(0), PolicyError::MinPaths),
            ("min_paths", json!(9), PolicyError::MinPaths),
            ("categories", json!([]), PolicyError::Empty("categories")),
            (
                "categories",
                json!(["human_attestation", "x-diogenes:human_attestation"]),
                PolicyError::Repeated("categories"),
            ),
            ("require_binds", json!([]), PolicyError::Empty("require_binds")),
            ("require_binds", json!(["all", "all"]), PolicyError::Repeated("require_binds")),
            ("institutions", json!([]), PolicyError::Empty("institutions")),
            ("institutions", json!(["Uni", "UNI"]), PolicyError::Repeated("institutions")),
            ("institutions", institutions(65), PolicyError::Institutions),
            ("institutions", json!([""]), PolicyError::Institution),
            ("institutions", json!(["a\nb"]), PolicyError::Institution),
            ("institutions", json!(["x".repeat(201)]), PolicyError::Institution),
        ] {
            let refused = Policy::read(&with(member, value)).unwrap_err();

            assert_eq!(refused, error);
            assert_eq!(refused.pointer("/config"), format!("/config/{member}"));
            assert!(refused.to_string().starts_with(&format!("`{member}`: ")), "{refused}");
        }
        let deep = json!({"anchors": [key(1)], "min_paths": 2, "max_depth": 4});
        assert_eq!(Policy::read(&deep), Err(PolicyError::DepthOfDisjoint));
    }

    #[test]
    fn the_bounds_themselves_are_within() {
        let anchors: Vec<_> = (0..64).map(key).collect();
        for (member, value) in [
            ("anchors", json!(anchors)),
            ("decay", json!(1)),
            ("decay", json!(0.000_001)),
            ("max_depth", json!(8)),
            ("min_paths", json!(8)),
            ("min_score", json!(1)),
            ("institutions", institutions(64)),
            ("institutions", json!(["ß".repeat(200)])),
        ] {
            assert!(Policy::read(&with(member, value)).is_ok(), "{member}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_member() {
        for (member, value) in [
            ("anchors", json!(["sha256:00"])),
            ("decay", json!(0.123_456_7)),
            ("decay", json!("0.5")),
            ("min_score", json!(1.5)),
            ("max_depth", json!(2.5)),
            ("categories", json!(["x-diogenes:witness"])),
            ("categories", json!(["federation_operator"])),
            ("require_binds", json!(["parents"])),
            ("trust_everybody", json!(true)),
        ] {
            let refused = Policy::read(&with(member, value)).unwrap_err();

            assert!(matches!(refused, PolicyError::Shape(_)), "{refused}");
            assert_eq!(refused.pointer("/config"), format!("/config/{member}"));
        }
        let refused = Policy::read(&json!({"decay": 0.5})).unwrap_err();
        assert_eq!(refused.pointer("/config"), "/config/anchors");
        assert!(Policy::read(&json!([])).is_err());
    }

    #[test]
    fn institutions_and_categories_choose_among_endorsements() {
        let policy = Policy::read(&json!({
            "anchors": [key(1)],
            "categories": ["institutional_endorsement"],
            "institutions": ["STRASSE der Ideen"],
        }))
        .unwrap();
        let edge = |category, institution: Option<&str>| Edge {
            offer_entry_id: 1,
            endorser: key(1),
            endorsed: key(2),
            category,
            institution: institution.map(folded),
            weight: Millionths::ONE,
        };
        let (person, institution) =
            (Category::HumanAttestation, Category::InstitutionalEndorsement);

        assert!(policy.regards(&edge(institution, Some("Straße der Ideen"))));
        assert!(!policy.regards(&edge(institution, Some("Straße"))));
        assert!(!policy.regards(&edge(institution, None)));
        assert!(!policy.regards(&edge(person, Some("Straße der Ideen"))));
        assert!(Policy::of_anchor(key(1)).regards(&edge(person, None)));
    }
}
