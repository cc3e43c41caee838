//! How fast a node really writes: tokens per second of the generations that went through us, per model.

use crate::fleet::NodeId;
use std::{collections::HashMap, sync::Arc};

/// A measurement counts this long, in milliseconds. After it the node is unknown again and goes before slower ones: else one
/// that was once measured slow (a game was running, the laptop was on battery) would never be measured again.
pub const TTL_MS: u64 = 60 * 60 * 1_000;
/// Generations with fewer tokens say nothing …
const TOKENS: u64 = 16;
/// … unless they took this long: a node that writes five words in half a minute is known well enough (R09).
const LONG_MS: u64 = 10_000;
const TOKENS_IN_LONG: u64 = 4;
/// What comes within less time came out of some buffer in one piece.
const SHORT_MS: u64 = 100;
/// Weight of the newest generation.
const WEIGHT: f32 = 0.3;
/// Models remembered per node, and nodes.
const MODELS: usize = 256;
const NODES: usize = 1_024;
/// Two speeds on one step are equal: a step is a quarter more than the one below it.
const STEP: f32 = 1.25;

/// What was measured of all nodes. Times are milliseconds of one monotonic clock.
#[derive(Debug, Default)]
pub struct Speeds {
    nodes: HashMap<NodeId, HashMap<Arc<str>, Measured>>,
}

#[derive(Debug)]
struct Measured {
    tokens_per_s: f32,
    at_ms: u64,
}

/// One generation, from its first token to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Tokens written.
    pub tokens: u64,
    /// Milliseconds between the first and the last of them.
    pub took_ms: u64,
}

impl Sample {
    /// Tokens per second, when it says anything.
    #[must_use]
    pub fn tokens_per_s(self) -> Option<f32> {
        let enough = self.tokens >= TOKENS || self.tokens >= TOKENS_IN_LONG && self.took_ms >= LONG_MS;
        (enough && self.took_ms >= SHORT_MS)
            // The first token's own time is not among them.
            .then(|| (self.tokens - 1) as f32 * 1_000.0 / self.took_ms as f32)
    }
}

impl Speeds {
    /// Takes in one generation of `model` (its key) on `node`: an exponentially weighted mean.
    pub fn finished(&mut self, node: NodeId, model: &Arc<str>, sample: Sample, now_ms: u64) {
        let Some(tokens_per_s) = sample.tokens_per_s() else { return };
        if self.nodes.len() >= NODES && !self.nodes.contains_key(&node) {
            self.nodes.clear(); // identities of nodes that are long gone: a day of reconfiguring
        }
        let models = self.nodes.entry(node).or_default();
        if models.len() >= MODELS && !models.contains_key(model) {
            let oldest =
                models.iter().min_by_key(|(_, measured)| measured.at_ms).map(|(model, _)| model.clone());
            oldest.map(|oldest| models.remove(&oldest));
        }
        let before = models.get(model).filter(|before| is_fresh(before, now_ms)).map(|it| it.tokens_per_s);
        let tokens_per_s = before.map_or(tokens_per_s, |before| before + WEIGHT * (tokens_per_s - before));
        models.insert(model.clone(), Measured { tokens_per_s, at_ms: now_ms });
    }

    /// Tokens per second of `model` (its key) on `node`; `None` when not measured within [`TTL_MS`].
    #[must_use]
    pub fn of(&self, node: NodeId, model: &str, now_ms: u64) -> Option<f32> {
        let measured = self.nodes.get(&node)?.get(model)?;
        is_fresh(measured, now_ms).then_some(measured.tokens_per_s)
    }
}

fn is_fresh(measured: &Measured, now_ms: u64) -> bool {
    now_ms.saturating_sub(measured.at_ms) < TTL_MS
}

/// A step of a scale on which each is a quarter more than the one below: small differences are noise, and two equal machines
/// must share the work. Higher is faster.
#[must_use]
pub fn step(tokens_per_s: f32) -> i32 {
    (tokens_per_s.max(0.001).ln() / STEP.ln()).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn sample(tokens: u64, took_ms: u64) -> Sample {
        Sample { tokens, took_ms }
    }

    fn of(speeds: &Speeds, now_ms: u64) -> Option<i32> {
        speeds.of(NODE, "m", now_ms).map(|rate| rate.round() as i32)
    }

    #[test]
    fn the_newest_weighs_three_tenths() {
        let (mut speeds, model) = (Speeds::default(), "m".into());
        speeds.finished(NODE, &model, sample(101, 1_000), 0);
        assert_eq!(of(&speeds, 0), Some(100));
        speeds.finished(NODE, &model, sample(201, 1_000), 1);
        assert_eq!(of(&speeds, 1), Some(130));
        assert_eq!(speeds.of(NODE, "other", 1), None);
        assert_eq!(of(&speeds, 1 + TTL_MS), None, "old measurements do not count");
        speeds.finished(NODE, &model, sample(21, 1_000), 2 + TTL_MS);
        assert_eq!(of(&speeds, 2 + TTL_MS), Some(20), "nor do they weigh");
    }

    #[test]
    fn what_says_nothing_is_no_sample() {
        for short in [sample(0, 0), sample(15, 5_000), sample(3, 60_000), sample(500, 99), sample(16, 0)] {
            assert_eq!(short.tokens_per_s(), None, "{short:?}");
        }
        assert_eq!(sample(16, 1_000).tokens_per_s(), Some(15.0));
        assert_eq!(sample(4, 15_000).tokens_per_s(), Some(0.2), "so slow that four tokens tell");
    }

    #[test]
    fn bounded_in_models_and_nodes() {
        let mut speeds = Speeds::default();
        for at in 0..2_000u32 {
            let model: Arc<str> = format!("m{at}").into();
            speeds.finished(NODE, &model, sample(100, 1_000), u64::from(at));
            speeds.finished(NodeId(at), &"m".into(), sample(100, 1_000), u64::from(at));
        }
        assert!(speeds.nodes.len() <= NODES);
        assert!(speeds.nodes.values().all(|models| models.len() <= MODELS));
    }

    #[test]
    fn a_quarter_is_a_step_and_less_is_noise() {
        assert_eq!(step(93.0), step(91.0));
        assert!(step(93.0) > step(9.0) && step(9.0) > step(0.2));
        assert_eq!(step(0.0), step(0.001));
    }
}
