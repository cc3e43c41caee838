//! A machine that sleeps stays known: over a restart, under another name or key, and whatever was written about how it comes and
//! goes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On};
use lamplighter_tests::{
    card::{Card, Silence, config, falls_asleep, free_port, house, machine, nas, order},
    house::{Gateway, PATIENCE},
};
use reqwest::Method;
use serde_json::Value;

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
