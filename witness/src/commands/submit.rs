//! `submit`: one round, typed by hand.

use diogenes_common::exit::Failure;
use diogenes_common::head::Origin;
use diogenes_common::merkle::TreeRoot;
use diogenes_common::trace::Tracer;
use serde::Serialize;

use super::{Bench, LogArgs, print_json};
use crate::agent::{Delivery, Occasion, Round};
use crate::log::LogIdentity;
use crate::source::Submitted;

#[derive(clap::Args)]
pub(super) struct Submit {
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// What `submit --json` prints.
#[derive(Serialize)]
struct Shown {
    origin: Option<Origin>,
    first_contact: bool,
    tree: ShownTree,
    signed: Option<ShownDelivery>,
    resent: Option<ShownDelivery>,
    single_vantage: bool,
}

#[derive(Serialize)]
struct ShownTree {
    tree_size: u64,
    root_hash: String,
}

#[derive(Serialize)]
struct ShownDelivery {
    old_tree_size: u64,
    new_tree_size: u64,
    proof_id: Option<u64>,
    recorded: bool,
    answer: String,
}

impl Submit {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let home = bench.home()?;
        let mut agent = bench.agent(&home, &self.log.server, &self.log.trust.vantage)?;
        let (round, log) = bench.block_on(async {
            let round = Tracer::new()?.root().scope(Box::pin(agent.round(Occasion::Typed))).await?;
            Ok((round, agent.log().cloned()))
        })?;
        if bench.json {
            print_json(&Shown::new(&round, log.as_ref()));
            return Ok(());
        }
        if let (true, Some(log)) = (round.first_contact, &log) {
            print!("{}", introduction(log, bench.pin()?.is_some()));
        }
        if let Some(delivery) = &round.resent {
            println!("{}", sentence("An earlier proof was sent again", delivery));
        }
        match &round.signed {
            Some(delivery) => {
                println!("{} -> {}", delivery.old.size, delivery.new.size);
                println!("The proof is {}.", delivery.answer);
            }
            None => println!(
                "The log has not grown: this witness vouches for size {} already.",
                round.tree.size
            ),
        }
        if round.single_vantage {
            eprintln!("warning[single_vantage]: no vantage point could be compared with");
        }
        Ok(())
    }
}

/// Says whom this witness begins to trust.
fn introduction(log: &LogIdentity, is_pinned: bool) -> String {
    let why = if is_pinned { "as pinned" } else { "on first use, for ever" };
    format!(
        "The log is {} with the id {}.\nIts operator key {} is trusted {why}.\n",
        log.origin(),
        log.log_id(),
        log.operator_fingerprint(),
    )
}

fn sentence(what: &str, delivery: &Delivery) -> String {
    format!("{what}: {} -> {}, {}.", delivery.old.size, delivery.new.size, delivery.answer)
}

impl Shown {
    fn new(round: &Round, log: Option<&LogIdentity>) -> Self {
        let TreeRoot { size, hash } = round.tree;
        Self {
            origin: log.map(|log| log.origin().clone()),
            first_contact: round.first_contact,
            tree: ShownTree { tree_size: size.get(), root_hash: hash.to_string() },
            signed: round.signed.as_ref().map(ShownDelivery::new),
            resent: round.resent.as_ref().map(ShownDelivery::new),
            single_vantage: round.single_vantage,
        }
    }
}

impl ShownDelivery {
    fn new(delivery: &Delivery) -> Self {
        let proof_id = match delivery.answer {
            Submitted::Recorded { proof_id } => Some(proof_id),
            _ => None,
        };
        Self {
            old_tree_size: delivery.old.size.get(),
            new_tree_size: delivery.new.size.get(),
            proof_id,
            recorded: proof_id.is_some(),
            answer: delivery.answer.to_string(),
        }
    }
}
