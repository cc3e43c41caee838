//! Where a body ends: the framings of an HTTP/1.1 answer, taken off the bytes as they come (RFC 9112, 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

/// Longest line between chunks: a size with its extensions, or a trailer.
const LINE_CAP: usize = 16 << 10;
/// Trailers after the last chunk, in lines.
const TRAILERS: u32 = 100;

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// All that comes before the connection ends.
    ToTheEnd,
    /// Nothing.
    Done,
}

/// What comes next of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// The line with a size.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk.
    End,
    /// A trailer, or the blank line that ends the body; so many have come.
    Trailer(u32),
}

/// The bytes are not what the framing says.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Framing {
    /// The framing of a body of that length.
    #[must_use]
    pub fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// Has all of it come?
    #[must_use]
    pub fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Takes what `buffer` holds of the body, without the framing, in one piece: a chunk that stands alone is not copied, and
    /// of several the later ones are moved up to the first. `None` when there is nothing yet. What comes after the body stays.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with it; nothing more can be read then.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let piece = match self {
            Self::Done => return Ok(None),
            Self::ToTheEnd => buffer.split(),
            Self::Length(left) => {
                let now = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *self = Self::of_length(*left - now as u64);
                buffer.split_to(now)
            }
            Self::Chunked(_) => self.take_chunks(buffer)?,
        };
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }

    fn take_chunks(&mut self, buffer: &mut BytesMut) -> Result<BytesMut, Malformed> {
        let Self::Chunked(mut next) = *self else { return Ok(BytesMut::new()) };
        // The body's bytes stand in `start..end`, what is unread begins at `at`.
        let (mut start, mut end, mut at) = (0, 0, 0);
        let mut done = false;
        while !done {
            let there = &buffer[at..];
            match next {
                Chunk::Data(left) => {
                    let now = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if now == 0 {
                        break;
                    }
                    if start == end {
                        (start, end) = (at, at + now);
                    } else {
                        buffer.copy_within(at..at + now, end);
                        end += now;
                    }
                    at += now;
                    let left = left - now as u64;
                    next = if left == 0 { Chunk::End } else { Chunk::Data(left) };
                }
                Chunk::End => {
                    if there.len() < 2 {
                        break;
                    }
                    if !there.starts_with(b"\r\n") {
                        return Err(Malformed("a chunk is longer than it says"));
                    }
                    (at, next) = (at + 2, Chunk::Size);
                }
                Chunk::Size | Chunk::Trailer(_) => {
                    let Some(length) = line(there)? else { break };
                    let line = &there[..length];
                    at += length + 2;
                    match next {
                        Chunk::Trailer(_) if line.is_empty() => done = true,
                        Chunk::Trailer(TRAILERS) => return Err(Malformed("its trailers have no end")),
                        Chunk::Trailer(count) => next = Chunk::Trailer(count + 1),
                        _ => match size(line)? {
                            0 => next = Chunk::Trailer(0),
                            size => next = Chunk::Data(size),
                        },
                    }
                }
            }
        }
        *self = if done { Self::Done } else { Self::Chunked(next) };
        buffer.advance(start);
        let piece = buffer.split_to(end - start);
        buffer.advance(at - end.max(start));
        Ok(piece)
    }
}

/// Length of the line at the beginning, without its end; `None` when it is not whole yet.
fn line(there: &[u8]) -> Result<Option<usize>, Malformed> {
    let looked_at = &there[..there.len().min(LINE_CAP)];
    match memchr::memchr(b'\n', looked_at) {
        Some(end) if end > 0 && looked_at[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(Malformed("a line between chunks ends in a bare line feed")),
        None if there.len() >= LINE_CAP => Err(Malformed("a line between chunks has no end")),
        None => Ok(None),
    }
}

/// The size in hexadecimal digits; extensions after a semicolon are skipped.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let wrong = Malformed("a chunk's size cannot be read");
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    // Sixteen digits are 64 bits.
    if digits == 0 || digits > 16 || !(rest.is_empty() || rest[0] == b';') {
        return Err(wrong);
    }
    let text = std::str::from_utf8(&line[..digits]).unwrap_or_default();
    u64::from_str_radix(text, 16).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out when the bytes come cut in pieces; what is left over, and how the framing stands.
    fn taken(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, Framing), Malformed> {
        let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(taken) = framing.take(&mut buffer)? {
                out.extend_from_slice(&taken);
            }
        }
        Ok((out, buffer.to_vec(), framing))
    }

    const CHUNKED: Framing = Framing::Chunked(Chunk::Size);

    #[test]
    fn several_chunks_come_out_in_one_piece() {
        let mut buffer = BytesMut::from(&b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n2\r\nxy"[..]);
        let mut framing = CHUNKED;
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), "abc0123456789xy");
        assert_eq!((framing, buffer.len()), (Framing::Chunked(Chunk::End), 0));
        buffer.extend_from_slice(b"\r\n0\r\nx: y\r\n\r\nHTTP");
        assert_eq!(framing.take(&mut buffer).unwrap(), None);
        assert_eq!((framing, &buffer[..]), (Framing::Done, &b"HTTP"[..]));
    }

    #[test]
    fn what_follows_a_body_stays() {
        let length = taken(Framing::of_length(3), &[b"ab", b"cde"]).unwrap();
        assert_eq!(length, (b"abc".to_vec(), b"de".to_vec(), Framing::Done));
        let end = taken(Framing::ToTheEnd, &[b"ab", b"cde"]).unwrap();
        assert_eq!(end, (b"abcde".to_vec(), vec![], Framing::ToTheEnd));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            &b"\r\n"[..],
            b"xyz\r\n",
            b"+3\r\nabc\r\n",
            b"3 4\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"fffffffffffffffff\r\n",
            b"0x3\r\nabc\r\n",
        ] {
            assert!(taken(CHUNKED, &[wrong]).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        let endless = [b"1;".as_slice(), &b"x".repeat(LINE_CAP)].concat();
        assert!(taken(CHUNKED, &[&endless]).is_err());
        let trailers = [b"0\r\n".as_slice(), &b"x: y\r\n".repeat(200)].concat();
        assert!(taken(CHUNKED, &[&trailers]).is_err());
    }

    proptest! {
        /// However a body is cut into chunks and the chunks into reads, the same bytes come out.
        #[test]
        fn any_cutting_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\nrest");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let (body, rest, framing) = taken(CHUNKED, &pieces).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(rest, b"rest".to_vec());
            prop_assert!(framing.is_done());
        }

        /// Any bytes: no panic, and never more out than in.
        #[test]
        fn survives_anything(bytes in "[0-9a-f;\r\n xG]{0,60}") {
            if let Ok((body, rest, _)) = taken(CHUNKED, &[bytes.as_bytes()]) {
                prop_assert!(body.len() + rest.len() <= bytes.len());
            }
        }
    }
}
