//! The leader's scrub: who is asked for what is damaged.

use diogenes_common::client::{BaseUrl, Client, Reach};
use diogenes_common::config::{ALLOW_HTTP, PEERS, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::Role;
use diogenes_common::scrub::{Parts, Peers, ScrubTask};

use crate::app::App;

/// The scrub of a running leader, with the nodes of `DIOGENES_PEERS`.
pub(crate) fn task(settings: &Settings, app: &App) -> Result<ScrubTask, Failure> {
    let urls: Vec<String> = settings.value(&PEERS).iter().map(ToString::to_string).collect();
    let parts = Parts {
        reads: app.reads.clone(),
        peers: peers(settings, &urls)?,
        clock: app.clock.clone(),
        metrics: app.metrics.scrub.clone(),
        is_leader: true,
    };
    Ok(ScrubTask::new(settings, parts))
}

/// These nodes, which the operator chose.
pub(crate) fn peers(settings: &Settings, urls: &[String]) -> Result<Peers, Failure> {
    let reach = if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured };
    let client = Client::new(Role::Leader.name(), env!("CARGO_PKG_VERSION"), reach)?;
    let urls: Vec<BaseUrl> =
        urls.iter().map(|url| BaseUrl::parse(url, reach)).collect::<Result<_, _>>()?;
    Ok(Peers::new(client, move || urls.clone()))
}
