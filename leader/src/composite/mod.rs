//! Composite documents: parts are put together and compiled into one manifest.
//!
//! Nothing is stored and no log is asked: everything follows from the request, and
//! `diogenes_common::composite` has the rules.

mod http;

use diogenes_common::composite::{CompileError, CompositeError, PartFault};
use diogenes_common::manifest::ManifestError;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::composite::{CompileRequest, CompiledManifest};

pub(crate) use http::router;

/// Why a composite document is not compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    /// What was said to be assembled is not.
    #[error(transparent)]
    Composite(#[from] CompositeError),
    /// The attestations do not fit.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It is to be recorded.
    #[error(
        "composite documents are not recorded in this version: leave `record` out, and attest the \
         manifest"
    )]
    Record,
}

/// Compiles what was assembled, after all of it was checked again, into one manifest.
fn compile(request: CompileRequest) -> Result<CompiledManifest, Refusal> {
    if request.record {
        return Err(Refusal::Record);
    }
    let composite = request.composite.check()?;
    let (value, manifest) = composite.compile(&request.attestations)?;
    Ok(CompiledManifest {
        manifest: value,
        manifest_hash: manifest.hash(),
        content_hash: manifest.content_hash(),
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
            Refusal::Record => Self::invalid("#/record", text),
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
