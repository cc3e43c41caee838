//! Real llama-servers with tiny models: on free ports of the loopback, ended with all that they started.

use serde_json::Value;
use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Time to load half a megabyte, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A port that was free a moment ago may be taken: then another one.
const TRIES: usize = 3;

/// What `tiny-lamp` says, whatever it is asked.
pub const LAMP: &str = "The small lamp says hello from this machine and can count one two three , then stop";
/// What `tiny-moon` says, whatever it is asked.
pub const MOON: &str = "A white moon looks down on that river while nine owls sleep under old trees";

/// The server's binary and the models; `cargo xtask tools` builds them and tells where they are.
#[derive(Debug, Clone)]
pub struct Llama {
    server: PathBuf,
    /// The folder with `tiny-lamp.gguf`, `tiny-moon.gguf` and `tiny-random.gguf`.
    pub models: PathBuf,
}

/// A running llama-server. Killed on drop.
#[derive(Debug)]
pub struct LlamaServer {
    child: Child,
    /// The node's name in a configuration.
    pub name: String,
    /// Its address.
    pub url: String,
    log: tempfile::NamedTempFile,
    http: reqwest::Client,
}

impl Llama {
    /// `None`, with the test written down as skipped, when they are not there.
    #[must_use]
    pub fn or_skip(test: &str) -> Option<Self> {
        let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.exists());
        let found = path("LAMPLIGHTER_LLAMA_SERVER").zip(path("LAMPLIGHTER_TINY_MODELS"));
        if found.is_none() {
            crate::house::skip(test, "no llama-server: run `env $(cargo xtask tools) cargo test …`");
        }
        found.map(|(server, models)| Self { server, models })
    }

    /// A server with one model.
    pub async fn one(&self, name: &str, model: &str, args: &[&str]) -> LlamaServer {
        let file = self.models.join(format!("{model}.gguf")).display().to_string();
        self.start(name, &[&["-m", &file, "--alias", model], args].concat()).await
    }

    /// A server that loads the model a request names, two at once.
    pub async fn router(&self, name: &str) -> LlamaServer {
        let folder = self.models.display().to_string();
        self.start(name, &["--models-dir", &folder, "--models-max", "2"]).await
    }

    /// The server with one model on this address, under a name of the test's own, not started yet: for a machine that starts it
    /// itself.
    #[must_use]
    pub fn command(&self, address: std::net::SocketAddr, model: &str, name: &str) -> Command {
        let file = self.models.join(format!("{model}.gguf"));
        let mut command = Command::new(&self.server);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--jinja", "--slots", "--props", "--no-webui", "--threads", "1"]);
        command.args(["--alias", name, "-m"]).arg(file);
        command.env_clear().env("HOME", std::env::temp_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A server started with these words. Waits until it is healthy.
    ///
    /// # Panics
    /// When it is not in time; the message holds its log.
    pub async fn start(&self, name: &str, args: &[&str]) -> LlamaServer {
        let mut said = String::new();
        for _ in 0..TRIES {
            let mut server = self.spawn(name, args);
            match server.until_healthy().await {
                Ok(()) => return server,
                Err(log) => said = log,
            }
        }
        panic!("{name}: llama-server does not start: {said}");
    }

    fn spawn(&self, name: &str, args: &[&str]) -> LlamaServer {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let to_log = || Stdio::from(File::create(log.path()).expect("the log can be written"));
        let mut command = Command::new(&self.server);
        command.args(["--host", "127.0.0.1", "--port", &free.port().to_string()]);
        command.args(["--jinja", "--slots", "--props", "--no-webui", "--threads", "1"]).args(args);
        command.env_clear().env("HOME", std::env::temp_dir());
        // A group of its own: a router's children end with it.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(to_log());
        let child = command.spawn().expect("llama-server starts");
        LlamaServer {
            child,
            name: name.into(),
            url: format!("http://{free}"),
            log,
            http: crate::house::http(),
        }
    }
}

impl LlamaServer {
    async fn until_healthy(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let health = format!("{}/health", self.url);
        loop {
            if self.http.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let ended = self.child.try_wait().expect("its state can be asked");
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(std::fs::read_to_string(self.log.path()).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its lines in a configuration, with `more` lines of the test's own.
    #[must_use]
    pub fn node(&self, more: &str) -> String {
        format!(
            "[[node]]\nname = \"{}\"\nurl = \"{}\"\npresence = \"always-on\"\n{more}\n",
            self.name, self.url
        )
    }

    /// How many of its slots are at work.
    ///
    /// # Panics
    /// When it does not tell.
    pub async fn busy_slots(&self) -> usize {
        let answer = self.http.get(format!("{}/slots", self.url)).send().await.expect("it answers");
        let slots: Vec<Value> = answer.json().await.expect("a list of slots");
        slots.iter().filter(|slot| slot["is_processing"] == true).count()
    }

    /// Ends it as a power cut would, with all that it started.
    pub fn kill(&mut self) {
        // Once it has been waited for, its number may be somebody else's.
        if let Ok(None) = self.child.try_wait() {
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        self.kill();
    }
}
