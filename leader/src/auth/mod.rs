//! Who asks: the operator by a token, the holder of a key by an answered challenge or by the
//! session token that a login gives.

mod authorize;
mod challenge;
mod http;
mod operator;
mod password;
mod sensitive;
mod token;
mod tries;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ::http::HeaderMap;
use diogenes_common::clock::Timestamp;
use diogenes_common::event::authorization::{Action, Purpose, payload_hash};
use diogenes_common::files::{self, FileError};
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::server::Caller;
use diogenes_common::store::{ChallengeRow, StoreError};
use diogenes_common::view::KeyState;
use serde_json::Value;

use challenge::{Random, Unanswerable, Use};
use password::{BadLength, HashError, Password, Passwords};
use token::{BadToken, Issued, Session, Tokens};
use tries::{Tries, Wait};

pub(crate) use authorize::{Act, AuthProof, Shown, authorize, check_password};
pub(crate) use http::{REFUSALS, auth_problem, router};
pub(crate) use operator::{Operator, OperatorToken};
pub(crate) use sensitive::Sensitive;

use crate::app::App;
use authorize::{Answered, Given, answered, verify_password};

/// The most challenges that are kept at once. They fill a disk, not the memory: 200 MB.
const MAX_CHALLENGES: u64 = 1_000_000;

/// The most challenges that one network gets in 15 minutes: it can't keep the others from theirs.
const MAX_CHALLENGES_OF_NETWORK: u32 = 50_000;

/// What authentication knows beside the database.
pub(crate) struct Auth {
    tokens: Tokens,
    passwords: Passwords,
    wrong_passwords: Mutex<Tries<(Fingerprint, Shown)>>,
    /// By network.
    wrong_signatures: Mutex<Tries<String>>,
    /// By the wider network that somebody may have all of.
    given_challenges: Mutex<Tries<String>>,
    accepts_legacy: bool,
    /// How many challenges are kept, as far as this process knows.
    challenges: AtomicU64,
}

/// Why somebody is not believed to be who they say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// Nothing was shown (401).
    #[error(
        "show that you hold this key: send the answer to a challenge as `auth`, or a session of it \
         as Authorization: Bearer <token>"
    )]
    Missing,
    /// Nothing to renew was shown (401).
    #[error("send the token to renew: Authorization: Bearer <token>, from POST /api/v1/auth/login")]
    TokenMissing,
    /// A token that opens nothing (401).
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The token's key was revoked, succeeded or has expired since (401).
    #[error("the key of this token is not active any more")]
    Ended,
    /// A good token of another key (403).
    #[error("this token is another key's")]
    OtherKey,
    /// The challenge can't be answered, or not for this.
    #[error(transparent)]
    Challenge(#[from] Unanswerable),
    /// Another key, other bytes or no key at all (403): the three look alike.
    #[error(
        "the signature is not this key's answer: sign `signing_input` with `action` and \
         `payload_hash` filled in for this very request, by the key that asked"
    )]
    NotAnswered,
    /// The key is not in the state that this needs (403).
    #[error("the key is {}", what_to_do(*.0))]
    State(KeyState),
    /// The key has a password (403).
    #[error("this key has a password: send it as `password`, in `auth` if there is one")]
    PasswordMissing,
    /// The key has a password already (403).
    #[error("this key has a password already: send that one as `current_password`")]
    CurrentPasswordMissing,
    /// And this is not it (403).
    #[error("the password is wrong")]
    PasswordWrong,
    /// Somebody else set the password in the same moment (409).
    #[error("the password was changed by another request; try again")]
    PasswordRaced,
    /// The new password is too short or too long (422).
    #[error(transparent)]
    PasswordLength(#[from] BadLength),
    /// Too many tries failed (429).
    #[error(transparent)]
    TooMany(#[from] Wait),
    /// No room, or no time (503).
    #[error("too many challenges are open; try again later")]
    Crowded,
    /// No time for a password, or no memory.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] FileError),
}

/// The state of a key that is not the one that is needed, and what its holder can do.
const fn what_to_do(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active: leave `recovery` out",
        KeyState::Expired => {
            "expired: its holder can replace it by POST /api/v1/keys/succeed with `recovery`"
        }
        KeyState::Succeeded => "succeeded by another one: use that",
        KeyState::Revoked => "revoked, which is for good: register another one",
    }
}

/// A session as its holder sees it.
#[derive(Debug)]
struct Login {
    issued: Issued,
    fingerprint: Fingerprint,
    pseudonym: String,
}

impl Auth {
    pub(crate) fn new(secret: &str, origin: &Origin, accepts_legacy: bool) -> Self {
        Self {
            tokens: Tokens::new(secret, origin),
            passwords: Passwords::default(),
            wrong_passwords: Mutex::default(),
            wrong_signatures: Mutex::default(),
            given_challenges: Mutex::new(Tries::up_to(MAX_CHALLENGES_OF_NETWORK)),
            accepts_legacy,
            challenges: AtomicU64::new(0),
        }
    }
}

/// Gives a challenge to whoever asks, for any fingerprint: it does not look whether it knows the
/// key, so it can't tell.
async fn give_challenge(
    app: &App,
    caller: &Caller,
    fingerprint: Fingerprint,
    purpose: Purpose,
    recovery: bool,
) -> Result<ChallengeRow, AuthError> {
    {
        let (network, steady) = (wide_network(caller.ip()), app.clock.steady_millis());
        let given = &app.auth.given_challenges;
        let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
        given.may_try(&network, steady)?;
        given.failed(&network, steady);
    }
    if app.auth.challenges.fetch_add(1, Ordering::Relaxed) >= MAX_CHALLENGES {
        app.auth.challenges.fetch_sub(1, Ordering::Relaxed);
        return Err(AuthError::Crowded);
    }
    let random = Random { id: files::random()?, nonce: files::random()? };
    let challenge = challenge::give(fingerprint, purpose, recovery, app.clock.now(), random);
    app.store.put_challenge(&challenge).await?;
    Ok(challenge)
}

/// The network that one customer of a provider commonly has: all of an IPv6 /48, 256 IPv4
/// addresses.
fn wide_network(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(v4) => format!("{}/24", Ipv4Addr::from_bits(v4.to_bits() >> 8 << 8)),
        IpAddr::V6(v6) => format!("{}/48", Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
    }
}

/// Deletes old challenges and counts those that are left.
pub(crate) async fn forget_challenges(app: &App, now: Timestamp) -> Result<(), StoreError> {
    app.store.expire_challenges(now).await?;
    app.auth.challenges.store(app.store.challenges().await?, Ordering::Relaxed);
    Ok(())
}

/// Turns an answered challenge, and the password where the key has one, into a session.
async fn login(
    app: &App,
    caller: &Caller,
    given: Given<'_>,
    password: Option<&Sensitive>,
) -> Result<Login, AuthError> {
    let answered = answered(app, caller, given, Use::LOGIN).await?;
    answered.must_be(KeyState::Active, app.clock.now())?;
    check_password(app, answered.key.fingerprint, Shown::Freshly, password).await?;
    answered.use_up(app).await?;
    let Answered { key, .. } = answered;
    let (fingerprint, auth_time) = (key.fingerprint, app.clock.now());
    issue(app, Session { fingerprint, auth_time }, key.pseudonym)
}

/// Gives a new token for one that is still good.
async fn renew(app: &App, headers: &HeaderMap) -> Result<Login, AuthError> {
    let (session, pseudonym) = session_of(app, headers).await?.ok_or(AuthError::TokenMissing)?;
    issue(app, session, pseudonym)
}

fn issue(app: &App, session: Session, pseudonym: String) -> Result<Login, AuthError> {
    let issued = app.auth.tokens.issue(session, app.clock.now(), files::random()?);
    let issued = issued.ok_or(BadToken::Expired)?;
    Ok(Login { issued, fingerprint: session.fingerprint, pseudonym })
}

/// The key whose holder asks, by a session token; nobody if there is no token.
///
/// A token dies with its key, and with its key's password: both are looked up each time.
pub(crate) async fn session(
    app: &App,
    headers: &HeaderMap,
) -> Result<Option<Fingerprint>, AuthError> {
    let session = counted(app, session_of(app, headers).await)?;
    Ok(session.map(|(session, _)| session.fingerprint))
}

async fn session_of(
    app: &App,
    headers: &HeaderMap,
) -> Result<Option<(Session, String)>, AuthError> {
    if !headers.contains_key(::http::header::AUTHORIZATION) || app.token.is_in(headers) {
        return Ok(None);
    }
    let now = app.clock.now();
    let token = operator::bearer(headers).ok_or(BadToken::Foreign)?;
    let session = app.auth.tokens.read(token, now)?;
    let key = app.store.key(&session.fingerprint).await?;
    let key = key.filter(|key| key.state_at(now) == KeyState::Active).ok_or(AuthError::Ended)?;
    // Whoever logged in before did not know the password, which acts in a session need no more.
    let set_at = app.store.password_set_at(&session.fingerprint).await?;
    if set_at.is_some_and(|set_at| session.auth_time.seconds() < set_at.seconds()) {
        return Err(BadToken::Expired.into());
    }
    Ok(Some((session, key.pseudonym)))
}

/// Counts what is refused.
fn counted<T>(app: &App, result: Result<T, AuthError>) -> Result<T, AuthError> {
    if let Some(code) = result.as_ref().err().and_then(http::refusal) {
        app.metrics.auth_refusals.with_label_values(&[code.as_str()]).inc();
    }
    result
}

/// Sets a key's password. Whoever replaces one must know it, and hold the key as well.
async fn set_password(
    app: &App,
    caller: &Caller,
    given: Given<'_>,
    request: &Value,
    new: &Sensitive,
    current: Option<&Sensitive>,
) -> Result<Fingerprint, AuthError> {
    let new = Password::try_from(new)?;
    let payload_hash = Some(payload_hash(request));
    let of = Use { action: Action::Password, payload_hash, recovery: false };
    let answered = answered(app, caller, given, of).await?;
    answered.must_be(KeyState::Active, app.clock.now())?;
    let fingerprint = answered.key.fingerprint;
    let known = app.store.password_hash(&fingerprint).await?;
    if let Some(hash) = known.clone() {
        let current = current.ok_or(AuthError::CurrentPasswordMissing)?;
        verify_password(app, (fingerprint, Shown::Freshly), current, hash).await?;
    }
    let hash = app.auth.passwords.turn().await?.hash(new, files::random()?).await?;
    answered.use_up(app).await?;
    let now = app.clock.now();
    if app.store.set_password(&fingerprint, &hash, known.as_deref(), now).await? {
        Ok(fingerprint)
    } else {
        Err(AuthError::PasswordRaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_takes_no_more_than_its_share_of_the_challenges() {
        let wide = |address: &str| wide_network(address.parse().unwrap());
        assert_eq!(wide("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(wide("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(wide("2001:db8:7:1::1"), wide("2001:db8:7:ffff::2"));
        assert_ne!(wide("2001:db8:7::1"), wide("2001:db8:8::1"));

        let mut given = Tries::up_to(2);
        let (here, elsewhere) = (wide("192.0.2.1"), wide("192.0.3.1"));
        for _ in 0..2 {
            assert_eq!(given.may_try(&here, 0), Ok(()));
            given.failed(&here, 0);
        }
        assert!(given.may_try(&here, 1).is_err());
        assert_eq!(given.may_try(&elsewhere, 1), Ok(()));
    }
}
