//! Why a machine did not wake, from what was seen of it, and what a person can check.

use crate::config::{Macs, Relay, WakeConfig};

/// Why a wake ended without a machine that can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No packet left this computer.
    NothingSent {
        /// What each place answered, in words, each once.
        why: Vec<String>,
    },
    /// Packets left, and nothing was ever heard of it.
    NeverAnswered {
        /// Rounds of packets.
        rounds: u32,
        /// How long we listened, milliseconds.
        waited_ms: u64,
    },
    /// Its network card answers, and nothing behind it: no port, not even with a refusal.
    CardOnly {
        /// When it was first seen, milliseconds after the start.
        seen_ms: u64,
    },
    /// The machine is there, its engine's port is not.
    EngineClosed {
        /// When it was first seen, milliseconds after the start.
        seen_ms: u64,
    },
    /// The engine answers and has not finished loading.
    StillLoading {
        /// When it first answered, milliseconds after the start.
        answered_ms: u64,
    },
    /// The engine is ready and does not list the model that was asked for.
    WithoutModel {
        /// The model.
        model: String,
    },
}

/// One thing to check, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What to look at.
    pub check: &'static str,
    /// How, and what it should be.
    pub how: &'static str,
}

const fn advice(check: &'static str, how: &'static str) -> Advice {
    Advice { check, how }
}

impl Failure {
    /// What happened, as a sentence without its subject: "{node} …".
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::NothingSent { why } if why.is_empty() => {
                "could not be called: no packet left this computer".into()
            }
            Self::NothingSent { why } => {
                format!("could not be called: no packet left this computer ({})", why.join("; "))
            }
            Self::NeverAnswered { rounds, waited_ms } => {
                let times = if *rounds == 1 { "once".to_owned() } else { format!("{rounds} times") };
                format!("did not wake: called {times}, nothing heard for {} s", waited_ms / 1_000)
            }
            Self::CardOnly { seen_ms } => {
                format!("is seen on the network since second {}, but no port of it answers", seen_ms / 1_000)
            }
            Self::EngineClosed { seen_ms } => {
                format!("is awake since second {}, but its engine does not answer", seen_ms / 1_000)
            }
            Self::StillLoading { answered_ms } => {
                format!("is awake, and its engine is still loading since second {}", answered_ms / 1_000)
            }
            Self::WithoutModel { model } => format!("is awake, but does not have {model}"),
        }
    }

    /// One word for the API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NothingSent { .. } => "nothing_sent",
            Self::NeverAnswered { .. } => "never_answered",
            Self::CardOnly { .. } => "card_only",
            Self::EngineClosed { .. } => "engine_closed",
            Self::StillLoading { .. } => "still_loading",
            Self::WithoutModel { .. } => "without_model",
        }
    }

    /// What a person can check, likeliest first, of a machine that is called in that way.
    #[must_use]
    pub fn checklist(&self, caller: Caller) -> &'static [Advice] {
        match (self, caller) {
            (Self::NothingSent { .. }, Caller::Packets) => &NOTHING_SENT,
            (Self::NothingSent { .. }, Caller::Nobody) => &NO_ADDRESS,
            (Self::NothingSent { .. }, Caller::Hook) => &HOOK_FAILED,
            (Self::NothingSent { .. }, Caller::Tailscale) => &NO_PEER,
            (Self::NeverAnswered { .. }, Caller::Packets | Caller::Nobody | Caller::Tailscale) => {
                &NEVER_ANSWERED
            }
            (Self::NeverAnswered { .. }, Caller::Hook) => &HOOK_IN_VAIN,
            (Self::CardOnly { .. }, _) => &CARD_ONLY,
            (Self::EngineClosed { .. }, _) => &ENGINE_CLOSED,
            (Self::StillLoading { .. }, _) => &STILL_LOADING,
            (Self::WithoutModel { .. }, _) => &WITHOUT_MODEL,
        }
    }
}

/// Who calls a machine, as far as what can go wrong is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// We do, by packets of our own.
    Packets,
    /// Nobody can: its hardware address is needed and not known.
    Nobody,
    /// Whatever answers the HTTP call of its `relay`.
    Hook,
    /// A Tailscale peer.
    Tailscale,
}

impl Caller {
    /// As the file says. `mac_learned`: its hardware address has been seen.
    #[must_use]
    pub fn of(config: &WakeConfig, mac_learned: bool) -> Self {
        let has_mac = mac_learned || config.mac != Macs::Auto;
        match &config.relay {
            Some(Relay::Hook(hook)) if has_mac || !hook.wants_mac() => Self::Hook,
            _ if !has_mac => Self::Nobody,
            Some(Relay::Hook(_)) => Self::Hook,
            Some(Relay::Tailscale) => Self::Tailscale,
            None => Self::Packets,
        }
    }
}

const NOTHING_SENT: [Advice; 3] = [
    advice(
        "This computer's network",
        "Is it connected by cable or Wi-Fi? A VPN alone carries no wake packets.",
    ),
    advice("A firewall on this computer", "Outgoing UDP to ports 9 and 7 must be allowed."),
    advice(
        "`broadcast` in [node.wake]",
        "When it is written, packets go only there: leave it out to use every network.",
    ),
];

const NO_ADDRESS: [Advice; 2] = [
    advice(
        "`mac` in [node.wake]",
        "\"auto\" learns it while the machine is up on this computer's network: let it be up once while Lamplighter runs, or write the address.",
    ),
    advice(
        "The address, on that machine",
        "`ip link` (Linux), `ifconfig` (macOS) or `getmac` (Windows) prints it: that of the card with the cable.",
    ),
];

const HOOK_FAILED: [Advice; 3] = [
    advice(
        "`relay` in [node.wake]",
        "`curl` with its `url`, `method` and `headers` must be answered with success (2xx).",
    ),
    advice("Whatever answers there", "Is it on, and reachable from this computer?"),
    advice("Its key", "What `headers` names, as env:NAME or file:PATH, must be there for Lamplighter."),
];

const HOOK_IN_VAIN: [Advice; 4] = [
    advice(
        "What the relay does",
        "It was called and answered. Its own log or app says whether it switched, or sent a packet.",
    ),
    advice(
        "A smart plug",
        "Power alone starts few machines: turn on \"restore on AC power loss\" in the firmware, and turn the plug off before.",
    ),
    advice(
        "A relay that sends a packet",
        "It must be on the machine's own network, and name the MAC of the cable's card; \"Wake on LAN\" must be on in the firmware.",
    ),
    advice("`timeout` in [node.wake]", "A machine that starts from power off needs minutes: allow more."),
];

const NO_PEER: [Advice; 2] = [
    advice(
        "A Tailscale peer on the machine's network",
        "`tailscale status` must show one that is online there: it sends the packet.",
    ),
    advice("The tailnet's policy", "It must let this computer wake machines (the wake-on-lan grant)."),
];

const NEVER_ANSWERED: [Advice; 8] = [
    advice(
        "The lights at its network socket",
        "Dark while it sleeps: the card has no power. Turn off ErP or \"deep sleep\" in the firmware, turn on \"Wake on LAN\".",
    ),
    advice(
        "The card's setting (Linux)",
        "`ethtool eno1 | grep Wake-on` must say g. Make it stay: `WakeOnLan=magic` in a systemd .link file, or NetworkManager's 802-3-ethernet.wake-on-lan magic.",
    ),
    advice(
        "Fast Startup (Windows)",
        "Turn it off in the power options: after such a shutdown many cards stay dark.",
    ),
    advice(
        "The address",
        "It must be the MAC of the cable's own card: not of a bridge, a dock that is gone, or the 10-gigabit port.",
    ),
    advice("Cable or Wi-Fi", "Wi-Fi wakes few machines and never one that is off: use a cable."),
    advice(
        "The same network",
        "Wake packets do not pass routers, VPNs or Docker's bridge: run Lamplighter with the host's network, or set `relay`.",
    ),
    advice("A first time by hand", "Some boards take the setting only after one start from power off."),
    advice("Where it is", "A machine that is unplugged or elsewhere cannot hear."),
];

const CARD_ONLY: [Advice; 4] = [
    advice(
        "A firewall on that machine",
        "One that drops what it does not know answers nothing while the engine is not there: let this computer in to the engine's port.",
    ),
    advice(
        "The engine starts by itself",
        "`systemctl enable --now ollama`, or a container with `restart: unless-stopped`.",
    ),
    advice(
        "Is it awake?",
        "Some network cards answer for a machine that sleeps (ARP offload): look at its lights. If it sleeps on, check what wakes it: \"Wake on LAN\" in the firmware and `Wake-on: g` of the card.",
    ),
    advice("The port in `url`", "It must be the engine's own."),
];

const ENGINE_CLOSED: [Advice; 4] = [
    advice(
        "The engine starts by itself",
        "`systemctl enable --now ollama`, or a container with `restart: unless-stopped`.",
    ),
    advice("The engine listens on the network", "For Ollama: OLLAMA_HOST=0.0.0.0 on that machine."),
    advice("The port in `url`", "It must be the engine's own."),
    advice("A firewall on that machine", "It must let this computer in."),
];

const STILL_LOADING: [Advice; 2] = [
    advice("`timeout` in [node.wake]", "Large models take minutes to load from a slow disk: allow more."),
    advice("The engine's log", "It says what it is loading, or what it is short of."),
];

const WITHOUT_MODEL: [Advice; 2] = [
    advice("The folder of the models", "Is its disk or network share there after waking?"),
    advice("The model's name", "`lamplighter models` shows what the machine lists now."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hook, Method};

    #[test]
    fn advice_is_about_the_way_in_which_the_machine_is_called() {
        let hook =
            |url: &str| Some(Relay::Hook(Hook { url: url.into(), method: Method::Post, headers: vec![] }));
        let mac = "a8:a1:59:0c:1d:2e".parse().unwrap();
        let caller = |relay: Option<Relay>, mac: Macs, learned| {
            Caller::of(&WakeConfig { relay, mac, ..WakeConfig::default() }, learned)
        };
        assert_eq!(caller(None, Macs::Auto, false), Caller::Nobody);
        assert_eq!(caller(None, Macs::Auto, true), Caller::Packets);
        assert_eq!(caller(None, Macs::Written(vec![mac]), false), Caller::Packets);
        assert_eq!(caller(Some(Relay::Tailscale), Macs::Auto, false), Caller::Nobody);
        assert_eq!(caller(Some(Relay::Tailscale), Macs::Auto, true), Caller::Tailscale);
        assert_eq!(caller(hook("http://plug/on"), Macs::Auto, false), Caller::Hook);
        assert_eq!(caller(hook("http://relay/{mac}"), Macs::Auto, false), Caller::Nobody);
        assert_eq!(caller(hook("http://relay/{mac}"), Macs::Auto, true), Caller::Hook);

        let said = |failure: &Failure, caller: Caller| {
            let advice = failure.checklist(caller).iter();
            advice.map(|it| format!("{}: {}\n", it.check, it.how)).collect::<String>()
        };
        let (unsent, silent) =
            (Failure::NothingSent { why: vec![] }, Failure::NeverAnswered { rounds: 1, waited_ms: 1 });
        assert!(said(&silent, Caller::Packets).contains("ethtool"));
        let hook = said(&silent, Caller::Hook) + &said(&unsent, Caller::Hook);
        assert!(!hook.contains("ethtool") && !hook.contains("Wi-Fi") && hook.contains("`relay`"), "{hook}");
        let nobody = said(&unsent, Caller::Nobody);
        assert!(nobody.contains("`mac`") && !nobody.contains("firewall") && !nobody.contains("broadcast"));
        assert!(said(&unsent, Caller::Packets).contains("broadcast"));
        assert!(said(&unsent, Caller::Tailscale).contains("peer"));
    }
}
