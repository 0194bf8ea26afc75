//! A connection that is cut when its peer neither begins to speak nor takes what it asked for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a connection over HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSP";

/// A stream with two deadlines that the HTTP library does not have.
///
/// Until the protocol is known, bytes must arrive; and what is written must be taken.
pub(super) struct Guarded<S> {
    stream: S,
    /// How much of the preface arrived; none once the protocol is known.
    preface: Option<usize>,
    hello: Pin<Box<Sleep>>,
    patience: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    is_stalled: bool,
}

impl<S> Guarded<S> {
    /// Gives the peer `hello` to begin, and `patience` for each bit of progress in reading.
    pub(super) fn new(stream: S, hello: Duration, patience: Duration) -> Self {
        let hello = Box::pin(sleep(hello));
        Self { stream, preface: Some(0), hello, patience, stall: None, is_stalled: false }
    }

    fn heard(&mut self, bytes: &[u8]) {
        let Some(seen) = self.preface else { return };
        let rest = &PREFACE[seen..];
        let same = bytes.len().min(rest.len());
        let still_open = !bytes.is_empty() && bytes[..same] == rest[..same] && same < rest.len();
        self.preface = still_open.then_some(seen + same);
    }

    fn wrote<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.is_stalled = false;
            return poll;
        }
        let deadline = Instant::now() + self.patience;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if !self.is_stalled {
            self.is_stalled = true;
            stall.as_mut().reset(deadline);
        }
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.preface.is_some() {
            if poll.is_ready() {
                self.heard(&buffer.filled()[before..]);
            } else if self.hello.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    async fn is_cut_after(spoken: &[u8]) -> bool {
        let (mut peer, stream) = duplex(64);
        let mut guarded = Guarded::new(stream, SHORT, LONG);
        peer.write_all(spoken).await.unwrap();
        let mut heard = vec![0; spoken.len()];
        guarded.read_exact(&mut heard).await.unwrap();

        let next = tokio::time::timeout(SHORT * 4, guarded.read(&mut [0; 8])).await;

        matches!(next, Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn a_peer_must_say_which_protocol_it_speaks() {
        assert!(is_cut_after(b"").await);
        assert!(is_cut_after(b"PRI * HT").await);
        assert!(!is_cut_after(b"POST").await);
        assert!(!is_cut_after(b"G").await);
        assert!(!is_cut_after(PREFACE).await);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut peer, stream) = duplex(8);
        let mut guarded = Guarded::new(stream, LONG, SHORT * 5);
        let slow = async {
            for _ in 0..10 {
                sleep(SHORT).await;
                peer.read_exact(&mut [0; 8]).await.unwrap();
            }
        };

        let (written, ()) = tokio::join!(guarded.write_all(&[0; 80]), slow);
        assert!(written.is_ok());

        let stuck = guarded.write_all(&[0; 80]).await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
