//! The events of a measured stream: all of one length, each with the time at which it was sent.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

const HEAD: &[u8] = b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
const TAIL: &[u8] = b"\"},\"finish_reason\":null}]}\n\n";
const DIGITS: usize = 20;

/// Length of one event in bytes: what an engine sends for one token.
pub const EVENT_BYTES: usize = HEAD.len() + DIGITS + TAIL.len();
/// What ends the stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Nanoseconds since 1970. Both ends of a measurement run on one machine, so the clock is one clock.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Appends one event, sent now, as one chunk of a chunked answer. Where the event itself stands in `out`.
pub fn append_chunk(out: &mut Vec<u8>, sent_ns: u64) -> Range<usize> {
    out.extend_from_slice(format!("{EVENT_BYTES:x}\r\n").as_bytes());
    let from = out.len();
    out.extend_from_slice(HEAD);
    out.extend_from_slice(format!("{sent_ns:0DIGITS$}").as_bytes());
    out.extend_from_slice(TAIL);
    let to = out.len();
    out.extend_from_slice(b"\r\n");
    from..to
}

/// The end of the stream, as chunks.
pub fn append_end(out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", DONE.len()).as_bytes());
    out.extend_from_slice(DONE);
    out.extend_from_slice(b"\r\n0\r\n\r\n");
}

/// Finds the events in a stream that is cut anywhere.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Vec<u8>,
}

impl Reader {
    /// Takes in a piece and calls `on_event` with the time of sending of every event that ends in it.
    pub fn push(&mut self, mut piece: &[u8], on_event: &mut impl FnMut(u64)) {
        if !self.partial.is_empty() {
            let wanted = (EVENT_BYTES - self.partial.len()).min(piece.len());
            self.partial.extend_from_slice(&piece[..wanted]);
            piece = &piece[wanted..];
            if self.partial.len() < EVENT_BYTES {
                return;
            }
            on_event(sent_ns(&self.partial));
            self.partial.clear();
        }
        while piece.len() >= EVENT_BYTES {
            on_event(sent_ns(&piece[..EVENT_BYTES]));
            piece = &piece[EVENT_BYTES..];
        }
        self.partial.extend_from_slice(piece);
    }

    /// True when the stream ended as it should.
    pub fn ended_well(&self) -> bool {
        self.partial == DONE
    }
}

fn sent_ns(event: &[u8]) -> u64 {
    event[HEAD.len()..HEAD.len() + DIGITS]
        .iter()
        .fold(0u64, |n, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_under_any_cutting() {
        let mut chunks = Vec::new();
        for sent in [7, 1_795_000_000_000_000_000, 9] {
            append_chunk(&mut chunks, sent);
        }
        let frame = EVENT_BYTES + format!("{EVENT_BYTES:x}\r\n\r\n").len();
        let start = format!("{EVENT_BYTES:x}\r\n").len();
        let mut body: Vec<u8> =
            (0..3).flat_map(|i| chunks[i * frame + start..][..EVENT_BYTES].to_vec()).collect();
        body.extend_from_slice(DONE);
        for size in [1, 2, 100, EVENT_BYTES - 1, EVENT_BYTES, EVENT_BYTES + 1, body.len()] {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            body.chunks(size).for_each(|piece| reader.push(piece, &mut |sent| seen.push(sent)));
            assert_eq!(seen, [7, 1_795_000_000_000_000_000, 9], "pieces of {size}");
            assert!(reader.ended_well());
        }
    }
}
