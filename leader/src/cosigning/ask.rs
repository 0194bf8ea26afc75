//! The task that asks one witness: it sends the head of each round, and does what [`Asker`] says.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use diogenes_common::client::{Answer, FetchError};
use diogenes_common::evidence::{Observation, Observed};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::consistency_proof;
use diogenes_common::retry::Retry;
use diogenes_common::statement::Reason;
use diogenes_common::store::{NewEvidence, NewIncident, StoreError};
use tokio_util::sync::CancellationToken;

use super::answer::{Fault, Question, Verdict, judge};
use super::asker::{Asker, Step};
use super::settings::Asked;
use super::{Named, http, last_cosignature};
use crate::app::App;

/// The first pause after a failure, which doubles, and the longest, unless rounds are further apart:
/// a round waits no longer for its quorum before the next may open. A witness may ask for a longer
/// one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// How long a witness that refuses us is left alone.
const SLOW_RETRY: Duration = Duration::from_secs(300);

/// How often it is looked whether an incident is still open.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Asks one witness of the policy to cosign each round, until `stop` is cancelled.
pub(crate) async fn run(app: App, witness: Asked, stop: CancellationToken) -> Result<(), Failure> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        never = Asking::new(app, witness).run() => match never {},
    }
}

struct Asking {
    app: App,
    witness: Asked,
    retry: Retry,
    /// Whether the operator was told that it refuses us.
    was_refused: bool,
}

impl Asking {
    fn new(app: App, witness: Asked) -> Self {
        Self { app, witness, retry: Retry::new(FIRST_RETRY), was_refused: false }
    }

    async fn run(mut self) -> Infallible {
        loop {
            let asker = Asker::new(self.signed().await);
            let incident = self.ask(asker).await;
            self.wait_for_the_operator(incident).await;
        }
    }

    /// The largest size of which its cosignature is stored.
    async fn signed(&mut self) -> TreeSize {
        loop {
            match last_cosignature(&self.app.store, &self.witness.vkey).await {
                Ok(row) => return row.map_or(TreeSize::ZERO, |row| row.tree_size),
                Err(error) => self.failed(&error, None).await,
            }
        }
    }

    /// Asks for one round after the other, until it may not be asked any more.
    async fn ask(&mut self, mut asker: Asker) -> NewIncident {
        let mut rounds = self.app.cosigning.round.subscribe();
        loop {
            let current = rounds.borrow_and_update().clone();
            let from = current.as_ref().and_then(|named| asker.asks_from(named.round.size()));
            let (Some(named), Some(old)) = (current, from) else {
                // The sender lives as long as the app.
                let _ = rounds.changed().await;
                continue;
            };
            let asked = named.trace.clone().scope(self.put(&named, old));
            let (verdict, answer) = match asked.await {
                Ok(heard) => heard,
                Err(error) => {
                    self.failed(&error, None).await;
                    continue;
                }
            };
            match asker.hears(named.round.size(), &verdict) {
                Step::Rest => self.is_well(),
                Step::Again(pause) => tokio::time::sleep(pause).await,
                Step::Later(patience) => self.failed(&verdict, patience).await,
                Step::Slowly => self.refused(&verdict).await,
                Step::Stop(fault) => return self.incident(fault, &answer),
            }
        }
    }

    /// Asks for one cosignature, which is durable before it counts.
    async fn put(
        &self,
        named: &Named,
        old: TreeSize,
    ) -> Result<(Verdict, Result<Answer, FetchError>), StoreError> {
        let (app, Asked { name, vkey, url, client }) = (&self.app, &self.witness);
        let Named { round, snapshot, .. } = named;
        let proof = consistency_proof(&app.store, snapshot, old, round.size()).await?;
        let body = http::body(old, &proof, round.note());
        let answer = http::add_checkpoint(client, url, body).await;
        let newest = app.published.snapshot();
        let held = newest.map_or(round.size(), |newest| newest.edge.size());
        let question = Question { old, checkpoint: round.checkpoint(), key: vkey };
        let verdict = judge(question, &answer, held, app.clock.now());
        app.metrics.cosign_requests.with_label_values(&[name, verdict.label()]).inc();
        match &verdict {
            Verdict::Cosigned(row) => {
                app.store.put_cosignatures(std::slice::from_ref(row)).await?;
                app.cosigning.saw_witness_at(row.tree_size);
                app.cosigning.arrived.notify_one();
            }
            Verdict::StandsAt(size) => app.cosigning.saw_witness_at(*size),
            Verdict::Later(..) | Verdict::Refused { .. } | Verdict::Fault(_) => {}
        }
        Ok((verdict, answer))
    }

    fn is_well(&mut self) {
        if self.was_refused || self.retry.failures() > 0 {
            tracing::info!(witness.name = %self.witness.name, "the witness answers again");
        }
        self.was_refused = false;
        self.retry.reset();
    }

    /// Says once that something goes wrong, and waits ever longer.
    async fn failed(&mut self, why: &(dyn Display + Sync), asked: Option<Duration>) {
        let name = &self.witness.name;
        if self.retry.failures() == 0 {
            tracing::warn!(witness.name = %name, "the witness can't be asked: {why}");
        } else {
            tracing::debug!(witness.name = %name, "the witness can't be asked: {why}");
        }
        let longest =
            asked.unwrap_or_default().max(LONGEST_RETRY).max(self.app.cosigning.spacing());
        tokio::time::sleep(self.retry.next_delay_at_least(asked).min(longest)).await;
    }

    /// Says once that somebody has to configure something, and waits long.
    async fn refused(&mut self, why: &Verdict) {
        if !self.was_refused {
            let (name, url) = (&self.witness.name, &self.witness.url);
            tracing::warn!(
                witness.name = %name,
                "the witness at {url} does not cosign this log: {why}; does it know the log and its key?"
            );
        }
        self.was_refused = true;
        tokio::time::sleep(SLOW_RETRY).await;
    }

    fn incident(&self, fault: Fault, answer: &Result<Answer, FetchError>) -> NewIncident {
        let Asked { name, vkey, url, .. } = &self.witness;
        tracing::error!(witness.name = %name, "the witness is not asked any more: {fault}");
        let now = self.app.clock.now();
        let reason = Reason::try_from(fault.reason()).expect("the code of a fault is a reason");
        let observed = Observed { at: now, by: self.app.operator_fingerprint().to_string() };
        let seen = Observation::new(reason, fault.to_string(), url.to_string(), &observed);
        let seen = match answer {
            Ok(answer) => seen.with_answer(answer.status, [], &answer.body),
            Err(FetchError::Status(answer)) => {
                let media_type = answer.media_type.as_deref().map(|value| ("content-type", value));
                seen.with_answer(answer.status, media_type, &answer.body)
            }
            Err(_) => seen,
        };
        let evidence =
            NewEvidence { kind: "observation".to_owned(), created_at: now, bytes: seen.to_bytes() };
        NewIncident {
            kind: fault.kind().to_owned(),
            subject: vkey.key().fingerprint().to_string(),
            class: "transient".to_owned(),
            reason: fault.reason().to_owned(),
            detail: format!("witness {name}: {fault}"),
            opened_at: now,
            evidence: Some(evidence),
        }
    }

    /// Opens the incident and waits until it is acknowledged.
    async fn wait_for_the_operator(&mut self, incident: NewIncident) {
        let id = loop {
            match self.app.store.open_incident(&incident).await {
                Ok(id) => break id,
                Err(error) => self.failed(&error, None).await,
            }
        };
        self.retry.reset();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if let Ok(incident) = self.app.store.incident(id).await
                && incident.is_none_or(|incident| incident.acked_at.is_some())
            {
                break;
            }
        }
        tracing::info!(witness.name = %self.witness.name, "the witness is asked again");
    }
}
