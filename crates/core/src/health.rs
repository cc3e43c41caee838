//! What we believe of a node, folded from its probes and from what requests meet there, so that it does not flap.
//!
//! Probes say whether it is there; only work proves that it works. The parts keep their own counts (`breaker`, `flaps`,
//! `canary`); this puts them together into one state with one reason.

mod probes;

pub use probes::{FALL, RISE};

use crate::{
    breaker::Breaker,
    canary::{Canary, Song},
    flaps::Flaps,
    node::{Presence, State},
    patience::Patience,
};
use probes::Probes;
use std::sync::Arc;

/// Time that one probe may take, in milliseconds.
pub const PROBE_TIMEOUT_MS: u64 = 2_000;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The engine answered as it should.
    Answered,
    /// The engine answers that it is still loading its model.
    Loading,
    /// It answers, but not for us; the text says why and what to do.
    Refused(String),
    /// Nothing there takes connections: the machine is up and its port is closed.
    Closed(String),
    /// No answer in time.
    Silent(String),
}

/// A moment by both clocks, in milliseconds: the wall's for people, the monotonic one for waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since 1970.
    pub wall_ms: u64,
    /// Since some moment of its own; never goes back.
    pub mono_ms: u64,
}

/// What requests met at a node, as far as choosing among nodes is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Requests more than there are: each failure counts for a while. [`u32::MAX`]: the node says that it is busy.
    pub burden: u32,
    /// It is `degraded`, and one request may show that it works again.
    pub on_trial: bool,
    /// Models that it cannot serve for a while although it lists them.
    pub blocked: Arc<[Blocked]>,
}

/// A model that a node cannot serve for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The model's key.
    pub model: String,
    /// Why, in words that follow "it": "cannot load it: out of memory".
    pub why: String,
}

/// A refusal at work, although probes are answered.
#[derive(Debug, Clone, PartialEq, Default)]
struct Refusal {
    why: Option<String>,
    until_ms: u64,
    stay_ms: u64,
}

/// The health of one node: what we believe and how sure we are.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What we believe.
    pub state: State,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why, in words for a person, when it is not simply up.
    pub why: Option<String>,
    /// A request could not connect since the last good probe: other nodes go first.
    pub suspect: bool,
    patience: Patience,
    probes: Probes,
    breaker: Breaker,
    flaps: Flaps,
    canary: Canary,
    refusal: Refusal,
    /// It has come back, and nobody has been told to begin slowly there.
    rose: bool,
}

impl Health {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(patience: Patience, now: Now) -> Self {
        Self {
            state: State::Unknown,
            since_ms: now.wall_ms,
            why: None,
            suspect: false,
            patience,
            probes: Probes::new(),
            breaker: Breaker::default(),
            flaps: Flaps::default(),
            canary: Canary::default(),
            refusal: Refusal::default(),
            rose: false,
        }
    }

    /// Takes in one probe report. True when something that others see has changed.
    pub fn fold(&mut self, report: Report, presence: Presence, now: Now) -> bool {
        self.news(now, |health| {
            let (was, was_gone) = (health.probes.state, health.probes.is_gone());
            if matches!(report, Report::Answered | Report::Loading) {
                health.suspect = false;
            }
            health.probes.fold(report, presence);
            let is_gone = health.probes.is_gone();
            if is_gone {
                health.suspect = false;
                health.canary.forget();
            }
            if was_gone != is_gone && was != State::Unknown {
                health.flaps.turned(now.mono_ms, &health.patience);
            }
            health.rose |= health.probes.answers() && !matches!(was, State::Up | State::Unknown);
        })
    }

    /// Its owner has written something else about how it comes and goes. True when something that others see has changed.
    pub fn silence_means(&mut self, presence: Presence, now: Now) -> bool {
        self.news(now, |health| health.probes.means(presence))
    }

    /// A request could not reach the node. It goes to the end of the line until a probe has answered.
    /// True when that is news.
    pub fn suspect(&mut self) -> bool {
        let news = self.state.takes_requests() && !self.suspect;
        self.suspect |= news;
        news
    }

    /// The node failed at a request, although it answers probes. `random` in `0.0..1.0` keeps many from coming back at once.
    /// True when something that others see has changed.
    pub fn failed_at_work(&mut self, what: &str, now: Now, random: f64) -> bool {
        self.news(now, |health| {
            if health.probes.answers() {
                health.breaker.failed(what, now.mono_ms, random, &health.patience);
            }
        })
    }

    /// The node says that it is busy: no fault, and for `wait_ms` no place there counts as free. True when that is news.
    pub fn busy(&mut self, wait_ms: u64, now: Now) -> bool {
        self.news(now, |health| health.breaker.busy(now.mono_ms, wait_ms))
    }

    /// The node refuses us at work (401): it gets no requests for a while, for the next would meet the same. No failure:
    /// it is the configuration that is wrong. True when that is news.
    pub fn refused_at_work(&mut self, why: String, now: Now) -> bool {
        self.news(now, |health| {
            let Patience { refused_ms, refused_max_ms, .. } = health.patience;
            let refusal = &mut health.refusal;
            if refusal.why.is_none() {
                refusal.stay_ms = (refusal.stay_ms * 2).clamp(refused_ms, refused_max_ms);
                refusal.until_ms = now.mono_ms + refusal.stay_ms;
            }
            refusal.why = Some(why);
        })
    }

    /// The node did a request for `model` well: what was held against it is forgotten. True when that is news.
    pub fn worked(&mut self, model: &str, now: Now) -> bool {
        self.news(now, |health| {
            health.breaker.worked();
            health.canary.worked(model);
            health.refusal = Refusal::default();
        })
    }

    /// A request for `model` has been silent there for too long: a canary shall look.
    pub fn silent_at_work(&mut self, model: &Arc<str>) {
        if self.probes.answers() {
            self.canary.silent(model);
        }
    }

    /// The model that a canary is to ask for one token of now. Whoever asks reports by [`Health::sang`].
    pub fn canary(&mut self, now: Now) -> Option<Arc<str>> {
        self.canary.fly(now.mono_ms)
    }

    /// A canary is back. True when something that others see has changed.
    pub fn sang(&mut self, song: Song, now: Now) -> bool {
        self.news(now, |health| {
            let was_gray = health.canary.is_gray();
            health.canary.came_back(song, now.mono_ms, &health.patience);
            health.rose |= was_gray && !health.canary.is_gray();
        })
    }

    /// Time passes. True when something that others see has changed.
    pub fn tick(&mut self, now: Now) -> bool {
        self.news(now, |health| {
            let (was_trial, was_unstable) = (health.breaker.on_trial(), health.flaps.is_unstable());
            health.breaker.tick(now.mono_ms, &health.patience);
            health.flaps.tick(now.mono_ms, health.probes.is_gone(), &health.patience);
            if health.refusal.why.is_some() && health.refusal.until_ms <= now.mono_ms {
                health.refusal.why = None;
                health.rose = true;
            }
            health.rose |= !was_trial && health.breaker.on_trial();
            health.rose |= was_unstable && !health.flaps.is_unstable() && health.probes.answers();
        })
    }

    /// When [`Health::tick`] or a canary is due, by the monotonic clock; `None` when never.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        let refusal_ms = self.refusal.why.is_some().then_some(self.refusal.until_ms);
        let parts =
            [self.breaker.next_ms(&self.patience), self.flaps.next_ms(&self.patience), self.canary.next_ms()];
        parts.into_iter().flatten().chain(refusal_ms).min()
    }

    /// Does anything there answer, even if it is only a port that refuses?
    #[must_use]
    pub fn answers_somehow(&self) -> bool {
        self.probes.answers_somehow()
    }

    /// A wake begins: a port that refused before may have been the last that was heard of the machine.
    pub fn forget_sight(&mut self) {
        self.probes.forget_sight();
    }

    /// It is being woken: its first answer is enough.
    pub fn expect(&mut self) {
        self.probes.expect();
    }

    /// Does it answer its probes, as far as believed? What is shown may lag behind while it comes and goes.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.probes.answers()
    }

    /// Does it answer its probes, and give no token?
    #[must_use]
    pub fn is_gray(&self) -> bool {
        self.canary.is_gray()
    }

    /// Has it come back since this was last asked? Then it is to be begun with slowly.
    pub fn has_risen(&mut self) -> bool {
        std::mem::take(&mut self.rose)
    }

    /// What requests met there, but for what is blocked.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let on_trial = self.breaker.on_trial() && !self.flaps.is_unstable() && !self.canary.is_gray();
        Marks { burden: self.breaker.burden(), on_trial, blocked: Arc::default() }
    }

    /// Milliseconds until the next probe. `random` is in `0.0..1.0` and spreads the probes of many nodes.
    #[must_use]
    pub fn next_probe_ms(&self, random: f64) -> u64 {
        self.probes.next_ms(self.suspect, random)
    }

    /// Changes something, and says whether others see another node now.
    fn news(&mut self, now: Now, change: impl FnOnce(&mut Self)) -> bool {
        let before = (self.state, self.why.clone(), self.suspect, self.marks());
        change(self);
        let (state, why) = self.believed();
        if self.state != state {
            self.since_ms = now.wall_ms;
        }
        (self.state, self.why) = (state, why);
        before != (self.state, self.why.clone(), self.suspect, self.marks())
    }

    /// One state with one reason: the parts, the heaviest first.
    fn believed(&self) -> (State, Option<String>) {
        let degraded = |why: String| (State::Degraded, Some(why));
        let probes = &self.probes;
        if !(probes.answers() || probes.is_gone() && self.flaps.is_unstable()) {
            return (probes.state, probes.why.clone());
        }
        if let Some(why) = self.refusal.why.as_ref().filter(|_| probes.answers()) {
            return (State::Refusing, Some(why.clone()));
        }
        if self.flaps.is_unstable() {
            return degraded("unstable: it comes and goes".into());
        }
        if self.canary.is_gray() {
            return degraded("it answers, and generates nothing".into());
        }
        match self.breaker.why() {
            Some(why) => degraded(format!("it fails at work: {why}")),
            None => (State::Up, None),
        }
    }
}

#[cfg(test)]
mod tests;
