//! New settings for a running node: all of them are checked before any of them is taken.
//!
//! On SIGHUP the file is read again; flags and environment are what they were. What a part of the
//! node takes while it runs is exchanged, what is read at start alone is named in a warning.

use std::collections::BTreeSet;
use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::clock_system::monotonic_micros;
use crate::config::{Loader, Settings};
use crate::exit::Failure;
use crate::shutdown::Tasks;
use crate::supervisor::Supervisor;

/// A part of the node that takes new settings while it runs.
pub trait Reloadable: Send + Sync {
    /// The names of the settings that it takes.
    fn takes(&self) -> &'static [&'static str];

    /// Checks everything that the settings ask of it; nothing changes yet.
    fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure>;
}

/// What was checked, and is taken once every other part has checked too.
#[must_use]
pub struct Prepared {
    news: Option<String>,
    pending: &'static [&'static str],
    exchange: Box<dyn FnOnce() + Send>,
}

impl Prepared {
    /// This exchange, which cannot fail.
    pub fn new(exchange: impl FnOnce() + Send + 'static) -> Self {
        Self { news: None, pending: &[], exchange: Box::new(exchange) }
    }

    /// Nothing is exchanged: what these settings ask for needs a restart.
    pub fn needs_restart(pending: &'static [&'static str]) -> Self {
        Self { pending, ..Self::new(|| ()) }
    }

    /// The same, with what is new beside the settings themselves.
    pub fn with_news(self, news: Option<String>) -> Self {
        Self { news, ..self }
    }

    /// Exchanges it; answers what is new.
    pub(crate) fn take(self) -> Option<String> {
        (self.exchange)();
        self.news
    }
}

/// Reads the settings again when it is asked to, and has the parts of the node take them.
pub struct Reloader {
    loader: Loader,
    /// What the node was started with.
    started: Settings,
    /// What it runs with, as far as parts take it.
    current: Settings,
    parts: Vec<Box<dyn Reloadable>>,
}

/// What became of new settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reloaded {
    /// What was taken.
    changed: Vec<String>,
    /// What differs from the start and is read at start alone.
    pending: Vec<&'static str>,
}

impl Reloader {
    /// Nothing is taken yet; the node runs with what the loader gave first.
    pub fn new(loader: Loader, settings: &Settings) -> Self {
        Self { loader, started: settings.clone(), current: settings.clone(), parts: Vec::new() }
    }

    /// Has this part take new settings too.
    #[must_use]
    pub fn with(mut self, part: impl Reloadable + 'static) -> Self {
        self.parts.push(Box::new(part));
        self
    }

    /// The same, if there is such a part.
    #[must_use]
    pub fn with_some(self, part: Option<impl Reloadable + 'static>) -> Self {
        match part {
            Some(part) => self.with(part),
            None => self,
        }
    }

    /// Listens for SIGHUP from now on, and reloads on each until the node stops.
    pub(crate) fn on_hangup(
        mut self,
        tasks: Tasks,
        supervisor: Supervisor,
        status: String,
    ) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
        let mut hangups = signal(SignalKind::hangup()).map_err(|error| {
            Failure::refused("signals", error, "run it where signals can be handled")
        })?;
        Ok(async move {
            loop {
                tokio::select! {
                    () = tasks.stopping() => return,
                    _ = hangups.recv() => {}
                }
                supervisor.reloading(monotonic_micros());
                let told = self.reload_and_tell(&status);
                supervisor.ready(&told);
            }
        })
    }

    /// Answers how the node stands then.
    fn reload_and_tell(&mut self, status: &str) -> String {
        match self.reload() {
            Ok(reloaded) => {
                reloaded.tell();
                status.to_owned()
            }
            Err(failure) => {
                tracing::error!(
                    reason = failure.reason(),
                    help = failure.what_to_do(),
                    "the new settings are refused, the old ones stay: {}",
                    failure.what()
                );
                format!("{status}; new settings were refused: {}", failure.what())
            }
        }
    }

    fn reload(&mut self) -> Result<Reloaded, Failure> {
        let settings = self.loader.load()?;
        let prepared = self.parts.iter().map(|part| part.prepare(&settings));
        let prepared = prepared.collect::<Result<Vec<_>, Failure>>()?;
        let mut taken: BTreeSet<_> =
            self.parts.iter().flat_map(|part| part.takes()).copied().collect();
        let waits: Vec<_> = prepared.iter().flat_map(|part| part.pending).copied().collect();
        taken.retain(|name| !waits.contains(name));
        let news: Vec<String> = prepared.into_iter().filter_map(Prepared::take).collect();
        let changed = settings.differences(&self.current).into_iter();
        let changed = changed.filter(|name| taken.contains(name)).map(str::to_owned);
        let changed = changed.chain(news).collect();
        let mut pending = settings.differences(&self.started);
        pending.retain(|name| !taken.contains(name) && !waits.contains(name));
        pending.extend(waits);
        self.current = settings;
        Ok(Reloaded { changed, pending })
    }
}

impl Reloaded {
    fn tell(&self) {
        if self.changed.is_empty() {
            tracing::info!("the settings were read again: nothing that can change did");
        } else {
            tracing::info!(changed = self.changed.join(", "), "new settings are in force");
        }
        if !self.pending.is_empty() {
            let pending = self.pending.join(", ");
            tracing::warn!(pending, "these settings are read at start alone: restart the node");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::{Environment, Flags, HEARTBEAT, LOG_LEVEL, RATE_LIMIT_LOG_READ};
    use crate::files::Role;

    /// A part that takes two settings, and refuses one value.
    #[derive(Clone, Default)]
    struct Part(Arc<Mutex<Vec<u32>>>);

    impl Reloadable for Part {
        fn takes(&self) -> &'static [&'static str] {
            const { &[RATE_LIMIT_LOG_READ.row().name, LOG_LEVEL.row().name] }
        }

        fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure> {
            let limit = settings.value(&RATE_LIMIT_LOG_READ);
            if limit == 13 {
                return Err(Failure::unsafe_state("unlucky", "13", "take another one"));
            }
            let part = self.clone();
            Ok(Prepared::new(move || part.0.lock().unwrap().push(limit)))
        }
    }

    struct Node {
        reloader: Reloader,
        file: std::path::PathBuf,
        parts: [Part; 2],
        _directory: tempfile::TempDir,
    }

    fn node() -> Node {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.toml");
        std::fs::write(&file, "").unwrap();
        let flags = Flags::new().with_config(Some(file.clone())).with(&HEARTBEAT, Some("7s"));
        let loader = Loader::new(Role::Leader, flags, Environment::of([("HOME", "/h")]));
        let settings = loader.load().unwrap();
        let parts = [Part::default(), Part::default()];
        let reloader =
            Reloader::new(loader, &settings).with(parts[0].clone()).with(parts[1].clone());
        Node { reloader, file, parts, _directory: directory }
    }

    impl Node {
        fn reload(&mut self, text: &str) -> Result<Reloaded, &'static str> {
            std::fs::write(&self.file, text).unwrap();
            self.reloader.reload().map_err(|failure| failure.reason())
        }

        fn taken(&self) -> [Vec<u32>; 2] {
            self.parts.each_ref().map(|part| part.0.lock().unwrap().clone())
        }
    }

    fn reloaded(changed: &[&str], pending: &[&'static str]) -> Reloaded {
        let changed = changed.iter().map(|name| (*name).to_owned()).collect();
        Reloaded { changed, pending: pending.to_vec() }
    }

    #[test]
    fn every_part_takes_what_changed_and_the_rest_waits_for_a_restart() {
        let mut node = node();

        let first = node.reload("rate_limit_log_read = 5\norigin = \"x.example\"\n");
        let again = node.reload("rate_limit_log_read = 5\norigin = \"x.example\"\n");
        let back = node.reload("");

        let (limit, origin) = ("RATE_LIMIT_LOG_READ", "DIOGENES_ORIGIN");
        assert_eq!(first, Ok(reloaded(&[limit], &[origin])));
        assert_eq!(again, Ok(reloaded(&[], &[origin])), "what waits is named each time");
        assert_eq!(back, Ok(reloaded(&[limit], &[])));
        assert_eq!(node.taken(), [vec![5, 5, 6000], vec![5, 5, 6000]]);
    }

    #[test]
    fn settings_that_one_part_or_the_table_refuses_change_nothing() {
        let mut node = node();

        let refused = node.reload("rate_limit_log_read = 13\nlog_level = \"debug\"\n");
        let not_toml = node.reload("rate_limit_log_read = \n");
        let unknown = node.reload("rate_limit_log_reads = 5\n");

        assert_eq!(refused, Err("unlucky"));
        assert!(not_toml.is_err() && unknown.is_err(), "{not_toml:?} {unknown:?}");
        assert!(node.taken().iter().all(Vec::is_empty));
        assert_eq!(node.reload("log_level = \"debug\"\n"), Ok(reloaded(&["LOG_LEVEL"], &[])));
    }

    #[test]
    fn a_flag_wins_over_the_file_as_it_did_at_start() {
        let mut node = node();

        assert_eq!(node.reload("heartbeat = \"9s\"\n"), Ok(reloaded(&[], &[])));
    }
}
