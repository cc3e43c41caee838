//! The two clocks: the wall for people, the monotonic one for waits.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

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

/// A number in `0.0..1.0` for spreading probes and retries. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(mono_ms()) >> 11) as f64 / (1u64 << 53) as f64
}
