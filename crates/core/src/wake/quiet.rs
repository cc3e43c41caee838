//! Quiet hours: from when until when no request wakes a machine, by this computer's clock.

use std::{fmt, str::FromStr};

/// Minutes in a day.
const DAY_MIN: u16 = 24 * 60;

/// A span of the day, in minutes since midnight; it may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from_min: u16,
    until_min: u16,
}

impl QuietHours {
    /// Is it quiet at this minute of the day, local time, 0 to 1439? The first minute is, the last is not.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        if self.from_min < self.until_min {
            (self.from_min..self.until_min).contains(&minute)
        } else {
            minute >= self.from_min || minute < self.until_min
        }
    }

    /// When it ends, for people: `07:00`.
    #[must_use]
    pub fn until(self) -> String {
        clock(self.until_min)
    }
}

impl FromStr for QuietHours {
    type Err = String;

    /// Reads `23:00-07:00`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a span of the day: write it like \"23:00-07:00\"");
        let (from, until) = text.split_once(['-', '–']).ok_or_else(wrong)?;
        let from_min = minute(from).filter(|&minute| minute < DAY_MIN).ok_or_else(wrong)?;
        let until_min = minute(until).ok_or_else(wrong)? % DAY_MIN;
        if from_min == until_min {
            return Err(
                "it ends when it begins: write \"\" for no quiet hours, or `default = \"never\"`".into()
            );
        }
        Ok(Self { from_min, until_min })
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock(self.from_min), clock(self.until_min))
    }
}

/// `7:30` as minutes; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?;
    let minute =
        number(hours).filter(|&hours| hours <= 24)? * 60 + number(minutes).filter(|&minutes| minutes < 60)?;
    (minute <= DAY_MIN && minutes.len() == 2).then_some(minute)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_may_pass_midnight() {
        let night: QuietHours = " 23:00 - 07:00".parse().unwrap();
        for (hour, minute, quiet) in
            [(23, 0, true), (0, 0, true), (6, 59, true), (7, 0, false), (22, 59, false)]
        {
            assert_eq!(night.contains(hour * 60 + minute), quiet, "{hour}:{minute}");
        }
        let day: QuietHours = "9:30-17:00".parse().unwrap();
        assert!(day.contains(9 * 60 + 30) && !day.contains(17 * 60) && !day.contains(0));
        let late: QuietHours = "22:00-24:00".parse().unwrap();
        assert!(late.contains(DAY_MIN - 1) && !late.contains(0));
        assert_eq!((night.to_string(), night.until()), ("23:00-07:00".into(), "07:00".into()));
    }

    #[test]
    fn what_is_no_span() {
        for text in [
            "",
            "23-7",
            "23:00",
            "25:00-07:00",
            "24:00-07:00",
            "23:60-07:00",
            "23:0-07:00",
            "07:00-07:00",
            "00:00-24:00",
            "a:b-c:d",
        ] {
            assert!(text.parse::<QuietHours>().is_err(), "{text}");
        }
    }
}
