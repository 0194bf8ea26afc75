//! "Check it yourself": commands with this log's real values, to be copied.

use http::HeaderMap;
use http::header::HOST;

use crate::read::reads::Facts;

/// Who the log is, and how anybody can check it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) origin: String,
    pub(super) log_id: String,
    pub(super) operator: String,
    pub(super) commands: Vec<Command>,
}

/// A command, and what it is good for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) about: &'static str,
    pub(super) text: String,
}

/// What stands for a URL that the browser did not tell.
const SOME_URL: &str = "URL_OF_THIS_PAGE";

/// The commands for a log; `None` while it is not known which it is.
pub(super) fn check(facts: &Facts, headers: &HeaderMap, entry: Option<u64>) -> Option<Check> {
    let log = facts.log.as_ref()?;
    let url = own_url(headers).unwrap_or_else(|| SOME_URL.to_owned());
    let (log_id, operator) = (log.log_id.to_string(), log.operator.fingerprint().to_string());
    let vouched = Command {
        about: "See who vouches for it: verifies the head and every witness's newest proof",
        text: match entry {
            None => format!("diogenes-witness check --server {url} --operator {operator}"),
            Some(id) => {
                format!("diogenes-witness check --server {url} --operator {operator} --entry {id}")
            }
        },
    };
    let commands = match entry {
        Some(_) => vec![vouched],
        None => vec![
            Command {
                about: "Be a witness: checks that the log only grew since you last looked, and signs that",
                text: format!("diogenes-witness submit --server {url} --operator {operator}"),
            },
            vouched,
            Command {
                about: "Run a mirror: recomputes every hash and signature, and serves what it verified",
                text: format!(
                    "DIOGENES_FEDERATION_OPERATORS='[{{\"url\":\"{url}\",\"fingerprint\":\"{operator}\"}}]' \
                     diogenes-follower serve"
                ),
            },
            Command {
                about: "Judge an evidence file without a network",
                text: format!("diogenes-witness evidence verify FILE --log-id {log_id}"),
            },
        ],
    };
    Some(Check { origin: log.origin.to_string(), log_id, operator, commands })
}

/// The URL under which the browser found this node, if that can stand in a shell's command.
fn own_url(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || host.len() > 255 || !host.chars().all(is_plain) {
        return None;
    }
    let forwarded = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let is_loopback = ["localhost", "127.", "[::1]"].iter().any(|name| host.starts_with(name));
    let scheme = match forwarded {
        Some("http") => "http",
        None if is_loopback => "http",
        Some(_) | None => "https",
    };
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn url(host: &'static str) -> Option<String> {
        own_url(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]))
    }

    #[test]
    fn the_url_is_the_one_that_was_asked_for() {
        assert_eq!(url("log.example").as_deref(), Some("https://log.example"));
        assert_eq!(url("127.0.0.1:8000").as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(url("[::1]:8000").as_deref(), Some("http://[::1]:8000"));
        assert_eq!(own_url(&HeaderMap::new()), None);
    }

    #[test]
    fn nothing_that_a_shell_would_run_gets_into_a_command() {
        for host in ["a;rm -rf x", "$(id)", "a'b", "a\"b", "a b", "a`b`", "a&b", "a|b", ""] {
            assert_eq!(url(host), None, "{host}");
        }
    }
}
