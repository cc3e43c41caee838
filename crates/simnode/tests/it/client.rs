//! A client that hides nothing: it reads what came over the socket, well-formed or not.

use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed.
    Closed,
    /// The other side reset.
    Reset,
    /// Nothing came for so long as the caller would wait.
    Quiet,
}

/// Everything that came back.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    /// Body as it came, with its chunk sizes.
    pub wire: Vec<u8>,
    /// Body with the chunks joined.
    pub body: Vec<u8>,
    /// True when the framing says that nothing is missing.
    pub whole: bool,
    pub end: End,
}

impl Got {
    pub fn read(all: &[u8], end: End) -> Self {
        let split = all.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, wire) = match split {
            Some(at) => (String::from_utf8_lossy(&all[..at]).into_owned(), all[at + 4..].to_vec()),
            None => (String::from_utf8_lossy(all).into_owned(), Vec::new()),
        };
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut got = Self { status, head, wire, body: Vec::new(), whole: false, end };
        if got.header("transfer-encoding") == Some("chunked") {
            (got.body, got.whole) = unchunk(&got.wire);
        } else {
            let length = got.header("content-length").and_then(|length| length.parse().ok());
            got.whole = length == Some(got.wire.len());
            got.body = got.wire.clone();
        }
        got
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The lines of NDJSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of SSE: their name, where there is one, and their data.
    pub fn events(&self) -> Vec<(String, String)> {
        let event = |block: &str| {
            let field = |key: &str| {
                block.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
            };
            (field("event:"), field("data:"))
        };
        self.text().split("\n\n").filter(|block| !block.trim().is_empty()).map(event).collect()
    }

    /// The data of SSE events as JSON, without the final `[DONE]`.
    pub fn data(&self) -> Vec<Value> {
        let events = self.events();
        let json = events.iter().filter(|(_, data)| data != "[DONE]");
        json.map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
    }
}

fn unchunk(mut wire: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = wire.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size =
            std::str::from_utf8(&wire[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size else { return (body, false) };
        wire = &wire[at + 2..];
        if size == 0 {
            return (body, wire == b"\r\n");
        }
        if wire.len() < size + 2 {
            body.extend_from_slice(&wire[..size.min(wire.len())]);
            return (body, false);
        }
        body.extend_from_slice(&wire[..size]);
        wire = &wire[size + 2..];
    }
}

/// A request that asks the node to close after it.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request and reads until the end.
pub async fn send(addr: SocketAddr, request: &str) -> Got {
    send_within(addr, request, PATIENCE).await
}

/// Sends a request and reads until the end, or until this time is over.
pub async fn send_within(addr: SocketAddr, request: &str, patience: Duration) -> Got {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let end = read_to_end(&mut stream, &mut all, patience).await;
    Got::read(&all, end)
}

/// Reads until the other side ends or the time is over.
pub async fn read_to_end(stream: &mut TcpStream, all: &mut Vec<u8>, patience: Duration) -> End {
    match tokio::time::timeout(patience, stream.read_to_end(all)).await {
        Ok(Ok(_)) => End::Closed,
        Ok(Err(_)) => End::Reset,
        Err(_) => End::Quiet,
    }
}

pub async fn get(addr: SocketAddr, path: &str) -> Got {
    send(addr, &request("GET", path, "", "")).await
}

pub async fn post(addr: SocketAddr, path: &str, body: Value) -> Got {
    send(addr, &request("POST", path, "Content-Type: application/json\r\n", &body.to_string())).await
}

/// Fails unless `got` has the keys and the types of `wanted`, all the way down; a list's first entry stands for all.
#[track_caller]
pub fn same_shape(wanted: &Value, got: &Value) {
    if let Err(difference) = compare("", wanted, got) {
        panic!("{difference}\nwanted {wanted}\n   got {got}");
    }
}

fn compare(at: &str, wanted: &Value, got: &Value) -> Result<(), String> {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            if keys(wanted) != keys(got) {
                return Err(format!("{at}: keys {:?}, not {:?}", keys(got), keys(wanted)));
            }
            wanted.iter().try_for_each(|(key, value)| compare(&format!("{at}.{key}"), value, &got[key]))
        }
        (Value::Array(wanted), Value::Array(got)) => match wanted.first() {
            Some(entry) if got.is_empty() => Err(format!("{at}: empty, not a list of {entry}")),
            Some(entry) => got.iter().try_for_each(|value| compare(&format!("{at}[]"), entry, value)),
            None if got.is_empty() => Ok(()),
            None => Err(format!("{at}: not empty")),
        },
        _ if std::mem::discriminant(wanted) == std::mem::discriminant(got) => Ok(()),
        _ => Err(format!("{at}: {got} is not of the type of {wanted}")),
    }
}
