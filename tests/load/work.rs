//! The requests of each kind of load, prebuilt where they can be.

use std::io::Write as _;

use diogenes_common::merkle::{BundlePath, Hash, TileId, TilePath};

/// How many events a batch holds.
const BATCH: u64 = 1_000;
/// The digits of an event's number.
const DIGITS: usize = 20;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Append,
    Batch,
    Replicate {
        binary: bool,
    },
    Proofs,
    Tiles,
    Bundles {
        plain: bool,
    },
    Mixed,
    /// Requests that were made before.
    Prebuilt,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Batch => "batch",
            Self::Replicate { binary: true } => "replicate binary",
            Self::Replicate { binary: false } => "replicate json",
            Self::Proofs => "proofs",
            Self::Tiles => "tiles",
            Self::Bundles { plain: false } => "bundles gzip",
            Self::Bundles { plain: true } => "bundles plain",
            Self::Mixed => "mixed",
            Self::Prebuilt => "prebuilt",
        }
    }
}

/// Requests to be sent in their order, each of which is about as many entries.
#[derive(Clone, Default)]
pub(crate) struct Prebuilt {
    pub(crate) name: &'static str,
    pub(crate) weight: u64,
    pub(crate) requests: Vec<Vec<u8>>,
}

/// What all clients do.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    /// For the `Host` header.
    pub(crate) host: String,
    pub(crate) token: Option<String>,
    pub(crate) event_bytes: usize,
    /// The log's size when its entries, tiles or their proofs are asked for.
    pub(crate) size: u64,
    /// Whether what the leader acknowledged is kept, to be verified.
    pub(crate) keep_receipts: bool,
    pub(crate) prebuilt: Prebuilt,
}

impl Plan {
    pub(crate) fn name(&self) -> &'static str {
        match self.mode {
            Mode::Prebuilt => self.prebuilt.name,
            mode => mode.name(),
        }
    }
}

/// An entry that the leader said is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: u64,
    pub(crate) entry_hash: Hash,
}

/// What a request was, and so how its answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Append,
    Batch,
    Replicate { binary: bool },
    Bundle,
    Read,
    Prebuilt,
}

/// What an answer came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// So many entries were appended or read; nothing more is to come if `last`.
    Entries { count: u64, last: bool },
    /// An answer that is not understood.
    Nonsense,
}

/// The requests of one client.
pub(crate) struct Work<'a> {
    plan: &'a Plan,
    single: Template,
    batch: Option<Template>,
    scratch: Vec<u8>,
    asked: Asked,
    /// Where a replication goes on.
    after: u64,
    random: Random,
}

impl<'a> Work<'a> {
    /// The work of client `number`.
    pub(crate) fn new(plan: &'a Plan, number: usize) -> Self {
        Self {
            plan,
            single: Template::new(plan, 1),
            batch: (plan.mode == Mode::Batch).then(|| Template::new(plan, BATCH)),
            scratch: Vec::new(),
            asked: Asked::Read,
            after: 0,
            random: Random::new(number as u64 + 1),
        }
    }

    /// How many entries the next request is about, where that is known.
    pub(crate) fn weight(&self) -> u64 {
        match self.plan.mode {
            Mode::Batch => BATCH,
            Mode::Prebuilt => self.plan.prebuilt.weight,
            _ => 1,
        }
    }

    /// The next request. Events are numbered on from `number`, so that no two are equal.
    pub(crate) fn next(&mut self, number: u64) -> &[u8] {
        match self.plan.mode {
            Mode::Append => self.append(number),
            Mode::Batch => {
                self.asked = Asked::Batch;
                let batch = self.batch.get_or_insert_with(|| Template::new(self.plan, BATCH));
                batch.numbered(number)
            }
            Mode::Replicate { binary } => {
                self.asked = Asked::Replicate { binary };
                let path = format!("/api/v1/log/replicate?after={}&limit=10000", self.after);
                let accept =
                    if binary { "application/vnd.diogenes.batch" } else { "application/json" };
                self.get(&path, accept)
            }
            Mode::Proofs => self.proof(),
            Mode::Tiles => {
                self.asked = Asked::Read;
                let tile = TileId { level: 0, index: self.random_tile() };
                let path = TilePath::complete(tile).map(|path| format!("/{path}"));
                self.get(&path.unwrap_or_default(), "*/*")
            }
            Mode::Bundles { plain } => {
                self.asked = Asked::Bundle;
                let path = BundlePath::complete(self.random_tile());
                let coding = if plain { "identity" } else { "gzip" };
                self.get(&format!("/{path}"), &format!("*/*\r\naccept-encoding: {coding}"))
            }
            Mode::Mixed => match self.random.below(10) {
                0 | 1 => self.proof(),
                2 => {
                    self.asked = Asked::Read;
                    let path = format!("/api/v1/log/{}", self.random_id());
                    self.get(&path, "application/json")
                }
                _ => self.append(number),
            },
            Mode::Prebuilt => {
                self.asked = Asked::Prebuilt;
                let Prebuilt { weight, requests, .. } = &self.plan.prebuilt;
                // One that failed is not sent again; the one after the last is then the first.
                let nth = number / weight % requests.len() as u64;
                usize::try_from(nth)
                    .ok()
                    .and_then(|nth| requests.get(nth))
                    .map_or(&[], Vec::as_slice)
            }
        }
    }

    /// Reads the answer to the request before.
    pub(crate) fn came(&mut self, body: &[u8], receipts: &mut Vec<Receipt>) -> Came {
        match self.asked {
            Asked::Read => Came::Entries { count: 1, last: false },
            Asked::Prebuilt => Came::Entries { count: self.plan.prebuilt.weight, last: false },
            Asked::Bundle => Came::Entries { count: TileId::WIDTH as u64, last: false },
            Asked::Append if !self.plan.keep_receipts => Came::Entries { count: 1, last: false },
            Asked::Append => match receipt(body) {
                Some(receipt) => {
                    receipts.push(receipt);
                    Came::Entries { count: 1, last: false }
                }
                None => Came::Nonsense,
            },
            Asked::Batch if !self.plan.keep_receipts => Came::Entries { count: BATCH, last: false },
            Asked::Batch => match batch_receipts(body) {
                Some(batch) if batch.len() as u64 == BATCH => {
                    receipts.extend(batch);
                    Came::Entries { count: BATCH, last: false }
                }
                _ => Came::Nonsense,
            },
            Asked::Replicate { binary } => {
                let header = if binary { binary_header(body) } else { Some(body) };
                let page = header.and_then(|header| {
                    Some((number_after(header, b"\"next_after\":")?, has_more(header)?))
                });
                let Some((next_after, more)) = page else { return Came::Nonsense };
                let count = next_after.saturating_sub(self.after);
                self.after = next_after;
                Came::Entries { count, last: !more || count == 0 }
            }
        }
    }

    fn append(&mut self, number: u64) -> &[u8] {
        self.asked = Asked::Append;
        self.single.numbered(number)
    }

    fn proof(&mut self) -> &[u8] {
        self.asked = Asked::Read;
        let (id, size) = (self.random_id(), self.plan.size);
        let path = format!("/api/v1/log/inclusion-proof?entry_id={id}&tree_size={size}");
        self.get(&path, "application/json")
    }

    fn get(&mut self, path: &str, accept: &str) -> &[u8] {
        self.scratch.clear();
        let head = format!("GET {path} HTTP/1.1\r\naccept: {accept}\r\n{}\r\n", common(self.plan));
        self.scratch.extend_from_slice(head.as_bytes());
        &self.scratch
    }

    /// One of the complete tiles of level 0.
    fn random_tile(&mut self) -> u64 {
        self.random.below(self.plan.size / TileId::WIDTH as u64)
    }

    fn random_id(&mut self) -> u64 {
        1 + self.random.below(self.plan.size)
    }
}

/// xorshift64*: enough to spread requests over a log.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed that is not zero.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The next number below a bound, which is counted as 1 if it is zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound.max(1)
    }
}

/// A POST of events, complete but for their numbers.
struct Template {
    bytes: Vec<u8>,
    /// Where each event's number stands.
    numbers: Vec<usize>,
}

impl Template {
    fn new(plan: &Plan, events: u64) -> Self {
        let (before, after) = (r#"{"event_type":"x-load:event","payload":{"data":""#, r#"","n":""#);
        let fixed = before.len() + after.len() + DIGITS + r#""}}"#.len();
        let data = "d".repeat(plan.event_bytes.saturating_sub(fixed));
        let event = format!("{before}{data}{after}{}\"}}}}", "0".repeat(DIGITS));
        let at = event.len() - DIGITS - 3;
        let one = events == 1;
        let media_type = if one { "application/json" } else { "application/x-ndjson" };
        let length = if one { event.len() as u64 } else { (event.len() as u64 + 1) * events };
        let mut bytes = format!(
            "POST /api/v1/log/entries HTTP/1.1\r\ncontent-type: {media_type}\r\n\
             content-length: {length}\r\n{}\r\n",
            common(plan)
        )
        .into_bytes();
        let mut numbers = Vec::new();
        for _ in 0..events {
            numbers.push(bytes.len() + at);
            bytes.extend_from_slice(event.as_bytes());
            if !one {
                bytes.push(b'\n');
            }
        }
        Self { bytes, numbers }
    }

    fn numbered(&mut self, first: u64) -> &[u8] {
        for (nth, at) in (0..).zip(&self.numbers) {
            let mut field = &mut self.bytes[*at..at + DIGITS];
            // A u64 has at most 20 digits, and memory does not fail.
            let _ = write!(field, "{:020}", first + nth);
        }
        &self.bytes
    }
}

/// What every request's head ends with.
pub(crate) fn common(plan: &Plan) -> String {
    match &plan.token {
        Some(token) => format!("host: {}\r\nauthorization: Bearer {token}\r\n", plan.host),
        None => format!("host: {}\r\n", plan.host),
    }
}

fn receipt(body: &[u8]) -> Option<Receipt> {
    #[derive(serde::Deserialize)]
    struct Appended {
        id: u64,
        entry_hash: Hash,
    }
    let Appended { id, entry_hash } = serde_json::from_slice(body).ok()?;
    Some(Receipt { id, entry_hash })
}

fn batch_receipts(body: &[u8]) -> Option<Vec<Receipt>> {
    #[derive(serde::Deserialize)]
    struct Appended {
        entries: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        id: u64,
        entry_hash: Hash,
    }
    let Appended { entries } = serde_json::from_slice(body).ok()?;
    Some(
        entries
            .into_iter()
            .map(|entry| Receipt { id: entry.id, entry_hash: entry.entry_hash })
            .collect(),
    )
}

fn binary_header(body: &[u8]) -> Option<&[u8]> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

/// The number behind the last occurrence of `name`: in the JSON form entries come first.
fn number_after(bytes: &[u8], name: &[u8]) -> Option<u64> {
    let digits = behind(bytes, name)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn has_more(bytes: &[u8]) -> Option<bool> {
    Some(behind(bytes, b"\"has_more\":")?.starts_with(b"true"))
}

fn behind<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(name.len()).rposition(|window| window == name)?;
    bytes.get(at + name.len()..)
}

#[cfg(test)]
mod tests {
    use diogenes_common::canonical;

    use super::*;

    fn plan(mode: Mode) -> Plan {
        Plan {
            mode,
            host: "127.0.0.1:8000".to_owned(),
            token: Some("secret".to_owned()),
            event_bytes: 423,
            size: 10,
            keep_receipts: true,
            prebuilt: Prebuilt::default(),
        }
    }

    fn body(request: &[u8]) -> &[u8] {
        let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        &request[end + 4..]
    }

    #[test]
    fn an_event_is_canonical_and_has_the_size_asked_for() {
        let plan = plan(Mode::Append);
        let mut work = Work::new(&plan, 0);

        let event = body(work.next(u64::MAX)).to_vec();

        assert_eq!(event.len(), 423);
        assert_eq!(canonical::check(&event, canonical::MAX_DEPTH + 1), Ok(()));
        assert_ne!(event, body(work.next(1)));
    }

    #[test]
    fn a_batch_is_a_thousand_different_lines_of_its_declared_length() {
        let plan = plan(Mode::Batch);
        let mut work = Work::new(&plan, 0);

        let request = work.next(7).to_vec();

        let lines: std::collections::BTreeSet<_> =
            body(&request).split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 1_000);
        let declared = format!("content-length: {}\r\n", body(&request).len());
        assert!(String::from_utf8_lossy(&request).contains(&declared));
    }

    #[test]
    fn replication_goes_on_where_the_answer_ended() {
        let plan = plan(Mode::Replicate { binary: false });
        let mut work = Work::new(&plan, 0);
        work.next(0);
        let answer = br#"{"entries":[{"payload":{"next_after":9}}],"has_more":true,"next_after":4,"tree_head":{}}"#;
        assert_eq!(work.came(answer, &mut Vec::new()), Came::Entries { count: 4, last: false });
        assert!(work.next(0).starts_with(b"GET /api/v1/log/replicate?after=4&limit=10000 "));
        assert_eq!(work.came(b"{}", &mut Vec::new()), Came::Nonsense);
    }
}
