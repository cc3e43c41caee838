//! The fake nodes of a measurement, in a process of their own.

use crate::process::Running;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

/// Fake nodes that end with this.
#[derive(Debug)]
pub struct Nodes {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    /// Their process.
    _running: Running,
}

impl Nodes {
    /// Starts `count` nodes with `models` models each, on the core that this process runs on.
    pub fn start(count: usize, models: usize) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let mut command = Command::new(own);
        command.args(["node", "--count", &count.to_string(), "--models", &models.to_string()]);
        let mut running = Running::start(command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        if let Some(out) = running.0.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(|error| format!("the fake nodes: {error}"))?;
        }
        let told: serde_json::Value =
            serde_json::from_str(&line).map_err(|_| "the fake nodes did not start".to_owned())?;
        let addresses = told["addresses"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|address| address.as_str()?.parse().ok()).collect();
        Ok(Self { addresses, _running: running })
    }
}
