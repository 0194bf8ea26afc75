//! HTTP/1.1 written by hand, so that a test sends exactly the bytes it means and sees every header
//! of the answer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::contract;

/// How long a test waits for an answer; longer than the server's own patience.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request to be sent over a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    head: String,
    body: Option<Vec<u8>>,
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let (method, target) = (method.to_owned(), path.to_owned());
        Self { address, method, target, head, body: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let mut request = self.header("content-type", media_type);
        request.body = Some(bytes.into());
        request
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends it; an answer that the document of the API does not describe is a failure of its own.
    pub(crate) async fn send(self) -> Answer {
        let (method, target) = (self.method.clone(), self.target.clone());
        let answer = self.exchange().await;
        if let Err(lack) = contract::check(&method, &target, &answer) {
            panic!("{lack}: {answer}");
        }
        answer
    }

    async fn exchange(self) -> Answer {
        let mut bytes = self.head.into_bytes();
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.unwrap_or_default());
        exchange(self.address, &bytes).await.expect("an answer")
    }
}

/// Sends bytes as they are and reads the answer; the server may answer before it read them all.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    // A server that refuses early closes its side: what it said is still to be read.
    let (_, answer) = tokio::join!(writer.write_all(bytes), read(&mut reader));
    answer
}

/// Reads one answer up to the end of the connection.
pub(crate) async fn read(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match reader.read(&mut buffer).await {
                // A reset after the answer is how a server ends that did not read everything.
                Ok(0) | Err(_) => return,
                Ok(more) => bytes.extend_from_slice(&buffer[..more]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await?;
    parse(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("no answer: {text:?}"))
    })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&bytes[..end]).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked"));
    let body = if is_chunked { unchunked(rest)? } else { rest.to_vec() };
    Some(Answer { status, headers, body })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        rest = &rest[line + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}

impl Answer {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of a problem, after its whole shape was checked.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        assert_eq!(self.header("cache-control"), "no-store", "{self}");
        let body = self.json();
        let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(body["status"], self.status, "{self}");
        assert_eq!(body["type"], format!("urn:diogenes:problem:{code}"), "{self}");
        assert_eq!(body["error"]["message"], body["detail"], "{self}");
        for member in ["title", "detail", "instance"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self}");
        }
        let id = self.header("x-request-id");
        assert!(!id.is_empty() && body["instance"].as_str().unwrap().ends_with(id), "{self}");
        for error in body["errors"].as_array().into_iter().flatten() {
            assert!(error["pointer"].is_string() && error["detail"].is_string(), "{self}");
        }
        code
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(800).collect();
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}
