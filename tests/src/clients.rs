//! The official client libraries, run unchanged from the scripts in `tools/clients`, and what they report.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A script that has not ended by then is killed, and the test fails. Its single calls have their own time-out of 60 s.
const LIMIT: Duration = Duration::from_secs(150);

/// One of the libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// `openai`
    Openai,
    /// `anthropic`
    Anthropic,
    /// `ollama`
    Ollama,
}

/// The Python that has the libraries; `cargo xtask tools` tells where it is.
#[derive(Debug, Clone)]
pub struct Python(PathBuf);

/// A script under way. Killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    library: Library,
    began: Instant,
    _home: tempfile::TempDir,
}

/// What a script reports when it has ended.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// True when every call was.
    pub ok: bool,
    /// Each call's outcome, in the order made.
    pub calls: Vec<Call>,
}

/// The outcome of one call.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// Its name in the script.
    pub call: String,
    /// It did not raise.
    pub ok: bool,
    /// The text of the answer.
    #[serde(default)]
    pub text: String,
    /// What was raised.
    #[serde(default)]
    pub error: String,
    /// The classes that would have caught it, the most special one first.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The status that the error carries; Ollama's client says -1 when it has none.
    #[serde(default)]
    pub status: Option<i32>,
    /// Our headers on the answer, in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Everything else that this call reports.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Python {
    /// `None`, with the test written down as skipped, when it is not there.
    #[must_use]
    pub fn or_skip(test: &str) -> Option<Self> {
        let found =
            std::env::var_os("LAMPLIGHTER_PYTHON").map(PathBuf::from).filter(|python| python.is_file());
        if found.is_none() {
            crate::house::skip(test, "no client libraries: run `env $(cargo xtask tools) cargo test …`");
        }
        found.map(Self)
    }

    /// Starts the library's script against the server at `url`, asking for `model`. Nothing of the environment goes along.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(&self, library: Library, url: &str, model: &str, args: &[&str]) -> Running {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(&self.0);
        command.arg(script(library)).args([url, model]).args(args);
        command.env_clear().env("HOME", home.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("Python starts");
        Running { child, library, began: Instant::now(), _home: home }
    }

    /// The same, to its end.
    pub async fn run(&self, library: Library, url: &str, model: &str, args: &[&str]) -> Report {
        self.start(library, url, model, args).report().await
    }
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended?
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes too long, or ends without a report.
    pub async fn report(mut self) -> Report {
        while !self.has_ended() {
            assert!(
                self.began.elapsed() < LIMIT,
                "the {:?} client has not ended after {LIMIT:?}",
                self.library
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // One line, far below what a pipe holds.
        let (mut out, mut said) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut said);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("no report ({error}): {out}{said}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Report {
    /// The outcome of that call.
    ///
    /// # Panics
    /// When it was not made.
    #[must_use]
    pub fn call(&self, name: &str) -> &Call {
        let found = self.calls.iter().find(|call| call.call == name);
        found.unwrap_or_else(|| panic!("no call {name} in {:?}", self.calls))
    }
}

impl Call {
    /// The node that answered, by the header.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.headers.get("x-lamplighter-node").map(String::as_str)
    }

    /// Would `except <kind>` have caught what was raised?
    #[must_use]
    pub fn raised(&self, kind: &str) -> bool {
        !self.ok && self.kinds.iter().any(|raised| raised == kind)
    }
}

/// The official clients for JavaScript, to the end of one streamed call of each: OpenAI's chat and responses, Anthropic's
/// messages, Ollama's chat. `None`, with the test written down as skipped, where they are not.
///
/// # Panics
/// When they take too long, or end without a report.
pub async fn in_javascript(test: &str, url: &str, model: &str) -> Option<Report> {
    let libraries = std::env::var_os("LAMPLIGHTER_NODE_CLIENTS").filter(|place| Path::new(place).is_dir());
    let mut command = tokio::process::Command::new("node");
    command.arg(crate::project().join("tests/tools/clients/js/streams.mjs")).args([url, model]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("LAMPLIGHTER_NODE_CLIENTS", libraries.clone().unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = libraries.and_then(|_| command.spawn().ok());
    let Some(child) = child else {
        crate::house::skip(
            test,
            "no Node.js with client libraries: run `env $(cargo xtask tools) cargo test …`",
        );
        return None;
    };
    let output =
        tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("in time").expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr);
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no report ({error}): {said}")))
}

fn script(library: Library) -> PathBuf {
    let name = match library {
        Library::Openai => "openai_chat.py",
        Library::Anthropic => "anthropic_messages.py",
        Library::Ollama => "ollama_client.py",
    };
    crate::project().join("tests/tools/clients").join(name)
}
