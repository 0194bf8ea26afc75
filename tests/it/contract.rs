//! The document of the API as a contract: whatever a test receives is in it.
//!
//! [`check`] is asked by the harness about every answer, so that the whole suite says what the
//! document lacks.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::raw::Answer;

/// The methods that an operation can have.
pub(crate) const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation of the document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) says: &'a Value,
    document: &'a Value,
}

/// The committed document.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join("docs/openapi.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    })
}

/// Every operation of a document.
pub(crate) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, says) in item.as_object().into_iter().flatten() {
            all.push(Operation { method, path, says, document });
        }
    }
    all
}

impl<'a> Operation<'a> {
    /// The response that the document has for a status, references followed.
    pub(crate) fn response(&self, status: &str) -> &'a Value {
        let response = &self.says["responses"][status];
        let target = response["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        target.and_then(|target| self.document.pointer(target)).unwrap_or(response)
    }

    /// The codes that a response may carry.
    pub(crate) fn codes(&self, status: &str) -> Vec<&'a str> {
        let schema = &self.response(status)["content"]["application/problem+json"]["schema"];
        let codes = &schema["properties"]["error"]["properties"]["code"]["enum"];
        codes.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.says["parameters"].as_array().into_iter().flatten()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&'a Value> {
        self.parameters().find(|parameter| parameter["name"] == name)
    }

    /// The schemes of `security`; an empty name stands for nobody in particular.
    pub(crate) fn security(&self) -> Vec<&'a str> {
        let all = self.says["security"].as_array().into_iter().flatten();
        all.map(|of| of.as_object().and_then(|of| of.keys().next()).map_or("", String::as_str))
            .collect()
    }

    pub(crate) fn request(&self) -> Option<&'a Map<String, Value>> {
        self.says["requestBody"]["content"].as_object()
    }

    fn matches(&self, path: &str) -> bool {
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                // An index is all that is left of the path.
                (None, None) | (Some("{index}"), Some(_)) => return true,
                (Some(our), Some(their)) if our == their || our.starts_with('{') => {}
                _ => return false,
            }
        }
    }
}

/// The operation that a path belongs to; a fixed part goes before a parameter.
pub(crate) fn operation(method: &str, target: &str) -> Option<Operation<'static>> {
    let path = target.split('?').next().unwrap_or_default();
    let all = operations(document());
    let matching = all.iter().filter(|of| of.matches(path));
    let nearest = matching.min_by_key(|of| of.path.matches('{').count())?.path;
    let fits = |of: &Operation<'_>| of.path == nearest && of.method.eq_ignore_ascii_case(method);
    all.into_iter().find(fits)
}

/// What the document lacks of an answer; nothing if it says everything.
pub(crate) fn check(method: &str, target: &str, answer: &Answer) -> Result<(), String> {
    let Some(operation) = operation(method, target) else { return Ok(()) };
    let status = answer.status.to_string();
    let place = format!("{method} {target} answered {status}");
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    // A follower refuses every write in the same way, whatever the leader would say to it.
    if code == "read_only_follower" || status == "308" {
        return Ok(());
    }
    let known = [&*status, "default"].into_iter().find(|status| {
        let codes = operation.codes(status);
        !operation.response(status).is_null() && (codes.is_empty() || codes.contains(&code))
    });
    let Some(known) = known else {
        return Err(format!("{place} `{code}`, which the document does not say: x-problems"));
    };
    let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
    let content = &operation.response(known)["content"];
    if !answer.body.is_empty() && content[media_type].is_null() {
        return Err(format!("{place} with {media_type}, which the document does not say"));
    }
    Ok(())
}
