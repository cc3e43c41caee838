//! Answers no HTTP library would write: sliced, cut, reset, contradictory or not HTTP at all.

use crate::answer::{Answer, Payload};
use crate::body::Pieces;
use crate::fault::Fault;
use crate::record::{Outcome, Ticket};
use crate::residents::Seat;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a finished connection waits for the other side to close.
const LINGER: Duration = Duration::from_secs(30);

/// A request that was read by hyper and is answered by hand.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) answer: Answer,
    pub(crate) fault: Fault,
    pub(crate) start: Instant,
    pub(crate) ticket: Ticket,
    pub(crate) seat: Option<Seat>,
}

/// True for faults that hyper cannot write.
pub(crate) fn needed(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Slicer { .. }
            | Fault::Rst { .. }
            | Fault::ExtraRaw
            | Fault::TruncChunk
            | Fault::TruncContentLength
            | Fault::HugeHeader { .. }
            | Fault::ManyHeaders { .. }
            | Fault::Flood1xx { .. }
            | Fault::ClTe
            | Fault::HugeChunk
            | Fault::BadStatus
            | Fault::DieBeforeFirstByte
            | Fault::Verbatim { .. }
    )
}

/// Closing this socket from now on resets the connection.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // A socket that is already gone needs no reset.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Writes the answer; the connection ends with it. Stops early when the client leaves.
pub(crate) async fn play(stream: &mut TcpStream, mut job: Job) {
    let Job { answer, fault, start, ticket, seat } = &mut job;
    let payload = std::mem::replace(&mut answer.body, Payload::Whole(Bytes::new()));
    let wire = Wire { stream, fault, ticket };
    let done = wire.write(answer, Pieces::new(payload, *start)).await;
    *seat = None;
    if done.is_err() {
        // The ticket drops without an outcome: the client was gone.
        return;
    }
    let kept = matches!(
        fault,
        Fault::Slicer { .. } | Fault::HugeHeader { .. } | Fault::ManyHeaders { .. } | Fault::Flood1xx { .. }
    );
    ticket.end(if kept { Outcome::Answered } else { Outcome::Broken });
    if matches!(fault, Fault::ExtraRaw | Fault::HugeChunk) {
        // Kept open: a client that would use this connection again must not be saved by its end.
        let mut rest = [0; 512];
        let _ =
            tokio::time::timeout(LINGER, async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} })
                .await;
    }
}

struct Wire<'a> {
    stream: &'a mut TcpStream,
    fault: &'a Fault,
    ticket: &'a mut Ticket,
}

impl Wire<'_> {
    async fn write(mut self, answer: &Answer, mut pieces: Pieces) -> io::Result<()> {
        match self.fault {
            Fault::DieBeforeFirstByte => return self.stream.shutdown().await,
            Fault::BadStatus => {
                self.put(b"HTTP/1.1 2OO Nearly\r\nContent-Length: 2\r\n\r\nhm").await?;
                return self.stream.shutdown().await;
            }
            Fault::Flood1xx { count } => self.flood(*count).await?,
            Fault::Verbatim { pieces, forever } => return self.verbatim(pieces, *forever).await,
            _ => {}
        }
        if *self.fault == Fault::TruncContentLength {
            return self.half_of_length(answer, pieces).await;
        }
        let whole = match &pieces {
            Pieces::Whole(Some(bytes))
                if !matches!(self.fault, Fault::TruncChunk | Fault::HugeChunk | Fault::ClTe) =>
            {
                Some(bytes.len())
            }
            _ => None,
        };
        let framing = match (self.fault, whole) {
            (Fault::ClTe, _) => "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            (_, Some(length)) => format!("Content-Length: {length}\r\n"),
            (_, None) => "Transfer-Encoding: chunked\r\n".to_owned(),
        };
        self.put(self.head(answer, &framing).as_bytes()).await?;
        let mut sent = 0;
        while let Some(piece) = self.next(&mut pieces).await? {
            if let Fault::Rst { after_bytes } = self.fault
                && sent + piece.len() >= *after_bytes
            {
                let part = &piece[..*after_bytes - sent];
                self.piece(part, whole.is_none()).await?;
                reset_on_close(self.stream);
                return Ok(());
            }
            sent += piece.len();
            match self.fault {
                Fault::TruncChunk => {
                    let half = &piece[..piece.len() / 2];
                    self.put(format!("{:x}\r\n", piece.len().max(2)).as_bytes()).await?;
                    self.put(half).await?;
                    self.ticket.sent(half);
                    return self.stream.shutdown().await;
                }
                Fault::HugeChunk => {
                    self.piece(&piece, true).await?;
                    return self.put(b"10000000000000005\r\nwrong\r\n").await;
                }
                _ => self.piece(&piece, whole.is_none()).await?,
            }
        }
        if let Fault::Rst { .. } = self.fault {
            // The answer was shorter than the reset's distance.
            reset_on_close(self.stream);
            return Ok(());
        }
        if whole.is_none() {
            self.put(b"0\r\n\r\n").await?;
        }
        if *self.fault == Fault::ExtraRaw {
            return self
                .put(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nextra")
                .await;
        }
        self.stream.shutdown().await
    }

    async fn verbatim(&mut self, pieces: &[Vec<u8>], forever: bool) -> io::Result<()> {
        for piece in pieces {
            self.stream.write_all(piece).await?;
            self.ticket.sent(piece);
            // Time for the other side to take it: it is to see this piece alone.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        while let Some(piece) = pieces.last().filter(|_| forever) {
            self.stream.write_all(piece).await?;
        }
        self.stream.shutdown().await
    }

    /// The head, with the fault's headers; the connection is to end after it, except where that is the trap.
    fn head(&self, answer: &Answer, framing: &str) -> String {
        let status = answer.status;
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Unknown"));
        for (name, value) in
            answer.headers.iter().filter(|(name, _)| name != "connection" && name != "keep-alive")
        {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
        match self.fault {
            Fault::HugeHeader { bytes } => head.push_str(&format!("X-Huge: {}\r\n", "h".repeat(*bytes))),
            Fault::ManyHeaders { count } => {
                for index in 0..*count {
                    head.push_str(&format!("X-Many-{index}: {index}\r\n"));
                }
            }
            _ => {}
        }
        if !matches!(self.fault, Fault::ExtraRaw | Fault::HugeChunk | Fault::ClTe) {
            head.push_str("Connection: close\r\n");
        }
        head.push_str(framing);
        head.push_str("\r\n");
        head
    }

    /// Announces the whole length, sends half.
    async fn half_of_length(&mut self, answer: &Answer, mut pieces: Pieces) -> io::Result<()> {
        let mut body = Vec::new();
        while let Some(piece) = self.next(&mut pieces).await? {
            body.extend_from_slice(&piece);
        }
        let framing = format!("Content-Length: {}\r\n", body.len().max(2));
        self.put(self.head(answer, &framing).as_bytes()).await?;
        let half = &body[..body.len() / 2];
        self.ticket.sent(half);
        self.put(half).await?;
        self.stream.shutdown().await
    }

    async fn flood(&mut self, count: Option<u64>) -> io::Result<()> {
        let mut sent = 0;
        while count.is_none_or(|count| sent < count) {
            self.put(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n").await?;
            sent += 1;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The next piece; an error when the client leaves while it is not yet due.
    async fn next(&mut self, pieces: &mut Pieces) -> io::Result<Option<Bytes>> {
        let stream = &*self.stream;
        tokio::select! {
            biased;
            piece = poll_fn(|cx| pieces.poll(cx)) => Ok(piece),
            gone = gone(stream) => Err(gone),
        }
    }

    async fn piece(&mut self, bytes: &[u8], chunked: bool) -> io::Result<()> {
        self.ticket.sent(bytes);
        if !chunked {
            return self.put(bytes).await;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.put(&chunk).await
    }

    /// Writes bytes, in the slicer's pieces if it is on.
    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = match self.fault {
            Fault::Slicer { bytes } => (*bytes).max(1),
            _ => bytes.len().max(1),
        };
        for slice in bytes.chunks(size) {
            self.stream.write_all(slice).await?;
            if size < bytes.len() {
                // Without delay set on the socket, each write is a segment of its own.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// Ends when the client has closed its side or reset the connection.
async fn gone(stream: &TcpStream) -> io::Error {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) => io::ErrorKind::UnexpectedEof.into(),
        // More of a request is no reason to stop.
        Ok(_) => std::future::pending().await,
        Err(error) => error,
    }
}
