//! What time it is, and in which time zone: the views read no clock themselves.

use lamplighter_core::view::Clock;
use std::time::{SystemTime, UNIX_EPOCH};

/// This moment, here.
pub fn now() -> Clock {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock {
        now_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        utc_offset_min: jiff::Zoned::now().offset().seconds() / 60,
    }
}
