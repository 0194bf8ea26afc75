//! The `diogenes-leader` program.

use std::process::ExitCode;

/// Entries are many short-lived buffers; the system's allocator takes a fifth of an append.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    diogenes_leader::main(std::env::args_os())
}
