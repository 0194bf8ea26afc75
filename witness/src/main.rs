//! The `diogenes-witness` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    diogenes_witness::main(std::env::args_os())
}
