//! A client that trusts one certificate and sends what it is told to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection over TLS.
pub(super) struct Connection(TlsStream<TcpStream>);

impl Connection {
    /// Shakes hands with who shows the certificate of this file, in any version of TLS.
    pub(super) async fn open(address: SocketAddr, cert: &Path) -> std::io::Result<Self> {
        Self::open_with(address, cert, rustls::ALL_VERSIONS, b"http/1.1").await
    }

    /// The same in some versions, for one protocol.
    pub(super) async fn open_with(
        address: SocketAddr,
        cert: &Path,
        versions: &[&'static SupportedProtocolVersion],
        protocol: &[u8],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Self(connected))
    }

    /// The protocol that was agreed on.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    /// Asks once more on this connection, which stays open; answers head and body.
    pub(super) async fn ask(&mut self, method: &str, path: &str) -> std::io::Result<String> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: log.example\r\ncontent-length: 0\r\n\r\n");
        self.0.write_all(request.as_bytes()).await?;
        answer(&mut self.0).await
    }
}

/// Reads one answer of a connection that may stay open.
pub(super) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut answer = Vec::new();
    loop {
        if let Some(whole) = whole(&answer) {
            return Ok(whole);
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The answer, once as many bytes are there as its head announces.
fn whole(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() >= length.parse::<usize>().ok()?).then(|| text.clone().into_owned())
}
