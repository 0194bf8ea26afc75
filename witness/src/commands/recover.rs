//! `recover --forward`: the way out of a state that was lost.

use diogenes_common::exit::Failure;

use super::{Bench, LogArgs, print_json};

#[derive(clap::Args)]
pub(super) struct Recover {
    /// Move the state up to the largest tree that this key is known to have signed.
    #[arg(long, required = true)]
    forward: bool,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

impl Recover {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let home = bench.existing_home()?;
        let mut agent = bench.agent(&home, &self.log.server, &self.log.trust.vantage)?;
        let (old, new) = bench.block_on(async { Ok(agent.recover().await?) })?;
        if bench.json {
            print_json(&serde_json::json!({
                "old_tree_size": old.size,
                "new_tree_size": new.size,
                "root_hash": new.hash,
            }));
        } else if old == new {
            println!("Nobody holds a signature of this key beyond size {}.", old.size);
        } else {
            println!("{} -> {}", old.size, new.size);
            println!("The state stands where this key signed last, as far as anybody knows.");
        }
        eprintln!(
            "A larger signature that nobody showed cannot be excluded: a new key in an empty \
             directory is safest."
        );
        Ok(())
    }
}
