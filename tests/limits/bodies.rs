//! Attacks that lie in a body: too long, packed, or dear to parse.

use std::io::Write as _;
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::wire::Field;

const MIB: usize = 1024 * 1024;

/// A list of one event with this payload.
fn events(payload: &str) -> Vec<u8> {
    format!(r#"[{{"event_type":"x-limits:bomb","payload":{payload}}}]"#).into_bytes()
}

/// The head for a body of this length.
fn head(length: usize, more: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

async fn repeat(field: Rc<Field>, request: Vec<u8>) {
    let request = Rc::new(request);
    let act = move |field: Rc<Field>| {
        let request = request.clone();
        async move { field.shoot(&request).await }
    };
    field.crowd(16, act).await;
}

async fn send(field: Rc<Field>, body: Vec<u8>) {
    repeat(field, [head(body.len(), ""), body].concat()).await;
}

/// Spaces that were packed.
pub(crate) async fn packed(field: Rc<Field>) {
    let plain = vec![b' '; 16 * MIB];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // What is written to memory can't fail.
    let _ = gzip.write_all(&plain);
    let gzip = gzip.finish().unwrap_or_default();
    let zstd = zstd::bulk::compress(&plain, 1).unwrap_or_default();
    let request = |coding: &str, body: Vec<u8>| {
        [head(body.len(), &format!("content-encoding: {coding}\r\n")), body].concat()
    };
    tokio::join!(
        repeat(field.clone(), request("gzip", gzip)),
        repeat(field.clone(), request("zstd", zstd)),
    );
}

/// Brackets that are never closed.
pub(crate) async fn deep(field: Rc<Field>) {
    send(field, events(&"[".repeat(MIB))).await;
}

/// A long list.
pub(crate) async fn wide(field: Rc<Field>) {
    send(field, events(&format!("[{}1]", "1,".repeat(500_000)))).await;
}

/// A long number.
pub(crate) async fn long_number(field: Rc<Field>) {
    send(field, events(&format!(r#"{{"n":{}}}"#, "9".repeat(1_000_000)))).await;
}

/// Members of many names.
pub(crate) async fn many_members(field: Rc<Field>) {
    let members = (0..100_000).fold(String::new(), |all, n| all + &format!(r#""{n:x}":0,"#));
    send(field, events(&format!(r#"{{{members}"z":0}}"#))).await;
}

/// Members of one name.
pub(crate) async fn duplicates(field: Rc<Field>) {
    send(field, events(&format!(r#"{{{}"a":0}}"#, r#""a":0,"#.repeat(100_000)))).await;
}

/// A text that is all escapes.
pub(crate) async fn escapes(field: Rc<Field>) {
    send(field, events(&format!(r#"{{"a":"{}"}}"#, r"\ud83d\ude00".repeat(MIB / 12)))).await;
}

/// Bodies that are said to be long.
pub(crate) async fn announced(field: Rc<Field>) {
    repeat(field, [head(1024 * MIB, ""), vec![b' '; 64 * 1024]].concat()).await;
}

/// Bodies of which nobody knows the end.
pub(crate) async fn endless(field: Rc<Field>) {
    let head =
        b"POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 transfer-encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    repeat(field, [&head[..], &chunk.repeat(128)].concat()).await;
}
