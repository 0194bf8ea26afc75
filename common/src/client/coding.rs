//! Takes the content coding of an answer away.

use std::io::Read;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};

use super::FetchError;

/// A body of that many bytes is unpacked where it does not hold up other requests.
const LONG: usize = 32 * 1024;

/// Takes the content coding away; what comes out is bounded like what came in.
pub(super) async fn unpacked(
    body: Bytes,
    headers: &HeaderMap,
    limit: usize,
) -> Result<Bytes, FetchError> {
    let Some(coding) = headers.get(CONTENT_ENCODING) else { return Ok(body) };
    let coding = coding.as_bytes().to_ascii_lowercase();
    if body.len() < LONG {
        return unpack(&body, &coding, limit);
    }
    let unpacking = tokio::task::spawn_blocking(move || unpack(&body, &coding, limit));
    unpacking.await.unwrap_or_else(|_| Err(FetchError::BadBody("given up".to_owned())))
}

fn unpack(body: &Bytes, coding: &[u8], limit: usize) -> Result<Bytes, FetchError> {
    let broken = |error: std::io::Error| FetchError::BadBody(error.to_string());
    match coding {
        b"" | b"identity" => Ok(body.clone()),
        b"gzip" | b"x-gzip" => bounded(flate2::read::GzDecoder::new(&body[..]), limit),
        b"zstd" => {
            let mut decoder = zstd::Decoder::with_buffer(&body[..]).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
            bounded(decoder, limit)
        }
        _ => Err(FetchError::BadBody("it has a content coding that was not asked for".to_owned())),
    }
}

/// The largest window that a sender may use: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

fn bounded(coded: impl Read, limit: usize) -> Result<Bytes, FetchError> {
    let mut plain = Vec::new();
    let read = coded.take(limit as u64 + 1).read_to_end(&mut plain);
    read.map_err(|error| FetchError::BadBody(error.to_string()))?;
    if plain.len() > limit { Err(FetchError::TooLarge { limit }) } else { Ok(plain.into()) }
}
