//! A generation as a timed sequence of events, with the faults that bend a stream.

use crate::fault::Fault;
use crate::formats::Wire;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// Piece in which an event without an end is sent.
const HUGE_PIECE: usize = 64 << 10;

/// One event and its time.
#[derive(Debug)]
pub(crate) struct Step {
    /// Time since the start of the generation; `None` never comes.
    pub(crate) at: Option<Duration>,
    pub(crate) bytes: Bytes,
}

/// How the stream departs from a good one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Twist {
    None,
    /// Nothing after the head, for ever.
    Mute,
    CloseAfter(usize),
    ErrorAfter(usize),
    Endless,
    Extra,
    OddSse,
    HugeLine(usize),
}

impl Twist {
    pub(crate) fn of(fault: &Fault) -> Self {
        match fault {
            Fault::Gray => Self::Mute,
            Fault::Close { after_events } => Self::CloseAfter(*after_events),
            Fault::InBandError { after_events } => Self::ErrorAfter(*after_events),
            Fault::Endless => Self::Endless,
            Fault::Extra => Self::Extra,
            Fault::OddSse => Self::OddSse,
            Fault::HugeLine { bytes } => Self::HugeLine(*bytes),
            _ => Self::None,
        }
    }
}

/// The events of one stream, made one at a time.
#[derive(Debug)]
pub(crate) struct Script {
    wire: Box<dyn Wire>,
    twist: Twist,
    /// Events that are due now, before any new token.
    due: VecDeque<Bytes>,
    next_token: usize,
    emitted: usize,
    closed: bool,
}

impl Script {
    pub(crate) fn new(wire: Box<dyn Wire>, twist: Twist) -> Self {
        let mut due = VecDeque::from(wire.opening());
        if let Twist::HugeLine(bytes) = twist {
            due.push_back(wire.unfinished());
            let filler = Bytes::from(vec![b'x'; HUGE_PIECE]);
            let mut left = bytes;
            while left > 0 {
                let piece = left.min(HUGE_PIECE);
                due.push_back(filler.slice(..piece));
                left -= piece;
            }
        }
        Self { wire, twist, due, next_token: 0, emitted: 0, closed: false }
    }

    /// When the event that comes next is due.
    fn time(&self) -> Duration {
        let spec = self.wire.spec();
        let tokens = self.next_token.min(spec.tokens.len().max(1)).saturating_sub(1) as u64;
        let tokens =
            if self.twist == Twist::Endless { self.next_token.saturating_sub(1) as u64 } else { tokens };
        Duration::from_nanos(spec.ttft_ns.saturating_add(spec.per_token_ns.saturating_mul(tokens)))
    }

    fn step(&mut self, mut bytes: Bytes) -> Option<Step> {
        if self.twist == Twist::OddSse && self.wire.stream_type().starts_with("text/event-stream") {
            bytes = odd(&bytes, self.emitted);
        }
        self.emitted += 1;
        Some(Step { at: Some(self.time()), bytes })
    }

    fn failure(&mut self) -> Option<Step> {
        self.closed = true;
        self.due.clear();
        let bytes = self.wire.failure("the runner stopped: simulated fault");
        self.step(bytes)
    }
}

/// The same event in a form that the standard allows and few send.
fn odd(event: &[u8], index: usize) -> Bytes {
    let event = String::from_utf8_lossy(event).replace('\n', "\r\n").replace("data: ", "data:");
    let mark = if index == 0 { "\u{feff}" } else { "" };
    Bytes::from(format!("{mark}: comment {index}\r\nid: {index}\r\nretry: 3000\r\n{event}"))
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        match self.twist {
            Twist::Mute => return Some(Step { at: None, bytes: Bytes::new() }),
            Twist::CloseAfter(count) if self.emitted >= count => return None,
            Twist::ErrorAfter(count) if self.emitted >= count && !self.closed => return self.failure(),
            _ => {}
        }
        if let Some(bytes) = self.due.pop_front() {
            return self.step(bytes);
        }
        if self.closed || matches!(self.twist, Twist::HugeLine(_)) {
            return None;
        }
        let (index, count) = (self.next_token, self.wire.spec().tokens.len());
        if index < count || (self.twist == Twist::Endless && count > 0) {
            self.next_token += 1;
            let bytes = self.wire.token(index, &self.wire.spec().tokens[index % count]);
            return self.step(bytes);
        }
        // A stream that fails or breaks off never gets its terminal marker, however late that was meant to be.
        if matches!(self.twist, Twist::ErrorAfter(_)) {
            return self.failure();
        }
        self.closed = true;
        self.due = self.wire.closing().into();
        match self.twist {
            Twist::CloseAfter(_) => drop(self.due.pop_back()),
            Twist::Extra if count > 0 => self.due.push_back(self.wire.token(0, &self.wire.spec().tokens[0])),
            _ => {}
        }
        let bytes = self.due.pop_front()?;
        self.step(bytes)
    }
}
