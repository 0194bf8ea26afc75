//! `recover`: the way out of a database that is older than what its key signed.

use clap::Args;
use diogenes_common::backup::Bar;
use diogenes_common::client::BaseUrl;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATABASE_URL, Flags, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::shutdown;

use crate::peers;
use crate::recovery::{self, Recovered};

/// `recover`.
#[derive(Args)]
pub(super) struct Recover {
    /// A follower that holds what is missing.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with(&DATABASE_URL, self.database_url.as_ref())
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let source = BaseUrl::parse(&self.from, peers::reach(settings))?;
        let bar = Bar::new();
        let recovered = shutdown::block_on(Some(2), async {
            Ok(recovery::recover(settings, source, &SystemClock, &bar).await?)
        });
        drop(bar);
        self.print(&recovered?);
        Ok(())
    }

    fn print(&self, recovered: &Recovered) {
        let Recovered { from, to, sources } = recovered;
        if self.json {
            let summary = serde_json::json!({
                "old_tree_size": from, "new_tree_size": to.size, "root_hash": to.hash,
                "sources": sources,
            });
            println!("{summary}");
            return;
        }
        if *from == to.size {
            println!("Nothing is missing: {from} entries, root {}", to.hash);
        } else {
            println!("{from} -> {}: root {}", to.size, to.hash);
            println!("Fetched and verified: {} entries", to.size.get() - from.get());
        }
        println!("signed-guard names that size now; start the leader as usual.");
        println!("A larger head that nobody showed can't be excluded: name every node that may");
        println!("have one in DIOGENES_PEERS.");
    }
}
