//! The operator's statements as commands: endorse, revoke, set a profile.

use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::event::{OperatorEndorsement, OperatorEndorsementRevocation};
use diogenes_common::keys::{Fingerprint, HolderKey};
use diogenes_common::merkle::TreeSize;
use diogenes_common::statement::{
    Category, OperatorStatement, Profile, ProfileClaim, ProfileType, Verb, Verified,
};
use diogenes_common::store::LocalWrite;
use diogenes_common::view::{self, EndorsedRow, Needs, Overlay};

use crate::sequencer::{Command, Context, Decision, NewEntry};

/// An upper bound of what one statement's leaf holds.
pub(crate) const STATEMENT_BYTES: usize = 4_096;

/// Why an operator's statement can't be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StatementRefusal {
    /// One key, one role.
    #[error("this key has another role in this log; use a key of its own for each role")]
    KeyHasOtherRole,
    /// There is nothing to revoke.
    #[error("the operator endorses no such key")]
    NotEndorsed,
    /// The key has no role that a profile could describe.
    #[error("this key is not authorised for the role that the profile describes")]
    NotAuthorized(ProfileType),
    /// The profile was signed by another key than its own or the operator's.
    #[error("a profile is signed by its own key or by the operator")]
    UnknownSigner,
    /// A profile as new or newer is logged.
    #[error("a profile signed at that time or later is in the log; sign it anew")]
    StaleProfile,
}

/// Endorses a key in a category.
pub(crate) struct Endorse {
    pub(crate) key: HolderKey,
    pub(crate) category: Category,
    pub(crate) name: Option<Name>,
    pub(crate) local: Vec<LocalWrite>,
}

impl Command for Endorse {
    type Refusal = StatementRefusal;

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.key.fingerprint());
    }

    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, StatementRefusal> {
        let local = std::mem::take(&mut self.local);
        match endorsement(context, overlay, &self.key, self.category, self.name.clone())? {
            Endorsement::Stands { id } => Ok(Decision::Found { id }),
            Endorsement::New(entry) => Ok(Decision::Append { entries: vec![entry], local }),
        }
    }

    fn bytes(&self) -> usize {
        STATEMENT_BYTES
    }
}

/// What an endorsement would be.
pub(crate) enum Endorsement {
    /// It stands already.
    Stands {
        /// The entry that says so.
        id: u64,
    },
    /// It is this entry.
    New(NewEntry),
}

/// The entry that endorses `key`, by the rules that views apply.
pub(crate) fn endorsement(
    context: &Context<'_>,
    overlay: &Overlay,
    key: &HolderKey,
    category: Category,
    name: Option<Name>,
) -> Result<Endorsement, StatementRefusal> {
    let fingerprint = key.fingerprint();
    if category.gives_role() && fingerprint == context.operator.fingerprint() {
        return Err(StatementRefusal::KeyHasOtherRole);
    }
    for row in rows_of(overlay, fingerprint) {
        if row.category == category.as_str() {
            if row.revoked_by.is_none() {
                return Ok(Endorsement::Stands { id: row.entry_id });
            }
        } else if category.gives_role() && gives_role(row) {
            return Err(StatementRefusal::KeyHasOtherRole);
        }
    }
    let statement = statement(context, fingerprint, category, name, Verb::Endorse, context.size);
    Ok(Endorsement::New(NewEntry::of(&OperatorEndorsement::sign(
        statement,
        key.clone(),
        context.operator,
    ))))
}

/// Ends the operator's endorsements of a key in some categories.
pub(crate) struct Revoke {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) categories: &'static [Category],
}

impl Command for Revoke {
    type Refusal = StatementRefusal;

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.fingerprint);
    }

    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, StatementRefusal> {
        let standing = rows_of(overlay, self.fingerprint)
            .filter(|row| row.revoked_by.is_none())
            .filter_map(|row| Some((row, category(row)?)))
            .filter(|(_, category)| self.categories.contains(category));
        let entries: Vec<_> = standing
            .zip(0..)
            .filter_map(|((row, category), nth)| {
                let key = HolderKey::from_pem(&row.public_key.clone()).ok()?;
                let after = context.size.plus(nth);
                let name = row.name.clone().and_then(|name| Name::try_from(name).ok());
                let statement =
                    statement(context, self.fingerprint, category, name, Verb::Revoke, after);
                Some(NewEntry::of(&OperatorEndorsementRevocation::sign(
                    statement,
                    key,
                    row.entry_id,
                    context.operator,
                )))
            })
            .collect();
        if entries.is_empty() {
            return Err(StatementRefusal::NotEndorsed);
        }
        Ok(Decision::Append { entries, local: Vec::new() })
    }

    fn bytes(&self) -> usize {
        self.categories.len() * STATEMENT_BYTES
    }

    fn entries(&self) -> usize {
        self.categories.len()
    }
}

/// A profile that the node itself or the operator signed.
pub(crate) struct SetProfile(pub(crate) Verified<Profile>);

impl Command for SetProfile {
    type Refusal = StatementRefusal;

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.0.fingerprint);
        needs.keys.insert(self.0.signer);
        needs.profiles.insert(self.0.fingerprint);
    }

    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, StatementRefusal> {
        let own = self.0.signer == self.0.fingerprint;
        if !own && self.0.signer != context.operator.fingerprint() {
            return Err(StatementRefusal::UnknownSigner);
        }
        may_describe(overlay, self.0.fingerprint, self.0.kind)?;
        let known = overlay.profiles.find(&self.0.fingerprint);
        if known.is_some_and(|known| known.timestamp >= self.0.timestamp) {
            return Err(StatementRefusal::StaleProfile);
        }
        let profile: &Profile = &self.0;
        Ok(Decision::Append { entries: vec![NewEntry::of(profile)], local: Vec::new() })
    }

    fn bytes(&self) -> usize {
        STATEMENT_BYTES
    }
}

/// A profile that the operator sets for a node.
pub(crate) struct DescribeNode {
    pub(crate) operator: Fingerprint,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) kind: ProfileType,
    pub(crate) display_name: Name,
    pub(crate) server: Option<ServerUrl>,
}

impl Command for DescribeNode {
    type Refusal = StatementRefusal;

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.fingerprint);
        needs.keys.insert(self.operator);
        needs.profiles.insert(self.fingerprint);
    }

    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, StatementRefusal> {
        may_describe(overlay, self.fingerprint, self.kind)?;
        // The node's own clock may run ahead of ours: the newest profile is still the newest.
        let known = overlay.profiles.find(&self.fingerprint);
        let timestamp =
            known.map_or(context.now, |row| context.now.max(row.timestamp.plus_millis(1)));
        let claim = ProfileClaim {
            display_name: self.display_name.clone(),
            fingerprint: self.fingerprint,
            origin: context.origin.clone(),
            server: self.server.clone(),
            timestamp,
            kind: self.kind,
        };
        let profile = claim.into_profile(context.operator);
        Ok(Decision::Append { entries: vec![NewEntry::of(&profile)], local: Vec::new() })
    }

    fn bytes(&self) -> usize {
        STATEMENT_BYTES
    }
}

fn may_describe(
    overlay: &Overlay,
    fingerprint: Fingerprint,
    kind: ProfileType,
) -> Result<(), StatementRefusal> {
    if view::is_endorsed(overlay, fingerprint, view::category_of(kind)) {
        Ok(())
    } else {
        Err(StatementRefusal::NotAuthorized(kind))
    }
}

fn statement(
    context: &Context<'_>,
    fingerprint: Fingerprint,
    category: Category,
    name: Option<Name>,
    verb: Verb,
    after: TreeSize,
) -> OperatorStatement {
    OperatorStatement {
        after,
        category,
        display_name: (),
        fingerprint,
        name,
        origin: context.origin.clone(),
        server: (),
        timestamp: context.now,
        verb,
    }
}

fn rows_of(overlay: &Overlay, key: Fingerprint) -> impl Iterator<Item = &EndorsedRow> {
    overlay.endorsed.rows().filter(move |row| row.fingerprint == key)
}

fn category(row: &EndorsedRow) -> Option<Category> {
    serde_json::from_value(serde_json::Value::String(row.category.clone())).ok()
}

fn gives_role(row: &EndorsedRow) -> bool {
    category(row).is_some_and(Category::gives_role)
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::event::Event;
    use diogenes_common::head::Origin;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::view::ProfileRow;

    use super::*;

    const NODE: [Category; 1] = [Category::FederationOperator];
    const ALL: [Category; 4] = [
        Category::FederationOperator,
        Category::Witness,
        Category::HumanAttestation,
        Category::InstitutionalEndorsement,
    ];

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).expect("a time")
    }

    /// What a command decides on a log of ten entries at second 100, kept by key 1.
    fn decide<C: Command>(mut command: C, overlay: &Overlay) -> Result<Decision, C::Refusal> {
        let origin: Origin = "log.example/1".parse().expect("an origin");
        let operator = key(1);
        let context = Context {
            now: at(100_000),
            size: TreeSize::ZERO.plus(10),
            origin: &origin,
            operator: &operator,
        };
        command.decide(&context, overlay)
    }

    fn events<R: std::fmt::Debug>(decision: Result<Decision, R>) -> Vec<Event> {
        match decision.expect("a decision") {
            Decision::Append { entries, .. } => entries
                .iter()
                .map(|entry| Event::parse(entry.event_type().as_str(), entry.payload()))
                .collect::<Result<_, _>>()
                .expect("events"),
            Decision::Found { id } => panic!("found in entry {id}"),
        }
    }

    fn endorse(n: u8, category: Category) -> Endorse {
        Endorse { key: key(n).public().into(), category, name: None, local: Vec::new() }
    }

    fn row(n: u8, category: Category, entry_id: u64, revoked_by: Option<u64>) -> EndorsedRow {
        EndorsedRow {
            fingerprint: key(n).fingerprint(),
            category: category.as_str().to_owned(),
            public_key: key(n).public().to_pem(),
            name: None,
            entry_id,
            since: at(0),
            revoked_by,
            after: TreeSize::ZERO.plus(entry_id - 1),
        }
    }

    fn with(rows: impl IntoIterator<Item = EndorsedRow>) -> Overlay {
        let mut overlay = Overlay::new(10);
        rows.into_iter().for_each(|row| overlay.endorsed.put(row));
        overlay
    }

    #[test]
    fn an_endorsement_says_after_which_size_it_was_decided() {
        let events = events(decide(endorse(2, Category::Witness), &Overlay::new(10)));

        let [Event::OperatorEndorsement(endorsement)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(endorsement.fingerprint, key(2).fingerprint());
        assert_eq!((endorsement.category, endorsement.after.get()), (Category::Witness, 10));
    }

    #[test]
    fn what_stands_already_is_found_and_what_ended_is_said_anew() {
        let standing = with([row(2, Category::Witness, 5, None)]);
        let ended = with([row(2, Category::Witness, 5, Some(7))]);

        let found = decide(endorse(2, Category::Witness), &standing);
        assert!(matches!(found, Ok(Decision::Found { id: 5 })));
        assert_eq!(events(decide(endorse(2, Category::Witness), &ended)).len(), 1);
    }

    #[test]
    fn a_key_has_one_role_for_ever() {
        let follower = with([row(2, Category::FederationOperator, 5, Some(7))]);
        let refused = |decision: Result<Decision, StatementRefusal>| decision.err();

        let second_role = decide(endorse(2, Category::Witness), &follower);
        assert_eq!(refused(second_role), Some(StatementRefusal::KeyHasOtherRole));
        let own_key = decide(endorse(1, Category::Witness), &Overlay::new(10));
        assert_eq!(refused(own_key), Some(StatementRefusal::KeyHasOtherRole));
        // Standing is no role.
        assert!(decide(endorse(2, Category::HumanAttestation), &follower).is_ok());
    }

    #[test]
    fn a_revocation_ends_each_standing_endorsement_with_a_statement_of_its_own() {
        let overlay = with([
            row(2, Category::FederationOperator, 5, None),
            row(2, Category::HumanAttestation, 6, None),
            row(2, Category::InstitutionalEndorsement, 7, Some(8)),
            row(3, Category::Witness, 9, None),
        ]);
        let revoke = |categories| Revoke { fingerprint: key(2).fingerprint(), categories };

        let ended: Vec<(u64, u64)> = events(decide(revoke(&ALL), &overlay))
            .iter()
            .map(|event| match event {
                Event::OperatorEndorsementRevocation(event) => {
                    (event.endorsement_id, event.after.get())
                }
                other => panic!("{other:?}"),
            })
            .collect();

        assert_eq!(ended, [(5, 10), (6, 11)]);
        assert_eq!(events(decide(revoke(&NODE), &overlay)).len(), 1);
        let stranger = Revoke { fingerprint: key(4).fingerprint(), categories: &ALL };
        assert_eq!(decide(stranger, &overlay).err(), Some(StatementRefusal::NotEndorsed));
    }

    #[test]
    fn a_profile_comes_from_the_node_or_the_operator_and_only_forward_in_time() {
        let mut overlay = with([row(2, Category::FederationOperator, 5, None)]);
        let signed = |by: u8, millis| {
            let claim = ProfileClaim {
                display_name: Name::try_from("EU Mirror".to_owned()).expect("a name"),
                fingerprint: key(2).fingerprint(),
                origin: "log.example/1".parse().expect("an origin"),
                server: None,
                timestamp: at(millis),
                kind: ProfileType::Federation,
            };
            SetProfile(claim.into_profile(&key(by)).verify(key(by).public()).expect("signed"))
        };

        for by in [1, 2] {
            assert_eq!(events(decide(signed(by, 50), &overlay)).len(), 1);
        }
        let stranger = decide(signed(3, 50), &overlay).err();
        assert_eq!(stranger, Some(StatementRefusal::UnknownSigner));
        let nobody = decide(signed(2, 50), &Overlay::new(10)).err();
        assert_eq!(nobody, Some(StatementRefusal::NotAuthorized(ProfileType::Federation)));
        overlay.profiles.put(profile_row(50));
        let stale = decide(signed(2, 50), &overlay).err();
        assert_eq!(stale, Some(StatementRefusal::StaleProfile));
        assert_eq!(events(decide(signed(2, 51), &overlay)).len(), 1);
    }

    #[test]
    fn a_command_asks_for_every_row_that_its_entries_read() {
        let fingerprint = key(2).fingerprint();
        let describe = DescribeNode {
            operator: key(1).fingerprint(),
            fingerprint,
            kind: ProfileType::Federation,
            display_name: Name::try_from("EU Mirror".to_owned()).expect("a name"),
            server: None,
        };
        let mut asked = Needs::default();
        describe.needs(&mut asked);
        let overlay = with([row(2, Category::FederationOperator, 5, None)]);

        let mut read = Needs::default();
        for event in &events(decide(describe, &overlay)) {
            view::needs(event, &mut read);
        }

        assert_eq!(asked, read);
    }

    #[test]
    fn the_operators_profile_is_the_newest_whatever_the_nodes_clock_says() {
        let mut overlay = with([row(2, Category::FederationOperator, 5, None)]);
        overlay.profiles.put(profile_row(200_000));
        let describe = DescribeNode {
            operator: key(1).fingerprint(),
            fingerprint: key(2).fingerprint(),
            kind: ProfileType::Federation,
            display_name: Name::try_from("EU Mirror".to_owned()).expect("a name"),
            server: None,
        };

        let events = events(decide(describe, &overlay));

        let [Event::OperatorProfile(profile)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((profile.timestamp, profile.signer), (at(200_001), key(1).fingerprint()));
    }

    fn profile_row(millis: i64) -> ProfileRow {
        ProfileRow {
            fingerprint: key(2).fingerprint(),
            kind: "federation".to_owned(),
            display_name: "old".to_owned(),
            server: None,
            timestamp: at(millis),
            entry_id: 6,
        }
    }
}
