//! What a person changes through the control API and the command line: nodes, models in memory, the routing mode, requests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{mode::Mode, snapshot::RequestStage};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::house::Gateway;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn order(gateway: &Gateway, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let url = format!("{}/control/v1/{path}", gateway.url);
    let answer =
        gateway.http.request(method, url).bearer_auth(&gateway.token).json(&body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

fn file(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.home.path().join("config.toml")).unwrap()
}

async fn ollama(name: &str) -> SimNode {
    let profile = Profile::ollama(name).model(SimModel::new("m").loaded(true)).model(SimModel::new("other"));
    SimNode::start(profile).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_changed_and_removed_and_the_comments_stay() {
    let (nas, box_) = (ollama("nas").await, ollama("box").await);
    let config = format!(
        "# my house\n[server]\nlisten = [\"127.0.0.1:0\"] # here\n\n# the quiet one\n[[node]]\nname = \"nas\"\nurl = \"{}\" # cable\n",
        nas.url()
    );
    let gateway = Gateway::start(&config).await;
    gateway.until_up(1).await;

    let (status, said) = order(&gateway, Method::POST, "identify", json!({ "url": box_.url() })).await;
    assert_eq!(
        (status, said["engine"].as_str(), said["models"].as_u64()),
        (StatusCode::OK, Some("ollama"), Some(2))
    );

    let new = json!({ "name": "box", "url": box_.url(), "presence": "always-on", "gpu": "RTX 4090" });
    assert_eq!(order(&gateway, Method::POST, "nodes", new.clone()).await.0, StatusCode::CREATED);
    gateway.until_up(2).await;
    assert!(
        file(&gateway).contains("# the quiet one") && file(&gateway).contains("# here"),
        "{}",
        file(&gateway)
    );
    let (status, said) = order(&gateway, Method::POST, "nodes", new).await;
    assert_eq!((status, said["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("config_invalid")));
    assert!(said["message"].as_str().unwrap().contains("box"), "{said}");

    let again =
        json!({ "name": "twin", "url": format!("{}/v1", box_.url().replace("127.0.0.1", "localhost")) });
    let (status, said) = order(&gateway, Method::POST, "nodes", again).await;
    assert_eq!((status, said["code"].as_str()), (StatusCode::CONFLICT, Some("same_server")), "{said}");
    assert!(!file(&gateway).contains("twin"), "{}", file(&gateway));

    let answer = gateway.chat("m@box", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "box");
    let before = gateway.node("box").await;
    assert_eq!(
        order(&gateway, Method::PATCH, "nodes/box", json!({ "gpu": null, "priority": 5 })).await.0,
        StatusCode::OK
    );
    let after = gateway.node("box").await;
    assert_eq!(
        (after.gpu.as_deref(), after.priority, after.since_ms),
        (None, 5, before.since_ms),
        "it was up all the time"
    );

    assert_eq!(order(&gateway, Method::DELETE, "nodes/nas", json!({})).await.0, StatusCode::NO_CONTENT);
    let left = gateway.snapshot().await.nodes;
    assert_eq!(left.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["box"]);
    assert!(
        !file(&gateway).contains("nas") && file(&gateway).starts_with("# my house"),
        "{}",
        file(&gateway)
    );
    assert_eq!(order(&gateway, Method::DELETE, "nodes/nas", json!({})).await.0, StatusCode::NOT_FOUND);
}

/// A page that renders a model's words could be made to send these: only the file itself may say them.
#[tokio::test(flavor = "multi_thread")]
async fn what_opens_a_door_is_not_written_from_here() {
    let nas = ollama("nas").await;
    let gateway = Gateway::over(&[&nas], "").await;
    let before = file(&gateway);
    let server = |line: &str| before.replacen("[server]\n", &format!("[server]\n{line}\n"), 1);
    for (setting, text) in [
        ("listen", before.replacen("127.0.0.1:0", "127.0.0.1:1", 1)),
        ("allowed_hosts", server("allowed_hosts = [\"evil.example\"]\nkey = \"env:HOME\"")),
        ("allowed_origins", server("allowed_origins = [\"https://evil.example\"]")),
        ("key", server("key = \"env:HOME\"")),
        ("api_key", format!("{before}api_key = \"env:HOME\"\n")),
    ] {
        let (status, said) = order(&gateway, Method::PUT, "config", json!({ "text": text })).await;
        assert_eq!(
            (status, said["code"].as_str()),
            (StatusCode::FORBIDDEN, Some("only_in_the_file")),
            "{setting}: {said}"
        );
        assert!(said["message"].as_str().unwrap().contains(setting.trim_start_matches("allowed_")), "{said}");
    }
    let node = |line: &str| format!("{before}{line}\n");
    for text in [
        server("manage = true"),
        node("command = \"x\""),
        node("[node.sleep]\nurl = \"http://evil.example\""),
        node("[node.wake]\nrelay = { url = \"http://evil.example\" }"),
    ] {
        let (status, said) = order(&gateway, Method::PUT, "config", json!({ "text": text })).await;
        assert_eq!(
            (status, said["code"].as_str()),
            (StatusCode::FORBIDDEN, Some("only_in_the_file")),
            "{text}"
        );
    }
    let (status, said) =
        order(&gateway, Method::PUT, "config", json!({ "text": server("colour = 1") })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    for field in ["api_key", "command", "wake", "sleep"] {
        let (status, said) = order(&gateway, Method::PATCH, "nodes/nas", json!({ field: "env:HOME" })).await;
        assert_eq!(
            (status, said["code"].as_str()),
            (StatusCode::FORBIDDEN, Some("only_in_the_file")),
            "{said}"
        );
    }
    let (status, said) = order(&gateway, Method::PATCH, "nodes/nas", json!({ "colour": "red" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    assert_eq!(file(&gateway), before, "nothing was written");
    let text = format!("{before}\n[[alias]]\nname = \"coder\"\nmodels = [\"m\"]\n");
    assert_eq!(
        order(&gateway, Method::PUT, "config", json!({ "text": text })).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(gateway.chat("coder", false).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_address_drops_the_key() {
    let (nas, other) = (ollama("nas").await, ollama("other").await);
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("nas.key");
    std::fs::write(&key, "canary-key-123\n").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"nas\"\nurl = \"{}\"\napi_key = \"file:nas.key\"\n",
        nas.url()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    gateway.chat("m", false).send().await.unwrap();
    let sent = |node: &SimNode| node.seen().iter().any(|seen| format!("{seen:?}").contains("canary-key-123"));
    assert!(sent(&nas), "the key goes where it was given for");
    let (_, said) = order(&gateway, Method::PATCH, "nodes/nas", json!({ "url": other.url() })).await;
    assert_eq!(said["key_dropped"], true);
    gateway
        .until(|snapshot| snapshot.nodes[0].url == other.url() && snapshot.nodes[0].state.takes_requests())
        .await;
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);
    assert!(!sent(&other) && !file(&gateway).contains("api_key"), "{}", file(&gateway));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded() {
    let nas = ollama("nas").await;
    let gateway = Gateway::over(&[&nas], "").await;
    let (code, out, err) = gateway.cli(&["load", "nas", "other"]);
    assert_eq!((code, out.as_str()), (0, "other is in memory on nas\n"), "{err}");
    let loaded = |name: &'static str| {
        move |snapshot: &lamplighter_core::snapshot::Snapshot| {
            snapshot.nodes[0]
                .models
                .iter()
                .any(|model| model.name.starts_with(name) && model.loaded == Some(true))
        }
    };
    gateway.until(loaded("other")).await;
    assert_eq!(
        order(&gateway, Method::POST, "nodes/nas/unload", json!({ "model": "other" })).await.0,
        StatusCode::NO_CONTENT
    );
    gateway.until(|snapshot| !loaded("other")(snapshot) && loaded("m")(snapshot)).await;
    assert_eq!(gateway.cli(&["unload", "nas"]).0, 0);
    gateway.until(|snapshot| !loaded("m")(snapshot)).await;
    let (code, _, err) = gateway.cli(&["load", "nas", "nope"]);
    assert!(code == 1 && err.contains("no model \"nope\""), "{err}");
    let (code, _, err) = gateway.cli(&["unload", "moon"]);
    assert!(code == 1 && err.contains("no node called \"moon\""), "{err}");
    let (code, _, err) = gateway.cli(&["unload", "mo/on?%2F"]);
    assert!(code == 1 && err.contains("no node called \"mo/on?%2F\""), "{err}");
    // What an engine cannot be asked for is not said to be done.
    let other = SimNode::start(Profile::openai("other").model(SimModel::new("b"))).await.unwrap();
    let new = json!({ "name": "other", "url": other.url() });
    assert_eq!(order(&gateway, Method::POST, "nodes", new).await.0, StatusCode::CREATED);
    gateway.until_up(2).await;
    let (code, out, err) = gateway.cli(&["unload", "other"]);
    assert!(code == 1 && out.is_empty() && err.contains("cannot be asked"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_refuses_and_lists_answer_and_what_runs_may_finish() {
    let slow = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true)).tok_s(20.0))
        .await
        .unwrap();
    let gateway = Gateway::over(&[&slow], "").await;
    let running = tokio::spawn(gateway.chat("m", true).send());
    gateway.until(|snapshot| !snapshot.requests.is_empty()).await;
    assert_eq!(gateway.cli(&["pause", "1h"]).0, 0);
    for (path, field) in
        [("/v1/chat/completions", "/error/code"), ("/v1/messages", "/error/type"), ("/api/chat", "/error")]
    {
        let answer = gateway.post(path, &json!({ "model": "m", "messages": [] })).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let body: Value = answer.json().await.unwrap();
        assert!(body.pointer(field).is_some() && body.to_string().contains("paused"), "{body}");
    }
    let list: Value =
        gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    let text = running.await.unwrap().unwrap().text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "what ran finished: {text}");
    let snapshot = gateway.snapshot().await;
    assert_eq!(snapshot.gateway.mode, Mode::Paused);
    assert!(snapshot.gateway.paused_until_ms.unwrap() > snapshot.at_ms + 3_500_000);
    assert_eq!(gateway.cli(&["route", "auto"]).0, 0);
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);
}

/// The choice that nothing leaves the house outlives a restart; a pause does not.
#[tokio::test(flavor = "multi_thread")]
async fn local_only_is_kept_and_a_pause_is_not() {
    let cloudy = Profile::ollama("nas")
        .model(SimModel::new("m").loaded(true))
        .model(SimModel::new("big:cloud").remote_host("https://example.com"));
    let nas = SimNode::start(cloudy).await.unwrap();
    let mut gateway = Gateway::over(&[&nas], "").await;
    assert_eq!(gateway.chat("big:cloud", false).send().await.unwrap().status(), StatusCode::OK);
    let lists = async |gateway: &Gateway| {
        let url = format!("{}/v1/models", gateway.url);
        gateway.http.get(url).send().await.unwrap().text().await.unwrap()
    };
    assert!(lists(&gateway).await.contains("big:cloud"));
    assert_eq!(gateway.cli(&["route", "local"]).0, 0);
    assert!(!lists(&gateway).await.contains("big:cloud"), "what nobody can get is in no list");
    // A pause ends as it says, in what was chosen before.
    let (code, out, _) = gateway.cli(&["pause", "1h"]);
    assert!(code == 0 && out.contains("`lamplighter resume`"), "{out}");
    let (code, out, _) = gateway.cli(&["resume"]);
    assert!(code == 0 && out.contains("answered again; local only"), "{out}");
    assert_eq!(gateway.snapshot().await.gateway.mode, Mode::Local);
    assert_eq!(gateway.cli(&["pause"]).0, 0);
    let home = gateway.take_home();
    gateway.stop(Duration::from_secs(10));
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    assert_eq!(gateway.snapshot().await.gateway.mode, Mode::Local);
    let refused = gateway.chat("big:cloud", false).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = refused.text().await.unwrap();
    assert!(
        text.contains("local only") && text.contains("is out of the house") && !text.contains("is is"),
        "{text}"
    );
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);

    // A choice that cannot be read is taken for the careful one.
    let mut gateway = gateway;
    assert_eq!(gateway.cli(&["route", "auto"]).0, 0);
    let home = gateway.take_home();
    gateway.stop(Duration::from_secs(10));
    let state = std::fs::read_dir(home.path().join("state/lamplighter")).unwrap().flatten();
    let kept = state.map(|file| file.path()).find(|file| file.to_string_lossy().contains("/mode-")).unwrap();
    std::fs::write(kept, b"\xff\xfeauto").unwrap();
    let gateway = Gateway::start_in(home).await;
    assert_eq!(gateway.snapshot().await.gateway.mode, Mode::Local);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_cancelled_from_the_outside() {
    let slow = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true)).tok_s(2.0))
        .await
        .unwrap();
    let gateway = Gateway::over(&[&slow], "").await;
    let asked = tokio::spawn(gateway.chat("m", true).header("x-request-id", "mine-1").send());
    gateway
        .until(|snapshot| {
            snapshot.requests.iter().any(|r| r.id == "mine-1" && r.stage == RequestStage::Streaming)
        })
        .await;
    let began = Instant::now();
    assert_eq!(order(&gateway, Method::DELETE, "requests/mine-1", json!({})).await.0, StatusCode::NO_CONTENT);
    let text = asked.await.unwrap().unwrap().text().await.unwrap();
    assert!(text.contains("\"error\"") && text.contains("cancelled") && !text.contains("[DONE]"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(2));
    gateway.until(|snapshot| snapshot.requests.is_empty() && snapshot.nodes[0].active == 0).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.cancelled, totals.failed), (1, 0), "a person's wish is no failure");
    assert_eq!(order(&gateway, Method::DELETE, "requests/mine-1", json!({})).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_token_once() {
    let gateway = Gateway::start("[server]\nlisten = [\"127.0.0.1:0\"]\n").await;
    let (_, said) = order(&gateway, Method::POST, "once", json!({})).await;
    let trade = async |code: &str| {
        let url = format!("{}/control/v1/session", gateway.url);
        let answer = gateway.http.post(url).json(&json!({ "once": code })).send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let code = said["once"].as_str().unwrap().to_owned();
    assert_eq!(trade(&code).await, (StatusCode::OK, json!({ "token": gateway.token })));
    assert_eq!(trade(&code).await.0, StatusCode::NOT_FOUND, "a code is good once");
    assert_eq!(trade("guessed").await.0, StatusCode::NOT_FOUND);
    // Without a display the address is printed.
    let (code, out, _) = gateway.cli(&["open"]);
    assert!(code == 0 && out.contains("/ui/#once="), "{out}");
}

/// Without a configuration what answers on this computer is taken, in memory; the first write keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn engines_on_this_computer_are_found_and_kept_by_the_first_write() {
    let (local, nas) = (ollama("local").await, ollama("nas").await);
    let home = tempfile::tempdir().unwrap();
    let nothing = "# my door\n[server]\nlisten = [\"127.0.0.1:0\"]\n";
    std::fs::write(home.path().join("config.toml"), nothing).unwrap();
    let gateway = Gateway::start_looking(home, &[local.addr().port(), 9]).await;
    let snapshot = gateway.until_up(1).await;
    assert_eq!((snapshot.nodes[0].name.as_str(), snapshot.gateway.found_only), ("ollama", true));
    assert_eq!(file(&gateway), nothing, "looking writes nothing");
    assert_eq!(gateway.chat("m", false).send().await.unwrap().headers()["x-lamplighter-node"], "ollama");
    let (status, said) =
        order(&gateway, Method::POST, "nodes", json!({ "name": "nas", "url": nas.url() })).await;
    assert_eq!(status, StatusCode::CREATED, "{said}");
    let snapshot = gateway.until_up(2).await;
    assert!(!snapshot.gateway.found_only);
    assert!(
        file(&gateway).contains("name = \"ollama\"") && file(&gateway).contains("name = \"nas\""),
        "{}",
        file(&gateway)
    );
}

/// An edit that configures no node takes nothing away, and when the last one is taken out, looking begins again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_stays_through_edits_and_is_found_again() {
    let (local, nas) = (ollama("local").await, ollama("nas").await);
    let home = tempfile::tempdir().unwrap();
    let nothing = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
    std::fs::write(home.path().join("config.toml"), nothing).unwrap();
    let gateway = Gateway::start_looking(home, &[local.addr().port(), 9]).await;
    gateway.until_up(1).await;
    let save = |text: &str| std::fs::write(gateway.home.path().join("config.toml"), text).unwrap();
    // It has settled, and the next look is far away.
    save(&format!("{nothing}[[alias]]\nname = \"a\"\nmodels = [\"m\"]\n"));
    let began = Instant::now();
    while gateway.chat("a", false).send().await.unwrap().status() != StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(gateway.snapshot().await.nodes.len(), 1, "it never goes away");
        assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);
    }
    let node = format!("{nothing}[[node]]\nname = \"nas\"\nurl = \"{}\"\n", nas.url());
    save(&node);
    gateway.until(|snapshot| snapshot.nodes.iter().any(|node| node.name == "nas")).await;
    let asked = local.stats().requests_total;
    save(nothing);
    let found = gateway.until(|snapshot| snapshot.nodes.iter().any(|node| node.name == "ollama")).await;
    assert!(found.gateway.found_only && local.stats().requests_total > asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_machines_at_all() {
    let gateway = Gateway::start("# nothing yet\n[server]\nlisten = [\"127.0.0.1:0\"]\n").await;
    let list: Value =
        gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"], json!([]));
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = answer.text().await.unwrap();
    assert!(body.contains("no nodes configured") && body.contains("config.toml"), "{body}");
    assert!(gateway.cli(&["status"]).1.contains("No machines yet"));
}
