//! The body of an answer on its way out: paced, counted, and noticed when the client leaves.

use crate::activity::Busy;
use crate::answer::Payload;
use crate::record::{Outcome, Ticket};
use crate::residents::Seat;
use crate::script::Script;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A body that holds its request's ticket and seat until the last byte.
#[derive(Debug)]
pub(crate) struct SimBody {
    pieces: Pieces,
    ticket: Ticket,
    seat: Option<Seat>,
    /// What the end of the body means.
    outcome: Outcome,
    /// Keeps the connection from counting as idle.
    _busy: Busy,
}

/// The pieces of a body, in their time.
#[derive(Debug)]
pub(crate) enum Pieces {
    Whole(Option<Bytes>),
    Events(Box<Paced>),
}

impl SimBody {
    /// `start` is the start of the generation, from which the events' times count.
    pub(crate) fn new(
        payload: Payload,
        start: Instant,
        ticket: Ticket,
        seat: Option<Seat>,
        outcome: Outcome,
        busy: Busy,
    ) -> Self {
        Self { pieces: Pieces::new(payload, start), ticket, seat, outcome, _busy: busy }
    }

    /// For `HEAD`: nothing is sent, and that is the whole answer.
    pub(crate) fn headless(mut self) -> Self {
        self.ticket.end(self.outcome);
        self
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.pieces.poll(cx));
        let last = piece.is_none() || matches!(self.pieces, Pieces::Whole(None));
        if let Some(bytes) = &piece {
            self.ticket.sent(bytes);
        }
        if last {
            self.seat = None;
            let outcome = self.outcome;
            self.ticket.end(outcome);
        }
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.pieces, Pieces::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pieces {
            Pieces::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Pieces::Events(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    pub(crate) fn new(payload: Payload, start: Instant) -> Self {
        match payload {
            Payload::Whole(bytes) => Self::Whole(Some(bytes)),
            Payload::Events(script) => Self::Events(Box::new(Paced::new(*script, start))),
        }
    }

    /// The next piece when it is due.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Events(paced) => paced.poll(cx),
        }
    }
}

/// A script played on the clock.
#[derive(Debug)]
pub(crate) struct Paced {
    script: Script,
    start: Instant,
    held: Option<Bytes>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// An event has just gone out: the connection flushes before the next.
    flush: bool,
}

impl Paced {
    fn new(script: Script, start: Instant) -> Self {
        Self { script, start, held: None, sleep: None, flush: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.flush {
            // hyper writes out what it has when a body is not ready.
            self.flush = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.held.is_none() {
            let Some(step) = self.script.next() else { return Poll::Ready(None) };
            // A year is never, within a test.
            let at = step.at.unwrap_or(Duration::from_secs(31_536_000));
            let due = self.start + at;
            if due > Instant::now() {
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(due),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep_until(due))),
                }
            } else {
                self.sleep = None;
            }
            self.held = Some(step.bytes);
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        self.flush = true;
        Poll::Ready(self.held.take())
    }
}
