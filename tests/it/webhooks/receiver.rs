//! A receiver of webhooks that remembers what arrived, and verifies it as the standard says, with
//! nothing of what signed it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::keys::{PublicKey, Signature};
use diogenes_common::merkle::Hash;
use diogenes_common::shutdown::Tasks;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

/// What arrived.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) timestamp: i64,
    signatures: String,
    pub(super) body: Vec<u8>,
}

/// What it answers: a status, and one header.
pub(super) type Reply = (u16, Option<(&'static str, String)>);

/// Answers what it was told to, and then 204 for ever.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    messages: Mutex<Vec<Message>>,
    replies: Mutex<VecDeque<Reply>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, inner) = (listener.local_addr().unwrap(), Arc::<Inner>::default());
        let router = Router::new().fallback(receive).with_state(inner.clone());
        Tasks::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, inner }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What the next messages are answered.
    pub(super) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inner.replies.lock().unwrap().extend(replies);
    }

    /// What arrived so far, in its order.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.inner.messages.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.inner.messages.lock().unwrap().len()
    }
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let message = Message {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap(),
        signatures: text("webhook-signature"),
        body: body.to_vec(),
    };
    inner.messages.lock().unwrap().push(message);
    let (status, header) = inner.replies.lock().unwrap().pop_front().unwrap_or((204, None));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl Message {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn entry_id(&self) -> u64 {
        self.json()["data"]["id"].as_u64().unwrap()
    }

    /// Whether both signatures are those of a webhook, as it was shown when it was made.
    pub(super) fn verifies(&self, webhook: &Value) -> bool {
        let mut signed = format!("{}.{}.", self.id, self.timestamp).into_bytes();
        signed.extend(&self.body);
        let decode =
            |text: &str, prefix| BASE64.decode(text.strip_prefix(prefix).unwrap()).unwrap();
        let secret = decode(webhook["secret"].as_str().unwrap(), "whsec_");
        let public = decode(webhook["public_key"].as_str().unwrap(), "whpk_");
        let public = PublicKey::from_bytes(public[..].try_into().unwrap()).unwrap();
        let (v1, v1a) = self.signatures.split_once(' ').unwrap();
        let signature: Signature = v1a.strip_prefix("v1a,").unwrap().parse().unwrap();
        v1 == format!("v1,{}", hmac(&secret, &signed).to_base64())
            && public.verify(&signed, &signature).is_ok()
    }
}

/// HMAC-SHA-256 (RFC 2104) of a key that fits into one block.
fn hmac(key: &[u8], message: &[u8]) -> Hash {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Hash::of(&[&padded(0x36)[..], message].concat());
    Hash::of(&[&padded(0x5c)[..], &inner.as_bytes()[..]].concat())
}
