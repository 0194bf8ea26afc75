//! Signatures of Standard Webhooks 1.0.
//!
//! ```text
//! webhook-id: <webhook id>_<entry id>          the same for each attempt
//! webhook-timestamp: <seconds since 1970>      of this attempt
//! webhook-signature: v1,<base64 of HMAC-SHA-256> v1a,<base64 of Ed25519>
//!
//! both over  <id>.<timestamp>.<body>
//! ```
//!
//! `v1` needs the secret that its owner was shown once, `v1a` a public key alone. Each webhook has
//! an Ed25519 key of its own, at random: what one leaks or loses says nothing about another, it
//! ends with its webhook, and it is no key that signs anything of the log.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::clock::Timestamp;
use diogenes_common::keys::SigningKey;
use diogenes_common::store::WebhookKeys;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// In front of a secret, of a public key.
const SECRET_PREFIX: &str = "whsec_";
const PUBLIC_PREFIX: &str = "whpk_";

/// How long a secret may be, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A text that is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is whsec_ and 24 to 64 bytes in base64; leave it out and one is made")]
pub(super) struct NotASecret;

/// Signs the messages of one webhook.
pub(super) struct Signer {
    secret: hmac::Key,
    key: SigningKey,
}

impl Signer {
    pub(super) fn new(keys: &WebhookKeys) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &keys.secret);
        Self { secret, key: SigningKey::from_seed(keys.seed.clone()) }
    }

    /// The public key as receivers are given it.
    pub(super) fn public_key(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", BASE64.encode(self.key.public().as_bytes()))
    }

    /// The headers of one attempt at a message.
    pub(super) fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> HeaderMap {
        let seconds = now.seconds();
        let mut signed = format!("{id}.{seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let v1 = BASE64.encode(hmac::sign(&self.secret, &signed));
        let v1a = self.key.sign(&signed);
        let text = |text: String| {
            HeaderValue::try_from(text).expect("ids, numbers and base64 are visible characters")
        };
        HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("webhook-id"), text(id.to_owned())),
            (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(seconds)),
            (HeaderName::from_static("webhook-signature"), text(format!("v1,{v1} v1a,{v1a}"))),
        ])
    }
}

/// Reads a secret that its owner chose.
pub(super) fn read_secret(text: &str) -> Result<Zeroizing<Vec<u8>>, NotASecret> {
    let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(NotASecret)?;
    // Longer than any secret in base64: not worth decoding.
    if encoded.len() > 2 * SECRET_BYTES.end() {
        return Err(NotASecret);
    }
    let bytes = Zeroizing::new(BASE64.decode(encoded).map_err(|_| NotASecret)?);
    if SECRET_BYTES.contains(&bytes.len()) { Ok(bytes) } else { Err(NotASecret) }
}

/// The secret as its owner is shown it.
pub(super) fn show_secret(secret: &[u8]) -> String {
    format!("{SECRET_PREFIX}{}", BASE64.encode(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signer() -> Signer {
        let secret = read_secret(SECRET).expect("a secret");
        Signer::new(&WebhookKeys { secret, seed: Zeroizing::new([7; 32]) })
    }

    fn signatures(headers: &HeaderMap) -> (String, String) {
        let text = headers["webhook-signature"].to_str().expect("text");
        let (v1, v1a) = text.split_once(' ').expect("two signatures");
        (v1.to_owned(), v1a.to_owned())
    }

    #[test]
    fn the_vector_of_the_standard_is_signed_as_its_verifiers_expect() {
        let now = Timestamp::from_millis(1_614_265_330_999).expect("a time");

        let headers =
            signer().headers("msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#);

        assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(&headers).0, v1);
    }

    #[test]
    fn the_asymmetric_signature_verifies_under_the_key_that_is_shown() {
        let (signer, now) = (signer(), Timestamp::from_millis(5_000).expect("a time"));

        let (_, v1a) = signatures(&signer.headers("id", now, b"body"));

        let shown = signer.public_key();
        let key = BASE64.decode(shown.strip_prefix("whpk_").expect("the prefix")).expect("base64");
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key);
        let signature = BASE64.decode(v1a.strip_prefix("v1a,").expect("v1a")).expect("base64");
        assert!(key.verify(b"id.5.body", &signature).is_ok());
        assert!(key.verify(b"id.6.body", &signature).is_err());
    }

    #[test]
    fn a_secret_has_a_prefix_and_a_length() {
        for bytes in [24, 32, 64] {
            let shown = show_secret(&vec![1; bytes]);
            assert_eq!(read_secret(&shown).map(|secret| secret.len()), Ok(bytes));
        }
        for text in [
            String::new(),
            "whsec_".to_owned(),
            SECRET.replace("whsec_", ""),
            SECRET.replace("whsec_", "whsk_"),
            show_secret(&[1; 23]),
            show_secret(&[1; 65]),
            "whsec_????????????????????????????????".to_owned(),
        ] {
            assert_eq!(read_secret(&text), Err(NotASecret), "{text}");
        }
    }
}
