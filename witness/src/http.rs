//! Speaks to the servers of a log over HTTP.

use bytes::Bytes;
use diogenes_common::client::{BaseUrl, Client, FetchError, Reach};
use diogenes_common::exit::Failure;
use http::Method;

use crate::source::{LogServer, Reply, Transport, Unreachable};

/// One server, and the connections to it.
#[derive(Clone, Debug)]
pub(crate) struct HttpServer {
    client: Client,
    url: BaseUrl,
    name: String,
}

/// Servers at these URLs, all reached with one client.
pub(crate) fn servers(
    urls: &[String],
    allow_http: bool,
) -> Result<Vec<LogServer<HttpServer>>, Failure> {
    let reach = if allow_http { Reach::ConfiguredHttp } else { Reach::Configured };
    let client = Client::new("witness", env!("CARGO_PKG_VERSION"), reach)?;
    let server = |url: &String| {
        let url = BaseUrl::parse(url, reach)
            .map_err(|error| Failure::usage(error, "give a URL like https://log.example"))?;
        let name = url.to_string();
        Ok(LogServer::new(HttpServer { client: client.clone(), url, name }))
    };
    urls.iter().map(server).collect()
}

impl Transport for HttpServer {
    fn server(&self) -> &str {
        &self.name
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Unreachable> {
        let mut asking = self.client.ask(method, &self.url, path);
        if let Some(body) = body {
            asking = asking.with_body("application/json", Bytes::from(body));
        }
        match asking.send().await {
            Ok(answer) => Ok(Reply { status: answer.status, body: answer.body }),
            Err(FetchError::Status(fault)) => Ok(Reply { status: fault.status, body: fault.body }),
            Err(error) => Err(Unreachable(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::exit::Exit;

    use super::*;

    #[test]
    fn a_url_that_is_not_dialled_is_a_fault_of_the_command_line() {
        for url in ["log.example", "http://log.example", "https://user@log.example"] {
            let refused = servers(&[url.to_owned()], false).map(drop);

            assert_eq!(refused.map_err(|failure| failure.exit()), Err(Exit::Usage), "{url}");
        }
    }
}
