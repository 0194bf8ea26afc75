//! `diogenes-node leader|follower|witness ARGS...`: the three roles behind one name.
//!
//! cargo builds the binaries of a package only for that package's own tests, so the process tests
//! start this one. It dies with the test that started it.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    diogenes_tests::die_with_parent();
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    let named = |name: &str| std::iter::once(OsString::from(name)).chain(args);
    match role.to_str() {
        Some("leader") => diogenes_leader::main(named("diogenes-leader")),
        Some("follower") => diogenes_follower::main(named("diogenes-follower")),
        Some("witness") => diogenes_witness::main(named("diogenes-witness")),
        _ => {
            eprintln!("usage: diogenes-node leader|follower|witness ARGS...");
            ExitCode::from(2)
        }
    }
}
