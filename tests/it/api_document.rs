//! The document of the API is complete, and the API is what it says.
//!
//! What a new route needs, so that all of this passes:
//!
//! - `#[utoipa::path]` with a `tag` that `common/src/describe/mod.rs` knows; the first line of the
//!   handler's comment is the summary;
//! - a type for every body and answer (`ToSchema`), with examples of texts whose name is not in
//!   `common/src/describe/examples.rs`, which would show nothing but that name;
//! - bounds of its parameters: `minimum`, `maximum`, `max_length`, `pattern`, unless
//!   `common/src/describe/parameters.rs` knows the name;
//! - `security(("key" = []))`, `security(("operator" = []))`, or both with `()` in front where a
//!   token is welcome and not needed; nothing where nobody is asked;
//! - `extensions(("x-problems" = json!(["..."])))` with the codes that do not follow from the rest;
//!   a description alone, `(status = 409, description = "...")`, where there is more to say;
//! - `headers(("ETag"))` in the answer that carries one: 304 follows from it;
//! - its place under `describe::limited`, which counts it and says so;
//! - the document written anew: `DIOGENES_BLESS=1 cargo test -p diogenes-tests --test it api_document`;
//! - a `Location` on 201, and, where any key's token will do, its name in `ANY_KEY` below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use diogenes_common::server::problem::Code;
use serde_json::{Value, json};

use crate::contract::{METHODS, Operation, operations};
use crate::people::Holder;
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN};

/// Routes that take the token of any key, because what they do belongs to nobody else.
const ANY_KEY: [(&str, &str); 13] = [
    ("post", "/add"),
    ("post", "/api/v1/attestations"),
    ("post", "/api/v1/auth/renew"),
    ("get", "/api/v1/claims"),
    ("get", "/api/v1/claims/{entry_id}"),
    ("get", "/api/v1/webhooks"),
    ("post", "/api/v1/webhooks"),
    ("delete", "/api/v1/webhooks/{id}"),
    ("get", "/api/v1/webhooks/{id}"),
    ("get", "/api/v1/webhooks/{id}/deliveries"),
    ("post", "/api/v1/webhooks/{id}/replay"),
    ("post", "/api/v1/webhooks/{id}/test"),
    ("post", "/api/v1/log/entries"),
];

/// Routes whose answer does not end.
const ENDLESS: [&str; 1] = ["/events"];

/// Reads of what the log of these tests does not hold.
const NOT_THERE: [&str; 2] = ["/api/v1/evidence/{id}", "/api/v1/trust-configs/{fingerprint}"];

/// The fingerprint of all examples.
const EXAMPLE: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Fails with everything that was found.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

async fn served(node: &Running) -> Value {
    node.json("/openapi.json").await
}

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let site = Place::sqlite().start().await;
    let made = serde_json::to_string_pretty(&served(&site.leader).await).unwrap() + "\n";
    let file = root().join("docs/openapi.json");
    if std::env::var_os("DIOGENES_BLESS").is_some() {
        fs::write(&file, &made).unwrap();
    }

    let kept = fs::read_to_string(&file).unwrap_or_default();

    let line = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    assert!(kept == made, "docs/openapi.json is another one (line {line:?}): DIOGENES_BLESS=1");
}

#[tokio::test]
async fn a_follower_serves_the_part_of_the_document_that_it_answers() {
    let site = Place::sqlite().start().await;
    let follower = site.follower().await;
    let (whole, part) = (served(&site.leader).await, served(&follower).await);

    let mut others = Vec::new();
    for Operation { method, path, says, .. } in operations(&part) {
        if says != &whole["paths"][path][method]
            && !(method == "post" && path.ends_with("/witness"))
        {
            others.push(format!("{method} {path}"));
        }
    }

    assert_none("described otherwise than by the leader", &others);
    assert!(operations(&part).len() > 25);
    let writes = operations(&part).into_iter().filter(|of| of.method != "get");
    let writes: BTreeSet<&str> = writes.map(|of| of.path).collect();
    let reads = ["/api/v1/evidence", "/api/v1/log/verify", "/api/v1/log/witness", "/api/v1/verify"];
    assert_eq!(writes, BTreeSet::from(reads), "what a follower takes beside GET");
}

#[tokio::test]
async fn every_operation_says_all_that_a_stranger_needs() {
    let site = Place::sqlite().start().await;
    let document = served(&site.leader).await;
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for operation in operations(&document) {
        let place = format!("{} {}", operation.method, operation.path);
        let mut lacks = |what: &str| found.push(format!("{place}: {what}"));
        let says = operation.says;
        if !says["summary"].as_str().is_some_and(|text| text.len() > 8 && !text.contains('\n')) {
            lacks("no summary of one line");
        }
        let tag = says["tags"][0].as_str().unwrap_or_default();
        if !document["tags"].as_array().unwrap().iter().any(|known| known["name"] == tag) {
            lacks("a tag that describe/mod.rs does not know");
        }
        if !ids.insert(says["operationId"].as_str().unwrap_or_default().to_owned()) {
            lacks("an operationId that another one has");
        }
        if !says["security"].is_array() {
            lacks("no security");
        }
        for scheme in operation.security() {
            if !scheme.is_empty() && document["components"]["securitySchemes"][scheme].is_null() {
                lacks("a security scheme that is not described");
            }
        }
        for parameter in operation.parameters() {
            if let Some(fault) = fault_of_parameter(parameter) {
                lacks(&format!("parameter {}: {fault}", parameter["name"]));
            }
        }
        for (media_type, media) in operation.request().into_iter().flatten() {
            if let Some(fault) = fault_of_body(media_type, media) {
                lacks(&format!("request {media_type}: {fault}"));
            }
        }
        for status in says["responses"].as_object().unwrap().keys() {
            for fault in faults_of_response(&operation, status) {
                lacks(&format!("{status}: {fault}"));
            }
        }
    }

    assert_none("docs/openapi.json is not complete", &found);
    assert!(ids.len() > 50);
}

fn fault_of_parameter(parameter: &Value) -> Option<&'static str> {
    let schema = &parameter["schema"];
    let has = |member: &str| !schema[member].is_null();
    let is_bounded = match schema["type"].as_str().unwrap_or_default() {
        "integer" => has("minimum") && has("maximum"),
        "string" => has("pattern") || has("enum") || has("maxLength") || has("examples"),
        "boolean" => true,
        _ => return Some("its type is not one"),
    };
    if !is_bounded {
        return Some("it has no bounds (describe/parameters.rs, or the handler's own)");
    }
    let text = parameter["description"].as_str().unwrap_or_default();
    (text.is_empty()).then_some("it has no description")
}

fn fault_of_body(media_type: &str, media: &Value) -> Option<&'static str> {
    let schema = &media["schema"];
    let is_typed = ["$ref", "type", "oneOf", "allOf"].iter().any(|of| !schema[*of].is_null());
    if !is_typed {
        return Some("it has no type");
    }
    if schema["type"] == "object" && schema["properties"].is_null() {
        return Some("it is any object");
    }
    if media_type != "application/json" {
        return None;
    }
    let example = media["example"].to_string();
    (example == "null" || example == "{}").then_some("it has no example")
}

fn faults_of_response(operation: &Operation<'_>, status: &str) -> Vec<String> {
    let response = operation.response(status);
    let mut faults = Vec::new();
    if response["description"].as_str().is_none_or(str::is_empty) {
        faults.push("no description".to_owned());
    }
    let header = |name: &str| !response["headers"][name].is_null();
    let needed: &[&str] = match status {
        "201" => &["Location"],
        "304" => &["ETag"],
        "401" => &["WWW-Authenticate"],
        "429" => &["Retry-After", "RateLimit", "X-RateLimit-Limit"],
        "503" => &["Retry-After"],
        _ => &[],
    };
    faults.extend(needed.iter().filter(|name| !header(name)).map(|name| format!("no {name}")));
    let content = response["content"].as_object();
    if status.starts_with(['2', '3']) {
        for (media_type, media) in content.into_iter().flatten() {
            faults.extend(fault_of_body(media_type, media).map(str::to_owned));
        }
        return faults;
    }
    let codes = operation.codes(status);
    if codes.is_empty() {
        faults.push("no code (x-problems)".to_owned());
    }
    for code in codes {
        let fits = Code::from_name(code)
            .is_some_and(|code| status == "default" || code.status().as_str() == status);
        if !fits {
            faults.push(format!("{code} is no code of that status"));
        }
    }
    faults
}

#[tokio::test]
async fn no_shape_is_any_object_without_saying_so() {
    let site = Place::sqlite().start().await;
    let document = served(&site.leader).await;
    let mut found = Vec::new();
    for (name, shape) in document["components"]["schemas"].as_object().unwrap() {
        for (member, of) in shape["properties"].as_object().into_iter().flatten() {
            let is_typed =
                ["$ref", "type", "oneOf", "allOf", "enum"].iter().any(|key| !of[*key].is_null());
            let is_said = of["description"].as_str().is_some_and(|text| !text.is_empty());
            if !is_typed || (of["type"] == "object" && of["properties"].is_null() && !is_said) {
                found.push(format!("{name}.{member}"));
            }
        }
    }

    assert_none("members of any type", &found);
}

/// Everybody who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Anonymous,
    /// The holder of another key than the request is about.
    OtherKey,
    Key,
    Operator,
}

/// What an answer is, as far as authorisation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// 401.
    Unknown,
    /// 403 of a token that may not.
    Forbidden,
    /// Anything else: the request was looked at.
    LookedAt,
    /// 403 `read_only_follower`, with the leader's URL.
    ElsewhereOnly,
}

impl Class {
    fn of(answer: &Answer) -> Self {
        let body = answer.json();
        match body["error"]["code"].as_str() {
            Some("unauthorized") => Self::Unknown,
            Some("forbidden") => Self::Forbidden,
            Some("read_only_follower") if body["leader_url"].is_string() => Self::ElsewhereOnly,
            _ => Self::LookedAt,
        }
    }
}

/// What a role may meet on a route.
fn expected(operation: &Operation<'_>, role: Role) -> Vec<Class> {
    let security = operation.security();
    let named = match role {
        Role::Anonymous => "",
        Role::Operator => "operator",
        Role::Key | Role::OtherKey => "key",
    };
    let takes_any_key = ANY_KEY.contains(&(operation.method, operation.path));
    match role {
        _ if security.is_empty() => vec![Class::LookedAt],
        Role::OtherKey if security.contains(&"key") && !takes_any_key => {
            vec![Class::Forbidden, Class::Unknown]
        }
        _ if !named.is_empty() && security.contains(&named) => vec![Class::LookedAt],
        // A token is welcome and not needed; whether it is needed here depends on the body.
        _ if security.contains(&"") => vec![Class::LookedAt, Class::Unknown],
        _ => vec![Class::Unknown],
    }
}

/// The request of an operation as its examples have it, about somebody's key.
fn example(node: &Running, operation: &Operation<'_>, about: &str) -> crate::raw::Request {
    let request = node.request(&operation.method.to_ascii_uppercase(), &target(operation, about));
    let Some((media_type, media)) = operation.request().and_then(|content| content.iter().next())
    else {
        return request;
    };
    let mut body = media["example"].clone();
    if let Some(members) = body.as_object_mut() {
        // A token is what is tried here.
        members.remove("auth");
    }
    let text = if body.is_null() { "bytes".to_owned() } else { body.to_string() };
    request.body(media_type, text.replace(EXAMPLE, about))
}

/// The URL of an operation, with the examples of all parameters that it needs.
fn target(operation: &Operation<'_>, about: &str) -> String {
    let mut path = operation.path.to_owned();
    let mut query = Vec::new();
    for parameter in operation.parameters() {
        let name = parameter["name"].as_str().unwrap();
        let example = match &parameter["schema"]["examples"][0] {
            Value::String(text) => text.replace(EXAMPLE, about),
            other => other.to_string(),
        };
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), &example),
            "query" if parameter["required"] == true => query.push(format!("{name}={example}")),
            _ => {}
        }
    }
    if operation.path.ends_with("/audit-trail") {
        query.push(format!("fingerprint={about}"));
    }
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

#[tokio::test]
async fn every_route_asks_the_roles_that_the_document_names() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let document = served(leader).await;
    let other = Holder::registered(leader, 1).await;
    let mut found = Vec::new();
    let mut seed = 1;
    for operation in operations(&document) {
        if ENDLESS.contains(&operation.path) {
            continue;
        }
        seed += 1;
        // Somebody new for each route: some end the key.
        let holder = Holder::registered(leader, seed).await;
        for role in [Role::Anonymous, Role::OtherKey, Role::Operator, Role::Key] {
            let mut request = example(leader, &operation, &holder.fingerprint());
            match role {
                Role::Anonymous => {}
                Role::OtherKey => request = request.token(&other.login(leader).await),
                Role::Operator => request = request.token(TOKEN),
                Role::Key => request = request.token(&holder.login(leader).await),
            }
            let answer = request.send().await;
            let expected = expected(&operation, role);
            if !expected.contains(&Class::of(&answer)) {
                let (method, path) = (operation.method, operation.path);
                found.push(format!("{method} {path} as {role:?}: {expected:?}, not {answer}"));
            }
        }
    }

    assert_none("answered otherwise than `security` says", &found);
}

#[tokio::test]
async fn a_follower_answers_its_part_and_names_the_leader_for_the_rest() {
    let site = Place::sqlite().start().await;
    let follower = site.follower().await;
    let whole = served(&site.leader).await;
    let part = served(&follower).await;
    let mut found = Vec::new();
    for operation in operations(&whole) {
        if ENDLESS.contains(&operation.path) {
            continue;
        }
        let is_its = !part["paths"][operation.path][operation.method].is_null();
        let answer = example(&follower, &operation, EXAMPLE).token(TOKEN).send().await;
        if (Class::of(&answer) == Class::ElsewhereOnly) == is_its {
            found.push(format!("{} {}: {answer}", operation.method, operation.path));
        }
    }

    assert_none("a follower answers these wrongly", &found);
}

#[tokio::test]
async fn what_is_not_in_the_document_is_not_there() {
    let site = Place::sqlite().start().await;
    let follower = site.follower().await;
    let document = served(&site.leader).await;
    let mut methods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations(&document) {
        methods.entry(operation.path).or_default().insert(operation.method);
    }

    for node in [&site.leader, &follower] {
        for nowhere in ["/api/v1/nothing", "/api/v2/log", "/api/v1", "/docs/nothing", "/tile"] {
            let answer = node.get(nowhere).await;
            assert_eq!((answer.status, &*answer.problem()), (404, "not_found"), "{nowhere}");
        }
    }
    let mut found = Vec::new();
    for operation in operations(&document) {
        let known = &methods[operation.path];
        for method in METHODS.iter().chain(&["trace"]).filter(|method| !known.contains(*method)) {
            let upper = method.to_ascii_uppercase();
            let answer = site.leader.request(&upper, &target(&operation, EXAMPLE)).send().await;
            let allow = answer.header("allow").to_ascii_lowercase();
            let allowed: BTreeSet<&str> =
                allow.split(',').map(str::trim).filter(|method| *method != "head").collect();
            if answer.status != 405 || &allowed != known {
                found.push(format!("{upper} {}: {known:?}, not {answer}", operation.path));
            }
        }
    }
    assert_none("wrong methods", &found);
}

/// A log with a few entries and keys, and an empty rate limit.
async fn lively() -> (Site, Holder) {
    let site = Place::sqlite()
        .start_with(&[
            ("RATE_LIMIT_LOG_READ", "9000"),
            ("RATE_LIMIT_API_QUERY", "9000"),
            ("RATE_LIMIT_FEDERATION", "9000"),
        ])
        .await;
    let alice = Holder::registered(&site.leader, 1).await;
    Holder::registered(&site.leader, 2).await;
    site.append(&json!({ "number": 1 })).await;
    (site, alice)
}

#[tokio::test]
async fn every_read_keeps_the_conventions_that_the_document_names() {
    let (site, alice) = lively().await;
    let document = served(&site.leader).await;
    let mut found = Vec::new();
    let mut checked = 0;
    for operation in operations(&document).into_iter().filter(|of| of.method == "get") {
        if ENDLESS.contains(&operation.path) {
            continue;
        }
        // What a session opens is its holder's own, of which there is none here.
        if operation.security().contains(&"key") || NOT_THERE.contains(&operation.path) {
            continue;
        }
        checked += 1;
        let needs_operator = operation.security() == ["operator"];
        let url = target(&operation, &alice.fingerprint());
        let ask = || {
            let request = site.leader.request("GET", &url);
            if needs_operator { request.token(TOKEN) } else { request }
        };
        let answer = ask().send().await;
        let mut wrong =
            |what: &str, answer: &Answer| found.push(format!("{url}: {what}: {answer}"));
        if answer.status != 200 {
            wrong("not 200", &answer);
        }
        if answer.header("access-control-allow-origin") != "*"
            || !answer.header("access-control-allow-credentials").is_empty()
            || !answer.header("access-control-expose-headers").contains("RateLimit-Policy")
        {
            wrong("CORS", &answer);
        }
        if answer.header("cache-control").is_empty() || answer.header("x-request-id").is_empty() {
            wrong("no Cache-Control or no X-Request-Id", &answer);
        }
        if needs_operator && answer.header("cache-control") != "no-store" {
            wrong("a private answer is kept", &answer);
        }
        let tag = answer.header("etag").to_owned();
        if !tag.is_empty() {
            let again = ask().header("if-none-match", &tag).send().await;
            if again.status != 304 || !again.body.is_empty() || again.header("etag") != tag {
                wrong("known, and sent again", &again);
            }
        }
        // A proof about the newest size has none: the next head makes another.
        let is_proof = operation.path.ends_with("-proof");
        if !is_proof && tag.is_empty() == operation.says["responses"]["304"].is_object() {
            wrong("ETag", &answer);
        }
        if operation.parameter("page").is_some() {
            let more = if url.contains('?') { '&' } else { '?' };
            let size =
                if operation.parameter("page_size").is_some() { "page_size" } else { "per_page" };
            let first = site.leader.get(&format!("{url}{more}{size}=1")).await;
            let total = first.json()["total"].as_u64().unwrap_or_default();
            let next = first.header("link").ends_with("rel=\"next\"");
            if first.status != 200 || next != (total > 1) {
                wrong("Link", &first);
            }
        }
        let refused = site.leader.get(&format!("{url}?page=0&per_page=0&after=x")).await;
        for answer in [&answer, &refused] {
            // The operator is never limited.
            let limit = operation.says["x-rate-limit"].as_str();
            let limit = limit.filter(|_| !(needs_operator && answer.status == 200));
            if let Some(fault) = fault_of_limit(limit, answer) {
                wrong(fault, answer);
            }
        }
    }

    assert_none("conventions that are not kept", &found);
    assert!(checked > 25, "{checked}");
}

/// Both families of headers where a limit counts, neither where none does.
fn fault_of_limit(limit: Option<&str>, answer: &Answer) -> Option<&'static str> {
    const NAMES: [&str; 5] = [
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ];
    let shown = NAMES.iter().filter(|name| !answer.header(name).is_empty()).count();
    match limit {
        None if shown > 0 => Some("a limit is told, and none counts"),
        Some(_) if shown < NAMES.len() => Some("the limit is not told in both families"),
        Some(class) if !answer.header("ratelimit").starts_with(&format!("\"{class}\";")) => {
            Some("another limit is told than the document says")
        }
        _ => None,
    }
}

#[tokio::test]
async fn whoever_used_up_a_limit_is_told_so_on_every_route_of_its_class() {
    let site = Place::sqlite()
        .start_with(&[
            ("RATE_LIMIT_LOG_READ", "1"),
            ("RATE_LIMIT_API_QUERY", "1"),
            ("RATE_LIMIT_FEDERATION", "1"),
        ])
        .await;
    let document = served(&site.leader).await;
    for path in ["/api/v1/log/sth", "/api/v1/keys", "/api/v1/log/witness"] {
        let method = if path.ends_with("witness") { "POST" } else { "GET" };
        site.leader.request(method, path).send().await;
    }
    let mut found = Vec::new();
    for operation in operations(&document) {
        if ENDLESS.contains(&operation.path) {
            continue;
        }
        let answer = example(&site.leader, &operation, EXAMPLE).send().await;
        let limit = operation.says["x-rate-limit"].as_str();
        let is_told = answer.status == 429 && !answer.header("retry-after").is_empty();
        if is_told != limit.is_some() || fault_of_limit(limit, &answer).is_some() {
            found.push(format!("{} {}: {limit:?}, not {answer}", operation.method, operation.path));
        }
    }
    assert_none("limits", &found);

    for free in ["/openapi.json", "/docs", "/docs/swagger-ui.css", "/redoc", "/assets/style.css"] {
        for _ in 0..3 {
            assert_eq!(site.leader.get(free).await.status, 200, "{free}");
        }
    }
}

#[tokio::test]
async fn the_pages_show_the_document_without_anything_from_elsewhere() {
    let site = Place::sqlite().start().await;
    let follower = site.follower().await;
    for node in [&site.leader, &follower] {
        let document = served(node).await;
        for path in ["/docs", "/docs/", "/redoc"] {
            let page = node.get(path).await;
            let text = String::from_utf8(page.body.clone()).unwrap();
            assert_eq!(page.status, 200, "{page}");
            assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
            assert!(page.header("content-security-policy").contains("default-src 'none'"));
            assert!(text.contains("<html lang=\"en\">") && text.contains("<main"), "{path}");
            for part in text.split(['"', '\'']).filter(|part| part.starts_with('/')) {
                assert_ne!(node.get(part).await.status, 404, "{path} names {part}");
            }
            let loaded = ["src=\"http", "href=\"http", "@import", "//unpkg", "//cdn"];
            assert!(loaded.iter().all(|word| !text.contains(word)), "{path}");
        }
        let reference = String::from_utf8(node.get("/redoc").await.body).unwrap();
        assert!(!reference.contains("<script"), "it is complete without one");
        for operation in operations(&document) {
            let id = operation.says["operationId"].as_str().unwrap();
            assert!(reference.contains(&format!("<article id=\"{id}\"")), "{id}");
            assert!(reference.contains(&format!("<code>{}</code>", operation.path)), "{id}");
        }
        let scripts = node.get("/docs/swagger-ui-bundle.js").await;
        assert!(scripts.body.len() > 100_000 && scripts.header("etag").len() > 64, "{scripts}");
    }
}

/// Codes that no test provokes, and why.
const UNPROVOKED: [(&str, &str); 0] = [];

#[test]
fn every_code_is_expected_by_a_test() {
    let mut tests = String::new();
    for folder in ["tests/it", "common/src", "leader/src", "follower/src"] {
        gather(&root().join(folder), &mut tests);
    }
    let page = fs::read_to_string(root().join("docs/problems.md")).unwrap();
    let mut found = Vec::new();
    for code in Code::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let is_used = !row.unwrap_or_default().contains("Not used by this version");
        let excused = UNPROVOKED.iter().any(|(known, _)| *known == code.as_str());
        let expected =
            tests.contains(&format!("\"{code}\"")) || tests.contains(&format!("Code::{code:?}"));
        if is_used && !excused && !expected {
            found.push(code.to_string());
        }
    }

    assert_none("no test expects these codes", &found);
}

/// The text of all tests below a folder.
fn gather(folder: &Path, tests: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            gather(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let is_tests = path.starts_with(root().join("tests")) || stem == "tests";
            let start = if is_tests { Some(0) } else { text.find("#[cfg(test)]\nmod tests {") };
            // This file names every code that it excuses.
            if let Some(start) = start.filter(|_| stem != "api_document") {
                tests.push_str(&text[start..]);
            }
        }
    }
}
