//! The body of a node's answer, read from its connection when its client wants it.

use super::{framing::Framing, pool::Pool, wire::Wire};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    fmt, io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};
use tokio::io::AsyncReadExt;

/// A read begins with so much room, in bytes: many events of a stream, or most answers.
pub const ROOM: usize = 8 << 10;
/// While a node sends as fast as it can, the room grows up to this. It is also all that is held for a client that is slow.
const ROOM_CAP: usize = 64 << 10;
/// With less room than this left, new room is made.
const ROOM_LEFT: usize = 1 << 10;

/// The connection broke, or what came is not HTTP.
#[derive(Debug)]
pub enum Broken {
    /// By the system's word.
    Io(io::Error),
    /// By ours.
    Malformed(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads once. How many bytes came (0 at the end of the connection), and whether they filled the room.
pub fn poll_fill(
    wire: &mut Wire,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    room: usize,
) -> Poll<io::Result<(usize, bool)>> {
    if buffer.capacity() - buffer.len() < ROOM_LEFT {
        // The same memory again when all that was cut out of it is gone.
        buffer.reserve(room);
    }
    // It keeps nothing between two polls, so a new one each time is the same.
    let read = ready!(pin!(wire.read_buf(buffer)).poll(cx))?;
    Poll::Ready(Ok((read, buffer.len() == buffer.capacity())))
}

/// The body of an answer. Dropped before its end, it closes the connection, so that the node notices.
#[derive(Debug)]
pub struct Incoming {
    wire: Option<Wire>,
    buffer: BytesMut,
    framing: Framing,
    room: usize,
    /// Where the connection goes afterwards, if it can be used again.
    pool: Option<Pool>,
}

impl Incoming {
    /// The body that begins with what is in `buffer` and goes on as `wire` brings it.
    #[must_use]
    pub fn new(wire: Wire, buffer: BytesMut, framing: Framing, pool: Option<Pool>) -> Self {
        let mut incoming = Self { wire: Some(wire), buffer, framing, room: ROOM, pool };
        incoming.settle();
        incoming
    }

    /// Gives the connection back when the body has been read.
    fn settle(&mut self) {
        if !self.framing.is_done() {
            return;
        }
        let is_clean = self.buffer.is_empty();
        // Memory does not wait with the connection.
        self.buffer = BytesMut::new();
        if let (Some(wire), Some(pool), true) = (self.wire.take(), self.pool.take(), is_clean) {
            pool.keep(wire);
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match self.framing.take(&mut self.buffer) {
                Ok(Some(piece)) => {
                    self.settle();
                    return Poll::Ready(Some(Ok(piece)));
                }
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Some(Err(Broken::Malformed(malformed.0)))),
            }
            self.settle();
            let Some(wire) = &mut self.wire else { return Poll::Ready(None) };
            let read = ready!(poll_fill(wire, cx, &mut self.buffer, self.room));
            match read {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok((0, _)) if self.framing == Framing::ToTheEnd => {
                    (self.wire, self.framing) = (None, Framing::Done);
                }
                Ok((0, _)) => {
                    let cut =
                        io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed it before the end");
                    return Poll::Ready(Some(Err(cut.into())));
                }
                Ok((_, true)) => self.room = (self.room * 2).min(ROOM_CAP),
                Ok((_, false)) => self.room = ROOM,
            }
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = ready!(self.poll_bytes(cx));
        if matches!(polled, Some(Err(_))) {
            // Nothing more comes of it.
            (self.wire, self.framing) = (None, Framing::Done);
        }
        Poll::Ready(polled.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Done => SizeHint::with_exact(0),
            Framing::Chunked(_) | Framing::ToTheEnd => SizeHint::default(),
        }
    }
}
