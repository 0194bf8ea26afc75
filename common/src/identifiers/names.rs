//! Identifiers that are names or addresses.

use super::{Flaw, Judgement, spelled};

/// `10.<registrant>/<suffix>`; the registrant is numbers of which the first has 4 to 9 digits.
pub(super) fn doi(value: &str) -> Judgement {
    let (registrant, suffix) =
        value.strip_prefix("10.").and_then(|rest| rest.split_once('/')).ok_or(Flaw::Shape)?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let first = registrant.split('.').next().unwrap_or_default();
    spelled((4..=9).contains(&first.len()) && registrant.split('.').all(is_number))?;
    spelled(!suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// A host name with at least two labels, of which the last is no number.
pub(super) fn domain(value: &str) -> Judgement {
    let labels: Vec<&str> = value.split('.').collect();
    spelled(value.len() <= 253 && labels.len() >= 2 && labels.iter().all(|label| is_label(label)))?;
    let last = labels.last().copied().unwrap_or_default();
    spelled(!last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What GitHub lets accounts be called, managed ones (`name_company`) included.
pub(super) fn github(value: &str) -> Judgement {
    let begins_well = value.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    spelled(value.len() <= 39 && begins_well && value.bytes().all(|byte| is_of(byte, b"-_")))
}

/// What GitLab lets accounts and groups be called.
pub(super) fn gitlab(value: &str) -> Judgement {
    let begins_well = value.bytes().next().is_some_and(|byte| is_of(byte, b"_"));
    let ends_badly = ["-", ".", ".git", ".atom"].iter().any(|end| value.ends_with(end));
    spelled((2..=255).contains(&value.len()) && begins_well && !ends_badly)?;
    spelled(value.bytes().all(|byte| is_of(byte, b"-_.")))
}

/// `@<account>@<server>`.
pub(super) fn mastodon(value: &str) -> Judgement {
    let (account, server) =
        value.strip_prefix('@').and_then(|rest| rest.split_once('@')).ok_or(Flaw::Shape)?;
    let ends_well = |byte: Option<u8>| byte.is_some_and(|byte| is_of(byte, b"_"));
    spelled(ends_well(account.bytes().next()) && ends_well(account.bytes().last()))?;
    spelled(account.len() <= 64 && account.bytes().all(|byte| is_of(byte, b"_.-")))?;
    domain(server)
}

/// `http(s)://<domain>[:<port>][/...]`: nothing that a browser would run or that hides the host.
pub(super) fn url(value: &str) -> Judgement {
    let rest = ["https://", "http://"].iter().find_map(|scheme| value.strip_prefix(scheme));
    let rest = rest.ok_or(Flaw::Shape)?;
    let is_unsafe = |byte: u8| !byte.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&byte);
    spelled(!rest.bytes().any(is_unsafe))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    spelled(port.is_none_or(is_port))?;
    domain(host)
}

fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_number && text.parse::<u16>().is_ok()
}

/// One label of a host name, in lower case.
fn is_label(text: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let bare = !text.starts_with('-') && !text.ends_with('-');
    bare && (1..=63).contains(&text.len()) && text.bytes().all(is_letter)
}

fn is_of(byte: u8, others: &[u8]) -> bool {
    byte.is_ascii_alphanumeric() || others.contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_table(check: fn(&str) -> Judgement, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert_eq!(check(text), Err(Flaw::Shape), "{text:?}");
        }
    }

    #[test]
    fn a_doi_is_a_registrant_and_a_suffix() {
        assert_table(
            doi,
            &[
                "10.1000/182",
                "10.1000.10/123",
                "10.1002/(SICI)1096-8644(199601)99:1<1::AID-AJPA1>3.0.CO;2-1",
                "10.5281/zenodo.7/x",
            ],
            &[
                "https://doi.org/10.1000/182",
                "doi:10.1000/182",
                "10.1000",
                "10.1000/",
                "10.100/182",
                "10.1234567890/182",
                "10.1000./182",
                "11.1000/182",
                "10.1000/a b",
                "10.1000/\u{e9}",
                "10.1000/a\n",
            ],
        );
    }

    #[test]
    fn a_domain_is_a_host_name_in_lower_case() {
        let (label, long) = ("a".repeat(63), format!("{}org", "a.".repeat(126)));
        assert_table(
            domain,
            &["example.org", "a.b.c-d.example", "xn--bcher-kva.example", &format!("{label}.org")],
            &[
                "example",
                "Example.org",
                "example.org.",
                ".example.org",
                "a..org",
                "-a.org",
                "a-.org",
                "b\u{fc}cher.example",
                "a_b.org",
                "192.0.2.1",
                "example.org:80",
                "example.org/",
                &format!("{label}a.org"),
                &long,
            ],
        );
    }

    #[test]
    fn accounts_are_called_what_their_sites_allow() {
        assert_table(
            github,
            &["octocat", "a", "Hub-ot", "mona_acme", &"a".repeat(39)],
            &["@octocat", "-a", "a b", "a.b", "a/b", "\u{e4}", &"a".repeat(40)],
        );
        assert_table(
            gitlab,
            &["gitlab-org", "_a", "a.b", "A1"],
            &["@a1", "a", "a-", "a.", "a.git", "a.atom", ".ab", "a/b", &"a".repeat(256)],
        );
    }

    #[test]
    fn an_account_of_a_server_has_both_signs() {
        assert_table(
            mastodon,
            &["@alice@social.example", "@a_b.c-d@social.example", "@A@x.org"],
            &[
                "alice@social.example",
                "@alice",
                "@@social.example",
                "@alice@",
                "@alice@localhost",
                "@.alice@social.example",
                "@alice.@social.example",
                "@alice@Social.example",
                "@alice@social.example@x.org",
            ],
        );
    }

    #[test]
    fn an_address_of_the_web_shows_its_host() {
        assert_table(
            url,
            &[
                "https://example.org",
                "http://example.org:8080/a?b=c#d",
                "https://example.org/~a/%C3%A9",
                "https://example.org?q",
            ],
            &[
                "javascript:alert(1)",
                "ftp://example.org",
                "HTTPS://example.org",
                "https://",
                "https://user@example.org",
                "https://user:1@example.org",
                "https://example.org:0/",
                "https://example.org:65536/",
                "https://example.org:/",
                "https://192.0.2.1/",
                "https://[::1]/",
                "https://example.org/a b",
                "https://example.org\\@evil.example",
                "https://example.org/\"",
                "https://example.org/\u{202e}",
                "https://Example.org/",
            ],
        );
    }
}
