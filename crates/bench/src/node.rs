//! A fake node that costs next to nothing, so that what is measured is the proxy in front of it.
//!
//! It shows OpenAI's API: `/v1/models`, and chat completions in one piece or as a stream. Fields of the request, which
//! every proxy passes on unread, say how a stream goes: `bench_events`, `bench_gap_us` (0: as fast as it can) and
//! `bench_thinks_ms`.

use crate::{
    book::{Book, End, Page},
    events,
    wire::field,
};
use memchr::memmem;
use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{Instant, sleep},
};

/// The model that is asked for: the first two fake nodes have it.
pub const MODEL: &str = "bench-model";
const ANSWER: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"The small lamp says hello from this machine."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}"#;
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
/// Requests for streams are small: only so much of a body is looked at.
const LOOKED_AT: usize = 2 << 10;
/// What a burst is written in.
const BURST_WRITE: usize = 64 << 10;

/// Answers prepared once.
struct Prepared {
    models: Vec<u8>,
    answer: Vec<u8>,
    missing: Vec<u8>,
    streams: AtomicU64,
    book: Option<Book>,
}

/// Runs `count` nodes until standard input ends: a node must not outlive who started it.
/// With `book`, what they send on streams is noted.
pub async fn run(count: usize, models: usize, book: bool) -> io::Result<()> {
    let (mut addresses, book) = (Vec::new(), book.then(Book::default));
    for at in 0..count.max(1) {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?.to_string());
        tokio::spawn(accept(listener, Arc::new(Prepared::new(at, models.max(1), book.clone()))));
    }
    writeln!(io::stdout(), "{}", serde_json::json!({ "addresses": addresses }))?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.await;
    Ok(())
}

impl Prepared {
    fn new(node: usize, models: usize, book: Option<Book>) -> Self {
        // Two nodes share the model that is asked for; the others make the fleet large.
        let name = |at| if at == 0 && node < 2 { MODEL.to_owned() } else { format!("model-{node}-{at}") };
        let names = (0..models).map(name);
        let data: Vec<_> = names
            .map(|name| serde_json::json!({"id": name, "object": "model", "created": 1, "owned_by": "bench"}))
            .collect();
        let list = serde_json::json!({ "object": "list", "data": data }).to_string();
        Self {
            models: whole("200 OK", &list),
            answer: whole("200 OK", ANSWER),
            missing: whole("404 Not Found", r#"{"error":{"message":"no such route"}}"#),
            streams: AtomicU64::new(0),
            book,
        }
    }
}

fn whole(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

async fn accept(listener: TcpListener, prepared: Arc<Prepared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let prepared = prepared.clone();
                // A client that goes away is the client's affair.
                tokio::spawn(async move { serve(stream, &prepared).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, prepared: &Prepared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let mut to = 0;
    loop {
        let end = loop {
            if let Some(end) = memmem::find(&buffer[..to], b"\r\n\r\n") {
                break end + 4;
            }
            if to == buffer.len() {
                return Ok(());
            }
            match stream.read(&mut buffer[to..]).await? {
                0 => return Ok(()),
                read => to += read,
            }
        };
        let head = &buffer[..end];
        let length = head.split(|b| *b == b'\n').find_map(|line| field(line, b"content-length:"));
        let length =
            length.and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok()).unwrap_or(0);
        let is_chat = head.starts_with(b"POST /v1/chat/completions ");
        let is_models = head.starts_with(b"GET /v1/models ");
        let is_book = head.starts_with(b"GET /bench/book ");
        let id = head.split(|b| *b == b'\n').find_map(|line| field(line, b"x-request-id:"));
        let id = id.filter(|_| prepared.book.is_some()).map(|id| String::from_utf8_lossy(id).into_owned());
        // The body's beginning stays in the buffer; of a large one the rest is only counted.
        buffer.copy_within(end..to, 0);
        let (mut read, mut kept) = (to - end, to - end);
        while read < length {
            let from = kept.min(LOOKED_AT);
            match stream.read(&mut buffer[from..]).await? {
                0 => return Ok(()),
                more => (read, kept) = (read + more, from + more),
            }
        }
        if read > length {
            // A second request before the first was answered: none of the measured clients does that.
            return Ok(());
        }
        to = 0;
        let asked = length <= LOOKED_AT && memmem::find(&buffer[..kept], b"\"stream\":true").is_some();
        if is_chat && asked {
            let body = &buffer[..kept];
            let wish = Wish {
                events: number(body, b"\"bench_events\":"),
                gap_us: number(body, b"\"bench_gap_us\":"),
                thinks_ms: number(body, b"\"bench_thinks_ms\":"),
            };
            let at = prepared.streams.fetch_add(1, Relaxed);
            let page = prepared.book.as_ref().zip(id).map(|(book, id)| book.open(&id));
            let (mut read, mut write) = stream.split();
            // A client that goes away is noticed at once, also between two events.
            tokio::select! {
                sent = stream_events(&mut write, wish, at, page) => sent?,
                () = gone(&mut read) => return Ok(()),
            }
        } else if let Some(book) = prepared.book.as_ref().filter(|_| is_book) {
            stream.write_all(&whole("200 OK", &book.json())).await?;
        } else {
            let answer = match (is_chat, is_models) {
                (true, _) => &prepared.answer,
                (_, true) => &prepared.models,
                _ => &prepared.missing,
            };
            stream.write_all(answer).await?;
        }
    }
}

/// What a stream should be like.
struct Wish {
    events: u64,
    gap_us: u64,
    thinks_ms: u64,
}

/// Waits until the client has closed or broken the connection. None of the measured clients sends a second request before the
/// first was answered.
async fn gone(read: &mut ReadHalf<'_>) {
    let _ = read.read(&mut [0; 16]).await;
}

fn number(body: &[u8], name: &[u8]) -> u64 {
    let Some(at) = memmem::find(body, name) else { return 0 };
    let digits = body[at + name.len()..].iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |n, d| n * 10 + u64::from(d - b'0'))
}

async fn stream_events(
    stream: &mut WriteHalf<'_>,
    wish: Wish,
    at: u64,
    mut page: Option<Page>,
) -> io::Result<()> {
    if wish.thinks_ms > 0 {
        sleep(Duration::from_millis(wish.thinks_ms)).await;
    }
    // Head and first event apart, as engines send them.
    stream.write_all(STREAM_HEAD).await?;
    if wish.gap_us == 0 {
        burst(stream, wish.events, &mut page).await?;
    } else {
        steady(stream, &wish, at, &mut page).await?;
    }
    let mut out = Vec::new();
    events::append_end(&mut out);
    if let Some(page) = &mut page {
        // Before the client can have read it and asked for the book.
        page.sent(events::DONE, 0);
        page.ends(End::Whole);
    }
    stream.write_all(&out).await
}

async fn steady(stream: &mut WriteHalf<'_>, wish: &Wish, at: u64, page: &mut Option<Page>) -> io::Result<()> {
    let (gap, mut out) = (Duration::from_micros(wish.gap_us), Vec::with_capacity(1 << 10));
    // Streams that begin together must not stay in step: each has its own phase.
    let mut next = Instant::now() + gap.mul_f64((at % 64) as f64 / 64.0);
    for event in 0..wish.events {
        if event > 0 {
            tokio::time::sleep_until(next).await;
            next += gap;
        }
        out.clear();
        let event = events::append_chunk(&mut out, events::now_ns());
        if let Some(page) = page {
            page.sent(&out[event], 1);
        }
        stream.write_all(&out).await?;
    }
    Ok(())
}

/// As fast as it can: events are counted in the book, and not hashed, which would be slower than sending them.
async fn burst(stream: &mut WriteHalf<'_>, count: u64, page: &mut Option<Page>) -> io::Result<()> {
    let mut one = Vec::new();
    events::append_chunk(&mut one, 0);
    let per_write = (BURST_WRITE / one.len()) as u64;
    let block = one.repeat(per_write as usize);
    let mut left = count;
    while left > 0 {
        let now = left.min(per_write);
        if let Some(page) = page {
            page.sent(&[], now);
        }
        stream.write_all(&block[..now as usize * one.len()]).await?;
        left -= now;
        // Hundreds of such streams must not keep this node from hearing anybody else: it would be taken for dead.
        tokio::task::yield_now().await;
    }
    Ok(())
}
