//! Believing that a request is the wish of a key's holder.

use std::sync::PoisonError;

use ::http::HeaderMap;
use diogenes_common::clock::Timestamp;
use diogenes_common::event::Authorization;
use diogenes_common::event::authorization::{
    Action, ChallengeText, SignedAuthorization, payload_hash,
};
use diogenes_common::keys::{Fingerprint, HolderKey, HolderSignature};
use diogenes_common::server::Caller;
use diogenes_common::store::ChallengeRow;
use diogenes_common::view::{EndorsedRow, KeyRow, KeyState};
use serde::Deserialize;
use serde_json::Value;

use super::challenge::{self, Unanswerable, Use};
use super::password::Password;
use super::sensitive::Sensitive;
use super::{AuthError, counted, session};
use crate::app::App;
use crate::witnessing::network;

/// The `auth` object of a request: an answered challenge.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthProof {
    /// The challenge, from `POST /auth/challenge`.
    #[schema(value_type = String)]
    challenge_id: ChallengeText,
    /// The signature that answers it, base64.
    challenge_signature: Sensitive,
    /// Whether an expired key is to be succeeded; the challenge must have been asked for that.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<bool>)]
    recovery: bool,
    /// The key's password, if it has one.
    #[serde(default)]
    password: Option<Sensitive>,
}

/// Reads a member that may be left out; null says the same.
pub(super) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl AuthProof {
    /// Whether it is about recovering an expired key.
    pub(crate) const fn recovers(&self) -> bool {
        self.recovery
    }
}

/// What the holder of a key is said to want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act<'a> {
    /// Whose key.
    pub(crate) signer: Fingerprint,
    /// What to do with it.
    pub(crate) action: Action,
    /// The request without `auth`.
    pub(crate) request: &'a Value,
    /// Whether it may be done with an expired key, if the proof says `recovery`.
    pub(crate) may_recover: bool,
    /// Whether the key's password is needed, if it has one.
    pub(crate) password: bool,
}

/// Finds out whether the holder of the key wants this, by the `auth` object, else by a session
/// token. Answers what the entry is to say about it; the challenge is used up then.
pub(crate) async fn authorize(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    act: Act<'_>,
    proof: Option<&AuthProof>,
) -> Result<Authorization, AuthError> {
    match proof {
        Some(proof) => counted(app, by_answer(app, caller, act, proof).await),
        None => match session(app, headers).await? {
            Some(fingerprint) if fingerprint == act.signer => Ok(Authorization::Session {}),
            Some(_) => counted(app, Err(AuthError::OtherKey)),
            None => counted(app, Err(AuthError::Missing)),
        },
    }
}

async fn by_answer(
    app: &App,
    caller: &Caller,
    act: Act<'_>,
    proof: &AuthProof,
) -> Result<Authorization, AuthError> {
    if proof.recovery && !act.may_recover {
        return Err(Unanswerable::Recovery.into());
    }
    let of = Use {
        action: act.action,
        payload_hash: Some(payload_hash(act.request)),
        recovery: proof.recovery,
    };
    let given = Given { signer: Some(act.signer), ..Given::from(proof) };
    let answered = answered(app, caller, given, of).await?;
    let state = if proof.recovery { KeyState::Expired } else { KeyState::Active };
    answered.must_be(state, app.clock.now())?;
    if act.password {
        let given = proof.password.as_ref();
        check_password(app, act.signer, Shown::Freshly, given).await?;
    }
    answered.use_up(app).await?;
    Ok(answered.authorization(act))
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) challenge_id: &'a ChallengeText,
    pub(super) signature: &'a Sensitive,
    /// Whose answer it must be; none if the challenge says it.
    pub(super) signer: Option<Fingerprint>,
}

impl<'a> From<&'a AuthProof> for Given<'a> {
    fn from(proof: &'a AuthProof) -> Self {
        let AuthProof { challenge_id, challenge_signature: signature, .. } = proof;
        Self { challenge_id, signature, signer: None }
    }
}

/// An answer whose signature holds. Its challenge is not used up yet.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) key: KeyRow,
    challenge: ChallengeRow,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// It covers its use; the signature as entries keep it.
    V1(HolderSignature),
    /// It covers the nonce alone.
    Legacy,
}

/// Checks an answer. Of its reasons to say no, those about the key all look alike.
pub(super) async fn answered(
    app: &App,
    caller: &Caller,
    given: Given<'_>,
    of: Use,
) -> Result<Answered, AuthError> {
    let (network, steady) = (network(caller.ip()), app.clock.steady_millis());
    let tries = &app.auth.wrong_signatures;
    // Whoever has to revoke a key does not wait for those who share the network.
    if of.action != Action::Revoke {
        tries.lock().unwrap_or_else(PoisonError::into_inner).may_try(&network, steady)?;
    }
    let challenge = app.store.challenge(given.challenge_id).await?.ok_or(Unanswerable::Unknown)?;
    challenge::judge(&challenge, &of, app.clock.now())?;
    if let Some((key, answer)) = check(app, &challenge, given, &of).await? {
        return Ok(Answered { key, challenge, answer });
    }
    tries.lock().unwrap_or_else(PoisonError::into_inner).failed(&network, steady);
    Err(AuthError::NotAnswered)
}

/// The key and how it answered, in the form that covers the use first.
async fn check(
    app: &App,
    challenge: &ChallengeRow,
    given: Given<'_>,
    of: &Use,
) -> Result<Option<(KeyRow, Answer)>, AuthError> {
    if given.signer.is_some_and(|signer| signer != challenge.fingerprint) {
        return Ok(None);
    }
    let Some(row) = app.store.key(&challenge.fingerprint).await? else { return Ok(None) };
    let Ok(key) = HolderKey::from_pem(&row.public_key) else { return Ok(None) };
    let claim = challenge::claim(challenge, &app.origin, Some(of));
    if let Some(signature) = challenge::v1_answer(&key, &claim, given.signature) {
        return Ok(Some((row, Answer::V1(signature))));
    }
    let is_legacy = challenge::is_legacy_answer(&key, &challenge.nonce, given.signature);
    Ok((is_legacy && may_answer_legacy(app, &row).await?).then_some((row, Answer::Legacy)))
}

/// Whether the bare nonce is an answer of this key: of none that ever showed that it knows better.
async fn may_answer_legacy(app: &App, key: &KeyRow) -> Result<bool, AuthError> {
    let knows_better = key.proven || key.used_v1;
    let is_operator = key.fingerprint == app.operator_fingerprint();
    if !app.auth.accepts_legacy || knows_better || is_operator {
        return Ok(false);
    }
    let endorsed = app.store.endorsements([&key.fingerprint]).await?;
    let has_role = endorsed.iter().any(EndorsedRow::gives_role);
    Ok(!has_role && !app.store.is_v1_key(&key.fingerprint).await?)
}

impl Answered {
    /// Refuses a key in another state.
    pub(super) fn must_be(&self, state: KeyState, now: Timestamp) -> Result<(), AuthError> {
        let found = self.key.state_at(now);
        if found == state { Ok(()) } else { Err(AuthError::State(found)) }
    }

    /// Uses the challenge up: of requests that race with one answer, one goes on.
    pub(super) async fn use_up(&self, app: &App) -> Result<(), AuthError> {
        let is_news = !self.key.proven && !self.key.used_v1;
        if is_news && matches!(self.answer, Answer::V1(_)) {
            app.store.note_v1_key(&self.key.fingerprint).await?;
        }
        let id = &self.challenge.challenge_id;
        if app.store.use_challenge(id, app.clock.now()).await? {
            return Ok(());
        }
        let now = app.store.challenge(id).await?.ok_or(Unanswerable::Unknown)?;
        let was_used = now.used_at.is_some();
        Err(if was_used { Unanswerable::Used } else { Unanswerable::Expired }.into())
    }

    fn authorization(self, act: Act<'_>) -> Authorization {
        let Self { challenge, answer, .. } = self;
        match answer {
            Answer::Legacy => Authorization::Legacy {},
            Answer::V1(signature) => Authorization::Signed(Box::new(SignedAuthorization {
                action: act.action,
                challenge_id: challenge.challenge_id,
                expires_at: challenge.expires_at,
                nonce: challenge.nonce,
                purpose: challenge.purpose,
                recovery: challenge.recovery,
                request: act.request.clone(),
                signature,
            })),
        }
    }
}

/// How somebody who gives a password showed to hold the key. Wrong passwords of each are counted
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shown {
    /// By the answer to a challenge, which nobody else can give.
    Freshly,
    /// By a signature that everybody may send again: whoever does so with wrong passwords must not
    /// keep the key's holder from logging in.
    Openly,
}

/// Checks the password of a key that has one. Only who showed to hold the key may get here, so that
/// nobody else learns that there is one.
pub(crate) async fn check_password(
    app: &App,
    key: Fingerprint,
    shown: Shown,
    given: Option<&Sensitive>,
) -> Result<(), AuthError> {
    let Some(hash) = app.store.password_hash(&key).await? else { return Ok(()) };
    let given = given.ok_or(AuthError::PasswordMissing)?;
    verify_password(app, (key, shown), given, hash).await
}

/// Checks a password against the hash of the key's own.
pub(super) async fn verify_password(
    app: &App,
    who: (Fingerprint, Shown),
    given: &Sensitive,
    hash: String,
) -> Result<(), AuthError> {
    // Asked in turn, not before: who waits with a hundred guesses has ten.
    let turn = app.auth.passwords.turn().await?;
    let (tries, steady) = (&app.auth.wrong_passwords, app.clock.steady_millis());
    tries.lock().unwrap_or_else(PoisonError::into_inner).may_try(&who, steady)?;
    let is_right = match Password::try_from(given) {
        Ok(password) => turn.verify(password, hash).await?,
        Err(_) => false,
    };
    if is_right {
        return Ok(());
    }
    tries.lock().unwrap_or_else(PoisonError::into_inner).failed(&who, steady);
    Err(AuthError::PasswordWrong)
}

#[cfg(test)]
mod tests {
    use diogenes_common::event::authorization::Purpose;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::statement::Claim as _;
    use serde_json::json;

    use super::super::challenge::Random;
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn row(key: &HolderKey) -> KeyRow {
        KeyRow {
            fingerprint: key.fingerprint(),
            public_key: key.to_pem(),
            algorithm: key.algorithm().to_string(),
            pseudonym: "Alice".to_owned(),
            pseudonym_folded: "alice".to_owned(),
            registered_at: at(0),
            expires_at: Some(at(1000)),
            entry_id: 2,
            proven: false,
            first_entry_id: 2,
            used_v1: false,
            succeeds: None,
            ended: None,
        }
    }

    #[test]
    fn what_the_entry_says_verifies_by_itself() {
        let (signer, origin) = (SigningKey::from_seed([4; 32]), "log.example/1".parse().unwrap());
        let key = HolderKey::from(signer.public());
        let random = Random { id: [1; 16], nonce: [2; 32] };
        let challenge = challenge::give(key.fingerprint(), Purpose::General, false, at(0), random);
        let request = json!({ "payload": { "fingerprint": key.fingerprint() } });
        let payload_hash = Some(payload_hash(&request));
        let of = Use { action: Action::Revoke, payload_hash, recovery: false };
        let claim = challenge::claim(&challenge, &origin, Some(&of));
        let signature = serde_json::to_value(claim.sign(&signer)).unwrap();
        let given = Sensitive::from(signature.as_str().unwrap().to_owned());
        let answer = Answer::V1(challenge::v1_answer(&key, &claim, &given).unwrap());
        let act = Act {
            signer: key.fingerprint(),
            action: Action::Revoke,
            request: &request,
            may_recover: false,
            password: false,
        };

        let answered = Answered { key: row(&key), challenge, answer };
        assert_eq!(answered.must_be(KeyState::Active, at(999)), Ok(()));
        let expired = Err(AuthError::State(KeyState::Expired));
        assert_eq!(answered.must_be(KeyState::Active, at(1000)), expired);
        let Authorization::Signed(entry) = answered.authorization(act) else {
            panic!("the answer was signed");
        };

        assert_eq!((&entry.request, entry.action), (&request, Action::Revoke));
        let message = entry.claim(&origin, key.fingerprint()).signed_bytes();
        assert_eq!(key.verify(&message, &entry.signature), Ok(()));
    }
}
