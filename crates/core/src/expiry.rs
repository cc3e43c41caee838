//! When an engine will take a model out of its memory.

/// Later than this from now means that it stays: Ollama writes a year far away for `keep_alive: -1`.
const STAYS_MS: u64 = 7 * 86_400_000;

/// Milliseconds since 1970 at which it goes; `None` for a time that cannot be read, is over, or is so far that it stays.
pub(crate) fn goes_at_ms(expires_at: &str, now_ms: u64) -> Option<u64> {
    let at_ms = since_1970_ms(expires_at)?;
    (at_ms > now_ms && at_ms - now_ms < STAYS_MS).then_some(at_ms)
}

/// Reads `2026-11-20T14:32:10.123+01:00` or `…Z` (RFC 3339); what is below a second is left out.
pub(crate) fn since_1970_ms(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_min = match zone.as_bytes().first()? {
        b'Z' | b'z' => 0,
        sign @ (b'+' | b'-') => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days since 1970 in the proleptic Gregorian calendar, counted from 1 March so that leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3_600 + (minute - offset_min) * 60 + second;
    u64::try_from(seconds.checked_mul(1_000)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zone() {
        assert_eq!(since_1970_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(since_1970_ms("2000-02-29T12:00:00Z"), Some(951_825_600_000));
        assert_eq!(since_1970_ms("2026-11-20T15:32:10.123456789+01:00"), Some(1_795_185_130_000));
        assert_eq!(since_1970_ms("2026-11-20T09:02:10-05:30"), Some(1_795_185_130_000));
        for wrong in
            ["", "soon", "2026-11-20", "2026-11-20T14:32:10", "2026-11-20T14:32:10ü", "1969-12-31T23:59:59Z"]
        {
            assert_eq!(since_1970_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_over_or_far_away_is_not_said() {
        let at = "1970-01-02T00:00:00Z";
        assert_eq!(goes_at_ms(at, 0), Some(86_400_000));
        assert_eq!(goes_at_ms(at, 86_400_000), None);
        assert_eq!(goes_at_ms("2318-01-01T00:00:00Z", 0), None);
    }
}
