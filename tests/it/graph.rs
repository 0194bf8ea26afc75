//! The graph of endorsements around a key, on both databases, by leader and follower alike.

use serde_json::{Value, json};

use crate::people::{Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, on_both};
use crate::trust_reads::{
    SOON, accept, alike, appended, endorse, offer, operator_endorses, people, withdraw,
};

on_both!(
    the_graph_shows_who_stands_around_a_key_and_how_far_away,
    each_filter_leaves_out_what_does_not_pass,
    what_became_of_keys_and_endorsements_is_shown,
    an_answer_is_kept_until_a_key_or_an_endorsement_changes,
    what_cannot_be_asked_for_is_refused_by_its_name,
    without_time_only_the_key_itself_is_found,
);

fn path(of: &Holder, query: &str) -> String {
    format!("/api/v1/graph/{}?{query}", of.fingerprint())
}

/// The numbers of the people in a graph, with their depths.
fn found(graph: &Value, people: &[Holder]) -> Vec<(usize, u64)> {
    let number = |node: &Value| {
        let is_it = |holder: &Holder| node["fingerprint"] == holder.fingerprint();
        Some((people.iter().position(is_it)?, node["depth"].as_u64().unwrap()))
    };
    let mut found: Vec<_> = graph["nodes"].as_array().unwrap().iter().filter_map(number).collect();
    found.sort_unstable();
    found
}

fn offers(graph: &Value) -> Vec<u64> {
    let edges = graph["edges"].as_array().unwrap().iter();
    let mut offers: Vec<u64> = edges.map(|edge| edge["offer_entry_id"].as_u64().unwrap()).collect();
    offers.sort_unstable();
    offers
}

/// Five people: 0 endorses 1, 1 endorses 2, 2 endorses 3, and 4 made 1 an offer.
async fn five(site: &Site) -> (Vec<Holder>, [u64; 4]) {
    let leader = &site.leader;
    let people = people(leader, 1..6).await;
    let first = endorse(leader, &people[0], &people[1]).await;
    let second = endorse(leader, &people[1], &people[2]).await;
    let third = endorse(leader, &people[2], &people[3]).await;
    let open = offer(leader, &people[4], &people[1], &json!({})).await;
    (people, [first, second, third, open])
}

async fn the_graph_shows_who_stands_around_a_key_and_how_far_away(place: Place) {
    let site = place.start_with(&SOON).await;
    let follower = site.follower().await;
    let (people, [first, second, third, open]) = five(&site).await;
    operator_endorses(&site.leader, &people[3], "human_attestation").await;

    let graph = alike(&site, &follower, &path(&people[1], "")).await;
    assert_eq!(graph["root"], people[1].fingerprint());
    assert_eq!((&graph["truncated"], &graph["depth"]), (&json!(false), &json!(3)));
    assert_eq!(found(&graph, &people), [(0, 1), (1, 0), (2, 1), (3, 2), (4, 1)]);
    let nodes = graph["nodes"].as_array().unwrap();
    assert_eq!(
        nodes[0],
        json!({
            "fingerprint": people[1].fingerprint(), "pseudonym": "Person 2", "status": "active",
            "depth": 0, "alerts": 0,
        })
    );
    let operator = site.operator().fingerprint().to_string();
    assert_eq!((&nodes[5]["fingerprint"], &nodes[5]["depth"]), (&json!(operator), &json!(3)));
    let edge = |offer: u64| {
        let mut edges = graph["edges"].as_array().unwrap().iter();
        edges.find(|edge| edge["offer_entry_id"] == offer).cloned().unwrap()
    };
    assert_eq!(graph["edges"].as_array().unwrap().len(), 5);
    assert_eq!(
        (edge(first)["endorser_fingerprint"].clone(), edge(first)["status"].clone()),
        (json!(people[0].fingerprint()), json!("active"))
    );
    assert!(edge(first)["active_at"].is_string() && edge(first)["valid_until"].is_null());
    assert_eq!(edge(first)["category"], "x-diogenes:human_attestation");
    assert_eq!(
        (edge(open)["status"].clone(), edge(open)["active_at"].clone()),
        (json!("offered"), Value::Null)
    );

    let ask = async |query: &str| alike(&site, &follower, &path(&people[1], query)).await;
    let near = ask("max_depth=1").await;
    assert_eq!(found(&near, &people), [(0, 1), (1, 0), (2, 1), (4, 1)]);
    assert_eq!((offers(&near), &near["truncated"]), (vec![first, second, open], &json!(false)));
    let given = ask("direction=out").await;
    assert_eq!(found(&given, &people), [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(offers(&given), [second, third]);
    let received = ask("direction=in").await;
    assert_eq!(found(&received, &people), [(0, 1), (1, 0), (4, 1)]);
    let operators =
        alike(&site, &follower, &format!("/api/v1/graph/{operator}?direction=out")).await;
    assert_eq!(found(&operators, &people), [(3, 1)]);
    assert_eq!(operators["edges"][0]["status"], "active");
}

async fn each_filter_leaves_out_what_does_not_pass(place: Place) {
    let site = place.start_with(&SOON).await;
    let follower = site.follower().await;
    let (people, [first, second, _, open]) = five(&site).await;
    let metadata = json!({
        "category": "institutional_endorsement",
        "institutional_metadata": { "name": "Universität Sinope" },
    });
    let named = offer(&site.leader, &people[4], &people[1], &metadata).await;
    accept(&site.leader, &people[1], named).await;
    let entry: Value = site.leader.json(&format!("/api/v1/log/{second}")).await;
    let then = entry["timestamp"].as_str().unwrap();

    let ask = async |query: &str| {
        let path = path(&people[1], &format!("max_depth=1&{query}"));
        offers(&alike(&site, &follower, &path).await)
    };
    assert_eq!(ask("").await, [first, second, open, named]);
    assert_eq!(ask("status=active").await, [first, second, named]);
    assert_eq!(ask("status=offered").await, [open]);
    assert_eq!(ask("status=withdrawn").await, Vec::<u64>::new());
    assert_eq!(ask("type=institutional_endorsement").await, [named]);
    assert_eq!(ask("type=x-diogenes:human_attestation").await, [first, second, open]);
    assert_eq!(ask("institution=UNIVERSIT%C3%84T%20sinope").await, [named]);
    assert_eq!(ask("institution=UNIVERSIT%C3%84T%20sinope&status=active").await, [named]);
    let body = json!({
        "fingerprint": people[1].fingerprint(),
        "category": "institutional_endorsement",
        "name": "Stoa of Sinope",
    });
    let answer = site.leader.post("/api/v1/operator/endorsements", &body).token(TOKEN).send().await;
    assert_eq!(answer.status, 201, "{answer}");
    let by_operator = answer.json()["id"].as_u64().unwrap();
    assert_eq!(ask("institution=stoa%20OF%20sinope").await, [by_operator]);
    let operator = site.operator().fingerprint();
    let given = format!("/api/v1/graph/{operator}?institution=stoa%20of%20sinope");
    assert_eq!(offers(&alike(&site, &follower, &given).await), [by_operator]);
    assert_eq!(ask("institution=elsewhere").await, Vec::<u64>::new());
    assert_eq!(ask(&format!("since={then}")).await, [second, open, named, by_operator]);
    assert_eq!(ask(&format!("until={then}")).await, [first, second]);
    assert_eq!(ask("since=2000-01-01&until=2000-12-31").await, Vec::<u64>::new());
}

async fn what_became_of_keys_and_endorsements_is_shown(place: Place) {
    let site = place.start_with(&SOON).await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let (people, [first, second, third, open]) = five(&site).await;
    let alert = json!({
        "endorser_fingerprint": people[1].fingerprint(),
        "compromised_fingerprint": people[2].fingerprint(),
        "reason": "it signs what nobody wrote",
    });
    appended(leader, &people[1], "/endorsements/revocation-alert", &alert).await;
    withdraw(leader, &people[0], &people[1], first).await;
    let status = |graph: &Value, offer: u64| {
        let mut edges = graph["edges"].as_array().unwrap().iter();
        edges.find(|edge| edge["offer_entry_id"] == offer).unwrap()["status"].clone()
    };

    let graph = alike(&site, &follower, &path(&people[1], "")).await;
    assert_eq!(status(&graph, first), "withdrawn");
    let nodes = graph["nodes"].as_array().unwrap();
    let warned = nodes.iter().find(|node| node["fingerprint"] == people[2].fingerprint());
    assert_eq!(warned.unwrap()["alerts"], 1);

    let ended = people[1].end(leader, "revoke", &people[1].revocation()).await;
    assert_eq!(ended.status, 201, "{ended}");
    let graph = alike(&site, &follower, &path(&people[1], "")).await;
    assert_eq!(graph["nodes"][0]["status"], "revoked");
    assert_eq!([open, second].map(|offer| status(&graph, offer)), ["void", "void"]);
    assert_eq!(
        (status(&graph, first), status(&graph, third)),
        (json!("withdrawn"), json!("active"))
    );
    let void = alike(&site, &follower, &path(&people[1], "status=void&max_depth=1")).await;
    assert_eq!(offers(&void), [second, open]);

    let heir = Holder::new(9);
    let request = people[2].succession(&heir, true);
    let succeeded = people[2].end(leader, "succeed", &request).await;
    assert!(succeeded.status < 300, "{succeeded}");
    let graph = alike(&site, &follower, &path(&heir, "status=active")).await;
    assert_eq!((offers(&graph), &graph["nodes"][0]["alerts"]), (vec![third], &json!(1)));
}

async fn an_answer_is_kept_until_a_key_or_an_endorsement_changes(place: Place) {
    let site = place.start_with(&SOON).await;
    let leader = &site.leader;
    let (people, [first, ..]) = five(&site).await;
    let ask = async |tag: &str| -> Answer {
        let request = leader.request("GET", &path(&people[1], "status=active"));
        request.header("if-none-match", tag).send().await
    };

    let one = ask("none").await;
    assert_eq!((one.status, one.header("cache-control")), (200, "public, max-age=1"));
    site.grow(5).await;
    let two = ask("none").await;
    assert_eq!(two.body, one.body, "generic events change nothing, nor does the newer head");
    let tag = one.header("etag").to_owned();
    let known = ask(&tag).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, tag.as_str()));

    withdraw(leader, &people[0], &people[1], first).await;
    let fresh = ask(&tag).await;
    assert_eq!((fresh.status, found(&fresh.json(), &people).len()), (200, 3));
    assert_ne!(fresh.header("etag"), tag);
    let metrics = String::from_utf8(leader.get("/metrics").await.body).unwrap();
    assert!(metrics.contains(r#"diogenes_graph_answers_total{result="kept"} 2"#), "{metrics}");
    assert!(metrics.contains(r#"diogenes_graph_answers_total{result="whole"} 2"#), "{metrics}");
}

async fn what_cannot_be_asked_for_is_refused_by_its_name(place: Place) {
    let site = place.start().await;
    let follower = site.follower().await;
    let holder = Holder::registered(&site.leader, 1).await;
    site.level(&follower).await;
    let ask = async |node: &Running, query: &str| node.get(&path(&holder, query)).await;

    for node in [&site.leader, &follower] {
        for (name, query) in [
            ("max_depth", "max_depth=0"),
            ("max_depth", "max_depth=9"),
            ("max_depth", "max_depth=-1"),
            ("direction", "direction=up"),
            ("type", "type=x-diogenes:witness"),
            ("type", "type="),
            ("status", "status=Active"),
            ("institution", "institution="),
            ("since", "since=yesterday"),
            ("until", "until=2026-02-30"),
            ("since", "since=2026-02-02&until=2026-02-01"),
            ("status", "status=active&status=void"),
        ] {
            let answer = ask(node, query).await;
            assert_eq!(told(&answer), refused(422, "validation_failed"), "{query}");
            assert_eq!(answer.json()["errors"][0]["pointer"], name, "{query}");
        }
        for key in [Holder::new(7).fingerprint(), "alice".to_owned()] {
            let answer = node.get(&format!("/api/v1/graph/{key}")).await;
            assert_eq!(told(&answer), refused(404, "not_found"));
        }
        let alone: Value = node.json(&path(&holder, "max_depth=8")).await;
        assert_eq!((&alone["depth"], alone["nodes"].as_array().unwrap().len()), (&json!(0), 1));
    }
}

async fn without_time_only_the_key_itself_is_found(place: Place) {
    let settings = [("GRAPH_TRAVERSAL_TIMEOUT_SECONDS", "0"), SOON[0]];
    let site = place.start_with(&settings).await;
    let (people, _) = five(&site).await;

    let graph: Value = site.leader.json(&path(&people[1], "")).await;
    assert_eq!((found(&graph, &people), &graph["truncated"]), (vec![(1, 0)], &json!(true)));
}
