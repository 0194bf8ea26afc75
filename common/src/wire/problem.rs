//! The body of every error, as clients read it (RFC 9457).

use serde::{Deserialize, Serialize};

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "shell", schema(as = Problem))]
pub struct ProblemBody {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "shell", schema(example = "urn:diogenes:problem:validation_failed"))]
    pub kind: String,
    /// What the kind means.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// Names this occurrence.
    pub instance: String,
    /// The same for programs.
    pub error: ProblemError,
    /// The values that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// The stable code of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ProblemError {
    /// One of the documented codes.
    #[cfg_attr(feature = "shell", schema(example = "validation_failed"))]
    pub code: String,
    /// The detail again.
    pub message: String,
}

/// One value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ProblemField {
    /// Where it stands: a JSON pointer with `#` in front, or the name of a query parameter.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}
