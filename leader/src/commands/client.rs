//! How commands talk to a running leader.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use diogenes_common::client::{Asking, BATCH_ANSWER, BaseUrl, Client, FetchError, Reach};
use diogenes_common::config::{ALLOW_HTTP, DATA_DIR, OPERATOR_TOKEN, Secret, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, Role};
use diogenes_common::server::problem::Code;
use http::Method;
use http::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a leader listens unless told otherwise.
pub(super) const DEFAULT_LEADER: &str = "http://127.0.0.1:8000";
/// The token's file in the data directory.
const TOKEN_FILE: &str = "operator-token";

/// Which leader, and by which right.
#[derive(Args, Clone, Debug)]
pub(super) struct LeaderArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "The leader to talk to [default: http://127.0.0.1:8000]"
    )]
    server: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
}

/// Where the operator's token is.
#[derive(Args, Clone, Debug)]
pub(super) struct TokenArgs {
    /// The file with the operator's token [default: operator-token in the data directory].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A leader that commands talk to.
pub(super) struct Leader {
    client: Client,
    url: BaseUrl,
    token: Option<Secret>,
}

impl LeaderArgs {
    /// Whether the command line names the leader.
    pub(super) fn names_leader(&self) -> bool {
        self.server.is_some()
    }
}

impl Leader {
    /// The leader of the flags.
    pub(super) fn connect(args: &LeaderArgs, settings: &Settings) -> Result<Self, Failure> {
        let url = args.server.as_deref().unwrap_or(DEFAULT_LEADER);
        Self::at(url, &args.token, settings)
    }

    /// The leader at this URL.
    pub(super) fn at(url: &str, token: &TokenArgs, settings: &Settings) -> Result<Self, Failure> {
        let reach =
            if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured };
        let url = BaseUrl::parse(url, reach).map_err(|error| {
            Failure::usage(error, "name the leader, for example http://127.0.0.1:8000")
        })?;
        let client = Client::new(Role::Leader.name(), env!("CARGO_PKG_VERSION"), reach)?;
        Ok(Self { client, url, token: read_token(token, settings)? })
    }

    /// GET of JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path).json().await.map_err(|error| self.failure(&error))
    }

    /// GET of JSON that may be as large as a batch of entries.
    pub(super) async fn get_batch<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let asking = self.ask(Method::GET, path).up_to(BATCH_ANSWER);
        asking.json().await.map_err(|error| self.failure(&error))
    }

    /// GET of bytes, at most so many.
    pub(super) async fn bytes(&self, path: &str, limit: usize) -> Result<Vec<u8>, Failure> {
        let asking = self.ask(Method::GET, path).up_to(limit).compressed();
        let answer = asking.send().await.map_err(|error| self.failure(&error))?;
        Ok(answer.body.into())
    }

    /// POST of an empty JSON object, answered by JSON after so long at most.
    pub(super) async fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        time: Duration,
    ) -> Result<T, Failure> {
        let asking = self.ask(Method::POST, path).within(time);
        let asking = asking.with_body("application/json", &b"{}"[..]);
        asking.json().await.map_err(|error| self.failure(&error))
    }

    /// POST of JSON, answered by JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send(Method::POST, path, body).await.map(|(_, answer)| answer)
    }

    /// POST or PUT of JSON, answered by a status and JSON.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(u16, T), Failure> {
        let asking = self.ask(method, path).with_json(body);
        self.answer(asking).await.map_err(|error| self.failure(&error))
    }

    /// DELETE, answered by JSON; `None` if there is nothing of that name.
    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, Failure> {
        match self.answer(Ok(self.ask(Method::DELETE, path))).await {
            Ok((_, answer)) => Ok(Some(answer)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// POST of NDJSON, answered by JSON.
    pub(super) async fn post_ndjson<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
        idempotency_key: Option<&str>,
    ) -> Result<T, Failure> {
        let mut asking = self.ask(Method::POST, path).with_body("application/x-ndjson", body);
        if let Some(key) = idempotency_key {
            let value = HeaderValue::try_from(format!("\"{key}\"")).map_err(|error| {
                Failure::usage(error, "use letters, digits and dashes in --idempotency-prefix")
            })?;
            asking = asking.header(HeaderName::from_static("idempotency-key"), value);
        }
        asking.json().await.map_err(|error| self.failure(&error))
    }

    fn ask(&self, method: Method, path: &str) -> Asking {
        let asking = self.client.ask(method, &self.url, path);
        match &self.token {
            Some(token) => asking.bearer(token.expose()),
            None => asking,
        }
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        asking: Result<Asking, FetchError>,
    ) -> Result<(u16, T), FetchError> {
        let answer = asking?.send().await?;
        let value = serde_json::from_slice(&answer.body)
            .map_err(|error| FetchError::BadBody(error.to_string()))?;
        Ok((answer.status, value))
    }

    /// What went wrong and what to do, in two lines.
    fn failure(&self, error: &FetchError) -> Failure {
        let FetchError::Status(fault) = error else {
            let (what, what_to_do) = match error {
                FetchError::Network { .. } => (
                    format!("no answer from {}: {error}", self.url),
                    "start the leader, or name it",
                ),
                _ => (format!("{}: {error}", self.url), "check that this is a Diogenes leader"),
            };
            return Failure::refused("unreachable", what, what_to_do);
        };
        let code = fault.code.as_deref().and_then(Code::from_name);
        let what = match &fault.detail {
            Some(detail) => detail.clone(),
            None => format!("{} answered {}", self.url, fault.status),
        };
        Failure::refused(code.map_or("refused", Code::as_str), what, help(code, fault.status))
    }
}

fn help(code: Option<Code>, status: u16) -> &'static str {
    match code {
        Some(Code::Unauthorized) => {
            "give --data-dir or --token-file of that leader; its operator-token is the right one"
        }
        Some(Code::KeyHasOtherRole) => "make a key of its own for each role",
        Some(Code::SigningPaused) => "the leader's log and its /readyz say why it does not sign",
        Some(Code::ReadOnlyFollower) => "name the leader itself with --server",
        Some(Code::NotFound) => {
            "see what there is: operator list-followers, list-witnesses, pending"
        }
        Some(_) if status < 500 => "correct the request and try again",
        Some(_) => "try again in a moment",
        None => "check that this is a Diogenes leader",
    }
}

/// The token: of the flag's file, else of the settings, else of the data directory if it has one.
fn read_token(args: &TokenArgs, settings: &Settings) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &args.token_file {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::usage(
                format!("can't read {}: {error}", path.display()),
                "name the file with the operator's token",
            )
        })?;
        return Ok(Some(Secret::new(text.trim().to_owned())));
    }
    if let Some(secret) = settings.value(&OPERATOR_TOKEN) {
        return Ok(Some(secret));
    }
    in_data_dir(&settings.value(&DATA_DIR))
}

/// Without a token a request still goes out: reads and open logs need none.
fn in_data_dir(data_dir: &Path) -> Result<Option<Secret>, Failure> {
    match files::read_private(&data_dir.join(TOKEN_FILE)) {
        Ok(bytes) => Ok(Some(Secret::new(String::from_utf8_lossy(&bytes).trim().to_owned()))),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
