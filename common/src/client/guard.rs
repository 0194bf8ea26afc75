//! Where a URL that a stranger chose may lead, so that nobody makes this node ask what only it can
//! reach (server-side request forgery).
//!
//! ```text
//! https, port 443 or 8443     every address of the name must be public, or lie in a listed network
//! plain http, or another port every address of the name must lie in a listed network
//! ```
//!
//! A name is looked up once for a connection, each of its addresses is judged, and the connection
//! goes to one of these: a name that answers something else the next time gains nothing.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{is_public, literal};
use crate::config::Networks;

/// The longest URL of a target.
pub const MAX_URL_BYTES: usize = 2_048;

/// The ports of https that are taken without being listed.
const PORTS: [u16; 2] = [443, 8443];

/// What the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Networks that may be reached whatever else holds, by plain http and on any port as well.
    pub listed: Networks,
    /// Whether https may lead to addresses of private networks.
    pub allow_private: bool,
    /// An address on which this node itself listens.
    pub own: Option<IpAddr>,
}

/// What a URL may lead to, by how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ground {
    /// Public addresses, or listed ones.
    Public,
    /// Listed addresses alone.
    Listed,
}

/// A URL that may be dialled, as far as its text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    ground: Ground,
}

/// Why a URL is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read, or is no place on the web.
    #[error("a URL reads like https://receiver.example/hook, in at most 2,048 bytes")]
    NotAUrl,
    /// Plain http to where that is not allowed.
    #[error("a URL must be https (the operator can list networks where http will do)")]
    NotHttps,
    /// A port on which no https is expected.
    #[error("a URL must use port 443 or 8443 (the operator can list networks for others)")]
    Port,
    /// It holds a user or a password.
    #[error("a URL must not hold a user or a password")]
    UserInfo,
    /// It holds a fragment, which no server sees.
    #[error("a URL must not hold a fragment")]
    Fragment,
    /// It names an address that may not be dialled.
    #[error(transparent)]
    Address(#[from] Refused),
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no address of the open internet.
    #[error("the URL does not lead to a public address")]
    NotPublic,
    /// It is not in the networks that plain http and other ports are for.
    #[error("the URL leads to an address that only https on port 443 or 8443 may reach")]
    NotListed,
    /// This node itself.
    #[error("the URL leads to this node itself")]
    Own,
    /// The name has no address.
    #[error("the name of the URL has no address")]
    NoAddress,
}

impl Target {
    /// Reads a URL; an address in it is judged at once, a name when it is dialled.
    pub fn parse(text: &str, rules: &Rules) -> Result<Self, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::NotAUrl);
        }
        let url: Url = text.parse().map_err(|_| TargetError::NotAUrl)?;
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(TargetError::NotAUrl);
        }
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError::NotAUrl),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        let host = url.host_str().ok_or(TargetError::NotAUrl)?;
        let port = url.port_or_known_default().ok_or(TargetError::NotAUrl)?;
        let is_usual = is_https && PORTS.contains(&port);
        let ground = if is_usual { Ground::Public } else { Ground::Listed };
        if ground == Ground::Listed && rules.listed.is_empty() {
            return Err(if is_https { TargetError::Port } else { TargetError::NotHttps });
        }
        if let Some(address) = literal(host) {
            judge(address, ground, rules)?;
        }
        Ok(Self { url, ground })
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// What it may lead to.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says whether an address may be dialled.
pub fn judge(address: IpAddr, ground: Ground, rules: &Rules) -> Result<(), Refused> {
    let address = address.to_canonical();
    if rules.listed.contains(address) {
        return Ok(());
    }
    if ground == Ground::Listed {
        return Err(Refused::NotListed);
    }
    if rules.own == Some(address) {
        return Err(Refused::Own);
    }
    if is_public(address) || (rules.allow_private && is_private(address)) {
        return Ok(());
    }
    Err(Refused::NotPublic)
}

/// Says whether the address is one of a site's own network: not this machine, nor the link, where
/// clouds keep their secrets.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Looks names up, and answers addresses only if each of them may be dialled.
pub(super) struct Guard {
    pub(super) rules: Arc<Rules>,
    pub(super) ground: Ground,
    pub(super) names: Arc<dyn Resolve>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, ground) = (self.rules.clone(), self.ground);
        let looking = self.names.resolve(name);
        Box::pin(async move {
            let found: Vec<_> = looking.await?.collect();
            if found.is_empty() {
                return Err(Refused::NoAddress.into());
            }
            for address in &found {
                judge(address.ip(), ground, &rules)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value as _;

    fn networks(text: &str) -> Networks {
        Networks::parse(text).unwrap()
    }

    fn rules(listed: &str, allow_private: bool) -> Rules {
        Rules { listed: networks(listed), allow_private, own: "192.0.9.9".parse().ok() }
    }

    #[test]
    fn only_addresses_of_the_open_internet_are_dialled() {
        let table = [
            ("93.184.216.34", Ok(())),
            ("2606:2800:220:1::1", Ok(())),
            ("192.0.9.9", Err(Refused::Own)),
            ("::ffff:192.0.9.9", Err(Refused::Own)),
            ("0.0.0.0", Err(Refused::NotPublic)),
            ("0.1.2.3", Err(Refused::NotPublic)),
            ("10.0.0.1", Err(Refused::NotPublic)),
            ("100.64.0.1", Err(Refused::NotPublic)),
            ("100.127.255.255", Err(Refused::NotPublic)),
            ("100.128.0.1", Ok(())),
            ("127.0.0.1", Err(Refused::NotPublic)),
            ("127.255.0.1", Err(Refused::NotPublic)),
            ("169.254.169.254", Err(Refused::NotPublic)),
            ("172.16.0.1", Err(Refused::NotPublic)),
            ("172.32.0.1", Ok(())),
            ("192.0.0.1", Err(Refused::NotPublic)),
            ("192.0.2.1", Err(Refused::NotPublic)),
            ("192.88.99.1", Err(Refused::NotPublic)),
            ("192.168.1.1", Err(Refused::NotPublic)),
            ("198.18.0.1", Err(Refused::NotPublic)),
            ("198.51.100.1", Err(Refused::NotPublic)),
            ("203.0.113.1", Err(Refused::NotPublic)),
            ("224.0.0.1", Err(Refused::NotPublic)),
            ("240.0.0.1", Err(Refused::NotPublic)),
            ("255.255.255.255", Err(Refused::NotPublic)),
            ("::", Err(Refused::NotPublic)),
            ("::1", Err(Refused::NotPublic)),
            ("::127.0.0.1", Err(Refused::NotPublic)),
            ("::ffff:127.0.0.1", Err(Refused::NotPublic)),
            ("::ffff:169.254.169.254", Err(Refused::NotPublic)),
            ("64:ff9b::7f00:1", Err(Refused::NotPublic)),
            ("64:ff9b::a9fe:a9fe", Err(Refused::NotPublic)),
            ("64:ff9b::5db8:d822", Ok(())),
            ("64:ff9b:1::1", Err(Refused::NotPublic)),
            ("100::1", Err(Refused::NotPublic)),
            ("2001::1", Err(Refused::NotPublic)),
            ("2001:2::1", Err(Refused::NotPublic)),
            ("2001:20::1", Err(Refused::NotPublic)),
            ("2001:db8::1", Err(Refused::NotPublic)),
            ("2002:7f00:1::1", Err(Refused::NotPublic)),
            ("2002:a9fe:a9fe::1", Err(Refused::NotPublic)),
            ("3fff::1", Err(Refused::NotPublic)),
            ("fc00::1", Err(Refused::NotPublic)),
            ("fd00:ec2::254", Err(Refused::NotPublic)),
            ("fe80::1", Err(Refused::NotPublic)),
            ("ff02::1", Err(Refused::NotPublic)),
        ];
        for (address, expected) in table {
            let judged = judge(address.parse().unwrap(), Ground::Public, &rules("", false));
            assert_eq!(judged, expected, "{address}");
        }
    }

    #[test]
    fn an_operator_opens_private_networks_but_never_the_machine_or_the_link() {
        let open = rules("", true);
        for (address, expected) in [
            ("10.1.2.3", Ok(())),
            ("192.168.1.1", Ok(())),
            ("::ffff:10.1.2.3", Ok(())),
            ("fd00::1", Ok(())),
            ("127.0.0.1", Err(Refused::NotPublic)),
            ("169.254.169.254", Err(Refused::NotPublic)),
            ("fe80::1", Err(Refused::NotPublic)),
            ("100.64.0.1", Err(Refused::NotPublic)),
        ] {
            assert_eq!(
                judge(address.parse().unwrap(), Ground::Public, &open),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn plain_http_and_other_ports_lead_to_listed_networks_alone() {
        let lab = rules("127.0.0.0/8", true);
        for (address, expected) in [
            ("127.0.0.1", Ok(())),
            ("::ffff:127.0.0.1", Ok(())),
            ("10.0.0.1", Err(Refused::NotListed)),
            ("93.184.216.34", Err(Refused::NotListed)),
        ] {
            assert_eq!(
                judge(address.parse().unwrap(), Ground::Listed, &lab),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn a_url_is_judged_by_its_text_as_far_as_that_goes() {
        let long = format!("https://receiver.example/{}", "a".repeat(MAX_URL_BYTES));
        let longer_when_written_out =
            format!("https://receiver.example/{}", " ".repeat(MAX_URL_BYTES / 2)) + "x";
        let not_public = || Err(TargetError::Address(Refused::NotPublic));
        for (text, expected) in [
            ("https://receiver.example/hook?key=1", Ok(Ground::Public)),
            ("https://receiver.example:8443/", Ok(Ground::Public)),
            ("https://93.184.216.34/", Ok(Ground::Public)),
            ("https://receiver.example:22/", Err(TargetError::Port)),
            ("http://receiver.example/", Err(TargetError::NotHttps)),
            ("ftp://receiver.example/", Err(TargetError::NotAUrl)),
            ("receiver.example", Err(TargetError::NotAUrl)),
            (&long, Err(TargetError::NotAUrl)),
            (&longer_when_written_out, Err(TargetError::NotAUrl)),
            ("https://u@receiver.example/", Err(TargetError::UserInfo)),
            ("https://:p@receiver.example/", Err(TargetError::UserInfo)),
            ("https://receiver.example/#here", Err(TargetError::Fragment)),
            ("https://127.0.0.1/", not_public()),
            ("https://2130706433/", not_public()),
            ("https://0x7f.1/", not_public()),
            ("https://169.254.169.254/latest/meta-data", not_public()),
            ("https://[::1]/", not_public()),
            ("https://[::ffff:127.0.0.1]/", not_public()),
        ] {
            let parsed = Target::parse(text, &rules("", false)).map(|target| target.ground());
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn where_networks_are_listed_a_name_may_lead_there_by_http() {
        let lab = rules("127.0.0.0/8", false);
        for (text, expected) in [
            ("http://receiver.example:8080/", Ok(Ground::Listed)),
            ("http://127.0.0.1:8080/", Ok(Ground::Listed)),
            ("https://127.0.0.1/", Ok(Ground::Public)),
            ("http://10.0.0.1/", Err(TargetError::Address(Refused::NotListed))),
        ] {
            assert_eq!(Target::parse(text, &lab).map(|target| target.ground()), expected, "{text}");
        }
    }
}
