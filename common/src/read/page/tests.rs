//! The pages as a browser gets them.

use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HOST};

use crate::keys::SigningKey;
use crate::read::status::testing::some_status;
use crate::read::testing::{TestEvent, TestNode};
use crate::server::headers::PAGE_HEADERS;
use crate::server::problem::Code;
use crate::store::{NewEvidence, NewIncident};
use crate::wire::node::NodeRole;

async fn html(node: &TestNode, url: &str) -> String {
    let response = node.request(url, &[(HOST, "log.example")]).await;
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    String::from_utf8(node.body(response).await).unwrap()
}

fn hostile(_: u64) -> String {
    "{\"a\":\"<script>alert(1)</script>\",\"b\":\"\\\"'&\",\"c\":\"abc\u{202e}cba\"}".to_owned()
}

#[tokio::test]
async fn nothing_of_an_entry_is_markup_or_turns_text_around() {
    let node = TestNode::new(NodeRole::Leader, 4, hostile).await;
    for url in ["/", "/entries/2"] {
        let html = html(&node, url).await;
        assert!(!html.contains("<script>alert") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("alert(1)") && html.contains("abc\\u202ecba"), "{html}");
        assert!(html.contains("log.example/test") && html.contains("x-test:event"));
    }
}

#[tokio::test]
async fn what_is_searched_for_is_shown_as_text() {
    let node = TestNode::with_entries(2).await;
    let html = html(&node, "/?search=%22%3E%3Cimg%20src%3Dx%3E").await;
    assert!(!html.contains("<img") && html.contains("No entry"), "{html}");
    let response = node.request("/?search=a%00", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_page_needs_a_looser_policy_or_another_server() {
    let node = TestNode::with_entries(2).await;
    node.board().set(some_status(2));
    let key = format!("/keys/{}", SigningKey::from_seed([7; 32]).fingerprint());
    for url in ["/", "/entries/1", key.as_str(), "/entries/99"] {
        let response = node.request(url, &[]).await;
        for (name, value) in PAGE_HEADERS {
            assert_eq!(response.headers().get(&name), Some(&value), "{name}");
        }
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let html = String::from_utf8(node.body(response).await).unwrap();
        for forbidden in [" style=", "<style", " onclick", "javascript:", "=\"http", "=\"//"] {
            assert!(!html.contains(forbidden), "{url}: {forbidden}");
        }
        for named in html.split('"').filter(|part| part.starts_with("/assets/")) {
            assert_eq!(node.request(named, &[]).await.status(), StatusCode::OK, "{named}");
        }
    }
}

#[tokio::test]
async fn a_node_without_a_head_still_has_a_page() {
    let node = TestNode::new(NodeRole::Follower, 0, |_| String::new()).await;
    assert!(html(&node, "/").await.contains("This node has no signed head yet."));
    let entry = node.request("/entries/1", &[]).await;
    assert_eq!(entry.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_entry_has_a_page_with_all_that_was_hashed_and_its_proof() {
    let node = TestNode::with_entries(5).await;
    let html = html(&node, "/entries/3").await;
    let (leaf, before) = (node.leaf(3), node.leaf(2));
    for part in [
        leaf.entry_hash().to_string(),
        before.entry_hash().to_string(),
        leaf.leaf_hash().to_hex(),
        node.tree_at(5).hash.to_string(),
        "/entries/2".to_owned(),
        "/entries/4".to_owned(),
        "--entry 3".to_owned(),
        "&#34;n&#34;: 3".to_owned(),
    ] {
        assert!(html.contains(&part), "{part} is not in {html}");
    }
    for absent in ["0", "6", "x", "+1"] {
        let response = node.request(&format!("/entries/{absent}"), &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{absent}");
        let text = String::from_utf8(node.body(response).await).unwrap();
        assert!(text.contains("Entries are numbered from 1 to 5."), "{text}");
    }
}

#[tokio::test]
async fn a_long_payload_begins_with_an_excerpt_and_is_there_as_a_whole() {
    let text = "x".repeat(50_000);
    let node = TestNode::new(NodeRole::Leader, 2, |_| format!("{{\"a\":\"{text}\"}}")).await;
    let html = html(&node, "/entries/2").await;
    assert!(html.contains("Show all") && html.contains("50,008 bytes"), "{}", &html[..2000]);
    assert!(html.contains(&text));
}

#[tokio::test]
async fn an_entry_links_to_the_keys_it_names_and_they_to_it() {
    let node = TestNode::with_events(vec![
        TestEvent::registration(8, "Alice <i>", None),
        TestEvent::succession(8, 9),
    ])
    .await;
    let [old, new] = [8, 9].map(|seed| SigningKey::from_seed([seed; 32]).fingerprint());
    let entry = html(&node, "/entries/3").await;
    for key in [old, new] {
        assert!(entry.contains(&format!("/keys/{key}")), "{entry}");
    }
    let page = html(&node, &format!("/keys/{old}")).await;
    for part in ["succeeded", "Alice &#60;i&#62;", "/entries/2", "/entries/3", &new.to_string()] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for absent in ["abc".to_owned(), SigningKey::from_seed([77; 32]).fingerprint().to_string()] {
        let response = node.request(&format!("/keys/{absent}"), &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
    assert!(html(&node, &format!("/?search={new}")).await.contains(&format!("/keys/{new}")));
}

#[tokio::test]
async fn evidence_can_be_downloaded_as_it_was_stored() {
    let node = TestNode::with_entries(1).await;
    let now = node.reads().now();
    let bytes = b"{\"type\":\"diogenes-evidence/v1\"}".to_vec();
    let evidence =
        NewEvidence { kind: "fork_prefix".to_owned(), created_at: now, bytes: bytes.clone() };
    let incident = NewIncident {
        kind: "fork_prefix".to_owned(),
        subject: "<b>".to_owned(),
        class: "latched".to_owned(),
        reason: "fork_prefix".to_owned(),
        detail: "two heads".to_owned(),
        opened_at: now,
        evidence: Some(evidence),
    };
    node.reads().store().open_incident(&incident).await.unwrap();

    let html = html(&node, "/").await;
    let link = html.split('"').find(|part| part.starts_with("/api/v1/evidence/")).unwrap();
    assert!(html.contains("two heads") && !html.contains("<b>"), "{html}");
    let file = node.request(link, &[]).await;
    assert_eq!(file.headers()["content-disposition"], "attachment; filename=\"evidence-1.json\"");
    assert_eq!(node.body(file).await, bytes);
    for absent in ["/api/v1/evidence/2", "/api/v1/evidence/x", "/api/v1/evidence/-1"] {
        assert_eq!(node.refusal(absent).await, Code::NotFound, "{absent}");
    }
}
