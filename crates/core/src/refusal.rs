//! The one list of reasons why we say no. Dialects only dress them.

use crate::operation::Dialect;

/// A request that gets no answer from a node, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The `Host` header names nobody we are.
    HostNotAllowed {
        /// The name as sent, cut to a harmless length.
        host: String,
    },
    /// A web page that is not on the list.
    OriginNotAllowed {
        /// The origin as sent, cut to a harmless length.
        origin: String,
    },
    /// A key is needed here, and there is none or a wrong one.
    KeyNeeded,
    /// The request is not well-formed HTTP for us.
    BadRequest {
        /// What is wrong.
        what: String,
    },
    /// The body is not what it should be.
    BadBody {
        /// What is wrong.
        what: String,
    },
    /// The body is larger than allowed.
    BodyTooLarge {
        /// The cap in bytes.
        cap_bytes: u64,
    },
    /// The body's encoding is not understood.
    BadEncoding {
        /// The `Content-Encoding` as sent.
        encoding: String,
    },
    /// The body stood still for too long.
    BodyStalled,
    /// No such route.
    NoRoute {
        /// The path as sent.
        path: String,
    },
    /// The route exists, but not for this method.
    WrongMethod,
    /// A route that we know and do not serve yet.
    NotServed {
        /// What it would be.
        what: String,
    },
    /// A person has paused routing.
    Paused {
        /// Seconds until it ends by itself; `None` when somebody must resume.
        left_s: Option<u64>,
    },
    /// A person has cancelled this request.
    Cancelled,
    /// Nothing is configured.
    NoNodes {
        /// The configuration file.
        config_path: String,
    },
    /// Nobody has ever listed this model.
    ModelUnknown {
        /// The name as asked for.
        model: String,
        /// Names that come close.
        similar: Vec<String>,
        /// Where the name could be meant as `model@node`: the node, which there is not.
        no_node: Option<String>,
    },
    /// Somebody has it, but nobody can serve it now.
    ModelAway {
        /// The name as asked for.
        model: String,
        /// Why each node that has it cannot serve, in words.
        reasons: Vec<String>,
        /// It may come back by itself within a minute.
        soon: bool,
    },
    /// The pinned node cannot serve.
    PinFailed {
        /// The model as asked for.
        model: String,
        /// The node it was pinned to.
        node: String,
        /// Why it cannot, in words.
        why: String,
        /// It may come back by itself within a minute.
        soon: bool,
    },
    /// The nodes that have the model do not speak the caller's dialect.
    DialectMissing {
        /// The model as asked for.
        model: String,
        /// The caller's dialect.
        dialect: Dialect,
        /// What those nodes do speak.
        instead: Vec<Dialect>,
    },
    /// The waiting room is full.
    RoomFull {
        /// The node whose room it is.
        node: String,
        /// How many wait there.
        waiting: usize,
    },
    /// Waited to the end, and no place became free.
    WaitedTooLong {
        /// The model as asked for.
        model: String,
        /// How long, in seconds.
        waited_s: u64,
    },
    /// Every node that could have answered failed before its first byte.
    AllFailed {
        /// The model as asked for.
        model: String,
        /// What each attempt met, in words.
        attempts: Vec<String>,
        /// Another try may find another house.
        soon: bool,
    },
    /// A node answered with an error that no client could read.
    NodeError {
        /// Which.
        node: String,
        /// The HTTP status it gave.
        status: u16,
        /// What it said, if it was text.
        said: Option<String>,
    },
    /// Programs elsewhere may not do that.
    OwnerNeeded {
        /// What it would be.
        what: String,
    },
    /// Nobody may do that unless the configuration says so.
    ManageNeeded {
        /// What it would be.
        what: String,
    },
    /// The machine that has the model sleeps, and is not woken for this request.
    NodeAsleep {
        /// The model as asked for.
        model: String,
        /// The machine.
        node: String,
        /// Why, in words that follow its name.
        why: String,
        /// When another try makes sense, seconds; `None` when nothing will change by itself.
        retry_s: Option<u32>,
    },
    /// Too many wait for machines to wake.
    LobbyFull {
        /// The machine that this one would have waited for.
        node: String,
    },
    /// The request has passed through too many Lamplighters.
    Loop,
    /// We are shutting down.
    ShuttingDown,
    /// Our own fault.
    Internal {
        /// What went wrong.
        what: String,
    },
}

impl Refusal {
    /// HTTP status. No answer possible is 503, never 504; a full room 429; 408 only for a stalled body.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::HostNotAllowed { .. }
            | Self::OriginNotAllowed { .. }
            | Self::OwnerNeeded { .. }
            | Self::ManageNeeded { .. } => 403,
            Self::KeyNeeded => 401,
            Self::BadRequest { .. } | Self::BadBody { .. } | Self::DialectMissing { .. } => 400,
            Self::BodyTooLarge { .. } => 413,
            Self::BadEncoding { .. } => 415,
            Self::BodyStalled => 408,
            Self::NoRoute { .. } | Self::ModelUnknown { .. } => 404,
            Self::WrongMethod => 405,
            Self::NotServed { .. } => 501,
            Self::Paused { .. }
            | Self::Cancelled
            | Self::NoNodes { .. }
            | Self::ModelAway { .. }
            | Self::PinFailed { .. }
            | Self::WaitedTooLong { .. }
            | Self::AllFailed { .. }
            | Self::NodeAsleep { .. }
            | Self::ShuttingDown => 503,
            Self::RoomFull { .. } | Self::LobbyFull { .. } => 429,
            Self::NodeError { status, .. } => *status,
            Self::Loop => 508,
            Self::Internal { .. } => 500,
        }
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::OriginNotAllowed { .. } => "origin_not_allowed",
            Self::KeyNeeded => "key_needed",
            Self::BadRequest { .. } => "bad_request",
            Self::BadBody { .. } => "bad_body",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BadEncoding { .. } => "bad_encoding",
            Self::BodyStalled => "body_stalled",
            Self::NoRoute { .. } => "no_route",
            Self::WrongMethod => "wrong_method",
            Self::NotServed { .. } => "not_served",
            Self::Paused { .. } => "paused",
            Self::Cancelled => "cancelled",
            Self::NoNodes { .. } => "no_nodes",
            Self::ModelUnknown { .. } => "model_not_found",
            Self::ModelAway { .. } => "model_away",
            Self::PinFailed { .. } => "pinned_node_unavailable",
            Self::DialectMissing { .. } => "dialect_not_spoken",
            Self::RoomFull { .. } => "waiting_room_full",
            Self::WaitedTooLong { .. } => "waited_too_long",
            Self::AllFailed { .. } => "all_nodes_failed",
            Self::NodeError { .. } => "node_error",
            Self::OwnerNeeded { .. } => "owner_needed",
            Self::ManageNeeded { .. } => "manage_needed",
            Self::NodeAsleep { .. } => "node_asleep",
            Self::LobbyFull { .. } => "wake_room_full",
            Self::Loop => "loop",
            Self::ShuttingDown => "shutting_down",
            Self::Internal { .. } => "internal",
        }
    }

    /// One or two sentences for a person: what was refused, and why.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::HostNotAllowed { host } => {
                format!("Lamplighter does not answer under the name {host:?}.")
            }
            Self::OriginNotAllowed { origin } => format!("The web page {origin:?} may not use this Lamplighter."),
            Self::KeyNeeded => "This address of Lamplighter wants a key.".into(),
            Self::BadRequest { what } => format!("The request cannot be served: {what}."),
            Self::BadBody { what } => format!("The request body cannot be used: {what}."),
            Self::BodyTooLarge { cap_bytes } => {
                format!("The request body is larger than {} MiB.", cap_bytes >> 20)
            }
            Self::BadEncoding { encoding } => {
                format!("A body with content-encoding {encoding:?} is not understood: send it plain, gzip or zstd.")
            }
            Self::BodyStalled => "The request body stopped arriving.".into(),
            Self::NoRoute { path } => format!("There is nothing at {path}."),
            Self::WrongMethod => "This route exists, but not for this method.".into(),
            Self::NotServed { what } => format!("{what} is not served yet."),
            Self::NodeError { node, status, said: Some(said) } => format!("{node} answered {status}: {said}"),
            Self::NodeError { node, status, said: None } => format!("{node} answered {status} and said nothing else."),
            Self::OwnerNeeded { what } => format!("{what} is for programs on Lamplighter's own machine."),
            Self::ManageNeeded { what } => format!("{what} is not allowed through Lamplighter."),
            Self::Paused { left_s: Some(left_s) } => {
                format!("Lamplighter is paused for another {} min.", left_s.div_ceil(60))
            }
            Self::Paused { left_s: None } => "Lamplighter is paused.".into(),
            Self::Cancelled => "The request was cancelled in Lamplighter.".into(),
            Self::NoNodes { config_path } => format!("no nodes configured. Add one in {config_path}."),
            Self::ModelUnknown { model, similar, no_node } => {
                let node = no_node.as_ref();
                let node = node.map_or(String::new(), |node| format!(", and there is no node '{node}' to pin it to"));
                let other = if similar.is_empty() { ".".to_owned() } else { format!(". Did you mean {}?", or(similar)) };
                format!("model '{model}' not found: no node lists it{node}{other}")
            }
            Self::ModelAway { model, reasons, .. } => {
                format!("Nobody can serve '{model}' now: {}.", reasons.join("; "))
            }
            Self::PinFailed { model, node, why, .. } => {
                format!("'{model}' is pinned to {node}, which cannot serve it: {why}.")
            }
            Self::DialectMissing { model, dialect, instead } => {
                let titles: Vec<_> = instead.iter().map(|d| d.title().to_owned()).collect();
                let instead = if titles.is_empty() { String::new() } else { format!(" They speak {}.", and(&titles)) };
                format!("The nodes that have '{model}' do not speak {}.{instead}", dialect.title())
            }
            Self::RoomFull { node, waiting } => {
                format!("{waiting} requests are waiting for {node} already.")
            }
            Self::WaitedTooLong { model, waited_s } => {
                format!("No place for '{model}' became free in {waited_s} s.")
            }
            Self::AllFailed { model, attempts, .. } => {
                format!("No node could answer for '{model}': {}.", attempts.join("; "))
            }
            Self::NodeAsleep { model, node, why, .. } => format!("'{model}' is on {node}, which {why}."),
            Self::LobbyFull { node } => format!("Too many requests wait for {node} to wake already."),
            Self::Loop => "This request has come back to a Lamplighter it has passed: one of the nodes is a Lamplighter itself.".into(),
            Self::ShuttingDown => "Lamplighter is shutting down.".into(),
            Self::Internal { what } => format!("Lamplighter failed: {what}."),
        }
    }

    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::HostNotAllowed { .. } => {
                "Add the name to `allowed_hosts` in [server]; requests under it then need `key`.".into()
            }
            Self::OriginNotAllowed { .. } => "Add the page's origin to `allowed_origins` in [server].".into(),
            Self::KeyNeeded => {
                "Send the `key` of [server] as `Authorization: Bearer …` or `x-api-key`.".into()
            }
            Self::ModelUnknown { .. } => "`lamplighter models` lists what can be reached.".into(),
            Self::ModelAway { .. } | Self::PinFailed { .. } | Self::AllFailed { .. } => {
                "`lamplighter status` shows every machine.".into()
            }
            Self::DialectMissing { .. } => "Use an app or a route of a dialect they speak.".into(),
            Self::NotServed { .. } => "Ask the machine's own engine for it.".into(),
            Self::ManageNeeded { .. } => {
                "Set `manage = true` in [server] of the configuration file; it counts for programs on this machine.".into()
            }
            Self::NodeAsleep { node, .. } => format!("`lamplighter wake {node}` wakes it by hand."),
            Self::NoNodes { .. } => "A node is three lines: [[node]], name, url.".into(),
            _ => return None,
        })
    }

    /// Seconds after which another try makes sense; at most 60, since clients give up on more.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Paused { left_s: Some(left_s) } if *left_s <= 60 => {
                Some(u32::try_from(*left_s).unwrap_or(60).max(1))
            }
            Self::RoomFull { .. } => Some(5),
            Self::LobbyFull { .. } => Some(30),
            Self::NodeAsleep { retry_s, .. } => *retry_s,
            Self::WaitedTooLong { .. } | Self::ShuttingDown => Some(10),
            Self::ModelAway { soon: true, .. } | Self::PinFailed { soon: true, .. } => Some(10),
            Self::AllFailed { soon: true, .. } => Some(10),
            // Machines come back by themselves, too; but nobody should wait for it.
            Self::ModelAway { soon: false, .. } => Some(30),
            _ => None,
        }
    }

    /// What `x-should-retry` says: OpenAI's and Anthropic's SDKs retry 408, 409, 429 and 5xx twice unless told not to.
    #[must_use]
    pub fn should_retry(&self) -> bool {
        self.retry_after_s().is_some() && !matches!(self, Self::ModelAway { soon: false, .. })
    }
}

fn or(names: &[String]) -> String {
    joined(names, "or")
}

fn and(names: &[String]) -> String {
    joined(names, "and")
}

fn joined(names: &[String], word: &str) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} {word} {last}", rest.join(", ")),
    }
}
