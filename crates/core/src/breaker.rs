//! The circuit breaker of one node: failures at work, the stay at the end of the line, and the trial that ends it.
//!
//! Probes answer where generations fail, so only requests are proof of work. Three failures in a row open the breaker for 5 s,
//! each time in a row 5 s longer (Envoy's outlier detection). Then the node is on trial: with one place (slow start) at its
//! usual rank, one request shows whether it works again. Besides, each failure counts as load for a while: a node that fails
//! in two milliseconds always has the fewest requests, and would draw them all (Olla #144).

use crate::patience::Patience;
use std::collections::VecDeque;

/// Failures at work in a row until a node that answers its probes goes to the end of the line.
pub const FAILURES: u32 = 3;
/// How long it stays there the first time, in milliseconds; each time in a row adds as much, up to [`OPEN_MAX_MS`].
pub const OPEN_MS: u64 = 5_000;
/// Longest stay there, in milliseconds.
pub const OPEN_MAX_MS: u64 = 60_000;
/// More failures than this do not count as load: what is known by then needs no more weight.
const BURDEN_MAX: usize = 64;

/// What is held against one node. All times are milliseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Breaker {
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// Stays in a row.
    stays: u32,
    /// When each of the latest failures stops counting as load.
    burdens: VecDeque<u64>,
    /// The node said that it is busy, until then.
    busy_until_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
enum Phase {
    /// Nothing is held against it.
    #[default]
    Closed,
    /// At the end of the line.
    Open { until_ms: u64, why: String },
    /// One request may show that it works again.
    Trial { since_ms: u64, why: String },
}

impl Breaker {
    /// A request failed there; `random` in `0.0..1.0` keeps many nodes from coming back at once.
    pub fn failed(&mut self, what: &str, now_ms: u64, random: f64, patience: &Patience) {
        self.weigh(now_ms + patience.burden_ms);
        self.failures = self.failures.saturating_add(1);
        match &mut self.phase {
            Phase::Closed if self.failures < FAILURES => {}
            // What was under way when it opened says nothing new; asked all the same because nobody else is there, neither.
            Phase::Open { why, .. } => *why = what.to_owned(),
            Phase::Closed | Phase::Trial { .. } => {
                self.stays = self.stays.saturating_add(1);
                let stay_ms = (OPEN_MS * u64::from(self.stays)).min(OPEN_MAX_MS);
                let until_ms = now_ms + (stay_ms as f64 * (1.0 + 0.5 * random)) as u64;
                self.phase = Phase::Open { until_ms, why: what.to_owned() };
            }
        }
    }

    /// The node said that it is busy. That is no fault, and for `wait_ms` no place counts as free there.
    pub fn busy(&mut self, now_ms: u64, wait_ms: u64) {
        self.busy_until_ms = self.busy_until_ms.max(now_ms + wait_ms);
    }

    /// A request went well: it works. What failed lately counts as load all the same, for a node that fails every second time
    /// must not draw all requests; and one that is busy has said for how long.
    pub fn worked(&mut self) {
        (self.phase, self.failures, self.stays) = (Phase::Closed, 0, 0);
    }

    /// Time passes.
    pub fn tick(&mut self, now_ms: u64, patience: &Patience) {
        self.burdens.retain(|until_ms| *until_ms > now_ms);
        if self.busy_until_ms <= now_ms {
            self.busy_until_ms = 0;
        }
        match &mut self.phase {
            Phase::Open { until_ms, why } if *until_ms <= now_ms => {
                self.phase = Phase::Trial { since_ms: now_ms, why: std::mem::take(why) };
            }
            Phase::Trial { since_ms, .. } if *since_ms + patience.trial_ms <= now_ms => {
                // Nobody came to try. It counts as well, and one failure is enough to send it back.
                (self.phase, self.failures) = (Phase::Closed, FAILURES - 1);
            }
            _ => {}
        }
    }

    /// When [`Breaker::tick`] has something to do, at the latest; `None` when never.
    #[must_use]
    pub fn next_ms(&self, patience: &Patience) -> Option<u64> {
        let phase_ms = match &self.phase {
            Phase::Closed => None,
            Phase::Open { until_ms, .. } => Some(*until_ms),
            Phase::Trial { since_ms, .. } => Some(since_ms + patience.trial_ms),
        };
        let busy_ms = (self.busy_until_ms > 0).then_some(self.busy_until_ms);
        [phase_ms, self.burdens.front().copied(), busy_ms].into_iter().flatten().min()
    }

    /// Why it stands at the end of the line, or is on trial.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { why, .. } | Phase::Trial { why, .. } => Some(why),
        }
    }

    /// Is it on trial?
    #[must_use]
    pub fn on_trial(&self) -> bool {
        matches!(self.phase, Phase::Trial { .. })
    }

    /// Requests more than there are, as far as choosing is concerned.
    #[must_use]
    pub fn burden(&self) -> u32 {
        if self.busy_until_ms > 0 { u32::MAX } else { self.burdens.len() as u32 }
    }

    fn weigh(&mut self, until_ms: u64) {
        if self.burdens.len() == BURDEN_MAX {
            self.burdens.pop_front();
        }
        self.burdens.push_back(until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: fn() -> Patience = Patience::default;

    fn failed(breaker: &mut Breaker, now_ms: u64) {
        breaker.failed("500", now_ms, 0.0, &PATIENCE());
    }

    #[test]
    fn r13_three_failures_open_it_and_one_trial_decides() {
        let mut breaker = Breaker::default();
        failed(&mut breaker, 1);
        failed(&mut breaker, 2);
        assert_eq!(breaker.why(), None);
        failed(&mut breaker, 3);
        assert_eq!((breaker.why(), breaker.on_trial()), (Some("500"), false));
        failed(&mut breaker, 4);
        breaker.tick(5_002, &PATIENCE());
        assert!(!breaker.on_trial(), "what was under way makes the stay no longer");
        breaker.tick(5_003, &PATIENCE());
        assert!(breaker.on_trial());
        failed(&mut breaker, 6_000);
        assert!(!breaker.on_trial(), "one failure on trial is enough");
        breaker.tick(15_999, &PATIENCE());
        assert!(!breaker.on_trial(), "the second stay is longer");
        breaker.tick(16_000, &PATIENCE());
        assert!(breaker.on_trial());
        breaker.worked();
        failed(&mut breaker, 17_000);
        assert_eq!(breaker.why(), None, "work well done is a fresh start");
    }

    #[test]
    fn a_trial_that_nobody_needs_ends_by_itself() {
        let mut breaker = Breaker::default();
        (1..=3).for_each(|at| failed(&mut breaker, at));
        breaker.tick(5_003, &PATIENCE());
        breaker.tick(65_003, &PATIENCE());
        assert_eq!(breaker.why(), None);
        failed(&mut breaker, 66_000);
        assert_eq!(breaker.why(), Some("500"), "one failure sends it back");
    }

    #[test]
    fn failures_count_as_load_for_a_while_and_busy_as_all_of_it() {
        let mut breaker = Breaker::default();
        failed(&mut breaker, 0);
        failed(&mut breaker, 1_000);
        assert_eq!(breaker.burden(), 2);
        breaker.tick(5_000, &PATIENCE());
        assert_eq!((breaker.burden(), breaker.next_ms(&PATIENCE())), (1, Some(6_000)));
        breaker.busy(5_000, 7_000);
        assert_eq!(breaker.burden(), u32::MAX);
        breaker.tick(12_000, &PATIENCE());
        assert_eq!((breaker.burden(), breaker.next_ms(&PATIENCE())), (0, None));
    }

    /// However often it fails and time passes, it always comes to a trial again.
    #[test]
    fn it_always_reaches_the_trial() {
        let mut breaker = Breaker::default();
        let mut now_ms = 0;
        for round in 0..200 {
            failed(&mut breaker, now_ms);
            now_ms += 100 * (round % 7);
            while let Some(next_ms) =
                breaker.next_ms(&PATIENCE()).filter(|_| !breaker.on_trial() && breaker.why().is_some())
            {
                assert!(next_ms <= now_ms + OPEN_MAX_MS + OPEN_MAX_MS / 2);
                now_ms = now_ms.max(next_ms);
                breaker.tick(now_ms, &PATIENCE());
            }
        }
        assert!(breaker.why().is_none() || breaker.on_trial());
    }
}
