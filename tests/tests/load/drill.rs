//! L16, the failover drill: 100 requests a second, and the busiest of three nodes is killed every ten seconds.

use crate::{
    ONE_AT_A_TIME,
    processes::{Held, back_to_rest},
};
use lamplighter_tests::{
    house::{Gateway, config},
    process::NodeProcess,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

const NAMES: [&str; 3] = ["one", "two", "three"];
const LENGTH: Duration = Duration::from_secs(34);
const KILLS_EVERY: Duration = Duration::from_secs(10);
/// Down so long, like a service that is started again.
const DOWN: Duration = Duration::from_secs(4);
const PER_SECOND: u32 = 100;

/// How one request ended.
#[derive(Debug)]
struct End {
    stream: bool,
    status: u16,
    node: String,
    text: String,
    from: Instant,
    to: Instant,
}

impl End {
    fn is_whole(&self) -> bool {
        let is_stream = self.text.ends_with("data: [DONE]\n\n") && !self.text.contains("\"error\"");
        let body = || serde_json::from_str::<Value>(&self.text).unwrap_or_default();
        self.status == 200
            && if self.stream { is_stream } else { body()["choices"][0]["finish_reason"].is_string() }
    }

    /// It had begun, and ended with an error in its own form.
    fn is_cut_stream(&self) -> bool {
        let events: Vec<&str> = self.text.trim_end().split("\n\n").collect();
        let (last, before) = events.split_last().unwrap();
        let error: Value = serde_json::from_str(last.trim_start_matches("data: ")).unwrap_or_default();
        let begun = before.iter().filter(|event| event.contains("\"choices\"")).count();
        self.stream && self.status == 200 && begun > 0 && error["error"]["message"].is_string()
    }
}

fn node(name: &str, port: u16) -> NodeProcess {
    let port = port.to_string();
    let args = "--model m,loaded --parallel 256 --ttft-ms 200 --tok-s 40 --tokens 16 --no-record";
    let args: Vec<&str> = args.split(' ').chain(["--port", &port]).collect();
    NodeProcess::start(name, &args)
}

fn port(node: &NodeProcess) -> u16 {
    node.url.rsplit(':').next().unwrap().parse().unwrap()
}

fn ask(gateway: &Gateway, at: u32) -> impl Future<Output = End> + use<> {
    let stream = at.is_multiple_of(2);
    // Each is a conversation of its own: those of one conversation go to one node.
    let words = format!("hi, {at}");
    let body = json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": words }] });
    let request = gateway.post("/v1/chat/completions", &body);
    async move {
        let from = Instant::now();
        let answer = request.send().await.expect("the gateway answers");
        let status = answer.status().as_u16();
        let node = answer.headers().get("x-lamplighter-node");
        let node = node.map_or("", |node| node.to_str().unwrap()).to_owned();
        let text = answer.text().await.expect("an answer with its end");
        End { stream, status, node, text, from, to: Instant::now() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l16_the_busiest_node_is_killed_every_ten_seconds() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut nodes = NAMES.map(|name| node(name, 0));
    let text: String = nodes.iter().map(|node| node.node("max_concurrent = 256")).collect();
    let gateway = Gateway::start(&config(&[], &text)).await;
    gateway.until_up(3).await;
    let before = Held::by(gateway.pid());

    let (began, mut asked, mut ends) = (Instant::now(), JoinSet::new(), Vec::new());
    let (mut kills, mut down): (Vec<(&str, Instant)>, Option<usize>) = (Vec::new(), None);
    for at in 0..PER_SECOND * LENGTH.as_secs() as u32 {
        sleep_until(began + Duration::from_secs(1) * at / PER_SECOND).await;
        asked.spawn(ask(&gateway, at));
        while let Some(ended) = asked.try_join_next() {
            ends.push(ended.unwrap());
        }
        let due = KILLS_EVERY * (kills.len() as u32 + 1);
        if began.elapsed() >= due && due < LENGTH {
            let busiest = gateway.snapshot().await.nodes.into_iter().max_by_key(|node| node.active).unwrap();
            assert!(busiest.active > 0, "{busiest:?}");
            let killed = NAMES.iter().position(|name| *name == busiest.name).unwrap();
            kills.push((NAMES[killed], Instant::now()));
            nodes[killed].signal("KILL");
            down = Some(killed);
        }
        if let Some(killed) = down.filter(|_| kills.last().is_some_and(|(_, since)| since.elapsed() >= DOWN))
        {
            nodes[killed] = node(NAMES[killed], port(&nodes[killed]));
            down = None;
        }
    }
    // The last one that was killed may not be back yet.
    if let Some(killed) = down {
        nodes[killed] = node(NAMES[killed], port(&nodes[killed]));
    }
    while let Some(ended) = asked.join_next().await {
        ends.push(ended.unwrap());
    }

    let (whole, broken): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end.is_whole());
    for end in &broken {
        assert!(end.is_cut_stream(), "a failure without a byte of an answer: {end:#?}");
        let was_killed =
            |(name, when): &(&str, Instant)| *name == end.node && end.from <= *when && *when <= end.to;
        assert!(kills.iter().any(was_killed), "cut, and its node was not killed: {end:#?} {kills:?}");
    }
    let mut took: Vec<Duration> = whole.iter().map(|end| end.to - end.from).collect();
    took.sort_unstable();
    println!(
        "L16: {} requests, {} kills, {} streams cut on the killed node, 0 failures without a byte; p50 {:?}, p99 {:?}, slowest {:?}",
        ends.len(),
        kills.len(),
        broken.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1],
    );
    assert_eq!((ends.len() as u64, kills.len()), (u64::from(PER_SECOND) * LENGTH.as_secs(), 3));
    assert!(!broken.is_empty(), "no kill met a stream: the drill proves nothing");
    let other = whole.iter().filter(|end| end.node != whole[0].node).count();
    assert!(other > 0, "one node did all the work");
    gateway.until_up(3).await;
    back_to_rest(&gateway, before, 3).await;
}
