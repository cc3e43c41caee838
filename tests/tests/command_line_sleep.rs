//! The command line about machines that sleep: what it shows of them, what it foretells, and what it can do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_tests::{
    card::{self, Card, asleep, free_port, house, nas},
    house::{Gateway, config},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_requests_are_routed() {
    let nas = nas().await;
    let gateway = Gateway::start(&config(&[(&nas, "")], "")).await;
    gateway.until_up(1).await;
    let first = || gateway.cli(&["status"]).1.lines().next().unwrap().to_owned();
    let auto = format!("{}  idle", gateway.url);
    assert_eq!(first(), auto);
    for (args, said) in [
        (&["route", "local"][..], "  local only: nothing leaves the house"),
        (&["route", "no-wake"], "  never wake: only machines that are up answer"),
        (&["pause"], "  paused until you resume"),
        (&["pause", "10m"], "  paused until "),
    ] {
        assert_eq!(gateway.cli(args).0, 0);
        assert!(first().starts_with(&format!("{auto}{said}")), "{args:?}: {}", first());
    }
    assert_eq!(gateway.cli(&["route", "auto"]).0, 0);
    assert_eq!(first(), auto);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_far_a_wake_is() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let row = || gateway.cli(&["status"]).1.lines().nth(1).unwrap().to_owned();
    let waits = tokio::spawn(gateway.chat("qwen3:8b", false).send());
    gateway.until(|now| now.nodes[0].sleep.waking.as_ref().is_some_and(|it| it.waiters == 1)).await;
    let said = row();
    let words = said.strip_prefix("◐ workstation  waking, ").expect("it is being woken");
    let (seconds, rest) = words.split_once(" s").expect("seconds");
    assert!(seconds.parse::<u64>().is_ok() && rest.contains(", 1 waiting"), "{said}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_ne!(row(), said, "time goes on");
    waits.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_the_last_wake_failed() {
    let (card, port) = (Card::new().await, free_port());
    let gateway = Gateway::start(&card::config(port, &card).replace("20s", "5s")).await;
    gateway.until(asleep).await;
    assert_eq!(gateway.cli(&["wake", "workstation"]).0, 0);
    let failed = gateway.until(|now| now.nodes[0].sleep.failure.is_some()).await;
    let at_ms = failed.nodes[0].sleep.failure.as_ref().unwrap().at_ms.expect("when it was");
    assert!(at_ms <= failed.at_ms && at_ms + 60_000 > failed.at_ms);
    let said = gateway.cli(&["status"]).1;
    let row = said.lines().nth(1).unwrap();
    assert!(row.starts_with("☾ workstation  asleep, did not wake ") && row.contains(": called "), "{said}");
}
