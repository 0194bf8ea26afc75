//! The node's own TLS: one certificate with its key, exchanged while it serves.
//!
//! TLS 1.3 and 1.2, HTTP/1.1 alone. What is wrong with the files is found before the node listens,
//! and on a reload before anything is exchanged.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ConfigBuilder, InconsistentKeys, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock::{Clock, Timestamp};
use crate::config::{Settings, TLS_CERT, TLS_KEY};
use crate::exit::Failure;
use crate::files::{self, FileError};
use crate::reload::{Prepared, Reloadable};

/// What a listener shows who it is with. Clones share it, and what it is exchanged for.
#[derive(Clone)]
pub struct Tls {
    shown: Arc<RwLock<Arc<Identity>>>,
    clock: Arc<dyn Clock>,
}

/// A certificate whose key is held, and which is valid.
pub struct Identity {
    acceptor: TlsAcceptor,
    leaf: CertificateDer<'static>,
    expires: Timestamp,
}

/// Why there is no certificate to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One of the two settings stands alone.
    #[error("{set} is set, and {missing} is not")]
    OneOfTwo {
        /// The setting that is there.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The certificate's file cannot be read.
    #[error("TLS_CERT cannot be read: {}: {}", path.display(), io::Error::from(*kind))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The key's file cannot be read, or others may read it.
    #[error("TLS_KEY: {0}")]
    Key(FileError),
    /// The file is no chain of PEM certificates, the node's own first.
    #[error("TLS_CERT {} holds no certificate: {problem}", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file holds no private key that is known.
    #[error("TLS_KEY {} holds no private key: {problem}", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is another one's.
    #[error("the key in {} is not that of the certificate in {}", key.display(), cert.display())]
    OtherKey {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It was valid.
    #[error("the certificate in {} expired at {at}", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// It will be valid.
    #[error("the certificate in {} is not valid before {from}", path.display())]
    NotYet {
        /// Which file.
        path: PathBuf,
        /// From when on.
        from: Timestamp,
    },
}

/// The most that is read of a chain of certificates.
const MAX_CHAIN: u64 = 1024 * 1024;

/// An expiry this near is told as a warning.
const SOON_MILLIS: i64 = 7 * 24 * 3_600 * 1_000;

impl Tls {
    /// What the settings name; nothing if the node speaks plain HTTP.
    pub fn from_settings(
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, TlsError> {
        let Some(identity) = Identity::from_settings(settings, clock.now())? else {
            return Ok(None);
        };
        identity.tell(clock.now());
        Ok(Some(Self { shown: Arc::new(RwLock::new(Arc::new(identity))), clock }))
    }

    /// What is shown at the moment.
    pub fn identity(&self) -> Arc<Identity> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands, within this time.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let identity = self.identity();
        tokio::time::timeout(within, identity.acceptor.accept(stream)).await?
    }

    fn show(&self, identity: Identity) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.identity()).finish()
    }
}

impl Reloadable for Tls {
    fn takes(&self) -> &'static [&'static str] {
        const { &[TLS_CERT.row().name, TLS_KEY.row().name] }
    }

    fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure> {
        let now = self.clock.now();
        let Some(identity) = Identity::from_settings(settings, now)? else {
            return Ok(Prepared::needs_restart(self.takes()));
        };
        let is_another = identity.leaf != self.identity().leaf;
        let news = is_another.then(|| format!("certificate until {}", identity.expires));
        let tls = self.clone();
        Ok(Prepared::new(move || {
            identity.tell(now);
            tls.show(identity);
        })
        .with_news(news))
    }
}

impl Identity {
    /// Reads and checks the certificate and the key that the settings name, if they do.
    pub fn from_settings(settings: &Settings, now: Timestamp) -> Result<Option<Self>, TlsError> {
        let (cert, key) = (TLS_CERT.row().name, TLS_KEY.row().name);
        match (settings.value(&TLS_CERT), settings.value(&TLS_KEY)) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(TlsError::OneOfTwo { set: cert, missing: key }),
            (None, Some(_)) => Err(TlsError::OneOfTwo { set: key, missing: cert }),
            (Some(cert), Some(key)) => Self::read(&cert, &key, now).map(Some),
        }
    }

    /// Until when the certificate is valid.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    fn read(cert: &Path, key: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let chain = chain(cert)?;
        let secret = files::read_private(key).map_err(TlsError::Key)?;
        let no_key = |problem: String| TlsError::NoKey { path: key.to_owned(), problem };
        let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|e| no_key(e.to_string()))?;
        let leaf = chain[0].clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (from, expires) = validity(&leaf, &provider).map_err(|problem| {
            TlsError::NoCertificate { path: cert.to_owned(), problem: problem.to_string() }
        })?;
        if now < from {
            return Err(TlsError::NotYet { path: cert.to_owned(), from });
        }
        if now > expires {
            return Err(TlsError::Expired { path: cert.to_owned(), at: expires });
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(ConfigBuilder::<ServerConfig, _>::with_no_client_auth)
            .and_then(|config| config.with_single_cert(chain, secret))
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::OtherKey { cert: cert.to_owned(), key: key.to_owned() }
                }
                error => no_key(error.to_string()),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), leaf, expires })
    }

    /// Warns of a certificate that is about to expire.
    fn tell(&self, now: Timestamp) {
        if self.expires.millis_since(now) < SOON_MILLIS {
            tracing::warn!(
                expires = %self.expires,
                "the TLS certificate expires soon: renew it, then send SIGHUP"
            );
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The certificates of a file, of which there is one at least.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CHAIN).read_to_end(&mut pem))
        .map_err(|error| TlsError::Unreadable { path: path.to_owned(), kind: error.kind() })?;
    let none = |problem: String| TlsError::NoCertificate { path: path.to_owned(), problem };
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| none(error.to_string()))?;
    if chain.is_empty() { Err(none("there is no PEM of one".to_owned())) } else { Ok(chain) }
}

/// From when and until when a certificate is valid.
///
/// The library tells both only by what it refuses: a look from 1970 is too early, one from the
/// end of time too late.
fn validity(
    leaf: &CertificateDer<'_>,
    provider: &CryptoProvider,
) -> Result<(Timestamp, Timestamp), rustls::Error> {
    use CertificateError::{ExpiredContext, NotValidYetContext};
    use rustls::Error::InvalidCertificate;
    let parsed = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider.signature_verification_algorithms.all;
    let seen_at = |seconds| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let nobody = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], at, algorithms)
    };
    let instant = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let start = Timestamp::from_millis(0).expect("1970 is a time");
        start.plus_millis(seconds.saturating_mul(1_000))
    };
    let from = match seen_at(0) {
        Err(InvalidCertificate(NotValidYetContext { not_before, .. })) => instant(not_before),
        _ => instant(UnixTime::since_unix_epoch(Duration::ZERO)),
    };
    match seen_at(u64::MAX) {
        Err(InvalidCertificate(ExpiredContext { not_after, .. })) => Ok((from, instant(not_after))),
        Err(error) => Err(error),
        Ok(()) => Err(rustls::Error::General("it has no end".to_owned())),
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let what_to_do = match &error {
            TlsError::OneOfTwo { missing, .. } => format!("set {missing} too, or neither"),
            TlsError::Unreadable { .. } => "check the path and who may read it".to_owned(),
            TlsError::Key(FileError::TooOpen { path, .. }) => {
                format!("make sure that nobody read it, then: chmod 600 {}", path.display())
            }
            TlsError::Key(_) => "check the path; the user that runs the node reads it".to_owned(),
            TlsError::NoCertificate { .. } => {
                "give a chain in PEM, the node's own certificate first (fullchain.pem)".to_owned()
            }
            TlsError::NoKey { .. } => {
                "give a private key in PEM without a passphrase (privkey.pem)".to_owned()
            }
            TlsError::OtherKey { .. } => {
                "give the two files that were made together; was only one of them renewed?"
                    .to_owned()
            }
            TlsError::Expired { .. } => "renew the certificate".to_owned(),
            TlsError::NotYet { .. } => "check the clock of this machine".to_owned(),
        };
        Self::unsafe_state("tls_unusable", error, what_to_do)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock_system::SystemClock;
    use crate::config::{Environment, Flags};
    use crate::files::Role;

    /// A directory with both certificates and their keys, private as they have to be.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/tls");
            for name in ["one.cert.pem", "one.key.pem", "other.cert.pem", "other.key.pem"] {
                let to = directory.path().join(name);
                std::fs::copy(from.join(name), &to).unwrap();
                std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
            Self(directory)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn read(&self, cert: &str, key: &str) -> Result<Identity, TlsError> {
            Identity::read(&self.path(cert), &self.path(key), now())
        }

        fn settings(&self, pairs: &[(&str, &str)]) -> Settings {
            let named = pairs.iter().map(|(name, file)| {
                ((*name).to_owned(), self.path(file).to_str().unwrap().to_owned())
            });
            let home = [("HOME".to_owned(), "/h".to_owned())];
            let environment = Environment::of(named.chain(home));
            Settings::load(Role::Leader, Flags::new(), &environment).unwrap()
        }
    }

    fn now() -> Timestamp {
        "2030-01-01T00:00:00.000Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_with_its_key_is_taken_and_says_how_long_it_is_valid() {
        let files = Files::new();

        let identity = files.read("one.cert.pem", "one.key.pem").unwrap();

        assert_eq!(identity.expires().to_string(), "2126-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_named() {
        let files = Files::new();
        std::fs::write(files.path("junk"), "-----BEGIN").unwrap();
        std::fs::set_permissions(files.path("junk"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        std::fs::copy(files.path("one.key.pem"), files.path("open.key.pem")).unwrap();
        std::fs::set_permissions(
            files.path("open.key.pem"),
            std::fs::Permissions::from_mode(0o644),
        )
        .unwrap();
        let at = |cert: &str, key: &str, time: &str| {
            Identity::read(&files.path(cert), &files.path(key), time.parse().unwrap()).unwrap_err()
        };
        let in_2030 = |cert, key| at(cert, key, "2030-01-01T00:00:00.000Z");

        let faults = [
            in_2030("one.cert.pem", "other.key.pem"),
            in_2030("one.cert.pem", "open.key.pem"),
            in_2030("one.cert.pem", "junk"),
            in_2030("one.cert.pem", "nothing"),
            in_2030("junk", "one.key.pem"),
            in_2030("nothing", "one.key.pem"),
            at("one.cert.pem", "one.key.pem", "2200-01-01T00:00:00.000Z"),
            at("one.cert.pem", "one.key.pem", "2019-01-01T00:00:00.000Z"),
        ];

        assert!(matches!(faults[0], TlsError::OtherKey { .. }), "{faults:?}");
        assert!(matches!(faults[1], TlsError::Key(FileError::TooOpen { .. })), "{faults:?}");
        assert!(matches!(faults[2], TlsError::NoKey { .. }), "{faults:?}");
        assert!(matches!(faults[3], TlsError::Key(FileError::Io { .. })), "{faults:?}");
        assert!(matches!(faults[4], TlsError::NoCertificate { .. }), "{faults:?}");
        assert!(matches!(faults[5], TlsError::Unreadable { .. }), "{faults:?}");
        assert!(matches!(faults[6], TlsError::Expired { .. }), "{faults:?}");
        assert!(matches!(faults[7], TlsError::NotYet { .. }), "{faults:?}");
        for fault in faults {
            assert_eq!(Failure::from(fault).exit().code(), 78);
        }
    }

    #[test]
    fn both_settings_are_needed_or_none() {
        let files = Files::new();
        let identity = |pairs: &[(&str, &str)]| {
            Identity::from_settings(&files.settings(pairs), now()).map(|found| found.is_some())
        };
        let (cert, key) = (("TLS_CERT", "one.cert.pem"), ("TLS_KEY", "one.key.pem"));

        assert_eq!(identity(&[]), Ok(false));
        assert_eq!(identity(&[cert, key]), Ok(true));
        let alone = |set, missing| Err(TlsError::OneOfTwo { set, missing });
        assert_eq!(identity(&[cert]), alone("TLS_CERT", "TLS_KEY"));
        assert_eq!(identity(&[key]), alone("TLS_KEY", "TLS_CERT"));
    }

    #[test]
    fn another_certificate_is_shown_once_it_was_checked_and_not_before() {
        let files = Files::new();
        let pairs = [("TLS_CERT", "one.cert.pem"), ("TLS_KEY", "one.key.pem")];
        let settings = files.settings(&pairs);
        let tls = Tls::from_settings(&settings, Arc::new(SystemClock)).unwrap().unwrap();
        let first = tls.identity().leaf.clone();

        std::fs::copy(files.path("other.cert.pem"), files.path("one.cert.pem")).unwrap();
        assert!(tls.prepare(&settings).is_err(), "the key is still that of the first");
        std::fs::copy(files.path("other.key.pem"), files.path("one.key.pem")).unwrap();
        let prepared = tls.prepare(&settings).unwrap();
        assert_eq!(tls.identity().leaf, first);
        let news = prepared.take();

        assert_eq!(news.as_deref(), Some("certificate until 2126-01-01T00:00:00.000Z"));
        assert_ne!(tls.identity().leaf, first);
        assert!(tls.prepare(&settings).unwrap().take().is_none(), "the same again is no news");
        assert!(tls.prepare(&files.settings(&[])).unwrap().take().is_none());
        assert_ne!(tls.identity().leaf, first, "TLS is not switched off while the node runs");
    }
}
