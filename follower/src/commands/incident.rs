//! `incident list|ack`.

use clap::Subcommand;
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;
use diogenes_common::store::{Incident as Row, Store};

use crate::boot;
use crate::sync::prove::LATCHED;
use crate::sync::store_failure;

/// `incident ...`.
#[derive(Subcommand)]
pub(super) enum Incident {
    /// List the open incidents.
    ///
    /// Example: diogenes-follower incident list --all
    List {
        /// Those that were acknowledged too.
        #[arg(long)]
        all: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Acknowledge an incident; a follower that latched on it goes on by itself.
    ///
    /// Example: diogenes-follower incident ack 3
    Ack {
        /// Its number.
        id: i64,
    },
}

impl Incident {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        // Looking must not make a follower where there is none.
        DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
        shutdown::block_on(Some(1), async {
            let store = boot::open_store(settings).await?;
            let done = match self {
                Self::List { all, json } => {
                    let incidents = store.incidents(!all).await.map_err(store_failure)?;
                    show(&incidents, *json);
                    Ok(())
                }
                Self::Ack { id } => acknowledge(&store, *id).await.map(|()| {
                    println!("Incident {id} is acknowledged.");
                }),
            };
            store.close().await;
            done
        })
    }
}

/// Acknowledges an incident. If it latched, the heads above the own tree are forgotten: they are
/// part of its evidence now, and kept they would latch again whatever the log says next.
async fn acknowledge(store: &Store, id: i64) -> Result<(), Failure> {
    let open = store.incidents(true).await.map_err(store_failure)?;
    let Some(incident) = open.into_iter().find(|incident| incident.id == id) else {
        return Err(Failure::refused(
            "not_found",
            format!("there is no open incident {id}"),
            "run `diogenes-follower incident list`",
        ));
    };
    if incident.class == LATCHED {
        for head in store.kept_heads().await.map_err(store_failure)? {
            store.forget_head(head.tree_size, head.timestamp).await.map_err(store_failure)?;
        }
    }
    store.ack_incident(id, SystemClock.now()).await.map_err(store_failure)?;
    Ok(())
}

fn show(incidents: &[Row], json: bool) {
    if json {
        let list: Vec<_> = incidents
            .iter()
            .map(|incident| {
                serde_json::json!({
                    "id": incident.id, "kind": incident.kind, "subject": incident.subject,
                    "class": incident.class, "reason": incident.reason, "detail": incident.detail,
                    "opened_at": incident.opened_at, "acked_at": incident.acked_at,
                    "evidence_id": incident.evidence_id,
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(list));
        return;
    }
    if incidents.is_empty() {
        println!("No incident is open.");
    }
    for incident in incidents {
        println!(
            "{:>5}  {}  {:<9}  {}  {}: {}",
            incident.id,
            incident.opened_at,
            incident.class,
            incident.reason,
            incident.subject,
            incident.detail
        );
    }
}
