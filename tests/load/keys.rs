//! `load keys`: registers keys, asks for their state at a fixed rate, and lists and finds them.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::wire::keys::KeyList;
use diogenes_tests::http::Node;

use crate::Options;
use crate::drive::{Until, drive};
use crate::keyring::{ARRAY, COMMON_WORD, Person, name};
use crate::pace::{Pace, paced};
use crate::report::Report;
use crate::work::{Mode, Plan, Prebuilt, Random, common};

/// How many keys are made before they are sent, so that the node waits for none of them.
const AHEAD: u64 = 20 * ARRAY;
/// How many connections send arrays.
const ARRAY_CLIENTS: usize = 4;
/// How often each list and search is asked for.
const LOOKS: u64 = 50;

#[derive(Args, Clone)]
pub(crate) struct KeyOptions {
    #[command(flatten)]
    pub(crate) options: Options,
    /// How many keys the log shall hold before anything is measured.
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    keys: u64,
    /// How many keys' states are asked for in a second.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many keys and events each way of registering and appending is measured with.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(0..=200_000))]
    each: u64,
}

/// The longest that states are asked for.
const MAX_SECONDS: f64 = 600.0;

/// Fills the log, then measures; prints each result as it comes.
pub(crate) async fn measure(asked: &KeyOptions, plan: Plan, server: Node) -> anyhow::Result<()> {
    if !server.address().ip().is_loopback() {
        bail!("keys can't be taken back: this fills logs on this machine only, not {server}");
    }
    let unused = &asked.options;
    if unused.count.is_some() || unused.verify || unused.follower.is_some() {
        bail!("keys has no use for --count, --verify and --follower; see --keys and --each");
    }
    let run = Run {
        origin: server.well_known().await?.origin,
        plan,
        json: asked.options.json,
        clients: asked.options.clients.unwrap_or(64).clamp(1, 1_024),
        server,
    };
    let mut known = run.registered().await?;
    run.fill(&mut known, asked.keys).await?;
    let seconds = asked.options.seconds.unwrap_or(10.0).clamp(0.0, MAX_SECONDS);
    run.ask_for_states(&known, asked.rate, Duration::from_secs_f64(seconds)).await?;
    run.look(&known).await?;
    if asked.each > 0 { run.register_each_way(&mut known, asked.each).await } else { Ok(()) }
}

struct Run {
    plan: Plan,
    server: Node,
    origin: Origin,
    clients: usize,
    json: bool,
}

impl Run {
    /// The keys that the log holds already.
    async fn registered(&self) -> anyhow::Result<Vec<Fingerprint>> {
        let mut known = Vec::new();
        let mut after = 0;
        loop {
            let page: KeyList = self.server.read(&format!("/api/v1/keys?after={after}")).await?;
            let Some(last) = page.keys.last() else { return Ok(known) };
            after = last.first_entry_id;
            known.extend(page.keys.iter().map(|key| key.fingerprint));
        }
    }

    /// Registers keys in arrays, without proof, until the log holds `target`.
    async fn fill(&self, known: &mut Vec<Fingerprint>, target: u64) -> anyhow::Result<()> {
        while (known.len() as u64) < target {
            let missing = (target - known.len() as u64).min(AHEAD);
            let report = self.register(known, "fill", missing, true, false).await?;
            eprintln!("{} keys, the last {} at {:.0}/s", known.len(), report.entries, report.rate);
        }
        Ok(())
    }

    /// Asks for the states of random keys.
    async fn ask_for_states(
        &self,
        known: &[Fingerprint],
        rate: u32,
        lasting: Duration,
    ) -> anyhow::Result<()> {
        let keys = known.to_vec();
        let head = format!("accept: application/json\r\n{}\r\n", common(&self.plan));
        let mut random = Random::new(1);
        let request = move || {
            let nth = usize::try_from(random.below(keys.len() as u64)).unwrap_or(0);
            let key = keys[nth];
            format!("GET /api/v1/keys/{key}/status HTTP/1.1\r\n{head}").into_bytes()
        };
        let count = u64::from(rate) * u64::try_from(lasting.as_millis())? / 1_000;
        let pace = Pace { rate, count };
        let report = paced("key status", self.server.address(), pace, self.clients, request).await;
        self.show(&report)
    }

    /// Lists keys, finds them by name and reads what refers to one, one request at a time.
    async fn look(&self, known: &[Fingerprint]) -> anyhow::Result<()> {
        let count = known.len() as u64;
        let mut random = Random::new(2);
        let mut numbers = || random.below(count);
        let word = COMMON_WORD.to_lowercase();
        let search = |part: &str| format!("/api/v1/keys/search?pseudonym={part}");
        let key = |number: u64| known[usize::try_from(number).unwrap_or(0)];
        let mut each = |of: &mut dyn FnMut(u64) -> String| -> Vec<String> {
            (0..LOOKS).map(|_| of(numbers())).collect()
        };
        let looks = [
            ("key record", each(&mut |n| format!("/api/v1/keys/{}", key(n)))),
            ("log by key", each(&mut |n| format!("/api/v1/log/by-fingerprint/{}", key(n)))),
            ("first keys", each(&mut |_| "/api/v1/keys".to_owned())),
            ("newest keys", each(&mut |_| "/api/v1/keys?order=desc".to_owned())),
            ("keys after one", each(&mut |n| format!("/api/v1/keys?after={n}"))),
            ("key of a name", each(&mut |n| search(&name(n).replace(' ', "%20")))),
            ("keys of a word", each(&mut |_| search(&word))),
            ("name of no key", each(&mut |_| search("Alexander"))),
        ];
        for (name, paths) in looks {
            let requests = paths.iter().map(|path| self.get(path)).collect();
            let report = self.drive(Prebuilt { name, weight: 1, requests }, 1).await?;
            self.show(&report)?;
        }
        Ok(())
    }

    /// Appends events and registers keys, alone and in arrays, with proof and without.
    async fn register_each_way(
        &self,
        known: &mut Vec<Fingerprint>,
        count: u64,
    ) -> anyhow::Result<()> {
        for arrays in [false, true] {
            let generic = self.generic(arrays, count).await?;
            self.show(&generic)?;
            for proven in [false, true] {
                let name = match (arrays, proven) {
                    (false, false) => "register",
                    (false, true) => "register proven",
                    (true, false) => "register arrays",
                    (true, true) => "register arrays proven",
                };
                let report = self.register(known, name, count, arrays, proven).await?;
                self.show(&report)?;
                if !self.json {
                    println!("  {:.2} of {}", report.rate / generic.rate.max(1.0), generic.mode);
                }
            }
        }
        Ok(())
    }

    async fn generic(&self, arrays: bool, count: u64) -> anyhow::Result<Report> {
        let (mode, clients) =
            if arrays { (Mode::Batch, ARRAY_CLIENTS) } else { (Mode::Append, self.clients) };
        let plan = Plan { mode, ..self.plan.clone() };
        let (report, _) = drive(self.server.address(), plan, clients, Until::Count(count)).await;
        Ok(report)
    }

    /// Registers the next keys.
    async fn register(
        &self,
        known: &mut Vec<Fingerprint>,
        name: &'static str,
        count: u64,
        arrays: bool,
        proven: bool,
    ) -> anyhow::Result<Report> {
        let origin = proven.then_some(&self.origin);
        let first = known.len() as u64;
        let people = (first..first + count)
            .map(|number| Person::new(number, origin))
            .collect::<Result<Vec<_>, _>>()
            .context("a name that the log refuses")?;
        let requests = if arrays {
            let events = |some: &[Person]| some.iter().map(Person::event).collect();
            let arrays = people.chunks(usize::try_from(ARRAY)?).map(events);
            let post =
                |array| self.post("log/entries", &serde_json::Value::Array(array).to_string());
            arrays.map(post).collect()
        } else {
            people.iter().map(|person| self.post("keys/register", &person.body())).collect()
        };
        let (weight, clients) =
            if arrays { (ARRAY.min(count), ARRAY_CLIENTS) } else { (1, self.clients) };
        let report = self.drive(Prebuilt { name, weight, requests }, clients).await?;
        known.extend(people.iter().map(|person| person.fingerprint));
        Ok(report)
    }

    /// Sends each of the requests once.
    async fn drive(&self, prebuilt: Prebuilt, clients: usize) -> anyhow::Result<Report> {
        let until = Until::Count(prebuilt.requests.len() as u64 * prebuilt.weight);
        let plan = Plan { mode: Mode::Prebuilt, prebuilt, ..self.plan.clone() };
        let (report, _) = drive(self.server.address(), plan, clients, until).await;
        ensure!(report.is_clean(), "{report}");
        Ok(report)
    }

    fn show(&self, report: &Report) -> anyhow::Result<()> {
        report.print(self.json);
        ensure!(report.is_clean(), "requests failed");
        Ok(())
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let head = common(&self.plan);
        format!("GET {path} HTTP/1.1\r\naccept: application/json\r\n{head}\r\n").into_bytes()
    }

    fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let (head, length) = (common(&self.plan), body.len());
        format!(
            "POST /api/v1/{path} HTTP/1.1\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{head}\r\n{body}"
        )
        .into_bytes()
    }
}
