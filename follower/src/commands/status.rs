//! `status`: what a running follower says about itself.

use std::time::Duration;

use clap::Args;
use diogenes_common::client::{BaseUrl, Client};
use diogenes_common::config::Settings;
use diogenes_common::exit::Failure;
use diogenes_common::shutdown;
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::{MirrorStatus, ReplicationStatus};

use super::{node, refused};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);

/// `status`.
#[derive(Args)]
pub(super) struct Status {
    /// The follower.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    server: String,
    /// Print a line each second until interrupted.
    #[arg(long)]
    watch: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let (client, url) = node(settings, &self.server)?;
        shutdown::block_on(Some(1), async {
            loop {
                let status = ask(&client, &url).await;
                if !self.watch {
                    return self.once(&status?);
                }
                match status {
                    Ok(status) if self.json => println!("{}", json(&status)),
                    Ok(status) => println!("{}", line(&status)),
                    Err(failure) => eprintln!("{}", failure.what()),
                }
                tokio::time::sleep(EVERY).await;
            }
        })
    }

    /// Exit code 1 on `ERROR`, so that scripts can ask.
    fn once(&self, status: &MirrorStatus) -> Result<(), Failure> {
        if self.json {
            println!("{}", json(status));
        } else {
            print!("{}", table(status));
        }
        if status.status == FollowerStatus::Error {
            return Err(Failure::refused(
                "replication_error",
                &status.verdict.sentence,
                status.next_action.as_deref().unwrap_or("look at the follower's log"),
            ));
        }
        Ok(())
    }
}

async fn ask(client: &Client, url: &BaseUrl) -> Result<MirrorStatus, Failure> {
    let path = "/api/v1/log/replication-status";
    match client.get_json(url, path).await.map_err(|error| refused(url, &error))? {
        ReplicationStatus::Follower(status) => Ok(*status),
        ReplicationStatus::Leader(_) => Err(Failure::refused(
            "other_role",
            format!("{url} is a leader"),
            "give the URL of a follower with --server",
        )),
    }
}

fn json(status: &MirrorStatus) -> String {
    serde_json::to_string(status).unwrap_or_default()
}

fn line(status: &MirrorStatus) -> String {
    let parts = [
        Some(status.status.as_str().to_owned()),
        Some(match status.leader_tree_size {
            Some(size) => format!("{}/{size}", status.tree_size),
            None => status.tree_size.to_string(),
        }),
        status.entries_per_second.map(|rate| format!("{rate:.0}/s")),
        status.eta_seconds.filter(|eta| *eta > 0).map(|eta| format!("{eta} s left")),
        status.reason.as_ref().map(|reason| format!("({reason})")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn table(status: &MirrorStatus) -> String {
    let unknown = || "unknown".to_owned();
    let mut rows = vec![
        ("Status", line(status)),
        ("Log", status.origin.as_ref().map_or_else(unknown, ToString::to_string)),
        ("Root", status.root_hash.to_string()),
        ("Newest head", status.head_timestamp.map_or_else(unknown, |time| time.to_string())),
        ("Entries behind", status.lag_entries.map_or_else(unknown, |lag| lag.to_string())),
        ("Seconds behind", status.lag_seconds.map_or_else(unknown, |lag| lag.to_string())),
    ];
    for upstream in &status.upstreams {
        let state = upstream.error.as_deref().unwrap_or("fine");
        rows.push(("Source", format!("{} ({state})", upstream.url)));
    }
    if let Some(evidence) = &status.evidence {
        rows.push(("Evidence", evidence.clone()));
    }
    let rows = rows.into_iter().map(|(name, value)| format!("{name:<15} {value}\n"));
    rows.chain([format!("\n{}\n", status.verdict.sentence)]).collect()
}
