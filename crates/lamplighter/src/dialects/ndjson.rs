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
        let mut at = 0;
        while let Some(found) = memchr(b'\n', &chunk[at..]) {
            let part = &chunk[at..at + found];
            if self.line.is_empty() {
                tell(part, &mut on_line);
            } else {
                self.append(part)?;
                tell(&self.line, &mut on_line);
                self.line.clear();
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

fn tell(line: &[u8], on_line: &mut impl FnMut(&[u8])) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !line.trim_ascii().is_empty() {
        on_line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_cutting_gives_the_same_lines(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'{'), Just(0xFFu8), Just(b' ')], 0..40), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut reader = Reader::default();
            let mut lines = vec![];
            for w in at.windows(2) {
                reader.push(&bytes[w[0]..w[1]], |line| lines.push(line.to_vec())).unwrap();
            }
            let finished = bytes.iter().rposition(|&b| b == b'\n').map_or(&[][..], |end| &bytes[..end]);
            let wanted: Vec<Vec<u8>> = finished
                .split(|&b| b == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                .filter(|line| !line.trim_ascii().is_empty())
                .collect();
            prop_assert_eq!(lines, wanted);
            let tail = bytes.iter().rposition(|&b| b == b'\n').map_or(&bytes[..], |end| &bytes[end + 1..]);
            prop_assert_eq!(reader.rest(), tail);
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut reader = Reader::default();
        let block = vec![b'x'; 1 << 20];
        assert!((0..10).any(|_| reader.push(&block, |_| ()).is_err()));
    }
}
