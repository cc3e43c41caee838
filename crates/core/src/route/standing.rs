//! What the rules of the ranking look at: how one candidate stands.

use super::{Ask, Search};
use crate::{
    fit::{self, Fit},
    fleet::Node,
    model::{self, Model},
    node::State,
    room::Seat,
};

/// From here on an engine's memory for prompts counts as full: it throws others' out for a new one, or lets it wait.
const CACHE_FULL_PERCENT: u8 = 95;

/// Conversations leave a node that has this many waiting for each of its places: by then it is a line, not a neighbour.
const QUEUE_PER_PLACE: u32 = 4;

/// How one candidate stands: one value per rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Why it goes last, when it does: it fails or crawls at work, or could not be reached just now.
    pub trouble: Option<&'static str>,
    /// The request names the node.
    pub pinned: bool,
    /// This conversation was answered there last, and there is a place for it.
    pub session: bool,
    /// The model is in memory; `None` when the engine does not tell.
    pub loaded: Option<bool>,
    /// A place is free, and nobody waits in the engine.
    pub free: bool,
    /// Requests running there for this model: ours, or more if the engine tells of more.
    pub running: u32,
    /// Requests waiting for the node: in our line, and in the engine's own.
    pub waiting: u32,
    /// How many it takes at once.
    pub slots: u32,
    /// What loading the model would do there.
    pub fit: Fit,
    /// Measured tokens per second.
    pub tokens_per_s: Option<f32>,
    /// What its owner wrote.
    pub priority: i32,
    /// The conversation was answered with other contents under this name. Not a rule: such candidates are a tier of their own.
    pub other_contents: bool,
}

impl Standing {
    /// Is it so full that not even a conversation that must keep its contents waits for it?
    pub(super) fn is_overrun(&self) -> bool {
        self.waiting >= self.slots.saturating_mul(QUEUE_PER_PLACE)
    }
}

impl Search<'_> {
    pub(super) fn standing(&self, at: usize, listed: &Model, seat: &Seat, pinned: bool) -> Standing {
        let Ask { home, speeds, now_ms, wall_ms, .. } = self.ask;
        let node = &self.fleet.nodes[at];
        let ours = self.room.running(&seat.place);
        let told = node.told.queue.unwrap_or_default();
        // What failed there lately counts as load, or who fails fastest would always have a free place.
        let weighed = ours.saturating_add(node.marks.burden.min(seat.limit));
        let has_place = weighed < seat.limit;
        // Our own line is looked at only where there is one.
        let line = if ours < seat.limit {
            0
        } else {
            u32::try_from(self.room.waiting_for(node.id)).unwrap_or(u32::MAX)
        };
        let waiting = line.saturating_add(told.waiting);
        let trouble = trouble(node);
        let home = home.filter(|home| model::key(&home.model) == model::key(&listed.name));
        let residents = self.fleet.catalogue.residents(at).iter().filter_map(|&at| node.models.get(at));
        Standing {
            trouble,
            pinned,
            session: trouble.is_none()
                && has_place
                && told.waiting < seat.limit
                && home.is_some_and(|home| home.node == node.id),
            loaded: listed.loaded,
            free: has_place
                && told.waiting == 0
                && told.cache_percent.is_none_or(|full| full < CACHE_FULL_PERCENT),
            running: weighed.max(told.running),
            waiting,
            slots: seat.limit,
            fit: fit::fit_beside(node, residents, listed, wall_ms),
            tokens_per_s: speeds.and_then(|speeds| speeds.of(node.id, model::key(&listed.name), now_ms)),
            priority: node.config.priority,
            other_contents: home
                .and_then(|home| home.digest.as_deref())
                .is_some_and(|digest| listed.digest.as_deref().is_some_and(|listed| listed != digest)),
        }
    }
}

fn trouble(node: &Node) -> Option<&'static str> {
    match (node.state, node.suspect) {
        // On trial it has one place, at its usual rank: whoever gets it shows whether it works again.
        (State::Degraded, false) if node.marks.on_trial => None,
        (State::Degraded, _) => Some("degraded"),
        (_, true) => Some("could not be reached just now"),
        (_, false) if node.gpu_lost => Some("woke without its GPU"),
        (_, false) => None,
    }
}

#[cfg(test)]
impl Standing {
    /// Somebody like all others.
    pub(super) fn plain() -> Self {
        Self {
            trouble: None,
            pinned: false,
            session: false,
            loaded: Some(true),
            free: true,
            running: 0,
            waiting: 0,
            slots: 1,
            fit: Fit::Loaded,
            tokens_per_s: None,
            priority: 0,
            other_contents: false,
        }
    }
}
