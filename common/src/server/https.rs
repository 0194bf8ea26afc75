//! When a request counts as HTTPS, and whose address it comes from.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderName};
use http::uri::Authority;
use http::{Method, Uri};

use crate::config::{ENFORCE_HTTPS, Networks, Settings, TLS_CERT, TRUSTED_PROXIES};
use crate::exit::Failure;

/// Who must use HTTPS, and which peers may speak for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpsPolicy {
    enforce: bool,
    trusted: Networks,
    own_tls: bool,
}

/// What becomes of a request before anything else looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It came over HTTPS.
    Secure,
    /// It did not, and need not.
    Plain,
    /// 308 to this location.
    Redirect(String),
    /// 403 `https_required`.
    HttpsRequired,
    /// 400 `proxy_not_trusted`.
    ProxyNotTrusted,
}

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What monitors ask over plain HTTP.
const EXEMPT: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

impl HttpsPolicy {
    /// A policy.
    pub fn new(enforce: bool, trusted: Networks) -> Self {
        Self { enforce, trusted, own_tls: false }
    }

    /// The policy that the settings describe.
    pub fn from_settings(settings: &Settings) -> Self {
        Self::new(settings.value(&ENFORCE_HTTPS), settings.value(&TRUSTED_PROXIES))
            .with_own_tls(settings.value(&TLS_CERT).is_some())
    }

    /// The same for a listener that speaks TLS itself, so that every request comes over HTTPS; or
    /// for one that does not.
    #[must_use]
    pub fn with_own_tls(self, own_tls: bool) -> Self {
        Self { own_tls, ..self }
    }

    /// Refuses a listener that could never be reached over HTTPS although that is enforced.
    pub fn check_listener(&self, listen: SocketAddr) -> Result<(), Failure> {
        let is_reachable = self.own_tls || !self.trusted.is_empty();
        if !self.enforce || is_reachable || listen.ip().is_loopback() {
            return Ok(());
        }
        Err(Failure::unsafe_state(
            "https_unreachable",
            format!("{listen} is open to the network, but nothing there speaks HTTPS"),
            "set TLS_CERT and TLS_KEY, or put a TLS proxy in front and name it in TRUSTED_PROXIES, \
             or set ENFORCE_HTTPS=false",
        ))
    }

    /// Says whether the peer may speak for others.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(peer)
    }

    /// Judges a request by the listener, its peer and its headers.
    pub fn judge(&self, peer: IpAddr, method: &Method, uri: &Uri, headers: &HeaderMap) -> Ruling {
        if self.own_tls {
            return Ruling::Secure;
        }
        let forwarded = last_item(headers, &X_FORWARDED_PROTO);
        let is_https = forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        if is_https && self.trusts(peer) {
            return Ruling::Secure;
        }
        if !self.enforce || EXEMPT.contains(&uri.path()) {
            return Ruling::Plain;
        }
        let host = authority(uri, headers);
        if headers.contains_key(X_FORWARDED_PROTO) {
            // A request that says it was forwarded is not this machine's own.
            if !self.trusts(peer) {
                return Ruling::ProxyNotTrusted;
            }
        } else if peer.to_canonical().is_loopback() && host.as_ref().is_some_and(is_loopback_host) {
            return Ruling::Plain;
        }
        match host {
            Some(host) if matches!(*method, Method::GET | Method::HEAD) => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                Ruling::Redirect(format!("https://{}{path}", host.host()))
            }
            _ => Ruling::HttpsRequired,
        }
    }

    /// The client's address: the peer's, or what trusted proxies say, right-most untrusted hop
    /// first.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let mut hops = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(',').map(str::trim));
        while self.trusts(client) {
            match hops.next().and_then(parse_hop) {
                Some(hop) => client = hop,
                None => break,
            }
        }
        client
    }
}

/// The last item of a header that lists one item for each hop: the one that the peer wrote.
fn last_item<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip())).map(|a| a.to_canonical())
}

fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let named = uri
        .authority()
        .cloned()
        .or_else(|| headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok()))?;
    // No user info in a redirect, and no name that is empty.
    (!named.as_str().contains('@') && !named.host().is_empty()).then_some(named)
}

fn is_loopback_host(host: &Authority) -> bool {
    let name = host.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value;

    type Header = (&'static str, &'static str);

    const HTTPS: Header = ("x-forwarded-proto", "https");
    const HTTP: Header = ("x-forwarded-proto", "http");
    const BOTH: Header = ("x-forwarded-proto", "https, http");
    const PUBLIC: Header = ("host", "log.example:8000");
    const LOCAL: Header = ("host", "localhost:8000");
    const LOCAL_V6: Header = ("host", "[::1]:8000");
    const LOOKS_LOCAL: Header = ("host", "127.0.0.1.evil.example");
    const USER: Header = ("host", "x@evil.example");

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    fn policy(enforce: bool, trusted: &str) -> HttpsPolicy {
        HttpsPolicy::new(enforce, Networks::parse(trusted).unwrap())
    }

    fn redirect(to: &str) -> Ruling {
        Ruling::Redirect(to.to_owned())
    }

    #[test]
    fn https_is_enforced_as_documented() {
        let proxy = policy(true, "10.0.0.0/8");
        let (root, a) = (redirect("https://log.example/"), redirect("https://log.example/a"));
        let asked = redirect("https://log.example/a?b=c");
        let (plain, secure, required) = (Ruling::Plain, Ruling::Secure, Ruling::HttpsRequired);
        let cases: [(&str, &str, &[Header], &Ruling); 21] = [
            // A proxy that is trusted.
            ("10.1.1.1", "POST /a", &[PUBLIC, HTTPS], &secure),
            ("::ffff:10.1.1.1", "POST /a", &[PUBLIC, HTTPS], &secure),
            ("10.1.1.1", "GET /a?b=c", &[PUBLIC, HTTP], &asked),
            ("10.1.1.1", "GET /a", &[PUBLIC], &a),
            ("10.1.1.1", "GET /a", &[PUBLIC, BOTH], &a),
            // Strangers.
            ("192.0.2.1", "GET /a", &[PUBLIC], &a),
            ("192.0.2.1", "HEAD /", &[PUBLIC], &root),
            ("192.0.2.1", "POST /a", &[PUBLIC], &required),
            ("192.0.2.1", "GET /a", &[], &required),
            ("192.0.2.1", "GET /a", &[USER], &required),
            ("192.0.2.1", "POST /a", &[LOCAL], &required),
            ("192.0.2.1", "GET /a", &[PUBLIC, HTTPS], &Ruling::ProxyNotTrusted),
            ("192.0.2.1", "GET /a", &[PUBLIC, HTTP], &Ruling::ProxyNotTrusted),
            // Monitors.
            ("192.0.2.1", "GET /healthz", &[PUBLIC, HTTPS], &plain),
            ("192.0.2.1", "GET /readyz?verbose", &[PUBLIC], &plain),
            ("192.0.2.1", "GET /metrics", &[PUBLIC], &plain),
            // This machine.
            ("127.0.0.1", "POST /a", &[LOCAL], &plain),
            ("::1", "POST /a", &[LOCAL_V6], &plain),
            ("127.0.0.1", "GET /a", &[PUBLIC], &a),
            ("127.0.0.1", "GET /a", &[LOCAL, HTTPS], &Ruling::ProxyNotTrusted),
            ("127.0.0.1", "POST /a", &[LOOKS_LOCAL], &required),
        ];

        for (peer, request, pairs, expected) in cases {
            let (method, uri) = request.split_once(' ').unwrap();
            let ruling = proxy.judge(
                peer.parse().unwrap(),
                &method.parse().unwrap(),
                &uri.parse().unwrap(),
                &headers(pairs),
            );
            assert_eq!(ruling, *expected, "{request} of {peer} with {pairs:?}");
        }
    }

    #[test]
    fn without_enforcement_everything_is_served() {
        let request = headers(&[("x-forwarded-proto", "https")]);
        let judge = |policy: HttpsPolicy| {
            policy.judge(
                "192.0.2.1".parse().unwrap(),
                &Method::POST,
                &Uri::from_static("/a"),
                &request,
            )
        };

        assert_eq!(judge(policy(false, "")), Ruling::Plain);
        assert_eq!(judge(policy(false, "192.0.2.0/24")), Ruling::Secure);
    }

    #[test]
    fn the_client_is_the_right_most_hop_that_is_not_trusted() {
        let proxies = policy(true, "10.0.0.0/8");
        for (peer, forwarded, client) in [
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "1.2.3.4, junk, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
            ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
            ("::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let request = headers(&[("x-forwarded-for", forwarded)]);
            let found = proxies.client_ip(peer.parse().unwrap(), &request);
            assert_eq!(found.to_string(), client, "{peer} with {forwarded}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let request = headers(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8")]);

        let client = policy(true, "10.0.0.1").client_ip("10.0.0.1".parse().unwrap(), &request);

        assert_eq!(client.to_string(), "5.6.7.8");
    }

    #[test]
    fn an_open_listener_needs_a_proxy_or_a_decision() {
        let open = "0.0.0.0:8000".parse().unwrap();
        let local = "127.0.0.1:8000".parse().unwrap();

        assert_eq!(policy(true, "").check_listener(open).unwrap_err().exit().code(), 78);
        assert_eq!(policy(true, "").check_listener(local), Ok(()));
        assert_eq!(policy(true, "10.0.0.0/8").check_listener(open), Ok(()));
        assert_eq!(policy(false, "").check_listener(open), Ok(()));
        assert_eq!(policy(true, "").with_own_tls(true).check_listener(open), Ok(()));
    }

    #[test]
    fn whatever_comes_over_our_own_tls_is_https() {
        let own = policy(true, "").with_own_tls(true);
        for pairs in [&[PUBLIC][..], &[PUBLIC, HTTP], &[PUBLIC, HTTPS], &[]] {
            let stranger = "192.0.2.1".parse().unwrap();
            let ruling =
                own.judge(stranger, &Method::POST, &Uri::from_static("/a"), &headers(pairs));

            assert_eq!(ruling, Ruling::Secure, "{pairs:?}");
        }
    }
}
