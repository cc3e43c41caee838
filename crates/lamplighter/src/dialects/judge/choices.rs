//! The answers that one stream of OpenAI's dialect carries side by side (`n`): which have begun, and which have ended.

use super::{FINISH_REASON, Field, Standing, values};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;
use std::sync::LazyLock;

static INDEX: Field = LazyLock::new(|| Finder::new(b"\"index\""));

/// A bit for each choice; OpenAI's `n` ends at 128.
#[derive(Debug, Default)]
pub(super) struct Choices {
    begun: u128,
    ended: u128,
}

#[derive(Deserialize)]
struct Event {
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Value,
    #[serde(default)]
    finish_reason: Value,
}

impl Choices {
    /// Takes in one event. The stream is complete when every choice that has begun has ended; one that begins later opens it again.
    pub(super) fn hear(&mut self, data: &[u8]) -> Standing {
        // Nearly every event is a piece of the one answer that there is: it is not parsed.
        let (mut is_told, mut is_first) = (false, true);
        for index in values(data, &INDEX) {
            is_told = true;
            is_first &= index[0] == b'0' && !index.get(1).is_some_and(u8::is_ascii_digit);
        }
        if is_first && !values(data, &FINISH_REASON).any(is_reason) {
            self.begun |= u128::from(is_told);
            return self.standing();
        }
        let Ok(event) = serde_json::from_slice::<Event>(data) else { return self.standing() };
        if event.error.is_object() || event.error.as_str().is_some_and(|words| !words.is_empty()) {
            // OpenRouter ends a stream that breaks with both an error and a reason ("Errors and debugging").
            return Standing::NodeError;
        }
        for choice in event.choices.iter().flatten() {
            let bit = choice.index.as_u64().unwrap_or(0).try_into().ok().and_then(|at| 1u128.checked_shl(at));
            self.begun |= bit.unwrap_or(0);
            if choice.finish_reason.as_str().is_some_and(|reason| !reason.is_empty()) {
                self.ended |= bit.unwrap_or(0);
            }
        }
        self.standing()
    }

    fn standing(&self) -> Standing {
        if self.ended != 0 && self.begun & !self.ended == 0 {
            Standing::Complete
        } else {
            Standing::Unfinished
        }
    }
}

/// A text with something in it: older SGLang (#3912) and Ollama (#4357) write an empty one into every event.
fn is_reason(value: &[u8]) -> bool {
    value[0] == b'"' && value.get(1).is_some_and(|byte| *byte != b'"')
}
