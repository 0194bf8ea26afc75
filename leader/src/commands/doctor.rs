//! `doctor`: is this leader set up as it should be?

use std::sync::Arc;

use clap::Args;
use diogenes_common::client::{Client, Reach};
use diogenes_common::clock::Clock;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{
    ALLOW_HTTP, DATA_DIR, ENFORCE_HTTPS, Flags, ORIGIN, PEERS, Settings,
};
use diogenes_common::doctor::{
    self, Chain, Check, Examination, Finding, Report, gather, misconfigured,
};
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;
use diogenes_common::store::Store;

use super::load;
use crate::boot::{self, read_key};
use crate::start::{self, Plan};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Also ask the leader through this URL, as clients do.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Doctor {
    pub(super) fn run(&self, flags: Flags) -> Result<(), Failure> {
        let report = match load(flags) {
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => misconfigured(Role::Leader, VERSION, &failure),
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
        let reach =
            if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured };
        let client = Client::new(Role::Leader.name(), VERSION, reach)?;
        let (mut examination, opened) =
            tokio::join!(Examination::begin(settings, now), gather::database(settings));
        examination.add(opened.findings);
        examination.reached(opened.access);
        let mut found = None;
        if let Some(store) = &opened.store {
            // The guard first: it may trail the database, and never leads it.
            examination.add(guard(settings, store).await);
            let chain = gather::stored_chain(store).await;
            let own = read_key_of(settings).map(|key| key.fingerprint());
            examination.add(doctor::chain(own.as_ref(), &chain));
            if let Chain::Read(read) = chain {
                found = Some(*read);
            }
            store.close().await;
        }
        let own = found.as_ref().map(|found| found.log_id);
        let peers = settings.value(&PEERS);
        let peers = peers.iter().map(|url| url.as_str().to_owned());
        let (urls, refused) = gather::urls(Check::Peers, peers, reach);
        let answers = gather::ask(&client, &clock, &urls).await;
        let samples: Vec<_> = answers.iter().filter_map(doctor::NodeAnswer::sample).collect();
        let newest = found.as_ref().and_then(|found| found.head.as_ref());
        examination.add(doctor::clock(now, newest.map(|head| head.timestamp), &samples));
        if refused.is_empty() || !answers.is_empty() {
            examination.add(doctor::peers(own, &answers));
        }
        examination.add(refused);
        let (urls, refused) = gather::urls(Check::PublicUrl, self.url.clone(), reach);
        examination.add(refused);
        for url in &urls {
            examination.add(gather::public_url(&client, url, own, enforce).await);
        }
        examination.add(origin(settings, found.as_ref()));
        Ok(examination.report(VERSION))
    }
}

fn read_key_of(settings: &Settings) -> Option<diogenes_common::keys::SigningKey> {
    let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader).ok()?;
    read_key(&data).ok()
}

async fn guard(settings: &Settings, store: &Store) -> Option<Finding> {
    // What is wrong with the directory itself is a finding of its own.
    let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader).ok()?;
    let plan = match boot::find(&data, store, None).await {
        Ok(found) => start::plan(&found).map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    Some(judge_guard(plan))
}

/// Judges what a start would do with the key, the guard and the database that are there.
fn judge_guard(plan: Result<Plan, Failure>) -> Finding {
    let check = Check::Guard;
    match plan {
        Ok(Plan::Go) => Finding::ok(check, "key, signed-guard and database are of one history"),
        Ok(Plan::Initialise) => Finding::ok(check, "nothing was signed yet"),
        Ok(Plan::ReadOnly(_)) => Finding::warn(
            check,
            "signed-guard is missing: the leader serves, and signs nothing before every node of \
             DIOGENES_PEERS has answered",
            "name followers and witnesses in DIOGENES_PEERS; or, once you are sure that this \
             database is the newest: serve --accept-size N, with its number of entries",
        ),
        Err(failure) => Finding::fail(check, failure.what(), failure.what_to_do()),
    }
}

/// The name of a log is fixed when it is made: another one in the settings is a mistake.
fn origin(settings: &Settings, found: Option<&doctor::Found>) -> Option<Finding> {
    let (asked, found) = (settings.value(&ORIGIN)?, found?);
    (asked != found.origin.as_str()).then(|| {
        Finding::warn(
            Check::Configuration,
            format!("DIOGENES_ORIGIN is {asked}, but the log is {} for ever", found.origin),
            "unset DIOGENES_ORIGIN, or check DATABASE_URL and --data-dir",
        )
    })
}

#[cfg(test)]
mod tests {
    use diogenes_common::doctor::Level;

    use super::*;
    use crate::sequencer::NotSigning;

    #[test]
    fn what_a_start_would_refuse_is_a_failure_and_what_it_would_wait_for_a_warning() {
        let failure = Failure::from(start::Unsafe::DatabaseMissing);
        for (plan, expected) in [
            (Ok(Plan::Go), Level::Ok),
            (Ok(Plan::Initialise), Level::Ok),
            (Ok(Plan::ReadOnly(NotSigning::Unconfirmed)), Level::Warn),
            (Err(failure), Level::Fail),
        ] {
            assert_eq!(judge_guard(plan).level, expected);
        }
    }
}
