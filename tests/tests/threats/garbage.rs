//! Bytes from a seed: whatever comes in, the door answers or closes, and goes on.

use super::{BODY, house};
use futures::{StreamExt, stream};
use lamplighter_tests::socket::{self, Talk};
use std::time::Duration;

/// A small generator (xorshift64*): the same bytes on every machine.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Pieces of requests, whole and broken, in any order, with a few bytes changed.
fn bytes(seed: u64, host: &str) -> Vec<u8> {
    let mut seeded = Seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let whole = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let own = format!("Host: {host}\r\n");
    let pieces = [
        whole.as_str(),
        &own,
        "GET / HTTP/1.1\r\n",
        "POST /api/chat HTTP/1.1\r\n",
        "GET /v1/models HTTP/1.0\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        ":",
        "Host: evil\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 99999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "fffffffffffffff\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Expect: 100-continue\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Type: text/plain\r\n",
        "Origin: null\r\n",
        "X: \u{fffd}\r\n",
        "X: y\r\n z\r\n",
        "\u{16}\u{3}\u{1}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "{\"model\":\"m\"}",
        "%00",
        "HTTP/1.1 200 OK\r\n\r\n",
        "\u{1f}\u{8b}",
    ];
    let mut bytes = Vec::new();
    for _ in 0..=seeded.below(12) {
        bytes.extend_from_slice(seeded.pick(&pieces).as_bytes());
    }
    for _ in 0..seeded.below(3) {
        let (at, byte) = (seeded.below(bytes.len()), seeded.next() as u8);
        match seeded.below(3) {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        if bytes.is_empty() {
            bytes.push(byte);
        }
    }
    bytes
}

/// F06: no hang, no panic, and no more requests at the node than were answered.
#[tokio::test(flavor = "multi_thread")]
async fn f06_any_bytes_into_the_listener() {
    let (node, gateway) = house().await;
    let host = gateway.authority();
    let talks = stream::iter(0..1500u64).map(|seed| async move {
        // The client half-closes at its end of patience, which ends whatever is still waiting for bytes.
        (seed, socket::talk(host, &bytes(seed, host), Duration::from_millis(400)).await)
    });
    let talks: Vec<(u64, Talk)> = talks.buffer_unordered(48).collect().await;
    let (mut answered, mut left) = (0, 0);
    for (seed, talk) in &talks {
        let statuses = talk.statuses();
        left += usize::from(!talk.closed);
        answered += statuses.iter().filter(|status| **status == 200).count();
        assert!(
            statuses.iter().all(|status| (100..600).contains(status) && *status != 500),
            "seed {seed}: {statuses:?}"
        );
    }
    let chats = node.stats().paths.get("/v1/chat/completions").copied().unwrap_or(0) as usize;
    assert!(
        chats <= answered + left,
        "{chats} requests at the node, {answered} good answers, {left} clients left"
    );
    assert!(answered > 10 && answered < talks.len(), "the seeds make good requests and bad ones: {answered}");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), 200);
    gateway.until(|snapshot| snapshot.requests.is_empty()).await;
}
