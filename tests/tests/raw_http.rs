//! HTTP as nobody should write it, byte for byte: what cannot be one clear request never reaches a node.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::Gateway,
    socket::{self, Talk},
};
use std::time::Duration;

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
/// What must be closed is closed at once; waiting this long for it hides no time limit of the gateway's (30 s).
const SOON: Duration = Duration::from_secs(10);

async fn house() -> (SimNode, Gateway) {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    (node, gateway)
}

/// Sends a head and a body as they are; `HOST` in the text stands for the gateway's own.
async fn send(gateway: &Gateway, text: &str) -> Talk {
    let bytes = text.replace("HOST", gateway.authority());
    socket::talk(gateway.authority(), bytes.as_bytes(), SOON).await
}

/// Requests for an answer that the node has got.
fn chats(node: &SimNode) -> u64 {
    node.stats().paths.get("/v1/chat/completions").copied().unwrap_or(0)
}

/// A chat with these further header lines (each with its end).
fn chat(lines: &str, body: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\n{lines}\r\n{body}")
}

/// One answer that is an error, then the connection is closed, and the node has heard nothing.
async fn refused(house: &(SimNode, Gateway), what: &str, text: &str, status: u16) {
    let before = chats(&house.0);
    let talk = send(&house.1, text).await;
    assert_eq!(talk.statuses(), [status], "{what}");
    assert!(talk.closed, "{what}: the connection stays open");
    assert_eq!(chats(&house.0), before, "{what}: the node was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_clear_host_or_none_at_all() {
    let house = house().await;
    let line = "GET /v1/models HTTP/1.1\r\n";
    refused(&house, "no Host", &format!("{line}\r\n"), 400).await;
    refused(&house, "no Host in 1.0", "GET /v1/models HTTP/1.0\r\n\r\n", 400).await;
    refused(&house, "the same Host twice", &format!("{line}Host: HOST\r\nHost: HOST\r\n\r\n"), 400).await;
    refused(&house, "a second Host", &format!("{line}Host: HOST\r\nhost: evil\r\n\r\n"), 400).await;
    refused(&house, "another in the line", "GET http://evil/v1/models HTTP/1.1\r\nHost: HOST\r\n\r\n", 400)
        .await;
    refused(&house, "CONNECT", "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", 400).await;
    refused(&house, "CONNECT elsewhere", "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", 400).await;
    refused(&house, "TRACE", "TRACE /v1/models HTTP/1.1\r\nHost: HOST\r\n\r\n", 400).await;
    refused(&house, "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", 404).await;
}

/// Two ways to say where a body ends: one answer, the connection closes, and what was hidden behind is nobody's request.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_hides_in_another() {
    let house = house().await;
    let (node, gateway) = &house;
    let hidden = chat(&format!("X-Hidden: yes\r\nContent-Length: {}\r\n", BODY.len()), BODY);
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 100000\r\nTransfer-Encoding: Chunked\r\n",
    ] {
        let before = chats(node);
        let talk = send(gateway, &(chat(lines, &chunked) + &hidden)).await;
        assert_eq!((talk.statuses(), talk.closed), (vec![200], true), "{lines:?}");
        assert_eq!(chats(node) - before, 1, "{lines:?}");
    }
    let whole = format!("{BODY}{hidden}");
    for (lines, body, status) in [
        ("Content-Length: 2\r\nContent-Length: 3\r\n", BODY, 400),
        ("Content-Length: 2, 3\r\n", BODY, 400),
        ("Content-Length: +58\r\n", BODY, 400),
        ("Content-Length: -1\r\n", BODY, 400),
        ("Content-Length: 0x3a\r\n", BODY, 400),
        ("Content-Length: 58 \r\nContent-Length : 3\r\n", BODY, 400),
        ("Content-Length: 18446744073709551616\r\n", BODY, 400),
        ("Transfer-Encoding: gzip, chunked\r\n", &chunked, 400),
        ("Transfer-Encoding: chunked, chunked\r\n", &chunked, 400),
        ("Transfer-Encoding: chunked, identity\r\n", &chunked, 400),
        ("Transfer-Encoding: identity\r\n", &chunked, 400),
        ("Transfer-Encoding: xchunked\r\n", &chunked, 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked, 400),
        ("Transfer-Encoding : chunked\r\n", &chunked, 400),
        ("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
        ("Content-Length: 58\r\nX-A: b\r\n c\r\n", &whole, 400),
        ("X-A: b\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 58\r\n", &whole, 400),
        (" X-A: b\r\nContent-Length: 58\r\n", &whole, 400),
        ("Content-Length: 58\r\n: nameless\r\n", &whole, 400),
    ] {
        refused(&house, lines, &chat(lines, body), status).await;
    }
    let hidden = node.seen().iter().any(|seen| seen.headers.contains_key("x-hidden"));
    assert!(!hidden, "a hidden request reached the node");
}

/// Two equal lengths are one (RFC 9112, 6.3), and a plain chunked body is an everyday thing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_clear_is_served() {
    let (node, gateway) = house().await;
    let length = BODY.len();
    let (first, rest) = BODY.split_at(9);
    let pieces = format!("9;note=x\r\n{first}\r\n{:X}\r\n{rest}\r\n0\r\nX-Trailer: y\r\n\r\n", rest.len());
    for (lines, body) in [
        (format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"), BODY),
        ("Transfer-Encoding: chunked\r\n".into(), &pieces),
        ("Transfer-Encoding: CHUNKED\r\nTrailer: X-Trailer\r\nTE: trailers\r\n".into(), &pieces),
        (format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), BODY),
    ] {
        let before = chats(&node);
        let talk = send(&gateway, &chat(&format!("{lines}Connection: close\r\n"), body)).await;
        assert_eq!(talk.statuses().last(), Some(&200), "{lines}");
        assert_eq!(chats(&node) - before, 1, "{lines}");
    }
    for seen in node.seen().iter().filter(|seen| seen.path == "/v1/chat/completions") {
        assert_eq!(seen.body, BODY.as_bytes());
        for name in ["transfer-encoding", "te", "trailer", "x-trailer", "expect", "connection"] {
            assert_eq!(seen.headers.get(name), None, "{name} is for the next hop alone");
        }
    }
}

/// `Connection` names what is for this hop; it cannot take away what is ours, and nothing of it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn t53_nothing_hop_by_hop_goes_on() {
    let (node, gateway) = house().await;
    let lines = format!(
        "Connection: close, x-request-id, via, host, accept\r\nKeep-Alive: timeout=99\r\nProxy-Authorization: Basic eDp5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: websocket\r\nTE: trailers\r\nCookie: a=b\r\nAuthorization: Bearer secret\r\n\
         X-Api-Key: secret\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
         Origin-Agent: x\r\nX-Request-Id: mine-1\r\nContent-Length: {}\r\n",
        BODY.len()
    );
    let talk = send(&gateway, &chat(&lines, BODY)).await;
    assert_eq!((talk.statuses(), talk.closed), (vec![200], true));
    let seen = node.seen().into_iter().find(|seen| seen.path == "/v1/chat/completions").unwrap();
    assert_eq!(seen.request_id(), Some("mine-1"), "our own headers stay");
    assert!(seen.headers.contains_key("via"));
    let mut names: Vec<&str> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let known = [
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "via",
        "x-lamplighter-hop",
        "x-request-id",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(!format!("{:?}", seen.headers).contains("secret"));
}

/// A head has 100 fields and 64 KiB at most, an address 16 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn heads_have_an_end() {
    let house = house().await;
    let fields = |count: usize| {
        let lines: String = (0..count).map(|i| format!("X-{i}: a\r\n")).collect();
        format!("GET /v1/models HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{lines}\r\n")
    };
    let long = |bytes: usize| {
        format!(
            "GET /v1/models HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nX: {}\r\n\r\n",
            "a".repeat(bytes)
        )
    };
    let address = |bytes: usize| {
        format!("GET /v1/models?{} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", "a".repeat(bytes))
    };
    for text in [fields(98), long(60 << 10), address(15 << 10)] {
        assert_eq!(send(&house.1, &text).await.statuses(), [200]);
    }
    refused(&house, "101 fields", &fields(99), 431).await;
    refused(&house, "70 KiB of head", &long(70 << 10), 431).await;
    refused(&house, "17 KiB of address", &address(17 << 10), 400).await;
    refused(&house, "70 KiB of address", &address(70 << 10), 431).await;
    // A head that never ends is given up at its limit, not at the time limit.
    let endless = format!("GET /v1/models HTTP/1.1\r\nHost: HOST\r\nX: {}", "a".repeat(300 << 10));
    let talk = send(&house.1, &endless).await;
    assert!(talk.closed && talk.took < SOON, "{:?}", talk.took);
    assert!(talk.bytes.is_empty() || talk.statuses() == [431]);
}

/// HTTP/1.1 and nothing else, whatever is offered.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol() {
    let house = house().await;
    let upgrade = "GET /v1/models HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let talk = send(&house.1, upgrade).await;
    assert_eq!((talk.statuses(), talk.closed), (vec![200], true), "an offer may be ignored");
    let websocket = "GET /v1/models HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(send(&house.1, websocket).await.statuses(), [200]);
    for (what, bytes) in [
        ("HTTP/2 at once", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..]),
        ("HTTP/2 in the line", b"GET / HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n"),
        ("HTTP/0.9", b"GET /\r\n\r\n"),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
    ] {
        let talk = socket::talk(house.1.authority(), bytes, SOON).await;
        assert!(talk.closed, "{what}");
        assert!(talk.bytes.is_empty() || talk.statuses() == [400], "{what}: {:?}", String::from_utf8_lossy(&talk.bytes));
    }
}

/// Bytes that some parser somewhere takes for an end, or for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn strange_bytes_in_a_head() {
    let house = house().await;
    for (what, lines) in [
        ("NUL in a value", "X-A: b\0c\r\n"),
        ("NUL in a name", "X-\0A: b\r\n"),
        ("NUL in the Host", "X-A: b\r\n\0Host: evil\r\n"),
        ("a lone CR in a value", "X-A: b\rX-B: c\r\n"),
        ("a lone CR before the end", "X-A: b\r\r\n"),
        ("DEL in a value", "X-A: b\x7f\r\n"),
        ("ESC in a value", "X-A: \x1b[2J\r\n"),
        ("a space before the colon", "X-A : b\r\n"),
        ("a tab before the colon", "X-A\t: b\r\n"),
        ("no colon", "X-A\r\n"),
        ("brackets in a name", "X(A): b\r\n"),
    ] {
        refused(&house, what, &format!("GET /v1/models HTTP/1.1\r\nHost: HOST\r\n{lines}\r\n"), 400).await;
    }
    for target in ["/v1/\0models", "/v1/\rmodels", "/v1/ models", "v1/models", "", "\\v1\\models"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        let talk = send(&house.1, &text).await;
        assert!(
            talk.closed && talk.statuses().iter().all(|status| (400..500).contains(status)),
            "{target:?}: {talk:?}"
        );
    }
}

/// Paths that lead around a gate which compares them before somebody else straightens them.
#[tokio::test(flavor = "multi_thread")]
async fn crooked_paths_lead_nowhere() {
    let (_node, gateway) = house().await;
    for target in [
        "/control/v1/../v1/snapshot",
        "/v1/../control/v1/snapshot",
        "//control/v1/snapshot",
        "/control//v1/snapshot",
        "/control/v1/%73napshot",
        "/control%2Fv1/snapshot",
        "/CONTROL/v1/snapshot",
        "/control/v1/snapshot/",
        "/control/v1/snapshot;x",
        "/api/control/v1/snapshot",
        "/control/v1/./snapshot",
    ] {
        let reply =
            send(&gateway, &format!("GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"))
                .await;
        assert!(matches!(reply.statuses()[..], [401 | 404]), "{target}: {:?}", reply.statuses());
    }
}

/// Requests sent ahead are answered one after the other, in their order, also when the first one takes longest.
#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_order() {
    let profile = Profile::ollama("slow").model(SimModel::new("m").loaded(true)).ttft_ms(300);
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    let post = chat(&format!("X-Request-Id: r1\r\nContent-Length: {}\r\n", BODY.len()), BODY);
    let get = |id: &str, last: &str| {
        format!("GET /v1/models HTTP/1.1\r\nHost: HOST\r\nX-Request-Id: {id}\r\n{last}\r\n")
    };
    let all =
        format!("{post}{}{}{}", get("r2", ""), post.replace("r1", "r3"), get("r4", "Connection: close\r\n"));
    let talk = send(&gateway, &all).await;
    let replies = talk.replies();
    let ids: Vec<&str> = replies.iter().map(|reply| reply.header("x-request-id")).collect();
    assert_eq!(ids, ["r1", "r2", "r3", "r4"]);
    assert_eq!(talk.statuses(), [200; 4]);
    assert!(talk.closed);
    assert!(replies[0].json()["choices"].is_array() && replies[1].json()["data"].is_array());
}

/// A refused request's body is not taken for the next request.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_body_is_no_request() {
    let house = house().await;
    let hidden =
        chat(&format!("Content-Length: {}\r\n", BODY.len()), BODY).replace("HOST", house.1.authority());
    let at_the_gate = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    refused(&house, "another name", &at_the_gate, 403).await;
    // Here the connection may go on: then behind the body, not in it.
    for (line, status) in
        [("POST /no/such/route", 404), ("DELETE /v1/models", 405), ("POST /control/v1/snapshot", 405)]
    {
        let before = chats(&house.0);
        let text = format!(
            "{line} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        let talk = send(&house.1, &text).await;
        assert!(talk.closed && talk.statuses().len() == 1, "{line}: {:?}", talk.statuses());
        assert!(talk.statuses() == [status] || talk.statuses() == [401], "{line}: {:?}", talk.statuses());
        let kept_alive = text.replace("Connection: close\r\n", "");
        let next = "GET /v1/models HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
        let talk = send(&house.1, &(kept_alive + next)).await;
        assert!(
            matches!(talk.statuses()[..], [first] | [first, 200] if first == status || first == 401),
            "{line}: {:?}",
            talk.statuses()
        );
        assert_eq!(chats(&house.0), before, "{line}");
    }
}
