//! Witnesses whose state went back, or that run twice.

use std::fs;
use std::path::Path;

use diogenes_tests::http::Node;
use diogenes_tests::leaders::{grow, serve};
use diogenes_tests::process::{Ended, Machine, Process, Programs};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::drill::{Playing, Watch};
use crate::stage::{ending, within};
use crate::verdict::{Left, Observed, Standing, State, Who};

/// A witness's directory is restored from a copy that is older than what it signed.
pub(crate) fn state_rolled_back(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        scene.submit("witness").succeeded();
        copy_tree(&scene.home("witness"), &scene.home("backup"))?;
        grow(&scene.leader, 2).await;
        scene.submit("witness").succeeded();
        fs::remove_dir_all(scene.home("witness"))?;
        copy_tree(&scene.home("backup"), &scene.home("witness"))?;
        grow(&scene.leader, 2).await;
        scene.refused().await
    })
}

/// One key signs on two machines; the one that slept knows less than it signed.
pub(crate) fn one_key_on_two_machines(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        scene.submit("witness").succeeded();
        copy_tree(&scene.home("witness"), &scene.home("twin"))?;
        grow(&scene.leader, 2).await;
        scene.submit("twin").succeeded();
        grow(&scene.leader, 2).await;
        scene.refused().await
    })
}

/// Two processes run in one directory: each takes its turn, and one history is signed.
pub(crate) fn two_processes(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let server = scene.leader.to_string();
        let words = ["run", "--server", server.as_str(), "--interval", "1s"];
        let watch = Watch::start();

        let mut both = [0, 1].map(|_| scene.machine.start("witness", "witness", &words, &[]));
        grow(&scene.leader, 5).await;
        let last_event = scene.leader.head().await?.last_event_id;
        let signs = async || scene.signed().await >= Some(last_event);
        let has_signed = within(20, signs).await;

        let after = watch.elapsed();
        let run = both.iter_mut().all(Process::is_running);
        drop(both);
        let one_history = scene.submit("witness").code == Some(0);
        Ok(Observed {
            who: Who::Witness,
            after,
            state: State::of(Standing::Unmoved, ""),
            left: Left::Nothing,
            healed: None,
            checks: vec![
                ("every event is signed", has_signed),
                ("both wait for each other and go on", run),
                ("what both signed is one history", one_history),
            ],
        })
    })
}

/// A leader that authorised a witness.
struct Scene {
    machine: Machine,
    leader: Node,
    witness: String,
    _process: Process,
}

impl Scene {
    async fn start(programs: &Programs) -> Self {
        let machine = Machine::new(programs.clone());
        let (process, leader) = serve(&machine, "leader", &[]).await;
        grow(&leader, 3).await;
        let run = |name: &str, role: &str, words: &[&str]| {
            block_in_place(|| machine.run(name, role, words, &[])).succeeded()
        };
        let printed = run("witness", "witness", &["fingerprint", "--full"]);
        let witness = printed.split_whitespace().last().unwrap_or_default().to_owned();
        let server = leader.to_string();
        run("leader", "leader", &["operator", "authorize-witness", &witness, "--server", &server]);
        Self { machine, leader, witness, _process: process }
    }

    fn home(&self, name: &str) -> std::path::PathBuf {
        self.machine.data(name)
    }

    fn submit(&self, name: &str) -> Ended {
        let server = self.leader.to_string();
        let words = ["submit", "--server", &server];
        block_in_place(|| self.machine.run(name, "witness", &words, &[]))
    }

    /// How far the leader has proofs of the witness.
    async fn signed(&self) -> Option<u64> {
        let path = format!("/api/v1/log/witnesses/{}", self.witness);
        let record: Value = self.leader.read(&path).await.ok()?;
        record["last_proof"]["new_tree_size"].as_u64()
    }

    /// The witness of the old state is asked to sign.
    async fn refused(&self) -> anyhow::Result<Observed> {
        let before = self.signed().await;
        let watch = Watch::start();

        let refused = self.submit("witness");

        let after = watch.elapsed();
        let unsigned = self.signed().await == before;
        Ok(Observed {
            who: Who::Witness,
            after,
            state: ending(&refused),
            left: Left::Nothing,
            healed: None,
            checks: vec![
                ("nothing more is signed", unsigned),
                ("it says how to recover", refused.errors.contains("recover")),
            ],
        })
    }
}

/// Copies a directory with all that is below it.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
