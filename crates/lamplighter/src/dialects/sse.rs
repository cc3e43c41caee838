//! Server-sent events: splits a byte stream into events under any cutting, as the HTML standard reads them.
//!
//! Lines end with LF, CR or CRLF; a blank line ends an event; comments and unknown fields are skipped; several `data:` lines
//! are joined by LF. (WHATWG HTML, section "Interpreting an event stream".)

use memchr::memchr2;

/// Longest line or event that is kept in memory, in bytes.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field; empty when there is none.
    pub name: &'a [u8],
    /// The `data:` fields, joined by LF.
    pub data: &'a [u8],
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Reads events from chunks. Holds at most one unfinished event.
#[derive(Debug, Default)]
pub struct Reader {
    /// The unfinished line at the end of the last chunk.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last chunk ended in CR: an LF at the start of the next belongs to it.
    after_cr: bool,
    /// Nothing has been read yet: a byte order mark may come.
    started: bool,
    /// Something of an unfinished event (or comment) has been read.
    open: bool,
}

impl Reader {
    /// Takes in one chunk and calls `on_event` for every event that ends in it. Returns the position in `chunk` after the last
    /// blank line: what is before it is whole events, what is after it belongs to an unfinished one.
    ///
    /// # Errors
    /// [`TooLong`]; the reader is then of no further use.
    pub fn push(
        &mut self,
        chunk: &[u8],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<usize>, TooLong> {
        self.push_while(chunk, |event| {
            on_event(event);
            true
        })
    }

    /// The same until `on_event` says that it does not want an event: the position is then that before this event, and the
    /// reader is of no further use.
    ///
    /// # Errors
    /// [`TooLong`]; the reader is then of no further use.
    pub fn push_while(
        &mut self,
        chunk: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> bool,
    ) -> Result<Option<usize>, TooLong> {
        let mut at = 0;
        let mut whole_to = None;
        if !chunk.is_empty() && self.after_cr {
            self.after_cr = false;
            if chunk[0] == b'\n' {
                at = 1;
                // The LF belongs to a line end that was already acted on.
                if !self.open {
                    whole_to = Some(1);
                }
            }
        }
        while let Some(found) = memchr2(b'\n', b'\r', &chunk[at..]) {
            let end = at + found;
            let line = if self.line.is_empty() {
                self.take_line_of(&chunk[at..end], &mut on_event)?
            } else {
                self.append(&chunk[at..end])?;
                let line = std::mem::take(&mut self.line);
                let what = self.take_line_of(&line, &mut on_event)?;
                self.line = line;
                self.line.clear();
                what
            };
            at = end + 1;
            if chunk[end] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            match line {
                Line::Text => {}
                Line::Blank => whole_to = Some(at),
                Line::Unwanted => return Ok(whole_to),
            }
        }
        if at < chunk.len() {
            self.open = true;
            self.append(&chunk[at..])?;
        }
        Ok(whole_to)
    }

    /// Is an event (or a comment) unfinished?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Acts on one whole line.
    fn take_line_of(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> bool,
    ) -> Result<Line, TooLong> {
        let line = if self.started { line } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            let wanted = !self.has_data || on_event(Event { name: &self.name, data: &self.data });
            self.name.clear();
            self.data.clear();
            (self.has_data, self.open) = (false, false);
            return Ok(if wanted { Line::Blank } else { Line::Unwanted });
        }
        self.open = true;
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT_BYTES {
                    return Err(TooLong);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {} // comments (an empty field name), id, retry and anything unknown
        }
        Ok(Line::Text)
    }
}

/// What a line was.
enum Line {
    Text,
    /// An event ends, or nothing does.
    Blank,
    /// An event ends that nobody wants.
    Unwanted,
}

#[cfg(test)]
#[path = "sse_tests.rs"]
pub(super) mod tests;
