//! `set-profile`: how this witness wants to be shown.

use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::exit::Failure;
use diogenes_common::statement::{ProfileClaim, ProfileType};

use super::{Bench, print_json};
use crate::agent::RoundError;

#[derive(clap::Args)]
pub(super) struct SetProfile {
    /// The name to show.
    #[arg(long, value_name = "NAME")]
    display_name: String,
    /// A server of the log.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The URL of this witness to show beside its name; never dialled.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What kind of profile this is.
    #[arg(long = "type", value_name = "TYPE", default_value = "witness", value_parser = ["witness"])]
    _kind: String,
}

impl SetProfile {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let display_name = Name::try_from(self.display_name.clone())
            .map_err(|error| Failure::usage(error, "choose another --display-name"))?;
        let url = self.url.clone().map(ServerUrl::try_from).transpose();
        let server = url.map_err(|error| Failure::usage(error, "choose another --url"))?;
        let home = bench.existing_home()?;
        let mut agent = bench.agent(&home, &self.server, &[])?;
        let profile = bench.block_on(async {
            let claim = ProfileClaim {
                display_name,
                fingerprint: home.key().fingerprint(),
                origin: agent.identify().await?.origin().clone(),
                server,
                timestamp: bench.clock.now(),
                kind: ProfileType::Witness,
            };
            let profile = home.sign_profile(claim);
            agent.server().set_profile(&profile).await.map_err(RoundError::from)?;
            Ok(profile)
        })?;
        if bench.json {
            print_json(&profile);
        } else {
            println!("This witness is shown as \"{}\" by {}.", profile.display_name, self.server);
        }
        Ok(())
    }
}
