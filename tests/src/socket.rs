//! Plain sockets: requests exactly as written, answers exactly as they came.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout_at,
};

/// What came back on one connection.
#[derive(Debug)]
pub struct Talk {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Did the other side close within the time?
    pub closed: bool,
    /// How long it took until it closed, or until the end of our patience.
    pub took: Duration,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, without the framing.
    pub body: Vec<u8>,
}

/// Sends `bytes` on a connection of their own and reads until the other side closes, for `patience` at most.
///
/// # Panics
/// When nobody listens there.
pub async fn talk(authority: &str, bytes: &[u8], patience: Duration) -> Talk {
    let mut stream = TcpStream::connect(authority).await.expect("somebody listens");
    let began = Instant::now();
    let deadline = tokio::time::Instant::now() + patience;
    // Who refuses a long head may close before all of it is there.
    let _ = timeout_at(deadline, stream.write_all(bytes)).await;
    let (mut read, mut part, mut closed) = (Vec::new(), vec![0; 16 << 10], false);
    while let Ok(got) = timeout_at(deadline, stream.read(&mut part)).await {
        match got {
            Ok(0) | Err(_) => {
                closed = true;
                break;
            }
            Ok(n) => read.extend_from_slice(&part[..n]),
        }
    }
    Talk { bytes: read, closed, took: began.elapsed() }
}

/// One request on a connection of its own, which closes after the answer.
///
/// # Panics
/// When there is not exactly one whole answer.
pub async fn ask(authority: &str, request: &[u8]) -> Reply {
    let talk = talk(authority, request, crate::house::PATIENCE).await;
    let mut replies = talk.replies();
    assert!(
        talk.closed && replies.len() == 1,
        "{} answers to {:?}",
        replies.len(),
        String::from_utf8_lossy(&request[..request.len().min(300)])
    );
    replies.remove(0)
}

/// A request that wants the connection closed afterwards. `head` is lines without their ends, `Host` among them.
#[must_use]
pub fn request(method: &str, target: &str, head: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    for line in head {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{text}\r\n{body}").into_bytes()
}

impl Talk {
    /// The answers, in order.
    ///
    /// # Panics
    /// When the bytes are no HTTP answers.
    #[must_use]
    pub fn replies(&self) -> Vec<Reply> {
        let (mut rest, mut replies) = (&self.bytes[..], Vec::new());
        while !rest.is_empty() {
            let (reply, after) = Reply::read(rest);
            replies.push(reply);
            rest = after;
        }
        replies
    }

    /// The statuses of the answers, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        self.replies().iter().map(|reply| reply.status).collect()
    }
}

impl Reply {
    /// Reads one answer, and what follows it. A body that a length announces may be missing, as after `HEAD`.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> (Self, &[u8]) {
        let end = find(bytes, b"\r\n\r\n").expect("the head of an answer ends");
        let head = str::from_utf8(&bytes[..end]).expect("the head is text");
        let mut lines = head.split("\r\n");
        let line = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5));
        let status: u16 = line.and_then(|status| status.parse().ok()).expect("an answer in HTTP/1");
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a header's name"),
                HeaderValue::from_str(value.trim()).expect("a header's value"),
            );
        }
        let rest = &bytes[end + 4..];
        let (body, rest) = if status < 200 {
            (Vec::new(), rest)
        } else if headers.get("transfer-encoding").is_some() {
            chunks(rest)
        } else {
            let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
            let length = length.unwrap_or(rest.len()).min(rest.len());
            (rest[..length].to_vec(), &rest[length..])
        };
        (Self { status, headers, body }, rest)
    }

    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n").expect("a chunk's length");
        let text = str::from_utf8(&rest[..line]).expect("hexadecimal digits");
        let length = usize::from_str_radix(text, 16).expect("hexadecimal digits");
        body.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 4 + length..];
        if length == 0 {
            return (body, rest);
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
