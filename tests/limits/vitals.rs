//! What the system knows of a process: its memory, its files, its threads.

use std::fs;

use anyhow::Context as _;

/// A process that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    id: u32,
}

impl Vitals {
    pub(crate) fn of(id: u32) -> Self {
        Self { id }
    }

    /// Forgets the highest memory so far, where the system allows it.
    pub(crate) fn forget_peak(self) {
        // Where it does not, the peak is that of the whole run: never less than the attack's.
        let _ = fs::write(self.path("clear_refs"), "5");
    }

    /// The most resident memory since then, in MB.
    pub(crate) fn peak_mb(self) -> anyhow::Result<f64> {
        Ok(self.status("VmHWM:")? * 1.024 / 1000.0)
    }

    /// The threads.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    pub(crate) fn threads(self) -> anyhow::Result<u64> {
        Ok(self.status("Threads:")? as u64)
    }

    /// The open files.
    pub(crate) fn files(self) -> anyhow::Result<u64> {
        Ok(fs::read_dir(self.path("fd")).context("/proc can be read")?.count() as u64)
    }

    fn status(self, name: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(self.path("status")).context("/proc can be read")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no {name}"))
    }

    fn path(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_threads() {
        let vitals = Vitals::of(std::process::id());
        vitals.forget_peak();
        assert!(vitals.peak_mb().unwrap() > 1.0);
        assert!(vitals.files().unwrap() >= 3);
        assert!(vitals.threads().unwrap() >= 1);
    }
}
