//! A connection that is cut when its peer does not take what it asked for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream with a deadline that the HTTP library does not have: what is written must be taken.
pub(super) struct Guarded<S> {
    stream: S,
    patience: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    is_stalled: bool,
}

impl<S> Guarded<S> {
    /// Gives the peer `patience` for each bit of progress in reading.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stall: None, is_stalled: false }
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut peer, stream) = duplex(8);
        let mut guarded = Guarded::new(stream, Duration::from_secs(3));
        let slow = async {
            for _ in 0..10 {
                sleep(Duration::from_millis(400)).await;
                peer.read_exact(&mut [0; 8]).await.unwrap();
            }
        };

        let (written, ()) = tokio::join!(guarded.write_all(&[0; 80]), slow);
        assert!(written.is_ok());

        let stuck = guarded.write_all(&[0; 80]).await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
