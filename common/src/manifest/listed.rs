//! Attestations as manifests list them: what `POST /attestations` answered, kept by clients.
//!
//! ```text
//! {"id","type","scope":{"content_hash"},"signer_key_fingerprint","signature_algorithm","signature",
//!  "timestamp","parents","intent_statement",...}
//! ```
//!
//! Nothing in them is trusted. Members that are not needed are not looked at, since clients of all
//! times keep what they once got; those of older clients have no `parents` and no
//! `intent_statement`.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::{AttestationType, MAX_LISTED, ShortId};
use crate::keys::Fingerprint;
use crate::merkle::Hash;

/// The most bytes that a signature has.
const MAX_SIGNATURE_BYTES: usize = 512;

/// A listed attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id, as stated.
    pub id: ShortId,
    /// Its type.
    pub attestation_type: AttestationType,
    /// Whose it is.
    pub signer: Fingerprint,
    /// The signature in whichever encoding its signer made it.
    pub signature: Vec<u8>,
    /// The document that it says it is about.
    pub content_hash: Option<Hash>,
    /// What it says it stands on.
    pub parents: Option<Vec<ShortId>>,
    /// The statement of intent.
    pub intent_statement: Intent,
}

/// What a client kept of the statement of intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing, as older clients do: the log may have one.
    NotKept,
    /// The statement, or that there is none.
    Kept(Option<String>),
}

/// What is wrong with a listed attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListedFault {
    /// Not an object.
    #[error("it is no object")]
    NotAnObject,
    /// No usable `id`.
    #[error("id is not 32 lower-case hex digits")]
    Id,
    /// No usable `type`.
    #[error("type is not one of the four types, nor a namespaced one")]
    Type,
    /// No usable `signer_key_fingerprint`.
    #[error("signer_key_fingerprint is not `sha256:` followed by 64 lower-case hex digits")]
    Signer,
    /// No usable `signature`.
    #[error("signature is not the padded base64 of 1 to 512 bytes")]
    Signature,
    /// An unusable `scope`.
    #[error("scope.content_hash is not `sha256:` followed by 64 lower-case hex digits")]
    Scope,
    /// Unusable `parents`.
    #[error("parents is not a list of at most 100 ids")]
    Parents,
    /// An unusable `intent_statement`.
    #[error("intent_statement is neither a text nor null")]
    Intent,
}

impl ListedFault {
    /// The JSON pointer from the attestation to what is wrong.
    pub(super) const fn pointer(self) -> &'static str {
        match self {
            Self::NotAnObject => "",
            Self::Id => "/id",
            Self::Type => "/type",
            Self::Signer => "/signer_key_fingerprint",
            Self::Signature => "/signature",
            Self::Scope => "/scope/content_hash",
            Self::Parents => "/parents",
            Self::Intent => "/intent_statement",
        }
    }
}

impl Listed {
    pub(super) fn read(value: &Value) -> Result<Self, ListedFault> {
        let members = value.as_object().ok_or(ListedFault::NotAnObject)?;
        Ok(Self {
            id: text(members, "id").ok_or(ListedFault::Id)?,
            attestation_type: text(members, "type").ok_or(ListedFault::Type)?,
            signer: text(members, "signer_key_fingerprint").ok_or(ListedFault::Signer)?,
            signature: signature(members).ok_or(ListedFault::Signature)?,
            content_hash: content_hash(members)?,
            parents: parents(members)?,
            intent_statement: intent_statement(members)?,
        })
    }
}

fn text<T: FromStr>(members: &Map<String, Value>, name: &str) -> Option<T> {
    members.get(name)?.as_str()?.parse().ok()
}

fn signature(members: &Map<String, Value>) -> Option<Vec<u8>> {
    let text = members.get("signature")?.as_str()?;
    let bytes = BASE64.decode(text).ok()?;
    (1..=MAX_SIGNATURE_BYTES).contains(&bytes.len()).then_some(bytes)
}

fn content_hash(members: &Map<String, Value>) -> Result<Option<Hash>, ListedFault> {
    match members.get("scope").and_then(|scope| scope.get("content_hash")) {
        None | Some(Value::Null) => Ok(None),
        Some(hash) => {
            let hash = hash.as_str().and_then(|text| text.parse().ok());
            hash.map(Some).ok_or(ListedFault::Scope)
        }
    }
}

fn parents(members: &Map<String, Value>) -> Result<Option<Vec<ShortId>>, ListedFault> {
    match members.get("parents") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(ids)) if ids.len() <= MAX_LISTED => {
            let ids = ids.iter().map(|id| id.as_str().and_then(|text| text.parse().ok()));
            ids.collect::<Option<_>>().map(Some).ok_or(ListedFault::Parents)
        }
        Some(_) => Err(ListedFault::Parents),
    }
}

fn intent_statement(members: &Map<String, Value>) -> Result<Intent, ListedFault> {
    match members.get("intent_statement") {
        None => Ok(Intent::NotKept),
        Some(Value::Null) => Ok(Intent::Kept(None)),
        Some(Value::String(text)) => Ok(Intent::Kept(Some(text.clone()))),
        Some(_) => Err(ListedFault::Intent),
    }
}
