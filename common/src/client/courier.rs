//! Posts to URLs that strangers chose: what comes back is a status, nothing of the body.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::{Ground, Guard, Refused, Rules, Target};
use super::{NetworkFault, builder, fault, read, retry_after};
use crate::exit::Failure;

/// How long one delivery may take, from the look-up of the name to the end of the answer.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The most that is read of an answer's body, to keep the connection; it is thrown away.
const MAX_BODY: usize = 16 * 1024;

/// Delivers to [`Target`]s. Clones share connections.
#[derive(Clone, Debug)]
pub struct Courier {
    public: reqwest::Client,
    listed: reqwest::Client,
    patience: Duration,
}

/// What a receiver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status: any, a redirect included.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Why nothing was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The name leads to where this node does not go.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nothing came back, or it broke off.
    #[error(transparent)]
    Network(NetworkFault),
}

impl Courier {
    /// A courier under these rules, without redirects, cookies or proxies of the environment.
    pub fn new(role: &str, version: &str, rules: Rules) -> Result<Self, Failure> {
        let names: Arc<dyn Resolve> = Arc::new(SystemNames);
        Self::with_names(role, version, rules, &names, PATIENCE)
    }

    fn with_names(
        role: &str,
        version: &str,
        rules: Rules,
        names: &Arc<dyn Resolve>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let rules = Arc::new(rules);
        let client = |ground| {
            let guard = Guard { rules: rules.clone(), ground, names: names.clone() };
            let client = builder(role, version).dns_resolver(Arc::new(guard));
            client.pool_max_idle_per_host(2).build().map_err(|error| {
                Failure::unsafe_state("client", error, "check the certificates of this machine")
            })
        };
        Ok(Self { public: client(Ground::Public)?, listed: client(Ground::Listed)?, patience })
    }

    /// Posts once, without following anything.
    pub async fn post(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answered, Undelivered> {
        let client = match target.ground() {
            Ground::Public => &self.public,
            Ground::Listed => &self.listed,
        };
        let request = client.post(target.url()).headers(headers).body(body).timeout(self.patience);
        let response = request.send().await.map_err(|error| undelivered(&error))?;
        let retry_after = retry_after(response.headers());
        let answered = Answered { status: response.status().as_u16(), retry_after };
        // The status alone counts; a long body costs the connection.
        let _ = read(response, MAX_BODY).await;
        Ok(answered)
    }
}

fn undelivered(error: &reqwest::Error) -> Undelivered {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Undelivered::Refused(*refused);
        }
        cause = error.source();
    }
    Undelivered::Network(fault(error))
}

/// The machine's own resolver.
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
