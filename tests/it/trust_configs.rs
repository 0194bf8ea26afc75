//! The holder of a key says whom they trust.

use serde_json::{Value, json};

use crate::people::{Holder, refused, told};
use crate::site::{Place, on_both};
use crate::view_rows;

on_both!(a_policy_is_set_replaced_and_revoked_by_its_holder_alone);

const SET: &str = "/trust-configs";
const REVOKE: &str = "/trust-configs/revoke";

fn policy(of: &Holder, config: &Value) -> Value {
    json!({ "fingerprint": of.fingerprint(), "config": config })
}

async fn a_policy_is_set_replaced_and_revoked_by_its_holder_alone(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let anchors = json!({ "anchors": [bob.fingerprint()] });
    let end = json!({ "fingerprint": alice.fingerprint() });

    let none = json!({ "fingerprint": bob.fingerprint() });
    let none = bob.ask(leader, REVOKE, &none).await;
    assert_eq!(told(&none), refused(404, "not_found"));
    let first = alice.ask_barely(leader, SET, &policy(&alice, &anchors)).await;
    assert_eq!(first.status, 201, "{first}");
    assert_eq!(first.json()["payload"]["authorization"]["form"], "legacy");
    let token = alice.login(leader).await;
    let second = policy(&alice, &json!({ "anchors": [bob.fingerprint()], "min_score": 0.5 }));
    let second = leader.post(&format!("/api/v1{SET}"), &second).token(&token).send().await;
    assert_eq!(second.status, 201, "{second}");
    let others = bob.ask(leader, SET, &policy(&alice, &anchors)).await;
    assert_eq!(told(&others), refused(403, "challenge_failed"));
    let others = bob.ask(leader, REVOKE, &end).await;
    assert_eq!(told(&others), refused(403, "challenge_failed"));
    let auth = alice.auth(leader, &format!("POST {REVOKE}"), &end).await;
    let event = json!({ "event_type": "trust_config_revocation", "payload": end, "auth": auth });
    let ended = leader.post("/api/v1/log/entries", &event).send().await;
    assert_eq!(ended.status, 201, "{ended}");
    let again = alice.ask(leader, REVOKE, &end).await;
    assert_eq!(told(&again), refused(404, "not_found"));
    let signed = alice.ask(leader, SET, &policy(&alice, &anchors)).await;
    assert_eq!(signed.status, 201, "{signed}");

    let follower = site.follower().await;
    site.level(&follower).await;
    let ours = view_rows::dump(leader.database()).await;
    assert_eq!(ours["view_trust_configs"].len(), 1);
    assert_eq!(
        ours["view_trust_configs"],
        view_rows::dump(follower.database()).await["view_trust_configs"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_can_not_be_are_refused_with_a_pointer_to_the_fault() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let size = site.size().await;
    let anchors = json!([alice.fingerprint()]);
    let cases = [
        json!({}),
        json!({ "anchors": [] }),
        json!({ "anchors": ["sha256:1"] }),
        json!({ "anchors": anchors, "max_depth": 9 }),
        json!({ "anchors": anchors, "max_depth": "3" }),
        json!({ "anchors": anchors, "decay": 1.5 }),
        json!({ "anchors": anchors, "min_score": 0.123_456_7 }),
        json!({ "anchors": anchors, "min_paths": 2, "max_depth": 4 }),
        json!({ "anchors": anchors, "friends": [] }),
    ];

    for config in cases {
        let answer = alice.ask(leader, SET, &policy(&alice, &config)).await;
        assert_eq!(answer.status, 422, "{config}: {answer}");
        answer.problem();
        let pointer = answer.json()["errors"][0]["pointer"].clone();
        assert!(
            pointer.as_str().is_some_and(|at| at.starts_with("#/config")),
            "{config}: {answer}"
        );
    }
    assert_eq!(site.size().await, size, "nothing was appended");
}
