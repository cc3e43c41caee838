//! When a node was there: its time in slots of fifteen minutes, and what a slot looks like.

use crate::node::State;
use serde::{Deserialize, Serialize};

/// Length of a slot in milliseconds. Slots are counted from 1970, so a change of the time zone moves none of them.
pub const SLOT_MS: u64 = 15 * 60 * 1000;
/// Cells on a node's card: one day.
pub const CELLS: usize = 96;
/// Time that passes unseen for longer than this is no data: this computer slept, or its clock was changed.
pub const GAP_MS: u64 = 60_000;

/// What is known of one node in one slot. Milliseconds of the slot spent in each state; the rest is no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slot {
    /// It answered.
    pub up_ms: u32,
    /// It slept, or was on its way up.
    pub asleep_ms: u32,
    /// It was away, as machines that come and go are.
    pub away_ms: u32,
    /// It should have been there, or refused us.
    pub down_ms: u32,
    /// Requests it answered.
    pub answered: u32,
}

impl Slot {
    /// Milliseconds that were seen.
    #[must_use]
    pub fn seen_ms(&self) -> u32 {
        self.up_ms.saturating_add(self.asleep_ms).saturating_add(self.away_ms).saturating_add(self.down_ms)
    }

    /// Adds what another reading of the same slot saw.
    pub fn add(&mut self, other: &Self) {
        let slot_ms = SLOT_MS as u32;
        for (own, more) in [
            (&mut self.up_ms, other.up_ms),
            (&mut self.asleep_ms, other.asleep_ms),
            (&mut self.away_ms, other.away_ms),
            (&mut self.down_ms, other.down_ms),
        ] {
            *own = own.saturating_add(more).min(slot_ms);
        }
        self.answered = self.answered.saturating_add(other.answered);
    }

    /// What the slot looks like.
    #[must_use]
    pub fn cell(&self) -> Cell {
        let seen_ms = self.seen_ms();
        if seen_ms == 0 {
            return Cell::NoData;
        }
        let gone_ms = seen_ms - self.up_ms.min(seen_ms);
        // A restart of the engine or a lost probe is not worth a mark.
        let is_all = |part_ms: u32| u64::from(part_ms) * 50 >= u64::from(seen_ms) * 49;
        if is_all(self.up_ms) {
            return if self.answered > 0 { Cell::Answered } else { Cell::Up };
        }
        if u64::from(self.up_ms) * 50 >= u64::from(seen_ms) {
            let share = (u64::from(self.up_ms) * 100 / u64::from(seen_ms)).clamp(1, 99);
            return Cell::Part { share: share as u8 };
        }
        // Nearly all of it gone: whichever kind of gone was the longest.
        if self.down_ms >= self.asleep_ms && self.down_ms >= self.away_ms && self.down_ms > 0 {
            Cell::Down
        } else if self.asleep_ms >= self.away_ms && self.asleep_ms > 0 {
            Cell::Asleep
        } else {
            debug_assert!(gone_ms > 0);
            Cell::Away
        }
    }
}

/// What one slot looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "cell", rename_all = "kebab-case")]
pub enum Cell {
    /// Nothing was seen: we did not run, slept, or the slot has not begun.
    NoData,
    /// There all the time.
    Up,
    /// There all the time, and it answered requests.
    Answered,
    /// There part of the time.
    Part {
        /// Per cent of the time, 1 to 99.
        share: u8,
    },
    /// Asleep, as planned.
    Asleep,
    /// Away, as machines that come and go are.
    Away,
    /// Should have been there.
    Down,
}

/// The slot that `at_ms` (since 1970) lies in.
#[must_use]
pub fn slot_of(at_ms: u64) -> u64 {
    at_ms / SLOT_MS
}

/// Follows one node's state and hands over its time, slot by slot.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    last: Option<(u64, State)>,
    answered: u32,
}

impl Tape {
    /// So many requests were answered since the last call of [`Tape::note`].
    pub fn answered(&mut self, count: u32) {
        self.answered = self.answered.saturating_add(count);
    }

    /// The node is in `state` at `now_ms` (wall clock): hands over the time since the last call, which was spent in the state
    /// told then, split at the slots' borders. A gap longer than [`GAP_MS`], or a clock that went back, is no data.
    pub fn note(&mut self, state: State, now_ms: u64) -> Vec<(u64, Slot)> {
        let before = self.last.replace((now_ms, state));
        let mut parts = Vec::new();
        if let Some((from_ms, before)) = before
            && now_ms >= from_ms
            && now_ms - from_ms <= GAP_MS
        {
            let mut at_ms = from_ms;
            while at_ms < now_ms {
                let slot = slot_of(at_ms);
                let to_ms = now_ms.min((slot + 1) * SLOT_MS);
                if let Some(part) = spent(before, (to_ms - at_ms) as u32) {
                    parts.push((slot, part));
                }
                at_ms = to_ms;
            }
        }
        let answered = std::mem::take(&mut self.answered);
        if answered > 0 {
            let slot = slot_of(now_ms);
            match parts.last_mut().filter(|(last, _)| *last == slot) {
                Some((_, part)) => part.answered = answered,
                None => parts.push((slot, Slot { answered, ..Slot::default() })),
            }
        }
        parts
    }
}

/// So much time in that state. `None` for a state in which nothing is known yet.
fn spent(state: State, ms: u32) -> Option<Slot> {
    let none = Slot::default();
    Some(match state {
        State::Unknown => return None,
        State::Up | State::Degraded => Slot { up_ms: ms, ..none },
        State::Asleep | State::Waking(_) => Slot { asleep_ms: ms, ..none },
        State::Away => Slot { away_ms: ms, ..none },
        State::Refusing | State::Down => Slot { down_ms: ms, ..none },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u32 = 60_000;

    #[test]
    fn time_is_split_at_the_border_and_belongs_to_the_state_before() {
        let mut tape = Tape::default();
        assert_eq!(tape.note(State::Up, SLOT_MS - 5_000), [], "nothing is known of the time before");
        let parts = tape.note(State::Asleep, SLOT_MS + 5_000);
        let up = |ms| Slot { up_ms: ms, ..Slot::default() };
        assert_eq!(parts, [(0, up(5_000)), (1, up(5_000))]);
        let parts = tape.note(State::Asleep, SLOT_MS + 9_000);
        assert_eq!(parts, [(1, Slot { asleep_ms: 4_000, ..Slot::default() })]);
    }

    #[test]
    fn eight_hours_unseen_are_no_data_and_neither_is_a_clock_that_goes_back() {
        let mut tape = Tape::default();
        tape.note(State::Up, 1_000_000);
        assert_eq!(tape.note(State::Up, 1_000_000 + 8 * 3_600_000), []);
        assert_eq!(tape.note(State::Up, 500_000), []);
        assert_eq!(tape.note(State::Up, 510_000).len(), 1, "and it goes on from there");
    }

    #[test]
    fn a_slot_looks_like_what_happened_in_it() {
        let slot = |up, asleep, away, down, answered| Slot {
            up_ms: up * MINUTE,
            asleep_ms: asleep * MINUTE,
            away_ms: away * MINUTE,
            down_ms: down * MINUTE,
            answered,
        };
        for (slot, cell) in [
            (slot(0, 0, 0, 0, 0), Cell::NoData),
            (slot(15, 0, 0, 0, 0), Cell::Up),
            (slot(3, 0, 0, 0, 0), Cell::Up),
            (slot(15, 0, 0, 0, 7), Cell::Answered),
            (slot(5, 10, 0, 0, 7), Cell::Part { share: 33 }),
            (slot(0, 15, 0, 0, 0), Cell::Asleep),
            (slot(0, 0, 15, 0, 0), Cell::Away),
            (slot(0, 0, 0, 15, 0), Cell::Down),
            (slot(0, 5, 0, 10, 0), Cell::Down),
        ] {
            assert_eq!(slot.cell(), cell, "{slot:?}");
        }
        let blink = Slot { up_ms: 898_000, down_ms: 2_000, ..Slot::default() };
        assert_eq!(blink.cell(), Cell::Up, "two seconds are not worth a mark");
    }

    proptest! {
        /// Whatever happens, no slot holds more time than it has, and all seen time is in some slot.
        #[test]
        fn time_is_neither_lost_nor_doubled(steps in prop::collection::vec((0u64..90_000, 0u8..4), 1..300)) {
            let states = [State::Up, State::Asleep, State::Down, State::Away];
            let (mut tape, mut now_ms, mut seen) = (Tape::default(), 0u64, std::collections::BTreeMap::<u64, u64>::new());
            let mut expected = 0;
            tape.note(State::Up, now_ms);
            for (step_ms, state) in steps {
                now_ms += step_ms;
                if step_ms <= GAP_MS { expected += step_ms; }
                for (slot, part) in tape.note(states[state as usize], now_ms) {
                    *seen.entry(slot).or_default() += u64::from(part.seen_ms());
                }
            }
            prop_assert!(seen.values().all(|ms| *ms <= SLOT_MS));
            prop_assert_eq!(seen.values().sum::<u64>(), expected);
        }
    }
}
