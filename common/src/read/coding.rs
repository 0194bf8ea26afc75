//! Content codings (RFC 9110 section 8.4): which one a client takes, and bytes in it.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

use super::answer::weighed;
use crate::server::problem::Problem;

/// How the bytes of an answer are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As they are.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The codings of tiles' bundles: what every client of the format knows.
pub(super) const FOR_BUNDLES: &[Coding] = &[Coding::Gzip];
/// The codings of replication batches, the better one first.
pub(super) const FOR_BATCHES: &[Coding] = &[Coding::Zstd, Coding::Gzip];

impl Coding {
    /// The first of the offered codings that the client takes by name or `*`; without such a
    /// header it gets the bytes as they are.
    pub(super) fn wanted(request: &HeaderMap, offered: &[Self]) -> Self {
        let entries: Vec<(&str, bool)> = weighed(request, &ACCEPT_ENCODING).collect();
        let takes = |coding: &&Self| {
            let named = |wanted: &str| {
                entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|e| e.1)
            };
            coding.name().and_then(named).or_else(|| named("*")).unwrap_or(false)
        };
        offered.iter().find(takes).copied().unwrap_or(Self::Identity)
    }

    /// Its name in headers; none for bytes as they are.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The value of `Content-Encoding`.
    pub(super) fn header(self) -> Option<HeaderValue> {
        self.name().map(HeaderValue::from_static)
    }

    /// Codes bytes.
    pub(super) fn encode(self, bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
        self.coded(bytes).map_err(|error| {
            tracing::error!(%error, "an answer could not be compressed");
            Problem::internal()
        })
    }

    /// Fast rather than small: the bytes are made for one answer.
    fn coded(self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(bytes),
            Self::Gzip => {
                let room = Vec::with_capacity(bytes.len() / 3);
                let mut encoder = GzEncoder::new(room, flate2::Compression::fast());
                encoder.write_all(&bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(&bytes, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn wanted(accept: &'static str) -> Coding {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
        Coding::wanted(&headers, FOR_BATCHES)
    }

    #[test]
    fn the_best_coding_that_the_client_takes_is_chosen() {
        assert_eq!(wanted("gzip, zstd"), Coding::Zstd);
        assert_eq!(wanted("gzip, deflate, br"), Coding::Gzip);
        assert_eq!(wanted("zstd;q=0, GZIP;q=0.1"), Coding::Gzip);
        assert_eq!(wanted("*"), Coding::Zstd);
        assert_eq!(wanted("*, zstd;q=0"), Coding::Gzip);
        for plain in ["", "identity", "br", "*;q=0", "gzip;q=0.000, zstd;q=0"] {
            assert_eq!(wanted(plain), Coding::Identity, "{plain}");
        }
        assert_eq!(Coding::wanted(&HeaderMap::new(), FOR_BATCHES), Coding::Identity);
    }

    #[test]
    fn coded_bytes_are_smaller_and_come_back() {
        let bytes = b"entry after entry after entry ".repeat(500);
        let gzip = Coding::Gzip.coded(bytes.clone()).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, bytes);
        let zstd = Coding::Zstd.coded(bytes.clone()).unwrap();
        assert_eq!(zstd::bulk::decompress(&zstd, bytes.len()).unwrap(), bytes);
        assert!(gzip.len() < bytes.len() / 10 && zstd.len() < bytes.len() / 10);
        assert_eq!(Coding::Identity.coded(bytes.clone()).unwrap(), bytes);
    }
}
