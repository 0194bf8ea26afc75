//! The keys that people register: Ed25519, ECDSA over P-256, RSA.
//!
//! Clients sign with what they have, so a signature may arrive in several encodings; the log
//! keeps one of them, which every node checks in the same way. A key has one encoding only:
//! its fingerprint is the hash of that.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::pkcs8::spki::der::asn1::{AnyRef, UintRef};
use ed25519_dalek::pkcs8::spki::der::{Decode as _, Reader as _, SliceReader};
use ed25519_dalek::pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BadSignature, Fingerprint, KeyError, PublicKey, Signature, decode_public_pem};

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub enum KeyAlgorithm {
    /// Ed25519 (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA of 2048 to 4096 bits with SHA-256, PKCS#1 v1.5 or PSS (RFC 8017).
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

impl KeyAlgorithm {
    /// The algorithm as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Rsa2048 => "rsa-2048",
        }
    }

    /// Reads what [`KeyAlgorithm::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::EcdsaP256, Self::Rsa2048].into_iter().find(|a| a.as_str() == name)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A person's public key. Clones share it.
#[derive(Clone)]
pub struct HolderKey(Arc<Checked>);

struct Checked {
    der: Box<[u8]>,
    fingerprint: Fingerprint,
    kind: Kind,
}

enum Kind {
    Ed25519(PublicKey),
    EcdsaP256(ParsedPublicKey),
    /// The PKCS#1 form of the key.
    Rsa(Box<[u8]>),
}

/// A signature of any algorithm: 1 to 512 bytes, in JSON padded base64.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HolderSignature(Box<[u8]>);

/// Why bytes are no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature is the padded base64 of 1 to 512 bytes")]
pub struct NotAHolderSignature;

/// What stands before the uncompressed point in the DER of every P-256 key (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

impl HolderKey {
    /// Reads a PEM `SubjectPublicKeyInfo`, with LF or CRLF line ends.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Self::from_der(&decode_public_pem(pem)?)
    }

    /// Reads a DER `SubjectPublicKeyInfo`, which must be the one encoding of its key.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
        let kind = match info.algorithm.oid {
            ED25519 => Kind::Ed25519(PublicKey::from_der(der)?),
            EC_PUBLIC_KEY => Kind::EcdsaP256(p256(der)?),
            RSA_ENCRYPTION => Kind::Rsa(rsa(&info)?),
            _ => return Err(KeyError::UnknownAlgorithm),
        };
        let fingerprint = Fingerprint::of_der(der);
        Ok(Self(Arc::new(Checked { der: der.into(), fingerprint, kind })))
    }

    /// The one PEM text of this key: lines of 64 characters, LF line ends, the last one included.
    pub fn to_pem(&self) -> String {
        let body = BASE64.encode(&self.0.der);
        let mut pem = String::with_capacity(body.len() + 80);
        pem.push_str("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.0.kind {
            Kind::Ed25519(_) => KeyAlgorithm::Ed25519,
            Kind::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
            Kind::Rsa(_) => KeyAlgorithm::Rsa2048,
        }
    }

    /// The key's identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The key, if it is an Ed25519 key, the only kind that the federation's roles have.
    pub fn ed25519(&self) -> Option<&PublicKey> {
        match &self.0.kind {
            Kind::Ed25519(key) => Some(key),
            Kind::EcdsaP256(_) | Kind::Rsa(_) => None,
        }
    }

    /// Checks a signature in any encoding that a client may send: of P-256 in DER or as 64 bytes
    /// (IEEE P1363), of RSA by PKCS#1 v1.5 or by PSS with a salt of 32 bytes.
    ///
    /// Answers it as the log keeps it: of P-256 the 64 bytes with the lower of the two values that
    /// `s` may have.
    pub fn accept(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<HolderSignature, BadSignature> {
        let kept = self.kept_form(message, signature)?;
        self.verify(message, &kept)?;
        Ok(kept)
    }

    /// A signature as the log would keep it, which may still be of something else:
    /// [`HolderKey::verify`] is to follow.
    pub fn kept_form(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<HolderSignature, BadSignature> {
        let kept = match &self.0.kind {
            Kind::EcdsaP256(_) => {
                let fixed = match <[u8; 64]>::try_from(signature) {
                    Ok(fixed) => Some(fixed),
                    Err(_) => self.der_to_fixed(message, signature),
                };
                low_s(fixed.ok_or(BadSignature)?).to_vec()
            }
            Kind::Ed25519(_) | Kind::Rsa(_) => signature.to_vec(),
        };
        HolderSignature::try_from(kept).map_err(|_| BadSignature)
    }

    /// Checks a signature in the one encoding that entries carry. The rule of every node.
    pub fn verify(&self, message: &[u8], signature: &HolderSignature) -> Result<(), BadSignature> {
        let bytes = signature.as_bytes();
        match &self.0.kind {
            Kind::Ed25519(key) => {
                let signature = Signature::from_slice(bytes).ok_or(BadSignature)?;
                key.verify(message, &signature)
            }
            Kind::EcdsaP256(key) => {
                let fixed = <[u8; 64]>::try_from(bytes).map_err(|_| BadSignature)?;
                if low_s(fixed) != fixed {
                    return Err(BadSignature);
                }
                key.verify_sig(message, bytes).map_err(|_| BadSignature)
            }
            Kind::Rsa(key) => {
                let algorithms: [&'static dyn VerificationAlgorithm; 2] =
                    [&RSA_PKCS1_2048_8192_SHA256, &RSA_PSS_2048_8192_SHA256];
                let verifies = |of| UnparsedPublicKey::new(of, key).verify(message, bytes).is_ok();
                if algorithms.into_iter().any(verifies) { Ok(()) } else { Err(BadSignature) }
            }
        }
    }

    /// The 64 bytes of a DER signature, if it verifies: whether it is proper DER is judged there.
    fn der_to_fixed(&self, message: &[u8], signature: &[u8]) -> Option<[u8; 64]> {
        let point = &self.0.der[P256_PREFIX.len()..];
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).ok()?;
        let mut reader = SliceReader::new(signature).ok()?;
        let numbers = reader.sequence(|numbers| {
            let r = UintRef::decode(numbers)?;
            let s = UintRef::decode(numbers)?;
            Ok::<_, ed25519_dalek::pkcs8::spki::der::Error>([r, s])
        });
        let mut fixed = [0; 64];
        for (half, number) in fixed.chunks_exact_mut(32).zip(numbers.ok()?) {
            let bytes = number.as_bytes();
            half.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        }
        Some(fixed)
    }
}

fn p256(der: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    let point = der.strip_prefix(&P256_PREFIX).ok_or(KeyError::OtherEncoding)?;
    if point.first() != Some(&4) {
        return Err(KeyError::OtherEncoding);
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::NotAPoint)
}

fn rsa(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Box<[u8]>, KeyError> {
    if !info.algorithm.parameters.is_some_and(AnyRef::is_null) {
        return Err(KeyError::OtherEncoding);
    }
    let key = info.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
    let mut reader = SliceReader::new(key).map_err(|_| KeyError::Malformed)?;
    let numbers = reader.sequence(|numbers| {
        let modulus = UintRef::decode(numbers)?;
        let exponent = UintRef::decode(numbers)?;
        Ok::<_, ed25519_dalek::pkcs8::spki::der::Error>((modulus, exponent))
    });
    let (modulus, exponent) = numbers.map_err(|_| KeyError::Malformed)?;
    reader.finish().map_err(|_| KeyError::Malformed)?;
    let (modulus, exponent) = (modulus.as_bytes(), exponent.as_bytes());
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - leading;
    if !(2048..=4096).contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] || exponent.len() > 4 {
        return Err(KeyError::RsaNumbers);
    }
    Ok(key.into())
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Half of it, rounded down: the largest `s` that is kept.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Of the two values `s` and `order - s`, which both verify, the lower one.
fn low_s(mut signature: [u8; 64]) -> [u8; 64] {
    let s = &mut signature[32..];
    if *s <= HALF_ORDER[..] || *s >= ORDER[..] {
        return signature;
    }
    let mut borrow = 0;
    for (digit, order) in s.iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap_or_default();
    }
    signature
}

impl PartialEq for HolderKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for HolderKey {}

impl std::hash::Hash for HolderKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HolderKey").field(&self.algorithm()).field(&self.fingerprint()).finish()
    }
}

impl From<&PublicKey> for HolderKey {
    fn from(key: &PublicKey) -> Self {
        let der = key.to_der();
        let kind = Kind::Ed25519(key.clone());
        Self(Arc::new(Checked { der: der.into(), fingerprint: key.fingerprint(), kind }))
    }
}

/// Reads the one PEM text of a key and no other: what entries hold has one form.
impl<'de> Deserialize<'de> for HolderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pem = String::deserialize(deserializer)?;
        let key = Self::from_pem(&pem).map_err(serde::de::Error::custom)?;
        if key.to_pem() == pem {
            Ok(key)
        } else {
            Err(serde::de::Error::custom("the PEM text is not the key's one form"))
        }
    }
}

impl Serialize for HolderKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_pem())
    }
}

impl HolderSignature {
    const MAX_BYTES: usize = 512;

    /// The bytes of the signature.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads padded base64.
    pub fn from_base64(text: &str) -> Result<Self, NotAHolderSignature> {
        if text.len() > Self::MAX_BYTES * 2 {
            return Err(NotAHolderSignature);
        }
        BASE64.decode(text).map_err(|_| NotAHolderSignature)?.try_into()
    }
}

impl TryFrom<Vec<u8>> for HolderSignature {
    type Error = NotAHolderSignature;

    fn try_from(bytes: Vec<u8>) -> Result<Self, NotAHolderSignature> {
        let fits = (1..=Self::MAX_BYTES).contains(&bytes.len());
        if fits { Ok(Self(bytes.into())) } else { Err(NotAHolderSignature) }
    }
}

impl From<Signature> for HolderSignature {
    fn from(signature: Signature) -> Self {
        Self(signature.as_bytes().to_vec().into())
    }
}

impl fmt::Display for HolderSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for HolderSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HolderSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HolderSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_base64(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL: keys that are taken or not, and signatures over one message.
    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/vectors/holder-keys.json")).unwrap()
    }

    fn key(vectors: &serde_json::Value, name: &str) -> HolderKey {
        let keys = vectors["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["name"] == name).unwrap();
        HolderKey::from_pem(key["pem"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_taken_in_its_one_encoding_and_printed_as_openssl_prints_it() {
        for vector in vectors()["keys"].as_array().unwrap() {
            let pem = vector["pem"].as_str().unwrap();
            let key = HolderKey::from_pem(pem);

            assert_eq!(key.is_ok(), vector["ok"].as_bool().unwrap(), "{}", vector["name"]);
            if let Ok(key) = key {
                assert_eq!(key.to_pem(), pem);
                assert_eq!(HolderKey::from_pem(&pem.replace('\n', "\r\n")), Ok(key));
            }
        }
    }

    #[test]
    fn signatures_of_openssl_are_accepted_and_kept_in_one_encoding() {
        let vectors = vectors();
        let message = vectors["message"].as_str().unwrap().as_bytes();
        for vector in vectors["signatures"].as_array().unwrap() {
            let key = key(&vectors, vector["key"].as_str().unwrap());
            let signature = BASE64.decode(vector["signature"].as_str().unwrap()).unwrap();

            let accepted = key.accept(message, &signature);

            assert_eq!(accepted.is_ok(), vector["ok"].as_bool().unwrap(), "{}", vector["name"]);
            let Ok(kept) = accepted else { continue };
            let want =
                vector["kept"].as_str().map_or(signature, |kept| BASE64.decode(kept).unwrap());
            assert_eq!(kept.as_bytes(), want, "{}", vector["name"]);
            assert_eq!(key.verify(message, &kept), Ok(()));
            assert_eq!(key.verify(b"another message", &kept), Err(BadSignature));
        }
    }

    #[test]
    fn one_bit_changed_anywhere_is_refused() {
        let vectors = vectors();
        let message = vectors["message"].as_str().unwrap().as_bytes();
        for vector in vectors["signatures"].as_array().unwrap().iter().filter(|v| v["ok"] == true) {
            let key = key(&vectors, vector["key"].as_str().unwrap());
            let signature = BASE64.decode(vector["signature"].as_str().unwrap()).unwrap();
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1 << (at % 8);
                assert!(key.accept(message, &changed).is_err(), "{} at {at}", vector["name"]);
            }
        }
    }

    #[test]
    fn entries_carry_the_lower_s_and_no_other() {
        let vectors = vectors();
        let message = vectors["message"].as_str().unwrap().as_bytes();
        let of = |name: &str| {
            let all = vectors["signatures"].as_array().unwrap();
            let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
            HolderSignature::from_base64(vector["signature"].as_str().unwrap()).unwrap()
        };
        let key = key(&vectors, "p256");

        assert_eq!(key.verify(message, &of("p256 as 64 bytes, low s")), Ok(()));
        for other in ["p256 as 64 bytes, high s", "p256 in DER, low s", "p256 in DER, high s"] {
            assert_eq!(key.verify(message, &of(other)), Err(BadSignature), "{other}");
        }
    }
}
