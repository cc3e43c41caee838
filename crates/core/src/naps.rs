//! A machine that falls asleep while it answers: its idle timer does not count that work. Once may be a cable; twice within ten
//! minutes is a habit, and its owner should hear what helps.

/// Twice within this time is a habit, milliseconds.
pub const HABIT_MS: u64 = 600_000;
/// A habit that has not shown for so long is forgotten, milliseconds.
const FORGOTTEN_MS: u64 = 24 * 3_600_000;

/// The times that one node fell asleep while it answered. All times are milliseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naps {
    last_ms: Option<u64>,
    is_habit: bool,
}

impl Naps {
    /// It has fallen asleep with requests open. True when that has become a habit by this.
    pub fn napped(&mut self, now_ms: u64) -> bool {
        let soon = self.last_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) < HABIT_MS);
        let is_news = soon && !self.is_habit;
        self.last_ms = Some(now_ms);
        self.is_habit |= soon;
        is_news
    }

    /// Time passes. True when the habit is forgotten by that.
    pub fn tick(&mut self, now_ms: u64) -> bool {
        let over = self.next_ms().is_some_and(|next_ms| next_ms <= now_ms);
        if over {
            *self = Self::default();
        }
        over
    }

    /// Something about how it is kept awake has changed: it may do better now. True when that is news.
    pub fn forgive(&mut self) -> bool {
        std::mem::take(self).is_habit
    }

    /// Does it make a habit of it?
    #[must_use]
    pub fn is_habit(&self) -> bool {
        self.is_habit
    }

    /// When [`Naps::tick`] has something to do; `None` when never.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.last_ms.filter(|_| self.is_habit).map(|last_ms| last_ms + FORGOTTEN_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r50_the_second_within_ten_minutes_is_a_habit() {
        let mut naps = Naps::default();
        assert!(!naps.napped(1_000) && !naps.is_habit());
        assert!(!naps.napped(1_000 + HABIT_MS), "ten minutes later");
        assert!(naps.napped(2_000 + HABIT_MS) && naps.is_habit());
        assert!(!naps.napped(3_000 + HABIT_MS) && naps.is_habit(), "no news");
    }

    #[test]
    fn r50_a_habit_is_forgotten_after_a_day_and_when_something_is_done_about_it() {
        let mut naps = Naps::default();
        assert_eq!(naps.next_ms(), None);
        naps.napped(0);
        assert!(!naps.tick(FORGOTTEN_MS) && naps.next_ms().is_none());
        naps.napped(60_000);
        assert_eq!(naps.next_ms(), Some(60_000 + FORGOTTEN_MS));
        assert!(!naps.tick(59_999 + FORGOTTEN_MS) && naps.is_habit());
        assert!(naps.tick(60_000 + FORGOTTEN_MS) && !naps.is_habit());
        naps.napped(0);
        naps.napped(1);
        assert!(naps.forgive() && !naps.is_habit() && !naps.forgive());
        assert!(!naps.napped(2), "from the beginning");
    }
}
