//! One connection: taken if there is room, its handshake, its requests, its end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::io::Guarded;
use super::roster::Seat;
use super::tls::Tls;
use super::{Bounds, Front, HEAD_BYTES};

/// The next connection with its slot; none after the last call.
///
/// There are more slots than places: those who were told to leave may still be on their way out.
pub(super) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    last_call: Pin<&mut impl Future<Output = ()>>,
) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let next = async {
        // Without a free slot new connections wait in the kernel's queue, for a moment.
        let slot = slots.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((slot, stream, peer)),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for a moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = last_call => None,
        accepted = next => accepted,
    }
}

fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused
    )
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    seat: &Arc<Seat>,
    front: Arc<Front>,
    bounds: Bounds,
) {
    // Small answers must not wait for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else { return converse(stream, peer, seat, front, bounds).await };
    match tls.accept(stream, bounds.handshake).await {
        Ok(stream) => converse(stream, peer, seat, front, bounds).await,
        Err(error) => tracing::debug!(%peer, %error, "the handshake failed"),
    }
}

/// Answers the requests of one connection until it ends, or the last one after the node stopped.
async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    seat: &Arc<Seat>,
    front: Arc<Front>,
    bounds: Bounds,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // HTTP/1.1 alone: over HTTP/2 a client that grants no window holds answers in memory for ever,
    // and no deadline on the socket sees it.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(Guarded::new(stream, bounds.progress));
    let service = service_fn(|request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request, peer, seat).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = front.last_call(bounds.farewell) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
