//! The operator, by a bearer token.

use axum::extract::FromRequestParts;
use diogenes_common::merkle::Hash;
use diogenes_common::server::problem::{Code, Problem};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::app::App;

/// The operator's token. Only its hash is kept, so that comparing takes the same time for every
/// wrong token and nothing can print it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperatorToken(Hash);

impl OperatorToken {
    pub(crate) fn new(token: &str) -> Self {
        Self(Hash::of(token.as_bytes()))
    }

    /// Whether the request carries this token.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| Hash::of(token.as_bytes()) == self.0)
    }

    /// Refuses a request that does not carry this token.
    pub(crate) fn require(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if self.is_in(headers) {
            return Ok(());
        }
        Err(Problem::new(
            Code::Unauthorized,
            match bearer(headers) {
                None => "this needs the operator token: Authorization: Bearer <operator-token>",
                Some(_) => "the token is not the operator's; it is in the leader's data directory",
            },
        ))
    }
}

/// The operator. As an extractor it stands before those that read what was sent, so that nobody
/// else learns what this path would say to it.
pub(crate) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.token.require(&parts.headers).map(|()| Self)
    }
}

/// The token of a request that carries one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_the_exact_token_opens() {
        let token = OperatorToken::new("secret");

        assert!(token.is_in(&with("Bearer secret")));
        assert!(token.is_in(&with("bearer  secret")));
        for wrong in ["Bearer secre", "Bearer secret2", "Basic secret", "secret", "Bearer "] {
            assert!(!token.is_in(&with(wrong)), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
    }
}
