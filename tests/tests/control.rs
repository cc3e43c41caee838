//! The control API as its readers meet it: the token, errors in one shape, the stream of snapshots, and `explain`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::StreamExt;
use lamplighter_core::snapshot::Snapshot;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, config},
    socket,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Every route that wants the token, with its method.
const ROUTES: [(&str, &str); 15] = [
    ("GET", "snapshot"),
    ("GET", "events"),
    ("GET", "explain?model=m"),
    ("DELETE", "requests/req_1"),
    ("PUT", "route"),
    ("POST", "look"),
    ("POST", "identify"),
    ("POST", "nodes"),
    ("PATCH", "nodes/nas"),
    ("DELETE", "nodes/nas"),
    ("POST", "nodes/nas/load"),
    ("POST", "nodes/nas/unload"),
    ("GET", "config"),
    ("PUT", "config"),
    ("POST", "once"),
];

async fn one_node() -> (SimNode, Gateway) {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    (node, gateway)
}

fn is_error(said: &Value, code: &str) {
    let fields: Vec<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["code", "hint", "message"], "{said}");
    assert_eq!(said["code"], code, "{said}");
    assert!(said["message"].as_str().is_some_and(|message| message.len() > 10), "{said}");
    assert!(said["hint"].is_string() || said["hint"].is_null(), "{said}");
}

/// Anybody on this machine may ask whether it lives, and learns no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_token_and_tells_nothing() {
    let (_node, gateway) = one_node().await;
    let answer = gateway.http.get(format!("{}/control/v1/health", gateway.url)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }));
}

/// All else wants the token, in the one place for it, and nothing happens without.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_the_token() {
    let (_node, gateway) = one_node().await;
    let token = gateway.token.clone();
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "256 random bits: {token}");
    let file = std::fs::read(gateway.home.path().join("config.toml")).unwrap();
    let wrong = format!("{}0", &token[..63]);
    for (method, path) in ROUTES {
        let and = if path.contains('?') { '&' } else { '?' };
        for (target, head) in [
            (path.to_owned(), "X-A: b".to_owned()),
            (path.to_owned(), format!("Authorization: Bearer {wrong}x")),
            (path.to_owned(), format!("Authorization: Bearer {}", &token[..63])),
            (path.to_owned(), format!("Authorization: Basic {token}")),
            (path.to_owned(), format!("Authorization: {token}")),
            (path.to_owned(), "Authorization: Bearer ".to_owned()),
            (path.to_owned(), format!("X-Api-Key: {token}")),
            (path.to_owned(), format!("Cookie: token={token}")),
            (format!("{path}{and}token={token}"), "X-A: b".to_owned()),
            (format!("{path}{and}access_token={token}"), "X-A: b".to_owned()),
            (path.to_owned(), format!("Authorization: Bearer wrong\r\nAuthorization: Bearer {token}")),
        ] {
            let host = format!("Host: {}", gateway.authority());
            let request = socket::request(method, &format!("/control/v1/{target}"), &[&host, &head], "");
            let reply = socket::ask(gateway.authority(), &request).await;
            assert_eq!(reply.status, 401, "{method} {target} {head}: {}", reply.text());
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            is_error(&reply.json(), "token_needed");
            assert!(!reply.text().contains(&token[..60]));
        }
    }
    assert_eq!(std::fs::read(gateway.home.path().join("config.toml")).unwrap(), file);
    assert_eq!(gateway.snapshot().await.nodes.len(), 1);
}

/// Errors are `{code, message, hint}`, also where there is no route.
#[tokio::test(flavor = "multi_thread")]
async fn errors_have_one_shape() {
    let (_node, gateway) = one_node().await;
    for (method, path, status, code) in [
        (Method::GET, "nothing", 404, "no_route"),
        (Method::GET, "", 404, "no_route"),
        (Method::GET, "snapshot/more", 404, "no_route"),
        (Method::POST, "snapshot", 405, "wrong_method"),
        (Method::DELETE, "health", 405, "wrong_method"),
        (Method::GET, "look", 405, "wrong_method"),
        (Method::GET, "explain", 400, "bad_request"),
        (Method::GET, "explain?model=m&operation=dream", 400, "bad_request"),
        (Method::GET, "explain?model=m&model=n", 400, "bad_request"),
        (Method::DELETE, "requests/none", 404, "no_such_request"),
        (Method::POST, "nodes/attic/load", 400, "bad_request"),
        (Method::POST, "nodes/attic/unload", 404, "no_such_node"),
        (Method::PUT, "route", 400, "bad_request"),
        (Method::POST, "session", 400, "bad_request"),
    ] {
        let url = format!("{}/control/v1/{path}", gateway.url);
        let answer =
            gateway.http.request(method.clone(), url).bearer_auth(&gateway.token).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/json"));
        is_error(&answer.json().await.unwrap(), code);
    }
    let unknown = json!({ "once": "0".repeat(64) });
    let answer = gateway.post("/control/v1/session", &unknown).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    is_error(&answer.json().await.unwrap(), "code_spent");
}

/// Nothing of a key is in what eyes are shown: only where it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_never_shown() {
    let profile = Profile::openai("box").model(SimModel::new("m")).api_key("sk-node-12345");
    let node = SimNode::start(profile).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let text = config(&[(&node, "api_key = \"file:node.key\"")], "")
        .replace("[server]\n", "[server]\nkey = \"file:our.key\"\n");
    for (name, contents) in
        [("config.toml", text.as_str()), ("node.key", "sk-node-12345\n"), ("our.key", "sk-ours-12345")]
    {
        std::fs::write(home.path().join(name), contents).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(home.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), 200, "the key is used");
    for path in ["snapshot", "config", "explain?model=m", "nothing"] {
        let said = gateway.control(path).await.text().await.unwrap();
        assert!(!said.contains("12345") && !said.contains(&gateway.token), "{path}: {said}");
    }
    assert!(gateway.control("config").await.text().await.unwrap().contains("file:node.key"));
    assert!(!gateway.log().contains("12345"));
}

/// An open stream of events: what has come of it so far, with the time of each line.
struct Events(futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>, String);

impl Events {
    async fn open(gateway: &Gateway) -> Self {
        let answer = gateway.control("events").await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self(answer.bytes_stream().boxed(), String::new())
    }

    /// The next block between empty lines; `None` at the end of the stream.
    ///
    /// # Panics
    /// When nothing comes in time.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.1.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.1 = rest;
                return Some(block);
            }
            let more = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a sign of life");
            self.1.push_str(str::from_utf8(&more?.ok()?).unwrap());
        }
    }

    /// The next snapshot.
    async fn snapshot(&mut self) -> Option<Snapshot> {
        loop {
            let block = self.next().await?;
            if let Some(data) = block.strip_prefix("event: snapshot\ndata: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            assert!(block.starts_with(':'), "neither a snapshot nor a comment: {block}");
        }
    }
}

/// The whole state at once, and again when it has changed.
#[tokio::test(flavor = "multi_thread")]
async fn events_begin_with_a_snapshot_and_follow_changes() {
    let (node, gateway) = one_node().await;
    let mut events = Events::open(&gateway).await;
    let first = events.snapshot().await.unwrap();
    assert_eq!((first.nodes[0].name.as_str(), first.models.len()), ("nas", 1));
    assert_eq!(first.models[0].loaded_on, ["nas"]);
    assert!(node.unload("m"));
    let look = format!("{}/control/v1/look", gateway.url);
    gateway.http.post(look).bearer_auth(&gateway.token).send().await.unwrap();
    let mut last = first.seq;
    loop {
        let next = events.snapshot().await.unwrap();
        assert!(next.seq > last, "{} after {last}", next.seq);
        last = next.seq;
        if next.models[0].loaded_on.is_empty() {
            break;
        }
    }
    // A shutdown does not wait for those who only look.
    let (code, took) = gateway.stop(PATIENCE);
    assert!(code == Some(0) && took < Duration::from_secs(10), "{took:?}");
    while events.next().await.is_some() {}
}

/// At most four snapshots a second, however much happens and however many look.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_apart() {
    let (_node, gateway) = one_node().await;
    let mut events = Events::open(&gateway).await;
    let began = Instant::now();
    let busy = async {
        while began.elapsed() < Duration::from_secs(3) {
            assert_eq!(
                gateway.chat("m", true).send().await.unwrap().text().await.unwrap().matches("[DONE]").count(),
                1
            );
            // Somebody else begins to look.
            Events::open(&gateway).await.snapshot().await.unwrap();
        }
    };
    let count = async {
        let mut count = 0;
        while tokio::time::timeout(Duration::from_secs(3).saturating_sub(began.elapsed()), events.snapshot())
            .await
            .is_ok()
        {
            count += 1;
        }
        count
    };
    let (count, ()) = tokio::join!(count, busy);
    assert!((3..=13).contains(&count), "{count} snapshots in 3 s");
}

/// When nothing happens, a comment every 10 s says that the stream lives.
#[tokio::test(flavor = "multi_thread")]
async fn silence_has_a_heartbeat() {
    let gateway = Gateway::start("[server]\nlisten = [\"127.0.0.1:0\"]\n").await;
    let mut events = Events::open(&gateway).await;
    events.snapshot().await.unwrap();
    let began = Instant::now();
    loop {
        let block = events.next().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(15), "{block}");
        if block.starts_with(':') {
            assert!(
                began.elapsed() > Duration::from_secs(8),
                "a heartbeat is no flicker: {:?}",
                began.elapsed()
            );
            return;
        }
    }
}

/// What `explain` names first is where the request then goes, by the same name and for the same reason.
#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_what_happens() {
    let models = |loaded: &str| {
        ["m:1b", "big:70b", "both:7b"].map(|name| SimModel::new(name).loaded(name == loaded)).to_vec()
    };
    let mut nodes = Vec::new();
    for (name, loaded) in [("nas", "m:1b"), ("box", "both:7b")] {
        let profile = models(loaded).into_iter().fold(Profile::ollama(name), Profile::model);
        nodes.push(SimNode::start(profile).await.unwrap());
    }
    nodes.push(SimNode::start(Profile::openai("tiny").model(SimModel::new("only-here"))).await.unwrap());
    let aliases = "[[alias]]\nname = \"coder\"\nmodels = [\"gone:1b\", \"both:7b\", \"m:1b\"]\n\
                   [[alias]]\nname = \"claude-*\"\nmodels = [\"big:70b@nas\"]\n";
    let lines = ["", "priority = 5", "max_concurrent = 2"];
    let pairs: Vec<_> = nodes.iter().zip(lines).collect();
    let gateway = Gateway::start(&config(&pairs, aliases)).await;
    gateway.until_up(3).await;
    let explain = async |model: &str| -> Value {
        let url = format!("{}/control/v1/explain", gateway.url);
        let asked = gateway.http.get(url).bearer_auth(&gateway.token).query(&[("model", model)]);
        asked.send().await.unwrap().json().await.unwrap()
    };
    for (model, node, alias) in [
        ("m:1b", "nas", None),
        ("both:7b", "box", None),
        ("big:70b", "box", None),
        ("big:70b@nas", "nas", None),
        ("only-here", "tiny", None),
        ("coder", "box", Some("coder")),
        ("claude-opus-4", "nas", Some("claude-*")),
    ] {
        let said = explain(model).await;
        let answer = gateway.chat(model, false).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(answer.status(), 200, "{model}");
        let first = &said["candidates"][0];
        assert_eq!(first["node"], header("x-lamplighter-node"), "{model}: {said}");
        assert_eq!(first["node_model"], header("x-lamplighter-model"), "{model}: {said}");
        assert_eq!(first["reason"], header("x-lamplighter-reason"), "{model}: {said}");
        assert_eq!((&first["node"], &said["alias"]), (&json!(node), &json!(alias)), "{model}");
        // Every machine is accounted for: as a candidate, or with the reason why not.
        for name in ["nas", "box", "tiny"] {
            let named = |list: &Value| list.as_array().unwrap().iter().any(|entry| entry["node"] == name);
            assert!(named(&said["candidates"]) || named(&said["passed_over"]), "{model}, {name}: {said}");
        }
    }
    for model in ["nobody:1b", "m:1b@attic", "m:1b@tiny", ""] {
        let said = explain(model).await;
        assert_eq!(said["candidates"], json!([]), "{said}");
        if model.is_empty() {
            continue;
        }
        let refused: Value = gateway.chat(model, false).send().await.unwrap().json().await.unwrap();
        assert_eq!(said["refusal"]["code"], refused["error"]["code"], "{said} {refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(said["refusal"]["message"].as_str().unwrap()), "{said} {refused}");
    }
}
