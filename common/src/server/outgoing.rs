//! An answer on its way: as long as its reader takes, but not for ever in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::problem::Problem;
use super::room::{Full, Room, Share};
use super::roster::{Seat, Working};

/// How many bytes of answers may wait in memory until they are taken.
pub(super) const WAITING: usize = 72 * 1024 * 1024;

/// What is shorter fits into what the kernel keeps of a connection.
const LONG: u64 = 16 * 1024;

/// Holds room for a long answer until its last byte is taken, and the connection at work.
///
/// When others need the room, the connection of the oldest answer is cut.
pub(super) fn held(
    response: Response,
    room: &Arc<Room>,
    seat: &Arc<Seat>,
    working: Working,
) -> Response {
    let length = response.body().size_hint().exact();
    if length.is_some_and(|length| length < LONG) {
        return response;
    }
    let mut share = room.share();
    // The bytes of a stream are not known; it makes them as they are taken.
    let bytes = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
    match share.lend(bytes, seat.leave()) {
        Ok(()) => response.map(|body| {
            Body::new(Outgoing { body, hold: Arc::new(Hold { _working: working, _share: share }) })
        }),
        Err(Full) => {
            Problem::overloaded("too many answers wait to be read; try again soon").into_response()
        }
    }
}

struct Outgoing {
    body: Body,
    hold: Arc<Hold>,
}

/// What is given back with the last byte of an answer.
struct Hold {
    _working: Working,
    _share: Share,
}

/// A piece of an answer: the connection drops it when it was sent.
struct Piece {
    bytes: Bytes,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let hold = &self.hold;
        let piece = |bytes| Bytes::from_owner(Piece { bytes, _hold: hold.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
