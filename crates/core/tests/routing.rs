//! Routing: the short way to a plan gives the plan of the long way, for any fleet.
#![allow(clippy::unwrap_used)]

use lamplighter_core::{
    catalogue::Catalogue,
    config::NodeConfig,
    fleet::{Fleet, Node, NodeId},
    model::Model,
    node::{Presence, State},
    node_url::NodeUrl,
    operation::{Dialects, Operation},
    room::Room,
    route::{self, Ask, NoRoute, RoutePlan},
};
use proptest::prelude::*;
use std::sync::Arc;

const NAMES: [&str; 5] = ["a", "a:latest", "b:7b", "c", "d"];

fn node(at: u32, state: State, openai: bool, models: Vec<Model>) -> Node {
    let config = NodeConfig {
        presence: Presence::AlwaysOn,
        ..NodeConfig::new(&format!("node-{at}"), NodeUrl::parse(&format!("127.0.0.1:{}", 9000 + at)).unwrap())
    };
    Node {
        dialects: Dialects { openai, ..Dialects::default() },
        state,
        models: models.into(),
        ..Node::new(NodeId(at), Arc::new(config))
    }
}

fn any_fleet() -> impl Strategy<Value = Fleet> {
    let name = || proptest::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let model = (name(), prop::collection::vec(name(), 0..2), prop::option::of(any::<bool>()))
        .prop_map(|(name, aliases, loaded)| Model { name, aliases, loaded, ..Model::default() });
    let state =
        proptest::sample::select(&[State::Up, State::Up, State::Degraded, State::Away, State::Unknown][..]);
    let node = (state, prop::bool::weighted(0.8), prop::collection::vec(model, 0..4));
    prop::collection::vec(node, 0..6).prop_map(|nodes| {
        let nodes: Vec<Node> = (0..)
            .zip(nodes)
            .map(|(at, (state, openai, models))| self::node(at, state, openai, models))
            .collect();
        Fleet { catalogue: Catalogue::merge(&nodes), nodes, ..Fleet::default() }
    })
}

fn told(planned: Result<RoutePlan, Box<NoRoute>>) -> String {
    match planned {
        Ok(plan) => format!("{:?}", plan.tiers),
        Err(no_route) => format!("{no_route:?}"),
    }
}

proptest! {
    #[test]
    fn looking_only_at_holders_changes_no_plan(
        fleet in any_fleet(),
        model in proptest::sample::select(&["a", "b:7b", "c:latest", "d@node-1", "nobody-has-it"][..]),
        pin in proptest::option::of(Just("node-0")),
    ) {
        let ask = Ask { pin, ..Ask::new(model, Operation::ChatCompletions) };
        let room = Room::default();
        prop_assert_eq!(
            told(route::plan_among_holders(&fleet, &room, ask)),
            told(route::plan(&fleet, &room, ask))
        );
    }
}
