//! `append`: events from NDJSON onto a running leader.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use diogenes_common::config::Settings;
use diogenes_common::exit::Failure;
use diogenes_common::leaf::EventType;
use diogenes_common::shutdown;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Leader, LeaderArgs};

/// The most events in one request.
const BATCH_EVENTS: usize = 1_000;
/// The most bytes in one request; the leader takes 4 MiB.
const BATCH_BYTES: usize = 3 << 20;
/// The longest line that is read.
const LINE_BYTES: u64 = 256 << 10;

/// `append`.
#[derive(Args)]
pub(super) struct Append {
    #[command(flatten)]
    leader: LeaderArgs,
    /// Each line is the payload of an event of this type [default: each line is an event].
    #[arg(long, value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Send each batch with an Idempotency-Key that begins so: the same command again resumes.
    #[arg(long, value_name = "TEXT")]
    idempotency_prefix: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The NDJSON file; - is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// What a leader says of a batch.
#[derive(Deserialize)]
struct Appended {
    first_id: u64,
    last_id: u64,
}

impl Append {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let input: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(&self.file).map_err(|error| {
                let what = format!("can't open {}: {error}", self.file.display());
                Failure::usage(what, "name an NDJSON file, or - for standard input")
            })?))
        };
        let leader = Leader::connect(&self.leader, settings)?;
        shutdown::block_on(Some(1), self.send(&leader, input))
    }

    async fn send(&self, leader: &Leader, mut input: Box<dyn BufRead>) -> Result<(), Failure> {
        let progress = progress();
        let (mut first, mut last, mut count) = (None, None, 0);
        for number in 0.. {
            let (body, lines) = self.batch(&mut *input, count)?;
            if lines == 0 {
                break;
            }
            let key = self.idempotency_prefix.as_ref().map(|prefix| format!("{prefix}-{number}"));
            let appended: Appended =
                leader.post_ndjson("/api/v1/log/entries", body, key.as_deref()).await?;
            first = first.or(Some(appended.first_id));
            last = Some(appended.last_id);
            count += lines;
            progress.set_position(count as u64);
        }
        progress.finish_and_clear();
        if self.json {
            println!(
                "{}",
                serde_json::json!({ "first_id": first, "last_id": last, "count": count })
            );
        } else if let (Some(first), Some(last)) = (first, last) {
            println!("Appended {count} events as entries {first} to {last}.");
        } else {
            println!("Nothing to append.");
        }
        Ok(())
    }

    /// The next lines as one request's body, and how many they are.
    fn batch(&self, input: &mut dyn BufRead, before: usize) -> Result<(Vec<u8>, usize), Failure> {
        let mut body = Vec::new();
        let mut lines = 0;
        while lines < BATCH_EVENTS && body.len() < BATCH_BYTES {
            let mut line = Vec::new();
            let mut limited = io::Read::take(&mut *input, LINE_BYTES + 1);
            limited.read_until(b'\n', &mut line).map_err(|error| {
                Failure::refused(
                    "unreadable",
                    format!("the input can't be read: {error}"),
                    "try again",
                )
            })?;
            if line.is_empty() {
                break;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            lines += 1;
            if line.len() as u64 > LINE_BYTES {
                return Err(bad_line(before + lines, "it is longer than 256 KiB"));
            }
            let event = self.event(text).map_err(|error| bad_line(before + lines, &error))?;
            body.extend_from_slice(event.as_bytes());
            body.push(b'\n');
        }
        Ok((body, lines))
    }

    fn event(&self, line: &[u8]) -> Result<String, String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        let Some(event_type) = &self.event_type else { return Ok(text.to_owned()) };
        // Parsed here only to refuse broken lines before anything is sent of them.
        let _: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(format!("{{\"event_type\":\"{event_type}\",\"payload\":{text}}}"))
    }
}

fn bad_line(number: usize, problem: &str) -> Failure {
    Failure::refused(
        "bad_line",
        format!("event {number} of the input is not usable: {problem}"),
        "mend the line; what came before its batch is appended, see --idempotency-prefix to resume",
    )
}

fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}
