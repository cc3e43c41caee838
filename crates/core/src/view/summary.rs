//! The lamp and the one line beside it.

use super::{
    Lamp,
    node_menu::has_gpu,
    routing_menu::paused,
    trouble::Trouble,
    words::{Clock, count, cut_end, model_name, state_word, tokens_per_s, waited},
};
use crate::{
    mode::Mode,
    node::{Stage, State},
    snapshot::{Level, Node, Problem, Snapshot},
};

/// Longest summary: three lines of the menu.
const LONGEST: usize = 210;
/// Nodes named one by one before they are only counted.
const NAMED: usize = 3;

/// Which lamp this snapshot calls for.
pub(super) fn lamp(snapshot: &Snapshot) -> Lamp {
    let nodes = &snapshot.nodes;
    if !troubles(snapshot).is_empty() {
        Lamp::Alert
    } else if snapshot.gateway.mode == Mode::Paused {
        Lamp::Paused
    } else if nodes.iter().any(|node| matches!(node.state, State::Waking(_))) {
        Lamp::Waking
    } else if !snapshot.requests.is_empty() {
        Lamp::Busy
    } else if nodes.iter().any(|node| node.state.takes_requests() && has_gpu(node)) {
        Lamp::Lit
    } else if nodes.iter().any(|node| node.state.takes_requests()) {
        Lamp::Low
    } else {
        Lamp::Dark
    }
}

/// The line that goes with it.
pub(super) fn summary(snapshot: &Snapshot, clock: Clock) -> String {
    let line = match lamp(snapshot) {
        Lamp::Alert => alert(snapshot),
        Lamp::Paused => pause(snapshot, clock),
        Lamp::Waking => waking(snapshot, clock),
        Lamp::Busy => busy(snapshot),
        Lamp::Lit => lit(snapshot),
        Lamp::Low => by_name(snapshot),
        Lamp::Dark => dark(snapshot),
    };
    let demo = if snapshot.gateway.demo { "demo · " } else { "" };
    cut_end(&format!("{demo}{line}"), LONGEST)
}

fn problems(snapshot: &Snapshot) -> impl Iterator<Item = &Problem> {
    snapshot.problems.iter().filter(|problem| problem.level == Level::Problem)
}

/// What a person should look at, in a line each: the gateway's own problems, then what is wrong with machines that none of those
/// is about.
fn troubles(snapshot: &Snapshot) -> Vec<String> {
    let told =
        |node: &Node| problems(snapshot).any(|problem| problem.node.as_deref() == Some(node.name.as_str()));
    let of_nodes = snapshot.nodes.iter().filter(|node| !told(node)).filter_map(|node| {
        let trouble = Trouble::of(node)?;
        Some(format!("{} {}", node.name, trouble.says()))
    });
    let first_line = |problem: &Problem| problem.message.lines().next().unwrap_or_default().to_owned();
    problems(snapshot).map(first_line).chain(of_nodes).collect()
}

fn alert(snapshot: &Snapshot) -> String {
    match troubles(snapshot).as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{} · {} more", cut_end(first, LONGEST - 12), more.len()),
    }
}

fn pause(snapshot: &Snapshot, clock: Clock) -> String {
    let until = paused(&snapshot.gateway, clock);
    match snapshot.requests.len() {
        0 => until,
        1 => format!("{until} · 1 request finishes"),
        running => format!("{until} · {running} requests finish"),
    }
}

fn waking(snapshot: &Snapshot, clock: Clock) -> String {
    let on_their_way: Vec<_> = snapshot
        .nodes
        .iter()
        .filter_map(|node| match node.state {
            State::Waking(Stage::Loading) => Some(format!("Loading on {}{}", node.name, waited(node, clock))),
            State::Waking(_) => Some(format!("Waking {}{}", node.name, waited(node, clock))),
            _ => None,
        })
        .collect();
    on_their_way.join(" · ")
}

fn busy(snapshot: &Snapshot) -> String {
    let speed = tokens_per_s(snapshot).map(|rate| format!(" · {rate} tok/s")).unwrap_or_default();
    let requests = format!("{}{speed}", count(snapshot.requests.len(), "request"));
    let at_work: Vec<_> =
        snapshot.nodes.iter().filter(|node| node.active > 0).map(|node| node.name.as_str()).collect();
    match at_work.as_slice() {
        [] => format!("{requests} waiting"),
        names if names.len() <= NAMED => format!("{requests} on {}", names.join(", ")),
        names => format!("{requests} on {}", count(names.len(), "machine")),
    }
}

fn lit(snapshot: &Snapshot) -> String {
    let nodes = &snapshot.nodes;
    let up = nodes.iter().filter(|node| node.state.takes_requests()).count();
    let resident =
        nodes.iter().filter(|node| node.state.takes_requests() && has_gpu(node)).find_map(|node| {
            let model = node.models.iter().find(|model| model.loaded == Some(true))?;
            Some(format!(" · {} loaded on {}", model_name(&model.name), node.name))
        });
    format!("{up} of {} up{}", count(nodes.len(), "machine"), resident.unwrap_or_default())
}

fn by_name(snapshot: &Snapshot) -> String {
    if snapshot.nodes.len() > NAMED {
        return counted(snapshot);
    }
    let each = snapshot.nodes.iter().map(|node| format!("{} {}", node.name, state_word(node.state)));
    each.collect::<Vec<_>>().join(" · ")
}

fn counted(snapshot: &Snapshot) -> String {
    let nodes = &snapshot.nodes;
    let words = ["up", "unsteady", "looking", "asleep", "away", "refusing", "down"];
    let numbers =
        words.map(|word| (word, nodes.iter().filter(|node| state_word(node.state) == word).count()));
    let said =
        numbers.iter().filter(|(_, number)| *number > 0).map(|(word, number)| format!("{number} {word}"));
    said.collect::<Vec<_>>().join(" · ")
}

fn dark(snapshot: &Snapshot) -> String {
    let nodes = &snapshot.nodes;
    if nodes.is_empty() {
        "No machines yet".to_owned()
    } else if nodes.iter().all(|node| node.state == State::Unknown) {
        format!("Looking for {}", count(nodes.len(), "machine"))
    } else {
        format!("No machine answers · {}", by_name(snapshot))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::{snapshot::Request, wake::Failure};

    fn seen(nodes: Vec<Node>) -> (Lamp, String) {
        let snapshot = Snapshot { nodes, ..Default::default() };
        seen_whole(&snapshot)
    }

    fn seen_whole(snapshot: &Snapshot) -> (Lamp, String) {
        (lamp(snapshot), summary(snapshot, Clock { now_ms: 0, utc_offset_min: 0 }))
    }

    fn node(name: &str, state: State) -> Node {
        sample::node(name, state)
    }

    fn with_gpu(node: Node) -> Node {
        Node { gpu: Some("RTX 4090".into()), ..node }
    }

    #[test]
    fn lit_when_a_gpu_is_there_low_when_only_others_are_dark_else() {
        let nas = || node("nas", State::Up);
        let mut workstation =
            with_gpu(sample::models(node("workstation", State::Up), &["qwen3-coder:30b"], 1));
        assert_eq!(
            seen(vec![nas(), workstation.clone()]),
            (Lamp::Lit, "2 of 2 machines up · qwen3-coder:30b loaded on workstation".into())
        );
        workstation.state = State::Asleep;
        assert_eq!(seen(vec![nas(), workstation.clone()]), (Lamp::Low, "nas up · workstation asleep".into()));
        assert_eq!(seen(vec![workstation]), (Lamp::Dark, "No machine answers · workstation asleep".into()));
        assert_eq!(seen(vec![node("nas", State::Unknown)]), (Lamp::Dark, "Looking for 1 machine".into()));
        assert_eq!(seen(vec![]), (Lamp::Dark, "No machines yet".into()));
    }

    #[test]
    fn seen_video_memory_is_a_gpu_and_none_of_it_is_not() {
        let seen_vram = |bytes| Node { vram_bytes: Some(bytes), ..node("box", State::Up) };
        assert_eq!(seen(vec![seen_vram(1)]), (Lamp::Lit, "1 of 1 machine up".into()));
        assert_eq!(seen(vec![seen_vram(0)]).0, Lamp::Low);
        assert_eq!(
            seen(vec![with_gpu(node("box", State::Degraded))]).0,
            Lamp::Lit,
            "unsteady still takes requests"
        );
    }

    #[test]
    fn many_nodes_are_counted_not_named() {
        let mut nodes: Vec<_> = (0..4).map(|n| node(&format!("n{n}"), State::Up)).collect();
        nodes.push(node("laptop", State::Away));
        assert_eq!(seen(nodes), (Lamp::Low, "4 up · 1 away".into()));
    }

    #[test]
    fn alert_before_waking_before_busy_before_lit() {
        let mut snapshot = Snapshot {
            nodes: vec![
                with_gpu(node("box", State::Up)),
                node("nas", State::Waking(Stage::Packet)),
                node("pi", State::Waking(Stage::Loading)),
            ],
            requests: vec![sample::request("box"); 2],
            problems: vec![
                sample::problem(Level::Problem, "nas is down"),
                sample::problem(Level::Problem, "the key is missing"),
                sample::problem(Level::Notice, "an alias names a model nobody has"),
            ],
            ..Default::default()
        };
        snapshot.nodes[0].active = 2;
        snapshot.gateway.mode = Mode::Paused;
        assert_eq!(seen_whole(&snapshot), (Lamp::Alert, "nas is down · 1 more".into()));
        snapshot.problems.drain(..2);
        assert_eq!(
            seen_whole(&snapshot),
            (Lamp::Paused, "Paused until you resume · 2 requests finish".into())
        );
        snapshot.gateway.mode = Mode::Local;
        assert_eq!(seen_whole(&snapshot), (Lamp::Waking, "Waking nas · Loading on pi".into()));
        snapshot.nodes[2].sleep.waking = Some(sample::waking(Stage::Loading, 0));
        snapshot.nodes[2].sleep.usual_ms = Some(40_100);
        let clock = Clock { now_ms: 23_900, utc_offset_min: 0 };
        assert_eq!(summary(&snapshot, clock), "Waking nas · Loading on pi 0:23 of ~0:41");
        snapshot.nodes.truncate(1);
        assert_eq!(seen_whole(&snapshot), (Lamp::Busy, "2 requests on box".into()));
        snapshot.nodes[0].active = 0;
        assert_eq!(seen_whole(&snapshot).1, "2 requests waiting");
        snapshot.requests = Vec::<Request>::new();
        assert_eq!(seen_whole(&snapshot).0, Lamp::Lit);
        snapshot.gateway.demo = true;
        assert_eq!(seen_whole(&snapshot).1, "demo · 1 of 1 machine up");
    }

    #[test]
    fn a_failed_wake_and_a_lost_gpu_are_alarms() {
        let mut tower = node("tower", State::Asleep);
        tower.sleep.failure = Some(sample::failure(&Failure::NeverAnswered { rounds: 5, waited_ms: 9_000 }));
        let mut workstation = with_gpu(node("workstation", State::Up));
        assert_eq!(
            seen(vec![tower.clone(), workstation.clone()]),
            (Lamp::Alert, "tower did not wake".into())
        );
        workstation.sleep.gpu_lost = true;
        let nodes = vec![workstation, tower];
        let alarm = "workstation is up, but without its GPU · 1 more".to_owned();
        assert_eq!(seen(nodes.clone()), (Lamp::Alert, alarm));
        let down = Problem { node: Some("tower".into()), ..sample::problem(Level::Problem, "tower is down") };
        let problems = vec![down];
        assert_eq!(
            seen_whole(&Snapshot { nodes, problems, ..Default::default() }).1,
            "tower is down · 1 more",
            "one line about one machine"
        );
    }

    #[test]
    fn speed_is_told_once_it_can_be_measured() {
        let coming = |first_byte_ms, events| Request { first_byte_ms, events, ..sample::request("box") };
        let mut snapshot = Snapshot {
            at_ms: 10_000,
            nodes: vec![Node { active: 3, ..node("box", State::Up) }],
            requests: vec![coming(Some(8_000), 120), coming(Some(9_500), 40), coming(None, 0)],
            ..Default::default()
        };
        assert_eq!(seen_whole(&snapshot).1, "3 requests · 60 tok/s on box");
        snapshot.at_ms = 10_500;
        assert_eq!(seen_whole(&snapshot).1, "3 requests · 88 tok/s on box");
        snapshot.at_ms = 0;
        assert_eq!(seen_whole(&snapshot).1, "3 requests on box");
    }

    #[test]
    fn a_summary_never_grows_past_its_limit() {
        let long = "x".repeat(300);
        let problems = vec![sample::problem(Level::Problem, &long), sample::problem(Level::Problem, "y")];
        let (_, line) = seen_whole(&Snapshot { problems, ..Default::default() });
        assert!(line.chars().count() <= LONGEST && line.ends_with("… · 1 more"), "{line}");
    }
}
