//! The settings tree: what can be configured, and the forms in which people write it.

mod check;
mod door;
mod hook;
mod keep_awake;
mod wake;

pub use check::{Complaint, Severity, Step, check};
pub use door::{LISTEN_PORT, Listen, host_name, origin};
pub use hook::{HOOK_MAC, HeaderValue, Hook, Method, header, hook_url};
pub use keep_awake::{EVERY_MS as KEEP_AWAKE_EVERY_MS, KeepAwake, Nudge, keep_awake_every_ms};
pub use wake::{
    Macs, NodeCommand, Relay, SecureOn, Target, WakeConfig, WakeRules, ssh_target, wake_timeout_ms,
};

use crate::{
    alias::Alias,
    node::{Engine, Presence},
    node_url::NodeUrl,
};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[[node]]`, in the order of the file.
    pub nodes: Vec<NodeConfig>,
    /// `[[alias]]`, in the order of the file.
    pub aliases: Vec<Alias>,
    /// `[wake]`
    pub wake: WakeRules,
}

/// `[server]`: the door.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where we listen.
    pub listen: Vec<Listen>,
    /// More names clients may use in `Host`, on any port; requests under them need `key`. As [`host_name`] gives them.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may call the API from a browser: `https://chat.example`. As [`origin`] gives them.
    pub allowed_origins: Vec<String>,
    /// The key that clients must present when they do not come over loopback.
    pub key: Option<Secret>,
    /// May programs on this machine change, give away and delete models through us?
    pub manage: bool,
    /// How OpenAI's clients are told, in a stream that is silent, that we are still there.
    pub signs_of_life: SignsOfLife,
}

/// How OpenAI's clients are told, in a stream that is silent, that we are still there. The other dialects have one way each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignsOfLife {
    /// A comment, as server-sent events have them; official clients pass over it.
    #[default]
    Comment,
    /// A chunk with nothing in it, for clients that stumble over comments (OmniRoute #7031, openai-go #227).
    EmptyDelta,
}

impl SignsOfLife {
    /// Every way, as in the configuration file.
    pub const ALL: [Self; 2] = [Self::Comment, Self::EmptyDelta];

    /// The word used in the configuration file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::EmptyDelta => "empty-delta",
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: door::loopback(LISTEN_PORT).map(Listen::Address).to_vec(),
            allowed_hosts: vec![],
            allowed_origins: vec![],
            key: None,
            manage: false,
            signs_of_life: SignsOfLife::default(),
        }
    }
}

impl ServerConfig {
    /// The port for a listener that names none (`docker`): the first one's that does, else 11400.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listen.iter().find_map(|listen| listen.port()).unwrap_or(LISTEN_PORT)
    }
}

/// `[[node]]`: one machine.
#[derive(Debug, Clone, PartialEq)]
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
    /// `[node.wake]`: how it is woken; with it the node is wakeable.
    pub wake: Option<WakeConfig>,
    /// `[node.sleep]`: how it is put to sleep.
    pub sleep: Option<NodeCommand>,
    /// How it is kept awake while it answers.
    pub keep_awake: Option<KeepAwake>,
}

impl NodeConfig {
    /// A node of which only the name and the address are written.
    #[must_use]
    pub fn new(name: &str, url: NodeUrl) -> Self {
        Self {
            name: name.to_owned(),
            url,
            engine: None,
            presence: Presence::ComesAndGoes,
            max_concurrent: None,
            priority: 0,
            api_key: None,
            gpu: None,
            vram_bytes: None,
            wake: None,
            sleep: None,
            keep_awake: None,
        }
    }

    /// Do requests wake it? What should be there at any hour is missed when it is gone, and not woken.
    #[must_use]
    pub fn requests_wake(&self) -> bool {
        self.wake.is_some() && self.presence != Presence::AlwaysOn
    }

    /// What its silence is taken for: a machine that requests wake is asleep, also when it is said to come and go.
    #[must_use]
    pub fn silence_means(&self) -> Presence {
        if self.requests_wake() { Presence::Sleeps } else { self.presence }
    }
}

/// Where a secret is kept. The configuration never holds one itself.
#[derive(Debug, Clone, PartialEq, Eq)]
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
