//! The state of one node, shared by its connections, its control port and its owner.

use crate::ask::Ask;
use crate::fault::Faults;
use crate::formats::{Finish, Spec, mix};
use crate::profile::{Profile, SimModel};
use crate::record::Recorder;
use crate::residents::Residents;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) profile: Profile,
    /// The `created` of every answer: fixed, so that equal requests get equal bytes.
    pub(crate) created_s: u64,
    started: Instant,
    pub(crate) residents: Arc<Residents>,
    pub(crate) faults: Faults,
    pub(crate) recorder: Arc<Recorder>,
}

impl Node {
    pub(crate) fn new(profile: Profile) -> Arc<Self> {
        Arc::new(Self {
            created_s: 1_767_225_600,
            started: Instant::now(),
            residents: Residents::new(&profile),
            faults: Faults::new(),
            recorder: Recorder::new(profile.record),
            profile,
        })
    }

    /// True while llama-server would still be loading its model.
    pub(crate) fn starting(&self) -> bool {
        self.started.elapsed() < Duration::from_millis(self.profile.starting_ms)
    }

    /// What a model of this node says, token by token.
    pub(crate) fn words(&self, model: &SimModel) -> Vec<String> {
        if let Some(text) = model.text.as_deref().or(self.profile.text.as_deref()) {
            return split(text);
        }
        let start = format!("{} answers with {}:", self.profile.name, model.name);
        let mut words = split(&start);
        let spoken = words.len();
        words.truncate(self.profile.tokens);
        words.extend(
            (1..=self.profile.tokens.saturating_sub(spoken)).map(|number| format!(" {}", numeral(number))),
        );
        words
    }

    /// What every answer to this request has in common.
    pub(crate) fn spec(&self, ask: &Ask) -> Spec {
        let name = self.profile.name.bytes().fold(ask.seed(), |hash, byte| mix(hash ^ u64::from(byte)));
        Spec {
            engine: self.profile.engine,
            seed: name,
            model: String::new(),
            created_s: self.created_s,
            tokens: Vec::new(),
            finish: Finish::Stop,
            prompt_tokens: 0,
            stream: false,
            include_usage: false,
            empty: false,
            ttft_ns: self.profile.ttft_ms.saturating_mul(1_000_000),
            per_token_ns: self.profile.tok_s.map_or(0, per_token_ns),
            load_ns: 0,
        }
    }
}

/// Nanoseconds between tokens at this rate; a rate that is none means as slow as an hour each.
pub(crate) fn per_token_ns(rate: f64) -> u64 {
    if rate > 0.0 { ((1e9 / rate) as u64).min(3_600_000_000_000) } else { 3_600_000_000_000 }
}

/// Tokens of a text: each word with the white space before it.
fn split(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for letter in text.chars() {
        if tokens.is_empty() || (letter.is_whitespace() && in_word) {
            tokens.push(String::new());
        }
        in_word = !letter.is_whitespace();
        if let Some(token) = tokens.last_mut() {
            token.push(letter);
        }
    }
    tokens
}

/// `one` to `twenty`, then digits.
fn numeral(number: usize) -> String {
    const WORDS: &[&str] = &[
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    WORDS.get(number - 1).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn tokens_join_to_the_text() {
        for text in ["", " ", "a", " a  b\nc ", "Zażółć 你好 🙂"] {
            assert_eq!(split(text).concat(), text);
        }
        assert_eq!(split("a b").len(), 2);
    }
}
