//! The certificate and the key of a TLS listener.

use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{Validity, validity};
use super::{Check, Finding};
use crate::clock::Timestamp;

/// A certificate that ends sooner should have been renewed.
const SOON_MS: i64 = 14 * 86_400_000;

/// Why two files do not make a TLS listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("TLS_CERT holds no certificate in PEM")]
    NoCertificate,
    #[error("the first certificate of TLS_CERT cannot be read")]
    BadCertificate,
    #[error("TLS_KEY holds no private key in PEM")]
    NoKey,
    #[error("TLS_KEY is not the key of the first certificate of TLS_CERT")]
    NotItsKey,
    #[error("TLS_KEY is of a kind that is not supported: {0}")]
    Unsupported(String),
}

/// Judges the contents of `TLS_CERT` and `TLS_KEY`.
pub fn tls(cert: &[u8], key: &[u8], now: Timestamp) -> Vec<Finding> {
    let check = Check::Tls;
    vec![match usable(cert, key) {
        Err(unusable) => Finding::fail(
            check,
            unusable.to_string(),
            "TLS_CERT is the chain (fullchain.pem), TLS_KEY the key that it was made for",
        ),
        Ok(valid) => in_time(valid, now),
    }]
}

/// Judges the permission bits of `TLS_KEY`, if they are not its owner's alone.
pub(super) fn key_mode(path: &Path, mode: u32) -> Option<Finding> {
    let (check, path) = (Check::Tls, path.display());
    let message = format!("TLS_KEY {path} is open to others (mode {mode:04o})");
    match mode & 0o077 {
        0 => None,
        group if group & 0o007 == 0 => Some(Finding::warn(
            check,
            message,
            format!("if the node alone needs it: chmod 600 {path}"),
        )),
        _ => Some(Finding::fail(
            check,
            message,
            format!("renew the certificate with a new key, and: chmod 600 {path}"),
        )),
    }
}

fn in_time(valid: Validity, now: Timestamp) -> Finding {
    let check = Check::Tls;
    let Validity { not_before, not_after } = valid;
    let days = not_after.millis_since(now) / 86_400_000;
    if now < not_before {
        return Finding::fail(
            check,
            format!("the certificate is not valid before {not_before}"),
            "check the own clock, then the certificate",
        );
    }
    if now > not_after {
        return Finding::fail(
            check,
            format!("the certificate ended on {not_after}"),
            "renew it, then: kill -HUP the node",
        );
    }
    if not_after.millis_since(now) < SOON_MS {
        return Finding::warn(
            check,
            format!("the certificate ends in {days} days, on {not_after}"),
            "renew it, then: kill -HUP the node; see why that did not happen by itself",
        );
    }
    Finding::ok(check, format!("the key fits, and the certificate is valid for {days} days"))
}

fn usable(cert: &[u8], key: &[u8]) -> Result<Validity, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Unusable::NoCertificate)?;
    let valid = validity(&chain[0]).ok_or(Unusable::BadCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::NoKey)?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(valid),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Unusable::NotItsKey),
        Err(rustls::Error::InvalidCertificate(_)) => Err(Unusable::BadCertificate),
        Err(other) => Err(Unusable::Unsupported(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// Valid from 2026-11-22 to 2036-11-19, and good for nothing but these tests.
    const CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgjCCASegAwIBAgIUM+CtcWFpEanDjyKgJyFcSyATVsEwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLbG9nLmV4YW1wbGUwHhcNMjYxMTIyMDQyMTA4WhcNMzYxMTE5
MDQyMTA4WjAWMRQwEgYDVQQDDAtsb2cuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABGsNeNIrHZX0lNCITi8wJwfEs7lFikEzsvaR2L7IRirKlKUvOx6p
F6nFmi5q+CjkIn+qlMFvuiuaHVNODXOCWX2jUzBRMB0GA1UdDgQWBBQDw6NlyMzl
w59Xdh8wrqVxCtwN/DAfBgNVHSMEGDAWgBQDw6NlyMzlw59Xdh8wrqVxCtwN/DAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCO12UcX7XxsRMuRGN0
vj187o7sYALRZPpApU4UVUpqYwIhAM07u9P2jWd1Nd9bX3AO2oBdLA5KlVdirfm+
rRqvdlNW
-----END CERTIFICATE-----
";
    /// Its key.
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUDRU4u3xRb96dfRX
8lpwsdh89Y/N1rMGylPVAuTypFuhRANCAARrDXjSKx2V9JTQiE4vMCcHxLO5RYpB
M7L2kdi+yEYqypSlLzseqRepxZouavgo5CJ/qpTBb7ormh1TTg1zgll9
-----END PRIVATE KEY-----
";
    /// The key of another certificate.
    const OTHER_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgasocoGuXMuTBPzBc
jBFUnUh1gCcq6UNSgp38h1Yu7rKhRANCAASCIlFy1eBbrkZ5kCbEOydGZvyt9Y7D
UahA0s/kaGyUK06lyUgbFUajmTmZsuL8kWNiH7C+SleLOM/2JtSsymwY
-----END PRIVATE KEY-----
";

    fn level(cert: &str, key: &str, now: &str) -> Level {
        let findings = tls(cert.as_bytes(), key.as_bytes(), now.parse().unwrap());
        assert_eq!(findings.len(), 1);
        findings[0].level
    }

    const DURING: &str = "2030-01-01T00:00:00.000Z";

    #[test]
    fn a_certificate_with_its_key_is_well_within_its_time() {
        for (now, expected) in [
            ("2026-11-21T00:00:00.000Z", Level::Fail),
            (DURING, Level::Ok),
            ("2036-11-10T00:00:00.000Z", Level::Warn),
            ("2036-11-20T00:00:00.000Z", Level::Fail),
        ] {
            assert_eq!(level(CERT, KEY, now), expected, "{now}");
        }
    }

    #[test]
    fn a_key_that_everybody_reads_is_a_failure() {
        let level = |mode| key_mode(Path::new("key.pem"), mode).map(|finding| finding.level);

        assert_eq!(level(0o600), None);
        assert_eq!(level(0o640), Some(Level::Warn));
        assert_eq!(level(0o644), Some(Level::Fail));
    }

    #[test]
    fn files_that_do_not_fit_are_told_apart() {
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for (cert, key, expected) in [
            ("", KEY, Unusable::NoCertificate),
            (KEY, KEY, Unusable::NoCertificate),
            (broken, KEY, Unusable::BadCertificate),
            (CERT, "", Unusable::NoKey),
            (CERT, CERT, Unusable::NoKey),
            (CERT, OTHER_KEY, Unusable::NotItsKey),
        ] {
            assert_eq!(usable(cert.as_bytes(), key.as_bytes()), Err(expected));
            assert_eq!(level(cert, key, DURING), Level::Fail);
        }
    }
}
