//! When nobody is up: the node most likely to answer all the same, for the one request that may try (fail-open).
//!
//! What we believe of nodes comes from probes, and probes can be wrong; a request now and then finds out.

use crate::{
    fleet::{Fleet, Node},
    node::State,
    route::Ask,
};
use std::cmp::Reverse;

/// The fleet as it would be if the likeliest node answered: of those that have one of the models and are gone, the one that was
/// seen last. `None` when there is none, or when it is something else that is in the way: a refusal stays a refusal, and a
/// machine that sleeps is woken, not tried.
#[must_use]
pub fn suppose(fleet: &Fleet, ask: Ask<'_>) -> Option<Fleet> {
    let (name, own_pin) = fleet.asked(ask.model);
    let pin = ask.pin.or(own_pin);
    let targets = fleet.targets(name);
    let may = |node: &Node| {
        matches!(node.state, State::Down | State::Away)
            && targets.iter().any(|target| {
                target.node.or(pin).is_none_or(|pin| pin == node.name())
                    && node.models.iter().any(|listed| listed.answers_to(target.model))
            })
    };
    let gone = fleet.nodes.iter().enumerate().filter(|(_, node)| may(node));
    let (at, _) = gone.max_by_key(|(at, node)| (node.since_ms, Reverse(*at)))?;
    let mut supposed = fleet.clone();
    supposed.nodes[at].state = State::Degraded;
    Some(supposed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::NodeConfig,
        fleet::NodeId,
        model::Model,
        node_url::NodeUrl,
        operation::{Dialects, Operation},
        room::Room,
        route,
    };
    use std::sync::Arc;

    fn node(at: u32, state: State, since_ms: u64, model: &str) -> Node {
        let url = NodeUrl::parse(&format!("127.0.0.1:{}", 9000 + at)).unwrap();
        let config = Arc::new(NodeConfig::new(&format!("node-{at}"), url));
        Node {
            dialects: Dialects { openai: true, ..Dialects::default() },
            state,
            since_ms,
            models: [Model { name: model.into(), ..Model::default() }].into(),
            ..Node::new(NodeId(at), config)
        }
    }

    fn tried(nodes: Vec<Node>, model: &str) -> Option<NodeId> {
        let fleet = Fleet { nodes, ..Fleet::default() };
        let ask = Ask::new(model, Operation::ChatCompletions);
        assert!(route::plan(&fleet, &Room::default(), ask).is_err(), "nobody is up");
        let plan = route::plan(&suppose(&fleet, ask)?, &Room::default(), ask).unwrap();
        assert_eq!((plan.tiers.len(), plan.tiers[0].candidates.len()), (1, 1), "one node alone");
        Some(plan.tiers[0].candidates[0].node)
    }

    #[test]
    fn r15_the_one_that_was_seen_last_is_the_hope() {
        let nodes = || {
            vec![
                node(0, State::Down, 10, "m"),
                node(1, State::Away, 30, "m"),
                node(2, State::Down, 20, "m"),
                node(3, State::Down, 90, "another"),
            ]
        };
        assert_eq!(tried(nodes(), "m"), Some(NodeId(1)));
        assert_eq!(tried(nodes(), "m@node-0"), Some(NodeId(0)), "a pin is a pin");
        assert_eq!(tried(nodes(), "nobody-has-it"), None);
        let no_hope = vec![node(0, State::Refusing, 10, "m"), node(1, State::Asleep, 30, "m")];
        assert_eq!(tried(no_hope, "m"), None);
    }
}
