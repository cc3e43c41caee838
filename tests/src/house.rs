//! A house of its own for each scenario: simulated nodes and a real `lamplighter serve` process in front of them.

use lamplighter_core::snapshot::{Node, Snapshot};
use lamplighter_simnode::SimNode;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running `lamplighter serve`, with folders of its own. Killed on drop.
pub struct Gateway {
    child: Child,
    /// Its address, for example `http://127.0.0.1:40123`.
    pub url: String,
    /// The token of its control API.
    pub token: String,
    /// Its folder: `config.toml`, `state`, `runtime`.
    pub home: TempDir,
    /// A client without a pool to other tests.
    pub http: reqwest::Client,
    said: Arc<Mutex<String>>,
    control: PathBuf,
}

/// How long the slowest machine may take for what takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The configuration text for simulated nodes, in order, each with lines of its own, and then the rest.
#[must_use]
pub fn config(nodes: &[(&SimNode, &str)], rest: &str) -> String {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    for (node, more) in nodes {
        text.push_str(&format!(
            "[[node]]\nname = \"{}\"\nurl = \"{}\"\npresence = \"always-on\"\n{more}\n",
            node.name(),
            node.url()
        ));
    }
    text.push_str(rest);
    text
}

impl Gateway {
    /// Starts with a configuration text and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn start(config: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(home.path().join("config.toml"), config).expect("the configuration is written");
        Self::start_in(home).await
    }

    /// Starts in a folder that holds a `config.toml`.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn start_in(home: TempDir) -> Self {
        Self::start_looking(home, &[]).await
    }

    /// The same, and it looks for engines on those loopback ports while no node is configured.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn start_looking(home: TempDir, ports: &[u16]) -> Self {
        let look: Vec<String> = ports.iter().map(u16::to_string).collect();
        Self::start_with(home, ("LAMPLIGHTER_LOOK", look.join(","))).await
    }

    /// Starts with a configuration text, and bears silence so many times shorter than usual.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn hurried(config: &str, by: u64) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(home.path().join("config.toml"), config).expect("the configuration is written");
        Self::start_with(home, ("LAMPLIGHTER_HASTE", by.to_string())).await
    }

    /// Starts in a folder that holds a `config.toml`, with one more variable in its environment.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn start_with(home: TempDir, (name, value): (&str, String)) -> Self {
        Self::start_among(home, &[(name, value)]).await
    }

    /// The same with several.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    #[expect(clippy::unused_async, reason = "whoever starts one is about to wait for it")]
    pub async fn start_among(home: TempDir, variables: &[(&str, String)]) -> Self {
        let mut child = command(home.path(), &["serve"])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lamplighter starts: build it with `cargo build -p lamplighter`");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output is piped"));
        out.read_line(&mut line).expect("its output can be read");
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let mut said = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut said);
            panic!("lamplighter did not start: {said}");
        };
        // Its log must not fill the pipe: it goes where the test's own output goes.
        let log = child.stderr.take().expect("its log is piped");
        let said = Arc::<Mutex<String>>::default();
        let keep = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                eprintln!("  {line}");
                keep.lock().unwrap_or_else(PoisonError::into_inner).push_str(&(line + "\n"));
            }
        });
        let place = ready["control"].as_str().expect("the ready line names the control file");
        let control: Value = serde_json::from_slice(&std::fs::read(place).expect("readable")).expect("JSON");
        let (place, token) = (PathBuf::from(place), control["token"].as_str().expect("a token").to_owned());
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self { child, url: text(&ready["url"]), token, home, http: http(), said, control: place }
    }

    /// Starts in front of simulated nodes and waits until all of them are up.
    pub async fn over(nodes: &[&SimNode], rest: &str) -> Self {
        let pairs: Vec<_> = nodes.iter().map(|node| (*node, "")).collect();
        let gateway = Self::start(&config(&pairs, rest)).await;
        gateway.until_up(nodes.len()).await;
        gateway
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Goes to where its control file says that it is now.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn look_for_it(&mut self) -> &str {
        let file = std::fs::read(&self.control).expect("the control file is there");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        file["url"].as_str().expect("an address").clone_into(&mut self.url);
        &self.url
    }

    /// Takes its folder, for another one to start in.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    #[must_use]
    pub fn take_home(&mut self) -> TempDir {
        std::mem::replace(&mut self.home, tempfile::tempdir().expect("a temporary folder"))
    }

    /// All that it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until that many nodes are up.
    pub async fn until_up(&self, nodes: usize) -> Snapshot {
        self.until(|snapshot| {
            snapshot.nodes.iter().filter(|node| node.state.takes_requests()).count() >= nodes
        })
        .await
    }

    /// Waits until the snapshot is as wanted.
    ///
    /// # Panics
    /// When it is not in time; the message holds the last one.
    pub async fn until(&self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.snapshot().await;
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "it did not come to be: {snapshot:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The snapshot of this moment.
    ///
    /// # Panics
    /// When the control API does not give one.
    pub async fn snapshot(&self) -> Snapshot {
        self.control("snapshot").await.json().await.expect("a snapshot")
    }

    /// One node as the snapshot shows it.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn node(&self, name: &str) -> Node {
        self.snapshot().await.nodes.into_iter().find(|node| node.name == name).expect("a node of that name")
    }

    /// `GET /control/v1/{path}` with the token.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn control(&self, path: &str) -> reqwest::Response {
        let url = format!("{}/control/v1/{path}", self.url);
        self.http.get(url).bearer_auth(&self.token).send().await.expect("the control API answers")
    }

    /// `POST {path}` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).json(body)
    }

    /// A chat completion, streamed or not.
    pub fn chat(&self, model: &str, stream: bool) -> reqwest::RequestBuilder {
        let body = serde_json::json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
        self.post("/v1/chat/completions", &body)
    }

    /// Runs the command line against this gateway. Exit code, output, errors.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> (i32, String, String) {
        run(self.home.path(), args)
    }

    /// Tells it to stop, and waits until it has. Its exit code, and how long it took.
    ///
    /// # Panics
    /// When it has not ended after `patience`.
    pub fn stop(mut self, patience: Duration) -> (Option<i32>, Duration) {
        signal(self.pid(), "TERM");
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.child.try_wait().expect("its state can be asked") {
                return (status.code(), began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("lamplighter has not ended after {patience:?}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line in a folder of its own: nothing of the user's is read or written.
#[must_use]
pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("lamplighter"));
    command.arg("--config").arg(home.join("config.toml")).args(args);
    for (name, folder) in
        [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "runtime")]
    {
        command.env(name, home.join(folder));
    }
    // No looking around on the machine that runs the tests.
    command.env("LAMPLIGHTER_LOOK", "").env("HOME", home).stdin(Stdio::null());
    // No wake packet leaves it, unless the test has made a network to send it in.
    command.env("LAMPLIGHTER_TEST", "1");
    if let Ok(own) = std::fs::read_link("/proc/self/ns/net") {
        command.env("LAMPLIGHTER_TEST_OUTSIDE", own);
    }
    command
}

/// Runs the command line to its end. Exit code, output, errors.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn run(home: &Path, args: &[&str]) -> (i32, String, String) {
    let output = command(home, args).output().expect("lamplighter starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A binary of this workspace, beside the running test's.
///
/// # Panics
/// When the test does not run from cargo's target folder.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the running test has a path");
    let folder = exe.ancestors().nth(2).expect("target/debug");
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Sends a signal to a process that this test started.
///
/// # Panics
/// When there is no `kill` program.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill -{name} {pid}");
}

/// A client that goes nowhere but where it is sent.
///
/// # Panics
/// When TLS cannot be set up.
#[must_use]
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A test that would wait for ever fails instead.
    let patience = Duration::from_secs(120);
    reqwest::Client::builder().no_proxy().timeout(patience).build().expect("a client")
}

/// A skipped test says why: on its own output, and to `cargo xtask test`, which lets none pass in CI.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(file) = std::env::var_os("LAMPLIGHTER_SKIPS") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        // In one piece: tests that are skipped at the same moment must not mix their lines.
        let line = format!("{test}: {reason}\n");
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
