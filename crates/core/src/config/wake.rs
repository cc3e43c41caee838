//! `[node.wake]`, `[node.sleep]` and `[wake]`: how a machine is woken and put to sleep, and what may wake one.

use super::{
    Hook, NodeConfig,
    check::{Complaint, Step, at, error, warning},
};
use crate::{
    mac::{Mac, hex_bytes},
    wake::{QuietHours, WakePolicy},
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

/// `[node.wake]`: with it a node is wakeable.
#[derive(Debug, Clone, PartialEq)]
pub struct WakeConfig {
    /// Whom the packet names.
    pub mac: Macs,
    /// The password that some cards want behind the packet.
    pub secure_on: Option<SecureOn>,
    /// The only places that the packet is sent to; when empty, all that could reach the machine.
    pub broadcast: Vec<Target>,
    /// How long a wake may take, milliseconds.
    pub timeout_ms: u64,
    /// Who sends the packet when the machine is not on one of our own networks.
    pub relay: Option<Relay>,
}

/// How long a wake may take when nothing is written.
const TIMEOUT_MS: u64 = 120_000;
/// The shortest and the longest that can be written.
const TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 5_000..=900_000;

impl Default for WakeConfig {
    fn default() -> Self {
        Self { mac: Macs::Auto, secure_on: None, broadcast: vec![], timeout_ms: TIMEOUT_MS, relay: None }
    }
}

/// Whom the packet names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Macs {
    /// Learned while the machine is up.
    Auto,
    /// Written: one or two (cable and dock).
    Written(Vec<Mac>),
}

/// A SecureOn password: 4 or 6 bytes. It goes over the network in the clear, and still stands in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureOn(Vec<u8>);

impl SecureOn {
    /// The bytes behind the packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for SecureOn {
    type Err = String;

    /// Reads hexadecimal bytes (`aa:bb:cc:dd:ee:ff`, `aabbccdd`) or 4 or 6 ASCII characters. The text is not repeated in errors.
    fn from_str(text: &str) -> Result<Self, String> {
        let typed = || {
            Some(text.as_bytes().to_vec()).filter(|_| text.bytes().all(|b| b.is_ascii_graphic() || b == b' '))
        };
        let fits = |bytes: &Vec<u8>| matches!(bytes.len(), 4 | 6);
        let bytes = hex_bytes(text).filter(fits).or_else(|| typed().filter(fits));
        bytes.map(Self).ok_or_else(|| {
            "a SecureOn password is 4 or 6 bytes, as \"aa:bb:cc:dd:ee:ff\" or as plain characters".into()
        })
    }
}

impl fmt::Debug for SecureOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecureOn({} bytes)", self.0.len())
    }
}

/// A place to send a packet to. Never a name: names are not looked up on the way to a sleeping machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address.
    pub ip: IpAddr,
    /// The UDP port; `None` means 9 and 7.
    pub port: Option<u16>,
}

impl FromStr for Target {
    type Err = String;

    /// Reads `192.168.1.255`, `192.168.1.255:9`, `fd00::1` or `[fd00::1]:9`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!(
                "{text:?} is not an address: write it like \"192.168.1.255\" or \"192.168.1.255:9\"; names are not looked up here"
            )
        };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let target = match (bare.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
            (Ok(ip), _) => Self { ip, port: None },
            (_, Ok(address)) => Self { ip: address.ip(), port: Some(address.port()) },
            _ => return Err(wrong()),
        };
        if target.ip.is_unspecified() || target.port == Some(0) {
            return Err(wrong());
        }
        Ok(target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// Reads `timeout`.
///
/// # Errors
/// When it is no duration, or one that helps nobody.
pub fn wake_timeout_ms(text: &str) -> Result<u64, String> {
    let ms = super::parse_duration_ms(text)?;
    if TIMEOUTS_MS.contains(&ms) {
        Ok(ms)
    } else {
        Err("between 5 seconds and 15 minutes: machines take from 3 s to 2 minutes to wake".into())
    }
}

/// Somebody who sends the packet for us.
#[derive(Debug, Clone, PartialEq)]
pub enum Relay {
    /// An always-on Tailscale peer on the machine's network.
    Tailscale,
    /// A call by HTTP.
    Hook(Hook),
}

/// A command for a machine, as its owner has written it.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeCommand {
    /// Over SSH.
    Ssh {
        /// `user@host`, as the user's own SSH configuration knows it.
        target: String,
        /// What is run there.
        command: String,
    },
    /// By HTTP.
    Hook(Hook),
}

/// Reads an SSH target: `user@host`, `host`, or a name from the user's SSH configuration.
///
/// # Errors
/// When it could be taken for an option or for more than one word.
pub fn ssh_target(text: &str) -> Result<String, String> {
    let harmless = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@' | b':' | b'[' | b']' | b'%')
    };
    let fits =
        !text.is_empty() && !text.starts_with('-') && !text.contains("@-") && text.bytes().all(harmless);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an SSH target: write it like \"me@192.168.1.50\""))
    }
}

/// `[wake]`: what holds for all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WakeRules {
    /// For requests that name no alias with a policy of its own.
    pub default: WakePolicy,
    /// When no request wakes a machine. A person's click still does.
    pub quiet_hours: Option<QuietHours>,
}

/// What only the whole of a node shows.
pub(super) fn check(i: usize, node: &NodeConfig, complaints: &mut Vec<Complaint>) {
    let place = |field: &str| [at("node", i, "wake"), vec![Step::Field(field.into())]].concat();
    if node.sleep.is_some() && node.wake.is_none() {
        let message = "this machine could be put to sleep and not be woken again: add [node.wake]".into();
        complaints.push(warning(at("node", i, "sleep"), message));
    }
    let Some(wake) = &node.wake else { return };
    if !node.requests_wake() {
        let message = "what is always on is not woken by requests, only by a click: leave `presence` out, or write \"sleeps\"";
        complaints.push(warning(at("node", i, "presence"), message.into()));
    }
    match &wake.mac {
        // A smart plug needs no address.
        Macs::Auto if matches!(&wake.relay, Some(Relay::Hook(hook)) if !hook.wants_mac()) => {}
        Macs::Auto => {
            if let Some(why) = never_learned(node) {
                let message = format!("{why}, so its MAC address cannot be learned: write it here");
                complaints.push(warning(place("mac"), message));
            }
        }
        Macs::Written(macs) => {
            if !(1..=2).contains(&macs.len()) {
                complaints.push(error(place("mac"), "one or two addresses, or \"auto\"".into()));
            }
            if matches!(macs.as_slice(), [one, other] if one == other) {
                complaints.push(error(place("mac"), format!("{} stands here twice", macs[0])));
            }
            for mac in macs {
                if let Some(doubt) = mac.doubt() {
                    let message =
                        format!("{mac} {}: a packet for it will hardly wake a machine", doubt.words());
                    complaints.push(warning(place("mac"), message));
                }
            }
        }
    }
}

/// Why no neighbour of ours can be this machine.
fn never_learned(node: &NodeConfig) -> Option<&'static str> {
    // Carrier-grade NAT's range, which Tailscale uses (RFC 6598).
    let tailnet = |ip: Ipv4Addr| ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 0x40;
    if node.url.is_loopback() {
        Some("the address is this computer's own")
    } else if node.url.is_cloud() {
        Some("the machine is not on your own network")
    } else if node.url.host().parse().is_ok_and(tailnet) {
        Some("the address belongs to a tailnet")
    } else {
        None
    }
}
