//! What a person should look at: of the nodes, the aliases, the models and the door.

use super::{Control, House};
use lamplighter_core::{
    config::Nudge,
    fleet::Node,
    model::key,
    node::{Presence, State},
    node_url::NodeUrl,
    snapshot::{Level, Offer, Problem},
};
use std::sync::PoisonError;

/// Something to say of the door, and an offer that would settle it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfTheDoor {
    /// What to say.
    pub problem: Problem,
    /// The engine that stands in the way.
    pub offer: Option<Offer>,
}

impl Control {
    pub(super) fn problems(&self, house: &House) -> Vec<Problem> {
        let mut problems = self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for node in &house.fleet.nodes {
            let (code, level) = match (node.state, node.config.presence) {
                (State::Refusing, _) => ("node_refusing", Level::Problem),
                (State::Down, Presence::AlwaysOn) => ("node_down", Level::Problem),
                _ => continue,
            };
            let why = node.why.as_deref().unwrap_or("it does not answer");
            problems.push(Problem {
                code: code.into(),
                level,
                message: format!("{} is {}: {why}.", node.name(), node.state.word()),
                hint: None,
                node: Some(node.name().into()),
            });
        }
        problems.extend(house.fleet.nodes.iter().filter_map(|node| self.of_sleep_at_work(node)));
        problems.extend(self.of_the_door(house).map(|said| said.problem));
        problems.extend(self.unknown_alias_models(house));
        problems.extend(drifts(house));
        problems.extend(super::versions::mismatch(house));
        problems.sort_by_key(|problem| problem.level);
        problems
    }

    /// It falls asleep while it answers, or cannot be kept from it.
    fn of_sleep_at_work(&self, node: &Node) -> Option<Problem> {
        let name = node.name();
        let (code, message, hint) = match (node.naps, self.vigils.failed(node)) {
            (_, Some(why)) => (
                "keep_awake_failed",
                format!("{name} cannot be kept awake while it answers: {}.", why.trim_end_matches('.')),
                "Correct its `keep_awake` in the configuration.",
            ),
            (false, None) => return None,
            (true, None) => (
                "naps",
                format!("{name} fell asleep twice within ten minutes while it was answering."),
                match node.config.keep_awake.as_ref().map(|how| &how.by) {
                    None => {
                        "Its idle timer does not count that work: have it kept awake while it answers, or give it more time."
                    }
                    Some(Nudge::Call) => {
                        "Calls do not keep it awake: have a command hold it, as `keep_awake` in the configuration."
                    }
                    Some(Nudge::Command(_)) => "The command of its `keep_awake` does not keep it awake.",
                },
            ),
        };
        let (code, hint) = (code.into(), Some(hint.into()));
        Some(Problem { code, level: Level::Notice, message, hint, node: Some(name.into()) })
    }

    /// What there is to say of the door. What stands in the way and is a node already is no problem any more.
    pub(super) fn of_the_door(&self, house: &House) -> impl Iterator<Item = OfTheDoor> {
        let said = self.of_the_door.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let nodes = &house.fleet.nodes;
        let is_node = |offer: &Offer| {
            NodeUrl::parse(&offer.url)
                .is_ok_and(|url| nodes.iter().any(|node| node.config.url.same_server(&url)))
        };
        let shown = said.into_iter().map(|mut said| {
            if said.offer.take_if(|offer| is_node(offer)).is_some() {
                (said.problem.level, said.problem.hint) = (Level::Notice, None);
            }
            if let Some(offer) = &mut said.offer {
                offer.name = free_name(&offer.name, house);
            }
            said
        });
        shown.collect::<Vec<_>>().into_iter()
    }

    /// Alias entries that no node lists. Only told when every node has been seen: a model may be on a machine that is away.
    fn unknown_alias_models(&self, house: &House) -> Vec<Problem> {
        let fleet = &house.fleet;
        let all_seen = fleet.nodes.iter().all(|node| node.state.takes_requests() || !node.models.is_empty());
        if fleet.nodes.is_empty() || !all_seen {
            return Vec::new();
        }
        let listed =
            |model: &str| fleet.nodes.iter().any(|node| node.models.iter().any(|m| m.answers_to(model)));
        let mut problems = Vec::new();
        for alias in fleet.aliases.iter() {
            for target in fleet.targets(&alias.name) {
                if !listed(target.model) {
                    problems.push(Problem {
                        code: "alias_model_unknown".into(),
                        level: Level::Notice,
                        message: format!(
                            "Alias {:?} names {:?}, which no node lists.",
                            alias.name,
                            key(target.model)
                        ),
                        hint: Some(
                            "Pull the model on a node, or correct the name in the configuration.".into(),
                        ),
                        node: None,
                    });
                }
            }
        }
        problems
    }
}

/// The name, or the first of `name-2`, `name-3` … that no node has.
fn free_name(name: &str, house: &House) -> String {
    let is_free = |name: &String| house.fleet.nodes.iter().all(|node| node.name() != name);
    let numbered = (2u32..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// Models that hold different contents under one name: what a conversation gets then depends on who answers.
fn drifts(house: &House) -> impl Iterator<Item = Problem> {
    let fleet = &house.fleet;
    fleet.catalogue.entries().filter(|entry| entry.drift).map(|entry| {
        let nodes: Vec<&str> = entry.offers.iter().map(|offer| fleet.nodes[offer.node].name()).collect();
        Problem {
            code: "model_drift".into(),
            level: Level::Notice,
            message: format!("{} has different contents on {}.", entry.name, nodes.join(" and ")),
            hint: Some("Pull it anew on the one that is behind, or pin requests with @node.".into()),
            node: None,
        }
    })
}
