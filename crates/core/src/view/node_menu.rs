//! One node in the tray: its line, and the rows that open from it.

use super::{
    Action, Kind, Row,
    trouble::{Trouble, mark},
    words::{Clock, activity, count, cut_end, model_name, size, state_word, waking, word_and_why},
};
use crate::{
    expiry::goes_at_ms,
    model::Model,
    node::State,
    snapshot::{KeptAwake, Node},
};

/// Models named in a node's submenu before the rest is only counted.
const MODELS_SHOWN: usize = 6;

/// Letters of the reason why it did not wake.
const LONGEST_FAILURE: usize = 80;

/// What brings a GPU back that was lost in a sleep.
const GPU_FIX: &str = "models run on the CPU: reload nvidia_uvm, then restart its engine";

/// The row of a node: `● nas — 14 models, llama3.2:3b loaded`.
pub(super) fn row(node: &Node, clock: Clock) -> Row {
    let text = format!("{} {} — {}", glyph(node), node.name, says(node, clock));
    Row::submenu(format!("node/{}", node.name), text, submenu(node, clock))
}

/// `Free workstation's GPU`, while something is in its memory that can be taken out.
pub(super) fn free_gpu(node: &Node) -> Option<Row> {
    let holds =
        node.can_load && node.state.takes_requests() && has_gpu(node) && loaded(node).next().is_some();
    let action = Action::Unload { node: node.name.clone(), model: None };
    holds.then(|| Row::item(format!("free/{}", node.name), format!("Free {}'s GPU", node.name), action))
}

/// `Wake workstation`, or `Cancel waking workstation` in its place.
pub(super) fn wake(node: &Node) -> Option<Row> {
    let (text, action) = wake_now(node)?;
    let text = match action {
        Action::CancelWake { .. } => format!("Cancel waking {}", node.name),
        _ => format!("{text} {}", node.name),
    };
    // One row, whatever it says: it changes in place.
    Some(Row::item(format!("wake/{}", node.name), text, action))
}

/// What can be done about its sleep now.
fn wake_now(node: &Node) -> Option<(&'static str, Action)> {
    let name = || node.name.clone();
    if node.sleep.waking.is_some() {
        return Some(("Cancel waking", Action::CancelWake { node: name() }));
    }
    let sleeps = matches!(node.state, State::Asleep | State::Down | State::Away) && !node.sleep.elsewhere;
    (node.sleep.can_wake && sleeps).then(|| ("Wake", Action::Wake { node: name() }))
}

/// A GPU was written down or has been seen at work.
pub(super) fn has_gpu(node: &Node) -> bool {
    node.gpu.is_some() || node.vram_bytes.is_some_and(|bytes| bytes > 0)
}

/// A cloud in place of the disc: what goes there leaves the house.
fn glyph(node: &Node) -> &'static str {
    match node.state {
        State::Up if node.cloud => "☁",
        _ => mark(node).glyph(),
    }
}

/// What there is to say of a node in one line.
fn says(node: &Node, clock: Clock) -> String {
    let trouble = Trouble::of(node);
    if let Some(trouble @ Trouble::NotWoken(_)) = trouble {
        return format!("{} (click for why)", bare(trouble));
    }
    match node.state {
        State::Up => match trouble {
            Some(trouble) => {
                [bare(trouble).to_owned()].into_iter().chain(activity(node)).collect::<Vec<_>>().join(", ")
            }
            None => up(node),
        },
        State::Away if node.sleep.elsewhere => "on another network".to_owned(),
        State::Asleep if node.models.is_empty() => "asleep".to_owned(),
        State::Asleep => format!("asleep, {}", count(node.models.len(), "model")),
        State::Away => format!("away {}", clock.since(node.since_ms)),
        State::Unknown => "looking…".to_owned(),
        State::Waking(stage) => waking(node, stage, clock),
        State::Degraded | State::Refusing | State::Down => word_and_why(node),
    }
}

/// The words of a trouble where the machine's name stands before a dash.
fn bare(trouble: Trouble<'_>) -> &'static str {
    let says = trouble.says();
    says.strip_prefix("is ").unwrap_or(says)
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

/// The rows behind a node's line: where it is, since when, and its models, loaded ones first. At most fifteen.
fn submenu(node: &Node, clock: Clock) -> Vec<Row> {
    let id = |part: &str| format!("node/{}/{part}", node.name);
    let mut rows = vec![Row::note(id("address"), address(node)), Row::note(id("state"), state(node, clock))];
    rows.extend(Trouble::of(node).map(|trouble| match trouble {
        Trouble::NotWoken(failure) => Row::note(id("failure"), cut_end(&failure.words, LONGEST_FAILURE)),
        Trouble::NoGpu => Row::note(id("gpu"), GPU_FIX),
    }));
    if let Some((text, action)) = wake_now(node) {
        let text = if text == "Wake" { "Wake now" } else { text };
        rows.push(Row::item(id("wake"), text, action));
    } else if node.sleep.elsewhere {
        rows.push(Row::item(id("home"), "This is home too", Action::IsHome { node: node.name.clone() }));
    } else if node.sleep.can_sleep && node.state.takes_requests() {
        rows.push(Row::item(id("sleep"), "Put to sleep", Action::Sleep { node: node.name.clone() }));
    }
    rows.extend(keep_awake(node));
    if node.models.is_empty() {
        return rows;
    }
    rows.push(Row::separator(id("separator")));
    let mut models: Vec<&Model> = node.models.iter().collect();
    models.sort_by_key(|model| model.loaded != Some(true));
    rows.extend(models.iter().take(MODELS_SHOWN).map(|model| model_row(node, model, clock)));
    if models.len() > MODELS_SHOWN {
        rows.push(Row::item(id("more"), format!("{} more…", models.len() - MODELS_SHOWN), Action::Open));
    }
    if node.can_load {
        let holds = node.state.takes_requests() && loaded(node).next().is_some();
        let action = holds.then(|| Action::Unload { node: node.name.clone(), model: None });
        rows.push(Row::separator(id("separator/unload")));
        rows.push(Row::new(id("unload"), "Unload all models", Kind::Item, action));
    }
    rows
}

/// `✓ Keep awake while it answers`, for a machine that is, or that has fallen asleep while it answered.
fn keep_awake(node: &Node) -> Option<Row> {
    let (is_kept, sleep) = (node.sleep.kept_awake != KeptAwake::No, &node.sleep);
    let turn = || Action::KeepAwake { node: node.name.clone(), on: !is_kept };
    let action = (sleep.kept_awake != KeptAwake::Command).then(turn);
    let id = format!("node/{}/keep-awake", node.name);
    (is_kept || sleep.naps).then(|| Row::check(id, "Keep awake while it answers", is_kept, action))
}

/// `✓ qwen3-coder:30b — 18 GB, unloads at 14:32`; a click loads or unloads it, where the engine can.
fn model_row(node: &Node, model: &Model, clock: Clock) -> Row {
    let takes_requests = node.state.takes_requests();
    let is_loaded = model.loaded == Some(true) && takes_requests;
    let bytes = if is_loaded { model.loaded_bytes.or(model.size_bytes) } else { model.size_bytes };
    let goes_at =
        model.expires_at.as_deref().filter(|_| is_loaded).and_then(|at| goes_at_ms(at, clock.now_ms));
    let facts = [
        bytes.filter(|bytes| *bytes > 0).map(size),
        goes_at.map(|at_ms| format!("unloads at {}", clock.time(at_ms))),
    ];
    let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let dash = if facts.is_empty() { "" } else { " — " };
    let (name, to) = (model.name.clone(), node.name.clone());
    let action = (node.can_load && takes_requests && !model.remote).then_some(if is_loaded {
        Action::Unload { node: to, model: Some(name) }
    } else {
        Action::Load { node: to, model: name }
    });
    let id = format!("node/{}/model/{}", node.name, model.name);
    Row::check(id, format!("{}{dash}{facts}", model_name(&model.name)), is_loaded, action)
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
    use crate::{
        node::Stage,
        snapshot::{Sleep, Waking},
        wake::Failure,
    };

    #[test]
    fn a_sleeping_machine_is_woken_from_its_row_and_its_waking_can_be_ended() {
        let mut node = Node { state: State::Asleep, ..nas() };
        assert_eq!(wake(&node), None, "nobody has written how");
        node.sleep.can_wake = true;
        let row = wake(&node).unwrap();
        assert_eq!(
            (row.text.as_str(), row.action.clone()),
            ("Wake nas", Some(Action::Wake { node: "nas".into() }))
        );
        assert!(rows(&node).iter().any(|row| row.text == "Wake now"));
        let waking = Waking {
            stage: Stage::Packet,
            started_ms: CLOCK.now_ms - 23_400,
            timeout_ms: 120_000,
            rounds: 3,
            waiters: 1,
            by_person: false,
            asked_by: None,
        };
        (node.state, node.sleep.waking, node.sleep.usual_ms) =
            (State::Waking(Stage::Packet), Some(waking), Some(41_000));
        assert_eq!(line(&node), "◐ nas — waking 0:23 of ~0:41");
        let cancel = wake(&node).unwrap();
        assert_eq!((cancel.text.as_str(), cancel.id == row.id), ("Cancel waking nas", true));
        node.state = State::Waking(Stage::Reachable);
        assert_eq!(line(&node), "◐ nas — waking 0:23 of ~0:41, on the network");
        node.state = State::Waking(Stage::Api);
        assert_eq!(line(&node), "◐ nas — waking 0:23 of ~0:41, its engine answers");
        (node.state, node.sleep.usual_ms) = (State::Waking(Stage::Loading), Some(40_100));
        assert_eq!(line(&node), "◐ nas — loading 0:23 of ~0:41", "the usual time is rounded as everywhere");
        (node.state, node.sleep.usual_ms) = (State::Waking(Stage::Packet), None);
        assert_eq!(line(&node), "◐ nas — waking 0:23");
        (node.state, node.sleep.waking) = (State::Asleep, None);
        node.sleep.failure = Some(sample::failure(&Failure::NeverAnswered { rounds: 5, waited_ms: 120_000 }));
        assert_eq!(line(&node), "▲ nas — did not wake (click for why)");
        assert!(rows(&node).iter().any(|row| row.text.contains("called 5 times")));
        node.state = State::Down;
        assert_eq!(line(&node), "▲ nas — did not wake (click for why)", "it should always be there");
        node.sleep.failure = Some(sample::failure(&Failure::EngineClosed { seen_ms: 9_000 }));
        assert_eq!(line(&node), "▲ nas — awake, but its engine does not answer (click for why)");
        (node.state, node.sleep.elsewhere) = (State::Away, true);
        assert_eq!((line(&node).as_str(), wake(&node)), ("○ nas — on another network", None));
        (node.state, node.sleep) = (State::Up, Sleep { can_sleep: true, ..Sleep::default() });
        assert!(rows(&node).iter().any(|row| row.text == "Put to sleep"));
    }

    #[test]
    fn a_machine_that_lost_its_gpu_says_so_and_what_brings_it_back() {
        let mut node = Node { gpu: Some("RTX 4090".into()), ..nas() };
        node.sleep.gpu_lost = true;
        assert_eq!(line(&node), "▲ nas — up, but without its GPU");
        assert!(rows(&node).iter().any(|row| !row.enabled && row.text.contains("nvidia_uvm")));
        (node.active, node.waiting) = (2, 1);
        assert_eq!(line(&node), "▲ nas — up, but without its GPU, 2 active, 1 waiting");
        node.state = State::Asleep;
        assert_eq!(line(&node), "☾ nas — asleep, 14 models");
        assert!(rows(&node).iter().all(|row| !row.text.contains("nvidia_uvm")));
    }

    #[test]
    fn r50_a_machine_that_falls_asleep_at_work_can_be_kept_awake() {
        let mut node = nas();
        let row = |node: &Node| rows(node).into_iter().find(|row| row.text.starts_with("Keep awake"));
        assert_eq!(row(&node), None, "most do not");
        node.sleep.naps = true;
        let turn = |on| Some(Action::KeepAwake { node: "nas".into(), on });
        assert_eq!(row(&node).map(|row| (row.kind, row.action)), Some((Kind::Check(false), turn(true))));
        (node.sleep.naps, node.sleep.kept_awake) = (false, KeptAwake::Call);
        assert_eq!(row(&node).map(|row| (row.kind, row.action)), Some((Kind::Check(true), turn(false))));
        node.sleep.kept_awake = KeptAwake::Command;
        assert_eq!(
            row(&node).map(|row| (row.kind, row.action)),
            Some((Kind::Check(true), None)),
            "it stands in the file"
        );
    }

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
    }

    fn rows(node: &Node) -> Vec<Row> {
        let Kind::Submenu(rows) = row(node, CLOCK).kind else { panic!("a node opens") };
        rows
    }

    fn load(model: &str) -> Option<Action> {
        Some(Action::Load { node: "nas".into(), model: model.into() })
    }

    fn unload(model: Option<&str>) -> Option<Action> {
        Some(Action::Unload { node: "nas".into(), model: model.map(Into::into) })
    }

    #[test]
    fn a_click_on_a_model_turns_its_mark() {
        let mut node = Node { can_load: true, ..nas() };
        node.models[2].loaded = Some(true);
        node.models[3].remote = true;
        let seen = rows(&node);
        assert_eq!(seen.len(), 12, "hosts scroll badly");
        let actions: Vec<_> = seen[3..7].iter().map(|row| row.action.clone()).collect();
        assert_eq!(actions, [unload(Some("model-2")), load("model-0"), load("model-1"), None]);
        assert_eq!((seen[9].action.clone(), seen[11].action.clone()), (Some(Action::Open), unload(None)));
        node.models[2].loaded = Some(false);
        assert_eq!(rows(&node).last().map(|row| (row.enabled, row.action.clone())), Some((false, None)));
        node.state = State::Asleep;
        assert!(rows(&node)[3..9].iter().all(|row| !row.enabled), "nobody there to load it");
    }

    #[test]
    fn a_loaded_model_says_when_it_goes() {
        let mut node = sample::models(sample::node("nas", State::Up), &["a"], 1);
        node.models[0].loaded_bytes = Some(18_200_000_000);
        // Fifteen o'clock UTC of day 20,000; the clock is an hour ahead.
        node.models[0].expires_at = Some("2024-10-04T15:32:10.1Z".into());
        assert_eq!(rows(&node)[3].text, "a — 18 GB, unloads at 16:32");
        node.models[0].loaded = Some(false);
        assert_eq!(rows(&node)[3].text, "a");
    }

    #[test]
    fn a_gpu_is_freed_only_where_there_is_one_with_something_in_it() {
        let mut node = Node { can_load: true, ..sample::models(sample::node("nas", State::Up), &["a"], 1) };
        assert_eq!(free_gpu(&node), None, "no GPU");
        node.gpu = Some("RTX 4090".into());
        let row = free_gpu(&node).map(|row| (row.text, row.action));
        assert_eq!(row, Some(("Free nas's GPU".into(), unload(None))));
        for other in [
            Node { can_load: false, ..node.clone() },
            Node { state: State::Down, ..node.clone() },
            Node { models: vec![], ..node.clone() },
        ] {
            assert_eq!(free_gpu(&other), None);
        }
    }

    #[test]
    fn a_node_outside_the_house_looks_different() {
        let mut node = Node { cloud: true, ..sample::node("openrouter", State::Up) };
        assert_eq!(line(&node), "☁ openrouter — no models");
        node.state = State::Down;
        assert_eq!(line(&node), "▲ openrouter — down");
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
