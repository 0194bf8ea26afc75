//! A node as its clients see it: a URL, perhaps with a token.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use diogenes_common::batch::{Batch, Encoding, decode};
use diogenes_common::client::{BATCH_ANSWER, BaseUrl, Client, FetchError, Reach};
use diogenes_common::head::HeadJson;
use diogenes_common::wire::node::WellKnown;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A leader or follower, to ask.
#[derive(Clone, Debug)]
pub struct Node {
    base: BaseUrl,
    authority: String,
    address: SocketAddr,
    client: Client,
    token: Option<String>,
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers; none with an error.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let base = BaseUrl::parse(url, Reach::ConfiguredHttp)?;
        let url = base.join("/");
        let host = url.host_str().context("a URL with a host")?;
        let port = url.port_or_known_default().context("a URL with a port")?;
        let authority = format!("{host}:{port}");
        let address = authority.to_socket_addrs()?.next().context("the host has no address")?;
        let client = Client::new("tests", env!("CARGO_PKG_VERSION"), Reach::ConfiguredHttp)
            .map_err(|failure| anyhow::anyhow!("{}", failure.what()))?;
        Ok(Self { base, authority, address, client, token: None })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)
    }
}

impl Node {
    /// The node on this machine that listens at `address`.
    pub fn local(address: SocketAddr) -> Self {
        format!("http://{address}").parse().expect("an address is a URL")
    }

    /// The same node, asked with a token.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// Host and port, as the `Host` header has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and reads the answer, whatever its status; an error is a lost connection.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Reply, FetchError> {
        let mut asking = self.client.ask(method, &self.base, path).up_to(BATCH_ANSWER);
        if let Some(token) = &self.token {
            asking = asking.bearer(token);
        }
        if let Some((media_type, bytes)) = body {
            asking = asking.with_body(media_type, bytes);
        }
        match asking.send().await {
            Ok(answer) => Ok(Reply {
                status: answer.status,
                headers: answer.headers,
                body: answer.body.into(),
            }),
            Err(FetchError::Status(fault)) => {
                let headers = HeaderMap::new();
                Ok(Reply { status: fault.status, headers, body: fault.body.into() })
            }
            Err(other) => Err(other),
        }
    }

    /// GET, whatever the status.
    pub async fn get(&self, path: &str) -> Result<Reply, FetchError> {
        self.ask(Method::GET, path, None).await
    }

    /// GET of JSON that must succeed.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let reply = self.get(path).await?;
        ensure!(reply.is_success(), "GET {self}{path}: {reply}");
        serde_json::from_slice(&reply.body).with_context(|| format!("GET {self}{path}"))
    }

    /// POST of JSON, whatever the status.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply, FetchError> {
        let body = Some(("application/json", body.to_string().into_bytes()));
        self.ask(Method::POST, path, body).await
    }

    /// Appends one event; answers what the leader says of it.
    pub async fn append(&self, event_type: &str, payload: &Value) -> anyhow::Result<Value> {
        let event = serde_json::json!({ "event_type": event_type, "payload": payload });
        let reply = self.post("/api/v1/log/entries", &event).await?;
        ensure!(reply.status == 201, "{self}: {reply}");
        Ok(reply.json())
    }

    /// Appends events, one a line, all or none.
    pub async fn append_lines(&self, lines: Vec<u8>) -> anyhow::Result<Value> {
        let body = Some(("application/x-ndjson", lines));
        let reply = self.ask(Method::POST, "/api/v1/log/entries", body).await?;
        ensure!(reply.status == 201, "{self}: {reply}");
        Ok(reply.json())
    }

    /// The newest signed head, not verified.
    pub async fn head(&self) -> anyhow::Result<HeadJson> {
        self.read("/api/v1/log/sth").await
    }

    /// The size under the newest signed head.
    pub async fn size(&self) -> anyhow::Result<u64> {
        Ok(self.head().await?.tree_size.get())
    }

    /// What it says about itself.
    pub async fn well_known(&self) -> anyhow::Result<WellKnown> {
        self.read("/.well-known/diogenes").await
    }

    /// Whether it is ready.
    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_ok_and(|reply| reply.is_success())
    }

    /// The entries after an id, as many as one answer holds, not verified.
    pub async fn replicate(&self, after: u64) -> anyhow::Result<Batch> {
        let path = format!("/api/v1/log/replicate?after={after}&limit=10000");
        let binary = HeaderValue::from_static(Encoding::Binary.media_type());
        let mut asking =
            self.client.get(&self.base, &path).up_to(BATCH_ANSWER).header(ACCEPT, binary);
        if let Some(token) = &self.token {
            asking = asking.bearer(token);
        }
        let answer = asking.send().await.with_context(|| format!("GET {self}{path}"))?;
        let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let encoding = media_type.and_then(Encoding::from_media_type).context("no media type")?;
        decode(&answer.body, encoding).with_context(|| format!("GET {self}{path}"))
    }
}

/// A path of an OpenAPI document with all that it needs filled in: entry 1, its tile, and
/// this key.
pub fn concrete(path: &str, fingerprint: &str) -> String {
    let query = match path {
        "/api/v1/log/inclusion-proof" => "?entry_id=1",
        "/api/v1/log/consistency-proof" => "?first=1",
        "/api/v1/log/audit-trail" => "?start_date=2026-01-15",
        "/api/v1/keys/search" => "?pseudonym=a",
        _ => "",
    };
    let path = path.replace("{entry_id}", "1").replace("{id}", "1");
    let path = path.replace("{level}", "0").replace("{index}", "000.p/1");
    path.replace("{fingerprint}", fingerprint) + query
}

impl Reply {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of a problem; empty if the answer is none.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(500).collect();
        write!(f, "{} {body}", self.status)
    }
}
