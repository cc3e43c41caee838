//! A machine that sleeps stays known: over a restart, under another name or key, and whatever was written about how it comes and
//! goes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, Silence, asleep, config, falls_asleep, free_port, house, machine, nas, order},
    house::{Gateway, PATIENCE},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(gateway: &Gateway, path: &str) -> String {
    let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

async fn wakes(gateway: &Gateway, node: &str) -> Vec<Value> {
    let (_, past) = order(gateway, Method::GET, &format!("nodes/{node}/wakes")).await;
    past["wakes"].as_array().unwrap().clone()
}

async fn restart(mut gateway: Gateway) -> Gateway {
    let home = gateway.take_home();
    assert_eq!(gateway.stop(PATIENCE).0, Some(0));
    Gateway::start_in(home).await
}

/// A machine that is off does not even refuse: it takes two probes of two seconds until that is known.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn must4_the_first_request_after_a_restart_wakes_a_silent_machine() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let off = Silence::at(port);
    let gateway = restart(gateway).await;
    for path in ["/v1/models", "/api/tags"] {
        let text = get(&gateway, path).await;
        assert!(text.contains("qwen3:8b"), "{path} right after a restart: {text}");
    }
    assert_eq!(card.more(), 0, "nobody has asked for it yet");
    let asked = tokio::spawn(gateway.chat("qwen3:8b", false).send());
    card.hears().await;
    drop(off);
    let _machine = machine(port).await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(answer.headers()["x-lamplighter-node"], "workstation");
    let past = wakes(&gateway, "workstation").await;
    assert_eq!(past.len(), 1, "{past:?}");
}

/// What is known of it says that it sleeps by plan; whether it does is not known before it has been looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_up_after_a_restart_answers_and_is_not_woken() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let coder = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\n";
    for policy in ["wait", "fallback"] {
        let gateway = house(&card, port, &nas, &format!("{coder}wake = \"{policy}\"\n")).await;
        let up = machine(port).await;
        up.set_fault(FaultRule::from(Fault::Silent { ms: Some(700) }).on(On::Probes).times(1));
        let gateway = restart(gateway).await;
        let (bare, alias) =
            tokio::join!(gateway.chat("qwen3:8b", false).send(), gateway.chat("coder", false).send());
        for (asked, answer) in [("the model", bare.unwrap()), ("the alias", alias.unwrap())] {
            assert_eq!(answer.status(), 200, "{asked} under {policy}");
            assert_eq!(answer.headers()["x-lamplighter-node"], "workstation", "{asked} under {policy}");
        }
        gateway.until_up(2).await;
        assert_eq!((card.more(), wakes(&gateway, "workstation").await), (0, vec![]), "under {policy}");
        up.kill().await;
    }
}

/// The table makes a machine wakeable, whatever else is written; one that should always be there is missed instead, and the file's
/// check says so.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_and_goes_is_woken_and_who_is_always_on_is_missed() {
    let (card, port) = (Card::new().await, free_port());
    let written = |presence: &str| {
        config(port, &card).replace("[node.wake]", &format!("presence = \"{presence}\"\n[node.wake]"))
    };
    let up = machine(port).await;
    let gateway = Gateway::start(&written("comes-and-goes")).await;
    gateway.until_up(1).await;
    falls_asleep(up, &gateway).await;
    for path in ["/v1/models", "/api/tags"] {
        assert!(get(&gateway, path).await.contains("qwen3:8b"), "it stays listed in {path}");
    }
    assert!(gateway.snapshot().await.problems.is_empty(), "nothing is wrong with that");
    let asked = tokio::spawn(gateway.chat("qwen3:8b", false).send());
    card.hears().await;
    let up = machine(port).await;
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    drop(gateway);

    let gateway = Gateway::start(&written("always-on")).await;
    let told = gateway.until_up(1).await;
    let said = told.problems.iter().find(|problem| problem.message.contains("not woken by requests"));
    assert!(said.is_some_and(|it| it.message.contains("config.toml:6:12")), "{:#?}", told.problems);
    up.kill().await;
    drop(up);
    gateway.until(|it| it.nodes[0].state == State::Down).await;
    assert_eq!(gateway.chat("qwen3:8b", false).send().await.unwrap().status(), 503);
    assert_eq!(card.more(), 0);
}

fn file(gateway: &Gateway) -> std::path::PathBuf {
    gateway.home.path().join("config.toml")
}

/// A request wakes it and is answered; then it sleeps again.
async fn is_woken(gateway: &Gateway, card: &Card, port: u16) {
    card.more();
    let asked = tokio::spawn(gateway.chat("qwen3:8b", false).send());
    card.hears().await;
    // Sooner it would seem to have been awake already.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let up = machine(port).await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    falls_asleep(up, gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_machine_that_is_renamed_stays_what_it_was() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    is_woken(&gateway, &card, port).await;
    let before = gateway.node("workstation").await;
    assert!(before.sleep.usual_ms.is_some() && before.models.len() == 1, "{before:#?}");
    let path = format!("{}/control/v1/nodes/workstation", gateway.url);
    let renamed = gateway.http.patch(path).bearer_auth(&gateway.token).json(&json!({ "name": "tower" }));
    assert_eq!(renamed.send().await.unwrap().status(), 200);
    let kept = async |gateway: &Gateway, wakes: usize| {
        // What is kept is written behind.
        let began = std::time::Instant::now();
        while self::wakes(gateway, "tower").await.len() < wakes {
            assert!(began.elapsed() < PATIENCE, "its wakes go along");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self::wakes(gateway, "workstation").await, Vec::<Value>::new());
        let tower = gateway.node("tower").await;
        assert_eq!((tower.models.len(), tower.sleep.usual_ms), (1, before.sleep.usual_ms), "{tower:#?}");
        assert!(get(gateway, "/v1/models").await.contains("qwen3:8b"));
    };
    assert_eq!(gateway.node("tower").await.state, State::Asleep, "a name says nothing of a machine");
    kept(&gateway, 1).await;
    let bars: Value = gateway.control("availability").await.json().await.unwrap();
    assert_eq!(
        (&bars["nodes"]["tower"].is_array(), &bars["nodes"]["workstation"]),
        (&true, &Value::Null),
        "{bars}"
    );
    let gateway = restart(gateway).await;
    kept(&gateway, 1).await;
    is_woken(&gateway, &card, port).await;
}

/// Two machines exchange their names: what is kept of each goes with it, also when its engine is written in the same edit.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_exchanged_take_their_history_along() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    is_woken(&gateway, &card, port).await;
    let text = fs::read_to_string(file(&gateway)).unwrap();
    let exchanged = text
        .replace("\"workstation\"", "\"other\"")
        .replace("\"nas\"", "\"workstation\"")
        .replace("\"other\"", "\"nas\"\nengine = \"ollama\"");
    fs::write(file(&gateway), exchanged).unwrap();
    gateway.until(|it| it.nodes[0].name == "nas" && it.nodes[0].state == State::Asleep).await;
    let began = std::time::Instant::now();
    while wakes(&gateway, "nas").await.len() != 1 || !wakes(&gateway, "workstation").await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", wakes(&gateway, "workstation").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gateway = restart(gateway).await;
    gateway.until(asleep).await;
    assert_eq!(gateway.node("nas").await.models.len(), 1);
    is_woken(&gateway, &card, port).await;
}

/// Another key or the engine by its name: it is watched anew, and it is the same machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_machine_whose_key_or_engine_is_written_stays_known() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    is_woken(&gateway, &card, port).await;
    let usual_ms = gateway.node("workstation").await.sleep.usual_ms;
    fs::write(gateway.home.path().join("key"), "a-key\n").unwrap();
    fs::set_permissions(gateway.home.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(file(&gateway)).unwrap();
    for (priority, line) in (1..).zip(["engine = \"ollama\"", "api_key = \"file:key\""]) {
        let written = format!("{line}\npriority = {priority}\n[node.wake]");
        fs::write(file(&gateway), text.replacen("[node.wake]", &written, 1)).unwrap();
        let written = gateway.until(|it| it.nodes[0].priority == priority && asleep(it)).await;
        assert_eq!(written.nodes[0].models.len(), 1, "{line}");
        gateway.until(|it| it.nodes[0].sleep.usual_ms == usual_ms).await;
    }
    is_woken(&gateway, &card, port).await;

    // It is taken out, and the edit is taken back.
    let (head, rest) = text.split_once("[[node]]").unwrap();
    let (_, others) = rest.split_once("[[node]]").unwrap();
    fs::write(file(&gateway), format!("{head}[[node]]{others}")).unwrap();
    gateway.until(|it| it.nodes.len() == 1).await;
    fs::write(file(&gateway), &text).unwrap();
    let back = gateway.until(|it| it.nodes.len() == 2 && asleep(it)).await;
    assert_eq!(back.nodes[0].models.len(), 1);
}

/// What is written about waking counts for a machine that is off already, with the rest of the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_off_sleeps_as_soon_as_it_may_be_woken() {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"127.0.0.1:{}\"\n",
        free_port()
    );
    let gateway = Gateway::start(&text).await;
    gateway.until(|it| it.nodes[0].state == State::Away).await;
    fs::write(file(&gateway), format!("{text}priority = 1\n[node.wake]\n")).unwrap();
    let written = gateway.until(|it| it.nodes[0].priority == 1).await;
    assert_eq!(written.nodes[0].state, State::Asleep);
    fs::write(file(&gateway), format!("{text}priority = 2\npresence = \"always-on\"\n")).unwrap();
    let written = gateway.until(|it| it.nodes[0].priority == 2).await;
    assert_eq!(written.nodes[0].state, State::Down);
}

/// The history of a machine is worth more than a run without it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_history() {
    use lamplighter_tests::{apart, house::skip};
    if let Some(why) = apart::impossible() {
        return skip("a_full_disk_costs_no_history", &why);
    }
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let mut gateway = house(&card, port, &nas, "").await;
    let home = gateway.take_home();
    assert_eq!(gateway.stop(PATIENCE).0, Some(0));
    let state = home.path().join("state");
    let setup = format!(
        "cd {0}; cp -r state sound; mount -t tmpfs -o size=700k tmpfs state; cp -r sound/. state\n\
         cat /dev/zero > state/fill 2> /dev/null || true; cd /",
        home.path().display()
    );
    let full = apart::Apart::start(home, &setup);
    let (_, said, _) = full.cli(&["status", "--json"]);
    assert!(said.contains("History is not kept") && said.contains("full"), "{said}");
    let inside = format!("/proc/{}/root{}/lamplighter", full.pid(), state.display());
    let files: Vec<_> = fs::read_dir(inside).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(
        files.iter().any(|name| name.to_string_lossy().ends_with(".db")),
        "it is where it was: {files:?}"
    );
    assert!(!files.iter().any(|name| name.to_string_lossy().contains(".broken")), "{files:?}");
}

/// What did not work once is over when the machine has been up since, whoever woke it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_failed_is_forgotten_once_somebody_has_pressed_the_button() {
    let (card, port) = (Card::new().await, free_port());
    let text = config(port, &card).replace("timeout = \"20s\"", "timeout = \"5s\"");
    let up = machine(port).await;
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    falls_asleep(up, &gateway).await;
    let failed = async || {
        let answer = gateway.chat("qwen3:8b", false).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        answer.text().await.unwrap().contains("did not wake")
    };
    assert!(failed().await);
    assert!(gateway.node("workstation").await.sleep.failure.is_some());
    assert!(failed().await, "it is too soon for another try, and this is why");

    let up = machine(port).await;
    order(&gateway, Method::POST, "look").await;
    gateway.until_up(1).await;
    falls_asleep(up, &gateway).await;
    let asleep = gateway.node("workstation").await;
    assert!(asleep.sleep.failure.is_none(), "it sleeps as planned: {:#?}", asleep.sleep);
    assert!(!failed().await, "it is still too soon, and it has not failed since");
}

/// Two engines on one machine sleep together: neither is put to sleep while the other answers.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_put_to_sleep_while_another_engine_of_the_machine_works() {
    let card = Card::new().await;
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = Profile::ollama("ollama").model(SimModel::new("a:1b").loaded(true)).ttft_ms(60_000);
    let (slow, idle) = (SimNode::start(slow).await.unwrap(), nas().await);
    let sleep = format!("[node.sleep]\nurl = \"http://{}/sleep\"\n", hook.local_addr().unwrap());
    let port = |node: &SimNode| node.addr().port();
    let first = config(port(&slow), &card);
    let second = config(port(&idle), &card).replace("\"workstation\"", "\"second\"");
    let (_, second) = second.split_once("[[node]]").unwrap();
    let gateway = Gateway::start(&format!("{first}{sleep}[[node]]{second}{sleep}")).await;
    gateway.until_up(2).await;
    let asked = tokio::spawn(gateway.chat("a:1b", true).send());
    gateway.until(|it| it.nodes[0].active == 1).await;
    for name in ["workstation", "second"] {
        let (status, said) = order(&gateway, Method::POST, &format!("nodes/{name}/sleep")).await;
        assert_eq!((status, &said["code"]), (409, &json!("node_busy")), "{name}: {said}");
        let message = said["message"].as_str().unwrap();
        assert!(message.starts_with("workstation is at work"), "{message}");
    }
    asked.abort();
    gateway.until(|it| it.nodes[0].active == 0).await;
    let ordered = order(&gateway, Method::POST, "nodes/second/sleep");
    let called = async {
        let (mut called, _) = hook.accept().await.unwrap();
        // An answer before the question is none.
        let (mut asked, mut buffer) = (Vec::new(), [0; 1024]);
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            let length = called.read(&mut buffer).await.unwrap();
            assert!(length > 0, "it hung up: {asked:?}");
            asked.extend_from_slice(&buffer[..length]);
        }
        called.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        called
    };
    let ((status, said), _called) = tokio::join!(ordered, called);
    assert!((200..300).contains(&status), "{status} {said}");
}
