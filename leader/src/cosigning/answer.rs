//! What a witness's answer to `add-checkpoint` means (C2SP tlog-witness v1.0.0).
//!
//! ```text
//! 200  signature lines, one or more
//! 409  Content-Type: text/x.tlog.size
//!      <the size that the witness last cosigned>\n
//! ```

use std::fmt;
use std::time::Duration;

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::client::{Answer, FetchError, StatusFault};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::merkle::TreeSize;
use diogenes_common::note::{NoteError, SignatureLine, Vkey, parse_signature_lines};
use diogenes_common::store::Cosignature;

/// The type of a body that is one size.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// How far ahead of our clock a witness's may be.
const MAX_AHEAD_MILLIS: i64 = 120_000;

/// What a witness was asked, and what its answer is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The size from which the proof begins.
    pub(super) old: TreeSize,
    /// What it is to cosign.
    pub(super) checkpoint: &'a Checkpoint,
    /// Its key.
    pub(super) key: &'a Vkey,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It cosigned; the line verified.
    Cosigned(Cosignature),
    /// It stands at another size of this log, from where it is to be asked.
    StandsAt(TreeSize),
    /// Nothing came of it; it may be asked again later, not before the time that it named.
    Later(Trouble, Option<Duration>),
    /// It does not serve this log, or not to us: somebody has to configure something.
    Refused {
        /// The status.
        status: u16,
    },
    /// It must not be asked again before somebody has looked.
    Fault(Fault),
}

/// Why nothing came of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It has too much to do, or is broken.
    #[error("it answered {0}")]
    Busy(u16),
    /// No answer came, or too large a one.
    #[error("{0}")]
    NoAnswer(FetchError),
    /// The answer is no list of signature lines.
    #[error("its answer is no list of signature lines: {0}")]
    Unreadable(NoteError),
    /// The answer is no text.
    #[error("its answer is no text")]
    NotUtf8,
    /// The answer has no line under its name and key ID.
    #[error("its answer has no signature of its own key")]
    NotSigned,
}

/// Why a witness is not asked again: an observation, of which nothing is proven, for it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It says that it cosigned more than this log holds.
    #[error("it says that it cosigned size {size}, but this log has {held} entries")]
    Ahead {
        /// What it says.
        size: TreeSize,
        /// What there is.
        held: TreeSize,
    },
    /// 409 without the type of a size: it saw another root, or is an older implementation.
    #[error("it refused the checkpoint as a conflict and named no size")]
    Conflict,
    /// 409 with the size from which it was asked.
    #[error("it refused size {0} as not its own and named the same size")]
    Echo(TreeSize),
    /// 422: the proof does not verify against what it saw.
    #[error("it says that this log is no longer the one that it cosigned")]
    Inconsistent,
    /// A line under its name and key ID that does not verify.
    #[error("the line under its name is no cosignature of the checkpoint that it was sent")]
    BadCosignature,
    /// A cosignature of no time, or of one that has not come.
    #[error("its cosignature is of no time, or of one more than 120 s ahead of our clock")]
    BadTime,
}

/// The kinds of incident that what a witness answers can open.
pub(crate) const INCIDENTS: [&str; 2] = ["witness_ahead", "witness_fault"];

impl Fault {
    /// The kind of its incident.
    pub(super) const fn kind(self) -> &'static str {
        let [ahead, fault] = INCIDENTS;
        if matches!(self, Self::Ahead { .. }) { ahead } else { fault }
    }

    /// The code of its incident.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Ahead { .. } => "witness_ahead",
            Self::Conflict => "witness_conflict",
            Self::Echo(_) => "witness_conflict_echo",
            Self::Inconsistent => "witness_inconsistent",
            Self::BadCosignature => "witness_bad_cosignature",
            Self::BadTime => "witness_bad_time",
        }
    }
}

impl Verdict {
    /// The `result` label of the request.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Cosigned(_) => "cosigned",
            Self::StandsAt(_) => "other_size",
            Self::Later(Trouble::Busy(_), _) => "busy",
            Self::Later(Trouble::NoAnswer(_), _) => "no_answer",
            Self::Later(..) => "unusable",
            Self::Refused { .. } => "refused",
            Self::Fault(Fault::Ahead { .. }) => "ahead",
            Self::Fault(_) => "fault",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosigned(row) => write!(f, "it cosigned size {}", row.tree_size),
            Self::StandsAt(size) => write!(f, "it stands at size {size}"),
            Self::Later(trouble, _) => trouble.fmt(f),
            Self::Refused { status } => write!(f, "it answered {status}"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// Judges an answer; `held` is how many entries this log has by now.
pub(super) fn judge(
    question: Question<'_>,
    answer: &Result<Answer, FetchError>,
    held: TreeSize,
    now: Timestamp,
) -> Verdict {
    match answer {
        Ok(Answer { status: 200, body, .. }) => cosigned(question, body, now),
        Ok(Answer { status, .. }) => Verdict::Refused { status: *status },
        Err(FetchError::Status(fault)) => refused(question.old, fault, held),
        Err(error) => Verdict::Later(Trouble::NoAnswer(error.clone()), None),
    }
}

/// Finds the witness's own line, which must verify; what others signed is passed over.
fn cosigned(question: Question<'_>, body: &[u8], now: Timestamp) -> Verdict {
    let later = |trouble| Verdict::Later(trouble, None);
    let Ok(text) = str::from_utf8(body) else { return later(Trouble::NotUtf8) };
    let lines = match parse_signature_lines(text) {
        Ok(lines) => lines,
        Err(error) => return later(Trouble::Unreadable(error)),
    };
    let Some(line) = lines.iter().find(|line| names(question.key, line)) else {
        return later(Trouble::NotSigned);
    };
    let key = question.key.key();
    let Ok(seconds) = verify_cosignature(line, question.checkpoint, key) else {
        return Verdict::Fault(Fault::BadCosignature);
    };
    let millis = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000));
    let latest = now.plus_millis(MAX_AHEAD_MILLIS);
    match millis.and_then(Timestamp::from_millis) {
        Some(timestamp) if seconds > 0 && timestamp <= latest => Verdict::Cosigned(Cosignature {
            tree_size: question.checkpoint.tree().size,
            fingerprint: key.fingerprint(),
            name: line.name().to_string(),
            line: line.to_string(),
            timestamp,
        }),
        _ => Verdict::Fault(Fault::BadTime),
    }
}

/// Whether a line claims to be by this key.
pub(super) fn names(key: &Vkey, line: &SignatureLine) -> bool {
    line.name() == key.name() && line.id() == key.id()
}

fn refused(old: TreeSize, fault: &StatusFault, held: TreeSize) -> Verdict {
    match fault.status {
        409 => conflict(old, fault, held),
        422 => Verdict::Fault(Fault::Inconsistent),
        429 | 500.. => Verdict::Later(Trouble::Busy(fault.status), fault.retry_after),
        status => Verdict::Refused { status },
    }
}

/// The size that the witness names is asked from, unless that can lead nowhere.
fn conflict(old: TreeSize, fault: &StatusFault, held: TreeSize) -> Verdict {
    let is_size = fault.media_type.as_deref() == Some(SIZE_TYPE);
    let Some(size) = size_of(&fault.body).filter(|_| is_size) else {
        return Verdict::Fault(Fault::Conflict);
    };
    if size > held {
        return Verdict::Fault(Fault::Ahead { size, held });
    }
    if size == old {
        return Verdict::Fault(Fault::Echo(size));
    }
    Verdict::StandsAt(size)
}

/// Reads a decimal number without leading zeros on one line.
fn size_of(body: &[u8]) -> Option<TreeSize> {
    let text = str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = text == "0" || !text.starts_with('0');
    if is_decimal && is_shortest { TreeSize::new(text.parse().ok()?) } else { None }
}

#[cfg(test)]
mod tests {
    use diogenes_common::client::NetworkFault;
    use diogenes_common::cosignature::cosign;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::{Hash, TreeRoot};
    use diogenes_common::note::KeyKind;
    use http::HeaderMap;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).expect("a time")
    }

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn checkpoint(root: &[u8]) -> Checkpoint {
        let tree = TreeRoot { size: size(9), hash: Hash::of(root) };
        Checkpoint::new("log.example", tree).expect("a checkpoint")
    }

    fn witness() -> SigningKey {
        SigningKey::from_seed([2; 32])
    }

    fn vkey(name: &str) -> Vkey {
        let name = name.parse().expect("a name");
        Vkey::new(name, KeyKind::Cosignature, witness().public().clone())
    }

    fn line(name: &str, of: &Checkpoint, time: i64) -> String {
        let name = name.parse().expect("a name");
        format!("{}\n", cosign(of, at(time), &name, &witness()))
    }

    fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: 200, headers: HeaderMap::new(), body: body.into().into() }
    }

    fn status(status: u16, media_type: Option<&str>, body: &str) -> Result<Answer, FetchError> {
        Err(FetchError::Status(Box::new(StatusFault {
            status,
            code: None,
            detail: None,
            retry_after: Some(Duration::from_secs(7)),
            media_type: media_type.map(str::to_owned),
            body: body.to_owned().into(),
        })))
    }

    /// What an answer means to a log of twelve entries that asked from size 4 for size 9.
    fn judged(answer: &Result<Answer, FetchError>) -> Verdict {
        let (checkpoint, key) = (checkpoint(b"root"), vkey("w.example"));
        let question = Question { old: size(4), checkpoint: &checkpoint, key: &key };
        judge(question, answer, size(12), at(NOW))
    }

    #[test]
    fn its_own_line_counts_and_those_of_others_are_passed_over() {
        let own = line("w.example", &checkpoint(b"root"), NOW);
        let others = line("other.example", &checkpoint(b"other root"), NOW);

        let Verdict::Cosigned(kept) = judged(&Ok(ok(format!("{others}{own}")))) else {
            panic!("not cosigned");
        };

        assert_eq!((kept.name.as_str(), kept.tree_size), ("w.example", size(9)));
        assert_eq!((kept.timestamp, kept.line), (at(NOW), own.trim_end().to_owned()));
        assert_eq!(kept.fingerprint, witness().fingerprint());
        assert_eq!(judged(&Ok(ok(others))), Verdict::Later(Trouble::NotSigned, None));
    }

    #[test]
    fn a_line_of_its_own_that_does_not_verify_is_a_fault() {
        let other_root = line("w.example", &checkpoint(b"other root"), NOW);
        let zero = line("w.example", &checkpoint(b"root"), 0);
        let ahead = line("w.example", &checkpoint(b"root"), NOW + MAX_AHEAD_MILLIS + 1_000);

        assert_eq!(judged(&Ok(ok(other_root))), Verdict::Fault(Fault::BadCosignature));
        assert_eq!(judged(&Ok(ok(zero))), Verdict::Fault(Fault::BadTime));
        assert_eq!(judged(&Ok(ok(ahead))), Verdict::Fault(Fault::BadTime));
    }

    #[test]
    fn what_cannot_be_read_is_asked_for_again_later() {
        for (body, trouble) in [
            (&b""[..], Trouble::Unreadable(NoteError::NoSignature)),
            (&b"\xff"[..], Trouble::NotUtf8),
            (&b"\xe2\x80\x94 w.example AAAA"[..], Trouble::Unreadable(NoteError::NotTerminated)),
        ] {
            let verdict = judged(&Ok(ok(body)));
            assert_eq!(verdict, Verdict::Later(trouble, None));
        }
        let timeout =
            FetchError::Network { host: "w.example".to_owned(), kind: NetworkFault::Timeout };
        let verdict = judged(&Err(timeout.clone()));
        assert_eq!(verdict, Verdict::Later(Trouble::NoAnswer(timeout), None));
    }

    #[test]
    fn a_smaller_size_is_where_to_ask_from_and_a_larger_one_ends_the_asking() {
        let conflict = |body: &str| judged(&status(409, Some(SIZE_TYPE), body));

        for within in [0, 3, 9, 12] {
            assert_eq!(conflict(&format!("{within}\n")), Verdict::StandsAt(size(within)));
        }
        let ahead = Fault::Ahead { size: size(13), held: size(12) };
        assert_eq!(conflict("13\n"), Verdict::Fault(ahead));
        assert_eq!(conflict("4\n"), Verdict::Fault(Fault::Echo(size(4))));
    }

    #[test]
    fn a_conflict_that_names_no_size_is_a_fault() {
        for body in ["", "3", "03\n", "+3\n", "3\n\n", "three\n", "9223372036854775808\n"] {
            let verdict = judged(&status(409, Some(SIZE_TYPE), body));
            assert_eq!(verdict, Verdict::Fault(Fault::Conflict), "{body:?}");
        }
        for media_type in [None, Some("text/plain")] {
            let verdict = judged(&status(409, media_type, "3\n"));
            assert_eq!(verdict, Verdict::Fault(Fault::Conflict), "{media_type:?}");
        }
    }

    #[test]
    fn other_statuses_mean_later_somebody_must_act_or_never_again() {
        for busy in [429, 500, 502, 503, 504] {
            let later = Verdict::Later(Trouble::Busy(busy), Some(Duration::from_secs(7)));
            assert_eq!(judged(&status(busy, None, "")), later);
        }
        for refused in [301, 400, 401, 403, 404, 405, 413, 415] {
            assert_eq!(judged(&status(refused, None, "")), Verdict::Refused { status: refused });
        }
        assert_eq!(judged(&status(422, None, "")), Verdict::Fault(Fault::Inconsistent));
    }
}
