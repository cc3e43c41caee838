//! How often requests may start to wake one machine: once a minute, six times an hour, and not right after it did not work.

use super::Failure;
use std::collections::VecDeque;

/// Time between two starts, and after one that did not work, milliseconds.
const APART_MS: u64 = 60_000;
/// Starts in an hour.
const PER_HOUR: usize = 6;
const HOUR_MS: u64 = 3_600_000;

/// Why no request may start to wake the machine just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooSoon {
    /// When one may again, in milliseconds from now; at least 1.
    pub wait_ms: u64,
    /// How the last try ended, when it did not work.
    pub last: Option<Failure>,
}

/// What has been tried. Times are the caller's monotonic milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// Starts by requests within the last hour, oldest first; at most [`PER_HOUR`].
    starts_ms: VecDeque<u64>,
    /// Nothing is started before.
    not_before_ms: u64,
    last: Option<Failure>,
}

impl Limits {
    pub(super) fn allow(&self, now_ms: u64) -> Result<(), TooSoon> {
        let after =
            |start_ms: Option<&u64>, span_ms| start_ms.map_or(0, |start_ms| start_ms.saturating_add(span_ms));
        let sixth_last = self.starts_ms.len().checked_sub(PER_HOUR).and_then(|i| self.starts_ms.get(i));
        let from_ms =
            self.not_before_ms.max(after(self.starts_ms.back(), APART_MS)).max(after(sixth_last, HOUR_MS));
        match from_ms.checked_sub(now_ms) {
            None | Some(0) => Ok(()),
            Some(wait_ms) => Err(TooSoon { wait_ms, last: self.last.clone() }),
        }
    }

    /// How the last try ended is no news any more: another one begins, it worked, or the machine has come up by itself.
    pub(super) fn forget_failure(&mut self) {
        self.last = None;
    }

    /// A request has started.
    pub(super) fn started(&mut self, now_ms: u64) {
        if self.starts_ms.len() >= PER_HOUR {
            self.starts_ms.pop_front();
        }
        self.starts_ms.push_back(now_ms);
    }

    /// It did not work, or a person ended it (then there is nothing to say).
    pub(super) fn ended(&mut self, failure: Option<Failure>, now_ms: u64) {
        self.not_before_ms = now_ms.saturating_add(APART_MS);
        self.last = failure;
    }

    pub(super) fn last(&self) -> Option<&Failure> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_and_six_an_hour() {
        let mut limits = Limits::default();
        let mut started = Vec::new();
        for now_ms in (5_000..7_300_000).step_by(1_000) {
            if limits.allow(now_ms).is_ok() {
                limits.started(now_ms);
                started.push(now_ms / 1_000);
            }
        }
        let first: Vec<u64> = (0..6).map(|i| 5 + i * 60).collect();
        assert_eq!(started[..6], first);
        assert_eq!(started[6..12], first.iter().map(|s| s + 3_600).collect::<Vec<_>>());
        let why = limits.allow(7_300_000).unwrap_err();
        assert_eq!((started.len(), why.wait_ms), (14, 25_000), "the last were at 7205 and 7265");
    }
}
