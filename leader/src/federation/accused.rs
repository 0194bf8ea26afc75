//! A proof that our own key signed two histories, whoever brings it.

use diogenes_common::read::Latching;
use diogenes_common::server::problem::Problem;

use crate::app::App;
use crate::sequencer::NotSigning;

/// Keeps the proof, then signs nothing more. Reads go on: what is held stays worth reading.
///
/// An honest leader is never stopped by this, since nobody else can make its signatures.
pub(crate) async fn accused(app: &App, proof: Latching) -> Result<(), Problem> {
    let kind = proof.kind;
    app.store.open_incident(&proof.incident(app.origin.as_str())).await?;
    app.sequencer.stop_signing(NotSigning::Latched(kind));
    tracing::error!(kind = kind.as_str(), "proven against our own key: nothing is signed any more");
    Ok(())
}
