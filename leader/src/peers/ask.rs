//! Asking peers for the newest head that they know of our own key.
//!
//! ```text
//! GET /api/v1/log/sth              a follower: the head, or 503 `catching_up`: none yet
//! GET /<hex of the origin's SHA-256>/checkpoint    a witness (the one above is 404 there):
//!                                  the checkpoint, or 404 with "tree_size": 0: none yet
//! ```

use std::time::Duration;

use diogenes_common::client::{BaseUrl, Client, FetchError, Reach};
use diogenes_common::config::{ALLOW_HTTP, PEERS, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::Role;
use diogenes_common::merkle::Hash;
use tokio::task::JoinSet;

use super::own_signed::{Identity, OwnSigned};

/// How long one peer may take for all of its answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// The longest answer: a head with its checkpoint, or a checkpoint with its cosignatures.
const MAX_ANSWER: usize = 128 * 1024;

/// The nodes that an operator named as peers.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    client: Client,
    urls: Vec<BaseUrl>,
}

/// What one peer answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A statement of our own key.
    Own(Box<OwnSigned>),
    /// It has none yet.
    NoneYet,
    /// Something else, and what is wrong with it.
    Unusable {
        /// What is wrong.
        what: String,
        /// The answer's body.
        body: Vec<u8>,
    },
    /// Nothing that could be judged.
    Silent(String),
}

impl Peers {
    /// The peers of these settings, with the client that asks them.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, Failure> {
        let reach = reach(settings);
        let urls = settings.value(&PEERS);
        let urls = urls.iter().map(|url| BaseUrl::parse(url.as_str(), reach));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { client: client(settings)?, urls })
    }

    /// Where they are, in the operator's order.
    pub(crate) fn urls(&self) -> &[BaseUrl] {
        &self.urls
    }

    /// Asks those of them that `chosen` names, all at once; answers come as they arrive in time.
    ///
    /// A peer that is too slow is silent: nobody waits for it longer than for any other.
    pub(crate) async fn ask(&self, chosen: &[usize], identity: &Identity) -> Vec<(usize, Answer)> {
        let mut asked = JoinSet::new();
        for &index in chosen {
            let Some(url) = self.urls.get(index).cloned() else { continue };
            let (client, identity) = (self.client.clone(), identity.clone());
            asked.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, ask(&client, &url, &identity)).await;
                let silent = |_| Answer::Silent("it took too long".to_owned());
                (index, answer.unwrap_or_else(silent))
            });
        }
        asked.join_all().await
    }
}

/// Where the URLs of an operator may lead.
pub(crate) fn reach(settings: &Settings) -> Reach {
    if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured }
}

/// A client for URLs that this leader's operator chose.
pub(crate) fn client(settings: &Settings) -> Result<Client, Failure> {
    Client::new(Role::Leader.name(), env!("CARGO_PKG_VERSION"), reach(settings))
}

/// Asks one node, as a follower first and then as a witness.
pub(crate) async fn ask(client: &Client, url: &BaseUrl, identity: &Identity) -> Answer {
    let head = client.get(url, "/api/v1/log/sth").within(PATIENCE).up_to(MAX_ANSWER).send().await;
    match head {
        Ok(answer) => judge(OwnSigned::read_head(&answer.body, identity), &answer.body),
        Err(error) if error.status() == Some(404) => ask_witness(client, url, identity).await,
        Err(error) if error.code() == Some("catching_up") => Answer::NoneYet,
        Err(error) => failed(&error),
    }
}

async fn ask_witness(client: &Client, url: &BaseUrl, identity: &Identity) -> Answer {
    let path = format!("/{}/checkpoint", Hash::of(identity.origin.as_str().as_bytes()).to_hex());
    match client.get(url, &path).within(PATIENCE).up_to(MAX_ANSWER).send().await {
        Ok(answer) => judge(OwnSigned::read_checkpoint(&answer.body, identity), &answer.body),
        Err(FetchError::Status(fault)) if fault.status == 404 && says_none(&fault.body) => {
            Answer::NoneYet
        }
        Err(error) => failed(&error),
    }
}

/// Whether a witness says that it cosigned nothing of this log yet; one that does not know the log
/// says nothing about it.
fn says_none(body: &[u8]) -> bool {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem["tree_size"] == 0
}

fn judge(read: Result<OwnSigned, String>, body: &[u8]) -> Answer {
    match read {
        Ok(own) => Answer::Own(Box::new(own)),
        Err(what) => Answer::Unusable { what, body: body.to_vec() },
    }
}

fn failed(error: &FetchError) -> Answer {
    match error {
        FetchError::TooLarge { .. } | FetchError::BadBody(_) => {
            Answer::Unusable { what: error.to_string(), body: Vec::new() }
        }
        FetchError::Status(fault) if fault.status == 404 => {
            let what = "it serves neither this log nor its checkpoints".to_owned();
            Answer::Unusable { what, body: fault.body.to_vec() }
        }
        FetchError::Network { .. } | FetchError::Status(_) => Answer::Silent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_says_that_it_has_nothing_only_where_it_knows_the_log() {
        assert!(says_none(br#"{"error":{"code":"not_found"},"tree_size":0}"#));
        for other in
            [&b""[..], b"not found", br#"{"error":{"code":"not_found"}}"#, b"{\"tree_size\":7}"]
        {
            assert!(!says_none(other));
        }
    }
}
