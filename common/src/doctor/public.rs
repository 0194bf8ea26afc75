//! What clients see through the public URL: whether the proxy in front passes on what it must.

use super::{Check, Finding, or_ok};
use crate::client::FetchError;
use crate::merkle::Hash;

/// What came back through the public URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public {
    /// The URL.
    pub(super) url: String,
    /// The answer to a request that must be made over HTTPS.
    pub(super) answer: Result<Passed, FetchError>,
}

/// An answer of success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whether it says that browsers must keep to HTTPS.
    pub(super) has_hsts: bool,
    /// The log that is served there, if it says so.
    pub(super) log_id: Option<Hash>,
}

/// Judges a public URL; `own` is the log of this node, and `enforce` is `ENFORCE_HTTPS`.
pub(super) fn public(found: &Public, own: Option<Hash>, enforce: bool) -> Vec<Finding> {
    let (check, url) = (Check::PublicUrl, &found.url);
    let passed = match &found.answer {
        Ok(passed) => passed,
        Err(error) => return vec![refused(url, error)],
    };
    let mut findings = Vec::new();
    if let (Some(own), Some(theirs)) = (own, passed.log_id)
        && own != theirs
    {
        findings.push(Finding::fail(
            check,
            format!("{url} leads to another log ({theirs})"),
            "correct the name in DNS, or where the proxy sends requests",
        ));
    }
    if enforce && url.starts_with("https:") && !passed.has_hsts {
        findings.push(Finding::warn(
            check,
            format!("{url} answers without Strict-Transport-Security"),
            "let the proxy pass on the node's headers, and set X-Forwarded-Proto",
        ));
    }
    or_ok(findings, check, format!("{url} leads to this node"))
}

fn refused(url: &str, error: &FetchError) -> Finding {
    let check = Check::PublicUrl;
    match (error.status(), error.code()) {
        (_, Some("proxy_not_trusted")) => Finding::fail(
            check,
            format!("{url}: the node does not believe the proxy in front of it"),
            "add the proxy's address, as the node sees it, to TRUSTED_PROXIES",
        ),
        (Some(301 | 302 | 307 | 308), _) | (_, Some("https_required")) => Finding::fail(
            check,
            format!("{url} is sent back to itself: the node takes requests for plain http"),
            "let the proxy set X-Forwarded-Proto: https, and name it in TRUSTED_PROXIES",
        ),
        _ => Finding::fail(
            check,
            format!("{url} does not lead to this node: {error}"),
            "check DNS, the firewall, the certificate and the proxy, in this order",
        ),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Level;
    use super::*;
    use crate::client::{NetworkFault, StatusFault};

    fn status(status: u16, code: Option<&str>) -> FetchError {
        FetchError::Status(Box::new(StatusFault {
            status,
            code: code.map(str::to_owned),
            detail: None,
            retry_after: None,
            media_type: None,
            body: Bytes::new(),
        }))
    }

    fn judged(answer: Result<Passed, FetchError>) -> Finding {
        let found = Public { url: "https://log.example".to_owned(), answer };
        public(&found, Some(Hash::of(b"own")), true).remove(0)
    }

    #[test]
    fn a_proxy_that_passes_everything_on_is_well() {
        let passed = Passed { has_hsts: true, log_id: Some(Hash::of(b"own")) };

        assert_eq!(judged(Ok(passed.clone())).level, Level::Ok);
        assert_eq!(judged(Ok(Passed { log_id: None, ..passed })).level, Level::Ok);
    }

    #[test]
    fn each_mistake_of_a_proxy_has_its_own_advice() {
        let unreachable =
            FetchError::Network { host: "log.example".into(), kind: NetworkFault::Connect };
        for (answer, level, advice) in [
            (Err(status(400, Some("proxy_not_trusted"))), Level::Fail, "TRUSTED_PROXIES"),
            (Err(status(308, None)), Level::Fail, "X-Forwarded-Proto"),
            (Err(status(403, Some("https_required"))), Level::Fail, "X-Forwarded-Proto"),
            (Err(status(502, None)), Level::Fail, "proxy"),
            (Err(unreachable), Level::Fail, "DNS"),
            (
                Ok(Passed { has_hsts: true, log_id: Some(Hash::of(b"other")) }),
                Level::Fail,
                "where the proxy sends",
            ),
            (Ok(Passed { has_hsts: false, log_id: None }), Level::Warn, "headers"),
        ] {
            let finding = judged(answer);

            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.advice.as_ref().unwrap().contains(advice), "{finding:?}");
        }
    }
}
