//! Composite documents: parts are put together and compiled into one manifest.
//!
//! All of it follows from the request, and `diogenes_common::composite` has the rules. The log is
//! touched only where it is to record that somebody put a document together.

mod http;

use diogenes_common::composite::{CompileError, CompositeError, PartFault};
use diogenes_common::event::{Authorization, CompositeDocument};
use diogenes_common::keys::{Fingerprint, HolderKey};
use diogenes_common::manifest::ManifestError;
use diogenes_common::merkle::Hash;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::composite::{CompileRequest, CompiledManifest};

pub(crate) use http::router;

use crate::app::App;
use crate::holders::{AskError, Request};

/// Why a composite document is not compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    /// What was said to be assembled is not.
    #[error(transparent)]
    Composite(#[from] CompositeError),
    /// The attestations do not fit.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl Request for CompileRequest {
    type Event = CompositeDocument;

    /// Recorded ones name it: [`Request::check`] sees to that.
    fn signer(&self) -> Fingerprint {
        self.fingerprint.unwrap_or_else(|| Fingerprint::new(Hash::of(b"")))
    }

    fn check(&self) -> Result<(), AskError> {
        if !self.record {
            return Err(AskError::Member { member: "record", detail: "say true to record it" });
        }
        if self.fingerprint.is_none() {
            let detail = "name the key whose holder records the document";
            return Err(AskError::Member { member: "fingerprint", detail });
        }
        Ok(())
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<CompositeDocument, AskError> {
        // It was compiled before anybody was asked.
        let detail = "the composite contradicts itself";
        CompositeDocument::of(self, key, authorization)
            .ok_or(AskError::Member { member: "composite", detail })
    }
}

/// Compiles what was assembled, after all of it was checked again, into one manifest.
fn compile(request: CompileRequest) -> Result<CompiledManifest, Refusal> {
    let composite = request.composite.check()?;
    let (value, manifest) = composite.compile(&request.attestations)?;
    Ok(CompiledManifest {
        manifest: value,
        manifest_hash: manifest.hash(),
        content_hash: manifest.content_hash(),
        log_entry_id: None,
        entry_hash: None,
    })
}

/// What a client is told about a composite document that stands at `base`.
fn composite_problem(error: &CompositeError, base: &str) -> Problem {
    let code = match error {
        CompositeError::Part { fault: PartFault::Manifest(cause), .. }
        | CompositeError::Manifest(cause) => code_of(cause),
        CompositeError::Part { fault: PartFault::OtherDocument { .. }, .. } => {
            Code::InvalidManifest
        }
        CompositeError::Part { .. }
        | CompositeError::PartCount
        | CompositeError::Title
        | CompositeError::Root { .. } => Code::ValidationFailed,
    };
    let text = error.to_string();
    Problem::new(code, text.clone()).error(format!("{base}{}", error.pointer()), text)
}

fn code_of(error: &ManifestError) -> Code {
    match error {
        ManifestError::TooDeep => Code::JsonTooDeep,
        ManifestError::UnknownMember { .. } => Code::UnknownField,
        _ => Code::InvalidManifest,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Composite(error) => composite_problem(&error, "#/composite"),
            Refusal::Compile(error) => {
                let code = match &error {
                    CompileError::Manifest(cause) => code_of(cause),
                    CompileError::OtherDocument { .. } => Code::InvalidManifest,
                };
                Self::new(code, text.clone()).error(format!("#{}", error.pointer()), text)
            }
        }
    }
}
