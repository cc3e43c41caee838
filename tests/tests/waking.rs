//! Waking by a person's order, through the door: a packet to loopback, a stand-in for the machine's network card that starts a
//! simulated node, the stages in the snapshot, the past after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, asleep, config, free_port, house, machine, nas, order},
    house::Gateway,
};
use serde_json::Value;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_click_wakes_the_machine_and_its_past_is_kept() {
    let (card, port) = (Card::new().await, free_port());
    let mut gateway = Gateway::start(&config(port, &card)).await;
    gateway.until(asleep).await;
    assert!(gateway.node("workstation").await.sleep.can_wake);
    assert_eq!(card.more(), 0, "nobody has asked for it");

    let (status, body) = order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
    assert_eq!((status, &body["waking"]), (202, &Value::Bool(true)));
    assert_eq!(card.hears().await, 102);
    let waking = gateway.until(|snapshot| matches!(snapshot.nodes[0].state, State::Waking(_))).await;
    assert!(waking.nodes[0].sleep.waking.as_ref().unwrap().by_person);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let began = Instant::now();
    let _machine = machine(port).await;
    gateway.until_up(1).await;
    assert!(began.elapsed() < Duration::from_secs(3), "seen {:?} after it was there", began.elapsed());
    let (status, _) = order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 200, "it is up already");
    let awake = gateway.node("workstation").await;
    assert_eq!((awake.sleep.waking, awake.sleep.failure), (None, None));

    let home = gateway.take_home();
    assert_eq!(gateway.stop(Duration::from_secs(20)).0, Some(0));
    drop(_machine);
    let gateway = Gateway::start_in(home).await;
    let (_, past) = order(&gateway, reqwest::Method::GET, "nodes/workstation/wakes").await;
    let wake = &past["wakes"][0];
    assert_eq!((wake["outcome"].as_str(), wake["cause"].as_str()), (Some("ready"), Some("person")), "{past}");
    let ready_ms = wake["ready_ms"].as_u64().unwrap();
    assert!((1_400..20_000).contains(&ready_ms), "{past}");
    let sleeping = gateway.until(asleep).await;
    assert!(
        sleeping.nodes[0].sleep.usual_ms.is_some_and(|ms| ms == ready_ms),
        "{:?}",
        sleeping.nodes[0].sleep
    );
    assert!(!sleeping.nodes[0].models.is_empty(), "its models are remembered");
    assert_eq!(sleeping.models[0].asleep_on, ["workstation"]);
    let (_, cells) = order(&gateway, reqwest::Method::GET, "availability").await;
    assert_eq!(cells["nodes"]["workstation"].as_array().unwrap().len(), 96);
    let last = &cells["nodes"]["workstation"][95]["cell"];
    assert!(["part", "up", "asleep"].contains(&last.as_str().unwrap()), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_wakes_says_why_and_a_wake_can_be_ended() {
    let (card, port) = (Card::new().await, free_port());
    let text = config(port, &card).replace("20s", "5s");
    let gateway = Gateway::start(&text).await;
    gateway.until(asleep).await;
    order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
    card.hears().await;
    let (status, _) = order(&gateway, reqwest::Method::DELETE, "nodes/workstation/wake").await;
    assert_eq!(status, 204);
    gateway.until(asleep).await;
    let (status, body) = order(&gateway, reqwest::Method::DELETE, "nodes/workstation/wake").await;
    assert_eq!((status, body["code"].as_str()), (404, Some("not_waking")));

    let (code, said, why) = gateway.cli(&["wake", "workstation", "--wait"]);
    assert_eq!(code, 1, "{said}{why}");
    assert!(
        why.contains("nothing heard for 5 s"),
        "a port of this computer says nothing of the machine: {why}"
    );
    let failure = gateway.node("workstation").await.sleep.failure.unwrap();
    assert_eq!(failure.code, "never_answered");
    assert!(failure.checklist.iter().any(|check| check.what.contains("network socket")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_carried_out_say_why() {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("qwen3:8b"))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    for (method, path, status, code) in [
        (reqwest::Method::POST, "nodes/attic/wake", 404, "no_such_node"),
        (reqwest::Method::POST, "nodes/nas/sleep", 409, "no_sleep"),
        (reqwest::Method::DELETE, "nodes/nas/wake", 404, "not_waking"),
        (reqwest::Method::GET, "nodes/nas/wakes?limit=x", 400, "bad_request"),
    ] {
        let (got, body) = order(&gateway, method, path).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_wakes_the_machine_and_polls_never_do() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    for _ in 0..5 {
        for path in ["/v1/models", "/api/tags", "/api/ps", "/api/version"] {
            let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
            let text = answer.text().await.unwrap();
            if path == "/v1/models" || path == "/api/tags" {
                assert!(
                    text.contains("qwen3:8b"),
                    "a sleeping machine's model stays listed in {path}: {text}"
                );
            }
        }
        gateway.http.head(&gateway.url).send().await.unwrap();
    }
    let task = serde_json::json!({ "model": "qwen3:8b", "messages": [{ "role": "user", "content": "### Task:\nGenerate a title" }] });
    let unload = serde_json::json!({ "model": "qwen3:8b", "keep_alive": 0 });
    let embed = serde_json::json!({ "model": "qwen3:8b", "input": "hi" });
    for (path, body) in
        [("/v1/chat/completions", &task), ("/api/generate", &unload), ("/v1/embeddings", &embed)]
    {
        let answer = gateway.post(path, body).send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("is asleep"), "{text}");
    }
    let background =
        gateway.chat("qwen3:8b", false).header("x-lamplighter-class", "background").send().await.unwrap();
    assert_eq!(background.status(), 503);
    assert_eq!(card.more(), 0, "not one packet for all that");

    let asked = gateway.chat("qwen3:8b", true).send();
    let woken = async {
        card.hears().await;
        let waiting = gateway.until(|snapshot| !snapshot.requests.is_empty()).await;
        let waking = waiting.nodes[0].sleep.waking.clone().expect("a wake under way");
        assert_eq!((waking.waiters, waking.by_person), (1, false));
        assert!(waking.asked_by.is_some_and(|by| by.contains("qwen3:8b")));
        machine(port).await
    };
    let (answer, machine) = tokio::join!(asked, woken);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-lamplighter-node"], "workstation");
    let text = answer.text().await.unwrap();
    assert!(text.contains("[DONE]"), "{text}");
    drop(machine);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_aliases() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let aliases = ["wait", "fallback", "ask", "never"].map(|policy| {
        format!("[[alias]]\nname = \"by-{policy}\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\nwake = \"{policy}\"\n")
    });
    let gateway = house(&card, port, &nas, &aliases.concat()).await;
    let node_of =
        |answer: &reqwest::Response| answer.headers()["x-lamplighter-node"].to_str().unwrap().to_owned();

    let listed = |text: &str, name: &str| text.contains(&format!("\"id\":\"{name}\""));
    let models = || async {
        gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap().text().await.unwrap()
    };
    let all = models().await;
    assert!(listed(&all, "qwen3:8b") && listed(&all, "by-wait") && listed(&all, "by-never"), "{all}");
    let (code, ..) = gateway.cli(&["route", "no-wake"]);
    assert_eq!(code, 0);
    let awake = models().await;
    assert!(
        !listed(&awake, "qwen3:8b") && listed(&awake, "by-wait") && listed(&awake, "llama3.2:3b"),
        "{awake}"
    );
    assert_eq!(gateway.chat("qwen3:8b", false).send().await.unwrap().status(), 503, "waking is switched off");
    let (code, ..) = gateway.cli(&["route", "auto"]);
    assert_eq!(code, 0);

    let never = gateway.chat("by-never", false).send().await.unwrap();
    assert_eq!((never.status().as_u16(), node_of(&never).as_str(), card.more()), (200, "nas", 0));

    let fallback = gateway.chat("by-fallback", false).send().await.unwrap();
    assert_eq!((fallback.status().as_u16(), node_of(&fallback).as_str()), (200, "nas"));
    card.hears().await;
    order(&gateway, reqwest::Method::DELETE, "nodes/workstation/wake").await;

    // A person who ends a wake means it: for a minute no request begins another.
    let refused = gateway.chat("qwen3:8b", false).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let retry_s: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_s));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "node_asleep", "{body}");
    let wait = gateway.chat("by-wait", false).send().await.unwrap();
    assert_eq!(node_of(&wait), "nas", "what may not be woken now is passed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_ask_a_person_decides_and_without_one_it_is_fallback() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\nwake = \"ask\"\n";
    let gateway = house(&card, port, &nas, alias).await;
    // Somebody looks: an open stream of events.
    let mut events = gateway.control("events").await;
    events.chunk().await.unwrap();
    let asked = gateway.chat("coder", false).send();
    let decided = async {
        let snapshot = gateway.until(|snapshot| !snapshot.prompts.is_empty()).await;
        assert_eq!(
            (snapshot.prompts[0].node.as_str(), snapshot.prompts[0].model.as_str()),
            ("workstation", "coder")
        );
        let url = format!("{}/control/v1/prompts/workstation", gateway.url);
        let elsewhere = serde_json::json!({ "choice": "elsewhere" });
        let answer =
            gateway.http.post(&url).bearer_auth(&gateway.token).json(&elsewhere).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        let again =
            gateway.http.post(&url).bearer_auth(&gateway.token).json(&elsewhere).send().await.unwrap();
        assert_eq!(again.status(), 404, "it is answered");
    };
    let (answer, ()) = tokio::join!(asked, decided);
    assert_eq!(answer.unwrap().headers()["x-lamplighter-node"], "nas");
    assert_eq!(card.more(), 0);

    let asked = gateway.chat("coder", true).send();
    let decided = async {
        gateway.until(|snapshot| !snapshot.prompts.is_empty()).await;
        let url = format!("{}/control/v1/prompts/workstation", gateway.url);
        let wake = serde_json::json!({ "choice": "wake" });
        gateway.http.post(&url).bearer_auth(&gateway.token).json(&wake).send().await.unwrap();
        card.hears().await;
        machine(port).await
    };
    let (answer, _machine) = tokio::join!(asked, decided);
    assert_eq!(answer.unwrap().headers()["x-lamplighter-node"], "workstation");
}
