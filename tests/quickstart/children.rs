//! The processes of the federation: started with a clean environment, ended with this one.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use diogenes_tests::process;
use rustix::process::{Pid, Signal, kill_process};

/// How long the nodes may take to finish what they began.
const PATIENCE: Duration = Duration::from_secs(15);

/// The nodes that run.
pub(crate) struct Children {
    /// Where the programs are: beside this one.
    programs: PathBuf,
    data: PathBuf,
    running: Vec<(String, Child)>,
}

impl Children {
    pub(crate) fn new(data: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(data).with_context(|| format!("can't make {}", data.display()))?;
        let own = std::env::current_exe().context("where this program is")?;
        let programs = own.parent().context("a program is in a directory")?.to_owned();
        Ok(Self { programs, data: data.to_owned(), running: Vec::new() })
    }

    /// The directory of a node.
    pub(crate) fn data_of(&self, node: &str) -> PathBuf {
        self.data.join(node)
    }

    /// Starts a node that runs until it is stopped; what it says goes to its log file.
    pub(crate) fn start(
        &mut self,
        node: &str,
        role: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let log = File::create(self.log_of(node)).with_context(|| self.blame(node))?;
        let program = self.program(role)?;
        let mut command = process::child(program);
        command.args(args);
        command.arg("--data-dir").arg(self.data_of(node));
        command.env_clear().envs(variables.iter().copied());
        // A group of its own: Ctrl-C reaches this process alone, which then stops the others.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| self.blame(node))?;
        self.running.push((node.to_owned(), child));
        Ok(())
    }

    /// Runs a command of a role to its end; answers what it printed.
    pub(crate) fn run(
        &self,
        node: &str,
        role: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let output = Command::new(self.program(role)?)
            .args(args)
            .arg("--data-dir")
            .arg(self.data_of(node))
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("diogenes-{role}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "diogenes-{role} {}: {}\n{said}{}",
                args.join(" "),
                output.status,
                self.blame(node)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Fails when a node ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.running.iter_mut().find_map(|(node, child)| {
            let status = child.try_wait().ok().flatten()?;
            Some((node.clone(), status))
        });
        let Some((node, status)) = ended else { return Ok(()) };
        let log = fs::read_to_string(self.log_of(&node)).unwrap_or_default();
        let mut last: Vec<_> = log.lines().rev().take(3).collect();
        last.reverse();
        bail!("{node} ended ({status}):\n{}\n{}", last.join("\n"), self.blame(&node));
    }

    /// Says where to look when a node does not do what it should.
    pub(crate) fn blame(&self, node: &str) -> String {
        format!("read the log of {node}: {}", self.log_of(node).display())
    }

    /// Ends all of them, followers and witnesses first.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let mut stubborn = None;
        while let Some((node, mut child)) = self.running.pop() {
            signal(&child, Signal::TERM);
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    stubborn = Some(node);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        match stubborn {
            Some(node) => bail!("{node} had to be killed; {}", self.blame(&node)),
            None => Ok(()),
        }
    }

    fn log_of(&self, node: &str) -> PathBuf {
        self.data.join(format!("{node}.log"))
    }

    fn program(&self, role: &str) -> anyhow::Result<PathBuf> {
        let program = self.programs.join(format!("diogenes-{role}"));
        if !program.exists() {
            bail!("{} is missing; deploy/quickstart builds it", program.display());
        }
        Ok(program)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            signal(child, Signal::TERM);
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that already ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}
