//! The settings tree and its check: every complaint at once, each with the place it is about.

use crate::{
    alias::{self, Alias},
    model,
    node::{Engine, Presence, is_node_name},
    node_url::NodeUrl,
};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[[node]]`, in the order of the file.
    pub nodes: Vec<NodeConfig>,
    /// `[[alias]]`, in the order of the file.
    pub aliases: Vec<Alias>,
}

/// `[server]`: the door.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// `ADDRESS:PORT` each, or `docker` for the address of Docker's bridge.
    pub listen: Vec<String>,
    /// More names clients may use in `Host`, on any port; requests under them need `key`.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may call the API from a browser: `https://chat.example`.
    pub allowed_origins: Vec<String>,
    /// The key that clients must present when they do not come over loopback.
    pub key: Option<Secret>,
}

/// The listeners of a configuration that names none.
pub const DEFAULT_LISTEN: [&str; 2] = ["127.0.0.1:11400", "[::1]:11400"];

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.map(String::from).to_vec(),
            allowed_hosts: vec![],
            allowed_origins: vec![],
            key: None,
        }
    }
}

/// `[[node]]`: one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// `[a-z0-9-]{1,40}`, unique.
    pub name: String,
    /// Where its engine answers.
    pub url: NodeUrl,
    /// The engine, when its owner wrote it; else it is found out by asking.
    pub engine: Option<Engine>,
    /// How it comes and goes.
    pub presence: Presence,
    /// Generations per loaded model sent there at once.
    pub max_concurrent: Option<u32>,
    /// Higher goes first among equals.
    pub priority: i32,
    /// The key it wants from us. A reference, never the key itself.
    pub api_key: Option<Secret>,
    /// Its GPU, shown as typed.
    pub gpu: Option<String>,
    /// Its video memory in bytes.
    pub vram_bytes: Option<u64>,
}

/// Where a secret is kept. The configuration never holds one itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `file:PATH`: a file that only its owner can read (0600).
    File(String),
}

impl Secret {
    /// Reads `env:NAME` or `file:PATH`.
    ///
    /// # Errors
    /// Says what is wrong, without repeating the text: it may be a key that somebody pasted.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if is_env_name(name) => Ok(Self::Env(name.to_owned())),
            Some(("env", _)) => Err("`env:` wants the name of an environment variable, for example env:OPENROUTER_API_KEY".into()),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("file", _)) => Err("`file:` wants the path of a file that holds the key".into()),
            _ => Err("a key is not written here: use \"env:NAME\" or \"file:PATH\" (a file only you can read, mode 0600)".into()),
        }
    }
}

fn is_env_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// How bad a complaint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used, and somebody should look.
    Warning,
}

/// One thing that is wrong, and where: `path` is the way to it in the file, for example `node[1].url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The way to the place: table, index in an array, field.
    pub path: Vec<Step>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what was meant.
    pub message: String,
}

/// One step on the way to a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field or a table.
    Field(String),
    /// A position in an array, from 0.
    Index(usize),
}

/// Shorthand for a path: `at("node", 1, "url")`.
fn at(table: &str, index: usize, field: &str) -> Vec<Step> {
    vec![Step::Field(table.into()), Step::Index(index), Step::Field(field.into())]
}

/// Checks what no single field can show. Empty when all is well.
#[must_use]
pub fn check(config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    check_nodes(config, &mut complaints);
    check_aliases(config, &mut complaints);
    complaints
}

fn error(path: Vec<Step>, message: String) -> Complaint {
    Complaint { path, severity: Severity::Error, message }
}

fn warning(path: Vec<Step>, message: String) -> Complaint {
    Complaint { path, severity: Severity::Warning, message }
}

fn check_nodes(config: &Config, complaints: &mut Vec<Complaint>) {
    for (i, node) in config.nodes.iter().enumerate() {
        if !is_node_name(&node.name) {
            let message = format!("{:?} cannot be a node's name: 1 to 40 of a-z, 0-9 and -", node.name);
            complaints.push(error(at("node", i, "name"), message));
        }
        if config.nodes[..i].iter().any(|other| other.name == node.name) {
            complaints.push(error(
                at("node", i, "name"),
                format!("there is another node called {:?}: names must be unique", node.name),
            ));
        }
        if let Some(other) = config.nodes[..i].iter().find(|other| other.url.same_server(&node.url)) {
            let message = format!(
                "{} is the same server as node {:?}: it counts once, under that name",
                node.url, other.name
            );
            complaints.push(warning(at("node", i, "url"), message));
        }
        if node.max_concurrent == Some(0) {
            complaints.push(error(
                at("node", i, "max_concurrent"),
                "0 would send this node nothing: leave the line out, or write 1 or more".into(),
            ));
        }
    }
}

fn check_aliases(config: &Config, complaints: &mut Vec<Complaint>) {
    for (i, alias) in config.aliases.iter().enumerate() {
        if alias.name.is_empty() || alias.name.contains('@') {
            complaints.push(error(
                at("alias", i, "name"),
                format!("{:?} cannot be an alias's name: it must not be empty or contain @", alias.name),
            ));
        }
        if config.aliases[..i].iter().any(|other| model::key(&other.name) == model::key(&alias.name)) {
            complaints.push(error(
                at("alias", i, "name"),
                format!("there is another alias called {:?}", alias.name),
            ));
        }
        if alias.models.is_empty() {
            complaints.push(error(
                at("alias", i, "models"),
                format!("alias {:?} stands for no model: name at least one", alias.name),
            ));
        }
        for (j, entry) in alias.models.iter().enumerate() {
            let mut path = at("alias", i, "models");
            path.push(Step::Index(j));
            if alias::is_wildcard(entry) {
                complaints.push(error(
                    path,
                    format!("{entry:?}: a wildcard can be an alias's name, not one of its models"),
                ));
            } else if let (_, Some(node)) = model::split_pin(entry)
                && !config.nodes.iter().any(|n| n.name == node)
            {
                complaints.push(error(
                    path,
                    format!("{entry:?} is pinned to {node:?}, and there is no node of that name"),
                ));
            }
        }
    }
    if let Some(cycle) = alias::find_cycle(&config.aliases) {
        let first = config.aliases.iter().position(|a| Some(&a.name) == cycle.first()).unwrap_or(0);
        complaints.push(error(
            at("alias", first, "models"),
            format!("these aliases lead in a circle: {}", cycle.join(" → ")),
        ));
    }
}

/// Drops nodes that are the same server as an earlier one; `check` has warned about them.
#[must_use]
pub fn without_doubles(nodes: &[NodeConfig]) -> Vec<NodeConfig> {
    let mut kept: Vec<NodeConfig> = Vec::with_capacity(nodes.len());
    for node in nodes {
        if !kept.iter().any(|other| other.url.same_server(&node.url)) {
            kept.push(node.clone());
        }
    }
    kept
}

/// Reads a size as people write it: `24GB`, `24 GiB`, `512mb`, or plain bytes.
///
/// GB and GiB both mean 2^30: that is what graphics cards are sold by, and the difference is never what is meant.
///
/// # Errors
/// Says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{text:?} is not a size: write it like \"24GB\" or \"512MB\"")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number * factor < 1e18 => Ok((number * factor) as u64),
        _ => Err(format!("{text:?} is not a size: write it like \"24GB\" or \"512MB\"")),
    }
}

/// Reads a duration as people write it: `90s`, `2m`, `1h30m`, `250ms`. Milliseconds.
///
/// # Errors
/// Says what was expected.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration: write it like \"20s\", \"2m\" or \"1h30m\"");
    let mut rest = text.trim();
    let mut total_ms = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total_ms += number
            * match &rest[..unit] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" | "min" => 60e3,
                "h" => 3_600e3,
                "d" => 86_400e3,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    if total_ms < 1e14 { Ok(total_ms as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, url: &str) -> NodeConfig {
        NodeConfig {
            name: name.into(),
            url: NodeUrl::parse(url).unwrap(),
            engine: None,
            presence: Presence::ComesAndGoes,
            max_concurrent: None,
            priority: 0,
            api_key: None,
            gpu: None,
            vram_bytes: None,
        }
    }

    #[test]
    fn all_complaints_come_at_once() {
        let config = Config {
            nodes: vec![node("nas", "nas:11434"), node("nas", "10.0.0.5"), node("Big Box", "10.0.0.5:11434")],
            aliases: vec![
                Alias { name: "a".into(), models: vec!["b".into(), "x@nowhere".into()] },
                Alias { name: "b".into(), models: vec!["a".into()] },
            ],
            ..Config::default()
        };
        let complaints = check(&config);
        let errors = complaints.iter().filter(|c| c.severity == Severity::Error).count();
        assert_eq!(errors, 4, "duplicate name, bad name, pin to nowhere, cycle: {complaints:#?}");
        assert_eq!(complaints.len(), 5, "and the same server twice as a warning: {complaints:#?}");
        assert_eq!(without_doubles(&config.nodes).len(), 2);
    }

    #[test]
    fn sizes_and_durations_as_people_write_them() {
        assert_eq!(parse_size("24GB"), Ok(24 << 30));
        assert_eq!(parse_size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_size("512mb"), Ok(512 << 20));
        for wrong in ["", "GB", "24 parsecs", "-1GB", "0"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration_ms("2m"), Ok(120_000));
        assert_eq!(parse_duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration_ms("250ms"), Ok(250));
        for wrong in ["", "2", "m", "2 fortnights", "1h30"] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pasted_key_is_refused_and_not_repeated() {
        let why = Secret::parse("sk-or-v1-0123456789").unwrap_err();
        assert!(!why.contains("0123"), "{why}");
        assert_eq!(Secret::parse("env:KEY_1"), Ok(Secret::Env("KEY_1".into())));
        assert!(Secret::parse("env:1 2").is_err());
    }
}
