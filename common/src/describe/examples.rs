//! Examples of every body, made from its schema.
//!
//! A member that says its own example has that one; a text without one has what its name promises.

use serde_json::{Value, json};

use super::{METHODS, Object, object};

/// How deep an example goes into shapes that hold themselves.
const DEPTH: usize = 12;

/// Texts that are plausible under their names; another text without an example shows its name.
const TEXTS: &[(&str, &str)] = &[
    ("algorithm", "ed25519"),
    ("author", "Alice Scholar"),
    ("category", "human_attestation"),
    ("challenge_id", "n2bXUJzYDk5jKYyZl0yVnA"),
    ("challenge_signature", "hR0nN2F6c2lnbmF0dXJlIG9mIHRoZSBjaGFsbGVuZ2U="),
    (
        "checkpoint",
        "log.example.org/log-e3b0c442\n42\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— log.example.org/log-e3b0c442 47DEQg==\n",
    ),
    ("class", "fork_same_size"),
    ("code", "wrong_root"),
    ("current_password", "correct horse battery"),
    ("description", "A description"),
    ("detail", "One sentence about this case."),
    ("details", "One sentence about this case."),
    ("display_name", "EU Mirror"),
    ("error", "connection refused"),
    ("event_type", "attestation"),
    ("evidence", "What shows it."),
    ("fingerprint", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("instance", "/requests/5c1f0a3e-0000002a"),
    ("intent_statement", "I wrote this."),
    ("kind", "pending_key"),
    ("label", "Chapter 1"),
    ("message", "One sentence about this case."),
    ("name", "EU Mirror"),
    ("next_action", "Nothing to do."),
    ("network", "192.0.2.0/24"),
    ("new_algorithm", "ed25519"),
    ("new_public_key", PEM),
    ("nonce", "4f1hQy1mSXZ2cG1vR2l0eU9kZ3ZzQm5hV0p6d2g"),
    ("note", "We part as friends."),
    ("origin", "log.example.org/log-e3b0c442"),
    ("password", "correct horse battery"),
    ("pseudonym", "Alice Scholar"),
    (
        "proof",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    ),
    ("public_key", PEM),
    ("purpose", "general"),
    ("public_key_pem", PEM),
    ("reason", "The key was stolen."),
    ("sentence", "All 42 entries are on two machines."),
    ("server", "https://mirror.example.org"),
    (
        "signature",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    ),
    ("signing_input", "ZGlvZ2VuZXMtY2hhbGxlbmdlL3YxCg=="),
    ("source_hash", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("status", "valid"),
    ("subject", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("title", "On Truth"),
    ("token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzaGEyNTY6ZTNiMCJ9.c2lnbmF0dXJl"),
    ("url", "https://example.org/hook"),
    ("version", "0.1.0"),
];

const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Gives every body of JSON an example, unless its handler gave one.
pub(super) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for item in object(&mut document["paths"]).values_mut() {
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            if let Some(body) = operation.get_mut("requestBody") {
                exemplify(&mut body["content"], &schemas);
            }
            for (status, response) in object(&mut operation["responses"]) {
                if status.starts_with('2') && !response["content"].is_null() {
                    exemplify(&mut response["content"], &schemas);
                }
            }
        }
    }
}

fn exemplify(content: &mut Value, schemas: &Value) {
    for (media_type, media) in object(content) {
        let has_one = !media["example"].is_null() || !media["examples"].is_null();
        if media_type == "application/json" && !has_one {
            let example = Sampler { schemas }.sample("", &media["schema"], DEPTH);
            object(media).insert("example".to_owned(), example);
        }
    }
}

/// Makes examples of shapes that refer to these.
struct Sampler<'a> {
    schemas: &'a Value,
}

impl Sampler<'_> {
    fn sample(&self, name: &str, schema: &Value, depth: usize) -> Value {
        if let Some(given) = given(schema) {
            return given;
        }
        if let Some(target) = schema["$ref"].as_str() {
            let target = target.rsplit('/').next().unwrap_or_default();
            return self.sample(name, &self.schemas[target], depth.saturating_sub(1));
        }
        for choice in ["oneOf", "anyOf"] {
            let forms = schema[choice].as_array().into_iter().flatten();
            if let Some(form) = forms.into_iter().find(|form| form["type"] != "null") {
                return self.sample(name, form, depth);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let parts = parts.iter().map(|part| self.sample(name, part, depth));
            let members = parts.filter_map(|part| part.as_object().cloned()).flatten();
            return Value::Object(members.collect());
        }
        match kind(schema) {
            "object" if depth > 0 => self.members(schema, depth),
            "array" if depth > 0 && schema["items"].is_object() => {
                json!([self.sample(name, &schema["items"], depth - 1)])
            }
            "object" => json!({}),
            "array" => json!([]),
            "integer" | "number" => json!(schema["minimum"].as_u64().unwrap_or(1).max(1)),
            "boolean" => json!(true),
            "string" => text(name, schema),
            _ => Value::Null,
        }
    }

    fn members(&self, schema: &Value, depth: usize) -> Value {
        let members = schema["properties"].as_object().into_iter().flatten();
        let members = members.map(|(name, of)| (name.clone(), self.sample(name, of, depth - 1)));
        Value::Object(members.collect::<Object>())
    }
}

/// The example that a schema says itself.
fn given(schema: &Value) -> Option<Value> {
    let listed = ["examples", "enum"].into_iter().find_map(|member| schema[member].get(0).cloned());
    let single = ["example", "const", "default"].into_iter().find_map(|member| schema.get(member));
    single.cloned().or(listed)
}

/// The type of a schema; of one that may be null, what it is otherwise.
fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|kind| *kind != "null").unwrap_or_default()
        }
        _ => "",
    }
}

/// What the name of a text promises; without a promise nothing where that is allowed.
fn text(name: &str, schema: &Value) -> Value {
    let known = TEXTS.iter().find(|(known, _)| *known == name);
    match known {
        Some((_, text)) => json!(text),
        None if schema["type"].is_array() => Value::Null,
        None => json!(name),
    }
}
