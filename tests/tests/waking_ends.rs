//! How a wake ends for whoever waits: with another model than one's own, by a person's word, with an engine that refuses, after
//! everybody had left. And what is no wake at all: an engine that loads.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::{Stage, State};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, asleep, config, falls_asleep, free_port, house, machine, nas, order},
    desktop::wait_for,
    house::Gateway,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const BOTH: &str = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\n";

fn node_of(answer: &reqwest::Response) -> &str {
    answer.headers().get("x-lamplighter-node").map_or("nobody", |node| node.to_str().unwrap())
}

async fn wakes(gateway: &Gateway) -> Vec<Value> {
    let (_, past) = order(gateway, Method::GET, "nodes/workstation/wakes").await;
    past["wakes"].as_array().cloned().unwrap_or_default()
}

/// One comes back without a disk: who wants what is on the other one is not kept waiting for it, nor told of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_the_affair_of_those_who_ask_for_it() {
    let (card, port) = (Card::new().await, free_port());
    let with = |models: &[&str]| {
        let profile = Profile::ollama("workstation").port(port);
        SimNode::start(models.iter().fold(profile, |profile, name| profile.model(SimModel::new(*name))))
    };
    let up = with(&["a:1b", "b:1b"]).await.unwrap();
    let gateway = Gateway::start(&config(port, &card)).await;
    gateway.until_up(1).await;
    falls_asleep(up, &gateway).await;
    let ask = |model| gateway.chat(model, false).send();
    let woken = async {
        card.hears().await;
        gateway.until(|it| it.nodes[0].sleep.waking.as_ref().is_some_and(|waking| waking.waiters == 2)).await;
        with(&["b:1b"]).await.unwrap()
    };
    let began = Instant::now();
    let (a, b, _up) = tokio::join!(ask("a:1b"), ask("b:1b"), woken);
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((b.status().as_u16(), node_of(&b)), (200, "workstation"));
    assert!(began.elapsed() < Duration::from_secs(8), "nobody waits for another one's disk");
    let text = a.text().await.unwrap();
    assert!(text.contains("a:1b"), "{text}");
}

/// The wait is over, and the alias has another model on a machine that is up.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_in_vain_is_answered_elsewhere() {
    // A person ends the wake.
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, BOTH).await;
    let cancelled = async {
        card.hears().await;
        let (status, _) = order(&gateway, Method::DELETE, "nodes/workstation/wake").await;
        assert_eq!(status, 204);
    };
    let (answer, ()) = tokio::join!(gateway.chat("coder", false).send(), cancelled);
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), node_of(&answer)), (200, "nas"));

    // It wakes without the model.
    let (card, port) = (Card::new().await, free_port());
    let gateway = house(&card, port, &nas, BOTH).await;
    let bare = async {
        card.hears().await;
        SimNode::start(Profile::ollama("workstation").port(port)).await.unwrap()
    };
    let (answer, _bare) = tokio::join!(gateway.chat("coder", false).send(), bare);
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), node_of(&answer)), (200, "nas"));
}

/// It is awake, and its engine wants a key: that is what they hear, not that it did not wake.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_refuses_is_awake() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let locked = async {
        card.hears().await;
        let profile = Profile::openai("workstation").model(SimModel::new("qwen3:8b")).port(port);
        SimNode::start(profile.api_key("sk-secret")).await.unwrap()
    };
    let began = Instant::now();
    let (answer, _locked) = tokio::join!(gateway.chat("qwen3:8b", false).send(), locked);
    let answer = answer.unwrap();
    assert!(began.elapsed() < Duration::from_secs(12), "the wake's 20 s are not waited out");
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert!(status >= 400 && !text.contains("did not wake") && !text.contains("asleep"), "{status} {text}");
    let seen = gateway.node("workstation").await;
    assert_eq!((seen.state, seen.sleep.failure), (State::Refusing, None));
}

/// A client with a short limit that tries again and again: one wake, told as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_is_taken_up_again_is_one_wake() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    for _ in 0..2 {
        let cut = gateway.chat("qwen3:8b", false).timeout(Duration::from_millis(1_500)).send().await;
        assert!(cut.is_err(), "it hung up");
        gateway.until(asleep).await;
    }
    let last = gateway.chat("qwen3:8b", false).send();
    let woken = async {
        gateway.until(|it| matches!(it.nodes[0].state, State::Waking(_))).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        machine(port).await
    };
    let (answer, _machine) = tokio::join!(last, woken);
    assert_eq!(answer.unwrap().status(), 200);
    let past = wait_for("its end written down", async || {
        let past = wakes(&gateway).await;
        (past[0]["outcome"] == "ready").then_some(past)
    })
    .await;
    assert_eq!(past.len(), 1, "{past:?}");
    let (ready_ms, rounds) = (past[0]["ready_ms"].as_u64().unwrap(), past[0]["rounds"].as_u64().unwrap());
    assert!(ready_ms > 3_000 && rounds >= 2, "counted from its first packet: {past:?}");
    assert_eq!(gateway.node("workstation").await.sleep.usual_ms, Some(ready_ms), "{past:?}");
}

/// A restarted engine that loads its model: the machine is awake. Quiet hours, packets and history are none of its affair.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_loads_is_waited_for_and_not_woken() {
    let (card, port) = (Card::new().await, free_port());
    let engine = |starting_ms| {
        Profile::llamacpp("workstation").model(SimModel::new("qwen3:8b")).port(port).starting_ms(starting_ms)
    };
    let up = SimNode::start(engine(0)).await.unwrap();
    let rules = "[wake]\ndefault = \"never\"\nquiet_hours = \"00:00-23:59\"\n";
    let gateway = Gateway::start(&format!("{}{rules}", config(port, &card))).await;
    gateway.until_up(1).await;
    up.kill().await;
    let _up = SimNode::start(engine(8_000)).await.unwrap();
    order(&gateway, Method::POST, "look").await;
    gateway.until(|it| it.nodes[0].state == State::Waking(Stage::Loading)).await;
    let answer = gateway.chat("qwen3:8b", false).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    assert_eq!((card.more(), wakes(&gateway).await), (0, vec![]));
    assert_eq!(gateway.node("workstation").await.sleep.usual_ms, None);
}

/// A person declines for one model; somebody else's request for another one had joined the question, and is asked about now.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_for_the_model_that_was_asked_about() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway =
        house(&card, port, &nas, &format!("{BOTH}wake = \"ask\"\n[wake]\ndefault = \"ask\"\n")).await;
    let mut events = gateway.control("events").await;
    events.chunk().await.unwrap();
    let choose = async |model: &str, choice: &str| {
        gateway.until(|snapshot| snapshot.prompts.iter().any(|prompt| prompt.model == model)).await;
        let url = format!("{}/control/v1/prompts/workstation", gateway.url);
        let choice = json!({ "choice": choice });
        let answer = gateway.http.post(&url).bearer_auth(&gateway.token).json(&choice).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    };
    let second = async {
        gateway.until(|snapshot| !snapshot.prompts.is_empty()).await;
        gateway.chat("qwen3:8b", false).send().await.unwrap()
    };
    let answers = async {
        gateway.until(|snapshot| snapshot.requests.len() == 2).await;
        // That the second one has joined is not to be seen from here.
        tokio::time::sleep(Duration::from_millis(500)).await;
        choose("coder", "elsewhere").await;
        choose("qwen3:8b", "elsewhere").await;
    };
    let (first, second, ()) = tokio::join!(gateway.chat("coder", false).send(), second, answers);
    assert_eq!(node_of(&first.unwrap()), "nas");
    let text = second.text().await.unwrap();
    assert!(text.contains("rather lets it sleep"), "{text}");
    assert_eq!(card.more(), 0);
}

/// The file says during a wake that the machine is not woken any more: nobody is left waiting for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_ends_with_its_part_of_the_file() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, BOTH).await;
    let edit = async {
        card.hears().await;
        let file = gateway.home.path().join("config.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let (from, to) = (text.find("[node.wake]").unwrap(), text.find("[[node]]\nname = \"nas\"").unwrap());
        std::fs::write(&file, format!("{}{}", &text[..from], &text[to..])).unwrap();
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(gateway.chat("coder", false).send(), edit);
    assert_eq!(node_of(&answer.unwrap()), "nas");
    assert!(began.elapsed() < Duration::from_secs(15), "the wake's 20 s are not waited out");
}

/// R52, at its narrowest: the last one leaves in the moment in which another one comes.
#[tokio::test(flavor = "multi_thread")]
async fn r52_waiters_who_change_places_leave_nobody_behind() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let ask = |limit_ms| gateway.chat("qwen3:8b", false).timeout(Duration::from_millis(limit_ms)).send();
    let mut last = tokio::spawn(ask(400));
    for turn in 0..200 {
        let next = tokio::spawn(ask(40 + turn % 7));
        let _ = last.await;
        last = next;
    }
    let _ = last.await;
    wait_for("the wake over", async || {
        gateway.node("workstation").await.sleep.waking.is_none().then_some(())
    })
    .await;
    card.more();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(card.more(), 0, "nobody is there");
    assert_eq!(gateway.node("workstation").await.state, State::Asleep);
}

/// `ollama run` looks before it asks, and gives up when that fails: what was last seen is told, and the question behind it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_model_can_be_looked_at() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\"]\n").await;
    for name in ["qwen3:8b", "coder"] {
        let shown = gateway.http.post(format!("{}/api/show", gateway.url)).json(&json!({ "model": name }));
        let shown = shown.send().await.unwrap();
        assert_eq!((shown.status().as_u16(), node_of(&shown)), (200, "workstation"), "{name}");
        let shown: Value = shown.json().await.unwrap();
        let can = |what: &str| shown["capabilities"].as_array().is_some_and(|all| all.contains(&json!(what)));
        assert!(can("completion") && shown["details"]["format"] == "gguf", "{name}: {shown}");
        assert!(shown["model_info"]["general.architecture"].is_string(), "{name}: {shown}");
    }
    let nothing = gateway.http.post(format!("{}/api/show", gateway.url)).json(&json!({ "model": "nothing" }));
    assert_eq!(nothing.send().await.unwrap().status(), 404);
    assert_eq!((card.more(), gateway.node("workstation").await.state), (0, State::Asleep));
}
