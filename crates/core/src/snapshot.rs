//! All that eyes need, as one value: the tray, the window, the command line and `GET /control/v1/snapshot` show this.

mod waking;

pub use waking::{Check, KeptAwake, Prompt, Sleep, WakeFailure, Waking};

use crate::{
    alias::Alias,
    mode::Mode,
    model::Model,
    node::{Engine, Presence, State},
    operation::{Dialects, Operation},
};
use serde::{Deserialize, Serialize};

/// The whole house at one moment. Times are milliseconds since 1970 unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Snapshot {
    /// Grows with every snapshot of this gateway.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub seq: u64,
    /// When it was taken.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub at_ms: u64,
    /// The gateway itself.
    pub gateway: Gateway,
    /// Every node, in the order of the configuration.
    pub nodes: Vec<Node>,
    /// The merged model list, by name.
    pub models: Vec<ListedModel>,
    /// The aliases, in the order of the configuration.
    pub aliases: Vec<Alias>,
    /// Requests under way, oldest first.
    pub requests: Vec<Request>,
    /// What this gateway has served since it started.
    pub totals: Totals,
    /// What a person should look at, worst first.
    pub problems: Vec<Problem>,
    /// Machines that requests would like to have woken: a person is asked.
    pub prompts: Vec<Prompt>,
    /// Engines on this computer that could become nodes, each with one click.
    #[serde(default)]
    pub offers: Vec<Offer>,
}

/// The gateway itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Gateway {
    /// Version of Lamplighter.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub started_ms: u64,
    /// The address to point apps at, for example `http://127.0.0.1:11400`.
    pub base_url: String,
    /// Every address it listens on.
    pub listening: Vec<String>,
    /// The configuration file.
    pub config_path: String,
    /// The simulated fleet: nothing here is real.
    pub demo: bool,
    /// How requests are routed just now.
    pub mode: Mode,
    /// When the pause ends by itself; `None` when not paused, or until somebody resumes.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub paused_until_ms: Option<u64>,
    /// No node is configured: those shown were found on this computer.
    pub found_only: bool,
}

/// One node as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The engine there, when known.
    pub engine: Option<Engine>,
    /// The engine's version.
    pub version: Option<String>,
    /// How it comes and goes.
    pub presence: Presence,
    /// What we believe of it.
    #[serde(flatten)]
    pub state: State,
    /// Since when.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub since_ms: u64,
    /// Why it is in this state, when it is not simply up.
    pub why: Option<String>,
    /// Its GPU as its owner typed it.
    pub gpu: Option<String>,
    /// Video memory in bytes: as written, else the largest amount seen in use.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub vram_bytes: Option<u64>,
    /// Its owner wrote how much video memory there is; else there is at least that much.
    pub vram_typed: bool,
    /// What it speaks natively.
    pub dialects: Dialects,
    /// Generations per loaded model sent there at once.
    pub slots: u32,
    /// Higher goes first among equals.
    pub priority: i32,
    /// Requests running there through us.
    pub active: u32,
    /// Requests waiting for it.
    pub waiting: u32,
    /// Requests waiting in the engine itself, where it tells: ours, and those of others who ask it directly.
    #[serde(default)]
    pub engine_waiting: Option<u32>,
    /// Its models: as it lists them, or as last seen when it is gone.
    pub models: Vec<Model>,
    /// Round-trip time of the last good probe, milliseconds.
    pub probe_ms: Option<u32>,
    /// It leads out of the house.
    pub cloud: bool,
    /// Models can be loaded and unloaded there by asking.
    pub can_load: bool,
    /// Its sleep: what can be done about it, and what is going on.
    pub sleep: Sleep,
}

/// One line of the merged model list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ListedModel {
    /// Its name.
    pub name: String,
    /// The nodes that have it and take requests.
    pub nodes: Vec<String>,
    /// Those of them that have it in memory.
    pub loaded_on: Vec<String>,
    /// Nodes that have it and sleep: asking for it wakes one.
    pub asleep_on: Vec<String>,
    /// Two nodes hold different contents under this name.
    pub drift: bool,
}

/// Where a request has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum RequestStage {
    /// Waits for a place.
    Queued,
    /// Waits for a machine to wake.
    Waking,
    /// Sent; nothing has come back.
    Sent,
    /// The answer is coming.
    Streaming,
}

/// A request under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Request {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// The program that asks, from its `User-Agent`.
    pub client: String,
    /// What it asks for.
    pub operation: Operation,
    /// The model as asked for.
    pub model: String,
    /// The node that answers, once chosen.
    pub node: Option<String>,
    /// The model's name there.
    pub node_model: Option<String>,
    /// Where it has got to.
    pub stage: RequestStage,
    /// How many wait before it, while queued.
    pub ahead: Option<u32>,
    /// When it came in.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub started_ms: u64,
    /// When the first byte of the answer came.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub first_byte_ms: Option<u64>,
    /// Events of the stream so far: about one per token.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub events: u64,
    /// Does it stream?
    pub stream: bool,
}

/// Counts since the gateway started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Totals {
    /// Requests that named a model.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub requests: u64,
    /// Those answered whole.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub answered: u64,
    /// Those refused or failed.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub failed: u64,
    /// Those whose client hung up.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub cancelled: u64,
    /// Tokens read, where nodes told.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub tokens_in: u64,
    /// Tokens written, where nodes told.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub tokens_out: u64,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Problem,
    /// Something is worth knowing.
    Notice,
}

/// Something a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Problem {
    /// A stable word for programs.
    pub code: String,
    /// How much it matters.
    pub level: Level,
    /// What it is, in a sentence.
    pub message: String,
    /// What to do, when there is something.
    pub hint: Option<String>,
    /// The node it is about.
    pub node: Option<String>,
}

/// An engine on this computer that could become a node with one click: an Ollama that holds a port which we were told to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Offer {
    /// The name that the node would get.
    pub name: String,
    /// Its address, for example `127.0.0.1:11434`. The problem that it goes with names it too.
    pub url: String,
}
