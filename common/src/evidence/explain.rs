//! What an evidence file says, in words for people: who signed what, when, and where the histories
//! part.

use std::fmt::Write as _;

use super::verify::{Role, Signed, establish, statements};
use super::{Evidence, EvidenceError, Kind, Proof};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeRoot, TreeSize};

/// How much of a text that anybody can write is shown.
const MAX_TEXT: usize = 2000;

/// Explains a file, proven or not. Nothing of it is believed: what the accused key did not sign is
/// said to be so, and characters that change how others look are shown as their numbers.
pub fn explain(file: &[u8]) -> Result<String, EvidenceError> {
    let file = Evidence::read(file)?;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = heading(&mut out, &file).and_then(|()| body(&mut out, &file));
    Ok(out)
}

fn heading(out: &mut String, file: &Evidence) -> std::fmt::Result {
    let (kind, accused) = (file.kind, &file.accused);
    writeln!(out, "Claim:     {}: {}", kind.as_str(), kind.meaning())?;
    writeln!(out, "Accused:   {}", accused.fingerprint)?;
    let log = accused.genesis.as_ref().and_then(|genesis| Leaf::parse(&*genesis.0).ok());
    if let Some(genesis) = log {
        writeln!(out, "Log id:    {}", genesis.entry_hash())?;
    }
    let (at, by) = (file.observed_at, plain(&file.observer));
    writeln!(out, "Observed:  {at} by {by} (that and the words prove nothing)")?;
    writeln!(out, "In words:  {}", plain(&file.explanation))
}

fn body(out: &mut String, file: &Evidence) -> std::fmt::Result {
    let signed = statements(file);
    for (place, said) in signed.iter().enumerate() {
        match said {
            Some(said) => writeln!(out, "Signed {}:  {}", place + 1, statement(said))?,
            None => {
                writeln!(out, "Signed {}:  nothing: the accused key did not sign it", place + 1)?;
            }
        }
    }
    for (place, proof) in file.proofs.iter().enumerate() {
        writeln!(out, "Proof {}:   {}", place + 1, step(proof))?;
    }
    match establish(file, None, None) {
        Ok(_) => writeln!(out, "Therefore: {}", conclusion(file, &signed)),
        Err(why) => writeln!(out, "But:       not proven: {why}"),
    }
}

fn statement(said: &Signed) -> String {
    let what = match (said.role, said.head, said.trees.as_slice()) {
        (Role::Log, Some(_), _) => "a tree head",
        (Role::Log, None, _) => "a checkpoint",
        (Role::Witness, _, [_, _]) => "a witness proof",
        (Role::Witness, ..) => "a cosignature",
    };
    let trees: Vec<String> = said.trees.iter().map(tree).collect();
    let last = said.head.and_then(|(_, chain_head)| chain_head);
    let last = last.map(|hash| format!(", whose last entry has the hash {hash}"));
    format!(
        "{what} of {}{}: {}{}",
        plain(&said.origin),
        said.at.map(|at| format!(", at {at}")).unwrap_or_default(),
        trees.join(", then "),
        last.unwrap_or_default()
    )
}

fn tree(tree: &TreeRoot) -> String {
    format!("{} with root {}", entries(tree.size), tree.hash)
}

fn entries(size: TreeSize) -> String {
    if size.get() == 1 { "1 entry".to_owned() } else { format!("{size} entries") }
}

fn step(proof: &Proof) -> String {
    let towards = proof.towards();
    match proof {
        Proof::Consistency { first, first_root, .. } => {
            let from = TreeRoot { size: *first, hash: *first_root };
            format!("the tree of {} begins with that of {}", tree(&towards), tree(&from))
        }
        Proof::Inclusion { leaf, leaf_index, .. } => {
            let hash = Hash::of(&leaf.0);
            format!("entry {} of the tree of {} is {hash}", leaf_index + 1, tree(&towards))
        }
    }
}

/// Where the statements exclude each other.
fn conclusion(file: &Evidence, signed: &[Option<Signed>]) -> String {
    let said: Vec<&Signed> = signed.iter().flatten().collect();
    let sizes: Vec<TreeSize> =
        said.iter().filter_map(|said| said.trees.last().map(|tree| tree.size)).collect();
    let first = file.proofs.first();
    match (file.kind, sizes.as_slice(), first) {
        (Kind::ForkSameSize, [size, _], _) => format!(
            "the same {} cannot be both; the histories part at entry {size} or before",
            entries(*size)
        ),
        (Kind::ForkPrefix, [smaller, larger], _) => format!(
            "the log of {} does not begin with the {} that were signed; the histories part at \
             entry {smaller} or before",
            entries(*larger),
            entries(*smaller)
        ),
        (Kind::Truncated, [before, after], _) => format!(
            "{} were taken back: the log went on with {after}",
            entries(TreeSize::ZERO.plus(before.get().saturating_sub(after.get())))
        ),
        (Kind::TimestampRegressed, [larger, smaller], _) => format!(
            "time ran back: of {larger} and {smaller} entries the more were signed at the earlier \
             time"
        ),
        (Kind::ChainMerkleMismatch, [size], _) => {
            format!("entry {size} of the tree is not the one that the head names as its last")
        }
        (Kind::BadEntry, _, Some(Proof::Inclusion { leaf_index, .. })) => {
            format!("entry {} is in the signed tree and breaks a rule of the log", leaf_index + 1)
        }
        (Kind::BadEntry, ..) => "an entry of the signed tree breaks a rule of the log".to_owned(),
        (Kind::WitnessEquivocated, ..) => "no single log begins with all of these trees: the \
             witness vouched for two histories"
            .to_owned(),
        _ => "the statements exclude each other".to_owned(),
    }
}

/// A text that anybody wrote, on one line and without characters that mislead.
fn plain(text: &str) -> String {
    let shown = text.chars().take(MAX_TEXT);
    shown.fold(String::new(), |mut out, c| {
        let misleads = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if misleads {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}
