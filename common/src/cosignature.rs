//! Cosignatures: what a witness says about the checkpoint of a log (C2SP tlog-cosignature,
//! `cosignature/v1`).
//!
//! A witness states that at some time this was the largest tree of the log that it had seen and
//! that every earlier one is a prefix of it. The line is a signature line of the checkpoint's note
//! whose bytes are the time, a big-endian u64 of seconds, and an Ed25519 signature.

use crate::checkpoint::Checkpoint;
use crate::clock::Timestamp;
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::note::{KeyKind, KeyName, SignatureLine, Vkey};

/// Why a line is not a cosignature of this key over this checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The key ID is not that of the line's name and this key.
    #[error("the key ID does not belong to the line's name and the key")]
    OtherKey,
    /// The bytes are not a time below 2^63 and 64 bytes of signature.
    #[error("the cosignature is not a time and an Ed25519 signature")]
    Malformed,
    /// The signature is not over this checkpoint and time.
    #[error("the cosignature does not verify")]
    BadSignature,
}

/// Cosigns a checkpoint, extension lines included.
///
/// The caller has verified that the tree extends the last one it cosigned, and made that durable.
/// The name is not part of what is signed: a key must never cosign under two names.
pub fn cosign(
    checkpoint: &Checkpoint,
    time: Timestamp,
    name: &KeyName,
    key: &SigningKey,
) -> SignatureLine {
    let seconds = time.seconds().cast_unsigned();
    let signature = key.sign(&signed_message(&checkpoint.to_string(), seconds));
    let bytes = [&seconds.to_be_bytes()[..], signature.as_bytes()].concat();
    let vkey = Vkey::new(name.clone(), KeyKind::Cosignature, key.public().clone());
    SignatureLine::new(&vkey, bytes)
}

/// Verifies a cosignature by this key, under whatever name the line has, and returns its time in
/// seconds since 1970.
pub fn verify_cosignature(
    line: &SignatureLine,
    checkpoint: &Checkpoint,
    key: &PublicKey,
) -> Result<u64, CosignatureError> {
    let vkey = Vkey::new(line.name().clone(), KeyKind::Cosignature, key.clone());
    if vkey.id() != line.id() {
        return Err(CosignatureError::OtherKey);
    }
    let (seconds, signature) = split(line.signature()).ok_or(CosignatureError::Malformed)?;
    key.verify_lenient(&signed_message(&checkpoint.to_string(), seconds), &signature)
        .map_err(|_| CosignatureError::BadSignature)?;
    Ok(seconds)
}

/// What is signed: a header with the time, then the text of the checkpoint.
pub(crate) fn signed_message(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

/// Takes the bytes of a cosignature apart.
pub(crate) fn split(bytes: &[u8]) -> Option<(u64, Signature)> {
    let (seconds, signature) = bytes.split_first_chunk()?;
    let seconds = u64::from_be_bytes(*seconds);
    let signature = Signature::from_slice(signature)?;
    i64::try_from(seconds).is_ok().then_some((seconds, signature))
}
