//! Changes to the configuration file that keep its comments, its order and everything that is not changed.

use lamplighter_core::{
    config::{Config, Listen, NodeConfig},
    node::Presence,
};
use serde::{Deserialize, Deserializer};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike, value};

/// A node as it is added. Only what is written is set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// `[a-z0-9-]{1,40}`, unique.
    pub name: String,
    /// An address in any form.
    pub url: String,
    /// What may be set besides.
    #[serde(flatten)]
    pub fields: Fields,
}

/// Fields of a node that the control API may write. A field that is absent stays, one that is null is taken out.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Fields {
    /// How it comes and goes.
    #[serde(default, deserialize_with = "there")]
    pub presence: Option<Option<Presence>>,
    /// Its GPU, as typed.
    #[serde(default, deserialize_with = "there")]
    pub gpu: Option<Option<String>>,
    /// Its video memory, as typed.
    #[serde(default, deserialize_with = "there")]
    pub vram: Option<Option<String>>,
    /// Higher goes first among equals.
    #[serde(default, deserialize_with = "there")]
    pub priority: Option<Option<i32>>,
    /// Generations per loaded model sent there at once.
    #[serde(default, deserialize_with = "there")]
    pub max_concurrent: Option<Option<u32>>,
    /// Whether its engine is called again and again while it answers. A command can only be written in the file.
    #[serde(default)]
    pub keep_awake: Option<bool>,
    /// True: it gets a `[node.wake]` that learns the machine's address. False: what stands there is taken out.
    #[serde(default)]
    pub wakeable: Option<bool>,
}

/// A change to a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeChange {
    /// Another name.
    pub name: Option<String>,
    /// Another address. The node's key is dropped: it was given for the old one.
    pub url: Option<String>,
    /// What else changes.
    #[serde(flatten)]
    pub fields: Fields,
}

/// Tells "absent" from "null".
fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(field).map(Some)
}

/// The text with a node more, behind those that were found by themselves and are now kept.
///
/// # Errors
/// In words, when the file is written in a way that this cannot change.
pub fn add(text: &str, found: &[NodeConfig], node: &NewNode) -> Result<String, String> {
    let mut document = read(text)?;
    let nodes = nodes(&mut document)?;
    for found in found {
        let mut table = Table::new();
        table["name"] = value(&found.name);
        table["url"] = value(found.url.to_string());
        nodes.push(table);
    }
    let mut table = Table::new();
    table["name"] = value(&node.name);
    table["url"] = value(node.url.trim());
    set(&mut table, &node.fields)?;
    nodes.push(table);
    Ok(document.to_string())
}

/// The text with a node changed. The second value is true when its key was dropped with its old address.
///
/// # Errors
/// In words, when there is no such node, or the file is written in a way that this cannot change.
pub fn change(text: &str, name: &str, change: &NodeChange) -> Result<(String, bool), String> {
    let mut document = read(text)?;
    let table = find(&mut document, name)?;
    let mut dropped = false;
    if let Some(url) = &change.url {
        let same = table.get("url").and_then(Item::as_str).is_some_and(|old| old == url.trim());
        if !same {
            put(table, "url", Some(url.trim().into()));
            dropped = table.remove("api_key").is_some();
        }
    }
    if let Some(name) = &change.name {
        put(table, "name", Some(name.as_str().into()));
    }
    set(table, &change.fields)?;
    Ok((document.to_string(), dropped))
}

/// The text without a node.
///
/// # Errors
/// In words, when there is no such node, or the file is written in a way that this cannot change.
pub fn remove(text: &str, name: &str) -> Result<String, String> {
    let mut document = read(text)?;
    let nodes = nodes(&mut document)?;
    let before = nodes.len();
    nodes.retain(|table| table.get("name").and_then(Item::as_str) != Some(name));
    if nodes.len() == before {
        return Err(format!("there is no node called {name:?} in the file"));
    }
    Ok(document.to_string())
}

/// The text with every listener on port `from` moved to port `to`. `listen` is what is in force: it is written down where the
/// file says nothing of it.
///
/// # Errors
/// In words, when the file is written in a way that this cannot change.
pub fn move_listeners(text: &str, listen: &[Listen], from: u16, to: u16) -> Result<String, String> {
    let moved = |entry: Listen| match entry {
        Listen::Address(mut address) if address.port() == from => {
            address.set_port(to);
            Listen::Address(address)
        }
        Listen::Localhost(port) if port == from => Listen::Localhost(to),
        Listen::Address(_) | Listen::Localhost(_) | Listen::Docker => entry,
    };
    let mut document = read(text)?;
    let server = document.entry("server").or_insert(Item::Table(Table::new()));
    let server = server.as_table_like_mut().ok_or("[server] is written in a way that cannot be changed")?;
    match server.get_mut("listen").and_then(Item::as_array_mut) {
        Some(entries) => {
            for entry in entries.iter_mut() {
                let Some(written) = entry.as_str().and_then(|text| text.parse().ok()) else { continue };
                if moved(written) != written {
                    let mut new = toml_edit::Value::from(moved(written).to_string());
                    *new.decor_mut() = entry.decor().clone();
                    *entry = new;
                }
            }
        }
        None => {
            let entries: toml_edit::Array = listen.iter().map(|&entry| moved(entry).to_string()).collect();
            server.insert("listen", value(entries));
        }
    }
    Ok(document.to_string())
}

/// The first setting that the control API may not write and that differs: it would open a door, send a key elsewhere, or run
/// something. The file itself may say all that.
#[must_use]
pub fn forbidden_change(old: &Config, new: &Config) -> Option<String> {
    if old.server.listen != new.server.listen {
        return Some("listen".into());
    }
    if old.server.allowed_hosts != new.server.allowed_hosts {
        return Some("allowed_hosts".into());
    }
    if old.server.allowed_origins != new.server.allowed_origins {
        return Some("allowed_origins".into());
    }
    if old.server.key != new.server.key {
        return Some("key".into());
    }
    if old.server.manage != new.server.manage {
        return Some("manage".into());
    }
    new.nodes.iter().filter(|node| node.api_key.is_some()).find_map(|node| {
        let known = old
            .nodes
            .iter()
            .any(|old| old.name == node.name && old.url == node.url && old.api_key == node.api_key);
        (!known).then(|| format!("api_key of node {:?}", node.name))
    })
}

/// Fields that run something, call something, or give rights, wherever they stand and whether we know them yet or not.
/// `mac`, `broadcast` and `secure_on` say where packets go: whoever writes them knocks at other people's machines.
const RUNS_OR_CALLS: [&str; 12] = [
    "command",
    "manage",
    "hook",
    "hooks",
    "webhook",
    "ssh",
    "sleep",
    "relay",
    "keep_awake",
    "mac",
    "broadcast",
    "secure_on",
];

/// The first field that only the file itself may hold, and that is not there already with the same value.
#[must_use]
pub fn forbidden_field(old: &str, new: &str) -> Option<&'static str> {
    let (old, new) = (fields(old), fields(new));
    let new = new.iter().filter(|field| !old.contains(field));
    new.map(|(name, _)| *name).next()
}

/// Every such field in the text, with its value as written.
fn fields(text: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Ok(document) = text.parse::<DocumentMut>() {
        collect(document.as_table(), &mut found);
    }
    found
}

fn collect(table: &dyn TableLike, found: &mut Vec<(&'static str, String)>) {
    for (key, item) in table.iter() {
        // Learned addresses, and calls to the engine itself, lead nowhere else.
        let harmless = match key {
            "mac" => item.as_str() == Some("auto"),
            "keep_awake" => item.as_table_like().is_none(),
            _ => false,
        };
        if let Some(name) = RUNS_OR_CALLS.iter().find(|name| key.eq_ignore_ascii_case(name) && !harmless) {
            found.push((name, item.to_string().trim().to_owned()));
        }
        if let Some(inner) = item.as_table_like() {
            collect(inner, found);
        }
        for inner in item.as_array_of_tables().into_iter().flatten() {
            collect(inner, found);
        }
        for value in item.as_array().into_iter().flatten() {
            if let Some(inner) = value.as_inline_table() {
                collect(inner, found);
            }
        }
    }
}

fn read(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error| format!("the file cannot be changed as it is: {error}"))
}

fn nodes(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, String> {
    let item = document.entry("node").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().ok_or_else(|| {
        "the file lists its nodes in one line: write each as [[node]] to change them here".into()
    })
}

fn find<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut Table, String> {
    nodes(document)?
        .iter_mut()
        .find(|table| table.get("name").and_then(Item::as_str) == Some(name))
        .ok_or_else(|| format!("there is no node called {name:?} in the file"))
}

fn set(table: &mut Table, fields: &Fields) -> Result<(), String> {
    if let Some(presence) = fields.presence {
        put(table, "presence", presence.map(|presence| presence.word().into()));
    }
    if let Some(gpu) = &fields.gpu {
        put(table, "gpu", gpu.as_deref().map(Into::into));
    }
    if let Some(vram) = &fields.vram {
        put(table, "vram", vram.as_deref().map(Into::into));
    }
    if let Some(priority) = fields.priority {
        put(table, "priority", priority.map(|priority| i64::from(priority).into()));
    }
    if let Some(max) = fields.max_concurrent {
        put(table, "max_concurrent", max.map(|max| i64::from(max).into()));
    }
    match fields.keep_awake {
        Some(true) if !table.get("keep_awake").is_some_and(is_on) => {
            put(table, "keep_awake", Some(true.into()))
        }
        Some(false) if table.get("keep_awake").is_some_and(Item::is_table_like) => {
            return Err("`keep_awake` holds a command: take it out in the file".into());
        }
        Some(false) => drop(table.remove("keep_awake")),
        _ => {}
    }
    match fields.wakeable {
        Some(true) if !table.contains_key("wake") => {
            let mut wake = Table::new();
            wake["mac"] = value("auto");
            table["wake"] = Item::Table(wake);
        }
        Some(false) => drop(table.remove("wake")),
        _ => {}
    }
    Ok(())
}

/// Does it say more than `false`?
fn is_on(written: &Item) -> bool {
    written.as_bool() != Some(false)
}

/// Sets or takes out one field; a comment behind the old value stays.
fn put(table: &mut Table, field: &str, new: Option<toml_edit::Value>) {
    match new {
        None => drop(table.remove(field)),
        Some(mut new) => {
            if let Some(old) = table.get(field).and_then(Item::as_value) {
                *new.decor_mut() = old.decor().clone();
            }
            table[field] = Item::Value(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# my house\n\n[server]\nlisten = [\"127.0.0.1:11400\"] # only here\n\n# the loud one\n[[node]]\nname = \"workstation\"\nurl = \"10.0.0.5\" # cable\napi_key = \"env:K\"\ngpu = \"RTX 4090\"\n\n[[alias]]\nname = \"coder\"\nmodels = [\"a\"]\n";

    fn change_of(json: &str) -> NodeChange {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_node_more_and_all_else_as_it_was() {
        let node =
            serde_json::from_str(r#"{"name":"nas","url":" nas:11434 ","presence":"always-on","gpu":null}"#)
                .unwrap();
        let text = add(FILE, &[], &node).unwrap();
        let added = "[[node]]\nname = \"nas\"\nurl = \"nas:11434\"\npresence = \"always-on\"\n";
        assert!(text.contains(added), "{text}");
        let rest = text.replace(&format!("\n{added}"), "");
        assert_eq!(rest.replace('\n', ""), FILE.replace('\n', ""), "{text}");
        assert!(serde_json::from_str::<NewNode>(r#"{"name":"x","url":"y","api_key":"env:K"}"#).is_err());
    }

    #[test]
    fn a_changed_address_drops_the_key_and_keeps_the_comments() {
        let (text, dropped) =
            change(FILE, "workstation", &change_of(r#"{"url":"10.0.0.6","gpu":null,"priority":3}"#)).unwrap();
        assert!(dropped);
        assert!(
            text.contains("url = \"10.0.0.6\" # cable\npriority = 3\n") && !text.contains("env:K"),
            "{text}"
        );
        assert!(text.contains("# the loud one") && text.contains("# my house"), "{text}");
        let (text, dropped) = change(FILE, "workstation", &change_of(r#"{"url":"10.0.0.5"}"#)).unwrap();
        assert_eq!((text.as_str(), dropped), (FILE, false));
        assert!(change(FILE, "nobody", &NodeChange::default()).unwrap_err().contains("nobody"));
    }

    #[test]
    fn a_node_becomes_wakeable_and_no_more() {
        let (text, _) = change(FILE, "workstation", &change_of(r#"{"wakeable":true,"priority":3}"#)).unwrap();
        let node = "gpu = \"RTX 4090\"\npriority = 3\n\n[node.wake]\nmac = \"auto\"\n";
        assert!(text.contains(node), "{text}");
        let written = text.replace("\"auto\"", "\"a8:a1:59:0c:1d:2e\" # upstairs");
        let again = change(&written, "workstation", &change_of(r#"{"wakeable":true}"#)).unwrap().0;
        assert_eq!(again, written, "what is written stays");
        let (text, _) =
            change(&text, "workstation", &change_of(r#"{"wakeable":false,"priority":null}"#)).unwrap();
        assert_eq!(text, FILE);
    }

    #[test]
    fn a_node_is_kept_awake_by_calls_and_a_command_is_left_alone() {
        let turn = |text: &str, on: bool| {
            change(text, "workstation", &change_of(&format!("{{\"keep_awake\":{on}}}")))
        };
        let (kept, _) = turn(FILE, true).unwrap();
        assert!(kept.contains("gpu = \"RTX 4090\"\nkeep_awake = true\n"), "{kept}");
        assert_eq!(turn(&kept, false).unwrap().0, FILE);
        let off = kept.replace("= true", "= false # not now");
        assert_eq!(turn(&off, true).unwrap().0, off.replace("= false", "= true"));
        let slow = kept.replace("= true", "= \"5m\"");
        assert_eq!(turn(&slow, true).unwrap().0, slow, "what is written stays");
        let told = kept.replace("= true", "= { url = \"http://10.0.0.5/stay\" }");
        assert_eq!(turn(&told, true).unwrap().0, told);
        assert!(turn(&told, false).unwrap_err().contains("in the file"));
    }

    #[test]
    fn a_node_less() {
        let text = remove(FILE, "workstation").unwrap();
        assert!(
            !text.contains("[[node]]") && text.contains("[[alias]]") && text.contains("# only here"),
            "{text}"
        );
        assert!(remove(FILE, "nobody").is_err());
    }

    #[test]
    fn listeners_are_moved_where_they_stand() {
        let own = ["127.0.0.1:11434", "localhost:11434", "docker", "[::1]:7"].map(|l| l.parse().unwrap());
        let text = "[server] # door\nlisten = [\n  \"127.0.0.1:11434\", # v4\n  \"localhost:11434\",\n  \"docker\",\n  \"[::1]:7\",\n]\n";
        let moved = move_listeners(text, &own, 11434, 11400).unwrap();
        assert_eq!(moved, text.replace("11434", "11400"));
        let bare = "# mine\n[[node]]\nname = \"a\"\nurl = \"b\"\n";
        let moved = move_listeners(bare, &own[..1], 11434, 11401).unwrap();
        assert!(
            moved.starts_with(bare) && moved.contains("[server]\nlisten = [\"127.0.0.1:11401\"]"),
            "{moved}"
        );
    }

    #[test]
    fn what_runs_or_calls_something() {
        let with = |line: &str| format!("{FILE}{line}\n");
        for (line, name) in [
            ("command = \"rm\"", "command"),
            ("[server.x]\nMANAGE = true", "manage"),
            ("[[node]]\nname = \"x\"\n[node.wake]\nrelay = { url = \"http://x\" }", "relay"),
            ("[[node]]\nname = \"x\"\n[node.wake]\nmac = \"a8:a1:59:0c:1d:2e\"", "mac"),
            ("[[node]]\nname = \"x\"\nwake.broadcast = [\"10.0.0.255\"]", "broadcast"),
            ("keep_awake = { ssh = \"me@pc\", command = \"true\" }", "keep_awake"),
            ("[[node]]\nname = \"x\"\n[node.keep_awake]\nurl = \"http://x\"", "keep_awake"),
            ("x = [{ hook = \"http://x\" }]", "hook"),
        ] {
            assert_eq!(forbidden_field(FILE, &with(line)), Some(name), "{line}");
            assert_eq!(forbidden_field(&with(line), &with(line)), None, "what stands there already may stay");
        }
        assert_eq!(forbidden_field(FILE, FILE), None);
        for line in [
            "wake = \"never\"",
            "[wake]\ndefault = \"ask\"",
            "[[node]]\nname = \"x\"\n[node.wake]\nmac = \"auto\"",
            "keep_awake = true",
            "keep_awake = \"45s\"",
        ] {
            assert_eq!(forbidden_field(FILE, &with(line)), None, "{line}");
        }
    }

    #[test]
    fn what_only_the_file_may_say() {
        let config =
            |text: &str| super::super::parse(text.as_bytes(), std::path::Path::new("c")).unwrap().config;
        let old = config(FILE);
        let say = |from: &str, to: &str| forbidden_change(&old, &config(&FILE.replace(from, to)));
        assert_eq!(say("127.0.0.1:11400", "127.0.0.1:11401").as_deref(), Some("listen"));
        assert_eq!(say("10.0.0.5", "10.0.0.6").as_deref(), Some("api_key of node \"workstation\""));
        assert_eq!(say("env:K", "env:OTHER").as_deref(), Some("api_key of node \"workstation\""));
        assert_eq!(say("RTX 4090", "RTX 5090"), None);
        assert_eq!(say("api_key = \"env:K\"\n", ""), None, "a key may be taken away");
        assert_eq!(say("[\"a\"]", "[\"b\"]"), None);
    }
}
