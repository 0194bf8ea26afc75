//! Whatever a client sends: it is answered with a problem that says what to change, and the log
//! has not grown.

#![expect(clippy::too_many_lines, reason = "a table of bad input is as long as it is bad")]

use std::time::{Duration, Instant};

use diogenes_common::keys::SigningKey;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::raw::{self, Answer};
use crate::site::{Place, Site, TOKEN, on_both};

const ENTRIES: &str = "/api/v1/log/entries";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

on_both!(
    a_body_that_is_no_event_says_why_and_leaves_nothing,
    a_body_that_is_too_large_is_refused_before_and_while_it_arrives,
    every_route_with_a_body_reads_it_strictly,
    paging_and_other_parameters_are_refused_and_never_clamped,
    a_token_that_is_not_the_operators_opens_nothing,
    what_is_no_route_or_no_method_of_it_says_so,
    a_private_key_is_refused_wherever_it_stands,
    https_is_asked_for_where_a_proxy_should_be,
);

/// Checks what must hold after any abuse: the leader lives, and its log is as it was.
async fn unharmed(site: &Site, before: u64) {
    assert_eq!(site.size().await, before, "the log has grown");
    site.append(&json!({ "after": "all that" })).await;
    assert_eq!(site.check().await, before + 1);
}

fn check(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{what}: {answer}");
}

fn event(payload: &str) -> String {
    format!(r#"{{"event_type":"x-it:event","payload":{payload}}}"#)
}

fn nested(depth: usize) -> String {
    // The payload itself is 1.
    format!("{}{{}}{}", r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1))
}

async fn a_body_that_is_no_event_says_why_and_leaves_nothing(place: Place) {
    let site = place.start().await;
    let post = async |kind: &str, body: &[u8]| {
        site.leader.request("POST", ENTRIES).token(TOKEN).body(kind, body).send().await
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let utf8 =
        |bad: &[u8]| [br#"{"event_type":"x-it:event","payload":{"a":""#, bad, br#""}}"#].concat();
    let long_name = format!("x-it:{}", "e".repeat(65));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("nothing", text(""), 400, "invalid_json"),
        ("half an object", text(r#"{"event_type":"x-it:event","payload":{"#), 400, "invalid_json"),
        ("two values", text(&(event("{}") + &event("{}"))), 400, "invalid_json"),
        ("a comment", text(&format!("/* hi */{}", event("{}"))), 400, "invalid_json"),
        ("a trailing comma", text(&event(r#"{"a":1,}"#)), 400, "invalid_json"),
        ("a byte order mark", text(&format!("\u{feff}{}", event("{}"))), 400, "invalid_json"),
        ("NaN", text(&event(r#"{"a":NaN}"#)), 400, "invalid_json"),
        ("a duplicate member", text(&event(r#"{"a":1,"a":2}"#)), 400, "invalid_json"),
        (
            "a duplicate, spelled otherwise",
            text(&event(r#"{"a":1,"\u0061":2}"#)),
            400,
            "invalid_json",
        ),
        (
            "a duplicate event_type",
            text(r#"{"event_type":"x-it:event","event_type":"x-it:event","payload":{}}"#),
            400,
            "invalid_json",
        ),
        ("1e20", text(&event(r#"{"a":1e20}"#)), 400, "invalid_json"),
        ("1E400", text(&event(r#"{"a":1E400}"#)), 400, "invalid_json"),
        ("2^53", text(&event(r#"{"a":9007199254740992}"#)), 400, "invalid_json"),
        ("-2^53", text(&event(r#"{"a":-9007199254740992}"#)), 400, "invalid_json"),
        ("2^53 as a fraction", text(&event(r#"{"a":9007199254740992.0}"#)), 400, "invalid_json"),
        ("2^64", text(&event(r#"{"a":[18446744073709551616]}"#)), 400, "invalid_json"),
        ("a leading zero", text(&event(r#"{"a":01}"#)), 400, "invalid_json"),
        ("a lone surrogate", text(&event(r#"{"a":"\ud800"}"#)), 400, "invalid_json"),
        ("a reversed pair", text(&event(r#"{"a":"\udc00\ud800"}"#)), 400, "invalid_json"),
        ("a raw control character", text(&event("{\"a\":\"\u{1}\"}")), 400, "invalid_json"),
        ("bad UTF-8", utf8(&[0xff]), 400, "invalid_json"),
        ("an overlong slash", utf8(&[0xc0, 0xaf]), 400, "invalid_json"),
        ("a surrogate in UTF-8", utf8(&[0xed, 0xa0, 0x80]), 400, "invalid_json"),
        ("cut off UTF-8", utf8(&[0xe2, 0x82]), 400, "invalid_json"),
        ("NUL in a text", text(&event(r#"{"a":"\u0000"}"#)), 422, "nul_character"),
        ("NUL in a name", text(&event(r#"{"\u0000":1}"#)), 422, "nul_character"),
        ("a depth of 33", text(&event(&nested(33))), 400, "json_too_deep"),
        (
            "a depth of 100,000",
            text(&event(&format!(r#"{{"a":{}"#, "[".repeat(100_000)))),
            400,
            "json_too_deep",
        ),
        ("a text", text(r#""hello""#), 422, "validation_failed"),
        ("a number", text("7"), 422, "validation_failed"),
        ("null", text("null"), 422, "validation_failed"),
        ("no event", text("{}"), 422, "validation_failed"),
        ("no payload", text(r#"{"event_type":"x-it:event"}"#), 422, "validation_failed"),
        ("no type", text(r#"{"payload":{}}"#), 422, "validation_failed"),
        ("a payload that is a list", text(&event("[]")), 422, "validation_failed"),
        ("a payload that is null", text(&event("null")), 422, "validation_failed"),
        (
            "a type that is a number",
            text(r#"{"event_type":1,"payload":{}}"#),
            422,
            "validation_failed",
        ),
        (
            "a type without a namespace",
            text(r#"{"event_type":"hello","payload":{}}"#),
            422,
            "validation_failed",
        ),
        (
            "a type in capitals",
            text(r#"{"event_type":"x-It:Event","payload":{}}"#),
            422,
            "validation_failed",
        ),
        (
            "a type that is too long",
            text(&format!(r#"{{"event_type":"{long_name}","payload":{{}}}}"#)),
            422,
            "validation_failed",
        ),
        (
            "a type of a later version",
            text(r#"{"event_type":"attestation","payload":{}}"#),
            422,
            "validation_failed",
        ),
        (
            "an unknown member",
            text(r#"{"event_type":"x-it:event","payload":{},"id":7}"#),
            422,
            "unknown_field",
        ),
        ("no events", text("[]"), 422, "validation_failed"),
        ("a list in a list", text(&format!("[[{}]]", event("{}"))), 422, "validation_failed"),
        (
            "1,001 events",
            text(&format!("[{}]", vec![event("{}"); 1_001].join(","))),
            422,
            "validation_failed",
        ),
        (
            "a good and a bad one",
            text(&format!("[{},{}]", event("{}"), event("7"))),
            422,
            "validation_failed",
        ),
        (
            "an entry that is too large",
            text(&event(&format!(r#"{{"a":"{}"}}"#, "a".repeat(65_400)))),
            413,
            "entry_too_large",
        ),
    ];
    for (what, body, status, code) in &cases {
        check(what, &post(JSON, body).await, *status, code);
    }
    for (what, body, status, code) in [
        ("no lines", text("\n\r\n  \n"), 422, "validation_failed"),
        ("a bad second line", text(&format!("{}\n{{\n", event("{}"))), 400, "invalid_json"),
        (
            "a deep second line",
            text(&format!("{}\n{}", event("{}"), event(&nested(33)))),
            400,
            "json_too_deep",
        ),
        (
            "bad UTF-8 in a line",
            [event("{}").into_bytes(), b"\n\xff".to_vec()].concat(),
            400,
            "invalid_json",
        ),
        (
            "1,001 lines",
            text(&format!("{}\n", event("{}")).repeat(1_001)),
            422,
            "validation_failed",
        ),
        ("a list in a line", text(&format!("[{}]", event("{}"))), 422, "validation_failed"),
    ] {
        check(what, &post(NDJSON, &body).await, status, code);
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-seq",
        "",
    ] {
        check(kind, &post(kind, event("{}").as_bytes()).await, 415, "unsupported_media_type");
    }
    assert_eq!(post("application/json; charset=utf-8", event("{}").as_bytes()).await.status, 201);
    // What is right at the edge is taken.
    for body in [event(r#"{"a":9007199254740991}"#), event(&nested(32)), event(r#"{"a":1e2}"#)] {
        assert_eq!(post(JSON, body.as_bytes()).await.status, 201, "{body}");
    }

    unharmed(&site, 5).await;
}

async fn a_body_that_is_too_large_is_refused_before_and_while_it_arrives(place: Place) {
    let site = place.start().await;
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n{more}",
            site.leader.address()
        )
    };
    let exchange =
        async |bytes: Vec<u8>| raw::exchange(site.leader.address(), &bytes).await.unwrap();

    // Announced, so that nothing of it need be sent.
    for (path, length) in [
        (ENTRIES, 4 * 1024 * 1024 + 1),
        ("/api/v1/keys/register", 256 * 1024 + 1),
        ("/api/v1/log/witness", 64 * 1024 + 1),
        ("/api/v1/log/replication-report", 64 * 1024 + 1),
        ("/api/v1/log/verify", 4_097),
        ("/api/v1/operator/federation", usize::MAX / 2),
    ] {
        let announced = head(
            path,
            &format!(
                "connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            ),
        );
        check(path, &exchange(announced.into_bytes()).await, 413, "payload_too_large");
    }
    // Not announced, in chunks.
    let mut chunked = head(ENTRIES, "connection: close\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x1_0000], b"\r\n"].concat();
    (0..70).for_each(|_| chunked.extend(&chunk));
    chunked.extend(b"0\r\n\r\n");
    check("chunks", &exchange(chunked).await, 413, "payload_too_large");
    // One event has less room than many.
    let one = event(&format!(r#"{{"a":"{}"}}"#, "a".repeat(256 * 1024)));
    let one = site.leader.request("POST", ENTRIES).token(TOKEN).body(JSON, one).send().await;
    check("one event", &one, 413, "payload_too_large");
    // A length that is none is refused by the protocol itself.
    for length in ["-1", "1e3", "12, 13", "99999999999999999999999"] {
        let odd = head(
            ENTRIES,
            &format!(
                "connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{{}}"
            ),
        );
        assert_eq!(exchange(odd.into_bytes()).await.status, 400, "{length}");
    }

    unharmed(&site, 1).await;
}

async fn every_route_with_a_body_reads_it_strictly(place: Place) {
    let site = place.start().await;
    let fingerprint = site.operator().fingerprint();
    for (method, path) in [
        ("POST", "/api/v1/keys/register".to_owned()),
        ("POST", "/api/v1/log/witness".to_owned()),
        ("POST", "/api/v1/log/replication-report".to_owned()),
        ("PUT", format!("/api/v1/profiles/{fingerprint}")),
        ("POST", "/api/v1/log/verify".to_owned()),
        ("POST", "/api/v1/operator/federation".to_owned()),
        ("POST", "/api/v1/operator/witnesses".to_owned()),
        ("POST", "/api/v1/operator/endorsements".to_owned()),
        ("PUT", "/api/v1/operator/profile".to_owned()),
    ] {
        let send = async |kind: &str, body: &str| {
            site.leader.request(method, &path).token(TOKEN).body(kind, body).send().await
        };
        let what = |case: &str| format!("{method} {path}: {case}");
        for (case, body, status, code) in [
            ("half an object", "{", 400, "invalid_json"),
            ("a duplicate", r#"{"a":1,"a":2}"#, 400, "invalid_json"),
            ("a large number", r#"{"a":1e20}"#, 400, "invalid_json"),
            ("NUL", r#"{"a":"\u0000"}"#, 422, "nul_character"),
            ("too deep", &format!("{}1{}", "[".repeat(40), "]".repeat(40)), 400, "json_too_deep"),
            ("a list", "[1]", 422, "validation_failed"),
            ("a text", r#""x""#, 422, "validation_failed"),
            ("null", "null", 422, "validation_failed"),
        ] {
            check(&what(case), &send(JSON, body).await, status, code);
        }
        check(&what("a form"), &send("text/plain", "{}").await, 415, "unsupported_media_type");
        let strange = send(JSON, r#"{"no_such_member":1}"#).await;
        let code = strange.problem();
        assert!(
            ["unknown_field", "validation_failed"].contains(&code.as_str()),
            "{path}: {strange}"
        );
    }

    unharmed(&site, 1).await;
}

async fn paging_and_other_parameters_are_refused_and_never_clamped(place: Place) {
    let site = place.start().await;
    for (path, status, code) in [
        ("/api/v1/log?page=0", 422, "validation_failed"),
        ("/api/v1/log?page=-1", 422, "validation_failed"),
        ("/api/v1/log?page=1.5", 422, "validation_failed"),
        ("/api/v1/log?page=%2B1", 422, "validation_failed"),
        ("/api/v1/log?page=", 422, "validation_failed"),
        ("/api/v1/log?page=1&page=2", 422, "validation_failed"),
        ("/api/v1/log?page=99999999999999999999", 422, "validation_failed"),
        ("/api/v1/log?per_page=0", 422, "validation_failed"),
        ("/api/v1/log?per_page=201", 422, "validation_failed"),
        ("/api/v1/log?per_page=ten", 422, "validation_failed"),
        ("/api/v1/log?order=upwards", 422, "validation_failed"),
        ("/api/v1/log?order=DESC", 422, "validation_failed"),
        ("/api/v1/log?after=-1", 422, "validation_failed"),
        ("/api/v1/log?search=", 422, "validation_failed"),
        ("/api/v1/log?event_type=", 422, "validation_failed"),
        ("/api/v1/log?event_type=x-a:b&page=51&per_page=200", 422, "page_too_deep"),
        ("/api/v1/log?page=%ff", 422, "validation_failed"),
        ("/api/v1/log?search=%00", 422, "nul_character"),
        ("/api/v1/log?event_type=x-a%00:b", 422, "nul_character"),
        ("/api/v1/log/18446744073709551616", 404, "not_found"),
        ("/api/v1/log/-1", 404, "not_found"),
        ("/api/v1/log/1%00", 404, "not_found"),
        ("/api/v1/log/%ff", 404, "not_found"),
        ("/api/v1/log/sth?for=everybody", 422, "validation_failed"),
        ("/api/v1/log/replicate?limit=10001", 422, "validation_failed"),
        ("/api/v1/log/replicate?after=2", 422, "validation_failed"),
        ("/api/v1/log/inclusion-proof", 422, "validation_failed"),
        ("/api/v1/log/inclusion-proof?entry_id=0", 422, "validation_failed"),
        ("/api/v1/log/inclusion-proof?entry_id=1&tree_size=2", 422, "validation_failed"),
        ("/api/v1/log/consistency-proof?first=2&second=1", 422, "validation_failed"),
        ("/api/v1/log/witnesses?per_page=201", 422, "validation_failed"),
        ("/api/v1/log/witnesses?witness=abc", 422, "validation_failed"),
        ("/api/v1/log/witnesses/zzz", 422, "validation_failed"),
        ("/api/v1/log/by-fingerprint/abc", 422, "validation_failed"),
        ("/api/v1/log/by-fingerprint/%ff", 404, "not_found"),
        ("/api/v1/log/audit-trail", 422, "validation_failed"),
        ("/api/v1/log/audit-trail?fingerprint=%00", 422, "nul_character"),
        ("/api/v1/log/audit-trail?start_date=2026-02-30", 422, "validation_failed"),
        ("/api/v1/log/audit-trail?end_date=99999-01-01", 422, "validation_failed"),
        ("/api/v1/log/audit-trail?document_hash=sha256:sha256:", 422, "validation_failed"),
        ("/api/v1/keys?per_page=1001", 422, "validation_failed"),
        ("/api/v1/keys?as_of=now", 422, "validation_failed"),
        ("/api/v1/keys/search", 422, "validation_failed"),
        ("/api/v1/keys/search?pseudonym=%00", 422, "nul_character"),
        ("/api/v1/keys/abc", 404, "not_found"),
        ("/api/v1/keys/%ff", 404, "not_found"),
        ("/readyz?max_lag=x", 422, "validation_failed"),
    ] {
        check(path, &site.leader.get(path).await, status, code);
    }
    for search in ["%25", "_", "'%20OR%201%3D1--", "%5C", "%22", "%F0%9F%A6%80"] {
        let answer = site.leader.get(&format!("/api/v1/log?search={search}")).await;
        assert_eq!((answer.status, answer.json()["total"].clone()), (200, json!(0)), "{search}");
    }
    let long = "a".repeat(300);
    for path in [format!("/api/v1/log?search={long}"), format!("/api/v1/log?event_type={long}")] {
        check("a long text", &site.leader.get(&path).await, 422, "validation_failed");
    }

    unharmed(&site, 1).await;
}

async fn a_token_that_is_not_the_operators_opens_nothing(place: Place) {
    let site = place.start().await;
    let body: Value = serde_json::from_str(&event("{}")).unwrap();
    let basic = format!("Basic {TOKEN}");
    let (lower, longer) = (format!("Bearer {}x", &TOKEN[1..]), format!("Bearer {TOKEN}0"));
    for token in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        &basic,
        &lower,
        &longer,
        "Bearer null",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ] {
        for (method, path) in [
            ("POST", ENTRIES),
            ("GET", "/api/v1/operator/pending"),
            ("POST", "/api/v1/operator/federation"),
        ] {
            let request = site.leader.request(method, path).header("authorization", token);
            let answer = request.json(&body).send().await;
            check(&format!("{path} {token}"), &answer, 401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(!String::from_utf8_lossy(&answer.body).contains(TOKEN), "{answer}");
        }
    }
    let cookie = site.leader.request("GET", "/api/v1/operator/pending");
    let cookie = cookie.header("cookie", &format!("token={TOKEN}")).send().await;
    check("a cookie", &cookie, 401, "unauthorized");
    let query = site.leader.get(&format!("/api/v1/operator/pending?token={TOKEN}")).await;
    check("a query", &query, 401, "unauthorized");

    unharmed(&site, 1).await;
}

async fn what_is_no_route_or_no_method_of_it_says_so(place: Place) {
    let site = place.start().await;
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/log",
        "/api/v1/log/",
        "/api/v1/log/1/2/3",
        "//",
        "/../etc/passwd",
        "/api/v1/log/../../x",
        "/%2e%2e/",
        "/.git/config",
    ] {
        check(path, &site.leader.get(path).await, 404, "not_found");
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/log/1", "GET"),
        ("PUT", "/api/v1/log/1", "GET"),
        ("POST", "/api/v1/log", "GET"),
        ("GET", ENTRIES, "POST"),
        ("PATCH", "/api/v1/keys/register", "POST"),
        ("GET", "/api/v1/log/witness", "POST"),
        ("POST", "/api/v1/log/sth", "GET"),
        ("POST", "/metrics", "GET"),
        ("BREW", "/api/v1/health", "GET"),
    ] {
        let answer = site.leader.request(method, path).send().await;
        check(&format!("{method} {path}"), &answer, 405, "method_not_allowed");
        let allow = answer.header("allow");
        assert!(allow.split(',').any(|name| name.trim() == allowed), "{method} {path}: {allow}");
    }
    let given =
        site.leader.request("GET", "/nothing").header("x-request-id", "my-own-id-42").send().await;
    assert!(given.json()["instance"].as_str().unwrap().ends_with("my-own-id-42"), "{given}");

    unharmed(&site, 1).await;
}

async fn a_private_key_is_refused_wherever_it_stands(place: Place) {
    let site = place.start().await;
    let key = SigningKey::from_seed([77; 32]).to_pem().to_string();
    let rsa = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    let fingerprint = site.operator().fingerprint();
    for pem in [&key, rsa] {
        for (method, path, body) in [
            (
                "POST",
                ENTRIES.to_owned(),
                json!({ "event_type": "x-it:event", "payload": { "note": pem } }),
            ),
            (
                "POST",
                "/api/v1/keys/register".to_owned(),
                json!({ "payload": { "public_key": pem } }),
            ),
            ("POST", "/api/v1/log/witness".to_owned(), json!({ "public_key": pem })),
            ("POST", "/api/v1/log/replication-report".to_owned(), json!({ "head": pem })),
            ("PUT", format!("/api/v1/profiles/{fingerprint}"), json!({ "display_name": pem })),
            ("POST", "/api/v1/operator/witnesses".to_owned(), json!({ "public_key": pem })),
            ("POST", "/api/v1/log/verify".to_owned(), json!({ "since": pem })),
        ] {
            let answer = site.leader.request(method, &path).token(TOKEN).json(&body).send().await;
            check(&path, &answer, 422, "private_key_in_request");
            let told = String::from_utf8_lossy(&answer.body);
            assert!(!told.contains("MC4CAQ") && !told.contains("MIIB"), "{answer}");
        }
    }

    unharmed(&site, 1).await;
}

async fn https_is_asked_for_where_a_proxy_should_be(place: Place) {
    let site = place.start().await;
    let forwarded = site.leader.request("GET", "/api/v1/log").header("x-forwarded-proto", "https");
    check("an unknown proxy", &forwarded.send().await, 400, "proxy_not_trusted");
    let named = |method: &str| {
        format!(
            "{method} /api/v1/log/entries?a=b HTTP/1.1\r\nhost: log.example\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        )
    };
    let exchange =
        async |text: String| raw::exchange(site.leader.address(), text.as_bytes()).await.unwrap();
    check("a POST", &exchange(named("POST")).await, 403, "https_required");
    let redirected = exchange(named("GET")).await;
    assert_eq!(
        (redirected.status, redirected.header("location")),
        (308, "https://log.example/api/v1/log/entries?a=b")
    );

    unharmed(&site, 1).await;
}

/// Slow clients and heads that are none: all at once, since each takes the server's own patience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_broken_request_ends_in_bounded_time_and_leaves_nothing() {
    let site = Place::sqlite().start().await;
    let address = site.leader.address();
    let post = format!(
        "POST {ENTRIES} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    let body = event("{}");
    let slow_body = async {
        let begun = Instant::now();
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let head = format!("{post}content-length: {}\r\n\r\n", body.len());
        writer.write_all(head.as_bytes()).await.unwrap();
        let trickle = async {
            for byte in &body.as_bytes()[..body.len() - 1] {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! {
            answer = raw::read(&mut reader) => answer.unwrap(),
            () = trickle => unreachable!("it never ends"),
        };
        check("a slow body", &answer, 408, "request_timeout");
        assert!((29..58).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    };
    let slow_head = async {
        let begun = Instant::now();
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let trickle = async {
            for byte in format!("GET / HTTP/1.1\r\nhost: {}", "x".repeat(1_000)).bytes() {
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Whether something is said or not: the connection ends.
            _ = raw::read(&mut reader) => {}
            () = trickle => unreachable!("it never ends"),
        }
        assert!((9..55).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    };
    let silent = async {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(raw::read(&mut stream).await.is_err());
        assert!((9..55).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    };
    let cut_off = async {
        let (_, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let head = format!("{post}content-length: {}\r\n\r\n{}", body.len(), &body[..10]);
        writer.write_all(head.as_bytes()).await.unwrap();
    };
    let broken_heads = async {
        for (what, text, statuses) in [
            ("no HTTP", "hello\r\n\r\n".to_owned(), [400, 400]),
            (
                "a huge header",
                format!(
                    "GET / HTTP/1.1\r\nhost: {address}\r\nx-huge: {}\r\n\r\n",
                    "x".repeat(40_000)
                ),
                [431, 400],
            ),
            (
                "a long URL",
                format!("GET /{} HTTP/1.1\r\nhost: {address}\r\n\r\n", "x".repeat(40_000)),
                [414, 431],
            ),
            (
                "many headers",
                format!("GET / HTTP/1.1\r\nhost: {address}\r\n{}\r\n", "x: y\r\n".repeat(2_000)),
                [431, 400],
            ),
            (
                "a space in a name",
                format!("GET / HTTP/1.1\r\nhost: {address}\r\na b: c\r\n\r\n"),
                [400, 400],
            ),
            (
                "two lengths",
                format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
                [400, 400],
            ),
            (
                "a bad chunk",
                format!("{post}transfer-encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n0\r\n\r\n"),
                [400, 400],
            ),
        ] {
            let answer = raw::exchange(address, text.as_bytes()).await.unwrap();
            assert!(statuses.contains(&answer.status), "{what}: {answer}");
        }
    };

    tokio::join!(slow_body, slow_head, silent, cut_off, broken_heads);

    unharmed(&site, 1).await;
}
