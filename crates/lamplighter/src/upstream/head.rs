//! The heads of HTTP/1.1 messages: ours is written, the node's is read (RFC 9112, 2 to 6).

use super::framing::{Chunk, Framing};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, response, uri::Authority};
use std::mem::MaybeUninit;

/// Header fields of an answer.
const FIELDS: usize = 100;
/// Bytes of an answer's head.
const HEAD_CAP: usize = 128 << 10;
/// Interim answers (`103 Early Hints` and its kin) before the answer itself: a few are harmless, a flood is no answer.
const INTERIM: u32 = 16;

/// The head of a `POST` with a body of `length` bytes.
pub fn post(to: &Authority, uri: &Uri, headers: &HeaderMap, length: usize, out: &mut Vec<u8>) {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(to.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// An answer's head, and what it says about the body and the connection.
#[derive(Debug)]
pub struct Head {
    /// Status and headers.
    pub parts: response::Parts,
    /// Where the body ends.
    pub framing: Framing,
    /// May the connection be used again once the body has been read?
    pub keep_alive: bool,
}

/// Reads the head of the answer from the beginning of `buffer` once it is all there, and takes it off; interim answers before
/// it are counted and dropped.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(buffer: &mut BytesMut, interim: &mut u32) -> Result<Option<Head>, &'static str> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut answer = httparse::Response::new(&mut []);
        let reader = httparse::ParserConfig::default();
        let end = match reader.parse_response_with_uninit_headers(&mut answer, buffer, &mut fields) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if buffer.len() > HEAD_CAP => return Err("its head has no end"),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err("its head has too many fields"),
            Err(_) => return Err("it is not HTTP"),
        };
        let status =
            answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("its status is none")?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it changed to another protocol");
        }
        if status.is_informational() {
            *interim += 1;
            if *interim > INTERIM {
                return Err("it sends interim answers without end");
            }
            buffer.advance(end);
            continue;
        }
        let is_1_1 = answer.version == Some(1);
        let base = buffer.as_ptr() as usize;
        // Where names and values stand in the buffer, to be cut out of it without a copy.
        let stands = |text: &[u8]| ((text.as_ptr() as usize).wrapping_sub(base), text.len());
        let at: Vec<_> =
            answer.headers.iter().map(|field| (stands(field.name.as_bytes()), stands(field.value))).collect();
        let bytes = buffer.split_to(end).freeze();
        let mut headers = HeaderMap::with_capacity(at.len());
        for ((name, name_length), (value, value_length)) in at {
            let name = HeaderName::from_bytes(&bytes[name..name + name_length])
                .map_err(|_| "a header's name is none")?;
            // An empty value has no place of its own in the buffer.
            let value =
                if value_length == 0 { Bytes::new() } else { bytes.slice(value..value + value_length) };
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| "a header's value is none")?;
            headers.append(name, value);
        }
        let (framing, keep_alive) = framing(status, &headers, is_1_1)?;
        let (mut parts, ()) = http::Response::new(()).into_parts();
        (parts.status, parts.headers) = (status, headers);
        return Ok(Some(Head { parts, framing, keep_alive }));
    }
}

fn framing(status: StatusCode, headers: &HeaderMap, is_1_1: bool) -> Result<(Framing, bool), &'static str> {
    let says = |word: &str| {
        let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
    };
    let kept = if is_1_1 { !says("close") } else { says("keep-alive") };
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Framing::Done, kept));
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(_), _) if !is_1_1 => return Err("it frames its answer in a way that HTTP/1.0 has not"),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            // Beside a length the chunks count (RFC 9112, 6.3), and nothing that follows is trusted.
            let keep = kept && lengths.iter().next().is_none();
            return Ok((Framing::Chunked(Chunk::Size), keep));
        }
        (Some(_), _) => return Err("it encodes its answer in a way that we did not ask for"),
    }
    let mut length: Option<u64> = None;
    for value in lengths {
        let digits = value.to_str().unwrap_or_default();
        // `parse` alone would take a sign.
        let one = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        let one: u64 = one.ok_or("its length cannot be read")?;
        if length.is_some_and(|other| other != one) {
            return Err("it has two lengths");
        }
        length = Some(one);
    }
    Ok(match length {
        Some(length) => (Framing::of_length(length), kept),
        None => (Framing::ToTheEnd, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, String)>, &'static str> {
        let mut buffer = BytesMut::from(text);
        let head = read(&mut buffer, &mut 0)?;
        Ok(head.map(|head| (head, String::from_utf8_lossy(&buffer).into_owned())))
    }

    #[test]
    fn a_head_is_cut_off_and_its_body_stays() {
        let (head, rest) =
            head("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nEmpty:\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\nhel")
                .unwrap()
                .unwrap();
        assert_eq!(
            (head.parts.status, head.framing, head.keep_alive),
            (StatusCode::OK, Framing::Length(5), true)
        );
        assert_eq!(head.parts.headers["content-type"], "a/b");
        assert_eq!(head.parts.headers["empty"], "");
        assert_eq!(head.parts.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(rest, "hel");
    }

    #[test]
    fn every_framing() {
        let chunked = Framing::Chunked(Chunk::Size);
        for (text, wanted) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", (chunked, true)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", (chunked, false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", (Framing::Length(3), true)),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 3\r\n\r\n",
                (Framing::Length(3), false),
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", (Framing::Length(3), false)),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", (Framing::Done, true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (Framing::Done, true)),
            ("HTTP/1.1 200 OK\r\n\r\n", (Framing::ToTheEnd, false)),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
                (Framing::Length(1), true),
            ),
        ] {
            let (head, _) = head(text).unwrap().unwrap();
            assert_eq!((head.framing, head.keep_alive), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
        let flood = "HTTP/1.1 103 x\r\n\r\n".repeat(17);
        for wrong in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 999999 OK\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            many.as_str(),
            flood.as_str(),
        ] {
            assert!(head(wrong).is_err(), "{}", &wrong[..wrong.len().min(60)]);
        }
        assert!(head("HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        assert!(head(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_CAP))).is_err());
    }

    #[test]
    fn a_request_is_written_as_it_was_given() {
        let mut headers = HeaderMap::new();
        headers.append("accept", HeaderValue::from_static("*/*"));
        headers.append("via", HeaderValue::from_static("1.1 a"));
        headers.append("via", HeaderValue::from_static("1.1 b"));
        let uri: Uri = "http://node:8080/v1/chat?x=y".parse().unwrap();
        let mut out = Vec::new();
        post(uri.authority().unwrap(), &uri, &headers, 7, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /v1/chat?x=y HTTP/1.1\r\nhost: node:8080\r\naccept: */*\r\nvia: 1.1 a\r\nvia: 1.1 b\r\ncontent-length: 7\r\n\r\n"
        );
    }
}
