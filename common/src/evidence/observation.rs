//! Observations: what looked wrong and proves nothing.

use serde::{Deserialize, Serialize};

use super::{Bytes, Observed};
use crate::clock::Timestamp;
use crate::merkle::Hash;
use crate::statement::Reason;

/// How much of a body is kept.
const MAX_BODY: usize = 256 * 1024;
/// How many headers are kept, and how much of each.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_CHARS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ObservationType {
    #[serde(rename = "diogenes-observation/v1")]
    V1,
}

/// What a source answered when something looked wrong: the bytes, the headers and where they came
/// from.
///
/// Kept and served for people to look at; never called proof, since anyone can write one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    body: Bytes,
    body_bytes: u64,
    body_sha256: Hash,
    explanation: String,
    headers: Vec<(String, String)>,
    observed_at: Timestamp,
    observer: String,
    reason: Reason,
    source: String,
    status: Option<u16>,
    #[serde(rename = "type")]
    version: ObservationType,
}

impl Observation {
    /// Records an answer. Of a long body the beginning is kept, with the hash of all of it.
    pub fn new(reason: Reason, explanation: String, source: String, observed: &Observed) -> Self {
        Self {
            body: Bytes(Vec::new()),
            body_bytes: 0,
            body_sha256: Hash::of(b""),
            explanation,
            headers: Vec::new(),
            observed_at: observed.at,
            observer: observed.by.clone(),
            reason,
            source,
            status: None,
            version: ObservationType::V1,
        }
    }

    /// Adds the answer that was observed.
    #[must_use]
    pub fn with_answer<'a>(
        self,
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: &[u8],
    ) -> Self {
        let cut = |text: &str| text.chars().take(MAX_HEADER_CHARS).collect::<String>();
        let headers = headers.into_iter().take(MAX_HEADERS);
        Self {
            body: Bytes(body[..body.len().min(MAX_BODY)].to_vec()),
            body_bytes: body.len() as u64,
            body_sha256: Hash::of(body),
            headers: headers.map(|(name, value)| (cut(name), cut(value))).collect(),
            status: Some(status),
            ..self
        }
    }

    /// The body of the answer, as far as it was kept.
    pub fn body(&self) -> &[u8] {
        &self.body.0
    }

    /// Why it was kept.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Never: an observation is texts, integers and hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("an observation is a JSON object");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{EvidenceError, MAX_EVIDENCE_BYTES, verify};

    #[test]
    fn an_observation_stays_small_and_is_never_evidence() {
        let observed =
            Observed { at: "2026-01-15T10:30:00.000Z".parse().expect("a time"), by: "f".into() };
        let reason = Reason::try_from("bad_batch").expect("a reason");
        let body = vec![7; 4 * 1024 * 1024];
        let long = "v".repeat(100_000);
        let headers = std::iter::repeat_n(("x-name", long.as_str()), 1000);

        let observation =
            Observation::new(reason, "gap".into(), "https://a.example".into(), &observed)
                .with_answer(200, headers, &body);
        let bytes = observation.to_bytes();

        assert!(bytes.len() < MAX_EVIDENCE_BYTES);
        assert_eq!(observation.body_sha256, Hash::of(&body));
        assert_eq!(serde_json::from_slice::<Observation>(&bytes).ok(), Some(observation));
        assert_eq!(verify(&bytes, None, None), Err(EvidenceError::Unreadable));
    }
}
