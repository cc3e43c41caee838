//! Coming and going: more than four changes in a minute make a node unstable, and it is held down until it has settled.

use crate::patience::Patience;
use std::collections::VecDeque;

/// Changes within the time that are still no flapping.
const CALM: usize = 4;

/// The changes of one node between there and gone. All times are milliseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flaps {
    turns: VecDeque<u64>,
    held_until_ms: Option<u64>,
    /// The latest hold-down, and when it ended.
    hold_ms: u64,
    released_ms: u64,
}

impl Flaps {
    /// The node has come or gone.
    pub fn turned(&mut self, now_ms: u64, patience: &Patience) {
        self.forget(now_ms, patience);
        if self.turns.len() == 64 {
            self.turns.pop_front();
        }
        self.turns.push_back(now_ms);
        if self.held_until_ms.is_none() && self.turns.len() > CALM {
            if now_ms > self.released_ms + patience.hold_max_ms {
                self.hold_ms = 0;
            }
            self.hold(now_ms, patience);
        }
    }

    /// Time passes. `gone`: it does not answer now.
    pub fn tick(&mut self, now_ms: u64, gone: bool, patience: &Patience) {
        self.forget(now_ms, patience);
        let Some(until_ms) = self.held_until_ms else { return };
        // Gone for good is no flapping any more, and then people should see it.
        let settled = gone && self.turns.is_empty();
        if settled || until_ms <= now_ms && self.turns.len() <= CALM {
            (self.held_until_ms, self.released_ms) = (None, now_ms);
        } else if until_ms <= now_ms {
            self.hold(now_ms, patience);
        }
    }

    /// Is it held down?
    #[must_use]
    pub fn is_unstable(&self) -> bool {
        self.held_until_ms.is_some()
    }

    /// When [`Flaps::tick`] has something to do, at the latest; `None` when never.
    #[must_use]
    pub fn next_ms(&self, patience: &Patience) -> Option<u64> {
        let settled_ms = self.turns.back().map(|last_ms| last_ms + patience.flap_ms);
        self.held_until_ms.map(|until_ms| settled_ms.map_or(until_ms, |settled_ms| until_ms.min(settled_ms)))
    }

    fn hold(&mut self, now_ms: u64, patience: &Patience) {
        self.hold_ms = (self.hold_ms * 2).clamp(patience.hold_ms, patience.hold_max_ms);
        self.held_until_ms = Some(now_ms + self.hold_ms);
    }

    fn forget(&mut self, now_ms: u64, patience: &Patience) {
        self.turns.retain(|at_ms| at_ms + patience.flap_ms > now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_changes_in_a_minute_are_calm_and_five_are_not() {
        let patience = Patience::default();
        let mut flaps = Flaps::default();
        for at_ms in [0, 1_000, 2_000, 3_000, 61_500] {
            flaps.turned(at_ms, &patience);
        }
        flaps.turned(61_600, &patience);
        assert!(!flaps.is_unstable(), "the first two are forgotten by then");
        flaps.turned(61_700, &patience);
        assert!(flaps.is_unstable());
        assert_eq!(flaps.next_ms(&patience), Some(91_700));
    }

    #[test]
    fn the_hold_doubles_while_it_goes_on_and_ends_when_it_has_settled() {
        let patience = Patience::default();
        let mut flaps = Flaps::default();
        let mut holds = Vec::new();
        for at_ms in (0..900_000).step_by(3_000) {
            flaps.turned(at_ms, &patience);
            flaps.tick(at_ms, false, &patience);
            if holds.last() != Some(&flaps.hold_ms) {
                holds.push(flaps.hold_ms);
            }
        }
        assert_eq!(holds[1..], [30_000, 60_000, 120_000, 240_000, 300_000]);
        flaps.tick(1_300_000, false, &patience);
        assert!(!flaps.is_unstable());
    }

    #[test]
    fn gone_for_good_is_seen_after_a_minute_however_long_the_hold() {
        let patience = Patience::default();
        let mut flaps = Flaps { hold_ms: 300_000, ..Flaps::default() };
        for at_ms in 0..5 {
            flaps.turned(at_ms, &patience);
        }
        flaps.tick(59_000, true, &patience);
        assert!(flaps.is_unstable());
        assert_eq!(flaps.next_ms(&patience), Some(60_004));
        flaps.tick(60_004, true, &patience);
        assert!(!flaps.is_unstable());
    }
}
