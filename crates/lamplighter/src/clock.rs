//! The clocks: the wall for people, the monotonic one for waits, and one that counts sleep.

use lamplighter_core::{beat, health::Now};
use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time::{MissedTickBehavior, interval_at};

/// Milliseconds since 1970 by the wall clock. May jump; never used for waits.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Milliseconds since this process first asked. Never goes back.
#[must_use]
pub fn mono_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Ticks each `every` milliseconds, at the house's common moments. What was missed is not made up for.
#[must_use]
pub fn ticks(every_ms: u64) -> tokio::time::Interval {
    let first = Duration::from_millis(beat::on_beat(mono_ms(), every_ms));
    let mut ticks = interval_at(tokio::time::Instant::now() + first, Duration::from_millis(every_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// This moment by both.
#[must_use]
pub fn now() -> Now {
    Now { wall_ms: wall_ms(), mono_ms: mono_ms() }
}

/// Milliseconds of a clock that also counts while this computer sleeps. For finding out that it has
/// slept, and for what a person has set to last an hour.
#[must_use]
#[cfg(target_os = "linux")]
pub fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000).unwrap_or_default()
}

/// Elsewhere the wall clock stands in: set by hand, it costs each node one more look.
#[must_use]
#[cfg(not(target_os = "linux"))]
pub fn boot_ms() -> u64 {
    wall_ms()
}

/// A number in `0.0..1.0` for spreading probes and retries. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(mono_ms()) >> 11) as f64 / (1u64 << 53) as f64
}

/// The minute of the day by this computer's own time zone, 0 to 1439.
#[must_use]
pub fn minute_of_day() -> u16 {
    let now = jiff::Zoned::now();
    u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or_default()
}
