//! The followers of this log: their reports, their profiles, and how all nodes stand.

mod accused;
mod http;
mod lists;
mod own_head;
mod pace;
mod status;

use diogenes_common::clock::Timestamp;
use diogenes_common::head::HeadError;
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::read::Snapshot;
use diogenes_common::statement::{Category, Profile, ReplicationReport, StatementError};
use diogenes_common::store::{ReportRow, StoreError};
use diogenes_common::view::category_of;

pub(crate) use accused::accused;
pub(crate) use http::router;
pub(crate) use lists::{FollowerItem, FollowerList, WitnessItem, WitnessList};
pub(crate) use own_head::{
    Notes, SELF_ROLLED_BACK, START_UNCONFIRMED, lies_on_our_history, peer_disagrees,
};
pub(crate) use status::run as status;

use crate::app::App;
use crate::operator::{SetProfile, StatementRefusal};
use crate::sequencer::{AppendError, Outcome};

/// How far a report's time may be from ours, either way.
const MAX_SKEW_MILLIS: i64 = 120_000;

/// Why a report is refused.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    /// It is about another log.
    #[error("the report is about another log; this one's origin is in /.well-known/diogenes")]
    OtherLog,
    /// The operator did not authorise this follower.
    #[error("the operator has not authorised this follower: operator authorize-federation {0}")]
    NotAuthorized(Fingerprint),
    /// A signature or a member does not hold.
    #[error("{0}")]
    Statement(StatementError),
    /// Its head is not one of this log's key.
    #[error("{0}")]
    Head(HeadError),
    /// Our own key signed the head, and we don't hold it.
    #[error("this log's own key signed that head, but it is not on the history that is held here")]
    SelfRolledBack,
    /// A time beyond what clocks may differ.
    #[error("the report was signed more than 120 s in the future; check the follower's clock")]
    FromFuture,
    /// A report that was too long on its way.
    #[error("the report was signed more than 120 s ago; check the follower's clock")]
    TooOld,
    /// Not newer than the last.
    #[error("a report signed at that time or later was accepted already")]
    Repeated,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a follower's report.
///
/// A root that is not ours is shown and stops nothing; a head signed by our own key that is not
/// on our history stops this leader from signing, whoever brings it.
async fn report(
    app: &App,
    snapshot: &Snapshot,
    report: ReplicationReport,
    body: String,
) -> Result<(), ReportError> {
    if report.origin != app.origin {
        return Err(ReportError::OtherLog);
    }
    if let Some(head) = &report.head {
        let head = head.verify(&app.operator, &app.origin).map_err(ReportError::Head)?;
        if !lies_on_our_history(app, snapshot, &head).await? {
            return Err(ReportError::SelfRolledBack);
        }
    }
    let follower = report.follower;
    let key = authorized_key(app, follower, Category::FederationOperator)
        .await?
        .ok_or(ReportError::NotAuthorized(follower))?;
    let report = report.verify(&key).map_err(ReportError::Statement)?;
    let now = app.clock.now();
    check_time(report.timestamp, now)?;
    let row =
        ReportRow { follower, body: body.clone(), received_at: now, timestamp: report.timestamp };
    if !app.store.put_report(&row).await? {
        return Err(ReportError::Repeated);
    }
    let held = report.tree_size <= snapshot.edge.size();
    if !held || app.root_at(snapshot, report.tree_size).await? != report.root_hash {
        peer_disagrees(app, follower, report.tree_size, body.as_bytes()).await?;
    }
    Ok(())
}

fn check_time(signed: Timestamp, now: Timestamp) -> Result<(), ReportError> {
    match signed.millis_since(now) {
        MAX_AHEAD.. => Err(ReportError::FromFuture),
        ..MAX_BEHIND => Err(ReportError::TooOld),
        _ => Ok(()),
    }
}

const MAX_AHEAD: i64 = MAX_SKEW_MILLIS + 1;
const MAX_BEHIND: i64 = -MAX_SKEW_MILLIS;

/// Why a profile is refused.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    /// It is about another log.
    #[error("the profile is about another log; this one's origin is in /.well-known/diogenes")]
    OtherLog,
    /// A signature or a member does not hold.
    #[error("{0}")]
    Statement(StatementError),
    /// A time beyond what clocks may differ.
    #[error("the profile was signed more than 120 s in the future; check the signer's clock")]
    FromFuture,
    /// The rules of the log, or the log itself.
    #[error(transparent)]
    Append(#[from] AppendError<StatementRefusal>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Logs a profile that its own node or the operator signed.
async fn set_profile(app: &App, profile: Profile) -> Result<Leaf, ProfileError> {
    if profile.origin != app.origin {
        return Err(ProfileError::OtherLog);
    }
    let refused = |refusal| ProfileError::Append(AppendError::Refused(refusal));
    let signer = if profile.signer == app.operator_fingerprint() {
        app.operator.clone()
    } else if profile.signer == profile.fingerprint {
        authorized_key(app, profile.signer, category_of(profile.kind))
            .await?
            .ok_or(refused(StatementRefusal::NotAuthorized(profile.kind)))?
    } else {
        return Err(refused(StatementRefusal::UnknownSigner));
    };
    let profile = profile.verify(&signer).map_err(ProfileError::Statement)?;
    if profile.timestamp.millis_since(app.clock.now()) > MAX_SKEW_MILLIS {
        return Err(ProfileError::FromFuture);
    }
    match app.sequencer.submit(SetProfile(profile)).await? {
        Outcome::Appended(appended) => {
            Ok(appended.leaves.into_iter().next().ok_or(AppendError::Internal)?)
        }
        Outcome::Found { .. } => Err(AppendError::Internal.into()),
    }
}

/// The key of a node whose authorisation in this category stands.
async fn authorized_key(
    app: &App,
    node: Fingerprint,
    category: Category,
) -> Result<Option<PublicKey>, StoreError> {
    let said = app.store.endorsements([&node]).await?;
    let standing =
        said.into_iter().find(|row| row.category == category.as_str() && row.revoked_by.is_none());
    Ok(standing.and_then(|row| PublicKey::from_pem(&row.public_key).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reports_time_is_within_two_minutes_of_ours() {
        let at = |millis| Timestamp::from_millis(millis).expect("a time");
        let check = |signed| check_time(at(signed), at(1_000_000));

        assert!(matches!(check(1_120_000), Ok(())));
        assert!(matches!(check(880_000), Ok(())));
        assert!(matches!(check(1_120_001), Err(ReportError::FromFuture)));
        assert!(matches!(check(879_999), Err(ReportError::TooOld)));
    }
}
