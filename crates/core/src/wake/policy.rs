//! What a request may do when the machine that has its model sleeps.

use serde::{Deserialize, Serialize};

/// What happens when the machine that has the model sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum WakePolicy {
    /// The request wakes it and waits for it.
    #[default]
    Wait,
    /// The first machine that is up answers; the sleeping one is woken for the next request.
    Fallback,
    /// A person is asked; without an answer it is `fallback`.
    Ask,
    /// Sleeping machines are passed over.
    Never,
}

impl WakePolicy {
    /// Every policy, as in the configuration file.
    pub const ALL: [Self; 4] = [Self::Wait, Self::Fallback, Self::Ask, Self::Never];

    /// The word used in the configuration file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fallback => "fallback",
            Self::Ask => "ask",
            Self::Never => "never",
        }
    }
}
