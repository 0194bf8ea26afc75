//! The lists of logs that are followed: read at the start and hourly, and only ever added from.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use diogenes_common::client::{Answer, BaseUrl, Client, Reach};
use diogenes_common::clock::Timestamp;
use diogenes_common::exit::Failure;
use diogenes_common::files;
use http::header::DATE;

use super::{App, NotCosigned};
use crate::log_list::{LogList, MAX_LIST_BYTES};
use crate::state::{Asker, MAX_LOGS, Unlisted};

/// How often lists are read, at least.
const HOUR: Duration = Duration::from_secs(3600);

/// How many faults of one list are told one by one.
const MOST_NAMED: usize = 20;

/// Lists that are followed, and who fetches them.
#[derive(Debug)]
pub(crate) struct Lists {
    sources: Vec<Source>,
    client: Client,
}

/// Where a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file of this machine.
    File(PathBuf),
    /// A place that the operator chose.
    Url(BaseUrl),
}

impl Lists {
    /// Lists at these files and URLs.
    pub(crate) fn new(places: &[String], allow_http: bool) -> Result<Self, Failure> {
        let reach = if allow_http { Reach::ConfiguredHttp } else { Reach::Configured };
        let client = Client::new("witness", env!("CARGO_PKG_VERSION"), reach)?;
        let sources = places.iter().map(|place| Source::parse(place, reach));
        Ok(Self { sources: sources.collect::<Result<_, Failure>>()?, client })
    }

    /// Reads every list once.
    pub(crate) async fn read_all(&self) -> Result<Vec<LogList>, Failure> {
        let mut lists = Vec::new();
        for source in &self.sources {
            lists.push(self.read(source).await?.0);
        }
        Ok(lists)
    }

    /// Takes up what the files say: one that cannot be read is a fault of the settings.
    pub(super) async fn read_files(&self, app: &App) -> Result<(), Failure> {
        for source in self.sources.iter().filter(|source| matches!(source, Source::File(_))) {
            self.take_up(app, source).await?;
        }
        Ok(())
    }

    /// Reads the lists from time to time. One that cannot be read changes nothing.
    pub(super) async fn follow(self, app: App) -> Result<(), Failure> {
        let mut sources: Vec<&Source> =
            self.sources.iter().filter(|source| matches!(source, Source::Url(_))).collect();
        loop {
            for source in &sources {
                match self.take_up(&app, source).await {
                    Err(failure) if app.tasks.is_stopping() => return Err(failure),
                    Err(failure) => {
                        tracing::warn!(reason = failure.reason(), "{}", failure.what());
                    }
                    Ok(()) => {}
                }
            }
            sources = self.sources.iter().collect();
            // Not all witnesses of the world at once.
            let jitter = u64::from(u16::from_ne_bytes(files::random()?) % 600);
            tokio::select! {
                () = tokio::time::sleep(HOUR + Duration::from_secs(jitter)) => {}
                () = app.tasks.stopping() => return Ok(()),
            }
        }
    }

    async fn take_up(&self, app: &App, source: &Source) -> Result<(), Failure> {
        let (list, told) = self.read(source).await?;
        if let Some(theirs) = told {
            app.metrics.clock_skew(app.clock.now().seconds() - theirs.seconds());
        }
        for line in list.passed_over.iter().take(MOST_NAMED) {
            tracing::warn!(list = source.name(), line, "a key of a type that is not used here");
        }
        for fault in list.faults.iter().take(MOST_NAMED) {
            tracing::warn!(list = source.name(), "a log is left out: {fault}");
        }
        let left_out = list.passed_over.len() + list.faults.len();
        if left_out > 0 {
            tracing::warn!(list = source.name(), left_out, "logs of the list are left out");
        }
        let LogList { logs, quotas, .. } = list;
        app.turns.grant(quotas);
        let (home, now) = (app.home.clone(), app.clock.now());
        let adopted = app.tasks.spawn_blocking(move || home.enlist(&logs, Asker::List, now));
        let adoption = match adopted.await {
            Ok(Ok(adoption)) => adoption,
            Ok(Err(error)) => {
                let failure = Failure::from(error.clone());
                if let Some(fatal) = NotCosigned::from(error).fatal() {
                    app.tasks.fail(fatal);
                }
                return Err(failure);
            }
            Err(_stopped) => return Ok(()),
        };
        for (log, keys) in &adoption.added {
            app.turns.know(log.as_str(), keys.iter().map(|key| key.vkey().clone()).collect());
            tracing::info!(list = source.name(), log.origin = log.as_str(), "a log was added");
        }
        let is_room = |warning: &&Unlisted| matches!(warning, Unlisted::NoRoom(_));
        for warning in adoption.passed_over.iter().filter(|warning| !is_room(warning)) {
            tracing::warn!(list = source.name(), "{warning}");
        }
        let without_room = adoption.passed_over.iter().filter(is_room).count();
        if without_room > 0 {
            tracing::warn!(list = source.name(), without_room, "{MAX_LOGS} logs are kept already");
        }
        Ok(())
    }

    /// Reads one list; of a server also what its clock says.
    async fn read(&self, source: &Source) -> Result<(LogList, Option<Timestamp>), Failure> {
        let (bytes, told) = match source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = Vec::new();
                    let most = MAX_LIST_BYTES as u64 + 1;
                    File::open(path)?.take(most).read_to_end(&mut bytes).map(|_| bytes)
                });
                let read = read.await.map_err(|error| source.unread(error))?;
                (read.map_err(|error| source.unread(error))?, None)
            }
            Source::Url(url) => {
                let asking = self.client.get(url, "").up_to(MAX_LIST_BYTES);
                let answer = asking.send().await.map_err(|error| source.unread(error))?;
                (answer.body.to_vec(), date(&answer))
            }
        };
        let list = LogList::parse(&bytes).map_err(|error| source.unread(error))?;
        Ok((list, told))
    }
}

impl Source {
    fn parse(place: &str, reach: Reach) -> Result<Self, Failure> {
        if place.contains("://") {
            return Ok(Self::Url(BaseUrl::parse(place, reach)?));
        }
        Ok(Self::File(PathBuf::from(place)))
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.to_string(),
        }
    }

    fn unread(&self, error: impl std::fmt::Display) -> Failure {
        Failure::refused(
            "log_list_unreadable",
            format!("the list of logs {} cannot be used: {error}", self.name()),
            "give a file or an https URL in the format logs/v0; no log was removed or changed",
        )
    }
}

/// What the server's clock said: `Date: Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(answer: &Answer) -> Option<Timestamp> {
    http_date(answer.headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let is_utc = zone == "GMT" && words.next().is_none();
    let rfc3339 = format!("{year}-{month:02}-{day}T{time}Z");
    Timestamp::from_rfc3339(&rfc3339).ok().filter(|_| is_utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_server_is_understood_as_it_is_told() {
        let read = |text| http_date(text).map(|time| time.to_string());

        let known = read("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(known.as_deref(), Some("1994-11-06T08:49:37.000Z"));
        for odd in ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "x, y"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_place_with_a_scheme_is_a_url_and_must_be_https() {
        let parse = |place| Source::parse(place, Reach::Configured).map_err(|f| f.reason());

        assert_eq!(parse("lists/one"), Ok(Source::File("lists/one".into())));
        assert!(matches!(parse("https://x.example/list.1"), Ok(Source::Url(_))));
        assert_eq!(parse("http://x.example/list.1"), Err("url_refused"));
        assert_eq!(parse("ftp://x.example/list.1"), Err("url_refused"));
    }
}
