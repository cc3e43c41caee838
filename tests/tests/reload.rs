//! A person edits the configuration file while the gateway runs.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::free_port,
    house::{Gateway, PATIENCE, command, config},
};
use reqwest::StatusCode;
use std::{
    collections::HashSet,
    fs,
    io::BufRead,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

fn file(gateway: &Gateway) -> PathBuf {
    gateway.home.path().join("config.toml")
}

/// As editors do it: a new file, moved into place.
fn save(gateway: &Gateway, text: &str) {
    let new = gateway.home.path().join(".config.toml.swp");
    fs::write(&new, text).unwrap();
    fs::rename(new, file(gateway)).unwrap();
}

async fn node(name: &str, tok_s: f64) -> SimNode {
    let short = SimModel::new("short").loaded(true).text("ok");
    let profile = Profile::ollama(name).model(SimModel::new("m").loaded(true)).model(short);
    // At 10 a second an answer takes as long as a hundred edits.
    SimNode::start(profile.tok_s(tok_s).tokens(100).parallel(128)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_counts_and_what_is_broken_does_not() {
    let (nas, gpu) = (node("nas", 500.0).await, node("gpu", 500.0).await);
    let gateway = Gateway::over(&[&nas], "").await;
    let both =
        config(&[(&nas, ""), (&gpu, "priority = 5")], "[[alias]]\nname = \"coder\"\nmodels = [\"m\"]\n");
    save(&gateway, &both);
    gateway.until_up(2).await;
    let answer = gateway.chat("coder", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "gpu");

    // In place, and broken: what was in force stays so, and everybody is told where the mistake is.
    let broken = both.replace("priority = 5", "priorty = 5");
    fs::write(file(&gateway), &broken).unwrap();
    let told =
        gateway.until(|snapshot| snapshot.problems.iter().any(|p| p.message.contains("priorty"))).await;
    assert!(told.problems.iter().any(|p| p.message.contains("stays so")), "{:#?}", told.problems);
    assert_eq!(told.nodes.len(), 2);
    let line = broken.lines().position(|line| line.starts_with("priorty")).unwrap() + 1;
    let said = format!("config.toml:{line}:1: error: unknown field \"priorty\"");
    assert!(gateway.log().contains(&said), "the log says where, too: {}", gateway.log());
    assert_eq!(gateway.chat("coder", false).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(fs::read_to_string(file(&gateway)).unwrap(), broken, "the file is its owner's");

    save(&gateway, &config(&[(&gpu, "")], ""));
    let left = gateway.until(|snapshot| snapshot.nodes.len() == 1 && snapshot.problems.is_empty()).await;
    assert_eq!(left.nodes[0].name, "gpu");
}

/// What was told of the file is told as long as it is so: a file that comes back is not broken any more, and a change by the control
/// API takes no warning away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_the_file_is_so_as_long_as_it_is_told() {
    let nas = node("nas", 500.0).await;
    let text = config(&[(&nas, "")], "[[alias]]\nname = \"a\"\nmodels = [\"m@nowhere\"]\n");
    let gateway = Gateway::start(&text).await;
    let warned = |it: &Snapshot| it.problems.iter().any(|p| p.message.contains("nowhere"));
    let broken = |it: &Snapshot| it.problems.iter().any(|p| p.message.contains("stays so"));
    gateway.until(|it| warned(it) && !broken(it)).await;

    // A folder in its place cannot be read, whoever asks.
    let (place, aside) = (file(&gateway), gateway.home.path().join("aside"));
    fs::rename(&place, &aside).unwrap();
    fs::create_dir(&place).unwrap();
    gateway.until(broken).await;
    fs::remove_dir(&place).unwrap();
    fs::rename(&aside, &place).unwrap();
    gateway.until(|it| warned(it) && !broken(it)).await;

    let url = format!("{}/control/v1/nodes/nas", gateway.url);
    let change =
        gateway.http.patch(url).bearer_auth(&gateway.token).json(&serde_json::json!({ "priority": 3 }));
    assert_eq!(change.send().await.unwrap().status(), StatusCode::OK);
    let changed = gateway.until(|it| it.nodes[0].priority == 3).await;
    assert!(warned(&changed), "{:?}", changed.problems);
}

/// 200 streams and 100 edits: nodes come, go and get other names and settings, and the port changes. A removed node takes
/// nothing new and what runs there may finish; a closed port takes nothing new and what came in by it may finish.
#[tokio::test(flavor = "multi_thread")]
async fn r88_a_hundred_edits_under_two_hundred_streams_drop_none() {
    let (nas, gpu) = (node("nas", 10.0).await, node("gpu", 10.0).await);
    let fast = "max_concurrent = 128";
    let gateway = Gateway::start(&config(&[(&nas, fast), (&gpu, fast)], "")).await;
    gateway.until_up(2).await;
    let mut gateway = gateway;
    let streams: Vec<_> = (0..200)
        .map(|i| tokio::spawn(gateway.chat(if i % 2 == 0 { "m@nas" } else { "m@gpu" }, true).send()))
        .collect();
    gateway.until(|snapshot| snapshot.nodes.iter().map(|node| node.active).sum::<u32>() == 200).await;
    let mut places = HashSet::from([gateway.url.clone()]);
    for edit in 0..100u32 {
        let port = (edit / 20 % 2 == 1).then(free_port).unwrap_or_default();
        let text = match edit % 4 {
            0 => config(&[(&gpu, fast)], ""),
            1 => config(&[(&gpu, fast), (&nas, "priority = 1")], ""),
            2 => config(&[(&nas, fast)], "").replace("\"nas\"", "\"attic\""),
            _ => config(&[(&nas, fast), (&gpu, fast)], "[[alias]]\nname = \"a\"\nmodels = [\"m\"]\n"),
        };
        save(&gateway, &text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
        // Most come quicker than one can be read; every fifth is given the time to count.
        let pause = if edit % 5 == 4 { 300 } else { 10 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if edit % 5 == 4 {
            places.insert(gateway.look_for_it().to_owned());
            gateway.until(|snapshot| !snapshot.nodes.is_empty()).await;
            let answer = gateway.chat("short", false).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "edit {edit}: {}", answer.text().await.unwrap());
        }
    }
    assert!(places.len() > 2, "the port has changed: {places:?}");
    save(&gateway, &config(&[(&gpu, fast)], ""));
    gateway.until(|snapshot| snapshot.nodes.len() == 1 && snapshot.nodes[0].name == "gpu").await;
    for stream in streams {
        let answer = stream.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let text = answer.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("error"), "{text}");
    }
    let counts = [&nas, &gpu].map(SimNode::stats);
    assert_eq!(counts.iter().map(|stats| stats.generations_cancelled).sum::<u64>(), 0);
    gateway.until(|snapshot| snapshot.nodes[0].active == 0 && snapshot.requests.is_empty()).await;
}

/// The new port is open before the old one closes; streams on the old one live on; the command line, the snapshot and whoever
/// follows the events go along.
#[tokio::test(flavor = "multi_thread")]
async fn r88_a_changed_port_is_followed_by_everybody() {
    let nas = node("nas", 20.0).await;
    let mut gateway = Gateway::over(&[&nas], "").await;
    let old = gateway.url.clone();
    let stream = gateway.chat("m", true).send().await.unwrap();
    let mut events = gateway.control("events").await;
    let mut watch = command(gateway.home.path(), &["status", "--watch", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = std::io::BufReader::new(watch.stdout.take().unwrap());
    assert!(shown.read_line(&mut String::new()).unwrap() > 0, "it looks before the move");
    let port = free_port();
    let text = config(&[(&nas, "")], "");
    save(&gateway, &text.replace("127.0.0.1:0", &format!("localhost:{port}")));
    // The stream of events says where it goes, and ends.
    let mut told = String::new();
    while let Some(chunk) = events.chunk().await.unwrap() {
        told.push_str(&String::from_utf8_lossy(&chunk));
    }
    let new = format!("http://127.0.0.1:{port}");
    assert!(told.contains(&format!("\"base_url\":\"{new}\"")), "{told}");
    assert_eq!(gateway.look_for_it(), new);
    assert_eq!(gateway.chat("short", false).send().await.unwrap().status(), StatusCode::OK);
    assert!(gateway.cli(&["status"]).1.starts_with(&new));
    // Whoever watches goes along: the first line from the new place names an edit that came after the move.
    save(
        &gateway,
        &text.replace("127.0.0.1:0", &format!("localhost:{port}")).replace("\"nas\"", "\"attic\""),
    );
    let seen = tokio::task::spawn_blocking(move || {
        shown.lines().map_while(Result::ok).any(|line| line.contains("\"attic\""))
    });
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(seen.unwrap().unwrap());
    let shown = gateway.snapshot().await.gateway;
    assert_eq!((shown.base_url, &shown.listening[0]), (new.clone(), &new));
    let place = old.trim_start_matches("http://").to_owned();
    wait_until(async || tokio::net::TcpStream::connect(&place).await.is_err()).await;
    assert!(stream.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert!(gateway.snapshot().await.problems.is_empty());
}

/// Who may come in is decided anew for the next request, also on connections that are open already; a key that cannot be read
/// opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn r88_keys_names_and_pages_count_from_the_next_request_on() {
    let nas = node("nas", 500.0).await;
    let gateway = Gateway::over(&[&nas], "").await;
    let ask = async |host: &str, origin: &str, key: &str| {
        let mut request = gateway.http.get(format!("{}/v1/models", gateway.url)).header("host", host);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        request.bearer_auth(key).send().await.unwrap().status().as_u16()
    };
    let page = "https://chat.example";
    assert_eq!([ask("models.example", "", "k1").await, ask("localhost:1", page, "").await], [403, 403]);
    fs::write(gateway.home.path().join("key"), "k1\n").unwrap();
    fs::set_permissions(gateway.home.path().join("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let text = config(&[(&nas, "")], "");
    let server = "allowed_hosts = [\"models.example\"]\nallowed_origins = [\"https://chat.example\"]\nkey = \"file:key\"\n";
    let with = text.replacen("[[node]]", &format!("{server}[[node]]"), 1);
    save(&gateway, &with);
    wait_until(async || ask("models.example", "", "k1").await == 200).await;
    assert_eq!(ask("models.example", "", "wrong").await, 401);
    assert_eq!(ask(gateway.authority(), page, "").await, 200);

    save(&gateway, &with.replace("file:key", "file:nothing"));
    let told = gateway.until(|snapshot| snapshot.problems.iter().any(|p| p.code == "listen")).await;
    let hint = told.problems.iter().find_map(|problem| problem.hint.clone()).unwrap();
    assert!(hint.contains("`key` of [server] cannot be read"), "{hint}");
    assert_eq!(ask("models.example", "", "k1").await, 200, "what was in force stays");
    save(&gateway, &text);
    wait_until(async || ask("models.example", "", "k1").await == 403).await;
    assert!(gateway.snapshot().await.problems.is_empty());
}

/// A key that its file changes counts as one that the configuration changes: the door's at once, a node's for the next request.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_in_its_file_counts_though_the_configuration_is_as_it_was() {
    let profile = Profile::llamacpp("cloud").model(SimModel::new("m").loaded(true).text("ok")).api_key("n1");
    let cloud = SimNode::start(profile).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let write = |name: &str, key: &str| {
        let new = keys.join(format!(".{name}.new"));
        fs::write(&new, key).unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
        fs::rename(new, keys.join(name)).unwrap();
    };
    write("door", "k1\n");
    write("node", "wrong\n");
    let text = config(&[(&cloud, "api_key = \"file:keys/node\"")], "");
    let server = "allowed_hosts = [\"models.example\"]\nkey = \"file:keys/door\"\n[[node]]";
    fs::write(home.path().join("config.toml"), text.replacen("[[node]]", server, 1)).unwrap();
    let gateway = Gateway::start_in(home).await;
    let ask = async |key: &str| {
        let request = gateway.http.get(format!("{}/v1/models", gateway.url)).header("host", "models.example");
        request.bearer_auth(key).send().await.unwrap().status().as_u16()
    };
    let refusing = |snapshot: &Snapshot| snapshot.nodes.iter().any(|node| node.state == State::Refusing);
    gateway.until(refusing).await;
    assert_eq!([ask("k1").await, ask("k2").await], [200, 401]);

    write("door", "k2\n");
    wait_until(async || ask("k2").await == 200).await;
    assert_eq!(ask("k1").await, 401, "the old key opens nothing any more");
    write("node", "n1\n");
    gateway.until_up(1).await;
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);

    // One that cannot be read opens nothing, and is told until it can be.
    let door = keys.join("door");
    fs::set_permissions(&door, PermissionsExt::from_mode(0o644)).unwrap();
    let told = gateway.until(|snapshot| snapshot.problems.iter().any(|p| p.code == "listen")).await;
    assert!(told.problems.iter().any(|p| p.hint.as_ref().is_some_and(|hint| hint.contains("chmod 600"))));
    assert_eq!([ask("k1").await, ask("k2").await], [401, 200]);
    fs::set_permissions(&door, PermissionsExt::from_mode(0o600)).unwrap();
    gateway.until(|snapshot| snapshot.problems.is_empty()).await;
}

/// A port that cannot be had leaves the old one as it was, and everybody is told; the rest of the file counts.
#[tokio::test(flavor = "multi_thread")]
async fn r88_a_port_that_cannot_be_had_leaves_the_old_one() {
    let (nas, gpu) = (node("nas", 500.0).await, node("gpu", 500.0).await);
    let mut gateway = Gateway::over(&[&nas], "").await;
    let old = gateway.url.clone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let text = config(&[(&nas, ""), (&gpu, "")], "").replace("127.0.0.1:0", &place);
    save(&gateway, &text);
    let told = gateway.until(|snapshot| snapshot.problems.iter().any(|p| p.code == "listen")).await;
    let problem = told.problems.iter().find(|problem| problem.code == "listen").unwrap();
    assert!(problem.message.contains(&format!("stays at {old}")), "{problem:?}");
    assert!(problem.hint.as_ref().unwrap().contains(&format!("{place} is taken by")), "{problem:?}");
    assert!(gateway.log().contains(&format!("{place} is taken by")));
    assert!(gateway.cli(&["status"]).1.contains(&format!("stays at {old}")));
    gateway.until_up(2).await;

    // An Ollama in the way is offered as a node, and the way in stays open.
    let ollama = SimNode::start(Profile::ollama("local").model(SimModel::new("other"))).await.unwrap();
    let held = ollama.addr().to_string();
    save(&gateway, &text.replace(&place, &held));
    let told = gateway.until(|snapshot| !snapshot.offers.is_empty()).await;
    assert_eq!(told.offers[0].url, held);

    drop(taken);
    save(&gateway, &text);
    wait_until(async || tokio::net::TcpStream::connect(&place).await.is_ok()).await;
    wait_until(async || gateway.http.get(&old).send().await.is_err()).await;
    assert_eq!(gateway.look_for_it(), format!("http://{place}"));
    let told = gateway.snapshot().await;
    assert!(told.problems.is_empty() && told.offers.is_empty(), "{:?}", told.problems);
}

/// An address that another one covers is no second listener: neither at the start, in whatever order, nor in an edit.
#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_port_covers_the_single_ones() {
    let nas = node("nas", 500.0).await;
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("key"), "k1\n").unwrap();
    fs::set_permissions(home.path().join("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let port = free_port();
    let text = |listen: &[&str]| {
        let listen: Vec<String> = listen.iter().map(|ip| format!("{ip}:{port}")).collect();
        let written = format!("listen = {listen:?}\nkey = \"file:key\"");
        config(&[(&nas, "")], "").replacen("listen = [\"127.0.0.1:0\"]", &written, 1)
    };
    fs::write(home.path().join("config.toml"), text(&["127.0.0.1", "0.0.0.0"])).unwrap();
    let gateway = Gateway::start_in(home).await;
    let all = format!("http://0.0.0.0:{port}");
    assert_eq!(gateway.snapshot().await.gateway.listening, std::slice::from_ref(&all));
    let listening = async |wanted: &str| {
        wait_until(async || {
            let url = format!("{}/control/v1/snapshot", gateway.url);
            let Ok(answer) = gateway.http.get(url).bearer_auth(&gateway.token).send().await else {
                return false;
            };
            let told = answer.json::<Snapshot>().await;
            told.is_ok_and(|it| it.gateway.listening == [wanted.to_owned()] && it.problems.is_empty())
        })
        .await;
    };
    save(&gateway, &text(&["127.0.0.1"]));
    listening(&format!("http://127.0.0.1:{port}")).await;
    save(&gateway, &text(&["0.0.0.0", "127.0.0.1"]));
    listening(&all).await;
    gateway.until_up(1).await;
    assert_eq!(gateway.chat("short", false).send().await.unwrap().status(), StatusCode::OK);
}

/// One address of a port, then all of them: the two cannot be open together. What runs lives on.
#[tokio::test(flavor = "multi_thread")]
async fn r88_from_loopback_to_every_address_of_the_same_port() {
    let nas = node("nas", 20.0).await;
    let port = free_port();
    let narrow = config(&[(&nas, "")], "").replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let gateway = Gateway::start(&narrow).await;
    gateway.until_up(1).await;
    let stream = gateway.chat("m", true).send().await.unwrap();
    fs::write(gateway.home.path().join("key"), "k1\n").unwrap();
    fs::set_permissions(gateway.home.path().join("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let wide =
        narrow.replace("127.0.0.1:", "0.0.0.0:").replacen("[[node]]", "key = \"file:key\"\n[[node]]", 1);
    let wide = wide.replace("url = \"http://0.0.0.0:", "url = \"http://127.0.0.1:");
    save(&gateway, &wide);
    let is_wide = |snapshot: &Snapshot| snapshot.gateway.listening == [format!("http://0.0.0.0:{port}")];
    wait_until(async || {
        let url = format!("{}/control/v1/snapshot", gateway.url);
        let Ok(answer) = gateway.http.get(url).bearer_auth(&gateway.token).send().await else { return false };
        answer.json::<Snapshot>().await.is_ok_and(|snapshot| is_wide(&snapshot))
    })
    .await;
    assert_eq!(gateway.snapshot().await.gateway.base_url, gateway.url);
    save(&gateway, &narrow);
    wait_until(async || {
        let url = format!("{}/control/v1/snapshot", gateway.url);
        let Ok(answer) = gateway.http.get(url).bearer_auth(&gateway.token).send().await else { return false };
        answer.json::<Snapshot>().await.is_ok_and(|snapshot| !is_wide(&snapshot))
    })
    .await;
    assert!(stream.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "it did not come to be");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// While a request waits for its place, a node that was in its plan leaves the file.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_does_not_miss_a_node_that_is_gone() {
    let (nas, gpu) = (node("nas", 20.0).await, node("gpu", 20.0).await);
    let gateway = Gateway::over(&[&gpu, &nas], "max_concurrent = 1").await;
    let ask = |key: &'static str| {
        let body = serde_json::json!({ "model": "m", "stream": true, "max_tokens": 60,
            "messages": [{ "role": "user", "content": key }] });
        let request = gateway.post("/v1/chat/completions", &body).bearer_auth(key);
        tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
    };
    let holders = [ask("ann"), ask("bob")];
    gateway.until(|snapshot| snapshot.nodes.iter().all(|node| node.active == 1)).await;
    let waits = ask("cat");
    gateway.until(|snapshot| snapshot.requests.iter().any(|request| request.ahead.is_some())).await;
    save(&gateway, &config(&[(&nas, "max_concurrent = 1")], ""));
    gateway.until(|snapshot| snapshot.nodes.len() == 1).await;
    for answer in holders.into_iter().chain([waits]) {
        let text = answer.await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}
