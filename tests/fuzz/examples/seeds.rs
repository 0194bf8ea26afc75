//! Writes the seeds of every target into `<folder>/<target>/`, for libFuzzer to begin with.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for (name, _) in diogenes_fuzz::TARGETS {
        let target = folder.join(name);
        std::fs::create_dir_all(&target)?;
        for seed in diogenes_fuzz::seeds(name) {
            std::fs::write(target.join(diogenes_fuzz::name_of(&seed)), seed)?;
        }
    }
    Ok(())
}
