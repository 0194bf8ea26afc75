//! How far long work has come.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// Told of how far something has come.
pub trait Progress: Sync {
    /// A step of so many entries begins.
    fn begin(&self, step: &'static str, entries: u64);
    /// So many of them are done.
    fn at(&self, entries: u64);
}

/// For whom nobody watches.
impl Progress for () {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
}

/// A bar on standard error, if that is a terminal; it goes when it is dropped.
#[derive(Debug, Default)]
pub struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    /// Nothing to show yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Option<ProgressBar>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Bar {
    fn begin(&self, step: &'static str, entries: u64) {
        if !io::stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(entries).with_style(style).with_message(step);
        self.with(|shown| {
            if let Some(before) = shown.replace(bar) {
                before.finish_and_clear();
            }
        });
    }

    fn at(&self, entries: u64) {
        self.with(|shown| shown.iter().for_each(|bar| bar.set_position(entries)));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.with(|shown| shown.take().iter().for_each(ProgressBar::finish_and_clear));
    }
}
