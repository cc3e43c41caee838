//! Whose turn it is in a node's memory, when not all models that are asked for fit beside each other.
//!
//! Requests for what is in memory are served as a batch; the others gather, and then the node switches once. A model keeps
//! its turn while its requests run or wait, and a moment longer for the next of a client that asks again and again. When its
//! turn has lasted and the fair order has come to a request for another model, the turn closes: what runs may end, nothing new
//! begins, the node switches. Which models are loaded besides is not our business: an engine evicts an idle one by itself.

use crate::{
    fit,
    fleet::Node,
    model::{self, Model},
    node::Engine,
};
use std::sync::Arc;

/// A model keeps its turn at least so long while requests for it wait, ms. Also the residence that somebody else's model is
/// left when it has evicted ours, so that the two do not push each other out for ever.
pub const RESIDENCE_MS: u64 = 20_000;
/// The longest that a request waits for another model's turn to end after its own has come, ms; what runs may end besides.
pub const OVERDUE_MS: u64 = 30_000;
/// How long a model keeps its turn after its last request, ms: a client that asks again and again needs a moment in between.
pub const LINGER_MS: u64 = 1_000;

/// What a model takes of its node's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Bytes that it takes.
    pub bytes: u64,
    /// Bytes that there are in all, when that is known. Else what an eviction has shown counts.
    pub of_bytes: Option<u64>,
}

impl Need {
    /// What `model` takes on `node`; `None` when that is not known, or when nothing is ever loaded there. LM Studio holds one
    /// model that was loaded by a request (its "auto-evict", on by default): there each takes all.
    #[must_use]
    pub fn of(node: &Node, model: &Model) -> Option<Self> {
        match node.engine {
            _ if model.remote => None,
            Some(Engine::Lmstudio) => Some(Self { bytes: 1, of_bytes: Some(1) }),
            Some(Engine::Vllm | Engine::Openai) => None,
            Some(Engine::Ollama | Engine::Llamacpp) | None => {
                Some(Self { bytes: fit::needed_bytes(model)?, of_bytes: node.config.vram_bytes })
            }
        }
    }
}

/// A model that was used within this time, ms, does not leave the memory by itself: no engine's keep-alive is shorter unless
/// somebody set it so.
const LATELY_MS: u64 = 60_000;

/// What a look at a node has found.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The models in memory, by key, with their bytes.
    pub loaded: &'a [(Arc<str>, u64)],
    /// When the look began, ms, by the room's clock.
    pub began_ms: u64,
}

/// The key of a model, as places have it.
pub(super) type Key = Arc<str>;

/// The memory of one node, as far as our requests are concerned.
#[derive(Debug, Default)]
pub(super) struct Turn {
    members: Vec<Member>,
    /// When the last of them came in.
    since_ms: u64,
    /// Since when the fair order stands at a request that does not fit.
    due_ms: Option<u64>,
    /// Nothing of this turn begins any more.
    closing: bool,
    hold: Option<Hold>,
    /// What was loaded when the node was last looked at.
    seen: Vec<(Key, u64)>,
    /// The memory holds less than this: a model had to leave for another.
    less_than_bytes: Option<u64>,
}

/// A model whose turn it is.
#[derive(Debug)]
struct Member {
    model: Key,
    bytes: u64,
    /// When a request for it last ended.
    used_ms: Option<u64>,
    /// It has been seen in memory since it came in.
    was_seen: bool,
    /// It has been evicted since: it has no turn, although some of its requests may still run.
    is_out: bool,
}

/// Somebody else has put a model in the place of ours: it is left there for a while.
#[derive(Debug)]
struct Hold {
    until_ms: u64,
    loaded: Vec<(Key, u64)>,
}

/// How much a model is wanted just now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) running: bool,
    pub(super) waiting: bool,
}

/// Who asks whether a model fits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) model: &'a str,
    pub(super) need: Option<Need>,
    /// Nobody else is there: nobody's next request is waited for.
    pub(super) alone: bool,
    pub(super) now_ms: u64,
}

impl Turn {
    /// May a request for that model begin, as far as memory is concerned?
    pub(super) fn lets_in(&self, asking: Asking<'_>, demand: impl Fn(&Key) -> Demand) -> bool {
        !self.is_held(asking) && (!self.closing || !self.has(asking.model)) && self.fits(asking, demand)
    }

    /// Does it fit beside what has its turn, now or as soon as the turn is over?
    pub(super) fn fits(&self, asking: Asking<'_>, demand: impl Fn(&Key) -> Demand) -> bool {
        let Some(need) = asking.need else { return true };
        if self.has(asking.model) {
            return true;
        }
        let others = self.members.iter().filter(|member| *member.model != *asking.model);
        let kept = others.filter(|member| self.keeps(member, asking, demand(&member.model)));
        let kept: u64 = kept.map(|member| member.bytes).sum();
        kept == 0 || self.holds(kept.saturating_add(need.bytes), need)
    }

    /// Does the memory hold so many bytes, as far as anybody knows?
    fn holds(&self, bytes: u64, need: Need) -> bool {
        need.of_bytes.is_none_or(|all| bytes <= all)
            && self.less_than_bytes.is_none_or(|too_many| bytes < too_many)
    }

    /// Does a model keep its turn against who asks?
    fn keeps(&self, member: &Member, asking: Asking<'_>, demand: Demand) -> bool {
        let lingers =
            || !asking.alone && self.lingers_until(member).is_some_and(|until_ms| asking.now_ms < until_ms);
        demand.running || !self.closing && !member.is_out && (demand.waiting || lingers())
    }

    /// Until when a model keeps its turn after its last request. `None` before its first has ended.
    fn lingers_until(&self, member: &Member) -> Option<u64> {
        member.used_ms.map(|used_ms| (used_ms + LINGER_MS).min(self.since_ms + RESIDENCE_MS))
    }

    /// Has somebody else's model its residence instead of this one?
    pub(super) fn is_held(&self, asking: Asking<'_>) -> bool {
        let (Some(hold), Some(need)) = (&self.hold, asking.need) else { return false };
        let others: u64 = hold.loaded.iter().map(|(_, bytes)| bytes).sum();
        asking.now_ms < hold.until_ms
            && hold.loaded.iter().all(|(model, _)| **model != *asking.model)
            && !self.holds(others.saturating_add(need.bytes), need)
    }

    /// Has that model its turn?
    pub(super) fn has(&self, model: &str) -> bool {
        self.members.iter().any(|member| *member.model == *model && !member.is_out)
    }

    /// A request for that model begins: it has its turn now, beside those that keep theirs.
    pub(super) fn begins(&mut self, model: &Key, asking: Asking<'_>, demand: impl Fn(&Key) -> Demand) {
        let Some(need) = asking.need else { return };
        let known = self.members.iter_mut().find(|member| member.model == *model);
        if let Some(member) = known.filter(|member| !member.is_out) {
            member.bytes = need.bytes;
            return;
        }
        let mut kept = std::mem::take(&mut self.members);
        kept.retain(|member| member.model != *model && self.keeps(member, asking, demand(&member.model)));
        if kept.is_empty() || self.closing {
            self.due_ms = None;
        }
        self.members = kept;
        self.members.push(Member {
            model: model.clone(),
            bytes: need.bytes,
            used_ms: None,
            was_seen: false,
            is_out: false,
        });
        (self.since_ms, self.closing) = (asking.now_ms, false);
        // What is held for somebody else may be used by ours too; whatever else begins ends that.
        self.hold.take_if(|hold| hold.loaded.iter().all(|(other, _)| other != model));
    }

    /// A request for that model has ended.
    pub(super) fn ended(&mut self, model: &str, now_ms: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| *member.model == *model) {
            member.used_ms = Some(now_ms);
        }
    }

    /// The fair order stands at a request that does not fit. Closes the turn when it has lasted, or when that request has
    /// stood there for too long.
    pub(super) fn is_due(&mut self, now_ms: u64) {
        let due_ms = *self.due_ms.get_or_insert(now_ms);
        self.closing |= now_ms >= (self.since_ms + RESIDENCE_MS).min(due_ms + OVERDUE_MS);
    }

    /// Nobody waits for another turn any more.
    pub(super) fn is_undisputed(&mut self) {
        (self.due_ms, self.closing) = (None, false);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// When time alone changes something next.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = self.due_ms.filter(|_| !self.closing);
        let ends = ends.map(|due_ms| (self.since_ms + RESIDENCE_MS).min(due_ms + OVERDUE_MS));
        let held = self.hold.as_ref().map(|hold| hold.until_ms);
        let lingers = self.members.iter().filter_map(|member| self.lingers_until(member));
        lingers.chain(ends).chain(held).filter(|at_ms| *at_ms > now_ms).min()
    }

    /// The node was looked at, and these models are in memory.
    ///
    /// One of ours that was used a moment ago and is gone has been evicted: the memory does not hold it beside what is there
    /// or runs. When it was seen there before, and a model that is none of ours has come, then somebody else has evicted it:
    /// theirs stays for a while.
    pub(super) fn sees(&mut self, look: Look<'_>, now_ms: u64, runs: impl Fn(&Key) -> bool) {
        let Look { loaded, began_ms } = look;
        let is_in = |list: &[(Key, u64)], model: &str| list.iter().any(|(other, _)| **other == *model);
        let taken: u64 = loaded.iter().map(|(_, bytes)| bytes).sum();
        // More than was thought is there at once.
        self.less_than_bytes.take_if(|too_many| taken >= *too_many);
        let is_out = |member: &&Member| !is_in(loaded, &member.model);
        let was_used_lately = |used_ms: u64| used_ms < began_ms && now_ms < used_ms + LATELY_MS;
        let mut evictions = Vec::new();
        for evicted in self.members.iter().filter(is_out).filter(|it| it.used_ms.is_some_and(was_used_lately))
        {
            let coming =
                self.members.iter().filter(is_out).filter(|it| it.model != evicted.model && runs(&it.model));
            let there = coming.map(|it| it.bytes).fold(taken, u64::saturating_add);
            if there > 0 {
                self.less_than_bytes = Some(there.saturating_add(evicted.bytes));
                evictions.push(evicted.model.clone());
            }
        }
        let is_new = |model: &Key| !self.has(model) && !is_in(&self.seen, model);
        let has_come = loaded.iter().any(|(model, _)| is_new(model));
        let mut lost = false;
        self.members.retain_mut(|member| {
            let is_lost = member.was_seen && !is_in(loaded, &member.model) && !runs(&member.model);
            member.was_seen |= is_in(loaded, &member.model);
            lost |= is_lost;
            member.is_out |= evictions.contains(&member.model);
            !is_lost
        });
        if lost && has_come {
            self.hold = Some(Hold { until_ms: now_ms + RESIDENCE_MS, loaded: loaded.to_vec() });
        } else if let Some(hold) = &mut self.hold {
            // What has left since then needs no protection.
            hold.loaded.retain(|(model, _)| is_in(loaded, model));
        }
        self.seen = loaded.to_vec();
    }

    /// It is nobody's turn.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.hold.is_none()
    }

    /// Nothing is known of the memory that would have to be kept.
    pub(super) fn is_blank(&self) -> bool {
        self.is_empty() && self.less_than_bytes.is_none()
    }
}

/// Those of a node's models that are in memory, with what they take there. Those that only make embeddings do not count: they
/// come and go with requests that have no turns.
#[must_use]
pub fn loaded(models: &[Model]) -> Vec<(Arc<str>, u64)> {
    let counts = |it: &&Model| it.loaded == Some(true) && !it.remote && !it.embeds_only();
    let loaded = models.iter().filter(counts);
    loaded.map(|it| (model::key(&it.name).into(), fit::needed_bytes(it).unwrap_or(0))).collect()
}
