//! At rest, what is done now and then is done at common moments: the computer then wakes once for all of it, and sleeps deeper in
//! between.

/// The common moments are this far apart, in milliseconds.
pub const BEAT_MS: u64 = 5_000;
/// Of more nodes than this the probes are spread over time: so many answers at once would be a burst.
pub const TOGETHER: usize = 8;

/// What should be done in about `wait_ms` from `now_ms` (monotonic) waits for the common moment: the answer is how long. Short
/// waits become at most two fifths shorter by that, others none.
#[must_use]
pub fn on_beat(now_ms: u64, wait_ms: u64) -> u64 {
    let at_least_ms = if wait_ms < 2 * BEAT_MS { (wait_ms * 3).div_ceil(5) } else { wait_ms };
    (now_ms.saturating_add(at_least_ms)).div_ceil(BEAT_MS).saturating_mul(BEAT_MS).saturating_sub(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_begins_whenever_soon_keeps_step() {
        for (start_ms, wait_ms) in [(0, 4_000), (1_234, 5_300), (4_999, 6_000)] {
            let mut now_ms = start_ms;
            let mut moments = Vec::new();
            for _ in 0..4 {
                now_ms += on_beat(now_ms, wait_ms);
                moments.push(now_ms);
                // The look itself takes a while.
                now_ms += 700;
            }
            assert!(moments.iter().all(|at_ms| at_ms % BEAT_MS == 0), "{moments:?}");
            assert!(moments.windows(2).all(|pair| pair[1] - pair[0] == BEAT_MS), "{moments:?}");
        }
    }

    #[test]
    fn a_moment_that_falls_on_the_bound_is_not_a_little_less() {
        // Three fifths of 4,001 are 2,400.6; 2,400 would be too short, and is what an integer division makes of it.
        assert_eq!(on_beat(2_600, 4_001), 2_400 + BEAT_MS);
    }

    proptest! {
        #[test]
        fn long_waits_are_never_shorter_and_none_is_much_longer(now_ms in 0u64..1 << 40, wait_ms in 4_000u64..90_000) {
            let waits_ms = on_beat(now_ms, wait_ms);
            prop_assert!(waits_ms < wait_ms + BEAT_MS && waits_ms * 5 >= wait_ms * 3);
            prop_assert!(wait_ms < 2 * BEAT_MS || waits_ms >= wait_ms);
        }
    }
}
