//! One node in the tray: its line, and the rows that open from it.

use super::{
    Kind, Row,
    words::{Clock, Mark, activity, count, model_name, size, stage_words, state_word, word_and_why},
};
use crate::{model::Model, node::State, snapshot::Node};

/// Models named in a node's submenu before the rest is only counted.
const MODELS_SHOWN: usize = 6;

/// The row of a node: `● nas — 14 models, llama3.2:3b loaded`.
pub(super) fn row(node: &Node, clock: Clock) -> Row {
    let text = format!("{} {} — {}", Mark::of(node.state).glyph(), node.name, says(node, clock));
    Row::new(format!("node/{}", node.name), text, true, Kind::Submenu(submenu(node, clock)))
}

/// What there is to say of a node in one line.
fn says(node: &Node, clock: Clock) -> String {
    match node.state {
        State::Up => up(node),
        State::Asleep if node.models.is_empty() => "asleep".to_owned(),
        State::Asleep => format!("asleep, {}", count(node.models.len(), "model")),
        State::Away => format!("away {}", clock.since(node.since_ms)),
        State::Unknown => "looking…".to_owned(),
        State::Waking(stage) => match stage_words(stage) {
            Some(words) => format!("{}, {words}", state_word(node.state)),
            None => state_word(node.state).to_owned(),
        },
        State::Degraded | State::Refusing | State::Down => word_and_why(node),
    }
}

fn up(node: &Node) -> String {
    let loaded: Vec<&Model> = loaded(node).collect();
    match (activity(node), loaded.as_slice()) {
        (Some(activity), []) => activity,
        (Some(activity), [model, rest @ ..]) => {
            let bytes = model.loaded_bytes.or(model.vram_bytes).filter(|bytes| *bytes > 0);
            let size = bytes.map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
            format!("{activity}, {}{size}{}", model_name(&model.name), and_more(rest))
        }
        (None, []) => count(node.models.len(), "model"),
        (None, [model, rest @ ..]) => {
            let all = count(node.models.len(), "model");
            format!("{all}, {}{} loaded", model_name(&model.name), and_more(rest))
        }
    }
}

fn and_more(rest: &[&Model]) -> String {
    if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) }
}

fn loaded(node: &Node) -> impl Iterator<Item = &Model> {
    node.models.iter().filter(|model| model.loaded == Some(true))
}

/// The rows behind a node's line: where it is, since when, and its models, loaded ones first.
fn submenu(node: &Node, clock: Clock) -> Vec<Row> {
    let id = |part: &str| format!("node/{}/{part}", node.name);
    let mut rows = vec![Row::note(id("address"), address(node)), Row::note(id("state"), state(node, clock))];
    if node.models.is_empty() {
        return rows;
    }
    rows.push(Row::separator(id("separator")));
    let mut models: Vec<&Model> = node.models.iter().collect();
    models.sort_by_key(|model| model.loaded != Some(true));
    rows.extend(models.iter().take(MODELS_SHOWN).map(|model| {
        let is_loaded = model.loaded == Some(true) && node.state.takes_requests();
        let bytes = if is_loaded { model.loaded_bytes.or(model.size_bytes) } else { model.size_bytes };
        let size = bytes.map(|bytes| format!(" — {}", size(bytes))).unwrap_or_default();
        let text = format!("{}{size}", model_name(&model.name));
        Row::new(id(&format!("model/{}", model.name)), text, false, Kind::Check(is_loaded))
    }));
    if models.len() > MODELS_SHOWN {
        rows.push(Row::note(id("more"), format!("{} more…", models.len() - MODELS_SHOWN)));
    }
    rows
}

/// `192.168.1.50:11434 · Ollama 0.9.1`
fn address(node: &Node) -> String {
    let place = node.url.strip_prefix("http://").unwrap_or(&node.url);
    let engine = node.engine.map(|engine| match &node.version {
        Some(version) => format!(" · {} {version}", engine.title()),
        None => format!(" · {}", engine.title()),
    });
    format!("{place}{}", engine.unwrap_or_default())
}

/// `up since 16:00 · RTX 4090`
fn state(node: &Node, clock: Clock) -> String {
    let gpu = node.gpu.as_ref().map(|gpu| format!(" · {gpu}")).unwrap_or_default();
    format!("{} {}{gpu}", state_word(node.state), clock.since(node.since_ms))
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::node::Stage;

    const CLOCK: Clock = Clock { now_ms: 20_000 * 86_400_000 + 15 * 3_600_000, utc_offset_min: 60 };

    fn line(node: &Node) -> String {
        row(node, CLOCK).text
    }

    fn nas() -> Node {
        let names: Vec<_> = (0..14).map(|n| format!("model-{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        sample::models(sample::node("nas", State::Up), &names, 0)
    }

    #[test]
    fn every_state_has_its_glyph_and_its_words() {
        let since_ms = CLOCK.now_ms - 118 * 60_000;
        let in_state =
            |state, why: Option<&str>| line(&Node { state, since_ms, why: why.map(Into::into), ..nas() });
        assert_eq!(in_state(State::Unknown, None), "○ nas — looking…");
        assert_eq!(in_state(State::Up, None), "● nas — 14 models");
        assert_eq!(
            in_state(State::Degraded, Some("3 of 5 requests failed")),
            "▲ nas — unsteady: 3 of 5 requests failed"
        );
        assert_eq!(
            in_state(State::Refusing, Some("401: it wants an api_key")),
            "▲ nas — refusing: 401: it wants an api_key"
        );
        assert_eq!(in_state(State::Asleep, Some("no answer in 2 s")), "☾ nas — asleep, 14 models");
        assert_eq!(in_state(State::Waking(Stage::Packet), None), "◐ nas — waking");
        assert_eq!(in_state(State::Waking(Stage::Reachable), None), "◐ nas — waking, on the network");
        assert_eq!(in_state(State::Waking(Stage::Api), None), "◐ nas — waking, its engine answers");
        assert_eq!(in_state(State::Waking(Stage::Loading), None), "◐ nas — loading");
        assert_eq!(in_state(State::Away, None), "○ nas — away since 14:02");
        assert_eq!(in_state(State::Down, Some("no answer in 2 s")), "▲ nas — down: no answer in 2 s");
        assert_eq!(in_state(State::Down, None), "▲ nas — down");
    }

    #[test]
    fn up_says_what_is_loaded_and_what_runs() {
        let mut node = sample::models(sample::node("nas", State::Up), &["llama3.2:3b", "b", "c"], 1);
        assert_eq!(line(&node), "● nas — 3 models, llama3.2:3b loaded");
        node.models[2].loaded = Some(true);
        assert_eq!(line(&node), "● nas — 3 models, llama3.2:3b and 1 more loaded");
        (node.active, node.models[0].loaded_bytes) = (2, Some(18_200_000_000));
        assert_eq!(line(&node), "● nas — 2 active, llama3.2:3b (18 GB) and 1 more");
        (node.waiting, node.models) = (3, vec![]);
        assert_eq!(line(&node), "● nas — 2 active, 3 waiting");
        assert_eq!(line(&sample::node("new", State::Up)), "● new — no models");
        assert_eq!(line(&sample::node("new", State::Asleep)), "☾ new — asleep");
    }

    #[test]
    fn the_submenu_says_where_it_is_and_what_it_has() {
        let mut node = nas();
        node.gpu = Some("RTX 4090".into());
        (node.models[9].loaded, node.models[9].size_bytes) = (Some(true), Some(2_100_000_000));
        let Kind::Submenu(rows) = row(&node, CLOCK).kind else { panic!("a node opens") };
        let texts: Vec<_> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(
            texts[..5],
            ["nas:11434 · Ollama 0.9.1", "up since 16:00 · RTX 4090", "", "model-9 — 2.1 GB", "model-0"]
        );
        assert_eq!((rows[3].id.as_str(), &rows[3].kind), ("node/nas/model/model-9", &Kind::Check(true)));
        assert_eq!((rows[4].kind.clone(), rows[4].enabled), (Kind::Check(false), false));
        assert_eq!(texts.last(), Some(&"8 more…"));
        assert!(rows.len() <= 12, "hosts scroll badly");
    }

    #[test]
    fn a_node_that_is_gone_has_nothing_loaded() {
        let node = sample::models(sample::node("nas", State::Down), &["a"], 1);
        let Kind::Submenu(rows) = row(&node, CLOCK).kind else { panic!("a node opens") };
        assert_eq!(rows.last().map(|row| row.kind.clone()), Some(Kind::Check(false)));
    }

    #[test]
    fn a_text_that_changes_keeps_its_place_and_a_new_model_does_not() {
        let before = nas();
        let after = Node { state: State::Down, ..before.clone() };
        assert!(row(&before, CLOCK).same_place(&row(&after, CLOCK)));
        let mut more = before.clone();
        more.models[7].loaded = Some(true);
        assert!(!row(&before, CLOCK).same_place(&row(&more, CLOCK)));
    }
}
