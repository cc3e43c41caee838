//! An HTTP/1.1 client for one node. A connection belongs to the request that uses it, with no task and no channel between
//! them: what a node sends is read when its client wants it, and what one read brings goes on in one piece.

use super::{
    head::{self, Head},
    incoming::{Broken, Incoming, ROOM, poll_fill},
    wire::Wire,
};
use crate::clock;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, Uri};
use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// A body up to this size is written together with its head.
const TOGETHER: usize = 16 << 10;
/// Idle connections to one node, at most.
const IDLE_CAP: usize = 1_024;

/// Connections that are kept for the next request. Cloned, it is the same pool.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The one that was used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    /// Longest idle time, in milliseconds.
    idle_ms: u64,
    /// Forgotten: what still runs is not kept afterwards.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    wire: Wire,
    since_ms: u64,
}

impl Pool {
    /// An empty pool whose connections may be idle for `idle_ms`.
    #[must_use]
    pub fn new(idle_ms: u64) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), idle_ms, closed: AtomicBool::new(false) }))
    }

    /// An empty pool like this one.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.0.idle_ms)
    }

    /// A kept connection that still looks good.
    #[must_use]
    pub fn take(&self) -> Option<Wire> {
        loop {
            let mut idle = self.lock().pop_back()?;
            let age_ms = clock::mono_ms().saturating_sub(idle.since_ms);
            if age_ms < self.0.idle_ms && idle.wire.is_quiet() {
                return Some(idle.wire);
            }
        }
    }

    /// Closes what has been idle for too long.
    pub fn tidy(&self) {
        let now_ms = clock::mono_ms();
        let mut idle = self.lock();
        while idle.front().is_some_and(|idle| now_ms.saturating_sub(idle.since_ms) >= self.0.idle_ms) {
            idle.pop_front();
        }
    }

    /// Closes all idle connections, and keeps none any more.
    pub fn close(&self) {
        self.0.closed.store(true, Relaxed);
        self.lock().clear();
    }

    /// Keeps a connection on which an answer has ended.
    pub fn keep(&self, wire: Wire) {
        let mut idle = self.lock();
        // Asked under the lock: what is closed is emptied under it too, afterwards.
        if !self.0.closed.load(Relaxed) && idle.len() < IDLE_CAP {
            idle.push_back(Idle { wire, since_ms: clock::mono_ms() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a `POST` and waits for the head of the answer. The connection comes back here when its body has been read.
    ///
    /// # Errors
    /// [`Broken`]; the connection is closed then.
    pub async fn post(
        &self,
        mut wire: Wire,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Broken> {
        let to = uri.authority().ok_or(Broken::Malformed("the address has no host"))?;
        let together = if body.len() <= TOGETHER { body.len() } else { 0 };
        let mut first = Vec::with_capacity((1 << 10) + together);
        head::post(to, uri, headers, body.len(), &mut first);
        first.extend_from_slice(&body[..together]);
        let mut out =
            Outgoing { first, rest: body.slice(together..), sent: 0, is_flushed: false, broken: None };
        let (mut buffer, mut interim) = (BytesMut::new(), 0);
        let head = poll_fn(|cx| {
            // A node may answer before it has read all, and not read the rest; or close its side, with its words still to be read.
            out.poll_send(&mut wire, cx);
            loop {
                if !buffer.is_empty()
                    && let Some(head) = head::read(&mut buffer, &mut interim).map_err(Broken::Malformed)?
                {
                    return Poll::Ready(Ok(head));
                }
                if ready!(poll_fill(&mut wire, cx, &mut buffer, ROOM))?.0 == 0 {
                    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed it");
                    return Poll::Ready(Err(Broken::Io(out.broken.take().unwrap_or_else(closed))));
                }
            }
        })
        .await?;
        let Head { parts, framing, keep_alive } = head;
        let pool = Some(self.clone()).filter(|_| keep_alive && out.is_flushed);
        Ok(Response::from_parts(parts, Incoming::new(wire, buffer, framing, pool)))
    }
}

/// A request on its way out.
struct Outgoing {
    /// The head, and a small body with it.
    first: Vec<u8>,
    /// A large body.
    rest: Bytes,
    /// So much of both has been written.
    sent: usize,
    is_flushed: bool,
    /// Nothing more can be written.
    broken: Option<io::Error>,
}

impl Outgoing {
    /// Writes as much as the connection takes.
    fn poll_send(&mut self, wire: &mut Wire, cx: &mut Context<'_>) {
        while !self.is_flushed && self.broken.is_none() {
            let left = match self.first.get(self.sent..) {
                Some(left @ [_, ..]) => left,
                _ => &self.rest[self.sent - self.first.len()..],
            };
            let polled = if left.is_empty() {
                Pin::new(&mut *wire).poll_flush(cx).map_ok(|()| 0)
            } else {
                Pin::new(&mut *wire).poll_write(cx, left)
            };
            match polled {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) if left.is_empty() => self.is_flushed = true,
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => self.broken = Some(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
