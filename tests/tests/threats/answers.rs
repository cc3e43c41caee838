//! What a node answers instead of an answer: the client gets its dialect's error, and nothing of the rest.

use super::{BODY, STREAMS, body, ends_in_error, error_of, head, house, post, stream_type, verbatim};
use futures::{StreamExt, stream};
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::Gateway;
use std::time::{Duration, Instant};

/// Nobody waits longer than this for an answer that is none.
const SOON: Duration = Duration::from_secs(10);

/// What may stand in the head of an answer of ours: the allow-list, what we sign with, what every answer carries, and framing.
fn may_pass(name: &str) -> bool {
    let known = [
        "content-type",
        "cache-control",
        "retry-after",
        "content-disposition",
        "request-id",
        "x-request-id",
        "x-should-retry",
        "x-lamplighter-node",
        "x-lamplighter-model",
        "x-lamplighter-reason",
        "x-accel-buffering",
        "x-frame-options",
        "x-content-type-options",
        "content-security-policy",
        "date",
        "content-length",
        "transfer-encoding",
        "connection",
    ];
    known.contains(&name)
        || ["openai-", "anthropic-", "x-ratelimit-"].iter().any(|start| name.starts_with(start))
}

const HOSTILE: &str = "Set-Cookie: a=b; Domain=localhost\r\nLocation: http://evil.example/\r\nAccess-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: *\r\nContent-Security-Policy: default-src *\r\n\
    X-Frame-Options: ALLOWALL\r\nX-Content-Type-Options: sniff\r\nServer: evil/1.0\r\nX-Powered-By: evil\r\nVia: 1.1 evil\r\n\
    Alt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=99999999\r\nKeep-Alive: timeout=9999\r\nProxy-Authenticate: Basic\r\n\
    WWW-Authenticate: Basic realm=x\r\nUpgrade: h2c\r\nTrailer: X-T\r\nRefresh: 0; url=http://evil.example/\r\nLink: <http://evil.example/>; rel=preload\r\n\
    Clear-Site-Data: \"*\"\r\nNEL: {}\r\nReport-To: {}\r\nService-Worker-Allowed: /\r\nSourceMap: /x\r\nX-Lamplighter-Node: forged\r\n\
    X-Lamplighter-Reason: forged\r\nX-Request-Id: forged\r\nX-DNS-Prefetch-Control: on\r\nPermissions-Policy: *\r\nAge: 9\r\nETag: x\r\n\
    Cross-Origin-Resource-Policy: cross-origin\r\nTiming-Allow-Origin: *\r\nSec-WebSocket-Accept: x\r\nOrigin-Agent-Cluster: ?0\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn t44_hostile_headers_stay_with_the_node() {
    let (node, gateway) = house().await;
    for (path, done) in STREAMS {
        let end = if path == "/api/chat" {
            "{\"done\":true}\n".to_owned()
        } else {
            format!("data: {{\"type\":\"{done}\"}}\n\ndata: [DONE]\n\n")
        };
        for (status, kind, answer, wanted) in [
            ("200 OK", stream_type(path), end.as_str(), 200),
            ("200 OK", "application/json", r#"{"choices":[{"message":{"content":"x"}}],"done":true}"#, 200),
            ("400 Bad Request", "application/json", r#"{"error":{"message":"no"}}"#, 400),
            ("422 No", "text/html", "<script>alert(1)</script>", 422),
            ("500 Oh", "application/json", r#"{"error":"no"}"#, 500),
        ] {
            let full = head(status, kind).replacen(
                "\r\n",
                &format!("\r\n{HOSTILE}Retry-After: 7\r\nAnthropic-Ratelimit: 1\r\n"),
                1,
            );
            node.set_fault(verbatim(&[full.as_bytes(), answer.as_bytes()], false));
            let reply = post(&gateway, path, &["Origin-X: y"], &body(kind != "application/json")).await;
            assert_eq!(reply.status, wanted, "{path} {status}: {}", reply.text());
            if kind == "text/html" {
                assert!(error_of(path, &reply).contains("nas answered 422"), "{}", reply.text());
            }
            let strange: Vec<_> = reply.headers.keys().filter(|name| !may_pass(name.as_str())).collect();
            assert!(strange.is_empty(), "{path} {status}: {strange:?}");
            assert_eq!(reply.header("x-frame-options"), "DENY");
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
            assert!(
                reply.header("content-security-policy").contains("default-src 'none'"),
                "{:?}",
                reply.headers
            );
            let all = format!("{:?}", reply.headers);
            assert!(!all.contains("forged") && !all.contains("evil"), "{all}");
            assert!(reply.headers.get_all("x-lamplighter-node").iter().all(|node| node == "nas"), "{all}");
            assert_eq!(
                (reply.header("retry-after"), reply.header("anthropic-ratelimit")),
                ("7", "1"),
                "the allowed ones pass"
            );
        }
    }
}

/// Heads without end or sense, and floods of interim answers.
#[tokio::test(flavor = "multi_thread")]
async fn t44_heads_that_are_none() {
    let good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let many: String = (0..150).map(|i| format!("X-{i}: y\r\n")).collect();
    let with = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Type: application/json\r\n\r\n{{}}");
    let raw: Vec<Vec<u8>> = vec![
        with(&format!("X: {}\r\n", "h".repeat(2 << 20))).into(), with(&many).into(), with("Content-Length: -1\r\n").into(),
        with("Content-Length: 2\r\nContent-Length: 3\r\n").into(), with("Content-Length: 99999999999999999999999\r\n").into(),
        with("X\0Y: z\r\n").into(), with("X: a\0b\r\n").into(), with(": nameless\r\n").into(), with("no colon\r\n").into(),
        "HTTP/1.1 2OO OK\r\n\r\n{}".into(), "HTTP/1.1 99 Low\r\n\r\n{}".into(), "HTTP/1.1 1000 High\r\n\r\n{}".into(), "HTTP/3.0 200 OK\r\n\r\n{}".into(),
        "HTTP/1.1\r\n\r\n".into(), "{\"choices\":[1]}".into(), "SSH-2.0-OpenSSH_9.6\r\n".into(), vec![0x15, 3, 1, 0, 2, 2, 70], vec![0; 4096],
        "\r\n\r\n\r\n\r\n".into(), b"\0\0\x12\x04\0\0\0\0\0".to_vec(), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes".into(),
        "HTTP/1.1 204 No Content\r\n\r\n".into(), "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nffffffffffffffffff\r\n{}".into(),
    ];
    let mut faults: Vec<FaultRule> = raw.iter().map(|bytes| verbatim(&[bytes], false)).collect();
    faults.push(FaultRule::from(Fault::Flood1xx { count: None }).on(On::Generation));
    faults.push(verbatim(&[early.repeat(40).as_bytes(), good.as_bytes()], false));
    faults.push(verbatim(&[early.as_bytes()], true));
    let faults: Vec<(usize, FaultRule)> = faults.into_iter().enumerate().collect();
    each_on_a_node_of_its_own(&faults, async |gateway, i, name| {
        for (path, _) in [STREAMS[i % 4], STREAMS[(i + 1) % 4]] {
            let began = Instant::now();
            let reply =
                post(gateway, path, &[&format!("x-lamplighter-node: {name}")], &body(i % 2 == 0)).await;
            assert!(began.elapsed() < SOON, "case {i}: {:?}", began.elapsed());
            assert!(reply.status >= 500, "case {i} {path}: {} {}", reply.status, reply.text());
            assert!(!error_of(path, &reply).is_empty());
        }
    })
    .await;
    // A few interim answers are an everyday thing.
    let (node, gateway) = house().await;
    node.set_fault(FaultRule::from(Fault::Flood1xx { count: Some(10) }).on(On::Generation));
    assert_eq!(post(&gateway, "/v1/chat/completions", &[], BODY).await.status, 200);
}

/// One node for each fault: what one of them has done wrong before does not count against the next.
async fn each_on_a_node_of_its_own(
    faults: &[(usize, FaultRule)],
    check: impl AsyncFn(&Gateway, usize, &str),
) {
    let mut nodes = Vec::new();
    let mut config = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    for (i, fault) in faults {
        let profile = Profile::ollama(format!("n{i}")).model(SimModel::new("m").loaded(true));
        let node = SimNode::start(profile).await.unwrap();
        node.set_fault(fault.clone());
        config += &format!("[[node]]\nname = \"n{i}\"\nurl = \"{}\"\nengine = \"ollama\"\n", node.url());
        nodes.push(node);
    }
    let gateway = Gateway::start(&config).await;
    gateway.until_up(nodes.len()).await;
    stream::iter(faults)
        .for_each_concurrent(8, async |(i, _)| check(&gateway, *i, &format!("n{i}")).await)
        .await;
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// Bodies that are no answer, streamed or in one piece, in every dialect: an error in the right shape, at once, and nothing that
/// looks whole.
#[tokio::test(flavor = "multi_thread")]
async fn t47_bodies_that_are_no_answer() {
    let html = "<!DOCTYPE html><html><body>Log in to your router</body></html>";
    let streamed: [&[u8]; 24] = [
        b"",
        b"\n",
        b"\r\n\r\n",
        b": hi\n\n",
        b"data:\n\n",
        b"asdf\n\n",
        html.as_bytes(),
        b"data: {\n\n",
        b"data: not json\n\n",
        b"{\"a\":",
        b"\0\0\0\0\0\0",
        b"\xff\xfe\xfd\n\n",
        b"data: \xff\xff\n\n",
        b"event: x\n\n",
        b"id: 1\nretry: 5\n\n",
        b"\xef\xbb\xbf\n",
        b"data: {}",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"data: {\"choices\":[]}\n\n",
        b"{}\n{}\n",
        b"data: [1,2,3]\n\n",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"null\n",
        b"[]\n\n",
    ];
    let whole: [&[u8]; 24] = [
        b"",
        b"  ",
        b"null",
        b"[]",
        b"7",
        b"\"text\"",
        b"{",
        b"{\"a\":",
        b"{}{}",
        b"{\"choices\":[",
        html.as_bytes(),
        b"asdf",
        b"\0\0",
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{\"error\":{\"message\":\"the runner died\"}}",
        b"{\"error\":\"the runner died\"}",
        b"{'a':1}",
        b"{\"a\":NaN}",
        b"data: {}\n\n",
        b"{\"a\":1} and more",
        b"{\"a\":\"open",
        b"}",
        b"{]",
    ];
    let kinds = ["text/html", "text/plain", "application/octet-stream", "image/png", ""];
    let mut cases: Vec<(bool, String, Vec<u8>)> = Vec::new();
    cases.extend(streamed.iter().map(|body| (true, "STREAM".to_owned(), body.to_vec())));
    cases.extend(whole.iter().map(|body| (false, "application/json".to_owned(), body.to_vec())));
    for kind in kinds {
        cases.push((true, kind.to_owned(), b"data: {\"choices\":[{}]}\n\n".to_vec()));
        cases.push((false, kind.to_owned(), html.as_bytes().to_vec()));
    }
    assert!(cases.len() >= 40);
    // Two routes for each node: three failures in a row would take it out of the line.
    let jobs: Vec<(usize, [usize; 2])> = (0..cases.len()).flat_map(|i| [(i, [0, 1]), (i, [2, 3])]).collect();
    let mut faults = Vec::new();
    for (job, (i, routes)) in jobs.iter().enumerate() {
        let (_, kind, bytes) = &cases[*i];
        // The routes of one node have the same kind of stream but for the last.
        let kind = if kind == "STREAM" { stream_type(STREAMS[routes[1]].0) } else { kind };
        let head = head("200 OK", kind).replace("Content-Type: \r\n", "");
        faults.push((job, verbatim(&[head.as_bytes(), bytes], false)));
    }
    each_on_a_node_of_its_own(&faults, async |gateway, job, name| {
        let (i, routes) = jobs[job];
        let (streams, kind, bytes) = &cases[i];
        for (path, done) in routes.map(|route| STREAMS[route]) {
            let began = Instant::now();
            let reply = post(gateway, path, &[&format!("x-lamplighter-node: {name}")], &body(*streams)).await;
            let shown = format!(
                "{path} {kind:?} {:?}: {} {}",
                String::from_utf8_lossy(bytes),
                reply.status,
                reply.text()
            );
            assert!(began.elapsed() < SOON, "{:?}: {shown}", began.elapsed());
            if reply.status == 200 {
                assert!(*streams, "{shown}");
                ends_in_error(path, &reply.text());
                assert!(!reply.text().contains(done), "{shown}");
            } else {
                assert!(reply.status >= 500, "{shown}");
                assert!(!error_of(path, &reply).is_empty(), "{shown}");
            }
        }
    })
    .await;
}
