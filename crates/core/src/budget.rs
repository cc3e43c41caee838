//! Tries beyond the first: how many, how soon, and when a node itself says "later".
//!
//! Anchors: Envoy's retry budget (20 % of the active requests, at least 3), three attempts (Google SRE), full jitter.

/// Nodes that a request is really sent to, at most.
pub const ATTEMPTS: usize = 3;
/// Share of the active requests that may be in their third try at once.
const SHARE_PERCENT: usize = 20;
/// So many may be, however few are active.
const LEAST: usize = 3;
/// First wait between two tries on the same nodes, in milliseconds; it doubles.
const BACKOFF_MS: u64 = 250;
/// Longest such wait.
const BACKOFF_MAX_MS: u64 = 5_000;
/// What an unreadable `Retry-After` is taken for, in milliseconds.
const UNREADABLE_MS: u64 = 1_000;

/// May a request that was sent `sent` times be sent again, while `retrying` others of `active` are beyond their second try?
/// The first new try is free: it is how nothing fails because one node died. From the second on, tries are few, so that a
/// request that breaks engines, or a house that is overloaded, is not multiplied.
#[must_use]
pub fn allows(sent: usize, active: usize, retrying: usize) -> bool {
    match sent {
        0 | 1 => true,
        _ if sent >= ATTEMPTS => false,
        _ => retrying < LEAST.max(active * SHARE_PERCENT / 100),
    }
}

/// Does the try after `sent` others count against the budget?
#[must_use]
pub fn is_counted(sent: usize) -> bool {
    sent >= 2
}

/// The wait before the same nodes are asked again, in milliseconds: full jitter. `rounds` is 0 the first time, `random` in
/// `0.0..1.0`.
#[must_use]
pub fn backoff_ms(rounds: u32, random: f64) -> u64 {
    let most = (BACKOFF_MS << rounds.min(8)).min(BACKOFF_MAX_MS);
    (most as f64 * random) as u64
}

/// How long a node's `Retry-After` asks us to wait, in milliseconds: seconds or an HTTP date (RFC 9110, 10.2.3). What is
/// neither is a second.
#[must_use]
pub fn retry_after_ms(text: &str, wall_ms: u64) -> u64 {
    let text = text.trim();
    // Some servers send fractions.
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
        return (seconds * 1000.0) as u64;
    }
    http_date_s(text).map_or(UNREADABLE_MS, |at_s| at_s.saturating_mul(1000).saturating_sub(wall_ms))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of dates that may be sent (RFC 9110, 5.6.7).
fn http_date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [weekday, day, month, year, time, "GMT"] = words[..] else { return None };
    if !weekday.ends_with(',') {
        return None;
    }
    let month = 1 + MONTHS.iter().position(|name| *name == month)? as u64;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970, by years that begin in March, so that a leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_try_is_free_the_third_has_a_budget_and_there_is_no_fourth() {
        assert!(allows(0, 1, 99) && allows(1, 1, 99));
        assert!(allows(2, 1, 2) && !allows(2, 1, 3), "three at least");
        assert!(allows(2, 100, 19) && !allows(2, 100, 20), "a fifth of many");
        assert!(!allows(3, 1000, 0));
        assert!(!is_counted(1) && is_counted(2));
    }

    #[test]
    fn waits_double_within_bounds_and_are_spread() {
        assert_eq!(
            [0, 1, 2, 4, 5, 60].map(|rounds| backoff_ms(rounds, 1.0)),
            [250, 500, 1000, 4000, 5000, 5000]
        );
        assert_eq!((backoff_ms(3, 0.0), backoff_ms(0, 0.5)), (0, 125));
    }

    #[test]
    fn r11_retry_after_in_seconds_as_a_date_and_as_garbage() {
        let now_ms = 784_111_770_000; // seven seconds before the date
        assert_eq!(retry_after_ms("7", now_ms), 7_000);
        assert_eq!(retry_after_ms(" 0.5 ", now_ms), 500);
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", now_ms), 7_000);
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", now_ms + 60_000), 0, "gone by");
        for garbage in [
            "",
            "soon",
            "-7",
            "NaN",
            "inf",
            "06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8 GMT",
        ] {
            assert_eq!(retry_after_ms(garbage, now_ms), 1_000, "{garbage:?}");
        }
        assert_eq!(http_date_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date_s("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
    }
}
