//! What the operator decides: who mirrors the log, who witnesses it, whom it endorses, and what is
//! shown of them (docs/operating/leader.md, "Followers and witnesses").

mod http;
mod resolve;
mod shapes;
mod statements;

use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::keys::{AnyFingerprint, Fingerprint, HolderKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::statement::{Category, ProfileType};
use diogenes_common::store::{Incident, LocalWrite, PendingKey, ReservedKey, StoreError};
use diogenes_common::view::{EndorsedRow, KeyRow, category_of};

pub(crate) use http::router;
pub(crate) use shapes::{
    AcknowledgedAnswer, EndorseBody, IncidentItem, IncidentList, PendingList, ProfileBody,
    ReleasedAnswer, ReservedAnswer,
};
pub(crate) use statements::{
    Endorsement, STATEMENT_BYTES, SetProfile, StatementRefusal, endorsement,
};

use crate::app::App;
use crate::sequencer::{AppendError, Appended, Outcome};
use resolve::{Ambiguous, choose};
use statements::{DescribeNode, Endorse, Revoke};

/// For how long an authorisation waits for a key that was only named.
const RESERVATION_MILLIS: i64 = 7 * 86_400_000;

/// A key as the operator gives it.
#[derive(Clone, Debug)]
enum GivenKey {
    /// By its fingerprint.
    Fingerprint(AnyFingerprint),
    /// The key itself.
    Key(HolderKey),
}

/// What an endorsement came to.
#[derive(Debug)]
enum Endorsed {
    /// It is logged now.
    Logged(Leaf),
    /// It stood already.
    Stands(Leaf),
    /// It waits for the key of this fingerprint.
    Reserved(AnyFingerprint),
}

/// What a revocation came to.
#[derive(Debug)]
enum Revoked {
    /// It is logged now.
    Logged(Leaf),
    /// A reservation was given up; the log never knew of it.
    Released(AnyFingerprint),
}

/// Why the operator's wish can't be fulfilled.
#[derive(Debug, thiserror::Error)]
enum OperatorError {
    /// A short fingerprint of several keys.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// A follower or an endorsed person registers first.
    #[error(
        "no key {0} is registered on this log; its holder registers it first (a follower: \
         diogenes follower register)"
    )]
    NotRegistered(AnyFingerprint),
    /// A key with a role signs statements that every node checks.
    #[error("a node's key is an Ed25519 key, which {0} is not")]
    NotEd25519(Fingerprint),
    /// Nothing goes by this fingerprint.
    #[error("the operator has authorised no key {0} here")]
    NotEndorsed(AnyFingerprint),
    /// No such incident is open.
    #[error("no incident {0} is open")]
    NoIncident(i64),
    /// The rules of the log, or the log itself.
    #[error(transparent)]
    Append(#[from] AppendError<StatementRefusal>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Endorses a key in a category, or reserves that for a witness that was only named.
async fn endorse(
    app: &App,
    given: GivenKey,
    category: Category,
    name: Option<Name>,
) -> Result<Endorsed, OperatorError> {
    let key = match given {
        GivenKey::Key(key) if category == Category::Witness => key,
        GivenKey::Key(key) => registered(app, AnyFingerprint::Full(key.fingerprint())).await?,
        GivenKey::Fingerprint(named) if category == Category::Witness => {
            match choose(named, known_witnesses(app, named).await?)? {
                Some(key) => key,
                None => return reserve(app, named, name).await,
            }
        }
        GivenKey::Fingerprint(named) => registered(app, named).await?,
    };
    let fingerprint = key.fingerprint();
    if category.gives_role() && key.ed25519().is_none() {
        return Err(OperatorError::NotEd25519(fingerprint));
    }
    let local = match category {
        Category::Witness => no_longer_waiting(fingerprint),
        _ => Vec::new(),
    };
    match app.sequencer.submit(Endorse { key, category, name, local }).await? {
        Outcome::Appended(appended) => Ok(Endorsed::Logged(only(appended)?)),
        Outcome::Found { id } => {
            let leaf = app.store.entry(id).await?.ok_or(AppendError::Internal)?;
            Ok(Endorsed::Stands(leaf))
        }
    }
}

/// Ends what the operator said about a key in these categories.
async fn revoke(
    app: &App,
    named: AnyFingerprint,
    categories: &'static [Category],
) -> Result<Revoked, OperatorError> {
    let standing = endorsements(app, named)
        .await?
        .into_iter()
        .filter(|row| row.revoked_by.is_none())
        .filter(|row| categories.iter().any(|category| category.as_str() == row.category));
    let Some(key) = choose(named, standing.filter_map(|row| subject(&row)))? else {
        let waits = categories.contains(&Category::Witness);
        if waits && app.store.unreserve(&named).await? {
            return Ok(Revoked::Released(named));
        }
        return Err(OperatorError::NotEndorsed(named));
    };
    let revoke = Revoke { fingerprint: key.fingerprint(), categories };
    match app.sequencer.submit(revoke).await? {
        Outcome::Appended(appended) => Ok(Revoked::Logged(only(appended)?)),
        Outcome::Found { .. } => Err(AppendError::Internal.into()),
    }
}

/// Sets the profile of an authorised node.
async fn describe(
    app: &App,
    named: AnyFingerprint,
    kind: ProfileType,
    display_name: Name,
    server: Option<ServerUrl>,
) -> Result<Leaf, OperatorError> {
    let category = category_of(kind).as_str();
    let standing = endorsements(app, named)
        .await?
        .into_iter()
        .filter(|row| row.revoked_by.is_none() && row.category == category);
    let key = choose(named, standing.filter_map(|row| subject(&row)))?
        .ok_or(OperatorError::NotEndorsed(named))?;
    let (operator, fingerprint) = (app.operator_fingerprint(), key.fingerprint());
    let describe = DescribeNode { operator, fingerprint, kind, display_name, server };
    match app.sequencer.submit(describe).await? {
        Outcome::Appended(appended) => Ok(only(appended)?),
        Outcome::Found { .. } => Err(AppendError::Internal.into()),
    }
}

/// The keys that wait for the operator, and the authorisations that wait for keys.
async fn waiting(app: &App) -> Result<(Vec<PendingKey>, Vec<ReservedKey>), StoreError> {
    let now = app.clock.now();
    Ok((app.store.pending(now).await?, app.store.reserved(now).await?))
}

/// The incidents, newest first.
async fn incidents(app: &App, only_open: bool) -> Result<Vec<Incident>, StoreError> {
    app.store.incidents(only_open).await
}

/// Acknowledges an open incident.
async fn acknowledge(app: &App, id: i64) -> Result<(), OperatorError> {
    if app.store.ack_incident(id, app.clock.now()).await? {
        tracing::info!(incident.id = id, "the operator acknowledged an incident");
        return Ok(());
    }
    Err(OperatorError::NoIncident(id))
}

/// The rows that make a key wait no longer, once it is authorised.
pub(crate) fn no_longer_waiting(key: Fingerprint) -> Vec<LocalWrite> {
    vec![
        LocalWrite::DeletePending(key),
        LocalWrite::DeleteReserved(AnyFingerprint::Full(key)),
        LocalWrite::DeleteReserved(AnyFingerprint::Short(key.short())),
    ]
}

async fn reserve(
    app: &App,
    named: AnyFingerprint,
    name: Option<Name>,
) -> Result<Endorsed, OperatorError> {
    let expires_at = app.clock.now().plus_millis(RESERVATION_MILLIS);
    let name = name.map(|name| name.to_string());
    let category = Category::Witness.as_str().to_owned();
    app.store.reserve(&ReservedKey { key: named, name, category, expires_at }).await?;
    tracing::info!(key.named = %named, "an authorisation waits for its witness");
    Ok(Endorsed::Reserved(named))
}

/// The keys that an operator may mean who authorises a witness: those whose proof arrived, those
/// that were authorised before, those that are registered.
async fn known_witnesses(
    app: &App,
    named: AnyFingerprint,
) -> Result<Vec<HolderKey>, OperatorError> {
    let pending = app.store.pending(app.clock.now()).await?;
    let mut known: Vec<HolderKey> =
        pending.into_iter().filter_map(|key| HolderKey::from_pem(&key.public_key).ok()).collect();
    known.extend(endorsements(app, named).await?.into_iter().filter_map(|row| subject(&row)));
    known.extend(
        registrations(app, named).await?.into_iter().filter_map(|row| registered_key(&row)),
    );
    Ok(known)
}

async fn registered(app: &App, named: AnyFingerprint) -> Result<HolderKey, OperatorError> {
    let known = registrations(app, named).await?.into_iter().filter_map(|row| registered_key(&row));
    choose(named, known)?.ok_or(OperatorError::NotRegistered(named))
}

async fn registrations(app: &App, named: AnyFingerprint) -> Result<Vec<KeyRow>, StoreError> {
    match named {
        AnyFingerprint::Full(full) => app.store.keys([&full]).await,
        AnyFingerprint::Short(short) => app.store.keys_of_short(short).await,
    }
}

async fn endorsements(app: &App, named: AnyFingerprint) -> Result<Vec<EndorsedRow>, StoreError> {
    match named {
        AnyFingerprint::Full(full) => app.store.endorsements([&full]).await,
        AnyFingerprint::Short(short) => app.store.endorsements_of_short(short).await,
    }
}

fn subject(row: &EndorsedRow) -> Option<HolderKey> {
    HolderKey::from_pem(&row.public_key).ok()
}

fn registered_key(row: &KeyRow) -> Option<HolderKey> {
    HolderKey::from_pem(&row.public_key).ok()
}

/// The first of the entries that a statement became.
fn only(appended: Appended) -> Result<Leaf, AppendError<StatementRefusal>> {
    appended.leaves.into_iter().next().ok_or(AppendError::Internal)
}
