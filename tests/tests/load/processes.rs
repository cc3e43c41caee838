//! The fake nodes and the crowds of clients of `lamplighter-bench`, as processes; and what a gateway's process holds.

use lamplighter_tests::house::{Gateway, binary, http};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// The model of the fake nodes.
const MODEL: &str = "bench-model";

/// A process that ends with this.
struct Ours(Child);

impl Ours {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(binary("lamplighter-bench"));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(
            command
                .spawn()
                .expect("lamplighter-bench starts: build it with `cargo build -p lamplighter-bench`"),
        )
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fake nodes that keep a book of what they send.
pub struct Nodes {
    addresses: Vec<String>,
    http: reqwest::Client,
    _process: Ours,
}

/// What a node sent on one stream.
#[derive(Debug, Deserialize)]
pub struct Sent {
    pub events: u64,
    pub sha256: String,
    pub end: String,
    pub at_ns: u64,
}

impl Nodes {
    pub fn start(count: usize) -> Self {
        let mut process = Ours::start(&["node", "--count", &count.to_string(), "--book"]);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON when it serves");
        let addresses = serde_json::from_value(ready["addresses"].clone()).unwrap();
        Self { addresses, http: http(), _process: process }
    }

    /// A gateway's configuration for the first `count` of them; `more` are lines for each node.
    pub fn config(&self, count: usize, more: &str) -> String {
        let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
        for (at, address) in self.addresses.iter().take(count).enumerate() {
            text += &format!("[[node]]\nname = \"node-{at}\"\nurl = \"{address}\"\nengine = \"openai\"\n");
            text += &format!("presence = \"always-on\"\nmax_concurrent = 2000\n{more}\n");
        }
        text
    }

    /// A gateway in front of all of them that knows them.
    pub async fn gateway(&self) -> Gateway {
        let gateway = Gateway::start(&self.config(self.addresses.len(), "")).await;
        gateway.until_up(self.addresses.len()).await;
        // One request each way: what is opened once and kept is not a leak.
        assert_eq!(gateway.chat(MODEL, false).send().await.unwrap().status(), 200);
        gateway
    }

    /// What they have sent on all streams, by the request's id: one book for all nodes.
    pub async fn book(&self) -> BTreeMap<String, Sent> {
        let url = format!("http://{}/bench/book", self.addresses[0]);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The book when no stream is open in it any more.
    pub async fn book_closed_within(&self, patience: Duration) -> BTreeMap<String, Sent> {
        let deadline = Instant::now() + patience;
        loop {
            let book = self.book().await;
            let open: Vec<_> = book.iter().filter(|(_, sent)| sent.end == "open").collect();
            if open.is_empty() {
                return book;
            }
            assert!(Instant::now() < deadline, "{} streams are open: {:?}", open.len(), open[0]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Clients with a stream each. They go when this is dropped.
pub struct Crowd {
    output: JoinHandle<String>,
    _process: Ours,
}

/// What a crowd got.
#[derive(Debug, Deserialize)]
pub struct Gone {
    pub delay: Delay,
    pub streams: BTreeMap<String, Got>,
}

/// From a node's sending of an event to its arrival at its client.
#[derive(Debug, Deserialize)]
pub struct Delay {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// What one client got.
#[derive(Debug, Deserialize)]
pub struct Got {
    pub status: u16,
    pub events: u64,
    pub sha256: String,
    pub end: String,
    pub at_ns: u64,
}

impl Crowd {
    /// `args` as `lamplighter-bench crowd` takes them, in one line.
    pub fn come(gateway: &Gateway, name: &str, args: &str) -> Self {
        let args: Vec<&str> =
            ["crowd", gateway.authority(), "--name", name].into_iter().chain(args.split(' ')).collect();
        let mut process = Ours::start(&args);
        let mut out = process.0.stdout.take().unwrap();
        let output = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).map(|_| text).unwrap_or_default()
        });
        Self { output, _process: process }
    }

    /// Waits until the last one has gone.
    pub async fn gone(self, patience: Duration) -> Gone {
        let output = tokio::time::timeout(patience, self.output).await.expect("a crowd that goes in time");
        read(&output.unwrap())
    }
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What a process holds (proc(5)).
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub rss_mib: f64,
    /// The most there was of it so far.
    pub peak_mib: f64,
    pub files: usize,
}

impl Held {
    pub fn by(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mib = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Self { rss_mib: mib("VmRSS:"), peak_mib: mib("VmHWM:"), files }
    }
}

/// How long this machine lets a process stand still: what is later than that may be the gateway's doing, and what is not, is not.
pub struct Stalls(JoinHandle<()>, Arc<AtomicU64>);

impl Stalls {
    /// Watches from now on.
    pub fn watch() -> Self {
        let worst_ms = Arc::new(AtomicU64::new(0));
        let noted = worst_ms.clone();
        let watching = tokio::spawn(async move {
            loop {
                let due = Instant::now() + Duration::from_millis(10);
                tokio::time::sleep_until(due.into()).await;
                noted.fetch_max(due.elapsed().as_millis() as u64, Relaxed);
            }
        });
        Self(watching, worst_ms)
    }

    /// The room that a bound needs on this machine: three processes stand between the two ends of a measurement.
    pub fn room(&self) -> Duration {
        Duration::from_millis(3 * self.1.load(Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Nothing lost, nothing leaked: no request, no place, no socket is held any more, and every node is as it was.
pub async fn back_to_rest(gateway: &Gateway, before: Held, nodes: usize) {
    let at_rest = gateway
        .until(|s| s.requests.is_empty() && s.nodes.iter().all(|node| node.active == 0 && node.waiting == 0))
        .await;
    assert_eq!(
        at_rest.nodes.iter().filter(|node| node.state.takes_requests()).count(),
        nodes,
        "{:?}",
        at_rest.nodes
    );
    // Idle connections are kept for 4 s; a few may be busy with a probe, an event stream or this test's own question.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let files = Held::by(gateway.pid()).files;
        if files <= before.files + 8 {
            break;
        }
        assert!(Instant::now() < deadline, "{files} files are open, {} were before", before.files);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
