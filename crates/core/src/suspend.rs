//! Notices that this computer has slept: its clock has gone on further than a tick of ours takes.
//!
//! The clock is one that counts sleep (Linux: `CLOCK_BOOTTIME`); the wall clock is not asked, since people and networks set it.
//! A process that was stopped for as long has missed the same, and is treated the same.

/// Time between two ticks, in milliseconds.
pub const TICK_MS: u64 = 5_000;
/// A tick that comes later than this has slept, in milliseconds.
pub const GAP_MS: u64 = 10_000;

/// Watches the ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    last_ms: u64,
}

impl Watch {
    /// Begins at this moment of the clock that counts sleep.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { last_ms: now_ms }
    }

    /// A tick has come. When it is more than [`GAP_MS`] late, the answer is for how long nobody was here, in milliseconds.
    pub fn tick(&mut self, now_ms: u64) -> Option<u64> {
        let since_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        let late_ms = since_ms.saturating_sub(TICK_MS);
        (late_ms > GAP_MS).then_some(late_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r61_eight_hours_of_sleep_are_noticed_once() {
        let mut watch = Watch::new(1_000);
        assert_eq!(watch.tick(6_000), None);
        let hours_ms = 8 * 3_600_000;
        assert_eq!(watch.tick(6_000 + hours_ms), Some(hours_ms - TICK_MS));
        assert_eq!(watch.tick(11_000 + hours_ms), None);
    }

    #[test]
    fn r61_a_late_tick_on_a_busy_machine_is_no_sleep() {
        let mut watch = Watch::new(0);
        assert_eq!(watch.tick(TICK_MS + GAP_MS), None);
        assert_eq!(watch.tick(2 * (TICK_MS + GAP_MS) + 1), Some(GAP_MS + 1));
    }

    /// A clock that jumps by an hour, as in a broken virtual machine, is one look at each node and no burst of missed ticks.
    #[test]
    fn r63_an_hour_that_never_was_is_one_look() {
        let mut watch = Watch::new(0);
        let ticks = (1..=20u64).map(|tick| tick * TICK_MS + if tick >= 10 { 3_600_000 } else { 0 });
        let noticed: Vec<u64> = ticks.filter_map(|now_ms| watch.tick(now_ms)).collect();
        assert_eq!(noticed, [3_600_000]);
    }

    #[test]
    fn r62_a_clock_that_goes_back_is_borne() {
        let mut watch = Watch::new(50_000);
        assert_eq!(watch.tick(10_000), None);
        assert_eq!(watch.tick(15_000), None);
    }
}
