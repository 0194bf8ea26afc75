//! Whatever people do with endorsements, in whichever order: the leader says what a small model of
//! the rules says, a follower answers every question with the same bytes, and views made anew are
//! the same to the byte.
//!
//! `ENDORSEMENT_SEQUENCES` sets how many sequences of commands each database is put through (2),
//! `ENDORSEMENT_LENGTH` how long each is (110), `ENDORSEMENT_SEED` the seed of the first one; the
//! seed of a sequence that fails is printed.

mod command;
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use diogenes_common::batch::Trust;
use diogenes_common::clock::{Clock as _, Timestamp};
use serde_json::{Value, json};

use crate::people::{Ahead, Holder};
use crate::random::Random;
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN};
use crate::view_rows;
use command::{Command, PEOPLE, Who};
use model::{Edge, Model, Outcome};

const DELAY_SECONDS: i64 = 3_600;
const MINUTE: i64 = 60_000;

/// What was done so far; told if the test fails.
struct Story {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, lines) = (self.seed, self.lines.join("\n"));
            eprintln!("{lines}\nagain with ENDORSEMENT_SEQUENCES=1 ENDORSEMENT_SEED={seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endorsements_live_by_the_rules_on_sqlite() {
    for seed in seeds() {
        obey(Place::sqlite(), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endorsements_live_by_the_rules_on_postgres() {
    for seed in seeds() {
        if let Some(place) = Place::postgres().await {
            obey(place, seed).await;
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = number("ENDORSEMENT_SEED", u64::from(std::process::id()));
    (0..number("ENDORSEMENT_SEQUENCES", 2)).map(move |more| first.wrapping_add(more))
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var_os(variable).and_then(|value| value.into_string().ok());
    text.map_or(default, |text| text.parse().unwrap())
}

/// One sequence, and everything that is asked after it.
async fn obey(place: Place, seed: u64) {
    let clock = Ahead::default();
    let delay = DELAY_SECONDS.to_string();
    let settings = [
        ("RATE_LIMIT_ENDORSEMENT_OFFER", "0"),
        ("ENDORSEMENT_ACTIVATION_DELAY_SECONDS", delay.as_str()),
    ];
    let site = place.start_at(&settings, Arc::new(clock.clone())).await;
    let mut model = Model::new(clock.now(), DELAY_SECONDS * 1_000);
    let mut story = Story { seed, lines: Vec::new() };
    let mut random = Random::new(seed);
    let people = People { leader: &site.leader, clock: clock.clone() };

    let first = (1..=6).map(|who| Command::Register { who, expires: None, proven: who % 2 == 0 });
    let mut first: Vec<Command> = first.collect();
    first.reverse();
    for _ in 0..number("ENDORSEMENT_LENGTH", 110) {
        people.settle(&mut model);
        let command = first.pop().unwrap_or_else(|| command::next(&mut random, &model));
        let expected = model.judge(&command);
        story.lines.push(format!("{} {command:?} -> {expected:?}", model.now));
        people.act(command, expected, &mut model).await;
    }

    people.settle(&mut model);
    site.append(&json!({})).await;
    let follower = site.follower_at(&[], Arc::new(clock)).await;
    site.level(&follower).await;
    agree(&site, &follower, &model).await;
    rebuild(&site, &follower).await;
}

/// The people, who do to a real leader what the commands say.
struct People<'a> {
    leader: &'a Running,
    clock: Ahead,
}

fn holder(who: Who) -> Holder {
    Holder::new(who)
}

impl People<'_> {
    async fn act(&self, command: Command, expected: Outcome, model: &mut Model) {
        let answer = match command {
            Command::Pass { minutes } => return self.clock.pass(minutes * MINUTE),
            Command::Register { who, expires, proven } => self.register(who, expires, proven).await,
            Command::Succeed { old, new, proven } => {
                let request = holder(old).succession(&holder(new), proven);
                holder(old).ask(self.leader, "/keys/succeed", &request).await
            }
            Command::Revoke { who } => {
                let request = holder(who).revocation();
                holder(who).ask(self.leader, "/keys/revoke", &request).await
            }
            Command::Decide { who, category } => {
                let stands = model.operator.contains_key(&who);
                self.decide(who, category.name(), stands).await
            }
            Command::Offer { by, of, category, until, bare } => {
                let request = json!({
                    "endorser_fingerprint": holder(by).fingerprint(), "valid_until": until,
                    "endorsed_fingerprint": holder(of).fingerprint(), "category": category.name(),
                });
                self.ask(by, "/endorsements/offer", &request, bare).await
            }
            Command::Accept { by, offer, bare } => {
                let endorsed = holder(by).fingerprint();
                let request = json!({ "offer_entry_id": offer, "endorsed_fingerprint": endorsed });
                self.ask(by, "/endorsements/accept", &request, bare).await
            }
            Command::Withdraw { by, of, offer, bare } => {
                let request = json!({
                    "endorser_fingerprint": holder(by).fingerprint(), "note": "we parted",
                    "endorsed_fingerprint": holder(of).fingerprint(),
                    "original_offer_entry_id": offer,
                });
                self.ask(by, "/endorsements/withdraw", &request, bare).await
            }
            Command::TakeBack { by, offer, bare } => {
                let request = json!({
                    "endorsed_fingerprint": holder(by).fingerprint(), "note": "a mistake",
                    "original_offer_entry_id": offer,
                });
                self.ask(by, "/endorsements/revoke-acceptance", &request, bare).await
            }
            Command::Alert { by, of, bare } => {
                let request = json!({
                    "endorser_fingerprint": holder(by).fingerprint(), "reason": "it was stolen",
                    "compromised_fingerprint": holder(of).fingerprint(),
                });
                self.ask(by, "/endorsements/revocation-alert", &request, bare).await
            }
        };
        assert_eq!(outcome(&answer), expected, "{answer}");
        if let (Command::Accept { offer, .. }, Outcome::Appended) = (command, expected) {
            let said: Timestamp =
                answer.json()["payload"]["active_from"].as_str().unwrap().parse().unwrap();
            let edge = model.edges.iter_mut().find(|edge| edge.offer == offer).unwrap();
            let accepted = edge.accepted.as_mut().unwrap();
            assert!((0..MINUTE).contains(&said.millis_since(accepted.active_from)), "{answer}");
            accepted.active_from = said;
        }
    }

    async fn ask(&self, who: Who, path: &str, request: &Value, bare: bool) -> Answer {
        if bare {
            holder(who).ask_barely(self.leader, path, request).await
        } else {
            holder(who).ask(self.leader, path, request).await
        }
    }

    async fn register(&self, who: Who, expires: Option<Timestamp>, proven: bool) -> Answer {
        let mut payload = json!({
            "public_key": holder(who).0.public().to_pem(), "pseudonym": "Alice",
            "key_algorithm": "ed25519", "expiration_date": expires,
        });
        if proven {
            let mut covered = payload.clone();
            covered["fingerprint"] = json!(holder(who).fingerprint());
            covered["proof"] = Value::Null;
            let claim = json!({ "origin": "log.example/it", "payload": covered });
            payload["proof"] = holder(who).sign_claim("diogenes-key-registration/v1\n", &claim);
        }
        let body = json!({ "payload": payload });
        self.leader.post("/api/v1/keys/register", &body).send().await
    }

    async fn decide(&self, who: Who, category: &str, stands: bool) -> Answer {
        let fingerprint = holder(who).fingerprint();
        let path = "/api/v1/operator/endorsements";
        let request = if stands {
            let body = json!({ "fingerprint": fingerprint, "category": category });
            self.leader.post(path, &body)
        } else {
            self.leader.request("DELETE", &format!("{path}/{fingerprint}"))
        };
        request.token(TOKEN).send().await
    }

    /// Moves the clock away from every instant at which something begins or ends, so that what the
    /// model says of now holds until the request has arrived.
    fn settle(&self, model: &mut Model) {
        const MARGIN: i64 = 15_000;
        loop {
            model.now = self.clock.now();
            let is_near = |at: &Timestamp| at.millis_since(model.now).abs() <= MARGIN;
            if !model.boundaries().iter().any(is_near) {
                return;
            }
            self.clock.pass(MARGIN);
        }
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match answer.status {
        201 => Outcome::Appended,
        200 => Outcome::Nothing,
        status => {
            let code = answer.problem();
            Outcome::Refused(status, Box::leak(code.into_boxed_str()))
        }
    }
}

/// Every read says on both nodes what the model says, with the same bytes.
async fn agree(site: &Site, follower: &Running, model: &Model) {
    assert_eq!(site.size().await, model.size + 1, "and the event that told the time");
    for who in model.registered() {
        let key = holder(who).fingerprint();
        let path = |tail: &str| format!("/api/v1/endorsements/{key}{tail}");
        let received = model.edges.iter().filter(|edge| edge.of == who);
        let list = same(site, follower, &path("")).await;
        compare(model, received, &list, &path(""));
        let issued = model.edges.iter().filter(|edge| edge.by == who);
        let list = same(site, follower, &path("/issued")).await;
        compare(model, issued, &list, &path("/issued"));

        let status = same(site, follower, &path("/status")).await;
        let used = model.given(who).count();
        let alerts = model.alerts.keys().filter(|(_, of)| *of == who).count();
        let expected = json!([model.capacity(who), used, model.level(who), alerts]);
        let found = ["capacity", "used", "level", "alerts"].map(|member| &status[member]);
        assert_eq!(expected, json!(found), "{who}: {status}");
        let counted = |side: &str| {
            let count =
                |(state, count): (&String, &Value)| (state.clone(), count.as_u64().unwrap());
            let counts = status[side].as_object().unwrap().iter().map(count);
            counts.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
        };
        let issued = model.edges.iter().filter(|edge| edge.by == who);
        assert_eq!(counted("issued"), counts(model, issued), "{who}: {status}");

        let path = format!("/api/v1/endorsements/revocation-alerts/{key}");
        let alerts = same(site, follower, &path).await;
        let mut expected: Vec<_> = model.alerts.iter().filter(|((_, of), _)| *of == who).collect();
        expected.sort_by_key(|(_, entry)| **entry);
        let expected: Vec<_> = expected
            .iter()
            .map(|((by, _), entry)| json!([entry, holder(*by).fingerprint()]))
            .collect();
        let mut found: Vec<_> = alerts["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| json!([alert["entry_id"], alert["endorser_fingerprint"]]))
            .collect();
        found.sort_by_key(|alert| alert[0].as_u64());
        assert_eq!(expected, found, "{who}: {alerts}");
    }
}

fn counts<'a>(model: &Model, edges: impl Iterator<Item = &'a Edge>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for edge in edges {
        *counts.entry(model.shown(edge).to_owned()).or_default() += 1;
    }
    counts
}

/// The leader's answer, after the follower's was seen to have the same bytes.
async fn same(site: &Site, follower: &Running, path: &str) -> Value {
    let (ours, theirs) = (site.leader.get(path).await, follower.get(path).await);
    assert_eq!(ours.status, 200, "{path}: {ours}");
    assert_eq!(ours.body, theirs.body, "{path}\nthe leader {ours}\nthe follower {theirs}");
    ours.json()
}

/// What people said, in the order of their offers; what the operator said comes before it.
fn compare<'a>(model: &Model, edges: impl Iterator<Item = &'a Edge>, list: &Value, path: &str) {
    let shown = |edge: &Edge| {
        json!({
            "offer_entry_id": edge.offer, "status": model.shown(edge),
            "endorser_fingerprint": holder(edge.by).fingerprint(),
            "endorsed_fingerprint": holder(edge.of).fingerprint(),
            "category": edge.category.name(), "valid_until": edge.until,
            "active_at": edge.accepted.map(|of| of.active_from),
            "level": edge.accepted.and_then(|of| of.level),
        })
    };
    let expected: Vec<Value> = edges.map(shown).collect();
    let all = list["endorsements"].as_array().unwrap().iter();
    let people: Vec<String> = (1..=PEOPLE).map(|who| holder(who).fingerprint()).collect();
    let of_people = all
        .filter(|row| people.iter().any(|person| row["endorser_fingerprint"] == person.as_str()));
    let found: Vec<Value> = of_people
        .map(|row| {
            let members = expected.first().and_then(Value::as_object).into_iter().flatten();
            members.map(|(member, _)| (member.clone(), row[member].clone())).collect()
        })
        .collect();
    assert_eq!(json!(expected), json!(found), "{path}");
}

/// Views made anew are those that grew with the log, and those of the follower.
async fn rebuild(site: &Site, follower: &Running) {
    let grown = view_rows::dump(site.leader.database()).await;
    assert!(!grown["view_endorsements"].is_empty(), "{grown:?}");
    assert!(grown["view_no_effect"].is_empty(), "{grown:?}");
    let store = site.store().await;
    let trust = Trust { operator: site.operator().fingerprint() };
    assert!(store.refresh_views(trust, true).await.unwrap());
    store.close().await;

    let anew = view_rows::dump(site.leader.database()).await;
    let of_follower = view_rows::dump(follower.database()).await;
    for (table, rows) in &grown {
        assert_eq!(rows, &anew[table], "{table}, made anew");
        assert_eq!(rows, &of_follower[table], "{table} of the follower");
    }
}
