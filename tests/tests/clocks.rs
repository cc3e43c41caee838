//! Somebody sets the clock, or a broken machine's monotonic clock leaps: nothing that counts time is led astray. The gateway runs
//! under libfaketime, whose offset the test changes while it runs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{mode::Mode, node::State};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, falls_asleep, free_port, machine, order},
    house::{Gateway, PATIENCE, skip},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_652 * 24 * HOUR_MS;

/// The offset of a gateway's clocks, in a file that it reads anew with each look at them.
struct Clock {
    offset: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// `None` where the library is not installed.
    fn in_folder(home: &TempDir) -> Option<Self> {
        let known =
            ["x86_64-linux-gnu", "aarch64-linux-gnu", ""].map(|arch| format!("/usr/lib/{arch}/faketime"));
        let folders = known.into_iter().chain(["/usr/lib64/faketime".to_owned()]);
        let mut libraries = folders.map(|folder| PathBuf::from(folder).join("libfaketimeMT.so.1"));
        let clock =
            Self { offset: home.path().join("offset"), library: libraries.find(|path| path.exists())? };
        clock.set(0);
        Some(clock)
    }

    /// The environment of the gateway. `wall_only`: the monotonic clock goes on as it is.
    fn variables(&self, wall_only: bool) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ];
        if wall_only {
            variables.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        variables
    }

    /// From now on it is so many milliseconds ahead.
    fn set(&self, ahead_ms: i64) {
        let written = self.offset.with_extension("new");
        std::fs::write(&written, format!("{:+}\n", ahead_ms / 1_000)).unwrap();
        std::fs::rename(written, &self.offset).unwrap();
    }
}

/// How far the gateway's wall clock is ahead, milliseconds.
async fn ahead_ms(gateway: &Gateway) -> i64 {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    gateway.snapshot().await.at_ms as i64 - here as i64
}

fn looks_at(node: &SimNode, since: Instant, paths: &[&str]) -> usize {
    node.seen().iter().filter(|seen| seen.at >= since && paths.contains(&seen.path.as_str())).count()
}

async fn writer() -> SimNode {
    let profile =
        Profile::ollama("nas").model(SimModel::new("m").loaded(true)).tok_s(5.0).tokens(90).parallel(4);
    SimNode::start(profile).await.unwrap()
}

async fn route(gateway: &Gateway, wanted: Value) {
    let url = format!("{}/control/v1/route", gateway.url);
    let answer = gateway.http.put(url).bearer_auth(&gateway.token).json(&wanted).send().await.unwrap();
    assert!(answer.status().is_success(), "{wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_a_clock_that_is_set_leads_nothing_astray() {
    let home = tempfile::tempdir().unwrap();
    let Some(clock) = Clock::in_folder(&home) else {
        return skip("r62_a_clock_that_is_set_leads_nothing_astray", "libfaketime is not installed");
    };
    let (card, port, nas) = (Card::new().await, free_port(), writer().await);
    let sleeper = machine(port).await;
    let text = format!(
        "{}[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n",
        lamplighter_tests::card::config(port, &card),
        nas.url()
    );
    std::fs::write(home.path().join("config.toml"), text).unwrap();
    let gateway = Gateway::start_among(home, &clock.variables(true)).await;
    gateway.until_up(2).await;
    falls_asleep(sleeper, &gateway).await;
    let streamed = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(streamed.status(), 200);

    // A person ends a wake by hand: for a minute no request begins another.
    let refused = async || {
        let answer = gateway.chat("qwen3:8b", false).send().await.unwrap();
        let status = answer.status();
        let said: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), said["error"]["code"].as_str()), (503, Some("node_asleep")), "{said}");
    };
    let mut begun = Vec::new();
    for ahead in [0, HOUR_MS, -HOUR_MS, TEN_YEARS_MS, 0] {
        clock.set(ahead);
        let set = Instant::now();
        sleep(Duration::from_millis(100)).await;
        assert!((ahead_ms(&gateway).await - ahead).abs() < 5_000, "its clock is not the one that was set");
        order(&gateway, Method::POST, "nodes/workstation/wake").await;
        card.hears().await;
        let waking = gateway.node("workstation").await.sleep.waking.expect("it is being woken");
        begun.push(waking.started_ms);
        order(&gateway, Method::DELETE, "nodes/workstation/wake").await;
        gateway.until(|it| it.nodes[0].sleep.waking.is_none()).await;
        card.more();
        refused().await;
        assert_eq!(card.more(), 0, "a minute is a minute, whatever the clock says");
        for path in ["/v1/models", "/api/tags", "/control/v1/availability", "/control/v1/snapshot"] {
            let answer = gateway.http.get(format!("{}{path}", gateway.url)).bearer_auth(&gateway.token);
            assert_eq!(answer.send().await.unwrap().status(), 200, "{path}");
        }
        sleep(Duration::from_secs(2).saturating_sub(set.elapsed())).await;
        // While the stream runs its node is looked at now and then; a burst would be dozens.
        let count = looks_at(&nas, set, &["/api/tags", "/api/ps", "/api/version"]);
        assert!(count <= 6, "{count} looks within two seconds");
        assert_eq!(gateway.node("nas").await.state, State::Up);
    }
    assert_eq!(gateway.log().matches("node=\"nas\"").count(), 1, "it came up once: {}", gateway.log());
    assert!(!gateway.log().contains("this computer has slept"), "nobody has slept");
    assert!(!gateway.log().contains("panicked"));
    let text = timeout(PATIENCE * 2, streamed.text()).await.expect("it ends").unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");

    // Past wakes are told in the order in which they happened.
    let (_, past) = order(&gateway, Method::GET, "nodes/workstation/wakes").await;
    let told: Vec<u64> =
        past["wakes"].as_array().unwrap().iter().filter_map(|it| it["started_ms"].as_u64()).collect();
    begun.reverse();
    assert_eq!(told, begun);

    // An hour of pause is an hour.
    route(&gateway, json!({ "mode": "pause", "for": "1h" })).await;
    for ahead in [2 * HOUR_MS, TEN_YEARS_MS, -2 * HOUR_MS] {
        clock.set(ahead);
        sleep(Duration::from_millis(100)).await;
        let it = gateway.snapshot().await.gateway;
        let left_ms = it.paused_until_ms.unwrap() as i64 - gateway.snapshot().await.at_ms as i64;
        assert_eq!(it.mode, Mode::Paused);
        assert!((HOUR_MS - 60_000..=HOUR_MS).contains(&left_ms), "{left_ms}");
    }
    route(&gateway, json!({ "mode": "resume" })).await;
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_monotonic_clock_that_leaps_an_hour_makes_no_burst() {
    let home = tempfile::tempdir().unwrap();
    let Some(clock) = Clock::in_folder(&home) else {
        return skip(
            "r63_a_monotonic_clock_that_leaps_an_hour_makes_no_burst",
            "libfaketime is not installed",
        );
    };
    let (nas, idle) =
        (writer().await, SimNode::start(Profile::ollama("idle").model(SimModel::new("n"))).await.unwrap());
    std::fs::write(
        home.path().join("config.toml"),
        lamplighter_tests::house::config(&[(&nas, ""), (&idle, "")], ""),
    )
    .unwrap();
    let gateway = Gateway::start_among(home, &clock.variables(false)).await;
    gateway.until_up(2).await;
    let streamed = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(streamed.status(), 200);
    sleep(Duration::from_millis(500)).await;

    clock.set(HOUR_MS);
    let leapt = Instant::now();
    sleep(Duration::from_secs(4)).await;
    assert!((ahead_ms(&gateway).await - HOUR_MS).abs() < 5_000, "its clock is not the one that was set");
    for node in [&nas, &idle] {
        // One whole look, which asks for three things; the next that is due; and pings, where a stream is open and the machine that runs
        // this is busy.
        let asked = |path: &str| looks_at(node, leapt, &[path]);
        let counts = ["/api/tags", "/api/ps", "/api/version"].map(asked);
        assert!(
            counts[0] <= 1 && counts[1] <= 2 && counts[2] <= 5,
            "{}: {counts:?} in four seconds",
            node.name()
        );
    }
    let shown = gateway.snapshot().await;
    assert!(shown.nodes.iter().all(|node| node.state == State::Up), "{shown:#?}");
    assert_eq!(gateway.chat("n", false).send().await.unwrap().status(), 200);
    let text = timeout(PATIENCE * 2, streamed.text()).await.expect("it ends").unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!gateway.log().contains("panicked"));
}
