//! The settings in force, and their changes: the file is edited, checked, written, and the nodes follow.

use crate::{
    config::{
        self, Located,
        edit::{self, NewNode, NodeChange},
    },
    registry::{Registry, Watched},
    secrets::{self, Sensitive},
};
use lamplighter_core::config::{Config, NodeConfig, Secret, ServerConfig, WakeRules, without_doubles};
use std::path::{Path, PathBuf};
use tokio::sync::{Mutex, watch};

/// The settings in force.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    /// Where the last good copy is kept.
    state: PathBuf,
    registry: Registry,
    /// What the file says of the door; told anew when its key has become another.
    server: watch::Sender<ServerConfig>,
    /// No node is configured.
    bare: watch::Sender<bool>,
    /// What the file says of waking.
    wake: watch::Sender<WakeRules>,
    /// One change at a time.
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    config: Config,
    /// The file as it was last looked at.
    seen: Seen,
    /// Nodes found on this computer while none is configured. They live in memory until the first write keeps them.
    found: Vec<NodeConfig>,
    /// What its references to keys led to when they were last followed: a key may change while the file stays as it is.
    keys: Keys,
}

/// The file as it was last looked at.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Not since it was loaded.
    Never,
    /// It could not be read, which was told: when it can be, that is news even if it says what it said.
    Unreadable,
    /// Its bytes, good or not.
    Bytes(Vec<u8>),
}

/// Keys as they were read, or why they could not be.
#[derive(Debug, PartialEq)]
struct Keys {
    server: Option<Result<Sensitive, String>>,
    nodes: Vec<Option<Result<Sensitive, String>>>,
}

impl Now {
    /// Found nodes are there as long as none is configured: an edit that configures none must not take them away.
    fn follow(&mut self, config: Config) {
        if !config.nodes.is_empty() {
            self.found.clear();
        }
        self.config = config;
    }
}

impl Keys {
    fn read(config: &Config, base_dir: &Path) -> Self {
        let read = |key: &Option<Secret>| key.as_ref().map(|key| secrets::resolve(key, base_dir));
        let nodes = config.nodes.iter().map(|node| read(&node.api_key)).collect();
        Self { server: read(&config.server.key), nodes }
    }
}

/// Why a change was not made. Nothing was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// The file has other contents than we think, or cannot be read or written.
    File(String),
    /// The result would be no valid configuration.
    Invalid(Vec<Located>),
    /// Only the file itself may say that.
    Forbidden(String),
    /// There is no such node.
    NoNode(String),
    /// Another node has that server already.
    Twins(String, String),
}

/// What has become of a file that was read again.
#[derive(Debug, Clone, PartialEq)]
pub enum Reloaded {
    /// It says what it said.
    Unchanged,
    /// It says what it said, and a key that it refers to is another one: that is in force.
    OtherKeys,
    /// Its nodes and aliases are in force.
    Applied {
        /// What somebody should look at although it works.
        warnings: Vec<Located>,
    },
    /// It is broken; what was in force stays so.
    Broken(Vec<Located>),
}

/// What a change did besides what was asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changed {
    /// A node's key was dropped with its old address.
    pub key_dropped: bool,
    /// What somebody should look at although it works, in the whole file as it is now.
    pub warnings: Vec<Located>,
}

impl Settings {
    /// The settings that were loaded from `path`.
    #[must_use]
    pub fn new(path: PathBuf, state: PathBuf, config: Config, registry: Registry) -> Self {
        let server = watch::Sender::new(config.server.clone());
        let wake = watch::Sender::new(config.wake.clone());
        let bare = watch::Sender::new(config.nodes.is_empty());
        let keys = Keys::read(&config, path.parent().unwrap_or(Path::new(".")));
        let now = Mutex::new(Now { config, seen: Seen::Never, found: Vec::new(), keys });
        Self { path, state, registry, server, bare, wake, now }
    }

    /// The file's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says of the door, as it changes.
    #[must_use]
    pub fn server(&self) -> watch::Receiver<ServerConfig> {
        self.server.subscribe()
    }

    /// Whether no node is configured, as it changes.
    #[must_use]
    pub fn is_bare(&self) -> watch::Receiver<bool> {
        self.bare.subscribe()
    }

    /// What the file says of waking, as it changes.
    #[must_use]
    pub fn wake_rules(&self) -> watch::Receiver<WakeRules> {
        self.wake.subscribe()
    }

    /// Where keys in files are looked for.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The files that keys are read from.
    pub async fn key_files(&self) -> Vec<PathBuf> {
        let now = self.now.lock().await;
        let of_nodes = now.config.nodes.iter().filter_map(|node| node.api_key.as_ref());
        let keys = now.config.server.key.iter().chain(of_nodes);
        keys.filter_map(|key| secrets::file_of(key, self.base_dir())).collect()
    }

    /// The configuration in force, and the file's text as it is now (empty when there is none).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn current(&self) -> Result<(Config, String), Refused> {
        let now = self.now.lock().await;
        Ok((now.config.clone(), self.text()?))
    }

    /// Adds a node; the first also keeps those that were found.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn add(&self, node: &NewNode) -> Result<Changed, Refused> {
        let mut now = self.now.lock().await;
        let text = edit::add(&self.text()?, &now.found, node).map_err(Refused::File)?;
        self.no_twin(&text, &node.name)?;
        self.write(&mut now, &text).await
    }

    /// Changes a node. A found one becomes a configured one by that.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn change(&self, name: &str, change: &NodeChange) -> Result<Changed, Refused> {
        let mut now = self.now.lock().await;
        let text = self.keeping_found(&now, name)?;
        let (text, key_dropped) = edit::change(&text, name, change).map_err(Refused::File)?;
        self.no_twin(&text, change.name.as_deref().unwrap_or(name))?;
        let changed = self.write(&mut now, &text).await?;
        Ok(Changed { key_dropped, ..changed })
    }

    /// Removes a node.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn remove(&self, name: &str) -> Result<Changed, Refused> {
        let mut now = self.now.lock().await;
        let text = self.keeping_found(&now, name)?;
        let text = edit::remove(&text, name).map_err(Refused::File)?;
        let changed = self.write(&mut now, &text).await?;
        // The only one that was found, and nobody wants it: it is not in the file, and stays away until the next look.
        if !now.found.is_empty() {
            now.found.clear();
            self.apply(&mut now).await;
        }
        Ok(changed)
    }

    /// Replaces the whole text, within what the control API may change.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn replace(&self, text: &str) -> Result<Changed, Refused> {
        let mut now = self.now.lock().await;
        if let Some(field) = edit::forbidden_field(&self.text()?, text) {
            return Err(Refused::Forbidden(field.into()));
        }
        let parsed = config::parse(text.as_bytes(), &self.path).map_err(Refused::Invalid)?;
        if let Some(setting) = edit::forbidden_change(&now.config, &parsed.config) {
            return Err(Refused::Forbidden(setting));
        }
        self.write(&mut now, text).await
    }

    /// Takes nodes that were found on this computer, as long as none is configured.
    pub async fn found(&self, found: Vec<NodeConfig>) {
        let mut now = self.now.lock().await;
        if now.config.nodes.is_empty() && now.found != found {
            now.found = found;
            self.apply(&mut now).await;
        }
    }

    /// Reads the file again, and the keys that it refers to. When it has changed and is good, the nodes and aliases follow; when
    /// it is broken, nothing changes.
    pub async fn reload(&self) -> Reloaded {
        let mut now = self.now.lock().await;
        let bytes = match config::read(&self.path) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(complaint) => {
                now.seen = Seen::Unreadable;
                return Reloaded::Broken(vec![complaint]);
            }
        };
        let before = std::mem::replace(&mut now.seen, Seen::Bytes(bytes.clone()));
        if before == now.seen {
            return self.follow_keys(&mut now).await;
        }
        // A file that was taken away configures nothing, as at the start; one that was emptied is damaged.
        let exists = self.path.exists();
        let parsed = if exists { config::parse(&bytes, &self.path) } else { config::parse(b"#", &self.path) };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(complaints) => return Reloaded::Broken(complaints),
        };
        if before == Seen::Never && parsed.config == now.config {
            return self.follow_keys(&mut now).await;
        }
        if exists {
            self.keep(&bytes);
        }
        now.follow(parsed.config);
        self.apply(&mut now).await;
        Reloaded::Applied { warnings: parsed.warnings }
    }

    /// The file is as it was: has somebody written another key into one of the files that it names?
    async fn follow_keys(&self, now: &mut Now) -> Reloaded {
        if Keys::read(&now.config, self.base_dir()) == now.keys {
            return Reloaded::Unchanged;
        }
        self.apply(now).await;
        Reloaded::OtherKeys
    }

    fn keep(&self, bytes: &[u8]) {
        if let Err(error) = config::keep_last_good(&self.path, &self.state, bytes) {
            tracing::warn!(%error, "the last good copy of the configuration cannot be kept");
        }
    }

    /// In the file the same server twice is a warning, and counts once. Written from here it is a mistake: the node would be in
    /// the file and nowhere to be seen.
    fn no_twin(&self, text: &str, name: &str) -> Result<(), Refused> {
        let parsed = config::parse(text.as_bytes(), &self.path).map_err(Refused::Invalid)?;
        let nodes = &parsed.config.nodes;
        let Some(node) = nodes.iter().find(|node| node.name == name) else { return Ok(()) };
        let twin = nodes.iter().find(|other| other.name != name && other.url.same_server(&node.url));
        twin.map_or(Ok(()), |twin| Err(Refused::Twins(node.url.to_string(), twin.name.clone())))
    }

    /// The text in which a found node stands like a configured one.
    fn keeping_found(&self, now: &Now, name: &str) -> Result<String, Refused> {
        let text = self.text()?;
        let is_found = now.found.iter().any(|node| node.name == name);
        if !is_found && !now.config.nodes.iter().any(|node| node.name == name) {
            return Err(Refused::NoNode(name.into()));
        }
        let Some((last, others)) = now.found.split_last() else { return Ok(text) };
        let last =
            NewNode { name: last.name.clone(), url: last.url.to_string(), fields: edit::Fields::default() };
        edit::add(&text, others, &last).map_err(Refused::File)
    }

    /// The file's text now: somebody may have edited it since it was loaded.
    fn text(&self) -> Result<String, Refused> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Refused::File(format!("{} cannot be read: {error}", self.path.display()))),
        }
    }

    /// Checks, writes, and lets the nodes follow.
    async fn write(&self, now: &mut Now, text: &str) -> Result<Changed, Refused> {
        let parsed = config::parse(text.as_bytes(), &self.path).map_err(Refused::Invalid)?;
        config::write_atomically(&self.path, text.as_bytes(), config::mode_of(&self.path))
            .map_err(|error| Refused::File(format!("{} cannot be written: {error}", self.path.display())))?;
        self.keep(text.as_bytes());
        now.seen = Seen::Bytes(text.as_bytes().to_vec());
        now.follow(parsed.config);
        self.apply(now).await;
        Ok(Changed { key_dropped: false, warnings: parsed.warnings })
    }

    async fn apply(&self, now: &mut Now) {
        let found_only = now.config.nodes.is_empty();
        let keys = Keys::read(&now.config, self.base_dir());
        self.bare.send_if_modified(|bare| std::mem::replace(bare, found_only) != found_only);
        let another_key = keys.server != now.keys.server;
        now.keys = keys;
        let nodes = if found_only { &now.found } else { &now.config.nodes };
        let base_dir = self.base_dir();
        let watched = without_doubles(nodes).into_iter().map(|node| watched(node, base_dir)).collect();
        let is_news = |server: &mut ServerConfig| {
            let is_new = another_key || *server != now.config.server;
            server.clone_from(&now.config.server);
            is_new
        };
        self.server.send_if_modified(is_news);
        self.wake.send_if_modified(|rules| {
            let is_new = *rules != now.config.wake;
            rules.clone_from(&now.config.wake);
            is_new
        });
        self.registry.reconfigure(watched, now.config.aliases.clone(), found_only).await;
    }
}

/// A node with its key read, or the reason why it cannot be.
#[must_use]
pub fn watched(config: NodeConfig, base_dir: &Path) -> Watched {
    let key = config.api_key.as_ref().map(|key| secrets::resolve(key, base_dir)).transpose();
    Watched { key: key.map(|key| key.map(|key| key.expose().to_owned())), config }
}
