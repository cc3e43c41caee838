//! `keep_awake`: what is done again and again while a machine answers, so that its idle timer does not put it to sleep.
//!
//! Idle timers look at keyboards, not at GPUs (ollama #4072). Some look at the last accepted connection, as Wakezilla's does: for those a
//! call is enough. Others want to be told by the machine itself: for those there is a command.

use super::{
    NodeCommand, NodeConfig,
    check::{Complaint, at, warning},
};

/// How often when nothing is written, in milliseconds. The shortest idle timer that systems offer is a minute.
pub const EVERY_MS: u64 = 45_000;
/// The shortest and the longest that can be written.
const EVERYS_MS: std::ops::RangeInclusive<u64> = 5_000..=1_800_000;

/// How a machine is kept awake while it answers requests of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct KeepAwake {
    /// Time from one to the next, milliseconds.
    pub every_ms: u64,
    /// What is done.
    pub by: Nudge,
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Nudge {
    /// Its engine is asked for a sign of life, on a connection of its own.
    Call,
    /// What the owner of the file has written.
    Command(NodeCommand),
}

/// Reads `every`.
///
/// # Errors
/// When it is no duration, or one that helps nobody.
pub fn keep_awake_every_ms(text: &str) -> Result<u64, String> {
    let ms = super::parse_duration_ms(text)?;
    if EVERYS_MS.contains(&ms) {
        Ok(ms)
    } else {
        Err("between 5 seconds and 30 minutes: shorter than the machine's own idle timer".into())
    }
}

/// What only the whole of a node shows.
pub(super) fn check(i: usize, node: &NodeConfig, complaints: &mut Vec<Complaint>) {
    if node.keep_awake.is_some() && node.url.is_cloud() {
        let message = "this machine is not yours: nothing is called to keep it awake".into();
        complaints.push(warning(at("node", i, "keep_awake"), message));
    }
}
