//! Passwords: a second thing to know beside the key. Argon2id, away from the threads that answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::Error;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::sensitive::Sensitive;

/// How many passwords are hashed at once: each takes a core and 19 MiB for some 30 ms.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// A password that may be set: 8 to 1,024 bytes.
#[derive(Clone)]
pub(super) struct Password(Zeroizing<Vec<u8>>);

/// A password of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password has 8 to 1,024 bytes")]
pub(crate) struct BadLength;

/// Why nothing is known about a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// Too many wait.
    #[error("too many passwords wait to be checked; try again soon")]
    Overloaded,
    /// The stored hash can't be read, or memory is short.
    #[error("a password could not be hashed")]
    Failed,
}

/// Where passwords are hashed, a few at once.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    patience: Duration,
}

/// The right to hash one password.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl TryFrom<&Sensitive> for Password {
    type Error = BadLength;

    fn try_from(text: &Sensitive) -> Result<Self, BadLength> {
        let bytes = text.expose().as_bytes();
        if (8..=1024).contains(&bytes.len()) {
            Ok(Self(Zeroizing::new(bytes.to_vec())))
        } else {
            Err(BadLength)
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), patience: PATIENCE }
    }
}

impl Passwords {
    /// Waits for a turn, but not for long.
    pub(super) async fn turn(&self) -> Result<Turn, HashError> {
        let permit = self.turns.clone().acquire_owned();
        match tokio::time::timeout(self.patience, permit).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(HashError::Overloaded),
        }
    }
}

impl Turn {
    /// The hash to keep, as a PHC string; `salt` is random.
    pub(super) async fn hash(
        self,
        password: Password,
        salt: [u8; 16],
    ) -> Result<String, HashError> {
        self.run(move || {
            let hash = Argon2::default().hash_password_with_salt(&password.0, &salt);
            hash.map(|hash| hash.to_string()).map_err(|_| HashError::Failed)
        })
        .await
    }

    /// Whether a password is the one that was hashed. The hashes are compared in constant time.
    pub(super) async fn verify(self, password: Password, hash: String) -> Result<bool, HashError> {
        self.run(move || match Argon2::default().verify_password(&password.0, hash.as_str()) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(HashError::Failed),
        })
        .await
    }

    /// The turn ends with the work, not with whoever waits for it: a client that hangs up and asks
    /// again starts no third hash.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let in_turn = move || {
            let result = work();
            drop(self);
            result
        };
        tokio::task::spawn_blocking(in_turn).await.unwrap_or(Err(HashError::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::try_from(&Sensitive::from(text.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn only_the_same_password_verifies() {
        let passwords = Passwords::default();
        let hash = passwords.turn().await.unwrap().hash(password("correct horse"), [1; 16]);
        let hash = hash.await.unwrap();

        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        for (tried, right) in [("correct horse", true), ("correct horsf", false)] {
            let turn = passwords.turn().await.unwrap();
            assert_eq!(turn.verify(password(tried), hash.clone()).await, Ok(right));
        }
        let turn = passwords.turn().await.unwrap();
        let unread = turn.verify(password("correct horse"), "no hash".to_owned()).await;
        assert_eq!(unread, Err(HashError::Failed));
    }

    #[test]
    fn a_password_has_8_to_1024_bytes_and_shows_nothing() {
        let length =
            |bytes: usize| Password::try_from(&Sensitive::from("x".repeat(bytes))).map(|_| ());

        assert_eq!((length(7), length(8)), (Err(BadLength), Ok(())));
        assert_eq!((length(1024), length(1025)), (Ok(()), Err(BadLength)));
        assert_eq!(format!("{:?}", password("correct horse")), "***");
    }

    #[tokio::test]
    async fn a_third_at_once_waits_and_is_told_when_it_takes_too_long() {
        let passwords = Passwords { patience: Duration::from_millis(20), ..Passwords::default() };
        let held = (passwords.turn().await.unwrap(), passwords.turn().await.unwrap());

        assert_eq!(passwords.turn().await.unwrap_err(), HashError::Overloaded);
        drop(held);
        assert!(passwords.turn().await.is_ok());
    }
}
