//! `status`: what this witness knows, beside what a server knows about it.

use diogenes_common::exit::Failure;
use diogenes_common::head::{HeadJson, Origin};
use diogenes_common::wire::witnesses::{WitnessRecord, WitnessState};
use serde::Serialize;

use super::{Bench, print_json};
use crate::agent::RoundError;
use crate::state::LogState;

#[derive(clap::Args)]
pub(super) struct Status {
    /// A server of the log.
    #[arg(long, value_name = "URL")]
    server: String,
}

/// What `status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Standing {
    origin: Origin,
    fingerprint: String,
    state: WitnessState,
    local_tree_size: u64,
    unanswered: bool,
    proof_tree_size: Option<u64>,
    cosignature_tree_size: Option<u64>,
    level: bool,
}

impl Status {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let home = bench.existing_home()?;
        let mut agent = bench.agent(&home, &self.server, &[])?;
        let key = home.key().fingerprint();
        let (log, record) = bench.block_on(async {
            let log = agent.identify().await?;
            let record = agent.server().witness(key).await.map_err(RoundError::from)?;
            Ok((log, record))
        })?;
        let state = home.log(log.origin().as_str())?;
        let standing = Standing::new(log.origin(), key.to_string(), state.as_ref(), &record);
        if bench.json {
            print_json(&standing);
        } else {
            print!("{}", standing.text());
        }
        standing.verdict(&key.short().to_string())
    }
}

impl Standing {
    fn new(
        origin: &Origin,
        fingerprint: String,
        state: Option<&LogState>,
        record: &WitnessRecord,
    ) -> Self {
        let proof = record.last_proof.as_ref();
        let (proof_size, cosigned_size) = (
            proof.map(|proof| proof.new_tree_size.get()),
            record.last_cosignature.as_ref().map(|last| last.tree_size.get()),
        );
        let local = state.map_or(0, |state| state.tree().size.get());
        let theirs = proof_size.max(cosigned_size).unwrap_or(0);
        let head_of_theirs = proof
            .filter(|proof| proof.new_tree_size.get() == theirs)
            .and_then(|proof| serde_json::from_value::<HeadJson>(proof.head.clone()).ok());
        // The larger tree's head names the newest event in it: none lies between the two sizes
        // if that one lies below the smaller.
        let last_event = if local > theirs {
            state.and_then(LogState::head).map(|head| head.last_event_id)
        } else {
            head_of_theirs.map(|head| head.last_event_id)
        };
        let level = local == theirs || last_event.is_some_and(|event| event <= local.min(theirs));
        Self {
            origin: origin.clone(),
            fingerprint,
            state: record.state,
            local_tree_size: local,
            unanswered: state
                .and_then(LogState::submission)
                .is_some_and(|submission| !submission.answered),
            proof_tree_size: proof_size,
            cosignature_tree_size: cosigned_size,
            level: level && local > 0,
        }
    }

    fn text(&self) -> String {
        let size = |size: Option<u64>| size.map_or("none".to_owned(), |size| size.to_string());
        format!(
            "Log:          {}\nWitness:      {}\nState:        {}\nLocal size:   {}{}\n\
             Proof:        {}\nCosignature:  {}\n",
            self.origin,
            self.fingerprint,
            state_name(self.state),
            self.local_tree_size,
            if self.unanswered { " (not delivered yet)" } else { "" },
            size(self.proof_tree_size),
            size(self.cosignature_tree_size),
        )
    }

    fn verdict(&self, short: &str) -> Result<(), Failure> {
        if self.state != WitnessState::Authorized {
            return Err(Failure::refused(
                "witness_not_authorized",
                format!("the server says that this witness is {}", state_name(self.state)),
                format!("the operator must type: diogenes operator authorize-witness {short}"),
            ));
        }
        if self.level {
            return Ok(());
        }
        Err(Failure::refused(
            "not_level",
            "this witness and the server do not stand at the same events",
            "run: diogenes-witness submit --server URL",
        ))
    }
}

fn state_name(state: WitnessState) -> &'static str {
    match state {
        WitnessState::Authorized => "authorized",
        WitnessState::Reserved => "reserved",
        WitnessState::Pending => "pending",
        WitnessState::Revoked => "revoked",
        WitnessState::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::wire::witnesses::LastCosignature;

    use super::*;
    use crate::testing::History;

    fn record(state: WitnessState, cosigned: Option<u64>) -> WitnessRecord {
        let last_cosignature = cosigned.map(|size| LastCosignature {
            tree_size: History::honest().tree(size).size,
            checkpoint: None,
        });
        WitnessRecord {
            fingerprint: "sha256:".into(),
            state,
            since: None,
            display_name: None,
            server: None,
            vkey: None,
            last_proof: None,
            last_cosignature,
        }
    }

    fn standing(state: WitnessState, cosigned: Option<u64>) -> Standing {
        let origin = History::honest().origin();
        Standing::new(&origin, "f".into(), None, &record(state, cosigned))
    }

    #[test]
    fn a_witness_that_signed_nothing_is_not_level() {
        let verdict = standing(WitnessState::Authorized, None).verdict("s");

        assert_eq!(verdict.map_err(|failure| failure.reason()), Err("not_level"));
    }

    #[test]
    fn a_witness_that_is_not_authorized_says_what_to_type() {
        for state in [WitnessState::Pending, WitnessState::Reserved, WitnessState::Revoked] {
            let failure = standing(state, None).verdict("0123456789abcdef").unwrap_err();

            assert_eq!(failure.reason(), "witness_not_authorized");
            assert!(failure.what_to_do().ends_with("authorize-witness 0123456789abcdef"));
        }
    }
}
