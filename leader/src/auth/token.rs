//! Session tokens: JSON Web Tokens (RFC 7519) that this leader alone makes and reads.
//!
//! ```text
//! {"alg":"HS256","typ":"diogenes+jwt"}
//! {"iss":<origin>,"aud":<origin>,"sub":<fingerprint>,"iat":s,"exp":s,"jti":<random>,"auth_time":s}
//! HMAC-SHA-256 of both with SECRET_KEY
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diogenes_common::clock::Timestamp;
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::sensitive::Sensitive;

/// How long a token is good.
const LIFETIME_SECONDS: i64 = 30 * 60;
/// How long after the login the last of its tokens ends.
const SESSION_SECONDS: i64 = 12 * 60 * 60;
/// No token of ours is longer than a tenth of this.
const MAX_TOKEN_BYTES: usize = 4 * 1024;
/// What kind of token this is: no other service's token is one, even under the same key.
const TYPE: &str = "diogenes+jwt";

/// Makes and reads the tokens of one log.
pub(super) struct Tokens {
    origin: Origin,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// A login that still lasts: whose, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) fingerprint: Fingerprint,
    /// When the key signed a challenge.
    pub(super) auth_time: Timestamp,
}

/// A token and its end.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: Sensitive,
    pub(super) expires_at: Timestamp,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    /// It was not made by this leader, or not as a session token.
    #[error("the token is not one of this log; get one with POST /api/v1/auth/login")]
    Foreign,
    /// Its time is over.
    #[error("the token has expired; log in again")]
    Expired,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Fingerprint,
    iat: i64,
    exp: i64,
    jti: String,
    auth_time: i64,
}

impl Tokens {
    pub(super) fn new(secret: &str, origin: &Origin) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The claims are judged by `judge`, at a time that is passed in.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.leeway = 0;
        Self {
            origin: origin.clone(),
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// Makes a token of a session; `None` if the session is over.
    pub(super) fn issue(
        &self,
        session: Session,
        now: Timestamp,
        random: [u8; 16],
    ) -> Option<Issued> {
        let (iat, auth_time) = (now.seconds(), session.auth_time.seconds());
        let exp = expiry(auth_time, iat)?;
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        let origin = self.origin.as_str().to_owned();
        let claims = Claims {
            iss: origin.clone(),
            aud: origin,
            sub: session.fingerprint,
            iat,
            exp,
            jti: URL_SAFE_NO_PAD.encode(random),
            auth_time,
        };
        let token = encode(&header, &claims, &self.encoding).ok()?;
        Some(Issued { token: token.into(), expires_at: Timestamp::from_millis(exp * 1000)? })
    }

    /// The session of a token, if it is one of ours and its time is not over.
    pub(super) fn read(&self, token: &str, now: Timestamp) -> Result<Session, BadToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(BadToken::Foreign);
        }
        let data = decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| BadToken::Foreign)?;
        judge(&data.header, &data.claims, &self.origin, now)
    }
}

/// When a token made at `now` ends: after its lifetime, at the latest with its session. In
/// seconds; `None` once the session is over.
fn expiry(auth_time: i64, now: i64) -> Option<i64> {
    let last = auth_time.checked_add(SESSION_SECONDS)?;
    (now < last).then(|| last.min(now + LIFETIME_SECONDS))
}

/// Judges a token whose signature is ours.
fn judge(
    header: &Header,
    claims: &Claims,
    origin: &Origin,
    now: Timestamp,
) -> Result<Session, BadToken> {
    let ours = header.typ.as_deref() == Some(TYPE)
        && header.crit.is_none()
        && claims.iss == origin.as_str()
        && claims.aud == origin.as_str()
        && expiry(claims.auth_time, claims.iat) == Some(claims.exp);
    if !ours {
        return Err(BadToken::Foreign);
    }
    if now.seconds() >= claims.exp {
        return Err(BadToken::Expired);
    }
    let auth_time = claims.auth_time.checked_mul(1000).and_then(Timestamp::from_millis);
    let auth_time = auth_time.ok_or(BadToken::Foreign)?;
    Ok(Session { fingerprint: claims.sub, auth_time })
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Hash;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const LOGIN: i64 = 1_768_473_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn origin() -> Origin {
        "log.example/1".parse().unwrap()
    }

    fn tokens() -> Tokens {
        Tokens::new(SECRET, &origin())
    }

    fn session() -> Session {
        Session { fingerprint: Fingerprint::new(Hash::of(b"key")), auth_time: at(LOGIN) }
    }

    /// What a token of ours says.
    fn claims() -> Value {
        json!({
            "iss": "log.example/1", "aud": "log.example/1", "sub": session().fingerprint,
            "iat": LOGIN, "exp": LOGIN + 1800, "jti": "x", "auth_time": LOGIN,
        })
    }

    fn forged(header: &Value, claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn a_token_is_good_for_half_an_hour_and_not_a_second_longer() {
        let tokens = tokens();

        let issued = tokens.issue(session(), at(LOGIN), [7; 16]).unwrap();

        let token = issued.token.expose();
        assert_eq!(issued.expires_at, at(LOGIN + 1800));
        assert_eq!(tokens.read(token, at(LOGIN)), Ok(session()));
        assert_eq!(tokens.read(token, at(LOGIN + 1799)), Ok(session()));
        assert_eq!(tokens.read(token, at(LOGIN + 1800)), Err(BadToken::Expired));
        assert!(!format!("{issued:?}").contains(token));
    }

    #[test]
    fn renewals_end_twelve_hours_after_the_login() {
        let (tokens, end) = (tokens(), LOGIN + 12 * 3600);

        let last = tokens.issue(session(), at(end - 1), [7; 16]).unwrap();

        assert_eq!(last.expires_at, at(end));
        assert_eq!(tokens.read(last.token.expose(), at(end - 1)), Ok(session()));
        assert_eq!(tokens.read(last.token.expose(), at(end)), Err(BadToken::Expired));
        assert!(tokens.issue(session(), at(end), [7; 16]).is_none());
    }

    #[test]
    fn only_what_this_log_signed_as_a_session_is_a_token() {
        let tokens = tokens();
        let header = json!({ "alg": "HS256", "typ": TYPE });
        let read = |token: &str| tokens.read(token, at(LOGIN));
        let good = forged(&header, &claims(), SECRET);
        assert_eq!(read(&good), Ok(session()));

        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            forged(&header, &claims, SECRET)
        };
        let without_signature = {
            let unsigned = forged(&json!({ "alg": "none", "typ": TYPE }), &claims(), SECRET);
            unsigned[..=unsigned.rfind('.').unwrap()].to_owned()
        };
        let bad = [
            without_signature,
            forged(&json!({ "alg": "none", "typ": TYPE }), &claims(), SECRET),
            forged(&json!({ "alg": "HS512", "typ": TYPE }), &claims(), SECRET),
            forged(&json!({ "alg": "HS256", "typ": "JWT" }), &claims(), SECRET),
            forged(&json!({ "alg": "HS256" }), &claims(), SECRET),
            forged(&json!({ "alg": "HS256", "typ": TYPE, "crit": ["b64"] }), &claims(), SECRET),
            forged(&header, &claims(), "another secret of thirty-two byte"),
            with("iss", json!("other.example/1")),
            with("aud", json!("other.example/1")),
            with("sub", json!("sha256:00")),
            with("exp", json!(LOGIN + 1801)),
            with("auth_time", json!(LOGIN - 12 * 3600)),
            with("auth_time", json!(i64::MAX)),
            with("nbf", json!(LOGIN)),
            format!("{good}A"),
            good.replacen('.', "..", 1),
            good[..good.len() - 2].to_owned(),
            "a.b.c".to_owned(),
            String::new(),
            "x".repeat(1_000_000),
        ];
        for token in bad {
            let shown: String = token.chars().take(200).collect();
            assert_eq!(read(&token), Err(BadToken::Foreign), "{shown}");
        }
    }
}
