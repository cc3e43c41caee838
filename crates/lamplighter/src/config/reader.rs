//! The shape of the configuration file: which table has which fields, and what a misspelt one was meant to be.

use super::{
    fields::{Fields, parsed, secret, size, text, whole, word, yes_or_no},
    wake,
};
use lamplighter_core::{
    alias::Alias,
    config::{self, Complaint, Config, Listen, NodeConfig, ServerConfig, Severity, SignsOfLife, Step},
    node::{Engine, Presence},
    node_url::NodeUrl,
    route::distance,
    wake::WakePolicy,
};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

const TABLES: [&str; 4] = ["server", "node", "alias", "wake"];
/// Stands for an entry of `listen` that cannot be read: nothing more is to be said of it.
const UNREAD: Listen = Listen::Localhost(0);
const SERVER: [&str; 6] = ["listen", "allowed_hosts", "allowed_origins", "key", "manage", "signs_of_life"];
const NODE: [&str; 12] = [
    "name",
    "url",
    "engine",
    "presence",
    "max_concurrent",
    "priority",
    "api_key",
    "gpu",
    "vram",
    "wake",
    "sleep",
    "keep_awake",
];
const ALIAS: [&str; 3] = ["name", "models", "wake"];

/// More than any house has; what checks compare pairwise stays quick.
const TABLES_MAX: usize = 1000;

/// Something that is wrong, before its line is known.
#[derive(Debug)]
pub(super) struct Finding {
    /// The way to the place.
    pub(super) path: Vec<Step>,
    /// The bytes it is about.
    pub(super) span: Range<usize>,
    pub(super) severity: Severity,
    pub(super) message: String,
    /// It is about something that is not there.
    pub(super) missing: bool,
}

/// Reads what can be read. Where something is wrong there is a finding, and in its place something harmless, so that
/// the rest can still be checked; such a configuration is never used.
pub(super) fn read(root: &DeTable<'_>) -> (Config, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut fields = Fields::root(root, &mut findings);
    let config = Config {
        server: fields.table("server", "[server]", &SERVER, read_server).unwrap_or_default(),
        nodes: fields.tables("node", "[[node]]", &NODE, TABLES_MAX, read_node),
        aliases: fields.tables("alias", "[[alias]]", &ALIAS, TABLES_MAX, read_alias),
        wake: fields.table("wake", "[wake]", &wake::RULES, wake::rules).unwrap_or_default(),
    };
    fields.refuse_unknown(&TABLES);
    (config, findings)
}

fn read_server(fields: &mut Fields<'_, '_>) -> ServerConfig {
    let default = ServerConfig::default();
    let listen = fields.list("listen", parsed(str::parse));
    ServerConfig {
        // What cannot be read keeps its place, so that what is said of the others points at them.
        listen: listen
            .map_or(default.listen, |list| list.into_iter().map(|it| it.unwrap_or(UNREAD)).collect()),
        allowed_hosts: fields
            .list("allowed_hosts", parsed(config::host_name))
            .into_iter()
            .flatten()
            .flatten()
            .collect(),
        allowed_origins: fields
            .list("allowed_origins", parsed(config::origin))
            .into_iter()
            .flatten()
            .flatten()
            .collect(),
        key: fields.optional("key", secret),
        manage: fields.optional("manage", yes_or_no).unwrap_or(default.manage),
        signs_of_life: fields
            .optional("signs_of_life", word("signs_of_life", &SignsOfLife::ALL, SignsOfLife::word))
            .unwrap_or_default(),
    }
}

fn read_node(fields: &mut Fields<'_, '_>) -> NodeConfig {
    let name = fields.required("name", "\"workstation\"", text).unwrap_or_default();
    let url = fields.required("url", "\"192.168.1.50:11434\"", parsed(NodeUrl::parse));
    let wake = fields.table("wake", "[node.wake]", &wake::WAKE, wake::wake);
    let presence = if wake.is_some() { Presence::Sleeps } else { Presence::ComesAndGoes };
    NodeConfig {
        name,
        url: url.unwrap_or_else(nowhere),
        engine: fields.optional("engine", word("engine", &Engine::ALL, Engine::word)),
        presence: fields
            .optional("presence", word("presence", &Presence::ALL, Presence::word))
            .unwrap_or(presence),
        max_concurrent: fields.optional("max_concurrent", whole),
        priority: fields.optional("priority", whole).unwrap_or(0),
        api_key: fields.optional("api_key", secret),
        gpu: fields.optional("gpu", text),
        vram_bytes: fields.optional("vram", size),
        wake,
        sleep: fields.table("sleep", "[node.sleep]", &wake::SLEEP, wake::sleep).flatten(),
        keep_awake: wake::keep_awake(fields),
    }
}

/// Stands for an address that could not be read. The name can never resolve (RFC 6761, 6.4).
fn nowhere() -> NodeUrl {
    NodeUrl::parse("unreadable.invalid").expect("this address is well formed")
}

fn read_alias(fields: &mut Fields<'_, '_>) -> Alias {
    let name = fields.required("name", "\"coder\"", text).unwrap_or_default();
    fields.required("models", "[\"qwen3-coder:30b\"]", |_| Ok(()));
    let models = fields.list("models", text).unwrap_or_default();
    Alias {
        name,
        models: models.into_iter().map(Option::unwrap_or_default).collect(),
        wake: fields.optional("wake", word("policy", &WakePolicy::ALL, WakePolicy::word)),
    }
}

impl Finding {
    /// Has this place been complained about already, or one around or inside it? Then more about it would only be noise.
    pub(super) fn touches(&self, path: &[Step]) -> bool {
        let shared = self.path.len().min(path.len());
        self.path[..shared] == path[..shared]
    }

    pub(super) fn from_check(complaint: Complaint, root: &DeTable<'_>) -> Self {
        let Complaint { path, severity, message } = complaint;
        Self { span: span_of(root, &path), path, severity, message, missing: false }
    }
}

/// Where the value at `path` stands; where it is missing, what is around it.
fn span_of(root: &DeTable<'_>, path: &[Step]) -> Range<usize> {
    let Some((Step::Field(first), rest)) = path.split_first() else { return 0..0 };
    let Some(mut value) = root.get(first.as_str()) else { return 0..0 };
    for step in rest {
        let next = match (step, value.get_ref()) {
            (Step::Field(name), DeValue::Table(table)) => table.get(name.as_str()),
            (Step::Index(i), DeValue::Array(entries)) => entries.get(*i),
            // `[node]` where `[[node]]` was meant is read as the only one.
            (Step::Index(0), DeValue::Table(_)) => Some(value),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
    }
    value.span()
}

/// What to say about a field or table that nobody knows. Its value is not repeated: it may be a key.
pub(super) fn suggest(name: &str, value: &DeValue<'_>, title: &str, known: &[&str]) -> String {
    let what = if value.is_table() { "table" } else { "field" };
    let place = if title.is_empty() { "at the top of the file".into() } else { format!("in {title}") };
    let unknown = format!("unknown {what} {name:?} {place}");
    if let Some(near) = nearest(name, known).or_else(|| synonym(name, known)) {
        let written = match near {
            "server" => "[server]".to_owned(),
            "node" | "alias" => format!("[[{near}]]"),
            "wake" if title.is_empty() => "[wake]".to_owned(),
            "wake" | "sleep" if title == "[[node]]" => format!("[node.{near}]"),
            field => format!("{field:?}"),
        };
        return format!("{unknown}: did you mean {written}?");
    }
    let home = [
        ("[server]", SERVER.as_slice()),
        ("[[node]]", &NODE),
        ("[[alias]]", &ALIAS),
        ("[node.wake]", &wake::WAKE),
        ("[node.sleep]", &wake::SLEEP),
        ("[wake]", &wake::RULES),
    ];
    let homes: Vec<&str> =
        home.iter().filter(|(_, fields)| fields.contains(&name)).map(|(title, _)| *title).collect();
    if !homes.is_empty() {
        return format!("{unknown}: it belongs below {}", homes.join(" or "));
    }
    format!("{unknown}: known are {}", known.join(", "))
}

/// The word that `typed` is a slip of the fingers away from, or the beginning of.
pub(super) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', ' ', '.'], "_");
    let typed = plain(typed);
    let begun = words.iter().find(|word| typed.len() >= 3 && plain(word).starts_with(&typed));
    let near =
        words.iter().map(|word| (distance(&typed, &plain(word)), *word)).min_by_key(|(steps, _)| *steps);
    let near =
        near.filter(|(steps, word)| *steps <= (word.len().min(typed.len()) / 3).max(1)).map(|(_, word)| word);
    near.or(begun.copied())
}

fn synonym(name: &str, known: &[&str]) -> Option<&'static str> {
    SYNONYMS.iter().find(|(theirs, ours)| *theirs == name && known.contains(ours)).map(|(_, ours)| *ours)
}

/// What other programs call the same thing, and our word for it.
const SYNONYMS: [(&str, &str); 29] = [
    ("upstream", "node"),
    ("backend", "node"),
    ("machine", "node"),
    ("host", "url"),
    ("address", "url"),
    ("base_url", "url"),
    ("endpoint", "url"),
    ("type", "engine"),
    ("kind", "engine"),
    ("provider", "engine"),
    ("backend", "engine"),
    ("key", "api_key"),
    ("token", "api_key"),
    ("parallel", "max_concurrent"),
    ("slots", "max_concurrent"),
    ("weight", "priority"),
    ("memory", "vram"),
    ("api_key", "key"),
    ("token", "key"),
    ("bind", "listen"),
    ("port", "listen"),
    ("cors", "allowed_origins"),
    ("wol", "wake"),
    ("mac_address", "mac"),
    ("password", "secure_on"),
    ("deadline", "timeout"),
    ("port", "broadcast"),
    ("policy", "default"),
    ("quiet", "quiet_hours"),
];
