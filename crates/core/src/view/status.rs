//! The nodes as rows of a table, for the command line.

use super::{
    trouble::{Trouble, mark},
    words::{Clock, activity, stage_words, state_word, usual_s, who},
};
use crate::{
    node::{Stage, State},
    snapshot::{Node, Prompt, Snapshot, WakeFailure},
};

/// One node in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// Its name.
    pub name: String,
    /// Its glyph.
    pub glyph: &'static str,
    /// Its state in a word.
    pub word: &'static str,
    /// What there is to say beyond the word: `2 active`, `since 14:02`, `no answer in 2 s`, `4 s of about 6 s, 2 waiting`. May be
    /// empty.
    pub detail: String,
    /// How many models it has, or had when it was last seen.
    pub models: usize,
    /// Names of the models in its memory; none while it takes no requests.
    pub loaded: Vec<String>,
}

/// Every node, in the order of the configuration.
#[must_use]
pub fn status(snapshot: &Snapshot, clock: Clock) -> Vec<StatusRow> {
    snapshot.nodes.iter().map(|node| row(node, clock)).collect()
}

/// The questions that wait for a person, in a line each, with what answers them.
#[must_use]
pub fn questions(snapshot: &Snapshot) -> Vec<String> {
    let line = |prompt: &Prompt| {
        let left_s = prompt.until_ms.saturating_sub(snapshot.at_ms).div_ceil(1_000);
        let asks = format!("{} asks for {}", who(&prompt.client), prompt.model);
        let yes = format!("`lamplighter wake {}` wakes it", prompt.node);
        format!("Wake {}? {asks}: {yes}, else it is answered elsewhere in {left_s} s", prompt.node)
    };
    snapshot.prompts.iter().map(line).collect()
}

fn row(node: &Node, clock: Clock) -> StatusRow {
    let since = || clock.since(node.since_ms);
    let why = || match &node.why {
        Some(why) => format!("{why} ({})", since()),
        None => since(),
    };
    let of_state = match node.state {
        State::Up => activity(node).unwrap_or_else(since),
        State::Unknown => String::new(),
        State::Asleep | State::Away => since(),
        State::Waking(stage) => waking(node, stage, clock),
        State::Degraded | State::Refusing | State::Down => why(),
    };
    let detail = match Trouble::of(node) {
        Some(Trouble::NotWoken(failure)) => not_woken(failure, clock),
        Some(Trouble::NoGpu) => format!("without its GPU, {of_state}"),
        None => of_state,
    };
    let takes_requests = node.state.takes_requests();
    let loaded = node.models.iter().filter(|model| takes_requests && model.loaded == Some(true));
    StatusRow {
        name: node.name.clone(),
        glyph: mark(node).glyph(),
        word: state_word(node.state),
        detail,
        models: node.models.len(),
        loaded: loaded.map(|model| model.name.clone()).collect(),
    }
}

/// `on the network, 4 s of about 6 s, 10 waiting`
fn waking(node: &Node, stage: Stage, clock: Clock) -> String {
    let how_far = stage_words(stage).map(str::to_owned);
    let Some(waking) = &node.sleep.waking else {
        return how_far.unwrap_or_else(|| clock.since(node.since_ms));
    };
    let s = clock.now_ms.saturating_sub(waking.started_ms) / 1_000;
    let waited = match node.sleep.usual_ms.map(usual_s) {
        None => format!("{s} s"),
        Some(usual) if s <= usual => format!("{s} s of about {usual} s"),
        Some(usual) => format!("{s} s, usually about {usual} s"),
    };
    let waiting = (waking.waiters > 0).then(|| format!("{} waiting", waking.waiters));
    how_far.into_iter().chain([waited]).chain(waiting).collect::<Vec<_>>().join(", ")
}

/// `did not wake 14:02: called 3 times, nothing heard for 20 s`
fn not_woken(failure: &WakeFailure, clock: Clock) -> String {
    let Some(at) = failure.at_ms.map(|at_ms| clock.ago(at_ms)) else { return failure.words.clone() };
    match failure.words.split_once(": ") {
        Some((what, why)) => format!("{what} {at}: {why}"),
        None => format!("{} ({at})", failure.words),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::snapshot::{WakeFailure, Waking};

    #[test]
    fn each_state_in_a_row() {
        let clock = Clock { now_ms: 20_000 * 86_400_000 + 15 * 3_600_000, utc_offset_min: 0 };
        let since_ms = clock.now_ms - 58 * 60_000;
        let said = |state, why: Option<&str>, active| {
            let node = sample::models(sample::node("nas", state), &["a", "b"], 1);
            let node = Node { since_ms, why: why.map(Into::into), active, ..node };
            let row = row(&node, clock);
            (format!("{} {} {}", row.glyph, row.word, row.detail), row.loaded.len())
        };
        assert_eq!(said(State::Up, None, 2), ("● up 2 active".into(), 1));
        assert_eq!(said(State::Up, None, 0), ("● up since 14:02".into(), 1));
        assert_eq!(said(State::Degraded, Some("flaps"), 0), ("▲ unsteady flaps (since 14:02)".into(), 1));
        assert_eq!(said(State::Refusing, None, 0), ("▲ refusing since 14:02".into(), 0));
        assert_eq!(said(State::Down, Some("no answer in 2 s"), 0).0, "▲ down no answer in 2 s (since 14:02)");
        assert_eq!(said(State::Asleep, Some("no answer"), 0), ("☾ asleep since 14:02".into(), 0));
        assert_eq!(said(State::Away, None, 0).0, "○ away since 14:02");
        assert_eq!(said(State::Unknown, None, 0).0, "○ looking ");
        assert_eq!(said(State::Waking(Stage::Packet), None, 0).0, "◐ waking since 14:02");
        assert_eq!(said(State::Waking(Stage::Api), None, 0).0, "◐ waking its engine answers");
        assert_eq!(said(State::Waking(Stage::Loading), None, 0).0, "◐ loading since 14:02");
    }

    #[test]
    fn a_wake_says_how_far_it_is_and_how_the_last_one_failed() {
        let clock = Clock { now_ms: 20_000 * 86_400_000 + 15 * 3_600_000, utc_offset_min: 0 };
        let mut node = sample::node("ws", State::Waking(Stage::Packet));
        let mut said = |waited_ms, usual_ms, waiters, stage| {
            node.state = State::Waking(stage);
            node.sleep.usual_ms = usual_ms;
            node.sleep.waking = Some(Waking {
                stage,
                started_ms: clock.now_ms - waited_ms,
                timeout_ms: 120_000,
                rounds: 3,
                waiters,
                by_person: false,
                asked_by: None,
            });
            row(&node, clock).detail
        };
        assert_eq!(said(4_300, Some(5_400), 10, Stage::Packet), "4 s of about 6 s, 10 waiting");
        assert_eq!(said(9_000, Some(5_400), 0, Stage::Packet), "9 s, usually about 6 s");
        assert_eq!(said(9_000, None, 1, Stage::Reachable), "on the network, 9 s, 1 waiting");
        assert_eq!(said(9_000, Some(9_000), 0, Stage::Loading), "9 s of about 9 s");

        (node.state, node.sleep.waking) = (State::Asleep, None);
        let mut said = |words: &str, at_ms| {
            let failure = WakeFailure { code: "x".into(), words: words.into(), at_ms, checklist: vec![] };
            node.sleep.failure = Some(failure);
            row(&node, clock).detail
        };
        let (at, day) = (clock.now_ms - 58 * 60_000, 86_400_000);
        let never = "did not wake: called twice";
        assert_eq!(said(never, Some(at)), "did not wake 14:02: called twice");
        assert_eq!(said(never, Some(at - day)), "did not wake yesterday 14:02: called twice");
        assert_eq!(said(never, Some(at - 3 * day)), "did not wake 3 days ago: called twice");
        assert_eq!(said(never, None), never);
        assert_eq!(said("does not have qwen3:8b", Some(at)), "does not have qwen3:8b (14:02)");
        node.state = State::Down;
        let seen = row(&node, clock);
        assert_eq!(
            (seen.glyph, seen.word, seen.detail.as_str()),
            ("▲", "down", "does not have qwen3:8b (14:02)")
        );
        (node.state, node.sleep.gpu_lost) = (State::Up, true);
        let seen = row(&node, clock);
        assert_eq!(
            (seen.glyph, seen.word, seen.detail.as_str()),
            ("▲", "up", "without its GPU, since 15:00")
        );
    }

    #[test]
    fn a_question_says_what_answers_it() {
        let prompt = Prompt {
            node: "tower".into(),
            model: "coder".into(),
            client: "cline/3.1".into(),
            until_ms: 20_000,
        };
        let house = Snapshot { at_ms: 2_100, prompts: vec![prompt], ..Default::default() };
        assert_eq!(
            questions(&house),
            [
                "Wake tower? cline asks for coder: `lamplighter wake tower` wakes it, else it is answered elsewhere in 18 s"
            ]
        );
    }

    #[test]
    fn rows_keep_the_order_of_the_configuration() {
        let nodes = vec![sample::node("z", State::Down), sample::node("a", State::Up)];
        let rows = status(&Snapshot { nodes, ..Default::default() }, Clock { now_ms: 0, utc_offset_min: 0 });
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    }
}
