//! The command line about machines that sleep: what it shows of them, what it foretells, and what it can do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_tests::{
    card::{self, Card, asleep, free_port, house, nas},
    house::{Gateway, PATIENCE, command, config, signal},
    spoken::Spoken,
};
use serde_json::Value;
use std::time::{Duration, Instant};

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
    assert!(row.starts_with("▲ workstation  asleep, did not wake ") && row.contains(": called "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_a_question_and_wake_answers_it() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\nwake = \"ask\"\n";
    let gateway = house(&card, port, &nas, alias).await;
    // Nobody is asked while nobody looks.
    let _eyes = gateway.control("events").await;
    let waits = tokio::spawn(gateway.chat("coder", false).send());
    gateway.until(|now| !now.prompts.is_empty()).await;
    let said = gateway.cli(&["status"]).1;
    let question = said.lines().find(|line| line.starts_with("? ")).expect("a question");
    assert!(question.starts_with("? Wake workstation? "), "{question}");
    assert!(
        question.contains(" asks for coder: `lamplighter wake workstation` wakes it, else "),
        "{question}"
    );
    assert_eq!(gateway.cli(&["wake", "workstation"]).0, 0);
    gateway.until(|now| now.prompts.is_empty() && now.nodes[0].sleep.waking.is_some()).await;
    waits.abort();
}

/// `explain` says what a request then meets, and wakes nobody itself.
#[tokio::test(flavor = "multi_thread")]
async fn explain_foretells_what_is_done_about_a_machine_that_sleeps() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let alias = |name: &str, models: &str, wake: &str| {
        format!("[[alias]]\nname = \"{name}\"\nmodels = [{models}]\nwake = \"{wake}\"\n")
    };
    let (both, one) = ("\"qwen3:8b\", \"llama3.2:3b\"", "\"qwen3:8b\"");
    let aliases = ["wait", "fallback", "ask", "never"]
        .map(|wake| alias(&format!("a-{wake}"), both, wake) + &alias(&format!("only-{wake}"), one, wake));
    let gateway = house(&card, port, &nas, &aliases.concat()).await;
    let waits = "1.  workstation  qwen3:8b     is woken and waited for\n";
    let alone = "1.  workstation  qwen3:8b  is woken and waited for\n";
    for (model, code, lines) in [
        ("qwen3:8b", 0, &[alone][..]),
        ("qwen3:8b@workstation", 0, &[alone]),
        ("a-wait", 0, &["a-wait is an alias\n", waits, "2.  nas          llama3.2:3b  "]),
        (
            "a-fallback",
            0,
            &["1.  nas  llama3.2:3b", "   workstation  qwen3:8b  is woken for the next request\n"],
        ),
        (
            "a-ask",
            0,
            &["1.  nas", "  a person is asked first; without an answer it is woken for the next request\n"],
        ),
        ("a-never", 0, &["1.  nas", "  is not woken: the policy is not to wake it\n"]),
        ("only-fallback", 0, &[alone]),
        ("only-ask", 0, &["without an answer it is woken and waited for\n"]),
        (
            "only-never",
            1,
            &["'only-never' is on workstation, which is asleep, and the policy is not to wake it.\n"],
        ),
        ("llama3.2:3b", 0, &["1.  nas"]),
    ] {
        let (ended, out, err) = gateway.cli(&["explain", model]);
        assert_eq!((ended, err.as_str()), (code, ""), "{model}: {out}");
        for line in lines {
            assert!(out.contains(line), "{model} lacks {line:?}:\n{out}");
        }
    }
    let said: Value = gateway.control("explain?model=a-wait").await.json().await.unwrap();
    let asleep = &said["asleep"][0];
    assert_eq!(
        [&said["mode"], &asleep["node"], &asleep["model"], &asleep["node_model"], &asleep["done"]],
        ["auto", "workstation", "qwen3:8b", "qwen3:8b", "wait"]
    );
    let said: Value =
        gateway.control("explain?model=qwen3:8b&operation=embeddings").await.json().await.unwrap();
    assert_eq!(
        (&said["asleep"][0]["done"], &said["refusal"]["code"]),
        (&"pass".into(), &"node_asleep".into())
    );
    assert_eq!(card.more(), 0, "nothing is sent");

    // What it foretells is what happens.
    let answer = gateway.chat("only-never", false).send().await.unwrap();
    let refused: Value = answer.json().await.unwrap();
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("the policy is not to wake it"),
        "{refused}"
    );
    assert_eq!(gateway.chat("a-never", false).send().await.unwrap().headers()["x-lamplighter-node"], "nas");
    assert_eq!(card.more(), 0, "neither does `never`");
    assert_eq!(
        gateway.chat("a-fallback", false).send().await.unwrap().headers()["x-lamplighter-node"],
        "nas"
    );
    card.hears().await;

    assert_eq!(gateway.cli(&["route", "no-wake"]).0, 0);
    let (code, out, _) = gateway.cli(&["explain", "only-wait"]);
    assert!(code == 1 && out.contains("never wake") && out.contains("waking is switched off"), "{out}");
    assert_eq!(gateway.cli(&["pause"]).0, 0);
    let (code, out, _) = gateway.cli(&["explain", "llama3.2:3b"]);
    assert!(code == 1 && out.starts_with("Lamplighter is paused.\n"), "{out}");
    assert!(out.contains("otherwise it would go to:\n1.  nas"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_can_be_ended_by_hand() {
    let (card, port) = (Card::new().await, free_port());
    let gateway = Gateway::start(&card::config(port, &card)).await;
    gateway.until(asleep).await;
    let cancel = || gateway.cli(&["wake", "workstation", "--cancel"]);
    let not_waking = (1, String::new(), "lamplighter: workstation is not being woken.\n".to_owned());
    assert_eq!(cancel(), not_waking);
    let (code, out, _) = gateway.cli(&["wake", "workstation"]);
    assert!(code == 0 && out.contains("`lamplighter wake workstation --cancel` ends it"), "{out}");
    assert_eq!(cancel(), (0, "workstation is not being woken any more.\n".into(), String::new()));
    gateway.until(asleep).await;
    assert_eq!(cancel(), not_waking);
    assert_eq!(gateway.cli(&["wake", "workstation", "--cancel", "--wait"]).0, 2, "one or the other");

    // Who waits for it is told once, with its name.
    let waits = || Spoken::start(command(gateway.home.path(), &["wake", "workstation", "--wait"]));
    let mut waiting = waits();
    waiting.until("the first stage", |said| said.contains("calling")).await;
    assert_eq!(cancel().0, 0);
    let ended = "lamplighter: workstation is not being woken any more: somebody ended it\n";
    assert_eq!(waiting.end(), (Some(1), ended.into()));
    assert!(!waiting.said().contains("somebody"), "{}", waiting.said());

    // Ctrl-C ends the waiting, not the wake.
    let mut waiting = waits();
    waiting.until("the first stage", |said| said.contains("calling")).await;
    signal(waiting.child.id(), "INT");
    let goes_on =
        "lamplighter: workstation goes on waking; `lamplighter wake workstation --cancel` ends it\n";
    assert_eq!(waiting.end(), (Some(1), goes_on.into()));
    assert!(gateway.node("workstation").await.sleep.waking.is_some());
}

/// A failure is told once, with what to check about the way in which this machine is called.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_wake_is_told_once_and_with_the_advice_that_fits() {
    let (card, port, nobody) = (Card::new().await, free_port(), free_port());
    let packets = card::config(port, &card).replace("20s", "5s");
    let plug = format!("relay = {{ url = \"http://127.0.0.1:{nobody}/on\" }}");
    let relayed =
        packets.lines().filter(|line| !line.starts_with("broadcast")).collect::<Vec<_>>().join("\n");
    for (text, start, fits, fits_not) in [
        (packets.clone(), "did not wake: called", "ethtool", "`relay` in [node.wake]"),
        (format!("{relayed}\n{plug}\n"), "could not be called", "- `relay` in [node.wake]: ", "firewall"),
    ] {
        let gateway = Gateway::start(&text).await;
        gateway.until(asleep).await;
        let (code, out, err) = gateway.cli(&["wake", "workstation", "--wait"]);
        assert_eq!(code, 1, "{out}{err}");
        assert!(err.starts_with(&format!("lamplighter: workstation {start}")), "{err}");
        assert!(!out.contains(start) && err.matches(start).count() == 1, "{out}{err}");
        assert!(err.contains(fits) && !err.contains(fits_not), "{err}");
    }
}

/// The log of a gateway that runs by itself: who asked for a wake and how it ended, in words.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_woke_it_and_why_it_failed() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let waits = tokio::spawn(gateway.chat("qwen3:8b", false).header("user-agent", "notes/1.0").send());
    card.hears().await;
    logged(&gateway, "asked_by=\"notes/1.0 for qwen3:8b\"").await;
    waits.abort();
    logged(&gateway, "not woken: nobody waits any more node=\"workstation\"").await;

    let gateway = Gateway::start(&card::config(port, &card).replace("20s", "5s")).await;
    gateway.until(asleep).await;
    assert_eq!(gateway.cli(&["wake", "workstation"]).0, 0);
    logged(&gateway, "waking node=\"workstation\" asked_by=\"a person\"").await;
    let log = logged(&gateway, "not woken: it did not wake: called ").await;
    let line = log.lines().find(|line| line.contains("not woken")).unwrap();
    assert!(line.contains("WARN") && !log.contains("NeverAnswered"), "{line}");
}

/// Waits until the log says it. The whole log.
async fn logged(gateway: &Gateway, said: &str) -> String {
    let began = Instant::now();
    while !gateway.log().contains(said) {
        assert!(began.elapsed() < PATIENCE, "{said:?} is not in the log: {}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_on_a_machine_that_sleeps_says_how_to_wake_it_for_that() {
    let (card, port) = (Card::new().await, free_port());
    let gateway = Gateway::start(&card::config(port, &card)).await;
    gateway.until(asleep).await;
    let (code, out, err) = gateway.cli(&["load", "workstation", "qwen3:8b"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let hint = "`lamplighter wake workstation --load qwen3:8b` wakes it, and loads it then.";
    assert_eq!(err, format!("lamplighter: workstation is asleep.\n  {hint}\n"));
    assert_eq!(card.more(), 0, "nothing was sent");
    let (_, _, err) = gateway.cli(&["unload", "workstation"]);
    assert_eq!(err, "lamplighter: workstation is asleep.\n", "nothing to wake for");
}
