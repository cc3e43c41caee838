//! Who holds a port that we were told to use; and the way out where it is an Ollama: it becomes a node behind us.

use crate::{config, discovery, engines};
use futures::future::join_all;
use lamplighter_core::{
    config::{LISTEN_PORT, Listen, NodeConfig},
    node::Engine,
    node_url::NodeUrl,
    snapshot::Offer,
};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};
use tokio::time::timeout;

/// Longest that whoever holds the port may take to say who it is.
const WHO: Duration = Duration::from_secs(3);
/// Ports that are tried for a listener of our own.
const TRIED: u16 = 100;

/// An address that somebody else holds, and who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    address: SocketAddr,
    program: Option<String>,
    who: Who,
    asked_for: AskedFor,
}

/// For whom the port was wanted: what there is to do about it depends on that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum AskedFor {
    /// A configuration with `listen` in it.
    #[default]
    Configured,
    /// The demo, whose port is what it is.
    Demo,
    /// A gateway that runs already: its process and address.
    Running(u32, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Lamplighter { version: String },
    Ollama { version: String },
    Somebody,
}

impl Held {
    /// Asks at the address who is there. `program` is what the system says.
    pub async fn ask(address: SocketAddr, program: Option<String>) -> Self {
        let who = timeout(WHO, who(address)).await.unwrap_or(Who::Somebody);
        Self { address, program, who, asked_for: AskedFor::Configured }
    }

    /// The demo asked for it.
    #[must_use]
    pub fn for_the_demo(self) -> Self {
        Self { asked_for: AskedFor::Demo, ..self }
    }

    /// The one that is to be started may run already, as that process at that address: then it is who holds the port.
    #[must_use]
    pub fn or_runs_already(self, pid: u32, url: &str) -> Self {
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let is_it = matches!(self.who, Who::Lamplighter { .. }) && port == Some(self.address.port());
        if is_it { Self { asked_for: AskedFor::Running(pid, url.to_owned()), ..self } } else { self }
    }

    /// Why the gateway did not start, and the ways out.
    #[must_use]
    pub fn why_not_started(&self) -> String {
        let (address, taken) = (self.address, self.taken());
        match &self.asked_for {
            AskedFor::Running(pid, url) => {
                return format!("Lamplighter runs already (process {pid}) at {url}");
            }
            AskedFor::Demo => return format!("{taken}, and the demo has no other port: end it first"),
            AskedFor::Configured => {}
        }
        match &self.who {
            Who::Lamplighter { version } => format!(
                "Another Lamplighter (version {version}) serves at {address}, with another configuration or for another user. \
                 {taken}: end it, or choose another port in `listen` of [server]"
            ),
            Who::Ollama { version } => format!(
                "An Ollama (version {version}) holds {address}. Give Lamplighter a port of its own in `listen` of [server] \
                 (11400 is the usual one) and write this Ollama as a [[node]] behind it, or end it. {taken}"
            ),
            Who::Somebody => format!("{taken}: end it, or choose another port in `listen` of [server]"),
        }
    }

    /// What it means where we serve at another address, and what to do.
    #[must_use]
    pub fn beside(&self, base_url: &str) -> (String, String) {
        let address = self.address;
        match &self.who {
            Who::Ollama { version } => (
                format!(
                    "Ollama itself holds {address} (version {version}): Lamplighter does not listen there."
                ),
                format!("Use it as a node, and point apps at {base_url}."),
            ),
            Who::Lamplighter { .. } | Who::Somebody => (
                format!("{}: Lamplighter does not listen there.", self.taken()),
                format!("Point apps at {base_url}, or end that program and start Lamplighter again."),
            ),
        }
    }

    /// What could become a node.
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        let is_ollama = matches!(self.who, Who::Ollama { .. });
        let (name, url) = (Engine::Ollama.word().to_owned(), reached(self.address).to_string());
        is_ollama.then_some(Offer { name, url })
    }

    fn taken(&self) -> String {
        let program = self.program.as_deref().unwrap_or("another program");
        format!("{} is taken by {program}", self.address)
    }
}

async fn who(address: SocketAddr) -> Who {
    let (http, at) = (engines::http_client(), reached(address));
    let health = http.get(format!("http://{at}/control/v1/health")).send().await;
    // A Lamplighter also answers as an Ollama does.
    if let Ok(answer) = health
        && answer.status().is_success()
        && let Ok(answer) = answer.json::<Value>().await
        && let Some(version) = answer["version"].as_str()
    {
        let version = version.chars().filter(|c| !c.is_control()).take(20).collect();
        return Who::Lamplighter { version };
    }
    let Ok(url) = NodeUrl::parse(&at.to_string()) else { return Who::Somebody };
    match discovery::identify(http, url).await {
        Ok((identity, _)) if identity.engine == Engine::Ollama => {
            Who::Ollama { version: identity.version.unwrap_or_else(|| "unknown".into()) }
        }
        _ => Who::Somebody,
    }
}

/// Where a program that listens on all addresses is reached from here.
fn reached(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr =
        if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

/// Writes the Ollama that holds our port into the configuration file as a node, together with the engines that are found on this
/// computer as long as no node is configured, and gives the gateway the next free port from 11400 on. Comments are kept.
///
/// # Errors
/// In words; nothing was written.
pub async fn adopt(path: &Path, offer: &Offer) -> Result<(), String> {
    let url = NodeUrl::parse(&offer.url)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?,
    };
    let parse = |text: &str| {
        let parsed = config::parse(if text.is_empty() { b"#" } else { text.as_bytes() }, path);
        parsed.map_err(|complaints| {
            let first = complaints.first().map_or_else(String::new, ToString::to_string);
            format!("The configuration file is broken and is not changed: {first}")
        })
    };
    let before = parse(&text)?.config;
    let mut text = text;
    if !before.nodes.iter().any(|node| node.url.same_server(&url)) {
        let found =
            if before.nodes.is_empty() { beside(&url, &before.server.listen).await } else { Vec::new() };
        let taken = [before.nodes.as_slice(), &found].concat();
        let name = discovery::free_name(&offer.name, &taken);
        let node =
            config::edit::NewNode { name, url: offer.url.clone(), fields: config::edit::Fields::default() };
        text = config::edit::add(&text, &found, &node)?;
    }
    if before.server.listen.iter().any(|entry| entry.port() == Some(url.port())) {
        let port = free_port(&before.server.listen, url.port())?;
        text = config::edit::move_listeners(&text, &before.server.listen, url.port(), port)?;
    }
    parse(&text)?;
    config::write_atomically(path, text.as_bytes(), config::mode_of(path))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// The engines that would have been found by themselves: the first node that is written down ends that.
async fn beside(url: &NodeUrl, listen: &[Listen]) -> Vec<NodeConfig> {
    let own = |port: u16| port == url.port() || listen.iter().any(|entry| entry.port() == Some(port));
    let ports: Vec<u16> = discovery::ports().into_iter().filter(|&port| !own(port)).collect();
    let http = engines::http_client();
    let answers = join_all(ports.into_iter().map(|port| discovery::ask(http.clone(), port))).await;
    let mut found: Vec<NodeConfig> = Vec::new();
    for (url, engine) in answers.into_iter().flatten() {
        found.push(NodeConfig::new(&discovery::free_name(engine.word(), &found), url));
    }
    found
}

/// The first port from 11400 on that is free wherever the configuration listens on `held`.
fn free_port(listen: &[Listen], held: u16) -> Result<u16, String> {
    let moving: Vec<SocketAddr> = listen
        .iter()
        .filter(|entry| entry.port() == Some(held))
        .flat_map(|entry| entry.addresses(None))
        .collect();
    let is_free = |port: u16| {
        let mut free = true;
        for address in &moving {
            match TcpListener::bind(SocketAddr::new(address.ip(), port)) {
                Ok(_) => {}
                // A family that this machine lacks holds nothing.
                Err(error) => free &= error.kind() != std::io::ErrorKind::AddrInUse,
            }
        }
        free
    };
    let is_ours = |port: u16| listen.iter().any(|entry| entry.port() == Some(port));
    let mut ports = (LISTEN_PORT..LISTEN_PORT + TRIED).filter(|&port| port != held && !is_ours(port));
    let last = LISTEN_PORT + TRIED - 1;
    ports.find(|&port| is_free(port)).ok_or_else(|| format!("No port from {LISTEN_PORT} to {last} is free."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_the_port_decides_what_there_is_to_do() {
        let (address, version) = ("127.0.0.1:11400".parse().unwrap(), "1".to_owned());
        let held = |who: Who| Held { address, program: None, who, asked_for: AskedFor::Configured };
        let other = held(Who::Lamplighter { version: version.clone() });
        assert!(other.why_not_started().contains("another configuration"));
        let demo = other.clone().for_the_demo();
        assert!(!demo.why_not_started().contains("`listen`"), "{}", demo.why_not_started());
        let again = demo.or_runs_already(7, "http://127.0.0.1:11400");
        assert_eq!(again.why_not_started(), "Lamplighter runs already (process 7) at http://127.0.0.1:11400");
        let elsewhere = other.clone().or_runs_already(7, "http://127.0.0.1:11401");
        assert_eq!(elsewhere, other, "that one is not in the way");
        let ollama = held(Who::Ollama { version });
        assert_eq!(ollama.clone().or_runs_already(7, "http://127.0.0.1:11400"), ollama, "its file is stale");
    }
}
