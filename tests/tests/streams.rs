//! Streams: every byte as the node sent it, as soon as it was sent, and never a cut one that looks whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures::future::join_all;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, config},
    peers::{Scripted, in_pieces},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// The four dialects, each with the end of a whole stream.
const DIALECTS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "data: [DONE]\n\n"),
    ("/v1/responses", "\"type\":\"response.completed\""),
    ("/v1/messages", "\"type\":\"message_stop\"}\n\n"),
    ("/api/chat", "\"done\":true"),
];

async fn over(profile: Profile, more: &str) -> (SimNode, Gateway) {
    let node = SimNode::start(profile.model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::start(&config(&[(&node, more)], "")).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// A stream in one of the dialects; the prompt is in the answer's ids, so no two streams are alike.
fn stream(gateway: &Gateway, path: &str, id: &str) -> reqwest::RequestBuilder {
    let body = json!({ "model": "m", "stream": true, "max_tokens": 4000, "input": id,
        "messages": [{ "role": "user", "content": id }] });
    gateway.post(path, &body).header("x-request-id", id)
}

/// The same in one piece.
fn whole(gateway: &Gateway, path: &str, id: &str) -> reqwest::RequestBuilder {
    let body = json!({ "model": "m", "stream": false, "max_tokens": 4000, "input": id,
        "messages": [{ "role": "user", "content": id }] });
    gateway.post(path, &body).header("x-request-id", id)
}

/// What the node has sent for that request, once it has ended.
async fn sent(node: &SimNode, id: &str) -> Bytes {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.sent(id) {
            Some(bytes) if !bytes.is_empty() => return bytes,
            _ => assert!(Instant::now() < deadline, "{id} has not ended"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_is_quiet(gateway: &Gateway, node: &SimNode) {
    gateway.until(|s| s.requests.is_empty() && s.nodes.iter().all(|node| node.active == 0)).await;
    let deadline = Instant::now() + PATIENCE;
    while node.stats().in_flight > 0 {
        assert!(Instant::now() < deadline, "still in flight at the node: {:?}", node.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two hundred at once, in all dialects: each gets its own bytes, all of them, and nothing is left in flight.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once() {
    let profile = Profile::ollama("node").parallel(256).ttft_ms(1500).tok_s(40.0).tokens(40);
    let (node, gateway) = over(profile, "max_concurrent = 256").await;
    let streams = (0..200).map(|at| {
        let (path, end) = DIALECTS[at % 4];
        let id = format!("stream-{at}");
        let request = stream(&gateway, path, &id);
        tokio::spawn(async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["x-request-id"], id.as_str());
            (id, end, answer.bytes().await.unwrap())
        })
    });
    let streams = join_all(streams.collect::<Vec<_>>()).await;
    let mut different = HashSet::new();
    for stream in streams {
        let (id, end, got) = stream.unwrap();
        assert!(String::from_utf8_lossy(&got).contains(end), "{id} is whole");
        assert_eq!(got, sent(&node, &id).await, "{id}");
        different.insert(got);
    }
    assert!(different.len() >= 100, "the streams can be told apart: {}", different.len());
    assert!(node.stats().in_flight_peak >= 200, "at once: {}", node.stats().in_flight_peak);
    assert_eq!((node.stats().generations_started, node.stats().generations_finished), (200, 200));
    all_is_quiet(&gateway, &node).await;
    assert_eq!(gateway.snapshot().await.totals.answered, 200);
}

const ALL_SORTS: &str = "Grüße 👋🏽 aus 日本語 \"quoted\\\" [DONE] finish_reason\": \"stop\" ";

/// R33: the node writes single bytes, each a segment of its own; the same bytes arrive, streamed and in one piece.
#[tokio::test(flavor = "multi_thread")]
async fn r33_one_byte_in_each_segment() {
    let (node, gateway) = over(Profile::ollama("node").text(ALL_SORTS.repeat(5)), "").await;
    for bytes in [1, 7] {
        node.set_fault(FaultRule::from(Fault::Slicer { bytes }).on(On::Generation));
        for (path, _) in DIALECTS {
            let id = format!("cut-{}", node.stats().requests_total);
            let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
            // A complete stream that were not seen as such would have an error at its end, which the node has not sent.
            assert_eq!(got, sent(&node, &id).await, "{bytes} {path}");
            assert!(got.len() > 1000, "{bytes} {path}");
            let id = format!("{id}-whole");
            let got = whole(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
            assert_eq!(got, sent(&node, &id).await, "{bytes} {path}");
            assert!(serde_json::from_slice::<Value>(&got).is_ok(), "{bytes} {path}");
        }
    }
    all_is_quiet(&gateway, &node).await;
}

/// A short whole stream of each dialect.
fn short(path: &str) -> &'static str {
    match path {
        "/v1/responses" => {
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"ü\"}\n\n\
             event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n"
        }
        "/v1/messages" => {
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
             event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        }
        "/api/chat" => "{\"message\":{\"content\":\"ü\"},\"done\":false}\n{\"message\":{},\"done\":true}\n",
        _ => {
            "data: {\"choices\":[{\"delta\":{\"content\":\"ü\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
        }
    }
}

/// R34: a stream of each dialect, cut at every one of its bytes, arrives as it is. (Two cuts: unit tests of `dialects::sse`.)
#[tokio::test(flavor = "multi_thread")]
async fn r34_cut_at_every_byte() {
    let profile = Profile::ollama("node").model(SimModel::new("m").loaded(true)).parallel(16);
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::over(&[&node], "max_concurrent = 16").await;
    for (path, _) in DIALECTS {
        let text = short(path).as_bytes();
        for at in 0..=text.len() {
            node.add_fault(in_pieces(path, &[&text[..at], &text[at..]]).times(1));
        }
        let mut asked = tokio::task::JoinSet::new();
        for at in 0..=text.len() {
            asked.spawn(stream(&gateway, path, &format!("{at}")).send());
            if asked.len() >= 12 {
                let answer = asked.join_next().await.unwrap().unwrap().unwrap();
                assert_eq!(answer.text().await.unwrap(), short(path), "{path}");
            }
        }
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap().unwrap().text().await.unwrap(), short(path), "{path}");
        }
    }
    all_is_quiet(&gateway, &node).await;
    assert_eq!(gateway.snapshot().await.totals.failed, 0);
}

/// R35: the forms that the standard allows and few servers use are neither mended nor mistaken for a cut stream.
#[tokio::test(flavor = "multi_thread")]
async fn r35_rare_forms_pass_as_they_are() {
    let (node, gateway) = over(Profile::ollama("node").text(ALL_SORTS.repeat(5)), "").await;
    node.set_fault(FaultRule::from(Fault::OddSse).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("odd-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(got, sent(&node, &id).await, "{path}");
    }
    for (path, _) in &DIALECTS[..3] {
        let plain = short(path);
        let forms = [
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            format!("\u{feff}{plain}"),
            plain.replace("data: ", "data:"),
            plain.replace("data: {", "data: {\ndata: "),
            plain.replace("data: ", ": comment\n:\nid: 7\nretry: 3000\nunknown: x\ndata: "),
            format!(": first\n\n\n{}", plain.replace("\n\n", "\n\n: PROCESSING\n\n")),
        ];
        for form in forms {
            let (head, tail) = form.as_bytes().split_at(form.len() / 2);
            node.set_fault(in_pieces(path, &[head, tail]));
            let got = stream(&gateway, path, "form").send().await.unwrap().bytes().await.unwrap();
            assert_eq!(String::from_utf8_lossy(&got), form, "{path}");
        }
        // Without its last blank line an event has not ended: a client would not hear it either.
        node.set_fault(in_pieces(path, &[plain.trim_end().as_bytes(), b"\n"]));
        let got = stream(&gateway, path, "form").send().await.unwrap().text().await.unwrap();
        let is_whole_all_the_same = *path == "/v1/chat/completions";
        assert_eq!(error_at_the_end(path, &got).is_none(), is_whole_all_the_same, "{path}: {got}");
        assert!(is_whole_all_the_same || !got.contains("\"response\":{}") && !got.contains("message_stop"));
    }
    all_is_quiet(&gateway, &node).await;
}

/// F03: any bytes under any cutting, to a client that reads in any rhythm.
#[tokio::test(flavor = "multi_thread")]
async fn f03_any_bytes_in_any_rhythm() {
    let profile = Profile::ollama("node").model(SimModel::new("m").loaded(true)).parallel(8);
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::over(&[&node], "max_concurrent = 8").await;
    for seed in 0..120u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = |sides: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
        };
        let path = DIALECTS[roll(4)].0;
        // Bytes of no meaning, sometimes more than is held back, then an answer.
        let most = [40, 2000, 50_000][roll(3)];
        let noise = (0..roll(most)).map(|_| b"\n\r:\xFF\x00 {}ax"[roll(10)]);
        let mut bytes: Vec<u8> = noise.filter(|byte| *byte != b'\n' || path != "/api/chat").collect();
        bytes.extend_from_slice(b"\n\n");
        bytes.extend_from_slice(short(path).as_bytes());
        let mut cuts: Vec<usize> = (0..roll(6)).map(|_| roll(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        node.set_fault(in_pieces(path, &pieces));
        let mut answer = stream(&gateway, path, "any").send().await.unwrap();
        let mut got = Vec::new();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            got.extend_from_slice(&chunk);
            tokio::time::sleep(Duration::from_millis([0, 0, 1, 7][roll(4)])).await;
        }
        assert!(got == bytes, "seed {seed}, {path}: {} bytes of {}", got.len(), bytes.len());
    }
    all_is_quiet(&gateway, &node).await;
}

/// The last thing in a cut stream, parsed: the error of that dialect, in the place where its clients look for it.
fn error_at_the_end(path: &str, text: &str) -> Option<String> {
    let last = text.trim_end().rsplit(if path.starts_with("/api") { "\n" } else { "\n\n" }).next()?;
    let data = last.lines().last()?.trim_start_matches("data: ");
    let value: Value = serde_json::from_str(data).ok()?;
    let message = match path {
        "/v1/chat/completions" => value["error"]["message"].as_str(),
        "/v1/responses" if last.starts_with("event: error\n") && value["type"] == "error" => {
            value["message"].as_str()
        }
        "/v1/messages" if last.starts_with("event: error\n") && value["type"] == "error" => {
            value["error"]["message"].as_str()
        }
        "/api/chat" => value["error"].as_str(),
        _ => None,
    };
    message.map(str::to_owned)
}

/// The stream was cut: whole events of the node's, then the dialect's error, and no end mark or reason of ours.
async fn assert_told(node: &SimNode, gateway: &Gateway, name: &str, path: &str, end: &str) {
    let id = format!("{name}-{}", node.stats().requests_total);
    let answer = stream(gateway, path, &id).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{name} {path}");
    // The chunked body itself ends well: the error is in the stream, not in the transport.
    let got = answer.bytes().await.expect("a body that ends well");
    let text = String::from_utf8_lossy(&got).into_owned();
    let message = error_at_the_end(path, &text).unwrap_or_else(|| panic!("{name} {path}: {text}"));
    assert!(message.contains("node"), "it names the node: {message}");
    assert!(!text.contains(end.trim_end()), "{name} {path} has an end mark: {text}");
    for reason in ["\"finish_reason\":\"", "\"stop_reason\":\"", "\"done_reason\""] {
        assert!(!text.contains(reason), "{name} {path} has a reason: {text}");
    }
    let mark = if path.starts_with("/api") { "\n" } else { "\n\n" };
    let before = &text[..text.trim_end().rfind(mark).unwrap() + mark.len()];
    assert!(sent(node, &id).await.starts_with(before.as_bytes()), "{name} {path}: {text}");
    assert!(before.len() > 100, "{name} {path}: something had come: {before}");
}

/// R37: the client has seen 200 and the beginning when the connection to the node breaks, in one way or another.
#[tokio::test(flavor = "multi_thread")]
async fn r37_what_breaks_after_200_is_told_in_the_stream() {
    let (node, gateway) = over(Profile::ollama("node").tokens(60), "").await;
    node.set_fault(FaultRule::from(Fault::Rst { after_bytes: 2000 }).on(On::Generation));
    for (path, end) in DIALECTS {
        assert_told(&node, &gateway, "rst", path, end).await;
    }
    for (path, _) in DIALECTS {
        // Half a chunk, and half an event in it.
        let mark = if path.starts_with("/api") { "\n" } else { "\n\n" };
        let (head, tail) = short(path).split_at(short(path).find(mark).unwrap() + mark.len());
        let Fault::Verbatim { mut pieces, .. } = in_pieces(path, &[head.as_bytes(), tail.as_bytes()]).fault
        else {
            panic!("pieces")
        };
        pieces.truncate(2);
        pieces[1].truncate(24);
        node.set_fault(FaultRule::from(Fault::Verbatim { pieces, forever: false }).on(On::Generation));
        let text = stream(&gateway, path, "chunk")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .expect("a body that ends well");
        let told = error_at_the_end(path, &text);
        assert!(told.is_some_and(|told| told.contains("node")), "{path}: {text}");
    }
    all_is_quiet(&gateway, &node).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.failed, totals.answered), (8, 0));
}

/// R38: the node ends its answer in good order, and too early.
#[tokio::test(flavor = "multi_thread")]
async fn r38_an_end_without_the_end_mark_is_none() {
    let (node, gateway) = over(Profile::ollama("node").tokens(60), "").await;
    for after_events in [3, 40] {
        node.set_fault(FaultRule::from(Fault::Close { after_events }).on(On::Generation));
        for (path, end) in DIALECTS {
            assert_told(&node, &gateway, &format!("close-{after_events}"), path, end).await;
        }
    }
    all_is_quiet(&gateway, &node).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.failed, totals.answered), (8, 0));
}

/// R39: what a node sends behind its end mark is not passed on, and its connection is not used again.
#[tokio::test(flavor = "multi_thread")]
async fn r39_nothing_follows_the_end() {
    let (node, gateway) = over(Profile::ollama("node").tokens(20), "").await;
    node.set_fault(FaultRule::from(Fault::Extra).on(On::Generation));
    for (path, end) in DIALECTS {
        let id = format!("extra-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        let sent = sent(&node, &id).await;
        assert!(
            sent.starts_with(&got) && got.len() < sent.len(),
            "{path}: {}",
            String::from_utf8_lossy(&got)
        );
        let text = String::from_utf8_lossy(&got).into_owned();
        let last = text.trim_end().rsplit(if path == "/api/chat" { "\n" } else { "\n\n" }).next().unwrap();
        assert!(last.contains(end.trim_end()), "{path}: {last}");
    }
    // A second answer behind the first, on a connection that stays open: it must answer nobody's next question.
    node.set_fault(FaultRule::from(Fault::ExtraRaw).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("raw-{}", node.stats().requests_total);
        let connections = node.stats().connections_total;
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(got, sent(&node, &id).await, "{path}");
        let got = stream(&gateway, path, &format!("{id}-next")).send().await.unwrap().text().await.unwrap();
        assert!(got.contains("node answers") || got.len() > 500, "{path}: {got}");
        assert!(!got.contains("extra"), "{path}: {got}");
        assert!(node.stats().connections_total > connections, "{path}");
    }
    all_is_quiet(&gateway, &node).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.failed, totals.answered), (0, 12));
}

/// Only the end mark missing: in OpenAI's dialect a finish reason is an end, in the others nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn r38_a_finish_reason_without_done_is_an_end() {
    let (node, gateway) = over(Profile::ollama("node").tokens(5), "").await;
    node.set_fault(FaultRule::from(Fault::Close { after_events: 10_000 }).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("end-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&got).into_owned();
        if path == "/v1/chat/completions" {
            assert!(text.contains("\"finish_reason\":\"stop\"") && !text.contains("[DONE]"), "{text}");
            assert_eq!(got, sent(&node, &id).await);
        } else {
            assert!(error_at_the_end(path, &text).is_some(), "{path}: {text}");
        }
    }
}

/// An error that the node itself tells in the stream is passed on as it is, and no second one is added.
#[tokio::test(flavor = "multi_thread")]
async fn r37_a_nodes_own_error_in_the_stream_is_the_last_word() {
    let (node, gateway) = over(Profile::ollama("node").tokens(60), "").await;
    node.set_fault(FaultRule::from(Fault::InBandError { after_events: 5 }).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("own-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        assert!(String::from_utf8_lossy(&got).contains("the runner stopped"), "{path}");
        assert_eq!(got, sent(&node, &id).await, "{path}");
    }
}

/// Each event goes down when it comes, also when it comes in small pieces (in two of the dialects here).
#[tokio::test(flavor = "multi_thread")]
async fn events_are_not_held_back() {
    let (node, gateway) =
        over(Profile::ollama("node").tok_s(10.0).tokens(16).parallel(8), "max_concurrent = 8").await;
    for path in ["/v1/chat/completions", "/api/chat"] {
        node.add_fault(FaultRule::from(Fault::Slicer { bytes: 3 }).on(On::Path(path.into())));
    }
    let timed = DIALECTS.map(|(path, _)| {
        let request = stream(&gateway, path, path);
        async move {
            let mut answer = request.send().await.unwrap();
            let mut arrivals = Vec::new();
            while let Some(chunk) = answer.chunk().await.unwrap() {
                arrivals.push((Instant::now(), chunk.len()));
            }
            (path, arrivals)
        }
    });
    for (path, arrivals) in join_all(timed).await {
        let (first, last) = (arrivals[0].0, arrivals[arrivals.len() - 1].0);
        // The node takes 1.5 s from the first token to the last.
        assert!(last - first >= Duration::from_millis(1200), "{path}: {:?}", last - first);
        // Bytes come all along the way: in each quarter there are some.
        let quarter = (last - first) / 4;
        for q in 0..4u32 {
            let (from, to) = (first + quarter * q, first + quarter * (q + 1));
            assert!(
                arrivals.iter().any(|(at, _)| *at >= from && *at <= to),
                "{path}: nothing in quarter {q}"
            );
        }
        assert!(arrivals.len() >= 12, "{path}: in {} pieces", arrivals.len());
    }
}

/// A stream without an end of its own is not complete, even when the connection closes in good order and without framing.
#[tokio::test(flavor = "multi_thread")]
async fn r38_a_close_delimited_stream_that_is_cut() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let scripted = Scripted::start(format!("{head}{event}{}", &event[..30])).await;
    let gateway = Gateway::start(&config(&[], &scripted.node("scripted"))).await;
    gateway.until_up(1).await;
    let text = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    let rest = text.strip_prefix(event).expect("the whole event, and not the half one");
    assert!(error_at_the_end("/v1/chat/completions", rest).is_some(), "{text}");
    assert!(!rest.contains("half"), "{text}");
}

/// An event larger than what is held back has gone down in part when it is cut: the error still stands on lines of its own.
#[tokio::test(flavor = "multi_thread")]
async fn r37_an_error_after_half_a_large_event_can_be_read() {
    let (node, gateway) = over(Profile::ollama("node"), "").await;
    // More than an event may have: 12 MiB without a line end.
    node.set_fault(FaultRule::from(Fault::HugeLine { bytes: 12 << 20 }).on(On::Generation));
    for (path, end) in DIALECTS {
        let got = stream(&gateway, path, path).send().await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&got).into_owned();
        let tail = &text[text.len().saturating_sub(500)..];
        assert!(error_at_the_end(path, &text).is_some(), "{path}: {tail}");
        assert!(text.len() > 1 << 20 && !tail.contains(end.trim_end()), "{path}: {tail}");
    }
    all_is_quiet(&gateway, &node).await;

    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let large = event.replace("half", &"x".repeat(300_000));
    let scripted = Scripted::start(format!("{head}{event}{}", &large[..200_000])).await;
    let gateway = Gateway::start(&config(&[], &scripted.node("scripted"))).await;
    gateway.until_up(1).await;
    let text = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    assert!(error_at_the_end("/v1/chat/completions", &text).is_some(), "{}", &text[text.len() - 500..]);
    assert!(text.starts_with(event));
}

/// Large answers in one piece arrive whole; a large one that is cut breaks the connection, so that nobody takes it for whole.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_in_one_piece() {
    let text = "0123456789abcdef".repeat(700_000);
    let (node, gateway) = over(Profile::ollama("node").text(text.clone()), "").await;
    let answer = gateway.chat("m", false).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert!(body["choices"][0]["message"]["content"] == text.as_str(), "11 MB, byte for byte");
    node.set_fault(FaultRule::from(Fault::TruncContentLength).on(On::Generation));
    match gateway.chat("m", false).send().await {
        Ok(answer) if answer.status() == 200 => assert!(answer.bytes().await.is_err(), "it was cut"),
        Ok(answer) => assert!(answer.status().is_server_error()),
        Err(_) => {}
    }
    all_is_quiet(&gateway, &node).await;
}
