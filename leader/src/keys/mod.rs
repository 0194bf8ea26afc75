//! Keys: registering them on the log. Reading them is the same on every node (`common::read`).

mod http;
mod register;

use diogenes_common::server::problem::{Code, Problem};

pub(crate) use http::router;
pub(crate) use register::{
    BadRegistration, CheckedRegistration, KeyAlreadyRegistered, RegistrationRequest,
};

use crate::app::App;
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
pub(crate) fn registration_problem(error: &BadRegistration) -> Problem {
    let text = error.to_string();
    match error {
        BadRegistration::Shape(_) => Problem::new(Code::ValidationFailed, text),
        BadRegistration::UnknownMember(_) => Problem::new(Code::UnknownField, text),
        BadRegistration::Member { member, detail } => {
            let code = match *member {
                "public_key" => Code::InvalidPublicKey,
                _ => Code::ValidationFailed,
            };
            Problem::new(code, format!("{member}: {detail}"))
                .error(format!("#/payload/{member}"), detail.clone())
        }
        BadRegistration::PrivateKey => Problem::new(Code::PrivateKeyInRequest, text),
        BadRegistration::Algorithm => Problem::new(Code::ValidationFailed, text.clone())
            .error("#/payload/key_algorithm", text),
        BadRegistration::Proof => {
            Problem::new(Code::InvalidSignature, text.clone()).error("#/payload/proof", text)
        }
    }
}

impl From<KeyAlreadyRegistered> for Problem {
    fn from(error: KeyAlreadyRegistered) -> Self {
        Self::new(Code::KeyAlreadyRegistered, error.to_string())
    }
}
