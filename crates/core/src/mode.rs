//! How requests are routed just now, by a person's choice: for everybody, from the tray, the window or the command line.

use serde::{Deserialize, Serialize};

/// The routing mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As configured.
    #[default]
    Auto,
    /// Nothing leaves the house: no cloud nodes, no models that are answered by somebody else's machines.
    Local,
    /// Only machines that are up: no request wakes one.
    NoWake,
    /// Requests are refused; lists answer, and what runs may finish.
    Paused,
}

impl Mode {
    /// The word of the command line and the control API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Local => "local",
            Self::NoWake => "no-wake",
            Self::Paused => "paused",
        }
    }

    /// What it means, for people; `None` when there is nothing to say, or more than a mode knows.
    #[must_use]
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::Local => Some("local only: nothing leaves the house"),
            Self::NoWake => Some("never wake: only machines that are up answer"),
            Self::Auto | Self::Paused => None,
        }
    }
}

/// The mode in force, and what a pause ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routing {
    /// What a person chose when not pausing; a pause ends in it.
    pub chosen: Mode,
    /// Paused until then, milliseconds of a clock that nobody sets and that counts sleep; `u64::MAX` is until somebody resumes.
    pub paused_until_ms: Option<u64>,
}

impl Routing {
    /// The mode at `now_ms`.
    #[must_use]
    pub fn mode(self, now_ms: u64) -> Mode {
        if self.paused_until_ms.is_some_and(|until_ms| now_ms < until_ms) {
            Mode::Paused
        } else {
            self.chosen
        }
    }

    /// Pauses for `for_ms`, or until somebody resumes.
    pub fn pause(&mut self, now_ms: u64, for_ms: Option<u64>) {
        self.paused_until_ms = Some(for_ms.map_or(u64::MAX, |for_ms| now_ms.saturating_add(for_ms)));
    }

    /// Ends a pause in what was chosen before it.
    pub fn resume(&mut self) {
        self.paused_until_ms = None;
    }

    /// Chooses a mode, which ends a pause.
    pub fn choose(&mut self, mode: Mode) {
        (self.chosen, self.paused_until_ms) = (mode, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_in_what_was_chosen_before() {
        let mut routing = Routing::default();
        routing.choose(Mode::Local);
        routing.pause(1_000, Some(3_600_000));
        assert_eq!(routing.mode(1_000), Mode::Paused);
        assert_eq!(routing.mode(3_601_000), Mode::Local);
        routing.resume();
        assert_eq!(routing.mode(1_000), Mode::Local);
        routing.pause(2_000, None);
        assert_eq!(routing.mode(u64::MAX - 1), Mode::Paused);
        routing.choose(Mode::Auto);
        assert_eq!(routing.mode(2_001), Mode::Auto);
    }
}
