//! `fingerprint`: shows the key of this witness.

use diogenes_common::exit::Failure;

use super::{Bench, print_json};

#[derive(clap::Args)]
pub(super) struct Fingerprint {
    /// Print the full fingerprint.
    #[arg(long, conflicts_with = "vkey")]
    full: bool,
    /// Print the key as C2SP policies name it.
    #[arg(long)]
    vkey: bool,
}

impl Fingerprint {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let home = bench.home()?;
        let fingerprint = home.key().fingerprint();
        if bench.json {
            print_json(&serde_json::json!({
                "fingerprint": fingerprint,
                "short_fingerprint": fingerprint.short(),
                "cosigner": home.cosigner().as_str(),
                "vkey": home.vkey().to_string(),
                "public_key": home.key().public(),
            }));
        } else if self.vkey {
            println!("{}", home.vkey());
        } else if self.full {
            println!("Witness fingerprint: {fingerprint}");
        } else {
            println!("Witness fingerprint: {}", fingerprint.short());
        }
        Ok(())
    }
}
