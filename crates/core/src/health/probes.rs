//! What probes alone say of a node: three misses to fall, two answers to rise.
//!
//! Figures: active probe each 5 s, 1 s while the state is changing, 5 → 60 s doubling while nothing answers
//! (HAProxy's `fall 3`, `rise 2` and `spread-checks`; Envoy's ejection back-off).

use super::Report;
use crate::node::{Presence, Stage, State};

/// Misses in a row until a node that was up is given up.
pub const FALL: u32 = 3;
/// Answers in a row until a node that was gone counts as up again.
pub const RISE: u32 = 2;

/// What the probes of one node have come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Probes {
    /// What they say: never `degraded`.
    pub(super) state: State,
    /// Why, when it is not simply up.
    pub(super) why: Option<String>,
    pub(super) misses: u32,
    goods: u32,
    gone_probes: u32,
    port_closed: bool,
}

impl Probes {
    /// Nothing asked yet.
    pub(super) fn new() -> Self {
        Self { state: State::Unknown, why: None, misses: 0, goods: 0, gone_probes: 0, port_closed: false }
    }

    /// Does it answer, as far as believed?
    pub(super) fn answers(&self) -> bool {
        self.state == State::Up
    }

    /// Does anything there answer, even if it is only a port that refuses?
    pub(super) fn answers_somehow(&self) -> bool {
        self.port_closed || matches!(self.state, State::Up | State::Refusing | State::Waking(_))
    }

    /// A wake begins: what was seen of the machine before says nothing of it now.
    pub(super) fn forget_sight(&mut self) {
        self.port_closed = false;
    }

    /// It is being woken: its first answer is enough.
    pub(super) fn expect(&mut self) {
        self.goods = RISE - 1;
    }

    /// Is it gone, as far as believed?
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Down | State::Away | State::Asleep)
    }

    pub(super) fn fold(&mut self, report: Report, presence: Presence) {
        match report {
            Report::Answered => self.answered(),
            Report::Loading => {
                self.reset_counts();
                self.enter(State::Waking(Stage::Loading), Some("the engine is loading its model".into()));
            }
            Report::Refused(why) => {
                self.reset_counts();
                self.enter(State::Refusing, Some(why));
            }
            Report::Closed(why) => {
                self.port_closed = true;
                self.missed(why, presence);
            }
            Report::Silent(why) => {
                self.port_closed = false;
                self.missed(why, presence);
            }
        }
    }

    /// Milliseconds until the next probe. `random` is in `0.0..1.0` and spreads the probes of many nodes.
    pub(super) fn next_ms(&self, suspect: bool, random: f64) -> u64 {
        let spread = |base_ms: f64, share: f64| (base_ms * (1.0 - share + 2.0 * share * random)) as u64;
        if suspect || self.misses > 0 && self.state.takes_requests() || self.goods > 0 {
            return if self.port_closed { 300 } else { 1_000 };
        }
        match self.state {
            State::Unknown | State::Waking(_) => 1_000,
            State::Up | State::Degraded => spread(5_000.0, 0.2),
            // Once a minute at most: spread to the later side alone.
            State::Asleep => (60_000.0 + 12_000.0 * random) as u64,
            State::Refusing | State::Away | State::Down => {
                let doubled = 5_000.0 * f64::from(1u32 << self.gone_probes.saturating_sub(1).min(4));
                spread(doubled.min(60_000.0), 0.25)
            }
        }
    }

    fn answered(&mut self) {
        (self.misses, self.port_closed) = (0, false);
        if self.is_gone() && self.goods + 1 < RISE {
            self.goods += 1;
            return;
        }
        (self.goods, self.gone_probes) = (0, 0);
        self.enter(State::Up, None);
    }

    fn missed(&mut self, why: String, presence: Presence) {
        self.goods = 0;
        self.misses += 1;
        let enough = match self.state {
            State::Up | State::Degraded | State::Refusing | State::Waking(_) => self.misses >= FALL,
            State::Unknown => self.misses >= 2,
            State::Asleep | State::Away | State::Down => true,
        };
        if !enough {
            return;
        }
        self.gone_probes = self.gone_probes.saturating_add(1);
        self.enter(gone(presence), Some(why));
    }

    /// Its owner says otherwise what its silence means: one that is gone is gone in that way from now on.
    pub(super) fn means(&mut self, presence: Presence) {
        if self.is_gone() {
            self.state = gone(presence);
        }
    }

    fn reset_counts(&mut self) {
        (self.misses, self.goods, self.gone_probes, self.port_closed) = (0, 0, 0, false);
    }

    fn enter(&mut self, state: State, why: Option<String>) {
        (self.state, self.why) = (state, why);
    }
}

/// What a machine is that says nothing.
fn gone(presence: Presence) -> State {
    match presence {
        Presence::AlwaysOn => State::Down,
        Presence::Sleeps => State::Asleep,
        Presence::ComesAndGoes => State::Away,
    }
}
