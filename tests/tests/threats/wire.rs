//! One request that two parsers could read as two: the node sees exactly one, or none.

use super::{BODY, house};
use futures::{StreamExt, stream};
use lamplighter_simnode::SimNode;
use lamplighter_tests::{
    house::Gateway,
    socket::{self, Talk},
};
use std::{fmt::Write, time::Duration};

/// What must be closed is closed at once; no time limit of ours (30 s) hides behind this.
const SOON: Duration = Duration::from_secs(10);
const PATH: &str = "/v1/chat/completions";

async fn send(gateway: &Gateway, bytes: &[u8]) -> Talk {
    socket::talk(gateway.authority(), bytes, SOON).await
}

/// Chats that the node has got; `hidden` are those that carry the mark of a request inside another.
fn chats(node: &SimNode) -> (usize, usize) {
    let seen = node.seen();
    let chats = seen.iter().filter(|seen| seen.path == PATH && seen.method == "POST" && seen.body_len > 2);
    (chats.clone().count(), chats.filter(|seen| seen.headers.contains_key("user-agent")).count())
}

/// Header lines and bodies on which real servers and proxies have disagreed (HTTP Garden's trophies; Kettle 2019, 2022, 2025;
/// CVE-2025-4366, CVE-2026-2833 and their kin). `SMUGGLED` stands for a whole request, `BODY` for a good body. Whatever we make of
/// it, the node gets one request or none, and never the smuggled one by a way that we have not judged as a request of its own.
#[tokio::test(flavor = "multi_thread")]
async fn t52_smuggled_requests() {
    let (node, gateway) = house().await;
    let host = gateway.authority();
    // `User-Agent` goes up, so a smuggled request can be told from the one that carried it.
    let smuggled = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: smuggled\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let n = BODY.len();
    let chunk = format!("{n:x}\r\n{BODY}\r\n");
    let long = format!("{:x}", n + smuggled.len() + 4);
    // Lines of the head, and what follows it.
    let cases: Vec<(String, String)> = [
        // Two lengths, or a length in a form that somebody takes for another.
        ("Content-Length: N\r\nContent-Length: 0", "BODYSMUGGLED"),
        ("Content-Length: 0\r\nContent-Length: N", "BODYSMUGGLED"),
        ("Content-Length: N, N", "BODYSMUGGLED"),
        ("Content-Length: N,0", "BODYSMUGGLED"),
        ("Content-Length: +N", "BODYSMUGGLED"),
        ("Content-Length: -0", "BODYSMUGGLED"),
        ("Content-Length: 0xN", "BODYSMUGGLED"),
        ("Content-Length: 0_0", "BODYSMUGGLED"),
        ("Content-Length: 1_0", "BODYSMUGGLED"),
        ("Content-Length: 0N", "BODYSMUGGLED"),
        ("Content-Length: N\u{a0}", "BODYSMUGGLED"),
        ("Content-Length:\x0bN", "BODYSMUGGLED"),
        ("Content-Length: N\x0c", "BODYSMUGGLED"),
        ("Content-Length: N;", "BODYSMUGGLED"),
        ("Content-Length: \"N\"", "BODYSMUGGLED"),
        ("Content-Length: N.0", "BODYSMUGGLED"),
        ("Content-Length: Ne0", "BODYSMUGGLED"),
        ("Content-Length: 18446744073709551617", "BODYSMUGGLED"),
        ("Content-Length: 4294967296", "BODYSMUGGLED"),
        ("Content-Length:", "BODYSMUGGLED"),
        ("Content-Length: ", "BODYSMUGGLED"),
        ("Content-Length", "BODYSMUGGLED"),
        ("Content-Length : N", "BODYSMUGGLED"),
        ("Content-Length\t: N", "BODYSMUGGLED"),
        ("Content_Length: N", "BODYSMUGGLED"),
        ("\0Content-Length: N", "BODYSMUGGLED"),
        ("Content-Length\0: N", "BODYSMUGGLED"),
        ("Content-\r\n Length: N", "BODYSMUGGLED"),
        ("X: y\r\n Content-Length: N", "BODYSMUGGLED"),
        ("X: y\rContent-Length: N", "BODYSMUGGLED"),
        ("X: y\nContent-Length: 0", "SMUGGLED"),
        ("X: y\r\r\nContent-Length: N", "BODYSMUGGLED"),
        ("X: y\n\rContent-Length: N", "BODYSMUGGLED"),
        ("X: y\n\nGET / HTTP/1.1\r\nA: b", "SMUGGLED"),
        // A length and chunks, or chunks by a name that not everybody knows.
        ("Content-Length: N\r\nTransfer-Encoding: chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\nSMUGGLED"),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: N",
            "CHUNK0\r\n\r\nSMUGGLED",
        ),
        ("Transfer-Encoding: identity, chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked, identity", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: gzip", "BODYSMUGGLED"),
        ("Transfer-Encoding: chunked;q=1", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: \"chunked\"", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: ,chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked,", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked\x0b", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding:\x0bchunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: \x0cchunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chun\u{212a}ed", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: xchunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunkedx", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked\r\n ", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding:\r\n chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding : chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer\\Encoding: chunked\r\nContent-Length: N", "BODYSMUGGLED"),
        ("Transfer_Encoding: chunked\r\nContent-Length: N", "BODYSMUGGLED"),
        ("X: y\nTransfer-Encoding: chunked\r\nContent-Length: N", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked\0", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding:", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Foo: bar\r\n\rTransfer-Encoding: chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        // Chunks with sizes, extensions and ends that are read in two ways.
        ("Transfer-Encoding: chunked", "0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0\r\nContent-Length: 9\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0\n\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0\r\rSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0;\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0;a\nb\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0;a=\"\r\n\r\n\"SMUGGLED"),
        ("Transfer-Encoding: chunked", "0xLONG\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "+LONG\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "-1\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", " LONG\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "0_LONG\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "10000000000000000\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "f000000000000000f\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "LONG\r\nBODY\r\n0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "2\r\n{}XX0\r\n\r\nSMUGGLED"),
        ("Transfer-Encoding: chunked", "CHUNK0\r\nX: y\r\n z\r\n\r\nSMUGGLED"),
        // Nothing that says that there is a body.
        ("X: y", "SMUGGLED"),
        ("Expect: 100-continue", "SMUGGLED"),
        ("Expect: 100-continue\r\nContent-Length: N\r\nContent-Length: 0", "BODYSMUGGLED"),
        ("Connection: Content-Length\r\nContent-Length: N", "BODYSMUGGLED"),
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "CHUNK0\r\n\r\nSMUGGLED"),
        ("Content-Encoding: chunked\r\nContent-Length: N", "BODYSMUGGLED"),
    ]
    .iter()
    .map(|(lines, rest)| {
        let lines = lines
            .replace("LONG", &long)
            .replace("0xN", &format!("0x{n:x}"))
            .replace(": N", &format!(": {n}"));
        let lines = lines
            .replace(":\x0bN", &format!(":\x0b{n}"))
            .replace("+N", &format!("+{n}"))
            .replace(",N", &format!(",{n}"));
        let lines = lines
            .replace(" N", &format!(" {n}"))
            .replace("0N", &format!("0{n}"))
            .replace("\"N\"", &format!("\"{n}\""));
        let rest = rest
            .replace("CHUNK", &chunk)
            .replace("LONG", &long)
            .replace("BODY", BODY)
            .replace("SMUGGLED", "\u{1}");
        (lines, rest)
    })
    .collect();
    assert!(cases.len() >= 80, "{}", cases.len());
    let last = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let kinds = [
        ("POST", "", ""),
        ("POST", "Connection: close\r\n", ""),
        ("POST", "", last.as_str()),
        ("GET", "", ""),
    ];
    let tried: Vec<_> = cases.iter().flat_map(|case| kinds.iter().map(move |kind| (case, kind))).collect();
    let talks = stream::iter(tried.iter().enumerate()).map(|(i, ((lines, rest), (method, more, after)))| {
        let head = format!(
            "{method} {PATH} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: carrier-{i}\r\n{more}{lines}\r\n\r\n"
        );
        let hidden = smuggled.replace("smuggled", &format!("smuggled-{i}"));
        let bytes = format!("{head}{rest}{after}").replace('\u{1}', &hidden);
        async move { socket::talk(host, bytes.as_bytes(), Duration::from_secs(4)).await }
    });
    let talks: Vec<Talk> = talks.buffered(24).collect().await;
    let seen = node.seen();
    let count = |name: &str, value: String| {
        seen.iter()
            .filter(|seen| seen.path == PATH && seen.headers.get(name).is_some_and(|is| *is == *value))
            .count()
    };
    let mut wrong = String::new();
    for (i, (((lines, rest), (method, more, after)), talk)) in tried.iter().zip(&talks).enumerate() {
        let (carried, hidden) =
            (count("x-request-id", format!("carrier-{i}")), count("user-agent", format!("smuggled-{i}")));
        let statuses: Vec<u16> = talk.statuses().into_iter().filter(|status| *status >= 200).collect();
        let ends = !more.is_empty();
        let ambiguous =
            lines.matches("Content-Length:").count() + lines.matches("Transfer-Encoding:").count() > 1;
        // A second answer means that we have read, and judged, a second request: only behind one that had a clear end.
        let answers = if ends || ambiguous { 1 } else { 2 + usize::from(!after.is_empty()) };
        let may_follow = usize::from(statuses.len() > 1);
        if carried > 1
            || hidden > may_follow
            || statuses.len() > answers
            || (ends || ambiguous) && !talk.closed
        {
            let shown: String = rest.chars().take(60).collect();
            writeln!(
                wrong,
                "{method} {more:?} {lines:?} {shown:?}: {statuses:?}, carried {carried}, smuggled {hidden}"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // Everybody else is served as ever.
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), 200);
}

/// Another protocol is never entered: what follows the offer is nobody's request (CVE-2026-2833 sent it on at once).
#[tokio::test(flavor = "multi_thread")]
async fn t54_upgrade_connect_and_trace() {
    let (node, gateway) = house().await;
    let host = gateway.authority();
    let hidden = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: smuggled\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let frames = "\u{81}\u{85}\u{1}\u{2}\u{3}\u{4}hello";
    for offer in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Connection: upgrade\r\nUpgrade: TLS/1.0",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket",
        "Upgrade: anything",
        "Connection: keep-alive, Upgrade\r\nUpgrade: \u{e9}",
    ] {
        for (line, body) in [
            ("GET /v1/models", String::new()),
            ("GET /", String::new()),
            (&*format!("POST {PATH}"), BODY.to_owned()),
        ] {
            for after in [hidden.as_str(), frames] {
                let before = chats(&node);
                let length = if body.is_empty() {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let talk = send(
                    &gateway,
                    format!("{line} HTTP/1.1\r\nHost: {host}\r\n{offer}\r\n{length}\r\n{body}{after}")
                        .as_bytes(),
                )
                .await;
                let seen = chats(&node);
                assert!(talk.closed && talk.statuses().len() == 1, "{offer} {line}: {:?}", talk.statuses());
                assert_ne!(talk.statuses(), [101], "{offer}");
                assert_eq!(seen.1, before.1, "{offer} {line}: what followed the offer reached the node");
                assert_eq!(
                    seen.0 - before.0,
                    usize::from(!body.is_empty() && talk.statuses() == [200]),
                    "{offer} {line}"
                );
            }
        }
    }
    for line in [
        "CONNECT 127.0.0.1:22",
        "CONNECT node.example:443",
        "TRACE /v1/models",
        "TRACK /v1/models",
        "PRI *",
        "SOURCE /x",
        "X /",
    ] {
        let before = chats(&node);
        let talk = send(
            &gateway,
            format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n{hidden}").as_bytes(),
        )
        .await;
        let statuses = talk.statuses();
        assert!((400..=405).contains(&statuses[0]), "{line}: {statuses:?}");
        assert!(talk.closed && statuses.len() == 1 && chats(&node) == before, "{line}: {statuses:?}");
        assert!(!String::from_utf8_lossy(&talk.bytes).contains("Host:"), "{line}: nothing is echoed");
    }
    // An offer of HTTP/2 is an everyday thing, and ignored: the connection goes on.
    let offer =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let both = format!(
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\n{offer}\r\nGET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(send(&gateway, both.as_bytes()).await.statuses(), [200, 200]);
}
