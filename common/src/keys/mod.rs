//! Keys, their fingerprints and their signatures.
//!
//! The federation's own roles have Ed25519 keys. Such a key is checked once, when it is made: what
//! holds a [`PublicKey`] holds a canonical point of high order, already decompressed. People may
//! have keys of other algorithms too ([`HolderKey`]).

mod holder;

use std::fmt;
use std::hash::{Hash as StdHash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::pkcs8::{self, DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, Verifier as _, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

pub use holder::{HolderKey, HolderSignature, KeyAlgorithm, NotAHolderSignature};

use crate::merkle::{Hash, NotAHash};

/// The longest PEM text that is looked at.
pub const MAX_PEM_BYTES: usize = 8 * 1024;

/// The identity of a key of any algorithm: SHA-256 of its DER `SubjectPublicKeyInfo`.
///
/// Shown as hash text. Keys are authorised, pinned and stored by it, never by the short form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Hash);

impl Fingerprint {
    /// Wraps a hash that is already known to be a fingerprint.
    pub const fn new(hash: Hash) -> Self {
        Self(hash)
    }

    /// The fingerprint of a DER `SubjectPublicKeyInfo` of any algorithm.
    pub fn of_der(spki: &[u8]) -> Self {
        Self(Hash::of(spki))
    }

    /// The hash itself.
    pub const fn hash(&self) -> &Hash {
        &self.0
    }

    /// The first 16 hex digits: for display and typing only.
    pub fn short(&self) -> ShortFingerprint {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.as_bytes()[..8]);
        ShortFingerprint(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        text.parse().map(Self)
    }
}

/// The first 16 hex digits of a fingerprint, as people read and type them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortFingerprint([u8; 8]);

/// Why a text is not a short fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a short fingerprint is the first 16 lower-case hex digits of a fingerprint")]
pub struct NotAShortFingerprint;

impl fmt::Display for ShortFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ShortFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ShortFingerprint {
    type Err = NotAShortFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAShortFingerprint> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAShortFingerprint);
        }
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAShortFingerprint)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ShortFingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShortFingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A fingerprint as people give it: whole, or its first 16 hex digits.
///
/// A whole one is read with and without `sha256:`, since people copy both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyFingerprint {
    /// It names one key.
    Full(Fingerprint),
    /// It names every key that begins so.
    Short(ShortFingerprint),
}

/// Why a text is no fingerprint in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lower-case hex digits (with or without `sha256:`), or the first 16")]
pub struct NotAFingerprint;

impl AnyFingerprint {
    /// Whether the key of that fingerprint is meant, or may be.
    pub fn names(&self, key: &Fingerprint) -> bool {
        match self {
            Self::Full(full) => full == key,
            Self::Short(short) => *short == key.short(),
        }
    }
}

impl fmt::Display for AnyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => full.fmt(f),
            Self::Short(short) => short.fmt(f),
        }
    }
}

impl FromStr for AnyFingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        match text.len() {
            16 => text.parse().map(Self::Short).map_err(|_| NotAFingerprint),
            64 => format!("sha256:{text}").parse().map(Self::Full).map_err(|_| NotAFingerprint),
            _ => text.parse().map(Self::Full).map_err(|_| NotAFingerprint),
        }
    }
}

impl Serialize for AnyFingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AnyFingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An Ed25519 public key: a canonically encoded point that is not of low order.
///
/// Clones share the decompressed point. JSON holds the PEM text.
#[derive(Clone)]
pub struct PublicKey(Arc<CheckedKey>);

struct CheckedKey {
    key: VerifyingKey,
    fingerprint: Fingerprint,
}

/// Why something is not a usable key, and what to give instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// More than [`MAX_PEM_BYTES`].
    #[error("the key is longer than 8 KiB: give the PEM text of one key")]
    TooLong,
    /// No PEM armour, or something around or within it that is not base64.
    #[error("this is not PEM: give the text from -----BEGIN to -----END, line breaks included")]
    NotPem,
    /// A private key where a public one belongs.
    #[error(
        "this is a PRIVATE key, never hand it out: give the public key \
         (openssl pkey -in key.pem -pubout) and replace the private one if others saw it"
    )]
    PrivateKeyGiven,
    /// A public key where a private one belongs.
    #[error("this is a public key: give the PKCS#8 private key")]
    PublicKeyGiven,
    /// A private key under a password.
    #[error("the private key is encrypted: decrypt it (openssl pkcs8 -in key.pem -out plain.pem)")]
    Encrypted,
    /// PEM of something else, for instance a certificate or a key in an older format.
    #[error("the PEM label is not the expected one: PUBLIC KEY (SPKI) or PRIVATE KEY (PKCS#8)")]
    WrongLabel,
    /// A key of another algorithm.
    #[error("the key is not an Ed25519 key")]
    WrongAlgorithm,
    /// The PEM holds no well-formed DER of one key.
    #[error("the key is damaged: it is not the DER of one Ed25519 key")]
    Malformed,
    /// The 32 bytes are not the encoding of a point on the curve, or not its only right one.
    #[error("the key is damaged: its bytes are not a point of the curve in its canonical form")]
    NotAPoint,
    /// A point for which signatures over any message can be made by anyone.
    #[error("the key is a point of low order, which proves nothing: make a new key")]
    LowOrder,
    /// A key of an algorithm that nobody here uses.
    #[error("the key is of another algorithm: use ed25519, ecdsa-p256 or RSA of 2048 to 4096 bits")]
    UnknownAlgorithm,
    /// A key that could also be written in another way, which would be another fingerprint.
    #[error(
        "the key is not in its one encoding: P-256 as a named curve with an uncompressed point, \
         RSA as rsaEncryption (openssl pkey -pubin -in key.pem -pubout -ec_conv_form uncompressed)"
    )]
    OtherEncoding,
    /// An RSA key that is too small to be safe or too large to be quick.
    #[error("the RSA key has {bits} bits: 2048 to 4096 are taken")]
    RsaSize {
        /// The length of its modulus.
        bits: usize,
    },
    /// An RSA key with an even modulus, or an exponent that is even, 1 or huge.
    #[error("the RSA key is unusable: its modulus and exponent are odd, the exponent 3 to 2^32")]
    RsaNumbers,
}

/// The signature is not one of this key over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// What stands before the 32 bytes in the DER of every Ed25519 public key (RFC 8410).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl PublicKey {
    /// Checks the 32 bytes of a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::LowOrder);
        }
        // One point, one fingerprint: a second encoding would be a second identity.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotAPoint);
        }
        let fingerprint = Fingerprint::of_der(&spki_der(bytes));
        Ok(Self(Arc::new(CheckedKey { key, fingerprint })))
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let bytes = pkcs8::PublicKeyBytes::try_from(der).map_err(|error| match error {
            pkcs8::spki::Error::OidUnknown { .. } => KeyError::WrongAlgorithm,
            _ => KeyError::Malformed,
        })?;
        Self::from_bytes(&bytes.0)
    }

    /// Reads a PEM `SubjectPublicKeyInfo`, with LF or CRLF line ends.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Self::from_der(&decode_public_pem(pem)?)
    }

    /// The one PEM text of this key: LF line ends, the last one included.
    pub fn to_pem(&self) -> String {
        let body = BASE64.encode(self.to_der());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn to_der(&self) -> [u8; 44] {
        spki_der(self.as_bytes())
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.key.as_bytes()
    }

    /// The key's identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Verifies a signature over one of our own statements.
    ///
    /// Stricter than RFC 8032: no scalar beyond the group order, no second encoding, no point of
    /// low order. This is the rule of every node, so that all of them agree.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        self.0.key.verify_strict(message, &signature.to_dalek()).map_err(|_| BadSignature)
    }

    /// Verifies a signature of a C2SP note, by the rule that Go's implementations follow.
    ///
    /// It differs from [`PublicKey::verify`] only for signatures that no honest signer makes.
    pub fn verify_lenient(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        self.0.key.verify(message, &signature.to_dalek()).map_err(|_| BadSignature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl StdHash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.fingerprint()).finish()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(pem: &str) -> Result<Self, KeyError> {
        Self::from_pem(pem)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_pem())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pem = String::deserialize(deserializer)?;
        Self::from_pem(&pem).map_err(serde::de::Error::custom)
    }
}

/// Takes the DER out of the PEM of a public key of any algorithm.
///
/// The armour is checked and the length bounded; the DER is not looked at.
pub fn decode_public_pem(pem: &str) -> Result<Vec<u8>, KeyError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(KeyError::PrivateKeyGiven);
    }
    decode_pem(pem, "PUBLIC KEY").map(|der| der.to_vec())
}

/// An Ed25519 signature; text and JSON hold it in padded base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

/// Why a text is not a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature is the padded base64 of 64 bytes")]
pub struct NotASignature;

impl Signature {
    /// Wraps the 64 bytes of a signature.
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes exactly 64 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    fn to_dalek(self) -> ed25519_dalek::Signature {
        ed25519_dalek::Signature::from_bytes(&self.0)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = NotASignature;

    fn from_str(text: &str) -> Result<Self, NotASignature> {
        if text.len() != 88 {
            return Err(NotASignature);
        }
        let bytes = BASE64.decode(text).map_err(|_| NotASignature)?;
        Self::from_slice(&bytes).ok_or(NotASignature)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An Ed25519 private key, wiped from memory when its last clone goes.
#[derive(Clone)]
pub struct SigningKey {
    secret: Arc<ed25519_dalek::SigningKey>,
    public: PublicKey,
}

impl SigningKey {
    /// Makes the key of a seed; the caller brings the randomness.
    ///
    /// # Panics
    /// Never: the clamped scalar of a seed is no multiple of the group order.
    pub fn from_seed(seed: impl Into<Zeroizing<[u8; 32]>>) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed.into());
        Self::from_dalek(secret)
    }

    /// Reads a PKCS#8 private key in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(KeyError::PublicKeyGiven);
        }
        if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(KeyError::Encrypted);
        }
        let der = decode_pem(pem, "PRIVATE KEY")?;
        let secret =
            ed25519_dalek::SigningKey::from_pkcs8_der(&der).map_err(|error| match error {
                pkcs8::Error::PublicKey(pkcs8::spki::Error::OidUnknown { .. }) => {
                    KeyError::WrongAlgorithm
                }
                _ => KeyError::Malformed,
            })?;
        Ok(Self::from_dalek(secret))
    }

    /// The PKCS#8 PEM of this key, with LF line ends.
    ///
    /// # Panics
    /// Never: the encoding of 32 bytes has a fixed length.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let pair = pkcs8::KeypairBytes { secret_key: *self.secret.as_bytes(), public_key: None };
        pair.to_pkcs8_pem(pkcs8::spki::der::pem::LineEnding::LF)
            .expect("32 bytes have a PKCS#8 encoding")
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The identity of the public half.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// Signs; the same bytes always get the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.secret.sign(message).to_bytes())
    }

    fn from_dalek(secret: ed25519_dalek::SigningKey) -> Self {
        let public = PublicKey::from_bytes(secret.verifying_key().as_bytes())
            .expect("the public key of a seed is a canonical point of high order");
        Self { secret: Arc::new(secret), public }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn spki_der(bytes: &[u8; 32]) -> [u8; 44] {
    let mut der = [0; 44];
    der[..12].copy_from_slice(&SPKI_PREFIX);
    der[12..].copy_from_slice(bytes);
    der
}

fn decode_pem(pem: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(KeyError::TooLong);
    }
    let inner = pem.trim_ascii().strip_prefix("-----BEGIN ").ok_or(KeyError::NotPem)?;
    let (found, inner) = inner.split_once("-----").ok_or(KeyError::NotPem)?;
    let (body, end) = inner.split_once("-----END ").ok_or(KeyError::NotPem)?;
    if end.strip_suffix("-----") != Some(found) {
        return Err(KeyError::NotPem);
    }
    if found != label {
        return Err(KeyError::WrongLabel);
    }
    let on_its_own_lines =
        (body.starts_with('\n') || body.starts_with("\r\n")) && body.ends_with('\n');
    if !on_its_own_lines {
        return Err(KeyError::NotPem);
    }
    let digits: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    BASE64.decode(&*digits).map(Zeroizing::new).map_err(|_| KeyError::NotPem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first key of RFC 8032 section 7.1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
        -----END PUBLIC KEY-----\n";
    const P256_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
        6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n\
        -----END PUBLIC KEY-----\n";

    fn key() -> SigningKey {
        SigningKey::from_seed(SEED)
    }

    #[test]
    fn a_fingerprint_is_given_whole_or_by_its_first_digits() {
        let whole = key().fingerprint();
        let digits = whole.hash().to_hex();
        let given = |text: &str| text.parse::<AnyFingerprint>();

        assert_eq!(given(&whole.to_string()), Ok(AnyFingerprint::Full(whole)));
        assert_eq!(given(&digits), Ok(AnyFingerprint::Full(whole)));
        assert_eq!(given(&digits[..16]), Ok(AnyFingerprint::Short(whole.short())));
        for wrong in ["", &digits[..15], &digits[..17], &digits.to_uppercase(), "a1b2c3d4e5f6g7h8"]
        {
            assert_eq!(given(wrong), Err(NotAFingerprint), "{wrong}");
        }
        let other = Fingerprint::new(Hash::of(b"other"));
        for named in [AnyFingerprint::Full(whole), AnyFingerprint::Short(whole.short())] {
            assert!(named.names(&whole));
            assert!(!named.names(&other));
        }
    }

    #[test]
    fn the_key_of_rfc_8032_has_its_public_half_and_its_signature() {
        let signature = key().sign(b"");

        assert_eq!(hex::encode(key().public().as_bytes()), PUBLIC);
        assert!(hex::encode(signature.as_bytes()).starts_with("e5564300c360ac729086e2cc806e828a"));
        assert_eq!(key().public().verify(b"", &signature), Ok(()));
        assert_eq!(key().public().verify_lenient(b"", &signature), Ok(()));
        assert_eq!(key().public().verify(b"x", &signature), Err(BadSignature));
    }

    #[test]
    fn a_public_key_survives_pem_and_der_and_json() {
        let public = key().public().clone();

        assert_eq!(public.to_pem(), PEM);
        assert_eq!(PublicKey::from_pem(PEM), Ok(public.clone()));
        assert_eq!(PublicKey::from_pem(&PEM.replace('\n', "\r\n")), Ok(public.clone()));
        assert_eq!(PublicKey::from_pem(PEM.trim()), Ok(public.clone()));
        assert_eq!(PublicKey::from_der(&public.to_der()), Ok(public.clone()));
        let json = serde_json::to_string(&public).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), public);
        assert_eq!(public.fingerprint(), Fingerprint::of_der(&public.to_der()));
    }

    #[test]
    fn a_private_key_survives_pem_and_its_debug_form_tells_nothing() {
        let pem = key().to_pem();

        let again = SigningKey::from_pem(&pem).unwrap();

        assert_eq!(again.public(), key().public());
        assert_eq!(again.to_pem(), pem);
        let shown = format!("{again:?}");
        assert!(!shown.contains("9d61") && !shown.contains("157"), "{shown}");
    }

    #[test]
    fn what_is_not_a_public_key_is_refused_with_its_reason() {
        let certificate = PEM.replace("PUBLIC KEY", "CERTIFICATE");
        let long = format!("{PEM}{}", " ".repeat(MAX_PEM_BYTES));
        let cut = PEM.replace("URo=", "");
        for (pem, error) in [
            ("", KeyError::NotPem),
            (PUBLIC, KeyError::NotPem),
            (&PEM.replace('\n', ""), KeyError::NotPem),
            (&PEM.replace("MCow", "MC*w"), KeyError::NotPem),
            (&PEM.replace("END PUBLIC", "END PRIVATE"), KeyError::PrivateKeyGiven),
            (&certificate, KeyError::WrongLabel),
            (&long, KeyError::TooLong),
            (&cut, KeyError::Malformed),
            (P256_PEM, KeyError::WrongAlgorithm),
            (&key().to_pem(), KeyError::PrivateKeyGiven),
        ] {
            assert_eq!(PublicKey::from_pem(pem), Err(error), "{pem}");
        }
    }

    #[test]
    fn what_is_not_a_private_key_is_refused_with_its_reason() {
        let good = key().to_pem();
        for (pem, error) in [
            (PEM.to_owned(), KeyError::PublicKeyGiven),
            (good.replace("PRIVATE", "ENCRYPTED PRIVATE"), KeyError::Encrypted),
            (good.replace("PRIVATE", "EC PRIVATE"), KeyError::WrongLabel),
            (good.replace("MC4C", "MC4D"), KeyError::Malformed),
            // The same DER with the identifier of X25519.
            (good.replace("K2Vw", "K2Vu"), KeyError::WrongAlgorithm),
        ] {
            assert_ne!(pem, *good);
            assert_eq!(SigningKey::from_pem(&pem).map(|_| ()), Err(error), "{pem}");
        }
    }

    #[test]
    fn points_of_low_order_and_second_encodings_are_no_keys() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // y = p + 3, the second encoding of a point of high order with y = 3.
        let mut second = [0xff; 32];
        second[0] = 0xf0;
        second[31] = 0x7f;

        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::LowOrder));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::LowOrder));
        assert_eq!(PublicKey::from_bytes(&second), Err(KeyError::NotAPoint));
        let mut first = [0; 32];
        first[0] = 3;
        assert!(PublicKey::from_bytes(&first).is_ok());
    }

    #[test]
    fn fingerprints_and_signatures_have_one_text() {
        let fingerprint = key().fingerprint();
        let short = fingerprint.short();
        let text = fingerprint.to_string();

        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(short.to_string(), text["sha256:".len()..][..16]);
        assert_eq!(short.to_string().parse(), Ok(short));
        assert_eq!("ABCDEF0123456789".parse::<ShortFingerprint>(), Err(NotAShortFingerprint));
        assert_eq!("abcd".parse::<ShortFingerprint>(), Err(NotAShortFingerprint));

        let signature = key().sign(b"text");
        assert_eq!(signature.to_string().parse(), Ok(signature));
        let unpadded = signature.to_string().replace('=', "");
        assert_eq!(unpadded.parse::<Signature>(), Err(NotASignature));
    }
}
