//! Machines that vanish without a word: packets dropped by nftables, in a network of the test's own.
//!
//! Each test runs itself again inside a network namespace that has nothing but loopback, so that its rules touch nobody else.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::house::{self, Gateway};
use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const INSIDE: &str = "LAMPLIGHTER_TEST_INSIDE";

/// Is this the run inside? Outside, it makes the network, runs `test` in it and passes on how that ended.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // Root has the right by itself; others have it in a user namespace of their own, where the system lets them.
    let spaces: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let possible = |space: &&&[&str]| {
        let rules = "nft add table ip lamplighter";
        let tried = Command::new("unshare").args(**space).args(["sh", "-ec", rules]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(space) = spaces.iter().find(possible) else {
        house::skip(test, "no network of its own with nftables: that needs root, unshare and nft");
        return false;
    };
    let exe = std::env::current_exe().unwrap();
    let script = "ip link set lo up; exec \"$0\" --exact \"$1\" --nocapture";
    let mut run = Command::new("unshare");
    run.args(*space).args(["sh", "-ec", script]).arg(exe).arg(test).env(INSIDE, "1").stdin(Stdio::null());
    let run = run.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(run.status.success(), "inside: {}{}", said(&run.stdout), said(&run.stderr));
    assert!(said(&run.stdout).contains("1 passed"), "{test} is the name of a test: {}", said(&run.stdout));
    println!("{}", said(&run.stdout));
    false
}

/// Runs nftables' own commands.
fn nft(commands: &str) -> String {
    let mut nft =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let output = nft.wait_with_output().unwrap();
    assert!(output.status.success(), "{commands}");
    String::from_utf8(output.stdout).unwrap()
}

/// From now on nothing reaches these nodes, and nothing comes from them: neither answers nor resets.
fn vanish(nodes: &[&SimNode]) {
    let ports = ports(nodes);
    nft(&format!(
        "add table ip gone\nadd chain ip gone out {{ type filter hook output priority 0; }}\n\
         add rule ip gone out tcp dport {{ {ports} }} drop\nadd rule ip gone out tcp sport {{ {ports} }} drop\n"
    ));
}

fn ports(nodes: &[&SimNode]) -> String {
    let ports: Vec<String> = nodes.iter().map(|node| node.addr().port().to_string()).collect();
    ports.join(", ")
}

async fn node(name: &str, profile: impl FnOnce(Profile) -> Profile) -> SimNode {
    let model = SimModel::new("m").loaded(true);
    SimNode::start(profile(Profile::ollama(name).model(model).parallel(8))).await.unwrap()
}

/// Waits until the gateway sends nothing more to that node; how long it took.
async fn down_after(gateway: &Gateway, name: &str, since: Instant) -> Duration {
    gateway
        .until(|snapshot| snapshot.nodes.iter().any(|node| node.name == name && !node.state.takes_requests()))
        .await;
    since.elapsed()
}

/// The content in an OpenAI stream, and whether it ended in an error and no end mark.
fn told(stream: &str) -> (String, bool) {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
    let content = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    let is_error = events.last().is_some_and(|last| last["error"]["message"].is_string());
    (events.iter().filter_map(content).collect(), is_error && !stream.contains("[DONE]"))
}

/// R02: machines vanish without a reset, one with a stream open, one that everybody asks: down within 8 s, the stream ended
/// within 16 s, and nobody who asks meanwhile fails; each of them may meet the silence once.
#[tokio::test(flavor = "multi_thread")]
async fn r02_a_node_vanishes_without_a_word() {
    if !is_inside("r02_a_node_vanishes_without_a_word") {
        return;
    }
    let (gone, stays) = (node("gone", |profile| profile).await, node("stays", |profile| profile).await);
    let slow = SimModel::new("slow").loaded(true);
    let busy = SimNode::start(Profile::ollama("busy").model(slow).tok_s(0.05)).await.unwrap();
    let pairs = [(&gone, "max_concurrent = 8\npriority = 9"), (&stays, "max_concurrent = 8"), (&busy, "")];
    let gateway = Gateway::start(&house::config(&pairs, "")).await;
    gateway.until_up(3).await;
    let mut open = gateway.chat("slow", true).send().await.unwrap();
    assert!(open.chunk().await.unwrap().is_some(), "it streams");
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "gone", "it comes first while it is there");

    vanish(&[&gone, &busy]);
    let since = Instant::now();
    let ended = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(chunk)) = open.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        (text, since.elapsed())
    });
    let askers = (0..3).map(|_| async {
        let mut slow = 0;
        while since.elapsed() < Duration::from_secs(11) {
            let asked = Instant::now();
            let answer = gateway.chat("m", false).send().await.unwrap();
            assert_eq!(answer.status(), 200, "after {:?}", since.elapsed());
            assert!(answer.text().await.unwrap().contains("answers with m"));
            assert!(asked.elapsed() <= Duration::from_secs(8), "{:?}", asked.elapsed());
            slow += u32::from(asked.elapsed() > Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        slow
    });
    let (down, busy, slow) = tokio::join!(
        down_after(&gateway, "gone", since),
        down_after(&gateway, "busy", since),
        futures::future::join_all(askers)
    );
    assert!(down.max(busy) <= Duration::from_secs(8), "down after {down:?} and {busy:?}");
    assert!(slow.iter().all(|slow| *slow <= 1), "met the silence so often: {slow:?}");
    let (text, took) = ended.await.unwrap();
    assert!(told(&text).1 && took <= Duration::from_secs(16), "after {took:?}: {text}");
    println!("R02: down after {down:?} and {busy:?}, its stream ended after {took:?}, slow answers {slow:?}");
}

/// R04: a machine vanishes after 20 tokens. The client keeps them and hears of it within 16 s; no other machine's words are put
/// behind them.
#[tokio::test(flavor = "multi_thread")]
async fn r04_a_node_vanishes_in_the_middle_of_a_stream() {
    if !is_inside("r04_a_node_vanishes_in_the_middle_of_a_stream") {
        return;
    }
    let words: Vec<String> = (0..400).map(|at| format!("w{at} ")).collect();
    let gone = node("gone", |profile| profile.text(words.concat()).tok_s(20.0)).await;
    let stays = node("stays", |profile| profile).await;
    let pairs = [(&gone, "priority = 9"), (&stays, "")];
    let gateway = Gateway::start(&house::config(&pairs, "")).await;
    gateway.until_up(2).await;
    let mut answer = gateway.chat("m@gone", true).send().await.unwrap();
    let mut text = String::new();
    while told(&text).0.split_whitespace().count() < 20 {
        text.push_str(&String::from_utf8_lossy(&answer.chunk().await.unwrap().expect("it streams")));
    }
    vanish(&[&gone]);
    let since = Instant::now();
    while let Some(chunk) = answer.chunk().await.expect("a body that ends well") {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let took = since.elapsed();
    let (content, is_error) = told(&text);
    assert!(is_error && took <= Duration::from_secs(16), "after {took:?}: {text}");
    assert!(content.split_whitespace().count() >= 20 && words.concat().starts_with(&content), "{content}");
    assert_eq!(stays.stats().generations_started, 0, "nobody else was asked to go on");
    gateway
        .until(|snapshot| snapshot.requests.is_empty() && snapshot.nodes.iter().all(|node| node.active == 0))
        .await;
    println!("R04: told after {took:?}, {} words kept", content.split_whitespace().count());
}

/// R16: ten of twenty machines are black holes. The lists come from memory: fast, and not one connection is made for them.
///
/// Probes go on by their own schedule meanwhile, so the lists are asked for in short bursts, with the first packet of each new
/// connection counted around every one: were there one connection for a list, no burst would be without.
#[tokio::test(flavor = "multi_thread")]
async fn r16_lists_while_half_the_house_is_a_black_hole() {
    if !is_inside("r16_lists_while_half_the_house_is_a_black_hole") {
        return;
    }
    let mut nodes = vec![];
    for at in 0..20 {
        let own = SimModel::new(format!("own-{at}"));
        let profile = Profile::ollama(format!("node-{at}")).model(SimModel::new("m")).model(own);
        nodes.push(SimNode::start(profile).await.unwrap());
    }
    let nodes: Vec<&SimNode> = nodes.iter().collect();
    let gateway = Gateway::over(&nodes, "").await;
    nft(&format!(
        "add table ip count\nadd counter ip count connects\n\
         add chain ip count out {{ type filter hook output priority -10; }}\n\
         add rule ip count out tcp dport {{ {} }} tcp flags & (syn | ack) == syn counter name connects\n",
        ports(&nodes)
    ));
    let connects = || {
        let told = nft("list counter ip count connects\n");
        let packets =
            told.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next()).expect("a count");
        packets.parse::<u64>().expect("a number")
    };
    vanish(&nodes[..10]);
    // Whoever asks a node that says nothing has it looked at: so they are found to be gone sooner than by the clock.
    let mut asking = tokio::task::JoinSet::new();
    (0..10).for_each(|at| drop(asking.spawn(gateway.chat(&format!("own-{at}"), false).send())));
    gateway
        .until(|snapshot| snapshot.nodes.iter().filter(|node| !node.state.takes_requests()).count() == 10)
        .await;
    while let Some(answer) = asking.join_next().await {
        assert!(answer.unwrap().unwrap().status().is_server_error());
    }

    let (mut took, mut quiet, mut all) = (vec![], 0, 0);
    for _ in 0..30 {
        let before = connects();
        for path in ["/v1/models", "/api/tags"].repeat(10) {
            let asked = Instant::now();
            let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let list = answer.text().await.unwrap();
            took.push(asked.elapsed());
            assert!(list.contains("own-19") && list.contains("\"m"), "{list}");
        }
        let made = connects() - before;
        quiet += u32::from(made == 0);
        all += made;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "R16: p99 {p99:?} of {}; {quiet} of 30 bursts without a connection, {all} by probes in all",
        took.len()
    );
    assert!(p99 <= Duration::from_millis(50), "p99 {p99:?}");
    assert!(quiet >= 10, "connections in all but {quiet} of 30 bursts");
    assert!(all < 200, "{all} connections beside 600 lists");
}
