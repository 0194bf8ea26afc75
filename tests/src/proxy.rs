//! A TCP proxy on the way to a node, which harms what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use diogenes_common::shutdown::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::http::Node;

/// What happens to answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Each piece comes so much later.
    Delay(Duration),
    /// A connection ends after so many bytes of answers.
    Cut(usize),
    /// A connection is not even answered: it ends at once.
    Refuse,
    /// Nothing comes any more, and nothing ends.
    Silence,
    /// One bit of the byte at that place of each connection's answers is another one.
    Flip(usize),
}

/// The proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    tasks: Tasks,
}

impl Proxy {
    /// A proxy in front of a node, harmless at first.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (fault, tasks) = (watch::Sender::default(), Tasks::new());
        let (harm, inner) = (fault.subscribe(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((client, _))) = until_stopped(&inner, listener.accept()).await {
                let (harm, tasks) = (harm.clone(), inner.clone());
                inner.spawn(async move {
                    // A connection that breaks is what this proxy is for.
                    let _ = until_stopped(&tasks, pass(client, upstream, harm)).await;
                });
            }
        });
        Self { address, fault, tasks }
    }

    /// The node as it is seen through the proxy.
    pub fn node(&self) -> Node {
        Node::local(self.address)
    }

    /// Harms what passes from now on, also on connections that stand.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn until_stopped<T>(tasks: &Tasks, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = tasks.stopping() => None,
    }
}

async fn pass(
    client: TcpStream,
    upstream: SocketAddr,
    harm: watch::Receiver<Fault>,
) -> std::io::Result<()> {
    if *harm.borrow() == Fault::Refuse {
        return Ok(());
    }
    let (mut asked, answers) = client.into_split();
    let (reader, mut writer) = TcpStream::connect(upstream).await?.into_split();
    tokio::select! {
        done = tokio::io::copy(&mut asked, &mut writer) => done.map(drop),
        done = answer(reader, answers, harm) => done,
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    harm: watch::Receiver<Fault>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let piece = &mut buffer[..length];
        let fault = *harm.borrow();
        match fault {
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Cut(after) if passed + length > after => {
                to.write_all(&piece[..after.saturating_sub(passed)]).await?;
                return Ok(());
            }
            Fault::Refuse => return Ok(()),
            Fault::Silence => std::future::pending().await,
            Fault::Flip(at) if (passed..passed + length).contains(&at) => piece[at - passed] ^= 1,
            Fault::None | Fault::Cut(_) | Fault::Flip(_) => {}
        }
        to.write_all(piece).await?;
        passed += length;
    }
}
