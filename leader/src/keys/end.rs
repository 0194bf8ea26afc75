//! Ending a key: its holder replaces it with another one, or revokes it.

use ::http::HeaderMap;
use diogenes_common::clock::Timestamp;
use diogenes_common::event::authorization::Action;
use diogenes_common::event::{
    BadRequest, KeyRevocation, KeySuccession, RevocationRequest, SuccessionRequest, SuccessorKey,
};
use diogenes_common::keys::{Fingerprint, HolderKey};
use diogenes_common::server::Caller;
use diogenes_common::shape;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::KeyError;
use crate::app::App;
use crate::auth::{Act, AuthError, AuthProof, authorize};

/// A request to end a key, as it came.
pub(crate) struct EndRequest<'a> {
    /// What is asked for.
    pub(crate) payload: Map<String, Value>,
    /// The answered challenge, if one came.
    pub(crate) auth: Option<&'a AuthProof>,
    /// Who sends it.
    pub(crate) caller: &'a Caller,
    /// With which headers.
    pub(crate) headers: &'a HeaderMap,
}

/// Checks that the holder of a key wants it to give way to another one.
pub(crate) async fn succession(
    app: &App,
    request: EndRequest<'_>,
) -> Result<KeySuccession, KeyError> {
    let EndRequest { payload, auth, caller, headers } = request;
    let asked: SuccessionRequest = read(&payload)?;
    let successor = SuccessorKey::of(&asked, &app.origin)?;
    must_be_ahead(successor.expiration_date, app.clock.now())?;
    if app.require_key_proof && successor.proof.is_none() {
        let detail = "this log takes keys with a proof of possession only".to_owned();
        return Err(BadRequest::Member { member: "new_key_proof", detail }.into());
    }
    let act = Act {
        signer: successor.old_fingerprint,
        action: Action::Succeed,
        request: &json!({ "payload": payload }),
        may_recover: true,
        password: true,
    };
    let authorization = authorize(app, caller, headers, act, auth).await?;
    let old = registered(app, &successor.old_fingerprint).await?;
    Ok(successor.succeed(old, auth.is_some_and(AuthProof::recovers), authorization))
}

/// Checks that the holder of a key wants it revoked. Needs no password: who lost one must still be
/// able to.
pub(crate) async fn revocation(
    app: &App,
    request: EndRequest<'_>,
) -> Result<KeyRevocation, KeyError> {
    let EndRequest { payload, auth, caller, headers } = request;
    let RevocationRequest { fingerprint } = read(&payload)?;
    let act = Act {
        signer: fingerprint,
        action: Action::Revoke,
        request: &json!({ "payload": payload }),
        may_recover: false,
        password: false,
    };
    let authorization = authorize(app, caller, headers, act, auth).await?;
    let public_key = registered(app, &fingerprint).await?;
    Ok(KeyRevocation { authorization, fingerprint, public_key })
}

fn read<T: DeserializeOwned>(payload: &Map<String, Value>) -> Result<T, BadRequest> {
    Ok(shape::read(&Value::Object(payload.clone()))?)
}

fn must_be_ahead(expires: Option<Timestamp>, now: Timestamp) -> Result<(), BadRequest> {
    match expires {
        Some(date) if date <= now => Err(BadRequest::Member {
            member: "expiration_date",
            detail: "give a date in the future".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The key of this fingerprint; only who answered with it gets here.
async fn registered(app: &App, fingerprint: &Fingerprint) -> Result<HolderKey, KeyError> {
    let row = app.store.key(fingerprint).await.map_err(AuthError::from)?;
    let key = row.and_then(|row| HolderKey::from_pem(&row.public_key).ok());
    Ok(key.ok_or(AuthError::NotAnswered)?)
}
