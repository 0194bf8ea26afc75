//! How the texts and numbers of the formats appear in the OpenAPI document.

use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ArrayItems, KnownFormat, ObjectBuilder, SchemaFormat, Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::Timestamp;
use crate::event::text::{Name, ServerUrl};
use crate::export::Scope;
use crate::head::{HeadJson, Origin};
use crate::identifiers::IdentifierType;
use crate::keys::{AnyFingerprint, Fingerprint, PublicKey, ShortFingerprint, Signature};
use crate::manifest::{self, AttestationId, AttestationType, ShortId};
use crate::merkle::{Hash, TreeSize};
use crate::statement::{FollowerStatus, Reason};
use crate::trust::{
    MAX_ANCHORS, MAX_DEPTH, MAX_INSTITUTION_CHARS, MAX_INSTITUTIONS, MAX_PATHS, Millionths, Policy,
};

/// Standard padded base64 (RFC 4648 section 4); names the schema only.
#[derive(Clone, Copy, Debug)]
pub struct Base64;

macro_rules! texts {
    ($($name:ident: $description:literal, $example:literal, $pattern:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let pattern: Option<&str> = $pattern;
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .pattern(pattern)
                    .examples([$example])
                    .into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

texts! {
    Hash: "A SHA-256 digest.",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        Some("^sha256:[0-9a-f]{64}$");
    Fingerprint: "The SHA-256 digest of a key's SubjectPublicKeyInfo.",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        Some("^sha256:[0-9a-f]{64}$");
    ShortFingerprint: "The first 16 hex digits of a fingerprint, for display and typing.",
        "e3b0c44298fc1c14", Some("^[0-9a-f]{16}$");
    Timestamp: "A time in UTC with three fractional digits.",
        "2026-01-15T10:30:00.000Z",
        Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$");
    Origin: "The log's name, fixed for ever.", "log.example.org/log-e3b0c442",
        Some("^[A-Za-z0-9._~:/-]{1,255}$");
    Signature: "An Ed25519 signature in base64.",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
        None;
    PublicKey: "A public key as PEM.",
        "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n", None;
    Base64: "Bytes in padded base64.", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", None;
    AttestationId: "What makes an attestation this one and no other.",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        Some("^sha256:[0-9a-f]{64}$");
    ShortId: "The id of an attestation: the first 32 hex digits of its identity.",
        "e3b0c44298fc1c149afbf4c8996fb924", Some("^[0-9a-f]{32}$");
    AttestationType: "`authorship`, `editorial_review`, `peer_review`, `publication` or `x-<namespace>:<name>`.",
        "authorship",
        Some("^(authorship|editorial_review|peer_review|publication|x-[a-z0-9][a-z0-9-]{0,31}:[a-z0-9][a-z0-9._-]{0,63})$");
    AnyFingerprint: "A fingerprint, full or its first 16 hex digits.",
        "e3b0c44298fc1c14", Some("^((sha256:)?[0-9a-f]{64}|[0-9a-f]{16})$");
    Name: "A name: 1 to 100 characters in NFC, without control or bidi characters.",
        "EU Mirror", Some("^.{1,100}$");
    ServerUrl: "An http or https URL to show; never dialled.",
        "https://mirror.example.org", Some("^https?://.{1,247}$");
    Reason: "A reason for programs.", "catching_up", Some("^[a-z0-9_]{1,64}$");
    FollowerStatus: "How a follower stands: `SYNCED`, `SYNCING`, `BEHIND` or `ERROR`.",
        "SYNCED", Some("^(SYNCED|SYNCING|BEHIND|ERROR)$");
}

impl PartialSchema for TreeSize {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .description(Some("A number of entries."))
            .minimum(Some(0))
            .examples([42])
            .into()
    }
}

impl ToSchema for TreeSize {}

impl PartialSchema for HeadJson {
    fn schema() -> RefOr<Schema> {
        let hash_or_null = || {
            utoipa::openapi::schema::OneOfBuilder::new()
                .item(Hash::schema())
                .item(ObjectBuilder::new().schema_type(Type::Null))
        };
        let text = |description: &str| {
            ObjectBuilder::new().schema_type(Type::String).description(Some(description))
        };
        ObjectBuilder::new()
            .description(Some(
                "A signed tree head: the operator's word for the whole log up to a size.",
            ))
            .property("chain_head", hash_or_null())
            .property("checkpoint", text("The same head as a C2SP checkpoint."))
            .property("epoch", u64::schema())
            .property("key_fingerprint", Fingerprint::schema())
            .property("last_event_id", u64::schema())
            .property("origin", Origin::schema())
            .property("root_hash", Hash::schema())
            .property("signature", Signature::schema())
            .property("timestamp", Timestamp::schema())
            .property("tree_size", TreeSize::schema())
            .required("chain_head")
            .required("checkpoint")
            .required("epoch")
            .required("key_fingerprint")
            .required("last_event_id")
            .required("origin")
            .required("root_hash")
            .required("signature")
            .required("timestamp")
            .required("tree_size")
            .into()
    }
}

impl ToSchema for HeadJson {
    fn name() -> std::borrow::Cow<'static, str> {
        "TreeHead".into()
    }
}

impl PartialSchema for Millionths {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("0 to 1 with at most six fractional digits."))
            .minimum(Some(0))
            .maximum(Some(1))
            .examples([0.25])
            .into()
    }
}

impl ToSchema for Millionths {}

impl PartialSchema for Policy {
    fn schema() -> RefOr<Schema> {
        let number = |most: f64, default: f64| {
            ObjectBuilder::new()
                .schema_type(Type::Number)
                .exclusive_minimum(Some(0))
                .maximum(Some(most))
                .default(Some(default.into()))
        };
        let count = |most: u32, default: u32| {
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(most))
                .default(Some(default.into()))
        };
        let some_of = |names: &[&str]| {
            let names = names.iter().copied();
            list(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)))
        };
        let institution = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_INSTITUTION_CHARS));
        let categories = [
            "human_attestation",
            "institutional_endorsement",
            "x-diogenes:human_attestation",
            "x-diogenes:institutional_endorsement",
        ];
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("Whom a verifier trusts, and how far that trust reaches."))
            .property("anchors", list(Fingerprint::schema()).max_items(Some(MAX_ANCHORS)))
            .required("anchors")
            .property("decay", number(1.0, 0.5))
            .property("max_depth", count(MAX_DEPTH, 3))
            .property("min_score", number(1.0, 0.25))
            .property("min_paths", count(MAX_PATHS, 1))
            .property("categories", some_of(&categories))
            .property("institutions", list(institution).max_items(Some(MAX_INSTITUTIONS)))
            .property("require_binds", some_of(&["manifest", "manifest+parents", "all"]))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .examples([serde_json::json!({
                "anchors": ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
                "min_score": 0.25,
            })])
            .into()
    }
}

impl ToSchema for Policy {}

/// A list of at least one, and of no two that are the same.
fn list(of: impl Into<ArrayItems>) -> ArrayBuilder {
    ArrayBuilder::new().items(of).min_items(Some(1)).unique_items(true)
}

/// A document's manifest as requests carry it; names the schema only.
#[derive(Clone, Copy, Debug)]
pub struct ManifestShape;

impl PartialSchema for ManifestShape {
    fn schema() -> RefOr<Schema> {
        let document = ObjectBuilder::new()
            .description(Some("What the document is; further members are kept."))
            .property("content_hash", Hash::schema())
            .property(
                "title",
                ObjectBuilder::new().schema_type(Type::String).examples(["On Truth"]),
            )
            .required("content_hash");
        let attestation =
            ObjectBuilder::new().description(Some("An attestation as it was answered."));
        let attestations = ArrayBuilder::new()
            .items(attestation)
            .max_items(Some(manifest::MAX_LISTED))
            .examples([serde_json::json!([])])
            .description(Some("The attestations that the document has so far."));
        ObjectBuilder::new()
            .description(Some("A document's manifest, at most 128 KiB."))
            .property("document", document)
            .property("attestations", attestations)
            .required("document")
            .into()
    }
}

impl ToSchema for ManifestShape {
    fn name() -> std::borrow::Cow<'static, str> {
        "Manifest".into()
    }
}

/// One of these names.
fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> RefOr<Schema> {
    let names: Vec<&str> = names.into_iter().collect();
    let example = names.first().copied().unwrap_or_default();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names))
        .examples([example])
        .into()
}

impl PartialSchema for IdentifierType {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.iter().map(|kind| kind.as_str()))
    }
}

impl ToSchema for IdentifierType {}

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.iter().map(|(name, _)| *name))
    }
}

impl ToSchema for Scope {
    fn name() -> std::borrow::Cow<'static, str> {
        "ExportScope".into()
    }
}
