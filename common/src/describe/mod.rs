//! The `OpenAPI` document as it is published: what the handlers say of themselves, and what holds
//! for all of them.
//!
//! ```text
//! a handler says      path, summary, tag, parameters, bodies, answers, `security`, the `ETag`
//!                     of an answer, and under `x-problems` the codes that are its own
//! [`limited`] says    the class of rate limit, where it puts the limit itself: `x-rate-limit`
//! [`describe`] adds   operation ids, bounds of well-known parameters, every refusal with its codes
//!                     and examples, headers, 304 beside every `ETag`, examples of all bodies
//! ```
//!
//! Nothing that follows from the rest of the document is repeated in a handler.

mod examples;
mod headers;
mod page;
mod parameters;
mod problems;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::openapi::extensions::Extensions;
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;

pub use self::page::Reference;
use crate::server::limits::{Class, Limiter};
use crate::wire::problem::ProblemBody;

/// The members of an object of the document.
type Object = Map<String, Value>;

/// The methods that an operation can have.
const METHODS: [&str; 5] = ["delete", "get", "patch", "post", "put"];

/// Where a handler names the codes that are its own.
const PROBLEMS: &str = "x-problems";

/// Where an operation says which rate limit counts it.
const RATE_LIMIT: &str = "x-rate-limit";

/// What the groups of operations are about, in the order in which pages show them.
const TAGS: [(&str, &str); 17] = [
    ("log", "The entries of the log, signed tree heads, and proofs about both."),
    (
        "keys",
        "Keys of people and nodes: registration, succession, revocation, and what they are now.",
    ),
    ("auth", "Challenges, tokens and passwords: how a holder shows that a key is theirs."),
    ("attestations", "What people say about documents, signed with their keys."),
    ("verification", "What a document's attestations are worth."),
    ("endorsements", "Who vouches for whom: offers, acceptances, withdrawals and alerts."),
    ("graph", "The endorsements around a key."),
    ("trust", "Whom a verifier trusts, and how far."),
    ("claims", "Encrypted claims, and what becomes of them when they are revealed."),
    ("composite", "Documents that are made of parts."),
    ("audit", "The log as auditors take it home: JSON, CSV or NDJSON."),
    ("webhooks", "Messages about new entries."),
    ("identifiers", "Identifiers that other registries give."),
    ("witnesses", "Who watches this log, and what they signed of it."),
    ("tiles", "The same log for the programs of the C2SP ecosystem."),
    ("operator", "What only the operator does."),
    ("node", "This node: its health, its status, its figures."),
];

const ABOUT: &str = "The REST API of a Diogenes transparency log. Every error is a problem of \
    RFC 9457 whose `error.code` is one of the words that the operation names; `docs/problems.md` \
    says of each what to do. Numbers out of range are refused, never clamped.\n\n\
    A follower answers the reads alone, from what it has verified, and says so in \
    `Diogenes-Verified-Size`; what would append it refuses with 403 `read_only_follower` and \
    names the leader.\n\n\
    Where an operation names a rate limit (`x-rate-limit`), each of its answers, refusals included, \
    carries the `RateLimit` headers. The operator's token is never limited.";

/// Puts a limit on routes and says so of each.
pub fn limited<S: Clone + Send + Sync + 'static>(
    limiter: &Limiter,
    class: Class,
    mut routes: OpenApiRouter<S>,
) -> OpenApiRouter<S> {
    for path in routes.get_openapi_mut().paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            let extensions = operation.extensions.get_or_insert_with(Extensions::default);
            extensions.insert(RATE_LIMIT.to_owned(), json!(class.name()));
        }
    }
    routes.route_layer(limiter.layer(class))
}

/// The document of these routes, complete.
pub fn describe(routes: &OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    let mut schemas = with_problem(document["components"]["schemas"].take());
    for schema in object(&mut schemas).values_mut() {
        merge(schema);
    }
    let paths = std::mem::take(object(&mut document["paths"]));
    let mut described = Object::new();
    for (path, item) in paths {
        // The router's word for the rest of a path is none of the document's.
        let path = path.replace("{*", "{");
        let Value::Object(mut item) = item else { continue };
        for method in METHODS {
            if let Some(Value::Object(operation)) = item.get_mut(method) {
                complete(Operation { method, path: &path, members: operation, schemas: &schemas });
            }
        }
        described.insert(path, Value::Object(item));
    }
    let mut document = envelope(&described);
    document["paths"] = Value::Object(described);
    document["components"]["schemas"] = schemas;
    examples::add(&mut document);
    document
}

/// The shapes of the routes, and that of every refusal, which no handler names.
fn with_problem(mut schemas: Value) -> Value {
    let mut shapes = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut shapes);
    for (name, shape) in shapes {
        object(&mut schemas).insert(name, serde_json::to_value(shape).unwrap_or_default());
    }
    schemas
}

/// Writes a shape that another one was flattened into as one object: of several that stand beside
/// each other, one that takes no other members would refuse those of the rest.
fn merge(schema: &mut Value) {
    let Some(Value::Array(parts)) = schema.get_mut("allOf") else { return };
    for part in &mut *parts {
        merge(part);
    }
    if !parts.iter().all(|part| part["type"] == "object") {
        return;
    }
    let mut whole = Object::new();
    for part in parts {
        for (member, value) in part.as_object().into_iter().flatten() {
            match (whole.get_mut(member), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.clone()),
                (Some(_), _) => {}
                (None, value) => {
                    whole.insert(member.clone(), value.clone());
                }
            }
        }
    }
    *schema = Value::Object(whole);
}

/// One operation that is being completed.
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    members: &'a mut Object,
    /// What the document's references point to.
    schemas: &'a Value,
}

fn complete(mut operation: Operation<'_>) {
    name(&mut operation);
    parameters::bound(&mut operation);
    bodies(&mut operation);
    problems::add(&mut operation);
    headers::add(&mut operation);
    operation.members.entry("security").or_insert_with(|| json!([]));
    operation.members.remove(PROBLEMS);
}

/// Everything of the document but its paths and schemas.
fn envelope(paths: &Object) -> Value {
    let used = |tag: &str| {
        let operations = paths.values().filter_map(Value::as_object).flat_map(Object::values);
        operations.into_iter().any(|operation| operation["tags"][0] == tag)
    };
    let tags: Vec<Value> = TAGS
        .iter()
        .filter(|(tag, _)| used(tag))
        .map(|(tag, about)| json!({ "name": tag, "description": about }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Diogenes",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A transparency log that is run by a federation",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This node" }],
        "tags": tags,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The token of a key, from `POST /api/v1/auth/login`. It ends \
                        after half an hour, and at once when the key does.",
                },
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The operator's token, from `operator-token` in the leader's \
                        data directory.",
                },
            },
            "headers": headers::components(),
            "examples": problems::examples(),
            "responses": problems::shared(),
        },
    })
}

/// Gives an operation a name of its own, made of its method and path, and a summary of one line.
fn name(operation: &mut Operation<'_>) {
    let path = operation.path.trim_start_matches("/api/v1");
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let words = if words.is_empty() { "status_page".to_owned() } else { words.join("_") };
    let id = format!("{}_{}", operation.method, words.to_ascii_lowercase());
    operation.members.insert("operationId".to_owned(), json!(id));
    for member in ["summary", "description"] {
        if let Some(Value::String(text)) = operation.members.get_mut(member) {
            *text = one_line_each(text);
        }
    }
}

/// A text whose paragraphs have one line each.
fn one_line_each(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>());
    paragraphs.map(|words| words.join(" ")).collect::<Vec<_>>().join("\n\n")
}

/// Bytes are binary, not lists of numbers, and a body that may be missing is not `null`.
fn bodies(operation: &mut Operation<'_>) {
    let mut contents = Vec::new();
    for (name, member) in &mut *operation.members {
        match name.as_str() {
            "requestBody" => contents.extend(member.get_mut("content")),
            "responses" => {
                let responses = object(member).values_mut();
                contents.extend(responses.filter_map(|response| response.get_mut("content")));
            }
            _ => {}
        }
    }
    for (media_type, media) in contents.into_iter().flat_map(object) {
        let is_bytes = media["schema"]["type"] == "array";
        if is_bytes && !media_type.ends_with("json") {
            media["schema"] = json!({ "type": "string", "format": "binary" });
        }
        let optional = media["schema"].get_mut("oneOf").and_then(Value::as_array_mut);
        if let Some([shape, null]) = optional.map(Vec::as_mut_slice)
            && null["type"] == "null"
        {
            media["schema"] = shape.take();
        }
    }
}

impl Operation<'_> {
    fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.members.get("parameters").and_then(Value::as_array).into_iter().flatten()
    }

    fn has_parameter(&self, place: &str, name: Option<&str>) -> bool {
        self.parameters().any(|parameter| {
            parameter["in"] == place && name.is_none_or(|name| parameter["name"] == name)
        })
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.members.get("tags").is_some_and(|tags| tags[0] == tag)
    }

    fn takes(&self, media_type: &str) -> bool {
        self.request().is_some_and(|content| content.contains_key(media_type))
    }

    fn request(&self) -> Option<&Object> {
        self.members.get("requestBody")?.get("content")?.as_object()
    }

    fn responses(&mut self) -> &mut Object {
        object(self.members.entry("responses").or_insert_with(|| json!({})))
    }

    fn answers(&self, status: &str) -> bool {
        self.members.get("responses").is_some_and(|responses| !responses[status].is_null())
    }

    /// Whether the JSON that it takes has a member of that name.
    fn takes_member(&self, member: &str) -> bool {
        let body = self.request().and_then(|content| content.get("application/json"));
        let Some(schema) = body.map(|body| &body["schema"]) else { return false };
        let target = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let schema = target.map_or(schema, |name| &self.schemas[name]);
        !schema["properties"][member].is_null()
    }
}

/// An object of the document; what is none becomes one.
fn object(value: &mut Value) -> &mut Object {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("it was made one"),
    }
}
