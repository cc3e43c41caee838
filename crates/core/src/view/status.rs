//! The nodes as rows of a table, for the command line.

use super::words::{Clock, Mark, activity, stage_words, state_word};
use crate::{
    node::State,
    snapshot::{Node, Snapshot},
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
    /// What there is to say beyond the word: `2 active`, `since 14:02`, `no answer in 2 s`. May be empty.
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

fn row(node: &Node, clock: Clock) -> StatusRow {
    let since = || clock.since(node.since_ms);
    let why = || match &node.why {
        Some(why) => format!("{why} ({})", since()),
        None => since(),
    };
    let detail = match node.state {
        State::Up => activity(node).unwrap_or_else(since),
        State::Unknown => String::new(),
        State::Asleep | State::Away => since(),
        State::Waking(stage) => stage_words(stage).map_or_else(since, Into::into),
        State::Degraded | State::Refusing | State::Down => why(),
    };
    let takes_requests = node.state.takes_requests();
    let loaded = node.models.iter().filter(|model| takes_requests && model.loaded == Some(true));
    StatusRow {
        name: node.name.clone(),
        glyph: Mark::of(node.state).glyph(),
        word: state_word(node.state),
        detail,
        models: node.models.len(),
        loaded: loaded.map(|model| model.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::node::Stage;

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
    fn rows_keep_the_order_of_the_configuration() {
        let nodes = vec![sample::node("z", State::Down), sample::node("a", State::Up)];
        let rows = status(&Snapshot { nodes, ..Default::default() }, Clock { now_ms: 0, utc_offset_min: 0 });
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    }
}
