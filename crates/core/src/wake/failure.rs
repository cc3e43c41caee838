//! Why a machine did not wake, from what was seen of it, and what a person can check.

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
            Self::EngineClosed { .. } => "engine_closed",
            Self::StillLoading { .. } => "still_loading",
            Self::WithoutModel { .. } => "without_model",
        }
    }

    /// What a person can check, likeliest first.
    #[must_use]
    pub fn checklist(&self) -> &'static [Advice] {
        match self {
            Self::NothingSent { .. } => &NOTHING_SENT,
            Self::NeverAnswered { .. } => &NEVER_ANSWERED,
            Self::EngineClosed { .. } => &ENGINE_CLOSED,
            Self::StillLoading { .. } => &STILL_LOADING,
            Self::WithoutModel { .. } => &WITHOUT_MODEL,
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
