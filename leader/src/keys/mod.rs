//! Keys: registering them on the log. Reading them is the same on every node (`common::read`).

mod http;
mod register;

use diogenes_common::server::problem::{Code, Problem};

pub(crate) use http::router;
pub(crate) use register::{
    BadRegistration, CheckedRegistration, KeyAlreadyRegistered, RegistrationRequest,
};

use crate::app::{App, place_of};
use crate::sequencer::{AppendError, Appended, Outcome};
use register::Register;

/// Registers a key, or says why it can't be.
async fn register(
    app: &App,
    registration: CheckedRegistration,
) -> Result<Appended, AppendError<KeyAlreadyRegistered>> {
    match app.sequencer.submit(Register(registration)).await? {
        Outcome::Appended(appended) => Ok(appended),
        Outcome::Found { .. } => Err(AppendError::Internal),
    }
}

/// What a client is told about a registration that can't be taken.
pub(crate) fn registration_problem(error: &BadRegistration, index: Option<usize>) -> Problem {
    let (place, pointer) = place_of(index);
    let text = format!("{place}{error}");
    match error {
        BadRegistration::Shape(_) => Problem::new(Code::ValidationFailed, text.clone())
            .error(format!("{pointer}/payload"), text),
        BadRegistration::UnknownMember(_) => {
            Problem::new(Code::UnknownField, text.clone()).error(format!("{pointer}/payload"), text)
        }
        BadRegistration::Member { member, detail } => {
            let code = match *member {
                "public_key" => Code::InvalidPublicKey,
                _ => Code::ValidationFailed,
            };
            Problem::new(code, format!("{place}{member}: {detail}"))
                .error(format!("{pointer}/payload/{member}"), detail.clone())
        }
        BadRegistration::PrivateKey => Problem::new(Code::PrivateKeyInRequest, text),
        BadRegistration::Proof => Problem::new(Code::InvalidSignature, text.clone())
            .error(format!("{pointer}/payload/proof"), text),
    }
}

impl From<KeyAlreadyRegistered> for Problem {
    fn from(error: KeyAlreadyRegistered) -> Self {
        Self::new(Code::KeyAlreadyRegistered, error.to_string())
    }
}
