//! Ollama nodes of different versions that serve the same model: what a client gets then depends on who answers.

use crate::registry::House;
use lamplighter_core::{
    node::Engine,
    snapshot::{Level, Problem},
};
use std::collections::BTreeMap;

/// One notice for the whole house: versions with their nodes, and a model that they share.
///
/// Newer versions know routes and options that older ones lack, and set another context length by themselves (ollama
/// `server/routes.go`), so the same model may behave differently.
pub(super) fn mismatch(house: &House) -> Option<Problem> {
    let fleet = &house.fleet;
    let version = |at: usize| -> Option<&str> {
        let node = fleet.nodes.get(at).filter(|node| node.engine == Some(Engine::Ollama))?;
        node.version.as_deref()
    };
    let mut shared: Option<&str> = None;
    let mut nodes: BTreeMap<usize, &str> = BTreeMap::new();
    for entry in fleet.catalogue.entries() {
        let told: Vec<(usize, &str)> =
            entry.offers.iter().filter_map(|offer| Some((offer.node, version(offer.node)?))).collect();
        if told.iter().any(|(_, version)| *version != told[0].1) {
            shared.get_or_insert(&entry.name);
            nodes.extend(told);
        }
    }
    let shared = shared?;
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (at, version) in nodes {
        by_version.entry(version).or_default().push(fleet.nodes[at].name());
    }
    let told: Vec<String> =
        by_version.iter().map(|(version, names)| format!("{version} on {}", names.join(", "))).collect();
    Some(Problem {
        code: "ollama_versions".into(),
        level: Level::Notice,
        message: format!("Ollama is {}; they serve the same models, such as {shared}.", told.join(" and ")),
        hint: Some("Answers may differ a little; updating the older one helps.".into()),
        node: None,
    })
}
