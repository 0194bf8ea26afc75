//! Whoever holds a key is told of entries, by messages that verify; nobody else can have a say in it.

mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, free_address};
use serde_json::{Value, json};

use crate::people::{Ahead, Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, eventually, on_both};
use receiver::{Message, Receiver};

on_both!(
    who_asks_is_told_of_what_follows_by_messages_that_verify,
    everybody_sees_their_own_webhooks_alone,
    what_fails_is_tried_again_later_under_the_same_name,
    a_receiver_that_is_gone_is_left_alone_until_a_replay,
    a_leader_that_was_stopped_goes_on_where_it_was,
);

const WEBHOOKS: &str = "/api/v1/webhooks";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Receivers of tests live on this machine; a clock that a test put ahead is looked at with the next
/// heartbeat.
const LAB: [(&str, &str); 2] = [("WEBHOOK_ALLOW", "127.0.0.0/8"), ("DIOGENES_HEARTBEAT", "1s")];

/// A key that is logged in.
struct Owner {
    holder: Holder,
    token: String,
}

impl Owner {
    async fn new(leader: &Running, seed: u8) -> Self {
        let holder = Holder::registered(leader, seed).await;
        let token = holder.login(leader).await;
        Self { holder, token }
    }

    async fn ask(
        &self,
        leader: &Running,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let request = leader.request(method, path).token(&self.token);
        match body {
            Some(body) => request.json(body).send().await,
            None => request.send().await,
        }
    }

    async fn create(&self, leader: &Running, url: &str, events: &[&str]) -> Value {
        let body = json!({ "url": url, "events": events });
        let answer = self.ask(leader, "POST", WEBHOOKS, Some(&body)).await;
        assert_eq!(answer.status, 201, "{answer}");
        let webhook = answer.json();
        assert_eq!(answer.header("location"), path(&webhook, ""));
        assert_eq!(answer.header("cache-control"), "no-store");
        webhook
    }

    async fn get(&self, leader: &Running, path: &str) -> Value {
        let answer = self.ask(leader, "GET", path, None).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    async fn replay(&self, leader: &Running, webhook: &Value, body: &Value) -> Answer {
        self.ask(leader, "POST", &path(webhook, "/replay"), Some(body)).await
    }
}

fn path(webhook: &Value, rest: &str) -> String {
    format!("{WEBHOOKS}/{}{rest}", webhook["id"].as_str().unwrap())
}

async fn arrive(receiver: &Receiver, messages: usize) -> Vec<Message> {
    let what = format!("{messages} messages arrive");
    eventually(&what, async || receiver.count() >= messages).await;
    receiver.messages()
}

/// The delivery log, once nothing waits any more.
async fn settled(site: &Site, owner: &Owner, webhook: &Value) -> Vec<Value> {
    let deliveries = async || owner.get(&site.leader, &path(webhook, "/deliveries")).await;
    eventually("nothing waits", async || {
        let log = deliveries().await;
        let log = log["deliveries"].as_array().unwrap();
        !log.is_empty() && log.iter().all(|one| one["status"] != "pending")
    })
    .await;
    deliveries().await["deliveries"].as_array().unwrap().clone()
}

async fn who_asks_is_told_of_what_follows_by_messages_that_verify(place: Place) {
    let (site, receiver) = (place.start_with(&LAB).await, Receiver::start().await);
    let owner = Owner::new(&site.leader, 1).await;
    site.append(&json!({ "n": "before" })).await;
    let webhook = owner.create(&site.leader, &receiver.url(), &["x-it:*", "key_revocation"]).await;

    site.grow(3).await;
    Holder::registered(&site.leader, 2).await;
    let last = site.append(&json!({ "n": "after" })).await;

    let messages = arrive(&receiver, 4).await;
    for message in &messages {
        assert!(message.verifies(&webhook), "{message:?}");
        let (body, id) = (message.json(), message.entry_id());
        let entry: Value = site.leader.json(&format!("/api/v1/log/{id}")).await;
        assert_eq!(message.id, format!("{}_{id}", webhook["id"].as_str().unwrap()));
        assert_eq!(body["type"], "log.entry.appended");
        assert_eq!(body["timestamp"], entry["timestamp"]);
        let data = json!({
            "origin": "log.example/it", "id": id, "event_type": "x-it:event",
            "entry_hash": entry["entry_hash"], "timestamp": entry["timestamp"],
            "location": format!("/api/v1/log/{id}"),
        });
        assert_eq!(body["data"], data);
    }
    let mut altered = messages[0].clone();
    altered.body.push(b' ');
    assert!(!altered.verifies(&webhook));

    let told: BTreeSet<u64> = messages.iter().map(Message::entry_id).collect();
    assert_eq!(told.len(), 4, "the registration was not asked for, nor what came before");
    assert_eq!(told.last(), last["id"].as_u64().as_ref());
    let log = settled(&site, &owner, &webhook).await;
    assert_eq!(log.len(), 4);
    assert_eq!(log[0]["entry_id"], last["id"], "the newest first");
    assert!(log.iter().all(|one| one["status"] == "delivered" && one["response_status"] == 204));
    assert!(log.iter().all(|one| one["attempts"] == 1 && one["error"].is_null()), "{log:?}");
    let delivered = "diogenes_webhook_deliveries_total{result=\"delivered\"} 4";
    eventually("they are counted", async || {
        let metrics = site.leader.get("/metrics").await.body;
        String::from_utf8_lossy(&metrics).lines().any(|line| line == delivered)
    })
    .await;

    let test = owner.ask(&site.leader, "POST", &path(&webhook, "/test"), None).await;
    assert_eq!((test.status, &test.json()["delivered"]), (200, &json!(true)), "{test}");
    let message = arrive(&receiver, 5).await.pop().unwrap();
    assert!(message.verifies(&webhook));
    assert_eq!(message.json()["type"], "webhook.test");
    assert_eq!(test.json()["message_id"], message.id);
}

async fn everybody_sees_their_own_webhooks_alone(place: Place) {
    let (site, receiver) = (place.start_with(&LAB).await, Receiver::start().await);
    let leader = &site.leader;
    let (alice, bob) = (Owner::new(leader, 1).await, Owner::new(leader, 2).await);
    let webhook = alice.create(leader, &receiver.url(), &["*"]).await;
    let replay = json!({ "from": 1 });
    let routes = [
        ("GET", path(&webhook, ""), None, 200),
        ("GET", path(&webhook, "/deliveries"), None, 200),
        ("POST", path(&webhook, "/test"), None, 200),
        ("POST", path(&webhook, "/replay"), Some(&replay), 200),
        ("DELETE", path(&webhook, ""), None, 204),
    ];

    // The last of them deletes it, so its owner comes last.
    for (method, path, body, _) in &routes {
        let others = bob.ask(leader, method, path, *body).await;
        assert_eq!(told(&others), refused(404, "not_found"), "{method} {path}");
        let nobody = path.replace("wh_", "wh_0");
        let unknown = alice.ask(leader, method, &nobody, *body).await;
        assert_eq!(told(&unknown), refused(404, "not_found"), "{method} {nobody}");
        for request in [leader.request(method, path), leader.request(method, path).token(TOKEN)] {
            let answer = request.json(&replay).send().await;
            assert_eq!(told(&answer), refused(401, "unauthorized"), "{method} {path}");
        }
    }
    for (owner, total) in [(&alice, 1), (&bob, 0)] {
        let list = owner.get(leader, WEBHOOKS).await;
        assert_eq!((&list["total"], &list["page"]), (&json!(total), &json!(1)));
        assert_eq!(list["per_page"], 1000);
        assert_eq!(list["webhooks"].as_array().map(Vec::len), Some(total));
        let text = list.to_string();
        assert!(!text.contains("secret") && !text.contains("whsec_"), "{text}");
    }
    let mut shown = webhook.clone();
    shown.as_object_mut().unwrap().remove("secret").expect("it was shown once");
    assert_eq!(alice.get(leader, WEBHOOKS).await["webhooks"][0], shown);
    for (method, path, body, status) in &routes {
        let answer = alice.ask(leader, method, path, *body).await;
        assert_eq!(answer.status, *status, "{method} {path}: {answer}");
    }
    let again = alice.ask(leader, "DELETE", &path(&webhook, ""), None).await;
    assert_eq!(told(&again), refused(404, "not_found"));
    assert_eq!(alice.get(leader, WEBHOOKS).await["total"], 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_named() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Owner::new(leader, 1).await;
    let good = json!({ "url": "https://receiver.example/hook", "events": ["*"] });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let many: Vec<String> = (0..65).map(|n| format!("x-it:e{n}")).collect();
    for (body, pointer) in [
        (with("url", json!("http://receiver.example/")), "#/url"),
        (with("url", json!("https://u:p@receiver.example/")), "#/url"),
        (with("url", json!("https://receiver.example:22/")), "#/url"),
        (with("url", json!("https://127.0.0.1/")), "#/url"),
        (with("url", json!("https://169.254.169.254/latest/meta-data")), "#/url"),
        (with("url", json!("https://[::ffff:127.0.0.1]/")), "#/url"),
        (with("url", json!("https://[64:ff9b::a9fe:a9fe]/")), "#/url"),
        (with("url", json!("https://2130706433/")), "#/url"),
        (with("url", json!("file:///etc/passwd")), "#/url"),
        (with("url", json!(7)), "#/url"),
        (with("events", json!([])), "#/events"),
        (with("events", json!(["*", "*"])), "#/events"),
        (with("events", json!(many)), "#/events"),
        (with("events", json!(["*", "attestations"])), "#/events/1"),
        (with("secret", json!("whsec_dG9vIHNob3J0")), "#/secret"),
    ] {
        let answer = alice.ask(leader, "POST", WEBHOOKS, Some(&body)).await;
        assert_eq!(told(&answer), refused(422, "validation_failed"), "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let unknown = alice.ask(leader, "POST", WEBHOOKS, Some(&with("owner", json!("x")))).await;
    assert_eq!(told(&unknown), refused(422, "unknown_field"));

    let chosen =
        alice.ask(leader, "POST", WEBHOOKS, Some(&with("secret", json!(SECRET)))).await.json();
    assert_eq!(chosen["secret"], SECRET);
    for body in [
        json!({}),
        json!({ "from": 1, "message_id": "x" }),
        json!({ "from": 0 }),
        json!({ "from": 1_000_000 }),
        json!({ "message_id": format!("{}_1", chosen["id"].as_str().unwrap()) }),
    ] {
        let answer = alice.replay(leader, &chosen, &body).await;
        assert_eq!(told(&answer), refused(422, "validation_failed"), "{body}");
    }
    for _ in 1..20 {
        let answer = alice.ask(leader, "POST", WEBHOOKS, Some(&good)).await;
        assert_eq!(answer.status, 201, "{answer}");
    }
    let one_more = alice.ask(leader, "POST", WEBHOOKS, Some(&good)).await;
    assert_eq!(told(&one_more), refused(409, "webhook_limit_reached"));
    let page = alice.get(leader, "/api/v1/webhooks?per_page=15&page=2").await;
    assert_eq!((page["webhooks"].as_array().map(Vec::len), &page["total"]), (Some(5), &json!(20)));
    let too_many = alice.ask(leader, "GET", "/api/v1/webhooks?per_page=1001", None).await;
    assert_eq!(told(&too_many), refused(422, "validation_failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_to_this_machine_is_not_followed_there() {
    let (site, receiver) = (Place::sqlite().start().await, Receiver::start().await);
    let alice = Owner::new(&site.leader, 1).await;
    let webhook = alice.create(&site.leader, "https://localhost/hook", &["*"]).await;

    let test = alice.ask(&site.leader, "POST", &path(&webhook, "/test"), None).await.json();
    site.grow(1).await;

    assert_eq!((&test["delivered"], &test["error"]), (&json!(false), &json!("address_refused")));
    eventually("the log says so", async || {
        let log = alice.get(&site.leader, &path(&webhook, "/deliveries")).await;
        log["deliveries"][0]["error"] == "address_refused"
    })
    .await;
    assert_eq!(receiver.count(), 0);
}

async fn what_fails_is_tried_again_later_under_the_same_name(place: Place) {
    let (clock, receiver) = (Ahead::default(), Receiver::start().await);
    let secret = Receiver::start().await;
    let site = place.start_at(&LAB, Arc::new(clock.clone())).await;
    let alice = Owner::new(&site.leader, 1).await;
    let webhook = alice.create(&site.leader, &receiver.url(), &["x-it:*"]).await;
    receiver.reply([
        (500, None),
        (307, Some(("location", secret.url()))),
        (429, Some(("retry-after", "1200".to_owned()))),
    ]);

    // The pause counts from when the attempt is written down, which is after it arrived.
    let attempted = async |attempts: u64| {
        arrive(&receiver, usize::try_from(attempts).unwrap()).await;
        eventually("the attempt is written down", async || {
            let log = alice.get(&site.leader, &path(&webhook, "/deliveries")).await;
            log["deliveries"][0]["attempts"] == attempts
        })
        .await;
    };

    site.append(&json!({ "n": 1 })).await;
    attempted(1).await;
    clock.pass(7_000);
    attempted(2).await;
    let waiting = alice.get(&site.leader, &path(&webhook, "/deliveries")).await;
    clock.pass(360_000);
    attempted(3).await;
    // Half an hour is its next step, and it asked for less; what is new waits as long as it asked.
    clock.pass(600_000);
    site.append(&json!({ "n": 2 })).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(receiver.count(), 3, "it asked to be left alone");
    clock.pass(700_000);
    arrive(&receiver, 4).await;
    clock.pass(1_000_000);
    let messages = arrive(&receiver, 5).await;

    assert_eq!(waiting["deliveries"][0]["status"], "pending");
    assert_eq!(secret.count(), 0, "a redirect is not followed");
    let ids: BTreeSet<_> = messages.iter().map(|message| message.id.clone()).collect();
    assert_eq!(ids.len(), 2);
    let first: Vec<&Message> = messages.iter().filter(|m| m.id == messages[0].id).collect();
    assert_eq!(first.len(), 4);
    assert!(first.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
    assert!(first.iter().all(|message| message.body == first[0].body));
    assert!(messages.iter().all(|message| message.verifies(&webhook)));
    let again = Owner { token: alice.holder.login(&site.leader).await, holder: alice.holder };
    let log = settled(&site, &again, &webhook).await;
    let attempts: Vec<_> = log.iter().map(|one| one["attempts"].as_u64()).collect();
    assert_eq!(attempts, [Some(1), Some(4)]);
}

async fn a_receiver_that_is_gone_is_left_alone_until_a_replay(place: Place) {
    let (site, receiver) = (place.start_with(&LAB).await, Receiver::start().await);
    let leader = &site.leader;
    let alice = Owner::new(leader, 1).await;
    let webhook = alice.create(leader, &receiver.url(), &["x-it:*"]).await;
    receiver.reply([(410, None)]);

    let first = site.append(&json!({ "n": 1 })).await;
    let status = async || alice.get(leader, &path(&webhook, "")).await;
    eventually("it is off", async || status().await["status"] == "disabled").await;
    site.grow(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((receiver.count(), &status().await["disabled_reason"]), (1, &json!("gone")));

    let from = alice.replay(leader, &webhook, &json!({ "from": first["id"] })).await;
    assert_eq!((from.status, &from.json()["status"]), (200, &json!("active")), "{from}");
    let messages = arrive(&receiver, 4).await;
    let told: Vec<_> = messages.iter().map(Message::entry_id).collect();
    let first = first["id"].as_u64().unwrap();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), (first..first + 3).collect());
    settled(&site, &alice, &webhook).await;

    let one = json!({ "message_id": messages[0].id });
    assert_eq!(alice.replay(leader, &webhook, &one).await.status, 200);
    assert_eq!(arrive(&receiver, 5).await[4].id, messages[0].id);
}

async fn a_leader_that_was_stopped_goes_on_where_it_was(place: Place) {
    let (site, receiver) = (place.start_with(&LAB).await, Receiver::start().await);
    let alice = Owner::new(&site.leader, 1).await;
    let webhook = alice.create(&site.leader, &receiver.url(), &["x-it:*"]).await;
    // Nothing gets through before the leader stops.
    receiver.reply(std::iter::repeat_n((503, None), 1));
    let first = site.append(&json!({ "n": 1 })).await;
    arrive(&receiver, 1).await;
    site.grow(2).await;

    let clock = Ahead::default();
    clock.pass(120_000);
    let site = site.stop().start_at(&LAB, Arc::new(clock)).await;
    site.append(&json!({ "n": 2 })).await;

    let alice = Owner { token: alice.holder.login(&site.leader).await, holder: alice.holder };
    let first = first["id"].as_u64().unwrap();
    let told = || receiver.messages().iter().map(Message::entry_id).collect::<BTreeSet<u64>>();
    eventually("each is told", async || told() == (first..first + 4).collect()).await;
    let log = settled(&site, &alice, &webhook).await;
    assert_eq!(log.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_tells_of_everything_at_least_once_under_one_name() {
    let (machine, address, receiver) =
        (Machine::new(NODE), free_address(), Receiver::start().await);
    let listen = address.to_string();
    let start = || {
        let variables = [LAB[0], ("DIOGENES_ORIGIN", "log.example/it"), ("OPERATOR_TOKEN", TOKEN)];
        machine.start("leader", "leader", &["serve", "--listen", &listen], &variables)
    };
    let node = Node::local(address).with_token(Some(TOKEN.to_owned()));
    let mut leader = start();
    leader.ready(&node).await;
    let running = Running::of(address);
    let alice = Owner::new(&running, 1).await;
    let webhook = alice.create(&running, &receiver.url(), &["x-crash:*"]).await;

    let mut acknowledged = BTreeMap::new();
    for round in 0..kills() {
        for n in 0..40 {
            let answer = node.append("x-crash:event", &json!({ "round": round, "n": n })).await;
            let answer = answer.unwrap();
            acknowledged.insert(answer["id"].as_u64().unwrap(), answer["entry_hash"].clone());
        }
        leader.kill();
        leader = start();
        leader.ready(&node).await;
    }

    let told = || -> BTreeSet<u64> { receiver.messages().iter().map(Message::entry_id).collect() };
    let expected: BTreeSet<u64> = acknowledged.keys().copied().collect();
    eventually("everything is told", async || told().is_superset(&expected)).await;
    let mut bodies = BTreeMap::new();
    for message in receiver.messages() {
        assert!(message.verifies(&webhook), "{message:?}");
        let (id, body) = (message.entry_id(), message.json());
        assert_eq!(message.id, format!("{}_{id}", webhook["id"].as_str().unwrap()));
        if let Some(entry_hash) = acknowledged.get(&id) {
            assert_eq!(&body["data"]["entry_hash"], entry_hash);
        }
        let known = bodies.entry(message.id.clone()).or_insert_with(|| message.body.clone());
        assert_eq!(*known, message.body, "one name, one message");
    }
    assert_eq!(leader.stop().await, Some(0));
}

/// How often the leader is killed: `DIOGENES_KILLS`.
fn kills() -> u64 {
    let text = std::env::var_os("DIOGENES_KILLS").and_then(|value| value.into_string().ok());
    text.map_or(3, |text| text.parse().unwrap())
}
