//! Newline-delimited JSON: splits a byte stream into lines under any cutting. Ollama's streams (ollama `server/routes.go`).

use super::sse::{MAX_EVENT_BYTES, TooLong};
use memchr::memchr;

/// Reads lines from chunks. Holds at most one unfinished line.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
}

impl Reader {
    /// Takes in one chunk and calls `on_line` for every non-blank line that ends in it, without its LF or CRLF. Returns the
    /// position in `chunk` after the last line end.
    ///
    /// # Errors
    /// [`TooLong`] when a line grows beyond the cap; the reader is then of no further use.
    pub fn push(&mut self, chunk: &[u8], mut on_line: impl FnMut(&[u8])) -> Result<Option<usize>, TooLong> {
        self.push_while(chunk, |line| {
            on_line(line);
            true
        })
    }

    /// The same until `on_line` says that it does not want a line: the position is then that before this line, and the reader
    /// is of no further use.
    ///
    /// # Errors
    /// [`TooLong`] when a line grows beyond the cap; the reader is then of no further use.
    pub fn push_while(
        &mut self,
        chunk: &[u8],
        mut on_line: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<usize>, TooLong> {
        let mut at = 0;
        while let Some(found) = memchr(b'\n', &chunk[at..]) {
            let part = &chunk[at..at + found];
            let wanted = if self.line.is_empty() {
                tell(part, &mut on_line)
            } else {
                self.append(part)?;
                let wanted = tell(&self.line, &mut on_line);
                self.line.clear();
                wanted
            };
            if !wanted {
                return Ok((at > 0).then_some(at));
            }
            at += found + 1;
        }
        self.append(&chunk[at..])?;
        Ok((at > 0).then_some(at))
    }

    /// The unfinished line; a last line without LF counts as one at the end of the stream.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.line
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

fn tell(line: &[u8], on_line: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.trim_ascii().is_empty() || on_line(line)
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
