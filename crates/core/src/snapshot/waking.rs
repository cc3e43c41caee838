//! Waking, as people see it: a wake under way, how the last one failed, and what can be done by hand.

use crate::node::Stage;
use serde::{Deserialize, Serialize};

/// What can be done about a node's sleep, and what is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Sleep {
    /// It can be woken: it has `[node.wake]`.
    pub can_wake: bool,
    /// It can be put to sleep: it has `[node.sleep]`.
    pub can_sleep: bool,
    /// The wake under way.
    pub waking: Option<Waking>,
    /// How the last wake failed, until one works.
    pub failure: Option<WakeFailure>,
    /// How long a wake usually takes, milliseconds: the median of this node's wakes.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub usual_ms: Option<u64>,
    /// We are on a network where this node has never been: it is not looked for, and nothing is sent to it.
    pub elsewhere: bool,
    /// How it is kept awake while it answers.
    #[serde(default)]
    pub kept_awake: KeptAwake,
    /// It has fallen asleep while it answered, twice within ten minutes.
    #[serde(default)]
    pub naps: bool,
    /// Its models used its GPU before, and run without it since it woke.
    pub gpu_lost: bool,
}

/// How a machine is kept awake while it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum KeptAwake {
    /// Not at all.
    #[default]
    No,
    /// Its engine is called again and again.
    Call,
    /// By a command that stands in the configuration file, and is taken out there.
    Command,
}

/// A wake under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Waking {
    /// How far it has come.
    pub stage: Stage,
    /// When it began, milliseconds since 1970.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub started_ms: u64,
    /// When it is given up, milliseconds after the start.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub timeout_ms: u64,
    /// Rounds of packets so far.
    pub rounds: u32,
    /// Requests that wait for it.
    pub waiters: u32,
    /// A person wants it awake; it goes on although nobody waits.
    pub by_person: bool,
    /// The program that asked and for which model; `None` when a person did.
    pub asked_by: Option<String>,
}

/// Why a machine did not wake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct WakeFailure {
    /// One word for programs.
    pub code: String,
    /// What happened, in words that follow the node's name.
    pub words: String,
    /// When that was, milliseconds since 1970.
    #[serde(default)]
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub at_ms: Option<u64>,
    /// What to check, likeliest first.
    pub checklist: Vec<Check>,
}

/// One thing to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Check {
    /// What to look at.
    pub what: String,
    /// How, and what it should be.
    pub how: String,
}

/// A question to a person: shall this machine be woken for that request?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Prompt {
    /// The machine.
    pub node: String,
    /// The model that is asked for.
    pub model: String,
    /// The program that asks.
    pub client: String,
    /// Without an answer until then it is answered elsewhere, milliseconds since 1970.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub until_ms: u64,
}
