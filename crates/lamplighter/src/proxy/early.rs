//! The body of an answer that has not begun yet: signs of life, then the answer itself, or its dialect's error.
//!
//! The status is committed by then, as late as clients bear it: until the answer begins, everything about it is decided by the
//! same trip as ever, and failover still works. Only its errors have to stand in the stream.

use super::{Arrived, Done, Ended};
use crate::{
    attempt::Answer,
    clock,
    dialects::{
        self,
        heartbeat::{EVERY, Heartbeat},
        judge,
    },
    live::Outcome,
    meter::{CutShort, Metered},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame};
use lamplighter_core::{operation::Dialect, refusal::Refusal};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

/// The body.
pub struct Early {
    state: State,
    dialect: Dialect,
    heartbeat: Heartbeat,
}

enum State {
    Waiting {
        trip: BoxFuture<'static, Done>,
        beat: Pin<Box<Sleep>>,
        first: bool,
    },
    Going(Box<Metered>),
    /// The last words, if they have not been said.
    Ended(Option<Bytes>),
}

impl Early {
    /// Goes on waiting for `trip`. The client has waited for one heartbeat already: the first goes out at once.
    pub fn new(trip: BoxFuture<'static, Done>, dialect: Dialect, heartbeat: Heartbeat) -> Self {
        let beat = Box::pin(tokio::time::sleep(EVERY));
        Self { state: State::Waiting { trip, beat, first: true }, dialect, heartbeat }
    }

    fn arrive(&self, done: Done) -> State {
        let Done { under_way, result, .. } = done;
        let (code, text) = match result {
            Ok(arrived) if matches!(arrived.opened.answer, Answer::Judged { .. }) => {
                let heartbeat = Some(self.heartbeat.clone());
                return State::Going(Box::new(arrived.into_body(under_way, self.dialect, heartbeat)));
            }
            Ok(arrived) if let Some(line) = self.last_line(&arrived) => {
                under_way.tokens(judge::tokens_of_whole(self.dialect, &line));
                under_way.ends(Outcome::Answered);
                return State::Ended(Some(line));
            }
            Ok(Arrived { node, .. }) => {
                ("not_streamed", format!("{node} answered in one piece, when a stream had begun."))
            }
            Err(Ended::Refused(refusal)) => {
                under_way.ends(if refusal == Refusal::Cancelled {
                    Outcome::Cancelled
                } else {
                    Outcome::Failed
                });
                return State::Ended(Some(dialects::error_event(
                    self.dialect,
                    refusal.code(),
                    &refusal.message(),
                )));
            }
            Err(Ended::NodeSaid { response, node, .. }) => {
                let said = dialects::words_of_error(response.body());
                ("node_error", format!("{node} answered {}: {said}", response.status().as_u16()))
            }
        };
        under_way.ends(Outcome::Failed);
        State::Ended(Some(dialects::error_event(self.dialect, code, &text)))
    }

    /// An answer in one piece as the last line of the stream, where a stream may end in one: Ollama answers an order to load a
    /// model with a single object, streamed or not (ollama `server/routes.go`).
    fn last_line(&self, arrived: &Arrived) -> Option<Bytes> {
        match (&arrived.opened.answer, self.dialect) {
            (Answer::Whole(body), Dialect::Ollama) => Some(dialects::ollama_line(body)),
            _ => None,
        }
    }
}

impl Body for Early {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Going(metered) => return Pin::new(&mut **metered).poll_frame(cx),
                State::Ended(last) => return Poll::Ready(last.take().map(|bytes| Ok(Frame::data(bytes)))),
                State::Waiting { trip, beat, first } => {
                    if let Poll::Ready(done) = trip.as_mut().poll(cx) {
                        this.state = this.arrive(done);
                        continue;
                    }
                    if !std::mem::take(first) && beat.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    beat.as_mut().reset(Instant::now() + EVERY);
                    return Poll::Ready(Some(Ok(Frame::data(this.heartbeat.bytes(clock::wall_ms())))));
                }
            }
        }
    }
}
