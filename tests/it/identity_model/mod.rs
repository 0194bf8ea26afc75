//! Whatever people do with keys, in whichever order: the leader says what a small model of the
//! rules says, a follower answers every question with the same bytes, and views made anew are the
//! same to the byte.
//!
//! `IDENTITY_SEQUENCES` sets how many sequences of commands each database is put through (2),
//! `IDENTITY_LENGTH` how long each is (70), `IDENTITY_SEED` the seed of the first one; the seed of
//! a sequence that fails is printed.

mod command;
mod driver;
mod model;
mod reads;

use std::sync::Arc;

use diogenes_common::batch::Trust;
use diogenes_common::clock::Timestamp;
use serde_json::{Value, json};

use crate::people::Ahead;
use crate::random::Random;
use crate::raw::Answer;
use crate::site::{Place, Running, Site};
use crate::view_rows;
use driver::People;
use model::Model;
use reads::{End, Question};

/// What was done so far; told if the test fails.
struct Story {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, lines) = (self.seed, self.lines.join("\n"));
            eprintln!("{lines}\nagain with IDENTITY_SEQUENCES=1 IDENTITY_SEED={seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_live_by_the_rules_on_sqlite() {
    for seed in seeds() {
        obey(Place::sqlite(), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_live_by_the_rules_on_postgres() {
    for seed in seeds() {
        if let Some(place) = Place::postgres().await {
            obey(place, seed).await;
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = number("IDENTITY_SEED", u64::from(std::process::id()));
    (0..number("IDENTITY_SEQUENCES", 2)).map(move |more| first.wrapping_add(more))
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var_os(variable).and_then(|value| value.into_string().ok());
    text.map_or(default, |text| text.parse().unwrap())
}

/// One sequence, and everything that is asked after it.
async fn obey(place: Place, seed: u64) {
    let clock = Ahead::default();
    let settings = [("RATE_LIMIT_ATTESTATION_EVENT", "0")];
    let site = place.start_at(&settings, Arc::new(clock.clone())).await;
    let mut people = People::of(&site, clock.clone());
    let mut model = Model::new(site.head().await.head().timestamp);
    let mut story = Story { seed, lines: Vec::new() };
    let mut random = Random::new(seed);

    for _ in 0..number("IDENTITY_LENGTH", 70) {
        people.settle(&mut model);
        let command = random.command(&model);
        let ready = people.prepare(&command).await;
        people.settle(&mut model);
        let expected = model.judge(&command);
        story.lines.push(format!("{} {command:?} -> {expected:?}", model.now));
        let sent = people.send(ready, expected, &model).await;
        sent.unwrap_or_else(|problem| panic!("{problem}"));
    }

    people.settle(&mut model);
    model.append("x-it:event", Vec::new(), None);
    site.append(&json!({})).await;
    let follower = site.follower_at(&[], Arc::new(clock)).await;
    agree(&site, &follower, &model, &people).await;
    rebuild(&site, &follower).await;
}

/// Every read says on both nodes what the model says, with the same bytes.
async fn agree(site: &Site, follower: &Running, model: &Model, people: &People<'_>) {
    let log: Value = site.leader.json("/api/v1/log?per_page=200").await;
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(log["total"].as_u64(), Some(model.size()));
    let times: Vec<Timestamp> =
        entries.iter().map(|entry| entry["timestamp"].as_str().unwrap().parse().unwrap()).collect();
    let end = End { model, people, now: *times.last().unwrap(), times };
    for question in end.questions() {
        let (of_leader, of_follower) =
            (ask(&site.leader, &question).await, ask(follower, &question).await);
        let Question { path, body, status, expected } = question;
        let found = of_leader.json();
        assert_eq!(of_leader.status, status, "{path} {body:?}: {of_leader}");
        if status == 200 {
            let is_said = !reads::differs(&expected, &found);
            assert!(is_said, "{path} {body:?}\nthe model says {expected}\nthe leader {found}");
            let alike = without_role(&of_leader) == without_role(&of_follower);
            assert!(alike, "{path} {body:?}\nthe leader {of_leader}\nthe follower {of_follower}");
        }
        assert_eq!(of_leader.status, of_follower.status, "{path}: {of_follower}");
    }
}

async fn ask(node: &Running, question: &Question) -> Answer {
    match &question.body {
        Some(body) => node.post(&question.path, body).send().await,
        None => node.get(&question.path).await,
    }
}

/// The bytes of an answer without `log.replicated`, the one member that differs by role: how much
/// of the log a second machine is known to hold.
fn without_role(answer: &Answer) -> Vec<u8> {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let Some((before, after)) = text.split_once("\"replicated\":") else { return text.into() };
    let end = after.find(['}', ',']).unwrap();
    format!("{before}{}", &after[end..]).into()
}

/// Views made anew are those that grew with the log, and those of the follower.
async fn rebuild(site: &Site, follower: &Running) {
    let grown = view_rows::dump(site.leader.database()).await;
    assert!(grown["view_keys"].len() > 1 && !grown["view_refs"].is_empty(), "{grown:?}");
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
