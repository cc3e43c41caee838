//! Clients spoken by hand, and nodes that answer byte for byte what a test wants.

use crate::house::PATIENCE;
use lamplighter_simnode::{Fault, FaultRule, On};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// A connection to a gateway on which a test writes what it likes.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// All that has come.
    pub got: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(authority: &str) -> Self {
        let stream = TcpStream::connect(authority).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, got: Vec::new() }
    }

    /// Sends `POST {path}` with lines of its own (each ends in CR LF) and a body.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn post(&mut self, path: &str, lines: &str, body: &[u8]) {
        let host = self.stream.peer_addr().expect("connected");
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{lines}\r\n");
        self.send(&[head.as_bytes(), body].concat()).await;
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the gateway reads");
    }

    /// Sends bytes, if the connection still takes them.
    ///
    /// # Errors
    /// When it does not.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Closes the writing half; the other stays open.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn close_half(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// Reads until `needle` has come; all that has come so far.
    ///
    /// # Panics
    /// When the connection ends before, or it takes longer than [`PATIENCE`].
    pub async fn until(&mut self, needle: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.got);
            if text.contains(needle) {
                return text.into_owned();
            }
            let mut piece = vec![0; 16 << 10];
            match timeout(PATIENCE, self.stream.read(&mut piece)).await {
                Ok(Ok(read @ 1..)) => self.got.extend_from_slice(&piece[..read]),
                ended => panic!("{needle:?} did not come ({ended:?}): {text}"),
            }
        }
    }

    /// Reads to the end of the connection, for `patience` at most; all that has come. `None` when it is still open then.
    pub async fn to_end(&mut self, patience: Duration) -> Option<String> {
        // A reset is an end too.
        let _ = timeout(patience, self.stream.read_to_end(&mut self.got)).await.ok()?;
        Some(String::from_utf8_lossy(&self.got).into_owned())
    }
}

/// For a simulated node: a stream of exactly these pieces on `path`, each a segment and a chunk of its own.
#[must_use]
pub fn in_pieces(path: &str, pieces: &[&[u8]]) -> FaultRule {
    let kind = if path.starts_with("/api/") { "application/x-ndjson" } else { "text/event-stream" };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    // A chunk of no bytes would be the end.
    let chunks = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| chunk(piece));
    let mut pieces: Vec<Vec<u8>> = chunks.chain([b"0\r\n\r\n".to_vec()]).collect();
    pieces[0] = [head.as_bytes(), &pieces[0]].concat();
    FaultRule::from(Fault::Verbatim { pieces, forever: false }).on(On::Path(path.to_owned()))
}

/// A port that takes connections and never says a word: what a machine looks like whose engine hangs.
#[derive(Debug)]
pub struct Hole {
    /// Its address.
    pub addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Hole {
    /// Opens one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                kept.push(stream);
            }
        });
        Self { addr, accepted, task }
    }

    /// Connections taken so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An OpenAI-compatible node that lists one model, `m`, and answers every `POST` with the same bytes, then closes.
#[derive(Debug)]
pub struct Scripted {
    /// Its address.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

const LIST: &str = r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"test"}]}"#;

impl Scripted {
    /// Starts one; `answer` is head and body.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(answer: impl Into<Vec<u8>>) -> Self {
        Self::slow(answer, Duration::ZERO, Duration::ZERO).await
    }

    /// Starts one that reads the body of a chat only `reads_after` its head, and answers `answers_after` that.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn slow(answer: impl Into<Vec<u8>>, reads_after: Duration, answers_after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let answer = Arc::new(answer.into());
        let task = tokio::spawn(async move {
            // Dropped with this task: no connection outlives the node.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer_one(stream, answer.clone(), reads_after, answers_after));
            }
        });
        Self { addr, task }
    }

    /// Its part of a configuration.
    #[must_use]
    pub fn node(&self, name: &str) -> String {
        format!("[[node]]\nname = \"{name}\"\nurl = \"http://{}\"\nengine = \"openai\"\n", self.addr)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_one(
    mut stream: TcpStream,
    answer: Arc<Vec<u8>>,
    reads_after: Duration,
    answers_after: Duration,
) {
    let Some(request) = read_request(&mut stream, reads_after).await else { return };
    if is_chat(request.as_bytes()) {
        tokio::time::sleep(answers_after).await;
    }
    let not_here = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let list = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{LIST}",
        LIST.len()
    );
    let reply = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/v1/models"] => list.into_bytes(),
        // Only what is asked for a client's sake: probes of other routes find nothing.
        ["POST", "/v1/chat/completions" | "/v1/embeddings"] => answer.to_vec(),
        _ => not_here,
    };
    // Whoever asked may have left.
    let _ = stream.write_all(&reply).await;
    let _ = stream.shutdown().await;
}

/// Not a probe's.
fn is_chat(request: &[u8]) -> bool {
    request.starts_with(b"POST /v1/chat/completions ")
}

/// A whole request with a `Content-Length`, or `None` when the connection ends before. Of a chat, what has not come with the head
/// is read `after` it.
async fn read_request(stream: &mut TcpStream, after: Duration) -> Option<String> {
    let mut got = Vec::new();
    let whole = loop {
        if let Some(at) = got.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            break at + 4 + length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
        }
        read_some(stream, &mut got).await?;
    };
    if is_chat(&got) {
        tokio::time::sleep(after).await;
    }
    while got.len() < whole {
        read_some(stream, &mut got).await?;
    }
    Some(String::from_utf8_lossy(&got).into_owned())
}

async fn read_some(stream: &mut TcpStream, got: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece).await {
        Ok(read @ 1..) => got.extend_from_slice(&piece[..read]),
        _ => return None,
    }
    Some(())
}
