//! Simulated nodes as processes of their own: they can be killed and stopped like real ones.

use crate::house::{binary, http, signal};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A running `lamplighter-simnode`. Killed on drop.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    control: String,
    http: reqwest::Client,
}

impl NodeProcess {
    /// Starts one and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(binary("lamplighter-simnode"))
            .args(["--name", name])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("lamplighter-simnode starts: build it with `cargo build -p lamplighter-simnode`");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output is piped"));
        out.read_line(&mut line).expect("its output can be read");
        let ready: Value = serde_json::from_str(&line).expect("one line of JSON when it serves");
        let text = |key: &str| ready[key].as_str().expect("a text").to_owned();
        Self { child, name: text("name"), url: text("url"), control: text("control"), http: http() }
    }

    /// Its part of a configuration, with lines of its own.
    #[must_use]
    pub fn node(&self, more: &str) -> String {
        format!(
            "[[node]]\nname = \"{}\"\nurl = \"{}\"\npresence = \"always-on\"\n{more}\n",
            self.name, self.url
        )
    }

    /// Sends it a signal: `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// One of its counters since the start.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn count(&self, counter: &str) -> u64 {
        let answer = self.http.get(format!("{}/stats", self.control)).send().await.expect("it answers");
        let stats: Value = answer.json().await.expect("JSON");
        stats[counter].as_u64().unwrap_or_else(|| panic!("no counter {counter}: {stats}"))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
