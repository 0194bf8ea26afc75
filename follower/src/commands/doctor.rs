//! `doctor`: is this follower set up as it should be?

use std::sync::Arc;

use clap::Args;
use diogenes_common::client::Client;
use diogenes_common::clock::Clock;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{ENFORCE_HTTPS, Flags, Settings};
use diogenes_common::doctor::{
    self, Chain, Check, Examination, Finding, NodeAnswer, Report, gather, misconfigured,
};
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::files::Role;
use diogenes_common::keys::Fingerprint;
use diogenes_common::shutdown;

use super::load;
use crate::boot;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Also ask the follower through this URL, as clients do.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Doctor {
    pub(super) fn run(&self, flags: Flags) -> Result<(), Failure> {
        let report = match load(flags) {
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => misconfigured(Role::Follower, VERSION, &failure),
            Ok(settings) => shutdown::block_on(Some(2), self.examine(&settings))?,
        };
        if self.json {
            println!("{:#}", report.json());
        } else {
            print!("{report}");
        }
        report.verdict()
    }

    async fn examine(&self, settings: &Settings) -> Result<Report, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (now, enforce) = (clock.now(), settings.value(&ENFORCE_HTTPS));
        let client = boot::client(settings)?;
        let (begun, opened, asked) = tokio::join!(
            Examination::begin(settings, now),
            gather::database(settings),
            upstream(settings, &client, &clock),
        );
        let mut examination = begun;
        examination.add(opened.findings);
        examination.reached(opened.access);
        examination.add(asked.findings);
        let mut found = None;
        if let Some(store) = &opened.store {
            let chain = gather::stored_chain(store).await;
            examination.add(doctor::chain(asked.pinned.as_ref(), &chain));
            if let Chain::Read(read) = chain {
                found = Some(*read);
            }
            store.close().await;
        }
        let samples: Vec<_> = asked.answers.iter().filter_map(NodeAnswer::sample).collect();
        let newest = found.as_ref().and_then(|found| found.head.as_ref());
        examination.add(doctor::clock(now, newest.map(|head| head.timestamp), &samples));
        let own = found.map(|found| found.log_id);
        let (urls, refused) =
            gather::urls(Check::PublicUrl, self.url.clone(), boot::reach(settings));
        examination.add(refused);
        for url in &urls {
            examination.add(gather::public_url(&client, url, own, enforce).await);
        }
        Ok(examination.report(VERSION))
    }
}

/// What the sources of the settings answered.
struct Asked {
    pinned: Option<Fingerprint>,
    answers: Vec<NodeAnswer>,
    findings: Vec<Finding>,
}

async fn upstream(settings: &Settings, client: &Client, clock: &Arc<dyn Clock>) -> Asked {
    let upstream = match boot::upstream(settings) {
        Ok(upstream) => upstream,
        Err(failure) => {
            let finding = Finding::fail(Check::Sources, failure.what(), failure.what_to_do());
            return Asked { pinned: None, answers: Vec::new(), findings: vec![finding] };
        }
    };
    let urls = upstream.sources.iter().map(|source| source.url().clone());
    let (urls, mut findings) = gather::urls(Check::Sources, urls, boot::reach(settings));
    let answers = gather::ask(client, clock, &urls).await;
    findings.extend(doctor::sources(&upstream.operator, &answers));
    Asked { pinned: Some(upstream.operator), answers, findings }
}
