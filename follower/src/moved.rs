//! Sources that move while the follower runs: another URL takes the place of each, under the same
//! operator's key.

use std::sync::Arc;

use diogenes_common::client::BaseUrl;
use diogenes_common::config::{FEDERATION_OPERATORS, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::keys::Fingerprint;
use diogenes_common::reload::{Prepared, Reloadable};

use crate::boot::{self, Upstream};
use crate::sync::Shared;
use crate::sync::source::Source;

/// The sources of a running follower.
pub(crate) struct Moving {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Arc<[Arc<Source>]>,
    pub(crate) operator: Fingerprint,
}

/// What new settings ask of the sources.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// Each is at the URL of its place.
    To(Vec<BaseUrl>),
    /// There are more or fewer, which only a start can take.
    Restart,
}

impl Reloadable for Moving {
    fn takes(&self) -> &'static [&'static str] {
        const { &[FEDERATION_OPERATORS.row().name] }
    }

    fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure> {
        let upstream = boot::upstream(settings)?;
        let urls = match asked(self.operator, self.sources.len(), &upstream)? {
            Move::To(urls) => urls,
            Move::Restart => return Ok(Prepared::needs_restart(self.takes())),
        };
        let (shared, sources) = (self.shared.clone(), self.sources.clone());
        Ok(Prepared::new(move || {
            let mut is_news = false;
            for (source, url) in sources.iter().zip(urls) {
                is_news |= source.moved_to(url);
            }
            if is_news {
                shared.replica().forgive();
            }
        }))
    }
}

/// Decides what becomes of so many sources of this operator's log.
fn asked(operator: Fingerprint, count: usize, wanted: &Upstream) -> Result<Move, Failure> {
    if wanted.operator != operator {
        return Err(Failure::unsafe_state(
            "other_log",
            "DIOGENES_FEDERATION_OPERATORS names another operator's log",
            "one data directory mirrors one log: start another follower for that one",
        ));
    }
    if wanted.sources.len() != count {
        return Ok(Move::Restart);
    }
    Ok(Move::To(wanted.sources.iter().map(|source| source.base()).collect()))
}

#[cfg(test)]
mod tests {
    use diogenes_common::client::{Client, Reach};
    use diogenes_common::keys::SigningKey;

    use super::*;

    fn operator(n: u8) -> Fingerprint {
        SigningKey::from_seed([n; 32]).fingerprint()
    }

    fn url(text: &str) -> BaseUrl {
        BaseUrl::parse(text, Reach::Configured).expect("a URL")
    }

    fn upstream(n: u8, urls: &[&str]) -> Upstream {
        let client = Client::new("test", "0", Reach::Configured).expect("a client");
        let sources = urls.iter().map(|text| Arc::new(Source::new(url(text), client.clone())));
        Upstream { operator: operator(n), sources: sources.collect() }
    }

    #[test]
    fn as_many_sources_of_the_same_log_move_and_others_do_not() {
        let two = upstream(1, &["https://a.example", "https://b.example"]);

        let moved = asked(operator(1), 2, &two).expect("the same log");
        let fewer = asked(operator(1), 3, &two).expect("the same log");
        let other = asked(operator(2), 2, &two).map_err(|failure| failure.reason());

        assert_eq!(moved, Move::To(vec![url("https://a.example"), url("https://b.example")]));
        assert_eq!(fewer, Move::Restart);
        assert_eq!(other, Err("other_log"));
    }

    #[test]
    fn a_source_that_moved_is_asked_at_its_new_place() {
        let one = upstream(1, &["https://a.example"]);

        assert!(one.sources[0].moved_to(url("https://b.example")));
        assert!(!one.sources[0].moved_to(url("https://b.example")));
        assert_eq!(one.sources[0].url(), "https://b.example");
    }
}
