//! Streams without end, without delimiters, and cut where no character ends.

use super::{STREAMS, body, ends_in_error, head, house, post, stream_type, verbatim};
use lamplighter_tests::{house::PATIENCE, peers::Wire};
use std::time::{Duration, Instant};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// An event of this route that carries so much text, and ends nothing.
fn delta(path: &str, text: &str) -> String {
    match path {
        "/api/chat" => format!(
            "{{\"model\":\"m\",\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"done\":false}}\n"
        ),
        "/v1/messages" => {
            format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
            )
        }
        "/v1/responses" => {
            format!(
                "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"{text}\"}}\n\n"
            )
        }
        _ => format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"),
    }
}

/// A number of `/proc/PID/status`, in bytes.
fn memory(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * KIB
}

/// Reads a stream to its end: how long it was, and its last words.
async fn read(gateway: &lamplighter_tests::house::Gateway, path: &str) -> (usize, String) {
    let url = format!("{}{path}", gateway.url);
    let mut answer = gateway.http.post(url).body(body(true)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let (mut length, mut last) = (0, Vec::new());
    while let Some(chunk) = answer.chunk().await.unwrap() {
        length += chunk.len();
        last.extend_from_slice(&chunk);
        let old = last.len().saturating_sub(4 * KIB);
        last.drain(..old);
    }
    (length, String::from_utf8_lossy(&last).into_owned())
}

/// A node that loops for ever is cut at 64 MiB or 2 million events, with the dialect's error; its connection goes.
#[tokio::test(flavor = "multi_thread")]
async fn t43_an_endless_stream_has_an_end() {
    let (node, gateway) = house().await;
    for (path, done) in STREAMS {
        let (head, piece) = (head("200 OK", stream_type(path)), delta(path, &"x".repeat(100 * KIB)));
        node.set_fault(verbatim(&[head.as_bytes(), piece.as_bytes()], true));
        let (length, last) = read(&gateway, path).await;
        assert!(length > 63 * MIB && length < 65 * MIB, "{path}: {length}");
        ends_in_error(path, &last);
        assert!(last.contains("without end") && !last.contains(done), "{path}: {last}");
    }
    // Tiny events, many of them in each piece.
    let (head, piece) = (head("200 OK", stream_type("/api/chat")), "{}\n".repeat(20 * KIB));
    node.set_fault(verbatim(&[head.as_bytes(), piece.as_bytes()], true));
    let (length, last) = read(&gateway, "/api/chat").await;
    assert!(length < 3 * 2_100_000 + KIB, "{length}");
    ends_in_error("/api/chat", &last);
    let began = Instant::now();
    while node.stats().in_flight > 0 {
        assert!(began.elapsed() < PATIENCE, "the node still sends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a client does not take stays with the node: forty endless streams that nobody reads cost next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn t43_unread_streams_cost_little_memory() {
    const STREAMS_OPEN: usize = 40;
    let (node, gateway) = house().await;
    let path = "/v1/chat/completions";
    let (head, piece) = (head("200 OK", stream_type(path)), delta(path, &"x".repeat(16 * KIB)));
    node.set_fault(verbatim(&[head.as_bytes(), piece.as_bytes()], true));
    let mut wires = Vec::new();
    // One before the count: what is set up once is not the streams'.
    for at in 0..=STREAMS_OPEN {
        let mut wire = Wire::connect(gateway.authority()).await;
        wire.post(path, "", body(true).as_bytes()).await;
        wire.until("xxxx").await;
        wires.push(wire);
        if at == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            wires.push(Wire::connect(gateway.authority()).await);
            let before = memory(gateway.pid(), "VmRSS");
            std::fs::write(gateway.home.path().join("before"), before.to_string()).unwrap();
        }
    }
    let before: usize = std::fs::read_to_string(gateway.home.path().join("before")).unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = memory(gateway.pid(), "VmRSS").saturating_sub(before);
    assert!(grown <= STREAMS_OPEN * 256 * KIB, "{} KiB a stream", grown / STREAMS_OPEN / KIB);
    eprintln!("{} KiB a stream that nobody reads", grown / STREAMS_OPEN / KIB);
    drop(wires);
    gateway.until(|snapshot| snapshot.requests.is_empty()).await;
    let began = Instant::now();
    while node.stats().in_flight > 0 {
        assert!(began.elapsed() < PATIENCE, "the node still sends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One event that never ends: given up at 8 MiB, in the dialect's own words, without holding more than twice that.
#[tokio::test(flavor = "multi_thread")]
async fn t45_an_event_without_an_end() {
    let (node, gateway) = house().await;
    for (path, done) in STREAMS {
        let start = delta(path, "x");
        let open = if path == "/api/chat" {
            "{\"model\":\"m\",\"x\":\"".to_owned()
        } else {
            "data: {\"x\":\"".to_owned()
        };
        let (head, piece) = (head("200 OK", stream_type(path)), "x".repeat(256 * KIB));
        node.set_fault(verbatim(
            &[head.as_bytes(), start.as_bytes(), open.as_bytes(), piece.as_bytes()],
            true,
        ));
        // Once to warm up, once to measure.
        read(&gateway, path).await;
        std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
        let before = memory(gateway.pid(), "VmRSS");
        let (length, last) = read(&gateway, path).await;
        let grown = memory(gateway.pid(), "VmHWM").saturating_sub(before);
        assert!(length > 7 * MIB && length < 10 * MIB, "{path}: {length}");
        ends_in_error(path, &last);
        assert!(!last.contains(done), "{path}");
        assert!(grown <= 16 * MIB, "{path}: {} KiB", grown / KIB);
        eprintln!("{path}: {} KiB at most", grown / KIB);
    }
    assert_eq!(gateway.snapshot().await.requests.len(), 0);
}

/// Characters of several bytes, cut at every byte: nothing is decoded on the way, so nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn t46_characters_cut_in_pieces() {
    let (node, gateway) = house().await;
    let text = "日本語 naïve e\u{301} 👩‍👩‍👧 🇩🇪 \u{10ffff}";
    for (path, _) in STREAMS {
        let end = match path {
            "/api/chat" => "{\"model\":\"m\",\"done\":true}\n",
            "/v1/messages" => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            "/v1/responses" => {
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n"
            }
            _ => "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        };
        let answer = delta(path, text) + &delta(path, text) + end;
        let head = head("200 OK", stream_type(path));
        // Byte by byte: every cut at once.
        let pieces: Vec<&[u8]> =
            std::iter::once(head.as_bytes()).chain(answer.as_bytes().chunks(1)).collect();
        node.set_fault(verbatim(&pieces, false));
        let reply = post(&gateway, path, &[], &body(true)).await;
        assert_eq!(reply.body, answer.as_bytes(), "{path}: {}", reply.text());
        assert!(!reply.text().contains('\u{fffd}'), "{path}");
        // One cut, wherever it is.
        let first = delta(path, text).len();
        for cut in (0..first).step_by(if path == "/v1/chat/completions" { 1 } else { 7 }) {
            let (start, rest) = answer.as_bytes().split_at(cut);
            node.set_fault(verbatim(&[&[head.as_bytes(), start].concat(), rest], false));
            let reply = post(&gateway, path, &[], &body(true)).await;
            assert_eq!(reply.body, answer.as_bytes(), "{path} cut at {cut}");
        }
        // In one piece, cut in the middle of a character.
        let whole = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{text}\"}}}}],\"done\":true}}");
        let at = whole.find('本').unwrap() + 1;
        let whole_head = super::head("200 OK", "application/json");
        node.set_fault(verbatim(
            &[whole_head.as_bytes(), &whole.as_bytes()[..at], &whole.as_bytes()[at..]],
            false,
        ));
        assert_eq!(post(&gateway, path, &[], &body(false)).await.body, whole.as_bytes(), "{path}");
        // What the node itself has broken stays as broken as it was.
        let broken = [
            head.as_bytes(),
            delta(path, "").replace("\"\"", "\"\u{1}\"").replace('\u{1}', "BAD").as_bytes(),
            end.as_bytes(),
        ]
        .concat();
        let broken: Vec<u8> = broken.split(|byte| *byte == b'B').collect::<Vec<_>>().join(&b"\xff\xc3"[..]);
        node.set_fault(verbatim(&[&broken], false));
        let reply = post(&gateway, path, &[], &body(true)).await;
        assert!(broken.ends_with(&reply.body) && reply.body.contains(&0xff), "{path}: {:?}", reply.text());
    }
}
