//! What passes through: every byte of the body, and of the headers only what is about the question and the answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, config},
    peers::{Hole, Scripted, Wire, in_pieces},
};
use serde_json::{Value, json};

async fn ollama(name: &str, loaded: bool) -> SimNode {
    SimNode::start(Profile::ollama(name).model(SimModel::new("m").loaded(loaded))).await.unwrap()
}

/// The body goes to the node byte for byte; through an alias all but the model's name does.
#[tokio::test(flavor = "multi_thread")]
async fn body_bytes_are_untouched() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "[[alias]]\nname = \"\u{e4}lias\"\nmodels = [\"m\"]\n").await;
    let before = b" {\t\"messages\" : [ {\"role\":\"user\",\"content\":\"h\\u00e4 \\ud83d\\ude00 \xc3\xa4 \\\" \\\"model\\\":\\\"x\\\"\"} ],\r\n \"options\":{\"model\":\"inner\",\"model\":\"again\",\"n\":1.50e+1,\"z\":-0.0},\"\\u006dodel\" :  ".to_vec();
    let after =
        b" , \"x\":[null , {\"stream\":true}] ,\"cache_control\":{\"type\":\"ephemeral\"}\n}\n ".to_vec();
    let around = |model: &str| [&before[..], model.as_bytes(), &after[..]].concat();
    for (written, sent) in [("\"m\"", "\"m\""), ("\"\\u006d\"", "\"\\u006d\""), ("\"\\u00e4lias\"", "\"m\"")]
    {
        for path in ["/v1/chat/completions", "/api/chat"] {
            let url = format!("{}{path}", gateway.url);
            let answer = gateway.http.post(url).body(around(written)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{written}: {}", answer.text().await.unwrap());
            let seen = node.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap();
            assert_eq!(seen.path, path);
            assert_eq!(
                String::from_utf8_lossy(&seen.body),
                String::from_utf8_lossy(&around(sent)),
                "{written} on {path}"
            );
            assert_eq!(seen.body, around(sent));
        }
    }
}

/// `/api/show` has two names for the model, and Ollama's clients send both. No node sees a name that only we know.
#[tokio::test(flavor = "multi_thread")]
async fn both_names_of_a_shown_model_are_the_nodes_own() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "[[alias]]\nname = \"ours\"\nmodels = [\"m\"]\n").await;
    for (asked, sent) in [
        (r#"{"model":"","name":"m"}"#, r#"{"model":"","name":"m"}"#),
        (r#"{"model":"m","name":"m"}"#, r#"{"model":"m","name":"m"}"#),
        (r#"{"model":"ours","name":""}"#, r#"{"model":"m","name":""}"#),
        (r#"{"name":"ours","model":"ours"}"#, r#"{"name":"m","model":"m"}"#),
        (r#"{"model":"m","name":"ours"}"#, r#"{"model":"m","name":"m"}"#),
    ] {
        let url = format!("{}/api/show", gateway.url);
        let answer = gateway.http.post(url).body(asked).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{asked}: {}", answer.text().await.unwrap());
        let of_ours = |seen: &lamplighter_simnode::Seen| seen.headers.contains_key("via");
        let seen = node.seen().into_iter().rfind(|seen| seen.path == "/api/show" && of_ours(seen)).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.body), sent, "{asked}");
    }
    let url = format!("{}/api/show", gateway.url);
    let twice = gateway.http.post(url).body(r#"{"model":"m","name":"m","model":"m"}"#).send().await.unwrap();
    assert_eq!(twice.status(), 400);
}

/// Nothing that is the client's own business reaches the node: credentials, cookies, origin, hop-by-hop, addresses.
#[tokio::test(flavor = "multi_thread")]
async fn request_headers_that_go_up() {
    let profile = Profile::openai("node").model(SimModel::new("m")).api_key("node-key");
    let node = SimNode::start(profile).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("node.key");
    std::fs::write(&secret, "node-key\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = config(&[(&node, &format!("api_key = \"file:{}\"", secret.display()))], "");
    let text = text.replacen("[server]", "[server]\nallowed_origins = [\"https://page.example\"]", 1);
    std::fs::write(home.path().join("config.toml"), text).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;

    let mut wire = Wire::connect(gateway.authority()).await;
    let lines = "Authorization: Bearer CANARY-1\r\nX-Api-Key: CANARY-2\r\nApi-Key: CANARY-3\r\nCookie: id=CANARY-4\r\n\
        Origin: https://page.example\r\nReferer: https://page.example/CANARY-5\r\nX-Forwarded-For: CANARY-6\r\n\
        Forwarded: for=CANARY-7\r\nX-Real-IP: CANARY-8\r\nProxy-Authorization: Basic CANARY-9\r\n\
        Connection: close, X-Private, anthropic-beta\r\nX-Private: CANARY-10\r\nKeep-Alive: timeout=CANARY\r\nTE: trailers\r\n\
        Trailer: CANARY\r\nUpgrade: CANARY\r\nProxy-Connection: CANARY\r\nX-Goog-Api-Key: CANARY-11\r\n\
        Accept-Encoding: gzip\r\nContent-Type: application/json\r\nUser-Agent: tester/1\r\n\
        Anthropic-Version: 2023-06-01\r\nX-Request-Id: my-id.1\r\nIdempotency-Key: i-1\r\n";
    wire.post("/v1/chat/completions?api_key=CANARY-12", lines, br#"{"model":"m","messages":[]}"#).await;
    let answer = wire.to_end(PATIENCE).await.expect("it closes");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let seen = node.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap();
    let text = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(text("host"), Some(node.addr().to_string().as_str()), "the node's own name");
    assert_eq!(text("authorization"), Some("Bearer node-key"));
    assert_eq!(text("accept-encoding"), Some("identity"));
    assert_eq!((text("user-agent"), text("anthropic-version")), (Some("tester/1"), Some("2023-06-01")));
    assert_eq!((text("x-request-id"), text("idempotency-key")), (Some("my-id.1"), Some("i-1")));
    assert_eq!(text("via"), Some("1.1 lamplighter"));
    let all = format!("{:?} {:?}", seen.headers, seen.query);
    assert!(!all.contains("CANARY"), "{all}");
    for name in ["cookie", "origin", "referer", "connection", "te", "trailer", "upgrade", "transfer-encoding"]
    {
        assert_eq!(text(name), None, "{name}");
    }
}

/// Only what is about the answer comes down: no cookies, redirects, policies, names or hop-by-hop of the node.
#[tokio::test(flavor = "multi_thread")]
async fn response_headers_that_come_down() {
    let headers = "Content-Type: application/json\r\nSet-Cookie: CANARY=1\r\nLocation: http://CANARY/\r\nServer: CANARY\r\n\
        X-Powered-By: CANARY\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
        Content-Security-Policy: CANARY\r\nRefresh: 0; CANARY\r\nAlt-Svc: CANARY\r\nStrict-Transport-Security: CANARY\r\n\
        X-Lamplighter-Node: CANARY\r\nConnection: close, X-Hop\r\nX-Hop: CANARY\r\nKeep-Alive: CANARY\r\nVia: CANARY\r\n\
        OpenAI-Processing-Ms: 7\r\nX-RateLimit-Remaining-Tokens: 9\r\nRequest-Id: theirs\r\nRetry-After: 3\r\n";
    let with = |status: &str| format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 2\r\n\r\n{{}}");
    for status in ["200 OK", "400 Bad Request"] {
        let node = Scripted::start(with(status)).await;
        let gateway = Gateway::start(&config(&[], &node.node("scripted"))).await;
        gateway.until_up(1).await;
        let answer = gateway.chat("m", false).send().await.unwrap();
        assert_eq!(answer.status().as_str(), &status[..3]);
        let all = format!("{:?}", answer.headers());
        assert!(!all.contains("CANARY"), "{all}");
        let names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
        for name in &names {
            assert!(
                !name.starts_with("access-control") && *name != "location" && *name != "set-cookie",
                "{name}"
            );
        }
        for (name, value) in [
            ("content-type", "application/json"),
            ("openai-processing-ms", "7"),
            ("x-ratelimit-remaining-tokens", "9"),
            ("request-id", "theirs"),
            ("retry-after", "3"),
            ("x-lamplighter-node", "scripted"),
        ] {
            assert_eq!(answer.headers()[name], value, "{name} of {status}");
        }
    }
}

/// A node's redirect is neither followed nor passed on: the next node answers; alone, it is no answer.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_lead_nowhere() {
    let trap = Hole::open().await;
    let (lost, found) = (ollama("lost", true).await, ollama("found", false).await);
    let gateway = Gateway::over(&[&lost, &found], "").await;
    lost.set_fault(
        FaultRule::from(Fault::Redirect { to: format!("http://{}/", trap.addr) }).on(On::Generation),
    );
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["x-lamplighter-node"].to_str().ok()),
        (200, Some("found"))
    );
    let answer = gateway.chat("m@lost", false).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().get("location").is_none());
    let body: Value = answer.json().await.unwrap();
    let said = &body["error"];
    assert_eq!(said["code"], "all_nodes_failed", "{body}");
    assert!(said["message"].as_str().unwrap().contains("lost: it sends us elsewhere (307)"), "{body}");
    assert_eq!(trap.accepted(), 0);
}

const CHAT: &str = "/v1/chat/completions";

/// One event of each dialect with a piece of a tool call, which is JSON inside a JSON string, and the end of such a stream.
/// (Ollama sends whole calls, as objects: the next test.)
const TOOL_CALLS: [(&str, &str, &str); 4] = [
    (
        CHAT,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"PIECE"}}]},"finish_reason":null}]}"#,
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
    ),
    (
        "/v1/messages",
        r#"data: {"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"PIECE"}}"#,
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "/v1/responses",
        r#"data: {"type":"response.function_call_arguments.delta","delta":"PIECE"}"#,
        "data: {\"type\":\"response.completed\",\"response\":{}}\n\n",
    ),
    ("/api/chat", r#"{"message":{"content":"PIECE"},"done":false}"#, "{\"message\":{},\"done\":true}\n"),
];

/// R45: a model's tool calls come as it made them: in pieces that are no JSON by themselves, wrong, without an end. They are the
/// client's to judge; what is around them says whether the stream is whole.
#[tokio::test(flavor = "multi_thread")]
async fn r45_tool_calls_pass_as_they_are() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "").await;
    let calls: [&[&str]; 7] = [
        &[r#"{\"path\": \"/tmp/"#, r"a\\u00", r#"e4\", \"n\": 1"#, "2}"],
        &["{'path': None,, }", "}}"],
        &[r#"{\"text\": \"never closed"#],
        &["", "null"],
        &[r#"{\"x\": \"data: [DONE]\\n\\n\", \"finish_reason\": \"stop\"}"#],
        &[r#"{\"done\": true, \"type\": \"message_stop\", \"error\": {\"message\": \"no\"}}"#],
        &[r"\u0000\ud83d", r"\ude00 😀"],
    ];
    for (path, event, end) in TOOL_CALLS {
        let blank = if path == "/api/chat" { "\n" } else { "\n\n" };
        let body = json!({ "model": "m", "stream": true, "max_tokens": 9, "input": "hi",
            "messages": [{ "role": "user", "content": "hi" }] });
        let ask = async || gateway.post(path, &body).send().await.unwrap().text().await.unwrap();
        for call in calls {
            let events: Vec<String> =
                call.iter().map(|piece| event.replace("PIECE", piece) + blank).collect();
            let mut pieces: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
            // Without its end: the calls are kept, and the error is the dialect's own.
            node.set_fault(in_pieces(path, &pieces));
            let got = ask().await;
            let rest = got.strip_prefix(&events.concat()).unwrap_or_else(|| panic!("{path} {call:?}: {got}"));
            assert!(rest.contains("ended its answer before it was complete"), "{path} {call:?}: {rest}");
            pieces.push(end.as_bytes());
            node.set_fault(in_pieces(path, &pieces));
            assert_eq!(ask().await, events.concat() + end, "{path} {call:?}");
        }
    }
}

/// Ollama's tool calls are objects, and a model may call an argument as the stream calls its own fields: it goes on all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_calls_arguments_end_no_stream() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "").await;
    let call = r#"{"message":{"tool_calls":[{"function":{"name":"todo","arguments":{"done":true,"eval_count":9}}}]},"done":false}"#;
    let (next, last) =
        (r#"{"message":{"content":"more"},"done":false}"#, r#"{"message":{},"done":true,"eval_count":2}"#);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    let ask = async || gateway.post("/api/chat", &body).send().await.unwrap().text().await.unwrap();
    let lines = [call, next, last].map(|line| format!("{line}\n"));
    let pieces = lines.each_ref().map(|line| line.as_bytes());
    node.set_fault(in_pieces("/api/chat", &pieces));
    assert_eq!(ask().await, lines.concat());
    let totals = gateway.until(|snapshot| snapshot.requests.is_empty()).await.totals;
    assert_eq!(totals.tokens_out, 2);
    node.set_fault(in_pieces("/api/chat", &pieces[..1]));
    let cut = ask().await;
    assert!(cut.starts_with(&lines[0]) && cut.contains("ended its answer before it was complete"), "{cut}");
}

/// What looks like the end of an answer and is none: an empty finish reason, and the end of one answer of two.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_told_as_such_whatever_it_says_of_its_end() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "").await;
    let event = |index: u8, reason: &str| {
        let choice = format!(r#"{{"index":{index},"delta":{{"content":"a"}},"finish_reason":{reason}}}"#);
        format!("data: {{\"choices\":[{choice}]}}\n\n")
    };
    let empty = vec![event(0, "\"\""), event(0, "\"\"")];
    let one_of_two = vec![event(0, "null"), event(1, "null"), event(0, "\"stop\""), event(1, "null")];
    for (mut events, index) in [(empty, 0), (one_of_two, 1)] {
        let ask = async |events: &[String]| {
            let pieces: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
            node.set_fault(in_pieces(CHAT, &pieces));
            gateway.chat("m", true).send().await.unwrap().text().await.unwrap()
        };
        let cut = ask(&events).await;
        let rest = cut.strip_prefix(&events.concat()).unwrap_or_else(|| panic!("{cut}"));
        assert!(rest.contains("ended its answer before it was complete"), "{cut}");
        events.push(event(index, "\"stop\""));
        assert_eq!(ask(&events).await, events.concat());
    }
}

/// R44: a node's token counts that are missing, negative or beyond all measure neither spoil the answer nor the totals.
#[tokio::test(flavor = "multi_thread")]
async fn r44_counts_that_cannot_be_count_as_none() {
    let node = ollama("node", true).await;
    let gateway = Gateway::over(&[&node], "").await;
    let told = async |path: &str, answer: String| {
        node.set_fault(in_pieces(path, &[answer.as_bytes()]));
        let body = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
        let got = gateway.post(path, &body).send().await.unwrap().text().await.unwrap();
        assert_eq!(got, answer, "passed on as it is");
        let totals = gateway.until(|snapshot| snapshot.requests.is_empty()).await.totals;
        (totals.tokens_in, totals.tokens_out)
    };
    let chat = |usage: &str| {
        let delta = r#"data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
        format!("{delta}\n\ndata: {{\"choices\":[]{usage}}}\n\ndata: [DONE]\n\n")
    };
    let usage = |count: &str| format!(r#","usage":{{"prompt_tokens":3,"completion_tokens":{count}}}"#);
    assert_eq!(told(CHAT, chat(&usage("7"))).await, (3, 7));
    let wrong = ["-7", "1e300", "18446744073709551615", "340282366920938463463374607431768211455", "null"];
    for (at, wrong) in wrong.into_iter().enumerate() {
        assert_eq!(told(CHAT, chat(&usage(wrong))).await, (3 * (at as u64 + 2), 7), "{wrong}");
    }
    assert_eq!(told(CHAT, chat("")).await, (18, 7), "missing");
    assert_eq!(told(CHAT, chat(r#","usage":[]"#)).await, (18, 7), "no object");
    let last = |count: &str| {
        format!("{{\"message\":{{\"content\":\"hi\"}},\"done\":true,\"eval_count\":{count}}}\n")
    };
    assert_eq!(told("/api/chat", last("18446744073709551615")).await, (18, 7));
    assert_eq!(told("/api/chat", last("-1")).await, (18, 7));
    assert_eq!(told("/api/chat", last("5")).await, (18, 12));
}
