//! The desktop app under test, as a process of its own.

use super::{screen::Screen, wait_for};
use lamplighter_core::snapshot::Snapshot;
use serde_json::Value;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The built app, beside the tests.
///
/// # Errors
/// When it has not been built.
pub fn built() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|why| why.to_string())?;
    // target/debug/deps/<test> → target/debug/
    let folder = test.ancestors().nth(2).unwrap_or(Path::new("."));
    let app = folder.join(format!("lamplighter-desktop{}", std::env::consts::EXE_SUFFIX));
    if app.exists() {
        return Ok(app);
    }
    Err(format!("{} is not built: cargo build -p lamplighter-desktop", app.display()))
}

/// A running app. It is killed when it is dropped.
pub struct App {
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Drop for App {
    fn drop(&mut self) {
        // Failing means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the app said:\n{}{}", self.output(), self.log());
        }
    }
}

impl App {
    /// Starts the app on a screen; `change` has the last word on its environment.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn start(screen: &Screen, args: &[&str], change: impl FnOnce(&mut Command)) -> Result<Self, String> {
        // A second one must not write over the first one's words.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let output = screen.home().join(format!("app-{number}.out"));
        let log = screen.home().join(format!("app-{number}.log"));
        let file = |path: &Path| File::create(path).map_err(|why| why.to_string());
        let mut command = Command::new(built()?);
        command.args(args).stdin(Stdio::null()).stdout(file(&output)?).stderr(file(&log)?);
        screen.furnish(&mut command).map_err(|why| why.to_string())?;
        change(&mut command);
        let child = command.spawn().map_err(|why| why.to_string())?;
        Ok(Self { child, output, log })
    }

    /// Starts it with a configuration, for starting with the session: no window opens by itself.
    ///
    /// # Panics
    /// When it is not built or cannot be started.
    #[must_use]
    pub fn hidden(screen: &Screen, config: &Path) -> Self {
        let config = config.to_string_lossy();
        Self::start(screen, &["--hidden", "--config", &config], |_| ()).expect("the app starts")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its output.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the line that says that it serves; returns the address in it.
    ///
    /// # Panics
    /// When the line does not come.
    pub async fn ready(&self) -> String {
        self.ready_line().await["url"].as_str().expect("an address").into()
    }

    async fn ready_line(&self) -> Value {
        wait_for("the line that says the app is ready", async || {
            let output = self.output();
            let line = output.split_inclusive('\n').find(|line| line.ends_with('\n'))?;
            serde_json::from_str(line).ok()
        })
        .await
    }

    /// What the gateway shows now.
    ///
    /// # Panics
    /// When it does not.
    pub async fn snapshot(&self) -> Snapshot {
        let ready = self.ready_line().await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let control = std::fs::read(text(&ready["control"])).expect("its control file can be read");
        let control: Value = serde_json::from_slice(&control).expect("JSON");
        let url = format!("{}/control/v1/snapshot", text(&control["url"]));
        let asked = crate::house::http().get(url).bearer_auth(text(&control["token"])).send().await;
        asked.expect("the gateway answers").json().await.expect("a snapshot")
    }

    /// Its memory in bytes, as `/proc` counts it: what is resident.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it has not after `limit`.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(start.elapsed() < limit, "the app still runs after {limit:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end, as a system does that shuts down.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }
}

/// Status of `GET /v1/models` at the address, within 2 s; `None` when nobody answers.
pub async fn asks_models(url: &str) -> Option<u16> {
    let answer = timeout(Duration::from_secs(2), talk(url, "GET /v1/models", "")).await.ok()??;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Asks a model for a streamed answer, and returns all that came: head, chunks and all.
pub async fn chat(url: &str, model: &str) -> Option<String> {
    let messages = r#"[{"role":"user","content":"say it"}]"#;
    let body = format!(r#"{{"model":"{model}","stream":true,"messages":{messages}}}"#);
    talk(url, "POST /v1/chat/completions", &body).await
}

async fn talk(url: &str, what: &str, body: &str) -> Option<String> {
    let place = url.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(place).await.ok()?;
    let length = body.len();
    let head =
        format!("{what} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

pub use crate::card::free_port;
