//! `POST <witness>/add-checkpoint` (C2SP tlog-witness v1.0.0).
//!
//! ```text
//! old <the size from which the proof begins>
//! <base64 of a hash of the consistency proof>, up to 63 lines
//!
//! <the checkpoint under the log's signature alone>
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use diogenes_common::client::{Answer, BaseUrl, Client, FetchError};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::note::Note;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// How long a witness has for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks a witness to cosign a checkpoint.
pub(super) async fn add_checkpoint(
    client: &Client,
    witness: &BaseUrl,
    body: String,
) -> Result<Answer, FetchError> {
    client
        .post(witness, "/add-checkpoint")
        .with_body("text/plain; charset=utf-8", body)
        .up_to(MAX_ANSWER)
        .within(DEADLINE)
        .send()
        .await
}

/// The body of the request: a few hundred bytes, because some witnesses read no more than 10 KiB.
pub(super) fn body(old: TreeSize, proof: &[Hash], checkpoint: &Note) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        writeln!(body, "{}", hash.to_base64()).expect("a String takes everything");
    }
    write!(body, "\n{checkpoint}").expect("a String takes everything");
    body
}

#[cfg(test)]
mod tests {
    use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::TreeRoot;

    use super::*;

    #[test]
    fn a_request_is_the_old_size_the_proof_and_the_checkpoint() {
        let tree = TreeRoot { size: TreeSize::ZERO.plus(9), hash: Hash::of(b"root") };
        let checkpoint = Checkpoint::new("log.example", tree).expect("a checkpoint");
        let name = "log.example".parse().expect("a name");
        let text = sign_checkpoint(&checkpoint, &name, &SigningKey::from_seed([1; 32]));
        let note = Note::parse(text.as_bytes()).expect("a note");
        let hash = Hash::of(b"node");

        let proven = body(TreeSize::ZERO.plus(4), &[hash, hash], &note);
        let first = body(TreeSize::ZERO, &[], &note);

        let line = hash.to_base64();
        assert_eq!(proven, format!("old 4\n{line}\n{line}\n\n{text}"));
        assert_eq!(first, format!("old 0\n\n{text}"));
    }
}
