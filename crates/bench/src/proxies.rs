//! A proxy under measurement: alone on its core, with folders of its own. And the gateway as one.

use crate::{
    load::{Target, chat, to},
    node::MODEL,
    process::Running,
    wire::Connection,
};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// The core of the proxy under measurement. Nodes and load run on core 0.
pub const CORE: usize = 1;
/// Time for a proxy to begin to serve.
const PATIENCE: Duration = Duration::from_secs(15);

/// A proxy that runs, and ends with this.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    address: SocketAddr,
    home: TempDir,
}

impl Proxy {
    /// What to load.
    pub fn target(&self) -> Target {
        Target { address: self.address, pid: Some(self.running.pid()) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until a chat goes through it.
    pub async fn serves(&self) -> Result<(), String> {
        let request = to(self.address, &chat(100));
        wait_for_200(self.address, &request, Duration::from_millis(50)).await.map_err(|why| {
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            format!("{why}; its log ends:\n{}", log.lines().rev().take(10).collect::<Vec<_>>().join("\n"))
        })
    }
}

/// Asks again and again until the answer is 200.
pub async fn wait_for_200(address: SocketAddr, request: &[u8], every: Duration) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = async { Connection::open(address).await?.ask(request).await };
        let met = match timeout(PATIENCE, asked).await {
            Ok(Ok(200)) => return Ok(()),
            Ok(Ok(status)) => format!("status {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "silence".to_owned(),
        };
        if Instant::now() >= until {
            return Err(format!("{address} did not begin to serve: {met}"));
        }
        sleep(every).await;
    }
}

/// A request for the list of models.
pub fn models_request(address: SocketAddr) -> Vec<u8> {
    to(address, b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A loopback port that is free now.
pub fn free_port() -> Result<u16, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// Starts the gateway, `lamplighter serve`, over nodes that speak OpenAI's API.
pub fn lamplighter(program: &Path, nodes: &[SocketAddr]) -> Result<Proxy, String> {
    let (home, port) = (folder()?, free_port()?);
    let mut text = format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\n");
    for (at, node) in nodes.iter().enumerate() {
        text += &format!(
            "[[node]]\nname = \"node-{at}\"\nurl = \"{node}\"\nengine = \"openai\"\npresence = \"always-on\"\nmax_concurrent = 4096\n"
        );
    }
    let config = home.path().join("config.toml");
    fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).arg("serve").env("HOME", home.path());
    for (name, at) in
        [("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "runtime"), ("XDG_CONFIG_HOME", "config")]
    {
        command.env(name, home.path().join(at));
    }
    start(&command, home, port)
}

/// A folder for one proxy.
pub fn folder() -> Result<TempDir, String> {
    tempfile::Builder::new()
        .prefix("lamplighter-bench-")
        .tempdir()
        .map_err(|error| format!("no temporary folder: {error}"))
}

/// Starts a proxy on its core.
pub fn start(command: &Command, home: TempDir, port: u16) -> Result<Proxy, String> {
    let log = home.path().join("log");
    let output = || fs::OpenOptions::new().create(true).append(true).open(&log).map(Stdio::from);
    let (Ok(out), Ok(err)) = (output(), output()) else {
        return Err(format!("{}: cannot be written", log.display()));
    };
    let running = Running::on_core(CORE, command, out, err)?;
    Ok(Proxy { running, address: SocketAddr::from(([127, 0, 0, 1], port)), home })
}

/// Does the list of models hold the model of the fake nodes, and how many in all?
pub async fn listed(target: Target) -> Result<Option<usize>, String> {
    let mut connection = Connection::open(target.address).await.map_err(|e| e.to_string())?;
    let (status, body) =
        connection.call(&models_request(target.address)).await.map_err(|e| format!("the model list: {e}"))?;
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = list["data"].as_array().filter(|_| status == 200);
    Ok(ids.filter(|ids| ids.iter().any(|entry| entry["id"] == MODEL)).map(Vec::len))
}
