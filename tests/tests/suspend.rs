//! This computer sleeps and wakes: nobody answers meanwhile, and afterwards all is looked at anew. A process that is stopped misses
//! the same time on the clock that counts sleep, and its nodes come and go meanwhile as they do over a night.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, config, signal},
    process::NodeProcess,
};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Longer than a tick and the gap that counts as sleep: 5 s and 10 s.
const NIGHT: Duration = Duration::from_millis(16_500);

/// R60, R61, R63, R66: within two seconds every node is looked at, once and not once for each tick that was missed; the stream
/// whose node is gone ends in an error of its dialect, the one whose node is there goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn r60_r66_after_a_sleep_nodes_are_looked_at_anew_and_dead_streams_end() {
    let nas = Profile::ollama("nas").model(SimModel::new("m").loaded(true)).tok_s(5.0).tokens(110);
    let nas = SimNode::start(nas).await.unwrap();
    let gpu = NodeProcess::start("gpu", &["--model", "m", "--tok-s", "5", "--tokens", "1000"]);
    let gateway = Gateway::start(&config(&[(&nas, "")], &gpu.node(""))).await;
    gateway.until_up(2).await;
    let stays = gateway.chat("m@nas", true).send().await.unwrap();
    let mut goes = gateway.chat("m@gpu", true).send().await.unwrap();
    assert_eq!([stays.status(), goes.status()], [200, 200]);

    signal(gateway.pid(), "STOP");
    sleep(Duration::from_millis(300)).await;
    // It vanishes without a word: its kernel goes on to acknowledge what comes.
    gpu.signal("STOP");
    sleep(NIGHT).await;
    let woke = Instant::now();
    signal(gateway.pid(), "CONT");

    let mut text = String::new();
    let ended = async {
        while let Ok(Some(chunk)) = goes.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    timeout(PATIENCE, ended).await.expect("the stream ends");
    let took = woke.elapsed();
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "in its own dialect: {text}");
    // One look that nobody answers takes two seconds; three of them, as at other times, would take longer than this.
    assert!(took < Duration::from_millis(3_500), "ended {took:?} after waking");

    sleep(Duration::from_secs(4).saturating_sub(woke.elapsed())).await;
    let since = |from: f64, to: f64| {
        let (from, to) = (woke + Duration::from_secs_f64(from), woke + Duration::from_secs_f64(to));
        let seen = nas.seen();
        let looks = seen.iter().filter(|seen| seen.path == "/api/tags" && seen.at >= from && seen.at < to);
        looks.count()
    };
    assert!(since(0.0, 2.5) >= 1, "looked at soon");
    assert!(since(0.0, 4.0) <= 2, "{} looks in four seconds: the ticks that were missed", since(0.0, 4.0));
    assert_eq!(gateway.log().matches("this computer has slept").count(), 1);
    assert_eq!(gateway.node("nas").await.state, State::Up);
    assert!(timeout(PATIENCE, stays.text()).await.unwrap().unwrap().ends_with("data: [DONE]\n\n"));

    // The machine that was gone comes back, and is taken in again.
    gpu.signal("CONT");
    gateway.until_up(2).await;
    assert_eq!(gateway.log().matches("this computer has slept").count(), 1, "once");
}
