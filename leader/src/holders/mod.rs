//! What the holders of keys ask for with `auth`: one way from a request to an entry, whatever it
//! is about.
//!
//! ```text
//! body = {"auth": answered challenge or nothing, the members of the request}
//! ```
//! A request names its signer. It is read, then authorised, then an event follows from it and
//! from nothing else but what the leader decides.

mod http;

use std::convert::Infallible;
use std::future::Future;

use ::http::HeaderMap;
use diogenes_common::event::{Asked, Authorization};
use diogenes_common::keys::{Fingerprint, HolderKey};
use diogenes_common::server::Caller;
use diogenes_common::server::body::misfit_problem;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::shape::{self, Misfit};
use diogenes_common::store::StoreError;
use diogenes_common::view::NoEffect;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use http::{post, post_within};

use crate::app::{App, no_effect};
use crate::auth::{Act, AuthError, AuthProof, auth_problem, authorize};
use crate::sequencer::AppendError;

/// A request of a key's holder.
pub(crate) trait Request: DeserializeOwned + PartialEq + Send {
    /// The event that follows from it.
    type Event: Asked<Request = Self> + Send;

    /// Whose request it is.
    fn signer(&self) -> Fingerprint;

    /// What can't be asked for, whatever the log holds.
    fn check(&self) -> Result<(), AskError> {
        Ok(())
    }

    /// What is refused before the request is read.
    fn look(_: &Value) -> Result<(), AskError> {
        Ok(())
    }

    /// The event, of an authorised request.
    fn event(
        self,
        app: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> impl Future<Output = Result<Self::Event, AskError>> + Send;
}

/// A request as it came.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// The request without `auth`.
    pub(crate) request: &'a Value,
    /// The answered challenge, if one came.
    pub(crate) auth: Option<&'a AuthProof>,
    /// Who sends it.
    pub(crate) caller: &'a Caller,
    /// With which headers.
    pub(crate) headers: &'a HeaderMap,
}

/// Why a request can't become an entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// A member is missing, unknown, or not of its type.
    #[error(transparent)]
    Shape(#[from] Misfit),
    /// A member is not as it should be.
    #[error("{member}: {detail}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What to change.
        detail: &'static str,
    },
    /// Only the operator endorses in this category.
    #[error("only the operator endorses in this category, by `operator endorse`")]
    CategoryReserved,
    /// There is no such offer for this key.
    #[error("there is no such offer")]
    NoOffer,
    /// The holder of the key did not say so.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Append(#[from] AppendError<Infallible>),
}

/// Reads a request.
pub(crate) fn read<R: Request>(request: &Value) -> Result<R, AskError> {
    R::look(request)?;
    let asked: R = shape::read(request)?;
    asked.check()?;
    Ok(asked)
}

/// Checks that the holder of a key wants this; answers the event that follows.
pub(crate) async fn authorised<R: Request>(
    app: &App,
    asked: R,
    asking: Asking<'_>,
) -> Result<R::Event, AskError> {
    let Asking { request, auth, caller, headers } = asking;
    let act = Act {
        signer: asked.signer(),
        action: R::Event::ACTION,
        request,
        may_recover: false,
        password: true,
    };
    let authorization = authorize(app, caller, headers, act, auth).await?;
    // Only who answered with it gets here.
    let row = app.store.key(&act.signer).await?.ok_or(AuthError::NotAnswered)?;
    let key = HolderKey::from_pem(&row.public_key).map_err(|_| AuthError::NotAnswered)?;
    asked.event(app, key, authorization).await
}

/// Describes requests together with their `auth`.
macro_rules! with_auth {
    ($($name:ident: $request:ident;)+) => {$(
        #[derive(utoipa::ToSchema)]
        #[expect(dead_code, reason = "it describes what is read in two steps")]
        struct $name {
            #[schema(inline)]
            #[serde(flatten)]
            request: $request,
            /// An answered challenge of the signer; without it a session of that key is needed.
            auth: Option<crate::auth::AuthProof>,
        }
    )+};
}
pub(crate) use with_auth;

/// What a client is told about a request that can't become an entry; `base` points to its members
/// and `auth` to its proof.
pub(crate) fn ask_problem(error: AskError, place: &str, base: &str, auth: &str) -> Problem {
    let text = format!("{place}{error}");
    match error {
        AskError::Shape(misfit) => misfit_problem(&misfit, place, base),
        AskError::Member { member, detail } => {
            Problem::new(Code::ValidationFailed, text).error(format!("{base}/{member}"), detail)
        }
        AskError::CategoryReserved => Problem::new(Code::CategoryReserved, text.clone())
            .error(format!("{base}/category"), text),
        AskError::NoOffer => no_effect(NoEffect::UnknownOffer, place),
        AskError::Auth(error) => auth_problem(error, auth).within(place),
        AskError::Store(error) => error.into(),
        AskError::Append(error) => error.into(),
    }
}
