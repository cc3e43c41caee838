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
            let blank = if self.line.is_empty() {
                self.take_line_of(&chunk[at..end], &mut on_event)?
            } else {
                self.append(&chunk[at..end])?;
                let line = std::mem::take(&mut self.line);
                let blank = self.take_line_of(&line, &mut on_event)?;
                self.line = line;
                self.line.clear();
                blank
            };
            at = end + 1;
            if chunk[end] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if blank {
                whole_to = Some(at);
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

    /// Acts on one whole line. True when it was blank: an event ends.
    fn take_line_of(&mut self, line: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<bool, TooLong> {
        let line = if self.started { line } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            if self.has_data {
                on_event(Event { name: &self.name, data: &self.data });
            }
            self.name.clear();
            self.data.clear();
            (self.has_data, self.open) = (false, false);
            return Ok(true);
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
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = Reader::default();
        let mut events = vec![];
        for chunk in chunks {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            reader.push(chunk, |event| events.push((text(event.name), text(event.data)))).unwrap();
        }
        events
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    /// The slow reference: the whole text at once, straight from the standard.
    fn reference(text: &str) -> Vec<(String, String)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let Some((finished, _)) = text.rsplit_once('\n') else { return vec![] };
        let (mut events, mut name, mut data) = (vec![], String::new(), Vec::<String>::new());
        for line in finished.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    events.push((name.clone(), data.join("\n")));
                }
                name.clear();
                data.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data.push(value.into()),
                "event" => name = value.into(),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn the_forms_that_servers_use() {
        assert_eq!(
            events(&[b"data: {\"a\":1}\n\ndata: [DONE]\n\n"]),
            [pair("", "{\"a\":1}"), pair("", "[DONE]")]
        );
        assert_eq!(events(&[b"event: ping\r\ndata:x\r\n\r\n"]), [pair("ping", "x")]);
        assert_eq!(events(&[b"data: a\rdata: b\r\r"]), [pair("", "a\nb")]);
        assert_eq!(events(&[b": comment\n\nid: 1\nretry: 5\ndata\n\n"]), [pair("", "")]);
        assert_eq!(events(&[b"\xEF\xBB\xBFdata: x\n\n"]), [pair("", "x")]);
        assert_eq!(events(&[b"data: unfinished\n"]), []);
        assert_eq!(events(&["data: zwei Z\u{fc}ge".as_bytes(), b"\n", b"\n"]), [pair("", "zwei Züge")]);
    }

    #[test]
    fn tells_where_whole_events_end() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(b"data: a\n\ndata: b", |_| ()), Ok(Some(9)));
        assert!(reader.is_open());
        assert_eq!(reader.push(b"c\n", |_| ()), Ok(None));
        assert_eq!(reader.push(b"\n", |_| ()), Ok(Some(1)));
        assert!(!reader.is_open());
        assert_eq!(reader.push(b"data: a\r\n\r", |_| ()), Ok(Some(10)));
        assert_eq!(reader.push(b"\n", |_| ()), Ok(Some(1)));
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut reader = Reader::default();
        let block = vec![b'x'; 1 << 20];
        let given_up = (0..10).any(|_| reader.push(&block, |_| ()).is_err());
        assert!(given_up);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_cutting_gives_the_same_events(text in "(data|event|id|x|\u{feff}|:| |\n|\r|\r\n|\n\n|ü|a){0,40}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&chunks), reference(&text));
        }

        /// What is held back is never more than one unfinished event, and what is let go is whole.
        #[test]
        fn the_boundary_is_after_a_blank_line(text in "(data: a|: c|\n|\r\n|\n\n){0,20}", cut in any::<prop::sample::Index>()) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut reader = Reader::default();
            let mut events = 0;
            let to = reader.push(first, |_| events += 1).unwrap().unwrap_or(0);
            let mut again = Reader::default();
            let mut seen = 0;
            again.push(&first[..to], |_| seen += 1).unwrap();
            prop_assert_eq!(seen, events);
            let _ = second;
        }
    }
}
