//! Where the node listens, who answers there, and who must use HTTPS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Check, Finding, or_ok};
use crate::config::Networks;

/// Who answers at the address of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// Nothing listens there.
    Nobody,
    /// A node does, or whatever answers `/healthz` as one does.
    Node,
    /// Something else listens, or it does not answer.
    Other(String),
}

/// The listener and what is known about the process behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// The address of the settings.
    pub(super) address: SocketAddr,
    /// Whether a process holds the data directory; `None` where that says nothing.
    pub(super) is_running: Option<bool>,
    /// Who answers.
    pub(super) answering: Answering,
}

/// Judges the listener.
pub(super) fn listener(found: &Listener) -> Finding {
    let (check, address) = (Check::Listener, found.address);
    match (&found.answering, found.is_running) {
        (Answering::Node, Some(false)) => Finding::fail(
            check,
            format!("a node answers at {address}, but none runs on this data directory"),
            "another node has this address: give one of them another --listen or --data-dir",
        ),
        (Answering::Node, _) => Finding::ok(check, format!("a node answers at {address}")),
        (Answering::Nobody, Some(true)) => Finding::fail(
            check,
            format!("a process holds the data directory, but nothing answers at {address}"),
            "if it was started with another --listen, give doctor the same settings; else read its \
             log",
        ),
        (Answering::Nobody, _) => {
            Finding::ok(check, format!("nothing listens at {address}: the node is not running"))
        }
        (Answering::Other(what), _) => Finding::fail(
            check,
            format!("what listens at {address} does not answer as a node does: {what}"),
            "stop the other program, or choose another --listen; if it is the node, read its log",
        ),
    }
}

/// The settings about HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Https {
    /// `DIOGENES_LISTEN`.
    pub(super) listen: SocketAddr,
    /// `ENFORCE_HTTPS`.
    pub(super) enforce: bool,
    /// `TRUSTED_PROXIES`.
    pub(super) trusted: Networks,
    /// Whether the node speaks TLS itself.
    pub(super) own_tls: bool,
}

/// Judges the settings about HTTPS.
pub(super) fn https(found: &Https) -> Vec<Finding> {
    let Https { listen, enforce, trusted, own_tls } = found;
    let (check, is_local) = (Check::Https, listen.ip().is_loopback());
    let mut findings = Vec::new();
    if *enforce && trusted.is_empty() && !own_tls && !is_local {
        findings.push(Finding::fail(
            check,
            format!("{listen} is open to the network, but nothing there speaks HTTPS"),
            "put a TLS proxy in front and name it in TRUSTED_PROXIES, or set TLS_CERT and TLS_KEY: \
             the node does not start before",
        ));
    }
    if !enforce {
        findings.push(Finding::warn(
            check,
            "ENFORCE_HTTPS is false: tokens and signatures may travel in clear",
            "leave it true beyond a lab",
        ));
    }
    if trusts_everybody(trusted) {
        findings.push(Finding::fail(
            check,
            "TRUSTED_PROXIES trusts everybody: any client can choose its own address",
            "name the addresses of your proxies alone, like 10.0.0.5",
        ));
    }
    let message = match (own_tls, trusted.is_empty()) {
        (true, _) => "enforced; the node speaks TLS itself".to_owned(),
        (false, false) => format!("enforced; proxies at {trusted} are believed"),
        (false, true) => "enforced; only this machine reaches the node without it".to_owned(),
    };
    or_ok(findings, check, message)
}

fn trusts_everybody(trusted: &Networks) -> bool {
    // Documentation addresses of two far networks, which no proxy has.
    let far = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 1)];
    let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    far.into_iter().all(|ip| trusted.contains(IpAddr::V4(ip)))
        || trusted.contains(IpAddr::V6(documentation))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::config::Value as _;

    #[test]
    fn an_address_has_its_own_node_or_none() {
        use Answering::{Nobody, Node, Other};
        let other = Other("answered 404".to_owned());
        for (is_running, answering, expected) in [
            (Some(true), Node, Level::Ok),
            (Some(false), Nobody, Level::Ok),
            (Some(true), Nobody, Level::Fail),
            (Some(false), Node, Level::Fail),
            (Some(false), other.clone(), Level::Fail),
            (Some(true), other, Level::Fail),
            (None, Node, Level::Ok),
            (None, Nobody, Level::Ok),
        ] {
            let address = "127.0.0.1:8000".parse().unwrap();
            let found = Listener { address, is_running, answering };

            assert_eq!(listener(&found).level, expected, "{found:?}");
        }
    }

    #[test]
    fn https_is_judged_as_a_start_does_and_a_little_further() {
        let (local, open) = ("127.0.0.1:8000", "0.0.0.0:8000");
        for (listen, enforce, trusted, own_tls, expected) in [
            (local, true, "", false, Level::Ok),
            (open, true, "10.0.0.5", false, Level::Ok),
            (open, true, "", true, Level::Ok),
            (open, true, "", false, Level::Fail),
            (open, false, "", false, Level::Warn),
            (local, false, "", false, Level::Warn),
            (local, true, "0.0.0.0/0", false, Level::Fail),
            (local, true, "10.0.0.0/8,::/0", false, Level::Fail),
            (local, true, "10.0.0.0/8,fd00::/8", false, Level::Ok),
        ] {
            let (listen, trusted) = (listen.parse().unwrap(), Networks::parse(trusted).unwrap());
            let found = Https { listen, enforce, trusted, own_tls };

            let worst = https(&found).iter().map(|finding| finding.level).max();

            assert_eq!(worst, Some(expected), "{found:?}");
        }
    }
}
