//! The words and glyphs for nodes, and how times, counts and names are written.

use crate::{
    node::{Stage, State},
    snapshot::{Node, RequestStage, Snapshot},
};

/// Longest model name shown; longer ones lose their middle.
const LONGEST_MODEL: usize = 40;
/// Longest reason shown in a row.
const LONGEST_WHY: usize = 60;

/// The moment for which a view is made, and where on earth: core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Minutes that local time is ahead of UTC now. (A time before the last change of daylight saving is an hour off.)
    pub utc_offset_min: i32,
}

impl Clock {
    /// Days since 1970 and minutes since midnight, in local time.
    fn local(self, at_ms: u64) -> (i64, i64) {
        let minutes = i64::try_from(at_ms / 60_000).unwrap_or(i64::MAX / 2) + i64::from(self.utc_offset_min);
        (minutes.div_euclid(1_440), minutes.rem_euclid(1_440))
    }

    /// `14:02`
    pub(super) fn time(self, at_ms: u64) -> String {
        let (_, minute) = self.local(at_ms);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    }

    /// `14:02`, `yesterday 14:02`, `4 days ago`: when something was.
    pub(super) fn ago(self, at_ms: u64) -> String {
        let ((today, _), (day, _)) = (self.local(self.now_ms), self.local(at_ms));
        match today - day {
            ..=0 => self.time(at_ms),
            1 => format!("yesterday {}", self.time(at_ms)),
            days => format!("{days} days ago"),
        }
    }

    /// `since 14:02`, `since yesterday 14:02`, `for 4 days`.
    pub(super) fn since(self, at_ms: u64) -> String {
        let ((today, _), (day, _)) = (self.local(self.now_ms), self.local(at_ms));
        match today - day {
            ..=0 => format!("since {}", self.time(at_ms)),
            1 => format!("since yesterday {}", self.time(at_ms)),
            days => format!("for {days} days"),
        }
    }
}

/// The shapes that stand for a node's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Answers now.
    Up,
    /// Off, can be woken.
    Asleep,
    /// On its way up.
    Waking,
    /// Gone without alarm, or not found yet.
    Away,
    /// A person should look.
    Problem,
}

impl Mark {
    /// The mark of a state.
    #[must_use]
    pub fn of(state: State) -> Self {
        match state {
            State::Up => Self::Up,
            State::Asleep => Self::Asleep,
            State::Waking(_) => Self::Waking,
            State::Away | State::Unknown => Self::Away,
            State::Degraded | State::Refusing | State::Down => Self::Problem,
        }
    }

    /// Its glyph: disc, crescent, half disc, ring, triangle.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Up => "●",
            Self::Asleep => "☾",
            Self::Waking => "◐",
            Self::Away => "○",
            Self::Problem => "▲",
        }
    }
}

/// The word for a state, as a person would say it.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Unknown => "looking",
        State::Degraded => "unsteady",
        State::Waking(Stage::Loading) => "loading",
        State::Up
        | State::Refusing
        | State::Asleep
        | State::Waking(Stage::Packet | Stage::Reachable | Stage::Api)
        | State::Away
        | State::Down => state.word(),
    }
}

/// How far a waking node has come, beyond the word.
pub(super) fn stage_words(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Packet | Stage::Loading => None,
        Stage::Reachable => Some("on the network"),
        Stage::Api => Some("its engine answers"),
    }
}

/// Whole seconds that a wake usually takes: rounded up in each view, so that all of them say the same.
pub(super) fn usual_s(usual_ms: u64) -> u64 {
    usual_ms.div_ceil(1_000).max(1)
}

/// `waking 0:23 of ~0:41, its engine answers`: how far a waking node is, and how long that has taken.
pub(super) fn waking(node: &Node, stage: Stage, clock: Clock) -> String {
    let far = stage_words(stage).map(|words| format!(", {words}")).unwrap_or_default();
    format!("{}{}{far}", state_word(State::Waking(stage)), waited(node, clock))
}

/// ` 0:23 of ~0:41`: how long a wake under way has lasted, of how long it usually does.
pub(super) fn waited(node: &Node, clock: Clock) -> String {
    let Some(waking) = &node.sleep.waking else { return String::new() };
    let watch = |s: u64| format!("{}:{:02}", s / 60, s % 60);
    let waited = watch(clock.now_ms.saturating_sub(waking.started_ms) / 1_000);
    match node.sleep.usual_ms {
        Some(usual_ms) => format!(" {waited} of ~{}", watch(usual_s(usual_ms))),
        None => format!(" {waited}"),
    }
}

/// `down: no answer in 2 s`, or the bare word where there is no reason.
pub(super) fn word_and_why(node: &Node) -> String {
    let word = state_word(node.state);
    match node.why.as_deref().and_then(|why| why.lines().next()).filter(|why| !why.is_empty()) {
        Some(why) => format!("{word}: {}", cut_end(why, LONGEST_WHY)),
        None => word.to_owned(),
    }
}

/// `2 active`, `2 active, 1 waiting`; `None` when nothing runs there.
pub(super) fn activity(node: &Node) -> Option<String> {
    let ours = match (node.active, node.waiting) {
        (0, 0) => None,
        (active, 0) => Some(format!("{active} active")),
        (active, waiting) => Some(format!("{active} active, {waiting} waiting")),
    };
    let theirs = node
        .engine_waiting
        .filter(|waiting| *waiting > 0)
        .map(|waiting| format!("{waiting} in its own line"));
    let said: Vec<String> = ours.into_iter().chain(theirs).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Tokens per second of all answers that are coming, rounded; `None` while there is nothing to measure.
pub(super) fn tokens_per_s(snapshot: &Snapshot) -> Option<u64> {
    let rates = snapshot.requests.iter().filter_map(|request| {
        let took_ms = snapshot.at_ms.checked_sub(request.first_byte_ms?)?;
        (request.stage == RequestStage::Streaming && took_ms >= 1_000 && request.events > 0)
            .then(|| request.events.saturating_mul(1_000) / took_ms)
    });
    Some(rates.sum::<u64>()).filter(|rate| *rate > 0)
}

/// The program, without what only programs read: `open-webui/0.6 for coder` → `open-webui for coder`.
pub(super) fn who(client: &str) -> String {
    let mut words = client.splitn(2, ' ');
    let program = words.next().unwrap_or_default();
    let program = program.split_once('/').map_or(program, |(name, _)| name);
    let program = if program.is_empty() { "A program" } else { program };
    match words.next() {
        Some(rest) => format!("{program} {rest}"),
        None => program.to_owned(),
    }
}

/// `1 model`, `14 models`, `no models`.
pub(super) fn count(number: usize, thing: &str) -> String {
    match number {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// A model's name, cut in the middle when it is very long: the end tells size and quantization.
pub(super) fn model_name(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LONGEST_MODEL {
        return name.to_owned();
    }
    let tail = LONGEST_MODEL / 2;
    let head = LONGEST_MODEL - tail - 1;
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

/// The first `longest` letters, the last one an ellipsis when something was cut.
pub(super) fn cut_end(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(longest - 1).collect();
    short.truncate(short.trim_end().len());
    short + "…"
}

/// The text in lines of at most `width` letters, broken between words, at most `lines` of them; an ellipsis says that
/// there was more. A menu grows as wide as its widest row.
pub(super) fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
                wrapped.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(&cut_end(word, width));
        }
        wrapped.push(current);
    }
    if wrapped.len() > lines {
        wrapped.truncate(lines);
        if let Some(last) = wrapped.last_mut() {
            *last = cut_end(&format!("{last} …"), width);
        }
    }
    wrapped
}

/// Bytes as people read them: `820 MB`, `2.1 GB`, `18 GB`.
pub(super) fn size(bytes: u64) -> String {
    let mega = bytes.div_ceil(100_000) / 10;
    let tenths = bytes.saturating_add(50_000_000) / 100_000_000;
    match tenths {
        ..10 => format!("{mega} MB"),
        10..100 => format!("{}.{} GB", tenths / 10, tenths % 10),
        _ => format!("{} GB", (tenths + 5) / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_utc_and_an_offset() {
        let noon = 20_000 * 86_400_000 + 12 * 3_600_000;
        let clock = |utc_offset_min| Clock { now_ms: noon, utc_offset_min };
        assert_eq!(clock(0).since(noon - 58 * 60_000), "since 11:02");
        assert_eq!(clock(330).since(noon), "since 17:30");
        assert_eq!(clock(-720).since(noon - 60_000), "since yesterday 23:59");
        assert_eq!(clock(0).since(noon - 13 * 3_600_000), "since yesterday 23:00");
        assert_eq!(clock(0).since(noon - 4 * 86_400_000), "for 4 days");
        assert_eq!(
            clock(0).since(noon + 60_000),
            "since 12:01",
            "a clock that was set back is no reason to panic"
        );
    }

    #[test]
    fn long_model_names_lose_their_middle() {
        assert_eq!(model_name("llama3.2:3b"), "llama3.2:3b");
        let long = model_name("hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:UD-Q4_K_XL");
        assert_eq!(long, "hf.co/unsloth/Qwen3…ruct-GGUF:UD-Q4_K_XL");
        assert_eq!(long.chars().count(), LONGEST_MODEL);
        assert_eq!(model_name(&"é".repeat(41)).chars().count(), LONGEST_MODEL);
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrap("one two three\n\n four", 7, 9), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("one two three four", 5, 3), ["one", "two", "thre…"]);
        assert_eq!(wrap("abcdefghij", 4, 2), ["abc…"]);
        assert_eq!(wrap(" \n", 4, 2), Vec::<String>::new());
    }

    #[test]
    fn sizes_and_counts_read_well() {
        let sizes: Vec<_> =
            [400_000_000, 999_000_000, 2_140_000_000, 9_990_000_000, 18_200_000_000].map(size).to_vec();
        assert_eq!(sizes, ["400 MB", "1.0 GB", "2.1 GB", "10 GB", "18 GB"]);
        assert_eq!([0, 1, 2].map(|n| count(n, "model")), ["no models", "1 model", "2 models"]);
        assert_eq!(cut_end("no answer in 2 s", 9), "no answe…");
    }
}
