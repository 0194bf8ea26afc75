//! Trust policies: which logs are believed, and which witnesses must have cosigned (C2SP
//! tlog-policy, at commit 5ba5ee8).
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <member>...
//! quorum <name>|none
//! ```
//!
//! Items stand between spaces and tabs; a line that begins with `#` is a comment. A name is known
//! from the line below its own. Names are compared byte by byte; those that are not UTF-8, which
//! C2SP would take, are refused here, and so is every other item that is not.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{KeyKind, Note, VerifyError, Vkey, VkeyError};

/// The longest policy that is looked at.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// The most logs of a policy.
pub const MAX_LOGS: usize = 256;

/// The most witnesses of a policy.
pub const MAX_WITNESSES: usize = 256;

/// The most groups of a policy.
pub const MAX_GROUPS: usize = 256;

/// The name that stands for no quorum at all, and that nothing else may have.
const NONE: &str = "none";

/// The logs whose checkpoints are believed, once a quorum of witnesses cosigned them.
///
/// Shown as a policy that means the same, without comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A log that a policy believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    vkey: Vkey,
    url: Option<String>,
}

/// A witness that a policy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    name: String,
    vkey: Vkey,
    url: Option<String>,
}

/// Witnesses and groups of which some number must have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Member>,
}

/// What a name stands for, by its place among its kind. A group's members are defined above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// What must have cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    Nothing,
    Of(Member),
}

impl Policy {
    /// Reads a policy; its last line is terminated like all others, so that none is cut short.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        let mut parser = Parser::default();
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            parser.read(line).map_err(|reason| PolicyError::Line { line: number, reason })?;
        }
        parser.finish()
    }

    /// The logs, any of which may have signed a checkpoint.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses, those outside the quorum included.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether the witnesses of which `cosigned` is true are enough; without a quorum any are.
    pub fn has_quorum(&self, cosigned: impl Fn(&PolicyWitness) -> bool) -> bool {
        self.fold(
            |witness| cosigned(witness),
            |group, members| {
                members.into_iter().filter(|cosigned| *cosigned).count() >= group.threshold
            },
        )
        .unwrap_or(true)
    }

    /// The fewest witnesses that can make the quorum: 0 if there is none.
    pub fn required(&self) -> usize {
        self.fold(
            |_| 1,
            |group, mut members: Vec<usize>| {
                members.sort_unstable();
                members.into_iter().take(group.threshold).sum()
            },
        )
        .unwrap_or(0)
    }

    /// Whether a checkpoint needs no cosignature.
    pub fn quorum_is_none(&self) -> bool {
        self.quorum == Quorum::Nothing
    }

    /// Finds the witnesses that cosigned a note, each once.
    ///
    /// Lines of unknown keys are passed over; one of a known witness that does not verify spoils
    /// the note.
    pub fn cosigners(&self, note: &Note) -> Result<Vec<&PolicyWitness>, VerifyError> {
        let known: Vec<Vkey> = self.witnesses.iter().map(|one| one.vkey.clone()).collect();
        let verified = match note.verify(&known) {
            Err(VerifyError::NoKnownSignature) => Vec::new(),
            verified => verified?,
        };
        let made = |vkey| verified.iter().any(|one| one.key == vkey);
        Ok(self.witnesses.iter().filter(|witness| made(&witness.vkey)).collect())
    }

    /// Opens a checkpoint that a listed log signed and a quorum cosigned.
    pub fn open(&self, note: &Note) -> Result<Checkpoint, PolicyOpenError> {
        let checkpoint = self.open_log(note)?;
        let cosigners = self.cosigners(note).map_err(PolicyOpenError::Cosignature)?;
        if !self.has_quorum(|witness| cosigners.contains(&witness)) {
            let (got, required) = (cosigners.len(), self.required());
            return Err(PolicyOpenError::NoQuorum { got, required });
        }
        Ok(checkpoint)
    }

    /// Opens a checkpoint that the listed log of its origin signed, whoever cosigned it.
    fn open_log(&self, note: &Note) -> Result<Checkpoint, PolicyOpenError> {
        let known: Vec<Vkey> = self.logs.iter().map(|log| log.vkey.clone()).collect();
        let verified = note.verify(&known).map_err(PolicyOpenError::Log)?;
        let checkpoint: Checkpoint = note.text().parse()?;
        let is_origin = verified.iter().any(|one| one.key.name().as_str() == checkpoint.origin());
        if is_origin { Ok(checkpoint) } else { Err(PolicyOpenError::OtherOrigin) }
    }

    /// Computes the value of the quorum from those of the witnesses and, in the order in which
    /// they are defined, of the groups; `None` without a quorum.
    fn fold<T: Copy>(
        &self,
        of_witness: impl Fn(&PolicyWitness) -> T,
        of_group: impl Fn(&Group, Vec<T>) -> T,
    ) -> Option<T> {
        let witnesses: Vec<T> = self.witnesses.iter().map(of_witness).collect();
        let mut groups: Vec<T> = Vec::with_capacity(self.groups.len());
        let value = |groups: &[T], member: Member| match member {
            Member::Witness(place) => witnesses[place],
            Member::Group(place) => groups[place],
        };
        for group in &self.groups {
            let members = group.members.iter().map(|member| value(&groups, *member)).collect();
            groups.push(of_group(group, members));
        }
        match self.quorum {
            Quorum::Nothing => None,
            Quorum::Of(member) => Some(value(&groups, member)),
        }
    }

    fn name_of(&self, member: Member) -> &str {
        match member {
            Member::Witness(place) => &self.witnesses[place].name,
            Member::Group(place) => &self.groups[place].name,
        }
    }
}

impl PolicyLog {
    /// The key of the log, named after its origin.
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Where the log is, if the policy says so; not looked at.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

impl PolicyWitness {
    /// The name within the policy; that of the key may be another.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that cosigns.
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Where checkpoints are sent to be cosigned, if the policy says so; not looked at.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            write!(f, "log {}", log.vkey)?;
            end_with_url(f, log.url())?;
        }
        for witness in &self.witnesses {
            write!(f, "witness {} {}", witness.name, witness.vkey)?;
            end_with_url(f, witness.url())?;
        }
        for group in &self.groups {
            write!(f, "group {} {}", group.name, group.threshold)?;
            group.members.iter().try_for_each(|member| write!(f, " {}", self.name_of(*member)))?;
            writeln!(f)?;
        }
        let quorum = match self.quorum {
            Quorum::Nothing => NONE,
            Quorum::Of(member) => self.name_of(member),
        };
        writeln!(f, "quorum {quorum}")
    }
}

fn end_with_url(f: &mut fmt::Formatter<'_>, url: Option<&str>) -> fmt::Result {
    match url {
        Some(url) => writeln!(f, " {url}"),
        None => writeln!(f),
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::parse(text.as_bytes())
    }
}

/// Why bytes are not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// More than [`MAX_POLICY_BYTES`].
    #[error("the policy is longer than 1 MiB")]
    TooLong,
    /// No line says what must have cosigned.
    #[error("the policy has no quorum line: end it with `quorum <name>` or `quorum none`")]
    NoQuorum,
    /// One line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: PolicyLineError,
    },
}

/// Why a line cannot stand where it does in a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyLineError {
    /// The last line has no line feed, as if the rest were missing.
    #[error("the line is not terminated: end it with a line feed")]
    NotTerminated,
    /// A byte below 0x20 other than tab and line feed, or 0x7f.
    #[error("the line has a control character; lines end with a line feed alone")]
    ControlCharacter,
    /// Legal for C2SP, whose names are any bytes, but not here.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The first item is none of the four.
    #[error("a line begins with `log`, `witness`, `group` or `quorum`, not with {0:?}")]
    UnknownKeyword(String),
    /// The line ends too early.
    #[error("an item is missing: the form is `{0}`")]
    MissingItem(Form),
    /// Something stands behind the last item; a comment needs a line of its own.
    #[error("there is an item too many: the form is `{0}`, and comments have lines of their own")]
    ExtraItem(Form),
    /// The key cannot be read.
    #[error("the key cannot be used: {0}")]
    Vkey(#[from] VkeyError),
    /// A log's key that is no plain Ed25519 key.
    #[error("the key of a log is of type 0x01, not 0x04")]
    NotALogKey,
    /// A witness's key that makes no cosignatures.
    #[error("the key of a witness is of type 0x04, not 0x01")]
    NotAWitnessKey,
    /// Another line has this log's key, perhaps under another name.
    #[error("the policy has a log with the same key already")]
    DuplicateLog,
    /// Another line has this witness's key, perhaps under another name.
    #[error("the policy has a witness with the same key already")]
    DuplicateWitness,
    /// More than [`MAX_LOGS`].
    #[error("the policy has more than 256 logs")]
    TooManyLogs,
    /// More than [`MAX_WITNESSES`].
    #[error("the policy has more than 256 witnesses")]
    TooManyWitnesses,
    /// More than [`MAX_GROUPS`].
    #[error("the policy has more than 256 groups")]
    TooManyGroups,
    /// Where a name is given or a member is listed, `none` is no name.
    #[error("`none` can be nothing but the quorum")]
    ReservedName,
    /// A line above gave the name to a witness or group.
    #[error("the name {0:?} is taken")]
    DuplicateName(String),
    /// No line above defines the name.
    #[error("no line above defines {0:?}")]
    UnknownName(String),
    /// The name is listed in this group or in one above already.
    #[error("{0:?} is a member of a group already")]
    AlreadyMember(String),
    /// Neither of the two words nor a decimal number without leading zeros.
    #[error("a group needs `all`, `any` or a number of its members")]
    BadThreshold,
    /// Nothing makes the group, or too many must.
    #[error("a group needs at least one and at most all of its members")]
    ThresholdOutOfRange,
    /// A line above is the quorum already.
    #[error("the policy has a quorum already")]
    SecondQuorum,
}

/// What a line of a policy looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Names a log.
    Log,
    /// Names a witness.
    Witness,
    /// Joins witnesses and groups.
    Group,
    /// Says what must have cosigned.
    Quorum,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log <vkey> [<url>]",
            Self::Witness => "witness <name> <vkey> [<url>]",
            Self::Group => "group <name> all|any|<k> <member>...",
            Self::Quorum => "quorum <name>|none",
        })
    }
}

/// Why a policy does not believe a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyOpenError {
    /// No listed log signed it, or a line that names one is not by it.
    #[error("no log of the policy signed: {0}")]
    Log(#[source] VerifyError),
    /// What the log signed is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A listed log signed the checkpoint of another origin.
    #[error("the origin of the checkpoint is not the name of the log's key")]
    OtherOrigin,
    /// A line that names a listed witness is not by it.
    #[error("a cosignature is bad: {0}")]
    Cosignature(#[source] VerifyError),
    /// The witnesses that cosigned are not enough.
    #[error("{got} of the policy's witnesses cosigned, no quorum: it takes at least {required}")]
    NoQuorum {
        /// How many cosigned; the right ones, or enough in each group, may be missing.
        got: usize,
        /// How many it takes at least.
        required: usize,
    },
}

/// What the lines so far said.
#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// What each name stands for, and whether a group lists it.
    names: HashMap<String, (Member, bool)>,
    quorum: Option<Quorum>,
}

impl Parser {
    fn finish(self) -> Result<Policy, PolicyError> {
        let Self { logs, witnesses, groups, quorum, .. } = self;
        let quorum = quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Policy { logs, witnesses, groups, quorum })
    }

    fn read(&mut self, line: &[u8]) -> Result<(), PolicyLineError> {
        let line = line.strip_suffix(b"\n").ok_or(PolicyLineError::NotTerminated)?;
        if line.iter().any(|byte| matches!(byte, 0..=8 | 0x0a..0x20 | 0x7f)) {
            return Err(PolicyLineError::ControlCharacter);
        }
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        if line.iter().find(|byte| !blank(byte)) == Some(&b'#') {
            return Ok(());
        }
        let line = str::from_utf8(line).map_err(|_| PolicyLineError::NotUtf8)?;
        let mut items = line.split([' ', '\t']).filter(|item| !item.is_empty());
        match items.next() {
            None => Ok(()),
            Some("log") => self.log(Items { items, form: Form::Log }),
            Some("witness") => self.witness(Items { items, form: Form::Witness }),
            Some("group") => self.group(Items { items, form: Form::Group }),
            Some("quorum") => self.quorum(Items { items, form: Form::Quorum }),
            Some(other) => Err(PolicyLineError::UnknownKeyword(other.to_owned())),
        }
    }

    fn log<'a>(&mut self, mut items: Items<impl Iterator<Item = &'a str>>) -> LineResult {
        let vkey: Vkey = items.next()?.parse()?;
        let url = items.url()?;
        if vkey.kind() != KeyKind::Ed25519 {
            return Err(PolicyLineError::NotALogKey);
        }
        if self.logs.iter().any(|log| log.vkey.key() == vkey.key()) {
            return Err(PolicyLineError::DuplicateLog);
        }
        if self.logs.len() == MAX_LOGS {
            return Err(PolicyLineError::TooManyLogs);
        }
        self.logs.push(PolicyLog { vkey, url });
        Ok(())
    }

    fn witness<'a>(&mut self, mut items: Items<impl Iterator<Item = &'a str>>) -> LineResult {
        let name = items.next()?.to_owned();
        let vkey: Vkey = items.next()?.parse()?;
        let url = items.url()?;
        if vkey.kind() != KeyKind::Cosignature {
            return Err(PolicyLineError::NotAWitnessKey);
        }
        if self.witnesses.iter().any(|witness| witness.vkey.key() == vkey.key()) {
            return Err(PolicyLineError::DuplicateWitness);
        }
        if self.witnesses.len() == MAX_WITNESSES {
            return Err(PolicyLineError::TooManyWitnesses);
        }
        self.define(&name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name, vkey, url });
        Ok(())
    }

    fn group<'a>(&mut self, mut items: Items<impl Iterator<Item = &'a str>>) -> LineResult {
        let name = items.next()?.to_owned();
        let threshold = items.next()?;
        let first = items.next()?;
        if self.groups.len() == MAX_GROUPS {
            return Err(PolicyLineError::TooManyGroups);
        }
        // Defined last, so that no group is its own member.
        let members = std::iter::once(first)
            .chain(items.items)
            .map(|member| self.take_member(member))
            .collect::<Result<Vec<_>, _>>()?;
        let threshold = parse_threshold(threshold, members.len())?;
        self.define(&name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name, threshold, members });
        Ok(())
    }

    fn quorum<'a>(&mut self, mut items: Items<impl Iterator<Item = &'a str>>) -> LineResult {
        let name = items.next()?;
        items.end()?;
        if self.quorum.is_some() {
            return Err(PolicyLineError::SecondQuorum);
        }
        self.quorum = Some(match name {
            NONE => Quorum::Nothing,
            name => Quorum::Of(self.names.get(name).ok_or_else(|| unknown(name))?.0),
        });
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> LineResult {
        if name == NONE {
            return Err(PolicyLineError::ReservedName);
        }
        if self.names.contains_key(name) {
            return Err(PolicyLineError::DuplicateName(name.to_owned()));
        }
        self.names.insert(name.to_owned(), (member, false));
        Ok(())
    }

    /// Puts a name into a group: each may be in one alone, so that nobody counts twice.
    fn take_member(&mut self, name: &str) -> Result<Member, PolicyLineError> {
        if name == NONE {
            return Err(PolicyLineError::ReservedName);
        }
        let (member, taken) = self.names.get_mut(name).ok_or_else(|| unknown(name))?;
        if std::mem::replace(taken, true) {
            return Err(PolicyLineError::AlreadyMember(name.to_owned()));
        }
        Ok(*member)
    }
}

type LineResult = Result<(), PolicyLineError>;

/// What follows the first word of a line.
struct Items<I> {
    items: I,
    form: Form,
}

impl<'a, I: Iterator<Item = &'a str>> Items<I> {
    fn next(&mut self) -> Result<&'a str, PolicyLineError> {
        self.items.next().ok_or(PolicyLineError::MissingItem(self.form))
    }

    /// The last item, which may be missing. One that begins with `#` was meant as a comment.
    fn url(&mut self) -> Result<Option<String>, PolicyLineError> {
        let url = self.items.next();
        if url.is_some_and(|url| url.starts_with('#')) {
            return Err(PolicyLineError::ExtraItem(self.form));
        }
        self.end()?;
        Ok(url.map(str::to_owned))
    }

    fn end(&mut self) -> LineResult {
        match self.items.next() {
            None => Ok(()),
            Some(_) => Err(PolicyLineError::ExtraItem(self.form)),
        }
    }
}

fn parse_threshold(text: &str, members: usize) -> Result<usize, PolicyLineError> {
    let is_decimal = text == "0" || !text.starts_with(['0', '+']);
    let threshold = match text {
        "any" => 1,
        "all" => members,
        number if is_decimal => number.parse().map_err(|_| PolicyLineError::BadThreshold)?,
        _ => return Err(PolicyLineError::BadThreshold),
    };
    let in_range = (1..=members).contains(&threshold);
    if in_range { Ok(threshold) } else { Err(PolicyLineError::ThresholdOutOfRange) }
}

fn unknown(name: &str) -> PolicyLineError {
    PolicyLineError::UnknownName(name.to_owned())
}
