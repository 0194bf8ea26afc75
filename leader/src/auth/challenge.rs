//! Challenges and their answers. Pure: what an answer may be used for, and whether it is one.
//!
//! ```text
//! v1:      signature of "diogenes-challenge/v1\n" || JCS({action, challenge_id, expires_at,
//!          fingerprint, nonce, origin, payload_hash, purpose, recovery})
//! legacy:  signature of the nonce's characters
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::authorization::{Action, ChallengeClaim, ChallengeText, Purpose};
use diogenes_common::head::Origin;
use diogenes_common::keys::{Fingerprint, HolderKey, HolderSignature};
use diogenes_common::merkle::Hash;
use diogenes_common::statement::Claim as _;
use diogenes_common::store::ChallengeRow;

use super::sensitive::Sensitive;

/// How long a challenge may be answered.
const LIFETIME_MILLIS: i64 = 5 * 60 * 1000;

/// The random parts of a challenge.
#[derive(Clone, Copy)]
pub(super) struct Random {
    pub(super) id: [u8; 16],
    pub(super) nonce: [u8; 32],
}

/// Makes a challenge. Any fingerprint gets one: this says nothing about the key.
pub(super) fn give(
    fingerprint: Fingerprint,
    purpose: Purpose,
    recovery: bool,
    now: Timestamp,
    random: Random,
) -> ChallengeRow {
    let text = |bytes: &[u8]| {
        ChallengeText::try_from(URL_SAFE_NO_PAD.encode(bytes)).expect("at most 43 characters")
    };
    ChallengeRow {
        challenge_id: text(&random.id),
        nonce: text(&random.nonce),
        fingerprint,
        purpose,
        recovery,
        expires_at: now.plus_millis(LIFETIME_MILLIS),
        used_at: None,
    }
}

/// What an answer is to be used for, as the signature names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) action: Action,
    /// The hash of the request; none for a login.
    pub(super) payload_hash: Option<Hash>,
    /// Whether an expired key is to be succeeded.
    pub(super) recovery: bool,
}

impl Use {
    pub(super) const LOGIN: Self =
        Self { action: Action::Login, payload_hash: None, recovery: false };
}

/// Why a challenge can't be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswerable {
    /// It was never given out, or long ago (404).
    #[error("no such challenge was given out here; ask for a new one")]
    Unknown,
    /// It was answered (409).
    #[error("each challenge is good for one answer, and this one was used; ask for a new one")]
    Used,
    /// It is too old (410).
    #[error("the challenge was to be answered within five minutes; ask for a new one")]
    Expired,
    /// It was asked for something else (422).
    #[error("a challenge with the purpose `login` is good for a login alone; ask for `general`")]
    Purpose,
    /// One of the two is about an expired key and the other is not (422).
    #[error("`recovery` is only for the successor of an expired key, there and in the challenge")]
    Recovery,
}

/// Says whether a challenge may be answered now, for this use.
pub(super) fn judge(
    challenge: &ChallengeRow,
    of: &Use,
    now: Timestamp,
) -> Result<(), Unanswerable> {
    if challenge.used_at.is_some() {
        return Err(Unanswerable::Used);
    }
    if now >= challenge.expires_at {
        return Err(Unanswerable::Expired);
    }
    if challenge.purpose == Purpose::Login && of.action != Action::Login {
        return Err(Unanswerable::Purpose);
    }
    if challenge.recovery != of.recovery {
        return Err(Unanswerable::Recovery);
    }
    Ok(())
}

/// What the key signs to answer a challenge for this use; without one, what the challenge shows.
pub(super) fn claim(challenge: &ChallengeRow, origin: &Origin, of: Option<&Use>) -> ChallengeClaim {
    ChallengeClaim {
        action: of.map(|of| of.action),
        challenge_id: challenge.challenge_id.clone(),
        expires_at: challenge.expires_at,
        fingerprint: challenge.fingerprint,
        nonce: challenge.nonce.clone(),
        origin: origin.clone(),
        payload_hash: of.and_then(|of| of.payload_hash),
        purpose: challenge.purpose,
        recovery: challenge.recovery,
    }
}

/// The signature that answers in form v1, as entries keep it; `None` if it is none.
pub(super) fn v1_answer(
    key: &HolderKey,
    claim: &ChallengeClaim,
    signature: &Sensitive,
) -> Option<HolderSignature> {
    let signature = BASE64.decode(signature.expose()).ok()?;
    key.accept(&claim.signed_bytes(), &signature).ok()
}

/// Whether the signature covers the bare nonce.
pub(super) fn is_legacy_answer(
    key: &HolderKey,
    nonce: &ChallengeText,
    signature: &Sensitive,
) -> bool {
    let Ok(signature) = BASE64.decode(signature.expose()) else { return false };
    key.accept(nonce.as_str().as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use diogenes_common::keys::SigningKey;

    use super::*;

    const NOW: i64 = 1_768_473_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_seed([4; 32])
    }

    fn challenge() -> ChallengeRow {
        let random = Random { id: [1; 16], nonce: [2; 32] };
        give(key().fingerprint(), Purpose::General, false, at(NOW), random)
    }

    fn revocation() -> Use {
        let payload_hash = Some(Hash::of(b"request"));
        Use { action: Action::Revoke, payload_hash, recovery: false }
    }

    fn signed(key: &SigningKey, bytes: &[u8]) -> Sensitive {
        let signature = serde_json::to_value(key.sign(bytes)).unwrap();
        signature.as_str().unwrap().to_owned().into()
    }

    #[test]
    fn a_challenge_has_random_texts_and_five_minutes() {
        let challenge = challenge();

        assert_eq!(challenge.challenge_id.as_str().len(), 22);
        assert_eq!(challenge.nonce.as_str().len(), 43);
        assert_eq!(challenge.expires_at, at(NOW + 300_000));
        assert_eq!(judge(&challenge, &Use::LOGIN, at(NOW + 299_999)), Ok(()));
        let late = judge(&challenge, &Use::LOGIN, at(NOW + 300_000));
        assert_eq!(late, Err(Unanswerable::Expired));
    }

    #[test]
    fn a_challenge_is_answered_once_and_for_what_it_was_asked() {
        let judge_of = |challenge: &ChallengeRow, of: &Use| judge(challenge, of, at(NOW));
        let (general, login) =
            (challenge(), ChallengeRow { purpose: Purpose::Login, ..challenge() });
        let used = ChallengeRow { used_at: Some(at(NOW)), ..challenge() };
        let recovery = ChallengeRow { recovery: true, ..challenge() };
        let recovering = Use { action: Action::Succeed, recovery: true, ..revocation() };

        assert_eq!(judge_of(&general, &revocation()), Ok(()));
        assert_eq!(judge_of(&login, &Use::LOGIN), Ok(()));
        assert_eq!(judge_of(&login, &revocation()), Err(Unanswerable::Purpose));
        assert_eq!(judge_of(&used, &Use::LOGIN), Err(Unanswerable::Used));
        assert_eq!(judge_of(&recovery, &Use::LOGIN), Err(Unanswerable::Recovery));
        assert_eq!(judge_of(&recovery, &recovering), Ok(()));
        assert_eq!(judge_of(&general, &recovering), Err(Unanswerable::Recovery));
        // Who comes late with a used one is told that it was used.
        assert_eq!(judge(&used, &Use::LOGIN, at(NOW + 300_000)), Err(Unanswerable::Used));
    }

    #[test]
    fn an_answer_covers_this_use_and_no_other() {
        let (challenge, origin) = (challenge(), "log.example/1".parse().unwrap());
        let holder = HolderKey::from(key().public());
        let bytes = |of: &Use| claim(&challenge, &origin, Some(of)).signed_bytes();
        let answers = |signature: &Sensitive| {
            v1_answer(&holder, &claim(&challenge, &origin, Some(&revocation())), signature)
        };

        let good = signed(&key(), &bytes(&revocation()));
        assert!(answers(&good).is_some());
        let other_request = Use { payload_hash: Some(Hash::of(b"other")), ..revocation() };
        let other_action = Use { action: Action::Succeed, ..revocation() };
        let shown = claim(&challenge, &origin, None).signed_bytes();
        for bytes in [bytes(&other_request), bytes(&other_action), bytes(&Use::LOGIN), shown] {
            assert!(answers(&signed(&key(), &bytes)).is_none());
        }
        let other_key = SigningKey::from_seed([5; 32]);
        assert!(answers(&signed(&other_key, &bytes(&revocation()))).is_none());
        assert!(answers(&"no base64".to_owned().into()).is_none());
        assert!(!is_legacy_answer(&holder, &challenge.nonce, &good));
    }

    #[test]
    fn the_legacy_answer_covers_the_nonce_alone() {
        let (challenge, holder) = (challenge(), HolderKey::from(key().public()));
        let nonce = challenge.nonce.as_str().as_bytes();

        assert!(is_legacy_answer(&holder, &challenge.nonce, &signed(&key(), nonce)));
        let other = signed(&SigningKey::from_seed([5; 32]), nonce);
        assert!(!is_legacy_answer(&holder, &challenge.nonce, &other));
        assert!(!is_legacy_answer(&holder, &challenge.nonce, &"%".to_owned().into()));
    }
}
