//! A keep-alive HTTP/1.1 connection with no more parsing than a status and a length need.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room for the next piece of an answer.
const PIECE: usize = 16 * 1024;

/// One connection; one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The answer so far.
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(PIECE) })
    }

    /// Sends a request and reads its answer. After an error the connection is of no use.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
            self.read_some(PIECE).await?;
        };
        let end = head.length + head.body;
        while self.buffer.len() < end {
            self.read_some((end - self.buffer.len()).max(PIECE)).await?;
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.length..end] })
    }

    async fn read_some(&mut self, room: usize) -> io::Result<()> {
        self.buffer.reserve(room);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// The bytes of the head itself.
    length: usize,
    /// The bytes of the body.
    body: usize,
}

impl Head {
    /// `None` while the head is not complete.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let bad = || io::Error::new(ErrorKind::InvalidData, "an answer that is not understood");
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| bad())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).ok_or_else(bad)?;
        let length_of = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        };
        let body = match lines.find_map(length_of) {
            Some(length) => length,
            None if status == 204 || status == 304 => 0,
            None => return Err(bad()),
        };
        Ok(Some(Self { status, length: end + 4, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_understood_once_it_is_complete() {
        let head = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx: y\r\n\r\n";
        for cut in 0..head.len() {
            assert!(Head::parse(&head[..cut]).unwrap().is_none());
        }
        let parsed = Head::parse(head).unwrap().unwrap();
        assert_eq!((parsed.status, parsed.length, parsed.body), (201, head.len(), 12));
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().is_some());
    }
}
