//! Harness of the integration tests, and what the other programs of this package share with it.

pub mod audience;
pub mod book;
pub mod cosigner;
pub mod documents;
pub mod http;
pub mod leaders;
pub mod ledger;
pub mod liar;
pub mod lies;
pub mod postgres;
pub mod process;
pub mod promises;
pub mod proxy;
pub mod random;
pub mod stranger;
pub mod view_rows;

/// Lets the kernel end this process when its parent's thread does.
///
/// What this process becomes by `exec` inherits it.
pub fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        let signal = Some(rustix::process::Signal::TERM);
        // Without it a parent that is killed leaves its children behind; they still work.
        let _ = rustix::process::set_parent_process_death_signal(signal);
    }
}
