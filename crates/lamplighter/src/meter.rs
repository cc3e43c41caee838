//! The body on its way down: bytes untouched, a judge listening, everything given back on drop.
//!
//! A stream goes down in whole events, so that one that is cut can end in its dialect's error and nothing half-written.

use crate::{
    attempt::Answer,
    dialects::judge::Judge,
    upstream::{Incoming, OpenRequest},
};
use crate::{
    clock,
    dialects::{
        self,
        heartbeat::{EVERY, Heartbeat},
        judge::Standing,
    },
    live::{Outcome, UnderWay},
    places::Held,
    speeds::Stopwatch,
    vigil::Vigil,
};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use lamplighter_core::operation::Dialect;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// An event is held until it is whole, up to this size; a larger one goes down as it comes.
const HOLD_CAP: usize = 64 << 10;

/// A stream ends with an error beyond so many bytes: no answer is that long, a node that loops is.
const STREAM_CAP: u64 = 64 << 20;
/// The same in events; each carries a token or more.
const EVENTS_CAP: u64 = 2_000_000;
/// An answer in one piece may be longer: embeddings of many texts are.
const PIECE_CAP: u64 = 512 << 20;

/// What a request holds until its answer has gone down.
#[derive(Debug)]
pub struct Holding {
    /// Its place in the list of requests.
    pub under_way: UnderWay,
    /// Its place on the node; operations that cost nothing have none.
    pub place: Option<Held>,
    /// Its open request on the node.
    pub open: OpenRequest,
    /// Measures how fast the node writes, when that is worth something.
    pub stopwatch: Option<Stopwatch>,
    /// Keeps the machine awake meanwhile.
    pub vigil: Option<Vigil>,
}

/// The answer's body.
pub struct Metered {
    ready: VecDeque<Bytes>,
    partial: BytesMut,
    /// Bytes that the node has sent.
    length: u64,
    /// The beginning of `partial`'s event has gone down already.
    half_down: bool,
    judge: Option<Judge>,
    rest: Option<Incoming>,
    dialect: Dialect,
    node: String,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    cancel: Pin<Box<WaitForCancellationFutureOwned>>,
    holding: Holding,
    settled: bool,
    failed: bool,
    silence: Option<Silence>,
}

/// Watches for silence between two events, and says something in the client's dialect.
struct Silence {
    heartbeat: Heartbeat,
    /// When something last went down, by the monotonic clock.
    last_ms: u64,
    /// One timer for the whole stream: it looks when it fires, instead of being set at each event.
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(heartbeat: Heartbeat) -> Self {
        Self { heartbeat, last_ms: clock::mono_ms(), timer: Box::pin(tokio::time::sleep(EVERY)) }
    }

    /// A sign of life, when it is due.
    fn poll_beat(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let quiet = Duration::from_millis(clock::mono_ms().saturating_sub(self.last_ms));
            let due = quiet >= EVERY;
            if due {
                self.last_ms = clock::mono_ms();
            }
            self.timer.as_mut().reset(Instant::now() + if due { EVERY } else { EVERY - quiet });
            if due {
                return Some(self.heartbeat.bytes(clock::wall_ms()));
            }
        }
        None
    }
}

impl Metered {
    /// The body of `answer`, which ends early when a person cancels it or its node is gone for good.
    #[must_use]
    pub fn new(
        answer: Answer,
        dialect: Dialect,
        node: String,
        cut: tokio_util::sync::CancellationToken,
        holding: Holding,
        heartbeat: Option<Heartbeat>,
    ) -> Self {
        let cancel = Box::pin(holding.under_way.cancel_token().clone().cancelled_owned());
        let cut = Box::pin(cut.cancelled_owned());
        let (ready, partial, judge, rest) = match answer {
            Answer::Whole(bytes) => {
                holding.under_way.tokens(dialects::judge::tokens_of_whole(dialect, &bytes));
                holding.under_way.ends(Outcome::Answered);
                (VecDeque::from([bytes]), BytesMut::new(), None, None)
            }
            Answer::Judged { ready, partial, judge, rest } => (ready, partial, Some(judge), Some(rest)),
            Answer::Plain { ready, rest } => (ready, BytesMut::new(), None, Some(rest)),
        };
        holding.under_way.streams();
        let mut metered = Self {
            length: ready.iter().map(|bytes| bytes.len() as u64).sum::<u64>() + partial.len() as u64,
            ready,
            partial,
            half_down: false,
            judge,
            rest,
            dialect,
            node,
            cut,
            cancel,
            holding,
            settled: false,
            failed: false,
            silence: None,
        };
        metered.silence = heartbeat.filter(|_| metered.judge.is_some()).map(Silence::new);
        metered.hear();
        metered
    }

    /// Takes in one chunk; whole events become ready.
    fn take(&mut self, chunk: Bytes) {
        self.holding.open.spoke();
        if let Some(silence) = &mut self.silence {
            silence.last_ms = clock::mono_ms();
        }
        self.length += chunk.len() as u64;
        let Some(judge) = &mut self.judge else {
            if self.length > PIECE_CAP {
                return self.end_early("answer_too_long", "sent an answer longer than 512 MiB");
            }
            self.ready.push_back(chunk);
            return;
        };
        if self.length > STREAM_CAP || judge.events() > EVENTS_CAP {
            return self
                .end_early("answer_too_long", "went on without end: 64 MiB or 2 million events are enough");
        }
        match judge.push(&chunk) {
            Err(_) => self.end_early("event_too_long", "sent an event without an end"),
            Ok(Some(to)) if self.partial.is_empty() && to == chunk.len() => {
                self.half_down = false;
                self.ready.push_back(chunk);
            }
            Ok(Some(to)) => {
                self.half_down = false;
                if !self.partial.is_empty() {
                    self.ready.push_back(self.partial.split().freeze());
                }
                self.ready.push_back(chunk.slice(..to));
                self.partial.extend_from_slice(&chunk[to..]);
            }
            Ok(None) => self.partial.extend_from_slice(&chunk),
        }
        if self.partial.len() > HOLD_CAP {
            self.half_down = true;
            self.ready.push_back(self.partial.split().freeze());
        }
        self.hear();
    }

    /// Notes what the judge has heard.
    fn hear(&mut self) {
        if let Some(judge) = &self.judge {
            if let Some(stopwatch) = &mut self.holding.stopwatch {
                stopwatch.beat();
            }
            self.holding.under_way.events(judge.events());
            if judge.standing() != Standing::Unfinished {
                self.holding.under_way.ends(Outcome::Answered);
            }
            if judge.is_over() {
                // The answer has ended, and what the node adds to it is not the client's. Its connection is not used again.
                self.partial.clear();
                self.rest = None;
                self.settle();
            }
        }
    }

    /// The node has sent all it will: is it whole?
    fn end(&mut self, broken: Option<&str>) {
        self.rest = None;
        let finished = match &mut self.judge {
            None => broken.is_none(),
            Some(judge) => {
                if judge.has_end_mark() {
                    self.partial.clear();
                }
                judge.finish();
                judge.standing() != Standing::Unfinished
            }
        };
        if finished {
            if !self.partial.is_empty() {
                self.ready.push_back(self.partial.split().freeze());
            }
            self.holding.under_way.ends(Outcome::Answered);
            self.settle();
        } else {
            self.end_early("answer_cut_short", broken.unwrap_or("ended its answer before it was complete"));
        }
    }

    /// Ends the stream with the dialect's error, so that nobody takes it for whole.
    fn end_early(&mut self, code: &str, what: &str) {
        self.rest = None;
        self.partial.clear();
        tracing::warn!(request = self.holding.under_way.id(), node = self.node, what, "answer cut short");
        if self.judge.is_some() {
            if self.half_down {
                // The error must not stand on the line of the event that it ends.
                self.ready.push_back(dialects::end_of_event(self.dialect));
            }
            let text = format!("{} {what}.", self.node);
            self.ready.push_back(dialects::error_event(self.dialect, code, &text));
        }
        self.failed = true;
        // A person's wish is no failure.
        let is_wish = self.holding.under_way.cancel_token().is_cancelled();
        self.holding.under_way.ends(if is_wish { Outcome::Cancelled } else { Outcome::Failed });
        self.settle();
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true)
            && let Some(judge) = &self.judge
        {
            self.holding.under_way.tokens(judge.tokens());
            if let Some(stopwatch) = &self.holding.stopwatch {
                // Without a count from the node: about one token per event.
                let told = judge.tokens().output;
                stopwatch.stop(if told > 0 { told } else { judge.events() });
            }
        }
    }

    /// A sign of life, when it is due. Never into the middle of an event, and not behind the answer's end.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let between = !self.half_down && self.judge.as_ref()?.standing() == Standing::Unfinished;
        self.silence.as_mut().filter(|_| between)?.poll_beat(cx)
    }

    /// Has somebody ended it? The words say who.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Option<(&'static str, &'static str)> {
        if self.cancel.as_mut().poll(cx).is_ready() {
            return Some(("request_cancelled", "was told to stop: the request was cancelled in Lamplighter"));
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            return Some(("node_lost", "stopped answering in the middle of its answer"));
        }
        None
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(rest) = &mut this.rest else {
                // An answer in one piece has no form for an error in its middle: the connection must tell.
                return Poll::Ready((this.failed && this.judge.is_none()).then_some(Err(CutShort)));
            };
            match Pin::new(rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        this.take(chunk);
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    this.end(Some("broke the connection in the middle of its answer"))
                }
                Poll::Ready(None) => this.end(None),
                Poll::Pending => match this.poll_ended(cx) {
                    Some((code, what)) => this.end_early(code, what),
                    None => match this.poll_silence(cx) {
                        Some(beat) => return Poll::Ready(Some(Ok(Frame::data(beat)))),
                        None => return Poll::Pending,
                    },
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none() && !(self.failed && self.judge.is_none())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match (&self.rest, &self.judge) {
            (None, None) => {
                hyper::body::SizeHint::with_exact(self.ready.iter().map(|bytes| bytes.len() as u64).sum())
            }
            _ => hyper::body::SizeHint::default(),
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.settle();
    }
}

/// An answer in one piece that could not be finished: the connection is closed without its end.
#[derive(Debug)]
pub struct CutShort;

impl std::fmt::Display for CutShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the node's answer was cut short")
    }
}

impl std::error::Error for CutShort {}
