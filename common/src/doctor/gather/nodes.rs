//! What other nodes answer, and what this one answers through its public URL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::{DATE, HeaderMap, STRICT_TRANSPORT_SECURITY};

use super::super::clock::http_date;
use super::super::nodes::{Answered, NodeAnswer};
use super::super::public::{self, Passed, Public};
use super::super::{Check, Finding};
use super::{NODE, within};
use crate::client::{BaseUrl, Client, FetchError, Reach};
use crate::clock::{Clock, Timestamp};
use crate::head::HeadJson;
use crate::merkle::Hash;
use crate::wire::node::WellKnown;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(4);

/// The most nodes that are asked.
const MAX_NODES: usize = 100;

/// The URLs among these texts that this node may dial, and what is wrong with the others.
pub fn urls(
    check: Check,
    texts: impl IntoIterator<Item = String>,
    reach: Reach,
) -> (Vec<BaseUrl>, Vec<Finding>) {
    let (mut urls, mut refused) = (Vec::new(), Vec::new());
    for text in texts {
        match BaseUrl::parse(&text, reach) {
            Ok(url) => urls.push(url),
            Err(error) => refused.push(Finding::fail(check, error.to_string(), "correct the URL")),
        }
    }
    (urls, refused)
}

/// Asks other nodes for a sign of life, their time and their log, all at once.
pub async fn ask(client: &Client, clock: &Arc<dyn Clock>, urls: &[BaseUrl]) -> Vec<NodeAnswer> {
    let asked = urls.iter().take(MAX_NODES).map(|url| async move {
        let answer = match tokio::time::timeout(NODE, ask_one(client, &**clock, url)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", NODE.as_secs())),
        };
        NodeAnswer { url: url.to_string(), answer }
    });
    join_all(asked).await
}

async fn ask_one(
    client: &Client,
    clock: &dyn Clock,
    url: &BaseUrl,
) -> Result<Answered, FetchError> {
    let alive = client.get(url, "/healthz").within(REQUEST).send().await?;
    let date = date(&alive.headers).map(|theirs| (theirs, clock.now()));
    let known = client.get(url, "/.well-known/diogenes").within(REQUEST).json::<WellKnown>().await;
    let Ok(known) = known else { return Ok(Answered { date, log: None, bad_head: None }) };
    let head = client.get(url, "/api/v1/log/sth").within(REQUEST).json::<HeadJson>().await;
    let operator = known.operator_public_key.fingerprint();
    // A node without a head yet shows none that could be wrong.
    let refused = head.ok().and_then(|head| {
        head.verify(&known.operator_public_key, &known.origin).err().map(|error| error.to_string())
    });
    Ok(Answered { date, log: Some((known.log_id, operator)), bad_head: refused })
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// Asks this node through its public URL; `own` is its log.
pub async fn public_url(
    client: &Client,
    url: &BaseUrl,
    own: Option<Hash>,
    enforce: bool,
) -> Vec<Finding> {
    within(Check::PublicUrl, NODE, async {
        let found = Public { url: url.to_string(), answer: through(client, url).await };
        public::public(&found, own, enforce)
    })
    .await
}

async fn through(client: &Client, url: &BaseUrl) -> Result<Passed, FetchError> {
    let answer = client.get(url, "/api/v1/health").within(REQUEST).send().await?;
    let known = client.get(url, "/.well-known/diogenes").within(REQUEST).json::<WellKnown>().await;
    Ok(Passed {
        has_hsts: answer.headers.contains_key(STRICT_TRANSPORT_SECURITY),
        log_id: known.ok().map(|known| known.log_id),
    })
}
