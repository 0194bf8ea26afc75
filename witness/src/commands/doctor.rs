//! `doctor`: is this witness set up as it should be?

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::client::{Client, Reach};
use diogenes_common::clock::Clock;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{
    ALLOW_HTTP, DATA_DIR, Flags, LOG_LISTS, Settings, WITNESS_NAME, WITNESS_OPERATOR,
};
use diogenes_common::doctor::{
    self, Check, Examination, Finding, NodeAnswer, Pinned, Report, gather, misconfigured,
};
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::files::Role;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::note::KeyName;
use diogenes_common::shutdown;

use super::{loader, print_json};
use crate::state::{Home, Look, StateError};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How often a directory is looked at that a running witness may be writing to.
const LOOKS: u32 = 4;

/// How long apart.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How long reading the whole index may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `doctor`.
#[derive(clap::Args)]
pub(super) struct Doctor {
    /// A server that this witness watches, as for `run`; may be given several times.
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
}

impl Doctor {
    pub(super) fn run(&self, flags: Flags, json: bool) -> Result<(), Failure> {
        let report = match loader(flags).load().map_err(Failure::from) {
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => misconfigured(Role::Witness, VERSION, &failure),
            Ok(settings) => shutdown::block_on(Some(2), self.examine(&settings))?,
        };
        if json {
            print_json(&report.json());
        } else {
            print!("{report}");
        }
        report.verdict()
    }

    async fn examine(&self, settings: &Settings) -> Result<Report, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let now = clock.now();
        let reach =
            if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured };
        let client = Client::new(Role::Witness.name(), VERSION, reach)?;
        let (urls, refused) = gather::urls(Check::LogServers, self.server.clone(), reach);
        let (mut examination, looked, answers) = tokio::join!(
            Examination::begin(settings, now),
            look(settings.value(&DATA_DIR)),
            gather::ask(&client, &clock, &urls),
        );
        examination.add(named(settings));
        examination.add(lists(settings));
        let looked = looked.unwrap_or(Ok(None));
        examination.add(state(&looked));
        let look = looked.unwrap_or_default();
        let heads = look.iter().flat_map(|look| look.logs.values());
        let newest = heads.filter_map(|log| Some(log.head()?.timestamp)).max();
        let samples: Vec<_> = answers.iter().filter_map(NodeAnswer::sample).collect();
        examination.add(doctor::clock(now, newest, &samples));
        let (known, operator) = (pinned(look.as_ref()), operator(settings));
        if refused.is_empty() || !answers.is_empty() {
            examination.add(doctor::log_servers(&known, operator.as_ref(), &answers));
        }
        examination.add(refused);
        Ok(examination.report(VERSION))
    }
}

/// What is in the directory; `None` if it is no directory of a witness, which is a finding of its
/// own.
async fn look(path: PathBuf) -> Option<Result<Option<Look>, StateError>> {
    if !path.join("role").exists() {
        return None;
    }
    let mut found = look_once(&path).await;
    for _again in 1..LOOKS {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        found = look_once(&path).await;
    }
    Some(found)
}

async fn look_once(path: &std::path::Path) -> Result<Option<Look>, StateError> {
    let path = path.to_owned();
    let looking = tokio::task::spawn_blocking(move || Home::look(&path));
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Judges the state of a witness.
fn state(looked: &Result<Option<Look>, StateError>) -> Vec<Finding> {
    let check = Check::State;
    let look = match looked {
        Ok(Some(look)) => look,
        Ok(None) => return vec![Finding::ok(check, "no witness was made here yet")],
        Err(error) => {
            let failure = Failure::from(error.clone());
            return vec![Finding::fail(check, failure.what(), failure.what_to_do())];
        }
    };
    let mut findings = Vec::new();
    for (name, log) in &look.logs {
        if let Err(error) = log.check_signing(name) {
            let failure = Failure::from(error);
            findings.push(Finding::fail(check, failure.what(), failure.what_to_do()));
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    let (lines, logs) = (look.lines, look.logs.len());
    let behind = if look.lacks_a_line { "; the next start rolls state.json forward" } else { "" };
    let message =
        format!("index.jsonl ({lines} lines) and state.json agree on {logs} logs{behind}");
    vec![Finding::ok(check, message)]
}

fn pinned(look: Option<&Look>) -> Vec<Pinned> {
    let logs = look.into_iter().flat_map(|look| look.logs.values());
    logs.filter_map(|log| {
        let operator = log.operator_key()?.fingerprint();
        let genesis = diogenes_common::leaf::Leaf::parse(log.genesis()?.to_vec()).ok()?;
        let log_id: Hash = genesis.entry_hash();
        Some(Pinned { log_id, operator })
    })
    .collect()
}

fn operator(settings: &Settings) -> Option<Fingerprint> {
    settings.value(&WITNESS_OPERATOR)?.parse().ok()
}

/// Judges the settings that a command reads only when it needs them.
fn named(settings: &Settings) -> Vec<Finding> {
    let check = Check::Configuration;
    let mut findings = Vec::new();
    if let Some(text) = settings.value(&WITNESS_OPERATOR)
        && text.parse::<Fingerprint>().is_err()
    {
        findings.push(Finding::fail(
            check,
            format!("DIOGENES_WITNESS_OPERATOR is {text}, which is no fingerprint"),
            "give the operator's full fingerprint: sha256:<64 hex digits>",
        ));
    }
    if let Some(text) = settings.value(&WITNESS_NAME)
        && text.parse::<KeyName>().is_err()
    {
        findings.push(Finding::fail(
            check,
            format!("DIOGENES_WITNESS_NAME is {text}, which is no name of a key"),
            "choose a name without spaces and plus signs, like witness.example/w1",
        ));
    }
    findings
}

/// Judges the lists of logs that are files; lists behind URLs are read hourly by `serve` itself.
fn lists(settings: &Settings) -> Vec<Finding> {
    let lists = settings.value(&LOG_LISTS);
    let files = lists.iter().filter(|list| !list.contains("://"));
    let missing = files.filter(|list| !std::path::Path::new(list).is_file());
    missing
        .map(|list| {
            Finding::fail(
                Check::LogServers,
                format!("the list of logs {list} is not there"),
                "correct LOG_LISTS, or put the list there",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use diogenes_common::doctor::Level;

    use super::*;

    #[test]
    fn a_state_that_a_start_refuses_is_a_failure() {
        let level = |looked| state(&looked)[0].level;

        assert_eq!(level(Ok(None)), Level::Ok);
        let look = Look { lines: 3, lacks_a_line: true, logs: std::collections::BTreeMap::new() };
        assert_eq!(level(Ok(Some(look))), Level::Ok);
        assert_eq!(level(Err(StateError::StateDamaged)), Level::Fail);
        assert_eq!(level(Err(StateError::StateAhead { state: 3, index: 2 })), Level::Fail);
    }
}
