//! The ranking over whole fleets: conversations, contents, lines, memory, speed, and what a large fleet costs.
#![allow(clippy::unwrap_used)]

use lamplighter_core::{
    affinity::Home,
    catalogue::Catalogue,
    config::NodeConfig,
    fleet::{Fleet, Node, NodeId, Queue},
    model::Model,
    node::{Engine, State},
    node_url::NodeUrl,
    operation::{Dialects, Operation},
    room::{Arrival, Client, Room},
    route::{self, Ask, RoutePlan},
    speed::{Sample, Speeds},
};
use std::{sync::Arc, time::Instant};

const GIB: u64 = 1 << 30;

fn model(name: &str, loaded: bool) -> Model {
    Model { name: name.into(), loaded: Some(loaded), size_bytes: Some(GIB), ..Model::default() }
}

fn with_digest(mut model: Model, digest: &str) -> Model {
    model.digest = Some(digest.repeat(64));
    model
}

fn node(at: u32, models: Vec<Model>) -> Node {
    let config = NodeConfig::new(
        &format!("node-{at}"),
        NodeUrl::parse(&format!("10.0.{}.{}:11434", at / 250, at % 250 + 1)).unwrap(),
    );
    Node {
        engine: Some(Engine::Ollama),
        dialects: Dialects { openai: true, ..Dialects::default() },
        state: State::Up,
        models: models.into(),
        ..Node::new(NodeId(at), Arc::new(config))
    }
}

fn queue(running: u32, waiting: u32) -> Queue {
    Queue { running, waiting, cache_percent: None }
}

fn fleet(nodes: Vec<Node>) -> Fleet {
    Fleet { catalogue: Catalogue::merge(&nodes), nodes, ..Fleet::default() }
}

fn ask(model: &str) -> Ask<'_> {
    Ask::new(model, Operation::ChatCompletions)
}

/// The nodes of each tier, and the rule that put the first one before the second.
fn order(plan: &RoutePlan) -> (Vec<Vec<u32>>, &'static str) {
    let tiers = plan.tiers.iter().map(|tier| tier.candidates.iter().map(|it| it.node.0).collect()).collect();
    (tiers, plan.tiers[0].candidates[0].reason.rule)
}

fn planned(fleet: &Fleet, room: &Room, ask: Ask<'_>) -> (Vec<Vec<u32>>, &'static str) {
    order(&route::plan_among_holders(fleet, room, ask).unwrap())
}

/// Takes every place of the candidates but the last `free` ones.
fn take(fleet: &Fleet, room: &mut Room, node: u32) {
    let plan = route::plan(fleet, room, ask("m")).unwrap();
    let candidates = &plan.tiers[0].candidates;
    let seat = candidates.iter().find(|it| it.node.0 == node).unwrap().seat.clone();
    let client = Client(u64::from(node));
    room.enter(Arrival { client, cost: 1, seats: vec![seat], lobby_bytes: None }, 0);
}

#[test]
fn a_conversation_goes_on_where_it_was_while_there_is_a_place() {
    let mut fleet = fleet(vec![node(0, vec![model("m", true)]), node(1, vec![model("m", true)])]);
    let mut room = Room::default();
    let home = Home { node: NodeId(1), model: "m".into(), digest: None };
    let again = Ask { home: Some(&home), ..ask("m") };
    assert_eq!(planned(&fleet, &room, ask("m")), (vec![vec![0, 1]], "order"));
    assert_eq!(planned(&fleet, &room, again), (vec![vec![1, 0]], "session"));

    take(&fleet, &mut room, 1);
    assert_eq!(planned(&fleet, &room, again).0, [[0, 1]], "full: it waits for nobody");
    let mut room = Room::default();
    fleet.nodes[1].state = State::Degraded;
    assert_eq!(planned(&fleet, &room, again), (vec![vec![0, 1]], "steady"));
    fleet.nodes[1].state = State::Up;
    fleet.nodes[1].told.queue = Some(queue(1, 3));
    assert_eq!(planned(&fleet, &room, again).0, [[0, 1]], "others have filled it behind our back");
    fleet.nodes[1].told.queue = None;
    let other = Home { model: "other".into(), ..home.clone() };
    assert_eq!(planned(&fleet, &room, Ask { home: Some(&other), ..ask("m") }).1, "order", "another model");
    take(&fleet, &mut room, 0);
    assert_eq!(planned(&fleet, &room, again).0, [[1, 0]]);
}

#[test]
fn r18_a_conversation_keeps_its_contents() {
    let holder = |at, digest| node(at, vec![with_digest(model("m", true), digest)]);
    let mut fleet =
        fleet(vec![holder(0, "a"), holder(1, "b"), holder(2, "b"), node(3, vec![model("m", true)])]);
    let mut room = Room::default();
    let home = Home { node: NodeId(1), model: "m".into(), digest: Some("b".repeat(64).into()) };
    let again = Ask { home: Some(&home), ..ask("m") };
    assert_eq!(
        planned(&fleet, &room, again).0,
        [vec![1, 2, 3], vec![0]],
        "whoever tells no digest may have it"
    );
    for node in [1, 2, 3] {
        take(&fleet, &mut room, node);
    }
    assert_eq!(planned(&fleet, &room, again).0[1], [0], "it waits rather than change its contents");
    fleet.nodes[2].state = State::Degraded;
    for gone in [1, 3] {
        fleet.nodes[gone].state = State::Away;
    }
    fleet.catalogue = Catalogue::merge(&fleet.nodes);
    assert_eq!(planned(&fleet, &room, again).0, [[0, 2]], "its own node fails at work: it may change");
    fleet.nodes[2].state = State::Up;
    fleet.nodes[2].told.queue = Some(queue(1, 4));
    assert_eq!(planned(&fleet, &room, again).0, [[0, 2]], "its own node is overrun: it may change");
}

#[test]
fn the_shortest_line_counts_what_the_engine_tells() {
    let mut fleet = fleet((0..3).map(|at| node(at, vec![model("m", at > 0)])).collect());
    let mut room = Room::default();
    fleet.nodes[1].told.queue = Some(queue(0, 2));
    assert_eq!(planned(&fleet, &room, ask("m")), (vec![vec![2, 0, 1]], "loaded"));
    for node in 0..3 {
        take(&fleet, &mut room, node);
    }
    assert_eq!(planned(&fleet, &room, ask("m")), (vec![vec![2, 0, 1]], "queue"));
    fleet.nodes[2].told.queue = Some(queue(7, 0));
    assert_eq!(planned(&fleet, &room, ask("m")).0, [[0, 1, 2]], "seven of others run there");

    let room = Room::default();
    for node in &mut fleet.nodes {
        node.told.queue = None;
    }
    fleet.nodes[1].told.queue = Some(Queue { cache_percent: Some(97), ..queue(0, 0) });
    assert_eq!(planned(&fleet, &room, ask("m")).0, [[2, 0, 1]], "its memory for prompts is full");
}

#[test]
fn memory_then_speed_then_priority_then_the_work() {
    let small = |at| {
        let mut node = node(at, vec![model("m", false), model("other", true)]);
        node.vram_bytes = Some(8 * GIB);
        node
    };
    let mut fleet = fleet((0..3).map(small).collect());
    let (mut room, mut speeds) = (Room::default(), Speeds::default());
    fn again(speeds: &Speeds) -> Ask<'_> {
        Ask { speeds: Some(speeds), ..ask("m") }
    }
    fleet.nodes[0].vram_bytes = Some(2 * GIB);
    fleet.nodes[0].models =
        vec![model("m", false), Model { vram_bytes: Some(GIB), ..model("other", true) }].into();
    let plan = route::plan(&fleet, &room, ask("m")).unwrap();
    assert_eq!(order(&plan), (vec![vec![1, 2, 0]], "order"));
    assert_eq!(plan.tiers[0].candidates[1].reason.rule, "memory");
    speeds.finished(NodeId(1), &"m".into(), Sample { tokens: 4, took_ms: 15_000 }, 0);
    assert_eq!(
        planned(&fleet, &room, again(&speeds)),
        (vec![vec![2, 1, 0]], "speed"),
        "not measured: it is tried"
    );
    speeds.finished(NodeId(2), &"m".into(), Sample { tokens: 90, took_ms: 1_000 }, 0);
    assert_eq!(planned(&fleet, &room, again(&speeds)).0, [[2, 1, 0]], "R09: the slow one goes behind");
    speeds.finished(NodeId(1), &"m".into(), Sample { tokens: 9_000, took_ms: 30_000 }, 0);
    assert_eq!(planned(&fleet, &room, again(&speeds)).1, "order", "90.0 and 89.9 tok/s are the same");
    let mut config = (*fleet.nodes[2].config).clone();
    (config.priority, config.max_concurrent) = (1, Some(4));
    fleet.nodes[2].config = Arc::new(config.clone());
    assert_eq!(planned(&fleet, &room, again(&speeds)), (vec![vec![2, 1, 0]], "priority"));
    config.priority = 0;
    fleet.nodes[2].config = Arc::new(config);
    take(&fleet, &mut room, 2);
    assert_eq!(planned(&fleet, &room, again(&speeds)), (vec![vec![1, 2, 0]], "running"));
}

#[test]
fn a_pin_beats_it_all_and_the_only_one_says_how_it_stands() {
    let fleet = fleet(vec![node(0, vec![model("m", true)]), node(1, vec![model("m", false)])]);
    let room = Room::default();
    let home = Home { node: NodeId(0), model: "m".into(), digest: None };
    let plan =
        route::plan(&fleet, &room, Ask { pin: Some("node-1"), home: Some(&home), ..ask("m") }).unwrap();
    assert_eq!(order(&plan), (vec![vec![1]], "only"));
    assert_eq!(plan.tiers[0].candidates[0].reason.words, "pinned to this node");
    assert_eq!(plan.passed_over[0].why, "the request is pinned to node-1");
}

/// 300 nodes with 300 models each, of which three hold the one that is asked for: a plan looks at three nodes, and not at their
/// lists. Compared with a fleet of three, so that a slow machine slows both.
#[test]
#[expect(clippy::disallowed_methods, reason = "what it costs is what is tested")]
fn a_plan_costs_what_the_holders_cost() {
    let many = |at: u32| (0..300).map(|n| model(&format!("n{at}-m{n}"), n == 7)).collect::<Vec<_>>();
    let holder = |at: u32| {
        let mut models = many(at);
        models.push(model("m", false));
        node(at, models)
    };
    let large: Vec<Node> =
        (0..300).map(|at| if at % 100 == 0 { holder(at) } else { node(at, many(at)) }).collect();
    let (large, small) = (fleet(large), fleet((0..3).map(|at| node(at, vec![model("m", false)])).collect()));
    let room = Room::default();
    let took = |fleet: &Fleet| {
        // The best of many: what others do on this machine meanwhile only ever adds.
        (0..200)
            .map(|_| {
                let began = Instant::now();
                for _ in 0..20 {
                    assert_eq!(
                        route::plan_among_holders(fleet, &room, ask("m")).unwrap().tiers[0].candidates.len(),
                        3
                    );
                }
                began.elapsed()
            })
            .min()
            .unwrap()
    };
    let (large, small) = (took(&large), took(&small));
    assert!(large < small * 4, "{large:?} for 300 nodes, {small:?} for three");
}
