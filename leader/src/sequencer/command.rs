//! What can be asked of the sequencer: typed commands, and the jobs that carry them.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::event::{CheckedPayload, Payload};
use diogenes_common::evidence::Kind;
use diogenes_common::head::Origin;
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::{EventType, Leaf};
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::Snapshot;
use diogenes_common::store::LocalWrite;
use diogenes_common::view::{Needs, NoEffect, Overlay};
use tokio::sync::oneshot;

/// Something that may append entries: parsed, its signatures checked, waiting to be ordered.
///
/// A new kind of event is a new implementation in its feature's folder; the sequencer stays as
/// it is.
pub(crate) trait Command: Send + 'static {
    /// Why this command can be refused.
    type Refusal: Send;

    /// Names the view rows that [`Command::decide`] reads.
    fn needs(&self, needs: &mut Needs);

    /// Decides on the views as the commands before it left them. Pure: no clock, no database.
    fn decide(
        &mut self,
        context: &Context<'_>,
        overlay: &Overlay,
    ) -> Result<Decision, Self::Refusal>;

    /// An upper bound of the bytes that the entries will hold, for the batch's own bound.
    fn bytes(&self) -> usize;

    /// How many entries the command appends at most.
    fn entries(&self) -> usize {
        1
    }

    /// Whether every entry is a namespaced event, which no state rule can refuse.
    fn is_generic(&self) -> bool {
        false
    }
}

/// What a decision may depend on besides the views.
pub(crate) struct Context<'a> {
    /// The timestamp that the entries of this batch carry.
    pub(crate) now: Timestamp,
    /// The size of the log before the command's own entries.
    pub(crate) size: TreeSize,
    /// The log's name.
    pub(crate) origin: &'a Origin,
    /// The operator's key, which signs operator statements.
    pub(crate) operator: &'a SigningKey,
}

/// What a command came to.
pub(crate) enum Decision {
    /// Entries to append, all or none, with what the node itself notes about them.
    Append {
        /// In their order.
        entries: Vec<NewEntry>,
        /// Rows of `local_*` tables for the same transaction.
        local: Vec<LocalWrite>,
    },
    /// The log already says so.
    Found {
        /// The entry that says it.
        id: u64,
    },
}

/// An entry before it has a place in the log. Whether the rules of state allow it is asked when
/// it is applied to the views, by the same function as on a follower.
#[derive(Clone)]
pub(crate) struct NewEntry {
    /// What it says.
    pub(super) content: Content,
    /// Which event of the request it comes from.
    pub(super) index: usize,
}

/// What an entry says.
#[derive(Clone)]
pub(super) enum Content {
    /// To be checked in its place.
    Plain {
        /// Its type.
        event_type: EventType,
        /// Its payload, canonical.
        payload: Vec<u8>,
    },
    /// Checked by who asks, but for its place.
    Checked(CheckedPayload),
}

impl NewEntry {
    /// The entry of this payload.
    pub(crate) fn of<P: Payload>(payload: &P) -> Self {
        let event_type = P::EVENT_TYPE.parse().expect("a known event type");
        Self::plain(event_type, payload.to_payload())
    }

    /// The entry of this type and canonical payload.
    pub(crate) fn plain(event_type: EventType, payload: Vec<u8>) -> Self {
        Self { content: Content::Plain { event_type, payload }, index: 0 }
    }

    /// The entry of this payload, checked here and now as far as that needs no place in the log.
    ///
    /// For those who ask, of whom many run at once. What does not hold is found again in its
    /// place, and refused there.
    pub(crate) fn checked<P: Payload>(payload: &P, origin: &Origin) -> Self {
        CheckedPayload::of(payload, origin).map_or_else(|_| Self::of(payload), Self::from)
    }

    /// Its type.
    pub(crate) fn event_type(&self) -> &EventType {
        match &self.content {
            Content::Plain { event_type, .. } => event_type,
            Content::Checked(checked) => checked.event_type(),
        }
    }

    /// Its payload.
    pub(crate) fn payload(&self) -> &[u8] {
        match &self.content {
            Content::Plain { payload, .. } => payload,
            Content::Checked(checked) => checked.payload(),
        }
    }

    /// The same, from another event of the request than the first.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }
}

impl From<CheckedPayload> for NewEntry {
    fn from(checked: CheckedPayload) -> Self {
        Self { content: Content::Checked(checked), index: 0 }
    }
}

/// What a caller learns when its command is durable and covered by a signed head.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The entries were appended.
    Appended(Appended),
    /// Nothing was appended, since this entry already says it.
    Found {
        /// The entry.
        id: u64,
    },
}

/// Entries that are durable and covered by a signed head.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    /// The entries in their order.
    pub(crate) leaves: Vec<Leaf>,
    /// The log right after their batch.
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Why a command did not end in entries.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError<R> {
    /// The command breaks a rule of the log as it stands.
    #[error("the command was refused")]
    Refused(R),
    /// A rule of state forbids the entry: it would have no effect.
    #[error("the log does not allow this as it stands: {reason}")]
    NoEffect {
        /// Which event of the request.
        index: usize,
        /// The rule.
        reason: NoEffect,
    },
    /// The entry breaks a rule of leaves; followers would refuse it.
    #[error("{0}")]
    Entry(diogenes_common::batch::EntryFault),
    /// Too much waits already.
    #[error("too many events wait to be appended")]
    Overloaded,
    /// The database did not answer; whether the entries were stored is not known.
    #[error("the transparency log is unreachable")]
    Unreachable,
    /// The clock of this machine can't be trusted right now.
    #[error("the clock of the leader stepped")]
    ClockStep,
    /// The leader may not sign, and so may not append.
    #[error("the leader does not sign: {0}")]
    NotSigning(NotSigning),
    /// The leader is going down.
    #[error("the leader is shutting down")]
    Closing,
    /// A bug; nothing was appended.
    #[error("the leader contradicts itself; nothing was appended")]
    Internal,
}

/// Why a leader serves reads only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSigning {
    /// The guard file is missing: the database may be an old copy.
    #[error(
        "its signed-guard is missing, so its database may be an old copy: every node of \
         DIOGENES_PEERS has to answer, or `recover --from URL`, or `serve --accept-size`"
    )]
    Unconfirmed,
    /// A head signed by our own key shows a log that this database does not hold.
    #[error(
        "a head signed by its own key is not on the history that it holds: stop it, then \
         `diogenes-leader recover --from URL`"
    )]
    SelfRolledBack,
    /// Signatures of our own key contradict each other.
    #[error("signatures of its own key prove {} against it", .0.as_str())]
    Latched(Kind),
}

/// A command on its way through the sequencer, whatever its type.
pub(super) trait Job: Send {
    fn needs(&self, needs: &mut Needs);
    fn bytes(&self) -> usize;
    fn entries(&self) -> usize;
    fn is_generic(&self) -> bool;
    /// `None` when the command was refused; the caller is told at the end of the batch.
    fn decide(&mut self, context: &Context<'_>, overlay: &Overlay) -> Option<Decision>;
    fn finish(self: Box<Self>, result: Result<Outcome, Failed>);
}

/// Why a job failed for a reason that is not the command's own.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// The command's own refusal, noted when it decided.
    Refused,
    NoEffect {
        index: usize,
        reason: NoEffect,
    },
    Entry(diogenes_common::batch::EntryFault),
    Unreachable,
    ClockStep,
    NotSigning(NotSigning),
    Internal,
}

pub(super) struct Pending<C: Command> {
    pub(super) command: C,
    pub(super) refusal: Option<C::Refusal>,
    pub(super) answer: oneshot::Sender<Result<Outcome, AppendError<C::Refusal>>>,
}

impl<C: Command> Job for Pending<C> {
    fn needs(&self, needs: &mut Needs) {
        self.command.needs(needs);
    }

    fn bytes(&self) -> usize {
        self.command.bytes()
    }

    fn entries(&self) -> usize {
        self.command.entries()
    }

    fn is_generic(&self) -> bool {
        self.command.is_generic()
    }

    fn decide(&mut self, context: &Context<'_>, overlay: &Overlay) -> Option<Decision> {
        match self.command.decide(context, overlay) {
            Ok(decision) => Some(decision),
            Err(refusal) => {
                self.refusal = Some(refusal);
                None
            }
        }
    }

    fn finish(self: Box<Self>, result: Result<Outcome, Failed>) {
        let Self { command, refusal, answer: caller } = *self;
        // What it holds is free before the caller can ask for it again.
        drop(command);
        let answer = result.map_err(|failed| match (failed, refusal) {
            (Failed::Refused, Some(refusal)) => AppendError::Refused(refusal),
            (Failed::NoEffect { index, reason }, _) => AppendError::NoEffect { index, reason },
            (Failed::Entry(fault), _) => AppendError::Entry(fault),
            (Failed::ClockStep, _) => AppendError::ClockStep,
            (Failed::NotSigning(reason), _) => AppendError::NotSigning(reason),
            (Failed::Unreachable, _) => AppendError::Unreachable,
            (Failed::Internal | Failed::Refused, _) => AppendError::Internal,
        });
        // A caller that hung up needs no answer; its entries are in the log all the same.
        let _ = caller.send(answer);
    }
}
