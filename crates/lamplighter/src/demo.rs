//! The demo fleet: three simulated machines on loopback, a little traffic, temporary data. Alone: real clients must never get
//! simulated answers, so it has a port of its own and never reads the user's configuration.

mod sleeper;

use crate::{
    engines,
    registry::{Memory, Remembered},
};
use lamplighter_core::{model::Model, node::Engine, node_url::NodeUrl, operation::Dialects};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use serde_json::json;
use sleeper::Sleeper;
use std::{io, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The demo's own port.
pub const PORT: u16 = 11499;
/// The laptop is there this long, and then gone this long.
const LAPTOP_HERE: Duration = Duration::from_secs(40);
const LAPTOP_AWAY: Duration = Duration::from_secs(20);

const GB: u64 = 1 << 30;

/// The simulated machines, and the folder with their configuration.
#[derive(Debug)]
pub struct Demo {
    home: TempDir,
    nas: SimNode,
    workstation: Sleeper,
    laptop: SimNode,
}

impl Demo {
    /// Starts the machines and writes their configuration.
    ///
    /// # Errors
    /// When the machines cannot listen, or the folder cannot be written.
    pub async fn start() -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("lamplighter-demo-").tempdir()?;
        let nas = SimNode::start(nas()).await?;
        let workstation = Sleeper::new(workstation()).await?;
        let laptop = SimNode::start(laptop()).await?;
        let demo = Self { home, nas, workstation, laptop };
        std::fs::write(demo.config_path(), demo.config()?)?;
        Ok(demo)
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.home.path().join("config.toml")
    }

    /// What an earlier run would have seen of the machine that sleeps.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let profile = workstation();
        let model = |model: &SimModel| Model {
            name: model.name.clone(),
            digest: Some(model.digest.clone()),
            size_bytes: Some(model.size),
            parameter_size: Some(model.parameter_size.clone()),
            loaded: Some(false),
            ..Model::default()
        };
        let seen = Remembered {
            engine: Some(Engine::Ollama),
            version: Some(profile.version.clone()),
            dialects: Dialects {
                openai: true,
                responses: true,
                anthropic: true,
                count_tokens: false,
                ollama: true,
            },
            models: profile.models.iter().map(model).collect(),
            vram_bytes: None,
        };
        NodeUrl::parse(&self.workstation.url()).map(|url| (url, seen)).into_iter().collect()
    }

    /// The folder for what is kept, as long as the demo runs.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn config(&self) -> io::Result<String> {
        let card = self.workstation.card()?;
        Ok(format!(
            r#"# The demo fleet: three simulated machines. Nothing here is real, and it is gone when the demo ends.
[server]
listen = ["127.0.0.1:{PORT}", "[::1]:{PORT}"]

[[node]]
name = "workstation"
url = "{}"
presence = "sleeps"
gpu = "RTX 4090"
vram = "24GB"
priority = 10

[node.wake]               # a real magic packet, to a card that listens on loopback
mac = "{}"
broadcast = ["{}"]
timeout = "1m"

[[node]]
name = "nas"
url = "{}"
presence = "always-on"

[[node]]
name = "laptop"
url = "{}"
presence = "comes-and-goes"

[[alias]]
name = "coder"            # the workstation when it is awake, else the NAS; it is woken for the next question
models = ["qwen3-coder:30b", "llama3.2:3b"]
wake = "fallback"

[[alias]]
name = "notes"            # the laptop when it is there, else the NAS
models = ["gemma3-4b", "llama3.2:3b@nas"]
"#,
            self.workstation.url(),
            sleeper::MAC,
            card,
            self.nas.url(),
            self.laptop.url()
        ))
    }

    /// Lets the fleet live: the laptop comes and goes, and a few programs ask for things. Ends with `stop`.
    pub fn live(self, base_url: &str, tasks: &TaskTracker, stop: &CancellationToken) {
        let Self { home, nas, workstation, laptop } = self;
        let stopped = stop.clone();
        tasks.spawn(async move {
            // The fixed machines and the folder live as long as the demo.
            stopped.cancelled().await;
            drop((home, nas));
        });
        tasks.spawn(workstation.run(stop.clone()));
        tasks.spawn(come_and_go(laptop, stop.clone()));
        for program in PROGRAMS {
            tasks.spawn(program.run(base_url.to_owned(), stop.clone()));
        }
    }
}

/// An always-on NAS with a small CPU: 9 tokens a second.
fn nas() -> Profile {
    machine(Profile::ollama("nas"), 9.0, 5, 900)
        .model(model("llama3.2:3b", 2.0, "3.2B").loaded(true))
        .model(model("qwen2.5:1.5b", 1.0, "1.5B"))
        .model(model("bge-m3:latest", 1.2, "567M").capabilities(["embedding"]))
}

/// A workstation with an RTX 4090: 93 tokens a second, four models of which one is loaded.
fn workstation() -> Profile {
    machine(Profile::ollama("workstation"), 93.0, 30, 350)
        .vram(24 * GB)
        .load_ms(4_000)
        .model(model("qwen3-coder:30b", 18.6, "30.5B").loaded(true))
        .model(model("gpt-oss:20b", 13.8, "20.9B"))
        .model(model("llama3.2:3b", 2.0, "3.2B"))
        .model(model("gemma3:27b", 17.4, "27.4B"))
}

/// A laptop with llama.cpp that comes and goes.
fn laptop() -> Profile {
    machine(Profile::llamacpp("laptop"), 24.0, 10, 500).model(model("gemma3-4b", 3.3, "4.3B"))
}

fn model(name: &str, size_gb: f64, parameters: &str) -> SimModel {
    let model = SimModel::new(name).size((size_gb * GB as f64) as u64);
    SimModel { parameter_size: parameters.into(), ..model }
}

/// Its answers say what they are, as often as it takes to be watched.
fn machine(profile: Profile, tok_s: f64, times: usize, ttft_ms: u64) -> Profile {
    let said = format!("This is a demo: {} is a simulated machine, and no model wrote this. ", profile.name);
    profile.text(said.repeat(times).trim_end()).tok_s(tok_s).ttft_ms(ttft_ms).record(false)
}

async fn come_and_go(mut laptop: SimNode, stop: CancellationToken) {
    let port = laptop.addr().port();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LAPTOP_HERE) => {}
        }
        laptop.kill().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LAPTOP_AWAY) => {}
        }
        match SimNode::start(self::laptop().port(port)).await {
            Ok(back) => laptop = back,
            // Somebody has taken the port meanwhile: the laptop stays away.
            Err(_) => return stop.cancelled().await,
        }
    }
}

/// A program that asks for something now and then.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    path: &'static str,
    model: &'static str,
    every: Duration,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: "Claude Code (demo)",
        path: "/v1/chat/completions",
        model: "llama3.2:3b@nas",
        every: Duration::from_secs(7),
    },
    Program {
        name: "Open WebUI (demo)",
        path: "/api/chat",
        model: "llama3.2:3b@nas",
        every: Duration::from_secs(11),
    },
    Program {
        name: "notes.py (demo)",
        path: "/v1/chat/completions",
        model: "gemma3-4b",
        every: Duration::from_secs(17),
    },
];

impl Program {
    async fn run(self, base_url: String, stop: CancellationToken) {
        let http = engines::http_client();
        loop {
            let pause = self.every.mul_f64(0.5 + crate::clock::random());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ask(&http, &base_url) => {}
            }
        }
    }

    /// One request, read to its end. What comes of it is for the eyes, not for us.
    async fn ask(self, http: &reqwest::Client, base_url: &str) {
        let body = json!({ "model": self.model, "stream": true,
            "messages": [{ "role": "user", "content": "What is a lamplighter?" }] });
        let request = http.post(format!("{base_url}{}", self.path)).header("user-agent", self.name);
        let request = request.header("authorization", format!("Bearer {}", self.name)).json(&body);
        if let Ok(mut answer) = request.timeout(Duration::from_secs(120)).send().await {
            while let Ok(Some(_)) = answer.chunk().await {}
        }
    }
}
