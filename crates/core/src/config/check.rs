//! Checks what no single field of the configuration can show: every complaint at once, each with its place.

use super::{Config, Listen, ServerConfig};
use crate::{
    alias, model,
    node::is_node_name,
    node_url::{NodeUrl, may_lead_to},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
pub(super) fn at(table: &str, index: usize, field: &str) -> Vec<Step> {
    vec![Step::Field(table.into()), Step::Index(index), Step::Field(field.into())]
}

/// Checks what no single field can show. Empty when all is well.
#[must_use]
pub fn check(config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    check_server(&config.server, &mut complaints);
    check_nodes(config, &mut complaints);
    check_aliases(config, &mut complaints);
    complaints
}

pub(super) fn error(path: Vec<Step>, message: String) -> Complaint {
    Complaint { path, severity: Severity::Error, message }
}

pub(super) fn warning(path: Vec<Step>, message: String) -> Complaint {
    Complaint { path, severity: Severity::Warning, message }
}

fn check_server(server: &ServerConfig, complaints: &mut Vec<Complaint>) {
    let field = |field: &str| vec![Step::Field("server".into()), Step::Field(field.into())];
    if server.listen.is_empty() {
        complaints
            .push(error(field("listen"), "an empty list would listen nowhere: leave the line out".into()));
    }
    for (i, listen) in server.listen.iter().enumerate() {
        let path = || [field("listen"), vec![Step::Index(i)]].concat();
        if listen.port() != Some(0) && server.listen[..i].contains(listen) {
            complaints.push(error(path(), format!("{listen} stands here twice")));
        }
        if server.key.is_none() && !listen.is_loopback() {
            let who = if *listen == Listen::Docker { "every container" } else { "the network" };
            let message = format!("{listen} is reachable from {who}: set `key` in [server] first");
            complaints.push(error(path(), message));
        }
    }
    if server.key.is_none() && !server.allowed_hosts.is_empty() {
        let message = "requests under these names need `key` in [server]; without it they are refused".into();
        complaints.push(warning(field("allowed_hosts"), message));
    }
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
        if is_ourselves(&config.server, &node.url) {
            let itself = format!("{} is this Lamplighter itself, not a machine with models", node.url);
            // A further port may be held by an engine: then it is left to it, and may be a node.
            complaints.push(if node.url.port() == config.server.port() {
                error(at("node", i, "url"), itself)
            } else {
                warning(at("node", i, "url"), format!("{itself}, unless another program holds that port"))
            });
        }
        if node.url.host().parse().is_ok_and(|ip| !may_lead_to(node.url.host(), ip)) {
            let message = format!("{} is no machine with models", node.url);
            complaints.push(error(at("node", i, "url"), message));
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
        if node.vram_bytes.is_some_and(|bytes| bytes < 1 << 20) {
            let message = "that is less than a megabyte: write it with its unit, like \"24GB\"".into();
            complaints.push(error(at("node", i, "vram"), message));
        }
        super::wake::check(i, node, complaints);
        super::keep_awake::check(i, node, complaints);
    }
}

/// Would a request to `url` come back in by our own door? A name other than `localhost` is not looked up here; what comes back
/// by one is told by its hops.
fn is_ourselves(server: &ServerConfig, url: &NodeUrl) -> bool {
    let addresses: Vec<IpAddr> = match url.host() {
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        host => host.parse().into_iter().collect(),
    };
    let own = server.listen.iter().flat_map(|listen| listen.addresses(None));
    own.filter(|own| own.port() == url.port()).any(|own| {
        let every = own.ip().is_unspecified();
        addresses.iter().any(|ip| *ip == own.ip() || every && ip.is_loopback())
    })
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
            if entry.trim().is_empty() {
                complaints.push(error(path, "an empty name is no model".into()));
            } else if alias::is_wildcard(entry) {
                complaints.push(error(
                    path,
                    format!("{entry:?}: a wildcard can be an alias's name, not one of its models"),
                ));
            } else if let (_, Some(node)) = model::split_pin(entry)
                && !config.nodes.iter().any(|n| n.name == node)
            {
                // Models are called so too.
                complaints.push(warning(
                    path,
                    format!("{entry:?}: there is no node of that name, {node:?}: it stands for a model of the whole name"),
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

#[cfg(test)]
mod tests {
    use super::super::{NodeConfig, Secret, without_doubles};
    use super::*;
    use crate::alias::Alias;

    fn node(name: &str, url: &str) -> NodeConfig {
        NodeConfig::new(name, NodeUrl::parse(url).unwrap())
    }

    #[test]
    fn all_complaints_come_at_once() {
        let config = Config {
            nodes: vec![node("nas", "nas:11434"), node("nas", "10.0.0.5"), node("Big Box", "10.0.0.5:11434")],
            aliases: vec![
                Alias { name: "a".into(), models: vec!["b".into(), "x@nowhere".into()], wake: None },
                Alias { name: "b".into(), models: vec!["a".into()], wake: None },
            ],
            ..Config::default()
        };
        let complaints = check(&config);
        let errors = complaints.iter().filter(|c| c.severity == Severity::Error).count();
        assert_eq!(errors, 3, "duplicate name, bad name, cycle: {complaints:#?}");
        assert_eq!(
            complaints.len(),
            5,
            "and the same server twice, a pin to nowhere as warnings: {complaints:#?}"
        );
        assert_eq!(without_doubles(&config.nodes).len(), 2);
    }

    #[test]
    fn t41_our_own_address_is_no_node() {
        let complaints = |listen: &[&str], url: &str| {
            let mut config = Config { nodes: vec![node("loop", url)], ..Config::default() };
            if !listen.is_empty() {
                config.server.listen = listen.iter().map(|listen| listen.parse().unwrap()).collect();
                config.server.key = Some(Secret::Env("KEY".into()));
            }
            check(&config).into_iter().map(|complaint| complaint.message).collect::<Vec<_>>()
        };
        for (listen, url) in [
            (&[][..], "http://127.0.0.1:11400"),
            (&[], "localhost:11400"),
            (&[], "http://[::1]:11400/v1"),
            (&[], "https://localhost:11400"),
            (&["0.0.0.0:80"], "http://localhost"),
            (&["127.0.0.1:1", "10.0.0.5:7000"], "10.0.0.5:7000"),
            (&["localhost:9000"], ":9000"),
        ] {
            let said = complaints(listen, url);
            assert!(said.len() == 1 && said[0].contains("this Lamplighter itself"), "{url}: {said:?}");
        }
        for (listen, url) in [
            (&[][..], "localhost:11434"),
            (&[], "127.0.0.2:11400"),
            (&[], "10.0.0.5:11400"),
            (&["10.0.0.5:7000"], "localhost:7000"),
            (&["127.0.0.1:0"], "localhost:11400"),
        ] {
            assert_eq!(complaints(listen, url), Vec::<String>::new(), "{url}");
        }
        for url in ["http://169.254.169.254", "[fd00:ec2::254]:80", "100.100.100.200", "224.0.0.1"] {
            let said = complaints(&[], url);
            assert!(said.len() == 1 && said[0].contains("no machine with models"), "{url}: {said:?}");
        }
    }

    #[test]
    fn a_door_to_the_network_needs_a_key() {
        let mut config = Config::default();
        assert_eq!(check(&config), []);
        config.server.listen = ["0.0.0.0:0", "docker", "127.0.0.1:0"].map(|l| l.parse().unwrap()).to_vec();
        config.server.allowed_hosts = vec!["models.example".into()];
        let said: Vec<String> = check(&config).into_iter().map(|c| c.message).collect();
        assert_eq!(
            said,
            [
                "0.0.0.0:0 is reachable from the network: set `key` in [server] first",
                "docker is reachable from every container: set `key` in [server] first",
                "requests under these names need `key` in [server]; without it they are refused",
            ]
        );
        config.server.key = Some(Secret::Env("KEY".into()));
        assert_eq!(check(&config), []);
        assert_eq!(config.server.port(), 0);
        config.server.listen = vec![Listen::Docker, Listen::Localhost(8), Listen::Docker];
        assert_eq!((config.server.port(), check(&config).len()), (8, 1), "docker twice is one too many");
    }
}
