//! HTTP/1.1 as a client, with as little as measuring needs: one connection, one request at a time.

use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Most bytes of an answer's head.
const HEAD_CAP: usize = 32 << 10;

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What is unread stands in `buffer[from..to]`.
    from: usize,
    to: usize,
    left: Left,
}

/// What is left of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Bytes(usize),
    /// A chunk's size line comes next.
    ChunkSize,
    /// So many bytes of a chunk, and its line end.
    Chunk(usize),
    /// The blank line after the last chunk.
    Trailer,
    /// Whatever comes before the connection ends.
    ToTheEnd,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 << 10], from: 0, to: 0, left: Left::Bytes(0) })
    }

    /// Sends a request and reads the answer's status.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer[self.from..self.to], b"\r\n\r\n") {
                let head = &self.buffer[self.from..self.from + end + 2];
                let (status, left) = read_head(head).ok_or_else(|| wrong("the head of the answer"))?;
                self.from += end + 4;
                self.left = left;
                return Ok(status);
            }
            if self.to - self.from > HEAD_CAP {
                return Err(wrong("a head without an end"));
            }
            self.fill().await?;
        }
    }

    /// Waits for something of the body, hands all that is there to `take`, and says whether that was the end.
    pub async fn some(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            let (mut any, mut done) = (false, false);
            while !done {
                let there = &self.buffer[self.from..self.to];
                match self.left {
                    Left::Bytes(0) => done = true,
                    _ if there.is_empty() => break,
                    Left::Bytes(left) => {
                        let now = left.min(there.len());
                        take(&there[..now]);
                        (self.from, self.left, any) = (self.from + now, Left::Bytes(left - now), true);
                    }
                    Left::Chunk(left) if left > 2 => {
                        let now = (left - 2).min(there.len());
                        take(&there[..now]);
                        (self.from, self.left, any) = (self.from + now, Left::Chunk(left - now), true);
                    }
                    Left::Chunk(left) => {
                        let now = left.min(there.len());
                        self.from += now;
                        self.left = if now == left { Left::ChunkSize } else { Left::Chunk(left - now) };
                    }
                    Left::ChunkSize | Left::Trailer => {
                        let Some(end) = memchr::memchr(b'\n', there) else { break };
                        let line = there[..end].trim_ascii();
                        if self.left == Left::Trailer {
                            done = line.is_empty();
                        } else {
                            let size = hex(line).ok_or_else(|| wrong("a chunk's size"))?;
                            self.left = if size == 0 { Left::Trailer } else { Left::Chunk(size + 2) };
                        }
                        self.from += end + 1;
                    }
                    Left::ToTheEnd => {
                        take(there);
                        (self.from, any) = (self.to, true);
                    }
                }
            }
            if done {
                self.left = Left::Bytes(0);
            }
            if any || done {
                return Ok(done);
            }
            match self.fill().await {
                Err(error) if self.left == Left::ToTheEnd && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(true);
                }
                filled => filled?,
            }
        }
    }

    /// Sends a request and collects the whole answer.
    pub async fn call(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let status = self.ask(request).await?;
        let mut body = Vec::new();
        while !self.some(&mut |piece| body.extend_from_slice(piece)).await? {}
        Ok((status, body))
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            if self.to == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        match self.stream.read(&mut self.buffer[self.to..]).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            read => {
                self.to += read;
                Ok(())
            }
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} cannot be read"))
}

fn hex(line: &[u8]) -> Option<usize> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Status and framing. `head` ends with the last header's line end.
fn read_head(head: &[u8]) -> Option<(u16, Left)> {
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let mut left = if status == 204 { Left::Bytes(0) } else { Left::ToTheEnd };
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &head[at..]) {
        let line = &head[at..at + end];
        if let Some(value) = field(line, b"content-length:") {
            left = Left::Bytes(std::str::from_utf8(value).ok()?.parse().ok()?);
        } else if let Some(value) = field(line, b"transfer-encoding:")
            && value.eq_ignore_ascii_case(b"chunked")
        {
            return Some((status, Left::ChunkSize));
        }
        at += end + 1;
    }
    Some((status, left))
}

/// The value, when the line is that header.
pub fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer_to(bytes: &'static [u8], cut: usize) -> io::Result<(u16, Vec<u8>)> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let mut connection = Connection::open(listener.local_addr()?).await?;
        let (mut peer, _) = listener.accept().await?;
        peer.set_nodelay(true)?;
        let writes = async {
            for piece in bytes.chunks(cut) {
                peer.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            peer.shutdown().await
        };
        let (answer, _) = tokio::join!(connection.call(b"GET / HTTP/1.1\r\n\r\n"), writes);
        answer
    }

    #[tokio::test]
    async fn reads_every_framing_under_any_cutting() {
        for cut in [1, 3, 1000] {
            let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
            assert_eq!(answer_to(length, cut).await.unwrap(), (200, b"hello".to_vec()));
            let chunked =
                b"HTTP/1.1 404 X\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n";
            assert_eq!(answer_to(chunked, cut).await.unwrap(), (404, b"hello".to_vec()));
            let to_the_end = b"HTTP/1.1 200 OK\r\n\r\nhello";
            assert_eq!(answer_to(to_the_end, cut).await.unwrap(), (200, b"hello".to_vec()));
        }
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
        assert_eq!(answer_to(short, 9).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
